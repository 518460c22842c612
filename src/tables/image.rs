//! Is there an image of these rule files, may it be used, and what does it leave out?
//!
//! An image is used only if it is whole, belongs to root or the caller and to nobody else, was made of
//! the very files that would be read, and each of those is still as it was. Otherwise the text is read:
//! it is always right, and only slower. A file that changes while it is searched is searched anew, as
//! text; an image that turns out to be damaged leaves nothing more out.
//!
//! Read by pread(2): a mapped file that shrinks kills whoever looks at it.

#![forbid(unsafe_code)]

use super::{NextWord, TextTable, Words, word_list};
use crate::error::{Problem, Weight, What, reason};
use crate::facts::{ListEnd, Sought};
use crate::rules::compiled::{BLOCK, Blocks, Compiled, Damage, Next, Role, Source, Walk};
use crate::rules::{Entry, Table};
use crate::sys::file::{Found, Stamp, distrust, find, open_beside};
use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the image is, unless tcpd.conf(5) or `--image` says otherwise.
pub const PATH: &str = "/var/lib/tcpd/rules.img";

/// Pattern files below this size, in bytes, are read as text, unless what is read of them is kept.
const SMALL: u64 = 8 << 10;

/// An image on disk.
pub struct Disk(File);

impl Blocks for Disk {
    fn read(&self, number: u64, block: &mut [u8; BLOCK]) -> io::Result<()> {
        self.0.read_exact_at(block, number.saturating_mul(BLOCK as u64))
    }
}

/// Why the text is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotUsed {
    /// tcpd.conf(5) says so.
    Off,
    /// Every rule is read and checked first.
    Strict,
    Missing,
    Unreadable(String),
    Untrusted(&'static str),
    Damaged(Damage),
    /// It was made of other files.
    OtherFiles,
    /// A source is not what it was.
    Changed(PathBuf),
    /// A source that changed in the future: nobody can say whether it will change once more.
    Future(PathBuf),
}

impl NotUsed {
    /// In words, behind "the text is read: ".
    pub fn words(&self) -> String {
        match self {
            NotUsed::Off => "no image is wanted".to_owned(),
            NotUsed::Strict => "strict yes reads every rule".to_owned(),
            NotUsed::Missing => "there is no image".to_owned(),
            NotUsed::Unreadable(why) => format!("the image cannot be read: {why}"),
            NotUsed::Untrusted(why) => format!("the image is not to be trusted: {why}"),
            NotUsed::Damaged(damage) => format!("the image is damaged: {damage}"),
            NotUsed::OtherFiles => "the image was made of other files".to_owned(),
            NotUsed::Changed(path) => format!("{} has changed since the image was made", path.display()),
            NotUsed::Future(path) => format!("{} was changed in the future", path.display()),
        }
    }

    /// What the log is told; nothing where all is as it should be, or was simply not compiled again.
    pub fn problem(&self, image: &Path) -> Option<Problem> {
        let why = match self {
            NotUsed::Damaged(damage) => damage.to_string(),
            NotUsed::Untrusted(why) => (*why).to_owned(),
            _ => return None,
        };
        Some(complaint(image, why))
    }
}

fn complaint(image: &Path, why: String) -> Problem {
    let what = What::Image { file: Arc::from(image), why };
    Problem { place: None, weight: Weight::Warning, what }
}

/// An open image that was found to be whole at its beginning.
pub struct Image {
    path: PathBuf,
    compiled: Compiled<Disk>,
    damage: OnceCell<Damage>,
    told: Cell<bool>,
    /// Pattern files that stay open, by their number among the sources, and how many may.
    /// One that is in use is not there.
    kept: RefCell<Vec<(u16, Option<Words>)>>,
    keeps: usize,
}

