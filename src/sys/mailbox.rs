//! The socket of a daemon on this machine that takes messages: it may be missing, dead or stuck, and none
//! of that may hold anybody.
//!
//! A message is one datagram (or, to an old syslogd, a piece of a stream that ends in NUL). The socket
//! does not block: while the daemon does not read, patience is spent, over the life of the process; when
//! there is none left a message fails at once. A daemon that was started anew is found again.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest wait for those who do not read what we say, all of them together.
pub const PATIENCE: Duration = Duration::from_millis(80);

/// The same for a single line of a process that lasts; it is renewed with each line that is taken.
pub const PATIENCE_LASTING: Duration = Duration::from_millis(10);

/// Opened with its first message.
pub struct Mailbox {
    path: PathBuf,
    open: Option<(OwnedFd, SockType)>,
    /// The daemon may have a stream in place of datagrams.
    may_stream: bool,
    patience: Duration,
    /// What patience is again once a message was taken.
    renewal: Option<Duration>,
}

impl Mailbox {
    /// One that takes datagrams.
    pub fn new(path: &Path) -> Mailbox {
        let path = path.to_owned();
        Mailbox { path, open: None, may_stream: false, patience: PATIENCE, renewal: None }
    }

    /// One that takes datagrams or a stream, whichever is there.
    pub fn of_either_kind(path: &Path) -> Mailbox {
        Mailbox { may_stream: true, ..Mailbox::new(path) }
    }

    /// How long is waited from now on, in all; or, where it is renewed, each time the daemon stops reading.
    pub fn set_patience(&mut self, patience: Duration, renewed: bool) {
        self.patience = patience;
        self.renewal = renewed.then_some(patience);
    }

    /// Sends a message, or fails soon.
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let stuck = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        match self.send_once(message) {
            Err(error) if !stuck(&error) && self.open.is_some() => {
                // The daemon was restarted: its old socket is dead for ever.
                self.open = None;
                self.send_once(message)
            }
            done => done,
        }
    }

    fn connected(&mut self) -> io::Result<&(OwnedFd, SockType)> {
        if self.open.is_none() {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let address = UnixAddr::new(&self.path)?;
            let try_type = |kind| -> io::Result<(OwnedFd, SockType)> {
                let fd = socket(AddressFamily::Unix, kind, flags, None)?;
                connect(fd.as_raw_fd(), &address)?;
                Ok((fd, kind))
            };
            let opened = match try_type(SockType::Datagram) {
                Err(error) if self.may_stream && error.raw_os_error() == Some(libc::EPROTOTYPE) => {
                    try_type(SockType::Stream)
                }
                other => other,
            };
            self.open = Some(opened?);
        }
        self.open.as_ref().ok_or_else(|| io::Error::other("not connected"))
    }

    fn send_once(&mut self, message: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + self.patience;
        let mut waited = false;
        let result = loop {
            let (fd, kind) = self.connected()?;
            // On a stream, syslogd wants a NUL behind each line.
            let framed = if *kind == SockType::Stream { [message, b"\0"].concat() } else { message.to_vec() };
            match send(fd.as_raw_fd(), &framed, MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => break Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if Instant::now() < deadline => {
                    waited = true;
                    let left = deadline.saturating_duration_since(Instant::now());
                    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
                    let mut set = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
                    let _ = poll(&mut set, timeout);
                }
                Err(error) => break Err(error.into()),
            }
        };
        if waited {
            self.patience = deadline.saturating_duration_since(Instant::now());
        }
        // A reader that is slow takes lines, too: only one that did not have to be waited for is awake.
        if let (Ok(()), Some(renewal), false) = (&result, self.renewal, waited) {
            self.patience = renewal;
        }
        result
    }
}

impl Write for Mailbox {
    /// One message.
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        self.send(message).map(|()| message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
