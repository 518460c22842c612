//! What do the literal blocks of tcpd-migration(7) hold? Each begins with a line that says what follows: a
//! table, tests, a command, or the file of another program. A block without one is found out by whoever
//! looks a head up among those he knows.
#![forbid(unsafe_code)]
#![allow(dead_code)]

/// Lines under one head.
#[derive(Debug, PartialEq)]
pub struct Part {
    pub head: String,
    pub lines: Vec<String>,
}

/// One example: the parts between `.Bd` and `.Ed`.
#[derive(Debug)]
pub struct Block(pub Vec<Part>);

impl Block {
    /// The lines under this head, or none.
    pub fn part(&self, head: &str) -> Option<&[String]> {
        self.0.iter().find(|part| part.head == head).map(|part| part.lines.as_slice())
    }

    /// The same as the text of a file; a part that is missing is an empty file.
    pub fn file(&self, head: &str) -> String {
        self.part(head).unwrap_or_default().iter().map(|line| format!("{line}\n")).collect()
    }
}

/// The page as it was when the tests were built: the laboratory covers some of the machine's directories.
pub const PAGE: &str = include_str!("../../man/tcpd-migration.7");

pub fn blocks() -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Vec<Part>> = None;
    for line in PAGE.lines() {
        if line.starts_with(".Bd ") {
            open = Some(Vec::new());
        } else if line == ".Ed" {
            found.push(Block(open.take().expect("a beginning")));
        } else if let Some(parts) = &mut open {
            let line = line.replace(r"\e", r"\").replace(r"\-", "-").replace(r"\&", "");
            let head = line.strip_prefix("# ").or(Some(&*line).filter(|_| parts.is_empty()));
            match (head, parts.last_mut()) {
                (Some(head), _) => parts.push(Part { head: head.to_owned(), lines: Vec::new() }),
                (None, Some(part)) => part.lines.push(line),
                (None, None) => unreachable!("the first line is a head"),
            }
        }
    }
    assert!(open.is_none(), "a block without an end");
    found
}

/// `DAEMON from ADDRESS: granted ...`, as the tests of the page are; anything else in front of the colon
/// but an address is left to who can state it.
pub fn client_of(test: &str) -> (&str, bool) {
    let (_, rest) = test.split_once(" from ").expect("a client");
    let (client, verdict) = rest.split_once(": ").expect("a verdict");
    (client, verdict.starts_with("granted"))
}
