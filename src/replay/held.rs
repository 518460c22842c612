//! The rules, held in memory: they are asked for every client of a log, and the answers must be about
//! the same rules from its first line to its last.
//!
//! The tables are read once, by the reader that the wrapper has; lines that are no rules at all are left
//! out. Asked about a client, a table leaves out what surely does not match him, whatever else may be
//! missing: rules for other services, and in lists of bans the lines with another address. Pattern files
//! are read when a rule first names them, and their plain addresses are looked up.

#![forbid(unsafe_code)]

use super::reach::{Stretch, plain4, reach};
use crate::facts::{DaemonName, Endpoint, ListEnd, Request, Sought, Stated, Transport};
use crate::rules::{Entry, Item, List, Parsed, Process, Table, Which, grammar};
use crate::tables::held::Text;
use crate::tables::word_list;
use crate::verdict::Answer;
use crate::verdict::matcher::Matcher;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

/// Whether any rule asks at which address or port the service was called.
fn asks_for_server(text: &Text) -> bool {
    let asks = |item| match item {
        Item::Word(word) => {
            let pattern = grammar::daemon_pattern(word);
            pattern.host.is_some() || matches!(pattern.process, Process::Port(_))
        }
        Item::Except => false,
    };
    text.lines().any(|(_, line)| match grammar::line(line) {
        Parsed::Rule(rule) => rule.daemons.items().any(asks),
        Parsed::Malformed(malformed) => malformed.daemons.into_iter().flat_map(List::items).any(asks),
        Parsed::Nothing | Parsed::NoColon => false,
    })
}

/// Both tables, and the pattern files that they name.
pub struct Rules {
    pub allow: Text,
    pub deny: Text,
    pub ask_for_server: bool,
    words: RefCell<HashMap<Vec<u8>, Rc<Words>>>,
}

/// A pattern file, and how it ended.
struct Words {
    /// Plain addresses.
    plain: HashSet<u32>,
    /// All other words, one a line.
    others: Vec<u8>,
    end: ListEnd,
}

impl Words {
    fn read(path: &Path) -> Words {
        let (mut plain, mut others) = (HashSet::new(), Vec::new());
        let end = word_list(path, &mut |word| {
            match plain4(word) {
                Some(address) => {
                    plain.insert(address);
                }
                None => {
                    others.extend_from_slice(word);
                    others.push(b'\n');
                }
            }
            true
        });
        Words { plain, others, end }
    }

    /// Shows the words that may match an address. The order of words does not matter to an answer.
    fn visit(&self, address: &[u8], visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
        let own = grammar::unmapped(address);
        let is_there = plain4(own).is_some_and(|own| self.plain.contains(&own));
        let others = self.others.split(|&byte| byte == b'\n').filter(|word| !word.is_empty());
        for word in is_there.then_some(own).into_iter().chain(others) {
            if !visit(word) {
                return ListEnd::Read;
            }
        }
        self.end.clone()
    }
}

impl Rules {
    pub fn read(allow: &Path, deny: &Path) -> Rules {
        let (allow, deny) = (Text::read(allow), Text::read(deny));
        let ask_for_server = asks_for_server(&allow) || asks_for_server(&deny);
        Rules { allow, deny, ask_for_server, words: RefCell::default() }
    }

    /// Where the tables are: hosts.allow, hosts.deny.
    pub fn files(&self) -> [&Path; 2] {
        [&self.allow.file, &self.deny.file]
    }

    pub fn text(&self, which: Which) -> &Text {
        match which {
            Which::Allow => &self.allow,
            Which::Deny => &self.deny,
        }
    }

    /// Shows the words of a pattern file that may match an address, until `visit` returns false.
    pub fn word_list(&self, path: &[u8], address: &[u8], visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
        let known = self.words.borrow().get(path).cloned();
        let words = known.unwrap_or_else(|| {
            let words = Rc::new(Words::read(Path::new(OsStr::from_bytes(path))));
            self.words.borrow_mut().insert(path.to_vec(), Rc::clone(&words));
            words
        });
        words.visit(address, visit)
    }
}

/// Services whose rules are remembered.
const SERVICES_MAX: usize = 1000;

/// A table over a text in memory.
pub struct Held<'t> {
    text: &'t Text,
    /// Where lines stand that are for one plain address and nobody else.
    plain: HashMap<u32, Vec<usize>>,
    /// All other lines.
    others: Vec<Other<'t>>,
    /// Those of the others that may be for a service, by its name.
    serving: HashMap<Vec<u8>, Rc<[usize]>>,
    /// What is shown for the client at hand; None for all.
    chosen: Option<Chosen>,
    at: usize,
}

/// A line that is not for one address alone.
struct Other<'t> {
    at: usize,
    parsed: Parsed<'t>,
    /// The IPv4 clients that it can be for; None if they may be any.
    reach: Option<Box<[Stretch]>>,
}

impl Other<'_> {
    fn may_be_for(&self, client: Option<u32>) -> bool {
        let (Some(reach), Some(client)) = (&self.reach, client) else { return true };
        reach.iter().any(|(first, last)| (first..=last).contains(&&client))
    }
}

