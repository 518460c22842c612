//! Does libwrap.so.0 of this house do for a C program what TCP Wrapper's own did?
//!
//! The programs in tests/libwrap are compiled against the library and its tcpd.h (see
//! tests/libwrap/library.rs for which library that is) and run:
//!
//! * *layout*: the header, as C and as C++, and the names that the library has;
//! * *vectors*: every recorded question, see tests/common/vectors.rs;
//! * *uses*: what real programs do;
//! * *abuse*: what no program should do;
//! * *unnoticed*: what no program should notice;
//! * *history*: what has gone wrong in such programs once;
//! * *lasting*: a million calls, and eight threads.
//!
//! Valgrind has a look at them when `TCPD_REAL=1` is set; what is left out says so.

#[path = "lab/mod.rs"]
#[allow(dead_code, unused_imports, unused_macros)]
mod lab;
#[path = "common/vectors.rs"]
mod vectors;

#[path = "libwrap/answers.rs"]
mod answers;
#[path = "libwrap/library.rs"]
mod library;
#[path = "libwrap/symbols.rs"]
mod symbols;

use answers::{Round, Watch};
use library::{Build, compile, has, is_the_original, program};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use vectors::{MENDED, Mended, Report};

/// Where the library differs from what decides in tcpd: M1 changes no program's identity.
const MENDED_LIBWRAP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mended-libwrap.tsv");

// ------------------------------------------------------------------------------------------ saying

/// A line that libtest does not capture.
fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn skip(what: &str, why: &str) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    say(&format!("SKIPPED {}: {what}: {why}", COUNT.fetch_add(1, Ordering::SeqCst) + 1));
}

/// Whether valgrind is to be used; it must be there then.
fn is_watched(what: &str) -> bool {
    if std::env::var_os("TCPD_REAL").is_none_or(|value| value != "1") {
        skip(what, "set TCPD_REAL=1 (needs valgrind, see .ci/run)");
        return false;
    }
    assert!(has("valgrind"), "valgrind is missing: apt-get install valgrind");
    true
}

// ------------------------------------------------------------------------------------------ layout

#[test]
fn header_has_the_layout() {
    let source = Path::new(library::SOURCES).join("layout.c");
    for [inet6, weak] in [[false, false], [true, false], [false, true], [true, true]] {
        let mut words: Vec<OsString> = vec!["-c".into(), "-o".into(), "/dev/null".into()];
        words.extend(inet6.then(|| "-DINET6".into()));
        words.extend(weak.then(|| "-DHAVE_WEAKSYMS".into()));
        for (compiler, language) in [("cc", "c"), ("c++", "c++")] {
            if compiler == "c++" && !has(compiler) {
                skip("header_has_the_layout, as C++", "c++ is missing (apt-get install g++)");
                continue;
            }
            let mut words = words.clone();
            words.extend(["-x".into(), language.into(), source.clone().into()]);
            let said = compile(compiler, &words);
            assert!(said.is_ok(), "{compiler} {words:?}: {}", said.unwrap_err());
        }
    }
}

#[test]
fn data_begins_with_its_values() {
    for build in [Build::Shared, Build::Static] {
        let program = program("layout.c", build);
        let said = Command::new(&program).output().expect("starts");
        assert!(said.status.success(), "{said:?}");
        std::fs::remove_file(program).expect("removes");
    }
}

#[test]
fn library_has_these_names_and_no_others() {
    symbols::compare();
}

// ----------------------------------------------------------------------------------------- vectors

fn compare_vectors(round: &Round) {
    let vectors = vectors::all();
    let answers = round.answers(&vectors);
    let lists =
        if is_the_original() { Vec::new() } else { vec![Mended::read(MENDED), Mended::read(MENDED_LIBWRAP)] };
    if let Some(last) = lists.last().filter(|_| round.label == "shared") {
        last.update(&answers);
    }
    let report = Report::of(&vectors, &answers, &lists);
    for line in report.lines() {
        say(&format!("vectors, {}: {line}", round.label));
    }
    let complaints = round.complaints();
    std::fs::remove_file(&round.program).expect("removes");
    assert!(complaints.is_empty(), "{complaints}");
    assert!(report.is_good(), "answers differ");
}

#[test]
fn vectors_shared() {
    let program = program("vectors.c", Build::Shared);
    compare_vectors(&Round { label: "shared", program, watch: Watch::Nobody });
}

