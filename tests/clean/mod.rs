//! A clean room: what do packages, and commands that somebody is told to type, do to a machine on which
//! nothing of ours was ever installed?
//!
//! `Root::open()` gives a test a Debian of its own (`recipe` says where it comes from): the smallest
//! one, with Debian's tcpd, libwrap0, openbsd-inetd and openssh-server. The calling thread gets a mount and
//! a network namespace in which the only network is `lo`; commands run inside the root in a process
//! namespace, too, and end when the `Root` goes out of scope. Changes are in memory and go with it. Each
//! test of libtest has a thread of its own, so tests may run side by side.
//!
//! It needs root, and runs only when `TCPD_REAL=1` is set; then nothing may be missing and nothing is
//! skipped. Without the variable every test says loudly that it did nothing.
//!
//! ```text
//! let Some(root) = clean::Root::open() else { return };
//! root.write("/etc/hosts.deny", "ALL: ALL\n");
//! root.copy_in(Path::new("/somewhere/x.deb"), "/tmp/x.deb");
//! let said = root.run("dpkg -i /tmp/x.deb");           // said.status, said.out, said.err
//! let version = root.must("tcpd --version");           // the output; it fails if the command does
//! let inetd = root.start("/usr/sbin/inetd -i");        // ends when it is dropped
//! root.wait_for_port(79);
//! let answer = root.call("127.0.0.2", 79);             // what a client from there receives
//! let lines = root.log();                              // what syslogd has heard
//! ```
#![allow(dead_code)]

pub mod recipe;
#[path = "../lab/syslogd.rs"]
mod syslogd;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};

pub use syslogd::{Line, Syslogd};

/// Where the root is for the thread of the test. Short, for the name of a socket has 107 bytes.
const HERE: &str = "/mnt/root";

/// Installing packages takes seconds; what takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Root {
    syslogd: Syslogd,
    /// The process whose children are in the root's process namespace; all of them end with it.
    keeper: Running,
    outputs: AtomicUsize,
}

/// How a command ended.
#[derive(Debug)]
pub struct Said {
    /// The exit status, or the negative number of the signal that ended it.
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Root {
    /// A clean root, or nothing when the real suite was not asked for.
    pub fn open() -> Option<Root> {
        if !is_wanted() {
            return None;
        }
        let lower = recipe::made();
        walls(lower);
        let syslogd = Syslogd::listen(&format!("{HERE}/dev/log"));
        let mut first = Command::new("unshare");
        first.args(["--pid", "--fork", "--kill-child=KILL", "chroot", HERE, "/bin/sh", "-c"]);
        first.arg("mount -t proc proc /proc && echo ready && while :; do sleep 3600; done");
        let mut keeper = Running::start(first.stdin(Stdio::null()).stdout(Stdio::piped()));
        let mut line = String::new();
        BufReader::new(keeper.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "no processes in the root");
        Some(Root { syslogd, keeper, outputs: AtomicUsize::new(0) })
    }

    /// A path of the root, as the thread of the test sees it.
    pub fn path(&self, inside: &str) -> PathBuf {
        Path::new(HERE).join(inside.trim_start_matches('/'))
    }

    /// Writes a file of the root and the directories above it.
    pub fn write(&self, inside: &str, text: impl AsRef<[u8]>) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap_or_else(|error| panic!("{inside}: {error}"));
    }

    pub fn read(&self, inside: &str) -> Vec<u8> {
        fs::read(self.path(inside)).unwrap_or_else(|error| panic!("{inside}: {error}"))
    }

    /// Copies a file of the machine, with its mode, into the root.
    pub fn copy_in(&self, from: &Path, inside: &str) {
        let to = self.path(inside);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap_or_else(|error| panic!("{} to {inside}: {error}", from.display()));
    }

    /// Runs a command line of sh(1) in the root, as root, to its end.
    pub fn run(&self, command: &str) -> Said {
        self.run_with_input(command, "")
    }

    pub fn run_with_input(&self, command: &str, input: &str) -> Said {
        // Files, not pipes: what goes on in the background may keep them open.
        let number = self.outputs.fetch_add(1, Ordering::Relaxed);
        let name = |what: &str| format!("/mnt/{what}-{number}");
        fs::write(name("in"), input).unwrap();
        let mut inside = self.command(command);
        inside.stdin(File::open(name("in")).unwrap());
        inside.stdout(File::create(name("out")).unwrap()).stderr(File::create(name("err")).unwrap());
        let status = Running::start(&mut inside).wait();
        let text = |what: &str| String::from_utf8_lossy(&fs::read(name(what)).unwrap()).into_owned();
        let said = Said { status, out: text("out"), err: text("err") };
        for what in ["in", "out", "err"] {
            fs::remove_file(name(what)).unwrap();
        }
        said
    }

    /// Runs a command that has to succeed, and answers its standard output.
    #[track_caller]
    pub fn must(&self, command: &str) -> String {
        let said = self.run(command);
        assert_eq!(said.status, 0, "{command}: {said:#?}");
        said.out
    }

