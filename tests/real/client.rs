//! What does the client see? What a rule says (banners, twist), and what the server says; never
//! a word of the wrapper itself, whatever is wrong with it.

use std::os::fd::OwnedFd;

use crate::lab::{self, Lab, Outcome, SCRATCH, Visit, set_mode};

const BANNERS: &str = "/run/tw-e2e/banners";

#[test]
fn banners_and_variables_reach_client_and_server() {
    let lab = open_lab!();
    lab::write("/etc/hosts", "127.0.0.2 good.example.com\n");
    let banner = "220 %d for %c (%a) [%n]\n221 100%% sure\n";
    lab::write(&format!("{BANNERS}/in.tw-probe"), banner);
    let options = format!("banners {BANNERS}: setenv CLIENT_NAME %n");
    lab.rules(&format!("ALL: good.example.com: {options}\n"), "ALL: ALL\n");
    let outcome = Visit::of(&lab).run();
    let expected = "220 in.tw-probe for good.example.com (127.0.0.2) [good.example.com]\r\n\
        221 100% sure\r\nHELLO FROM DAEMON\n";
    assert_eq!(outcome.received, expected);
    assert!(outcome.seen("env").contains(&"CLIENT_NAME=good.example.com"));

    lab.rules("", &format!("ALL: ALL: banners {BANNERS}\n"));
    let outcome = Visit::of(&lab).run();
    assert!(outcome.received.starts_with("220 in.tw-probe for "), "{}", outcome.received);
    assert!(!outcome.served());
}

#[test]
fn twist_talks_to_the_client() {
    let lab = open_lab!();
    lab.rules("", "ALL: ALL: twist read word; echo \"421 %d: $word, %c\"; exit 9\n");
    let outcome = Visit::of(&lab).run();
    // A colon in a command needs a backslash; this one ends the rule's command early.
    assert!(!outcome.served());
    assert_eq!(outcome.received, "");
    lab.rules("", "ALL: ALL: twist read word; echo \"421 %d\\: $word, %c\"; exit 9\n");
    let outcome = Visit::of(&lab).run();
    assert_eq!(outcome.received, "421 in.tw-probe: ping, 127.0.0.2\n");
    assert_eq!(outcome.exit, 9);
    let log = "twist 127.0.0.2 to read word; echo \"421 in.tw-probe: $word, 127.0.0.2\"; exit 9";
    assert_eq!(outcome.messages(), [log]);
}

/// M2, M22: commands have their descriptors on /dev/null and no other.
#[test]
fn commands_do_not_reach_the_client() {
    let lab = open_lab!();
    let list = format!("ls -l /proc/self/fd > {SCRATCH}/spawned; echo to the client; cat");
    lab.rules(&format!("ALL: ALL: aclexec {list}: spawn {list} >&2\n"), "ALL: ALL\n");
    let outcome = Visit::of(&lab).run();
    assert_eq!(outcome.received, "HELLO FROM DAEMON\n");
    assert_eq!(outcome.seen("read"), ["5 ping"]);
    let text = std::fs::read_to_string(format!("{SCRATCH}/spawned")).unwrap();
    assert!(!text.contains("socket:"), "{text}");
}

fn command_line(lab: &Lab, arguments: &[&str]) -> Outcome {
    let mut words = vec!["tcpd"];
    words.extend(arguments);
    Visit::of(lab).arguments(&words).run()
}

fn expect_silence_and_a_log_line(outcome: &Outcome, what: &str) {
    assert_eq!(outcome.received, "", "{what}");
    assert!(outcome.saw.is_none(), "{what}: the server was started");
    assert!(!outcome.log.is_empty(), "{what}: nothing in the log");
}

#[test]
fn usage_errors_are_logged_and_not_told_to_the_client() {
    let lab = open_lab!();
    lab.rules("", "");
    for arguments in [
        &[][..],
        &["--bogus", "/usr/sbin/in.tw-probe"],
        &["--allow"],
        &["--log", "nowhere", "/usr/sbin/in.tw-probe"],
        &["--"],
        &["--listen", "nowhere", "--", "/usr/sbin/in.tw-probe"],
        &["--max-connections", "many", "--", "/usr/sbin/in.tw-probe"],
    ] {
        let outcome = command_line(&lab, arguments);
        expect_silence_and_a_log_line(&outcome, &format!("{arguments:?}"));
    }
    for arguments in [["--help"], ["--version"]] {
        let outcome = command_line(&lab, &arguments);
        assert_eq!(outcome.received, "", "{arguments:?}");
    }
}

