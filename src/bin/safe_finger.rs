//! safe_finger(8): finger(1) for booby traps. Limits what another machine may say, and shows nothing of
//! it that could do harm.
//!
//! All of it is done as nobody, the asking and the showing: root's rights are gone before the first
//! byte from outside is read. At the deadline everything ends, whatever hangs.

#![forbid(unsafe_code)]

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use wrap::error::{Error, reason};
use wrap::finger::{Heard, Screen, TIME, Wish, ask, read};
use wrap::invocation::tools;
use wrap::sys::environment;
use wrap::sys::netdb::{self, within};
use wrap::sys::process::{self, Ended, Ids, Overheard};
use wrap::sys::socket;

/// Where finger is looked for, and all that it finds in PATH.
const DIRECTORIES: [&str; 4] = ["/bin", "/usr/bin", "/sbin", "/usr/sbin"];
const NOBODY: &[u8] = b"nobody";
/// User and group where there is no such account.
const NOBODY_ID: u32 = 65534;

fn main() -> ExitCode {
    let deadline = Instant::now() + TIME;
    // The words of a panic may quote what came from outside; its place does not.
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        complain(&format!("internal error at {place}"), deadline);
    }));
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(text) = tools::asked(&arguments, tools::safe_finger) {
        return show(&text, deadline);
    }
    match finger(arguments, deadline) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever was to read all this is gone, or does not read.
        Err(Failure::Screen) => ExitCode::FAILURE,
        Err(Failure::Told(words)) => {
            complain(&words, deadline);
            ExitCode::FAILURE
        }
    }
}

enum Failure {
    /// Standard output does not take what is written to it.
    Screen,
    /// To be said on standard error.
    Told(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Told(error.to_string())
    }
}

/// Whether all went well.
fn finger(arguments: Vec<OsString>, deadline: Instant) -> Result<bool, Failure> {
    become_nobody(deadline)?;
    let out = process::standard(1).ok_or(Failure::Screen)?;
    let mut screen = Screen::new(out, deadline);
    match process::find_program("finger", &DIRECTORIES) {
        Some(path) => overhear(&path, arguments, &mut screen, deadline),
        None => converse(&arguments, &mut screen, deadline),
    }
}

/// Gives up root for good, if it is here in any form.
fn become_nobody(deadline: Instant) -> Result<(), Error> {
    if !process::holds_root() {
        return Ok(());
    }
    let account = match within(deadline, || netdb::account(NOBODY, None)) {
        Some(account) => account.filter(|account| account.uid != 0),
        None => None,
    };
    let ids = match account {
        Some(account) => Ids { uid: Some(account.uid), gid: Some(account.gid), groups: account.groups },
        None => Ids { uid: Some(NOBODY_ID), gid: Some(NOBODY_ID), groups: vec![NOBODY_ID] },
    };
    ids.assume().map_err(|cause| Error::new("cannot become", "nobody", cause))?;
    if process::holds_root() {
        return Err(Error::new("cannot become", "nobody", io::Error::other("still root")));
    }
    Ok(())
}

/// Runs finger and shows what it says.
fn overhear(
    path: &Path,
    arguments: Vec<OsString>,
    screen: &mut Screen<'_>,
    deadline: Instant,
) -> Result<bool, Failure> {
    let cannot = |cause| Error::new("cannot execute", path.display().to_string(), cause);
    let path_variable = DIRECTORIES.join(":");
    let environment = environment::with_variable(environment::given(), b"PATH", path_variable.as_bytes());
    let words = std::iter::once(OsString::from("finger")).chain(arguments).map(OsString::into_vec);
    let words = words.map(CString::new).collect::<Result<Vec<_>, _>>().map_err(|nul| cannot(nul.into()))?;
    let running = Overheard::start(path, &words, &environment.map_err(cannot)?).map_err(cannot)?;
    let heard = match running.output() {
        Some(output) => screen.relay(output),
        None => Ok(Heard::Enough),
    };
    // A reader who left is no reason to leave the program alone.
    let ended = running.finish(deadline).map_err(|cause| Error::new("cannot wait for", "finger", cause))?;
    match (heard.map_err(|_| Failure::Screen)?, ended) {
        (Heard::Broken(why), _) => Err(Failure::Told(format!("finger: {why}"))),
        (_, None) => Ok(true),
        (_, Some(ended)) => Ok(ended == Ended::Exit(0)),
    }
}

/// Asks by RFC 1288 what finger would ask.
fn converse(arguments: &[OsString], screen: &mut Screen<'_>, deadline: Instant) -> Result<bool, Failure> {
    let mut well = true;
    for wish in read(arguments) {
        let complaint = match wish {
            Wish::Ask(query) => match ask(&query, screen).map_err(|_| Failure::Screen)? {
                Heard::Enough => continue,
                Heard::TimeUp => return Ok(well),
                Heard::Broken(why) => {
                    format!("finger: {}: {why}", wrap::finger::shown(query.host.as_bytes()))
                }
            },
            Wish::Here => format!("finger: {}", reason(&io::Error::from_raw_os_error(2))),
            Wish::Wrong(why) => format!("finger: {why}"),
        };
        complain(&complaint, deadline);
        well = false;
    }
    Ok(well)
}

/// What it was asked about itself.
fn show(text: &str, deadline: Instant) -> ExitCode {
    let out: Option<BorrowedFd<'static>> = process::standard(1);
    match out.map(|fd| socket::write_until(fd, text.as_bytes(), deadline)) {
        Some(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn complain(words: &str, deadline: Instant) {
    let stderr: Option<BorrowedFd<'static>> = process::standard(2);
    // Nobody is left to be told if this fails.
    let _ = stderr.map(|fd| socket::write_until(fd, format!("{words}\n").as_bytes(), deadline));
}
