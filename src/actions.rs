//! What is done about a decision: the plan, and the hands that carry it out.
//!
//! [`settle`] is the only loop over "this rule does not match after all"; [`carry_out`] the only place
//! that turns options into deeds; [`RealHands`] the only caller of `sys::process` for a rule. Other
//! hands may tell instead of do; there is no dry-run flag anywhere.
//!
//! A deed that bears on access or on the server's rights (`aclexec`, `user`, `group`, `setenv`, an
//! expansion) refuses when it fails; a comfort that fails (`nice`, `linger`, a banner, a trap that
//! cannot start) is logged and passed over. Deeds run in written order; an identity is kept for the
//! commands that follow it and taken on last, right before the server or the twist command is executed.

#![forbid(unsafe_code)]

mod connection;

pub use connection::Connection;

use crate::error::{Error, OptionFlaw, Place, Problem, Weight, What, reason};
use crate::event::{About, Kind, Notes, Verdict, Why};
use crate::expand::expand;
use crate::facts::{Identity, Request};
use crate::logline::{self, Caller, Entry, Level, Line};
use crate::rules::options::{Deed, Priority, Step, assignment, trim};
use crate::sys::environment;
use crate::sys::file::{Opened, open};
use crate::sys::process::{self, Ended, Ids, Shell};
use crate::verdict::{Access, Because, Decision, IfNot, Tables, decide};
use crate::voice::Voice;
use std::ffi::{CString, OsStr};
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How a connection is to go on.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Serve it.
    Proceed,
    Refused,
    /// A twist has it. Real hands never return this: the process is the shell by then.
    HandedOver,
}

/// A banner file, as found.
pub enum Banner {
    Text(Vec<u8>),
    /// No such file, or none that can be opened, under an existing path.
    Absent,
    Trouble(String),
}

/// Whoever does the deeds. One method per kind of deed.
pub trait Hands {
    fn log(&mut self, entry: Entry);
    fn severity(&mut self, priority: Priority);
    /// Runs a trap and waits for its shell.
    fn spawn(&mut self, command: &[u8]) -> io::Result<Ended>;
    /// Runs a test and waits for it.
    fn aclexec(&mut self, command: &[u8]) -> io::Result<Ended>;
    /// Whether there is a connection to hand over, and a process that may become another.
    fn may_twist(&self) -> Result<(), OptionFlaw>;
    /// Hands the connection over.
    fn twist(&mut self, command: &[u8]) -> Result<(), Error>;
    fn set_variable(&mut self, name: &[u8], value: &[u8]) -> io::Result<()>;
    fn set_umask(&mut self, mask: u32);
    fn nice(&mut self, increment: i32) -> io::Result<()>;
    fn linger(&mut self, seconds: i32) -> io::Result<()>;
    fn keepalive(&mut self) -> io::Result<()>;
    fn read_banner(&mut self, directory: &Path, daemon: &[u8]) -> Banner;
    /// Shows text to the client, as far as it takes it.
    fn send(&mut self, text: &[u8]);
    /// Keeps an identity for what follows.
    fn assume_later(&mut self, identity: &Identity);
    /// The rule that asked for an identity did not hold.
    fn forget_identity(&mut self);
    /// This was decided, and its deeds are next.
    fn decided(&mut self, _because: &Because) {}
    /// What its rule asks for cannot be done: it is refused.
    fn failed(&mut self) {}
    /// Says that a command is about to have the connection.
    fn log_twist(&mut self, line: Entry, _request: &Request<'_>, _command: &[u8]) {
        self.log(line);
    }
    /// An option is about to act, with its expanded value. For those who tell.
    fn about_to(&mut self, _keyword: &str, _value: &[u8]) {}
}

/// Decides and acts until the connection is settled.
pub fn settle(tables: &mut Tables<'_>, request: &Request<'_>, hands: &mut dyn Hands) -> Outcome {
    loop {
        let decision = decide(tables, request);
        let remarks = decision.remarks.iter().filter(|remark| !is_of_its_rule(&decision, remark));
        for entry in remarks.flat_map(logline::problem) {
            hands.log(entry);
        }
        match carry_out(&decision, request, hands) {
            Went::To(outcome) => return outcome,
            // The outcome belongs to its rule, and so does an identity.
            Went::NotThisRule => hands.forget_identity(),
        }
    }
}

