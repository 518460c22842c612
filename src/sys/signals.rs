//! Signals as this process found them, and the few it takes for itself.
//!
//! The server must find the mask and the dispositions that inetd gave; whatever is changed here is
//! changed back before anything else is executed.

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// SIGCHLD at its default while children are waited for: under an ignored SIGCHLD their status would
/// be lost. Dropped, it is as it was.
pub struct ChildrenReported(Option<SigAction>);

impl ChildrenReported {
    pub fn new() -> ChildrenReported {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default disposition runs no code of ours.
        ChildrenReported(unsafe { sigaction(Signal::SIGCHLD, &default) }.ok())
    }
}

impl Default for ChildrenReported {
    fn default() -> ChildrenReported {
        ChildrenReported::new()
    }
}

impl ChildrenReported {
    fn give_back(&self) {
        if let Some(before) = &self.0 {
            // SAFETY: this is the disposition that was in force before.
            let _ = unsafe { sigaction(Signal::SIGCHLD, before) };
        }
    }
}

impl Drop for ChildrenReported {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// SIGCHLD at its default from here on, in a child that waits for children of its own.
/// Async-signal-safe.
pub(super) fn report_children() {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default disposition runs no code of ours.
    let _ = unsafe { sigaction(Signal::SIGCHLD, &default) };
}

/// All signals held back in this thread, and in children that it starts. Dropped, the mask is as it was.
pub(super) struct Held(Option<SigSet>);

impl Held {
    pub(super) fn all() -> Held {
        let mut before = SigSet::empty();
        let held = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before));
        Held(held.is_ok().then_some(before))
    }

    /// Gives the mask back in a child that executes a program next, when no handler is left that could
    /// run in it. Async-signal-safe.
    pub(super) fn let_go_in_child(&self) {
        for signal in 1..=libc::SIGRTMAX() {
            // SAFETY: all zeros is a valid value of this plain struct: the default disposition, no flags.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: null asks for no change; the kernel fills `action`. Numbers that may not be asked
            // about answer with an error.
            let known = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) } == 0;
            if known && action.sa_sigaction != libc::SIG_IGN && action.sa_sigaction != libc::SIG_DFL {
                action.sa_sigaction = libc::SIG_DFL;
                action.sa_flags = 0;
                // SAFETY: the default disposition runs no code of anybody's.
                unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
            }
        }
        self.give_back();
    }

    fn give_back(&self) {
        if let Some(before) = &self.0 {
            let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(before), None);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Does `write` with a signal held back; the one it raises is consumed.
pub fn holding_back<T>(signal: Signal, write: impl FnOnce() -> T) -> T {
    let held: SigSet = [signal].into_iter().collect();
    let mut before = SigSet::empty();
    let blocked = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&held), Some(&mut before)).is_ok();
    let result = write();
    if blocked && !before.contains(signal) {
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the set and the time are plain values that outlive the call; no signal is described.
        unsafe { libc::sigtimedwait(held.as_ref(), std::ptr::null_mut(), &raw const at_once) };
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    }
    result
}

/// Ignores SIGHUP: a trap goes on when its controlling process ends. Async-signal-safe.
pub fn ignore_hangup() {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: an ignored signal runs no code.
    let _ = unsafe { sigaction(Signal::SIGHUP, &ignore) };
}

/// SIGPIPE at its default, for a program that is executed next: Rust's start-up ignores it, and what is
/// ignored stays so in the next program. Async-signal-safe.
pub fn break_on_pipes() {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default disposition runs no code of ours.
    let _ = unsafe { sigaction(Signal::SIGPIPE, &default) };
}

/// What a listener is told by the system.
pub enum Told {
    /// A child ended.
    Child,
    /// SIGTERM or SIGINT: no more connections.
    Stop,
}

/// SIGTERM, SIGINT and SIGCHLD as a descriptor, so that a loop waits for them and for connections at
/// once, with nothing running behind its back.
pub struct Signals {
    fd: SignalFd,
    before: SigSet,
    /// An ignored SIGCHLD is never told: children would vanish uncounted.
    reported: ChildrenReported,
}

impl Signals {
    pub fn take() -> io::Result<Signals> {
        let wanted: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD].into_iter().collect();
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&wanted), Some(&mut before))?;
        let fd = SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Signals { fd, before, reported: ChildrenReported::new() })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The next signal that came, if any.
    pub fn next(&self) -> Option<Told> {
        loop {
            match self.fd.read_signal() {
                Ok(Some(info)) if info.ssi_signo == Signal::SIGCHLD as u32 => return Some(Told::Child),
                Ok(Some(_)) => return Some(Told::Stop),
                Err(Errno::EINTR) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Puts mask and disposition back, in a child that is to become a server.
    pub fn give_back(&self) -> io::Result<()> {
        self.reported.give_back();
        Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None)?)
    }
}
