//! Which running processes ask, or could?
//!
//! A process has libwrap mapped (proc(5), maps), whatever its file on the disk says by now; or it is a
//! tcpd that listens. Of a process whose library or program was replaced meanwhile this is said: it
//! works on with the old one. So it is of one with a root directory of its own, for it reads the rules
//! there. Processes of others may be looked into by root only; those that were not are counted.

#![forbid(unsafe_code)]

use super::known::{self, Asks};
use super::linked::Programs;
use super::{Kind, Note, Search, Way, base, elf, last_component};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most that is read of a list of mappings, or of an argument vector.
const READ_MAX: u64 = 1 << 22;
const DELETED: &[u8] = b" (deleted)";

/// A process that is of interest.
#[derive(Clone, Debug)]
pub struct Process {
    pid: u32,
    program: PathBuf,
    program_replaced: bool,
    /// The libwrap that it has mapped, and whether the file of it is gone.
    library: Option<(PathBuf, bool)>,
    other_root: bool,
    argv: Vec<Vec<u8>>,
}

/// The processes of this system that are of interest.
#[derive(Default)]
pub struct Processes(Vec<Process>);

impl Processes {
    /// The argument vectors of those whose program has a name.
    pub fn calls_of(&self, name: &str) -> impl Iterator<Item = &[Vec<u8>]> {
        self.0
            .iter()
            .filter(move |process| base(&process.program) == name.as_bytes())
            .map(|process| process.argv.as_slice())
    }

    /// The argument vectors of those whose program is at a path.
    pub fn calls_at(&self, is_this: impl Fn(&Path) -> bool) -> Vec<Vec<Vec<u8>>> {
        self.0
            .iter()
            .filter(|process| is_this(&process.program))
            .map(|process| process.argv.clone())
            .collect()
    }
}