impl Image {
    /// Opens the image for tables at these paths, for a process of user `caller`, if it may be used. A
    /// pattern file is looked at when a rule names it, and read as text if it has changed.
    pub fn open(path: &Path, (allow, deny): (&Path, &Path), caller: fn() -> u32) -> Result<Image, NotUsed> {
        let image = Image::whole(path, caller)?;
        let now = now();
        for table in [allow, deny] {
            let index = image.compiled.source(Role::Table, table.as_os_str().as_bytes());
            let source = index.and_then(|index| image.compiled.sources.get(usize::from(index)));
            is_as_before(source.ok_or(NotUsed::OtherFiles)?, now)?;
        }
        Ok(image)
    }

    /// The same for an image that may not be wanted at all: of no image, or in the strict way, in which
    /// every rule is read.
    pub fn wanted(
        path: Option<&Path>,
        strict: bool,
        tables: (&Path, &Path),
        caller: fn() -> u32,
    ) -> Result<Image, NotUsed> {
        match path {
            None => Err(NotUsed::Off),
            Some(_) if strict => Err(NotUsed::Strict),
            Some(path) => Image::open(path, tables, caller),
        }
    }

    /// The same, and nothing that it was made of has changed: for whoever tells how things stand.
    pub fn wanted_whole(
        path: Option<&Path>,
        strict: bool,
        (allow, deny): (&Path, &Path),
        caller: fn() -> u32,
    ) -> Result<Image, NotUsed> {
        let image = Image::wanted(path, strict, (allow, deny), caller)?;
        image.stands_for(allow, deny)?;
        Ok(image)
    }

