//! Laws that hold for every table and every request, tried on thousands of generated ones.
#![forbid(unsafe_code)]

#[path = "common/mod.rs"]
mod common;

use common::{Scripted, TextInMemory, endpoint};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use wrap::expand::{clean, expand};
use wrap::explain::{self, Course};
use wrap::facts::{DaemonName, Endpoint, Fact, HostName, Request, Transport, UserName, stated_name};
use wrap::hosts::Host;
use wrap::inquiry::request;
use wrap::logline::{Caller, Line};
use wrap::rules::{Item, List, Parsed, Rule, Table, grammar, options, trial};
use wrap::verdict::{Access, Answer, Because, Decision, Tables, decide};
use wrap::{narrator, witness};

// ------------------------------------------------------------------------------------ generators

const DAEMONS: [&str; 9] =
    ["ALL", "in.testd", "sshd", "in.*", "21", "KNOWN", "in.testd@10.1.2.1", "sshd@ALL", "@x"];
const PLAIN: [&str; 26] = [
    "ALL",
    "LOCAL",
    "KNOWN",
    "UNKNOWN",
    "PARANOID",
    "10.",
    "10.1.2.3",
    "10.0.0.0/8",
    "10.0.0.0/255.0.0.0",
    "192.0.2.0/24",
    ".example.com",
    "host.example.com",
    "*.example.*",
    "[2001:db8::]/32",
    "[2001:db8::7]",
    "2001:db8::7",
    "joe@ALL",
    "KNOWN@10.",
    "UNKNOWN@.example.com",
    "@staff",
    "/nonexistent/f",
    "10.1.2.0/33",
    "::1",
    "joe@2001:db8::/32",
    "f?o",
    "**",
];
const OPTIONS: [&str; 12] = [
    "",
    "allow",
    "deny",
    "twist echo x",
    "spawn echo %h",
    "severity mail.info",
    "bogus",
    "",
    "",
    "nice 2 : allow",
    "setenv A b\\:c : deny",
    "user nosuch : allow",
];
/// Patterns with two readings: what is written, the wider reading, the narrower.
const TWO_WAYS: [[&str; 3]; 11] = [
    ["10.1.2.3/8", "10.0.0.0/8", NEVER],
    ["192.0.2.7/255.255.255.0", "192.0.2.0/255.255.255.0", NEVER],
    ["10.1.2.3/0", "0.0.0.0/0.0.0.0", NEVER],
    ["0.0.0.0/0", "0.0.0.0/0.0.0.0", NEVER],
    ["[2001:db8::]/", "[::]/0", NEVER],
    ["[::1]/x", "[::]/0", NEVER],
    ["/", "ALL", NEVER],
    ["/dev/null/x", "ALL", NEVER],
    ["joe@10.1.2.3/8", "joe@10.0.0.0/8", NEVER],
    ["KNOWN@/", "KNOWN@ALL", NEVER],
    ["f*@[::]/", "f*@[::]/0", NEVER],
];
const NEVER: &str = "10.0.0.0/33";
const NETGROUP: &str = "staff (host.example.com,,) (foo,,)\n";

/// A word of a client list: fixed, or one of [`TWO_WAYS`].
#[derive(Clone, Debug)]
enum Word {
    Fixed(String),
    TwoWays(usize),
}

#[derive(Clone, Debug)]
struct GeneratedRule {
    daemons: String,
    clients: Vec<Word>,
    options: String,
    in_deny: bool,
}

fn word() -> impl Strategy<Value = Word> {
    let fixed = |words: &'static [&'static str]| select(words).prop_map(|word| Word::Fixed(word.to_owned()));
    prop_oneof![
        4 => fixed(&PLAIN),
        3 => (0..TWO_WAYS.len()).prop_map(Word::TwoWays),
        2 => Just(Word::Fixed("EXCEPT".to_owned())),
    ]
}

