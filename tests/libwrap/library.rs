//! Programs linked to the library under test: how are they compiled?
//!
//! Which library that is says tests/common/library.rs; here its directory needs libwrap.so, libwrap.a and
//! tcpd.h, too. With `LIBWRAP_ORIGINAL=1` it is TCP Wrapper's own, from which only what was recorded of it
//! is expected.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

pub use crate::lab::library::is_the_original;
pub use crate::lab::library::under_test::directory;

pub const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/libwrap");

/// How a program is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// Against the shared library.
    Shared,
    /// With the archive inside.
    Static,
    /// Against the shared library; the program watches its memory, and what the library does with it.
    Sanitized,
}

impl Build {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Build::Shared | Build::Static => &["-O1"],
            Build::Sanitized => &["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
        }
    }
}

/// A file that nobody else has: tests run side by side.
fn own_file(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{number}", std::process::id()))
}

/// Compiles a program of tests/libwrap and links it.
pub fn program(source: &str, build: Build) -> PathBuf {
    let target = own_file(source.trim_end_matches(".c"));
    let mut words: Vec<OsString> = build.flags().iter().map(OsString::from).collect();
    words.extend(["-pthread".into(), "-o".into(), target.clone().into(), "-x".into(), "c".into()]);
    words.extend([Path::new(SOURCES).join(source).into(), "-x".into(), "none".into()]);
    match build {
        Build::Shared | Build::Sanitized => {
            let mut place = OsString::from("-Wl,-rpath,");
            place.push(directory());
            words.extend([place, "-L".into(), directory().into(), "-lwrap".into()]);
        }
        Build::Static => {
            words.push(directory().join("libwrap.a").into());
            if is_the_original() {
                words.push("-lnsl".into());
            }
        }
    }
    let said = compile("cc", &words);
    assert!(said.is_ok(), "{source}: {}", said.unwrap_err());
    target
}

/// Runs a compiler on words that name files, with every warning an error; says what it said.
pub fn compile(compiler: &str, words: &[OsString]) -> Result<(), String> {
    let said = Command::new(compiler)
        .args(["-g", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(directory())
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}: apt-get install gcc libc6-dev"));
    if said.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said.stderr).into_owned()) }
}

/// Whether the compiler can build programs that watch their memory, and such programs run here.
pub fn can_sanitize() -> bool {
    let target = own_file("can");
    let source = target.with_extension("c");
    std::fs::write(&source, "int main(void) { return 0; }\n").expect("writes");
    let mut words: Vec<OsString> = Build::Sanitized.flags().iter().map(OsString::from).collect();
    words.extend(["-o".into(), target.clone().into(), source.clone().into()]);
    let can =
        compile("cc", &words).is_ok() && Command::new(&target).status().is_ok_and(|status| status.success());
    for file in [target, source] {
        let _ = std::fs::remove_file(file);
    }
    can
}

/// Whether a program can be started at all.
pub fn has(program: &str) -> bool {
    let tried = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// What a program says on standard output.
pub fn said(program: &str, words: &[&str], file: &Path) -> String {
    let said = Command::new(program).args(words).arg(file).stdin(Stdio::null()).output();
    let said = said.unwrap_or_else(|error| panic!("{program}: {error}: apt-get install binutils"));
    assert!(said.status.success(), "{program}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).expect("UTF-8")
}
