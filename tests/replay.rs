//! What does `tcpdmatch --replay` make of logs? Formats, screens, exit statuses, and the laws of deciding
//! by less than everything.
//!
//! `tests/replay/logs` holds lines in the forms of many programs, written for this; beside each stands
//! what is read from it. `tests/replay/NAME.txt` and `NAME.json` are screens and objects for the tables beside
//! them. `UPDATE_GOLDEN=1` rewrites all of it.
#![forbid(unsafe_code)]

mod common;
#[path = "common/golden.rs"]
mod golden;

use common::{Scripted, TextInMemory};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::Value;
use std::cell::Cell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use wrap::facts::{
    DaemonName, Endpoint, Fact, HostName, Identity, NoSuch, Request, Transport, UserName, stated_name,
};
use wrap::logline::{Caller, Line};
use wrap::narrator::Verdict;
use wrap::replay::entry::Fields;
use wrap::replay::header::{self, Moment, Record};
use wrap::replay::held::Rules;
use wrap::replay::judge::{Judge, Known, Machine, Manner};
use wrap::replay::shapes::{self, Connection, Link, Service, Told};
use wrap::replay::source::{Piece, Source};
use wrap::replay::{Replay, Wishes};
use wrap::rules::options::Deed;
use wrap::verdict::{Access, IfNot, Tables, decide};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay")
}

/// Calls tcpdmatch in the directory of the tables, with nothing of this machine and of this session.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpdmatch"));
    command.current_dir(directory()).args(["-d", "--config", "/dev/null", "--replay"]).args(arguments);
    command.env_remove("SSH_CONNECTION").stdin(Stdio::null());
    command
}

fn call(arguments: &[&str]) -> Output {
    command(arguments).output().expect("tcpdmatch runs")
}

fn said(output: &Output) -> String {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// All that is read from a record, on one line.
fn told(record: &Record<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let shown = |connection: &Connection<'_>| {
        let Connection { was, service, client, server: (server, port) } = connection;
        let mut words = vec![was.word().to_owned()];
        words.push(match service {
            Service::Daemon(name) => text(name),
            Service::Called(name) => format!("({})", text(name)),
        });
        words.extend(client.user.as_ref().map(|user| format!("user={}", text(user))));
        words.extend(client.name.as_ref().map(|name| format!("name={}", text(name))));
        words.extend(client.address.map(text));
        words.extend(server.map(|server| format!("server={}", text(server))));
        words.extend(port.map(|port| format!("port={port}")));
        words.join(" ")
    };
    let stamp = Moment::of(record.stamp);
    let pid = record.pid.map_or("-".to_owned(), |pid| pid.to_string());
    let (_, message) = shapes::repeated(record.message).unwrap_or((1, record.message));
    let what = match shapes::read(&Record { message, ..*record }) {
        Told::Connection(connection, Link::Alone) => shown(&connection),
        Told::Connection(connection, link) => format!("{} {link:?}", shown(&connection)),
        Told::Named { connection, .. } => format!("{} Refused", shown(&connection)),
        other => format!("{other:?}"),
    };
    format!("{stamp} {pid} {what}")
}

