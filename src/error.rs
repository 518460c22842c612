//! What went wrong, and where: the words every other file complains with.
//!
//! A [`Problem`] is about rule text. It is collected, never thrown: reading goes on behind it, and
//! whoever holds the list decides what to show. An [`Error`] is about the world (a file that cannot
//! be opened, a server that cannot be executed) and fits on one line. A refusal is neither.
//!
//! Warning to the next author: the sentences stand in `logline.rs`, in one place, because filters in
//! the field match them. Add a variant here and its words there.

#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A spot in a file. `line` is the number the log shows: that of the **last** physical line of a
/// continued line, counted from 1 (measured: tests/data, category `lexical`). `spot` is the physical
/// line and the column (bytes, from 1) of the very byte that is meant, where one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: Arc<Path>,
    pub line: u32,
    pub spot: Option<(u32, u32)>,
}

impl fmt::Display for Place {
    /// `hosts.allow:12:8`, as compilers write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.spot.unwrap_or((self.line, 0));
        write!(f, "{}:{line}", self.file.display())?;
        if column > 0 {
            write!(f, ":{column}")?;
        }
        Ok(())
    }
}

/// How bad a problem is. An `Error` may change a verdict, a `Warning` is likely not what was meant,
/// an `Advice` costs nothing but clarity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    Advice,
    Warning,
    Error,
}

/// One complaint about rule text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Absent where no rule led to it, as for a name that is looked up for the log line alone.
    pub place: Option<Place>,
    pub weight: Weight,
    pub what: What,
}

/// Everything that can be wrong with rule text, or be noticed on the way to a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A table that exists and cannot be used: the file's path and the reason.
    CannotOpen { file: Arc<Path>, reason: String },
    /// The last line has no newline, or a line is longer than 1 MiB; nothing behind it is read.
    Unfinished,
    /// A line without any colon.
    NoColon,
    /// A rule that cannot be read as a whole; see [`Flaw`].
    Malformed(Flaw),
    /// A list without a word in it never matches.
    EmptyList { clients: bool },
    /// A rule with an option that is wrong; it refuses.
    Option(OptionFlaw),
    /// A pattern that can be read in two ways stood between match and no match.
    TwoWays { word: Vec<u8>, why: Doubt },
    /// A pattern file that is there and cannot be used.
    PatternFile { file: Vec<u8>, reason: String },
    /// A netgroup database that gave no answer in time.
    Netgroup { group: Vec<u8>, spent_ms: u64 },
    /// The client's (or server's) name does not stand up to scrutiny.
    Name(NameDoubt),
    /// `%X` with an X that means nothing.
    UnknownLetter(u8),
    /// An expansion beyond the limit; the text it came from.
    TooLong(Vec<u8>),
    /// A deed that could not be done and is passed over: what was tried, and the reason.
    Passed { tried: String, reason: String },
    /// A command that died of a signal.
    Signal { pid: i32, signal: i32 },
    /// A line of tcpd.conf(5).
    Setting(SettingFlaw),
    /// So many more problems that are not shown.
    More(u32),
    /// A line of inetd.conf(5).
    Service(ServiceFlaw),
    /// A file or directory that everybody may write.
    WorldWritable(Arc<Path>),
}

/// Why a rule as a whole cannot be read (BEHAVIOUR of malformed rules: hosts_access(5), MALFORMED
/// RULES). It never grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// `[` or `]` without its partner.
    Bracket(u8),
    /// A NUL byte.
    Nul,
    /// The only colons stand inside brackets.
    NoSecondField,
}

/// Why an option is wrong. The texts are the reference's (measured: tests/data, category `option`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionFlaw {
    MissingName,
    BadName(Vec<u8>),
    NeedsValue(Vec<u8>),
    TakesNoValue(Vec<u8>),
    NotAtEnd(Vec<u8>),
    /// `bad KIND: "VALUE"`.
    BadValue {
        kind: &'static str,
        value: Vec<u8>,
    },
    UnknownUser(Vec<u8>),
    UnknownGroup(Vec<u8>),
    /// `twist` where the process must outlive the connection.
    TwistInResident,
    /// `twist` with no descriptor to connect it to.
    TwistWithoutDescriptor,
    /// A daemon name with a `/` would leave the banner directory.
    BannerName(Vec<u8>),
}

