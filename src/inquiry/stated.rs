//! Which facts can be stated, by which keys, and what must a value be?
//!
//! The keys are those of `--stated` and of the members of a request of `--batch`: one table for both.

#![forbid(unsafe_code)]

use crate::facts::{DaemonName, Fact, stated_name, stated_user};
use crate::hosts::is_address;
use crate::witness::Facts;

/// Takes the value of a key over into the facts; or says what is wrong with it.
type Take = fn(&mut Facts, &[u8]) -> Result<(), &'static str>;

/// Every key, whether its value is a number, and what becomes of the value.
#[rustfmt::skip]
const KEYS: [(&str, bool, Take); 8] = [
    ("daemon",      false, |facts, value| { facts.daemon = DaemonName::stated(value); Ok(()) }),
    ("client",      false, |facts, value| address(value).map(|found| facts.client.address = found)),
    ("name",        false, |facts, value| { facts.client.name = stated_name(Some(value)); Ok(()) }),
    ("client-port", true,  |facts, value| port(value).map(|found| facts.ports.client = Some(found))),
    ("user",        false, |facts, value| { facts.user = stated_user(value); Ok(()) }),
    ("server",      false, |facts, value| address(value).map(|found| facts.server.address = found)),
    ("server-name", false, |facts, value| { facts.server.name = stated_name(Some(value)); Ok(()) }),
    ("server-port", true,  |facts, value| port(value).map(|found| facts.ports.server = Some(found))),
];

fn address(value: &[u8]) -> Result<Fact<Vec<u8>>, &'static str> {
    match value {
        b"unknown" => Ok(Fact::Unknown),
        value if is_address(value) => Ok(Fact::Known(value.to_vec())),
        _ => Err("no address"),
    }
}

fn port(value: &[u8]) -> Result<u16, &'static str> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or("no port")
}

/// The keys, for people.
pub fn keys() -> String {
    KEYS.map(|(key, ..)| key).join(", ")
}

/// A key of the table.
#[derive(Clone, Copy)]
pub struct Key(usize);

impl Key {
    pub fn named(name: &[u8]) -> Option<Key> {
        KEYS.iter().position(|(key, ..)| key.as_bytes() == name).map(Key)
    }

    pub fn is_number(self) -> bool {
        KEYS.get(self.0).is_some_and(|(_, is_number, _)| *is_number)
    }
}

/// Facts in the making. What is never stated stays unknown.
pub struct Stating {
    facts: Facts,
    seen: [bool; KEYS.len()],
}

impl Stating {
    pub fn new() -> Stating {
        Stating { facts: Facts::unknown(), seen: [false; KEYS.len()] }
    }

    /// One more fact, which may be said to be unknown; or what is wrong with it.
    pub fn take(&mut self, key: Key, value: Option<&[u8]>) -> Result<(), &'static str> {
        let (Some((_, _, take)), Some(seen)) = (KEYS.get(key.0), self.seen.get_mut(key.0)) else {
            return Err("no key");
        };
        if std::mem::replace(seen, true) {
            return Err("said twice");
        }
        value.map_or(Ok(()), |value| take(&mut self.facts, value))
    }

    pub fn facts(self) -> Facts {
        self.facts
    }
}

impl Default for Stating {
    fn default() -> Stating {
        Stating::new()
    }
}

/// Facts from `key=value` words.
pub fn in_words(words: &[Vec<u8>]) -> Result<Facts, String> {
    let mut stating = Stating::new();
    for word in words {
        let shown = String::from_utf8_lossy(word);
        let Some(at) = word.iter().position(|&byte| byte == b'=') else {
            return Err(format!("--stated wants KEY=VALUE, not '{shown}'"));
        };
        let (key, value) = word.split_at_checked(at).unwrap_or_default();
        let Some(key) = Key::named(key) else {
            return Err(format!("--stated knows {}; not '{shown}'", keys()));
        };
        stating.take(key, value.get(1..)).map_err(|why| format!("{why}: '{shown}'"))?;
    }
    Ok(stating.facts())
}
