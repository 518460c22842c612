//! Lookups in a program that lasts, with one thread that has to answer others, too: name servers that are
//! silent, slow or forgetful, that want to be asked by TCP, that are replaced by others. The time limits are real
//! ones; what goes beyond the budget is what hosts_access(3) says, about a second for each server.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::lab::launch::Running;
use crate::lab::library::{Library, is_the_original};
use crate::lab::nameserver::{Reply, names_from_dns, serve, serve_at, serve_streams};
use crate::lab::server::Server;
use crate::lab::{self, SCRATCH};

/// The program in the lab, and the pipes to it.
struct Asker<'l> {
    library: &'l Library,
    running: Running,
    question: ChildStdin,
    answer: BufReader<ChildStdout>,
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    verdict: String,
    name: String,
    took: Duration,
    /// Of the resolver, and how many threads there are.
    state: Vec<String>,
}

impl Asker<'_> {
    fn start(library: &Library) -> Asker<'_> {
        lab::need("/usr/bin/cc", "gcc");
        let program = format!("{SCRATCH}/asker");
        // The sources may be where the lab has a place of its own.
        lab::write(&format!("{SCRATCH}/asker.c"), include_str!("../../libwrap/asker.c"));
        lab::write(&format!("{SCRATCH}/tcpd.h"), include_str!("../../../src/libwrap/tcpd.h"));
        let mut compiler = Command::new("/usr/bin/cc");
        compiler.args(["-Wall", "-Wextra", "-Werror", "-o", &program]);
        compiler.args(["-I", SCRATCH]).arg(format!("{SCRATCH}/asker.c"));
        compiler.arg("-l:libwrap.so.0");
        let said = compiler.output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let mut command = Command::new(&program);
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running::start(&mut command);
        let (question, answer) = (running.child().stdin.take(), running.child().stdout.take());
        Asker { library, running, question: question.unwrap(), answer: BufReader::new(answer.unwrap()) }
    }

    fn ask(&mut self, address: &str) -> Answer {
        writeln!(self.question, "{address}").unwrap();
        let mut line = String::new();
        self.answer.read_line(&mut line).unwrap();
        self.library.expect_mapped(self.running.pid());
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut word = || words.next().unwrap_or_else(|| panic!("it said {line:?}"));
        let (verdict, name) = (word(), word());
        let took = Duration::from_millis(word().parse().unwrap());
        Answer { verdict, name, took, state: words.collect() }
    }

    fn end(mut self) {
        drop(self.question);
        assert_eq!(self.running.wait(), 0);
    }
}

/// What the resolver has in a process that nobody has told anything, and one thread.
fn expect_untouched(answers: &[&Answer], timeout: &str) {
    for answer in answers {
        let [retrans, retry, options, threads] = &answer.state[..] else { panic!("{answer:?}") };
        assert_eq!((retrans.as_str(), retry.as_str(), threads.as_str()), (timeout, "2", "1"), "{answer:?}");
        // RES_INIT, RES_RECURSE, RES_DEFNAMES and RES_DNSRCH.
        let options = u64::from_str_radix(options, 16).unwrap();
        assert_eq!(options & 0xffff, 0x02c1, "{answer:?}");
    }
}

fn good(kind: u16) -> Reply {
    match kind {
        12 => Reply::pointer("good.example.com"),
        1 => Reply::Address([127, 0, 0, 2]),
        _ => Reply::NoSuchName,
    }
}

#[test]
fn a_silent_server_is_waited_for_as_long_as_the_budget_lasts() {
    let library = open_library!();
    if is_the_original() {
        return;
    }
    let _silent = serve(|_, _| Reply::Silence);
    library.rules("asker: .example.com\n", "ALL: ALL\n");
    let mut asker = Asker::start(&library);
    let first = asker.ask("127.0.0.2");
    assert_eq!((first.verdict.as_str(), first.name.as_str()), ("0", "unknown"));
    assert!(first.took < Duration::from_secs(8), "{first:?}");
    lab::write("/etc/tcpd.conf", "resolve-timeout 2\n");
    let second = asker.ask("127.0.0.2");
    assert_eq!((second.verdict.as_str(), second.name.as_str()), ("0", "unknown"));
    assert!(second.took < Duration::from_secs(4), "{second:?}");
    expect_untouched(&[&first, &second], "5");
    asker.end();
    let told = library.log_until("127.0.0.2");
    assert!(told.iter().any(|line| line.message.starts_with("warning: ")), "{told:#?}");
}

