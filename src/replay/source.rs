//! What stands in this log? Bytes of a file, of a packed file or of standard input, line by line.
//!
//! A line is a piece of the buffer that it was read into, so that nothing is copied for lines that are
//! of no interest. Whether a file is packed is seen from its first bytes, not from its name. What cannot
//! be unpacked here is refused with the command that can.
//!
//! Fails in the middle, too: a packed file may break off. What was read before counts, and the error
//! comes where it happened.

#![forbid(unsafe_code)]

use crate::sys::file::find_byte;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::path::Path;

/// Longest line that is looked at, bytes.
pub const LINE_MAX: usize = 1 << 20;
/// What is read at once.
const CHUNK: usize = 1 << 18;
/// So many bytes tell what a file is.
const MAGIC_MAX: u64 = 8;

/// Files of other kinds: how they begin, what they are, and what makes text of them.
const OTHERS: [(&[u8], &str, &str); 4] = [
    (b"\xfd7zXZ\0", "packed by xz", "xzcat"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", "zstdcat"),
    (b"BZh", "packed by bzip2", "bzcat"),
    (b"LPKSHHRH", "a journal", "journalctl -o export --file"),
];

/// A log that is being read.
pub struct Source {
    input: Box<dyn Read>,
    buffer: Vec<u8>,
    /// What is read and not yet given out.
    unused: Range<usize>,
    /// The beginning of a line that was too long.
    long: Vec<u8>,
    /// Lines given out so far.
    pub number: u64,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'s> {
    /// Without its end.
    Line(&'s [u8]),
    /// A line over [`LINE_MAX`]: its beginning. The rest is passed over.
    TooLong(&'s [u8]),
    End,
}

impl Source {
    /// Opens a log; `-` is standard input.
    pub fn open(path: &Path) -> io::Result<Source> {
        if path == Path::new("-") { Source::new(io::stdin().lock()) } else { Source::new(File::open(path)?) }
    }

    /// Reads from anything.
    pub fn new(mut input: impl Read + 'static) -> io::Result<Source> {
        let mut start = Vec::new();
        input.by_ref().take(MAGIC_MAX).read_to_end(&mut start)?;
        if let Some((_, what, command)) = OTHERS.iter().find(|(magic, ..)| start.starts_with(magic)) {
            let words = format!("it is {what}: {command} FILE | tcpdmatch --replay -");
            return Err(io::Error::new(io::ErrorKind::Unsupported, words));
        }
        let is_packed = start.starts_with(b"\x1f\x8b");
        let whole = Cursor::new(start).chain(input);
        let input: Box<dyn Read> =
            if is_packed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
        Ok(Source { input, buffer: vec![0; CHUNK], unused: 0..0, long: Vec::new(), number: 0 })
    }

    pub fn next_line(&mut self) -> io::Result<Piece<'_>> {
        let mut searched = 0;
        loop {
            let unused = self.buffer.get(self.unused.clone()).unwrap_or_default();
            if let Some(end) = find_byte(b'\n', unused.get(searched..).unwrap_or_default()) {
                let line = self.unused.start..self.unused.start + searched + end;
                self.unused.start = line.end + 1;
                self.number += 1;
                return Ok(Piece::Line(without_return(self.buffer.get(line).unwrap_or_default())));
            }
            searched = unused.len();
            if searched > LINE_MAX {
                self.long.clear();
                self.long.extend_from_slice(unused.get(..LINE_MAX).unwrap_or_default());
                self.pass_over_line()?;
                self.number += 1;
                return Ok(Piece::TooLong(&self.long));
            }
            if !self.refill()? {
                let line = self.unused.clone();
                self.unused = 0..0;
                if line.is_empty() {
                    return Ok(Piece::End);
                }
                // Whoever writes the log may not have finished its last line.
                self.number += 1;
                return Ok(Piece::Line(without_return(self.buffer.get(line).unwrap_or_default())));
            }
        }
    }

    /// So many bytes as they are, of a field that may hold anything. Those behind [`LINE_MAX`] are passed
    /// over.
    pub fn take(&mut self, length: u64, into: &mut Vec<u8>) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.unused.is_empty() && !self.refill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let size = usize::try_from(left).unwrap_or(usize::MAX).min(self.unused.len());
            let part = self.unused.start..self.unused.start + size;
            if into.len() < LINE_MAX {
                into.extend_from_slice(self.buffer.get(part).unwrap_or_default());
            }
            self.unused.start += size;
            left -= size as u64;
        }
        Ok(())
    }

    /// Whether what is next begins like this.
    pub fn begins_with(&mut self, start: &[u8]) -> io::Result<bool> {
        while self.unused.len() < start.len() && self.refill()? {}
        Ok(self.buffer.get(self.unused.clone()).unwrap_or_default().starts_with(start))
    }

    fn pass_over_line(&mut self) -> io::Result<()> {
        loop {
            let unused = self.buffer.get(self.unused.clone()).unwrap_or_default();
            if let Some(end) = find_byte(b'\n', unused) {
                self.unused.start += end + 1;
                return Ok(());
            }
            self.unused = 0..0;
            if !self.refill()? {
                return Ok(());
            }
        }
    }

    /// Reads more behind what is unused. False at the end.
    fn refill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.unused.clone(), 0);
        self.unused = 0..self.unused.len();
        if self.unused.end >= self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            let room = self.buffer.get_mut(self.unused.end..).unwrap_or_default();
            match self.input.read(room) {
                Ok(length) => {
                    self.unused.end += length;
                    return Ok(length > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn source(bytes: &[u8]) -> Source {
        Source::new(Cursor::new(bytes.to_vec())).expect("opens")
    }

    fn lines(mut source: Source) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            match source.next_line().expect("reads") {
                Piece::Line(line) => seen.push(String::from_utf8_lossy(line).into_owned()),
                Piece::TooLong(start) => seen.push(format!("{} bytes and more", start.len())),
                Piece::End => return seen,
            }
        }
    }

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(text).expect("packs");
        packer.finish().expect("packs")
    }

    #[test]
    fn lines_of_any_length_come_whole() {
        assert_eq!(lines(source(b"")), [""; 0]);
        assert_eq!(lines(source(b"a\r\n\nb")), ["a", "", "b"]);
        let long = "x".repeat(CHUNK + 7);
        assert_eq!(lines(source(format!("{long}\ny\n").as_bytes())), [long.as_str(), "y"]);
        let over = format!("a\n{}\nb\nc\n", "x".repeat(3 * LINE_MAX));
        assert_eq!(lines(source(over.as_bytes())), ["a", "1048576 bytes and more", "b", "c"]);
    }

    #[test]
    fn packed_files_are_known_by_their_content() {
        let parts = [packed(b"a\nb"), packed(b"c\nd\n")].concat();
        assert_eq!(lines(source(&parts)), ["a", "bc", "d"]);
        let mut broken = source(packed(&b"a\n".repeat(9)).split_at(14).0);
        let failed = std::iter::repeat_with(|| broken.next_line().map(|piece| piece == Piece::End))
            .find(Result::is_err);
        assert_eq!(
            failed.map(|error| error.expect_err("breaks off").kind()),
            Some(io::ErrorKind::UnexpectedEof)
        );
        let refused = Source::new(Cursor::new(b"\xfd7zXZ\0...".to_vec())).err().expect("refused");
        assert_eq!(refused.to_string(), "it is packed by xz: xzcat FILE | tcpdmatch --replay -");
    }

    #[test]
    fn bytes_are_taken_as_they_are() {
        let mut source = source(b"MESSAGE\na\nb\nc\nd");
        assert_eq!(source.next_line().expect("reads"), Piece::Line(b"MESSAGE"));
        let mut field = Vec::new();
        source.take(3, &mut field).expect("reads");
        assert_eq!(field, b"a\nb");
        assert!(
            source.begins_with(b"\nc").expect("reads") && !source.begins_with(b"\nc\nde").expect("reads")
        );
        assert!(source.take(99, &mut field).is_err());
    }
}
