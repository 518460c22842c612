//! Do the journal and the file of JSON get what happened, and does nothing that is wrong with them
//! change a verdict, the syslog line, or the time of a client?
//!
//! The journal is a real journald where it has to understand us, and a socket that nobody reads, or none,
//! where it has to be endured.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::lab::launch::{connection, run};
use crate::lab::nameserver::{Reply, serve};
use crate::lab::server::ident_says;
use crate::lab::{self, Lab, Outcome, Running, SCRATCH, Visit, place};

const JOURNAL: &str = "/run/systemd/journal/socket";
const FILE: &str = "/run/tw-e2e/log.json";

fn visit(lab: &Lab, logs: &[&str]) -> Outcome {
    visit_from(lab, "127.0.0.2", logs)
}

fn visit_from(lab: &Lab, client: &str, logs: &[&str]) -> Outcome {
    Visit::of(lab).from(client).arguments(&arguments(logs)).run()
}

/// argv of the wrapper with these channels.
fn arguments<'l>(logs: &[&'l str]) -> Vec<&'l str> {
    let mut arguments = vec!["tcpd"];
    logs.iter().for_each(|log| arguments.extend(["--log", *log]));
    arguments.extend(["--", "/usr/sbin/in.tw-probe"]);
    arguments
}

/// The objects in the file, one a line.
fn objects(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    let object = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    text.lines().map(object).collect()
}

/// A socket in the journal's place.
fn journal_socket() -> UnixDatagram {
    std::fs::create_dir_all("/run/systemd/journal").unwrap();
    let socket = UnixDatagram::bind(JOURNAL).unwrap();
    lab::set_mode(JOURNAL, 0o666);
    socket.set_nonblocking(true).unwrap();
    socket
}

fn datagrams(socket: &UnixDatagram) -> Vec<String> {
    let mut buffer = vec![0; 1 << 16];
    let next = || socket.recv(&mut buffer).ok().map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned());
    std::iter::from_fn(next).collect()
}

/// A queue that takes no more.
fn fill(path: &str) {
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"<13>Jan  1 00:00:00 filler: junk", path).is_ok() {}
}

/// Settings name all channels; each says the same of the same connection, and inetd's line is what it was.
#[test]
fn every_channel_tells_the_same() {
    let lab = open_lab!();
    let journal = journal_socket();
    lab.rules("# nobody\nALL: 127.0.0.2\n", "ALL: ALL\n");
    let alone = [Visit::of(&lab).run(), Visit::of(&lab).from("127.0.0.3").run()];
    assert_eq!(datagrams(&journal), [""; 0], "nobody asked for it");
    lab::write("/etc/tcpd.conf", format!("log syslog journal json:{FILE}\n"));
    let both = [Visit::of(&lab).run(), Visit::of(&lab).from("127.0.0.3").run()];
    for (alone, both) in alone.iter().zip(&both) {
        assert_eq!((&alone.received, alone.exit), (&both.received, both.exit));
        let said = |outcome: &Outcome| -> Vec<_> {
            let lines = outcome.log.iter();
            lines.map(|line| (line.priority, line.tag.clone(), line.message.clone())).collect()
        };
        assert_eq!(said(alone), said(both));
    }
    let (told, written) = (datagrams(&journal), objects(FILE));
    assert_eq!((told.len(), written.len()), (2, 2));
    for ((outcome, datagram), object) in both.iter().zip(&told).zip(&written) {
        let field = |name: &str| {
            let lines = datagram.lines().filter_map(|line| line.split_once('='));
            lines.filter(|(field, _)| *field == name).map(|(_, value)| value.to_owned()).next().unwrap()
        };
        let line = &outcome.log[0];
        assert_eq!((field("MESSAGE"), &object["message"]), (line.message.clone(), &field("MESSAGE").into()));
        assert_eq!(field("SYSLOG_IDENTIFIER"), line.tag);
        assert_eq!(field("SYSLOG_PID"), line.pid.unwrap().to_string());
        assert_eq!(object["process"]["pid"], line.pid.unwrap());
        let priority: u32 = field("PRIORITY").parse().unwrap();
        assert_eq!(field("SYSLOG_FACILITY").parse::<u32>().unwrap() << 3 | priority, line.priority);
        assert_eq!(field("TCPD_CLIENT_ADDR"), outcome.client.ip().to_string());
        assert_eq!(field("TCPD_CLIENT_PORT"), outcome.client.port().to_string());
        assert_eq!(object["source"]["port"], outcome.client.port());
        assert_eq!(field("TCPD_SERVER_PORT"), outcome.server.port().to_string());
        assert_eq!(field("TCPD_VERDICT"), object["tcpd"]["verdict"]);
        assert_eq!(
            object["rule"]["name"],
            format!("{}:{}", field("TCPD_RULE_FILE"), field("TCPD_RULE_LINE"))
        );
    }
    assert_eq!(written[0]["rule"]["name"], "/etc/hosts.allow:2");
    assert_eq!(
        (&written[1]["tcpd"]["verdict"], &written[1]["tcpd"]["rule_line"]),
        (&"refused".into(), &1.into())
    );
    assert_eq!(std::fs::metadata(FILE).unwrap().permissions().mode() & 0o7777, 0o640);
}

