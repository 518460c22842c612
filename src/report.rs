//! How is a complaint shown?
//!
//! In the reference's form, skeleton and all, for eyes and scripts that know it; and in three of our
//! own: for people ([`Form::Human`], see `quote`), one line each as compilers print, and one JSON
//! object each. All of them stream: nothing is collected, and a table of a million bad lines is
//! reported in the memory of one.

#![forbid(unsafe_code)]

pub mod progress;
mod quote;

use crate::advice::{self, Remark};
use crate::error::{Advice, Problem, TrialFlaw, Weight, What};
use crate::inspect::Teller;
use crate::logline::{self, printable};
use crate::rules::Line;
use crate::trial::Tally;
use crate::words;
use quote::Quoter;
use std::fmt::Write as _;
use std::io::Write;

/// The forms there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Reference { verbose: bool },
    Human { colour: bool },
    Short,
    Json,
}

/// Tells what it is told, and counts.
pub struct Report<'w> {
    form: Form,
    out: &'w mut dyn Write,
    quoter: Quoter,
    /// Advice, warnings, errors.
    pub counts: [usize; 3],
}

impl<'w> Report<'w> {
    pub fn new(form: Form, out: &'w mut dyn Write) -> Report<'w> {
        Report { form, out, quoter: Quoter::default(), counts: [0; 3] }
    }

    /// A problem outside the tables.
    pub fn problem(&mut self, problem: &Problem) {
        self.remark(&Remark { form: advice::Form::Both, problem: problem.clone() });
    }

    /// Where nobody reads any more, the exit status still tells.
    fn write(&mut self, text: &[u8]) {
        let _ = self.out.write_all(text);
    }

    fn line(&mut self, parts: &[&[u8]]) {
        let line = [parts.concat().as_slice(), b"\n"].concat();
        self.write(&line);
    }

    /// A line of the reference's skeleton.
    pub fn skeleton(&mut self, parts: &[&[u8]]) {
        if self.form == (Form::Reference { verbose: true }) {
            self.line(parts);
        }
    }

    fn list(&mut self, label: &[u8], list: &[u8]) {
        if self.form == (Form::Reference { verbose: true }) {
            let words = list.split(|byte| b" \t\n,".contains(byte)).filter(|word| !word.is_empty());
            let words: Vec<&[u8]> = words.collect();
            self.line(&[label, &words.join(&b' ')]);
        }
    }

    /// What it came to, for people.
    pub fn close(&mut self) {
        let [advice, warnings, errors] = self.counts;
        if matches!(self.form, Form::Human { .. }) {
            let count =
                |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
            let line = match advice + warnings + errors {
                0 => "no complaints".to_owned(),
                _ => {
                    format!("{}, {}, {advice} of advice", count(errors, "error"), count(warnings, "warning"))
                }
            };
            self.line(&[line.as_bytes()]);
        }
        let _ = self.out.flush();
    }

    fn reference(&mut self, problem: &Problem) {
        let Some(entry) = logline::problem(problem).into_iter().next() else { return };
        self.line(&[&entry.text]);
        if let Some(second) = words::second_line(&problem.what) {
            let sentence = logline::sentence(problem);
            let lead = entry.text.strip_suffix(sentence.as_slice()).unwrap_or_default();
            self.line(&[lead, &second]);
        }
    }

    fn human(&mut self, problem: &Problem, colour: bool) {
        let text = String::from_utf8_lossy(&sentence(problem)).into_owned();
        let repair = words::repair(&problem.what).map(|repair| format!("repair: {repair}"));
        let notes = words::why(&problem.what).iter().cloned().chain(repair).collect();
        let shown = self.quoter.show(problem, &text, notes, colour);
        self.write(&shown);
    }

    /// What tests came to, for people and for programs.
    pub fn close_tests(&mut self, tally: &Tally) {
        let Tally { tests, failed, errors } = tally;
        match self.form {
            Form::Human { .. } => {
                let count = |number: &usize, one: &str| {
                    format!("{number} {one}{}", if *number == 1 { "" } else { "s" })
                };
                let mut line = count(tests, "test");
                match failed {
                    0 => line.push_str(", as expected"),
                    _ => line.push_str(&format!(", {failed} not as expected")),
                }
                if *errors > 0 {
                    line.push_str(&format!(", {}", count(errors, "error")));
                }
                self.line(&[line.as_bytes()]);
            }
            Form::Json => {
                let line = format!("{{\"tests\":{tests},\"failed\":{failed},\"errors\":{errors}}}");
                self.line(&[line.as_bytes()]);
            }
            Form::Reference { .. } | Form::Short => {}
        }
        let _ = self.out.flush();
    }
}

/// A problem in one sentence. What shows the place needs no column in the sentence.
fn sentence(problem: &Problem) -> Vec<u8> {
    logline::sentence(&Problem { place: None, ..problem.clone() })
}

/// The word for a weight.
pub fn weight(weight: Weight) -> &'static str {
    match weight {
        Weight::Error => "error",
        Weight::Warning => "warning",
        Weight::Advice => "advice",
    }
}

