//! What stood in this rule file when it was read? A table in memory, for many clients one after the
//! other.
//!
//! A [`Text`] is read by the reader of the files ([`TextTable`]), so it is what the wrapper would have
//! read at that moment, and ends as the file would have ended: cleanly, or broken. Comments and empty
//! lines are left out: nobody can tell. A [`Held`] is the table over it; asked again it begins at the
//! first line, and takes no line apart twice.
//!
//! Warning to the next author: whoever keeps a `Text` answers by the rules as they were.

#![forbid(unsafe_code)]

use super::TextTable;
use crate::error::Problem;
use crate::rules::{Entry, Line, Parsed, Table, grammar};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The lines of a table, as they were read.
pub struct Text {
    pub file: Arc<Path>,
    bytes: Vec<u8>,
    lines: Vec<Row>,
    /// Why it could not be read to its end.
    broken: Option<Vec<Problem>>,
}

struct Row {
    text: Range<usize>,
    number: u32,
    joins: Vec<usize>,
}

impl Text {
    /// Reads a table from its beginning to its end.
    pub fn read(path: &Path) -> Text {
        let mut table = TextTable::new(path);
        let mut text = Text { file: Arc::from(path), bytes: Vec::new(), lines: Vec::new(), broken: None };
        loop {
            match table.next() {
                Entry::Line(_, Parsed::Nothing) => {}
                Entry::Line(line, _) => {
                    let start = text.bytes.len();
                    text.bytes.extend_from_slice(line.text);
                    let range = start..text.bytes.len();
                    text.lines.push(Row { text: range, number: line.number, joins: line.joins.to_vec() });
                }
                Entry::Again => {
                    text.bytes.clear();
                    text.lines.clear();
                }
                Entry::Broken(problems) => {
                    text.broken = Some(problems);
                    return text;
                }
                Entry::End => return text,
            }
        }
    }

    fn bytes_of(&self, row: &Row) -> &[u8] {
        self.bytes.get(row.text.clone()).unwrap_or_default()
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines with their numbers.
    pub fn lines(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.lines.iter().map(|row| (row.number, self.bytes_of(row)))
    }

    /// The text of the line with this number.
    pub fn line(&self, number: u32) -> &[u8] {
        let at = self.lines.binary_search_by_key(&number, |row| row.number).ok();
        at.and_then(|at| self.lines.get(at)).map(|row| self.bytes_of(row)).unwrap_or_default()
    }

    /// What a table over it yields at a place: a line, taken apart already or here, or its end; the one
    /// that is its own is told once, right behind the last line.
    pub fn entry<'a>(&'a self, at: usize, parsed: Option<Parsed<'a>>) -> Entry<'a> {
        match self.lines.get(at) {
            Some(row) => {
                let text = self.bytes_of(row);
                let line = Line { text, file: &self.file, number: row.number, joins: &row.joins };
                Entry::Line(line, parsed.unwrap_or_else(|| grammar::line(text)))
            }
            None => match &self.broken {
                Some(problems) if at == self.lines.len() => Entry::Broken(problems.clone()),
                _ => Entry::End,
            },
        }
    }
}

/// A table over a text in memory.
pub struct Held<'t> {
    text: &'t Text,
    parsed: Vec<Parsed<'t>>,
    at: usize,
}

impl<'t> Held<'t> {
    pub fn new(text: &'t Text) -> Held<'t> {
        let parsed = text.lines.iter().map(|row| grammar::line(text.bytes_of(row))).collect();
        Held { text, parsed, at: 0 }
    }
}

impl Table for Held<'_> {
    fn next(&mut self) -> Entry<'_> {
        let at = self.at;
        self.at += 1;
        self.text.entry(at, self.parsed.get(at).cloned())
    }

    fn rewind(&mut self) {
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a table yields, one text for each entry.
    fn said(table: &mut dyn Table) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            said.push(match table.next() {
                Entry::Line(_, Parsed::Nothing) => continue,
                Entry::Line(line, parsed) => format!("{line:?} {parsed:?}"),
                Entry::Broken(problems) => format!("{problems:?}"),
                Entry::Again => "again".to_owned(),
                Entry::End => return said,
            });
        }
    }

    #[test]
    fn what_is_held_is_what_stands_in_the_file() {
        let path = std::env::temp_dir().join(format!("tcpd-held-{}", std::process::id()));
        for text in ["", "# a\n\na: b\nc: \\\n d: deny\nno colon\n[: x\n", "a: b\nc: d", "a: b\n\0: c\n"] {
            std::fs::write(&path, text).expect("writes");
            let kept = Text::read(&path);
            let mut held = Held::new(&kept);
            let expected = said(&mut TextTable::new(&path));
            assert_eq!(said(&mut held), expected, "{text:?}");
            held.rewind();
            assert_eq!(said(&mut held), expected, "{text:?}, once more");
        }
        std::fs::remove_file(&path).expect("removes");
        for path in ["/", "/nonexistent/f", "/dev/null"].map(Path::new) {
            assert_eq!(said(&mut Held::new(&Text::read(path))), said(&mut TextTable::new(path)), "{path:?}");
        }
    }
}
