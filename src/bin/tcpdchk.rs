//! tcpdchk(8): reads what the wrapper reads, and says what is wrong with it.
//!
//! The program is `check`, read from top to bottom: services, settings, tables, count. It asks the
//! databases and looks at files; it changes nothing, executes nothing and keeps its identity. Where tests
//! are named it is `test`; with `--services` it is `survey`: which services do the rules govern?

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{BufWriter, IsTerminal, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wrap::error::reason;
use wrap::explain::screen::Screen;
use wrap::inspect::Inspector;
use wrap::invocation::Instead;
use wrap::invocation::tcpdchk::{Check, Format, read};
use wrap::logline;
use wrap::report::progress::Watched;
use wrap::report::{Form, Report};
use wrap::rules::Which;
use wrap::services;
use wrap::settings::{self, Settings};
use wrap::sys::process::caller;
use wrap::sys::tree::Tree;
use wrap::tables::TextTable;
use wrap::trial;
use wrap::wrapped::{self, Question};

/// An error was found, or a test failed.
const FAULTY: u8 = 1;
/// Called wrongly, or with tests that cannot be read.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    match read(&argv) {
        Ok(call) if call.services => survey(&call),
        Ok(call) => check(&call),
        Err(Instead::Show(text)) => say(&mut stdout(), &text, 0),
        Err(Instead::Usage(text)) => say(&mut stderr(), &text, USAGE),
    }
}

/// Somebody who does not read has no need of an answer.
fn say(to: &mut dyn Write, text: &str, status: u8) -> ExitCode {
    let _ = to.write_all(text.as_bytes());
    ExitCode::from(status)
}

fn check(call: &Check) -> ExitCode {
    if !call.tests.is_empty() {
        return test(call);
    }

    // Which names a rule can be about. A file that was named must be there.
    let services = match &call.inetd {
        None => services::find(),
        Some(path) => match services::read(path) {
            Ok(services) => services,
            Err(cause) => {
                let text = format!("open {}: {}\n", path.display(), reason(&cause));
                return say(&mut stderr(), &text, FAULTY);
            }
        },
    };
    let mut out = BufWriter::new(stdout().lock());
    let mut report = Report::new(form(call), &mut out);
    for problem in &services.problems {
        report.problem(problem);
    }
    report.skeleton(&[b"Using network configuration file: ", services.file_text()]);

    // What is in the tables, in the order of the search.
    let (Settings { hosts_allow: allow, hosts_deny: deny, .. }, _) = settings(call, &mut report);
    let classic = call.format == Format::Classic;
    let tables = (allow.as_path(), deny.as_path());
    let mut inspector = Inspector::new(&services, tables, call.implicit_allow, classic, caller());
    inspector.files([&allow, &deny], &mut report);
    // A person who waits sees how far it is.
    let waits = stderr().is_terminal();
    for (which, path) in [(Which::Allow, &allow), (Which::Deny, &deny)] {
        let (mut table, mut screen) = (TextTable::new(path), stderr());
        if waits {
            let mut table = Watched::new(&mut table, path.display().to_string(), &mut screen);
            inspector.table(which, &mut table, &mut report);
        } else {
            inspector.table(which, &mut table, &mut report);
        }
    }

    report.close();
    let [_, _, errors] = report.counts;
    ExitCode::from(if errors > 0 { FAULTY } else { 0 })
}

/// Do the rules do what is expected of them? By their text, whatever image there is.
fn test(call: &Check) -> ExitCode {
    let mut out = BufWriter::new(stdout().lock());
    let mut report = Report::new(form(call), &mut out);
    let (settings, refuses) = settings(call, &mut report);
    let settings = Settings { image: None, ..settings };
    let tally = trial::run(&call.tests, &settings, refuses, &mut |problem| report.problem(problem));
    report.close_tests(&tally);
    let [_, _, errors] = report.counts;
    ExitCode::from(match tally.errors {
        0 if errors == 0 => 0,
        0 => FAULTY,
        _ => USAGE,
    })
}

/// The settings, and whether they refuse everybody; the tables are those that are to be checked.
fn settings(call: &Check, report: &mut Report<'_>) -> (Settings, bool) {
    let reading = settings::read(call.config.as_deref(), caller());
    for problem in &reading.problems {
        report.problem(problem);
    }
    let path = |named: &Option<PathBuf>, here: &str, usual: &Path| match named {
        Some(path) => path.clone(),
        None if call.here => PathBuf::from(here),
        None => usual.to_path_buf(),
    };
    let hosts_allow = path(&call.allow, "hosts.allow", &reading.settings.hosts_allow);
    let hosts_deny = path(&call.deny, "hosts.deny", &reading.settings.hosts_deny);
    (Settings { hosts_allow, hosts_deny, ..reading.settings }, reading.refuses)
}

/// What asks these rules, and what do they name that does not?
fn survey(call: &Check) -> ExitCode {
    let tree = match &call.root {
        None => Tree::here(),
        Some(path) => match Tree::below(path) {
            Ok(tree) => tree,
            Err(cause) => {
                let text = format!("{}: {}\n", path.display(), reason(&cause));
                return say(&mut stderr(), &text, FAULTY);
            }
        },
    };
    let (usual, problems) = wrapped::usual_tables(&tree, call.config.as_deref());
    for problem in problems.iter().flat_map(logline::problem) {
        let _ = stderr().write_all(&[problem.text.as_slice(), b"\n"].concat());
    }
    let [allow, deny] = usual.clone();
    let path = |named: &Option<PathBuf>, here: &str, usual: PathBuf| match named {
        Some(path) => path.clone(),
        None if call.here => PathBuf::from(here),
        None => usual,
    };
    let tables = [path(&call.allow, "hosts.allow", allow), path(&call.deny, "hosts.deny", deny)];
    let found = wrapped::find(&Question { tree: &tree, inetd: call.inetd.as_deref(), tables, usual });
    let page = match form(call) {
        Form::Json => format!("{}\n", wrapped::json::object(&found)).into_bytes(),
        form => {
            let mut screen = Screen::new(matches!(form, Form::Human { colour: true }));
            wrapped::screen::print(&found, &mut screen);
            screen.into_text()
        }
    };
    let _ = stdout().write_all(&page);
    ExitCode::from(if found.errors() + problems.len() > 0 { FAULTY } else { 0 })
}

/// Colours are for terminals, and for those who want them (no-color.org).
fn form(call: &Check) -> Form {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match call.format {
        Format::Classic if call.services => Form::Human { colour: wanted && stdout().is_terminal() },
        Format::Classic => Form::Reference { verbose: call.verbose },
        Format::Human => Form::Human { colour: wanted && stdout().is_terminal() },
        Format::Short => Form::Short,
        Format::Json => Form::Json,
    }
}
