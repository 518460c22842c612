//! Which lines of a rule file can matter to this client? The compiled image, as it is read.
//!
//! An image is an index: it holds no rule, but says of every rule file and pattern file it was made of
//! where the lines (or words) stand that can matter to a client. Those are read from the file itself, by
//! the reader of the text, and matched like any other. So the image cannot say anything else than the
//! text; it can only leave out what would have said no, asked nothing and noticed nothing. What can be
//! left out is the business of [`super::keys`].
//!
//! # Format
//!
//! All numbers are little-endian. A file is a row of blocks of [`BLOCK`] bytes; the last 8 of each are
//! the XXH3 hash of the others, seeded with the image's id plus the number of the block.
//!
//! | blocks | hold |
//! |---|---|
//! | from 0 | magic, id, number of blocks, length of the directory, first bucket, number of buckets, number of entries, time of compilation (8 bytes each), then the directory: for each source its path, its stamp, the kinds of keys it has, where its rest is, and where names are first asked for |
//! | rest | of each source the places that matter to every client, in order: 6 bytes offset, 4 bytes number of newlines before it |
//! | buckets | entries in the order of their hashes: 8 bytes XXH3 of source and key (seeded with the id), 2 bytes source, 6 bytes offset, 4 bytes newlines. An entry stands in the bucket `hash * buckets >> 64` or, where that is full, in those behind it |
//!
//! Fails closed: every block is verified when it is read, no number of the file is trusted to be in
//! range, and all loops go forward through the file. Whoever gets [`Damage`] reads the text.

#![forbid(unsafe_code)]

pub mod draft;

use super::List;
use super::keys::{self, Key, Kinds};
use crate::facts::Sought;
use std::cell::RefCell;
use std::fmt;
use std::io;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of a block, with its checksum.
pub const BLOCK: usize = 4096;
/// Bytes of a block that hold something.
const PAYLOAD: usize = BLOCK - 8;
/// What an image begins with; the last byte is the version of the format.
const MAGIC: [u8; 8] = *b"tcpdimg\x01";
/// Where the directory begins in block 0.
const DIRECTORY: usize = 64;
/// Longest directory that is read, bytes.
const DIRECTORY_MAX: u64 = 16 << 20;
/// Bytes of a place, and how many of them a block holds.
const PLACE: usize = 10;
const PLACES: usize = PAYLOAD / PLACE;
/// Bytes of an entry; 4 bytes of a bucket say how many there are and whether they go on behind it.
const ENTRY: usize = 20;
const ENTRIES: usize = (PAYLOAD - 4) / ENTRY;
/// Most places that are found for one client before everything is looked at. A key with more is no key:
/// its places are looked at for everybody.
const HITS_MAX: usize = 20_000;

/// Most blocks that one key is looked for in: entries of one hash push those of others far from home.
const RUN_MAX: u64 = 128;

/// What makes the state of a file unlike any other: device, inode, size, change time in seconds and
/// nanoseconds.
pub type Stamp = [u64; 5];

/// Where the blocks come from.
pub trait Blocks {
    /// Reads a block. An error of the kind `UnexpectedEof` where there is none.
    fn read(&self, number: u64, block: &mut [u8; BLOCK]) -> io::Result<()>;
}

/// Why an image cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// No image, or one of another version or byte order.
    Foreign,
    /// A block that is not there.
    Short(u64),
    /// A block that is not as it was written.
    Checksum(u64),
    /// A block that says what cannot be.
    Nonsense(u64),
    Unreadable(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Foreign => write!(f, "no image of this version"),
            Damage::Short(block) => write!(f, "it ends before block {block}"),
            Damage::Checksum(block) => write!(f, "wrong checksum of block {block}"),
            Damage::Nonsense(block) => write!(f, "no sense in block {block}"),
            Damage::Unreadable(reason) => write!(f, "{reason}"),
        }
    }
}

/// A place in a source: a byte, and how many newlines stand before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    pub offset: u64,
    pub number: u32,
}

/// What a source is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Table,
    /// A pattern file.
    Words,
}

