//! The import law of the house, and the fences that a compiler does not build.
//!
//! A floor imports only from floors below it; sideways only without a cycle; the cellar (`sys`) knows
//! nothing but the words for what went wrong, and only deeds and doors go down to it. A new file must
//! be given its floor here.
#![forbid(unsafe_code)]

use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which floor a top-level module stands on.
const FLOORS: [(&str, Floor); 33] = [
    ("error", Floor::Above(0)),
    ("facts", Floor::Above(0)),
    ("rules", Floor::Above(1)),
    ("verdict", Floor::Above(2)),
    ("expand", Floor::Above(2)),
    ("logline", Floor::Above(2)),
    ("event", Floor::Above(2)),
    ("words", Floor::Above(2)),
    ("advice", Floor::Above(2)),
    ("sys", Floor::Cellar),
    ("tables", Floor::Above(3)),
    ("compile", Floor::Above(3)),
    ("lookup", Floor::Above(3)),
    ("actions", Floor::Above(3)),
    ("services", Floor::Above(3)),
    ("inspect", Floor::Above(3)),
    ("report", Floor::Above(3)),
    ("settings", Floor::Above(3)),
    ("listen", Floor::Above(3)),
    ("finger", Floor::Above(3)),
    ("voice", Floor::Above(3)),
    ("hosts", Floor::Above(3)),
    ("witness", Floor::Above(3)),
    ("narrator", Floor::Above(3)),
    ("explain", Floor::Above(3)),
    ("hearing", Floor::Above(3)),
    ("trial", Floor::Above(3)),
    ("replay", Floor::Above(3)),
    ("invocation", Floor::Above(4)),
    ("inquiry", Floor::Above(4)),
    ("libwrap", Floor::Above(4)),
    ("wrapped", Floor::Above(4)),
    ("bin", Floor::Above(4)),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Floor {
    Cellar,
    Above(u8),
}

fn floor(module: &str) -> Floor {
    let known = FLOORS.iter().find(|(name, _)| *name == module);
    known.unwrap_or_else(|| panic!("{module} has no floor: give it one in tests/floors.rs")).1
}

/// A source file: its path below `src`, and its code without comments, texts and tests.
struct Source {
    path: String,
    raw: String,
    code: String,
}

impl Source {
    /// Where it is in the tree of modules: `rules/grammar.rs` is `["rules", "grammar"]`.
    fn module(&self) -> Vec<&str> {
        self.path.trim_end_matches(".rs").split('/').collect()
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    assert!(files.len() > 15, "the sources are elsewhere");
    let source = |file: &PathBuf| {
        let raw = std::fs::read_to_string(file).expect("UTF-8");
        let path = file.strip_prefix(&root).expect("below src").to_string_lossy().into_owned();
        Source { path, code: without_tests(&plain(&raw)), raw }
    };
    files.iter().map(source).collect()
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The code with comments, texts and characters blanked out, line by line as it was.
fn plain(source: &str) -> String {
    let token = Regex::new(
        r####"(?s)//[^\n]*|/\*.*?\*/|b?r#+".*?"#+|b?r"[^"]*"|[bc]?"(?:\\.|[^"\\])*"|b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[0-9a-fA-F]+\}|.)|[^'\\\n])'"####,
    )
    .expect("a regular expression");
    let blank = |found: &regex::Captures<'_>| -> String {
        found[0].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
    };
    token.replace_all(source, blank).into_owned()
}

fn without_tests(code: &str) -> String {
    let mut code = code.to_owned();
    while let Some(start) = code.find("#[cfg(test)]") {
        let open = code[start..].find(['{', ';']).map_or(code.len(), |at| start + at);
        let mut depth = 0_i32;
        let closes = |&(_, byte): &(usize, u8)| {
            depth += i32::from(byte == b'{') - i32::from(byte == b'}');
            depth == 0
        };
        let end = code.bytes().enumerate().skip(open).find(closes).map_or(code.len(), |(at, _)| at + 1);
        let blank: String = code[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(start..end, &blank);
    }
    code
}

/// The top-level modules that a file names, by `crate::`, `wrap::`, `super::` or `self::`.
fn imports(source: &Source) -> BTreeSet<String> {
    let path = Regex::new(r"(?:^|[^:\w])(crate|wrap|super|self)((?:\s*::\s*super)*)\s*::\s*(\{|\w+)")
        .expect("regex");
    let mut found = BTreeSet::new();
    for captures in path.captures_iter(&source.code) {
        let mut base: Vec<&str> = match &captures[1] {
            "crate" | "wrap" => Vec::new(),
            _ => source.module(),
        };
        let supers = captures[2].matches("super").count() + usize::from(&captures[1] == "super");
        base.truncate(base.len().saturating_sub(supers));
        if let Some(top) = base.first() {
            found.insert((*top).to_owned());
        } else if &captures[3] == "{" {
            let group = captures.get(3).expect("matched").end();
            found.extend(group_heads(&source.code[group..]));
        } else {
            found.insert(captures[3].to_owned());
        }
    }
    // What does not name a module is an item of lib.rs itself; there is none.
    found
}

/// The first name of each path in `{a, b::c, d::{e, f}}`.
fn group_heads(text: &str) -> Vec<String> {
    let (mut depth, mut item, mut heads) = (0, String::new(), Vec::new());
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(std::mem::take(&mut item)),
            _ => {}
        }
        if c != ',' || depth > 0 {
            item.push(c);
        }
    }
    heads.push(item);
    let head = |item: String| item.trim().split("::").next().unwrap_or("").trim().to_owned();
    heads.into_iter().map(head).filter(|head| !head.is_empty()).collect()
}

#[test]
fn no_arrow_points_upwards() {
    let mut sideways: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.path != "lib.rs") {
        let own = source.module()[0].to_owned();
        for other in imports(source) {
            let allowed = match (floor(&own), floor(&other)) {
                _ if own == other => true,
                (Floor::Cellar, _) => other == "error",
                (Floor::Above(from), Floor::Cellar) => from >= 3,
                (Floor::Above(from), Floor::Above(to)) if from == to => {
                    sideways.entry(own.clone()).or_default().insert(other.clone());
                    from != 1
                }
                (Floor::Above(from), Floor::Above(to)) => from > to,
            };
            if !allowed {
                wrong.push(format!("src/{} imports {other}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "upwards:\n{}", wrong.join("\n"));
    for start in sideways.keys() {
        let (mut reached, mut todo) = (BTreeSet::new(), vec![start]);
        while let Some(module) = todo.pop() {
            for next in sideways.get(module).into_iter().flatten() {
                assert_ne!(next, start, "{start} imports itself by way of {module}");
                if reached.insert(next) {
                    todo.push(next);
                }
            }
        }
    }
}

#[test]
fn each_crate_stays_in_its_room() {
    let mut wrong = Vec::new();
    let used = Regex::new(r"(?:^|[^:\w])(nom|nix|libc|dns_lookup|syslog|object)\s*::").expect("regex");
    let namesake = Regex::new(r"\bsys\s*::\s*(\{[^}]*\bsyslog\b|syslog\s*;)").expect("regex");
    for source in &sources() {
        let has_namesake = namesake.is_match(&source.code);
        for captures in used.captures_iter(&source.code) {
            let at_home = match &captures[1] {
                "nom" => source.path == "rules/grammar.rs",
                "object" => source.path == "wrapped/elf.rs",
                // Our own sys::syslog, taken in by its last name.
                "syslog" if has_namesake => true,
                _ => source.path.starts_with("sys/"),
            };
            if !at_home {
                wrong.push(format!("src/{} uses {}", source.path, &captures[1]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The parts of libwrap to which C hands its pointers. What is decided and done there is not among them.
const TOWARDS_C: [&str; 5] =
    ["libwrap.rs", "libwrap/known.rs", "libwrap/layout.rs", "libwrap/program.rs", "libwrap/texts.rs"];

#[test]
fn unsafe_is_fenced_and_explained() {
    let fence = "#![forbid(unsafe_code)]";
    let block = Regex::new(r"\bunsafe\s*(\{|fn\b|impl\b)").expect("regex");
    for source in &sources() {
        // lib.rs would forbid it to all, and one bin names the symbol `main`.
        let open = ["lib.rs", "sys.rs", "bin/tcpd.rs"].contains(&source.path.as_str());
        let sys = source.path.starts_with("sys/") || TOWARDS_C.contains(&source.path.as_str());
        assert!(open || sys || source.raw.contains(fence), "src/{} lacks {fence}", source.path);
        let lines: Vec<&str> = source.raw.lines().collect();
        for found in block.find_iter(&source.code) {
            assert!(sys || source.path == "bin/tcpd.rs", "src/{} has unsafe code", source.path);
            let number = source.code[..found.start()].matches('\n').count();
            assert!(is_explained(&lines, number), "src/{}:{}: no SAFETY comment", source.path, number + 1);
        }
    }
}

/// How much there is for an auditor to read: every file with unsafe code, and in how many places, blocks,
/// functions, implementations and attributes together. Whoever adds one says so here; whoever takes one
/// away, too.
const UNSAFE: [(&str, usize); 19] = [
    ("bin/tcpd.rs", 1),
    ("libwrap.rs", 46),
    ("libwrap/known.rs", 32),
    ("libwrap/layout.rs", 34),
    ("libwrap/program.rs", 19),
    ("libwrap/texts.rs", 34),
    ("sys/append.rs", 2),
    ("sys/clock.rs", 1),
    ("sys/environment.rs", 2),
    ("sys/file.rs", 3),
    ("sys/inherited.rs", 2),
    ("sys/launch.rs", 3),
    ("sys/netdb.rs", 3),
    ("sys/process.rs", 14),
    ("sys/program.rs", 8),
    ("sys/resolver.rs", 9),
    ("sys/signals.rs", 9),
    ("sys/socket.rs", 12),
    ("sys/unseen.rs", 10),
];

#[test]
fn unsafe_code_is_counted() {
    let word = Regex::new(r"\bunsafe\b").expect("regex");
    let mut counted: Vec<(String, usize)> = sources()
        .iter()
        .map(|source| (source.path.clone(), word.find_iter(&source.code).count()))
        .filter(|(_, places)| *places > 0)
        .collect();
    counted.sort();
    let rows = |list: &[(String, usize)]| -> String {
        list.iter().map(|(path, places)| format!("    (\"{path}\", {places}),\n")).collect()
    };
    let known = UNSAFE.map(|(path, places)| (path.to_owned(), places));
    assert!(counted == known, "unsafe code, as counted:\n{}", rows(&counted));
    let outside = |path: &str| !path.starts_with("sys/") && !TOWARDS_C.contains(&path);
    let outside: Vec<_> = counted.iter().filter(|(path, _)| outside(path)).collect();
    // The one attribute that names the symbol `main`.
    assert_eq!(outside, [&("bin/tcpd.rs".to_owned(), 1)]);
}

/// A `// SAFETY:`, or a `# Safety` in its documentation, stands above the statement that the line belongs to.
fn is_explained(lines: &[&str], number: usize) -> bool {
    for line in lines[..number].iter().rev().map(|line| line.trim()) {
        if line.starts_with("// SAFETY:") || line == "/// # Safety" {
            return true;
        }
        let ends = line.is_empty() || (!line.starts_with("//") && line.ends_with([';', '}', '{']));
        if ends {
            return false;
        }
    }
    false
}

#[test]
fn nothing_panics_on_purpose() {
    let panics =
        Regex::new(r"\.unwrap\(\)|\.expect\(|\b(panic|unreachable|todo|unimplemented)!").expect("regex");
    let mut wrong = Vec::new();
    for source in &sources() {
        for found in panics.find_iter(&source.code) {
            let number = source.code[..found.start()].matches('\n').count() + 1;
            wrong.push(format!("src/{}:{number}: {}", source.path, found.as_str()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_sources_reads() {
    let code = plain(
        "use crate::a; // crate::b\nlet x = \"crate::c\"; let c = '\"'; let l: &'a str = r#\"crate::d\"#;",
    );
    assert!(code.contains("crate::a") && !code.contains("crate::b"));
    assert!(!code.contains("crate::c") && !code.contains("crate::d") && code.contains("&'a str"));
    let cut = without_tests("fn a() {}\n#[cfg(test)]\nmod tests { fn b() { x.unwrap() } }\nfn c() {}");
    assert!(cut.contains("fn a") && cut.contains("fn c") && !cut.contains("unwrap"));
    assert_eq!(group_heads("a::{b, c}, d, e::f} tail, g"), ["a", "d", "e"]);
    let source = |path: &str, code: &str| Source { path: path.into(), raw: String::new(), code: code.into() };
    let named = |path, code| imports(&source(path, code)).into_iter().collect::<Vec<_>>();
    assert_eq!(
        named("rules/x.rs", "use super::{y}; use super::super::sys; use crate::{error::E, facts};"),
        ["error", "facts", "rules", "sys"]
    );
    assert_eq!(
        named("actions.rs", "use super::voice::Voice; wrap::logline::x(); a::crate_::b"),
        ["logline", "voice"]
    );
}
