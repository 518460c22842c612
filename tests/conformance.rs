//! Every recorded answer of the reference, against ours.
//!
//! `tests/data/vectors.jsonl` holds what libwrap.so.0 did with a pair of tables and a request: the
//! verdict, the lines it logged, the commands it ran, what the client saw and what stuck to the
//! process. We must do the same, or stand in `tests/mended.tsv` with the reason and with our own
//! complete answer. A listed difference that vanishes fails, so that the list never grows stale.
//!
//! Deeds change the process they are done in (umask, nice, environment), and a twist replaces it. So
//! each vector runs in a process of its own: the program starts itself once per processor, and each
//! of these workers, having one thread, forks once per vector.
//!
//! `UPDATE_MENDED=1` rewrites our answers for the ids that are listed, no others.

#[path = "common/mod.rs"]
mod common;

use common::{Scripted, endpoint, stated_user};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use wrap::actions::{Banner, Hands, Outcome, RealHands, settle};
use wrap::error::{Error, OptionFlaw, Place};
use wrap::facts::{DaemonName, IDENT_SECONDS, Identity, Request, Transport, stated_name};
use wrap::logline::{Entry, Level};
use wrap::rules::options::Priority;
use wrap::sys::process::{self, Ended};
use wrap::tables::TextTable;
use wrap::verdict::Tables;
use wrap::voice::{Speaker, Voice};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/vectors.jsonl");
const MENDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mended.tsv");
/// The fields of an answer.
const ANSWER: [&str; 7] = ["granted", "exit", "log", "spawned", "client_output", "after", "all_returns"];
const UMASK: u32 = 0o027;
/// Status of a child that got to the end of its work.
const RETURNED: i32 = 77;
const DIR: &str = "{{DIR}}";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("--worker") => work(&arguments[2], arguments[3].parse().expect("a number")),
        Some("--list") => {}
        _ => compare_all(),
    }
}

// ------------------------------------------------------------------------------------- comparing

fn compare_all() {
    let vectors = read_vectors();
    let mended = read_mended();
    let answers = answers_of_workers();
    let (mut passed, mut skipped, mut failed) = (0, Vec::new(), Vec::new());
    let mut ours = BTreeMap::new();
    for vector in &vectors {
        let id = id(vector);
        let Some(answer) = answers.get(id) else {
            failed.push(format!("{id}: no answer"));
            continue;
        };
        if answer.get("needs_root").is_some() {
            skipped.push(id);
            continue;
        }
        let recorded = answer_in(vector);
        let verdict = match mended.get(id) {
            Some(_) if *answer == recorded => Err("listed, and does not differ any more".to_owned()),
            Some((_, expected)) => differences(expected, answer),
            None => differences(&recorded, answer),
        };
        if mended.contains_key(id) {
            ours.insert(id, answer);
        }
        match verdict {
            Ok(()) => passed += 1,
            Err(why) => failed.push(format!("{id}: {why}")),
        }
    }
    for id in mended.keys().filter(|id| !answers.contains_key(*id)) {
        failed.push(format!("{id}: listed, and there is no such vector"));
    }
    if std::env::var_os("UPDATE_MENDED").is_some() {
        write_mended(&mended, &ours);
    }
    for line in &failed {
        println!("FAILED {line}");
    }
    if !skipped.is_empty() {
        println!("SKIPPED, because they need root: {}", skipped.join(" "));
    }
    println!("{passed} passed, {} failed, {} skipped", failed.len(), skipped.len());
    if !failed.is_empty() {
        std::process::exit(1);
    }
}

fn id(vector: &Value) -> &str {
    vector["id"].as_str().expect("an id")
}

