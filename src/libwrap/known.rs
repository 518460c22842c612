//! What does the program's request know, and who finds out the rest?
//!
//! An empty field has not been asked for yet. Whoever asks fills it, so that it is asked once: a rule, an
//! expansion, or the program by eval_...(), sock_hostname() or sock_hostaddr(). A program may have put
//! functions of its own in the place of the last two; then they are called.

use super::hands::complain;
use super::layout::{Field, Host, HostInfo, Mark, RequestInfo, Theirs, borrowed};
use super::program;
use super::{guarded, with_request};
use crate::error::{NameDoubt, Problem, Weight, What, reason};
use crate::expand;
use crate::facts::{
    Ask, DaemonName, Endpoint, Fact, HostName, Identity, ListEnd, Membership, NoSuch, Request, Side, Sought,
    Transport, UserName, stated_name,
};
use crate::logline::{Caller, Entry, Level};
use crate::lookup::{Live, inet};
use crate::settings::{self, Resolve, Settings};
use crate::sys::file;
use crate::sys::netdb::Here;
use crate::sys::process;
use crate::sys::socket::{self, End};
use crate::tables::image::Image;
use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// EBADF, what a descriptor answers that is none.
const BAD_DESCRIPTOR: i32 = 9;

/// Asks on behalf of a program's request, and keeps the answers in it.
pub struct Asker<'i> {
    theirs: Theirs,
    live: Live<'i, Here>,
    /// A question was not put, because the program has no descriptors left: no answer would be that of a
    /// name server, but of a resolver that cannot ask.
    starved: Cell<bool>,
}

impl<'i> Asker<'i> {
    pub fn new(theirs: Theirs, settings: &Settings, image: Option<&'i Image>) -> Asker<'i> {
        let [client, server] = [Side::Client, Side::Server].map(|side| inet(&end(theirs.host(side))));
        let resolves = settings.resolve != Resolve::Never;
        let live = Live::new((client, server), resolves, settings.resolve_timeout).here().by_image(image);
        Asker { theirs, live, starved: Cell::new(false) }
    }

    /// Whether the verdict may rest on a question that was not put.
    pub fn lacked_descriptors(&self) -> bool {
        self.starved.get()
    }

    /// Whether there are enough descriptors for a lookup.
    fn can_ask(&self) -> bool {
        let can = file::can_open();
        self.starved.set(self.starved.get() || !can);
        can
    }

    /// For what is known already.
    fn of_nobody(theirs: Theirs) -> Asker<'static> {
        Asker {
            theirs,
            live: Live::new((None, None), false, Duration::ZERO).here(),
            starved: Cell::new(false),
        }
    }

    /// The request as it is known now.
    pub fn request(&self) -> Request<'_> {
        let theirs = self.theirs;
        let ends = (known_end(theirs.host(Side::Client)), known_end(theirs.host(Side::Server)));
        let transport = match end(theirs.host(Side::Client)) {
            _ if theirs.is_datagram() => Transport::Datagram,
            End::Local => Transport::Local,
            End::Inet(..) | End::Unknown => Transport::Stream,
        };
        let daemon = DaemonName::stated(&theirs.daemon().read());
        let request = Request::new(daemon, theirs.pid(), transport, ends, self);
        let seconds = program::ident_timeout().load(Ordering::Relaxed);
        request.ident_seconds.set(u32::try_from(seconds).unwrap_or(0));
        match known_user(theirs.user()) {
            Some(user) => request.by_user(user),
            None => request,
        }
    }
}

fn end(host: Host) -> End {
    // SAFETY: null or a socket address, by the promise about requests.
    unsafe { socket::end_at(host.sin()) }
}

/// An end with what has been asked already. The address costs nothing, and every rule wants it.
fn known_end(host: Host) -> Endpoint {
    let address = match address(host).read() {
        text if text == b"unknown" => Fact::Unknown,
        text => Fact::Known(text),
    };
    let port = inet(&end(host)).map(|address| address.port());
    let known = Endpoint::new(address, port);
    if host.name().is_empty() { known } else { known.named(stated_name(Some(&host.name().read()))) }
}

fn known_user(field: Field) -> Option<Fact<UserName>> {
    match field.read() {
        text if text.is_empty() => None,
        text if text == b"unknown" => Some(Fact::Unknown),
        text => Some(Fact::Known(UserName::stated(&text))),
    }
}

