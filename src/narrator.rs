//! What would be done, told instead of done.
//!
//! `Narrator` is a pair of hands like the real ones: decisions and the order of deeds are not its
//! business, so it cannot tell of anything that the wrapper would not do. Nothing is executed, written
//! or changed, neither identity nor umask nor environment; a banner is read, because its text is what
//! would be shown.
//!
//! A test (`aclexec`) is taken for true, as the reference takes it. So a rule that was told about never
//! turns out not to hold, and there is no going on behind it: [`account`] decides once.

#![forbid(unsafe_code)]

use crate::actions::{Banner, Hands, Outcome, Went, banner, carry_out};
use crate::error::{Error, OptionFlaw, Place, Problem, What};
use crate::facts::{Fact, Identity, Request, Side};
use crate::logline::{self, Caller, Entry, Level, Line, printable};
use crate::rules::options::{self, Field, Priority};
use crate::rules::{Entry as Row, Parsed, Table, Which};
use crate::settings::{Resolve, Settings};
use crate::sys::process::Ended;
use crate::tables::TextTable;
use crate::verdict::{Access, Because, Decision, IfNot, Tables, decide};
use std::io;
use std::path::Path;

/// One thing that was said, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A line for the log, with the priority it would have.
    Line(Entry, Priority),
    Matched(Place),
    /// An option, as it is written, with its expanded value.
    Option {
        name: Vec<u8>,
        value: Vec<u8>,
    },
    /// What the option before it would do.
    Deed(Vec<u8>),
    /// Text for the client.
    Shown(Vec<u8>),
}

/// How it would end, in the words of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    Granted,
    Denied,
    /// A twist has it.
    Delegated,
}

impl Verdict {
    pub const ALL: [Verdict; 3] = [Verdict::Granted, Verdict::Denied, Verdict::Delegated];

    pub fn word(self) -> &'static str {
        match self {
            Verdict::Granted => "granted",
            Verdict::Denied => "denied",
            Verdict::Delegated => "delegated",
        }
    }
}

/// A whole account, from the first rule to the last line in the log.
pub struct Story {
    pub told: Vec<Told>,
    pub verdict: Verdict,
    pub decision: Decision,
    /// The tables were searched, not only found wanting.
    pub searched: bool,
}

/// How the settings have a connection dealt with.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// tcpd.conf(5) cannot be obeyed: everybody is refused.
    pub refuses: bool,
    /// A name that does not agree refuses before any rule is read.
    pub paranoid: bool,
    /// The client's name is looked up for the last line, if it was not before.
    pub always: bool,
    /// Every table is read to its end, and an error in it refuses.
    pub strict: bool,
    /// Of log lines whose rule names none.
    pub facility: u8,
}

impl Manner {
    /// As the settings have it; `refuses` says that they cannot be obeyed.
    pub fn of(settings: &Settings, refuses: bool) -> Manner {
        let Settings { paranoid, strict, facility, .. } = *settings;
        Manner { refuses, paranoid, always: settings.resolve == Resolve::Always, strict, facility }
    }
}

/// Names and values of a rule's options, as they are written.
pub type Written = Vec<(Vec<u8>, Vec<u8>)>;

/// Tells what would become of a connection, by two tables at their beginning. `written` finds the
/// options of the rule that decided; a decision need not carry its text.
pub fn account(
    manner: Manner,
    (allow, deny): (&mut dyn Table, &mut dyn Table),
    request: &Request<'_>,
    written: &dyn Fn(Which, &Place) -> Written,
) -> Story {
    let early = |why: &str| refusal(request, manner.facility, vec![Entry::new(Level::Err, why)]);
    if manner.refuses {
        early("error: every connection is refused: tcpd.conf cannot be obeyed")
    } else if manner.paranoid && request.name(Side::Client) == &Fact::Paranoid {
        early("error: refused before any rule is read: paranoid yes")
    } else {
        tell(&mut Tables::new(allow, deny, manner.strict), request, manner, written)
    }
}

