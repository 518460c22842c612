//! What would change? A log, decided once more under other rules.
//!
//! Lines that the wrapper and other programs wrote become connections again, as far as the log tells
//! of them; each is decided under the rules at hand, and the verdict compared with that of the line.
//! Nothing is done about it, and nobody is asked for what the log does not hold.
//!
//! The way of a line: [`source`] finds it, [`header`] or [`entry`] take its head off, [`shapes`] reads the
//! message, [`chain`] knows whether it is a new connection, [`judge`] decides, [`tally`] counts. A client of a
//! service is decided about once: under the same rules the same facts lead to the same verdict.
//!
//! Warning to the next author: what is kept of lines grows with what is different about them, and a
//! log is written by strangers. Everything that is remembered has its bound.

#![forbid(unsafe_code)]

pub mod accept;
pub mod chain;
mod doubt;
pub mod entry;
mod gaps;
pub mod header;
pub mod held;
pub mod json;
pub mod judge;
mod key;
pub mod machine;
pub mod reach;
pub mod screen;
pub mod shapes;
pub mod source;
pub mod tally;

use crate::narrator::Verdict;
use accept::{Accept, Flip};
use chain::{Chain, Renamed};
use entry::Fields;
use header::{Moment, Record, Stamp};
use held::Rules;
use judge::{Judge, Known, Machine, Manner, Outcome};
use key::Key;
use shapes::{Connection, Link, Service, Told};
use source::{Piece, Source};
use std::collections::HashMap;
use std::io;
use tally::{Counted, Seeded, Seen, Tally, When};

/// Clients of services that are remembered with their verdict; then all are forgotten.
const SEEN_MAX: usize = 1 << 18;
/// Unread lines that are kept to be shown, and bytes of each.
const UNREAD_MAX: usize = 10_000;
const SHOWN_MAX: usize = 1000;

/// How lines begin that are none: remarks of journalctl and tail, and the rest of a message of several
/// lines.
const BETWEEN: [&[u8]; 4] = [b"-- ", b"==> ", b" ", b"\t"];

/// What is wanted beside the counts.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    pub accepts: Vec<Accept>,
    pub renamed: Vec<Renamed>,
    /// Every row, and some lines of each.
    pub verbose: bool,
    /// The lines that cannot be read.
    pub unread: bool,
}

/// Lines, by what they told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Lines, and entries of journals.
    pub all: u64,
    pub connections: u64,
    /// Lines about something else.
    pub other: u64,
    pub unread: u64,
}

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    pub log: usize,
    pub number: u64,
    pub text: Vec<u8>,
}

/// The session in which this is asked, and what would become of one like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub address: Vec<u8>,
    pub outcome: Outcome,
    pub accepted: bool,
}

impl Session {
    /// Whether whoever asks would be shut out, or may be.
    pub fn is_shut_out(&self) -> bool {
        !self.accepted && self.outcome.verdicts().any(|verdict| verdict != Verdict::Granted)
    }
}

/// A replay of any number of logs.
pub struct Replay<'r> {
    pub rules: &'r Rules,
    pub judge: Judge<'r>,
    pub tally: Tally,
    pub lines: Lines,
    pub unread: Vec<Unread>,
    /// The logs, by name, in the order in which they were read.
    pub logs: Vec<String>,
    chain: Chain<Waiting>,
    seen: HashMap<Vec<u8>, Seen, Seeded>,
    key: Key,
    /// The verdict of the line before, if it told of a connection: `key` is still its.
    last: Option<Verdict>,
    pub wishes: Wishes,
}

/// A connection that is not yet counted.
struct Waiting {
    key: Key,
    was: Verdict,
    when: When,
    line: Vec<u8>,
}

/// What is counted about a connection, beside its facts.
struct Heard<'h> {
    was: Verdict,
    when: When,
    times: u64,
    /// Its line, if somebody wants to see it.
    line: &'h dyn Fn() -> Vec<u8>,
}

