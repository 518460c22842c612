//! Files of a test's own, and the three programs that are asked about them.

use super::running::{log_of, run};
use serde_json::Value;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub const COMPILER: &str = env!("CARGO_BIN_EXE_tcpdcompile");
/// No test waits longer than this for what should come at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory, gone with its last user.
pub struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        Directory::below(&std::env::temp_dir(), "tcpd-compile")
    }

    fn below(base: &Path, name: &str) -> Directory {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{name}-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a directory");
        set_mode(&path, 0o755);
        Directory(path)
    }

    /// One that lasts as long as this process, and is removed by a later one.
    fn lasting() -> Directory {
        let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
        for entry in fs::read_dir(base).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let maker = name.strip_prefix("compile-").and_then(|rest| rest.split('-').next());
            if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Directory::below(base, "compile")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// Tables, and an image in a directory of its own.
pub struct Place {
    sources: Arc<Directory>,
    own: Directory,
}

impl Place {
    /// With these tables; `DIR` in a text stands for where they are.
    pub fn new(allow: &str, deny: &str) -> Place {
        Place::within(Directory::new(), allow, deny)
    }

    fn within(directory: Directory, allow: &str, deny: &str) -> Place {
        let place = Place::of(Arc::new(directory));
        place.write("allow", allow);
        place.write("deny", deny);
        place.write("tcpd.conf", "");
        place
    }

    fn of(sources: Arc<Directory>) -> Place {
        Place { sources, own: Directory::new() }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.sources.0.join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.file(name);
        fs::write(&path, self.in_place(text)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        set_mode(&path, 0o644);
    }

    /// A text with the directory of the tables in it.
    pub fn in_place(&self, text: &str) -> String {
        text.replace("DIR", &self.sources.0.display().to_string())
    }

    pub fn image(&self) -> PathBuf {
        self.own.0.join("rules.img")
    }

    /// Where the image is, and nothing else.
    pub fn around_image(&self) -> &Path {
        &self.own.0
    }

    /// The options that name these files, with this image.
    fn options_with(&self, image: &Path) -> Vec<OsString> {
        let pairs = [
            ("--allow", self.file("allow")),
            ("--deny", self.file("deny")),
            ("--config", self.file("tcpd.conf")),
            ("--image", image.to_path_buf()),
        ];
        pairs.into_iter().flat_map(|(option, path)| [OsString::from(option), path.into_os_string()]).collect()
    }

    pub fn options(&self) -> Vec<OsString> {
        self.options_with(&self.image())
    }

    pub fn compiler(&self) -> Command {
        let mut command = Command::new(COMPILER);
        command.args(self.options()).stdin(Stdio::null());
        command
    }

    /// Compiles; what was said on standard output.
    pub fn compile(&self) -> String {
        let output = self.compiler().output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Whether the image is used, and the first line of what `--status` says.
    pub fn status(&self) -> (bool, String) {
        let output = self.compiler().arg("--status").output().expect("it runs");
        let said = String::from_utf8(output.stdout).expect("text");
        let first = said.lines().next().expect("a line").to_owned();
        (output.status.success(), first)
    }

    /// The explanation of a verdict, about a client with this address.
    pub fn explain(&self, facts: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tcpdmatch"));
        command.args(self.options()).args(["--format", "json", "--stated", "daemon=in.testd"]).args(facts);
        let output = command.output().expect("tcpdmatch runs");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }

    /// Whether a client from here is served, by this image; and why the image is not used, if so.
    pub fn says(&self) -> (bool, Option<String>) {
        let object = self.explain(&["client=127.0.0.1"]);
        (object["access"] == "granted", object["image_not_used"].as_str().map(str::to_owned))
    }

    /// What a client from here gets, and what the log says.
    pub fn visit(&self) -> (String, String) {
        self.visit_with(&self.image(), &["/bin/echo", "served"])
    }

    /// The same, by the text.
    pub fn visit_by_text(&self) -> (String, String) {
        self.visit_with(Path::new("none"), &["/bin/echo", "served"])
    }

    pub fn visit_with(&self, image: &Path, server: &[&str]) -> (String, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        client.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let (connection, _) = listener.accept().expect("accepts");
        client.shutdown(Shutdown::Write).expect("a socket");
        let output = self.run(connection.into(), image, server);
        let mut got = String::new();
        let _ = client.read_to_string(&mut got);
        (got, log_of(&output))
    }

    fn run(&self, fd: OwnedFd, image: &Path, server: &[&str]) -> Output {
        let daemon = ["--daemon", "in.testd"].map(OsString::from);
        run(fd, &[&daemon[..], &self.options_with(image)].concat(), server)
    }
}

/// Tables that several tests only read, and that have rested for long enough.
fn shared(kept: &OnceLock<Arc<Directory>>, make: impl FnOnce() -> Place) -> Place {
    let sources = kept.get_or_init(|| {
        let place = make();
        place.compile();
        Arc::clone(&place.sources)
    });
    Place::of(Arc::clone(sources))
}

/// A place with few rules of every kind. 127.0.0.1 is refused by the last line of hosts.deny.
pub fn small() -> Place {
    static SMALL: OnceLock<Arc<Directory>> = OnceLock::new();
    shared(&SMALL, || {
        let allow = "in.testd: 192.0.2.7\nin.testd: .example.com\n# nothing more\n";
        let deny = "ALL: DIR/words\nALL: 198.51.100.0/24 [2001:db8::]/32\nALL EXCEPT in.testd: ALL\nALL: 127.0.0.1\n";
        let place = Place::within(Directory::lasting(), allow, deny);
        // Long enough to be looked for by the image.
        place.write("words", &format!("203.0.113.1 203.0.113.2\nDIR/nosuch\n{}", "\n".repeat(8192)));
        place
    })
}

pub const LARGE: u32 = 100_000;

/// A place with a hundred thousand lines in hosts.deny. 127.0.0.1 is served by no rule.
pub fn large() -> Place {
    static LARGE_ONE: OnceLock<Arc<Directory>> = OnceLock::new();
    shared(&LARGE_ONE, || {
        let lines = (0..LARGE).map(|n| format!("ALL: {}\n", std::net::Ipv4Addr::from(0x0a00_0000 + n)));
        Place::within(Directory::lasting(), "in.other: 127.\n", &lines.collect::<String>())
    })
}

/// Whether what is missing on this machine is a failure.
pub fn must_be_whole() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
        || std::env::var_os("TCPD_REAL").is_some_and(|value| value == "1")
}

/// Runs a program of the machine; None, said loudly, where it is missing.
pub fn with_program(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            let line = format!("SKIPPED: {:?}: {error}\n", command.get_program());
            assert!(!must_be_whole(), "{line}");
            std::io::stderr().write_all(line.as_bytes()).expect("standard error");
            None
        }
    }
}
