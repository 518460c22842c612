//! Does each promise of tcpd(8), SECURITY CONSIDERATIONS, have a test that holds it?
//!
//! The section has one part for each way in: who may attack whom, what is promised, what is not. A promise is
//! an entry with `.Bq Li PLACE : TEST , TEST` below it, as `tests/common/named.rs` reads places. Promises that
//! no other test program holds are held here.
#![forbid(unsafe_code)]

#[path = "common/named.rs"]
mod named;
#[path = "common/running.rs"]
mod running;

use nix::sys::socket::{setsockopt, sockopt};
use running::{PATIENCE, Scratch, connect_from, log_of, rules, run};
use std::ffi::OsString;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

/// A way in: its title, what is promised, each promise with its tests, and what is not.
struct Way {
    title: String,
    promised: Vec<(String, Vec<String>)>,
    not_promised: Vec<String>,
}

#[derive(Clone, Copy)]
enum Part {
    Who,
    Promised,
    NotPromised,
}

/// What the section says.
fn ways(page: &str) -> Vec<Way> {
    let (_, section) = page.split_once("\n.Sh SECURITY CONSIDERATIONS\n").expect("the section");
    let section = section.split("\n.Sh ").next().unwrap_or(section);
    let mut ways: Vec<Way> = Vec::new();
    let mut part = Part::Who;
    for line in section.lines() {
        if let Some(title) = line.strip_prefix(".Ss ") {
            ways.push(Way { title: title.to_owned(), promised: Vec::new(), not_promised: Vec::new() });
            part = Part::Who;
            continue;
        }
        let Some(way) = ways.last_mut() else { continue };
        match (line, part) {
            ("Promised:", _) => part = Part::Promised,
            ("Not promised:", _) => part = Part::NotPromised,
            (".It", Part::Promised) => way.promised.push((String::new(), Vec::new())),
            (".It", Part::NotPromised) => way.not_promised.push(String::new()),
            (_, Part::Promised) if line.starts_with(".Bq Li ") => {
                let (text, tests) = way.promised.last_mut().expect("an entry");
                assert!(!text.is_empty(), "{}: tests of nothing: {line}", way.title);
                let (place, names) = line[7..].split_once(" : ").unwrap_or_else(|| panic!("{line}"));
                tests.extend(names.split(" , ").map(|name| format!("{place}: {name}")));
            }
            (_, Part::Promised) if !line.starts_with(".Bl") && !line.starts_with(".El") && line != ".Pp" => {
                let (text, tests) = way.promised.last_mut().unwrap_or_else(|| panic!("{line}"));
                assert!(tests.is_empty(), "{}: behind its tests: {line}", way.title);
                text.push_str(line);
            }
            (_, Part::NotPromised) if !line.starts_with(".Bl") && line != ".El" => {
                way.not_promised.last_mut().unwrap_or_else(|| panic!("{line}")).push_str(line);
            }
            _ => {}
        }
    }
    ways
}

