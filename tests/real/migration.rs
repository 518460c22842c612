//! Do xinetd, tcpserver and sshd do as tcpd-migration(7) says? The files of theirs in the page are given to
//! them, and the clients of the tests below each file call: the verdicts must be those of our rules, which
//! `tests/migration.rs` tries. All addresses of the examples are this lab's own.
//!
//! xinetd cannot be installed beside openbsd-inetd; without an installed one its package is downloaded and
//! unpacked, once for each target directory.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::blocks::{Block, PAGE, blocks, client_of};
use crate::lab::launch::{connect_from, inetd, read_to_the_end, run};
use crate::lab::{self, Lab, Running, SCRATCH};

const PORT: u16 = 7900;

/// Every address of the examples can be bound to: whatever is routed to the local host is its own.
fn own_all_addresses() {
    lab::need("/usr/sbin/ip", "iproute2");
    for network in ["10.0.0.0/8", "172.0.0.0/8", "192.0.0.0/8"] {
        let mut ip = Command::new("/usr/sbin/ip");
        let (status, _, error) = run(ip.args(["route", "add", "local", network, "dev", "lo"]));
        assert_eq!(status, 0, "{network}: {error}");
    }
}

/// What a client from there receives, up to the end.
fn answer(client: &str, port: u16) -> String {
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let connection = connect_from(client.parse().expect("an address"), to).expect("somebody listens");
    String::from_utf8_lossy(&read_to_the_end(connection)).into_owned()
}

fn is_served(client: &str) -> bool {
    match &*answer(client, PORT) {
        "served\n" | "served relays\n" => true,
        "" => false,
        other => panic!("{client}: {other:?}"),
    }
}

/// All tests of a block against whoever listens now.
fn same_verdicts(block: &Block, who: &str) -> usize {
    let tests = block.part("hosts.test").expect("tests");
    for test in tests {
        let (client, granted) = client_of(test);
        assert_eq!(is_served(client), granted, "{who}: {test}");
    }
    tests.len()
}

/// The program. Two tests want it, and one downloads it.
fn xinetd() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(found_or_fetched)
}

fn found_or_fetched() -> Vec<u8> {
    let installed = Path::new("/usr/sbin/xinetd");
    if installed.exists() {
        return std::fs::read(installed).expect("xinetd");
    }
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("unpacked-xinetd");
    if !kept.exists() {
        let fresh = kept.with_extension(std::process::id().to_string());
        std::fs::create_dir_all(&fresh).expect("a directory");
        let here = |program: &str, arguments: &[&str]| {
            let (status, _, error) = run(Command::new(program).args(arguments).current_dir(&fresh));
            assert_eq!(status, 0, "{program} {arguments:?}: {error}");
        };
        here("apt-get", &["download", "xinetd"]);
        here("sh", &["-c", "dpkg -x xinetd_*.deb ."]);
        std::fs::rename(&fresh, &kept).expect("a free name");
    }
    std::fs::read(kept.join("usr/sbin/xinetd")).expect("xinetd")
}

/// A service of the page as xinetd gets it here: its lists, on a port of ours, before a server of ours.
fn start_xinetd(lab: &Lab, lists: &[&str]) -> Running {
    let own =
        ["socket_type = stream", "wait = no", "user = root", "server = /bin/echo", "server_args = served"];
    start_xinetd_with(lab, &[&own, lists].concat())
}

fn start_xinetd_with(lab: &Lab, lines: &[&str]) -> Running {
    let lines = lines.join("\n");
    let text =
        format!("service migration\n{{\ntype = UNLISTED\nport = {PORT}\nprotocol = tcp\n{lines}\n}}\n");
    let file = format!("{SCRATCH}/xinetd.conf");
    lab::write(&file, text);
    let log = format!("{SCRATCH}/xinetd.log");
    let mut command = Command::new("/usr/sbin/xinetd");
    command.args(["-dontfork", "-f", &file, "-filelog", &log]).stdin(Stdio::null());
    let running = Running::start(&mut command);
    // It listens on an IPv6 socket for both families.
    lab.wait_for_port("tcp6", PORT);
    running
}

