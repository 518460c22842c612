//! Generated tables against generated requests: whichever way the rules are found (as text, by an image, by
//! an image that keeps pattern files open), the same is decided, for the same reason, after the same
//! questions. And what must hold of any decision: it comes to an end, is the one that is explained and
//! told, is not changed by what stands behind the rule that decided nor by printing every rule anew, is
//! not opened by `strict`, and is the one of the gate that numbers alone open.
//!
//! The input is text in parts, separated by bytes 0x1e: the facts, hosts.allow, hosts.deny, a pattern file,
//! members of netgroups. A byte above 127 stands for a whole word or line of [`WORDS`]; so what is changed
//! at random is still a table. `DIR` is the directory of the files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use wrap::compile::{Observer, write};
use wrap::error::NameDoubt;
use wrap::explain::{self, Course, Limits};
use wrap::facts::{
    Ask, DaemonName, Fact, HostName, Identity, ListEnd, Membership, NoSuch, Side, Sought, UserName,
    stated_name, stated_user,
};
use wrap::hosts::Host;
use wrap::listen::gate::{Answer, Gate};
use wrap::logline::{Caller, Line as LogLine};
use wrap::narrator::{Manner, account, written_in_file};
use wrap::rules::{Entry, Line, Parsed, Table, Which, grammar};
use wrap::settings::Settings;
use wrap::sys::process;
use wrap::sys::socket::{End, Ends, address_text};
use wrap::tables::TextTable;
use wrap::tables::image::{Image, RuleTable, word_list_for};
use wrap::verdict::{Access, Because, Decision, IfNot, Tables, decide};
use wrap::witness::{Facts, Ports, Question, Witness};

/// What the bytes from 128 on stand for, in this order; the others stand for themselves.
#[rustfmt::skip]
const WORDS: [&str; 120] = [
    "ALL: ", "in.testd: ", "sshd: ", "ALL EXCEPT sshd: ", "in.*: ", "21: ", "in.testd@10.1.2.1: ",
    "sshd@srv.example.com in.testd@ALL: ", "KNOWN: ", "ALL@LOCAL: ", "22 sshd: ", "in.testd@[::]/0: ",
    "ALL", "LOCAL", "KNOWN", "UNKNOWN", "PARANOID", " EXCEPT ", ", ", " ", "\n", " \\\n", "# ", ":", "10.",
    "10.1.", "10.1.2.3", "10.1.2.4", "10.1.2.3/8", "10.0.0.0/8", "10.1.2.0/24", "10.0.0.0/255.0.0.0",
    "10.1.2.3/32", "0.0.0.0/0", "0.0.0.0/0.0.0.0", "192.0.2.0/24", "192.0.2.7", "192.0.2.7/255.255.255.0",
    "255.255.255.255", "10.1.2.0/33", "[2001:db8::]/32", "[2001:db8::7]", "[2001:db8::]/", "[::]/0",
    "[::ffff:10.1.2.3]", "[::ffff:10.0.0.0]/104", "2001:db8::7", "2001:db8::/32", "::1", "[::1]/x",
    "[fe80::1%lo]", "[fe80::]/10", "fe80::1%lo", "[", "]", "\0", "\u{e9}", "\t", ".example.com",
    ".EXAMPLE.com", ".com", "host.example.com", "Host.Example.Com", "example.com", "host.", "host.example.",
    "*.example.*", "h?st.*", "*", "?", "**", "10.*", "*2.3", "2001:*", "foo", "f*", "srv", "cafe",
    "deadbeef", "unknown", "paranoid", "joe@", "KNOWN@", "UNKNOWN@", "joe@ALL", "j*@.example.com",
    "joe@10.1.2.3/8", "ALL@", "@", "@staff", "@none", "@slow", "DIR/words", "DIR/missing", "DIR", "/",
    "/dev/null/x", "joe@DIR/words", "in.testd@@staff", ": allow", ": deny", ": ALLOW", ": twist echo %h",
    ": spawn echo %u@%n \\: %d", ": aclexec true", ": nice 2", ": user nobody", ": user nosuch",
    ": group 7", ": setenv A %u", ": umask 9", ": rfc931", ": rfc931 3", ": severity mail.info", ": bogus",
    ": keepalive", ": linger 5", "no colon\n", "ALL: [: deny\n", "ALL: ALL\n",
];

fn expanded(part: &[u8], directory: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    for &byte in part {
        match byte.checked_sub(128).and_then(|number| WORDS.get(usize::from(number))) {
            Some(word) => text.extend_from_slice(word.as_bytes()),
            None => text.push(byte),
        }
    }
    let mut out = Vec::new();
    let mut left = text.as_slice();
    while let Some(at) = left.windows(3).position(|three| three == b"DIR") {
        out.extend([&left[..at], directory.as_os_str().as_bytes()].concat());
        left = &left[at + 3..];
    }
    out.extend_from_slice(left);
    out
}

