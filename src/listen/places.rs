//! Who holds how many of the places that the listener has?
//!
//! Knows children and clients, no socket and no clock: the time is handed in. A client is an IPv4
//! address, an IPv6 network of 64 bits (one customer, one machine: whoever has one address of it has
//! all), or a user of this machine at a Unix-domain socket. Memory is bounded: a client without a
//! connection is forgotten, and of lines in the log at most `SAID_MAX` are remembered.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// How long the log hears no more of a client that comes too often.
const SILENCE: Duration = Duration::from_secs(60);
/// Clients that can be remembered for that; while there are as many the log hears of no other.
const SAID_MAX: usize = 1024;

/// How many may be served at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub connections: usize,
    /// None: a client may have all places.
    pub per_client: Option<usize>,
}

/// Who counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    Four(Ipv4Addr),
    /// The first 64 bits, and the link that a link-local address is on.
    Six(u64, u32),
    /// User id of the process that called a Unix-domain socket.
    User(u32),
}

impl Client {
    /// The client behind an address; IPv4 in IPv6 clothes is IPv4.
    pub fn of(address: SocketAddr) -> Client {
        match address {
            SocketAddr::V4(four) => Client::Four(*four.ip()),
            SocketAddr::V6(six) => match six.ip().to_ipv4_mapped() {
                Some(four) => Client::Four(four),
                None => {
                    let [a, b, c, d, e, f, g, h, ..] = six.ip().octets();
                    Client::Six(u64::from_be_bytes([a, b, c, d, e, f, g, h]), six.scope_id())
                }
            },
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Client::Four(address) => write!(f, "{}", IpAddr::V4(*address)),
            Client::Six(network, _) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(*network) << 64)),
            Client::User(uid) => write!(f, "user {uid}"),
        }
    }
}

/// The children and on whose behalf they run.
#[derive(Debug)]
pub struct Places {
    limits: Limits,
    children: HashMap<i32, Option<Client>>,
    /// Clients with at least one place. Empty where there is no limit on a client.
    held: HashMap<Client, usize>,
    said: HashMap<Client, Instant>,
}

impl Places {
    pub fn new(limits: Limits) -> Places {
        Places { limits, children: HashMap::new(), held: HashMap::new(), said: HashMap::new() }
    }

    /// Whether somebody, whoever it is, may be served.
    pub fn is_room(&self) -> bool {
        self.children.len() < self.limits.connections
    }

    pub fn taken(&self) -> usize {
        self.children.len()
    }

    /// Whether clients are told apart at all.
    pub fn knows_clients(&self) -> bool {
        self.limits.per_client.is_some()
    }

    /// How many places a client has, if these are as many as it may have.
    pub fn too_many_of(&self, client: Client) -> Option<usize> {
        let held = self.held.get(&client).copied().unwrap_or(0);
        self.limits.per_client.filter(|&most| held >= most).map(|_| held)
    }

    /// A child serves a client, or one that is not told apart.
    pub fn take(&mut self, child: i32, client: Option<Client>) {
        let client = client.filter(|_| self.knows_clients());
        self.children.insert(child, client);
        if let Some(client) = client {
            *self.held.entry(client).or_insert(0) += 1;
        }
    }

    /// A child has ended. Others' children are nobody here.
    pub fn leave(&mut self, child: i32) {
        let Some(Some(client)) = self.children.remove(&child) else { return };
        if let Some(held) = self.held.get_mut(&client) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.held.remove(&client);
            }
        }
    }

    /// Whether the log is to hear of a client that came too often: once, then silence for a minute.
    pub fn is_news(&mut self, client: Client, now: Instant) -> bool {
        let is_fresh = |said: Instant| now.saturating_duration_since(said) < SILENCE;
        if self.said.get(&client).is_some_and(|&said| is_fresh(said)) {
            return false;
        }
        self.said.retain(|_, said| is_fresh(*said));
        if self.said.len() >= SAID_MAX {
            return false;
        }
        self.said.insert(client, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Client {
        Client::of(SocketAddr::new(text.parse().expect("an address"), 50000))
    }

    #[test]
    fn who_counts_as_one() {
        assert_eq!(client("::ffff:192.0.2.7"), client("192.0.2.7"));
        assert_ne!(client("192.0.2.7"), client("192.0.2.8"));
        assert_eq!(client("2001:db8:0:1::7"), client("2001:db8:0:1:ffff::8"));
        assert_ne!(client("2001:db8:0:1::7"), client("2001:db8:0:2::7"));
        assert_ne!(client("::1"), client("127.0.0.1"));
        let shown = ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8:0:1::7"].map(|text| client(text).to_string());
        assert_eq!(shown, ["192.0.2.7", "192.0.2.7", "2001:db8:0:1::/64"]);
        assert_eq!(Client::User(1000).to_string(), "user 1000");
    }

    #[test]
    fn places_come_back() {
        let mut places = Places::new(Limits { connections: 3, per_client: Some(2) });
        let (one, other) = (client("192.0.2.7"), client("192.0.2.8"));
        places.take(10, Some(one));
        assert_eq!((places.too_many_of(one), places.is_room()), (None, true));
        places.take(11, Some(one));
        assert_eq!((places.too_many_of(one), places.too_many_of(other)), (Some(2), None));
        places.take(12, Some(other));
        assert!(!places.is_room());
        places.leave(99);
        assert_eq!(places.taken(), 3, "somebody else's child");
        places.leave(10);
        assert_eq!((places.too_many_of(one), places.is_room()), (None, true));
        for child in [11, 12, 12] {
            places.leave(child);
        }
        assert!(places.held.is_empty() && places.children.is_empty(), "nobody is remembered");
    }

    #[test]
    fn without_a_limit_clients_are_not_counted() {
        let mut places = Places::new(Limits { connections: 1000, per_client: None });
        for child in 0..100 {
            places.take(child, Some(client("192.0.2.7")));
        }
        assert_eq!((places.too_many_of(client("192.0.2.7")), places.held.len()), (None, 0));
    }

    #[test]
    fn the_log_hears_of_a_client_once_a_minute() {
        let mut places = Places::new(Limits { connections: 9, per_client: Some(1) });
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        assert!(places.is_news(client("192.0.2.7"), begin));
        assert!(places.is_news(client("192.0.2.8"), begin + second));
        assert!(!places.is_news(client("192.0.2.7"), begin + 59 * second));
        assert!(places.is_news(client("192.0.2.7"), begin + 60 * second));
        assert!(!places.is_news(client("192.0.2.7"), begin + 61 * second));
    }

    #[test]
    fn a_crowd_fills_neither_memory_nor_log() {
        let mut places = Places::new(Limits { connections: 9, per_client: Some(1) });
        let begin = Instant::now();
        let said = |places: &mut Places, now| {
            (0..10_000_u32).filter(|&n| places.is_news(Client::Four(Ipv4Addr::from_bits(n)), now)).count()
        };
        assert_eq!(said(&mut places, begin), SAID_MAX);
        assert_eq!((said(&mut places, begin + SILENCE / 2), places.said.len()), (0, SAID_MAX));
        assert_eq!(said(&mut places, begin + SILENCE), SAID_MAX, "after a minute they are forgotten");
    }
}
