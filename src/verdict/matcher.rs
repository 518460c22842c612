//! Does a rule match? Patterns, lists and EXCEPT, in three-valued logic.
//!
//! Matching asks for names and users only where an answer still matters: daemons before clients,
//! addresses before names, hosts before users. What could not be read or known on the way is noticed
//! here and reported with the place of the rule.

#![forbid(unsafe_code)]

use crate::error::{Doubt, Problem, Weight, What};
use crate::facts::{Fact, ListEnd, Membership, Request, Side, Sought};
use crate::rules::grammar::{self, address4, address6, client4, unmapped};
use crate::rules::{Address6, HostPattern, Item, Line, List, Process, TextPattern};
use ipnet::Ipv6Net;
use std::cell::{Cell, RefCell};

/// Kleene's three values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
    TwoWays,
}

impl Answer {
    pub fn or(self, other: Answer) -> Answer {
        match (self, other) {
            (Answer::Yes, _) | (_, Answer::Yes) => Answer::Yes,
            (Answer::No, Answer::No) => Answer::No,
            _ => Answer::TwoWays,
        }
    }

    /// `self AND other`, asking `other` only where it matters.
    pub fn and(self, other: impl FnOnce() -> Answer) -> Answer {
        match (self, if self == Answer::No { Answer::No } else { other() }) {
            (Answer::Yes, Answer::Yes) => Answer::Yes,
            (Answer::No, _) | (_, Answer::No) => Answer::No,
            _ => Answer::TwoWays,
        }
    }
}

impl std::ops::Not for Answer {
    type Output = Answer;

    fn not(self) -> Answer {
        match self {
            Answer::Yes => Answer::No,
            Answer::No => Answer::Yes,
            Answer::TwoWays => Answer::TwoWays,
        }
    }
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Answer {
        if yes { Answer::Yes } else { Answer::No }
    }
}

/// One end of a request, as the object of a search.
pub struct End<'r> {
    pub request: &'r Request<'r>,
    pub side: Side,
}

impl Sought for End<'_> {
    fn address(&self) -> &[u8] {
        self.request.end(self.side).address.text()
    }

    fn name(&self) -> Option<&[u8]> {
        self.request.name_if_asked(self.side).map(Fact::text)
    }

    fn may_serve(&self, daemons: &[u8]) -> bool {
        Matcher::new(self.request).daemons(List(daemons)) != Answer::No
    }
}

/// Deepest nesting of pattern files.
const DEPTH_MAX: usize = 8;
/// Most pattern files that one rule reads for one request, counted each time.
const FILES_MAX: usize = 1000;
/// Most things that are noticed about one rule.
const NOTICED_MAX: usize = 20;

/// One rule against one request.
pub struct Matcher<'r> {
    request: &'r Request<'r>,
    /// The first pattern that answered in two ways.
    doubt: RefCell<Option<(Vec<u8>, Doubt)>>,
    /// The text before the first colon of a bare IPv6 address is the name of the client's host.
    pub head_matched: Cell<bool>,
    /// Bare IPv6 addresses that match answer in two ways.
    pub bare_in_doubt: Cell<bool>,
    noticed: RefCell<Vec<What>>,
    doubts_before: usize,
    /// The pattern files that are being read, outermost first.
    files: RefCell<Vec<Vec<u8>>>,
    files_opened: Cell<usize>,
}

