//! An event for journald, in its native protocol: systemd.journal-fields(7) names the first fields, the
//! others are ours.
//!
//! ```text
//! datagram = field { field } ;
//! field    = name "=" value newline | name newline length value newline ;   the length in 8 bytes, little end first
//! ```
//!
//! A value with a newline in it has its length in front. So nothing that comes from the net begins a
//! field.

#![forbid(unsafe_code)]

use super::{Event, Field, Value, cut, path, text, word};
use std::borrow::Cow;

/// The fields, in their order.
pub fn fields<'e>(event: &Event<'e>) -> [Field<'e>; 22] {
    let (verdict, rule) = (event.verdict, event.rule());
    let (client, server) = (event.client(), event.server());
    let port = |port: Option<u16>| port.map(|port| Value::Number(port.into()));
    [
        ("MESSAGE", Some(Value::Line(cut(event.message)))),
        ("MESSAGE_ID", Some(word(event.kind.message_id()))),
        ("PRIORITY", Some(Value::Number(event.level.into()))),
        ("SYSLOG_FACILITY", Some(Value::Number(event.facility.into()))),
        ("SYSLOG_IDENTIFIER", Some(text(event.tag))),
        ("SYSLOG_PID", Some(Value::Number(event.pid.into()))),
        ("TCPD_VERDICT", verdict.map(|verdict| word(verdict.kind.word()))),
        ("TCPD_BECAUSE", verdict.map(|verdict| word(verdict.notes.why.word()))),
        ("TCPD_RULE_FILE", rule.map(path)),
        ("TCPD_RULE_LINE", rule.map(|place| Value::Number(place.line.into()))),
        ("TCPD_CLIENT_ADDR", client.and_then(|end| end.address.as_deref()).map(text)),
        ("TCPD_CLIENT_PORT", client.and_then(|end| port(end.port))),
        ("TCPD_CLIENT_NAME", verdict.and_then(|verdict| verdict.name.as_deref()).map(text)),
        ("TCPD_CLIENT_USER", verdict.and_then(|verdict| verdict.user.as_deref()).map(text)),
        ("TCPD_NAME_STATUS", verdict.map(|verdict| word(verdict.name_status.word()))),
        ("TCPD_SERVER_ADDR", server.and_then(|end| end.address.as_deref()).map(text)),
        ("TCPD_SERVER_PORT", server.and_then(|end| port(end.port))),
        ("TCPD_TRANSPORT", event.transport().map(word)),
        ("TCPD_DNS_MS", event.lookup_millis().map(Value::Number)),
        ("TCPD_IMAGE", verdict.map(|verdict| Value::Truth(verdict.notes.by_image))),
        ("TCPD_IP_OPTIONS", event.ip_options().map(|options| Value::Text(Cow::Owned(options)))),
        ("TCPD_COMMAND", event.command()),
    ]
}

/// The datagram of an event.
pub fn print(event: &Event<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    for (name, value) in fields(event) {
        let Some(value) = value else { continue };
        out.extend_from_slice(name.as_bytes());
        let value = bytes(value);
        if value.contains(&b'\n') {
            out.push(b'\n');
            out.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            out.push(b'=');
        }
        out.extend_from_slice(&value);
        out.push(b'\n');
    }
    out
}

fn bytes(value: Value<'_>) -> Cow<'_, [u8]> {
    match value {
        Value::Line(line) => Cow::Borrowed(line),
        Value::Text(text) => text,
        Value::Number(number) => Cow::Owned(number.to_string().into_bytes()),
        Value::Truth(truth) => Cow::Borrowed(if truth { b"yes" } else { b"no" }),
        Value::Words(words) => Cow::Owned(words.join(" ").into_bytes()),
    }
}
