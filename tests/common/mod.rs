//! What several test programs share: an asker that answers from a script and counts the questions,
//! and a table in memory.
#![forbid(unsafe_code)]
#![allow(dead_code)]

use std::cell::Cell;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use wrap::error::NameDoubt;
use wrap::facts::{
    Ask, Endpoint, Fact, HostName, Identity, ListEnd, Membership, NoSuch, Side, Sought, UserName, stated_name,
};
use wrap::lookup::Live;
use wrap::rules::{Entry, Line, Table, grammar};

/// How often each kind of question was asked.
#[derive(Default)]
pub struct Asked {
    pub names: Cell<u32>,
    pub users: Cell<u32>,
    pub netgroups: Cell<u32>,
    pub files: Cell<u32>,
}

impl Asked {
    pub fn total(&self) -> u32 {
        [&self.names, &self.users, &self.netgroups, &self.files].iter().map(|cell| cell.get()).sum()
    }
}

fn count(cell: &Cell<u32>) {
    cell.set(cell.get() + 1);
}

/// Answers from a script: names and user as stated, netgroups from the text of a netgroup(5) file.
/// Files and accounts are those of this machine.
#[derive(Default)]
pub struct Scripted {
    pub client: Option<Vec<u8>>,
    pub server: Option<Vec<u8>>,
    pub user: Option<Vec<u8>>,
    pub netgroup: String,
    pub asked: Asked,
}

impl Scripted {
    fn group_holds(&self, group: &str, host: &str, seen: &mut HashSet<String>) -> bool {
        if !seen.insert(group.to_owned()) {
            return false;
        }
        let text = self.netgroup.replace("\\\n", " ");
        let named = |line: &&str| line.split_whitespace().next() == Some(group);
        let Some(line) = text.lines().find(named) else { return false };
        let mut rest = line.trim_start().get(group.len()..).unwrap_or("").trim_start();
        while !rest.is_empty() {
            if let Some((triple, behind)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
                // No user is asked for, and no domain is set: both fields match whatever they hold.
                let member = triple.split(',').next().unwrap_or("").trim();
                if member.is_empty() || member.eq_ignore_ascii_case(host) {
                    return true;
                }
                rest = behind.trim_start();
            } else {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                if self.group_holds(&rest[..end], host, seen) {
                    return true;
                }
                rest = rest[end..].trim_start();
            }
        }
        false
    }
}

impl Ask for Scripted {
    fn name(&self, side: Side, _: &mut Vec<NameDoubt>) -> Fact<HostName> {
        count(&self.asked.names);
        match side {
            Side::Client => stated_name(self.client.as_deref()),
            Side::Server => stated_name(self.server.as_deref()),
        }
    }

    fn user(&self, _: u32) -> Fact<UserName> {
        count(&self.asked.users);
        stated_user(self.user.as_deref())
    }

    fn in_netgroup(&self, group: &[u8], host: &[u8]) -> Membership {
        count(&self.asked.netgroups);
        let (group, host) = (String::from_utf8_lossy(group), String::from_utf8_lossy(host));
        if self.group_holds(&group, &host, &mut HashSet::new()) { Membership::Yes } else { Membership::No }
    }

    fn word_list(&self, path: &[u8], sought: &dyn Sought, visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
        count(&self.asked.files);
        machine().word_list(path, sought, visit)
    }

    fn identity(&self, user: Option<&[u8]>, group: Option<&[u8]>) -> Result<Identity, NoSuch> {
        machine().identity(user, group)
    }

    fn interface_exists(&self, name: &[u8]) -> bool {
        machine().interface_exists(name)
    }
}

/// The asker of this machine's files and accounts; no name is ever looked up through it.
fn machine() -> Live<'static> {
    Live::new((None, None), false, std::time::Duration::from_secs(1))
}

pub fn stated_user(text: Option<&[u8]>) -> Fact<UserName> {
    match text {
        None | Some(b"" | b"unknown") => Fact::Unknown,
        Some(text) => Fact::Known(UserName::stated(text)),
    }
}

/// An end with a stated address; `unknown` or none is no address.
pub fn endpoint(address: Option<&[u8]>, port: Option<u16>) -> Endpoint {
    let known = address.filter(|text| !matches!(*text, b"" | b"unknown"));
    let cut = |text: &[u8]| text[..text.len().min(127)].to_vec();
    Endpoint::new(known.map_or(Fact::Unknown, |text| Fact::Known(cut(text))), port)
}

/// A table in memory. Its text ends with a newline; lines are joined as in a file.
pub struct TextInMemory {
    file: Arc<Path>,
    lines: Vec<(Vec<u8>, u32, Vec<usize>)>,
    at: usize,
}

impl TextInMemory {
    pub fn new(name: &str, text: &[u8]) -> TextInMemory {
        let (mut lines, mut line, mut joins) = (Vec::new(), Vec::new(), Vec::new());
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        for (number, physical) in text.split(|&byte| byte == b'\n').enumerate() {
            match physical.strip_suffix(b"\\") {
                Some(piece) => {
                    line.extend_from_slice(piece);
                    joins.push(line.len());
                }
                None => {
                    line.extend_from_slice(physical);
                    let number = u32::try_from(number + 1).expect("few lines");
                    lines.push((std::mem::take(&mut line), number, std::mem::take(&mut joins)));
                }
            }
        }
        TextInMemory { file: Arc::from(Path::new(name)), lines, at: 0 }
    }
}

impl Table for TextInMemory {
    fn next(&mut self) -> Entry<'_> {
        let Some((text, number, joins)) = self.lines.get(self.at) else { return Entry::End };
        self.at += 1;
        Entry::Line(Line { text, file: &self.file, number: *number, joins }, grammar::line(text))
    }

    fn rewind(&mut self) {
        self.at = 0;
    }
}
