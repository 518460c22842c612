//! Does `tcpd --listen` accept, count and hand on as it says, on real sockets? Everything here needs
//! neither root nor packages; systemd's own program is in `tests/real`.

#[path = "common/running.rs"]
mod running;

use running::{Listening, PATIENCE, Scratch, TCPD, connect_from, rules};
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// As the first process of a container the listener meets orphans that are not its own; they, and
/// children that die of unusual signals, leave the count right.
#[test]
fn a_child_that_dies_of_a_realtime_signal_is_counted() {
    let scratch = Scratch::new();
    let options = [rules(&scratch, "", ""), vec!["--max-connections".into(), "1".into()]].concat();
    let listening = Listening::start(&options, &["/bin/sh", "-c", "echo served; kill -40 $$"]);
    for visit in 0..3 {
        assert_eq!(listening.greeting(), "served\n", "visit {visit}");
    }
}

#[test]
fn the_listener_serves_and_obeys_new_rules_at_once() {
    let scratch = Scratch::new();
    let mut listening = Listening::start(&rules(&scratch, "", ""), &["/bin/echo", "served"]);
    assert_eq!(listening.greeting(), "served\n");
    assert_eq!(listening.line(), "connect from 127.0.0.1 (127.0.0.1)");
    scratch.file("deny", "echo: 127.\n");
    assert_eq!(listening.greeting(), "");
    assert_eq!(listening.line(), "refused connect from 127.0.0.1 (127.0.0.1)");
    scratch.file("deny", "echo: 127.: twist echo trapped\n");
    assert_eq!(listening.greeting(), "trapped\n");
}

#[test]
fn a_stopped_listener_leaves_its_children_alone() {
    for signal in ["-TERM", "-INT"] {
        let scratch = Scratch::new();
        let mut listening = Listening::start(&rules(&scratch, "", ""), &["/bin/cat"]);
        let mut client = listening.connect();
        client.write_all(b"one\n").expect("sends");
        let mut lines = BufReader::new(client.try_clone().expect("a descriptor")).lines();
        assert_eq!(lines.next().expect("echoed").expect("reads"), "one");
        listening.signal(signal);
        assert!(listening.child.wait().expect("ends").success());
        assert!(TcpStream::connect(listening.address).is_err(), "nobody listens");
        client.write_all(b"two\n").expect("sends");
        assert_eq!(lines.next().expect("echoed").expect("reads"), "two", "the child goes on");
    }
}

/// Behind a door that a child held open nobody would listen, and no next listener could.
#[test]
fn a_child_that_still_decides_holds_no_door_open() {
    let scratch = Scratch::new();
    let options = rules(&scratch, "ALL: ALL: spawn sleep 60\n", "");
    let mut listening = Listening::start(&options, &["/bin/cat"]);
    let begun = Instant::now();
    let client = listening.connect();
    std::thread::sleep(Duration::from_millis(500));
    listening.signal("-TERM");
    assert!(listening.child.wait().expect("ends").success());
    assert!(TcpListener::bind(listening.address).is_ok(), "the door is free");
    assert!(begun.elapsed() < PATIENCE);
    drop(client);
}

#[test]
fn no_more_are_served_at_once_than_was_said() {
    let scratch = Scratch::new();
    let options = [rules(&scratch, "", ""), vec!["--max-connections".into(), "1".into()]].concat();
    let listening = Listening::start(&options, &["/bin/cat"]);
    let mut first = listening.connect();
    first.write_all(b"x\n").expect("sends");
    assert_eq!(first.read(&mut [0; 10]).expect("echoed"), 2);
    let mut second = listening.connect();
    second.write_all(b"y\n").expect("sends");
    second.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket");
    assert!(second.read(&mut [0; 10]).is_err(), "it waits");
    drop(first);
    second.set_read_timeout(Some(PATIENCE)).expect("a socket");
    assert_eq!(second.read(&mut [0; 10]).expect("echoed"), 2, "its turn came");
}

fn is_echoed(client: &mut (impl Read + Write)) -> bool {
    client.write_all(b"x").is_ok() && client.read(&mut [0; 1]).is_ok_and(|length| length == 1)
}

/// Closed unserved; by a reset, if it had said something.
fn is_closed(client: &mut impl Read) -> bool {
    !matches!(client.read(&mut [0; 1]), Ok(1..))
}

fn with(options: &[&str], more: Vec<OsString>) -> Vec<OsString> {
    more.into_iter().chain(options.iter().map(OsString::from)).collect()
}

