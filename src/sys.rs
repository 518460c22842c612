//! Hands on the system: small, safe, typed. They know no rule and no request.
//!
//! `unsafe` lives in this folder (and in the one attribute that names `main`, and where libwrap meets C);
//! nix, dns-lookup, syslog and libc are used here and nowhere else. Each unsafe block says why it is
//! sound.

pub mod append;
pub mod clock;
pub mod environment;
pub mod file;
pub mod inherited;
pub mod launch;
pub mod mailbox;
pub mod netdb;
pub mod process;
pub mod program;
pub mod resolver;
pub mod signals;
pub mod socket;
pub mod syslog;
pub mod tree;
pub mod unseen;
