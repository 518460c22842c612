//! Does the wrapper do what the original was recorded doing, connection by connection?
//!
//! `tests/data/e2e.jsonl` holds the recorded scenarios. Where ours differs on purpose,
//! `tests/mended-e2e.tsv` has a line `id<TAB>reason<TAB>our own fields as JSON`; a difference that
//! is listed but no longer there fails, so the list cannot rot. Fields inside `daemon_saw` are
//! replaced one by one, all other fields as a whole. `library::recorded` plays the same scenarios with
//! another program.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::lab::server::{Questions, Server, ident, ident_says};
use crate::lab::{self, Lab, Line, Outcome, SCRATCH, Visit};

const RECORDED: &str = include_str!("../data/e2e.jsonl");
const PARTS: usize = 4;

#[test]
fn first_quarter() {
    quarter_of_ours(0);
}

#[test]
fn second_quarter() {
    quarter_of_ours(1);
}

#[test]
fn third_quarter() {
    quarter_of_ours(2);
}

#[test]
fn last_quarter() {
    quarter_of_ours(3);
}

fn quarter_of_ours(part: usize) {
    let lab = open_lab!();
    let expected = if lab::is_the_original() { Expected::original() } else { Expected::ours() };
    quarter(&lab, part, &expected);
}

/// What the wrapper in the lab is expected to do.
pub struct Expected {
    amendments: BTreeMap<&'static str, Amendment>,
    /// M19: nobody is held for the original's five seconds.
    prompt: bool,
}

/// A line of a list: what is seen in place of what was recorded.
struct Amendment {
    list: &'static str,
    fields: Value,
    /// What would be expected if this line were not there: nothing new, or the line of another list.
    otherwise: Value,
}

impl Expected {
    /// All as recorded.
    pub fn original() -> Expected {
        Expected { amendments: BTreeMap::new(), prompt: false }
    }

    /// As recorded, but for what our wrapper mends.
    pub fn ours() -> Expected {
        let mut ours = Expected { amendments: BTreeMap::new(), prompt: true };
        ours.but("mended-e2e.tsv", include_str!("../mended-e2e.tsv"));
        ours
    }

    /// The lines of one more list, each in place of an earlier one.
    pub fn but(&mut self, list: &'static str, text: &'static str) {
        for (id, fields) in read_list(list, text) {
            let earlier = self.amendments.remove(id).map(|amendment| amendment.fields);
            let amendment = Amendment { list, fields, otherwise: earlier.unwrap_or(json!({})) };
            self.amendments.insert(id, amendment);
        }
    }
}

