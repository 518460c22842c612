//! Is the README true? Whatever it shows as typed is typed here, in its order, and what is shown below is
//! compared, without times, process ids, host names and versions; a line of three dots stands for any lines.
//!
//! * `$` commands, and the first command of "Set up" with its three calls, are run in every `cargo test`.
//! * `#` commands are the first ten minutes. They are typed in a clean Debian (`clean`), as root, with
//!   `TCPD_REAL=1` only.
//! * A block that is not of the kind `console` has a row in `PLAIN`, which says who tries it.
//!
//! `UPDATE_GOLDEN=1` writes what is really said into the README, where it differs.

mod clean;

use regex::Regex;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// Plain blocks: how the first line begins, and which file tries what stands in it.
const PLAIN: [(&str, &str); 6] = [
    ("cargo run --release -- ", "tests/readme.rs"),
    ("cat < /dev/tcp/127.0.0.1/7979", "tests/readme.rs"),
    ("Nov 21 ", "tests/readme.rs"),
    // Whoever reads this has typed it.
    ("cargo test", "tests/readme.rs"),
    ("etc/install", "tests/readme.rs"),
    ("sed 's/#.*//; /^unpack:/d' tests/real/packages.txt", "tests/readme.rs"),
];

/// A fenced block.
struct Block {
    kind: String,
    lines: Vec<String>,
}

/// A command of a `console` block, and the lines shown below it.
#[derive(Clone, Debug)]
struct Typed {
    by_root: bool,
    command: String,
    shown: Vec<String>,
}

fn readme() -> String {
    std::fs::read_to_string(README).expect("README.md")
}

fn blocks() -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    for line in readme().lines() {
        match line.strip_prefix("```") {
            Some(kind) if !inside => found.push(Block { kind: kind.to_owned(), lines: Vec::new() }),
            Some(_) => {}
            None if inside => found.last_mut().expect("a block").lines.push(line.to_owned()),
            None => continue,
        }
        inside = !line.starts_with("```") || !inside;
    }
    assert!(!inside, "a block without an end");
    found
}

fn plain(beginning: &str) -> Vec<String> {
    let of = |block: &Block| block.lines.first().is_some_and(|line| line.starts_with(beginning));
    let block = blocks().into_iter().find(|block| block.kind.is_empty() && of(block));
    block.unwrap_or_else(|| panic!("no block begins with {beginning:?}")).lines
}

fn typed() -> Vec<Typed> {
    let mut all: Vec<Typed> = Vec::new();
    for block in blocks().iter().filter(|block| block.kind == "console") {
        for (number, line) in block.lines.iter().enumerate() {
            match (line.get(..2), line.get(2..)) {
                (Some(prompt @ ("$ " | "# ")), Some(command)) => all.push(Typed {
                    by_root: prompt == "# ",
                    command: command.to_owned(),
                    shown: Vec::new(),
                }),
                _ => {
                    assert!(number > 0, "a block begins without a command: {line}");
                    all.last_mut().expect("a command").shown.push(line.clone());
                }
            }
        }
    }
    all
}

/// What differs from run to run, as a word for it.
fn settled(line: &str) -> String {
    let rows = [
        (r"^\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d) \S+ ", "TIME HOST "),
        (r"^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d ", "TIME "),
        (r"\[\d+\]", "[PID]"),
        (r"^tcpd \d+\.\d+\.\d+$", "tcpd VERSION"),
        (r":79\d\d\b", ":PORT"),
    ];
    rows.iter().fold(line.trim_end().to_owned(), |text, (pattern, word)| {
        Regex::new(pattern).expect("a pattern").replace_all(&text, *word).into_owned()
    })
}

fn agree(shown: &[String], said: &[&str]) -> bool {
    match shown.split_first() {
        None => said.is_empty(),
        Some((dots, rest)) if dots == "..." => (0..=said.len()).any(|skipped| agree(rest, &said[skipped..])),
        Some((line, rest)) => said
            .split_first()
            .is_some_and(|(first, others)| settled(line) == settled(first) && agree(rest, others)),
    }
}

/// Compares, or corrects the README where that is asked for.
fn compare(typed: &Typed, said: &str) {
    if agree(&typed.shown, &said.lines().collect::<Vec<_>>()) {
        return;
    }
    let shown: String = typed.shown.iter().map(|line| format!("{line}\n")).collect();
    assert!(
        std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1"),
        "README.md shows of {}:\n{shown}but this was said:\n{said}",
        typed.command
    );
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let old = format!(" {}\n{shown}", typed.command);
    let said = said.strip_suffix('\n').map_or(String::new(), |said| format!("{said}\n"));
    let text = readme();
    assert_eq!(text.matches(&old).count(), 1, "{} is not shown once", typed.command);
    std::fs::write(README, text.replace(&old, &format!(" {}\n{said}", typed.command))).expect("README.md");
}

