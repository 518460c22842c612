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
use crate::facts::{Request, Side};
use crate::rules::options::{self, Deed, Step};
use crate::rules::{Entry, Line, List, Malformed, Parsed, Rule, Table, Which};
use matcher::{End, Matcher};

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
    let mut decision = found(tables, request);
    decision.remarks.extend([tables.allow.complaint(), tables.deny.complaint()].into_iter().flatten());
    decision
}

fn found(tables: &mut Tables<'_>, request: &Request<'_>) -> Decision {
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
        match (search(tables.current(), which, request, &mut remarks), which) {
            (Search::Decided(verdict), _) => return Decision { remarks, ..verdict },
            (Search::Again, _) => tables.audited = None,
            (Search::Broken | Search::End, Which::Allow) => tables.at = Which::Deny,
            (Search::Broken, Which::Deny) => return refused(Because::Trouble, remarks),
            (Search::End, Which::Deny) => {
                let (access, because) = (Access::Permit, Because::NoRule);
                return Decision { access, because, plan: Vec::new(), if_not: IfNot::Ignore, remarks };
            }
        }
    }
}

/// How the search of one table ended.
enum Search {
    Decided(Decision),
    /// The table changed: it is to be searched from its start.
    Again,
    Broken,
    End,
}

fn search(table: &mut dyn Table, which: Which, request: &Request<'_>, remarks: &mut Vec<Problem>) -> Search {
    let start = remarks.len();
    let client = End { request, side: Side::Client };
    loop {
        match table.next_for(&client) {
            Entry::Line(line, parsed) => {
                if let Some(verdict) = consider(which, &line, parsed, request, remarks) {
                    return Search::Decided(verdict);
                }
                limit(remarks);
            }
            Entry::Again => {
                // What was found out about a name stays true, and is not found out twice.
                let void = remarks.split_off(start);
                remarks.extend(void.into_iter().filter(|remark| matches!(remark.what, What::Name(_))));
                return Search::Again;
            }
            Entry::Broken(problems) => {
                remarks.extend(problems);
                return Search::Broken;
            }
            Entry::End => return Search::End,
        }
    }
}

/// Most remarks that one decision keeps: a table of a million bad lines must not fill memory and log.
const REMARKS_MAX: usize = 200;

