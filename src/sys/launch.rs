//! Starting a server without a copy of this process: what fork(2) copies page by page only for execve(2)
//! to throw it away.
//!
//! The child runs in our memory, on a stack of its own, and we wait until it is the server or has failed
//! (CLONE_VM and CLONE_VFORK, as posix_spawn(3) does it). It makes async-signal-safe calls only, on
//! memory that was made before. Signals, mask, umask and descriptors are its own from the start: it
//! changes them for itself alone.
//!
//! As long as the server's file does not answer (a file system that hangs) we wait, too. Nobody could be
//! served meanwhile.

use super::environment::environ;
use super::process::{NOT_RUN, leave, onto_standard, pointers, set_umask, wait_for};
use super::signals::Signals;
use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// The child's stack, bytes: for a handful of system calls.
const STACK: usize = 64 * 1024;
/// Every architecture wants its stack aligned to this or less.
const ALIGNMENT: usize = 16;

/// A server, and all that is needed to start it.
pub struct Launcher {
    path: PathBuf,
    file: CString,
    arguments: Vec<*const c_char>,
    environment: Option<Vec<*const c_char>>,
    /// What the pointers point to; it stays where it is when this is moved.
    _strings: [Vec<CString>; 2],
    umask: u32,
    stack: Vec<u8>,
}

/// What a child needs, and what it says: an errno, if it could not become the server.
struct Start<'a> {
    launcher: &'a Launcher,
    connection: BorrowedFd<'a>,
    signals: &'a Signals,
    failure: Cell<Option<i32>>,
}

impl Launcher {
    /// The environment is that of this process where none is given.
    pub fn new(
        path: PathBuf,
        arguments: Vec<CString>,
        environment: Option<Vec<CString>>,
        umask: u32,
    ) -> io::Result<Launcher> {
        Ok(Launcher {
            file: CString::new(path.as_os_str().as_encoded_bytes())?,
            path,
            arguments: pointers(&arguments),
            environment: environment.as_deref().map(pointers),
            _strings: [arguments, environment.unwrap_or_default()],
            umask,
            stack: vec![0; STACK],
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts the server with `connection` on 0, 1 and 2, and signals as they were before `signals` were
    /// taken. Its process id, once it is the server.
    pub fn start(&mut self, connection: BorrowedFd<'_>, signals: &Signals) -> io::Result<i32> {
        let stack = self.stack.as_mut_ptr_range().end;
        let top = stack.wrapping_sub(stack.addr() % ALIGNMENT).cast::<c_void>();
        let start = Start { launcher: self, connection, signals, failure: Cell::new(None) };
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: the child runs on the stack made in `new`, which nobody else touches: `&mut self` is
        // held for the call, and through it only what `become_server` reads. CLONE_VFORK keeps this
        // thread, the only one that knows of `start`, waiting until the child has executed the server
        // or left by _exit; so `start` outlives the child's use of it, and there is no race for its
        // cell. No handler for any signal is installed in this program that could run in the child.
        let child = unsafe { libc::clone(become_server, top, flags, (&raw const start).cast_mut().cast()) };
        if child < 0 {
            return Err(io::Error::last_os_error());
        }
        match start.failure.get() {
            None => Ok(child),
            Some(error) => {
                wait_for(child)?;
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }
}

/// In the child. Never returns: either it is another program or it leaves.
extern "C" fn become_server(start: *mut c_void) -> c_int {
    // SAFETY: `Launcher::start` hands over a pointer to its `Start` and waits for us.
    let start = unsafe { &*start.cast_const().cast::<Start<'_>>() };
    let Launcher { file, arguments, environment, umask, .. } = start.launcher;
    set_umask(*umask);
    let ready = start.signals.give_back().and_then(|()| onto_standard(start.connection));
    let error = match ready {
        Ok(()) => {
            // SAFETY: both arrays end in a null pointer, and the strings they point to live as long as
            // the launcher; the environment of this process is such an array, too.
            unsafe {
                let environment = environment.as_ref().map_or(environ, |own| own.as_ptr());
                libc::execve(file.as_ptr(), arguments.as_ptr(), environment);
            }
            io::Error::last_os_error()
        }
        Err(error) => error,
    };
    start.failure.set(Some(error.raw_os_error().unwrap_or(libc::EINVAL)));
    leave(NOT_RUN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    fn launched(path: &str, script: &str) -> (io::Result<i32>, String) {
        let words = ["sh", "-c", script].map(|word| CString::new(word).expect("no NUL"));
        let environment = vec![CString::from(c"A=1")];
        let mut launcher =
            Launcher::new(path.into(), words.to_vec(), Some(environment), 0o027).expect("no NUL");
        let signals = Signals::take().expect("signals");
        let (mut client, server) = UnixStream::pair().expect("a pair");
        let started = launcher.start(server.as_fd(), &signals);
        drop(server);
        let mut said = String::new();
        client.read_to_string(&mut said).expect("an end");
        if let Ok(child) = started {
            wait_for(child).expect("a child");
        }
        (started, said)
    }

    /// These lines of a process's status.
    fn status(process: &str, keys: [&str; 2]) -> Vec<String> {
        let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
        text.lines().filter(|line| keys.iter().any(|key| line.starts_with(key))).map(str::to_owned).collect()
    }

    #[test]
    fn the_server_finds_its_process_in_order() {
        let [umask, mask] = ["Umask:", "SigBlk:"];
        let before = status("thread-self", [umask, mask]);
        let (started, said) =
            launched("/bin/sh", "umask; echo $A; grep SigBlk: /proc/self/status; echo error >&2");
        assert!(started.is_ok());
        assert_eq!(said, format!("0027\n1\n{}\nerror\n", before[1]));
        assert_eq!(status("thread-self", [umask, umask]), before[..1], "ours is not touched");
    }

    #[test]
    fn a_server_that_cannot_be_executed_says_why() {
        let (started, said) = launched("/nonexistent/server", "");
        assert_eq!((started.expect_err("no server").raw_os_error(), said.as_str()), (Some(libc::ENOENT), ""));
    }
}
