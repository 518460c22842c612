//! An explanation for people: what does it look like on a screen of 80 columns?
//! Rules keep their place in front, so that an editor can be sent there. What is too long for a line

#![forbid(unsafe_code)]

use super::{Considered, Course, Explanation, Limits, Listed, Search, Word};
use crate::error::Place;
use crate::facts::{Fact, Side};
use crate::logline::printable;
use crate::narrator::{Told, Verdict};
use crate::rules::Which;
use crate::verdict::{Answer, Because};
use crate::witness::Question;

const WIDTH: usize = 80;
const INDENT: usize = 12;

/// What a head looks like where there are colours.
#[derive(Clone, Copy)]
pub enum Look {
    Plain,
    Good,
    Bad,
    Doubtful,
    Faint,
}

pub struct Screen {
    text: Vec<u8>,
    colours: bool,
}

impl Screen {
    pub fn new(colours: bool) -> Screen {
        Screen { text: Vec::new(), colours }
    }

    pub fn into_text(self) -> Vec<u8> {
        self.text
    }

    /// `head` in the first column, `body` in the second, broken where the line is full. A head that does
    /// not fit has a line of its own.
    pub fn row(&mut self, head: &str, look: Look, body: &[u8]) {
        let code = match look {
            _ if !self.colours => None,
            Look::Plain => None,
            Look::Good => Some("32"),
            Look::Bad => Some("31"),
            Look::Doubtful => Some("33"),
            Look::Faint => Some("2"),
        };
        let padded = if body.is_empty() { head.to_owned() } else { format!("{head:<INDENT$}") };
        match code {
            Some(code) => self.text.extend_from_slice(format!("\x1b[{code}m{padded}\x1b[0m").as_bytes()),
            None => self.text.extend_from_slice(padded.as_bytes()),
        }
        let is_long = head.chars().count() >= INDENT && !body.is_empty();
        if is_long {
            self.text.push(b'\n');
        }
        let lines = broken(&String::from_utf8_lossy(&printable(body)));
        for (number, line) in lines.into_iter().enumerate() {
            if number > 0 || is_long {
                self.text.extend_from_slice(" ".repeat(INDENT).as_bytes());
            }
            self.text.extend_from_slice(line.as_bytes());
            self.text.push(b'\n');
        }
    }

    /// A place and the rule that stands there, cut where the line is full.
    pub fn heading(&mut self, place: &[u8], rule: &[u8]) {
        let (place, rule) =
            (String::from_utf8_lossy(place), String::from_utf8_lossy(&printable(rule)).into_owned());
        let used = place.chars().count() + 2;
        self.text.extend_from_slice(place.as_bytes());
        let room = if used > WIDTH / 2 {
            self.text.extend_from_slice(b"\n    ");
            WIDTH - 4
        } else {
            self.text.extend_from_slice(b"  ");
            WIDTH - used
        };
        let short: String = match rule.chars().count() > room {
            true => rule.chars().take(room.saturating_sub(3)).chain("...".chars()).collect(),
            false => rule,
        };
        self.text.extend_from_slice(short.as_bytes());
        self.blank();
    }

    pub fn blank(&mut self) {
        self.text.push(b'\n');
    }
}

fn broken(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_inclusive(' ') {
        let room = (WIDTH - INDENT).saturating_sub(lines.last().map_or(0, |line| line.chars().count()));
        if word.trim_end().chars().count() > room && lines.last().is_some_and(|line| !line.is_empty()) {
            lines.push(String::new());
        }
        for letter in word.chars() {
            if lines.last().is_some_and(|line| line.chars().count() >= WIDTH - INDENT) {
                if letter == ' ' {
                    continue;
                }
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                line.push(letter);
            }
        }
    }
    lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
}

