//! What the tests of a running tcpd share: files of their own, and a listener that ends with its test.
#![allow(dead_code)]

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub const TCPD: &str = env!("CARGO_BIN_EXE_tcpd");
/// No test waits longer than this for what should come at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A directory of its own for a test's files, gone with it.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("wrapper-{}-{number}", std::process::id()));
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&path).expect("a scratch directory");
        Scratch(path)
    }

    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("writes");
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The options that name a test's rule files and nothing of the machine's.
pub fn rules(scratch: &Scratch, allow: &str, deny: &str) -> Vec<OsString> {
    let conf = scratch.file("tcpd.conf", "");
    make_private(&conf);
    let (allow, deny) = (scratch.file("allow", allow), scratch.file("deny", deny));
    let pairs = [("--allow", allow), ("--deny", deny), ("--config", conf)];
    pairs.into_iter().flat_map(|(option, path)| [OsString::from(option), path.into_os_string()]).collect()
}

pub fn make_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("chmod");
}

/// Runs tcpd on a descriptor as standard input and output; its log is what comes out of stderr.
pub fn run(fd: OwnedFd, options: &[OsString], server: &[&str]) -> Output {
    let copy = fd.try_clone().expect("a descriptor");
    let child = Command::new(TCPD)
        .arg0("/usr/sbin/tcpd")
        .args(["--log", "stderr"])
        .args(options)
        .arg("--")
        .args(server)
        .stdin(fd)
        .stdout(copy)
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    child.wait_with_output().expect("ends")
}

/// The lines without time and process id.
pub fn log_of(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = |line: &str| line.split_once("]: ").map_or(line.to_owned(), |(_, text)| text.to_owned());
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A connection to `to` from an address of loopback.
pub fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let end = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    let from = SockaddrStorage::from(SocketAddr::from((from, 0)));
    bind(end.as_raw_fd(), &from).expect("an address of loopback");
    connect(end.as_raw_fd(), &SockaddrStorage::from(to)).expect("connects");
    let client = TcpStream::from(end);
    client.set_read_timeout(Some(PATIENCE)).expect("a socket");
    client
}

/// A running `tcpd --listen`.
pub struct Listening {
    pub child: Child,
    log: BufReader<ChildStderr>,
    /// Where it listens first.
    pub address: SocketAddr,
}

impl Listening {
    pub fn start(options: &[OsString], server: &[&str]) -> Listening {
        let mut command = Command::new(TCPD);
        command.arg0("tcpd").args(["--log", "stderr", "--listen", "127.0.0.1:0"]).args(options);
        let mut listening =
            Listening::run(command.arg("--").args(server).stdin(Stdio::null()).stdout(Stdio::null()));
        listening.address = listening.bound().parse().expect("an address");
        listening
    }

    /// Runs a command that becomes a listener, with the log on its standard error.
    pub fn run(command: &mut Command) -> Listening {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        Listening { child, log, address: SocketAddr::from(([0; 4], 0)) }
    }

    /// Where it says next that it listens.
    pub fn bound(&mut self) -> String {
        let line = self.line();
        line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned()
    }

    pub fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).expect("connects");
        client.set_read_timeout(Some(PATIENCE)).expect("a socket");
        client
    }

    /// What a client gets that says nothing.
    pub fn greeting(&self) -> String {
        let mut client = self.connect();
        client.shutdown(std::net::Shutdown::Write).expect("a socket");
        let mut got = String::new();
        let _ = client.read_to_string(&mut got);
        got
    }

    pub fn line(&mut self) -> String {
        self.signed_line().1
    }

    /// A line, and the process that said it.
    pub fn signed_line(&mut self) -> (u32, String) {
        let mut line = String::new();
        self.log.read_line(&mut line).expect("a line");
        let Some((head, text)) = line.split_once("]: ") else { return (0, line) };
        let pid = head.rsplit('[').next().and_then(|pid| pid.parse().ok());
        (pid.expect("a process id"), text.trim().to_owned())
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.expect("kill").success());
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
