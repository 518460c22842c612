//! Which rules may match a client, and may not, as long as something is missing?
//!
//! A rule that surely matches, or surely does not, is left as it is. One whose answer hangs on what a log
//! does not hold is shown as a rule for everybody, with its own options; whoever decides by it is told
//! of the doubt, and goes on behind it.

#![forbid(unsafe_code)]

use super::gaps::Gaps;
use super::judge::Missing;
use crate::facts::{Side, Sought};
use crate::rules::{
    Entry, HostPattern, List, Malformed, Parsed, Process, Rule, Table, TextPattern, Which, grammar,
};
use crate::verdict::matcher::{Matcher, walk};
use crate::verdict::{Answer, prepare};
use std::cell::{Cell, RefCell};

/// Why a rule may match and may not.
pub struct Doubt {
    pub missing: Missing,
    /// If it matches in one of several ways it refuses, whatever it says.
    pub may_refuse: bool,
}

/// A table that shows rules that may match as rules that do, and leaves a note.
pub struct Doubting<'d> {
    /// Leaves out nothing that could match by what is missing.
    pub table: &'d mut dyn Table,
    pub which: Which,
    pub gaps: &'d Gaps<'d>,
    pub shown: &'d RefCell<Option<Doubt>>,
}

const EVERYBODY: List<'static> = List(b"ALL");

impl Table for Doubting<'_> {
    fn next(&mut self) -> Entry<'_> {
        self.table.next()
    }

    fn next_for(&mut self, sought: &dyn Sought) -> Entry<'_> {
        let (which, weighing) = (self.which, Weighing::new(self.gaps));
        match self.table.next_for(sought) {
            Entry::Line(line, Parsed::Rule(rule)) => {
                let Some(doubt) = weighing.rule(which, &rule) else {
                    return Entry::Line(line, Parsed::Rule(rule));
                };
                *self.shown.borrow_mut() = Some(doubt);
                let rule = Rule { daemons: EVERYBODY, clients: EVERYBODY, options: rule.options };
                Entry::Line(line, Parsed::Rule(rule))
            }
            Entry::Line(line, Parsed::Malformed(malformed)) => {
                let doubt = weighing.malformed(which, &malformed);
                let daemons = if doubt.is_some() { Some(EVERYBODY) } else { malformed.daemons };
                *self.shown.borrow_mut() = doubt;
                Entry::Line(line, Parsed::Malformed(Malformed { daemons, ..malformed }))
            }
            other => other,
        }
    }

    fn rewind(&mut self) {
        self.table.rewind();
    }
}

/// Whether one rule matches, word by word.
struct Weighing<'d> {
    gaps: &'d Gaps<'d>,
    missing: RefCell<Vec<Missing>>,
    may_refuse: Cell<bool>,
}

impl<'d> Weighing<'d> {
    fn new(gaps: &'d Gaps<'d>) -> Weighing<'d> {
        Weighing { gaps, missing: RefCell::default(), may_refuse: Cell::new(false) }
    }

    fn rule(&self, which: Which, rule: &Rule<'_>) -> Option<Doubt> {
        let daemons = walk(rule.daemons, |word| self.daemon(word));
        let answer = daemons.and(|| walk(rule.clients, |word| self.client(which, rule, word)));
        // A name that is missing can make an error of the whole rule.
        let is_safe = answer == Answer::No || !self.may_refuse.get();
        self.doubt(if is_safe { answer } else { Answer::TwoWays })
    }

    fn malformed(&self, which: Which, malformed: &Malformed<'_>) -> Option<Doubt> {
        let daemons = malformed.daemons.filter(|_| which == Which::Deny || malformed.refuses)?;
        let answer = walk(daemons, |word| self.daemon(word));
        self.doubt(answer)
    }

    fn doubt(&self, answer: Answer) -> Option<Doubt> {
        let missing = self.missing.take().into_iter().next().filter(|_| answer == Answer::TwoWays)?;
        Some(Doubt { missing, may_refuse: self.may_refuse.get() })
    }

    /// Neither yes nor no.
    fn perhaps(&self, missing: impl IntoIterator<Item = Missing>) -> Answer {
        self.missing.borrow_mut().extend(missing);
        Answer::TwoWays
    }

    fn daemon(&self, word: &[u8]) -> Answer {
        let known = self.gaps.known;
        let pattern = grammar::daemon_pattern(word);
        self.gaps.take();
        let request = self.gaps.request();
        let matcher = Matcher::new(&request);
        let process = match pattern.process {
            Process::Named(TextPattern::All) => Answer::Yes,
            Process::Port(_) if known.server_port.is_none() => self.perhaps([Missing::Port]),
            Process::Named(_) if known.daemon.is_none() => self.perhaps([Missing::Daemon]),
            process => matcher.process(process),
        };
        let is_everywhere = |host| matches!(host, HostPattern::Text { pattern: TextPattern::All, .. });
        process.and(|| match pattern.host {
            None => Answer::Yes,
            Some(host) if is_everywhere(host) => Answer::Yes,
            Some(_) if known.server.is_none() => self.perhaps([Missing::Address(Side::Server)]),
            Some(host) => {
                let answer = matcher.host(host, word, Side::Server);
                let asked = self.gaps.take();
                if asked.is_empty() { answer } else { self.perhaps(asked) }
            }
        })
    }

    fn client(&self, which: Which, rule: &Rule<'_>, word: &[u8]) -> Answer {
        let pattern = grammar::client_pattern(word);
        self.gaps.take();
        self.gaps.is_sure.set(false);
        // What one word asked must not be known to the next.
        let request = self.gaps.request();
        let matcher = Matcher::new(&request);
        prepare(which, rule, &matcher);
        let answer = matcher.clients(List(word));
        let mut asked = self.gaps.take();
        if matcher.head_matched.get() {
            self.may_refuse.set(true);
        }
        let by_name_only = matches!(pattern.host, HostPattern::Local | HostPattern::Netgroup(_));
        if self.gaps.known.address.is_none() && answer != Answer::Yes && !by_name_only {
            asked.push(Missing::Address(Side::Client));
        }
        if pattern.user == Some(TextPattern::All) {
            asked.retain(|missing| *missing != Missing::User);
        }
        if answer == Answer::Yes && self.gaps.is_sure.get() {
            asked.retain(|missing| matches!(missing, Missing::User));
        }
        if asked.is_empty() {
            return answer;
        }
        if matches!(pattern.host, HostPattern::Bare6 { .. }) {
            self.may_refuse.set(true);
        }
        self.perhaps(asked)
    }
}
