//! Which words tell of a connection, and of what do they tell? One row for each kind of line.
//!
//! The wrapper's own words are those of every program that is linked to libwrap and says so itself; the
//! other rows are about programs that have their own. A row is found by who writes and how the message
//! begins; then one function takes the rest apart. What the text does not say stays unsaid: who is
//! called by a name has no address here, and nothing is looked up.
//!
//! Names are the client's choice, and users even more: an address is taken from where the writer puts
//! it, which is the end of the line, and only if it is one.
//!
//! To add a writer: its rows in `SHAPES`, a line in tests/replay, a line in tcpdmatch(8).

#![forbid(unsafe_code)]

use super::header::{Record, number};
use super::reach::plain4;
use crate::hosts;
use crate::logline::unescape;
use crate::narrator::Verdict;
use std::borrow::Cow;

/// A connection, as far as one line tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection<'l> {
    pub was: Verdict,
    pub service: Service<'l>,
    pub client: Client<'l>,
    /// The address at which it was called, and the port.
    pub server: (Option<&'l [u8]>, Option<u16>),
}

/// Whom it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service<'l> {
    /// The name that rules know.
    Daemon(&'l [u8]),
    /// The name that a super-server has for it, and none that rules know.
    Called(&'l [u8]),
}

/// Who called. What is none is not in the line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client<'l> {
    pub user: Option<Cow<'l, [u8]>>,
    /// A name that was looked up and found good.
    pub name: Option<Cow<'l, [u8]>>,
    pub address: Option<&'l [u8]>,
}

/// What a line has to do with other lines about the same connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It is the only one.
    Alone,
    /// Others may tell of the same: those of this process and port.
    Same(u16),
    /// xinetd has started this process for it, which may still refuse.
    Begun(u32),
    /// The process that xinetd started has refused.
    Refused,
    /// It has refused without asking libwrap, and no rule has decided.
    Passed,
}

/// What a line tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told<'l> {
    Connection(Connection<'l>, Link),
    /// xinetd: libwrap knows this service by that name.
    Named {
        called: &'l [u8],
        daemon: &'l [u8],
        connection: Connection<'l>,
    },
    /// xinetd: this process has ended.
    Ended(u32),
    /// The last line, so many times more.
    Again(u32),
    /// Nothing about connections, or nothing that rules decided.
    Other,
    /// It begins like one of ours, and goes on like none.
    Unread,
}

/// Who writes lines of a shape.
enum Writer {
    /// Whoever is linked to libwrap, the wrapper first of all.
    Anybody,
    Named(&'static [&'static [u8]]),
    /// Names that begin like this.
    Family(&'static [u8]),
}

struct Shape {
    writer: Writer,
    lead: &'static [u8],
    read: for<'l> fn(&Record<'l>, &'l [u8]) -> Option<Told<'l>>,
}

const SSHD: Writer = Writer::Named(&[b"sshd", b"sshd-session", b"sshd-auth"]);
const XINETD: Writer = Writer::Named(&[b"xinetd"]);
const STUNNEL: Writer = Writer::Named(&[b"stunnel", b"stunnel4", b"stunnel5"]);
const TFTPD: Writer = Writer::Named(&[b"in.tftpd", b"tftpd"]);
const RPC: Writer = Writer::Named(&[b"rpcbind", b"portmap"]);
const INETD: Writer = Writer::Named(&[b"inetd"]);
const VSFTPD: Writer = Writer::Named(&[b"vsftpd"]);