    /// Starts a command that goes on in the background, until it is dropped.
    pub fn start(&self, command: &str) -> Running {
        let mut inside = self.command(&format!("exec {command}"));
        Running::start(inside.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    fn command(&self, command: &str) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--pid=/proc/{}/ns/pid_for_children", self.keeper.child.id()));
        inside.args([&format!("--root={HERE}"), &format!("--wd={HERE}"), "--", "/bin/sh", "-c"]);
        inside.arg(format!("umask 022; cd /root; {command}"));
        inside.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        inside.env("HOME", "/root").env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive");
        inside
    }

    /// Waits until somebody listens on this TCP port of the root's network.
    #[track_caller]
    pub fn wait_for_port(&self, port: u16) {
        let listens = || {
            ["tcp", "tcp6"].iter().any(|protocol| {
                let table = fs::read_to_string(format!("/proc/thread-self/net/{protocol}")).unwrap();
                table.lines().skip(1).any(|line| {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    words.get(3) == Some(&"0A")
                        && words.get(1).is_some_and(|local| local.ends_with(&format!(":{port:04X}")))
                })
            })
        };
        assert!(patiently(listens), "nobody listens on port {port}");
    }

    /// Calls a port of 127.0.0.1 from an address of the loopback network: what is received up to the end.
    pub fn call(&self, from: &str, port: u16) -> String {
        let from: IpAddr = from.parse().unwrap();
        let end = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(end.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0))).unwrap();
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        connect(end.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
        received(end)
    }

    /// What syslogd has heard since the last question.
    pub fn log(&self) -> Vec<Line> {
        self.syslogd.drain()
    }

    /// Waits until a line holds these words, and answers everything heard so far.
    #[track_caller]
    pub fn log_until(&self, words: &str) -> Vec<Line> {
        let mut heard = Vec::new();
        let found = patiently(|| {
            heard.extend(self.log());
            heard.iter().any(|line| line.message.contains(words))
        });
        assert!(found, "no log line with {words:?} in {heard:#?}");
        heard
    }
}

fn received(end: OwnedFd) -> String {
    let mut client = TcpStream::from(end);
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    // A server that waits for the client's word is left after its own first one.
    loop {
        match client.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
        }
        if bytes.ends_with(b"\n") {
            client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A child process that does not outlive its test.
pub struct Running {
    child: Child,
    what: String,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        let what = format!("{command:?}");
        // SAFETY: the call is async-signal-safe and touches only the child.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        Running { child, what }
    }

    /// The process in the root, by its number outside: its files in /proc tell what it has mapped.
    pub fn pid(&self) -> u32 {
        let of = self.child.id();
        let mut found = None;
        let there = patiently(|| {
            let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
            found = children.split_whitespace().next().and_then(|pid| pid.parse().ok());
            found.is_some()
        });
        assert!(there, "{} runs nothing", self.what);
        found.unwrap()
    }

    fn wait(&mut self) -> i32 {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or_else(|| -status.signal().unwrap());
            }
            assert!(start.elapsed() < PATIENCE, "still running after {PATIENCE:?}: {}", self.what);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // nsenter waits for what it has started; that goes first, while it can still be found.
        let of = self.child.id();
        let inside = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
        for pid in inside.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Was the real suite asked for? If not, says so.
pub fn is_wanted() -> bool {
    if std::env::var_os("TCPD_REAL").is_none_or(|value| value != "1") {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("?");
        let line =
            format!("SKIPPED {count}: {name}: set TCPD_REAL=1 (needs root and debootstrap, see .ci/run)\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
        return false;
    }
    assert!(nix::unistd::geteuid().is_root(), "TCPD_REAL=1 needs root: namespaces are made");
    true
}

/// Fails, naming the package, when a program of the machine is missing.
pub fn need(program: &str, package: &str) {
    assert!(Path::new(program).exists(), "{program} is missing: apt-get install {package}");
}

/// Tries `done` for up to twenty seconds.
pub fn patiently(mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    done()
}

/// Namespaces for this thread, and in them the root, writable, with devices and the loopback network.
fn walls(lower: &Path) {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS)
        .expect("private namespaces");
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).expect("private mounts");
    mounted("tmpfs", "/mnt", "mode=0755");
    for directory in ["root", "changes", "scratch"] {
        fs::create_dir(format!("/mnt/{directory}")).unwrap();
    }
    // With an index two names of a file stay two names of one: dpkg undoes by that what breaks off.
    let layers = format!("lowerdir={},upperdir=/mnt/changes,workdir=/mnt/scratch,index=on", lower.display());
    mounted("overlay", HERE, &layers);
    let dev = format!("{HERE}/dev");
    mounted("tmpfs", &dev, "mode=0755");
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let (from, to) = (format!("/dev/{name}"), format!("{dev}/{name}"));
        fs::write(&to, "").unwrap();
        mount(Some(from.as_str()), to.as_str(), nothing, MsFlags::MS_BIND, nothing).expect("a device");
    }
    fs::create_dir(format!("{dev}/pts")).unwrap();
    fs::create_dir(format!("{dev}/shm")).unwrap();
    mounted("devpts", &format!("{dev}/pts"), "newinstance,ptmxmode=0666,mode=0620");
    mounted("tmpfs", &format!("{HERE}/run"), "mode=0755");
    for (link, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, format!("{dev}/{link}")).unwrap();
    }
    loopback_up();
    fs::write("/proc/sys/net/unix/max_dgram_qlen", "512").unwrap();
}

fn mounted(kind: &str, at: &str, options: &str) {
    mount(Some(kind), at, Some(kind), MsFlags::empty(), Some(options))
        .unwrap_or_else(|error| panic!("{kind} on {at}: {error}"));
}

fn loopback_up() {
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).unwrap();
    // SAFETY: `request` is a plain structure for which all zeros is a valid value; the call gets a
    // pointer to it that lives until it returns.
    let answer = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        libc::ioctl(any.as_raw_fd(), libc::SIOCSIFFLAGS, &request)
    };
    assert_eq!(answer, 0, "lo cannot be brought up");
}
