//! A change of any kind, of any file that the image was made of: at once the text decides, in silence,
//! and compiling again makes the image used again.

use crate::place::{Place, set_mode, small};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::time::SystemTime;

/// A way to change a source.
struct Change {
    what: &'static str,
    /// Makes the files, beside empty tables.
    before: fn(&Place),
    served_before: bool,
    change: fn(&Place),
    served_after: bool,
    /// What is left of the sources can be compiled.
    compiles: bool,
}

impl Change {
    const fn new(
        what: &'static str,
        (before, served_before): (fn(&Place), bool),
        (change, served_after): (fn(&Place), bool),
    ) -> Change {
        Change { what, before, served_before, change, served_after, compiles: true }
    }
}

const HERE: &str = "ALL: 127.0.0.1\n";
const ELSE: &str = "ALL: 127.0.0.2\n";

fn append(place: &Place, name: &str, text: &str) {
    let mut file = OpenOptions::new().append(true).open(place.file(name)).expect("opens");
    file.write_all(text.as_bytes()).expect("writes");
}

/// A file that takes the place of another, of the same size and with the same modification time.
fn replace(place: &Place, name: &str, text: &str) {
    let modified = fs::metadata(place.file(name)).and_then(|meta| meta.modified()).expect("a file");
    place.write("new", text);
    File::options()
        .write(true)
        .open(place.file("new"))
        .and_then(|file| file.set_modified(modified))
        .expect("utimes");
    fs::rename(place.file("new"), place.file(name)).expect("renames");
}

fn turn(place: &Place, link: &str, to: &str) {
    let _ = fs::remove_file(place.file("newlink"));
    symlink(place.file(to), place.file("newlink")).expect("a link");
    fs::rename(place.file("newlink"), place.file(link)).expect("renames");
}

fn pattern_files(place: &Place, words: &str, more: Option<&str>) {
    place.write("deny", "ALL: DIR/words\n");
    place.write("words", words);
    if let Some(more) = more {
        place.write("more", more);
    }
}

const CHANGES: [Change; 18] = [
    Change::new(
        "a line is appended",
        (|p| p.write("deny", ELSE), true),
        (|p| append(p, "deny", HERE), false),
    ),
    Change::new(
        "the file is cut",
        (|p| p.write("deny", &[ELSE, HERE].concat()), false),
        (
            |p| File::options().write(true).open(p.file("deny")).and_then(|f| f.set_len(15)).expect("cuts"),
            true,
        ),
    ),
    Change::new(
        "it is rewritten in place, with the same size and modification time",
        (|p| p.write("deny", ELSE), true),
        (
            |p| {
                let file = File::options().write(true).open(p.file("deny")).expect("opens");
                let modified = file.metadata().and_then(|meta| meta.modified()).expect("a time");
                file.write_all_at(HERE.as_bytes(), 0).expect("writes");
                file.set_modified(modified).expect("utimes");
            },
            false,
        ),
    ),
    Change::new(
        "another takes its place, of the same size and modification time",
        (|p| p.write("deny", ELSE), true),
        (|p| replace(p, "deny", HERE), false),
    ),
    Change::new(
        "its mode changes",
        (|p| p.write("deny", HERE), false),
        (|p| set_mode(&p.file("deny"), 0o640), false),
    ),
    Change::new(
        "it is touched",
        (|p| p.write("deny", HERE), false),
        (
            |p| {
                let file = File::options().write(true).open(p.file("deny")).expect("opens");
                file.set_modified(SystemTime::UNIX_EPOCH).expect("utimes");
            },
            false,
        ),
    ),
    Change::new(
        "it is deleted",
        (|p| p.write("deny", HERE), false),
        (|p| fs::remove_file(p.file("deny")).expect("deletes"), true),
    ),
    Change::new(
        "it appears",
        (|p| fs::remove_file(p.file("deny")).expect("deletes"), true),
        (|p| p.write("deny", HERE), false),
    ),
    Change::new(
        "hosts.allow appears",
        (
            |p| {
                p.write("deny", "ALL: ALL\n");
                fs::remove_file(p.file("allow")).expect("deletes");
            },
            false,
        ),
        (|p| p.write("allow", HERE), true),
    ),
    Change::new(
        "a symbolic link is turned",
        (
            |p| {
                p.write("one", ELSE);
                p.write("two", HERE);
                turn(p, "deny", "one");
            },
            true,
        ),
        (|p| turn(p, "deny", "two"), false),
    ),
    Change::new(
        "a symbolic link on the way is turned",
        (
            |p| {
                for (directory, text) in [("one", ELSE), ("two", HERE)] {
                    fs::create_dir(p.file(directory)).expect("mkdir");
                    p.write(&format!("{directory}/deny"), text);
                }
                turn(p, "way", "one");
                turn(p, "deny", "way/deny");
            },
            true,
        ),
        (|p| turn(p, "way", "two"), false),
    ),
    Change::new(
        "a symbolic link leads nowhere any more",
        (
            |p| {
                p.write("one", HERE);
                turn(p, "deny", "one");
            },
            false,
        ),
        (|p| fs::remove_file(p.file("one")).expect("deletes"), true),
    ),
    Change::new(
        "a word is appended to a pattern file",
        (|p| pattern_files(p, "10.9.8.7\n", None), true),
        (|p| append(p, "words", "127.0.0.1"), false),
    ),
    Change::new(
        "a pattern file of a pattern file changes",
        (|p| pattern_files(p, "10.9.8.7\nDIR/more\n", Some("127.0.0.1\n")), false),
        (|p| replace(p, "more", "127.0.0.2\n"), true),
    ),
    Change::new(
        "a pattern file is deleted",
        (|p| pattern_files(p, "127.0.0.1\n", None), false),
        (|p| fs::remove_file(p.file("words")).expect("deletes"), true),
    ),
    Change::new(
        "a pattern file appears",
        (|p| pattern_files(p, "10.9.8.7\nDIR/more\n", None), true),
        (|p| p.write("more", "127."), false),
    ),
    Change::new(
        "a pattern file becomes a directory",
        (|p| pattern_files(p, "10.9.8.7\n", None), true),
        (
            |p| {
                fs::remove_file(p.file("words")).expect("deletes");
                fs::create_dir(p.file("words")).expect("mkdir");
            },
            false,
        ),
    ),
    Change {
        compiles: false,
        ..Change::new(
            "hosts.deny becomes a directory",
            (|p| p.write("deny", ELSE), true),
            (
                |p| {
                    fs::remove_file(p.file("deny")).expect("deletes");
                    fs::create_dir(p.file("deny")).expect("mkdir");
                },
                false,
            ),
        )
    },
];

