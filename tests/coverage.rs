//! A law: a rule that the checker calls unreachable never decides, whoever calls.
#![forbid(unsafe_code)]

#[path = "common/mod.rs"]
mod common;

use common::{Scripted, TextInMemory, endpoint};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::path::Path;
use wrap::advice::coverage::Coverage;
use wrap::facts::{DaemonName, Request, Transport, stated_name};
use wrap::rules::{Parsed, Which, grammar};
use wrap::verdict::{Because, Tables, decide};

const DAEMONS: [&str; 7] = ["a", "b", "ALL", "a b", "A", "a EXCEPT b", "a@192.0.2.1"];
const CLIENTS: [&str; 34] = [
    "ALL",
    "10.",
    "10.1.",
    "10.1.2.3",
    "10.0.0.0/9",
    "10.128.0.0/255.128.0.0",
    "10.1.2.3/8",
    "0.0.0.0/0.0.0.0",
    "10.0.0.0/0",
    "10.0.0.3/255.0.0.255",
    "[::]/0",
    "[2001:db8::]/32",
    "[2001:db8::1]",
    "2001:db8::1",
    "::/0",
    ".example.com",
    ".b.example.com",
    "h.b.example.com",
    "H.example.com",
    "*.example.com",
    "example.com",
    "LOCAL",
    "KNOWN",
    "UNKNOWN",
    "PARANOID",
    "host",
    "u@10.1.2.3",
    "ALL EXCEPT 10.1.",
    "10.1 192.0.2.",
    "@g",
    "255.255.255.255",
    "[::ffff:0:0]/96",
    "192.0.2.7 10.1.2.3",
    "10.1.2.3.",
];
const OPTIONS: [&str; 4] = ["", ": deny", ": allow", ": bogus"];
const ADDRESSES: [&str; 7] = [
    "10.1.2.3",
    "10.200.0.3",
    "192.0.2.7",
    "2001:db8::1",
    "2001:db9::1",
    "::ffff:10.1.2.3",
    "255.255.255.255",
];
const NAMES: [&str; 7] =
    ["unknown", "paranoid", "host", "h.b.example.com", "h.example.com", "example.com", "x.org"];

fn rules() -> impl Strategy<Value = Vec<(bool, String)>> {
    let text = (select(&DAEMONS[..]), select(&CLIENTS[..]), select(&OPTIONS[..]));
    vec(
        (
            any::<bool>(),
            text.prop_map(|(daemons, clients, options)| format!("{daemons}: {clients}{options}")),
        ),
        2..8,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_covered_never_decides(rules in rules()) {
        let mut coverage = Coverage::new(Path::new("hosts.allow"), Path::new("hosts.deny"));
        let mut covered = Vec::new();
        let mut texts = [String::new(), String::new()];
        for which in [Which::Allow, Which::Deny] {
            let mine = rules.iter().filter(|(is_deny, _)| *is_deny == (which == Which::Deny));
            for (line, (_, text)) in (1..).zip(mine) {
                let Parsed::Rule(rule) = grammar::line(text.as_bytes()) else { panic!("{text}") };
                covered.extend(coverage.rule(&rule, (which, line), true).map(|_| (which, line)));
                texts[usize::from(which == Which::Deny)] += &format!("{text}\n");
            }
        }
        for (address, name) in ADDRESSES.iter().flat_map(|a| NAMES.iter().map(move |n| (a, n))) {
            for daemon in ["a", "b", "c"] {
                let [mut allow, mut deny] = texts.each_ref().map(|text| TextInMemory::new("table", text.as_bytes()));
                let asker = Scripted { client: Some(name.as_bytes().to_vec()), ..Scripted::default() };
                let client = endpoint(Some(address.as_bytes()), None).named(stated_name(Some(name.as_bytes())));
                let ends = (client, endpoint(Some(b"192.0.2.1"), None));
                let request = Request::new(DaemonName::stated(daemon.as_bytes()), 1, Transport::Stream, ends, &asker);
                let decision = decide(&mut Tables::new(&mut allow, &mut deny, false), &request);
                if let Because::Rule(which, place) = decision.because {
                    prop_assert!(
                        !covered.contains(&(which, place.line)),
                        "{which:?} line {} decides about {address} {name}\n{texts:?}", place.line
                    );
                }
            }
        }
    }
}
