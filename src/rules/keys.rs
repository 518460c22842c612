//! By what can a line or a word be found, and under what would a client be looked up?
//!
//! A compiled image ([`super::compiled`]) is an index over rule files: it knows which lines can matter to
//! a client, and nothing else. This file is its theory. Every pattern is either looked at for every
//! client or found by a few keys ([`of_line`], [`of_word`]); every text that a pattern could be compared
//! with has a few keys of its own ([`of_text`]). The law, kept by a test below and by the property that
//! text and image agree:
//!
//! **If a pattern matches a text, they have a key in common.**
//!
//! The reverse need not hold. A line that is found for nothing is read, does not match, and nobody can
//! tell. So in doubt a pattern is looked at always.
//!
//! Warning to the next author: a new pattern belongs under [`Reach::Always`] until somebody has shown
//! that it can be left out: that it says no, asks nothing and notices nothing.

#![forbid(unsafe_code)]

use super::grammar::{self, address6, client4, unmapped};
use super::{HostPattern, Item, List, Parsed, TextPattern};
use std::net::Ipv6Addr;

/// What a pattern is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// The whole text; case does not count, here and below.
    Exact(&'a [u8]),
    /// The end of a text, from one of its dots on.
    Suffix(&'a [u8]),
    /// The beginning of a text, up to one of its dots.
    Prefix(&'a [u8]),
    Net4 {
        mask: u32,
        net: u32,
    },
    /// An address has the length 128, and IPv4 is in its mapped clothes.
    Net6 {
        length: u8,
        net: u128,
    },
}

impl Key<'_> {
    /// The key as bytes, for a hash: no two kinds have a spelling in common.
    pub fn spell(&self, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Key::Exact(text) => spell_text(b'e', text, out),
            Key::Suffix(text) => spell_text(b's', text, out),
            Key::Prefix(text) => spell_text(b'p', text, out),
            Key::Net4 { mask, net } => {
                out.push(b'4');
                out.extend_from_slice(&mask.to_be_bytes());
                out.extend_from_slice(&net.to_be_bytes());
            }
            Key::Net6 { length, net } => {
                out.extend_from_slice(&[b'6', *length]);
                out.extend_from_slice(&net.to_be_bytes());
            }
        }
    }
}

fn spell_text(kind: u8, text: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend(text.iter().map(u8::to_ascii_lowercase));
}

/// Which kinds of keys an index holds, so that no others are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    pub exact: bool,
    pub suffix: bool,
    pub prefix: bool,
    /// The masks of IPv4 networks, each once.
    pub masks: Vec<u32>,
    /// A bit for each length of an IPv6 network, 0 to 127; 128 has [`Kinds::address6`].
    pub lengths: u128,
    pub address6: bool,
}

/// Most IPv4 masks that are indexed. There are 33 sensible ones.
pub const MASKS_MAX: usize = 40;

impl Kinds {
    /// Adds the kind of a key. False where the index cannot hold it.
    pub fn admit(&mut self, key: &Key<'_>) -> bool {
        match *key {
            Key::Exact(_) => self.exact = true,
            Key::Suffix(_) => self.suffix = true,
            Key::Prefix(_) => self.prefix = true,
            Key::Net4 { mask, .. } if self.masks.contains(&mask) => {}
            Key::Net4 { .. } if self.masks.len() >= MASKS_MAX => return false,
            Key::Net4 { mask, .. } => self.masks.push(mask),
            Key::Net6 { length: 128.., .. } => self.address6 = true,
            Key::Net6 { length, .. } => self.lengths |= 1 << length,
        }
        true
    }
}

/// The first bits of an IPv6 address.
fn masked(net: u128, length: u8) -> u128 {
    match length {
        0 => 0,
        128.. => net,
        _ => net & (u128::MAX << (128 - u32::from(length))),
    }
}

/// Shows every key under which a pattern that matches `text`, an address or a name, could be found.
pub fn of_text<'a, E>(
    text: &'a [u8],
    kinds: &Kinds,
    mut visit: impl FnMut(Key<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let text = unmapped(text);
    if kinds.exact {
        visit(Key::Exact(text))?;
    }
    if kinds.suffix || kinds.prefix {
        for (at, _) in text.iter().enumerate().filter(|(_, byte)| **byte == b'.') {
            let (before, behind) = (text.get(..=at).unwrap_or_default(), text.get(at..).unwrap_or_default());
            if kinds.prefix {
                visit(Key::Prefix(before))?;
            }
            if kinds.suffix {
                visit(Key::Suffix(behind))?;
            }
        }
    }
    let six = if let Some(ip) = client4(text) {
        for &mask in &kinds.masks {
            visit(Key::Net4 { mask, net: u32::from(ip) & mask })?;
        }
        ip.to_ipv6_mapped()
    } else if let Some(address) = address6(text) {
        address.ip
    } else {
        return Ok(());
    };
    let ip = u128::from(six);
    for length in (0..128).filter(|length| kinds.lengths >> length & 1 == 1) {
        visit(Key::Net6 { length, net: masked(ip, length) })?;
    }
    if kinds.address6 {
        visit(Key::Net6 { length: 128, net: ip })?;
    }
    Ok(())
}

