//! %-letters, and the one allow-list that text from outside must pass.
//!
//! Names come from the attacker's DNS, users from the attacker's ident server. What gets into a
//! command, an environment value or a banner passes [`clean`]; nothing else does. A rule's own text is
//! the administrator's and stays as it is. Facts are never changed: the copy is cleaned.
//!
//! The letters are those of hosts_access(5), % EXPANSIONS. `%h`, `%H` and `%c` start no lookup.

#![forbid(unsafe_code)]

use crate::facts::{Fact, Request, Side};

/// Longest expansion, bytes. The reference has 8 KiB, and ends the process beyond it.
pub const LIMIT: usize = 128 * 1024;

/// An expanded text, and the letters in it that mean nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expanded {
    pub text: Vec<u8>,
    pub unknown: Vec<u8>,
}

/// The expansion would be longer than [`LIMIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Replaces each %-letter by the cleaned fact.
pub fn expand(template: &[u8], request: &Request<'_>) -> Result<Expanded, TooLong> {
    let mut text = Vec::with_capacity(template.len());
    let mut unknown = Vec::new();
    let mut bytes = template.iter();
    while let Some(&byte) = bytes.next() {
        let letter = if byte == b'%' { bytes.next() } else { None };
        match letter.filter(|&&letter| letter != b'%') {
            None => text.push(byte),
            Some(&letter) => match value(letter, request) {
                Some(value) => text.extend_from_slice(&value),
                None => unknown.push(letter),
            },
        }
        if text.len() > LIMIT {
            return Err(TooLong);
        }
    }
    Ok(Expanded { text, unknown })
}

/// The cleaned value of a letter.
fn value(letter: u8, request: &Request<'_>) -> Option<Vec<u8>> {
    let port = |side| request.end(side).port.unwrap_or(0).to_string().into_bytes();
    Some(match letter {
        b'a' => clean(request.client.address.text(), false),
        b'A' => clean(request.server.address.text(), false),
        b'c' => clean(&client(request), true),
        b'd' => clean(request.daemon.as_ref(), false),
        b'h' => clean(host(request, Side::Client), true),
        b'H' => clean(host(request, Side::Server), true),
        b'n' => clean(request.name(Side::Client).text(), true),
        b'N' => clean(request.name(Side::Server).text(), true),
        b'p' => request.pid.to_string().into_bytes(),
        b'r' => port(Side::Client),
        b'R' => port(Side::Server),
        b's' => clean(&server(request), true),
        b'u' => clean(request.user().text(), true),
        _ => return None,
    })
}

/// The name if somebody asked for it and it is good, else the address.
pub fn host<'a>(request: &'a Request<'_>, side: Side) -> &'a [u8] {
    match request.name_if_asked(side).and_then(Fact::good) {
        Some(name) => name.as_ref(),
        None => request.end(side).address.text(),
    }
}

/// `user@host`, or the host where no user is known yet.
pub fn client(request: &Request<'_>) -> Vec<u8> {
    let host = host(request, Side::Client);
    match request.user_if_asked().and_then(Fact::known) {
        Some(user) => [user.as_ref(), b"@", host].concat(),
        None => host.to_vec(),
    }
}

/// `daemon@host`, or the daemon where the host is unknown.
pub fn server(request: &Request<'_>) -> Vec<u8> {
    let (daemon, host) = (request.daemon.as_ref(), host(request, Side::Server));
    if host.eq_ignore_ascii_case(b"unknown") { daemon.to_vec() } else { [daemon, b"@", host].concat() }
}

