//! Do try-from and safe_finger say what the originals said, and no more than is good for a reader?
//!
//! The recorded runs of both are in `tests/data`; where we differ on purpose our own words stand in
//! `tests/mended-tools.tsv`. The finger servers are our own: hostile, endless, silent.
//! With `TCPD_ORIGINAL=1` Debian's programs are asked instead, for all that was recorded.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use regex::Regex;
use serde_json::{Value, json};

use crate::lab::server::{Server, ident_says};
use crate::lab::{self, Lab, Running, SCRATCH, Visit, place};

/// safe_finger has 60 s.
const PATIENCE: Duration = Duration::from_secs(75);

/// A program as bytes; to be read before the lab is opened, where another `/tmp` may cover it.
pub fn subject(name: &str) -> Vec<u8> {
    let path = match (lab::is_the_original(), name) {
        (true, _) => format!("/usr/sbin/{name}"),
        (false, "try-from") => env!("CARGO_BIN_EXE_try-from").to_owned(),
        (false, _) => env!("CARGO_BIN_EXE_safe_finger").to_owned(),
    };
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lab with both programs in it and a `/usr/bin` of its own, where finger is.
fn open() -> Option<Lab> {
    let (try_from, safe_finger) = (subject("try-from"), subject("safe_finger"));
    let lab = Lab::open()?;
    place::overlay("/usr/bin");
    lab::install("/usr/sbin/try-from", &try_from, 0o755);
    lab::install("/usr/sbin/safe_finger", &safe_finger, 0o755);
    Some(lab)
}

macro_rules! open_tools {
    () => {
        match open() {
            Some(lab) => lab,
            None => return,
        }
    };
}

fn recorded(json: &str) -> Vec<Value> {
    serde_json::from_str(json).unwrap()
}

/// Our own result for the runs of one tool that differ from the recorded one.
fn mended(tool: &str) -> BTreeMap<String, Value> {
    if lab::is_the_original() { BTreeMap::new() } else { listed(tool) }
}

pub fn listed(tool: &str) -> BTreeMap<String, Value> {
    let lines = include_str!("../mended-tools.tsv").lines();
    let fields = lines.map(|line| line.split('\t').collect::<Vec<_>>());
    let of_tool = fields.filter(|fields| fields[0] == tool);
    of_tool.map(|fields| (fields[1].to_owned(), serde_json::from_str(fields[3]).unwrap())).collect()
}

/// What is to be expected of a recorded run.
fn expected(run: &Value, mended: &mut BTreeMap<String, Value>) -> Value {
    let name = run["name"].as_str().unwrap();
    let Some(ours) = mended.remove(name) else { return run.clone() };
    let differs = ours.as_object().unwrap().iter().any(|(key, value)| &run[key] != value);
    assert!(differs, "{name}: the listed difference is none");
    ours
}

struct Said {
    exit: i32,
    stdout: String,
    stderr: String,
    took: Duration,
}

/// Runs safe_finger. Its standard error is a file, because what finger leaves behind may keep it open.
fn safe_finger(arguments: &[&str], change: impl FnOnce(&mut Command)) -> Said {
    let complaints = format!("{SCRATCH}/stderr");
    let mut command = Command::new("/usr/sbin/safe_finger");
    command.arg0("safe_finger").args(arguments);
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    command.stdin(null).stdout(Stdio::piped());
    command.stderr(std::fs::File::create(&complaints).unwrap());
    change(&mut command);
    let start = Instant::now();
    let mut running = Running::start(&mut command);
    let mut output = running.child().stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let exit = running.wait_at_most(PATIENCE).expect("safe_finger ends");
    let took = start.elapsed();
    let stdout = reader.join().unwrap();
    assert!(stdout.is_ascii(), "{:?}", String::from_utf8_lossy(&stdout));
    Said {
        exit,
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: std::fs::read_to_string(complaints).unwrap(),
        took,
    }
}

fn plainly(arguments: &[&str]) -> Said {
    safe_finger(arguments, |_| {})
}

fn no_finger() {
    let _ = std::fs::remove_file("/usr/bin/finger");
}

fn fake_finger(script: &str) {
    lab::install("/usr/bin/finger", format!("#!/bin/sh\n{script}").as_bytes(), 0o755);
}

/// Numbers and times of one run, and what only its directory decides.
fn without_chance(text: &str) -> String {
    let mut text = text.replace("{{DIR}}", "/").replace("{{HOME}}", "/root");
    for (chance, name) in [
        (r"pipe:\[\d+\]|/run/tw-e2e/stderr", "PIPE"),
        (r"/proc/\d+/fd", "FDS"),
        (r"[A-Z][a-z]{2} +\d+ \d\d:\d\d", "TIME"),
    ] {
        text = Regex::new(chance).unwrap().replace_all(&text, name).into_owned();
    }
    text
}

fn compare(run: &Value, mended: &mut BTreeMap<String, Value>) {
    let name = run["name"].as_str().unwrap();
    let arguments: Vec<&str> =
        run["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    match run["finger_script"].as_str() {
        Some(script) => fake_finger(script),
        None => no_finger(),
    }
    let said = safe_finger(&arguments, |command| match name {
        "argv, ids, env, fds" => {
            command.env_clear().envs([("PATH", "/evil"), ("HOME", "/root"), ("X", "y")]);
        }
        "as a non-root user" => {
            command.uid(1000).gid(1000);
        }
        _ => {}
    });
    let wanted = expected(run, mended);
    let is = |key: &str| without_chance(wanted[key].as_str().unwrap_or_default());
    // A finger that is cut off may or may not have written its rest into the pipe by then.
    let cut_off = said.stdout.contains("Input truncated") && said.exit == 1;
    assert!(cut_off || wanted["exit"] == said.exit, "{name}: {:?} {}", said.exit, said.stderr);
    assert_eq!(said.stderr, is("stderr"), "{name}");
    let stdout = without_chance(&said.stdout);
    if wanted["stdout"].is_string() {
        assert_eq!(stdout, is("stdout"), "{name}");
    } else {
        assert_eq!(Value::from(said.stdout.len()), wanted["stdout_len"], "{name}");
        assert!(stdout.starts_with(&is("stdout_head")) && stdout.ends_with(&is("stdout_tail")), "{name}");
    }
}

#[test]
fn the_recorded_runs_of_safe_finger() {
    let _lab = open_tools!();
    let mut mended = mended("safe_finger");
    for run in recorded(include_str!("../data/safe_finger.json")) {
        if run["name"] != "timeout" {
            compare(&run, &mut mended);
        }
    }
    assert!(mended.is_empty(), "not recorded: {mended:?}");
}

/// A minute of its own, beside all others.
#[test]
fn a_finger_that_hangs_has_a_minute() {
    let _lab = open_tools!();
    fake_finger("echo start; exec sleep 80\n");
    let said = plainly(&["-l", "@h"]);
    assert_eq!((said.exit, said.stdout.as_str()), (0, " start\n"));
    assert!(said.took >= Duration::from_secs(59) && said.took < Duration::from_secs(65), "{:?}", said.took);
}

/// Without an account called nobody, and from a set-uid start, there is no root either.
#[test]
fn nobody_is_nobody() {
    let _lab = open_tools!();
    let script = "echo $(id -u) $(id -g) $(id -G); grep -E '^(Uid|Gid):' /proc/$$/status\n";
    let nobody = " 65534 65534 65534\n Uid:\t65534\t65534\t65534\t65534\n Gid:\t65534\t65534\t65534\t65534\n";
    fake_finger(script);
    let with_groups = safe_finger(&[], |command| {
        // SAFETY: setgroups is async-signal-safe enough for a child with one thread; the array lives.
        unsafe {
            command.pre_exec(|| {
                libc::setgroups(3, [0, 4, 27].as_ptr());
                Ok(())
            });
        }
    });
    assert_eq!(with_groups.stdout, nobody);
    lab::set_mode("/usr/sbin/safe_finger", 0o4755);
    let mut set_uid = Command::new("/usr/sbin/safe_finger");
    set_uid.uid(1000).gid(1000);
    let (_, stdout, stderr) = crate::lab::launch::run(&mut set_uid);
    assert_eq!(stdout, nobody, "{stderr}");
    lab::set_mode("/usr/sbin/safe_finger", 0o755);
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    lab::write("/etc/passwd", passwd.replace("nobody:", "somebody:"));
    assert_eq!(plainly(&[]).stdout, nobody);
    if !lab::is_the_original() {
        lab::write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:0:0::/:/bin/sh\n");
        assert_eq!(plainly(&[]).stdout, nobody, "nobody is not root, whatever the file says");
    }
}

/// As in a container that has taken the right to change identities away.
#[test]
fn who_cannot_become_nobody_asks_nothing() {
    let _lab = open_tools!();
    fake_finger("id -u\n");
    let said = safe_finger(&[], |command| {
        const CAP_SETUID: libc::c_ulong = 7;
        // SAFETY: prctl is async-signal-safe and takes numbers here.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_CAPBSET_DROP, CAP_SETUID, 0, 0, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
    });
    if lab::is_the_original() {
        assert_eq!((said.exit, said.stdout.as_str()), (0, " 0\n"));
    } else {
        let refusal = "cannot become nobody: Operation not permitted\n";
        assert_eq!((said.exit, said.stdout.as_str(), said.stderr.as_str()), (1, "", refusal));
    }
}

/// A reader who does not read has no more time than others.
#[test]
fn a_reader_who_does_not_read_has_a_minute() {
    let _lab = open_tools!();
    if lab::is_the_original() {
        return;
    }
    fake_finger("while echo x; do :; done\n");
    let mut command = Command::new("/usr/sbin/safe_finger");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running::start(&mut command);
    assert_eq!(running.wait_at_most(PATIENCE), Some(1));
}

/// A reader who leaves ends it, and finger with it.
#[test]
fn a_reader_who_leaves() {
    let _lab = open_tools!();
    fake_finger("while echo x; do :; done\n");
    let mut command = Command::new("/usr/sbin/safe_finger");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running::start(&mut command);
    let mut byte = [0];
    running.child().stdout.take().unwrap().read_exact(&mut byte).unwrap();
    assert!(running.wait_at_most(Duration::from_secs(10)).is_some());
}

type Asked = Arc<Mutex<Vec<String>>>;

/// A finger server that does with a client what a test wants, after it has read the question.
fn server(address: &str, behave: impl Fn(TcpStream) + Send + Sync + 'static) -> (Server, Asked) {
    let asked = Asked::default();
    let heard = Arc::clone(&asked);
    let server = Server::tcp(address, move |stream| {
        let mut question = String::new();
        let _ = BufReader::new(&stream).read_line(&mut question);
        heard.lock().unwrap().push(question);
        behave(stream);
    });
    (server, asked)
}

fn says(text: &'static str) -> impl Fn(TcpStream) + Send + Sync + 'static {
    move |mut stream| {
        let _ = stream.write_all(text.as_bytes());
    }
}

#[test]
fn without_finger_it_asks_itself() {
    let _lab = open_tools!();
    if lab::is_the_original() {
        return;
    }
    no_finger();
    lab::write("/etc/host.conf", "multi on\n");
    lab::write("/etc/hosts", "127.0.0.2 four.example.com\n::1 six.example.com\n127.0.0.9 both\n::1 both\n");
    let (_four, asked_four) = server("127.0.0.2:79", says("Login: mallory\r\n~!id\r\n\x1b[31mred\r\n"));
    let (_six, asked_six) = server("[::1]:79", says("six\n"));
    let said = plainly(&["-l", "@127.0.0.2"]);
    assert_eq!((said.exit, said.stderr.as_str()), (0, ""));
    assert_eq!(said.stdout, " [127.0.0.2]\n Login: mallory\n ~!id\n \\033[31mred\n");
    let said = plainly(&["joe@four.example.com", "-@six.example.com", "a@b@::1", "x@both"]);
    assert_eq!((said.exit, said.stderr.as_str()), (0, ""));
    assert!(
        said.stdout.ends_with(" [six.example.com]\n six\n [::1]\n six\n [both]\n six\n"),
        "{}",
        said.stdout
    );
    plainly(&["-l", "joe@[::1]"]);
    assert_eq!(*asked_four.lock().unwrap(), ["/W\r\n", "joe\r\n"]);
    assert_eq!(*asked_six.lock().unwrap(), ["-\r\n", "a@b\r\n", "x\r\n", "/W joe\r\n"]);
}

#[test]
fn what_cannot_be_asked_is_said() {
    let _lab = open_tools!();
    if lab::is_the_original() {
        return;
    }
    no_finger();
    let (_server, asked) = server("127.0.0.2:79", says("served\n"));
    for (arguments, complaint) in [
        (&["joe"][..], "finger: No such file or directory\n"),
        (&[], "finger: No such file or directory\n"),
        (&["@127.0.0.3"], "finger: 127.0.0.3: Connection refused\n"),
        (&["@nosuch"], "finger: nosuch: Name or service not known\n"),
        (&["@x\x1b[2J"], "finger: @x\\033[2J: no name of a host\n"),
        (&["a\r\nb@127.0.0.2"], "finger: a\\015\\012b@127.0.0.2: no name of a user\n"),
        (&["-x", "@127.0.0.2"], "finger: usage: safe_finger [-lmps] [user@host | @host] ...\n"),
    ] {
        let said = plainly(arguments);
        assert_eq!((said.exit, said.stdout.as_str()), (1, ""), "{arguments:?}");
        assert_eq!(said.stderr, complaint, "{arguments:?}");
    }
    assert!(asked.lock().unwrap().is_empty());
    let said = plainly(&["@nosuch", "@127.0.0.2"]);
    assert_eq!((said.exit, said.stdout.as_str()), (1, " [127.0.0.2]\n served\n"));
}

#[test]
fn a_server_that_floods_is_cut_off() {
    let _lab = open_tools!();
    no_finger();
    let (_server, _) = server("127.0.0.2:79", |mut stream| {
        for _ in 0..1 << 20 {
            if stream.write_all(&[b'x'; 1024]).is_err() {
                return;
            }
        }
    });
    if !lab::is_the_original() {
        let said = plainly(&["@127.0.0.2"]);
        assert_eq!(said.exit, 0);
        assert!(said.stdout.ends_with("\n\n Input truncated to 100000 bytes...\n"));
        assert!(said.stdout.len() < 103_000 && said.took < Duration::from_secs(20), "{:?}", said.took);
    }
}

/// A drip every second for ever, while somebody looks who is listening to it.
#[test]
fn a_server_that_drips_has_a_minute_and_speaks_with_nobody() {
    let _lab = open_tools!();
    if lab::is_the_original() {
        return;
    }
    no_finger();
    let (_server, asked) = server("127.0.0.2:79", |mut stream| {
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    let mut command = Command::new("/usr/sbin/safe_finger");
    command.arg("@127.0.0.2").stdin(Stdio::null()).stdout(Stdio::null());
    let mut running = Running::start(&mut command);
    assert!(lab::patiently(|| asked.lock().unwrap().len() == 1));
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    assert!(status.contains("\nUid:\t65534\t65534\t65534\t65534\n"), "{status}");
    assert!(status.contains("\nGroups:\t65534 \n") && status.contains("\nCapEff:\t0000000000000000\n"));
    running.signal(Signal::SIGTERM);
    running.wait();
    let said = plainly(&["@127.0.0.2"]);
    assert_eq!(said.exit, 0);
    assert!(said.stdout.starts_with(" [127.0.0.2]\n xxxxxxxxxx"), "{}", said.stdout);
    assert!(said.took >= Duration::from_secs(59) && said.took < Duration::from_secs(65), "{:?}", said.took);
}

const HOSTS: &str = "127.0.0.1 localhost\n127.0.0.2 good.example.com good\n\
    127.0.0.20 foo.example.com bar.example.com\n127.0.0.4 bar.example.com\n\
    127.0.0.50 server.example.org\n::1 six.example.com\n";

#[test]
fn the_recorded_runs_of_try_from() {
    let lab = open_tools!();
    expect_try_from_as_recorded(&lab, mended("try-from"), lab::is_the_original());
}

/// The runs of the try-from that the lab has; what it says of its doubts may go to the log, or not.
pub fn expect_try_from_as_recorded(lab: &Lab, mut mended: BTreeMap<String, Value>, may_log: bool) {
    lab::write("/etc/hosts", HOSTS);
    for run in recorded(include_str!("../data/try-from.json")) {
        let name = run["name"].as_str().unwrap();
        let said = match run["peer"].as_str() {
            Some(peer) => {
                let words = run["argv"].as_array().unwrap().iter();
                let arguments: Vec<&str> = words.map(|word| word.as_str().unwrap()).collect();
                let server = run["server"].as_str().unwrap();
                let visit = Visit::of(lab).program("/usr/sbin/try-from").arguments(&arguments);
                let outcome = visit.from(peer).to(server).run();
                // A conversation, and nothing for the log.
                assert!(may_log || outcome.log.is_empty(), "{name}: {:?}", outcome.log);
                json!({"exit": outcome.exit, "stdout": outcome.received, "stderr": ""})
            }
            None => {
                let (reader, _writer) = std::io::pipe().unwrap();
                let stdin = if name == "pipe" { Stdio::from(reader) } else { Stdio::null() };
                let mut command = Command::new("/usr/sbin/try-from");
                let said = command.arg0("try-from").stdin(stdin).output().unwrap();
                let text = |bytes| String::from_utf8(bytes).unwrap();
                json!({"exit": said.status.code(), "stdout": text(said.stdout), "stderr": text(said.stderr)})
            }
        };
        let wanted = expected(&run, &mut mended);
        for key in ["exit", "stdout", "stderr"] {
            if !wanted[key].is_null() {
                assert_eq!(said[key], wanted[key], "{name}: {key}");
            }
        }
    }
    assert!(mended.is_empty(), "not recorded: {mended:?}");
}

/// The value of one line of try-from.
fn fact(said: &str, letter: char) -> &str {
    let label = format!("(%{letter}): ");
    said.lines().find_map(|line| line.split_once(&label)).unwrap_or_else(|| panic!("no {letter} in {said}")).1
}

#[test]
fn try_from_asks_ident() {
    let lab = open_tools!();
    lab::write("/etc/hosts", HOSTS);
    let visit = || Visit::of(&lab).program("/usr/sbin/try-from").arguments(&["try-from"]).run();
    let (server, questions) = ident_says("127.0.0.2", "<R>, <L> : USERID : UNIX : joe\r\n");
    let outcome = visit();
    assert_eq!(questions.lock().unwrap().len(), 1);
    assert_eq!(fact(&outcome.received, 'u'), "joe");
    assert_eq!(fact(&outcome.received, 'c'), "joe@good.example.com");
    drop(server);
    if lab::is_the_original() {
        return;
    }
    let _server = ident_says("127.0.0.2", "<R>, <L> : USERID : UNIX : \x1b[31m(root)\u{e9}\r\n");
    let outcome = visit();
    assert_eq!(fact(&outcome.received, 'u'), "\\033[31m\\050root\\051\\303\\251");
    assert_eq!(outcome.received.lines().count(), 8);
}

#[test]
fn try_from_shows_no_foreign_byte() {
    let lab = open_tools!();
    if lab::is_the_original() {
        return;
    }
    lab::write("/etc/hosts", b"127.0.0.2 a\x1b[31m\xff\n");
    let visit = Visit::of(&lab).program("/usr/sbin/try-from");
    let outcome = visit.arguments(&["try\x1b[2J\nfrom"]).run();
    assert_eq!((outcome.exit, fact(&outcome.received, 'n')), (0, "paranoid"));
    assert_eq!(fact(&outcome.received, 'd'), "try\\033[2J\\012from");
    assert!(outcome.received.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)));
}
