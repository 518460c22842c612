//! Who is on that machine, and what of the answer may be shown?
//!
//! A booby trap fingers the machine of somebody who is up to no good, and mails what it says to root.
//! That machine may answer without end, or never, or with bytes that do things to a terminal or a mail
//! program (`~!` at the start of a line has been a shell command to mail(1), CVE-2021-32749). So there
//! is one [`Filter`] for whatever is shown, and a limit on bytes, on columns and, by a deadline, on
//! time. The name of the machine is as foreign as its answer: messages escape it.
//!
//! Where finger(1) is installed it asks, and its output is filtered. Where it is not, [`ask`] does, by
//! RFC 1288, and this file is all there is between the other machine and the reader.

#![forbid(unsafe_code)]

use crate::error::reason;
use crate::logline;
use crate::sys::{netdb, socket};
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// All that one call may take.
pub const TIME: Duration = Duration::from_secs(60);
/// Bytes that are read; there is a word in the output if there were more.
pub const INPUT_MAX: usize = 100_000;
/// Columns that are filled before a line is broken, the leading blank not counted.
pub const COLUMNS: usize = 127;
const PORT: u16 = 79;

/// What may be shown of foreign text: printable ASCII, and the white space of isspace(3); a backslash is
/// doubled, any other byte is `\ooo`. Each line begins with a blank, so that none begins with a tilde,
/// a dot or `From`; a long one is broken with a backslash at its end.
#[derive(Default)]
pub struct Filter {
    /// Columns of the line so far, its blank included; 0 before the first character.
    column: usize,
    taken: usize,
    full: bool,
}

impl Filter {
    /// The next piece of input, made fit to be shown. Beyond [`INPUT_MAX`] there is a last word, and
    /// then nothing more.
    pub fn pass(&mut self, input: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(input.len() + input.len() / 8);
        for &byte in input {
            if self.is_full() {
                break;
            }
            if self.taken == INPUT_MAX {
                self.full = true;
                shown.extend_from_slice(format!("\n\n Input truncated to {INPUT_MAX} bytes...\n").as_bytes());
                break;
            }
            self.taken += 1;
            self.show(byte, &mut shown);
        }
        shown
    }

    /// Whether nothing more will be shown.
    pub fn is_full(&self) -> bool {
        self.full
    }

    fn show(&mut self, byte: u8, shown: &mut Vec<u8>) {
        if byte == b'\n' {
            shown.push(b'\n');
            self.column = 0;
            return;
        }
        if self.column > COLUMNS {
            shown.extend_from_slice(b"\\\n");
            self.column = 0;
        }
        if self.column == 0 {
            shown.push(b' ');
            self.column = 1;
        }
        let before = shown.len();
        match byte {
            b'\\' => shown.extend_from_slice(b"\\\\"),
            b' '..=b'~' | b'\t' | b'\r' | 0x0b | 0x0c => shown.push(byte),
            _ => shown.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
        }
        self.column += shown.len() - before;
    }
}

/// How listening came to its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The other side said all it had to say, or more than is shown.
    Enough,
    /// The deadline passed.
    TimeUp,
    /// The connection broke: why.
    Broken(String),
}

/// Where filtered text goes: one for all that a call shows, so that its limits are the call's.
pub struct Screen<'a> {
    filter: Filter,
    out: BorrowedFd<'a>,
    deadline: Instant,
}

impl Screen<'_> {
    pub fn new(out: BorrowedFd<'_>, deadline: Instant) -> Screen<'_> {
        Screen { filter: Filter::default(), out, deadline }
    }

    fn show(&mut self, text: &[u8]) -> io::Result<()> {
        socket::write_until(self.out, &self.filter.pass(text), self.deadline)
    }

    /// Shows what comes from a descriptor, up to its end or to a limit. An error is one of the reader
    /// of it all, who may be gone.
    pub fn relay(&mut self, from: BorrowedFd<'_>) -> io::Result<Heard> {
        self.relay_changed(from, <[u8]>::to_vec)
    }

    fn relay_changed(
        &mut self,
        from: BorrowedFd<'_>,
        mut change: impl FnMut(&[u8]) -> Vec<u8>,
    ) -> io::Result<Heard> {
        let mut buffer = [0; 4096];
        while !self.filter.is_full() {
            match socket::read_until(from, &mut buffer, self.deadline) {
                Ok(0) => break,
                Ok(length) => self.show(&change(buffer.get(..length).unwrap_or_default()))?,
                Err(cause) if cause.kind() == io::ErrorKind::TimedOut && Instant::now() >= self.deadline => {
                    return Ok(Heard::TimeUp);
                }
                Err(cause) => return Ok(Heard::Broken(reason(&cause))),
            }
        }
        Ok(Heard::Enough)
    }
}

