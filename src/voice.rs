//! To whom it is said: syslog, the journal, files of JSON, or standard error where that is certainly not
//! the client.
//!
//! Carries the two severities that the `severity` option sets, so that every later line of the same
//! connection obeys them. Channels of lines get the line; channels with fields get an
//! [`Event`], which is put together here and only for them.
//!
//! Nobody who does not read holds a connection. There is one patience for all channels together: each has
//! its share.

#![forbid(unsafe_code)]

pub mod channels;
mod fields;
mod stderr;

pub use channels::Channels;

use crate::event::{About, Connection, Event};
use crate::logline::{Entry, Level, escape, printable};
use crate::rules::options::Priority;
use crate::sys::mailbox::{PATIENCE, PATIENCE_LASTING};
use crate::sys::syslog::{Message, Syslog};
use fields::Fields;
use std::path::Path;
use std::time::{Duration, SystemTime};
use stderr::Stderr;

/// Who speaks: the name in front of the process id, which is the daemon's.
struct Speaker {
    tag: Vec<u8>,
    pid: u32,
}

/// Where it is said.
enum Channel {
    Syslog(Syslog),
    Stderr(Stderr),
    Fields(Fields),
}

impl Channel {
    /// Whether somebody may have to be waited for.
    fn may_wait(&self) -> bool {
        match self {
            Channel::Syslog(_) | Channel::Stderr(_) => true,
            Channel::Fields(fields) => fields.may_wait(),
        }
    }

    fn set_patience(&mut self, patience: Duration, renewed: bool) {
        match self {
            Channel::Syslog(syslog) => syslog.set_patience(patience, renewed),
            Channel::Stderr(stderr) => stderr.set_patience(patience, renewed),
            Channel::Fields(fields) => fields.set_patience(patience, renewed),
        }
    }
}

/// Channels, who speaks, and the severities of this connection.
pub struct Voice {
    channel: Channel,
    /// Those beside the first.
    further: Vec<Channel>,
    has_fields: bool,
    speaker: Speaker,
    /// That of lines whose rule names none.
    facility: u8,
    allow: Priority,
    deny: Priority,
    /// What is spoken about, for channels with fields.
    connection: Option<Connection>,
}

impl Voice {
    /// Speaks to the syslogd at `path`.
    fn to_syslog(path: &Path, speaker: Speaker, facility: u8) -> Voice {
        let syslog = Syslog::new(path, &safe(&speaker.tag), speaker.pid, facility);
        Voice::on(Channel::Syslog(syslog), speaker, facility)
    }

    fn on(channel: Channel, speaker: Speaker, facility: u8) -> Voice {
        let default = |level: Level| Priority { facility: None, level: level.number() };
        Voice {
            has_fields: matches!(channel, Channel::Fields(_)),
            channel,
            further: Vec::new(),
            speaker,
            facility,
            allow: default(Level::Allow),
            deny: default(Level::Deny),
            connection: None,
        }
    }

    /// The same, on one more channel.
    fn and(mut self, channel: Channel) -> Voice {
        self.has_fields |= matches!(channel, Channel::Fields(_));
        self.further.push(channel);
        self.share(PATIENCE, false);
        self
    }

    fn channels(&mut self) -> impl Iterator<Item = &mut Channel> {
        std::iter::once(&mut self.channel).chain(&mut self.further)
    }

    fn share(&mut self, patience: Duration, renewed: bool) {
        let waiting = self.channels().filter(|channel| channel.may_wait()).count();
        let share = patience / u32::try_from(waiting.max(1)).unwrap_or(u32::MAX);
        self.channels().for_each(|channel| channel.set_patience(share, renewed));
    }

    /// For a process that lasts: a reader that sleeps is waited for once, a moment, until it is awake.
    pub fn lasting(mut self) -> Voice {
        self.share(PATIENCE_LASTING, true);
        self
    }

    /// Whether anybody wants to know more than the line.
    pub fn has_fields(&self) -> bool {
        self.has_fields
    }

    /// From here on lines are about this connection.
    pub fn speak_about(&mut self, connection: Connection) {
        self.connection = Some(connection);
    }

    pub fn spoken_about(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    /// From here on lines are those of another process, or of this one again.
    pub fn speaks_for(&mut self, pid: u32) {
        self.speaker.pid = pid;
        for channel in self.channels() {
            if let Channel::Syslog(syslog) = channel {
                syslog.speaks_for(pid);
            }
        }
    }

    /// Obeys a `severity` option, for good.
    pub fn set_severity(&mut self, priority: Priority) {
        (self.allow, self.deny) = (priority, priority);
    }

    pub fn say(&mut self, entry: &Entry) {
        let text = printable(&entry.text);
        let priority = match entry.level {
            Level::Allow => self.allow,
            Level::Deny => self.deny,
            level => Priority { facility: None, level: level.number() },
        };
        let pid = self.speaker.pid;
        for channel in self.channels() {
            match channel {
                Channel::Syslog(syslog) => {
                    let facility = priority.facility.unwrap_or(0);
                    syslog.send(Message { facility, level: priority.level, text: &text });
                }
                Channel::Stderr(stderr) => stderr.say(pid, &text),
                Channel::Fields(_) => {}
            }
        }
        if self.has_fields {
            self.tell(entry, priority, &text);
        }
    }

    /// Tells channels with fields.
    #[cold]
    #[inline(never)]
    fn tell(&mut self, entry: &Entry, priority: Priority, text: &[u8]) {
        let (connection, verdict) = match entry.about.as_deref() {
            Some(About::Verdict(verdict)) => (Some(&verdict.connection), Some(verdict)),
            Some(About::Connection(connection)) => (Some(connection), None),
            None => (self.connection.as_ref(), None),
        };
        let tag = safe(&self.speaker.tag);
        let event = Event {
            time: SystemTime::now(),
            kind: entry.kind(),
            message: text,
            // 0 is the kernel's, and nobody's here.
            facility: priority.facility.filter(|&facility| facility != 0).unwrap_or(self.facility),
            level: priority.level,
            daemon: &self.speaker.tag,
            tag: &tag,
            pid: self.speaker.pid,
            rule: entry.rule.as_ref(),
            connection,
            verdict,
        };
        for channel in std::iter::once(&mut self.channel).chain(&mut self.further) {
            if let Channel::Fields(fields) = channel {
                fields.tell(&event);
            }
        }
    }

    pub fn say_all(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.say(entry);
        }
    }
}

fn safe(tag: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(tag.len());
    escape(tag, b"[]:", &mut out);
    out
}
