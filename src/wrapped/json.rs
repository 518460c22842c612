//! What was found, for programs: one object on one line. Its schema is in tcpdchk(8).
//!
//! Bytes that are no UTF-8 become U+FFFD.

#![forbid(unsafe_code)]

use super::{Answer, Asker, At, By, Findings, Hint, Kind, Name, Note, Service, Touch, Way, screen};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The object of an answer.
pub fn object(findings: &Findings) -> Value {
    let tables = findings
        .tables
        .iter()
        .map(|table| json!({ "file": path(&table.file), "rules": table.rules, "missing": table.missing, "broken": table.broken }));
    let looked = &findings.looked;
    json!({
        "root": path(&findings.root),
        "tables": tables.collect::<Vec<_>>(),
        "services": findings.services.iter().map(service).collect::<Vec<_>>(),
        "open": findings.open.iter().map(|open| json!({
            "program": path(&open.program),
            "through": open.through.as_deref().map(path),
            "names": open.names,
        })).collect::<Vec<_>>(),
        "idle": findings.idle.iter().map(|idle| json!({
            "program": path(&idle.program),
            "through": idle.through.as_deref().map(path),
            "daemons": texts(&idle.names),
            "why": idle.why,
        })).collect::<Vec<_>>(),
        "names": findings.names.iter().map(name).collect::<Vec<_>>(),
        "looked_at": {
            "inetd_lines": looked.inetd_lines,
            "xinetd_services": looked.xinetd_services,
            "units": looked.units,
            "programs": looked.programs,
            "libraries": looked.libraries,
            "processes": looked.processes,
        },
        "not_seen": findings.unseen.iter().map(|unseen| json!({
            "what": unseen.what,
            "why": unseen.why,
            "count": unseen.count,
        })).collect::<Vec<_>>(),
        "unused": findings.is_unused(),
        "errors": findings.errors(),
    })
}

fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

fn texts(all: &[Vec<u8>]) -> Value {
    all.iter().map(|bytes| text(bytes)).collect()
}

fn path(path: &Path) -> Value {
    text(path.as_os_str().as_encoded_bytes())
}

fn place(at: &At) -> Value {
    json!({ "file": path(&at.file), "line": at.line })
}

fn service(service: &Service) -> Value {
    json!({
        "daemon": text(&service.name),
        "assumed": service.assumed,
        "governed": service.is_governed(),
        "named_by": service.closest().map(by),
        "ports": service.ports,
        "ways": service.ways.iter().map(way).collect::<Vec<_>>(),
        "rules": service.rules.iter().map(rule).collect::<Vec<_>>(),
        "rules_more": service.more,
        "remark": screen::remark(service),
    })
}

fn by(by: By) -> &'static str {
    match by {
        By::Name => "name",
        By::Port => "port",
        By::Pattern => "pattern",
        By::All => "all",
    }
}

fn way(way: &Way) -> Value {
    let asker = |asker: &Asker| match asker {
        Asker::Tcpd => "tcpd",
        Asker::Itself => "libwrap",
    };
    let mut members = match &way.kind {
        Kind::Inetd { at, service, asker: who } => {
            json!({ "kind": "inetd", "at": place(at), "service": text(service), "asker": asker(who) })
        }
        Kind::Xinetd { at, service, asker: who } => {
            json!({ "kind": "xinetd", "at": place(at), "service": text(service), "asker": asker(who) })
        }
        Kind::Systemd { unit, at, sockets } => {
            json!({ "kind": "systemd", "at": place(at), "unit": unit, "sockets": sockets, "asker": "tcpd" })
        }
        Kind::Linked { program, through, started } => json!({
            "kind": "linked",
            "program": path(program),
            "through": through.as_deref().map(path),
            "started_by": started,
            "asker": "libwrap",
        }),
        Kind::Running { program, pids, library } => json!({
            "kind": "running",
            "program": path(program),
            "pids": pids,
            "library": library.as_deref().map(path),
            "asker": if library.is_some() { "libwrap" } else { "tcpd" },
        }),
    };
    let notes = way.notes.iter().map(|note| json!({ "code": code(note), "text": screen::note_words(note) }));
    if let Some(members) = members.as_object_mut() {
        members.insert("notes".to_owned(), notes.collect());
    }
    members
}

fn code(note: &Note) -> &'static str {
    match note {
        Note::NotEnabled => "not-enabled",
        Note::OtherRules(_) => "other-rules",
        Note::OtherRoot => "other-root",
        Note::LibraryReplaced => "library-replaced",
        Note::ProgramReplaced => "program-replaced",
        Note::NoSuperServer(_) => "no-super-server",
    }
}

fn rule(touch: &Touch) -> Value {
    let mut members = Map::new();
    members.insert("file".to_owned(), path(&touch.at.file));
    members.insert("line".to_owned(), touch.at.line.into());
    members.insert("word".to_owned(), text(&touch.word));
    members.insert("by".to_owned(), by(touch.by).into());
    members.insert("sure".to_owned(), touch.sure.into());
    members.insert("excepted".to_owned(), touch.excepted.into());
    Value::Object(members)
}

fn name(name: &Name) -> Value {
    let (answer, services, program, hint) = match &name.answer {
        Answer::Services(services) => ("services", services.as_slice(), None, None),
        Answer::OtherRules(services) => ("other-rules", services.as_slice(), None, None),
        Answer::Idle { program, .. } => ("idle", &[][..], Some(program), None),
        Answer::Unwrapped { program, .. } => ("unwrapped", &[][..], Some(program), None),
        Answer::BuiltIn(program) => ("built-in", &[][..], Some(program), None),
        Answer::Port => ("port", &[][..], None, None),
        Answer::Perhaps(_) => ("perhaps", &[][..], None, None),
        Answer::Nothing(hint) => ("nothing", &[][..], None, hint.as_ref()),
    };
    let meant = match hint {
        None => None,
        Some(Hint::AsksAs { names, .. }) => names.first(),
        Some(Hint::Daemon(name) | Hint::Near(name)) => Some(name),
    };
    json!({
        "word": text(&name.word),
        "by": by(name.by),
        "answer": answer,
        "error": name.answer.is_error(),
        "services": texts(services),
        "program": program.map(|program| path(program)),
        "meant": meant.map(|name| text(name)),
        "text": screen::answer(name),
        "places": name.places.iter().map(place).collect::<Vec<_>>(),
        "count": name.count,
    })
}