/// Every line of every form is read, and read right.
#[test]
fn every_log_is_read_without_loss() {
    let mut wrong = Vec::new();
    for name in [
        "debian.log",
        "elsewhere.log",
        "filters.log",
        "stamps.log",
        "programs.log",
        "journal.json",
        "ecs.json",
        // What the fuzz targets have found.
        "found.json",
    ] {
        let mut log = Source::open(&directory().join("logs").join(name)).expect("opens");
        let (mut listing, mut fields) = (String::new(), Fields::default());
        loop {
            let line = match log.next_line().expect("reads") {
                Piece::Line(line) => line.to_vec(),
                Piece::TooLong(_) => panic!("{name}: too long"),
                Piece::End => break,
            };
            let record = if line.starts_with(b"{") && fields.read(&line) {
                fields.record()
            } else {
                header::read(&line)
            };
            let what = record.map_or("no record".to_owned(), |record| told(&record));
            assert!(!what.contains("Unread"), "{name}: {}", String::from_utf8_lossy(&line));
            listing.push_str(&what);
            listing.push('\n');
        }
        wrong.extend(golden::difference(&directory().join(format!("logs/{name}.facts")), &listing));
        let object: Value =
            serde_json::from_str(&said(&call(&["--format", "json", &format!("logs/{name}")]))).expect("JSON");
        assert_eq!(object["lines"]["unread"], 0, "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A journal says the same in both of its formats, packed or not, from a file or a pipe.
#[test]
fn one_log_in_several_coats_is_one_log() {
    let bare = |output: &Output| {
        let mut object: Value = serde_json::from_str(&said(output)).expect("JSON");
        object["logs"] = Value::Null;
        object
    };
    let whole = bare(&call(&["--format", "json", "--verbose", "logs/journal.json"]));
    assert_eq!(whole["lines"]["connections"], 5);
    assert_eq!(whole, bare(&call(&["--format", "json", "--verbose", "logs/journal.export"])));
    for log in ["logs/journal.json", "logs/journal.export"] {
        let text = std::fs::read(directory().join(log)).expect("a log");
        let (one, other) = text.split_at(text.len() / 2);
        let mut packed = Vec::new();
        for part in [one, other] {
            // As when a log is packed in pieces.
            let mut packer = GzEncoder::new(&mut packed, Compression::fast());
            packer.write_all(part).expect("packs");
            packer.finish().expect("packs");
        }
        for bytes in [&text, &packed] {
            let mut running = command(&["--format", "json", "--verbose", "-"]);
            running.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut running = running.spawn().expect("tcpdmatch runs");
            running.stdin.take().expect("a pipe").write_all(bytes).expect("writes");
            assert_eq!(whole, bare(&running.wait_with_output().expect("ends")), "{log}");
        }
    }
}

const LOGS: [&str; 4] = ["logs/debian.log", "logs/filters.log", "logs/programs.log", "logs/elsewhere.log"];

/// What is shown for the logs of the corpus, under the rules beside them.
#[test]
fn golden_replays() {
    let mut wrong = Vec::new();
    for (name, words, status) in [
        ("flips", &[][..], 1),
        ("verbose", &["--verbose", "--unread", "logs/unread.log"], 1),
        ("accepted", &["--accept", "denied", "--accept", "hosts.allow:2", "--accept", "delegated"], 1),
        ("hits", &["--hits"], 0),
        (
            "named",
            &["--service", "tftp=in.tftpd", "--service", "ftp=in.ftpd", "--service=echo-dgram=echo"],
            1,
        ),
    ] {
        let arguments = [words, &LOGS[..]].concat();
        let output = call(&arguments);
        assert_eq!(output.status.code(), Some(status), "{name}");
        let screen = said(&output);
        for line in screen.lines() {
            assert!(line.chars().count() <= 80 && !line.contains('\x1b'), "{name}: {line}");
            assert_eq!(line.trim_end(), line, "{name}");
        }
        let output = call(&[&["--format", "json"][..], &arguments].concat());
        assert_eq!(output.status.code(), Some(status), "{name}");
        let object = said(&output);
        assert_eq!(object.matches('\n').count(), 1, "one object, one line");
        let object: Value = serde_json::from_str(&object).expect("JSON");
        wrong.extend(golden::difference(&directory().join(format!("{name}.txt")), &screen));
        wrong.extend(golden::difference(&directory().join(format!("{name}.json")), &format!("{object:#}\n")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn scratch(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("tcpdmatch-replay-{name}-{}", std::process::id()));
    std::fs::write(&path, text).expect("writes");
    path
}

#[test]
fn the_exit_status_says_what_flips() {
    let log = scratch("status", "Nov 21 12:57:37 box sshd[1]: refused connect from 192.0.2.7 (192.0.2.7)\n");
    let log = log.to_str().expect("UTF-8");
    for (words, status) in [
        (&["--deny", "/dev/null"][..], 1),
        (&["--deny", "/dev/null", "--accept", "hosts.allow:2"], 0),
        (&["--deny", "/dev/null", "--accept", "granted,192.0.2.0/28"], 0),
        (&["--deny", "/dev/null", "--accept", "granted,192.0.3.0/24", "--accept", "denied"], 1),
        (&["--allow", "/dev/null", "--accept", "no-rule"], 0),
        (&["--allow", "/dev/null", "--deny", "nosuch"], 2),
        (&["--accept", "nonsense"], 2),
        (&["--service", "nonsense"], 2),
        (&["--explain"], 2),
        (&["--expect", "granted"], 2),
        (&["-i", "/dev/null"], 2),
        (&["logs/nosuch.log"], 2),
        (&["--nonsense"], 2),
        (&["--hits"], 0),
        (&["--help"], 0),
    ] {
        let output = call(&[words, &[log]].concat());
        let shown = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(status), "{words:?}: {output:?}");
        assert_eq!(output.stderr.is_empty(), status != 2, "{words:?}");
        assert!(status == 2 || !shown.is_empty());
    }
    // What goes with a replay alone is a wrong call without it, as ever.
    let alone =
        Command::new(env!("CARGO_BIN_EXE_tcpdmatch")).args(["--hits", "a", "b"]).output().expect("runs");
    assert_eq!(alone.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&alone.stderr).starts_with("--hits goes with --replay")
            || alone.stdout.is_empty()
    );
    std::fs::remove_file(log).expect("the log");
}

/// Whoever would shut himself out is told so first, and it counts.
#[test]
fn the_session_at_hand_is_looked_after() {
    let with = |address: &str, words: &[&str]| {
        let mut command = command(words);
        command.env("SSH_CONNECTION", format!("{address} 50000 192.0.2.1 22")).arg("/dev/null");
        let output = command.output().expect("tcpdmatch runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"), output.stdout)
    };
    let warning = "warning: a session from 203.0.113.9, like this one, would be denied: by hosts.deny:2\n";
    let (status, stderr, _) = with("203.0.113.9", &[]);
    assert_eq!((status, stderr.as_str()), (Some(1), warning));
    let (status, stderr, stdout) = with("203.0.113.9", &["--format", "json"]);
    assert_eq!((status, stderr.as_str()), (Some(1), warning));
    let object: Value = serde_json::from_slice(&stdout).expect("JSON");
    assert_eq!(object["session"]["possible"], Value::from(vec!["denied"]));
    assert_eq!(object["session"]["decided_by"]["line"], 2);
    assert_eq!(golden::difference(&directory().join("session.json"), &format!("{object:#}\n")), None);
    let rules = scratch("session", "sshd: .example.com: deny\n");
    let rules = rules.to_str().expect("UTF-8");
    let (status, stderr, _) = with("198.51.100.7", &["--allow", rules]);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("may be refused") && stderr.contains("asks for the client's name"), "{stderr}");
    for (address, words) in [
        ("192.0.2.9", &[][..]),
        ("2001:db8:1::9", &[]),
        ("203.0.113.9", &["--hits"]),
        ("203.0.113.9", &["--accept", "hosts.deny:2"]),
        ("203.0.113.9", &["--accept", "203.0.113.9"]),
        ("nonsense", &[]),
    ] {
        let (status, stderr, _) = with(address, words);
        assert_eq!((status, stderr.as_str()), (Some(0), ""), "{address} {words:?}");
    }
    std::fs::remove_file(rules).expect("the rules");
}

/// Rules that cannot be read refuse as the wrapper would refuse, and that is told.
#[test]
fn trouble_is_told() {
    let log = scratch("trouble-log", "Nov 21 12:57:37 box in.x[1]: connect from 192.0.2.7 (192.0.2.7)\n");
    let rules = scratch("trouble", "in.y: ALL\nin.z: ALL");
    let paths = [&log, &rules].map(|path| path.to_str().expect("UTF-8").to_owned());
    let [log, rules] = &paths;
    let screen = said(&call(&["--allow", "/dev/null", "--deny", rules, log]));
    assert!(screen.contains("trouble     something cannot be read, trusted or obeyed"), "{screen}");
    let flat = screen.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("missing newline or line too long"), "{screen}");
    let conf = scratch("trouble-conf", "paranoid yes\n");
    let conf = conf.to_str().expect("UTF-8");
    let screen = said(&call(&["--config", conf, "--allow", "/dev/null", "--deny", "/dev/null", log]));
    assert!(screen.contains("paranoid yes asks for the client's name"), "{screen}");
    std::fs::write(conf, "paranoid maybe\n").expect("writes");
    let screen = said(&call(&["--config", conf, "--allow", "/dev/null", "--deny", "/dev/null", log]));
    assert!(screen.contains("trouble     something"), "{screen}");
    for path in [log, rules, conf] {
        std::fs::remove_file(path).expect("the file");
    }
}

/// The heads that a line of ours may get.
fn heads() -> [fn(&str, u32, &str) -> String; 8] {
    [
        |tag, pid, text| format!("Nov 21 12:57:37 {tag}[{pid}]: {text}"),
        |tag, pid, text| format!("<30>Nov  1 12:57:37 {tag}[{pid}]: {text}"),
        |tag, pid, text| format!("Nov 21 12:57:37 box {tag}[{pid}]: {text}"),
        |tag, pid, text| format!("2026-11-21T12:57:37.123456+01:00 box.example.com {tag}[{pid}]: {text}"),
        |tag, pid, text| format!("<30>1 2026-11-21T12:57:37Z box {tag} {pid} - - {text}"),
        |tag, pid, text| format!("Nov 21 12:57:37 box {tag}[{pid}]: [ID 1 daemon.info] {text}"),
        |tag, pid, text| {
            serde_json::json!({"SYSLOG_IDENTIFIER": tag, "SYSLOG_PID": pid.to_string(), "MESSAGE": text})
                .to_string()
        },
        |tag, pid, text| {
            serde_json::json!({"@timestamp": "x", "process": {"name": tag, "pid": pid}, "message": text})
                .to_string()
        },
    ]
}

/// A user as an ident server may give it.
fn user() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 1..12))
}

