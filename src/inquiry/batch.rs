//! Many requests on one stream, and one answer to each: how fast, and by which rules?
//!
//! Requests are answered as they are read, a piece of the stream at a time, and what is answered is
//! written out before more is read: whoever asks one question and waits gets its answer. **The rules are
//! read anew for each piece, after it was read**: so a request that is written after a change of the
//! rules is decided by the changed ones, and a piece of many hundred requests costs one reading.
//!
//! A line that is no request is answered, too, and the others are not harmed by it: line and answer have
//! the same number.

#![forbid(unsafe_code)]

use super::request::{NoRequest, Request, read};
use crate::explain::brief;
use crate::hearing::{Hearing, Rules};
use crate::narrator::Verdict;
use crate::settings::Settings;
use crate::sys::file::find_byte;
use crate::witness::Witness;
use std::io::{self, Read, Write};

/// What is read at once.
const PIECE: usize = 1 << 16;
/// Longest line, bytes.
const LINE_MAX: usize = 1 << 20;

/// How requests are answered.
pub struct Batch<'b> {
    pub settings: &'b Settings,
    /// The settings cannot be obeyed.
    pub refuses: bool,
    /// The verdict that each is to have.
    pub expect: Option<Verdict>,
}

/// What is left of the stream, and how it went.
struct Stream {
    /// What was read; complete lines are answered before more is read.
    bytes: Vec<u8>,
    /// The line that begins here is too long, and its beginning is gone.
    is_cut: bool,
    /// Lines so far.
    number: u64,
    /// Every line was a request with the expected verdict.
    is_good: bool,
}

impl Batch<'_> {
    /// Answers until the stream ends. Whether every line was a request, and had the expected verdict.
    pub fn answer(&self, input: &mut dyn Read, output: &mut dyn Write) -> io::Result<bool> {
        let mut stream = Stream { bytes: Vec::new(), is_cut: false, number: 0, is_good: true };
        let mut answers = Vec::new();
        loop {
            let ended = stream.read_more(input)? == 0;
            if ended && (stream.is_cut || !stream.bytes.is_empty()) {
                // The last line may lack its newline.
                stream.bytes.push(b'\n');
            }
            self.answer_lines(&mut stream, &mut answers);
            output.write_all(&answers)?;
            output.flush()?;
            answers.clear();
            if ended {
                return Ok(stream.is_good);
            }
        }
    }

    /// Answers the complete lines, and leaves the rest.
    fn answer_lines(&self, stream: &mut Stream, answers: &mut Vec<u8>) {
        let bytes = std::mem::take(&mut stream.bytes);
        let mut left = bytes.as_slice();
        if find_byte(b'\n', left).is_some() {
            let rules = Rules::read(self.settings);
            let mut hearing = Hearing::new(&rules, self.settings, self.refuses);
            while let Some(end) = find_byte(b'\n', left) {
                let (line, behind) = left.split_at_checked(end).unwrap_or_default();
                left = behind.get(1..).unwrap_or_default();
                stream.number += 1;
                let is_good = if std::mem::take(&mut stream.is_cut) || line.len() > LINE_MAX {
                    brief::complain(None, stream.number, "longer than 1 MiB", answers);
                    false
                } else {
                    self.answer_one(&mut hearing, stream.number, line, answers)
                };
                stream.is_good &= is_good;
            }
        }
        if left.len() > LINE_MAX {
            (stream.is_cut, left) = (true, &[]);
        }
        stream.bytes = left.to_vec();
    }

    fn answer_one(&self, hearing: &mut Hearing<'_>, number: u64, line: &[u8], answers: &mut Vec<u8>) -> bool {
        let Request { id, facts } = match read(line) {
            Ok(request) => request,
            Err(NoRequest { id, why }) => {
                brief::complain(id, number, &why, answers);
                return false;
            }
        };
        let (facts, machine) = (hearing.seen(facts), hearing.machine());
        let story = hearing.story(&facts, &Witness::new(&facts, &machine));
        brief::print(id, &story, answers);
        self.expect.is_none_or(|expected| expected == story.verdict)
    }
}

impl Stream {
    /// How many bytes there are more.
    fn read_more(&mut self, input: &mut dyn Read) -> io::Result<usize> {
        let before = self.bytes.len();
        self.bytes.resize(before + PIECE, 0);
        let read = loop {
            match input.read(self.bytes.get_mut(before..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.bytes.truncate(before + *read.as_ref().unwrap_or(&0));
        read
    }
}
