//! Fork, exec, identity: this file and `launch` do them, and no other.
//!
//! A child gets descriptors 0, 1 and 2 and nothing else. Between fork and exec only async-signal-safe
//! calls are made, because a lookup thread may have been left behind: everything a child needs is
//! made before the fork.

use super::environment::environ;
use super::signals;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    AccessFlags, ForkResult, Gid, Pid, Uid, access, dup2_stderr, dup2_stdin, dup2_stdout, execv, execve,
    fork, getgroups, getresgid, getresuid, pipe2, setgroups, setresgid, setresuid,
};
use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Ids to become. What is None stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub groups: Vec<u32>,
}

impl Ids {
    /// Whether this process has these ids already: real, effective and saved, and no supplementary
    /// group beside them.
    pub fn are_ours(&self) -> bool {
        let user = |wanted| {
            getresuid().is_ok_and(|is| [is.real, is.effective, is.saved] == [Uid::from_raw(wanted); 3])
        };
        let group = |wanted| {
            getresgid().is_ok_and(|is| [is.real, is.effective, is.saved] == [Gid::from_raw(wanted); 3])
        };
        let subset = || getgroups().is_ok_and(|ours| ours.iter().all(|g| self.groups.contains(&g.as_raw())));
        self.uid.is_none_or(user) && self.gid.is_none_or(group) && subset()
    }

    /// Takes these ids on: supplementary groups, group, user, in that order, for good. Fails if root
    /// could be had back. Async-signal-safe but for the vector, which the caller makes.
    fn take_on(&self, groups: &[Gid]) -> nix::Result<()> {
        setgroups(groups)?;
        if let Some(gid) = self.gid.map(Gid::from_raw) {
            setresgid(gid, gid, gid)?;
        }
        if let Some(uid) = self.uid.map(Uid::from_raw) {
            setresuid(uid, uid, uid)?;
            if !uid.is_root()
                && (setresuid(Uid::from_raw(0), Uid::from_raw(0), uid).is_ok() || Uid::effective().is_root())
            {
                return Err(Errno::EPERM);
            }
        }
        Ok(())
    }

    fn gids(&self) -> Vec<Gid> {
        self.groups.iter().copied().map(Gid::from_raw).collect()
    }

    /// Makes this process have these ids, unless it has them already.
    pub fn assume(&self) -> io::Result<()> {
        if self.are_ours() { Ok(()) } else { Ok(self.take_on(&self.gids())?) }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exit(i32),
    Signal { pid: i32, signal: i32 },
}

/// A command for /bin/sh, with /dev/null on 0, 1 and 2.
pub struct Shell<'a> {
    pub command: &'a [u8],
    /// Replaces the environment.
    pub environment: Option<&'a [CString]>,
    pub ids: Option<&'a Ids>,
    pub ignores_hangup: bool,
}

const SHELL: &CStr = c"/bin/sh";
/// Exit status of a child that could not even start its shell; 126 and above is "could not be run".
pub const NOT_RUN: i32 = 126;

fn shell_arguments(command: &[u8]) -> io::Result<[CString; 3]> {
    let command = CString::new(command).map_err(|_| io::Error::other("NUL byte in command"))?;
    Ok([CString::from(c"sh"), CString::from(c"-c"), command])
}

/// What execve(2) wants: pointers, and a null one at the end.
pub(super) fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// All that a child needs to become the shell of a command, made before it is started.
pub(super) struct Prepared<'a> {
    arguments: Vec<*const c_char>,
    environment: Option<Vec<*const c_char>>,
    ids: Option<(&'a Ids, Vec<Gid>)>,
    /// What the arguments point to; it stays where it is when this is moved.
    _strings: [CString; 3],
}

