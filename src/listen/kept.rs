//! Are the rules at hand in this process, and are they still the rules?
//!
//! They are at hand as an image: the one on disk if it may be used, else one that a child makes in
//! memory, one child at a time. Rule files and pattern files that were looked into stay open, and what
//! was read of them is kept; so a search opens nothing. The price is that an answer counts only if
//! nothing changed up to its end: after each search the sources are looked at, by stat(2), and a search
//! of rules that have changed was none.
//!
//! Whoever keeps the rules of a file system that does not answer does not answer either.
//!
//! Warning to the next author: look afterwards, never before. A file that is written to in place is read
//! half old and half new, and only a look behind the last read shows it.

#![forbid(unsafe_code)]

use crate::compile::{Observer, SETTLED, write};
use crate::error::Problem;
use crate::facts::Sought;
use crate::rules::{Entry, Table};
use crate::sys::file::in_memory;
use crate::sys::process::{self, Ended};
use crate::tables::TextTable;
use crate::tables::image::{Image, NotUsed, RuleTable};
use std::cell::Cell;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pattern files that stay open.
const FILES_MAX: usize = 16;
/// How long after an attempt to get at the rules there is no other, at least.
const PAUSE: Duration = Duration::from_secs(1);
/// The same, in times of what the last attempt took: rules that change all the time are not made into
/// images all the time.
const PAUSES: u32 = 4;
/// The same, where the rules are there and cannot be searched without opening something.
const PAUSE_LONG: Duration = Duration::from_secs(60);

/// Files that are looked at after each search; rules of more are not kept.
const SOURCES_MAX: usize = 64;

/// Where the rules are.
#[derive(Clone, Debug)]
pub struct Where {
    pub allow: PathBuf,
    pub deny: PathBuf,
    /// None: no image is wanted, and no rules are kept.
    pub image: Option<PathBuf>,
}

/// The rules of a resident process.
pub struct Kept {
    files: Where,
    at_hand: Option<AtHand>,
    /// Somebody asked for them in vain.
    wanted: bool,
    not_before: Option<Instant>,
    compiler: Option<Compiler>,
}

struct AtHand {
    image: Image,
    allow: TextTable,
    deny: TextTable,
}

/// A child that makes an image.
struct Compiler {
    child: i32,
    begun: Instant,
    image: File,
}

/// How far a search may go, and whether it went further. Whatever it found then is void.
#[derive(Default)]
pub struct Bounds {
    looked_at: Cell<u32>,
    read: Cell<usize>,
    left: Cell<bool>,
}

/// Lines and words that are looked at for one client, and bytes of the lines: whoever waits behind it must
/// not notice.
const LOOKED_AT_MAX: u32 = 1000;
const READ_MAX: usize = 1 << 16;

impl Bounds {
    /// One more line or word. False where the search is to end.
    pub fn allow_one_more(&self) -> bool {
        self.looked_at.set(self.looked_at.get() + 1);
        if self.looked_at.get() > LOOKED_AT_MAX {
            self.leave();
        }
        !self.left.get()
    }

    /// A line counts with its bytes, before anybody compares its words with anything.
    fn weigh<'e>(&self, entry: Entry<'e>) -> Entry<'e> {
        if let Entry::Line(line, _) = &entry {
            self.read.set(self.read.get() + line.text.len());
        }
        if self.read.get() > READ_MAX {
            self.leave();
            return Entry::End;
        }
        entry
    }

    /// The search needs what it may not have.
    pub fn leave(&self) {
        self.left.set(true);
    }

    pub fn are_left(&self) -> bool {
        self.left.get()
    }
}

/// A table that ends where its search leaves its bounds.
pub struct Bounded<'b, 'i> {
    table: RuleTable<'i>,
    bounds: &'b Bounds,
}

impl Table for Bounded<'_, '_> {
    fn next(&mut self) -> Entry<'_> {
        if self.bounds.allow_one_more() { self.bounds.weigh(self.table.next()) } else { Entry::End }
    }

    fn next_for(&mut self, sought: &dyn Sought) -> Entry<'_> {
        if self.bounds.allow_one_more() { self.bounds.weigh(self.table.next_for(sought)) } else { Entry::End }
    }

    fn rewind(&mut self) {
        self.table.rewind();
    }

    fn complaint(&self) -> Option<Problem> {
        self.table.complaint()
    }
}

impl Kept {
    pub fn new(files: Where) -> Kept {
        let wanted = files.image.is_some();
        Kept { files, at_hand: None, wanted, not_before: None, compiler: None }
    }

