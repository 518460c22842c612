//! What do the unit files of systemd say: which units are there, what is set in them, who enables them?
//!
//! As systemd.unit(5) has it: of files with one name that of the first directory counts; drop-ins of
//! `TYPE.d`, `PREFIX-.TYPE.d` and `NAME.d` are added in the order of their names; a link to the null
//! device, or an empty file, masks; a link to a file of another name makes an alias. Of a template there
//! are the instances that are enabled or have drop-ins, and the services of their sockets. Nothing is asked
//! of a running systemd: the files say what it will start.

#![forbid(unsafe_code)]

use super::pairs::{Pair, pairs};
use super::{At, Search, base};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where units stand, the first counting most (systemd.unit(5), UNIT FILE LOAD PATH).
const DIRECTORIES: [&str; 7] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];

/// A unit, with its drop-ins.
pub struct Unit {
    pub name: String,
    settings: Vec<(PathBuf, Pair)>,
}

impl Unit {
    /// The last value of a setting.
    pub fn value(&self, section: &str, key: &str) -> Option<&[u8]> {
        self.list(section, key).last().map(|(value, _)| *value)
    }

    /// The values of a setting that is a list: an empty one begins it anew.
    pub fn list(&self, section: &str, key: &str) -> Vec<(&[u8], At)> {
        let mut list = Vec::new();
        for (file, pair) in &self.settings {
            if pair.section != section.as_bytes() || pair.key != key.as_bytes() {
                continue;
            }
            match pair.value.is_empty() {
                true => list.clear(),
                false => list.push((pair.value.as_slice(), At { file: file.clone(), line: pair.line })),
            }
        }
        list
    }

    /// Whether it is one to make instances of.
    pub fn is_template(&self) -> bool {
        self.name.contains("@.")
    }

    /// The value of a variable that its commands get from the unit itself.
    fn variable(&self, name: &[u8]) -> Option<Vec<u8>> {
        let lines = self.list("Service", "Environment");
        let settings = lines.iter().flat_map(|(line, _)| words(line));
        let mut values = settings.filter_map(|word| {
            let value = word.strip_prefix(name)?.strip_prefix(b"=")?;
            Some(value.to_vec())
        });
        values.next_back()
    }

    /// The commands of a line of it.
    pub fn commands(&self, line: &[u8]) -> Vec<(Vec<u8>, Vec<Vec<u8>>)> {
        commands(line, &|name| self.variable(name))
    }

    /// Whether it is meant to be enabled by somebody.
    pub fn can_be_enabled(&self) -> bool {
        self.settings.iter().any(|(_, pair)| pair.section == b"Install")
    }
}

/// All units that may be started.
#[derive(Default)]
pub struct Units {
    pub all: BTreeMap<String, Unit>,
    /// Other names, and the units they mean.
    aliases: BTreeMap<String, String>,
    /// The units that others want or require.
    wanted: BTreeSet<String>,
}

impl Units {
    pub fn named(&self, name: &str) -> Option<&Unit> {
        let name = self.aliases.get(name).map_or(name, String::as_str);
        self.all.get(name)
    }

    /// Whether something starts it: a link from a unit that wants it. For a template, one of its kind.
    pub fn is_wanted(&self, unit: &Unit) -> bool {
        let is_meant = |wanted: &String| {
            let instance = wanted.split_once('@').zip(unit.name.split_once('@'));
            wanted == &unit.name
                || self.aliases.get(wanted) == Some(&unit.name)
                || instance.is_some_and(|((stem, of), (own, rest))| {
                    stem == own && rest.starts_with('.') && of.ends_with(rest)
                })
        };
        self.wanted.iter().any(is_meant)
    }
}