fn journald() -> Running {
    lab::need("/usr/lib/systemd/systemd-journald", "systemd");
    std::fs::create_dir_all("/run/log/journal").unwrap();
    std::fs::create_dir_all("/run/systemd/journal").unwrap();
    lab::write("/etc/machine-id", "706ee89358fc47e58df00cc81033805d\n");
    let mut command = Command::new("/usr/lib/systemd/systemd-journald");
    let running = Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    let listens = || UnixDatagram::unbound().unwrap().connect(JOURNAL).is_ok();
    assert!(lab::patiently(listens), "journald does not listen");
    running
}

/// The entries of a real journal that match, oldest first, when there are so many.
fn entries(matching: &str, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    let all_there = lab::patiently(|| {
        let mut command = Command::new("/usr/bin/journalctl");
        command.args(["-D", "/run/log/journal/706ee89358fc47e58df00cc81033805d", "-o", "json", "--no-pager"]);
        let (_, out, _) = run(command.arg(matching));
        found = out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        found.len() >= count
    });
    assert!(all_there, "{matching}: {found:#?}");
    found
}

/// A real journal keeps the fields, and a user of many lines is one value.
#[test]
fn journald_understands() {
    let lab = open_lab!();
    let _journald = journald();
    lab.rules("", "ALL: 127.0.0.2: twist /bin/echo go away, %a\nALL: 127.0.0.3: rfc931 3\n");
    let outcome = visit(&lab, &["journal"]);
    assert_eq!((outcome.received.as_str(), outcome.log.len()), ("go away, 127.0.0.2\n", 0));
    let reply = "<R>,<L>:USERID:UNIX:joe\rTCPD_VERDICT=served\x1b\r\n";
    let (_ident, _) = ident_says("127.0.0.3", reply);
    let outcome = visit_from(&lab, "127.0.0.3", &["journal", "syslog"]);
    assert_eq!((outcome.received.as_str(), outcome.log.len()), ("", 1));

    let [twisted] = &entries("MESSAGE_ID=d66d27c78af543b6920cac05aa508aca", 1)[..] else { panic!("one") };
    assert_eq!(twisted["MESSAGE"], "twist 127.0.0.2 to /bin/echo go away, 127.0.0.2");
    assert_eq!(
        (&twisted["TCPD_COMMAND"], &twisted["PRIORITY"]),
        (&"/bin/echo go away, 127.0.0.2".into(), &"4".into())
    );
    assert_eq!(twisted["SYSLOG_IDENTIFIER"], "in.tw-probe");
    let [refused] = &entries("TCPD_VERDICT=refused", 1)[..] else { panic!("one") };
    assert_eq!(refused["MESSAGE"].as_str().unwrap(), outcome.log[0].message);
    assert_eq!((&refused["TCPD_RULE_LINE"], &refused["TCPD_BECAUSE"]), (&"2".into(), &"rule".into()));
    // What is no plain text comes as the numbers of its bytes.
    let user = match &refused["TCPD_CLIENT_USER"] {
        Value::String(text) => text.clone().into_bytes(),
        bytes => bytes.as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8).collect(),
    };
    assert!(user.starts_with(b"joe"), "{user:?}");
    assert!(
        entries("SYSLOG_IDENTIFIER=in.tw-probe", 2).iter().all(|entry| entry["TCPD_VERDICT"] != "served")
    );
}

/// How long a name server was waited for.
#[test]
fn lookups_are_timed() {
    let lab = open_lab!();
    let slow = |reply| Reply::After(Duration::from_millis(120), Box::new(reply));
    let _names = serve(move |_, kind| match kind {
        12 => slow(Reply::pointer("host.example.com")),
        1 => slow(Reply::Address([127, 0, 0, 2])),
        _ => Reply::NoSuchName,
    });
    let log = format!("json:{FILE}");
    lab.rules("", "");
    visit(&lab, &[&log]);
    lab.rules("ALL: .example.com\n", "ALL: ALL\n");
    visit(&lab, &[&log]);
    let [numeric, named] = &objects(FILE)[..] else { panic!("two") };
    assert_eq!(
        (&numeric["tcpd"]["name_status"], &numeric["tcpd"]["dns_ms"]),
        (&"not-asked".into(), &0.into())
    );
    assert_eq!(named["tcpd"]["name_status"], "known");
    assert_eq!(named["source"]["domain"], "host.example.com");
    assert!(named["tcpd"]["dns_ms"].as_u64().unwrap() >= 240, "{named}");
}

