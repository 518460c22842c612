//! Who is calling whom: the facts of one connection.
//!
//! A fact is asked for late, asked once and remembered. Not knowing is an answer (`Unknown`), and a
//! name that does not agree with its address is one, too (`Paranoid`); "not asked yet" is no value but
//! an empty cell inside [`Request`], so that nothing can match on it by mistake.
//!
//! Who answers is behind the trait [`Ask`]: the net (`lookup::Live`), or what somebody stated
//! ([`Stated`]). Doubts that come up while a fact is looked up are kept in the request until somebody
//! who knows the rule that asked takes them away ([`Request::take_doubts`]).

#![forbid(unsafe_code)]

use crate::error::NameDoubt;
use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::time::Duration;

/// Longest name the reference keeps: its fields have 128 bytes with the closing NUL.
pub const NAME_MAX: usize = 127;

/// An answer about the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    Known(T),
    Unknown,
    /// There is a name, and it does not agree with the address (name-spoof check).
    Paranoid,
}

impl<T: AsRef<[u8]>> Fact<T> {
    /// The text that patterns and expansions see: the value, `unknown` or `paranoid`.
    pub fn text(&self) -> &[u8] {
        match self {
            Fact::Known(value) => value.as_ref(),
            Fact::Unknown => b"unknown",
            Fact::Paranoid => b"paranoid",
        }
    }

    /// The value. One that reads `unknown` is as good as none: nobody could tell the difference.
    pub fn known(&self) -> Option<&T> {
        match self {
            Fact::Known(value) if !value.as_ref().eq_ignore_ascii_case(b"unknown") => Some(value),
            _ => None,
        }
    }
}

impl Fact<HostName> {
    /// A name that may stand for the host: neither `unknown` nor `paranoid`, in any case of letters.
    pub fn good(&self) -> Option<&HostName> {
        self.known().filter(|name| !name.as_ref().eq_ignore_ascii_case(b"paranoid"))
    }
}

/// A name as bytes, at most [`NAME_MAX`] of them.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(Vec<u8>);

        impl $name {
            /// Takes the text as somebody states it, cut as the reference cuts it.
            pub fn stated(text: &[u8]) -> $name {
                $name(text.get(..NAME_MAX).unwrap_or(text).to_vec())
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
    };
}

name_type!(
    /// The name of the service as rules know it: the last component of the server's path.
    DaemonName
);
name_type!(
    /// A user name as an ident server (RFC 1413) gave it. Its bytes are the client's choice.
    UserName
);
name_type!(
    /// A host name. From DNS only through [`HostName::from_dns`].
    HostName
);

impl HostName {
    /// A name as the resolver gave it, or none where it is no host name: letters, digits, dot, hyphen
    /// and underscore, no label empty or beginning with a hyphen, at most 127 bytes. Anything else is
    /// a forged name (RFC 1123 2.1, with the underscore that the field uses).
    pub fn from_dns(text: &[u8]) -> Option<HostName> {
        let label = |l: &[u8]| {
            !l.is_empty()
                && !l.starts_with(b"-")
                && l.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let fits = text.len() <= NAME_MAX && text.split(|&b| b == b'.').all(label);
        fits.then(|| HostName(text.to_vec()))
    }
}

/// How the connection came: only a stream has a user to ask for, only a datagram must be drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Stream,
    Datagram,
    /// A Unix-domain socket: both ends are `localhost`.
    Local,
}

/// One end of the connection.
#[derive(Debug)]
pub struct Endpoint {
    /// The address as text, as the log shows it; `unknown` where there is none.
    pub address: Fact<Vec<u8>>,
    pub port: Option<u16>,
    name: OnceCell<Fact<HostName>>,
}

impl Endpoint {
    pub fn new(address: Fact<Vec<u8>>, port: Option<u16>) -> Endpoint {
        Endpoint { address, port, name: OnceCell::new() }
    }

    pub fn of_ip(ip: IpAddr, port: u16) -> Endpoint {
        Endpoint::new(Fact::Known(ip.to_string().into_bytes()), Some(port))
    }

    /// Nothing is known about this end.
    pub fn unknown() -> Endpoint {
        Endpoint::new(Fact::Unknown, None)
    }

    /// States the name, so that nobody will ask for it.
    pub fn named(self, name: Fact<HostName>) -> Endpoint {
        Endpoint { name: OnceCell::from(name), ..self }
    }
}

