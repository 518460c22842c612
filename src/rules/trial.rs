//! What does a line of a test file (tcpdchk(8), TESTS) state, and what does it expect?
//!
//! A line is made of words between blanks, so this is read by hand: there is nothing here that nests. The
//! colon that ends the request is the last one behind which a verdict stands, because the colons of an
//! IPv6 address stand before it.
//!
//! Whether a table that is named is one of those under test is for others to say; they know the paths.

#![forbid(unsafe_code)]

use super::grammar::{address4, address6};
use crate::error::{TrialFlaw, Wanted};

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial<'a> {
    pub daemon: &'a [u8],
    pub client: End<'a>,
    pub user: Option<&'a [u8]>,
    pub server: Option<End<'a>>,
    /// That of the server, which may be said to be unknown.
    pub port: Option<Option<u16>>,
    pub expected: Expected<'a>,
}

/// What is stated of an end. The address is one, or `unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End<'a> {
    pub address: &'a [u8],
    pub name: Option<&'a [u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// All of it, as it is written.
    pub text: &'a [u8],
    /// One of [`VERDICTS`].
    pub verdict: &'static str,
    pub by: Option<By<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By<'a> {
    NoRule,
    Rule { table: &'a [u8], line: Option<u32> },
}

/// How a connection may end.
pub const VERDICTS: [&str; 3] = ["granted", "denied", "delegated"];

/// What is wrong, and where.
pub type Misread<'a> = (&'a [u8], TrialFlaw);

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

/// The words of a text.
struct Words<'a> {
    left: &'a [u8],
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a [u8]> {
        let start = self.left.iter().position(|&byte| !is_blank(byte))?;
        let text = self.left.get(start..)?;
        let end = text.iter().position(|&byte| is_blank(byte)).unwrap_or(text.len());
        text.get(..end)
    }

    fn next(&mut self) -> Option<&'a [u8]> {
        let word = self.peek()?;
        let used = (word.as_ptr() as usize).saturating_sub(self.left.as_ptr() as usize) + word.len();
        self.left = self.left.get(used..).unwrap_or_default();
        Some(word)
    }

    /// Where there is nothing more.
    fn end(&self) -> &'a [u8] {
        self.left.get(self.left.len()..).unwrap_or_default()
    }

    /// The next word if it is this one.
    fn next_is(&mut self, wanted: &str) -> bool {
        let is_it = self.peek() == Some(wanted.as_bytes());
        if is_it {
            self.next();
        }
        is_it
    }

    /// A word of some kind, or what stands in its place.
    fn wants<T>(&mut self, what: Wanted, read: impl Fn(&'a [u8]) -> Option<T>) -> Result<T, Misread<'a>> {
        let word = self.next();
        let at = word.unwrap_or(self.end());
        word.and_then(read).ok_or((at, TrialFlaw::Wants { what, found: at.to_vec() }))
    }
}

/// ```text
/// trial = request ":" expectation ;
/// ```
///
/// A word that begins with `#` begins a comment. None where there is nothing else.
pub fn read(line: &[u8]) -> Option<Result<Trial<'_>, Misread<'_>>> {
    let begins_comment = |&at: &usize| {
        line.get(at) == Some(&b'#')
            && at.checked_sub(1).is_none_or(|at| line.get(at).copied().is_some_and(is_blank))
    };
    let end = (0..line.len()).find(begins_comment).unwrap_or(line.len());
    let text = line.get(..end).unwrap_or_default();
    let text = text.get(..text.iter().rposition(|&byte| !is_blank(byte))? + 1)?;
    Some(trial(text))
}

fn trial(text: &[u8]) -> Result<Trial<'_>, Misread<'_>> {
    let Some(colon) = colon(text) else { return Err(without_verdict(text)) };
    let (request, behind) = text.split_at_checked(colon).unwrap_or_default();
    let expected = expectation(behind.get(1..).unwrap_or_default());
    let Request { daemon, client, user, server, port } = self::request(request)?;
    Ok(Trial { daemon, client, user, server, port, expected: expected? })
}

/// The last colon behind which a verdict stands.
fn colon(text: &[u8]) -> Option<usize> {
    let has_verdict = |&at: &usize| {
        let behind = text.get(at + 1..).unwrap_or_default();
        let behind =
            behind.get(behind.iter().take_while(|&&byte| is_blank(byte)).count()..).unwrap_or_default();
        let rests = VERDICTS.iter().filter_map(|verdict| behind.strip_prefix(verdict.as_bytes()));
        rests.into_iter().any(|rest| rest.first().copied().is_none_or(is_blank))
    };
    (0..text.len()).rev().filter(|&at| text.get(at) == Some(&b':')).find(has_verdict)
}

fn verdict(word: &[u8]) -> Option<&'static str> {
    VERDICTS.into_iter().find(|verdict| verdict.as_bytes() == word)
}