pub fn print(explanation: &Explanation<'_>, screen: &mut Screen) {
    facts(explanation, screen);
    for search in &explanation.tables {
        table(search, screen);
    }
    if explanation.tables.is_empty() {
        screen.blank();
        screen.row("tables", Look::Faint, b"not searched");
    } else if !explanation.tables.iter().any(|search| search.which == Which::Deny) {
        screen.blank();
        screen.row("hosts.deny", Look::Faint, b"not searched");
    }
    screen.blank();
    deeds(explanation, screen);
    let (look, word) = (look_of(explanation.verdict), explanation.verdict.word());
    screen.row(word, look, because(explanation).as_bytes());
    if let Some(cost) = cost(explanation) {
        screen.row("cost", Look::Plain, cost.as_bytes());
    }
}

pub fn look_of(verdict: Verdict) -> Look {
    match verdict {
        Verdict::Granted => Look::Good,
        Verdict::Denied => Look::Bad,
        Verdict::Delegated => Look::Doubtful,
    }
}

fn facts(explanation: &Explanation<'_>, screen: &mut Screen) {
    let facts = explanation.facts;
    let user = facts.user.known().map(|user| [user.as_ref(), b"@"].concat()).unwrap_or_default();
    let end = |host: &crate::hosts::Host, port: Option<u16>| {
        let mut text = host.address.text().to_vec();
        if let Some(port) = port {
            text.extend_from_slice(format!(" port {port}").as_bytes());
        }
        if host.name != Fact::Unknown {
            text.extend_from_slice(b", name ");
            text.extend_from_slice(host.name.text());
        }
        text
    };
    screen.row("service", Look::Plain, facts.daemon.as_ref());
    screen.row("client", Look::Plain, &[user, end(&facts.client, facts.ports.client)].concat());
    screen.row("server", Look::Plain, &end(&facts.server, facts.ports.server));
    let rules = match &explanation.image {
        Ok(path) => format!("by the image {}", path.display()),
        Err(why) => format!("by their text: {why}"),
    };
    screen.row("rules", Look::Plain, rules.as_bytes());
}

fn table(search: &Search, screen: &mut Screen) {
    let name = match search.which {
        Which::Allow => "hosts.allow",
        Which::Deny => "hosts.deny",
    };
    screen.blank();
    if search.rules.is_empty() {
        screen.row(name, Look::Plain, b"no rule in it");
    }
    for rule in &search.rules {
        considered(rule, screen);
    }
    if search.left_out > 0 {
        let rest = format!("and {} more rules of {name} that do not match", search.left_out);
        screen.row("", Look::Faint, rest.as_bytes());
    }
}

fn considered(rule: &Considered, screen: &mut Screen) {
    let place = format!("{}:{}", name_of(&rule.place), rule.place.line);
    screen.heading(&printable(place.as_bytes()), &rule.text);
    for word in &rule.words {
        let (look, answer) = match word.answer {
            Answer::Yes => (Look::Good, "  yes"),
            Answer::No => (Look::Faint, "  no"),
            Answer::TwoWays => (Look::Doubtful, "  two ways"),
        };
        screen.row(answer, look, &sentence(word));
    }
    let (look, course, why) = match (rule.course, rule.answer) {
        (Course::NoMatch, _) => return,
        (Course::Decides, None) => (Look::Plain, "  decides", "it cannot be read as a rule, so it refuses"),
        (Course::Decides, Some(Answer::TwoWays)) => {
            (Look::Plain, "  decides", "it may match, and in doubt it refuses")
        }
        (Course::Decides, Some(_)) => (Look::Plain, "  decides", "the first rule that matches"),
        (Course::PassedOver, _) => {
            (Look::Doubtful, "  passed by", "it may match, but in doubt it grants nobody")
        }
        (Course::Unreadable, _) => (Look::Doubtful, "  passed by", "it cannot be read as a rule"),
    };
    screen.row(course, look, why.as_bytes());
}

fn name_of(place: &Place) -> String {
    place.file.display().to_string()
}

fn sentence(word: &Word) -> Vec<u8> {
    let list = match word.list {
        Listed::Daemons => "daemon ",
        Listed::Clients => "client ",
    };
    let mut text = list.as_bytes().to_vec();
    text.extend_from_slice("EXCEPT ".repeat(word.excepts).as_bytes());
    text.extend_from_slice(&word.text);
    text.extend_from_slice(asked(&word.asked).as_bytes());
    text
}

