//! Is what tcpd-migration(7) says of our side true? Every example in it is fed to the checker: its tests
//! must hold, and what is quoted of the checker is what it says. What the other programs do with the same
//! clients is asked in `tests/real/migration.rs`.
#![forbid(unsafe_code)]

#[path = "common/blocks.rs"]
mod blocks;

use blocks::{Block, blocks};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ALLOW: &str = "/etc/hosts.allow";
const DENY: &str = "/etc/hosts.deny";
const TESTS: &str = "hosts.test";
const CHECK: &str = "tcpdchk --format short";
const SERVICES: &str = "tcpdchk --services";
const INETD: &str = "/etc/inetd.conf";
const TCPSERVER: &str = "smtp.rules";

/// What depends on the machine and on name servers, and is left out of the page.
const OF_THE_MACHINE: [&str; 6] = ["daemon", "host", "lookup", "lookups", "name", "program"];

/// A directory that is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn of(name: &str, block: &Block) -> Scratch {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("migration-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        for (head, file) in
            [(ALLOW, "hosts.allow"), (DENY, "hosts.deny"), (TESTS, "hosts.test"), (INETD, "inetd.conf")]
        {
            std::fs::write(path.join(file), block.file(head)).expect("a file");
        }
        Scratch(path)
    }

    fn tcpdchk(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tcpdchk"));
        command.current_dir(&self.0).args(["-d", "--config", "/dev/null"]).args(arguments);
        command.output().expect("tcpdchk runs")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// No example is exempt: what nobody here knows is not looked at by any test.
#[test]
fn every_example_is_of_a_kind_that_is_tried() {
    let known = [ALLOW, DENY, TESTS, CHECK, SERVICES, INETD, TCPSERVER];
    for block in blocks() {
        for part in &block.0 {
            assert!(known.contains(&&*part.head) || part.head.starts_with("service "), "{part:?}");
            assert!(!part.lines.is_empty(), "{part:?}");
        }
        let has_tables = block.part(ALLOW).is_some() || block.part(DENY).is_some();
        assert_eq!(has_tables, block.part(TESTS).is_some(), "tables without tests: {block:?}");
    }
}

#[test]
fn every_example_decides_as_it_says() {
    let mut tried = 0;
    for (number, block) in blocks().iter().enumerate() {
        let Some(tests) = block.part(TESTS) else { continue };
        let scratch = Scratch::of(&format!("decides-{number}"), block);
        let said = scratch.tcpdchk(&["--test", "hosts.test"]);
        assert_eq!(said.status.code(), Some(0), "{}{}", text(&said.stdout), text(&said.stderr));
        assert!(text(&said.stdout).contains(&format!("{} tests, as expected", tests.len())));
        tried += tests.len();
    }
    assert!(tried > 30, "{tried}");
}

/// Rules with an example of what the checker says of them, and those without a word of it: there is
/// nothing to say of those.
#[test]
fn the_checker_says_what_is_quoted() {
    for (number, block) in blocks().iter().enumerate() {
        if block.part(TESTS).is_none() {
            continue;
        }
        let scratch = Scratch::of(&format!("checker-{number}"), block);
        let said = scratch.tcpdchk(&["--format", "json", "-i", "inetd.conf"]);
        let mut lines = Vec::new();
        for line in text(&said.stdout).lines() {
            let problem: Value = serde_json::from_str(line).expect("an object on a line");
            let word = |member: &str| problem[member].as_str().unwrap_or_default().to_owned();
            if problem["file"].is_string() && !OF_THE_MACHINE.contains(&&*word("code")) {
                let file = Path::new(&word("file")).file_name().expect("a name").to_owned();
                lines.push(format!(
                    "/etc/{}:{}:{}: {}: {}",
                    file.display(),
                    problem["line"],
                    problem["column"],
                    word("weight"),
                    word("text")
                ));
            }
        }
        // Lines of the page are broken to fit a terminal.
        let quoted = block.file(CHECK).replace("\n    ", " ");
        assert_eq!(lines, quoted.lines().collect::<Vec<_>>(), "{block:?}");
    }
}

/// The survey of services is compared with its own golden file, which shows the same sshd.
#[test]
fn the_survey_says_what_is_quoted() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden-services/unwrapped.ref");
    let golden = std::fs::read_to_string(golden).expect("the golden file");
    let quoted: Vec<_> =
        blocks().iter().map(|block| block.file(SERVICES)).filter(|text| !text.is_empty()).collect();
    assert_eq!(quoted.len(), 1);
    assert!(quoted.iter().all(|text| golden.contains(text)), "{quoted:?}");
}

/// The line that lets inetd start sshd through tcpd gives the name in the rules an answer.
#[test]
fn the_line_for_inetd_is_through_tcpd() {
    let all = blocks();
    let block = all.iter().find(|block| block.part(INETD).is_some()).expect("the example");
    let scratch = Scratch::of("inetd", block);
    std::fs::write(scratch.0.join("hosts.allow"), "sshd: 192.0.2.0/24\n").expect("a table");
    assert_eq!(text(&scratch.tcpdchk(&["--format", "short", "-i", "inetd.conf"]).stdout), "");
    let direct = "ssh stream tcp nowait root /usr/sbin/sshd sshd -i\n";
    std::fs::write(scratch.0.join("inetd.conf"), direct).expect("a file");
    let said = text(&scratch.tcpdchk(&["--format", "short", "-i", "inetd.conf"]).stdout);
    assert!(said.contains("sshd: service possibly not wrapped"), "{said}");
}