#[test]
fn a_missing_journal_changes_nothing() {
    let lab = open_lab!();
    lab.rules("in.tw-probe: 127.0.0.2\n", "ALL: ALL\n");
    for prepare in [
        || {},
        || drop(journal_socket()),
        || {
            std::fs::remove_file(JOURNAL).unwrap();
            std::fs::create_dir(JOURNAL).unwrap();
        },
    ] {
        prepare();
        for logs in [&["journal"][..], &["journal", "syslog"]] {
            assert!(visit(&lab, logs).served());
            let outcome = visit_from(&lab, "127.0.0.3", logs);
            assert_eq!((outcome.received.as_str(), outcome.exit), ("", 0));
            assert_eq!(outcome.log.len(), logs.len() - 1);
        }
    }
}

fn median_visit(lab: &Lab, logs: &[&str]) -> Duration {
    let mut times: Vec<Duration> = (0..9)
        .map(|_| {
            let outcome = visit(lab, logs);
            assert!(outcome.served());
            outcome.took
        })
        .collect();
    times.sort();
    times[4]
}

/// Promised: never more than 100 ms, however many channels are stuck. The rest is slack for a loaded
/// machine.
#[test]
fn readers_that_are_stuck_delay_nobody() {
    let lab = open_lab!();
    std::fs::write("/proc/sys/net/unix/max_dgram_qlen", "10").unwrap();
    lab.rules("ALL: 127.\n", "ALL: ALL\n");
    let _journal = journal_socket();
    let logs = ["journal", "syslog"];
    let before = median_visit(&lab, &logs);
    fill(JOURNAL);
    let one = median_visit(&lab, &logs);
    std::fs::remove_file("/dev/log").unwrap();
    let _stuck = lab::Syslogd::listen("/dev/log");
    fill("/dev/log");
    let two = median_visit(&lab, &logs);
    let most = before + Duration::from_millis(400);
    assert!(one < most && two < most, "{before:?} became {one:?} and {two:?}");
}

/// On a full disk lines are dropped whole, and once there is room again, their number is said.
#[test]
fn a_full_disk_changes_nothing_and_cuts_no_line() {
    let lab = open_lab!();
    let small = format!("{SCRATCH}/small");
    std::fs::create_dir(&small).unwrap();
    place::tmpfs(&small, "size=12k,mode=0755");
    let (file, filler) = (format!("{small}/log.json"), format!("{small}/filler"));
    lab::write(&filler, [b'x'; 4096]);
    let log = format!("json:{file}");
    lab.rules("in.tw-probe: 127.0.0.2\n", "ALL: ALL\n");
    for _ in 0..10 {
        let outcome = visit(&lab, &[&log, "syslog"]);
        assert!(outcome.served());
        assert_eq!(outcome.messages(), ["connect from 127.0.0.2 (127.0.0.2)"]);
        assert_eq!(visit_from(&lab, "127.0.0.3", &[&log, "syslog"]).received, "");
    }
    let kept = objects(&file).len();
    assert!((1..20).contains(&kept), "{kept} of 20 lines in two pages");
    let full = std::fs::metadata(&file).unwrap().len();
    assert!(full < 8192, "what did not fit whole is not there");

    fill_up(&file);
    let kept = objects(&file).len();
    let (ready, go) = (format!("{SCRATCH}/ready"), format!("{SCRATCH}/go"));
    let wait = format!("spawn touch {ready}; until [ -e {go} ]; do sleep 0.02; done");
    lab.rules(&format!("garbage\nALL: ALL: {wait}\n"), "ALL: ALL\n");
    let (client, served) = connection("127.0.0.2".parse().unwrap(), "127.0.0.1".parse().unwrap());
    let mut running = Visit::of(&lab).arguments(&arguments(&[&log])).start(served.into());
    assert!(lab::patiently(|| std::path::Path::new(&ready).exists()));
    std::fs::remove_file(&filler).unwrap();
    lab::write(&go, "");
    assert_eq!(running.wait(), 7);
    drop(client);
    let messages: Vec<String> = objects(&file)[kept..].iter().map(|o| o["message"].to_string()).collect();
    let lost = format!("\"warning: 1 log message(s) lost: {file} did not take them\"");
    assert_eq!(messages, [lost, "\"connect from 127.0.0.2 (127.0.0.2)\"".to_owned()]);
}

/// Appends objects until there is no room for the smallest.
fn fill_up(path: &str) {
    let mut file = std::fs::File::options().append(true).open(path).unwrap();
    loop {
        let length = file.metadata().unwrap().len();
        if !matches!(file.write(b"{}\n"), Ok(3)) {
            file.set_len(length).unwrap();
            return;
        }
    }
}

