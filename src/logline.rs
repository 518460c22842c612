//! The words of every log line, printed and read back.
//!
//! Users' filters match these words (fail2ban, logwatch, OSSEC, CrowdSec), so they are the reference's
//! byte for byte; what is ours alone (malformed rules, two readings, budgets) has words of its own. No
//! line is built anywhere else.
//!
//! Nothing foreign forges a line: in names, users and addresses every byte that is not printable
//! ASCII, and blank, `(`, `)` and `\`, is written `\ooo`. Rule text is the administrator's; only its
//! control bytes are written so.

#![forbid(unsafe_code)]

use crate::error::{Doubt, Flaw, NameDoubt, OptionFlaw, Place, Problem, SettingFlaw, Weight, What};
use crate::event::{About, Kind};
use crate::expand;
use crate::facts::{Fact, Request, Side};
use crate::words;

/// How loud. `Allow` and `Deny` are what the `severity` option sets: info and warning without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Err,
    Warning,
    Notice,
    Info,
    Debug,
    Allow,
    Deny,
}

impl Level {
    /// Its number in syslog(3), where no option says otherwise.
    pub fn number(self) -> u8 {
        match self {
            Level::Err => 3,
            Level::Warning | Level::Deny => 4,
            Level::Notice => 5,
            Level::Info | Level::Allow => 6,
            Level::Debug => 7,
        }
    }
}

/// One line for the log, and what channels with fields are told beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub level: Level,
    pub text: Vec<u8>,
    /// The rule it is about.
    pub rule: Option<Place>,
    pub about: Option<Box<About>>,
}

impl Entry {
    pub fn new(level: Level, text: impl Into<Vec<u8>>) -> Entry {
        Entry { level, text: text.into(), rule: None, about: None }
    }

    /// The same, about something, where somebody wants to know.
    pub fn about(self, about: Option<About>) -> Entry {
        Entry { about: about.map(Box::new), ..self }
    }

    /// What kind of event it is: what it says it is, or else what its level says.
    pub fn kind(&self) -> Kind {
        match (self.about.as_deref(), self.level) {
            (Some(About::Verdict(verdict)), _) => verdict.kind,
            _ if self.text.starts_with(b"error: ") => Kind::Error,
            _ if self.text.starts_with(b"warning: ") => Kind::Warning,
            (_, Level::Err) => Kind::Error,
            (_, Level::Warning | Level::Deny) => Kind::Warning,
            (_, Level::Notice | Level::Info | Level::Debug | Level::Allow) => Kind::Info,
        }
    }
}

/// Who called, as far as it is known without asking: `[user@]host` and the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub user: Option<Vec<u8>>,
    pub host: Vec<u8>,
    pub address: Vec<u8>,
}

impl Caller {
    pub fn of(request: &Request<'_>) -> Caller {
        Caller {
            user: request.user_if_asked().and_then(Fact::known).map(|user| user.as_ref().to_vec()),
            host: expand::host(request, Side::Client).to_vec(),
            address: request.client.address.text().to_vec(),
        }
    }

    /// `[user@]host`, safe to show.
    pub fn shown(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.print(&mut out);
        out
    }

    fn print(&self, out: &mut Vec<u8>) {
        if let Some(user) = &self.user {
            escape(user, b"", out);
            out.push(b'@');
        }
        escape(&self.host, b"@", out);
    }

    fn read(text: &[u8]) -> Option<(Option<Vec<u8>>, Vec<u8>)> {
        match text.iter().rposition(|&byte| byte == b'@') {
            Some(at) => Some((Some(unescape(text.get(..at)?)?), unescape(text.get(at + 1..)?)?)),
            None => Some((None, unescape(text)?)),
        }
    }
}

