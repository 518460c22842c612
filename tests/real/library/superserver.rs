//! inetd, which asks about streams itself if it is called with `-l`, whether or not the server is started
//! through a wrapper. The name in a rule is the server's. Both its lines are its own: daemon.info, 30,
//! and daemon.warning, 28.

use super::{exchange, knock, of_the_verdict};
use crate::lab::launch::{inetd, inetd_with};
use crate::lab::library::Library;
use crate::lab::{Line, Running, SCRATCH, write};

const LINE: &str = "finger stream tcp nowait root /bin/echo in.hello HELLO\n";
const DOOR: &str = "127.0.0.1:79";

/// inetd that asks, with this line of configuration.
fn asking(library: &Library, line: &str) -> Running {
    let running = inetd_with(library, &["-l"], line);
    library.expect_mapped(running.pid());
    running
}

fn told<'a>(log: &'a [Line], words: &str) -> Vec<(u32, &'a str)> {
    let lines = log.iter().filter(|line| line.tag == "inetd" && line.message.contains(words));
    lines.map(|line| (line.priority, line.message.as_str())).collect()
}

#[test]
fn it_asks_for_servers_without_a_wrapper() {
    let library = open_library!();
    let _inetd = asking(&library, LINE);
    library.rules("in.hello: 127.0.0.2\n", "ALL: ALL\n");
    assert_eq!(knock("127.0.0.2", DOOR), "HELLO\n");
    let log = library.log_until("connection from");
    assert_eq!(told(&log, "connection"), [(30, "connection from 127.0.0.2, service finger (tcp)")]);
    assert_eq!(knock("127.0.0.3", DOOR), "");
    let log = library.log_until("connection from");
    assert_eq!(told(&log, "connection"), [(28, "refused connection from 127.0.0.3, service finger (tcp)")]);

    write("/etc/hosts", "127.0.0.2 good.example.com\n127.0.0.3 bad.example.com\n");
    library.rules("", "in.hello: bad.example.com\n");
    assert_eq!(knock("127.0.0.3", DOOR), "");
    let log = library.log_until("connection from");
    assert_eq!(
        told(&log, "connection"),
        [(28, "refused connection from bad.example.com, service finger (tcp)")]
    );
    assert_eq!(knock("127.0.0.2", DOOR), "HELLO\n");
}

/// Each connection is a process that inetd forked: a decoy, a trap, an error.
#[test]
fn rules_with_options() {
    let library = open_library!();
    let _inetd = asking(&library, LINE);
    let spawned = format!("{SCRATCH}/spawned");
    library.rules("", &format!("in.hello: ALL: spawn echo %d %a >> {spawned}: twist echo not %a\n"));
    for _ in 0..2 {
        assert_eq!(knock("127.0.0.3", DOOR), "not 127.0.0.3\n");
        let log = library.log_until("twist");
        assert_eq!(of_the_verdict("inetd", &log), [(28, "twist 127.0.0.3 to echo not 127.0.0.3")]);
    }
    assert_eq!(std::fs::read_to_string(&spawned).unwrap(), "in.hello 127.0.0.3\n".repeat(2));
    library.rules("in.hello: ALL: setenv A\n", "");
    assert_eq!(knock("127.0.0.2", DOOR), "HELLO\n");
    library.rules("in.hello: ALL: umask 999\n", "");
    assert_eq!(knock("127.0.0.2", DOOR), "");
    let log = library.log_until("refused connection");
    let error = "error: /etc/hosts.allow, line 1: bad umask value: \"999\"";
    let refused = "refused connection from 127.0.0.2, service finger (tcp)";
    assert_eq!(of_the_verdict("inetd", &log), [(27, error), (28, refused)]);
}

/// What a rule sets for a server reaches the server, and nothing else of the library does.
#[test]
fn what_the_server_is_given() {
    let library = open_library!();
    let line = "finger stream tcp nowait root /usr/sbin/in.tw-probe in.tw-probe -x\n";
    let _inetd = asking(&library, line);
    write("/etc/hosts", "127.0.0.2 good.example.com\n");
    let visit = |allow: &str| {
        library.rules(allow, "ALL: ALL\n");
        let got = exchange("127.0.0.2", DOOR.parse().unwrap(), b"ping\n", 18);
        assert_eq!(got, b"HELLO FROM DAEMON\n", "{allow}");
        let report = library.saw().unwrap();
        report.lines().filter(|line| !line.starts_with("alarm")).map(str::to_owned).collect::<Vec<_>>()
    };
    let plain = visit("in.tw-probe: 127.0.0.2\n");
    let by_name = visit("in.tw-probe: .example.com: spawn true: aclexec true\n");
    assert_eq!(by_name, plain);
    let options = "setenv CALLER %n: umask 027: nice 5: linger 9: keepalive";
    let changed = visit(&format!("in.tw-probe: .example.com: {options}\n"));
    let differences: Vec<&str> =
        changed.iter().filter(|line| !plain.contains(line)).map(String::as_str).collect();
    let set = ["env CALLER=good.example.com", "umask 027", "nice 5", "linger 1 9", "keepalive 1"];
    assert_eq!(differences, set);
}

/// Without `-l` it asks nobody.
#[test]
fn without_its_option_it_serves_everybody() {
    let library = open_library!();
    library.rules("", "ALL: ALL\n");
    let running = inetd(&library, LINE);
    library.expect_mapped(running.pid());
    assert_eq!(knock("127.0.0.3", DOOR), "HELLO\n");
}
