//! From a path to a table: reading rule files lazily, and the word lists they name.
//!
//! Rule files change under a live wrapper, and ban tools write a million lines into them. So nothing
//! behind the first match is read, a rule that does not match costs no heap object, memory stays
//! within one chunk and one logical line, and a file that changed while it was read is read again.
//!
//! Fails closed: what cannot be read to a clean end is [`Entry::Broken`], and `verdict` knows what that
//! means in which table.

#![forbid(unsafe_code)]

pub mod held;
pub mod image;

use crate::error::{Place, Problem, Weight, What, reason};
use crate::facts::ListEnd;
use crate::rules::compiled::Spot;
use crate::rules::scan::end_of_word;
use crate::rules::{Entry, Line, Parsed, Table, grammar};
use crate::sys::file::{Opened, Stamp, find_byte, open};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Longest logical line, bytes.
pub const LINE_MAX: usize = 1 << 20;
/// What is read at once: the file if it is small, so that few pages are touched for it.
const CHUNK: usize = 1 << 16;
const CHUNK_MIN: usize = 1 << 10;
/// What is read at once of a file of which single lines are wanted.
const CHUNK_JUMP: u64 = 1 << 12;
/// How often a file that changes while it is read is read again.
const REREADS_MAX: u32 = 3;

/// A rule file, as text.
pub struct TextTable {
    path: Arc<Path>,
    state: State,
    rereads: u32,
    chunk: Chunk,
    /// A logical line that is not one whole piece of the chunk.
    joined: Vec<u8>,
    joins: Vec<usize>,
    /// Newlines read so far.
    number: u32,
    /// Single lines are read, at places that were found when the file had this stamp: whatever is read
    /// counts only if it still has it.
    jumps: bool,
}

enum State {
    Closed,
    Open(File, Stamp),
    Finished,
}

/// What is read from the file and not yet used: `bytes[used..filled]`, the first byte of `bytes` being
/// the one at `origin` in the file.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    used: usize,
    filled: usize,
    origin: u64,
}

impl Chunk {
    /// For a file of `size` bytes; one more shows its end.
    fn for_size(size: u64) -> Chunk {
        let length = usize::try_from(size).unwrap_or(CHUNK).saturating_add(1).clamp(CHUNK_MIN, CHUNK);
        Chunk { bytes: vec![0; length], ..Chunk::default() }
    }

    /// For single lines of a file of `size` bytes.
    fn for_jumps(size: u64) -> Chunk {
        Chunk::for_size(size.min(CHUNK_JUMP))
    }

    /// Room for more at once.
    fn grow(&mut self) {
        self.bytes.resize(CHUNK, 0);
    }

    fn unused(&self) -> &[u8] {
        self.bytes.get(self.used..self.filled).unwrap_or_default()
    }

    /// Where the next unused byte stands in the file.
    fn position(&self) -> u64 {
        self.origin + self.used as u64
    }

    /// How far the file has been read.
    fn end(&self) -> u64 {
        self.origin + self.filled as u64
    }

    /// Goes on at another byte of the file.
    fn jump(&mut self, to: u64) {
        match to.checked_sub(self.origin).and_then(|used| usize::try_from(used).ok()) {
            Some(used) if used <= self.filled => self.used = used,
            _ => (self.origin, self.used, self.filled) = (to, 0, 0),
        }
    }

