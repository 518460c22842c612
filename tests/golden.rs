//! What we mend on purpose, pinned: tables and requests in `tests/golden/*.in`, our verdicts, lines
//! and deeds in the `.ref` beside each. `UPDATE_GOLDEN=1` rewrites the refs.
//!
//! An `.in` file is made of sections, each begun by a line `--- NAME [WORD ...]`:
//!
//! * `--- hosts.allow`, `--- hosts.deny`, `--- FILE`: the text of a file. With `open-ended` its last
//!   newline is left out; with `directory`, `fifo`, `loop` it is that instead of a file, with
//!   `null` a link to the null device.
//! * `--- strict`: tables are read to their end, and an error in them refuses.
//! * `--- requests`: one to a line: `DAEMON ADDRESS [NAME [USER]]`, `-` standing for unknown.
//!
//! In texts, `<DIR>` is the scratch directory, `<NUL>` a NUL byte and `<x*N>` a run of N bytes `x`.
#![forbid(unsafe_code)]

#[path = "common/mod.rs"]
mod common;
#[path = "common/golden.rs"]
mod golden;

use common::{Scripted, endpoint, stated_user};
use regex::Regex;
use std::io;
use std::path::{Path, PathBuf};
use wrap::actions::{Banner, Hands, settle};
use wrap::error::{Error, OptionFlaw};
use wrap::facts::{DaemonName, Identity, Request, Transport, stated_name};
use wrap::logline::Entry;
use wrap::rules::options::Priority;
use wrap::sys::process::Ended;
use wrap::tables::TextTable;
use wrap::verdict::Tables;

#[test]
fn golden_files() {
    golden::check_all("golden", run);
}

/// A directory that is gone when the test is over.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Lays out the sections of an input, makes its requests, and tells what came of them.
fn run(name: &str, input: &str) -> String {
    let scratch = Scratch(std::env::temp_dir().join(format!("tcpd-golden-{}-{name}", std::process::id())));
    let dir = &scratch.0;
    std::fs::create_dir_all(dir).expect("a scratch directory");
    let (mut strict, mut requests) = (false, String::new());
    for section in input.split("--- ").skip(1) {
        let (head, text) = section.split_once('\n').unwrap_or((section, ""));
        let mut words = head.split_whitespace();
        match words.next().expect("a section has a name") {
            "strict" => strict = true,
            "requests" => requests = text.to_owned(),
            file => lay_out(dir, file, words.next(), text).expect("a file"),
        }
    }
    let mut told = String::new();
    for line in requests.lines().filter(|line| !line.is_empty()) {
        told.push_str(&format!("{line}\n"));
        for event in ask(dir, strict, line) {
            told.push_str(&format!(
                "    {}\n",
                event.replace(&format!("{}/hosts.", dir.display()), "hosts.")
            ));
        }
    }
    told.replace(&*dir.to_string_lossy(), "<DIR>")
}

fn lay_out(dir: &Path, file: &str, kind: Option<&str>, text: &str) -> io::Result<()> {
    let path = dir.join(file);
    std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
    let run = Regex::new(r"<(.)\*(\d+)>").expect("a regular expression");
    let text = text.replace("<DIR>", &dir.to_string_lossy()).replace("<NUL>", "\0");
    let text = run.replace_all(&text, |found: &regex::Captures<'_>| {
        found[1].repeat(found[2].parse().expect("a number"))
    });
    match kind {
        None => std::fs::write(&path, text.as_bytes()),
        Some("open-ended") => std::fs::write(&path, text.trim_end_matches('\n')),
        Some("directory") => std::fs::create_dir(&path),
        Some("fifo") => Ok(nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU)?),
        Some("loop") => std::os::unix::fs::symlink(file, &path),
        Some("null") => std::os::unix::fs::symlink("/dev/null", &path),
        Some(other) => panic!("no such kind of file: {other}"),
    }
}

fn ask(dir: &Path, strict: bool, line: &str) -> Vec<String> {
    let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
    let word = |at: usize| words.get(at).copied().filter(|word| *word != b"-");
    let asker = Scripted::default();
    let client = endpoint(word(1), Some(4711)).named(stated_name(word(2)));
    let server = endpoint(Some(b"192.0.2.1"), Some(21)).named(stated_name(Some(b"server.example.com")));
    let daemon = DaemonName::stated(word(0).unwrap_or(b"unknown"));
    let request =
        Request::new(daemon, 99, Transport::Stream, (client, server), &asker).by_user(stated_user(word(3)));
    let (mut allow, mut deny) =
        (TextTable::new(&dir.join("hosts.allow")), TextTable::new(&dir.join("hosts.deny")));
    let mut hands = Telling(Vec::new());
    let outcome = settle(&mut Tables::new(&mut allow, &mut deny, strict), &request, &mut hands);
    hands.0.insert(0, format!("{outcome:?}"));
    hands.0
}

/// Hands that tell and do nothing. A test is true if its command is `true`.
struct Telling(Vec<String>);

impl Telling {
    fn tell(&mut self, kind: &str, what: &[u8]) {
        if what.len() > 500 {
            return self.0.push(format!("{kind} ({} bytes)", what.len()));
        }
        let what: Vec<String> =
            what.iter().map(|&byte| std::ascii::escape_default(byte).to_string()).collect();
        self.0.push(format!("{kind} {}", what.concat().replace("\\\"", "\"").replace("\\'", "'")));
    }
}

impl Hands for Telling {
    fn log(&mut self, entry: Entry) {
        self.tell(&format!("{:?}:", entry.level), &entry.text);
    }
    fn severity(&mut self, priority: Priority) {
        self.0.push(format!("severity {:?}.{}", priority.facility, priority.level));
    }
    fn spawn(&mut self, command: &[u8]) -> io::Result<Ended> {
        self.tell("spawn", command);
        Ok(Ended::Exit(0))
    }
    fn aclexec(&mut self, command: &[u8]) -> io::Result<Ended> {
        self.tell("aclexec", command);
        match command {
            b"true" => Ok(Ended::Exit(0)),
            b"false" => Ok(Ended::Exit(1)),
            b"missing" => Ok(Ended::Exit(127)),
            b"killed" => Ok(Ended::Signal { pid: 4242, signal: 9 }),
            _ => Err(io::Error::from_raw_os_error(11)),
        }
    }
    fn may_twist(&self) -> Result<(), OptionFlaw> {
        Ok(())
    }
    fn twist(&mut self, command: &[u8]) -> Result<(), Error> {
        self.tell("twist", command);
        Ok(())
    }
    fn set_variable(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        self.tell("setenv", &[name, b"=", value].concat());
        Ok(())
    }
    fn set_umask(&mut self, mask: u32) {
        self.0.push(format!("umask {mask:03o}"));
    }
    fn nice(&mut self, increment: i32) -> io::Result<()> {
        self.0.push(format!("nice {increment}"));
        Ok(())
    }
    fn linger(&mut self, seconds: i32) -> io::Result<()> {
        self.0.push(format!("linger {seconds}"));
        Ok(())
    }
    fn keepalive(&mut self) -> io::Result<()> {
        self.0.push("keepalive".to_owned());
        Ok(())
    }
    fn read_banner(&mut self, directory: &Path, daemon: &[u8]) -> Banner {
        std::fs::read(directory.join(&*String::from_utf8_lossy(daemon))).map_or(Banner::Absent, Banner::Text)
    }
    fn send(&mut self, text: &[u8]) {
        self.tell("send", text);
    }
    fn assume_later(&mut self, identity: &Identity) {
        self.tell("become", &identity.user);
    }
    fn forget_identity(&mut self) {}
}
