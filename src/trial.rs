//! Do the rules do what a test file expects of them?
//!
//! Each line states a connection and what is to become of it ([`crate::rules::trial`]); it is decided as
//! the wrapper decides, by the rules under test, and nothing is done. All lines of all files are tried,
//! whatever is wrong with one of them.
//!
//! Fails closed: a fact that a line leaves open is not taken for unknown. A rule on the way that asks for
//! it makes the test fail, because whoever wrote the line has not said what is to become of a client that
//! has a name. And a file without a test is an error: it proves nothing.

#![forbid(unsafe_code)]

mod why;

use crate::error::{Place, Problem, TrialFlaw, Unstated, Weight, What, reason};
use crate::facts::{DaemonName, Fact, Side, stated_name, stated_user};
use crate::hearing::{Hearing, Rules};
use crate::hosts::Host;
use crate::narrator::{Story, Verdict};
use crate::rules::trial::{By, End, Expected, Trial, read};
use crate::rules::{HostPattern, Line, List, Parsed, Process, TextPattern, Which, grammar};
use crate::settings::{Resolve, Settings};
use crate::sys::process;
use crate::verdict::matcher::{Matcher, walk};
use crate::verdict::{Answer, Because};
use crate::witness::{Facts, Ports, Question, Witness};
use std::cell::RefCell;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many tests there were, and how they came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub tests: usize,
    /// Not as expected.
    pub failed: usize,
    /// Files and lines that could not be read.
    pub errors: usize,
}

/// Tries every line of every file, and tells what is wrong with it.
pub fn run(files: &[PathBuf], settings: &Settings, refuses: bool, tell: &mut dyn FnMut(&Problem)) -> Tally {
    let rules = Rules::read(settings);
    let mut court = Court { settings, hearing: Hearing::new(&rules, settings, refuses) };
    let mut tally = Tally::default();
    for path in files {
        let file: Arc<Path> = Arc::from(path.as_path());
        let before = tally;
        match std::fs::read(path) {
            Ok(text) => court.file(&file, &text, &mut tally, tell),
            Err(cause) => {
                tally.errors += 1;
                tell(&without_place(What::CannotOpen { file: Arc::clone(&file), reason: reason(&cause) }));
            }
        }
        if tally == before {
            tally.errors += 1;
            tell(&without_place(What::Trial(TrialFlaw::NoTest(file))));
        }
    }
    tally
}

fn without_place(what: What) -> Problem {
    Problem { place: None, weight: Weight::Error, what }
}

struct Court<'c> {
    settings: &'c Settings,
    hearing: Hearing<'c>,
}

