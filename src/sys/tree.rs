//! Looking into the files of a system: this one, or another one whose tree is mounted somewhere.
//!
//! In another tree every path is that system's. The kernel resolves it with the tree as its root
//! (openat2(2), RESOLVE_IN_ROOT), so that no symbolic link, absolute or with `..`, leads out of it. A
//! kernel without openat2 cannot do it, and then nothing is looked at.
//!
//! Only regular files are read, and none is waited for.

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat};
use nix::sys::stat::Mode;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most names of a directory that are read.
const NAMES_MAX: usize = 50_000;

/// The files of a system.
pub struct Tree {
    /// The directory that is its root; none: it is this system.
    root: Option<OwnedFd>,
    path: PathBuf,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Device and inode: the same for every name of a file.
    pub identity: (u64, u64),
    pub is_file: bool,
    pub is_directory: bool,
    /// Somebody may execute it.
    pub executable: bool,
}

impl Node {
    fn of(meta: &Metadata) -> Node {
        Node {
            identity: (meta.dev(), meta.ino()),
            is_file: meta.is_file(),
            is_directory: meta.is_dir(),
            executable: meta.mode() & 0o111 != 0,
        }
    }
}

impl Tree {
    /// This system.
    pub fn here() -> Tree {
        Tree { root: None, path: PathBuf::from("/") }
    }

    /// The system whose root is a directory of this one.
    pub fn below(path: &Path) -> io::Result<Tree> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(path, flags, Mode::empty())?;
        let tree = Tree { root: Some(root), path: path.to_path_buf() };
        match tree.at(Path::new("/"), OFlag::O_PATH) {
            // Old kernels do not know the call, and filters of system calls may forbid it.
            Err(cause) if [Some(libc::ENOSYS), Some(libc::EPERM)].contains(&cause.raw_os_error()) => {
                Err(io::Error::new(cause.kind(), "This kernel has no openat2, which keeps a search inside"))
            }
            Err(cause) => Err(cause),
            Ok(_) => Ok(tree),
        }
    }

    /// Whether it is the system that runs.
    pub fn is_here(&self) -> bool {
        self.root.is_none()
    }

    /// The directory that is its root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn at(&self, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
        let flags = flags | OFlag::O_CLOEXEC;
        let opened = match &self.root {
            None => open(path, flags, Mode::empty()),
            Some(root) => {
                let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT);
                openat2(root, path, how)
            }
        };
        Ok(opened?)
    }

    /// What a path leads to, if to anything.
    pub fn node(&self, path: &Path) -> io::Result<Option<Node>> {
        match self.at(path, OFlag::O_PATH) {
            Ok(found) => Ok(Some(Node::of(&File::from(found).metadata()?))),
            Err(cause) if is_missing(&cause) => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Opens a regular file, if there is anything.
    pub fn open(&self, path: &Path) -> io::Result<Option<File>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = match self.at(path, flags) {
            Ok(file) => File::from(file),
            Err(cause) if is_missing(&cause) => return Ok(None),
            Err(cause) => return Err(cause),
        };
        match file.metadata()?.is_file() {
            true => Ok(Some(file)),
            false => Err(io::Error::other("Not a regular file")),
        }
    }

    /// Reads a regular file of at most `limit` bytes, if there is anything.
    pub fn read(&self, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.open(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 <= limit {
            true => Ok(Some(bytes)),
            false => Err(io::Error::new(io::ErrorKind::FileTooLarge, "File too large")),
        }
    }

    /// The names in a directory, in order; none where there is no directory.
    pub fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let directory = match self.at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Ok(directory) => directory,
            Err(cause) if is_missing(&cause) => return Ok(Vec::new()),
            Err(cause) => return Err(cause),
        };
        let mut names = Vec::new();
        for entry in Dir::from_fd(directory)?.iter() {
            let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
            if name != "." && name != ".." {
                names.push(name);
            }
            if names.len() > NAMES_MAX {
                return Err(io::Error::other("Too many files"));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Where a symbolic link points; none where there is none.
    pub fn link(&self, path: &Path) -> Option<PathBuf> {
        let link = self.at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW).ok()?;
        readlinkat(link, "").ok().map(PathBuf::from)
    }

    /// A path by which this system knows what a path of the tree leads to, if to anything.
    pub fn outside(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        match self.at(path, OFlag::O_PATH) {
            Ok(_) if self.is_here() => Ok(Some(path.to_path_buf())),
            Ok(found) => std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).map(Some),
            Err(cause) if is_missing(&cause) => Ok(None),
            Err(cause) => Err(cause),
        }
    }
}

fn is_missing(cause: &io::Error) -> bool {
    let missing = [Errno::ENOENT, Errno::ENOTDIR].map(|errno| Some(errno as i32));
    missing.contains(&cause.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_leads_out_of_a_tree() {
        let base = std::env::temp_dir().join(format!("tcpd-tree-{}", std::process::id()));
        let root = base.join("root");
        std::fs::create_dir_all(root.join("etc/d")).expect("directories");
        std::fs::write(base.join("secret"), "outside").expect("a file");
        std::fs::write(root.join("etc/inside"), "inside").expect("a file");
        for (link, to) in [
            ("absolute", base.join("secret").to_str().expect("text")),
            ("climbs", "../../../../../../../../etc/inside"),
            ("far", "/etc/inside"),
            ("loop", "loop"),
            ("up", ".."),
        ] {
            symlink(to, root.join("etc").join(link)).expect("a link");
        }
        let tree = Tree::below(&root).expect("a tree");
        let text = |path: &str| tree.read(Path::new(path), 100).map_err(|cause| cause.kind());
        assert_eq!(text("/etc/absolute"), Ok(None));
        assert_eq!(text("/etc/climbs"), Ok(Some(b"inside".to_vec())));
        assert_eq!(text("/etc/far"), Ok(Some(b"inside".to_vec())));
        assert_eq!(text("/../../etc/inside"), Ok(Some(b"inside".to_vec())));
        assert_eq!(text("/etc/up/secret"), Ok(None));
        assert_eq!(text("../secret"), Ok(None));
        assert!(text("/etc/loop").is_err() && text("/etc/d").is_err());
        assert_eq!(
            tree.read(Path::new("etc/inside"), 3).map_err(|c| c.kind()),
            Err(io::ErrorKind::FileTooLarge)
        );
        assert_eq!(tree.names(Path::new("/etc/up")).expect("names"), ["etc"]);
        assert_eq!(tree.link(Path::new("/etc/far")), Some(PathBuf::from("/etc/inside")));
        assert_eq!(tree.link(Path::new("/etc/inside")), None);
        let outside = tree.outside(Path::new("/etc/climbs")).expect("found").expect("there");
        assert_eq!(outside, root.canonicalize().expect("a path").join("etc/inside"));
        assert_eq!(tree.outside(Path::new("/../secret")).expect("looked"), None);
        std::fs::remove_dir_all(&base).expect("removes");
    }

    #[test]
    fn two_names_of_a_file_are_one_file() {
        let tree = Tree::here();
        let node = |path: &str| tree.node(Path::new(path)).expect("looked");
        let own = std::env::current_exe().expect("a path");
        assert_eq!(node("/proc/self/exe"), node(own.to_str().expect("text")));
        assert!(node("/proc/self/exe").is_some_and(|node| node.executable && node.is_file));
        assert_eq!(node("/nonexistent/x"), None);
        assert!(Tree::below(Path::new("/nonexistent")).is_err());
    }
}