fn read_vectors() -> Vec<Value> {
    let text = std::fs::read_to_string(VECTORS).expect("tests/data/vectors.jsonl");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The listed differences: the M-numbers and our answer.
fn read_mended() -> BTreeMap<String, (String, Value)> {
    let text = std::fs::read_to_string(MENDED).unwrap_or_default();
    let row = |line: &str| {
        let mut fields = line.splitn(3, '\t').map(str::to_owned);
        let mut field = || fields.next().unwrap_or_default();
        let (id, number, answer) = (field(), field(), field());
        (id, (number, serde_json::from_str(&answer).unwrap_or(Value::Null)))
    };
    text.lines().map(row).collect()
}

fn write_mended(mended: &BTreeMap<String, (String, Value)>, ours: &BTreeMap<&str, &Value>) {
    let mut out = String::new();
    for (id, (number, before)) in mended {
        let answer = ours.get(id.as_str()).copied().unwrap_or(before);
        out.push_str(&format!("{id}\t{number}\t{answer}\n"));
    }
    std::fs::write(MENDED, out).expect("tests/mended.tsv");
}

/// The answer recorded in a vector, without what it leaves out.
fn answer_in(vector: &Value) -> Value {
    let mut answer = Map::new();
    for field in ANSWER {
        let absent = || if field == "after" { json!({}) } else { Value::Null };
        answer.insert(field.to_owned(), vector.get(field).cloned().unwrap_or_else(absent));
    }
    Value::Object(answer)
}

fn differences(expected: &Value, answer: &Value) -> Result<(), String> {
    let differs = |field: &&&str| expected[**field] != answer[**field];
    let said = |field: &&str| format!("{field}: expected {}, got {}", expected[*field], answer[*field]);
    let all: Vec<String> = ANSWER.iter().filter(differs).map(said).collect();
    if all.is_empty() { Ok(()) } else { Err(all.join("; ")) }
}

/// Starts a worker per processor and gathers what they print.
fn answers_of_workers() -> BTreeMap<String, Value> {
    let own = std::env::current_exe().expect("own path");
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let start = |number: usize| {
        Command::new(&own)
            .args(["--worker", &number.to_string(), &workers.to_string()])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a worker")
    };
    let started: Vec<_> = (0..workers).map(start).collect();
    let readers: Vec<_> = started
        .into_iter()
        .map(|mut worker| {
            std::thread::spawn(move || {
                let output = BufReader::new(worker.stdout.take().expect("a pipe"));
                let read = |line: io::Result<String>| {
                    let mut answer: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
                    let id = answer.as_object_mut().and_then(|answer| answer.remove("id"));
                    (id.expect("an id").as_str().expect("text").to_owned(), answer)
                };
                let answers: Vec<_> = output.lines().map(read).collect();
                assert!(worker.wait().expect("a status").success(), "a worker died");
                answers
            })
        })
        .collect();
    readers.into_iter().flat_map(|reader| reader.join().expect("answers")).collect()
}

// --------------------------------------------------------------------------------------- running

/// Does every `workers`-th vector and prints the answers.
fn work(number: &str, workers: usize) {
    let scratch = std::env::temp_dir().join(format!("tcpd-conformance-{:07}", std::process::id()));
    let number: usize = number.parse().expect("a number");
    let mut out = io::stdout().lock();
    for (index, vector) in read_vectors().iter().enumerate().filter(|(index, _)| index % workers == number) {
        let dir = scratch.join(index.to_string());
        let mut answer = if needs_root(vector) && !Uid::effective().is_root() {
            json!({ "needs_root": true })
        } else {
            run(vector, &dir)
        };
        answer["id"] = vector["id"].clone();
        writeln!(out, "{answer}").expect("the main program reads");
        let _ = std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755));
        let _ = std::fs::remove_dir_all(&dir);
    }
    let _ = std::fs::remove_dir_all(&scratch);
}

/// Vectors that begin as another user. Those whose rules change the identity are found as they run.
fn needs_root(vector: &Value) -> bool {
    vector.get("uid").is_some_and(|uid| !uid.is_null())
}

fn text<'v>(vector: &'v Value, field: &str) -> Option<&'v str> {
    vector.get(field).and_then(Value::as_str)
}

/// Lays the files of a vector out; gives the names of the two tables.
fn lay_out(vector: &Value, dir: &Path) -> io::Result<[PathBuf; 2]> {
    std::fs::create_dir_all(dir)?;
    std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755))?;
    let at_home = |text: &str| text.replace(DIR, &dir.to_string_lossy());
    for (name, content) in vector.get("files").and_then(Value::as_object).into_iter().flatten() {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
        match content.as_str() {
            Some(content) => std::fs::write(&path, at_home(content))?,
            None => std::fs::create_dir_all(&path)?,
        }
    }
    let mut names = [PathBuf::from("hosts.allow"), PathBuf::from("hosts.deny")];
    for (which, name) in ["allow", "deny"].into_iter().zip(&mut names) {
        let path = dir.join(&*name);
        if let Some(content) = text(vector, which) {
            std::fs::write(&path, at_home(content))?;
        }
        match vector.get("setup").and_then(|setup| text(setup, which)) {
            Some("directory") => std::fs::create_dir_all(&path)?,
            Some("unreadable") => std::fs::set_permissions(&path, PermissionsExt::from_mode(0o0))?,
            Some("symlink-loop") => symlink(&*name, &path)?,
            Some("parent-is-a-file") => {
                std::fs::write(dir.join("plain"), "")?;
                *name = Path::new("plain").join(&*name);
            }
            Some("parent-missing") => *name = Path::new("nowhere").join(&*name),
            Some("dangling-symlink") => symlink("gone", &path)?,
            Some("name-too-long") => *name = PathBuf::from("x".repeat(300)),
            Some(other) => panic!("no such setup: {other}"),
            None => {}
        }
    }
    Ok(names)
}