/// A file that the image was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub role: Role,
    pub path: Vec<u8>,
    /// None: it was not there.
    pub stamp: Option<Stamp>,
    kinds: Kinds,
    rest: Rest,
    /// Daemon lists, and where a rule of theirs first asks for a name; in the order of the file.
    asking: Vec<(Vec<u8>, Spot)>,
}

/// Where the places stand that matter to every client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rest {
    block: u64,
    count: u64,
}

/// An image whose beginning was found to be right.
pub struct Compiled<B> {
    blocks: B,
    id: u64,
    total: u64,
    buckets: u64,
    homes: u64,
    pub sources: Vec<Source>,
    /// The block that was read last.
    page: RefCell<Page>,
}

struct Page {
    number: Option<u64>,
    bytes: Box<[u8; BLOCK]>,
}

fn checksum(id: u64, number: u64, payload: &[u8]) -> u64 {
    xxh3_64_with_seed(payload, id.wrapping_add(number))
}

fn verify(id: u64, number: u64, block: &[u8; BLOCK]) -> Result<(), Damage> {
    let (payload, sum) = block.split_at(PAYLOAD);
    let is_whole = sum == checksum(id, number, payload).to_le_bytes();
    if is_whole { Ok(()) } else { Err(Damage::Checksum(number)) }
}

fn hash(id: u64, source: u16, key: &Key<'_>, spelled: &mut Vec<u8>) -> u64 {
    key.spell(spelled);
    spelled.extend_from_slice(&source.to_le_bytes());
    xxh3_64_with_seed(spelled, id)
}

fn hash_of(entry: &[u8; ENTRY]) -> u64 {
    entry.first_chunk().map_or(0, |hash| u64::from_le_bytes(*hash))
}

/// The bucket where an entry is at home.
fn home(hash: u64, homes: u64) -> u64 {
    ((u128::from(hash) * u128::from(homes)) >> 64) as u64
}

impl<B: Blocks> Compiled<B> {
    /// Reads and verifies the beginning.
    pub fn open(blocks: B) -> Result<Compiled<B>, Damage> {
        let page = RefCell::new(Page { number: None, bytes: Box::new([0; BLOCK]) });
        let mut image = Compiled { blocks, id: 0, total: 1, buckets: 0, homes: 0, sources: Vec::new(), page };
        let mut page = image.page.borrow_mut();
        read(&image.blocks, 0, &mut page.bytes)?;
        let mut head = Bytes { left: page.bytes.as_slice(), block: 0 };
        if head.take(8)? != MAGIC {
            return Err(Damage::Foreign);
        }
        image.id = head.number(8)?;
        verify(image.id, 0, &page.bytes)?;
        let length = numbers(&mut head)?;
        let mut directory = page.bytes.get(..PAYLOAD).unwrap_or_default().to_vec();
        page.number = Some(0);
        drop(page);
        let [total, length, buckets, homes, ..] = length;
        (image.total, image.buckets, image.homes) = (total, buckets, homes);
        if length > DIRECTORY_MAX {
            return Err(Damage::Nonsense(0));
        }
        let end = DIRECTORY.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        let mut number = 1;
        while directory.len() < end {
            image.block(number, |payload| directory.extend_from_slice(payload))?;
            number += 1;
        }
        let left = directory.get(DIRECTORY..end).unwrap_or_default();
        let mut bytes = Bytes { left, block: number - 1 };
        while !bytes.left.is_empty() {
            image.sources.push(bytes.source()?);
        }
        Ok(image)
    }

    /// Looks at the payload of a block, which is read and verified unless it was the last one.
    fn block<T>(&self, number: u64, look: impl FnOnce(&[u8]) -> T) -> Result<T, Damage> {
        let mut page = self.page.borrow_mut();
        if number >= self.total {
            return Err(Damage::Short(number));
        }
        if page.number != Some(number) {
            page.number = None;
            read(&self.blocks, number, &mut page.bytes)?;
            verify(self.id, number, &page.bytes)?;
            page.number = Some(number);
        }
        Ok(look(page.bytes.get(..PAYLOAD).unwrap_or_default()))
    }

    /// The source of a path, in its role.
    pub fn source(&self, role: Role, path: &[u8]) -> Option<u16> {
        let found = self.sources.iter().position(|source| source.role == role && source.path == path);
        found.and_then(|index| u16::try_from(index).ok())
    }

