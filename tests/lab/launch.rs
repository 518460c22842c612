//! A super-server for one connection: what happens when the wrapper is started the way inetd
//! starts it, with the client on descriptors 0, 1 and 2?
//!
//! `Visit` is one client's connection, from connect to the end of the wrapper (or of the server
//! that took its place). `Running` is any child of a test; it is killed when it goes out of
//! scope or when its thread ends, and waiting for it has a limit.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen, setsockopt, socket,
    sockopt,
};

use super::{Lab, Line, PROGRAMS, SCRATCH};

/// Long enough for a loaded machine; a wrapper that needs more than this hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A child process that does not outlive its test.
pub struct Running {
    child: Child,
    what: String,
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        Running::keeping(command, &[])
    }

    /// Starts a child that also inherits these descriptors.
    pub fn keeping(command: &mut Command, descriptors: &[RawFd]) -> Running {
        let what = format!("{command:?}");
        let kept = descriptors.to_vec();
        // SAFETY: the calls are async-signal-safe and touch only the child; `kept` is read only.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                let cloexec = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
                libc::close_range(3, libc::c_uint::MAX, cloexec);
                for descriptor in &kept {
                    libc::fcntl(*descriptor, libc::F_SETFD, 0);
                }
                Ok(())
            });
        }
        let _no_program_is_written = PROGRAMS.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        Running { child, what }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The exit status, or the negative number of the signal that ended it.
    pub fn wait(&mut self) -> i32 {
        self.wait_at_most(PATIENCE)
            .unwrap_or_else(|| panic!("still running after {PATIENCE:?}: {}", self.what))
    }

    pub fn wait_at_most(&mut self, limit: Duration) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status.code().unwrap_or_else(|| -status.signal().unwrap()));
            }
            if start.elapsed() > limit {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid() as i32);
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a client program to its end: exit status, standard output, standard error.
pub fn run(command: &mut Command) -> (i32, String, String) {
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(command);
    let out = reader(running.child().stdout.take().unwrap());
    let err = reader(running.child().stderr.take().unwrap());
    let status = running.wait();
    (status, text_of(out), text_of(err))
}

fn reader(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

fn text_of(thread: std::thread::JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&thread.join().unwrap()).into_owned()
}

/// Debian's openbsd-inetd with these lines of configuration.
pub fn inetd(lab: &Lab, lines: &str) -> Running {
    inetd_with(lab, &[], lines)
}

/// The same, with more options.
pub fn inetd_with(lab: &Lab, options: &[&str], lines: &str) -> Running {
    super::need("/usr/sbin/inetd", "openbsd-inetd");
    let services = "ftp 21/tcp\nssh 22/tcp\nsmtp 25/tcp\ndomain 53/udp\ntftp 69/udp\n\
        finger 79/tcp\nauth 113/tcp\n";
    super::write("/etc/services", services);
    super::write(&format!("{SCRATCH}/inetd.conf"), lines);
    let mut command = Command::new("/usr/sbin/inetd");
    command.arg("-i").args(options).arg(format!("{SCRATCH}/inetd.conf"));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let running = Running::start(command.stdin(Stdio::null()));
    for line in lines.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = services
            .lines()
            .find_map(|service| service.strip_prefix(words[0])?.trim().split_once('/'))
            .map(|(port, _)| port.parse().unwrap());
        lab.wait_for_port(words[2], port.expect("a known service"));
    }
    running
}

/// What one visit came to.
#[derive(Debug)]
pub struct Outcome {
    pub exit: i32,
    pub received: String,
    pub log: Vec<Line>,
    pub took: Duration,
    /// The probe's report, if the probe was run.
    pub saw: Option<String>,
    pub client: SocketAddr,
    pub server: SocketAddr,
}

impl Outcome {
    pub fn served(&self) -> bool {
        self.received.contains("HELLO FROM DAEMON")
    }

    pub fn messages(&self) -> Vec<&str> {
        self.log.iter().map(|line| line.message.as_str()).collect()
    }

    /// The values of one key of the probe's report.
    pub fn seen(&self, key: &str) -> Vec<&str> {
        let report = self.saw.as_deref().unwrap_or("");
        let values = report.lines().filter_map(|line| line.split_once(' ')).filter(|(name, _)| *name == key);
        values.map(|(_, value)| value).collect()
    }
}

/// One TCP connection to the wrapper, described before it happens.
pub struct Visit<'a> {
    lab: &'a Lab,
    from: IpAddr,
    to: IpAddr,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    identity: Option<(u32, u32)>,
    options: Vec<u8>,
    limits: Vec<(libc::__rlimit_resource_t, libc::rlim_t)>,
    program: String,
    stderr: Option<OwnedFd>,
}

