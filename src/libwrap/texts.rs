//! What may a program ask about texts?
//!
//! Pointers come in, pointers go out, sizes are what C says they are. Where the reference would write past
//! the end, or end the program, nothing is written but an empty text.

use super::hands::complain;
use super::known::{Asker, caller, server_text};
use super::layout::{Field, RequestInfo, Theirs};
use super::program;
use super::{guarded, with_request};
use crate::error::{Problem, Weight, What};
use crate::expand::expand;
use crate::lookup::inet;
use crate::rules::grammar;
use crate::settings;
use crate::sys::{process, program as sys_program, socket};
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};

/// Longest text of eval_client() and eval_server(), with the closing NUL: two names and what joins them.
const BOTH: usize = 2 * 128 + 2;

thread_local! {
    // One for each function, as in the reference: a program may print two of them at once.
    static CLIENT: UnsafeCell<[u8; BOTH]> = const { UnsafeCell::new([0; BOTH]) };
    static SERVER: UnsafeCell<[u8; BOTH]> = const { UnsafeCell::new([0; BOTH]) };
    static PORT: UnsafeCell<[u8; 8]> = const { UnsafeCell::new([0; 8]) };
}

/// Leaves a text where the program finds it until this thread asks again.
fn left_in<const N: usize>(
    place: &'static std::thread::LocalKey<UnsafeCell<[u8; N]>>,
    text: &[u8],
) -> *mut c_char {
    let fill = |place: &UnsafeCell<[u8; N]>| {
        // SAFETY: only this thread has it, and nobody holds a reference beyond this line.
        let room = unsafe { &mut *place.get() };
        room.fill(0);
        room.iter_mut().zip(text.iter().take(N - 1)).for_each(|(byte, of)| *byte = *of);
        place.get().cast::<c_char>()
    };
    // A thread that is ending has nothing any more.
    place.try_with(fill).unwrap_or_else(|_| program::text_unknown())
}

/// Who called: `user@host` or the host, by what is known already, fit for a log.
///
/// # Safety
/// `request` is null or points to a request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eval_client(request: *mut RequestInfo) -> *mut c_char {
    let leave = |theirs| left_in(&CLIENT, &caller(theirs).shown());
    // SAFETY: promised by the caller.
    unsafe { with_request(request, program::text_unknown(), leave) }
}

/// Who was called: `daemon@host`, or the daemon where the host is not known.
///
/// # Safety
/// `request` is null or points to a request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eval_server(request: *mut RequestInfo) -> *mut c_char {
    let leave = |theirs| left_in(&SERVER, &server_text(theirs));
    // SAFETY: promised by the caller.
    unsafe { with_request(request, program::text_unknown(), leave) }
}

/// The port of a socket address, in digits; 0 where there is none.
///
/// # Safety
/// `address` is null or points to a socket address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eval_port(address: *const c_void) -> *mut c_char {
    guarded(program::text_unknown(), || {
        // SAFETY: promised by the caller.
        let end = unsafe { socket::end_at(address) };
        let port = inet(&end).map_or(0, |address| address.port());
        left_in(&PORT, port.to_string().as_bytes())
    })
}

/// Expands %-letters (hosts_access(5)) into `result`, which has room for `size` bytes. An expansion that
/// does not fit is logged, and leaves an empty text.
///
/// # Safety
/// `result` is null or has that room; `text` is null or ends in a NUL; `request` is null or points to a
/// request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percent_x(
    result: *mut c_char,
    size: c_int,
    text: *const c_char,
    request: *mut RequestInfo,
) -> *mut c_char {
    // SAFETY: promised by the caller.
    let (room, theirs) = unsafe { (Field::sized(result, size), Theirs::at(request)) };
    guarded((), || {
        let Some(room) = room else { return };
        room.write(b"");
        let Some(theirs) = theirs.filter(|_| !text.is_null()) else { return };
        // SAFETY: it is not null, so it ends in a NUL.
        let text = unsafe { CStr::from_ptr(text) }.to_bytes();
        let settings = settings::read_if_permitted(process::caller).settings;
        let asker = Asker::new(theirs, &settings, None);
        let request = asker.request();
        let expanded = expand(text, &request);
        let warn = |what| complain(&Problem { place: program::context(), weight: Weight::Error, what });
        request.take_doubts().into_iter().for_each(|doubt| warn(What::Name(doubt)));
        match expanded {
            Ok(expanded) => {
                expanded.unknown.into_iter().for_each(|letter| warn(What::UnknownLetter(letter)));
                if room.holds(&expanded.text) {
                    room.write(&expanded.text);
                } else {
                    warn(What::TooLong(text.to_vec()));
                }
            }
            Err(_) => warn(What::TooLong(text.to_vec())),
        }
    });
    result
}

