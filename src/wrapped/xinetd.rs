//! Which services of xinetd.conf(5) ask: through tcpd, or because xinetd asks by itself?
//!
//! xinetd that is linked with libwrap asks for each of its services, unless a flag NOLIBWRAP is set or
//! it is an RPC service of streams. The name is that of the attribute `libwrap`, else the first of
//! `server_args` with the flag NAMEINARGS, else the server's; for internal and redirected services it is
//! the service's (xinetd.conf(5), and access.c of xinetd 2.3.15).
//!
//! Here `only_from` and the like are not looked at: they are xinetd's own rules.

#![forbid(unsafe_code)]

use super::linked::Programs;
use super::{Asker, At, Kind, Note, Search, Start, Way, base, last_component};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const PATH: &str = "/etc/xinetd.conf";
/// How deep files include files.
const DEPTH_MAX: usize = 8;

/// What one `service` says.
#[derive(Clone, Debug, Default)]
struct Entry {
    name: Vec<u8>,
    file: PathBuf,
    line: u32,
    attributes: Vec<(Vec<u8>, Vec<Vec<u8>>)>,
}

impl Entry {
    /// The values of an attribute, after all that was assigned, added and taken away.
    fn values(&self, key: &str) -> Vec<&[u8]> {
        let named = self.attributes.iter().filter(|(name, _)| name.eq_ignore_ascii_case(key.as_bytes()));
        named.flat_map(|(_, values)| values).map(Vec::as_slice).collect()
    }

    fn value(&self, key: &str) -> Option<&[u8]> {
        self.values(key).first().copied()
    }

    fn has(&self, key: &str, word: &str) -> bool {
        self.values(key).iter().any(|value| value.eq_ignore_ascii_case(word.as_bytes()))
    }

    fn assign(&mut self, key: &[u8], operator: &[u8], values: Vec<Vec<u8>>) {
        match (operator, self.attributes.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(key))) {
            (b"+=", Some((_, all))) => all.extend(values),
            (b"-=", Some((_, all))) => all.retain(|value| !values.contains(value)),
            (b"-=", None) => {}
            (_, Some((_, all))) => *all = values,
            (_, None) => self.attributes.push((key.to_vec(), values)),
        }
    }
}

pub fn look(search: &mut Search<'_>, programs: &Programs) {
    let mut entries = Vec::new();
    read(search, Path::new(PATH), 0, &mut entries);
    let defaults: Vec<Entry> = entries.iter().filter(|entry| entry.name.is_empty()).cloned().collect();
    let listed = |key: &str, id: &[u8]| defaults.iter().any(|entry| entry.values(key).contains(&id));
    let only_enabled = defaults.iter().any(|entry| entry.value("enabled").is_some());
    let asks_itself = programs.is_linked("xinetd");
    let is_here = programs.is_here("xinetd");
    for entry in entries.iter().filter(|entry| !entry.name.is_empty()) {
        search.looked.xinetd_services += 1;
        let id = entry.value("id").unwrap_or(&entry.name);
        let enabled = !only_enabled || listed("enabled", id);
        if enabled && !listed("disabled", id) && !entry.has("disable", "yes") {
            service(search, entry, asks_itself, is_here);
        }
    }
}

fn service(search: &mut Search<'_>, entry: &Entry, asks_itself: bool, is_here: bool) {
    let at = || At { file: entry.file.clone(), line: entry.line };
    let notes = || if is_here { Vec::new() } else { vec![Note::NoSuperServer("xinetd")] };
    let kind = |asker| Kind::Xinetd { at: at(), service: entry.name.clone(), asker };
    let ports: Vec<u16> = search.port(entry.value("port").unwrap_or(&entry.name)).into_iter().collect();
    let server = entry.value("server").unwrap_or_default();
    let argv = argv(entry, server);
    let by = format!("{}:{}", entry.file.display(), entry.line);

    let streams_of_rpc = entry.has("type", "RPC") && entry.has("socket_type", "stream");
    let itself = asks_itself && !entry.has("flags", "NOLIBWRAP") && !streams_of_rpc;
    let asked_as = own_name(entry, server, &argv).filter(|_| itself).map(<[u8]>::to_vec);
    if let Some(name) = &asked_as {
        search.asks(name, false, Way { kind: kind(Asker::Itself), notes: notes() }, &ports);
    }
    if server.is_empty() {
        return;
    }
    if last_component(server) == b"tcpd" {
        let Some((call, said)) = search.tcpd(&argv, &by) else { return };
        let notes = [notes(), said].concat();
        return search.asks(&call.daemon, false, Way { kind: kind(Asker::Tcpd), notes }, &ports);
    }
    let program = PathBuf::from(OsStr::from_bytes(server));
    search.starts.push(Start { program, argv, by, ports, asked_as });
}

/// The argument vector of the server.
fn argv(entry: &Entry, server: &[u8]) -> Vec<Vec<u8>> {
    let arguments = entry.values("server_args").into_iter().map(<[u8]>::to_vec);
    match entry.has("flags", "NAMEINARGS") {
        true => arguments.collect(),
        false => {
            std::iter::once(base(Path::new(OsStr::from_bytes(server))).to_vec()).chain(arguments).collect()
        }
    }
}

