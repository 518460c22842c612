//! From bytes to rules. nom lives here and nowhere else; the productions above the functions are
//! those of hosts_access(5), GRAMMAR; what a list is, `scan` says.
//!
//! Nothing here fails: a line that is no rule is said to be so ([`Parsed`]), a word that is no good
//! pattern becomes one that matches nothing or can be read in two ways. Nothing here recurses: a
//! line may hold a million brackets.
//!
//! Warning to the next author: where this grammar looks odd (numbers by the rules of atoi, octal
//! octets, the first byte of a word that may be `@`), the oddity is the reference's and measured; see
//! tests/data.

#![forbid(unsafe_code)]

use super::scan::{in_bare, is_fence, is_numeric, is_short_without};
pub use super::scan::{is_separator, words};
use super::{
    Address6, ClientPattern, DaemonPattern, HostPattern, List, Malformed, Parsed, Process, Rule, TextPattern,
    options,
};
use crate::error::{Doubt, Flaw};
use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case, take_while, take_while_m_n, take_while1};
use nom::character::complete::{char, digit0, digit1, hex_digit1, oct_digit0, one_of};
use nom::combinator::{all_consuming, map_opt, opt, recognize, rest, verify};
use nom::multi::separated_list1;
use nom::sequence::{delimited, pair, preceded, separated_pair, terminated};
use nom::{IResult, Parser};
use std::net::{Ipv4Addr, Ipv6Addr};

type Read<'a, T> = IResult<&'a [u8], T>;

/// ```text
/// line    = comment | blanks | rule ;
/// comment = "#" { any } ;                      (in column 1 only)
/// rule    = list ":" list [ ":" options ] ;    (colons inside brackets do not count)
/// ```
pub fn line(text: &[u8]) -> Parsed<'_> {
    if text.first() == Some(&b'#') || text.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
        return Parsed::Nothing;
    }
    let (daemons, behind) = match field(text, false) {
        Field::Closed(daemons, behind) => (List(daemons), behind),
        Field::Open(_) | Field::Flawed(..) if !text.contains(&b':') => {
            return match text.iter().position(|&byte| byte == 0) {
                Some(at) => malformed(text, Flaw::Nul, text.get(at..).unwrap_or_default(), None),
                None => Parsed::NoColon,
            };
        }
        Field::Open(_) => return malformed(text, Flaw::NoSecondField, text, None),
        Field::Flawed(flaw, at) => return malformed(text, flaw, at, None),
    };
    let (clients, options) = match field(behind, true) {
        Field::Closed(clients, options) => (List(clients), Some(options)),
        Field::Open(clients) => (List(clients), None),
        Field::Flawed(flaw, at) => return malformed(text, flaw, at, Some(daemons)),
    };
    if let Some(at) = options.and_then(|o| o.iter().position(|&byte| byte == 0).and_then(|at| o.get(at..))) {
        return malformed(text, Flaw::Nul, at, Some(daemons));
    }
    Parsed::Rule(Rule { daemons, clients, options })
}

fn malformed<'a>(text: &'a [u8], flaw: Flaw, at: &'a [u8], daemons: Option<List<'a>>) -> Parsed<'a> {
    Parsed::Malformed(Malformed { flaw, at, daemons, refuses: options::refuses(text) })
}

/// How the search for the colon behind a list ended.
enum Field<'a> {
    /// The list, and the text behind its colon.
    Closed(&'a [u8], &'a [u8]),
    /// The line ended first.
    Open(&'a [u8]),
    Flawed(Flaw, &'a [u8]),
}

/// Finds the first colon at bracket depth 0 that is not part of a bare IPv6 address.
fn field(text: &[u8], clients: bool) -> Field<'_> {
    if is_short_without(text, is_fence) {
        return Field::Open(text);
    }
    plain_field(text, clients).unwrap_or_else(|| any_field(text, clients))
}

/// Most fields end where the first byte that means anything here says so. A bare address has a second
/// colon before its first blank. None where every byte has to be looked at.
fn plain_field(text: &[u8], clients: bool) -> Option<Field<'_>> {
    let Some(at) = text.iter().position(|&byte| is_fence(byte)) else { return Some(Field::Open(text)) };
    let (list, behind) = (text.get(..at)?, text.get(at..)?.strip_prefix(b":")?);
    let may_be_bare =
        || clients && behind.iter().take_while(|&&byte| in_bare(byte)).any(|&byte| byte == b':');
    (!may_be_bare()).then_some(Field::Closed(list, behind))
}