/// Runs a vector in a child and gives the answer in the words of the recording.
fn run(vector: &Value, dir: &Path) -> Value {
    let names = lay_out(vector, dir).expect("a scratch directory");
    let (mut near, far) = UnixStream::pair().expect("a socket pair");
    let report_path = dir.with_extension("report");
    let report = File::create(&report_path).expect("a report");
    let child = process::start_child(|| {
        let behave = || behave(vector, dir, &names, far.as_fd(), &report);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(behave)).unwrap_or(70)
    })
    .expect("a child");
    drop(far);
    let mut output = Vec::new();
    near.read_to_end(&mut output).expect("what the client sees");
    let exit = match waitpid(Pid::from_raw(child), None).expect("a status") {
        WaitStatus::Exited(_, RETURNED) => Value::Null,
        WaitStatus::Exited(_, status) => json!(status),
        WaitStatus::Signaled(_, signal, _) => json!(-(signal as i32)),
        other => panic!("{other:?}"),
    };
    let lines = std::fs::read_to_string(&report_path).expect("a report");
    let _ = std::fs::remove_file(&report_path);
    let (mut log, mut spawned, mut returns, mut after) = (Vec::new(), Vec::new(), Vec::new(), json!({}));
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        for (kind, value) in line.as_object().expect("an object") {
            match kind.as_str() {
                "log" => log.push(value.clone()),
                "spawned" => spawned.push(value.clone()),
                "returned" => returns.push(value.clone()),
                "after" => after = value.clone(),
                _ => return json!({ "needs_root": true }),
            }
        }
    }
    let granted = if exit.is_null() {
        returns.last().map_or(Value::Null, |last| json!(*last == json!(1)))
    } else {
        Value::Null
    };
    let all_returns = if returns.len() > 1 { json!(returns) } else { Value::Null };
    let answer = json!({
        "granted": granted, "exit": exit, "log": log, "spawned": spawned, "after": after,
        "client_output": String::from_utf8_lossy(&output), "all_returns": all_returns,
    });
    let has_pid = ["allow", "deny", "files"].iter().any(|field| vector[*field].to_string().contains("%p"));
    normal(&answer, dir, has_pid.then_some(child))
}

/// Puts the placeholders of the recording where this run has its directory and process ids.
fn normal(value: &Value, dir: &Path, pid: Option<i32>) -> Value {
    match value {
        Value::String(text) => {
            let mut text = text.replace(&*dir.to_string_lossy(), DIR);
            if let Some(pid) = pid {
                text = whole_number(&text, &pid.to_string());
            }
            if let Some((head, tail)) = text.split_once("process ") {
                let rest = tail.trim_start_matches(|c: char| c.is_ascii_digit());
                if rest.starts_with(" exited with signal") {
                    text = format!("{head}process {{{{CHILD}}}}{rest}");
                }
            }
            text = text.replace("{{DIR}}/plain/", "").replace("plain/hosts", "hosts");
            Value::String(text.replace(&"x".repeat(300), "hosts.toolong"))
        }
        Value::Array(items) => items.iter().map(|item| normal(item, dir, pid)).collect(),
        Value::Object(fields) => fields.iter().map(|(k, v)| (k.clone(), normal(v, dir, pid))).collect(),
        other => other.clone(),
    }
}

/// Replaces a number where it is not part of a longer one.
fn whole_number(text: &str, number: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(number) {
        let (head, behind) = (&rest[..at], &rest[at + number.len()..]);
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        out.push_str(head);
        let is_part = inside(out.chars().last()) || inside(behind.chars().next());
        out.push_str(if is_part { number } else { "{{PID}}" });
        rest = behind;
    }
    out + rest
}

/// What the suite itself was started with.
struct Start {
    nice: i64,
    uid: i64,
    gid: i64,
}