/// Reads the units of two types.
pub fn read(search: &mut Search<'_>) -> Units {
    let mut units = Units::default();
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    // What is in each directory; the drop-ins among it.
    let mut drop_ins: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for directory in DIRECTORIES.map(Path::new) {
        for name in search.names(directory) {
            let path = directory.join(&name);
            let Some(name) = name.to_str() else { continue };
            if name.ends_with(".service") || name.ends_with(".socket") {
                files.entry(name.to_owned()).or_insert(path);
            } else if let Some(unit) = name.strip_suffix(".d") {
                drop_ins.entry(unit.to_owned()).or_default().push(path);
            } else if name.ends_with(".wants") || name.ends_with(".requires") {
                let names = search.names(&path);
                units.wanted.extend(names.iter().filter_map(|name| name.to_str()).map(str::to_owned));
            }
        }
    }
    let mut templates: BTreeMap<String, (PathBuf, BTreeSet<String>)> = BTreeMap::new();
    for (name, file) in files {
        match search.tree.link(&file) {
            Some(to) if to == Path::new("/dev/null") => {}
            Some(to) if base(&to) != name.as_bytes() => {
                units.aliases.insert(name, String::from_utf8_lossy(base(&to)).into_owned());
            }
            _ => {
                let Some(unit) = unit(search, &name, &file, &drop_ins) else { continue };
                if let Some((stem, rest)) = name.split_once('@').filter(|_| unit.is_template()) {
                    let instances = instances(stem, rest, &units.wanted, &drop_ins);
                    templates.insert(name.clone(), (file, instances));
                }
                units.all.insert(name, unit);
            }
        }
    }
    for (template, (file, instances)) in &templates {
        // A service whose socket is an instance is one itself, and the other way round.
        let turned = |name: &str| match name.strip_suffix(".socket") {
            Some(stem) => format!("{stem}.service"),
            None => name.replace(".service", ".socket"),
        };
        let of_other = templates.get(&turned(template)).into_iter().flat_map(|(_, names)| names);
        for name in instances.iter().cloned().chain(of_other.map(|name| turned(name))) {
            if !units.all.contains_key(&name)
                && let Some(unit) = unit(search, &name, file, &drop_ins)
            {
                units.all.insert(name, unit);
            }
        }
    }
    units
}

/// One unit: its file, or that of its template, and its drop-ins.
fn unit(
    search: &mut Search<'_>,
    name: &str,
    file: &Path,
    drop_ins: &BTreeMap<String, Vec<PathBuf>>,
) -> Option<Unit> {
    let text = search.text(file).filter(|text| !text.is_empty())?;
    let mut settings: Vec<_> = pairs(&text).into_iter().map(|pair| (file.to_path_buf(), pair)).collect();
    for file in drop_ins_of(search, name, drop_ins) {
        let text = search.text(&file).unwrap_or_default();
        settings.extend(pairs(&text).into_iter().map(|pair| (file.clone(), pair)));
    }
    if let Some(instance) = instance_of(name) {
        settings.iter_mut().for_each(|(_, pair)| pair.value = with_instance(&pair.value, instance));
    }
    search.looked.units += 1;
    Some(Unit { name: name.to_owned(), settings })
}

/// What stands behind the `@`, if anything does.
fn instance_of(name: &str) -> Option<&str> {
    let (_, rest) = name.split_once('@')?;
    let (instance, _) = rest.rsplit_once('.')?;
    (!instance.is_empty()).then_some(instance)
}

/// The instances of a template that somebody wants, or has made drop-ins for.
fn instances(
    stem: &str,
    rest: &str,
    wanted: &BTreeSet<String>,
    drop_ins: &BTreeMap<String, Vec<PathBuf>>,
) -> BTreeSet<String> {
    let is_one = |name: &&String| {
        instance_of(name).is_some()
            && name.ends_with(rest)
            && name.split_once('@').is_some_and(|(own, _)| own == stem)
    };
    wanted.iter().chain(drop_ins.keys()).filter(is_one).cloned().collect()
}

/// A value with the instance in the place of `%i`, and of `%I` what it was before it was escaped
/// (systemd.unit(5), SPECIFIERS and STRING ESCAPING FOR INCLUSION IN UNIT NAMES).
fn with_instance(value: &[u8], instance: &str) -> Vec<u8> {
    let (mut text, mut bytes) = (Vec::new(), value.iter().copied());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            text.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'i') => text.extend_from_slice(instance.as_bytes()),
            Some(b'I') => text.extend(unescaped(instance.as_bytes())),
            other => text.extend(std::iter::once(byte).chain(other)),
        }
    }
    text
}

