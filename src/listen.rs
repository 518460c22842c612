//! The embedded super-server, for machines with no inetd: accept, fork, and let the child go the way
//! of every connection with the socket on 0, 1 and 2.
//!
//! It decides nothing about access. Rules are read by each child, so a change takes effect for the next
//! connection. What it knows is how many are served, and for whom ([`places`]): over the limit of all,
//! connections wait; over that of one client, they are closed here, unread and without a child.
//! One thread, no signal handler: signals and connections are waited for in one poll(2).

#![forbid(unsafe_code)]

pub mod places;
pub mod systemd;

pub use places::Limits;

use crate::error::Error;
use crate::logline::{Entry, Level};
use crate::sys::process;
use crate::sys::signals::{Signals, Told};
use crate::sys::socket::{self, End};
use crate::voice::Voice;
use places::{Client, Places};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long to leave the network alone after a failure such as "too many open files".
const PAUSE: Duration = Duration::from_millis(100);

/// Where to listen.
pub struct Doors {
    pub addresses: Vec<SocketAddr>,
    /// Sockets that listen already.
    pub handed: Vec<OwnedFd>,
}

impl Doors {
    fn open(self) -> Result<Vec<OwnedFd>, Error> {
        let mut listeners = self.handed;
        for address in self.addresses {
            let listener = socket::listen_on(address)
                .map_err(|cause| Error::new("cannot listen on", address.to_string(), cause))?;
            listeners.push(listener);
        }
        Ok(listeners)
    }
}

/// Serves until SIGTERM or SIGINT. `serve` is run in a child for each connection; what it returns is
/// the child's exit status. Children go on when the listener ends.
pub fn run(doors: Doors, limits: Limits, voice: &mut Voice, serve: impl Fn() -> i32) -> Result<(), Error> {
    let signals = Signals::take().map_err(|cause| Error::new("cannot take signals", "", cause))?;
    let listeners = doors.open()?;
    for listener in &listeners {
        let text = format!("listening on {}", socket::local_name(listener.as_fd()));
        voice.say(&Entry::new(Level::Info, text));
    }
    let mut reception = Reception { signals, places: Places::new(limits), voice };
    loop {
        let called = reception.wait(&listeners)?;
        if reception.is_told_to_stop() {
            let text = format!("no longer listening; {} connection(s) go on", reception.places.taken());
            reception.voice.say(&Entry::new(Level::Info, text));
            return Ok(());
        }
        for listener in called {
            if !reception.places.is_room() {
                break;
            }
            if let Err(error) = reception.receive(listener, &serve) {
                reception.voice.say(&Entry::new(Level::Err, format!("error: {error}")));
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// What the loop has at hand.
struct Reception<'a> {
    signals: Signals,
    places: Places,
    voice: &'a mut Voice,
}

impl Reception<'_> {
    /// Waits for a signal or, while there is room, for somebody at a door: these doors.
    fn wait<'l>(&self, listeners: &'l [OwnedFd]) -> Result<Vec<&'l OwnedFd>, Error> {
        let watched = if self.places.is_room() { listeners } else { &[] };
        let fds: Vec<_> = std::iter::once(self.signals.fd()).chain(watched.iter().map(AsFd::as_fd)).collect();
        let ready = socket::readable(&fds, None).map_err(|cause| Error::new("cannot wait", "", cause))?;
        let called = watched.iter().zip(ready.into_iter().skip(1)).filter(|(_, ready)| *ready);
        Ok(called.map(|(listener, _)| listener).collect())
    }

    /// Takes note of children that ended.
    fn is_told_to_stop(&mut self) -> bool {
        while let Some(told) = self.signals.next() {
            match told {
                Told::Child => process::reap().into_iter().for_each(|child| self.places.leave(child)),
                Told::Stop => return true,
            }
        }
        false
    }

    /// Accepts one connection, and starts its child if its client may have one more.
    fn receive(&mut self, listener: &OwnedFd, serve: &impl Fn() -> i32) -> Result<(), Error> {
        let accepted =
            socket::accept(listener.as_fd()).map_err(|cause| Error::new("cannot accept", "", cause))?;
        let Some((connection, caller)) = accepted else { return Ok(()) };
        let client = if self.places.knows_clients() { client(&connection, &caller) } else { None };
        if let Some((client, held)) = client.and_then(|c| Some((c, self.places.too_many_of(c)?))) {
            if self.places.is_news(client, Instant::now()) {
                let address = match &caller {
                    End::Inet(_, address) => address,
                    End::Local | End::Unknown => "localhost",
                };
                let text =
                    format!("warning: closed a connection from {address}: {client} has {held} already");
                self.voice.say(&Entry::new(Level::Warning, text));
            }
            return Ok(());
        }
        let child = || {
            let ready = self.signals.give_back().and_then(|()| process::onto_standard(connection.as_fd()));
            ready.map_or(1, |()| serve())
        };
        let child = process::start_child(child).map_err(|cause| Error::new("cannot fork", "", cause))?;
        self.places.take(child, client);
        Ok(())
    }
}

/// Who counts as the client of a connection; nobody where that cannot be said.
fn client(connection: &OwnedFd, caller: &End) -> Option<Client> {
    match caller {
        End::Inet(address, _) => Some(Client::of(*address)),
        End::Local => socket::peer_user(connection.as_fd()).map(Client::User),
        End::Unknown => None,
    }
}
