//! Do the units do what their comments say, under a systemd that runs?

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::files::unit;
use crate::lab::launch::{connect_from, run};
use crate::lab::{self, SCRATCH};
use crate::manager::Manager;

fn connect(from: &str, to: &str) -> TcpStream {
    let client = connect_from(from.parse().unwrap(), to.parse().unwrap());
    let client = client.unwrap_or_else(|error| panic!("{to}: {error}"));
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    client
}

/// What a client hears until the end.
fn call(from: &str, to: &str) -> String {
    let mut client = connect(from, to);
    let mut heard = Vec::new();
    let _ = client.shutdown(Shutdown::Write);
    // Whoever is hung up on with words unread hears of a reset, too.
    let _ = client.read_to_end(&mut heard);
    String::from_utf8_lossy(&heard).into_owned()
}

/// The part of a comment that begins with these words, up to an empty line of it.
fn commented(name: &str, begins: &str) -> String {
    let lines = unit(name).lines().map(|line| line.strip_prefix('#').unwrap_or("").trim_start());
    let part = lines.skip_while(|line| !line.starts_with(begins)).take_while(|line| !line.is_empty());
    let part = part.map(|line| format!("{line}\n")).collect::<String>();
    assert!(!part.is_empty(), "{name}: no {begins}");
    part
}

/// The commands of tcpd@.socket, one after the other.
#[test]
fn a_port_is_guarded_in_three_commands() {
    let checker = fs::read(env!("CARGO_BIN_EXE_tcpdchk")).unwrap();
    let Some((lab, manager)) = Manager::open() else { return };
    lab::install("/usr/sbin/in.fingerd", lab::probe(), 0o755);
    lab.rules("in.fingerd: 127.0.0.2, [::1]\n", "ALL: ALL\n");
    let commands = ["systemctl edit ", "systemctl enable "].map(|begins| commented("tcpd@.socket", begins));
    assert_eq!(commands[0], "systemctl edit tcpd@79.service\n");
    manager.edit("tcpd@79.service", &commented("tcpd@.socket", "[Service]"));
    let enable = commands[1].lines().next().unwrap().strip_prefix("systemctl ").unwrap();
    manager.systemctl(enable);
    assert_eq!(manager.show("tcpd@79.service", "ActiveState"), "inactive");

    let heard = call("127.0.0.2", "127.0.0.1:79");
    assert_eq!(heard, "HELLO FROM DAEMON\n", "{:#?}", manager.everything());
    assert_eq!(call("127.0.0.3", "127.0.0.1:79"), "");
    assert_eq!(call("::1", "[::1]:79"), "HELLO FROM DAEMON\n");
    manager.expect_journal("tcpd", 6, "listening on [::]:79");
    manager.expect_journal("in.fingerd", 6, "connect from ::ffff:127.0.0.2 (::ffff:127.0.0.2)");
    manager.expect_journal("in.fingerd", 4, "refused connect from ::ffff:127.0.0.3 (::ffff:127.0.0.3)");
    // The last of the commands finds it.
    let check = commented("tcpd@.socket", "systemctl enable ");
    let check = check.lines().nth(1).unwrap().strip_prefix("tcpdchk ").unwrap();
    lab::install("/usr/sbin/tcpdchk", &checker, 0o755);
    let (_, found, _) = run(Command::new("/usr/sbin/tcpdchk").args([check, "--format", "json"]));
    let found: Value = serde_json::from_str(&found).unwrap();
    let service = found["services"].as_array().unwrap().iter().find(|one| one["daemon"] == "in.fingerd");
    let way = &service.unwrap()["ways"][0];
    assert_eq!((&way["sockets"][0], &way["notes"]), (&"tcpd@79.socket".into(), &json!([])), "{way:#}");

    let report = lab.saw().unwrap();
    // The user of the drop-in, whom systemd gives no way to become another.
    assert!(report.contains("\nids uid=1 euid=1 "), "{report}");
    assert!(!report.contains("env LISTEN_"), "{report}");

    // An address in place of a port is a door of its own.
    manager.edit("tcpd@127.0.0.1:80.service", &commented("tcpd@.socket", "[Service]"));
    manager.systemctl("start tcpd@127.0.0.1:80.socket");
    assert_eq!(call("127.0.0.2", "127.0.0.1:80"), "HELLO FROM DAEMON\n");
    manager.expect_journal("in.fingerd", 6, "connect from 127.0.0.2 (127.0.0.2)");
    let mut escape = Command::new("systemd-escape");
    let (_, name, _) = run(escape.args(["--template=tcpd@.socket", "[::1]:81"]));
    let name = name.trim_end();
    manager.edit(&name.replace(".socket", ".service"), &commented("tcpd@.socket", "[Service]"));
    manager.systemctl(&format!("start {name}"));
    assert_eq!(call("::1", "[::1]:81"), "HELLO FROM DAEMON\n");

    // A listener that dies is started again by the next caller.
    manager.systemctl("kill --signal=KILL tcpd@79.service");
    assert!(lab::patiently(|| manager.show("tcpd@79.service", "ActiveState") == "failed"));
    assert_eq!(call("127.0.0.2", "127.0.0.1:79"), "HELLO FROM DAEMON\n");
}

