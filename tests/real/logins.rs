//! Do real login and file servers work behind the wrapper, for real clients? Each is started by
//! openbsd-inetd; the rules are changed under it between two connections.

use std::process::Command;

use crate::lab::launch::{inetd, run};
use crate::lab::{self, Lab, SCRATCH};

/// A user of the lab only, and a host key and a user key made for this test.
pub fn furnish_ssh() {
    for (program, package) in [
        ("/usr/sbin/sshd", "openssh-server"),
        ("/usr/bin/ssh", "openssh-client"),
        ("/usr/bin/ssh-keygen", "openssh-client"),
    ] {
        lab::need(program, package);
    }
    let add = |path: &str, line: &str| {
        let text = std::fs::read_to_string(path).unwrap();
        lab::write(path, text + line);
    };
    add("/etc/passwd", "visitor:x:4321:4321::/run/tw-e2e:/bin/sh\n");
    add("/etc/group", "visitor:x:4321:\n");
    add("/etc/shadow", "visitor:*:19000:0:99999:7:::\n");
    for name in ["hostkey", "userkey"] {
        let path = format!("{SCRATCH}/{name}");
        let arguments = ["-q", "-t", "ed25519", "-N", "", "-f", &path];
        let (status, _, err) = run(Command::new("/usr/bin/ssh-keygen").args(arguments));
        assert_eq!(status, 0, "{err}");
    }
    std::fs::create_dir_all("/run/sshd").unwrap();
    let configuration = format!(
        "HostKey {SCRATCH}/hostkey\nAuthorizedKeysFile {SCRATCH}/userkey.pub\nStrictModes no\n\
         UsePAM no\nPasswordAuthentication no\n"
    );
    lab::write(&format!("{SCRATCH}/sshd_config"), configuration);
}

fn ssh(command: &str) -> (i32, String, String) {
    let key = format!("{SCRATCH}/userkey");
    let mut ssh = Command::new("/usr/bin/ssh");
    ssh.args(["-F", "/dev/null", "-i", &key, "-o", "BatchMode=yes"]);
    ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    ssh.args(["-o", "ConnectTimeout=20", "visitor@127.0.0.1", command]);
    run(&mut ssh)
}

#[test]
fn sshd_behind_tcpd() {
    let lab = open_lab!();
    furnish_ssh();
    lab.rules("sshd: 127.0.0.1\n", "ALL: ALL\n");
    let server = format!("sshd -i -f {SCRATCH}/sshd_config");
    let _inetd = inetd(&lab, &format!("ssh stream tcp nowait root /usr/sbin/tcpd {server}\n"));
    let (status, out, err) = ssh("id -u; umask");
    assert_eq!((status, out.as_str()), (0, "4321\n0022\n"), "{err}");
    expect_line(&lab, 30, "connect from 127.0.0.1 (127.0.0.1)");

    lab.rules("", "sshd: 127.0.0.1\n");
    let (status, out, _) = ssh("id -u");
    assert_eq!((status, out.as_str()), (255, ""));
    expect_line(&lab, 28, "refused connect from 127.0.0.1 (127.0.0.1)");
}

fn expect_line(lab: &Lab, priority: u32, message: &str) {
    let log = lab.log_until(message);
    let found = log.iter().any(|line| line.priority == priority && line.message == message);
    assert!(found, "{priority} {message} in {log:#?}");
}

#[test]
fn vsftpd_behind_tcpd() {
    let lab = open_lab!();
    lab::need("/usr/sbin/vsftpd", "vsftpd");
    lab::need("/usr/bin/curl", "curl");
    lab::write(&format!("{SCRATCH}/ftp/file"), "a file that is served\n");
    std::fs::create_dir_all("/run/vsftpd/empty").unwrap();
    let configuration = format!(
        "listen=NO\nlisten_ipv6=NO\nanonymous_enable=YES\nanon_root={SCRATCH}/ftp\n\
         secure_chroot_dir=/run/vsftpd/empty\nxferlog_enable=NO\n"
    );
    let path = format!("{SCRATCH}/vsftpd.conf");
    lab::write(&path, configuration);
    lab.rules("vsftpd: 127.0.0.1\n", "ALL: ALL\n");
    let _inetd = inetd(&lab, &format!("ftp stream tcp nowait root /usr/sbin/tcpd vsftpd {path}\n"));
    let fetch = || {
        let arguments = ["-sS", "--max-time", "20", "ftp://127.0.0.1/file"];
        run(Command::new("/usr/bin/curl").args(arguments))
    };
    let (status, out, err) = fetch();
    assert_eq!((status, out.as_str()), (0, "a file that is served\n"), "{err}");
    expect_line(&lab, 30, "connect from 127.0.0.1 (127.0.0.1)");

    lab.rules("", "vsftpd: ALL\n");
    let (status, out, _) = fetch();
    assert_ne!(status, 0);
    assert_eq!(out, "");
    expect_line(&lab, 28, "refused connect from 127.0.0.1 (127.0.0.1)");
}