fn any_field(text: &[u8], clients: bool) -> Field<'_> {
    let from = |at: usize| text.get(at..).unwrap_or_default();
    let (mut word, mut behind_bare, mut opened) = (0, 0, Vec::new());
    for (at, &byte) in text.iter().enumerate() {
        if at < behind_bare {
            continue;
        }
        let starts_host = at == word || (at > word + 1 && text.get(at - 1) == Some(&b'@'));
        if clients && opened.is_empty() && starts_host {
            let length = bare_length(from(at));
            if length > 0 {
                behind_bare = at + length;
                continue;
            }
        }
        match byte {
            0 => return Field::Flawed(Flaw::Nul, from(at)),
            b'[' => opened.push(at),
            b']' if opened.pop().is_none() => return Field::Flawed(Flaw::Bracket(b']'), from(at)),
            b':' if opened.is_empty() => {
                return Field::Closed(text.get(..at).unwrap_or_default(), from(at + 1));
            }
            _ if is_separator(byte) => word = at + 1,
            _ => {}
        }
    }
    match opened.last() {
        Some(&at) => Field::Flawed(Flaw::Bracket(b'['), from(at)),
        None => Field::Open(text),
    }
}

/// ```text
/// bare = address6 [ "%" scope ] [ "/" length ] ;
/// ```
///
/// `::` alone is none: it is no client's address, and `: :` without its blank is a slip of the pen that
/// has refused with an option error for decades.
///
/// The length of a bare IPv6 pattern at the start of `text`, 0 if there is none: the run of letters,
/// digits and `:.%/` up to a separator if the whole of it is one, else up to the last colon that is
/// followed by an option keyword.
fn bare_length(text: &[u8]) -> usize {
    let run_length = text.iter().take(BARE_MAX + 1).take_while(|&&byte| in_bare(byte)).count();
    let run = text.get(..run_length).unwrap_or_default();
    if run.iter().filter(|&&byte| byte == b':').count() < 2 {
        return 0;
    }
    let ends = run_length <= BARE_MAX && text.get(run_length).is_none_or(|&byte| is_separator(byte));
    if ends && bare(run).is_some() {
        return run_length;
    }
    let ends_before_option = |&at: &usize| {
        run.get(at) == Some(&b':')
            && text.get(at + 1..).is_some_and(options::starts_with_keyword)
            && run.get(..at).and_then(bare).is_some()
    };
    (0..run_length).rev().find(ends_before_option).unwrap_or(0)
}

/// Longest bare IPv6 pattern: an address, a scope of 15 bytes, a length, and room.
const BARE_MAX: usize = 80;

/// A whole word that is a bare IPv6 address or network.
pub fn bare(word: &[u8]) -> Option<(Address6<'_>, Option<u8>)> {
    fn length(text: &[u8]) -> Read<'_, u8> {
        map_opt(digit1, |digits| std::str::from_utf8(digits).ok()?.parse().ok().filter(|&n| n <= 128))
            .parse(text)
    }
    if !word.contains(&b':') {
        return None;
    }
    let address = map_opt(take_while1(|byte| byte != b'/'), address6);
    let mut whole = all_consuming(pair(address, opt(preceded(char('/'), length))));
    whole.parse(word).ok().map(|(_, bare)| bare).filter(|_| word != b"::")
}

/// ```text
/// address6 = as inet_pton(3), with the scope of a link-local address behind "%".
/// ```
pub fn address6(text: &[u8]) -> Option<Address6<'_>> {
    let read: Read<'_, (&[u8], Option<&[u8]>)> =
        pair(take_while1(|byte| byte != b'%'), opt(preceded(char('%'), rest))).parse(text);
    let (_, (digits, scope)) = read.ok()?;
    let ip: Ipv6Addr = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let link = ip.is_unicast_link_local() || (ip.segments()[0] & 0xff0f) == 0xff02;
    match scope {
        Some(scope) if scope.is_empty() || !(link || scope_number(scope)) => None,
        _ => Some(Address6 { ip, scope }),
    }
}

/// A scope that is a number needs no interface of that name.
pub fn scope_number(scope: &[u8]) -> bool {
    std::str::from_utf8(scope).is_ok_and(|s| s.parse::<u32>().is_ok() && !s.starts_with('+'))
}

/// ```text
/// address4 = octet "." octet "." octet "." octet ;   as inet_addr(3): octal and hexadecimal, too
/// ```
///
/// 255.255.255.255 is taken for "no address", as the reference takes it.
pub fn address4(text: &[u8]) -> Option<u32> {
    let plain = || std::str::from_utf8(text).ok()?.parse::<Ipv4Addr>().ok();
    plain().map(u32::from).or_else(|| odd_address4(text)).filter(|&ip| ip != u32::MAX)
}

fn odd_address4(text: &[u8]) -> Option<u32> {
    let part = || terminated(octet, char('.'));
    let (_, (a, b, c, d)) = all_consuming((part(), part(), part(), octet)).parse(text).ok()?;
    Some(u32::from_be_bytes([a, b, c, d]))
}

