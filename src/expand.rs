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
        if byte != b'%' {
            text.push(byte);
            continue;
        }
        match bytes.next() {
            None => text.push(b'%'),
            Some(b'%') => text.push(b'%'),
            Some(&letter) => match value(letter, request) {
                Some(value) => text.extend_from_slice(&value),
                None => unknown.push(letter),
            },
        }
        if text.len() > LIMIT {
            return Err(TooLong);
        }
    }
    if text.len() > LIMIT { Err(TooLong) } else { Ok(Expanded { text, unknown }) }
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
    }
}
