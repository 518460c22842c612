//! How were we called: by inetd, by a command line, or as a listener?
//!
//! inetd gives `argv[0]` and nothing of it is ours; no argument is parsed then, whatever it looks like.
//! Only under our own name, `tcpd`, are there options: a program that was to run "tcpd" under inetd
//! would otherwise execute itself for ever.

#![forbid(unsafe_code)]

pub mod tcpdchk;
pub mod tcpdcompile;
pub mod tools;

use crate::listen::Limits;
use crate::settings::LogTo;
use clap::builder::{OsStringValueParser, PossibleValue, TypedValueParser};
use clap::{Arg, ArgAction, Command, ValueHint, value_parser};
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Our own name.
pub const OWN_NAME: &str = "tcpd";
/// Connections that the listener serves at once, where nobody says otherwise.
const CONNECTIONS_MAX: usize = 256;

/// What is to be done, and for which server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// As it was given: absolute, or a name in the server directory.
    pub server: OsString,
    /// The server's argv.
    pub arguments: Vec<OsString>,
    /// The name that rules and the log know.
    pub daemon: Vec<u8>,
    pub config: Option<PathBuf>,
    pub allow: Option<PathBuf>,
    pub deny: Option<PathBuf>,
    /// Where the log goes, if it is said.
    pub log: Vec<LogTo>,
    /// The compiled image, or none at all, where one of it is said.
    pub image: Option<Option<PathBuf>>,
    /// Where to listen; no door: the connection is on descriptor 0.
    pub listen: Vec<Door>,
    pub limits: Limits,
}

/// Where connections come from, if there is no inetd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Address(SocketAddr),
    /// The sockets that the service manager left open.
    Systemd,
}

impl Door {
    fn named(text: &str) -> Result<Door, &'static str> {
        match text {
            "systemd" => Ok(Door::Systemd),
            _ => text
                .parse()
                .map(Door::Address)
                .map_err(|_| "ADDR:PORT is wanted, an IPv6 ADDR in brackets, or systemd"),
        }
    }
}

impl Invocation {
    /// The server's path.
    pub fn path(&self, directory: &Path) -> PathBuf {
        // A relative name with ".." in it stays what inetd.conf says.
        directory.join(&self.server)
    }

    /// The addresses to listen on, beside sockets that listen already.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let address = |door: &Door| match door {
            Door::Address(address) => Some(*address),
            Door::Systemd => None,
        };
        self.listen.iter().filter_map(address).collect()
    }
}

/// Why there is nothing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    /// `--help`, `--version`: a text for standard output.
    Show(String),
    /// Called wrongly: a text for standard error.
    Usage(String),
}

/// Reads the argument vector. `privileged`: somebody with fewer rights started us with more, so that
/// files and channels are not theirs to choose.
pub fn read(argv: Vec<OsString>, privileged: bool) -> Result<Invocation, Instead> {
    let Some((name, rest)) = argv.split_first() else {
        return Err(Instead::Usage("error: started without an argument vector".to_owned()));
    };
    if last_component(name) == OWN_NAME.as_bytes() {
        return command_line(&argv, privileged);
    }
    if name.is_empty() {
        return Err(Instead::Usage("error: started with an empty name".to_owned()));
    }
    Ok(for_server(name.clone(), rest, None))
}

/// An absolute path is the program and its last component the name; anything else is both.
fn for_server(server: OsString, rest: &[OsString], daemon: Option<OsString>) -> Invocation {
    let name = match server.as_bytes().first() {
        Some(b'/') => OsString::from_vec(last_component(&server).to_vec()),
        _ => server.clone(),
    };
    Invocation {
        daemon: daemon.unwrap_or_else(|| name.clone()).into_vec(),
        arguments: std::iter::once(name).chain(rest.iter().cloned()).collect(),
        server,
        config: None,
        allow: None,
        deny: None,
        log: Vec::new(),
        image: None,
        listen: Vec::new(),
        limits: Limits { connections: CONNECTIONS_MAX, per_client: None },
    }
}

/// What `--image` names: `none` is none.
pub fn image_named(path: PathBuf) -> Option<PathBuf> {
    (path != Path::new("none")).then_some(path)
}