/// The files of one run of this program.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        sweep(&base);
        let directory = base.join(format!("tcpd-fuzz-{}-verdict", std::process::id()));
        DirBuilder::new().mode(0o755).create(&directory).expect("a directory");
        Place(directory)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Removes what earlier runs left, which end without a word.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix("tcpd-fuzz-").and_then(|rest| rest.split('-').next());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

struct Silent;

impl Observer for Silent {
    fn progress(&mut self, _: &Path, _: u64) {}
    fn remark(&mut self, _: String) {}
}

/// What is asked of the machine: netgroups and files out of the input, one account, one interface.
struct Machine<'i> {
    image: Option<&'i Image>,
    members: &'i [u8],
}

impl Ask for Machine<'_> {
    fn name(&self, _: Side, _: &mut Vec<NameDoubt>) -> Fact<HostName> {
        unreachable!("the witness knows the names")
    }
    fn user(&self, _: u32) -> Fact<UserName> {
        unreachable!("the witness knows the user")
    }
    fn in_netgroup(&self, group: &[u8], host: &[u8]) -> Membership {
        let is_member = |line: &[u8]| line.eq_ignore_ascii_case(&[group, b" ", host].concat());
        match group {
            b"slow" => Membership::TooSlow(5000),
            _ if self.members.split(|&byte| byte == b'\n').any(is_member) => Membership::Yes,
            _ => Membership::No,
        }
    }
    fn word_list(&self, path: &[u8], sought: &dyn Sought, visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
        word_list_for(self.image, Path::new(OsStr::from_bytes(path)), sought, visit)
    }
    fn identity(&self, user: Option<&[u8]>, group: Option<&[u8]>) -> Result<Identity, NoSuch> {
        match (user, group) {
            (Some(b"nobody"), None) => Ok(Identity {
                user: b"nobody".to_vec(),
                uid: Some(65534),
                gid: Some(65534),
                groups: Vec::new(),
            }),
            (None, Some(b"7")) => Ok(Identity { gid: Some(7), ..Identity::default() }),
            (Some(_), _) => Err(NoSuch::User),
            (None, _) => Err(NoSuch::Group),
        }
    }
    fn interface_exists(&self, name: &[u8]) -> bool {
        name == b"lo"
    }
}

/// A table in memory.
struct Lines {
    file: Arc<Path>,
    lines: Vec<Vec<u8>>,
    next: usize,
}

impl Table for Lines {
    fn next(&mut self) -> Entry<'_> {
        let Some(text) = self.lines.get(self.next) else { return Entry::End };
        self.next += 1;
        let number = u32::try_from(self.next).expect("few lines");
        Entry::Line(Line { text, file: &self.file, number, joins: &[] }, grammar::line(text))
    }
    fn rewind(&mut self) {
        self.next = 0;
    }
}

/// The facts: words between blanks, in this order. What is missing has a value of its own.
fn facts(text: &[u8]) -> (Facts, bool) {
    let mut words = text.split(|&byte| byte == b' ');
    let mut word =
        |usual: &'static str| words.next().filter(|word| !word.is_empty()).unwrap_or(usual.as_bytes());
    let address = |text: &[u8]| match text {
        b"unknown" => Fact::Unknown,
        text => Fact::Known(text.to_vec()),
    };
    let daemon = DaemonName::stated(word("in.testd"));
    let client =
        Host { address: address(word("10.1.2.3")), name: stated_name(Some(word("host.example.com"))) };
    let user = stated_user(word("joe"));
    let port = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
    let local = port(word("21"));
    let server =
        Host { address: address(word("10.1.2.1")), name: stated_name(Some(word("srv.example.com"))) };
    let is_crowded = word("-") == b"crowd";
    let ports = Ports { client: Some(4711), server: local };
    (Facts { daemon, client, server, user, ports }, is_crowded)
}

/// Everything that is decided until it is settled, each with what was asked for it.
type Decided = Vec<(Decision, Vec<Question>)>;

fn decided(facts: &Facts, machine: &Machine<'_>, tables: &mut Tables<'_>, most: usize) -> Decided {
    let witness = Witness::new(facts, machine);
    let request = facts.fresh(1, &witness, false);
    let mut decisions = Vec::new();
    loop {
        let decision = decide(tables, &request);
        let goes_on = decision.if_not == IfNot::GoOn;
        decisions.push((decision, witness.take()));
        assert!(decisions.len() <= most, "it never ends");
        if !goes_on {
            return decisions;
        }
    }
}

