//! What does a connection cost?
//!
//! Three tables, each of what was compared within one run, because absolute times differ from machine to
//! machine and from minute to minute:
//!
//! 1. *connection*: what a wrapper adds to a server that is started for every connection;
//! 2. *scaling*: the same as the rules grow;
//! 3. *listener*: where no inetd is wanted, the wrapper's own listener beside tcpserver.
//!
//! Real programs, real TCP connections. What is compared takes turns, round by round, and differences are
//! taken within a round. As root everything happens in a mount and a network namespace of its own (the
//! laboratory of the tests), so that the rules in /etc, the log socket and the ports are the bench's. Not
//! as root there is no such place, and the reference, which knows only /etc, is not measured.
//!
//! ```text
//! cargo bench --bench per_connection                  # all three
//! cargo bench --bench per_connection -- scaling       # one of them
//! ```

#[path = "../common/mod.rs"]
mod common;
#[macro_use]
#[path = "../../tests/lab/mod.rs"]
#[allow(dead_code, unused_imports, unused_macros)]
mod lab;

mod connection;
mod field;
mod keeper;
mod launcher;
mod listener;
mod scaling;
mod table;
mod visitors;

use field::Field;
use std::process::ExitCode;

/// A bench, and what it shows in the end.
type Bench = fn(&Field) -> String;

const BENCHES: [(&str, Bench); 3] =
    [("connection", connection::run), ("scaling", scaling::run), ("listener", listener::run)];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((role, rest)) if role == launcher::ROLE => return launcher::main(rest),
        Some((role, rest)) if role == keeper::ROLE => return keeper::main(rest),
        // `cargo test --benches` starts benches, too, but not to measure.
        _ if !arguments.iter().any(|word| word == "--bench") => return ExitCode::SUCCESS,
        _ => {}
    }
    let names: Vec<_> = arguments.iter().filter(|word| !word.starts_with('-')).cloned().collect();
    if let Some(stranger) = names.iter().find(|name| BENCHES.iter().all(|(known, _)| known != name)) {
        eprintln!("{stranger}: no bench has this name; there are {:?}", BENCHES.map(|(name, _)| name));
        return ExitCode::FAILURE;
    }
    let asked_for = move |name: &str| names.is_empty() || names.iter().any(|asked| asked == name);
    // The main thread stays outside: the laboratory ends every process that lives in it.
    let inside = std::thread::spawn(move || {
        let field = Field::enter();
        let mut shown = field.remarks();
        for (name, bench) in BENCHES {
            if asked_for(name) {
                eprintln!("measuring: {name}");
                shown += &bench(&field);
            }
        }
        shown
    });
    println!("{}", inside.join().expect("the benches run to their end"));
    ExitCode::SUCCESS
}