/// ```text
/// octet = ( "0x" hex { hex } ) | ( "0" { octal } ) | ( digit { digit } ) ;   at most 255
/// ```
fn octet(text: &[u8]) -> Read<'_, u8> {
    let number = |radix| {
        move |digits: &[u8]| {
            let text = std::str::from_utf8(digits).ok()?;
            if text.is_empty() {
                Some(0)
            } else {
                u8::from_str_radix(text.trim_start_matches('0'), radix).ok().or(zeros(text))
            }
        }
    };
    alt((
        map_opt(preceded(tag_no_case("0x"), hex_digit1), number(16)),
        map_opt(preceded(char('0'), oct_digit0), number(8)),
        map_opt(digit1, number(10)),
    ))
    .parse(text)
}

fn zeros(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte == b'0').then_some(0)
}

/// The address of a text that is dotted IPv4, or IPv4 in `::ffff:` clothes: those are one address to
/// every pattern.
pub fn unmapped(text: &[u8]) -> &[u8] {
    if text.first() != Some(&b':') {
        return text;
    }
    let mapped: Read<'_, &[u8]> = preceded(tag_no_case("::ffff:"), rest).parse(text);
    match mapped {
        Ok((_, inner)) if address4(inner).is_some() || inner == b"255.255.255.255" => inner,
        _ => text,
    }
}

/// Splits at the first `at` outside brackets. The first `skip` bytes are not looked at, not even for
/// brackets: `[::1]@ALL` is one host pattern.
fn split_outside(text: &[u8], at: u8, skip: usize) -> Option<(&[u8], &[u8])> {
    let mut depth = 0_i64;
    let is_it = |&byte: &u8| {
        match byte {
            b'[' => depth += 1,
            b']' => depth -= 1,
            _ => {}
        }
        byte == at && depth == 0
    };
    let found = skip + text.get(skip..)?.iter().position(is_it)?;
    Some((text.get(..found)?, text.get(found + 1..)?))
}

/// `process@host` and `user@host`: the two halves, if there are two.
pub fn split_host(word: &[u8]) -> Option<(&[u8], &[u8])> {
    if word.contains(&b'@') { split_outside(word, b'@', 1) } else { None }
}

/// ```text
/// daemon = process [ "@" host ] ;
/// process = port | text ;
/// ```
pub fn daemon_pattern(word: &[u8]) -> DaemonPattern<'_> {
    if word.eq_ignore_ascii_case(b"ALL") {
        return DaemonPattern { process: Process::Named(TextPattern::All), host: None };
    }
    let (process, host) = match split_host(word) {
        Some((process, host)) => (process, Some(host_pattern(host))),
        None => (word, None),
    };
    let process = match port(process) {
        Some(port) => Process::Port(port),
        None => Process::Named(text_pattern(process)),
    };
    DaemonPattern { process, host }
}

/// ```text
/// port = [ "+" ] digit { digit } ;   at most 65535, else it is a name
/// ```
fn port(word: &[u8]) -> Option<u16> {
    word.first().filter(|&&first| first == b'+' || first.is_ascii_digit())?;
    let digits: Read<'_, &[u8]> = all_consuming(preceded(opt(char('+')), digit1)).parse(word);
    std::str::from_utf8(digits.ok()?.1)
        .ok()?
        .trim_start_matches('0')
        .parse()
        .ok()
        .or_else(|| word.iter().all(|&byte| byte == b'0' || byte == b'+').then_some(0))
}

/// ```text
/// client = [ user "@" ] host ;
/// ```
pub fn client_pattern(word: &[u8]) -> ClientPattern<'_> {
    if let Some(host) = numeric(word) {
        return ClientPattern { user: None, host };
    }
    match split_host(word) {
        Some((user, host)) => ClientPattern { user: Some(text_pattern(user)), host: host_pattern(host) },
        None => ClientPattern { user: None, host: host_pattern(word) },
    }
}

/// ```text
/// host = "@" netgroup | "/" path | "KNOWN" | "LOCAL" | network | bare | text ;
/// ```
pub fn host_pattern(word: &[u8]) -> HostPattern<'_> {
    if let Some(host) = numeric(word) {
        return host;
    }
    match word.first() {
        Some(b'@') => return HostPattern::Netgroup(word.get(1..).unwrap_or_default()),
        Some(b'/') => return HostPattern::File(word),
        _ => {}
    }
    if word.eq_ignore_ascii_case(b"KNOWN") {
        return HostPattern::Known;
    }
    if word.eq_ignore_ascii_case(b"LOCAL") {
        return HostPattern::Local;
    }
    if let Some((net, length)) = bare(word) {
        let head = word.split(|&byte| byte == b':').next().unwrap_or_default();
        return HostPattern::Bare6 { net, length, head };
    }
    if let Some((net, mask)) = split_outside(word, b'/', 0) {
        return network(net, mask);
    }
    // Not all of it is digits and dots, or it would have been numeric.
    HostPattern::Text { pattern: text_pattern(word), may_be_name: true }
}