    /// Opens an image, whatever it was made of.
    pub fn whole(path: &Path, caller: fn() -> u32) -> Result<Image, NotUsed> {
        let (directory, file) = open_beside(path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => NotUsed::Missing,
            _ => NotUsed::Unreadable(reason(&cause)),
        })?;
        for part in [&directory, &file] {
            match distrust(part, caller()) {
                Ok(None) => {}
                Ok(Some(why)) => return Err(NotUsed::Untrusted(why)),
                Err(cause) => return Err(NotUsed::Unreadable(reason(&cause))),
            }
        }
        Image::from_file(path, file)
    }

    /// An image in a file that need not be trusted anew.
    pub fn from_file(path: &Path, file: File) -> Result<Image, NotUsed> {
        let compiled = Compiled::open(Disk(file)).map_err(NotUsed::Damaged)?;
        Ok(Image {
            path: path.to_path_buf(),
            compiled,
            damage: OnceCell::new(),
            told: Cell::new(false),
            kept: RefCell::default(),
            keeps: 0,
        })
    }

    /// The same for many clients, one after the other: at most so many pattern files stay open, and what
    /// was read of them is not read again. So an answer counts only if the image [stands for] its
    /// sources afterwards.
    ///
    /// [stands for]: Image::stands_for
    pub fn keeping(self, most: usize) -> Image {
        Image { keeps: most, ..self }
    }

    /// Whether the words of a pattern file can be had without opening it again for each client.
    pub fn keeps_words(&self, path: &[u8]) -> bool {
        let kept = self.kept.borrow();
        let is_kept = |number| kept.iter().any(|(one, _)| *one == number);
        let number = self.compiled.source(Role::Words, path);
        number.is_some_and(|number| kept.len() < self.keeps || is_kept(number))
    }

    /// Whether it was made of these tables, and nothing it was made of has changed since. Nothing is
    /// opened.
    pub fn stands_for(&self, allow: &Path, deny: &Path) -> Result<(), NotUsed> {
        let is_source =
            |path: &Path| self.compiled.source(Role::Table, path.as_os_str().as_bytes()).is_some();
        if !is_source(allow) || !is_source(deny) {
            return Err(NotUsed::OtherFiles);
        }
        let now = now();
        self.compiled.sources.iter().try_for_each(|source| is_as_before(source, now))
    }

    /// Whether a table that a search left behind may be searched by this image again: what is open of it
    /// is the file that the image was made of. A path may have led elsewhere for a moment.
    pub fn is_of(&self, text: &TextTable) -> bool {
        let index = self.compiled.source(Role::Table, text.path.as_os_str().as_bytes());
        let source = index.and_then(|index| self.compiled.sources.get(usize::from(index)));
        source.is_some_and(|source| text.is_open_as(source.stamp))
    }

    /// Whether a block was found that is not as it was written.
    pub fn has_damage(&self) -> bool {
        self.damage.get().is_some()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The image itself, for whoever tells about it.
    pub fn compiled(&self) -> &Compiled<Disk> {
        &self.compiled
    }

    /// Takes note of a damage. What was left out so far was left out rightly, by blocks that were whole;
    /// from here on everything is read.
    fn is_damaged(&self, damage: Damage) -> Next {
        // The first one is the one that is told.
        let _ = self.damage.set(damage);
        Next::Everything
    }

    /// What came up while it was read; said once.
    fn problem(&self) -> Option<Problem> {
        self.damage
            .get()
            .filter(|_| !self.told.replace(true))
            .map(|damage| complaint(&self.path, damage.to_string()))
    }

    /// Shows those words of a pattern file that can matter. None where the text has to be read.
    pub fn words(
        &self,
        path: &Path,
        sought: &dyn Sought,
        visit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Option<ListEnd> {
        let number = self.compiled.source(Role::Words, path.as_os_str().as_bytes())?;
        let source = self.compiled.sources.get(usize::from(number))?;
        let stamp = match source.stamp {
            None => return still_counts(source).then_some(ListEnd::Missing),
            // To read it costs less than to look for what to read of it.
            Some([_, _, size, _, _]) if size < SMALL && self.keeps == 0 => return None,
            Some(stamp) if still_counts(source) => stamp,
            Some(_) => return None,
        };
        let mut opened = self.take_kept(number);
        let mut open = || Words::open_to_jump(path).ok()?.filter(|words| words.stamp().numbers() == stamp);
        let end = self.words_of((number, source), &mut opened, &mut open, sought, visit);
        if self.keeps > 0 {
            self.keep(number, opened);
        }
        end
    }

    fn words_of(
        &self,
        (number, source): (u16, &Source),
        opened: &mut Option<Words>,
        open: &mut dyn FnMut() -> Option<Words>,
        sought: &dyn Sought,
        visit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Option<ListEnd> {
        let mut walk = self.compiled.walk(number);
        loop {
            let next = walk.next(&self.compiled, sought).unwrap_or_else(|damage| self.is_damaged(damage));
            if next == Next::Nothing {
                return (opened.is_some() || still_counts(source)).then_some(ListEnd::Read);
            }
            if opened.is_none() {
                *opened = open();
            }
            let words = opened.as_mut()?;
            let Next::At(spot) = next else { return Some(words.visit_rest(visit)) };
            words.jump(spot.offset);
            match words.next_word() {
                NextWord::Word(word) if visit(word) => {}
                NextWord::Word(_) => return Some(ListEnd::Read),
                NextWord::Trouble(why) => return Some(ListEnd::Trouble(why)),
                NextWord::End | NextWord::Changed => return None,
            }
        }
    }

    /// A pattern file that was kept open, at its start.
    fn take_kept(&self, number: u16) -> Option<Words> {
        let mut kept = self.kept.borrow_mut();
        let mut words = kept.iter_mut().find(|(one, _)| *one == number)?.1.take()?;
        words.begin_again();
        Some(words)
    }

    fn keep(&self, number: u16, words: Option<Words>) {
        let mut kept = self.kept.borrow_mut();
        match kept.iter_mut().find(|(one, _)| *one == number) {
            Some((_, place)) => *place = words,
            None if words.is_some() => kept.push((number, words)),
            None => {}
        }
    }
}

/// Seconds and nanoseconds since 1970.
fn now() -> (i64, i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (i64::try_from(now.as_secs()).unwrap_or(i64::MAX), i64::from(now.subsec_nanos()))
}

/// Whether a source is still what the image was made of.
fn is_as_before(source: &Source, now: (i64, i64)) -> Result<(), NotUsed> {
    let path = Path::new(OsStr::from_bytes(&source.path));
    let found = match find(path) {
        Ok(Found::Regular(stamp)) if stamp.changed > now => return Err(NotUsed::Future(path.to_path_buf())),
        Ok(Found::Regular(stamp)) => Some(stamp.numbers()),
        Ok(Found::Nothing) => None,
        Ok(Found::Other) | Err(_) => return Err(NotUsed::Changed(path.to_path_buf())),
    };
    if found == source.stamp { Ok(()) } else { Err(NotUsed::Changed(path.to_path_buf())) }
}

/// The same at the end of a search in which nothing of it was read: a name may have been asked for
/// since, or a command run, and the text would be opened only now.
fn still_counts(source: &Source) -> bool {
    is_as_before(source, now()).is_ok()
}

/// Shows the words of a pattern file that can matter: by an image, if there is one, else all.
pub fn word_list_for(
    image: Option<&Image>,
    path: &Path,
    sought: &dyn Sought,
    visit: &mut dyn FnMut(&[u8]) -> bool,
) -> ListEnd {
    match image.and_then(|image| image.words(path, sought, visit)) {
        Some(end) => end,
        // Words that were shown already answer once more as they did.
        None => word_list(path, visit),
    }
}

/// A rule file, by an image where there is one.
pub struct RuleTable<'i> {
    text: TextTable,
    image: Option<&'i Image>,
    /// What is left out; None where nothing is.
    index: Option<u16>,
    walk: Option<Walk>,
}

impl<'i> RuleTable<'i> {
    /// The table at `path`, by an image that stands for it.
    pub fn new(path: &Path, image: Option<&'i Image>) -> RuleTable<'i> {
        let index = image.and_then(|i| i.compiled.source(Role::Table, path.as_os_str().as_bytes()));
        RuleTable { text: TextTable::new(path), image, index, walk: None }
    }

    /// The table that an earlier search left behind ([`RuleTable::into_text`]), for another client.
    pub fn again(mut text: TextTable, image: &'i Image) -> RuleTable<'i> {
        text.begin_again();
        let index = image.compiled.source(Role::Table, text.path.as_os_str().as_bytes());
        RuleTable { text, image: Some(image), index, walk: None }
    }

    /// What is behind it, open if it was opened.
    pub fn into_text(self) -> TextTable {
        self.text
    }

    /// Whether it was read to an end, and would have to be opened again.
    pub fn has_ended(&self) -> bool {
        self.text.has_ended()
    }

    /// From here on the text alone, from its start.
    fn begin_anew(&mut self) -> Entry<'_> {
        self.index = None;
        self.text.rewind();
        Entry::Again
    }
}

impl Table for RuleTable<'_> {
    fn next(&mut self) -> Entry<'_> {
        self.text.next()
    }

    fn next_for(&mut self, sought: &dyn Sought) -> Entry<'_> {
        let (Some(image), Some(index)) = (self.image, self.index) else { return self.text.next() };
        let Some(source) = image.compiled.sources.get(usize::from(index)) else {
            return self.begin_anew();
        };
        let Some(stamp) = source.stamp else {
            return if still_counts(source) { Entry::End } else { self.begin_anew() };
        };
        let walk = self.walk.get_or_insert_with(|| image.compiled.walk(index));
        let next = walk.next(&image.compiled, sought).unwrap_or_else(|damage| image.is_damaged(damage));
        if next == Next::Nothing {
            let is_good = if self.text.is_open() { !self.text.changed() } else { still_counts(source) };
            return if is_good { Entry::End } else { self.begin_anew() };
        }
        if !self.text.open_at(|now: Stamp| now.numbers() == stamp) {
            return self.begin_anew();
        }
        match next {
            Next::At(spot) => self.text.jump(spot),
            Next::Everything | Next::Nothing => {
                self.index = None;
                self.text.read_on();
            }
        }
        match self.text.next() {
            Entry::Again => {
                self.index = None;
                Entry::Again
            }
            entry => entry,
        }
    }

    fn rewind(&mut self) {
        self.walk = None;
        self.text.rewind();
    }

    fn complaint(&self) -> Option<Problem> {
        self.image.and_then(Image::problem)
    }
}