/// The name under which xinetd itself asks.
fn own_name<'a>(entry: &'a Entry, server: &'a [u8], argv: &'a [Vec<u8>]) -> Option<&'a [u8]> {
    if let Some(name) = entry.value("libwrap") {
        return Some(name);
    }
    if entry.value("redirect").is_some() || entry.has("type", "INTERNAL") {
        return Some(&entry.name);
    }
    match entry.has("flags", "NAMEINARGS") {
        true => argv.first().map(|name| last_component(name)),
        false if server.is_empty() => Some(entry.value("id").unwrap_or(&entry.name)),
        false => Some(last_component(server)),
    }
}

/// Reads a file, and those that it includes. An entry without a name holds the defaults.
fn read(search: &mut Search<'_>, path: &Path, depth: usize, entries: &mut Vec<Entry>) {
    let Some(text) = search.text(path) else { return };
    let mut open: Option<Entry> = None;
    for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')) {
        let mut words = words(line).into_iter();
        let Some(first) = words.next().filter(|word| !word.starts_with(b"#")) else { continue };
        if let Some(entry) = &mut open {
            if first == b"}" {
                entries.extend(open.take());
            } else if first != b"{" {
                let operator = words.next().unwrap_or_default();
                entry.assign(first, operator, words.map(<[u8]>::to_vec).collect());
            }
            continue;
        }
        let argument = words.next();
        match (first, argument) {
            (b"defaults", _) => open = Some(Entry { file: path.into(), line: number, ..Entry::default() }),
            (b"service", Some(name)) => {
                let name = name.to_vec();
                open = Some(Entry { name, file: path.into(), line: number, ..Entry::default() });
            }
            (b"include" | b"includedir", Some(_)) if depth >= DEPTH_MAX => {
                search.unclear(path.display().to_string(), "files include files too deep".to_owned());
            }
            (b"include", Some(file)) => read(search, Path::new(OsStr::from_bytes(file)), depth + 1, entries),
            (b"includedir", Some(directory)) => {
                let directory = Path::new(OsStr::from_bytes(directory));
                let names = search.names(directory);
                // xinetd passes over names with a dot, and those that end in a tilde.
                for name in names.iter().filter(|name| !name.as_bytes().contains(&b'.')) {
                    if !name.as_bytes().ends_with(b"~") {
                        read(search, &directory.join(name), depth + 1, entries);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The words of a line; `=`, `+=` and `-=` are words also where no blank stands beside them.
fn words(line: &[u8]) -> Vec<&[u8]> {
    let line = line.trim_ascii();
    let Some(equals) = line.iter().position(|&byte| byte == b'=') else {
        return blank_separated(line).collect();
    };
    let (head, rest) = line.split_at(equals);
    let key = head.strip_suffix(b"+").or_else(|| head.strip_suffix(b"-")).unwrap_or(head);
    let operator = line.get(key.len()..=equals).unwrap_or_default();
    let values = blank_separated(rest.strip_prefix(b"=").unwrap_or(rest));
    [key.trim_ascii(), operator].into_iter().chain(values).collect()
}

fn blank_separated(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        let mut entry = Entry { name: b"ftp".to_vec(), ..Entry::default() };
        for line in text.lines() {
            let mut words = words(line.as_bytes()).into_iter();
            let (key, operator) = (words.next().expect("a key"), words.next().expect("an operator"));
            entry.assign(key, operator, words.map(<[u8]>::to_vec).collect());
        }
        entry
    }

    fn named(text: &str) -> String {
        let entry = entry(text);
        let server = entry.value("server").unwrap_or_default();
        let argv = argv(&entry, server);
        String::from_utf8_lossy(own_name(&entry, server, &argv).expect("a name")).into_owned()
    }

    #[test]
    fn attributes_are_assigned_added_and_taken_away() {
        let entry = entry("flags = IPv6 REUSE\nflags+=NAMEINARGS\nflags -= REUSE\ndisable=no\nx -= y");
        assert_eq!(entry.values("FLAGS"), [&b"IPv6"[..], b"NAMEINARGS"]);
        assert!(entry.has("disable", "no") && entry.value("x").is_none());
    }

    #[test]
    fn xinetd_asks_under_the_name_of_its_source() {
        assert_eq!(named("server = /usr/sbin/vsftpd\nserver_args = -l"), "vsftpd");
        assert_eq!(
            named("server = /usr/sbin/tcpd\nflags = NAMEINARGS\nserver_args = /usr/sbin/in.ftpd -l"),
            "in.ftpd"
        );
        assert_eq!(named("server = /usr/sbin/vsftpd\nlibwrap = in.ftpd"), "in.ftpd");
        assert_eq!(named("redirect = 192.0.2.1 21\nserver = /bin/x"), "ftp");
        assert_eq!(named("type = INTERNAL\nid = ftp-stream"), "ftp");
        assert_eq!(named("id = ftp-stream"), "ftp-stream");
    }
}