/// Where the verdict would stand, if anywhere: behind the last colon that ends a word.
fn without_verdict(text: &[u8]) -> Misread<'_> {
    let ends_word =
        |&at: &usize| text.get(at) == Some(&b':') && text.get(at + 1).copied().is_none_or(is_blank);
    let Some(colon) = (0..text.len()).rev().find(ends_word) else {
        let end = text.get(text.len()..).unwrap_or_default();
        return (end, TrialFlaw::Wants { what: Wanted::Colon, found: Vec::new() });
    };
    let mut words = Words { left: text.get(colon + 1..).unwrap_or_default() };
    let at = words.next().unwrap_or(words.end());
    (at, TrialFlaw::Wants { what: Wanted::Verdict, found: at.to_vec() })
}

/// What stands before the colon.
struct Request<'a> {
    daemon: &'a [u8],
    client: End<'a>,
    user: Option<&'a [u8]>,
    server: Option<End<'a>>,
    port: Option<Option<u16>>,
}

/// ```text
/// request = daemon "from" address { clientfact } [ "at" address { serverfact } ] ;
/// clientfact = "name" name | "user" user ;      each once
/// serverfact = "name" name | "port" number ;    each once
/// ```
fn request(text: &[u8]) -> Result<Request<'_>, Misread<'_>> {
    let mut words = Words { left: text };
    let daemon = words.wants(Wanted::Daemon, Some)?;
    words.wants(Wanted::From, |word| (word == b"from").then_some(()))?;
    let client = End { address: words.wants(Wanted::Address, address)?, name: None };
    let mut request = Request { daemon, client, user: None, server: None, port: None };
    while let Some(word) = words.next() {
        let twice = |keyword| (word, TrialFlaw::SaidTwice(keyword));
        match (word, &mut request.server) {
            (b"name", None) => {
                once(&mut request.client.name, words.wants(Wanted::Name, Some)?).ok_or(twice("name"))?
            }
            (b"name", Some(server)) => {
                once(&mut server.name, words.wants(Wanted::Name, Some)?).ok_or(twice("name"))?
            }
            (b"user", None) => {
                once(&mut request.user, words.wants(Wanted::User, Some)?).ok_or(twice("user"))?
            }
            (b"port", Some(_)) => {
                once(&mut request.port, words.wants(Wanted::Port, port)?).ok_or(twice("port"))?
            }
            (b"at", None) => {
                let address = words.wants(Wanted::Address, address)?;
                request.server = Some(End { address, name: None });
            }
            (_, server) => {
                let what = if server.is_some() { Wanted::ServerFact } else { Wanted::ClientFact };
                return Err((word, TrialFlaw::Wants { what, found: word.to_vec() }));
            }
        }
    }
    Ok(request)
}

/// Fills a place that is empty.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

fn address(word: &[u8]) -> Option<&[u8]> {
    (word == b"unknown" || address4(word).is_some() || address6(word).is_some()).then_some(word)
}

fn number(word: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(word).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits?.parse().ok()
}

fn port(word: &[u8]) -> Option<Option<u16>> {
    if word == b"unknown" { Some(None) } else { number(word)?.try_into().ok().map(Some) }
}

/// ```text
/// expectation = verdict [ "by" ( table [ ":" number ] | "no" "rule" ) ] ;
/// verdict = "granted" | "denied" | "delegated" ;
/// ```
fn expectation(text: &[u8]) -> Result<Expected<'_>, Misread<'_>> {
    let start = text.iter().position(|&byte| !is_blank(byte)).unwrap_or(text.len());
    let text = text.get(start..).unwrap_or_default();
    let mut words = Words { left: text };
    let verdict = words.wants(Wanted::Verdict, verdict)?;
    let by = if words.peek().is_none() {
        None
    } else {
        words.wants(Wanted::By, |word| (word == b"by").then_some(()))?;
        Some(by(&mut words)?)
    };
    match words.next() {
        None => Ok(Expected { text, verdict, by }),
        Some(word) => Err((word, TrialFlaw::Wants { what: Wanted::End, found: word.to_vec() })),
    }
}