/// The lines about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// `connect from CLIENT (ADDR)`
    Connect(Caller),
    /// `refused connect from CLIENT (ADDR)`
    Refused(Caller),
    /// `twist CLIENT to COMMAND`; the address is not said.
    Twist { user: Option<Vec<u8>>, host: Vec<u8>, command: Vec<u8> },
    /// `connect from CLIENT with IP options (ignored): 07 0b ...`
    IpOptions { user: Option<Vec<u8>>, host: Vec<u8>, options: Vec<u8> },
    /// `refused connect from CLIENT with IP source routing options`
    SourceRoute { user: Option<Vec<u8>>, host: Vec<u8> },
}

const WITH_OPTIONS: &[u8] = b" with IP options (ignored):";
const WITH_ROUTE: &[u8] = b" with IP source routing options";

impl Line {
    pub fn print(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let (lead, caller, tail) = match self {
            Line::Connect(caller) => (&b"connect from "[..], caller.clone(), address_tail(caller)),
            Line::Refused(caller) => (&b"refused connect from "[..], caller.clone(), address_tail(caller)),
            Line::Twist { user, host, command } => {
                let mut tail = b" to ".to_vec();
                escape_controls(command, &mut tail);
                (&b"twist "[..], Caller::bare(user, host), tail)
            }
            Line::IpOptions { user, host, options } => {
                let mut tail = WITH_OPTIONS.to_vec();
                for byte in options {
                    tail.extend_from_slice(format!(" {byte:02x}").as_bytes());
                }
                (&b"connect from "[..], Caller::bare(user, host), tail)
            }
            Line::SourceRoute { user, host } => {
                (&b"refused connect from "[..], Caller::bare(user, host), WITH_ROUTE.to_vec())
            }
        };
        out.extend_from_slice(lead);
        caller.print(&mut out);
        out.extend_from_slice(&tail);
        out
    }

    /// Reads a line back, ours or the reference's. None for any other line.
    pub fn read(text: &[u8]) -> Option<Line> {
        if let Some(rest) = text.strip_prefix(b"twist ") {
            let to = rest.windows(4).position(|part| part == b" to ")?;
            let (user, host) = Caller::read(rest.get(..to)?)?;
            return Some(Line::Twist { user, host, command: rest.get(to + 4..)?.to_vec() });
        }
        if let Some(rest) = text.strip_prefix(b"refused connect from ") {
            return match rest.strip_suffix(WITH_ROUTE) {
                Some(client) => Caller::read(client).map(|(user, host)| Line::SourceRoute { user, host }),
                None => read_caller(rest).map(Line::Refused),
            };
        }
        let rest = text.strip_prefix(b"connect from ")?;
        let Some(at) = rest.windows(WITH_OPTIONS.len()).position(|part| part == WITH_OPTIONS) else {
            return read_caller(rest).map(Line::Connect);
        };
        let (user, host) = Caller::read(rest.get(..at)?)?;
        let hex = std::str::from_utf8(rest.get(at + WITH_OPTIONS.len()..)?).ok()?;
        let options = hex.split_ascii_whitespace().map(|byte| u8::from_str_radix(byte, 16));
        Some(Line::IpOptions { user, host, options: options.collect::<Result<_, _>>().ok()? })
    }
}

impl Caller {
    fn bare(user: &Option<Vec<u8>>, host: &[u8]) -> Caller {
        Caller { user: user.clone(), host: host.to_vec(), address: Vec::new() }
    }
}

fn address_tail(caller: &Caller) -> Vec<u8> {
    let mut tail = b" (".to_vec();
    escape(&caller.address, b"", &mut tail);
    tail.push(b')');
    tail
}

fn read_caller(text: &[u8]) -> Option<Caller> {
    let open = text.windows(2).position(|part| part == b" (")?;
    let (user, host) = Caller::read(text.get(..open)?)?;
    let address = unescape(text.get(open + 2..)?.strip_suffix(b")")?)?;
    Some(Caller { user, host, address })
}

/// Foreign text for the log.
pub fn escape(text: &[u8], also: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        if byte.is_ascii_graphic() && !b"()\\".contains(&byte) && !also.contains(&byte) {
            out.push(byte);
        } else {
            octal(byte, out);
        }
    }
}

