//! What do the databases and the disk say about a word?
//!
//! Every name is looked up once, and no more than [`LOOKUPS_MAX`] of them or for longer than
//! [`PATIENCE`]: a table of a million names must not hold up whoever checks it for a day. Tables of more
//! than [`LARGE`] come from programs, not from people: there the patience is short, and addresses are
//! not looked up at all. What was not looked up is said, once.

#![forbid(unsafe_code)]

use crate::advice::{Form, Saying, ours};
use crate::error::{Advice, Dead, NameDoubt, Weight, What, WordFlaw, reason};
use crate::facts::{Ask, Fact};
use crate::lookup::{Live, checked_name};
use crate::rules::grammar::address4;
use crate::sys::file::{Opened, open};
use crate::sys::netdb::{self, within};
use crate::sys::socket::address_text;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LOOKUPS_MAX: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(20);
const PATIENCE_LARGE: Duration = Duration::from_millis(500);
/// Bytes.
const LARGE: u64 = 1 << 20;
/// For one name.
const BUDGET: Duration = Duration::from_secs(5);
/// As deep as matching follows them.
const DEPTH_MAX: usize = 8;
/// Longest pattern file that is inspected, bytes.
const LIST_MAX: u64 = 1 << 26;
/// Where a command without a slash is looked for.
const PROGRAMS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

pub struct World {
    live: Live<'static>,
    /// Addresses are looked up, too.
    addresses: bool,
    hosts: HashMap<Vec<u8>, (Vec<Saying>, usize)>,
    patience: Duration,
    begun: Option<Instant>,
    stopped: bool,
    /// The pattern files that are being read, outermost first.
    lists: Vec<Arc<Path>>,
}

fn say(form: Form, flaw: WordFlaw) -> Saying {
    (form, Weight::Warning, What::Word(flaw))
}

impl World {
    /// For some tables. `addresses`: they are looked up, too.
    pub fn new(addresses: bool, tables: &[&Path]) -> World {
        let is_large = |table: &&Path| std::fs::metadata(table).is_ok_and(|meta| meta.len() > LARGE);
        let large = tables.iter().any(is_large);
        World {
            live: Live::new((None, None), true, BUDGET),
            addresses: addresses && !large,
            patience: if large { PATIENCE_LARGE } else { PATIENCE },
            hosts: HashMap::new(),
            begun: None,
            stopped: false,
            lists: Vec::new(),
        }
    }

    pub fn ask(&self) -> &dyn Ask {
        &self.live
    }

    pub fn netgroup(&self, group: &[u8]) -> Option<Saying> {
        let asked = group.to_vec();
        let there = within(Instant::now() + BUDGET, move || netdb::netgroup_exists(&asked));
        let empty = || say(Form::Both, WordFlaw::EmptyNetgroup(group.to_vec()));
        (there != Some(true)).then(empty)
    }

    /// What is to be said about a host, and how many addresses it has.
    pub fn host(&mut self, word: &[u8]) -> (Vec<Saying>, usize) {
        // The reference takes these two for no address at all.
        if address4(word) == Some(0) || word == b"255.255.255.255" {
            return (Vec::new(), 0);
        }
        let is_number = word.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
        if is_number && !self.addresses {
            return (Vec::new(), 0);
        }
        if let Some(known) = self.hosts.get(word) {
            return known.clone();
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        if self.hosts.len() >= LOOKUPS_MAX || begun.elapsed() > self.patience {
            let stopped =
                (Form::Both, Weight::Advice, What::Advice(Advice::LookupsStopped(self.hosts.len())));
            let first = !std::mem::replace(&mut self.stopped, true);
            return (first.then_some(stopped).into_iter().collect(), 0);
        }
        let found = self.look_up(word, is_number);
        self.hosts.insert(word.to_vec(), found.clone());
        found
    }

    fn look_up(&self, word: &[u8], is_number: bool) -> (Vec<Saying>, usize) {
        // What cannot be a name is said better elsewhere.
        let form = if is_number || word.starts_with(b"#") { Form::Reference } else { Form::Both };
        let mut said = Vec::new();
        if let Some(address) = address4(word) {
            self.name_of(SocketAddr::from((Ipv4Addr::from(address), 0)), &mut said);
            return (said, 1);
        }
        let name = std::str::from_utf8(word).ok().filter(|name| !name.is_empty()).map(str::to_owned);
        let found = name.and_then(|name| within(Instant::now() + BUDGET, move || netdb::forward_any(&name))?);
        let Some((official, mut addresses)) = found else {
            return (vec![say(form, WordFlaw::NotFound(word.to_vec()))], 0);
        };
        addresses.sort_unstable();
        addresses.dedup();
        let official = official.unwrap_or_default().into_bytes();
        if !is_number && !official.is_empty() && !official.eq_ignore_ascii_case(word) {
            said.push(say(Form::Both, WordFlaw::Alias { host: word.to_vec(), official }));
        }
        for address in &addresses {
            self.name_of(*address, &mut said);
        }
        (said, addresses.len())
    }

    fn name_of(&self, address: SocketAddr, said: &mut Vec<Saying>) {
        let mut doubts = Vec::new();
        let name = checked_name(address, BUDGET, &mut doubts);
        let doubt = |doubt: NameDoubt| (Form::Both, Weight::Warning, What::Name(doubt));
        said.extend(doubts.into_iter().map(doubt));
        if name == Fact::Unknown {
            said.push(say(Form::Reference, WordFlaw::NoName(address_text(address))));
        }
    }

    /// The text of a pattern file, which is then open until [`World::close_list`]; or what is wrong.
    pub fn open_list(&mut self, path: &Arc<Path>) -> Result<Vec<u8>, Saying> {
        let name = || path.as_os_str().as_bytes().to_vec();
        let trouble =
            |form, reason: String| (form, Weight::Error, What::PatternFile { file: name(), reason });
        if self.lists.contains(path) {
            return Err(trouble(Form::Both, "it includes itself".to_owned()));
        }
        if self.lists.len() >= DEPTH_MAX {
            return Err(trouble(Form::Both, "nested too deeply".to_owned()));
        }
        let mut text = Vec::new();
        let read = match open(path) {
            Ok(Opened::Regular(file, _)) => file.take(LIST_MAX).read_to_end(&mut text),
            Ok(Opened::Nothing) if path.exists() => Ok(0),
            Ok(Opened::Nothing) => {
                return Err(ours(Weight::Warning, Advice::Dead { word: name(), why: Dead::NoFile }));
            }
            Err(cause) => Err(cause),
        };
        read.map_err(|cause| trouble(Form::Both, reason(&cause)))?;
        self.lists.push(Arc::clone(path));
        Ok(text)
    }

    pub fn close_list(&mut self, path: &Arc<Path>) {
        self.lists.retain(|open| open != path);
    }
}

/// The path of a program that a command names, or why there is none that can be executed.
pub fn find_program(program: &[u8]) -> Result<PathBuf, String> {
    let path = Path::new(OsStr::from_bytes(program));
    let candidates: Vec<PathBuf> = if program.contains(&b'/') {
        vec![path.to_path_buf()]
    } else {
        PROGRAMS.iter().map(|directory| Path::new(directory).join(path)).collect()
    };
    let mut why = "No such file or directory".to_owned();
    for path in candidates {
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => return Ok(path),
            Ok(_) => "Permission denied".clone_into(&mut why),
            Err(_) => {}
        }
    }
    Err(why)
}
