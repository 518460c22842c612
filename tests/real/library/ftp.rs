//! vsftpd without a super-server. It asks the library for each connection in a process that it forked
//! and did not execute anew, and says 421 to whom the rules refuse. It logs to facility ftp: an error is
//! 91.

use std::process::{Command, Stdio};

use super::{knock, of_the_verdict};
use crate::lab::launch::run;
use crate::lab::library::{Library, is_the_original};
use crate::lab::{self, Running, SCRATCH};

const DOOR: &str = "127.0.0.1:21";
const REFUSED: &str = "421 Service not available.\r\n";
const IPV4: &str = "listen=YES\nlisten_ipv6=NO";
/// One socket for clients of both kinds.
const BOTH: &str = "listen=NO\nlisten_ipv6=YES";

fn vsftpd(library: &Library, doors: &str) -> Running {
    lab::need("/usr/sbin/vsftpd", "vsftpd");
    lab::need("/usr/bin/curl", "curl");
    lab::write(&format!("{SCRATCH}/ftp/file"), "a file that is served\n");
    std::fs::create_dir_all("/run/vsftpd/empty").unwrap();
    let configuration = format!(
        "{doors}\nbackground=NO\ntcp_wrappers=YES\nanonymous_enable=YES\n\
         anon_root={SCRATCH}/ftp\nsecure_chroot_dir=/run/vsftpd/empty\nsyslog_enable=YES\n"
    );
    let path = format!("{SCRATCH}/vsftpd.conf");
    lab::write(&path, configuration);
    let mut command = Command::new("/usr/sbin/vsftpd");
    let running = Running::start(command.arg(&path).env_clear().stdin(Stdio::null()));
    library.wait_for_port(if doors == IPV4 { "tcp" } else { "tcp6" }, 21);
    library.expect_mapped(running.pid());
    running
}

fn fetch(from: &str) -> (i32, String, String) {
    let arguments =
        ["-sS", "--max-time", "20", "--disable-eprt", "--interface", from, "ftp://127.0.0.1/file"];
    run(Command::new("/usr/bin/curl").args(arguments))
}

#[test]
fn a_file_is_fetched_or_not() {
    let library = open_library!();
    let _vsftpd = vsftpd(&library, IPV4);
    library.rules("vsftpd: 127.0.0.2\n", "ALL: ALL\n");
    let (status, out, err) = fetch("127.0.0.2");
    assert_eq!((status, out.as_str()), (0, "a file that is served\n"), "{err}");
    let log = library.log_until("OK DOWNLOAD");
    assert_eq!(of_the_verdict("vsftpd", &log), []);
    let (status, out, _) = fetch("127.0.0.3");
    assert!(status != 0 && out.is_empty(), "{status}: {out}");
    assert_eq!(knock("127.0.0.3", DOOR), REFUSED);

    library.rules("vsftpd: 127.0.0.3\n", "ALL: ALL\n");
    assert_eq!(fetch("127.0.0.3").1, "a file that is served\n");
    assert_eq!(knock("127.0.0.2", DOOR), REFUSED);
}

/// A refusal is a line of nobody's here; what is wrong with a rule is the library's, under the name and
/// the facility that vsftpd chose.
#[test]
fn what_is_wrong_with_a_rule_is_logged_as_ftp() {
    let library = open_library!();
    let _vsftpd = vsftpd(&library, IPV4);
    library.rules("", "vsftpd: ALL: twsit /bin/echo 421 no\n");
    assert_eq!(knock("127.0.0.3", DOOR), REFUSED);
    let log = library.log_until("error: ");
    let error = "error: /etc/hosts.deny, line 1: bad option name: \"twsit\"";
    assert_eq!(of_the_verdict("vsftpd", &log), [(91, error)]);
}

/// A trap, the name of the client, and words for him before vsftpd has its say.
#[test]
fn a_trap_and_a_banner() {
    let library = open_library!();
    let _vsftpd = vsftpd(&library, IPV4);
    lab::write("/etc/hosts", "127.0.0.1 localhost\n127.0.0.3 bad.example.com\n");
    lab::write(&format!("{SCRATCH}/banners/vsftpd"), "421-%n is not welcome\n");
    let spawned = format!("{SCRATCH}/spawned");
    let options = format!("spawn echo %d %n %A >> {spawned}: banners {SCRATCH}/banners");
    library.rules("", &format!("vsftpd: .example.com: {options}\n"));
    assert_eq!(knock("127.0.0.3", DOOR), format!("421-bad.example.com is not welcome\r\n{REFUSED}"));
    assert_eq!(std::fs::read_to_string(&spawned).unwrap(), "vsftpd bad.example.com 127.0.0.1\n");
    assert_eq!(fetch("127.0.0.2").1, "a file that is served\n");
    assert_eq!(std::fs::read_to_string(&spawned).unwrap().lines().count(), 1);
}