/// What is decided and done, wherever it stands.
fn deeds(decided: &Decided) -> Vec<impl PartialEq + std::fmt::Debug> {
    let why = |because: &Because| match because {
        Because::Rule(which, _) => Some(*which == Which::Allow),
        Because::NoRule => None,
        Because::Trouble => Some(false),
    };
    let deed = |(d, asked): &(Decision, Vec<Question>)| {
        (d.access, why(&d.because), d.plan.clone(), d.if_not, asked.clone())
    };
    decided.iter().map(deed).collect()
}

/// The lines of a table, each rule printed anew; None where it cannot be read to its end.
fn printed(path: &Path) -> Option<Lines> {
    let mut table = TextTable::new(path);
    let mut lines = Vec::new();
    loop {
        match table.next() {
            Entry::Line(line, parsed) => {
                let mut text = Vec::new();
                match parsed {
                    Parsed::Rule(rule) => rule.print(&mut text),
                    _ => text.extend_from_slice(line.text),
                }
                lines.push(text);
            }
            Entry::End => return Some(Lines { file: Arc::from(path), lines, next: 0 }),
            Entry::Broken(_) => return None,
            Entry::Again => lines.clear(),
        }
    }
}

struct Case<'c> {
    allow: PathBuf,
    deny: PathBuf,
    facts: Facts,
    members: &'c [u8],
    most: usize,
}

impl Case<'_> {
    fn machine<'m>(&'m self, image: Option<&'m Image>) -> Machine<'m> {
        Machine { image, members: self.members }
    }

    fn by(&self, image: Option<&Image>, strict: bool) -> Decided {
        let (mut allow, mut deny) = (RuleTable::new(&self.allow, image), RuleTable::new(&self.deny, image));
        let mut tables = Tables::new(&mut allow, &mut deny, strict);
        decided(&self.facts, &self.machine(image), &mut tables, self.most)
    }

    /// Text and image, one that is opened anew for each client and one that is kept.
    fn agree_with_images(&self, image: &Path, text: &Decided) {
        let open = || Image::from_file(image, File::open(image).expect("opens")).expect("whole");
        assert_eq!(&self.by(Some(&open()), false), text);
        let kept = open().keeping(16);
        assert_eq!(&self.by(Some(&kept), false), text);
        assert_eq!(&self.by(Some(&kept), false), text, "once more");
        assert!(!kept.has_damage());
    }

    /// Where numbers alone decide, it is what would be decided anyway.
    fn agree_with_gate(&self, image: &Path, decided: &Decided) {
        let end = |host: &Host, port: Option<u16>| {
            let Fact::Known(text) = &host.address else { return None };
            let text = std::str::from_utf8(text).ok()?;
            let address = SocketAddr::new(text.parse::<IpAddr>().ok()?, port?);
            (address_text(address) == text).then(|| End::Inet(address, text.to_owned()))
        };
        let Facts { daemon, client, server, ports, .. } = &self.facts;
        let (Some(client), Some(server)) = (end(client, ports.client), end(server, ports.server)) else {
            return;
        };
        let files = (self.allow.as_path(), self.deny.as_path());
        if Image::wanted_whole(Some(image), false, files, process::caller).is_err() {
            // Otherwise the gate would start a child that makes one.
            return;
        }
        let settings = Settings {
            hosts_allow: self.allow.clone(),
            hosts_deny: self.deny.clone(),
            image: Some(image.to_path_buf()),
            ..Settings::default()
        };
        let mut gate = Gate::new(daemon.as_ref(), &settings, false);
        let complaint = gate.kept.as_mut().expect("open").fetch(Instant::now(), &[]);
        assert_eq!(complaint, None);
        let ends = Ends { client, server, datagram: false };
        for _ in 0..2 {
            let Some(answer) = gate.answer_between(&ends) else { return };
            let (decision, asked) = &decided[0];
            let machine = self.machine(None);
            let witness = Witness::new(&self.facts, &machine);
            let caller = Caller::of(&self.facts.fresh(process::pid(), &witness, false));
            let (access, line, entry) = match answer {
                Answer::Served(entry) => (Access::Permit, LogLine::Connect(caller), entry),
                Answer::Refused(entry) => (Access::Deny, LogLine::Refused(caller), entry),
            };
            assert_eq!((decision.access, line.print()), (access, entry.text));
            assert!(decision.plan.is_empty() && decision.remarks.is_empty());
            assert!(asked.iter().all(|asked| matches!(asked, Question::File(_))));
        }
    }

    /// What is told and explained is what was decided.
    fn agree_with_story(&self, decided: &Decided) {
        let machine = self.machine(None);
        let witness = Witness::new(&self.facts, &machine);
        let request = self.facts.fresh(process::pid(), &witness, false);
        let manner = Manner { refuses: false, paranoid: false, always: false, strict: false, facility: 3 };
        let (mut allow, mut deny) = (TextTable::new(&self.allow), TextTable::new(&self.deny));
        let story = account(manner, (&mut allow, &mut deny), &request, &written_in_file);
        witness.take();
        let (decision, asked) = &decided[0];
        assert_eq!((story.decision.access, &story.decision.because), (decision.access, &decision.because));
        assert_eq!(story.decision.plan, decision.plan);
        let mut object = Vec::new();
        explain::brief::print(None, &story, &mut object);
        let object: serde_json::Value = serde_json::from_slice(&object).expect("JSON");
        assert_eq!(object.get("access").and_then(|word| word.as_str()), Some(story.verdict.word()));

        allow.rewind();
        deny.rewind();
        let limits = Limits { names: 5, resolves: true, paranoid: false };
        let explanation = explain::explain(&story, (&mut allow, &mut deny), (&self.facts, &witness), limits);
        let considered = || explanation.tables.iter().flat_map(|search| &search.rules);
        let places = considered().filter(|rule| rule.course == Course::Decides).map(|rule| &rule.place);
        let decided_by: Vec<_> = match &decision.because {
            Because::Rule(_, place) => vec![place],
            Because::NoRule | Because::Trouble => Vec::new(),
        };
        assert_eq!(places.collect::<Vec<_>>(), decided_by);
        let is_whole = explanation.tables.iter().all(|search| search.left_out == 0);
        if is_whole && decision.because != Because::Trouble {
            let again: Vec<_> =
                considered().flat_map(|rule| &rule.words).flat_map(|word| word.asked.clone()).collect();
            assert_eq!(&again, asked);
        }
        let _ = explain::json::object(&explanation, &[]).to_string();
        let mut screen = explain::screen::Screen::new(false);
        explain::screen::print(&explanation, &mut screen);
        let shown = screen.into_text();
        assert!(!shown.iter().any(|byte| byte.is_ascii_control() && !b"\n\t".contains(byte)), "{shown:?}");
    }
}

