//! Would the wrapper do again what tcpdmatch says it would?
//!
//! A day of connections goes through the real wrapper under one pair of tables, and its log is kept. The log
//! is replayed under another pair; then the same clients come again under that pair, and what becomes
//! of each is compared with what was said. Names come from /etc/hosts, so that some lines have one and
//! others, where no rule asked, have none.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::lab::{self, Lab, Line, Running, SCRATCH, Visit, install, launch, probe, write};
use crate::logins::furnish_ssh;

const DAEMONS: [&str; 3] = ["in.ftpd", "in.telnetd", "in.fingerd"];

/// Each has a network of its own.
const CLIENTS: [&str; 8] =
    ["127.0.1.2", "127.0.2.2", "127.0.3.2", "127.0.4.2", "127.0.5.2", "127.0.6.2", "127.0.7.2", "::1"];

const HOSTS: &str = "127.0.1.2 one.example.com\n127.0.2.2 two.example.com\n127.0.3.2 three.other.org\n\
    127.0.4.2 four.example.com\n127.0.6.2 liar.example.com\n127.0.9.9 liar.example.com\n\
    ::1 six.example.com\n";

/// The rules of the day, and those under which it is lived again.
const TABLES: [[&str; 4]; 4] = [
    [
        "in.ftpd: .example.com\nin.telnetd: 127.0.1.2 127.0.2.2 [::1]\n",
        "in.fingerd: 127.0.4.0/255.255.255.0: twist /bin/echo nobody\nALL EXCEPT in.fingerd: ALL\n",
        "in.ftpd: .other.org, two.example.com\nALL: 127.0.5.2\n",
        "in.telnetd: 127.0.2.: twist /bin/echo nobody\nALL: ALL\n",
    ],
    [
        "",
        "ALL: KNOWN\n",
        "in.ftpd, in.telnetd: LOCAL, .example.com\nin.fingerd: 127.0.7.2 EXCEPT one.example.com\n",
        "in.fingerd: 127.0.0.0/255.255.0.0\nALL: .org\n",
    ],
    [
        "ALL: ALL\n",
        "",
        "ALL: 127.0.1.0/255.255.255.0 127.0.2.2\nin.ftpd@127.0.0.1: ALL\n",
        "in.telnetd: KNOWN\nin.fingerd: .example.com: aclexec /bin/false\nin.fingerd: ALL EXCEPT 127.0.3.2\n",
    ],
    [
        "ALL: UNKNOWN\nin.fingerd: PARANOID\n",
        "ALL: one.example.com: twist /bin/echo nobody\nin.telnetd: ALL\n",
        "ALL: six.example.com, three.other.org\nin.telnetd: 127.0.4.0/22\n",
        "ALL: UNKNOWN: twist /bin/echo nobody\nALL: PARANOID, .example.com\n",
    ],
];

/// One client, and what became of him.
struct Call {
    daemon: &'static str,
    client: &'static str,
    verdict: &'static str,
    log: String,
}

fn call(lab: &Lab, daemon: &'static str, client: &'static str) -> Call {
    let server = if client.contains(':') { "::1" } else { "127.0.0.1" };
    let outcome = Visit::of(lab).arguments(&[daemon]).from(client).to(server).run();
    let is_trapped = outcome.messages().iter().any(|message| message.starts_with("twist "));
    let verdict = match (outcome.served(), is_trapped) {
        (true, _) => "granted",
        (false, true) => "delegated",
        (false, false) => "denied",
    };
    let log = outcome.log.iter().map(as_in_a_file).collect();
    Call { daemon, client, verdict, log }
}

/// A line as a syslogd would keep it.
fn as_in_a_file(line: &Line) -> String {
    let pid = line.pid.map(|pid| format!("[{pid}]")).unwrap_or_default();
    format!("{} box {}{pid}: {}\n", line.stamp, line.tag, line.message)
}

/// A day: every client calls every service.
fn day(lab: &Lab, allow: &str, deny: &str) -> Vec<Call> {
    lab.rules(allow, deny);
    let pairs = DAEMONS.iter().flat_map(|daemon| CLIENTS.iter().map(move |client| (*daemon, *client)));
    pairs.map(|(daemon, client)| call(lab, daemon, client)).collect()
}

fn replay(log: &str) -> Value {
    write("/run/day.log", log);
    let mut command = Command::new("/usr/sbin/tcpdmatch");
    command.args(["--replay", "--format", "json", "/run/day.log"]).env_remove("SSH_CONNECTION");
    let (status, stdout, stderr) = launch::run(&mut command);
    assert_eq!(stderr, "");
    let object: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
    assert_eq!(status, i32::from(object["flips"] != 0), "{stdout}");
    object
}