/// The first that fits counts.
#[rustfmt::skip]
static SHAPES: [Shape; 20] = [
    Shape { writer: Writer::Family(b"postfix"), lead: b"connect from ", read: |_, _| Some(Told::Other) },
    Shape { writer: SSHD,    lead: b"Connection from ",     read: |r, text| sshd_port(r, text, Place::First) },
    Shape { writer: SSHD,    lead: b"Accepted ",            read: |r, text| sshd_login(r, text) },
    Shape { writer: SSHD,    lead: b"Invalid user ",        read: |r, text| sshd_port(r, text, Place::Last) },
    Shape { writer: SSHD,    lead: b"Failed ",              read: |r, text| sshd_failed(r, text) },
    Shape { writer: XINETD,  lead: b"START: ",              read: |r, text| xinetd_start(r, text) },
    Shape { writer: XINETD,  lead: b"FAIL: ",               read: |r, text| xinetd_fail(r, text) },
    Shape { writer: XINETD,  lead: b"EXIT: ",               read: |_, text| Some(Told::Ended(value(text, b"pid=").and_then(number).unwrap_or(0))) },
    Shape { writer: XINETD,  lead: b"libwrap refused connection to ", read: |r, text| xinetd_refused(r, text) },
    Shape { writer: STUNNEL, lead: b"LOG",                  read: |r, text| stunnel(r, text) },
    Shape { writer: STUNNEL, lead: b"Service [",            read: |r, _| stunnel_service(r, r.message) },
    Shape { writer: VSFTPD,  lead: b"CONNECT: Client \"",   read: |r, text| vsftpd(r, text) },
    Shape { writer: TFTPD,   lead: b"connection refused from ", read: |r, text| only(r, Verdict::Denied, text) },
    Shape { writer: RPC,     lead: b"connect from ",        read: |r, text| rpc(r, text) },
    Shape { writer: Writer::Anybody, lead: b"connect from ",         read: |r, text| connect(r, text) },
    Shape { writer: Writer::Anybody, lead: b"refused connect from ", read: |r, text| refused(r, text) },
    // inetd of FreeBSD and NetBSD, and some who took its words.
    Shape { writer: INETD,           lead: b"connection from ",         read: |r, text| inetd(r, Verdict::Granted, text) },
    Shape { writer: Writer::Anybody, lead: b"refused connection from ", read: |r, text| inetd(r, Verdict::Denied, text) },
    Shape { writer: Writer::Anybody, lead: b"twist ",                read: |r, text| twist(r, text) },
    Shape { writer: Writer::Anybody, lead: b"last message repeated ", read: |_, text| Some(Told::Again(number(first_word(text))?)) },
];

/// What a record tells.
pub fn read<'l>(record: &Record<'l>) -> Told<'l> {
    let is_by = |writer: &Writer| match writer {
        Writer::Anybody => true,
        Writer::Named(names) => names.contains(&record.tag),
        Writer::Family(start) => record.tag.starts_with(start),
    };
    let message = record.message;
    for shape in &SHAPES {
        if let Some(rest) = message.strip_prefix(shape.lead)
            && is_by(&shape.writer)
        {
            return (shape.read)(record, rest).unwrap_or(Told::Unread);
        }
    }
    if speaks_of_refusal(message) { Told::Unread } else { Told::Other }
}

/// What rsyslog makes of a line that comes again and again: the line, and how often it came.
pub fn repeated(message: &[u8]) -> Option<(u32, &[u8])> {
    let rest = message.strip_prefix(b"message repeated ")?;
    let count = number(first_word(rest))?;
    let inside = rest.get(first_word(rest).len()..)?.strip_prefix(b" times: [ ")?;
    Some((count, inside.strip_suffix(b"]")?))
}

/// Whether a line that no row knows looks as if it told of a refusal.
fn speaks_of_refusal(message: &[u8]) -> bool {
    let holds = |words: &[u8]| message.windows(words.len()).any(|part| part == words);
    let refuses = behind(message, b"efused").is_some() || behind(message, b"EFUSED").is_some();
    refuses && [&b"connect from "[..], b"libwrap", b"tcp_wrappers", b"tcp wrapper"].into_iter().any(holds)
}

/// The text behind the first place where these words stand.
fn behind<'t>(text: &'t [u8], words: &[u8]) -> Option<&'t [u8]> {
    let first = *words.first()?;
    let mut left = text;
    loop {
        let at = crate::sys::file::find_byte(first, left)?;
        left = left.get(at..)?;
        if let Some(rest) = left.strip_prefix(words) {
            return Some(rest);
        }
        left = left.get(1..)?;
    }
}

fn first_word(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|&byte| byte == b' ').unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// The word behind `key=`.
fn value<'t>(text: &'t [u8], key: &[u8]) -> Option<&'t [u8]> {
    text.split(|&byte| byte == b' ').find_map(|word| word.strip_prefix(key))
}

/// A connection to the service that writes.
fn connection<'l>(record: &Record<'l>, was: Verdict, client: Client<'l>) -> Connection<'l> {
    // Newer versions of sshd are several programs, and rules know one.
    let daemon = match record.tag {
        b"sshd-session" | b"sshd-auth" => b"sshd",
        tag => tag,
    };
    let more = record.more;
    let said = |text: &'l [u8]| (!text.is_empty() && is_address(text)).then_some(text);
    let address = client.address.or(said(more.client));
    let client = Client { address, ..client };
    Connection {
        was,
        service: Service::Daemon(daemon),
        client,
        server: (said(more.server), more.server_port),
    }
}

