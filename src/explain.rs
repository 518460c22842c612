//! Why is this the verdict? The way to it, rule by rule and word by word.
//!
//! The decision itself is made elsewhere and only looked at here. The rules up to the one that decided
//! are asked once more, by the same matcher over the same lists ([`matcher::walk`]), on a request of
//! its own; so which words are reached, what is looked up for them and when, is what the wrapper does,
//! and deciding costs the wrapper nothing for being explainable.
//!
//! Warning to the next author: the request must be fresh. Its empty cells are how a question shows.

#![forbid(unsafe_code)]

pub mod brief;
pub mod json;
pub mod lines;
pub mod screen;

use crate::error::Place;
use crate::expand::expand;
use crate::facts::Request;
use crate::narrator::{Story, Told, Verdict};
use crate::rules::options::{Deed, Step};
use crate::rules::{Entry, Item, Line, List, Parsed, Table, Which};
use crate::settings::{Resolve, Settings};
use crate::sys::process;
use crate::tables::image::{Image, NotUsed};
use crate::verdict::matcher::{self, Matcher};
use crate::verdict::{Answer, Because, prepare};
use crate::witness::{Facts, Question, Witness};
use std::cell::RefCell;
use std::path::PathBuf;

/// Rules without a match that are shown of each table; a ban list may have a million.
const RULES_MAX: usize = 200;

/// A whole explanation.
pub struct Explanation<'a> {
    pub facts: &'a Facts,
    /// What is asked before the tables are searched.
    pub first: Vec<Question>,
    pub tables: Vec<Search>,
    /// What the letters of the deciding rule's options stand for, option by option.
    pub letters: Vec<Vec<Letter>>,
    pub told: &'a [Told],
    pub verdict: Verdict,
    pub because: &'a Because,
    pub limits: Limits,
    /// The image by which the rules were found, or why their text was read.
    pub image: Result<PathBuf, String>,
}

impl Explanation<'_> {
    /// Says how the rules were read.
    pub fn by_image(self, image: &Result<Image, NotUsed>) -> Self {
        let image = image.as_ref().map(|image| image.path().to_path_buf()).map_err(NotUsed::words);
        Explanation { image, ..self }
    }
}

/// How long answers may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names, and netgroups: seconds for each.
    pub names: u64,
    pub resolves: bool,
    /// The client's name is asked for before the rules are.
    pub paranoid: bool,
}

impl Limits {
    pub fn of(settings: &Settings) -> Limits {
        Limits {
            names: settings.resolve_timeout.as_secs(),
            resolves: settings.resolve != Resolve::Never,
            paranoid: settings.paranoid,
        }
    }
}

/// The search through one table.
pub struct Search {
    pub which: Which,
    pub rules: Vec<Considered>,
    /// Rules without a match that are not listed.
    pub left_out: usize,
}

/// A rule that was considered.
pub struct Considered {
    pub place: Place,
    pub text: Vec<u8>,
    pub course: Course,
    /// What its lists say together; none if it cannot be read.
    pub answer: Option<Answer>,
    pub words: Vec<Word>,
}

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    NoMatch,
    Decides,
    /// It may match, and it grants; so it does not count.
    PassedOver,
    /// It cannot be read, and does not decide.
    Unreadable,
}

/// A word that was looked at.
pub struct Word {
    pub list: Listed,
    /// How many EXCEPTs stand before it.
    pub excepts: usize,
    pub text: Vec<u8>,
    pub answer: Answer,
    pub asked: Vec<Question>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    Daemons,
    Clients,
}

/// A letter, what stands for it in the expanded text, and what was asked for it.
pub struct Letter {
    pub letter: u8,
    pub value: Vec<u8>,
    pub asked: Vec<Question>,
}

/// Explains a story, from the tables it came from, at their beginning.
pub fn explain<'a>(
    story: &'a Story,
    (allow, deny): (&mut dyn Table, &mut dyn Table),
    (facts, witness): (&'a Facts, &Witness<'_>),
    limits: Limits,
) -> Explanation<'a> {
    let request = facts.fresh(process::pid(), witness, limits.paranoid);
    let end = match &story.decision.because {
        Because::Rule(which, place) => Some((*which, place)),
        Because::NoRule | Because::Trouble => None,
    };
    let first = witness.take();
    let mut walker = Walker { request: &request, matcher: Matcher::new(&request), witness, end };
    let mut tables = Vec::new();
    if story.searched {
        tables.push(walker.search(Which::Allow, allow));
        if end.is_none_or(|(last, _)| last == Which::Deny) {
            tables.push(walker.search(Which::Deny, deny));
        }
    }
    let letters = story.decision.plan.iter().map(|step| letters(step, &request, witness)).collect();
    let Story { told, verdict, decision, .. } = story;
    let because = &decision.because;
    let image = Err(NotUsed::Off.words());
    Explanation { facts, first, tables, letters, told, verdict: *verdict, because, limits, image }
}

