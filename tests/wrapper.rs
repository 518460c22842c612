//! Does the program do it, on real sockets? Everything here needs neither root nor packages: rule files
//! are named on the command line, the log goes to standard error, connections come from loopback.
//!
//! What needs root, inetd, syslogd, DNS or other people's servers is in `tests/real`.

#[path = "common/running.rs"]
mod running;

use running::{PATIENCE, Scratch, TCPD, log_of, rules, run};
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs tcpd once on one end of a connection. What the client got, and what was logged.
fn once(options: &[OsString], server: &[&str]) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    client.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let (connection, _) = listener.accept().expect("accepts");
    client.write_all(b"ping\n").expect("sends");
    client.shutdown(std::net::Shutdown::Write).expect("a socket");
    let output = run(connection.into(), options, server);
    let mut got = Vec::new();
    // A refusal may come as a reset, because the ping was not read.
    let _ = client.read_to_end(&mut got);
    (String::from_utf8_lossy(&got).into_owned(), log_of(&output))
}

#[test]
fn a_client_is_served_refused_and_trapped() {
    let scratch = Scratch::new();
    let echo = &["/bin/sh", "-c", "read x; echo served $x"];
    let (got, log) = once(&rules(&scratch, "sh: 127.\n", "ALL: ALL\n"), echo);
    assert_eq!((got.as_str(), log.as_str()), ("served ping\n", "connect from 127.0.0.1 (127.0.0.1)"));
    let (got, log) = once(&rules(&scratch, "", "ALL: ALL\n"), echo);
    assert_eq!((got.as_str(), log.as_str()), ("", "refused connect from 127.0.0.1 (127.0.0.1)"));
    let mark = scratch.path("mark");
    let deny = format!("ALL: ALL: spawn echo %d %a > {}: twist echo go away, %a\n", mark.display());
    let (got, log) = once(&rules(&scratch, "", &deny), echo);
    assert_eq!(
        (got.as_str(), log.as_str()),
        ("go away, 127.0.0.1\n", "twist 127.0.0.1 to echo go away, 127.0.0.1")
    );
    assert_eq!(fs::read_to_string(mark).expect("the trap was sprung"), "sh 127.0.0.1\n");
}

#[test]
fn options_reach_the_server() {
    let scratch = Scratch::new();
    let allow = "ALL: ALL: setenv CALLER %a: umask 077: banners {{DIR}}\n"
        .replace("{{DIR}}", &scratch.0.display().to_string());
    scratch.file("named", "220 %d for %c\nbye\n");
    let options = [rules(&scratch, &allow, ""), vec!["--daemon".into(), "named".into()]].concat();
    let (got, log) = once(&options, &["/bin/sh", "-c", "echo $0 $1 $CALLER; umask", "-x", "y"]);
    assert_eq!(got, "220 named for 127.0.0.1\r\nbye\r\n-x y 127.0.0.1\n0077\n");
    assert_eq!(log, "connect from 127.0.0.1 (127.0.0.1)");
}

#[test]
fn a_server_that_cannot_be_executed_is_said_and_refused() {
    let scratch = Scratch::new();
    let (got, log) = once(&rules(&scratch, "", ""), &["/nonexistent/server"]);
    assert_eq!(got, "");
    assert!(log.ends_with("error: cannot execute /nonexistent/server: No such file or directory"), "{log}");
    let (got, log) = once(&rules(&scratch, "", ""), &[TCPD]);
    assert_eq!(got, "");
    assert!(log.starts_with("error: tcpd is recursively calling itself\nrefused connect"), "{log}");
}

/// hosts.deny may be anything; what cannot be read refuses, and nothing hangs.
#[test]
fn tables_that_are_no_files_refuse() {
    let scratch = Scratch::new();
    let options = rules(&scratch, "", "");
    let deny = scratch.path("deny");
    for (kind, reason) in [
        ("directory", "Is a directory"),
        ("fifo", "Not a regular file"),
        ("loop", "Too many levels of symbolic links"),
    ] {
        let _ = fs::remove_file(&deny);
        match kind {
            "directory" => fs::create_dir(&deny).expect("mkdir"),
            "fifo" => assert!(Command::new("mkfifo").arg(&deny).status().expect("mkfifo").success()),
            _ => std::os::unix::fs::symlink(&deny, &deny).expect("symlink"),
        }
        let (got, log) = once(&options, &["/bin/echo", "served"]);
        assert_eq!(got, "", "{kind}");
        let expected = format!(
            "warning: cannot open {}: {reason}\nrefused connect from 127.0.0.1 (127.0.0.1)",
            deny.display()
        );
        assert_eq!(log, expected, "{kind}");
        if kind == "directory" {
            fs::remove_dir(&deny).expect("rmdir");
        }
    }
    fs::remove_file(&deny).expect("rm");
    assert_eq!(once(&options, &["/bin/echo", "served"]).0, "served\n", "no file, no rules");
}

