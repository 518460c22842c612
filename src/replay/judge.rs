//! What would the rules say to this client, as far as the log tells?
//!
//! A log does not hold all that rules may ask: the name of a client that nobody looked up, the address at
//! which he called, the answer of a netgroup or of a command. Nothing of that is guessed. A word whose
//! answer hangs on it may match and may not, by Kleene's logic, and so may its rule; then both ways are
//! gone: what the rule does if it matches, and the search behind it if it does not. If all ways come to
//! the same verdict, that is the verdict; if not, it depends, and it is said on what.
//!
//! No verdict is made here. Whoever decides is [`decide`], the wrapper's own: a rule that may match is
//! shown to it as one that does (`Doubting`), and it is asked to go on behind it.
//!
//! It may still be said to depend where it does not: that two rules cannot both fail to match is not
//! seen. It is never said to be sure where it is not.

#![forbid(unsafe_code)]

use super::doubt::{Doubt, Doubting};
use super::gaps::{Gaps, World};
use super::held::{Held, Rules};
use crate::error::Problem;
use crate::facts::{Fact, HostName, Identity, NoSuch, Side};
use crate::narrator::Verdict;
use crate::rules::options::Deed;
use crate::rules::{Table, Which};
use crate::verdict::{Access, Because, Decision, IfNot, Tables, decide};
use std::cell::{Cell, RefCell};

/// A rule, by its table and the number of its last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleAt {
    pub which: Which,
    pub line: u32,
}

/// What a log does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Missing {
    /// The name by which rules know the service.
    Daemon,
    Name(Side),
    Address(Side),
    /// The port at which the service was called.
    Port,
    User,
    Netgroup(Vec<u8>),
    /// What a command (`aclexec`) says.
    Command,
}

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    Rule(RuleAt),
    NoRule,
    /// Something that cannot be read or obeyed.
    Trouble,
}

/// What the rules would say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outcome {
    /// The verdicts that are possible, in the order of [`Verdict::ALL`].
    possible: [bool; 3],
    /// What decides if none of `perhaps` does.
    pub cause: Cause,
    /// Rules that may decide, in the order of the search.
    pub perhaps: Vec<RuleAt>,
    /// What is missing first, and who asks for it: a rule, or tcpd.conf(5).
    pub missing: Option<(Option<RuleAt>, Missing)>,
}

impl Outcome {
    fn new(cause: Cause) -> Outcome {
        Outcome { possible: [false; 3], cause, perhaps: Vec::new(), missing: None }
    }

    fn add(&mut self, verdict: Verdict) {
        if let Some(possible) = self.possible.get_mut(verdict as usize) {
            *possible = true;
        }
    }

    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        Verdict::ALL.into_iter().filter(|verdict| self.possible.get(*verdict as usize) == Some(&true))
    }

    /// The verdict, if it does not depend on what is missing.
    pub fn sure(&self) -> Option<Verdict> {
        let mut verdicts = self.verdicts();
        verdicts.next().filter(|_| verdicts.next().is_none())
    }
}

/// What is known of a connection. What is none is not known; `unknown` is known to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known<'k> {
    pub daemon: Option<&'k [u8]>,
    pub address: Option<&'k [u8]>,
    /// It was looked up, and found good.
    pub name: Option<&'k [u8]>,
    pub user: Option<&'k [u8]>,
    pub server: Option<&'k [u8]>,
    pub server_port: Option<u16>,
}

/// How the settings have rules asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    pub strict: bool,
    /// A name that does not agree refuses before any rule is read.
    pub paranoid: bool,
    /// `resolve never`: no client has a name.
    pub nameless: bool,
    /// tcpd.conf(5) cannot be obeyed.
    pub refuses: bool,
}

/// What the machine that this runs on can be asked.
pub trait Machine {
    /// The name of an address as it is now; None where it is not to be asked for.
    fn name(&self, address: &[u8]) -> Option<Fact<HostName>>;
    /// The ids behind a user and a group.
    fn identity(&self, user: Option<&[u8]>, group: Option<&[u8]>) -> Result<Identity, NoSuch>;
    fn interface_exists(&self, name: &[u8]) -> bool;
}

/// Most problems of the rules that are kept.
const NOTICED_MAX: usize = 20;

pub struct Judge<'r> {
    rules: &'r Rules,
    allow: Held<'r>,
    deny: Held<'r>,
    manner: Manner,
    world: World<'r>,
    /// What was noticed about the rules while they were asked, each thing once.
    pub noticed: Vec<Problem>,
}

