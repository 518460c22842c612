//! Who said it, and when? The head of a line: stamp, tag and process id, in every form in which such
//! lines are kept.
//!
//! A stamp is recognised by its pattern and shown as it stands in the log; nothing is computed with it,
//! because RFC 3164 has no year and half of the others no zone. What stands between stamp and text
//! depends on who keeps the file: usually a host and the tag.
//!
//! To add a form: a row in `FORMS`.

#![forbid(unsafe_code)]

use std::fmt;

/// A line or an entry of a journal, taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record<'l> {
    pub stamp: Stamp<'l>,
    /// Who writes: for the wrapper the name of the service. Empty where nobody is named.
    pub tag: &'l [u8],
    pub pid: Option<u32>,
    pub message: &'l [u8],
    pub more: More<'l>,
}

/// What objects say beside their message. Empty is not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct More<'l> {
    pub client: &'l [u8],
    pub server: &'l [u8],
    pub server_port: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp<'l> {
    Text(&'l [u8]),
    /// Microseconds since 1970, as a journal has them.
    Micros(u64),
}

impl Default for Stamp<'_> {
    fn default() -> Self {
        Stamp::Text(b"")
    }
}

/// A stamp that outlives its line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    bytes: [u8; Moment::MAX],
    length: usize,
}

impl Moment {
    /// `2026-11-21T12:57:37.123456789+01:00` and a little more.
    const MAX: usize = 40;

    pub fn of(stamp: Stamp<'_>) -> Moment {
        let mut moment = Moment { bytes: [0; Moment::MAX], length: 0 };
        match stamp {
            Stamp::Text(text) => moment.set(text),
            Stamp::Micros(micros) => moment.set(in_greenwich(micros / 1_000_000).as_bytes()),
        }
        moment
    }

    fn set(&mut self, text: &[u8]) {
        self.length = 0;
        for (byte, &own) in self.bytes.iter_mut().zip(text) {
            *byte = own;
            self.length += 1;
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.bytes.get(..self.length).unwrap_or_default()))
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// `2026-11-21T11:57:37Z`. Days are counted from the first of March of the year 0.
fn in_greenwich(seconds: u64) -> String {
    let (day, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (year, day) = (400 * era + year + u64::from(month >= 10), day - (153 * month + 2) / 5 + 1);
    let month = if month < 10 { month + 3 } else { month - 9 };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A way to keep lines: the patterns of its stamps, of which one fits, and what stands behind.
struct Form {
    /// `A` a letter, `0` a digit, `_` a digit or a blank, `T` that letter or a blank, others themselves;
    /// `F` a fraction and `Z` a zone, if there are any, at the end.
    stamps: &'static [&'static [u8]],
    /// Before the stamp.
    lead: &'static [u8],
    behind: for<'l> fn(&'l [u8]) -> Option<Behind<'l>>,
}

struct Behind<'l> {
    tag: &'l [u8],
    pid: Option<u32>,
    message: &'l [u8],
}

#[rustfmt::skip]
static FORMS: [Form; 6] = [
    // RFC 3164, of syslogd, of rsyslog, of journalctl; with a fraction journalctl -o short-precise.
    Form { lead: b"", stamps: &[b"AAA _0 00:00:00F", b"AAA 0 00:00:00F"], behind: host_and_tag },
    // rsyslog, syslog-ng, journalctl -o short-iso; with the day of the week -o short-full; -o short-unix.
    Form { lead: b"", stamps: &[b"0000-00-00T00:00:00FZ", b"AAA 0000-00-00 00:00:00 AAAA", b"AAA 0000-00-00 00:00:00 AAA", b"0000000000F"], behind: host_and_tag },
    // RFC 5424, with or without its priority.
    Form { lead: b"1 ", stamps: &[b"0000-00-00T00:00:00FZ"], behind: rfc5424 },
    // The log of vsftpd.
    Form { lead: b"", stamps: &[b"AAA AAA _0 00:00:00 0000"], behind: vsftpd },
    // That of stunnel.
    Form { lead: b"", stamps: &[b"0000.00.00 00:00:00"], behind: stunnel },
    // That of xinetd.
    Form { lead: b"", stamps: &[b"00/_0/_0@00:00:00", b"00/0/_0@00:00:00", b"00/_0/0@00:00:00", b"00/0/0@00:00:00"], behind: xinetd },
];

/// Takes a line apart; None where it has no head that is known here.
pub fn read(line: &[u8]) -> Option<Record<'_>> {
    let line = without_priority(line);
    FORMS.iter().find_map(|form| {
        let line = line.strip_prefix(form.lead)?;
        let length = form.stamps.iter().find_map(|pattern| fits(pattern, line))?;
        let (stamp, rest) = line.split_at_checked(length)?;
        let Behind { tag, pid, message } = (form.behind)(rest)?;
        Some(Record { stamp: Stamp::Text(stamp), tag, pid, message, more: More::default() })
    })
}

