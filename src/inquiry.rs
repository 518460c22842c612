//! What is asked of tcpdmatch(8): about which service and which client, and in what form?
//!
//! The short options, and every text about them, are those of the reference. What is new has long
//! names only.

#![forbid(unsafe_code)]

pub mod batch;
pub mod request;
pub mod stated;
pub mod subjects;

use crate::invocation::{Instead, Offered, file, image_named};
use crate::narrator::Verdict;
use crate::replay::Wishes;
use crate::replay::accept::Accept;
use crate::replay::chain::Renamed;
use crate::witness::Facts;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// One call.
#[derive(Clone, Debug)]
pub struct Inquiry {
    pub about: About,
    pub form: Form,
    pub expect: Option<Verdict>,
    pub allow: Option<PathBuf>,
    pub deny: Option<PathBuf>,
    pub config: Option<PathBuf>,
    /// The compiled image, or none at all, where one of it is said.
    pub image: Option<Option<PathBuf>>,
    /// The inetd.conf(5) that was named.
    pub services: Option<PathBuf>,
}

/// Whom it is about.
#[derive(Clone, Debug)]
pub enum About {
    /// `daemon[@server] [user@]client`, to be looked up.
    Words { daemon: Vec<u8>, client: Vec<u8> },
    /// Everything is said; nothing is looked up.
    Stated(Facts),
    /// One after the other, on standard input.
    Batch,
    /// The connections that logs tell of.
    Logs(Logs),
}

/// Logs that are to be decided once more.
#[derive(Clone, Debug)]
pub struct Logs {
    pub logs: Vec<PathBuf>,
    /// The tables that were named.
    pub tables: Vec<PathBuf>,
    /// How often each rule decides is asked, not what flips.
    pub hits: bool,
    pub wishes: Wishes,
    /// Names that a log does not hold may be looked up.
    pub looks_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The lines of the reference.
    Lines,
    Explain,
    Json,
}

/// Reads the argument vector.
pub fn read(argv: Vec<OsString>) -> Result<Inquiry, Instead> {
    let usage = if argv.iter().any(|word| word == REPLAY) { USAGE_REPLAY } else { USAGE };
    let own = argv.first().map_or_else(|| OWN_NAME.to_owned(), |name| name.to_string_lossy().into_owned());
    let wrong = |complaint: Option<String>| {
        let complaint = complaint.map(|text| format!("{own}: {text}\n")).unwrap_or_default();
        Instead::Usage(format!("{complaint}usage: {own} {usage}"))
    };
    let matches = command().try_get_matches_from(argv).map_err(|error| match error.use_stderr() {
        true => wrong(complaint(&error)),
        false => Instead::Show(error.to_string()),
    })?;
    let words = matches.get_many::<OsString>("words").into_iter().flatten();
    let words: Vec<Vec<u8>> = words.map(|word| word.clone().into_vec()).collect();
    let is_replay = matches.get_flag("replay");
    if let Some(complaint) = mismatch(&matches, is_replay) {
        return Err(wrong(Some(complaint)));
    }
    let about = match (matches.get_flag("stated"), words.as_slice()) {
        (_, []) if is_replay => return Err(wrong(Some("--replay wants a log".to_owned()))),
        (_, words) if is_replay => About::Logs(logs(&matches, words)),
        _ if matches.get_flag("batch") => match not_in_a_batch(&matches, &words) {
            Some(other) => {
                return Err(wrong(Some(format!("--batch reads requests and writes JSON: no {other}"))));
            }
            None => About::Batch,
        },
        (true, words) => About::Stated(stated::in_words(words).map_err(|text| wrong(Some(text)))?),
        (false, [daemon, client]) => About::Words { daemon: daemon.clone(), client: client.clone() },
        (false, _) => return Err(wrong(None)),
    };
    let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    let here = |name: &str| (matches.get_flag("here")).then(|| PathBuf::from(name));
    let is_json = matches.get_one::<bool>("format").is_some_and(|json| *json);
    Ok(Inquiry {
        about,
        form: match (is_json, matches.get_flag("explain")) {
            (true, _) => Form::Json,
            (false, true) => Form::Explain,
            (false, false) => Form::Lines,
        },
        expect: matches.get_one::<Verdict>("expect").copied(),
        allow: path("allow").or_else(|| here("hosts.allow")),
        deny: path("deny").or_else(|| here("hosts.deny")),
        config: path("config"),
        image: path("image").map(image_named),
        services: path("inetd"),
    })
}

