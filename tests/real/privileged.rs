//! Can somebody who may start tcpd with more rights than his own choose its files?
//!
//! A set-uid-root copy is started by nobody. `--allow`, `--deny`, `--config`, `--log` and `--image` must be
//! refused, and the client, who may be his accomplice, learns nothing.

use crate::lab::{self, Lab, Outcome, SCRATCH, Visit};

const NOBODY: u32 = 65534;

fn visit(lab: &Lab, arguments: &[&str]) -> Outcome {
    let program = format!("{SCRATCH}/suid/tcpd");
    lab::install(&program, lab::subject(), 0o4755);
    Visit::of(lab).program(&program).running_as(NOBODY, NOBODY).arguments(arguments).run()
}

#[test]
fn a_privileged_start_takes_no_options() {
    let lab = open_lab!();
    lab.rules("", "ALL: ALL\n");
    let open = format!("{SCRATCH}/open");
    lab::write(&open, "ALL: ALL\n");
    let configuration = format!("{SCRATCH}/conf");
    lab::write(&configuration, format!("hosts-allow {open}\n"));
    for options in [
        ["--allow", open.as_str()],
        ["--deny", "/nonexistent"],
        ["--config", configuration.as_str()],
        ["--log", "stderr"],
        ["--log", "journal"],
        ["--log", "json:/run/tw-e2e/log.json"],
        ["--image", open.as_str()],
    ] {
        let arguments = ["tcpd", options[0], options[1], "--", "/usr/sbin/in.tw-probe"];
        let outcome = visit(&lab, &arguments);
        assert!(outcome.saw.is_none(), "{options:?}");
        assert_eq!(outcome.received, "", "{options:?}");
        assert!(!outcome.log.is_empty(), "{options:?}: nothing in the log");
        let line = format!("{:?}", outcome.messages());
        assert!(line.contains(options[0]), "{options:?} is not named: {line}");
    }
}

#[test]
fn a_privileged_start_obeys_the_rules() {
    let lab = open_lab!();
    lab.rules("in.tw-probe: 127.0.0.2\n", "ALL: ALL\n");
    assert!(visit(&lab, &["tcpd", "/usr/sbin/in.tw-probe"]).served());
    assert!(visit(&lab, &["in.tw-probe"]).served());
    lab.rules("", "ALL: ALL\n");
    assert!(!visit(&lab, &["tcpd", "/usr/sbin/in.tw-probe"]).served());
}
