//! Why did a test come out otherwise? In sentences that stand for themselves, each on a line.
//!
//! The rule that decided comes first, with the words that matched; then what was noticed on the way; then
//! the rule that was expected to decide, and why it did not.

#![forbid(unsafe_code)]

use super::{AskedBy, Gap};
use crate::error::{Place, Unstated};
use crate::explain::{Considered, Course, Explanation, Listed, Word};
use crate::logline::{Level, printable};
use crate::narrator::{Story, Told};
use crate::rules::Which;
use crate::verdict::{Answer, Because};

/// Longest text of a rule that is shown, bytes.
const RULE_MAX: usize = 200;
/// Most words of a rule that are shown.
const WORDS_MAX: usize = 6;
/// Most rules and complaints that are shown.
const MOST: usize = 3;

/// A rule that was expected to decide.
pub struct At {
    pub which: Which,
    pub place: Place,
    /// None where no rule stands.
    pub text: Option<Vec<u8>>,
    /// The number by which it was named.
    pub named: u32,
}

/// What became of it: a verdict, and by what.
pub fn happened(story: &Story) -> String {
    let verdict = story.verdict.word();
    match &story.decision.because {
        Because::Rule(_, place) => format!("{verdict} by {place}"),
        Because::NoRule | Because::Trouble => format!("{verdict} by no rule"),
    }
}

/// Who asks for a fact that is left open.
pub fn asks(gap: &Gap, explanation: &Explanation<'_>) -> String {
    let (place, word) = match &gap.by {
        AskedBy::Word { place, word } => (place.clone(), shown(word)),
        AskedBy::Question(question) if explanation.first.contains(question) => {
            return "tcpd.conf asks for it before any rule is read: paranoid yes".to_owned();
        }
        AskedBy::Question(question) => {
            let rules = explanation.tables.iter().flat_map(|search| &search.rules);
            let mut words = rules.flat_map(|rule| rule.words.iter().map(move |word| (rule, word)));
            match words.find(|(_, word)| word.asked.contains(question)) {
                Some((rule, word)) => (rule.place.to_string(), shown(&word.text)),
                None => return "a rule asks for it".to_owned(),
            }
        }
    };
    let fact = match gap.fact {
        Unstated::ClientName | Unstated::ServerName => "name",
        Unstated::User => "user",
        Unstated::Server => "address",
        Unstated::ServerPort => "port",
    };
    format!("{place} asks for the {fact}: {word}")
}

/// All that there is to say.
pub fn sentences(story: &Story, explanation: &Explanation<'_>, expected: Option<&At>) -> Vec<String> {
    let mut said = Vec::new();
    match &story.decision.because {
        Because::Rule(_, place) => {
            let rules = explanation.tables.iter().flat_map(|search| &search.rules);
            match rules.into_iter().find(|rule| rule.course == Course::Decides) {
                Some(rule) => said.extend([heading(&rule.place, &rule.text), course(rule)]),
                None => said.push(place.to_string()),
            }
        }
        Because::NoRule => {
            said.push("no rule matches, and who is in neither table is served".to_owned());
            let rules = explanation.tables.iter().flat_map(|search| &search.rules);
            // A rule that was expected is shown anyway.
            let is_near = |rule: &&Considered| {
                expected.is_none() && rule.words.iter().any(|word| word.list == Listed::Clients)
            };
            for rule in rules.filter(is_near).take(MOST) {
                said.extend([heading(&rule.place, &rule.text), course(rule)]);
            }
        }
        Because::Trouble => {}
    }
    let complaints = story.told.iter().filter_map(|told| match told {
        Told::Line(entry, _) if matches!(entry.level, Level::Err | Level::Warning) => {
            Some(shown(&entry.text))
        }
        _ => None,
    });
    said.extend(complaints.take(MOST));
    if let Some(expected) = expected {
        said.extend(not_it(expected, story, explanation));
    }
    said
}

/// Why the rule that was expected to decide did not.
fn not_it(expected: &At, story: &Story, explanation: &Explanation<'_>) -> Vec<String> {
    let At { which, place, text, named } = expected;
    let Some(text) = text else { return vec![format!("{place}: there is no rule in this line")] };
    if *named != place.line {
        return vec![format!("{place}: a rule is named by its last line, and that of line {named} is this")];
    }
    let by = match &story.decision.because {
        Because::Rule(decided, by) => Some((*decided, by.line)),
        Because::NoRule | Because::Trouble => None,
    };
    if by == Some((*which, place.line)) {
        return Vec::new();
    }
    let searches = explanation.tables.iter().filter(|search| search.which == *which);
    let considered = searches.flat_map(|search| &search.rules).find(|rule| rule.place.line == place.line);
    let is_behind = match by {
        Some((Which::Allow, line)) => *which == Which::Deny || place.line > line,
        Some((Which::Deny, line)) => *which == Which::Deny && place.line > line,
        None => !story.searched,
    };
    let why = match considered {
        Some(rule) => course(rule),
        None if is_behind => "it is not reached".to_owned(),
        // One of too many to be listed.
        None => "it does not match".to_owned(),
    };
    vec![heading(place, text), why]
}

/// A place, and the rule that stands there.
fn heading(place: &Place, text: &[u8]) -> String {
    let rule = match text.get(..RULE_MAX) {
        Some(start) if start.len() < text.len() => format!("{}...", shown(start)),
        _ => shown(text),
    };
    // A rule of several lines has the blanks of its margins in it.
    let words: Vec<_> = rule.split_whitespace().collect();
    format!("{place}: {}", words.join(" "))
}

/// What became of a rule, and by which words.
fn course(rule: &Considered) -> String {
    let words = words(rule);
    match (rule.course, rule.answer) {
        (Course::Decides, None) => "it cannot be read as a rule, so it refuses".to_owned(),
        (Course::Decides, Some(Answer::TwoWays)) => format!("it may match, and in doubt it refuses: {words}"),
        (Course::Decides, Some(_)) => format!("it is the first that matches: {words}"),
        (Course::PassedOver, _) => format!("it may match, but in doubt it grants nobody: {words}"),
        (Course::Unreadable, _) => "it cannot be read as a rule".to_owned(),
        (Course::NoMatch, _) => format!("it does not match: {words}"),
    }
}

/// The words that were looked at, each with its answer; of many those that say more than no.
fn words(rule: &Considered) -> String {
    let is_short = rule.words.len() <= WORDS_MAX;
    let says_more = |word: &&Word| is_short || word.answer != Answer::No || word.excepts > 0;
    let chosen: Vec<_> = rule.words.iter().filter(says_more).take(WORDS_MAX).collect();
    let mut texts: Vec<String> = chosen.iter().map(|word| sentence(word)).collect();
    let others = rule.words.len() - chosen.len();
    if others > 0 {
        texts.push(format!("{others} more words"));
    }
    texts.join(", ")
}

fn sentence(word: &Word) -> String {
    let list = match word.list {
        Listed::Daemons => "daemon",
        Listed::Clients => "client",
    };
    let answer = match word.answer {
        Answer::Yes => "yes",
        Answer::No => "no",
        Answer::TwoWays => "two ways",
    };
    format!("{list} {}{} {answer}", "EXCEPT ".repeat(word.excepts), shown(&word.text))
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(&printable(text)).into_owned()
}