/// `<30>` before everything, as it goes over the wire.
fn without_priority(line: &[u8]) -> &[u8] {
    let inside = line.strip_prefix(b"<").and_then(|rest| {
        let end = rest.iter().take(4).position(|&byte| byte == b'>')?;
        rest.get(..end)?.iter().all(u8::is_ascii_digit).then(|| rest.get(end + 1..))?
    });
    inside.unwrap_or(line)
}

/// How much of the line a stamp of this pattern takes.
fn fits(pattern: &[u8], line: &[u8]) -> Option<usize> {
    let mut at = 0;
    for &kind in pattern {
        let rest = line.get(at..)?;
        if let b'F' | b'Z' = kind {
            at += if kind == b'F' { fraction(rest) } else { zone(rest) };
            continue;
        }
        let &byte = rest.first()?;
        let fits = match kind {
            b'A' => byte.is_ascii_alphabetic(),
            b'0' => byte.is_ascii_digit(),
            b'_' => byte.is_ascii_digit() || byte == b' ',
            b'T' => matches!(byte, b'T' | b' '),
            other => byte == other,
        };
        if !fits {
            return None;
        }
        at += 1;
    }
    // A stamp is a word, or ends in a colon.
    line.get(at).is_none_or(|&byte| byte == b' ' || byte == b':').then_some(at)
}

fn fraction(rest: &[u8]) -> usize {
    match rest.split_first() {
        Some((b'.' | b',', digits)) => 1 + digits.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    }
}

/// `Z`, `+01:00` or `+0100`.
fn zone(rest: &[u8]) -> usize {
    match rest.split_first() {
        Some((b'Z', _)) => 1,
        Some((b'+' | b'-', digits)) => {
            1 + digits.iter().take(5).take_while(|byte| byte.is_ascii_digit() || **byte == b':').count()
        }
        _ => 0,
    }
}

/// The first word and what stands behind it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|&byte| byte == b' ').unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, b""))
}

/// `host tag[pid]: message`, or without the host.
fn host_and_tag(rest: &[u8]) -> Option<Behind<'_>> {
    let (first, behind) = word(rest);
    if let Some((tag, pid)) = tag(first) {
        return Some(Behind { tag, pid, message: message(behind) });
    }
    let (mut second, mut last) = word(behind);
    if second.starts_with(b"<") && second.ends_with(b">") {
        // Facility and level, as the syslogd of FreeBSD shows them.
        (second, last) = word(last);
    }
    match tag(second) {
        Some((tag, pid)) => Some(Behind { tag, pid, message: message(last) }),
        None => Some(Behind { tag: b"", pid: None, message: message(behind) }),
    }
}

/// `tag:`, `tag[pid]:`, `[tag]` or `[tag]:`.
fn tag(word: &[u8]) -> Option<(&[u8], Option<u32>)> {
    let bracketed = |text: &[u8]| text.starts_with(b"[") && text.ends_with(b"]") && text.len() > 2;
    let inner = match word.strip_suffix(b":") {
        Some(inner) => inner,
        None if bracketed(word) => word,
        None => return None,
    };
    if bracketed(inner) {
        return inner.get(1..inner.len() - 1).map(|tag| (tag, None));
    }
    let pid = inner.strip_suffix(b"]").and_then(|text| {
        let open = text.iter().rposition(|&byte| byte == b'[')?;
        Some((text.get(..open)?, number(text.get(open + 1..)?)?))
    });
    match pid {
        Some((tag, pid)) => Some((tag, Some(pid))),
        None => (!inner.is_empty()).then_some((inner, None)),
    }
}

pub fn number<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

/// A text without the blanks before it, and without the identity that Solaris puts there:
/// `[ID 800047 auth.info] `.
fn message(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii_start();
    let behind = text.strip_prefix(b"[ID ").and_then(|rest| {
        let end = rest.iter().position(|&byte| byte == b']')?;
        rest.get(end + 1..)
    });
    behind.map_or(text, <[u8]>::trim_ascii_start)
}

/// `host app procid msgid - message`, or data in brackets for the hyphen.
fn rfc5424(rest: &[u8]) -> Option<Behind<'_>> {
    let (_, rest) = word(rest);
    let (tag, rest) = word(rest);
    let (pid, rest) = word(rest);
    let (_, rest) = word(rest);
    let data = rest.strip_prefix(b" ")?;
    let mut length = 0;
    let (mut quoted, mut escaped, mut inside) = (false, false, false);
    for &byte in data {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' if !quoted => inside = true,
            b']' if !quoted => inside = false,
            b' ' if !inside => break,
            _ => {}
        }
        length += 1;
    }
    let text = data.get(length..)?.trim_ascii_start();
    let tag = if tag == b"-" { b"" } else { tag };
    Some(Behind { tag, pid: number(pid), message: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text) })
}