/// Lines for a client: places in `others`, and lines for his very address.
struct Chosen {
    others: Rc<[usize]>,
    own: Vec<usize>,
    /// His address, if it is a plain one.
    address: Option<u32>,
    /// How many of both have been shown.
    shown: (usize, usize),
}

impl<'t> Held<'t> {
    pub fn new(text: &'t Text) -> Held<'t> {
        let (mut plain, mut others) = (HashMap::<u32, Vec<usize>>::new(), Vec::new());
        for (at, (_, line)) in text.lines().enumerate() {
            let parsed = grammar::line(line);
            match only_address(&parsed) {
                Some(address) => plain.entry(address).or_default().push(at),
                None => others.push(Other { at, reach: reach_of(&parsed), parsed }),
            }
        }
        let all = (0..others.len()).collect();
        let serving = HashMap::from([(Vec::new(), all)]);
        Held { text, plain, others, serving, chosen: None, at: 0 }
    }

    /// Back to the first line, for a client of a service. A service without a name may be any; nothing is
    /// left out for a client without an address.
    pub fn begin(&mut self, daemon: Option<&[u8]>, address: Option<&[u8]>) {
        self.at = 0;
        self.chosen = address.map(|address| {
            let address = plain4(grammar::unmapped(address));
            let own = address.and_then(|own| self.plain.get(&own)).cloned().unwrap_or_default();
            Chosen { others: self.others_for(daemon.unwrap_or_default()), own, address, shown: (0, 0) }
        });
    }

    fn others_for(&mut self, daemon: &[u8]) -> Rc<[usize]> {
        if let Some(known) = self.serving.get(daemon) {
            return Rc::clone(known);
        }
        let ends = (Endpoint::unknown(), Endpoint::unknown());
        let request = Request::new(DaemonName::stated(daemon), 1, Transport::Stream, ends, &Stated);
        let matcher = Matcher::new(&request);
        let may_serve = |parsed: &Parsed<'_>| match parsed {
            Parsed::Rule(rule) => matcher.daemons(rule.daemons) != Answer::No,
            // What is wrong with a line is noticed whomever it is for.
            Parsed::Malformed(_) | Parsed::NoColon | Parsed::Nothing => true,
        };
        let all = self.others.iter().enumerate();
        let lines: Rc<[usize]> =
            all.filter(|(_, other)| may_serve(&other.parsed)).map(|(at, _)| at).collect();
        if self.serving.len() >= SERVICES_MAX {
            self.serving.retain(|daemon, _| daemon.is_empty());
        }
        self.serving.insert(daemon.to_vec(), Rc::clone(&lines));
        lines
    }
}

/// The address of a rule that is for one client alone.
fn only_address(parsed: &Parsed<'_>) -> Option<u32> {
    let Parsed::Rule(rule) = parsed else { return None };
    let mut items = rule.clients.items();
    match (items.next(), items.next()) {
        (Some(Item::Word(word)), None) => plain4(word),
        _ => None,
    }
}

/// The IPv4 clients that a rule can be for: those of the words before its first EXCEPT. None if any word
/// may match another way, or asks for something.
fn reach_of(parsed: &Parsed<'_>) -> Option<Box<[Stretch]>> {
    let Parsed::Rule(rule) = parsed else { return None };
    let words = rule.clients.items().map_while(|item| match item {
        Item::Word(word) => Some(reach(grammar::client_pattern(word).host)),
        Item::Except => None,
    });
    let ranges: Option<Vec<_>> = words.collect();
    ranges.map(|ranges| ranges.into_iter().flatten().collect())
}

impl Table for Held<'_> {
    fn next(&mut self) -> Entry<'_> {
        let at = self.at;
        self.at += 1;
        self.text.entry(at, None)
    }

    fn next_for(&mut self, _: &dyn Sought) -> Entry<'_> {
        let Some(chosen) = &mut self.chosen else { return self.next() };
        let place = |place: usize| chosen.others.get(place).and_then(|&place| self.others.get(place));
        while place(chosen.shown.0).is_some_and(|other| !other.may_be_for(chosen.address)) {
            chosen.shown.0 += 1;
        }
        let (others, own) = chosen.shown;
        match (place(others), chosen.own.get(own)) {
            (Some(other), own) if own.is_none_or(|own| other.at < *own) => {
                chosen.shown.0 += 1;
                self.text.entry(other.at, Some(other.parsed.clone()))
            }
            (_, Some(&at)) => {
                chosen.shown.1 += 1;
                self.text.entry(at, None)
            }
            (_, None) => {
                // Behind the last line the table ends as it ends, and then it has ended.
                chosen.shown.1 += 1;
                let behind = own - chosen.own.len();
                self.text.entry(self.text.len() + behind, None)
            }
        }
    }

    fn rewind(&mut self) {
        self.at = 0;
        if let Some(chosen) = &mut self.chosen {
            chosen.shown = (0, 0);
        }
    }
}