fn name() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("[a-z][a-z0-9_-]{0,9}(\\.[a-z][a-z0-9-]{0,9}){0,3}")
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<[u8; 4]>()
            .prop_filter("no address to rules", |ip| *ip != [255; 4])
            .prop_map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
        any::<[u8; 16]>().prop_map(|ip| std::net::Ipv6Addr::from(ip).to_string()),
        Just("unknown".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// What the wrapper writes is read back, whatever head it was given.
    #[test]
    fn our_own_lines_are_read_back(user in user(), name in name(), address in address(), kind in 0..3_u8) {
        let host = name.clone().unwrap_or(address.clone()).into_bytes();
        let caller = Caller { user: user.clone(), host: host.clone(), address: address.clone().into_bytes() };
        let (line, was) = match kind {
            0 => (Line::Connect(caller), Verdict::Granted),
            1 => (Line::Refused(caller), Verdict::Denied),
            _ => (Line::Twist { user: user.clone(), host, command: b"/bin/echo a to b".to_vec() }, Verdict::Delegated),
        };
        let text = String::from_utf8(line.print()).expect("ASCII");
        let mut fields = Fields::default();
        for head in heads() {
            let line = head("in.testd", 4711, &text);
            let record = if fields.read(line.as_bytes()) { fields.record() } else { header::read(line.as_bytes()) };
            let record = record.expect("a record");
            let Told::Connection(connection, Link::Alone) = shapes::read(&record) else {
                return Err(TestCaseError::fail(line));
            };
            let expected = if kind == 2 && name.is_some() { None } else { Some(address.as_bytes()) };
            prop_assert_eq!((record.pid, connection.service), (Some(4711), Service::Daemon(b"in.testd")), "{}", line);
            prop_assert_eq!(connection.was, was, "{}", line);
            prop_assert_eq!(connection.client.user.as_deref(), user.as_deref(), "{}", line);
            prop_assert_eq!(connection.client.name.as_deref(), name.as_ref().map(|name| name.as_bytes()), "{}", line);
            prop_assert_eq!(connection.client.address, expected, "{}", line);
        }
    }

    /// A line that was damaged on its way is read, or counted among those that are not; never more.
    #[test]
    fn damaged_lines_are_counted(at in any::<proptest::sample::Index>(), damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4)) {
        let text = CORPUS.concat();
        let lines: Vec<&str> = text.lines().collect();
        let mut line = lines[at.index(lines.len())].as_bytes().to_vec();
        for (place, byte) in damage {
            let place = place.index(line.len());
            match byte {
                0..32 => line.truncate(place + 1),
                byte => line[place] = byte,
            }
        }
        let rules = Rules::read(Path::new("/dev/null"), Path::new("/dev/null"));
        let mut replay = Replay::new(&rules, Manner::default(), &Nobody, Wishes::default());
        replay.read("x", Source::new(std::io::Cursor::new(line)).expect("opens"), &mut |_| {}).expect("reads");
        replay.finish();
        let all = replay.lines;
        prop_assert_eq!(all.all, 1);
        prop_assert!(all.connections > 1 || all.connections + all.other + all.unread == 1);
    }

    /// No line makes it panic, and each is counted once.
    #[test]
    fn any_line_is_counted(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..8), start in 0..SEEDS.len()) {
        let mut log = SEEDS[start].as_bytes().to_vec();
        for line in &lines {
            log.extend_from_slice(line);
            log.push(b'\n');
        }
        let rules = Rules::read(Path::new("/dev/null"), Path::new("/dev/null"));
        let mut replay = Replay::new(&rules, Manner::default(), &Nobody, Wishes::default());
        // A field of a journal may announce more bytes than there are.
        let _ = replay.read("x", Source::new(std::io::Cursor::new(log)).expect("opens"), &mut |_| {});
        replay.finish();
        let all = replay.lines;
        prop_assert!(all.other + all.unread <= all.all);
    }
}

