//! How often, since when, and until when? Connections under their outcomes, and flips by the rule that
//! decides now, the service and the network that they come from.
//!
//! What is first and last goes by the order of the lines, not by their stamps: these need not have a
//! year. Memory grows with the number of rows that are shown, and ends at `GROUPS_MAX`.

#![forbid(unsafe_code)]

use super::accept::{Accept, Flip};
use super::header::Moment;
use super::judge::{Cause, Missing, Outcome, RuleAt};
use crate::narrator::Verdict;
use crate::rules::grammar::{address6, client4};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::rc::Rc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Most services and networks that are told apart; those behind them are one.
const GROUPS_MAX: usize = 1 << 20;
/// Most lines that are shown of one row.
const EXAMPLES_MAX: usize = 3;

/// A time in the log, and its place among the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    pub moment: Moment,
    pub line: u64,
}

/// How often something was, and from when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub number: u64,
    pub first: When,
    pub last: When,
}

impl Count {
    fn new(when: When) -> Count {
        Count { number: 0, first: when, last: when }
    }

    fn add(&mut self, when: When, times: u64) {
        self.number += times;
        if when.line < self.first.line {
            self.first = when;
        }
        if when.line >= self.last.line {
            self.last = when;
        }
    }

    fn merge(&mut self, other: &Count) {
        self.add(other.first, 0);
        self.add(other.last, other.number);
    }
}

/// Where connections come from, no finer than rules are made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Network {
    /// A /24.
    V4(Ipv4Addr),
    /// A /64.
    V6(Ipv6Addr),
    /// The log has a name and no address.
    Named(Vec<u8>),
    Unknown,
    /// One of those that are not told apart.
    Elsewhere,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::V4(net) => write!(f, "{net}/24"),
            Network::V6(net) => write!(f, "{net}/64"),
            Network::Named(name) => f.write_str(&String::from_utf8_lossy(&crate::logline::printable(name))),
            Network::Unknown => f.write_str("unknown"),
            Network::Elsewhere => f.write_str("elsewhere"),
        }
    }
}

/// The address behind its text; a mapped one is the IPv4 address in it.
pub fn source(address: &[u8]) -> Option<IpAddr> {
    client4(address).map(IpAddr::V4).or_else(|| address6(address).map(|found| found.ip.into()))
}

impl Network {
    fn of(source: Option<IpAddr>, name: Option<&[u8]>) -> Network {
        match (source, name) {
            (Some(IpAddr::V4(ip)), _) => Network::V4(Ipv4Addr::from_bits(ip.to_bits() & !0xff)),
            (Some(IpAddr::V6(ip)), _) => Network::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
            (None, Some(name)) => Network::Named(name.to_vec()),
            (None, None) => Network::Unknown,
        }
    }
}

/// A row of flips.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    pub cause: Cause,
    pub was: Verdict,
    pub becomes: Verdict,
    pub daemon: Rc<[u8]>,
    pub network: Network,
    pub accepted: bool,
}

/// A row of connections that cannot be decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Open {
    /// Who asks: a rule, or tcpd.conf(5).
    pub by: Option<RuleAt>,
    pub missing: Missing,
    pub was: Verdict,
    pub possible: Vec<Verdict>,
}

/// Hashes what strangers wrote: quick, and with a seed that they do not know.
pub struct Seeded(u64);

impl Default for Seeded {
    fn default() -> Seeded {
        Seeded(RandomState::new().build_hasher().finish())
    }
}

impl BuildHasher for Seeded {
    type Hasher = Mixed;

    fn build_hasher(&self) -> Mixed {
        Mixed(self.0)
    }
}

pub struct Mixed(u64);

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// The length of a key: the bytes behind it know their own.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Rows with what was counted for them.
struct Rows<K> {
    rows: Vec<(K, Count, Vec<Vec<u8>>)>,
    index: HashMap<K, usize, Seeded>,
}

