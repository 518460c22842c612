//! Does the manual say what the program does? Every option, flag, key, letter and production of the
//! grammar has its place in `man/`, every amendment its paragraph, and the examples in `etc/` are
//! rules and settings that work as the README says.
#![forbid(unsafe_code)]

use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use wrap::expand;
use wrap::facts::{DaemonName, Endpoint, Fact, Request, Stated, Transport};
use wrap::inquiry::stated;
use wrap::rules::options::{self, Deed, OPTIONS};
use wrap::rules::{Entry, HostPattern, Item, Parsed, Table, grammar};
use wrap::settings::{self, KEYS, Settings};
use wrap::tables::TextTable;
use wrap::verdict::{Access, Decision, Tables, decide};

const PAGES: [&str; 11] = [
    "tcpd.8",
    "tcpdchk.8",
    "tcpdcompile.8",
    "tcpdmatch.8",
    "try-from.8",
    "safe_finger.8",
    "tcpd.conf.5",
    "hosts_access.5",
    "hosts_options.5",
    "hosts_access.3",
    "tcpd-migration.7",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn page(name: &str) -> String {
    text(&format!("man/{name}"))
}

/// The page as a reader sees its literal text: escapes undone, one blank for any white space.
fn plain(page: &str) -> String {
    let page = page.replace(r"\e", r"\").replace(r"\&", "").replace(r"\-", "-").replace(r"\*q", "\"");
    flat(&page)
}

fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first words of the entries (`.It Cm word`) of a page.
fn entries(page: &str, of: &str) -> BTreeSet<String> {
    let entry = Regex::new(&format!(r"(?m)^\.It {of} ([a-z0-9-]+)")).expect("a pattern");
    entry.captures_iter(page).map(|found| found[1].to_owned()).collect()
}

#[test]
fn every_option_has_its_entry_and_every_entry_its_option() {
    let known: BTreeSet<_> = OPTIONS.iter().map(|option| option.name.to_owned()).collect();
    assert_eq!(entries(&page("hosts_options.5"), "Cm"), known);
}

#[test]
fn every_key_has_its_entry_and_stands_in_the_example_with_its_default() {
    let known: BTreeSet<_> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    let values = ["needed", "always", "never"].map(str::to_owned);
    let described = entries(&page("tcpd.conf.5"), "Cm");
    assert_eq!(described.into_iter().filter(|word| !values.contains(word)).collect::<BTreeSet<_>>(), known);

    let example = text("etc/tcpd.conf");
    let key_line = Regex::new(r"(?m)^#([a-z-]+) \S+$").expect("a pattern");
    let shown: BTreeSet<_> = key_line.captures_iter(&example).map(|found| found[1].to_owned()).collect();
    assert_eq!(shown, known);
    let file: Arc<Path> = Arc::from(Path::new("etc/tcpd.conf"));
    let as_it_is = settings::parse(example.as_bytes(), &file);
    let live = settings::parse(
        key_line.replace_all(&example, |found: &regex::Captures<'_>| found[0][1..].to_owned()).as_bytes(),
        &file,
    );
    for reading in [&as_it_is, &live] {
        assert!(reading.problems.is_empty() && !reading.refuses, "{:?}", reading.problems);
    }
    assert_eq!(as_it_is.settings, Settings::default());
    // The one default that depends on the transport.
    assert_eq!(Settings { refuse_delay: None, ..live.settings }, Settings::default());
}

/// What programs may know of the library is what its page explains and its header declares.
#[test]
fn every_name_of_the_library_has_its_entry_and_its_declaration() {
    let map = text("src/libwrap/libwrap.map");
    let (_, names) = map.split_once("global:").expect("a list");
    let (names, _) = names.split_once("local:").expect("its end");
    let names: BTreeSet<_> = names.split(';').map(|name| name.trim().to_owned()).collect();
    let names: BTreeSet<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
    assert!(names.len() > 30, "{names:?}");

    let page = page("hosts_access.3");
    let entry = Regex::new(r"(?m)^\.It (?:Fn|Va) (.*)$").expect("a pattern");
    let (entries, _) = page.split_once(".Sh THE PROGRAM'S OWN").expect("a section behind the entries");
    let explained = entry
        .captures_iter(entries)
        .flat_map(|found| found[1].replace("Fn ", "").split(" , ").map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(explained.collect::<BTreeSet<_>>(), names);

    let header = text("src/libwrap/tcpd.h");
    let word = |name: &str| Regex::new(&format!(r"\b{name}\b")).expect("a pattern");
    // The one whose type would need <setjmp.h>.
    for name in names.iter().filter(|name| *name != "tcpd_buf") {
        let declared = header.lines().any(|line| line.starts_with("extern ") && word(name).is_match(line));
        assert!(declared, "tcpd.h does not declare {name}");
    }
}

#[test]
fn every_flag_of_the_help_text_has_its_entry() {
    for (page, program) in [
        ("tcpd.8", env!("CARGO_BIN_EXE_tcpd")),
        ("tcpdmatch.8", env!("CARGO_BIN_EXE_tcpdmatch")),
        ("tcpdchk.8", env!("CARGO_BIN_EXE_tcpdchk")),
        ("tcpdcompile.8", env!("CARGO_BIN_EXE_tcpdcompile")),
    ] {
        assert!(flags_agree(page, program).contains("config"), "{page}");
    }
    for (page, program) in
        [("try-from.8", env!("CARGO_BIN_EXE_try-from")), ("safe_finger.8", env!("CARGO_BIN_EXE_safe_finger"))]
    {
        assert!(flags_agree(page, program).contains("help"), "{page}");
    }
}

/// The flags that a program and its page agree on.
fn flags_agree(name: &str, program: &str) -> BTreeSet<String> {
    let version = Command::new(program).arg("--version").output().expect("it runs");
    let known = format!(" {}\n", env!("CARGO_PKG_VERSION"));
    assert!(version.status.success() && version.stdout.ends_with(known.as_bytes()), "{version:?}");
    let help = Command::new(program).arg("--help").output().expect("it runs");
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).expect("text");
    let flag = Regex::new(r"(?m)^ +(?:-\w, )?--?([a-z-]+)").expect("a pattern");
    let said: BTreeSet<_> = flag.captures_iter(&help).map(|found| found[1].to_owned()).collect();
    assert!(said.contains("version"), "{help}");
    let described =
        entries(&page(name).replace(".It Fl h , Fl ", ".It Fl ").replace(".It Fl V , Fl ", ".It Fl "), "Fl");
    // What ends the options is none.
    let described = described.iter().map(|word| word.trim_start_matches('-').to_owned());
    let described: BTreeSet<_> = described.filter(|word| !word.is_empty()).collect();
    assert_eq!(described, said, "man/{name}");
    said
}

/// The members that the manual promises, and no others.
#[test]
fn the_schema_of_an_explanation_is_in_the_manual() {
    members_agree("JSON", &["tests/explain/granted.json".to_owned()]);
}

#[test]
fn the_schema_of_a_replay_is_in_the_manual() {
    members_agree(
        "JSON OF A REPLAY",
        &["verbose", "session", "hits"].map(|name| format!("tests/replay/{name}.json")),
    );
}

/// The members of these objects are those of a section of tcpdmatch(8).
fn members_agree(section: &str, examples: &[String]) {
    let example: String = examples.iter().map(|path| text(path)).collect();
    let known = Regex::new(r#"(?m)^ *"([a-z_]+)": "#).expect("a pattern");
    let known: BTreeSet<_> = known.captures_iter(&example).map(|found| found[1].to_owned()).collect();
    assert_eq!(members(section), known);
}

/// The members that a section of tcpdmatch(8) has entries for.
fn members(section: &str) -> BTreeSet<String> {
    let page = page("tcpdmatch.8");
    let (_, section) = page.split_once(&format!(".Sh {section}\n")).expect("the section");
    let (section, _) = section.split_once("\n.Sh ").expect("one more section");
    let said = Regex::new(r"(?m)^\.It Li ([a-z_]+)").expect("a pattern");
    said.captures_iter(section).map(|found| found[1].to_owned()).collect()
}

/// A batch promises what it says, in its own section or, where it is the same, in that of explanations.
#[test]
fn the_schema_of_a_batch_is_in_the_manual() {
    fn collect(value: &Value, names: &mut BTreeSet<String>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            names.insert(name.clone());
            if name != "id" {
                collect(value, names);
            }
        }
        value.as_array().into_iter().flatten().for_each(|value| collect(value, names));
    }
    let mut known = BTreeSet::new();
    for line in text("tests/explain/batch.out").lines() {
        collect(&serde_json::from_str(line).expect("JSON"), &mut known);
    }
    let (own, of_json) = (members("BATCH"), members("JSON"));
    assert!(own.is_subset(&known), "{own:?}");
    let said: BTreeSet<_> = own.union(&of_json).cloned().collect();
    assert!(known.is_subset(&said), "{:?}", known.difference(&said));
}

/// The members of what the checker says to programs, wherever a golden file has them.
#[test]
fn the_schema_of_a_problem_is_in_the_manual() {
    let mut known = BTreeSet::new();
    for file in std::fs::read_dir(root().join("tests/golden-chk")).expect("golden files") {
        let path = file.expect("a file").path();
        if path.extension().is_some_and(|extension| extension == "ref") {
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            for line in text.lines().filter(|line| line.starts_with('{')) {
                let object: Value = serde_json::from_str(line).expect("JSON");
                known.extend(object.as_object().expect("an object").keys().cloned());
            }
        }
    }
    let page = page("tcpdchk.8");
    let (_, section) = page.split_once(".Ss JSON\n").expect("the section");
    let (section, _) = section.split_once("\n.Sh ").expect("one more section");
    let entries = section.lines().filter_map(|line| line.strip_prefix(".It Va "));
    let said: BTreeSet<_> = entries.flat_map(|names| names.split(" , ")).map(str::to_owned).collect();
    assert_eq!(said, known);
}

/// What can be stated is one list, of `--stated`, of a batch, and of the manual.
#[test]
fn every_fact_that_can_be_stated_is_in_the_manual() {
    let page = plain(&page("tcpdmatch.8"));
    let (_, section) = page.split_once(".It Fl -stated").expect("the entry");
    let (section, _) = section.split_once(".It Fl -batch").expect("the next entry");
    for key in stated::keys().split(", ") {
        assert!(section.contains(&format!(".Li {key} ")), "{key}");
    }
}

#[test]
fn every_letter_of_an_expansion_is_explained() {
    let ends = || (Endpoint::unknown(), Endpoint::unknown());
    let request = Request::new(DaemonName::stated(b"in.testd"), 1, Transport::Stream, ends(), &Stated);
    let means_something = |letter: &u8| {
        expand::expand(&[b'%', *letter], &request).is_ok_and(|expanded| expanded.unknown.is_empty())
    };
    let known: BTreeSet<char> = (b'!'..=b'~').filter(means_something).map(char::from).collect();
    let page = page("hosts_access.5");
    let (_, section) = page.split_once(".Sh % EXPANSIONS").expect("the section");
    let (section, _) = section.split_once("\n.Sh ").expect("one more section");
    let letter = Regex::new(r"%(\S)").expect("a pattern");
    let explained = section.lines().filter(|line| line.starts_with(".It Li "));
    let explained: BTreeSet<char> = explained
        .flat_map(|line| letter.captures_iter(line))
        .filter_map(|found| found[1].chars().next())
        .collect();
    assert_eq!(explained, known);
}

/// `name = ...` above the functions that read it, up to its semicolon, or whole where it is a sentence.
fn productions(source: &str) -> Vec<String> {
    let production = Regex::new(r"^\s*/// ([a-z0-9]+ += .*)$").expect("a pattern");
    let lines = text(source);
    let found = lines.lines().filter_map(|line| production.captures(line));
    let cut = |line: &str| match line.find(" ;") {
        Some(end) => line[..end + 2].to_owned(),
        None => line.to_owned(),
    };
    found.map(|found| flat(&cut(&found[1]))).collect()
}

#[test]
fn the_grammar_of_the_manual_is_the_parser_s() {
    for (source, least, of_lines) in [
        ("src/rules/grammar.rs", 16, "hosts_access.5"),
        ("src/rules/scan.rs", 2, "hosts_access.5"),
        ("src/rules/options.rs", 5, "hosts_options.5"),
        ("src/rules/trial.rs", 6, "tcpdchk.8"),
    ] {
        let productions = productions(source);
        assert!(productions.len() >= least, "{source}: {productions:#?}");
        for production in productions {
            let name = if production.starts_with("setting ") { "tcpd.conf.5" } else { of_lines };
            assert!(
                plain(&page(name)).contains(&production),
                "man/{name} lacks the line of {source}: {production}"
            );
        }
    }
}

#[test]
fn every_amendment_has_its_paragraph_and_its_line_in_the_change_log() {
    let pages: Vec<_> = PAGES.into_iter().map(page).collect();
    let changes = text("CHANGELOG.md");
    for page in &pages {
        assert!(
            page.contains(".Sh DIFFERENCES FROM TCP_WRAPPERS 7.6"),
            "{}",
            page.lines().next().unwrap_or_default()
        );
    }
    for number in 1..=25 {
        let entry = format!("\n.It M{number}\n");
        assert!(pages.iter().any(|page| page.contains(&entry)), "M{number} is in no page");
        assert!(changes.contains(&format!("* **M{number}** ")), "M{number} is not in CHANGELOG.md");
    }
}

/// Whether what is missing on this machine is a failure.
fn must_be_whole() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
        || std::env::var_os("TCPD_REAL").is_some_and(|value| value == "1")
}

#[test]
fn mandoc_finds_nothing_to_complain_about() {
    for name in PAGES {
        let path = root().join("man").join(name);
        let said = match Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&path).output() {
            Ok(said) => said,
            Err(error) => {
                assert!(!must_be_whole(), "mandoc: {error}");
                // Past the capture of the test harness: a skip must be seen.
                let line = format!("SKIPPED: man/ is not checked, mandoc: {error}\n");
                std::io::stderr().write_all(line.as_bytes()).expect("standard error");
                return;
            }
        };
        let complaints = String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success() && complaints.is_empty(), "{complaints}");
    }
}

