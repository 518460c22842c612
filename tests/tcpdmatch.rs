//! What does tcpdmatch say about stated facts? No lookup, no privilege, no network.
//!
//! `tests/explain/NAME.txt` and `NAME.json` are its screens and objects for the tables beside them;
//! `UPDATE_GOLDEN=1` rewrites them.
#![forbid(unsafe_code)]

#[path = "common/golden.rs"]
mod golden;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain")
}

/// What this machine has is not asked: neither its tcpd.conf nor its image.
const NOTHING_OF_THE_MACHINE: [&str; 4] = ["--config", "/dev/null", "--image", "/nonexistent/rules.img"];

/// Calls tcpdmatch in the directory of the tables, with no tcpd.conf.
fn call(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpdmatch"));
    command.current_dir(directory()).arg("-d").args(NOTHING_OF_THE_MACHINE).args(arguments);
    command.output().expect("tcpdmatch runs")
}

fn said(output: &Output) -> String {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// One case for each way to end, and what leads there.
const CASES: [(&str, &[&str]); 6] = [
    (
        "granted",
        &[
            "daemon=in.ftpd",
            "client=192.0.2.7",
            "name=host.example.com",
            "user=root",
            "server=198.51.100.1",
            "server-name=srv",
            "server-port=21",
        ],
    ),
    ("denied", &["daemon=in.tftpd", "client=2001:db8::7"]),
    ("delegated", &["daemon=in.telnetd", "client=203.0.113.9", "name=paranoid"]),
    ("aclexec", &["daemon=in.execd", "client=203.0.113.9"]),
    ("wrong-option", &["daemon=in.wrongd", "client=203.0.113.9"]),
    ("no-rule", &["daemon=in.freed", "client=203.0.113.9", "client-port=1023"]),
];

fn with<'a>(before: &[&'a str], facts: &[&'a str]) -> Vec<&'a str> {
    [before, &["--stated"], facts].concat()
}

#[test]
fn golden_explanations() {
    let mut wrong = Vec::new();
    for (name, facts) in CASES {
        let lines = said(&call(&with(&[], facts)));
        let screen = said(&call(&with(&["--explain"], facts)));
        let text = format!("{lines}\n{screen}");
        let object = said(&call(&with(&["--format", "json"], facts)));
        assert_eq!(object.matches('\n').count(), 1, "one object, one line");
        let object: Value = serde_json::from_str(&object).expect("JSON");
        let object = format!("{object:#}\n");
        for line in screen.lines() {
            assert!(line.chars().count() <= 80 && !line.contains('\x1b'), "{name}: {line}");
            assert_eq!(line.trim_end(), line, "{name}");
        }
        for (kind, ours) in [("txt", text), ("json", object)] {
            wrong.extend(golden::difference(&directory().join(format!("{name}.{kind}")), &ours));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All three forms come to one verdict, and an expectation asks for that one.
#[test]
fn expectations() {
    for (name, facts) in CASES {
        let object: Value =
            serde_json::from_str(&said(&call(&with(&["--format", "json"], facts)))).expect("JSON");
        let verdict = object["access"].as_str().expect("a verdict");
        let lines = said(&call(&with(&[], facts)));
        assert!(lines.ends_with(&format!("access:   {verdict}\n")), "{name}: {lines}");
        for expected in ["granted", "denied", "delegated"] {
            for form in [&["--expect", expected][..], &["--explain", "--expect", expected]] {
                let status = call(&with(form, facts)).status.code();
                assert_eq!(status, Some(i32::from(expected != verdict)), "{name} {form:?}");
            }
        }
    }
}

#[test]
fn every_fact_can_be_stated() {
    for (fact, template, shown) in [
        ("daemon=in.x", "%d", "in.x"),
        ("client=192.0.2.7", "%a", "192.0.2.7"),
        ("client-port=1023", "%r", "1023"),
        ("name=h.example.com", "%n", "h.example.com"),
        ("user=root", "%u", "root"),
        ("server=2001:db8::1", "%A", "2001:db8::1"),
        ("server-name=srv", "%N", "srv"),
        ("server-port=21", "%R", "21"),
    ] {
        let rules = std::env::temp_dir().join(format!("tcpdmatch-{}-{}", std::process::id(), &template[1..]));
        std::fs::write(&rules, format!("ALL: ALL: spawn echo {template}\n")).expect("a table");
        let path = rules.to_str().expect("UTF-8");
        let output = call(&["--allow", path, "--deny", "/dev/null", "--stated", fact]);
        std::fs::remove_file(&rules).expect("the table");
        assert!(said(&output).contains(&format!("option:   spawn echo {shown}\n")), "{fact}: {output:?}");
    }
}

#[test]
fn settings_are_obeyed() {
    let conf = std::env::temp_dir().join(format!("tcpdmatch-{}.conf", std::process::id()));
    let path = conf.to_str().expect("UTF-8").to_owned();
    let facts = ["--stated", "daemon=in.freed", "client=192.0.2.7", "name=paranoid"];
    for (text, verdict, words) in [
        ("paranoid yes\n", "denied", "refused before any rule is read"),
        ("resolve never\n", "granted", "client:   address  192.0.2.7"),
        ("strict yes\n", "denied", "bad umask value"),
        ("paranoid maybe\n", "denied", "every connection is refused"),
    ] {
        std::fs::write(&conf, text).expect("settings");
        let output = Command::new(env!("CARGO_BIN_EXE_tcpdmatch"))
            .current_dir(directory())
            .args(["-d", "--config", &path, "--image", "none"])
            .args(facts)
            .output()
            .expect("tcpdmatch runs");
        let lines = said(&output);
        assert!(lines.contains(words) && lines.ends_with(&format!("access:   {verdict}\n")), "{text}{lines}");
    }
    std::fs::remove_file(&conf).expect("settings");
}

/// Nothing of what the rules ask for is done: not even where it could be.
#[test]
fn nothing_is_done() {
    let (rules, trace) = (std::env::temp_dir(), std::env::temp_dir());
    let rules = rules.join(format!("tcpdmatch-{}-deeds", std::process::id()));
    let trace = trace.join(format!("tcpdmatch-{}-trace", std::process::id()));
    let touch = format!("touch {}", trace.display());
    let rule = format!("ALL: ALL: spawn {touch}: aclexec {touch}: umask 077: setenv A b: twist {touch}\n");
    std::fs::write(&rules, rule).expect("a table");
    let path = rules.to_str().expect("UTF-8");
    for form in [&[][..], &["--explain"], &["--format", "json"]] {
        let output = call(&[form, &["--allow", path, "--stated", "client=192.0.2.7"]].concat());
        assert!(said(&output).contains("delegated"));
        assert!(!trace.exists());
    }
    std::fs::remove_file(&rules).expect("the table");
}

/// The screen of the manual is what its command shows.
#[test]
fn the_manual_shows_what_is_shown() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("man/tcpdmatch.8")).expect("UTF-8");
    let page = page.replace(r"\-", "-").replace(r"\e", r"\");
    let (_, session) = page.split_once("$ cd tests/replay; tcpdmatch ").expect("the session");
    let (command, screen) = session.split_once('\n').expect("the command");
    let (screen, _) = screen.split_once(".Ed").expect("its end");
    let mut tcpdmatch = Command::new(env!("CARGO_BIN_EXE_tcpdmatch"));
    tcpdmatch.current_dir(root.join("tests/replay")).args(command.split(' ')).args(["--config", "/dev/null"]);
    tcpdmatch.env_remove("SSH_CONNECTION");
    assert_eq!(said(&tcpdmatch.output().expect("tcpdmatch runs")), screen);
}
