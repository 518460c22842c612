//! What was found, for people: who asks, by what way, and which rules are about it; then the names that
//! nothing answers to. On a screen of 80 columns.

#![forbid(unsafe_code)]

use super::{Answer, Asker, At, By, Findings, Hint, Kind, Name, Note, Service, Touch, Way};
use crate::explain::screen::{Look, Screen};
use crate::logline::printable;
use std::path::Path;

/// Most places and process numbers that are shown of anything.
const SHOWN_MAX: usize = 5;

pub fn print(findings: &Findings, screen: &mut Screen) {
    head(findings, screen);
    for service in &findings.services {
        screen.blank();
        self::service(service, screen);
    }
    if !findings.open.is_empty() {
        screen.blank();
        screen.row("These ask under names that are not known here:", Look::Plain, b"");
        for open in &findings.open {
            let text = format!(
                "{}{}; names: {}",
                shown(&open.program),
                through(open.through.as_deref()),
                open.names
            );
            screen.row("  linked", Look::Doubtful, text.as_bytes());
        }
    }
    if !findings.idle.is_empty() {
        screen.blank();
        screen.row("These are linked with libwrap and do not ask:", Look::Plain, b"");
        for idle in &findings.idle {
            let text = format!("{}{}; {}", shown(&idle.program), through(idle.through.as_deref()), idle.why);
            screen.row("  linked", Look::Faint, text.as_bytes());
        }
    }
    names(findings, screen);
    close(findings, screen);
}

fn head(findings: &Findings, screen: &mut Screen) {
    if findings.root != Path::new("/") {
        screen.row("root", Look::Plain, shown(&findings.root).as_bytes());
    }
    for table in &findings.tables {
        let text = match &table.broken {
            None if table.missing => format!("{}: there is no such file", shown(&table.file)),
            None => format!("{}: {}", shown(&table.file), count(table.rules, "rule")),
            Some(why) => format!("error: {why}"),
        };
        let look = if table.broken.is_some() { Look::Bad } else { Look::Plain };
        screen.row("rules", look, text.as_bytes());
    }
    let looked = &findings.looked;
    let mut parts = vec![
        count(looked.inetd_lines, "line") + " of inetd",
        count(looked.xinetd_services, "service") + " of xinetd",
        count(looked.units, "unit"),
        count(looked.programs, "program"),
        if looked.libraries == 1 {
            "1 library".to_owned()
        } else {
            format!("{} libraries", looked.libraries)
        },
    ];
    parts.extend(
        looked
            .processes
            .map(|number| if number == 1 { "1 process".to_owned() } else { format!("{number} processes") }),
    );
    screen.row("looked at", Look::Plain, parts.join(", ").as_bytes());
    for unseen in &findings.unseen {
        let number = if unseen.count > 1 { format!(" ({} times)", unseen.count) } else { String::new() };
        screen.row("not seen", Look::Doubtful, format!("{}: {}{number}", unseen.what, unseen.why).as_bytes());
    }
}

fn service(service: &Service, screen: &mut Screen) {
    let (look, verdict) = match (service.is_governed(), service.closest()) {
        (false, _) => (Look::Doubtful, "asks, but not these rules"),
        (true, Some(By::Name | By::Port)) => (Look::Good, "asks, and a rule names it"),
        (true, Some(By::Pattern)) => (Look::Good, "asks, and a pattern names it"),
        (true, Some(By::All)) => (Look::Doubtful, "asks; only ALL is about it"),
        (true, None) => (Look::Bad, "asks; no rule is about it, so everybody is served"),
    };
    screen.row(&text(&service.name), look, verdict.as_bytes());
    if service.assumed {
        screen.row("  name", Look::Faint, b"assumed: it is that of the program's file");
    }
    for way in &service.ways {
        self::way(way, screen);
    }
    if let Some(remark) = remark(service) {
        screen.row("  note", Look::Faint, remark.as_bytes());
    }
    for touch in service.rules.iter().take(SHOWN_MAX) {
        screen.row("  rule", Look::Plain, rule(touch).as_bytes());
    }
    let rest = service.more + service.rules.len().saturating_sub(SHOWN_MAX);
    if rest > 0 {
        screen.row("", Look::Faint, format!("and {} more", count(rest, "rule")).as_bytes());
    }
}

