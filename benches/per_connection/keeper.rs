//! A process that starts one listener, ends it when it is told to, and says what it and all its children
//! have cost.
#![forbid(unsafe_code)]

use crate::lab::Running;
use crate::launcher::{Children, say};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader, Lines, Read};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

pub const ROLE: &str = "keeper";

/// How long children of a listener may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// In the keeper: `PROGRAM ARGV0 ARGUMENT...`. Told to end by the end of its input.
pub fn main(arguments: &[String]) -> ExitCode {
    let [program, name, rest @ ..] = arguments else { return ExitCode::FAILURE };
    let mut command = Command::new(program);
    command.arg0(name).args(rest).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut listener = Running::start(&mut command);
    say(&listener.pid().to_string());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    // A child that is left over would not be counted.
    let start = Instant::now();
    while has_children(listener.pid()) && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    listener.signal(Signal::SIGTERM);
    listener.wait();
    Children::tell();
    ExitCode::SUCCESS
}

fn has_children(pid: u32) -> bool {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children.is_ok_and(|children| !children.trim().is_empty())
}

/// A listener with its keeper.
pub struct Kept {
    keeper: Running,
    said: Lines<BufReader<ChildStdout>>,
    pub pid: u32,
}

impl Kept {
    /// Starts a program, argv[0] first in `arguments`.
    pub fn start(program: &str, arguments: &[String]) -> Kept {
        let mut command = Command::new("/proc/self/exe");
        command
            .args([ROLE, program])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut keeper = Running::start(&mut command);
        let mut said = BufReader::new(keeper.child().stdout.take().unwrap()).lines();
        let pid = said.next().expect("a line").unwrap().parse().expect("a process id");
        Kept { keeper, said, pid }
    }

    /// Ends it: microseconds of CPU, its own and its children's.
    pub fn end(mut self) -> f64 {
        drop(self.keeper.child().stdin.take());
        let told = self.said.next().expect("the keeper ends well").unwrap();
        assert_eq!(self.keeper.wait(), 0);
        Children::hear(&told, 1).cpu_us
    }
}
