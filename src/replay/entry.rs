//! What does an entry say that is no plain line? The export format of a journal, and one JSON object a
//! line: of journalctl, or of the wrapper itself (tcpd.conf(5), Elastic Common Schema).
//!
//! Of both only the few fields of `FIELDS` are kept. Objects are scanned, not built: of the thirty
//! fields of a journal's entry five are of interest. What is no JSON is none, and its line is unread.

#![forbid(unsafe_code)]

use super::header::{More, Record, Stamp, number};

/// What a field is good for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Message,
    Tag,
    Pid,
    Stamp,
    /// Microseconds since 1970.
    Micros,
    Client,
    Server,
    ServerPort,
}

const SLOTS: usize = 8;

/// The fields that are kept; of two for one thing the one that stands first here. Members of objects in
/// objects have a dot in their names, as they have where they are written flat.
const FIELDS: [(&[u8], Slot); 15] = [
    (b"MESSAGE", Slot::Message),
    (b"message", Slot::Message),
    (b"SYSLOG_IDENTIFIER", Slot::Tag),
    (b"process.name", Slot::Tag),
    (b"_COMM", Slot::Tag),
    (b"SYSLOG_PID", Slot::Pid),
    (b"process.pid", Slot::Pid),
    (b"_PID", Slot::Pid),
    (b"__REALTIME_TIMESTAMP", Slot::Micros),
    (b"@timestamp", Slot::Stamp),
    (b"source.ip", Slot::Client),
    (b"source.address", Slot::Client),
    (b"destination.ip", Slot::Server),
    (b"destination.address", Slot::Server),
    (b"destination.port", Slot::ServerPort),
];

fn field(name: &[u8]) -> Option<(usize, Slot)> {
    let found = FIELDS.iter().enumerate().find(|(_, (known, _))| *known == name);
    found.map(|(rank, (_, slot))| (rank, *slot))
}

/// How a journal in export format begins.
pub const EXPORT: &[u8] = b"__CURSOR=";

/// The fields of one entry, as far as they are kept. Used again for the next one.
#[derive(Default)]
pub struct Fields {
    values: [Vec<u8>; SLOTS],
    ranks: [Option<usize>; SLOTS],
    path: Vec<u8>,
}

impl Fields {
    pub fn clear(&mut self) {
        self.ranks = [None; SLOTS];
    }

    /// Where the value of a field goes; None where nobody wants it.
    pub fn place(&mut self, name: &[u8]) -> Option<&mut Vec<u8>> {
        let (rank, slot) = field(name)?;
        let held = self.ranks.get_mut(slot as usize)?;
        if held.is_some_and(|held| held < rank) {
            return None;
        }
        *held = Some(rank);
        let value = self.values.get_mut(slot as usize)?;
        value.clear();
        Some(value)
    }

    fn value(&self, slot: Slot) -> Option<&[u8]> {
        self.ranks.get(slot as usize).copied().flatten()?;
        self.values.get(slot as usize).map(Vec::as_slice)
    }

    /// What they say together; None without a message.
    pub fn record(&self) -> Option<Record<'_>> {
        let message = self.value(Slot::Message)?;
        let micros = self.value(Slot::Micros).and_then(number).map(Stamp::Micros);
        let stamp = micros.unwrap_or(Stamp::Text(self.value(Slot::Stamp).unwrap_or_default()));
        let more = More {
            client: self.value(Slot::Client).unwrap_or_default(),
            server: self.value(Slot::Server).unwrap_or_default(),
            server_port: self.value(Slot::ServerPort).and_then(number),
        };
        let tag = self.value(Slot::Tag).unwrap_or_default();
        Some(Record { stamp, tag, pid: self.value(Slot::Pid).and_then(number), message, more })
    }

    /// Reads the object that a line is. False where it is none.
    pub fn read(&mut self, line: &[u8]) -> bool {
        self.clear();
        let mut path = std::mem::take(&mut self.path);
        path.clear();
        let mut text = Text { left: line };
        let read = text.object(&mut path, 0, self).is_some() && text.left.trim_ascii().is_empty();
        self.path = path;
        read
    }
}