impl Shell<'_> {
    pub(super) fn prepare(&self) -> io::Result<Prepared<'_>> {
        let strings = shell_arguments(self.command)?;
        Ok(Prepared {
            arguments: pointers(&strings),
            environment: self.environment.map(pointers),
            ids: self.ids.filter(|ids| !ids.are_ours()).map(|ids| (ids, ids.gids())),
            _strings: strings,
        })
    }

    /// Runs the command and waits for its shell. A trailing `&` is the shell's business.
    pub fn run(&self) -> io::Result<Ended> {
        let prepared = self.prepare()?;
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        let reported = signals::ChildrenReported::new();
        // SAFETY: the child makes async-signal-safe calls only, on memory made above, and then
        // executes the shell or leaves by _exit.
        match unsafe { fork() }? {
            ForkResult::Child => {
                let _ = self.start(&prepared, null.as_fd());
                leave(NOT_RUN)
            }
            ForkResult::Parent { child } => {
                let ended = wait_for(child.as_raw());
                drop(reported);
                ended
            }
        }
    }

    /// In the child: descriptors, identity, shell. Returns only if something failed.
    pub(super) fn start(&self, prepared: &Prepared<'_>, null: BorrowedFd<'_>) -> io::Result<()> {
        onto_standard(null)?;
        close_from(3)?;
        if self.ignores_hangup {
            signals::ignore_hangup();
        }
        if let Some((ids, groups)) = &prepared.ids {
            ids.take_on(groups)?;
        }
        // SAFETY: both arrays end in a null pointer, and the strings they point to live as long as they
        // do, in `prepared` and in `self`; the environment of this process is such an array, too.
        unsafe {
            let environment = prepared.environment.as_deref().map_or(environ, <[_]>::as_ptr);
            libc::execve(SHELL.as_ptr(), prepared.arguments.as_ptr(), environment);
        }
        Err(io::Error::last_os_error())
    }
}

/// One waitpid(2): the process, or None if none has ended (`flags`) or there is none. It is called
/// directly because nix knows no child that died of a realtime signal.
pub(super) fn wait_once(pid: i32, flags: i32) -> nix::Result<Option<(i32, Ended)>> {
    let mut status = 0;
    // SAFETY: `status` is a plain number that outlives the call.
    let ended = Errno::result(unsafe { libc::waitpid(pid, &raw mut status, flags) })?;
    if ended == 0 {
        return Ok(None);
    }
    let how = if libc::WIFSIGNALED(status) {
        Ended::Signal { pid: ended, signal: libc::WTERMSIG(status) }
    } else {
        Ended::Exit(libc::WEXITSTATUS(status))
    };
    Ok(Some((ended, how)))
}

