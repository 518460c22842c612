//! A template of the administrator's and facts that strangers chose: what gets into a command is what an
//! independent description of the letters says, holds nothing that means something to a shell, does not
//! begin with a hyphen, is no way out of a directory and not too long; and only what a letter needs is
//! asked, once.
//!
//! The parts of the input are separated by bytes 0x1e: template, daemon, client's address and name, user,
//! server's address and name, client's and server's port, and how often the template is repeated.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wrap::expand::{LIMIT, TooLong, clean, expand};
use wrap::facts::{DaemonName, Fact, HostName, Side, Stated, UserName, stated_name};
use wrap::hosts::Host;
use wrap::rules::options;
use wrap::witness::{Facts, Ports, Question, Witness};

const PASSED: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!@%-_=+:,./";
const PID: u32 = 4711;

/// The same, byte by byte.
const PASSES: [bool; 256] = {
    let mut passes = [false; 256];
    let mut left = PASSED.as_bytes();
    while let [byte, rest @ ..] = left {
        passes[*byte as usize] = true;
        left = rest;
    }
    passes
};

/// What may stand for foreign text.
fn cleaned(text: &[u8], is_name: bool) -> Vec<u8> {
    if is_name && matches!(text, b"." | b"..") {
        return text.iter().map(|_| b'_').collect();
    }
    let mut out = Vec::new();
    for &byte in text {
        let is_bad =
            !PASSES[usize::from(byte)] || (is_name && byte == b'/') || (out.is_empty() && byte == b'-');
        out.push(if is_bad { b'_' } else { byte });
    }
    out
}

/// Who has been asked for so far.
struct Model<'f> {
    facts: &'f Facts,
    asked: Vec<Question>,
}

impl Model<'_> {
    fn ask(&mut self, question: Question) {
        if !self.asked.contains(&question) {
            self.asked.push(question);
        }
    }

    fn side(&self, side: Side) -> &Host {
        if side == Side::Client { &self.facts.client } else { &self.facts.server }
    }

    fn name(&mut self, side: Side) -> Vec<u8> {
        self.ask(Question::Name(side));
        name_text(&self.side(side).name).to_vec()
    }

    /// A name is worth showing only if somebody asked for it, and if it is one.
    fn host(&self, side: Side) -> Vec<u8> {
        let host = self.side(side);
        let is_asked = self.asked.contains(&Question::Name(side));
        match &host.name {
            Fact::Known(name) if is_asked && !is_no_name(name.as_ref()) => name.as_ref().to_vec(),
            _ => address_text(&host.address).to_vec(),
        }
    }

    fn user(&mut self) -> Vec<u8> {
        self.ask(Question::User(10));
        match &self.facts.user {
            Fact::Known(user) => user.as_ref().to_vec(),
            _ => b"unknown".to_vec(),
        }
    }

    /// The letter's value, not yet cleaned, and whether it is a name.
    fn letter(&mut self, letter: u8) -> Option<(Vec<u8>, bool)> {
        let port = |port: Option<u16>| (format!("{}", port.unwrap_or(0)).into_bytes(), true);
        let daemon = self.facts.daemon.as_ref().to_vec();
        Some(match letter {
            b'a' => (address_text(&self.facts.client.address).to_vec(), false),
            b'A' => (address_text(&self.facts.server.address).to_vec(), false),
            b'h' => (self.host(Side::Client), true),
            b'H' => (self.host(Side::Server), true),
            b'n' => (self.name(Side::Client), true),
            b'N' => (self.name(Side::Server), true),
            b'u' => (self.user(), true),
            b'c' => {
                let is_asked = self.asked.iter().any(|asked| matches!(asked, Question::User(_)));
                let known = match &self.facts.user {
                    Fact::Known(user) if is_asked && !user.as_ref().eq_ignore_ascii_case(b"unknown") => {
                        [user.as_ref(), b"@"].concat()
                    }
                    _ => Vec::new(),
                };
                ([known, self.host(Side::Client)].concat(), true)
            }
            b's' => match self.host(Side::Server) {
                host if host.eq_ignore_ascii_case(b"unknown") => (daemon, true),
                host => ([daemon.as_slice(), b"@", host.as_slice()].concat(), true),
            },
            b'd' => (daemon, false),
            b'p' => (PID.to_string().into_bytes(), true),
            b'r' => port(self.facts.ports.client),
            b'R' => port(self.facts.ports.server),
            _ => return None,
        })
    }
}