/// The fact behind a stated text: `unknown` and `paranoid` are what they say. Other cases of these words
/// are kept as they are written, and are no good names either ([`Fact::good`]).
pub fn stated_name(text: Option<&[u8]>) -> Fact<HostName> {
    match text {
        None | Some(b"" | b"unknown") => Fact::Unknown,
        Some(b"paranoid") => Fact::Paranoid,
        Some(t) => Fact::Known(HostName::stated(t)),
    }
}

/// The same for a user: the word `unknown` is none.
pub fn stated_user(name: &[u8]) -> Fact<UserName> {
    match name {
        b"" | b"unknown" => Fact::Unknown,
        name => Fact::Known(UserName::stated(name)),
    }
}

/// The identity that `user` and `group` options ask for, resolved. `groups` are the supplementary
/// groups; `user` is for messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub user: Vec<u8>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub groups: Vec<u32>,
}

/// How a walk over a word list ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListEnd {
    /// Read to its end, or stopped by the visitor.
    Read,
    /// There is no such file: it holds nobody.
    Missing,
    /// It is there and cannot be used: the reason.
    Trouble(String),
}

/// Whether a netgroup holds a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    Yes,
    No,
    /// No answer within the budget: the milliseconds spent.
    TooSlow(u64),
}

/// Why an identity cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSuch {
    User,
    Group,
}

/// Who is looked for in a table or a word list: what an index may know to leave out what cannot matter.
/// Answers from what is known already; nothing is asked of the world.
pub trait Sought {
    /// The address of the end in question, as text.
    fn address(&self) -> &[u8];
    /// Its name, if somebody has asked for it already.
    fn name(&self) -> Option<&[u8]>;
    /// Whether a rule with this daemon list may be for the request. Only lists that can be answered
    /// without asking are shown.
    fn may_serve(&self, daemons: &[u8]) -> bool;
}

/// Whoever answers questions about the world. Every method may take time; none may decide.
pub trait Ask {
    /// The name of an end, checked against its address. Doubts go to `doubts`, in order.
    fn name(&self, side: Side, doubts: &mut Vec<NameDoubt>) -> Fact<HostName>;
    /// The user at the client's end, by ident (RFC 1413), within `seconds`.
    fn user(&self, seconds: u32) -> Fact<UserName>;
    /// innetgr(3) for a host name.
    fn in_netgroup(&self, group: &[u8], host: &[u8]) -> Membership;
    /// Shows the white-space separated words of a pattern file to `visit`, in order, until that returns
    /// false. Words that cannot concern the one who is looked for may be left out.
    fn word_list(&self, path: &[u8], sought: &dyn Sought, visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd;
    /// The ids behind `user NAME[.GROUP]` or `group GROUP`.
    fn identity(&self, user: Option<&[u8]>, group: Option<&[u8]>) -> Result<Identity, NoSuch>;
    /// Whether there is a network interface of this name (scope of a link-local address).
    fn interface_exists(&self, name: &[u8]) -> bool;
    /// How long the answers took, if anybody measures it.
    fn spent(&self) -> Duration {
        Duration::ZERO
    }
}

/// Which end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    Client,
    Server,
}

/// One connection: what is known about it, and whom to ask for the rest.
pub struct Request<'a> {
    pub daemon: DaemonName,
    pub pid: u32,
    pub client: Endpoint,
    pub server: Endpoint,
    pub transport: Transport,
    /// Seconds that an ident lookup may take; the `rfc931` option changes it.
    pub ident_seconds: Cell<u32>,
    user: OnceCell<Fact<UserName>>,
    doubts: RefCell<Vec<NameDoubt>>,
    asker: &'a dyn Ask,
}

/// Ident timeout where no option sets another, seconds (Debian's build constant).
pub const IDENT_SECONDS: u32 = 10;

