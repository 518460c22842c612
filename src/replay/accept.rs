//! Which flips are meant? What `--accept` says.
//!
//! ```text
//! accept    = condition { "," condition } ;                (all of them)
//! condition = file ":" line | "no-rule" | network | verdict ;
//! ```
//!
//! A file is the path as it was given, or its last component. A network is an address, or one with a
//! prefix length behind a slash. A verdict is the new one.

#![forbid(unsafe_code)]

use super::judge::Cause;
use crate::narrator::Verdict;
use crate::rules::Which;
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// One `--accept`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept(Vec<Condition>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Rule(PathBuf, u32),
    NoRule,
    Network(IpNet),
    Becomes(Verdict),
}

/// What a flip is accepted by.
#[derive(Clone, Copy, Debug)]
pub struct Flip<'f> {
    /// Where the rules are.
    pub files: [&'f Path; 2],
    pub cause: Cause,
    pub becomes: Verdict,
    pub source: Option<IpAddr>,
}

impl Accept {
    /// What the text says, or what is wrong with it.
    pub fn named(text: &str) -> Result<Accept, String> {
        text.split(',').map(Condition::named).collect::<Result<_, _>>().map(Accept)
    }

    pub fn covers(&self, flip: &Flip<'_>) -> bool {
        self.0.iter().all(|condition| condition.covers(flip))
    }
}

impl Condition {
    fn named(text: &str) -> Result<Condition, String> {
        if text == "no-rule" {
            return Ok(Condition::NoRule);
        }
        if let Some(verdict) = Verdict::ALL.into_iter().find(|verdict| verdict.word() == text) {
            return Ok(Condition::Becomes(verdict));
        }
        if let Some(network) = network(text) {
            return Ok(Condition::Network(network));
        }
        let (file, line) = text.rsplit_once(':').unwrap_or_default();
        match line.parse() {
            Ok(line) if !file.is_empty() => Ok(Condition::Rule(PathBuf::from(file), line)),
            _ => Err(format!("FILE:LINE, no-rule, a network or a verdict is wanted, not '{text}'")),
        }
    }

    fn covers(&self, flip: &Flip<'_>) -> bool {
        match self {
            Condition::NoRule => flip.cause == Cause::NoRule,
            Condition::Becomes(verdict) => flip.becomes == *verdict,
            Condition::Network(network) => flip.source.is_some_and(|source| network.contains(&source)),
            Condition::Rule(file, line) => match flip.cause {
                Cause::Rule(rule) if rule.line == *line => {
                    let [allow, deny] = flip.files;
                    let path = if rule.which == Which::Allow { allow } else { deny };
                    path == file || path.file_name() == Some(file.as_os_str())
                }
                _ => false,
            },
        }
    }
}

fn network(text: &str) -> Option<IpNet> {
    let bare = text.trim_start_matches('[').replacen(']', "", 1);
    bare.parse::<IpNet>().ok().map(|net| net.trunc()).or_else(|| bare.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::judge::RuleAt;

    fn accepted(text: &str, cause: Cause, becomes: Verdict, source: &str) -> bool {
        let files = [Path::new("/etc/hosts.allow"), Path::new("new/hosts.deny")];
        let flip = Flip { files, cause, becomes, source: source.parse().ok() };
        Accept::named(text).expect(text).covers(&flip)
    }

    #[test]
    fn conditions_are_what_they_say() {
        let rule = |which, line| Cause::Rule(RuleAt { which, line });
        let (allow, deny) = (rule(Which::Allow, 3), rule(Which::Deny, 12));
        for (text, cause, becomes, source, expected) in [
            ("hosts.deny:12", deny, Verdict::Denied, "192.0.2.7", true),
            ("new/hosts.deny:12", deny, Verdict::Denied, "192.0.2.7", true),
            ("/etc/hosts.deny:12", deny, Verdict::Denied, "192.0.2.7", false),
            ("hosts.deny:12", allow, Verdict::Denied, "192.0.2.7", false),
            ("hosts.allow:3", allow, Verdict::Granted, "192.0.2.7", true),
            ("no-rule", Cause::NoRule, Verdict::Granted, "192.0.2.7", true),
            ("no-rule", deny, Verdict::Denied, "192.0.2.7", false),
            ("192.0.2.0/24", deny, Verdict::Denied, "192.0.2.7", true),
            ("192.0.2.7/24", deny, Verdict::Denied, "192.0.2.8", true),
            ("192.0.2.7", deny, Verdict::Denied, "192.0.2.8", false),
            ("2001:db8::/32", deny, Verdict::Denied, "2001:db8::1", true),
            ("[2001:db8::]/32", deny, Verdict::Denied, "2001:db8::1", true),
            ("192.0.2.0/24", deny, Verdict::Denied, "no address", false),
            ("denied", deny, Verdict::Denied, "192.0.2.7", true),
            ("granted", deny, Verdict::Denied, "192.0.2.7", false),
            ("denied,192.0.2.0/24", deny, Verdict::Denied, "192.0.2.7", true),
            ("denied,192.0.2.0/24", deny, Verdict::Denied, "203.0.113.7", false),
        ] {
            assert_eq!(accepted(text, cause, becomes, source), expected, "{text}");
        }
        for wrong in ["", "x", "hosts.deny", "hosts.deny:x", ":3", "192.0.2.0/33", "denied,"] {
            assert!(Accept::named(wrong).is_err(), "{wrong}");
        }
    }
}