/// Keeps the first remarks and counts the others.
fn limit(remarks: &mut Vec<Problem>) {
    let Some(over) = remarks.len().checked_sub(REMARKS_MAX).filter(|&over| over > 0) else { return };
    let before = match remarks.get(REMARKS_MAX - 1).map(|last| &last.what) {
        Some(What::More(count)) => *count,
        _ => 1,
    };
    remarks.truncate(REMARKS_MAX - 1);
    let count = before.saturating_add(u32::try_from(over).unwrap_or(u32::MAX));
    remarks.push(Problem { place: None, weight: Weight::Error, what: What::More(count) });
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

#[cold]
#[inline(never)]
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
    let matches = matcher.daemons(rule.daemons).and(|| {
        prepare(which, rule, &matcher);
        matcher.clients(rule.clients)
    });
    matcher.report(line, remarks);
    if matches == Answer::No {
        return None;
    }
    let because = Because::Rule(which, line.place(None));
    let typed = typed(rule, request);
    let sense = sense_of(which, &typed);
    // As the reference reads it, a bare IPv6 address ends in an option error, which refuses.
    let ends_in_error = sense == Sense::Grants && matcher.head_matched.get();
    if matches == Answer::TwoWays || ends_in_error {
        matcher.report_doubt(line, remarks);
    }
    if sense == Sense::Grants {
        if ends_in_error {
            return Some(refused(because, Vec::new()));
        }
        if matches == Answer::TwoWays {
            return None;
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

type Typed<'a> = Result<Vec<Step>, (&'a [u8], OptionFlaw)>;

fn typed<'a>(rule: &Rule<'a>, request: &Request<'_>) -> Typed<'a> {
    rule.options.map_or(Ok(Vec::new()), |text| options::steps(text, request.asker()))
}

/// What a matcher must know before it looks at the clients of a rule: in one that refuses, a bare IPv6
/// address behind EXCEPT would spare a client that the reference never spared, and so answers in two
/// ways.
pub fn prepare(which: Which, rule: &Rule<'_>, matcher: &Matcher<'_>) {
    if rule.clients.excepts_bare_address() {
        let sense = sense_of(which, &typed(rule, matcher.request()));
        matcher.bare_in_doubt.set(sense == Sense::Refuses);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sense {
    Grants,
    Refuses,
}

fn sense_of(which: Which, typed: &Typed<'_>) -> Sense {
    match typed {
        Ok(plan) => sense(which, plan),
        Err(_) => Sense::Refuses,
    }
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
#[cold]
#[inline(never)]
fn audit(table: &mut dyn Table, request: &Request<'_>) -> Vec<Problem> {
    let mut errors = Vec::new();
    loop {
        match table.next() {
            Entry::Line(line, parsed) => {
                match parsed {
                    Parsed::Nothing => {}
                    Parsed::NoColon => {
                        errors.push(Problem::at(line.place(None), Weight::Error, What::NoColon));
                    }
                    Parsed::Malformed(m) => {
                        let what = What::Malformed(m.flaw);
                        errors.push(Problem::at(line.place(Some(m.at)), Weight::Error, what));
                    }
                    Parsed::Rule(rule) => errors.extend(rule_errors(&line, &rule, request)),
                }
                limit(&mut errors);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Doubt, Flaw};
    use crate::facts::{DaemonName, Endpoint, Fact, Stated, Transport, stated_name};
    use crate::tables::TextTable;
    use std::path::{Path, PathBuf};

    /// Decides about a client of this address under two texts.
    fn decided(name: &str, allow: &str, deny: &str, address: &str) -> Decision {
        decided_when(false, name, allow, deny, address)
    }

    fn decided_when(strict: bool, name: &str, allow: &str, deny: &str, address: &str) -> Decision {
        let file = |which: &str, text: &str| {
            let path: PathBuf =
                std::env::temp_dir().join(format!("tcpd-verdict-{name}-{which}-{}", std::process::id()));
            std::fs::write(&path, text).expect("writes");
            path
        };
        let (allow, deny) = (file("allow", allow), file("deny", deny));
        let decision = decided_by(strict, &allow, &deny, address);
        for path in [allow, deny] {
            std::fs::remove_file(path).expect("removes");
        }
        decision
    }

    /// The client's name is `beef`.
    fn decided_by(strict: bool, allow: &Path, deny: &Path, address: &str) -> Decision {
        let client = Endpoint::new(Fact::Known(address.as_bytes().to_vec()), None);
        let ends = (client.named(stated_name(Some(b"beef"))), Endpoint::unknown());
        let request = Request::new(DaemonName::stated(b"d"), 1, Transport::Stream, ends, &Stated);
        let (mut allow, mut deny) = (TextTable::new(allow), TextTable::new(deny));
        let mut tables = Tables::new(&mut allow, &mut deny, strict);
        assert_eq!(tables.is_strict(), strict);
        decide(&mut tables, &request)
    }

    /// Access, the line of the rule that decided, and the remarks with their columns.
    type Told<'a> = (Access, Option<(Which, u32)>, Vec<(Option<u32>, &'a What)>);

    fn told(decision: &Decision) -> Told<'_> {
        let rule = match &decision.because {
            Because::Rule(which, place) => Some((*which, place.line)),
            Because::NoRule | Because::Trouble => None,
        };
        let column = |problem: &Problem| problem.place.as_ref()?.spot.map(|(_, column)| column);
        (
            decision.access,
            rule,
            decision.remarks.iter().map(|remark| (column(remark), &remark.what)).collect(),
        )
    }

    #[test]
    fn two_readings_are_told_where_they_count() {
        use Access::{Deny, Permit};
        let doubt = |word: &str, why| What::TwoWays { word: word.as_bytes().to_vec(), why };
        let (bits, beef) = (doubt("10.1.2.3/8", Doubt::HostBits), doubt("beef::1", Doubt::BareAddress));
        let (allow, deny) = (|line| Some((Which::Allow, line)), |line| Some((Which::Deny, line)));
        let cases = [
            // Sure, whichever way it is read.
            ("ALL: 10.1.2.3/8 ALL\n", "", (Permit, allow(1), vec![])),
            ("ALL: 10.1.2.3/8\n", "ALL: ALL\n", (Deny, deny(1), vec![(Some(6), &bits)])),
            ("x: ALL\nALL: 10. 10.1.2.3/8 : deny\n", "", (Deny, allow(2), vec![])),
            ("ALL: 10.1.2.3/8 : deny\n", "", (Deny, allow(1), vec![(Some(6), &bits)])),
            ("", "ALL: 10.1.2.3/8\n", (Deny, deny(1), vec![(Some(6), &bits)])),
            ("", "ALL: 10.1.2.3/8 : allow\n", (Permit, None, vec![(Some(6), &bits)])),
            // The reference would have found an option error here.
            ("ALL: beef::1, ALL\n", "", (Deny, allow(1), vec![(Some(6), &beef)])),
            ("", "ALL: beef::1, ALL\n", (Deny, deny(1), vec![])),
        ];
        for (number, (allow, deny, expected)) in cases.iter().enumerate() {
            let decision = decided(&format!("readings-{number}"), allow, deny, "10.9.9.9");
            assert_eq!(told(&decision), *expected, "{allow}{deny}");
        }
    }

    #[test]
    fn a_malformed_rule_never_grants() {
        use Access::{Deny, Permit};
        let flaw = What::Malformed(Flaw::Bracket(b'['));
        let cases = [
            ("d: [::1, ALL\n", "", (Permit, None)),
            ("d: [::1, ALL: deny\n", "", (Deny, Some((Which::Allow, 1)))),
            ("x: [::1, ALL: deny\n", "", (Permit, None)),
            ("", "d: [::1, ALL\n", (Deny, Some((Which::Deny, 1)))),
            ("", "d: [::1, ALL: allow\n", (Deny, Some((Which::Deny, 1)))),
            ("", "x: [::1, ALL: deny\n", (Permit, None)),
        ];
        for (number, (allow, deny, (access, rule))) in cases.iter().enumerate() {
            let decision = decided(&format!("malformed-{number}"), allow, deny, "192.0.2.7");
            assert_eq!(told(&decision), (*access, *rule, vec![(Some(4), &flaw)]), "{allow}{deny}");
        }
    }

    #[test]
    fn what_cannot_be_read_refuses_in_hosts_deny() {
        let (directory, missing) = (std::env::temp_dir(), Path::new("/nonexistent/hosts"));
        let decision = decided_by(false, &directory, missing, "192.0.2.7");
        assert_eq!((decision.access, decision.because), (Access::Permit, Because::NoRule));
        let decision = decided_by(false, missing, &directory, "192.0.2.7");
        assert_eq!((decision.access, decision.because), (Access::Deny, Because::Trouble));
    }

    #[test]
    fn strict_tables_are_read_to_their_end() {
        let because = |strict, name: &str, allow: &str, deny: &str| {
            let decision = decided_when(strict, name, allow, deny, "192.0.2.7");
            (decision.because == Because::Trouble, decision.access, decision.remarks.len())
        };
        let good = "d: 192.0.2.7\nx: ALL: spawn echo\n";
        assert_eq!(because(true, "clean", good, "junk\n"), (false, Access::Permit, 0));
        assert_eq!(because(true, "clean-deny", "", "ALL: ALL\n"), (false, Access::Deny, 0));
        for (number, flaw) in ["junk\n", "x: ALL: bogus\n", "x: ,\n", ": ALL\n", "x: [\n"].iter().enumerate()
        {
            let text = [good, flaw].concat();
            assert_eq!(
                because(true, &format!("flaw-{number}"), &text, ""),
                (true, Access::Deny, 1),
                "{flaw}"
            );
            assert_eq!(
                because(false, &format!("lax-{number}"), &text, ""),
                (false, Access::Permit, 0),
                "{flaw}"
            );
            assert_eq!(because(true, &format!("deny-{number}"), "", flaw), (true, Access::Deny, 1), "{flaw}");
        }
    }

    #[test]
    fn a_strict_table_is_read_once_and_gone_on_with() {
        let path = std::env::temp_dir().join(format!("tcpd-verdict-goes-on-{}", std::process::id()));
        std::fs::write(&path, "d: ALL: aclexec false\nd: ALL\n").expect("writes");
        let ends = (Endpoint::unknown(), Endpoint::unknown());
        let request = Request::new(DaemonName::stated(b"d"), 1, Transport::Stream, ends, &Stated);
        let (mut allow, mut deny) = (TextTable::new(Path::new("/nonexistent/hosts")), TextTable::new(&path));
        let mut tables = Tables::new(&mut allow, &mut deny, true);
        let mut line = || told(&decide(&mut tables, &request)).1;
        assert_eq!([line(), line(), line()], [Some((Which::Deny, 1)), Some((Which::Deny, 2)), None]);
        std::fs::remove_file(path).expect("removes");
    }

    #[test]
    fn a_bare_address_spares_nobody_in_hosts_deny() {
        let access = |deny: &str, address: &str| decided("spares", "", deny, address).access;
        assert_eq!(access("ALL: ALL EXCEPT 2001:db8::7\n", "2001:db8::7"), Access::Deny);
        assert_eq!(access("ALL: ALL EXCEPT 2001:db8::7\n", "192.0.2.7"), Access::Deny);
        assert_eq!(access("ALL: ALL EXCEPT [2001:db8::7]\n", "2001:db8::7"), Access::Permit);
        assert_eq!(access("ALL: 2001:db8::7\n", "2001:db8::8"), Access::Permit);
    }

    #[test]
    fn a_slip_of_the_pen_refuses_as_it_always_did() {
        let decision = decided("slip", "ALL: ALL :: deny\n", "", "192.0.2.7");
        assert_eq!((decision.access, decision.remarks.len()), (Access::Deny, 1));
    }

    #[test]
    fn a_table_of_junk_fills_neither_memory_nor_log() {
        let decision = decided("junk", &"junk\n".repeat(5000), "ALL: ALL\n", "192.0.2.7");
        assert_eq!((decision.access, decision.remarks.len()), (Access::Deny, REMARKS_MAX));
        let last = decision.remarks.last().map(|problem| problem.what.clone());
        assert_eq!(last, Some(What::More(5000 - 199)));
        let decision = decided("some-junk", &"junk\n".repeat(REMARKS_MAX), "", "192.0.2.7");
        let last = decision.remarks.last().map(|problem| problem.what.clone());
        assert_eq!((decision.remarks.len(), last), (REMARKS_MAX, Some(What::NoColon)), "all of it");
        let decision = decided_when(true, "strict-junk", &"junk\n".repeat(5000), "", "192.0.2.7");
        assert_eq!((decision.access, decision.remarks.len()), (Access::Deny, REMARKS_MAX));
    }
}
