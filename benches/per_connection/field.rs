//! Where it takes place, and what is compared there.
#![forbid(unsafe_code)]

use crate::common::{self, SERVICE};
use crate::lab::place::{Place, overlay, tmpfs};
use crate::lab::{install, write};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use wrap::tables::image;

/// What the tables call TCP Wrapper's own program, of the Debian package tcpd.
pub const REFERENCE: &str = "reference";
const REFERENCE_PROGRAM: &str = "/usr/sbin/tcpd";
const LOG_SOCKET: &str = "/dev/log";
/// Where the wrapper looks for the image of its rules.
const STATE: &str = "/var/lib/tcpd";

pub struct Field {
    place: Option<Place>,
    directory: PathBuf,
    has_reference: bool,
    remarks: Vec<String>,
}

/// A program in front of the greeter, or the greeter itself, as inetd starts it.
#[derive(Clone)]
pub struct Variant {
    pub name: &'static str,
    pub program: PathBuf,
    /// With argv[0].
    pub arguments: Vec<String>,
    /// Standard error is the null device instead of the client: where the log goes there.
    pub quiet: bool,
    /// The compiled image is in its place.
    pub compiled: bool,
}

impl Field {
    /// Enters it, with the calling thread and all that it will start.
    pub fn enter() -> Field {
        let mut remarks = vec![common::machine()];
        let ours = fs::read(env!("CARGO_BIN_EXE_tcpd")).expect("the program that was just built");
        let reference = reference();
        let greeter = greeter();
        let is_root = nix::unistd::geteuid().is_root();
        if !is_root {
            remarks.push(
                "NOT ROOT: no namespaces, no reference; tcpd is told its files, and logs to the null device"
                    .to_owned(),
            );
        } else if reference.is_none() {
            remarks.push(format!(
                "NO REFERENCE: {REFERENCE_PROGRAM} is not TCP Wrapper's (apt-get install tcpd)"
            ));
        }
        let nsswitch = fs::read("/etc/nsswitch.conf");
        let place = is_root.then(Place::enter);
        if place.is_some() {
            overlay("/var/lib");
            fs::create_dir_all(STATE).unwrap();
            tmpfs(STATE, "mode=0755");
        }
        let directory = match &place {
            Some(_) => PathBuf::from("/run/bench"),
            None => {
                Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("connections-{}", std::process::id()))
            }
        };
        fs::create_dir_all(&directory).unwrap();
        let field = Field { has_reference: is_root && reference.is_some(), place, directory, remarks };
        let programs = [("tcpd", Some(ours)), ("reference", reference), (SERVICE, Some(greeter))];
        for (name, bytes) in programs {
            if let Some(bytes) = bytes {
                install(&field.file(name), &bytes, 0o755);
            }
        }
        if field.place.is_some() {
            // The reference asks for a protocol by name, and how long that takes stands in here.
            if let Ok(text) = nsswitch {
                write("/etc/nsswitch.conf", text);
            }
            drain_the_log();
        }
        field
    }

    /// The machine, and what cannot be measured on it.
    pub fn remarks(&self) -> String {
        self.remarks.iter().map(|remark| format!("{remark}\n")).collect()
    }

    /// A file of the field, by its name.
    pub fn file(&self, name: &str) -> String {
        self.directory.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Whether the files in /etc, the log socket and the ports are ours.
    pub fn is_private(&self) -> bool {
        self.place.is_some()
    }

    /// Puts rules in force.
    pub fn rules(&self, allow: &str, deny: &str) {
        let tables = ["hosts.allow", "hosts.deny"].map(|name| self.rule_file(name));
        for (table, text) in tables.iter().zip([allow, deny]) {
            write(table, text);
        }
        let image = common::compile(tables.each_ref().map(Path::new));
        common::put(&self.image_file().with_extension("aside"), &image);
    }

    /// Puts the image of the rules in its place, or takes it away.
    pub fn put_image(&self, wanted: bool) {
        let file = self.image_file();
        let _ = fs::remove_file(&file);
        if wanted {
            fs::hard_link(file.with_extension("aside"), &file).unwrap();
        }
    }

    fn image_file(&self) -> PathBuf {
        if self.is_private() { image::PATH.into() } else { self.directory.join("rules.img") }
    }

    fn rule_file(&self, name: &str) -> String {
        if self.is_private() { format!("/etc/{name}") } else { self.file(name) }
    }

    /// The server alone.
    pub fn bare(&self) -> Variant {
        let program = self.file(SERVICE);
        let arguments = vec![SERVICE.to_owned()];
        Variant { name: "server alone", program: program.into(), arguments, quiet: false, compiled: false }
    }

    pub fn ours(&self) -> Variant {
        let program = self.file("tcpd").into();
        if self.is_private() {
            let arguments = vec![self.file(SERVICE)];
            return Variant { name: "tcpd", program, arguments, quiet: false, compiled: false };
        }
        let mut arguments = self.own_options();
        arguments.extend(["--".to_owned(), self.file(SERVICE)]);
        Variant { name: "tcpd", program, arguments, quiet: true, compiled: false }
    }

    pub fn ours_compiled(&self) -> Variant {
        Variant { name: "tcpd, compiled", compiled: true, ..self.ours() }
    }

    /// With tables and an image of its own.
    pub fn ours_with(&self, [allow, deny, image]: [&str; 3]) -> Variant {
        let mut arguments = vec!["tcpd".to_owned()];
        if !self.is_private() {
            arguments.extend(["--config", "/dev/null", "--log", "stderr"].map(str::to_owned));
        }
        arguments.extend(["--allow", allow, "--deny", deny, "--image", image].map(str::to_owned));
        arguments.extend(["--daemon", SERVICE, "--"].map(str::to_owned));
        arguments.push(self.file(SERVICE));
        Variant { arguments, quiet: !self.is_private(), ..self.ours() }
    }

    /// What tcpd is told where the files in /etc are not the bench's, argv[0] included.
    pub fn own_options(&self) -> Vec<String> {
        let mut words = vec!["tcpd".to_owned()];
        if !self.is_private() {
            let [allow, deny] = ["hosts.allow", "hosts.deny"].map(|name| self.rule_file(name));
            let image = self.file("rules.img");
            words.extend(["--config", "/dev/null", "--log", "stderr"].map(str::to_owned));
            words.extend(["--allow", &allow, "--deny", &deny, "--image", &image].map(str::to_owned));
        }
        words.extend(["--daemon", SERVICE].map(str::to_owned));
        words
    }

    pub fn reference(&self) -> Option<Variant> {
        let program = self.file("reference").into();
        let arguments = vec![self.file(SERVICE)];
        let variant = Variant { name: REFERENCE, program, arguments, quiet: false, compiled: false };
        self.has_reference.then_some(variant)
    }

    /// Server alone, ours, and the reference where there is one: the order that the tables rely on.
    pub fn variants(&self) -> Vec<Variant> {
        [self.bare(), self.ours(), self.ours_compiled()].into_iter().chain(self.reference()).collect()
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        match &self.place {
            Some(place) => place.kill_everybody(),
            None => {
                let _ = fs::remove_dir_all(&self.directory);
            }
        }
    }
}

