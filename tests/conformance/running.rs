//! One vector in a process of its own: its files, its request, and what it left behind, in the words
//! of the recording.

use crate::common::{Scripted, endpoint, stated_user};
use crate::hands::Recording;
use crate::vectors::{self, Seen, text};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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

/// Runs a vector in a child and gives the answer in the words of the recording.
pub fn run(vector: &Value, dir: &Path) -> Value {
    let names = vectors::lay_out(vector, dir).expect("a scratch directory");
    let (mut near, far) = UnixStream::pair().expect("a socket pair");
    let report_path = dir.with_extension("report");
    let report = File::create(&report_path).expect("a report");
    let child = process::start_child(|| {
        let behave = || behave(vector, dir, &names, far.as_fd(), &report);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(behave)).unwrap_or(70)
    })
    .expect("a child");
    drop(far);
    let mut seen = Seen::default();
    near.read_to_end(&mut seen.output).expect("what the client sees");
    seen.exit = match waitpid(Pid::from_raw(child), None).expect("a status") {
        WaitStatus::Exited(_, RETURNED) => None,
        WaitStatus::Exited(_, status) => Some(status),
        WaitStatus::Signaled(_, signal, _) => Some(-(signal as i32)),
        other => panic!("{other:?}"),
    };
    let lines = std::fs::read_to_string(&report_path).expect("a report");
    let _ = std::fs::remove_file(&report_path);
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        for (kind, value) in line.as_object().expect("an object") {
            match kind.as_str() {
                "log" => seen.log.push(value.clone()),
                "spawned" => seen.spawned.push(value.clone()),
                "returned" => seen.returns.push(value.clone()),
                "after" => seen.after = value.as_object().expect("an object").clone(),
                _ => return vectors::skipped(vectors::NEEDS_ROOT),
            }
        }
    }
    seen.answer(vector, dir, child)
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
    let number = |field: &str| vectors::number(vector, field);
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