/// The two readings of a pattern (hosts_access(5), TWO READINGS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// An IPv4 network with host bits set: the masked network, or nobody.
    HostBits,
    /// `n.n.n.n/0`: every IPv4 client, or nobody.
    ZeroLength,
    /// `[v6]/` or `[v6]/garbage`: every IPv6 client, or nobody.
    NoLength,
    /// An IPv6 address without brackets that also reads as a host name and options.
    BareAddress,
    /// A pattern file that cannot be read: nobody can say who is in it.
    PatternFile,
    /// A netgroup that could not be asked.
    Netgroup,
}

/// What is wrong with a name that the resolver gave. All texts but the last three are the
/// reference's, and log filters match them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameDoubt {
    /// The forward lookup of `name` in the address family failed.
    CannotVerify { name: Vec<u8>, six: bool },
    /// The canonical name is another.
    OtherName { name: Vec<u8>, canonical: Vec<u8> },
    /// The address is not among those of the name.
    OtherAddress { address: String, name: Vec<u8> },
    /// The reverse lookup gave a number.
    Numeric { name: Vec<u8> },
    /// The reverse lookup gave bytes that no host name has.
    NoHostName { address: String, name: Vec<u8> },
    /// The resolver's library failed after it had announced a name.
    Library { address: String, reason: String },
    /// The budget was spent.
    TooSlow { address: String, spent_ms: u64 },
}

/// Why a line of tcpd.conf(5) is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingFlaw {
    /// No value, or bytes that make no line.
    BadLine,
    UnknownKey(Vec<u8>),
    BadValue {
        key: &'static str,
        value: Vec<u8>,
        wants: &'static str,
    },
    /// The file may be changed by somebody who is neither root nor the caller.
    Untrusted(&'static str),
    /// The file is there and cannot be read.
    Unreadable(String),
}

/// What is wrong with a line of inetd.conf(5). The texts are the reference's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceFlaw {
    /// It ends before the server's name.
    Incomplete,
    NotFound {
        path: Vec<u8>,
        reason: String,
    },
    NotExecutable(Vec<u8>),
    /// A server that gives its rights to whoever asks.
    Insecure(Vec<u8>),
    /// The wrapper would execute itself.
    CallsItself(Vec<u8>),
    /// The wrapper has a set-id bit.
    SetId(Vec<u8>),
    /// The wrapper was written before the server's path, which then stands there twice.
    Inserted {
        path: Vec<u8>,
        before: Vec<u8>,
    },
    NotInDirectory {
        name: Vec<u8>,
        directory: &'static str,
        reason: String,
    },
    /// `rpc/tcp`: the connection comes from the portmapper's client, and inetd keeps it.
    CannotWrap(Vec<u8>),
    LookupFailed {
        path: Vec<u8>,
        reason: String,
    },
}

/// A failure of the world: what was being done, to what, and what the system said.
#[derive(Debug)]
pub struct Error {
    pub doing: &'static str,
    pub on: String,
    pub cause: io::Error,
}

impl Error {
    pub fn new(doing: &'static str, on: impl Into<String>, cause: io::Error) -> Error {
        Error { doing, on: on.into(), cause }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.doing)?;
        if !self.on.is_empty() {
            write!(f, " {}", self.on)?;
        }
        write!(f, ": {}", reason(&self.cause))
    }
}

impl std::error::Error for Error {}

/// The system's words for an error, as strerror(3) gives them: `No such file or directory`, without
/// the number that Rust appends, because log filters know the words.
pub fn reason(cause: &io::Error) -> String {
    let words = cause.to_string();
    match words.rfind(" (os error ") {
        Some(end) => words.get(..end).unwrap_or(&words).to_owned(),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line() {
        let error = Error::new("cannot execute", "/usr/libexec/ftpd", io::Error::from_raw_os_error(2));
        assert_eq!(error.to_string(), "cannot execute /usr/libexec/ftpd: No such file or directory");
    }

    #[test]
    fn a_place_reads_as_compilers_write_it() {
        let mut place = Place { file: Arc::from(Path::new("hosts.allow")), line: 12, spot: Some((11, 8)) };
        assert_eq!(place.to_string(), "hosts.allow:11:8");
        place.spot = None;
        assert_eq!(place.to_string(), "hosts.allow:12");
    }
}
