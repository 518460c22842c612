//! The words of what only a checker says: tcpdchk(8), tcpdmatch(8). The reference's where it has any.
//!
//! The lines of a running wrapper stand in `logline`, where log filters are thought of first. Nothing
//! here is ever matched by one; what is the reference's is still kept byte for byte, because scripts
//! read the checker's output. Each problem has a sentence, a code that stays the same for ever, and
//! most have a repair.

#![forbid(unsafe_code)]

use crate::error::{
    Advice, Dead, Doubt, Flaw, NameFlaw, Odd, OptionFlaw, ServiceFlaw, TrialFlaw, Unstated, Wanted, What,
    WordFlaw,
};
use crate::rules::options::OPTIONS;
use crate::rules::trial::VERDICTS;
use std::net::Ipv4Addr;
use std::path::Path;

/// Pieces of text and foreign bytes, control bytes made visible. A carriage return passes, as in the
/// reference.
fn join(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in parts.concat().iter() {
        if byte.is_ascii_control() && byte != b'\t' && byte != b'\r' {
            out.extend_from_slice(format!("\\{byte:03o}").as_bytes());
        } else {
            out.push(byte);
        }
    }
    out
}

/// A line of inetd.conf(5).
pub fn service(flaw: &ServiceFlaw) -> Vec<u8> {
    match flaw {
        ServiceFlaw::Incomplete => b"incomplete line".to_vec(),
        ServiceFlaw::NotFound { path, reason } => join(&[path, b": not found: ", reason.as_bytes()]),
        ServiceFlaw::NotExecutable(path) => join(&[path, b": not executable"]),
        ServiceFlaw::Insecure(name) => join(&[name, b" may be an insecure service"]),
        ServiceFlaw::CallsItself(name) => join(&[name, b" is recursively calling itself"]),
        ServiceFlaw::SetId(path) => join(&[path, b": file is set-uid or set-gid"]),
        ServiceFlaw::Inserted { path, before } => join(&[path, b" inserted before ", before]),
        ServiceFlaw::NotInDirectory { name, directory, reason } => {
            join(&[name, b": not found in ", directory.as_bytes(), b": ", reason.as_bytes()])
        }
        ServiceFlaw::CannotWrap(name) => join(&[name, b": cannot wrap rpc/tcp services"]),
        ServiceFlaw::LookupFailed { path, reason } => join(&[path, b": file lookup: ", reason.as_bytes()]),
    }
}

pub fn world_writable(path: &Path) -> Vec<u8> {
    join(&[path.as_os_str().as_encoded_bytes(), b": world writable"])
}

pub const IMPLICIT_ALLOW: &str = "implicit \"allow\" at end of rule";

/// A word of a list.
pub fn word(flaw: &WordFlaw) -> Vec<u8> {
    match flaw {
        WordFlaw::Name { name, user, why } => {
            let kind: &[u8] = if *user { b": user name " } else { b": daemon name " };
            let why: &[u8] = match why {
                NameFlaw::BeginsWith(b'@') => b"begins with \"@\"",
                NameFlaw::BeginsWith(_) => b"begins with \"/\"",
                NameFlaw::BeginsWithDot => b"begins with dot",
                NameFlaw::EndsInDot => b"ends in dot",
                NameFlaw::Reserved => b"may be reserved word",
            };
            join(&[name, kind, why])
        }
        WordFlaw::Fail => b"FAIL is no longer recognized".to_vec(),
        WordFlaw::NoProcess { name, file, .. } => join(&[name, b": no such process name in ", file]),
        WordFlaw::NotWrapped(name) => join(&[name, b": service possibly not wrapped"]),
        WordFlaw::ManyAddresses(host) => join(&[b"host ", host, b" has more than one address"]),
        WordFlaw::EmptyNetgroup(group) => join(&[group, b": unknown or empty netgroup"]),
        WordFlaw::BadNet(word) => join(&[word, b": bad net/mask pattern"]),
        WordFlaw::HostEndsInDot(word) => join(&[word, b": domain or host name ends in dot"]),
        WordFlaw::NumberBeginsWithDot(word) => join(&[word, b": network number begins with dot"]),
        WordFlaw::NotFound(host) => join(&[host, b": host not found"]),
        WordFlaw::Alias { host, .. } => join(&[host, b": hostname alias"]),
        WordFlaw::NoName(address) => join(&[b"host address ", address.as_bytes(), b"->name lookup failed"]),
    }
}

