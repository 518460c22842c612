//! The units as files: do they name programs, options and manual pages that there are, and does systemd's
//! checker find nothing to complain about?

use regex::Regex;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use wrap::invocation::{self, tcpdcompile};

use crate::lab;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files of `etc/systemd`, by name. They are read once: a lab covers the directory of a checkout.
pub fn all() -> &'static BTreeMap<String, String> {
    static FILES: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    FILES.get_or_init(|| {
        let files = std::fs::read_dir(root().join("etc/systemd")).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        let name = |path: &Path| path.file_name().unwrap().to_str().expect("a plain name").to_owned();
        paths.map(|path| (name(&path), std::fs::read_to_string(&path).unwrap())).collect()
    })
}

/// A unit or a drop-in.
pub fn unit(name: &str) -> &'static str {
    all().get(name).unwrap_or_else(|| panic!("no etc/systemd/{name}"))
}

/// The names of the units, drop-ins left out.
pub fn units() -> impl Iterator<Item = &'static str> {
    all().keys().map(String::as_str).filter(|name| !name.ends_with(".conf"))
}

/// The settings that are in force, with their keys.
fn settings(text: &str) -> Vec<(&str, &str)> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect()
}

#[test]
fn every_command_is_understood_by_the_program_it_names() {
    let (mut calls, mut others) = (0, 0);
    for name in all().keys() {
        let text = unit(name);
        for (key, command) in settings(text) {
            if !key.starts_with("Exec") || key.ends_with("Paths") || command.is_empty() {
                continue;
            }
            // What a user of the port sets, as the comments have it.
            let command = command.replace("$TCPD_SERVER", "/usr/sbin/in.fingerd");
            let command = command.replace("$TCPD_OPTIONS", "--max-per-client 64");
            let argv: Vec<OsString> =
                command.trim_start_matches('-').split_whitespace().map(OsString::from).collect();
            match argv[0].to_str().expect("UTF-8") {
                "/usr/sbin/tcpd" => {
                    let call = invocation::read(argv, false);
                    assert!(call.is_ok(), "{name}: {command}: {call:?}");
                    calls += 1;
                }
                "/usr/sbin/tcpdcompile" => {
                    let call = tcpdcompile::read(&argv);
                    assert!(call.is_ok(), "{name}: {command}: {call:?}");
                    calls += 1;
                }
                other => {
                    assert!(Path::new(other).exists(), "{name}: {other}");
                    others += 1;
                }
            }
        }
    }
    assert_eq!((calls, others), (4, 2));
}

#[test]
fn every_page_that_a_unit_names_is_there() {
    let page = Regex::new(r"^man:([a-z_.-]+)\(([0-9])\)$").expect("a pattern");
    let mut pages = 0;
    for name in all().keys() {
        for (_, list) in settings(unit(name)).into_iter().filter(|(key, _)| *key == "Documentation") {
            for word in list.split_whitespace() {
                let found = page.captures(word).unwrap_or_else(|| panic!("{name}: {word}"));
                let path = root().join("man").join(format!("{}.{}", &found[1], &found[2]));
                assert!(path.exists(), "{name}: {}", path.display());
                pages += 1;
            }
        }
    }
    assert!(pages >= 7, "{pages}");
}

#[test]
fn every_unit_is_in_the_manual_and_says_where_it_belongs() {
    let manual = ["tcpd.8", "tcpdcompile.8"]
        .map(|page| std::fs::read_to_string(root().join("man").join(page)).unwrap())
        .concat()
        .replace(r"\-", "-");
    for name in all().keys() {
        assert!(manual.contains(name), "{name} is in no manual page");
        let place = match name.ends_with(".conf") {
            true => "/etc/systemd/system/NAME@.service.d/tcpd.conf".to_owned(),
            false => format!("# /etc/systemd/system/{name}: "),
        };
        assert!(unit(name).contains(&place), "{name}: {place}");
    }
}

/// A tree with the units, the programs they name, and what systemd adds to every unit.
struct Tree(PathBuf);