/// Deepest nesting that is followed; what lies deeper is no object of ours.
const DEPTH_MAX: usize = 32;

/// JSON (RFC 8259), from left to right.
struct Text<'j> {
    left: &'j [u8],
}

impl<'j> Text<'j> {
    fn skip_blanks(&mut self) {
        self.left = self.left.trim_ascii_start();
    }

    /// The next byte that is no blank, if it is this one.
    fn take(&mut self, wanted: u8) -> Option<()> {
        self.skip_blanks();
        self.left = self.left.strip_prefix(&[wanted])?;
        Some(())
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_blanks();
        self.left.first().copied()
    }

    fn object(&mut self, path: &mut Vec<u8>, depth: usize, fields: &mut Fields) -> Option<()> {
        self.take(b'{')?;
        if self.peek()? == b'}' {
            return self.take(b'}');
        }
        loop {
            let outer = path.len();
            // An object may have an empty name, and is an object in an object all the same.
            if depth > 0 {
                path.push(b'.');
            }
            self.skip_blanks();
            unescape(self.string()?, path)?;
            self.take(b':')?;
            self.value(path, depth + 1, fields)?;
            path.truncate(outer);
            match self.peek()? {
                b',' => self.take(b',')?,
                _ => return self.take(b'}'),
            }
        }
    }

    fn value(&mut self, path: &mut Vec<u8>, depth: usize, fields: &mut Fields) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        match self.peek()? {
            b'{' => self.object(path, depth, fields),
            b'[' => self.array(path, depth, fields),
            b'"' => {
                let text = self.string()?;
                fields.place(path).map_or(Some(()), |value| unescape(text, value))
            }
            _ => {
                let word = self.bare()?;
                if word != b"null"
                    && let Some(value) = fields.place(path)
                {
                    value.extend_from_slice(word);
                }
                Some(())
            }
        }
    }

    /// A journal has arrays of numbers for bytes that are no text, and arrays of values for a field that
    /// is there several times: the first counts.
    fn array(&mut self, path: &mut Vec<u8>, depth: usize, fields: &mut Fields) -> Option<()> {
        self.take(b'[')?;
        if self.peek()? == b']' {
            return self.take(b']');
        }
        let start = self.left;
        if let Some(bytes) = self.bytes() {
            if let Some(value) = fields.place(path) {
                value.extend_from_slice(&bytes);
            }
            return Some(());
        }
        self.left = start;
        // No field has such a name.
        let mut nobody = b"[]".to_vec();
        self.value(path, depth + 1, fields)?;
        while self.peek()? == b',' {
            self.take(b',')?;
            self.value(&mut nobody, depth + 1, fields)?;
        }
        self.take(b']')
    }

    /// The rest of an array of nothing but bytes.
    fn bytes(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            bytes.push(number(self.bare()?)?);
            match self.peek()? {
                b',' => self.take(b',')?,
                _ => return self.take(b']').map(|()| bytes),
            }
        }
    }

    /// What stands between two quotes, escapes and all.
    fn string(&mut self) -> Option<&'j [u8]> {
        let text = self.left.strip_prefix(b"\"")?;
        let mut at = 0;
        loop {
            match text.get(at)? {
                b'"' => {
                    self.left = text.get(at + 1..)?;
                    return text.get(..at);
                }
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
    }

    /// A number or a word.
    fn bare(&mut self) -> Option<&'j [u8]> {
        self.skip_blanks();
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let length = self.left.iter().take_while(|byte| is_part(byte)).count();
        let (word, left) = self.left.split_at_checked(length).filter(|(word, _)| !word.is_empty())?;
        self.left = left;
        Some(word)
    }
}

/// Undoes the escapes of a JSON text.
fn unescape(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = text;
    while let Some(at) = bytes.iter().position(|&byte| byte == b'\\') {
        out.extend_from_slice(bytes.get(..at)?);
        let letter = *bytes.get(at + 1)?;
        bytes = bytes.get(at + 2..)?;
        match letter {
            b'"' | b'\\' | b'/' => out.push(letter),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let (letter, behind) = utf16(bytes)?;
                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                bytes = behind;
            }
            _ => return None,
        }
    }
    out.extend_from_slice(bytes);
    Some(())
}

