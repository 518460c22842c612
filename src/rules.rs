//! The language as data: what a rule, a list, a pattern and an option are.
//!
//! Everything here borrows from the line it was read from, so that a rule that does not match costs
//! no heap object. Reading the words is the business of `grammar`, typing the options that of
//! `options`, matching that of `verdict`. Lists are kept as text and taken apart while they are
//! matched: the first word that matches ends the work.
//!
//! Notes for those who want to add a pattern: add a variant, its place in `grammar::host_pattern`
//! (the order there is the reference's and part of the language), its arm in `verdict`, its line in
//! hosts_access(5), and say whether it can be read in two ways.

#![forbid(unsafe_code)]

pub mod compiled;
pub mod grammar;
pub mod keys;
pub mod options;
pub mod scan;
pub mod trial;

use crate::error::{Doubt, Flaw, Place, Problem, What};
use crate::facts::Sought;
use std::net::Ipv6Addr;
use std::path::Path;
use std::sync::Arc;

/// Which of the two tables. A rule's sense starts from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Which {
    Allow,
    Deny,
}

/// A logical line: physical lines joined at backslash-newline, without its final newline.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub text: &'a [u8],
    pub file: &'a Arc<Path>,
    /// Number of its last physical line, from 1; the number that the log shows.
    pub number: u32,
    /// Offsets in `text` at which a backslash-newline was taken out.
    pub joins: &'a [usize],
}

impl<'a> Line<'a> {
    /// The place of a part of this line's text; of the line as a whole where there is no part.
    pub fn place(&self, part: Option<&[u8]>) -> Place {
        let spot = part.map(|part| {
            let offset = (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
            let before = self.joins.iter().filter(|&&join| join <= offset).count();
            let start = before.checked_sub(1).and_then(|last| self.joins.get(last)).copied().unwrap_or(0);
            let above = u32::try_from(self.joins.len() - before).unwrap_or(u32::MAX);
            let column = u32::try_from(offset - start).unwrap_or(u32::MAX).saturating_add(1);
            (self.number.saturating_sub(above), column)
        });
        Place { file: Arc::clone(self.file), line: self.number, spot }
    }
}

/// What a logical line turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A comment or only blanks.
    Nothing,
    /// No colon at all: skipped, with the reference's warning.
    NoColon,
    Malformed(Malformed<'a>),
    Rule(Rule<'a>),
}

/// `daemon_list : client_list [: options]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    pub daemons: List<'a>,
    pub clients: List<'a>,
    /// The text behind the second colon, not yet taken apart.
    pub options: Option<&'a [u8]>,
}

/// A line that has a colon and yet is no rule. It never grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed<'a> {
    pub flaw: Flaw,
    /// Where the flaw is.
    pub at: &'a [u8],
    /// The daemon list, where it can be read.
    pub daemons: Option<List<'a>>,
    /// The line ends in `: deny` or `: twist ...`.
    pub refuses: bool,
}

/// A list of words with EXCEPT between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List<'a>(pub &'a [u8]);

impl<'a> List<'a> {
    pub fn items(self) -> impl Iterator<Item = Item<'a>> {
        grammar::words(self.0)
            .map(|word| if word.eq_ignore_ascii_case(b"EXCEPT") { Item::Except } else { Item::Word(word) })
    }
}

impl List<'_> {
    /// Whether an IPv6 address without brackets stands behind an EXCEPT. Few lists have a colon at all.
    pub fn excepts_bare_address(self) -> bool {
        let is_bare = |item| match item {
            Item::Word(word) => {
                matches!(grammar::client_pattern(word).host, HostPattern::Bare6 { .. })
            }
            Item::Except => false,
        };
        let has_colon = || !scan::is_short_without(self.0, |byte| byte == b':') && self.0.contains(&b':');
        has_colon() && self.items().skip_while(|item| *item != Item::Except).any(is_bare)
    }
}

/// One member of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Except,
    Word(&'a [u8]),
}