#[test]
fn no_page_is_wider_than_a_terminal() {
    let overstruck = Regex::new(r".\x08").expect("a pattern");
    for name in PAGES {
        let path = root().join("man").join(name);
        let Ok(shown) = Command::new("mandoc").args(["-T", "ascii", "-O", "width=80"]).arg(path).output()
        else {
            return;
        };
        for line in String::from_utf8_lossy(&shown.stdout).lines() {
            let line = overstruck.replace_all(line, "");
            assert!(line.chars().count() <= 80, "man/{name}: {line}");
        }
    }
}

fn example(name: &str) -> PathBuf {
    root().join("etc").join(name)
}

#[test]
fn the_example_tables_have_no_problem_and_one_reading() {
    for name in ["hosts.allow", "hosts.deny"] {
        let mut table = TextTable::new(&example(name));
        let mut rules = 0;
        loop {
            let (line, parsed) = match table.next() {
                Entry::Line(line, parsed) => (line, parsed),
                Entry::Broken(problems) => panic!("{name}: {problems:?}"),
                Entry::Again => continue,
                Entry::End => break,
            };
            let shown = format!("etc/{name}:{}: {}", line.number, String::from_utf8_lossy(line.text));
            let rule = match parsed {
                Parsed::Nothing => continue,
                Parsed::Rule(rule) => rule,
                Parsed::NoColon | Parsed::Malformed(_) => panic!("{shown}"),
            };
            rules += 1;
            let typed = rule.options.map_or_else(|| Ok(Vec::new()), |text| options::steps(text, &Stated));
            assert!(typed.is_ok(), "{shown}: {typed:?}");
            assert!(
                rule.daemons.items().next().is_some() && rule.clients.items().next().is_some(),
                "{shown}"
            );
            for item in rule.clients.items() {
                let Item::Word(word) = item else { continue };
                let (doubt, net) = match grammar::client_pattern(word).host {
                    HostPattern::Net4 { doubt, .. } | HostPattern::Net6 { doubt, .. } => (doubt, true),
                    HostPattern::NoNet => (None, false),
                    _ => (None, true),
                };
                assert!(doubt.is_none() && net, "{shown}: {}", String::from_utf8_lossy(word));
            }
        }
        assert!(rules > 2, "{name}: {rules} rules");
    }
}

