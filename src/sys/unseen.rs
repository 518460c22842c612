//! A command that the program round us never notices.
//!
//! A library lives in somebody else's process. That may ignore SIGCHLD, handle it and collect whatever
//! child has ended, or wait for one of its own in another thread: none of it may learn of our shell, and
//! none of it may take its status from us. So the shell is not our child but a grandchild. Between us
//! stands a watcher, made without a termination signal: its end raises nothing, and wait(2) without
//! `__WALL` does not see it (clone(2), waitpid(2)). It waits for the shell and leaves how that ended in
//! memory that it shares with us. Signals' dispositions and masks of the program stay as they are.
//!
//! Both children make async-signal-safe calls only, for other threads may hold any lock. The watcher
//! blocks every signal, and the shell gets its own mask back when no handler of the program is left in
//! it: nothing of the program runs in either.

use super::process::{Ended, NOT_RUN, Shell, close_from, leave, onto_standard, wait_for, wait_once};
use super::signals;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, Ordering};

impl Shell<'_> {
    /// Runs the command and waits for its shell, unseen. No identity is changed.
    pub fn run_unseen(&self) -> io::Result<Ended> {
        let prepared = self.prepare()?;
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        let report = Shared::new()?;
        let held = signals::Held::all();
        // SAFETY: the child makes async-signal-safe calls only, on memory made above, and leaves by _exit.
        match unsafe { fork_watcher() }? {
            0 => {
                report.keep(watch(null.as_fd(), || {
                    held.let_go_in_child();
                    let _ = self.start(&prepared, null.as_fd());
                }));
                leave(0)
            }
            watcher => {
                drop(held);
                loop {
                    match wait_once(watcher, libc::__WALL) {
                        // ECHILD: somebody else has seen it end.
                        Ok(Some(_)) | Err(Errno::ECHILD) => return report.found(),
                        Ok(None) | Err(Errno::EINTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }
}

/// In the watcher: starts the shell, and waits for it.
fn watch(null: BorrowedFd<'_>, become_shell: impl FnOnce()) -> io::Result<Ended> {
    // The program's own descriptors are not held open for as long as the shell runs: 0 to 2 here, the
    // rest below.
    onto_standard(null)?;
    signals::report_children();
    // SAFETY: as for the watcher.
    match unsafe { fork_with(libc::SIGCHLD) }? {
        0 => {
            become_shell();
            leave(NOT_RUN)
        }
        shell => {
            let _ = close_from(3);
            wait_for(shell)
        }
    }
}

/// fork(2) without what the C library does beside it, and with this signal at the child's end, or none.
///
/// # Safety
/// The child may make async-signal-safe calls only.
unsafe fn fork_with(signal: i32) -> nix::Result<i32> {
    // SAFETY: a null stack is ours, copied; the flags ask for nothing to be shared.
    let child = Errno::result(unsafe { libc::syscall(libc::SYS_clone, signal, 0, 0, 0, 0) })?;
    Ok(i32::try_from(child).unwrap_or(-1))
}

/// A watcher. Emulators know children with a signal only; then the program may hear of it.
///
/// # Safety
/// The child may make async-signal-safe calls only.
unsafe fn fork_watcher() -> nix::Result<i32> {
    // SAFETY: promised by the caller.
    match unsafe { fork_with(0) } {
        // SAFETY: promised by the caller.
        Err(Errno::EINVAL) => unsafe { fork_with(libc::SIGCHLD) },
        other => other,
    }
}

/// What a watcher leaves behind: which of the three, and its number or numbers.
#[repr(C)]
struct Report {
    kind: AtomicI32,
    number: AtomicI32,
    pid: AtomicI32,
}

const NOTHING: i32 = 0;
const EXIT: i32 = 1;
const SIGNAL: i32 = 2;
const ERROR: i32 = 3;

/// A [`Report`] in memory that a child shares with its parent.
struct Shared(NonNull<Report>);

impl Shared {
    fn new() -> io::Result<Shared> {
        let (read_write, shared) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: new memory of the kernel's choice; nothing of ours is replaced.
        let memory =
            unsafe { libc::mmap(std::ptr::null_mut(), size_of::<Report>(), read_write, shared, -1, 0) };
        match NonNull::new(memory.cast::<Report>()) {
            Some(report) if memory != libc::MAP_FAILED => Ok(Shared(report)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn report(&self) -> &Report {
        // SAFETY: a page of zeros is a valid report, and it stays mapped as long as we have it. All its
        // fields are atomic.
        unsafe { self.0.as_ref() }
    }

    /// In the child.
    fn keep(&self, ended: io::Result<Ended>) {
        let (kind, number, pid) = match ended {
            Ok(Ended::Exit(status)) => (EXIT, status, 0),
            Ok(Ended::Signal { pid, signal }) => (SIGNAL, signal, pid),
            Err(error) => (ERROR, error.raw_os_error().unwrap_or(0), 0),
        };
        let report = self.report();
        report.number.store(number, Ordering::Relaxed);
        report.pid.store(pid, Ordering::Relaxed);
        report.kind.store(kind, Ordering::Release);
    }

    /// What the child kept. One that was killed has kept nothing.
    fn found(&self) -> io::Result<Ended> {
        let report = self.report();
        let kind = report.kind.load(Ordering::Acquire);
        let (number, pid) = (report.number.load(Ordering::Relaxed), report.pid.load(Ordering::Relaxed));
        match kind {
            EXIT => Ok(Ended::Exit(number)),
            SIGNAL => Ok(Ended::Signal { pid, signal: number }),
            ERROR => Err(io::Error::from_raw_os_error(number)),
            _ => {
                debug_assert_eq!(kind, NOTHING);
                Err(io::Error::other("whoever waited for the command was killed"))
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, with this length, and never handed out beyond our own life.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Report>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn run(command: &str) -> Ended {
        let shell = Shell { command: command.as_bytes(), environment: None, ids: None, ignores_hangup: true };
        shell.run_unseen().expect("a shell")
    }

    #[test]
    fn commands_end_as_they_end() {
        assert_eq!(run("exit 7"), Ended::Exit(7));
        assert!(matches!(run("kill -9 $$"), Ended::Signal { signal: 9, pid } if pid > 1));
        assert_eq!(
            run("test \"$(readlink /proc/self/fd/0)\" = /dev/null && test ! -e /proc/$$/fd/3"),
            Ended::Exit(0)
        );
        assert_eq!(run("test \"$(grep -c '^SigBlk:.0*$' /proc/self/status)\" = 1"), Ended::Exit(0));
    }

    #[test]
    fn a_command_in_the_background_is_not_waited_for() {
        let begun = Instant::now();
        assert_eq!(run("sleep 30 & exit 3"), Ended::Exit(3));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_watcher_that_is_killed_is_an_error() {
        let shell = Shell { command: b"kill -9 $PPID", environment: None, ids: None, ignores_hangup: false };
        assert!(shell.run_unseen().is_err());
    }
}
