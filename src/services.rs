//! Which services does inetd start, and which of them through the wrapper?
//!
//! Reads inetd.conf(5) as the reference reads it, which is as many systems once wrote it: a `?` before
//! the path, version numbers before the path or the name, a missing endpoint or user, `rpc` lines of
//! two words, `internal` services, backslash at the end of a line. What a line means is settled by its
//! words alone; the disk is asked whether the programs are there and who may change them.
//!
//! Every complaint is collected. Nothing here refuses anybody: inetd.conf only tells the checkers which
//! daemon names a rule can be about.

#![forbid(unsafe_code)]

use crate::error::{Place, Problem, ServiceFlaw, Weight, What, reason};
use crate::rules::Line;
use crate::sys::file::{self, Opened};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// Where inetd reads its services from.
pub const PATH: &str = "/etc/inetd.conf";
/// Where the wrapper looks for servers that are named without a path.
const SERVERS: &str = "/usr/sbin";
/// Longest file that is read, bytes.
const FILE_MAX: u64 = 1 << 24;

/// Servers that consult the rules by themselves, so that inetd.conf need not know them.
const OWN_WRAPPING: [&str; 22] = [
    "portmap",
    "mountd",
    "statd",
    "ugidd",
    "redir",
    "rlinetd",
    "sshd",
    "atftpd",
    "diald",
    "esound",
    "gdm",
    "gnome-session",
    "icecast",
    "icecast_admin",
    "icecast_client",
    "icecast_source",
    "mysqld",
    "ntop",
    "pptpd",
    "rquotad",
    "sendmail",
    "smail",
];

/// A service that inetd starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The name that rules know it by.
    pub process: Vec<u8>,
    /// It is started through the wrapper, or may be: a server that was moved away has left a program of
    /// its name in the wrapper's directory.
    pub wrapped: bool,
    /// The line of inetd.conf, as messages count it; 0 for a server that needs no inetd.
    pub line: u32,
}

/// A program that inetd starts, as a line says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The name or number of the service; empty where the line has none.
    pub service: Vec<u8>,
    /// inetd accepts the connections of a stream by itself, one process for each.
    pub accepts: bool,
    pub program: Vec<u8>,
    /// Its argument vector.
    pub argv: Vec<Vec<u8>>,
    pub line: u32,
}

/// What inetd.conf said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// The file; none if there is none.
    pub file: Option<Arc<Path>>,
    pub services: Vec<Service>,
    pub problems: Vec<Problem>,
}

impl Services {
    /// The service of a name. Where several lines have it, the last one counts.
    pub fn named(&self, process: &[u8]) -> Option<&Service> {
        self.services.iter().rev().find(|service| service.process.eq_ignore_ascii_case(process))
    }

    /// The file's name for messages.
    pub fn file_text(&self) -> &[u8] {
        self.file.as_ref().map_or(b"(null)", |file| file.as_os_str().as_bytes())
    }

    fn with_own_wrapping() -> Services {
        let own = |name: &&str| Service { process: name.as_bytes().to_vec(), wrapped: true, line: 0 };
        Services { file: None, services: OWN_WRAPPING.iter().map(own).collect(), problems: Vec::new() }
    }
}

/// Reads the usual file. Where there is none, only those are known who need no inetd.
pub fn find() -> Services {
    read(Path::new(PATH)).unwrap_or_else(|_| Services::with_own_wrapping())
}

/// Reads an inetd.conf. One that is missing or no regular file is an error.
pub fn read(path: &Path) -> io::Result<Services> {
    let mut bytes = Vec::new();
    match file::open(path)? {
        Opened::Regular(opened, _) => {
            opened.take(FILE_MAX).read_to_end(&mut bytes)?;
        }
        // The null device is an empty file, what is not there is none.
        Opened::Nothing => {
            std::fs::metadata(path)?;
        }
    }
    Ok(parse(&bytes, path))
}

fn parse(bytes: &[u8], path: &Path) -> Services {
    let file: Arc<Path> = Arc::from(path);
    let mut services = Services { file: Some(Arc::clone(&file)), ..Services::with_own_wrapping() };
    lines(bytes, &file, |entry| entry.read(&mut services));
    services
}

