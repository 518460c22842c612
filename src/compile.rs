//! From rule files to a compiled image: read, index, and put in place.
//!
//! The image is made of the files as they were at one time. They are looked at before they are read and
//! again afterwards, and if one changed it is all done again. A file that changed within the last two
//! seconds is waited for: file systems keep time in ticks, and a second change within the tick of the
//! first would go unseen. The image is written to a new file in the same directory, synced, given the
//! rights of its sources, and renamed; after that the sources are looked at once more, so that of two
//! compilers at work the one with the older sources does not have the last word.
//!
//! A table that cannot be read makes no image. A pattern file that cannot be read is left out and read,
//! or found unreadable, when a rule needs it.

#![forbid(unsafe_code)]

use crate::error::Error;
use crate::rules::compiled::draft::{Draft, Summary};
use crate::rules::compiled::{Role, Spot};
use crate::rules::{Entry, HostPattern, Item, List, Parsed, Table, grammar};
use crate::sys::file::{Found, NewFile, Opened, Stamp, find, is_readable_by_all, open};
use crate::tables::{NextWord, TextTable, Words};
use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A source must have been left alone for so long.
pub const SETTLED: Duration = Duration::from_secs(2);
/// How often it is all done again because a source changed, and how often one is waited for.
const ATTEMPTS_MAX: usize = 10;
/// How many lines or words there are between two reports of progress.
const STEP: u64 = 50_000;

/// Who is told what goes on.
pub trait Observer {
    /// So many lines or words of this file have been read.
    fn progress(&mut self, file: &Path, count: u64);
    /// Something is waited for, or left out.
    fn remark(&mut self, text: String);
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub summary: Summary,
    /// Tables and pattern files in the image, missing ones included.
    pub sources: usize,
    /// Everybody may read it, because everybody may read all its sources.
    pub public: bool,
}

/// Makes the image of two tables and puts it in place.
pub fn compile(tables: [&Path; 2], image: &Path, observer: &mut dyn Observer) -> Result<Made, Error> {
    for _ in 0..ATTEMPTS_MAX {
        let cannot = |cause| Error::new("cannot write", image.display().to_string(), cause);
        let file = NewFile::beside(image).map_err(cannot)?;
        let mut out = BufWriter::with_capacity(1 << 16, file.as_file());
        let Some((sources, mut made)) = write(tables, SETTLED, &mut out, observer)? else { continue };
        out.flush().map_err(cannot)?;
        drop(out);
        made.public = sources.iter().all(|(path, stamp)| stamp.is_none() || is_readable_by_all(path));
        if !are_as_before(&sources) {
            continue;
        }
        file.put_in_place(if made.public { 0o644 } else { 0o600 }).map_err(cannot)?;
        if are_as_before(&sources) {
            return Ok(made);
        }
    }
    let cause = io::Error::other("the rule files change all the time");
    Err(Error::new("cannot compile", image.display().to_string(), cause))
}

/// The sources with their stamps, in the order in which they were found.
pub type Sources = Vec<(PathBuf, Option<Stamp>)>;

/// Writes the image of two tables, once each source has been left alone for the time `settled`. None
/// where one of them changed meanwhile.
pub fn write(
    tables: [&Path; 2],
    settled: Duration,
    out: &mut dyn Write,
    observer: &mut dyn Observer,
) -> Result<Option<(Sources, Made)>, Error> {
    let (files, named) = (VecDeque::new(), HashSet::new());
    let mut making = Making { sources: Vec::new(), settled, files, named, observer };
    let id = RandomState::new().build_hasher().finish();
    let mut draft = Draft::new(id);
    let [allow, deny] = tables;
    making.table(allow, &mut draft)?;
    if deny != allow {
        making.table(deny, &mut draft)?;
    }
    while let Some(path) = making.files.pop_front() {
        if !making.words(&path, &mut draft) {
            let count = making.files.len() + 1;
            making.observer.remark(format!("left out: {count} pattern file(s), for which there is no room"));
            break;
        }
    }
    if !are_as_before(&making.sources) {
        return Ok(None);
    }
    let made = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let summary =
        draft.write(made, out).map_err(|cause| Error::new("cannot write", "the image".to_owned(), cause))?;
    let count = making.sources.len();
    Ok(Some((making.sources, Made { summary, sources: count, public: false })))
}

/// Whether all sources are as they were when they were read.
fn are_as_before(sources: &Sources) -> bool {
    sources.iter().all(|(path, stamp)| match (find(path), stamp) {
        (Ok(Found::Regular(now)), Some(before)) => now == *before,
        (Ok(Found::Nothing), None) => true,
        _ => false,
    })
}

/// The state of a file of which everything is written, and None where there is none. What was written
/// through a mapping of the file, and is not on disk yet, has not moved its change time.
fn stamp_of_written(path: &Path) -> io::Result<Option<Stamp>> {
    match open(path)? {
        Opened::Regular(file, _) => {
            file.sync_all()?;
            Stamp::now(&file).map(Some)
        }
        Opened::Nothing => Ok(None),
    }
}

struct Making<'o> {
    sources: Sources,
    settled: Duration,
    /// Pattern files that are still to be read, and all that were named so far.
    files: VecDeque<PathBuf>,
    named: HashSet<Vec<u8>>,
    observer: &'o mut dyn Observer,
}