/// The comparison itself: dots stand for any lines, and what is no time, process or version must be the same.
#[test]
fn what_differs_is_found() {
    let shown = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let agrees = |left: &str, right: &str| agree(&shown(left), &right.lines().collect::<Vec<_>>());
    let line = "2026-11-21T21:14:59.934100+00:00 clean in.fingerd[23]: connect from 127.0.0.1 (127.0.0.1)";
    let later = "2027-01-02T01:02:03+01:00 other in.fingerd[4567]: connect from 127.0.0.1 (127.0.0.1)";
    assert!(agrees(line, later) && agrees("", "") && agrees("...", "") && agrees("...\na\n...", "b\na\nc"));
    assert!(!agrees(line, &later.replace("127.0.0.1 (", "127.0.0.2 (")));
    assert!(!agrees(line, &format!("{later}\n{later}")) && !agrees(line, "") && !agrees("", line));
    assert!(!agrees("...\na\n...", "b\nc") && !agrees("a", "...") && !agrees("a\n...\nb", "a\nb\nc"));
}

/// Nothing is exempt that is not named.
#[test]
fn every_block_is_tried_by_somebody() {
    for block in blocks() {
        let first = block.lines.first().expect("a line");
        match &*block.kind {
            "console" => assert!(first.starts_with("$ ") || first.starts_with("# "), "{first}"),
            "" => {
                let row = PLAIN.iter().find(|(beginning, _)| first.starts_with(beginning));
                let (_, who) = row.unwrap_or_else(|| panic!("nobody tries the block of {first:?}"));
                assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(who).exists(), "{who} is missing");
            }
            other => panic!("a block of the kind {other:?}"),
        }
    }
    let all = typed();
    assert!(all.iter().any(|typed| typed.by_root) && all.iter().any(|typed| !typed.by_root));
}

/// The links lead to files.
#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)#]+)\)").expect("a pattern");
    let text = readme();
    let mut links = 0;
    for found in link.captures_iter(&text).filter(|found| !found[1].starts_with("http")) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(&found[1]).exists(), "{}", &found[1]);
        links += 1;
    }
    assert!(links > 10, "{links}");
}

fn programs() -> String {
    let directory = Path::new(env!("CARGO_BIN_EXE_tcpd")).parent().expect("a directory");
    format!("{}:{}", directory.display(), std::env::var("PATH").unwrap_or_default())
}

fn in_the_sources(command: &str) -> Command {
    let mut shell = Command::new("/bin/bash");
    shell.args(["-c", command]).current_dir(env!("CARGO_MANIFEST_DIR"));
    shell.env("PATH", programs()).env_remove("SSH_CONNECTION").stdin(Stdio::null());
    shell
}

#[test]
fn what_you_type_here_says_what_is_shown() {
    let mut typed_here = 0;
    // The one that builds is typed in the first ten minutes.
    for typed in typed().iter().filter(|typed| !typed.by_root && typed.command != "etc/build-deb") {
        let output = in_the_sources(&format!("exec 2>&1\n{}", typed.command)).output().expect("a shell");
        compare(typed, &String::from_utf8_lossy(&output.stdout));
        typed_here += 1;
    }
    assert!(typed_here > 0);
}

/// The line that installs what the real suite needs names packages, and no comment or `unpack:`.
#[test]
fn the_list_of_packages_is_one() {
    let lines = plain(PLAIN[5].0);
    let (list, installer) = lines[0].split_once(" | ").expect("a pipe");
    assert_eq!(installer, "xargs apt-get install -y");
    let output = in_the_sources(list).output().expect("a shell");
    let package = Regex::new(r"^[a-z0-9][a-z0-9+.-]+$").expect("a pattern");
    let words = String::from_utf8(output.stdout).expect("names");
    assert!(words.split_whitespace().count() > 20);
    assert!(words.split_whitespace().all(|word| package.is_match(word)), "{words}");
}

