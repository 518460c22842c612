//! The image as the section FORMAT of tcpdcompile(8) describes it, read by a reader that knows nothing
//! else.

use crate::place::Place;
use std::fs;
use std::os::unix::fs::MetadataExt;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const BLOCK: usize = 4096;
const PAYLOAD: usize = 4088;

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, left) = self.0.split_at(length);
        self.0 = left;
        taken
    }

    fn number(&mut self, length: usize) -> u64 {
        number(self.take(length))
    }

    /// Offset, and newlines before it.
    fn place(&mut self) -> (u64, u64) {
        (self.number(6), self.number(4))
    }
}

/// A record of the directory.
#[derive(Debug, PartialEq)]
struct Record {
    marks: u64,
    path: Vec<u8>,
    stamp: [u64; 5],
    kinds: u64,
    lengths: u128,
    masks: Vec<u64>,
    rest: (u64, u64),
    questions: Vec<(Vec<u8>, (u64, u64))>,
}

fn record(from: &mut Reader<'_>) -> Record {
    let marks = from.number(1);
    let length = from.number(2) as usize;
    let path = from.take(length).to_vec();
    let stamp = std::array::from_fn(|_| from.number(8));
    let kinds = from.number(1);
    let lengths = u128::from(from.number(8)) | u128::from(from.number(8)) << 64;
    let masks = from.number(1);
    let masks = (0..masks).map(|_| from.number(4)).collect();
    let rest = (from.number(8), from.number(8));
    let questions = from.number(2);
    let question = |from: &mut Reader<'_>| {
        let length = from.number(2) as usize;
        (from.take(length).to_vec(), from.place())
    };
    Record {
        marks,
        path,
        stamp,
        kinds,
        lengths,
        masks,
        rest,
        questions: (0..questions).map(|_| question(from)).collect(),
    }
}

#[test]
fn the_format_is_the_one_of_the_manual() {
    let allow = "# first\nsshd: .Example.com\nsshd: foo\nin.x: 10.1.2.3 [2001:db8::]/32\nALL: LOCAL\n";
    let deny = "ALL: DIR/words\nno colon\nALL: 10.1.\nALL: 192.0.2.0/24, 198.51.100.0/255.255.255.0\n";
    let place = Place::new(allow, deny);
    place.write("words", "2001:db8::7\nDIR/nosuch\n[2001:db8::8]\n");
    place.compile();
    let image = fs::read(place.image()).expect("an image");

    let mut head = Reader(&image);
    assert_eq!(head.take(8), b"tcpdimg\x01");
    let id = head.number(8);
    let [blocks, length, first, homes, entries, made] = std::array::from_fn(|_| head.number(8));
    assert_eq!(image.len(), blocks as usize * BLOCK);
    for (number_of, block) in image.chunks(BLOCK).enumerate() {
        let sum = xxh3_64_with_seed(&block[..PAYLOAD], id.wrapping_add(number_of as u64));
        assert_eq!(number(&block[PAYLOAD..]), sum, "block {number_of}");
    }
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    assert!((now - 60..=now).contains(&made));

    let directory: Vec<u8> = image.chunks(BLOCK).flat_map(|block| &block[..PAYLOAD]).copied().collect();
    let mut directory = Reader(&directory[64..64 + length as usize]);
    let mut records = Vec::new();
    while !directory.0.is_empty() {
        records.push(record(&mut directory));
    }
    let stamp = |name: &str| {
        let meta = fs::metadata(place.file(name)).expect("a file");
        [meta.dev(), meta.ino(), meta.size(), meta.ctime() as u64, meta.ctime_nsec() as u64]
    };
    let path = |name: &str| place.in_place(&format!("DIR/{name}")).into_bytes();
    let at = |text: &str, line: &str, newlines: u64| (text.find(line).expect("there") as u64, newlines);
    let deny = place.in_place(deny);
    let expected = [
        Record {
            marks: 2,
            path: path("allow"),
            stamp: stamp("allow"),
            kinds: 1 | 2,
            lengths: 1 << 32,
            masks: Vec::new(),
            rest: (1, 1),
            questions: vec![(b"sshd".to_vec(), at(allow, "sshd: .", 1))],
        },
        Record {
            marks: 2,
            path: path("deny"),
            stamp: stamp("deny"),
            kinds: 4,
            lengths: 0,
            masks: vec![0xffff_ff00],
            rest: (2, 2),
            questions: Vec::new(),
        },
        Record {
            marks: 3,
            path: path("words"),
            stamp: stamp("words"),
            kinds: 8,
            lengths: 0,
            masks: Vec::new(),
            rest: (3, 1),
            questions: vec![(b"ALL".to_vec(), records[2].questions[0].1)],
        },
        Record {
            marks: 1,
            path: path("nosuch"),
            stamp: [0; 5],
            kinds: 0,
            lengths: 0,
            masks: Vec::new(),
            rest: (4, 0),
            questions: Vec::new(),
        },
    ];
    assert_eq!(records, expected);

    let rest = |record: &Record| {
        let mut from = Reader(&image[record.rest.0 as usize * BLOCK..]);
        (0..record.rest.1).map(|_| from.place()).collect::<Vec<_>>()
    };
    assert_eq!(rest(&records[0]), [at(allow, "ALL: LOCAL", 4)]);
    assert_eq!(rest(&records[1]), [at(&deny, "ALL: /", 0), at(&deny, "no colon", 1)]);

    assert_eq!((first, homes, blocks), (4, 1, 5));
    let mut bucket = Reader(&image[first as usize * BLOCK..]);
    let (count, goes_on) = (bucket.number(2), bucket.number(2));
    assert_eq!((count, goes_on), (entries, 0));
    let found: Vec<_> = (0..count).map(|_| (bucket.number(8), bucket.number(2), bucket.place())).collect();
    assert!(found.is_sorted());
    let entry = |source: u16, key: &[u8], place: (u64, u64)| {
        let hash = xxh3_64_with_seed(&[key, &source.to_le_bytes()].concat(), id);
        (hash, u64::from(source), place)
    };
    let words = fs::read_to_string(place.file("words")).expect("reads");
    let six = |length: u8, last: u8| {
        let mut key = vec![b'6', length, 0x20, 0x01, 0x0d, 0xb8];
        key.resize(17, 0);
        key.push(last);
        key
    };
    let mut wanted = vec![
        entry(0, b"s.example.com", at(allow, "sshd: .", 1)),
        entry(0, b"efoo", at(allow, "sshd: foo", 2)),
        entry(0, b"e10.1.2.3", at(allow, "in.x", 3)),
        entry(0, &six(32, 0), at(allow, "in.x", 3)),
        entry(1, b"p10.1.", at(&deny, "ALL: 10", 2)),
        entry(1, b"4\xff\xff\xff\0\xc0\0\x02\0", at(&deny, "ALL: 192", 3)),
        entry(1, b"4\xff\xff\xff\0\xc6\x33\x64\0", at(&deny, "ALL: 192", 3)),
        entry(2, &six(128, 7), at(&words, "2001", 0)),
        entry(2, &six(128, 8), records[2].questions[0].1),
    ];
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}