/// Copies a text, with the words for errno(3) in place of each `%m`. `result` has room for them.
///
/// # Safety
/// `result` is null or has that room; `text` is null or ends in a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn percent_m(result: *mut c_char, text: *const c_char) -> *mut c_char {
    let words = sys_program::last_error();
    guarded((), || {
        if result.is_null() || text.is_null() {
            return;
        }
        // SAFETY: it is not null, so it ends in a NUL.
        let text = unsafe { CStr::from_ptr(text) }.to_bytes();
        let mut whole = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.windows(2).position(|two| two == b"%m") {
            whole.extend_from_slice(rest.get(..at).unwrap_or_default());
            whole.extend_from_slice(words.as_bytes());
            rest = rest.get(at + 2..).unwrap_or_default();
        }
        whole.extend_from_slice(rest);
        whole.push(0);
        // SAFETY: the caller promised room, as the reference has it promised.
        unsafe { std::ptr::copy_nonoverlapping(whole.as_ptr(), result.cast(), whole.len()) };
    });
    result
}

/// Cuts a text at the first `delimiter` outside brackets: what stands behind it, or null.
///
/// # Safety
/// `text` is null or ends in a NUL, and may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn split_at(text: *mut c_char, delimiter: c_int) -> *mut c_char {
    guarded(std::ptr::null_mut(), || {
        let mut depth = 0_i64;
        let mut next = text.cast::<u8>();
        if next.is_null() {
            return std::ptr::null_mut();
        }
        loop {
            // SAFETY: no further than the NUL.
            let byte = unsafe { next.read() };
            match byte {
                0 => return std::ptr::null_mut(),
                _ if depth == 0 && c_int::from(byte) == delimiter => {
                    // SAFETY: a byte of the text, which may be written to; behind it there is at least
                    // the NUL.
                    return unsafe {
                        next.write(0);
                        next.add(1).cast()
                    };
                }
                b'[' => depth += 1,
                b']' => depth -= 1,
                _ => {}
            }
            // SAFETY: this byte was not the NUL.
            next = unsafe { next.add(1) };
        }
    })
}

/// Reads a line, and those that a backslash at its end joins to it, as far as there is room; null at the
/// end of the file. Counts them in the program's context.
///
/// # Safety
/// `line` is null or has room for `size` bytes; `file` is null or a stream of stdio(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xgets(line: *mut c_char, size: c_int, file: *mut c_void) -> *mut c_char {
    guarded(std::ptr::null_mut(), || {
        if line.is_null() || file.is_null() {
            return std::ptr::null_mut();
        }
        let (mut at, mut room) = (line, size);
        while room > 1 {
            // SAFETY: so much room is left, and the stream is one.
            let Some(mut length) = (unsafe { sys_program::read_line(at, room, file) }) else { break };
            // SAFETY: so many bytes were read to there.
            let read = unsafe { std::slice::from_raw_parts(at.cast::<u8>(), length) };
            let (ends, joins) = (read.ends_with(b"\n"), read.ends_with(b"\\\n"));
            if ends {
                program::next_line();
            }
            if ends && !joins {
                return line;
            }
            length -= if joins { 2 } else { 0 };
            // SAFETY: less than what was read.
            unsafe {
                at = at.add(length);
                at.write(0);
            }
            room -= c_int::try_from(length).unwrap_or(room);
        }
        if at == line { std::ptr::null_mut() } else { line }
    })
}

/// What functions about addresses say of a text that is none.
const NO_ADDRESS: c_ulong = 0xffff_ffff;

/// A dotted IPv4 address of four parts, in network byte order.
///
/// # Safety
/// `text` is null or ends in a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dot_quad_addr(text: *const c_char) -> c_ulong {
    guarded(NO_ADDRESS, || {
        if text.is_null() {
            return NO_ADDRESS;
        }
        // SAFETY: it is not null, so it ends in a NUL.
        let text = unsafe { CStr::from_ptr(text) }.to_bytes();
        let word = text.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        grammar::address4(word).map_or(NO_ADDRESS, |address| address.to_be().into())
    })
}

/// The mask of a prefix length of 0 to 32, in network byte order; 0 for anything else.
///
/// # Safety
/// `text` is null or ends in a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cidr_mask_addr(text: *const c_char) -> c_ulong {
    guarded(0, || {
        if text.is_null() {
            return 0;
        }
        // SAFETY: it is not null, so it ends in a NUL.
        let text = unsafe { CStr::from_ptr(text) }.to_bytes().trim_ascii_start();
        let text = text.strip_prefix(b"+").unwrap_or(text);
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = text.get(..digits).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        match number {
            Some(length @ 1..=32) => (u32::MAX << (32 - length)).to_be().into(),
            _ => 0,
        }
    })
}
