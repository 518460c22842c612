//! Our libwrap.so.0 in the lab: in the place of Debian's, for every program that is started there.
//!
//! A copy lies on the lab's own `/run` and is mounted over the machine's library. So programs that
//! clean their environment, that are set-uid or that execute themselves anew get it like all others,
//! and the number of the file says for each process whether it is ours that the process has mapped.
//!
//! With `LIBWRAP_ORIGINAL=1` Debian's own library is under test, and expectations are the recorded
//! ones. Without it, a library that is Debian's, byte for byte, is an error: no test must pass because
//! the wrong one was asked.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{Lab, launch, place};

#[path = "../common/library.rs"]
pub mod under_test;

const COPY: &str = "/run/libwrap/libwrap.so.0.7.6";

/// Opens a lab with the library in it, or returns from the test when the real suite was not asked for.
macro_rules! open_library {
    () => {
        match $crate::lab::library::Library::open() {
            Some(library) => library,
            None => return,
        }
    };
}

/// A lab whose programs have the library under test.
pub struct Library {
    lab: Lab,
    /// Device and number of the file that processes must have mapped.
    file: (u64, u64),
}

impl Deref for Library {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Library {
    pub fn open() -> Option<Library> {
        if !super::is_wanted() {
            return None;
        }
        let bytes = bytes();
        let lab = Lab::open()?;
        super::install(COPY, bytes, 0o644);
        place::bind(COPY, &of_the_machine().to_string_lossy());
        let copy = fs::metadata(COPY).unwrap();
        Some(Library { lab, file: (copy.dev(), copy.ino()) })
    }

    /// Fails unless this running process has our file mapped, and no other libwrap.
    pub fn expect_mapped(&self, pid: u32) {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        self.expect_in_maps(&maps);
    }

    /// The same, for what `/proc/PID/maps` of a process held that may be gone by now.
    pub fn expect_in_maps(&self, maps: &str) {
        let files: Vec<_> = maps.lines().filter(|line| line.contains("libwrap")).map(mapped_file).collect();
        assert!(!files.is_empty(), "no libwrap is mapped: {maps}");
        assert!(files.iter().all(|file| *file == self.file), "not the library under test: {maps}");
    }

    /// Fails unless the loader finds our file for this program, which may end at once when it is run.
    pub fn expect_found(&self, program: &str) {
        let (_, said, _) = launch::run(Command::new(program).env("LD_TRACE_LOADED_OBJECTS", "1"));
        let found = said.lines().find_map(|line| line.trim().strip_prefix("libwrap.so.0 => "));
        let path = found.and_then(|rest| rest.split(' ').next());
        let path = path.unwrap_or_else(|| panic!("{program} has no libwrap: {said}"));
        let found = fs::metadata(path).unwrap();
        assert_eq!((found.dev(), found.ino()), self.file, "{program} finds {path}");
    }
}

/// Device and number of one line of `/proc/PID/maps`.
fn mapped_file(line: &str) -> (u64, u64) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (major, minor) = words[3].split_once(':').unwrap();
    let number = |text| u32::from_str_radix(text, 16).unwrap();
    (libc::makedev(number(major), number(minor)), words[4].parse().unwrap())
}

/// True when Debian's own library is under test.
pub fn is_the_original() -> bool {
    std::env::var_os("LIBWRAP_ORIGINAL").is_some_and(|value| value == "1")
}

/// The machine's own library, as the package libwrap0 put it there.
fn of_the_machine() -> PathBuf {
    let entries = fs::read_dir("/usr/lib").unwrap().flatten();
    let paths = entries.map(|entry| entry.path().join(under_test::FILE));
    let mut found = paths.filter(|path| path.is_file());
    found.next().expect("libwrap.so.0 is missing: apt-get install libwrap0")
}

/// The library under test; to be read before the lab is opened.
fn bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let read = |path: &Path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let debians = read(&of_the_machine());
        if is_the_original() {
            return debians;
        }
        let ours = read(&under_test::directory().join(under_test::FILE));
        assert!(ours != debians, "this library is Debian's own; LIBWRAP_ORIGINAL=1 asks for that");
        ours
    })
}