/// What each letter of an option's text stands for, in the order in which they are expanded.
fn letters(step: &Step, request: &Request<'_>, witness: &Witness<'_>) -> Vec<Letter> {
    if matches!(step.deed, Deed::Rfc931(_)) {
        if let Deed::Rfc931(Some(seconds)) = step.deed {
            request.ident_seconds.set(seconds);
        }
        request.user();
        let value = request.user().text().to_vec();
        return vec![Letter { letter: b'u', value, asked: witness.take() }];
    }
    if !matches!(step.deed, Deed::Spawn | Deed::Twist | Deed::Aclexec | Deed::Setenv) {
        return Vec::new();
    }
    let mut found: Vec<Letter> = Vec::new();
    let mut bytes = step.value.iter();
    while let Some(byte) = bytes.next() {
        let Some(&letter) = bytes.as_slice().first().filter(|_| *byte == b'%') else { continue };
        bytes.next();
        let Ok(expanded) = expand(&[b'%', letter], request) else { continue };
        let known = found.iter().any(|before| before.letter == letter && before.value == expanded.text);
        if letter != b'%' && !known {
            found.push(Letter { letter, value: expanded.text, asked: witness.take() });
        }
    }
    found
}

struct Walker<'w> {
    request: &'w Request<'w>,
    /// That of the rule at hand.
    matcher: Matcher<'w>,
    witness: &'w Witness<'w>,
    /// The rule that decided.
    end: Option<(Which, &'w Place)>,
}

impl Walker<'_> {
    fn search(&mut self, which: Which, table: &mut dyn Table) -> Search {
        let mut search = Search { which, rules: Vec::new(), left_out: 0 };
        loop {
            let (line, parsed) = match table.next() {
                Entry::Line(_, Parsed::Nothing) => continue,
                Entry::Line(line, parsed) => (line, parsed),
                Entry::Again => {
                    search = Search { which, rules: Vec::new(), left_out: 0 };
                    continue;
                }
                Entry::Broken(_) | Entry::End => return search,
            };
            let decides = self.end.is_some_and(|(last, place)| last == which && place.line == line.number);
            let considered = self.consider(which, &line, &parsed, decides);
            if search.rules.len() < RULES_MAX || considered.course != Course::NoMatch {
                search.rules.push(considered);
            } else {
                search.left_out += 1;
            }
            if decides {
                return search;
            }
        }
    }

    fn consider(&mut self, which: Which, line: &Line<'_>, parsed: &Parsed<'_>, decides: bool) -> Considered {
        self.matcher = Matcher::new(self.request);
        let words = RefCell::new(Vec::new());
        let answer = match parsed {
            Parsed::Nothing | Parsed::NoColon => None,
            Parsed::Malformed(malformed) => {
                // It is only asked where it could refuse.
                let asked = malformed.daemons.filter(|_| which == Which::Deny || malformed.refuses);
                asked.map(|list| self.list(Listed::Daemons, list, &words));
                None
            }
            Parsed::Rule(rule) => {
                let daemons = self.list(Listed::Daemons, rule.daemons, &words);
                Some(daemons.and(|| {
                    prepare(which, rule, &self.matcher);
                    self.list(Listed::Clients, rule.clients, &words)
                }))
            }
        };
        let course = match answer {
            _ if decides => Course::Decides,
            None => Course::Unreadable,
            Some(Answer::No) => Course::NoMatch,
            Some(Answer::Yes | Answer::TwoWays) => Course::PassedOver,
        };
        Considered {
            place: line.place(None),
            text: line.text.to_vec(),
            course,
            answer,
            words: words.into_inner(),
        }
    }

    /// Asks a list as the matcher asks it, one word at a time.
    fn list(&self, listed: Listed, list: List<'_>, words: &RefCell<Vec<Word>>) -> Answer {
        matcher::walk(list, |text| {
            let answer = match listed {
                Listed::Daemons => self.matcher.daemons(List(text)),
                Listed::Clients => self.matcher.clients(List(text)),
            };
            let excepts = excepts_before(list, text);
            let (text, asked) = (text.to_vec(), self.witness.take());
            words.borrow_mut().push(Word { list: listed, excepts, text, answer, asked });
            answer
        })
    }
}

/// How many EXCEPTs stand before a word of a list.
fn excepts_before(list: List<'_>, word: &[u8]) -> usize {
    let is_it = |item: &Item<'_>| matches!(item, Item::Word(found) if std::ptr::eq(*found, word));
    list.items().take_while(|item| !is_it(item)).filter(|item| *item == Item::Except).count()
}
