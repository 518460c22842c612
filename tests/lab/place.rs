//! The walls of a lab: which files and which network do the processes of one test see?
//!
//! A mount namespace and a network namespace belong to a thread; threads and processes started by
//! it inherit them. Nothing here can reach the machine's own `/etc`, `/dev/log` or network: the
//! mounts are private and vanish with the last process of the lab, which `kill_everybody` finds
//! by the identity of its network namespace.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::write;

pub struct Place {
    network: PathBuf,
}

impl Place {
    pub fn enter() -> Place {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS)
            .expect("a private mount and network namespace");
        nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
        std::env::set_current_dir("/").unwrap();
        let nothing = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(nothing, "/", nothing, private, nothing).expect("private mounts");
        tmpfs("/run", "mode=0755");
        overlay("/etc");
        overlay("/usr/sbin");
        private_dev();
        tmpfs("/tmp", "mode=1777");
        names_from_files();
        loopback_up();
        // Room for the whole log of a test in the queue of /dev/log.
        fs::write("/proc/sys/net/unix/max_dgram_qlen", "512").unwrap();
        Place { network: fs::read_link("/proc/thread-self/ns/net").unwrap() }
    }

    /// Kills every process of this lab. The test's own process is not one of them: its main
    /// thread never left the machine's namespaces.
    pub fn kill_everybody(&self) {
        for _ in 0..20 {
            let inmates = self.inmates();
            if inmates.is_empty() {
                return;
            }
            for pid in inmates {
                let _ = kill(pid, Signal::SIGKILL);
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    pub fn inmates_called(&self, name: &str) -> Vec<u32> {
        let called = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        let mut pids: Vec<u32> =
            self.inmates().iter().map(|pid| pid.as_raw() as u32).filter(called).collect();
        pids.sort_unstable();
        pids
    }

    fn inmates(&self) -> Vec<Pid> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let lives_here =
                fs::read_link(entry.path().join("ns/net")).is_ok_and(|network| network == self.network);
            if lives_here {
                found.push(Pid::from_raw(number));
            }
        }
        found
    }
}

pub fn tmpfs(path: &str, options: &str) {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options))
        .unwrap_or_else(|error| panic!("tmpfs on {path}: {error}"));
}

/// Makes a directory look as before, but changes stay in this lab.
pub fn overlay(path: &str) {
    let name = path.replace('/', "-");
    let (upper, work) = (format!("/run/overlay{name}/changes"), format!("/run/overlay{name}/scratch"));
    fs::create_dir_all(&upper).unwrap();
    fs::create_dir_all(&work).unwrap();
    let options = format!("lowerdir={path},upperdir={upper},workdir={work}");
    mount(Some("overlay"), path, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .unwrap_or_else(|error| panic!("overlay on {path}: {error}"));
}

/// A `/dev` with the devices that programs expect, and no log socket yet.
fn private_dev() {
    fs::create_dir_all("/run/dev").unwrap();
    tmpfs("/run/dev", "mode=0755");
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let target = format!("/run/dev/{name}");
        write(&target, "");
        bind(&format!("/dev/{name}"), &target);
    }
    fs::create_dir("/run/dev/pts").unwrap();
    fs::create_dir("/run/dev/shm").unwrap();
    let options = "newinstance,ptmxmode=0666,mode=0620";
    mount(Some("devpts"), "/run/dev/pts", Some("devpts"), MsFlags::empty(), Some(options)).expect("devpts");
    for (link, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, format!("/run/dev/{link}")).unwrap();
    }
    bind("/run/dev", "/dev");
}

/// Puts a file or a directory in the place of another.
pub fn bind(from: &str, to: &str) {
    let nothing = None::<&str>;
    mount(Some(from), to, nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing)
        .unwrap_or_else(|error| panic!("{from} at {to}: {error}"));
}

/// Names come from files only, until a test says otherwise.
fn names_from_files() {
    let nsswitch = "passwd: files\ngroup: files\nshadow: files\nhosts: files\nnetworks: files\n\
        protocols: files\nservices: files\nnetgroup: files\n";
    for path in ["/etc/resolv.conf", "/etc/hosts", "/etc/tcpd.conf"] {
        let _ = fs::remove_file(path);
    }
    write("/etc/nsswitch.conf", nsswitch);
    write("/etc/host.conf", "multi off\n");
    write("/etc/hosts", "127.0.0.1 localhost\n");
    write("/etc/resolv.conf", "nameserver 127.0.0.1\n");
    write("/etc/netgroup", "");
}

/// Gives `lo` one more address.
pub fn add_address(address: std::net::Ipv6Addr) {
    let any = socket(AddressFamily::Inet6, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let index = nix::net::if_::if_nametoindex("lo").unwrap();
    let request = libc::in6_ifreq {
        ifr6_addr: libc::in6_addr { s6_addr: address.octets() },
        ifr6_prefixlen: 128,
        ifr6_ifindex: index as libc::c_int,
    };
    // SAFETY: the call reads the structure, which lives until it returns.
    let answer = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCSIFADDR, &request) };
    assert_eq!(answer, 0, "{address}: {}", std::io::Error::last_os_error());
}

fn loopback_up() {
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).unwrap();
    // SAFETY: `request` is a plain structure for which all zeros is a valid value; both calls
    // get a pointer to it that lives until they return.
    let answer = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        libc::ioctl(any.as_raw_fd(), libc::SIOCSIFFLAGS, &request)
    };
    assert_eq!(answer, 0, "lo cannot be brought up");
}
