//! What would an experienced colleague say about these rules? From rules to problems; no disk, no net.
//!
//! Everything here follows from the text alone: words that match nobody, words that look like something
//! else, options that cannot do what they say, rules that are never reached. What needs the disk or the
//! databases is the business of `inspect`. Nothing here is ever called by a running wrapper.
//!
//! Two forms show what is found. The reference's checker has its own sentences, and those who read its
//! output find them unchanged; where we know better ([`Form::Ours`]) or it is misled
//! ([`Form::Reference`]), a remark belongs to one of the two only.

#![forbid(unsafe_code)]

pub mod coverage;
pub mod deeds;
pub mod patterns;

use crate::error::{Advice, Problem, Weight, What};
use crate::rules::{Item, Line, List, Rule};

/// Which output shows a remark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Reference,
    Ours,
    Both,
}

/// A problem, and who shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    pub form: Form,
    pub problem: Problem,
}

/// What is to be said about a word, before its place is known.
pub type Saying = (Form, Weight, What);

impl Remark {
    /// A saying about a part of a line.
    pub fn at(line: &Line<'_>, part: Option<&[u8]>, (form, weight, what): Saying) -> Remark {
        Remark { form, problem: Problem::at(line.place(part), weight, what) }
    }
}

/// A saying of our own.
pub fn ours(weight: Weight, advice: Advice) -> Saying {
    (Form::Ours, weight, What::Advice(advice))
}

/// A list that is empty, or ends in EXCEPT. Only a list without any word is an error: it never matches.
pub fn list_end(list: List<'_>, clients: bool) -> Option<Saying> {
    let mut last = None;
    let mut empty = true;
    for item in list.items() {
        (last, empty) = (Some(item), false);
    }
    let weight = if empty { Weight::Error } else { Weight::Warning };
    (!matches!(last, Some(Item::Word(_)))).then_some((Form::Both, weight, What::EmptyList { clients }))
}

/// A comment that is continued: what stands on the next lines is no rule any more.
pub fn comment(line: &Line<'_>) -> Option<Remark> {
    let join = *line.joins.first()?;
    let swallowed = line.text.get(join..).unwrap_or_default();
    let at = line.text.get(join.saturating_sub(1)..).unwrap_or_default();
    let loses = line.text.starts_with(b"#") && !swallowed.trim_ascii().is_empty();
    let mut remark = Remark::at(line, Some(at), ours(Weight::Warning, Advice::SwallowedByComment));
    // The backslash is behind the last byte that is left of its line.
    if let Some((_, column)) = remark.problem.place.as_mut().and_then(|place| place.spot.as_mut()) {
        *column = column.saturating_add(u32::from(join > 0));
    }
    loses.then_some(remark)
}

/// What the bytes of a rule's line say, whatever it means.
pub fn rule_text(line: &Line<'_>, rule: &Rule<'_>, remarks: &mut Vec<Remark>) {
    if let Some(text) = line.text.strip_suffix(b"\r") {
        let at = line.text.get(text.len()..);
        remarks.push(Remark::at(line, at, ours(Weight::Advice, Advice::CarriageReturn)));
    }
    if !line.text.contains(&b'#') {
        return;
    }
    let words = rule.daemons.items().chain(rule.clients.items());
    let hash = words.into_iter().find_map(|item| match item {
        Item::Word(word) if word.starts_with(b"#") => Some(word),
        _ => None,
    });
    if let Some(word) = hash {
        remarks.push(Remark::at(line, Some(word), ours(Weight::Warning, Advice::HashInLine)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logline;
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn lists_end_in_a_word() {
        let end = |text: &str| list_end(List(text.as_bytes()), true).map(|(_, weight, _)| weight);
        assert_eq!((end("a"), end("a EXCEPT b")), (None, None));
        assert_eq!((end(" , "), end("")), (Some(Weight::Error), Some(Weight::Error)));
        assert_eq!((end("a EXCEPT"), end("except")), (Some(Weight::Warning), Some(Weight::Warning)));
    }

    #[test]
    fn a_comment_may_swallow_a_rule() {
        let file: Arc<Path> = Arc::from(Path::new("f"));
        let line = |text: &'static [u8], joins: &'static [usize]| {
            let line = Line { text, file: &file, number: 3, joins };
            comment(&line).map(|remark| (remark.problem.place.and_then(|p| p.spot), remark.form))
        };
        assert_eq!(line(b"# c ALL: ALL", &[4]), Some((Some((2, 5)), Form::Ours)));
        assert_eq!(line(b"# c ", &[4]), None);
        assert_eq!(line(b"ALL: ALL", &[4]), None);
        let problem =
            Problem { place: None, weight: Weight::Warning, what: What::Advice(Advice::HashInLine) };
        assert!(!logline::problem(&problem).is_empty());
    }
}