#[test]
fn large_and_strange_tables() {
    let scratch = Scratch::new();
    let served = |allow: &str, deny: &str| once(&rules(&scratch, allow, deny), &["/bin/echo", "served"]);
    let many = format!("ALL: {}127.0.0.1\n", "10.9.8.7 ".repeat(60_000));
    assert_eq!(served(&many, "ALL: ALL\n").0, "served\n", "60,000 patterns in one rule");
    let over = format!("# long\nALL: ALL {}\nALL: ALL\n", "x".repeat(100_000_000));
    let (got, log) = served("", &over);
    assert_eq!(got, "");
    assert!(log.contains(", line 1: missing newline or line too long\n"), "{log}");
    assert!(log.contains(", line 1: all the subsequent rules will be ignored\n"), "{log}");
    let words = scratch.file("words", format!("{}127.0.0.1\n", "10.9.8.7\n".repeat(1_000_000)));
    let deny = format!("ALL: {}\n", words.display());
    assert_eq!(served("", &deny).0, "", "a million words in a pattern file");
    let itself = scratch.path("itself");
    fs::write(&itself, format!("10.9.8.7 {0} {0}\n", itself.display())).expect("writes");
    let rule = format!("ALL: {}\n", itself.display());
    let (got, log) = served(&rule, "ALL: ALL\n");
    assert_eq!(got, "", "what cannot be read grants nothing");
    assert!(log.contains(": it includes itself\n") && log.contains("can be read in two ways"), "{log}");
    assert_eq!(served("", &rule).0, "", "and refuses");
    let junk: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let options = rules(&scratch, "", "ALL: ALL\n");
    scratch.file("allow", [junk, b"\nALL: 127.0.0.1\n".to_vec()].concat());
    assert_eq!(once(&options, &["/bin/echo", "served"]).0, "served\n", "nothing valid around junk is lost");
}

#[test]
fn settings_are_obeyed_and_bad_ones_refuse() {
    let scratch = Scratch::new();
    let options = rules(&scratch, "", "");
    let with = |text: &str| {
        scratch.file("tcpd.conf", text);
        once(&options, &["/bin/echo", "served"])
    };
    assert_eq!(with("# nothing\n").0, "served\n");
    let (got, log) = with("paranoid perhaps\n");
    assert_eq!(got, "");
    assert!(log.contains("tcpd.conf, line 1: bad value of paranoid: \"perhaps\" in column 10"), "{log}");
    assert!(log.ends_with("refused connect from 127.0.0.1 (127.0.0.1)"), "{log}");
    let (got, log) = with("refuse-delay never\ncolour blue\n");
    assert_eq!((got.as_str(), log.lines().count()), ("served\n", 3), "{log}");
    assert_eq!(with("colour blue\nstrict yes\n").0, "");
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(scratch.path("tcpd.conf"), fs::Permissions::from_mode(0o666)).expect("chmod");
    let (got, log) = with("# anybody may write here\n");
    assert_eq!(got, "");
    assert!(log.contains("not trusted"), "{log}");
}

#[test]
fn a_settings_file_that_was_named_must_be_there() {
    let scratch = Scratch::new();
    let mut options = rules(&scratch, "", "");
    let config = options.last_mut().expect("the last option");
    *config = scratch.path("nowhere").into();
    let (got, log) = once(&options, &["/bin/echo", "served"]);
    assert_eq!(got, "");
    assert!(log.contains("nowhere, line 0: cannot be read: No such file or directory"), "{log}");
}

/// A log that nobody reads, or that is gone, changes no verdict and holds nobody.
#[test]
fn a_log_without_a_reader_changes_nothing() {
    let scratch = Scratch::new();
    let options = rules(&scratch, "", "");
    for full in [false, true] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let reader = if full {
            let flood = writer.try_clone().expect("a descriptor");
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "dd if=/dev/zero bs=4096 count=16 oflag=nonblock 2>/dev/null"]).stdout(flood);
            let _ = command.status().expect("fills the pipe");
            Some(reader)
        } else {
            None
        };
        let (mut client, server) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let copy = OwnedFd::from(server.try_clone().expect("a descriptor"));
        let mut command = Command::new(TCPD);
        command.arg0("tcpd").args(["--log", "stderr"]).args(&options).args(["--", "/bin/echo", "served"]);
        let status = command.stdin(OwnedFd::from(server)).stdout(copy).stderr(writer).status().expect("runs");
        drop(command);
        assert!(status.success(), "{full}: {status}");
        let mut got = String::new();
        client.read_to_string(&mut got).expect("closed");
        assert_eq!(got, "served\n", "{full}");
        drop(reader);
    }
}

#[test]
fn strict_reads_tables_to_their_end() {
    let scratch = Scratch::new();
    let options = rules(&scratch, "ALL: ALL\nALL: 10.: twsit x\n", "");
    assert_eq!(once(&options, &["/bin/echo", "served"]).0, "served\n");
    scratch.file("tcpd.conf", "strict yes\n");
    let (got, log) = once(&options, &["/bin/echo", "served"]);
    assert_eq!(got, "");
    assert!(log.contains("line 2: bad option name: \"twsit\""), "{log}");
}