#[test]
fn what_flips_is_what_the_wrapper_does() {
    let tcpdmatch = fs::read(env!("CARGO_BIN_EXE_tcpdmatch")).unwrap();
    let lab = open_lab!();
    // What the original differs in is not what this is about.
    if lab::is_the_original() {
        return;
    }
    install("/usr/sbin/tcpdmatch", &tcpdmatch, 0o755);
    DAEMONS.iter().for_each(|daemon| install(&format!("/usr/sbin/{daemon}"), probe(), 0o755));
    write("/etc/hosts", HOSTS);
    write("/etc/host.conf", "multi on\n");
    let (mut flips, mut undecided) = (0, 0);
    for [allow, deny, new_allow, new_deny] in TABLES {
        let before = day(&lab, allow, deny);
        let after = day(&lab, new_allow, new_deny);
        for (was, is) in before.iter().zip(&after) {
            // The new tables are the ones in force.
            let said = replay(&was.log);
            let what =
                format!("{} to {} under\n{new_allow}-\n{new_deny}{}{said}", was.client, was.daemon, was.log);
            assert_eq!(
                (&said["lines"]["connections"], &said["lines"]["unread"]),
                (&1.into(), &0.into()),
                "{what}"
            );
            if let Some(open) = said["open"].get(0) {
                assert_eq!(open["was"], was.verdict, "{what}");
                let possible = open["possible"].as_array().unwrap();
                assert!(possible.iter().any(|verdict| verdict == is.verdict), "{}: {what}", is.verdict);
                undecided += 1;
            } else if let Some(group) = said["groups"].get(0) {
                assert_eq!(
                    (&group["was"], &group["becomes"]),
                    (&was.verdict.into(), &is.verdict.into()),
                    "{what}"
                );
                assert_eq!(group["daemon"], was.daemon, "{what}");
                flips += 1;
            } else {
                assert_eq!((&said["unchanged"], was.verdict), (&1.into(), is.verdict), "{what}");
            }
        }
        let whole = replay(&before.iter().map(|call| call.log.as_str()).collect::<String>());
        assert_eq!(whole["lines"]["connections"], before.len(), "{whole}");
    }
    // It is no test of nothing.
    assert!(flips >= 20 && undecided >= 15, "{flips} flips, {undecided} undecided");
}

/// Programs that ask libwrap themselves have words of their own: each is called by one whom it serves and one
/// whom it refuses, and under the rules by which it did so nothing flips.
#[test]
fn the_words_of_other_programs_are_understood() {
    let tcpdmatch = fs::read(env!("CARGO_BIN_EXE_tcpdmatch")).unwrap();
    let lab = open_lab!();
    install("/usr/sbin/tcpdmatch", &tcpdmatch, 0o755);
    lab.rules("sshd, vsftpd: 127.0.0.2\n", "ALL: ALL\n");
    let served_and_refused = |log: &str| {
        let said = replay(log);
        assert_eq!(
            (&said["lines"]["connections"], &said["lines"]["unread"]),
            (&2.into(), &0.into()),
            "{log}{said}"
        );
        assert_eq!(said["unchanged"], 2, "{log}{said}");
        lab.rules("", "");
        let said = replay(log);
        assert_eq!((&said["unchanged"], &said["flips"]), (&1.into(), &1.into()), "{log}{said}");
        assert_eq!(said["groups"][0]["was"], "denied", "{log}{said}");
        lab.rules("sshd, vsftpd: 127.0.0.2\n", "ALL: ALL\n");
    };

    furnish_ssh();
    let more = format!(
        "{}ListenAddress 127.0.0.1\nLogLevel VERBOSE\n",
        fs::read_to_string(format!("{SCRATCH}/sshd_config")).unwrap()
    );
    write(&format!("{SCRATCH}/sshd_config"), more);
    let mut sshd = Command::new("/usr/sbin/sshd");
    sshd.args(["-D", "-f", &format!("{SCRATCH}/sshd_config")]).stdin(Stdio::null());
    let _sshd = Running::start(&mut sshd);
    lab.wait_for_port("tcp", 22);
    lab.log();
    for from in ["127.0.0.2", "127.0.0.3"] {
        let key = format!("{SCRATCH}/userkey");
        let mut ssh = Command::new("/usr/bin/ssh");
        ssh.args([
            "-F",
            "/dev/null",
            "-b",
            from,
            "-i",
            &key,
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=20",
        ]);
        ssh.args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "visitor@127.0.0.1",
            "true",
        ]);
        launch::run(&mut ssh);
    }
    let log: String = lab.log_until("refused connect from 127.0.0.3").iter().map(as_in_a_file).collect();
    assert!(log.contains("Connection from 127.0.0.2") && log.contains("Accepted publickey"), "{log}");
    served_and_refused(&log);

    lab::need("/usr/sbin/vsftpd", "vsftpd");
    lab::need("/usr/bin/curl", "curl");
    fs::create_dir_all("/run/vsftpd/empty").unwrap();
    let configuration = "listen=YES\nlisten_ipv6=NO\nlisten_port=2121\nbackground=NO\ntcp_wrappers=YES\n\
        anonymous_enable=YES\nxferlog_enable=YES\nxferlog_std_format=NO\nvsftpd_log_file=/run/vsftpd.log\n\
        secure_chroot_dir=/run/vsftpd/empty\n";
    write(&format!("{SCRATCH}/vsftpd.conf"), configuration);
    let mut vsftpd = Command::new("/usr/sbin/vsftpd");
    vsftpd.arg(format!("{SCRATCH}/vsftpd.conf")).stdin(Stdio::null());
    let _vsftpd = Running::start(&mut vsftpd);
    lab.wait_for_port("tcp", 2121);
    for from in ["127.0.0.2", "127.0.0.3"] {
        let arguments = ["-sS", "--max-time", "20", "--interface", from, "ftp://127.0.0.1:2121/"];
        launch::run(Command::new("/usr/bin/curl").args(arguments));
    }
    let log = fs::read_to_string("/run/vsftpd.log").unwrap();
    served_and_refused(&log);
}