/// Plays a quarter of the scenarios with the wrapper at `/usr/sbin/tcpd`.
pub fn quarter(lab: &Lab, part: usize, expected: &Expected) {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (index, line) in RECORDED.lines().enumerate() {
        if index % PARTS != part {
            continue;
        }
        let scenario: Value = serde_json::from_str(line).unwrap();
        let id = scenario["id"].as_str().unwrap();
        let (seen, took) = replay(lab, &scenario);
        wrong.extend(complaints(&scenario, &seen, expected.amendments.get(id)));
        if expected.prompt && took > bound(&scenario) {
            wrong.push(format!("{id}: took {took:?}"));
        }
        count += 1;
    }
    assert!(count >= 24, "only {count} scenarios were run");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// M19: a stream refusal leaves at once, a datagram refusal holds for a second; the original held
/// every refusal for five. Four seconds tell the two apart on any machine.
fn bound(scenario: &Value) -> Duration {
    match scenario["seconds"].as_u64() {
        Some(0 | 5) => Duration::from_secs(4),
        _ => Duration::from_secs(8),
    }
}

fn complaints(scenario: &Value, seen: &Value, amendment: Option<&Amendment>) -> Vec<String> {
    let id = scenario["id"].as_str().unwrap();
    let mut expected = of_interest(scenario);
    if let Some(Amendment { list, fields, otherwise }) = amendment {
        let mut unlisted = expected.clone();
        amend(&mut unlisted, otherwise);
        amend(&mut expected, fields);
        if *seen == unlisted {
            return vec![format!("{id}: listed in {list}, but there is no difference")];
        }
    }
    let different =
        expected.as_object().unwrap().iter().filter(|(key, value)| seen[key.as_str()] != **value).map(
            |(key, value)| {
                format!("{id} ({}): {key}\n  expected {value}\n  seen     {}", scenario["name"], seen[key])
            },
        );
    different.collect()
}

/// The fields that are compared; a field that was not recorded did not happen.
fn of_interest(scenario: &Value) -> Value {
    let keys = [
        "daemon_saw",
        "client_received",
        "syslog",
        "exit",
        "datagrams_left_in_queue",
        "ident_queries",
        "spawned_wrote",
    ];
    let fields = keys.map(|key| (key.to_owned(), scenario[key].clone()));
    Value::Object(Map::from_iter(fields))
}

fn amend(expected: &mut Value, ours: &Value) {
    for (key, value) in ours.as_object().unwrap() {
        match (&mut expected[key], value) {
            (Value::Object(old), Value::Object(new)) if key == "daemon_saw" => {
                old.extend(new.clone());
            }
            (old, new) => *old = new.clone(),
        }
    }
}

fn read_list(list: &str, text: &'static str) -> BTreeMap<&'static str, Value> {
    let mut lines = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [id, reason, fields] = fields[..] else {
            panic!("{list}: three fields expected: {line:?}");
        };
        assert!(reason.starts_with('M'), "{list}: {line:?}");
        let fields = serde_json::from_str(fields).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert!(lines.insert(id, fields).is_none(), "{list}: {id} is listed twice");
    }
    lines
}

/// Plays one scenario; the answer has the shape of the recording.
fn replay(lab: &Lab, scenario: &Value) -> (Value, Duration) {
    lab.rules(scenario["allow"].as_str().unwrap_or(""), scenario["deny"].as_str().unwrap_or(""));
    furnish(scenario);
    let ident = ident_server(scenario);
    let mut left = Value::Null;
    let outcome = match scenario["proto"].as_str().unwrap() {
        "tcp" => visit(lab, scenario).run(),
        "udp" => {
            let (outcome, datagrams) = datagrams(lab, scenario);
            left = json!(datagrams);
            outcome
        }
        other => on_descriptor(lab, scenario, other),
    };
    let questions = ident.map_or(Value::Null, |(_server, questions)| asked(&questions));
    let spawned = std::fs::read_to_string(format!("{SCRATCH}/spawned"));
    let seen = json!({
        "daemon_saw": report(&outcome),
        "client_received": without_ports(&outcome, &outcome.received),
        "syslog": outcome.log.iter().map(|line| log_entry(&outcome, line)).collect::<Vec<_>>(),
        "exit": outcome.exit,
        "datagrams_left_in_queue": left,
        "ident_queries": questions,
        "spawned_wrote": spawned.map_or(Value::Null, |text| without_long_numbers(&text).into()),
    });
    (seen, outcome.took)
}

fn furnish(scenario: &Value) {
    lab::write("/etc/hosts", scenario["etc_hosts"].as_str().unwrap());
    // The recorded runs shared one banner directory; it was there before the UDP scenario.
    lab::write(&format!("{SCRATCH}/ban/in.tw-probe"), "220 %H %s\n");
    for (path, text) in scenario["files"].as_object().into_iter().flatten() {
        lab::write(path, text.as_str().unwrap());
    }
    for name in ["saw", "spawned", "late"] {
        let _ = std::fs::remove_file(format!("{SCRATCH}/{name}"));
    }
    lab::install(&format!("{SCRATCH}/bin/probed2"), lab::probe(), 0o755);
    lab::install(&format!("{SCRATCH}/bin/noexec"), lab::probe(), 0o644);
    lab::install(&format!("{SCRATCH}/bin/script"), b"echo script ran\n", 0o755);
}

fn ident_server(scenario: &Value) -> Option<(Server, Questions)> {
    let peer = scenario["peer"].as_str()?;
    match scenario.get("ident_reply")? {
        Value::String(reply) => Some(ident_says(peer, reply)),
        _ => Some(ident(peer, |stream, _, _| {
            std::thread::sleep(Duration::from_secs(15));
            drop(stream);
        })),
    }
}

fn visit<'a>(lab: &'a Lab, scenario: &Value) -> Visit<'a> {
    let words = |key: &str| -> Vec<String> {
        let list = scenario[key].as_array().unwrap();
        list.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut visit = Visit::of(lab).arguments(&words("argv"));
    if let (Some(peer), Some(server)) = (scenario["peer"].as_str(), scenario["server"].as_str()) {
        visit = visit.from(peer).to(server);
    }
    if let Some(options) = scenario["ip_options_hex"].as_str() {
        visit = visit.with_ip_options(&bytes_of(options));
    }
    if let Some(user) = scenario["uid"].as_u64() {
        visit = visit.running_as(user as u32, user as u32);
    }
    visit
}

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    let digits = hexadecimal.as_bytes().chunks(2);
    let pairs = digits.map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Two datagrams wait in the queue of the socket that becomes descriptor 0.
