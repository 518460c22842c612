//! What has the program set, and what has it put in our place?
//!
//! The variables are defined in `door.c`; a program may have its own in their stead, and the dynamic
//! linker sees to it that both mean the same. They are read and written as atomics, so that threads that
//! decide at the same time see one value or the other.

use super::layout::{HostInfo, Mark, RequestInfo, Theirs};
use crate::error::Place;
use crate::facts::Side;
use crate::logline::{Entry, Level, printable};
use crate::rules::options::Priority;
use crate::sys::program;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

#[repr(C)]
struct Context {
    file: *const c_char,
    line: c_int,
}

unsafe extern "C" {
    static mut allow_severity: c_int;
    static mut deny_severity: c_int;
    static mut hosts_access_verbose: c_int;
    static mut dry_run: c_int;
    static mut resident: c_int;
    static mut rfc931_timeout: c_int;
    static mut hosts_allow_table: *const c_char;
    static mut hosts_deny_table: *const c_char;
    static mut tcpd_context: Context;
    static mut unknown: c_char;
    static wrap_allow_default: c_char;
    static wrap_deny_default: c_char;
    static wrap_marks: [c_char; 3];

    fn wrap_call_shell_cmd(command: *const c_char);
    fn wrap_call_clean_exit(request: *mut RequestInfo);
    fn wrap_call_rfc931(client: *mut c_void, server: *mut c_void, user: *mut c_char);
    fn wrap_set_methods(request: *mut RequestInfo);
    fn wrap_is_own_hostname(method: unsafe extern "C" fn(*mut HostInfo)) -> c_int;
    fn wrap_is_own_hostaddr(method: unsafe extern "C" fn(*mut HostInfo)) -> c_int;
}

/// The keys of request_set(3) that a text follows, with their numbers in tcpd.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Daemon = 2,
    User = 3,
    ClientName = 4,
    ClientAddr = 5,
    ServerName = 7,
    ServerAddr = 8,
}

impl Key {
    pub fn of_text(number: c_int) -> Option<Key> {
        use Key::{ClientAddr, ClientName, Daemon, ServerAddr, ServerName, User};
        [Daemon, User, ClientName, ClientAddr, ServerName, ServerAddr]
            .into_iter()
            .find(|key| *key as c_int == number)
    }

    /// The end that a socket address is of.
    pub fn side(number: c_int) -> Option<Side> {
        match number {
            6 => Some(Side::Client),
            9 => Some(Side::Server),
            _ => None,
        }
    }
}

/// A number of the program's.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $variable:ident) => {
        $(#[$doc])*
        pub fn $name() -> &'static AtomicI32 {
            // SAFETY: an aligned number that is there as long as the program. It is changed by threads of
            // the program only through here, or by the program when it sets itself up.
            unsafe { AtomicI32::from_ptr(&raw mut $variable) }
        }
    };
}

number!(
    /// Severity, and facility if it has one, of lines about clients that are served.
    severity_of_grants, allow_severity
);
number!(
    /// The same about clients that are refused.
    severity_of_refusals, deny_severity
);
number!(
    /// 1: options are told as they are done; 2: rules that match, too.
    verbosity, hosts_access_verbose
);
number!(
    /// Not 0: options are tried out, as a checker does.
    rehearsal, dry_run
);
number!(
    /// Above 0: the process has to last.
    lasting, resident
);
number!(
    /// Seconds that an ident lookup may take.
    ident_timeout, rfc931_timeout
);

/// Obeys a `severity` option, for good.
pub fn set_severity(priority: Priority) {
    let number = c_int::from(priority.facility.unwrap_or(0)) << 3 | c_int::from(priority.level);
    severity_of_grants().store(number, Ordering::Relaxed);
    severity_of_refusals().store(number, Ordering::Relaxed);
}

/// Counts calls as far as it matters: the process that makes a second one has to last. Whether this one
/// may end in another program's place.
pub fn count_call() -> bool {
    let counted = lasting().fetch_update(Ordering::Relaxed, Ordering::Relaxed, |calls| {
        (calls <= 0).then(|| calls.saturating_add(1))
    });
    counted.is_ok_and(|before| before < 0)
}

/// Whether this process may end in another program's place.
pub fn may_end() -> bool {
    lasting().load(Ordering::Relaxed) <= 0
}

