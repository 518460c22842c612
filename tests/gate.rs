//! Where the listener decides by itself, does it say what a child says, and by the rules of this moment?
#![forbid(unsafe_code)]

#[path = "common/running.rs"]
mod running;

use running::{Listening, PATIENCE, Scratch, connect_from, make_private, rules};
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};
use wrap::compile::{Observer, write};
use wrap::facts::{DaemonName, Endpoint, Request, Stated, Transport};
use wrap::listen::kept::{Kept, Where};
use wrap::verdict::{Access, Tables, decide};

// ------------------------------------------------------------------------------------- the same answer

struct Quiet;

impl Observer for Quiet {
    fn progress(&mut self, _: &Path, _: u64) {}
    fn remark(&mut self, _: String) {}
}

/// Makes the image of a test's rules; nobody changes them within one tick of the file system's clock.
fn compile(scratch: &Scratch) -> OsString {
    let (allow, deny) = (scratch.path("allow"), scratch.path("deny"));
    let mut image = Vec::new();
    let made = write([&allow, &deny], Duration::ZERO, &mut image, &mut Quiet);
    assert!(made.expect("compiles").is_some(), "nothing changed meanwhile");
    let path = scratch.file("image", image);
    make_private(&path);
    path.into_os_string()
}

/// Whether a client is refused by the listener itself, and how a test knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Listener,
    Child,
}

const CLIENTS: [[u8; 4]; 4] = [[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3], [127, 1, 2, 3]];

/// What each client gets, what the log says of it, and who said so.
fn visits(options: &[OsString], image: &OsString) -> Vec<(String, Vec<String>, By)> {
    let options = [options, &["--image".into(), image.clone()]].concat();
    let mut listening = Listening::start(&options, &["/bin/echo", "served"]);
    let own = listening.child.id();
    let visit = |from| {
        let mut client = connect_from(from, listening.address);
        let mut got = String::new();
        let _ = client.read_to_string(&mut got);
        let mut lines = Vec::new();
        loop {
            let (pid, line) = listening.signed_line();
            let is_last = line.contains("connect from") || line.starts_with("twist");
            lines.push(line);
            if is_last {
                return (got, lines, if pid == own { By::Listener } else { By::Child });
            }
        }
    };
    CLIENTS.map(visit).into()
}

/// Settings, hosts.allow, hosts.deny, and who refuses those who are refused.
type Case<'c> = (&'c str, &'c str, &'c str, By);

const NUMERIC: [Case<'_>; 15] = [
    ("", "", "ALL: ALL\n", By::Listener),
    ("", "ALL: 127.0.0.1\n", "ALL: ALL\n", By::Listener),
    ("", "echo: 127.0.0.0/255.255.255.252\n", "echo: ALL\n", By::Listener),
    ("", "", "ALL: 127.0.0.\n", By::Listener),
    ("", "", "ALL: 127.0.0.0/31 127.1.0.0/16\n", By::Listener),
    ("", "", "ALL: [::ffff:127.0.0.2] [::1] [fe80::1%none]\n", By::Listener),
    ("", "", "ALL: 127. EXCEPT 127.0.0.2\n", By::Listener),
    ("", "", "ALL EXCEPT in.other: 127.0.0.2\n", By::Listener),
    ("", "", "echo@127.0.0.1: 127.0.0.3\necho@127.0.0.2: ALL\n", By::Listener),
    ("", "", "# nobody\n\nin.other: ALL: deny\nALL: \\\n 127.0.0.3\n", By::Listener),
    ("", "", "ALL: DIR/words\n", By::Listener),
    ("", "ALL: 127. EXCEPT DIR/words\n", "ALL: ALL\n", By::Listener),
    ("", "", "ALL: DIR/none DIR/words\n", By::Listener),
    ("", "in.other: .example.org\n", "in.other: @group\nALL: 127.1.2.3\n", By::Listener),
    // It delays refusals, of which there are none for these clients.
    ("refuse-delay 1\n", "", "ALL: 192.0.2.7\n", By::Listener),
];