fn rule() -> impl Strategy<Value = GeneratedRule> {
    let daemons = vec(prop_oneof![5 => select(&DAEMONS[..]), 1 => Just("EXCEPT")], 1..4);
    (daemons, vec(word(), 1..6), select(&OPTIONS[..]), any::<bool>()).prop_map(
        |(daemons, clients, options, in_deny)| GeneratedRule {
            daemons: daemons.join(" "),
            clients,
            options: options.to_owned(),
            in_deny,
        },
    )
}

/// Both tables, each two-way pattern being written in the reading that `read` gives to its number.
fn tables(rules: &[GeneratedRule], read: impl Fn(usize) -> usize) -> [TextInMemory; 2] {
    let mut texts = [String::new(), String::new()];
    let mut seen = 0;
    for rule in rules {
        let mut words = Vec::new();
        for word in &rule.clients {
            match word {
                Word::Fixed(text) => words.push(text.as_str()),
                Word::TwoWays(which) => {
                    words.push(TWO_WAYS[*which][read(seen)]);
                    seen += 1;
                }
            }
        }
        let colon = if rule.options.is_empty() { "" } else { " : " };
        let line = format!("{} : {}{colon}{}\n", rule.daemons, words.join(", "), rule.options);
        texts[usize::from(rule.in_deny)].push_str(&line);
    }
    [
        TextInMemory::new("hosts.allow", texts[0].as_bytes()),
        TextInMemory::new("hosts.deny", texts[1].as_bytes()),
    ]
}

#[derive(Clone, Debug)]
struct Facts {
    daemon: &'static str,
    address: &'static str,
    name: &'static str,
    user: &'static str,
    port: u16,
}

fn facts() -> impl Strategy<Value = Facts> {
    let addresses =
        ["10.1.2.3", "192.0.2.7", "2001:db8::7", "::1", "::ffff:10.9.9.9", "203.0.113.1", "unknown"];
    let names = ["host.example.com", "foo", "unknown", "paranoid", "www.example.org"];
    let fields = (select(&["in.testd", "sshd"][..]), select(addresses.to_vec()), select(names.to_vec()));
    (fields, select(&["joe", "foo", "unknown"][..]), select(&[21_u16, 22][..]))
        .prop_map(|((daemon, address, name), user, port)| Facts { daemon, address, name, user, port })
}

fn scripted(facts: &Facts) -> Scripted {
    Scripted {
        client: Some(facts.name.as_bytes().to_vec()),
        user: Some(facts.user.as_bytes().to_vec()),
        netgroup: NETGROUP.to_owned(),
        ..Scripted::default()
    }
}

fn request<'a>(facts: &Facts, asker: &'a Scripted) -> Request<'a> {
    let client = endpoint(Some(facts.address.as_bytes()), Some(4711));
    let server = endpoint(Some(b"10.1.2.1"), Some(facts.port));
    Request::new(DaemonName::stated(facts.daemon.as_bytes()), 1, Transport::Stream, (client, server), asker)
}

fn decided([allow, deny]: &mut [TextInMemory; 2], facts: &Facts) -> Decision {
    let asker = scripted(facts);
    decide(&mut Tables::new(allow, deny, false), &request(facts, &asker))
}

/// Bytes that the grammar cares about, among others.
fn junk(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => select(&b" \t\r,:[]@/.*?%\\#=-x1af"[..]).prop_map(|byte| vec![byte]),
        2 => select(&PLAIN[..]).prop_map(|word| word.as_bytes().to_vec()),
        1 => select(&DAEMONS[..]).prop_map(|word| word.as_bytes().to_vec()),
        2 => select(&OPTIONS[..]).prop_map(|word| [b":", word.as_bytes()].concat()),
        1 => select(&TWO_WAYS[..]).prop_map(|word| word[0].as_bytes().to_vec()),
        1 => Just(b"\\\n".to_vec()),
        1 => Just(b"\n".to_vec()),
        1 => Just(b"EXCEPT".to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    vec(piece, 0..most).prop_map(|pieces| pieces.concat())
}

// ------------------------------------------------------------------------------------------ laws

/// What a rule says, whatever blanks it is written with.
type Said = (Vec<Option<Vec<u8>>>, Vec<Option<Vec<u8>>>, Option<Vec<(Vec<u8>, Vec<u8>)>>);

fn said(rule: &Rule<'_>) -> Said {
    let list = |list: List<'_>| {
        let word = |item| match item {
            Item::Except => None,
            Item::Word(word) => Some(word.to_vec()),
        };
        list.items().map(word).collect()
    };
    let fields = |text| options::fields(text).map(|field| (field.name, field.value)).collect();
    (list(rule.daemons), list(rule.clients), rule.options.map(fields))
}

