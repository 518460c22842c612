//! The recorded answers of the reference, for the test programs that ask ours the same questions: where
//! are they read, how is a vector's world laid out, and when does an answer agree?
//!
//! `tests/data/vectors.jsonl` holds what libwrap.so.0 did with a pair of tables and a request. An answer
//! has to agree with it in everything, or stand in a list with the reason and with our own complete
//! answer. A listed difference that vanishes fails, so that no list grows stale.
//!
//! `UPDATE_MENDED=1` rewrites our answers in a list, for the ids that it has, no others.
#![forbid(unsafe_code)]
#![allow(dead_code)]

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/vectors.jsonl");
/// Where ours differs, whoever asks.
pub const MENDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mended.tsv");
/// The fields of an answer.
const ANSWER: [&str; 7] = ["granted", "exit", "log", "spawned", "client_output", "after", "all_returns"];
/// The vector's directory, in the words of the recording.
const DIR: &str = "{{DIR}}";
pub const NEEDS_ROOT: &str = "they need root";

pub fn all() -> Vec<Value> {
    let text = std::fs::read_to_string(VECTORS).expect("tests/data/vectors.jsonl");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

pub fn id(vector: &Value) -> &str {
    vector["id"].as_str().expect("an id")
}

pub fn text<'v>(vector: &'v Value, field: &str) -> Option<&'v str> {
    vector.get(field).and_then(Value::as_str)
}

pub fn number(vector: &Value, field: &str) -> Option<i64> {
    vector.get(field).and_then(Value::as_i64)
}

/// Vectors that begin as another user. Those whose rules need rights are found as they run.
pub fn needs_root(vector: &Value) -> bool {
    number(vector, "uid").is_some()
}

/// In place of the answer that could not be had here.
pub fn skipped(why: &str) -> Value {
    json!({ "skipped": why })
}

// ------------------------------------------------------------------------------------- laying out

/// A directory for a vector. Its path is always of the same length, because columns are counted behind
/// it.
pub fn scratch(name: &str) -> PathBuf {
    scratch_of(name, 64)
}

/// The same with a length of choice: the recording had a short one, and a line in it would be too long
/// for the reference with any other.
pub fn scratch_of(name: &str, length: usize) -> PathBuf {
    let temporary = std::env::temp_dir();
    let base = if temporary.as_os_str().len() > 24 { Path::new("/tmp") } else { &temporary };
    let path = base.join(format!("tcpd-{name}"));
    let path = format!("{:-<length$}", path.display());
    assert_eq!(path.len(), length, "{path}");
    PathBuf::from(path)
}

/// Lays the files of a vector out; gives the names of the two tables.
pub fn lay_out(vector: &Value, dir: &Path) -> io::Result<[PathBuf; 2]> {
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

pub fn clear_away(dir: &Path) {
    let _ = std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755));
    let _ = std::fs::remove_dir_all(dir);
}

// --------------------------------------------------------------------------------------- answering

/// What was seen of a vector's process.
#[derive(Default)]
pub struct Seen {
    pub log: Vec<Value>,
    pub spawned: Vec<Value>,
    pub returns: Vec<Value>,
    /// What differs from the start.
    pub after: Map<String, Value>,
    /// Status or negative signal, unless it got to the end of its work.
    pub exit: Option<i32>,
    /// What the client saw.
    pub output: Vec<u8>,
}

