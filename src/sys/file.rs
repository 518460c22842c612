//! Opening what an administrator wrote: regular files only, never waiting.
//!
//! A rule file may be a FIFO that nobody writes to, a directory, a device. It is opened non-blocking
//! and then looked at through the open descriptor, so that what was checked is what is read.

use nix::fcntl::{OFlag, openat};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, lstat};
use std::ffi::{CStr, CString, OsStr, OsString, c_char};
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a path led to.
pub enum Opened {
    /// A regular file, and what makes this state of it unlike any other.
    Regular(File, Stamp),
    /// Nothing there, or the null device.
    Nothing,
}

/// Identity and state of a file: it changed if and only if this changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    /// Change time, seconds and nanoseconds.
    pub changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Stamp {
        Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// As numbers: device, inode, size, change time.
    pub fn numbers(&self) -> [u64; 5] {
        let (seconds, nanoseconds) = self.changed;
        [self.device, self.inode, self.size, seconds.cast_unsigned(), nanoseconds.cast_unsigned()]
    }

    /// The stamp of an open file as it is now.
    pub fn now(file: &File) -> io::Result<Stamp> {
        fstat(file).map(|stat| Stamp::of_stat(&stat)).map_err(Into::into)
    }

    /// Of what stat(2) says; the types are those of the machine.
    #[allow(clippy::unnecessary_cast, reason = "not on every machine")]
    fn of_stat(stat: &FileStat) -> Stamp {
        Stamp {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

/// Opens a file for reading. A missing one is `Nothing`; a directory, FIFO, socket or device other
/// than the null device is an error.
pub fn open(path: &Path) -> io::Result<Opened> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Opened::Nothing),
        Err(cause) => return Err(cause),
    };
    let stat = fstat(&file)?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG {
        return Ok(Opened::Regular(file, Stamp::of_stat(&stat)));
    }
    let meta = file.metadata()?;
    if is_null(&meta) {
        return Ok(Opened::Nothing);
    }
    Err(if meta.is_dir() {
        io::Error::from_raw_os_error(libc::EISDIR)
    } else {
        io::Error::other("Not a regular file")
    })
}

/// Whether this process can open a few more files: what a lookup needs at a time.
pub fn can_open() -> bool {
    let pair = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC);
    pair().is_ok_and(|_held| pair().is_ok())
}

/// What a path leads to, without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Regular(Stamp),
    /// Nothing there, or the null device.
    Nothing,
    Other,
}

/// Looks at a path as [`open`] would.
pub fn find(path: &Path) -> io::Result<Found> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => Ok(Found::Regular(Stamp::of(&meta))),
        Ok(meta) if is_null(&meta) => Ok(Found::Nothing),
        Ok(_) => Ok(Found::Other),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(cause) => Err(cause),
    }
}

fn is_null(meta: &Metadata) -> bool {
    let null = std::fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == meta.rdev());
    meta.file_type().is_char_device() && null
}

/// Opens a regular file for reading, and the directory that it is in, so that both can be looked at as
/// they are. A symbolic link is not followed to the file.
pub fn open_beside(path: &Path) -> io::Result<(File, File)> {
    let name = path.file_name().ok_or(io::ErrorKind::NotFound)?;
    // Where there is nothing, nothing has to be opened to learn it.
    lstat(path)?;
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let directory = OpenOptions::new().read(true).custom_flags(flags).open(above)?;
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = File::from(openat(&directory, name, flags | OFlag::O_RDONLY, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("Not a regular file"));
    }
    Ok((directory, file))
}

/// A new file in memory that has no path and is gone with its last descriptor.
pub fn in_memory(name: &CStr) -> io::Result<File> {
    Ok(File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?))
}

/// The same pipe, so opened that no write to it ever waits: others may write to it, too. None where it is
/// no pipe; there a second opening would be another file.
pub fn without_waiting(pipe: &File) -> Option<File> {
    let is_pipe = pipe.metadata().is_ok_and(|meta| meta.file_type().is_fifo());
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    is_pipe.then(|| OpenOptions::new().write(true).custom_flags(flags).open(path).ok())?
}