impl Court<'_> {
    fn file(&mut self, file: &Arc<Path>, text: &[u8], tally: &mut Tally, tell: &mut dyn FnMut(&Problem)) {
        for (number, text) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            let line = Line { text, file, number, joins: &[] };
            let problem = |at, flaw| Problem::at(line.place(Some(at)), Weight::Error, What::Trial(flaw));
            let trial = match read(text) {
                None => continue,
                Some(Ok(trial)) => self.expectation(&trial.expected).map(|wanted| (trial, wanted)),
                Some(Err(misread)) => Err(misread),
            };
            match trial {
                Ok((trial, wanted)) => {
                    tally.tests += 1;
                    if let Some(flaw) = self.one(&trial, &wanted) {
                        tally.failed += 1;
                        let is_failed = matches!(flaw, TrialFlaw::Failed { .. });
                        tell(&problem(if is_failed { trial.expected.text } else { trial.daemon }, flaw));
                    }
                }
                Err((at, flaw)) => {
                    tally.errors += 1;
                    tell(&problem(at, flaw));
                }
            }
        }
    }

    /// What is expected of the tables under test.
    fn expectation<'a>(&self, expected: &Expected<'a>) -> Result<Wanted, (&'a [u8], TrialFlaw)> {
        let Settings { hosts_allow, hosts_deny, .. } = self.settings;
        let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.word() == expected.verdict);
        let by = match expected.by {
            None => Cause::Any,
            Some(By::NoRule) => Cause::NoRule,
            Some(By::Rule { table, line }) => {
                let is_path = |path: &Path| path.as_os_str().as_bytes() == table;
                let which: Vec<Which> = match table {
                    b"hosts.allow" => vec![Which::Allow],
                    b"hosts.deny" => vec![Which::Deny],
                    _ => [(Which::Allow, hosts_allow), (Which::Deny, hosts_deny)]
                        .into_iter()
                        .filter(|(_, path)| is_path(path))
                        .map(|(which, _)| which)
                        .collect(),
                };
                if which.is_empty() {
                    let tables = [hosts_allow, hosts_deny].map(|path| Arc::from(path.as_path()));
                    return Err((table, TrialFlaw::OtherTable { name: table.to_vec(), tables }));
                }
                Cause::Rule { which, line }
            }
        };
        Ok(Wanted { verdict, by })
    }

    /// Tries one line. What is wrong, if it did not come out as expected.
    fn one(&mut self, trial: &Trial<'_>, wanted: &Wanted) -> Option<TrialFlaw> {
        let facts = self.hearing.seen(facts(trial));
        let machine = self.hearing.machine();
        let witness = Witness::new(&facts, &machine);
        let asked = self.hearing.questions(&facts, &witness);
        let story = self.hearing.story(&facts, &witness);
        witness.take();
        let open = self.open(trial, &asked, &story, &facts, &witness);
        if open.is_empty() && wanted.is_met_by(&story) {
            return None;
        }
        witness.take();
        let explanation = self.hearing.explained(&story, (&facts, &witness));
        if !open.is_empty() {
            let why = open.iter().map(|gap| why::asks(gap, &explanation)).collect();
            return Some(TrialFlaw::Unstated { facts: open.iter().map(|gap| gap.fact).collect(), why });
        }
        let rule = match &wanted.by {
            Cause::Rule { which, line: Some(line) } => Some(self.rule_at(which, *line)),
            _ => None,
        };
        Some(TrialFlaw::Failed {
            expected: String::from_utf8_lossy(trial.expected.text).into_owned(),
            happened: why::happened(&story),
            why: why::sentences(&story, &explanation, rule.as_ref()),
        })
    }

    /// The facts that the line leaves open and that the decision hung on.
    fn open(
        &mut self,
        trial: &Trial<'_>,
        asked: &[Question],
        story: &Story,
        facts: &Facts,
        witness: &Witness<'_>,
    ) -> Vec<Gap> {
        // Nobody is asked about an end without an address, and nobody at all if nobody is to be.
        let is_known = |end: &End<'_>| end.address != b"unknown";
        let resolves = self.settings.resolve != Resolve::Never;
        let client = is_known(&trial.client);
        let nameless = |end: &End<'_>| end.name.is_none() && is_known(end) && resolves;
        let mut open = Vec::new();
        let mut note = |fact, by| {
            if !open.iter().any(|gap: &Gap| gap.fact == fact) {
                open.push(Gap { fact, by });
            }
        };
        for question in asked {
            let fact = match question {
                Question::Name(Side::Client) if nameless(&trial.client) => Unstated::ClientName,
                Question::User(_) if trial.user.is_none() && client => Unstated::User,
                Question::Name(Side::Server) if trial.server.as_ref().is_some_and(nameless) => {
                    Unstated::ServerName
                }
                Question::Name(Side::Server) if trial.server.is_none() && resolves => Unstated::Server,
                _ => continue,
            };
            note(fact, AskedBy::Question(question.clone()));
        }
        if story.searched && (trial.server.is_none() || trial.port.is_none()) {
            for (fact, place, word) in self.asks_for_server(story, facts, witness) {
                let is_open = match fact {
                    Unstated::ServerPort => trial.port.is_none(),
                    _ => trial.server.is_none(),
                };
                if is_open {
                    note(fact, AskedBy::Word { place, word });
                }
            }
        }
        open
    }

    /// The words, up to the rule that decided, that ask where the service was called.
    fn asks_for_server(
        &mut self,
        story: &Story,
        facts: &Facts,
        witness: &Witness<'_>,
    ) -> Vec<(Unstated, String, Vec<u8>)> {
        let request = facts.fresh(process::pid(), witness, false);
        let matcher = Matcher::new(&request);
        let found = RefCell::new(Vec::new());
        self.hearing.walk(&mut |which, line, parsed| {
            let daemons = match parsed {
                Parsed::Rule(rule) => Some(rule.daemons),
                Parsed::Malformed(malformed) => {
                    malformed.daemons.filter(|_| which == Which::Deny || malformed.refuses)
                }
                Parsed::Nothing | Parsed::NoColon => None,
            };
            if let Some(list) = daemons {
                walk(list, |word| {
                    let pattern = grammar::daemon_pattern(word);
                    let note =
                        |fact| found.borrow_mut().push((fact, line.place(None).to_string(), word.to_vec()));
                    if let Process::Port(_) = pattern.process {
                        note(Unstated::ServerPort);
                    }
                    let is_asked = pattern.host.as_ref().is_some_and(asks_for_address);
                    if is_asked && matcher.process(pattern.process) != Answer::No {
                        note(Unstated::Server);
                    }
                    matcher.daemons(List(word))
                });
            }
            let decided = &story.decision.because;
            !matches!(decided, Because::Rule(last, place) if *last == which && place.line == line.number)
        });
        found.into_inner()
    }

    /// What stands in a line of a table that a test may mean.
    fn rule_at(&mut self, tables: &[Which], number: u32) -> why::At {
        let (mut which, mut rule) = (Which::Deny, None);
        self.hearing.walk(&mut |table, line, parsed| {
            let first = line.number.saturating_sub(u32::try_from(line.joins.len()).unwrap_or(u32::MAX));
            let is_there = tables.contains(&table) && (first..=line.number).contains(&number);
            if is_there && !matches!(parsed, Parsed::Nothing) {
                (which, rule) = (table, Some((line.place(None), line.text.to_vec())));
            }
            rule.is_none()
        });
        if rule.is_none() && tables.contains(&Which::Allow) {
            which = Which::Allow;
        }
        let file = match which {
            Which::Allow => &self.settings.hosts_allow,
            Which::Deny => &self.settings.hosts_deny,
        };
        let place = || Place { file: Arc::from(file.as_path()), line: number, spot: None };
        let (place, text) = rule.map_or_else(|| (place(), None), |(place, text)| (place, Some(text)));
        why::At { which, place, text, named: number }
    }
}

