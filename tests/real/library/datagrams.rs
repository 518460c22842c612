//! in.tftpd, a `wait` service of inetd: it reads the datagram itself, forks, and asks the library about
//! both addresses; the process that reads stays for the next datagram. A refusal is its own line,
//! daemon.warning, which says from whom, but means to whom: it names the address of the server, or
//! 0.0.0.0 for the first datagram.

use std::net::UdpSocket;
use std::process::{Command, Stdio};

use crate::lab::launch::{inetd, run};
use crate::lab::library::Library;
use crate::lab::{self, Line, Running, SCRATCH};

const TEXT: &str = "a file that is served\n";
/// RFC 1350: a read request.
const REQUEST: &[u8] = b"\0\x01file\0octet\0";
const REFUSED: &str = "connection refused from 127.0.0.1";

/// inetd, and in.tftpd after its first datagram.
fn in_tftpd(library: &Library) -> Running {
    lab::need("/usr/sbin/in.tftpd", "tftpd-hpa");
    lab::need("/usr/bin/tftp", "tftp-hpa");
    lab::write(&format!("{SCRATCH}/tftp/file"), TEXT.repeat(200));
    inetd(
        library,
        &format!("tftp dgram udp wait root /usr/sbin/in.tftpd in.tftpd -v -t 60 -s {SCRATCH}/tftp\n"),
    )
}

/// Fails unless the in.tftpd that waits for more has our library.
fn expect_ours(library: &Library) {
    let processes = library.processes("in.tftpd");
    library.expect_mapped(*processes.first().expect("in.tftpd waits"));
}

fn told<'a>(log: &'a [Line], words: &str) -> Vec<(u32, &'a str)> {
    let lines = log.iter().filter(|line| line.tag == "in.tftpd" && line.message.contains(words));
    lines.map(|line| (line.priority, line.message.as_str())).collect()
}

fn request(from: &str) -> UdpSocket {
    let client = UdpSocket::bind((from, 0)).unwrap();
    client.send_to(REQUEST, "127.0.0.1:69").unwrap();
    client.set_nonblocking(true).unwrap();
    client
}

#[test]
fn a_file_is_fetched_or_not() {
    let library = open_library!();
    let _inetd = in_tftpd(&library);
    library.rules("in.tftpd: 127.0.0.1\n", "ALL: ALL\n");
    let mut fetch = Command::new("/usr/bin/tftp");
    fetch.args(["-m", "binary", "127.0.0.1", "-c", "get", "file"]).current_dir("/tmp");
    let (status, out, err) = run(&mut fetch);
    assert_eq!(status, 0, "{out} {err}");
    assert_eq!(std::fs::read_to_string("/tmp/file").unwrap(), TEXT.repeat(200));
    let log = library.log_until("RRQ from");
    assert_eq!(told(&log, "from"), [(29, "RRQ from 127.0.0.1 filename file\n")]);
    expect_ours(&library);

    // One line for each datagram, and not a byte for the client.
    let stranger = request("127.0.0.9");
    for _ in 0..2 {
        let log = library.log_until("refused");
        assert_eq!(told(&log, ""), [(28, REFUSED)]);
        assert!(stranger.recv(&mut [0; 600]).is_err(), "a refused client was answered");
        stranger.send_to(REQUEST, "127.0.0.1:69").unwrap();
    }
    library.log_until(REFUSED);

    // Its tables are read anew for each datagram.
    library.rules("", "in.tftpd: 127.0.0.1\n");
    let refused = Running::start(fetch.stdin(Stdio::null()).stdout(Stdio::null()));
    library.log_until(REFUSED);
    drop(refused);
    let welcome = request("127.0.0.9");
    library.log_until("RRQ from 127.0.0.9 filename file");
    let mut block = [0; 600];
    assert!(lab::patiently(|| welcome.recv(&mut block).is_ok()));
    assert!(block.starts_with(b"\0\x03\0\x01a file that is served\n"));
}

/// Names, traps, and errors under its own name.
#[test]
fn rules_with_options() {
    let library = open_library!();
    lab::write("/etc/hosts", "127.0.0.1 localhost\n127.0.0.9 bad.example.com\n");
    let _inetd = in_tftpd(&library);
    let spawned = format!("{SCRATCH}/spawned");
    let client = request("127.0.0.1");
    library.log_until("RRQ from 127.0.0.1");
    drop(client);
    expect_ours(&library);
    library.rules("", &format!("in.tftpd: .example.com: spawn echo %d %a %n %A >> {spawned}\n"));
    let client = request("127.0.0.9");
    library.log_until(REFUSED);
    let line = "in.tftpd 127.0.0.9 bad.example.com 127.0.0.1\n";
    assert_eq!(std::fs::read_to_string(&spawned).unwrap(), line);
    for (rule, error) in [("umask 999", "bad umask value: \"999\""), ("bogus", "bad option name: \"bogus\"")]
    {
        library.rules("", &format!("in.tftpd: ALL: {rule}\n"));
        client.send_to(REQUEST, "127.0.0.1:69").unwrap();
        let log = library.log_until(REFUSED);
        let error = format!("error: /etc/hosts.deny, line 1: {error}");
        assert_eq!(told(&log, ""), [(27, error.as_str()), (28, REFUSED)]);
    }
    assert!(client.recv(&mut [0; 600]).is_err(), "a refused client was answered");
}