impl<'r> Judge<'r> {
    pub fn new(rules: &'r Rules, manner: Manner, machine: &'r dyn Machine) -> Judge<'r> {
        let (allow, deny) = (Held::new(&rules.allow), Held::new(&rules.deny));
        let world = World { rules, machine, identities: RefCell::default() };
        Judge { rules, allow, deny, manner, world, noticed: Vec::new() }
    }

    pub fn judge(&mut self, known: &Known<'_>) -> Outcome {
        let known = &Known { name: known.name.filter(|_| !self.manner.nameless), ..*known };
        if self.manner.refuses {
            let mut outcome = Outcome::new(Cause::Trouble);
            outcome.add(Verdict::Denied);
            return outcome;
        }
        let gaps = Gaps {
            known,
            world: &self.world,
            nameless: self.manner.nameless,
            asked: RefCell::default(),
            is_sure: Cell::default(),
        };
        let (outcome, remarks) = {
            let mut way = Way { gaps: &gaps, manner: self.manner, remarks: Vec::new() };
            let daemon = known.daemon.filter(|_| !self.rules.ask_for_server);
            self.allow.begin(daemon, known.address);
            self.deny.begin(daemon, known.address);
            let is_whole = daemon.is_some() && known.address.is_some();
            let quick = if is_whole { way.straight(&mut self.allow, &mut self.deny) } else { None };
            let outcome = quick.unwrap_or_else(|| {
                self.allow.rewind();
                self.deny.rewind();
                way.all(&mut self.allow, &mut self.deny)
            });
            (outcome, way.remarks)
        };
        for problem in remarks {
            if self.noticed.len() < NOTICED_MAX && !self.noticed.contains(&problem) {
                self.noticed.push(problem);
            }
        }
        outcome
    }
}

/// The way of one connection through the rules.
struct Way<'g> {
    gaps: &'g Gaps<'g>,
    manner: Manner,
    remarks: Vec<Problem>,
}

fn verdict_of(decision: &Decision) -> Verdict {
    match (decision.access, decision.plan.last().map(|step| &step.deed)) {
        (Access::Permit, _) => Verdict::Granted,
        (Access::Deny, Some(Deed::Twist)) => Verdict::Delegated,
        (Access::Deny, _) => Verdict::Denied,
    }
}

fn cause_of(decision: &Decision) -> Cause {
    match &decision.because {
        Because::Rule(which, place) => Cause::Rule(RuleAt { which: *which, line: place.line }),
        Because::NoRule => Cause::NoRule,
        Because::Trouble => Cause::Trouble,
    }
}

/// Whether a command has a say.
fn hangs_on_command(decision: &Decision) -> bool {
    decision.if_not != IfNot::Ignore && decision.plan.iter().any(|step| step.deed == Deed::Aclexec)
}

impl Way<'_> {
    /// The outcome where nothing was asked that is missing; None where something was.
    fn straight(&mut self, allow: &mut dyn Table, deny: &mut dyn Table) -> Option<Outcome> {
        let request = self.gaps.request();
        if self.manner.paranoid && request.name(Side::Client) == &Fact::Paranoid {
            let mut outcome = Outcome::new(Cause::Trouble);
            outcome.add(Verdict::Denied);
            return Some(outcome);
        }
        let decision = decide(&mut Tables::new(allow, deny, self.manner.strict), &request);
        if !self.gaps.take().is_empty() || hangs_on_command(&decision) {
            return None;
        }
        let mut outcome = Outcome::new(cause_of(&decision));
        outcome.add(verdict_of(&decision));
        self.remarks = decision.remarks;
        Some(outcome)
    }

    /// All ways that are possible.
    fn all(&mut self, allow: &mut dyn Table, deny: &mut dyn Table) -> Outcome {
        let mut outcome = Outcome::new(Cause::NoRule);
        let request = self.gaps.request();
        self.gaps.take();
        if self.manner.paranoid {
            let is_spoofed = request.name(Side::Client) == &Fact::Paranoid;
            let asked = self.gaps.take();
            if is_spoofed || !asked.is_empty() {
                outcome.add(Verdict::Denied);
            }
            if is_spoofed {
                outcome.cause = Cause::Trouble;
                return outcome;
            }
            outcome.missing = asked.into_iter().next().map(|missing| (None, missing));
        }
        let shown = RefCell::new(None);
        let mut allow = Doubting { table: allow, which: Which::Allow, gaps: self.gaps, shown: &shown };
        let mut deny = Doubting { table: deny, which: Which::Deny, gaps: self.gaps, shown: &shown };
        let mut tables = Tables::new(&mut allow, &mut deny, self.manner.strict);
        loop {
            let decision = decide(&mut tables, &request);
            let doubt: Option<Doubt> = shown.take();
            outcome.add(verdict_of(&decision));
            outcome.cause = cause_of(&decision);
            let hangs = hangs_on_command(&decision);
            if let (Cause::Rule(rule), true) = (outcome.cause, hangs || doubt.is_some()) {
                outcome.perhaps.push(rule);
                let missing = doubt.as_ref().map_or(Missing::Command, |doubt| doubt.missing.clone());
                outcome.missing.get_or_insert((Some(rule), missing));
            }
            if doubt.as_ref().is_some_and(|doubt| doubt.may_refuse)
                || (hangs && decision.if_not == IfNot::Refuse)
            {
                outcome.add(Verdict::Denied);
            }
            let goes_on = doubt.is_some() || (hangs && decision.if_not == IfNot::GoOn);
            self.remarks.extend(decision.remarks);
            if !goes_on {
                return outcome;
            }
        }
    }
}