/// One question to one machine (RFC 1288 2.3).
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    pub host: String,
    /// What is sent, without the end of the line.
    pub line: Vec<u8>,
}

/// What somebody who typed a finger command wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    Ask(Query),
    /// Something about this machine: only finger(1) knows where that stands.
    Here,
    /// Nothing that can be asked for: why not.
    Wrong(String),
}

/// Reads arguments as finger(1) has them: `-l` and three letters that say how this machine's users are
/// shown, then `user@host` or `@host`, any number of them. `a@b@c` asks c for `a@b`.
pub fn read(arguments: &[OsString]) -> Vec<Wish> {
    let mut long = false;
    let mut rest = arguments;
    while let Some((first, behind)) = rest.split_first() {
        let Some(letters) = first.as_bytes().strip_prefix(b"-").filter(|letters| !letters.is_empty()) else {
            break;
        };
        rest = behind;
        if letters == b"-" {
            break;
        }
        if letters.iter().any(|letter| !b"lmps".contains(letter)) {
            return vec![Wish::Wrong("usage: safe_finger [-lmps] [user@host | @host] ...".to_owned())];
        }
        // The last one counts.
        for letter in letters {
            long = matches!(letter, b'l') || (long && *letter != b's');
        }
    }
    if rest.is_empty() { vec![Wish::Here] } else { rest.iter().map(|word| wish(word, long)).collect() }
}

fn wish(word: &OsString, long: bool) -> Wish {
    let bytes = word.as_bytes();
    let Some(at) = bytes.iter().rposition(|&byte| byte == b'@') else { return Wish::Here };
    let (user, host) = (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).unwrap_or_default());
    // Brackets round an address are a habit from elsewhere.
    let host = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    let is_text = |byte: &u8| byte.is_ascii_graphic();
    let host = match std::str::from_utf8(host) {
        Ok(name) if !name.is_empty() && host.iter().all(is_text) => name.to_owned(),
        _ => return Wish::Wrong(format!("{}: no name of a host", shown(bytes))),
    };
    // The question is one line, whatever the user is called: a name with a line end in it would ask twice.
    if user.iter().any(u8::is_ascii_control) {
        return Wish::Wrong(format!("{}: no name of a user", shown(bytes)));
    }
    let verbose: &[u8] = match (long, user.is_empty()) {
        (false, _) => b"",
        (true, true) => b"/W",
        (true, false) => b"/W ",
    };
    Wish::Ask(Query { host, line: [verbose, user].concat() })
}

/// Foreign text as a message may have it.
pub fn shown(text: &[u8]) -> String {
    let mut safe = Vec::with_capacity(text.len());
    logline::escape(text, b"", &mut safe);
    String::from_utf8_lossy(&safe).into_owned()
}

/// Asks a machine by RFC 1288 and shows what it says, below its name in brackets. An error is one of
/// the screen.
pub fn ask(query: &Query, screen: &mut Screen<'_>) -> io::Result<Heard> {
    let host = query.host.clone();
    match netdb::within(screen.deadline, move || netdb::addresses(&host, PORT)) {
        Some(Ok(addresses)) => ask_at(&addresses, query, screen),
        Some(Err(cause)) => Ok(Heard::Broken(reason(&cause))),
        None => Ok(Heard::Broken("no answer from the name server".to_owned())),
    }
}