#[test]
fn one_client_has_no_more_than_its_share() {
    let scratch = Scratch::new();
    let options = with(&["--max-per-client", "2"], rules(&scratch, "", ""));
    let mut listening = Listening::start(&options, &["/bin/cat"]);
    let at = listening.address;
    let mut served = [[127, 0, 0, 1], [127, 0, 0, 1], [127, 0, 0, 2]].map(|from| connect_from(from, at));
    for client in &mut served {
        assert!(is_echoed(client));
    }
    for _ in 0..3 {
        assert!(is_closed(&mut connect_from([127, 0, 0, 1], at)), "the third of one client");
    }
    assert!(is_echoed(&mut connect_from([127, 0, 0, 2], at)), "the second of another");
    drop(served);
    let begun = Instant::now();
    while !is_echoed(&mut connect_from([127, 0, 0, 1], at)) {
        assert!(begun.elapsed() < PATIENCE, "the places are free");
    }
    listening.signal("-TERM");
    let lines: Vec<_> =
        std::iter::repeat_with(|| listening.line()).take_while(|line| !line.is_empty()).collect();
    let closed: Vec<_> = lines.iter().filter(|line| line.starts_with("warning")).collect();
    assert_eq!(closed, ["warning: closed a connection from 127.0.0.1: 127.0.0.1 has 2 already"], "{lines:?}");
}

/// tcpd as a service manager starts it: with these sockets on descriptors 3 and 4, and with variables
/// that name them and the process.
fn activated(three: impl Into<OwnedFd>, four: impl Into<OwnedFd>, variables: &str) -> Command {
    let script = format!("exec 3<&0 4<&1 0</dev/null 1>/dev/null; export {variables}; exec \"$@\"");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script, "sh", TCPD, "--log", "stderr", "--listen", "systemd"]).env("KEPT", "yes");
    command.stdin(three.into()).stdout(four.into());
    command
}

const BOTH: &str = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=one:two LISTEN_PIDFDID=7";

/// Shows its environment, and descriptors where ours are in the listener.
const LEFT: &str = "env; for n in 3 4 5 6 7 8 9; do test ! -e /proc/$$/fd/$n || echo descriptor $n; done";

fn said_by(mut connection: impl Read) -> String {
    let mut said = String::new();
    connection.read_to_string(&mut said).expect("served");
    said
}

#[test]
fn sockets_of_a_service_manager_are_served() {
    let scratch = Scratch::new();
    let tcp = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let handed = tcp.local_addr().expect("bound");
    let path = scratch.path("door");
    let local = UnixListener::bind(&path).expect("binds");
    let mut command = activated(tcp, local, BOTH);
    command.args(["--listen", "127.0.0.1:0"]).args(rules(&scratch, "", "")).arg("--");
    command.args(["/bin/sh", "-c", LEFT]);
    let mut listening = Listening::run(&mut command);
    assert_eq!(listening.bound(), handed.to_string());
    assert_eq!(listening.bound(), path.display().to_string());
    let own: SocketAddr = listening.bound().parse().expect("an address");

    let spawned = scratch.path("spawned");
    for allow in [String::new(), format!("ALL: ALL: spawn env > {}: setenv CALLER %a\n", spawned.display())] {
        scratch.file("allow", &allow);
        let mut check = |said: String, caller: &str| {
            assert!(said.contains("KEPT=yes\n") && !said.contains("LISTEN_"), "{said}");
            assert!(!said.contains("descriptor"), "a socket of ours is left behind: {said}");
            assert_eq!(said.contains(&format!("CALLER={caller}\n")), !allow.is_empty(), "{said}");
            let trap = fs::read_to_string(&spawned).unwrap_or_default();
            assert!(trap.is_empty() == allow.is_empty() && !trap.contains("LISTEN_"), "{trap}");
            assert_eq!(listening.line(), format!("connect from {caller} ({caller})"));
        };
        for address in [handed, own] {
            check(said_by(connect_from([127, 0, 0, 1], address)), "127.0.0.1");
        }
        check(said_by(UnixStream::connect(&path).expect("connects")), "localhost");
    }
}

