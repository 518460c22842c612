//! What does a request look like in the program's memory?
//!
//! The structures are those of tcpd.h, measured (see tests/libwrap/layout.c). They are read and written
//! by pointer, field by field: the program, and functions of it that we call, look at them meanwhile.
//!
//! The socket addresses that `sock_host` finds need a place, and the structures have only pointers for
//! them. The reference keeps them in static memory, so that a second connection overwrites the first
//! one's. Ours are behind the text in the `addr` field, which never fills it: they live and go with the
//! request.

use super::program::{self, Key};
use crate::facts::Side;
use crate::sys::process;
use crate::sys::socket::FOR_C;
use std::ffi::{c_char, c_int, c_void};
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

/// `STRING_LENGTH`.
const LENGTH: usize = 128;
/// Where a socket address stands in an `addr` field. What we write before it is shorter: 45 bytes of an
/// address, 15 of an interface, a `%` and the NUL.
const BEHIND_TEXT: usize = 64;

type Text = [c_char; LENGTH];
type Method = Option<unsafe extern "C" fn(*mut HostInfo)>;

#[repr(C)]
pub struct HostInfo {
    name: Text,
    addr: Text,
    sin: *mut c_void,
    unit: *mut c_void,
    request: *mut RequestInfo,
}

#[repr(C)]
pub struct RequestInfo {
    fd: c_int,
    user: Text,
    daemon: Text,
    pid: [c_char; 10],
    client: HostInfo,
    server: HostInfo,
    sink: Option<unsafe extern "C" fn(c_int)>,
    hostname: Method,
    hostaddr: Method,
    cleanup: Option<unsafe extern "C" fn(*mut RequestInfo)>,
    config: *mut c_void,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<HostInfo>() == 280 && size_of::<RequestInfo>() == 872);
const _: () = assert!(BEHIND_TEXT + FOR_C <= LENGTH);

impl RequestInfo {
    /// Memory for a request.
    pub fn blank() -> RequestInfo {
        // SAFETY: zeros are a valid value of every field: no text, null, no function.
        unsafe { std::mem::zeroed() }
    }
}

/// A field for text: where it begins, and how long it is.
#[derive(Clone, Copy)]
pub struct Field(NonNull<u8>, usize);

impl Field {
    /// What stands in it, up to its NUL. The last byte is never text.
    pub fn read(self) -> Vec<u8> {
        let byte = |at| {
            // SAFETY: within the field.
            unsafe { self.0.add(at).read() }
        };
        (0..self.1 - 1).map(byte).take_while(|&byte| byte != 0).collect()
    }

    /// One that somebody else has made, with room for a name.
    ///
    /// # Safety
    /// `start` is null or has room for `STRING_LENGTH` bytes.
    pub unsafe fn of(start: *mut c_char) -> Option<Field> {
        NonNull::new(start.cast()).map(|start| Field(start, LENGTH))
    }

    /// The same with room for `size` bytes.
    ///
    /// # Safety
    /// `start` is null or has so much room, if it is more than none.
    pub unsafe fn sized(start: *mut c_char, size: c_int) -> Option<Field> {
        let size = usize::try_from(size).ok().filter(|&size| size > 0)?;
        NonNull::new(start.cast()).map(|start| Field(start, size))
    }

    /// Whether a text fits.
    pub fn holds(self, text: &[u8]) -> bool {
        text.len() < self.1
    }

    pub fn is_empty(self) -> bool {
        // SAFETY: the field has a first byte.
        unsafe { self.0.read() == 0 }
    }

    /// Puts text into it, as much as there is room for.
    pub fn write(self, text: &[u8]) {
        let text = text.get(..self.1 - 1).unwrap_or(text);
        for (at, byte) in text.iter().chain([&0]).enumerate() {
            // SAFETY: at most all of the field.
            unsafe { self.0.add(at).write(*byte) };
        }
    }