impl<'r> Replay<'r> {
    pub fn new(rules: &'r Rules, manner: Manner, machine: &'r dyn Machine, wishes: Wishes) -> Replay<'r> {
        Replay {
            rules,
            judge: Judge::new(rules, manner, machine),
            tally: Tally::new(wishes.accepts.clone(), wishes.verbose),
            lines: Lines::default(),
            unread: Vec::new(),
            logs: Vec::new(),
            chain: Chain::new(wishes.renamed.clone()),
            seen: HashMap::default(),
            key: Key::default(),
            last: None,
            wishes,
        }
    }

    /// Reads a log to its end, or to where it breaks off. `progress` is told the number of each line.
    pub fn read(&mut self, name: &str, mut log: Source, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
        self.logs.push(name.to_owned());
        self.last = None;
        let mut fields = Fields::default();
        if log.begins_with(entry::EXPORT)? {
            return self.read_export(log, &mut fields, progress);
        }
        loop {
            let number = log.number + 1;
            progress(number);
            let (line, is_whole) = match log.next_line()? {
                Piece::Line(line) => (line, true),
                Piece::TooLong(line) => (line, false),
                Piece::End => return Ok(()),
            };
            if line.is_empty() {
                continue;
            }
            self.lines.all += 1;
            let record = match line.first() {
                _ if !is_whole => None,
                Some(b'{') if fields.read(line) => fields.record(),
                Some(b'{') => None,
                _ => header::read(line),
            };
            match record {
                Some(record) => self.take(&record, number, line),
                None if BETWEEN.iter().any(|start| line.starts_with(start)) => self.lines.other += 1,
                None => self.cannot_read(number, line),
            }
        }
    }

    /// Entries of `KEY=value` lines, or of `KEY`, a length and bytes, with an empty line behind each.
    fn read_export(
        &mut self,
        mut log: Source,
        fields: &mut Fields,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let mut length = Vec::new();
        let mut unwanted = Vec::new();
        loop {
            fields.clear();
            let start = log.number + 1;
            let mut is_empty = true;
            let ends = loop {
                let (name, value) = match log.next_line()? {
                    Piece::Line(b"") => break false,
                    Piece::End => break true,
                    Piece::TooLong(_) => continue,
                    Piece::Line(line) => match line.iter().position(|&byte| byte == b'=') {
                        Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..)),
                        None => (line, None),
                    },
                };
                is_empty = false;
                unwanted.clear();
                let place = fields.place(name).unwrap_or(&mut unwanted);
                if let Some(value) = value {
                    place.extend_from_slice(value);
                    continue;
                }
                length.clear();
                log.take(8, &mut length)?;
                let size = length.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                log.take(size, place)?;
                log.take(1, &mut length)?;
            };
            if !is_empty {
                progress(log.number);
                self.lines.all += 1;
                match fields.record() {
                    Some(record) => self.take(&record, start, record.message),
                    None => self.lines.other += 1,
                }
            }
            if ends {
                return Ok(());
            }
        }
    }

    /// What an entry tells, counted.
    fn take(&mut self, record: &Record<'_>, number: u64, line: &[u8]) {
        let (times, message) = shapes::repeated(record.message).unwrap_or((1, record.message));
        let times = u64::from(times);
        let record = &Record { message, ..*record };
        let when = When { moment: Moment::of(record.stamp), line: self.lines.all };
        let last = self.last.take();
        let as_line = || shown(record);
        let heard = |was, times| Heard { was, when, times, line: &as_line };
        match shapes::read(record) {
            Told::Connection(connection, link) => {
                self.connection(record, &connection, link, &heard(connection.was, times));
            }
            Told::Named { called, daemon, connection } => {
                self.chain.learn(called, daemon);
                self.connection(record, &connection, Link::Refused, &heard(connection.was, times));
            }
            Told::Ended(pid) => {
                let served = self.chain.end(pid);
                served.into_iter().for_each(|waiting| self.count_waiting(waiting));
                self.lines.other += 1;
            }
            Told::Again(times) => match last {
                Some(was) => {
                    self.count(&heard(was, times.into()));
                    self.last = Some(was);
                }
                None => self.lines.other += 1,
            },
            Told::Other => self.lines.other += 1,
            Told::Unread => self.cannot_read(number, line),
        }
    }

    fn connection(
        &mut self,
        record: &Record<'_>,
        connection: &Connection<'_>,
        link: Link,
        heard: &Heard<'_>,
    ) {
        let Heard { was, when, .. } = *heard;
        let address = connection.client.address.unwrap_or_default();
        self.key.set(connection, self.chain.daemon(connection.service));
        let is_same = |waiting: &Waiting| waiting.key.bytes() == self.key.bytes();
        let is_known = match link {
            Link::Alone | Link::Begun(_) => false,
            Link::Same(port) => self.chain.is_known(record.pid, port, address),
            Link::Refused => self.chain.refuse(record.pid, when.line, is_same),
            Link::Passed => {
                self.chain.refuse(record.pid, when.line, is_same);
                true
            }
        };
        if is_known {
            self.lines.other += 1;
            return;
        }
        if let Link::Begun(pid) = link {
            let line = if self.wishes.verbose { shown(record) } else { Vec::new() };
            let served = self.chain.begin(pid, when.line, Waiting { key: self.key.clone(), was, when, line });
            served.into_iter().for_each(|waiting| self.count_waiting(waiting));
            return;
        }
        self.count(heard);
        self.last = Some(was);
    }

    /// Counts what waited, under the name that is known by now.
    fn count_waiting(&mut self, waiting: Waiting) {
        let daemon = waiting.key.called().and_then(|name| self.chain.daemon(Service::Called(name)));
        self.key = daemon.map_or(waiting.key.clone(), |daemon| waiting.key.with_daemon(daemon));
        let Waiting { was, when, line, .. } = waiting;
        self.count(&Heard { was, when, times: 1, line: &|| line.clone() });
    }

    /// Counts the connection whose facts are in `key`.
    fn count(&mut self, heard: &Heard<'_>) {
        let Heard { was, when, times, line } = *heard;
        let known = self.key.known();
        let daemon = known.daemon.or(self.key.called()).unwrap_or_default();
        let counted = Counted { was, daemon, address: known.address, name: known.name, when, times };
        let files = self.rules.files();
        self.lines.connections += times;
        if let Some(seen) = self.seen.get_mut(self.key.bytes()) {
            self.tally.count(seen, &counted, files, line);
            return;
        }
        if self.seen.len() >= SEEN_MAX {
            self.seen.clear();
        }
        let mut seen = self.tally.seen(self.judge.judge(&known), when);
        self.tally.count(&mut seen, &counted, files, line);
        self.seen.insert(self.key.bytes().to_vec(), seen);
    }

    fn cannot_read(&mut self, number: u64, line: &[u8]) {
        self.lines.unread += 1;
        if self.wishes.unread && self.unread.len() < UNREAD_MAX {
            let text = line.get(..SHOWN_MAX).unwrap_or(line).to_vec();
            self.unread.push(Unread { log: self.logs.len().saturating_sub(1), number, text });
        }
    }

    /// Counts what waited for more lines. To be called when all logs have been read.
    pub fn finish(&mut self) {
        let served = self.chain.all();
        served.into_iter().for_each(|waiting| self.count_waiting(waiting));
    }

    /// What would become of the session of whoever asks: a call of sshd, from the words of
    /// SSH_CONNECTION. None where these are no such words.
    pub fn session(&mut self, words: &[u8]) -> Option<Session> {
        let words: Vec<&[u8]> = words.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
        let [address, _, server, port] = words.as_slice() else { return None };
        let source = tally::source(address)?;
        let (daemon, server_port) = (Some(&b"sshd"[..]), header::number(port));
        let known =
            Known { daemon, address: Some(address), server: Some(server), server_port, ..Known::default() };
        let outcome = self.judge.judge(&known);
        let (files, cause, source) = (self.rules.files(), outcome.cause, Some(source));
        let is_accepted = |becomes| self.tally.is_accepted(&Flip { files, cause, becomes, source });
        let accepted = outcome.verdicts().filter(|verdict| *verdict != Verdict::Granted).all(is_accepted);
        Some(Session { address: address.to_vec(), outcome, accepted })
    }
}

/// An entry as a line, whatever it came in.
fn shown(record: &Record<'_>) -> Vec<u8> {
    let mut line = Moment::of(record.stamp).to_string().into_bytes();
    if record.stamp != Stamp::default() {
        line.push(b' ');
    }
    line.extend_from_slice(record.tag);
    if let Some(pid) = record.pid {
        line.extend_from_slice(format!("[{pid}]").as_bytes());
    }
    if !record.tag.is_empty() {
        line.extend_from_slice(b": ");
    }
    line.extend_from_slice(record.message.get(..SHOWN_MAX).unwrap_or(record.message));
    line
}
