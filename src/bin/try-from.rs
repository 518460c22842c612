//! try-from(8): tells a caller what this machine knows of him and of itself, in the words that rules and
//! commands of rules would see. Started like a server, with the connection on descriptor 0.
//!
//! It decides nothing and reads no file of rules, so it needs no privilege; and it has no options, but for
//! those that ask what it is.

#![forbid(unsafe_code)]

use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};
use wrap::error::reason;
use wrap::expand;
use wrap::facts::{DaemonName, Endpoint, Request, Side, Transport};
use wrap::invocation::tools;
use wrap::logline;
use wrap::lookup::{Live, endpoint, inet, transport};
use wrap::settings::Settings;
use wrap::sys::{process, socket};

type Fact = fn(&Request<'_>) -> Vec<u8>;

/// What is said, in this order: a label, and the fact behind it. Asking for a fact may raise a doubt,
/// and what is asked for above is known below.
const LINES: [(&str, Fact); 8] = [
    ("client address  (%a)", |request| request.client.address.text().to_vec()),
    ("client hostname (%n)", |request| request.name(Side::Client).text().to_vec()),
    ("client username (%u)", |request| request.user().text().to_vec()),
    ("client info     (%c)", expand::client),
    ("server address  (%A)", |request| request.server.address.text().to_vec()),
    ("server hostname (%N)", |request| request.name(Side::Server).text().to_vec()),
    ("server process  (%d)", |request| request.daemon.as_ref().to_vec()),
    ("server info     (%s)", expand::server),
];

/// How long the caller may take to read eight lines.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    // The words of a panic may quote what came from outside; its place does not.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        say(2, format!("internal error at {place}\n").as_bytes());
    }));
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(text) = tools::asked(&arguments, tools::try_from) {
        return say(1, text.as_bytes());
    }
    let name = std::env::args_os().next().map(OsStringExt::into_vec).unwrap_or_default();
    let daemon = DaemonName::stated(name.rsplit(|&byte| byte == b'/').next().unwrap_or_default());
    let closed = || std::io::Error::from_raw_os_error(9);
    let (ends, transport, addresses) = match process::standard(0).ok_or_else(closed).and_then(socket::ends) {
        Ok(ends) => (
            (endpoint(&ends.client), endpoint(&ends.server)),
            transport(&ends),
            (inet(&ends.client), inet(&ends.server)),
        ),
        Err(cause) => {
            say(1, format!("warning: can't get client address: {}\n", reason(&cause)).as_bytes());
            ((Endpoint::unknown(), Endpoint::unknown()), Transport::Stream, (None, None))
        }
    };
    let live = Live::new(addresses, true, Settings::default().resolve_timeout);
    let request = Request::new(daemon, process::pid(), transport, ends, &live);
    for (label, fact) in LINES {
        let mut line = format!("{label}: ").into_bytes();
        // A name may be whatever somebody's name server makes of it, and this may be a terminal.
        logline::escape(&fact(&request), b"", &mut line);
        line.push(b'\n');
        for doubt in logline::doubts(&request) {
            say(1, &[doubt.text.as_slice(), b"\n"].concat());
        }
        say(1, &line);
    }
}

/// A caller who is gone, or does not read, is not told.
fn say(fd: i32, text: &[u8]) {
    let until = Instant::now() + PATIENCE;
    let _ = process::standard(fd).map(|fd| socket::write_until(fd, text, until));
}
