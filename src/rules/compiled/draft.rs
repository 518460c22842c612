//! The compiled image, as it is made: from lines and words to blocks.
//!
//! A draft takes every line of a table and every word of a pattern file, in order, keeps of each the
//! hashes of its keys and its place, and writes them sorted. A million lines are a million entries of
//! 32 bytes; nothing of their text is kept.

#![forbid(unsafe_code)]

use super::{
    BLOCK, DIRECTORY, ENTRIES, ENTRY, HITS_MAX, MAGIC, PAYLOAD, PLACE, PLACES, Rest, Role, Source, Spot,
    Stamp, checksum, hash, home,
};
use crate::rules::Parsed;
use crate::rules::keys::{self, Key, Kinds, Reach};
use std::collections::HashSet;
use std::io::{self, Write};

/// How full a bucket is meant to be; what a few have over goes to their neighbours.
const FILL: usize = ENTRIES * 5 / 6;
/// Most daemon lists of a table whose first question is remembered, and their length. Lines that ask
/// under further ones are looked at always.
const ASKING_MAX: usize = 64;
const DAEMONS_MAX: usize = 512;
/// Most sources, the longest path of one, and the farthest place in it.
const SOURCES_MAX: usize = 256;
const PATH_MAX: usize = 512;
const OFFSET_MAX: u64 = 1 << 48;

#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    spot: Spot,
    source: u16,
}

/// An image in the making.
pub struct Draft {
    id: u64,
    sources: Vec<(Source, Vec<Spot>, HashSet<Vec<u8>>)>,
    entries: Vec<Entry>,
    hashes: Vec<u64>,
    spelled: Vec<u8>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Entries that are found by search.
    pub entries: u64,
    /// Lines and words that are looked at for every client.
    pub rest: u64,
    pub bytes: u64,
}

impl Draft {
    /// An image with an id that nobody can guess: it is the seed of its hashes.
    pub fn new(id: u64) -> Draft {
        Draft { id, sources: Vec::new(), entries: Vec::new(), hashes: Vec::new(), spelled: Vec::new() }
    }

    /// Adds a source; None where there is no room for it, so that it will be read as text.
    pub fn source(&mut self, role: Role, path: &[u8], stamp: Option<Stamp>) -> Option<u16> {
        let index = u16::try_from(self.sources.len()).ok()?;
        let fits = self.sources.len() < SOURCES_MAX
            && path.len() <= PATH_MAX
            && stamp.is_none_or(|[_, _, size, ..]| size < OFFSET_MAX);
        let rest = Rest { block: 0, count: 0 };
        let path = path.to_vec();
        let source = Source { role, path, stamp, kinds: Kinds::default(), rest, asking: Vec::new() };
        fits.then(|| self.sources.push((source, Vec::new(), HashSet::new())))?;
        Some(index)
    }

    /// Adds a line of a table.
    pub fn line(&mut self, source: u16, spot: Spot, parsed: &Parsed<'_>) {
        self.add(source, spot, |visit| keys::of_line(parsed, visit));
    }

    /// Adds a word of a pattern file.
    pub fn word(&mut self, source: u16, spot: Spot, word: &[u8]) {
        self.add(source, spot, |visit| keys::of_word(word, visit));
    }

    /// Adds a place that must be looked at for every client.
    pub fn always(&mut self, source: u16, spot: Spot) {
        if let Some((_, rest, _)) = self.sources.get_mut(usize::from(source)) {
            rest.push(spot);
        }
    }