fn asked(questions: &[Question]) -> String {
    let kind = |question: &Question| match question {
        Question::Name(_) => "name lookup",
        Question::User(_) => "ident",
        Question::Netgroup(_) => "netgroup",
        Question::File(_) => "file",
    };
    let kinds: Vec<_> = questions.iter().map(kind).collect();
    if kinds.is_empty() { String::new() } else { format!("   ({})", kinds.join(", ")) }
}

fn price(question: &Question, limits: Limits) -> String {
    let names = limits.names;
    let limit = if limits.resolves { format!("up to {names} s") } else { "none: resolve never".to_owned() };
    match question {
        Question::Name(Side::Client) => format!("the client's name ({limit})"),
        Question::Name(Side::Server) => format!("the server's name ({limit})"),
        Question::User(seconds) => format!("the client's user by ident (up to {seconds} s)"),
        Question::Netgroup(group) => {
            format!("netgroup {} (up to {names} s)", String::from_utf8_lossy(group))
        }
        Question::File(path) => format!("the file {}", String::from_utf8_lossy(path)),
    }
}

fn deeds(explanation: &Explanation<'_>, screen: &mut Screen) {
    let mut letters = explanation.letters.iter();
    for told in explanation.told {
        match told {
            Told::Matched(_) => {}
            Told::Option { name, value } => {
                screen.row(&String::from_utf8_lossy(&printable(name)), Look::Plain, value);
                for letter in letters.next().into_iter().flatten() {
                    let mut text = format!("%{} = ", char::from(letter.letter)).into_bytes();
                    text.extend_from_slice(&letter.value);
                    text.extend_from_slice(asked(&letter.asked).as_bytes());
                    screen.row("", Look::Plain, &text);
                }
            }
            Told::Deed(sentence) => screen.row("", Look::Faint, sentence),
            Told::Shown(text) => screen.row("  shows", Look::Plain, text.trim_ascii_end()),
            Told::Line(entry, priority) => {
                let daemon = explanation.facts.daemon.as_ref();
                let text = [format!("{priority} ").as_bytes(), daemon, b"[pid]: ", &entry.text].concat();
                screen.row("log", Look::Plain, &text);
            }
        }
    }
}

fn because(explanation: &Explanation<'_>) -> String {
    match explanation.because {
        Because::Rule(_, place) => format!("by {}, line {}", name_of(place), place.line),
        Because::NoRule => "by no rule: who is in neither table is served".to_owned(),
        Because::Trouble => "by no rule: something could not be read or trusted".to_owned(),
    }
}

fn cost(explanation: &Explanation<'_>) -> Option<String> {
    let words = explanation.tables.iter().flat_map(|search| &search.rules).flat_map(|rule| &rule.words);
    let of_words = words.flat_map(|word| &word.asked);
    let of_letters = explanation.letters.iter().flatten().flat_map(|letter| &letter.asked);
    let mut questions: Vec<String> = Vec::new();
    for question in explanation.first.iter().chain(of_words).chain(of_letters) {
        let text = price(question, explanation.limits);
        if !questions.contains(&text) {
            questions.push(text);
        }
    }
    (!questions.is_empty()).then(|| questions.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_blanks_or_anywhere() {
        assert_eq!(broken(""), [""]);
        assert_eq!(broken(&"x".repeat(70)), ["x".repeat(68), "xx".to_owned()]);
        let full = format!("{} {} b", "a".repeat(60), "c".repeat(7));
        assert_eq!(broken(&full), [format!("{} {}", "a".repeat(60), "c".repeat(7)), "b".to_owned()]);
        let words = format!("{} {} b", "a".repeat(60), "c".repeat(10));
        assert_eq!(broken(&words), ["a".repeat(60), format!("{} b", "c".repeat(10))]);
        assert_eq!(broken(&format!("{} b", "a".repeat(68))), ["a".repeat(68), "b".to_owned()]);
    }
}
