//! What other programs hand over: lines of their logs, objects of journals, requests of a batch, tests. What
//! is read of them stands in them; an object that is JSON is read, with the message that it has; a request
//! says what it states.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use wrap::facts::{DaemonName, Fact, stated_name};
use wrap::inquiry::request;
use wrap::replay::entry::Fields;
use wrap::replay::header::{self, Moment, Record};
use wrap::replay::shapes;
use wrap::rules::trial::{self, VERDICTS};

/// An object as deep as this is still read.
const DEPTH: usize = 30;

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(values) => 1 + values.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Whether a text was not made, but found.
fn stands_in(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    part.start == part.end || (whole.start <= part.start && part.end <= whole.end)
}

fn told(record: &Record<'_>) {
    let _ = (shapes::read(record), Moment::of(record.stamp).to_string());
    if let Some((count, message)) = shapes::repeated(record.message) {
        assert!(stands_in(message, record.message));
        let _ = (count, shapes::read(&Record { message, ..*record }));
    }
}

fn object(line: &[u8], fields: &mut Fields) {
    let is_read = fields.read(line);
    let Ok(value) = serde_json::from_slice::<Value>(line) else { return };
    if value.is_object() && depth(&value) <= DEPTH {
        assert!(is_read, "{value}");
        let message = ["MESSAGE", "message"].into_iter().find_map(|name| value.get(name));
        let record = fields.record();
        match message {
            Some(Value::String(text)) => {
                assert_eq!(record.map(|record| record.message), Some(text.as_bytes()))
            }
            Some(_) => {}
            None => assert_eq!(record, None, "{value}"),
        }
    }
}

fn stated(line: &[u8]) {
    let value = serde_json::from_slice::<Value>(line).ok();
    let request = match request::read(line) {
        Ok(request) => request,
        Err(complaint) => {
            assert!(!complaint.why.is_empty() && !complaint.why.contains('\n'));
            return;
        }
    };
    assert!(request.id.is_none_or(|id| stands_in(id.as_bytes(), line)));
    // A text that is cut in the middle of a letter is no matter of JSON.
    let Some(Value::Object(members)) = value else {
        panic!("no object: {:?}", line.escape_ascii().to_string())
    };
    for (key, value) in &members {
        let Value::String(text) = value else { continue };
        let text = text.as_bytes();
        match key.as_str() {
            "daemon" => assert_eq!(request.facts.daemon, DaemonName::stated(text)),
            "name" => assert_eq!(request.facts.client.name, stated_name(Some(text))),
            "client" if text != b"unknown" => {
                assert_eq!(request.facts.client.address, Fact::Known(text.to_vec()));
            }
            "client" | "server" | "server-name" | "user" | "id" => {}
            other => panic!("{other}"),
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let mut fields = Fields::default();
    for line in input.split(|&byte| byte == b'\n') {
        if let Some(record) = header::read(line) {
            assert!(stands_in(record.message, line) && stands_in(record.tag, line));
            told(&record);
        }
        told(&Record { tag: b"sshd", message: line, ..Record::default() });
        object(line, &mut fields);
        if let Some(record) = fields.record() {
            told(&record);
        }
        stated(line);
        match trial::read(line) {
            None => {}
            Some(Err((at, _))) => assert!(stands_in(at, line)),
            Some(Ok(trial)) => {
                assert!(VERDICTS.contains(&trial.expected.verdict));
                assert!(!trial.daemon.is_empty() && !trial.client.address.is_empty());
                assert!(
                    [trial.daemon, trial.client.address, trial.expected.text]
                        .iter()
                        .all(|p| stands_in(p, line))
                );
            }
        }
    }
});
