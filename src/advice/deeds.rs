//! Can a rule's options do what they say?
//!
//! Commands are looked at as sh(1) would take them apart, roughly: words that are programs are found
//! where that is plain, and passed over where it is not. Whether a program is there is asked elsewhere.

#![forbid(unsafe_code)]

use super::{Saying, ours};
use crate::error::{Advice, Weight};
use crate::rules::options::{self, Deed, Step};
use crate::rules::{Item, Rule, Which};

/// Sayings about the options of a rule, each with the field it is about.
pub fn of_rule<'a>(which: Which, rule: &Rule<'a>, steps: &[Step]) -> Vec<(&'a [u8], Saying)> {
    let mut said = Vec::new();
    if steps.is_empty() {
        return said;
    }
    let fields = options::fields(rule.options.unwrap_or_default());
    let last = steps.last().map(|step| &step.deed);
    let ends_refusing = matches!(last, Some(Deed::Deny | Deed::Twist));
    let refuses = matches!(last, Some(Deed::Deny))
        || (which == Which::Deny && !matches!(last, Some(Deed::Allow | Deed::Twist)));
    let mut asked = rule.clients.items().any(|item| matches!(item, Item::Word(word) if has_user(word)));
    for (at, (field, step)) in fields.zip(steps).enumerate() {
        let behind = steps.get(at + 1..).unwrap_or_default();
        let something_runs = behind.iter().any(|step| runs(&step.deed));
        let advice = match &step.deed {
            Deed::Become(_) => Some((Weight::Advice, Advice::WasInert(step.keyword))),
            Deed::Aclexec if ends_refusing => Some((Weight::Warning, Advice::AclexecIgnored)),
            Deed::Rfc931(Some(_)) if asked => {
                Some((Weight::Warning, no_effect(step, "the user was asked for before it")))
            }
            _ => None,
        };
        said.extend(advice.map(|(weight, advice)| (field.at, ours(weight, advice))));
        let for_what_runs = matches!(
            step.deed,
            Deed::Setenv | Deed::Umask(_) | Deed::Nice(_) | Deed::Keepalive | Deed::Become(_)
        );
        if for_what_runs && refuses && !something_runs {
            let why = "the rule refuses, and runs nothing behind it";
            said.push((field.at, ours(Weight::Warning, no_effect(step, why))));
        }
        if matches!(step.deed, Deed::Spawn | Deed::Twist | Deed::Aclexec) {
            said.extend(
                quoted_letter(&step.value)
                    .map(|letter| (field.at, ours(Weight::Advice, Advice::QuotedLetter(letter)))),
            );
            let reads =
                matches!(step.deed, Deed::Twist) && words(&step.value).any(|word| INPUT.contains(&word));
            if reads {
                said.push((field.at, ours(Weight::Warning, Advice::ReadsCaller)));
            }
        }
        asked |= step.value.windows(2).any(|pair| pair == b"%u") || matches!(step.deed, Deed::Rfc931(_));
    }
    said
}

/// What reads the standard input, which a twist shares with the caller.
const INPUT: [&[u8]; 3] = [b"read", b"/dev/stdin", b"/dev/fd/0"];

fn no_effect(step: &Step, why: &'static str) -> Advice {
    Advice::NoEffect { keyword: step.keyword, why }
}

fn runs(deed: &Deed) -> bool {
    matches!(deed, Deed::Spawn | Deed::Twist | Deed::Aclexec)
}

fn has_user(word: &[u8]) -> bool {
    super::patterns::parts(word).1.is_some()
}

/// The first letter of an expansion that stands between quotes.
fn quoted_letter(command: &[u8]) -> Option<u8> {
    let (mut quote, mut bytes) = (None, command.iter().copied().peekable());
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            (None | Some(b'"'), b'\\') => {
                bytes.next();
            }
            (_, b'%') => match bytes.next() {
                Some(letter) if quote.is_some() && letter.is_ascii_alphabetic() => return Some(letter),
                _ => {}
            },
            _ => {}
        }
    }
    None
}

fn words(command: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = |&byte: &u8| byte.is_ascii_whitespace() || b";|&()".contains(&byte);
    command.split(ends).filter(|word| !word.is_empty())
}

/// What the shell does itself, and words of its language.
const OF_THE_SHELL: [&str; 44] = [
    "!", ".", ":", "[", "[[", "{", "}", "alias", "bg", "break", "case", "cd", "command", "continue", "do",
    "done", "echo", "elif", "else", "esac", "eval", "exec", "exit", "export", "false", "fi", "for", "if",
    "kill", "printf", "read", "return", "set", "shift", "test", "then", "time", "times", "trap", "true",
    "ulimit", "umask", "until", "while",
];
/// Behind these a command goes on with another.
const PREFIXES: [&str; 12] =
    ["!", "{", "command", "do", "elif", "else", "exec", "if", "then", "time", "until", "while"];

