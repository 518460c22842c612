//! Served or refused? From tables and a request to a decision; no I/O, no clock, no deed.
//!
//! hosts.allow is searched first, then hosts.deny; the first rule that matches decides; where none
//! does, access is granted (hosts_access(5), ACCESS CONTROL RULES). What is new against the reference
//! is the third answer: a pattern that can be read in two ways answers [`Answer::TwoWays`], lists and
//! rules combine it by Kleene's logic, and at the end the *sense* of the rule reads it: as a match if
//! the rule refuses, as none if it grants. **Whatever can be read in two ways never opens the door.**
//!
//! # Fail closed
//!
//! | what happens | hosts.allow | hosts.deny |
//! |---|---|---|
//! | file missing | empty | empty |
//! | file unreadable, no regular file, ever changing | no match | refused |
//! | last line without newline, line over 1 MiB | no match | refused |
//! | malformed rule, daemons match | refused if it ends in deny or twist, else passed over | refused |
//! | option error in a rule that matches | refused | refused |
//! | two-way pattern, rule refuses | refused | refused |
//! | two-way pattern, rule grants | passed over | passed over |
//! | `aclexec`, `user`, `group`, `setenv`, an expansion fails | refused | refused |
//!
//! Warning to the next author: matching asks for names and users, and each question may cost seconds.
//! Keep the order of the questions; it is the reference's, and "a numeric rule asks nothing" is a test.

#![forbid(unsafe_code)]

pub mod matcher;

pub use matcher::Answer;

use crate::error::{OptionFlaw, Place, Problem, Weight, What};
use crate::facts::Request;
use crate::rules::options::{self, Deed, Step};
use crate::rules::{Entry, Line, List, Malformed, Parsed, Rule, Table, Which};
use matcher::Matcher;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Permit,
    Deny,
}

/// What decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    Rule(Which, Place),
    /// No rule matched.
    NoRule,
    /// Something that should have been read could not be.
    Trouble,
}

/// What a deed that answers no (`aclexec`) leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfNot {
    /// The rule refuses anyway.
    Ignore,
    Refuse,
    /// This rule does not match after all: decide again, from the rule behind it.
    GoOn,
}

/// The verdict and all that is to be done about it, in order.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub access: Access,
    pub because: Because,
    pub plan: Vec<Step>,
    pub if_not: IfNot,
    /// What was noticed on the way, for the log, in order.
    pub remarks: Vec<Problem>,
}

/// The two tables and how far the search has come.
pub struct Tables<'t> {
    allow: &'t mut dyn Table,
    deny: &'t mut dyn Table,
    at: Which,
    /// Every consulted table is read to its end first, and an error in it refuses (`strict yes`).
    strict: bool,
    audited: Option<Which>,
}

impl<'t> Tables<'t> {
    pub fn new(allow: &'t mut dyn Table, deny: &'t mut dyn Table, strict: bool) -> Tables<'t> {
        Tables { allow, deny, at: Which::Allow, strict, audited: None }
    }

    pub fn is_strict(&self) -> bool {
        self.strict
    }

    fn current(&mut self) -> &mut dyn Table {
        match self.at {
            Which::Allow => self.allow,
            Which::Deny => self.deny,
        }
    }
}

/// Decides about a request. Called again on the same tables it goes on behind the rule it stopped at.
pub fn decide(tables: &mut Tables<'_>, request: &Request<'_>) -> Decision {
    let mut remarks = Vec::new();
    loop {
        let which = tables.at;
        if tables.strict && tables.audited != Some(which) {
            tables.audited = Some(which);
            let errors = audit(tables.current(), request);
            tables.current().rewind();
            if !errors.is_empty() {
                remarks.extend(errors);
                return refused(Because::Trouble, remarks);
            }
        }
        let start = remarks.len();
        loop {
            match tables.current().next() {
                Entry::Line(line, parsed) => {
                    if let Some(verdict) = consider(which, &line, parsed, request, &mut remarks) {
                        return Decision { remarks, ..verdict };
                    }
                }
                Entry::Again => remarks.truncate(start),
                Entry::Broken(problems) => {
                    remarks.extend(problems);
                    if which == Which::Deny {
                        return refused(Because::Trouble, remarks);
                    }
                    break;
                }
                Entry::End => break,
            }
        }
        match which {
            Which::Allow => tables.at = Which::Deny,
            Which::Deny => {
                let (access, because) = (Access::Permit, Because::NoRule);
                return Decision { access, because, plan: Vec::new(), if_not: IfNot::Ignore, remarks };
            }
        }
    }
}

fn refused(because: Because, remarks: Vec<Problem>) -> Decision {
    Decision { access: Access::Deny, because, plan: Vec::new(), if_not: IfNot::Ignore, remarks }
}