fn escape_controls(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        if byte.is_ascii_control() && byte != b'\t' {
            octal(byte, out);
        } else {
            out.push(byte);
        }
    }
}

fn octal(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\\{byte:03o}").as_bytes());
}

/// Foreign text as it was before [`escape`].
pub fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = behind.get(..3).filter(|d| byte == b'\\' && d.iter().all(|d| (b'0'..=b'7').contains(d)));
        match digits {
            Some(digits) => {
                out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?);
                rest = behind.get(3..)?;
            }
            None => {
                out.push(byte);
                rest = behind;
            }
        }
    }
    Some(out)
}

/// Text that is not a name: only its control bytes are written `\ooo`.
pub fn printable(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    escape_controls(text, &mut out);
    out
}

fn foreign(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    escape(text, b"", &mut out);
    out
}

/// A problem in syslog's words: usually one line, two where the reference writes two.
pub fn problem(problem: &Problem) -> Vec<Entry> {
    let level = match (&problem.what, problem.weight) {
        (What::TwoWays { .. }, _) => Level::Warning,
        (_, Weight::Error | Weight::Warning) => Level::Err,
        (_, Weight::Advice) => Level::Info,
    };
    let word = match &problem.what {
        What::Option(_) | What::Malformed(_) => "error",
        What::Setting(_) if problem.weight == Weight::Error => "error",
        _ => "warning",
    };
    let line = |sentence: Vec<u8>| {
        let mut text = format!("{word}: ").into_bytes();
        // The reference knows no place for a table it cannot open.
        if let (Some(place), false) = (&problem.place, matches!(problem.what, What::CannotOpen { .. })) {
            text.extend_from_slice(&context(place));
        }
        text.extend(sentence);
        let rule = problem.place.clone().filter(|_| !matches!(problem.what, What::Setting(_)));
        Entry { level, text, rule, about: None }
    };
    let mut lines = vec![line(sentence(problem))];
    if problem.what == What::Unfinished {
        lines.push(line(b"all the subsequent rules will be ignored".to_vec()));
    }
    lines
}

/// The doubts that no rule asked for.
pub fn doubts(request: &Request<'_>) -> Vec<Entry> {
    let complaint = |doubt| Problem { place: None, weight: Weight::Warning, what: What::Name(doubt) };
    request.take_doubts().into_iter().flat_map(|doubt| problem(&complaint(doubt))).collect()
}

/// `FILE, line N: `
pub fn context(place: &Place) -> Vec<u8> {
    let mut text = printable(place.file.as_os_str().as_encoded_bytes());
    text.extend_from_slice(format!(", line {}: ", place.line).as_bytes());
    text
}

/// The column of a problem of our own, with its line where a rule spans several.
fn column(place: Option<&Place>) -> String {
    match place.and_then(|place| place.spot.map(|spot| (spot, place.line))) {
        Some(((line, column), number)) if line == number => format!(" in column {column}"),
        Some(((line, column), _)) => format!(" in line {line}, column {column}"),
        None => String::new(),
    }
}