/// The second line that the reference's checker prints about some problems.
pub fn second_line(what: &What) -> Option<Vec<u8>> {
    match what {
        What::Word(WordFlaw::Fail) => Some(b"(use EXCEPT or DENY instead)".to_vec()),
        What::Word(WordFlaw::ManyAddresses(_)) => Some(b"(consider using an address instead)".to_vec()),
        What::Word(WordFlaw::Alias { official, .. }) => Some(join(&[b"(official name: ", official, b")"])),
        _ => None,
    }
}

/// What the reference never said.
pub fn advice(advice: &Advice) -> Vec<u8> {
    let text: &str = match advice {
        Advice::Dead { word, why } => {
            return join(&[b"\"", word, b"\" matches nobody: ", dead(*why).as_bytes()]);
        }
        Advice::Odd { word, why } => return join(&[b"\"", word, b"\" ", odd(*why).as_bytes()]),
        Advice::Unreachable { by } => {
            return join(&[b"never reached: covered by ", by.to_string().as_bytes()]);
        }
        Advice::SwallowedByComment => "a backslash at its end makes the next line part of this comment",
        Advice::HashInLine => "\"#\" begins a comment in column 1 only: these are words",
        Advice::CarriageReturn => "the line ends in a carriage return",
        Advice::Asks { word, user: false } => {
            return join(&[b"\"", word, b"\" has the name of every client looked up that gets this far: 5 s (resolve-timeout) at worst"]);
        }
        Advice::Asks { word, .. } => {
            return join(&[
                b"\"",
                word,
                b"\" has every client's host asked for the user that gets this far: 10 s (rfc931) at worst",
            ]);
        }
        Advice::WasInert(keyword) => {
            return join(&[
                b"\"",
                keyword.as_bytes(),
                b"\" had no effect under Debian's tcpd and has one now",
            ]);
        }
        Advice::AclexecIgnored => "the rule refuses whatever aclexec's command says",
        Advice::NoEffect { keyword, why } => {
            return join(&[b"\"", keyword.as_bytes(), b"\" has no effect here: ", why.as_bytes()]);
        }
        Advice::NoProgram { program, reason } => {
            return join(&[program, b": cannot be executed: ", reason.as_bytes()]);
        }
        Advice::QuotedLetter(letter) => {
            return join(&[
                b"quotes do not protect %",
                &[*letter],
                b": it is replaced before the shell reads them",
            ]);
        }
        Advice::ReadsCaller => "the command reads what the caller sends",
        Advice::Writable { path, why } => return join(&[path, b": ", why.as_bytes()]),
        Advice::LookupsStopped(count) => {
            return format!("{count} names and addresses looked up: the others are not").into_bytes();
        }
    };
    text.as_bytes().to_vec()
}

fn dead(why: Dead) -> &'static str {
    match why {
        Dead::NoLastDot => "it is no whole address, and no network without a dot at its end",
        Dead::NoAddress => "it is no address",
        Dead::NotAsPrinted => "an address is compared as it is printed",
        Dead::NothingBehind => "nothing can stand behind its last dot",
        Dead::Mapped => "such clients are known by their IPv4 address",
        Dead::NoAddress6 => "it is no IPv6 address",
        Dead::NoFile => "there is no such file",
    }
}

fn odd(why: Odd) -> &'static str {
    match why {
        Odd::InvertedMask => "has an inverted mask: it picks addresses by their last bits",
        Odd::HolesInMask => "has a mask with holes",
        Odd::OtherBase => "has numbers that are read as octal or hexadecimal",
        Odd::BehindLength => "has text behind the length, which is not looked at",
        Odd::Scope => "has a scope, which is not compared",
        Odd::NoBrackets => "is an IPv6 address without brackets",
        Odd::Unknown => "does not match a client whose name and address disagree",
        Odd::Port => "is a port number, never the name of a daemon",
    }
}

