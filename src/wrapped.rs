//! Which services do these rules really govern on this machine, and which of their names does anything
//! answer to?
//!
//! A rule governs a service only if somebody asks: tcpd, started by inetd, xinetd or systemd in the
//! server's stead, or a program that is linked with libwrap. This room looks for both, on the machine
//! that runs or in the tree of another one, and lays what it finds beside the daemon names of the two
//! tables. Nothing is executed and nothing changed; what cannot be looked into is told ([`Unseen`]).
//!
//! Each source has a file: `inetd`, `xinetd`, `systemd` (with `units` below it), `linked` (with `elf`),
//! `running`. `known` says under which name a program asks, and whether it asks at all; `named` reads
//! the rules. It is a door's room: command lines of tcpd are read by its own reader ([`invocation`]).
//!
//! Warning to the next author: files here are somebody else's, perhaps a hostile tree's. Read through
//! [`Tree`], with a limit, and doubt every place in them.

#![forbid(unsafe_code)]

pub mod elf;
mod inetd;
pub mod json;
mod known;
mod linked;
mod named;
mod pairs;
mod running;
pub mod screen;
mod systemd;
mod units;
mod xinetd;

use named::Around;
pub use named::{Answer, By, Hint, Name, Table, Touch};

use crate::error::{Place, Problem, SettingFlaw, Weight, What, reason};
use crate::invocation::{self, Invocation};
use crate::settings::{self, Settings};
use crate::sys::process;
use crate::sys::tree::Tree;
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest configuration file that is read, bytes.
const FILE_MAX: u64 = 1 << 20;

/// What is asked.
pub struct Question<'a> {
    pub tree: &'a Tree,
    /// The inetd.conf(5), in place of the usual one.
    pub inetd: Option<&'a Path>,
    /// The tables whose names are looked at, as that system knows them: hosts.allow, hosts.deny.
    pub tables: [PathBuf; 2],
    /// The tables that tcpd reads there if nothing else is said.
    pub usual: [PathBuf; 2],
}

/// What was found.
pub struct Findings {
    pub root: PathBuf,
    pub tables: [Table; 2],
    /// Those who ask, each under one name.
    pub services: Vec<Service>,
    /// Those who ask under names that are not known here.
    pub open: Vec<Open>,
    /// Those who could ask, and do not.
    pub idle: Vec<Idle>,
    /// The names in the rules.
    pub names: Vec<Name>,
    pub looked: Looked,
    pub unseen: Vec<Unseen>,
}

impl Findings {
    /// How many names stand in rules that are not in force though their program is here.
    pub fn errors(&self) -> usize {
        let names = self.names.iter().filter(|name| name.answer.is_error()).count();
        names
            + self.tables.iter().filter(|table| table.broken.is_some()).count()
            + usize::from(self.is_unused())
    }

    /// There are rules, and nobody asks them.
    pub fn is_unused(&self) -> bool {
        let rules: usize = self.tables.iter().map(|table| table.rules).sum();
        rules > 0 && self.open.is_empty() && !self.services.iter().any(Service::is_governed)
    }
}

/// A place in a file of that system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    pub file: PathBuf,
    /// 0 for the whole file.
    pub line: u32,
}

/// Who asks for a service that a super-server starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    Tcpd,
    /// The super-server, which is linked with libwrap.
    Itself,
}

/// How a service comes to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Inetd { at: At, service: Vec<u8>, asker: Asker },
    Xinetd { at: At, service: Vec<u8>, asker: Asker },
    Systemd { unit: String, at: At, sockets: Vec<String> },
    Linked { program: PathBuf, through: Option<PathBuf>, started: Vec<String> },
    Running { program: PathBuf, pids: Vec<u32>, library: Option<PathBuf> },
}

/// What is to be said about a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    NotEnabled,
    /// The rules it asks, where they are not these.
    OtherRules(String),
    OtherRoot,
    LibraryReplaced,
    ProgramReplaced,
    NoSuperServer(&'static str),
}

/// One way in which a service asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    pub kind: Kind,
    pub notes: Vec<Note>,
}

impl Way {
    fn is_like(&self, other: &Way) -> bool {
        match (&self.kind, &other.kind) {
            (
                Kind::Running { program, library, .. },
                Kind::Running { program: other_program, library: other_library, .. },
            ) => program == other_program && library == other_library && self.notes == other.notes,
            _ => self == other,
        }
    }

    fn join(&mut self, other: Way) {
        if let (Kind::Running { pids, .. }, Kind::Running { pids: more, .. }) = (&mut self.kind, other.kind) {
            pids.extend(more);
            pids.sort_unstable();
            pids.dedup();
        }
    }