fn alone<'l>(record: &Record<'l>, was: Verdict, client: Client<'l>) -> Told<'l> {
    Told::Connection(connection(record, was, client), Link::Alone)
}

/// Longest text about a client, bytes: nobody has such a name.
const CLIENT_MAX: usize = 1024;

/// `[user@]host` or `[user@]host (address)`, where host is a name or an address.
fn client(text: &[u8]) -> Option<Client<'_>> {
    let text = text.trim_ascii_end();
    if text.len() > CLIENT_MAX {
        return None;
    }
    let open = text.strip_suffix(b")").and_then(|text| text.windows(2).rposition(|part| part == b" ("));
    let (shown, address) = match open {
        Some(open) => (text.get(..open)?, Some(text.get(open + 2..text.len() - 1)?)),
        None => (text, None),
    };
    let (user, host) = match shown.iter().rposition(|&byte| byte == b'@') {
        Some(at) => (Some(plain(shown.get(..at)?)?), shown.get(at + 1..)?),
        None => (None, shown),
    };
    let address = match address {
        Some(text) if is_end(text) => Some(text),
        Some(_) => return None,
        None => None,
    };
    if is_end(host) {
        return Some(Client { user, name: None, address: address.or(Some(host)) });
    }
    // A host name, as far as a log can have one; `name[address]` is the form of mailers.
    let is_name =
        !host.is_empty() && host.iter().all(|&byte| byte.is_ascii_graphic() && !b"[]()".contains(&byte));
    is_name.then(|| plain(host))?.map(|name| Client { user, name: Some(name), address })
}

/// Whether a text stands for an end of a connection: an address, or the word for none.
fn is_end(text: &[u8]) -> bool {
    text == b"unknown" || is_address(text)
}

/// Whether a text is an address. Most are of the plainest form, which is seen at once.
fn is_address(text: &[u8]) -> bool {
    plain4(text).is_some() || hosts::is_address(text)
}

/// A text with its `\ooo` undone.
fn plain(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if text.contains(&b'\\') { unescape(text).map(Cow::Owned) } else { Some(Cow::Borrowed(text)) }
}

fn known(address: &[u8]) -> Option<Client<'_>> {
    is_address(address).then_some(Client { address: Some(address), ..Client::default() })
}

/// An address and nothing else.
fn only<'l>(record: &Record<'l>, was: Verdict, text: &'l [u8]) -> Option<Told<'l>> {
    Some(alone(record, was, known(text.trim_ascii_end())?))
}

fn connect<'l>(record: &Record<'l>, text: &'l [u8]) -> Option<Told<'l>> {
    if text.ends_with(b"]") {
        // `name[address]`: a mailer.
        return Some(Told::Other);
    }
    match behind(text, b" with IP options (ignored):") {
        // The line that counts comes behind it.
        Some(_) => Some(Told::Other),
        None => Some(alone(record, Verdict::Granted, client(text)?)),
    }
}

fn refused<'l>(record: &Record<'l>, text: &'l [u8]) -> Option<Told<'l>> {
    match text.strip_suffix(b" with IP source routing options") {
        // No rule decided that.
        Some(_) => Some(Told::Other),
        // Solaris puts a reason where others have the address.
        None => Some(alone(
            record,
            Verdict::Denied,
            client(text.strip_suffix(b" (access denied)").unwrap_or(text))?,
        )),
    }
}

fn twist<'l>(record: &Record<'l>, text: &'l [u8]) -> Option<Told<'l>> {
    let to = text.windows(4).position(|part| part == b" to ")?;
    let client = client(text.get(..to)?)?;
    Some(alone(record, Verdict::Delegated, client))
}

/// `CLIENT, service DAEMON (tcp)`; of NetBSD `HOST(A), service PORT (tcp)`, which does not name the
/// daemon.
fn inetd<'l>(record: &Record<'l>, was: Verdict, text: &'l [u8]) -> Option<Told<'l>> {
    let Some(service) = behind(text, b", service ") else { return Some(alone(record, was, client(text)?)) };
    let who = text.get(..text.len() - service.len() - b", service ".len())?;
    let service = first_word(service);
    let open = who.strip_suffix(b")").and_then(|who| who.iter().rposition(|&byte| byte == b'('));
    let (client, service) =
        match open.and_then(|open| Some((client(who.get(..open)?)?, who.get(open + 1..)?))) {
            Some((named, address)) => {
                let address = known(address.strip_suffix(b")")?)?.address;
                (Client { address, ..named }, Service::Called(service))
            }
            None => (client(who)?, Service::Daemon(service)),
        };
    Some(Told::Connection(Connection { service, ..connection(record, was, client) }, Link::Alone))
}

