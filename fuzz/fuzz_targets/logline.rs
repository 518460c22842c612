//! Lines of a log, ours and others': what is printed is read back as it was, holds nothing but printable
//! ASCII where it is foreign, and reading anything at all ends. In a journal and as JSON, foreign text stays
//! in its field, on its line, and is all there.
//!
//! The input is a line, and the same cut at NUL bytes is user, host and address.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};
use wrap::event::{Connection, Event, Kind, NameStatus, Notes, Peer, Verdict, journal, json};
use wrap::expand;
use wrap::facts::{HostName, Transport};
use wrap::logline::{Caller, Line, escape, printable};

fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|byte| (b' '..=b'~').contains(byte))
}

/// The fields of a journal's datagram, each of which is there once.
fn journal_fields(mut left: &[u8]) -> HashMap<&str, &[u8]> {
    let mut fields = HashMap::new();
    while !left.is_empty() {
        let end = left.iter().position(|byte| b"=\n".contains(byte)).expect("a name");
        let name = std::str::from_utf8(&left[..end]).expect("a name");
        let (value, rest) = if left[end] == b'=' {
            let length = left[end + 1..].iter().position(|&byte| byte == b'\n').expect("an end");
            left[end + 1..].split_at(length)
        } else {
            let (length, rest) = left[end + 1..].split_first_chunk().expect("eight bytes");
            rest.split_at(usize::try_from(u64::from_le_bytes(*length)).expect("a length"))
        };
        assert!(name.bytes().all(|byte| byte == b'_' || byte.is_ascii_uppercase()), "{name}");
        assert_eq!(fields.insert(name, value), None, "{name} twice");
        left = rest.strip_prefix(b"\n").expect("the end of a field");
    }
    fields
}

/// The bytes behind a text of the JSON form.
fn as_they_were(text: &str) -> Vec<u8> {
    let (mut out, mut left) = (Vec::new(), text.as_bytes());
    while let [first, rest @ ..] = left {
        let digits =
            rest.first_chunk::<3>().filter(|digits| digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        let Some([high, middle, low]) = digits.filter(|_| *first == b'\\') else {
            out.push(*first);
            left = rest;
            continue;
        };
        out.push(((high - b'0') << 6) + ((middle - b'0') << 3) + (low - b'0'));
        left = &rest[3..];
    }
    out
}

/// What strangers chose, in an event: as a user, a host, an address, a command and a service.
fn in_fields(user: &[u8], host: &[u8], address: &[u8], message: &[u8]) {
    let end = |address: &[u8]| Peer { address: Some(address.to_vec()), port: Some(23) };
    let connection = Connection { client: end(address), server: end(host), transport: Transport::Stream };
    let verdict = Verdict {
        kind: Kind::Twisted,
        notes: Notes { ip_options: address.iter().copied().take(40).collect(), ..Notes::default() },
        connection: connection.clone(),
        name: Some(host.to_vec()),
        name_status: NameStatus::Known,
        user: Some(user.to_vec()),
        lookups: Duration::from_millis(7),
        command: Some(user.to_vec()),
    };
    let event = Event {
        time: UNIX_EPOCH + Duration::from_micros(user.len() as u64 * 1_000_000_007),
        kind: Kind::Twisted,
        message,
        facility: 3,
        level: 4,
        daemon: host,
        tag: host,
        pid: 4711,
        rule: None,
        connection: Some(&connection),
        verdict: Some(&verdict),
    };
    let datagram = journal::print(&event);
    let fields = journal_fields(&datagram);
    for (name, value) in [
        ("MESSAGE", message),
        ("SYSLOG_IDENTIFIER", host),
        ("TCPD_CLIENT_ADDR", address),
        ("TCPD_CLIENT_NAME", host),
        ("TCPD_CLIENT_USER", user),
        ("TCPD_COMMAND", user),
        ("TCPD_VERDICT", b"twisted"),
    ] {
        assert_eq!(fields.get(name), Some(&value), "{name}");
    }

    let line = json::print(&event);
    let (end, rest) = line.split_last().expect("a line");
    let text = std::str::from_utf8(rest).expect("UTF-8");
    let misleads = |letter: char| {
        letter.is_control()
            || "\u{61c}\u{2028}\u{2029}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}".contains(letter)
    };
    assert!(*end == b'\n' && !text.chars().any(misleads), "{text:?}");
    let object: Value = serde_json::from_str(text).expect("JSON");
    for (name, value) in [
        ("/process/name", host),
        ("/source/address", address),
        ("/source/domain", host),
        ("/source/user/name", user),
        ("/destination/address", host),
    ] {
        let found = object.pointer(name).and_then(Value::as_str);
        assert_eq!(found.map(as_they_were).as_deref(), Some(value), "{name}");
    }
    if let Ok(message) = std::str::from_utf8(message) {
        assert_eq!(object.pointer("/message").and_then(Value::as_str), Some(message));
    }
}

fuzz_target!(|input: &[u8]| {
    if let Some(line) = Line::read(input) {
        // What somebody else wrote may be written in other ways, but says the same.
        let text = line.print();
        if !matches!(line, Line::Twist { .. }) {
            assert!(is_printable(&text), "{text:?}");
        }
        assert_eq!(Line::read(&text).map(|again| again.print()), Some(text));
    }

    let mut parts = input.split(|&byte| byte == 0).map(<[u8]>::to_vec);
    let mut part = || parts.next().unwrap_or_default();
    let (user, host, address) = (part(), part(), part());
    in_fields(&user, &host, &address, input);
    let user = (!user.is_empty()).then_some(user);
    let caller = Caller { user: user.clone(), host: host.clone(), address: address.clone() };
    for line in [
        Line::Connect(caller.clone()),
        Line::Refused(caller),
        Line::IpOptions { user: user.clone(), host: host.clone(), options: address },
        Line::SourceRoute { user, host: host.clone() },
    ] {
        let text = line.print();
        assert!(is_printable(&text), "{text:?}");
        assert_eq!(Line::read(&text), Some(line));
    }

    let mut escaped = Vec::new();
    escape(input, b"", &mut escaped);
    assert!(is_printable(&escaped) && !escaped.iter().any(|byte| b" ()".contains(byte)));
    assert!(!printable(input).iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'));
    for name in [false, true] {
        let cleaned = expand::clean(input, name);
        assert!(!cleaned.starts_with(b"-") && cleaned.len() <= input.len());
    }
    let _ = HostName::from_dns(input);
});
