//! sslh, which tells the library about its client in words: `hosts_ctl` with a name, if it has found one,
//! an address, and no connection. It does so in one process for all, and closes the connection of whom
//! the rules refuse. The name in a rule is that of the protocol that the client speaks, as sslh calls its
//! service. Its own lines are auth.info, 38.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::lab::launch::{connect_from, read_to_the_end};
use crate::lab::library::{Library, is_the_original};
use crate::lab::server::Server;
use crate::lab::{self, Line, SCRATCH};

const SERVED: &str = "HELLO FROM BEHIND\n";

/// sslh in the background of the lab, and the server behind it.
fn sslh(library: &Library) -> Server {
    lab::need("/usr/sbin/sslh", "sslh");
    let behind = Server::tcp("127.0.0.1:7001", |mut client| {
        let _ = client.write_all(SERVED.as_bytes());
    });
    lab::write("/etc/hosts", "127.0.0.1 localhost\n127.0.0.2 good.example.com\n");
    let mut command = Command::new("/usr/sbin/sslh");
    command.args(["-u", "nobody", "-P", "/run/sslh.pid", "-p", "127.0.0.1:7022", "--ssh", "127.0.0.1:7001"]);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
    library.wait_for_port("tcp", 7022);
    for pid in library.processes("sslh") {
        library.expect_mapped(pid);
    }
    behind
}

fn visit(from: &str) -> String {
    let door = "127.0.0.1:7022".parse().unwrap();
    let mut client = connect_from(from.parse().unwrap(), door).unwrap();
    client.write_all(b"SSH-2.0-visitor\r\n").unwrap();
    String::from_utf8_lossy(&read_to_the_end(client)).into_owned()
}

fn told(log: &[Line]) -> Vec<(u32, &str)> {
    let of_service = |line: &&Line| line.message.starts_with("ssh:") || line.message.starts_with("sslh-");
    let lines = log.iter().filter(|line| line.tag == "sslh" && !of_service(line));
    lines.map(|line| (line.priority, line.message.as_str())).collect()
}

const DENIED: (u32, &str) = (38, "connection from unknown(127.0.0.3): access denied");

#[test]
fn names_and_addresses_in_words() {
    let library = open_library!();
    let _behind = sslh(&library);
    library.rules("sshd: .example.com, 127.0.0.4\n", "ALL: ALL\n");
    assert_eq!((visit("127.0.0.2").as_str(), visit("127.0.0.4").as_str()), (SERVED, SERVED));
    library.log_until("ssh:connection from 127.0.0.4");
    assert_eq!(visit("127.0.0.3"), "");
    assert_eq!(told(&library.log_until("denied")), [DENIED]);
    library.rules("", "sshd: UNKNOWN, good.example.com\n");
    assert_eq!((visit("127.0.0.2").as_str(), visit("127.0.0.4").as_str()), ("", ""));
    let log = library.log_until("denied");
    assert_eq!(told(&log)[0], (38, "connection from good.example.com(127.0.0.2): access denied"));
    library.rules("", "telnet: ALL\n");
    assert_eq!(visit("127.0.0.3"), SERVED);
}

/// There is no connection to write to, to keep alive or to hand over, and no other end to name.
#[test]
fn options_without_a_connection() {
    let library = open_library!();
    let _behind = sslh(&library);
    let spawned = format!("{SCRATCH}/spawned");
    lab::write(&format!("{SCRATCH}/banners/sshd"), "not you, %a\n");
    let trap = format!("spawn echo %d %a %n %A %c %s > {spawned}: banners {SCRATCH}/banners");
    library.rules("", &format!("sshd: 127.0.0.3: {trap}\n"));
    assert_eq!(visit("127.0.0.3"), "");
    assert_eq!(told(&library.log_until("denied")), [DENIED]);
    let line = "sshd 127.0.0.3 unknown unknown 127.0.0.3 sshd\n";
    assert_eq!(std::fs::read_to_string(&spawned).unwrap(), line);
    library.rules("", "sshd: 127.0.0.3: keepalive\n");
    assert_eq!(visit("127.0.0.3"), "");
    let warning = "warning: /etc/hosts.deny, line 1: setsockopt SO_KEEPALIVE: Bad file descriptor";
    assert_eq!(told(&library.log_until("denied")), [(35, warning), DENIED]);
    library.rules("", "sshd: 127.0.0.3: bogus\n");
    assert_eq!(visit("127.0.0.3"), "");
    let error = "error: /etc/hosts.deny, line 1: bad option name: \"bogus\"";
    assert_eq!(told(&library.log_until("denied")), [(35, error), DENIED]);

    // M14: the original ended the process that was to hand over what it did not have.
    if is_the_original() {
        return;
    }
    library.rules("", "sshd: 127.0.0.3: twist echo no\n");
    assert_eq!(visit("127.0.0.3"), "");
    let error = "error: /etc/hosts.deny, line 1: twist option without a connection";
    assert_eq!(told(&library.log_until("denied")), [(35, error), DENIED]);
    assert_eq!(visit("127.0.0.2"), SERVED);
}