/// What is wrong with a test.
pub fn trial(flaw: &TrialFlaw) -> Vec<u8> {
    match flaw {
        TrialFlaw::Wants { what, found } if found.is_empty() => {
            format!("{} is wanted here", wanted(*what)).into_bytes()
        }
        TrialFlaw::Wants { what, found } => {
            join(&[b"\"", found, b"\" where ", wanted(*what).as_bytes(), b" is wanted"])
        }
        TrialFlaw::SaidTwice(keyword) => format!("\"{keyword}\" is said twice").into_bytes(),
        TrialFlaw::OtherTable { name, tables: [allow, deny] } => join(&[
            b"\"",
            name,
            b"\" is not under test: hosts.allow is ",
            allow.as_os_str().as_encoded_bytes(),
            b", hosts.deny is ",
            deny.as_os_str().as_encoded_bytes(),
        ]),
        TrialFlaw::NoTest(file) => join(&[file.as_os_str().as_encoded_bytes(), b": there is no test in it"]),
        TrialFlaw::Failed { expected, happened, .. } => {
            join(&[happened.as_bytes(), b", not ", expected.as_bytes(), b" as expected"])
        }
        TrialFlaw::Unstated { facts, .. } => {
            let facts = listed(facts.iter().map(|fact| unstated(*fact)));
            format!("this depends on {facts}, which the line does not state").into_bytes()
        }
    }
}

/// `a, b and c`
fn listed<'a>(words: impl ExactSizeIterator<Item = &'a str>) -> String {
    let (mut text, count) = (String::new(), words.len());
    for (number, word) in words.enumerate() {
        text.push_str(if number == 0 {
            ""
        } else if number + 1 == count {
            " and "
        } else {
            ", "
        });
        text.push_str(word);
    }
    text
}

fn wanted(what: Wanted) -> &'static str {
    match what {
        Wanted::Daemon => "the name of a service",
        Wanted::From => "\"from\"",
        Wanted::Address => "an address (or \"unknown\")",
        Wanted::ClientFact => "\"name\", \"user\", \"at\" or a colon",
        Wanted::ServerFact => "\"name\", \"port\" or a colon",
        Wanted::Name => "a name",
        Wanted::User => "a user",
        Wanted::Port => "a port (or \"unknown\")",
        Wanted::Colon => "\": granted\", \": denied\" or \": delegated\"",
        Wanted::Verdict => "\"granted\", \"denied\" or \"delegated\"",
        Wanted::By => "\"by\"",
        Wanted::Table => "hosts.allow, hosts.deny or \"no rule\"",
        Wanted::Line => "the number of a line",
        Wanted::Rule => "\"rule\"",
        Wanted::End => "the end of the line",
    }
}

fn unstated(fact: Unstated) -> &'static str {
    match fact {
        Unstated::ClientName => "the client's name",
        Unstated::User => "the client's user",
        Unstated::Server => "the server's address",
        Unstated::ServerName => "the server's name",
        Unstated::ServerPort => "the server's port",
    }
}

/// Why a test did not come out as expected, a sentence each.
pub fn why(what: &What) -> &[String] {
    match what {
        What::Trial(TrialFlaw::Failed { why, .. } | TrialFlaw::Unstated { why, .. }) => why,
        _ => &[],
    }
}

/// How to repair it, where somebody can know.
pub fn repair(what: &What) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fixed = match what {
        What::Unfinished => "end the last line with a newline",
        What::NoColon => "write \"daemons : clients\", or a \"#\" in column 1",
        What::Malformed(Flaw::Bracket(_)) => "write IPv6 addresses as [2001:db8::1]",
        What::Malformed(_) => "write \"daemons : clients : options\"",
        What::EmptyList { .. } => "write ALL, or take the rule out",
        What::Option(OptionFlaw::BadName(name)) => {
            let names = OPTIONS.iter().map(|option| option.name.as_bytes());
            return nearest(name, names).map(|near| format!("did you mean \"{}\"?", text(near)));
        }
        What::Option(OptionFlaw::NotAtEnd(_)) => "make it the last option of the rule",
        What::Option(OptionFlaw::MissingName) => "take the colon away, or write \"\\:\" for one in a command",
        What::TwoWays { why: Doubt::HostBits, .. } => "write the network's own address, or the host alone",
        What::TwoWays { why: Doubt::ZeroLength, .. } => "write 0.0.0.0/0.0.0.0 or ALL",
        What::TwoWays { why: Doubt::NoLength, .. } => "write the length, or take the slash away",
        What::TwoWays { why: Doubt::BareAddress, .. } => "write it in brackets",
        What::Word(WordFlaw::BadNet(_)) => {
            "write address/length (1 to 32), address/mask, or [address]/length (0 to 128)"
        }
        What::Word(WordFlaw::Fail) => "use EXCEPT or DENY instead",
        What::Word(WordFlaw::ManyAddresses(_)) => "consider using an address instead",
        What::Word(WordFlaw::Alias { official, .. }) => {
            return Some(format!("write the official name, {}", text(official)));
        }
        What::Word(WordFlaw::NoProcess { nearest: Some(near), .. }) => {
            return Some(format!("did you mean \"{}\"?", text(near)));
        }
        What::ImplicitAllow => "write \": allow\" at its end",
        What::Advice(advice) => return repair_advice(advice),
        What::Trial(flaw) => return repair_trial(flaw),
        _ => return None,
    };
    Some(fixed.to_owned())
}

