//! The databases of nsswitch.conf(5): names, netgroups, accounts, interfaces.
//!
//! Names go through getnameinfo(3) and getaddrinfo(3), so that the system's own configuration keeps
//! its say. These calls may block for as long as the resolver pleases; [`within`] runs one of them on a
//! thread of its own and stops waiting at a deadline. A thread that is left behind ends with the
//! process image, at the latest when the server is executed. In a process that is somebody else's, no
//! thread is started, and the resolver is told to hurry ([`Here`]).

use super::resolver;
use crate::error::reason;
use dns_lookup::{AddrInfoHints, getaddrinfo, getnameinfo};
use nix::unistd::{Gid, Group, User, getgrouplist};
use std::ffi::{CString, c_char, c_int};
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Does `work` on another thread and waits for it until `deadline`; None if that passed first. Where no
/// thread can be had the work is done here, however long it takes: a client may not gain from a
/// machine that is short of them. A panic there is a panic here.
pub fn within<T: Send + 'static>(
    deadline: Instant,
    work: impl Fn() -> T + Send + Sync + 'static,
) -> Option<T> {
    let work = Arc::new(work);
    let theirs = Arc::clone(&work);
    let (answer, wait) = sync_channel(1);
    let started = std::thread::Builder::new().spawn(move || {
        // The receiver may have given up; then nobody wants the answer.
        let _ = answer.send(theirs());
    });
    let Ok(thread) = started else { return Some(work()) };
    match wait.recv_timeout(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)))
    {
        Ok(done) => Some(done),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Ok(()) => None,
            Err(panic) => std::panic::resume_unwind(panic),
        },
    }
}

/// Where a question is put that may take its time.
pub trait Way {
    /// Does `work`, which puts at most `questions` questions to name servers; None if the deadline passed
    /// first.
    fn within<T: Send + 'static>(
        deadline: Instant,
        questions: u32,
        work: impl Fn() -> T + Send + Sync + 'static,
    ) -> Option<T>;
}

/// On a thread of its own, which is left behind at the deadline.
pub struct Aside;

impl Way for Aside {
    fn within<T: Send + 'static>(
        deadline: Instant,
        _: u32,
        work: impl Fn() -> T + Send + Sync + 'static,
    ) -> Option<T> {
        within(deadline, work)
    }
}

/// In the thread that asks, with a resolver in a hurry.
pub struct Here;

impl Way for Here {
    fn within<T: Send + 'static>(
        deadline: Instant,
        questions: u32,
        work: impl Fn() -> T + Send + Sync + 'static,
    ) -> Option<T> {
        resolver::hurried(deadline, questions, work)
    }
}

/// What a reverse lookup gave.
pub enum Reverse {
    Name(String),
    /// No name, or no answer.
    Nothing,
    /// There was a name, and the library could not hand it over: why.
    Failed(String),
}

/// The name of an address; the port does not matter, the scope of a link-local one does.
pub fn reverse(address: SocketAddr) -> Reverse {
    match getnameinfo(&address, libc::NI_NAMEREQD) {
        Ok((name, _)) => Reverse::Name(name),
        // No code of getnameinfo(3): the crate had a name in hand and could not make text of it.
        Err(error) if error.error_num() == 0 => Reverse::Failed(reason(&error.into())),
        Err(error) if error.error_num() == libc::EAI_OVERFLOW => Reverse::Failed(reason(&error.into())),
        Err(_) => Reverse::Nothing,
    }
}

/// A canonical name, and the addresses that go with it.
pub type Forward = (Option<String>, Vec<SocketAddr>);

/// The canonical name and the addresses of a name, in one family; None if the lookup fails.
pub fn forward(name: &str, six: bool) -> Option<Forward> {
    look_up(name, if six { libc::AF_INET6 } else { libc::AF_INET })
}

/// The same in both families, in the order in which a program of this machine would call them.
pub fn forward_any(name: &str) -> Option<Forward> {
    look_up(name, libc::AF_UNSPEC)
}

