//! Does `user` and `group` really change who the server is (M1)?
//!
//! The original checked that the names exist and then let the server keep root. Ours changes
//! groups, gid and uid for good, and refuses when it cannot.

use crate::lab::{Lab, Outcome, SCRATCH, Visit};

const NOBODY: u32 = 65534;

fn visit(lab: &Lab, options: &str) -> Outcome {
    lab.rules(&format!("ALL: ALL: {options}\n"), "ALL: ALL\n");
    Visit::of(lab).run()
}

fn expect_nobody(outcome: &Outcome) {
    assert!(outcome.served(), "{:#?}", outcome.log);
    let ids = outcome.seen("ids")[0];
    assert!(ids.starts_with("uid=65534 euid=65534 gid=65534 egid=65534 "), "{ids}");
    assert_eq!(outcome.seen("saved"), ["65534"]);
    assert_eq!(outcome.seen("root-again"), ["no"]);
    for group in outcome.seen("groups")[0].split_whitespace() {
        assert_eq!(group, "65534");
    }
}

#[test]
fn user_changes_the_identity() {
    let lab = open_lab!();
    expect_nobody(&visit(&lab, "user nobody"));
    expect_nobody(&visit(&lab, "user nobody.nogroup"));
    expect_nobody(&visit(&lab, "user = nobody"));
}

/// Supplementary groups of the new user are set, those of the caller are gone.
#[test]
fn user_brings_the_groups_of_that_user() {
    let lab = open_lab!();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let group = std::fs::read_to_string("/etc/group").unwrap();
    let add = |path: &str, text: String| crate::lab::write(path, text);
    add("/etc/passwd", passwd + "visitor:x:4321:4322::/:/bin/sh\n");
    add("/etc/group", group + "visitor:x:4322:\nclub:x:4323:visitor\nother:x:4324:root\n");
    let outcome = visit(&lab, "user visitor");
    assert!(outcome.served(), "{:#?}", outcome.log);
    assert!(outcome.seen("ids")[0].starts_with("uid=4321 euid=4321 gid=4322 egid=4322 "));
    let mut groups: Vec<&str> = outcome.seen("groups")[0].split_whitespace().collect();
    groups.sort();
    assert_eq!(groups, ["4322", "4323"]);
    assert_eq!(outcome.seen("root-again"), ["no"]);
    let outcome = visit(&lab, "user visitor.club");
    assert!(outcome.seen("ids")[0].starts_with("uid=4321 euid=4321 gid=4323 egid=4323 "));
}

#[test]
fn group_changes_the_group_only() {
    let lab = open_lab!();
    let outcome = visit(&lab, "group nogroup");
    assert!(outcome.served(), "{:#?}", outcome.log);
    let ids = outcome.seen("ids")[0];
    assert!(ids.starts_with("uid=0 euid=0 gid=65534 egid=65534 "), "{ids}");
}

#[test]
fn an_unknown_name_refuses() {
    let lab = open_lab!();
    for (options, message) in [
        ("user nosuch", "error: /etc/hosts.allow, line 1: unknown user: \"nosuch\""),
        ("user nobody.nosuch", "error: /etc/hosts.allow, line 1: unknown group: \"nosuch\""),
        ("group nosuch", "error: /etc/hosts.allow, line 1: unknown group: \"nosuch\""),
    ] {
        let outcome = visit(&lab, options);
        let refused = "refused connect from 127.0.0.2 (127.0.0.2)";
        assert_eq!(outcome.messages(), [message, refused]);
        assert!(!outcome.served());
    }
}

#[test]
fn without_privilege_only_the_own_identity_can_be_had() {
    let lab = open_lab!();
    lab.rules("ALL: ALL: user nobody\n", "ALL: ALL\n");
    expect_nobody(&Visit::of(&lab).running_as(NOBODY, NOBODY).run());
    for options in ["user daemon", "user root", "group daemon", "user nobody.daemon"] {
        lab.rules(&format!("ALL: ALL: {options}\n"), "ALL: ALL\n");
        let outcome = Visit::of(&lab).running_as(NOBODY, NOBODY).run();
        assert!(!outcome.served(), "{options}");
        assert_eq!(outcome.received, "", "{options}");
        let last = outcome.log.last().unwrap();
        assert_eq!(last.message, "refused connect from 127.0.0.2 (127.0.0.2)", "{options}");
        assert!(outcome.log.len() >= 2, "{options}: no reason in the log");
    }
}

#[test]
fn commands_before_and_after_user() {
    let lab = open_lab!();
    let (first, second) = (format!("{SCRATCH}/first"), format!("{SCRATCH}/second"));
    let options = format!(
        "spawn id -u > {first}: user nobody: spawn (id -u; id -G) > {second}: aclexec [ $(id -u) = {NOBODY} ]"
    );
    expect_nobody(&visit(&lab, &options));
    assert_eq!(std::fs::read_to_string(first).unwrap(), "0\n");
    assert_eq!(std::fs::read_to_string(second).unwrap(), "65534\n65534\n");
}

#[test]
fn twist_after_user() {
    let lab = open_lab!();
    let outcome = visit(&lab, "user nobody: twist id -u; id -g; id -G");
    assert_eq!(outcome.received, "65534\n65534\n65534\n");
}