/// Why an open file is not to be trusted with the security of this machine, if so: it belongs to
/// somebody else, or others may write it.
pub fn distrust(file: &File, caller: u32) -> io::Result<Option<&'static str>> {
    let meta = file.metadata()?;
    Ok(match (meta.uid() == 0 || meta.uid() == caller, meta.mode() & 0o022) {
        (false, _) => Some("it belongs neither to root nor to the caller"),
        (true, 0) => None,
        (true, _) => Some("its group or everybody may write it"),
    })
}

/// What a path leads to, and which of it and the directories above it everybody may write. Only an
/// absolute path is climbed.
pub fn world_writable(path: &Path) -> io::Result<(Metadata, Vec<PathBuf>)> {
    let meta = std::fs::metadata(path)?;
    let above = path.ancestors().skip(1).take_while(|_| path.is_absolute());
    let open = |path: &&Path| std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o002 != 0);
    let own = (meta.mode() & 0o002 != 0).then_some(path);
    let writable = own.into_iter().chain(above.filter(open)).map(Path::to_path_buf).collect();
    Ok((meta, writable))
}

/// Who besides root and `caller` could change what a path leads to: the file or a directory above it,
/// and why. In a directory with the sticky bit nobody replaces what belongs to another.
pub fn changeable(path: &Path, caller: u32) -> Option<(PathBuf, &'static str)> {
    let above = path.ancestors().skip(1).take_while(|_| path.is_absolute()).map(|above| (above, true));
    std::iter::once((path, false)).chain(above).find_map(|(path, is_above)| {
        let meta = std::fs::metadata(path).ok()?;
        let sticky = is_above && meta.mode() & 0o1000 != 0;
        let why = if meta.uid() != 0 && meta.uid() != caller {
            "it belongs to somebody else"
        } else if meta.mode() & 0o002 != 0 && !sticky {
            "everybody may write it"
        } else if meta.mode() & 0o020 != 0 && meta.gid() != 0 && !sticky {
            "its group may write it"
        } else {
            return None;
        };
        Some((path.to_path_buf(), why))
    })
}

/// Whether everybody may read what a path leads to: the file's rights say so for all alike, no list of
/// further rights is attached to it, and every directory above it may be passed.
pub fn is_readable_by_all(path: &Path) -> bool {
    let Ok(real) = std::fs::canonicalize(path) else { return false };
    let has = |path: &Path, bits: u32| {
        std::fs::metadata(path).is_ok_and(|meta| meta.mode() & bits == bits) && !has_further_rights(path)
    };
    // The way there may lead through symbolic links in directories that not everybody may pass.
    let above =
        |path: &Path| path.ancestors().skip(1).all(|above| above.as_os_str().is_empty() || has(above, 0o111));
    has(&real, 0o444) && above(&real) && above(path)
}

/// Whether a POSIX access control list is attached; where nobody can say, yes.
fn has_further_rights(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return true };
    // SAFETY: both names are NUL-terminated, and with a size of 0 nothing is written.
    let size = unsafe {
        libc::getxattr(path.as_ptr(), c"system.posix_acl_access".as_ptr(), std::ptr::null_mut(), 0)
    };
    let none = [Some(libc::ENODATA), Some(libc::EOPNOTSUPP)];
    size >= 0 || !none.contains(&io::Error::last_os_error().raw_os_error())
}

/// A file in the making, beside the one whose place it will take. Dropped before that, it is gone.
pub struct NewFile {
    file: File,
    path: PathBuf,
    target: PathBuf,
    placed: bool,
}