/// An IPv4 address, or an end of one, is text: no other pattern above has neither a letter nor a sign but
/// the dot. Seen at once, because lists of a million addresses have nothing else.
fn numeric(word: &[u8]) -> Option<HostPattern<'_>> {
    let pattern = match (word.first(), word.last()) {
        (Some(b'.'), _) => TextPattern::Suffix(word),
        (_, Some(b'.')) => TextPattern::Prefix(word),
        _ => TextPattern::Exact(word),
    };
    let all = is_short_without(word, |byte| !is_numeric(byte)) || word.iter().all(|&byte| is_numeric(byte));
    all.then_some(HostPattern::Text { pattern, may_be_name: false })
}

/// ```text
/// network = address4 "/" ( address4 | number ) | "[" address6 "]" "/" number ;
/// ```
fn network<'a>(net: &'a [u8], mask: &'a [u8]) -> HostPattern<'a> {
    if let Some(net) = address4(net) {
        return network4(net, mask);
    }
    bracketed(net).map_or(HostPattern::NoNet, |net| network6(net, mask))
}

fn network4(net: u32, mask: &[u8]) -> HostPattern<'_> {
    let mask = match address4(mask) {
        Some(mask) => mask,
        None => match leading_number(mask) {
            Some((n @ 1..=32, _)) => u32::MAX << (32 - n),
            // "/0": zeros and nothing else. Garbage that atoi reads as 0 stays a network of nobody.
            Some((0, true)) => {
                return HostPattern::Net4 { net: 0, mask: 0, doubt: Some(Doubt::ZeroLength) };
            }
            // Nor is 255.255.255.255 a mask, being no address.
            _ => return HostPattern::NoNet,
        },
    };
    let doubt = (net & mask != net).then_some(Doubt::HostBits);
    HostPattern::Net4 { net: net & mask, mask, doubt }
}

fn network6<'a>(net: Address6<'a>, mask: &[u8]) -> HostPattern<'a> {
    match leading_number(mask) {
        Some((0, false)) | None => HostPattern::Net6 { net, length: 0, doubt: Some(Doubt::NoLength) },
        Some((n, _)) => match u8::try_from(n) {
            Ok(length @ 0..=128) => HostPattern::Net6 { net, length, doubt: None },
            _ => HostPattern::NoNet,
        },
    }
}

/// A number by the rules of atoi(3): an optional sign, digits, anything. None where there is no digit;
/// the flag says whether the number is all there is. What does not fit is cut to the lowest 32 bits, as
/// the C library cuts it.
fn leading_number(text: &[u8]) -> Option<(i32, bool)> {
    let read: Read<'_, (&[u8], &[u8])> = pair(recognize(opt(one_of("+-"))), digit0).parse(text);
    let (behind, (sign, digits)) = read.ok()?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.is_empty())?;
    let number: i64 = digits.parse().unwrap_or(i64::MAX);
    let number = if sign == b"-" { number.saturating_neg() } else { number };
    Some((number as i32, behind.is_empty()))
}

fn bracketed(text: &[u8]) -> Option<Address6<'_>> {
    let inner: Read<'_, &[u8]> =
        all_consuming(delimited(char('['), take_while(|byte| byte != b']'), char(']'))).parse(text);
    address6(inner.ok()?.1)
}

/// ```text
/// text = glob | "." suffix | "ALL" | "KNOWN" | prefix "." | "[" address6 "]" | exact ;   in this order
/// ```
pub fn text_pattern(word: &[u8]) -> TextPattern<'_> {
    if word.iter().any(|&byte| matches!(byte, b'*' | b'?')) {
        TextPattern::Glob(word)
    } else if word.starts_with(b".") {
        TextPattern::Suffix(word)
    } else if word.eq_ignore_ascii_case(b"ALL") {
        TextPattern::All
    } else if word.eq_ignore_ascii_case(b"KNOWN") {
        TextPattern::Known
    } else if word.ends_with(b".") {
        TextPattern::Prefix(word)
    } else if word.starts_with(b"[") && word.ends_with(b"]") {
        TextPattern::Bracketed(bracketed(word))
    } else {
        TextPattern::Exact(word)
    }
}

