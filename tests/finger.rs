//! Does our filter show what the original's shows? Each recorded run of the original had a shell script
//! in the place of finger; here the scripts run again, and what they say goes through the filter.
//!
//! The runs that are about the process (identity, arguments, exit status, time) need root and a finger
//! of their own: `tests/real/tools.rs`.
#![forbid(unsafe_code)]

use serde_json::Value;
use std::process::{Command, Stdio};
use wrap::finger::Filter;

/// Recorded runs whose script says something about the process that runs it.
const ABOUT_THE_PROCESS: [&str; 6] = [
    "argv, ids, env, fds",
    "no arguments",
    "shell characters in args",
    "as a non-root user",
    "missing finger",
    "timeout",
];

#[test]
fn the_recorded_output() {
    let recorded: Value = serde_json::from_str(include_str!("data/safe_finger.json")).expect("JSON");
    let mut compared = 0;
    for run in recorded.as_array().expect("a list") {
        let name = run["name"].as_str().expect("a name");
        if ABOUT_THE_PROCESS.contains(&name) {
            continue;
        }
        let script = run["finger_script"].as_str().expect("a script");
        let mut shell = Command::new("/bin/sh");
        let said = shell.args(["-c", script]).stdin(Stdio::null()).stderr(Stdio::null()).output();
        let shown = Filter::default().pass(&said.expect("a shell").stdout);
        let shown = String::from_utf8(shown).unwrap_or_else(|_| panic!("{name}: not ASCII"));
        let text = |key: &str| run[key].as_str().unwrap_or_default();
        assert_eq!(shown.len() as u64, run["stdout_len"].as_u64().expect("a length"), "{name}");
        if run["stdout"].is_string() {
            assert_eq!(shown, text("stdout"), "{name}");
        }
        assert!(shown.starts_with(text("stdout_head")), "{name}");
        assert!(shown.ends_with(text("stdout_tail")), "{name}");
        compared += 1;
    }
    assert!(compared >= 30, "{compared} runs");
}
