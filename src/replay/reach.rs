//! Which IPv4 clients can a pattern be for? What it cannot be for it need not be asked about.
//!
//! Only addresses in their plainest form are looked at, for rules compare them as text. The law, kept by a
//! test: **whoever is out of reach is not matched, and nobody is asked about him.**

#![forbid(unsafe_code)]

use crate::rules::{HostPattern, TextPattern};

/// From the first address to the last.
pub type Stretch = (u32, u32);

/// Where a pattern can match a client with an IPv4 address; None inside if nowhere. None where it may match
/// by something else, or asks for something.
#[allow(clippy::option_option, reason = "nowhere is an answer")]
pub fn reach(pattern: HostPattern<'_>) -> Option<Option<Stretch>> {
    match pattern {
        HostPattern::NoNet | HostPattern::Net6 { .. } => Some(None),
        HostPattern::Net4 { net, mask, .. } => {
            (mask.leading_ones() == mask.count_ones()).then_some(Some((net, net | !mask)))
        }
        HostPattern::Text { pattern, may_be_name: false } => match pattern {
            TextPattern::Exact(text) => Some(plain4(text).map(|address| (address, address))),
            TextPattern::Prefix(text) => Some(under(text)),
            _ => None,
        },
        _ => None,
    }
}

/// The addresses that begin with `10.` or `10.1.`, if any do.
fn under(prefix: &[u8]) -> Option<Stretch> {
    let filled = |part: &[u8]| {
        let missing = 4_usize.checked_sub(prefix.iter().filter(|&&byte| byte == b'.').count())?;
        plain4(&[prefix, vec![part; missing].join(&b'.').as_slice()].concat())
    };
    Some((filled(b"0")?, filled(b"255").or_else(|| filled(b"254"))?))
}

/// `192.0.2.7`, and no other form of it. 255.255.255.255 is no address to rules.
pub fn plain4(text: &[u8]) -> Option<u32> {
    let (mut parts, mut digits, mut part, mut address) = (1, 0, 0_u32, 0_u32);
    for &byte in text {
        match byte {
            b'.' if digits > 0 && parts < 4 => {
                address = address << 8 | part;
                (parts, digits, part) = (parts + 1, 0, 0);
            }
            b'0'..=b'9' if digits == 0 || part > 0 => {
                (digits, part) = (digits + 1, part * 10 + u32::from(byte - b'0'));
                if part > 255 {
                    return None;
                }
            }
            _ => return None,
        }
    }
    let whole = address << 8 | part;
    (parts == 4 && digits > 0 && whole != u32::MAX).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::grammar::{address4, host_pattern};
    use std::net::Ipv4Addr;

    #[test]
    fn plain_addresses_are_plain() {
        for text in ["0.0.0.0", "1.2.3.4", "10.0.0.255", "255.255.255.254"] {
            let address: Ipv4Addr = text.parse().expect("an address");
            assert_eq!(plain4(text.as_bytes()), Some(address.to_bits()), "{text}");
            assert_eq!(address4(text.as_bytes()), Some(address.to_bits()), "{text}");
        }
        for text in [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "01.2.3.4",
            "1.2.3.00",
            "1..2.3",
            "1.2.3.",
            "1.2.3.256",
            "255.255.255.255",
            "1.2.3.4 ",
            "0x1.2.3.4",
        ] {
            assert_eq!(plain4(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn patterns_have_their_reach() {
        let shown = |word: &str| {
            let range = |(first, last)| format!("{} {}", Ipv4Addr::from(first), Ipv4Addr::from(last));
            reach(host_pattern(word.as_bytes())).map(|found| found.map(range))
        };
        for (word, expected) in [
            ("10.", "10.0.0.0 10.255.255.255"),
            ("10.1.2.", "10.1.2.0 10.1.2.255"),
            ("255.255.255.", "255.255.255.0 255.255.255.254"),
            ("10.1.2.3", "10.1.2.3 10.1.2.3"),
            ("10.0.0.0/8", "10.0.0.0 10.255.255.255"),
            ("10.1.2.3/24", "10.1.2.0 10.1.2.255"),
            ("10.0.0.0/255.255.0.0", "10.0.0.0 10.0.255.255"),
        ] {
            assert_eq!(shown(word), Some(Some(expected.to_owned())), "{word}");
        }
        for word in ["[2001:db8::]/32", "10.1", "10.1.2.3.", "300.", "1.2.3.4/33", "010.1.2.3"] {
            assert_eq!(shown(word), Some(None), "{word}");
        }
        for word in [
            "ALL",
            "KNOWN",
            "UNKNOWN",
            "LOCAL",
            ".example.com",
            "host.",
            "@group",
            "*",
            "10.*",
            ".1",
            "/etc/hosts.banned",
            "10.0.0.1/255.0.0.255",
            "2001:db8::7",
            "[2001:db8::7]",
        ] {
            assert_eq!(shown(word), None, "{word}");
        }
    }
}