/// Nothing is written into the source tree; a failing case is shown, and becomes a test by hand.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn printing_then_reading_is_identity(line in junk(30)) {
        let line: Vec<u8> = line.into_iter().filter(|&byte| byte != b'\n').collect();
        if let Parsed::Rule(rule) = grammar::line(&line) {
            let mut text = Vec::new();
            rule.print(&mut text);
            let shown = String::from_utf8_lossy(&text).into_owned();
            prop_assert!(!text.contains(&b'\n') && !text.ends_with(b"\\"), "one line stays one: {}", shown);
            let Parsed::Rule(again) = grammar::line(&text) else {
                return Err(TestCaseError::fail(format!("no rule any more: {shown}")));
            };
            prop_assert_eq!(said(&again), said(&rule), "{}", shown);
            let mut twice = Vec::new();
            again.print(&mut twice);
            prop_assert_eq!(twice, text);
        }
    }

    /// A rule that is malformed or can be read in two ways grants nothing by itself.
    #[test]
    fn doubt_does_not_open_the_door(
        parts in (junk(8), select(&["[", "]", "\0", "[::1", "]["][..]), junk(8)),
        which in 0..TWO_WAYS.len(),
        options in select(&OPTIONS[..]),
        facts in facts(),
    ) {
        let (before, flaw, behind) = parts;
        let malformed = [b"ALL: ", before.as_slice(), flaw.as_bytes(), behind.as_slice()].concat();
        let malformed: Vec<u8> = malformed.into_iter().filter(|&byte| byte != b'\n').collect();
        let two_ways = format!("ALL: {} : {options}", TWO_WAYS[which][0]).into_bytes();
        let is_malformed = matches!(grammar::line(&malformed), Parsed::Malformed(_));
        for line in [is_malformed.then_some(malformed), Some(two_ways)].into_iter().flatten() {
            let allow = TextInMemory::new("hosts.allow", &[line.as_slice(), b"\n"].concat());
            let deny = TextInMemory::new("hosts.deny", b"ALL: ALL\n");
            let decision = decided(&mut [allow, deny], &facts);
            prop_assert_eq!(decision.access, Access::Deny, "{}", String::from_utf8_lossy(&line));
        }
    }

    #[test]
    fn no_bytes_are_too_strange(allow in junk(60), deny in junk(60), strict in any::<bool>(), facts in facts()) {
        let mut allow = TextInMemory::new("hosts.allow", &allow);
        let mut deny = TextInMemory::new("hosts.deny", &deny);
        let asker = scripted(&facts);
        let request = request(&facts, &asker);
        let mut tables = Tables::new(&mut allow, &mut deny, strict);
        // Going on behind the rule that decided, as a false aclexec does, comes to an end.
        let goes_on = |_: &u32| matches!(decide(&mut tables, &request).because, Because::Rule(..));
        prop_assert!((0..200).take_while(goes_on).count() < 200, "it never ends");
    }

    #[test]
    fn plain_junk_is_survived(bytes in vec(any::<u8>(), 0..300)) {
        let _ = grammar::line(&bytes);
        let _ = grammar::host_pattern(&bytes);
        let _ = grammar::client_pattern(&bytes);
        let _ = grammar::daemon_pattern(&bytes);
        let _ = grammar::bare(&bytes);
        let _ = grammar::ident_reply(&bytes);
        let _ = grammar::setting(&bytes);
        let _ = grammar::is_numeric_address(&bytes);
        let _ = trial::read(&bytes);
        let _ = request::read(&bytes);
        let _ = Line::read(&bytes);
        let _ = HostName::from_dns(&bytes);
        for field in options::fields(&bytes) {
            let mut out = Vec::new();
            options::print(&field, &mut out);
        }
    }

    #[test]
    fn nothing_foreign_gets_through(
        name in vec(any::<u8>(), 0..140),
        user in vec(any::<u8>(), 0..140),
        daemon in vec(any::<u8>(), 0..140),
        address in vec(any::<u8>(), 0..140),
    ) {
        let asker = Scripted::default();
        let client = Endpoint::new(Fact::Known(address.clone()), None);
        let ends = (client.named(stated_name(Some(&name))), Endpoint::unknown());
        let request = Request::new(DaemonName::stated(&daemon), 1, Transport::Stream, ends, &asker)
            .by_user(Fact::Known(UserName::stated(&user)));
        for letter in b"aAcdhHnNprRsu" {
            let value = expand(&[b'%', *letter], &request).expect("short").text;
            let passes = |&byte: &u8| byte.is_ascii_alphanumeric() || b"!@%-_=+:,./".contains(&byte);
            prop_assert!(value.iter().all(passes), "%{}", char::from(*letter));
            prop_assert!(!value.starts_with(b"-"), "%{}", char::from(*letter));
            if b"unNhHcs".contains(letter) {
                prop_assert!(!value.contains(&b'/') && value != b"." && value != b"..", "%{}", char::from(*letter));
            }
        }
        for (at, &byte) in user.iter().enumerate() {
            let kept = clean(&user, true)[at];
            prop_assert!(kept == byte || kept == b'_', "byte for byte");
        }
    }

    #[test]
    fn lines_are_read_back(
        user in proptest::option::of(vec(any::<u8>(), 0..40)),
        host in vec(any::<u8>(), 0..40),
        address in vec(any::<u8>(), 0..40),
        options in vec(any::<u8>(), 0..40),
        command in "[ -~]{0,40}",
    ) {
        let caller = || Caller { user: user.clone(), host: host.clone(), address: address.clone() };
        let (user, host) = (user.clone(), host.clone());
        let lines = [
            Line::Connect(caller()),
            Line::Refused(caller()),
            Line::Twist { user: user.clone(), host: host.clone(), command: command.into_bytes() },
            Line::IpOptions { user: user.clone(), host: host.clone(), options },
            Line::SourceRoute { user, host },
        ];
        for line in lines {
            let text = line.print();
            prop_assert!(text.iter().all(|byte| (b' '..=b'~').contains(byte)));
            prop_assert_eq!(Line::read(&text), Some(line));
        }
    }
}

