//! Were try-from(8) and safe_finger(8) asked about themselves?
//!
//! They have no options of their own: to the one arguments mean nothing, and those of the other are
//! finger's. So `--help` or `--version` is theirs only if it is all that was said, and whatever else stands
//! on the command line is not looked at here.

#![forbid(unsafe_code)]

use clap::{Arg, ArgAction, Command};
use std::ffi::OsString;

const ABOUT_TRY_FROM: &str = "\
Tells a caller what this machine knows of him and of itself, in the words that
rules and their commands would see. Started like a server, with the connection
on standard input; it reads no rules, and arguments mean nothing.";

const AFTER_TRY_FROM: &str = "\
In inetd.conf(5), on a port of its own:
  try-from stream tcp nowait nobody /usr/sbin/try-from try-from

The exit status is 0. More: try-from(8).";

const ABOUT_SAFE_FINGER: &str = "\
The finger for booby traps: asks as nobody who is on a machine, for a minute at
most, and shows of the answer what can do no harm. Arguments are finger's.";

const AFTER_SAFE_FINGER: &str = "\
In hosts.deny, see hosts_options(5):
  in.tftpd: ALL: spawn (safe_finger -l @%h | mail -s tcpd-%d-%h root) &

The exit status is 0 if all that was asked for was answered, else 1. More:
safe_finger(8).";

fn about_itself(command: Command) -> Command {
    command
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Say how it is called, and exit"))
        .arg(
            Arg::new("version")
                .long("version")
                .action(ArgAction::Version)
                .help("Say which version it is, and exit"),
        )
}

/// What try-from may be told.
pub fn try_from() -> Command {
    about_itself(Command::new("try-from").about(ABOUT_TRY_FROM).after_help(AFTER_TRY_FROM))
        .override_usage("try-from [--help | --version]")
}

/// What safe_finger may be told.
pub fn safe_finger() -> Command {
    let flag = |name: &'static str, letter: char, help: &'static str| {
        Arg::new(name).short(letter).action(ArgAction::SetTrue).help(help)
    };
    let command = Command::new("safe_finger")
        .about(ABOUT_SAFE_FINGER)
        .after_help(AFTER_SAFE_FINGER)
        .arg(flag("long", 'l', "Ask for the long form"))
        .arg(flag("short", 's', "Ask for the short form"))
        .arg(flag("match", 'm', "Match names of users only; nothing to another machine"))
        .arg(flag("plan", 'p', "Show no plan; nothing to another machine"))
        .arg(Arg::new("whom").value_name("USER@HOST").num_args(0..).hide(true));
    about_itself(command).override_usage("safe_finger [-lmps] [USER@HOST | @HOST]...")
}

/// The text about itself that a program was asked for.
pub fn asked(arguments: &[OsString], command: fn() -> Command) -> Option<String> {
    let [word] = arguments else { return None };
    match word.to_str() {
        Some("--help") => Some(command().render_help().to_string()),
        Some("--version") => Some(command().render_version()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &[&str]) -> Option<String> {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        asked(&words, safe_finger)
    }

    #[test]
    fn only_a_word_alone_is_theirs() {
        assert!(said(&["--help"]).is_some_and(|text| text.contains("--version") && text.contains("-l ")));
        assert_eq!(said(&["--version"]), Some(format!("safe_finger {}\n", env!("CARGO_PKG_VERSION"))));
        for words in
            [&[][..], &["-l"], &["--help", "@host"], &["@host", "--help"], &["--hel"], &["--", "--help"]]
        {
            assert_eq!(said(words), None, "{words:?}");
        }
    }
}
