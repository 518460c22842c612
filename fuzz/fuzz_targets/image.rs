//! An image that was damaged or forged: whoever decides by it neither crashes nor goes on for ever, and
//! as long as the checksums are not forged, too, decides what the text says.
//!
//! The input says which tables and which client, then what is done to a freshly made image of them: a row
//! of blows, or other bytes in its place; and whether the checksums are put right afterwards.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use wrap::compile::{Observer, write};
use wrap::error::{NameDoubt, What};
use wrap::facts::{
    Ask, DaemonName, Endpoint, Fact, HostName, Identity, ListEnd, Membership, NoSuch, Request, Side, Sought,
    Transport, UserName, stated_name,
};
use wrap::rules::compiled::{BLOCK, Blocks, Compiled, Next};
use wrap::tables::image::{Image, NotUsed, RuleTable, word_list_for};
use wrap::verdict::{Decision, IfNot, Tables, decide};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// hosts.allow, hosts.deny, a pattern file.
const TABLES: [[&str; 3]; 5] = [
    [
        "in.testd: 10.1.2.3 192.0.2.0/24 .example.com\nno colon\nALL: LOCAL\nsshd: [2001:db8::]/32: deny\n",
        "ALL: DIR/words\nALL: [: deny\nALL: 10.1.2.3/8\nALL: ALL EXCEPT 10.\n",
        "10.1.2.4 .b.example.com\n[2001:db8::7]\nDIR/more\n@staff\n",
    ],
    ["", "", ""],
    ["ALL: ALL\n", "ALL: ALL\n", "10.1.2.3"],
    [
        "sshd: foo\nin.testd: bar\nALL: 10.1.: spawn x\nALL: cafe::1 UNKNOWN\n",
        "in.testd: *.example.com host.\nALL: 0.0.0.0/0",
        "x",
    ],
    // Many places for each client, and several blocks of everything; see `texts`.
    ["REPEATED ALL: 10.1.2.3 EXCEPT 10.\n", "REPEATED x: ALL\n", "REPEATED 10.1.2.3\n"],
];

const CLIENTS: [(&str, &str); 8] = [
    ("10.1.2.3", "unknown"),
    ("10.1.2.4", "host.example.com"),
    ("2001:db8::7", "a.b.example.com"),
    ("::ffff:10.1.2.3", "foo"),
    ("192.0.2.7", "paranoid"),
    ("unknown", "cafe"),
    ("fe80::1%lo", "bar"),
    ("255.255.255.255", "10.1.2.3"),
];

struct Place {
    directory: PathBuf,
    image: Vec<u8>,
}

/// Removes what earlier runs left, which end without a word.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix("tcpd-fuzz-").and_then(|rest| rest.split('-').next());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

struct Silent;

impl Observer for Silent {
    fn progress(&mut self, _: &Path, _: u64) {}
    fn remark(&mut self, _: String) {}
}

impl Place {
    fn new(number: usize, texts: &[&str; 3]) -> Place {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        sweep(&base);
        let directory = base.join(format!("tcpd-fuzz-{}-{number}", std::process::id()));
        fs::create_dir(&directory).expect("a directory");
        for (name, text) in ["allow", "deny", "words"].into_iter().zip(texts) {
            let text = text.replace("DIR", &directory.display().to_string());
            let text = match text.strip_prefix("REPEATED ") {
                Some(text) => (0..500).map(|n| text.replace("2.3", &format!("{}.3", n % 3))).collect(),
                None => text,
            };
            fs::write(directory.join(name), text).expect("writes");
        }
        let mut place = Place { directory, image: Vec::new() };
        let (allow, deny) = (place.file("allow"), place.file("deny"));
        let mut image = Vec::new();
        write([&allow, &deny], Duration::ZERO, &mut image, &mut Silent).expect("compiles");
        place.image = image;
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Everything that is decided, and asked, until it is settled.
    fn decided(&self, client: (&str, &str), image: Option<&Image>) -> (Vec<Decision>, Vec<&'static str>) {
        let asker = Asker { name: client.1, image, asked: RefCell::default() };
        let address = match client.0 {
            "unknown" => Fact::Unknown,
            text => Fact::Known(text.as_bytes().to_vec()),
        };
        let ends = (Endpoint::new(address, None), Endpoint::new(Fact::Known(b"10.1.2.1".to_vec()), Some(21)));
        let request = Request::new(DaemonName::stated(b"in.testd"), 1, Transport::Stream, ends, &asker);
        let mut allow = RuleTable::new(&self.file("allow"), image);
        let mut deny = RuleTable::new(&self.file("deny"), image);
        let mut tables = Tables::new(&mut allow, &mut deny, false);
        let mut decisions = Vec::new();
        loop {
            let decision = decide(&mut tables, &request);
            let goes_on = decision.if_not == IfNot::GoOn && decisions.len() < 10;
            decisions.push(decision);
            if !goes_on {
                return (decisions, asker.asked.into_inner());
            }
        }
    }
}

struct Asker<'a> {
    name: &'a str,
    image: Option<&'a Image>,
    asked: RefCell<Vec<&'static str>>,
}

