//! What has gone wrong in this family of programs once: does it go wrong here?
//!
//! [`EVENTS`] is the whole list: each event with the tests that would see it again. One of them at least has
//! the event in its name, and every test of this file and of `tests/real/history.rs`, where root is needed,
//! belongs to an event. What an event was stands above its test.
#![forbid(unsafe_code)]

#[path = "common/mod.rs"]
mod common;
#[path = "common/elf.rs"]
mod elf;
#[path = "common/named.rs"]
mod named;
#[path = "common/readers.rs"]
mod readers;
#[path = "common/running.rs"]
mod running;

use common::{Scripted, TextInMemory, endpoint};
use readers::{CROWDSEC, FAIL2BAN, all_blamed, blamed};
use running::{PATIENCE, Scratch, TCPD, connect_from, log_of, rules, run};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use wrap::compile::{Observer, write};
use wrap::error::{NameDoubt, Problem, Weight, What};
use wrap::facts::{DaemonName, Endpoint, Request, Transport, stated_name};
use wrap::finger::{self, Filter};
use wrap::logline::{self, Caller, Line};
use wrap::rules::options::OPTIONS;
use wrap::settings::KEYS;
use wrap::tables::image::{Image, RuleTable};
use wrap::verdict::{Access, Decision, Tables, decide};

/// An event, the words by which a test is named after it, and its tests (`place: name`, see `common/named.rs`).
struct Event {
    name: &'static str,
    word: &'static str,
    tests: &'static [&'static str],
}

const fn event(name: &'static str, word: &'static str, tests: &'static [&'static str]) -> Event {
    Event { name, word, tests }
}

