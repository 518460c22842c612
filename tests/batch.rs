//! What does tcpdmatch say to many requests on one stream, and is it what it says to each alone?
//!
//! `tests/explain/batch.in` and `batch.out` are requests and answers for the tables beside them;
//! `UPDATE_GOLDEN=1` rewrites the answers.
#![forbid(unsafe_code)]

#[path = "common/generated.rs"]
mod generated;
#[path = "common/golden.rs"]
mod golden;

use generated::line;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use wrap::compile::{self, Observer};
use wrap::explain::{self, Limits};
use wrap::inquiry::batch::Batch;
use wrap::inquiry::stated;
use wrap::lookup::Live;
use wrap::narrator::{Manner, account, written_in_file};
use wrap::settings::Settings;
use wrap::tables::TextTable;
use wrap::witness::{Facts, Witness};

/// No test waits longer than this for what should come at once.
const PATIENCE: Duration = Duration::from_secs(20);

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain")
}

/// tcpdmatch on the tables of a directory, with nothing of the machine's.
fn tcpdmatch(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpdmatch"));
    command.current_dir(directory).args(["-d", "--config", "/dev/null", "--image", "none"]);
    command
}

fn fed(command: &mut Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("standard input");
    let input = input.to_vec();
    // Whoever answers while it is asked must be read meanwhile.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads");
    output
}

/// The answers of a batch, and how it ended.
fn answered(directory: &Path, arguments: &[&str], input: &[u8]) -> (Vec<Value>, Option<i32>) {
    let output = fed(tcpdmatch(directory).arg("--batch").args(arguments), input);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    (text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect(), output.status.code())
}

/// The members that an explanation has, too, without what only an explanation has.
fn common(object: &Value) -> Value {
    let mut common = Map::new();
    for name in ["access", "because", "decided_by", "options", "log"] {
        let mut value = object[name].clone();
        for option in value.as_array_mut().into_iter().flatten() {
            option.as_object_mut().expect("an object").remove("letters");
        }
        common.insert(name.to_owned(), value);
    }
    Value::Object(common)
}

#[test]
fn golden_batch() {
    let requests = std::fs::read(directory().join("batch.in")).expect("requests");
    let output = fed(tcpdmatch(&directory()).arg("--batch"), &requests);
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(1), ""));
    let ours = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(golden::difference(&directory().join("batch.out"), &ours), None);
    let lines = requests.split(|&byte| byte == b'\n').count();
    assert_eq!(ours.lines().count(), lines - 1, "one answer to each line");
}

/// What is said to stated facts alone, in the golden files of the explanations, is said in a batch.
#[test]
fn a_batch_says_what_is_said_to_each() {
    let cases = [
        (
            "granted",
            json!({ "daemon": "in.ftpd", "client": "192.0.2.7", "name": "host.example.com", "user": "root",
                "server": "198.51.100.1", "server-name": "srv", "server-port": 21 }),
        ),
        ("denied", json!({ "daemon": "in.tftpd", "client": "2001:db8::7", "user": null })),
        ("delegated", json!({ "daemon": "in.telnetd", "client": "203.0.113.9", "name": "paranoid" })),
        ("aclexec", json!({ "daemon": "in.execd", "client": "203.0.113.9" })),
        ("wrong-option", json!({ "daemon": "in.wrongd", "client": "203.0.113.9" })),
        ("no-rule", json!({ "daemon": "in.freed", "client": "203.0.113.9", "client-port": 1023 })),
    ];
    let requests: String = cases.iter().map(|(_, request)| format!("{request}\n")).collect();
    let (answers, status) = answered(&directory(), &[], requests.as_bytes());
    assert_eq!((answers.len(), status), (cases.len(), Some(0)));
    for ((name, _), answer) in cases.iter().zip(&answers) {
        let alone = std::fs::read_to_string(directory().join(format!("{name}.json"))).expect("golden");
        assert_eq!(common(answer), common(&serde_json::from_str(&alone).expect("JSON")), "{name}");
    }
}

