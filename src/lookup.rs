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
use crate::facts::{
    Ask, Endpoint, Fact, HostName, Identity, ListEnd, Membership, NAME_MAX, NoSuch, Side, Sought, Transport,
    UserName,
};
use crate::rules::grammar;
use crate::sys::netdb::{self, Aside, Here, Reverse, Way};
use crate::sys::socket::{self, End, Ends};
use crate::tables::image::{Image, word_list_for};
use std::cell::Cell;
use std::ffi::OsStr;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The asker of a live connection. `W` is the way that it waits for answers.
pub struct Live<'i, W = Aside> {
    pub client: Option<SocketAddr>,
    pub server: Option<SocketAddr>,
    /// False: names are never looked up (`resolve never`).
    pub resolves: bool,
    /// The size of each budget.
    pub budget: Duration,
    way: PhantomData<W>,
    /// What knows which words of a pattern file matter.
    image: Option<&'i Image>,
    netgroups_until: Cell<Option<Instant>>,
    netgroups_stuck: Cell<bool>,
}

impl<'i> Live<'i> {
    pub fn new(ends: (Option<SocketAddr>, Option<SocketAddr>), resolves: bool, budget: Duration) -> Live<'i> {
        Live {
            client: ends.0,
            server: ends.1,
            resolves,
            budget,
            way: PhantomData,
            image: None,
            netgroups_until: Cell::new(None),
            netgroups_stuck: Cell::new(false),
        }
    }

    /// The same, starting no thread: for a process that is somebody else's.
    pub fn here(self) -> Live<'i, Here> {
        let Live { client, server, resolves, budget, image, netgroups_until, netgroups_stuck, way: _ } = self;
        let way = PhantomData;
        Live { client, server, resolves, budget, way, image, netgroups_until, netgroups_stuck }
    }
}

impl<'i, W> Live<'i, W> {
    /// The same, finding the words of pattern files by an image.
    pub fn by_image(self, image: Option<&'i Image>) -> Live<'i, W> {
        Live { image, ..self }
    }
}

/// The address behind an end, if it is one that can be asked about.
pub fn inet(end: &End) -> Option<SocketAddr> {
    match end {
        End::Inet(address, _) => Some(*address),
        End::Local | End::Unknown => None,
    }
}

/// What is known of an end without asking: its address. That of a local one is `localhost`; its name is
/// unknown, as under the reference.
pub fn endpoint(end: &End) -> Endpoint {
    match end {
        End::Inet(address, text) => {
            Endpoint::new(Fact::Known(text.clone().into_bytes()), Some(address.port()))
        }
        End::Local => Endpoint::new(Fact::Known(b"localhost".to_vec()), None),
        End::Unknown => Endpoint::unknown(),
    }
}

/// How a connection with these ends came.
pub fn transport(ends: &Ends) -> Transport {
    match (&ends.client, ends.datagram) {
        (_, true) => Transport::Datagram,
        (End::Local, false) => Transport::Local,
        _ => Transport::Stream,
    }
}

/// The name of an address, checked against it.
pub fn checked_name(address: SocketAddr, budget: Duration, doubts: &mut Vec<NameDoubt>) -> Fact<HostName> {
    name_by::<Aside>(address, budget, doubts)
}

fn name_by<W: Way>(address: SocketAddr, budget: Duration, doubts: &mut Vec<NameDoubt>) -> Fact<HostName> {
    let begun = Instant::now();
    let deadline = begun + budget;
    let shown = socket::address_text(address);
    let too_slow = || NameDoubt::TooSlow { address: shown.clone(), spent_ms: millis(begun) };
    // A mapped address has the names of the IPv4 address in it.
    let address = socket::unmapped(address);
    let is_nothing = |found: &Reverse| matches!(found, Reverse::Nothing);
    let name = match W::within(deadline, 1, is_nothing, move || netdb::reverse(address)) {
        Some(Reverse::Name(name)) => name,
        Some(Reverse::Nothing) => return Fact::Unknown,
        None => {
            doubts.push(too_slow());
            return Fact::Unknown;
        }
        Some(Reverse::Failed(reason)) => {
            doubts.push(NameDoubt::Library { address: shown, reason });
            return Fact::Paranoid;
        }
    };
    let text = name.as_bytes();
    let six = address.is_ipv6();
    let cannot_verify = |name: &[u8]| NameDoubt::CannotVerify { name: name.to_vec(), six };
    if grammar::is_numeric_address(text) {
        doubts.push(NameDoubt::Numeric { name: text.to_vec() });
        return Fact::Paranoid;
    }
    if let Some(cut) = text.get(..NAME_MAX).filter(|cut| cut.len() < text.len()) {
        doubts.push(cannot_verify(cut));
        return Fact::Paranoid;
    }
    let Some(host) = HostName::from_dns(text) else {
        doubts.push(NameDoubt::NoHostName { address: shown, name: text.to_vec() });
        return Fact::Paranoid;
    };
    let asked = name.clone();
    // A name without a dot is looked for below a domain of the search list, and as it is.
    let questions = if text.contains(&b'.') { 1 } else { 2 };
    let (canonical, addresses) =
        match W::within(deadline, questions, Option::is_none, move || netdb::forward(&asked, six)) {
            Some(Some(found)) => found,
            Some(None) => {
                doubts.push(cannot_verify(text));
                return Fact::Paranoid;
            }
            None => {
                doubts.extend([cannot_verify(text), too_slow()]);
                return Fact::Paranoid;
            }
        };
    let canonical = canonical.unwrap_or_default();
    if !canonical.eq_ignore_ascii_case(&name) && !name.eq_ignore_ascii_case("localhost") {
        doubts.push(NameDoubt::OtherName { name: text.to_vec(), canonical: canonical.into_bytes() });
        return Fact::Paranoid;
    }
    if !addresses.iter().any(|own| is_same(*own, address)) {
        doubts.push(NameDoubt::OtherAddress { address: shown, name: text.to_vec() });
        return Fact::Paranoid;
    }
    Fact::Known(host)
}

/// The same host: the scope says on which link a link-local address is.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    match (one, other) {
        (SocketAddr::V4(one), SocketAddr::V4(other)) => one.ip() == other.ip(),
        (SocketAddr::V6(one), SocketAddr::V6(other)) => {
            one.ip() == other.ip() && one.scope_id() == other.scope_id()
        }
        _ => false,
    }
}