impl<'r> Matcher<'r> {
    pub fn new(request: &'r Request<'_>) -> Matcher<'r> {
        Matcher {
            request,
            doubt: RefCell::new(None),
            head_matched: Cell::new(false),
            bare_in_doubt: Cell::new(false),
            files_opened: Cell::new(0),
            noticed: RefCell::default(),
            doubts_before: request.doubts_waiting(),
            files: RefCell::default(),
        }
    }

    /// Hands over what was noticed, with the place of the rule.
    pub fn report(&self, line: &Line<'_>, remarks: &mut Vec<Problem>) {
        if self.noticed.borrow().is_empty() && self.request.doubts_waiting() <= self.doubts_before {
            return;
        }
        for what in self.noticed.take() {
            remarks.push(Problem::at(line.place(None), Weight::Error, what));
        }
        // Who asked for a name before the search did not do so for this rule.
        for doubt in self.request.take_doubts_behind(self.doubts_before) {
            remarks.push(Problem::at(line.place(None), Weight::Warning, What::Name(doubt)));
        }
    }

    pub fn report_doubt(&self, line: &Line<'_>, remarks: &mut Vec<Problem>) {
        if let Some((word, why)) = self.doubt.take() {
            let at = line.text.windows(word.len().max(1)).find(|part| *part == word.as_slice());
            remarks.push(Problem::at(line.place(at), Weight::Warning, What::TwoWays { word, why }));
        }
    }

    /// Notices each thing once, and not without end.
    fn notice(&self, what: What) {
        let mut noticed = self.noticed.borrow_mut();
        if noticed.len() < NOTICED_MAX && !noticed.contains(&what) {
            noticed.push(what);
        }
    }

    fn two_ways(&self, word: &[u8], why: Doubt) -> Answer {
        self.doubt.borrow_mut().get_or_insert_with(|| (word.to_vec(), why));
        Answer::TwoWays
    }

    pub fn request(&self) -> &'r Request<'r> {
        self.request
    }

    pub fn daemons(&self, list: List<'_>) -> Answer {
        walk(list, |word| {
            let pattern = grammar::daemon_pattern(word);
            let process = self.process(pattern.process);
            match pattern.host {
                Some(host) => process.and(|| self.host(host, word, Side::Server)),
                None => process,
            }
        })
    }

    /// Whether a service is meant, wherever it is called.
    pub fn process(&self, process: Process<'_>) -> Answer {
        match process {
            Process::Port(port) => (self.request.server.port == Some(port)).into(),
            Process::Named(text) => self.text(text, self.request.daemon.as_ref()),
        }
    }

    pub fn clients(&self, list: List<'_>) -> Answer {
        walk(list, |word| {
            let pattern = grammar::client_pattern(word);
            let host = self.host(pattern.host, word, Side::Client);
            match pattern.user {
                Some(user) => host.and(|| self.text(user, self.request.user().text())),
                None => host,
            }
        })
    }

    /// The string matcher (hosts_access(5), PATTERNS), on a name or an address as text.
    fn text(&self, pattern: TextPattern<'_>, text: &[u8]) -> Answer {
        if pattern == TextPattern::All {
            return Answer::Yes;
        }
        let text = unmapped(text);
        let tail = |n: usize| text.len().checked_sub(n).and_then(|start| text.get(start..));
        let matches = match pattern {
            TextPattern::All => true,
            TextPattern::Known => !text.eq_ignore_ascii_case(b"unknown"),
            TextPattern::Glob(glob) => glob_matches(glob, text),
            TextPattern::Suffix(suffix) => {
                text.len() > suffix.len()
                    && tail(suffix.len()).is_some_and(|t| t.eq_ignore_ascii_case(suffix))
            }
            TextPattern::Prefix(prefix) => {
                text.get(..prefix.len()).is_some_and(|t| t.eq_ignore_ascii_case(prefix))
            }
            TextPattern::Bracketed(Some(address)) => {
                self.own6(text).is_some_and(|own| own.ip == address.ip) && self.scope_exists(address)
            }
            TextPattern::Bracketed(None) => false,
            TextPattern::Exact(exact) => text.eq_ignore_ascii_case(exact),
        };
        matches.into()
    }

    /// A scope that is no number must be that of an interface; it is not compared.
    fn scope_exists(&self, address: Address6<'_>) -> bool {
        match address.scope {
            Some(scope) if !grammar::scope_number(scope) => self.request.asker().interface_exists(scope),
            _ => true,
        }
    }

    /// An end's address text as IPv6. It is none if its scope does not exist here.
    fn own6<'a>(&self, text: &'a [u8]) -> Option<Address6<'a>> {
        address6(text).filter(|&own| self.scope_exists(own))
    }

    fn in_net6(&self, address: &[u8], net: Address6<'_>, length: u8) -> bool {
        let address = unmapped(address);
        if address4(address).is_some() {
            return false;
        }
        match (self.own6(address), Ipv6Net::new(net.ip, length)) {
            (Some(own), Ok(prefix)) => prefix.contains(&own.ip) && self.scope_exists(net),
            _ => false,
        }
    }

    /// Whether an end is meant; `word` is the pattern as it is written.
    pub fn host(&self, pattern: HostPattern<'_>, word: &[u8], side: Side) -> Answer {
        let address = || self.request.end(side).address.text();
        let name = || self.request.name(side);
        match pattern {
            HostPattern::Netgroup(group) => self.netgroup(group, word, name().text()),
            HostPattern::File(path) => self.pattern_file(path, word, side),
            HostPattern::Known => {
                (!address().eq_ignore_ascii_case(b"unknown") && name().good().is_some()).into()
            }
            HostPattern::Local => name().good().is_some_and(|n| !n.as_ref().contains(&b'.')).into(),
            HostPattern::Net4 { net, mask, doubt } => {
                let inside = client4(address()).is_some_and(|ip| u32::from(ip) & mask == net);
                self.unless(inside, doubt, word)
            }
            HostPattern::Net6 { net, length, doubt } => {
                self.unless(self.in_net6(address(), net, length), doubt, word)
            }
            HostPattern::NoNet => Answer::No,
            HostPattern::Bare6 { net, length, head } => self.bare6(net, length, head, word, side),
            HostPattern::Text { pattern, may_be_name } => match self.text(pattern, address()) {
                Answer::No if may_be_name => self.text(pattern, name().text()),
                answer => answer,
            },
        }
    }

    fn unless(&self, inside: bool, doubt: Option<Doubt>, word: &[u8]) -> Answer {
        match (inside, doubt) {
            (true, Some(why)) => self.two_ways(word, why),
            (inside, _) => inside.into(),
        }
    }

    /// An IPv6 address or network without brackets. In a pattern file the reference compares text, so
    /// only an address spelled as the log spells it is sure. In a client list the reference takes
    /// `head` for the last pattern: a host of that name gets the second reading.
    fn bare6(&self, net: Address6<'_>, length: Option<u8>, head: &[u8], word: &[u8], side: Side) -> Answer {
        let address = unmapped(self.request.end(side).address.text());
        // A mapped address, as the log shows it and ban tools copy it, means the very client.
        let inside = match (net.ip.to_ipv4_mapped(), length) {
            (Some(mapped), None) => client4(address) == Some(mapped),
            _ => self.in_net6(address, net, length.unwrap_or(128)),
        };
        if !self.files.borrow().is_empty() {
            let same_text = length.is_none() && address.eq_ignore_ascii_case(word);
            return if same_text { Answer::Yes } else { self.unless(inside, Some(Doubt::BareAddress), word) };
        }
        let names_a_host = head.iter().any(|byte| !byte.is_ascii_digit());
        let other = || self.request.name(side).text().eq_ignore_ascii_case(head);
        if !inside && names_a_host && other() {
            self.head_matched.set(true);
            return self.two_ways(word, Doubt::BareAddress);
        }
        self.unless(inside, self.bare_in_doubt.get().then_some(Doubt::BareAddress), word)
    }

    fn netgroup(&self, group: &[u8], word: &[u8], host: &[u8]) -> Answer {
        match self.request.asker().in_netgroup(group, host) {
            Membership::Yes => Answer::Yes,
            Membership::No => Answer::No,
            Membership::TooSlow(spent_ms) => {
                self.notice(What::Netgroup { group: group.to_vec(), spent_ms });
                self.two_ways(word, Doubt::Netgroup)
            }
        }
    }

    /// A pattern file: each of its words is a host pattern.
    fn pattern_file(&self, path: &[u8], word: &[u8], side: Side) -> Answer {
        let depth = self.files.borrow().len();
        let circular = self.files.borrow().iter().any(|open| open == path);
        let mut answer = Answer::No;
        let opened = self.files_opened.replace(self.files_opened.get() + 1);
        let end = if circular {
            ListEnd::Trouble("it includes itself".to_owned())
        } else if depth >= DEPTH_MAX {
            ListEnd::Trouble("nested too deeply".to_owned())
        } else if opened >= FILES_MAX {
            ListEnd::Trouble("too many pattern files".to_owned())
        } else {
            self.files.borrow_mut().push(path.to_vec());
            let end =
                self.request.asker().word_list(path, &End { request: self.request, side }, &mut |word| {
                    answer = answer.or(self.host(grammar::host_pattern(word), word, side));
                    answer != Answer::Yes
                });
            self.files.borrow_mut().pop();
            end
        };
        match end {
            ListEnd::Read | ListEnd::Missing => answer,
            ListEnd::Trouble(reason) => {
                self.notice(What::PatternFile { file: path.to_vec(), reason });
                answer.or(self.two_ways(word, Doubt::PatternFile))
            }
        }
    }
}