/// The allow-list. Any byte but `A-Z a-z 0-9 ! @ % - _ = + : , . /` becomes `_`, and so does a leading
/// `-`, which a command would take for an option. A *name* may not leave a directory either: no `/`,
/// not `.` or `..`.
pub fn clean(text: &[u8], name: bool) -> Vec<u8> {
    let passes =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!@%-_=+:,.".contains(&byte) || (byte == b'/' && !name);
    if name && (text == b"." || text == b"..") {
        return vec![b'_'; text.len()];
    }
    let kept =
        |(at, &byte): (usize, &u8)| if passes(byte) && !(at == 0 && byte == b'-') { byte } else { b'_' };
    text.iter().enumerate().map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{DaemonName, Endpoint, Stated, Transport, UserName, stated_name};

    fn expanded(template: &str, name: &str, user: &str) -> String {
        let client = Endpoint::of_ip([192, 0, 2, 7].into(), 4711).named(stated_name(Some(name.as_bytes())));
        let ends = (client, Endpoint::unknown());
        let request = Request::new(DaemonName::stated(b"in.testd"), 99, Transport::Stream, ends, &Stated)
            .by_user(Fact::Known(UserName::stated(user.as_bytes())));
        let expanded = expand(template.as_bytes(), &request).expect("short");
        String::from_utf8_lossy(&expanded.text).into_owned()
    }

    #[test]
    fn letters() {
        assert_eq!(
            expanded("%a %n %h %c %u", "h.example.com", "joe"),
            "192.0.2.7 h.example.com h.example.com joe@h.example.com joe"
        );
        assert_eq!(
            expanded("%A %N %H %s %d %p %r %R", "x", "y"),
            "unknown unknown unknown in.testd in.testd 99 4711 0"
        );
        assert_eq!(expanded("100%% %y|%", "x", "y"), "100% |%");
    }

    #[test]
    fn nothing_foreign_gets_through() {
        assert_eq!(expanded("%u", "x", "a;`id`$(id)|b"), "a__id___id__b");
        assert_eq!(expanded("%u %n", "-oQ/tmp", "-rf"), "_rf _oQ_tmp");
        assert_eq!(expanded("%u %n", ".", ".."), "__ _");
        assert_eq!(expanded("%u", "x", "../etc"), ".._etc");
        assert_eq!(expanded("%u", "x", "%a"), "%a", "values are not expanded twice");
    }

    #[test]
    fn too_long_is_said() {
        let ends = || (Endpoint::unknown(), Endpoint::unknown());
        let request = Request::new(DaemonName::stated(&[b'd'; 127]), 1, Transport::Stream, ends(), &Stated);
        assert_eq!(expand("%d".repeat(LIMIT / 127 + 1).as_bytes(), &request), Err(TooLong));
        assert!(expand("%d".repeat(LIMIT / 127).as_bytes(), &request).is_ok());
        assert_eq!(LIMIT, 131_072);
        for end in ["x", "%p", "%"] {
            let template = |length: usize| ["x".repeat(length - 1), end.to_owned()].concat();
            let longest = expand(template(LIMIT).as_bytes(), &request).map(|expanded| expanded.text.len());
            assert_eq!(longest, Ok(LIMIT), "{end}");
            assert_eq!(expand(template(LIMIT + 1).as_bytes(), &request), Err(TooLong), "{end}");
        }
    }

    #[test]
    fn values_are_of_the_end_that_is_meant() {
        let client = Endpoint::of_ip([192, 0, 2, 7].into(), 4711).named(stated_name(Some(b"a/b.example")));
        let server = Endpoint::of_ip([192, 0, 2, 1].into(), 21).named(stated_name(Some(b"-s.example")));
        let ends = (client, server);
        let request = Request::new(DaemonName::stated(b"sub/d"), 99, Transport::Stream, ends, &Stated);
        let expanded = expand(b"%a %A %n %N %h %H %c %s %d %p %r %R%", &request).expect("short");
        let text = "192.0.2.7 192.0.2.1 a_b.example _s.example a_b.example _s.example a_b.example \
                    sub_d@-s.example sub/d 99 4711 21%";
        assert_eq!(String::from_utf8_lossy(&expanded.text), text);
        assert_eq!(expand(b"%y%z%%%", &request).map(|expanded| expanded.unknown), Ok(b"yz".to_vec()));
    }

    #[test]
    fn what_is_clean_stays() {
        let clean =
            |text: &str, name| String::from_utf8_lossy(&super::clean(text.as_bytes(), name)).into_owned();
        let passes = "AZaz09!@%-_=+:,.";
        assert_eq!((clean(passes, true), clean(passes, false)), (passes.to_owned(), passes.to_owned()));
        assert_eq!((clean("a/-b", true), clean("a/-b", false)), ("a_-b".to_owned(), "a/-b".to_owned()));
        assert_eq!((clean("--", true), clean("--", false)), ("_-".to_owned(), "_-".to_owned()));
        assert_eq!((clean(".", true), clean("..", true)), ("_".to_owned(), "__".to_owned()));
        assert_eq!((clean(".", false), clean("..", false)), (".".to_owned(), "..".to_owned()));
        assert_eq!(
            (clean("...", true), clean("a b\0\n\u{e9}", true)),
            ("...".to_owned(), "a_b____".to_owned())
        );
    }
}