/// Whether a remark is about the options of the rule that decides: it is made when that has matched.
fn is_of_its_rule(decision: &Decision, remark: &Problem) -> bool {
    matches!((&decision.because, &remark.what), (Because::Rule(..), What::Option(_)))
}

/// What carrying out a plan came to.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    To(Outcome),
    /// An `aclexec` said no, and the rule does not match after all.
    NotThisRule,
}

/// Does all deeds of a decision, in order.
pub fn carry_out(decision: &Decision, request: &Request<'_>, hands: &mut dyn Hands) -> Went {
    let place = match &decision.because {
        Because::Rule(_, place) => Some(place),
        Because::NoRule | Because::Trouble => None,
    };
    hands.decided(&decision.because);
    let remarks = decision.remarks.iter().filter(|remark| is_of_its_rule(decision, remark));
    for entry in remarks.flat_map(logline::problem) {
        hands.log(entry);
        hands.failed();
    }
    let mut acting = Acting { decision, place, request, hands };
    for step in &decision.plan {
        match acting.act(step) {
            Ok(Next::Step) => {}
            Ok(Next::Stop(went)) => return went,
            Err(what) => {
                acting.complain(what);
                acting.hands.failed();
                return Went::To(Outcome::Refused);
            }
        }
    }
    Went::To(match decision.access {
        Access::Permit => Outcome::Proceed,
        Access::Deny => Outcome::Refused,
    })
}

enum Next {
    Step,
    Stop(Went),
}

struct Acting<'a> {
    decision: &'a Decision,
    place: Option<&'a Place>,
    request: &'a Request<'a>,
    hands: &'a mut dyn Hands,
}

