//! Debian's own tcpd on our library: the scenarios that were recorded with it on its own.
//!
//! What tcpd leaves to the library it does as ours does, so `tests/mended-e2e.tsv` holds here, too. What
//! it does itself it does as ever; those scenarios are listed in `tests/mended-e2e-library.tsv`, each in
//! place of a line of the other list or of the recording, in the same form.

use crate::lab;
use crate::lab::library::{Library, is_the_original};
use crate::lab::{SCRATCH, Visit};
use crate::recorded::{Expected, quarter};

const WRAPPER: &str = "/usr/sbin/tcpd";

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

/// A lab with Debian's tcpd in the place of ours.
fn open() -> Option<Library> {
    if !lab::is_wanted() {
        return None;
    }
    lab::need(WRAPPER, "tcpd");
    let bytes = std::fs::read(WRAPPER).unwrap();
    let library = Library::open()?;
    lab::install(WRAPPER, &bytes, 0o755);
    library.expect_found(WRAPPER);
    Some(library)
}

fn debians(part: usize) {
    let Some(library) = open() else { return };
    let mut expected = Expected::original();
    if !is_the_original() {
        expected = Expected::ours();
        expected.but("mended-e2e-library.tsv", include_str!("../../mended-e2e-library.tsv"));
    }
    quarter(&library, part, &expected);
}

/// M3: from the first byte of the options, and for an IPv4 client of an IPv6 socket, too. Nothing is done
/// about such a client but that he is refused.
#[test]
fn source_routes_are_refused() {
    let Some(library) = open() else { return };
    if is_the_original() {
        return;
    }
    let spawned = format!("{SCRATCH}/spawned");
    library.rules(&format!("ALL: ALL: spawn touch {spawned}\n"), "");
    for options in [&[0x83, 7, 4, 127, 0, 0, 1, 0][..], &[1, 1, 1, 1, 0x89, 7, 4, 127, 0, 0, 1, 0]] {
        for server in ["127.0.0.1", "::"] {
            let outcome = Visit::of(&library).to(server).with_ip_options(options).run();
            assert!(outcome.saw.is_none(), "{server}: served");
            assert_eq!((outcome.received.as_str(), outcome.exit), ("", 0));
            let first = &outcome.log[0];
            assert_eq!(first.priority, 28);
            assert!(first.message.ends_with("127.0.0.2 with IP source routing options"), "{first:?}");
        }
    }
    assert!(!std::path::Path::new(&spawned).exists());
}