/// ` [pid 27202] message`
fn vsftpd(rest: &[u8]) -> Option<Behind<'_>> {
    let rest = rest.strip_prefix(b" [pid ")?;
    let end = rest.iter().position(|&byte| byte == b']')?;
    Some(Behind { tag: b"vsftpd", pid: number(rest.get(..end)?), message: message(rest.get(end + 1..)?) })
}

fn stunnel(rest: &[u8]) -> Option<Behind<'_>> {
    Some(Behind { tag: b"stunnel", pid: None, message: message(rest) })
}

fn xinetd(rest: &[u8]) -> Option<Behind<'_>> {
    Some(Behind { tag: b"xinetd", pid: None, message: message(rest.strip_prefix(b":")?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(line: &str) -> Option<(String, String, Option<u32>, String)> {
        let record = read(line.as_bytes())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some((Moment::of(record.stamp).to_string(), text(record.tag), record.pid, text(record.message)))
    }

    #[test]
    fn every_form_is_read() {
        let (d, p) = ("in.ftpd", Some(4711));
        for (line, stamp, tag, pid) in [
            ("Nov 21 12:57:37 in.ftpd[4711]: x y", "Nov 21 12:57:37", d, p),
            ("<30>Nov  1 12:57:37 in.ftpd[4711]: x y", "Nov  1 12:57:37", d, p),
            ("Nov 1 12:57:37 box in.ftpd[4711]: x y", "Nov 1 12:57:37", d, p),
            ("Nov 21 12:57:37 box.example.com in.ftpd: x y", "Nov 21 12:57:37", d, None),
            ("Nov 21 12:57:37.123456 box in.ftpd[4711]: x y", "Nov 21 12:57:37.123456", d, p),
            ("Nov 21 12:57:37 box in.ftpd[4711]: [ID 927837 daemon.info] x y", "Nov 21 12:57:37", d, p),
            ("Nov 21 12:57:37 box <daemon.info> in.ftpd[4711]: x y", "Nov 21 12:57:37", d, p),
            ("Nov 21 12:57:37 [in.ftpd] x y", "Nov 21 12:57:37", d, None),
            ("Nov 21 12:57:37 [in.ftpd]: x y", "Nov 21 12:57:37", d, None),
            ("Nov 21 12:57:37 box x y", "Nov 21 12:57:37", "", None),
            (
                "2026-11-21T12:57:37.123456+01:00 box in.ftpd[4711]: x y",
                "2026-11-21T12:57:37.123456+01:00",
                d,
                p,
            ),
            ("2026-11-21T12:57:37+0100 box in.ftpd[4711]: x y", "2026-11-21T12:57:37+0100", d, p),
            ("2026-11-21T12:57:37Z box in.ftpd[4711]: x y", "2026-11-21T12:57:37Z", d, p),
            ("2026-11-21 12:57:37,5 box in.ftpd[4711]: x y", "2026-11-21 12:57:37,5", d, p),
            ("Sat 2026-11-21 12:57:37 CET box in.ftpd[4711]: x y", "Sat 2026-11-21 12:57:37 CET", d, p),
            ("1795265857.123456 box in.ftpd[4711]: x y", "1795265857.123456", d, p),
            ("<30>1 2026-11-21T12:57:37.1Z box in.ftpd 4711 - - x y", "2026-11-21T12:57:37.1Z", d, p),
            (
                "<30>1 2026-11-21T12:57:37Z box in.ftpd 4711 ID [a b=\"]\\\" [\"][c] \u{feff}x y",
                "2026-11-21T12:57:37Z",
                d,
                p,
            ),
            ("1 2026-11-21T12:57:37Z - - - - - x y", "2026-11-21T12:57:37Z", "", None),
            ("Sat Nov 21 12:57:37 2026 [pid 4711] x y", "Sat Nov 21 12:57:37 2026", "vsftpd", p),
            ("2026.11.21 12:57:37 x y", "2026.11.21 12:57:37", "stunnel", None),
            ("26/11/21@12:57:37: x y", "26/11/21@12:57:37", "xinetd", None),
            ("26/1/2@12:57:37: x y", "26/1/2@12:57:37", "xinetd", None),
        ] {
            let expected = (stamp.to_owned(), tag.to_owned(), pid, "x y".to_owned());
            assert_eq!(seen(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn what_has_no_head_is_no_record() {
        for line in [
            "",
            "x",
            "Nov 21",
            "Nov 21 12:57:37x box in.ftpd: x",
            "<30>",
            "2026-11-21",
            "21 Nov 12:57:37 box in.ftpd: x",
            "connect from 192.0.2.7",
        ] {
            assert_eq!(seen(line), None, "{line}");
        }
    }

    #[test]
    fn a_journal_s_time_is_shown_as_of_greenwich() {
        let shown = |seconds: u64| Moment::of(Stamp::Micros(seconds * 1_000_000 + 7)).to_string();
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_265_857, "2026-11-21T12:57:37Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(shown(seconds), text);
        }
    }
}
