//! rpcbind: a program without a connection to show. It hands the library a client's address and nothing
//! else, call by call, for as long as it lives, as a user without rights; who is refused gets an error of
//! RPC. Its own lines come from a process that it forks for each: auth.notice for a refusal, 36 here.

use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{exchange, of_the_verdict};
use crate::lab::launch::run;
use crate::lab::library::{Library, is_the_original};
use crate::lab::{self, Line, Running, SCRATCH};

const DOOR: &str = "127.0.0.1:111";

fn rpcbind(library: &Library) -> Running {
    lab::need("/usr/sbin/rpcbind", "rpcbind");
    let mut command = Command::new("/usr/sbin/rpcbind");
    command.args(["-f", "-l"]).env_clear().stdin(Stdio::null());
    let running = Running::start(&mut command);
    library.wait_for_port("tcp", 111);
    library.wait_for_port("udp", 111);
    library.expect_mapped(running.pid());
    running
}

/// RFC 5531: a call of program 100000, version 2, of a procedure without arguments; no credentials.
fn call(procedure: u32) -> Vec<u8> {
    let words = [0x7461_7020, 0, 2, 100_000, 2, procedure, 0, 0, 0, 0_u32];
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

const DUMP: u32 = 4;

#[derive(Debug, PartialEq)]
enum Answer {
    Accepted,
    /// Denied, because of who asks (AUTH_TOOWEAK).
    TooWeak,
    Other(Vec<u8>),
}

/// What the first words of a reply say: its kind, its state, and the reason.
fn read(reply: &[u8]) -> Answer {
    match reply.get(4..20) {
        Some([0, 0, 0, 1, 0, 0, 0, 0, ..]) => Answer::Accepted,
        Some([0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 5]) => Answer::TooWeak,
        _ => Answer::Other(reply.to_vec()),
    }
}

/// The same call over a stream, where a word before it says how long it is.
fn ask(from: &str) -> Answer {
    let call = call(DUMP);
    let length = 0x8000_0000 | call.len() as u32;
    let framed = [length.to_be_bytes().to_vec(), call].concat();
    read(&exchange(from, DOOR.parse().unwrap(), &framed, 24)[4..])
}

fn ask_by_datagram(from: &str) -> Answer {
    let client = UdpSocket::bind((from, 0)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.send_to(&call(DUMP), DOOR).unwrap();
    let mut reply = [0; 2000];
    let length = client.recv(&mut reply).unwrap();
    read(&reply[..length])
}

/// What was said of a client's calls, each by a process of its own, in whatever order.
fn calls<'a>(log: &'a [Line], from: &str) -> Vec<(u32, &'a str)> {
    let opening = format!("connect from {from} to ");
    let lines = log.iter().filter(|line| line.tag == "rpcbind" && line.message.starts_with(&opening));
    lines.map(|line| (line.priority, line.message.as_str())).collect()
}

#[test]
fn calls_are_answered_or_refused() {
    let library = open_library!();
    let _rpcbind = rpcbind(&library);
    library.rules("rpcbind: 127.0.0.1, 127.0.0.2\n", "ALL: ALL\n");
    let (status, out, err) = run(Command::new("/usr/sbin/rpcinfo").args(["-p", "127.0.0.1"]));
    assert_eq!(status, 0, "{err}");
    assert!(out.contains(" 100000    2   tcp    111  portmapper"), "{out}");
    library.log_until("connect from 127.0.0.1 to dump()");
    let refused = "connect from 127.0.0.3 to dump(): request from unauthorized host";
    for ask in [ask, ask_by_datagram] {
        assert_eq!(ask("127.0.0.2"), Answer::Accepted);
        let log = library.log_until("connect from 127.0.0.2");
        assert_eq!(calls(&log, "127.0.0.2"), [(38, "connect from 127.0.0.2 to dump()")]);
        assert_eq!(ask("127.0.0.3"), Answer::TooWeak);
        let log = library.log_until("connect from 127.0.0.3");
        assert_eq!(calls(&log, "127.0.0.3"), [(36, refused)]);
    }
    library.rules("", "rpcbind: 127.0.0.1\n");
    let (status, _, err) = run(Command::new("/usr/sbin/rpcinfo").args(["-p", "127.0.0.1"]));
    assert_eq!(status, 1);
    assert!(err.contains("Authentication error"), "{err}");
    assert_eq!(ask("127.0.0.3"), Answer::Accepted);
}

/// A name is looked up by the functions that rpcbind took from the library, without a connection.
#[test]
fn names_of_callers() {
    let library = open_library!();
    lab::write("/etc/hosts", "127.0.0.2 good.example.com\n127.0.0.3 bad.example.org\n");
    let _rpcbind = rpcbind(&library);
    library.rules("rpcbind: .example.com\n", "ALL: ALL\n");
    assert_eq!(ask("127.0.0.2"), Answer::Accepted);
    assert_eq!(ask("127.0.0.3"), Answer::TooWeak);
    assert_eq!(ask("127.0.0.4"), Answer::TooWeak);
    library.rules("", "rpcbind: UNKNOWN\n");
    assert_eq!(ask("127.0.0.4"), Answer::TooWeak);
    assert_eq!(ask("127.0.0.3"), Answer::Accepted);
}

/// The same process is asked again and again: a trap works every time, and a decoy never, because it
/// would take the place of rpcbind itself.
#[test]
fn traps_and_decoys_in_a_process_that_stays() {
    let library = open_library!();
    let running = rpcbind(&library);
    let spawned = format!("{SCRATCH}/spawned");
    let trap = format!("spawn echo %d %a >> {spawned}");
    library.rules("rpcbind: 127.0.0.2\n", &format!("rpcbind: ALL: {trap}\n"));
    for _ in 0..3 {
        assert_eq!(ask("127.0.0.3"), Answer::TooWeak);
    }
    assert_eq!(ask("127.0.0.2"), Answer::Accepted);
    assert_eq!(std::fs::read_to_string(&spawned).unwrap(), "rpcbind 127.0.0.3\n".repeat(3));
    library.log();
    library.rules("", "rpcbind: 127.0.0.3: twist /bin/echo no\n");
    assert_eq!(ask("127.0.0.3"), Answer::TooWeak);
    let log = library.log_until("error: ");
    let error = "error: /etc/hosts.deny, line 1: twist option in resident process";
    assert_eq!(of_the_verdict("rpcbind", &log), [(27, error)]);
    assert_eq!(ask("127.0.0.2"), Answer::Accepted);
    library.expect_mapped(running.pid());
}

/// M2: rpcbind reaps children whenever one ends, and its answer about one client must not be kept for
/// the next. The original's answer was.
#[test]
fn a_program_is_asked_about_each_client() {
    let library = open_library!();
    if is_the_original() {
        return;
    }
    let _rpcbind = rpcbind(&library);
    library.rules("rpcbind: ALL: aclexec test %a = 127.0.0.2\n", "");
    for _ in 0..10 {
        assert_eq!(ask("127.0.0.3"), Answer::TooWeak);
        assert_eq!(ask("127.0.0.2"), Answer::Accepted);
    }
}

/// A process that lives for months: what the library opens it closes, and what it starts it buries.
#[test]
fn nothing_is_left_behind() {
    let library = open_library!();
    let running = rpcbind(&library);
    lab::write("/etc/hosts", "127.0.0.2 good.example.com\n");
    lab::write(&format!("{SCRATCH}/list"), "192.0.2.1 127.0.0.3\n");
    let trap = format!("rpcbind: {SCRATCH}/list: spawn true: setenv CALLER %n\n");
    library.rules("rpcbind: good.example.com: spawn true\n", &trap);
    let round = || {
        assert_eq!(ask("127.0.0.2"), Answer::Accepted);
        assert_eq!(ask("127.0.0.3"), Answer::TooWeak);
        assert_eq!(ask_by_datagram("127.0.0.3"), Answer::TooWeak);
    };
    let descriptors = || {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", running.pid())).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        names
    };
    round();
    let mut before = Vec::new();
    // The connections of the first round are closed when rpcbind gets round to it.
    let settled = lab::patiently(|| {
        std::thread::sleep(Duration::from_millis(100));
        std::mem::replace(&mut before, descriptors()) == before
    });
    assert!(settled, "{before:?}");
    for _ in 0..20 {
        round();
    }
    assert!(lab::patiently(|| descriptors() == before), "{before:?} {:?}", descriptors());
    let alone = || library.processes("rpcbind").len() == 1 && library.processes("sh").is_empty();
    assert!(lab::patiently(alone), "{:?}", library.processes("rpcbind"));
}

/// It runs as a user of its own. A list of the refused that this user may not read refuses everybody.
#[test]
fn a_table_that_rpcbind_may_not_read() {
    let library = open_library!();
    let _rpcbind = rpcbind(&library);
    library.rules("rpcbind: 127.0.0.2\n", "rpcbind: 127.0.0.9\n");
    lab::set_mode("/etc/hosts.deny", 0o600);
    assert_eq!(ask("127.0.0.2"), Answer::Accepted);
    assert_eq!(ask("127.0.0.3"), Answer::TooWeak);
    let log = library.log_until("warning: ");
    let warning = "warning: cannot open /etc/hosts.deny: Permission denied";
    assert_eq!(of_the_verdict("rpcbind", &log), [(27, warning)]);
    lab::set_mode("/etc/hosts.deny", 0o644);
    assert_eq!(ask("127.0.0.3"), Answer::Accepted);
}
