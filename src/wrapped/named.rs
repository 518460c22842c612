//! Which daemon names do the rules have, what answers to each, and which rules are about a service?
//!
//! The tables are read by the language's own reader and matched by its own matcher, word by word, for a
//! daemon of that name and nothing else known: a word with a host behind `@` may or may not match, and
//! so may a port where nobody knows on which the service listens. Of a million rules with the same
//! daemon list the list is looked at once, and the first places are kept.

#![forbid(unsafe_code)]

use super::linked::Programs;
use super::{At, Idle, Kind, Open, Service, Start, base, last_component};
use crate::advice::patterns;
use crate::error::reason;
use crate::facts::{DaemonName, Endpoint, Request, Stated, Transport};
use crate::logline;
use crate::rules::grammar::daemon_pattern;
use crate::rules::{Entry, Item, List, Parsed, Process, Table as _, TextPattern};
use crate::sys::tree::Tree;
use crate::tables::TextTable;
use crate::verdict::Answer as Match;
use crate::verdict::matcher::{Matcher, walk};
use crate::words::nearest;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

/// Most places that are kept of anything.
const PLACES_MAX: usize = 20;
/// Longest program that is looked through for a copy of libwrap, bytes.
const PROGRAM_MAX: u64 = 1 << 26;

/// A table, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub file: PathBuf,
    pub rules: usize,
    /// There is no such file, which is as good as an empty one.
    pub missing: bool,
    /// Why it cannot be read to its end.
    pub broken: Option<String>,
}

/// How a rule comes to be about a service, the closest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    Name,
    Port,
    Pattern,
    All,
}

/// A rule that is about a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    pub at: At,
    /// The word of its daemon list that is.
    pub word: Vec<u8>,
    pub by: By,
    /// It is about it at every address and port.
    pub sure: bool,
    /// The word stands behind EXCEPT, and the rule is not about the service.
    pub excepted: bool,
}

/// A daemon name in the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// As the first rule writes it, without a host.
    pub word: Vec<u8>,
    pub by: By,
    /// The first places of it.
    pub places: Vec<At>,
    pub count: usize,
    pub answer: Answer,
}

/// What answers to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These services.
    Services(Vec<Vec<u8>>),
    /// These, but they ask other rules.
    OtherRules(Vec<Vec<u8>>),
    /// A program that could ask, and does not.
    Idle {
        program: PathBuf,
        why: String,
    },
    /// A program of that name that is not linked with libwrap, and who starts it without tcpd.
    Unwrapped {
        program: PathBuf,
        by: Option<String>,
    },
    /// A program of that name that may have libwrap built in.
    BuiltIn(PathBuf),
    /// It is a port, and nobody knows who listens on it.
    Port,
    /// Perhaps these programs, which ask under names that are not known here.
    Perhaps(Vec<PathBuf>),
    Nothing(Option<Hint>),
}

impl Answer {
    /// A rule is not in force whose program is here.
    pub fn is_error(&self) -> bool {
        matches!(self, Answer::Idle { .. } | Answer::Unwrapped { .. })
    }
}

/// What may have been meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The program of that name asks, or is asked for, under another.
    AsksAs {
        program: PathBuf,
        names: Vec<Vec<u8>>,
    },
    /// It is the name of a service, whose daemon has another.
    Daemon(Vec<u8>),
    Near(Vec<u8>),
}

/// Daemon lists, and where they stand.
#[derive(Default)]
pub struct Lists {
    lists: Vec<Places>,
    index: HashMap<Vec<u8>, usize>,
}

struct Places {
    text: Vec<u8>,
    /// In each table: the first lines, and how many there are.
    lines: [(Vec<u32>, usize); 2],
}

impl Places {
    fn count(&self) -> usize {
        self.lines.iter().map(|(_, count)| count).sum()
    }

    /// The first places: a table and a line of it.
    fn first(&self) -> impl Iterator<Item = (usize, u32)> {
        let of_table = |(table, (lines, _)): (usize, &'_ (Vec<u32>, usize))| {
            lines.clone().into_iter().map(move |line| (table, line))
        };
        self.lines.iter().enumerate().flat_map(of_table)
    }
}

/// Reads both tables of a system.
pub fn read(tree: &Tree, [allow, deny]: [&Path; 2]) -> (Tables, [Table; 2]) {
    let mut lists = Lists::default();
    let found = [(0, allow), (1, deny)].map(|(number, path)| lists.read(number, path, tree.outside(path)));
    let files = found.clone().map(|table| table.file);
    (Tables { lists, files }, found)
}