/// Nothing of ours is ever written to a descriptor that is the client.
#[test]
fn the_client_reads_nothing_of_ours() {
    if Path::new("/dev/log").exists() {
        // What the client must not read goes to syslog; this machine's log is not ours to write to.
        let _ =
            std::io::stderr().write_all(b"SKIPPED the_client_reads_nothing_of_ours: there is a syslogd\n");
        return;
    }
    let (mut client, server) = std::os::unix::net::UnixStream::pair().expect("a pair");
    client.set_read_timeout(Some(PATIENCE)).expect("a socket");
    for arguments in [
        &["--no-such-option"][..],
        &["--help"],
        &["--config", "/etc/passwd/x", "/bin/true"],
        &["--log", "stderr", "/nonexistent"],
    ] {
        let fd = || OwnedFd::from(server.try_clone().expect("a descriptor"));
        let mut command = Command::new(TCPD);
        command.arg0("tcpd").args(arguments).stdin(fd()).stdout(fd()).stderr(fd());
        let status = command.status().expect("runs");
        assert_eq!(
            status.code(),
            Some(match arguments {
                ["--no-such-option"] => 2,
                _ => 0,
            }),
            "{arguments:?}"
        );
    }
    drop(server);
    let mut got = Vec::new();
    client.read_to_end(&mut got).expect("closed");
    assert_eq!(String::from_utf8_lossy(&got), "");
}

#[test]
fn help_and_usage_go_to_a_person() {
    let tcpd = |arguments: &[&str]| {
        Command::new(TCPD).arg0("tcpd").args(arguments).stdin(Stdio::null()).output().expect("runs")
    };
    let help = tcpd(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("ExecStart=/usr/sbin/tcpd"));
    let wrong = tcpd(&["--alow", "x", "/y"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("--alow"));
    assert_eq!(tcpd(&[]).status.code(), Some(2));
}

#[test]
fn without_a_connection_nobody_is_served() {
    let scratch = Scratch::new();
    let options = rules(&scratch, "", "");
    let null = fs::File::open("/dev/null").expect("null");
    let output = Command::new(TCPD)
        .arg0("tcpd")
        .args(["--log", "stderr"])
        .args(&options)
        .args(["/bin/echo", "served"])
        .stdin(null)
        .output()
        .expect("runs");
    assert_eq!(output.stdout, b"");
    let expected = "warning: can't get client address: Socket operation on non-socket\ngetpeername: Socket operation on non-socket";
    assert_eq!(log_of(&output), expected);
}

/// `wait` services: the sender of the first datagram is the client; a refusal eats exactly that one.
#[test]
fn datagrams() {
    let scratch = Scratch::new();
    for (deny, left) in [("", 2), ("ALL: ALL\n", 1)] {
        let server = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let client = UdpSocket::bind("127.0.0.1:0").expect("binds");
        for text in ["one", "two"] {
            client.send_to(text.as_bytes(), server.local_addr().expect("bound")).expect("sends");
        }
        let copy = OwnedFd::from(server.try_clone().expect("a descriptor"));
        let output = run(copy, &rules(&scratch, "", deny), &["/bin/true"]);
        let verdict = if deny.is_empty() { "connect" } else { "refused connect" };
        assert_eq!(log_of(&output), format!("{verdict} from 127.0.0.1 (127.0.0.1)"));
        server.set_nonblocking(true).expect("a socket");
        let queued = std::iter::from_fn(|| server.recv(&mut [0; 10]).ok()).count();
        assert_eq!(queued, left, "{deny:?}");
    }
}

#[test]
fn a_unix_socket_is_called_localhost() {
    let scratch = Scratch::new();
    let (mut client, server) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let output =
        run(server.into(), &rules(&scratch, "ALL: localhost\n", "ALL: ALL\n"), &["/bin/echo", "served"]);
    let mut got = String::new();
    client.read_to_string(&mut got).expect("closed");
    assert_eq!((got.as_str(), log_of(&output).as_str()), ("served\n", "connect from localhost (localhost)"));
}

/// A rule file that is replaced over and over is read whole each time: old or new, never neither.
#[test]
fn rule_files_may_be_replaced_under_a_live_wrapper() {
    let scratch = Scratch::new();
    let options = rules(&scratch, "", "");
    let deny = scratch.path("deny");
    let until = Instant::now() + Duration::from_millis(700);
    let writer = std::thread::spawn(move || {
        while Instant::now() < until {
            let next = deny.with_extension("tmp");
            fs::write(&next, "# new\nALL: 10.\nALL: 127.\n").expect("writes");
            fs::rename(&next, &deny).expect("renames");
        }
    });
    std::thread::sleep(Duration::from_millis(50));
    while Instant::now() < until - Duration::from_millis(100) {
        assert_eq!(once(&options, &["/bin/echo", "served"]).0, "");
    }
    writer.join().expect("wrote");
}
