//! What does a wrapper add to a connection, with rules as they stand on most machines?
#![forbid(unsafe_code)]

use crate::common::TWENTY;
use crate::field::{Field, REFERENCE};
use crate::launcher::{Cost, round};
use crate::table::{Spread, median, relative, row, table};
use crate::visitors::Visits;

/// How many at once, and how many in a round.
const LOADS: [(usize, usize); 2] = [(1, 100), (8, 200)];
const ROUNDS: usize = 25;

pub fn run(field: &Field) -> String {
    field.rules(TWENTY[0], TWENTY[1]);
    let mut rows = vec![row([
        &"at once",
        &"",
        &"wall us",
        &"added wall us",
        &"CPU us",
        &"added CPU us",
        &"faults",
        &"peak KiB",
        &"added wall, ref. = 1",
        &"added CPU, ref. = 1",
    ])];
    for (at_once, count) in LOADS {
        rows.extend(under_load(field, at_once, count));
    }
    let title = format!(
        "CONNECTION: 20 rules, none matches, the server is started. Medians of {ROUNDS} rounds, in brackets \
         the middle half;\nwall: of one connection where they come one by one, else the time of all divided \
         by their number;\npeak: the most of all processes of a connection, the launcher's fork included"
    );
    table(&title, &rows)
}

fn under_load(field: &Field, at_once: usize, count: usize) -> Vec<Vec<String>> {
    let variants = field.variants();
    let mut samples: Vec<Vec<(f64, Cost)>> = vec![Vec::new(); variants.len()];
    for turn in 0..=ROUNDS {
        for step in 0..variants.len() {
            // Nobody is always the first.
            let index = (turn + step) % variants.len();
            let (visits, cost) = round(field, &variants[index], count, at_once);
            // The first round fills the caches.
            if turn > 0 {
                samples[index].push((wall(&visits, at_once), cost));
            }
        }
    }
    let of =
        |index: usize, value: fn(&(f64, Cost)) -> f64| samples[index].iter().map(value).collect::<Vec<_>>();
    let added = |index, value| difference(&of(index, value), &of(0, value));
    let wall: fn(&(f64, Cost)) -> f64 = |sample| sample.0;
    let cpu: fn(&(f64, Cost)) -> f64 = |sample| sample.1.cpu_us;
    let mut rows = Vec::new();
    for (index, variant) in variants.iter().enumerate() {
        let faults = median(of(index, |sample| sample.1.faults));
        let peak = median(of(index, |sample| sample.1.peak_kb));
        let mut cells = row([
            &at_once,
            &variant.name,
            &format!("{:.0}", median(of(index, wall))),
            &Spread::of(added(index, wall)),
            &format!("{:.0}", median(of(index, cpu))),
            &Spread::of(added(index, cpu)),
            &format!("{faults:.0}"),
            &format!("{peak:.0}"),
        ]);
        if index == 0 {
            cells[3] = String::new();
            cells[5] = String::new();
        } else if let Some(reference) = variants.iter().position(|variant| variant.name == REFERENCE) {
            for value in [wall, cpu] {
                cells.push(relative(&added(index, value), &added(reference, value)));
            }
        }
        rows.push(cells);
    }
    rows
}

/// The time that says most: of a typical connection where they come one by one, else of all together.
fn wall(visits: &Visits, at_once: usize) -> f64 {
    if at_once == 1 { visits.typical_us } else { visits.each_us }
}

fn difference(these: &[f64], those: &[f64]) -> Vec<f64> {
    these.iter().zip(those).map(|(this, that)| this - that).collect()
}