#[test]
fn the_status_says_whether_all_was_well() {
    let ask = |arguments: &[&str], input: &str| answered(&directory(), arguments, input.as_bytes());
    let denied = "{\"daemon\":\"in.tftpd\",\"client\":\"2001:db8::7\"}\n";
    let granted = "{\"daemon\":\"in.freed\",\"client\":\"2001:db8::7\"}\n";
    assert_eq!(ask(&[], ""), (Vec::new(), Some(0)));
    assert_eq!(ask(&[], &format!("{denied}{granted}")).1, Some(0));
    assert_eq!(ask(&["--expect", "denied"], &denied.repeat(3)).1, Some(0));
    assert_eq!(ask(&["--expect", "denied"], &format!("{denied}{granted}{denied}")).1, Some(1));
    let (answers, status) = ask(&["--format", "json"], &format!("{denied}nonsense\n{granted}"));
    assert_eq!(
        (answers[1]["line"].as_u64(), answers[2]["access"].as_str(), status),
        (Some(2), Some("granted"), Some(1))
    );
    // The last line may lack its newline, and then it is one.
    assert_eq!(ask(&[], denied.trim_end()).0.len(), 1);
    for wrong in
        [&["--explain"][..], &["--stated"], &["-i", "/dev/null"], &["--format", "human"], &["in.ftpd"]]
    {
        let output = fed(tcpdmatch(&directory()).arg("--batch").args(wrong), b"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(1) && said.contains("--batch reads requests"),
            "{wrong:?}: {said}"
        );
    }
}

/// A line that is too long is answered, is not kept, and does not hide the next one.
#[test]
fn lines_may_be_too_long_and_pieces_may_end_anywhere() {
    let request = "{\"daemon\":\"in.freed\",\"client\":\"2001:db8::7\"}\n";
    let long = format!("{{\"name\":\"{}\"}}\n", "x".repeat(3 << 20));
    let fits = format!("{{\"daemon\":\"in.freed\",\"name\":\"{}\"}}\n", "x".repeat(1 << 19));
    let (answers, status) =
        answered(&directory(), &[], format!("{request}{long}{request}{fits}{long}").as_bytes());
    let said: Vec<_> = answers.iter().map(|answer| answer["access"].as_str()).collect();
    assert_eq!(said, [Some("granted"), None, Some("granted"), Some("granted"), None]);
    assert_eq!(
        (answers[4]["line"].as_u64(), answers[4]["error"].as_str()),
        (Some(5), Some("longer than 1 MiB"))
    );
    assert_eq!(status, Some(1));

    // However the requests come, each is answered once, and in its place.
    let requests: String = (0..2000).map(|n| format!("{{\"id\":{n},\"daemon\":\"in.freed\"}}\n")).collect();
    let (answers, _) = answered(&directory(), &[], requests.as_bytes());
    assert!(answers.iter().enumerate().all(|(n, answer)| answer["id"] == n) && answers.len() == 2000);
}

/// A batch that is asked one question at a time.
struct Talk {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
}

impl Talk {
    fn begin(directory: &Path) -> Talk {
        let mut command = tcpdmatch(directory);
        command.arg("--batch").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let (input, output) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Talk { child, input, answers }
    }

