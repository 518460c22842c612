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
    /// A compiled image that is there and cannot be used; the text is read instead.
    Image { file: Arc<Path>, why: String },
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
    /// A word of a list, as the reference's checker sees it.
    Word(WordFlaw),
    /// A rule of hosts.allow that grants without saying so.
    ImplicitAllow,
    /// What only a checker says, and the reference's never said.
    Advice(Advice),
    /// A test that did not come out as expected, or cannot be made.
    Trial(TrialFlaw),
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

/// What the reference's checker says about a word of a list. The texts are its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WordFlaw {
    /// A daemon name (or a user name) that looks like something else.
    Name {
        name: Vec<u8>,
        user: bool,
        why: NameFlaw,
    },
    /// FAIL was a reserved word once.
    Fail,
    /// inetd.conf does not know the name; the nearest that it knows.
    NoProcess {
        name: Vec<u8>,
        file: Vec<u8>,
        nearest: Option<Vec<u8>>,
    },
    NotWrapped(Vec<u8>),
    ManyAddresses(Vec<u8>),
    EmptyNetgroup(Vec<u8>),
    BadNet(Vec<u8>),
    HostEndsInDot(Vec<u8>),
    NumberBeginsWithDot(Vec<u8>),
    NotFound(Vec<u8>),
    Alias {
        host: Vec<u8>,
        official: Vec<u8>,
    },
    /// An address without a name.
    NoName(String),
}

/// Why a name is likely no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFlaw {
    BeginsWith(u8),
    BeginsWithDot,
    EndsInDot,
    Reserved,
}

/// What an experienced colleague would say over one's shoulder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advice {
    /// A pattern that matches nobody.
    Dead { word: Vec<u8>, why: Dead },
    /// A pattern that matches something unlike what it looks like.
    Odd { word: Vec<u8>, why: Odd },
    /// An earlier rule covers this one.
    Unreachable { by: Place },
    /// A comment that ends in a backslash: the rules on the next lines are part of it.
    SwallowedByComment,
    /// `#` behind column 1 is a word like any other.
    HashInLine,
    /// The line ends in CR LF.
    CarriageReturn,
    /// The first rule of a table that has names looked up, or users asked for.
    Asks { word: Vec<u8>, user: bool },
    /// `user` or `group`: checked but not obeyed under Debian's tcpd.
    WasInert(&'static str),
    /// `aclexec` in a rule that refuses whatever the command says.
    AclexecIgnored,
    /// An option behind which nothing comes that it could have an effect on.
    NoEffect { keyword: &'static str, why: &'static str },
    /// A command's program that is not there, or cannot be executed.
    NoProgram { program: Vec<u8>, reason: String },
    /// An expansion between quotes.
    QuotedLetter(u8),
    /// A twist that reads what the caller sends.
    ReadsCaller,
    /// Somebody besides the owner may change it.
    Writable { path: Vec<u8>, why: &'static str },
    /// More names than a checker may look up.
    LookupsStopped(usize),
}

/// Why a pattern matches nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead {
    /// `10.1`: a network needs its last dot.
    NoLastDot,
    /// `256.0.0.1`, `1.2.3.4.5`: no address.
    NoAddress,
    /// `192.0.2.010`: addresses are compared as text.
    NotAsPrinted,
    /// `1.2.3.4.`: nothing can stand behind the last dot.
    NothingBehind,
    /// `[::ffff:192.0.2.1]`: such a client is known by its IPv4 address.
    Mapped,
    /// `[x]`: no IPv6 address.
    NoAddress6,
    /// A pattern file that is not there.
    NoFile,
}

/// Why a pattern matches something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Odd {
    /// `0.0.0.255` for `255.255.255.0`.
    InvertedMask,
    /// A mask with holes.
    HolesInMask,
    /// `010.0.0.0/8` is `8.0.0.0/8`.
    OtherBase,
    /// `/24x` is `/24`.
    BehindLength,
    /// `%eth0` is not compared.
    Scope,
    /// An IPv6 address without brackets.
    NoBrackets,
    /// UNKNOWN leaves out the names that disagree with their address.
    Unknown,
    /// A daemon named by digits is a port.
    Port,
}

/// What is wrong with a test, or with its file (tcpdchk(8), TESTS).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrialFlaw {
    /// Something else stands where this is wanted; nothing does if `found` is empty.
    Wants {
        what: Wanted,
        found: Vec<u8>,
    },
    SaidTwice(&'static str),
    /// A table that is not under test; those that are.
    OtherTable {
        name: Vec<u8>,
        tables: [Arc<Path>; 2],
    },
    /// A file without any test.
    NoTest(Arc<Path>),
    /// What was expected, what happened, and why.
    Failed {
        expected: String,
        happened: String,
        why: Vec<String>,
    },
    /// It depends on facts that are not stated; and which rule asks for them.
    Unstated {
        facts: Vec<Unstated>,
        why: Vec<String>,
    },
}

/// What is wanted in a place of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Daemon,
    From,
    Address,
    ClientFact,
    ServerFact,
    Name,
    User,
    Port,
    Colon,
    Verdict,
    By,
    Table,
    Line,
    Rule,
    End,
}

/// A fact that a test may leave open, as long as nobody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unstated {
    ClientName,
    User,
    Server,
    ServerName,
    ServerPort,
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
