//! Is the client of a program's request to be served?
//!
//! The way is that of tcpd(8), from the settings to the deeds, with a program that goes on afterwards.
//! Settings that are the program's own business (its tables if it has set them, its log, its server) are
//! left to it.

#![forbid(unsafe_code)]

use super::hands::{OnBehalf, complain};
use super::known::{Asker, caller, keep_ident_timeout};
use super::layout::{Mark, Theirs};
use super::program::{self, Named};
use crate::actions::{Outcome, Went, carry_out, settle};
use crate::error::{Problem, Weight, What};
use crate::facts::{Fact, Request, Side};
use crate::logline::{self, Caller, Entry, Level, Line};
use crate::rules::Which;
use crate::rules::options::{self, Deed};
use crate::settings::{self, Resolve, Settings};
use crate::sys::{process, socket};
use crate::tables::image::{Image, RuleTable};
use crate::verdict::{Access, Because, Decision, IfNot, Tables};
use std::path::Path;

/// Decides, and does what the rule says.
pub fn is_served(theirs: Theirs) -> bool {
    let may_end = program::count_call();
    if theirs.is_marked() {
        return false;
    }
    let reading = settings::read_if_permitted(process::caller);
    reading.problems.iter().for_each(complain);
    let Some((allow, deny)) = tables(&reading.settings) else {
        program::say(&Entry::new(Level::Err, "error: hosts_access: no table: access denied"));
        return false;
    };
    let settings = &reading.settings;
    let path = settings.image.as_deref();
    let image = Image::wanted(path, settings.strict, (allow, deny), process::caller);
    image.as_ref().err().zip(path).and_then(|(why, path)| why.problem(path)).iter().for_each(complain);
    let image = image.as_ref().ok();

    let asker = Asker::new(theirs, settings, image);
    let request = asker.request();
    let mut hands = OnBehalf::new(theirs, may_end);
    let (mut first, mut second) = (RuleTable::new(allow, image), RuleTable::new(deny, image));
    let is_spoofed = || settings.paranoid && request.name(Side::Client) == &Fact::Paranoid;
    let outcome = if reading.refuses || is_spoofed() {
        Outcome::Refused
    } else {
        settle(&mut Tables::new(&mut first, &mut second, settings.strict), &request, &mut hands)
    };
    let lacked_descriptors = asker.lacked_descriptors();
    finish(&request, settings.resolve);
    match outcome {
        Outcome::Proceed | Outcome::HandedOver if lacked_descriptors => {
            let line = "error: too few descriptors to look anything up: access denied";
            program::say(&Entry::new(Level::Err, line));
            false
        }
        Outcome::Proceed => true,
        Outcome::Refused => false,
        // A twist that was only tried out leaves the verdict to its table.
        Outcome::HandedOver => hands.is_at(allow),
    }
}

/// What a request leaves behind in the program.
fn finish(request: &Request<'_>, resolve: Resolve) {
    if resolve == Resolve::Always {
        request.name(Side::Client);
    }
    logline::doubts(request).iter().for_each(program::say);
    keep_ident_timeout(request.ident_seconds.get());
}

/// Where the tables are: where the program says, or else tcpd.conf(5).
fn tables(settings: &Settings) -> Option<(&Path, &Path)> {
    let (allow, deny) = program::tables();
    Some((place(allow, &settings.hosts_allow)?, place(deny, &settings.hosts_deny)?))
}

fn place(named: Named, as_ever: &Path) -> Option<&Path> {
    match named {
        Named::AsEver => Some(as_ever),
        Named::Here(path) => Some(path),
        Named::Nowhere => None,
    }
}

/// What came of the options of a rule.
pub enum Obeyed {
    /// The rule says what its table says.
    GoOn,
    Permit,
    Deny,
}

/// Does the options of a rule that the program has found itself.
pub fn obey(theirs: Theirs, text: &[u8]) -> Obeyed {
    let settings = settings::read_if_permitted(process::caller).settings;
    let asker = Asker::new(theirs, &settings, None);
    let request = asker.request();
    let place = program::context();
    let plan = match options::steps(text, &asker) {
        Ok(plan) => plan,
        Err((_, flaw)) => {
            complain(&Problem { place, weight: Weight::Error, what: What::Option(flaw) });
            return Obeyed::Deny;
        }
    };
    let ends_in = |deed: &Deed| plan.last().is_some_and(|step| step.deed == *deed);
    let meant = match () {
        () if ends_in(&Deed::Allow) => Obeyed::Permit,
        () if ends_in(&Deed::Deny) => Obeyed::Deny,
        () => Obeyed::GoOn,
    };
    let because = place.map_or(Because::NoRule, |place| Because::Rule(Which::Allow, place));
    let (access, if_not, remarks) = (Access::Permit, IfNot::Ignore, Vec::new());
    let decision = Decision { access, because, plan, if_not, remarks };
    let mut hands = OnBehalf::new(theirs, program::may_end()).for_rule_found_elsewhere();
    let went = carry_out(&decision, &request, &mut hands);
    finish(&request, Resolve::Needed);
    match went {
        Went::To(Outcome::Refused) => Obeyed::Deny,
        Went::To(Outcome::Proceed) => meant,
        Went::To(Outcome::HandedOver) | Went::NotThisRule => Obeyed::GoOn,
    }
}

/// IP options are taken off. With a source route a caller may claim any address: the connection is shut,
/// and whoever asks about it is told no.
pub fn fix_options(theirs: Theirs) {
    let Some(fd) = theirs.descriptor().filter(|_| !theirs.is_datagram()) else { return };
    let options = socket::ip_options(fd);
    if options.is_empty() {
        return;
    }
    let Caller { user, host, .. } = caller(theirs);
    if socket::is_source_routed(&options) {
        program::say(&Entry::new(Level::Warning, Line::SourceRoute { user, host }.print()));
        socket::shut(fd);
        theirs.mark(Mark::Refused);
        return;
    }
    program::say(&Entry::new(Level::Notice, Line::IpOptions { user, host, options }.print()));
    // An option that stays is one that the kernel would not take off; it routes nothing.
    let _ = socket::clear_ip_options(fd);
}
