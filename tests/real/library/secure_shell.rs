//! sshd as a daemon. It forks and executes itself for each connection, asks the library before it says
//! a word, and lets the library refuse. It logs to its own facility, and refuses with a severity of its
//! own: auth.info, 38. What the library itself complains of is auth.err, 35, or auth.warning, 36.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{exchange, knock, of_the_verdict};
use crate::lab::launch::{connect_from, read_to_the_end};
use crate::lab::library::{Library, is_the_original};
use crate::lab::nameserver::{Reply, serve};
use crate::lab::server::ident_says;
use crate::lab::{Line, Running, SCRATCH, write};
use crate::logins::{furnish_ssh, ssh_from};
use crate::names::dnsmasq;

const DOOR: &str = "127.0.0.1:22";

fn sshd(library: &Library) -> Running {
    furnish_ssh();
    let mut command = Command::new("/usr/sbin/sshd");
    command.args(["-D", "-p", "22", "-f", &format!("{SCRATCH}/sshd_config")]);
    command.env_clear().stdin(Stdio::null()).stderr(Stdio::null());
    let running = Running::start(&mut command);
    library.wait_for_port("tcp", 22);
    library.expect_mapped(running.pid());
    library.log();
    running
}

/// A login that has to work, and what was logged of it.
fn expect_login(library: &Library, from: &str) -> Vec<Line> {
    let (status, out, err) = ssh_from(from, "id -u");
    assert_eq!((status, out.as_str()), (0, "4321\n"), "{from}: {err}");
    let log = library.log_until(&format!("Disconnected from user visitor {from}"));
    let accepted = format!("Accepted publickey for visitor from {from} port ");
    let said = |line: &&Line| line.message.starts_with(&accepted);
    let line = log.iter().find(said).unwrap_or_else(|| panic!("{from}: {log:#?}"));
    assert_eq!((line.tag.as_str(), line.priority), ("sshd", 38));
    log
}

/// A client who has to be refused before sshd has said a word, and the lines of that.
fn expect_refusal(library: &Library, from: &str, lines: &[(u32, &str)]) {
    assert_eq!(knock(from, DOOR), "", "{from}");
    let log = library.log_until("refused connect from");
    assert_eq!(of_the_verdict("sshd", &log), lines);
}

#[test]
fn logins_are_served_and_refused_by_rules_that_change() {
    let library = open_library!();
    let _sshd = sshd(&library);
    library.rules("sshd: 127.0.0.2\n", "ALL: ALL\n");
    assert_eq!(of_the_verdict("sshd", &expect_login(&library, "127.0.0.2")), []);
    expect_refusal(&library, "127.0.0.3", &[(38, "refused connect from 127.0.0.3 (127.0.0.3)")]);
    let (status, out, _) = ssh_from("127.0.0.3", "id -u");
    assert_eq!((status, out.as_str()), (255, ""));

    library.rules("sshd: 127.0.0.3\n", "ALL: ALL\n");
    expect_login(&library, "127.0.0.3");
    expect_refusal(&library, "127.0.0.2", &[(38, "refused connect from 127.0.0.2 (127.0.0.2)")]);
    library.rules("", "sshd: ALL EXCEPT 127.0.0.2\n");
    expect_login(&library, "127.0.0.2");
}

#[test]
fn names_count_if_they_agree() {
    let library = open_library!();
    let _dnsmasq = dnsmasq(&library);
    let _sshd = sshd(&library);
    library.rules("sshd: good.example.com, victim.example.com\n", "ALL: ALL\n");
    expect_login(&library, "127.0.0.2");
    let lies = "warning: /etc/hosts.allow, line 1: host name/address mismatch: \
        127.0.0.5 != victim.example.com";
    let refused = "refused connect from 127.0.0.5 (127.0.0.5)";
    expect_refusal(&library, "127.0.0.5", &[(35, lies), (38, refused)]);
    library.rules("", "sshd: .example.com\n");
    let refused = "refused connect from good.example.com (127.0.0.2)";
    expect_refusal(&library, "127.0.0.2", &[(38, refused)]);
    library.rules("", "sshd: PARANOID\n");
    expect_login(&library, "127.0.0.2");
    assert_eq!(knock("127.0.0.5", DOOR), "");
    write("/etc/netgroup", "trusted (good.example.com,,)\n");
    library.rules("sshd: @trusted\n", "ALL: ALL\n");
    expect_login(&library, "127.0.0.2");
    assert_eq!(knock("127.0.0.3", DOOR), "");
}

