//! How many requests does `tcpdmatch --batch` answer in a second, on one core?
//!
//! From the bytes of the requests to the bytes of the answers; only the pipes are missing. An item is a
//! request.
#![forbid(unsafe_code)]

mod common;

use common::Scene;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use std::fmt::Write;
use std::time::Duration;
use wrap::inquiry::batch::Batch;
use wrap::settings::Settings;

/// Requests that are written at once.
const REQUESTS: usize = 10_000;
const AT_MOST: Duration = Duration::from_secs(5);

fn main() {
    divan::main();
}

/// Rules as they stand on machines that have been kept for some years; most clients are in none.
#[divan::bench(max_time = AT_MOST)]
fn twenty_rules(bencher: Bencher) {
    answer(bencher, &Scene::new("batch", common::TWENTY));
}

/// A trap for everybody: the command is expanded for each.
#[divan::bench(max_time = AT_MOST)]
fn one_trap(bencher: Bencher) {
    let trap = "ALL: ALL: severity auth.notice: spawn (echo %d %a %u@%h | mail -s tcpd-%d root) &\n";
    answer(bencher, &Scene::new("trap", ["", trap]));
}

/// A ban list, by its image.
#[divan::bench(max_time = AT_MOST, args = [100_000])]
fn pattern_file_compiled(bencher: Bencher, count: usize) {
    answer(bencher, &Scene::of_words(count).compiled());
}

fn requests() -> String {
    let services = ["sshd", "in.telnetd", "in.ftpd", "in.tftpd", "smtp", common::SERVICE];
    let mut text = String::new();
    for (id, (client, service)) in common::addresses().zip(services.iter().cycle()).take(REQUESTS).enumerate()
    {
        writeln!(text, "{{\"id\":{id},\"daemon\":\"{service}\",\"client\":\"{client}\",\"name\":\"h{id}.example.com\",\"server\":\"198.51.100.1\",\"server-port\":7979}}").unwrap();
    }
    text
}

fn answer(bencher: Bencher, scene: &Scene) {
    let [hosts_allow, hosts_deny] = scene.tables();
    let settings =
        Settings { hosts_allow, hosts_deny, image: Some(scene.path("image")), ..Settings::default() };
    let batch = Batch { settings: &settings, refuses: false, expect: None };
    let requests = requests();
    let answered = |answers: &mut Vec<u8>| {
        answers.clear();
        assert!(batch.answer(&mut black_box(requests.as_bytes()), answers).expect("memory"));
    };
    let mut answers = Vec::new();
    answered(&mut answers);
    assert_eq!(answers.iter().filter(|&&byte| byte == b'\n').count(), REQUESTS);
    bencher
        .counter(ItemsCount::new(REQUESTS))
        .counter(BytesCount::of_str(&requests))
        .bench_local(|| answered(black_box(&mut answers)));
}
