//! tcpdmatch(8): what would the rules say to a client of a service, and what would be done?
//!
//! Facts are found or stated; then it is the wrapper's own way to a decision, with hands that tell
//! instead of do. Nothing is executed and nothing changed.

#![forbid(unsafe_code)]

use std::io::{ErrorKind, IsTerminal, Write, stderr, stdin, stdout};
use std::process::ExitCode;
use wrap::error::reason;
use wrap::explain::screen::{self, Screen};
use wrap::explain::{Limits, explain, json, lines};
use wrap::facts::Fact;
use wrap::inquiry::batch::Batch;
use wrap::inquiry::{About, Form, Inquiry, read, subjects};
use wrap::invocation::Instead;
use wrap::logline;
use wrap::lookup::Live;
use wrap::narrator::{Manner, account, written_in_file};
use wrap::settings::{self, Resolve, Settings};
use wrap::sys::process;
use wrap::tables::image::{Image, RuleTable};
use wrap::witness::{Facts, Witness};

fn main() -> ExitCode {
    let inquiry = match read(std::env::args_os().collect()) {
        Ok(inquiry) => inquiry,
        Err(Instead::Show(text)) => return put(&mut stdout(), text.as_bytes(), true),
        Err(Instead::Usage(text)) => return put(&mut stderr(), format!("{text}\n").as_bytes(), false),
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
                let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                let mut screen = Screen::new(stdout().is_terminal() && !plain);
                screen::print(&explanation(), &mut screen);
                screen.into_text()
            }
            Form::Json => format!("{}\n", json::object(&explanation(), self.warnings)).into_bytes(),
        };
        (page, self.inquiry.expect.is_none_or(|expected| expected == story.verdict))
    }
}