fn name_text(name: &Fact<HostName>) -> &[u8] {
    match name {
        Fact::Known(name) => name.as_ref(),
        Fact::Unknown => b"unknown",
        Fact::Paranoid => b"paranoid",
    }
}

fn address_text(address: &Fact<Vec<u8>>) -> &[u8] {
    match address {
        Fact::Known(address) => address,
        _ => b"unknown",
    }
}

fn is_no_name(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"unknown") || name.eq_ignore_ascii_case(b"paranoid")
}

/// What a shell sees: each byte that means something where it stands, with the quotes around it. What
/// means nothing is a letter of a word.
fn seen_by_a_shell(text: &[u8]) -> Vec<(u8, u8)> {
    let (mut quote, mut escaped, mut seen) = (b' ', false, Vec::with_capacity(text.len()));
    for &byte in text {
        let is_plain = PASSES[usize::from(byte)];
        seen.push((quote, if is_plain || escaped { b'w' } else { byte }));
        match (quote, byte) {
            _ if escaped => escaped = false,
            (b' ' | b'"', b'\\') => escaped = true,
            (b' ', b'\'' | b'"' | b'`') => quote = byte,
            _ if quote == byte => quote = b' ',
            _ => {}
        }
    }
    seen
}

fuzz_target!(|input: &[u8]| {
    let mut parts = input.split(|&byte| byte == 0x1e);
    let mut part = || parts.next().unwrap_or_default();
    let template = part();
    let daemon = DaemonName::stated(part());
    let address = |text: &[u8]| if text.is_empty() { Fact::Unknown } else { Fact::Known(text.to_vec()) };
    let client = Host { address: address(part()), name: stated_name(Some(part())) };
    let user = match part() {
        b"-" => Fact::Unknown,
        text => Fact::Known(UserName::stated(text)),
    };
    let server = Host { address: address(part()), name: stated_name(Some(part())) };
    let port = |text| std::str::from_utf8(text).ok()?.parse().ok();
    let ports = Ports { client: port(part()), server: port(part()) };
    let times = std::str::from_utf8(part()).ok().and_then(|text| text.parse::<u8>().ok()).unwrap_or(1);
    let template = &template.repeat(times.into());
    let facts = Facts { daemon, client, server, user, ports };

    // What it should be; and the same with every foreign byte made harmless.
    let mut model = Model { facts: &facts, asked: Vec::new() };
    let (mut text, mut tame, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    let mut bytes = template.iter();
    while text.len() <= LIMIT
        && let Some(&byte) = bytes.next()
    {
        let next = if byte == b'%' { bytes.next() } else { None };
        let Some(&letter) = next.filter(|&&letter| letter != b'%') else {
            text.push(byte);
            tame.push(byte);
            continue;
        };
        let Some((value, is_name)) = model.letter(letter) else {
            unknown.push(letter);
            continue;
        };
        let value = cleaned(&value, is_name);
        assert!(!value.starts_with(b"-") && !(is_name && (value == b"." || value == b"..")));
        tame.resize(tame.len() + value.len(), b'_');
        text.extend_from_slice(&value);
    }

    let witness = Witness::new(&facts, &Stated);
    let request = facts.fresh(PID, &witness, false);
    let expanded = expand(template, &request);
    assert_eq!(witness.take(), model.asked);
    if text.len() > LIMIT {
        assert_eq!(expanded, Err(TooLong));
    } else {
        let expanded = expanded.expect("short enough");
        assert_eq!(expanded.text, text);
        assert_eq!(expanded.unknown, unknown);
        assert!(seen_by_a_shell(&text) == seen_by_a_shell(&tame), "{text:?}");
        // What names a variable is the administrator's, and stays in one piece.
        let (name, _) = options::assignment(&text);
        assert_eq!(name.len(), options::assignment(&tame).0.len());
    }

    for part in input.split(|&byte| byte == 0x1e) {
        for is_name in [false, true] {
            let once = clean(part, is_name);
            assert_eq!(once, cleaned(part, is_name));
            assert_eq!(clean(&once, is_name), once, "what is clean stays");
        }
    }
});