#[test]
fn every_promise_has_its_tests() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/tcpd.8");
    let ways = ways(&std::fs::read_to_string(page).expect("the manual"));
    assert!(ways.len() > 12, "{} ways in", ways.len());
    let mut wrong = Vec::new();
    for Way { title, promised, not_promised } in &ways {
        if promised.is_empty() || not_promised.is_empty() {
            wrong.push(format!("{title}: nothing is promised, or all"));
        }
        let unsaid = not_promised.iter().filter(|text| text.is_empty());
        wrong.extend(unsaid.map(|_| format!("{title}: an entry without a text")));
        for (text, tests) in promised {
            if text.is_empty() || tests.is_empty() {
                wrong.push(format!("{title}: no test holds this: {text}"));
            }
            wrong.extend(tests.iter().filter_map(|test| named::complaint(test)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The reader of the page and of test files sees what is wrong with them.
#[test]
fn a_promise_without_a_test_is_seen() {
    let page = "\n.Sh SECURITY CONSIDERATIONS\nText.\n.Ss A way\nSomebody.\n.Pp\nPromised:\n.Bl -bullet\n.It\n\
        One.\n.Bq Li threat : a , b\n.It\nTwo.\n.El\n.Pp\nNot promised:\n.Bl -dash\n.It\nThree.\n.El\n.Sh NEXT\n";
    let [way] = &ways(page)[..] else { panic!("one way") };
    let promised: Vec<_> = way.promised.iter().map(|(text, tests)| (text.as_str(), tests.len())).collect();
    assert_eq!((promised, way.not_promised.len()), (vec![("One.", 2), ("Two.", 0)], 1));
    assert!(named::complaint("threat: every_promise_has_its_tests").is_none());
    assert!(named::complaint("real/library/lookups: silence_after_a_name_is_paranoid").is_none());
    for nothing in [
        "threat: ways",
        "threat: no_such_test",
        "nowhere: every_promise_has_its_tests",
        "threat",
        "common/named: complaint",
    ] {
        assert!(named::complaint(nothing).is_some(), "{nothing}");
    }
}

/// A visit from 127.0.0.2: what the client got, and what was logged.
fn visit(options: &[OsString], server: &[&str], door: &str) -> (String, String) {
    let door = TcpListener::bind(door).expect("loopback");
    let to = SocketAddr::from(([127, 0, 0, 1], door.local_addr().expect("bound").port()));
    let mut client = connect_from([127, 0, 0, 2], to);
    let (connection, _) = door.accept().expect("accepts");
    let output = run(connection.into(), options, server);
    let mut got = Vec::new();
    let _ = client.read_to_end(&mut got);
    (String::from_utf8_lossy(&got).into_owned(), log_of(&output))
}

/// On a socket that takes both kinds of addresses an IPv4 client has an address of IPv6. Rules about its
/// address hold it all the same.
#[test]
fn a_mapped_address_is_the_address_it_maps() {
    let scratch = Scratch::new();
    for door in ["127.0.0.1:0", "[::]:0"] {
        for (allow, deny, served) in [
            ("", "ALL: 127.0.0.2\n", false),
            ("", "ALL: 127.0.0.0/255.0.0.0\n", false),
            ("", "ALL: 127.\n", false),
            ("", "ALL: 127.0.0.0/8\n", false),
            ("", "ALL: ALL EXCEPT 127.0.0.3\n", false),
            ("ALL: 127.0.0.2\n", "ALL: ALL\n", true),
            ("ALL: 127.0.0.3\n", "ALL: ALL\n", false),
            ("", "ALL: 127.0.0.3\n", true),
        ] {
            let (got, log) = visit(&rules(&scratch, allow, deny), &["/bin/echo", "served"], door);
            assert_eq!(got == "served\n", served, "{door} {allow}{deny}{log}");
        }
    }
}

/// A client that opens a connection and reads nothing holds a process until its ten seconds are over, and no
/// longer.
#[test]
fn a_banner_that_is_not_read_holds_nobody_for_ever() {
    let scratch = Scratch::new();
    scratch.file("sh", "220 a line of a long banner, for %a\n".repeat(25_000));
    let deny = format!("ALL: ALL: banners {}\n", scratch.0.display());
    let options = rules(&scratch, "", &deny);
    let door = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let client = connect_from([127, 0, 0, 2], door.local_addr().expect("bound"));
    setsockopt(&client, sockopt::RcvBuf, &4096).expect("a socket");
    let (connection, _) = door.accept().expect("accepts");
    setsockopt(&connection, sockopt::SndBuf, &4096).expect("a socket");
    let (end, ended) = mpsc::channel();
    std::thread::spawn(move || end.send(run(connection.into(), &options, &["/bin/sh", "-c", "true"])));
    let output = ended.recv_timeout(PATIENCE + PATIENCE).expect("it ends");
    assert_eq!(log_of(&output), "refused connect from 127.0.0.2 (127.0.0.2)");
    drop(client);
}

/// What a rule names as a list of words may be anything; nothing of it opens the door, and nobody waits.
#[test]
fn pattern_files_that_are_no_files_refuse_and_grant_nothing() {
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path(name);
    std::fs::create_dir(path("directory")).expect("mkdir");
    assert!(Command::new("mkfifo").arg(path("fifo")).status().expect("mkfifo").success());
    std::os::unix::fs::symlink(path("loop"), path("loop")).expect("links");
    let ours = ["directory", "fifo", "loop"].map(|name| path(name).display().to_string());
    for file in ours.iter().map(String::as_str).chain(["/dev/zero", "/dev/full", "/proc/self/mem"]) {
        for (allow, deny) in [
            (format!("ALL: {file}\n"), "ALL: ALL\n".to_owned()),
            (format!("ALL: ALL EXCEPT {file}\n"), "ALL: ALL\n".to_owned()),
            (String::new(), format!("ALL: {file}\n")),
            (String::new(), format!("ALL: ALL EXCEPT {file}\n")),
        ] {
            let options = rules(&scratch, &allow, &deny);
            let (got, log) = visit(&options, &["/bin/echo", "served"], "127.0.0.1:0");
            assert_eq!(got, "", "{allow}{deny}{log}");
            assert!(log.contains("warning: ") && log.contains(file), "{log}");
        }
    }
}

/// A slip in the last option, and what stands in front of it is not done.
#[test]
fn a_rule_with_a_mistake_does_nothing_but_refuse() {
    let scratch = Scratch::new();
    let mark = scratch.path("mark");
    let spawn = format!("spawn touch {}", mark.display());
    for mistake in ["nosuch", "nosuch x", "umask 9", "user", "twist", "setenv", "allow: deny", "severity x.y"]
    {
        let rule = format!("ALL: ALL: {spawn}: {mistake}\n");
        for (allow, deny) in [(rule.as_str(), ""), ("", rule.as_str())] {
            let (got, log) = visit(&rules(&scratch, allow, deny), &["/bin/echo", "served"], "127.0.0.1:0");
            assert_eq!(got, "", "{mistake}");
            assert!(log.starts_with("error: ") && log.contains("refused connect from "), "{mistake}: {log}");
            assert!(!mark.exists(), "{mistake}: the trap was sprung");
        }
    }
}
