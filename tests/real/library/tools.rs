//! Debian's own tcpdchk, tcpdmatch and try-from on our library: the calls that were recorded with them.
//!
//! Each brings a `syslog` of its own that prints. The original library was built in a way that goes past
//! it, so that all it had to say went to the log of the machine; ours goes through it, and what their
//! manuals promise stands on standard output again. Where that differs from what was designed,
//! `tests/mended-cli-library.tsv` says how, in the form of `tests/mended-cli.tsv`.

use std::collections::BTreeMap;

use crate::cli::{Form, Mended, TOOLS, expect_as_recorded};
use crate::lab;
use crate::lab::library::is_the_original;
use crate::tools::{expect_try_from_as_recorded, listed};

#[test]
fn tcpdmatch_of_debian() {
    debians(TOOLS[0]);
}

#[test]
fn tcpdchk_of_debian() {
    debians(TOOLS[1]);
}

fn debians((tool, least): (&str, usize)) {
    let library = open_library!();
    let path = format!("/usr/sbin/{tool}");
    lab::need(&path, "tcpd");
    library.expect_found(&path);
    if is_the_original() {
        expect_as_recorded(tool, least, Form::AsInstalled, &Mended::default());
        return;
    }
    let list = Mended::read("mended-cli-library.tsv", include_str!("../../mended-cli-library.tsv"));
    expect_as_recorded(tool, least, Form::AsDesigned, &list);
    // Nothing went past them.
    assert_eq!(library.log(), []);
}

#[test]
fn try_from_of_debian() {
    let library = open_library!();
    lab::need("/usr/sbin/try-from", "tcpd");
    library.expect_found("/usr/sbin/try-from");
    let mended = if is_the_original() { BTreeMap::new() } else { listed("try-from") };
    expect_try_from_as_recorded(&library, mended, is_the_original());
}
