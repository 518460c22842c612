//! The embedded super-server, for machines with no inetd: accept, and let a child go the way of every
//! connection with the socket on 0, 1 and 2.
//!
//! Where numbers are all that the rules ask for, the loop itself knows what the child would say
//! ([`gate`]): then a refusal is one line in the log and no child, and a server is started at once. It
//! keeps the rules for that ([`kept`]), and a change takes effect for the next connection as if each
//! child read them. It knows how many are served, and for whom ([`places`]): over the limit of all,
//! connections wait; over that of one client, they are closed here, unread and without a child.
//!
//! One thread, no signal handler: signals and connections are waited for in one poll(2). Warning to the
//! next author: what is done here is done for all who wait. Nothing here may wait for a client, for a
//! name, or for a log that nobody reads, and nothing may change what children inherit.

#![forbid(unsafe_code)]

pub mod gate;
pub mod kept;
pub mod places;
pub mod systemd;

pub use gate::Gate;
pub use places::Limits;

use crate::error::Error;
use crate::event::{About, Connection};
use crate::facts::Transport;
use crate::logline::{self, Entry, Level};
use crate::lookup::endpoint;
use crate::sys::file;
use crate::sys::launch::Launcher;
use crate::sys::process::{self, Ended};
use crate::sys::signals::{Signals, Told};
use crate::sys::socket::{self, End};
use crate::voice::Voice;
use gate::Answer;
use places::{Client, Places};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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

/// What is done with connections.
pub struct Service<'s> {
    pub gate: Gate,
    /// The voice of the daemon.
    pub voice: Voice,
    /// The server, for connections that the gate lets through.
    pub server: Launcher,
    /// Run in a child, with the connection on 0, 1 and 2: decides, and goes the whole way. What it
    /// returns is the child's exit status.
    pub whole_way: &'s dyn Fn() -> i32,
}

/// Serves until SIGTERM or SIGINT. Children go on when the listener ends.
#[cold]
#[inline(never)]
pub fn run(doors: Doors, limits: Limits, voice: &mut Voice, service: Service<'_>) -> Result<(), Error> {
    let signals = Signals::take().map_err(|cause| Error::new("cannot take signals", "", cause))?;
    let listeners = doors.open()?;
    for listener in &listeners {
        let text = format!("listening on {}", socket::local_name(listener.as_fd()));
        voice.say(&Entry::new(Level::Info, text));
    }
    let (doors, places) = (listeners.iter().collect(), Places::new(limits));
    let mut reception = Reception { signals, doors, places, voice, service };
    loop {
        reception.fetch_rules();
        let (told, called) = reception.wait()?;
        if told && reception.is_told_to_stop() {
            let text = format!("no longer listening; {} connection(s) go on", reception.places.taken());
            reception.voice.say(&Entry::new(Level::Info, text));
            return Ok(());
        }
        for listener in called {
            if !reception.places.is_room() {
                break;
            }
            let Err(error) = reception.receive(listener) else { continue };
            if socket::is_closed_for_good(&error.cause) {
                reception.doors.retain(|door| !std::ptr::eq(*door, listener));
                if reception.doors.is_empty() {
                    return Err(error);
                }
            }
            reception.voice.say(&Entry::new(Level::Err, format!("error: {error}")));
            std::thread::sleep(PAUSE);
        }
    }
}

/// What the loop has at hand.
struct Reception<'a> {
    signals: Signals,
    doors: Vec<&'a OwnedFd>,
    places: Places,
    voice: &'a mut Voice,
    service: Service<'a>,
}

impl<'a> Reception<'a> {
    /// Sees to it that the gate has rules.
    fn fetch_rules(&mut self) {
        let Some(kept) = self.service.gate.kept.as_mut().filter(|kept| kept.are_wanted()) else { return };
        let doors: Vec<_> = self.doors.iter().map(AsFd::as_fd).collect();
        let problem = kept.fetch(Instant::now(), &doors);
        self.voice.say_all(&problem.iter().flat_map(logline::problem).collect::<Vec<_>>());
    }

