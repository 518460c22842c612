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
#[path = "conformance/hands.rs"]
mod hands;
#[path = "conformance/running.rs"]
mod running;

use nix::unistd::Uid;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/vectors.jsonl");
const MENDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mended.tsv");
/// The fields of an answer.
const ANSWER: [&str; 7] = ["granted", "exit", "log", "spawned", "client_output", "after", "all_returns"];

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
            Some((number, _)) if opens_a_door(number, &recorded, answer) => {
                Err(format!("{number} does not admit that we grant what the reference refuses"))
            }
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

/// The reasons for which we may grant what the reference refuses, or ends the process over.
const MAY_GRANT: [&str; 4] = ["M8", "M11", "M12", "M14"];

/// Swapping the binary opens no door but those that are named.
fn opens_a_door(number: &str, recorded: &Value, answer: &Value) -> bool {
    let granted = |answer: &Value| answer["granted"] == json!(true);
    granted(answer) && !granted(recorded) && !number.split(',').any(|one| MAY_GRANT.contains(&one))
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
    let number: usize = number.parse().expect("a number");
    let mut out = io::stdout().lock();
    for (index, vector) in read_vectors().iter().enumerate().filter(|(index, _)| index % workers == number) {
        let dir = scratch(index);
        let mut answer = if needs_root(vector) && !Uid::effective().is_root() {
            json!({ "needs_root": true })
        } else {
            running::run(vector, &dir)
        };
        answer["id"] = vector["id"].clone();
        writeln!(out, "{answer}").expect("the main program reads");
        let _ = std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755));
        let _ = std::fs::remove_dir_all(&dir);
    }
}

/// A directory for a vector. Its path is always of the same length, because columns are counted behind
/// it.
fn scratch(index: usize) -> PathBuf {
    let temporary = std::env::temp_dir();
    let base = if temporary.as_os_str().len() > 24 { Path::new("/tmp") } else { &temporary };
    let path = base.join(format!("tcpd-conformance-{}-{index}", std::process::id()));
    PathBuf::from(format!("{:-<64}", path.display()))
}

/// Vectors that begin as another user. Those whose rules change the identity are found as they run.
fn needs_root(vector: &Value) -> bool {
    vector.get("uid").is_some_and(|uid| !uid.is_null())
}
