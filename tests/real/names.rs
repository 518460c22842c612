//! Can somebody who owns a reverse zone talk himself in, hang the wrapper or write in its log?
//!
//! dnsmasq plays the honest and the merely wrong name servers; the hostile, slow and silent ones
//! are our own (`lab::nameserver`). The patterns KNOWN, UNKNOWN and PARANOID must keep their
//! meaning: a name that cannot be trusted is PARANOID, no name at all is UNKNOWN.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::lab::nameserver::{Reply, names_from_dns, serve};
use crate::lab::server::Server;
use crate::lab::{self, Lab, Outcome, Running, SCRATCH, Visit};

/// The budget for a client's names is 5 s; on a busy machine the answer is there before this.
const BOUND: Duration = Duration::from_secs(8);

pub fn dnsmasq(lab: &Lab) -> Running {
    lab::need("/usr/sbin/dnsmasq", "dnsmasq-base");
    names_from_dns();
    let configuration = "listen-address=127.0.0.1\nbind-interfaces\nno-hosts\nno-resolv\n\
        user=root\nlocal=/example.com/\nlocal=/in-addr.arpa/\nlocal=/ip6.arpa/\n\
        host-record=good.example.com,127.0.0.2\n\
        host-record=victim.example.com,127.0.0.8\n\
        ptr-record=5.0.0.127.in-addr.arpa,victim.example.com\n\
        ptr-record=6.0.0.127.in-addr.arpa,missing.example.com\n\
        ptr-record=7.0.0.127.in-addr.arpa,alias.example.com\n\
        cname=alias.example.com,good.example.com\n\
        host-record=six.example.com,::1\n";
    let path = format!("{SCRATCH}/dnsmasq.conf");
    lab::write(&path, configuration);
    let mut command = Command::new("/usr/sbin/dnsmasq");
    command.args(["--keep-in-foreground", "--pid-file", "--log-facility=-"]);
    command.arg(format!("--conf-file={path}"));
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let running = Running::start(&mut command);
    lab.wait_for_port("udp", 53);
    running
}

/// Which of the five patterns match a client at this address? Also the log of the last visit
/// that asked for the name.
fn kind_of(lab: &Lab, address: &str) -> (Vec<&'static str>, Outcome) {
    let mut matching = Vec::new();
    let mut last = None;
    for pattern in ["KNOWN", "UNKNOWN", "PARANOID", ".example.com"] {
        lab.rules("", &format!("ALL: {pattern}\n"));
        let outcome = Visit::of(lab).from(address).run();
        assert!(outcome.took < BOUND, "{pattern}: {:?}", outcome.took);
        if !outcome.served() {
            matching.push(pattern);
        }
        last = Some(outcome);
    }
    (matching, last.unwrap())
}

#[test]
fn an_agreeing_name_is_known() {
    let lab = open_lab!();
    let _dnsmasq = dnsmasq(&lab);
    let (matching, outcome) = kind_of(&lab, "127.0.0.2");
    assert_eq!(matching, ["KNOWN", ".example.com"]);
    assert_eq!(outcome.messages(), ["refused connect from good.example.com (127.0.0.2)"]);
    lab.rules("ALL: .example.com\n", "ALL: ALL\n");
    let outcome = Visit::of(&lab).run();
    assert!(outcome.served());
    assert_eq!(outcome.messages(), ["connect from good.example.com (127.0.0.2)"]);
    let outcome = Visit::of(&lab).from("::1").to("::1").run();
    assert_eq!(outcome.messages(), ["connect from six.example.com (::1)"]);
}

#[test]
fn a_lying_name_is_paranoid() {
    let lab = open_lab!();
    let _dnsmasq = dnsmasq(&lab);
    let (matching, outcome) = kind_of(&lab, "127.0.0.5");
    assert_eq!(matching, ["PARANOID"]);
    let warning = "warning: /etc/hosts.deny, line 1: host name/address mismatch: \
        127.0.0.5 != victim.example.com";
    assert_eq!(outcome.messages(), [warning, "connect from 127.0.0.5 (127.0.0.5)"]);
    assert_eq!(outcome.log[0].priority, 27);
    lab.rules("ALL: victim.example.com\n", "ALL: ALL\n");
    assert!(!Visit::of(&lab).from("127.0.0.5").run().served());
}