    /// Whether it is these rules that are asked.
    fn is_governed(&self) -> bool {
        !self.notes.iter().any(|note| matches!(note, Note::OtherRules(_) | Note::OtherRoot))
    }
}

/// Somebody who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The daemon name under which it asks.
    pub name: Vec<u8>,
    /// Nobody has looked under which name: it is the file's.
    pub assumed: bool,
    pub ways: Vec<Way>,
    /// The ports it is known to listen on.
    pub ports: BTreeSet<u16>,
    /// The rules that are about it, in the order of the search.
    pub rules: Vec<Touch>,
    /// How many more there are.
    pub more: usize,
}

impl Service {
    /// Whether any of its ways asks these rules.
    pub fn is_governed(&self) -> bool {
        self.ways.iter().any(Way::is_governed)
    }

    /// The closest that any rule comes to it: by its name, by a pattern, by ALL.
    pub fn closest(&self) -> Option<By> {
        self.rules.iter().filter(|touch| !touch.excepted).map(|touch| touch.by).min()
    }
}

/// A program that asks under names of its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    pub program: PathBuf,
    pub through: Option<PathBuf>,
    /// Which names, in words.
    pub names: &'static str,
}

/// A program that is linked with libwrap and does not ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    pub program: PathBuf,
    pub through: Option<PathBuf>,
    /// The names under which it would.
    pub names: Vec<Vec<u8>>,
    pub why: String,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    pub inetd_lines: usize,
    pub xinetd_services: usize,
    pub units: usize,
    pub programs: usize,
    pub libraries: usize,
    /// None in another system's tree.
    pub processes: Option<usize>,
}

/// What could not be looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    pub what: String,
    pub why: String,
    pub count: usize,
}

/// A program that somebody starts without tcpd.
struct Start {
    program: PathBuf,
    /// Its argv[0] and the rest.
    argv: Vec<Vec<u8>>,
    by: String,
    ports: Vec<u16>,
    /// Whoever starts it has asked the rules before, under this name.
    asked_as: Option<Vec<u8>>,
}

/// What has been found so far.
struct Search<'t> {
    tree: &'t Tree,
    usual: &'t [PathBuf; 2],
    /// Numbers of services by their names (services(5)).
    numbers: HashMap<Vec<u8>, u16>,
    services: Vec<Service>,
    starts: Vec<Start>,
    /// inetd itself asks for the streams that it accepts.
    inetd_asks: bool,
    looked: Looked,
    unseen: Vec<Unseen>,
}

impl Search<'_> {
    /// Notes that a service asks.
    fn asks(&mut self, name: &[u8], assumed: bool, way: Way, ports: &[u16]) {
        let at = self.services.iter().position(|service| service.name.eq_ignore_ascii_case(name));
        let service = match at.and_then(|at| self.services.get_mut(at)) {
            Some(service) => service,
            None => {
                let (name, ways, rules) = (name.to_vec(), Vec::new(), Vec::new());
                self.services.push(Service { name, assumed, ways, ports: BTreeSet::new(), rules, more: 0 });
                let Some(service) = self.services.last_mut() else { return };
                service
            }
        };
        service.assumed &= assumed;
        service.ports.extend(ports);
        // Processes of which the same is to be said are one way.
        if let Some(known) = service.ways.iter_mut().find(|known| known.is_like(&way)) {
            known.join(way);
        } else {
            service.ways.push(way);
        }
    }

    /// Notes that something could not be looked into.
    fn cannot(&mut self, what: impl Into<String>, cause: &io::Error) {
        self.unclear(what.into(), reason(cause));
    }

    fn unclear(&mut self, what: String, why: String) {
        match self.unseen.iter_mut().find(|unseen| unseen.what == what && unseen.why == why) {
            Some(unseen) => unseen.count += 1,
            None => self.unseen.push(Unseen { what, why, count: 1 }),
        }
    }

    /// A file of at most [`FILE_MAX`] bytes, if it is there and can be read.
    fn text(&mut self, path: &Path) -> Option<Vec<u8>> {
        match self.tree.read(path, FILE_MAX) {
            Ok(text) => text,
            Err(cause) => {
                self.cannot(path.display().to_string(), &cause);
                None
            }
        }
    }

    /// The names in a directory, as far as it can be read.
    fn names(&mut self, path: &Path) -> Vec<OsString> {
        match self.tree.names(path) {
            Ok(names) => names,
            Err(cause) => {
                self.cannot(path.display().to_string(), &cause);
                Vec::new()
            }
        }
    }

    /// The port of a service: its number, or what services(5) says of its name.
    fn port(&self, service: &[u8]) -> Option<u16> {
        let number = std::str::from_utf8(service).ok().and_then(|text| text.parse().ok());
        number.or_else(|| self.numbers.get(service).copied())
    }

    fn read_numbers(&mut self) {
        let text = self.text(Path::new("/etc/services")).unwrap_or_default();
        for line in text.split(|&byte| byte == b'\n') {
            let line = line.split(|&byte| byte == b'#').next().unwrap_or_default();
            let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            let (Some(name), Some(port)) = (words.next(), words.next()) else { continue };
            let port = port.split(|&byte| byte == b'/').next().unwrap_or_default();
            let Some(port) = std::str::from_utf8(port).ok().and_then(|text| text.parse().ok()) else {
                continue;
            };
            for name in std::iter::once(name).chain(words) {
                self.numbers.entry(name.to_vec()).or_insert(port);
            }
        }
    }

    /// What tcpd is told by an argument vector, and what is to be said about the rules that it asks.
    fn tcpd(&mut self, argv: &[Vec<u8>], told_by: &str) -> Option<(Invocation, Vec<Note>)> {
        let argv = argv.iter().map(|word| OsString::from_vec(word.clone())).collect();
        let call = match invocation::read(argv, false) {
            Ok(call) => call,
            Err(_) => {
                let why = "tcpd would not understand how it is called".to_owned();
                self.unclear(told_by.to_owned(), why);
                return None;
            }
        };
        let [allow, deny] = self.rules_of(&call);
        let other = [&allow, &deny].into_iter().zip(self.usual).filter(|(own, usual)| own != usual);
        let other: Vec<_> = other.map(|(own, _)| own.display().to_string()).collect();
        let notes = if other.is_empty() { Vec::new() } else { vec![Note::OtherRules(other.join(", "))] };
        Some((call, notes))
    }

    /// The tables that a tcpd reads which is so called.
    fn rules_of(&self, call: &Invocation) -> [PathBuf; 2] {
        let [allow, deny] = match &call.config {
            None => self.usual.clone(),
            Some(config) => usual_tables(self.tree, Some(config)).0,
        };
        [call.allow.clone().unwrap_or(allow), call.deny.clone().unwrap_or(deny)]
    }
}