/// An IPv4 client of an IPv6 socket is known by the address that he has, whatever the socket calls it.
#[test]
fn a_socket_for_both_kinds_of_addresses() {
    let library = open_library!();
    let _vsftpd = vsftpd(&library, BOTH);
    library.rules("vsftpd: 127.0.0.2, [::1]\n", "ALL: ALL\n");
    assert_eq!(fetch("127.0.0.2").1, "a file that is served\n");
    assert_eq!(knock("127.0.0.3", DOOR), REFUSED);
    library.rules("", "vsftpd: 127.0.0.0/255.0.0.0\n");
    assert_eq!(knock("127.0.0.3", DOOR), REFUSED);
    library.rules("", "vsftpd: [::1]\n");
    assert_eq!(knock("::1", "[::1]:21"), REFUSED);
    assert_eq!(fetch("127.0.0.3").1, "a file that is served\n");
}

/// vsftpd reaps children whenever one ends; the library's own do not get lost to it.
#[test]
fn a_program_is_asked() {
    let library = open_library!();
    let _vsftpd = vsftpd(&library, IPV4);
    library.rules("vsftpd: ALL: aclexec test %a = 127.0.0.2\n", "ALL: ALL\n");
    for _ in 0..5 {
        assert_eq!(fetch("127.0.0.2").1, "a file that is served\n");
        assert_eq!(knock("127.0.0.3", DOOR), REFUSED);
        let log = library.log_until("aclexec returned 1");
        assert_eq!(of_the_verdict("vsftpd", &log), [(94, "aclexec returned 1")]);
    }
}

/// Of a list of a hundred thousand, no more than the line about a client is read for him, if it has been
/// compiled.
#[test]
fn a_compiled_list() {
    let compiler = std::fs::read(env!("CARGO_BIN_EXE_tcpdcompile")).unwrap();
    let library = open_library!();
    if is_the_original() {
        return;
    }
    lab::need("/usr/bin/strace", "strace");
    lab::install("/usr/sbin/tcpdcompile", &compiler, 0o755);
    lab::place::tmpfs("/var/lib", "mode=0755");
    let others = (0..100_000_u32).map(|n| format!("ALL: {}\n", std::net::Ipv4Addr::from(0x0a00_0000 + n)));
    library.rules("", &others.chain(["ALL: 127.0.0.3\n".to_owned()]).collect::<String>());
    let (status, out, err) = run(&mut Command::new("/usr/sbin/tcpdcompile"));
    assert_eq!(status, 0, "{out}{err}");
    let vsftpd = vsftpd(&library, IPV4);
    let trace = format!("{SCRATCH}/trace");
    let mut strace = Command::new("/usr/bin/strace");
    strace.args(["-f", "-y", "-o", &trace, "-e", "trace=read,pread64", "-p", &vsftpd.pid().to_string()]);
    let _strace = Running::start(strace.stdin(Stdio::null()).stderr(Stdio::null()));
    let status = || std::fs::read_to_string(format!("/proc/{}/status", vsftpd.pid())).unwrap();
    assert!(lab::patiently(|| !status().contains("\nTracerPid:\t0\n")));
    assert_eq!(knock("127.0.0.3", DOOR), REFUSED);
    let seen = std::fs::read_to_string(&trace).unwrap();
    let reads = |file| seen.lines().filter(move |line| line.contains(file)).collect::<Vec<_>>();
    assert!(!reads("</var/lib/tcpd/rules.img>").is_empty(), "{seen}");
    let [line] = reads("</etc/hosts.deny>")[..] else { panic!("{seen}") };
    assert!(line.ends_with(" = 15") && line.contains("ALL: 127.0.0.3"), "{line}");
    assert_eq!(fetch("127.0.0.2").1, "a file that is served\n");

    // Changed, and in force.
    library.rules("vsftpd: 127.0.0.3\n", "ALL: ALL\n");
    assert_eq!(fetch("127.0.0.3").1, "a file that is served\n");
    assert_eq!(knock("127.0.0.2", DOOR), REFUSED);
}
