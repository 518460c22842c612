//! tcpdmatch(8): what would the rules say to a client of a service, and what would be done?
//!
//! Facts are found, stated, or read from a log; then it is the wrapper's own way to a decision, with hands
//! that tell instead of do. Nothing is executed and nothing changed.

#![forbid(unsafe_code)]

use std::io::{ErrorKind, IsTerminal, Write, stderr, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;
use wrap::error::reason;
use wrap::explain::screen::{self, Screen};
use wrap::explain::{Limits, explain, json, lines};
use wrap::facts::Fact;
use wrap::inquiry::batch::Batch;
use wrap::inquiry::{About, Form, Inquiry, Logs, REPLAY, read, subjects};
use wrap::invocation::Instead;
use wrap::logline;
use wrap::lookup::Live;
use wrap::narrator::{Manner, account, written_in_file};
use wrap::replay::held::Rules;
use wrap::replay::judge;
use wrap::replay::machine::ThisMachine;
use wrap::replay::source::Source;
use wrap::replay::{Replay, Session, json as replay_json, screen as replay_screen};
use wrap::report::progress::Meter;
use wrap::settings::{self, Resolve, Settings};
use wrap::sys::process;
use wrap::tables::image::{Image, RuleTable};
use wrap::witness::{Facts, Witness};

/// A replay that cannot be asked, or a log that cannot be read.
const TROUBLE: u8 = 2;

fn main() -> ExitCode {
    let inquiry = match read(std::env::args_os().collect()) {
        Ok(inquiry) => inquiry,
        Err(Instead::Show(text)) => return put(&mut stdout(), text.as_bytes(), true),
        Err(Instead::Usage(text)) => {
            put(&mut stderr(), format!("{text}\n").as_bytes(), false);
            let is_replay = std::env::args_os().any(|word| word == REPLAY);
            return if is_replay { ExitCode::from(TROUBLE) } else { ExitCode::FAILURE };
        }
    };

    // What is asked, of which tables?
    let mut warnings = Vec::new();
    let reading = settings::read(inquiry.config.as_deref(), process::caller());
    warnings.extend(reading.problems.iter().flat_map(logline::problem).map(|entry| entry.text));
    let settings = Settings {
        hosts_allow: inquiry.allow.clone().unwrap_or(reading.settings.hosts_allow.clone()),
        hosts_deny: inquiry.deny.clone().unwrap_or(reading.settings.hosts_deny.clone()),
        image: inquiry.image.clone().unwrap_or(reading.settings.image.clone()),
        ..reading.settings
    };

    if let About::Batch = inquiry.about {
        return batch(&inquiry, &settings, reading.refuses, warnings);
    }
    if let About::Logs(logs) = &inquiry.about {
        return replay(&inquiry, logs, &settings, reading.refuses, warnings);
    }

    // Who calls whom? A client may have several addresses, and each is a case of its own.
    let found = subjects::find(&inquiry, &settings, &mut warnings);
    let before: Vec<u8> = warnings.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
    let is_json = inquiry.form == Form::Json;
    let cases = match found {
        Ok(cases) => cases,
        Err(error) => {
            let mut to: Box<dyn Write> = if is_json { Box::new(stderr()) } else { Box::new(stdout()) };
            put(&mut to, &before, false);
            return put(&mut stderr(), error.as_bytes(), false);
        }
    };

    // What do the rules say to each?
    let case = Case { inquiry: &inquiry, settings: &settings, refuses: reading.refuses, warnings: &warnings };
    let told = cases.into_iter().map(|facts| case.tell(facts));
    let (pages, as_expected): (Vec<_>, Vec<_>) = told.unzip();
    let page = if is_json { pages.concat() } else { [before, pages.join(&b'\n')].concat() };
    put(&mut stdout(), &page, as_expected.into_iter().all(|expected| expected))
}

/// Answers requests until there are no more. Warnings are not for whoever reads the answers.
fn batch(inquiry: &Inquiry, settings: &Settings, refuses: bool, mut warnings: Vec<Vec<u8>>) -> ExitCode {
    subjects::tables(settings, &mut warnings);
    put(
        &mut stderr(),
        &warnings.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect::<Vec<_>>(),
        true,
    );
    let answered =
        Batch { settings, refuses, expect: inquiry.expect }.answer(&mut stdin().lock(), &mut stdout());
    match answered {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever does not read the answers has no need of a reason.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(error) => put(&mut stderr(), format!("tcpdmatch: {}\n", reason(&error)).as_bytes(), false),
    }
}

/// Writes a page, and says how the program ends.
fn put(to: &mut dyn Write, page: &[u8], success: bool) -> ExitCode {
    match to.write_all(page).and_then(|()| to.flush()) {
        Ok(()) if success => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Decides the connections of logs once more.
fn replay(
    inquiry: &Inquiry,
    logs: &Logs,
    settings: &Settings,
    refuses: bool,
    mut warnings: Vec<Vec<u8>>,
) -> ExitCode {
    // A table that is not there is an empty one. One that was named is a slip of the pen.
    for path in &logs.tables {
        if let Err(cause) = path.metadata() {
            let text = format!("cannot open {}: {}\n", path.display(), reason(&cause));
            put(&mut stderr(), text.as_bytes(), false);
            return ExitCode::from(TROUBLE);
        }
    }
    let rules = Rules::read(&settings.hosts_allow, &settings.hosts_deny);
    let Settings { strict, paranoid, resolve, resolve_timeout, .. } = *settings;
    let manner = judge::Manner { strict, paranoid, nameless: resolve == Resolve::Never, refuses };
    let machine = ThisMachine::new(logs.looks_up, resolve_timeout);
    let mut replay = Replay::new(&rules, manner, &machine, logs.wishes.clone());

    // Whoever would saw off the branch he sits on is told so before anything else.
    let words = std::env::var_os("SSH_CONNECTION").filter(|_| !logs.hits);
    let session = words.and_then(|words| replay.session(words.as_encoded_bytes()));
    let shut_out = session.as_ref().is_some_and(Session::is_shut_out);
    if let Some(session) = session.as_ref().filter(|_| shut_out) {
        let text = format!("{}\n", replay_screen::warning(&replay, session));
        put(&mut stderr(), text.as_bytes(), false);
    }

    let before: Vec<u8> = warnings.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
    let complaints = warnings.len();
    for path in &logs.logs {
        let name = if path == Path::new("-") { "standard input".into() } else { path.to_string_lossy() };
        let mut screen = stderr();
        let mut meter = screen.is_terminal().then(|| Meter::new(&name, &mut screen));
        let mut progress = |line| meter.iter_mut().for_each(|meter| meter.at(line));
        let read = Source::open(path).and_then(|log| replay.read(&name, log, &mut progress));
        meter.iter_mut().for_each(Meter::end);
        if let Err(cause) = read {
            let text = format!("{name}: {}", reason(&cause));
            put(&mut stderr(), format!("{text}\n").as_bytes(), false);
            warnings.push(text.into_bytes());
        }
    }
    replay.finish();

    let failed = warnings.len() > complaints;
    if failed && replay.lines.all == 0 {
        return ExitCode::from(TROUBLE);
    }
    let page = match (inquiry.form, logs.hits) {
        (Form::Json, true) => format!("{}\n", replay_json::hits(&replay, &warnings)).into_bytes(),
        (Form::Json, false) => {
            format!("{}\n", replay_json::flips(&replay, session.as_ref(), &warnings)).into_bytes()
        }
        (_, is_hits) => {
            let mut screen = Screen::new(wants_colours());
            let print = if is_hits { replay_screen::hits } else { replay_screen::flips };
            print(&replay, &mut screen);
            [before, screen.into_text()].concat()
        }
    };
    let flips = !logs.hits && (shut_out || replay.tally.flipped > replay.tally.accepted);
    let end = put(&mut stdout(), &page, !flips);
    if failed { ExitCode::from(TROUBLE) } else { end }
}

/// Colours are for terminals, and for those who want them (no-color.org).
fn wants_colours() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

struct Case<'a> {
    inquiry: &'a Inquiry,
    settings: &'a Settings,
    /// tcpd.conf(5) cannot be obeyed.
    refuses: bool,
    warnings: &'a [Vec<u8>],
}

impl Case<'_> {
    /// The page about one connection, and whether its end is the one that was expected.
    fn tell(&self, mut facts: Facts) -> (Vec<u8>, bool) {
        if self.settings.resolve == Resolve::Never {
            (facts.client.name, facts.server.name) = (Fact::Unknown, Fact::Unknown);
        }
        let Settings { hosts_allow, hosts_deny, image, strict, .. } = self.settings;
        let image =
            Image::wanted_whole(image.as_deref(), *strict, (hosts_allow, hosts_deny), process::caller);
        let found = image.as_ref().ok();
        let machine = Live::new((None, None), false, self.settings.resolve_timeout).by_image(found);
        let witness = Witness::new(&facts, &machine);
        // The reference knows names and users before it begins. The wrapper asks when it must, and its
        // log and its traps know what was asked: that is what an explanation has to show.
        let request = match self.inquiry.form {
            Form::Lines => facts.known(process::pid(), &machine),
            Form::Explain | Form::Json => facts.fresh(process::pid(), &witness, self.settings.paranoid),
        };
        let tables = || (RuleTable::new(hosts_allow, found), RuleTable::new(hosts_deny, found));
        let (mut allow, mut deny) = tables();
        let manner = Manner::of(self.settings, self.refuses);
        let story = account(manner, (&mut allow, &mut deny), &request, &written_in_file);
        witness.take();
        let limits = Limits::of(self.settings);
        let (mut allow, mut deny) = tables();
        let mut explanation =
            || explain(&story, (&mut allow, &mut deny), (&facts, &witness), limits).by_image(&image);
        let page = match self.inquiry.form {
            Form::Lines => lines::print(&facts, &story),
            Form::Explain => {
                let mut screen = Screen::new(wants_colours());
                screen::print(&explanation(), &mut screen);
                screen.into_text()
            }
            Form::Json => format!("{}\n", json::object(&explanation(), self.warnings)).into_bytes(),
        };
        (page, self.inquiry.expect.is_none_or(|expected| expected == story.verdict))
    }
}
