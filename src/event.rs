//! What happened, as a record: for channels that have fields, beside the line in words.
//!
//! Whoever says a line about a verdict adds a [`Verdict`]; a line about a rule has the rule's place; what
//! else is said of a connection has its two ends. Put together they are an [`Event`], which two printers
//! know: [`journal`] and [`json`]. Both are tables of fields, and what is not known has no field.
//!
//! None of this is made where nobody wants it: a connection whose only channel is syslog costs no more
//! for it than a question.

#![forbid(unsafe_code)]

pub mod journal;
pub mod json;

use crate::error::Place;
use crate::facts::{Endpoint, Fact, Request, Side, Transport};
use crate::verdict::Because;
use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// What kind of thing. The first three are verdicts; the others are lines beside one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Served,
    Refused,
    /// A twist has the connection.
    Twisted,
    Info,
    Warning,
    Error,
}

impl Kind {
    pub const ALL: [Kind; 6] =
        [Kind::Served, Kind::Refused, Kind::Twisted, Kind::Info, Kind::Warning, Kind::Error];

    pub fn word(self) -> &'static str {
        match self {
            Kind::Served => "served",
            Kind::Refused => "refused",
            Kind::Twisted => "twisted",
            Kind::Info => "info",
            Kind::Warning => "warning",
            Kind::Error => "error",
        }
    }

    /// MESSAGE_ID of systemd.journal-fields(7). Drawn once, and never to be changed: people search for
    /// them.
    pub fn message_id(self) -> &'static str {
        match self {
            Kind::Served => "706ee89358fc47e58df00cc81033805d",
            Kind::Refused => "939d19a5275a41a8929b835a155d9842",
            Kind::Twisted => "d66d27c78af543b6920cac05aa508aca",
            Kind::Info => "9ed94dfbc622463aa053888c532fe395",
            Kind::Warning => "53ebd60f9d654f36ae433c526f8cfa3d",
            Kind::Error => "19665e4b233942d2ba78c75a3b3ff7c8",
        }
    }
}

/// What led to a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Why {
    Rule,
    /// No rule matched.
    NoRule,
    /// Rules that should have been read could not be.
    #[default]
    Trouble,
    /// The packets say which way they go.
    SourceRoute,
    /// `paranoid yes`, and the name disagrees with the address.
    Paranoid,
    /// tcpd.conf(5) cannot be obeyed.
    Settings,
    /// The server is tcpd itself.
    Recursion,
    /// An identity could not be taken on.
    Identity,
    /// A mistake of ours.
    Mistake,
}

impl Why {
    pub const ALL: [Why; 9] = [
        Why::Rule,
        Why::NoRule,
        Why::Trouble,
        Why::SourceRoute,
        Why::Paranoid,
        Why::Settings,
        Why::Recursion,
        Why::Identity,
        Why::Mistake,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Why::Rule => "rule",
            Why::NoRule => "no-rule",
            Why::Trouble => "trouble",
            Why::SourceRoute => "source-route",
            Why::Paranoid => "paranoid",
            Why::Settings => "settings",
            Why::Recursion => "recursion",
            Why::Identity => "identity",
            Why::Mistake => "mistake",
        }
    }

    /// Whether things went as somebody wanted them to go.
    fn is_meant(self) -> bool {
        matches!(self, Why::Rule | Why::NoRule | Why::SourceRoute | Why::Paranoid)
    }
}

/// What is known of the client's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameStatus {
    Known,
    Unknown,
    Paranoid,
    NotAsked,
}

impl NameStatus {
    pub const ALL: [NameStatus; 4] =
        [NameStatus::Known, NameStatus::Unknown, NameStatus::Paranoid, NameStatus::NotAsked];

    pub fn word(self) -> &'static str {
        match self {
            NameStatus::Known => "known",
            NameStatus::Unknown => "unknown",
            NameStatus::Paranoid => "paranoid",
            NameStatus::NotAsked => "not-asked",
        }
    }
}

/// One end: address and port, as far as there are any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    pub address: Option<Vec<u8>>,
    pub port: Option<u16>,
}

impl From<&Endpoint> for Peer {
    fn from(end: &Endpoint) -> Peer {
        let address = match &end.address {
            Fact::Known(text) => Some(text.clone()),
            Fact::Unknown | Fact::Paranoid => None,
        };
        Peer { address, port: end.port }
    }
}

/// Who called whom: what is known without asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    pub client: Peer,
    pub server: Peer,
    pub transport: Transport,
}

impl Connection {
    pub fn of(request: &Request<'_>) -> Connection {
        Connection {
            client: Peer::from(&request.client),
            server: Peer::from(&request.server),
            transport: request.transport,
        }
    }

    /// A call of which only this end is known.
    pub fn from(client: &Endpoint, transport: Transport) -> Connection {
        Connection { client: Peer::from(client), server: Peer::default(), transport }
    }
}

/// What is noted about a connection on its way to a verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    pub why: Why,
    /// The rule that decided.
    pub rule: Option<Place>,
    /// As they came, in header order.
    pub ip_options: Vec<u8>,
    /// The rules were found by a compiled image.
    pub by_image: bool,
}