/// In the child: the request of the vector, as often as it is made, and what is left behind.
fn behave(vector: &Value, dir: &Path, names: &[PathBuf; 2], fd: BorrowedFd<'_>, report: &File) -> i32 {
    std::env::set_current_dir(dir).expect("the scratch directory");
    process::set_umask(UMASK);
    let start = Start {
        nice: nice_value(),
        uid: Uid::effective().as_raw().into(),
        gid: Gid::effective().as_raw().into(),
    };
    if let Some(uid) = vector.get("uid").and_then(Value::as_u64) {
        let uid = u32::try_from(uid).expect("an id");
        nix::unistd::setgid(Gid::from_raw(uid)).expect("root");
        nix::unistd::setuid(Uid::from_raw(uid)).expect("root");
    }
    let is_ctl = text(vector, "api") == Some("hosts_ctl");
    let number = |field: &str| vector.get(field).and_then(Value::as_i64);
    let null = OwnedFd::from(File::options().write(true).open("/dev/null").expect("the null device"));
    let mut voice = Voice::to_stderr(null, &Speaker { tag: b"test".to_vec(), pid: 1 });
    let connection = (!is_ctl && text(vector, "fd") != Some("none")).then_some(fd);
    let mut hands = Recording {
        real: RealHands::new(&mut voice, connection),
        report,
        verbose: number("verbose").unwrap_or(0),
        dry_run: number("dry_run").is_some_and(|n| n != 0),
        resident: number("resident").unwrap_or(-1),
        severities: [6, 4],
    };
    let mut ident_seconds = IDENT_SECONDS;
    for _ in 0..number("calls").unwrap_or(1) {
        // The first call of a process leaves it at 0, each later one above.
        hands.resident += i64::from(hands.resident <= 0);
        let asker =
            Scripted { netgroup: text(vector, "netgroup").unwrap_or("").to_owned(), ..Scripted::default() };
        let request = request(vector, &asker, is_ctl);
        request.ident_seconds.set(ident_seconds);
        let (mut allow, mut deny) = (TextTable::new(&names[0]), TextTable::new(&names[1]));
        let outcome = settle(&mut Tables::new(&mut allow, &mut deny, false), &request, &mut hands);
        ident_seconds = request.ident_seconds.get();
        hands.note("returned", json!(i32::from(outcome != Outcome::Refused)));
    }
    let after = left_behind(&hands, fd, ident_seconds, &start);
    hands.note("after", after);
    RETURNED
}

fn request<'a>(vector: &Value, asker: &'a Scripted, is_ctl: bool) -> Request<'a> {
    let bytes = |field: &str| text(vector, field).map(str::as_bytes);
    let port = |field: &str| {
        let port = vector.get(field).and_then(Value::as_u64);
        port.map(|port| u16::try_from(port).expect("a port"))
    };
    let client = endpoint(bytes("client_addr"), port("client_port")).named(stated_name(bytes("client_name")));
    let server = match is_ctl {
        true => endpoint(None, None),
        false => endpoint(bytes("server_addr"), port("server_port")).named(stated_name(bytes("server_name"))),
    };
    let daemon = DaemonName::stated(bytes("daemon").unwrap_or(b"unknown"));
    let request = Request::new(daemon, process::pid(), Transport::Stream, (client, server), asker);
    match bytes("user") {
        Some(user) => request.by_user(stated_user(Some(user))),
        None => request,
    }
}

/// What differs from the start: settings that stick, and the state of the process and the socket.
fn left_behind(hands: &Recording<'_, '_>, fd: BorrowedFd<'_>, ident_seconds: u32, start: &Start) -> Value {
    let linger = getsockopt(&fd, sockopt::Linger).expect("a socket");
    let keepalive = getsockopt(&fd, sockopt::KeepAlive).expect("a socket");
    let numbers = [
        ("allow_severity", hands.severities[0], 6),
        ("deny_severity", hands.severities[1], 4),
        ("rfc931_timeout", ident_seconds.into(), IDENT_SECONDS.into()),
        ("umask", process::set_umask(UMASK).into(), UMASK.into()),
        ("nice", nice_value() - start.nice, 0),
        ("uid", Uid::effective().as_raw().into(), start.uid),
        ("gid", Gid::effective().as_raw().into(), start.gid),
        ("linger_on", linger.l_onoff.into(), 0),
        ("linger", linger.l_linger.into(), 0),
        ("keepalive", keepalive.into(), 0),
    ];
    let changed = numbers.into_iter().filter(|(_, now, before)| now != before);
    let mut after: Map<String, Value> = changed.map(|(name, now, _)| (name.to_owned(), json!(now))).collect();
    let mut variables = Map::new();
    for entry in hands.real.environment.iter().flatten() {
        let entry = entry.to_string_lossy();
        let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
        if name != "PATH" {
            variables.insert(name.to_owned(), json!(value));
        }
    }
    if !variables.is_empty() {
        after.insert("env".to_owned(), Value::Object(variables));
    }
    Value::Object(after)
}

