//! A laboratory for one test: where can a real wrapper, real servers and real clients meet
//! without touching the machine they run on?
//!
//! `Lab::open()` puts the calling thread, and every thread and process that it starts later, into
//! a mount namespace and a network namespace of their own. In there `/etc` and `/usr/sbin` are
//! overlays, `/run`, `/tmp` and `/dev` are private, the only network is `lo`, and
//! `/usr/sbin/tcpd` is the program under test. Each test of libtest runs in its own thread, so
//! tests may run side by side and all of them may listen on port 21.
//!
//! It needs root, and it runs only when `TCPD_REAL=1` is set; then nothing may be missing and
//! nothing is skipped. Without the variable every test says loudly that it did nothing.
//!
//! Whoever adds to this: read files of the machine (the program under test, test data) before
//! `Lab::open()`, for afterwards they may be covered by a private mount.

/// Opens the lab, or returns from the test when the real suite was not asked for.
macro_rules! open_lab {
    () => {
        match $crate::lab::Lab::open() {
            Some(lab) => lab,
            None => return,
        }
    };
}

pub mod launch;
#[macro_use]
pub mod library;
pub mod nameserver;
pub mod place;
pub mod server;
pub mod syslogd;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{OnceLock, RwLock};
use std::time::{Duration, Instant};

pub use launch::{Outcome, Running, Visit};
pub use syslogd::{Line, Syslogd};

/// The recorded runs name this directory, so the lab has it, too.
pub const SCRATCH: &str = "/run/tw-e2e";

pub struct Lab {
    pub syslogd: Syslogd,
    place: place::Place,
}

/// Whoever started the tests may have had signals ignored (nohup(1) does); what a server inherits is
/// compared with a recording, so it must not depend on that.
fn as_at_a_terminal() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    for number in Signal::iterator() {
        // SAFETY: the default disposition runs no code of ours. SIGKILL and SIGSTOP refuse; the runtime
        // keeps SIGPIPE and its own two.
        if !matches!(number, Signal::SIGPIPE | Signal::SIGSEGV | Signal::SIGBUS) {
            let _ = unsafe { signal(number, SigHandler::SigDfl) };
        }
    }
}

impl Lab {
    /// The lab, or nothing when the real suite was not asked for.
    pub fn open() -> Option<Lab> {
        if !is_wanted() {
            return None;
        }
        as_at_a_terminal();
        let tcpd = subject();
        let probe = probe();
        let place = place::Place::enter();
        install("/usr/sbin/tcpd", tcpd, 0o755);
        install("/usr/sbin/in.tw-probe", probe, 0o755);
        fs::create_dir_all(format!("{SCRATCH}/bin")).unwrap();
        set_mode(SCRATCH, 0o777);
        let lab = Lab { syslogd: Syslogd::listen("/dev/log"), place };
        lab.rules("", "");
        Some(lab)
    }

    /// The processes of this lab that go by this name, youngest last.
    pub fn processes(&self, name: &str) -> Vec<u32> {
        self.place.inmates_called(name)
    }

    /// Writes the two tables; empty text is an empty file.
    pub fn rules(&self, allow: &str, deny: &str) {
        write("/etc/hosts.allow", allow);
        write("/etc/hosts.deny", deny);
    }

    /// What syslogd has heard since the last question.
    pub fn log(&self) -> Vec<Line> {
        self.syslogd.drain()
    }

    /// Waits until a line holds `words`, and answers everything heard so far.
    pub fn log_until(&self, words: &str) -> Vec<Line> {
        let mut heard = Vec::new();
        let found = patiently(|| {
            heard.extend(self.log());
            heard.iter().any(|line| line.message.contains(words))
        });
        assert!(found, "no log line with {words:?} in {heard:#?}");
        heard
    }

    /// The file that the probe, acting as the real server, left behind; each line is `key value`.
    pub fn saw(&self) -> Option<String> {
        fs::read(format!("{SCRATCH}/saw")).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until somebody listens on this port of the lab (`tcp`, `tcp6`, `udp`, `udp6`).
    pub fn wait_for_port(&self, protocol: &str, port: u16) {
        let listens = || {
            let table = fs::read_to_string(format!("/proc/thread-self/net/{protocol}")).unwrap();
            table.lines().skip(1).any(|line| {
                let mut words = line.split_whitespace().skip(1);
                let local = words.next().unwrap_or("");
                let state = words.nth(1).unwrap_or("");
                let wanted = if protocol.starts_with("tcp") { "0A" } else { "07" };
                state == wanted && local.ends_with(&format!(":{port:04X}"))
            })
        };
        assert!(patiently(listens), "nobody listens on {protocol} port {port}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.place.kill_everybody();
    }
}

/// Was the real suite asked for? If not, says so.
pub fn is_wanted() -> bool {
    if std::env::var_os("TCPD_REAL").is_none_or(|value| value != "1") {
        say_skipped();
        return false;
    }
    assert!(
        nix::unistd::geteuid().is_root(),
        "TCPD_REAL=1 needs root: mount and network namespaces are made"
    );
    true
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

/// True when the program under test is the original: expectations are then the recorded ones.
pub fn is_the_original() -> bool {
    std::env::var_os("TCPD_ORIGINAL").is_some_and(|value| value == "1")
}

/// Fails, naming the package, when a program of the machine is missing.
pub fn need(program: &str, package: &str) {
    assert!(Path::new(program).exists(), "{program} is missing: apt-get install {package}");
}

/// Writes a file of the lab and the directories above it.
pub fn write(path: &str, text: impl AsRef<[u8]>) {
    if let Some(parent) = Path::new(path).parent() {
        fs::create_dir_all(parent).unwrap();
    }
    fs::write(path, text).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// Writes a program. A child that another test is just starting would inherit the open file,
/// and the kernel refuses to execute a file that somebody may still write to; so programs are
/// written while nothing is being started, and the other way round (see `Running`).
pub fn install(path: &str, bytes: &[u8], mode: u32) {
    let _nothing_starts = PROGRAMS.write().unwrap_or_else(|poisoned| poisoned.into_inner());
    let _ = fs::remove_file(path);
    write(path, bytes);
    set_mode(path, mode);
}

/// Taken for writing by who writes a program, for reading by who starts one.
pub static PROGRAMS: RwLock<()> = RwLock::new(());

pub fn set_mode(path: &str, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The program under test, as bytes: it is copied into every lab.
pub fn subject() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let path = std::env::var_os("TCPD_BINARY").unwrap_or(env!("CARGO_BIN_EXE_tcpd").into());
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    })
}

/// The "real server" that reports what it was given, compiled from tests/probed.c.
pub fn probe() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let source = include_str!("../probed.c");
        let target = format!("{}/probed-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        let mut compiler = Command::new("cc")
            .args(["-O1", "-Wall", "-Wextra", "-Werror", "-x", "c", "-o", &target, "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("cc is missing: apt-get install gcc libc6-dev");
        let mut input = compiler.stdin.take().unwrap();
        input.write_all(source.as_bytes()).unwrap();
        drop(input);
        assert!(compiler.wait().unwrap().success(), "tests/probed.c does not compile");
        let bytes = fs::read(&target).unwrap();
        fs::remove_file(&target).unwrap();
        bytes
    })
}

/// One line that libtest does not capture, with a running count.
fn say_skipped() {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("?");
    let line =
        format!("SKIPPED {count}: {name}: set TCPD_REAL=1 (needs root and Debian packages, see .ci/run)\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
