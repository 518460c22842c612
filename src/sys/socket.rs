//! Sockets: who is at the other end of a descriptor, IP options, draining, ident's one question, and
//! reading and writing with a deadline.
//!
//! Nothing here blocks without a deadline, and nothing raises SIGPIPE.

use super::signals;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind,
    connect, getpeername, getsockname, getsockopt, listen, recv, recvmsg, send, setsockopt, socket, sockopt,
};
use std::ffi::{CStr, c_char, c_void};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// One end of a connection.
#[derive(Clone, Debug)]
pub enum End {
    /// The address, and its text as getnameinfo(3) prints it (with the scope of a link-local one).
    Inet(SocketAddr, String),
    Local,
    Unknown,
}

/// What is known of a descriptor without asking anybody.
#[derive(Debug)]
pub struct Ends {
    pub client: End,
    pub server: End,
    pub datagram: bool,
}

/// Both ends. For an unconnected datagram socket the client is the sender of the first datagram,
/// which stays in the queue.
pub fn ends(fd: BorrowedFd<'_>) -> io::Result<Ends> {
    let raw = fd.as_raw_fd();
    let (client, datagram) = match getpeername::<SockaddrStorage>(raw) {
        Ok(address) => (end(&address), getsockopt(&fd, sockopt::SockType)? == SockType::Datagram),
        Err(Errno::ENOTCONN) if getsockopt(&fd, sockopt::SockType)? == SockType::Datagram => {
            let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
            let mut byte = [0; 1];
            let mut slices = [io::IoSliceMut::new(&mut byte)];
            let sender = recvmsg::<SockaddrStorage>(raw, &mut slices, None, flags)?.address;
            (sender.as_ref().map_or(End::Unknown, end), true)
        }
        Err(error) => return Err(error.into()),
    };
    let server = getsockname::<SockaddrStorage>(raw).map_or(End::Unknown, |address| end(&address));
    Ok(Ends { client, server, datagram })
}

fn end(address: &SockaddrStorage) -> End {
    if let Some(four) = address.as_sockaddr_in() {
        let address = SocketAddr::V4(std::net::SocketAddrV4::from(*four));
        return End::Inet(address, address_text(address));
    }
    if let Some(six) = address.as_sockaddr_in6() {
        let address = SocketAddr::V6(std::net::SocketAddrV6::from(*six));
        return End::Inet(address, address_text(address));
    }
    match address.family() {
        Some(AddressFamily::Unix) => End::Local,
        _ => End::Unknown,
    }
}

/// What a C program has as a `struct sockaddr`; as many bytes as its family says are read.
///
/// # Safety
/// `address` is null or points to such a struct, whole for its family.
pub unsafe fn end_at(address: *const c_void) -> End {
    // SAFETY: as promised; every one of them begins with the family.
    let family = match unsafe { address.cast::<libc::sa_family_t>().as_ref() } {
        Some(family) => i32::from(*family),
        None => return End::Unknown,
    };
    let length = match family {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        libc::AF_UNIX => return End::Local,
        _ => return End::Unknown,
    };
    // SAFETY: so many bytes are there, as promised.
    let whole = unsafe {
        SockaddrStorage::from_raw(address.cast(), Some(libc::socklen_t::try_from(length).unwrap_or(0)))
    };
    whole.as_ref().map_or(End::Unknown, end)
}

/// Longest address that [`for_c`] gives: one of IPv6, bytes.
pub const FOR_C: usize = size_of::<libc::sockaddr_in6>();