    fn ask(&mut self, request: &str) -> Value {
        writeln!(self.input, "{request}").expect("it reads");
        let answer = self.answers.recv_timeout(PATIENCE).expect("an answer");
        serde_json::from_str(&answer).expect("JSON")
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whoever waits for an answer gets it, by the rules as they are when the question is asked.
#[test]
fn each_question_is_answered_at_once_by_the_rules_of_the_hour() {
    let scratch = Scratch::new("talk");
    let rules = |deny: &str| {
        std::fs::write(scratch.0.join("hosts.allow"), "").expect("a table");
        std::fs::write(scratch.0.join("hosts.deny"), deny).expect("a table");
    };
    rules("");
    let mut talk = Talk::begin(&scratch.0);
    let request = "{\"daemon\":\"in.x\",\"client\":\"192.0.2.7\"}";
    assert_eq!(talk.ask(request)["access"], "granted");
    rules("# Nobody.\nALL: ALL\n");
    let answer = talk.ask(request);
    assert_eq!((&answer["access"], &answer["decided_by"]["line"]), (&json!("denied"), &json!(2)));
    rules("ALL: ALL");
    assert_eq!(talk.ask(request)["because"], "trouble");
    rules("in.x: 192.0.2.: twist echo no\n");
    assert_eq!(talk.ask(request)["access"], "delegated");
}

/// A table that is too large to be kept says the same: by its text, and by an image of it.
#[test]
fn large_tables_are_searched_where_they_are() {
    struct Silent;
    impl Observer for Silent {
        fn progress(&mut self, _: &Path, _: u64) {}
        fn remark(&mut self, text: String) {
            panic!("{text}");
        }
    }
    let scratch = Scratch::new("large");
    let line = |n: u32| format!("ALL: 10.{}.{}.{}: severity auth.info\n", n >> 16, n >> 8 & 255, n & 255);
    let deny: String = (0..40_000).map(line).collect();
    assert!(deny.len() > 1 << 20);
    let tables = ["hosts.allow", "hosts.deny"].map(|name| scratch.0.join(name));
    std::fs::write(&tables[0], "sshd: 10.\n").expect("a table");
    std::fs::write(&tables[1], deny).expect("a table");
    let mut image = Vec::new();
    let [allow, deny] = tables.each_ref().map(PathBuf::as_path);
    compile::write([allow, deny], Duration::ZERO, &mut image, &mut Silent).expect("tables").expect("at rest");
    std::fs::write(scratch.0.join("image"), image).expect("an image");
    let request =
        |daemon: &str, client: &str| format!("{{\"daemon\":\"{daemon}\",\"client\":\"{client}\"}}\n");
    let requests = request("in.x", "10.0.156.63")
        + &request("in.x", "11.0.0.0")
        + &request("sshd", "10.0.0.0")
        + &request("in.x", "10.0.0.0");
    let paths = [allow, deny].map(|path| path.to_str().expect("UTF-8"));
    let by = |image: &str| -> Vec<Value> {
        // By absolute paths it says who may write above them, on standard error.
        let named = ["--allow", paths[0], "--deny", paths[1], "--image", image];
        let output = fed(tcpdmatch(&scratch.0).arg("--batch").args(named), requests.as_bytes());
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let by_text = by("none");
    assert_eq!(by_text, by("image"));
    let line = |answer: &Value| answer["decided_by"]["line"].as_u64();
    assert_eq!(by_text.iter().map(line).collect::<Vec<_>>(), [Some(40_000), None, Some(1), Some(1)]);
    assert_eq!(by_text[0]["options"][0]["does"], json!(["logs at auth.info"]));
}

/// Whoever does not read the answers ends it, without a word.
#[test]
fn nobody_is_talked_to() {
    let mut child = tcpdmatch(&directory())
        .arg("--batch")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().expect("a pipe");
    while stdin.write_all(b"{}\n").is_ok() {}
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]));
}

/// A directory that is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("batch-{name}-{}", std::process::id()));
        // Of an image its directory must not be everybody's.
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&path).expect("a directory");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

// ------------------------------------------------------------------------------------------ the law

fn request() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let fact = |key: &'static str, values: &'static [&'static str]| {
        proptest::option::of(select(values)).prop_map(move |value| value.map(|value| (key, value)))
    };
    let facts = (
        fact("daemon", &["in.testd", "sshd", "a b"]),
        fact("client", &["10.1.2.3", "192.0.2.7", "2001:db8::7", "::ffff:10.9.9.9", "unknown"]),
        fact("name", &["host.example.com", "foo", "paranoid", "Paranoid", "unknown", "q\"\\u"]),
        fact("user", &["joe", "foo", "unknown", ""]),
        fact("server", &["10.1.2.1", "unknown"]),
        fact("server-name", &["srv", "paranoid"]),
        fact("client-port", &["1023"]),
        fact("server-port", &["21", "0"]),
    );
    facts.prop_map(|(a, b, c, d, e, f, g, h)| [a, b, c, d, e, f, g, h].into_iter().flatten().collect())
}

