//! Is it true what `tcpdchk --services` says of Debian's servers: that they ask, under which name, and
//! when they do not? Each is found first, and then called.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::lab::launch::{connect_from, inetd, read_to_the_end, run};
use crate::lab::{self, Lab, Running, SCRATCH};

/// The lab, with tcpdchk in it.
fn with_checker() -> Option<Lab> {
    let checker = std::fs::read(env!("CARGO_BIN_EXE_tcpdchk")).unwrap();
    let lab = Lab::open()?;
    lab::install("/usr/sbin/tcpdchk", &checker, 0o755);
    for path in ["/etc/inetd.conf", "/etc/xinetd.conf"] {
        let _ = std::fs::remove_file(path);
    }
    Some(lab)
}

fn survey(arguments: &[&str]) -> (i32, Value) {
    let mut command = Command::new("/usr/sbin/tcpdchk");
    let (exit, out, err) = run(command.args(["--services", "--format", "json"]).args(arguments));
    assert_eq!(err, "");
    (exit, serde_json::from_str(&out).unwrap())
}

/// The one of a list whose member has a value.
fn find<'v>(list: &'v Value, member: &str, value: &str) -> Option<&'v Value> {
    list.as_array().unwrap().iter().find(|object| object[member] == value)
}

/// What a client gets from an address of loopback.
fn greeting(from: &str, to: &str) -> String {
    let client = connect_from(from.parse().unwrap(), to.parse().unwrap()).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    String::from_utf8_lossy(&read_to_the_end(client)).into_owned()
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

#[test]
fn sshd_is_linked_and_running_and_asks() {
    let Some(lab) = with_checker() else { return };
    lab::need("/usr/sbin/sshd", "openssh-server");
    let key = format!("{SCRATCH}/hostkey");
    let (status, _, err) =
        run(Command::new("/usr/bin/ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &key]));
    assert_eq!(status, 0, "{err}");
    std::fs::create_dir_all("/run/sshd").unwrap();
    lab.rules("sshd: 127.0.0.2\n", "sshd: ALL\n");
    let mut command = Command::new("/usr/sbin/sshd");
    command.args(["-D", "-f", "/dev/null", "-h", &key, "-o", "ListenAddress=127.0.0.1:2222"]);
    let sshd = Running::start(quiet(&mut command));
    lab.wait_for_port("tcp", 2222);

    let (exit, found) = survey(&[]);
    assert_eq!(exit, 0, "{found:#}");
    let service = find(&found["services"], "daemon", "sshd").unwrap();
    assert_eq!((&service["named_by"], &service["assumed"]), (&"name".into(), &false.into()));
    let linked = find(&service["ways"], "kind", "linked").unwrap();
    assert_eq!(linked["program"], "/usr/sbin/sshd");
    let running = service["ways"].as_array().unwrap().iter().filter(|way| way["kind"] == "running");
    let own = running.filter(|way| way["pids"].as_array().unwrap().contains(&sshd.pid().into()));
    let own: Vec<_> = own.collect();
    assert_eq!((own.len(), &own[0]["notes"]), (1, &serde_json::json!([])), "{service:#}");
    assert_eq!(find(&found["names"], "word", "sshd").unwrap()["answer"], "services");

    assert!(greeting("127.0.0.2", "127.0.0.1:2222").starts_with("SSH-2.0-"));
    assert_eq!(greeting("127.0.0.3", "127.0.0.1:2222"), "");
}

/// vsftpd is linked with libwrap, and does not ask unless its configuration says so.
#[test]
fn vsftpd_asks_only_when_it_is_told_to() {
    let Some(lab) = with_checker() else { return };
    lab::need("/usr/sbin/vsftpd", "vsftpd");
    std::fs::create_dir_all("/run/vsftpd/empty").unwrap();
    lab.rules("", "vsftpd: ALL\n");
    for (told, port) in [("NO", 2121), ("YES", 2122)] {
        let configuration = format!(
            "listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nsecure_chroot_dir=/run/vsftpd/empty\n\
             xferlog_enable=NO\ntcp_wrappers={told}\n"
        );
        lab::write("/etc/vsftpd.conf", configuration);
        let (exit, found) = survey(&[]);
        let name = find(&found["names"], "word", "vsftpd").unwrap();
        let asks = told == "YES";
        assert_eq!((exit, &name["error"]), (i32::from(!asks), &(!asks).into()), "{name:#}");
        assert_eq!(name["answer"], if asks { "services" } else { "idle" });
        assert_eq!(find(&found["services"], "daemon", "vsftpd").is_some(), asks);
        assert_eq!(find(&found["idle"], "program", "/usr/sbin/vsftpd").is_some(), !asks);

        let _vsftpd = Running::start(quiet(&mut Command::new("/usr/sbin/vsftpd")));
        lab.wait_for_port("tcp", port);
        let got = greeting("127.0.0.2", &format!("127.0.0.1:{port}"));
        assert_eq!(got.starts_with("220"), !asks, "{got:?}");
    }
}

/// What a line of inetd.conf comes to, with and without the option by which inetd asks itself.
#[test]
fn lines_of_inetd_ask_as_they_are_said_to() {
    let Some(lab) = with_checker() else { return };
    lab.rules("", "in.tw-probe, in.tw-other, probe-by-hand: ALL\n");
    let lines = "finger stream tcp nowait root /usr/sbin/tcpd in.tw-probe\n\
        ssh stream tcp nowait root /usr/sbin/in.tw-probe in.tw-other\n\
        auth stream tcp nowait root /usr/sbin/tcpd tcpd --daemon probe-by-hand /usr/sbin/in.tw-probe\n";
    let conf = format!("{SCRATCH}/inetd.conf");
    let asking = |found: &Value| {
        ["in.tw-probe", "in.tw-other", "probe-by-hand"].map(|name| {
            let service = find(&found["services"], "daemon", name)?;
            service["ways"][0]["asker"].as_str().map(str::to_owned)
        })
    };
    let served = || {
        ["127.0.0.1:79", "127.0.0.1:22", "127.0.0.1:113"]
            .map(|to| greeting("127.0.0.2", to).contains("HELLO FROM DAEMON"))
    };

    let running = inetd(&lab, lines);
    let (exit, found) = survey(&["-i", &conf]);
    let tcpd = Some("tcpd".to_owned());
    assert_eq!(asking(&found), [tcpd.clone(), None, tcpd]);
    let other = find(&found["names"], "word", "in.tw-other").unwrap();
    assert_eq!((exit, &other["answer"]), (1, &"unwrapped".into()), "{other:#}");
    assert_eq!(served(), [false, true, false]);
    drop(running);

    let mut command = Command::new("/usr/sbin/inetd");
    command.args(["-i", "-l", &conf]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let _running = Running::start(quiet(&mut command));
    for port in [79, 22, 113] {
        lab.wait_for_port("tcp", port);
    }
    let (_, found) = survey(&["-i", &conf]);
    let itself = Some("libwrap".to_owned());
    assert_eq!(asking(&found)[..2], [itself.clone(), itself]);
    assert_eq!(served()[..2], [false, false]);
}

/// A tcpd that listens is one that asks, and so is one that a unit starts.
#[test]
fn a_listening_tcpd_and_a_unit_are_found() {
    let Some(lab) = with_checker() else { return };
    lab.rules("", "in.tw-probe, by-unit: ALL\n");
    let mut command = Command::new("/usr/sbin/tcpd");
    command.args(["--listen", "127.0.0.1:4079", "--", "/usr/sbin/in.tw-probe"]);
    let tcpd = Running::start(quiet(&mut command));
    lab.wait_for_port("tcp", 4079);
    let unit = "[Service]\nExecStart=/usr/sbin/tcpd --daemon by-unit /usr/sbin/in.tw-probe\n";
    lab::write("/etc/systemd/system/tw-by-unit@.service", unit);
    lab::write(
        "/etc/systemd/system/tw-by-unit.socket",
        "[Socket]\nListenStream=4080\nAccept=yes\n[Install]\nWantedBy=sockets.target\n",
    );
    let (exit, found) = survey(&[]);
    assert_eq!(exit, 0, "{found:#}");
    let service = find(&found["services"], "daemon", "in.tw-probe").unwrap();
    assert!(service["ways"][0]["pids"].as_array().unwrap().contains(&tcpd.pid().into()), "{service:#}");
    assert_eq!((&service["ways"][0]["asker"], &service["ports"][0]), (&"tcpd".into(), &4079.into()));
    let service = find(&found["services"], "daemon", "by-unit").unwrap();
    assert_eq!(service["ways"][0]["sockets"], serde_json::json!(["tw-by-unit.socket"]));
    assert_eq!(service["ways"][0]["notes"][0]["code"], "not-enabled");
    assert_eq!(greeting("127.0.0.2", "127.0.0.1:4079"), "");
}
