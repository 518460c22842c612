//! Does the wrapper work behind the super-servers that people run: openbsd-inetd with streams,
//! datagrams and IPv6, and systemd's socket activation?

use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::lab::launch::{connect_from, inetd, read_to_the_end, run};
use crate::lab::{self, Lab, Line, Running, SCRATCH};

fn of<'a>(tag: &str, log: &'a [Line]) -> Vec<(u32, &'a str)> {
    let lines = log.iter().filter(|line| line.tag == tag);
    lines.map(|line| (line.priority, line.message.as_str())).collect()
}

/// Connects, says `ping` and listens until the other side ends.
fn visit(from: &str, to: &str) -> String {
    use std::io::Write;
    let mut client = connect_from(from.parse().unwrap(), to.parse().unwrap()).unwrap();
    client.write_all(b"ping\n").unwrap();
    String::from_utf8_lossy(&read_to_the_end(client)).into_owned()
}

#[test]
fn inetd_stream() {
    let lab = open_lab!();
    lab.rules("in.tw-probe: 127.0.0.2\n", "ALL: ALL\n");
    let line = "finger stream tcp nowait root /usr/sbin/tcpd in.tw-probe -x two\n";
    let _inetd = inetd(&lab, line);
    assert_eq!(visit("127.0.0.2", "127.0.0.1:79"), "HELLO FROM DAEMON\n");
    let log = lab.log_until("connect from");
    assert_eq!(of("in.tw-probe", &log), [(30, "connect from 127.0.0.2 (127.0.0.2)")]);
    let report = lab.saw().unwrap();
    assert!(report.starts_with("argv in.tw-probe\nargv -x\nargv two\nexe /usr/sbin/in.tw-probe\n"));

    assert_eq!(visit("127.0.0.3", "127.0.0.1:79"), "");
    let log = lab.log_until("refused");
    let refused = [(28, "refused connect from 127.0.0.3 (127.0.0.3)")];
    assert_eq!(of("in.tw-probe", &log), refused);
}

#[test]
fn inetd_stream_ipv6() {
    let lab = open_lab!();
    lab.rules("in.tw-probe: [::1]\n", "ALL: ALL\n");
    let _inetd = inetd(&lab, "finger stream tcp6 nowait root /usr/sbin/tcpd in.tw-probe\n");
    assert_eq!(visit("::1", "[::1]:79"), "HELLO FROM DAEMON\n");
    let log = lab.log_until("connect from");
    assert_eq!(of("in.tw-probe", &log), [(30, "connect from ::1 (::1)")]);

    lab.rules("", "in.tw-probe: [::1]\n");
    assert_eq!(visit("::1", "[::1]:79"), "");
    let log = lab.log_until("refused");
    assert_eq!(of("in.tw-probe", &log), [(28, "refused connect from ::1 (::1)")]);
}

/// Inetd hands the whole socket to the server of a `wait` service. A refused datagram must be
/// taken out of the queue, or inetd would start the wrapper for it for ever.
#[test]
fn inetd_datagram_in_tftpd() {
    let lab = open_lab!();
    lab::need("/usr/sbin/in.tftpd", "tftpd-hpa");
    lab::need("/usr/bin/tftp", "tftp-hpa");
    let text = "a file that is served\n".repeat(200);
    lab::write(&format!("{SCRATCH}/tftp/file"), &text);
    lab.rules("", "in.tftpd: ALL\n");
    let line = format!("tftp dgram udp wait root /usr/sbin/tcpd in.tftpd -t 1 -s {SCRATCH}/tftp\n");
    let _inetd = inetd(&lab, &line);

    let fetch = || {
        let mut command = Command::new("/usr/bin/tftp");
        command.args(["-m", "binary", "127.0.0.1", "-c", "get", "file"]);
        command.current_dir("/tmp");
        command
    };
    let mut refused = Running::start(fetch().stdin(Stdio::null()).stdout(Stdio::null()));
    let log = lab.log_until("refused");
    assert_eq!(of("in.tftpd", &log), [(28, "refused connect from 127.0.0.1 (127.0.0.1)")]);
    assert_eq!(refused.wait_at_most(Duration::from_millis(200)), None);
    drop(refused);

    // Inetd listens again, and each datagram gets one refusal.
    let stranger = UdpSocket::bind("127.0.0.9:0").unwrap();
    for _ in 0..2 {
        stranger.send_to(b"\0\x01file\0octet\0", "127.0.0.1:69").unwrap();
        let log = lab.log_until("refused connect from 127.0.0.9");
        assert_eq!(of("in.tftpd", &log).len(), 1, "{log:#?}");
    }
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv(&mut [0; 600]).is_err(), "a refused client was answered");

    lab.rules("in.tftpd: 127.0.0.1\n", "ALL: ALL\n");
    let (status, out, err) = run(&mut fetch());
    assert_eq!(status, 0, "{out} {err}");
    assert_eq!(std::fs::read_to_string("/tmp/file").unwrap(), text);
    let log = lab.log_until("connect from 127.0.0.1");
    let served = (30, "connect from 127.0.0.1 (127.0.0.1)");
    assert!(of("in.tftpd", &log).contains(&served), "{log:#?}");
}