impl Seen {
    /// The answer in the words of the recording.
    pub fn answer(self, vector: &Value, dir: &Path, pid: i32) -> Value {
        let granted = match self.exit {
            None => self.returns.last().map_or(Value::Null, |last| json!(*last == json!(1))),
            Some(_) => Value::Null,
        };
        let all_returns = if self.returns.len() > 1 { json!(self.returns) } else { Value::Null };
        let answer = json!({
            "granted": granted, "exit": self.exit, "log": self.log, "spawned": self.spawned,
            "after": self.after, "client_output": String::from_utf8_lossy(&self.output),
            "all_returns": all_returns,
        });
        let has_pid =
            ["allow", "deny", "files"].iter().any(|field| vector[*field].to_string().contains("%p"));
        normal(&answer, dir, has_pid.then_some(pid))
    }
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

// --------------------------------------------------------------------------------------- comparing

/// A list of differences: id, M-numbers, our complete answer.
pub struct Mended {
    path: &'static str,
    rows: BTreeMap<String, (String, Value)>,
}

impl Mended {
    pub fn read(path: &'static str) -> Mended {
        let file = std::fs::read_to_string(path).unwrap_or_default();
        let row = |line: &str| {
            let mut fields = line.splitn(3, '\t').map(str::to_owned);
            let mut field = || fields.next().unwrap_or_default();
            let (id, number, answer) = (field(), field(), field());
            (id, (number, serde_json::from_str(&answer).unwrap_or(Value::Null)))
        };
        Mended { path, rows: file.lines().map(row).collect() }
    }

    /// Writes the list anew, if that was asked for.
    pub fn update(&self, answers: &BTreeMap<String, Value>) {
        if std::env::var_os("UPDATE_MENDED").is_none() {
            return;
        }
        let mut out = String::new();
        for (id, (number, before)) in &self.rows {
            let answer = answers.get(id).filter(|answer| answer.get("skipped").is_none()).unwrap_or(before);
            out.push_str(&format!("{id}\t{number}\t{}\n", sorted(answer)));
        }
        std::fs::write(self.path, out).expect("the list of differences");
    }
}

/// With fields in the order of their names, so that a list changes only where answers do.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(fields) => {
            let by_name: BTreeMap<_, _> = fields.iter().map(|(name, value)| (name, sorted(value))).collect();
            by_name.into_iter().map(|(name, value)| (name.clone(), value)).collect()
        }
        other => other.clone(),
    }
}

/// How the answers went with the recorded ones.
#[derive(Default)]
pub struct Report {
    passed: usize,
    failed: Vec<String>,
    skipped: BTreeMap<String, Vec<String>>,
}

impl Report {
    /// Compares; where lists name the same vector, the later one counts.
    pub fn of(vectors: &[Value], answers: &BTreeMap<String, Value>, lists: &[Mended]) -> Report {
        let mut report = Report::default();
        for vector in vectors {
            let id = id(vector);
            let Some(answer) = answers.get(id) else {
                report.failed.push(format!("{id}: no answer"));
                continue;
            };
            if let Some(why) = text(answer, "skipped") {
                report.skipped.entry(why.to_owned()).or_default().push(id.to_owned());
                continue;
            }
            match verdict(id, answer_in(vector), answer, lists) {
                Ok(()) => report.passed += 1,
                Err(why) => report.failed.push(format!("{id}: {why}")),
            }
        }
        for id in lists.iter().flat_map(|list| list.rows.keys()) {
            if !vectors.iter().any(|vector| self::id(vector) == id) {
                report.failed.push(format!("{id}: listed, and there is no such vector"));
            }
        }
        report
    }

    /// What went wrong, what was left out, and the counts.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.failed.iter().map(|line| format!("FAILED {line}")).collect();
        for (why, ids) in &self.skipped {
            lines.push(format!("SKIPPED {}, because {why}: {}", ids.len(), ids.join(" ")));
        }
        let skipped: usize = self.skipped.values().map(Vec::len).sum();
        lines.push(format!("{} passed, {} failed, {skipped} skipped", self.passed, self.failed.len()));
        lines
    }

    pub fn is_good(&self) -> bool {
        self.failed.is_empty() && self.passed > 0
    }
}

fn verdict(id: &str, recorded: Value, answer: &Value, lists: &[Mended]) -> Result<(), String> {
    let mut expected = &recorded;
    for (number, ours) in lists.iter().filter_map(|list| list.rows.get(id)) {
        if opens_a_door(number, &recorded, answer) {
            return Err(format!("{number} does not admit that we grant what the reference refuses"));
        }
        if answer == expected {
            return Err("listed, and does not differ any more".to_owned());
        }
        expected = ours;
    }
    differences(expected, answer)
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