impl Ask for Asker<'_> {
    fn name(&self, side: Side, _: &mut Vec<NameDoubt>) -> Fact<HostName> {
        self.asked.borrow_mut().push(if side == Side::Client { "client" } else { "server" });
        stated_name(Some(self.name.as_bytes()))
    }
    fn user(&self, _: u32) -> Fact<UserName> {
        Fact::Unknown
    }
    fn in_netgroup(&self, _: &[u8], _: &[u8]) -> Membership {
        self.asked.borrow_mut().push("netgroup");
        Membership::No
    }
    fn word_list(&self, path: &[u8], sought: &dyn Sought, visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
        self.asked.borrow_mut().push("file");
        word_list_for(self.image, Path::new(OsStr::from_bytes(path)), sought, visit)
    }
    fn identity(&self, _: Option<&[u8]>, _: Option<&[u8]>) -> Result<Identity, NoSuch> {
        Err(NoSuch::User)
    }
    fn interface_exists(&self, name: &[u8]) -> bool {
        name == b"lo"
    }
}

/// An image in memory, of which it is counted how often it is read.
struct Memory<'a> {
    bytes: &'a [u8],
    reads: Cell<usize>,
}

impl Blocks for &Memory<'_> {
    fn read(&self, number: u64, block: &mut [u8; BLOCK]) -> io::Result<()> {
        self.reads.set(self.reads.get() + 1);
        let at = usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(BLOCK);
        let bytes = at.checked_add(BLOCK).and_then(|end| self.bytes.get(at..end));
        block.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

struct Client<'a>(&'a str, Option<&'a str>);

impl Sought for Client<'_> {
    fn address(&self) -> &[u8] {
        self.0.as_bytes()
    }
    fn name(&self) -> Option<&[u8]> {
        self.1.map(str::as_bytes)
    }
    fn may_serve(&self, _: &[u8]) -> bool {
        true
    }
}

/// Walks through all that an image says it has, by itself, and sees that there is an end.
fn walk(bytes: &[u8], client: (&str, &str)) {
    let memory = Memory { bytes, reads: Cell::new(0) };
    let Ok(image) = Compiled::open(&memory) else { return };
    let blocks = bytes.len() / BLOCK + 1;
    for source in 0..image.sources.len().min(20) {
        memory.reads.set(0);
        let mut walk = image.walk(u16::try_from(source).expect("few"));
        let (mut steps, mut last) = (0, None);
        loop {
            // The name becomes known on the way.
            let sought = Client(client.0, (steps > 1).then_some(client.1));
            match walk.next(&image, &sought) {
                Ok(Next::At(spot)) => {
                    assert!(last.is_none_or(|last| last < spot.offset), "forward");
                    last = Some(spot.offset);
                }
                Ok(Next::Everything | Next::Nothing) | Err(_) => break,
            }
            steps += 1;
            // A block holds at most 408 places of the rest, and what is found has a limit.
            assert!(steps <= blocks * 408 + 2 * 20_408 + 2, "{steps} steps");
        }
        // Each key of both texts may go through all buckets.
        assert!(memory.reads.get() <= blocks * 1000, "{} reads of {blocks} blocks", memory.reads.get());
    }
}

