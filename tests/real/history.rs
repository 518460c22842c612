//! What has gone wrong in this family of programs once, where it takes root, a name server or an ident
//! server to see it: does it go wrong here?
//!
//! `tests/history.rs` has the list of all events, and says what each was where that needs no root.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen, setsockopt, socket,
    sockopt,
};

use crate::lab::launch::{connection, read_to_the_end};
use crate::lab::nameserver::{Reply, serve};
use crate::lab::server::{Server, ident, ident_says};
use crate::lab::{self, Lab, Outcome, Running, SCRATCH, Visit};

/// Where the test itself bounds the time: a rule gives an ident server two seconds, the rest is slack for a
/// loaded machine.
const BOUND: Duration = Duration::from_secs(8);

/// A connection from this port of 127.0.0.2: the client's end, and the wrapper, started on the other.
fn call_from(lab: &Lab, port: u16) -> (TcpStream, Running) {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let end = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&end, sockopt::ReuseAddr, &true).unwrap();
    let from = SocketAddr::from(([127, 0, 0, 2], port));
    bind(end.as_raw_fd(), &SockaddrStorage::from(from)).unwrap();
    connect(end.as_raw_fd(), &SockaddrStorage::from(door.local_addr().unwrap())).unwrap();
    let (served, _) = door.accept().unwrap();
    let mut client = TcpStream::from(end);
    client.write_all(b"id; exit\n").unwrap();
    (client, Visit::of(lab).start(served.into()))
}

/// The trojaned distribution of January 1999: a root shell for whoever calls from port 421.
#[test]
fn cert_ca_1999_01_port_421_is_a_port_like_any_other() {
    let lab = open_lab!();
    for (allow, answer) in [("", ""), ("ALL: 127.0.0.2\n", "HELLO FROM DAEMON\n")] {
        lab.rules(allow, "ALL: ALL\n");
        let mut said = BTreeSet::new();
        for port in [421, 1, 20, 53, 113, 420, 422, 512, 1023, 1024, 4210, 31337, 65535] {
            let (client, mut wrapper) = call_from(&lab, port);
            let exit = wrapper.wait();
            drop(wrapper);
            let received = String::from_utf8_lossy(&read_to_the_end(client)).into_owned();
            assert_eq!(received, answer, "port {port}");
            let log: Vec<_> = lab.log().into_iter().map(|line| (line.priority, line.message)).collect();
            said.insert((exit, log));
        }
        assert_eq!(said.len(), 1, "{said:#?}");
    }
}

/// `user` and `group` of the Debian package looked the names up and changed nothing: the server kept root.
#[test]
fn initgroups_user_and_group_act() {
    let lab = open_lab!();
    for (options, ids) in [
        ("user nobody", "uid=65534 euid=65534 gid=65534 egid=65534 "),
        ("user nobody.nogroup", "uid=65534 euid=65534 gid=65534 egid=65534 "),
        ("group nogroup", "uid=0 euid=0 gid=65534 egid=65534 "),
    ] {
        lab.rules(&format!("ALL: ALL: {options}\n"), "ALL: ALL\n");
        let outcome = Visit::of(&lab).run();
        assert!(outcome.served(), "{:#?}", outcome.log);
        assert!(outcome.seen("ids")[0].starts_with(ids), "{options}: {:?}", outcome.seen("ids"));
        let groups = outcome.seen("groups")[0];
        assert!(groups.split_whitespace().all(|group| group == "65534"), "{options}: {groups}");
        if options.starts_with("user") {
            assert_eq!((outcome.seen("saved"), outcome.seen("root-again")), (vec!["65534"], vec!["no"]));
        }
    }
}