/// What tcpdmatch says to these facts alone, from the files.
fn alone(settings: &Settings, refuses: bool, facts: &Facts) -> Value {
    let machine = Live::new((None, None), false, Duration::from_secs(1));
    let witness = Witness::new(facts, &machine);
    let request = facts.fresh(1, &witness, settings.paranoid);
    let tables = || (TextTable::new(&settings.hosts_allow), TextTable::new(&settings.hosts_deny));
    let (mut allow, mut deny) = tables();
    let story = account(Manner::of(settings, refuses), (&mut allow, &mut deny), &request, &written_in_file);
    witness.take();
    let (mut allow, mut deny) = tables();
    let limits = Limits::of(settings);
    explain::json::object(&explain::explain(&story, (&mut allow, &mut deny), (facts, &witness), limits), &[])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the tables and the requests: an answer of a batch is the one that is given alone.
    #[test]
    fn an_answer_does_not_depend_on_its_company(
        allow in vec(line(), 0..5),
        deny in vec(line(), 0..5),
        unfinished in any::<bool>(),
        requests in vec(request(), 1..6),
        (strict, paranoid, refuses) in (prop::bool::weighted(0.1), prop::bool::weighted(0.1), prop::bool::weighted(0.05)),
    ) {
        let scratch = Scratch::new("law");
        let (hosts_allow, hosts_deny) = (scratch.0.join("hosts.allow"), scratch.0.join("hosts.deny"));
        std::fs::write(&hosts_allow, allow.concat()).expect("a table");
        let deny = deny.concat();
        let deny = if unfinished { deny.trim_end() } else { &deny };
        std::fs::write(&hosts_deny, deny).expect("a table");
        let settings = Settings { hosts_allow, hosts_deny, strict, paranoid, image: None, ..Settings::default() };
        let is_port = |key: &str| key.ends_with("-port");
        let object = |facts: &Vec<(&'static str, &'static str)>| -> Value {
            let member = |&(key, value): &(&str, &str)| {
                let number = value.parse::<u16>().ok().filter(|_| is_port(key));
                (key.to_owned(), number.map_or_else(|| json!(value), |number| json!(number)))
            };
            Value::Object(facts.iter().map(member).collect())
        };
        let input: String = requests.iter().map(|facts| format!("{}\n", object(facts))).collect();
        let mut output = Vec::new();
        let batch = Batch { settings: &settings, refuses, expect: None };
        prop_assert!(batch.answer(&mut input.as_bytes(), &mut output).expect("memory"));
        let answers: Vec<Value> =
            output.split_inclusive(|&byte| byte == b'\n').map(|line| serde_json::from_slice(line).expect("JSON")).collect();
        prop_assert_eq!(answers.len(), requests.len());
        for (facts, answer) in requests.iter().zip(&answers) {
            let words: Vec<_> = facts.iter().map(|(key, value)| format!("{key}={value}").into_bytes()).collect();
            let alone = alone(&settings, refuses, &stated::in_words(&words).expect("facts"));
            prop_assert_eq!(common(answer), common(&alone));
            // Each pattern in doubt is a line of the log, and is said to decide where its rule does.
            let doubts = answer["reading"].as_array().expect("a list");
            let log = alone["log"].as_array().expect("a list");
            let told = log.iter().filter(|line| line["text"].as_str().is_some_and(|text| text.contains("in two ways")));
            prop_assert_eq!(doubts.len(), told.count());
            for doubt in doubts {
                let place = json!({ "file": doubt["file"], "line": doubt["line"] });
                prop_assert_eq!(doubt["outcome"] == "decides", place == answer["decided_by"]);
            }
        }
    }
}
