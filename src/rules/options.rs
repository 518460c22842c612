//! The options of hosts_options(5): one table, one splitter, one typist.
//!
//! A rule's options are typed as a whole before the first of them acts: with an error in any of them
//! no deed of the rule is done, and the rule refuses. Numbers are read as scanf(3) reads them.
//!
//! To add an option: a row in [`OPTIONS`], a variant of [`Deed`], an arm in `actions`, a paragraph in
//! hosts_options(5), golden files. Nothing else.

#![forbid(unsafe_code)]

use crate::error::OptionFlaw;
use crate::facts::{Ask, Identity, NoSuch};
use std::fmt;

/// What an option does, typed. Commands and values are not expanded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    Allow,
    Deny,
    Severity(Priority),
    Spawn,
    Twist,
    Aclexec,
    Rfc931(Option<u32>),
    Setenv,
    /// `umask`, as mode bits.
    Umask(u32),
    Nice(i32),
    /// SO_LINGER in seconds; 0 turns it off.
    Linger(i32),
    Keepalive,
    Banners,
    /// `user` or `group`, with all that the options before it asked for.
    Become(Identity),
}

/// A syslog priority: the level, and the facility if one was named (its number, not shifted).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    pub facility: Option<u8>,
    pub level: u8,
}

impl fmt::Display for Priority {
    /// `mail.info`, or the level alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facility = FACILITIES.iter().find(|(_, number)| Some(*number) == self.facility);
        if let Some((name, _)) = facility {
            write!(f, "{name}.")?;
        }
        f.write_str(LEVELS.get(usize::from(self.level)).copied().unwrap_or("?"))
    }
}

/// One typed option with its text: `value` is what stands behind the keyword.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub keyword: &'static str,
    pub value: Vec<u8>,
    pub deed: Deed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    Needed,
    Forbidden,
    Optional,
}

/// A row of the table.
pub struct Keyword {
    pub name: &'static str,
    value: Value,
    last: bool,
    kind: fn(&[u8], &Typing<'_>) -> Result<Deed, OptionFlaw>,
}

/// What typing an option may look at.
struct Typing<'a> {
    ask: &'a dyn Ask,
    /// The identity that the options so far ask for.
    identity: Option<Identity>,
}

/// Every option there is, in the order of the manual.
#[rustfmt::skip]
pub static OPTIONS: [Keyword; 15] = [
    Keyword { name: "severity",  value: Value::Needed,    last: false, kind: severity },
    Keyword { name: "allow",     value: Value::Forbidden, last: true,  kind: |_, _| Ok(Deed::Allow) },
    Keyword { name: "deny",      value: Value::Forbidden, last: true,  kind: |_, _| Ok(Deed::Deny) },
    Keyword { name: "spawn",     value: Value::Needed,    last: false, kind: |_, _| Ok(Deed::Spawn) },
    Keyword { name: "twist",     value: Value::Needed,    last: true,  kind: |_, _| Ok(Deed::Twist) },
    Keyword { name: "aclexec",   value: Value::Needed,    last: false, kind: |_, _| Ok(Deed::Aclexec) },
    Keyword { name: "keepalive", value: Value::Forbidden, last: false, kind: |_, _| Ok(Deed::Keepalive) },
    Keyword { name: "linger",    value: Value::Needed,    last: false, kind: linger },
    Keyword { name: "rfc931",    value: Value::Optional,  last: false, kind: rfc931 },
    Keyword { name: "banners",   value: Value::Needed,    last: false, kind: |_, _| Ok(Deed::Banners) },
    Keyword { name: "nice",      value: Value::Optional,  last: false, kind: nice },
    Keyword { name: "setenv",    value: Value::Needed,    last: false, kind: setenv },
    Keyword { name: "umask",     value: Value::Needed,    last: false, kind: umask },
    Keyword { name: "user",      value: Value::Needed,    last: false, kind: user },
    Keyword { name: "group",     value: Value::Needed,    last: false, kind: group },
];

fn keyword(name: &[u8]) -> Option<&'static Keyword> {
    OPTIONS.iter().find(|k| name.eq_ignore_ascii_case(k.name.as_bytes()))
}

/// One field between colons, taken apart but not typed. `at` is where it stands in the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub at: &'a [u8],
    pub name: Vec<u8>,
    pub value: Vec<u8>,
}