    fn add<'a>(&mut self, source: u16, spot: Spot, keys: impl FnOnce(&mut dyn FnMut(Key<'a>)) -> Reach<'a>) {
        let Some((own, _, known)) = self.sources.get_mut(usize::from(source)) else { return };
        self.hashes.clear();
        let mut fits = true;
        let mut kinds = own.kinds.clone();
        let reach = keys(&mut |key| {
            fits &= kinds.admit(&key);
            self.hashes.push(hash(self.id, source, &key, &mut self.spelled));
        });
        let is_found = match reach {
            Reach::ByKeys { asks: true, daemons } if fits && !known.contains(daemons) => {
                let has_room = own.asking.len() < ASKING_MAX && daemons.len() <= DAEMONS_MAX;
                if has_room {
                    known.insert(daemons.to_vec());
                    own.asking.push((daemons.to_vec(), spot));
                }
                has_room
            }
            Reach::ByKeys { .. } => fits,
            Reach::Always => false,
        };
        if is_found {
            self.hashes.sort_unstable();
            self.hashes.dedup();
            own.kinds = kinds;
            self.entries.extend(self.hashes.iter().map(|&hash| Entry { hash, spot, source }));
        } else {
            self.always(source, spot);
        }
    }

    /// Writes the image. `made` is the time, in seconds since 1970.
    pub fn write(mut self, made: u64, out: &mut dyn Write) -> io::Result<Summary> {
        self.entries.sort_unstable_by_key(|entry| (entry.hash, entry.source, entry.spot));
        self.thin_out();
        // The directory's length does not depend on what it says about blocks.
        let directory_blocks = (DIRECTORY + self.directory().len()).div_ceil(PAYLOAD) as u64;
        let mut block = directory_blocks;
        for (source, spots, _) in &mut self.sources {
            source.rest = Rest { block, count: spots.len() as u64 };
            block += spots.len().div_ceil(PLACES) as u64;
        }
        let homes = self.entries.len().div_ceil(FILL) as u64;
        let count = self.entries.len() as u64;
        let directory = self.directory();
        let total = block + bucket_blocks(&self.entries, homes);
        let mut head = MAGIC.to_vec();
        for number in [self.id, total, directory.len() as u64, block, homes, count, made] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        head.extend_from_slice(&directory);
        let mut blocks = Blocks { out, id: self.id, number: 0 };
        head.chunks(PAYLOAD).try_for_each(|payload| blocks.put(payload))?;
        for (_, spots, _) in &self.sources {
            for page in spots.chunks(PLACES) {
                let mut payload = Vec::with_capacity(PLACES * PLACE);
                page.iter().for_each(|spot| put_spot(spot, &mut payload));
                blocks.put(&payload)?;
            }
        }
        for_each_bucket(&self.entries, homes, |bucket, goes_on| blocks.put(&spelled(bucket, goes_on)))?;
        let rest = self.sources.iter().map(|(_, spots, _)| spots.len() as u64).sum();
        Ok(Summary { entries: count, rest, bytes: blocks.number * BLOCK as u64 })
    }

    /// Takes keys that are everywhere out of the entries: they would push those of others far from home.
    fn thin_out(&mut self) {
        let is_run = |run: &[Entry]| run.len() > HITS_MAX;
        if !self.entries.chunk_by(|one, other| one.hash == other.hash).any(is_run) {
            return;
        }
        let mut kept = Vec::new();
        for run in self.entries.chunk_by(|one, other| one.hash == other.hash) {
            if is_run(run) {
                for entry in run {
                    if let Some((_, rest, _)) = self.sources.get_mut(usize::from(entry.source)) {
                        rest.push(entry.spot);
                    }
                }
            } else {
                kept.extend_from_slice(run);
            }
        }
        self.entries = kept;
        for (_, rest, _) in &mut self.sources {
            rest.sort_unstable();
            rest.dedup();
        }
    }

    fn directory(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (source, ..) in &self.sources {
            put_source(source, &mut out);
        }
        out
    }
}

fn put_source(source: &Source, out: &mut Vec<u8>) {
    let Source { role, path, stamp, kinds, rest, asking } = source;
    out.push(u8::from(*role == Role::Words) | u8::from(stamp.is_some()) << 1);
    out.extend_from_slice(&(path.len() as u16).to_le_bytes());
    out.extend_from_slice(path);
    stamp.unwrap_or_default().iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    let flags = [kinds.exact, kinds.suffix, kinds.prefix, kinds.address6];
    out.push(flags.iter().rev().fold(0, |byte, &flag| byte << 1 | u8::from(flag)));
    out.extend_from_slice(&kinds.lengths.to_le_bytes());
    out.push(kinds.masks.len() as u8);
    kinds.masks.iter().for_each(|mask| out.extend_from_slice(&mask.to_le_bytes()));
    out.extend_from_slice(&rest.block.to_le_bytes());
    out.extend_from_slice(&rest.count.to_le_bytes());
    out.extend_from_slice(&(asking.len() as u16).to_le_bytes());
    for (daemons, spot) in asking {
        out.extend_from_slice(&(daemons.len() as u16).to_le_bytes());
        out.extend_from_slice(daemons);
        put_spot(spot, out);
    }
}

fn put_spot(spot: &Spot, out: &mut Vec<u8>) {
    out.extend(spot.offset.to_le_bytes().iter().take(6));
    out.extend_from_slice(&spot.number.to_le_bytes());
}

/// Shows the buckets in order, and of each whether entries that are at home in it or before it go on
/// behind it.
fn for_each_bucket<E>(
    entries: &[Entry],
    homes: u64,
    mut visit: impl FnMut(&[Entry], bool) -> Result<(), E>,
) -> Result<(), E> {
    let (mut left, mut bucket) = (entries, 0);
    while bucket < homes || !left.is_empty() {
        let at_home = left.iter().take(ENTRIES).take_while(|entry| home(entry.hash, homes) <= bucket).count();
        let (here, behind) = left.split_at_checked(at_home).unwrap_or_default();
        left = behind;
        visit(here, left.first().is_some_and(|entry| home(entry.hash, homes) <= bucket))?;
        bucket += 1;
    }
    Ok(())
}

fn bucket_blocks(entries: &[Entry], homes: u64) -> u64 {
    let mut count = 0;
    let Ok(()) = for_each_bucket(entries, homes, |_, _| {
        count += 1;
        Ok::<_, std::convert::Infallible>(())
    });
    count
}

fn spelled(bucket: &[Entry], goes_on: bool) -> Vec<u8> {
    let mut payload = Vec::with_capacity(4 + bucket.len() * ENTRY);
    payload.extend_from_slice(&(bucket.len() as u16).to_le_bytes());
    payload.extend_from_slice(&u16::from(goes_on).to_le_bytes());
    for entry in bucket {
        payload.extend_from_slice(&entry.hash.to_le_bytes());
        payload.extend_from_slice(&entry.source.to_le_bytes());
        put_spot(&entry.spot, &mut payload);
    }
    payload
}

struct Blocks<'w> {
    out: &'w mut dyn Write,
    id: u64,
    number: u64,
}

impl Blocks<'_> {
    fn put(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut block = payload.to_vec();
        block.resize(PAYLOAD, 0);
        block.extend_from_slice(&checksum(self.id, self.number, &block).to_le_bytes());
        self.number += 1;
        self.out.write_all(&block)
    }
}