proptest! {
    #![proptest_config(cases(20_000))]

    /// The two readings (hosts_access(5), TWO READINGS): whichever is put in by hand, we grant nothing
    /// that it refuses.
    #[test]
    fn no_reading_is_stricter_than_ours(rules in vec(rule(), 1..5), facts in facts(), samples in vec(any::<u64>(), 4)) {
        let ours = decided(&mut tables(&rules, |_| 0), &facts);
        if ours.access == Access::Permit {
            for sample in samples.into_iter().chain([0, u64::MAX]) {
                let reading = |number: usize| if sample >> (number % 64) & 1 == 0 { 1 } else { 2 };
                let theirs = decided(&mut tables(&rules, reading), &facts);
                prop_assert_eq!(theirs.access, Access::Permit, "{:b}: {:?}", sample, theirs.because);
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(4_000))]

    /// An explanation goes the way of the decision: it ends at the same rule, and asks the same
    /// questions in the same order.
    #[test]
    fn explaining_is_deciding_again(rules in vec(rule(), 1..6), facts in facts()) {
        let asker = scripted(&facts);
        let known = |text: &str| Fact::Known(text.as_bytes().to_vec());
        let host = |address, name| Host { address: known(address), name: stated_name(name) };
        let facts = witness::Facts {
            daemon: DaemonName::stated(facts.daemon.as_bytes()),
            client: host(facts.address, asker.client.as_deref()),
            server: host("10.1.2.1", asker.server.as_deref()),
            user: common::stated_user(asker.user.as_deref()),
            ports: witness::Ports { client: None, server: Some(facts.port) },
        };
        let witness = witness::Witness::new(&facts, &asker);
        let [mut allow, mut deny] = tables(&rules, |_| 0);
        let request = facts.fresh(1, &witness, false);
        let decision = decide(&mut Tables::new(&mut allow, &mut deny, false), &request);
        let asked = witness.take();
        allow.rewind();
        deny.rewind();
        let (verdict, told) = (narrator::Verdict::Denied, Vec::new());
        let story = narrator::Story { told, verdict, decision, searched: true };
        let limits = explain::Limits { names: 5, resolves: true, paranoid: false };
        let explanation = explain::explain(&story, (&mut allow, &mut deny), (&facts, &witness), limits);
        let considered: Vec<_> = explanation.tables.iter().flat_map(|search| &search.rules).collect();
        let again: Vec<_> =
            considered.iter().flat_map(|rule| &rule.words).flat_map(|word| word.asked.clone()).collect();
        prop_assert_eq!(again, asked);
        let places = considered.iter().filter(|rule| rule.course == Course::Decides).map(|rule| &rule.place);
        let decided: Vec<_> = match &story.decision.because {
            Because::Rule(_, place) => vec![place],
            _ => Vec::new(),
        };
        prop_assert_eq!(places.collect::<Vec<_>>(), decided);
        for rule in considered {
            let matched = rule.answer == Some(Answer::Yes);
            prop_assert!(!matched || rule.course == Course::Decides, "{:?}", rule.place);
        }
    }
}

#[test]
fn a_numeric_rule_asks_nothing() {
    let facts =
        Facts { daemon: "in.testd", address: "10.1.2.3", name: "host.example.com", user: "joe", port: 21 };
    let asked_by = |allow: &str, deny: &str| {
        let asker = scripted(&facts);
        let request = request(&facts, &asker);
        let mut allow = TextInMemory::new("hosts.allow", allow.as_bytes());
        let mut deny = TextInMemory::new("hosts.deny", deny.as_bytes());
        let decision = decide(&mut Tables::new(&mut allow, &mut deny, false), &request);
        let _ = expand(b"%a %h %c %s %d %p %r %R %H %A", &request);
        (decision.access, asker.asked.total())
    };
    assert_eq!(asked_by("ALL: 192.0.2. 192.0.2.7 10.1.2.3\n", ""), (Access::Permit, 0));
    assert_eq!(asked_by("21: 10.0.0.0/8\n", "ALL: ALL\n"), (Access::Permit, 0));
    assert_eq!(asked_by("22: joe@host.example.com\n", "ALL: [::]/0 10.0.0.0/255.0.0.0\n"), (Access::Deny, 0));
    assert_eq!(asked_by("sshd: KNOWN @staff /nonexistent/f\n", "ALL: ALL\n"), (Access::Deny, 0));
    assert_eq!(asked_by("ALL: joe@192.0.2.7\n", "ALL: 10.1.2.3/33 0.0.0.0/0 : deny\n"), (Access::Deny, 0));
    // And one that needs a name asks for it once, however many rules do.
    assert_eq!(
        asked_by("ALL: .example.org LOCAL\nALL: KNOWN@.example.org\nALL: host.example.com\n", ""),
        (Access::Permit, 1)
    );
    assert_eq!(asked_by("ALL: joe@.example.com\nALL: ALL: deny\n", ""), (Access::Permit, 2));
}