/// The programs that the lines start; nothing is asked about them, and nothing said.
pub fn starts(bytes: &[u8], path: &Path) -> Vec<Start> {
    let mut starts = Vec::new();
    lines(bytes, &Arc::from(path), |mut entry| {
        let line = entry.line.number;
        starts.extend(entry.words().map(|words| Start {
            service: words.service.to_vec(),
            accepts: is(words.kind, "stream") && words.wait.get(..6).is_some_and(|word| is(word, "nowait")),
            program: words.path.to_vec(),
            argv: [&[words.name], words.arguments.as_slice()].concat().iter().map(|w| w.to_vec()).collect(),
            line,
        }));
    });
    starts
}

fn lines(bytes: &[u8], file: &Arc<Path>, mut visit: impl FnMut(Entry<'_>)) {
    let (mut text, mut joins, mut number) = (Vec::new(), Vec::new(), 0);
    for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
        // A last line without its newline is read, and counted as the reference counts it: not at all.
        let closed = piece.strip_suffix(b"\n");
        number += u32::from(closed.is_some());
        match closed.and_then(|piece| piece.strip_suffix(b"\\")) {
            Some(piece) => {
                text.extend_from_slice(piece);
                joins.push(text.len());
                continue;
            }
            None => text.extend_from_slice(closed.unwrap_or(piece)),
        }
        let line = Line { text: &text, file, number: number.max(1), joins: &joins };
        visit(Entry { line, shown: number, found: Vec::new() });
        text.clear();
        joins.clear();
    }
}

/// One line of the file, being read.
struct Entry<'a> {
    line: Line<'a>,
    shown: u32,
    found: Vec<Problem>,
}

