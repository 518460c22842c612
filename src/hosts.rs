//! What does the administrator's word for a host mean here?
//!
//! `unknown` and `paranoid` are names without an address. A dotted quad or an IPv6 address stands for
//! itself, and nobody is asked about it. Anything else is a name: it is looked up, and each address it
//! leads to gets the name that the wrapper would find for it, which need not be the word.
//!
//! What the administrator should know on the way (an alias, no such host) is kept as lines in the order
//! in which it came up, in the words of the reference.

#![forbid(unsafe_code)]

use crate::error::{Problem, Weight, What};
use crate::facts::{Fact, HostName, stated_name};
use crate::logline::{self, printable};
use crate::lookup::checked_name;
use crate::rules::grammar;
use crate::sys::netdb::{self, Forward, within};
use crate::sys::socket::address_text;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A host as the wrapper would know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub address: Fact<Vec<u8>>,
    pub name: Fact<HostName>,
}

impl Host {
    /// Nothing is known about it.
    pub fn unknown() -> Host {
        Host { address: Fact::Unknown, name: Fact::Unknown }
    }
}

/// Whether a word is an address, which stands for itself. Brackets are for rules.
pub fn is_address(word: &[u8]) -> bool {
    grammar::address4(word).is_some() || grammar::address6(word).is_some()
}

/// The hosts behind a word; none if nobody knows it, and then the last warning says so. Each lookup
/// may take as long as `budget`.
pub fn find(word: &[u8], budget: Duration, warnings: &mut Vec<Vec<u8>>) -> Vec<Host> {
    let is_no_name = |name: &[u8]| word.eq_ignore_ascii_case(name);
    if is_no_name(b"unknown") {
        return vec![Host::unknown()];
    }
    if is_no_name(b"paranoid") {
        return vec![Host { address: Fact::Unknown, name: stated_name(Some(word)) }];
    }
    if is_address(word) {
        return vec![Host { address: Fact::Known(word.to_vec()), name: Fact::Unknown }];
    }
    let Some((official, addresses)) = look_up(word, budget) else {
        warnings.push([b"warning: ", printable(word).as_slice(), b": host not found"].concat());
        return Vec::new();
    };
    if let Some(official) = official.filter(|official| !word.eq_ignore_ascii_case(official.as_bytes())) {
        warnings.push([b"warning: ", printable(word).as_slice(), b": hostname alias"].concat());
        let official = printable(official.as_bytes());
        warnings.push([b"warning: (official name: ", official.as_slice(), b")"].concat());
    }
    addresses.into_iter().map(|address| named(address, budget, warnings)).collect()
}

/// The official name of a word and its addresses, each once.
fn look_up(word: &[u8], budget: Duration) -> Option<Forward> {
    // The library takes an empty name for this machine.
    let name = std::str::from_utf8(word).ok().filter(|name| !name.is_empty())?.to_owned();
    let (official, mut found) = within(Instant::now() + budget, move || netdb::forward_any(&name))??;
    let mut seen = Vec::new();
    found.retain(|address| !seen.contains(&address.ip()) && (seen.push(address.ip()), true).1);
    (!found.is_empty()).then_some((official, found))
}

/// An address with the name that the wrapper would find for it.
pub fn named(address: SocketAddr, budget: Duration, warnings: &mut Vec<Vec<u8>>) -> Host {
    let mut doubts = Vec::new();
    let name = checked_name(address, budget, &mut doubts);
    for doubt in doubts {
        let problem = Problem { place: None, weight: Weight::Warning, what: What::Name(doubt) };
        warnings.extend(logline::problem(&problem).into_iter().map(|entry| entry.text));
    }
    let text = address_text(address);
    if name == Fact::Unknown {
        warnings.push(format!("warning: host address {text}->name lookup failed").into_bytes());
    }
    Host { address: Fact::Known(text.into_bytes()), name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(word: &str) -> (Vec<(String, String)>, Vec<String>) {
        let mut warnings = Vec::new();
        let hosts = find(word.as_bytes(), Duration::from_secs(5), &mut warnings);
        let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        let pair = |host: &Host| (text(host.address.text()), text(host.name.text()));
        (hosts.iter().map(pair).collect(), warnings.iter().map(|line| text(line)).collect())
    }

    #[test]
    fn addresses_and_unknowns_stand_for_themselves() {
        for (word, address, name) in [
            ("192.0.2.1", "192.0.2.1", "unknown"),
            ("0x7f.0.0.1", "0x7f.0.0.1", "unknown"),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.1", "unknown"),
            ("UNKNOWN", "unknown", "unknown"),
            ("paranoid", "unknown", "paranoid"),
            ("Paranoid", "unknown", "Paranoid"),
        ] {
            assert_eq!(found(word), (vec![(address.to_owned(), name.to_owned())], Vec::new()), "{word}");
        }
    }

    #[test]
    fn nobody_is_said_to_be_nobody() {
        for word in ["", "[::1]", "a b"] {
            assert_eq!(found(word), (Vec::new(), vec![format!("warning: {word}: host not found")]));
        }
    }
}
