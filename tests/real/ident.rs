//! Is the ident answer (RFC 1413) used where a rule asks for it, and harmless where it lies?
//!
//! The server on the client's side belongs to the client. Whatever it sends, the verdict of a
//! rule that does not look at the user stays, the time is bounded by the rule's own limit, and
//! the log keeps its form.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::lab::launch::{inetd, run};
use crate::lab::server::{ident, ident_says};
use crate::lab::{self, Lab, Outcome, Running, Visit};

fn oidentd(lab: &Lab) -> Running {
    lab::need("/usr/sbin/oidentd", "oidentd");
    let mut command = Command::new("/usr/sbin/oidentd");
    command.args(["--foreground", "--nosyslog", "--user", "0", "--group", "0"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running::start(&mut command);
    lab.wait_for_port("tcp", 113);
    running
}

#[test]
fn oidentd_names_the_user() {
    let lab = open_lab!();
    let _oidentd = oidentd(&lab);
    lab.rules("in.tw-probe: root@127.0.0.2\n", "ALL: ALL\n");
    let outcome = Visit::of(&lab).run();
    assert!(outcome.served(), "{:#?}", outcome.log);
    assert_eq!(outcome.messages(), ["connect from root@127.0.0.2 (127.0.0.2)"]);
    lab.rules("in.tw-probe: nobody@127.0.0.2\n", "ALL: ALL\n");
    let outcome = Visit::of(&lab).run();
    assert_eq!(outcome.messages(), ["refused connect from root@127.0.0.2 (127.0.0.2)"]);
}

/// A client program that runs as somebody else, behind a real inetd.
#[test]
fn oidentd_names_another_user() {
    use std::os::unix::process::CommandExt;
    let lab = open_lab!();
    let _oidentd = oidentd(&lab);
    lab.rules("in.tw-probe: KNOWN@127.0.0.1\n", "ALL: ALL\n");
    let _inetd = inetd(&lab, "finger stream tcp nowait root /usr/sbin/tcpd in.tw-probe\n");
    let talk = "exec 3<>/dev/tcp/127.0.0.1/79; cat <&3";
    let (_, out, err) = run(Command::new("/bin/bash").args(["-c", talk]).uid(65534).gid(65534));
    assert_eq!(out, "HELLO FROM DAEMON\n", "{err}");
    lab.log_until("connect from nobody@127.0.0.1 (127.0.0.1)");
}

/// Visits under a rule that asks for the user but lets everybody in.
fn visit_of_a_liar(lab: &Lab) -> Outcome {
    lab.rules("ALL: ALL: rfc931 2\n", "ALL: ALL\n");
    let outcome = Visit::of(lab).run();
    assert!(outcome.served(), "{:#?}", outcome.log);
    assert!(outcome.took < Duration::from_secs(8), "{:?}", outcome.took);
    assert_eq!(outcome.log.len(), 1, "{:#?}", outcome.log);
    let line = &outcome.log[0];
    assert_eq!((line.priority, line.tag.as_str()), (30, "in.tw-probe"));
    let printable = line.message.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    assert!(printable, "{line:?}");
    // fail2ban and others take the client for one word without blanks or brackets.
    let client = line
        .message
        .strip_prefix("connect from ")
        .and_then(|rest| rest.strip_suffix(" (127.0.0.2)"))
        .unwrap_or_else(|| panic!("{line:?}"));
    assert!(client.ends_with("127.0.0.2"), "{line:?}");
    assert!(!client.contains([' ', '(', ')']), "{line:?}");
    outcome
}

const ANONYMOUS: [&str; 1] = ["connect from 127.0.0.2 (127.0.0.2)"];

#[test]
fn an_ident_server_that_drips() {
    let lab = open_lab!();
    let _server = ident("127.0.0.2", |mut stream, _, _| {
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(visit_of_a_liar(&lab).messages(), ANONYMOUS);
}

#[test]
fn an_ident_server_that_never_ends() {
    let lab = open_lab!();
    let _server = ident("127.0.0.2", |mut stream, client, server| {
        let _ = write!(stream, "{client} , {server} : USERID : UNIX : ");
        while stream.write_all(&[b'a'; 65536]).is_ok() {}
    });
    visit_of_a_liar(&lab);
}

#[test]
fn an_ident_server_with_a_line_of_a_megabyte() {
    let lab = open_lab!();
    let _server = ident("127.0.0.2", |mut stream, client, server| {
        let _ = write!(stream, "{client} , {server} : USERID : UNIX : ");
        let _ = stream.write_all(&vec![b'a'; 1 << 20]);
        let _ = stream.write_all(b"\r\n");
        let _ = stream.read(&mut [0; 16]);
    });
    visit_of_a_liar(&lab);
}

#[test]
fn an_ident_server_that_resets() {
    let lab = open_lab!();
    let _server = ident("127.0.0.2", |stream, _, _| {
        let abrupt = libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &abrupt).unwrap();
        assert!(stream.as_raw_fd() >= 0);
    });
    assert_eq!(visit_of_a_liar(&lab).messages(), ANONYMOUS);
}

#[test]
fn an_ident_server_that_says_nothing() {
    let lab = open_lab!();
    let _server = ident("127.0.0.2", |mut stream, _, _| {
        let _ = stream.read(&mut [0; 16]);
    });
    assert_eq!(visit_of_a_liar(&lab).messages(), ANONYMOUS);
}

#[test]
fn ident_replies_about_other_connections() {
    let lab = open_lab!();
    for reply in [
        "1 , 2 : USERID : UNIX : joe\r\n",
        "<L> , <R> : USERID : UNIX : joe\r\n",
        "<R> : USERID : UNIX : joe\r\n",
        "<R>0 , <L> : USERID : UNIX : joe\r\n",
        "-<R> , <L> : USERID : UNIX : joe\r\n",
        ", : USERID : UNIX : joe\r\n",
        "USERID : UNIX : joe\r\n",
        "\r\n",
        "\0\r\n",
        "<R> , <L> : ERROR : HIDDEN-USER\r\n",
    ] {
        let _server = ident_says("127.0.0.2", reply);
        assert_eq!(visit_of_a_liar(&lab).messages(), ANONYMOUS, "{reply:?}");
    }
}

#[test]
fn ident_replies_that_try_to_forge_a_line() {
    let lab = open_lab!();
    for user in [
        "x\x1b[2Jy",
        "x\rconnect from 1.2.3.4 (1.2.3.4)",
        "x\nconnect from 1.2.3.4 (1.2.3.4)",
        "x\u{7f}\u{1}\u{8}y",
        "root@1.2.3.4 (1.2.3.4)",
        "x)(127.0.0.9)",
        "x\\040y",
        "\u{fc}ml\u{e4}ut",
        "%n%s%p",
        "x\u{a0}y\u{85}z",
    ] {
        let reply = format!("<R> , <L> : USERID : UNIX : {user}\r\n");
        let _server = ident_says("127.0.0.2", &reply);
        visit_of_a_liar(&lab);
    }
}
