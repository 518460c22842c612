//! What does the library answer to every recorded question?
//!
//! `vectors.c` asks, one question after another, each in a process of its own. There is one such program
//! per processor. As root each of them lives in a mount namespace where /etc is private, so that the
//! netgroups can be those of the question and no setting of the machine is in force; without it, what
//! names netgroups is left out.
#![forbid(unsafe_code)]

use crate::lab::place::{overlay, tmpfs};
use crate::library::{SOURCES, is_the_original};
use crate::vectors::{self, Seen, id, number, text};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Uid;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Where the netgroups of the question are, in a private /run.
const NETGROUPS: &str = "/run/netgroup";
const PRIVATE: &str = "they need a private /etc, which root can make";

/// What watches the program while it asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    Nobody,
    /// Valgrind: no wrong use of memory, and nothing lost.
    Memcheck,
}

/// One round of all questions.
pub struct Round {
    /// Tells rounds apart that run side by side.
    pub label: &'static str,
    pub program: PathBuf,
    pub watch: Watch,
}

impl Round {
    /// Answers to all vectors.
    pub fn answers(&self, vectors: &[Value]) -> BTreeMap<String, Value> {
        let _ = std::fs::remove_dir_all(self.log());
        std::fs::create_dir_all(self.log()).expect("a directory");
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let start = |worker: usize| scope.spawn(move || self.work(vectors, worker, workers));
            let started: Vec<_> = (0..workers).map(start).collect();
            started.into_iter().flat_map(|worker| worker.join().expect("answers")).collect()
        })
    }

    /// Where the watcher writes what it sees.
    fn log(&self) -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("watched-{}-{}", self.label, std::process::id()))
    }

    /// What the watcher saw; nothing, if all is well.
    pub fn complaints(&self) -> String {
        let mut all = String::new();
        for entry in std::fs::read_dir(self.log()).into_iter().flatten().flatten() {
            all += &String::from_utf8_lossy(&std::fs::read(entry.path()).expect("reads"));
        }
        let _ = std::fs::remove_dir_all(self.log());
        all
    }

    /// Asks every `workers`-th question.
    fn work(&self, vectors: &[Value], worker: usize, workers: usize) -> Vec<(String, Value)> {
        let is_root = Uid::effective().is_root();
        let has_own_etc = is_root && enter_private_etc();
        let mut asking = self.start(&self.log().join(worker.to_string()), has_own_etc);
        let mut answers = Vec::new();
        for (index, vector) in vectors.iter().enumerate().filter(|(index, _)| index % workers == worker) {
            let answer = if !is_root && (vectors::needs_root(vector) || is_made_urgent(vector)) {
                vectors::skipped(vectors::NEEDS_ROOT)
            } else if !has_own_etc && text(vector, "netgroup").is_some() {
                vectors::skipped(PRIVATE)
            } else {
                let name = format!("{}-{}-{index}", self.label, std::process::id());
                let dir = vectors::scratch_of(&name, if is_the_original() { 48 } else { 64 });
                let answer = asking.ask(vector, &dir);
                vectors::clear_away(&dir);
                answer
            };
            answers.push((id(vector).to_owned(), answer));
        }
        asking.end();
        answers
    }

    fn start(&self, log: &Path, has_own_etc: bool) -> Asking {
        let mut command = match self.watch {
            Watch::Nobody => Command::new(&self.program),
            Watch::Memcheck => memcheck(&self.program, log),
        };
        let mut options = std::ffi::OsString::from("detect_leaks=0:log_path=");
        options.push(log);
        if has_own_etc {
            command.arg(NETGROUPS);
        }
        command.env_clear();
        if self.watch == Watch::Memcheck && !is_the_original() {
            // The reference would remember it.
            command.env("WARM_UP", "1");
        }
        let mut child = command
            .env("PATH", "/usr/bin:/bin")
            .env("ASAN_OPTIONS", options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let questions = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Asking { child, questions, answers }
    }
}

/// Only root may lower a nice value.
fn is_made_urgent(vector: &Value) -> bool {
    ["allow", "deny"].iter().filter_map(|table| text(vector, table)).any(|rules| {
        let words = rules.to_ascii_lowercase();
        words.split(':').any(|option| {
            let value =
                option.trim().strip_prefix("nice").map(|rest| rest.trim_start_matches([' ', '\t', '=']));
            value.is_some_and(|value| value.starts_with('-'))
        })
    })
}