/// An end as a C program wants it: the bytes of a `struct sockaddr`, of which only the family counts for
/// a local one.
pub fn for_c(end: &End) -> Option<[u8; FOR_C]> {
    let mut bytes = [0; FOR_C];
    let address = match end {
        End::Inet(address, _) => SockaddrStorage::from(*address),
        End::Local => {
            let family = libc::sa_family_t::try_from(libc::AF_UNIX).unwrap_or(0).to_ne_bytes();
            bytes.iter_mut().zip(family).for_each(|(byte, of)| *byte = of);
            return Some(bytes);
        }
        End::Unknown => return None,
    };
    let length = usize::try_from(address.len()).unwrap_or(0).min(FOR_C);
    // SAFETY: the address has so many bytes, all of them set; they are copied.
    let from = unsafe { std::slice::from_raw_parts(address.as_ptr().cast::<u8>(), length) };
    bytes.iter_mut().zip(from).for_each(|(byte, of)| *byte = *of);
    Some(bytes)
}

/// An address as getnameinfo(3) prints it. The scope is the name of an interface where it means one, else
/// its number: that is never nothing, for rules could not read the address then.
pub fn address_text(address: SocketAddr) -> String {
    let SocketAddr::V6(six) = address else { return address.ip().to_string() };
    let text = text_of(six.ip());
    let scope = match six.scope_id() {
        0 => return text,
        scope => scope,
    };
    let means_interface = six.ip().is_unicast_link_local() || is_link_local_multicast(six.ip());
    let name = means_interface.then(|| interface_name(scope)).flatten();
    format!("{text}%{}", name.unwrap_or_else(|| scope.to_string()))
}

fn is_link_local_multicast(ip: &Ipv6Addr) -> bool {
    let [first, ..] = ip.segments();
    first & 0xff0f == 0xff02
}

/// As inet_ntop(3) prints it: mapped IPv4 is `::ffff:192.0.2.7`, and what is compatible with IPv4
/// (RFC 4291 2.5.5.1) is `::192.0.2.7`.
fn text_of(ip: &Ipv6Addr) -> String {
    match (ip.segments(), ip.octets()) {
        ([0, 0, 0, 0, 0, 0, high, _], [.., a, b, c, d]) if high > 0 => format!("::{a}.{b}.{c}.{d}"),
        _ => ip.to_string(),
    }
}

/// The name of an interface that is there. (nix 0.31 gives an empty one for those that are not.)
fn interface_name(index: u32) -> Option<String> {
    let mut name: [c_char; libc::IF_NAMESIZE] = [0; libc::IF_NAMESIZE];
    // SAFETY: the name has the size that if_indextoname(3) asks for.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    // SAFETY: it ends in a NUL where one was found.
    (!found.is_null()).then(|| unsafe { CStr::from_ptr(found) }.to_string_lossy().into_owned())
}

