//! What does a connection cost where no inetd is wanted: the listener of tcpd beside tcpserver, with
//! the same rules?
#![forbid(unsafe_code)]

use crate::common::{CALLER, SERVICE, UNWELCOME, addresses};
use crate::field::Field;
use crate::keeper::Kept;
use crate::lab::patiently;
use crate::table::{Spread, median, relative, row, table};
use crate::visitors::visit;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

const AT_ONCE: usize = 8;
const COUNT: usize = 500;
const ROUNDS: usize = 9;
/// How many addresses are refused, the unwelcome one last, and whether tcpd has them compiled, as
/// tcpserver has.
const SIZES: [(usize, bool); 2] = [(20, false), (10_000, true)];

const TCPSERVER: &str = "/usr/bin/tcpserver";
const TCPRULES: &str = "/usr/bin/tcprules";

/// A listener by name, and how it is started on a port.
struct Contender {
    name: &'static str,
    program: String,
    arguments: Box<dyn Fn(u16) -> Vec<String>>,
}

pub fn run(field: &Field) -> String {
    let mut title = format!(
        "LISTENER: {AT_ONCE} connections at once. CPU of the listener and its children, medians of {ROUNDS} \
         rounds of {COUNT}, in brackets the middle half"
    );
    if !has_tcpserver() {
        title += &format!("\nNO REFERENCE: {TCPSERVER} is missing (apt-get install ucspi-tcp)");
    }
    let rows = SIZES.into_iter().flat_map(|(rules, compiled)| with_rules(field, rules, compiled));
    table(&title, &rows.collect::<Vec<_>>())
}

fn with_rules(field: &Field, rules: usize, compiled: bool) -> Vec<Vec<String>> {
    let refused: Vec<String> =
        addresses().take(rules - 1).chain([UNWELCOME]).map(|address| address.to_string()).collect();
    field.rules("", &refused.iter().map(|address| format!("ALL: {address}\n")).collect::<String>());
    field.put_image(compiled);
    let mut contenders = tcpserver(field, &refused);
    let has_reference = !contenders.is_empty();
    contenders.extend(ours(field));

    let idle: Vec<f64> = contenders.iter().map(idle).collect();
    // For each of them the refused and the served, round by round.
    let mut cpu = vec![[Vec::new(), Vec::new()]; contenders.len()];
    for turn in 0..=ROUNDS {
        for (index, contender) in contenders.iter().enumerate() {
            for (kind, from) in [UNWELCOME, CALLER].into_iter().enumerate() {
                let cost = (under_load(contender, from) - idle[index]) / COUNT as f64;
                if turn > 0 {
                    cpu[index][kind].push(cost);
                }
            }
        }
    }
    let title = format!("{rules} rules{}", if compiled { ", compiled" } else { "" });
    let mut rows =
        vec![row([&title, &"refused, CPU us", &"served, CPU us", &"refused, ref. = 1", &"served, ref. = 1"])];
    for (index, contender) in contenders.iter().enumerate() {
        let mut cells = row([&contender.name]);
        cells.extend(cpu[index].iter().map(|each| Spread::of(each.clone()).to_string()));
        if has_reference {
            for (these, those) in cpu[index].iter().zip(&cpu[0]) {
                cells.push(relative(these, those));
            }
        }
        rows.push(cells);
    }
    rows
}

fn has_tcpserver() -> bool {
    [TCPSERVER, TCPRULES].iter().all(|program| Path::new(program).exists())
}

/// tcpserver with these addresses refused: as it is, and with a line for every connection.
fn tcpserver(field: &Field, refused: &[String]) -> Vec<Contender> {
    if !has_tcpserver() {
        return Vec::new();
    }
    let (text, database) = (field.file("rules"), field.file("rules.cdb"));
    let rules = refused.iter().map(|address| format!("{address}:deny\n")).collect::<String>() + ":allow\n";
    fs::write(&text, rules).unwrap();
    let mut make = Command::new(TCPRULES);
    make.args([&database, &field.file("rules.tmp")]).stdin(File::open(&text).unwrap());
    assert!(make.status().unwrap().success(), "tcprules");
    let contender = |name, says: &'static str| {
        let (database, server) = (database.clone(), field.file(SERVICE));
        // No lookup of names and users, as few system calls as may be, and as many at once as tcpd has.
        let arguments = move |port: u16| {
            let port = port.to_string();
            let words = ["tcpserver", says, "-H", "-R", "-l", "0", "-c", "256", "-x", &database];
            words.into_iter().chain([CALLER_TEXT, &port, &server]).map(str::to_owned).collect()
        };
        Contender { name, program: TCPSERVER.to_owned(), arguments: Box::new(arguments) }
    };
    vec![contender("tcpserver -x, logs nothing", "-Q"), contender("tcpserver -v -x, logs to null", "-v")]
}

const CALLER_TEXT: &str = "127.0.0.1";

fn ours(field: &Field) -> Vec<Contender> {
    let contender = |name, log: &'static [&'static str]| {
        let (options, server) = (field.own_options(), field.file(SERVICE));
        let arguments = move |port: u16| {
            let mut words = options.clone();
            words.extend(log.iter().map(|word| (*word).to_owned()));
            words.extend(["--listen".to_owned(), format!("{CALLER_TEXT}:{port}"), "--".to_owned()]);
            words.push(server.clone());
            words
        };
        Contender { name, program: field.file("tcpd"), arguments: Box::new(arguments) }
    };
    if field.is_private() {
        vec![
            contender("tcpd --listen, logs to null", &["--log", "stderr"]),
            contender("tcpd --listen, logs to syslogd", &[]),
        ]
    } else {
        vec![contender("tcpd --listen, logs to null", &[])]
    }
}

fn started(contender: &Contender) -> (Kept, u16) {
    let free = TcpListener::bind((CALLER, 0)).unwrap().local_addr().unwrap().port();
    let kept = Kept::start(&contender.program, &(contender.arguments)(free));
    assert!(patiently(|| listens(free)), "{} does not listen", contender.name);
    (kept, free)
}

fn listens(port: u16) -> bool {
    let sockets = fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default();
    sockets.lines().skip(1).any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let here = words.next().is_some_and(|local| local.ends_with(&format!(":{port:04X}")));
        here && words.nth(1) == Some("0A")
    })
}

/// What starting and ending it costs.
fn idle(contender: &Contender) -> f64 {
    median((0..5).map(|_| started(contender).0.end()).collect())
}

/// What it and its children have used for `COUNT` calls, microseconds.
fn under_load(contender: &Contender, from: Ipv4Addr) -> f64 {
    let (kept, port) = started(contender);
    let visits = visit((CALLER, port).into(), from, COUNT, AT_ONCE);
    let expected = if from == CALLER { COUNT } else { 0 };
    assert_eq!(visits.served, expected, "{} (process {})", contender.name, kept.pid);
    kept.end()
}
