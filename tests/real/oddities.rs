//! Is everything that can be wrong with descriptor 0, argv, the tables or the client a clear
//! line in the log and no service, and never a hang?

use std::fs;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::lab::launch::{connection, put_ip_options, read_to_the_end};
use crate::lab::{self, Lab, Line, Running, SCRATCH, Visit};

const DENY: &str = "/etc/hosts.deny";
const ALLOW: &str = "/etc/hosts.allow";

fn pair() -> (std::net::TcpStream, std::net::TcpStream) {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    connection(address("127.0.0.2"), address("127.0.0.1"))
}

/// Starts the wrapper on a descriptor that is no ordinary connection.
fn start_on(lab: &Lab, descriptor: OwnedFd) -> (i32, Vec<Line>) {
    let _ = fs::remove_file(format!("{SCRATCH}/saw"));
    lab.log();
    let exit = Visit::of(lab).start(descriptor).wait();
    (exit, lab.log())
}

#[test]
fn named_unix_sockets_are_local() {
    let lab = open_lab!();
    lab.rules("ALL: localhost\n", "ALL: ALL\n");
    let path = format!("{SCRATCH}/socket");
    let door = UnixListener::bind(&path).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    let (served, _) = door.accept().unwrap();
    let (exit, log) = start_on(&lab, served.into());
    assert_eq!(exit, 7);
    assert_eq!(log[0].message, "connect from localhost (localhost)");
    drop(client);
}

/// A `wait` service of a stream type: there is no client yet whose address could be known.
#[test]
fn listening_socket_as_descriptor_0() {
    let lab = open_lab!();
    lab.rules("ALL: 127.\n", "ALL: ALL\n");
    let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (_, log) = start_on(&lab, door.into());
    assert!(lab.saw().is_none(), "the server was started on a listening socket");
    assert!(!log.is_empty());
}

/// Starts tcpd by a closure that runs between fork and exec.
fn start_raw(arrange: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static) -> i32 {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("/usr/sbin/tcpd");
    command.arg0("in.tw-probe").stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null());
    // SAFETY: the closures below make async-signal-safe calls only.
    unsafe {
        command.pre_exec(arrange);
    }
    Running::start(&mut command).wait()
}

#[test]
fn descriptor_0_closed() {
    let lab = open_lab!();
    lab.rules("", "");
    start_raw(|| {
        // SAFETY: closing a descriptor of the child.
        unsafe { libc::close(0) };
        Ok(())
    });
    assert!(lab.saw().is_none());
    let log = lab.log();
    assert!(log.iter().any(|line| line.priority & 7 <= 4), "{log:#?}");
}

#[test]
fn all_descriptors_closed() {
    let lab = open_lab!();
    lab.rules("", "");
    start_raw(|| {
        for descriptor in 0..3 {
            // SAFETY: closing a descriptor of the child.
            unsafe { libc::close(descriptor) };
        }
        Ok(())
    });
    assert!(lab.saw().is_none());
    assert!(!lab.log().is_empty());
}

/// Linux makes an empty argv into one empty string; older systems do not.
#[test]
fn empty_argv() {
    use std::os::fd::AsRawFd;
    let lab = open_lab!();
    lab.rules("", "");
    let (client, served) = pair();
    let descriptor = served.as_raw_fd();
    let exit = start_raw(move || {
        let nothing = [std::ptr::null::<libc::c_char>()];
        // SAFETY: the path is a C string, the two arrays end in a null pointer.
        unsafe {
            for target in 0..3 {
                libc::dup2(descriptor, target);
            }
            libc::execve(c"/usr/sbin/tcpd".as_ptr(), nothing.as_ptr(), nothing.as_ptr());
        }
        Err(std::io::Error::last_os_error())
    });
    drop(served);
    assert!(exit >= 0, "ended by signal {exit}");
    assert_eq!(read_to_the_end(client), b"");
    assert!(!lab.log().is_empty());
}

/// A scanner connects and resets before anybody looks: accepted, but there is no peer any more.
#[test]
fn a_client_that_has_gone() {
    let lab = open_lab!();
    lab.rules("ALL: 127.0.0.2\n", "ALL: ALL\n");
    let (client, served) = pair();
    let abrupt = libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(&client, nix::sys::socket::sockopt::Linger, &abrupt).unwrap();
    drop(client);
    let gone = lab::patiently(|| served.peer_addr().is_err());
    assert!(gone, "the reset did not arrive");
    let (exit, log) = start_on(&lab, served.into());
    assert_eq!(exit, 0);
    assert!(lab.saw().is_none(), "a server was started for nobody");
    let said = log.iter().any(|line| line.priority & 7 <= 4);
    assert!(said, "no clear line: {log:#?}");
}