/// What the words of a line say.
struct Words<'a> {
    service: &'a [u8],
    kind: &'a [u8],
    protocol: &'a [u8],
    wait: &'a [u8],
    path: &'a [u8],
    name: &'a [u8],
    arguments: Vec<&'a [u8]>,
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn last_component(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

/// Words are compared as the reference compares them: in any case of letters.
fn is(text: &[u8], word: &str) -> bool {
    text.eq_ignore_ascii_case(word.as_bytes())
}

impl<'a> Entry<'a> {
    fn complain(&mut self, at: Option<&[u8]>, flaw: ServiceFlaw) {
        let place = Place { line: self.shown, ..self.line.place(at) };
        self.found.push(Problem::at(place, Weight::Warning, What::Service(flaw)));
    }

    fn read(mut self, services: &mut Services) {
        let service = self.words().map(|words| self.service(&words));
        services.services.extend(service);
        services.problems.append(&mut self.found);
    }

    /// ```text
    /// line = [ name ] type protocol wait [ user ] [ "?" ] path | [ versions ] path ... [ count ] name ... ;
    /// ```
    ///
    /// None where the line is no service of a program: a comment, too short, `internal`.
    fn words(&mut self) -> Option<Words<'a>> {
        let mut words = self.line.text.split(|&byte| is_blank(byte)).filter(|word| !word.is_empty());
        let first = words.next().filter(|word| !word.starts_with(b"#"))?;
        let (service, kind) = match is(first, "stream") || is(first, "dgram") {
            true => (&b""[..], first),
            false => (first, words.next()?),
        };
        let protocol = words.next()?;
        let wait = words.next()?;
        let user = words.next()?;
        let path = if user.starts_with(b"/") { user } else { words.next()? };
        let path = path.strip_prefix(b"?").unwrap_or(path);
        if is(path, "internal") {
            return None;
        }
        let versions = path.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
        let path = if versions { words.next()? } else { path };
        let numeric = |word: &&[u8]| word.iter().all(u8::is_ascii_digit);
        let name = match words.next() {
            Some(count) if numeric(&count) => words.next(),
            name => name,
        };
        let Some(name) = name else {
            self.complain(None, ServiceFlaw::Incomplete);
            return None;
        };
        Some(Words { service, kind, protocol, wait, path, name, arguments: words.collect() })
    }

    fn service(&mut self, words: &Words<'_>) -> Service {
        let Words { protocol, path, name, .. } = *words;
        let argument = words.arguments.first().copied().unwrap_or_default();
        let process = if name.starts_with(b"/") { last_component(name) } else { name };
        let named = |process: &[u8], wrapped, line| Service { process: process.to_vec(), wrapped, line };
        let mode = self.program(path, path);
        if is(last_component(path), "miscd") {
            return named(name, true, self.shown);
        }
        if is(process, "rexd") || is(process, "rpc.rexd") {
            self.complain(Some(name), ServiceFlaw::Insecure(process.to_vec()));
        }
        if !is(last_component(path), "tcpd") {
            let wrapped = self.may_be_wrapped(path, name);
            return named(process, wrapped, self.shown);
        }
        if is(process, "tcpd") {
            self.complain(Some(name), ServiceFlaw::CallsItself(process.to_vec()));
        }
        if mode.is_some_and(|mode| mode & 0o6000 != 0) {
            self.complain(Some(path), ServiceFlaw::SetId(path.to_vec()));
        }
        if name.starts_with(b"/") && process.eq_ignore_ascii_case(last_component(argument)) {
            let flaw = ServiceFlaw::Inserted { path: path.to_vec(), before: name.to_vec() };
            self.complain(Some(path), flaw);
        }
        if name.starts_with(b"/") {
            self.program(name, name);
        } else {
            self.named_server(name);
        }
        if is(protocol, "rpc/tcp") {
            self.complain(Some(protocol), ServiceFlaw::CannotWrap(process.to_vec()));
        }
        named(process, true, self.shown)
    }

    /// Whether a program is there and can be executed; its mode bits.
    fn program(&mut self, path: &[u8], at: &[u8]) -> Option<u32> {
        match self.look(path, at) {
            Ok(mode) => {
                if mode & 0o100 == 0 {
                    self.complain(Some(at), ServiceFlaw::NotExecutable(path.to_vec()));
                }
                Some(mode)
            }
            Err(cause) => {
                let flaw = ServiceFlaw::NotFound { path: path.to_vec(), reason: reason(&cause) };
                self.complain(Some(at), flaw);
                None
            }
        }
    }

    /// A server that is named without a path.
    fn named_server(&mut self, name: &[u8]) {
        let path = [SERVERS.as_bytes(), b"/", name].concat();
        match self.look(&path, name) {
            Ok(mode) if mode & 0o100 == 0 => self.complain(Some(name), ServiceFlaw::NotExecutable(path)),
            Ok(_) => {}
            Err(cause) => {
                let flaw = ServiceFlaw::NotInDirectory {
                    name: name.to_vec(),
                    directory: SERVERS,
                    reason: reason(&cause),
                };
                self.complain(Some(name), flaw);
            }
        }
    }

    /// A server that inetd starts directly is wrapped if the wrapper took its place and the true one
    /// was moved to the wrapper's directory.
    fn may_be_wrapped(&mut self, path: &[u8], name: &[u8]) -> bool {
        let moved = [SERVERS.as_bytes(), b"/", name].concat();
        if moved.eq_ignore_ascii_case(path) {
            return false;
        }
        match self.look(&moved, name) {
            Ok(_) => true,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => false,
            Err(cause) => {
                let flaw = ServiceFlaw::LookupFailed { path: moved, reason: reason(&cause) };
                self.complain(Some(name), flaw);
                true
            }
        }
    }

    /// The mode bits of a file. Who may write it, or a directory above it, may start anything.
    fn look(&mut self, path: &[u8], at: &[u8]) -> io::Result<u32> {
        let (meta, writable) = file::world_writable(Path::new(OsStr::from_bytes(path)))?;
        for path in writable {
            let place = Place { line: self.shown, ..self.line.place(Some(at)) };
            let what = What::WorldWritable(Arc::from(path));
            self.found.push(Problem::at(place, Weight::Warning, what));
        }
        Ok(meta.permissions().mode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logline;

    /// What one file says: its services, and the complaints about it.
    fn said(text: &str) -> (Vec<(String, bool, u32)>, Vec<String>) {
        let services = parse(text.as_bytes(), Path::new("inetd.conf"));
        let of_file = services
            .services
            .iter()
            .filter(|service| !OWN_WRAPPING.iter().any(|own| is(&service.process, own)));
        let listed = of_file.map(|s| (String::from_utf8_lossy(&s.process).into_owned(), s.wrapped, s.line));
        let complaints = services.problems.iter().flat_map(logline::problem);
        let complaints = complaints.map(|entry| String::from_utf8_lossy(&entry.text).into_owned());
        (listed.collect(), complaints.collect())
    }

    #[test]
    fn many_systems_wrote_it_in_many_ways() {
        let text = "# c\n x stream tcp nowait root ?/bin/sh a\nstream tcp nowait root /bin/sh b -l\n\
            x/1 stream rpc/udp wait root 1-3 /bin/sh 2 c\nx stream tcp nowait /bin/sh d\n\
            echo stream tcp nowait root internal\nx stream tcp \\\n nowait root \\\n /bin/sh e\nshort line\n\
            x stream tcp nowait root /bin/sh f";
        let names = ["a", "b", "c", "d", "e", "f"].map(|name| (name.to_owned(), false));
        let (listed, complaints) = said(text);
        assert_eq!(complaints, [""; 0]);
        assert_eq!(listed.iter().map(|(_, _, line)| *line).collect::<Vec<_>>(), [2, 3, 4, 5, 9, 10]);
        assert_eq!(listed.into_iter().map(|(name, wrapped, _)| (name, wrapped)).collect::<Vec<_>>(), names);
    }

    #[test]
    fn a_start_has_the_whole_argument_vector() {
        let text = b"ftp stream tcp nowait.40 root /usr/sbin/tcpd /usr/sbin/in.ftpd -l -a\n\
            tftp dgram udp wait nobody /usr/sbin/in.tftpd in.tftpd \\\n -s /srv\n\
            echo stream tcp nowait root internal\nstream tcp wait /bin/sh sh\n";
        let shown = |start: &Start| {
            let argv = String::from_utf8_lossy(&start.argv.join(&b' ')).into_owned();
            (String::from_utf8_lossy(&start.service).into_owned(), start.accepts, argv, start.line)
        };
        let shown: Vec<_> = starts(text, Path::new("f")).iter().map(shown).collect();
        let row = |service: &str, accepts, argv: &str, line| (service.into(), accepts, argv.into(), line);
        assert_eq!(
            shown,
            [
                row("ftp", true, "/usr/sbin/in.ftpd -l -a", 1),
                row("tftp", false, "in.tftpd -s /srv", 3),
                row("", false, "sh", 5),
            ]
        );
    }

    #[test]
    fn complaints_name_their_line() {
        let (listed, complaints) =
            said("x stream tcp nowait root /bin/sh\nx stream tcp nowait root /nonexistent/tcpd rexd\n");
        assert_eq!(listed, [("rexd".to_owned(), true, 2)]);
        assert_eq!(
            complaints,
            [
                "warning: inetd.conf, line 1: incomplete line",
                "warning: inetd.conf, line 2: /nonexistent/tcpd: not found: No such file or directory",
                "warning: inetd.conf, line 2: rexd may be an insecure service",
                "warning: inetd.conf, line 2: rexd: not found in /usr/sbin: No such file or directory",
            ]
        );
    }

    #[test]
    fn the_last_line_of_a_name_counts() {
        let services =
            parse(b"x s t n r /bin/sh ftpd\ny s t n r /usr/sbin/tcpd FTPD\n", Path::new("inetd.conf"));
        assert_eq!(services.named(b"ftpd").map(|service| (service.wrapped, service.line)), Some((true, 2)));
        assert!(services.named(b"sshd").is_some_and(|service| service.wrapped && service.line == 0));
        assert!(services.named(b"nosuchd").is_none());
        assert_eq!(
            read(Path::new("/nonexistent/inetd.conf")).map_err(|cause| cause.kind()),
            Err(io::ErrorKind::NotFound)
        );
        assert_eq!(read(Path::new("/dev/null")).map(|services| services.problems.len()).ok(), Some(0));
    }
}
