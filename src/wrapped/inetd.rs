//! Which lines of inetd.conf(5) ask: through tcpd, or because inetd asks by itself?
//!
//! The lines are read by the reader that tcpdchk has for them. openbsd-inetd is linked with libwrap and
//! asks only when it is started with `-l`, and then only for streams of which it accepts each connection
//! itself; it leaves tcpd out then, and asks under the name that tcpd would have used (measured with
//! Debian's 0.20221205). A line that starts its program directly is handed on ([`Start`]): the program
//! may be linked itself.

#![forbid(unsafe_code)]

use super::linked::Programs;
use super::running::Processes;
use super::{Asker, At, Kind, Note, Search, Start, Way, base, last_component, pairs};
use crate::services;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Its lines may also stand in files of this directory.
const DIRECTORY: &str = "/etc/inetd.d";
/// Where start scripts keep its options.
const DEFAULTS: [&str; 2] = ["/etc/default/openbsd-inetd", "/etc/default/inetd"];
/// Programs that read inetd.conf(5).
const READERS: [&str; 5] = ["inetd", "inetutils-inetd", "rlinetd", "xinetd", "busybox"];

pub fn look(search: &mut Search<'_>, named: Option<&Path>, programs: &Programs, processes: &Processes) {
    let asks_itself = programs.is_linked("inetd") && is_told_to_ask(search, processes);
    search.inetd_asks = asks_itself;
    let nobody_reads = !READERS.iter().any(|name| programs.is_here(name));
    for path in files(search, named) {
        let Some(text) = search.text(&path) else { continue };
        for start in services::starts(&text, &path) {
            search.looked.inetd_lines += 1;
            let place = At { file: path.clone(), line: start.line };
            line(search, start, place, asks_itself, nobody_reads);
        }
    }
}

fn files(search: &mut Search<'_>, named: Option<&Path>) -> Vec<PathBuf> {
    let mut files = vec![named.unwrap_or(Path::new(services::PATH)).to_path_buf()];
    if named.is_none() {
        // What editors and package managers leave behind counts nowhere.
        let is_left = |name: &OsString| {
            name.as_bytes().starts_with(b".") || name.as_bytes().iter().any(|byte| b"~#".contains(byte))
        };
        let names = search.names(Path::new(DIRECTORY));
        files.extend(names.iter().filter(|name| !is_left(name)).map(|name| Path::new(DIRECTORY).join(name)));
    }
    files
}

fn line(search: &mut Search<'_>, start: services::Start, at: At, asks_itself: bool, nobody_reads: bool) {
    let program = PathBuf::from(OsStr::from_bytes(&start.program));
    let service = last_of_address(&start.service).to_vec();
    let ports: Vec<u16> = search.port(&service).into_iter().collect();
    let by = format!("{}:{}", at.file.display(), at.line);
    let mut notes = if nobody_reads { vec![Note::NoSuperServer("inetd")] } else { Vec::new() };
    let through_tcpd = base(&program) == b"tcpd";
    let itself = asks_itself && start.accepts;
    if through_tcpd && !itself {
        let Some((call, said)) = search.tcpd(&start.argv, &by) else { return };
        notes.extend(said);
        let kind = Kind::Inetd { at, service, asker: Asker::Tcpd };
        return search.asks(&call.daemon, false, Way { kind, notes }, &ports);
    }
    let asked_as = itself.then(|| start.argv.first().map_or(&b""[..], |name| last_component(name)).to_vec());
    if let Some(name) = &asked_as {
        let kind = Kind::Inetd { at, service, asker: Asker::Itself };
        search.asks(name, false, Way { kind, notes }, &ports);
    }
    let program = match through_tcpd {
        true => start.argv.first().map_or(program, |name| PathBuf::from(OsStr::from_bytes(name))),
        false => program,
    };
    search.starts.push(Start { program, argv: start.argv, by, ports, asked_as });
}

/// `address:service` and `name/version`, as some systems write them.
fn last_of_address(service: &[u8]) -> &[u8] {
    let name = service.rsplit(|&byte| byte == b':').next().unwrap_or_default();
    name.split(|&byte| byte == b'/').next().unwrap_or_default()
}

/// Whether inetd has the option to ask by itself, however it is started.
fn is_told_to_ask(search: &mut Search<'_>, processes: &Processes) -> bool {
    let has_it = |argv: &[Vec<u8>]| argv.iter().skip(1).any(|word| is_flag(word));
    let of_units = search.starts.iter().any(|start| base(&start.program) == b"inetd" && has_it(&start.argv));
    let running = processes.calls_of("inetd").any(has_it);
    of_units
        || running
        || DEFAULTS.iter().any(|path| {
            let text = search.text(Path::new(path)).unwrap_or_default();
            let mut options = pairs::pairs(&text).into_iter().filter(|pair| pair.key == b"OPTIONS");
            let words = |value: &[u8]| value.split(|byte| b"\"' \t".contains(byte)).any(is_flag);
            options.next_back().is_some_and(|pair| words(&pair.value))
        })
}

/// `-l`, alone or among other letters that take no argument.
fn is_flag(word: &[u8]) -> bool {
    word.strip_prefix(b"-").is_some_and(|letters| {
        letters.contains(&b'l') && letters.iter().all(|letter| b"dEil".contains(letter))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_of_inetd_is_a_letter() {
        for word in ["-l", "-il", "-dl"] {
            assert!(is_flag(word.as_bytes()), "{word}");
        }
        for word in ["", "l", "-i", "--l", "-q128l", "/etc/l"] {
            assert!(!is_flag(word.as_bytes()), "{word}");
        }
        assert_eq!(last_of_address(b"127.0.0.1:ftp"), b"ftp");
        assert_eq!(last_of_address(b"mountd/1-3"), b"mountd");
    }
}