#[test]
fn three_silent_servers_cost_a_second_each_at_most() {
    let library = open_library!();
    if is_the_original() {
        return;
    }
    let _silent = serve(|_, _| Reply::Silence);
    let _others = ["127.0.0.2:53", "127.0.0.3:53"].map(|address| Server::udp(address, |_| Vec::new()));
    lab::write("/etc/resolv.conf", "nameserver 127.0.0.1\nnameserver 127.0.0.2\nnameserver 127.0.0.3\n");
    lab::write("/etc/tcpd.conf", "resolve-timeout 1\n");
    library.rules("asker: KNOWN\n", "ALL: ALL\n");
    let mut asker = Asker::start(&library);
    let answer = asker.ask("127.0.0.2");
    assert_eq!((answer.verdict.as_str(), answer.name.as_str()), ("0", "unknown"));
    assert!(answer.took < Duration::from_secs(5), "{answer:?}");
    expect_untouched(&[&answer], "5");
    asker.end();
}

#[test]
fn silence_after_a_name_is_paranoid() {
    let library = open_library!();
    if is_the_original() {
        return;
    }
    lab::write("/etc/tcpd.conf", "resolve-timeout 2\n");
    let _half = serve(|_, kind| if kind == 12 { good(12) } else { Reply::Silence });
    library.rules("", "asker: PARANOID\n");
    let mut asker = Asker::start(&library);
    let answer = asker.ask("127.0.0.2");
    assert_eq!((answer.verdict.as_str(), answer.name.as_str()), ("0", "paranoid"));
    assert!(answer.took < Duration::from_secs(6), "{answer:?}");
    asker.end();
    library.log_until("can't verify hostname: getaddrinfo(good.example.com, AF_INET) failed");
}

/// Whoever has many names could else hide that one of them is in a rule.
#[test]
fn an_answer_that_is_too_long_for_a_datagram_is_fetched() {
    let library = open_library!();
    names_from_dns();
    let _truncating = Server::udp("127.0.0.1:53", |question| {
        let mut answer = question.to_vec();
        answer[2..4].copy_from_slice(&[0x83, 0x80]);
        vec![answer]
    });
    let _whole = serve_streams(|_, kind| good(kind));
    library.rules("", "asker: good.example.com\n");
    let mut asker = Asker::start(&library);
    let answer = asker.ask("127.0.0.2");
    assert_eq!((answer.verdict.as_str(), answer.name.as_str()), ("0", "good.example.com"));
    expect_untouched(&[&answer], "5");
    asker.end();
}

/// Servers of all kinds that answer, if not at once: what the rules say of the name holds.
#[test]
fn a_server_with_difficulties_is_asked_again() {
    let library = open_library!();
    library.rules("", "asker: good.example.com\n");
    // The server of the lab takes one question after the other: what is asked again is not answered again.
    let asked = Mutex::new(HashSet::new());
    let late = move |_: &str, kind| match asked.lock().unwrap().insert(kind) {
        true => Reply::After(Duration::from_millis(2200), Box::new(good(kind))),
        false => Reply::Silence,
    };
    let count = AtomicU32::new(0);
    let every_other = move |_: &str, kind| match count.fetch_add(1, Ordering::Relaxed) % 2 {
        0 => Reply::Silence,
        _ => good(kind),
    };
    let count = AtomicU32::new(0);
    let failing = move |_: &str, kind| match count.fetch_add(1, Ordering::Relaxed) % 2 {
        0 => Reply::Failure,
        _ => good(kind),
    };
    let expect_name = |asker: &mut Asker<'_>, what: &str| {
        let answer = asker.ask("127.0.0.2");
        let found = (answer.verdict.as_str(), answer.name.as_str());
        assert_eq!(found, ("0", "good.example.com"), "{what}: {answer:?}");
    };
    let mut asker = Asker::start(&library);
    {
        let _server = serve(every_other);
        expect_name(&mut asker, "a datagram that is lost");
    }
    {
        let _server = serve(failing);
        expect_name(&mut asker, "a failure that passes");
    }
    {
        let _server = serve(late);
        expect_name(&mut asker, "an answer after 2.2 s");
    }
    asker.end();
}

/// resolv.conf(5) may change under a program that lasts, and the C library notices.
#[test]
fn another_server_is_asked_when_the_configuration_changes() {
    let library = open_library!();
    lab::write("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:2\n");
    let _none = serve(|_, _| Reply::NoSuchName);
    let _good = serve_at("127.0.0.9:53", |_, kind| good(kind));
    library.rules("asker: good.example.com\n", "ALL: ALL\n");
    let mut asker = Asker::start(&library);
    let first = asker.ask("127.0.0.2");
    assert_eq!((first.verdict.as_str(), first.name.as_str()), ("0", "unknown"));
    let again = asker.ask("127.0.0.2");
    assert_eq!(again.verdict, "0");
    expect_untouched(&[&first, &again], "2");
    lab::write("/etc/resolv.conf", "nameserver 127.0.0.9\noptions timeout:3\n");
    let last = asker.ask("127.0.0.2");
    assert_eq!((last.verdict.as_str(), last.name.as_str()), ("1", "good.example.com"));
    expect_untouched(&[&last], "3");
    asker.end();
}