/// Names, users, netgroups, options, doubts, trouble, settings.
const NOT_NUMERIC: [Case<'_>; 33] = [
    ("", "", "ALL: .example.org\nALL: ALL\n", By::Child),
    ("", "", "ALL: ALL EXCEPT .example.org\n", By::Child),
    ("", "ALL: host.example.org\n", "ALL: ALL\n", By::Child),
    ("", "", "ALL: UNKNOWN\n", By::Child),
    ("", "ALL: KNOWN\n", "ALL: ALL\n", By::Child),
    ("", "ALL: LOCAL\n", "ALL: ALL\n", By::Child),
    ("", "", "ALL: PARANOID\nALL: ALL\n", By::Child),
    ("", "ALL: root@127.0.0.1 root@127.0.0.2 root@127.\n", "ALL: ALL\n", By::Child),
    ("", "", "ALL: ALL@127.0.0.2\n", By::Child),
    ("", "ALL: @group\n", "ALL: ALL\n", By::Child),
    ("", "", "ALL: ALL: deny\n", By::Child),
    ("", "ALL: ALL: deny\n", "", By::Child),
    ("", "", "ALL: 127.0.0.2: allow\nALL: ALL: severity auth.info\n", By::Child),
    ("", "", "ALL: 127.0.0.2: twist echo trapped\n", By::Child),
    ("", "", "ALL: ALL: spawn true\n", By::Child),
    ("", "", "ALL: ALL: user nosuchuserhere\n", By::Child),
    ("", "ALL: 127.0.0.1: setenv A b: umask 077: nice 1\n", "ALL: ALL: keepalive\n", By::Child),
    ("", "", "ALL: ALL: nosuchoption\n", By::Child),
    ("", "", "ALL: ALL: aclexec false\nALL: 127.0.0.3: aclexec true\n", By::Child),
    ("", "", "ALL: 127.0.0.1/8\n", By::Child),
    ("", "ALL: 127.0.0.1/8\n", "ALL: ALL\n", By::Child),
    ("", "", "ALL 127.0.0.1\nALL: ALL\n", By::Child),
    ("", "", "ALL: [::1\nALL: ALL\n", By::Child),
    ("", "", "ALL: ALL", By::Child),
    ("", "ALL: 127.0.0.1\nALL", "ALL: ALL\n", By::Child),
    ("", "", "ALL: DIR/names\nALL: ALL\n", By::Child),
    ("", "", "ALL: DIR\n", By::Child),
    ("", "", "ALL: DIR/circle\nALL: ALL\n", By::Child),
    ("", "", "[127.0.0.1]@x: ALL\nALL: [fe80::1%none] .example.org\nALL: ALL\n", By::Child),
    ("refuse-delay 1\n", "ALL: 127.0.0.1\n", "ALL: ALL\n", By::Child),
    ("strict yes\n", "", "ALL: ALL\n", By::Child),
    ("paranoid yes\n", "", "ALL: ALL\n", By::Child),
    ("image none\n", "ALL: 127.0.0.1\n", "ALL: ALL\n", By::Child),
];

fn check(case: &Case<'_>) {
    let scratch = Scratch::new();
    let (conf, allow, deny, by) = case;
    let here = |text: &str| text.replace("DIR", &scratch.0.display().to_string());
    scratch.file("words", "127.0.0.2 127.1.\n");
    scratch.file("names", ".example.org 127.0.0.2\n");
    scratch.file("circle", here("DIR/circle\n"));
    for number in 0..17 {
        scratch.file(&format!("all{number}"), "192.0.2.7\n127.\n");
    }
    let options = rules(&scratch, &here(allow), &here(deny));
    scratch.file("tcpd.conf", format!("resolve never\n{conf}"));
    let image = if *conf == "image none\n" { "none".into() } else { compile(&scratch) };
    let (answers, expected) = (visits(&options, &image), visits(&options, &"none".into()));
    for ((answer, expected), client) in answers.iter().zip(&expected).zip(CLIENTS) {
        assert_eq!((&answer.0, &answer.1), (&expected.0, &expected.1), "{case:?} {client:?}");
        assert_eq!(expected.2, By::Child, "{case:?} {client:?}");
        let is_refused = answer.1.last().is_some_and(|line| line.starts_with("refused"));
        assert_eq!(answer.2, if is_refused { *by } else { By::Child }, "{case:?} {client:?}");
    }
}

#[test]
fn numbers_are_answered_as_a_child_answers_them() {
    std::thread::scope(|scope| {
        for half in NUMERIC.chunks(4) {
            scope.spawn(|| half.iter().for_each(check));
        }
    });
}