impl Notes {
    /// Notes what a decision was made by.
    pub fn decided(&mut self, because: &Because) {
        (self.why, self.rule) = match because {
            Because::Rule(_, place) => (Why::Rule, Some(place.clone())),
            Because::NoRule => (Why::NoRule, None),
            Because::Trouble => (Why::Trouble, None),
        };
    }
}

/// A verdict, and what was found out by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub kind: Kind,
    pub notes: Notes,
    pub connection: Connection,
    pub name: Option<Vec<u8>>,
    pub name_status: NameStatus,
    pub user: Option<Vec<u8>>,
    /// How long names, users, netgroups and accounts were waited for.
    pub lookups: Duration,
    /// What a twist gave the connection to.
    pub command: Option<Vec<u8>>,
}

impl Verdict {
    /// What is known by now. Nothing is asked for it.
    pub fn of(kind: Kind, request: &Request<'_>, notes: &Notes) -> Verdict {
        let name = request.name_if_asked(Side::Client);
        let good = name.and_then(Fact::good);
        let name_status = match name {
            None => NameStatus::NotAsked,
            Some(_) if good.is_some() => NameStatus::Known,
            Some(Fact::Paranoid) => NameStatus::Paranoid,
            Some(_) => NameStatus::Unknown,
        };
        Verdict {
            kind,
            notes: notes.clone(),
            connection: Connection::of(request),
            name: good.map(|name| name.as_ref().to_vec()),
            name_status,
            user: request.user_if_asked().and_then(Fact::known).map(|user| user.as_ref().to_vec()),
            lookups: request.asker().spent(),
            command: None,
        }
    }

    /// A refusal where a mistake of ours has ended everything else.
    pub fn of_mistake(connection: Connection) -> Verdict {
        Verdict {
            kind: Kind::Refused,
            notes: Notes { why: Why::Mistake, ..Notes::default() },
            connection,
            name: None,
            name_status: NameStatus::NotAsked,
            user: None,
            lookups: Duration::ZERO,
            command: None,
        }
    }

    /// The same, of a twist to a command.
    pub fn to(self, command: &[u8]) -> Verdict {
        Verdict { command: Some(command.to_vec()), ..self }
    }
}

/// What a line may be about, beside its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    Connection(Connection),
    Verdict(Verdict),
}

/// A line that was said, and all that is known about it.
#[derive(Clone, Copy, Debug)]
pub struct Event<'e> {
    pub time: SystemTime,
    pub kind: Kind,
    /// The line's words, as syslog has them.
    pub message: &'e [u8],
    /// Numbers of syslog(3), the facility not shifted.
    pub facility: u8,
    pub level: u8,
    pub daemon: &'e [u8],
    /// The same, as it stands in front of a syslog line.
    pub tag: &'e [u8],
    pub pid: u32,
    /// The rule that a complaint is about.
    pub rule: Option<&'e Place>,
    pub connection: Option<&'e Connection>,
    pub verdict: Option<&'e Verdict>,
}

/// What stands in a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'e> {
    /// Words of a log line: odd bytes are `\ooo` in it already.
    Line(&'e [u8]),
    /// Whatever bytes.
    Text(Cow<'e, [u8]>),
    Number(u64),
    Truth(bool),
    Words(&'static [&'static str]),
}

/// A field's name, and its value where there is one.
pub type Field<'e> = (&'static str, Option<Value<'e>>);

/// Longest text in a field, bytes: as in a line for syslog. Four of them may be that long, and a datagram
/// may have 200 kB.
const TEXT_MAX: usize = 16 * 1024;

impl<'e> Event<'e> {
    /// The rule that decided, or that the line is about.
    fn rule(&self) -> Option<&'e Place> {
        self.verdict.and_then(|verdict| verdict.notes.rule.as_ref()).or(self.rule)
    }

    fn client(&self) -> Option<&'e Peer> {
        self.connection.map(|connection| &connection.client)
    }

    fn server(&self) -> Option<&'e Peer> {
        self.connection.map(|connection| &connection.server)
    }

    fn transport(&self) -> Option<&'static str> {
        self.connection.map(|connection| match connection.transport {
            Transport::Stream => "tcp",
            Transport::Datagram => "udp",
            Transport::Local => "unix",
        })
    }

    /// As in the log line: `07 0b ...`.
    fn ip_options(&self) -> Option<Vec<u8>> {
        let options = &self.verdict?.notes.ip_options;
        let hex: Vec<String> = options.iter().map(|byte| format!("{byte:02x}")).collect();
        (!options.is_empty()).then(|| hex.join(" ").into_bytes())
    }

    fn command(&self) -> Option<Value<'e>> {
        self.verdict?.command.as_deref().map(text)
    }

    fn lookup_millis(&self) -> Option<u64> {
        self.verdict.map(|verdict| u64::try_from(verdict.lookups.as_millis()).unwrap_or(u64::MAX))
    }
}

fn cut(text: &[u8]) -> &[u8] {
    text.get(..TEXT_MAX).unwrap_or(text)
}

fn word<'e>(word: &'static str) -> Value<'e> {
    Value::Text(Cow::Borrowed(word.as_bytes()))
}

fn text(bytes: &[u8]) -> Value<'_> {
    Value::Text(Cow::Borrowed(cut(bytes)))
}

fn path(place: &Place) -> Value<'_> {
    text(place.file.as_os_str().as_encoded_bytes())
}