impl<'a> Request<'a> {
    pub fn new(
        daemon: DaemonName,
        pid: u32,
        transport: Transport,
        (client, server): (Endpoint, Endpoint),
        asker: &'a dyn Ask,
    ) -> Request<'a> {
        Request {
            daemon,
            pid,
            client,
            server,
            transport,
            ident_seconds: Cell::new(IDENT_SECONDS),
            user: OnceCell::new(),
            doubts: RefCell::new(Vec::new()),
            asker,
        }
    }

    /// States the user, so that nobody will ask for it.
    pub fn by_user(self, user: Fact<UserName>) -> Request<'a> {
        Request { user: OnceCell::from(user), ..self }
    }

    pub fn asker(&self) -> &'a dyn Ask {
        self.asker
    }

    pub fn end(&self, side: Side) -> &Endpoint {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// The checked name of an end; looked up on the first call.
    pub fn name(&self, side: Side) -> &Fact<HostName> {
        self.end(side).name.get_or_init(|| self.asker.name(side, &mut self.doubts.borrow_mut()))
    }

    /// The name of an end if somebody has already asked for it.
    pub fn name_if_asked(&self, side: Side) -> Option<&Fact<HostName>> {
        self.end(side).name.get()
    }

    /// The user at the other end; asked on the first call. Only a stream has one.
    pub fn user(&self) -> &Fact<UserName> {
        self.user.get_or_init(|| match self.transport {
            Transport::Stream => self.asker.user(self.ident_seconds.get()),
            Transport::Datagram | Transport::Local => Fact::Unknown,
        })
    }

    /// The user if somebody has already asked for it.
    pub fn user_if_asked(&self) -> Option<&Fact<UserName>> {
        self.user.get()
    }

    /// The doubts that came up since the last call, in order.
    pub fn take_doubts(&self) -> Vec<NameDoubt> {
        self.take_doubts_behind(0)
    }

    /// Those of them that came up when there were so many already.
    pub fn take_doubts_behind(&self, count: usize) -> Vec<NameDoubt> {
        let mut doubts = self.doubts.borrow_mut();
        let count = count.min(doubts.len());
        doubts.split_off(count)
    }

    /// How many doubts wait to be taken.
    pub fn doubts_waiting(&self) -> usize {
        self.doubts.borrow().len()
    }
}

/// An asker that knows nothing but what is stated elsewhere: every name and user is unknown, no
/// file, netgroup or account exists.
pub struct Stated;

impl Ask for Stated {
    fn name(&self, _: Side, _: &mut Vec<NameDoubt>) -> Fact<HostName> {
        Fact::Unknown
    }
    fn user(&self, _: u32) -> Fact<UserName> {
        Fact::Unknown
    }
    fn in_netgroup(&self, _: &[u8], _: &[u8]) -> Membership {
        Membership::No
    }
    fn word_list(&self, _: &[u8], _: &dyn Sought, _: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
        ListEnd::Missing
    }
    fn identity(&self, user: Option<&[u8]>, _: Option<&[u8]>) -> Result<Identity, NoSuch> {
        Err(if user.is_some() { NoSuch::User } else { NoSuch::Group })
    }
    fn interface_exists(&self, _: &[u8]) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_names_are_host_names_or_nothing() {
        for good in ["a", "host.example.com", "_sip._tcp.example.com", "10.9.8.7", "a-b.c"] {
            assert!(HostName::from_dns(good.as_bytes()).is_some(), "{good}");
        }
        let long = format!("{}.com", "a".repeat(124));
        for bad in
            ["", ".", "a..b", "a.", "-oQ/tmp", "a.-b", "$(id)", "a b", "a\nb", "a)b", "caf\u{e9}", &long]
        {
            assert!(HostName::from_dns(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_fact_is_asked_once() {
        struct Counting(Cell<u32>);
        impl Ask for Counting {
            fn name(&self, _: Side, doubts: &mut Vec<NameDoubt>) -> Fact<HostName> {
                self.0.set(self.0.get() + 1);
                doubts.push(NameDoubt::Numeric { name: b"1.2.3.4".to_vec() });
                Fact::Paranoid
            }
            fn user(&self, _: u32) -> Fact<UserName> {
                self.0.set(self.0.get() + 100);
                Fact::Unknown
            }
            fn in_netgroup(&self, _: &[u8], _: &[u8]) -> Membership {
                Membership::No
            }
            fn word_list(&self, _: &[u8], _: &dyn Sought, _: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
                ListEnd::Missing
            }
            fn identity(&self, _: Option<&[u8]>, _: Option<&[u8]>) -> Result<Identity, NoSuch> {
                Err(NoSuch::User)
            }
            fn interface_exists(&self, _: &[u8]) -> bool {
                false
            }
        }
        let asker = Counting(Cell::new(0));
        let ends = || (Endpoint::unknown(), Endpoint::unknown());
        let request = Request::new(DaemonName::stated(b"d"), 1, Transport::Stream, ends(), &asker);
        assert!(request.name_if_asked(Side::Client).is_none());
        assert_eq!(request.name(Side::Client), &Fact::Paranoid);
        assert_eq!(request.name(Side::Client), &Fact::Paranoid);
        assert_eq!((asker.0.get(), request.take_doubts().len(), request.take_doubts().len()), (1, 1, 0));
        request.user();
        request.user();
        assert_eq!(asker.0.get(), 101);
        let datagram = Request::new(DaemonName::stated(b"d"), 1, Transport::Datagram, ends(), &asker);
        datagram.user();
        assert_eq!(asker.0.get(), 101, "a datagram has no user to ask for");
    }
}