/// What the checker says about the examples, as they would stand on a machine that has the programs:
/// nothing but advice.
#[test]
fn the_examples_pass_the_checker() {
    let said = Command::new(env!("CARGO_BIN_EXE_tcpdchk"))
        .args(["-d", "-i", "/dev/null", "--config", "tcpd.conf", "--format", "short"])
        .current_dir(root().join("etc"))
        .output()
        .expect("tcpdchk runs");
    assert_eq!(said.status.code(), Some(0));
    let said = String::from_utf8(said.stdout).expect("text");
    // What only an installation has: programs, the banners' place, owners of a checkout.
    let absent = |line: &&str| {
        line.contains("cannot be executed")
            || line.contains("/etc/banners")
            || line.contains("tcpdchk: warning")
    };
    let complaints: Vec<_> =
        said.lines().filter(|line| !line.contains(": advice: ") && !absent(line)).collect();
    assert_eq!(complaints, [""; 0]);
}

/// The tests of the example tables hold, and every rule of these is one that a test speaks of.
#[test]
fn the_example_tests_hold() {
    let said = Command::new(env!("CARGO_BIN_EXE_tcpdchk"))
        .args(["-d", "--config", "/dev/null", "--test", "hosts.test"])
        .current_dir(root().join("etc"))
        .output()
        .expect("tcpdchk runs");
    let (text, status) = (String::from_utf8_lossy(&said.stdout), said.status.code());
    assert!(status == Some(0) && text.ends_with(" tests, as expected\n"), "{status:?} {text}");
    let tests = text_without_comments("etc/hosts.test");
    for name in ["hosts.allow", "hosts.deny"] {
        let mut table = TextTable::new(&example(name));
        while let Entry::Line(line, parsed) = table.next() {
            let place = format!(" by {name}:{}\n", line.number);
            assert!(
                !matches!(parsed, Parsed::Rule(_)) || tests.contains(&place),
                "no test speaks of {place}"
            );
        }
    }
}