/// Whether a pattern looks at the address of an end. One that looks at its name alone asks for it.
fn asks_for_address(pattern: &HostPattern<'_>) -> bool {
    !matches!(
        pattern,
        HostPattern::Netgroup(_)
            | HostPattern::Local
            | HostPattern::NoNet
            | HostPattern::Text { pattern: TextPattern::All, .. }
    )
}

/// The facts of a line. What is left open is unknown for the time being.
fn facts(trial: &Trial<'_>) -> Facts {
    let host = |end: &End<'_>| Host {
        address: if end.address == b"unknown" { Fact::Unknown } else { Fact::Known(end.address.to_vec()) },
        name: stated_name(end.name),
    };
    Facts {
        daemon: DaemonName::stated(trial.daemon),
        client: host(&trial.client),
        server: trial.server.as_ref().map_or_else(Host::unknown, host),
        user: stated_user(trial.user.unwrap_or_default()),
        ports: Ports { client: None, server: trial.port.flatten() },
    }
}

/// What is expected.
struct Wanted {
    verdict: Option<Verdict>,
    by: Cause,
}

enum Cause {
    Any,
    NoRule,
    Rule { which: Vec<Which>, line: Option<u32> },
}

impl Wanted {
    fn is_met_by(&self, story: &Story) -> bool {
        let by = match (&self.by, &story.decision.because) {
            (Cause::Any, _) | (Cause::NoRule, Because::NoRule | Because::Trouble) => true,
            (Cause::Rule { which, line }, Because::Rule(decided, place)) => {
                which.contains(decided) && line.is_none_or(|line| line == place.line)
            }
            _ => false,
        };
        by && self.verdict == Some(story.verdict)
    }
}

/// A fact that is left open, and who asks for it.
struct Gap {
    fact: Unstated,
    by: AskedBy,
}

enum AskedBy {
    Question(Question),
    Word { place: String, word: Vec<u8> },
}
