//! Which programs are linked with libwrap?
//!
//! The usual directories of programs are looked through, and a few in which servers keep their parts. A
//! program counts that is linked with libwrap, or with a library that is (Net-SNMP's agents), or that
//! loads a plug-in that is (syslog-ng). Two names of a file are one program. One into which libwrap was
//! built without a library cannot be told from others, nor can a script that loads it.

#![forbid(unsafe_code)]

use super::elf::{self, Needs};
use super::known::{self, Asks};
use super::running::{self, Processes};
use super::{Idle, Kind, Open, Search, Way, base};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where programs are.
const PROGRAMS: [&str; 26] = [
    "/usr/sbin",
    "/usr/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/sbin",
    "/bin",
    "/usr/libexec",
    "/usr/local/libexec",
    "/opt/bin",
    "/opt/sbin",
    "/usr/lib/openssh",
    "/usr/libexec/openssh",
    "/usr/lib/ssh",
    "/usr/lib/misc",
    "/usr/lib64/misc",
    "/usr/lib/dovecot",
    "/usr/libexec/dovecot",
    "/usr/lib/cyrus/bin",
    "/usr/libexec/cyrus",
    "/usr/lib/cyrus-imapd",
    "/usr/libexec/cyrus-imapd",
    "/usr/libexec/sendmail",
    "/usr/lib/sendmail",
    "/usr/libexec/mailutils",
    "/usr/lib/nagios",
    "/usr/lib/inetutils",
];

/// Where libraries are; beside them, directories of them with a machine's name, `x86_64-linux-gnu`.
const LIBRARIES: [&str; 6] =
    ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64", "/lib", "/lib64"];

/// Programs whose plug-ins ask, the plug-in, and the directories below one of which it is.
const PLUG_INS: [(&str, &str, [&str; 2]); 1] =
    [("syslog-ng", "libafsocket.so", ["/usr/lib/syslog-ng", "/usr/lib64/syslog-ng"])];

/// A program that is linked with libwrap.
pub struct Program {
    pub path: PathBuf,
    /// All paths that lead to it.
    paths: Vec<PathBuf>,
    /// The library or plug-in by which it is.
    pub through: Option<PathBuf>,
}

/// The programs of a system.
#[derive(Default)]
pub struct Programs {
    linked: Vec<Program>,
    /// Where programs of a name are that are not linked.
    others: BTreeMap<Vec<u8>, PathBuf>,
    /// Libraries that are linked with libwrap, by the names that programs know.
    carriers: HashMap<Vec<u8>, PathBuf>,
    seen: HashSet<PathBuf>,
}

impl Programs {
    pub fn is_linked(&self, name: &str) -> bool {
        self.linked(name.as_bytes()).is_some()
    }

    /// The linked program of a name.
    pub fn linked(&self, name: &[u8]) -> Option<&Program> {
        self.linked.iter().find(|program| program.paths.iter().any(|path| base(path) == name))
    }

    /// The program of a name that is not linked.
    pub fn other(&self, name: &[u8]) -> Option<&Path> {
        self.others.get(name).map(PathBuf::as_path)
    }

    pub fn is_here(&self, name: &str) -> bool {
        self.is_linked(name) || self.others.contains_key(name.as_bytes())
    }

    /// The linked program at a path.
    pub fn at(&self, path: &Path) -> Option<&Program> {
        self.linked.iter().find(|program| program.paths.iter().any(|own| own == path))
    }

    fn add(&mut self, path: PathBuf, through: Option<PathBuf>) {
        self.linked.push(Program { path: path.clone(), paths: vec![path], through });
    }
}

/// Looks through the usual directories.
pub fn look(search: &mut Search<'_>) -> Programs {
    let mut programs = Programs { carriers: carriers(search), ..Programs::default() };
    // A file that has been looked at, and which linked program it is.
    let mut files: HashMap<(u64, u64), Option<usize>> = HashMap::new();
    for directory in PROGRAMS.map(Path::new) {
        for name in search.names(directory) {
            let path = directory.join(name);
            let Ok(Some(node)) = search.tree.node(&path) else { continue };
            if !node.is_file || !node.executable || !programs.seen.insert(path.clone()) {
                continue;
            }
            let linked = match files.get(&node.identity) {
                Some(known) => *known,
                None => {
                    search.looked.programs += 1;
                    let through = is_linked(search, &path, &programs.carriers);
                    let linked = through.map(|through| {
                        programs.add(path.clone(), through);
                        programs.linked.len() - 1
                    });
                    files.insert(node.identity, linked);
                    linked
                }
            };
            match linked.and_then(|at| programs.linked.get_mut(at)) {
                None if known::is_tool(&path) => {}
                None => {
                    programs.others.entry(base(&path).to_vec()).or_insert(path);
                }
                Some(program) if program.paths.contains(&path) => {}
                Some(program) => {
                    // Of several names that is the program's which is known.
                    if known::is_known(&path) && !known::is_known(&program.path) {
                        program.path = path.clone();
                    }
                    program.paths.push(path);
                }
            }
        }
    }
    programs
}