    /// Begins to go through a source.
    pub fn walk(&self, source: u16) -> Walk {
        Walk {
            source,
            begun: false,
            rest: Vec::new(),
            taken: 0,
            hits: Vec::new(),
            named: false,
            asking: None,
            at: None,
        }
    }

    /// Finds the places of a key. False where there are too many.
    fn find(&self, source: u16, key: &Key<'_>, spots: &mut Vec<Spot>) -> Result<bool, Damage> {
        if self.homes == 0 {
            return Ok(true);
        }
        let wanted = hash(self.id, source, key, &mut Vec::new());
        let first = self.buckets.saturating_add(home(wanted, self.homes));
        let mut number = first;
        loop {
            let goes_on = self.block(number, |payload| {
                let mut bytes = Bytes { left: payload, block: number };
                let (count, more) = (bytes.small(2)?, bytes.number(2)?);
                let (entries, _) = bytes.take(count * ENTRY)?.as_chunks::<ENTRY>();
                let before = entries.partition_point(|entry| hash_of(entry) < wanted);
                for entry in entries.iter().skip(before) {
                    let mut bytes = Bytes { left: entry, block: number };
                    let (found, of, spot) = (bytes.number(8)?, bytes.number(2)?, bytes.spot()?);
                    if found > wanted {
                        return Ok(false);
                    }
                    if found == wanted && of == u64::from(source) {
                        spots.push(spot);
                    }
                }
                Ok(more == 1)
            })??;
            if !goes_on {
                return Ok(spots.len() <= HITS_MAX);
            }
            if spots.len() > HITS_MAX || number - first >= RUN_MAX {
                return Ok(false);
            }
            number = number.saturating_add(1);
        }
    }

    /// A block of the rest of a source, from its `taken`th place on.
    fn rest(&self, rest: Rest, taken: u64) -> Result<Vec<Spot>, Damage> {
        let (before, within) = (taken / PLACES as u64, (taken % PLACES as u64) as usize);
        let count = (rest.count - taken).min((PLACES - within) as u64);
        let number = rest.block.saturating_add(before);
        self.block(number, |payload| {
            let left = payload.get(within * PLACE..).unwrap_or_default();
            let mut bytes = Bytes { left, block: number };
            // Backwards, so that the next one is the last.
            let mut spots: Vec<_> = (0..count).map(|_| bytes.spot()).collect::<Result<_, _>>()?;
            spots.reverse();
            Ok(spots)
        })?
    }
}

fn read(blocks: &impl Blocks, number: u64, block: &mut [u8; BLOCK]) -> Result<(), Damage> {
    blocks.read(number, block).map_err(|cause| match cause.kind() {
        io::ErrorKind::UnexpectedEof => Damage::Short(number),
        _ => Damage::Unreadable(crate::error::reason(&cause)),
    })
}

/// The numbers behind the id.
fn numbers(head: &mut Bytes<'_>) -> Result<[u64; 6], Damage> {
    let mut numbers = [0; 6];
    for number in &mut numbers {
        *number = head.number(8)?;
    }
    Ok(numbers)
}