fn last_component(path: &OsStr) -> &[u8] {
    path.as_bytes().rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

#[cold]
#[inline(never)]
fn command_line(argv: &[OsString], privileged: bool) -> Result<Invocation, Instead> {
    let wrong = |text: String| Instead::Usage(format!("error: {text}"));
    let matches = command().try_get_matches_from(argv).map_err(|error| match error.use_stderr() {
        true => Instead::Usage(error.to_string().trim_end().to_owned()),
        false => Instead::Show(error.to_string()),
    })?;
    let chosen =
        ["config", "allow", "deny", "log", "image"].into_iter().find(|name| matches.contains_id(name));
    if let Some(option) = chosen.filter(|_| privileged) {
        return Err(wrong(format!("--{option} is not yours to choose in a privileged start")));
    }
    let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    let Some(server) = matches.get_one::<OsString>("server").cloned() else {
        return Err(wrong("no server".to_owned()));
    };
    if matches.get_one::<OsString>("daemon").is_some_and(|name| name.is_empty()) {
        return Err(wrong("an empty --daemon is no name".to_owned()));
    }
    let rest: Vec<_> = matches.get_many::<OsString>("arguments").into_iter().flatten().cloned().collect();
    let invocation = for_server(server, &rest, matches.get_one::<OsString>("daemon").cloned());
    let number = |name: &str| matches.get_one::<usize>(name).copied();
    Ok(Invocation {
        config: path("config"),
        allow: path("allow"),
        deny: path("deny"),
        log: matches.get_many::<LogTo>("log").into_iter().flatten().cloned().collect(),
        image: path("image").map(image_named),
        listen: matches.get_many::<Door>("listen").into_iter().flatten().copied().collect(),
        limits: Limits {
            connections: number("max-connections").unwrap_or(CONNECTIONS_MAX),
            per_client: number("max-per-client"),
        },
        ..invocation
    })
}

const ABOUT: &str = "\
Access control, logging and booby traps in front of a network service.

Takes the connection on standard input, decides by hosts.allow and hosts.deny,
writes one line to the log, does what the matching rule says, and becomes the
server. With --listen it accepts connections itself and does so for each.";

const AFTER: &str = "\
Started by inetd under another name, tcpd parses no argument: argv[0] is the
server, in /usr/sbin unless it is an absolute path. In inetd.conf(5):
  ftp stream tcp nowait root /usr/sbin/tcpd /usr/sbin/vsftpd

In a systemd.service(5) of a socket with Accept=yes:
  ExecStart=/usr/sbin/tcpd /usr/sbin/vsftpd
  StandardInput=socket
  StandardError=journal

With no inetd at all:
  tcpd --listen 0.0.0.0:21 -- /usr/sbin/vsftpd

The same on the socket of a systemd.socket(5) with Accept=no:
  tcpd --listen systemd -- /usr/sbin/vsftpd

Rules: hosts_access(5), hosts_options(5). Settings: tcpd.conf(5). More: tcpd(8).";

/// Words that a shell may offer for a value, beside a parser that knows best and may take others, too.
#[derive(Clone)]
pub struct Offered<P>(pub &'static [&'static str], pub P);

impl<P: TypedValueParser> TypedValueParser for Offered<P> {
    type Value = P::Value;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<P::Value, clap::Error> {
        self.1.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}

/// An option that names a file.
pub(crate) fn file(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::FilePath)
        .help(help)
}

