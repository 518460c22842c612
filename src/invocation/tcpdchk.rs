//! How was the checker called?
//!
//! The short flags are the reference's, and so is what a wrong call is told, in getopt(3)'s words; the
//! long ones are ours.

#![forbid(unsafe_code)]

use super::{Instead, file};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use std::ffi::OsString;
use std::path::PathBuf;

/// What is to be checked, and how it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Report rules that grant without saying so.
    pub implicit_allow: bool,
    /// The tables of the current directory.
    pub here: bool,
    pub inetd: Option<PathBuf>,
    pub verbose: bool,
    pub format: Format,
    pub allow: Option<PathBuf>,
    pub deny: Option<PathBuf>,
    pub config: Option<PathBuf>,
    /// Files of tests; where there is one, nothing else is checked.
    pub tests: Vec<PathBuf>,
    /// Not the rules are checked, but what they govern is listed.
    pub services: bool,
    /// Another system's tree, where that is asked about.
    pub root: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The reference's.
    #[default]
    Classic,
    Human,
    Short,
    Json,
}

const FORMATS: [(&str, Format); 4] = [
    ("classic", Format::Classic),
    ("human", Format::Human),
    ("short", Format::Short),
    ("json", Format::Json),
];

const USAGE: &str = "[-a] [-d] [-i inet_conf] [-v]
\t-a: report rules with implicit \"ALLOW\" at end
\t-d: use allow/deny files in current directory
\t-i: location of inetd.conf file
\t-v: list all rules
";

/// Reads the argument vector.
pub fn read(argv: &[OsString]) -> Result<Check, Instead> {
    let name = argv.first().map_or("tcpdchk".into(), |name| name.to_string_lossy().into_owned());
    let matches = command().try_get_matches_from(argv).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Instead::Show(error.to_string()),
        _ => Instead::Usage(format!("{}usage: {name} {USAGE}", complaint(&name, &error))),
    })?;
    let path = |id: &str| matches.get_one::<PathBuf>(id).cloned();
    let flag = |id: &str| matches.get_flag(id);
    let tests: Vec<PathBuf> = matches.get_many("test").into_iter().flatten().cloned().collect();
    if let Some(other) = not_with_tests(&matches).filter(|_| !tests.is_empty()) {
        return Err(Instead::Usage(format!("{name}: --test has no use for {other}\nusage: {name} {USAGE}")));
    }
    if let Some(said) = contradiction(&matches) {
        return Err(Instead::Usage(format!("{name}: {said}\nusage: {name} {USAGE}")));
    }
    Ok(Check {
        implicit_allow: flag("a"),
        here: flag("d"),
        inetd: path("i"),
        verbose: flag("v"),
        format: match matches.contains_id("format") {
            // The reference has no tests, and no form for them.
            false if !tests.is_empty() => Format::Human,
            _ => format(&matches),
        },
        allow: path("allow"),
        deny: path("deny"),
        config: path("config"),
        tests,
        services: flag("services"),
        root: path("root"),
    })
}

/// What belongs to a check, and not to a test.
fn not_with_tests(matches: &ArgMatches) -> Option<&'static str> {
    let is_classic = matches.get_one::<String>("format").is_some_and(|format| format == "classic");
    let others = [
        (matches.get_flag("a"), "-a"),
        (matches.contains_id("i"), "-i"),
        (matches.get_flag("v"), "-v"),
        (is_classic, "--format classic"),
        (matches.get_flag("services"), "--services"),
    ];
    others.into_iter().find(|(is_there, _)| *is_there).map(|(_, name)| name)
}

/// Options that do not go together.
fn contradiction(matches: &ArgMatches) -> Option<&'static str> {
    let has = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    match (has("services"), has("root")) {
        (false, true) => Some("option '--root' goes with '--services' only"),
        (true, true) if has("d") => Some("option '-d' means this system, '--root' another one"),
        (true, _) if has("format") && !matches!(format(matches), Format::Human | Format::Json) => {
            Some("with '--services', '--format' is human or json")
        }
        (true, _) if has("a") || has("v") => Some("options '-a' and '-v' say nothing with '--services'"),
        _ => None,
    }
}

fn format(matches: &ArgMatches) -> Format {
    let chosen = matches.get_one::<String>("format");
    let known = FORMATS.iter().find(|(name, _)| chosen.is_some_and(|chosen| chosen == name));
    known.map_or_else(Format::default, |(_, format)| *format)
}

/// What getopt(3) would say, if it would say anything.
fn complaint(name: &str, error: &clap::Error) -> String {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return String::new();
    };
    let letter = argument.strip_prefix('-').and_then(|rest| rest.chars().next());
    match (error.kind(), letter) {
        (ErrorKind::UnknownArgument, Some('-')) => format!("{name}: unrecognized option '{argument}'\n"),
        (ErrorKind::UnknownArgument, Some(letter)) => format!("{name}: invalid option -- '{letter}'\n"),
        (ErrorKind::InvalidValue, Some('-')) => {
            let option = argument.split_whitespace().next().unwrap_or_default();
            match error.get(ContextKind::InvalidValue) {
                Some(ContextValue::String(value)) if !value.is_empty() => {
                    format!("{name}: invalid argument '{value}' for '{option}'\n")
                }
                _ => format!("{name}: option '{option}' requires an argument\n"),
            }
        }
        (ErrorKind::InvalidValue, Some(letter)) => {
            format!("{name}: option requires an argument -- '{letter}'\n")
        }
        _ => String::new(),
    }
}

