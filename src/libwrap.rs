//! libwrap.so.0: the same verdict inside programs that were compiled for TCP Wrapper's library.
//!
//! Each function here is called by C, with whatever C has: null pointers, texts without an end,
//! descriptors that are none. So each is a door: it takes what it is given as far as it can be understood,
//! and where it cannot, the request is in doubt and [`hosts_access`] refuses it. A panic ends at the door;
//! the answer is then the safe one.
//!
//! The process belongs to somebody else. Nothing is kept between calls but what the interface itself
//! keeps (two severities, the ident timeout, `resident`), no thread is started, no signal's disposition
//! changed, and what is said goes through the program's own syslog(3). Every call reads the rules anew,
//! as the reference does: what several threads do at once is done several times, and nothing is shared.
//!
//! What only C can do stands in `libwrap/door.c`; [`program`] is the way there and back. The header is
//! `libwrap/tcpd.h`, the list of what is exported `libwrap/libwrap.map`; `etc/build-libwrap` makes the
//! library of all this. hosts_access(3) has the promises; the numbers M1 to M25 in its DIFFERENCES hold
//! here as they do in tcpd(8).

pub mod decide;
pub mod hands;
pub mod known;
pub mod layout;
pub mod program;
pub mod texts;

use crate::logline::{self, Entry, Level, Line};
use crate::settings;
use crate::sys::process;
use crate::sys::program::Uncancelled;
use layout::{Mark, RequestInfo, Theirs};
use program::Key;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::Once;
use std::time::Duration;

/// How long a refused datagram holds the process, as in tcpd(8).
const DATAGRAM_DELAY: Duration = Duration::from_secs(1);

/// Does what a caller in C asked for. A panic is logged, and the answer is `otherwise`.
pub(crate) fn guarded<T>(otherwise: T, work: impl FnOnce() -> T) -> T {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            program::say(&Entry::new(Level::Err, format!("error: internal error at {place}")));
        }));
    });
    // A thread that is cancelled meanwhile would be unwound through us: it is when we are done.
    let _whole = Uncancelled::new();
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(otherwise)
}

/// The same with a request; `otherwise`, too, where there is none.
///
/// # Safety
/// As for [`Theirs::at`].
pub(crate) unsafe fn with_request<T: Copy>(
    request: *mut RequestInfo,
    otherwise: T,
    work: impl FnOnce(Theirs) -> T,
) -> T {
    // SAFETY: promised by the caller.
    let theirs = unsafe { Theirs::at(request) };
    guarded(otherwise, || theirs.map_or(otherwise, work))
}

/// Whether a client is to be served: 1 or 0.
///
/// # Safety
/// `request` is null or points to a request that nobody else uses during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hosts_access(request: *mut RequestInfo) -> c_int {
    // SAFETY: promised by the caller.
    guarded(0, || match unsafe { Theirs::at(request) } {
        Some(request) => c_int::from(decide::is_served(request)),
        None => {
            program::say(&Entry::new(Level::Err, "error: hosts_access: no request: access denied"));
            0
        }
    })
}

/// The same about a client that is known by texts alone.
///
/// # Safety
/// Each argument is null or a text that ends in a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hosts_ctl(
    daemon: *const c_char,
    name: *const c_char,
    address: *const c_char,
    user: *const c_char,
) -> c_int {
    guarded(0, || {
        let mut own = RequestInfo::blank();
        let request = Theirs::of(&mut own);
        request.begin();
        let texts =
            [(Key::Daemon, daemon), (Key::ClientName, name), (Key::ClientAddr, address), (Key::User, user)];
        for (key, text) in texts {
            // SAFETY: promised by the caller.
            unsafe { state_text(request, key, text) };
        }
        c_int::from(decide::is_served(request))
    })
}

/// # Safety
/// `text` is null or ends in a NUL.
unsafe fn state_text(request: Theirs, key: Key, text: *const c_char) {
    if text.is_null() {
        let line = format!("warning: request_fill: no text for key {}", key as c_int);
        program::say(&Entry::new(Level::Err, line));
        request.mark(Mark::Doubt);
        return;
    }
    // SAFETY: it is not null, so it ends in a NUL.
    let text = unsafe { CStr::from_ptr(text) }.to_bytes();
    if let Some(field) = request.field(key) {
        field.write(text);
    }
}

/// A request about which nothing is known.
///
/// # Safety
/// `request` is null or points to memory for a request.
#[unsafe(no_mangle)]
unsafe extern "C" fn wrap_init(request: *mut RequestInfo) {
    // SAFETY: promised by the caller.
    unsafe { with_request(request, (), Theirs::begin) };
}

/// # Safety
/// `request` is null or points to a request.
#[unsafe(no_mangle)]
unsafe extern "C" fn wrap_set_file(request: *mut RequestInfo, fd: c_int) {
    // SAFETY: promised by the caller.
    unsafe { with_request(request, (), |request| request.set_fd(fd)) };
}

