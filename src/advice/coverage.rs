//! Which rules are never reached, because an earlier one plainly covers them?
//!
//! Rules are read once, in the order of the search, and remembered by what they match: networks by
//! length and number, domains and names by their text. A rule is looked up in that, never compared with
//! all before it: ban tools write a million lines.
//!
//! Only what is plain counts. A covering rule must decide whenever it matches, so no word that can be
//! read in two ways, no EXCEPT, no user, no port, no server's address; a covered rule may have many
//! words, each covered by whatever came before. Where this is silent nothing is promised.

#![forbid(unsafe_code)]

use super::patterns::parts;
use crate::error::Place;
use crate::rules::grammar::{daemon_pattern, host_pattern};
use crate::rules::{HostPattern, Item, List, Process, Rule, TextPattern, Which};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

/// Where a rule stands: in which table, on which line.
type At = (Which, u32);

/// Clients that rules so far have settled, for one daemon or for all.
#[derive(Default)]
struct Clients {
    all: Option<At>,
    /// IPv4 networks, their bits on the left.
    nets4: Nets,
    nets6: Nets,
    /// Names and domains, in lower case, and words that only equal themselves.
    words: HashMap<Box<[u8]>, At>,
}

/// Networks of one family, by length and number.
#[derive(Default)]
struct Nets {
    /// Lengths that occur, as bits.
    lengths: [u64; 3],
    by_number: HashMap<(u8, u128), At>,
}

impl Nets {
    fn add(&mut self, net: u128, length: u8, at: At) {
        if let Some(word) = self.lengths.get_mut(usize::from(length / 64)) {
            *word |= 1 << (length % 64);
        }
        self.by_number.entry((length, net)).or_insert(at);
    }

    /// The first rule found that holds all of a network.
    fn find(&self, net: u128, length: u8) -> Option<At> {
        let occurs = |length: &u8| {
            self.lengths.get(usize::from(length / 64)).is_some_and(|word| word >> (length % 64) & 1 == 1)
        };
        let found =
            (0..=length).filter(occurs).filter_map(|length| self.by_number.get(&(length, cut(net, length))));
        found.min_by_key(|(which, line)| (*which == Which::Deny, *line)).copied()
    }
}

fn cut(net: u128, length: u8) -> u128 {
    net.checked_shr(128 - u32::from(length)).map_or(0, |kept| kept << (128 - u32::from(length)))
}

/// A client word that is plain.
#[derive(Clone)]
enum Plain {
    All,
    Net4(u128, u8),
    Net6(u128, u8),
    /// In lower case; `.domain` with its dot.
    Word(Box<[u8]>),
}

fn net4(net: u32, length: u32) -> Option<Plain> {
    Some(Plain::Net4(u128::from(net) << 96, u8::try_from(length).ok()?))
}

fn plain(word: &[u8]) -> Option<Plain> {
    let same = || Some(Plain::Word(word.to_ascii_lowercase().into()));
    match host_pattern(word) {
        HostPattern::Net4 { net, mask, doubt: None }
            if (!mask).wrapping_add(1).is_power_of_two() || mask == 0 =>
        {
            net4(net, mask.leading_ones())
        }
        HostPattern::Net6 { net, length, doubt: None } => {
            Some(Plain::Net6(cut(net.ip.to_bits(), length), length))
        }
        HostPattern::Text { pattern: TextPattern::All, .. } => Some(Plain::All),
        HostPattern::Text { pattern: TextPattern::Bracketed(Some(net)), .. } => {
            Some(Plain::Net6(net.ip.to_bits(), 128))
        }
        // The broadcast address is in no network, but has a text.
        HostPattern::Text { pattern: TextPattern::Exact(text), .. } if text == b"255.255.255.255" => same(),
        HostPattern::Text { pattern: TextPattern::Prefix(prefix), .. } if prefix.starts_with(b"255.") => None,
        HostPattern::Text { pattern: TextPattern::Prefix(prefix), may_be_name: false } => {
            let octets = prefix.iter().filter(|&&byte| byte == b'.').count();
            let whole = [prefix, "0.0.0.0".get(octets * 2..)?.as_bytes()].concat();
            net4(dotted(&whole)?, u32::try_from(octets * 8).ok()?)
        }
        HostPattern::Text { pattern: TextPattern::Exact(text), may_be_name: false } => {
            net4(dotted(text)?, 32)
        }
        HostPattern::Text { pattern: TextPattern::Suffix(_) | TextPattern::Exact(_), .. } => same(),
        HostPattern::Known | HostPattern::Local => same(),
        // Names of groups and files know upper and lower case.
        HostPattern::Netgroup(_) | HostPattern::File(_) => Some(Plain::Word(word.into())),
        _ => None,
    }
}

