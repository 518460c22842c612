//! An event as one JSON object on one line (RFC 8259), with the field names of the Elastic Common Schema;
//! what that has no name for is under `tcpd`. A dot in a name below is an object in an object.
//!
//! The line is ASCII but for what people can read, and has no line break of any kind in it but its last
//! byte. A byte that is no part of UTF-8 is written `\ooo`, and so is a backslash that would be read as
//! the beginning of one: nothing is lost, and nobody forges anything.
//!
//! It is printed by hand: serde_json escapes neither DEL nor what is a line break to some readers, has no
//! way to write a byte that is no UTF-8, and adds 10 kB to a program that starts for every connection.

#![forbid(unsafe_code)]

use super::{Event, Field, Kind, Peer, Value, cut, path, text, word};
use crate::error::Place;
use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::{SystemTime, UNIX_EPOCH};

/// The release of the schema whose names these are.
const SCHEMA: &str = "8.17.0";

/// The fields, in their order: those of one object stand together.
pub fn fields<'e>(event: &Event<'e>) -> [Field<'e>; 36] {
    let (verdict, rule) = (event.verdict, event.rule());
    let (client, server) = (event.client(), event.server());
    let address = |end: Option<&'e Peer>| end.and_then(|end| end.address.as_deref());
    let port = |end: Option<&Peer>| end.and_then(|end| end.port).map(|port| Value::Number(port.into()));
    let is_meant = verdict.map(|verdict| verdict.notes.why.is_meant());
    let (types, outcome): (&'static [&'static str], _) = match (event.kind, is_meant) {
        (Kind::Served, _) => (&["connection", "allowed"], Some("success")),
        (Kind::Refused | Kind::Twisted, Some(false)) => (&["connection", "denied"], Some("failure")),
        (Kind::Refused | Kind::Twisted, _) => (&["connection", "denied"], Some("success")),
        (Kind::Error, _) => (&["error"], Some("failure")),
        (Kind::Info | Kind::Warning, _) => (&["info"], None),
    };
    [
        ("@timestamp", Some(Value::Text(Cow::Owned(timestamp(event.time).into_bytes())))),
        ("log.level", Some(word(level(event.level)))),
        ("log.syslog.facility.code", Some(Value::Number(event.facility.into()))),
        ("log.syslog.severity.code", Some(Value::Number(event.level.into()))),
        ("message", Some(Value::Line(cut(event.message)))),
        ("ecs.version", Some(word(SCHEMA))),
        ("event.kind", Some(word("event"))),
        ("event.category", Some(Value::Words(&["network"]))),
        ("event.type", Some(Value::Words(types))),
        ("event.action", Some(word(event.kind.word()))),
        ("event.outcome", outcome.map(word)),
        ("event.reason", verdict.map(|verdict| word(verdict.notes.why.word()))),
        ("event.code", Some(word(event.kind.message_id()))),
        ("event.provider", Some(word("tcpd"))),
        ("process.name", Some(text(event.daemon))),
        ("process.pid", Some(Value::Number(event.pid.into()))),
        ("source.address", address(client).map(text)),
        ("source.ip", address(client).and_then(ip)),
        ("source.port", port(client)),
        ("source.domain", verdict.and_then(|verdict| verdict.name.as_deref()).map(text)),
        ("source.user.name", verdict.and_then(|verdict| verdict.user.as_deref()).map(text)),
        ("destination.address", address(server).map(text)),
        ("destination.ip", address(server).and_then(ip)),
        ("destination.port", port(server)),
        ("network.transport", event.transport().map(word)),
        ("rule.name", rule.map(|place| Value::Text(Cow::Owned(rule_name(place))))),
        ("rule.ruleset", rule.map(path)),
        ("observer.product", Some(word("tcpd"))),
        ("observer.type", Some(word("wrapper"))),
        ("tcpd.verdict", verdict.map(|verdict| word(verdict.kind.word()))),
        ("tcpd.rule_line", rule.map(|place| Value::Number(place.line.into()))),
        ("tcpd.name_status", verdict.map(|verdict| word(verdict.name_status.word()))),
        ("tcpd.dns_ms", event.lookup_millis().map(Value::Number)),
        ("tcpd.image", verdict.map(|verdict| Value::Truth(verdict.notes.by_image))),
        ("tcpd.ip_options", event.ip_options().map(|options| Value::Text(Cow::Owned(options)))),
        ("tcpd.command", event.command()),
    ]
}