/// The user that an ident reply names, if it is the reply to the question about these two ports.
pub fn user_in(reply: &[u8], (remote, local): (u16, u16)) -> Fact<UserName> {
    match grammar::ident_reply(reply) {
        Some((first, second, user))
            if (first, second) == (remote, local) && !user.eq_ignore_ascii_case(b"unknown") =>
        {
            Fact::Known(UserName::stated(user))
        }
        _ => Fact::Unknown,
    }
}

fn millis(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl<W: Way> Ask for Live<'_, W> {
    fn name(&self, side: Side, doubts: &mut Vec<NameDoubt>) -> Fact<HostName> {
        let address = match side {
            Side::Client => self.client,
            Side::Server => self.server,
        };
        match address {
            Some(address) if self.resolves => name_by::<W>(address, self.budget, doubts),
            _ => Fact::Unknown,
        }
    }

    fn user(&self, seconds: u32) -> Fact<UserName> {
        let (Some(client), Some(server)) = (self.client, self.server) else { return Fact::Unknown };
        let deadline = Instant::now() + Duration::from_secs(seconds.into());
        let reply = socket::ident(client, server, deadline);
        reply.map_or(Fact::Unknown, |reply| user_in(&reply, (client.port(), server.port())))
    }

    fn in_netgroup(&self, group: &[u8], host: &[u8]) -> Membership {
        let size = u64::try_from(self.budget.as_millis()).unwrap_or(u64::MAX);
        let begun = Instant::now();
        let until = self.netgroups_until.get().unwrap_or(begun + self.budget);
        // Once too slow, always too slow: innetgr(3) must not be entered twice at a time.
        if self.netgroups_stuck.get() || begun >= until {
            return Membership::TooSlow(size);
        }
        self.netgroups_until.set(Some(until));
        let (group, host) = (group.to_vec(), host.to_vec());
        match W::within(until, 1, |_| false, move || netdb::in_netgroup(&group, &host)) {
            Some(true) => Membership::Yes,
            Some(false) => Membership::No,
            None => {
                self.netgroups_stuck.set(true);
                Membership::TooSlow(size)
            }
        }
    }

    fn word_list(&self, path: &[u8], sought: &dyn Sought, visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
        word_list_for(self.image, Path::new(OsStr::from_bytes(path)), sought, visit)
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

/// An asker whose answers are timed: names, users, netgroups and accounts, whoever had to be asked.
pub struct Timed<'a> {
    asker: &'a dyn Ask,
    spent: Cell<Duration>,
}

impl<'a> Timed<'a> {
    pub fn new(asker: &'a dyn Ask) -> Timed<'a> {
        Timed { asker, spent: Cell::new(Duration::ZERO) }
    }

    fn timing<T>(&self, ask: impl FnOnce(&dyn Ask) -> T) -> T {
        let begun = Instant::now();
        let answer = ask(self.asker);
        self.spent.set(self.spent.get() + begun.elapsed());
        answer
    }
}

impl Ask for Timed<'_> {
    fn name(&self, side: Side, doubts: &mut Vec<NameDoubt>) -> Fact<HostName> {
        self.timing(|asker| asker.name(side, doubts))
    }

    fn user(&self, seconds: u32) -> Fact<UserName> {
        self.timing(|asker| asker.user(seconds))
    }

    fn in_netgroup(&self, group: &[u8], host: &[u8]) -> Membership {
        self.timing(|asker| asker.in_netgroup(group, host))
    }

    fn word_list(&self, path: &[u8], sought: &dyn Sought, visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
        self.asker.word_list(path, sought, visit)
    }

    fn identity(&self, user: Option<&[u8]>, group: Option<&[u8]>) -> Result<Identity, NoSuch> {
        self.timing(|asker| asker.identity(user, group))
    }

    fn interface_exists(&self, name: &[u8]) -> bool {
        self.asker.interface_exists(name)
    }

    fn spent(&self) -> Duration {
        self.spent.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Stated;
    use std::net::SocketAddrV6;

    #[test]
    fn whoever_is_waited_for_is_timed() {
        struct Slow;
        impl Ask for Slow {
            fn name(&self, side: Side, doubts: &mut Vec<NameDoubt>) -> Fact<HostName> {
                std::thread::sleep(Duration::from_millis(20));
                Stated.name(side, doubts)
            }
            fn user(&self, seconds: u32) -> Fact<UserName> {
                std::thread::sleep(Duration::from_millis(20));
                Stated.user(seconds)
            }
            fn in_netgroup(&self, group: &[u8], host: &[u8]) -> Membership {
                Stated.in_netgroup(group, host)
            }
            fn word_list(
                &self,
                path: &[u8],
                sought: &dyn Sought,
                visit: &mut dyn FnMut(&[u8]) -> bool,
            ) -> ListEnd {
                Stated.word_list(path, sought, visit)
            }
            fn identity(&self, user: Option<&[u8]>, group: Option<&[u8]>) -> Result<Identity, NoSuch> {
                Stated.identity(user, group)
            }
            fn interface_exists(&self, name: &[u8]) -> bool {
                Stated.interface_exists(name)
            }
        }
        let timed = Timed::new(&Slow);
        assert_eq!(timed.spent(), Duration::ZERO);
        timed.name(Side::Client, &mut Vec::new());
        timed.user(1);
        assert!(timed.spent() >= Duration::from_millis(40), "{:?}", timed.spent());
        assert_eq!(Slow.spent(), Duration::ZERO, "nobody measures");
    }

    #[test]
    fn a_link_local_address_is_the_same_on_its_own_link_only() {
        let on =
            |scope| SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().expect("an address"), 0, 0, scope));
        assert!(is_same(on(2), on(2)) && !is_same(on(2), on(3)) && !is_same(on(2), on(0)));
        assert!(is_same(SocketAddr::from(([1, 2, 3, 4], 5)), SocketAddr::from(([1, 2, 3, 4], 6))));
    }
}
