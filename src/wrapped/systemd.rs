//! Which units of systemd run tcpd?
//!
//! A service whose command is tcpd asks, whether a socket unit starts it for each connection
//! (`Accept=yes`, a template), once for all (`tcpd --listen systemd`), or nobody does
//! (`tcpd --listen ADDR:PORT`). Which socket belongs to which service is said by `Service=`, or by
//! their names (systemd.socket(5)). Commands of all other units are handed on: their programs may be
//! linked with libwrap.

#![forbid(unsafe_code)]

use super::units::{self, Unit, Units};
use super::{Kind, Note, Search, Start, Way, base};

pub fn look(search: &mut Search<'_>) {
    let units = units::read(search);
    for unit in units.all.values().filter(|unit| unit.name.ends_with(".service")) {
        let sockets: Vec<&Unit> = units.all.values().filter(|socket| starts(&units, socket, unit)).collect();
        let ports: Vec<u16> = sockets.iter().flat_map(|socket| ports(socket)).collect();
        for (line, at) in unit.list("Service", "ExecStart") {
            for (flags, words) in unit.commands(line) {
                let Some((named, rest)) = words.split_first() else { continue };
                let program = units::program(search, named);
                // With `@` the next word is argv[0], else the program is.
                let argv = if flags.contains(&b'@') { rest.to_vec() } else { words.clone() };
                if base(&program) != b"tcpd" {
                    let by = unit.name.clone();
                    search.starts.push(Start { program, argv, by, ports: ports.clone(), asked_as: None });
                    continue;
                }
                // A template of a socket that is one, too, is not started; its instances are.
                let is_template = unit.is_template() && !sockets.is_empty();
                if is_template && sockets.iter().all(|socket| socket.is_template()) {
                    continue;
                }
                let Some((call, mut notes)) = search.tcpd(&argv, &unit.name) else { continue };
                let ways_in: Vec<&Unit> = if sockets.is_empty() { vec![unit] } else { sockets.clone() };
                if !ways_in.iter().any(|unit| !unit.can_be_enabled() || units.is_wanted(unit)) {
                    notes.push(Note::NotEnabled);
                }
                let ports = [ports.clone(), call.addresses().iter().map(|address| address.port()).collect()];
                let sockets = sockets.iter().map(|socket| socket.name.clone()).collect();
                let kind = Kind::Systemd { unit: unit.name.clone(), at: at.clone(), sockets };
                search.asks(&call.daemon, false, Way { kind, notes }, &ports.concat());
            }
        }
    }
}

/// Whether a unit is a socket that starts a service.
fn starts(units: &Units, socket: &Unit, service: &Unit) -> bool {
    let Some(stem) = socket.name.strip_suffix(".socket") else { return false };
    let accepts = socket.value("Socket", "Accept").is_some_and(|value| {
        ["yes", "true", "1", "on"].iter().any(|yes| value.eq_ignore_ascii_case(yes.as_bytes()))
    });
    let named = socket.value("Socket", "Service").map(|name| String::from_utf8_lossy(name).into_owned());
    let name = match (accepts, named) {
        (true, _) => format!("{stem}@.service"),
        (false, Some(name)) => name,
        (false, None) => format!("{stem}.service"),
    };
    units.named(&name).is_some_and(|unit| unit.name == service.name)
}

/// The ports of a socket unit.
fn ports(socket: &Unit) -> Vec<u16> {
    let listed = ["ListenStream", "ListenDatagram"].map(|key| socket.list("Socket", key)).concat();
    let port = |address: &[u8]| {
        let number = address.rsplit(|&byte| byte == b':').next()?;
        std::str::from_utf8(number).ok()?.parse().ok()
    };
    listed.iter().filter_map(|(address, _)| port(address)).collect()
}
