//! Does `tcpd --listen` do what a super-server does: accept, decide by the rules of this moment,
//! start the server, and end without taking its children along?

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::lab::launch::{connect_from, read_to_the_end};
use crate::lab::{self, Lab, Running, SCRATCH};

const DOOR: &str = "127.0.0.1:7003";

fn listening(lab: &Lab, options: &[&str], server: &[&str]) -> Running {
    started(lab, command(options, server))
}

fn command(options: &[&str], server: &[&str]) -> Command {
    let mut command = Command::new("/usr/sbin/tcpd");
    command
        .args(["--listen", DOOR])
        .args(options)
        .arg("--")
        .args(server)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(format!("{SCRATCH}/stderr")).unwrap());
    command
}

fn started(lab: &Lab, mut command: Command) -> Running {
    let running = Running::start(&mut command);
    lab.wait_for_port("tcp", 7003);
    running
}

fn connect(from: &str) -> TcpStream {
    connect_to(DOOR, from)
}

fn connect_to(door: &str, from: &str) -> TcpStream {
    let client = connect_from(from.parse().unwrap(), door.parse().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client
}

fn visit(from: &str) -> String {
    let mut client = connect(from);
    let _ = client.write_all(b"ping\n");
    String::from_utf8_lossy(&read_to_the_end(client)).into_owned()
}

#[test]
fn listener_serves_and_refuses_by_the_rules_of_the_moment() {
    let lab = open_lab!();
    lab.rules("in.tw-probe: 127.0.0.2\n", "ALL: ALL\n");
    let mut listener = listening(&lab, &[], &["/usr/sbin/in.tw-probe", "-x"]);
    assert_eq!(visit("127.0.0.2"), "HELLO FROM DAEMON\n");
    let log = lab.log_until("connect from 127.0.0.2 (127.0.0.2)");
    let line = log.iter().find(|line| line.tag == "in.tw-probe").unwrap();
    assert_eq!((line.priority, line.message.as_str()), (30, "connect from 127.0.0.2 (127.0.0.2)"));
    let report = lab.saw().unwrap();
    assert!(report.starts_with("argv in.tw-probe\nargv -x\n"), "{report}");
    let descriptors: Vec<&str> = report.lines().filter(|line| line.starts_with("fd ")).collect();
    assert_eq!(descriptors, ["fd 0 socket:", "fd 1 socket:", "fd 2 socket:"]);
    assert!(!report.lines().any(|line| line.starts_with("sig")), "{report}");

    assert_eq!(visit("127.0.0.3"), "");
    lab.log_until("refused connect from 127.0.0.3 (127.0.0.3)");

    lab.rules("in.tw-probe: 127.0.0.3\n", "ALL: ALL\n");
    assert_eq!(visit("127.0.0.3"), "HELLO FROM DAEMON\n");
    assert_eq!(visit("127.0.0.2"), "");
    assert_eq!(listener.wait_at_most(Duration::ZERO), None);
}

#[test]
fn sigterm_ends_the_listener_and_not_its_children() {
    let lab = open_lab!();
    lab.rules("", "");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut listener = listening(&lab, &[], &["/usr/bin/cat"]);
        let mut client = connect("127.0.0.2");
        let mut echo = |text: &[u8; 4]| {
            let mut answer = [0; 4];
            client.write_all(text).unwrap();
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, text);
        };
        echo(b"one\n");
        listener.signal(signal);
        assert!(listener.wait_at_most(Duration::from_secs(10)).is_some(), "{signal}");
        echo(b"two\n");
        drop(client);
        assert!(connect_from("127.0.0.2".parse().unwrap(), DOOR.parse().unwrap()).is_err());
    }
}

#[test]
fn listener_reaps_its_children() {
    let lab = open_lab!();
    lab.rules("ALL: 127.0.0.2\n", "ALL: ALL\n");
    let listener = listening(&lab, &[], &["/usr/sbin/in.tw-probe"]);
    for _ in 0..20 {
        assert_eq!(visit("127.0.0.2"), "HELLO FROM DAEMON\n");
        assert_eq!(visit("127.0.0.3"), "");
    }
    let path = format!("/proc/{0}/task/{0}/children", listener.pid());
    let none_left = lab::patiently(|| {
        // The listener may need one more connection to notice.
        visit("127.0.0.3");
        std::fs::read_to_string(&path).unwrap().split_whitespace().count() <= 1
    });
    assert!(none_left, "{}", std::fs::read_to_string(&path).unwrap());
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", listener.pid())).unwrap();
    assert!(descriptors.count() < 16, "descriptors pile up");
}

