//! What does a decision cost inside the process, from the files to the verdict?
//!
//! Each bench reads its files anew, as every connection does; they are in the page cache. The time a
//! process needs to start is in `per_connection`.
#![forbid(unsafe_code)]

mod common;

use common::Scene;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use std::time::Duration;
use wrap::rules::grammar;

/// Lines of a table, addresses of a pattern file.
const SIZES: [usize; 4] = [10, 1_000, 100_000, 1_000_000];
/// What one bench may take: all of them together are to take a minute.
const AT_MOST: Duration = Duration::from_secs(2);

fn main() {
    divan::main();
}

/// The grammar alone: lines in memory, one after the other.
#[divan::bench(args = [10, 1_000, 100_000], max_time = AT_MOST)]
fn parse(bencher: Bencher, count: usize) {
    let text = common::lines(count);
    bencher.counter(ItemsCount::new(count)).counter(BytesCount::of_str(&text)).bench_local(|| {
        for line in black_box(&text).lines() {
            black_box(grammar::line(line.as_bytes()));
        }
    });
}

/// The grammar on rules of every kind.
#[divan::bench(max_time = AT_MOST)]
fn parse_twenty_rules(bencher: Bencher) {
    let text = common::TWENTY.concat();
    bencher.counter(BytesCount::of_str(&text)).bench_local(|| {
        for line in black_box(&text).lines() {
            black_box(grammar::line(line.as_bytes()));
        }
    });
}

#[divan::bench(max_time = AT_MOST)]
fn decide_twenty_rules(bencher: Bencher) {
    decide(bencher, &Scene::new("twenty", common::TWENTY), 20);
}

#[divan::bench(args = SIZES, max_time = AT_MOST)]
fn decide_lines(bencher: Bencher, count: usize) {
    decide(bencher, &Scene::of_lines(count), count);
}

#[divan::bench(args = SIZES, max_time = AT_MOST)]
fn decide_pattern_file(bencher: Bencher, count: usize) {
    decide(bencher, &Scene::of_words(count), count);
}

#[divan::bench(args = SIZES, max_time = AT_MOST)]
fn decide_lines_compiled(bencher: Bencher, count: usize) {
    decide(bencher, &Scene::of_lines(count).compiled(), count);
}

#[divan::bench(args = SIZES, max_time = AT_MOST)]
fn decide_pattern_file_compiled(bencher: Bencher, count: usize) {
    decide(bencher, &Scene::of_words(count).compiled(), count);
}

/// From the files to the bytes of an image; what the disk takes is not in it.
#[divan::bench(args = SIZES, max_time = AT_MOST)]
fn compile_lines(bencher: Bencher, count: usize) {
    let scene = Scene::of_lines(count);
    bencher.counter(ItemsCount::new(count)).bench_local(|| scene.compile());
}

fn decide(bencher: Bencher, scene: &Scene, count: usize) {
    scene.check();
    bencher.counter(ItemsCount::new(count)).bench_local(|| scene.decide());
}