/// What a batch has no use for: it asks, and is answered, in one way only.
fn not_in_a_batch(matches: &ArgMatches, words: &[Vec<u8>]) -> Option<&'static str> {
    let is_human = matches.get_one::<bool>("format").is_some_and(|json| !json);
    let others = [
        (matches.get_flag("stated"), "--stated"),
        (matches.get_flag("explain"), "--explain"),
        (is_human, "--format human"),
        (matches.contains_id("inetd"), "-i"),
        (!words.is_empty(), "words"),
    ];
    others.into_iter().find(|(is_there, _)| *is_there).map(|(_, name)| name)
}

/// A flag that has nothing to do with what is asked.
fn mismatch(matches: &ArgMatches, is_replay: bool) -> Option<String> {
    let given = |name: &&&str| matches.value_source(name) == Some(ValueSource::CommandLine);
    if is_replay {
        return NOT_FOR_REPLAY
            .iter()
            .find(given)
            .map(|name| format!("--replay does not go with {}", dashed(name)));
    }
    FOR_REPLAY.iter().find(given).map(|name| format!("--{name} goes with --replay"))
}

/// Flags that mean something to a replay alone, and those that mean nothing to it.
const FOR_REPLAY: [&str; 6] = ["hits", "accept", "unread", "verbose", "look-up", "service"];
const NOT_FOR_REPLAY: [&str; 6] = ["batch", "stated", "explain", "expect", "inetd", "image"];

fn dashed(name: &str) -> String {
    if name == "inetd" { "-i".to_owned() } else { format!("--{name}") }
}

/// What is asked of logs.
fn logs(matches: &ArgMatches, words: &[Vec<u8>]) -> Logs {
    let many = |name: &str| matches.get_many::<Accept>(name).into_iter().flatten().cloned();
    let renamed = matches.get_many::<Renamed>("service").into_iter().flatten().cloned();
    Logs {
        logs: words.iter().map(|word| PathBuf::from(OsStr::from_bytes(word))).collect(),
        tables: ["allow", "deny"].iter().filter_map(|name| matches.get_one(name).cloned()).collect(),
        hits: matches.get_flag("hits"),
        wishes: Wishes {
            accepts: many("accept").collect(),
            renamed: renamed.collect(),
            verbose: matches.get_flag("verbose"),
            unread: matches.get_flag("unread"),
        },
        looks_up: matches.get_flag("look-up"),
    }
}

/// What was wrong with a call, in getopt(3)'s words where it has any; it has none for a wrong number of
/// words.
fn complaint(error: &clap::Error) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let (argument, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
    let letter = argument.strip_prefix('-').and_then(|rest| rest.chars().next());
    let name = argument.split([' ', '=']).next().unwrap_or_default();
    match (error.kind(), letter) {
        (ErrorKind::UnknownArgument, Some('-')) => Some(format!("unrecognized option '{name}'")),
        (ErrorKind::UnknownArgument, Some(letter)) => Some(format!("invalid option -- '{letter}'")),
        (ErrorKind::UnknownArgument | ErrorKind::TooManyValues, None) => None,
        (_, Some('-')) if value.is_empty() => Some(format!("option '{name}' requires an argument")),
        (_, Some(letter)) if value.is_empty() => Some(format!("option requires an argument -- '{letter}'")),
        _ => {
            let first = error.to_string();
            Some(first.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned())
        }
    }
}

const OWN_NAME: &str = "tcpdmatch";