/// With one place taken, the second client is not served until the first has gone.
#[test]
fn max_connections_is_a_limit() {
    let lab = open_lab!();
    lab.rules("", "");
    let _listener = listening(&lab, &["--max-connections", "1"], &["/usr/bin/cat"]);
    let mut first = connect("127.0.0.2");
    first.write_all(b"one\n").unwrap();
    first.read_exact(&mut [0; 4]).unwrap();
    let mut second = connect("127.0.0.3");
    second.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let _ = second.write_all(b"two\n");
    let got = second.read(&mut [0; 4]);
    assert!(!matches!(got, Ok(1..)), "served over the limit");
    drop((first, second));
    assert!(lab::patiently(|| {
        let mut third = connect("127.0.0.4");
        let _ = third.write_all(b"six\n");
        third.read_exact(&mut [0; 4]).is_ok()
    }));
}

/// An answer to a first word, or none.
fn is_echoed(client: &mut TcpStream) -> bool {
    client.write_all(b"x").is_ok() && matches!(client.read(&mut [0; 1]), Ok(1))
}

/// IPv4 in IPv6 clothes is IPv4; of IPv6 a network of 64 bits is one client. The log hears of each once.
#[test]
fn max_per_client_knows_a_client_in_other_clothes() {
    let lab = open_lab!();
    lab.rules("", "");
    let addresses = ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:2::1"];
    for address in addresses {
        lab::place::add_address(address.parse().unwrap());
    }
    let options = ["--listen", "[::]:7004", "--max-per-client", "2"];
    let _listener = listening(&lab, &options, &["/usr/bin/cat"]);
    lab.wait_for_port("tcp6", 7004);
    let [one, other, stranger] = addresses;
    let mut served = vec![
        connect_to(DOOR, "127.0.0.2"),
        connect_to("127.0.0.1:7004", "127.0.0.2"),
        connect_to("[::1]:7004", one),
        connect_to("[::1]:7004", other),
        connect_to("[::1]:7004", stranger),
    ];
    assert!(served.iter_mut().all(is_echoed));
    for _ in 0..3 {
        for (door, from) in [(DOOR, "127.0.0.2"), ("127.0.0.1:7004", "127.0.0.2"), ("[::1]:7004", one)] {
            assert!(!is_echoed(&mut connect_to(door, from)), "{from} at {door}");
        }
    }
    assert!(is_echoed(&mut connect_to("[::1]:7004", stranger)));
    let log = lab.log_until("connect from 2001:db8:0:2::1");
    let warnings = log.iter().filter(|line| line.tag == "tcpd" && line.priority == 28);
    let warnings: Vec<_> = warnings.map(|line| line.message.as_str()).collect();
    assert_eq!(
        warnings,
        [
            "warning: closed a connection from 127.0.0.2: 127.0.0.2 has 2 already",
            "warning: closed a connection from 2001:db8:0:1::1: 2001:db8:0:1::/64 has 2 already",
        ]
    );
    served.clear();
    for (door, from) in [("127.0.0.1:7004", "127.0.0.2"), ("[::1]:7004", other)] {
        assert!(lab::patiently(|| is_echoed(&mut connect_to(door, from))), "{from}: the places are free");
    }
}

/// A listener is resident: it stays when the log daemon is stuck, and when it goes and returns.
#[test]
fn listener_outlives_its_log_daemon() {
    let mut lab = open_lab!();
    lab.rules("ALL: 127.0.0.2\n", "ALL: ALL\n");
    let _listener = listening(&lab, &[], &["/usr/sbin/in.tw-probe"]);
    std::fs::remove_file("/dev/log").unwrap();
    assert_eq!(visit("127.0.0.2"), "HELLO FROM DAEMON\n");
    assert_eq!(visit("127.0.0.3"), "");
    lab.syslogd = lab::Syslogd::listen("/dev/log");
    assert_eq!(visit("127.0.0.3"), "");
    lab.log_until("refused connect from 127.0.0.3 (127.0.0.3)");
}