/// All that a command line may have, for clap and for the completions of shells.
pub fn command() -> Command {
    let flag = |id: &'static str, letter: char, help: &'static str| {
        Arg::new(id).short(letter).action(ArgAction::SetTrue).help(help)
    };
    let formats = FORMATS.map(|(name, _)| name);
    Command::new("tcpdchk")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Checks the rules of tcpd(8), and all that they lead to")
        .args_override_self(true)
        .arg(flag("a", 'a', "Report rules that grant without a final \"allow\""))
        .arg(flag("d", 'd', "Check hosts.allow and hosts.deny of the current directory"))
        .arg(
            Arg::new("i")
                .short('i')
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .help("Services, in place of /etc/inetd.conf"),
        )
        .arg(flag("v", 'v', "List every rule"))
        .arg(
            Arg::new("test")
                .long("test")
                .value_name("FILE")
                .num_args(1..)
                .action(ArgAction::Append)
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .help("Try whether the rules do what these files expect, and nothing else"),
        )
        .arg(Arg::new("format").long("format").value_parser(formats).help("How complaints are shown"))
        .arg(file("allow", "Rules that grant, in place of /etc/hosts.allow"))
        .arg(file("deny", "Rules that refuse, in place of /etc/hosts.deny"))
        .arg(file("config", "Settings, in place of /etc/tcpd.conf"))
        .arg(
            Arg::new("services")
                .long("services")
                .action(ArgAction::SetTrue)
                .help("List what the rules govern on this machine, instead of checking them"),
        )
        .arg(
            Arg::new("root")
                .long("root")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::DirPath)
                .help("With --services: look at the system in DIR, not at this one"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(words: &str) -> Result<Check, Instead> {
        read(&words.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn flags_are_the_reference_s() {
        let check = Check {
            implicit_allow: true,
            here: true,
            verbose: true,
            inetd: Some("f".into()),
            ..Check::default()
        };
        for call in
            ["tcpdchk -advi f", "tcpdchk -a -d -v -v -i x -if", "tcpdchk -d -a -v --format classic -i f --"]
        {
            assert_eq!(called(call), Ok(check.clone()), "{call}");
        }
        assert_eq!(
            called("tcpdchk --format=json --deny d"),
            Ok(Check { format: Format::Json, deny: Some("d".into()), ..Check::default() })
        );
    }

    #[test]
    fn tests_are_a_call_of_their_own() {
        let tests = |call: &str| called(call).map(|check| (check.tests, check.format));
        let files = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(tests("tcpdchk -d --test a b --allow x"), Ok((files(&["a", "b"]), Format::Human)));
        assert_eq!(
            tests("tcpdchk --test a --format short --test b"),
            Ok((files(&["a", "b"]), Format::Short))
        );
        assert_eq!(tests("tcpdchk -a"), Ok((Vec::new(), Format::Classic)));
        for (call, said) in [
            ("tcpdchk --test a -v", "tcpdchk: --test has no use for -v\n"),
            ("tcpdchk -i f --test a", "tcpdchk: --test has no use for -i\n"),
            ("tcpdchk --test a --format classic", "tcpdchk: --test has no use for --format classic\n"),
            ("tcpdchk --test", "tcpdchk: option '--test' requires an argument\n"),
        ] {
            assert_eq!(called(call), Err(Instead::Usage(format!("{said}usage: tcpdchk {USAGE}"))), "{call}");
        }
    }

    #[test]
    fn services_are_asked_about_by_long_options() {
        let services = Check { services: true, ..Check::default() };
        assert_eq!(called("tcpdchk --services"), Ok(services.clone()));
        let root = Check { root: Some("/mnt".into()), format: Format::Json, ..services.clone() };
        assert_eq!(called("tcpdchk --services --root /mnt --format json"), Ok(root));
        let named = Check { inetd: Some("f".into()), allow: Some("a".into()), here: true, ..services };
        assert_eq!(called("tcpdchk --services -d -i f --allow a"), Ok(named));
        for (call, said) in [
            ("tcpdchk --root /mnt", "'--root' goes with '--services'"),
            ("tcpdchk --services -d --root /mnt", "'-d' means this system"),
            ("tcpdchk --services --format classic", "human or json"),
            ("tcpdchk --services --format short", "human or json"),
            ("tcpdchk --services -v", "'-a' and '-v'"),
        ] {
            assert!(matches!(called(call), Err(Instead::Usage(text)) if text.contains(said)), "{call}");
        }
    }

    #[test]
    fn wrong_calls_are_told_in_getopt_s_words() {
        for (call, said) in [
            ("tcpdchk -x", "tcpdchk: invalid option -- 'x'\n"),
            ("tcpdchk -di", "tcpdchk: option requires an argument -- 'i'\n"),
            ("tcpdchk foo", ""),
            ("tcpdchk -d -- foo", ""),
            ("tcpdchk --bogus", "tcpdchk: unrecognized option '--bogus'\n"),
            ("tcpdchk --format", "tcpdchk: option '--format' requires an argument\n"),
            ("tcpdchk --format x", "tcpdchk: invalid argument 'x' for '--format'\n"),
        ] {
            assert_eq!(called(call), Err(Instead::Usage(format!("{said}usage: tcpdchk {USAGE}"))), "{call}");
        }
        assert!(matches!(called("tcpdchk --help"), Err(Instead::Show(text)) if text.contains("--format")));
    }
}