/// Bytes that are taken off from the front.
struct Bytes<'a> {
    left: &'a [u8],
    /// For complaints.
    block: u64,
}

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Damage> {
        let (taken, left) = self.left.split_at_checked(length).ok_or(Damage::Nonsense(self.block))?;
        self.left = left;
        Ok(taken)
    }

    /// A number of at most 8 bytes.
    fn number(&mut self, length: usize) -> Result<u64, Damage> {
        Ok(self.take(length)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn small(&mut self, length: usize) -> Result<usize, Damage> {
        self.number(length).map(|number| number as usize)
    }

    fn spot(&mut self) -> Result<Spot, Damage> {
        Ok(Spot { offset: self.number(6)?, number: self.number(4)? as u32 })
    }

    fn source(&mut self) -> Result<Source, Damage> {
        let marks = self.number(1)?;
        let length = self.small(2)?;
        let path = self.take(length)?.to_vec();
        let mut stamp = [0; 5];
        for number in &mut stamp {
            *number = self.number(8)?;
        }
        let flags = self.number(1)?;
        let lengths = u128::from(self.number(8)?) | u128::from(self.number(8)?) << 64;
        let masks = self.small(1)?;
        let kinds = Kinds {
            exact: flags & 1 != 0,
            suffix: flags & 2 != 0,
            prefix: flags & 4 != 0,
            address6: flags & 8 != 0,
            masks: (0..masks).map(|_| self.number(4).map(|mask| mask as u32)).collect::<Result<_, _>>()?,
            lengths,
        };
        let rest = Rest { block: self.number(8)?, count: self.number(8)? };
        let mut asking = Vec::new();
        for _ in 0..self.small(2)? {
            let length = self.small(2)?;
            let daemons = self.take(length)?;
            // Whether one serves a request must be known without asking, and without another image.
            if !keys::are_silent(List(daemons)) {
                return Err(Damage::Nonsense(self.block));
            }
            asking.push((daemons.to_vec(), self.spot()?));
        }
        let role = if marks & 1 == 0 { Role::Table } else { Role::Words };
        Ok(Source { role, path, stamp: (marks & 2 != 0).then_some(stamp), kinds, rest, asking })
    }
}

/// The way through one source, for one client.
pub struct Walk {
    source: u16,
    begun: bool,
    /// What is left of the block of the rest at hand, and how many of the rest were taken so far; both
    /// hits and rest have the next place at their end.
    rest: Vec<Spot>,
    taken: u64,
    hits: Vec<Spot>,
    /// The client's name has been looked for.
    named: bool,
    /// Where its name will be asked for.
    asking: Option<Spot>,
    /// The place that was shown last.
    at: Option<Spot>,
}

/// What is to be looked at next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    At(Spot),
    /// Everything from here on: behind the last place, or from the start where there was none.
    Everything,
    Nothing,
}

impl Walk {
    /// Goes on, knowing what is known of the client by now.
    pub fn next(&mut self, image: &Compiled<impl Blocks>, sought: &dyn Sought) -> Result<Next, Damage> {
        let Some(source) = image.sources.get(usize::from(self.source)) else {
            return Err(Damage::Nonsense(0));
        };
        let mut few = true;
        if !self.begun {
            self.begun = true;
            few &= self.look_up(image, source, sought.address())?;
        }
        match sought.name() {
            Some(name) if !self.named => {
                (self.named, self.asking) = (true, None);
                few &= self.look_up(image, source, name)?;
            }
            Some(_) => {}
            None if self.asking.is_none() && self.at.is_none() => {
                let first = source.asking.iter().find(|(daemons, _)| sought.may_serve(daemons));
                self.asking = first.map(|(_, spot)| *spot);
            }
            // It was not asked for where it should have been: what comes next is anybody's guess.
            None => few &= self.asking.is_none_or(|spot| self.at < Some(spot)),
        }
        if !few {
            return Ok(Next::Everything);
        }
        if self.rest.is_empty() && self.taken < source.rest.count {
            self.rest = image.rest(source.rest, self.taken)?;
            self.taken += self.rest.len() as u64;
        }
        let next = [self.rest.last(), self.hits.last(), self.asking.as_ref()].into_iter().flatten().min();
        let Some(next) = next.copied() else { return Ok(Next::Nothing) };
        if self.at.is_some_and(|at| next.offset <= at.offset) {
            // A place is behind the one before it, or the image is no good.
            return Err(Damage::Nonsense(source.rest.block));
        }
        self.at = Some(next);
        self.rest.pop_if(|spot| *spot == next);
        self.hits.pop_if(|spot| *spot == next);
        Ok(Next::At(next))
    }

    /// Adds the places where a text may match, as far as they are still ahead. False where there are too
    /// many.
    fn look_up(
        &mut self,
        image: &Compiled<impl Blocks>,
        source: &Source,
        text: &[u8],
    ) -> Result<bool, Damage> {
        let (of, hits) = (self.source, &mut self.hits);
        let mut few = true;
        keys::of_text(text, &source.kinds, |key| {
            few = few && image.find(of, &key, hits)?;
            Ok(())
        })?;
        let at = self.at;
        hits.retain(|spot| at.is_none_or(|at| spot.offset > at.offset));
        hits.sort_unstable_by(|one, other| other.cmp(one));
        hits.dedup();
        Ok(few)
    }
}
