//! Do the tools print what the original prints, call by call?
//!
//! `tests/data/cli.jsonl` holds the recorded calls: files, arguments, `/etc/hosts`, and what came out
//! where diagnostics go where the manual of the original says (`*_as_designed`). Where ours differs on
//! purpose, `tests/mended-cli.tsv` has a line `id<TAB>reason<TAB>our own stdout, stderr, exit as JSON`,
//! only those that differ; a difference that is listed but no longer there fails.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::lab::{install, launch, set_mode, write};

const RECORDED: &str = include_str!("../data/cli.jsonl");
const MENDED: &str = include_str!("../mended-cli.tsv");
/// Like the directory of the recording, it and what is above it are writable by root alone.
const DIRECTORY: &str = "/run/tw-cli/d";

#[test]
fn tcpdmatch_as_recorded() {
    as_recorded("tcpdmatch", env!("CARGO_BIN_EXE_tcpdmatch"), 91);
}

#[test]
fn tcpdchk_as_recorded() {
    as_recorded("tcpdchk", env!("CARGO_BIN_EXE_tcpdchk"), 133);
}

fn as_recorded(tool: &str, program: &str, least: usize) {
    let bytes = fs::read(program).unwrap();
    let _lab = open_lab!();
    let path = format!("/usr/sbin/{tool}");
    install(&path, &bytes, 0o755);
    write("/etc/inetd.conf", "# nothing\n");
    // As in the recording, a name may have several lines in /etc/hosts.
    write("/etc/host.conf", "multi on\n");
    let mended = mended();
    let (mut count, mut wrong) = (0, Vec::new());
    for line in RECORDED.lines() {
        let call: Value = serde_json::from_str(line).unwrap();
        if call["tool"] != tool {
            continue;
        }
        let id = call["id"].as_str().unwrap();
        let seen = replay(&path, tool, &call);
        let recorded = json!({
            "stdout": call["stdout_as_designed"],
            "stderr": call["stderr_as_designed"],
            "exit": call["exit_as_designed"],
        });
        let mut expected = recorded.clone();
        if let Some(ours) = mended.get(id) {
            expected.as_object_mut().unwrap().extend(ours.clone());
            if seen == recorded {
                wrong.push(format!("{id}: listed in mended-cli.tsv, but agrees with the recording"));
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

/// Our own answers, by call.
fn mended() -> BTreeMap<&'static str, Map<String, Value>> {
    let entry = |line: &'static str| {
        let mut fields = line.split('\t');
        let (id, reason, ours) = (fields.next()?, fields.next()?, fields.next()?);
        assert!(reason.starts_with('M'), "{id}: {reason} is no reason");
        Some((id, serde_json::from_str(ours).unwrap_or_else(|error| panic!("{id}: {error}"))))
    };
    MENDED.lines().map(|line| entry(line).unwrap_or_else(|| panic!("no entry: {line}"))).collect()
}