#[test]
fn a_name_without_an_address_is_paranoid() {
    let lab = open_lab!();
    let _dnsmasq = dnsmasq(&lab);
    let (matching, outcome) = kind_of(&lab, "127.0.0.6");
    assert_eq!(matching, ["PARANOID"]);
    let warning = "warning: /etc/hosts.deny, line 1: can't verify hostname: \
        getaddrinfo(missing.example.com, AF_INET) failed";
    assert_eq!(outcome.messages(), [warning, "connect from 127.0.0.6 (127.0.0.6)"]);
}

#[test]
fn an_alias_is_paranoid() {
    let lab = open_lab!();
    let _dnsmasq = dnsmasq(&lab);
    let (matching, outcome) = kind_of(&lab, "127.0.0.7");
    assert_eq!(matching, ["PARANOID"]);
    let warning = "warning: /etc/hosts.deny, line 1: host name/name mismatch: \
        alias.example.com != good.example.com";
    assert_eq!(outcome.messages()[0], warning);
}

#[test]
fn no_name_is_unknown_without_a_word() {
    let lab = open_lab!();
    let _dnsmasq = dnsmasq(&lab);
    let (matching, outcome) = kind_of(&lab, "127.0.0.10");
    assert_eq!(matching, ["UNKNOWN"]);
    assert_eq!(outcome.messages(), ["connect from 127.0.0.10 (127.0.0.10)"]);
}

#[test]
fn rules_about_addresses_ask_nobody() {
    let lab = open_lab!();
    let _silent = serve(|_, _| Reply::Silence);
    lab.rules("ALL: 127.0.0.2\n", "ALL: ALL\n");
    let outcome = Visit::of(&lab).run();
    assert!(outcome.served());
    assert!(outcome.took < Duration::from_secs(4), "{:?}", outcome.took);
}

const HOSTILE: &[&[u8]] = &[
    b"$(id)",
    b"a)b",
    b"-oQ/tmp",
    b"a b",
    b"a`id`b",
    b"a;id",
    b"a\\b",
    b"a/../b",
    b"new\nline",
    b"\x1b[31m",
    b"\xff\xfe",
    b"%n%s",
    b"a..b",
];

/// The C library drops most of these itself, so the wrapper may see no name at all; but the
/// client must never be KNOWN, and the log must keep its form.
#[test]
fn hostile_names_from_dns_are_not_known() {
    let lab = open_lab!();
    for label in HOSTILE {
        let _server = serve(move |_, kind| match kind {
            12 => Reply::one_label(label),
            _ => Reply::Address([127, 0, 0, 2]),
        });
        lab.rules("ALL: KNOWN\n", "ALL: ALL\n");
        expect_plain_refusal(&Visit::of(&lab).run(), label);
        lab.rules("ALL: .example.com\n", "ALL: ALL\n");
        expect_plain_refusal(&Visit::of(&lab).run(), label);
    }
}

/// As long as DNS can make it, and records that no parser can read to their end.
#[test]
fn names_beyond_all_measure_are_not_known() {
    let lab = open_lab!();
    let long = || vec![vec![b'a'; 63], vec![b'b'; 63], vec![b'c'; 63], vec![b'd'; 61]];
    let malformed = [vec![0xc0, 0xff], vec![0xc0, 52], vec![63, b'a', b'b'], vec![], vec![0]];
    for shape in 0..=malformed.len() {
        let data = malformed.get(shape).cloned();
        let _server = serve(move |_, kind| match (kind, &data) {
            (12, None) => Reply::Pointer(long()),
            (12, Some(data)) => Reply::PointerData(data.clone()),
            _ => Reply::Address([127, 0, 0, 2]),
        });
        lab.rules("ALL: KNOWN\n", "ALL: ALL\n");
        expect_plain_refusal(&Visit::of(&lab).run(), &[shape as u8]);
    }
}