/// A pattern for plain text: daemon names, user names, addresses as text, host names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPattern<'a> {
    All,
    Known,
    /// With `*` or `?`; anchored at both ends.
    Glob(&'a [u8]),
    /// `.suffix`: with its dot; the text must be longer.
    Suffix(&'a [u8]),
    /// `prefix.`: with its dot.
    Prefix(&'a [u8]),
    /// `[...]` that is an IPv6 address, or none that anything equals.
    Bracketed(Option<Address6<'a>>),
    Exact(&'a [u8]),
}

/// An IPv6 address and the scope written behind it. Scopes are checked for existence, not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address6<'a> {
    pub ip: Ipv6Addr,
    pub scope: Option<&'a [u8]>,
}

/// A pattern for a host: in client lists, behind `daemon@` and `user@`, in pattern files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPattern<'a> {
    Netgroup(&'a [u8]),
    File(&'a [u8]),
    Known,
    Local,
    Net4 {
        net: u32,
        mask: u32,
        doubt: Option<Doubt>,
    },
    Net6 {
        net: Address6<'a>,
        length: u8,
        doubt: Option<Doubt>,
    },
    /// A network that nothing can be in: `/33`, `2001:db8::/32` in a daemon list, ...
    NoNet,
    /// An IPv6 address or network without brackets. `head` is what the reference would read: the text
    /// before the first colon.
    Bare6 {
        net: Address6<'a>,
        length: Option<u8>,
        head: &'a [u8],
    },
    Text {
        pattern: TextPattern<'a>,
        /// It may match a host name: it has a character outside `0-9 . /`.
        may_be_name: bool,
    },
}

/// `process[@host]`, the process being a name or a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DaemonPattern<'a> {
    pub process: Process<'a>,
    pub host: Option<HostPattern<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process<'a> {
    Port(u16),
    Named(TextPattern<'a>),
}

/// `[user@]host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientPattern<'a> {
    pub user: Option<TextPattern<'a>>,
    pub host: HostPattern<'a>,
}

/// What a table yields, in order. The text backend parses as it goes; an image backend may jump, as
/// long as nobody can tell the difference.
pub enum Entry<'a> {
    Line(Line<'a>, Parsed<'a>),
    /// The table cannot be read any further. In hosts.deny that refuses.
    Broken(Vec<Problem>),
    /// The file changed while it was read: everything said since the start is void.
    Again,
    End,
}

/// A table of rules, being walked. Its position is the only state: whoever goes on after a rule that
/// turned out not to hold simply asks for the next entry.
pub trait Table {
    fn next(&mut self) -> Entry<'_>;
    /// The next entry that can matter to a request: what is left out does not match it, asks nothing
    /// and is silent. The text leaves nothing out.
    fn next_for(&mut self, _: &dyn Sought) -> Entry<'_> {
        self.next()
    }
    /// Back to the first line; what was read is read anew.
    fn rewind(&mut self);
    /// What came up about the table itself, for the log.
    fn complaint(&self) -> Option<Problem> {
        None
    }
}

impl Problem {
    pub fn at(place: Place, weight: crate::error::Weight, what: What) -> Problem {
        Problem { place: Some(place), weight, what }
    }
}

impl Rule<'_> {
    /// The rule in canonical form: one blank or comma between words, ` : ` between fields, options as
    /// `keyword value`. Reading it again gives the same rule.
    pub fn print(&self, out: &mut Vec<u8>) {
        let start = out.len();
        print_list(self.daemons, out);
        if out.get(start) == Some(&b'#') {
            // In column 1 it would begin a comment.
            out.insert(start, b' ');
        }
        out.extend_from_slice(b" : ");
        print_list(self.clients, out);
        for field in self.options.into_iter().flat_map(options::fields) {
            out.extend_from_slice(b" : ");
            options::print(&field, out);
        }
        if out.ends_with(b"\\") {
            // At the end of a line it would join the next one.
            out.push(b' ');
        }
    }
}

fn print_list(list: List<'_>, out: &mut Vec<u8>) {
    let mut before = None;
    for item in list.items() {
        match (before, item) {
            (None, _) => {}
            (Some(Item::Word(_)), Item::Word(_)) => out.extend_from_slice(b", "),
            _ => out.push(b' '),
        }
        match item {
            Item::Except => out.extend_from_slice(b"EXCEPT"),
            Item::Word(word) => out.extend_from_slice(word),
        }
        before = Some(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_finds_its_physical_line() {
        let file: Arc<Path> = Arc::from(Path::new("f"));
        // "ab\<LF>cd\<LF>ef" as lines 4 to 6
        let line = Line { text: b"abcdef", file: &file, number: 6, joins: &[2, 4] };
        let spot = |n: usize| line.place(line.text.get(n..)).spot;
        assert_eq!((spot(0), spot(1)), (Some((4, 1)), Some((4, 2))));
        assert_eq!((spot(2), spot(3)), (Some((5, 1)), Some((5, 2))));
        assert_eq!(spot(5), Some((6, 2)));
        assert_eq!(line.place(None).line, 6);
    }

    #[test]
    fn printing_is_canonical() {
        let parsed = grammar::line(b"a,b  EXCEPT\tc : [::1]/64 ,x:severity=mail.info:setenv A b\\:c");
        let Parsed::Rule(rule) = parsed else { panic!("no rule") };
        let mut out = Vec::new();
        rule.print(&mut out);
        assert_eq!(out, b"a, b EXCEPT c : [::1]/64, x : severity mail.info : setenv A b\\:c");
        let Parsed::Rule(rule) = grammar::line(b" # a: b: = x: spawn y\\ ") else { panic!("no rule") };
        let mut out = Vec::new();
        rule.print(&mut out);
        assert_eq!(out, b" #, a : b :  = x : spawn y\\ ", "no comment, and no continued line");
    }
}