/// Decides, and tells what would be done about it.
fn tell(
    tables: &mut Tables<'_>,
    request: &Request<'_>,
    manner: Manner,
    written: &dyn Fn(Which, &Place) -> Written,
) -> Story {
    let mut narrator = Narrator::new(manner.facility);
    let mut decision = decide(tables, request);
    let of_rule = matches!(decision.because, Because::Rule(..));
    let is_wrong_option = |problem: &Problem| of_rule && matches!(problem.what, What::Option(_));
    let (wrong, noticed): (Vec<_>, Vec<_>) =
        std::mem::take(&mut decision.remarks).into_iter().partition(is_wrong_option);
    narrator.log_all(&noticed);
    narrator.if_not = decision.if_not;
    if let Because::Rule(which, place) = &decision.because
        && (!decision.plan.is_empty() || !wrong.is_empty())
    {
        narrator.written = written(*which, place);
    }
    let went = carry_out(&decision, request, &mut narrator);
    for problem in &wrong {
        narrator.show_wrong(problem, request);
    }
    narrator.log_all(&wrong);
    decision.remarks = [noticed, wrong].concat();
    let verdict = match went {
        Went::To(Outcome::Proceed) => Verdict::Granted,
        Went::To(Outcome::HandedOver) => Verdict::Delegated,
        Went::To(Outcome::Refused) | Went::NotThisRule => Verdict::Denied,
    };
    narrator.last_line(verdict, request, manner.always);
    let searched = decision.because != Because::Trouble || !tables.is_strict();
    Story { told: narrator.told, verdict, decision, searched }
}

/// The story of a connection that is refused before any rule is read.
fn refusal(request: &Request<'_>, facility: u8, why: Vec<Entry>) -> Story {
    let mut narrator = Narrator::new(facility);
    why.into_iter().for_each(|entry| narrator.log(entry));
    narrator.last_line(Verdict::Denied, request, false);
    let (access, because) = (Access::Deny, Because::Trouble);
    let decision = Decision { access, because, plan: Vec::new(), if_not: IfNot::Ignore, remarks: Vec::new() };
    Story { told: narrator.told, verdict: Verdict::Denied, decision, searched: false }
}

/// The same from the file in which the rule stands.
pub fn written_in_file(_: Which, place: &Place) -> Written {
    written_in(&mut TextTable::new(&place.file), place.line)
}

/// The options of the rule whose line has this number.
pub fn written_in(table: &mut dyn Table, number: u32) -> Written {
    loop {
        match table.next() {
            Row::Line(line, Parsed::Rule(rule)) if line.number == number => {
                let fields = rule.options.into_iter().flat_map(options::fields);
                return fields.map(|field| (field.name, field.value)).collect();
            }
            Row::Line(..) | Row::Again => {}
            Row::Broken(_) | Row::End => return Vec::new(),
        }
    }
}

/// Hands that tell.
struct Narrator {
    told: Vec<Told>,
    /// The options of the rule, as they are written, and how many have been told.
    written: Written,
    options: usize,
    if_not: IfNot,
    facility: u8,
    severity: Option<Priority>,
}

impl Narrator {
    fn new(facility: u8) -> Narrator {
        let (told, written) = (Vec::new(), Vec::new());
        Narrator { told, written, options: 0, if_not: IfNot::Ignore, facility, severity: None }
    }

    fn deed(&mut self, sentence: impl Into<Vec<u8>>) {
        self.told.push(Told::Deed(sentence.into()));
    }

    fn log_all(&mut self, problems: &[Problem]) {
        for entry in problems.iter().flat_map(logline::problem) {
            self.log(entry);
        }
    }

    /// The option that a problem is about, if its value is what is wrong: the reference shows it, too.
    fn show_wrong(&mut self, problem: &Problem, request: &Request<'_>) {
        let What::Option(flaw) = &problem.what else { return };
        let is_value = matches!(
            flaw,
            OptionFlaw::BadValue { .. } | OptionFlaw::UnknownUser(_) | OptionFlaw::UnknownGroup(_)
        );
        let has_it = |(name, value): &&(Vec<u8>, Vec<u8>)| {
            let mut written = Vec::new();
            options::print(&Field { at: b"", name: name.clone(), value: value.clone() }, &mut written);
            options::steps(&written, request.asker()).is_err_and(|(_, found)| found == *flaw)
        };
        let found = self.written.iter().find(has_it).filter(|_| is_value).cloned();
        self.told.extend(found.map(|(name, value)| Told::Option { name, value }));
    }