/// A listener that does not outlive its test.
struct Listener(Child);

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first command of "Set up", its calls from the other terminal, and the log in the first. A program
/// that is built stands for `cargo run`, and a free port for the one shown; nothing of the machine's own
/// settings has a say.
#[test]
fn the_first_command_serves_refuses_and_traps() {
    let commands = plain(PLAIN[0].0);
    let calls = plain(PLAIN[1].0);
    let log = plain(PLAIN[2].0);
    assert_eq!((commands.len(), calls.len(), log.len()), (1, 3, 3));
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
    let on_the_port = |text: &str| text.replace("7979", &free.to_string());
    let options = commands[0].strip_prefix(PLAIN[0].0).expect("options");
    let command = format!(
        "exec '{}' --config /dev/null --image none {}",
        env!("CARGO_BIN_EXE_tcpd"),
        on_the_port(options)
    );
    let mut listener = Listener(
        in_the_sources(&command).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("bash"),
    );
    let mut heard = BufReader::new(listener.0.stderr.take().expect("a pipe")).lines();
    let mut next = || heard.next().expect("a line").expect("text");
    for _ in 0..3 {
        let line = next();
        assert!(line.contains("listening on 127.0.0."), "{line}");
    }

    let mut answers = Vec::new();
    for (call, shown) in calls.iter().zip(&log) {
        let (call, _) = call.split_once('#').expect("a comment");
        let call = format!("timeout 30 bash -c '{}'", on_the_port(call.trim()));
        let output = in_the_sources(&call).output().expect("bash");
        answers.push(String::from_utf8_lossy(&output.stdout).into_owned());
        assert_eq!(settled(&next()), settled(shown));
    }
    assert!(answers[0].contains(':') && answers[0].lines().count() == 1, "{answers:?}");
    assert_eq!(answers[1], "");
    assert_eq!(answers[2], "Nobody lives here, 127.0.0.1, but your visit was noted.\n");
}

/// The command that builds, as it is typed, and the packages that it leaves in `target/debian`, wherever
/// this machine has its target directory.
fn built() -> &'static [(String, Vec<u8>)] {
    static PACKAGES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    PACKAGES.get_or_init(build)
}

fn build() -> Vec<(String, Vec<u8>)> {
    let build = typed().into_iter().find(|typed| typed.command == "etc/build-deb").expect("the command");
    assert!(!build.by_root);
    let output = in_the_sources(&format!("exec 2>&1\n{}", build.command)).output().expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    compare(&build, &said);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), std::path::PathBuf::from);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("debian");
    let version = format!("_{}-1_", env!("CARGO_PKG_VERSION"));
    let mut packages = Vec::new();
    for entry in std::fs::read_dir(&directory).expect("packages") {
        let path = entry.expect("a file").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.ends_with(".deb") && name.contains(&version) {
            packages.push((name, std::fs::read(&path).expect("a package")));
        }
    }
    assert_eq!(packages.len(), 2, "in {}", directory.display());
    packages
}

/// The two lines for those who have no Debian, into a prefix of their own; they leave nothing behind.
#[test]
fn the_plain_installation_comes_and_goes() {
    if !clean::is_wanted() {
        return;
    }
    let lines = plain(PLAIN[4].0);
    assert_eq!(lines, ["etc/install", "etc/install --uninstall"]);
    // So the programs are there, and nobody builds them at the same time.
    built();
    let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("readme-prefix-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&prefix);
    for (line, is_there) in lines.iter().zip([true, false]) {
        let output = in_the_sources(line).env("PREFIX", &prefix).output().expect("a shell");
        assert!(output.status.success(), "{line}: {output:?}");
        assert_eq!(prefix.join("sbin/tcpd").exists(), is_there, "{line}");
    }
    assert!(!prefix.exists(), "{} is left", prefix.display());
}

/// The first ten minutes, from the packages to the old tcpd. There is no init in a clean root, so the test
/// starts what one would have started behind the first installation.
#[test]
fn the_first_ten_minutes_go_as_shown() {
    if !clean::is_wanted() {
        return;
    }
    // Read and built before the room is entered, in which the machine has no network.
    let (typed, packages) = (typed(), built());
    let Some(root) = clean::Root::open() else { return };
    // Whoever types agrees to what apt asks.
    root.write("/etc/apt/apt.conf.d/90yes", "APT::Get::Assume-Yes \"true\";\n");
    for (name, bytes) in packages {
        root.write(&format!("/root/target/debian/{name}"), bytes);
    }
    for typed in typed.iter().filter(|typed| typed.by_root) {
        let is_init_s_turn = typed.command.starts_with("apt install openbsd-inetd");
        let reads = ["grep ", "cat ", "tail "].iter().any(|reader| typed.command.starts_with(reader));
        let mut said = clean::Said { status: 0, out: String::new(), err: String::new() };
        // What is written down by others comes when it comes.
        clean::patiently(|| {
            said = root.run(&format!("exec 2>&1\n{}", typed.command));
            !reads || agree(&typed.shown, &said.out.lines().collect::<Vec<_>>())
        });
        assert_eq!(said.status, 0, "{}: {}", typed.command, said.out);
        compare(typed, &said.out);
        if is_init_s_turn {
            root.must("rsyslogd && service openbsd-inetd start");
            root.wait_for_port(79);
        }
    }
}
