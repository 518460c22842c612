//! Debian's own tcpd on our library: the scenarios that were recorded with it on its own.
//!
//! What tcpd leaves to the library it does as ours does, so `tests/mended-e2e.tsv` holds here, too. What
//! it does itself it does as ever; those scenarios are listed in `tests/mended-e2e-library.tsv`, each in
//! place of a line of the other list or of the recording, in the same form.

use crate::lab;
use crate::lab::library::is_the_original;
use crate::recorded::{Expected, quarter};

#[test]
fn first_quarter() {
    debians(0);
}

#[test]
fn second_quarter() {
    debians(1);
}

#[test]
fn third_quarter() {
    debians(2);
}

#[test]
fn last_quarter() {
    debians(3);
}

fn debians(part: usize) {
    let wrapper = "/usr/sbin/tcpd";
    lab::need(wrapper, "tcpd");
    let bytes = std::fs::read(wrapper).unwrap();
    let library = open_library!();
    lab::install(wrapper, &bytes, 0o755);
    library.expect_found(wrapper);
    let mut expected = Expected::original();
    if !is_the_original() {
        expected = Expected::ours();
        expected.but("mended-e2e-library.tsv", include_str!("../../mended-e2e-library.tsv"));
    }
    quarter(&library, part, &expected);
}