/// What one line has to say about the request; None where the search goes on.
fn consider(
    which: Which,
    line: &Line<'_>,
    parsed: Parsed<'_>,
    request: &Request<'_>,
    remarks: &mut Vec<Problem>,
) -> Option<Decision> {
    match parsed {
        Parsed::Nothing => None,
        Parsed::NoColon => {
            remarks.push(Problem::at(line.place(None), Weight::Error, What::NoColon));
            None
        }
        Parsed::Malformed(malformed) => consider_malformed(which, line, &malformed, request, remarks),
        Parsed::Rule(rule) => consider_rule(which, line, &rule, request, remarks),
    }
}

fn consider_malformed(
    which: Which,
    line: &Line<'_>,
    malformed: &Malformed<'_>,
    request: &Request<'_>,
    remarks: &mut Vec<Problem>,
) -> Option<Decision> {
    remarks.push(Problem::at(line.place(Some(malformed.at)), Weight::Error, What::Malformed(malformed.flaw)));
    let daemons = malformed.daemons.filter(|_| which == Which::Deny || malformed.refuses)?;
    let matcher = Matcher::new(request);
    let matches = matcher.daemons(daemons);
    matcher.report(line, remarks);
    (matches != Answer::No).then(|| refused(Because::Rule(which, line.place(None)), Vec::new()))
}

fn consider_rule(
    which: Which,
    line: &Line<'_>,
    rule: &Rule<'_>,
    request: &Request<'_>,
    remarks: &mut Vec<Problem>,
) -> Option<Decision> {
    let matcher = Matcher::new(request);
    let matches = matcher.daemons(rule.daemons).and(|| matcher.clients(rule.clients));
    matcher.report(line, remarks);
    if matches == Answer::No {
        return None;
    }
    let because = Because::Rule(which, line.place(None));
    let typed = match rule.options {
        Some(text) => options::steps(text, request.asker()),
        None => Ok(Vec::new()),
    };
    let sense = match &typed {
        Ok(plan) => sense(which, plan),
        Err(_) => Sense::Refuses,
    };
    if matches == Answer::TwoWays {
        matcher.report_doubt(line, remarks);
        if sense == Sense::Grants {
            // As the reference reads it, a bare IPv6 address ends in an option error, which refuses.
            return matcher.split_in_doubt.get().then(|| refused(because, Vec::new()));
        }
    }
    let plan = match typed {
        Ok(plan) => plan,
        Err((at, flaw)) => {
            remarks.push(Problem::at(line.place(Some(at)), Weight::Error, What::Option(flaw)));
            return Some(refused(because, Vec::new()));
        }
    };
    let last = plan.last().map(|step| &step.deed);
    let if_not = match (last, which) {
        (Some(Deed::Deny | Deed::Twist), _) => IfNot::Ignore,
        (Some(Deed::Allow), _) | (_, Which::Allow) => IfNot::Refuse,
        (_, Which::Deny) => IfNot::GoOn,
    };
    let access = if sense == Sense::Grants { Access::Permit } else { Access::Deny };
    Some(Decision { access, because, plan, if_not, remarks: Vec::new() })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sense {
    Grants,
    Refuses,
}

/// The sense of a rule whose options are all right: from the last of them, else from its file.
fn sense(which: Which, plan: &[Step]) -> Sense {
    match (plan.last().map(|step| &step.deed), which) {
        (Some(Deed::Deny | Deed::Twist), _) => Sense::Refuses,
        (Some(Deed::Allow), _) | (_, Which::Allow) => Sense::Grants,
        (_, Which::Deny) => Sense::Refuses,
    }
}

/// Every error-weight problem of a table, for `strict yes`.
fn audit(table: &mut dyn Table, request: &Request<'_>) -> Vec<Problem> {
    let mut errors = Vec::new();
    loop {
        match table.next() {
            Entry::Line(line, parsed) => match parsed {
                Parsed::Nothing => {}
                Parsed::NoColon => errors.push(Problem::at(line.place(None), Weight::Error, What::NoColon)),
                Parsed::Malformed(m) => {
                    errors.push(Problem::at(line.place(Some(m.at)), Weight::Error, What::Malformed(m.flaw)));
                }
                Parsed::Rule(rule) => errors.extend(rule_errors(&line, &rule, request)),
            },
            Entry::Again => errors.clear(),
            Entry::Broken(problems) => {
                errors.extend(problems);
                return errors;
            }
            Entry::End => return errors,
        }
    }
}

fn rule_errors(line: &Line<'_>, rule: &Rule<'_>, request: &Request<'_>) -> Vec<Problem> {
    let empty = |list: List<'_>, clients| {
        let problem = || Problem::at(line.place(Some(list.0)), Weight::Error, What::EmptyList { clients });
        list.items().next().is_none().then(problem)
    };
    let flaw = |(at, flaw): (&[u8], OptionFlaw)| {
        Problem::at(line.place(Some(at)), Weight::Error, What::Option(flaw))
    };
    let typed = rule.options.map(|text| options::steps(text, request.asker()));
    [empty(rule.daemons, false), empty(rule.clients, true), typed.and_then(Result::err).map(flaw)]
        .into_iter()
        .flatten()
        .collect()
}