#[test]
fn whatever_is_not_numeric_gets_a_child() {
    std::thread::scope(|scope| {
        for part in NOT_NUMERIC.chunks(6) {
            scope.spawn(|| part.iter().for_each(check));
        }
    });
}

/// Who calls must not wait while others' rules are read.
#[test]
fn a_long_search_is_a_childs() {
    let many = "in.other: ALL\n".repeat(2000);
    check(&("", "", &format!("{many}ALL: ALL\n"), By::Child));
    let long = format!("in.other: {}\n", "192.0.2.7 ".repeat(8000));
    check(&("", "", &format!("{long}ALL: ALL EXCEPT 192.0.2.0/24\n"), By::Listener));
    check(&("", "", &format!("{}ALL: ALL\n", long.replace("in.other", "ALL")), By::Listener));
    check(&("", "", &format!("{}ALL: ALL\n", long.replace("in.other: ", "in.other: ALL ")), By::Child));
    check(&("", "", &format!("{}ALL: ALL\n", "# comment\nin.other: 192.0.2.7\n".repeat(2000)), By::Listener));
}

/// So many pattern files stay open, and so many files are looked at after each search.
#[test]
fn many_pattern_files_are_a_childs() {
    let named = |count: u32, file: &str| -> String {
        let rule = |number| format!("ALL: 127. EXCEPT DIR/{file}{number}\n");
        (0..count).map(rule).collect::<String>() + "ALL: ALL\n"
    };
    check(&("", "", &named(16, "all"), By::Listener));
    check(&("", "", &named(17, "all"), By::Child));
    check(&("", "in.other: DIR/a\n", &format!("in.other: {}\nALL: ALL\n", named_files(61)), By::Listener));
    check(&("", "in.other: DIR/a\n", &format!("in.other: {}\nALL: ALL\n", named_files(62)), By::Child));
}

fn named_files(count: u32) -> String {
    (0..count).map(|number| format!("DIR/none{number} ")).collect()
}

// --------------------------------------------------------------------------------------- of this moment

fn is_served(from: [u8; 4], listening: &Listening) -> bool {
    let mut got = String::new();
    let _ = connect_from(from, listening.address).read_to_string(&mut got);
    got == "served\n"
}

const NOBODY: [u8; 4] = [127, 0, 0, 9];
const SOMEBODY: [u8; 4] = [127, 0, 0, 2];

/// Waits until the listener refuses by itself.
fn settle(listening: &mut Listening) {
    let (own, begun) = (listening.child.id(), Instant::now());
    loop {
        assert!(!is_served(NOBODY, listening));
        loop {
            let (pid, line) = listening.signed_line();
            if line == "refused connect from 127.0.0.9 (127.0.0.9)" {
                if pid == own {
                    return;
                }
                break;
            }
        }
        assert!(begun.elapsed() < PATIENCE, "it leaves everything to children");
        std::thread::sleep(Duration::from_millis(50));
    }
}

type Change = fn(&Scratch, bool);

/// Ways to let somebody in (`true`) or keep him out.
const WAYS: [(&str, Change); 6] = [
    ("appended", |scratch, lets_in| {
        if lets_in {
            scratch.file("deny", "ALL: 127.0.0.9\n");
        } else {
            let mut deny = fs::File::options().append(true).open(scratch.path("deny")).expect("opens");
            deny.write_all(b"ALL: 127.0.0.2\n").expect("writes");
        }
    }),
    ("replaced", |scratch, lets_in| {
        let new =
            scratch.file("new", if lets_in { "ALL: 127.0.0.9\n" } else { "ALL: 127.0.0.9 127.0.0.2\n" });
        fs::rename(new, scratch.path("deny")).expect("renames");
    }),
    ("of the same length", |scratch, lets_in| {
        scratch
            .file("deny", if lets_in { "ALL: 127.0.0.9 127.0.0.3\n" } else { "ALL: 127.0.0.9 127.0.0.2\n" });
    }),
    ("in a pattern file", |scratch, lets_in| {
        scratch.file("words", if lets_in { "127.0.0.9 127.0.0.3\n" } else { "127.0.0.9 127.0.0.2\n" });
        let deny = format!("ALL: {}\n", scratch.path("words").display());
        if fs::read_to_string(scratch.path("deny")).expect("reads") != deny {
            scratch.file("deny", deny);
        }
    }),
    ("in hosts.allow", |scratch, lets_in| {
        scratch.file("deny", "ALL: ALL\n");
        let allow = if lets_in { "ALL: 127.0.0.2\n" } else { "ALL: 127.0.0.3\n" };
        scratch.file("allow", allow);
    }),
    ("gone and come", |scratch, lets_in| {
        scratch.file("deny", "ALL: ALL\n");
        if lets_in {
            scratch.file("allow", "ALL: 127.0.0.2\n");
        } else {
            fs::remove_file(scratch.path("allow")).expect("removes");
        }
    }),
];