/// The settings of tcpd.conf(5) hold here, too.
#[test]
fn settings_of_this_machine() {
    let library = open_library!();
    if is_the_original() {
        return;
    }
    let _dnsmasq = dnsmasq(&library);
    let _sshd = sshd(&library);
    write("/etc/tcpd.conf", "paranoid yes\n");
    expect_login(&library, "127.0.0.2");
    assert_eq!(knock("127.0.0.5", DOOR), "");
    library.log_until("refused connect from 127.0.0.5 (127.0.0.5)");
    write("/etc/tcpd.conf", "resolve never\n");
    library.rules("", "sshd: good.example.com\n");
    expect_login(&library, "127.0.0.2");
}

/// sshd asks libwrap before the time that a login may take begins to run: who owns a reverse zone that never
/// answers held its places for as long as the resolver liked. They come back when the budget is over.
#[test]
fn sshd_stall_a_silent_name_server_gives_the_places_back() {
    let library = open_library!();
    if is_the_original() {
        return;
    }
    let _sshd = sshd(&library);
    // What sshd itself wants to know of this machine it has asked by now.
    let _silent = serve(|_, _| Reply::Silence);
    write("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:15 attempts:3\n");
    library.rules("sshd: 127.0.0.2, .example.com\n", "ALL: ALL\n");
    let begun = Instant::now();
    let callers: Vec<_> =
        (0..8).map(|_| connect_from("127.0.0.3".parse().unwrap(), DOOR.parse().unwrap()).unwrap()).collect();
    // Numbers are not held up by names.
    expect_login(&library, "127.0.0.2");
    for caller in callers {
        assert_eq!(read_to_the_end(caller), b"");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    library.log_until("refused connect from 127.0.0.3 (127.0.0.3)");
}

/// What ident says of a user decides, and stands in the log.
#[test]
fn users_of_other_machines() {
    let library = open_library!();
    let _sshd = sshd(&library);
    let (_ident, questions) = ident_says("127.0.0.2", "<R>, <L> : USERID : UNIX : joe\r\n");
    library.rules("sshd: joe@127.0.0.2, joe@127.0.0.3\n", "ALL: ALL\n");
    expect_login(&library, "127.0.0.2");
    assert_eq!(questions.lock().unwrap().len(), 1);
    let refused = "refused connect from 127.0.0.3 (127.0.0.3)";
    expect_refusal(&library, "127.0.0.3", &[(38, refused)]);
    library.rules("", "sshd: joe@127.0.0.2\n");
    let refused = "refused connect from joe@127.0.0.2 (127.0.0.2)";
    expect_refusal(&library, "127.0.0.2", &[(38, refused)]);
}

#[test]
fn ipv6() {
    let library = open_library!();
    let _sshd = sshd(&library);
    library.rules("sshd: [::1]\n", "ALL: ALL\n");
    let greeting = exchange("::1", "[::1]:22".parse().unwrap(), b"", 8);
    assert_eq!(greeting, b"SSH-2.0-");
    library.log_until("kex_exchange_identification");
    library.rules("", "sshd: [::]/0\n");
    assert_eq!(knock("::1", "[::1]:22"), "");
    let log = library.log_until("refused connect");
    assert_eq!(of_the_verdict("sshd", &log), [(38, "refused connect from ::1 (::1)")]);
    expect_login(&library, "127.0.0.2");
}

/// The command runs once, in the process that serves the client, and knows it; and that process, which
/// sshd executed anew, has our library.
#[test]
fn a_trap_is_sprung_once() {
    let library = open_library!();
    let _sshd = sshd(&library);
    let (spawned, maps) = (format!("{SCRATCH}/spawned"), format!("{SCRATCH}/maps"));
    write("/etc/hosts", "127.0.0.1 localhost\n127.0.0.2 good.example.com\n127.0.0.3 bad.example.com\n");
    let command = format!("spawn cat /proc/%p/maps > {maps}; echo %d %a %A %p %n %h %c %s %u >> {spawned}");
    let sprung = || std::fs::read_to_string(&spawned).unwrap_or_default();
    let process = |log: &[Line], words: &str| {
        let line = log.iter().find(|line| line.message.starts_with(words));
        line.and_then(|line| line.pid).unwrap_or_else(|| panic!("{words}: {log:#?}"))
    };

    library.rules(&format!("sshd: 127.0.0.2: {command}\n"), "ALL: ALL\n");
    let log = expect_login(&library, "127.0.0.2");
    let pid = process(&log, "Accepted publickey");
    let name = "good.example.com";
    let line = format!("sshd 127.0.0.2 127.0.0.1 {pid} {name} {name} {name} sshd@127.0.0.1 unknown\n");
    assert_eq!(sprung(), line);
    library.expect_in_maps(&std::fs::read_to_string(&maps).unwrap());

    std::fs::remove_file(&spawned).unwrap();
    library.rules("", &format!("sshd: 127.0.0.3: {command}\n"));
    assert_eq!(knock("127.0.0.3", DOOR), "");
    let log = library.log_until("refused connect from");
    let pid = process(&log, "refused connect from bad.example.com (127.0.0.3)");
    assert!(sprung().starts_with(&format!("sshd 127.0.0.3 127.0.0.1 {pid} bad.example.com ")));
    assert_eq!(sprung().lines().count(), 1);
    expect_login(&library, "127.0.0.2");
    assert_eq!(sprung().lines().count(), 1);
}

/// Without a facility the rule's severity keeps sshd's own.
#[test]
fn a_rule_chooses_the_severity() {
    let library = open_library!();
    let _sshd = sshd(&library);
    let refused = "refused connect from 127.0.0.3 (127.0.0.3)";
    library.rules("", "sshd: 127.0.0.3: severity local3.notice\n");
    expect_refusal(&library, "127.0.0.3", &[(157, refused)]);
    library.rules("", "sshd: 127.0.0.3: severity alert\n");
    expect_refusal(&library, "127.0.0.3", &[(33, refused)]);
    library.rules("", "sshd: 127.0.0.3\n");
    expect_refusal(&library, "127.0.0.3", &[(38, refused)]);
    library.rules("", "sshd: 127.0.0.3: severity nonsense\n");
    let error = "error: /etc/hosts.deny, line 1: bad syslog facility or severity: \"nonsense\"";
    expect_refusal(&library, "127.0.0.3", &[(35, error), (38, refused)]);
}

#[test]
fn banners_come_before_the_refusal() {
    let library = open_library!();
    let _sshd = sshd(&library);
    write(&format!("{SCRATCH}/banners/sshd"), "%d is closed to %a\nso there\n");
    library.rules("", &format!("sshd: 127.0.0.3: banners {SCRATCH}/banners\n"));
    assert_eq!(knock("127.0.0.3", DOOR), "sshd is closed to 127.0.0.3\r\nso there\r\n");
    library.log_until("refused connect from 127.0.0.3 (127.0.0.3)");
}

/// M1: a library does not take its host's rights. It says so, and the login is the user's own.
#[test]
fn a_rule_with_a_user_changes_nobody() {
    let library = open_library!();
    let _sshd = sshd(&library);
    library.rules("sshd: 127.0.0.2: user nobody\n", "ALL: ALL\n");
    let log = expect_login(&library, "127.0.0.2");
    let said = of_the_verdict("sshd", &log);
    if is_the_original() {
        assert_eq!(said, []);
        return;
    }
    let warning =
        "warning: /etc/hosts.allow, line 1: user and group do nothing inside a program: it stays who it is";
    assert_eq!(said, [(36, warning)]);
    library.rules("sshd: 127.0.0.2: user no-such-user\n", "");
    let error = "error: /etc/hosts.allow, line 1: unknown user: \"no-such-user\"";
    let refused = "refused connect from 127.0.0.2 (127.0.0.2)";
    expect_refusal(&library, "127.0.0.2", &[(35, error), (38, refused)]);
}

/// M2: what a granting rule asks a program must be true. The original went on in hosts.deny, and with
/// nothing there it granted.
#[test]
fn a_program_is_asked() {
    let library = open_library!();
    let _sshd = sshd(&library);
    library.rules("sshd: ALL: aclexec test %a = 127.0.0.2\n", "");
    assert_eq!(of_the_verdict("sshd", &expect_login(&library, "127.0.0.2")), []);
    let refused = "refused connect from 127.0.0.3 (127.0.0.3)";
    if is_the_original() {
        let log = expect_login(&library, "127.0.0.3");
        assert_eq!(of_the_verdict("sshd", &log), [(38, "aclexec returned 1")]);
    } else {
        expect_refusal(&library, "127.0.0.3", &[(38, "aclexec returned 1"), (38, refused)]);
    }
    library.rules("sshd: ALL: aclexec test %a = 127.0.0.2\n", "ALL: ALL\n");
    expect_refusal(&library, "127.0.0.3", &[(38, "aclexec returned 1"), (38, refused)]);
}

/// Each connection is a process of its own, so each is the first that its library is asked about.
#[test]
fn a_decoy_answers_every_time() {
    let library = open_library!();
    let _sshd = sshd(&library);
    library.rules("sshd: 127.0.0.2\n", "sshd: ALL: twist echo \"%d on %A is not for %a\"\n");
    for _ in 0..2 {
        assert_eq!(knock("127.0.0.3", DOOR), "sshd on 127.0.0.1 is not for 127.0.0.3\n");
        let log = library.log_until("twist");
        let line = "twist 127.0.0.3 to echo \"sshd on 127.0.0.1 is not for 127.0.0.3\"";
        assert_eq!(of_the_verdict("sshd", &log), [(38, line)]);
    }
    expect_login(&library, "127.0.0.2");
}
