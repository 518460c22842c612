//! What would have been asked, and who was called in its stead?
//!
//! A checker knows the facts of a connection in advance. A [`Witness`] answers with them as the net
//! would have answered, one question at a time, and notes each: so that what the wrapper looks up, and
//! what it therefore writes to its log, can be told without a connection.

#![forbid(unsafe_code)]

use crate::error::NameDoubt;
use crate::facts::{
    Ask, DaemonName, Endpoint, Fact, HostName, Identity, ListEnd, Membership, NoSuch, Request, Side, Sought,
    Transport, UserName,
};
use crate::hosts::Host;
use std::cell::RefCell;

/// The facts of one connection, as they were stated or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub daemon: DaemonName,
    pub client: Host,
    pub server: Host,
    pub user: Fact<UserName>,
    pub ports: Ports,
}

/// The ports of the two ends, where they were stated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    pub client: Option<u16>,
    pub server: Option<u16>,
}

/// A question that costs time or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    Name(Side),
    /// With the seconds that the answer may take.
    User(u32),
    Netgroup(Vec<u8>),
    File(Vec<u8>),
}

impl Facts {
    /// Nothing is known yet.
    pub fn unknown() -> Facts {
        let (client, server) = (Host::unknown(), Host::unknown());
        let (daemon, user) = (DaemonName::stated(b"unknown"), Fact::Unknown);
        Facts { daemon, client, server, user, ports: Ports::default() }
    }

    /// The connection with everything known from the start: nobody is asked for name or user.
    pub fn known<'a>(&self, pid: u32, asker: &'a dyn Ask) -> Request<'a> {
        let named = |(end, host): (Endpoint, &Host)| end.named(host.name.clone());
        let (client, server) = self.ends();
        let ends = (named((client, &self.client)), named((server, &self.server)));
        Request::new(self.daemon.clone(), pid, Transport::Stream, ends, asker).by_user(self.user.clone())
    }

    /// The connection as it comes in: two addresses, and a witness to ask. `paranoid`: the client's
    /// name is asked for before anything else.
    pub fn fresh<'a>(&self, pid: u32, witness: &'a Witness<'a>, paranoid: bool) -> Request<'a> {
        let request = Request::new(self.daemon.clone(), pid, Transport::Stream, self.ends(), witness);
        if paranoid {
            request.name(Side::Client);
        }
        request
    }

    fn ends(&self) -> (Endpoint, Endpoint) {
        (
            Endpoint::new(self.client.address.clone(), self.ports.client),
            Endpoint::new(self.server.address.clone(), self.ports.server),
        )
    }
}

/// An asker that knows the facts, and notes what it was asked.
pub struct Witness<'a> {
    facts: &'a Facts,
    /// Whoever answers about this machine: accounts, netgroups, files.
    machine: &'a dyn Ask,
    asked: RefCell<Vec<Question>>,
}

impl<'a> Witness<'a> {
    pub fn new(facts: &'a Facts, machine: &'a dyn Ask) -> Witness<'a> {
        Witness { facts, machine, asked: RefCell::default() }
    }

    /// The questions since the last call, in order.
    pub fn take(&self) -> Vec<Question> {
        self.asked.take()
    }

    fn note(&self, question: Question) {
        self.asked.borrow_mut().push(question);
    }
}

impl Ask for Witness<'_> {
    fn name(&self, side: Side, _: &mut Vec<NameDoubt>) -> Fact<HostName> {
        self.note(Question::Name(side));
        match side {
            Side::Client => self.facts.client.name.clone(),
            Side::Server => self.facts.server.name.clone(),
        }
    }

    fn user(&self, seconds: u32) -> Fact<UserName> {
        self.note(Question::User(seconds));
        self.facts.user.clone()
    }

    fn in_netgroup(&self, group: &[u8], host: &[u8]) -> Membership {
        self.note(Question::Netgroup(group.to_vec()));
        self.machine.in_netgroup(group, host)
    }

    fn word_list(&self, path: &[u8], sought: &dyn Sought, visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
        self.note(Question::File(path.to_vec()));
        self.machine.word_list(path, sought, visit)
    }

    fn identity(&self, user: Option<&[u8]>, group: Option<&[u8]>) -> Result<Identity, NoSuch> {
        self.machine.identity(user, group)
    }

    fn interface_exists(&self, name: &[u8]) -> bool {
        self.machine.interface_exists(name)
    }
}