impl Acting<'_> {
    /// Does one deed. An error refuses.
    #[cold]
    #[inline(never)]
    fn act(&mut self, step: &Step) -> Result<Next, What> {
        let value = match step.deed {
            Deed::Spawn | Deed::Twist | Deed::Aclexec | Deed::Setenv => {
                trim(&self.expanded(&step.value)?).to_vec()
            }
            _ => step.value.clone(),
        };
        self.hands.about_to(step.keyword, &value);
        match &step.deed {
            Deed::Allow | Deed::Deny => {}
            Deed::Severity(priority) => self.hands.severity(*priority),
            Deed::Spawn => {
                if let Err(cause) = self.hands.spawn(&value) {
                    self.pass_over("cannot run a command".to_owned(), &cause);
                }
            }
            Deed::Aclexec => return Ok(self.aclexec(&value)),
            Deed::Twist => return self.twist(&value),
            Deed::Rfc931(seconds) => {
                if let Some(seconds) = seconds {
                    self.request.ident_seconds.set(*seconds);
                }
                self.request.user();
            }
            Deed::Setenv => self.set_variable(&value)?,
            Deed::Umask(mask) => self.hands.set_umask(*mask),
            Deed::Nice(increment) => {
                if let Err(cause) = self.hands.nice(*increment) {
                    self.pass_over(format!("nice({increment})"), &cause);
                }
            }
            Deed::Linger(seconds) => {
                if let Err(cause) = self.hands.linger(*seconds) {
                    self.pass_over(format!("setsockopt SO_LINGER {seconds}"), &cause);
                }
            }
            Deed::Keepalive => {
                if let Err(cause) = self.hands.keepalive() {
                    self.pass_over("setsockopt SO_KEEPALIVE".to_owned(), &cause);
                }
            }
            Deed::Banners => self.banner(&step.value)?,
            Deed::Become(identity) => self.hands.assume_later(identity),
        }
        Ok(Next::Step)
    }

    fn complain(&mut self, what: What) {
        let problem = Problem { place: self.place.cloned(), weight: Weight::Error, what };
        for entry in logline::problem(&problem) {
            self.hands.log(entry);
        }
    }

    fn pass_over(&mut self, tried: String, cause: &io::Error) {
        self.complain(What::Passed { tried, reason: reason(cause) });
    }

    /// Expands a text; letters without a meaning and doubts about names are logged.
    fn expanded(&mut self, text: &[u8]) -> Result<Vec<u8>, What> {
        let expanded = expand(text, self.request);
        for doubt in self.request.take_doubts() {
            self.complain(What::Name(doubt));
        }
        let expanded = expanded.map_err(|_| What::TooLong(text.to_vec()))?;
        for letter in expanded.unknown {
            self.complain(What::UnknownLetter(letter));
        }
        Ok(expanded.text)
    }

    fn aclexec(&mut self, command: &[u8]) -> Next {
        let ended = self.hands.aclexec(command);
        if let Ok(Ended::Signal { pid, signal }) = ended {
            self.complain(What::Signal { pid, signal });
        }
        if matches!(ended, Ok(Ended::Exit(0))) || self.decision.if_not == IfNot::Ignore {
            return Next::Step;
        }
        self.hands.log(Entry::new(Level::Info, "aclexec returned 1"));
        let is_false = matches!(ended, Ok(Ended::Exit(1..=125)));
        Next::Stop(match self.decision.if_not {
            IfNot::GoOn if is_false => Went::NotThisRule,
            _ => Went::To(Outcome::Refused),
        })
    }

    fn twist(&mut self, command: &[u8]) -> Result<Next, What> {
        self.hands.may_twist().map_err(What::Option)?;
        let Caller { user, host, .. } = Caller::of(self.request);
        let line = Line::Twist { user, host, command: command.to_vec() };
        self.hands.log_twist(Entry::new(Level::Deny, line.print()), self.request, command);
        Ok(Next::Stop(Went::To(match self.hands.twist(command) {
            Ok(()) => Outcome::HandedOver,
            Err(error) => {
                self.hands.log(Entry::new(Level::Err, format!("error: {error}")));
                Outcome::Refused
            }
        })))
    }

    fn set_variable(&mut self, text: &[u8]) -> Result<(), What> {
        let (name, value) = assignment(text);
        let bad = || What::Option(OptionFlaw::BadValue { kind: "environment name", value: name.to_vec() });
        if name.is_empty() || name.contains(&b'=') {
            return Err(bad());
        }
        self.hands.set_variable(name, value).map_err(|_| bad())
    }

    /// Shows DIR/DAEMON to the client: each line expanded, with CRLF at its end.
    fn banner(&mut self, directory: &[u8]) -> Result<(), What> {
        let daemon = self.request.daemon.as_ref();
        if daemon.contains(&b'/') {
            return Err(What::Option(OptionFlaw::BannerName(daemon.to_vec())));
        }
        let directory = PathBuf::from(OsStr::from_bytes(directory));
        match self.hands.read_banner(&directory, daemon) {
            Banner::Absent => {}
            Banner::Trouble(reason) => {
                let tried = directory.display().to_string();
                self.complain(What::Passed { tried, reason });
            }
            Banner::Text(text) => {
                for line in text.split_inclusive(|&byte| byte == b'\n') {
                    let (line, end) = match line.strip_suffix(b"\n") {
                        Some(line) => (line, &b"\r\n"[..]),
                        None => (line, &b""[..]),
                    };
                    let line = [self.expanded(line)?.as_slice(), end].concat();
                    self.hands.send(&line);
                }
            }
        }
        Ok(())
    }
}

/// Longest banner file, bytes.
const BANNER_MAX: u64 = 1 << 20;

/// Reads the banner of a daemon.
pub fn banner(directory: &Path, daemon: &[u8]) -> Banner {
    let trouble = |cause: &io::Error| Banner::Trouble(reason(cause));
    match open(&directory.join(OsStr::from_bytes(daemon))) {
        Ok(Opened::Regular(file, _)) => {
            let mut text = Vec::new();
            match file.take(BANNER_MAX).read_to_end(&mut text) {
                Ok(_) => Banner::Text(text),
                Err(cause) => trouble(&cause),
            }
        }
        // Only a directory that is not there is worth a warning, as in the reference.
        Ok(Opened::Nothing) | Err(_) => match std::fs::metadata(directory) {
            Ok(_) => Banner::Absent,
            Err(cause) => trouble(&cause),
        },
    }
}

/// Hands that do.
pub struct RealHands<'a> {
    pub voice: &'a mut Voice,
    connection: Connection<'a>,
    /// The environment of all that is executed, once an option changed it.
    pub environment: Option<Vec<CString>>,
    /// The identity to take on before anything else is executed.
    pub ids: Option<(Vec<u8>, Ids)>,
    /// What channels with fields want to know; None where there are none.
    pub notes: Option<Notes>,
}