/// Which of several addresses counts, where users choose their names.
enum Place {
    First,
    Last,
}

/// `A port P on B port Q`, `... from A port P`, or without ports.
fn sshd_port<'l>(record: &Record<'l>, text: &'l [u8], place: Place) -> Option<Told<'l>> {
    let text = match place {
        Place::First => text,
        Place::Last => {
            let from = text.windows(6).rposition(|part| part == b" from ")?;
            text.get(from + 6..)?
        }
    };
    let mut words = text.split(|&byte| byte == b' ');
    let address = words.next()?;
    let Some(client) = known(address) else {
        // sshd with UseDNS of old: a name.
        let name = client(address)?;
        return Some(alone(record, Verdict::Granted, name));
    };
    let mut connection = connection(record, Verdict::Granted, client);
    let words: Vec<&[u8]> = words.take(5).collect();
    if let [b"port", _, b"on", server, b"port"] = words.as_slice() {
        let port = behind(text, b" on ").and_then(|rest| behind(rest, b" port "));
        connection.server = (Some(server), port.and_then(|rest| number(first_word(rest))));
    }
    let link = match words.as_slice() {
        [b"port", port, ..] => Link::Same(number(port)?),
        _ => Link::Alone,
    };
    Some(Told::Connection(connection, link))
}

/// `METHOD for USER from A port P ssh2`; sshd accepts keys, too, and fails to do many things.
fn sshd_login<'l>(record: &Record<'l>, text: &'l [u8]) -> Option<Told<'l>> {
    match behind(text, b" for ").and_then(|rest| behind(rest, b" from ")) {
        Some(client) => sshd_port(record, client, Place::First),
        None => Some(Told::Other),
    }
}

/// The same. Users who do not exist may be called anything, and have a line of their own before this one.
fn sshd_failed<'l>(record: &Record<'l>, text: &'l [u8]) -> Option<Told<'l>> {
    let is_nobody = |user: &[u8]| NOBODY.iter().any(|start| user.starts_with(start));
    if behind(text, b" for ").is_some_and(is_nobody) { Some(Told::Other) } else { sshd_login(record, text) }
}

/// What sshd puts before a user who does not exist.
const NOBODY: [&[u8]; 3] = [b"invalid user ", b"illegal user ", b"<invalid "];

/// `SERVICE [pid=N] from=A`
fn xinetd_start<'l>(record: &Record<'l>, text: &'l [u8]) -> Option<Told<'l>> {
    let connection = xinetd_of(record, text, Verdict::Granted)?;
    Some(match value(text, b"pid=").and_then(number) {
        None | Some(0) => Told::Connection(connection, Link::Alone),
        Some(pid) => Told::Connection(connection, Link::Begun(pid)),
    })
}

/// `SERVICE REASON from=A`
fn xinetd_fail<'l>(record: &Record<'l>, text: &'l [u8]) -> Option<Told<'l>> {
    let reason = text.get(first_word(text).len()..)?;
    let link = if reason.starts_with(b" libwrap ") { Link::Refused } else { Link::Passed };
    Some(Told::Connection(xinetd_of(record, text, Verdict::Denied)?, link))
}

fn xinetd_of<'l>(record: &Record<'l>, text: &'l [u8], was: Verdict) -> Option<Connection<'l>> {
    let client = known(value(text, b"from=")?)?;
    Some(Connection { service: Service::Called(first_word(text)), ..connection(record, was, client) })
}

/// `SERVICE (libwrap=DAEMON) from A`; older ones say no daemon.
fn xinetd_refused<'l>(record: &Record<'l>, text: &'l [u8]) -> Option<Told<'l>> {
    let called = first_word(text);
    let from = behind(text, b" from ")?.trim_ascii_end();
    let Some(client) = known(from) else {
        // `<no address>`
        return from.starts_with(b"<").then_some(Told::Other);
    };
    let connection = connection(record, Verdict::Denied, client);
    let daemon = behind(text, b"(libwrap=").and_then(|rest| rest.split(|&byte| byte == b')').next());
    Some(match daemon {
        Some(daemon) => {
            let connection = Connection { service: Service::Daemon(daemon), ..connection };
            Told::Named { called, daemon, connection }
        }
        None => {
            let connection = Connection { service: Service::Called(called), ..connection };
            Told::Connection(connection, Link::Refused)
        }
    })
}

