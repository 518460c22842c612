//! A line in a file that others write to, too: whole, or not there at all.
//!
//! The file is opened once and trusted once, before this process may become somebody else. A line is one
//! write(2) at the end of the file, wherever that is by then. Where the disk is full the kernel may take
//! the beginning of a line; that is taken back, or whoever writes next would go on in the middle of it.
//! Nobody writes while something is taken back: writers share a lock (flock(2)), and whoever takes back
//! has it for himself. Nobody waits for it.

use super::signals::holding_back;
use nix::sys::signal::Signal;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Opens a log for a process of user `caller`, and makes it where there is none. A symbolic link is not
/// followed; anything but a regular file, a stranger's file, and one that everybody may write are errors.
pub fn open(path: &Path, caller: u32) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    let distrust = if !meta.is_file() {
        "Not a regular file"
    } else if meta.uid() != 0 && meta.uid() != caller {
        "it belongs neither to root nor to the caller"
    } else if meta.mode() & 0o002 != 0 {
        "everybody may write it"
    } else if meta.nlink() > 1 {
        "it has another name, too"
    } else {
        return Ok(file);
    };
    Err(io::Error::other(distrust))
}

/// How often the lock is tried: others have it for a write. Whoever may read the file can take it, too, and
/// must not hold a connection.
const ATTEMPTS: u32 = 20;

/// Takes the lock, shared or alone; false if it cannot be had now.
fn lock(file: &File, operation: libc::c_int) -> bool {
    (0..ATTEMPTS).any(|_| {
        // SAFETY: the descriptor is open as long as the file is borrowed.
        let has = unsafe { libc::flock(file.as_raw_fd(), operation | libc::LOCK_NB) } == 0;
        if !has {
            std::thread::yield_now();
        }
        has
    })
}

/// Appends a line, or fails.
pub fn append(file: &File, line: &[u8]) -> io::Result<()> {
    // Where there are no locks (some network file systems) there is nobody who takes them, either.
    lock(file, libc::LOCK_SH);
    let done = append_locked(file, line);
    // SAFETY: as above.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) };
    done
}

fn append_locked(mut file: &File, line: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    // Beyond RLIMIT_FSIZE the signal would end the process, and with it the connection.
    let written = loop {
        match holding_back(Signal::SIGXFSZ, || file.write(line)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => break done?,
        }
    };
    if written == line.len() {
        return Ok(());
    }
    // If somebody else has written meanwhile, the place of the fragment is not known.
    if lock(file, libc::LOCK_EX) && file.metadata()?.len() == before + written as u64 {
        file.set_len(before)?;
    }
    Err(io::ErrorKind::StorageFull.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    /// A directory that is gone with its test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("tcpd-append-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a directory");
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_lock_that_somebody_keeps_holds_nobody() {
        let scratch = Scratch::new("lock");
        let path = scratch.0.join("log");
        let (ours, theirs) = (open(&path, us()).expect("a log"), open(&path, us()).expect("the same"));
        assert!(lock(&theirs, libc::LOCK_EX) && !lock(&ours, libc::LOCK_SH));
        append(&ours, b"a line\n").expect("appended");
        assert_eq!(std::fs::read(&path).expect("the log"), b"a line\n");
    }

    #[test]
    fn a_file_with_another_name_is_no_log() {
        let scratch = Scratch::new("names");
        let (path, other) = (scratch.0.join("log"), scratch.0.join("other"));
        std::fs::write(&other, "").expect("a file");
        std::fs::hard_link(&other, &path).expect("a second name");
        assert!(open(&path, us()).is_err());
    }

    fn us() -> u32 {
        crate::sys::process::caller()
    }

    #[test]
    fn lines_of_several_stand_one_below_the_other() {
        let scratch = Scratch::new("lines");
        let path = scratch.0.join("log");
        let (one, two) = (open(&path, us()).expect("made"), open(&path, us()).expect("opened"));
        for (file, line) in [(&one, "a\n"), (&two, "b\n"), (&one, "c\n")] {
            append(file, line.as_bytes()).expect("written");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), "a\nb\nc\n");
        assert_eq!(one.metadata().expect("a file").mode() & 0o137, 0, "0640 at most");
    }

    #[test]
    fn not_every_file_is_a_log() {
        let scratch = Scratch::new("trust");
        let path = |name: &str| scratch.0.join(name);
        let why = |name: &str, caller| open(&path(name), caller).expect_err(name).to_string();
        std::fs::write(path("file"), "").expect("writes");
        std::os::unix::fs::symlink(path("file"), path("link")).expect("links");
        assert!(why("link", us()).contains("symbolic links"));
        std::os::unix::fs::symlink(path("nowhere"), path("loose")).expect("links");
        assert!(why("loose", us()).contains("symbolic links") && !path("nowhere").exists());
        std::fs::create_dir(path("directory")).expect("mkdir");
        assert!(why("directory", us()).starts_with("Is a directory"));
        nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        assert!(why("fifo", us()).starts_with("No such device or address"));
        let reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path("fifo"));
        assert!(why("fifo", us()).starts_with("Not a regular file"));
        drop(reader);
        std::fs::set_permissions(path("file"), std::fs::Permissions::from_mode(0o602)).expect("chmod");
        assert_eq!(why("file", us()), "everybody may write it");
        std::fs::set_permissions(path("file"), std::fs::Permissions::from_mode(0o660)).expect("chmod");
        assert!(open(&path("file"), us()).is_ok());
        if us() == 0 {
            std::os::unix::fs::chown(path("file"), Some(65534), None).expect("chown");
            assert_eq!(why("file", us()), "it belongs neither to root nor to the caller");
            assert!(open(&path("file"), 65534).is_ok());
        }
    }

    #[test]
    fn a_full_device_is_an_error_and_nothing_else() {
        let full = OpenOptions::new().append(true).open("/dev/full").expect("a device");
        assert!(append(&full, b"line\n").is_err());
    }
}