fn dotted(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse::<Ipv4Addr>().ok().map(u32::from)
}

impl Clients {
    fn add(&mut self, client: Plain, at: At) {
        match client {
            Plain::All => {
                self.all.get_or_insert(at);
            }
            Plain::Net4(net, length) => self.nets4.add(net, length, at),
            Plain::Net6(net, length) => self.nets6.add(net, length, at),
            Plain::Word(word) => {
                self.words.entry(word).or_insert(at);
            }
        }
    }

    fn find(&self, client: &Plain) -> Option<At> {
        let found = match client {
            Plain::All => None,
            Plain::Net4(net, length) => self.nets4.find(*net, *length),
            Plain::Net6(net, length) => self.nets6.find(*net, *length),
            Plain::Word(word) => self.words.get(word).copied().or_else(|| self.domain(word)),
        };
        found.or(self.all)
    }

    /// A rule for a domain that holds this name or domain.
    fn domain(&self, name: &[u8]) -> Option<At> {
        let is_name = !name.iter().any(|byte| b"@/".contains(byte));
        let dots = name.iter().enumerate().skip(1).filter(|&(_, &byte)| byte == b'.' && is_name);
        dots.filter_map(|(dot, _)| self.words.get(name.get(dot..)?)).next().copied()
    }
}

/// What the rules so far have settled.
pub struct Coverage {
    tables: [Arc<Path>; 2],
    for_all: Clients,
    for_one: HashMap<Box<[u8]>, Clients>,
}

impl Coverage {
    pub fn new(allow: &Path, deny: &Path) -> Coverage {
        let tables = [Arc::from(allow), Arc::from(deny)];
        Coverage { tables, for_all: Clients::default(), for_one: HashMap::new() }
    }

    /// A rule that covers all of this one, if the rules before it do; then remembers it. `decides`: the
    /// search ends with it whenever it matches.
    pub fn rule(&mut self, rule: &Rule<'_>, at: At, decides: bool) -> Option<Place> {
        let daemons: Vec<_> = words(rule.daemons)?.map(daemon).collect();
        let clients: Vec<_> = words(rule.clients)?.map(client).collect();
        let by = self.covering(&daemons, &clients);
        if decides && by.is_none() {
            for client in clients.into_iter().flatten() {
                for name in daemons.iter().flatten() {
                    self.settled(name).add(client.clone(), at);
                }
            }
        }
        let (table, line) = by?;
        let [allow, deny] = &self.tables;
        let file = Arc::clone(if table == Which::Allow { allow } else { deny });
        Some(Place { file, line, spot: None })
    }

    fn settled(&mut self, daemon: &Daemon) -> &mut Clients {
        match daemon {
            Daemon::Any => &mut self.for_all,
            Daemon::One(name) => self.for_one.entry(name.clone()).or_default(),
        }
    }

    /// The rule that covers the first word, if every word is covered.
    fn covering(&self, daemons: &[Option<Daemon>], clients: &[Option<Plain>]) -> Option<At> {
        let mut first = None;
        for daemon in daemons {
            let one = match daemon.as_ref()? {
                Daemon::Any => None,
                Daemon::One(name) => self.for_one.get(name),
            };
            for client in clients {
                let client = client.as_ref()?;
                let by = self.for_all.find(client).or_else(|| one.and_then(|one| one.find(client)))?;
                first = first.or(Some(by));
            }
        }
        first
    }
}

