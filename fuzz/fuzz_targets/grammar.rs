//! A line of a table, as anybody may have written it: reading it ends, printing what was read gives a line
//! that is read in the same way, and an index finds whatever it matches.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::HashSet;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use wrap::facts::{DaemonName, Endpoint, Fact, Request, Stated, Transport, stated_name};
use wrap::rules::keys::{self, Kinds, Reach};
use wrap::rules::{Entry, Item, Line, List, Parsed, Table, grammar, options};
use wrap::verdict::{Because, Tables, decide};

fn items(list: List<'_>) -> Vec<Item<'_>> {
    list.items().collect()
}

/// Reading, printing and reading again.
fn prints(line: &[u8]) {
    let Parsed::Rule(rule) = grammar::line(line) else { return };
    let mut text = Vec::new();
    rule.print(&mut text);
    let Parsed::Rule(again) = grammar::line(&text) else { panic!("no rule: {text:?}") };
    assert_eq!(items(again.daemons), items(rule.daemons), "{text:?}");
    assert_eq!(items(again.clients), items(rule.clients), "{text:?}");
    let fields = |options: Option<&[u8]>| -> Vec<_> {
        let fields = options.into_iter().flat_map(options::fields);
        fields.map(|field| (field.name, field.value)).collect()
    };
    assert_eq!(fields(again.options), fields(rule.options), "{text:?}");
    let mut twice = Vec::new();
    again.print(&mut twice);
    assert_eq!(twice, text);
    let _ = rule.options.map(|text| options::steps(text, &Stated).is_ok());
    let _ = options::refuses(line);
}

/// A table of one line.
struct One<'a>(&'a [u8], Arc<Path>, bool);

impl Table for One<'_> {
    fn next(&mut self) -> Entry<'_> {
        if std::mem::replace(&mut self.2, true) {
            return Entry::End;
        }
        Entry::Line(Line { text: self.0, file: &self.1, number: 1, joins: &[] }, grammar::line(self.0))
    }
    fn rewind(&mut self) {
        self.2 = false;
    }
}

/// What an index would leave out for a client neither decides nor is remarked upon.
fn is_found(line: &[u8], client: &[u8], name: &[u8]) {
    let (mut kinds, mut known, mut spelled) = (Kinds::default(), HashSet::new(), Vec::new());
    let mut fits = true;
    let reach = keys::of_line(&grammar::line(line), |key| {
        fits &= kinds.admit(&key);
        key.spell(&mut spelled);
        known.insert(spelled.clone());
    });
    let mut found = reach == Reach::Always || !fits;
    let name = stated_name(Some(name));
    for text in [client, name.text()] {
        let Ok(()) = keys::of_text(text, &kinds, |key| {
            key.spell(&mut spelled);
            found |= known.contains(&spelled);
            Ok::<_, Infallible>(())
        });
    }
    if found {
        return;
    }
    let client = Endpoint::new(Fact::Known(client.to_vec()), None).named(name);
    let server = Endpoint::new(Fact::Known(b"10.1.2.1".to_vec()), Some(21)).named(Fact::Unknown);
    let request =
        Request::new(DaemonName::stated(b"in.testd"), 1, Transport::Stream, (client, server), &Stated);
    let file: Arc<Path> = Arc::from(Path::new("table"));
    let (mut one, mut none) = (One(line, Arc::clone(&file), false), One(b"", file, true));
    for in_deny in [false, true] {
        one.rewind();
        let decision = match in_deny {
            false => decide(&mut Tables::new(&mut one, &mut none, false), &request),
            true => decide(&mut Tables::new(&mut none, &mut one, false), &request),
        };
        let (because, remarks) = (&decision.because, &decision.remarks);
        assert!(matches!(because, Because::NoRule) && remarks.is_empty(), "{because:?} {remarks:?}");
    }
}

fuzz_target!(|input: &[u8]| {
    let mut parts = input.split(|&byte| byte == b'\n');
    let (line, client, name) = (parts.next(), parts.next(), parts.next());
    let line = line.unwrap_or_default();
    prints(line);
    is_found(line, client.unwrap_or(b"10.1.2.3"), name.unwrap_or(b"host.example.com"));
    for word in line.split(|&byte| grammar::is_separator(byte)) {
        let _ = (grammar::daemon_pattern(word), grammar::client_pattern(word));
        let _ = (grammar::ident_reply(word), grammar::is_numeric_address(word));
        let _ = keys::of_word(word, |_| {});
    }
});