/// xinetd gave what came through tcpmux to anybody, and with root's rights whatever `user` said. What the
/// wrapper gets when a multiplexer has read a line from the connection is a connection like others.
#[test]
fn cve_2012_0862_cve_2013_4342_tcpmux_obeys_the_rules_and_drops() {
    let lab = open_lab!();
    let through_tcpmux = |name: &str| {
        let (mut client, mut served) = connection("127.0.0.2".parse().unwrap(), "127.0.0.1".parse().unwrap());
        client.write_all(format!("{name}\r\nping\n").as_bytes()).unwrap();
        // RFC 1078: the name of the service and no byte of what follows.
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            served.read_exact(&mut byte).unwrap();
            line.extend(byte);
        }
        served.write_all(b"+go\r\n").unwrap();
        let _ = std::fs::remove_file(format!("{SCRATCH}/saw"));
        let exit = Visit::of(&lab).arguments(&[name]).start(served.into()).wait();
        let received = String::from_utf8_lossy(&read_to_the_end(client)).into_owned();
        (exit, received, lab.log(), lab.saw())
    };
    lab.rules("in.tw-probe: 127.0.0.2: user nobody\n", "ALL: ALL\n");
    let (exit, received, log, saw) = through_tcpmux("in.tw-probe");
    assert_eq!((exit, received.as_str()), (7, "+go\r\nHELLO FROM DAEMON\n"), "{log:#?}");
    let saw = saw.unwrap();
    assert!(saw.contains("ids uid=65534 euid=65534 gid=65534 egid=65534 "), "{saw}");
    assert!(saw.contains("root-again no\n"), "{saw}");
    for rules in [("", "in.tw-probe: ALL\n"), ("tcpmux: ALL\n", "ALL: ALL\n")] {
        lab.rules(rules.0, rules.1);
        let (exit, received, log, saw) = through_tcpmux("in.tw-probe");
        assert_eq!((exit, received.as_str(), saw), (0, "+go\r\n", None), "{rules:?}");
        assert_eq!(log[0].message, "refused connect from 127.0.0.2 (127.0.0.2)");
    }
}

// ------------------------------------------------------------------------------------------------- names

/// xinetd let in whoever had no name where a rule restricted a service to names.
#[test]
fn cve_2000_0536_a_client_without_a_ptr_record_is_restricted() {
    let lab = open_lab!();
    let _dnsmasq = crate::names::dnsmasq(&lab);
    let nameless = |allow: &str, deny: &str| {
        lab.rules(allow, deny);
        Visit::of(&lab).from("127.0.0.10").run().served()
    };
    for allow in [".example.com", "good.example.com", "KNOWN", "ALL EXCEPT UNKNOWN", "*.com"] {
        assert!(!nameless(&format!("ALL: {allow}\n"), "ALL: ALL\n"), "{allow}");
    }
    for deny in ["ALL EXCEPT .example.com", "UNKNOWN", ".evil.example UNKNOWN", "ALL EXCEPT KNOWN"] {
        assert!(!nameless("", &format!("ALL: {deny}\n")), "{deny}");
    }
    // A name that is refused is not his, and nothing else refuses him: hosts_access(5) says so.
    assert!(nameless("", "ALL: .evil.example\n"));
    lab.rules("", "ALL: ALL EXCEPT .example.com\n");
    assert!(Visit::of(&lab).run().served(), "who has the name is not kept out");
}

/// Between the check of a name and the line in the log somebody else answered for it.
#[test]
fn reset_paranoid_race_one_lookup_is_checked_logged_and_expanded() {
    let lab = open_lab!();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    // The first answer is a good name, every further one is somebody else's.
    let _fickle = serve(move |_, kind| match kind {
        12 if count.fetch_add(1, Ordering::SeqCst) == 0 => Reply::pointer("good.example.com"),
        12 => Reply::pointer("evil.example.net"),
        1 => Reply::Address([127, 0, 0, 2]),
        _ => Reply::NoSuchName,
    });
    let file = format!("{SCRATCH}/spawned");
    let trap = format!("spawn echo %h %n %c >> {file}: setenv WHO %n");
    lab.rules(&format!("ALL: .example.net: deny\nALL: .example.com: {trap}\n"), "ALL: KNOWN\n");
    let json = format!("json:{SCRATCH}/log.json");
    let words = ["tcpd", "--log", "syslog", "--log", &json, "--", "/usr/sbin/in.tw-probe"];
    let outcome = Visit::of(&lab).arguments(&words).run();
    assert!(outcome.served(), "{:#?}", outcome.log);
    assert_eq!(outcome.messages(), ["connect from good.example.com (127.0.0.2)"]);
    assert!(outcome.seen("env").contains(&"WHO=good.example.com"));
    let good = "good.example.com";
    assert_eq!(std::fs::read_to_string(file).unwrap(), format!("{good} {good} {good}\n"));
    let event = std::fs::read_to_string(format!("{SCRATCH}/log.json")).unwrap();
    assert!(event.contains("good.example.com") && !event.contains("evil.example.net"), "{event}");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "one question for check, log, command and event");
}