/// As in `/etc/hosts.deny:3`.
fn rule_name(place: &Place) -> Vec<u8> {
    [cut(place.file.as_os_str().as_encoded_bytes()), format!(":{}", place.line).as_bytes()].concat()
}

/// An address that programs take for one: a scope is left out, and `localhost` is none.
fn ip(address: &[u8]) -> Option<Value<'_>> {
    let bare = address.split(|&byte| byte == b'%').next()?;
    let is_ip = std::str::from_utf8(bare).is_ok_and(|text| text.parse::<IpAddr>().is_ok());
    is_ip.then(|| text(bare))
}

fn level(number: u8) -> &'static str {
    match number {
        0 => "emerg",
        1 => "alert",
        2 => "crit",
        3 => "err",
        4 => "warning",
        5 => "notice",
        6 => "info",
        _ => "debug",
    }
}

/// `2026-11-21T09:27:14.123Z`
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a day after 1970-01-01.
fn date(day: u64) -> (u64, u64, u64) {
    const LENGTHS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    const FOUR_CENTURIES: u64 = 146_097;
    let leaps = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970 + day / FOUR_CENTURIES * 400;
    let mut left = day % FOUR_CENTURIES;
    loop {
        let length = 365 + u64::from(leaps(year));
        if left < length {
            break;
        }
        left -= length;
        year += 1;
    }
    for (month, length) in (1..).zip(LENGTHS) {
        let length = length + u64::from(month == 2 && leaps(year));
        if left < length {
            return (year, month, left + 1);
        }
        left -= length;
    }
    (year, 12, 31)
}

/// The line of an event, with its newline.
pub fn print(event: &Event<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let mut open: Vec<&str> = Vec::new();
    out.push(b'{');
    for (name, value) in fields(event) {
        let Some(value) = value else { continue };
        let mut above: Vec<&str> = name.split('.').collect();
        let name = above.pop().unwrap_or_default();
        let shared = open.iter().zip(&above).take_while(|(open, wanted)| open == wanted).count();
        close(&mut open, shared, &mut out);
        for object in above.into_iter().skip(shared) {
            key(object, &mut out);
            out.push(b'{');
            open.push(object);
        }
        key(name, &mut out);
        value_of(&value, &mut out);
    }
    close(&mut open, 0, &mut out);
    out.extend_from_slice(b"}\n");
    out
}

/// Closes objects until so many are open.
fn close(open: &mut Vec<&str>, left: usize, out: &mut Vec<u8>) {
    while open.len() > left {
        open.pop();
        out.push(b'}');
    }
}

fn key(name: &str, out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.extend_from_slice(format!("\"{name}\":").as_bytes());
}

fn value_of(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Line(line) => string(line, Backslash::IsItself, out),
        Value::Text(text) => string(text, Backslash::MayBegin, out),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::Truth(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
        Value::Words(words) => {
            for (at, word) in words.iter().enumerate() {
                out.push(if at == 0 { b'[' } else { b',' });
                string(word.as_bytes(), Backslash::IsItself, out);
            }
            out.push(b']');
        }
    }
}

/// What a backslash before three octal digits is taken for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backslash {
    /// A byte is written so already.
    IsItself,
    /// It may begin such a byte, and must not.
    MayBegin,
}

/// What some readers take for the end of a line, and what turns the text around on a screen.
const MISLEADING: [RangeInclusive<char>; 5] = [
    '\u{61c}'..='\u{61c}',
    '\u{2028}'..='\u{2029}',
    '\u{200e}'..='\u{200f}',
    '\u{202a}'..='\u{202e}',
    '\u{2066}'..='\u{2069}',
];

/// ```text
/// string = '"' { character | escape } '"' ;   (RFC 8259, 7)
/// ```
fn string(text: &[u8], backslash: Backslash, out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid().chars();
        while let Some(letter) = rest.next() {
            let digits = rest.as_str().as_bytes().first_chunk::<3>();
            let misleads = digits.is_some_and(|digits| digits.iter().all(|d| (b'0'..=b'7').contains(d)));
            match letter {
                '\\' if misleads && backslash == Backslash::MayBegin => octal(b'\\', out),
                '"' | '\\' => out.extend_from_slice(&[b'\\', letter as u8]),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                _ if letter.is_control() || MISLEADING.iter().any(|some| some.contains(&letter)) => {
                    unicode(letter, out);
                }
                _ => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        chunk.invalid().iter().for_each(|&byte| octal(byte, out));
    }
    out.push(b'"');
}

fn octal(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\\\\{byte:03o}").as_bytes());
}

fn unicode(letter: char, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\\u{:04x}", u32::from(letter)).as_bytes());
}
