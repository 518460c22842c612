//! A replay for people: what does it look like on a screen of 80 columns?
//!
//! What flips is shown by the rule that decides now, with the rule in front of it, so that an editor can
//! be sent there; what weighs most comes first. What could not be decided comes behind it, and the sum
//! last.

#![forbid(unsafe_code)]

use super::judge::{Cause, Missing, RuleAt};
use super::tally::{Count, Flips, Hits, When};
use super::{Replay, Session};
use crate::explain::screen::{Look, Screen, look_of};
use crate::facts::Side;
use crate::logline::{self, printable};
use crate::narrator::Verdict;
use crate::rules::Which;
use std::collections::BTreeMap;

/// Rows below one heading, where not all are wanted.
const ROWS_MAX: usize = 200;

/// What flips, and what may.
pub fn flips(replay: &Replay<'_>, screen: &mut Screen) {
    head(replay, screen);
    let most = if replay.wishes.verbose { usize::MAX } else { ROWS_MAX };
    for (cause, _, rows) in replay.tally.flips() {
        screen.blank();
        heading(replay, cause, screen);
        let left_out = rows.len().saturating_sub(most);
        let mut ways: BTreeMap<(Verdict, Verdict, bool), Vec<&Flips<'_>>> = BTreeMap::new();
        for row in rows.iter().take(most) {
            ways.entry((row.group.becomes, row.group.was, row.group.accepted)).or_default().push(row);
        }
        for ((becomes, was, accepted), rows) in ways {
            let sum = rows.iter().map(|row| row.count.number).sum();
            let accepted = if accepted { ": accepted" } else { "" };
            let text = format!("{} that {} {}{accepted}", connections(sum), were(sum), was.word());
            screen.row(&format!("  {}", becomes.word()), look_of(becomes), text.as_bytes());
            rows.into_iter().for_each(|row| flip(row, screen));
        }
        if left_out > 0 {
            let text = format!("and {left_out} more networks (--verbose)");
            screen.row("", Look::Faint, text.as_bytes());
        }
    }
    for (open, count, examples) in replay.tally.open() {
        screen.blank();
        let possible = any_of(&open.possible);
        let were = were(count.number);
        let text = format!("{} that {were} {}: {possible}", connections(count.number), open.was.word());
        screen.row("cannot tell", Look::Doubtful, text.as_bytes());
        let by = open.by.map_or("paranoid yes".to_owned(), |rule| place(replay, rule));
        screen.row("", Look::Plain, format!("{by} asks for {}", words(&open.missing)).as_bytes());
        screen.row("", Look::Plain, times(count).as_bytes());
        examples.iter().for_each(|line| screen.row("", Look::Faint, &foreign(line)));
    }
    unread(replay, screen);
    screen.blank();
    let tally = &replay.tally;
    let mut text = format!("{} of {}", tally.flipped, connections(replay.lines.connections));
    if tally.accepted > 0 {
        text.push_str(&format!(", {} of them accepted", tally.accepted));
    }
    let look = if tally.flipped > tally.accepted { Look::Bad } else { Look::Good };
    screen.row("flips", look, text.as_bytes());
}

/// How often each rule decided.
pub fn hits(replay: &Replay<'_>, screen: &mut Screen) {
    head(replay, screen);
    let hits = replay.tally.hits();
    let most = if replay.wishes.verbose { usize::MAX } else { ROWS_MAX };
    for which in [Which::Allow, Which::Deny] {
        screen.blank();
        let text = replay.rules.text(which);
        let mut never = 0;
        for (line, rule) in text.lines() {
            let hits = hits.get(&Cause::Rule(RuleAt { which, line }));
            never += usize::from(hits.is_none());
            if hits.is_some() || never <= most {
                screen.heading(&printable(format!("{}:{line}", text.file.display()).as_bytes()), rule);
                hit(hits, screen);
            }
        }
        if text.lines().next().is_none() {
            screen.row(name_of(which), Look::Plain, b"no rule in it");
        }
        if never > most {
            let rest = format!(
                "and {} more rules of {} that never decided (--verbose)",
                never - most,
                name_of(which)
            );
            screen.row("", Look::Faint, rest.as_bytes());
        }
    }
    for cause in [Cause::NoRule, Cause::Trouble] {
        if let Some(hits) = hits.get(&cause) {
            screen.blank();
            heading(replay, cause, screen);
            hit(Some(hits), screen);
        }
    }
    unread(replay, screen);
}

/// What is said to whoever would be shut out, in one line.
pub fn warning(replay: &Replay<'_>, session: &Session) -> String {
    let address = String::from_utf8_lossy(&printable(&session.address)).into_owned();
    let by = because(replay, session.outcome.cause);
    match (session.outcome.sure(), &session.outcome.missing) {
        (Some(verdict), _) => {
            format!("warning: a session from {address}, like this one, would be {}: {by}", verdict.word())
        }
        (None, Some((asker, missing))) => {
            let asker = asker.map_or("paranoid yes".to_owned(), |rule| place(replay, rule));
            let missing = words(missing);
            format!(
                "warning: a session from {address}, like this one, may be refused: {asker} asks for {missing}"
            )
        }
        (None, None) => format!("warning: a session from {address}, like this one, may be refused"),
    }
}