/// What is no log of ours is said in the next channel, or in syslog where there is no other.
#[test]
fn a_file_that_is_not_to_be_trusted_is_said() {
    let lab = open_lab!();
    lab.rules("in.tw-probe: 127.0.0.2\n", "ALL: ALL\n");
    let target = format!("{SCRATCH}/target");
    lab::write(&target, "");
    let log = format!("json:{FILE}");
    let cases: [(&str, &dyn Fn()); 4] = [
        ("Too many levels of symbolic links", &|| symlink(&target, FILE).unwrap()),
        ("everybody may write it", &|| {
            lab::write(FILE, "");
            lab::set_mode(FILE, 0o622 | 0o002);
        }),
        ("it belongs neither to root nor to the caller", &|| {
            lab::write(FILE, "");
            std::os::unix::fs::chown(FILE, Some(65534), Some(65534)).unwrap();
        }),
        ("No such device or address", &|| {
            let path = std::ffi::CString::new(FILE).unwrap();
            nix::unistd::mkfifo(path.as_c_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
    ];
    for (reason, make) in cases {
        make();
        for logs in [&[log.as_str()][..], &[&log, "syslog"]] {
            let error = format!("error: cannot log to {FILE}: {reason}");
            let outcome = visit(&lab, logs);
            assert!(outcome.served());
            assert_eq!(outcome.messages(), [error.as_str(), "connect from 127.0.0.2 (127.0.0.2)"]);
            assert_eq!((outcome.log[0].priority, outcome.log[1].priority), (27, 30));
            let outcome = visit_from(&lab, "127.0.0.3", logs);
            assert_eq!(outcome.received, "");
            assert_eq!(outcome.messages(), [error.as_str(), "refused connect from 127.0.0.3 (127.0.0.3)"]);
        }
        assert_eq!(std::fs::read(&target).unwrap(), b"", "{reason}");
        std::fs::remove_file(FILE).unwrap();
    }
}

/// The file is open before this process becomes somebody who could not open it.
#[test]
fn whoever_it_becomes_it_still_writes() {
    let lab = open_lab!();
    lab.rules("ALL: ALL: user nobody\n", "ALL: ALL\n");
    let log = format!("json:{SCRATCH}/private/log.json");
    std::fs::create_dir(format!("{SCRATCH}/private")).unwrap();
    lab::set_mode(&format!("{SCRATCH}/private"), 0o700);
    let arguments = ["tcpd", "--log", &log, "--", "/nonexistent/server"];
    Visit::of(&lab).arguments(&arguments).run();
    let actions: Vec<String> = objects(&log["json:".len()..])
        .iter()
        .map(|object| object["event"]["action"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(actions, ["served", "error"]);
}

/// What the kernel is asked for: one opening, before anything else is done, and one write for an event.
#[test]
fn the_file_is_opened_once_and_written_at_once() {
    let lab = open_lab!();
    lab::need("/usr/bin/strace", "strace");
    lab.rules("garbage\nALL: ALL: user nobody\n", "");
    let log = format!("json:{FILE}");
    let trace = format!("{SCRATCH}/trace");
    let arguments = ["strace", "-s", "9999", "-o", &trace, "/usr/sbin/tcpd", "--log", &log];
    let arguments = [&arguments[..], &["--", "/usr/sbin/in.tw-probe"]].concat();
    assert!(Visit::of(&lab).program("/usr/bin/strace").arguments(&arguments).run().served());
    let trace = std::fs::read_to_string(trace).unwrap();
    let (trace, _) = trace.split_once("execve(\"/usr/sbin/in.tw-probe\"").unwrap();
    let calls: Vec<&str> = trace.lines().collect();
    let at = |what: &dyn Fn(&str) -> bool| -> Vec<usize> {
        (0..calls.len()).filter(|&number| what(calls[number])).collect()
    };
    let opened = at(&|call| call.starts_with("openat(") && call.contains(FILE));
    let [opened] = opened[..] else { panic!("{opened:?}") };
    for flag in
        ["O_WRONLY", "O_CREAT", "O_APPEND", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", ", 0640)"]
    {
        assert!(calls[opened].contains(flag), "{}", calls[opened]);
    }
    let (_, descriptor) = calls[opened].split_once("= ").unwrap();
    let written = at(&|call| call.starts_with(&format!("write({descriptor}, ")));
    assert_eq!(written.len(), objects(FILE).len());
    assert!(
        written
            .iter()
            .all(|&number| calls[number].contains("\\\"@timestamp\\\"") && calls[number].contains("}\\n\""))
    );
    let asked = at(&|call| call.starts_with("getpeername("));
    let became = at(&|call| call.starts_with("setresuid("));
    assert!(opened < asked[0] && asked[0] < became[0], "{opened} {asked:?} {became:?}");
}
