//! What does a wrapper add as the rules grow? The caller is in none of them, so all are looked at.
#![forbid(unsafe_code)]

use crate::common::{compile, lines, put, words};
use crate::field::Field;
use crate::lab::write;
use crate::launcher::round;
use crate::table::{Spread, row, table};
use std::path::Path;

/// How many addresses, and how many connections in a round.
const SIZES: [(usize, usize); 5] = [(10, 40), (1_000, 40), (10_000, 20), (100_000, 6), (1_000_000, 2)];
const ROUNDS: usize = 9;
/// Where the differences are small.
const FLAT_ROUNDS: usize = 40;
const FLAT_COUNT: usize = 30;

/// How the addresses are written down.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Lines,
    Words,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Form::Lines => "lines ALL: addr",
            Form::Words => "pattern file",
        }
    }

    fn put_in_force(self, field: &Field, count: usize) {
        match self {
            Form::Lines => field.rules("", &lines(count)),
            Form::Words => {
                write(&field.file("list"), words(count));
                field.rules("", &format!("ALL: {}\n", field.file("list")));
            }
        }
    }
}

pub fn run(field: &Field) -> String {
    let mut rows = Vec::new();
    for form in [Form::Lines, Form::Words] {
        rows.extend(grown(field, form));
    }
    let title = format!(
        "SCALING: added CPU us per connection, client not listed. Medians of {ROUNDS} rounds, in brackets the \
         middle half;\nper address: between the first size and the last. All of it is work in memory, so the \
         wall shows the same and more noise"
    );
    table(&title, &rows) + &flat(field)
}

/// With images of all sizes in turn: what a connection costs more than with the smallest. Small
/// differences need many rounds, and what is compared has to be of the same minute.
fn flat(field: &Field) -> String {
    let empty = field.file("empty");
    write(&empty, "");
    let prepared = |(size, _): (usize, usize)| {
        let [table, image] = ["table", "image"].map(|kind| field.file(&format!("{kind}-{size}")));
        write(&table, lines(size));
        put(Path::new(&image), &compile([&empty, &table].map(Path::new)));
        field.ours_with([&empty, &table, &image])
    };
    let variants = SIZES.map(prepared);
    let mut more = SIZES.map(|_| Vec::new());
    for turn in 0..=FLAT_ROUNDS {
        let mut used = SIZES.map(|_| 0.0);
        for step in 0..SIZES.len() {
            // Nobody is always the first.
            let index = (turn + step) % SIZES.len();
            used[index] = round(field, &variants[index], FLAT_COUNT, 1).1.cpu_us;
        }
        // The first round fills the caches.
        if turn > 0 {
            for (more, used_here) in more.iter_mut().zip(used) {
                more.push(used_here - used[0]);
            }
        }
    }
    let header = row([&"lines, compiled", &"more CPU us"]);
    let mut rows = vec![header];
    for ((size, _), more) in SIZES.into_iter().zip(more).skip(1) {
        rows.push(row([&size, &Spread::of(more)]));
    }
    let title = format!(
        "SCALING of the compiled image: CPU us per connection more than with {} lines, medians of \
         {FLAT_ROUNDS} rounds,\nin brackets the middle half",
        SIZES[0].0
    );
    table(&title, &rows)
}

fn grown(field: &Field, form: Form) -> Vec<Vec<String>> {
    let variants = field.variants();
    let mut header = row([&form.name()]);
    header.extend(variants[1..].iter().map(|variant| variant.name.to_owned()));
    let mut rows = vec![header];
    let mut ends: Vec<Vec<f64>> = vec![Vec::new(); variants.len()];
    for (size, count) in SIZES {
        form.put_in_force(field, size);
        let mut added: Vec<Vec<f64>> = vec![Vec::new(); variants.len()];
        for turn in 0..=ROUNDS {
            let used: Vec<f64> =
                variants.iter().map(|variant| round(field, variant, count, 1).1.cpu_us).collect();
            // The first round fills the caches.
            if turn > 0 {
                for (added, each) in added.iter_mut().zip(&used) {
                    added.push(each - used[0]);
                }
            }
        }
        let mut cells = row([&size]);
        for (index, added) in added.into_iter().enumerate().skip(1) {
            let spread = Spread::of(added);
            ends[index].push(spread.median);
            cells.push(spread.to_string());
        }
        rows.push(cells);
    }
    let [(first, _), .., (last, _)] = SIZES;
    let mut slopes = row([&"per address"]);
    for medians in &ends[1..] {
        let slope = (medians[SIZES.len() - 1] - medians[0]) / (last - first) as f64;
        slopes.push(format!("{slope:.3}"));
    }
    rows.push(slopes);
    rows
}