/// ```text
/// reply = number "," number ":" "USERID" ":" opsys ":" user ... ;   RFC 1413, as the reference reads it
/// ```
///
/// The two ports and the user, the first non-blank word of the last field, at most 255 bytes of it.
/// Blanks may stand round every token. None where the line is an ERROR or anything else.
pub fn ident_reply(reply: &[u8]) -> Option<(u16, u16, &[u8])> {
    fn blanks(text: &[u8]) -> Read<'_, &[u8]> {
        take_while(|byte: u8| byte == b' ' || (b'\t'..=b'\r').contains(&byte))(text)
    }
    fn number(text: &[u8]) -> Read<'_, u16> {
        delimited(
            blanks,
            map_opt(digit1, |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok()),
            blanks,
        )
        .parse(text)
    }
    let userid = delimited(blanks, tag("USERID"), blanks);
    let opsys = take_while1(|byte| byte != b':');
    let is_user = |byte: u8| !(byte == b' ' || (b'\t'..=b'\r').contains(&byte));
    let user = preceded(blanks, take_while_m_n(1, 255, is_user));
    let ports = separated_pair(number, char(','), number);
    let mut reply_parser = (ports, char(':'), userid, char(':'), opsys, char(':'), user);
    let (_, ((remote, local), _, _, _, _, _, user)) = reply_parser.parse(reply).ok()?;
    Some((remote, local, user))
}

/// Key and value, or where a line stops being a setting.
pub type Setting<'a> = Result<(&'a [u8], &'a [u8]), &'a [u8]>;

/// ```text
/// setting = key blanks value ;   one line of tcpd.conf(5), `#` and what follows it removed
/// ```
///
/// Key and value, or the text at which it stops being a setting. None for an empty line.
pub fn setting(text: &[u8]) -> Option<Setting<'_>> {
    let text = text.split(|&byte| byte == b'#').next().unwrap_or_default().trim_ascii();
    if text.is_empty() {
        return None;
    }
    let key = take_while1(|byte: u8| byte.is_ascii_alphanumeric() || byte == b'-');
    let blank = take_while1(|byte| matches!(byte, b' ' | b'\t'));
    let value = verify(rest, |value: &[u8]| {
        value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
    });
    let read: Read<'_, (&[u8], &[u8])> = separated_pair(key, blank, value).parse(text);
    Some(match read {
        Ok((_, pair)) => Ok(pair),
        Err(nom::Err::Error(e) | nom::Err::Failure(e)) => Err(e.input),
        Err(nom::Err::Incomplete(_)) => Err(text),
    })
}

/// ```text
/// numbers = number { "." number } ;   what inet_aton(3) and inet_pton(3) take for an address
/// ```
pub fn is_numeric_address(text: &[u8]) -> bool {
    let number = alt((recognize(preceded(tag_no_case("0x"), hex_digit1)), digit1));
    let four: Read<'_, Vec<&[u8]>> = all_consuming(separated_list1(char('.'), number)).parse(text);
    address6(text).is_some() || four.is_ok_and(|(_, parts)| parts.len() <= 4)
}