/// The tables that tcpd reads in a system, by its tcpd.conf(5) or one that is named; and the complaints
/// about that file.
pub fn usual_tables(tree: &Tree, config: Option<&Path>) -> ([PathBuf; 2], Vec<Problem>) {
    let of = |settings: Settings| [settings.hosts_allow, settings.hosts_deny];
    let path = config.unwrap_or(Path::new(settings::PATH));
    let unreadable = |why: String| {
        let place = Place { file: Arc::from(path), line: 0, spot: None };
        let what = What::Setting(SettingFlaw::Unreadable(why));
        (of(Settings::default()), vec![Problem::at(place, Weight::Error, what)])
    };
    match tree.outside(path) {
        Ok(Some(outside)) => {
            let reading = settings::read(Some(&outside), process::caller());
            (of(reading.settings), reading.problems)
        }
        Ok(None) if config.is_none() => (of(Settings::default()), Vec::new()),
        Ok(None) => unreadable("No such file or directory".to_owned()),
        Err(cause) => unreadable(reason(&cause)),
    }
}

/// The last component of a path, as bytes.
fn base(path: &Path) -> &[u8] {
    path.file_name().map(OsStr::as_bytes).unwrap_or_default()
}

fn last_component(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

/// Looks everywhere.
pub fn find(question: &Question<'_>) -> Findings {
    let mut search = Search {
        tree: question.tree,
        usual: &question.usual,
        numbers: HashMap::new(),
        services: Vec::new(),
        starts: Vec::new(),
        inetd_asks: false,
        looked: Looked::default(),
        unseen: Vec::new(),
    };
    search.read_numbers();

    // Who is linked with libwrap decides what lines of super-servers mean.
    let mut programs = linked::look(&mut search);
    let processes = running::look(&mut search);
    systemd::look(&mut search);
    inetd::look(&mut search, question.inetd, &programs, &processes);
    xinetd::look(&mut search, &programs);
    linked::look_elsewhere(&mut search, &mut programs);

    // Under which names do they ask?
    let (open, idle) = linked::tell(&mut search, &programs, &processes);
    running::tell(&mut search, &programs, &processes);

    // And what do the rules say?
    let [allow, deny] = &question.tables;
    let (lists, tables) = named::read(search.tree, [allow, deny]);
    let Search { mut services, starts, looked, unseen, .. } = search;
    services.sort_by(|a, b| a.name.cmp(&b.name));
    lists.touch(&mut services);
    let (services_of, tree) = (services.as_slice(), question.tree);
    let around = Around {
        services: services_of,
        open: &open,
        idle: &idle,
        starts: &starts,
        programs: &programs,
        tree,
    };
    let names = lists.names(&around);
    Findings { root: question.tree.path().to_path_buf(), tables, services, open, idle, names, looked, unseen }
}