impl<K: Clone + Eq + std::hash::Hash> Rows<K> {
    fn new() -> Rows<K> {
        Rows { rows: Vec::new(), index: HashMap::default() }
    }

    fn place(&mut self, key: K, when: When) -> usize {
        if let Some(&at) = self.index.get(&key) {
            return at;
        }
        let at = self.rows.len();
        self.rows.push((key.clone(), Count::new(when), Vec::new()));
        self.index.insert(key, at);
        at
    }
}

/// A connection that is counted.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'c> {
    pub was: Verdict,
    /// The service as it is shown.
    pub daemon: &'c [u8],
    pub address: Option<&'c [u8]>,
    pub name: Option<&'c [u8]>,
    pub when: When,
    pub times: u64,
}

/// What stays the same about one client of one service: which row it belongs to, for each verdict that
/// it may have had.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    outcome: usize,
    row: [Option<Row>; 3],
}

#[derive(Clone, Copy, Debug)]
enum Row {
    Same,
    Flip(usize, bool),
    Open(usize),
}

/// All that is counted.
pub struct Tally {
    outcomes: Rows<Outcome>,
    flips: Rows<Group>,
    open: Rows<Open>,
    daemons: HashSet<Rc<[u8]>, Seeded>,
    accepts: Vec<Accept>,
    wants_examples: bool,
    pub same: u64,
    pub flipped: u64,
    pub accepted: u64,
    pub undecided: u64,
}

impl Tally {
    pub fn new(accepts: Vec<Accept>, wants_examples: bool) -> Tally {
        let (same, flipped, accepted, undecided) = (0, 0, 0, 0);
        let (outcomes, flips, open) = (Rows::new(), Rows::new(), Rows::new());
        let daemons = HashSet::default();
        Tally { outcomes, flips, open, daemons, accepts, wants_examples, same, flipped, accepted, undecided }
    }

    /// A client with this outcome, met for the first time.
    pub fn seen(&mut self, outcome: Outcome, when: When) -> Seen {
        Seen { outcome: self.outcomes.place(outcome, when), row: [None; 3] }
    }

    /// Whether somebody said that flips like this one are meant.
    pub fn is_accepted(&self, flip: &Flip<'_>) -> bool {
        self.accepts.iter().any(|accept| accept.covers(flip))
    }

    /// Counts a connection. `line` is shown if examples are wanted.
    pub fn count(
        &mut self,
        seen: &mut Seen,
        counted: &Counted<'_>,
        files: [&Path; 2],
        line: &dyn Fn() -> Vec<u8>,
    ) {
        let Counted { was, when, times, .. } = *counted;
        if let Some((_, count, _)) = self.outcomes.rows.get_mut(seen.outcome) {
            count.add(when, times);
        }
        let known = seen.row.get(was as usize).copied().flatten();
        let row = known.unwrap_or_else(|| self.row(seen.outcome, counted, files));
        if let Some(place) = seen.row.get_mut(was as usize) {
            *place = Some(row);
        }
        let examples = match row {
            Row::Same => {
                self.same += times;
                return;
            }
            Row::Flip(at, accepted) => {
                self.flipped += times;
                self.accepted += if accepted { times } else { 0 };
                self.flips.rows.get_mut(at).map(|(_, count, examples)| (count, examples))
            }
            Row::Open(at) => {
                self.undecided += times;
                self.open.rows.get_mut(at).map(|(_, count, examples)| (count, examples))
            }
        };
        if let Some((count, examples)) = examples {
            count.add(when, times);
            if self.wants_examples && examples.len() < EXAMPLES_MAX {
                examples.push(line());
            }
        }
    }