/// What is worth knowing of a service of that name.
pub fn remark(service: &Service) -> Option<&'static str> {
    let linked = service.ways.iter().any(|way| matches!(way.kind, Kind::Linked { .. }));
    let is_sshd = service.name.eq_ignore_ascii_case(b"sshd") && linked;
    is_sshd.then_some("OpenSSH gave libwrap up in version 6.7; this one was built with it")
}

/// The head of a way, and what it is.
fn way(way: &Way, screen: &mut Screen) {
    let by = |asker: &Asker, name: &str| match asker {
        Asker::Tcpd => "through tcpd".to_owned(),
        Asker::Itself => format!("{name} asks by itself"),
    };
    let of = |service: &[u8]| {
        if service.is_empty() { String::new() } else { format!(", service {}", text(service)) }
    };
    let (head, mut words) = match &way.kind {
        Kind::Inetd { at, service, asker } => {
            ("  inetd", format!("{}{}, {}", place(at), of(service), by(asker, "inetd")))
        }
        Kind::Xinetd { at, service, asker } => {
            ("  xinetd", format!("{}{}, {}", place(at), of(service), by(asker, "xinetd")))
        }
        Kind::Systemd { unit, at, sockets } => {
            let sockets =
                if sockets.is_empty() { String::new() } else { format!(", by {}", sockets.join(", ")) };
            ("  systemd", format!("{unit}{sockets}, through tcpd ({})", place(at)))
        }
        Kind::Linked { program, through: by, started } => {
            let started = if started.is_empty() {
                String::new()
            } else {
                format!(", started by {}", started.join(", "))
            };
            ("  linked", format!("{}{}{started}", shown(program), through(by.as_deref())))
        }
        Kind::Running { program, pids, library } => {
            let first: Vec<_> = pids.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
            let rest = pids.len().saturating_sub(SHOWN_MAX);
            let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            let how = if library.is_some() { "" } else { ", listens" };
            ("  running", format!("{}, process {}{rest}{how}", shown(program), first.join(", ")))
        }
    };
    for note in &way.notes {
        words.push_str("; ");
        words.push_str(&note_words(note));
    }
    let look = if way.notes.is_empty() { Look::Plain } else { Look::Doubtful };
    screen.row(head, look, words.as_bytes());
}

/// What a note says.
pub fn note_words(note: &Note) -> String {
    match note {
        Note::NotEnabled => "not enabled".to_owned(),
        Note::OtherRules(tables) => format!("asks other rules: {tables}"),
        Note::OtherRoot => "has a root directory of its own, and asks the rules there".to_owned(),
        Note::LibraryReplaced => "libwrap was replaced since it was started: start it anew".to_owned(),
        Note::ProgramReplaced => "its program was replaced since it was started".to_owned(),
        Note::NoSuperServer(name) => format!("no {name} is here"),
    }
}

fn rule(touch: &Touch) -> String {
    let word = text(&touch.word);
    let how = match (touch.excepted, touch.sure, touch.by) {
        (true, _, _) => format!("EXCEPT {word}: not about it"),
        (false, true, _) => word,
        (false, false, By::Port) => format!("{word}, if it listens there"),
        (false, false, _) => format!("{word}, at some addresses or ports only"),
    };
    format!("{}  {how}", place(&touch.at))
}

fn names(findings: &Findings, screen: &mut Screen) {
    let unanswered = |name: &&Name| !matches!(name.answer, Answer::Services(_));
    let names: Vec<&Name> = findings.names.iter().filter(unanswered).collect();
    if names.is_empty() {
        return;
    }
    screen.blank();
    screen.row("Names in the rules that no service here answers to:", Look::Plain, b"");
    for name in names {
        screen.blank();
        let look = if name.answer.is_error() { Look::Bad } else { Look::Doubtful };
        let weight = if name.answer.is_error() { "error: " } else { "" };
        screen.row(&text(&name.word), look, format!("{weight}{}", answer(name)).as_bytes());
        let mut places: Vec<_> = name.places.iter().take(SHOWN_MAX).map(place).collect();
        let rest = name.count.saturating_sub(places.len());
        if rest > 0 {
            places.push(format!("and {rest} more"));
        }
        screen.row("  rule", Look::Plain, places.join(", ").as_bytes());
    }
}

