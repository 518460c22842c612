//! Does a word mean what it looks like?
//!
//! First what the reference's checker says, in its order and words, then our own. A word for a host may
//! need the disk or the databases as well: [`Next`] says which.

#![forbid(unsafe_code)]

use super::{Form, Saying, ours};
use crate::error::{Advice, Dead, Doubt, NameFlaw, Odd, Weight, What, WordFlaw};
use crate::rules::grammar::{address4, address6, host_pattern, split_host};
use crate::rules::{Address6, HostPattern, TextPattern};
use std::net::Ipv4Addr;

/// What only the world knows about a word for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    Nothing,
    Netgroup(&'a [u8]),
    File(&'a [u8]),
    /// Whether the resolver knows this name or address.
    Host(&'a [u8]),
}

const RESERVED: [&str; 5] = ["ALL", "KNOWN", "LOCAL", "UNKNOWN", "PARANOID"];

fn is(word: &[u8], other: &str) -> bool {
    word.eq_ignore_ascii_case(other.as_bytes())
}

fn warn(flaw: WordFlaw) -> Saying {
    (Form::Both, Weight::Warning, What::Word(flaw))
}

/// `left@host` taken apart, as matching does it.
pub fn parts(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    split_host(word).map_or((word, None), |(left, host)| (left, Some(host)))
}

/// A daemon or user name. None: it is a plain name, which inetd.conf may know.
fn name(word: &[u8], user: bool) -> Option<Saying> {
    let reserved = if user { &["LOCAL", "PARANOID"][..] } else { &["KNOWN", "LOCAL", "PARANOID"] };
    let why = match (word.first(), word.last()) {
        (Some(&first @ (b'@' | b'/')), _) => NameFlaw::BeginsWith(first),
        (Some(b'.'), _) => NameFlaw::BeginsWithDot,
        (_, Some(b'.')) => NameFlaw::EndsInDot,
        _ if is(word, "FAIL") => return Some(warn(WordFlaw::Fail)),
        _ if reserved.iter().any(|other| is(word, other)) => NameFlaw::Reserved,
        _ => return None,
    };
    Some(warn(WordFlaw::Name { name: word.to_vec(), user, why }))
}

/// A word's daemon name. True: whether inetd.conf knows it is worth asking.
pub fn daemon(process: &[u8]) -> (Vec<Saying>, bool) {
    if let Some(said) = name(process, false) {
        return (vec![said], false);
    }
    if is(process, "ALL") || is(process, "unknown") {
        return (Vec::new(), false);
    }
    let port = !process.is_empty() && process.iter().all(u8::is_ascii_digit);
    let odd = || ours(Weight::Advice, Advice::Odd { word: process.to_vec(), why: Odd::Port });
    (port.then(odd).into_iter().collect(), true)
}

pub fn user(user: &[u8]) -> Option<Saying> {
    name(user, true)
}

/// A word for a host: behind `daemon@`, behind `user@`, alone, or in a pattern file.
pub fn host(word: &[u8], in_file: bool) -> (Vec<Saying>, Next<'_>) {
    let mut said = Vec::new();
    let pattern = host_pattern(word);
    let next = match pattern {
        HostPattern::Netgroup(group) => return (said, Next::Netgroup(group)),
        HostPattern::File(path) => return (said, Next::File(path)),
        HostPattern::Net4 { mask, doubt, .. } => {
            network4(word, mask, doubt, &mut said);
            Next::Nothing
        }
        HostPattern::Net6 { net, doubt, .. } => {
            network6(word, net, doubt, &mut said);
            Next::Nothing
        }
        HostPattern::NoNet => {
            said.push(warn(WordFlaw::BadNet(word.to_vec())));
            Next::Nothing
        }
        HostPattern::Bare6 { net, length, .. } => {
            bare6(word, net, length, in_file, &mut said);
            Next::Nothing
        }
        HostPattern::Known | HostPattern::Local => Next::Nothing,
        HostPattern::Text { .. } if is(word, "FAIL") => {
            said.push(warn(WordFlaw::Fail));
            Next::Nothing
        }
        HostPattern::Text { .. } if RESERVED.iter().any(|other| is(word, other)) => {
            if is(word, "UNKNOWN") {
                said.push(ours(Weight::Advice, odd(word, Odd::Unknown)));
            }
            Next::Nothing
        }
        HostPattern::Text { pattern, may_be_name } => text(word, pattern, may_be_name, &mut said),
    };
    (said, next)
}

fn odd(word: &[u8], why: Odd) -> Advice {
    Advice::Odd { word: word.to_vec(), why }
}

fn dead(word: &[u8], why: Dead) -> Saying {
    ours(Weight::Warning, Advice::Dead { word: word.to_vec(), why })
}

fn two_ways(word: &[u8], why: Doubt) -> Saying {
    (Form::Both, Weight::Warning, What::TwoWays { word: word.to_vec(), why })
}

fn printed(address: u32, text: &[u8]) -> bool {
    Ipv4Addr::from(address).to_string().as_bytes() == text
}

fn network4(word: &[u8], mask: u32, doubt: Option<Doubt>, said: &mut Vec<Saying>) {
    let slash = word.iter().position(|&byte| byte == b'/').unwrap_or(word.len());
    let (net, behind) = word.split_at_checked(slash).unwrap_or_default();
    let behind = behind.strip_prefix(b"/").unwrap_or(behind);
    if let Some(why) = doubt {
        if why == Doubt::ZeroLength {
            said.push((Form::Reference, Weight::Warning, What::Word(WordFlaw::BadNet(word.to_vec()))));
        }
        said.push(two_ways(word, why));
    }
    let mut warn = |why| said.push(ours(Weight::Warning, odd(word, why)));
    if address4(net).is_some_and(|address| !printed(address, net)) {
        warn(Odd::OtherBase);
    }
    match address4(behind) {
        Some(_) if mask != 0 && mask.wrapping_add(1).is_power_of_two() && mask != u32::MAX => {
            warn(Odd::InvertedMask);
        }
        Some(_) if mask != 0 && !(!mask).wrapping_add(1).is_power_of_two() => warn(Odd::HolesInMask),
        Some(mask) if !printed(mask, behind) => warn(Odd::OtherBase),
        Some(_) => {}
        None if !behind.iter().all(u8::is_ascii_digit) => warn(Odd::BehindLength),
        None => {}
    }
}

fn network6(word: &[u8], net: Address6<'_>, doubt: Option<Doubt>, said: &mut Vec<Saying>) {
    said.extend(doubt.map(|why| two_ways(word, why)));
    let behind = word.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    if doubt.is_none() && !behind.iter().all(u8::is_ascii_digit) {
        said.push(ours(Weight::Warning, odd(word, Odd::BehindLength)));
    }
    address(word, net, said);
}

fn address(word: &[u8], net: Address6<'_>, said: &mut Vec<Saying>) {
    if net.ip.to_ipv4_mapped().is_some() {
        said.push(dead(word, Dead::Mapped));
    } else if net.scope.is_some() {
        said.push(ours(Weight::Advice, odd(word, Odd::Scope)));
    }
}

fn bare6(word: &[u8], net: Address6<'_>, length: Option<u8>, in_file: bool, said: &mut Vec<Saying>) {
    if net.ip.to_ipv4_mapped().is_some() && !in_file {
        said.push(dead(word, Dead::Mapped));
    } else if in_file && (length.is_some() || net.ip.to_string().as_bytes() != word) {
        // The reference compares text here: only an address as the log prints it is sure.
        said.push(two_ways(word, Doubt::BareAddress));
    } else {
        said.push(ours(Weight::Advice, odd(word, Odd::NoBrackets)));
    }
}

fn text<'a>(word: &'a [u8], pattern: TextPattern<'a>, may_be_name: bool, said: &mut Vec<Saying>) -> Next<'a> {
    let not_found = (Form::Reference, Weight::Warning, What::Word(WordFlaw::NotFound(word.to_vec())));
    match pattern {
        TextPattern::All | TextPattern::Known => {}
        TextPattern::Suffix(_) if !may_be_name => {
            said.push(warn(WordFlaw::NumberBeginsWithDot(word.to_vec())));
        }
        TextPattern::Suffix(_) => {}
        TextPattern::Prefix(_) if may_be_name => said.push(warn(WordFlaw::HostEndsInDot(word.to_vec()))),
        TextPattern::Prefix(_) => said.extend(prefix(word)),
        // The reference looks them up, and there is no such host.
        TextPattern::Glob(_) => said.push(not_found),
        TextPattern::Bracketed(None) => said.extend([not_found, dead(word, Dead::NoAddress6)]),
        TextPattern::Bracketed(Some(net)) => address(word, net, said),
        TextPattern::Exact(_) => {
            if !may_be_name {
                said.extend(number(word));
            }
            return Next::Host(word);
        }
    }
    Next::Nothing
}

/// A number of an address as it is printed.
fn is_octet(text: &[u8]) -> bool {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<u8>().ok());
    number.is_some_and(|number| number.to_string().as_bytes() == text)
}

/// `10.1.`: the start of an address.
fn prefix(word: &[u8]) -> Option<Saying> {
    let octets: Vec<_> = word.strip_suffix(b".")?.split(|&byte| byte == b'.').collect();
    if !octets.iter().all(|octet| is_octet(octet)) {
        Some(dead(word, Dead::NoAddress))
    } else {
        (octets.len() > 3).then(|| dead(word, Dead::NothingBehind))
    }
}

/// Digits and dots: a whole address, as it is printed, or nobody.
fn number(word: &[u8]) -> Option<Saying> {
    let whole = std::str::from_utf8(word).is_ok_and(|text| text.parse::<Ipv4Addr>().is_ok());
    let why = if whole {
        return None;
    } else if address4(word).is_some() {
        Dead::NotAsPrinted
    } else if word.split(|&byte| byte == b'.').all(is_octet)
        && word.iter().filter(|&&b| b == b'.').count() < 3
    {
        Dead::NoLastDot
    } else {
        Dead::NoAddress
    };
    Some(dead(word, why))
}

/// Whether matching needs the client's name.
pub fn needs_name(word: &[u8]) -> bool {
    match host_pattern(word) {
        HostPattern::Netgroup(_) | HostPattern::Known | HostPattern::Local => true,
        HostPattern::Text { pattern: TextPattern::All | TextPattern::Bracketed(_), .. } => false,
        HostPattern::Text { may_be_name, .. } => may_be_name,
        HostPattern::Bare6 { head, .. } => {
            address6(word).is_none() && head.iter().any(|b| !b.is_ascii_digit())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Problem;
    use crate::logline;

    fn said(word: &str, in_file: bool) -> Vec<String> {
        let (said, _) = host(word.as_bytes(), in_file);
        let sentence = |(form, weight, what): Saying| {
            let problem = Problem { place: None, weight, what };
            (form != Form::Reference)
                .then(|| String::from_utf8_lossy(&logline::sentence(&problem)).into_owned())
        };
        said.into_iter().filter_map(sentence).collect()
    }

    #[test]
    fn good_words_are_passed_in_silence() {
        for word in [
            "ALL",
            "local",
            "10.",
            "192.0.2.",
            "192.0.2.7",
            "10.0.0.0/8",
            "192.0.2.0/255.255.255.0",
            ".a.b",
            "[::1]",
            "[2001:db8::]/32",
            "a.example",
            "*.b",
            "@group",
            "/file",
            "255.255.255.255",
            "0.0.0.0/0.0.0.0",
        ] {
            assert_eq!(said(word, false), [""; 0], "{word}");
        }
    }

    #[test]
    fn dead_words_are_named() {
        for (word, why) in [
            ("10.1", "no network without a dot"),
            ("256.0.0.1", "it is no address"),
            ("10.0.0.1.2", "it is no address"),
            ("192.0.2.010", "as it is printed"),
            ("1.2.3.4.", "nothing can stand behind"),
            ("300.", "it is no address"),
            ("[x]", "no IPv6 address"),
            ("[::ffff:192.0.2.1]", "their IPv4 address"),
            ("[::ffff:0:0]/96", "their IPv4 address"),
            ("::ffff:192.0.2.1", "their IPv4 address"),
            ("10.0.0.0/33", "bad net/mask"),
            ("10.0.0.0/255.255.255.255", "bad net/mask"),
            (".192.0.2", "begins with dot"),
        ] {
            let said = said(word, false);
            assert!(said.len() == 1 && said[0].contains(why), "{word}: {said:?}");
        }
    }

    #[test]
    fn odd_words_are_named() {
        for (word, why) in [
            ("192.0.2.0/0.0.0.255", "inverted mask"),
            ("192.0.0.0/255.0.255.0", "with holes"),
            ("010.0.0.0/8", "octal"),
            ("10.0.0.0/8x", "behind the length"),
            ("[fe80::1%eth0]", "scope"),
            ("2001:db8::1", "without brackets"),
            ("UNKNOWN", "disagree"),
            ("10.1.2.3/8", "two ways"),
            ("10.0.0.0/0", "two ways"),
            ("[::]/x", "two ways"),
        ] {
            let said = said(word, false);
            assert!(said.iter().any(|said| said.contains(why)), "{word}: {said:?}");
        }
        assert!(said("2001:db8::/32", true)[0].contains("two ways"));
        assert!(said("2001:db8::1", true)[0].contains("without brackets"));
    }
}