#[rustfmt::skip]
const EVENTS: &[Event] = &[
    event("CERT CA-1999-01", "cert_ca_1999_01", &[
        "history: cert_ca_1999_01_nothing_depends_on_the_source_port",
        "real/history: cert_ca_1999_01_port_421_is_a_port_like_any_other",
    ]),
    event("CVE-2007-4601", "cve_2007_4601", &[
        "history: cve_2007_4601_names_match_when_the_server_end_is_unknown",
        "history: cve_2007_4601_what_is_no_connection_is_not_served",
        "libwrap: cve_2007_4601_cve_2008_6123_cve_2012_3417_tcpd_diag_in_programs_in_c",
    ]),
    event("CVE-2012-3417", "cve_2012_3417", &[
        "history: cve_2012_3417_a_client_without_a_name_is_let_in_by_none",
        "libwrap: cve_2007_4601_cve_2008_6123_cve_2012_3417_tcpd_diag_in_programs_in_c",
    ]),
    event("CVE-2008-4552", "cve_2008_4552", &["history: cve_2008_4552_netgroups_are_asked_for_the_name"]),
    event("CVE-2008-1376", "cve_2008_1376", &["history: cve_2008_1376_cve_2009_0180_rules_that_nobody_asks_are_an_error"]),
    event("CVE-2009-0180", "cve_2009_0180", &["history: cve_2008_1376_cve_2009_0180_rules_that_nobody_asks_are_an_error"]),
    event("CVE-2008-6123", "cve_2008_6123", &[
        "history: cve_2008_6123_client_and_server_are_not_taken_for_each_other",
        "libwrap: cve_2007_4601_cve_2008_6123_cve_2012_3417_tcpd_diag_in_programs_in_c",
    ]),
    event("Debian #596261", "debian_596261", &[
        "history: debian_596261_rules_of_every_length_are_read_or_refuse",
        "wrapper: large_and_strange_tables",
    ]),
    event("Debian #354855, #268467", "debian_354855_268467", &[
        "history: debian_354855_268467_signals_and_limits_are_what_they_were",
        "real/inheritance: nothing_but_the_umask_changes",
        "real/inheritance: nothing_is_left_of_lookups_and_commands",
    ]),
    event("sig_fix, 2003", "sig_fix_2003", &[
        "history: sig_fix_2003_a_table_that_cannot_be_read_is_not_empty",
        "real/oddities: tables_that_the_caller_may_not_read",
    ]),
    event("initgroups", "initgroups", &[
        "real/history: initgroups_user_and_group_act",
        "real/identity: user_brings_the_groups_of_that_user",
    ]),
    event("hardening and the checker's fakelog", "hardening_versus_fakelog", &[
        "history: hardening_versus_fakelog_the_checker_speaks",
        "golden_chk: golden_files",
    ]),
    event("% expansion, BUGTRAQ and CHANGES 4.3", "bugtraq_percent_expansion", &[
        "real/history: bugtraq_percent_expansion_no_name_and_no_user_reaches_the_shell",
        "properties: nothing_foreign_gets_through",
    ]),
    event("tcpd_diag's format string", "tcpd_diag", &[
        "history: tcpd_diag_a_percent_sign_in_rules_and_paths_is_one",
        "libwrap: cve_2007_4601_cve_2008_6123_cve_2012_3417_tcpd_diag_in_programs_in_c",
    ]),
    event("CVE-2001-0609", "cve_2001_0609", &["real/history: cve_2001_0609_a_format_in_an_ident_reply_is_text"]),
    event("CVE-2013-1049", "cve_2013_1049", &["real/history: cve_2013_1049_cve_2001_0763_long_ident_replies_are_cut"]),
    event("CVE-2001-0763", "cve_2001_0763", &[
        "real/history: cve_2013_1049_cve_2001_0763_long_ident_replies_are_cut",
        "real/ident: an_ident_server_with_a_line_of_a_megabyte",
    ]),
    event("CVE-2001-0825", "cve_2001_0825", &["real/history: cve_2001_0825_ident_replies_of_no_length_name_nobody"]),
    event("xinetd 2.1.6", "xinetd_2_1_6", &[
        "real/history: xinetd_2_1_6_a_reply_without_its_end_ends",
        "real/history: xinetd_2_1_6_a_host_that_swallows_the_question_costs_no_more_than_said",
        "real/ident: an_ident_server_that_drips",
        "real/ident: an_ident_server_that_resets",
        "real/ident: ident_replies_about_other_connections",
    ]),
    event("CVE-2000-0536", "cve_2000_0536", &[
        "real/history: cve_2000_0536_a_client_without_a_ptr_record_is_restricted",
    ]),
    event("CVE-2012-0862", "cve_2012_0862", &["real/history: cve_2012_0862_cve_2013_4342_tcpmux_obeys_the_rules_and_drops"]),
    event("CVE-2013-4342", "cve_2013_4342", &["real/history: cve_2012_0862_cve_2013_4342_tcpmux_obeys_the_rules_and_drops"]),
    event("CVE-2006-6301", "cve_2006_6301", &["history: cve_2006_6301_a_user_who_is_called_like_a_line"]),
    event("CVE-2007-4321", "cve_2007_4321", &["history: cve_2007_4321_a_name_with_an_address_in_it"]),
    event("CVE-2007-5715", "cve_2007_5715", &["history: cve_2007_5715_a_user_with_an_address_at_the_end"]),
    event("CVE-2013-6890", "cve_2013_6890", &["history: cve_2013_6890_a_user_from_somewhere_else"]),
    event("CVE-2013-2178", "cve_2013_2178", &["history: cve_2013_2178_text_in_front_of_the_address"]),
    event("CVE-2013-7176", "cve_2013_7176", &["history: cve_2013_7176_a_bracket_that_closes_too_early"]),
    event("CVE-2026-109786", "cve_2026_109786", &[
        "history: cve_2026_109786_a_second_line",
        "filters: nobody_puts_the_blame_on_another",
        "events: nobody_forges_an_event",
    ]),
    event("CVE-2021-32749", "cve_2021_32749", &[
        "history: cve_2021_32749_no_line_for_a_mail_program_begins_with_a_tilde",
        "real/trap: the_trap_of_the_manual_delivers_a_mail",
    ]),
    event("safe_finger, CHANGES 6.0", "safe_finger_changes_6_0", &[
        "history: safe_finger_changes_6_0_a_flood_is_cut_to_size",
        "real/tools: a_server_that_drips_has_a_minute_and_speaks_with_nobody",
        "real/tools: nobody_is_nobody",
        "real/tools: who_cannot_become_nobody_asks_nothing",
    ]),
    event("reverse probes", "reverse_probe", &["real/history: reverse_probes_nobody_is_contacted_unless_a_rule_asks"]),
    event("RESET, a race about PARANOID", "reset_paranoid_race", &[
        "real/history: reset_paranoid_race_one_lookup_is_checked_logged_and_expanded",
    ]),
    event("sshd waits for a name server", "sshd_stall", &[
        "real/library/secure_shell: sshd_stall_a_silent_name_server_gives_the_places_back",
        "real/library/lookups: a_silent_server_is_waited_for_as_long_as_the_budget_lasts",
    ]),
    event("SMTP smuggling, 2023", "smtp_smuggling", &["history: smtp_smuggling_waits_for_a_guard_of_lines"]),
];