/// `5[0]: Service [...`
fn stunnel<'l>(record: &Record<'l>, text: &'l [u8]) -> Option<Told<'l>> {
    let message = behind(text, b"]: ")?;
    if message.starts_with(b"Service [") { stunnel_service(record, message) } else { Some(Told::Other) }
}

/// `Service [NAME] accepted connection from A:P`; the name is the one that rules know.
fn stunnel_service<'l>(record: &Record<'l>, message: &'l [u8]) -> Option<Told<'l>> {
    let text = message.strip_prefix(b"Service [")?;
    let end = text.iter().position(|&byte| byte == b']')?;
    let (name, rest) = (text.get(..end)?, text.get(end + 1..)?);
    let (was, from) = if let Some(from) = rest.strip_prefix(b" accepted connection from ") {
        (Verdict::Granted, from)
    } else if let Some(from) = rest.strip_prefix(b" REFUSED by libwrap from ") {
        (Verdict::Denied, from)
    } else {
        return Some(Told::Other);
    };
    let colon = from.iter().rposition(|&byte| byte == b':')?;
    let connection = connection(record, was, known(from.get(..colon)?)?);
    Some(Told::Connection(Connection { service: Service::Daemon(name), ..connection }, Link::Alone))
}

/// `A"` or `A", "Connection refused: tcp_wrappers denial."`
fn vsftpd<'l>(record: &Record<'l>, text: &'l [u8]) -> Option<Told<'l>> {
    let quote = text.iter().position(|&byte| byte == b'"')?;
    let client = known(text.get(..quote)?)?;
    Some(match text.get(quote + 1..)? {
        b"" => alone(record, Verdict::Granted, client),
        b", \"Connection refused: tcp_wrappers denial.\"" => alone(record, Verdict::Denied, client),
        // Too many sessions.
        _ => Told::Other,
    })
}