impl Tree {
    fn plant(name: &str) -> Tree {
        let name = format!("units-{name}-{}", std::process::id());
        let tree = Tree(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        for program in
            ["tcpd", "tcpdcompile", "in.fingerd", "../bin/false", "../../bin/sh", "../../bin/sleep"]
        {
            let path = tree.0.join("usr/sbin").join(program);
            for directory in [tree.0.join("usr/sbin"), tree.0.join("usr/bin"), tree.0.join("bin")] {
                std::fs::create_dir_all(directory).unwrap();
            }
            std::fs::copy("/bin/true", path).unwrap();
        }
        for target in [
            "sysinit",
            "basic",
            "shutdown",
            "sockets",
            "paths",
            "multi-user",
            "network",
            "nss-lookup",
            "nss-user-lookup",
        ] {
            tree.write(&format!("{target}.target"), "[Unit]\nDefaultDependencies=no\n");
        }
        for name in units() {
            tree.write(name, unit(name));
        }
        // A service that the drop-in is for.
        tree.write("finger.socket", "[Socket]\nListenStream=79\nAccept=yes\n");
        tree.write("finger@.service", "[Service]\nExecStart=-/usr/sbin/in.fingerd\n");
        tree.write("finger@.service.d/tcpd.conf", unit("accept-yes.conf"));
        tree
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join("etc/systemd/system").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// What systemd-analyze says: whether all is well, and its words.
    fn analyze(&self, words: &[&str]) -> (bool, String) {
        lab::need("/usr/bin/systemd-analyze", "systemd");
        let mut command = Command::new("systemd-analyze");
        let said = command.arg(format!("--root={}", self.0.display())).args(words).output().unwrap();
        let text = [said.stdout, said.stderr].concat();
        (said.status.success(), String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A template is looked at as one of its instances.
const STARTED: [&str; 9] = [
    "tcpd@79.socket",
    "tcpd@79.service",
    "tcpd-trap.socket",
    "tcpd-trap@0.service",
    "tcpd-trap-mail.service",
    "tcpd-compile.path",
    "tcpd-compile.service",
    "finger.socket",
    "finger@0.service",
];

#[test]
fn systemd_finds_nothing_to_complain_about() {
    if !lab::is_wanted() {
        return;
    }
    for name in units() {
        let of_template = |started: &&str| {
            started.split_once('@').map(|(stem, _)| stem) == name.split_once('@').map(|(stem, _)| stem)
        };
        assert!(
            STARTED.iter().any(|started| *started == name || of_template(started)),
            "{name} is not looked at"
        );
    }
    let tree = Tree::plant("verify");
    for name in STARTED {
        assert_eq!(tree.analyze(&["verify", "--man=no", name]), (true, String::new()), "{name}");
    }
    // It does find what is wrong.
    tree.write("wrong.service", "[Service]\nExecStart=/usr/sbin/tcpd /x\nProtectKernelModulesAll=yes\n");
    let (_, said) = tree.analyze(&["verify", "--man=no", "wrong.service"]);
    assert!(said.contains("ProtectKernelModulesAll"), "{said}");
}

/// What is a comment in a unit, for those who can do with less, is as right as what is in force.
#[test]
fn systemd_understands_the_settings_in_comments() {
    if !lab::is_wanted() {
        return;
    }
    let tree = Tree::plant("comments");
    let setting = Regex::new(r"(?m)^#([A-Z][A-Za-z]+=\S)").expect("a pattern");
    for (name, instance, least) in
        [("tcpd@.service", "tcpd@79.service", 12), ("accept-yes.conf", "finger@0.service", 1)]
    {
        let text = unit(name);
        assert!(setting.find_iter(text).count() >= least, "{name}");
        let live = setting.replace_all(text, "$1");
        // Of a command there can be only one.
        let live = live
            .replace("ExecStart=-/usr/sbin/tcpd --daemon", "ExecStart=\nExecStart=-/usr/sbin/tcpd --daemon");
        let place = if name.ends_with(".conf") { "finger@.service.d/tcpd.conf" } else { name };
        tree.write(place, &live);
        assert_eq!(tree.analyze(&["verify", "--man=no", instance]), (true, String::new()), "{name}");
    }
}

/// How much of the system the services are exposed to, in tenths, by systemd's own reckoning (on versions
/// 252 to 257 it differs by one or two). Less is better; more needs a reason.
#[test]
fn services_are_not_exposed_to_more_than_they_were() {
    if !lab::is_wanted() {
        return;
    }
    let tree = Tree::plant("exposure");
    for (name, tenths) in [
        ("tcpd@79.service", 47),
        ("tcpd-trap@0.service", 7),
        ("tcpd-trap-mail.service", 50),
        ("tcpd-compile.service", 19),
    ] {
        let threshold = format!("--threshold={tenths}");
        let (well, said) = tree.analyze(&["security", "--offline=true", "--no-pager", &threshold, name]);
        assert!(well, "{said}");
        let impossible = format!("--threshold={}", tenths / 3);
        assert!(!tree.analyze(&["security", "--offline=true", "--no-pager", &impossible, name]).0, "{name}");
    }
}