#[test]
fn listener_on_several_doors() {
    let lab = open_lab!();
    lab.rules("ALL: 127.0.0.2 [::1]\n", "ALL: ALL\n");
    let _listener = listening(&lab, &["--listen", "[::1]:7004"], &["/usr/sbin/in.tw-probe"]);
    lab.wait_for_port("tcp6", 7004);
    assert_eq!(visit("127.0.0.2"), "HELLO FROM DAEMON\n");
    let mut client = connect_from("::1".parse().unwrap(), "[::1]:7004".parse().unwrap()).unwrap();
    client.write_all(b"ping\n").unwrap();
    assert_eq!(read_to_the_end(client), b"HELLO FROM DAEMON\n");
    lab.log_until("connect from ::1 (::1)");
}

/// Some supervisors ignore SIGCHLD and hand that down; the places of children that have gone must
/// become free all the same.
#[test]
fn listener_counts_its_children_under_an_ignored_sigchld() {
    use std::os::unix::process::CommandExt;
    let lab = open_lab!();
    lab.rules("", "");
    let mut command = command(&["--max-connections", "2"], &["/usr/sbin/in.tw-probe"]);
    // SAFETY: signal(2) is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGCHLD, libc::SIG_IGN);
            Ok(())
        });
    }
    let _listener = started(&lab, command);
    for number in 1..=5 {
        let mut client = connect("127.0.0.2");
        client.write_all(b"ping\n").unwrap();
        let mut answer = [0; 18];
        let read = client.read_exact(&mut answer);
        assert!(read.is_ok() && &answer == b"HELLO FROM DAEMON\n", "visit {number}: {read:?}");
    }
}

/// Waits until the listener has the rules at hand: until it refuses by itself.
fn wait_for_the_rules(lab: &Lab, listener: &Running) {
    let itself = || {
        visit(NOBODY);
        let heard = lab.log_until("refused connect from 127.0.0.9");
        heard.iter().any(|line| line.pid == Some(listener.pid()) && line.message.starts_with("refused"))
    };
    assert!(lab::patiently(itself), "it leaves everything to children");
}

const NOBODY: &str = "127.0.0.9";

/// What a running process does, as strace(1) tells it.
fn overheard(listener: &Running, doing: impl FnOnce()) -> String {
    lab::need("/usr/bin/strace", "strace");
    let (pid, trace) = (listener.pid().to_string(), format!("{SCRATCH}/trace"));
    let mut command = Command::new("/usr/bin/strace");
    let mut strace = Running::start(command.args(["-f", "-p", &pid, "-o", &trace]).stderr(Stdio::null()));
    let is_traced = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
    };
    assert!(lab::patiently(is_traced));
    doing();
    strace.signal(Signal::SIGINT);
    strace.wait();
    std::fs::read_to_string(&trace).unwrap()
}

/// Neither a child nor a file for a refusal by numbers; for a server one child, which opens nothing
/// before it is the server.
#[test]
fn numbers_are_refused_without_a_child_and_without_opening_a_file() {
    let lab = open_lab!();
    lab::write("/etc/words", "192.0.2.0/24 127.0.0.9\n");
    lab.rules("ALL: 127.0.0.2\n", "in.other: .example.org\nALL: /etc/words\nALL: ALL\n");
    let listener = listening(&lab, &[], &["/usr/sbin/in.tw-probe"]);
    wait_for_the_rules(&lab, &listener);
    visit("127.0.0.8");
    let calls = overheard(&listener, || {
        for from in [NOBODY, "127.0.0.8", "127.0.0.7"].repeat(7) {
            assert_eq!(visit(from), "");
        }
    });
    assert_eq!(calls.matches("accept4(").count(), 21, "{calls}");
    for call in ["clone", "fork", "exec", "open", "creat", "umask", "set", "prctl", "unlink"] {
        let seen = calls.lines().find(|line| {
            let name = line.split_whitespace().nth(1).unwrap_or_default();
            name.starts_with(call) && !name.starts_with("setsockopt")
        });
        assert_eq!(seen, None, "{call}");
    }
    let log = lab.log_until("refused connect from 127.0.0.7");
    assert!(log.iter().all(|line| line.pid == Some(listener.pid()) && line.priority == 28), "{log:#?}");

    let serve = || assert_eq!(visit("127.0.0.2"), "HELLO FROM DAEMON\n");
    serve();
    let calls = overheard(&listener, serve);
    assert_eq!(calls.matches("CLONE_VFORK").count(), 1, "{calls}");
    let before: Vec<_> = calls.lines().take_while(|line| !line.contains("execve(")).collect();
    assert!(before.len() < calls.lines().count(), "{calls}");
    assert!(!before.iter().any(|line| line.contains("open")), "{before:#?}");
}