/// The words that may stand in a place of a test.
fn keywords(what: Wanted) -> &'static [&'static str] {
    match what {
        Wanted::From => &["from"],
        Wanted::ClientFact => &["name", "user", "at"],
        Wanted::ServerFact => &["name", "port"],
        Wanted::Verdict => &VERDICTS,
        _ => &[],
    }
}

fn repair_trial(flaw: &TrialFlaw) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(match flaw {
        TrialFlaw::Wants { what: Wanted::Address, found } if !found.is_empty() => {
            format!("write an address, and behind it \"name {}\"", text(found))
        }
        TrialFlaw::Wants { what: Wanted::ClientFact, found } if found == b"port" => {
            "the port is the server's: write \"at ADDRESS port NUMBER\"".to_owned()
        }
        TrialFlaw::Wants { what: Wanted::By, found } if found.contains(&b':') => {
            format!("write \"by {}\"", text(found))
        }
        TrialFlaw::Wants { what, found } => {
            let near = nearest(found, keywords(*what).iter().map(|word| word.as_bytes()))?;
            format!("did you mean \"{}\"?", text(near))
        }
        TrialFlaw::Unstated { facts, .. } => {
            let words = facts.iter().map(|fact| match fact {
                Unstated::ClientName => "\"name NAME\"",
                Unstated::User => "\"user USER\"",
                Unstated::Server => "\"at ADDRESS\"",
                Unstated::ServerName => "\"name NAME\" behind \"at ADDRESS\"",
                Unstated::ServerPort => "\"port NUMBER\" behind \"at ADDRESS\"",
            });
            let them = if facts.len() == 1 { "it" } else { "each" };
            format!("write {}; {them} may be \"unknown\"", listed(words))
        }
        _ => return None,
    })
}

fn repair_advice(advice: &Advice) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(match advice {
        Advice::Dead { word, why: Dead::NoLastDot } => format!("for a network write \"{}.\"", text(word)),
        Advice::Dead { word, why: Dead::NothingBehind } => {
            format!("write \"{}\"", text(word.strip_suffix(b".").unwrap_or(word)))
        }
        Advice::Dead { why: Dead::NotAsPrinted, .. } => {
            "write it in decimal, without leading zeros".to_owned()
        }
        Advice::Dead { why: Dead::Mapped, .. } => "write the IPv4 address".to_owned(),
        Advice::Odd { word, why: Odd::InvertedMask } => {
            let word = text(word);
            let (net, mask) = word.split_once('/')?;
            let mask = !mask.parse::<Ipv4Addr>().ok()?;
            format!("turn the mask round: {net}/{mask}")
        }
        Advice::Odd { word, why: Odd::NoBrackets } => {
            let word = text(word);
            let (address, length) = word.split_at(word.find('/').unwrap_or(word.len()));
            format!("write \"[{address}]{length}\"")
        }
        Advice::Odd { why: Odd::Unknown, .. } => "add PARANOID for these".to_owned(),
        Advice::Unreachable { .. } => "take it out, or move it up".to_owned(),
        Advice::SwallowedByComment => "take the backslash away".to_owned(),
        Advice::HashInLine => "put the comment on a line of its own".to_owned(),
        Advice::CarriageReturn => "convert the file to Unix line ends".to_owned(),
        Advice::Asks { user: false, .. } => "put rules with addresses before it".to_owned(),
        Advice::AclexecIgnored => "take \"deny\" away, or use \"spawn\"".to_owned(),
        Advice::QuotedLetter(_) => "leave the quotes away: values hold no blank and no quote".to_owned(),
        _ => return None,
    })
}

