//! What does a line of a batch ask? From one JSON object to facts.
//!
//! The object is never built: its members become facts as they are read. A line that is no request is
//! answered by what is wrong with it, with its `id` if that can be found.

#![forbid(unsafe_code)]

use super::stated::{Key, Stating, keys};
use crate::witness::Facts;
use serde_core::de::{DeserializeSeed, Deserializer, Error, MapAccess, Unexpected, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// The member that is handed back as it is.
const ID: &str = "id";

/// A request, and the text of its `id`.
pub struct Request<'l> {
    pub id: Option<&'l str>,
    pub facts: Facts,
}

/// Why a line is no request.
pub struct NoRequest<'l> {
    pub id: Option<&'l str>,
    pub why: String,
}

/// Reads a line.
pub fn read(line: &[u8]) -> Result<Request<'_>, NoRequest<'_>> {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let read = deserializer.deserialize_map(Members);
    let read = read.and_then(|request| deserializer.end().map(|()| request));
    read.map_err(|error| NoRequest { id: id_of(line), why: words(&error, line) })
}

/// The `id` of a line that is JSON at least.
fn id_of(line: &[u8]) -> Option<&str> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(line).ok()?;
    members.get(ID).map(|id| id.get())
}

/// What is wrong, and in which column. A line has one line only.
fn words(error: &serde_json::Error, line: &[u8]) -> String {
    if line.trim_ascii().is_empty() {
        return "an empty line".to_owned();
    }
    let text = error.to_string();
    let sentence = text.rfind(" at line ").and_then(|end| text.get(..end)).unwrap_or(&text);
    match error.column() {
        0 => sentence.to_owned(),
        column => format!("{sentence}, in column {column}"),
    }
}

struct Members;

impl<'l> Visitor<'l> for Members {
    type Value = Request<'l>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'l>>(self, mut members: A) -> Result<Request<'l>, A::Error> {
        let mut stating = Stating::new();
        let mut id: Option<&RawValue> = None;
        while let Some(name) = members.next_key_seed(Text)? {
            if name == ID {
                if id.replace(members.next_value()?).is_some() {
                    return Err(A::Error::custom("said twice: \"id\""));
                }
                continue;
            }
            let Some(key) = Key::named(name.as_bytes()) else {
                let why = format!("no such member: {name:?} (there are {}, and id)", keys());
                return Err(A::Error::custom(why));
            };
            let value = members.next_value_seed(Value { is_number: key.is_number() })?;
            let wrong = |why| A::Error::custom(format!("{why}: {name:?}"));
            stating.take(key, value.as_deref().map(str::as_bytes)).map_err(wrong)?;
        }
        Ok(Request { id: id.map(RawValue::get), facts: stating.facts() })
    }
}

/// A text, borrowed where nothing in it is escaped.
struct Text;

impl<'l> DeserializeSeed<'l> for Text {
    type Value = Cow<'l, str>;

    fn deserialize<D: Deserializer<'l>>(self, deserializer: D) -> Result<Cow<'l, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'l> Visitor<'l> for Text {
    type Value = Cow<'l, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'l str) -> Result<Cow<'l, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cow<'l, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// The value of a member, as `--stated` would have it; none where it is null, and not known.
struct Value {
    is_number: bool,
}

impl<'l> DeserializeSeed<'l> for Value {
    type Value = Option<Cow<'l, str>>;

    fn deserialize<D: Deserializer<'l>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'l> Visitor<'l> for Value {
    type Value = Option<Cow<'l, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_number { "a number or null" } else { "a text or null" })
    }

    fn visit_borrowed_str<E: Error>(self, text: &'l str) -> Result<Self::Value, E> {
        if self.is_number { self.visit_str(text) } else { Ok(Some(Cow::Borrowed(text))) }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let found = Unexpected::Str(text);
        if self.is_number {
            Err(E::invalid_type(found, &self))
        } else {
            Ok(Some(Cow::Owned(text.to_owned())))
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        let found = Unexpected::Unsigned(number);
        let text = || Some(Cow::Owned(number.to_string()));
        if self.is_number { Ok(text()) } else { Err(E::invalid_type(found, &self)) }
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
