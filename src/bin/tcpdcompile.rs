//! tcpdcompile(8): one image of all rules, by which tcpd finds the few that can matter to a client.
//!
//! Settings say which files; they are compiled, or with `--status` the image is looked at as tcpd would
//! look at it.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use wrap::compile::{Observer, compile};
use wrap::invocation::Instead;
use wrap::invocation::tcpdcompile::{Compile, read};
use wrap::logline;
use wrap::rules::compiled::{Role, Source};
use wrap::settings::{self, Settings};
use wrap::sys::process;
use wrap::tables::image::{Image, NotUsed};

const USAGE: u8 = 2;

fn main() -> ExitCode {
    let call = match read(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(call) => call,
        Err(Instead::Show(text)) => return say(&text, true),
        Err(Instead::Usage(text)) => {
            complain(&text);
            return ExitCode::from(USAGE);
        }
    };
    let reading = settings::read(call.config.as_deref(), process::caller());
    for line in reading.problems.iter().flat_map(logline::problem) {
        complain(&String::from_utf8_lossy(&line.text));
    }
    if reading.refuses {
        complain("error: tcpd.conf cannot be obeyed: every connection is refused, and nothing is compiled");
        return ExitCode::FAILURE;
    }
    let settings = Settings {
        hosts_allow: call.allow.clone().unwrap_or(reading.settings.hosts_allow),
        hosts_deny: call.deny.clone().unwrap_or(reading.settings.hosts_deny),
        image: call.image.clone().unwrap_or(reading.settings.image),
        ..reading.settings
    };
    if call.status { status(&settings) } else { make(&call, &settings) }
}

/// Compiles.
fn make(call: &Compile, settings: &Settings) -> ExitCode {
    let Some(image) = &settings.image else {
        complain("error: no image is wanted: tcpd.conf says \"image none\"");
        return ExitCode::FAILURE;
    };
    let mut teller = Teller { shows: !call.quiet && stderr().is_terminal(), tells: !call.quiet, open: false };
    let made = compile([&settings.hosts_allow, &settings.hosts_deny], image, &mut teller);
    teller.clear();
    let made = match made {
        Ok(made) => made,
        Err(error) => {
            complain(&format!("error: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // An image that nobody uses is not what was wanted.
    let used = wanted(settings);
    if let Err(why) = &used {
        complain(&format!("error: {} was made, but is not used: {}", image.display(), why.words()));
    }
    if call.quiet {
        return if used.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    say(
        &format!(
            "{}: {} files, {} entries, {} read for every client, {} bytes, for {}\n",
            image.display(),
            made.sources,
            made.summary.entries,
            made.summary.rest,
            made.summary.bytes,
            if made.public { "everybody" } else { "its owner alone" }
        ),
        used.is_ok(),
    )
}

/// The image as tcpd would use it.
fn wanted(settings: &Settings) -> Result<Image, NotUsed> {
    let Settings { hosts_allow, hosts_deny, image, strict, .. } = settings;
    Image::wanted_whole(image.as_deref(), *strict, (hosts_allow, hosts_deny), process::caller)
}

/// Says whether tcpd would use the image, and what it was made of.
fn status(settings: &Settings) -> ExitCode {
    let used = wanted(settings);
    let path = settings.image.as_deref().unwrap_or(Path::new("none"));
    let mut text = match &used {
        Ok(_) => format!("{}: used\n", path.display()),
        Err(why) => format!("{}: not used: {}\n", path.display(), why.words()),
    };
    if let Ok(image) = Image::whole(path, process::caller) {
        for source in &image.compiled().sources {
            text.push_str(&line_about(source));
        }
    }
    say(&text, used.is_ok())
}

fn line_about(source: &Source) -> String {
    let path = Path::new(OsStr::from_bytes(&source.path));
    let role = match source.role {
        Role::Table => "table",
        Role::Words => "pattern file",
    };
    match source.stamp {
        Some([_, _, size, ..]) => format!("  {role} {}, {size} bytes\n", path.display()),
        None => format!("  {role} {}, missing\n", path.display()),
    }
}

/// Tells a person how far it is, and everybody what is waited for.
struct Teller {
    shows: bool,
    tells: bool,
    /// A line of progress stands on the screen.
    open: bool,
}

impl Teller {
    fn clear(&mut self) {
        if std::mem::take(&mut self.open) {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

impl Observer for Teller {
    fn progress(&mut self, file: &Path, count: u64) {
        if self.shows {
            let _ = write!(stderr(), "\r{}: {count}\x1b[K", file.display());
            self.open = true;
        }
    }

    fn remark(&mut self, text: String) {
        self.clear();
        if self.tells {
            complain(&text);
        }
    }
}

fn complain(text: &str) {
    // Nobody is left to be told if this fails.
    let _ = writeln!(stderr(), "{text}");
}

/// Writes a text, and says how the program ends.
fn say(text: &str, success: bool) -> ExitCode {
    match stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush()) {
        Ok(()) if success => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