/// The address of an end, found if nobody has asked yet.
fn address(host: Host) -> Field {
    let field = host.addr();
    if field.is_empty() {
        field.write(b"unknown");
        match host.request().and_then(Theirs::hostaddr) {
            Some(method) if program::is_own_hostaddr(method) => find_address(host),
            // SAFETY: the program's function for such an end.
            Some(method) => unsafe { method(host.as_ptr()) },
            None => {}
        }
    }
    field
}

fn find_address(host: Host) {
    match end(host) {
        End::Inet(_, text) => host.addr().write(text.as_bytes()),
        End::Local => host.addr().write(b"localhost"),
        End::Unknown => {}
    }
}

/// The name of an end, found if nobody has asked yet: by `find`, if that is our part.
fn name(host: Host, find: impl FnOnce() -> Fact<HostName>) -> Field {
    let field = host.name();
    if field.is_empty() {
        field.write(b"unknown");
        match host.request().and_then(Theirs::hostname) {
            Some(method) if program::is_own_hostname(method) => field.write(find().text()),
            // SAFETY: the program's function for such an end.
            Some(method) => unsafe { method(host.as_ptr()) },
            None => {}
        }
    }
    field
}

/// The checked name of an end, for a program that asks for it by itself.
fn find_name(host: Host) -> Fact<HostName> {
    let settings = settings::read_if_permitted(process::caller).settings;
    let resolves = settings.resolve != Resolve::Never;
    let live = Live::new((inet(&end(host)), None), resolves, settings.resolve_timeout).here();
    let mut doubts = Vec::new();
    let name = live.name(Side::Client, &mut doubts);
    for doubt in doubts {
        let (place, what) = (program::context(), What::Name(doubt));
        complain(&Problem { place, weight: Weight::Warning, what });
    }
    name
}

impl Ask for Asker<'_> {
    fn name(&self, side: Side, doubts: &mut Vec<NameDoubt>) -> Fact<HostName> {
        let mut asked = true;
        let find = || {
            asked = self.can_ask();
            if asked { self.live.name(side, doubts) } else { Fact::Unknown }
        };
        let field = name(self.theirs.host(side), find);
        let found = stated_name(Some(&field.read()));
        if !asked {
            // It is for the next one who asks to find out.
            field.write(b"");
        }
        found
    }

    fn user(&self, seconds: u32) -> Fact<UserName> {
        keep_ident_timeout(seconds);
        if self.theirs.user().is_empty() && !self.can_ask() {
            return Fact::Unknown;
        }
        known_user(user(self.theirs)).unwrap_or(Fact::Unknown)
    }

    fn in_netgroup(&self, group: &[u8], host: &[u8]) -> Membership {
        if self.can_ask() { self.live.in_netgroup(group, host) } else { Membership::No }
    }

    fn word_list(&self, path: &[u8], sought: &dyn Sought, visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
        self.live.word_list(path, sought, visit)
    }

    fn identity(&self, user: Option<&[u8]>, group: Option<&[u8]>) -> Result<Identity, NoSuch> {
        self.live.identity(user, group)
    }

    fn interface_exists(&self, name: &[u8]) -> bool {
        self.live.interface_exists(name)
    }
}

/// An `rfc931` option sets the program's own timeout, for good.
pub fn keep_ident_timeout(seconds: u32) {
    let (seconds, kept) = (c_int::try_from(seconds).unwrap_or(c_int::MAX), program::ident_timeout());
    if kept.load(Ordering::Relaxed).max(0) != seconds {
        kept.store(seconds, Ordering::Relaxed);
    }
}

/// The user at the client's end, asked for if nobody has yet. Only a stream between two known addresses
/// has one.
fn user(theirs: Theirs) -> Field {
    let field = theirs.user();
    if field.is_empty() {
        field.write(b"unknown");
        let (client, server) = (theirs.host(Side::Client).sin(), theirs.host(Side::Server).sin());
        if !theirs.is_datagram() && !client.is_null() && !server.is_null() {
            // SAFETY: two socket addresses, by the promise about requests, and a field of that length.
            unsafe { program::call_rfc931(client, server, field.for_c()) };
        }
    }
    field
}

/// Does what a caller in C asked for about an end; `otherwise`, where there is none.
///
/// # Safety
/// As for [`Host::at`].
unsafe fn with_host<T: Copy>(host: *mut HostInfo, otherwise: T, work: impl FnOnce(Host) -> T) -> T {
    // SAFETY: promised by the caller.
    let host = unsafe { Host::at(host) };
    guarded(otherwise, || host.map_or(otherwise, work))
}