/// An IPv4 address in IPv6 clothes, undressed.
pub fn unmapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(six) => match six.ip().to_ipv4_mapped() {
            Some(four) => SocketAddr::new(IpAddr::V4(four), six.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

/// Longest IP header options (RFC 791 3.1).
const IP_OPTIONS_MAX: usize = 40;

/// The IP options that came with the connection, in header order; empty where there are none or the
/// socket has no such thing.
pub fn ip_options(fd: BorrowedFd<'_>) -> Vec<u8> {
    let mut options = [0_u8; IP_OPTIONS_MAX];
    let mut length = libc::socklen_t::try_from(options.len()).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes to `options`, and the length it wrote to `length`.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_OPTIONS,
            options.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let length = if result == 0 { usize::try_from(length).unwrap_or(0) } else { 0 };
    options.get(..length).unwrap_or_default().to_vec()
}

/// Whether IP options say which way the packets go (RFC 791 3.1: loose and strict source routes),
/// looked at from the first byte on. Options that do not parse may hide one.
pub fn is_source_routed(options: &[u8]) -> bool {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE: u8 = 0x83;
    const STRICT: u8 = 0x89;
    let mut left = options;
    loop {
        match left {
            [] | [END, ..] => return false,
            [LOOSE | STRICT, ..] => return true,
            [NO_OPERATION, rest @ ..] => left = rest,
            [_, length, ..] if *length >= 2 && usize::from(*length) <= left.len() => {
                left = left.get(usize::from(*length)..).unwrap_or_default();
            }
            _ => return true,
        }
    }
}

/// Takes all IP options off the socket, so that no answer follows them.
pub fn clear_ip_options(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a null value of length 0 asks for no options; nothing is read through the pointer.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_IP, libc::IP_OPTIONS, std::ptr::null(), 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Shuts both directions.
pub fn shut(fd: BorrowedFd<'_>) {
    let _ = nix::sys::socket::shutdown(fd.as_raw_fd(), nix::sys::socket::Shutdown::Both);
}

/// Whether the descriptor is a datagram socket.
pub fn is_datagram(fd: BorrowedFd<'_>) -> bool {
    getsockopt(&fd, sockopt::SockType) == Ok(SockType::Datagram)
}

/// Takes exactly one datagram off the queue, so that inetd does not start us for it again.
pub fn drain(fd: BorrowedFd<'_>) {
    let _ = recv(fd.as_raw_fd(), &mut [0; 1], MsgFlags::MSG_DONTWAIT);
}

/// SO_LINGER: seconds, 0 turns it off.
pub fn linger(fd: BorrowedFd<'_>, seconds: i32) -> io::Result<()> {
    let value = libc::linger { l_onoff: i32::from(seconds > 0), l_linger: seconds };
    Ok(setsockopt(&fd, sockopt::Linger, &value)?)
}

pub fn keepalive(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(setsockopt(&fd, sockopt::KeepAlive, &true)?)
}

/// Whether the descriptor is a socket.
pub fn is_socket(fd: BorrowedFd<'_>) -> bool {
    getsockopt(&fd, sockopt::SockType).is_ok()
}

/// Writes all of `text` if the other side takes it before the deadline. Works on any descriptor; a
/// socket raises no SIGPIPE.
pub fn write_until(fd: BorrowedFd<'_>, mut text: &[u8], deadline: Instant) -> io::Result<()> {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    while !text.is_empty() {
        match send(fd.as_raw_fd(), text, flags) {
            Ok(sent) => text = text.get(sent..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if ready(fd, PollFlags::POLLOUT, deadline) => {}
            // A pipe that is ready takes this much without blocking (pipe(7)), unless somebody else has
            // filled it meanwhile.
            Err(Errno::ENOTSOCK)
                if ready_now(fd, PollFlags::POLLOUT) || ready(fd, PollFlags::POLLOUT, deadline) =>
            {
                let piece = text.get(..libc::PIPE_BUF).unwrap_or(text);
                // A file may not grow without end, either.
                let write = || signals::holding_back(Signal::SIGXFSZ, || nix::unistd::write(fd, piece));
                match signals::holding_back(Signal::SIGPIPE, write) {
                    Ok(sent) => text = text.get(sent..).unwrap_or_default(),
                    Err(Errno::EAGAIN | Errno::EINTR) if Instant::now() < deadline => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(Errno::EAGAIN | Errno::ENOTSOCK) => return Err(Errno::ETIMEDOUT.into()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads what is there, or waits for something until the deadline; 0 is the end. Works on any
/// descriptor. However much there is, nothing is read after the deadline.
pub fn read_until(fd: BorrowedFd<'_>, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
    while ready(fd, PollFlags::POLLIN, deadline) {
        match nix::unistd::read(fd, buffer) {
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            other => return Ok(other?),
        }
    }
    Err(Errno::ETIMEDOUT.into())
}

/// Whether the descriptor became ready before the deadline.
fn ready(fd: BorrowedFd<'_>, wanted: PollFlags, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, wanted)], timeout) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

fn ready_now(fd: BorrowedFd<'_>, wanted: PollFlags) -> bool {
    matches!(poll(&mut [PollFd::new(fd, wanted)], PollTimeout::ZERO), Ok(1..))
}

/// A TCP connection to an address, from any address of ours or from the given one. Does not block.
pub fn connect_until(to: SocketAddr, from: Option<SocketAddr>, deadline: Instant) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let connection = socket(family, SockType::Stream, flags, None)?;
    if let Some(from) = from {
        bind(connection.as_raw_fd(), &SockaddrStorage::from(from))?;
    }
    match connect(connection.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) => return Ok(connection),
        Err(Errno::EINPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    if !ready(connection.as_fd(), PollFlags::POLLOUT, deadline) {
        return Err(Errno::ETIMEDOUT.into());
    }
    match getsockopt(&connection, sockopt::SocketError)? {
        0 => Ok(connection),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Longest answer of an ident server that is read, bytes (RFC 1413 7: 1000 characters).
pub const IDENT_REPLY_MAX: usize = 1024;
const IDENT_PORT: u16 = 113;

/// Asks the ident server at `client` about the connection, from the address that the client called
/// (RFC 1413 4). The first line of its answer, or None: no server, no whole line, no time left.
pub fn ident(client: SocketAddr, server: SocketAddr, deadline: Instant) -> Option<Vec<u8>> {
    let at = |mut address: SocketAddr, port| {
        address.set_port(port);
        address
    };
    let connection = connect_until(at(client, IDENT_PORT), Some(at(server, 0)), deadline).ok()?;
    let question = format!("{},{}\r\n", client.port(), server.port());
    write_until(connection.as_fd(), question.as_bytes(), deadline).ok()?;
    ident_line(connection.as_fd(), deadline)
}

/// The line that an ident server sends on a connection that does not block, without its end.
pub fn ident_line(connection: BorrowedFd<'_>, deadline: Instant) -> Option<Vec<u8>> {
    let mut reply = Vec::new();
    loop {
        let mut part = [0; IDENT_REPLY_MAX];
        match recv(connection.as_raw_fd(), &mut part, MsgFlags::empty()) {
            Ok(0) => return None,
            Ok(length) => reply.extend_from_slice(part.get(..length)?),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if ready(connection, PollFlags::POLLIN, deadline) => {}
            Err(_) => return None,
        }
        // A line that is too long is none, however its pieces come in.
        let end = reply.iter().take(IDENT_REPLY_MAX + 1).position(|&byte| byte == b'\n');
        if let Some(end) = end {
            reply.truncate(end);
            return Some(reply);
        }
        if reply.len() > IDENT_REPLY_MAX {
            return None;
        }
    }
}

/// A listening TCP socket.
pub fn listen_on(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&listener, sockopt::ReuseAddr, &true)?;
    bind(listener.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&listener, Backlog::MAXCONN)?;
    Ok(listener)
}

/// Makes a listener of a socket that somebody else opened, or says what it is instead. Whoever shares
/// it sees it not blocking from now on.
pub fn make_listener(fd: BorrowedFd<'_>) -> io::Result<()> {
    if getsockopt(&fd, sockopt::SockType)? != SockType::Stream {
        return Err(io::Error::other("not a stream socket"));
    }
    if !getsockopt(&fd, sockopt::AcceptConn)? {
        return Err(io::Error::other("not a listening socket (with Accept=yes it is a connection)"));
    }
    match getsockname::<SockaddrStorage>(fd.as_raw_fd()).map(|address| end(&address))? {
        End::Inet(..) | End::Local => {}
        End::Unknown => return Err(io::Error::other("neither an Internet nor a Unix-domain socket")),
    }
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Where a listener listens, for people: the address it got, too, where port 0 was asked for.
pub fn local_name(fd: BorrowedFd<'_>) -> String {
    let Ok(address) = getsockname::<SockaddrStorage>(fd.as_raw_fd()) else { return "unknown".to_owned() };
    if let End::Inet(address, _) = end(&address) {
        return address.to_string();
    }
    let unix = address.as_unix_addr();
    let path = unix.and_then(UnixAddr::path).map(|path| path.display().to_string());
    let name = || unix.and_then(UnixAddr::as_abstract).map(|name| format!("@{}", name.escape_ascii()));
    path.or_else(name).unwrap_or_else(|| "a Unix-domain socket without a name".to_owned())
}

/// The next connection of a listener, and who called; None if there is none after all.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<(OwnedFd, End)>> {
    // SAFETY: all zeros is a valid value of this plain struct.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
    let pointer = (&raw mut address).cast::<libc::sockaddr>();
    // SAFETY: the kernel writes at most `length` bytes to `address`, and the length it has to `length`.
    let raw = unsafe { libc::accept4(listener.as_raw_fd(), pointer, &raw mut length, libc::SOCK_CLOEXEC) };
    match Errno::result(raw) {
        Ok(raw) => {
            // SAFETY: accept4 returned a new descriptor that nobody else owns.
            let connection = unsafe { OwnedFd::from_raw_fd(raw) };
            // SAFETY: `address` is a whole struct, and the kernel filled `length` bytes of it.
            let caller = unsafe { SockaddrStorage::from_raw(pointer, Some(length)) };
            Ok(Some((connection, caller.as_ref().map_or(End::Unknown, end))))
        }
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED | Errno::EPROTO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether an error of [`accept`] says that nobody will ever come through this door again.
pub fn is_closed_for_good(cause: &io::Error) -> bool {
    let errors = [libc::EINVAL, libc::EBADF, libc::ENOTSOCK, libc::EOPNOTSUPP];
    cause.raw_os_error().is_some_and(|number| errors.contains(&number))
}

/// Whether whoever called has hung up so that not even its address is known any more.
pub fn is_gone(fd: BorrowedFd<'_>) -> bool {
    getpeername::<SockaddrStorage>(fd.as_raw_fd()) == Err(Errno::ENOTCONN)
}

/// The user that a process at the other end of a Unix-domain socket had when it called.
pub fn peer_user(fd: BorrowedFd<'_>) -> Option<u32> {
    getsockopt(&fd, sockopt::PeerCredentials).ok().map(|credentials| credentials.uid())
}

/// Waits until one of the descriptors can be read: which of them can.
pub fn readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut set: Vec<_> = fds.iter().map(|&fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    let timeout = timeout.map_or(PollTimeout::NONE, |t| PollTimeout::try_from(t).unwrap_or(PollTimeout::MAX));
    match poll(&mut set, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(set.iter().map(|fd| fd.any().unwrap_or(false)).collect()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn both_ends_of_a_stream() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (server, _) = listener.accept().expect("accepts");
        let ends = ends(server.as_fd()).expect("a socket");
        match (ends.client, ends.server) {
            (End::Inet(from, text), End::Inet(to, _)) => {
                assert_eq!((from, text.as_str()), (client.local_addr().expect("bound"), "127.0.0.1"));
                assert_eq!(to, listener.local_addr().expect("bound"));
            }
            other => panic!("{other:?}"),
        }
        assert!(!ends.datagram && ip_options(server.as_fd()).is_empty());
    }

    #[test]
    fn an_ident_line_is_too_long_in_one_piece_or_in_many() {
        use std::io::Write;
        for (length, is_read) in [(3, true), (IDENT_REPLY_MAX, true), (IDENT_REPLY_MAX + 1, false)] {
            for piece in [1, 700, 4096] {
                let (mut server, client) = std::os::unix::net::UnixStream::pair().expect("two sockets");
                client.set_nonblocking(true).expect("does not block");
                let line = vec![b'u'; length];
                let reader = std::thread::spawn(move || {
                    ident_line(client.as_fd(), Instant::now() + std::time::Duration::from_secs(10))
                });
                for piece in [line.as_slice(), b"\nmore"].concat().chunks(piece) {
                    // Whoever has read too much hangs up.
                    let _ = server.write_all(piece);
                }
                let read = reader.join().expect("reads");
                assert_eq!(read, is_read.then_some(line), "{length} bytes in pieces of {piece}");
            }
        }
    }

    #[test]
    fn source_routes_are_found_wherever_they_stand() {
        let route = [0x83, 7, 4, 127, 0, 0, 1];
        assert!(is_source_routed(&route));
        assert!(is_source_routed(&[&[1][..], &route].concat()));
        assert!(is_source_routed(&[&[7, 3, 4][..], &[0x89, 7, 4, 127, 0, 0, 1]].concat()));
        assert!(is_source_routed(&[7, 0, 0]) && is_source_routed(&[7]), "what does not parse is no proof");
        assert!(!is_source_routed(&[1, 1, 1, 1]) && !is_source_routed(&[]));
        assert!(!is_source_routed(&[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert!(!is_source_routed(&[0, 0x83]), "nothing follows the end of the list");
    }

    #[test]
    fn addresses_are_printed_as_getnameinfo_prints_them() {
        let loopback = interface_name(1).expect("the first interface");
        for (address, text) in [
            ("192.0.2.7:1", "192.0.2.7".to_owned()),
            ("[::1.2.3.4]:1", "::1.2.3.4".to_owned()),
            ("[::1]:1", "::1".to_owned()),
            ("[::ffff:192.0.2.7]:1", "::ffff:192.0.2.7".to_owned()),
            ("[2001:db8::1]:1", "2001:db8::1".to_owned()),
            ("[2001:db8::1%1]:1", "2001:db8::1%1".to_owned()),
            ("[fe80::1%1]:1", format!("fe80::1%{loopback}")),
            ("[ff02::1%1]:1", format!("ff02::1%{loopback}")),
            ("[ff01::1%1]:1", "ff01::1%1".to_owned()),
            ("[fe80::1%4000000]:1", "fe80::1%4000000".to_owned()),
        ] {
            let address: SocketAddr = address.parse().expect("an address");
            assert_eq!(address_text(address), text);
        }
    }

    #[test]
    fn the_c_library_prints_no_address_in_another_way() {
        // Runs of zeros are what is printed in different ways: every set of zero groups, with small and
        // large groups beside them, and with a scope.
        for (zeros, scope) in (0..256_u32).flat_map(|zeros| [(zeros, 0), (zeros, 1)]) {
            for first in [0xfe80, 0x2001, 0xff02, 0x0001] {
                let group = |at: u32| if zeros & 1 << at == 0 { 0x0a0b_u16 << (at % 2) } else { 0 };
                let mut groups: [u16; 8] = std::array::from_fn(|at| group(at as u32));
                if groups[0] != 0 {
                    groups[0] = first;
                }
                let address = std::net::SocketAddrV6::new(Ipv6Addr::from(groups), 1, 0, scope).into();
                let numbers = libc::NI_NUMERICHOST | libc::NI_NUMERICSERV;
                let (said, _) = dns_lookup::getnameinfo(&address, numbers).expect("a number");
                assert_eq!(address_text(address), said);
            }
        }
    }

    #[test]
    fn addresses_go_through_c_and_back() {
        for text in ["192.0.2.7:25", "[2001:db8::7]:113", "[fe80::1%3]:9", "[::ffff:192.0.2.7]:1"] {
            let address: SocketAddr = text.parse().expect("an address");
            let bytes = for_c(&End::Inet(address, address_text(address))).expect("bytes");
            // SAFETY: the bytes are a whole address.
            match unsafe { end_at(bytes.as_ptr().cast()) } {
                End::Inet(back, _) => assert_eq!(back, address),
                other => panic!("{other:?}"),
            }
        }
        let local = for_c(&End::Local).expect("bytes");
        // SAFETY: its family is all that is read.
        assert!(matches!(unsafe { end_at(local.as_ptr().cast()) }, End::Local));
        // SAFETY: null is no address.
        assert!(matches!(unsafe { end_at(std::ptr::null()) }, End::Unknown));
    }

    #[test]
    fn what_is_no_socket_says_so() {
        let file = std::fs::File::open("/dev/null").expect("null");
        assert_eq!(ends(file.as_fd()).expect_err("no socket").raw_os_error(), Some(libc::ENOTSOCK));
    }
}