fn is_space(byte: u8) -> bool {
    byte == b' ' || (b'\t'..=b'\r').contains(&byte)
}

/// Without the blanks of isspace(3) at both ends.
pub fn trim(text: &[u8]) -> &[u8] {
    let from = text.iter().position(|&b| !is_space(b)).unwrap_or(text.len());
    let to = text.iter().rposition(|&b| !is_space(b)).map_or(from, |last| last + 1);
    text.get(from..to).unwrap_or_default()
}

/// ```text
/// options = option { ":" option } ;                    (`\:` is a colon inside an option)
/// option  = { blank } keyword [ blanks ] [ "=" ] [ blanks ] value { blank } ;
/// ```
pub fn fields(options: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut left = Some(options);
    std::iter::from_fn(move || {
        let text = left?;
        let is_end = |&at: &usize| {
            text.get(at) == Some(&b':')
                && at.checked_sub(1).is_none_or(|before| text.get(before) != Some(&b'\\'))
        };
        let end = (0..text.len()).find(is_end).unwrap_or(text.len());
        let (at, behind) = text.split_at_checked(end).unwrap_or_default();
        left = behind.strip_prefix(b":");
        let at = trim(at);
        let plain = unescaped(at);
        let name_length = plain.iter().position(|&b| is_space(b) || b == b'=').unwrap_or(plain.len());
        let (name, value) = plain.split_at_checked(name_length).unwrap_or_default();
        let value = trim(value);
        let value = trim(value.strip_prefix(b"=").unwrap_or(value));
        Some(Field { at, name: name.to_vec(), value: value.to_vec() })
    })
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    for (at, &byte) in text.iter().enumerate() {
        if !(byte == b'\\' && text.get(at + 1) == Some(&b':')) {
            plain.push(byte);
        }
    }
    plain
}

/// A field as it is written in canonical form.
pub fn print(field: &Field<'_>, out: &mut Vec<u8>) {
    let escaped = |text: &[u8], out: &mut Vec<u8>| {
        for &byte in text {
            if byte == b':' {
                out.push(b'\\');
            }
            out.push(byte);
        }
    };
    escaped(&field.name, out);
    if !field.value.is_empty() {
        let needs_sign = field.name.is_empty() || field.value.starts_with(b"=");
        out.extend_from_slice(if needs_sign { b" = " } else { b" " });
        escaped(&field.value, out);
    }
}

/// Whether `text`, blanks aside, begins with the keyword of an option: how a bare IPv6 address ends.
pub fn starts_with_keyword(text: &[u8]) -> bool {
    let from = text.iter().position(|&b| !is_space(b)).unwrap_or(text.len());
    let text = text.get(from..).unwrap_or_default();
    let length = text.iter().position(|&b| !b.is_ascii_alphanumeric()).unwrap_or(text.len());
    let ends = text.get(length).is_none_or(|&b| is_space(b) || b == b'=' || b == b':');
    ends && text.get(..length).and_then(keyword).is_some()
}

/// Whether the last field of a malformed rule is a readable `deny` or `twist COMMAND`.
pub fn refuses(rule: &[u8]) -> bool {
    let Some(field) = fields(rule).last() else { return false };
    let named = |name: &[u8]| field.name.eq_ignore_ascii_case(name);
    (named(b"deny") && field.value.is_empty()) || (named(b"twist") && !field.value.is_empty())
}

/// Types all options of a rule. On the first error, in written order: where it is, and what.
pub fn steps<'a>(options: &'a [u8], ask: &dyn Ask) -> Result<Vec<Step>, (&'a [u8], OptionFlaw)> {
    let mut typing = Typing { ask, identity: None };
    let mut steps = Vec::new();
    let mut fields = fields(options).peekable();
    while let Some(field) = fields.next() {
        let at = field.at;
        let step = step(field, fields.peek().is_none(), &typing).map_err(|flaw| (at, flaw))?;
        if let Deed::Become(identity) = &step.deed {
            typing.identity = Some(identity.clone());
        }
        steps.push(step);
    }
    Ok(steps)
}