/// `a EXCEPT b EXCEPT c` is `a AND NOT (b AND NOT c)`. A list behind an EXCEPT is looked at only if
/// all before it may match, a word only if no word before it in its list is sure. Public for
/// [`crate::explain`], which must ask about the very same words.
pub fn walk(list: List<'_>, matches: impl Fn(&[u8]) -> Answer) -> Answer {
    let mut answers = Vec::new();
    let mut current = Answer::No;
    for item in list.items() {
        match item {
            Item::Word(_) if current == Answer::Yes => {}
            Item::Word(word) => current = current.or(matches(word)),
            Item::Except if current == Answer::No => break,
            Item::Except => answers.push(std::mem::replace(&mut current, Answer::No)),
        }
    }
    if answers.is_empty() {
        return current;
    }
    answers.into_iter().rev().fold(current, |behind, before| before.and(|| !behind))
}

/// `*` is any run, `?` any one byte, both ends anchored, ASCII case ignored. Time is at most the
/// product of the two lengths, and a text has at most 127 bytes.
fn glob_matches(mut glob: &[u8], mut text: &[u8]) -> bool {
    // What is behind the last star, and the text that the star is tried on.
    let mut star: Option<(&[u8], &[u8])> = None;
    while let Some((byte, behind)) = text.split_first() {
        match glob.split_first() {
            Some((b'*', left)) => {
                star = Some((left, text));
                glob = left;
            }
            Some((&p, left)) if p == b'?' || p.eq_ignore_ascii_case(byte) => (glob, text) = (left, behind),
            _ => {
                let Some((left, from)) = star else { return false };
                // The star takes one byte more.
                (glob, text) = (left, from.get(1..).unwrap_or_default());
                star = Some((glob, text));
            }
        }
    }
    glob.iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::NameDoubt;
    use crate::facts::{
        Ask, DaemonName, Endpoint, HostName, Identity, NoSuch, Transport, UserName, stated_name, stated_user,
    };
    use std::path::Path;
    use std::sync::Arc;

    /// Knows one name and one user, has a doubt about each name, the interface `lo`, a netgroup without
    /// end, and pattern files that are what they are called: `/deep/3` leads to two others, `/wide/3` to
    /// three, `/self` to itself, `/bad/...` cannot be read; the others have their names' words in them.
    struct World {
        name: &'static str,
        user: &'static str,
        shown: Cell<usize>,
    }

    impl Ask for World {
        fn name(&self, _: Side, doubts: &mut Vec<NameDoubt>) -> Fact<HostName> {
            doubts.push(NameDoubt::Numeric { name: b"1.2.3.4".to_vec() });
            stated_name(Some(self.name.as_bytes()))
        }
        fn user(&self, _: u32) -> Fact<UserName> {
            stated_user(self.user.as_bytes())
        }
        fn in_netgroup(&self, group: &[u8], host: &[u8]) -> Membership {
            match group {
                b"slow" => Membership::TooSlow(7),
                _ if host == b"h.example.com" => Membership::Yes,
                _ => Membership::No,
            }
        }
        fn word_list(&self, path: &[u8], _: &dyn Sought, visit: &mut dyn FnMut(&[u8]) -> bool) -> ListEnd {
            let path = std::str::from_utf8(path).expect("ASCII");
            let number = |behind: &str| behind.parse::<usize>().expect("a number");
            let words: Vec<String> = match path.split_at(path.rfind('/').expect("a slash") + 1) {
                ("/deep/", "1") => Vec::new(),
                ("/deep/", left) => vec![format!("/deep/{}", number(left) - 1)],
                ("/wide/", count) => (0..number(count)).map(|n| format!("/leaf/{n}")).collect(),
                ("/bad/", _) => return ListEnd::Trouble("it is bad".to_owned()),
                ("/leaf/", _) => Vec::new(),
                (_, "self") => vec!["/self".to_owned()],
                (_, words) => words.split('+').map(|word| word.replace('|', "/")).collect(),
            };
            for word in words {
                self.shown.set(self.shown.get() + 1);
                if !visit(word.as_bytes()) {
                    break;
                }
            }
            ListEnd::Read
        }
        fn identity(&self, _: Option<&[u8]>, _: Option<&[u8]>) -> Result<Identity, NoSuch> {
            Err(NoSuch::User)
        }
        fn interface_exists(&self, name: &[u8]) -> bool {
            name == b"lo"
        }
    }

    fn world(name: &'static str) -> World {
        World { name, user: "joe", shown: Cell::new(0) }
    }

    fn request<'a>(address: &str, world: &'a World) -> Request<'a> {
        let client = Endpoint::new(Fact::Known(address.as_bytes().to_vec()), None);
        let server = Endpoint::new(Fact::Known(b"192.0.2.1".to_vec()), Some(21));
        Request::new(DaemonName::stated(b"d"), 1, Transport::Stream, (client, server), world)
    }

    fn clients(list: &str, address: &str, name: &'static str) -> Answer {
        let world = world(name);
        Matcher::new(&request(address, &world)).clients(List(list.as_bytes()))
    }

    #[test]
    fn patterns_match_whom_they_mean() {
        let yes = [
            ("ALL", "unknown", "unknown"),
            ("KNOWN", "192.0.2.7", "h.example.com"),
            ("LOCAL", "192.0.2.7", "h"),
            (".example.com", "192.0.2.7", "H.Example.com"),
            ("h.example.com", "192.0.2.7", "H.example.COM"),
            ("10.", "10.1.2.3", "h"),
            ("10.1.2.3", "::ffff:10.1.2.3", "h"),
            ("10.0.0.0/8", "10.9.9.9", "h"),
            ("10.0.0.1/255.0.0.255", "10.9.9.1", "h"),
            ("[2001:db8::7]", "2001:db8:0::7", "h"),
            ("[fe80::1%lo]", "fe80::1", "h"),
            ("[fe80::1%7]", "fe80::1", "h"),
            ("[fe80::1]", "fe80::1%lo", "h"),
            ("[2001:db8::]/32", "2001:db8:1::7", "h"),
            ("[fe80::%lo]/10", "fe80::1", "h"),
            ("::ffff:192.0.2.7", "192.0.2.7", "h"),
            ("::ffff:192.0.2.7", "::ffff:192.0.2.7", "h"),
            ("0:0:0:0:0:0:0:1", "::1", "h"),
            ("2001:db8::/32", "2001:db8::7", "h"),
            ("beef::1", "beef::1", "beef"),
            ("joe@ALL", "192.0.2.7", "h"),
            ("KNOWN@ALL", "192.0.2.7", "h"),
            ("@any", "192.0.2.7", "h.example.com"),
            ("/w/10.+192.0.2.7", "192.0.2.7", "h"),
            ("/w/2001:db8::7", "2001:db8::7", "h"),
        ];
        let no = [
            ("KNOWN", "unknown", "h.example.com"),
            ("KNOWN", "192.0.2.7", "unknown"),
            ("LOCAL", "192.0.2.7", "h.example.com"),
            ("LOCAL", "192.0.2.7", "unknown"),
            (".example.com", "192.0.2.7", "example.com"),
            (".example.com", "192.0.2.7", ".example.com"),
            (".example.com", "192.0.2.7", "h.example.org"),
            ("10.", "192.0.2.7", "10.1.2.3"),
            ("10.1.2.3", "10.1.2.30", "h"),
            ("10.0.0.0/8", "192.0.2.7", "h"),
            ("10.0.0.0/8", "2001:db8::7", "h"),
            ("[2001:db8::7]", "2001:db8::8", "h"),
            ("[2001:db8::7]", "192.0.2.7", "h"),
            ("[fe80::1%nosuch]", "fe80::1", "h"),
            ("[fe80::1]", "fe80::1%nosuch", "h"),
            ("[2001:db8::]/32", "2001:db9::7", "h"),
            ("[::]/0", "192.0.2.7", "h"),
            ("[fe80::%nosuch]/10", "fe80::1", "h"),
            ("::ffff:192.0.2.7", "192.0.2.8", "h"),
            ("2001:db8::7", "::1", "2001"),
            ("beef::1", "::1", "h"),
            ("ann@ALL", "192.0.2.7", "h"),
            ("UNKNOWN@ALL", "192.0.2.7", "h"),
            ("@any", "192.0.2.7", "h"),
            ("/w/10.+192.0.2.8", "192.0.2.7", "h"),
            ("/w/2001:db8::7", "2001:db8::8", "h"),
        ];
        let two_ways = [
            ("10.1.2.3/8", "10.9.9.9", "h"),
            ("beef::1", "::1", "BEEF"),
            ("@slow", "192.0.2.7", "h"),
            ("/bad/file", "192.0.2.7", "h"),
            ("/self", "192.0.2.7", "h"),
            ("/w/2001:db8:0:0::7", "2001:db8::7", "h"),
            ("/w/2001:db8::|32", "2001:db8::7", "h"),
        ];
        let all = [(Answer::Yes, &yes[..]), (Answer::No, &no[..]), (Answer::TwoWays, &two_ways[..])];
        for (expected, cases) in all {
            for &(list, address, name) in cases {
                assert_eq!(clients(list, address, name), expected, "{list} {address} {name}");
            }
        }
    }

    #[test]
    fn a_service_is_its_name_or_its_port() {
        let world = world("h");
        let request = request("192.0.2.7", &world);
        let answer = |list: &str| Matcher::new(&request).daemons(List(list.as_bytes()));
        for list in ["d", "ALL", "21", "D", "KNOWN", "d@192.0.2.1", "21@192.0.2.0/24"] {
            assert_eq!(answer(list), Answer::Yes, "{list}");
        }
        for list in ["x", "22", "d@192.0.2.7", "x@192.0.2.1", "ALL EXCEPT 21"] {
            assert_eq!(answer(list), Answer::No, "{list}");
        }
    }

    #[test]
    fn nobody_is_no_known_user() {
        let world = World { user: "unknown", ..world("h") };
        let request = request("192.0.2.7", &world);
        let answer = |list: &str| Matcher::new(&request).clients(List(list.as_bytes()));
        assert_eq!((answer("KNOWN@ALL"), answer("unknown@ALL")), (Answer::No, Answer::Yes));
    }

    #[test]
    fn numbers_ask_for_no_name() {
        let world = world("10.1.2.3");
        let request = request("192.0.2.7", &world);
        let matcher = Matcher::new(&request);
        assert_eq!(matcher.clients(List(b"10. 10.1.2.3 10.0.0.0/8 [::]/0 2001:db8::7")), Answer::No);
        assert_eq!((request.name_if_asked(Side::Client), matcher.head_matched.get()), (None, false));
    }

    #[test]
    fn an_end_tells_what_is_known_of_it() {
        let world = world("h");
        let request = request("192.0.2.7", &world);
        let end = |side| End { request: &request, side };
        assert_eq!(
            (end(Side::Client).address(), end(Side::Server).address()),
            (&b"192.0.2.7"[..], &b"192.0.2.1"[..])
        );
        assert_eq!(end(Side::Client).name(), None);
        let _ = request.name(Side::Client);
        assert_eq!((end(Side::Client).name(), end(Side::Server).name()), (Some(&b"h"[..]), None));
        assert!(end(Side::Client).may_serve(b"x d") && !end(Side::Client).may_serve(b"x"));
    }

    #[test]
    fn pattern_files_have_their_limits() {
        for (list, expected) in [
            (format!("/deep/{DEPTH_MAX}"), Answer::No),
            (format!("/deep/{}", DEPTH_MAX + 1), Answer::TwoWays),
            (format!("/wide/{}", FILES_MAX - 1), Answer::No),
            (format!("/wide/{FILES_MAX}"), Answer::TwoWays),
            // What is closed may be opened again.
            ("/leaf/1 /deep/8 /deep/8 /leaf/1".to_owned(), Answer::No),
        ] {
            assert_eq!(clients(&list, "192.0.2.7", "h"), expected, "{list}");
        }
        let world = world("h");
        assert_eq!(Matcher::new(&request("10.1.2.3", &world)).clients(List(b"/w/x+10.+y+z")), Answer::Yes);
        assert_eq!(world.shown.get(), 2, "nothing is read behind the word that is sure");
    }

    /// What a matcher reports, with the weight of each.
    fn reported(list: &str, asked_before: bool) -> Vec<(Weight, What)> {
        let world = world("h.example.com");
        let request = request("192.0.2.7", &world);
        if asked_before {
            let _ = request.name(Side::Client);
        }
        let matcher = Matcher::new(&request);
        let _ = matcher.clients(List(list.as_bytes()));
        let file: Arc<Path> = Arc::from(Path::new("f"));
        let line = Line { text: b"", file: &file, number: 1, joins: &[] };
        let mut remarks = Vec::new();
        matcher.report(&line, &mut remarks);
        remarks.into_iter().map(|problem| (problem.weight, problem.what)).collect()
    }

    #[test]
    fn what_is_noticed_is_reported() {
        let bad = |file: &str| {
            let (file, reason) = (file.as_bytes().to_vec(), "it is bad".to_owned());
            (Weight::Error, What::PatternFile { file, reason })
        };
        let slow = (Weight::Error, What::Netgroup { group: b"slow".to_vec(), spent_ms: 7 });
        let name = (Weight::Warning, What::Name(NameDoubt::Numeric { name: b"1.2.3.4".to_vec() }));
        assert_eq!(reported("10.", false), []);
        assert_eq!(reported(".example.org", false), std::slice::from_ref(&name));
        assert_eq!(reported(".example.org", true), [], "it came up for somebody else");
        assert_eq!(reported("/bad/1 /bad/2 /bad/1", false), [bad("/bad/1"), bad("/bad/2")]);
        assert_eq!(reported("@slow /bad/1", false), [slow, bad("/bad/1"), name]);
        let many: String = (0..25).map(|n| format!("/bad/{n} ")).collect();
        assert_eq!(reported(&many, false).len(), NOTICED_MAX);
    }

    #[test]
    fn globs() {
        let yes = [
            ("*", ""),
            ("a*", "abc"),
            ("*c", "abc"),
            ("A?C", "abc"),
            ("*b*", "abc"),
            ("a**", "a"),
            ("*.3.4", "1.2.3.4"),
            ("*a*b", "xaab"),
            ("?*?", "ab"),
            ("A*Z", "aZ"),
            ("**", ""),
            ("a*b", "a*b"),
        ];
        let no = [
            ("?", ""),
            ("a", "ab"),
            ("*d", "abc"),
            ("a?", "a"),
            ("", "a"),
            ("[ab]*", "a"),
            ("?*?", "a"),
            ("*ab", "aba"),
        ];
        for (glob, text) in yes {
            assert!(glob_matches(glob.as_bytes(), text.as_bytes()), "{glob} {text}");
        }
        for (glob, text) in no {
            assert!(!glob_matches(glob.as_bytes(), text.as_bytes()), "{glob} {text}");
        }
        assert!(!glob_matches("*a".repeat(30).as_bytes(), &[b'b'; 127]), "and at once");
    }

    #[test]
    fn kleene() {
        use Answer::{No, TwoWays, Yes};
        assert_eq!(Yes.and(|| TwoWays), TwoWays);
        assert_eq!(TwoWays.and(|| No), No);
        assert_eq!(No.and(|| panic!("not asked")), No);
        assert_eq!((TwoWays.or(Yes), TwoWays.or(No), !TwoWays), (Yes, TwoWays, TwoWays));
        assert_eq!((Yes.or(No), No.or(Yes), No.or(No), No.or(TwoWays)), (Yes, Yes, No, TwoWays));
        assert_eq!(
            (Yes.and(|| Yes), Yes.and(|| No), TwoWays.and(|| Yes), !Yes, !No),
            (Yes, No, TwoWays, No, Yes)
        );
    }

    #[test]
    fn except_is_right_associative() {
        let walked =
            |list: &str, yes: &str| walk(List(list.as_bytes()), |w| yes.as_bytes().contains(&w[0]).into());
        assert_eq!(walked("a EXCEPT b EXCEPT c", "a"), Answer::Yes);
        assert_eq!(walked("a EXCEPT b EXCEPT c", "ab"), Answer::No);
        assert_eq!(walked("a EXCEPT b EXCEPT c", "abc"), Answer::Yes);
        assert_eq!(walked("EXCEPT b", "b"), Answer::No);
        assert_eq!(walked("a except", "a"), Answer::Yes);
        assert_eq!(walked("a EXCEPT EXCEPT a", "a"), Answer::Yes);
        let sure = |list: &str| {
            walk(List(list.as_bytes()), |word| (word == b"a" || word != b"b" && panic!()).into())
        };
        assert_eq!(sure("b a never never"), Answer::Yes);
        assert_eq!(sure("b EXCEPT never"), Answer::No);
        assert_eq!(sure("a EXCEPT b EXCEPT never"), Answer::Yes);
        assert_eq!(walked(&"a EXCEPT ".repeat(99_999), "a"), Answer::Yes, "no recursion");
    }
}
