//! Do the units in `etc/systemd` say what systemd understands, and do they do what their comments say?
//!
//! What can be read in the files is checked always. With `TCPD_REAL=1` systemd's own checker looks at
//! them, and then a systemd runs them: as process 1 of namespaces of its own, in the lab of the real
//! suite, with the commands, rules and drop-ins that stand in the comments of the units.

#[allow(dead_code, unused_imports, unused_macros)]
#[path = "lab/mod.rs"]
#[macro_use]
mod lab;

#[path = "units/files.rs"]
mod files;
#[path = "units/live.rs"]
mod live;
#[path = "units/manager.rs"]
mod manager;