fn step(field: Field<'_>, is_last: bool, typing: &Typing<'_>) -> Result<Step, OptionFlaw> {
    let Field { name, value, .. } = field;
    if name.is_empty() {
        return Err(OptionFlaw::MissingName);
    }
    let Some(keyword) = keyword(&name) else { return Err(OptionFlaw::BadName(name)) };
    match (keyword.value, value.is_empty()) {
        (Value::Needed, true) => return Err(OptionFlaw::NeedsValue(name)),
        (Value::Forbidden, false) => return Err(OptionFlaw::TakesNoValue(name)),
        _ => {}
    }
    if keyword.last && !is_last {
        return Err(OptionFlaw::NotAtEnd(name));
    }
    let deed = (keyword.kind)(&value, typing)?;
    Ok(Step { keyword: keyword.name, value, deed })
}

fn bad(kind: &'static str, value: &[u8]) -> OptionFlaw {
    OptionFlaw::BadValue { kind, value: value.to_vec() }
}

/// An optional sign and digits to the end, which scanf(3) takes into an `int`: what does not fit is cut
/// to the lowest 32 bits, as the C library cuts it.
fn number(value: &[u8], radix: u32) -> Option<i32> {
    let (negative, digits) = match value.split_first()? {
        (b'-', digits) => (true, digits),
        (b'+', digits) => (false, digits),
        _ => (false, value),
    };
    let digit = |&byte: &u8| char::from(byte).to_digit(radix).map(i64::from);
    let sign = if negative { -1 } else { 1 };
    let add = |sum: i64, digit: i64| sum.saturating_mul(radix.into()).saturating_add(sign * digit);
    let number = digits.iter().map(digit).try_fold(0, |sum, digit| Some(add(sum, digit?)))?;
    (!digits.is_empty()).then_some(number as i32)
}

const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
const FACILITIES: [(&str, u8); 17] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// The number of a syslog facility, by its name in syslog.conf(5).
pub fn facility(name: &[u8]) -> Option<u8> {
    FACILITIES.iter().find(|(n, _)| name.eq_ignore_ascii_case(n.as_bytes())).map(|&(_, number)| number)
}

/// ```text
/// severity = [ facility "." ] level ;
/// ```
fn severity(value: &[u8], _: &Typing<'_>) -> Result<Deed, OptionFlaw> {
    let fail = |text: &[u8]| bad("syslog facility or severity", text);
    let (facility, level) = match value.iter().position(|&b| b == b'.') {
        Some(dot) => {
            let name = value.get(..dot).unwrap_or_default();
            (Some(facility(name).ok_or_else(|| fail(name))?), value.get(dot + 1..).unwrap_or_default())
        }
        None => (None, value),
    };
    let level_number = LEVELS.iter().position(|name| level.eq_ignore_ascii_case(name.as_bytes()));
    match level_number.and_then(|n| u8::try_from(n).ok()) {
        Some(level) => Ok(Deed::Severity(Priority { facility, level })),
        None => Err(fail(level)),
    }
}

fn linger(value: &[u8], _: &Typing<'_>) -> Result<Deed, OptionFlaw> {
    number(value, 10).filter(|&n| n >= 0).map(Deed::Linger).ok_or_else(|| bad("linger value", value))
}

fn rfc931(value: &[u8], _: &Typing<'_>) -> Result<Deed, OptionFlaw> {
    if value.is_empty() {
        return Ok(Deed::Rfc931(None));
    }
    let seconds = number(value, 10).and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 0);
    seconds.map(|n| Deed::Rfc931(Some(n))).ok_or_else(|| bad("rfc931 timeout", value))
}

fn nice(value: &[u8], _: &Typing<'_>) -> Result<Deed, OptionFlaw> {
    if value.is_empty() {
        return Ok(Deed::Nice(10));
    }
    number(value, 10).map(Deed::Nice).ok_or_else(|| bad("nice value", value))
}

fn umask(value: &[u8], _: &Typing<'_>) -> Result<Deed, OptionFlaw> {
    let mask = number(value, 8).and_then(|n| u32::try_from(n).ok()).filter(|&n| n <= 0o777);
    mask.map(Deed::Umask).ok_or_else(|| bad("umask value", value))
}

/// ```text
/// setenv = name [ blanks value ] ;   the name without "="
/// ```
fn setenv(value: &[u8], _: &Typing<'_>) -> Result<Deed, OptionFlaw> {
    let (name, _) = assignment(value);
    if name.contains(&b'=') { Err(bad("environment name", name)) } else { Ok(Deed::Setenv) }
}

