//! Does the booby trap of hosts_access(5) really deliver its mail?
//!
//! `in.tftpd: ALL: spawn (safe_finger -l @%h | mail -s tcpd-%d-%h root) &`, as the manual has
//! had it since 1992: a datagram arrives for a service that nobody should use, the client's
//! machine is fingered, and what it says is mailed. Everything is real but the finger server:
//! safe_finger, Debian's finger, bsd-mailx, msmtp, and aiosmtpd which files into a maildir.

use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::lab::server::Server;
use crate::lab::{self, Lab, Running, SCRATCH, Visit};

const MAILBOX: &str = "/run/tw-e2e/mailbox";

fn mail_server(lab: &Lab) -> Running {
    for (program, package) in [
        ("/usr/bin/mail", "bsd-mailx"),
        ("/usr/sbin/sendmail", "msmtp-mta"),
        ("/usr/bin/finger", "finger"),
        ("/usr/lib/python3/dist-packages/aiosmtpd", "python3-aiosmtpd"),
    ] {
        lab::need(program, package);
    }
    let account = "defaults\naccount default\nhost 127.0.0.1\nport 25\nfrom tcpd@localhost\n";
    lab::write("/etc/msmtprc", account);
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-m", "aiosmtpd", "-n", "-l", "127.0.0.1:25"]);
    command.args(["-c", "aiosmtpd.handlers.Mailbox", MAILBOX]);
    command.stdin(Stdio::null());
    let running = Running::start(&mut command);
    lab.wait_for_port("tcp", 25);
    running
}

fn finger_server(address: &str, plan: &'static [u8]) -> (Server, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    let server = Server::tcp(address, move |mut stream| {
        let mut question = String::new();
        let _ = BufReader::new(&stream).read_line(&mut question);
        heard.lock().unwrap().push(question);
        let _ = stream.write_all(plan);
    });
    (server, asked)
}

fn mails() -> Vec<String> {
    let entries = std::fs::read_dir(format!("{MAILBOX}/new"));
    let paths = entries.into_iter().flatten().flatten();
    paths.map(|entry| std::fs::read_to_string(entry.path()).unwrap()).collect()
}

#[test]
fn the_trap_of_the_manual_delivers_a_mail() {
    let safe_finger = super::tools::subject("safe_finger");
    let lab = open_lab!();
    lab::install("/usr/sbin/safe_finger", &safe_finger, 0o755);
    let _mail_server = mail_server(&lab);
    let plan = b"Login: mallory\r\nPlan: \x1b[31mred letters\r\n~!touch /tmp/owned\r\n";
    let (_finger, asked) = finger_server("127.0.0.2:79", plan);
    lab.rules("", "in.tftpd: ALL: spawn (safe_finger -l @%h | mail -s tcpd-%d-%h root) &\n");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.2:0").unwrap();
    client.send_to(b"\0\x01/etc/passwd\0octet\0", socket.local_addr().unwrap()).unwrap();
    let visit = Visit::of(&lab)
        .arguments(&["in.tftpd", "-s", "/srv/tftp"])
        .with_variable("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    assert_eq!(visit.start(socket.into()).wait(), 0);
    let log = lab.log();
    assert_eq!(log.len(), 1, "{log:#?}");
    assert_eq!(log[0].message, "refused connect from 127.0.0.2 (127.0.0.2)");
    assert_eq!((log[0].priority, log[0].tag.as_str()), (28, "in.tftpd"));

    assert!(lab::patiently(|| !mails().is_empty()), "no mail in {MAILBOX}");
    let mail = &mails()[0];
    assert!(mail.contains("Subject: tcpd-in.tftpd-127.0.0.2\n"), "{mail}");
    assert!(mail.contains("Login: mallory"), "{mail}");
    // finger or safe_finger, whoever sees it first, makes the escape character harmless.
    assert!(mail.contains("[31mred letters"), "{mail}");
    assert!(!mail.contains('\x1b'), "{mail}");
    assert_eq!(mails().len(), 1);
    assert_eq!(asked.lock().unwrap().len(), 1, "the client was fingered once");
    assert!(!std::path::Path::new("/tmp/owned").exists());
}

/// The name of the client is what the attacker chooses; in the subject it must stay one word.
#[test]
fn the_subject_of_the_trap_cannot_be_used_as_an_option_or_a_command() {
    let lab = open_lab!();
    lab::write("/etc/hosts", "127.0.0.2 -oQ`touch\n");
    let record = format!("spawn echo tcpd-%d-%h [%n] > {SCRATCH}/spawned");
    lab.rules("", &format!("ALL: ALL: {record}\n"));
    let outcome = Visit::of(&lab).run();
    assert!(!outcome.served());
    let text = std::fs::read_to_string(format!("{SCRATCH}/spawned")).unwrap();
    assert_eq!(text, "tcpd-in.tw-probe-127.0.0.2 [paranoid]\n");
}
