//! One vector in a process of its own: its files, its request, and what it left behind, in the words
//! of the recording.

use crate::common::{Scripted, endpoint, stated_user};
use crate::hands::Recording;
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use wrap::actions::{Outcome, RealHands, settle};
use wrap::facts::{DaemonName, IDENT_SECONDS, Request, Transport, stated_name};
use wrap::sys::process;
use wrap::tables::TextTable;
use wrap::verdict::Tables;
use wrap::voice::Channels;

const UMASK: u32 = 0o027;
/// Status of a child that got to the end of its work.
const RETURNED: i32 = 77;
const DIR: &str = "{{DIR}}";

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
pub fn run(vector: &Value, dir: &Path) -> Value {
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
    let mut voice = Channels::on_stderr(null).voice(b"test");
    let connection = (!is_ctl && text(vector, "fd") != Some("none")).then_some(fd);
    let mut hands = Recording {
        real: RealHands::new(&mut voice, connection),
        report,
        verbose: number("verbose").unwrap_or(0),
        dry_run: number("dry_run").is_some_and(|n| n != 0),
        resident: number("resident").unwrap_or(-1),
        severities: [6, 4],
        table: PathBuf::new(),
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
        let granted = match outcome {
            Outcome::Proceed => true,
            Outcome::Refused => false,
            // A twist that is only tried out leaves the verdict to the table it stands in.
            Outcome::HandedOver => hands.table == names[0],
        };
        hands.note("returned", json!(i32::from(granted)));
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