/// What a client gets and what is logged: the same by the image as by the text.
fn meets(place: &Place, served: bool, what: &str) {
    let (got, log) = place.visit();
    assert_eq!((got.as_str(), log.as_str()), (if served { "served\n" } else { "" }, log.as_str()), "{what}");
    assert_eq!((got, log), place.visit_by_text(), "{what}");
}

#[test]
fn every_change_is_in_force_at_once() {
    let places = CHANGES.map(|change| {
        let place = Place::new("", "");
        (change.before)(&place);
        (change, place)
    });
    for (change, place) in &places {
        let Change { what, served_before, served_after, .. } = *change;
        place.compile();
        assert_eq!(place.says(), (served_before, None), "before {what}");
        meets(place, served_before, what);
        (change.change)(place);
        let (served, why) = place.says();
        assert_eq!(served, served_after, "{what}");
        let why = why.unwrap_or_else(|| panic!("the image is used still, though {what}"));
        assert!(why.ends_with(" has changed since the image was made"), "{what}: {why}");
        let line = format!("{}: not used: {why}", place.image().display());
        assert_eq!(place.status(), (false, line), "{what}");
        meets(place, served_after, what);
        let (_, log) = place.visit();
        assert!(!log.contains("image") && !log.contains("rules.img"), "a stale image is silent: {log}");
    }
    for (change, place) in &places {
        let Change { what, served_after, compiles, .. } = *change;
        if compiles {
            place.compile();
            assert_eq!(place.says(), (served_after, None), "compiled again, {what}");
            meets(place, served_after, what);
        } else {
            let output = place.compiler().output().expect("it runs");
            assert_eq!(output.status.code(), Some(1), "{what}: {output:?}");
            assert!(place.says().1.is_some(), "{what}");
        }
    }
}

#[test]
fn what_is_missing_is_compiled_as_missing() {
    let place = small();
    let missing = |option: &str, name: &str| [option.into(), place.file(name).into_os_string()];
    let options = [missing("--allow", "nowhere"), missing("--deny", "nor-there")].concat();
    let output = place.compiler().args(&options).output();
    assert!(output.is_err() || !output.expect("it runs").status.success(), "an option is given once");
    let mut compiler = std::process::Command::new(crate::place::COMPILER);
    compiler.args(&options).args(["--config", "/dev/null", "--image"]).arg(place.image());
    let output = compiler.output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(compiler.arg("--status").output().expect("it runs").stdout).expect("text");
    let expected = "IMAGE: used\n  table DIR/nowhere, missing\n  table DIR/nor-there, missing\n";
    assert_eq!(said, place.in_place(expected).replace("IMAGE", &place.image().display().to_string()));
}

/// Sources are known by the paths that are opened.
#[test]
fn the_same_file_by_another_path_is_another_file() {
    let place = small();
    place.compile();
    let by_another_path = place.file(".").join("deny");
    let mut tcpdmatch = std::process::Command::new(env!("CARGO_BIN_EXE_tcpdmatch"));
    tcpdmatch.arg("--allow").arg(place.file("allow")).arg("--deny").arg(by_another_path);
    tcpdmatch.args(["--config", "/dev/null", "--image"]).arg(place.image());
    tcpdmatch.args(["--explain", "--stated", "daemon=in.testd", "client=127.0.0.1"]);
    let said = String::from_utf8(tcpdmatch.output().expect("it runs").stdout).expect("text");
    assert!(said.contains("\nrules       by their text: the image was made of other files\n"), "{said}");
    assert!(said.contains("\ndenied "), "{said}");
}