#[test]
fn xinetd_decides_as_the_page_says() {
    if !lab::is_wanted() {
        return;
    }
    let (program, blocks) = (xinetd(), blocks());
    let lab = open_lab!();
    lab::install("/usr/sbin/xinetd", program, 0o755);
    own_all_addresses();

    let is_list = |line: &&str| line.starts_with("only_from") || line.starts_with("no_access");
    let mut lists: Vec<&str> = Vec::new();
    let (mut services, mut clients) = (0, 0);
    for block in &blocks {
        match block.0.first().filter(|part| part.head.starts_with("service ")) {
            Some(part) => lists = part.lines.iter().map(|line| line.trim()).filter(is_list).collect(),
            None if lists.is_empty() => {}
            None => {
                let running = start_xinetd(&lab, &lists);
                clients += same_verdicts(block, &format!("xinetd with {lists:?}"));
                drop(running);
                services += 1;
                lists.clear();
            }
        }
    }
    assert!(services == 3 && clients > 15, "{services} services, {clients} clients");

    // What the page says of single words.
    for (list, served, refused) in [
        ("only_from = 192.0.2.7/24", &["192.0.2.7", "192.0.2.8"][..], &["192.0.3.7"][..]),
        ("only_from =", &[], &["127.0.0.1", "192.0.2.7"]),
        ("only_from = 10.1.2.{3,4}", &["10.1.2.3", "10.1.2.4"], &["10.1.2.30", "10.1.2.5"]),
    ] {
        let _running = start_xinetd(&lab, &[list]);
        for (clients, expected) in [(served, true), (refused, false)] {
            for client in clients {
                assert_eq!(is_served(client), expected, "xinetd with {list}: {client}");
            }
        }
    }
}

/// xinetd of Debian asks libwrap itself, by the name of the server, and so obeys the same tables.
#[test]
fn xinetd_asks_the_tables_by_the_name_of_its_server() {
    if !lab::is_wanted() {
        return;
    }
    let program = xinetd();
    let lab = open_lab!();
    lab::install("/usr/sbin/xinetd", program, 0o755);
    lab.rules("", "echo: 127.0.0.2\n");
    for (list, expected) in [(&[][..], false), (&["flags = NOLIBWRAP"], true), (&["libwrap = other"], true)] {
        let _running = start_xinetd(&lab, list);
        assert_eq!((is_served("127.0.0.2"), is_served("127.0.0.3")), (expected, true), "{list:?}");
    }
}

/// The service of the page that has tcpd in front of its server, with a server that is here.
#[test]
fn xinetd_starts_tcpd_as_the_page_says() {
    if !lab::is_wanted() {
        return;
    }
    let (program, blocks) = (xinetd(), blocks());
    let lab = open_lab!();
    lab::install("/usr/sbin/xinetd", program, 0o755);
    lab.rules("", "echo: 127.0.0.2\n");
    let parts = blocks.iter().flat_map(|block| &block.0);
    let through_tcpd = |line: &String| line.ends_with("= /usr/sbin/tcpd");
    let part = parts.into_iter().find(|part| part.lines.iter().any(through_tcpd)).expect("the example");
    let lines: Vec<String> =
        part.lines.iter().map(|line| line.replace("/usr/sbin/in.fingerd", "/bin/echo served")).collect();
    let lines: Vec<&str> =
        lines.iter().map(|line| line.trim()).filter(|line| !["{", "}"].contains(line)).collect();
    let _running = start_xinetd_with(&lab, &lines);
    assert_eq!((is_served("127.0.0.2"), is_served("127.0.0.3")), (false, true));
    // Once each: xinetd itself does not ask.
    let log = lab.log_until("connect from 127.0.0.3");
    let said: Vec<&str> = log.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(said, ["refused connect from 127.0.0.2 (127.0.0.2)", "connect from 127.0.0.3 (127.0.0.3)"]);
}

/// Says what it was given in its environment.
const SERVER: [&str; 3] = ["/bin/sh", "-c", "echo served ${RELAYCLIENT+relays}"];

fn start_tcpserver(lab: &Lab, rules: Option<&str>, options: &[&str]) -> Running {
    lab::need("/usr/bin/tcpserver", "ucspi-tcp");
    let cdb = format!("{SCRATCH}/rules.cdb");
    let _ = std::fs::remove_file(&cdb);
    if let Some(rules) = rules {
        let source = format!("{SCRATCH}/rules");
        lab::write(&source, rules);
        let compile = format!("tcprules {cdb} {cdb}.tmp < {source}");
        let (status, _, error) = run(Command::new("/bin/sh").args(["-c", &compile]));
        assert_eq!(status, 0, "{error}");
    }
    let mut command = Command::new("/usr/bin/tcpserver");
    command.args(["-R", "-H", "-l0", "-x", &cdb]).args(options);
    command.args(["127.0.0.1", &PORT.to_string()]).args(SERVER).stdin(Stdio::null());
    let running = Running::start(command.stderr(Stdio::null()));
    lab.wait_for_port("tcp", PORT);
    running
}

