//! How far is it? A table, or a log, that shows the number of its line to a person who waits.
//!
//! Nothing is shown of what is read at once, and nothing stays on the screen: the next text, be
//! it a finding, begins where the number did.

#![forbid(unsafe_code)]

use crate::logline::printable;
use crate::rules::{Entry, Table};
use std::io::Write;

/// So many lines from one showing to the next.
const STEP: u32 = 50_000;

/// A table that is watched.
pub struct Watched<'t> {
    table: &'t mut dyn Table,
    name: String,
    /// The number of the line at which it is to be shown.
    due: u32,
    screen: &'t mut dyn Write,
}

impl<'t> Watched<'t> {
    /// Shows `table` under a name on `screen`, which is a terminal.
    pub fn new(table: &'t mut dyn Table, name: String, screen: &'t mut dyn Write) -> Watched<'t> {
        Watched { table, name, due: STEP, screen }
    }
}

impl Table for Watched<'_> {
    fn next(&mut self) -> Entry<'_> {
        let entry = self.table.next();
        // A screen that is gone changes nothing about the rules.
        match &entry {
            Entry::Line(line, _) if line.number >= self.due => {
                let _ = write!(self.screen, "{}: line {}\x1b[K\r", self.name, line.number);
                let _ = self.screen.flush();
                self.due = line.number.saturating_add(STEP);
            }
            Entry::Broken(_) | Entry::End if self.due > STEP => {
                let _ = write!(self.screen, "\x1b[K");
                let _ = self.screen.flush();
                self.due = STEP;
            }
            _ => {}
        }
        entry
    }

    fn rewind(&mut self) {
        self.due = STEP;
        self.table.rewind();
    }
}

/// Shows how far a file is that is read line by line.
pub struct Meter<'s> {
    name: String,
    due: u64,
    screen: &'s mut dyn Write,
}

impl<'s> Meter<'s> {
    /// Shows a file under a name on `screen`, which is a terminal.
    pub fn new(name: &str, screen: &'s mut dyn Write) -> Meter<'s> {
        Meter { name: printable_name(name), due: STEP.into(), screen }
    }

    /// A line is reached.
    pub fn at(&mut self, line: u64) {
        if line >= self.due {
            let _ = write!(self.screen, "{}: line {line}\x1b[K\r", self.name);
            let _ = self.screen.flush();
            self.due = line.saturating_add(STEP.into());
        }
    }

    /// The end is reached.
    pub fn end(&mut self) {
        if self.due > STEP.into() {
            let _ = write!(self.screen, "\x1b[K");
            let _ = self.screen.flush();
        }
    }
}

/// A name of a file, without what would move about on a terminal.
fn printable_name(name: &str) -> String {
    String::from_utf8_lossy(&printable(name.as_bytes())).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::TextTable;

    fn shown(lines: usize) -> String {
        let path = std::env::temp_dir().join(format!("tcpd-progress-{lines}-{}", std::process::id()));
        std::fs::write(&path, "ALL: 10.\n".repeat(lines)).expect("writes");
        let mut table = TextTable::new(&path);
        let mut screen = Vec::new();
        let mut watched = Watched::new(&mut table, "f".to_owned(), &mut screen);
        while !matches!(watched.next(), Entry::End) {}
        std::fs::remove_file(path).expect("removes");
        String::from_utf8(screen).expect("text")
    }

    #[test]
    fn only_large_tables_are_shown_and_nothing_stays() {
        assert_eq!(shown(1000), "");
        assert_eq!(shown(120_000), "f: line 50000\x1b[K\rf: line 100000\x1b[K\r\x1b[K");
    }

    #[test]
    fn long_logs_are_shown_and_nothing_stays() {
        let shown = |lines: u64| {
            let mut screen = Vec::new();
            let mut meter = Meter::new("a\x1bb", &mut screen);
            (1..=lines).for_each(|line| meter.at(line));
            meter.end();
            String::from_utf8(screen).expect("text")
        };
        assert_eq!(shown(49_999), "");
        assert_eq!(shown(120_000), "a\\033b: line 50000\x1b[K\ra\\033b: line 100000\x1b[K\r\x1b[K");
    }
}