/// `file:line:column: weight: text`
fn short(problem: &Problem) -> Vec<u8> {
    let place = problem.place.as_ref().map_or("tcpdchk".to_owned(), ToString::to_string);
    let lead = format!("{place}: {}: ", weight(problem.weight));
    let why = words::why(&problem.what).iter().map(|why| format!("; {why}")).collect::<String>();
    [lead.as_bytes(), &sentence(problem), why.as_bytes()].concat()
}

/// One object on one line (tcpdchk(8), JSON).
fn json(problem: &Problem) -> String {
    let mut out = String::from("{");
    if let Some(place) = &problem.place {
        let (line, column) = place.spot.unwrap_or((place.line, 0));
        let _ =
            write!(out, "\"file\":{},\"line\":{line},", quoted(place.file.as_os_str().as_encoded_bytes()));
        if column > 0 {
            let _ = write!(out, "\"column\":{column},");
        }
        if !matches!(problem.what, What::Trial(_)) {
            let _ = write!(out, "\"rule\":{},", place.line);
        }
    }
    let _ =
        write!(out, "\"weight\":\"{}\",\"code\":\"{}\"", weight(problem.weight), words::code(&problem.what));
    let _ = write!(out, ",\"text\":{}", quoted(&sentence(problem)));
    if let Some(repair) = words::repair(&problem.what) {
        let _ = write!(out, ",\"repair\":{}", quoted(repair.as_bytes()));
    }
    if let What::Trial(TrialFlaw::Failed { expected, happened, .. }) = &problem.what {
        let (expected, happened) = (quoted(expected.as_bytes()), quoted(happened.as_bytes()));
        let _ = write!(out, ",\"expected\":{expected},\"happened\":{happened}");
    }
    let why: Vec<_> = words::why(&problem.what).iter().map(|why| quoted(why.as_bytes())).collect();
    if !why.is_empty() {
        let _ = write!(out, ",\"why\":[{}]", why.join(","));
    }
    if let What::Advice(Advice::Unreachable { by }) = &problem.what {
        let file = quoted(by.file.as_os_str().as_encoded_bytes());
        let _ = write!(out, ",\"by\":{{\"file\":{file},\"line\":{}}}", by.line);
    }
    out.push('}');
    out
}

/// A JSON text (RFC 8259 7). Bytes that are no UTF-8 become U+FFFD.
fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Teller for Report<'_> {
    fn remark(&mut self, remark: &Remark) {
        let is_ours = !matches!(self.form, Form::Reference { .. });
        let hidden = if is_ours { advice::Form::Reference } else { advice::Form::Ours };
        if remark.form == hidden {
            return;
        }
        let mut problem = remark.problem.clone();
        if is_ours && problem.what == What::Unfinished {
            // The reference counts the lines before it; the line itself can be shown.
            if let Some(place) = &mut problem.place {
                place.line = place.line.saturating_add(1);
                place.spot = Some((place.line, 1));
            }
        }
        let problem = &problem;
        if let Some(count) = self.counts.get_mut(problem.weight as usize) {
            *count += 1;
        }
        match self.form {
            Form::Reference { .. } => self.reference(problem),
            Form::Human { colour } => self.human(problem, colour),
            Form::Short => self.line(&[&short(problem)]),
            Form::Json => self.line(&[json(problem).as_bytes()]),
        }
    }

    fn rule(&mut self, line: &Line<'_>) {
        if self.form == (Form::Reference { verbose: true }) {
            let file = printable(line.file.as_os_str().as_encoded_bytes());
            self.line(&[b"\n>>> Rule ", &file, format!(" line {}:", line.number).as_bytes()]);
        }
    }

    fn daemons(&mut self, list: &[u8]) {
        self.list(b"daemons:  ", list);
    }

    fn clients(&mut self, list: &[u8]) {
        self.list(b"clients:  ", list);
    }

    fn option(&mut self, name: &[u8], value: &[u8]) {
        self.skeleton(&[b"option:   ", name, b" ", value]);
    }

    fn banner(&mut self, text: &[u8]) {
        if matches!(self.form, Form::Reference { .. }) {
            self.line(&[text, b"\r"]);
        }
    }

    fn access(&mut self, granted: bool) {
        self.skeleton(&[b"access:   ", if granted { b"granted" } else { b"denied" }]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Place, WordFlaw};
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn json_is_json() {
        let place = Place { file: Arc::from(Path::new("a\"b")), line: 3, spot: Some((2, 7)) };
        let what = What::Word(WordFlaw::NotFound(b"x\x01\xff\\".to_vec()));
        let text = json(&Problem::at(place, Weight::Warning, what));
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&read["file"], &read["line"], &read["column"], &read["rule"]),
            (&"a\"b".into(), &2.into(), &7.into(), &3.into())
        );
        assert_eq!(read["text"], "x\\001\u{fffd}\\: host not found");
    }
}
