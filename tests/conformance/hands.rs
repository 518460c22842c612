//! Real hands that say what they do, in a file that survives the process.

use nix::unistd::Uid;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use wrap::actions::{Banner, Hands, RealHands};
use wrap::error::{Error, OptionFlaw};
use wrap::facts::Identity;
use wrap::logline::{Entry, Level};
use wrap::rules::options::Priority;
use wrap::sys::process::Ended;
use wrap::verdict::Because;

/// Which of the reference's switches are set, and what is remembered from call to call.
pub struct Recording<'r, 'h> {
    pub real: RealHands<'h>,
    pub report: &'r File,
    pub verbose: i64,
    pub dry_run: bool,
    pub resident: i64,
    /// Of lines that grant and lines that refuse.
    pub severities: [i64; 2],
    /// Where the rule stands that matched last.
    pub table: PathBuf,
}

impl Recording<'_, '_> {
    pub fn note(&self, kind: &str, value: Value) {
        let line = format!("{}\n", json!({ kind: value }));
        (&mut &*self.report).write_all(line.as_bytes()).expect("the report");
    }

    fn command(&self, kind: &str, command: &[u8]) {
        self.note("spawned", json!({ "kind": kind, "command": String::from_utf8_lossy(command) }));
        if self.real.ids.is_some() && !Uid::effective().is_root() {
            self.note("needs_root", Value::Null);
        }
    }

    fn say(&self, priority: i64, message: &[u8]) {
        self.note("log", json!({ "priority": priority, "message": String::from_utf8_lossy(message) }));
    }
}

impl Hands for Recording<'_, '_> {
    fn log(&mut self, entry: Entry) {
        let priority = match entry.level {
            Level::Err => 3,
            Level::Warning => 4,
            Level::Notice => 5,
            Level::Info => 6,
            Level::Debug => 7,
            Level::Allow => self.severities[0],
            // The only line of this level is that of a twist.
            Level::Deny if self.dry_run => return,
            Level::Deny => self.severities[1],
        };
        self.say(priority, &entry.text);
    }

    fn severity(&mut self, priority: Priority) {
        let facility = i64::from(priority.facility.unwrap_or(0)) << 3;
        self.severities = [facility | i64::from(priority.level); 2];
    }

    fn spawn(&mut self, command: &[u8]) -> io::Result<Ended> {
        if self.dry_run {
            return Ok(Ended::Exit(0));
        }
        self.command("spawn", command);
        self.real.spawn(command)
    }

    fn aclexec(&mut self, command: &[u8]) -> io::Result<Ended> {
        if self.dry_run {
            return Ok(Ended::Exit(0));
        }
        self.command("aclexec", command);
        self.real.aclexec(command)
    }

    fn may_twist(&self) -> Result<(), OptionFlaw> {
        if self.dry_run {
            return Ok(());
        }
        if self.resident > 0 {
            return Err(OptionFlaw::TwistInResident);
        }
        self.real.may_twist()
    }

    fn twist(&mut self, command: &[u8]) -> Result<(), Error> {
        if self.dry_run {
            return Ok(());
        }
        self.command("twist", command);
        self.real.twist(command)
    }

    fn set_variable(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        self.real.set_variable(name, value)
    }

    fn set_umask(&mut self, mask: u32) {
        self.real.set_umask(mask);
    }

    fn nice(&mut self, increment: i32) -> io::Result<()> {
        if self.dry_run {
            return Ok(());
        }
        if increment < 0 && !Uid::effective().is_root() {
            self.note("needs_root", Value::Null);
        }
        self.real.nice(increment)
    }

    fn linger(&mut self, seconds: i32) -> io::Result<()> {
        if self.dry_run { Ok(()) } else { self.real.linger(seconds) }
    }

    fn keepalive(&mut self) -> io::Result<()> {
        if self.dry_run { Ok(()) } else { self.real.keepalive() }
    }

    fn read_banner(&mut self, directory: &Path, daemon: &[u8]) -> Banner {
        self.real.read_banner(directory, daemon)
    }

    fn send(&mut self, text: &[u8]) {
        self.real.send(text);
    }

    fn assume_later(&mut self, identity: &Identity) {
        self.real.assume_later(identity);
    }

    fn forget_identity(&mut self) {
        self.real.forget_identity();
    }

    fn decided(&mut self, because: &Because) {
        let Because::Rule(_, place) = because else { return };
        self.table = place.file.to_path_buf();
        if self.verbose >= 2 {
            let line = format!("matched:  {} line {}", place.file.display(), place.line);
            self.say(7, line.as_bytes());
        }
    }

    fn about_to(&mut self, keyword: &str, value: &[u8]) {
        if self.verbose >= 1 {
            let line = [format!("option:   {keyword} ").as_bytes(), value].concat();
            self.say(7, &line);
        }
    }
}
