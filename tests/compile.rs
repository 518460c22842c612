//! Does the compiled image do what tcpdcompile(8) says? The real compiler, the real wrapper on loopback
//! and tcpdmatch, on files of a test's own; neither root nor the net is needed.
//!
//! An image may be used only two seconds after the last change of a file that it is made of. So tests
//! that change nothing share their files, and tests that do change many at once.
#![forbid(unsafe_code)]

#[path = "compile/changes.rs"]
mod changes;
#[path = "compile/contest.rs"]
mod contest;
#[path = "compile/format.rs"]
mod format;
#[path = "compile/output.rs"]
mod output;
#[path = "compile/place.rs"]
mod place;
#[path = "common/running.rs"]
mod running;
#[path = "compile/sizes.rs"]
mod sizes;
#[path = "compile/trust.rs"]
mod trust;
#[path = "compile/verdicts.rs"]
mod verdicts;