const CORPUS: [&str; 6] = [
    include_str!("replay/logs/debian.log"),
    include_str!("replay/logs/elsewhere.log"),
    include_str!("replay/logs/filters.log"),
    include_str!("replay/logs/programs.log"),
    include_str!("replay/logs/stamps.log"),
    include_str!("replay/logs/ecs.json"),
];

const SEEDS: [&str; 7] = [
    "",
    "__CURSOR=x\nMESSAGE\n",
    "Nov 21 12:57:37 box sshd[1]: ",
    "{\"MESSAGE\":\"",
    "Nov 21 12:57:37 box xinetd[1]: START: ftp pid=1 from=",
    "<30>1 2026-11-21T12:57:37Z box a 1 - [",
    "Nov 21 12:57:37 box in.x[1]: refused connect from ",
];

/// A machine that is asked nothing.
struct Nobody;

impl Machine for Nobody {
    fn name(&self, _: &[u8]) -> Option<Fact<HostName>> {
        None
    }

    fn identity(&self, _: Option<&[u8]>, _: Option<&[u8]>) -> Result<Identity, NoSuch> {
        Err(NoSuch::User)
    }

    fn interface_exists(&self, _: &[u8]) -> bool {
        false
    }
}

/// A list of words with EXCEPT between some of them.
fn list(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::collection::vec((proptest::sample::select(words), 0..5_u8), 1..5).prop_map(|parts| {
        let mut text = String::new();
        for (at, (word, except)) in parts.into_iter().enumerate() {
            text.push_str(if at == 0 {
                ""
            } else if except == 0 {
                " EXCEPT "
            } else {
                " "
            });
            text.push_str(word);
        }
        text
    })
}