pub(super) fn wait_for(child: i32) -> io::Result<Ended> {
    loop {
        match wait_once(child, 0) {
            Ok(Some((_, ended))) => return Ok(ended),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Collects the children that have ended, without waiting: which, and how. As the first process of a
/// container it meets others' orphans, too.
pub fn reap() -> Vec<(i32, Ended)> {
    std::iter::from_fn(|| wait_once(-1, libc::WNOHANG).ok().flatten()).collect()
}

/// Has this process killed when the one that started it ends; where that has ended already, at once.
pub fn end_with_parent(parent: u32) {
    let asked = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    let is_there = u32::try_from(nix::unistd::getppid().as_raw()) == Ok(parent);
    if asked.is_err() || !is_there {
        leave(NOT_RUN);
    }
}

/// A program whose standard output is read here. It keeps descriptors 0 and 2 and gets no other.
pub struct Overheard {
    child: i32,
    output: Option<OwnedFd>,
    /// An ignored SIGCHLD would lose the status.
    _reported: signals::ChildrenReported,
}

impl Overheard {
    pub fn start(path: &Path, arguments: &[CString], environment: &[CString]) -> io::Result<Overheard> {
        let path = CString::new(path.as_os_str().as_encoded_bytes())?;
        let (output, input) = pipe2(OFlag::O_CLOEXEC)?;
        // Closed without a byte once the program runs; else it brings the reason why it does not.
        let (failure, report) = pipe2(OFlag::O_CLOEXEC)?;
        let reported = signals::ChildrenReported::new();
        // SAFETY: the child makes async-signal-safe calls only (nix's execve makes its arrays of
        // pointers on the heap, which glibc keeps usable after fork), and then executes the program or
        // leaves by _exit.
        match unsafe { fork() }? {
            ForkResult::Child => {
                let become_it = || -> nix::Result<()> {
                    dup2_stdout(&input)?;
                    signals::break_on_pipes();
                    close_behind(report.as_fd())?;
                    execve(&path, arguments, environment)?;
                    Ok(())
                };
                let error = become_it().err().unwrap_or(Errno::UnknownErrno);
                let _ = nix::unistd::write(&report, &(error as i32).to_ne_bytes());
                leave(NOT_RUN)
            }
            ForkResult::Parent { child } => {
                drop((input, report));
                let child = child.as_raw();
                let running = Overheard { child, output: Some(output), _reported: reported };
                let mut number = [0; 4];
                match nix::unistd::read(&failure, &mut number) {
                    Ok(4) => {
                        let _ = wait_for(child);
                        Err(io::Error::from_raw_os_error(i32::from_ne_bytes(number)))
                    }
                    _ => Ok(running),
                }
            }
        }
    }

    /// Its standard output, until that is closed here.
    pub fn output(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }

    /// Closes its output, and waits for the program until the deadline, at which it is killed: None.
    pub fn finish(mut self, deadline: Instant) -> io::Result<Option<Ended>> {
        // Nothing tells of one child's end before Linux 5.3 but asking.
        const PAUSE: Duration = Duration::from_millis(2);
        self.output = None;
        loop {
            match wait_once(self.child, libc::WNOHANG) {
                Ok(Some((_, ended))) => return Ok(Some(ended)),
                Ok(None) if Instant::now() >= deadline => break,
                Ok(None) => std::thread::sleep(PAUSE),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // It is a child that was not waited for, so the number is still its own.
        kill(Pid::from_raw(self.child), Signal::SIGKILL)?;
        wait_for(self.child).map(|_| None)
    }
}

/// Closes all descriptors from 3 on but one that is closed at exec anyway.
fn close_behind(kept: BorrowedFd<'_>) -> nix::Result<()> {
    let kept = u32::try_from(kept.as_raw_fd()).unwrap_or(u32::MAX);
    if kept > 3 {
        close_between(3, kept - 1)?;
    }
    close_between(kept.saturating_add(1).max(3), u32::MAX)
}

/// An executable file of this name in the first directory that has one.
pub fn find_program(name: &str, directories: &[&str]) -> Option<PathBuf> {
    let runs = |path: &PathBuf| {
        path.metadata().is_ok_and(|m| m.is_file()) && access(path, AccessFlags::X_OK).is_ok()
    };
    directories.iter().map(|directory| Path::new(directory).join(name)).find(runs)
}

/// Whether root is among the user ids of this process: real, effective or saved.
pub fn holds_root() -> bool {
    getresuid().map_or(true, |is| [is.real, is.effective, is.saved].contains(&Uid::from_raw(0)))
}

pub(super) fn close_from(first: u32) -> nix::Result<()> {
    close_between(first, u32::MAX)
}

fn close_between(first: u32, last: u32) -> nix::Result<()> {
    // SAFETY: closing descriptors; this process executes another program next and owns none of them.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 {
        return Ok(());
    }
    // A kernel without close_range(2), before 5.9.
    for fd in first..=last.min(4095) {
        // SAFETY: as above.
        unsafe { libc::close(RawFd::try_from(fd).unwrap_or(RawFd::MAX)) };
    }
    Ok(())
}

/// Puts `fd` on 0, 1 and 2 and becomes `/bin/sh -c command`. Returns only if it failed.
pub fn become_shell(command: &[u8], fd: BorrowedFd<'_>, environment: Option<&[CString]>) -> io::Error {
    let become_it = || -> io::Result<()> {
        let arguments = shell_arguments(command)?;
        onto_standard(fd)?;
        if fd.as_raw_fd() > 2 {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        match environment {
            Some(environment) => execve(SHELL, &arguments, environment)?,
            None => execv(SHELL, &arguments)?,
        };
        Ok(())
    };
    match become_it() {
        Err(error) => error,
        Ok(()) => io::Error::other("exec returned"),
    }
}

/// Puts a descriptor on 0, 1 and 2, for a program that is executed next: one that is there already is
/// not closed then. Async-signal-safe.
pub fn onto_standard(fd: BorrowedFd<'_>) -> io::Result<()> {
    dup2_stdin(fd)?;
    dup2_stdout(fd)?;
    dup2_stderr(fd)?;
    if fd.as_raw_fd() <= 2 {
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    Ok(())
}

/// Becomes a program. Returns only if it failed.
pub fn become_program(path: &Path, arguments: &[CString], environment: Option<&[CString]>) -> io::Error {
    let path = match CString::new(path.as_os_str().as_encoded_bytes()) {
        Ok(path) => path,
        Err(_) => return io::Error::other("NUL byte in path"),
    };
    let result = match environment {
        Some(environment) => execve(&path, arguments, environment),
        None => execv(&path, arguments),
    };
    match result {
        Err(error) => error.into(),
        Ok(never) => match never {},
    }
}

/// Sets the file mode creation mask; gives the one before.
pub fn set_umask(mask: u32) -> u32 {
    umask(Mode::from_bits_truncate(mask)).bits()
}

/// Adds to the nice value.
pub fn nice(increment: i32) -> io::Result<()> {
    Errno::clear();
    // SAFETY: nice(2) takes a number. -1 may be the new value: only errno tells.
    let result = unsafe { libc::nice(increment) };
    match Errno::last_raw() {
        error if result == -1 && error != 0 => Err(io::Error::from_raw_os_error(error)),
        _ => Ok(()),
    }
}

pub fn pid() -> u32 {
    std::process::id()
}

pub fn caller() -> u32 {
    Uid::current().as_raw()
}

/// Whether somebody with fewer rights started this program with more (set-id bits, file capabilities).
pub fn is_privileged_start() -> bool {
    // AT_SECURE of linux/auxvec.h, which the libc crate does not have for every target.
    const AT_SECURE: libc::c_ulong = 23;
    // SAFETY: getauxval(3) reads the auxiliary vector; no memory of ours is involved.
    let secure = unsafe { libc::getauxval(AT_SECURE) };
    secure != 0 || Uid::current() != Uid::effective() || Gid::current() != Gid::effective()
}

/// Lets go of what is behind these descriptors, in a child that lasts: the null device stands there, for
/// they have owners.
pub fn let_go(descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    descriptors.iter().try_for_each(|descriptor| put_in_place_of(*descriptor, null.as_fd()))
}

/// Lets go of what is behind a descriptor: something else that is open stands there, until exec.
pub fn put_in_place_of(descriptor: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open, and stay so; whoever owns the first one owns another file now.
    Errno::result(unsafe { libc::dup3(other.as_raw_fd(), descriptor.as_raw_fd(), libc::O_CLOEXEC) })?;
    Ok(())
}

/// Ends the process at once: no destructors, no flushing.
pub fn leave(status: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Forks; the child does `work` and ends with the status it returns. Only for a process with a single
/// thread. The parent gets the child's pid.
pub fn start_child(work: impl FnOnce() -> i32) -> io::Result<i32> {
    // SAFETY: the caller has one thread, so the child's memory is whole.
    match unsafe { fork() }? {
        ForkResult::Child => leave(work()),
        ForkResult::Parent { child } => Ok(child.as_raw()),
    }
}

/// A standard descriptor, if it is open.
pub fn standard(fd: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: the descriptor is only looked at here; 0, 1 and 2 are never closed by this program.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(borrowed, FcntlArg::F_GETFD).ok().map(|_| borrowed)
}

/// Opens the null device on those of 0, 1 and 2 that are closed, so that no file of ours lands there.
/// They are closed again at exec, as they were.
pub fn fill_standard() {
    if (0..=2).all(|fd| standard(fd).is_some()) {
        return;
    }
    while let Ok(null) = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()) {
        if null.as_raw_fd() > 2 {
            return;
        }
        std::mem::forget(null);
    }
}

/// Whether a descriptor may be the client: a socket, or the same file as descriptor 0. A terminal is
/// nobody's client.
fn may_be_client(fd: BorrowedFd<'_>) -> bool {
    let same = |a, b| match (nix::sys::stat::fstat(a), nix::sys::stat::fstat(b)) {
        (Ok(a), Ok(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino),
        _ => false,
    };
    let is_input = || standard(0).is_some_and(|stdin| same(stdin, fd));
    super::socket::is_socket(fd) || (is_input() && !nix::unistd::isatty(fd).unwrap_or(false))
}

/// A copy of descriptor 1 or 2 for messages of ours; None if it is closed or may be the client.
pub fn own_copy(fd: RawFd) -> Option<OwnedFd> {
    let open = standard(fd).filter(|&open| !may_be_client(open))?;
    let copy = fcntl(open, FcntlArg::F_DUPFD_CLOEXEC(10)).ok()?;
    // SAFETY: F_DUPFD_CLOEXEC returned a new descriptor that nobody else owns.
    Some(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Descriptor 2 kept from whatever the runtime may say on its own (it dies of a lack of memory with
/// words): the null device stands there until the client's own is put back.
pub struct Shield(Option<OwnedFd>);

impl Shield {
    /// Shields descriptor 2 if it may be the client.
    pub fn up() -> Shield {
        let Some(open_now) = standard(2) else { return Shield(None) };
        if !may_be_client(open_now) {
            return Shield(None);
        }
        let kept = fcntl(open_now, FcntlArg::F_DUPFD_CLOEXEC(10));
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty());
        match (kept, null) {
            (Ok(kept), Ok(null)) if dup2_stderr(&null).is_ok() => {
                // SAFETY: F_DUPFD_CLOEXEC returned a new descriptor that nobody else owns.
                Shield(Some(unsafe { OwnedFd::from_raw_fd(kept) }))
            }
            _ => Shield(None),
        }
    }

    /// Puts the descriptor back, for the server.
    pub fn down(&self) -> io::Result<()> {
        match &self.0 {
            Some(kept) => Ok(dup2_stderr(kept)?),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &str) -> Ended {
        let shell = Shell { command: command.as_bytes(), environment: None, ids: None, ignores_hangup: true };
        shell.run().expect("a shell")
    }

    #[test]
    fn commands_run_on_the_null_device_and_end_as_they_end() {
        assert_eq!(run("exit 7"), Ended::Exit(7));
        assert!(matches!(run("kill -9 $$"), Ended::Signal { signal: 9, .. }));
        assert_eq!(
            run("test \"$(readlink /proc/self/fd/0)\" = /dev/null && test ! -e /proc/$$/fd/3"),
            Ended::Exit(0)
        );
    }

    fn overheard(command: &str) -> Overheard {
        let arguments = ["sh", "-c", command].map(|word| CString::new(word).expect("no NUL"));
        let running = Overheard::start(Path::new("/bin/sh"), &arguments, &[CString::from(c"A=1")]);
        running.expect("a shell")
    }

    #[test]
    fn a_program_is_overheard() {
        let soon = Instant::now() + Duration::from_secs(20);
        let running = overheard("echo $A; ls /proc/self/fd; exit 3");
        let mut said = [0; 100];
        let mut length = 0;
        loop {
            let output = running.output().expect("open");
            match super::super::socket::read_until(output, &mut said[length..], soon).expect("in time") {
                0 => break,
                more => length += more,
            }
        }
        // The fourth is the directory that ls reads.
        assert_eq!(&said[..length], b"1\n0\n1\n2\n3\n");
        assert_eq!(running.finish(soon).expect("a child"), Some(Ended::Exit(3)));
        let endless = overheard("while echo x; do :; done");
        assert!(
            matches!(endless.finish(soon), Ok(Some(Ended::Signal { signal: libc::SIGPIPE, .. }))),
            "a pipe without a reader ends it"
        );
    }

    #[test]
    fn an_overheard_program_ends_at_the_deadline() {
        let start = Instant::now();
        let ended = overheard("exec sleep 20").finish(start + Duration::from_millis(100));
        assert_eq!(ended.expect("a child"), None);
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_program_that_cannot_be_executed_says_why() {
        let cause = Overheard::start(Path::new("/etc/passwd"), &[], &[]).err().expect("no program");
        assert_eq!(cause.raw_os_error(), Some(libc::EACCES));
    }
}