/// Names from /etc/hosts reach the wrapper as they are: M17 makes each of them PARANOID.
#[test]
fn hostile_names_from_files_are_paranoid() {
    let lab = open_lab!();
    let long = "x".repeat(128);
    let split = [&b"a b"[..], b"new\nline"];
    let mut names: Vec<&[u8]> = HOSTILE.to_vec();
    names.retain(|name| !split.contains(name));
    names.push(long.as_bytes());
    for name in names {
        let mut hosts = b"127.0.0.2 ".to_vec();
        hosts.extend(name);
        hosts.push(b'\n');
        lab::write("/etc/hosts", hosts);
        lab.rules("", "ALL: PARANOID\n");
        let outcome = Visit::of(&lab).run();
        expect_plain_refusal(&outcome, name);
        let warned = outcome.log.iter().any(|line| line.message.starts_with("warning: "));
        assert!(warned, "{:?}: {:#?}", String::from_utf8_lossy(name), outcome.log);
        lab.rules("ALL: KNOWN\n", "ALL: ALL\n");
        expect_plain_refusal(&Visit::of(&lab).run(), name);
    }
}

/// A name that getaddrinfo(3) takes for a number leads back to the address without any name server, has no
/// dot, and would so be LOCAL: whoever runs his reverse zone could let himself in.
#[test]
fn a_number_is_no_name_and_is_not_local() {
    let lab = open_lab!();
    for number in ["2130706434", "0x7f000002", "017700000002", "127.2", "0x7f.2", "127.0.2", "127.0.0.2"] {
        let _server = serve(move |_, kind| match kind {
            12 => Reply::pointer(number),
            _ => Reply::Address([127, 0, 0, 2]),
        });
        for allow in ["LOCAL", "KNOWN", "*4", "0x*", "ALL EXCEPT UNKNOWN PARANOID"] {
            lab.rules(&format!("ALL: {allow}\n"), "ALL: ALL\n");
            expect_plain_refusal(&Visit::of(&lab).run(), format!("{allow}, {number}").as_bytes());
        }
        lab.rules("", "ALL: PARANOID UNKNOWN\n");
        assert!(!Visit::of(&lab).run().served(), "{number}");
    }
}

fn expect_plain_refusal(outcome: &Outcome, name: &[u8]) {
    let name = String::from_utf8_lossy(name);
    assert!(!outcome.served(), "{name:?} was served: {:#?}", outcome.log);
    assert_eq!(outcome.received, "", "{name:?}");
    let last = outcome.log.last().map(|line| (line.priority, line.message.as_str()));
    let plain = "refused connect from 127.0.0.2 (127.0.0.2)";
    assert_eq!(last, Some((28, plain)), "{name:?}");
    for line in &outcome.log {
        let printable = line.message.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        assert!(printable, "{name:?}: {line:?}");
    }
}

#[test]
fn a_slow_server_is_waited_for() {
    let lab = open_lab!();
    let _slow = serve(|_, kind| {
        let answer = match kind {
            12 => Reply::pointer("good.example.com"),
            1 => Reply::Address([127, 0, 0, 2]),
            _ => Reply::NoSuchName,
        };
        Reply::After(Duration::from_millis(800), Box::new(answer))
    });
    lab.rules("ALL: good.example.com\n", "ALL: ALL\n");
    let outcome = Visit::of(&lab).run();
    assert!(outcome.served(), "{:#?}", outcome.log);
    assert!(outcome.took < BOUND, "{:?}", outcome.took);
}

/// M18: the budget is over before a name was had, so the client is UNKNOWN, with one warning.
#[test]
fn a_silent_server_costs_no_more_than_the_budget() {
    let lab = open_lab!();
    let _silent = serve(|_, _| Reply::Silence);
    lab.rules("", "ALL: UNKNOWN\n");
    let outcome = Visit::of(&lab).run();
    assert!(!outcome.served());
    assert!(outcome.took < BOUND, "{:?}", outcome.took);
    let messages = outcome.messages();
    assert_eq!(messages.len(), 2, "{messages:#?}");
    assert!(messages[0].starts_with("warning: "), "{messages:#?}");
    assert_eq!(messages[1], "refused connect from 127.0.0.2 (127.0.0.2)");
}