    fn last_line(&mut self, verdict: Verdict, request: &Request<'_>, always: bool) {
        if always && verdict != Verdict::Delegated {
            request.name(Side::Client);
        }
        for doubt in logline::doubts(request) {
            self.log(doubt);
        }
        let caller = Caller::of(request);
        match verdict {
            Verdict::Granted => self.log(Entry::new(Level::Allow, Line::Connect(caller).print())),
            Verdict::Denied => self.log(Entry::new(Level::Deny, Line::Refused(caller).print())),
            // The line of the twist was the last one.
            Verdict::Delegated => {}
        }
    }
}

impl Hands for Narrator {
    fn log(&mut self, entry: Entry) {
        let priority = match (entry.level, self.severity) {
            (Level::Allow | Level::Deny, Some(priority)) => priority,
            (level, _) => Priority { facility: None, level: level.number() },
        };
        let facility = priority.facility.or(Some(self.facility));
        self.told.push(Told::Line(entry, Priority { facility, ..priority }));
    }

    fn severity(&mut self, priority: Priority) {
        self.severity = Some(priority);
        self.deed(format!("logs at {priority}"));
    }

    fn spawn(&mut self, _: &[u8]) -> io::Result<Ended> {
        self.deed("runs it in /bin/sh on /dev/null, and waits for that shell");
        Ok(Ended::Exit(0))
    }

    fn aclexec(&mut self, _: &[u8]) -> io::Result<Ended> {
        let otherwise = match self.if_not {
            IfNot::Ignore => "its result changes nothing",
            IfNot::Refuse => "taken for true here; if not, refused",
            IfNot::GoOn => "taken for true here; if not, the rule does not match",
        };
        self.deed(format!("runs it in /bin/sh on /dev/null: {otherwise}"));
        Ok(Ended::Exit(0))
    }

    fn may_twist(&self) -> Result<(), OptionFlaw> {
        Ok(())
    }

    fn twist(&mut self, _: &[u8]) -> Result<(), Error> {
        // The line for the log has already been said; the deed belongs to its option.
        let option = self.told.iter().rposition(|told| matches!(told, Told::Option { .. }));
        let deed = Told::Deed(b"hands the connection to /bin/sh with this command".to_vec());
        self.told.insert(option.map_or(0, |at| at + 1), deed);
        Ok(())
    }

    fn set_variable(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        self.deed([b"sets ", printable(name).as_slice(), b"=", &printable(value)].concat());
        Ok(())
    }

    fn set_umask(&mut self, mask: u32) {
        self.deed(format!("sets the umask to {mask:03o}"));
    }

    fn nice(&mut self, increment: i32) -> io::Result<()> {
        self.deed(format!("adds {increment} to the nice value"));
        Ok(())
    }

    fn linger(&mut self, seconds: i32) -> io::Result<()> {
        self.deed(match seconds {
            0 => "lets the kernel close in its own time".to_owned(),
            _ => format!("lets a close wait {seconds} s for unsent data"),
        });
        Ok(())
    }

    fn keepalive(&mut self) -> io::Result<()> {
        self.deed("lets the kernel ask now and then whether the client is alive");
        Ok(())
    }

    fn read_banner(&mut self, directory: &Path, daemon: &[u8]) -> Banner {
        let banner = banner(directory, daemon);
        self.deed(match banner {
            Banner::Text(_) => "shows the client the text of its file",
            Banner::Absent | Banner::Trouble(_) => "shows nothing: there is no file for this daemon",
        });
        banner
    }

    fn send(&mut self, text: &[u8]) {
        self.told.push(Told::Shown(text.to_vec()));
    }

    fn assume_later(&mut self, identity: &Identity) {
        let id = |id: Option<u32>| id.map_or("unchanged".to_owned(), |id| id.to_string());
        let groups: Vec<_> = identity.groups.iter().map(u32::to_string).collect();
        let (uid, gid, groups) = (id(identity.uid), id(identity.gid), groups.join(" "));
        self.deed(format!("becomes uid {uid}, gid {gid}, groups {groups}, for all that is executed"));
    }

    fn forget_identity(&mut self) {}

    fn decided(&mut self, because: &Because) {
        if let Because::Rule(_, place) = because {
            self.told.push(Told::Matched(place.clone()));
        }
    }

    fn about_to(&mut self, keyword: &str, value: &[u8]) {
        let written = self.written.get(self.options).map(|(name, _)| name.clone());
        self.options += 1;
        let name = written.unwrap_or_else(|| keyword.as_bytes().to_vec());
        self.told.push(Told::Option { name, value: value.to_vec() });
    }
}