impl<'a> RealHands<'a> {
    pub fn new(voice: &'a mut Voice, fd: Option<BorrowedFd<'a>>) -> RealHands<'a> {
        let connection = Connection::new(fd);
        RealHands { voice, connection, environment: None, ids: None, notes: None }
    }

    fn run(&self, command: &[u8], ignores_hangup: bool) -> io::Result<Ended> {
        let environment = self.environment.as_deref();
        let ids = self.ids.as_ref().map(|(_, ids)| ids);
        Shell { command, environment, ids, ignores_hangup }.run()
    }

    /// Says how it ended: the last line about a connection.
    pub fn conclude(&mut self, request: &Request<'_>, kind: Kind) {
        let (level, line) = match kind {
            Kind::Served => (Level::Allow, Line::Connect(Caller::of(request))),
            _ => (Level::Deny, Line::Refused(Caller::of(request))),
        };
        let verdict = self.notes.as_ref().map(|notes| Verdict::of(kind, request, notes));
        self.voice.say(&Entry::new(level, line.print()).about(verdict.map(About::Verdict)));
    }

    /// Refused whatever the rules say, and this is why.
    pub fn refuse_for(&mut self, why: Why) -> Outcome {
        self.notes.iter_mut().for_each(|notes| notes.why = why);
        Outcome::Refused
    }

    /// Takes on the identity that was kept, for good.
    pub fn assume(&self) -> Result<(), Error> {
        match &self.ids {
            Some((name, ids)) => ids
                .assume()
                .map_err(|cause| Error::new("cannot become", String::from_utf8_lossy(name), cause)),
            None => Ok(()),
        }
    }
}

impl Hands for RealHands<'_> {
    fn log(&mut self, entry: Entry) {
        self.voice.say(&entry);
    }

    fn severity(&mut self, priority: Priority) {
        self.voice.set_severity(priority);
    }

    fn spawn(&mut self, command: &[u8]) -> io::Result<Ended> {
        let ended = self.run(command, true)?;
        // A child that could not become somebody else says no more than this.
        let not_run = ended == Ended::Exit(process::NOT_RUN)
            && self.ids.as_ref().is_some_and(|(_, ids)| !ids.are_ours());
        if not_run { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(ended) }
    }

    fn aclexec(&mut self, command: &[u8]) -> io::Result<Ended> {
        self.run(command, false)
    }

    fn may_twist(&self) -> Result<(), OptionFlaw> {
        self.connection.may_be_handed_over()
    }

    fn twist(&mut self, command: &[u8]) -> Result<(), Error> {
        self.assume()?;
        Err(self.connection.hand_over(command, self.environment.as_deref()))
    }

    fn set_variable(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        let before = self.environment.take().unwrap_or_else(environment::given);
        self.environment = Some(environment::with_variable(before, name, value)?);
        Ok(())
    }

    fn set_umask(&mut self, mask: u32) {
        process::set_umask(mask);
    }

    fn nice(&mut self, increment: i32) -> io::Result<()> {
        process::nice(increment)
    }

    fn linger(&mut self, seconds: i32) -> io::Result<()> {
        self.connection.linger(seconds)
    }

    fn keepalive(&mut self) -> io::Result<()> {
        self.connection.keepalive()
    }

    fn read_banner(&mut self, directory: &Path, daemon: &[u8]) -> Banner {
        banner(directory, daemon)
    }

    fn send(&mut self, text: &[u8]) {
        self.connection.send(text);
    }

    fn assume_later(&mut self, identity: &Identity) {
        let Identity { user, uid, gid, groups } = identity.clone();
        self.ids = Some((user, Ids { uid, gid, groups }));
    }

    fn forget_identity(&mut self) {
        self.ids = None;
    }

    fn decided(&mut self, because: &Because) {
        self.notes.iter_mut().for_each(|notes| notes.decided(because));
    }

    fn failed(&mut self) {
        self.notes.iter_mut().for_each(|notes| notes.why = Why::Trouble);
    }

    fn log_twist(&mut self, line: Entry, request: &Request<'_>, command: &[u8]) {
        let verdict = self.notes.as_ref().map(|notes| Verdict::of(Kind::Twisted, request, notes).to(command));
        self.voice.say(&line.about(verdict.map(About::Verdict)));
    }
}