/// `A to PROCEDURE(PROGRAM)`, with a reason behind it where it was refused.
fn rpc<'l>(record: &Record<'l>, text: &'l [u8]) -> Option<Told<'l>> {
    let address = first_word(text);
    let Some(what) = text.get(address.len()..)?.strip_prefix(b" to ") else { return connect(record, text) };
    if address == b"local" {
        return Some(Told::Other);
    }
    let reason = what.get(what.iter().position(|&byte| byte == b')')? + 1..)?;
    let client = known(address)?;
    Some(match reason {
        b"" => alone(record, Verdict::Granted, client),
        b": request from unauthorized host" => alone(record, Verdict::Denied, client),
        // No rule decided that.
        _ => Told::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::header::read as head;

    /// What a line tells, in short: verdict, service, client, server, link.
    pub fn told(line: &str) -> String {
        let record = head(line.as_bytes()).expect("a head");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let shown = |connection: Connection<'_>| {
            let Connection { was, service, client, server: (server, port) } = connection;
            let mut words = vec![was.word().to_owned()];
            words.push(match service {
                Service::Daemon(name) => text(name),
                Service::Called(name) => format!("({})", text(name)),
            });
            words.extend(client.user.map(|user| format!("user={}", text(&user))));
            words.extend(client.name.map(|name| format!("name={}", text(&name))));
            words.extend(client.address.map(text));
            words.extend(server.map(|server| format!("server={}", text(server))));
            words.extend(port.map(|port| format!("port={port}")));
            words.join(" ")
        };
        match read(&record) {
            Told::Connection(connection, Link::Alone) => shown(connection),
            Told::Connection(connection, link) => format!("{} {link:?}", shown(connection)),
            Told::Named { called, daemon, connection } => {
                format!("{} {}={}", shown(connection), text(called), text(daemon))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn every_writer_is_understood() {
        for (line, expected) in [
            ("in.ftpd[1]: connect from 192.0.2.7 (192.0.2.7)", "granted in.ftpd 192.0.2.7"),
            (
                "in.ftpd[1]: connect from h.example.com (192.0.2.7)",
                "granted in.ftpd name=h.example.com 192.0.2.7",
            ),
            ("sshd[1]: refused connect from ::1 (::1)", "denied sshd ::1"),
            ("sshd-session[1]: refused connect from ::1 (::1)", "denied sshd ::1"),
            ("in.ftpd[1]: connect from unknown (unknown)", "granted in.ftpd unknown"),
            ("in.ftpd[1]: refused connect from 192.0.2.7", "denied in.ftpd 192.0.2.7"),
            (
                "in.ftpd[1]: refused connect from h.example.com (access denied)",
                "denied in.ftpd name=h.example.com",
            ),
            ("in.ftpd[1]: refused connect from h.example.com ", "denied in.ftpd name=h.example.com"),
            (
                "in.ftpd[1]: connect from joe@h.example.com (192.0.2.7)",
                "granted in.ftpd user=joe name=h.example.com 192.0.2.7",
            ),
            ("in.ftpd[1]: connect from a\\040b@192.0.2.7 (192.0.2.7)", "granted in.ftpd user=a b 192.0.2.7"),
            (
                "in.ftpd[1]: connect from a (10.0.0.1)@192.0.2.7 (192.0.2.7)",
                "granted in.ftpd user=a (10.0.0.1) 192.0.2.7",
            ),
            (
                "sshd[1]: refused connect from _U2FsdGVk=_@::ffff:192.0.2.7 (::ffff:192.0.2.7)",
                "denied sshd user=_U2FsdGVk=_ ::ffff:192.0.2.7",
            ),
            ("in.ftpd[1]: twist 192.0.2.7 to /bin/echo no", "delegated in.ftpd 192.0.2.7"),
            (
                "in.ftpd[1]: twist joe@h.example.com to /bin/echo go to x",
                "delegated in.ftpd user=joe name=h.example.com",
            ),
            ("in.ftpd[1]: connect from 192.0.2.7 with IP options (ignored): 07 0b", "Other"),
            ("in.ftpd[1]: refused connect from 192.0.2.7 with IP source routing options", "Other"),
            ("in.ftpd[1]: warning: /etc/hosts.deny, line 1: missing \":\" separator", "Other"),
            ("in.ftpd[1]: refused connect from a b c", "Unread"),
            ("in.ftpd[1]: refused connect from x (y)", "Unread"),
            ("in.ftpd[1]: connect from ", "Unread"),
            ("last message repeated 3 times", "Again(3)"),
            ("postfix/smtpd[1]: connect from unknown[192.0.2.7]", "Other"),
            ("postfix/smtpd[1]: disconnect from unknown[192.0.2.7]", "Other"),
            ("esmtpd: connect from h.example.com[192.0.2.7]", "Other"),
            (
                "sshd[1]: Connection from 192.0.2.7 port 40000 on 192.0.2.1 port 22 rdomain \"\"",
                "granted sshd 192.0.2.7 server=192.0.2.1 port=22 Same(40000)",
            ),
            ("sshd[1]: Connection from 192.0.2.7 port 40000", "granted sshd 192.0.2.7 Same(40000)"),
            ("sshd[1]: Connection from 192.0.2.7", "granted sshd 192.0.2.7"),
            (
                "sshd[1]: Accepted publickey for joe from 192.0.2.7 port 40000 ssh2: RSA x",
                "granted sshd 192.0.2.7 Same(40000)",
            ),
            ("sshd[1]: Accepted key ED25519 SHA256:x found at /home/joe/.ssh/authorized_keys:1", "Other"),
            ("sshd[1]: Failed to disconnect from controlling tty.", "Other"),
            (
                "sshd[1]: Accepted password for joe from h.example.com port 40000 ssh2",
                "granted sshd name=h.example.com",
            ),
            (
                "sshd[1]: Invalid user x from 10.0.0.1 port 1 from 192.0.2.7 port 40000",
                "granted sshd 192.0.2.7 Same(40000)",
            ),
            ("sshd[1]: Invalid user  from 192.0.2.7 port 40000", "granted sshd 192.0.2.7 Same(40000)"),
            (
                "sshd[1]: Failed password for root from 192.0.2.7 port 40000 ssh2",
                "granted sshd 192.0.2.7 Same(40000)",
            ),
            ("sshd[1]: Failed password for invalid user x from 10.0.0.1 port 1 ssh2", "Other"),
            ("sshd[1]: Received disconnect from 192.0.2.7 port 40000:11: Bye Bye [preauth]", "Other"),
            (
                "xinetd[1]: START: ftp pid=4711 from=::ffff:192.0.2.7",
                "granted (ftp) ::ffff:192.0.2.7 Begun(4711)",
            ),
            ("xinetd[1]: START: echo pid=0 from=192.0.2.7", "granted (echo) 192.0.2.7"),
            ("xinetd[1]: FAIL: ftp libwrap from=192.0.2.7", "denied (ftp) 192.0.2.7 Refused"),
            ("xinetd[1]: FAIL: ftp address from=192.0.2.7", "denied (ftp) 192.0.2.7 Passed"),
            ("xinetd[1]: FAIL: ftp connections per second from=192.0.2.7", "denied (ftp) 192.0.2.7 Passed"),
            ("xinetd[1]: EXIT: ftp status=0 pid=4711 duration=1(sec)", "Ended(4711)"),
            (
                "xinetd[1]: libwrap refused connection to ftp (libwrap=in.ftpd) from ::1",
                "denied in.ftpd ::1 ftp=in.ftpd",
            ),
            ("xinetd[1]: libwrap refused connection to ftp from 192.0.2.7", "denied (ftp) 192.0.2.7 Refused"),
            ("xinetd[1]: libwrap refused connection to sgi_fam from <no address>", "Other"),
            ("xinetd[1]: xinetd Version 2.3.15 started with libwrap loadavg options compiled in.", "Other"),
            ("vsftpd[1]: CONNECT: Client \"::ffff:192.0.2.7\"", "granted vsftpd ::ffff:192.0.2.7"),
            (
                "vsftpd[1]: CONNECT: Client \"192.0.2.7\", \"Connection refused: tcp_wrappers denial.\"",
                "denied vsftpd 192.0.2.7",
            ),
            ("vsftpd[1]: CONNECT: Client \"192.0.2.7\", \"Connection refused: too many sessions.\"", "Other"),
            ("vsftpd[1]: [joe] OK LOGIN: Client \"192.0.2.7\"", "Other"),
            ("in.tftpd[1]: connection refused from 192.0.2.7", "denied in.tftpd 192.0.2.7"),
            ("in.tftpd[1]: connect from 192.0.2.7", "granted in.tftpd 192.0.2.7"),
            ("rpcbind: connect from 192.0.2.7 to getport/addr(nfs)", "granted rpcbind 192.0.2.7"),
            (
                "rpcbind: connect from 192.0.2.7 to dump(): request from unauthorized host",
                "denied rpcbind 192.0.2.7",
            ),
            ("rpcbind: connect from 192.0.2.7 to set(nfs) declined (non-loopback sender)", "Other"),
            ("rpcbind: connect from local to dump()", "Other"),
            (
                "portmap[1]: connect from 192.0.2.7 to callit(390109): request from unauthorized host",
                "denied portmap 192.0.2.7",
            ),
            (
                "stunnel: LOG5[3]: Service [pop3s] accepted connection from 192.0.2.7:40000",
                "granted pop3s 192.0.2.7",
            ),
            ("stunnel: LOG4[3]: Service [pop3s] REFUSED by libwrap from ::1:40000", "denied pop3s ::1"),
            ("stunnel: LOG3[3]: s_connect: connect 127.0.0.1:110: Connection refused (111)", "Other"),
            (
                "inetd[1]: refused connection from h.example.com, service ftpd (tcp)",
                "denied ftpd name=h.example.com",
            ),
            ("inetd[1]: connection from 192.0.2.7, service ftpd (tcp6)", "granted ftpd 192.0.2.7"),
            (
                "inetd[1]: connection from h.example.com(192.0.2.7), service ftp (tcp)",
                "granted (ftp) name=h.example.com 192.0.2.7",
            ),
            ("imapd[1]: refused connection from 192.0.2.7", "denied imapd 192.0.2.7"),
            ("x[1]: libwrap: refused it", "Unread"),
            ("x[1]: connect to 192.0.2.7 refused", "Other"),
        ] {
            assert_eq!(told(&format!("Nov 21 12:57:37 box {line}")), expected, "{line}");
        }
    }

    #[test]
    fn repeated_lines_are_unwrapped() {
        let line = b"message repeated 2 times: [ refused connect from ::1 (::1)]";
        assert_eq!(repeated(line), Some((2, &b"refused connect from ::1 (::1)"[..])));
        assert_eq!(repeated(b"message repeated x times: [ y]"), None);
    }
}