/// A door that is shut by whoever else holds it does not hold up the others; with the last one it ends.
#[test]
fn a_dead_door_is_left_alone() {
    let scratch = Scratch::new();
    let doors = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("loopback"));
    let [one, two] = doors.each_ref().map(|door| door.try_clone().expect("a descriptor"));
    let mut command = activated(one, two, "LISTEN_PID=$$ LISTEN_FDS=2");
    command.args(rules(&scratch, "", "")).args(["--", "/bin/echo", "served"]);
    let mut listening = Listening::run(&mut command);
    let [one, two] = [(); 2].map(|()| listening.bound().parse::<SocketAddr>().expect("an address"));
    drop(command);
    let shut = |door: &TcpListener| {
        nix::sys::socket::shutdown(door.as_raw_fd(), nix::sys::socket::Shutdown::Both).expect("shuts");
    };
    shut(&doors[0]);
    assert_eq!(listening.line(), "error: cannot accept: Invalid argument");
    assert!(TcpStream::connect(one).is_err());
    for _ in 0..20 {
        assert_eq!(said_by(connect_from([127, 0, 0, 1], two)), "served\n");
        assert_eq!(listening.line(), "connect from 127.0.0.1 (127.0.0.1)");
    }
    shut(&doors[1]);
    assert_eq!(listening.line(), "error: cannot accept: Invalid argument");
    assert_eq!(listening.child.wait().expect("ends").code(), Some(1));
}

/// Whoever is gone before it is its turn costs a line and no process.
#[test]
fn a_client_that_hung_up_is_named() {
    let scratch = Scratch::new();
    let mut listening = Listening::start(&rules(&scratch, "", ""), &["/bin/echo", "served"]);
    listening.signal("-STOP");
    let client = connect_from([127, 0, 0, 2], listening.address);
    let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(&client, nix::sys::socket::sockopt::Linger, &at_once).expect("a socket");
    drop(client);
    listening.signal("-CONT");
    let own = listening.child.id();
    assert_eq!(
        listening.signed_line(),
        (own, "warning: 127.0.0.2 hung up before it was answered".to_owned())
    );
    assert_eq!(listening.greeting(), "served\n");
}

/// At a Unix-domain socket the user is the client.
#[test]
fn one_user_has_no_more_than_his_share() {
    let scratch = Scratch::new();
    let path = scratch.path("door");
    let door = || UnixListener::bind(&path).expect("binds");
    let null = fs::File::open("/dev/null").expect("null");
    let mut command = activated(door(), null, "LISTEN_PID=$$ LISTEN_FDS=1");
    command.args(["--max-per-client", "1"]).args(rules(&scratch, "", "")).args(["--", "/bin/cat"]);
    let mut listening = Listening::run(&mut command);
    assert_eq!(listening.bound(), path.display().to_string());
    let mut first = UnixStream::connect(&path).expect("connects");
    assert!(is_echoed(&mut first));
    assert!(is_closed(&mut UnixStream::connect(&path).expect("connects")));
    assert_eq!(listening.line(), "connect from localhost (localhost)");
    let user = nix::unistd::getuid();
    let expected = format!("warning: closed a connection from localhost: user {user} has 1 already");
    assert_eq!(listening.line(), expected);
}

#[test]
fn what_is_no_listening_socket_is_an_error() {
    let scratch = Scratch::new();
    let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").expect("loopback"));
    let connection = || OwnedFd::from(UnixStream::pair().expect("a pair").0);
    let datagrams = || OwnedFd::from(UdpSocket::bind("127.0.0.1:0").expect("loopback"));
    let null = || OwnedFd::from(fs::File::open("/dev/null").expect("null"));
    let pid = "cannot take sockets from systemd: LISTEN_PID is not set";
    let other = "cannot take sockets from systemd: they are for process 1, and this is {pid}";
    for (four, variables, words) in [
        (tcp(), "A=b", pid),
        (tcp(), "LISTEN_FDS=2", pid),
        (tcp(), "LISTEN_PID=1 LISTEN_FDS=2", other),
        (tcp(), "LISTEN_PID=$$", "cannot take sockets from systemd: LISTEN_FDS is not set"),
        (tcp(), "LISTEN_PID=$$ LISTEN_FDS=3", "cannot take from systemd descriptor 5: Bad file descriptor"),
        (null(), BOTH, "cannot listen on descriptor 4: Socket operation on non-socket"),
        (datagrams(), BOTH, "cannot listen on descriptor 4: not a stream socket"),
        (
            connection(),
            BOTH,
            "cannot listen on descriptor 4: not a listening socket (with Accept=yes it is a connection)",
        ),
    ] {
        let mut command = activated(tcp(), four, variables);
        command.args(rules(&scratch, "", "")).args(["--", "/bin/echo", "served"]);
        let mut listening = Listening::run(&mut command);
        let words = words.replace("{pid}", &listening.child.id().to_string());
        assert_eq!(listening.line(), format!("error: {words}"));
        assert_eq!(listening.child.wait().expect("ends").code(), Some(1), "{variables}");
    }
}