/// A connection for each process, or the listening socket for one process.
#[derive(Clone, Copy, PartialEq)]
enum Accept {
    Yes,
    No,
}

fn socket_activated(lab: &Lab, accept: Accept, port: u16, arguments: &[&str]) -> Running {
    let program = "/usr/bin/systemd-socket-activate";
    lab::need(program, "systemd");
    let stderr = std::fs::File::create(format!("{SCRATCH}/journal")).unwrap();
    let mut command = Command::new(program);
    command
        .args(if accept == Accept::Yes { &["--inetd", "-a"][..] } else { &["-E", "KEPT=yes"] })
        .args(["-l", &format!("127.0.0.1:{port}"), "/usr/sbin/tcpd"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr);
    let running = Running::start(&mut command);
    lab.wait_for_port("tcp", port);
    running
}

/// A systemd unit with `ExecStart=/usr/sbin/tcpd /usr/sbin/in.fingerd` starts tcpd under its own
/// name; the original then executed itself for ever.
#[test]
fn systemd_socket_activation() {
    let lab = open_lab!();
    lab.rules("in.tw-probe: 127.0.0.2\n", "ALL: ALL\n");
    let _activate = socket_activated(&lab, Accept::Yes, 7002, &["/usr/sbin/in.tw-probe", "-l"]);
    assert_eq!(visit("127.0.0.2", "127.0.0.1:7002"), "HELLO FROM DAEMON\n");
    let log = lab.log_until("connect from");
    assert_eq!(of("in.tw-probe", &log), [(30, "connect from 127.0.0.2 (127.0.0.2)")]);
    assert_eq!(visit("127.0.0.3", "127.0.0.1:7002"), "");
    let log = lab.log_until("refused");
    let refused = [(28, "refused connect from 127.0.0.3 (127.0.0.3)")];
    assert_eq!(of("in.tw-probe", &log), refused);
}

#[test]
fn systemd_socket_activation_with_log_on_stderr() {
    let lab = open_lab!();
    lab.rules("in.tw-probe: 127.0.0.2\n", "ALL: ALL\n");
    let server = ["--log", "stderr", "--", "/usr/sbin/in.tw-probe"];
    let _activate = socket_activated(&lab, Accept::Yes, 7002, &server);
    assert_eq!(visit("127.0.0.2", "127.0.0.1:7002"), "HELLO FROM DAEMON\n");
    assert_eq!(visit("127.0.0.3", "127.0.0.1:7002"), "");
    let journal = || std::fs::read_to_string(format!("{SCRATCH}/journal")).unwrap();
    let said = lab::patiently(|| {
        let text = journal();
        text.contains("refused connect from 127.0.0.3 (127.0.0.3)")
            && text.contains("connect from 127.0.0.2 (127.0.0.2)")
    });
    assert!(said, "{}", journal());
    assert_eq!(lab.log(), []);
}

/// Accept=no: one tcpd for all connections, with the socket that systemd opened.
#[test]
fn systemd_hands_over_its_socket() {
    let lab = open_lab!();
    lab.rules("in.tw-probe: 127.0.0.2\n", "ALL: ALL\n");
    let server = ["--listen", "systemd", "--", "/usr/sbin/in.tw-probe", "-l"];
    let activate = socket_activated(&lab, Accept::No, 7002, &server);
    assert_eq!(visit("127.0.0.2", "127.0.0.1:7002"), "HELLO FROM DAEMON\n");
    let log = lab.log_until("connect from");
    assert_eq!(of("tcpd", &log), [(30, "listening on 127.0.0.1:7002")]);
    assert_eq!(of("in.tw-probe", &log), [(30, "connect from 127.0.0.2 (127.0.0.2)")]);
    let report = lab.saw().unwrap();
    assert!(report.contains("\nenv KEPT=yes\n") && !report.contains("env LISTEN_"), "{report}");
    let descriptors: Vec<&str> = report.lines().filter(|line| line.starts_with("fd ")).collect();
    assert_eq!(descriptors, ["fd 0 socket:", "fd 1 socket:", "fd 2 socket:"]);

    assert_eq!(visit("127.0.0.3", "127.0.0.1:7002"), "");
    let log = lab.log_until("refused");
    assert_eq!(of("in.tw-probe", &log), [(28, "refused connect from 127.0.0.3 (127.0.0.3)")]);
    assert_eq!(std::fs::read_to_string(format!("/proc/{}/comm", activate.pid())).unwrap(), "tcpd\n");
}
