//! The regular expressions of the programs that read these logs, as they stand in their files, match
//! our lines; and no name, user or address that a client may choose makes them take the blame to
//! another address.
#![forbid(unsafe_code)]

#[path = "common/readers.rs"]
mod readers;

use proptest::prelude::*;
use readers::{
    CROWDSEC, FAIL2BAN, LOGWATCH_CONNECT, LOGWATCH_REFUSED, OSSEC, OSSEC_DECODERS, all_blamed, blamed, regex,
};
use std::path::Path;
use std::sync::Arc;
use wrap::error::{NameDoubt, Place, Problem, Weight, What};
use wrap::logline::{self, Caller, Line};

fn caller(user: Option<&[u8]>, host: &[u8], address: &[u8]) -> Caller {
    Caller { user: user.map(<[u8]>::to_vec), host: host.to_vec(), address: address.to_vec() }
}

/// The line as text. It is ASCII whatever went in.
fn printed(line: &Line) -> String {
    let text = line.print();
    assert!(text.iter().all(|byte| (b' '..=b'~').contains(byte)), "{text:?}");
    String::from_utf8(text).expect("ASCII")
}

#[test]
fn plain_refusals_are_seen_by_all() {
    let cases = [
        (None, "192.0.2.7", "192.0.2.7", "192.0.2.7"),
        (None, "host.example.com", "192.0.2.7", "192.0.2.7"),
        (Some("joe"), "host.example.com", "2001:db8::7", "2001:db8::7"),
        (None, "::ffff:192.0.2.7", "::ffff:192.0.2.7", "192.0.2.7"),
    ];
    for (user, host, address, blame) in cases {
        let line =
            printed(&Line::Refused(caller(user.map(str::as_bytes), host.as_bytes(), address.as_bytes())));
        assert_eq!(blamed(&FAIL2BAN, &line).as_deref(), Some(blame), "{line}");
        assert_eq!(blamed(&CROWDSEC, &line).as_deref(), Some(blame), "{line}");
        assert!(OSSEC.is_match(&line));
        let behind = line.strip_prefix("refused connect ").expect("the lead");
        let sources: Vec<_> = OSSEC_DECODERS.iter().filter_map(|decoder| blamed(decoder, behind)).collect();
        assert_eq!(sources, [address], "{line}");
        let line = format!("in.testd[4711]: {line}");
        let client = LOGWATCH_REFUSED.captures(&line).expect("logwatch")[2].to_owned();
        assert!(client.ends_with(&format!("({address})")), "{client}");
    }
    let served = printed(&Line::Connect(caller(None, b"192.0.2.7", b"192.0.2.7")));
    assert!(LOGWATCH_CONNECT.is_match(&format!("in.testd[1]: {served}")));
    assert!(blamed(&FAIL2BAN, &served).is_none() && blamed(&CROWDSEC, &served).is_none());
}

#[test]
fn warnings_about_names_are_seen_by_logwatch() {
    let place = Place { file: Arc::from(Path::new("/etc/hosts.allow")), line: 15, spot: None };
    let said = |doubt: NameDoubt| {
        let problem = Problem::at(place.clone(), Weight::Warning, What::Name(doubt));
        String::from_utf8(logline::problem(&problem).remove(0).text).expect("ASCII")
    };
    let name = b"host.example.com".to_vec();
    let secure = regex(
        r"^([^ ]+)\[\d+\]: warning: ([^ ]+), line \d+: can't verify hostname: getaddrinfo\(([^ ]+), AF_INET\) failed$",
    );
    let sshd =
        regex(r"^warning: ([^ ]*), line \d+: can't verify hostname: getaddrinfo\(([^ ]*), AF_INET\) failed$");
    let mismatch = regex(r"^warning: ([^ ]*), line \d+: host [^ ]* mismatch: (.*)$");
    let names = regex(r"host name/name mismatch: ([^ ]+) != ([^ ]+)$");
    let line = said(NameDoubt::CannotVerify { name: name.clone(), six: false });
    assert!(sshd.is_match(&line) && secure.is_match(&format!("sshd[1]: {line}")), "{line}");
    let line = said(NameDoubt::OtherName { name: name.clone(), canonical: b"other.example.com".to_vec() });
    assert!(mismatch.is_match(&line) && names.is_match(&line), "{line}");
    let line = said(NameDoubt::OtherAddress { address: "192.0.2.7".into(), name: name.clone() });
    assert!(mismatch.is_match(&line), "{line}");
    // A name with every trick in it forges neither the end of the line nor a second name.
    let hostile = b"a, AF_INET) failed\nwarning: x != y".to_vec();
    let line = said(NameDoubt::CannotVerify { name: hostile.clone(), six: false });
    assert_eq!(sshd.captures(&line).expect("one line")[2].matches("AF_INET").count(), 1, "{line}");
    let line = said(NameDoubt::OtherName { name, canonical: hostile });
    assert_eq!(&names.captures(&line).expect("one line")[1], "host.example.com");
}

/// Text that knows what the filters look for.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"(198.51.100.66)".to_vec()),
        Just(b" (198.51.100.66)".to_vec()),
        Just(b"198.51.100.66".to_vec()),
        Just(b"::ffff:198.51.100.66)".to_vec()),
        Just(b"\nrefused connect from x (198.51.100.66)".to_vec()),
        Just(b"refused connect from".to_vec()),
        Just(b"\\050198.51.100.66\\051".to_vec()),
        Just(b"@".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_puts_the_blame_on_another(user in proptest::option::of(hostile()), host in hostile()) {
        for address in ["192.0.2.7", "2001:db8::7"] {
            let line = printed(&Line::Refused(caller(user.as_deref(), &host, address.as_bytes())));
            for blame in all_blamed(&line) {
                prop_assert_eq!(blame, address, "{}", line);
            }
            prop_assert_eq!(blamed(&CROWDSEC, &line), Some(address.to_owned()));
            let line = printed(&Line::Connect(caller(user.as_deref(), &host, address.as_bytes())));
            prop_assert_eq!([blamed(&FAIL2BAN, &line), blamed(&CROWDSEC, &line)], [None, None]);
        }
    }
}