/// The name and the value in the text of a `setenv`.
pub fn assignment(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&b| is_space(b)).unwrap_or(text.len());
    let (name, value) = text.split_at_checked(end).unwrap_or_default();
    (name, trim(value))
}

/// ```text
/// user = name [ "." group ] ;
/// ```
fn user(value: &[u8], typing: &Typing<'_>) -> Result<Deed, OptionFlaw> {
    let (name, group) = match value.iter().position(|&b| b == b'.') {
        Some(dot) => (value.get(..dot).unwrap_or_default(), value.get(dot + 1..)),
        None => (value, None),
    };
    let group = group.filter(|g| !g.is_empty());
    let mut identity = typing.ask.identity(Some(name), group).map_err(|no| unknown(no, name, group))?;
    let earlier = typing.identity.as_ref().filter(|before| before.gid.is_some() && before.uid.is_none());
    if let (None, Some(before)) = (group, earlier) {
        identity.gid = before.gid;
        identity.groups.extend(before.gid);
    }
    Ok(Deed::Become(identity))
}

fn group(value: &[u8], typing: &Typing<'_>) -> Result<Deed, OptionFlaw> {
    // With a user already named, this is that user's group: the groups are his with it.
    let user =
        typing.identity.as_ref().filter(|before| before.uid.is_some()).map(|before| before.user.as_slice());
    let identity = typing.ask.identity(user, Some(value));
    identity.map(Deed::Become).map_err(|no| unknown(no, user.unwrap_or_default(), Some(value)))
}