/// Says a line through the program's syslog(3), with the severities that it has set.
pub fn say(entry: &Entry) {
    let priority = match entry.level {
        Level::Allow => severity_of_grants().load(Ordering::Relaxed),
        Level::Deny => severity_of_refusals().load(Ordering::Relaxed),
        level => c_int::from(level.number()),
    };
    program::say(priority, &printable(&entry.text));
}

/// Where a table is.
pub enum Named {
    /// Where tcpd.conf(5) says: the program has left it alone.
    AsEver,
    Here(&'static Path),
    /// The program has made it null.
    Nowhere,
}

fn named(table: *const c_char, as_ever: *const c_char) -> Named {
    if table == as_ever {
        return Named::AsEver;
    }
    if table.is_null() {
        return Named::Nowhere;
    }
    // SAFETY: what a program points this to is a text that ends in a NUL, and stays (hosts_access(3)).
    let path = unsafe { CStr::from_ptr(table) };
    Named::Here(Path::new(OsStr::from_bytes(path.to_bytes())))
}

/// The two tables, as the program has set them.
pub fn tables() -> (Named, Named) {
    // SAFETY: pointers that are read; the program sets them before it decides about anybody.
    unsafe {
        (
            named(hosts_allow_table, &raw const wrap_allow_default),
            named(hosts_deny_table, &raw const wrap_deny_default),
        )
    }
}

/// The place that the program says it is at, which a checker does.
pub fn context() -> Option<Place> {
    // SAFETY: read as the tables are.
    let (file, line) = unsafe { (tcpd_context.file, tcpd_context.line) };
    if file.is_null() {
        return None;
    }
    // SAFETY: as for the tables.
    let file = unsafe { CStr::from_ptr(file) };
    let file = Arc::from(Path::new(OsStr::from_bytes(file.to_bytes())));
    Some(Place { file, line: u32::try_from(line).unwrap_or(0), spot: None })
}

/// The program has read a line.
pub fn next_line() {
    // SAFETY: an aligned number, as those above.
    let line = unsafe { AtomicI32::from_ptr(&raw mut tcpd_context.line) };
    line.fetch_add(1, Ordering::Relaxed);
}

/// The text `unknown`, for programs that asked about nothing.
pub fn text_unknown() -> *mut c_char {
    &raw mut unknown
}

/// An address of our own for each mark.
pub fn address_of(mark: Mark) -> *mut c_void {
    // There is one for each.
    (&raw const wrap_marks).cast::<c_char>().wrapping_add(mark as usize).cast_mut().cast()
}

/// Runs a command by shell_cmd(), ours or the program's own.
pub fn call_shell_cmd(command: &CStr) {
    // SAFETY: a text that ends in a NUL, for a function that takes one.
    unsafe { wrap_call_shell_cmd(command.as_ptr()) }
}

/// Ends the program by clean_exit(), ours or its own.
///
/// # Safety
/// As for clean_exit().
pub unsafe fn call_clean_exit(request: *mut RequestInfo) {
    // SAFETY: promised by the caller.
    unsafe { wrap_call_clean_exit(request) }
}

/// Asks for the user by rfc931(), ours or the program's own.
///
/// # Safety
/// The addresses are socket addresses, and `user` has room for `STRING_LENGTH` bytes.
pub unsafe fn call_rfc931(client: *mut c_void, server: *mut c_void, user: *mut c_char) {
    // SAFETY: promised by the caller.
    unsafe { wrap_call_rfc931(client, server, user) }
}

/// Makes sock_hostname() and sock_hostaddr() the functions of a request.
pub fn set_methods(theirs: Theirs) {
    // SAFETY: it is there.
    unsafe { wrap_set_methods(theirs.as_ptr()) }
}

/// Whether a request's function is our sock_hostname().
pub fn is_own_hostname(method: unsafe extern "C" fn(*mut HostInfo)) -> bool {
    // SAFETY: two addresses are compared.
    unsafe { wrap_is_own_hostname(method) != 0 }
}

/// Whether it is our sock_hostaddr().
pub fn is_own_hostaddr(method: unsafe extern "C" fn(*mut HostInfo)) -> bool {
    // SAFETY: two addresses are compared.
    unsafe { wrap_is_own_hostaddr(method) != 0 }
}