/// Finds out who is at the ends of the descriptor, without asking anybody. A descriptor that is no
/// connection leaves the request in doubt.
///
/// # Safety
/// `request` is null or points to a request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sock_host(request: *mut RequestInfo) {
    // SAFETY: promised by the caller.
    unsafe { with_request(request, (), find_ends) };
}

fn find_ends(theirs: Theirs) {
    program::set_methods(theirs);
    let fd = theirs.descriptor();
    if fd.is_some_and(socket::is_datagram) {
        theirs.set_sink(sink);
    }
    match fd.ok_or_else(|| io::Error::from_raw_os_error(BAD_DESCRIPTOR)).and_then(socket::ends) {
        Ok(ends) => {
            theirs.host(Side::Client).keep_sin(socket::for_c(&ends.client));
            theirs.host(Side::Server).keep_sin(socket::for_c(&ends.server));
            theirs.is_there_again();
        }
        Err(cause) => {
            let text = format!("warning: can't get client address: {}", reason(&cause));
            program::say(&Entry::new(Level::Err, text));
            theirs.mark(Mark::Gone);
        }
    }
}

unsafe extern "C" fn sink(fd: c_int) {
    guarded((), || {
        if let Some(fd) = borrowed(fd) {
            socket::drain(fd);
        }
    });
}

/// Fills in the name of an end, checked against its address.
///
/// # Safety
/// `host` is null or points to an end of a request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sock_hostname(host: *mut HostInfo) {
    let find = |host: Host| match find_name(host) {
        Fact::Unknown if !host.name().is_empty() => {}
        name => host.name().write(name.text()),
    };
    // SAFETY: promised by the caller.
    unsafe { with_host(host, (), find) };
}

/// Fills in the address of an end.
///
/// # Safety
/// `host` is null or points to an end of a request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sock_hostaddr(host: *mut HostInfo) {
    // SAFETY: promised by the caller.
    unsafe { with_host(host, (), find_address) };
}

/// The user at the client's end, by ident (RFC 1413); `unknown` if nobody says.
///
/// # Safety
/// The addresses are null or socket addresses; `user` is null or has room for 128 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rfc931(client: *const c_void, server: *const c_void, user: *mut c_char) {
    guarded((), || {
        // SAFETY: promised by the caller.
        let Some(field) = (unsafe { Field::of(user) }) else { return };
        // SAFETY: promised by the caller.
        let ends = unsafe { (inet(&socket::end_at(client)), inet(&socket::end_at(server))) };
        let seconds = u32::try_from(program::ident_timeout().load(Ordering::Relaxed)).unwrap_or(0);
        let live = Live::new(ends, false, Duration::ZERO).here();
        field.write(live.user(seconds).text());
    });
}

/// The user at the client's end.
///
/// # Safety
/// `request` is null or points to a request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eval_user(request: *mut RequestInfo) -> *mut c_char {
    // SAFETY: promised by the caller.
    let theirs = unsafe { Theirs::at(request) };
    guarded(program::text_unknown(), || theirs.map_or(program::text_unknown(), |theirs| user(theirs).for_c()))
}

/// The name of an end: a good one, `unknown` or `paranoid`.
///
/// # Safety
/// `host` is null or points to an end of a request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eval_hostname(host: *mut HostInfo) -> *mut c_char {
    let find = |host| name(host, || find_name(host)).for_c();
    // SAFETY: promised by the caller.
    unsafe { with_host(host, program::text_unknown(), find) }
}

/// The address of an end.
///
/// # Safety
/// `host` is null or points to an end of a request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eval_hostaddr(host: *mut HostInfo) -> *mut c_char {
    // SAFETY: promised by the caller.
    let host = unsafe { Host::at(host) };
    guarded(program::text_unknown(), || host.map_or(program::text_unknown(), |host| address(host).for_c()))
}

/// The name of an end if somebody has asked for it and it is a good one, else its address.
///
/// # Safety
/// `host` is null or points to an end of a request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eval_hostinfo(host: *mut HostInfo) -> *mut c_char {
    let info = |host: Host| {
        let is_good = stated_name(Some(&host.name().read())).good().is_some();
        if is_good { host.name().for_c() } else { address(host).for_c() }
    };
    // SAFETY: promised by the caller.
    unsafe { with_host(host, program::text_unknown(), info) }
}

/// Who called, as it is known now.
pub fn caller(theirs: Theirs) -> Caller {
    Caller::of(&Asker::of_nobody(theirs).request())
}

/// `daemon@host` or the daemon.
pub fn server_text(theirs: Theirs) -> Vec<u8> {
    expand::server(&Asker::of_nobody(theirs).request())
}
