//! stunnel: a server with threads, in front of a server that knows no TLS. Because the original library
//! cannot be asked by two threads at once, stunnel asks it in a handful of processes that live as long as
//! itself; so one library is asked about many clients. The name in a rule is that of a section of
//! stunnel's configuration. A refusal is stunnel's own line, with its own name, and daemon.warning.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::lab::launch::{connect_from, read_to_the_end, run};
use crate::lab::library::{Library, is_the_original};
use crate::lab::server::Server;
use crate::lab::{self, Line, Running, SCRATCH};

const PORT: u16 = 7443;
const SERVED: &str = "HELLO FROM BEHIND THE TUNNEL\n";
/// So many processes ask, if the configuration does not say otherwise.
const ASKERS: usize = 5;

fn stunnel(library: &Library) -> (Running, Server) {
    for (program, package) in
        [("/usr/bin/stunnel4", "stunnel4"), ("/usr/bin/openssl", "openssl"), ("/usr/bin/socat", "socat")]
    {
        lab::need(program, package);
    }
    let mut openssl = Command::new("/usr/bin/openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args(["-subj", "/CN=localhost", "-days", "2", "-keyout", "key.pem", "-out", "cert.pem"]);
    let (status, _, err) = run(openssl.current_dir(SCRATCH));
    assert_eq!(status, 0, "{err}");
    let behind = Server::tcp("127.0.0.1:7001", |mut client| {
        let _ = client.write_all(SERVED.as_bytes());
    });
    let configuration = format!(
        "foreground = quiet\npid =\nsyslog = yes\ndebug = 5\n[secret]\naccept = 127.0.0.1:{PORT}\n\
         connect = 127.0.0.1:7001\nlibwrap = yes\ncert = {SCRATCH}/cert.pem\nkey = {SCRATCH}/key.pem\n"
    );
    let path = format!("{SCRATCH}/stunnel.conf");
    lab::write(&path, configuration);
    let mut command = Command::new("/usr/bin/stunnel4");
    command.arg(&path).env_clear().stdin(Stdio::null()).stderr(Stdio::null());
    let running = Running::start(&mut command);
    library.wait_for_port("tcp", PORT);
    let processes = || library.processes("stunnel4");
    assert!(lab::patiently(|| processes().len() == 1 + ASKERS), "{:?}", processes());
    for pid in processes() {
        library.expect_mapped(pid);
    }
    (running, behind)
}

/// A client who trusts that certificate: exit status, and what came through the tunnel.
fn call(from: &str) -> (i32, String) {
    let trust = format!("cafile={SCRATCH}/cert.pem,commonname=localhost");
    let address = format!("OPENSSL:127.0.0.1:{PORT},bind={from},{trust}");
    let (status, out, _) = run(Command::new("/usr/bin/socat").args(["-T20", "-u", &address, "STDOUT"]));
    (status, out)
}

fn told(log: &[Line], words: &str) -> Vec<(u32, String)> {
    let lines = log.iter().filter(|line| line.tag == "stunnel" && line.message.contains(words));
    lines.map(|line| (line.priority, line.message.clone())).collect()
}

#[test]
fn a_tunnel_is_open_to_some() {
    let library = open_library!();
    let (_stunnel, _behind) = stunnel(&library);
    library.rules("secret: 127.0.0.2\n", "ALL: ALL\n");
    assert_eq!(call("127.0.0.2"), (0, SERVED.to_owned()));
    let log = library.log_until("Service [secret] accepted connection from 127.0.0.2:");
    assert_eq!(told(&log, "REFUSED"), []);
    assert_ne!(call("127.0.0.3").0, 0);
    let log = library.log_until("REFUSED");
    let [(28, refusal)] = &told(&log, "REFUSED")[..] else { panic!("{log:#?}") };
    assert!(refusal.contains("Service [secret] REFUSED by libwrap from 127.0.0.3:"), "{refusal}");

    library.rules("stunnel: ALL\n", "secret: ALL\n");
    assert_ne!(call("127.0.0.2").0, 0);
    library.log_until("REFUSED by libwrap from 127.0.0.2:");
    library.rules("", "");
    assert_eq!(call("127.0.0.3"), (0, SERVED.to_owned()));
}

/// The library speaks through the log of the process that asked it.
#[test]
fn what_is_wrong_with_a_rule_is_logged_as_stunnel() {
    let library = open_library!();
    let (_stunnel, _behind) = stunnel(&library);
    library.rules("", "secret: ALL: twsit /bin/echo no\n");
    assert_ne!(call("127.0.0.2").0, 0);
    let log = library.log_until("REFUSED");
    let error = "error: /etc/hosts.deny, line 1: bad option name: \"twsit\"";
    assert_eq!(told(&log, "error: "), [(27, error.to_owned())]);
}

/// M2: each of the processes that ask is asked about many clients. The original kept what a program had
/// said of an earlier one.
#[test]
fn a_program_is_asked_about_each_client() {
    let library = open_library!();
    if is_the_original() {
        return;
    }
    let (_stunnel, _behind) = stunnel(&library);
    library.rules("secret: ALL: aclexec test %a = 127.0.0.2\n", "");
    for _ in 0..2 * ASKERS {
        assert_ne!(call("127.0.0.3").0, 0);
        assert_eq!(call("127.0.0.2"), (0, SERVED.to_owned()));
    }
}

/// Forty clients at once, of two kinds, asked about by name, with a trap: nobody gets the verdict of
/// another, and each trap is sprung once.
#[test]
fn many_clients_at_once() {
    let library = open_library!();
    let (_stunnel, _behind) = stunnel(&library);
    let spawned = format!("{SCRATCH}/spawned");
    lab::write("/etc/hosts", "127.0.0.2 good.example.com\n127.0.0.3 bad.example.com\n");
    let trap = format!("spawn echo %n >> {spawned}");
    library.rules("secret: good.example.com\n", &format!("secret: ALL: {trap}\n"));
    let clients: Vec<_> = (0..40)
        .map(|number| {
            let from = if number % 2 == 0 { "127.0.0.2" } else { "127.0.0.3" };
            std::thread::spawn(move || (from, call(from)))
        })
        .collect();
    for client in clients {
        let (from, (status, got)) = client.join().unwrap();
        let expected = if from == "127.0.0.2" { (true, SERVED) } else { (false, "") };
        assert_eq!((status == 0, got.as_str()), expected, "{from}");
    }
    assert_eq!(std::fs::read_to_string(&spawned).unwrap(), "bad.example.com\n".repeat(20));
    let log = library.log();
    let refusals = told(&log, "REFUSED by libwrap from 127.0.0.3:");
    assert_eq!((refusals.len(), told(&log, "REFUSED").len()), (20, 20), "{log:#?}");
    // Nobody has to be a client of TLS to be refused.
    let client = connect_from("127.0.0.3".parse().unwrap(), ([127, 0, 0, 1], PORT).into()).unwrap();
    assert_eq!(read_to_the_end(client), b"");
    assert_eq!(library.processes("stunnel4").len(), 1 + ASKERS);
}
