//! A compiled image says what the text says: the same decision, at the same place, with the same
//! remarks in the same order and the same questions asked. And a damaged one says what the text says,
//! too.
#![forbid(unsafe_code)]

#[path = "common/mod.rs"]
mod common;

use common::{endpoint, stated_user};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wrap::compile::{Observer, write};
use wrap::error::{NameDoubt, What};
use wrap::facts::{
    Ask, DaemonName, Fact, HostName, Identity, ListEnd, Membership, NoSuch, Request, Side, Sought, Transport,
    UserName, stated_name,
};
use wrap::rules::compiled::BLOCK;
use wrap::tables::image::{Image, NotUsed, RuleTable, word_list_for};
use wrap::verdict::{Access, Decision, IfNot, Tables, decide};
use xxhash_rust::xxh3::xxh3_64_with_seed;

// --------------------------------------------------------------------------------------- a place

/// A directory with two tables, three pattern files and an image.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let path = base.join(format!("tcpd-image-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a directory");
        Place(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn lay_out(&self, texts: &Texts) {
        for (name, text) in texts.files() {
            let text = String::from_utf8_lossy(text).replace("DIR", &self.0.display().to_string());
            fs::write(self.file(name), text).expect("writes");
        }
    }

    fn compile(&self) -> Vec<u8> {
        let (allow, deny) = (self.file("allow"), self.file("deny"));
        let mut image = Vec::new();
        let made = write([&allow, &deny], Duration::ZERO, &mut image, &mut Quiet).expect("compiles");
        assert!(made.is_some(), "nothing changed meanwhile");
        image
    }

    fn image(&self, bytes: &[u8]) -> Result<Image, NotUsed> {
        let path = self.file("image");
        fs::write(&path, bytes).expect("writes");
        Image::from_file(&path, File::open(&path).expect("opens"))
    }

    /// Everything that is decided about a request, by an image or by the text, until it is settled.
    fn decided(&self, facts: &Facts, image: Option<&Image>) -> (Vec<Decision>, Vec<&'static str>) {
        let asker = Asker { facts, image, asked: RefCell::default(), doubted: Cell::new(false) };
        let client = endpoint(Some(facts.address.as_bytes()), Some(4711));
        let client =
            if facts.stated { client.named(stated_name(Some(facts.name.as_bytes()))) } else { client };
        let server = endpoint(Some(b"10.1.2.1"), Some(21));
        let daemon = DaemonName::stated(facts.daemon.as_bytes());
        let request = Request::new(daemon, 1, Transport::Stream, (client, server), &asker);
        let mut allow = RuleTable::new(&self.file("allow"), image);
        let mut deny = RuleTable::new(&self.file("deny"), image);
        let mut tables = Tables::new(&mut allow, &mut deny, facts.strict);
        let mut decisions = Vec::new();
        loop {
            let decision = decide(&mut tables, &request);
            let goes_on = decision.if_not == IfNot::GoOn && decisions.len() < 10;
            decisions.push(decision);
            if !goes_on {
                return (decisions, asker.asked.into_inner());
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Quiet;

impl Observer for Quiet {
    fn progress(&mut self, _: &Path, _: u64) {}
    fn remark(&mut self, _: String) {}
}

/// Answers from stated facts, and keeps a list of the questions.
struct Asker<'a> {
    facts: &'a Facts,
    image: Option<&'a Image>,
    asked: RefCell<Vec<&'static str>>,
    doubted: Cell<bool>,
}

impl Ask for Asker<'_> {
    fn name(&self, side: Side, doubts: &mut Vec<NameDoubt>) -> Fact<HostName> {
        self.asked.borrow_mut().push(if side == Side::Client { "client" } else { "server" });
        if self.facts.doubtful && !self.doubted.replace(true) {
            doubts.push(NameDoubt::Numeric { name: b"1.2.3.4".to_vec() });
        }
        match side {
            Side::Client => stated_name(Some(self.facts.name.as_bytes())),
            Side::Server => stated_name(Some(b"here.example.com")),
        }
    }

    fn user(&self, _: u32) -> Fact<UserName> {
        self.asked.borrow_mut().push("user");
        stated_user(Some(b"joe"))
    }

    fn in_netgroup(&self, group: &[u8], _: &[u8]) -> Membership {
        self.asked.borrow_mut().push("netgroup");
        match group {
            b"staff" => Membership::Yes,
            b"slow" => Membership::TooSlow(7),
            _ => Membership::No,
        }
    }

    fn word_list(&self, path: &[u8], sought: &dyn Sought, visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
        self.asked.borrow_mut().push("file");
        word_list_for(self.image, Path::new(std::ffi::OsStr::from_bytes(path)), sought, visit)
    }

    fn identity(&self, _: Option<&[u8]>, _: Option<&[u8]>) -> Result<Identity, NoSuch> {
        Err(NoSuch::User)
    }

    fn interface_exists(&self, name: &[u8]) -> bool {
        name == b"lo"
    }
}

// ------------------------------------------------------------------------------------ generators

const ADDRESSES: [&str; 12] = [
    "10.1.2.3",
    "10.1.2.4",
    "10.200.0.1",
    "192.0.2.7",
    "2001:db8::7",
    "2001:db8:1::8",
    "fe80::1%lo",
    "fe80::1%nosuch",
    "::ffff:10.1.2.3",
    "::1",
    "255.255.255.255",
    "unknown",
];
const NAMES: [&str; 10] = [
    "host.example.com",
    "HOST.Example.COM",
    "a.b.example.com",
    "foo",
    "cafe",
    "unknown",
    "paranoid",
    "www.example.org",
    "10.1.2.3",
    "2001:db8::7",
];
const WORDS: [&str; 63] = [
    "ALL",
    "LOCAL",
    "KNOWN",
    "UNKNOWN",
    "PARANOID",
    "10.",
    "10.1.",
    "10.1.2.3",
    "10.1.2.4",
    "10.1.2.5",
    "::ffff:10.1.2.3",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.3/32",
    "10.1.2.3/8",
    "10.0.0.3/255.0.0.255",
    "0.0.0.0/0",
    "10.1.2.0/33",
    "192.0.2.0/255.255.255.0",
    "192.0.2.7",
    "255.255.255.255",
    ".3",
    ".2.3",
    ".example.com",
    ".b.example.com",
    ".com",
    "host.example.com",
    "host.",
    "www.example.",
    "*.example.com",
    "*.example.*",
    "h?st.example.com",
    "foo",
    "FOO",
    "[2001:db8::]/32",
    "[2001:db8::7]",
    "[2001:db8::7]/128",
    "[2001:db8::]/x",
    "[::]/0",
    "[::1]",
    "[fe80::1%lo]",
    "[fe80::1%nosuch]",
    "[fe80::]/10",
    "[x]",
    "2001:db8::7",
    "2001:db8::/32",
    "2001:DB8::7",
    "fe80::1",
    "cafe::1",
    "::1",
    "joe@ALL",
    "joe@10.1.2.3",
    "jim@10.",
    "KNOWN@.example.com",
    "jim@host.example.com",
    "@staff",
    "@none",
    "@slow",
    "DIR/one",
    "DIR/two",
    "DIR/nosuch",
    "DIR",
];
const DAEMONS: [&str; 13] = [
    "ALL",
    "in.testd",
    "sshd",
    "in.*",
    "21",
    "22",
    "ALL EXCEPT sshd",
    "in.testd@10.1.2.1",
    "in.testd@ALL",
    "in.testd@LOCAL",
    "sshd@.example.com",
    "ALL@DIR/one",
    "",
];
const OPTIONS: [&str; 12] = [
    "",
    "",
    "",
    "",
    "allow",
    "deny",
    "spawn x",
    "aclexec x",
    "bogus",
    "user nosuch : allow",
    "nice 2 : allow",
    "twist x",
];

#[derive(Clone, Debug)]
struct Facts {
    daemon: &'static str,
    address: &'static str,
    name: &'static str,
    /// The name is known from the start.
    stated: bool,
    /// Something is wrong with the name, which is noticed when it is asked for.
    doubtful: bool,
    strict: bool,
}

fn facts() -> impl Strategy<Value = Facts> {
    let fields = (select(&["in.testd", "sshd"][..]), select(&ADDRESSES[..]), select(&NAMES[..]));
    (fields, any::<bool>(), any::<bool>(), prop::bool::weighted(0.1)).prop_map(
        |((daemon, address, name), stated, doubtful, strict)| Facts {
            daemon,
            address,
            name,
            stated,
            doubtful,
            strict,
        },
    )
}

#[derive(Clone, Debug)]
struct Texts {
    allow: Vec<u8>,
    deny: Vec<u8>,
    one: Vec<u8>,
    two: Vec<u8>,
}

impl Texts {
    fn files(&self) -> [(&'static str, &[u8]); 4] {
        [("allow", &self.allow), ("deny", &self.deny), ("one", &self.one), ("two", &self.two)]
    }
}

fn line() -> impl Strategy<Value = String> {
    let word = || prop_oneof![9 => select(&WORDS[..]), 1 => Just("EXCEPT")];
    let rule = (select(&DAEMONS[..]), vec(word(), 1..4), select(&OPTIONS[..])).prop_map(
        |(daemons, clients, options)| {
            let colon = if options.is_empty() { "" } else { " : " };
            format!("{daemons} : {}{colon}{options}\n", clients.join(" "))
        },
    );
    prop_oneof![
        12 => rule,
        1 => Just("# comment\n".to_owned()),
        1 => Just("\n".to_owned()),
        1 => select(&["no colon\n", "ALL: [\n", "ALL: [: deny\n", "a: x\\\n y\n", "b\\\n\\\n: 10.1.2.3\n"][..])
            .prop_map(str::to_owned),
    ]
}

fn table() -> impl Strategy<Value = Vec<u8>> {
    (vec(line(), 0..9), prop::bool::weighted(0.05)).prop_map(|(lines, unfinished)| {
        let mut text = lines.concat().into_bytes();
        if unfinished {
            text.pop();
        }
        text
    })
}

fn words() -> impl Strategy<Value = Vec<u8>> {
    let blank = || select(&["\n", " ", "\n\n", "\t", "\r\n"][..]);
    (vec((select(&WORDS[..]), blank()), 0..12), prop::bool::weighted(0.03)).prop_map(|(words, broken)| {
        let mut text: String = words.iter().flat_map(|(word, blank)| [*word, *blank]).collect();
        if broken {
            text.push_str("a\0b 10.1.2.3\n");
        }
        text.into_bytes()
    })
}

fn texts() -> impl Strategy<Value = Texts> {
    (table(), table(), words(), words()).prop_map(|(allow, deny, one, two)| Texts { allow, deny, one, two })
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::default() }
}

// ------------------------------------------------------------------------------------------ laws

/// Without what is said about the image itself.
fn of_rules(mut decisions: Vec<Decision>) -> Vec<Decision> {
    for decision in &mut decisions {
        decision.remarks.retain(|remark| !matches!(remark.what, What::Image { .. }));
    }
    decisions
}

#[test]
fn text_and_image_agree() {
    let place = Place::new("agree");
    let law = |(texts, facts): (Texts, Vec<Facts>)| {
        place.lay_out(&texts);
        let image = place.image(&place.compile()).expect("an image");
        image.stands_for(&place.file("allow"), &place.file("deny")).expect("nothing has changed");
        for facts in &facts {
            prop_assert_eq!(
                place.decided(facts, Some(&image)),
                place.decided(facts, None),
                "{:?} {}",
                facts,
                shown(&texts)
            );
        }
        Ok(())
    };
    let mut runner = proptest::test_runner::TestRunner::new(cases(12_000));
    runner.run(&(texts(), vec(facts(), 3)), law).unwrap_or_else(|failure| panic!("{failure}"));
}

fn shown(texts: &Texts) -> String {
    texts.files().map(|(name, text)| format!("\n--- {name}\n{}", String::from_utf8_lossy(text))).concat()
}

/// What is done to an image.
#[derive(Clone, Debug)]
enum Blow {
    Byte(usize, u8),
    Cut(usize),
    /// A block in the place of another.
    Swap(usize, usize),
}

fn blow() -> impl Strategy<Value = Blow> {
    prop_oneof![
        6 => (any::<usize>(), 1_u8..).prop_map(|(at, bits)| Blow::Byte(at, bits)),
        1 => any::<usize>().prop_map(Blow::Cut),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(to, from)| Blow::Swap(to, from)),
    ]
}

fn strike(image: &mut Vec<u8>, blow: &Blow) {
    let (length, blocks) = (image.len(), image.len() / BLOCK);
    match *blow {
        // Mostly where something is.
        Blow::Byte(at, bits) => {
            let at = (at / blocks % blocks) * BLOCK + at % if at % 3 == 0 { BLOCK } else { 400 };
            image[at] ^= bits;
        }
        Blow::Cut(at) => image.truncate(at % length),
        Blow::Swap(to, from) => {
            let from = from % blocks * BLOCK;
            image.copy_within(from..from + BLOCK, to % blocks * BLOCK);
        }
    }
}

/// Gives every block the checksum it should have.
fn seal(image: &mut [u8]) {
    let id = u64::from_le_bytes(image.get(8..16).map_or([0; 8], |id| id.try_into().expect("8 bytes")));
    for (number, block) in image.chunks_exact_mut(BLOCK).enumerate() {
        let (payload, sum) = block.split_at_mut(BLOCK - 8);
        sum.copy_from_slice(&xxh3_64_with_seed(payload, id.wrapping_add(number as u64)).to_le_bytes());
    }
}

/// A damaged image is the text, and says so at most once; one that was forged may say what it likes,
/// but it neither crashes nor goes on for ever.
#[test]
fn damage_is_seen() {
    let place = Place::new("damage");
    let (hurt, said) = (Cell::new(0), Cell::new(0));
    let law = |(texts, facts, blows): (Texts, Facts, Vec<Blow>)| {
        place.lay_out(&texts);
        let mut bytes = place.compile();
        for blow in &blows {
            if bytes.len() >= BLOCK {
                strike(&mut bytes, blow);
            }
        }
        match place.image(&bytes) {
            Ok(image) => {
                let (decisions, asked) = place.decided(&facts, Some(&image));
                let about_image = |decision: &Decision| {
                    decision.remarks.iter().filter(|r| matches!(r.what, What::Image { .. })).count()
                };
                let complaints: usize = decisions.iter().map(about_image).sum();
                prop_assert!(complaints <= 1);
                said.set(said.get() + complaints);
                let (expected, wanted) = place.decided(&facts, None);
                prop_assert_eq!(of_rules(decisions), expected, "{}", shown(&texts));
                prop_assert_eq!(asked, wanted);
            }
            Err(NotUsed::Damaged(_)) => hurt.set(hurt.get() + 1),
            Err(other) => prop_assert!(false, "{other:?}"),
        }
        seal(&mut bytes);
        if let Ok(image) = place.image(&bytes) {
            place.decided(&facts, Some(&image));
        }
        Ok(())
    };
    let mut runner = proptest::test_runner::TestRunner::new(cases(4_000));
    runner.run(&(texts(), facts(), vec(blow(), 1..4)), law).unwrap_or_else(|failure| panic!("{failure}"));
    eprintln!("{} opened no more, {} damaged inside", hurt.get(), said.get());
    assert!(hurt.get() > 1000 && said.get() > 100, "{} {}", hurt.get(), said.get());
}

/// A place that is not there begins the search anew, as text: what was promised and is missing is not the
/// end of the rules.
#[test]
fn a_place_behind_the_end_is_not_the_end() {
    let place = Place::new("behind");
    let deny = b"ALL: 10.1.2.3\n".to_vec();
    place.lay_out(&Texts { allow: Vec::new(), deny, one: Vec::new(), two: Vec::new() });
    let mut bytes = place.compile();
    // The only entry: behind the bucket's head its hash, its source, and then the place.
    let offset = BLOCK + 4 + 8 + 2..BLOCK + 4 + 8 + 2 + 6;
    assert_eq!((bytes.len(), &bytes[offset.clone()]), (2 * BLOCK, &[0; 6][..]));
    bytes[offset].copy_from_slice(&[0, 0, 1, 0, 0, 0]);
    seal(&mut bytes);
    let image = place.image(&bytes).expect("an image");
    let facts = Facts {
        daemon: "sshd",
        address: "10.1.2.3",
        name: "unknown",
        stated: true,
        doubtful: false,
        strict: false,
    };
    let (decisions, _) = place.decided(&facts, Some(&image));
    assert_eq!(decisions.first().map(|decision| decision.access), Some(Access::Deny));
}
