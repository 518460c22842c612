//! An explanation for programs: one object on one line. Its schema is in tcpdmatch(8).
//!
//! Bytes that are no UTF-8 become U+FFFD; a program that needs them reads the file that is named.

#![forbid(unsafe_code)]

use super::{Considered, Course, Explanation, Letter, Listed, Search, Word};
use crate::facts::{Fact, Side};
use crate::hosts::Host;
use crate::narrator::Told;
use crate::rules::Which;
use crate::verdict::{Answer, Because};
use crate::witness::Question;
use serde_json::{Value, json};

/// The object of an explanation; `warnings` are the lines that came before it.
pub fn object(explanation: &Explanation<'_>, warnings: &[Vec<u8>]) -> Value {
    let facts = explanation.facts;
    let mut client = host(&facts.client, facts.ports.client);
    if let Some(client) = client.as_object_mut() {
        client.insert("user".to_owned(), known(&facts.user));
    }
    let (because, decided_by) = match explanation.because {
        Because::Rule(_, place) => ("rule", place.file.to_str().map(|file| (file, place.line))),
        Because::NoRule => ("no-rule", None),
        Because::Trouble => ("trouble", None),
    };
    json!({
        "access": explanation.verdict.word(),
        "because": because,
        "decided_by": decided_by.map(|(file, line)| json!({ "file": file, "line": line })),
        "daemon": text(facts.daemon.as_ref()),
        "client": client,
        "server": host(&facts.server, facts.ports.server),
        "image": explanation.image.as_ref().ok().map(|path| path.to_string_lossy()),
        "image_not_used": explanation.image.as_ref().err(),
        "warnings": warnings.iter().map(|line| text(line)).collect::<Vec<_>>(),
        "tables": explanation.tables.iter().map(|search| table(search, explanation)).collect::<Vec<_>>(),
        "options": options(explanation),
        "log": explanation.told.iter().filter_map(line).collect::<Vec<_>>(),
    })
}

fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

/// What is not known is null; a name that does not agree is the word `paranoid`.
fn known<T: AsRef<[u8]>>(fact: &Fact<T>) -> Value {
    match fact {
        Fact::Unknown => Value::Null,
        fact => text(fact.text()),
    }
}

fn host(host: &Host, port: Option<u16>) -> Value {
    json!({ "address": known(&host.address), "name": known(&host.name), "port": port })
}

fn table(search: &Search, explanation: &Explanation<'_>) -> Value {
    let rules = search.rules.iter().map(|rule| considered(rule, explanation));
    json!({
        "table": match search.which { Which::Allow => "hosts.allow", Which::Deny => "hosts.deny" },
        "rules": rules.collect::<Vec<_>>(),
        "left_out": search.left_out,
    })
}

fn considered(rule: &Considered, explanation: &Explanation<'_>) -> Value {
    json!({
        "file": rule.place.file.to_string_lossy(),
        "line": rule.place.line,
        "text": text(&rule.text),
        "outcome": match rule.course {
            Course::NoMatch => "no-match",
            Course::Decides => "decides",
            Course::PassedOver => "two-ways",
            Course::Unreadable => "unreadable",
        },
        "words": rule.words.iter().map(|found| word(found, explanation)).collect::<Vec<_>>(),
    })
}

fn word(word: &Word, explanation: &Explanation<'_>) -> Value {
    json!({
        "list": match word.list { Listed::Daemons => "daemons", Listed::Clients => "clients" },
        "excepts": word.excepts,
        "word": text(&word.text),
        "answer": match word.answer {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::TwoWays => "two-ways",
        },
        "asks": questions(&word.asked, explanation),
    })
}

fn questions(asked: &[Question], explanation: &Explanation<'_>) -> Value {
    let names = explanation.limits.names;
    let question = |question: &Question| match question {
        Question::Name(Side::Client) => json!({ "kind": "name", "of": "client", "seconds": names }),
        Question::Name(Side::Server) => json!({ "kind": "name", "of": "server", "seconds": names }),
        Question::User(seconds) => json!({ "kind": "user", "of": "client", "seconds": seconds }),
        Question::Netgroup(group) => json!({ "kind": "netgroup", "of": text(group), "seconds": names }),
        Question::File(path) => json!({ "kind": "file", "of": text(path), "seconds": 0 }),
    };
    asked.iter().map(question).collect()
}

/// The options that would act, each with its letters and what it would do.
fn options(explanation: &Explanation<'_>) -> Value {
    let mut letters = explanation.letters.iter();
    let mut options: Vec<Value> = Vec::new();
    for told in explanation.told {
        match told {
            Told::Option { name, value } => {
                let letters = letters.next().into_iter().flatten();
                options.push(json!({
                    "option": text(name),
                    "value": text(value),
                    "letters": letters.map(|found| letter(found, explanation)).collect::<Vec<_>>(),
                    "does": [],
                    "shows": "",
                }));
            }
            Told::Deed(sentence) => {
                let does = options.last_mut().and_then(|option| option.get_mut("does"));
                does.and_then(Value::as_array_mut).into_iter().for_each(|does| does.push(text(sentence)));
            }
            Told::Shown(shown) => {
                if let Some(Value::String(so_far)) =
                    options.last_mut().and_then(|option| option.get_mut("shows"))
                {
                    so_far.push_str(&String::from_utf8_lossy(shown));
                }
            }
            Told::Line(..) | Told::Matched(_) => {}
        }
    }
    Value::Array(options)
}

fn letter(letter: &Letter, explanation: &Explanation<'_>) -> Value {
    json!({
        "letter": char::from(letter.letter).to_string(),
        "value": text(&letter.value),
        "asks": questions(&letter.asked, explanation),
    })
}

fn line(told: &Told) -> Option<Value> {
    match told {
        Told::Line(entry, priority) => {
            Some(json!({ "priority": priority.to_string(), "text": text(&entry.text) }))
        }
        _ => None,
    }
}
