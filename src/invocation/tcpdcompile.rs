//! How was the compiler called?

#![forbid(unsafe_code)]

use super::{Instead, file, image_named};
use clap::{Arg, ArgAction, Command};
use std::ffi::OsString;
use std::path::PathBuf;

/// What is to be compiled, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compile {
    pub allow: Option<PathBuf>,
    pub deny: Option<PathBuf>,
    pub config: Option<PathBuf>,
    /// The image, or none at all, where one of it is said.
    pub image: Option<Option<PathBuf>>,
    /// Say how things stand, and change nothing.
    pub status: bool,
    /// Say nothing but errors.
    pub quiet: bool,
}

/// Reads the argument vector.
pub fn read(argv: &[OsString]) -> Result<Compile, Instead> {
    let matches = command().try_get_matches_from(argv).map_err(|error| match error.use_stderr() {
        true => Instead::Usage(error.to_string().trim_end().to_owned()),
        false => Instead::Show(error.to_string()),
    })?;
    let path = |id: &str| matches.get_one::<PathBuf>(id).cloned();
    Ok(Compile {
        allow: path("allow"),
        deny: path("deny"),
        config: path("config"),
        image: path("image").map(image_named),
        status: matches.get_flag("status"),
        quiet: matches.get_flag("quiet"),
    })
}

const ABOUT: &str = "\
Makes one image of hosts.allow, hosts.deny and every pattern file they name, by
which tcpd finds the rules that can matter to a client, however many there are.";

const AFTER: &str = "\
The rules are those of the text, always: an image that is missing, damaged, or
older than a file it was made of is not used, and the text is read instead.

Examples:
  tcpdcompile
  tcpdcompile --status

The exit status is 0 if the image was made, or with --status if it is used; 1 if
not; 2 for a wrong call. More: tcpdcompile(8).";

/// All that a command line may have, for clap and for the completions of shells.
pub fn command() -> Command {
    let flag =
        |id: &'static str, help: &'static str| Arg::new(id).long(id).action(ArgAction::SetTrue).help(help);
    Command::new("tcpdcompile")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER)
        .arg(flag("status", "Say whether the image is used, and why; change nothing"))
        .arg(flag("quiet", "Say nothing but errors").conflicts_with("status"))
        .arg(file("allow", "Rules that grant, instead of /etc/hosts.allow"))
        .arg(file("deny", "Rules that refuse, instead of /etc/hosts.deny"))
        .arg(file("image", "The image, instead of /var/lib/tcpd/rules.img"))
        .arg(file("config", "Settings, instead of /etc/tcpd.conf"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(words: &str) -> Result<Compile, Instead> {
        read(&words.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn calls_are_read() {
        assert_eq!(called("tcpdcompile"), Ok(Compile::default()));
        let expected = Compile {
            allow: Some("a".into()),
            image: Some(Some("i".into())),
            status: true,
            ..Compile::default()
        };
        assert_eq!(called("tcpdcompile --status --allow a --image=i"), Ok(expected));
        assert!(matches!(called("tcpdcompile x"), Err(Instead::Usage(_))));
        assert!(matches!(called("tcpdcompile --status --quiet"), Err(Instead::Usage(_))));
        assert!(
            matches!(called("tcpdcompile --help"), Err(Instead::Show(text)) if text.contains("--status"))
        );
    }
}