/// Asks at the first of these addresses that answers the call. Each has its share of the time left.
pub fn ask_at(addresses: &[SocketAddr], query: &Query, screen: &mut Screen<'_>) -> io::Result<Heard> {
    let mut failure = "No address".to_owned();
    for (tried, &address) in addresses.iter().enumerate() {
        let left = screen.deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let connection = match socket::connect_until(address, None, Instant::now() + share) {
            Ok(connection) => connection,
            Err(cause) => {
                failure = reason(&cause);
                continue;
            }
        };
        let question = [query.line.as_slice(), b"\r\n"].concat();
        if let Err(cause) = socket::write_until(connection.as_fd(), &question, screen.deadline) {
            return Ok(Heard::Broken(reason(&cause)));
        }
        let fresh = if screen.filter.column == 0 { "" } else { "\n" };
        screen.show(format!("{fresh}[{}]\n", query.host).as_bytes())?;
        let mut after_return = false;
        return screen.relay_changed(connection.as_fd(), |part| unix_lines(part, &mut after_return));
    }
    Ok(Heard::Broken(failure))
}

/// Lines end in CR LF on the wire (RFC 1288 2.2). A CR alone ends one, too: on a terminal it would go
/// back over the blank that keeps column one free.
fn unix_lines(part: &[u8], after_return: &mut bool) -> Vec<u8> {
    let mut lines = Vec::with_capacity(part.len());
    for &byte in part {
        match byte {
            b'\r' => lines.push(b'\n'),
            b'\n' if *after_return => {}
            _ => lines.push(byte),
        }
        *after_return = byte == b'\r';
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn filtered(input: &[u8]) -> String {
        String::from_utf8(Filter::default().pass(input)).expect("ASCII")
    }

    #[test]
    fn every_line_begins_with_a_blank_and_has_no_foreign_byte() {
        assert_eq!(filtered(b"~! sh\n.\n\nFrom x"), " ~! sh\n .\n\n From x");
        assert_eq!(filtered(b"a\tb\\\x1b[1m\x7f\xff\0\n"), " a\tb\\\\\\033[1m\\177\\377\\000\n");
        assert_eq!(filtered(&[b'x'; 127]), format!(" {}", "x".repeat(127)));
        assert_eq!(filtered(&[b'x'; 128]), format!(" {}\\\n x", "x".repeat(127)));
    }

    #[test]
    fn pieces_make_the_same_text_as_the_whole() {
        let input: Vec<u8> = (0..120_000_u32).map(|n| ((n * 7919) >> 4) as u8).collect();
        for size in [1, 7, 4096, 99_999] {
            let mut filter = Filter::default();
            let pieces: Vec<u8> = input.chunks(size).flat_map(|piece| filter.pass(piece)).collect();
            assert!(pieces == Filter::default().pass(&input), "in pieces of {size}");
            assert!(filter.is_full() && filter.pass(b"more").is_empty());
        }
    }

    #[test]
    fn the_limit_is_told_when_it_is_passed_and_not_before() {
        let mut filter = Filter::default();
        assert_eq!(filter.pass(&[b'\n'; INPUT_MAX]).len(), INPUT_MAX);
        assert!(!filter.is_full());
        assert_eq!(filter.pass(b"xyz"), b"\n\n Input truncated to 100000 bytes...\n");
    }

    fn wishes(arguments: &[&str]) -> Vec<Wish> {
        read(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    fn asked(host: &str, line: &str) -> Wish {
        Wish::Ask(Query { host: host.into(), line: line.into() })
    }

    #[test]
    fn arguments_are_those_of_finger() {
        assert_eq!(wishes(&["-l", "@h"]), [asked("h", "/W")]);
        assert_eq!(wishes(&["joe@h", "a@b@c"]), [asked("h", "joe"), asked("c", "a@b")]);
        assert_eq!(wishes(&["-pml", "joe@[::1]"]), [asked("::1", "/W joe")]);
        assert_eq!(wishes(&["-l", "-s", "--", "-x@h"]), [asked("h", "-x")]);
        assert_eq!(wishes(&[]), [Wish::Here]);
        assert_eq!(wishes(&["-l", "joe", "-"]), [Wish::Here, Wish::Here]);
        for wrong in ["joe@", "@", "@a b", "@a\nb", "a\r\nb@h", "\0@h"] {
            assert!(matches!(wishes(&[wrong])[..], [Wish::Wrong(_)]), "{wrong:?}");
        }
        assert!(matches!(wishes(&["-x", "@h"])[..], [Wish::Wrong(_)]));
        assert_eq!(
            wishes(&["\x1b[2J@"]),
            [Wish::Wrong("\\033[2J@: no name of a host".to_owned())],
            "a message has no foreign byte"
        );
    }

    #[test]
    fn ends_of_lines() {
        let mut after = false;
        assert_eq!(unix_lines(b"a\r\nb\rc\n\nd\r", &mut after), b"a\nb\nc\n\nd\n");
        assert_eq!(unix_lines(b"\ne\n", &mut after), b"e\n");
    }

    /// What is shown of a server's answer, how it ended, and the question that the server got.
    fn conversation(
        time: Duration,
        serve: impl FnOnce(TcpStream, String) + Send + 'static,
    ) -> (String, Heard, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("a client");
            let mut question = Vec::new();
            while !question.ends_with(b"\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).expect("a question");
                question.push(byte[0]);
            }
            serve(client, String::from_utf8(question).expect("ASCII"));
        });
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let shown = std::thread::spawn(move || std::io::read_to_string(reader).expect("ASCII"));
        let start = Instant::now();
        let query = Query { host: "h".into(), line: b"/W joe".to_vec() };
        // A port that refuses stands before the one that answers.
        let nobody = TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound");
        let mut screen = Screen::new(writer.as_fd(), start + time);
        let heard = ask_at(&[nobody, address], &query, &mut screen).expect("a screen");
        let took = start.elapsed();
        drop(writer);
        (shown.join().expect("a reader"), heard, took)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn an_answer_is_shown_below_the_host() {
        let (shown, heard, _) = conversation(LONG, |mut client, question| {
            client
                .write_all(format!("you said {question:?}\r\n~!id\rx\x1b\u{e9}\n").as_bytes())
                .expect("sent");
        });
        assert_eq!(heard, Heard::Enough);
        assert_eq!(shown, " [h]\n you said \"/W joe\\\\r\\\\n\"\n ~!id\n x\\033\\303\\251\n");
    }

    #[test]
    fn a_flood_is_cut() {
        let (shown, heard, took) = conversation(LONG, |mut client, _| {
            for _ in 0..1_000_000 {
                if client.write_all(&[b'x'; 1024]).is_err() {
                    return;
                }
            }
        });
        assert_eq!(heard, Heard::Enough);
        assert!(shown.ends_with("\n\n Input truncated to 100000 bytes...\n") && took < LONG);
        assert!(shown.len() < 103_000, "{}", shown.len());
    }

    #[test]
    fn one_who_drips_or_says_nothing_has_no_more_time_than_others() {
        let short = Duration::from_millis(400);
        let (shown, heard, took) = conversation(short, |mut client, _| {
            while client.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        assert_eq!(heard, Heard::TimeUp);
        assert!(shown.starts_with(" [h]\n xxx") && took < Duration::from_secs(5), "{shown} {took:?}");
        let (shown, heard, took) = conversation(short, |mut client, _| {
            let _ = client.read(&mut [0]);
        });
        assert_eq!((shown.as_str(), heard), (" [h]\n", Heard::TimeUp));
        assert!(took >= short && took < Duration::from_secs(5));
    }

    #[test]
    fn a_reader_who_does_not_read_has_no_more_time_either() {
        let (_reader, writer) = std::io::pipe().expect("a pipe");
        let (answers, mut sends) = std::io::pipe().expect("a pipe");
        std::thread::spawn(move || while sends.write_all(&[b'x'; 4096]).is_ok() {});
        let start = Instant::now();
        let mut screen = Screen::new(writer.as_fd(), start + Duration::from_millis(300));
        let stuck = screen.relay(answers.as_fd()).expect_err("nobody reads");
        assert_eq!(stuck.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
