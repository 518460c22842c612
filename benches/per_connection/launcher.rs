//! A process of one thread that does what inetd does, so often and no longer: accept, fork, execute. In
//! the end it says what its children have cost, which the kernel adds up for the parent that waits.
//!
//! It is this same program, started anew for each measurement: what the children of one variant cost is
//! not mixed with another's, and a small process is cheap to fork.
#![forbid(unsafe_code)]

use crate::common::CALLER;
use crate::field::{Field, Variant};
use crate::lab::Running;
use crate::visitors::{self, Visits};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use wrap::sys::{process, signals};

pub const ROLE: &str = "launcher";

/// What the processes of connections have cost, each.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub cpu_us: f64,
    pub faults: f64,
    /// The most that one of them had in memory, KiB. Includes what a fork of the launcher has.
    pub peak_kb: f64,
}

/// The cost of all children that have been waited for, in all: what `children` says in one process
/// is what another one reads.
pub struct Children;

impl Children {
    pub fn tell() {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the usage of the children");
        let cpu = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        say(&format!("{cpu} {} {}", usage.minor_page_faults(), usage.max_rss()));
    }

    pub fn hear(line: &str, connections: usize) -> Cost {
        let numbers: Vec<f64> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let [cpu, faults, peak_kb] = numbers[..] else { panic!("no usage: {line:?}") };
        let connections = connections as f64;
        Cost { cpu_us: cpu / connections, faults: faults / connections, peak_kb }
    }
}

pub fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

/// In the launcher: `COUNT QUIET PROGRAM ARGV0 ARGUMENT...`, the listening socket on descriptor 0.
pub fn main(arguments: &[String]) -> ExitCode {
    let [count, quiet, program, rest @ ..] = arguments else { return ExitCode::FAILURE };
    let count: usize = count.parse().expect("a number");
    let words: Vec<CString> = rest.iter().map(|word| CString::new(word.as_str()).unwrap()).collect();
    let null = OpenOptions::new().write(true).open("/dev/null").expect("the null device");
    let quiet = (quiet == "quiet").then_some(null);
    let listener = TcpListener::from(process::standard(0).unwrap().try_clone_to_owned().unwrap());
    say("ready");
    let mut children = 0;
    for _ in 0..count {
        let (connection, _) = listener.accept().expect("a connection");
        let serve = || become_server(&connection, quiet.as_ref(), Path::new(program), &words);
        process::start_child(serve).expect("a process");
        drop(connection);
        children += 1;
        children -= process::reap().len();
    }
    while children > 0 {
        nix::sys::wait::wait().expect("a child");
        children -= 1;
    }
    Children::tell();
    ExitCode::SUCCESS
}

/// In the child: returns only if something failed, and then the visitor misses his greeting.
fn become_server(
    connection: &TcpStream,
    quiet: Option<&std::fs::File>,
    program: &Path,
    words: &[CString],
) -> i32 {
    signals::break_on_pipes();
    if process::onto_standard(connection.as_fd()).is_err() {
        return 1;
    }
    if let Some(null) = quiet
        && nix::unistd::dup2_stderr(null).is_err()
    {
        return 1;
    }
    process::become_program(program, words, None);
    1
}

/// A round of one variant: so many connections, so many at a time.
pub fn round(field: &Field, variant: &Variant, count: usize, at_once: usize) -> (Visits, Cost) {
    field.put_image(variant.compiled);
    let listener = TcpListener::bind((CALLER, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = Command::new("/proc/self/exe");
    command
        .args([ROLE, &count.to_string(), if variant.quiet { "quiet" } else { "loud" }])
        .arg(&variant.program)
        .args(&variant.arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(OwnedFd::from(listener))
        .stdout(Stdio::piped());
    let mut launcher = Running::start(&mut command);
    // The socket is the launcher's alone: a visitor is not left waiting when it dies.
    drop(command);
    let mut said = BufReader::new(launcher.child().stdout.take().unwrap()).lines();
    assert_eq!(said.next().expect("a line").unwrap(), "ready");
    let visits = visitors::visit(address, CALLER, count, at_once);
    let told = said.next().expect("the launcher ends well").unwrap();
    assert_eq!(launcher.wait(), 0);
    assert_eq!(visits.served, count, "{}: not everybody was served", variant.name);
    (visits, Children::hear(&told, count))
}