impl Lists {
    /// Reads a table that this system knows by another path.
    fn read(&mut self, number: usize, path: &Path, outside: io::Result<Option<PathBuf>>) -> Table {
        let mut table = Table { file: path.to_path_buf(), rules: 0, missing: false, broken: None };
        let outside = match outside {
            Ok(Some(outside)) => outside,
            Ok(None) => return Table { missing: true, ..table },
            Err(cause) => {
                return Table { broken: Some(format!("{}: {}", path.display(), reason(&cause))), ..table };
            }
        };
        let mut text = TextTable::new(&outside);
        loop {
            match text.next() {
                Entry::Line(line, Parsed::Rule(rule)) => {
                    table.rules += 1;
                    self.add(rule.daemons, (number, line.number));
                }
                // It never grants, but it may refuse those whom it names.
                Entry::Line(line, Parsed::Malformed(malformed)) => {
                    malformed.daemons.into_iter().for_each(|list| self.add(list, (number, line.number)));
                }
                Entry::Line(..) => {}
                Entry::Again => {
                    table.rules = 0;
                    self.forget(number);
                }
                Entry::Broken(problems) => {
                    let said = problems.iter().map(logline::sentence).collect::<Vec<_>>().join(&b"; "[..]);
                    let said = String::from_utf8_lossy(&said);
                    let own = (outside.display().to_string(), path.display().to_string());
                    return Table { broken: Some(said.replace(&own.0, &own.1)), ..table };
                }
                Entry::End => return table,
            }
        }
    }

    fn add(&mut self, list: List<'_>, (table, line): (usize, u32)) {
        let at = *self.index.entry(list.0.to_vec()).or_insert_with(|| {
            self.lists.push(Places { text: list.0.to_vec(), lines: Default::default() });
            self.lists.len() - 1
        });
        let places = self.lists.get_mut(at).and_then(|places| places.lines.get_mut(table));
        if let Some((lines, count)) = places {
            *count += 1;
            if lines.len() < PLACES_MAX {
                lines.push(line);
            }
        }
    }

    /// What a table said so far is void.
    fn forget(&mut self, table: usize) {
        for lines in self.lists.iter_mut().filter_map(|places| places.lines.get_mut(table)) {
            *lines = (Vec::new(), 0);
        }
    }
}

/// The daemon lists of two tables.
pub struct Tables {
    lists: Lists,
    files: [PathBuf; 2],
}

/// What there is, when a name is asked about.
pub struct Around<'a> {
    pub services: &'a [Service],
    pub open: &'a [Open],
    pub idle: &'a [Idle],
    pub starts: &'a [Start],
    pub programs: &'a Programs,
    pub tree: &'a Tree,
}

impl Tables {
    fn at(&self, (table, line): (usize, u32)) -> At {
        At { file: self.files.get(table).cloned().unwrap_or_default(), line }
    }

    /// Says of each service which rules are about it.
    pub fn touch(&self, services: &mut [Service]) {
        for service in services {
            let (mut touches, mut all) = (Vec::new(), 0);
            for places in &self.lists.lists {
                let Some((word, by, sure, excepted)) = about(List(&places.text), service) else { continue };
                all += places.count();
                touches.extend(places.first().map(|place| (place, word, by, sure, excepted)));
            }
            touches.sort_by_key(|(place, ..)| *place);
            touches.truncate(PLACES_MAX);
            service.more = all - touches.len().min(all);
            let touch = |(place, word, by, sure, excepted): ((usize, u32), &[u8], By, bool, bool)| Touch {
                at: self.at(place),
                word: word.to_vec(),
                by,
                sure,
                excepted,
            };
            service.rules = touches.into_iter().map(touch).collect();
        }
    }

    /// The names in the rules, in the order in which they come up, and what answers to each.
    pub fn names(&self, around: &Around<'_>) -> Vec<Name> {
        let mut names: Vec<(Name, Vec<(usize, u32)>)> = Vec::new();
        let mut index: HashMap<Vec<u8>, usize> = HashMap::new();
        for places in &self.lists.lists {
            let mut seen = BTreeSet::new();
            // One that stood in a text which is void.
            if places.count() == 0 {
                continue;
            }
            for item in List(&places.text).items() {
                let Item::Word(word) = item else { continue };
                let process = patterns::parts(word).0;
                let by = kind(word);
                if by == By::All || process.eq_ignore_ascii_case(b"unknown") {
                    continue;
                }
                let key = process.to_ascii_lowercase();
                if !seen.insert(key.clone()) {
                    continue;
                }
                let at = *index.entry(key).or_insert_with(|| {
                    let answer = around.answer(process, by);
                    let word = process.to_vec();
                    names.push((Name { word, by, places: Vec::new(), count: 0, answer }, Vec::new()));
                    names.len() - 1
                });
                if let Some((name, all)) = names.get_mut(at) {
                    name.count += places.count();
                    all.extend(places.first());
                }
            }
        }
        names.sort_by_key(|(_, places)| places.iter().min().copied());
        let with_places = |(name, mut places): (Name, Vec<(usize, u32)>)| {
            places.sort_unstable();
            places.truncate(PLACES_MAX);
            Name { places: places.into_iter().map(|place| self.at(place)).collect(), ..name }
        };
        names.into_iter().map(with_places).collect()
    }
}