/// The programs that a command plainly names.
pub fn programs(command: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    for piece in pieces(command) {
        let mut redirects = false;
        let mut words = piece.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).filter(|word| {
            // `> file` is two words.
            let is_target = redirects;
            redirects = word.ends_with(b">") || word.ends_with(b"<");
            !is_target
        });
        let is_prefix = |word: &[u8]| {
            PREFIXES.iter().any(|prefix| prefix.as_bytes() == word)
                || word.contains(&b'=')
                || word.iter().any(|byte| b"<>".contains(byte))
        };
        let Some(word) = words.find(|word| !is_prefix(word)) else { continue };
        let plain = word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/._+-[:".contains(byte));
        if matches!(word, b"for" | b"case") || piece.windows(2).any(|pair| pair == b"<<") {
            return found;
        }
        if plain && !OF_THE_SHELL.iter().any(|own| own.as_bytes() == word) {
            found.push(word);
        }
    }
    found
}

/// A command line between `;`, `|`, `&`, parentheses and newlines that no quotes protect.
fn pieces(command: &[u8]) -> Vec<&[u8]> {
    let (mut pieces, mut start, mut quote, mut at) = (Vec::new(), 0, None, 0);
    while let Some(&byte) = command.get(at) {
        match (quote, byte) {
            (None, b'\'' | b'"' | b'`') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            (Some(b'"') | None, b'\\') => at += 1,
            // `2>&1` and `&>file` are no ends.
            (None, b'&')
                if at
                    .checked_sub(1)
                    .and_then(|before| command.get(before))
                    .is_some_and(|b| b"<>".contains(b)) => {}
            (None, b'&') if command.get(at + 1) == Some(&b'>') => {}
            (None, b';' | b'|' | b'&' | b'(' | b')' | b'\n') => {
                pieces.extend(command.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    pieces.extend(command.get(start..));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Stated;
    use crate::rules::{Parsed, grammar};

    #[test]
    fn programs_are_found_where_they_are_plain() {
        let found = |command: &'static str| -> Vec<String> {
            programs(command.as_bytes())
                .iter()
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect()
        };
        assert_eq!(
            found("(/usr/sbin/safe_finger -l @%h 2>&1 | mail -s tcpd-%d-%h root) &"),
            ["/usr/sbin/safe_finger", "mail"]
        );
        assert_eq!(found("A=b exec /bin/x 'a; b | c'; echo x && logger y"), ["/bin/x", "logger"]);
        assert_eq!(found("if test -e /x; then wall; fi"), ["wall"]);
        assert_eq!(found("$PROGRAM x; `y`; %d; > /f; for i in a; do x; done"), [""; 0]);
    }

    fn said(which: Which, text: &str) -> Vec<Advice> {
        let Parsed::Rule(rule) = grammar::line(text.as_bytes()) else { panic!("{text}") };
        let steps = options::steps(rule.options.unwrap_or_default(), &Stated).expect(text);
        let advice = |(_, (_, _, what))| match what {
            crate::error::What::Advice(advice) => advice,
            other => panic!("{other:?}"),
        };
        of_rule(which, &rule, &steps).into_iter().map(advice).collect()
    }

    #[test]
    fn options_that_cannot_do_what_they_say() {
        assert_eq!(said(Which::Deny, "a: b: aclexec x: deny"), [Advice::AclexecIgnored]);
        assert_eq!(said(Which::Deny, "a: b: aclexec x"), []);
        assert!(matches!(
            said(Which::Allow, "a: b: umask 077: deny")[..],
            [Advice::NoEffect { keyword: "umask", .. }]
        ));
        assert_eq!(said(Which::Allow, "a: b: umask 077: setenv A b"), []);
        assert_eq!(said(Which::Deny, "a: b: umask 077: spawn x"), []);
        assert!(matches!(
            said(Which::Deny, "a: u@b: rfc931 5")[..],
            [Advice::NoEffect { keyword: "rfc931", .. }]
        ));
        assert_eq!(said(Which::Deny, "a: b: spawn echo \"%u\""), [Advice::QuotedLetter(b'u')]);
        assert_eq!(said(Which::Deny, "a: b: twist read x; echo $x"), [Advice::ReadsCaller]);
    }
}
