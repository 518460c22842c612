//! What tcpdchk(8) says about broken files, one kind of problem each: `tests/golden-chk/*.in`, our words
//! in the three formats in the `.ref` beside each. `UPDATE_GOLDEN=1` rewrites the refs.
//!
//! An `.in` file is made of sections, each begun by a line `--- NAME [WORD]`: the text of a file. A
//! word is its mode, or `open-ended` (its last newline is left out), or `directory`. `--- arguments`
//! holds further arguments. In texts, `<NUL>` is a NUL byte, `<CR>` a carriage return and `<x*N>` a run of
//! N bytes `x`; `/proc/self/cwd` is the directory of the case, whatever its name. Without an
//! `inetd.conf` of its own a case has an empty one.
#![forbid(unsafe_code)]

#[path = "common/golden.rs"]
mod golden;

use regex::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const FORMATS: [&str; 3] = ["short", "human", "json"];

#[test]
fn golden_files() {
    golden::check_all("golden-chk", run);
}

/// A directory that is gone when the test is over.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(name: &str, input: &str) -> String {
    let scratch = Scratch(std::env::temp_dir().join(format!("tcpdchk-golden-{}-{name}", std::process::id())));
    let dir = &scratch.0;
    fs::create_dir_all(dir).expect("a scratch directory");
    set_mode(dir, 0o755);
    lay_out(dir, "inetd.conf", None, "");
    lay_out(dir, "tcpd.conf", None, "");
    let mut arguments = Vec::new();
    for section in input.split("--- ").skip(1) {
        let (head, text) = section.split_once('\n').unwrap_or((section, ""));
        let mut words = head.split_whitespace();
        match words.next().expect("a section has a name") {
            "arguments" => arguments = text.split_whitespace().collect(),
            file => lay_out(dir, file, words.next(), text),
        }
    }
    // Tests are not about services.
    let services = if arguments.contains(&"--test") { &[][..] } else { &["-i", "inetd.conf"] };
    let mut told = String::new();
    for format in FORMATS {
        let said = Command::new(env!("CARGO_BIN_EXE_tcpdchk"))
            .args(["-d", "--config", "tcpd.conf", "--format", format])
            .args(services)
            .args(&arguments)
            .current_dir(dir)
            .output()
            .expect("tcpdchk runs");
        assert!(said.stderr.is_empty(), "{name}: {}", String::from_utf8_lossy(&said.stderr));
        let text = String::from_utf8_lossy(&said.stdout);
        if format == "human" {
            let wide = text.lines().find(|line| line.chars().count() > 80 && !line.contains('/'));
            assert_eq!(wide, None, "{name}: wider than a terminal");
        }
        told.push_str(&format!("== {format}, exit {}\n{text}", said.status.code().expect("an exit")));
    }
    told
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

fn lay_out(dir: &Path, file: &str, kind: Option<&str>, text: &str) {
    let path = dir.join(file);
    fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
    let run = Regex::new(r"<(.)\*(\d+)>").expect("a regular expression");
    let text = text.replace("<NUL>", "\0").replace("<CR>", "\r");
    let text = run.replace_all(&text, |found: &regex::Captures<'_>| {
        found[1].repeat(found[2].parse().expect("a number"))
    });
    match kind {
        Some("directory") => return fs::create_dir(&path).expect("a directory"),
        Some("open-ended") => fs::write(&path, text.trim_end_matches('\n')).expect("a file"),
        _ => fs::write(&path, text.as_bytes()).expect("a file"),
    }
    let mode = kind.and_then(|mode| u32::from_str_radix(mode, 8).ok()).unwrap_or(0o644);
    set_mode(&path, mode);
}

/// What can be said is what the manual lists, and each of it has a golden file. Two need a name server
/// or a thousand names: they are seen elsewhere.
#[test]
fn every_kind_of_problem_is_in_the_manual_and_has_its_golden_file() {
    let code = Regex::new("\"code\":\"([a-z-]+)\"").expect("a pattern");
    let mut seen = BTreeSet::new();
    for input in golden::inputs("golden-chk") {
        let reference = fs::read_to_string(input.with_extension("ref")).expect("a ref");
        seen.extend(code.captures_iter(&reference).map(|found| found[1].to_owned()));
    }
    seen.extend(["name", "lookups"].map(str::to_owned));
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man/tcpdchk.8")).expect("the page");
    let entry = Regex::new(r"(?m)^\.It Li ([a-z-]+)").expect("a pattern");
    let described: BTreeSet<_> = entry.captures_iter(&page).map(|found| found[1].to_owned()).collect();
    assert_eq!(described, seen);
}

/// The screen of the manual is what its command shows, on the tables of the examples.
#[test]
fn the_manual_shows_what_is_shown() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("man/tcpdchk.8")).expect("UTF-8");
    let page = page.replace(r"\-", "-").replace(r"\e", r"\");
    let (_, session) = page.split_once("$ cat site.test\n").expect("the session");
    let (tests, session) = session.split_once("$ tcpdchk ").expect("the command");
    let (command, screen) = session.split_once('\n').expect("the screen");
    let (screen, _) = screen.split_once(".Ed").expect("its end");
    let scratch = Scratch(std::env::temp_dir().join(format!("tcpdchk-readme-{}", std::process::id())));
    fs::create_dir_all(&scratch.0).expect("a scratch directory");
    for file in ["hosts.allow", "hosts.deny", "hosts.test"] {
        fs::copy(root.join("etc").join(file), scratch.0.join(file)).expect("an example");
    }
    fs::write(scratch.0.join("site.test"), tests).expect("a test file");
    let mut tcpdchk = Command::new(env!("CARGO_BIN_EXE_tcpdchk"));
    let said =
        tcpdchk.current_dir(&scratch.0).args(command.split(' ')).args(["--config", "/dev/null"]).output();
    let said = said.expect("tcpdchk runs");
    assert_eq!((String::from_utf8_lossy(&said.stdout).as_ref(), said.status.code()), (screen, Some(1)));
}