    /// What a program gets for a text: it ends in a NUL whatever has been done to the field.
    pub fn for_c(self) -> *mut c_char {
        // SAFETY: the last byte of the field.
        unsafe { self.0.add(self.1 - 1).write(0) };
        self.0.as_ptr().cast()
    }
}

/// A field of a struct as a [`Field`].
macro_rules! field {
    ($whole:expr, $field:ident) => {{
        // SAFETY: a place is computed, within a struct that is there; nothing is read.
        let (start, length) = unsafe {
            let whole = $whole.as_ptr();
            (&raw mut (*whole).$field, size_of_val(&(*whole).$field))
        };
        // SAFETY: a field of something that is not at null.
        Field(unsafe { NonNull::new_unchecked(start.cast()) }, length)
    }};
}

/// One end of a connection, in the program's memory.
#[derive(Clone, Copy)]
pub struct Host(NonNull<HostInfo>);

impl Host {
    /// # Safety
    /// `host` is null or points to an end that nobody else uses as long as this is used.
    pub unsafe fn at(host: *mut HostInfo) -> Option<Host> {
        NonNull::new(host).map(Host)
    }

    pub fn as_ptr(self) -> *mut HostInfo {
        self.0.as_ptr()
    }

    pub fn name(self) -> Field {
        field!(self.0, name)
    }

    pub fn addr(self) -> Field {
        field!(self.0, addr)
    }

    /// The request it is an end of, if it says so.
    pub fn request(self) -> Option<Theirs> {
        // SAFETY: the end is there; and what it points to is, by the promise about requests.
        unsafe { Theirs::at((*self.as_ptr()).request) }
    }

    /// Its socket address: null, or such a struct, by the promise about requests.
    pub fn sin(self) -> *mut c_void {
        // SAFETY: the end is there.
        unsafe { (*self.as_ptr()).sin }
    }

    pub fn set_sin(self, sin: *mut c_void) {
        // SAFETY: the end is there.
        unsafe { (*self.as_ptr()).sin = sin };
    }

    /// Keeps a socket address in the end itself; none, where a text that the program stated fills it.
    pub fn keep_sin(self, address: Option<[u8; FOR_C]>) {
        let room = (self.addr().read().len() < BEHIND_TEXT).then_some(self.addr().0);
        let sin = match (address, room) {
            (Some(address), Some(start)) => {
                // SAFETY: BEHIND_TEXT and FOR_C bytes together fit into the field.
                let place = unsafe { start.add(BEHIND_TEXT) };
                for (at, byte) in address.iter().enumerate() {
                    // SAFETY: the same.
                    unsafe { place.add(at).write(*byte) };
                }
                place.as_ptr().cast()
            }
            _ => std::ptr::null_mut(),
        };
        self.set_sin(sin);
    }
}

/// A descriptor of the program.
pub fn borrowed(fd: c_int) -> Option<BorrowedFd<'static>> {
    // SAFETY: it is only used during a call for which the program has lent it. One that is not open
    // answers with an error, and nothing is ever done to it but what is done to a connection.
    (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
}

/// What the `config` field says, which no program uses: an address that none can have.
#[derive(Clone, Copy)]
pub enum Mark {
    Doubt,
    Refused,
}

impl Mark {
    const ALL: [Mark; 2] = [Mark::Doubt, Mark::Refused];
}

/// A request, in the program's memory.
#[derive(Clone, Copy)]
pub struct Theirs(NonNull<RequestInfo>);

impl Theirs {
    /// # Safety
    /// `request` is null, or points to a request that nobody else uses as long as this is used; its
    /// socket addresses and functions are null or what tcpd.h says of them.
    pub unsafe fn at(request: *mut RequestInfo) -> Option<Theirs> {
        NonNull::new(request).map(Theirs)
    }

    /// A request of our own.
    pub fn of(own: &mut RequestInfo) -> Theirs {
        Theirs(NonNull::from(own))
    }

    pub fn as_ptr(self) -> *mut RequestInfo {
        self.0.as_ptr()
    }