#[test]
fn tcpserver_decides_as_the_page_says() {
    let lab = open_lab!();
    own_all_addresses();
    let blocks = blocks();
    let at = blocks.iter().position(|block| block.part("smtp.rules").is_some()).expect("the example");
    let rules = blocks[at].file("smtp.rules");
    let running = start_tcpserver(&lab, Some(&rules), &[]);
    let ours = &blocks[at + 1];
    assert!(same_verdicts(ours, "tcpserver") >= 12);

    // tcpd with the rules of the page, as a listener beside it: the same words to the same clients.
    lab.rules(&ours.file("/etc/hosts.allow"), &ours.file("/etc/hosts.deny"));
    let mut tcpd = Command::new("/usr/sbin/tcpd");
    tcpd.args(["--listen", &format!("127.0.0.1:{}", PORT + 1), "--daemon", "smtpd", "--"]).args(SERVER);
    let _tcpd = Running::start(tcpd.stdin(Stdio::null()));
    lab.wait_for_port("tcp", PORT + 1);
    let clients: Vec<_> =
        ours.part("hosts.test").expect("tests").iter().map(|test| client_of(test).0).collect();
    let answers = |port| clients.iter().map(|client| answer(client, port)).collect::<Vec<_>>();
    assert_eq!(answers(PORT), answers(PORT + 1), "{clients:?}");
    assert!(answers(PORT).contains(&"served relays\n".to_owned()));
    drop(running);

    for (rules, options, expected) in [
        (Some("192.0.2.:deny\n"), &[][..], true),
        (None, &[], false),
        (None, &["-X"], true),
        // The closest rule counts, wherever it stands.
        (Some(":deny\n127.:deny\n127.0.0.:allow\n"), &[], true),
    ] {
        let _running = start_tcpserver(&lab, rules, options);
        assert_eq!(is_served("127.0.0.2"), expected, "tcpserver {options:?} with {rules:?}");
    }
}

/// The greeting, or nothing.
fn greeting(client: &str, port: u16) -> String {
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let connection = connect_from(client.parse().expect("an address"), to).expect("somebody listens");
    connection.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let mut line = String::new();
    let _ = BufReader::new(connection).read_line(&mut line);
    line
}

/// The line for inetd and the command that listens, as they stand in the page: sshd is governed by the tables
/// under its own name, whatever it is linked with.
#[test]
fn sshd_behind_tcpd_is_governed_as_the_page_says() {
    let lab = open_lab!();
    lab::need("/usr/sbin/sshd", "openssh-server");
    std::fs::create_dir_all("/run/sshd").expect("the directory of sshd");
    lab::write("/etc/ssh/sshd_config", "HostKey /etc/ssh/ssh_host_ed25519_key\n");
    let (status, _, error) = run(Command::new("/usr/bin/ssh-keygen").arg("-A"));
    assert_eq!(status, 0, "{error}");
    lab.rules("sshd: 127.0.0.2\n", "ALL: ALL\n");

    let blocks = blocks();
    let line = blocks.iter().map(|block| block.file("/etc/inetd.conf")).find(|text| !text.is_empty());
    let by_inetd = inetd(&lab, &line.expect("the example"));
    assert!(greeting("127.0.0.2", 22).starts_with("SSH-2.0-"));
    // The line of tcpd; an sshd with libwrap in it, as Debian's, logs refusals only.
    lab.log_until("connect from 127.0.0.2 (127.0.0.2)");
    assert_eq!(greeting("127.0.0.3", 22), "");
    lab.log_until("refused connect from 127.0.0.3 (127.0.0.3)");
    drop(by_inetd);

    let command = "tcpd --listen 0.0.0.0:22 -- /usr/sbin/sshd -i";
    assert!(PAGE.contains(command));
    let mut words = command.replace("0.0.0.0:22", &format!("127.0.0.1:{PORT}"));
    words.insert_str(0, "exec /usr/sbin/");
    let _tcpd = Running::start(Command::new("/bin/sh").args(["-c", &words]).stdin(Stdio::null()));
    lab.wait_for_port("tcp", PORT);
    assert!(greeting("127.0.0.2", PORT).starts_with("SSH-2.0-"));
    lab.log_until("connect from 127.0.0.2 (127.0.0.2)");
    assert_eq!(greeting("127.0.0.3", PORT), "");
}
