//! Is this connection one that numbers alone decide?
//!
//! The listener decides here, in its own process, and only where that is as good as in a child: the rules
//! ask for nothing but addresses and ports, the rule that decides has no option, nothing was noticed on
//! the way, no setting wants more than the rules say, and the socket is a plain one. In any other case
//! there is no answer, and a child goes the whole way. So there is nothing here that waits for anybody,
//! and nothing that changes this process.
//!
//! The law, kept by tests: **where there is an answer, it is the child's.**

#![forbid(unsafe_code)]

use super::kept::{Bounds, Kept, Where};
use crate::error::NameDoubt;
use crate::event::{About, Kind, Notes, Verdict};
use crate::facts::{
    Ask, DaemonName, Fact, HostName, Identity, ListEnd, Membership, NoSuch, Request, Side, Sought, Transport,
    UserName,
};
use crate::logline::{Caller, Entry, Level, Line};
use crate::lookup::{endpoint, transport};
use crate::settings::{Resolve, Settings};
use crate::sys::process;
use crate::sys::socket::{self, End, Ends};
use crate::tables::image::Image;
use crate::verdict::{Access, Because, Decision, Tables, decide};
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// What numbers decide, with the line for the log.
#[must_use]
#[derive(Debug)]
pub enum Answer {
    Refused(Entry),
    Served(Entry),
}

pub struct Gate {
    daemon: Vec<u8>,
    pub kept: Option<Kept>,
    /// A refusal is no more than its line in the log.
    refuses: bool,
    /// Somebody wants to know more than the line.
    tells: bool,
}

impl Gate {
    /// The gate of a service. It is shut where settings want every rule read, or names asked for. `tells`:
    /// an answer has its event with it.
    pub fn new(daemon: &[u8], settings: &Settings, tells: bool) -> Gate {
        let Settings { hosts_allow, hosts_deny, image, .. } = settings;
        let is_shut = settings.strict || settings.paranoid || settings.resolve == Resolve::Always;
        let files = Where { allow: hosts_allow.clone(), deny: hosts_deny.clone(), image: image.clone() };
        Gate {
            daemon: daemon.to_vec(),
            kept: (!is_shut).then(|| Kept::new(files)),
            refuses: settings.refuse_delay.unwrap_or_default() == Duration::ZERO,
            tells,
        }
    }

    /// The answer for a connection that was accepted.
    pub fn answer(&mut self, connection: BorrowedFd<'_>) -> Option<Answer> {
        self.kept.as_ref()?;
        let ends = socket::ends(connection).ok()?;
        let is_plain = matches!((&ends.client, &ends.server), (End::Inet(..), End::Inet(..)))
            && transport(&ends) == Transport::Stream
            && socket::ip_options(connection).is_empty();
        if is_plain { self.answer_between(&ends) } else { None }
    }

    /// The answer for a plain connection between two addresses.
    pub fn answer_between(&mut self, ends: &Ends) -> Option<Answer> {
        let (daemon, tells) = (&self.daemon, self.tells);
        let answer = self.kept.as_mut()?.search(|image, allow, deny, bounds| {
            let mut tables = Tables::new(allow, deny, false);
            by_numbers(daemon, ends, &mut tables, &Numbers { image, bounds }, tells)
        })?;
        (self.refuses || matches!(answer, Answer::Served(_))).then_some(answer)
    }
}

/// Decides as a child would, and says so only if nothing but numbers and the rules was needed.
fn by_numbers(
    daemon: &[u8],
    ends: &Ends,
    tables: &mut Tables<'_>,
    numbers: &Numbers<'_>,
    tells: bool,
) -> Option<Answer> {
    let both = (endpoint(&ends.client), endpoint(&ends.server));
    let request = Request::new(DaemonName::stated(daemon), process::pid(), Transport::Stream, both, numbers);
    let Decision { access, because, plan, remarks, .. } = decide(tables, &request);
    if numbers.bounds.are_left() || !plan.is_empty() || !remarks.is_empty() {
        return None;
    }
    let verdict = |kind| {
        let mut notes = Notes { by_image: true, ..Notes::default() };
        notes.decided(&because);
        About::Verdict(Verdict::of(kind, &request, &notes))
    };
    let line = |level, kind, line: fn(Caller) -> Line| {
        Entry::new(level, line(Caller::of(&request)).print()).about(tells.then(|| verdict(kind)))
    };
    match (access, &because) {
        (Access::Permit, Because::Rule(..) | Because::NoRule) => {
            Some(Answer::Served(line(Level::Allow, Kind::Served, Line::Connect)))
        }
        (Access::Deny, Because::Rule(..)) => {
            Some(Answer::Refused(line(Level::Deny, Kind::Refused, Line::Refused)))
        }
        (_, Because::Trouble) | (Access::Deny, Because::NoRule) => None,
    }
}

/// An asker that knows pattern files; whatever else it is asked leaves the bounds.
struct Numbers<'a> {
    image: &'a Image,
    bounds: &'a Bounds,
}

impl Ask for Numbers<'_> {
    fn name(&self, _: Side, _: &mut Vec<NameDoubt>) -> Fact<HostName> {
        self.bounds.leave();
        Fact::Unknown
    }

    fn user(&self, _: u32) -> Fact<UserName> {
        self.bounds.leave();
        Fact::Unknown
    }

    fn in_netgroup(&self, _: &[u8], _: &[u8]) -> Membership {
        self.bounds.leave();
        Membership::No
    }

    fn word_list(&self, path: &[u8], sought: &dyn Sought, visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
        let mut visit = |word: &[u8]| self.bounds.allow_one_more() && visit(word);
        let is_kept = self.image.keeps_words(path);
        let path = Path::new(OsStr::from_bytes(path));
        let end = if is_kept { self.image.words(path, sought, &mut visit) } else { None };
        end.unwrap_or_else(|| {
            self.bounds.leave();
            ListEnd::Missing
        })
    }

    fn identity(&self, _: Option<&[u8]>, _: Option<&[u8]>) -> Result<Identity, NoSuch> {
        self.bounds.leave();
        Err(NoSuch::User)
    }

    fn interface_exists(&self, _: &[u8]) -> bool {
        self.bounds.leave();
        false
    }
}