    /// Nothing is known yet.
    pub fn begin(self) {
        let mut blank = RequestInfo::blank();
        blank.fd = -1;
        blank.client.request = self.as_ptr();
        blank.server.request = self.as_ptr();
        // SAFETY: the request is there; whatever stood in it needs no end.
        unsafe { self.as_ptr().write(blank) };
        self.daemon().write(b"unknown");
        self.pid_field().write(process::pid().to_string().as_bytes());
    }

    pub fn host(self, side: Side) -> Host {
        // SAFETY: a place within a struct that is there.
        let host = unsafe {
            match side {
                Side::Client => &raw mut (*self.as_ptr()).client,
                Side::Server => &raw mut (*self.as_ptr()).server,
            }
        };
        // SAFETY: it is not at null.
        Host(unsafe { NonNull::new_unchecked(host) })
    }

    pub fn user(self) -> Field {
        field!(self.0, user)
    }

    pub fn daemon(self) -> Field {
        field!(self.0, daemon)
    }

    fn pid_field(self) -> Field {
        field!(self.0, pid)
    }

    /// The process it says it is of.
    pub fn pid(self) -> u32 {
        let text = self.pid_field().read();
        std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or_else(process::pid)
    }

    /// The field for a text.
    pub fn field(self, key: Key) -> Option<Field> {
        Some(match key {
            Key::Daemon => self.daemon(),
            Key::User => self.user(),
            Key::ClientName => self.host(Side::Client).name(),
            Key::ClientAddr => self.host(Side::Client).addr(),
            Key::ServerName => self.host(Side::Server).name(),
            Key::ServerAddr => self.host(Side::Server).addr(),
        })
    }

    pub fn fd(self) -> c_int {
        // SAFETY: the request is there.
        unsafe { (*self.as_ptr()).fd }
    }

    /// The connection, if there is one.
    pub fn descriptor(self) -> Option<BorrowedFd<'static>> {
        borrowed(self.fd())
    }

    pub fn set_fd(self, fd: c_int) {
        // SAFETY: the request is there.
        unsafe { (*self.as_ptr()).fd = fd };
    }

    /// The function that finds names.
    pub fn hostname(self) -> Method {
        // SAFETY: the request is there.
        unsafe { (*self.as_ptr()).hostname }
    }

    /// The function that finds addresses.
    pub fn hostaddr(self) -> Method {
        // SAFETY: the request is there.
        unsafe { (*self.as_ptr()).hostaddr }
    }

    pub fn is_datagram(self) -> bool {
        // SAFETY: the request is there.
        unsafe { (*self.as_ptr()).sink }.is_some()
    }

    pub fn set_sink(self, sink: unsafe extern "C" fn(c_int)) {
        // SAFETY: the request is there.
        unsafe { (*self.as_ptr()).sink = Some(sink) };
    }

    /// Takes a datagram off the queue, if it is one; whether it is.
    pub fn drain(self) -> bool {
        // SAFETY: the request is there.
        let sink = unsafe { (*self.as_ptr()).sink };
        if let Some(sink) = sink {
            // SAFETY: a function that takes a descriptor, by the promise about requests.
            unsafe { sink(self.fd()) };
        }
        sink.is_some()
    }

    /// Something about it was not understood, and the log has been told: it is refused, whatever the
    /// rules say.
    pub fn leave_in_doubt(self) {
        self.mark(Mark::Doubt);
    }

    /// It is refused, and the log has it already.
    pub fn leave_refused(self) {
        self.mark(Mark::Refused);
    }

    pub fn is_in_doubt(self) -> bool {
        Mark::ALL.into_iter().any(|mark| self.has(mark))
    }

    pub fn is_logged_as_refused(self) -> bool {
        self.has(Mark::Refused)
    }

    fn mark(self, mark: Mark) {
        // SAFETY: the request is there.
        unsafe { (*self.as_ptr()).config = program::address_of(mark) };
    }

    fn has(self, mark: Mark) -> bool {
        // SAFETY: the request is there.
        unsafe { (*self.as_ptr()).config == program::address_of(mark) }
    }
}