/// Traps that look at the caller can be used against a third party. Without a rule that wants it nobody is
/// asked anything, however the verdict falls: no name, no user, no finger.
#[test]
fn reverse_probes_nobody_is_contacted_unless_a_rule_asks() {
    let lab = open_lab!();
    let asked = Arc::new(AtomicUsize::new(0));
    let (names, fingers) = (Arc::clone(&asked), Arc::clone(&asked));
    let _names = serve(move |_, _| {
        names.fetch_add(1, Ordering::SeqCst);
        Reply::NoSuchName
    });
    let _finger = Server::tcp("127.0.0.2:79", move |_| {
        fingers.fetch_add(1, Ordering::SeqCst);
    });
    let (_ident, users) = ident_says("127.0.0.2", "<R> , <L> : USERID : UNIX : joe\r\n");
    let json = format!("json:{SCRATCH}/log.json");
    let with_events = ["tcpd", "--log", "syslog", "--log", &json, "--", "/usr/sbin/in.tw-probe"];
    for (allow, deny) in [
        ("", ""),
        ("", "ALL: ALL\n"),
        ("ALL: 127.0.0.2\n", "ALL: ALL\n"),
        ("", "in.tw-probe: 127.0.0.0/255.0.0.0: severity auth.info\n"),
        ("ALL: 127.0.0.3\n79: ALL\nin.other: .example.com joe@ALL\n", "ALL: 127.: spawn true %a %d %h\n"),
    ] {
        lab.rules(allow, deny);
        Visit::of(&lab).run();
        Visit::of(&lab).arguments(&with_events).run();
        assert_eq!((asked.load(Ordering::SeqCst), users.lock().unwrap().len()), (0, 0), "{allow}{deny}");
    }
    let (socket, client) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.2:0").unwrap());
    client.send_to(b"x", socket.local_addr().unwrap()).unwrap();
    lab.rules("", "ALL: ALL\n");
    assert_eq!(Visit::of(&lab).start(socket.into()).wait(), 0);
    assert_eq!((asked.load(Ordering::SeqCst), users.lock().unwrap().len()), (0, 0), "a datagram");
    // And that they could have been asked.
    lab.rules("ALL: .example.com\nALL: joe@ALL\n", "ALL: ALL\n");
    assert!(Visit::of(&lab).run().served());
    assert!(asked.load(Ordering::SeqCst) > 0 && users.lock().unwrap().len() == 1);
}

// ----------------------------------------------------------------------------------------- users, commands

/// What a command got of a name or a user it was given, in the words of a shell.
fn spawned(lab: &Lab, words: &str) -> (Outcome, String) {
    let file = format!("{SCRATCH}/spawned");
    let _ = std::fs::remove_file(&file);
    // Each word as it comes, in brackets.
    let command = format!("spawn for word in {words}; do echo \"[$word]\" >> {file}; done");
    lab.rules("", &format!("ALL: ALL: rfc931 2: {command}\n"));
    let outcome = Visit::of(lab).run();
    assert!(!outcome.served());
    (outcome, std::fs::read_to_string(file).unwrap_or_default())
}

