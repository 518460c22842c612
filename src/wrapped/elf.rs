//! Which libraries is a program linked with?
//!
//! What a run-time linker would load is asked: the entries DT_NEEDED of the dynamic section, found by
//! the program headers (elf(5)); section headers may have been stripped. Of 32 and 64 bits, in either
//! order of bytes, for any machine.
//!
//! Nobody vouches for the file. Little of it is read (`READ_MAX`), every place in it is checked before
//! it is read, and whatever does not fit together makes it no program at all.

#![forbid(unsafe_code)]

use object::Endianness;
use object::elf::{DT_NEEDED, DT_NULL, DT_SONAME, DT_STRSZ, DT_STRTAB, FileHeader32, FileHeader64, PT_LOAD};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef, StringTable};
use std::cell::Cell;
use std::fs::File;
use std::ops::Range;

/// Most bytes that are read of a file.
const READ_MAX: u64 = 4 << 20;
/// Most libraries that one file can name.
const LIBRARIES_MAX: usize = 1000;

/// What a file says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The libraries it is linked with, in order.
    pub libraries: Vec<Vec<u8>>,
    /// The name by which others are linked with it, if it is a library.
    pub name: Option<Vec<u8>>,
}

impl Needs {
    /// Whether it is linked with libwrap.
    pub fn libwrap(&self) -> bool {
        self.libraries.iter().any(|library| is_libwrap(library))
    }
}

/// Whether a library's file name is libwrap's.
pub fn is_libwrap(name: &[u8]) -> bool {
    name.strip_prefix(b"libwrap.so").is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
}

/// What a file is linked with. None: it is no program or library that is linked with anything.
pub fn needs(file: File) -> Option<Needs> {
    let cache = ReadCache::new(file);
    let left = Cell::new(READ_MAX);
    let data = Limited { file: &cache, left: &left };
    match data.read_bytes_at(0, 5).ok()? {
        [0x7f, b'E', b'L', b'F', 1] => of_class::<FileHeader32<Endianness>>(data),
        [0x7f, b'E', b'L', b'F', 2] => of_class::<FileHeader64<Endianness>>(data),
        _ => None,
    }
}

/// A file of which only so much may be read.
#[derive(Clone, Copy)]
struct Limited<'a> {
    file: &'a ReadCache<File>,
    left: &'a Cell<u64>,
}

impl Limited<'_> {
    fn take(self, size: u64) -> Result<(), ()> {
        self.left.set(self.left.get().checked_sub(size).ok_or(())?);
        Ok(())
    }
}

impl<'a> ReadRef<'a> for Limited<'a> {
    fn len(self) -> Result<u64, ()> {
        self.file.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        self.take(size)?;
        self.file.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let found = self.file.read_bytes_at_until(range, delimiter)?;
        self.take(found.len() as u64)?;
        Ok(found)
    }
}

fn of_class<'a, Elf: FileHeader<Endian = Endianness>>(data: Limited<'a>) -> Option<Needs> {
    let header = Elf::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, data).ok()?;
    let dynamic = segments.iter().find_map(|segment| segment.dynamic(endian, data).ok().flatten())?;
    let entries = || dynamic.iter().take_while(|entry| entry.tag(endian) != DT_NULL);
    let value = |tag| entries().find(|entry| entry.tag(endian) == tag).map(|entry| entry.val(endian));

    // The strings stand where the program would have them in memory.
    let address = value(DT_STRTAB)?;
    let offset = segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD).find_map(|segment| {
        let (from, size): (u64, u64) = (segment.p_vaddr(endian).into(), segment.p_filesz(endian).into());
        let inside = address.checked_sub(from).filter(|&inside| inside < size)?;
        segment.p_offset(endian).into().checked_add(inside)
    })?;
    let strings = StringTable::new(data, offset, offset.checked_add(value(DT_STRSZ)?)?);
    let text = |at: u64| strings.get(u32::try_from(at).ok()?).ok().map(<[u8]>::to_vec);

    let needed = entries().filter(|entry| entry.tag(endian) == DT_NEEDED).take(LIBRARIES_MAX);
    Some(Needs {
        libraries: needed.filter_map(|entry| text(entry.val(endian))).collect(),
        name: value(DT_SONAME).and_then(text),
    })
}

#[cfg(test)]
#[path = "../../tests/common/elf.rs"]
mod made;

#[cfg(test)]
mod tests {
    use super::made::{Class, USUAL, linked};
    use super::*;
    use crate::sys::file::in_memory;
    use std::io::Write;

    fn read(bytes: &[u8]) -> Option<Needs> {
        let mut file = in_memory(c"elf").expect("a file");
        file.write_all(bytes).expect("writes");
        needs(file)
    }

    fn texts(needs: Option<Needs>) -> Option<(Vec<String>, Option<String>)> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        needs.map(|needs| (needs.libraries.into_iter().map(text).collect(), needs.name.map(text)))
    }

    #[test]
    fn files_of_all_machines_are_read() {
        for class in [(true, false), (true, true), (false, false), (false, true)] {
            let class = Class { wide: class.0, big_endian: class.1 };
            let (program, library) = (["libc.so.6", "libwrap.so.0"], Some("liba.so.1"));
            let said = texts(read(&linked(class, library, &program)));
            assert_eq!(
                said,
                Some((program.map(str::to_owned).to_vec(), library.map(str::to_owned))),
                "{class:?}"
            );
        }
        let own = needs(File::open("/proc/self/exe").expect("opens")).expect("a program");
        assert!(own.libraries.iter().any(|name| name.starts_with(b"libc.")), "{own:?}");
        assert!(own.name.is_none() && !own.libwrap());
    }

    #[test]
    fn what_is_no_program_needs_nothing() {
        for text in [&b""[..], b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x02\x01\x01", &[0x7f; 300]] {
            assert_eq!(read(text), None, "{text:?}");
        }
        let whole = linked(USUAL, None, &["libwrap.so.0"]);
        let names = |length: usize| texts(read(&whole[..length])).map(|(names, _)| names);
        assert_eq!(names(whole.len()), Some(vec!["libwrap.so.0".to_owned()]));
        for length in 0..whole.len() {
            assert!(names(length).is_none_or(|names| names.is_empty()), "{length}");
        }
    }

    #[test]
    fn a_file_may_claim_what_it_wants() {
        let bytes = linked(USUAL, None, &["libwrap.so.0"]);
        // The length of the dynamic segment is a terabyte, and the file has it: in holes.
        let mut file = in_memory(c"elf").expect("a file");
        let mut claims = bytes.clone();
        claims[64 + 56 + 32..64 + 56 + 40].copy_from_slice(&(1_u64 << 40).to_le_bytes());
        file.write_all(&claims).expect("writes");
        file.set_len(1 << 41).expect("a sparse file");
        assert_eq!(needs(file), None);
        // There are 65535 program headers, or as many as the first section says.
        let mut claims = bytes;
        claims[56..58].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(read(&claims), None);
    }

    #[test]
    fn libwrap_is_known_by_its_name() {
        for name in ["libwrap.so.0", "libwrap.so", "libwrap.so.0.7.6", "libwrap.so.1"] {
            assert!(is_libwrap(name.as_bytes()), "{name}");
        }
        for name in ["libwrapper.so.0", "libwrap.so0", "wrap.so.0", "libwrap.a"] {
            assert!(!is_libwrap(name.as_bytes()), "{name}");
        }
    }
}