    /// Searches the rules. None where they are not at hand, the search left its bounds or found
    /// trouble, or they have changed since.
    pub fn search<T>(
        &mut self,
        find: impl FnOnce(&Image, &mut Bounded<'_, '_>, &mut Bounded<'_, '_>, &Bounds) -> Option<T>,
    ) -> Option<T> {
        let Some(AtHand { image, allow, deny }) = self.at_hand.take() else {
            self.wanted = true;
            return None;
        };
        let bounds = Bounds::default();
        let mut allow = Bounded { table: RuleTable::again(allow, &image), bounds: &bounds };
        let mut deny = Bounded { table: RuleTable::again(deny, &image), bounds: &bounds };
        // A panic has been logged by its hook; a child will find the same, and refuse.
        let found = catch_unwind(AssertUnwindSafe(|| find(&image, &mut allow, &mut deny, &bounds)));
        let is_trouble = found.is_err() || allow.table.has_ended() || deny.table.has_ended();
        // A child would open the image anew, and tell of the damage.
        let is_trouble = is_trouble || image.has_damage();
        let (allow, deny) = (allow.table.into_text(), deny.table.into_text());
        // A path that leads where it led may have led elsewhere meanwhile.
        let is_fresh = image.stands_for(&self.files.allow, &self.files.deny).is_ok()
            && image.is_of(&allow)
            && image.is_of(&deny);
        if is_fresh && is_trouble {
            self.not_before = Some(Instant::now() + PAUSE_LONG);
        }
        if is_trouble || !is_fresh {
            self.wanted = true;
            return None;
        }
        self.at_hand = Some(AtHand { image, allow, deny });
        found.ok().flatten().filter(|_| !bounds.are_left())
    }

    /// Whether somebody asked for them in vain.
    pub fn are_wanted(&self) -> bool {
        self.wanted
    }

    /// Gets at the rules, where somebody asked for them in vain: takes the image on disk, or has one
    /// made. Called while no connection is open here, for the child would hold it open, too; `doors` it
    /// lets go of. What there is to say about the image on disk.
    pub fn fetch(&mut self, now: Instant, doors: &[BorrowedFd<'_>]) -> Option<Problem> {
        let is_time = self.not_before.is_none_or(|time| now >= time);
        if !self.wanted || self.compiler.is_some() || !is_time {
            return None;
        }
        self.wanted = false;
        self.not_before = Some(now + PAUSE);
        let Where { allow, deny, image } = &self.files;
        let opened = Image::wanted_whole(image.as_deref(), false, (allow, deny), process::caller);
        let why = match opened {
            Ok(image) => {
                self.take(image, now);
                return None;
            }
            Err(why) => why,
        };
        if why != NotUsed::Off {
            self.compiler = compile(&self.files, now, doors);
        }
        image.as_deref().and_then(|path| why.problem(path))
    }

    fn take(&mut self, image: Image, now: Instant) {
        if image.compiled().sources.len() > SOURCES_MAX {
            self.not_before = Some(now + PAUSE_LONG);
            return;
        }
        let (allow, deny) = (TextTable::new(&self.files.allow), TextTable::new(&self.files.deny));
        self.at_hand = Some(AtHand { image: image.keeping(FILES_MAX), allow, deny });
    }

    /// A child has ended. Whether it was the one that made an image.
    pub fn is_compiler(&mut self, child: i32, ended: Ended, now: Instant) -> bool {
        let Some(compiler) = self.compiler.take_if(|compiler| compiler.child == child) else {
            return false;
        };
        let took = now.saturating_duration_since(compiler.begun).saturating_sub(SETTLED);
        self.not_before = Some(now + (took * PAUSES).max(PAUSE));
        if ended == Ended::Exit(0)
            && let Ok(image) = Image::from_file(Path::new("the image in memory"), compiler.image)
        {
            // If it stands for the rules no longer, the next search finds that out.
            self.take(image, now);
        }
        true
    }
}

/// Starts a child that makes an image in memory. None where that does not work now.
fn compile(files: &Where, now: Instant, doors: &[BorrowedFd<'_>]) -> Option<Compiler> {
    let image = in_memory(c"tcpd-rules").ok()?;
    let listener = process::pid();
    let work = || {
        process::end_with_parent(listener);
        // Nobody is to find a door open behind which nobody listens.
        if process::let_go(doors).is_err() {
            return 1;
        }
        let made = catch_unwind(AssertUnwindSafe(|| {
            let mut out = BufWriter::with_capacity(1 << 16, &image);
            let made = write([&files.allow, &files.deny], SETTLED, &mut out, &mut Silence);
            matches!(made, Ok(Some(_))) && out.flush().is_ok()
        }));
        if matches!(made, Ok(true)) { 0 } else { 1 }
    };
    let child = process::start_child(work).ok()?;
    Some(Compiler { child, begun: now, image })
}

/// Each connection's child says what is wrong with the rules.
struct Silence;

impl Observer for Silence {
    fn progress(&mut self, _: &Path, _: u64) {}
    fn remark(&mut self, _: String) {}
}