/// The IPv4 address of a client's address text, mapped or not.
pub fn client4(address: &[u8]) -> Option<Ipv4Addr> {
    address4(unmapped(address)).map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(text: &str) -> (String, Option<String>) {
        let text = format!("ALL:{text}");
        match line(text.as_bytes()) {
            Parsed::Rule(rule) => (
                String::from_utf8_lossy(rule.clients.0).into_owned(),
                rule.options.map(|o| String::from_utf8_lossy(o).into_owned()),
            ),
            other => panic!("{text}: {other:?}"),
        }
    }

    /// Bare IPv6 in the client list: what is taken whole, and where the reference's split stays.
    #[test]
    fn bare_addresses_are_taken_whole() {
        let taken = |text, list: &str, options: Option<&str>| {
            assert_eq!(clients(text), (list.to_owned(), options.map(str::to_owned)), "{text}");
        };
        taken("::1", "::1", None);
        taken("::1:deny", "::1", Some("deny"));
        taken(" fe80::1: allow", " fe80::1", Some(" allow"));
        taken("abc:def0::1:banners /x", "abc:def0::1", Some("banners /x"));
        taken("cafe::", "cafe::", None);
        taken("2001:db8::/32, 10.", "2001:db8::/32, 10.", None);
        taken("2001:db8::/32:severity=mail.info", "2001:db8::/32", Some("severity=mail.info"));
        taken("fe80::1%eth0", "fe80::1%eth0", None);
        taken("root@::1 : deny", "root@::1 ", Some(" deny"));
        taken("::ffff:192.0.2.7:twist x", "::ffff:192.0.2.7", Some("twist x"));
        taken("1:2:3:4:5:6:7:8:user nobody", "1:2:3:4:5:6:7:8", Some("user nobody"));
        taken("10., 2001:db8::7", "10., 2001:db8::7", None);
        taken("[10.] ::1:deny", "[10.] ::1", Some("deny"));
        // the reference's split
        taken(" ALL :: deny", " ALL ", Some(": deny"));
        taken(" ALL ::deny", " ALL ", Some(":deny"));
        taken("::1:denyx", "", Some(":1:denyx"));
        taken("::ffff:192.0.", "", Some(":ffff:192.0."));
        taken("a:b", "a", Some("b"));
        taken("2001:db8::/129", "2001", Some("db8::/129"));
        taken("2001:db8::1]", "2001", Some("db8::1]"));
        taken("@::1", "@", Some(":1"));
        taken("10.:deny", "10.", Some("deny"));
        taken("xyab::1", "xyab", Some(":1"));
        taken("[10.] xyab::1", "[10.] xyab", Some(":1"));
    }

    #[test]
    fn a_bare_address_is_no_longer_than_80_bytes() {
        let longest = format!("fe80::1%{}", "a".repeat(BARE_MAX - 8));
        assert_eq!((longest.len(), clients(&longest)), (80, (longest.clone(), None)));
        let refusing = format!("{longest}:deny");
        assert_eq!(clients(&refusing), (longest.clone(), Some("deny".to_owned())));
        for longer in [format!("{longest}a"), format!("{longest}a:deny")] {
            assert_eq!(clients(&longer).0, "fe80", "{longer}");
        }
    }

    #[test]
    fn daemon_lists_have_no_bare_addresses() {
        let daemons = |text: &'static str| match line(text.as_bytes()) {
            Parsed::Rule(rule) => std::str::from_utf8(rule.daemons.0).expect("ASCII"),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(daemons("::1: ALL"), "");
        assert_eq!(daemons("[x] ::1: ALL"), "[x] ");
        assert_eq!(daemons("a@[::1] b: ALL"), "a@[::1] b");
    }

    #[test]
    fn lines_of_blanks_say_nothing() {
        for nothing in [&b""[..], b" ", b" \t\r\n", b"#", b"#a: b"] {
            assert_eq!(line(nothing), Parsed::Nothing);
        }
        assert_eq!(line(b" #"), Parsed::NoColon);
    }

    #[test]
    fn brackets_hide_colons_and_must_balance() {
        assert_eq!(clients("[::1]:deny"), ("[::1]".into(), Some("deny".into())));
        let flaw = |text: &[u8]| match line(text) {
            Parsed::Malformed(m) => (m.flaw, text.len() - m.at.len(), m.daemons.is_some(), m.refuses),
            other => panic!("{other:?}"),
        };
        assert_eq!(flaw(b"ALL: [::1, ALL: deny"), (Flaw::Bracket(b'['), 5, true, true));
        assert_eq!(flaw(b"ALL: ], ALL: Twist /x y"), (Flaw::Bracket(b']'), 5, true, true));
        assert_eq!(flaw(b"ALL]: ALL: deny"), (Flaw::Bracket(b']'), 3, false, true));
        assert_eq!(flaw(b"ALL [::1]"), (Flaw::NoSecondField, 0, false, false));
        assert_eq!(flaw(b"ALL: ALL: allow:\0x"), (Flaw::Nul, 16, true, false));
        assert_eq!(flaw(b"\0ALL: ALL"), (Flaw::Nul, 0, false, false));
        assert_eq!(flaw(b"no colon\0"), (Flaw::Nul, 8, false, false));
        assert_eq!(flaw(b"ALL: [a]\0, 10.1.2.3: deny"), (Flaw::Nul, 8, true, true));
        assert_eq!(line(b"no rule [at all"), Parsed::NoColon);
        assert_eq!(line(b"# [:"), Parsed::Nothing);
        assert!(matches!(line(b"a: b: spawn echo ]"), Parsed::Rule(_)), "brackets in options are text");
    }

    #[test]
    fn numbers_are_read_as_the_reference_reads_them() {
        assert_eq!(address4(b"0300.0.0x2.7"), Some(0xc000_0207));
        for bad in ["255.255.255.255", "1.2.3", "1.2.3.256", "1.2.3.4.", "08.1.1.1", "1..2.3", "0x.1.1.1"] {
            assert_eq!(address4(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(address4(b"00.000.0.0"), Some(0));
        assert_eq!(
            (port(b"22"), port(b"+22"), port(b"0"), port(b"65536"), port(b"-1")),
            (Some(22), Some(22), Some(0), None, None)
        );
        let length = |text: &str| match host_pattern(text.as_bytes()) {
            HostPattern::Net4 { net, mask, doubt } => {
                assert_eq!(net & mask, net, "{text}");
                (Some(mask.leading_ones()), doubt)
            }
            _ => (None, None),
        };
        assert_eq!(length("10.0.0.0/8x"), (Some(8), None));
        assert_eq!(length("10.1.2.3/32"), (Some(32), None));
        assert_eq!(length("128.0.0.0/1"), (Some(1), None));
        assert_eq!(length("10.0.0.0/+08"), (Some(8), None));
        assert_eq!(length("10.0.0.1/8"), (Some(8), Some(Doubt::HostBits)));
        assert_eq!(length("10.0.0.0/0"), (Some(0), Some(Doubt::ZeroLength)));
        assert_eq!(length("10.0.0.0/4294967304"), (Some(8), None), "cut to 32 bits");
        assert_eq!(length("0.0.0.0/0.0.0.0"), (Some(0), None));
        for never in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/0x8", "10.0.0.0/-1", "10.0.0.0/255.255.255.255"] {
            assert_eq!(length(never), (None, None), "{never}");
        }
    }

    #[test]
    fn a_word_is_split_outside_brackets() {
        assert!(client_pattern(b"joe@[::1]").user.is_some());
        assert!(client_pattern(b"@staff").user.is_none() && client_pattern(b"a@@staff").user.is_some());
        assert!(client_pattern(b"[::1]@ALL").user.is_none(), "the first byte is not looked at");
    }

    #[test]
    fn hosts_are_split_off_at_the_first_sign_outside_brackets() {
        let split = |word: &'static str| {
            let text = |part| std::str::from_utf8(part).expect("ASCII");
            split_host(word.as_bytes()).map(|(before, behind)| (text(before), text(behind)))
        };
        assert_eq!(split("joe@10.1.2.3"), Some(("joe", "10.1.2.3")));
        assert_eq!(split("joe@[::1]"), Some(("joe", "[::1]")));
        assert_eq!(split("a[@]@b@c"), Some(("a[@]", "b@c")));
        assert_eq!(split("a[[@]@]@b"), Some(("a[[@]@]", "b")));
        assert_eq!(split("j@"), Some(("j", "")));
        for whole in ["", "joe", "@", "@staff", "a[@b"] {
            assert_eq!(split(whole), None, "{whole}");
        }
    }

    #[test]
    fn words_are_the_patterns_that_they_look_like() {
        let text = |pattern, may_be_name| HostPattern::Text { pattern, may_be_name };
        assert_eq!(host_pattern(b"10."), text(TextPattern::Prefix(b"10."), false));
        assert_eq!(host_pattern(b".5"), text(TextPattern::Suffix(b".5"), false));
        assert_eq!(host_pattern(b"."), text(TextPattern::Suffix(b"."), false));
        assert_eq!(host_pattern(b"10.1.2.3"), text(TextPattern::Exact(b"10.1.2.3"), false));
        assert_eq!(host_pattern(b"localhost"), text(TextPattern::Exact(b"localhost"), true));
        assert_eq!(host_pattern(b"a1"), text(TextPattern::Exact(b"a1"), true));
        assert_eq!(host_pattern(b"10.*"), text(TextPattern::Glob(b"10.*"), true));
        assert_eq!(host_pattern(b"@staff"), HostPattern::Netgroup(b"staff"));
        assert_eq!(host_pattern(b"/etc/bad"), HostPattern::File(b"/etc/bad"));
        assert_eq!(
            (host_pattern(b"known"), host_pattern(b"Local")),
            (HostPattern::Known, HostPattern::Local)
        );
        assert!(matches!(
            host_pattern(b"2001:db8::7"),
            HostPattern::Bare6 { length: None, head: b"2001", .. }
        ));
        assert!(matches!(
            host_pattern(b"beef::/16"),
            HostPattern::Bare6 { length: Some(16), head: b"beef", .. }
        ));
        for open in ["[", "[abc", "abc]"] {
            assert_eq!(text_pattern(open.as_bytes()), TextPattern::Exact(open.as_bytes()));
        }
        assert_eq!(text_pattern(b"[10.1.2.3]"), TextPattern::Bracketed(None));
        assert!(matches!(text_pattern(b"[::1]"), TextPattern::Bracketed(Some(_))));
        assert_eq!(daemon_pattern(b"22").process, Process::Port(22));
        assert_eq!(daemon_pattern(b"all").process, Process::Named(TextPattern::All));
        assert!(daemon_pattern(b"sshd@10.").host.is_some());
    }

    #[test]
    fn networks_in_brackets() {
        let length = |text: &str| match host_pattern(text.as_bytes()) {
            HostPattern::Net6 { length, doubt, .. } => Some((length, doubt)),
            HostPattern::NoNet => None,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(length("[2001:db8::]/32"), Some((32, None)));
        assert_eq!(length("[::]/0"), Some((0, None)));
        assert_eq!(length("[::1]/128x"), Some((128, None)));
        for zero in ["[::1]/", "[::1]/x", "[::1]/0x8"] {
            assert_eq!(length(zero), Some((0, Some(Doubt::NoLength))), "{zero}");
        }
        for never in ["[::1]/129", "[::1]/-1", "[::1]/256", "[10.1.2.3]/8", "x/8"] {
            assert_eq!(length(never), None, "{never}");
        }
    }

    #[test]
    fn a_scope_stands_behind_a_link_or_is_a_number() {
        for good in ["fe80::1%eth0", "febf::1%x", "ff02::1%eth0", "ff12::1%x", "2001:db8::1%7", "fe80::1%+7"]
        {
            assert!(address6(good.as_bytes()).is_some(), "{good}");
        }
        for bad in ["fe80::1%", "2001:db8::1%eth0", "2001:db8::1%+7", "ff01::1%eth0", "2001:db8::1%", "%1"] {
            assert!(address6(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_mapped_address_is_the_one_it_maps() {
        assert_eq!(unmapped(b"::ffff:192.0.2.7"), b"192.0.2.7");
        assert_eq!(unmapped(b"::FFFF:255.255.255.255"), b"255.255.255.255");
        for other in ["192.0.2.7", "::1", "::ffff:1", "::ffff:x", "::ffff:1.2.3.256", "unknown", ""] {
            assert_eq!(unmapped(other.as_bytes()), other.as_bytes());
        }
        assert_eq!(client4(b"::ffff:192.0.2.7"), Some(Ipv4Addr::new(192, 0, 2, 7)));
        assert_eq!((client4(b"::1"), client4(b"unknown")), (None, None));
    }

    #[test]
    fn numeric_addresses_are_those_that_inet_aton_takes() {
        for yes in ["1", "0x10", "1.2", "10.1.2.3", "0300.0.0X2.7", "255.255.255.255", "::1", "fe80::1%lo"] {
            assert!(is_numeric_address(yes.as_bytes()), "{yes}");
        }
        for no in ["", "x", "1.2.3.4.5", "1..2", "1.2.", "0x", "1.x", "h.example.com", "[::1]"] {
            assert!(!is_numeric_address(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn settings_are_a_key_and_a_value() {
        let read = |text: &'static [u8]| setting(text);
        assert_eq!(read(b"a-b7 \t7\tx  # y # z"), Some(Ok((&b"a-b7"[..], &b"7\tx"[..]))));
        assert_eq!(read(b"\tkey  v~ \r"), Some(Ok((&b"key"[..], &b"v~"[..]))));
        for nothing in [&b""[..], b" \t", b"# a b", b"  # a"] {
            assert_eq!(read(nothing), None);
        }
        assert_eq!(read(b"key"), Some(Err(&b""[..])));
        assert_eq!(read(b"a_b c"), Some(Err(&b"_b c"[..])));
        for byte in [0, 1, 0x1f, 0x7f] {
            let text = [b'a', b' ', b'b', byte, b'c'];
            assert_eq!(setting(&text), Some(Err(&text[2..])), "{byte}");
        }
    }

    #[test]
    fn ident_replies() {
        assert_eq!(ident_reply(b"6193, 23 : USERID : UNIX :stjohns\r\n"), Some((6193, 23, &b"stjohns"[..])));
        assert_eq!(ident_reply(b"1,2:USERID:UNIX,US-ASCII: a;b c"), Some((1, 2, &b"a;b"[..])));
        assert_eq!(ident_reply(b"6195, 23 : ERROR : NO-USER"), None);
        assert_eq!(ident_reply(b"66000, 23 : USERID : UNIX : x"), None);
        assert_eq!(ident_reply(b"1, 2 : USERID : UNIX : "), None);
        assert_eq!(ident_reply(b"\t1\x0b, 2:USERID:UNIX:\x0cj\tx"), Some((1, 2, &b"j"[..])));
        let long = [b"1,2:USERID:UNIX:".to_vec(), vec![b'x'; 300]].concat();
        assert_eq!(ident_reply(&long).map(|(_, _, user)| user.len()), Some(255));
        assert_eq!(ident_reply(&[b'1'; 5000]), None);
    }

    #[test]
    fn a_million_colons_are_read_once() {
        for piece in [&b":allow"[..], b": ", b"::", b"a:b@"] {
            let text = [b"ALL: ".to_vec(), piece.repeat(1_000_000 / piece.len())].concat();
            assert!(!matches!(line(&text), Parsed::Nothing));
        }
    }

    #[test]
    fn a_million_brackets_are_no_recursion() {
        let deep = [b"ALL: ".to_vec(), vec![b'['; 1_000_000]].concat();
        assert!(matches!(line(&deep), Parsed::Malformed(_)));
    }
}
