//! tcpd.conf(5): few keys, all with defaults; no file means all of them.
//!
//! Every line is read and every complaint collected. What bears on security fails closed: a bad value
//! of such a key, a line that is no setting, a file that others may write or that cannot be read
//! refuses every connection ([`Reading::refuses`]). A bad value of any other key leaves its default.

#![forbid(unsafe_code)]

use crate::error::{Place, Problem, SettingFlaw, Weight, What, reason};
use crate::rules::grammar;
use crate::rules::{Line, options};
use crate::sys::file::{Opened, distrust, open};
use crate::tables::image;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where the file is.
pub const PATH: &str = "/etc/tcpd.conf";
/// Longest file that is read, bytes.
const FILE_MAX: u64 = 1 << 20;

/// When the client's name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolve {
    /// When a rule or an expansion needs it.
    Needed,
    /// For every log line, too.
    Always,
    Never,
}

/// Where the log goes; there may be several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTo {
    Syslog,
    Stderr,
    Journal,
    /// A file with one object on each line.
    Json(PathBuf),
}

impl LogTo {
    pub fn named(name: &[u8]) -> Option<LogTo> {
        match name {
            b"syslog" => Some(LogTo::Syslog),
            b"stderr" => Some(LogTo::Stderr),
            b"journal" => Some(LogTo::Journal),
            _ => {
                let path = name.strip_prefix(b"json:").filter(|path| !path.is_empty())?;
                Some(LogTo::Json(PathBuf::from(OsStr::from_bytes(path))))
            }
        }
    }

    fn is_the_same_everywhere(&self) -> bool {
        !matches!(self, LogTo::Json(path) if path.is_relative())
    }
}

/// All channels that a line of the file names; a relative path would depend on who starts us.
fn channels(value: &[u8]) -> Option<Vec<LogTo>> {
    let channel = |word: &[u8]| LogTo::named(word).filter(LogTo::is_the_same_everywhere);
    let words = value.split(|&byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    words.map(channel).collect()
}

/// All settings, with their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub server_directory: PathBuf,
    pub resolve: Resolve,
    pub resolve_timeout: Duration,
    /// A name that does not agree with its address refuses before any rule is read.
    pub paranoid: bool,
    pub strict: bool,
    /// How long a refusal holds the process; None: not at all for a stream, a second for a datagram.
    pub refuse_delay: Option<Duration>,
    pub log: Cow<'static, [LogTo]>,
    pub facility: u8,
    pub hosts_allow: PathBuf,
    pub hosts_deny: PathBuf,
    /// The compiled image; none where none is wanted.
    pub image: Option<PathBuf>,
}

const LOG_DAEMON: u8 = 3;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            server_directory: PathBuf::from("/usr/sbin"),
            resolve: Resolve::Needed,
            resolve_timeout: Duration::from_secs(5),
            paranoid: false,
            strict: false,
            refuse_delay: None,
            log: Cow::Borrowed(&[LogTo::Syslog]),
            facility: LOG_DAEMON,
            hosts_allow: PathBuf::from("/etc/hosts.allow"),
            hosts_deny: PathBuf::from("/etc/hosts.deny"),
            image: Some(PathBuf::from(image::PATH)),
        }
    }
}

/// A key: its name, what its value must be, whether a bad value refuses, and how to set it.
pub struct Key {
    pub name: &'static str,
    pub wants: &'static str,
    matters: bool,
    set: fn(&mut Settings, &[u8]) -> Option<()>,
}

/// Every key there is.
#[rustfmt::skip]
pub static KEYS: [Key; 11] = [
    Key { name: "server-directory", wants: "an absolute path", matters: true,
          set: |s, v| absolute(v).map(|path| s.server_directory = path) },
    Key { name: "resolve", wants: "needed, always or never", matters: true,
          set: |s, v| resolve(v).map(|when| s.resolve = when) },
    Key { name: "resolve-timeout", wants: "1 to 300 seconds", matters: false,
          set: |s, v| seconds(v, 1, 300).map(|time| s.resolve_timeout = time) },
    Key { name: "paranoid", wants: "yes or no", matters: true,
          set: |s, v| yes_no(v).map(|yes| s.paranoid = yes) },
    Key { name: "strict", wants: "yes or no", matters: true,
          set: |s, v| yes_no(v).map(|yes| s.strict = yes) },
    Key { name: "refuse-delay", wants: "0 to 60 seconds", matters: false,
          set: |s, v| seconds(v, 0, 60).map(|time| s.refuse_delay = Some(time)) },
    Key { name: "log", wants: "syslog, stderr, journal, json:/path, or several of them", matters: false,
          set: |s, v| channels(v).map(|all| s.log = Cow::Owned(all)) },
    Key { name: "facility", wants: "a syslog facility", matters: false,
          set: |s, v| options::facility(v).map(|number| s.facility = number) },
    Key { name: "hosts-allow", wants: "an absolute path", matters: true,
          set: |s, v| absolute(v).map(|path| s.hosts_allow = path) },
    Key { name: "hosts-deny", wants: "an absolute path", matters: true,
          set: |s, v| absolute(v).map(|path| s.hosts_deny = path) },
    // Without an image the text is read, which is always right.
    Key { name: "image", wants: "an absolute path, or none", matters: false,
          set: |s, v| image_at(v).map(|image| s.image = image) },
];