/// Looks at all processes, where it is this system that is asked about.
pub fn look(search: &mut Search<'_>) -> Processes {
    let mut processes = Processes::default();
    if !search.tree.is_here() {
        return processes;
    }
    let mut count = 0;
    for pid in search.names(Path::new("/proc")).iter().filter_map(|name| name.to_str()?.parse().ok()) {
        match process(pid, search.usual) {
            Ok(None) => count += 1,
            Ok(Some(process)) => {
                count += 1;
                processes.0.push(process);
            }
            Err(cause) if Path::new("/proc").join(pid.to_string()).exists() => {
                search.cannot("processes", &cause);
            }
            // It has ended meanwhile.
            Err(_) => {}
        }
    }
    search.looked.processes = Some(count);
    processes.0.sort_by_key(|process| process.pid);
    processes
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(READ_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A process, if it has libwrap mapped or is a tcpd.
fn process(pid: u32, tables: &[PathBuf; 2]) -> io::Result<Option<Process>> {
    let own = Path::new("/proc").join(pid.to_string());
    let mut argv: Vec<Vec<u8>> =
        read(&own.join("cmdline"))?.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect();
    argv.pop();
    let is_tcpd = argv.first().is_some_and(|name| last_component(name) == b"tcpd");
    let maps = read(&own.join("maps")).or_else(|cause| if is_tcpd { Ok(Vec::new()) } else { Err(cause) })?;
    let library = mapped(&maps);
    if library.is_none() && !is_tcpd {
        return Ok(None);
    }
    let (program, program_replaced) = match std::fs::read_link(own.join("exe")) {
        Ok(path) => without_mark(path.as_os_str().as_bytes()),
        Err(_) if is_tcpd => {
            (PathBuf::from(OsStr::from_bytes(argv.first().map_or(&[], Vec::as_slice))), false)
        }
        Err(cause) => return Err(cause),
    };
    Ok(Some(Process {
        pid,
        program,
        program_replaced,
        library,
        other_root: has_other_root(&own, tables),
        argv,
    }))
}

/// The libwrap in a list of mappings: `address rights offset device inode path`.
fn mapped(maps: &[u8]) -> Option<(PathBuf, bool)> {
    maps.split(|&byte| byte == b'\n').find_map(|line| {
        let at = line.iter().position(|&byte| byte == b'/')?;
        let (path, gone) = without_mark(line.get(at..)?);
        elf::is_libwrap(base(&path)).then_some((path, gone))
    })
}

/// A path as proc(5) shows it, and whether nothing is there any more.
fn without_mark(path: &[u8]) -> (PathBuf, bool) {
    let bare = path.strip_suffix(DELETED);
    (PathBuf::from(OsStr::from_bytes(bare.unwrap_or(path))), bare.is_some())
}

/// Whether another directory is its root, that of a container or of a jail, or it finds other files
/// where the tables are.
fn has_other_root(own: &Path, tables: &[PathBuf; 2]) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let root = own.join("root");
    let as_it_sees = |path: &Path| identity(&root.join(path.strip_prefix("/").unwrap_or(path)));
    let differs = |path: &Path| as_it_sees(path) != identity(path);
    as_it_sees(Path::new("/")).is_some()
        && (differs(Path::new("/")) || tables.iter().any(|path| differs(path)))
}

/// The ways in which running processes ask whose program is at a path.
pub fn ways(processes: &Processes, is_this: impl Fn(&Path) -> bool) -> Vec<Way> {
    let with_library = processes.0.iter().filter(|process| process.library.is_some());
    with_library.filter(|process| is_this(&process.program)).map(|process| way(process, Vec::new())).collect()
}

fn way(process: &Process, said: Vec<Note>) -> Way {
    let library = process.library.as_ref().map(|(path, _)| path.clone());
    let kind = Kind::Running { program: process.program.clone(), pids: vec![process.pid], library };
    Way { kind, notes: [notes(process), said].concat() }
}

fn notes(process: &Process) -> Vec<Note> {
    let library_replaced = process.library.as_ref().is_some_and(|(_, gone)| *gone);
    [
        process.other_root.then_some(Note::OtherRoot),
        library_replaced.then_some(Note::LibraryReplaced),
        process.program_replaced.then_some(Note::ProgramReplaced),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Tells of the processes whose program is none of those that were found linked, and of tcpd's that listen.
pub fn tell(search: &mut Search<'_>, programs: &Programs, processes: &Processes) {
    for process in &processes.0 {
        if process.library.is_none() {
            let by = format!("process {}", process.pid);
            let Some((call, said)) = search.tcpd(&process.argv, &by) else { continue };
            let ports: Vec<u16> = call.addresses().iter().map(|address| address.port()).collect();
            if !call.listen.is_empty() {
                search.asks(&call.daemon, false, way(process, said), &ports);
            }
            continue;
        }
        if programs.at(&process.program).is_none()
            && let Asks::Names(names) = known::asks(search, &process.program, &[&process.argv])
        {
            for (name, assumed) in names {
                search.asks(&name, assumed, way(process, Vec::new()), &[]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_of_libwrap_are_found() {
        let maps = b"55d0c0-55d0c1 r--p 00000000 fe:00 123   /usr/sbin/sshd\n\
            7f10-7f11 r-xp 00001000 fe:00 42    /usr/lib/x86_64-linux-gnu/libwrap.so.0.7.6 (deleted)\n\
            7ffc-7ffd rw-p 00000000 00:00 0     [stack]\n";
        let library = PathBuf::from("/usr/lib/x86_64-linux-gnu/libwrap.so.0.7.6");
        assert_eq!(mapped(maps), Some((library, true)));
        assert_eq!(mapped(b"7f10-7f11 r-xp 0 fe:00 42 /opt/libwrap.so.0/x\n"), None);
        assert_eq!(mapped(b"garbage\n/libwrap.so.0"), Some((PathBuf::from("/libwrap.so.0"), false)));
        assert_eq!(mapped(b""), None);
    }

    #[test]
    fn this_process_has_no_libwrap() {
        let tables = ["/etc/hosts.allow", "/etc/hosts.deny"].map(PathBuf::from);
        assert!(process(std::process::id(), &tables).expect("its own maps").is_none());
        assert!(process(u32::MAX, &tables).is_err());
        assert!(!has_other_root(Path::new("/proc/self"), &tables));
    }
}
