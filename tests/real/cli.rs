//! Do the tools print what the original prints, call by call?
//!
//! `tests/data/cli.jsonl` holds the recorded calls: files, arguments, `/etc/hosts`, and what came out
//! where diagnostics go where the manual of the original says (`*_as_designed`). Where ours differs on
//! purpose, `tests/mended-cli.tsv` has a line `id<TAB>reason<TAB>our own stdout, stderr, exit as JSON`,
//! only those that differ; a difference that is listed but no longer there fails. `library::tools` makes
//! the same calls of other programs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::lab::{install, launch, set_mode, write};

const RECORDED: &str = include_str!("../data/cli.jsonl");
/// Like the directory of the recording, it and what is above it are writable by root alone.
const DIRECTORY: &str = "/run/tw-cli/d";

/// How many calls of each tool there are at least.
pub const TOOLS: [(&str, usize); 2] = [("tcpdmatch", 91), ("tcpdchk", 133)];

/// Where diagnostics go: as the original's manual says, or as it was installed.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    AsDesigned,
    AsInstalled,
}

#[test]
fn tcpdmatch_as_recorded() {
    ours(TOOLS[0], env!("CARGO_BIN_EXE_tcpdmatch"));
}

#[test]
fn tcpdchk_as_recorded() {
    ours(TOOLS[1], env!("CARGO_BIN_EXE_tcpdchk"));
}

fn ours((tool, least): (&str, usize), program: &str) {
    let bytes = fs::read(program).unwrap();
    let _lab = open_lab!();
    install(&format!("/usr/sbin/{tool}"), &bytes, 0o755);
    let mended = Mended::read("mended-cli.tsv", include_str!("../mended-cli.tsv"));
    expect_as_recorded(tool, least, Form::AsDesigned, &mended);
}

/// Makes all calls of the tool that the lab has in `/usr/sbin`.
pub fn expect_as_recorded(tool: &str, least: usize, form: Form, mended: &Mended) {
    let path = format!("/usr/sbin/{tool}");
    write("/etc/inetd.conf", "# nothing\n");
    // As in the recording, a name may have several lines in /etc/hosts.
    write("/etc/host.conf", "multi on\n");
    let (mut count, mut wrong) = (0, Vec::new());
    for line in RECORDED.lines() {
        let call: Value = serde_json::from_str(line).unwrap();
        if call["tool"] != tool {
            continue;
        }
        let id = call["id"].as_str().unwrap();
        let seen = replay(&path, tool, &call);
        let said = |key: &str| match form {
            Form::AsDesigned => call[format!("{key}_as_designed")].clone(),
            Form::AsInstalled => call[key].clone(),
        };
        let recorded = json!({ "stdout": said("stdout"), "stderr": said("stderr"), "exit": said("exit") });
        let mut expected = recorded.clone();
        if let Some(ours) = mended.answers.get(id) {
            expected.as_object_mut().unwrap().extend(ours.clone());
            if seen == recorded {
                wrong.push(format!("{id}: listed in {}, but agrees with the recording", mended.list));
            }
        }
        for (key, value) in expected.as_object().unwrap() {
            if seen[key] != *value {
                let args = &call["args"];
                wrong.push(format!("{id} {args}: {key}\n  expected {value}\n  seen     {}", seen[key]));
            }
        }
        count += 1;
    }
    assert!(count >= least, "only {count} calls were made");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Makes one call as it was recorded.
fn replay(path: &str, tool: &str, call: &Value) -> Value {
    let placed = |text: &str| text.replace("{{DIR}}", DIRECTORY);
    let _ = fs::remove_dir_all(DIRECTORY);
    fs::create_dir_all(DIRECTORY).unwrap();
    for (name, text) in call["files"].as_object().unwrap() {
        let file = format!("{DIRECTORY}/{name}");
        match text.as_str() {
            Some(text) => write(&file, placed(text)),
            None => fs::create_dir_all(&file).unwrap(),
        }
        if let Some(mode) = call["modes"][name].as_str() {
            set_mode(&file, u32::from_str_radix(mode.trim_start_matches("0o"), 8).unwrap());
        }
    }
    write("/etc/hosts", call["etc_hosts"].as_str().unwrap());
    // The name it was called by was not recorded, but the original repeats it.
    let usage = call["stderr_as_designed"].as_str().unwrap().strip_prefix("usage: ");
    let name = usage.and_then(|usage| usage.split(' ').next()).unwrap_or(tool);
    let args = call["args"].as_array().unwrap().iter().map(|arg| placed(arg.as_str().unwrap()));
    let (exit, stdout, stderr) = launch::run(Command::new(path).arg0(name).args(args).current_dir(DIRECTORY));
    let general = |text: String| text.replace(DIRECTORY, "{{DIR}}");
    json!({ "stdout": general(stdout), "stderr": general(stderr), "exit": exit })
}

/// Answers that differ on purpose, by call.
#[derive(Default)]
pub struct Mended {
    list: &'static str,
    answers: BTreeMap<&'static str, Map<String, Value>>,
}

impl Mended {
    pub fn read(list: &'static str, text: &'static str) -> Mended {
        let entry = |line: &'static str| {
            let mut fields = line.split('\t');
            let (id, reason, ours) = (fields.next()?, fields.next()?, fields.next()?);
            assert!(reason.starts_with('M'), "{list}: {id}: {reason} is no reason");
            Some((id, serde_json::from_str(ours).unwrap_or_else(|error| panic!("{id}: {error}"))))
        };
        let lines =
            text.lines().map(|line| entry(line).unwrap_or_else(|| panic!("{list}: no entry: {line}")));
        Mended { list, answers: lines.collect() }
    }
}
