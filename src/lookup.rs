//! Answers from the net and from this machine's databases, each within its budget.
//!
//! The name of an address is believed only if it agrees with the address: the reverse lookup gives a
//! name, the forward lookup of that name must give it back as canonical and the address among its own.
//! Whatever else is announced as a name (a number, bytes that no host name has, a name whose forward
//! lookup fails) is `Paranoid`; no name at all is `Unknown`.
//!
//! Budgets: one for the client's name, one of the same size for the server's, one for all netgroup
//! questions; ident has its own. Over budget before a name was announced: `Unknown`; after: `Paranoid`.

#![forbid(unsafe_code)]

use crate::error::NameDoubt;
use crate::facts::{Ask, Fact, HostName, Identity, ListEnd, Membership, NAME_MAX, NoSuch, Side, UserName};
use crate::rules::grammar;
use crate::sys::netdb::{self, Reverse, Timed, within};
use crate::sys::socket;
use crate::tables;
use std::cell::Cell;
use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The asker of a live connection.
pub struct Live {
    pub client: Option<SocketAddr>,
    pub server: Option<SocketAddr>,
    /// False: names are never looked up (`resolve never`).
    pub resolves: bool,
    /// The size of each budget.
    pub budget: Duration,
    netgroups_until: Cell<Option<Instant>>,
}

impl Live {
    pub fn new(ends: (Option<SocketAddr>, Option<SocketAddr>), resolves: bool, budget: Duration) -> Live {
        Live { client: ends.0, server: ends.1, resolves, budget, netgroups_until: Cell::new(None) }
    }
}

/// The name of an address, checked against it.
pub fn checked_name(ip: IpAddr, budget: Duration, doubts: &mut Vec<NameDoubt>) -> Fact<HostName> {
    let begun = Instant::now();
    let deadline = begun + budget;
    let address = ip.to_string();
    let spent = || u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let too_slow = || NameDoubt::TooSlow { address: address.clone(), spent_ms: spent() };
    let failed = |reason: &str| NameDoubt::Library { address: address.clone(), reason: reason.to_owned() };
    // A mapped address has the names of the IPv4 address in it.
    let ip = socket::unmapped(ip);
    let name = match within(deadline, move || netdb::reverse(ip)) {
        Timed::Done(Reverse::Name(name)) => name,
        Timed::Done(Reverse::Nothing) => return Fact::Unknown,
        Timed::TooSlow => {
            doubts.push(too_slow());
            return Fact::Unknown;
        }
        Timed::Done(Reverse::Failed(reason)) => {
            doubts.push(failed(&reason));
            return Fact::Paranoid;
        }
        Timed::Died => {
            doubts.push(failed("the lookup died"));
            return Fact::Paranoid;
        }
    };
    let text = name.as_bytes();
    let cannot_verify = |name: &[u8]| NameDoubt::CannotVerify { name: name.to_vec(), six: ip.is_ipv6() };
    if grammar::is_numeric_address(text) {
        doubts.push(NameDoubt::Numeric { name: text.to_vec() });
        return Fact::Paranoid;
    }
    if let Some(cut) = text.get(..NAME_MAX).filter(|cut| cut.len() < text.len()) {
        doubts.push(cannot_verify(cut));
        return Fact::Paranoid;
    }
    let Some(host) = HostName::from_dns(text) else {
        doubts.push(NameDoubt::NoHostName { address, name: text.to_vec() });
        return Fact::Paranoid;
    };
    let asked = name.clone();
    let (canonical, addresses) = match within(deadline, move || netdb::forward(&asked, ip.is_ipv6())) {
        Timed::Done(Some(found)) => found,
        Timed::Done(None) => {
            doubts.push(cannot_verify(text));
            return Fact::Paranoid;
        }
        Timed::TooSlow => {
            doubts.extend([cannot_verify(text), too_slow()]);
            return Fact::Paranoid;
        }
        Timed::Died => {
            doubts.extend([cannot_verify(text), failed("the lookup died")]);
            return Fact::Paranoid;
        }
    };
    let canonical = canonical.unwrap_or_default();
    if !canonical.eq_ignore_ascii_case(&name) && !name.eq_ignore_ascii_case("localhost") {
        doubts.push(NameDoubt::OtherName { name: text.to_vec(), canonical: canonical.into_bytes() });
        return Fact::Paranoid;
    }
    if !addresses.contains(&ip) {
        doubts.push(NameDoubt::OtherAddress { address, name: text.to_vec() });
        return Fact::Paranoid;
    }
    Fact::Known(host)
}

impl Ask for Live {
    fn name(&self, side: Side, doubts: &mut Vec<NameDoubt>) -> Fact<HostName> {
        let address = match side {
            Side::Client => self.client,
            Side::Server => self.server,
        };
        match address {
            Some(address) if self.resolves => checked_name(address.ip(), self.budget, doubts),
            _ => Fact::Unknown,
        }
    }

    fn user(&self, seconds: u32) -> Fact<UserName> {
        let (Some(client), Some(server)) = (self.client, self.server) else { return Fact::Unknown };
        let deadline = Instant::now() + Duration::from_secs(seconds.into());
        let reply = socket::ident(client, server, deadline);
        match reply.as_deref().and_then(grammar::ident_reply) {
            Some((remote, local, user))
                if (remote, local) == (client.port(), server.port())
                    && !user.eq_ignore_ascii_case(b"unknown") =>
            {
                Fact::Known(UserName::stated(user))
            }
            _ => Fact::Unknown,
        }
    }

    fn in_netgroup(&self, group: &[u8], host: &[u8]) -> Membership {
        let begun = Instant::now();
        let until = self.netgroups_until.get().unwrap_or(begun + self.budget);
        self.netgroups_until.set(Some(until));
        let (group, host) = (group.to_vec(), host.to_vec());
        match within(until, move || netdb::in_netgroup(&group, &host)) {
            Timed::Done(true) => Membership::Yes,
            Timed::Done(false) => Membership::No,
            Timed::TooSlow | Timed::Died => {
                Membership::TooSlow(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX))
            }
        }
    }

    fn word_list(&self, path: &[u8], visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
        tables::word_list(Path::new(OsStr::from_bytes(path)), visit)
    }

    fn identity(&self, user: Option<&[u8]>, group: Option<&[u8]>) -> Result<Identity, NoSuch> {
        let gid = match group {
            Some(group) => Some(netdb::group(group).ok_or(NoSuch::Group)?),
            None => None,
        };
        let Some(user) = user else {
            let name = group.unwrap_or_default().to_vec();
            return Ok(Identity { user: name, uid: None, gid, groups: gid.into_iter().collect() });
        };
        let account = netdb::account(user, gid).ok_or(NoSuch::User)?;
        Ok(Identity {
            user: user.to_vec(),
            uid: Some(account.uid),
            gid: Some(account.gid),
            groups: account.groups,
        })
    }

    fn interface_exists(&self, name: &[u8]) -> bool {
        netdb::interface_exists(name)
    }
}