/// The reference, if what bears its name is it: it needs libwrap, and nothing of ours does.
fn reference() -> Option<Vec<u8>> {
    let bytes = fs::read(REFERENCE_PROGRAM).ok()?;
    let library = b"libwrap.so";
    bytes.windows(library.len()).any(|part| part == library).then_some(bytes)
}

/// The server, compiled.
fn greeter() -> Vec<u8> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/greeter.c");
    let target = format!("{}/greeter-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let flags = ["-O2", "-static", "-nostdlib", "-fno-stack-protector", "-Wall", "-Werror"];
    let compiled = Command::new("cc").args(flags).args(["-o", &target, source]).status();
    assert!(compiled.is_ok_and(|status| status.success()), "benches/greeter.c does not compile");
    let bytes = fs::read(&target).unwrap();
    fs::remove_file(&target).unwrap();
    bytes
}

/// A syslogd that throws everything away. One that does not read would block the reference for good.
fn drain_the_log() {
    let socket = UnixDatagram::bind(LOG_SOCKET).expect("a log socket of our own");
    fs::set_permissions(LOG_SOCKET, fs::Permissions::from_mode(0o666)).unwrap();
    std::thread::spawn(move || {
        let mut line = [0; 8192];
        while socket.recv(&mut line).is_ok() {}
    });
}