/// M3: read from the first byte, also for an IPv4 client of an IPv6 socket.
#[test]
fn source_routes_are_refused_on_every_kind_of_socket() {
    let lab = open_lab!();
    lab.rules("ALL: ALL: spawn touch /run/tw-e2e/spawned\n", "");
    let loose = [0x83, 7, 4, 127, 0, 0, 1, 0];
    let late = [1, 1, 1, 1, 0x89, 7, 4, 127, 0, 0, 1, 0];
    for options in [&loose[..], &late] {
        for server in ["127.0.0.1", "::"] {
            let outcome = Visit::of(&lab).to(server).with_ip_options(options).run();
            assert!(outcome.saw.is_none(), "{server}: served");
            assert_eq!((outcome.received.as_str(), outcome.exit), ("", 0));
            let [line] = &outcome.log[..] else {
                panic!("{server}: {:#?}", outcome.log);
            };
            assert_eq!(line.priority, 28);
            assert!(line.message.starts_with("refused connect from "), "{line:?}");
            assert!(line.message.ends_with("127.0.0.2 with IP source routing options"), "{line:?}");
        }
    }
    assert!(!std::path::Path::new("/run/tw-e2e/spawned").exists());
}

/// A record of the route, and nothing at all: the server gets the connection without them.
#[test]
fn options_that_route_nothing_are_taken_off() {
    let lab = open_lab!();
    lab.rules("ALL: 127.0.0.2\n", "ALL: ALL\n");
    for options in [&[7, 7, 4, 0, 0, 0, 0, 0][..], &[1, 1, 1, 1]] {
        let (client, served) = pair();
        put_ip_options(&served, options);
        let ours = served.try_clone().unwrap();
        assert!(!ip_options(&ours).is_empty());
        let (exit, log) = start_on(&lab, served.into());
        assert_eq!(exit, 7, "{log:#?}");
        assert_eq!(ip_options(&ours), b"");
        drop((ours, client));
        let said = log.iter().map(|line| line.message.as_str()).collect::<Vec<_>>();
        assert!(said[0].contains(" with IP options (ignored): 0"), "{said:?}");
        assert_eq!(said[1..], ["connect from 127.0.0.2 (127.0.0.2)"]);
    }
}

/// The options that a socket sends.
fn ip_options(socket: &std::net::TcpStream) -> Vec<u8> {
    use std::os::fd::AsRawFd;
    let mut bytes = [0_u8; 40];
    let mut length = bytes.len() as libc::socklen_t;
    let (options, size) = (bytes.as_mut_ptr().cast(), &raw mut length);
    // SAFETY: the call writes at most `length` bytes to `bytes`.
    let answer =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_OPTIONS, options, size) };
    assert_eq!(answer, 0);
    bytes[..length as usize].to_vec()
}

/// What stands in place of a table, and how it got there.
fn replace(path: &str, kind: &str) {
    let _ = fs::remove_file(path);
    match kind {
        "fifo" => nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap(),
        "directory" => fs::create_dir(path).unwrap(),
        "loop" => symlink(path, path).unwrap(),
        "socket" => drop(UnixListener::bind(path).unwrap()),
        "device" => symlink("/dev/zero", path).unwrap(),
        "null" => symlink("/dev/null", path).unwrap(),
        "dangling" => symlink("/nonexistent", path).unwrap(),
        "missing" => {}
        other => panic!("{other}"),
    }
}

fn restore(path: &str) {
    let _ = fs::remove_dir(path);
    let _ = fs::remove_file(path);
}

/// M9: hosts.deny that cannot be read closes the door, and nothing waits for a writer.
#[test]
fn hosts_deny_that_is_no_file_refuses() {
    let lab = open_lab!();
    for kind in ["fifo", "directory", "loop", "socket", "device"] {
        lab.rules("ALL: 127.0.0.3\n", "");
        replace(DENY, kind);
        let outcome = Visit::of(&lab).run();
        assert!(!outcome.served(), "{kind}");
        assert!(outcome.took < Duration::from_secs(4), "{kind}: {:?}", outcome.took);
        let said = outcome.messages()[0];
        assert!(said.starts_with("warning: cannot open /etc/hosts.deny"), "{kind}: {said}");
        assert_eq!(outcome.log[0].priority, 27);
        let last = outcome.messages().pop();
        assert_eq!(last, Some("refused connect from 127.0.0.2 (127.0.0.2)"), "{kind}");
        assert!(Visit::of(&lab).from("127.0.0.3").run().served(), "{kind}: hosts.allow decides");
        restore(DENY);
    }
}

#[test]
fn hosts_deny_that_is_empty_or_missing_lets_in() {
    let lab = open_lab!();
    for kind in ["null", "dangling", "missing"] {
        lab.rules("", "");
        replace(DENY, kind);
        let outcome = Visit::of(&lab).run();
        assert!(outcome.served(), "{kind}");
        assert_eq!(outcome.messages(), ["connect from 127.0.0.2 (127.0.0.2)"]);
        restore(DENY);
    }
}

