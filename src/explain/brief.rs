//! A decision for programs that ask for many: one short object on one line. Its schema is in
//! tcpdmatch(8), BATCH; members that [`super::json`] has, too, are the same there.
//!
//! The text is written as it comes: there may be hundreds of thousands of them in a second.

#![forbid(unsafe_code)]

use crate::error::{Place, Problem, What};
use crate::logline::readings;
use crate::narrator::{Story, Told};
use crate::verdict::Because;
use std::io::Write;

/// Writes the object of a decision; `id` is the text of a JSON value that is handed back.
pub fn print(id: Option<&str>, story: &Story, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    object.id(id);
    object.member("access").text(story.verdict.word().as_bytes());
    let (because, place) = match &story.decision.because {
        Because::Rule(_, place) => ("rule", Some(place)),
        Because::NoRule => ("no-rule", None),
        Because::Trouble => ("trouble", None),
    };
    object.member("because").text(because.as_bytes());
    let decided_by = object.member("decided_by");
    match place {
        Some(place) => at(decided_by, place).end(),
        None => decided_by.raw("null"),
    }
    let in_doubt = |problem: &&Problem| matches!(problem.what, What::TwoWays { .. });
    let in_doubt = story.decision.remarks.iter().filter(in_doubt);
    object.member("reading").list(in_doubt, |value, problem| reading(value, problem, place));
    object.options(&story.told);
    let lines = story.told.iter().filter_map(|told| match told {
        Told::Line(entry, priority) => Some((entry, priority)),
        _ => None,
    });
    object.member("log").list(lines, |value, (entry, priority)| {
        let mut line = value.object();
        let _ = write!(line.member("priority").out, "\"{priority}\"");
        line.member("text").text(&entry.text);
        line.end();
    });
    object.end();
    out.push(b'\n');
}

/// Writes what is said to a line that is no request: which, and why.
pub fn complain(id: Option<&str>, number: u64, why: &str, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    object.id(id);
    let _ = write!(object.member("line").out, "{number}");
    object.member("error").text(why.as_bytes());
    object.end();
    out.push(b'\n');
}

fn at<'o>(value: Value<'o>, place: &Place) -> Object<'o> {
    let mut object = value.object();
    object.member("file").text(place.file.as_os_str().as_encoded_bytes());
    let _ = write!(object.member("line").out, "{}", place.line);
    object
}

/// A pattern that can be read in two ways, and what became of its rule.
fn reading(value: Value<'_>, problem: &Problem, decided: Option<&Place>) {
    let What::TwoWays { word, why } = &problem.what else { return value.raw("null") };
    let Some(place) = &problem.place else { return value.raw("null") };
    let decides = decided.is_some_and(|by| by.file == place.file && by.line == place.line);
    let mut object = at(value, place);
    object.member("word").text(word);
    object.member("readings").text(readings(*why).as_bytes());
    object.member("outcome").text(if decides { b"decides" } else { b"two-ways" });
    object.end();
}

/// A JSON value that is to be written.
struct Value<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Value<'o> {
    fn raw(self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Bytes that are no UTF-8 become U+FFFD.
    fn text(self, bytes: &[u8]) {
        let is_plain = |&byte: &u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
        if bytes.iter().all(is_plain) {
            self.out.push(b'"');
            self.out.extend_from_slice(bytes);
            self.out.push(b'"');
        } else {
            // Writing to memory does not fail, and a text is always JSON.
            let _ = serde_json::to_writer(self.out, &String::from_utf8_lossy(bytes));
        }
    }

    fn object(self) -> Object<'o> {
        Object::begin(self.out)
    }

    fn list<T>(self, items: impl Iterator<Item = T>, print: impl Fn(Value<'_>, T)) {
        self.out.push(b'[');
        for (number, item) in items.enumerate() {
            if number > 0 {
                self.out.push(b',');
            }
            print(Value { out: self.out }, item);
        }
        self.out.push(b']');
    }
}

/// An object that is being written.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> Object<'o> {
    fn begin(out: &'o mut Vec<u8>) -> Object<'o> {
        out.push(b'{');
        Object { out, is_empty: true }
    }

    fn member(&mut self, name: &str) -> Value<'_> {
        self.out.extend_from_slice(if self.is_empty { b"\"" } else { b",\"" });
        self.is_empty = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        Value { out: self.out }
    }

    fn id(&mut self, id: Option<&str>) {
        if let Some(id) = id {
            self.member("id").raw(id);
        }
    }

    /// The options that would act, each with what it would do.
    fn options(&mut self, told: &[Told]) {
        let mut rest = told;
        let options = std::iter::from_fn(|| {
            let start = rest.iter().position(|told| matches!(told, Told::Option { .. }))?;
            let (option, behind) = rest.get(start..)?.split_first()?;
            let end = behind.iter().position(|told| matches!(told, Told::Option { .. }));
            let (own, left) = behind.split_at_checked(end.unwrap_or(behind.len()))?;
            rest = left;
            Some((option, own))
        });
        self.member("options").list(options, |value, (option, own)| {
            let Told::Option { name, value: text } = option else { return value.raw("null") };
            let mut option = value.object();
            option.member("option").text(name);
            option.member("value").text(text);
            let deeds = own.iter().filter_map(|told| match told {
                Told::Deed(sentence) => Some(sentence),
                _ => None,
            });
            option.member("does").list(deeds, |value, sentence| value.text(sentence));
            let shown = own.iter().filter_map(|told| match told {
                Told::Shown(text) => Some(text.as_slice()),
                _ => None,
            });
            option.member("shows").text(&shown.collect::<Vec<_>>().concat());
            option.end();
        });
    }

    fn end(self) {
        self.out.push(b'}');
    }
}