/// A problem in one sentence, without its place.
pub fn sentence(problem: &Problem) -> Vec<u8> {
    let column = || column(problem.place.as_ref());
    let text = match &problem.what {
        What::CannotOpen { file, reason } => {
            let file = printable(file.as_os_str().as_encoded_bytes());
            return [b"cannot open ", file.as_slice(), b": ", reason.as_bytes()].concat();
        }
        What::Image { file, why } => {
            let file = printable(file.as_os_str().as_encoded_bytes());
            return [file.as_slice(), b": ", why.as_bytes(), b": the rules are read from their text"]
                .concat();
        }
        What::Unfinished => "missing newline or line too long".to_owned(),
        What::NoColon => "missing \":\" separator".to_owned(),
        What::Malformed(flaw) => {
            let what = match flaw {
                Flaw::Bracket(b'[') => "\"[\" without \"]\"",
                Flaw::Bracket(_) => "\"]\" without \"[\"",
                Flaw::Nul => "NUL byte",
                Flaw::NoSecondField => "no \":\" outside brackets",
            };
            format!("malformed rule: {what}{}", column())
        }
        What::EmptyList { clients: true } => "client list is empty or ends in EXCEPT".to_owned(),
        What::EmptyList { clients: false } => "daemon list is empty or ends in EXCEPT".to_owned(),
        What::Option(flaw) => return option_sentence(flaw),
        What::TwoWays { word, why } => {
            let mut text = b"\"".to_vec();
            text.extend(printable(word));
            text.extend_from_slice(
                format!("\"{} can be read in two ways ({}): ", column(), readings(*why)).as_bytes(),
            );
            text.extend_from_slice(b"it may refuse, it never grants");
            return text;
        }
        What::PatternFile { file, reason } => {
            return [b"open ", printable(file).as_slice(), b": ", reason.as_bytes()].concat();
        }
        What::Netgroup { group, spent_ms } => {
            let tail = format!(": no answer in {}", seconds(*spent_ms));
            return [b"netgroup ", printable(group).as_slice(), tail.as_bytes()].concat();
        }
        What::Name(doubt) => return name_sentence(doubt),
        What::UnknownLetter(letter) => return [b"unrecognized %", printable(&[*letter]).as_slice()].concat(),
        What::TooLong(text) => {
            let start = text.get(..30).unwrap_or(text);
            return [b"percent_x: expansion too long: ", printable(start).as_slice(), b"..."].concat();
        }
        What::Passed { tried, reason } => format!("{tried}: {reason}"),
        What::Signal { pid, signal } => format!("process {pid} exited with signal {signal}"),
        What::Setting(flaw) => return setting_sentence(flaw, &column()),
        What::More(count) => format!("{count} more problems are not shown"),
        What::Service(flaw) => return words::service(flaw),
        What::WorldWritable(file) => return words::world_writable(file),
        What::Word(flaw) => return words::word(flaw),
        What::ImplicitAllow => words::IMPLICIT_ALLOW.to_owned(),
        What::Advice(advice) => return words::advice(advice),
        What::Trial(flaw) => return words::trial(flaw),
    };
    text.into_bytes()
}

/// The two readings of a pattern.
pub fn readings(why: Doubt) -> &'static str {
    match why {
        Doubt::HostBits => "the network without its host bits, or nobody",
        Doubt::ZeroLength => "every IPv4 client, or nobody; write 0.0.0.0/0.0.0.0 or ALL",
        Doubt::NoLength => "every IPv6 client, or nobody",
        Doubt::BareAddress => "an IPv6 address, or a name and options; put it in brackets",
        Doubt::PatternFile => "the file cannot be read",
        Doubt::Netgroup => "the netgroup cannot be asked",
    }
}

fn quoted(lead: &str, text: &[u8], tail: &str) -> Vec<u8> {
    [lead.as_bytes(), b"\"", printable(text).as_slice(), b"\"", tail.as_bytes()].concat()
}

fn option_sentence(flaw: &OptionFlaw) -> Vec<u8> {
    match flaw {
        OptionFlaw::MissingName => b"missing option name".to_vec(),
        OptionFlaw::BadName(name) => quoted("bad option name: ", name, ""),
        OptionFlaw::NeedsValue(name) => quoted("option ", name, " requires value"),
        OptionFlaw::TakesNoValue(name) => quoted("option ", name, " requires no value"),
        OptionFlaw::NotAtEnd(name) => quoted("option ", name, " must be at end"),
        OptionFlaw::BadValue { kind, value } => quoted(&format!("bad {kind}: "), value, ""),
        OptionFlaw::UnknownUser(name) => quoted("unknown user: ", name, ""),
        OptionFlaw::UnknownGroup(name) => quoted("unknown group: ", name, ""),
        OptionFlaw::TwistInResident => b"twist option in resident process".to_vec(),
        OptionFlaw::TwistWithoutDescriptor => b"twist option without a connection".to_vec(),
        OptionFlaw::BannerName(name) => quoted("banners: daemon name with a slash: ", name, ""),
    }
}

