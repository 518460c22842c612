//! Which libwrap.so.0 is under test? The one in the directory that `LIBWRAP_DIR` names; without it
//! `etc/build-libwrap` builds one, once in each test program, and never two at a time.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The file that the names `libwrap.so.0` and `libwrap.so` lead to.
pub const FILE: &str = "libwrap.so.0.7.6";

/// The directory of the library; built at the first question, if it has to be.
pub fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let directory = std::env::var_os("LIBWRAP_DIR").map_or_else(build, PathBuf::from);
        let library = directory.join(FILE);
        assert!(library.is_file(), "{} is not there", library.display());
        directory
    })
}

/// Test programs may run side by side, and all build into one place: whoever comes second waits.
fn build() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = place.join("libwrap");
    fs::create_dir_all(&directory).expect("a directory for the library");
    let turn = fs::File::create(place.join("libwrap.lock")).expect("a lock");
    turn.lock().expect("a turn");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/build-libwrap");
    let mut command = Command::new(&script);
    let output = command.arg(&directory).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {}: {said}", script.display(), output.status);
    directory
}