/// A server started by the listener itself finds its process as a child's server does.
#[test]
fn the_server_cannot_tell_who_decided() {
    let lab = open_lab!();
    lab.rules("ALL: 127.0.0.2\n", "ALL: ALL\n");
    let listener = listening(&lab, &[], &["/usr/sbin/in.tw-probe", "-x"]);
    let served = || {
        assert_eq!(visit("127.0.0.2"), "HELLO FROM DAEMON\n");
        let log = lab.log_until("connect from 127.0.0.2");
        let line = log.iter().find(|line| line.message.starts_with("connect")).unwrap().clone();
        assert_ne!(line.pid, Some(listener.pid()), "the server's line");
        (lab.saw().unwrap(), line.priority, line.tag, line.message)
    };
    let by_a_child = served();
    wait_for_the_rules(&lab, &listener);
    let calls = overheard(&listener, || assert_eq!(served(), by_a_child));
    assert!(calls.contains("CLONE_VFORK"), "{calls}");
}

/// A server that is not there is a child's business, once, and so is one that is tcpd itself.
#[test]
fn a_server_that_cannot_be_started_is_told_once() {
    let lab = open_lab!();
    lab.rules("ALL: 127.0.0.2\n", "ALL: ALL\n");
    for (server, words) in [
        ("/usr/sbin/in.nothing", vec!["connect from 127.0.0.2 (127.0.0.2)", "error: cannot execute"]),
        (
            "/usr/sbin/tcpd",
            vec!["error: tcpd is recursively calling itself", "refused connect from 127.0.0.2"],
        ),
    ] {
        let listener = listening(&lab, &["--daemon", "in.probe"], &[server]);
        wait_for_the_rules(&lab, &listener);
        lab.log();
        assert_eq!(visit("127.0.0.2"), "");
        let log = lab.log_until(words[1]);
        let said: Vec<_> = log.iter().map(|line| line.message.as_str()).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said.iter().zip(&words).all(|(line, words)| line.starts_with(words)), "{said:?}");
        assert!(log.iter().all(|line| line.pid != Some(listener.pid())), "{log:#?}");
    }
}

/// Descriptors, children and resident pages.
fn weight(listener: &Running) -> (usize, usize, usize) {
    let process = format!("/proc/{}", listener.pid());
    let read = |file: &str| std::fs::read_to_string(format!("{process}/{file}")).unwrap();
    let children = read(&format!("task/{}/children", listener.pid())).split_whitespace().count();
    let pages = read("statm").split_whitespace().nth(1).unwrap().parse().unwrap();
    (std::fs::read_dir(format!("{process}/fd")).unwrap().count(), children, pages)
}

/// A thousand places are taken, a hundred thousand clients are refused, and syslogd is stuck all the while.
#[test]
fn a_flood_of_refusals_leaves_nothing_behind() {
    const HELD: usize = 1_000;
    const REFUSED: u32 = 100_000;
    let lab = open_lab!();
    let many = libc::rlimit { rlim_cur: 4096, rlim_max: 4096 };
    // SAFETY: the limit is a plain struct that outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const many) }, 0);
    lab.rules("ALL: 127.0.0.2\n", "ALL: ALL\n");
    let listener = listening(&lab, &["--max-connections", "1100"], &["/usr/bin/cat"]);
    wait_for_the_rules(&lab, &listener);
    let mut held: Vec<TcpStream> = (0..HELD).map(|_| connect("127.0.0.2")).collect();
    assert!(held.iter_mut().all(is_echoed));
    let refuse = |number: u32| {
        let [_, _, high, low] = number.to_be_bytes();
        let refused = read_to_the_end(connect(&format!("127.1.{high}.{low}")));
        assert!(refused.is_empty());
    };
    // From here on nobody reads the log.
    (0..1_000).for_each(refuse);
    let before = weight(&listener);
    let begun = Instant::now();
    (0..REFUSED).map(|number| number % 60_000).for_each(refuse);
    let took = begun.elapsed();
    let after = weight(&listener);
    assert_eq!((before.0, before.1), (after.0, after.1), "descriptors and children");
    assert_eq!(after.1, HELD);
    assert!(after.2 <= before.2 + 64, "resident pages: {before:?} {after:?}");
    assert!(took < Duration::from_secs(200), "the log holds nobody up: {took:?}");
    assert!(held.iter_mut().all(is_echoed));
    lab.log();
    refuse(1);
    let log = lab.log_until("refused connect from 127.1.0.1 ");
    assert!(log.iter().any(|line| line.message.contains("log message(s) lost")), "{log:#?}");
}