/// Characters that mean something to a shell, in what an ident server or a name server says (CHANGES 4.3);
/// and what 7.6 still let through: a hyphen in front, a name with a slash or of dots alone.
#[test]
fn bugtraq_percent_expansion_no_name_and_no_user_reaches_the_shell() {
    let lab = open_lab!();
    let trace = format!("{SCRATCH}/owned");
    for hostile in [
        format!("$(touch {trace})"),
        format!("`touch {trace}`"),
        format!("x;touch {trace};"),
        format!("x|touch {trace}"),
        format!("x&touch${{IFS}}{trace}&"),
        format!("x\ttouch\t{trace}"),
        format!("'\";touch {trace}#"),
        "-oQ/tmp".to_owned(),
        "-rf /".to_owned(),
        "..".to_owned(),
        "../../etc/passwd".to_owned(),
        "%c%a%%n".to_owned(),
        "%n%s%n".to_owned(),
        "\\$(id)".to_owned(),
        "*".to_owned(),
        "~root".to_owned(),
        "\u{1}\u{1b}[2J\u{ff}".to_owned(),
    ] {
        let _server = ident_says("127.0.0.2", &format!("<R> , <L> : USERID : UNIX : {hostile}\r\n"));
        let name = hostile.replace(['\t', ' ', '#'], "_");
        lab::write("/etc/hosts", format!("127.0.0.2 {name}\n"));
        let (outcome, text) = spawned(&lab, "%u %n %h %c %s");
        let words: Vec<&str> = text.lines().collect();
        let user = words[0].trim_start_matches('[').trim_end_matches(']');
        assert_eq!(words.len(), 5, "{hostile:?}: {text}");
        let passes = |byte: u8| byte.is_ascii_alphanumeric() || b"!@%-_=+:,.".contains(&byte);
        assert!(user.bytes().all(passes) && !user.starts_with('-'), "{hostile:?}: {user}");
        assert!(![".", ".."].contains(&user), "{hostile:?}");
        assert_eq!(words[1..3], ["[paranoid]", "[127.0.0.2]"], "{hostile:?}");
        assert!(words[3].ends_with("@127.0.0.2]"), "{hostile:?}: {}", words[3]);
        assert!(!Path::new(&trace).exists(), "{hostile:?} was executed");
        for line in &outcome.log {
            assert!(line.message.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
        }
    }
    // The same from a name server, with what no hosts(5) can hold; the library may keep it to itself.
    let labels: [&'static [u8]; 5] = [b"$(id)", b"new\nline", b"a b", b"-oQ/tmp", &[b'x'; 63]];
    for label in labels {
        let _server = serve(move |_, kind| match kind {
            12 => Reply::Pointer(vec![label.to_vec(), vec![b'y'; 63], vec![b'z'; 63], vec![b'w'; 61]]),
            _ => Reply::Address([127, 0, 0, 2]),
        });
        let (_, text) = spawned(&lab, "%h %n");
        assert!(["[127.0.0.2]\n[unknown]\n", "[127.0.0.2]\n[paranoid]\n"].contains(&text.as_str()), "{text}");
    }
}

/// A visit that is let in whatever the ident server says; it has two seconds to say it.
fn with_ident(lab: &Lab) -> Outcome {
    lab.rules("ALL: ALL: rfc931 2\n", "ALL: ALL\n");
    let outcome = Visit::of(lab).run();
    assert!(outcome.served(), "{:#?}", outcome.log);
    assert!(outcome.took < BOUND, "{:?}", outcome.took);
    assert_eq!(outcome.log.len(), 1, "{:#?}", outcome.log);
    outcome
}

const NOBODY_KNOWN: [&str; 1] = ["connect from 127.0.0.2 (127.0.0.2)"];

/// cfingerd gave what an ident server said to syslog(3) for a format.
#[test]
fn cve_2001_0609_a_format_in_an_ident_reply_is_text() {
    let lab = open_lab!();
    for user in ["%n%n%n%n", "%s%s%s%s%s%s%s%s", "%5000000d", "%1$*2$d", "%%", "%m"] {
        let _server = ident_says("127.0.0.2", &format!("<R> , <L> : USERID : UNIX : {user}\r\n"));
        let expected = format!("connect from {user}@127.0.0.2 (127.0.0.2)");
        assert_eq!(with_ident(&lab).messages(), [expected]);
    }
}

/// cfingerd and xinetd had less room for a user than an ident server has time to say.
#[test]
fn cve_2013_1049_cve_2001_0763_long_ident_replies_are_cut() {
    let lab = open_lab!();
    for length in [1, 126, 127, 128, 129, 255, 256, 511, 512, 513, 1023, 4096, 70_000] {
        let user = "u".repeat(length);
        let _server = ident_says("127.0.0.2", &format!("<R> , <L> : USERID : UNIX : {user}\r\n"));
        let outcome = with_ident(&lab);
        let client = outcome.messages()[0].strip_prefix("connect from ").unwrap();
        let said = client.strip_suffix(" (127.0.0.2)").unwrap();
        let said = said.strip_suffix("@127.0.0.2").unwrap_or("");
        assert!(said.len() <= 127 && user.starts_with(said), "{length}: {said}");
        assert!(length > 127 || said == user, "{length}: {said}");
    }
}

/// xinetd took a length of zero or less for none at all.
#[test]
fn cve_2001_0825_ident_replies_of_no_length_name_nobody() {
    let lab = open_lab!();
    for reply in [
        "",
        "\n",
        "\r\n",
        "\0",
        "<R> , <L> : USERID : UNIX :\r\n",
        "<R> , <L> : USERID : UNIX : \r\n",
        "<R> , <L> : USERID : UNIX : \0joe\r\n",
        "<R> , <L> : USERID : : joe\r\n",
        "<R> , <L> : USERID :\r\n",
        "<R> , <L> :\r\n",
        " , : USERID : UNIX : joe\r\n",
        "-1 , -1 : USERID : UNIX : joe\r\n",
        "99999999999 , <L> : USERID : UNIX : joe\r\n",
    ] {
        let _server = ident_says("127.0.0.2", reply);
        let outcome = with_ident(&lab);
        let message = outcome.messages()[0];
        // A system without a name has users all the same, and a byte of no meaning is a byte.
        let expected = match reply {
            _ if reply.contains(": : joe") => "connect from joe@127.0.0.2 (127.0.0.2)",
            _ if reply.contains("\0joe") => "connect from \\000joe@127.0.0.2 (127.0.0.2)",
            _ => NOBODY_KNOWN[0],
        };
        assert_eq!(message, expected, "{reply:?}");
    }
}

/// xinetd looked for the end of the reply for ever when there was none. The question comes from the address
/// that was called, or it is about somebody else's connection.
#[test]
fn xinetd_2_1_6_a_reply_without_its_end_ends() {
    let lab = open_lab!();
    let (_ident, questions) = ident("127.0.0.2", |mut stream, client, server| {
        let _ = write!(stream, "{client} , {server} : USERID : UNIX : joe");
        // Half of it closes, half of it stays open without another word.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read(&mut [0; 16]);
    });
    assert_eq!(with_ident(&lab).messages(), NOBODY_KNOWN);
    drop(_ident);
    let open = ident("127.0.0.2", |mut stream, client, server| {
        let _ = write!(stream, "{client} , {server} : USERID : UNIX : joe");
        let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
        let _ = stream.read(&mut [0; 16]);
    });
    assert_eq!(with_ident(&lab).messages(), NOBODY_KNOWN);
    drop(open);
    assert_eq!(questions.lock().unwrap().len(), 1);
    // Called at another of its addresses, the wrapper asks from that.
    let (_ident, questions) = ident_says("127.0.0.2", "<R> , <L> : USERID : UNIX : joe\r\n");
    lab.rules("ALL: joe@ALL\n", "ALL: ALL\n");
    assert!(Visit::of(&lab).to("127.0.0.9").run().served());
    assert_eq!(questions.lock().unwrap()[0].1, "127.0.0.9");
}

/// A host that answers no call at all: its door is full, and the kernel drops what comes.
#[test]
fn xinetd_2_1_6_a_host_that_swallows_the_question_costs_no_more_than_said() {
    let lab = open_lab!();
    let door = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 2], 113));
    bind(door.as_raw_fd(), &SockaddrStorage::from(address)).unwrap();
    listen(&door, Backlog::new(0).unwrap()).unwrap();
    let filler = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
    let held: Vec<_> = (0..16).map_while(|_| filler().ok()).collect();
    assert!(held.len() < 16, "the door is not full");
    assert_eq!(with_ident(&lab).messages(), NOBODY_KNOWN);
    // A rule that wants a user does not get one.
    lab.rules("ALL: KNOWN@ALL\n", "ALL: ALL\n");
    let outcome = Visit::of(&lab).run();
    assert_eq!((outcome.served(), outcome.exit), (false, 0));
    drop(held);
}
