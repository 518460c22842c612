//! How does a complaint look to a person: the line, the spot in it, the repair?
//!
//! The line is quoted by codespan-reporting. It is cut where it is wider than a terminal, and bytes
//! that a terminal would obey are replaced; columns stay those of the file.

#![forbid(unsafe_code)]

use crate::error::{Place, Problem, Weight, What};
use crate::words;
use codespan_reporting::diagnostic::{Diagnostic, Label};
use codespan_reporting::files::{Error, Files};
use codespan_reporting::term::termcolor::Ansi;
use codespan_reporting::term::{self, Chars, Config, Styles, StylesWriter};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Widest piece of a line that is quoted, bytes.
const WIDTH: usize = 68;
/// How much of it stands before the spot.
const BEFORE: usize = 30;

/// Longest line that is quoted whole where that is wanted, bytes.
const WHOLE_MAX: usize = 1000;
/// How wide a terminal is, and how much of it stands before a note.
const SCREEN: usize = 80;
const GUTTER: usize = 8;

/// Keeps the files that are quoted.
#[derive(Default)]
pub struct Quoter {
    files: HashMap<Arc<Path>, Source>,
}

/// A file, and where its lines begin.
#[derive(Default)]
struct Source {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Source {
    fn read(path: &Path) -> Source {
        // Whoever complained has read it; if it is gone meanwhile there is nothing to quote.
        let bytes = std::fs::read(path).unwrap_or_default();
        let starts = std::iter::once(0).chain(ends(&bytes).map(|end| end + 1)).collect();
        Source { bytes, starts }
    }

    fn line(&self, number: usize) -> Option<&[u8]> {
        let start = *self.starts.get(number.checked_sub(1)?)?;
        let end = self.starts.get(number).map_or(self.bytes.len(), |next| next - 1);
        self.bytes.get(start..end)
    }
}

/// The piece of a line that is quoted.
struct Excerpt {
    name: String,
    text: String,
    number: usize,
    /// Bytes of the line before the piece.
    skipped: usize,
    /// All of the line, if it is cut and not endless.
    whole: Option<String>,
}

impl<'a> Files<'a> for Excerpt {
    type FileId = ();
    type Name = &'a str;
    type Source = &'a str;

    fn name(&'a self, (): ()) -> Result<&'a str, Error> {
        Ok(&self.name)
    }

    fn source(&'a self, (): ()) -> Result<&'a str, Error> {
        Ok(&self.text)
    }

    fn line_index(&'a self, (): (), _: usize) -> Result<usize, Error> {
        Ok(0)
    }

    fn line_number(&'a self, (): (), _: usize) -> Result<usize, Error> {
        Ok(self.number)
    }

    fn column_number(&'a self, (): (), _: usize, byte: usize) -> Result<usize, Error> {
        Ok(self.skipped + byte + 1)
    }

    fn line_range(&'a self, (): (), _: usize) -> Result<Range<usize>, Error> {
        Ok(0..self.text.len())
    }
}

impl Quoter {
    /// A problem as a person sees it, with notes below it.
    pub fn show(&mut self, problem: &Problem, text: &str, notes: Vec<String>, colour: bool) -> Vec<u8> {
        let diagnostic = match problem.weight {
            Weight::Error => Diagnostic::error(),
            Weight::Warning => Diagnostic::warning(),
            Weight::Advice => Diagnostic::note(),
        };
        let code = words::code(&problem.what);
        let lead = code.len() + "warning[]: ".len();
        let diagnostic = diagnostic.with_code(code).with_message(wrapped(text, lead, SCREEN));
        let quoted = problem.place.as_ref().and_then(|place| self.excerpt(place));
        // Of a test all is worth seeing: what it states stands far from what it expects.
        let cut = quoted.as_ref().and_then(|(excerpt, _)| excerpt.whole.clone());
        let whole = cut.filter(|_| matches!(problem.what, What::Trial(_)));
        let notes: Vec<String> = whole.into_iter().chain(notes).collect();
        let notes = notes.iter().map(|note| wrapped(note, 0, SCREEN - GUTTER));
        let diagnostic = diagnostic.with_notes_iter(notes);
        let (excerpt, diagnostic) = match quoted {
            Some((excerpt, range)) => (excerpt, diagnostic.with_label(Label::primary((), range))),
            None => {
                let lead = problem.place.as_ref().map_or(String::new(), |place| format!("{place}: "));
                let message = format!("{lead}{}", diagnostic.message);
                let (name, text) = (String::new(), String::new());
                let nothing = Excerpt { name, text, number: 1, skipped: 0, whole: None };
                (nothing, diagnostic.with_message(message))
            }
        };
        let config = Config { chars: Chars::ascii(), tab_width: 1, ..Config::default() };
        let mut out = Vec::new();
        // Writing to memory does not fail, and the excerpt has one line.
        let _ = if colour {
            let styles = Styles::default();
            let mut writer = StylesWriter::new(Ansi::new(&mut out), &styles);
            term::emit_to_write_style(&mut writer, &config, &excerpt, &diagnostic)
        } else {
            term::emit_to_io_write(&mut out, &config, &excerpt, &diagnostic)
        };
        out
    }

    /// The line of a place, cut to the width of a terminal, and the bytes of it that are marked.
    fn excerpt(&mut self, place: &Place) -> Option<(Excerpt, Range<usize>)> {
        let (line, column) = place.spot?;
        let source = self.files.entry(Arc::clone(&place.file)).or_insert_with(|| Source::read(&place.file));
        let number = usize::try_from(line).ok()?;
        let bytes = source.line(number)?;
        let at = usize::try_from(column).ok()?.saturating_sub(1).min(bytes.len());
        let skipped =
            if bytes.len() <= WIDTH { 0 } else { at.saturating_sub(BEFORE).min(bytes.len() - WIDTH) };
        let piece = bytes.get(skipped..(skipped + WIDTH).min(bytes.len()))?;
        let safe = |&byte: &u8| {
            if byte == b'\t' {
                ' '
            } else if byte.is_ascii_graphic() || byte == b' ' {
                char::from(byte)
            } else {
                '?'
            }
        };
        // One letter for one byte, so that columns stay true.
        let text: String = piece.iter().map(safe).collect();
        let whole =
            (piece.len() < bytes.len() && bytes.len() <= WHOLE_MAX).then(|| bytes.iter().map(safe).collect());
        let start = at - skipped;
        let length = marked(piece.get(start..).unwrap_or_default());
        let name = place.file.display().to_string();
        Some((Excerpt { name, text, number, skipped, whole }, start..start + length))
    }
}

/// A sentence in lines of at most so many letters, the first of them behind a lead of some length.
fn wrapped(text: &str, lead: usize, most: usize) -> String {
    let (mut out, mut width) = (String::new(), lead);
    for word in text.split(' ') {
        let length = word.chars().count() + 1;
        if width + length > most && width > lead {
            out.push_str("\n ");
            width = 1;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
        width += length;
    }
    out
}

/// How much is marked: the word, without a colon that ends it.
fn marked(text: &[u8]) -> usize {
    let end = text.iter().position(|byte| b" \t\r\n,".contains(byte)).unwrap_or(text.len());
    let word = text.get(..end).unwrap_or_default();
    let word = word.strip_suffix(b":").unwrap_or(word);
    word.len()
}

/// Where the lines end.
fn ends(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.iter().enumerate().filter(|&(_, &byte)| byte == b'\n').map(|(at, _)| at)
}
