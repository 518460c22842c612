//! Which connections is it about? From `daemon@server` and `user@client` to facts.
//!
//! Warnings come in the order of the reference: the name of the service, inetd.conf(5), whether the
//! service is in it and wrapped, who may write the tables, the server, the client.

#![forbid(unsafe_code)]

use super::{About, Inquiry};
use crate::error::{Problem, Weight, What, reason};
use crate::facts::{DaemonName, stated_user};
use crate::hosts::{self, Host};
use crate::logline::{self, printable};
use crate::services::{self, Services};
use crate::settings::Settings;
use crate::sys::file::world_writable;
use crate::witness::{Facts, Ports};
use std::path::Path;
use std::sync::Arc;

/// Servers that inetd does not start and that ask nobody.
const NOT_WRAPPED: [&str; 2] = ["portmap", "rpcbind"];

/// The connections of an inquiry, at least one except for a batch; or why there is none, as a text for standard error that
/// may be empty.
pub fn find(
    inquiry: &Inquiry,
    settings: &Settings,
    warnings: &mut Vec<Vec<u8>>,
) -> Result<Vec<Facts>, String> {
    let (daemon, client) = match &inquiry.about {
        About::Words { daemon, client } => (daemon.as_slice(), client.as_slice()),
        About::Stated(facts) => {
            if inquiry.services.is_some() {
                service(inquiry, facts.daemon.as_ref(), warnings)?;
            }
            tables(settings, warnings);
            return Ok(vec![facts.clone()]);
        }
        // These bring their own.
        About::Batch | About::Logs(_) => return Ok(Vec::new()),
    };
    let (daemon, server) = split(daemon);
    let (user, client) = match split(client) {
        (user, Some(client)) => (user, client),
        (client, None) => (&b""[..], client),
    };
    let name = match daemon {
        [b'/', ..] => daemon.rsplit(|&byte| byte == b'/').next().unwrap_or_default(),
        _ => daemon,
    };
    if name.len() < daemon.len() {
        let (from, to) = (printable(daemon), printable(name));
        warnings.push([b"warning: ", from.as_slice(), b": daemon name normalized to: ", &to].concat());
    }
    service(inquiry, name, warnings)?;
    tables(settings, warnings);
    let server = match server {
        None => Host::unknown(),
        Some(word) => one_server(word, settings, warnings)?,
    };
    let clients = hosts::find(client, settings.resolve_timeout, warnings);
    let subject = |client| Facts {
        daemon: DaemonName::stated(name),
        client,
        server: server.clone(),
        user: stated_user(user),
        ports: Ports::default(),
    };
    if clients.is_empty() { Err(String::new()) } else { Ok(clients.into_iter().map(subject).collect()) }
}

/// The two sides of the first `@`.
fn split(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    match word.iter().position(|&byte| byte == b'@') {
        Some(at) => (word.get(..at).unwrap_or_default(), word.get(at + 1..)),
        None => (word, None),
    }
}

fn one_server(word: &[u8], settings: &Settings, warnings: &mut Vec<Vec<u8>>) -> Result<Host, String> {
    let found = hosts::find(word, settings.resolve_timeout, warnings);
    match <[Host; 1]>::try_from(found) {
        Ok([server]) => Ok(server),
        Err(found) if found.is_empty() => Err(String::new()),
        Err(_) => {
            let word = String::from_utf8_lossy(&printable(word)).into_owned();
            Err(format!("Error: {word} has more than one address\nPlease specify an address instead\n"))
        }
    }
}

/// What inetd.conf(5) has against it that a service is wrapped.
fn service(inquiry: &Inquiry, name: &[u8], warnings: &mut Vec<Vec<u8>>) -> Result<(), String> {
    let services = match &inquiry.services {
        Some(path) => {
            services::read(path).map_err(|cause| format!("open {}: {}\n", path.display(), reason(&cause)))?
        }
        None => services::find(),
    };
    for entry in services.problems.iter().flat_map(logline::problem) {
        warnings.push(entry.text);
    }
    if let Some(complaint) = doubt(&services, name) {
        warnings.push([b"warning: ", printable(name).as_slice(), &complaint].concat());
    }
    Ok(())
}

fn doubt(services: &Services, name: &[u8]) -> Option<Vec<u8>> {
    if NOT_WRAPPED.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
        return Some(b": service possibly not wrapped".to_vec());
    }
    // Line 0: it is known for asking by itself, but inetd does not start it.
    match services.named(name).filter(|service| service.line > 0) {
        None => Some([b": no such process name in ", services.file_text()].concat()),
        Some(service) if !service.wrapped => Some(b": service possibly not wrapped".to_vec()),
        Some(_) => None,
    }
}

/// Who may write the tables decides about the services.
pub fn tables(settings: &Settings, warnings: &mut Vec<Vec<u8>>) {
    for table in [&settings.hosts_allow, &settings.hosts_deny] {
        let Ok((meta, writable)) = world_writable(table) else { continue };
        if !meta.is_file() {
            // The null device is no table that anybody could change.
            continue;
        }
        for path in writable {
            let what = What::WorldWritable(Arc::from(path.as_path() as &Path));
            let problem = Problem { place: None, weight: Weight::Warning, what };
            warnings.extend(logline::problem(&problem).into_iter().map(|entry| entry.text));
        }
    }
}