/// The path of an image; `none` is none.
pub fn image_at(value: &[u8]) -> Option<Option<PathBuf>> {
    if value == b"none" { Some(None) } else { absolute(value).map(Some) }
}

fn absolute(value: &[u8]) -> Option<PathBuf> {
    value.starts_with(b"/").then(|| PathBuf::from(OsStr::from_bytes(value)))
}

fn resolve(value: &[u8]) -> Option<Resolve> {
    match value {
        b"needed" => Some(Resolve::Needed),
        b"always" => Some(Resolve::Always),
        b"never" => Some(Resolve::Never),
        _ => None,
    }
}

fn yes_no(value: &[u8]) -> Option<bool> {
    match value {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

fn seconds(value: &[u8], least: u64, most: u64) -> Option<Duration> {
    let number: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (least..=most).contains(&number).then(|| Duration::from_secs(number))
}

/// What reading the file came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Reading {
    pub settings: Settings,
    pub problems: Vec<Problem>,
    /// Nobody can say what the administrator wanted: every connection is refused.
    pub refuses: bool,
}

impl Reading {
    fn of_defaults() -> Reading {
        Reading { settings: Settings::default(), problems: Vec::new(), refuses: false }
    }
}

/// Reads the usual file for a process that is somebody else's, and may be locked in: where it may not be
/// opened, all defaults hold, and somebody should know.
pub fn read_if_permitted(caller: fn() -> u32) -> Reading {
    match open(Path::new(PATH)) {
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
            let flaw = SettingFlaw::Unreadable(format!("{}: the defaults hold", reason(&cause)));
            let place = Place { file: Arc::from(Path::new(PATH)), line: 0, spot: None };
            let problems = vec![Problem::at(place, Weight::Warning, What::Setting(flaw))];
            Reading { problems, ..Reading::of_defaults() }
        }
        Ok(Opened::Nothing) => Reading::of_defaults(),
        found => read_found(found, None, caller()),
    }
}

/// Reads the file that was named, or else the usual one, for a process of user `caller`. The usual one
/// may be missing; one that was named may not.
pub fn read(named: Option<&Path>, caller: u32) -> Reading {
    read_found(open(named.unwrap_or(Path::new(PATH))), named, caller)
}

fn read_found(found: io::Result<Opened>, named: Option<&Path>, caller: u32) -> Reading {
    let path = named.unwrap_or(Path::new(PATH));
    let file: Arc<Path> = Arc::from(path);
    let untold = |flaw| {
        let place = Place { file: Arc::clone(&file), line: 0, spot: None };
        let problems = vec![Problem::at(place, Weight::Error, What::Setting(flaw))];
        Reading { settings: Settings::default(), problems, refuses: true }
    };
    let opened = match found {
        Ok(Opened::Regular(opened, _)) => opened,
        Ok(Opened::Nothing) if named.is_some_and(|path| !path.exists()) => {
            return untold(SettingFlaw::Unreadable("No such file or directory".to_owned()));
        }
        Ok(Opened::Nothing) => return Reading::of_defaults(),
        Err(cause) => return untold(SettingFlaw::Unreadable(reason(&cause))),
    };
    match distrust(&opened, caller) {
        Ok(None) => {}
        Ok(Some(why)) => return untold(SettingFlaw::Untrusted(why)),
        Err(cause) => return untold(SettingFlaw::Unreadable(reason(&cause))),
    }
    let mut text = Vec::new();
    match opened.take(FILE_MAX + 1).read_to_end(&mut text) {
        Ok(length) if length as u64 <= FILE_MAX => parse(&text, &file),
        Ok(_) => untold(SettingFlaw::Unreadable("File too large".to_owned())),
        Err(cause) => untold(SettingFlaw::Unreadable(reason(&cause))),
    }
}

