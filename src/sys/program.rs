//! The program round us, for a library: its syslog(3), its environment, its end.
//!
//! What is said here carries the identity, the facility and the options that the program gave to
//! openlog(3), and goes to whatever the program has in place of syslog(3).

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;

/// Says a line through the program's syslog(3). `priority` may have a facility in it. A NUL ends the
/// text.
pub fn say(priority: c_int, text: &[u8]) {
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    let Ok(text) = CString::new(text.get(..end).unwrap_or(text)) else { return };
    // SAFETY: the format asks for one string, and gets one that ends in a NUL.
    unsafe { libc::syslog(priority, c"%s".as_ptr(), text.as_ptr()) };
}

/// Sets a variable in the environment of the program, as setenv(3) does: other threads may not read it
/// meanwhile, which is the program's to see to.
pub fn set_variable(name: &[u8], value: &[u8]) -> io::Result<()> {
    let (name, value) = (CString::new(name)?, CString::new(value)?);
    // SAFETY: both end in a NUL, and are copied. That nobody reads the environment at the same time is
    // what hosts_access(3) asks of programs whose rules say `setenv`.
    match unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What stands behind errno(3) now, in words.
pub fn last_error() -> String {
    crate::error::reason(&io::Error::last_os_error())
}

/// fgets(3): how many bytes were read, up to a NUL; None at the end.
///
/// # Safety
/// `line` has room for `size` bytes, and `file` is a stream of stdio(3).
pub unsafe fn read_line(line: *mut c_char, size: c_int, file: *mut c_void) -> Option<usize> {
    // SAFETY: promised by the caller.
    let read = unsafe { libc::fgets(line, size, file.cast()) };
    // SAFETY: fgets(3) puts a NUL behind what it has read.
    (!read.is_null()).then(|| unsafe { CStr::from_ptr(read) }.to_bytes().len())
}

/// Ends the program as exit(3) does, with what it has registered for its end.
pub fn end() -> ! {
    std::process::exit(0)
}