/// The first connection behind a change obeys it, though the listener had the old rules at hand; and so
/// does each one while they change all the time.
#[test]
fn a_change_is_in_force_for_the_next_connection() {
    let through = |(name, change): &(&str, Change)| {
        let scratch = Scratch::new();
        let options = rules(&scratch, "", "");
        change(&scratch, true);
        let mut listening = Listening::start(&options, &["/bin/echo", "served"]);
        for round in 0..2 {
            settle(&mut listening);
            assert!(is_served(SOMEBODY, &listening), "{name}, round {round}");
            change(&scratch, false);
            assert!(!is_served(SOMEBODY, &listening), "{name}, round {round}");
            settle(&mut listening);
            assert!(!is_served(SOMEBODY, &listening), "{name}, round {round}");
            change(&scratch, true);
            assert!(is_served(SOMEBODY, &listening), "{name}, round {round}");
        }
        for number in 0..100 {
            let lets_in = number % 2 == 1;
            change(&scratch, lets_in);
            assert_eq!(is_served(SOMEBODY, &listening), lets_in, "{name}, change {number}");
        }
    };
    std::thread::scope(|scope| {
        for way in &WAYS {
            scope.spawn(|| through(way));
        }
    });
}

/// The same, quickly: rules that were at hand a moment ago are never searched with success once they
/// have changed.
#[test]
fn kept_rules_that_have_changed_answer_nothing() {
    // Longer than a tick of any kernel's clock: a change within the tick of the one before goes unseen.
    // Where the listener makes an image, it waits for that.
    const TICK: Duration = Duration::from_millis(15);
    let scratch = Scratch::new();
    let [_, allow, _, deny, ..] = <[OsString; 6]>::try_from(rules(&scratch, "", "")).expect("options");
    let image = Some(scratch.path("image"));
    let mut kept = Kept::new(Where { allow: allow.into(), deny: deny.into(), image });
    let client = || Endpoint::of_ip(SOMEBODY.into(), 4711);
    let mut later = Instant::now();
    let mut searched = || -> (Option<Access>, Option<Access>) {
        let server = Endpoint::of_ip([127, 0, 0, 1].into(), 7);
        let request =
            Request::new(DaemonName::stated(b"d"), 1, Transport::Stream, (client(), server), &Stated);
        let mut search = |now| {
            if let Some(now) = now {
                assert!(kept.fetch(now, &[]).is_none());
            }
            kept.search(|_, allow, deny, _| {
                Some(decide(&mut Tables::new(allow, deny, false), &request).access)
            })
        };
        let before = search(None);
        std::thread::sleep(TICK);
        compile(&scratch);
        later += PATIENCE;
        (before, search(Some(later)))
    };
    for round in 0..15 {
        for (name, change) in WAYS.iter().filter(|(name, _)| *name != "in a pattern file") {
            for lets_in in [true, false, true] {
                change(&scratch, lets_in);
                let expected = if lets_in { Access::Permit } else { Access::Deny };
                let found = searched();
                let fresh = (found.0.is_none() || found.0 == Some(expected)) && found.1 == Some(expected);
                assert!(fresh, "{name}, round {round}: {found:?} and not {expected:?}");
            }
            scratch.file("allow", "");
        }
    }
}

/// What the kept rules say about a client, and how many remarks there are, with something done just before
/// and just behind the search.
fn kept_answer(kept: &mut Kept, around: &dyn Fn(bool)) -> Option<(Access, usize)> {
    let ends = (Endpoint::of_ip(SOMEBODY.into(), 4711), Endpoint::of_ip([127, 0, 0, 1].into(), 7));
    let request = Request::new(DaemonName::stated(b"d"), 1, Transport::Stream, ends, &Stated);
    kept.search(|_, allow, deny, _| {
        around(true);
        let decision = decide(&mut Tables::new(allow, deny, false), &request);
        around(false);
        Some((decision.access, decision.remarks.len()))
    })
}