const DAEMONS: &[&str] =
    &["ALL", "in.a", "in.b", "in.*", "in.a@192.0.2.1", "ALL@192.0.2.", "21", "in.a@.example.com"];
const CLIENTS: &[&str] = &[
    "ALL",
    "192.0.2.7",
    "192.0.2.",
    "192.0.2.0/255.255.255.0",
    "192.0.2.7/24",
    "192.0.0.0/16",
    "[2001:db8::]/32",
    "2001:db8::7",
    "fe80::1",
    ".example.com",
    "h.example.com",
    "h.*",
    "KNOWN",
    "UNKNOWN",
    "PARANOID",
    "LOCAL",
    "joe@ALL",
    "joe@192.0.2.",
    "ALL@.example.com",
    "KNOWN@ALL",
    "@group",
    "/nonexistent/list",
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/replay/list"),
    "*",
];
const OPTIONS: &[&str] = &[
    "",
    "",
    "",
    "",
    ": deny",
    ": allow",
    ": twist x",
    ": aclexec x",
    ": aclexec x: allow",
    ": aclexec x: deny",
    ": user nosuch",
    ": bogus",
    ": severity auth.info",
    ": rfc931",
];
const ODD: &[&str] = &["no colon", "in.a: [::1", "ALL]: x: deny", "# nothing"];

/// A table that asks for nothing but numbers and the client's name.
fn plain_table() -> impl Strategy<Value = String> {
    table_of(
        &["ALL", "in.a", "in.b", "in.*"],
        CLIENTS.get(..16).expect("so many"),
        &["", "", ": deny", ": allow", ": bogus"],
    )
}

fn table() -> impl Strategy<Value = String> {
    table_of(DAEMONS, CLIENTS, OPTIONS)
}

