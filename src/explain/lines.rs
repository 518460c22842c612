//! An account in the lines of the reference: what is known, what matched, what acts, the verdict.

#![forbid(unsafe_code)]

use crate::logline::{Level, escape, printable};
use crate::narrator::{Story, Told};
use crate::witness::Facts;

/// All lines about one connection.
pub fn print(facts: &Facts, story: &Story) -> Vec<u8> {
    let mut page = Vec::new();
    for (label, value) in [
        ("client:   hostname", facts.client.name.text()),
        ("client:   address ", facts.client.address.text()),
        ("client:   username", facts.user.text()),
        ("server:   hostname", facts.server.name.text()),
        ("server:   address ", facts.server.address.text()),
        ("server:   process ", facts.daemon.as_ref()),
    ] {
        if !value.eq_ignore_ascii_case(b"unknown") {
            let mut shown = Vec::new();
            escape(value, b"", &mut shown);
            line(&mut page, &[label.as_bytes(), b" ", &shown]);
        }
    }
    for told in &story.told {
        match told {
            // Of what goes to the log only complaints are shown; the verdict has a line of its own.
            Told::Line(entry, _) if matches!(entry.level, Level::Err | Level::Warning) => {
                line(&mut page, &[&entry.text]);
            }
            Told::Line(..) | Told::Deed(_) => {}
            Told::Matched(place) => {
                let file = printable(place.file.as_os_str().as_encoded_bytes());
                line(&mut page, &[b"matched:  ", &file, format!(" line {}", place.line).as_bytes()]);
            }
            Told::Option { name, value } => {
                line(&mut page, &[b"option:   ", &printable(name), b" ", &printable(value)]);
            }
            Told::Shown(text) => page.extend_from_slice(text),
        }
    }
    line(&mut page, &[b"access:   ", story.verdict.word().as_bytes()]);
    page
}

fn line(page: &mut Vec<u8>, parts: &[&[u8]]) {
    page.extend_from_slice(&parts.concat());
    page.push(b'\n');
}