fuzz_target!(|input: &[u8]| {
    static PLACE: OnceLock<Place> = OnceLock::new();
    let place = PLACE.get_or_init(Place::new);
    let mut parts = input.split(|&byte| byte == 0x1e).map(|part| expanded(part, &place.0));
    let mut part = || parts.next().unwrap_or_default();
    let ((facts, is_crowded), mut allow, deny, words) = (facts(&part()), part(), part(), part());
    if is_crowded {
        // Enough for several blocks and lists of an image.
        let line = |n: u32| format!("none: 10.{}.2.3 .h{}.example.com\n", n % 7, n % 11).into_bytes();
        allow = [(0..400).flat_map(line).collect(), allow].concat();
    }
    for (name, text) in [("allow", &allow), ("deny", &deny), ("words", &words)] {
        fs::write(place.file(name), text).expect("writes");
    }
    let most =
        [&allow, &deny].iter().map(|text| text.split(|&byte| byte == b'\n').count()).sum::<usize>() + 1;
    let members = part();
    let case = Case { allow: place.file("allow"), deny: place.file("deny"), facts, members: &members, most };
    let by_text = case.by(None, false);

    let mut image = Vec::new();
    if let Ok(Some(_)) = write([&case.allow, &case.deny], Duration::ZERO, &mut image, &mut Silent) {
        let path = place.file("image");
        fs::write(&path, &image).expect("writes");
        case.agree_with_images(&path, &by_text);
        case.agree_with_gate(&path, &by_text);
    }
    case.agree_with_story(&by_text);

    // The strict way grants nothing more, and finds either trouble or the same.
    for ((strict, _), (lax, _)) in case.by(None, true).iter().zip(&by_text) {
        if strict.because == Because::Trouble {
            assert_eq!(strict.access, Access::Deny);
            break;
        }
        assert_eq!((strict.access, &strict.because, &strict.plan), (lax.access, &lax.because, &lax.plan));
    }

    if let (Some(mut allow), Some(mut deny)) = (printed(&case.allow), printed(&case.deny)) {
        let mut tables = Tables::new(&mut allow, &mut deny, false);
        let again = decided(&case.facts, &case.machine(None), &mut tables, most);
        assert_eq!(deeds(&again), deeds(&by_text));
    }

    // What stands behind the rule that decided does not matter.
    if let Because::Rule(which, _) = &by_text[0].0.because {
        let (name, text) = if *which == Which::Allow { ("allow", &allow) } else { ("deny", &deny) };
        if text.ends_with(b"\n") {
            fs::write(place.file(name), [text.as_slice(), b"\nALL: ALL\nALL: ALL: deny\n"].concat())
                .expect("writes");
            let longer = Case { most: most + 3, ..case }.by(None, false);
            assert_eq!(longer[0], by_text[0]);
        }
    }
});