fn table_of(
    daemons: &'static [&'static str],
    clients: &'static [&'static str],
    options: &'static [&'static str],
) -> impl Strategy<Value = String> {
    let rule = (list(daemons), list(clients), proptest::sample::select(options));
    let rule = rule.prop_map(|(daemons, clients, options)| format!("{daemons}: {clients}{options}\n"));
    let odd = proptest::sample::select(ODD).prop_map(|line| format!("{line}\n"));
    proptest::collection::vec(prop_oneof![9 => rule, 1 => odd], 0..5).prop_map(|lines| lines.concat())
}

/// Everything that is true about a connection, whether a log tells it or not.
#[derive(Clone, Debug)]
struct World {
    daemon: &'static str,
    address: String,
    name: &'static str,
    user: &'static str,
    server: (&'static str, &'static str, u16),
    is_member: bool,
    commands_say_yes: bool,
}

fn world() -> impl Strategy<Value = World> {
    let pick = proptest::sample::select;
    let client = (
        pick(&["in.a", "in.b"][..]),
        pick(&["192.0.2.7", "192.0.3.7", "203.0.113.9", "2001:db8::7", "2001:db9::7"][..]),
        pick(&["unknown", "paranoid", "h.example.com", "other.org", "localhost", "fe80"][..]),
        pick(&["unknown", "joe", "bob"][..]),
    );
    let server = proptest::sample::select(
        &[("192.0.2.1", "unknown", 21_u16), ("192.0.9.1", "srv.example.com", 22)][..],
    );
    (client, server, any::<bool>(), any::<bool>()).prop_map(
        |((daemon, address, name, user), server, is_member, commands_say_yes)| World {
            daemon,
            address: address.to_owned(),
            name,
            user,
            server,
            is_member,
            commands_say_yes,
        },
    )
}

/// The verdict of the wrapper, which can ask for everything.
fn verdict(world: &World, [allow, deny]: [&str; 2], strict: bool) -> Verdict {
    let answers = Scripted {
        client: Some(world.name.into()),
        server: Some(world.server.1.into()),
        user: Some(world.user.into()),
        netgroup: if world.is_member { "group (,,)".to_owned() } else { String::new() },
        ..Scripted::default()
    };
    let end = |address: &str, port| Endpoint::new(Fact::Known(address.as_bytes().to_vec()), port);
    let ends = (end(&world.address, None), end(world.server.0, Some(world.server.2)));
    let request =
        Request::new(DaemonName::stated(world.daemon.as_bytes()), 1, Transport::Stream, ends, &answers);
    let (mut allow, mut deny) = (
        TextInMemory::new("hosts.allow", allow.as_bytes()),
        TextInMemory::new("hosts.deny", deny.as_bytes()),
    );
    let mut tables = Tables::new(&mut allow, &mut deny, strict);
    loop {
        let decision = decide(&mut tables, &request);
        let asks = decision.plan.iter().any(|step| step.deed == Deed::Aclexec);
        if asks && !world.commands_say_yes {
            match decision.if_not {
                IfNot::Ignore => {}
                IfNot::Refuse => return Verdict::Denied,
                IfNot::GoOn => continue,
            }
        }
        return match (decision.access, decision.plan.last().map(|step| &step.deed)) {
            (Access::Permit, _) => Verdict::Granted,
            (Access::Deny, Some(Deed::Twist)) => Verdict::Delegated,
            (Access::Deny, _) => Verdict::Denied,
        };
    }
}

/// Tables in files, gone with the value.
struct Files([PathBuf; 2]);

impl Files {
    fn new([allow, deny]: [&str; 2]) -> Files {
        thread_local!(static NEXT: Cell<u32> = const { Cell::new(0) });
        let number = NEXT.replace(NEXT.get() + 1);
        let thread = format!("{:?}", std::thread::current().id());
        let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
        Files(
            [("allow", allow), ("deny", deny)]
                .map(|(name, text)| scratch(&format!("{thread}-{number}-{name}"), text)),
        )
    }

