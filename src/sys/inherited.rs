//! Descriptors that this process was born with, beside the standard ones.
//!
//! A number is no owner. What stands behind it is taken once, before this program opens anything of its
//! own, so that nothing is owned twice.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes the first `count` descriptors behind the standard ones, which somebody left open for us; from
/// now on they are closed at exec. Called before anything else is opened, and only once; otherwise, and
/// where one is closed: which, and why.
pub fn take(count: u32) -> Result<Vec<OwnedFd>, (RawFd, io::Error)> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err((3, Errno::EBADF.into()));
    }
    let last = RawFd::try_from(count).unwrap_or(RawFd::MAX).saturating_add(2);
    (3..=last).map(|fd| take_one(fd).map_err(|cause| (fd, cause.into()))).collect()
}

fn take_one(fd: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: it is only asked about here, and a closed one answers with an error.
    let open = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(open, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, it was so before this program opened anything, and nobody takes it a second
    // time: it has no owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
