//! What may be done to the connection that a rule is about?

#![forbid(unsafe_code)]

use crate::error::{Error, OptionFlaw};
use crate::sys::{process, socket};
use std::ffi::CString;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// How long a client may take to read its banner.
const BANNER_PATIENCE: Duration = Duration::from_secs(10);

/// The descriptor of the client, where there is one, and what may be done to it.
pub struct Connection<'a> {
    fd: Option<BorrowedFd<'a>>,
    banner_until: Option<Instant>,
}

impl<'a> Connection<'a> {
    pub fn new(fd: Option<BorrowedFd<'a>>) -> Connection<'a> {
        Connection { fd, banner_until: None }
    }

    pub fn linger(&self, seconds: i32) -> io::Result<()> {
        socket::linger(self.open()?, seconds)
    }

    pub fn keepalive(&self) -> io::Result<()> {
        socket::keepalive(self.open()?)
    }

    /// Whether there is one to hand over.
    pub fn may_be_handed_over(&self) -> Result<(), OptionFlaw> {
        if self.fd.is_some() { Ok(()) } else { Err(OptionFlaw::TwistWithoutDescriptor) }
    }

    /// Hands it over to a command. Returns only if it failed.
    pub fn hand_over(&self, command: &[u8], environment: Option<&[CString]>) -> Error {
        let cause = match self.open() {
            Ok(fd) => process::become_shell(command, fd, environment),
            Err(cause) => cause,
        };
        Error::new("cannot execute", "/bin/sh", cause)
    }

    /// Shows text to the client, which has ten seconds for all of it.
    pub fn send(&mut self, text: &[u8]) {
        let until = *self.banner_until.get_or_insert_with(|| Instant::now() + BANNER_PATIENCE);
        // A client that does not read misses its banner, nothing else.
        let _ = self.open().and_then(|fd| socket::write_until(fd, text, until));
    }

    fn open(&self) -> io::Result<BorrowedFd<'a>> {
        self.fd.ok_or_else(|| io::Error::from_raw_os_error(BAD_DESCRIPTOR))
    }
}

/// EBADF, what the reference gets from a descriptor that is not there.
const BAD_DESCRIPTOR: i32 = 9;