    /// Reads more behind what is unused. False at the end of the file.
    fn refill(&mut self, file: &File) -> io::Result<bool> {
        self.bytes.copy_within(self.used..self.filled, 0);
        self.origin += self.used as u64;
        self.filled -= self.used;
        self.used = 0;
        loop {
            let room = self.bytes.get_mut(self.filled..).unwrap_or_default();
            match file.read_at(room, self.origin + self.filled as u64) {
                Ok(length) => {
                    self.filled += length;
                    return Ok(length > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// How the search for the next logical line ended.
enum Found {
    /// It is this piece of the chunk.
    Piece(Range<usize>),
    /// It is in `joined`.
    Joined,
    End,
    /// The file ends inside a line, or the line is too long.
    Unfinished,
    /// The file is not the one in which a place was found.
    Changed,
    Failed(io::Error),
}

impl TextTable {
    pub fn new(path: &Path) -> TextTable {
        TextTable {
            path: Arc::from(path),
            state: State::Closed,
            rereads: 0,
            chunk: Chunk::default(),
            joined: Vec::new(),
            joins: Vec::new(),
            number: 0,
            jumps: false,
        }
    }

    /// Opens the file if it is not open. False if its state is not the one of this stamp.
    pub fn open_as(&mut self, stamp: Option<Stamp>) -> bool {
        if matches!(self.state, State::Closed)
            && let Ok(Opened::Regular(file, now)) = open(&self.path)
        {
            self.chunk = Chunk::for_size(now.size);
            self.state = State::Open(file, now);
        }
        matches!(&self.state, State::Open(_, now) if Some(*now) == stamp)
    }

    /// Where the next line begins, and how many newlines stand before it.
    pub fn position(&self) -> Spot {
        Spot { offset: self.chunk.position(), number: self.number }
    }

    /// Opens the file to read single lines of it, if it is not open. False if its state is not the right
    /// one.
    fn open_at(&mut self, is_right: impl FnOnce(Stamp) -> bool) -> bool {
        if matches!(self.state, State::Closed)
            && let Ok(Opened::Regular(file, stamp)) = open(&self.path)
            && is_right(stamp)
        {
            self.chunk = Chunk::for_jumps(stamp.size);
            self.state = State::Open(file, stamp);
            self.jumps = true;
        }
        matches!(self.state, State::Open(..))
    }

    /// Reads everything from here on.
    fn read_on(&mut self) {
        self.jumps = false;
        self.chunk.grow();
    }

    /// Goes on at another line.
    fn jump(&mut self, to: Spot) {
        self.chunk.jump(to.offset);
        self.number = to.number;
    }

    /// Begins anew, for another client. What is open stays open, and what was read is not read again: the
    /// caller finds out by himself, and afterwards, whether the file was still the same.
    fn begin_again(&mut self) {
        self.rereads = 0;
        if !matches!(self.state, State::Open(..)) {
            self.rewind();
        }
        self.jump(Spot { offset: 0, number: 0 });
        self.jumps = self.is_open();
    }

    /// Whether what is open, if anything is, had this state when it was opened.
    fn is_open_as(&self, numbers: Option<[u64; 5]>) -> bool {
        match &self.state {
            State::Open(_, stamp) => Some(stamp.numbers()) == numbers,
            State::Closed | State::Finished => true,
        }
    }

    /// Whether it was read to an end, be it a good or a bad one, and is closed.
    fn has_ended(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    fn cannot_open(&mut self, cause: &io::Error) -> Entry<'_> {
        self.state = State::Finished;
        let what = What::CannotOpen { file: Arc::clone(&self.path), reason: reason(cause) };
        Entry::Broken(vec![Problem { place: None, weight: Weight::Error, what }])
    }

    /// Joins physical lines at backslash-newline. Both bytes vanish, before comments are looked at.
    fn find_line(&mut self) -> Found {
        let State::Open(file, stamp) = &self.state else { return Found::End };
        self.joined.clear();
        self.joins.clear();
        loop {
            let unused = self.chunk.unused();
            let Some(end) = find_byte(b'\n', unused) else {
                if unused.len() >= self.chunk.bytes.len() {
                    self.joined.extend_from_slice(unused);
                    self.chunk.used = self.chunk.filled;
                    if self.joined.len() > LINE_MAX {
                        return Found::Unfinished;
                    }
                }
                // Where the file ended when it was opened, nobody needs to ask: whether it still does is
                // looked at in any case. One that claims to be empty (proc(5)) may not be.
                let is_all = !self.jumps && stamp.size > 0 && self.chunk.end() == stamp.size;
                let more = if is_all { Ok(false) } else { self.chunk.refill(file) };
                if self.jumps && self.changed() {
                    return Found::Changed;
                }
                match more {
                    Ok(true) => continue,
                    Ok(false) if self.joined.is_empty() && self.chunk.unused().is_empty() => {
                        return Found::End;
                    }
                    Ok(false) => return Found::Unfinished,
                    Err(error) => return Found::Failed(error),
                }
            };
            let piece = self.chunk.used..self.chunk.used + end;
            self.chunk.used += end + 1;
            self.number = self.number.saturating_add(1);
            let text = self.chunk.bytes.get(piece.clone()).unwrap_or_default();
            let whole = self.joined.is_empty() && self.joins.is_empty();
            let backslash = match text.last() {
                Some(last) => *last == b'\\',
                // The backslash may have come with an earlier chunk of an endless line.
                None => self.joins.last() != Some(&self.joined.len()) && self.joined.last() == Some(&b'\\'),
            };
            if whole && !backslash {
                return Found::Piece(piece);
            }
            self.joined.extend_from_slice(text);
            // A backslash-newline adds nothing to the line, but it costs memory, too.
            if self.joined.len() + 2 * self.joins.len() > LINE_MAX {
                // The number of complete lines before it is what the reference reports.
                self.number = self.number.saturating_sub(1);
                return Found::Unfinished;
            }
            if !backslash {
                return Found::Joined;
            }
            self.joined.pop();
            self.joins.push(self.joined.len());
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.state, State::Open(..))
    }

    /// Whether the open file is no longer what was opened.
    fn changed(&self) -> bool {
        match &self.state {
            State::Open(file, stamp) => Stamp::now(file).map_or(true, |now| now != *stamp),
            _ => false,
        }
    }

    /// At the end of a file that changed: start again, or give up.
    fn read_again(&mut self) -> Entry<'_> {
        if self.rereads >= REREADS_MAX {
            return self.cannot_open(&io::Error::other("it changes while it is read"));
        }
        self.rereads += 1;
        self.rewind();
        Entry::Again
    }
}

impl Table for TextTable {
    fn next(&mut self) -> Entry<'_> {
        if matches!(self.state, State::Closed) {
            match open(&self.path) {
                Ok(Opened::Regular(file, stamp)) => {
                    self.chunk = Chunk::for_size(stamp.size);
                    self.state = State::Open(file, stamp);
                }
                Ok(Opened::Nothing) => self.state = State::Finished,
                Err(cause) => return self.cannot_open(&cause),
            }
        }
        let text = match self.find_line() {
            Found::Piece(range) => self.chunk.bytes.get(range).unwrap_or_default(),
            Found::Joined => self.joined.as_slice(),
            // There was a line here when the place was found: this is not that file, whatever its stamp says.
            Found::End if self.jumps => return self.read_again(),
            Found::Changed => return self.read_again(),
            Found::End | Found::Unfinished if self.changed() => return self.read_again(),
            Found::End => {
                self.state = State::Finished;
                return Entry::End;
            }
            Found::Unfinished => {
                self.state = State::Finished;
                let place = Place { file: Arc::clone(&self.path), line: self.number, spot: None };
                return Entry::Broken(vec![Problem::at(place, Weight::Error, What::Unfinished)]);
            }
            Found::Failed(cause) => return self.cannot_open(&cause),
        };
        let line = Line { text, file: &self.path, number: self.number, joins: &self.joins };
        let parsed = grammar::line(text);
        debug_assert!(!matches!(parsed, Parsed::Rule(_)) || text.contains(&b':'));
        Entry::Line(line, parsed)
    }

    fn rewind(&mut self) {
        self.state = State::Closed;
        self.chunk = Chunk::default();
        self.number = 0;
        self.jumps = false;
    }
}

/// Longest word of a pattern file, bytes.
const WORD_MAX: usize = LINE_MAX;

/// The words of a pattern file (hosts_access(5), PATTERN FILES: no comments, no EXCEPT, no commas).
pub struct Words {
    file: File,
    stamp: Stamp,
    chunk: Chunk,
    /// A word that is not one whole piece of the chunk.
    joined: Vec<u8>,
    /// Single words are read.
    jumps: bool,
}

/// What comes next in a pattern file.
pub enum NextWord<'w> {
    Word(&'w [u8]),
    End,
    /// It cannot be read any further: the reason.
    Trouble(String),
    /// Single words are read, and the file is not the one in which their places were found.
    Changed,
}

impl Words {
    /// Opens a pattern file; None where there is none.
    pub fn open(path: &Path) -> io::Result<Option<Words>> {
        Words::with(path, Chunk::for_size, false)
    }

    /// Opens a pattern file to read single words of it.
    fn open_to_jump(path: &Path) -> io::Result<Option<Words>> {
        Words::with(path, Chunk::for_jumps, true)
    }

    fn with(path: &Path, chunk: impl FnOnce(u64) -> Chunk, jumps: bool) -> io::Result<Option<Words>> {
        Ok(match open(path)? {
            Opened::Regular(file, stamp) => {
                Some(Words { file, stamp, chunk: chunk(stamp.size), joined: Vec::new(), jumps })
            }
            Opened::Nothing => None,
        })
    }

    /// Shows each word from here on, after single ones were read.
    fn visit_rest(&mut self, visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
        self.jumps = false;
        self.chunk.grow();
        self.visit(visit)
    }

    /// Goes on at another word.
    fn jump(&mut self, to: u64) {
        self.chunk.jump(to);
    }

    /// Begins anew, for another client; what was read is not read again.
    fn begin_again(&mut self) {
        self.jump(0);
        self.jumps = true;
    }

    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Where the next word begins, or the blanks before it.
    pub fn position(&self) -> u64 {
        self.chunk.position()
    }

    pub fn next_word(&mut self) -> NextWord<'_> {
        self.joined.clear();
        loop {
            let unused = self.chunk.unused();
            let end = end_of_word(unused);
            let text = unused.get(..end.unwrap_or(unused.len())).unwrap_or_default();
            if unused.get(text.len()) == Some(&0) {
                return NextWord::Trouble("a NUL byte".to_owned());
            }
            if self.joined.len() + text.len() > WORD_MAX {
                return NextWord::Trouble("a word is too long".to_owned());
            }
            let piece = self.chunk.used..self.chunk.used + text.len();
            self.chunk.used += text.len() + usize::from(end.is_some());
            match end {
                Some(_) if self.joined.is_empty() && piece.is_empty() => continue,
                Some(_) if self.joined.is_empty() => {
                    return NextWord::Word(self.chunk.bytes.get(piece).unwrap_or_default());
                }
                _ => self.joined.extend_from_slice(self.chunk.bytes.get(piece).unwrap_or_default()),
            }
            if end.is_some() {
                return NextWord::Word(&self.joined);
            }
            let more = self.chunk.refill(&self.file);
            if self.jumps && Stamp::now(&self.file).map_or(true, |now| now != self.stamp) {
                return NextWord::Changed;
            }
            match more {
                Ok(true) => {}
                Ok(false) if self.joined.is_empty() => return NextWord::End,
                Ok(false) => return NextWord::Word(&self.joined),
                Err(cause) => return NextWord::Trouble(reason(&cause)),
            }
        }
    }

    /// Shows each word from here on to `visit`, until that returns false.
    fn visit(&mut self, visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
        loop {
            match self.next_word() {
                NextWord::Word(word) if visit(word) => {}
                NextWord::Word(_) | NextWord::End => return ListEnd::Read,
                NextWord::Trouble(why) => return ListEnd::Trouble(why),
                NextWord::Changed => return ListEnd::Trouble("it changes while it is read".to_owned()),
            }
        }
    }
}

/// Shows each word of a pattern file to `visit`, until that returns false.
pub fn word_list(path: &Path, visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
    match Words::open(path) {
        Ok(Some(mut words)) => words.visit(visit),
        Ok(None) => ListEnd::Missing,
        Err(cause) => ListEnd::Trouble(reason(&cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, text: &[u8]) -> Scratch {
            let path = std::env::temp_dir().join(format!("tcpd-tables-{name}-{}", std::process::id()));
            std::fs::write(&path, text).expect("writes");
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    /// The logical lines with their numbers; the last item says how the table ended.
    fn lines(name: &str, text: &[u8]) -> Vec<(u32, String)> {
        let scratch = Scratch::new(name, text);
        let mut table = TextTable::new(&scratch.0);
        let mut seen = Vec::new();
        loop {
            match table.next() {
                Entry::Line(line, _) => {
                    let shown = if line.text.len() > 60 {
                        format!("{} bytes", line.text.len())
                    } else {
                        String::from_utf8_lossy(line.text).into_owned()
                    };
                    seen.push((line.number, shown));
                }
                Entry::Broken(problems) => {
                    seen.push((problems[0].place.as_ref().map_or(0, |p| p.line), "broken".to_owned()));
                }
                Entry::Again => seen.push((0, "again".to_owned())),
                Entry::End => return seen,
            }
        }
    }

    fn said(expected: &[(u32, &str)]) -> Vec<(u32, String)> {
        expected.iter().map(|&(number, text)| (number, text.to_owned())).collect()
    }

    #[test]
    fn lines_are_joined_and_counted() {
        assert_eq!(
            lines("join", b"a\nb\\\nc\\\n\\\nd\n\ne\n"),
            said(&[(1, "a"), (5, "bcd"), (6, ""), (7, "e")])
        );
        assert_eq!(lines("two", b"a\\\\\nb\n"), said(&[(2, "a\\b")]));
        assert_eq!(lines("only", b"\\\n\\\n"), said(&[]));
        assert_eq!(lines("crlf", b"a\\\r\nb\n"), said(&[(1, "a\\\r"), (2, "b")]));
    }

    #[test]
    fn unfinished_files_are_broken() {
        assert_eq!(lines("open", b"a\nb"), said(&[(1, "a"), (1, "broken")]));
        assert_eq!(lines("tail", b"a\\\n"), said(&[(1, "broken")]));
        assert_eq!(lines("one", b"a"), said(&[(0, "broken")]));
    }

    #[test]
    fn long_lines_are_read_up_to_the_limit() {
        for length in [CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, LINE_MAX] {
            let text = [vec![b'x'; length], b"\ny\n".to_vec()].concat();
            assert_eq!(lines("long", &text), said(&[(1, &format!("{length} bytes")), (2, "y")]), "{length}");
        }
        let text = [b"a\n".to_vec(), vec![b'x'; 2 * LINE_MAX], b"\ny\n".to_vec()].concat();
        assert_eq!(lines("over", &text), said(&[(1, "a"), (1, "broken")]));
        let joined = [vec![b'x'; CHUNK], b"\\\n".to_vec(), vec![b'x'; CHUNK], b"\n".to_vec()].concat();
        assert_eq!(lines("both", &joined), said(&[(2, &format!("{} bytes", 2 * CHUNK))]));
    }

    #[test]
    fn joints_count_for_the_length_of_a_line() {
        let text = [b"a\n".to_vec(), b"\\\n".repeat(LINE_MAX), b"y\n".to_vec()].concat();
        let seen = lines("joints", &text);
        assert_eq!((seen.len(), seen[1].1.as_str()), (2, "broken"), "{seen:?}");
    }

    #[test]
    fn a_word_with_a_nul_in_it_cannot_be_read() {
        let scratch = Scratch::new("nul", b"a b\0c d\n");
        let mut words = 0;
        let end = word_list(&scratch.0, &mut |_| {
            words += 1;
            true
        });
        assert_eq!((end, words), (ListEnd::Trouble("a NUL byte".to_owned()), 1));
    }

    #[test]
    fn what_is_no_regular_file_is_no_empty_table() {
        let mut table = TextTable::new(Path::new("/"));
        assert!(matches!(table.next(), Entry::Broken(_)));
        assert!(matches!(table.next(), Entry::End));
        assert!(matches!(TextTable::new(Path::new("/dev/null")).next(), Entry::End));
        assert!(matches!(TextTable::new(Path::new("/dev/zero")).next(), Entry::Broken(_)));
        assert!(matches!(TextTable::new(Path::new("/nonexistent/f")).next(), Entry::End));
    }

    #[test]
    fn a_file_that_changes_is_read_again_but_not_for_ever() {
        let scratch = Scratch::new("change", b"a\n");
        let mut table = TextTable::new(&scratch.0);
        for _ in 0..=REREADS_MAX {
            assert!(matches!(table.next(), Entry::Line(..)));
            let longer =
                std::fs::read(&scratch.0).map(|text| [text, b"b\n".to_vec()].concat()).expect("reads");
            std::fs::write(&scratch.0, longer).expect("writes");
            loop {
                match table.next() {
                    Entry::Line(..) => {}
                    Entry::Again | Entry::Broken(_) => break,
                    Entry::End => panic!("the change went unnoticed"),
                }
            }
        }
        assert!(matches!(table.next(), Entry::End), "given up");
    }

    #[test]
    fn words_are_seen_whole_wherever_chunks_end() {
        let long = "w".repeat(CHUNK - 3);
        let scratch = Scratch::new("words", format!(" a\tb\n\x0b{long} cde\r\nf").as_bytes());
        let mut words = Vec::new();
        let end = word_list(&scratch.0, &mut |word| {
            words.push(word.to_vec());
            true
        });
        assert_eq!(end, ListEnd::Read);
        let expected: Vec<Vec<u8>> =
            [b"a".to_vec(), b"b".to_vec(), long.into_bytes(), b"cde".to_vec(), b"f".to_vec()].into();
        assert_eq!(words, expected);
    }
}