#[test]
fn a_port_without_a_server_serves_nobody() {
    let Some((lab, manager)) = Manager::open() else { return };
    lab.rules("ALL: ALL\n", "");
    manager.systemctl("start tcpd@79.socket");
    let mut client = connect("127.0.0.2", "127.0.0.1:79");
    let has_failed = lab::patiently(|| manager.show("tcpd@79.socket", "ActiveState") == "failed");
    assert!(has_failed, "{:#?}", manager.everything());
    let mut heard = Vec::new();
    let _ = client.read_to_end(&mut heard);
    assert_eq!(heard, b"");
    manager.expect_journal("tcpd", 3, "required arguments were not provided");
}

/// A server that stays, and one that tries what it should not be able to do.
#[test]
fn what_the_cage_of_a_port_holds_and_what_it_lets_through() {
    let Some((lab, manager)) = Manager::open() else { return };
    lab.rules("", "");
    lab::install("/usr/sbin/in.echod", b"#!/bin/sh\nexec cat\n", 0o755);
    let trial = "#!/bin/sh\n\
        touch /usr/sbin/x 2>/dev/null && echo usr\n\
        touch /boot/x 2>/dev/null && echo boot\n\
        (echo 64 > /proc/sys/net/ipv4/ip_default_ttl) 2>/dev/null && echo sysctl\n\
        mkdir /sys/fs/cgroup/x 2>/dev/null && echo cgroup\n\
        mount -t tmpfs t /mnt 2>/dev/null && echo mount\n\
        unshare --net true 2>/dev/null && echo namespace\n\
        unshare --user true 2>/dev/null && echo user-namespace\n\
        mknod /run/x b 254 0 2>/dev/null && echo device\n\
        ls /dev/vd* /dev/sd* 2>/dev/null\n\
        touch /etc/hosts.x 2>/dev/null && chown 1:1 /etc/hosts.x && chroot / true && nice -n -5 true && echo allowed\n\
        /usr/sbin/who -u\n";
    lab::install("/usr/sbin/in.triald", trial.as_bytes(), 0o755);
    // A program with a set-id bit, as sendmail(8) may be one.
    fs::copy("/usr/bin/id", "/usr/sbin/who").unwrap();
    chown("/usr/sbin/who", Some(1), Some(1)).unwrap();
    fs::set_permissions("/usr/sbin/who", fs::Permissions::from_mode(0o4755)).unwrap();
    let server = |name: &str| format!("[Service]\nEnvironment=TCPD_SERVER=/usr/sbin/{name}\n");
    manager.edit("tcpd@79.service", &server("in.triald"));
    manager.edit("tcpd@7.service", &server("in.echod"));
    manager.systemctl("start tcpd@79.socket tcpd@7.socket");

    assert_eq!(call("127.0.0.2", "127.0.0.1:79"), "allowed\n1\n", "{:#?}", manager.everything());
    // With a user, as the unit says, the bit has no effect.
    manager.edit("tcpd@79.service", &(server("in.triald") + "User=2\n"));
    manager.systemctl("restart tcpd@79.service");
    assert_eq!(call("127.0.0.2", "127.0.0.1:79"), "2\n");

    // Who is connected stays so, and whoever comes next is served, too.
    let mut first = connect("127.0.0.2", "127.0.0.1:7");
    let echo = |client: &mut TcpStream| {
        let mut answer = [0; 6];
        client.write_all(b"still\n").unwrap();
        client.read_exact(&mut answer).map(|()| answer)
    };
    assert_eq!(echo(&mut first).unwrap(), *b"still\n");
    manager.systemctl("restart tcpd@7.service");
    assert_eq!(echo(&mut first).unwrap(), *b"still\n");
    assert_eq!(echo(&mut connect("127.0.0.3", "127.0.0.1:7")).unwrap(), *b"still\n");
    manager.systemctl("stop tcpd@7.service tcpd@7.socket");
    assert_eq!(echo(&mut first).unwrap(), *b"still\n");

    // A client that holds its connections has a share of the places, and no more.
    manager.systemctl("start tcpd@7.socket");
    let mut held: Vec<_> = (0..64).map(|_| connect("127.0.0.4", "127.0.0.1:7")).collect();
    held.iter_mut().for_each(|client| assert!(echo(client).is_ok()));
    assert_eq!(call("127.0.0.4", "127.0.0.1:7"), "");
    assert_eq!(echo(&mut connect("127.0.0.5", "127.0.0.1:7")).unwrap(), *b"still\n");
}