    /// Waits for a signal or, while there is room, for somebody at a door: whether there is a signal, and
    /// the doors.
    fn wait(&self) -> Result<(bool, Vec<&'a OwnedFd>), Error> {
        let watched = self.doors.get(..if self.places.is_room() { self.doors.len() } else { 0 });
        let watched = watched.unwrap_or_default();
        let fds: Vec<_> = std::iter::once(self.signals.fd()).chain(watched.iter().map(AsFd::as_fd)).collect();
        let ready = socket::readable(&fds, None).map_err(|cause| Error::new("cannot wait", "", cause))?;
        let called = watched.iter().zip(ready.iter().skip(1)).filter(|(_, ready)| **ready);
        Ok((ready.first() == Some(&true), called.map(|(listener, _)| *listener).collect()))
    }

    /// Takes note of children that ended.
    fn is_told_to_stop(&mut self) -> bool {
        while let Some(told) = self.signals.next() {
            match told {
                Told::Child => process::reap().into_iter().for_each(|(child, how)| self.bury(child, how)),
                Told::Stop => return true,
            }
        }
        false
    }

    /// A child has ended: one that made an image, or one that had a place.
    fn bury(&mut self, child: i32, how: Ended) {
        let kept = self.service.gate.kept.as_mut();
        if !kept.is_some_and(|kept| kept.is_compiler(child, how, Instant::now())) {
            self.places.leave(child);
        }
    }

    /// Accepts one connection. Unless its client has too many, or numbers refuse it, it gets a child.
    fn receive(&mut self, listener: &OwnedFd) -> Result<(), Error> {
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
                let about = self.voice.has_fields().then(|| calling(&caller));
                self.voice.say(&Entry::new(Level::Warning, text).about(about));
            }
            return Ok(());
        }
        if let End::Inet(_, address) = &caller
            && socket::is_gone(connection.as_fd())
        {
            let text = format!("warning: {address} hung up before it was answered");
            let about = self.voice.has_fields().then(|| calling(&caller));
            self.service.voice.say(&Entry::new(Level::Warning, text).about(about));
            return Ok(());
        }
        let child = match self.service.gate.answer(connection.as_fd()) {
            Some(Answer::Refused(line)) => {
                self.service.voice.say(&line);
                return Ok(());
            }
            Some(Answer::Served(line)) => self.start_server(connection.as_fd(), &line),
            None => None,
        };
        let child = child.map_or_else(|| self.start_child(connection.as_fd()), Ok);
        self.places.take(child.map_err(|cause| Error::new("cannot fork", "", cause))?, client);
        Ok(())
    }

    /// Starts the server at once, and says the line in its name. None where that does not work: a child
    /// on the whole way knows what is to be said about it.
    fn start_server(&mut self, connection: BorrowedFd<'_>, line: &Entry) -> Option<i32> {
        let Service { server, voice, .. } = &mut self.service;
        if file::is_this_program(server.path()) {
            return None;
        }
        let child = server.start(connection, &self.signals).ok()?;
        voice.speaks_for(child.unsigned_abs());
        voice.say(line);
        voice.speaks_for(process::pid());
        Some(child)
    }

    fn start_child(&self, connection: BorrowedFd<'_>) -> io::Result<i32> {
        process::start_child(|| {
            let ready = self.signals.give_back().and_then(|()| process::onto_standard(connection));
            // Nobody is to find a door open behind which nobody listens: a trap or a lookup may outlast us.
            let ready = ready.and_then(|()| {
                self.doors.iter().try_for_each(|door| process::put_in_place_of(door.as_fd(), connection))
            });
            ready.map_or(1, |()| (self.service.whole_way)())
        })
    }
}

/// What an event says of a connection that was accepted and no more.
fn calling(caller: &End) -> About {
    let transport = if matches!(caller, End::Local) { Transport::Local } else { Transport::Stream };
    About::Connection(Connection::from(&endpoint(caller), transport))
}

/// Who counts as the client of a connection; nobody where that cannot be said.
fn client(connection: &OwnedFd, caller: &End) -> Option<Client> {
    match caller {
        End::Inet(address, _) => Some(Client::of(*address)),
        End::Local => socket::peer_user(connection.as_fd()).map(Client::User),
        End::Unknown => None,
    }
}