/// The nearest of some words, in any case of letters, if it is near: at most a third of the letters differ.
pub fn nearest<'a>(word: &[u8], known: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let far = (word.len() / 3).clamp(1, 3) + 1;
    let measured = known.map(|other| (distance(word, other), other));
    measured.filter(|(steps, _)| *steps < far).min_by_key(|(steps, _)| *steps).map(|(_, other)| other)
}

/// Letters to change, add, take away or swap with their neighbour (Damerau, without overlaps).
fn distance(a: &[u8], b: &[u8]) -> usize {
    if a.len().abs_diff(b.len()) > 3 {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    let get = |rows: &[Vec<usize>], i: usize, j: usize| {
        rows.get(i).and_then(|row| row.get(j)).copied().unwrap_or(usize::MAX / 2)
    };
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let change = get(&rows, i, j) + usize::from(!x.eq_ignore_ascii_case(y));
            let mut least = change.min(get(&rows, i, j + 1) + 1).min(row.last().copied().unwrap_or(0) + 1);
            let before = |text: &[u8], at: usize| at.checked_sub(1).and_then(|at| text.get(at)).copied();
            if before(a, i).is_some_and(|z| z.eq_ignore_ascii_case(y))
                && before(b, j).is_some_and(|z| z.eq_ignore_ascii_case(x))
            {
                least = least.min(get(&rows, i - 1, j - 1) + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    get(&rows, a.len(), b.len())
}

/// The name of a problem for programs. It never changes.
pub fn code(what: &What) -> &'static str {
    match what {
        What::CannotOpen { .. } => "cannot-open",
        What::Unfinished => "unfinished",
        What::NoColon => "no-colon",
        What::Malformed(_) => "malformed",
        What::EmptyList { .. } => "empty-list",
        What::Option(_) => "option",
        What::TwoWays { .. } => "two-ways",
        What::PatternFile { .. } => "pattern-file",
        What::Image { .. } => "image",
        What::Netgroup { .. } | What::Word(WordFlaw::EmptyNetgroup(_)) => "netgroup",
        What::Name(_) => "name",
        What::UnknownLetter(_) => "letter",
        What::TooLong(_) => "too-long",
        What::Passed { .. } | What::Signal { .. } => "deed",
        What::Setting(_) => "setting",
        What::More(_) => "more",
        What::Service(_) => "service",
        What::WorldWritable(_) | What::Advice(Advice::Writable { .. }) => "writable",
        What::Word(WordFlaw::NoProcess { .. } | WordFlaw::NotWrapped(_)) => "daemon",
        What::Word(WordFlaw::BadNet(_)) => "dead",
        What::Word(WordFlaw::NotFound(_) | WordFlaw::NoName(_)) => "host",
        What::Word(WordFlaw::Alias { .. } | WordFlaw::ManyAddresses(_)) => "host",
        What::Word(_) => "word",
        What::ImplicitAllow => "implicit-allow",
        What::Trial(TrialFlaw::Failed { .. }) => "test",
        What::Trial(TrialFlaw::Unstated { .. }) => "unstated",
        What::Trial(_) => "test-line",
        What::Advice(advice) => match advice {
            Advice::Dead { .. } => "dead",
            Advice::Odd { .. } => "odd",
            Advice::Unreachable { .. } => "unreachable",
            Advice::SwallowedByComment | Advice::HashInLine => "comment",
            Advice::CarriageReturn => "line-end",
            Advice::Asks { .. } => "lookup",
            Advice::WasInert(_) => "was-inert",
            Advice::AclexecIgnored | Advice::NoEffect { .. } => "no-effect",
            Advice::NoProgram { .. } => "program",
            Advice::QuotedLetter(_) => "quotes",
            Advice::ReadsCaller => "reads-caller",
            Advice::Writable { .. } => "writable",
            Advice::LookupsStopped(_) => "lookups",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let known = || ["twist", "spawn", "severity", "allow"].into_iter().map(str::as_bytes);
        assert_eq!(nearest(b"twsit", known()), Some(&b"twist"[..]));
        assert_eq!(nearest(b"SPWN", known()), Some(&b"spawn"[..]));
        assert_eq!(nearest(b"keepalive", known()), None);
        assert_eq!(nearest(b"x", known()), None);
    }
}