impl Making<'_> {
    /// The state of a file that has been left alone for long enough; None where there is none.
    fn settled(&mut self, path: &Path) -> Result<Option<Stamp>, Error> {
        let cannot = |cause| Error::new("cannot compile", path.display().to_string(), cause);
        for attempt in 0..ATTEMPTS_MAX {
            let Some(stamp) = stamp_of_written(path).map_err(cannot)? else { return Ok(None) };
            let (seconds, nanoseconds) = stamp.changed;
            let changed = Duration::new(
                u64::try_from(seconds).unwrap_or(0),
                u32::try_from(nanoseconds).unwrap_or(0).min(999_999_999),
            );
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            if changed > now + self.settled {
                return Err(cannot(io::Error::other("it was changed in the future: is the clock right?")));
            }
            let Some(wait) = (changed + self.settled).checked_sub(now).filter(|wait| !wait.is_zero()) else {
                return Ok(Some(stamp));
            };
            if attempt == 0 {
                self.observer.remark(format!("{} has just changed: waiting", path.display()));
            }
            std::thread::sleep(wait);
        }
        Err(cannot(io::Error::other("it changes all the time")))
    }

    fn table(&mut self, path: &Path, draft: &mut Draft) -> Result<(), Error> {
        let cannot =
            |why: String| Error::new("cannot compile", path.display().to_string(), io::Error::other(why));
        let stamp = self.settled(path)?;
        self.sources.push((path.to_path_buf(), stamp));
        let numbers = stamp.map(|stamp| stamp.numbers());
        let source = draft.source(Role::Table, path.as_os_str().as_bytes(), numbers);
        let source = source.ok_or_else(|| cannot("there is no room for it in an image".to_owned()))?;
        if stamp.is_none() {
            return Ok(());
        }
        let mut table = TextTable::new(path);
        // It may be another file than the one that was looked at, and be gone again before the end.
        if !table.open_as(stamp) {
            return Err(cannot("it changes all the time".to_owned()));
        }
        let mut count = 0;
        loop {
            let spot = table.position();
            match table.next() {
                Entry::Line(_, parsed) => {
                    draft.line(source, spot, &parsed);
                    self.pattern_files(&parsed);
                }
                // An unfinished last line is where every search of this table ends.
                Entry::Broken(problems) if problems.iter().all(|problem| problem.place.is_some()) => {
                    draft.always(source, spot);
                    return Ok(());
                }
                Entry::Broken(problems) => {
                    let sentences = problems.iter().map(crate::logline::sentence);
                    let why = String::from_utf8_lossy(&sentences.collect::<Vec<_>>().concat()).into_owned();
                    return Err(cannot(why));
                }
                // It will be found to have changed.
                Entry::Again | Entry::End => return Ok(()),
            }
            count += 1;
            if count % STEP == 0 {
                self.observer.progress(path, count);
            }
        }
    }

    /// Takes note of the pattern files that a rule names.
    fn pattern_files(&mut self, parsed: &Parsed<'_>) {
        let daemons = |rule: &crate::rules::Rule<'_>| rule.daemons.0.contains(&b'/');
        let (daemons, clients) = match parsed {
            Parsed::Rule(rule) => (daemons(rule).then_some(rule.daemons), Some(rule.clients)),
            Parsed::Malformed(malformed) => (malformed.daemons, None),
            Parsed::Nothing | Parsed::NoColon => return,
        };
        let clients = clients.filter(|list: &List<'_>| list.0.contains(&b'/'));
        let words = [daemons, clients].into_iter().flatten().flat_map(List::items);
        for word in words.filter_map(|item| if let Item::Word(word) = item { Some(word) } else { None }) {
            let host = grammar::split_host(word).map_or(word, |(_, host)| host);
            self.pattern_file(host);
        }
    }

    fn pattern_file(&mut self, host: &[u8]) {
        if let HostPattern::File(path) = grammar::host_pattern(host)
            && self.named.insert(path.to_vec())
        {
            self.files.push_back(PathBuf::from(OsStr::from_bytes(path)));
        }
    }

    /// Reads a pattern file. False where there is no room for another one.
    fn words(&mut self, path: &Path, draft: &mut Draft) -> bool {
        let cannot = |cause| Error::new("cannot read", path.display().to_string(), cause);
        let opened = self.settled(path).and_then(|stamp| match stamp {
            Some(stamp) => Words::open(path).map(|words| (Some(stamp), words)).map_err(cannot),
            None => Ok((None, None)),
        });
        let (stamp, mut words) = match opened {
            Ok((stamp, words)) if words.as_ref().map(Words::stamp) != stamp => {
                self.observer.remark(format!("left out: {} changes all the time", path.display()));
                return true;
            }
            Ok(opened) => opened,
            Err(error) => {
                self.observer.remark(format!("left out: {error}"));
                return true;
            }
        };
        let numbers = stamp.map(|stamp| stamp.numbers());
        let Some(source) = draft.source(Role::Words, path.as_os_str().as_bytes(), numbers) else {
            return false;
        };
        self.sources.push((path.to_path_buf(), stamp));
        let mut count = 0;
        while let Some(list) = &mut words {
            let spot = Spot { offset: list.position(), number: 0 };
            match list.next_word() {
                NextWord::Word(word) => {
                    draft.word(source, spot, word);
                    if word.starts_with(b"/") {
                        self.pattern_file(word);
                    }
                }
                NextWord::End => break,
                // Whoever gets so far will be told.
                NextWord::Trouble(_) | NextWord::Changed => {
                    draft.always(source, spot);
                    break;
                }
            }
            count += 1;
            if count % STEP == 0 {
                self.observer.progress(path, count);
            }
        }
        true
    }
}
