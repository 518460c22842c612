//! Does `tcpd --listen` do what a super-server does: accept, decide by the rules of this moment,
//! start the server, and end without taking its children along?

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

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
