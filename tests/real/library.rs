//! Do Debian's own programs work with our libwrap.so.0 in the place of theirs?
//!
//! Nobody compiled these programs for us: sshd, vsftpd, stunnel, rpcbind, socat, sslh, inetd, in.tftpd
//! and the tools of the package tcpd, as they come. Each is asked by a client that the rules allow and by
//! one that they refuse, and what it logs under its own name and facility is part of the answer. Each
//! test makes sure that the library which the program has mapped is the one under test (`lab::library`).

mod datagrams;
mod ftp;
mod lookups;
mod multiplexer;
mod portmapper;
mod recorded;
mod relay;
mod secure_shell;
mod superserver;
mod tls;
mod tools;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use crate::lab::Line;
use crate::lab::launch::{connect_from, read_to_the_end};

/// Connects, says nothing, and listens until the other side ends.
fn knock(from: &str, to: &str) -> String {
    let client = connect_from(from.parse().unwrap(), to.parse().unwrap()).unwrap();
    String::from_utf8_lossy(&read_to_the_end(client)).into_owned()
}

/// Connects, says something, and waits for so many bytes of an answer.
fn exchange(from: &str, to: SocketAddr, words: &[u8], least: usize) -> Vec<u8> {
    let mut client = connect_from(from.parse().unwrap(), to).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(words).unwrap();
    let mut answer = vec![0; least];
    client.read_exact(&mut answer).unwrap();
    answer
}

/// What was said under this name, by words of the library or of the program that speak of a verdict.
fn of_the_verdict<'a>(tag: &str, log: &'a [Line]) -> Vec<(u32, &'a str)> {
    let openings = ["refused ", "connection refused ", "twist ", "aclexec ", "warning: ", "error: "];
    let lines = log.iter().filter(|line| line.tag == tag);
    let lines = lines.filter(|line| openings.iter().any(|opening| line.message.starts_with(opening)));
    lines.map(|line| (line.priority, line.message.as_str())).collect()
}