fn look_up(name: &str, family: c_int) -> Option<Forward> {
    let hints = AddrInfoHints {
        flags: libc::AI_CANONNAME,
        address: family,
        socktype: libc::SOCK_STREAM,
        protocol: 0,
    };
    let mut canonical = None;
    let mut addresses = Vec::new();
    for info in getaddrinfo(Some(name), None, Some(hints)).ok()? {
        let info = info.ok()?;
        canonical = canonical.or(info.canonname);
        addresses.push(info.sockaddr);
    }
    Some((canonical, addresses))
}

/// The addresses of a host, a name or a number, for a call to its TCP port, best first.
pub fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let hints = AddrInfoHints { socktype: libc::SOCK_STREAM, ..AddrInfoHints::default() };
    let found = getaddrinfo(Some(host), None, Some(hints)).map_err(|error| {
        // "failed to lookup address information: " stands before the library's words.
        let words = reason(&error.into());
        io::Error::other(words.rsplit_once(": ").map_or(words.clone(), |(_, words)| words.to_owned()))
    })?;
    let mut addresses = Vec::new();
    for info in found {
        let mut address = info?.sockaddr;
        address.set_port(port);
        addresses.push(address);
    }
    Ok(addresses)
}

unsafe extern "C" {
    // netdb.h; the libc crate does not declare it.
    fn innetgr(
        group: *const c_char,
        host: *const c_char,
        user: *const c_char,
        domain: *const c_char,
    ) -> c_int;
}

/// innetgr(3) is not thread-safe.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Whether a netgroup holds a host, in this machine's NIS domain if it has one.
pub fn in_netgroup(group: &[u8], host: &[u8]) -> bool {
    let (Ok(group), Ok(host)) = (CString::new(group), CString::new(host)) else { return false };
    let domain = nis_domain();
    let domain = domain.as_ref().map_or(std::ptr::null(), |name| name.as_ptr());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: all pointers are NUL-terminated strings that outlive the call, or null, which innetgr(3)
    // takes for "any". No two threads of ours are in it at a time.
    unsafe { innetgr(group.as_ptr(), host.as_ptr(), std::ptr::null(), domain) == 1 }
}

/// Whether a netgroup holds anybody.
pub fn netgroup_exists(group: &[u8]) -> bool {
    let Ok(group) = CString::new(group) else { return false };
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: as above; three times "any" is in every netgroup that has a member.
    unsafe { innetgr(group.as_ptr(), std::ptr::null(), std::ptr::null(), std::ptr::null()) == 1 }
}

fn nis_domain() -> Option<CString> {
    let text = std::fs::read("/proc/sys/kernel/domainname").ok()?;
    let name = text.trim_ascii();
    if name.is_empty() || name == b"(none)" { None } else { CString::new(name).ok() }
}

/// Whether there is a network interface of this name.
pub fn interface_exists(name: &[u8]) -> bool {
    nix::net::if_::if_nametoindex(name).is_ok()
}

/// The ids of an account.
pub struct Account {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, when the account has `gid` (or another that is given) for its group.
    pub groups: Vec<u32>,
}

/// An account by its name; `gid` replaces its own group.
pub fn account(name: &[u8], gid: Option<u32>) -> Option<Account> {
    let user = User::from_name(std::str::from_utf8(name).ok()?).ok()??;
    let gid = gid.unwrap_or(user.gid.as_raw());
    let groups = getgrouplist(&CString::new(name).ok()?, Gid::from_raw(gid)).ok()?;
    Some(Account { uid: user.uid.as_raw(), gid, groups: groups.into_iter().map(Gid::as_raw).collect() })
}

/// A group's number by its name.
pub fn group(name: &[u8]) -> Option<u32> {
    Some(Group::from_name(std::str::from_utf8(name).ok()?).ok()??.gid.as_raw())
}
