//! The smallest ELF files that are linked with something, written byte by byte.
#![allow(dead_code)]

/// Of which machines there are files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    pub wide: bool,
    pub big_endian: bool,
}

pub const USUAL: Class = Class { wide: true, big_endian: false };

/// Where the headers begin that name a segment, and where the dynamic section stands: for those who
/// want to damage one.
pub const PROGRAM_HEADERS: usize = 64;

struct Bytes(Vec<u8>, Class);

impl Bytes {
    fn number(&mut self, value: u64, width: usize) {
        let bytes = value.to_le_bytes();
        let mut bytes = bytes[..width].to_vec();
        if self.1.big_endian {
            bytes.reverse();
        }
        self.0.extend(bytes);
    }

    /// A number as wide as an address.
    fn word(&mut self, value: u64) {
        self.number(value, if self.1.wide { 8 } else { 4 });
    }

    fn pad_to(&mut self, offset: usize) {
        assert!(self.0.len() <= offset);
        self.0.resize(offset, 0);
    }
}

/// A program or library that is linked with others.
pub fn linked(class: Class, name: Option<&str>, needed: &[&str]) -> Vec<u8> {
    const ADDRESS: u64 = 0x40_0000;
    let mut strings = vec![0];
    let mut place = |text: &str| {
        let at = strings.len() as u64;
        strings.extend(text.as_bytes());
        strings.push(0);
        at
    };
    let mut entries: Vec<(u64, u64)> = needed.iter().map(|text| (1, place(text))).collect();
    entries.extend(name.map(|text| (14, place(text))));
    let (entry, program_header) = if class.wide { (16, 56) } else { (8, 32) };
    let dynamic = PROGRAM_HEADERS + 2 * program_header;
    let strings_at = dynamic + (entries.len() + 3) * entry;
    entries.extend([(5, ADDRESS + strings_at as u64), (10, strings.len() as u64), (0, 0)]);
    let size = (strings_at + strings.len()) as u64;

    let mut file = Bytes(Vec::new(), class);
    file.0.extend([
        0x7f,
        b'E',
        b'L',
        b'F',
        if class.wide { 2 } else { 1 },
        if class.big_endian { 2 } else { 1 },
        1,
    ]);
    file.pad_to(16);
    for (value, width) in [(3, 2), (62, 2), (1, 4)] {
        file.number(value, width);
    }
    for value in [ADDRESS, PROGRAM_HEADERS as u64, 0] {
        file.word(value);
    }
    let header = if class.wide { 64 } else { 52 };
    for (value, width) in [(0, 4), (header, 2), (program_header as u64, 2), (2, 2), (0, 2), (0, 2), (0, 2)] {
        file.number(value, width);
    }
    file.pad_to(PROGRAM_HEADERS);
    let from = dynamic as u64;
    for (kind, offset, length) in [(1, 0, size), (2, from, (entries.len() * entry) as u64)] {
        file.number(kind, 4);
        if class.wide {
            file.number(4, 4);
        }
        for value in [offset, ADDRESS + offset, ADDRESS + offset, length, length] {
            file.word(value);
        }
        if !class.wide {
            file.number(4, 4);
        }
        file.word(8);
    }
    file.pad_to(dynamic);
    for (tag, value) in entries {
        file.word(tag);
        file.word(value);
    }
    file.0.extend(strings);
    file.0
}
