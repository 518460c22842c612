//! Which tests does a text name, and are they there?
//!
//! A test is named as `place: name`. A place is a file below `tests/`, or `src/...`, without its `.rs`. It is
//! there if that file has a function of this name that is a test, that is not ignored, and if the file is part
//! of a test program.
#![forbid(unsafe_code)]
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file_of(place: &str) -> PathBuf {
    let base = if place.starts_with("src/") { root().to_path_buf() } else { root().join("tests") };
    base.join(format!("{place}.rs"))
}

/// The tests of a file, without those that are ignored.
pub fn tests_in(place: &str) -> BTreeSet<String> {
    let Ok(source) = fs::read_to_string(file_of(place)) else { return BTreeSet::new() };
    let (mut found, mut is_test) = (BTreeSet::new(), false);
    for line in source.lines().map(str::trim) {
        if line == "#[test]" {
            is_test = true;
        } else if line.starts_with("#[ignore") {
            is_test = false;
        } else if let Some(rest) = line.strip_prefix("fn ") {
            let name = rest.split(['(', '<']).next().unwrap_or(rest);
            if std::mem::take(&mut is_test) {
                found.insert(name.to_owned());
            }
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            is_test = false;
        }
    }
    found
}

/// Whether a file is compiled into a test program: it is one, or the file above it says so.
fn is_reached(place: &str) -> bool {
    let Some((above, name)) = place.rsplit_once('/').filter(|(above, _)| *above != "src") else {
        return true;
    };
    let declares = |file: &PathBuf| {
        fs::read_to_string(file).is_ok_and(|text| {
            let mut lines = text.lines().map(|line| line.trim().trim_start_matches("pub "));
            lines.any(|line| line == format!("mod {name};"))
        })
    };
    let is_reached_itself = || !above.contains('/') || is_reached(above);
    if declares(&file_of(&format!("{above}/main"))) {
        return true;
    }
    declares(&file_of(above)) && is_reached_itself()
}

/// The place and the name in `place: name`.
pub fn parts(test: &str) -> Option<(&str, &str)> {
    test.split_once(": ").filter(|(place, name)| !place.is_empty() && !name.is_empty())
}

/// Why a test cannot hold anything, or nothing.
pub fn complaint(test: &str) -> Option<String> {
    let Some((place, name)) = parts(test) else { return Some(format!("{test}: no place and name")) };
    if !tests_in(place).contains(name) {
        return Some(format!("{test}: there is no such test in {}", file_of(place).display()));
    }
    (!is_reached(place)).then(|| format!("{test}: no test program has this file"))
}