fn head(replay: &Replay<'_>, screen: &mut Screen) {
    let lines = &replay.lines;
    screen.row("logs", Look::Plain, replay.logs.join(", ").as_bytes());
    let shown = if lines.unread > 0 && replay.unread.is_empty() { " (--unread shows them)" } else { "" };
    let text = format!("{} others, {} unread{shown}", lines.other, lines.unread);
    let text = format!("{}: {}, {text}", lines.all, connections(lines.connections));
    screen.row("lines", Look::Plain, text.as_bytes());
    let [allow, deny] = replay.rules.files();
    screen.row("rules", Look::Plain, format!("{}, {}", allow.display(), deny.display()).as_bytes());
    for entry in replay.judge.noticed.iter().flat_map(logline::problem) {
        screen.row("noticed", Look::Doubtful, &entry.text);
    }
    screen.row("unchanged", Look::Plain, connections(replay.tally.same).as_bytes());
}

fn unread(replay: &Replay<'_>, screen: &mut Screen) {
    if replay.unread.is_empty() {
        return;
    }
    screen.blank();
    for line in &replay.unread {
        let log = replay.logs.get(line.log).map(String::as_str).unwrap_or_default();
        screen.heading(&printable(format!("{log}:{}", line.number).as_bytes()), &foreign(&line.text));
    }
    let left_out = replay.lines.unread - replay.unread.len() as u64;
    if left_out > 0 {
        screen.row("", Look::Faint, format!("and {left_out} more").as_bytes());
    }
}

fn flip(row: &Flips<'_>, screen: &mut Screen) {
    let Flips { group, count, examples } = row;
    let daemon = String::from_utf8_lossy(&printable(&group.daemon)).into_owned();
    let text = format!("{daemon} from {}", group.network);
    screen.row(&format!("{:>10}", count.number), Look::Plain, text.as_bytes());
    screen.row("", Look::Plain, times(count).as_bytes());
    examples.iter().for_each(|line| screen.row("", Look::Faint, &foreign(line)));
}

fn hit(hits: Option<&Hits>, screen: &mut Screen) {
    let Some(Hits { sure, perhaps }) = hits else {
        screen.row("  never", Look::Doubtful, b"");
        return;
    };
    for (head, look, count) in [("  decided", Look::Good, sure), ("  perhaps", Look::Doubtful, perhaps)] {
        if let Some(count) = count {
            let number =
                if count.number == 1 { "once".to_owned() } else { format!("{} times", count.number) };
            screen.row(head, look, format!("{number}, last {}", time(count.last)).as_bytes());
        }
    }
}

/// A line that strangers wrote: nothing in it moves the cursor, in whatever code.
fn foreign(line: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(line.len());
    for byte in line {
        match byte {
            b' '..=b'~' => shown.push(*byte),
            byte => shown.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
        }
    }
    shown
}

fn times(count: &Count) -> String {
    match count.number {
        1 => time(count.first),
        _ => format!("{} to {}", time(count.first), time(count.last)),
    }
}

/// As in the log. An object need not say it.
fn time(when: When) -> String {
    let moment = when.moment.to_string();
    if moment.is_empty() { "at an unknown time".to_owned() } else { moment }
}

fn connections(number: u64) -> String {
    if number == 1 { "1 connection".to_owned() } else { format!("{number} connections") }
}

/// `granted, denied or delegated`
fn any_of(verdicts: &[Verdict]) -> String {
    let words: Vec<_> = verdicts.iter().map(|verdict| verdict.word()).collect();
    match words.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => words.concat(),
    }
}

fn were(number: u64) -> &'static str {
    if number == 1 { "was" } else { "were" }
}

fn heading(replay: &Replay<'_>, cause: Cause, screen: &mut Screen) {
    match cause {
        Cause::Rule(rule) => {
            let text = replay.rules.text(rule.which).line(rule.line);
            screen.heading(&printable(place(replay, rule).as_bytes()), text);
        }
        Cause::NoRule => screen.row("no rule", Look::Plain, b"who is in neither table is served"),
        Cause::Trouble => screen.row("trouble", Look::Bad, b"something cannot be read, trusted or obeyed"),
    }
}

fn because(replay: &Replay<'_>, cause: Cause) -> String {
    match cause {
        Cause::Rule(rule) => format!("by {}", place(replay, rule)),
        Cause::NoRule => "by no rule".to_owned(),
        Cause::Trouble => "something cannot be read, trusted or obeyed".to_owned(),
    }
}

fn place(replay: &Replay<'_>, rule: RuleAt) -> String {
    format!("{}:{}", replay.rules.text(rule.which).file.display(), rule.line)
}

fn name_of(which: Which) -> &'static str {
    match which {
        Which::Allow => "hosts.allow",
        Which::Deny => "hosts.deny",
    }
}

/// What is missing, behind "asks for".
fn words(missing: &Missing) -> String {
    let of = |side: &Side| if *side == Side::Client { "client" } else { "server" };
    match missing {
        Missing::Daemon => "the service by its own name (--service)".to_owned(),
        Missing::Name(side) => format!("the {}'s name", of(side)),
        Missing::Address(side) => format!("the {}'s address", of(side)),
        Missing::Port => "the server's port".to_owned(),
        Missing::User => "the client's user".to_owned(),
        Missing::Netgroup(group) => format!("netgroup {}", String::from_utf8_lossy(&printable(group))),
        Missing::Command => "a command (aclexec)".to_owned(),
    }
}