    fn rules(&self) -> Rules {
        Rules::read(&self.0[0], &self.0[1])
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// What of a world a log may hold.
fn known(world: &World, held: [bool; 5]) -> Known<'_> {
    let [daemon, address, name, user, server] = held;
    let is_name = !["unknown", "paranoid"].contains(&world.name);
    Known {
        daemon: daemon.then_some(world.daemon.as_bytes()),
        address: address.then_some(world.address.as_bytes()),
        name: (name && is_name).then_some(world.name.as_bytes()),
        user: (user && world.user != "unknown").then_some(world.user.as_bytes()),
        server: server.then_some(world.server.0.as_bytes()),
        server_port: server.then_some(world.server.2),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// **Nothing is guessed**: whatever is true about what a log does not hold, the verdict is among those that
    /// are said to be possible; where one is said to be sure, it is the verdict.
    #[test]
    fn what_is_said_to_be_sure_is_sure(
        tables in (table(), table()),
        worlds in proptest::collection::vec(world(), 1..6),
        held in any::<[bool; 5]>(),
        strict in proptest::bool::weighted(0.1),
    ) {
        let texts = [tables.0.as_str(), tables.1.as_str()];
        let files = Files::new(texts);
        let rules = files.rules();
        let mut judge = Judge::new(&rules, Manner { strict, ..Manner::default() }, &Nobody);
        for world in &worlds {
            let outcome = judge.judge(&known(world, held));
            let verdict = verdict(world, texts, strict);
            prop_assert!(outcome.verdicts().any(|possible| possible == verdict), "{world:?} {held:?} {outcome:?} {verdict:?}");
        }
    }

    /// Where all is known that is asked, all is sure.
    #[test]
    fn what_is_known_is_not_asked_for(tables in (plain_table(), plain_table()), world in world()) {
        let texts = [tables.0.as_str(), tables.1.as_str()];
        let world = World { name: "h.example.com", ..world };
        let files = Files::new(texts);
        let rules = files.rules();
        let outcome = Judge::new(&rules, Manner::default(), &Nobody).judge(&known(&world, [true; 5]));
        prop_assert_eq!(outcome.sure(), Some(verdict(&world, texts, false)), "{:?}", outcome);
    }

    /// **Whoever is out of reach is not matched**: what a judge passes over changes nothing.
    #[test]
    fn what_is_left_out_would_not_have_matched(
        tables in (numeric_table(), numeric_table()),
        clients in proptest::collection::vec(any::<[u8; 4]>().prop_map(near), 1..10),
        name in proptest::sample::select(&["unknown", "h.example.com"][..]),
    ) {
        let texts = [tables.0.as_str(), tables.1.as_str()];
        let files = Files::new(texts);
        let rules = files.rules();
        let mut judge = Judge::new(&rules, Manner::default(), &Nobody);
        for client in clients {
            let address = std::net::Ipv4Addr::from(client).to_string();
            let server = ("192.0.2.1", "unknown", 21);
            let (daemon, user) = ("in.a", "unknown");
            let world = World { daemon, address, name, user, server, is_member: false, commands_say_yes: true };
            let outcome = judge.judge(&known(&world, [true, true, false, false, false]));
            let verdict = verdict(&world, texts, false);
            prop_assert!(outcome.verdicts().any(|possible| possible == verdict), "{world:?} {outcome:?} {verdict:?}");
            if !texts.concat().contains("example") {
                prop_assert_eq!(outcome.sure(), Some(verdict), "{:?}", world);
            }
        }
    }
}

/// Addresses that rules are about, and those beside them.
fn near([a, b, c, d]: [u8; 4]) -> [u8; 4] {
    let first = [9, 10, 11, 192][usize::from(a % 4)];
    [first, b % 3, c % 3, [0, 1, 2, 3, 127, 128, 254, 255][usize::from(d % 8)]]
}

fn numeric_table() -> impl Strategy<Value = String> {
    let word =
        (any::<[u8; 4]>().prop_map(near), 0..7_u8, 0..33_u8).prop_map(|([a, b, c, d], kind, length)| {
            match kind {
                0 => format!("{a}."),
                1 => format!("{a}.{b}."),
                2 => format!("{a}.{b}.{c}."),
                3 => format!("{a}.{b}.{c}.{d}"),
                4 => format!("{a}.{b}.{c}.{d}/{length}"),
                5 => format!("{a}.{b}.0.0/255.255.0.0"),
                _ => ".example.com".to_owned(),
            }
        });
    let rule =
        (proptest::collection::vec(word, 1..4), 0..6_u8, 0..3_u8).prop_map(|(words, except, option)| {
            let words = if except == 0 { words.join(" EXCEPT ") } else { words.join(" ") };
            let option = [": deny", ": allow", ""][usize::from(option)];
            format!("in.a: {words}{option}\n")
        });
    proptest::collection::vec(rule, 0..6).prop_map(|rules| rules.concat())
}

/// Names that are looked up are facts like others.
#[test]
fn names_may_be_looked_up() {
    struct Names;
    impl Machine for Names {
        fn name(&self, address: &[u8]) -> Option<Fact<HostName>> {
            Some(stated_name(if address == b"192.0.2.7" { Some(b"h.example.com") } else { None }))
        }
        fn identity(&self, _: Option<&[u8]>, _: Option<&[u8]>) -> Result<Identity, NoSuch> {
            Err(NoSuch::User)
        }
        fn interface_exists(&self, _: &[u8]) -> bool {
            false
        }
    }
    let files = Files::new(["in.a: .example.com\n", "ALL: ALL\n"]);
    let rules = files.rules();
    let mut judge = Judge::new(&rules, Manner::default(), &Names);
    for (address, verdict) in [("192.0.2.7", Verdict::Granted), ("192.0.2.8", Verdict::Denied)] {
        let known = Known { daemon: Some(b"in.a"), address: Some(address.as_bytes()), ..Known::default() };
        assert_eq!(judge.judge(&known).sure(), Some(verdict), "{address}");
    }
    let nameless = Manner { nameless: true, ..Manner::default() };
    let known = Known {
        daemon: Some(b"in.a"),
        address: Some(b"192.0.2.7"),
        name: Some(b"h.example.com"),
        ..Known::default()
    };
    assert_eq!(
        Judge::new(&rules, nameless, &Nobody).judge(&known).sure(),
        Some(Verdict::Denied),
        "resolve never"
    );
}

/// A word that asks for what is missing does not matter where another one matches for sure.
#[test]
fn what_is_missing_need_not_matter() {
    let list = scratch("list", "lost.example.com\n192.0.2.7\n");
    let file = list.display();
    for (allow, deny, expected) in [
        ("in.a: .example.com, 192.0.2.\n", "ALL: ALL\n", Some(Verdict::Granted)),
        ("in.a: .example.com\nin.a: 192.0.2.\n", "ALL: ALL\n", Some(Verdict::Granted)),
        ("in.a: .example.com\n", "ALL: ALL\n", None),
        ("in.a: .example.com\n", "", Some(Verdict::Granted)),
        ("in.b: .example.com\n", "ALL: ALL\n", Some(Verdict::Denied)),
        ("in.a@192.0.2.1: 203.0.113.\n", "ALL: ALL\n", Some(Verdict::Denied)),
        ("in.a@192.0.2.1: 192.0.2.\n", "ALL: ALL\n", None),
        ("21: ALL\n", "ALL: ALL\n", None),
        ("ALL@ALL: ALL@ALL\n", "ALL: ALL\n", Some(Verdict::Granted)),
        ("in.a: ALL EXCEPT .example.com\n", "ALL: ALL\n", None),
        ("in.a: 203.0.113. EXCEPT .example.com\n", "ALL: ALL\n", Some(Verdict::Denied)),
        ("in.a: joe@192.0.2.\n", "ALL: ALL\n", None),
        ("in.a: joe@203.0.113.\n", "ALL: ALL\n", Some(Verdict::Denied)),
        (&format!("in.a: {file}\n"), "ALL: ALL\n", Some(Verdict::Granted)),
        ("", "ALL: ALL: aclexec x\n", None),
        ("", "ALL: ALL: aclexec x: deny\n", Some(Verdict::Denied)),
        ("ALL: ALL: aclexec x\n", "", None),
        ("ALL: KNOWN: twist x\n", "ALL: ALL: twist y\n", Some(Verdict::Delegated)),
    ] {
        let files = Files::new([allow, deny]);
        let rules = files.rules();
        let known = Known { daemon: Some(b"in.a"), address: Some(b"192.0.2.7"), ..Known::default() };
        let outcome = Judge::new(&rules, Manner::default(), &Nobody).judge(&known);
        assert_eq!(outcome.sure(), expected, "{allow}{deny}{outcome:?}");
    }
    std::fs::remove_file(list).expect("the list");
    let user = UserName::stated(b"joe");
    let files = Files::new(["in.a: joe@192.0.2.\n", "ALL: ALL\n"]);
    let rules = files.rules();
    let known = Known {
        daemon: Some(b"in.a"),
        address: Some(b"192.0.2.7"),
        user: Some(user.as_ref()),
        ..Known::default()
    };
    assert_eq!(Judge::new(&rules, Manner::default(), &Nobody).judge(&known).sure(), Some(Verdict::Granted));
}