fn by<'a>(words: &mut Words<'a>) -> Result<By<'a>, Misread<'a>> {
    if words.next_is("no") {
        words.wants(Wanted::Rule, |word| (word == b"rule").then_some(()))?;
        return Ok(By::NoRule);
    }
    let word = words.wants(Wanted::Table, Some)?;
    let Some(colon) = word.iter().rposition(|&byte| byte == b':') else {
        return Ok(By::Rule { table: word, line: None });
    };
    let (table, behind) = word.split_at_checked(colon).unwrap_or_default();
    let digits = behind.get(1..).unwrap_or_default();
    let line = number(digits).filter(|&line| line > 0);
    let line = line.ok_or((digits, TrialFlaw::Wants { what: Wanted::Line, found: digits.to_vec() }))?;
    Ok(By::Rule { table, line: Some(line) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misread(line: &str) -> (usize, Wanted, String) {
        match read(line.as_bytes()) {
            Some(Err((at, TrialFlaw::Wants { what, found }))) => {
                let column = at.as_ptr() as usize - line.as_ptr() as usize + 1;
                (column, what, String::from_utf8(found).expect("text"))
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn all_of_a_line_is_read() {
        let line = b"in.ftpd from 192.0.2.7 name h.example.com user root at 2001:db8::1 port 21 name srv: denied by hosts.deny:3  # no";
        let trial = read(line).expect("a test").expect("a good one");
        let end = |address: &'static str, name: &'static str| End {
            address: address.as_bytes(),
            name: Some(name.as_bytes()),
        };
        assert_eq!((trial.daemon, trial.client), (&b"in.ftpd"[..], end("192.0.2.7", "h.example.com")));
        assert_eq!(
            (trial.user, trial.server, trial.port),
            (Some(&b"root"[..]), Some(end("2001:db8::1", "srv")), Some(Some(21)))
        );
        let by = Some(By::Rule { table: b"hosts.deny", line: Some(3) });
        assert_eq!(trial.expected, Expected { text: b"denied by hosts.deny:3", verdict: "denied", by });
    }

    #[test]
    fn the_colons_of_an_address_are_its_own() {
        let address =
            |line: &'static str| read(line.as_bytes()).expect("a test").expect("a good one").client.address;
        for (line, expected) in [
            ("d from ::1: granted", "::1"),
            ("d from ::1:granted", "::1"),
            ("d from 2001:db8::: denied by no rule", "2001:db8::"),
            ("d from 2001:db8:: : denied", "2001:db8::"),
            ("d from 2001:db8:: name x : denied", "2001:db8::"),
            ("d from :::delegated by /x/y", "::"),
        ] {
            assert_eq!(address(line), expected.as_bytes(), "{line}");
        }
    }

    #[test]
    fn comments_and_blanks_state_nothing() {
        for line in ["", " \t\r", "# d from ::1: granted", "  # x"] {
            assert!(read(line.as_bytes()).is_none(), "{line}");
        }
        assert!(matches!(read(b"d from ::1 name a#b: granted"), Some(Ok(_))), "inside a word it is none");
    }

    #[test]
    fn what_is_wanted_is_said_where_it_is_wanted() {
        for (line, column, what, found) in [
            ("d", 2, Wanted::Colon, ""),
            ("d from ::1 denied", 18, Wanted::Colon, ""),
            ("d from ::1:", 12, Wanted::Verdict, ""),
            ("d from ::1: refused", 13, Wanted::Verdict, "refused"),
            (": denied", 1, Wanted::Daemon, ""),
            ("d form ::1: denied", 3, Wanted::From, "form"),
            ("d from: denied", 7, Wanted::Address, ""),
            ("d from host: denied", 8, Wanted::Address, "host"),
            ("d from : denied", 8, Wanted::Address, ""),
            ("d from ::1 nmae x: denied", 12, Wanted::ClientFact, "nmae"),
            ("d from ::1 port 1: denied", 12, Wanted::ClientFact, "port"),
            ("d from ::1 name: denied", 16, Wanted::Name, ""),
            ("d from ::1 at ::2 user x: denied", 19, Wanted::ServerFact, "user"),
            ("d from ::1 at ::2 port ftp: denied", 24, Wanted::Port, "ftp"),
            ("d from ::1 at ::2 port 65536: denied", 24, Wanted::Port, "65536"),
            ("d from ::1: denied hosts.deny:1", 20, Wanted::By, "hosts.deny:1"),
            ("d from ::1: denied by", 22, Wanted::Table, ""),
            ("d from ::1: denied by no", 25, Wanted::Rule, ""),
            ("d from ::1: denied by hosts.deny:", 34, Wanted::Line, ""),
            ("d from ::1: denied by hosts.deny:0", 34, Wanted::Line, "0"),
            ("d from ::1: denied by hosts.deny:+1", 34, Wanted::Line, "+1"),
            ("d from ::1: denied by hosts.deny:1 or", 36, Wanted::End, "or"),
        ] {
            assert_eq!(misread(line), (column, what, found.to_owned()), "{line}");
        }
        assert_eq!(
            read(b"d from ::1 name a name b: denied"),
            Some(Err((&b"name"[..], TrialFlaw::SaidTwice("name"))))
        );
        assert!(matches!(read(b"d from ::1 at ::2 at ::3: denied"), Some(Err((b"at", _)))));
    }
}