/// # Safety
/// `request` is null or points to a request; `address` is null or lives as long as that is used.
#[unsafe(no_mangle)]
unsafe extern "C" fn wrap_set_address(request: *mut RequestInfo, key: c_int, address: *mut c_void) {
    let set = |request: Theirs| {
        if let Some(side) = Key::side(key) {
            request.host(side).set_sin(address);
        }
    };
    // SAFETY: promised by the caller.
    unsafe { with_request(request, (), set) };
}

/// # Safety
/// `request` is null or points to a request; `text` is null or ends in a NUL.
#[unsafe(no_mangle)]
unsafe extern "C" fn wrap_set_text(request: *mut RequestInfo, key: c_int, text: *const c_char) {
    let state = |request: Theirs| {
        if let Some(key) = Key::of_text(key) {
            // SAFETY: promised by the caller.
            unsafe { state_text(request, key, text) };
        }
    };
    // SAFETY: promised by the caller.
    unsafe { with_request(request, (), state) };
}

/// # Safety
/// `request` is null or points to a request.
#[unsafe(no_mangle)]
unsafe extern "C" fn wrap_unknown_key(request: *mut RequestInfo, key: c_int) {
    let doubt = |request: Theirs| {
        let line = format!("warning: request_fill: invalid key: {key}");
        program::say(&Entry::new(Level::Err, line));
        request.mark(Mark::Doubt);
    };
    // SAFETY: promised by the caller.
    unsafe { with_request(request, (), doubt) };
}

/// What a program, or its own part of a checker, complains about: a text of its own.
///
/// # Safety
/// `text` ends in a NUL.
#[unsafe(no_mangle)]
unsafe extern "C" fn wrap_complain(is_error: c_int, text: *const c_char) {
    guarded((), || {
        // SAFETY: promised by the caller.
        let text = unsafe { CStr::from_ptr(text) }.to_bytes();
        let word = if is_error == 0 { "warning: " } else { "error: " };
        let context = program::context().map(|place| logline::context(&place)).unwrap_or_default();
        program::say(&Entry::new(Level::Err, [word.as_bytes(), &context, text].concat()));
    });
}

/// Does the options of a rule for a program that found the rule itself (a checker). 0 if the rule is to
/// go on as its table says, else what the caller is to be told by longjmp(3): 1 permits, -1 denies.
///
/// # Safety
/// `options` is null or ends in a NUL; `request` is null or points to a request.
#[unsafe(no_mangle)]
unsafe extern "C" fn wrap_process_options(options: *const c_char, request: *mut RequestInfo) -> c_int {
    const DENY: c_int = -1;
    if options.is_null() {
        return DENY;
    }
    // SAFETY: it is not null, so it ends in a NUL.
    let options = unsafe { CStr::from_ptr(options) }.to_bytes();
    let obey = |request| match decide::obey(request, options) {
        decide::Obeyed::GoOn => 0,
        decide::Obeyed::Permit => 1,
        decide::Obeyed::Deny => DENY,
    };
    // SAFETY: promised by the caller.
    unsafe { with_request(request, DENY, obey) }
}

/// Looks for IP options on the connection: most are taken off; with a source route the request is refused
/// from then on.
///
/// # Safety
/// `request` is null or points to a request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fix_options(request: *mut RequestInfo) {
    // SAFETY: promised by the caller.
    unsafe { with_request(request, (), decide::fix_options) };
}

/// Runs a command for a trap, and waits for its shell. The program never notices.
///
/// # Safety
/// `command` is null or ends in a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shell_cmd(command: *const c_char) {
    guarded((), || {
        if !command.is_null() {
            // SAFETY: it is not null, so it ends in a NUL.
            hands::trap(unsafe { CStr::from_ptr(command) }.to_bytes());
        }
    });
}

/// Logs a refusal, and ends the program by [`clean_exit`], or by what the program has in its place.
///
/// # Safety
/// `request` is null or points to a request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn refuse(request: *mut RequestInfo) {
    let log = |request: Theirs| {
        if request.has(Mark::Refused) {
            return;
        }
        program::say(&Entry::new(Level::Deny, Line::Refused(known::caller(request)).print()));
    };
    // SAFETY: promised by the caller.
    unsafe { with_request(request, (), log) };
    // SAFETY: the caller's promise is what it needs.
    unsafe { program::call_clean_exit(request) };
}

/// Takes a datagram off the queue, and ends the program.
///
/// # Safety
/// `request` is null or points to a request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clean_exit(request: *mut RequestInfo) {
    let leave = |request: Theirs| {
        let is_datagram = request.drain();
        let default = if is_datagram { DATAGRAM_DELAY } else { Duration::ZERO };
        let settings = settings::read_if_permitted(process::caller).settings;
        std::thread::sleep(settings.refuse_delay.unwrap_or(default));
    };
    // SAFETY: promised by the caller.
    unsafe { with_request(request, (), leave) };
    crate::sys::program::end()
}
