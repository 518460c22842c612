//! Does a log daemon that is dead, gone or stuck change anything but the log?
//!
//! The original's `syslog(3)` waits for a stuck daemon for ever. Ours never waits: every client
//! is served or refused as before, and what could not be said is counted in the next line that
//! gets through.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::lab::launch::connection;
use crate::lab::{self, Lab, SCRATCH, Syslogd, Visit};

fn expect_right_verdicts(lab: &Lab) {
    lab.rules("in.tw-probe: 127.0.0.2\n", "ALL: ALL\n");
    assert!(Visit::of(lab).run().served());
    let outcome = Visit::of(lab).from("127.0.0.3").run();
    assert_eq!((outcome.received.as_str(), outcome.exit), ("", 0));
}

#[test]
fn no_log_socket_at_all() {
    let lab = open_lab!();
    std::fs::remove_file("/dev/log").unwrap();
    expect_right_verdicts(&lab);
}

#[test]
fn nobody_behind_the_log_socket() {
    let lab = open_lab!();
    std::fs::remove_file("/dev/log").unwrap();
    drop(UnixDatagram::bind("/dev/log").unwrap());
    expect_right_verdicts(&lab);
}

#[test]
fn something_else_in_place_of_the_log_socket() {
    let lab = open_lab!();
    std::fs::remove_file("/dev/log").unwrap();
    std::fs::create_dir("/dev/log").unwrap();
    expect_right_verdicts(&lab);
    std::fs::remove_dir("/dev/log").unwrap();
    let _stream = std::os::unix::net::UnixListener::bind("/dev/log").unwrap();
    expect_right_verdicts(&lab);
}

/// A log daemon with a full queue, and the junk that fills it.
fn stuck() -> Syslogd {
    std::fs::remove_file("/dev/log").unwrap();
    std::fs::write("/proc/sys/net/unix/max_dgram_qlen", "10").unwrap();
    let syslogd = Syslogd::listen("/dev/log");
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    let junk = b"<13>Jan  1 00:00:00 filler: junk";
    while filler.send_to(junk, "/dev/log").is_ok() {}
    syslogd
}

fn median_visit(lab: &Lab) -> Duration {
    let mut times: Vec<Duration> = (0..9)
        .map(|_| {
            let outcome = Visit::of(lab).run();
            assert!(outcome.served());
            outcome.took
        })
        .collect();
    times.sort();
    times[4]
}

/// Promised: never more than 100 ms. The rest is slack for a loaded machine.
#[test]
fn a_stuck_log_daemon_delays_nobody() {
    let lab = open_lab!();
    lab.rules("ALL: 127.\n", "ALL: ALL\n");
    let before = median_visit(&lab);
    let _stuck = stuck();
    let after = median_visit(&lab);
    assert!(after < before + Duration::from_millis(400), "{before:?} became {after:?}");
    expect_right_verdicts(&lab);
}

/// The first line is lost; while the rule's command runs, the daemon recovers; the second line
/// gets through and tells of the loss.
#[test]
fn what_was_dropped_is_said_in_the_next_line() {
    let lab = open_lab!();
    let stuck = stuck();
    let (ready, go) = (format!("{SCRATCH}/ready"), format!("{SCRATCH}/go"));
    let wait = format!("spawn touch {ready}; until [ -e {go} ]; do sleep 0.02; done");
    lab.rules(&format!("garbage\nALL: ALL: {wait}\n"), "ALL: ALL\n");
    let addresses = ("127.0.0.2".parse().unwrap(), "127.0.0.1".parse().unwrap());
    let (client, served) = connection(addresses.0, addresses.1);
    let mut running = Visit::of(&lab).start(served.into());
    assert!(lab::patiently(|| std::path::Path::new(&ready).exists()));
    let junk = stuck.drain();
    assert!(junk.iter().all(|line| line.tag == "filler"), "{junk:#?}");
    lab::write(&go, "");
    assert_eq!(running.wait(), 7);
    drop(client);
    let lines = stuck.drain();
    let text: Vec<&str> = lines.iter().map(|line| line.message.as_str()).collect();
    let told = text.iter().any(|line| line.starts_with("warning: 1 log message"));
    assert!(told, "{text:#?}");
    assert!(text.contains(&"connect from 127.0.0.2 (127.0.0.2)"), "{text:#?}");
}

/// The stamp is local time, as `syslog(3)` writes it: ten hours lie between these two zones.
#[test]
fn the_stamp_is_local_time() {
    let lab = open_lab!();
    lab.rules("", "");
    let hour = |zone: &str| -> i32 {
        let outcome = Visit::of(&lab).with_variable("TZ", zone).run();
        outcome.log[0].stamp[7..9].parse().unwrap()
    };
    let difference = (hour("EAST-5") - hour("WEST+5")).rem_euclid(24);
    assert!([9, 10].contains(&difference), "{difference} hours");
}
