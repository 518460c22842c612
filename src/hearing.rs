//! What would the rules say to many clients, one after the other?
//!
//! The tables are read once and kept ([`Rules`]), and each connection that somebody states is decided by
//! them as the wrapper would decide, and told about ([`Hearing`]). Nothing is looked up in the net and
//! nothing is done. What belongs to the machine is asked of it each time, as the wrapper asks: pattern
//! files, netgroups, accounts, interfaces.
//!
//! A table that has an image, or is too large to be kept, is searched on disk as for a single client.
//!
//! Warning to the next author: `Rules` do not grow old by themselves. Whoever keeps them says how old
//! they may be.

#![forbid(unsafe_code)]

use crate::error::Place;
use crate::explain::{Explanation, Limits, explain};
use crate::facts::{Fact, Side};
use crate::lookup::Live;
use crate::narrator::{Manner, Story, Written, account, written_in, written_in_file};
use crate::rules::{Entry, Line, Parsed, Table, Which};
use crate::settings::{Resolve, Settings};
use crate::sys::file::{Found, find};
use crate::sys::process;
use crate::tables::held::{Held, Text};
use crate::tables::image::{Image, NotUsed, RuleTable};
use crate::verdict::{Tables, decide};
use crate::witness::{Facts, Question, Witness};
use std::path::{Path, PathBuf};

/// Below this size, in bytes, a table is kept even where there is an image of it.
const SMALL: u64 = 64 << 10;
/// Above this size it is not kept: to take it apart would cost more than to search it.
const LARGE: u64 = 1 << 20;

/// Both tables, as they were at one moment.
pub struct Rules {
    allow: Source,
    deny: Source,
    image: Result<Image, NotUsed>,
}

enum Source {
    Kept(Text),
    OnDisk(PathBuf),
}

impl Rules {
    pub fn read(settings: &Settings) -> Rules {
        let Settings { hosts_allow, hosts_deny, image, strict, .. } = settings;
        let tables = (hosts_allow.as_path(), hosts_deny.as_path());
        let image = Image::wanted_whole(image.as_deref(), *strict, tables, process::caller);
        let source = |path: &Path| {
            let size = match find(path) {
                Ok(Found::Regular(stamp)) => stamp.size,
                Ok(Found::Nothing | Found::Other) | Err(_) => 0,
            };
            let most = if image.is_ok() { SMALL } else { LARGE };
            if size > most { Source::OnDisk(path.to_path_buf()) } else { Source::Kept(Text::read(path)) }
        };
        Rules { allow: source(hosts_allow), deny: source(hosts_deny), image }
    }

    fn written(&self, which: Which, place: &Place) -> Written {
        let source = match which {
            Which::Allow => &self.allow,
            Which::Deny => &self.deny,
        };
        match source {
            Source::Kept(text) => written_in(&mut Held::new(text), place.line),
            Source::OnDisk(_) => written_in_file(which, place),
        }
    }
}

/// A table that can be asked again.
enum Asked<'r> {
    Kept(Held<'r>),
    OnDisk(&'r Path, Box<RuleTable<'r>>),
}

impl<'r> Asked<'r> {
    fn new(source: &'r Source, image: Option<&'r Image>) -> Asked<'r> {
        match source {
            Source::Kept(text) => Asked::Kept(Held::new(text)),
            Source::OnDisk(path) => Asked::OnDisk(path, Box::new(RuleTable::new(path, image))),
        }
    }

    /// The table, at its beginning.
    fn begun(&mut self, image: Option<&'r Image>) -> &mut dyn Table {
        match self {
            Asked::Kept(held) => {
                held.rewind();
                held
            }
            Asked::OnDisk(path, table) => {
                **table = RuleTable::new(path, image);
                &mut **table
            }
        }
    }
}

/// Rules that hear one connection after the other.
pub struct Hearing<'r> {
    rules: &'r Rules,
    settings: &'r Settings,
    manner: Manner,
    allow: Asked<'r>,
    deny: Asked<'r>,
}

impl<'r> Hearing<'r> {
    /// `refuses`: the settings cannot be obeyed.
    pub fn new(rules: &'r Rules, settings: &'r Settings, refuses: bool) -> Hearing<'r> {
        let image = rules.image.as_ref().ok();
        let (allow, deny) = (Asked::new(&rules.allow, image), Asked::new(&rules.deny, image));
        Hearing { rules, settings, manner: Manner::of(settings, refuses), allow, deny }
    }

    /// What the wrapper could know of these facts.
    pub fn seen(&self, facts: Facts) -> Facts {
        let mut facts = facts;
        if self.settings.resolve == Resolve::Never {
            (facts.client.name, facts.server.name) = (Fact::Unknown, Fact::Unknown);
        }
        facts
    }

    /// Whoever answers about this machine, for one connection.
    pub fn machine(&self) -> Live<'r> {
        let image = self.rules.image.as_ref().ok();
        Live::new((None, None), false, self.settings.resolve_timeout).by_image(image)
    }

    fn tables(&mut self) -> (&mut dyn Table, &mut dyn Table) {
        let image = self.rules.image.as_ref().ok();
        (self.allow.begun(image), self.deny.begun(image))
    }

    /// What would become of a connection.
    pub fn story(&mut self, facts: &Facts, witness: &Witness<'_>) -> Story {
        let request = facts.fresh(process::pid(), witness, self.manner.paranoid);
        let (manner, rules) = (self.manner, self.rules);
        account(manner, self.tables(), &request, &|which, place| rules.written(which, place))
    }

    /// Why that is so.
    pub fn explained<'a>(
        &mut self,
        story: &'a Story,
        (facts, witness): (&'a Facts, &Witness<'_>),
    ) -> Explanation<'a> {
        let limits = Limits::of(self.settings);
        let image = &self.rules.image;
        explain(story, self.tables(), (facts, witness), limits).by_image(image)
    }

    /// What the wrapper would ask for to come to its decision, and no further.
    pub fn questions(&mut self, facts: &Facts, witness: &Witness<'_>) -> Vec<Question> {
        witness.take();
        let manner = self.manner;
        if !manner.refuses {
            let request = facts.fresh(process::pid(), witness, manner.paranoid);
            if !(manner.paranoid && request.name(Side::Client) == &Fact::Paranoid) {
                let (allow, deny) = self.tables();
                let _ = decide(&mut Tables::new(allow, deny, manner.strict), &request);
            }
        }
        witness.take()
    }

    /// Shows every line of both tables, hosts.allow first, until `visit` returns false.
    pub fn walk(&mut self, visit: &mut dyn FnMut(Which, &Line<'_>, &Parsed<'_>) -> bool) {
        let (allow, deny) = self.tables();
        for (which, table) in [(Which::Allow, allow), (Which::Deny, deny)] {
            loop {
                match table.next() {
                    Entry::Line(line, parsed) if !visit(which, &line, &parsed) => return,
                    Entry::Line(..) | Entry::Again => {}
                    Entry::Broken(_) | Entry::End => break,
                }
            }
        }
    }
}
