//! Lines on standard error, which is known to be no client (`process::own_copy`).

#![forbid(unsafe_code)]

use crate::sys::clock::Clock;
use crate::sys::file::without_waiting;
use crate::sys::mailbox::PATIENCE;
use crate::sys::socket::write_until;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// A line that took longer had to wait.
const AT_ONCE: Duration = Duration::from_millis(1);

pub struct Stderr {
    file: File,
    tag: Vec<u8>,
    clock: Clock,
    patience: Duration,
    renewal: Option<Duration>,
}

impl Stderr {
    /// `tag` stands before the process id.
    pub fn new(fd: OwnedFd, tag: Vec<u8>) -> Stderr {
        Stderr { file: File::from(fd), tag, clock: Clock::default(), patience: PATIENCE, renewal: None }
    }

    /// How long a reader that sleeps is waited for: in all, or each time it falls asleep.
    pub fn set_patience(&mut self, patience: Duration, renewed: bool) {
        // Children of a process that lasts write to the same pipe: it may be full between a look and a write.
        if renewed && let Some(own) = without_waiting(&self.file) {
            self.file = own;
        }
        (self.patience, self.renewal) = (patience, renewed.then_some(patience));
    }

    pub fn say(&mut self, pid: u32, text: &[u8]) {
        let head = format!("[{pid}]: ");
        let stamp = self.clock.timestamp();
        let parts = [stamp.as_bytes(), b" ", &self.tag, head.as_bytes(), text, b"\n"].concat();
        // A reader that is gone, or does not read, changes no verdict, and is waited for once.
        let begun = Instant::now();
        let taken = write_until(self.file.as_fd(), &parts, begun + self.patience).is_ok();
        match self.renewal {
            Some(renewal) if taken && begun.elapsed() < AT_ONCE => self.patience = renewal,
            _ => self.patience = self.patience.saturating_sub(begun.elapsed()),
        }
    }
}