/// Whether a line or a word has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach<'a> {
    /// For every client.
    Always,
    /// For a client with one of the keys that were shown.
    ByKeys {
        /// Whoever gets here without a known name asks for it, if `daemons` serves the request.
        asks: bool,
        daemons: &'a [u8],
    },
}

/// Shows the keys of a line. What was shown counts for nothing if the line must be looked at always.
pub fn of_line<'a>(parsed: &Parsed<'a>, mut visit: impl FnMut(Key<'a>)) -> Reach<'a> {
    let rule = match parsed {
        Parsed::Nothing => return Reach::ByKeys { asks: false, daemons: b"" },
        Parsed::NoColon | Parsed::Malformed(_) => return Reach::Always,
        Parsed::Rule(rule) => rule,
    };
    if !are_silent(rule.daemons) {
        return Reach::Always;
    }
    let mut asks = false;
    // A list behind an EXCEPT is looked at only if the list before it may match.
    for item in rule.clients.items() {
        let Item::Word(word) = item else { break };
        let host = match grammar::split_host(word) {
            Some((_, host)) => host,
            None => word,
        };
        match of_host(host, false, &mut visit) {
            Some(asks_too) => asks |= asks_too,
            None => return Reach::Always,
        }
    }
    Reach::ByKeys { asks, daemons: rule.daemons.0 }
}

/// Shows the keys of a word of a pattern file.
pub fn of_word<'a>(word: &'a [u8], mut visit: impl FnMut(Key<'a>)) -> Reach<'a> {
    match of_host(word, true, &mut visit) {
        Some(asks) => Reach::ByKeys { asks, daemons: b"ALL" },
        None => Reach::Always,
    }
}

/// Whether a daemon list is answered without asking anybody.
pub fn are_silent(daemons: List<'_>) -> bool {
    daemons.items().all(is_silent)
}

/// Whether a word of a daemon list is answered without asking anybody.
fn is_silent(item: Item<'_>) -> bool {
    let Item::Word(word) = item else { return true };
    match grammar::daemon_pattern(word).host {
        None => true,
        Some(host) => matches!(
            host,
            HostPattern::Net4 { .. }
                | HostPattern::Net6 { .. }
                | HostPattern::NoNet
                | HostPattern::Text { pattern: TextPattern::All, .. }
                | HostPattern::Text { may_be_name: false, .. }
        ),
    }
}

/// Shows the keys of a host pattern, and says whether it asks for the name of whoever has none of them.
/// None where it must be looked at always.
fn of_host<'a>(word: &'a [u8], in_file: bool, visit: &mut impl FnMut(Key<'a>)) -> Option<bool> {
    let address = |ip: Ipv6Addr| Key::Net6 { length: 128, net: ip.into() };
    match grammar::host_pattern(word) {
        HostPattern::Netgroup(_) | HostPattern::File(_) | HostPattern::Known | HostPattern::Local => None,
        HostPattern::NoNet => Some(false),
        HostPattern::Net4 { net, mask, .. } => {
            visit(Key::Net4 { mask, net });
            Some(false)
        }
        HostPattern::Net6 { net, length, .. } => {
            visit(Key::Net6 { length, net: masked(net.ip.into(), length) });
            Some(false)
        }
        HostPattern::Bare6 { net, length, head } => {
            let length = length.unwrap_or(128);
            visit(Key::Net6 { length, net: masked(net.ip.into(), length) });
            // In a client list the text before the first colon may be the name of a host.
            let names_a_host = !in_file && head.iter().any(|byte| !byte.is_ascii_digit());
            if names_a_host {
                visit(Key::Exact(head));
            }
            Some(names_a_host)
        }
        HostPattern::Text { pattern, may_be_name } => {
            match pattern {
                TextPattern::All | TextPattern::Known => return None,
                TextPattern::Glob(glob) => visit(Key::Suffix(plain_tail(glob)?)),
                TextPattern::Suffix(suffix) => visit(Key::Suffix(suffix)),
                TextPattern::Prefix(prefix) => visit(Key::Prefix(prefix)),
                TextPattern::Exact(text) => visit(Key::Exact(text)),
                TextPattern::Bracketed(Some(inner)) => visit(address(inner.ip)),
                TextPattern::Bracketed(None) => {}
            }
            Some(may_be_name)
        }
    }
}

/// The tail of `*.example.com`: a dot and what follows it, without another wildcard.
fn plain_tail(glob: &[u8]) -> Option<&[u8]> {
    let tail = glob.strip_prefix(b"*").filter(|tail| tail.starts_with(b"."))?;
    (!tail.iter().any(|byte| matches!(byte, b'*' | b'?'))).then_some(tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::convert::Infallible;

    fn spelled(key: &Key<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        key.spell(&mut out);
        out
    }

    /// Whether a word of a client list has a key in common with a text, or is looked at always.
    fn found(word: &str, text: &str) -> bool {
        let line = format!("ALL: {word}");
        let (mut kinds, mut keys) = (Kinds::default(), HashSet::new());
        let reach = of_line(&grammar::line(line.as_bytes()), |key| {
            assert!(kinds.admit(&key));
            keys.insert(spelled(&key));
        });
        let mut common = reach == Reach::Always;
        let Ok(()) = of_text(text.as_bytes(), &kinds, |key| {
            common |= keys.contains(&spelled(&key));
            Ok::<_, Infallible>(())
        });
        common
    }

    #[test]
    fn what_matches_is_found() {
        for (word, text) in [
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.3", "::ffff:10.1.2.3"),
            ("10.", "10.1.2.3"),
            ("10.1.2.", "10.1.2.3"),
            (".3", "10.1.2.3"),
            ("10.0.0.0/8", "10.1.2.3"),
            ("10.0.0.3/255.0.0.255", "10.9.9.3"),
            ("0.0.0.0/0", "10.1.2.3"),
            ("Host.Example.com", "hOST.example.COM"),
            (".example.com", "www.b.Example.com"),
            ("*.example.com", "www.b.example.com"),
            ("www.", "www.example.com"),
            ("[2001:db8::7]", "2001:DB8:0::7"),
            ("[2001:db8::]/32", "2001:db8:1::7"),
            ("[2001:db8::7]/", "::1"),
            ("2001:db8::7", "2001:db8::7"),
            ("2001:db8::/32", "2001:db8::7"),
            ("cafe::1", "cafe"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
            ("[fe80::1%eth9]", "fe80::1%lo"),
            ("joe@10.1.2.3", "10.1.2.3"),
            ("UNKNOWN", "unknown"),
            ("x 10.1.2.3 EXCEPT joe@ALL", "10.1.2.3"),
            ("255.255.255.255", "255.255.255.255"),
            ("KNOWN", "x"),
            ("f*o", "fo"),
        ] {
            assert!(found(word, text), "{word} {text}");
        }
    }

    #[test]
    fn what_does_not_match_is_left_out() {
        for (word, text) in [
            ("10.1.2.3", "10.1.2.4"),
            ("10.", "11.1.2.3"),
            ("10.0.0.0/8", "11.1.2.3"),
            (".example.com", "example.org"),
            ("[2001:db8::]/32", "2001:db9::7"),
            ("10.1.2.0/33", "10.1.2.0"),
            ("10.1.2.3 EXCEPT 10.1.2.4", "10.1.2.4"),
            ("EXCEPT 10.1.2.4", "10.1.2.4"),
        ] {
            assert!(!found(word, text), "{word} {text}");
        }
    }

    #[test]
    fn lists_that_ask_are_known() {
        let asks = |line: &str| match of_line(&grammar::line(line.as_bytes()), |_| {}) {
            Reach::Always => None,
            Reach::ByKeys { asks, .. } => Some(asks),
        };
        assert_eq!(asks("ALL: 10.1.2.3"), Some(false));
        assert_eq!(asks("ALL: 10.1.2.3 .example.com"), Some(true));
        assert_eq!(asks("ALL: 10. EXCEPT .example.com"), Some(false));
        assert_eq!(asks("ALL: [::1]"), Some(true), "as the reference asks");
        assert_eq!(asks("ALL: 2001:db8::1"), Some(false));
        assert_eq!(asks("ALL: fe80::1"), Some(true));
        for always in ["x", "x: @y", "x@host: 10.", "x@/f: 10.", "[: 10.", "ALL: ALL", "ALL: 10. /f"] {
            assert_eq!(asks(always), None, "{always}");
        }
        assert_eq!(asks("x@10.1.2.3 y@ALL: 10."), Some(false));
        assert_eq!(asks("# comment"), Some(false));
    }

    #[test]
    fn there_is_an_end_to_masks() {
        let mut kinds = Kinds::default();
        let admitted = (0..100).filter(|&mask| kinds.admit(&Key::Net4 { mask, net: 0 })).count();
        assert_eq!(admitted, MASKS_MAX);
        assert!(kinds.admit(&Key::Net4 { mask: 1, net: 7 }), "a known one is no further one");
    }
}
