//! Those who call: so many connections, so many at a time, each read to its end.
#![forbid(unsafe_code)]

use crate::lab::launch::connect_from;
use crate::table::median;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What the server says.
const GREETING: &[u8] = b"hello\n";
/// Whoever is silent for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Visits {
    /// From the first connection to the last end, divided by their number.
    pub each_us: f64,
    /// How long one took, from its beginning to its end: the median.
    pub typical_us: f64,
    /// How many were greeted.
    pub served: usize,
}

pub fn visit(to: SocketAddr, from: Ipv4Addr, count: usize, at_once: usize) -> Visits {
    let begun = AtomicUsize::new(0);
    let caller = || {
        let mut seen = Vec::new();
        while begun.fetch_add(1, Ordering::Relaxed) < count {
            seen.push(one(to, from));
        }
        seen
    };
    let start = Instant::now();
    let seen: Vec<_> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..at_once).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let each_us = micros(start.elapsed()) / count as f64;
    let served = seen.iter().filter(|(_, greeted)| *greeted).count();
    let typical_us = median(seen.into_iter().map(|(took, _)| micros(took)).collect());
    Visits { each_us, typical_us, served }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// One call: how long it took, and whether there was a greeting.
fn one(to: SocketAddr, from: Ipv4Addr) -> (Duration, bool) {
    let start = Instant::now();
    let mut connection = connect_from(from.into(), to).expect("somebody listens");
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = Vec::new();
    match connection.read_to_end(&mut heard) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("no end: {error}"),
        _ => {}
    }
    drop(connection);
    (start.elapsed(), heard == GREETING)
}