fn nice_value() -> i64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc(5)");
    let behind_name = stat.rsplit(')').next().expect("a name in brackets");
    behind_name.split_whitespace().nth(16).and_then(|field| field.parse().ok()).expect("a nice value")
}

// ----------------------------------------------------------------------------------------- hands

/// Real hands that say what they do, in a file that survives the process.
struct Recording<'r, 'h> {
    real: RealHands<'h>,
    report: &'r File,
    verbose: i64,
    dry_run: bool,
    resident: i64,
    /// Of lines that grant and lines that refuse.
    severities: [i64; 2],
}

impl Recording<'_, '_> {
    fn note(&self, kind: &str, value: Value) {
        let line = format!("{}\n", json!({ kind: value }));
        (&mut &*self.report).write_all(line.as_bytes()).expect("the report");
    }

    fn command(&self, kind: &str, command: &[u8]) {
        self.note("spawned", json!({ "kind": kind, "command": String::from_utf8_lossy(command) }));
        if self.real.ids.is_some() && !Uid::effective().is_root() {
            self.note("needs_root", Value::Null);
        }
    }

    fn say(&self, priority: i64, message: &[u8]) {
        self.note("log", json!({ "priority": priority, "message": String::from_utf8_lossy(message) }));
    }
}

impl Hands for Recording<'_, '_> {
    fn log(&mut self, entry: Entry) {
        let priority = match entry.level {
            Level::Err => 3,
            Level::Warning => 4,
            Level::Notice => 5,
            Level::Info => 6,
            Level::Debug => 7,
            Level::Allow => self.severities[0],
            Level::Deny => self.severities[1],
        };
        self.say(priority, &entry.text);
    }

    fn severity(&mut self, priority: Priority) {
        let facility = i64::from(priority.facility.unwrap_or(0)) << 3;
        self.severities = [facility | i64::from(priority.level); 2];
    }

    fn spawn(&mut self, command: &[u8]) -> io::Result<Ended> {
        if self.dry_run {
            return Ok(Ended::Exit(0));
        }
        self.command("spawn", command);
        self.real.spawn(command)
    }

    fn aclexec(&mut self, command: &[u8]) -> io::Result<Ended> {
        if self.dry_run {
            return Ok(Ended::Exit(0));
        }
        self.command("aclexec", command);
        self.real.aclexec(command)
    }

    fn may_twist(&self) -> Result<(), OptionFlaw> {
        if self.resident > 0 {
            return Err(OptionFlaw::TwistInResident);
        }
        self.real.may_twist()
    }

    fn twist(&mut self, command: &[u8]) -> Result<(), Error> {
        if self.dry_run {
            return Ok(());
        }
        self.command("twist", command);
        self.real.twist(command)
    }

    fn set_variable(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        self.real.set_variable(name, value)
    }

    fn set_umask(&mut self, mask: u32) {
        self.real.set_umask(mask);
    }

    fn nice(&mut self, increment: i32) -> io::Result<()> {
        if self.dry_run {
            return Ok(());
        }
        if increment < 0 && !Uid::effective().is_root() {
            self.note("needs_root", Value::Null);
        }
        self.real.nice(increment)
    }

    fn linger(&mut self, seconds: i32) -> io::Result<()> {
        if self.dry_run { Ok(()) } else { self.real.linger(seconds) }
    }

    fn keepalive(&mut self) -> io::Result<()> {
        if self.dry_run { Ok(()) } else { self.real.keepalive() }
    }

    fn read_banner(&mut self, directory: &Path, daemon: &[u8]) -> Banner {
        self.real.read_banner(directory, daemon)
    }

    fn send(&mut self, text: &[u8]) {
        self.real.send(text);
    }

    fn assume_later(&mut self, identity: &Identity) {
        self.real.assume_later(identity);
    }

    fn matched(&mut self, place: &Place) {
        if self.verbose >= 2 {
            let line = format!("matched:  {} line {}", place.file.display(), place.line);
            self.say(7, line.as_bytes());
        }
    }

    fn about_to(&mut self, keyword: &str, value: &[u8]) {
        if self.verbose >= 1 {
            let line = [format!("option:   {keyword} ").as_bytes(), value].concat();
            self.say(7, &line);
        }
    }
}