fn name_sentence(doubt: &NameDoubt) -> Vec<u8> {
    let join = |parts: &[&[u8]]| parts.concat();
    match doubt {
        NameDoubt::CannotVerify { name, six } => {
            let family: &[u8] = if *six { b"AF_INET6" } else { b"AF_INET" };
            join(&[b"can't verify hostname: getaddrinfo(", &foreign(name), b", ", family, b") failed"])
        }
        NameDoubt::OtherName { name, canonical } => {
            join(&[b"host name/name mismatch: ", &foreign(name), b" != ", &foreign(canonical)])
        }
        NameDoubt::OtherAddress { address, name } => {
            join(&[b"host name/address mismatch: ", address.as_bytes(), b" != ", &foreign(name)])
        }
        NameDoubt::Numeric { name } => {
            join(&[b"host name/name mismatch: reverse lookup results in non-FQDN ", &foreign(name)])
        }
        NameDoubt::NoHostName { address, name } => join(&[
            b"can't verify hostname: reverse lookup of ",
            address.as_bytes(),
            b" results in no host name: ",
            &foreign(name),
        ]),
        NameDoubt::Library { address, reason } => {
            format!("can't verify hostname: lookup of {address} failed: {reason}").into_bytes()
        }
        NameDoubt::TooSlow { address, spent_ms } => {
            format!("name lookup of {address} given up after {}", seconds(*spent_ms)).into_bytes()
        }
    }
}

fn setting_sentence(flaw: &SettingFlaw, column: &str) -> Vec<u8> {
    match flaw {
        SettingFlaw::BadLine => format!("no setting{column}").into_bytes(),
        SettingFlaw::UnknownKey(key) => quoted("unknown setting: ", key, column),
        SettingFlaw::BadValue { key, value, wants } => {
            quoted(&format!("bad value of {key}: "), value, &format!("{column} (wanted: {wants})"))
        }
        SettingFlaw::Untrusted(why) => format!("not trusted: {why}").into_bytes(),
        SettingFlaw::Unreadable(reason) => format!("cannot be read: {reason}").into_bytes(),
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(user: Option<&str>, host: &str, address: &str) -> Caller {
        let bytes = |text: &str| text.as_bytes().to_vec();
        Caller { user: user.map(bytes), host: bytes(host), address: bytes(address) }
    }

    #[test]
    fn the_reference_s_lines() {
        let line = Line::Connect(caller(Some("joe"), "h.example.com", "192.0.2.7"));
        assert_eq!(line.print(), b"connect from joe@h.example.com (192.0.2.7)");
        let line = Line::Refused(caller(None, "::1", "::1"));
        assert_eq!(line.print(), b"refused connect from ::1 (::1)");
    }

    #[test]
    fn nobody_forges_a_line() {
        let line = Line::Refused(caller(Some("a\n<27>x) ("), "h)\x1b", "192.0.2.7"));
        let text = line.print();
        assert_eq!(text, b"refused connect from a\\012<27>x\\051\\040\\050@h\\051\\033 (192.0.2.7)");
        assert_eq!(Line::read(&text), Some(line));
    }

    #[test]
    fn lines_are_read_back() {
        let route = Line::SourceRoute { user: None, host: b"192.0.2.7".to_vec() };
        let options = Line::IpOptions { user: None, host: b"h".to_vec(), options: vec![7, 0x0b] };
        let twist =
            Line::Twist { user: Some(b"u".to_vec()), host: b"h".to_vec(), command: b"echo a to b".to_vec() };
        for line in [route, options, twist] {
            assert_eq!(Line::read(&line.print()), Some(line));
        }
        assert_eq!(Line::read(b"Accepted publickey for root"), None);
    }
}