fn kind(word: &[u8]) -> By {
    match daemon_pattern(word).process {
        Process::Port(_) => By::Port,
        Process::Named(TextPattern::All | TextPattern::Known) => By::All,
        Process::Named(TextPattern::Exact(_) | TextPattern::Bracketed(_)) => By::Name,
        Process::Named(_) => By::Pattern,
    }
}

/// Whether a word is about a daemon of a name that listens on ports, as far as they are known.
fn fits(word: &[u8], name: &[u8], ports: &BTreeSet<u16>) -> Match {
    let pattern = daemon_pattern(word);
    let answer = match pattern.process {
        Process::Port(port) if ports.contains(&port) => Match::Yes,
        Process::Port(_) if ports.is_empty() => Match::TwoWays,
        Process::Port(_) => Match::No,
        // Most words are names, and there may be many: for these no request is made up.
        Process::Named(TextPattern::Exact(text)) => text.eq_ignore_ascii_case(name).into(),
        Process::Named(_) => {
            let ends = (Endpoint::unknown(), Endpoint::unknown());
            let request = Request::new(DaemonName::stated(name), 1, Transport::Stream, ends, &Stated);
            Matcher::new(&request).daemons(List(patterns::parts(word).0))
        }
    };
    // At which address of this machine it is called is not known.
    if pattern.host.is_some() { answer.and(|| Match::TwoWays) } else { answer }
}

/// Whether a list is about a service: the word by which it is, how, whether for sure, and whether that
/// word stands behind an EXCEPT, so that it is not.
fn about<'l>(list: List<'l>, service: &Service) -> Option<(&'l [u8], By, bool, bool)> {
    let one = |word: &[u8]| fits(word, &service.name, &service.ports);
    let answer = walk(list, one);
    let mut excepts = 0;
    let words = list.items().filter_map(|item| match item {
        Item::Except => {
            excepts += 1;
            None
        }
        Item::Word(word) => Some((excepts, word)),
    });
    let fitting: Vec<_> = words.filter(|(_, word)| one(word) != Match::No).collect();
    let closest = |behind: bool| {
        let of_part = fitting.iter().filter(move |(excepts, _)| (*excepts > 0) == behind);
        of_part.map(|(_, word)| (kind(word), *word)).min()
    };
    let (by, word) = closest(false)?;
    match answer {
        Match::Yes => Some((word, by, true, false)),
        Match::TwoWays => Some((word, by, false, false)),
        Match::No => closest(true).map(|(by, word)| (word, by, true, true)),
    }
}