/// What answers to a name, in a sentence.
pub fn answer(name: &Name) -> String {
    let list = |names: &[Vec<u8>]| names.iter().map(|name| text(name)).collect::<Vec<_>>().join(", ");
    match &name.answer {
        Answer::Services(names) => {
            format!("{} {}", list(names), if names.len() == 1 { "answers" } else { "answer" })
        }
        Answer::OtherRules(names) => format!("{} would, but it asks other rules", list(names)),
        Answer::Idle { program, why } => {
            format!("not in force: {} is linked with libwrap, but {why}", shown(program))
        }
        Answer::Unwrapped { program, by } => {
            let by = by.as_ref().map_or(String::new(), |by| format!(" {by} starts it without tcpd."));
            let sshd = match name.word.eq_ignore_ascii_case(b"sshd") {
                true => " OpenSSH gave libwrap up in version 6.7, and this one was built without it.",
                false => "",
            };
            format!("not in force: {} is not linked with libwrap.{by}{sshd}", shown(program))
        }
        Answer::BuiltIn(program) => {
            format!("perhaps {}: it is not linked with libwrap, but may have it built in", shown(program))
        }
        Answer::Port => "it is a port, and nobody here is known to listen on it".to_owned(),
        Answer::Perhaps(programs) => {
            let programs: Vec<_> = programs.iter().map(|program| shown(program)).collect();
            format!("perhaps {}: under which names is not known here", programs.join(", "))
        }
        Answer::Nothing(hint) => {
            let hint = hint.as_ref().map_or(String::new(), |hint| format!("; {}", hint_words(hint)));
            format!("nothing on this machine answers to it{hint}")
        }
    }
}

/// What may have been meant.
pub fn hint_words(hint: &Hint) -> String {
    match hint {
        Hint::AsksAs { program, names } => {
            let names: Vec<_> = names.iter().map(|name| format!("\"{}\"", text(name))).collect();
            format!("{} goes by the name {}", shown(program), names.join(", "))
        }
        Hint::Daemon(name) => format!("the daemon of that service is \"{}\"", text(name)),
        Hint::Near(name) => format!("did you mean \"{}\"?", text(name)),
    }
}

fn close(findings: &Findings, screen: &mut Screen) {
    let asking =
        findings.services.iter().filter(|service| service.is_governed()).count() + findings.open.len();
    let is_unnamed = |service: &&Service| service.is_governed() && service.closest().is_none();
    let unnamed = findings.services.iter().filter(is_unnamed).count();
    let unanswered = findings.names.iter().filter(|name| !matches!(name.answer, Answer::Services(_))).count();
    let errors = findings.errors();
    screen.blank();
    let mut what = if asking == 1 { "1 service asks".to_owned() } else { format!("{asking} services ask") };
    what.push_str(" these rules");
    if unnamed > 0 {
        what.push_str(&format!("; no rule is about {unnamed} of them"));
    }
    if unanswered > 0 {
        what.push_str(&format!("; {} without an answer", count(unanswered, "name")));
    }
    screen.row("together", Look::Plain, what.as_bytes());
    if findings.is_unused() {
        screen.row("", Look::Bad, b"error: there are rules, and nothing here asks them");
    }
    if errors > 0 {
        screen.row("", Look::Bad, count(errors, "error").as_bytes());
    }
}

fn through(file: Option<&Path>) -> String {
    file.map_or(String::new(), |file| format!(" through {}", shown(file)))
}

fn place(at: &At) -> String {
    match at.line {
        0 => shown(&at.file),
        line => format!("{}:{line}", shown(&at.file)),
    }
}

fn shown(path: &Path) -> String {
    text(path.as_os_str().as_encoded_bytes())
}

/// Bytes that a screen can bear.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&printable(bytes)).into_owned()
}

fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}