fn unescaped(instance: &[u8]) -> Vec<u8> {
    let (mut text, mut rest) = (Vec::new(), instance);
    while let Some((&byte, behind)) = rest.split_first() {
        let escaped = match rest {
            [b'\\', b'x', high, low, ..] => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        text.push(escaped.unwrap_or(if byte == b'-' { b'/' } else { byte }));
        rest = if escaped.is_some() { rest.get(4..).unwrap_or_default() } else { behind };
    }
    text
}

/// The drop-ins of a unit in the order in which they count.
fn drop_ins_of(search: &mut Search<'_>, name: &str, known: &BTreeMap<String, Vec<PathBuf>>) -> Vec<PathBuf> {
    let mut found: BTreeMap<Vec<u8>, PathBuf> = BTreeMap::new();
    // From what concerns all units of the type to what concerns this one: the closer counts.
    for level in levels(name) {
        let mut of_level: BTreeMap<Vec<u8>, PathBuf> = BTreeMap::new();
        for directory in known.get(&level).into_iter().flatten() {
            for file in search.names(directory) {
                if file.as_bytes().ends_with(b".conf") {
                    of_level.entry(file.as_bytes().to_vec()).or_insert(directory.join(file));
                }
            }
        }
        found.extend(of_level);
    }
    let is_masked = |file: &PathBuf| search.tree.link(file).is_some_and(|to| to == Path::new("/dev/null"));
    found.into_values().filter(|file| !is_masked(file)).collect()
}

/// `service`, `a-.service`, `a-b-.service`, `a-b-c.service`; of an instance its template before itself.
fn levels(name: &str) -> Vec<String> {
    let (stem, kind) = name.rsplit_once('.').unwrap_or((name, ""));
    let prefix = stem.split_once('@').map_or(stem, |(prefix, _)| prefix);
    let dashes = prefix.match_indices('-').filter_map(|(at, _)| stem.get(..=at));
    let prefixes = dashes.map(|prefix| format!("{prefix}.{kind}"));
    let template = instance_of(name).and(stem.split_once('@')).map(|(stem, _)| format!("{stem}@.{kind}"));
    let levels = std::iter::once(kind.to_owned()).chain(prefixes).chain(template);
    levels.chain(std::iter::once(name.to_owned())).collect()
}

/// The commands of a line: each its flags (`@`, `-` and others), and its words (systemd.service(5),
/// COMMAND LINES). Variables whose values stand elsewhere are left out, as if they were empty.
fn commands(line: &[u8], variable: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<(Vec<u8>, Vec<Vec<u8>>)> {
    let words = words(line);
    let commands = words.split(|word| word == b";").filter(|words| !words.is_empty());
    let command = |words: &[Vec<u8>]| {
        let first = words.first().map_or(&b""[..], Vec::as_slice);
        let flags = first.iter().take_while(|byte| b"@-:+!|".contains(byte)).count();
        let (flags, program) = first.split_at_checked(flags).unwrap_or_default();
        let rest = words.iter().skip(1).flat_map(|word| match named(word) {
            // Without braces a value may be several words.
            Some((name, true)) => variable(name).map(|value| self::words(&value)).unwrap_or_default(),
            Some((name, false)) => variable(name).into_iter().collect(),
            None if word == b"\\;" => vec![b";".to_vec()],
            None => vec![word.clone()],
        });
        (flags.to_vec(), std::iter::once(program.to_vec()).chain(rest).collect())
    };
    commands.map(command).collect()
}

/// The variable that a word is, and whether it may become several words.
fn named(word: &[u8]) -> Option<(&[u8], bool)> {
    let name = word.strip_prefix(b"$")?;
    let braced = name.strip_prefix(b"{").and_then(|name| name.strip_suffix(b"}"));
    let name = braced.unwrap_or(name);
    let is_name = !name.is_empty() && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some((name, braced.is_none()))
}

/// Words, with quotes and the usual escapes (systemd.syntax(7)); `%%` is one of them.
fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<Vec<u8>>, None);
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (None, byte) if byte.is_ascii_whitespace() => words.extend(word.take()),
            (None, b'"' | b'\'') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (Some(open), byte) if byte == open => quote = None,
            // Of a semicolon the escape is kept, so that it is none that separates.
            (_, b'\\') if bytes.peek() != Some(&b';') => {
                let escaped = bytes.next().unwrap_or(b'\\');
                let meant = match escaped {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b's' => b' ',
                    other => other,
                };
                word.get_or_insert_default().push(meant);
            }
            (_, b'%') if bytes.peek() == Some(&b'%') => {
                bytes.next();
                word.get_or_insert_default().push(b'%');
            }
            (_, byte) => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words
}