/// The letter behind `\u`, of which large ones need two.
fn utf16(text: &[u8]) -> Option<(char, &[u8])> {
    let unit = |text: &[u8]| u16::from_str_radix(std::str::from_utf8(text.get(..4)?).ok()?, 16).ok();
    let first = unit(text)?;
    let behind = text.get(4..)?;
    let second = behind.strip_prefix(b"\\u").and_then(unit);
    match char::decode_utf16([first].into_iter().chain(second)).next()? {
        Ok(letter) if letter.len_utf16() == 2 => Some((letter, behind.get(6..)?)),
        Ok(letter) => Some((letter, behind)),
        Err(_) => Some((char::REPLACEMENT_CHARACTER, behind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::header::Moment;

    #[test]
    fn objects_are_read() {
        let mut fields = Fields::default();
        let line = br#"{"__CURSOR":"s=1;\"","_COMM":"tcpd","SYSLOG_IDENTIFIER":"in.ftpd","SYSLOG_PID":"4711","_PID":"1",
            "__REALTIME_TIMESTAMP":"1795265857000000","X":[{"MESSAGE":"y"},null],"N":null,"F":-1.5e3,"E":{},"A":[],
            "MESSAGE":"connect from 192.0.2.7 (192.0.2.7)"}"#;
        assert!(fields.read(line));
        let record = fields.record().expect("a message");
        assert_eq!((record.tag, record.pid), (&b"in.ftpd"[..], Some(4711)));
        assert_eq!(record.message, b"connect from 192.0.2.7 (192.0.2.7)");
        assert_eq!(Moment::of(record.stamp).to_string(), "2026-11-21T12:57:37Z");
        let line = br#"{"@timestamp":"2026-11-21T12:57:37.5Z","process":{"name":"in.ftpd","pid":4711},"message":"twist x to y",
            "source":{"address":"h","ip":"192.0.2.7"},"destination.ip":"192.0.2.1","destination":{"port":21}}"#;
        assert!(fields.read(line));
        let record = fields.record().expect("a message");
        let more = More { client: b"192.0.2.7", server: b"192.0.2.1", server_port: Some(21) };
        assert_eq!((record.tag, record.pid, record.more), (&b"in.ftpd"[..], Some(4711), more));
        assert_eq!(Moment::of(record.stamp).to_string(), "2026-11-21T12:57:37.5Z");
    }

    #[test]
    fn bytes_and_repeated_fields_are_read() {
        let message = |line: &str| {
            let mut fields = Fields::default();
            fields.read(line.as_bytes()).then(|| fields.record().map(|record| record.message.to_vec()))
        };
        assert_eq!(message(r#"{"MESSAGE":[97,255, 98]}"#), Some(Some(b"a\xffb".to_vec())));
        assert_eq!(message(r#"{"MESSAGE":["a","b"]}"#), Some(Some(b"a".to_vec())));
        let escaped = r#"{"MESSAGE":"\u0041\u00e9\ud83d\ude00\ud83d \"\\\/\n"}"#;
        assert_eq!(message(escaped), Some(Some("A\u{e9}\u{1f600}\u{fffd} \"\\/\n".as_bytes().to_vec())));
        assert_eq!(message(r#"{"MESSAGE":null}"#), Some(None));
        for mixed in [r#"[1,"x"]"#, r#"[1,{"MESSAGE":"y"}]"#, "[1,[2]]", "[256,1]", "[1.5,2]"] {
            let line = format!("{{\"id\":{mixed},\"MESSAGE\":\"a\"}}");
            assert_eq!(message(&line), Some(Some(b"a".to_vec())), "an array of anything: {line}");
        }
        assert_eq!(message(r#"{"":{"MESSAGE":"a"}}"#), Some(None), "an object without a name");
        let nested = "[".repeat(99);
        for wrong in [
            "{",
            r#"{"a"}"#,
            r#"{"a":1}x"#,
            r#"{"MESSAGE":"\x"}"#,
            r#"{"a":1,}"#,
            &format!("{{\"a\":{nested}"),
        ] {
            assert_eq!(message(wrong), None, "{wrong}");
        }
    }
}
