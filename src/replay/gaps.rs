//! What of a connection does a log hold, and what is asked that it does not?

#![forbid(unsafe_code)]

use super::held::Rules;
use super::judge::{Known, Machine, Missing};
use crate::error::NameDoubt;
use crate::facts::{
    Ask, DaemonName, Endpoint, Fact, HostName, Identity, ListEnd, Membership, NoSuch, Request, Side, Sought,
    Transport, UserName,
};
use crate::rules::{HostPattern, grammar};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

/// Stands for an address that is not known. Rules can have no such word.
const NO_ADDRESS: &[u8] = b"\x01 no address \x01";

/// What can be asked beside the log: rule files, accounts, and the net if that is wanted.
pub struct World<'r> {
    pub rules: &'r Rules,
    pub machine: &'r dyn Machine,
    /// Accounts that options name, asked for once.
    pub identities: RefCell<HashMap<Names, Result<Identity, NoSuch>>>,
}

/// A user and a group.
type Names = (Option<Vec<u8>>, Option<Vec<u8>>);

/// An asker that knows what a log holds, and notes what is missing.
pub struct Gaps<'g> {
    pub known: &'g Known<'g>,
    pub world: &'g World<'g>,
    pub nameless: bool,
    pub asked: RefCell<Vec<Missing>>,
    /// A pattern file was left at a word that matches whatever is missing.
    pub is_sure: Cell<bool>,
}

impl Gaps<'_> {
    fn note(&self, missing: Missing) {
        self.asked.borrow_mut().push(missing);
    }

    /// What was asked since the last call, in order.
    pub fn take(&self) -> Vec<Missing> {
        self.asked.take()
    }

    /// The connection with all that is known about it.
    pub fn request(&self) -> Request<'_> {
        let Known { daemon, address, name, user, server, server_port } = *self.known;
        let end = |address: Option<&[u8]>, port| match address {
            Some(b"unknown") => Endpoint::new(Fact::Unknown, port),
            Some(address) => Endpoint::new(Fact::Known(address.to_vec()), port),
            None => Endpoint::new(Fact::Known(NO_ADDRESS.to_vec()), port),
        };
        let client = match name {
            Some(name) => end(address, None).named(Fact::Known(HostName::stated(name))),
            None if self.nameless || address == Some(b"unknown") => end(address, None).named(Fact::Unknown),
            None => end(address, None),
        };
        let server = match server {
            Some(_) => end(server, server_port),
            None => Endpoint::new(Fact::Unknown, server_port),
        };
        let daemon = DaemonName::stated(daemon.unwrap_or_default());
        let request = Request::new(daemon, 1, Transport::Stream, (client, server), self);
        match user {
            Some(user) => request.by_user(Fact::Known(UserName::stated(user))),
            None => request,
        }
    }
}

impl Ask for Gaps<'_> {
    fn name(&self, side: Side, _: &mut Vec<NameDoubt>) -> Fact<HostName> {
        let address = self.known.address.filter(|_| side == Side::Client);
        let found = address.and_then(|address| self.world.machine.name(address));
        found.unwrap_or_else(|| {
            self.note(Missing::Name(side));
            Fact::Unknown
        })
    }

    fn user(&self, _: u32) -> Fact<UserName> {
        self.note(Missing::User);
        Fact::Unknown
    }

    fn in_netgroup(&self, group: &[u8], _: &[u8]) -> Membership {
        self.note(Missing::Netgroup(group.to_vec()));
        Membership::No
    }

    fn word_list(&self, path: &[u8], sought: &dyn Sought, visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
        self.world.rules.word_list(path, sought.address(), &mut |word| {
            let goes_on = visit(word);
            if !goes_on {
                // A number matches by itself, whatever the words before it asked for.
                let is_number = match grammar::host_pattern(word) {
                    HostPattern::Text { may_be_name, .. } => !may_be_name,
                    HostPattern::Net4 { .. } | HostPattern::Net6 { .. } => true,
                    _ => false,
                };
                self.is_sure.set(is_number || self.is_sure.get());
            }
            goes_on
        })
    }

    fn identity(&self, user: Option<&[u8]>, group: Option<&[u8]>) -> Result<Identity, NoSuch> {
        let names = (user.map(<[u8]>::to_vec), group.map(<[u8]>::to_vec));
        let mut known = self.world.identities.borrow_mut();
        known.entry(names).or_insert_with(|| self.world.machine.identity(user, group)).clone()
    }

    fn interface_exists(&self, name: &[u8]) -> bool {
        self.world.machine.interface_exists(name)
    }
}
