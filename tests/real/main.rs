//! Does the wrapper do its work behind real super-servers, in front of real servers, for real
//! clients, with real name servers, ident servers, mailers and log daemons?
//!
//! Every test runs as root in a mount and a network namespace of its own (see `tests/lab`), and
//! only when `TCPD_REAL=1` is set; `packages.txt` beside this file names the Debian packages.
//! `TCPD_BINARY=/path` runs the same tests against another program; with `TCPD_ORIGINAL=1` the
//! recorded scenarios are then compared with what the original did, without our amendments.
//! `LIBWRAP_DIR=/path` and `LIBWRAP_ORIGINAL=1` do the same for the library (see `lab::library`).

#[macro_use]
#[path = "../lab/mod.rs"]
mod lab;

#[path = "../common/blocks.rs"]
mod blocks;

mod channels;
mod checker;
mod cli;
mod client;
mod compiled;
mod history;
mod ident;
mod identity;
mod inheritance;
mod library;
mod listen;
mod logins;
mod migration;
mod names;
mod netgroups;
mod oddities;
mod privileged;
mod recorded;
mod replay;
mod services;
mod superservers;
mod syslog;
mod tools;
mod trap;