fn unknown(no: NoSuch, user: &[u8], group: Option<&[u8]>) -> OptionFlaw {
    match no {
        NoSuch::User => OptionFlaw::UnknownUser(user.to_vec()),
        NoSuch::Group => OptionFlaw::UnknownGroup(group.unwrap_or_default().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::NameDoubt;
    use crate::facts::{Fact, HostName, ListEnd, Membership, Side, Sought, Stated, UserName};

    /// Has the users `ann` and `joe`, 1 and 2 with groups of the same numbers, and the group `staff`, 50.
    struct Accounts;

    impl Ask for Accounts {
        fn name(&self, _: Side, _: &mut Vec<NameDoubt>) -> Fact<HostName> {
            Fact::Unknown
        }
        fn user(&self, _: u32) -> Fact<UserName> {
            Fact::Unknown
        }
        fn in_netgroup(&self, _: &[u8], _: &[u8]) -> Membership {
            Membership::No
        }
        fn word_list(&self, _: &[u8], _: &dyn Sought, _: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
            ListEnd::Missing
        }
        fn identity(&self, user: Option<&[u8]>, group: Option<&[u8]>) -> Result<Identity, NoSuch> {
            let uid = match user {
                None => None,
                Some(b"ann") => Some(1),
                Some(b"joe") => Some(2),
                Some(_) => return Err(NoSuch::User),
            };
            let gid = match group {
                None => uid,
                Some(b"staff") => Some(50),
                Some(_) => return Err(NoSuch::Group),
            };
            let user = user.unwrap_or_default().to_vec();
            Ok(Identity { user, uid, gid, groups: gid.into_iter().collect() })
        }
        fn interface_exists(&self, _: &[u8]) -> bool {
            false
        }
    }

    #[test]
    fn an_identity_is_what_the_options_together_ask_for() {
        let last = |options: &str| match steps(options.as_bytes(), &Accounts) {
            Ok(mut steps) => match steps.pop().map(|step| step.deed) {
                Some(Deed::Become(identity)) => Ok((identity.uid, identity.gid, identity.groups)),
                other => panic!("{options}: {other:?}"),
            },
            Err((_, flaw)) => Err(flaw),
        };
        assert_eq!(last("user joe"), Ok((Some(2), Some(2), vec![2])));
        assert_eq!(last("user joe."), Ok((Some(2), Some(2), vec![2])));
        assert_eq!(last("user joe.staff"), Ok((Some(2), Some(50), vec![50])));
        assert_eq!(last("group staff"), Ok((None, Some(50), vec![50])));
        assert_eq!(last("group staff: user joe"), Ok((Some(2), Some(50), vec![2, 50])));
        assert_eq!(last("user joe: group staff"), Ok((Some(2), Some(50), vec![50])));
        assert_eq!(last("user ann.staff: user joe"), Ok((Some(2), Some(2), vec![2])));
        assert_eq!(last("user joe.wheel"), Err(OptionFlaw::UnknownGroup(b"wheel".to_vec())));
        assert_eq!(last("user eve.staff"), Err(OptionFlaw::UnknownUser(b"eve".to_vec())));
    }

    #[test]
    fn priorities_are_shown_as_they_are_written() {
        let shown = |facility, level| Priority { facility, level }.to_string();
        assert_eq!((shown(Some(2), 6), shown(None, 0)), ("mail.info".to_owned(), "emerg".to_owned()));
    }

    #[test]
    fn keywords_end_where_a_word_ends() {
        for yes in ["deny", " Deny", "allow:x", "nice=3", "user\tx", "twist /x"] {
            assert!(starts_with_keyword(yes.as_bytes()), "{yes}");
        }
        for no in ["", " ", "denyx", "deny-x", "x deny", ":deny", "1"] {
            assert!(!starts_with_keyword(no.as_bytes()), "{no}");
        }
    }

    fn typed(options: &str) -> Result<Vec<Deed>, OptionFlaw> {
        let steps = steps(options.as_bytes(), &Stated).map_err(|(_, flaw)| flaw)?;
        Ok(steps.into_iter().map(|step| step.deed).collect())
    }

    #[test]
    fn every_option_is_typed() {
        assert_eq!(
            typed(" Nice=4 :umask 077: linger +3:keepalive"),
            Ok(vec![Deed::Nice(4), Deed::Umask(0o77), Deed::Linger(3), Deed::Keepalive])
        );
        assert_eq!(
            typed("severity Mail.Info"),
            Ok(vec![Deed::Severity(Priority { facility: Some(2), level: 6 })])
        );
        assert_eq!(typed("rfc931: nice:deny"), Ok(vec![Deed::Rfc931(None), Deed::Nice(10), Deed::Deny]));
        assert_eq!(typed("umask 40000000022"), Ok(vec![Deed::Umask(0o22)]), "cut as scanf(3) cuts it");
        assert_eq!(typed("rfc931 5:nice -3"), Ok(vec![Deed::Rfc931(Some(5)), Deed::Nice(-3)]));
        assert_eq!(typed("=allow"), Err(OptionFlaw::MissingName));
        assert_eq!(typed("deny: nice"), Err(OptionFlaw::NotAtEnd(b"deny".to_vec())));
        assert_eq!(typed(""), Err(OptionFlaw::MissingName));
        assert_eq!(typed("allow x"), Err(OptionFlaw::TakesNoValue(b"allow".to_vec())));
        assert_eq!(typed("Spawn"), Err(OptionFlaw::NeedsValue(b"Spawn".to_vec())));
        assert_eq!(typed("twsit x"), Err(OptionFlaw::BadName(b"twsit".to_vec())));
        for wrong in [
            "nice 0x5",
            "nice 3.5",
            "umask 9",
            "umask 1000",
            "linger -1",
            "rfc931 0",
            "rfc931 -1",
            "severity none",
            "setenv A=B c",
        ] {
            assert!(matches!(typed(wrong), Err(OptionFlaw::BadValue { .. })), "{wrong}");
        }
        assert_eq!(typed("user nosuch"), Err(OptionFlaw::UnknownUser(b"nosuch".to_vec())));
    }

    #[test]
    fn colons_are_escaped_by_a_backslash() {
        let one: Vec<_> = fields(br"spawn a\:b\c == d : x").collect();
        assert_eq!(one[0].value, br"a:b\c == d");
        assert_eq!(one[1].name, b"x");
        let equals: Vec<_> = fields(b"spawn == x").collect();
        assert_eq!(equals[0].value, b"= x");
        let mut out = Vec::new();
        print(&equals[0], &mut out);
        assert_eq!(fields(&out).next().map(|f| f.value), Some(b"= x".to_vec()));
    }

    #[test]
    fn a_malformed_rule_may_still_refuse() {
        assert!(refuses(b" DENY ") && refuses(b"twist /bin/x") && refuses(b"a: [: twist echo no\\: go"));
        assert!(!refuses(b"deny x") && !refuses(b"twist") && !refuses(b"allow") && !refuses(b"denyx"));
    }
}