/// Behind the program's name.
const USAGE: &str = "\
[-d] [-i inet_conf] daemon[@host] [user@]host
\t-d: use allow/deny files in current directory
\t-i: location of inetd.conf file";

/// The same where logs are what it is about.
const USAGE_REPLAY: &str = "--replay LOG... [--allow FILE] [--deny FILE] [--accept WHAT]... [--hits]";

pub const REPLAY: &str = "--replay";

const ABOUT: &str = "\
What would hosts.allow and hosts.deny say to a client of a service, and what
would be done? Nothing is: no command runs, nobody is refused.";

const AFTER: &str = "\
Examples:
  tcpdmatch in.ftpd host.example.com
  tcpdmatch --explain in.ftpd@192.0.2.1 root@192.0.2.7
  tcpdmatch --expect denied --stated daemon=in.ftpd client=192.0.2.7 user=root
  tcpdmatch --batch < requests.jsonl > decisions.jsonl
  tcpdmatch --replay /var/log/auth.log --allow new.allow --deny new.deny

Facts for --stated, and for a request of --batch, each once: daemon, client,
name, client-port, user, server, server-name, server-port. What is not stated is
unknown.

The exit status is 0 for any verdict, or with --expect 1 for any other; and 1
where there is none. With --replay it is 1 if anything flips that no --accept
names, and 2 for trouble. More: tcpdmatch(8), hosts_access(5).";