/// Gives every block the checksum it should have.
fn seal(image: &mut [u8]) {
    let id = u64::from_le_bytes(image.get(8..16).map_or([0; 8], |id| id.try_into().expect("8 bytes")));
    for (number, block) in image.chunks_exact_mut(BLOCK).enumerate() {
        let (payload, sum) = block.split_at_mut(BLOCK - 8);
        sum.copy_from_slice(&xxh3_64_with_seed(payload, id.wrapping_add(number as u64)).to_le_bytes());
    }
}

/// Five bytes are a blow: what, where, and how.
fn strike(image: &mut Vec<u8>, blow: &[u8; 5]) {
    let [what, low, middle, high, value] = *blow;
    let length = image.len();
    if length < BLOCK {
        return;
    }
    let blocks = length / BLOCK;
    let at = (usize::from(high) % blocks) * BLOCK + usize::from(u16::from_le_bytes([low, middle])) % BLOCK;
    match what % 8 {
        0 => image[at] ^= value | 1,
        1 => image[at] = value,
        2 => image[at] = image[at].wrapping_add(value),
        // A whole number, at its place in the header or elsewhere.
        3 | 4 => {
            let at = if what % 8 == 3 { 16 + at % 6 * 8 } else { at.min(length - 8) };
            let number = if value & 0x80 == 0 { u64::from(value) } else { u64::MAX << (value & 0x3f) };
            image[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        5 => {
            let from = usize::from(value) % blocks * BLOCK;
            image.copy_within(from..from + BLOCK, at / BLOCK * BLOCK);
        }
        6 => image.truncate(at),
        _ => image[at..(at + usize::from(value)).min(length)].fill(low),
    }
}

fn without_image(mut decisions: Vec<Decision>) -> Vec<Decision> {
    for decision in &mut decisions {
        decision.remarks.retain(|remark| !matches!(remark.what, What::Image { .. }));
    }
    decisions
}

fuzz_target!(|input: &[u8]| {
    static PLACES: OnceLock<Vec<Place>> = OnceLock::new();
    let places = PLACES
        .get_or_init(|| TABLES.iter().enumerate().map(|(number, texts)| Place::new(number, texts)).collect());
    let Some(([choice, how], rest)) = input.split_first_chunk() else { return };
    let place = &places[usize::from(*choice) / 8 % places.len()];
    let client = CLIENTS[usize::from(*choice) % 8];
    let (is_raw, is_sealed) = (how & 1 == 1, how & 2 == 2);
    let mut bytes = if is_raw { rest.to_vec() } else { place.image.clone() };
    if is_raw && how & 4 == 4 {
        // Something to begin with, at least.
        let head = place.image[..16].iter().chain(&bytes).copied();
        bytes = head.collect();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    if !is_raw {
        rest.as_chunks::<5>().0.iter().take(64).for_each(|blow| strike(&mut bytes, blow));
    }
    if is_sealed {
        seal(&mut bytes);
    }
    walk(&bytes, client);

    let path = place.file("image");
    fs::write(&path, &bytes).expect("writes");
    match Image::from_file(&path, File::open(&path).expect("opens")) {
        Ok(image) if is_sealed => drop(place.decided(client, Some(&image))),
        Ok(image) => {
            let (decisions, asked) = place.decided(client, Some(&image));
            let about_image =
                |d: &Decision| d.remarks.iter().filter(|r| matches!(r.what, What::Image { .. })).count();
            assert!(decisions.iter().map(about_image).sum::<usize>() <= 1, "said once");
            assert_eq!((without_image(decisions), asked), place.decided(client, None));
        }
        Err(NotUsed::Damaged(_)) => {}
        Err(other) => panic!("{other:?}"),
    }
});