/// The path of a program, as systemd finds one that is named without.
pub fn program(search: &Search<'_>, name: &[u8]) -> PathBuf {
    let name = Path::new(OsStr::from_bytes(name));
    let usual =
        ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"].map(|dir| Path::new(dir).join(name));
    let is_there = |path: &PathBuf| search.tree.node(path).is_ok_and(|node| node.is_some());
    match name.is_absolute() {
        true => name.to_path_buf(),
        false => usual.into_iter().find(is_there).unwrap_or_else(|| name.to_path_buf()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let shown = |(flags, words): &(Vec<u8>, Vec<Vec<u8>>)| {
            let words: Vec<_> = words.iter().map(|word| text(word)).collect();
            format!("{}[{}]", text(flags), words.join("|"))
        };
        let value = |name: &[u8]| (name == b"KNOWN").then(|| b"-a 'b c'".to_vec());
        commands(line.as_bytes(), &value).iter().map(shown).collect()
    }

    #[test]
    fn command_lines_are_taken_apart_as_systemd_does() {
        assert_eq!(
            shown("@-/usr/sbin/tcpd /usr/sbin/in.fingerd -w"),
            ["@-[/usr/sbin/tcpd|/usr/sbin/in.fingerd|-w]"]
        );
        assert_eq!(shown("/a 'b c' \"d\\\"e\" f\\sg %% %i"), ["[/a|b c|d\"e|f g|%|%i]"]);
        assert_eq!(shown("/a x ; :/b y \\; z"), ["[/a|x]", ":[/b|y|;|z]"]);
        assert_eq!(shown("/a $OPTIONS ${MORE} x$Y $$"), ["[/a|x$Y|$$]"]);
        assert_eq!(shown("/a $KNOWN ${KNOWN} z"), ["/a|-a|b c|-a 'b c'|z"].map(|words| format!("[{words}]")));
        assert_eq!(shown(""), [""; 0]);
    }

    #[test]
    fn drop_ins_stand_in_more_than_one_directory() {
        assert_eq!(levels("a-b-c@.service"), ["service", "a-.service", "a-b-.service", "a-b-c@.service"]);
        assert_eq!(levels("ssh.socket"), ["socket", "ssh.socket"]);
        assert_eq!(levels("a-b@1-2.socket"), ["socket", "a-.socket", "a-b@.socket", "a-b@1-2.socket"]);
    }

    #[test]
    fn an_instance_stands_in_for_its_specifiers() {
        let shown = |value: &str, name: &str| {
            String::from_utf8(with_instance(value.as_bytes(), instance_of(name).unwrap())).unwrap()
        };
        assert_eq!(shown("%I %i %%i %p %", "a@79.socket"), "79 79 %%i %p %");
        assert_eq!(shown("%I|%i", r"a@\x5b::1\x5d:79.socket"), r"[::1]:79|\x5b::1\x5d:79");
        assert_eq!(shown("%I", r"a@run-x\x2dy.sock\x.socket"), r"run/x-y.sock\x");
        assert_eq!((instance_of("a@.service"), instance_of("a.service")), (None, None));
    }
}