/// A daemon word that is plain.
enum Daemon {
    Any,
    /// In lower case.
    One(Box<[u8]>),
}

fn daemon(word: &[u8]) -> Option<Daemon> {
    let pattern = daemon_pattern(word);
    match pattern.process {
        _ if pattern.host.is_some() => None,
        Process::Named(TextPattern::All) => Some(Daemon::Any),
        Process::Named(TextPattern::Exact(name)) => Some(Daemon::One(name.to_ascii_lowercase().into())),
        _ => None,
    }
}

fn client(word: &[u8]) -> Option<Plain> {
    let has_user = parts(word).1.is_some() && !word.starts_with(b"@");
    if has_user { None } else { plain(word) }
}

/// The words of a list without EXCEPT.
fn words(list: List<'_>) -> Option<impl Iterator<Item = &[u8]>> {
    let plain = !list.items().any(|item| item == Item::Except);
    plain.then(|| {
        list.items().filter_map(|item| match item {
            Item::Word(word) => Some(word),
            Item::Except => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Parsed, grammar};

    /// The numbers of the lines that cover the lines of a text, 0 for none.
    fn covered(text: &str) -> Vec<u32> {
        let mut coverage = Coverage::new(Path::new("a"), Path::new("d"));
        let mut by = |(number, line): (u32, &str)| {
            let Parsed::Rule(rule) = grammar::line(line.as_bytes()) else { panic!("{line}") };
            coverage
                .rule(&rule, (Which::Deny, number), !line.contains("aclexec"))
                .map_or(0, |place| place.line)
        };
        (1..).zip(text.lines()).map(&mut by).collect()
    }

    #[test]
    fn what_is_plain_is_covered() {
        assert_eq!(covered("a: 10.\na: 10.1.2.3\na: 10.1.\nb: 10.1.2.3\na: 10.0.0.0/9"), [0, 1, 1, 0, 1]);
        assert_eq!(
            covered("ALL: 192.0.2.0/24\nx, y: 192.0.2.7 192.0.2.8\nALL: 192.0.2.0/255.255.0.0"),
            [0, 1, 0]
        );
        assert_eq!(
            covered("ALL: [2001:db8::]/32\na: [2001:db8::1]\na: [2001:db8:1::]/48\na: [2001:db9::1]"),
            [0, 1, 1, 0]
        );
        assert_eq!(
            covered("ALL: .example.com\na: h.Example.com\na: .b.example.com\na: example.com"),
            [0, 1, 1, 0]
        );
        assert_eq!(covered("a: x\na: ALL\nA: anything 1.2.3.4 LOCAL\nALL: y"), [0, 0, 2, 0]);
        assert_eq!(covered("a: x, y\na: y\na: y, z\na: @g\na: @g\na: @G"), [0, 1, 0, 0, 4, 0]);
        assert_eq!(covered("a: [::]/0\na: 10.1.2.3\na: 0.0.0.0/0.0.0.0\na: 10.\na: [::1]"), [0, 0, 0, 3, 1]);
        assert_eq!(covered("ALL: ALL\nx: [::1]\nALL: ALL"), [0, 1, 1]);
    }

    #[test]
    fn what_is_not_plain_covers_nothing() {
        assert_eq!(covered("a: ALL EXCEPT b\na: c"), [0, 0]);
        assert_eq!(covered("a: u@ALL\na: c\na@h: ALL\na: c\n22: ALL\na: d"), [0, 0, 0, 2, 0, 0]);
        assert_eq!(covered("a: 10.1.2.3/8\na: 10.1.2.3\na: 10.0.0.0/0\na: 11.1.1.1"), [0, 0, 0, 0]);
        assert_eq!(covered("a: ALL: aclexec x\na: c"), [0, 0]);
        assert_eq!(covered("a: 10.0.0.0/255.0.255.0\na: 10.1.0.1"), [0, 0]);
    }
}
