//! How many lines of a log are decided about in a second, on one core, under twenty rules?
//!
//! The log is in memory, so that no disk is measured; what a terminal takes to show a page is not in
//! it. Items are lines. The rules are read anew for each log, as tcpdmatch reads them.
#![forbid(unsafe_code)]

mod common;

use common::Scene;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use std::fmt::Write;
use std::io::Cursor;
use std::net::Ipv4Addr;
use std::time::Duration;
use wrap::replay::held::Rules;
use wrap::replay::judge::Manner;
use wrap::replay::machine::ThisMachine;
use wrap::replay::source::Source;
use wrap::replay::{Replay, Wishes};

/// Lines of a log.
const LINES: usize = 200_000;
/// What one bench may take: all of them together are to take some twenty seconds.
const AT_MOST: Duration = Duration::from_secs(3);
const SERVICES: [&str; 8] =
    ["sshd", "in.ftpd", "in.telnetd", "vsftpd", "nrpe", "smtp", "rpcbind", "in.tftpd"];

fn main() {
    divan::main();
}

/// One line of the wrapper, with a name where the client has one.
fn line(text: &mut String, number: usize, client: Ipv4Addr) {
    let (hour, minute, second) = (number / 3600 % 24, number / 60 % 60, number % 60);
    let service = SERVICES[number % SERVICES.len()];
    let words = if number.is_multiple_of(3) { "refused connect" } else { "connect" };
    let name = if number.is_multiple_of(5) {
        format!("h{}.example.com", client.to_bits())
    } else {
        client.to_string()
    };
    let pid = 1000 + number % 30_000;
    writeln!(
        text,
        "Nov 21 {hour:02}:{minute:02}:{second:02} box {service}[{pid}]: {words} from {name} ({client})"
    )
    .unwrap();
}

/// A log in which so many clients call again and again, and one line of so many is the wrapper's.
fn log(clients: usize, one_of: usize) -> Vec<u8> {
    let mut text = String::new();
    let pool: Vec<Ipv4Addr> = common::addresses().take(clients).collect();
    for number in 0..LINES {
        if number.is_multiple_of(one_of) {
            // No client has one service alone.
            line(&mut text, number, pool[number / one_of * 7919 % clients]);
        } else {
            writeln!(text, "Nov 21 12:57:37 box CRON[{number}]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)").unwrap();
        }
    }
    text.into_bytes()
}

fn replay(bencher: Bencher, log: &[u8], rules: [&str; 2]) {
    let scene = Scene::new("replay", rules);
    let [allow, deny] = scene.tables();
    let machine = ThisMachine::new(false, Duration::ZERO);
    bencher
        .counter(ItemsCount::new(LINES))
        .counter(BytesCount::new(log.len()))
        .with_inputs(|| log.to_vec())
        .bench_local_values(|log| {
            let rules = Rules::read(&allow, &deny);
            let mut replay = Replay::new(&rules, Manner::default(), &machine, Wishes::default());
            replay.read("log", Source::new(Cursor::new(log)).unwrap(), &mut |_| {}).unwrap();
            replay.finish();
            assert_eq!((replay.lines.all, replay.lines.unread), (LINES as u64, 0));
            black_box((replay.tally.flipped, replay.tally.undecided));
        });
}

/// Every line is the wrapper's, and a thousand clients call.
#[divan::bench(max_time = AT_MOST)]
fn a_thousand_clients(bencher: Bencher) {
    replay(bencher, &log(1000, 1), common::TWENTY);
}

/// Every client is new: nothing that was said before helps, but what the rules do not tell apart.
#[divan::bench(max_time = AT_MOST)]
fn new_clients(bencher: Bencher) {
    replay(bencher, &log(LINES, 1), common::TWENTY);
}

/// The same, and the rules tell any two of them apart, as far as anybody can see: one has a glob.
#[divan::bench(max_time = AT_MOST)]
fn new_clients_that_differ(bencher: Bencher) {
    let [allow, deny] = common::TWENTY;
    replay(bencher, &log(LINES, 1), [&format!("{allow}in.nosuchd: 10.*.7\n"), deny]);
}

/// One line of ten is the wrapper's, as in /var/log/syslog.
#[divan::bench(max_time = AT_MOST)]
fn lines_of_others(bencher: Bencher) {
    replay(bencher, &log(1000, 10), common::TWENTY);
}

/// Rules that ask for names that the log has of every fifth client.
#[divan::bench(max_time = AT_MOST)]
fn names_that_are_missing(bencher: Bencher) {
    let [allow, deny] = common::TWENTY;
    replay(bencher, &log(1000, 1), [&format!("ALL: .example.org\n{allow}"), deny]);
}

/// The same, and every client is new.
#[divan::bench(max_time = AT_MOST)]
fn names_of_new_clients_that_are_missing(bencher: Bencher) {
    let [allow, deny] = common::TWENTY;
    replay(bencher, &log(LINES, 1), [&format!("ALL: .example.org\n{allow}"), deny]);
}