fn text_without_comments(path: &str) -> String {
    text(path).lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

/// What the example tables say about a call of the time-of-day service at an address of this machine.
fn verdict_at(server: [u8; 4]) -> Decision {
    let (client, server) =
        (Endpoint::of_ip([127, 0, 0, 1].into(), 50000), Endpoint::of_ip(server.into(), 7979));
    let ends = (client.named(Fact::Unknown), server.named(Fact::Unknown));
    let request = Request::new(DaemonName::stated(b"in.daytimed"), 1, Transport::Stream, ends, &Stated);
    let mut allow = TextTable::new(&example("hosts.allow"));
    let mut deny = TextTable::new(&example("hosts.deny"));
    decide(&mut Tables::new(&mut allow, &mut deny, true), &request)
}

#[test]
fn the_session_of_the_readme_is_what_the_rules_say() {
    let deeds = |decision: &Decision| decision.plan.iter().map(|step| step.deed.clone()).collect::<Vec<_>>();
    let served = verdict_at([127, 0, 0, 1]);
    assert_eq!((served.access, deeds(&served)), (Access::Permit, Vec::new()), "{:?}", served.remarks);
    let refused = verdict_at([127, 0, 0, 2]);
    assert_eq!((refused.access, deeds(&refused)), (Access::Deny, Vec::new()));
    let trapped = verdict_at([127, 0, 0, 3]);
    assert_eq!((trapped.access, deeds(&trapped).last()), (Access::Deny, Some(&Deed::Twist)));
}

#[test]
fn the_example_banners_expand() {
    let ends = (Endpoint::unknown(), Endpoint::unknown());
    let request = Request::new(DaemonName::stated(b"in.ftpd"), 1, Transport::Stream, ends, &Stated);
    let mut banners = 0;
    for file in std::fs::read_dir(example("banners")).expect("etc/banners") {
        let path = file.expect("a file").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        assert!(text("etc/hosts.deny").contains(&format!("{name}: ALL: banners ")), "no rule shows {name}");
        let expanded = expand::expand(&std::fs::read(&path).expect("a banner"), &request).expect("short");
        assert!(expanded.unknown.is_empty(), "{name}: {:?}", expanded.unknown);
        banners += 1;
    }
    assert!(banners > 0);
}

#[test]
fn the_rust_that_is_needed_is_the_same_everywhere() {
    let stated = Regex::new(r#"(?m)^rust-version = "([0-9.]+)"$"#).expect("a pattern");
    let manifest = text("Cargo.toml");
    let version = &stated.captures(&manifest).expect("Cargo.toml states it")[1];
    assert!(flat(&text("README.md")).contains(&format!("Rust {version} or later")));
}