impl NewFile {
    /// Makes a file that nobody else may read yet, in the directory of `target`, which is made if only
    /// it is missing.
    pub fn beside(target: &Path) -> io::Result<NewFile> {
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let above = target.parent().filter(|above| !above.as_os_str().is_empty());
        if let Some(above) = above
            && let Err(cause) = DirBuilder::new().mode(0o755).create(above)
            && cause.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(cause);
        }
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".new.");
        remove_left_behind(above.unwrap_or(Path::new(".")), &prefix);
        for count in 0..100 {
            let mut own = prefix.clone();
            own.push(format!("{}.{count}", std::process::id()));
            let path = target.with_file_name(own);
            let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
            match OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(&path)
            {
                // The lock says that somebody is at work on it; it ends with the process.
                Ok(file) => {
                    file.lock()?;
                    return Ok(NewFile { file, path, target: target.to_path_buf(), placed: false });
                }
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(cause),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Gives it its rights, has it on disk, and puts it in the place of the other.
    pub fn put_in_place(mut self, mode: u32) -> io::Result<()> {
        self.file.set_permissions(Permissions::from_mode(mode))?;
        self.file.sync_all()?;
        std::fs::rename(&self.path, &self.target)?;
        self.placed = true;
        let above = self.target.parent().filter(|above| !above.as_os_str().is_empty());
        File::open(above.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Removes new files of processes that died over them: those that nobody holds a lock on.
fn remove_left_behind(directory: &Path, prefix: &OsStr) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().as_bytes().starts_with(prefix.as_bytes())) {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        // One that was made just now may not be locked yet.
        if age.is_some_and(|age| age > Duration::from_secs(60))
            && let Ok(Opened::Regular(file, _)) = open(&entry.path())
            && file.try_lock().is_ok()
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.placed {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether a path leads to the program that is running now. That is asked by the path it was started
/// under; only where that leads nowhere any more, proc(5) is asked, which costs ten times as much.
pub fn is_this_program(path: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let own = || started_as().and_then(identity).or_else(|| identity(Path::new("/proc/self/exe")));
    identity(path).is_some_and(|is| own() == Some(is))
}

/// The path that execve(2) was given for this program.
fn started_as() -> Option<&'static Path> {
    // AT_EXECFN of linux/auxvec.h, which the libc crate does not have for every target.
    const AT_EXECFN: libc::c_ulong = 31;
    // SAFETY: getauxval(3) gives 0 or, for this entry, the address of a NUL-terminated string that the
    // kernel put above the stack, where nothing in this program writes.
    let path = unsafe {
        let path = libc::getauxval(AT_EXECFN) as *const c_char;
        (!path.is_null()).then(|| CStr::from_ptr(path))
    };
    path.map(|path| Path::new(OsStr::from_bytes(path.to_bytes()))).filter(|path| path.is_absolute())
}

/// Where a byte first stands in a text. The C library's search: it has chosen its instructions by the
/// time this program starts, while memchr's crate would ask the processor anew for every connection,
/// which is dear under a hypervisor.
pub fn find_byte(byte: u8, text: &[u8]) -> Option<usize> {
    // SAFETY: memchr(3) reads at most `text.len()` bytes of `text` and returns null or a pointer to one
    // of them.
    let found = unsafe { libc::memchr(text.as_ptr().cast(), byte.into(), text.len()) };
    if found.is_null() { None } else { Some(found as usize - text.as_ptr() as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pipe_is_not_waited_for() {
        let (_reader, writer) = std::io::pipe().expect("a pipe");
        let writer = File::from(std::os::fd::OwnedFd::from(writer));
        let mut own = without_waiting(&writer).expect("a pipe");
        let full =
            std::iter::repeat_with(|| std::io::Write::write(&mut own, &[0; 4096])).find_map(Result::err);
        assert_eq!(full.map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
        assert!(without_waiting(&File::open("/dev/null").expect("opens")).is_none());
    }

    #[test]
    fn this_program_knows_itself() {
        assert!(is_this_program(&std::env::current_exe().expect("own path")));
        assert!(!is_this_program(Path::new("/bin/sh")));
    }

    #[test]
    fn bytes_are_found_where_they_are() {
        assert_eq!(find_byte(b'c', b"abcabc"), Some(2));
        assert_eq!((find_byte(b'x', b"abc"), find_byte(b'x', b"")), (None, None));
        assert_eq!(find_byte(0xff, &[0x7f, 0xff]), Some(1));
    }
}