#[test]
fn hosts_allow_that_is_no_file_allows_nobody() {
    let lab = open_lab!();
    for kind in ["fifo", "directory", "loop", "socket", "device"] {
        lab.rules("", "ALL: 127.0.0.2\n");
        replace(ALLOW, kind);
        let outcome = Visit::of(&lab).run();
        assert!(!outcome.served(), "{kind}");
        assert!(outcome.messages()[0].starts_with("warning: cannot open /etc/hosts.allow"));
        assert!(Visit::of(&lab).from("127.0.0.3").run().served(), "{kind}");
        restore(ALLOW);
    }
}

#[test]
fn tables_that_the_caller_may_not_read() {
    let lab = open_lab!();
    lab.rules("", "");
    lab::set_mode(DENY, 0);
    let outcome = Visit::of(&lab).running_as(65534, 65534).run();
    assert!(!outcome.served());
    let refused = "refused connect from 127.0.0.2 (127.0.0.2)";
    let cannot = "warning: cannot open /etc/hosts.deny: Permission denied";
    assert_eq!(outcome.messages(), [cannot, refused]);
    lab.rules("", "");
    lab::set_mode(DENY, 0o644);
    lab::set_mode(ALLOW, 0);
    let outcome = Visit::of(&lab).running_as(65534, 65534).run();
    assert!(outcome.served());
    lab::set_mode(ALLOW, 0o644);
}

/// M20: before any exec, the target must not be the wrapper itself.
#[test]
fn the_wrapper_does_not_start_itself() {
    let lab = open_lab!();
    lab.rules("", "");
    fs::hard_link("/usr/sbin/tcpd", "/usr/sbin/in.looped").unwrap();
    symlink("/usr/sbin/tcpd", "/usr/sbin/in.linked").unwrap();
    for arguments in [
        &["in.looped"][..],
        &["in.linked"],
        &["/usr/sbin/in.looped"],
        &["tcpd", "/usr/sbin/tcpd"],
        &["tcpd", "/usr/sbin/in.looped"],
    ] {
        let outcome = Visit::of(&lab).arguments(arguments).run();
        assert_eq!((outcome.received.as_str(), outcome.exit), ("", 0), "{arguments:?}");
        let said = outcome
            .log
            .iter()
            .any(|line| line.message.contains("tcpd is recursively calling itself") && line.priority == 27);
        assert!(said, "{arguments:?}: {:#?}", outcome.log);
    }
}

/// Out of descriptors or processes: refused or served as the rules say, never a crash and never
/// a word to the client. What cannot be asked must not open the door.
#[test]
fn starved_of_resources() {
    let lab = open_lab!();
    lab::write("/etc/hosts", "127.0.0.2 good.example.com\n");
    lab.rules("", "ALL: 127.0.0.2\n");
    for descriptors in 4..8 {
        let outcome = Visit::of(&lab).with_limit(libc::RLIMIT_NOFILE, descriptors).run();
        assert_eq!((outcome.received.as_str(), outcome.exit), ("", 0), "{descriptors} descriptors");
    }
    for options in ["aclexec true", "user nobody: aclexec true"] {
        lab.rules(&format!("ALL: ALL: {options}\n"), "ALL: ALL\n");
        let visit = Visit::of(&lab).running_as(65534, 65534);
        let outcome = visit.with_limit(libc::RLIMIT_NPROC, 0).run();
        assert_eq!((outcome.received.as_str(), outcome.exit), ("", 0), "{options}");
    }
    for rule in ["ALL: good.example.com", "ALL: KNOWN@ALL", "ALL: ALL: spawn true"] {
        lab.rules(&format!("{rule}\n"), "ALL: ALL\n");
        let visit = Visit::of(&lab).running_as(65534, 65534);
        let outcome = visit.with_limit(libc::RLIMIT_NPROC, 0).run();
        assert!(["", "HELLO FROM DAEMON\n"].contains(&outcome.received.as_str()), "{outcome:?}");
        assert!([0, 7].contains(&outcome.exit), "{rule}: {outcome:#?}");
    }
}

/// Without memory nobody is served, and the client, who is on descriptor 2, too, hears nothing of it: the
/// runtime has words of its own for that.
#[test]
fn memory_that_runs_out_refuses_without_a_word() {
    let lab = open_lab!();
    // So much has to be read for the client, who would be let in.
    let many = "10.9.8.7 ".repeat(100_000);
    lab.rules(&format!("ALL: {many} 127.0.0.2\n"), "");
    assert!(Visit::of(&lab).run().served());
    std::fs::remove_file(format!("{SCRATCH}/saw")).unwrap();
    // One who waits for a greeting.
    let (client, served) = pair();
    Visit::of(&lab).with_limit(libc::RLIMIT_DATA, 1 << 20).start(served.into()).wait();
    assert_eq!(String::from_utf8_lossy(&read_to_the_end(client)), "");
    assert!(lab.saw().is_none(), "the server was started");
}