    /// The row that a connection belongs to.
    fn row(&mut self, outcome: usize, counted: &Counted<'_>, files: [&Path; 2]) -> Row {
        let Counted { was, when, daemon, .. } = *counted;
        let Some((outcome, ..)) = self.outcomes.rows.get(outcome) else { return Row::Same };
        let (becomes, cause) = match (outcome.sure(), &outcome.missing) {
            (Some(becomes), _) if becomes == was => return Row::Same,
            (Some(becomes), _) => (becomes, outcome.cause),
            (None, None) => return Row::Same,
            (None, Some((by, missing))) => {
                let (missing, possible) = (missing.clone(), outcome.verdicts().collect());
                let open = Open { by: *by, missing, was, possible };
                return Row::Open(self.open.place(open, when));
            }
        };
        let source = counted.address.and_then(source);
        let accepted = self.is_accepted(&Flip { files, cause, becomes, source });
        let (daemon, network) = match self.flips.rows.len() < GROUPS_MAX {
            true => (self.name_of(daemon), Network::of(source, counted.name)),
            false => (self.name_of(b"any"), Network::Elsewhere),
        };
        let group = Group { cause, was, becomes, daemon, network, accepted };
        Row::Flip(self.flips.place(group, when), accepted)
    }

    /// A service's name, of which many rows have the same.
    fn name_of(&mut self, daemon: &[u8]) -> Rc<[u8]> {
        if let Some(known) = self.daemons.get(daemon) {
            return Rc::clone(known);
        }
        let name: Rc<[u8]> = Rc::from(daemon);
        self.daemons.insert(Rc::clone(&name));
        name
    }

    /// The flips, by what decides now; what weighs most comes first.
    pub fn flips(&self) -> Vec<(Cause, u64, Vec<Flips<'_>>)> {
        let mut by_cause: BTreeMap<Cause, Vec<Flips<'_>>> = BTreeMap::new();
        for (group, count, examples) in &self.flips.rows {
            by_cause.entry(group.cause).or_default().push(Flips { group, count, examples });
        }
        let mut flips = Vec::new();
        for (cause, mut rows) in by_cause {
            rows.sort_by(|a, b| b.count.number.cmp(&a.count.number).then_with(|| a.group.cmp(b.group)));
            flips.push((cause, rows.iter().map(|row| row.count.number).sum(), rows));
        }
        // Of two of one weight the one comes first that is searched first.
        flips.sort_by_key(|(_, weight, _)| Reverse(*weight));
        flips
    }

    /// What cannot be decided; what weighs most comes first.
    pub fn open(&self) -> Vec<(&Open, &Count, &[Vec<u8>])> {
        let mut rows: Vec<_> =
            self.open.rows.iter().map(|(open, count, lines)| (open, count, lines.as_slice())).collect();
        rows.sort_by(|a, b| b.1.number.cmp(&a.1.number).then_with(|| a.0.cmp(b.0)));
        rows
    }

    /// How often each rule decided, or may have.
    pub fn hits(&self) -> BTreeMap<Cause, Hits> {
        let mut hits: BTreeMap<Cause, Hits> = BTreeMap::new();
        for (outcome, count, _) in &self.outcomes.rows {
            if count.number == 0 {
                continue;
            }
            let mut add = |cause, sure: bool| {
                let hits = hits.entry(cause).or_default();
                let place = if sure { &mut hits.sure } else { &mut hits.perhaps };
                place.get_or_insert(Count { number: 0, ..*count }).merge(count);
            };
            let may: Vec<Cause> = outcome.perhaps.iter().copied().map(Cause::Rule).collect();
            may.iter().for_each(|&cause| add(cause, false));
            if !may.contains(&outcome.cause) {
                add(outcome.cause, may.is_empty() && outcome.sure().is_some());
            }
        }
        hits
    }
}

/// How often a rule decided, and how often it may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    pub sure: Option<Count>,
    pub perhaps: Option<Count>,
}

/// A row of flips, as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Flips<'t> {
    pub group: &'t Group,
    pub count: &'t Count,
    pub examples: &'t [Vec<u8>],
}