/// A path that leads elsewhere while one client is looked at, and back before anybody looks at it again.
#[test]
fn rules_that_were_elsewhere_for_a_moment_are_not_kept() {
    let scratch = Scratch::new();
    let options = rules(&scratch, "", "");
    let (old, new, link) = (scratch.path("old"), scratch.path("new"), scratch.path("link"));
    let point = |to: &Path| {
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(to, &link).expect("links");
        fs::rename(&link, scratch.path("deny")).expect("renames");
    };
    scratch.file("old", "# 23456789012\nALL: 127.0.0.2\n");
    scratch.file("new", "ALL: 127.0.0.2\nALL: 192.0.2.1\n");
    point(&old);
    std::thread::sleep(Duration::from_millis(30));
    compile(&scratch);
    let image = Some(scratch.path("image"));
    let mut kept =
        Kept::new(Where { allow: options[1].clone().into(), deny: options[3].clone().into(), image });
    assert!(kept.fetch(Instant::now(), &[]).is_none());
    let moved = |begins| point(if begins { &new } else { &old });
    assert_eq!(kept_answer(&mut kept, &moved), None, "nobody knows what was read");
    for later in 1..4 {
        assert!(kept.fetch(Instant::now() + later * PATIENCE, &[]).is_none());
        assert_eq!(kept_answer(&mut kept, &|_| {}), Some((Access::Deny, 0)));
    }
}

/// A child tells the log of a damaged image each time; so it gets the connection.
#[test]
fn a_damaged_image_is_not_kept() {
    let scratch = Scratch::new();
    let others: String = (0..300).map(|n| format!("ALL: 10.0.{}.{}\n", n / 250, n % 250)).collect();
    let options = rules(&scratch, "", &format!("{others}ALL: 127.0.0.2\n"));
    std::thread::sleep(Duration::from_millis(30));
    compile(&scratch);
    let mut image = fs::read(scratch.path("image")).expect("reads");
    image.chunks_mut(4096).skip(1).for_each(|block| block[100] ^= 1);
    make_private(&scratch.file("image", image));
    let image = Some(scratch.path("image"));
    let mut kept =
        Kept::new(Where { allow: options[1].clone().into(), deny: options[3].clone().into(), image });
    for later in 0..3 {
        assert!(kept.fetch(Instant::now() + later * 4 * PATIENCE, &[]).is_none());
        assert_eq!(kept_answer(&mut kept, &|_| {}), None);
    }
}

// -------------------------------------------------------------------------------------- and of no weight

fn children(listening: &Listening) -> usize {
    let pid = listening.child.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("a process");
    children.split_whitespace().count()
}

/// Open descriptors, and resident memory in pages.
fn weight(listening: &Listening) -> (usize, usize) {
    let process = format!("/proc/{}", listening.child.id());
    let statm = fs::read_to_string(format!("{process}/statm")).expect("a process");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok());
    (fs::read_dir(format!("{process}/fd")).expect("descriptors").count(), pages.expect("a number"))
}

/// A log that nobody reads, places that are taken, and a flood that is refused.
#[test]
fn a_flood_of_refusals_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let options = rules(&scratch, "ALL: 127.0.0.2\n", "ALL: ALL\n");
    let options = [options, vec!["--image".into(), compile(&scratch)]].concat();
    let listening = Listening::start(&options, &["/bin/cat"]);
    let mut held: Vec<TcpStream> = (0..100).map(|_| connect_from(SOMEBODY, listening.address)).collect();
    let is_echoed = |client: &mut TcpStream| {
        client.write_all(b"x").expect("sends");
        client.read_exact(&mut [0; 1]).expect("echoed");
    };
    held.iter_mut().for_each(is_echoed);
    let flood = |count| (0..count).for_each(|_| assert!(!is_served(NOBODY, &listening)));
    flood(100);
    let before = weight(&listening);
    let begun = Instant::now();
    flood(5_000);
    assert!(begun.elapsed() < PATIENCE, "nobody waits for the log: {:?}", begun.elapsed());
    let after = weight(&listening);
    assert_eq!((before.0, children(&listening)), (after.0, 100), "descriptors and children");
    assert!(after.1 <= before.1 + 32, "{before:?} {after:?}");
    held.iter_mut().for_each(is_echoed);
}