#[test]
fn command_line_options_choose_files_and_name() {
    let lab = open_lab!();
    lab.rules("", "ALL: ALL\n");
    let (allow, deny) = (format!("{SCRATCH}/allow"), format!("{SCRATCH}/deny"));
    lab::write(&allow, "other: 127.0.0.2\n");
    lab::write(&deny, "other: 127.0.0.3\n");
    let server = "/usr/sbin/in.tw-probe";
    let outcome = command_line(&lab, &["--allow", &allow, "--daemon", "other", server, "-x"]);
    assert!(outcome.served(), "{:#?}", outcome.log);
    assert_eq!(outcome.log[0].tag, "other");
    assert!(!command_line(&lab, &["--allow", &allow, server]).served());
    assert!(command_line(&lab, &["--deny", &deny, server]).served());
    let configuration = format!("{SCRATCH}/conf");
    lab::write(&configuration, format!("hosts-deny {deny}\n"));
    assert!(command_line(&lab, &["--config", &configuration, server]).served());
}

#[test]
fn mistakes_in_tcpd_conf_refuse_in_silence() {
    let lab = open_lab!();
    lab.rules("", "");
    for (text, named) in [
        ("paranoid maybe\n", "paranoid"),
        ("# fine\nresolve sometimes\n", "resolve"),
        ("strict 3\n", "strict"),
        ("server-directory relative/path\n", "server-directory"),
        ("strict yes\nbogus-key 1\n", "bogus-key"),
    ] {
        lab::write("/etc/tcpd.conf", text);
        let outcome = Visit::of(&lab).run();
        expect_silence_and_a_log_line(&outcome, text);
        let said = format!("{:?}", outcome.messages());
        assert!(said.contains("tcpd.conf") && said.contains(named), "{text:?}: {said}");
    }
    lab::write("/etc/tcpd.conf", "paranoid no\n");
    for mode in [0o666, 0o664] {
        set_mode("/etc/tcpd.conf", mode);
        let outcome = Visit::of(&lab).run();
        expect_silence_and_a_log_line(&outcome, "a file that others may write");
    }
    set_mode("/etc/tcpd.conf", 0o644);
    assert!(Visit::of(&lab).run().served());
}

#[test]
fn an_unknown_key_in_tcpd_conf_is_a_warning() {
    let lab = open_lab!();
    lab.rules("", "");
    lab::write("/etc/tcpd.conf", "bogus-key 1\n");
    let outcome = Visit::of(&lab).run();
    assert_eq!(outcome.received, "HELLO FROM DAEMON\n");
    let warned = outcome.log.iter().any(|line| line.message.contains("bogus-key"));
    assert!(warned, "{:#?}", outcome.log);
}

#[test]
fn tcpd_conf_moves_tables_and_servers() {
    let lab = open_lab!();
    lab.rules("", "ALL: ALL\n");
    let allow = format!("{SCRATCH}/allow");
    lab::write(&allow, "ALL: ALL\n");
    let text = format!("hosts-allow {allow}\nserver-directory {SCRATCH}/bin\nfacility local1\n");
    lab::write("/etc/tcpd.conf", text);
    lab::install(&format!("{SCRATCH}/bin/probed2"), lab::probe(), 0o755);
    let outcome = Visit::of(&lab).arguments(&["probed2"]).run();
    assert!(outcome.served(), "{:#?}", outcome.log);
    assert_eq!(outcome.seen("exe"), ["/run/tw-e2e/bin/probed2"]);
    assert_eq!(outcome.log[0].priority, (17 << 3) | 6);
}

/// Under inetd descriptor 2 is the client, so `log stderr` must not be believed there.
#[test]
fn log_on_stderr_is_not_written_to_the_client() {
    let lab = open_lab!();
    lab.rules("ALL: 127.0.0.2\n", "ALL: ALL\n");
    let server = "/usr/sbin/in.tw-probe";
    let outcome = command_line(&lab, &["--log", "stderr", server]);
    assert_eq!(outcome.received, "HELLO FROM DAEMON\n");
    assert_eq!(outcome.messages(), ["connect from 127.0.0.2 (127.0.0.2)"]);
    lab::write("/etc/tcpd.conf", "log stderr\n");
    assert_eq!(Visit::of(&lab).from("127.0.0.3").run().received, "");
    std::fs::remove_file("/etc/tcpd.conf").unwrap();

    let path = format!("{SCRATCH}/stderr");
    let stderr: OwnedFd = std::fs::File::create(&path).unwrap().into();
    let words = ["tcpd", "--log", "stderr", server];
    let outcome = Visit::of(&lab).arguments(&words).stderr(stderr).run();
    assert!(outcome.served());
    assert_eq!(outcome.log, []);
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains("connect from 127.0.0.2 (127.0.0.2)"), "{text:?}");
}

/// A stream refusal does not wait, unless tcpd.conf says so.
#[test]
fn the_delay_of_a_refusal_is_a_setting() {
    let lab = open_lab!();
    lab.rules("", "ALL: ALL\n");
    lab::write("/etc/tcpd.conf", "refuse-delay 2\n");
    let outcome = Visit::of(&lab).run();
    assert!(outcome.took >= std::time::Duration::from_secs(2), "{:?}", outcome.took);
    assert_eq!((outcome.received.as_str(), outcome.exit), ("", 0));
}
