//! Under which daemon name does a program ask, and does it ask at all?
//!
//! A program that is linked with libwrap may ask under any name, or only when it is told to. The table
//! says what is known of those that are in wide use; the last column is where it is known from. Of any
//! other program the name of its file is assumed, and the report says so.
//!
//! Warning to the next author: a row is worth something only if somebody has looked. Start the program
//! with a library that writes down what it is asked, or read its manual.

#![forbid(unsafe_code)]

use super::pairs::{Pair, pairs};
use super::{Search, base, last_component};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What is known of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It asks under the last component of its argv[0].
    Own,
    Fixed(&'static str),
    /// Under the names of its sections, where a setting says yes.
    Sections(&'static Switch),
    /// Under a name, where a setting says yes.
    Switched(&'static str, &'static Switch),
    /// Where a word of its command line says so: socat's `tcpwrap[=NAME]`.
    Word(&'static str),
    /// Under names that its configuration has.
    Open(&'static str),
    /// The same, where the value of a setting has a word.
    OpenIf(&'static str, &'static Switch),
    /// It starts others, and they are looked at one by one.
    Starter(&'static str),
    /// It serves nobody, or asks for others.
    Tool,
}

/// A setting that has a program ask, and where it may stand.
#[derive(Debug, PartialEq, Eq)]
struct Switch {
    key: &'static str,
    /// What its value is.
    value: &'static str,
    /// Files, and directories whose files with `.conf` at the end are meant.
    places: &'static [&'static str],
}

static VSFTPD: Switch =
    Switch { key: "tcp_wrappers", value: "YES", places: &["/etc/vsftpd.conf", "/etc/vsftpd/"] };
static STUNNEL: Switch = Switch { key: "libwrap", value: "yes", places: &["/etc/stunnel/"] };
static DOVECOT: Switch = Switch {
    key: "login_access_sockets",
    value: "tcpwrap",
    places: &["/etc/dovecot/dovecot.conf", "/etc/dovecot/conf.d/", "/etc/dovecot/local.conf"],
};

/// By the names of files; "measured" and "read" are of Debian 12 unless another is named.
#[rustfmt::skip]
static KNOWN: [(&str, Known); 34] = [
    ("sshd", Known::Own),                           // measured, 9.2p1
    ("sshd-session", Known::Fixed("sshd")),         // read in Debian 13's, 10.0p1
    ("vsftpd", Known::Switched("vsftpd", &VSFTPD)), // measured, 3.0.3; vsftpd.conf(5)
    ("in.tftpd", Known::Own),                       // measured, tftp-hpa 5.2
    ("atftpd", Known::Fixed("in.tftpd")),           // atftpd(8)
    ("stunnel", Known::Sections(&STUNNEL)),         // measured, 5.68; stunnel(8)
    ("stunnel4", Known::Sections(&STUNNEL)),
    ("stunnel5", Known::Sections(&STUNNEL)),
    ("socat", Known::Word("tcpwrap")),              // measured, 1.7.4; socat(1)
    ("rpcbind", Known::Fixed("rpcbind")),           // measured, 1.2.6
    ("rpc.mountd", Known::Fixed("mountd")),         // mountd(8)
    ("rpc.statd", Known::Fixed("statd")),           // statd(8)
    ("rpc.rquotad", Known::Fixed("rquotad")),       // rpc.rquotad(8)
    ("slapd", Known::Fixed("slapd")),               // read, 2.5.13
    ("mosquitto", Known::Fixed("mosquitto")),       // read, 2.0.11
    ("pptpd", Known::Fixed("pptpd")),               // read, 1.4.0
    ("sendmail", Known::Fixed("sendmail")),         // read, 8.17.1
    ("syslog-ng", Known::Fixed("syslog-ng")),       // read in its libafsocket.so, 3.38
    ("snmpd", Known::Own),                          // read in libnetsnmpagent.so.40
    ("snmptrapd", Known::Own),
    ("conserver", Known::Own),                      // read, 8.2.7
    ("sslh", Known::Open("the \"service\" of each protocol in sslh.cfg")),         // sslh(8)
    ("sslh-select", Known::Open("the \"service\" of each protocol in sslh.cfg")),
    ("sslh-ev", Known::Open("the \"service\" of each protocol in sslh.cfg")),
    ("rlinetd", Known::Open("what stands behind \"tcpd\" in rlinetd.conf(5)")),      // rlinetd.conf(5)
    ("tcpwrap", Known::OpenIf("Dovecot's services, such as imap", &DOVECOT)), // read, 2.3.19
    ("inetd", Known::Starter("inetd")),             // measured, openbsd-inetd 0.20221205
    ("xinetd", Known::Starter("xinetd")),           // xinetd.conf(5)
    ("tcpd", Known::Tool),
    ("tcpdchk", Known::Tool),
    ("tcpdmatch", Known::Tool),
    ("tcpdcompile", Known::Tool),
    ("try-from", Known::Tool),
    ("safe_finger", Known::Tool),
];

/// Programs in such a directory ask under the names of cyrus.conf(5), which is where that is said.
const CYRUS: &str = "cyrus";

/// How a program asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Under these names; of each, whether it is only assumed.
    Names(Vec<(Vec<u8>, bool)>),
    /// Under others.
    Open(&'static str),
    /// Not at all. The names under which it would, and what it would take.
    Not { names: Vec<Vec<u8>>, why: String },
    /// That is looked at elsewhere, or it serves nobody.
    Elsewhere,
}

/// Whether there is a row for a program, other than that it is a tool.
pub fn is_known(program: &Path) -> bool {
    row(program).is_some_and(|known| known != Known::Tool)
}

/// Whether a program is the wrapper's own, so that its name is nobody's.
pub fn is_tool(program: &Path) -> bool {
    row(program) == Some(Known::Tool)
}

fn row(program: &Path) -> Option<Known> {
    let row = KNOWN.iter().find(|(file, _)| file.as_bytes() == base(program));
    let is_cyrus = program.components().any(|part| part.as_os_str().as_bytes().starts_with(CYRUS.as_bytes()));
    match row {
        _ if is_cyrus => Some(Known::Open("the entries of cyrus.conf(5)")),
        row => row.map(|(_, known)| *known),
    }
}

/// How a program asks that is so called.
pub fn asks(search: &mut Search<'_>, program: &Path, calls: &[&[Vec<u8>]]) -> Asks {
    let own = || base(program).to_vec();
    let not = |names: Vec<Vec<u8>>, why: String| Asks::Not { names, why };
    match row(program) {
        None => Asks::Names(called(program, calls).into_iter().map(|name| (name, true)).collect()),
        Some(Known::Own) => {
            Asks::Names(called(program, calls).into_iter().map(|name| (name, false)).collect())
        }
        Some(Known::Fixed(name)) => Asks::Names(vec![(name.as_bytes().to_vec(), false)]),
        Some(Known::Switched(name, switch)) => {
            let set = settings(search, switch, calls).iter().any(|pair| pair.says_yes(switch.key));
            match set {
                true => Asks::Names(vec![(name.as_bytes().to_vec(), false)]),
                false => not(vec![name.as_bytes().to_vec()], lacks(switch)),
            }
        }
        Some(Known::Sections(switch)) => sections(&settings(search, switch, calls), switch),
        Some(Known::OpenIf(names, switch)) => {
            let says = |pair: &Pair| {
                let mut words = pair.value.split(u8::is_ascii_whitespace);
                pair.key == switch.key.as_bytes() && words.any(|word| word == switch.value.as_bytes())
            };
            match settings(search, switch, calls).iter().any(says) {
                true => Asks::Open(names),
                false => not(Vec::new(), lacks(switch)),
            }
        }
        Some(Known::Word(word)) => match words(program, word, calls) {
            names if names.is_empty() => {
                let why = format!("it asks only where \"{word}\" stands in its command line");
                not(vec![own()], why)
            }
            names => Asks::Names(names.into_iter().map(|name| (name, false)).collect()),
        },
        Some(Known::Open(names)) => Asks::Open(names),
        Some(Known::Starter("inetd")) if !search.inetd_asks => {
            not(vec![own()], "it asks by itself only with its option -l".to_owned())
        }
        Some(Known::Starter(_) | Known::Tool) => Asks::Elsewhere,
    }
}

/// The names by which a program is called: its file's, and those that its starters give it.
fn called(program: &Path, calls: &[&[Vec<u8>]]) -> Vec<Vec<u8>> {
    let mut names = vec![base(program).to_vec()];
    for name in calls.iter().filter_map(|argv| argv.first()) {
        let name = last_component(name).to_vec();
        // A running program may have written anything there.
        if !name.is_empty() && !name.contains(&b' ') && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn lacks(switch: &Switch) -> String {
    let place = switch.places.first().copied().unwrap_or_default();
    let place = place.strip_suffix('/').map_or(place.to_owned(), |directory| format!("{directory}/*.conf"));
    format!("it asks only where {place} has {}={}", switch.key, switch.value)
}

/// What the files of a switch say, and those that command lines name.
fn settings(search: &mut Search<'_>, switch: &Switch, calls: &[&[Vec<u8>]]) -> Vec<Pair> {
    let mut files = Vec::new();
    for place in switch.places {
        match place.strip_suffix('/') {
            None => files.push(PathBuf::from(place)),
            Some(directory) => {
                let names = search.names(Path::new(directory));
                let names = names.iter().filter(|name| name.as_bytes().ends_with(b".conf"));
                files.extend(names.map(|name| Path::new(directory).join(name)));
            }
        }
    }
    let arguments = calls.iter().flat_map(|argv| argv.iter().skip(1)).filter(|word| word.starts_with(b"/"));
    files.extend(arguments.map(|word| PathBuf::from(OsStr::from_bytes(word))));
    let mut all = Vec::new();
    for (number, file) in files.iter().enumerate() {
        if files.iter().take(number).all(|other| other != file) {
            all.extend(pairs(&search.text(file).unwrap_or_default()));
            // Where one file ends, its sections do.
            all.push(Pair { section: Vec::new(), key: Vec::new(), value: Vec::new(), line: 0 });
        }
    }
    all
}

/// The sections that a setting switches on, in themselves or for all behind it.
fn sections(pairs: &[Pair], switch: &Switch) -> Asks {
    let (mut on, mut off, mut general) = (Vec::new(), Vec::new(), false);
    for pair in pairs {
        if pair.key.is_empty() {
            general = false;
        } else if pair.section.is_empty() {
            general = if pair.key == switch.key.as_bytes() { pair.says_yes(switch.key) } else { general };
        } else {
            let is_switch = pair.key == switch.key.as_bytes();
            let says = if is_switch { pair.says_yes(switch.key) } else { general };
            let (to, from) = if says { (&mut on, &mut off) } else { (&mut off, &mut on) };
            let known = to.contains(&pair.section) || (!is_switch && from.contains(&pair.section));
            if is_switch {
                from.retain(|section| *section != pair.section);
            }
            if !known {
                to.push(pair.section.clone());
            }
        }
    }
    match on.is_empty() {
        true => Asks::Not { names: off, why: lacks(switch) },
        false => Asks::Names(on.into_iter().map(|name| (name, false)).collect()),
    }
}

/// The names that `word` or `word=NAME` gives, among the options of socat's addresses.
fn words(program: &Path, word: &str, calls: &[&[Vec<u8>]]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    for argv in calls {
        let own = argv.first().map_or_else(|| base(program), |name| last_component(name));
        let options = argv.iter().skip(1).flat_map(|word| word.split(|&byte| byte == b','));
        for option in options.filter_map(|option| option.strip_prefix(word.as_bytes())) {
            let name = match option.strip_prefix(b"=") {
                Some(name) => name,
                None if option.is_empty() => own,
                None => continue,
            };
            if !names.iter().any(|known| known == name) {
                names.push(name.to_vec());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn sections_ask_that_are_told_to() {
        let names = |text: &str| match sections(&pairs(text.as_bytes()), &STUNNEL) {
            Asks::Names(names) => {
                names.into_iter().map(|(name, _)| String::from_utf8_lossy(&name).into_owned()).collect()
            }
            Asks::Not { names, .. } => vec![format!("none of {}", names.len())],
            other => panic!("{other:?}"),
        };
        assert_eq!(names("[a]\naccept=1\n[b]\naccept=2\nlibwrap = yes\n"), ["b"]);
        assert_eq!(names("libwrap=yes\n[a]\naccept=1\n[b]\naccept=2\nlibwrap=no\n"), ["a"]);
        assert_eq!(names("libwrap=no\n[a]\naccept=1\n"), ["none of 1"]);
    }

    #[test]
    fn socat_is_told_on_its_command_line() {
        let socat = Path::new("/usr/bin/socat");
        let (one, two) =
            (argv("socat TCP-LISTEN:7,fork,tcpwrap=script -"), argv("./cat2 TCP-LISTEN:7,tcpwrap -"));
        let other = argv("socat TCP-LISTEN:7,tcpwrap-etc=/x -");
        assert_eq!(words(socat, "tcpwrap", &[&one, &two]), [b"script".to_vec(), b"cat2".to_vec()]);
        assert!(words(socat, "tcpwrap", &[&other]).is_empty());
    }

    #[test]
    fn every_program_has_one_row() {
        for (number, (file, _)) in KNOWN.iter().enumerate() {
            assert!(KNOWN.iter().skip(number + 1).all(|(other, _)| other != file), "{file}");
        }
        assert!(is_known(Path::new("/usr/lib/cyrus/bin/imapd")) && !is_known(Path::new("/usr/sbin/imapd")));
        assert!(!is_known(Path::new("/usr/sbin/tcpd")));
    }
}
