//! socat, which brings rule files of its own: it tells the library by setting three of its variables,
//! which the linker has moved into socat. A library that reads its own copy asks the wrong files.

use std::process::{Command, Stdio};

use super::knock;
use crate::lab::library::Library;
use crate::lab::{self, Line, Running, SCRATCH};

const PORT: u16 = 7000;
const SERVED: &str = "HELLO FROM SOCAT\n";

/// Listens, and asks about each client with these options of `tcpwrap`.
fn socat(library: &Library, options: &str) -> Running {
    lab::need("/usr/bin/socat", "socat");
    let mut command = Command::new("/usr/bin/socat");
    command.args(["-ly", "-d"]);
    command.arg(format!("TCP-LISTEN:{PORT},bind=127.0.0.1,fork,reuseaddr,{options}"));
    command.arg("EXEC:/bin/echo HELLO FROM SOCAT").env_clear().stdin(Stdio::null());
    let running = Running::start(&mut command);
    library.wait_for_port("tcp", PORT);
    library.expect_mapped(running.pid());
    running
}

fn visit(from: &str) -> String {
    knock(from, &format!("127.0.0.1:{PORT}"))
}

fn told<'a>(log: &'a [Line], opening: &str) -> Vec<(u32, &'a str)> {
    let lines = log.iter().filter(|line| line.tag == "socat" && line.message.starts_with(opening));
    lines.map(|line| (line.priority, line.message.as_str())).collect()
}

#[test]
fn its_own_tables_win() {
    let library = open_library!();
    let (allow, deny) = (format!("{SCRATCH}/allow"), format!("{SCRATCH}/deny"));
    let options = format!("tcpwrap=relay,allow-table={allow},deny-table={deny}");
    let _socat = socat(&library, &options);
    lab::write(&allow, "relay: 127.0.0.2\n");
    lab::write(&deny, "# nobody else\nALL: ALL\n");
    // The machine's tables say the contrary.
    library.rules("relay: 127.0.0.3\n", "ALL: ALL\n");
    assert_eq!(visit("127.0.0.2"), SERVED);
    assert_eq!(told(&library.log(), "matched:"), [(31, format!("matched:  {allow} line 1").as_str())]);
    assert_eq!(visit("127.0.0.3"), "");
    let log = library.log_until("refusing connection");
    assert_eq!(told(&log, "matched:"), [(31, format!("matched:  {deny} line 2").as_str())]);
    let [(28, refusal)] = told(&log, "W refusing")[..] else { panic!("{log:#?}") };
    assert!(refusal.contains(" 127.0.0.3:") && refusal.contains("due to tcpwrapper option"), "{refusal}");

    // Its tables may change, or go, while it runs.
    lab::write(&allow, "relay: 127.0.0.3\n");
    assert_eq!((visit("127.0.0.2").as_str(), visit("127.0.0.3").as_str()), ("", SERVED));
    std::fs::remove_file(&allow).unwrap();
    std::fs::remove_file(&deny).unwrap();
    assert_eq!((visit("127.0.0.2").as_str(), visit("127.0.0.3").as_str()), (SERVED, SERVED));
}

/// `tcpwrap-etc` names the directory of both; without any such option the machine's tables are asked.
#[test]
fn a_directory_of_tables_and_none() {
    let library = open_library!();
    let etc = format!("{SCRATCH}/etc");
    lab::write(&format!("{etc}/hosts.allow"), "relay: 127.0.0.2\n");
    lab::write(&format!("{etc}/hosts.deny"), "relay: ALL\n");
    library.rules("", "relay: 127.0.0.2\n");
    let running = socat(&library, &format!("tcpwrap=relay,tcpwrap-etc={etc}"));
    assert_eq!((visit("127.0.0.2").as_str(), visit("127.0.0.3").as_str()), (SERVED, ""));
    drop(running);
    let _socat = socat(&library, "tcpwrap=relay");
    assert_eq!((visit("127.0.0.2").as_str(), visit("127.0.0.3").as_str()), ("", SERVED));
}

/// What is done is told, because socat set the library's variable for that; so is what is wrong.
#[test]
fn options_of_its_own_tables() {
    let library = open_library!();
    let deny = format!("{SCRATCH}/deny");
    let spawned = format!("{SCRATCH}/spawned");
    lab::write(&deny, format!("relay: 127.0.0.3: spawn echo %d %a %A >> {spawned}\nrelay: ALL: bogus\n"));
    let _socat = socat(&library, &format!("tcpwrap=relay,deny-table={deny}"));
    assert_eq!(visit("127.0.0.3"), "");
    assert_eq!(std::fs::read_to_string(&spawned).unwrap(), "relay 127.0.0.3 127.0.0.1\n");
    let log = library.log_until("refusing connection");
    let option = format!("option:   spawn echo relay 127.0.0.3 127.0.0.1 >> {spawned}");
    assert_eq!(told(&log, "option:"), [(31, option.as_str())]);
    assert_eq!(visit("127.0.0.2"), "");
    let log = library.log_until("refusing connection");
    let error = format!("error: {deny}, line 2: bad option name: \"bogus\"");
    assert_eq!(told(&log, "error:"), [(27, error.as_str())]);
}
