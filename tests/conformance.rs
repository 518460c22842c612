//! Every recorded answer of the reference, against ours.
//!
//! `tests/data/vectors.jsonl` holds what libwrap.so.0 did with a pair of tables and a request: the
//! verdict, the lines it logged, the commands it ran, what the client saw and what stuck to the
//! process. We must do the same, or stand in `tests/mended.tsv` with the reason and with our own
//! complete answer (see tests/common/vectors.rs).
//!
//! Deeds change the process they are done in (umask, nice, environment), and a twist replaces it. So
//! each vector runs in a process of its own: the program starts itself once per processor, and each
//! of these workers, having one thread, forks once per vector.

#[path = "common/mod.rs"]
mod common;
#[path = "conformance/hands.rs"]
mod hands;
#[path = "conformance/running.rs"]
mod running;
#[path = "common/vectors.rs"]
mod vectors;

use nix::unistd::Uid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use vectors::{MENDED, Mended, Report};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("--worker") => work(&arguments[2], arguments[3].parse().expect("a number")),
        Some("--list") => {}
        _ => compare_all(),
    }
}

fn compare_all() {
    let (answers, mended) = (answers_of_workers(), Mended::read(MENDED));
    mended.update(&answers);
    let report = Report::of(&vectors::all(), &answers, &[mended]);
    for line in report.lines() {
        println!("{line}");
    }
    if !report.is_good() {
        std::process::exit(1);
    }
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

/// Does every `workers`-th vector and prints the answers.
fn work(number: &str, workers: usize) {
    let number: usize = number.parse().expect("a number");
    let mut out = io::stdout().lock();
    for (index, vector) in vectors::all().iter().enumerate().filter(|(index, _)| index % workers == number) {
        let dir = vectors::scratch(&format!("conformance-{}-{index}", std::process::id()));
        let mut answer = if vectors::needs_root(vector) && !Uid::effective().is_root() {
            vectors::skipped(vectors::NEEDS_ROOT)
        } else {
            running::run(vector, &dir)
        };
        answer["id"] = vector["id"].clone();
        writeln!(out, "{answer}").expect("the main program reads");
        vectors::clear_away(&dir);
    }
}