impl<'a> Visit<'a> {
    /// A visit from 127.0.0.2 to in.tw-probe on 127.0.0.1.
    pub fn of(lab: &'a Lab) -> Visit<'a> {
        let environment = [("PATH", "/usr/bin:/bin"), ("TWTEST", "1")];
        Visit {
            lab,
            from: "127.0.0.2".parse().unwrap(),
            to: "127.0.0.1".parse().unwrap(),
            arguments: vec!["in.tw-probe".into()],
            environment: environment.map(|(k, v)| (k.into(), v.into())).to_vec(),
            identity: None,
            options: Vec::new(),
            limits: Vec::new(),
            program: "/usr/sbin/tcpd".to_owned(),
            stderr: None,
        }
    }

    pub fn from(mut self, address: &str) -> Self {
        self.from = address.parse().unwrap();
        self
    }

    pub fn to(mut self, address: &str) -> Self {
        self.to = address.parse().unwrap();
        self
    }

    /// argv of the wrapper, its name included.
    pub fn arguments<S: AsRef<OsStr>>(mut self, arguments: &[S]) -> Self {
        self.arguments = arguments.iter().map(|a| a.as_ref().to_owned()).collect();
        self
    }

    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs the wrapper as this user and group, without supplementary groups.
    pub fn running_as(mut self, user: u32, group: u32) -> Self {
        self.identity = Some((user, group));
        self
    }

    /// Puts these IP options on the accepted socket.
    pub fn with_ip_options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    /// Lowers a resource limit of the wrapper (`libc::RLIMIT_NPROC`, ...).
    pub fn with_limit(mut self, resource: libc::__rlimit_resource_t, limit: u64) -> Self {
        self.limits.push((resource, limit));
        self
    }

    /// Another program than /usr/sbin/tcpd.
    pub fn program(mut self, path: &str) -> Self {
        self.program = path.to_owned();
        self
    }

    pub fn stderr(mut self, stderr: OwnedFd) -> Self {
        self.stderr = Some(stderr);
        self
    }

    pub fn run(self) -> Outcome {
        let (mut client, served) = connection(self.from, self.to);
        let (client_address, server_address) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        client.write_all(b"ping\n").unwrap();
        if !self.options.is_empty() {
            put_ip_options(&served, &self.options);
        }
        wait_for_input(&served);
        self.lab.log();
        let _ = std::fs::remove_file(format!("{SCRATCH}/saw"));
        // Packets that follow a source route do not come back, the end of the connection included.
        let patience = if self.options.is_empty() { PATIENCE } else { Duration::from_secs(1) };
        let lab = self.lab;
        let start = Instant::now();
        let mut running = self.start(served.into());
        let conversation = std::thread::spawn(move || read_for(client, patience));
        let exit = running.wait();
        let took = start.elapsed();
        let received = conversation.join().unwrap();
        Outcome {
            exit,
            received: String::from_utf8_lossy(&received).into_owned(),
            log: lab.log(),
            took,
            saw: lab.saw(),
            client: client_address,
            server: server_address,
        }
    }

    /// Only starts the wrapper, on this descriptor, the way inetd does.
    pub fn start(self, descriptor: OwnedFd) -> Running {
        let stderr = self.stderr.unwrap_or_else(|| descriptor.try_clone().unwrap());
        let mut command = Command::new(&self.program);
        command
            .arg0(&self.arguments[0])
            .args(&self.arguments[1..])
            .env_clear()
            .envs(self.environment)
            .stdin(descriptor.try_clone().unwrap())
            .stdout(descriptor)
            .stderr(stderr);
        if let Some((user, group)) = self.identity {
            command.uid(user).gid(group);
        }
        let limits = self.limits;
        // SAFETY: umask and setrlimit are async-signal-safe; `limits` is read only.
        unsafe {
            command.pre_exec(move || {
                libc::umask(0);
                for (resource, limit) in &limits {
                    let limit = libc::rlimit { rlim_cur: *limit, rlim_max: *limit };
                    libc::setrlimit(*resource, &limit);
                }
                Ok(())
            });
        }
        Running::start(&mut command)
    }
}

/// A client's and a server's end of one TCP connection.
pub fn connection(from: IpAddr, to: IpAddr) -> (TcpStream, TcpStream) {
    let family = match to {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let door = stream_socket(family);
    if to.is_ipv6() {
        setsockopt(&door, sockopt::Ipv6V6Only, &false).unwrap();
    }
    bind(door.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(to, 0))).unwrap();
    listen(&door, Backlog::new(1).unwrap()).unwrap();
    let door = TcpListener::from(door);
    let port = door.local_addr().unwrap().port();
    let to = match (to.is_unspecified(), from) {
        (false, _) => to,
        (true, IpAddr::V4(_)) => "127.0.0.1".parse().unwrap(),
        (true, IpAddr::V6(_)) => "::1".parse().unwrap(),
    };
    let client = connect_from(from, SocketAddr::new(to, port)).unwrap();
    let (served, _) = door.accept().unwrap();
    (client, served)
}

/// Connects from an address of the lab.
pub fn connect_from(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let family = match from {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let end = stream_socket(family);
    bind(end.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
    connect(end.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(TcpStream::from(end))
}

fn stream_socket(family: AddressFamily) -> OwnedFd {
    socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap()
}

/// Everything until the other side closes or breaks the connection.
pub fn read_to_the_end(client: TcpStream) -> Vec<u8> {
    read_for(client, PATIENCE)
}

fn read_for(mut client: TcpStream, patience: Duration) -> Vec<u8> {
    client.set_read_timeout(Some(patience)).unwrap();
    let mut bytes = Vec::new();
    let _ = client.read_to_end(&mut bytes);
    bytes
}

/// Inetd starts a server when there is something to do; so do we.
fn wait_for_input(served: &TcpStream) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut wanted = [PollFd::new(served.as_fd(), PollFlags::POLLIN)];
    poll(&mut wanted, PollTimeout::from(5000_u16)).unwrap();
}

/// Puts these IP options on a socket.
pub fn put_ip_options(served: &TcpStream, options: &[u8]) {
    // SAFETY: pointer and length describe the slice `options`.
    let answer = unsafe {
        libc::setsockopt(
            served.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_OPTIONS,
            options.as_ptr().cast(),
            options.len() as libc::socklen_t,
        )
    };
    assert_eq!(answer, 0, "IP options {options:x?}: {}", io::Error::last_os_error());
}