#[test]
fn vectors_static() {
    let program = program("vectors.c", Build::Static);
    compare_vectors(&Round { label: "static", program, watch: Watch::Nobody });
}

#[test]
fn vectors_sanitized() {
    if !library::can_sanitize() {
        return skip("vectors_sanitized", "the compiler has no sanitizers here");
    }
    let program = program("vectors.c", Build::Sanitized);
    compare_vectors(&Round { label: "sanitized", program, watch: Watch::Nobody });
}

#[test]
fn vectors_memcheck() {
    if is_watched("vectors_memcheck") {
        let program = program("vectors.c", Build::Shared);
        compare_vectors(&Round { label: "memcheck", program, watch: Watch::Memcheck });
    }
}

// ------------------------------------------------------------------------------------------ checks

/// A directory for a program's files, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(label: &str) -> Scratch {
        let path = PathBuf::from(format!("/tmp/tcpd-libwrap-{label}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a program to its end; it must find all well.
fn run(label: &str, program: &Path, command: &mut Command) {
    let said = command.env("ASAN_OPTIONS", "detect_leaks=0").output().expect("starts");
    std::fs::remove_file(program).expect("removes");
    let (output, errors) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    for line in output.lines() {
        say(&format!("{label}: {line}"));
    }
    assert!(said.status.success(), "{label}: {}\n{output}\n{errors}", said.status);
}

/// A program as the last word of a command that watches it.
fn watched(watch: &[&str], program: &Path) -> Command {
    let Some((watcher, words)) = watch.split_first() else { return Command::new(program) };
    let mut command = Command::new(watcher);
    command.args(words).arg(program);
    command
}

/// Runs a program with a list of checks.
fn check(source: &str, build: Build, watch: &[&str]) {
    let label = format!("{}-{build:?}-{}", source.trim_end_matches(".c"), watch.len());
    let (program, scratch) = (program(source, build), Scratch::new(&label));
    let mut command = watched(watch, &program);
    command.arg(&scratch.0);
    if is_the_original() {
        command.arg("reference");
    }
    run(&label, &program, &mut command);
}

const MEMCHECK: [&str; 4] = ["valgrind", "-q", "--tool=memcheck", "--error-exitcode=99"];

#[test]
fn abuse() {
    check("abuse.c", Build::Shared, &[]);
}

#[test]
fn abuse_sanitized() {
    if !library::can_sanitize() {
        return skip("abuse_sanitized", "the compiler has no sanitizers here");
    }
    check("abuse.c", Build::Sanitized, &[]);
}

#[test]
fn abuse_memcheck() {
    if is_watched("abuse_memcheck") {
        check("abuse.c", Build::Shared, &MEMCHECK);
    }
}

#[test]
fn uses() {
    check("uses.c", Build::Shared, &[]);
}

#[test]
fn unnoticed() {
    check("unnoticed.c", Build::Shared, &[]);
}

/// One program has the checks of all events: which it ran is in what it says.
#[test]
fn cve_2007_4601_cve_2008_6123_cve_2012_3417_tcpd_diag_in_programs_in_c() {
    check("history.c", Build::Shared, &[]);
}

// ----------------------------------------------------------------------------------------- lasting

#[test]
fn a_million_calls() {
    let (program, scratch) = (program("lasting.c", Build::Shared), Scratch::new("calls"));
    run("lasting", &program, Command::new(&program).arg("calls").arg(&scratch.0).arg("1000000"));
}

/// The reference was not made for threads.
fn threads(label: &str, build: Build, watch: &[&str], seconds: u32) {
    if is_the_original() {
        return skip(label, "only ours promises it");
    }
    let (program, scratch) = (program("lasting.c", build), Scratch::new(label));
    let mut command = watched(watch, &program);
    command.arg("threads").arg(&scratch.0).arg(seconds.to_string());
    run(label, &program, &mut command);
}

#[test]
fn eight_threads() {
    threads("threads", Build::Shared, &[], 10);
}

/// With the library inside: only there it has names, by which what is no race can be told.
#[test]
fn eight_threads_helgrind() {
    if is_watched("eight_threads_helgrind") {
        let names = format!("--suppressions={}/helgrind.supp", library::SOURCES);
        let watch = ["valgrind", "-q", "--tool=helgrind", "--error-exitcode=99", &names];
        threads("helgrind", Build::Static, &watch, 5);
    }
}