impl Around<'_> {
    /// What answers to a word.
    fn answer(&self, word: &[u8], by: By) -> Answer {
        let no_ports = BTreeSet::new();
        let is_named = |name: &[u8]| by != By::Port && fits(word, name, &no_ports) == Match::Yes;
        let meant = |service: &&Service| fits(word, &service.name, &service.ports) == Match::Yes;
        let names =
            |services: Vec<&Service>| services.into_iter().map(|service| service.name.clone()).collect();
        let (own, others): (Vec<&Service>, Vec<&Service>) =
            self.services.iter().filter(meant).partition(|service| service.is_governed());
        if !own.is_empty() {
            return Answer::Services(names(own));
        }
        if !others.is_empty() {
            return Answer::OtherRules(names(others));
        }
        if by == By::Port {
            return Answer::Port;
        }
        let would =
            |idle: &&Idle| idle.names.iter().any(|name| is_named(name)) || is_named(base(&idle.program));
        if let Some(idle) = self.idle.iter().find(would) {
            return Answer::Idle { program: idle.program.clone(), why: idle.why.clone() };
        }
        if let Some(program) = self.programs.linked(word) {
            let names = self.services.iter().filter(|service| has(service, &program.path));
            let names: Vec<_> = names.map(|service| service.name.clone()).collect();
            if !names.is_empty() {
                return Answer::Nothing(Some(Hint::AsksAs { program: program.path.clone(), names }));
            }
        }
        self.unwrapped(word, is_named).unwrap_or_else(|| match self.open.is_empty() {
            true => Answer::Nothing(self.hint(word)),
            false => Answer::Perhaps(self.open.iter().map(|open| open.program.clone()).collect()),
        })
    }

    /// A program of that name that is here, and does not ask; or another asks for it, by another name.
    fn unwrapped(&self, word: &[u8], is_named: impl Fn(&[u8]) -> bool) -> Option<Answer> {
        let is_meant = |start: &&Start| {
            let name = start.argv.first().map_or(&b""[..], |name| last_component(name));
            (is_named(name) || is_named(base(&start.program))) && self.programs.at(&start.program).is_none()
        };
        let starts = || self.starts.iter().filter(is_meant);
        let start = starts().find(|start| start.asked_as.is_none()).or_else(|| starts().next());
        let (program, by) = match start {
            Some(start) if start.asked_as.is_some() => {
                let names = start.asked_as.iter().cloned().collect();
                return Some(Answer::Nothing(Some(Hint::AsksAs { program: start.program.clone(), names })));
            }
            Some(start) => (start.program.clone(), Some(start.by.clone())),
            None => (self.programs.other(word)?.to_path_buf(), None),
        };
        match self.may_have_it_built_in(&program) {
            true => Some(Answer::BuiltIn(program)),
            false => Some(Answer::Unwrapped { program, by }),
        }
    }

    /// Whether a program knows the path of a table: a library that was linked into it leaves that.
    fn may_have_it_built_in(&self, program: &Path) -> bool {
        const TRACE: &[u8] = b"/etc/hosts.allow";
        let bytes = self.tree.read(program, PROGRAM_MAX).ok().flatten().unwrap_or_default();
        bytes.starts_with(b"\x7fELF") && bytes.windows(TRACE.len()).any(|piece| piece == TRACE)
    }

    fn hint(&self, word: &[u8]) -> Option<Hint> {
        let is_service = |service: &&Service| {
            service.ways.iter().any(|way| match &way.kind {
                Kind::Inetd { service, .. } | Kind::Xinetd { service, .. } => {
                    service.eq_ignore_ascii_case(word)
                }
                _ => false,
            })
        };
        if let Some(service) = self.services.iter().find(is_service) {
            return Some(Hint::Daemon(service.name.clone()));
        }
        let names = self.services.iter().map(|service| service.name.as_slice());
        nearest(word, names).map(|name| Hint::Near(name.to_vec()))
    }
}

fn has(service: &Service, path: &Path) -> bool {
    service.ways.iter().any(|way| matches!(&way.kind, Kind::Linked { program, .. } if program == path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, ports: &[u16]) -> Service {
        let ports = ports.iter().copied().collect();
        let (ways, rules) = (Vec::new(), Vec::new());
        Service { name: name.as_bytes().to_vec(), assumed: false, ways, ports, rules, more: 0 }
    }

    #[test]
    fn a_list_is_about_a_service_by_its_closest_word() {
        let sshd = service("sshd", &[]);
        let said = |list: &str| {
            about(List(list.as_bytes()), &sshd).map(|(word, by, sure, excepted)| {
                (String::from_utf8_lossy(word).into_owned(), by, sure, excepted)
            })
        };
        let row = |word: &str, by, sure, excepted| Some((word.to_owned(), by, sure, excepted));
        assert_eq!(said("in.ftpd, SSHD"), row("SSHD", By::Name, true, false));
        assert_eq!(said("ALL sshd"), row("sshd", By::Name, true, false));
        assert_eq!(said("s*d"), row("s*d", By::Pattern, true, false));
        assert_eq!(said("sshd@192.0.2.1"), row("sshd@192.0.2.1", By::Name, false, false));
        assert_eq!(said("ALL EXCEPT sshd"), row("sshd", By::Name, true, true));
        assert_eq!(said("ALL EXCEPT in.ftpd"), row("ALL", By::All, true, false));
        assert_eq!(said("ALL EXCEPT s* EXCEPT sshd"), row("ALL", By::All, true, false));
        assert_eq!(said("ALL EXCEPT sshd@192.0.2.1"), row("ALL", By::All, false, false));
        assert_eq!(said("in.ftpd EXCEPT sshd"), None);
        assert_eq!(said("22"), row("22", By::Port, false, false));
        assert_eq!(about(List(b"22"), &service("sshd", &[22])), Some((&b"22"[..], By::Port, true, false)));
        assert_eq!(about(List(b"22"), &service("sshd", &[23])), None);
    }
}
