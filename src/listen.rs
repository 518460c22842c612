//! The embedded super-server, for machines with no inetd: accept, fork, and let the child go the way
//! of every connection with the socket on 0, 1 and 2.
//!
//! It decides nothing. Rules are read by each child, so a change takes effect for the next connection.
//! One thread, no signal handler: signals and connections are waited for in one poll(2).

#![forbid(unsafe_code)]

use crate::error::Error;
use crate::logline::{Entry, Level};
use crate::sys::process;
use crate::sys::signals::{Signals, Told};
use crate::sys::socket;
use crate::voice::Voice;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How long to leave the network alone after a failure such as "too many open files".
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until SIGTERM or SIGINT. `serve` is run in a child for each connection; what it returns is
/// the child's exit status. Children go on when the listener ends.
pub fn run(
    addresses: &[SocketAddr],
    connections_max: usize,
    voice: &mut Voice,
    serve: impl Fn() -> i32,
) -> Result<(), Error> {
    let signals = Signals::take().map_err(|cause| Error::new("cannot take signals", "", cause))?;
    let mut listeners = Vec::new();
    for address in addresses {
        let listener = socket::listen_on(*address)
            .map_err(|cause| Error::new("cannot listen on", address.to_string(), cause))?;
        let bound = socket::local_address(listener.as_fd()).unwrap_or(*address);
        voice.say(&Entry::new(Level::Info, format!("listening on {bound}")));
        listeners.push(listener);
    }
    let mut children = HashSet::new();
    loop {
        let room = children.len() < connections_max;
        let mut fds = vec![signals.fd()];
        fds.extend(listeners.iter().filter(|_| room).map(AsFd::as_fd));
        let ready = socket::readable(&fds, None).map_err(|cause| Error::new("cannot wait", "", cause))?;
        while let Some(told) = signals.next() {
            match told {
                Told::Child => {
                    for pid in process::reap() {
                        children.remove(&pid);
                    }
                }
                Told::Stop => {
                    let text = format!("no longer listening; {} connection(s) go on", children.len());
                    voice.say(&Entry::new(Level::Info, text));
                    return Ok(());
                }
            }
        }
        for (listener, _) in listeners.iter().zip(ready.iter().skip(1)).filter(|(_, is_ready)| **is_ready) {
            if children.len() >= connections_max {
                break;
            }
            match accept_one(listener, &signals, &serve) {
                Ok(started) => children.extend(started),
                Err(error) => {
                    voice.say(&Entry::new(Level::Err, format!("error: {error}")));
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }
}

/// Accepts one connection and starts its child: the child.
fn accept_one(listener: &OwnedFd, signals: &Signals, serve: &impl Fn() -> i32) -> Result<Option<i32>, Error> {
    let Some(connection) =
        socket::accept(listener.as_fd()).map_err(|cause| Error::new("cannot accept", "", cause))?
    else {
        return Ok(None);
    };
    let child = || match signals.give_back().and_then(|()| process::onto_standard(connection.as_fd())) {
        Ok(()) => serve(),
        Err(_) => 1,
    };
    process::start_child(child).map(Some).map_err(|cause| Error::new("cannot fork", "", cause))
}