/// Looks at programs that super-servers and units start from other places.
pub fn look_elsewhere(search: &mut Search<'_>, programs: &mut Programs) {
    let paths: Vec<PathBuf> = search.starts.iter().map(|start| start.program.clone()).collect();
    for path in paths.into_iter().filter(|path| path.is_absolute()) {
        if !programs.seen.insert(path.clone()) {
            continue;
        }
        let Ok(Some(node)) = search.tree.node(&path) else { continue };
        if !node.is_file || !node.executable {
            continue;
        }
        search.looked.programs += 1;
        match is_linked(search, &path, &programs.carriers) {
            Some(through) => programs.add(path, through),
            None => {
                programs.others.entry(base(&path).to_vec()).or_insert(path);
            }
        }
    }
}

/// Whether a program is linked with libwrap, and through what other file if not by itself.
fn is_linked(
    search: &mut Search<'_>,
    path: &Path,
    carriers: &HashMap<Vec<u8>, PathBuf>,
) -> Option<Option<PathBuf>> {
    let needs = needs(search, path)?;
    if needs.libwrap() {
        return Some(None);
    }
    let carrier = needs.libraries.iter().find_map(|library| carriers.get(library));
    carrier.cloned().or_else(|| plug_in(search, path)).map(Some)
}

fn needs(search: &mut Search<'_>, path: &Path) -> Option<Needs> {
    match search.tree.open(path) {
        Ok(file) => file.and_then(elf::needs),
        Err(cause) => {
            search.cannot("programs and libraries", &cause);
            None
        }
    }
}

/// The libraries that are linked with libwrap.
fn carriers(search: &mut Search<'_>) -> HashMap<Vec<u8>, PathBuf> {
    let (mut carriers, mut files) = (HashMap::new(), HashSet::new());
    let mut directories: Vec<PathBuf> = Vec::new();
    for directory in LIBRARIES.map(Path::new) {
        let names = search.names(directory);
        let of_machines =
            names.iter().filter(|name| name.to_str().is_some_and(|name| name.contains("-linux-")));
        directories.push(directory.to_path_buf());
        directories.extend(of_machines.map(|name| directory.join(name)));
    }
    for directory in directories {
        for name in search.names(&directory) {
            if !name.to_str().is_some_and(|name| name.contains(".so")) {
                continue;
            }
            let path = directory.join(&name);
            let Ok(Some(node)) = search.tree.node(&path) else { continue };
            if !node.is_file || !files.insert(node.identity) {
                continue;
            }
            search.looked.libraries += 1;
            if let Some(needs) = needs(search, &path).filter(Needs::libwrap) {
                carriers.insert(needs.name.unwrap_or_else(|| name.as_bytes().to_vec()), path);
            }
        }
    }
    carriers
}

/// The plug-in of a program that is linked with libwrap.
fn plug_in(search: &mut Search<'_>, program: &Path) -> Option<PathBuf> {
    let (_, file, directories) = PLUG_INS.iter().find(|(name, ..)| name.as_bytes() == base(program))?;
    for directory in directories.iter().map(Path::new) {
        let below = search.names(directory).into_iter().map(|name| directory.join(name));
        let places: Vec<PathBuf> = std::iter::once(directory.to_path_buf()).chain(below).collect();
        for path in places.iter().map(|place| place.join(file)) {
            if needs(search, &path).is_some_and(|needs| needs.libwrap()) {
                return Some(path);
            }
        }
    }
    None
}

/// Says under which names the linked programs ask; those that have none, and those that do not ask.
pub fn tell(search: &mut Search<'_>, programs: &Programs, processes: &Processes) -> (Vec<Open>, Vec<Idle>) {
    let (mut open, mut idle) = (Vec::new(), Vec::new());
    for program in &programs.linked {
        let is_this = |path: &Path| program.paths.iter().any(|own| own == path);
        let starts = search.starts.iter().filter(|start| is_this(&start.program));
        let mut calls: Vec<Vec<Vec<u8>>> = starts.clone().map(|start| start.argv.clone()).collect();
        let started: Vec<String> = starts.clone().map(|start| start.by.clone()).collect();
        let ports: Vec<u16> = starts.flat_map(|start| start.ports.iter().copied()).collect();
        calls.extend(processes.calls_at(is_this));
        let calls: Vec<&[Vec<u8>]> = calls.iter().map(Vec::as_slice).collect();
        let (path, through) = (program.path.clone(), program.through.clone());
        match known::asks(search, &program.path, &calls) {
            Asks::Names(names) => {
                let running = running::ways(processes, is_this);
                for (name, assumed) in names {
                    let (program, through) = (path.clone(), through.clone());
                    let kind = Kind::Linked { program, through, started: started.clone() };
                    search.asks(&name, assumed, Way { kind, notes: Vec::new() }, &ports);
                    running.iter().for_each(|way| search.asks(&name, assumed, way.clone(), &[]));
                }
            }
            Asks::Open(names) => open.push(Open { program: path, through, names }),
            Asks::Not { names, why } => idle.push(Idle { program: path, through, names, why }),
            Asks::Elsewhere => {}
        }
    }
    (open, idle)
}
