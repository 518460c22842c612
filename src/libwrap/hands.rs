//! What is done about a decision in a program that goes on: hands that leave it as it was.
//!
//! `user` and `group` do nothing but say so: a program that lasts would lose its rights for the next
//! client. Where the program only rehearses (`dry_run`), what can be seen from outside is left out, as in
//! the reference.

#![forbid(unsafe_code)]

use super::layout::Theirs;
use super::program;
use crate::actions::{Banner, Connection, Hands, banner};
use crate::error::{Error, OptionFlaw, Place, Problem, Weight, What, reason};
use crate::facts::Identity;
use crate::logline::{self, Entry, Level};
use crate::rules::options::Priority;
use crate::sys::process::{self, Ended, Shell};
use crate::verdict::Because;
use std::ffi::{CString, c_int};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

/// Says what went wrong.
pub fn complain(problem: &Problem) {
    logline::problem(problem).iter().for_each(program::say);
}

/// Runs a trap and waits for its shell.
pub fn trap(command: &[u8]) {
    if let Err(cause) = run(command, true) {
        let what = What::Passed { tried: "cannot run a command".to_owned(), reason: reason(&cause) };
        complain(&Problem { place: program::context(), weight: Weight::Warning, what });
    }
}

fn run(command: &[u8], ignores_hangup: bool) -> io::Result<Ended> {
    Shell { command, environment: None, ids: None, ignores_hangup }.run_unseen()
}

/// Hands in somebody else's program.
pub struct OnBehalf {
    connection: Connection<'static>,
    /// The process may become another program: it is not one that lasts.
    may_end: bool,
    /// Of the rule that is obeyed.
    place: Option<Place>,
    /// The program found the rule itself, and knows.
    found_elsewhere: bool,
}

impl OnBehalf {
    pub fn new(theirs: Theirs, may_end: bool) -> OnBehalf {
        let connection = Connection::new(theirs.descriptor());
        OnBehalf { connection, may_end, place: None, found_elsewhere: false }
    }

    pub fn for_rule_found_elsewhere(self) -> OnBehalf {
        OnBehalf { found_elsewhere: true, ..self }
    }

    /// Whether the rule that was obeyed stands in this table.
    pub fn is_at(&self, table: &Path) -> bool {
        self.place.as_ref().is_some_and(|place| &*place.file == table)
    }
}

fn rehearses() -> bool {
    program::rehearsal().load(Ordering::Relaxed) != 0
}

fn tells(least: c_int) -> bool {
    program::verbosity().load(Ordering::Relaxed) >= least
}

impl Hands for OnBehalf {
    fn log(&mut self, entry: Entry) {
        // The only line of this level is that of a twist.
        if entry.level != Level::Deny || !rehearses() {
            program::say(&entry);
        }
    }

    fn severity(&mut self, priority: Priority) {
        program::set_severity(priority);
    }

    fn spawn(&mut self, command: &[u8]) -> io::Result<Ended> {
        if !rehearses() {
            program::call_shell_cmd(&CString::new(command)?);
        }
        Ok(Ended::Exit(0))
    }

    fn aclexec(&mut self, command: &[u8]) -> io::Result<Ended> {
        if rehearses() { Ok(Ended::Exit(0)) } else { run(command, false) }
    }

    fn may_twist(&self) -> Result<(), OptionFlaw> {
        if rehearses() {
            return Ok(());
        }
        if !self.may_end {
            return Err(OptionFlaw::TwistInResident);
        }
        self.connection.may_be_handed_over()
    }

    fn twist(&mut self, command: &[u8]) -> Result<(), Error> {
        if rehearses() {
            // That it is not set any more tells a checker what would have happened.
            program::rehearsal().store(0, Ordering::Relaxed);
            return Ok(());
        }
        Err(self.connection.hand_over(command, None))
    }

    fn set_variable(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        crate::sys::program::set_variable(name, value)
    }

    fn set_umask(&mut self, mask: u32) {
        process::set_umask(mask);
    }

    fn nice(&mut self, increment: i32) -> io::Result<()> {
        if rehearses() { Ok(()) } else { process::nice(increment) }
    }

    fn linger(&mut self, seconds: i32) -> io::Result<()> {
        if rehearses() { Ok(()) } else { self.connection.linger(seconds) }
    }

    fn keepalive(&mut self) -> io::Result<()> {
        if rehearses() { Ok(()) } else { self.connection.keepalive() }
    }

    fn read_banner(&mut self, directory: &Path, daemon: &[u8]) -> Banner {
        banner(directory, daemon)
    }

    fn send(&mut self, text: &[u8]) {
        self.connection.send(text);
    }

    fn assume_later(&mut self, _: &Identity) {
        if !rehearses() {
            let place = self.place.as_ref().map(logline::context).unwrap_or_default();
            let words = b"user and group do nothing inside a program: it stays who it is";
            let line = [&b"warning: "[..], &place, words].concat();
            program::say(&Entry::new(Level::Warning, line));
        }
    }

    fn forget_identity(&mut self) {}

    fn decided(&mut self, because: &Because) {
        let Because::Rule(_, place) = because else { return };
        if tells(2) && !self.found_elsewhere {
            let line = format!("matched:  {} line {}", place.file.display(), place.line);
            program::say(&Entry::new(Level::Debug, line));
        }
        self.place = Some(place.clone());
    }

    fn about_to(&mut self, keyword: &str, value: &[u8]) {
        if tells(1) {
            let line = [format!("option:   {keyword} ").as_bytes(), value].concat();
            program::say(&Entry::new(Level::Debug, line));
        }
    }
}