/// A name server that wants to be asked by TCP and then says nothing: the resolver would wait for ever, and is
/// left behind.
#[test]
fn a_server_that_is_silent_by_tcp_costs_no_more_than_the_budget() {
    let lab = open_lab!();
    names_from_dns();
    let _truncating = Server::udp("127.0.0.1:53", |question| {
        let mut answer = question.to_vec();
        answer[2..4].copy_from_slice(&[0x83, 0x80]);
        vec![answer]
    });
    let asked = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&asked);
    let _silent = Server::tcp("127.0.0.1:53", move |mut client| {
        heard.store(client.read(&mut [0; 2]).is_ok_and(|length| length > 0), Ordering::SeqCst);
        let _ = client.set_read_timeout(Some(Duration::from_secs(60)));
        while client.read(&mut [0; 512]).is_ok_and(|length| length > 0) {}
    });
    lab.rules("ALL: .example.com\n", "ALL: ALL\n");
    let outcome = Visit::of(&lab).run();
    assert!(asked.load(Ordering::SeqCst), "nobody asked by TCP");
    assert!(!outcome.served());
    assert!(outcome.took < BOUND, "{:?}", outcome.took);
    assert!(outcome.messages()[0].starts_with("warning: "), "{:#?}", outcome.log);
    lab.rules("", "ALL: .evil.example\n");
    assert!(Visit::of(&lab).run().served(), "and the server is started in time");
}

#[test]
fn the_budget_is_a_setting() {
    let lab = open_lab!();
    lab::write("/etc/tcpd.conf", "resolve-timeout 1\n");
    let _silent = serve(|_, _| Reply::Silence);
    lab.rules("ALL: KNOWN\n", "");
    let outcome = Visit::of(&lab).run();
    assert!(outcome.served(), "{:#?}", outcome.log);
    assert!(outcome.took < Duration::from_secs(4), "{:?}", outcome.took);
}

/// M18: the name was had, but nobody answers for its address: PARANOID, in the original's words.
#[test]
fn silence_after_a_name_is_paranoid() {
    let lab = open_lab!();
    let _half = serve(|_, kind| match kind {
        12 => Reply::pointer("good.example.com"),
        _ => Reply::Silence,
    });
    lab.rules("", "ALL: PARANOID\n");
    let outcome = Visit::of(&lab).run();
    assert!(!outcome.served());
    assert!(outcome.took < BOUND, "{:?}", outcome.took);
    let text = "can't verify hostname: getaddrinfo(good.example.com, AF_INET) failed";
    assert!(outcome.messages()[0].contains(text), "{:#?}", outcome.log);
    lab.rules("ALL: KNOWN\n", "ALL: ALL\n");
    assert!(!Visit::of(&lab).run().served());
}

/// The setting `paranoid yes` brings back the behaviour of the TCP Wrapper paper.
#[test]
fn paranoid_setting_drops_liars_before_the_rules() {
    let lab = open_lab!();
    let _dnsmasq = dnsmasq(&lab);
    lab::write("/etc/tcpd.conf", "paranoid yes\n");
    lab.rules("ALL: ALL\n", "");
    assert!(!Visit::of(&lab).from("127.0.0.5").run().served());
    assert!(!Visit::of(&lab).from("127.0.0.6").run().served());
    assert!(Visit::of(&lab).from("127.0.0.2").run().served());
    assert!(Visit::of(&lab).from("127.0.0.10").run().served());
}

/// The settings `resolve always` and `resolve never`.
#[test]
fn resolve_settings() {
    let lab = open_lab!();
    let _dnsmasq = dnsmasq(&lab);
    lab.rules("ALL: 127.\n", "ALL: ALL\n");
    lab::write("/etc/tcpd.conf", "resolve always\n");
    let outcome = Visit::of(&lab).run();
    assert_eq!(outcome.messages(), ["connect from good.example.com (127.0.0.2)"]);
    lab::write("/etc/tcpd.conf", "resolve never\n");
    lab.rules("ALL: good.example.com\n", "ALL: ALL\n");
    let outcome = Visit::of(&lab).run();
    assert!(!outcome.served());
    assert_eq!(outcome.messages(), ["refused connect from 127.0.0.2 (127.0.0.2)"]);
}