/// Reads the text of a file.
pub fn parse(text: &[u8], file: &Arc<Path>) -> Reading {
    let mut reading = Reading::of_defaults();
    let mut unknown_keys = false;
    for (number, text) in (1..).zip(text.split(|&byte| byte == b'\n')) {
        let line = Line { text, file, number, joins: &[] };
        let (at, flaw) = match grammar::setting(text) {
            None => continue,
            Some(Err(at)) => (at, SettingFlaw::BadLine),
            Some(Ok((name, value))) => match KEYS.iter().find(|key| key.name.as_bytes() == name) {
                None => (name, SettingFlaw::UnknownKey(name.to_vec())),
                Some(key) => match (key.set)(&mut reading.settings, value) {
                    Some(()) => continue,
                    None => {
                        reading.refuses |= key.matters;
                        (
                            value,
                            SettingFlaw::BadValue { key: key.name, value: value.to_vec(), wants: key.wants },
                        )
                    }
                },
            },
        };
        let weight = match flaw {
            SettingFlaw::UnknownKey(_) => Weight::Warning,
            _ => Weight::Error,
        };
        unknown_keys |= weight == Weight::Warning;
        reading.refuses |= flaw == SettingFlaw::BadLine;
        reading.problems.push(Problem::at(line.place(Some(at)), weight, What::Setting(flaw)));
    }
    reading.refuses |= unknown_keys && reading.settings.strict;
    reading
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logline;

    #[test]
    fn blanks_are_blanks() {
        let (reading, problems) = parsed("log\tjournal \tsyslog\nresolve-timeout\t 2\n");
        assert_eq!(problems, [""; 0]);
        assert_eq!((reading.settings.log.len(), reading.settings.resolve_timeout.as_secs()), (2, 2));
    }

    fn parsed(text: &str) -> (Reading, Vec<String>) {
        let file: Arc<Path> = Arc::from(Path::new("tcpd.conf"));
        let reading = parse(text.as_bytes(), &file);
        let lines = reading.problems.iter().flat_map(logline::problem);
        let lines = lines.map(|entry| String::from_utf8_lossy(&entry.text).into_owned()).collect();
        (reading, lines)
    }

    #[test]
    fn every_key_is_obeyed() {
        let text = "# all of them\nserver-directory /srv\nresolve\talways # now\nresolve-timeout 2\nparanoid yes\nstrict yes\nrefuse-delay 3\nlog stderr json:/var/log/a  journal\nfacility local3\nhosts-allow /a\nhosts-deny /d\nimage none\n";
        let (reading, lines) = parsed(text);
        assert!(lines.is_empty() && !reading.refuses, "{lines:?}");
        let expected = Settings {
            server_directory: "/srv".into(),
            resolve: Resolve::Always,
            resolve_timeout: Duration::from_secs(2),
            paranoid: true,
            strict: true,
            refuse_delay: Some(Duration::from_secs(3)),
            log: Cow::Owned(vec![LogTo::Stderr, LogTo::Json("/var/log/a".into()), LogTo::Journal]),
            facility: 19,
            hosts_allow: "/a".into(),
            hosts_deny: "/d".into(),
            image: None,
        };
        assert_eq!(reading.settings, expected);
    }

    #[test]
    fn what_bears_on_security_refuses() {
        for (text, refuses) in [
            ("paranoid maybe\n", true),
            ("hosts-deny etc/hosts.deny\n", true),
            ("paranoid\n", true),
            ("resolve-timeout soon\n", false),
            ("facility none\n", false),
            ("colour blue\n", false),
            ("image rules.img\n", false),
            ("log nowhere\n", false),
            ("colour blue\nstrict yes\n", true),
            ("", false),
        ] {
            assert_eq!(parsed(text).0.refuses, refuses, "{text:?}");
        }
    }

    #[test]
    fn a_log_is_several_channels_or_none_of_them() {
        let log = |value: &str| parsed(&format!("log {value}\n")).0.settings.log.into_owned();
        assert_eq!(log("syslog"), [LogTo::Syslog]);
        assert_eq!(log("journal syslog"), [LogTo::Journal, LogTo::Syslog]);
        let paths = ["/a", "/b:c"].map(|path| LogTo::Json(path.into()));
        assert_eq!(log("json:/a json:/b:c # one"), paths);
        for bad in ["json:", "json:log", "json", "journal,syslog", "journal nowhere", "Journal"] {
            assert_eq!(log(bad), [LogTo::Syslog], "{bad}");
        }
    }

    #[test]
    fn complaints_name_line_and_column() {
        let (_, lines) = parsed("\nparanoid  maybe\n  colour blue\nx\n");
        assert_eq!(
            lines,
            [
                "error: tcpd.conf, line 2: bad value of paranoid: \"maybe\" in column 11 (wanted: yes or no)",
                "warning: tcpd.conf, line 3: unknown setting: \"colour\" in column 3",
                "error: tcpd.conf, line 4: no setting in column 2",
            ]
        );
    }
}