/// Servers that take on users and go into directories of their own have the rights for it.
#[test]
fn login_and_file_servers_work_on_such_a_port() {
    let Some((lab, manager)) = Manager::open() else { return };
    for (program, package) in [
        ("/usr/sbin/sshd", "openssh-server"),
        ("/usr/bin/ssh", "openssh-client"),
        ("/usr/sbin/vsftpd", "vsftpd"),
        ("/usr/bin/curl", "curl"),
    ] {
        lab::need(program, package);
    }
    let add = |path: &str, line: &str| {
        let text = fs::read_to_string(path).unwrap();
        lab::write(path, text + line);
    };
    add("/etc/passwd", "visitor:x:4321:4321::/run/tw-e2e:/bin/sh\n");
    add("/etc/group", "visitor:x:4321:\n");
    add("/etc/shadow", "visitor:*:19000:0:99999:7:::\n");
    for name in ["hostkey", "userkey"] {
        let path = format!("{SCRATCH}/{name}");
        let mut keygen = Command::new("/usr/bin/ssh-keygen");
        assert_eq!(run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f", &path])).0, 0);
    }
    fs::create_dir_all("/run/sshd").unwrap();
    let configuration = format!(
        "HostKey {SCRATCH}/hostkey\nAuthorizedKeysFile {SCRATCH}/userkey.pub\nStrictModes no\nUsePAM no\n"
    );
    lab::write(&format!("{SCRATCH}/sshd_config"), configuration);
    fs::create_dir_all("/run/vsftpd/empty").unwrap();
    lab::write(&format!("{SCRATCH}/ftp/file"), "a file that is served\n");
    let configuration = format!(
        "listen=NO\nlisten_ipv6=NO\nanonymous_enable=YES\nanon_root={SCRATCH}/ftp\n\
         secure_chroot_dir=/run/vsftpd/empty\nxferlog_enable=NO\n"
    );
    lab::write(&format!("{SCRATCH}/vsftpd.conf"), configuration);
    lab.rules("sshd, vsftpd: 127.0.0.1\n", "ALL: ALL\n");
    for (port, server) in
        [(22, format!("sshd -i -f {SCRATCH}/sshd_config")), (21, format!("vsftpd {SCRATCH}/vsftpd.conf"))]
    {
        let text = format!("[Service]\nEnvironment=\"TCPD_SERVER=/usr/sbin/{server}\"\n");
        manager.edit(&format!("tcpd@127.0.0.1:{port}.service"), &text);
        manager.systemctl(&format!("start tcpd@127.0.0.1:{port}.socket"));
    }
    let mut ssh = Command::new("/usr/bin/ssh");
    ssh.args(["-F", "/dev/null", "-i", &format!("{SCRATCH}/userkey"), "-o", "BatchMode=yes"]);
    ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    ssh.args(["-o", "ConnectTimeout=20", "visitor@127.0.0.1", "id -u; umask"]);
    let (status, out, err) = run(&mut ssh);
    assert_eq!((status, out.as_str()), (0, "4321\n0022\n"), "{err} {:#?}", manager.everything());
    let mut curl = Command::new("/usr/bin/curl");
    let (status, out, err) = run(curl.args(["-sS", "--max-time", "20", "ftp://127.0.0.1/file"]));
    assert_eq!((status, out.as_str()), (0, "a file that is served\n"), "{err} {:#?}", manager.everything());
    manager.expect_journal("sshd", 6, "connect from 127.0.0.1 (127.0.0.1)");
    manager.expect_journal("vsftpd", 6, "connect from 127.0.0.1 (127.0.0.1)");
}

/// The drop-in for a service that somebody else wrote.
#[test]
fn a_drop_in_puts_tcpd_before_a_service_and_is_taken_back() {
    let Some((lab, manager)) = Manager::open() else { return };
    lab::install("/usr/sbin/in.fingerd", lab::probe(), 0o755);
    lab.rules("in.fingerd: 127.0.0.2\n", "ALL: ALL\n");
    lab::write("/run/systemd/system/finger.socket", "[Socket]\nListenStream=127.0.0.1:79\nAccept=yes\n");
    let service = "[Service]\nExecStart=-/usr/sbin/in.fingerd\nStandardInput=socket\nUser=daemon\n";
    lab::write("/run/systemd/system/finger@.service", service);
    manager.systemctl("daemon-reload");
    manager.systemctl("start finger.socket");
    let heard = || ["127.0.0.2", "127.0.0.3"].map(|from| call(from, "127.0.0.1:79"));
    let hello = "HELLO FROM DAEMON\n";
    assert_eq!(heard(), [hello, hello], "{:#?}", manager.everything());
    assert_eq!(manager.journal("in.fingerd"), []);

    let install = commented("accept-yes.conf", "install ");
    let place = install.lines().next().unwrap().rsplit(' ').next().unwrap().replace("NAME", "finger");
    lab::write(&place, unit("accept-yes.conf"));
    manager.systemctl("daemon-reload");
    assert_eq!(heard(), [hello, ""], "{:#?}", manager.everything());
    manager.expect_journal("in.fingerd", 6, "connect from 127.0.0.2 (127.0.0.2)");
    manager.expect_journal("in.fingerd", 4, "refused connect from 127.0.0.3 (127.0.0.3)");

    // What the comment says of floods: by default they shut the service.
    let is_shut = lab::patiently(|| {
        for _ in 0..400 {
            drop(connect_from("127.0.0.3".parse().unwrap(), "127.0.0.1:79".parse().unwrap()));
        }
        manager.show("finger.socket", "ActiveState") == "failed"
    });
    assert!(is_shut, "{:#?}", manager.everything());
    manager.edit("finger.socket", &commented("accept-yes.conf", "[Socket]"));
    manager.systemctl("reset-failed finger.socket");
    manager.systemctl("start finger.socket");
    for _ in 0..400 {
        drop(connect("127.0.0.3", "127.0.0.1:79"));
    }
    let serves = lab::patiently(|| call("127.0.0.2", "127.0.0.1:79") == hello);
    assert!(serves, "{:#?}", manager.everything());

    manager.systemctl("revert finger@.service");
    assert_eq!(heard(), [hello, hello]);
}

/// The trap, with the rule of its comment, and what comes of it by mail.
#[test]
fn the_trap_answers_logs_mails_and_serves_nobody() {
    let Some((lab, manager)) = Manager::open() else { return };
    lab::need("/usr/bin/mail", "bsd-mailx");
    let mails = || fs::read_to_string(format!("{SCRATCH}/mails")).unwrap_or_default();
    let sendmail = format!("#!/bin/sh\n{{ echo TO \"$@\"; cat; }} >> {SCRATCH}/mails\n");
    lab::install("/usr/sbin/sendmail", sendmail.as_bytes(), 0o755);
    // Not a minute, but long enough for a number of visits.
    manager.edit("tcpd-trap-mail.service", "[Service]\nExecStartPre=\nExecStartPre=/bin/sleep 3\n");
    let rule = commented("tcpd-trap@.service", "tcpd-trap: ALL");
    lab.rules("ALL: 127.0.0.9\n", &rule);
    manager.systemctl("enable --now tcpd-trap.socket");

    let answer = "Nobody lives here, ::ffff:127.0.0.2, but your visit was noted.\n";
    assert_eq!(call("127.0.0.2", "127.0.0.1:23"), answer, "{:#?}", manager.everything());
    manager.expect_journal("tcpd-trap", 4, "twist ::ffff:127.0.0.2 to /bin/echo Nobody lives here");
    // Who is granted access by another rule is served by nobody, too.
    assert_eq!(call("127.0.0.9", "127.0.0.1:23"), "");
    manager.expect_journal("tcpd-trap", 6, "connect from ::ffff:127.0.0.9");
    for _ in 0..5 {
        assert!(call("127.0.0.3", "127.0.0.1:23").ends_with("but your visit was noted.\n"));
    }
    assert!(lab::patiently(|| mails().contains("127.0.0.3")), "{} {:#?}", mails(), manager.everything());
    let text = mails();
    assert_eq!(text.matches("Subject: Somebody is in the trap\n").count(), 1, "{text}");
    assert!(text.starts_with("TO -i root\n") || text.contains("\nTo: root\n"), "{text}");
    assert_eq!(text.matches("tcpd-trap[").count(), 7, "{text}");

    // In the cage: no rights, no network, nothing to write to.
    let look = "tcpd-trap: ALL: twist id -u; cat /proc/net/dev /proc/self/status; \
        touch /etc/x /run/x /tmp/x /var/tmp/x /dev/shm/x; echo $?\n";
    lab.rules("", look);
    let seen = call("127.0.0.2", "127.0.0.1:23");
    let facts: BTreeMap<_, _> = seen.lines().filter_map(|line| line.split_once(':')).collect();
    let uid: u32 = seen.lines().next().unwrap().parse().unwrap_or_else(|_| panic!("{seen}"));
    assert!((61184..=65519).contains(&uid), "{seen}");
    for (fact, value) in [("CapBnd", "0000000000000000"), ("NoNewPrivs", "1"), ("Seccomp", "2")] {
        assert_eq!(facts[fact].trim(), value, "{seen}");
    }
    assert!(!seen.contains("eth0") && seen.ends_with("\n1\n"), "{seen}");

    // Two visits of one address at a time; others are not kept out by it.
    lab.rules("", "tcpd-trap: ALL: twist echo in; sleep 20\n");
    let enter = |from: &str| {
        let mut client = connect(from, "127.0.0.1:23");
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\n") && client.read(&mut byte).is_ok_and(|count| count == 1) {
            answer.push(byte[0]);
        }
        (client, answer == b"in\n")
    };
    let visits = ["127.0.0.2", "127.0.0.2", "127.0.0.2", "127.0.0.3"].map(enter);
    assert_eq!(
        visits.each_ref().map(|(_, is_in)| *is_in),
        [true, true, false, true],
        "{:#?}",
        manager.everything()
    );
    drop(visits);
    manager.systemctl("stop tcpd-trap@*.service");

    // A flood shuts nothing, and leaves no unit behind.
    lab.rules("", &rule);
    for _ in 0..400 {
        drop(connect("127.0.0.4", "127.0.0.1:23"));
    }
    let answers = lab::patiently(|| call("127.0.0.2", "127.0.0.1:23") == answer);
    assert!(answers, "{:#?}", manager.everything());
    assert_eq!(manager.show("tcpd-trap.socket", "ActiveState"), "active");
    let left = || manager.systemctl("list-units --all --no-legend --plain tcpd-trap@*");
    assert!(lab::patiently(|| left().is_empty()), "{}", left());
}

/// A change of the rules makes an image of them, with the few rights that the compiler has.
#[test]
fn rules_are_compiled_when_they_change() {
    let compiler = fs::read(env!("CARGO_BIN_EXE_tcpdcompile")).unwrap();
    let Some((lab, manager)) = Manager::open() else { return };
    lab::install("/usr/sbin/tcpdcompile", &compiler, 0o755);
    let is_used = || run(Command::new("/usr/sbin/tcpdcompile").arg("--status")).0 == 0;
    manager.systemctl("enable --now tcpd-compile.path tcpd-compile.service");
    assert!(lab::patiently(is_used), "{:#?}", manager.everything());
    lab.rules("", "ALL: 127.0.0.2\n");
    assert!(!is_used());
    assert!(lab::patiently(is_used), "{:#?}", manager.everything());
    let writable = lab_is_private();
    assert!(writable, "/var/lib is the machine's");
}

/// What the compiler wrote is the lab's: the overlay holds it.
fn lab_is_private() -> bool {
    fs::metadata("/run/overlay-var-lib/changes/tcpd/rules.img").is_ok()
}