#[test]
fn every_event_has_its_tests() {
    let mut wrong: Vec<String> = Vec::new();
    for Event { name, word, tests } in EVENTS {
        wrong.extend(tests.iter().filter_map(|test| named::complaint(test)));
        if !tests.iter().any(|test| named::parts(test).is_some_and(|(_, test)| test.contains(word))) {
            wrong.push(format!("{name}: no test has {word} in its name"));
        }
    }
    let listed: BTreeSet<&str> = EVENTS.iter().flat_map(|event| event.tests.iter().copied()).collect();
    for place in ["history", "real/history"] {
        let tests = named::tests_in(place);
        assert!(tests.len() > 10, "{place}: {tests:?}");
        for test in tests.iter().filter(|test| *test != "every_event_has_its_tests") {
            if !listed.contains(format!("{place}: {test}").as_str()) {
                wrong.push(format!("{place}: {test} belongs to no event"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// --------------------------------------------------------------------------------------- what they need

/// A visit from 127.0.0.2 to 127.0.0.1: what the client got, and what was logged.
fn visit(options: &[OsString], server: &[&str]) -> (String, String) {
    let door = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let mut client = connect_from([127, 0, 0, 2], door.local_addr().expect("bound"));
    let (connection, _) = door.accept().expect("accepts");
    let output = run(connection.into(), options, server);
    let mut got = Vec::new();
    let _ = client.read_to_end(&mut got);
    (String::from_utf8_lossy(&got).into_owned(), log_of(&output))
}

/// Whether these rules serve that visit.
fn is_served(allow: &str, deny: &str) -> bool {
    let scratch = Scratch::new();
    let (got, log) = visit(&rules(&scratch, allow, deny), &["/bin/echo", "served"]);
    let is_served = got == "served\n";
    assert!(is_served || got.is_empty(), "{got}");
    let verdict = if is_served { "connect from " } else { "refused connect from " };
    assert!(log.lines().last().is_some_and(|line| line.starts_with(verdict)), "{log}");
    is_served
}

fn decided_by(allow: &str, deny: &str, ends: (Endpoint, Endpoint), asker: &Scripted) -> Decision {
    let mut allow = TextInMemory::new("hosts.allow", allow.as_bytes());
    let mut deny = TextInMemory::new("hosts.deny", deny.as_bytes());
    let request = Request::new(DaemonName::stated(b"in.testd"), 1, Transport::Stream, ends, asker);
    decide(&mut Tables::new(&mut allow, &mut deny, false), &request)
}

fn access(allow: &str, deny: &str, ends: (Endpoint, Endpoint), asker: &Scripted) -> Access {
    decided_by(allow, deny, ends, asker).access
}

fn at(address: &str) -> Endpoint {
    endpoint(Some(address.as_bytes()), Some(4711))
}

struct Quiet;

impl Observer for Quiet {
    fn progress(&mut self, _: &Path, _: u64) {}
    fn remark(&mut self, _: String) {}
}

// ------------------------------------------------------------------------------------------- the verdict

/// The copy of TCP Wrapper 7.6 that was trojaned in January 1999 gave a root shell to whoever called from
/// port 421.
#[test]
fn cert_ca_1999_01_nothing_depends_on_the_source_port() {
    let (allow, deny) = ("in.testd: 192.0.2.0/255.255.255.0 EXCEPT .example.com\n421: ALL\n", "ALL: ALL\n");
    let scratch = Scratch::new();
    let files = (scratch.file("allow", allow), scratch.file("deny", deny));
    let mut bytes = Vec::new();
    let made = write([&files.0, &files.1], Duration::ZERO, &mut bytes, &mut Quiet).expect("compiles");
    assert!(made.is_some());
    let path = scratch.file("image", bytes);
    let image = Image::from_file(&path, fs::File::open(&path).expect("opens")).expect("an image");
    let asker = Scripted { client: Some(b"host.example.org".to_vec()), ..Scripted::default() };
    for client in ["192.0.2.7", "198.51.100.7"] {
        let ends = |port| (endpoint(Some(client.as_bytes()), port), endpoint(Some(b"192.0.2.1"), Some(79)));
        let by_image = |port| {
            let daemon = DaemonName::stated(b"in.testd");
            let request = Request::new(daemon, 1, Transport::Stream, ends(port), &asker);
            let (mut allow, mut deny) =
                (RuleTable::new(&files.0, Some(&image)), RuleTable::new(&files.1, Some(&image)));
            decide(&mut Tables::new(&mut allow, &mut deny, false), &request)
        };
        let (text, compiled) = (decided_by(allow, deny, ends(None), &asker), by_image(None));
        assert_eq!(text.access, if client == "192.0.2.7" { Access::Permit } else { Access::Deny });
        assert_eq!(text.access, compiled.access);
        for port in 0..=u16::MAX {
            assert_eq!(decided_by(allow, deny, ends(Some(port)), &asker), text, "port {port}");
        }
        for port in (0..1024).chain([4210, 31337, 49152, u16::MAX]) {
            assert_eq!(by_image(Some(port)), compiled, "port {port}, by the image");
        }
    }
}

/// Debian's patch that let a port stand for a daemon forgot names where the server's end was not known:
/// rules with names matched nobody, and hosts.deny let everybody in.
#[test]
fn cve_2007_4601_names_match_when_the_server_end_is_unknown() {
    let asker = Scripted::default();
    let ends = || (at("192.0.2.7"), Endpoint::unknown());
    let decided = |allow: &str, deny: &str| access(allow, deny, ends(), &asker);
    assert_eq!(decided("", "in.testd: ALL\n"), Access::Deny);
    assert_eq!(decided("", "79, in.testd: ALL\n"), Access::Deny, "behind a port that cannot match");
    assert_eq!(decided("", "in.testd@192.0.2.1, in.testd: ALL\n"), Access::Deny, "behind an address");
    assert_eq!(decided("", "ALL EXCEPT 79: ALL\n"), Access::Deny);
    assert_eq!(decided("in.testd: 192.0.2.7\n", "ALL: ALL\n"), Access::Permit);
    assert_eq!(decided("79: ALL\nin.testd@192.0.2.1: ALL\n", "ALL: ALL\n"), Access::Deny, "nobody knows");
    // A socket of the Unix domain has no port at either end.
    let scratch = Scratch::new();
    for (deny, served) in [("echo: ALL\n", ""), ("79: ALL\n", "served\n"), ("79, echo: ALL\n", "")] {
        let (mut client, server) = UnixStream::pair().expect("a pair");
        client.set_read_timeout(Some(PATIENCE)).expect("a socket");
        run(server.into(), &rules(&scratch, "", deny), &["/bin/echo", "served"]);
        let mut got = String::new();
        client.read_to_string(&mut got).expect("closed");
        assert_eq!(got, served, "{deny}");
    }
}

/// The same with no connection at all: a file, a pipe, a closed descriptor. Nobody is served, whatever the
/// rules say.
#[test]
fn cve_2007_4601_what_is_no_connection_is_not_served() {
    let scratch = Scratch::new();
    let options = rules(&scratch, "ALL: ALL\n", "");
    let mark = scratch.path("mark");
    for redirection in ["</dev/null", "</etc/passwd", "<&-", "<&- >&- 2>&-"] {
        let script = format!("exec \"$0\" \"$@\" {redirection}");
        let status = Command::new("/bin/sh")
            .args(["-c", &script, TCPD, "--log", "stderr"])
            .args(&options)
            .args(["--", "/usr/bin/touch"])
            .arg(&mark)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert_eq!(status.expect("runs").code(), Some(0), "{redirection}");
        assert!(!mark.exists(), "{redirection}: the server was started");
    }
}

/// quota's rpc.rquotad asked about an address without looking for its name, so that rules with names did
/// not hold. Nobody without a name is let in by one; in hosts.deny it takes UNKNOWN, or no rule to the
/// contrary, to keep him out.
#[test]
fn cve_2012_3417_a_client_without_a_name_is_let_in_by_none() {
    let asker = Scripted::default();
    for name in [None, Some(&b""[..]), Some(b"unknown")] {
        let client = || at("192.0.2.7").named(stated_name(name));
        let decided = |allow: &str, deny: &str| access(allow, deny, (client(), Endpoint::unknown()), &asker);
        for pattern in [".example.com", "host.example.com", "KNOWN", "ALL EXCEPT UNKNOWN", "@group", "*.com"]
        {
            assert_eq!(decided(&format!("ALL: {pattern}\n"), "ALL: ALL\n"), Access::Deny, "{pattern}");
        }
        for pattern in ["UNKNOWN", ".evil.example UNKNOWN", "ALL EXCEPT .example.com", "ALL EXCEPT KNOWN"] {
            assert_eq!(decided("", &format!("ALL: {pattern}\n")), Access::Deny, "{pattern}");
        }
    }
}

/// nfs-utils gave hosts_ctl(3) its words in the wrong order, so that netgroups were asked about an address
/// and held nobody. They are asked about the name.
#[test]
fn cve_2008_4552_netgroups_are_asked_for_the_name() {
    let netgroup = "friends (host.example.com,-,)\n".to_owned();
    let client = Some(b"host.example.com".to_vec());
    let asker = Scripted { client, netgroup, ..Scripted::default() };
    let decided =
        |allow: &str, deny: &str| access(allow, deny, (at("192.0.2.7"), Endpoint::unknown()), &asker);
    assert_eq!(decided("ALL: @friends\n", "ALL: ALL\n"), Access::Permit);
    assert_eq!(decided("", "ALL: @friends\n"), Access::Deny);
    assert_eq!(decided("ALL: @strangers\n", "ALL: ALL\n"), Access::Deny);
}

/// mountd was built without libwrap, and rules about it were not in force; nobody said so.
#[test]
fn cve_2008_1376_cve_2009_0180_rules_that_nobody_asks_are_an_error() {
    for (library, exit, words) in [
        (&["libc.so.6"][..], 1, "rpc.mountd is not linked with libwrap"),
        (&["libwrap.so.0", "libc.so.6"], 0, "rpc.mountd"),
    ] {
        let scratch = Scratch::new();
        let file = |name: &str, bytes: &[u8], mode| {
            let path = scratch.path("root").join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(&path, bytes).expect("writes");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        };
        file("etc/hosts.allow", b"rpc.mountd: 192.0.2.\n", 0o644);
        file("etc/hosts.deny", b"rpc.mountd: ALL\n", 0o644);
        file("usr/sbin/rpc.mountd", &elf::linked(elf::USUAL, None, library), 0o755);
        file("usr/lib/libwrap.so.0", &elf::linked(elf::USUAL, Some("libwrap.so.0"), &[]), 0o644);
        file("usr/lib/libc.so.6", &elf::linked(elf::USUAL, Some("libc.so.6"), &[]), 0o644);
        let unit = b"[Service]\nExecStart=/usr/sbin/rpc.mountd\n";
        file("usr/lib/systemd/system/nfs-mountd.service", unit, 0o644);
        let said = Command::new(env!("CARGO_BIN_EXE_tcpdchk"))
            .args(["--services", "--root"])
            .arg(scratch.path("root"))
            .output()
            .expect("tcpdchk runs");
        let text = String::from_utf8_lossy(&said.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!((said.status.code(), text.contains(words)), (Some(exit), true), "{library:?}: {text}");
        assert_eq!(text.contains("not in force"), exit == 1, "{text}");
    }
}

/// net-snmp compared the address that was called where the caller's belonged.
#[test]
fn cve_2008_6123_client_and_server_are_not_taken_for_each_other() {
    // The client is 127.0.0.2, the server 127.0.0.1.
    for (deny, served) in [
        ("ALL: 127.0.0.1\n", true),
        ("ALL: 127.0.0.2\n", false),
        ("echo@127.0.0.1: ALL\n", false),
        ("echo@127.0.0.2: ALL\n", true),
        ("ALL@127.0.0.1: 127.0.0.2\n", false),
        ("ALL@127.0.0.2: 127.0.0.1\n", true),
    ] {
        assert_eq!(is_served("", deny), served, "{deny}");
    }
}

// ---------------------------------------------------------------------------------------------- the files

/// A rule of more than 2047 bytes was an endless loop once, and later hid all that stood below it.
#[test]
fn debian_596261_rules_of_every_length_are_read_or_refuse() {
    // A rule of exactly so many bytes, with the client at its very end.
    let long = |length: usize| {
        let (head, tail) = ("ALL: ", " 127.0.0.2\n");
        let words = "10.9.8.7 ".repeat(length / 9 + 1);
        format!("{head}{}{tail}", &words[..length - head.len() - tail.len()])
    };
    for length in [2045, 2046, 2047, 2048, 2049, 4095, 4096, 8191, 8192, 65_536, 1_000_000] {
        let rule = long(length);
        assert!(!is_served("", &rule), "{length} bytes: what stands at the end is read");
        assert!(!is_served("", &format!("ALL: {}\nALL: 127.0.0.2\n", "x".repeat(length))), "{length}: below");
        assert!(is_served(&rule, "ALL: ALL\n"), "{length} bytes, in hosts.allow");
    }
    // Half a million words in one rule, and what no line may be: each ends, and refuses.
    assert!(!is_served("", &format!("ALL: {}127.0.0.2\n", "x ".repeat(500_000))));
    assert!(!is_served("", &format!("ALL: {}\n", "x".repeat(3 << 20))), "too long to be read");
    assert!(!is_served("", &format!("ALL: {}\n", "x\\\n".repeat(1 << 20))), "too long when joined");
    assert!(!is_served("", "ALL: 10.\0 127.0.0.2\n"), "NUL in a rule");
    assert!(!is_served("ALL\0: ALL\n", "ALL: ALL\n"), "NUL grants nothing");
    assert!(!is_served("", "ALL: 127.0.0.2"), "no end of the line: somebody is still writing it");
}

/// A timer of the ident client, and the mask that belonged to it, were left to the server, which was killed
/// by it, or could not be.
#[test]
fn debian_354855_268467_signals_and_limits_are_what_they_were() {
    let scratch = Scratch::new();
    let options = rules(&scratch, "ALL: joe@ALL: rfc931 1: allow\nALL: ALL: aclexec true\n", "ALL: ALL\n");
    // Every kind of thing that needs a signal, a child or a thread happens in front of this server.
    let (got, log) = visit(&options, &["/bin/cat", "/proc/self/status", "/proc/self/limits"]);
    assert!(log.ends_with("connect from 127.0.0.2 (127.0.0.2)"), "{log}");
    let direct = Command::new("/bin/cat").args(["/proc/self/status", "/proc/self/limits"]).output();
    let direct = String::from_utf8(direct.expect("cat").stdout).expect("text");
    let kept = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("Sig") || line.starts_with("Max "));
        let of_this_moment = |line: &&str| !line.starts_with("SigQ:");
        lines
            .chain(text.lines().filter(|line| line.starts_with("Shd")))
            .filter(of_this_moment)
            .map(str::to_owned)
            .collect()
    };
    assert!(kept(&direct).len() > 15, "{direct}");
    assert_eq!(kept(&got), kept(&direct));
}

/// hosts.deny that could not be opened was an empty one, until Red Hat and Debian changed that.
#[test]
fn sig_fix_2003_a_table_that_cannot_be_read_is_not_empty() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("directory")).expect("mkdir");
    assert!(Command::new("mkfifo").arg(scratch.path("fifo")).status().expect("mkfifo").success());
    std::os::unix::fs::symlink(scratch.path("loop"), scratch.path("loop")).expect("links");
    std::os::unix::fs::symlink("/dev/full", scratch.path("device")).expect("links");
    // A regular file that cannot be read: EIO.
    std::os::unix::fs::symlink("/proc/self/mem", scratch.path("broken")).expect("links");
    for kind in ["directory", "fifo", "loop", "device", "broken"] {
        let mut options = rules(&scratch, "", "");
        let served = |options: &[OsString]| visit(options, &["/bin/echo", "served"]);
        assert_eq!(served(&options).0, "served\n");
        let deny = options.iter().position(|option| option == "--deny").expect("the option") + 1;
        options[deny] = scratch.path(kind).into();
        let (got, log) = served(&options);
        assert_eq!(got, "", "{kind}: {log}");
        assert!(log.contains("warning: ") && log.contains("refused connect"), "{kind}: {log}");
        options[deny] = scratch.file("deny", "ALL: ALL\n").into();
        let allow = options.iter().position(|option| option == "--allow").expect("the option") + 1;
        options[allow] = scratch.path(kind).into();
        assert_eq!(served(&options).0, "", "{kind} in place of hosts.allow");
    }
}

// ------------------------------------------------------------------------------------- the log, the checker

/// The hardening flags of Debian's packages bound the checker to the library's own log function, and all it
/// had to say went nowhere.
#[test]
fn hardening_versus_fakelog_the_checker_speaks() {
    let scratch = Scratch::new();
    rules(&scratch, "", "");
    scratch.file("hosts.allow", "in.testd: 192.0.2.: twsit /bin/true\n");
    scratch.file("hosts.deny", "ALL: ALL\n");
    let ask = |program: &str, words: &[&str]| -> Output {
        let mut command = Command::new(program);
        command.args(words).current_dir(&scratch.0).env("TERM", "dumb").output().expect("it runs")
    };
    let said = ask(env!("CARGO_BIN_EXE_tcpdchk"), &["-d", "-i", "/dev/null", "--config", "tcpd.conf"]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(text.contains("bad option name: \"twsit\"") && text.contains("hosts.allow"), "{text}");
    assert_ne!(said.status.code(), Some(0));
    let said =
        ask(env!("CARGO_BIN_EXE_tcpdmatch"), &["-d", "--config", "tcpd.conf", "in.testd", "192.0.2.7"]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(text.contains("twsit") && text.contains("denied"), "{text}");
}

/// TCP Wrapper put the path of the table, and a rule's text with it, into the format of syslog(3).
#[test]
fn tcpd_diag_a_percent_sign_in_rules_and_paths_is_one() {
    let scratch = Scratch::new();
    let formats = "%n%s%5000d%n";
    fs::create_dir(scratch.path(formats)).expect("a directory");
    let named = Scratch(scratch.path(formats));
    let options = rules(&named, "ALL: ALL: %n%s%n x\n", "");
    let (got, log) = visit(&options, &["/bin/echo", "served"]);
    assert_eq!(got, "");
    let place = format!("error: {}, line 1: ", named.path("allow").display());
    assert!(log.starts_with(&format!("{place}bad option name: \"%n%s%n\"")), "{log}");
    let missing = format!("ALL: ALL: banners {}\n", named.path("no%s").display());
    let (got, log) = visit(&rules(&named, &missing, ""), &["/bin/echo", "served"]);
    assert_eq!(got, "served\n");
    assert!(log.contains(&named.path("no%s").display().to_string()), "{log}");
    let twist = "ALL: ALL: twist /bin/echo 100%% %%n%%s\n";
    let (got, log) = visit(&rules(&named, "", twist), &["/bin/echo", "served"]);
    assert_eq!((got.as_str(), log.as_str()), ("100% %n%s\n", "twist 127.0.0.2 to /bin/echo 100% %n%s"));
}

/// The readers of our log blame 192.0.2.7, who called, whatever its user and its name are, or nobody, where
/// it was served.
fn only_the_caller_is_blamed(user: &str, name: &str) {
    let caller = |host: &str| Caller {
        user: Some(user.as_bytes().to_vec()),
        host: host.as_bytes().to_vec(),
        address: b"192.0.2.7".to_vec(),
    };
    for host in [name, "192.0.2.7"] {
        let said = |line: Line| String::from_utf8(line.print()).expect("ASCII");
        let refused = said(Line::Refused(caller(host)));
        assert!(refused.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{refused:?}");
        for blame in all_blamed(&refused) {
            assert_eq!(blame, "192.0.2.7", "{refused}");
        }
        for filter in [&FAIL2BAN, &CROWDSEC] {
            assert_eq!(blamed(filter, &refused).as_deref(), Some("192.0.2.7"), "{refused}");
        }
        let served = said(Line::Connect(caller(host)));
        let twisted = said(Line::Twist {
            user: caller(host).user,
            host: caller(host).host,
            command: b"/bin/false".to_vec(),
        });
        for line in [served, twisted] {
            assert_eq!(all_blamed(&line), [""; 0], "{line}");
        }
    }
    // A name is written by the complaint about it, too.
    for doubt in [
        NameDoubt::CannotVerify { name: name.into(), six: false },
        NameDoubt::OtherName { name: "a.example.com".into(), canonical: name.into() },
        NameDoubt::OtherAddress { address: "192.0.2.7".into(), name: name.into() },
        NameDoubt::NoHostName { address: "192.0.2.7".into(), name: name.into() },
    ] {
        let problem = Problem { place: None, weight: Weight::Warning, what: What::Name(doubt) };
        for entry in logline::problem(&problem) {
            let line = String::from_utf8(entry.text).expect("ASCII");
            assert!(!line.contains('\n') && all_blamed(&line).is_empty(), "{line:?}");
        }
    }
}

/// DenyHosts: a user named like the message that it looks for.
#[test]
fn cve_2006_6301_a_user_who_is_called_like_a_line() {
    only_the_caller_is_blamed("refused connect from x (198.51.100.66)", "refused connect from 198.51.100.66");
}

/// fail2ban: an address in what the client says of itself.
#[test]
fn cve_2007_4321_a_name_with_an_address_in_it() {
    only_the_caller_is_blamed("198.51.100.66", "198.51.100.66 (198.51.100.66)");
    only_the_caller_is_blamed("ROOT LOGIN REFUSED FROM 198.51.100.66", "::ffff:198.51.100.66");
}

/// DenyHosts: `user from address` at the end of a line.
#[test]
fn cve_2007_5715_a_user_with_an_address_at_the_end() {
    only_the_caller_is_blamed("foo from 198.51.100.66", "foo from 198.51.100.66 ");
    only_the_caller_is_blamed("foo\tfrom\t198.51.100.66", "foo@198.51.100.66");
}

/// DenyHosts: `Invalid user Invalid user root from 123.123.123.123 from ...`.
#[test]
fn cve_2013_6890_a_user_from_somewhere_else() {
    only_the_caller_is_blamed("Invalid user root from 198.51.100.66", "root from 198.51.100.66 [preauth]");
}

/// fail2ban: patterns without an anchor, and text of the client's in front of the address.
#[test]
fn cve_2013_2178_text_in_front_of_the_address() {
    only_the_caller_is_blamed("[client 198.51.100.66] refused connect from y (198.51.100.66)", "x");
    only_the_caller_is_blamed("libwrap refused connection", "Connection from 198.51.100.66 denied");
}

/// fail2ban: a bracket of the client's ends the field, and an address follows.
#[test]
fn cve_2013_7176_a_bracket_that_closes_too_early() {
    only_the_caller_is_blamed("x (198.51.100.66)", "y) (198.51.100.66)");
    only_the_caller_is_blamed("x] [198.51.100.66]", "[198.51.100.66]: authentication failure");
    only_the_caller_is_blamed("\\050198.51.100.66\\051", "\\040\\050198.51.100.66\\051");
}

/// The youngest of its kind: an end of a line, in every form that somebody takes for one.
#[test]
fn cve_2026_109786_a_second_line() {
    for end in
        ["\n", "\r\n", "\r", "\0", "\x0b", "\x0c", "\u{85}", "\u{2028}", "\u{2029}", "#012", "\\n", "\x1b[2K"]
    {
        let second = format!("x{end}sshd[1]: refused connect from y (198.51.100.66)");
        only_the_caller_is_blamed(&second, &second);
    }
}

// --------------------------------------------------------------------------------------------- the traps

fn filtered(input: &[u8]) -> Vec<u8> {
    let mut filter = Filter::default();
    input.chunks(1000).flat_map(|chunk| filter.pass(chunk)).collect()
}

/// fail2ban: text from the net was piped into mail(1), to which a line that begins with a tilde is a command.
#[test]
fn cve_2021_32749_no_line_for_a_mail_program_begins_with_a_tilde() {
    for end in ["\n", "\r\n", "\n\n", "\r", "\n\r", "\0\n", "\x0c", "\n\x0c"] {
        let text = format!("~! touch /tmp/owned{end}~| sh{end}.{end}From root{end}~!x");
        let long = format!("{}~! id", "x".repeat(finger::COLUMNS));
        for text in [text.as_bytes(), long.as_bytes()] {
            let shown = filtered(text);
            for line in shown.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                assert_eq!(line[0], b' ', "{end:?}: {}", String::from_utf8_lossy(line));
            }
        }
    }
}

/// Why there is a safe_finger: hosts that answer without end, and with bytes that do something to a screen.
#[test]
fn safe_finger_changes_6_0_a_flood_is_cut_to_size() {
    assert_eq!((finger::INPUT_MAX, finger::TIME, finger::COLUMNS), (100_000, Duration::from_secs(60), 127));
    let flood: Vec<u8> =
        (0..1_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let shown = filtered(&flood);
    assert!(shown.ends_with(b"\n Input truncated to 100000 bytes...\n"));
    // Four bytes at most for each, and the breaks of the lines.
    assert!(shown.len() < 450_000, "{}", shown.len());
    let harmless = |byte: &u8| (b' '..=b'~').contains(byte) || b"\n\t\r\x0b\x0c".contains(byte);
    assert!(shown.iter().all(harmless), "control codes");
    let widest = shown.split(|byte| *byte == b'\n').map(<[u8]>::len).max();
    assert!(widest.is_some_and(|columns| columns <= finger::COLUMNS + 5), "{widest:?}");
}

// ----------------------------------------------------------------------------------- what is not built

/// A proxy and the server behind it disagreed about where a mail ends. Nothing here reads what client and
/// server say to each other. Whoever adds a guard that does finds this test, and replaces it by the cases of
/// bare line ends.
#[test]
fn smtp_smuggling_waits_for_a_guard_of_lines() {
    let names = OPTIONS.iter().map(|option| option.name).chain(KEYS.iter().map(|key| key.name));
    for name in names {
        for word in ["guard", "protocol", "proxy", "smtp", "crlf", "line-end"] {
            assert!(!name.contains(word), "{name}: its lines are to be tested");
        }
    }
    // What the client says reaches the server byte for byte.
    let scratch = Scratch::new();
    let (mut client, server) = UnixStream::pair().expect("a pair");
    let said = b"DATA\r\nx\n.\nMAIL FROM:<a>\r\n.\r\n\0\xff";
    client.write_all(said).expect("sends");
    client.shutdown(std::net::Shutdown::Write).expect("a socket");
    client.set_read_timeout(Some(PATIENCE)).expect("a socket");
    run(server.into(), &rules(&scratch, "ALL: ALL\n", ""), &["/bin/cat"]);
    let mut got = Vec::new();
    client.read_to_end(&mut got).expect("closed");
    assert_eq!(got, said);
}
