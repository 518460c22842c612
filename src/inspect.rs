//! What is wrong with a table, and with everything that it leads to?
//!
//! Walks a table from end to end in the order of the reference's checker: the daemons of a rule, its
//! clients, its options; and tells a [`Teller`] what it passes and what it finds. What the text says by
//! itself comes from `advice`; here the world is asked as well: names, groups and pattern files
//! (`world`), programs, banners and who could change them.
//!
//! Nothing is executed and no identity is changed. Names are looked up once each, and not for ever: see
//! `world`.

#![forbid(unsafe_code)]

mod world;

use crate::actions::{self, Banner};
use crate::advice::coverage::Coverage;
use crate::advice::patterns::{self, Next};
use crate::advice::{self, Form, Remark, Saying, deeds, ours};
use crate::error::{Advice, OptionFlaw, Problem, Weight, What, WordFlaw};
use crate::expand::expand;
use crate::facts::{DaemonName, Endpoint, Fact, HostName, Request, Transport, UserName};
use crate::rules::grammar::is_separator;
use crate::rules::options::{self, Deed, Field, Step, trim};
use crate::rules::{Entry, Item, Line, List, Parsed, Rule, Table, Which};
use crate::services::Services;
use crate::sys::file;
use crate::words::nearest;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use world::World;

/// Whoever is told. Only remarks matter to all; the rest is the skeleton of the reference's output.
pub trait Teller {
    fn remark(&mut self, remark: &Remark);
    fn rule(&mut self, _line: &Line<'_>) {}
    fn daemons(&mut self, _list: &[u8]) {}
    fn clients(&mut self, _list: &[u8]) {}
    fn option(&mut self, _name: &[u8], _value: &[u8]) {}
    /// A banner, as the client would see it.
    fn banner(&mut self, _text: &[u8]) {}
    fn access(&mut self, _granted: bool) {}
}

/// What stays the same while tables are inspected.
pub struct Inspector<'a> {
    services: &'a Services,
    world: World,
    coverage: Coverage,
    /// Report rules that grant without saying so.
    implicit_allow: bool,
    /// Daemon names that were complained about; once is enough.
    told: HashSet<Vec<u8>>,
    /// What is looked at once: programs, directories, tables.
    seen: HashSet<Vec<u8>>,
    /// Questions that this table has been said to ask: the client's name, its user.
    asks: [bool; 2],
    caller: u32,
}