/// All that a command line may have, for clap and for the completions of shells.
pub fn command() -> Command {
    let log = |text: OsString| {
        LogTo::named(text.as_bytes()).ok_or("syslog, stderr, journal or json:FILE is wanted")
    };
    let count = |text: &str| text.parse().ok().filter(|&n: &usize| n > 0).ok_or("a number above 0 is wanted");
    let server = value_parser!(OsString);
    Command::new(OWN_NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER)
        .override_usage(
            "tcpd [OPTIONS] [--] /path/server [ARGS]...\n       tcpd --listen ADDR:PORT|systemd [OPTIONS] -- /path/server [ARGS]...",
        )
        .arg(Arg::new("listen").long("listen").value_name("ADDR:PORT|systemd").action(ArgAction::Append).value_parser(Offered(&["systemd"], Door::named)).hide_possible_values(true).help("Accept connections here, or on the sockets of a systemd.socket(5); may be given several times"))
        .arg(Arg::new("max-connections").long("max-connections").value_name("N").value_parser(count).requires("listen").help("Serve at most N at once, the others wait [default: 256]"))
        .arg(Arg::new("max-per-client").long("max-per-client").value_name("N").value_parser(count).requires("listen").help("Serve at most N of one client at once, close the others"))
        .arg(file("allow", "Rules that grant, instead of /etc/hosts.allow"))
        .arg(file("deny", "Rules that refuse, instead of /etc/hosts.deny"))
        .arg(Arg::new("daemon").long("daemon").value_name("NAME").value_parser(server.clone()).help("Name of the service in rules and log, instead of the server's"))
        .arg(Arg::new("log").long("log").value_name("WHERE").action(ArgAction::Append).value_parser(Offered(&["syslog", "stderr", "journal", "json:"], OsStringValueParser::new().try_map(log))).hide_possible_values(true).help("syslog, stderr, journal or json:FILE; may be given several times [default: syslog]"))
        .arg(file("config", "Settings, instead of /etc/tcpd.conf"))
        .arg(file("image", "Compiled rules, instead of /var/lib/tcpd/rules.img, or none"))
        .arg(Arg::new("server").value_name("/path/server").required(true).value_parser(server.clone()).value_hint(ValueHint::CommandName).help("The server to become"))
        .arg(Arg::new("arguments").value_name("ARGS").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true).value_parser(server).help("Its arguments"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(argv: &[&str]) -> Result<Invocation, Instead> {
        read(argv.iter().map(OsString::from).collect(), false)
    }

    #[test]
    fn inetd_mode_parses_nothing() {
        let i = call(&["in.ftpd", "--help", "-l"]).expect("inetd mode");
        assert_eq!(
            (i.daemon.as_slice(), i.path(Path::new("/usr/sbin"))),
            (&b"in.ftpd"[..], "/usr/sbin/in.ftpd".into())
        );
        assert_eq!(i.arguments, ["in.ftpd", "--help", "-l"]);
        let i = call(&["/usr/libexec/ftpd", "--allow", "x"]).expect("inetd mode");
        assert_eq!(
            (i.daemon.as_slice(), i.path(Path::new("/usr/sbin"))),
            (&b"ftpd"[..], "/usr/libexec/ftpd".into())
        );
        assert_eq!(i.arguments, ["ftpd", "--allow", "x"]);
        assert_eq!(call(&["../sbin/x"]).expect("inetd mode").daemon, b"../sbin/x");
        assert_eq!(call(&["/bin/"]).expect("inetd mode").daemon, b"");
        assert!(matches!(call(&[]), Err(Instead::Usage(_))));
        assert!(matches!(call(&[""]), Err(Instead::Usage(_))));
    }

    #[test]
    fn the_command_line() {
        let i = call(&[
            "/usr/sbin/tcpd",
            "--allow",
            "a",
            "--log",
            "stderr",
            "/usr/sbin/in.fingerd",
            "-x",
            "--deny",
        ])
        .expect("parses");
        assert_eq!((i.allow.as_deref(), i.log), (Some(Path::new("a")), vec![LogTo::Stderr]));
        assert_eq!((i.daemon.as_slice(), i.deny), (&b"in.fingerd"[..], None));
        assert_eq!(i.arguments, ["in.fingerd", "-x", "--deny"]);
        let i = call(&["tcpd", "--log=json:a", "--log", "journal", "/x"]).expect("parses");
        assert_eq!(i.log, [LogTo::Json("a".into()), LogTo::Journal]);
        let i = call(&["tcpd", "--listen", "[::1]:79", "--listen", "127.0.0.1:79", "--", "/x/y", "--z"])
            .expect("parses");
        assert_eq!((i.listen.len(), i.arguments.len()), (2, 2));
        assert_eq!(i.limits, Limits { connections: CONNECTIONS_MAX, per_client: None });
        let i = call(&["tcpd", "--listen", "systemd", "--max-per-client", "3", "--max-connections=9", "/x"])
            .expect("parses");
        assert_eq!(i.listen, [Door::Systemd]);
        assert_eq!(i.limits, Limits { connections: 9, per_client: Some(3) });
        for wrong in [
            &["tcpd"][..],
            &["tcpd", "--alow", "x", "/y"],
            &["tcpd", "--log", "x", "/y"],
            &["tcpd", "--log", "json:", "/y"],
            &["tcpd", "--log", "syslog journal", "/y"],
            &["tcpd", "--listen", "79", "/y"],
            &["tcpd", "--listen", "Systemd", "/y"],
            &["tcpd", "--max-connections", "5", "/y"],
            &["tcpd", "--max-per-client", "5", "/y"],
            &["tcpd", "--listen", "systemd", "--max-per-client", "0", "/y"],
        ] {
            assert!(matches!(call(wrong), Err(Instead::Usage(_))), "{wrong:?}");
        }
        assert!(matches!(call(&["tcpd", "--help"]), Err(Instead::Show(text)) if text.contains("inetd.conf")));
        assert!(matches!(call(&["tcpd", "--version"]), Err(Instead::Show(_))));
    }

    #[test]
    fn files_are_not_a_stranger_s_to_choose() {
        let argv = |option: &str| ["tcpd", option, "stderr", "/x"].map(OsString::from).to_vec();
        for option in ["--allow", "--deny", "--config", "--log", "--image"] {
            assert!(matches!(read(argv(option), true), Err(Instead::Usage(_))), "{option}");
        }
        assert!(read(argv("--daemon"), true).is_ok());
    }
}