/// All that a command line may have, for clap and for the completions of shells.
pub fn command() -> Command {
    let verdict = |text: &str| {
        let named = Verdict::ALL.into_iter().find(|verdict| verdict.word() == text);
        named.ok_or("granted, denied or delegated is wanted")
    };
    let format = |text: &str| match text {
        "human" => Ok(false),
        "json" => Ok(true),
        _ => Err("human or json is wanted"),
    };
    Command::new(OWN_NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER)
        .override_usage(
            "tcpdmatch [OPTIONS] daemon[@server] [user@]client\n       tcpdmatch [OPTIONS] --stated KEY=VALUE...\n       tcpdmatch [OPTIONS] --batch\n       tcpdmatch [OPTIONS] --replay LOG...",
        )
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .arg(Arg::new("here").short('d').action(ArgAction::SetTrue).help("Use hosts.allow and hosts.deny of this directory"))
        .arg(Arg::new("inetd").short('i').value_name("FILE").value_parser(value_parser!(PathBuf)).value_hint(ValueHint::FilePath).help("Services, instead of /etc/inetd.conf"))
        .arg(Arg::new("explain").long("explain").action(ArgAction::SetTrue).help("Show the way to the verdict"))
        .arg(Arg::new("format").long("format").value_name("FORM").value_parser(Offered(&["human", "json"], format)).hide_possible_values(true).help("human or json [default: human]"))
        .arg(Arg::new("expect").long("expect").value_name("VERDICT").value_parser(Offered(&["granted", "denied", "delegated"], verdict)).hide_possible_values(true).help("Exit with 1 unless granted, denied, delegated"))
        .arg(Arg::new("stated").long("stated").action(ArgAction::SetTrue).help("Take these facts, and look nothing up"))
        .arg(Arg::new("batch").long("batch").action(ArgAction::SetTrue).help("Answer the requests on standard input, JSON lines both"))
        .arg(Arg::new("replay").long("replay").action(ArgAction::SetTrue).help("Decide the connections of these logs again, and show what flips"))
        .arg(Arg::new("hits").long("hits").action(ArgAction::SetTrue).help("Of logs: show how often each rule decides instead"))
        .arg(Arg::new("accept").long("accept").value_name("WHAT").action(ArgAction::Append).value_parser(Offered(&["no-rule", "granted", "denied", "delegated"], Accept::named)).hide_possible_values(true).help("Of logs: let these flip: FILE:LINE, no-rule, a network, a verdict, or several with commas; may be given several times"))
        .arg(Arg::new("service").long("service").value_name("NAME=DAEMON").action(ArgAction::Append).value_parser(Renamed::named).help("Of logs: what xinetd calls NAME is DAEMON in rules; may be given several times"))
        .arg(Arg::new("look-up").long("look-up").action(ArgAction::SetTrue).help("Of logs: look up the names that they do not hold"))
        .arg(Arg::new("unread").long("unread").action(ArgAction::SetTrue).help("Of logs: show the lines that cannot be read"))
        .arg(Arg::new("verbose").long("verbose").action(ArgAction::SetTrue).help("Of logs: show every row, with some of its lines"))
        .arg(file("allow", "Rules that grant, instead of /etc/hosts.allow"))
        .arg(file("deny", "Rules that refuse, instead of /etc/hosts.deny"))
        .arg(file("config", "Settings, instead of /etc/tcpd.conf"))
        .arg(file("image", "Compiled rules, instead of /var/lib/tcpd/rules.img, or none"))
        .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Say how it is called, and exit"))
        .arg(Arg::new("version").long("version").action(ArgAction::Version).help("Say which version it is, and exit"))
        .arg(Arg::new("words").num_args(0..).value_parser(value_parser!(OsString)).value_hint(ValueHint::AnyPath).hide(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Fact;
    use crate::hosts::Host;
    use crate::witness::Ports;

    fn call(argv: &[&str]) -> Result<Inquiry, String> {
        let argv = std::iter::once("tcpdmatch").chain(argv.iter().copied()).map(OsString::from).collect();
        read(argv).map_err(|instead| match instead {
            Instead::Show(text) => text,
            Instead::Usage(text) => text.lines().next().unwrap_or_default().to_owned(),
        })
    }

    #[test]
    fn complaints_are_getopt_s() {
        let said = |argv: &[&str]| call(argv).expect_err("a complaint");
        let usage = "usage: tcpdmatch [-d] [-i inet_conf] daemon[@host] [user@]host";
        assert_eq!(said(&[]), usage);
        assert_eq!(said(&["a", "b", "c"]), usage);
        assert_eq!(said(&["-i"]), "tcpdmatch: option requires an argument -- 'i'");
        assert_eq!(said(&["-x", "a", "b"]), "tcpdmatch: invalid option -- 'x'");
        assert_eq!(said(&["-h"]), "tcpdmatch: invalid option -- 'h'");
        assert_eq!(said(&["--foo", "a", "b"]), "tcpdmatch: unrecognized option '--foo'");
        assert_eq!(said(&["--allow"]), "tcpdmatch: option '--allow' requires an argument");
        assert!(said(&["--expect", "maybe", "a", "b"]).contains("granted, denied or delegated is wanted"));
        assert!(said(&["--help"]).contains("--stated"));
    }

    #[test]
    fn facts_are_stated_by_key() {
        let words = [
            "--stated",
            "daemon=in.ftpd",
            "client=192.0.2.7",
            "name=h.example.com",
            "user=a=b",
            "server-port=21",
        ];
        let About::Stated(facts) = call(&words).expect("facts").about else { panic!("not stated") };
        assert_eq!(facts.daemon.as_ref(), b"in.ftpd");
        assert_eq!(facts.client.address, Fact::Known(b"192.0.2.7".to_vec()));
        assert_eq!(facts.client.name.text(), b"h.example.com");
        assert_eq!(facts.user.text(), b"a=b");
        assert_eq!((facts.server, facts.ports), (Host::unknown(), Ports { client: None, server: Some(21) }));
        for (word, why) in [
            ("client", "--stated wants KEY=VALUE"),
            ("client=h.example.com", "no address"),
            ("server-port=ftp", "no port"),
            ("host=h", "--stated knows daemon, client"),
        ] {
            assert!(call(&["--stated", word]).expect_err(word).contains(why), "{word}");
        }
        assert!(call(&["--stated", "user=a", "user=b"]).expect_err("twice").contains("said twice"));
    }
}