impl<'a> Inspector<'a> {
    /// `like_reference`: addresses are looked up, too, because its checker says which have no name.
    pub fn new(
        services: &'a Services,
        (allow, deny): (&Path, &Path),
        implicit_allow: bool,
        like_reference: bool,
        caller: u32,
    ) -> Inspector<'a> {
        Inspector {
            services,
            world: World::new(like_reference, &[allow, deny]),
            coverage: Coverage::new(allow, deny),
            implicit_allow,
            told: HashSet::new(),
            seen: HashSet::new(),
            asks: [false; 2],
            caller,
        }
    }

    /// Who may change the tables themselves.
    pub fn files(&mut self, tables: [&Path; 2], teller: &mut dyn Teller) {
        for path in tables {
            let (_, writable) = file::world_writable(path).map_or((None, Vec::new()), |(m, w)| (Some(m), w));
            for path in writable {
                let what = What::WorldWritable(Arc::from(path));
                let problem = Problem { place: None, weight: Weight::Warning, what };
                teller.remark(&Remark { form: Form::Reference, problem });
            }
        }
        for path in tables {
            if let Some((form, weight, what)) = self.changeable(path) {
                teller.remark(&Remark { form, problem: Problem { place: None, weight, what } });
            }
        }
    }

    fn changeable(&mut self, path: &Path) -> Option<Saying> {
        let new = self.seen.insert(path.as_os_str().as_bytes().to_vec());
        let (path, why) = file::changeable(path, self.caller).filter(|_| new)?;
        let path = path.as_os_str().as_bytes().to_vec();
        Some(ours(Weight::Warning, Advice::Writable { path, why }))
    }

    /// Walks a table.
    pub fn table(&mut self, which: Which, table: &mut dyn Table, teller: &mut dyn Teller) {
        self.asks = [false; 2];
        loop {
            match table.next() {
                Entry::Line(line, parsed) => self.line(which, &line, &parsed, teller),
                Entry::Broken(problems) => {
                    for problem in problems {
                        teller.remark(&Remark { form: Form::Both, problem });
                    }
                    return;
                }
                // What was said about the file as it was stays said.
                Entry::Again => {}
                Entry::End => return,
            }
        }
    }

    fn line(&mut self, which: Which, line: &Line<'_>, parsed: &Parsed<'_>, teller: &mut dyn Teller) {
        let error = |part, what| Remark::at(line, part, (Form::Both, Weight::Error, what));
        match parsed {
            Parsed::Nothing => {
                if let Some(remark) = advice::comment(line) {
                    teller.remark(&remark);
                }
            }
            Parsed::NoColon => {
                let mut remark = error(Some(line.text.trim_ascii()), What::NoColon);
                if line.text.trim_ascii().starts_with(b"#") {
                    let hash = ours(Weight::Warning, Advice::HashInLine);
                    teller.remark(&Remark::at(line, Some(line.text.trim_ascii()), hash));
                    remark.form = Form::Both;
                }
                teller.remark(&remark);
            }
            Parsed::Malformed(malformed) => {
                teller.remark(&error(Some(malformed.at), What::Malformed(malformed.flaw)));
            }
            Parsed::Rule(rule) => self.rule(which, line, rule, teller),
        }
    }

    fn rule(&mut self, which: Which, line: &Line<'_>, rule: &Rule<'_>, teller: &mut dyn Teller) {
        teller.rule(line);
        let mut remarks = Vec::new();
        advice::rule_text(line, rule, &mut remarks);
        teller.daemons(rule.daemons.0);
        self.daemons(line, rule.daemons, &mut remarks);
        tell(&mut remarks, teller);
        teller.clients(rule.clients.0);
        self.clients(line, rule.clients, &mut remarks);
        tell(&mut remarks, teller);

        let typed = rule.options.map_or(Ok(Vec::new()), |text| options::steps(text, self.world.ask()));
        let failed = typed.as_ref().err().map(|(at, flaw)| (*at, flaw.clone()));
        let steps = typed.unwrap_or_default();
        self.options(line, rule, &steps, failed, teller);
        let last = steps.last().map(|step| &step.deed);
        let decided = matches!(last, Some(Deed::Allow | Deed::Deny | Deed::Twist));
        let is_error = rule.options.is_some() && steps.is_empty();
        if self.implicit_allow && which == Which::Allow && !decided && !is_error {
            let saying = (Form::Both, Weight::Advice, What::ImplicitAllow);
            teller.remark(&Remark::at(line, Some(line.text.trim_ascii()), saying));
        }
        let granted = match last {
            _ if is_error => false,
            Some(Deed::Allow) => true,
            Some(Deed::Deny) => false,
            _ => which == Which::Allow,
        };
        for (at, saying) in deeds::of_rule(which, rule, &steps) {
            teller.remark(&Remark::at(line, Some(at), saying));
        }
        let may_go_on = which == Which::Deny && !decided && steps.iter().any(|s| s.deed == Deed::Aclexec);
        if let Some(by) = self.coverage.rule(rule, (which, line.number), !may_go_on) {
            let saying = ours(Weight::Warning, Advice::Unreachable { by });
            teller.remark(&Remark::at(line, Some(line.text.trim_ascii()), saying));
        }
        teller.access(granted);
    }

    fn daemons(&mut self, line: &Line<'_>, list: List<'_>, remarks: &mut Vec<Remark>) {
        for item in list.items() {
            let Item::Word(word) = item else { continue };
            let (process, host) = patterns::parts(word);
            if let Some(host) = host {
                let addresses = self.host(line, host, false, remarks);
                if addresses > 1 {
                    let what = What::Word(WordFlaw::ManyAddresses(host.to_vec()));
                    remarks.push(Remark::at(line, Some(host), (Form::Both, Weight::Warning, what)));
                }
            }
            let (said, may_be_known) = patterns::daemon(process);
            let known = may_be_known.then(|| self.known(process)).flatten();
            for saying in said.into_iter().chain(known) {
                remarks.push(Remark::at(line, Some(process), saying));
            }
        }
        remarks.extend(advice::list_end(list, false).map(|said| Remark::at(line, Some(list.0), said)));
    }

    /// Whether inetd knows a daemon, and starts it through us.
    fn known(&mut self, process: &[u8]) -> Option<Saying> {
        let service = self.services.named(process);
        if service.is_some_and(|service| service.wrapped) || !self.told.insert(process.to_ascii_lowercase()) {
            return None;
        }
        let name = process.to_vec();
        if service.is_some() {
            return Some((Form::Both, Weight::Warning, What::Word(WordFlaw::NotWrapped(name))));
        }
        let names = self.services.services.iter().map(|service| service.process.as_slice());
        let nearest = nearest(process, names).map(<[u8]>::to_vec);
        // Servers that need no inetd are many; a name that is nearly right is rarely one of them.
        let weight = if nearest.is_some() { Weight::Warning } else { Weight::Advice };
        // Globs and ports are right, whatever the reference says.
        let is_name =
            process.iter().any(|byte| !byte.is_ascii_digit()) && !process.iter().any(|b| b"*?[".contains(b));
        let form = if is_name { Form::Both } else { Form::Reference };
        let file = self.services.file_text().to_vec();
        Some((form, weight, What::Word(WordFlaw::NoProcess { name, file, nearest })))
    }

    fn clients(&mut self, line: &Line<'_>, list: List<'_>, remarks: &mut Vec<Remark>) {
        // To the reference's checker, though not to its library, a carriage return is part of a word.
        let mut commented = false;
        for raw in list.0.split(|&byte| is_separator(byte) && byte != b'\r').filter(|raw| !raw.is_empty()) {
            let start = remarks.len();
            commented |= raw.starts_with(b"#");
            for item in List(raw).items() {
                if let Item::Word(word) = item {
                    self.client(line, word, remarks);
                }
            }
            if commented {
                // That it is no comment has been said, and is enough.
                let mut kept = remarks.split_off(start);
                kept.retain(|remark| remark.form != Form::Ours);
                kept.iter_mut().for_each(|remark| remark.form = Form::Reference);
                remarks.extend(kept);
            }
            if raw.contains(&b'\r') {
                for remark in remarks.iter_mut().skip(start) {
                    remark.form = if remark.form == Form::Both { Form::Ours } else { remark.form };
                }
                let what = What::Word(WordFlaw::NotFound(raw.to_vec()));
                remarks.push(Remark::at(line, Some(raw), (Form::Reference, Weight::Warning, what)));
            }
        }
        remarks.extend(advice::list_end(list, true).map(|said| Remark::at(line, Some(list.0), said)));
    }

    fn client(&mut self, line: &Line<'_>, word: &[u8], remarks: &mut Vec<Remark>) {
        let (left, right) = patterns::parts(word);
        let (user, host) = right.map_or((None, left), |host| (Some(left), host));
        let said = user.and_then(patterns::user);
        remarks.extend(said.map(|saying| Remark::at(line, user, saying)));
        self.host(line, host, false, remarks);
        let [name_said, user_said] = self.asks;
        let new = [!name_said && patterns::needs_name(host), !user_said && user.is_some()];
        if new == [false; 2] || word.starts_with(b"#") {
            return;
        }
        for ((new, said), of_user) in new.into_iter().zip(&mut self.asks).zip([false, true]) {
            if new {
                *said = true;
                let advice = Advice::Asks { word: word.to_vec(), user: of_user };
                remarks.push(Remark::at(line, Some(word), ours(Weight::Advice, advice)));
            }
        }
    }

    /// A word for a host; how many addresses it has, where it is a name.
    fn host(&mut self, line: &Line<'_>, word: &[u8], in_file: bool, remarks: &mut Vec<Remark>) -> usize {
        let (said, next) = patterns::host(word, in_file);
        remarks.extend(said.into_iter().map(|saying| Remark::at(line, Some(word), saying)));
        match next {
            Next::Nothing => 0,
            Next::Netgroup(group) => {
                let said = self.world.netgroup(group);
                remarks.extend(said.map(|saying| Remark::at(line, Some(word), saying)));
                0
            }
            Next::Host(host) => {
                let (said, addresses) = self.world.host(host);
                remarks.extend(said.into_iter().map(|saying| Remark::at(line, Some(word), saying)));
                addresses
            }
            Next::File(path) => {
                self.pattern_file(line, path, remarks);
                0
            }
        }
    }

    fn pattern_file(&mut self, line: &Line<'_>, path: &[u8], remarks: &mut Vec<Remark>) {
        let file: Arc<Path> = Arc::from(Path::new(OsStr::from_bytes(path)));
        let text = match self.world.open_list(&file) {
            Ok(text) => text,
            Err(saying) => return remarks.push(Remark::at(line, Some(path), saying)),
        };
        remarks.extend(self.changeable(&file).map(|saying| Remark::at(line, Some(path), saying)));
        for (number, text) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            let line = Line { text, file: &file, number, joins: &[] };
            let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            for word in words {
                self.host(&line, word, true, remarks);
            }
        }
        self.world.close_list(&file);
    }

    /// Options up to the one that is wrong, if one is.
    fn options(
        &mut self,
        line: &Line<'_>,
        rule: &Rule<'_>,
        steps: &[Step],
        failed: Option<(&[u8], OptionFlaw)>,
        teller: &mut dyn Teller,
    ) {
        let Some(text) = rule.options else { return };
        let ends = (stated(b"client_addr", b"client_hostname"), stated(b"server_addr", b"server_hostname"));
        let daemon = DaemonName::stated(b"daemon_name");
        let request =
            Request::new(daemon, std::process::id(), Transport::Stream, ends, &crate::facts::Stated)
                .by_user(Fact::Known(UserName::stated(b"user_name")));
        for (number, field) in options::fields(text).enumerate() {
            let wrong = failed.as_ref().filter(|(at, _)| std::ptr::eq(*at, field.at));
            if let Some((at, flaw)) = wrong {
                let is_typed = matches!(
                    flaw,
                    OptionFlaw::BadValue { .. } | OptionFlaw::UnknownUser(_) | OptionFlaw::UnknownGroup(_)
                );
                if is_typed {
                    teller.option(&field.name, &field.value);
                }
                let saying = (Form::Both, Weight::Error, What::Option(flaw.clone()));
                return teller.remark(&Remark::at(line, Some(at), saying));
            }
            self.option(line, &field, steps.get(number), &request, teller);
        }
    }

    fn option(
        &mut self,
        line: &Line<'_>,
        field: &Field<'_>,
        step: Option<&Step>,
        request: &Request<'_>,
        teller: &mut dyn Teller,
    ) {
        let named = |name: &str| field.name.eq_ignore_ascii_case(name.as_bytes());
        let is_command = named("spawn") || named("twist") || named("aclexec");
        let mut value = field.value.clone();
        if is_command || named("setenv") {
            value = self.expanded(line, field, &field.value, request, teller);
        }
        teller.option(&field.name, trim(&value));
        if is_command {
            for program in deeds::programs(&field.value) {
                let at = field.at.windows(program.len().max(1)).find(|part| *part == program);
                for saying in self.program(program) {
                    teller.remark(&Remark::at(line, at.or(Some(field.at)), saying));
                }
            }
        }
        if step.is_some_and(|step| step.deed == Deed::Banners) || named("banners") {
            self.banners(line, field, request, teller);
        }
    }

    fn expanded(
        &self,
        line: &Line<'_>,
        field: &Field<'_>,
        text: &[u8],
        request: &Request<'_>,
        teller: &mut dyn Teller,
    ) -> Vec<u8> {
        let Ok(expanded) = expand(text, request) else {
            let saying = (Form::Both, Weight::Error, What::TooLong(text.to_vec()));
            teller.remark(&Remark::at(line, Some(field.at), saying));
            return Vec::new();
        };
        for letter in expanded.unknown {
            let saying = (Form::Both, Weight::Warning, What::UnknownLetter(letter));
            teller.remark(&Remark::at(line, Some(field.at), saying));
        }
        expanded.text
    }

    /// Whether a command's program is there, and who may change it.
    fn program(&mut self, program: &[u8]) -> Vec<Saying> {
        if !self.seen.insert([b"program ", program].concat()) {
            return Vec::new();
        }
        match world::find_program(program) {
            Ok(path) => self.changeable(&path).into_iter().collect(),
            Err(reason) => {
                let advice = Advice::NoProgram { program: program.to_vec(), reason };
                vec![ours(Weight::Warning, advice)]
            }
        }
    }

    /// The banner of a service that is called `daemon_name`, and the directory of them all.
    fn banners(
        &mut self,
        line: &Line<'_>,
        field: &Field<'_>,
        request: &Request<'_>,
        teller: &mut dyn Teller,
    ) {
        let directory = PathBuf::from(OsStr::from_bytes(&field.value));
        match actions::banner(&directory, b"daemon_name") {
            Banner::Text(text) => {
                for text in text.split_inclusive(|&byte| byte == b'\n') {
                    let text = text.strip_suffix(b"\n").unwrap_or(text);
                    let text = self.expanded(line, field, text, request, teller);
                    teller.banner(&text);
                }
            }
            Banner::Absent => {}
            Banner::Trouble(reason) => {
                let what = What::Passed { tried: directory.display().to_string(), reason };
                teller.remark(&Remark::at(line, Some(field.at), (Form::Both, Weight::Warning, what)));
            }
        }
        if let Some(saying) = self.changeable(&directory) {
            teller.remark(&Remark::at(line, Some(field.at), saying));
        }
    }
}

fn tell(remarks: &mut Vec<Remark>, teller: &mut dyn Teller) {
    for remark in remarks.drain(..) {
        teller.remark(&remark);
    }
}

/// An end of the connection that the reference's checker makes up.
fn stated(address: &[u8], name: &[u8]) -> Endpoint {
    Endpoint::new(Fact::Known(address.to_vec()), None).named(Fact::Known(HostName::stated(name)))
}
