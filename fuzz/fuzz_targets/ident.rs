//! What an ident server answers, in whatever pieces it arrives: reading ends, as a whole line that is not
//! too long or as none, the same for all pieces; a user is believed only for the two ports that were asked
//! about, and an independent reading of RFC 1413 finds the same one.
//!
//! The first byte of the input says whether the server closes the connection (1) and whether the right
//! ports go before the rest (2). Then the answer; a byte 0x1e is no part of it, a new piece begins there.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;
use wrap::facts::{Fact, NAME_MAX, UserName};
use wrap::lookup::user_in;
use wrap::rules::grammar;
use wrap::sys::socket::{IDENT_REPLY_MAX, ident_line};

/// The ports of the connection that is asked about.
const PORTS: (u16, u16) = (6193, 23);
/// As many as the buffer of a socket holds for sure, whatever their size.
const PIECES_MAX: usize = 100;

/// What the wrapper reads of an answer in these pieces. Messages of a socket with bounds arrive as they
/// were sent, and nobody has to wait for them.
fn read(pieces: &[&[u8]], closes: bool) -> Option<Vec<u8>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (server, client) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).expect("two sockets");
    for piece in pieces {
        assert_eq!(send(server.as_raw_fd(), piece, MsgFlags::MSG_NOSIGNAL), Ok(piece.len()));
    }
    let server = (!closes).then_some(server);
    let line = ident_line(client.as_fd(), Instant::now());
    drop(server);
    line
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

/// A decimal number below 65536, any zeros before it.
fn port(text: &[u8]) -> Option<u16> {
    let text = trimmed(text);
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u16, |number, &byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

/// The fields between the colons, as the RFC has them.
fn expected(line: &[u8]) -> Option<(u16, u16, &[u8])> {
    let mut fields = line.splitn(4, |&byte| byte == b':');
    let (ports, kind, system, user) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let comma = ports.iter().position(|&byte| byte == b',')?;
    let (first, second) = (port(&ports[..comma])?, port(&ports[comma + 1..])?);
    if trimmed(kind) != b"USERID" || system.is_empty() {
        return None;
    }
    let user = user.split(|&byte| is_blank(byte)).find(|word| !word.is_empty())?;
    Some((first, second, &user[..user.len().min(255)]))
}

fuzz_target!(|input: &[u8]| {
    let Some((&how, rest)) = input.split_first() else { return };
    let (closes, has_ports) = (how & 1 == 1, how & 2 == 2);
    let head = format!("{} , {}", PORTS.0, PORTS.1);
    let mut pieces: Vec<&[u8]> = if has_ports { vec![head.as_bytes()] } else { Vec::new() };
    pieces.extend(rest.split(|&byte| byte == 0x1e).filter(|piece| !piece.is_empty()).take(PIECES_MAX));
    pieces = pieces.iter().flat_map(|piece| piece.chunks(IDENT_REPLY_MAX)).collect();
    let whole = pieces.concat();

    let line = read(&pieces, closes);
    let end = whole.iter().position(|&byte| byte == b'\n').filter(|&end| end <= IDENT_REPLY_MAX);
    assert_eq!(
        line.as_deref(),
        end.map(|end| &whole[..end]),
        "{:?}",
        pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>()
    );

    for text in [line.as_deref().unwrap_or_default(), rest] {
        let reply = grammar::ident_reply(text);
        assert_eq!(reply, expected(text));
        let believed = match reply {
            Some((first, second, user)) if (first, second) == PORTS => Some(user),
            _ => None,
        };
        let believed = believed.filter(|user| !user.eq_ignore_ascii_case(b"unknown"));
        let user = user_in(text, PORTS);
        assert_eq!(user, believed.map_or(Fact::Unknown, |user| Fact::Known(UserName::stated(user))));
        if let Fact::Known(user) = user {
            let user = user.as_ref();
            assert!(!user.is_empty() && user.len() <= NAME_MAX && !user.iter().copied().any(is_blank));
        }
    }
});