fn datagrams(lab: &Lab, scenario: &Value) -> (Outcome, Vec<String>) {
    let address = |key: &str| (scenario[key].as_str().unwrap().parse::<IpAddr>().unwrap(), 0);
    let socket = UdpSocket::bind(address("server")).unwrap();
    let client = UdpSocket::bind(address("peer")).unwrap();
    client.connect(socket.local_addr().unwrap()).unwrap();
    for text in ["datagram one\n", "datagram two\n"] {
        client.send(text.as_bytes()).unwrap();
    }
    let addresses = (client.local_addr().unwrap(), socket.local_addr().unwrap());
    let mut outcome = finish(lab, visit(lab, scenario), socket.try_clone().unwrap().into());
    (outcome.client, outcome.server) = addresses;
    socket.set_nonblocking(true).unwrap();
    let mut left = Vec::new();
    let mut buffer = [0; 100];
    while let Ok(length) = socket.recv(&mut buffer) {
        left.push(String::from_utf8_lossy(&buffer[..length]).trim().to_owned());
    }
    (outcome, left)
}

/// Descriptor 0 is something else than a connection.
fn on_descriptor(lab: &Lab, scenario: &Value, kind: &str) -> Outcome {
    let descriptor: OwnedFd = match kind {
        "stdin:null" => std::fs::File::options().read(true).write(true).open("/dev/null").unwrap().into(),
        "stdin:pipe" => nix::unistd::pipe().unwrap().0,
        "stdin:unix" => std::os::unix::net::UnixStream::pair().unwrap().0.into(),
        other => panic!("unknown protocol {other}"),
    };
    finish(lab, visit(lab, scenario), descriptor)
}

fn finish(lab: &Lab, visit: Visit<'_>, descriptor: OwnedFd) -> Outcome {
    lab.log();
    let start = Instant::now();
    let exit = visit.start(descriptor).wait();
    let nowhere = ([0, 0, 0, 0], 0).into();
    Outcome {
        exit,
        received: String::new(),
        took: start.elapsed(),
        log: lab.log(),
        saw: lab.saw(),
        client: nowhere,
        server: nowhere,
    }
}

fn asked(questions: &Questions) -> Value {
    let heard = questions.lock().unwrap();
    let entries = heard.iter().map(|(question, asker)| {
        let mut shape = String::new();
        for letter in question.chars() {
            match letter.is_ascii_digit() {
                true if shape.ends_with('N') => {}
                true => shape.push('N'),
                false => shape.push(letter),
            }
        }
        json!({"query": shape, "from": asker})
    });
    Value::Array(entries.collect())
}

/// The probe's report in the shape of the recording, which knows fewer facts.
fn report(outcome: &Outcome) -> Value {
    let Some(text) = &outcome.saw else {
        return Value::Null;
    };
    let mut fields = Map::new();
    let mut environment: Vec<String> =
        outcome.seen("env").iter().map(|entry| without_ports(outcome, entry)).collect();
    environment.sort();
    fields.insert("argv".to_owned(), json!(outcome.seen("argv")));
    fields.insert("env".to_owned(), json!(environment));
    fields.insert("fds".to_owned(), json!(outcome.seen("fd")));
    let signals: Vec<&str> = text.lines().filter(|line| line.starts_with("sig")).collect();
    fields.insert("signals".to_owned(), json!(signals));
    let single = ["exe", "umask", "nice", "ids", "linger", "keepalive", "ipoptions", "read"];
    for key in single {
        if let Some(value) = outcome.seen(key).first() {
            fields.insert(key.to_owned(), json!(value));
        }
    }
    Value::Object(fields)
}

fn log_entry(outcome: &Outcome, line: &Line) -> Value {
    json!({
        "priority": line.priority,
        "tag": line.tag,
        "has_pid": line.pid.is_some(),
        "message": without_ports(outcome, &line.message),
    })
}

/// Port numbers differ from run to run.
fn without_ports(outcome: &Outcome, text: &str) -> String {
    let client = outcome.client.port().to_string();
    let server = outcome.server.port().to_string();
    map_words(text, |word| match word {
        word if word == client => "{{CLIENT_PORT}}".to_owned(),
        word if word == server => "{{SERVER_PORT}}".to_owned(),
        word => word.to_owned(),
    })
}

/// Process ids, times and first octets are not compared.
fn without_long_numbers(text: &str) -> String {
    map_words(text, |word| match word.len() >= 3 && word.bytes().all(|byte| byte.is_ascii_digit()) {
        true => "N".to_owned(),
        false => word.to_owned(),
    })
}

fn map_words(text: &str, change: impl Fn(&str) -> String) -> String {
    let mut result = String::new();
    let mut word = String::new();
    for letter in text.chars() {
        if letter.is_alphanumeric() || letter == '_' {
            word.push(letter);
            continue;
        }
        result.push_str(&change(&std::mem::take(&mut word)));
        result.push(letter);
    }
    result.push_str(&change(&word));
    result
}
