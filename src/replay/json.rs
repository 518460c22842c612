//! A replay for programs: one object on one line. Its schema is in tcpdmatch(8).
//!
//! Bytes that are no UTF-8 become U+FFFD.

#![forbid(unsafe_code)]

use super::judge::{Cause, Missing, RuleAt};
use super::tally::{Count, Flips, Hits, Open};
use super::{Replay, Session};
use crate::facts::Side;
use crate::logline;
use crate::rules::Which;
use serde_json::{Map, Value, json};

/// What flips, and what may.
pub fn flips(replay: &Replay<'_>, session: Option<&Session>, warnings: &[Vec<u8>]) -> Value {
    let tally = &replay.tally;
    let mut object = head(replay, warnings);
    let groups = tally.flips().into_iter().flat_map(|(_, _, rows)| rows);
    object.extend([
        ("session".to_owned(), session.map_or(Value::Null, |session| session_of(replay, session))),
        ("unchanged".to_owned(), tally.same.into()),
        ("flips".to_owned(), tally.flipped.into()),
        ("accepted".to_owned(), tally.accepted.into()),
        ("undecided".to_owned(), tally.undecided.into()),
        ("groups".to_owned(), groups.map(|row| group(replay, &row)).collect()),
        ("open".to_owned(), tally.open().into_iter().map(|row| open(replay, row)).collect()),
    ]);
    Value::Object(object)
}

/// How often each rule decided.
pub fn hits(replay: &Replay<'_>, warnings: &[Vec<u8>]) -> Value {
    let hits = replay.tally.hits();
    let rules = [Which::Allow, Which::Deny].into_iter().flat_map(|which| {
        let lines = replay.rules.text(which).lines();
        lines.map(move |(line, text)| (Cause::Rule(RuleAt { which, line }), Some(text)))
    });
    let others = [Cause::NoRule, Cause::Trouble].into_iter().filter(|cause| hits.contains_key(cause));
    let all = rules.chain(others.map(|cause| (cause, None)));
    let rows = all.map(|(cause, text)| hit(replay, cause, text, hits.get(&cause)));
    let mut object = head(replay, warnings);
    object.insert("hits".to_owned(), rows.collect());
    Value::Object(object)
}

fn head(replay: &Replay<'_>, warnings: &[Vec<u8>]) -> Map<String, Value> {
    let [allow, deny] = replay.rules.files();
    let noticed = replay.judge.noticed.iter().flat_map(logline::problem).map(|entry| text(&entry.text));
    let lines = &replay.lines;
    let mut object = Map::new();
    object.extend([
        ("logs".to_owned(), json!(replay.logs)),
        (
            "lines".to_owned(),
            json!({
                "all": lines.all,
                "connections": lines.connections,
                "other": lines.other,
                "unread": lines.unread,
            }),
        ),
        ("unread".to_owned(), unread(replay)),
        ("rules".to_owned(), json!({ "allow": allow.to_string_lossy(), "deny": deny.to_string_lossy() })),
        ("warnings".to_owned(), warnings.iter().map(|line| text(line)).chain(noticed).collect()),
    ]);
    object
}

fn unread(replay: &Replay<'_>) -> Value {
    let line = |line: &super::Unread| json!({ "log": replay.logs.get(line.log), "line": line.number, "text": text(&line.text) });
    replay.unread.iter().map(line).collect()
}

fn session_of(replay: &Replay<'_>, session: &Session) -> Value {
    json!({
        "address": text(&session.address),
        "possible": session.outcome.verdicts().map(|verdict| verdict.word()).collect::<Vec<_>>(),
        "because": because(session.outcome.cause),
        "decided_by": decided_by(replay, session.outcome.cause),
        "accepted": session.accepted,
    })
}

fn group(replay: &Replay<'_>, row: &Flips<'_>) -> Value {
    let Flips { group, count, examples } = row;
    json!({
        "was": group.was.word(),
        "becomes": group.becomes.word(),
        "because": because(group.cause),
        "decided_by": decided_by(replay, group.cause),
        "daemon": text(&group.daemon),
        "network": group.network.to_string(),
        "accepted": group.accepted,
        "count": count.number,
        "first": count.first.moment.to_string(),
        "last": count.last.moment.to_string(),
        "examples": examples.iter().map(|line| text(line)).collect::<Vec<_>>(),
    })
}

fn open(replay: &Replay<'_>, (open, count, examples): (&Open, &Count, &[Vec<u8>])) -> Value {
    let (kind, of) = missing(&open.missing);
    json!({
        "was": open.was.word(),
        "possible": open.possible.iter().map(|verdict| verdict.word()).collect::<Vec<_>>(),
        "asked_by": open.by.map(|rule| place(replay, rule)),
        "missing": kind,
        "of": of,
        "count": count.number,
        "first": count.first.moment.to_string(),
        "last": count.last.moment.to_string(),
        "examples": examples.iter().map(|line| text(line)).collect::<Vec<_>>(),
    })
}

fn hit(replay: &Replay<'_>, cause: Cause, rule: Option<&[u8]>, hits: Option<&Hits>) -> Value {
    let Hits { sure, perhaps } = hits.copied().unwrap_or_default();
    let number = |count: Option<Count>| count.map_or(0, |count| count.number);
    json!({
        "because": because(cause),
        "decided_by": decided_by(replay, cause),
        "text": rule.map(text),
        "count": number(sure),
        "first": sure.map(|count| count.first.moment.to_string()),
        "last": sure.map(|count| count.last.moment.to_string()),
        "perhaps": number(perhaps),
    })
}

fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

fn because(cause: Cause) -> &'static str {
    match cause {
        Cause::Rule(_) => "rule",
        Cause::NoRule => "no-rule",
        Cause::Trouble => "trouble",
    }
}

fn decided_by(replay: &Replay<'_>, cause: Cause) -> Option<Value> {
    match cause {
        Cause::Rule(rule) => Some(place(replay, rule)),
        Cause::NoRule | Cause::Trouble => None,
    }
}

fn place(replay: &Replay<'_>, rule: RuleAt) -> Value {
    json!({ "file": replay.rules.text(rule.which).file.to_string_lossy(), "line": rule.line })
}

/// What is missing, and of whom.
fn missing(missing: &Missing) -> (&'static str, Option<Value>) {
    let of = |side: &Side| Some(Value::from(if *side == Side::Client { "client" } else { "server" }));
    match missing {
        Missing::Daemon => ("daemon", None),
        Missing::Name(side) => ("name", of(side)),
        Missing::Address(side) => ("address", of(side)),
        Missing::Port => ("port", of(&Side::Server)),
        Missing::User => ("user", of(&Side::Client)),
        Missing::Netgroup(group) => ("netgroup", Some(text(group))),
        Missing::Command => ("command", None),
    }
}