/// Gives the calling thread, and what it starts, an /etc of its own. False where that is forbidden.
fn enter_private_etc() -> bool {
    if unshare(CloneFlags::CLONE_NEWNS).is_err() {
        return false;
    }
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).expect("private mounts");
    tmpfs("/run", "mode=0755");
    overlay("/etc");
    for path in ["/etc/netgroup", "/etc/tcpd.conf"] {
        let _ = std::fs::remove_file(path);
    }
    std::fs::write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\nnetgroup: files\n")
        .expect("a private /etc");
    symlink(NETGROUPS, "/etc/netgroup").expect("a private /etc");
    true
}

/// A running program that asks.
struct Asking {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Asking {
    fn ask(&mut self, vector: &Value, dir: &Path) -> Value {
        let [allow, deny] = vectors::lay_out(vector, dir).expect("a scratch directory");
        let own = |path: &Path| Some(path.to_str().expect("UTF-8").to_owned());
        let stated = |field: &str| text(vector, field).map(str::to_owned);
        let counted = |field: &str| number(vector, field).map(|number| number.to_string());
        let is = |field: &str, word: &str| (text(vector, field) == Some(word)).then(String::new);
        let strings =
            ["daemon", "client_name", "client_addr", "user", "server_name", "server_addr", "netgroup"];
        let numbers = ["client_port", "server_port", "resident", "calls", "uid", "verbose", "dry_run"];
        let mut lines: Vec<(&str, Option<String>)> =
            vec![("directory", own(dir)), ("allow", own(&allow)), ("deny", own(&deny))];
        lines.extend(strings.map(|field| (field, stated(field))));
        lines.extend(numbers.map(|field| (field, counted(field))));
        lines.extend([("hosts_ctl", is("api", "hosts_ctl")), ("no_fd", is("fd", "none"))]);
        let mut question = String::new();
        for (key, value) in lines {
            if let Some(value) = value {
                question += &format!("{key} {}\n", hex(value.as_bytes()));
            }
        }
        question += "run\n";
        self.questions.write_all(question.as_bytes()).expect("the program reads");
        self.hear(vector, dir)
    }

    fn hear(&mut self, vector: &Value, dir: &Path) -> Value {
        let mut seen = Seen::default();
        loop {
            let mut line = String::new();
            self.answers.read_line(&mut line).expect("an answer");
            let mut words = line.trim_end_matches('\n').split(' ');
            let (kind, number) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let number = number.parse::<i32>();
            let number = number.unwrap_or_else(|_| panic!("{}: the program ended: {line:?}", id(vector)));
            let bytes = bytes(words.next().unwrap_or(""));
            let words = String::from_utf8_lossy(&bytes);
            match kind {
                "log" => seen.log.push(json!({ "priority": number, "message": words })),
                "spawn" | "aclexec" | "twist" => {
                    seen.spawned.push(json!({ "kind": kind, "command": words }));
                }
                "returned" => seen.returns.push(json!(number)),
                "after" => {
                    seen.after.insert(words.into_owned(), json!(number));
                }
                "env" => {
                    let (name, value) = words.split_once('=').unwrap_or((&words, ""));
                    let variables = seen.after.entry("env").or_insert_with(|| json!({}));
                    variables[name] = json!(value);
                }
                "slept" => {}
                "output" => seen.output = bytes,
                "exit" => seen.exit = Some(number),
                "end" => return seen.answer(vector, dir, number),
                other => panic!("{}: {other}", id(vector)),
            }
        }
    }

    fn end(self) {
        let Asking { mut child, questions, answers } = self;
        drop(questions);
        drop(answers);
        let status = child.wait().expect("a status");
        assert!(status.success(), "the program that asks: {status}");
    }
}

fn memcheck(program: &Path, log: &Path) -> Command {
    let mut command = Command::new("valgrind");
    let mut file = std::ffi::OsString::from("--log-file=");
    file.push(log);
    command.args(["-q", "--tool=memcheck", "--error-exitcode=99", "--leak-check=full"]);
    command.args(["--errors-for-leak-kinds=definite", "--show-leak-kinds=definite"]).arg(file);
    let suppressions = Path::new(SOURCES).join("memcheck.supp");
    if suppressions.exists() {
        command.arg(format!("--suppressions={}", suppressions.display()));
    }
    command.arg(program);
    command
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).expect("hex") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
