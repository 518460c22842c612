//! Where does a Debian come from on which nothing of ours was ever installed?
//!
//! It is made by debootstrap (`make`, beside this file) into `target/clean/`, once for each suite and list
//! of packages; that needs the network and a minute. Suite and mirror are the machine's own. A root that
//! could not be finished is never there: it is made under another name, and moved. Tests see it through
//! an overlay and do not change it. What is wrong fails the test that asked, with the end of what was
//! said.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const MAKE: &str = include_str!("make");
const PACKAGES: &str = include_str!("packages.txt");

/// The directory of the clean root; the first who asks has it made.
pub fn made() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(make)
}

fn make() -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clean");
    fs::create_dir_all(&kept).unwrap();
    // Other test programs wait here until it is done.
    let lock = File::create(kept.join("lock")).unwrap();
    lock.lock().unwrap();
    let suite = suite();
    let source = source(&suite);
    let mut key = DefaultHasher::new();
    (MAKE, PACKAGES, &suite, &source).hash(&mut key);
    let root = kept.join(format!("{suite}-{:016x}", key.finish()));
    if root.exists() {
        return root;
    }
    super::need("/usr/sbin/debootstrap", "debootstrap");
    // Of those that broke off, and of lists that are no longer.
    for old in fs::read_dir(&kept).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        fs::remove_dir_all(old.path()).unwrap();
    }
    let half = kept.join("half");
    let log = kept.join("log");
    let [packages, downloads] = lists();
    eprintln!("making a clean root of Debian {suite} from {}", source.mirror);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clean/make");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child"]).arg("sh").arg(script);
    command.arg(&half).args([&suite, &source.mirror, &packages, &downloads]).args(&source.options);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    let out = File::create(&log).unwrap();
    command.stdout(out.try_clone().unwrap()).stderr(out);
    let status = command.status().unwrap();
    let said = fs::read_to_string(&log).unwrap_or_default();
    let end: Vec<&str> = said.lines().rev().take(20).collect();
    let end: Vec<&str> = end.into_iter().rev().collect();
    assert!(status.success(), "no clean root could be made ({}):\n{}", log.display(), end.join("\n"));
    fs::rename(&half, &root).unwrap();
    root
}

/// Packages to install, and packages to fetch.
fn lists() -> [String; 2] {
    let lines = || PACKAGES.lines().map(|line| line.split('#').next().unwrap().trim());
    let wanted = |fetch: bool| {
        let names = lines().filter(|line| !line.is_empty() && line.starts_with("download:") == fetch);
        names.map(|line| line.trim_start_matches("download:").trim()).collect::<Vec<_>>().join(" ")
    };
    [wanted(false), wanted(true)]
}

fn suite() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap();
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.expect("a Debian with a code name").trim_matches('"').to_owned()
}

#[derive(Hash)]
struct Source {
    mirror: String,
    options: Vec<String>,
}

/// The machine's own mirror of this suite: the first source of apt, in either of its forms, that has it.
fn source(suite: &str) -> Source {
    let mut texts = vec![fs::read_to_string("/etc/apt/sources.list").unwrap_or_default()];
    let mut parts: Vec<PathBuf> =
        fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|e| e.path()).collect();
    parts.sort();
    texts.extend(parts.iter().map(|path| fs::read_to_string(path).unwrap_or_default()));
    let found = texts.iter().find_map(|text| stanza_source(text, suite).or_else(|| line_source(text, suite)));
    found.unwrap_or_else(|| Source { mirror: "http://deb.debian.org/debian".to_owned(), options: Vec::new() })
}

/// `deb [option=value ...] URI suite component ...`
fn line_source(text: &str, suite: &str) -> Option<Source> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (mirror, of) = (words.next()?, words.next()?);
        let main = words.any(|word| word == "main");
        let option = |name: &str| options.split_whitespace().find_map(|word| word.strip_prefix(name));
        (of == suite && main)
            .then(|| sourced(mirror, option("signed-by="), option("trusted=") == Some("yes")))
    })
}

/// The same as fields, a stanza each.
fn stanza_source(text: &str, suite: &str) -> Option<Source> {
    text.split("\n\n").find_map(|stanza| {
        let field = |name: &str| {
            let lines = stanza.lines().filter_map(|line| line.split_once(':'));
            lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
        };
        let has =
            |name: &str, word: &str| field(name).is_some_and(|all| all.split_whitespace().any(|w| w == word));
        let is_it = has("Types", "deb") && has("Suites", suite) && has("Components", "main");
        let mirror = field("URIs")?.split_whitespace().next()?;
        is_it.then(|| sourced(mirror, field("Signed-By"), has("Trusted", "yes")))
    })
}

fn sourced(mirror: &str, keyring: Option<&str>, trusted: bool) -> Source {
    let keyring = keyring.filter(|path| Path::new(path).is_file());
    let mut options: Vec<String> = keyring.iter().map(|path| format!("--keyring={path}")).collect();
    if trusted {
        options.push("--no-check-gpg".to_owned());
    }
    Source { mirror: mirror.to_owned(), options }
}
