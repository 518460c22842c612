//! Does `etc/install` put everything below a prefix, and take away just that?
//!
//! It is given files that stand for the programs and the library, so nothing is built here but in the one
//! test of `cargo install`, which the real suite asks for; tests/package.rs installs what was really built.
//! Everything happens below a directory of the test.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAMS: [&str; 6] = ["safe_finger", "tcpd", "tcpdchk", "tcpdcompile", "tcpdmatch", "try-from"];

const LIBRARY: [&str; 3] = ["libwrap.so.0.7.6", "libwrap.a", "tcpd.h"];

struct Place {
    directory: PathBuf,
}

impl Place {
    fn new(name: &str) -> Place {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("install-{name}"));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("dest/opt")).unwrap();
        fs::write(directory.join("dest/opt/of somebody else"), "stays").unwrap();
        for (at, files) in [("release", &PROGRAMS[..]), ("libwrap", &LIBRARY[..])] {
            let at = directory.join("built").join(at);
            fs::create_dir_all(&at).unwrap();
            for file in files {
                fs::write(at.join(file), file).unwrap();
            }
        }
        Place { directory }
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.directory.join("dest").join(inside)
    }

    /// Runs the script for /opt/wrap below a directory that stands for the root.
    fn install(&self, options: &[&str]) -> Output {
        self.command(options).output().unwrap()
    }

    fn command(&self, options: &[&str]) -> Command {
        let built = self.directory.join("built");
        let mut command = Command::new(root().join("etc/install"));
        command.env("PREFIX", "/opt/wrap").env("DESTDIR", self.directory.join("dest"));
        for name in ["LIBDIR", "UNITDIR", "ZSHDIR", "DOCDIR"] {
            command.env_remove(name);
        }
        command.env("CARGO_TARGET_DIR", &built).env_remove("CARGO_BUILD_TARGET");
        command.arg("--built").args(options);
        command
    }

    #[track_caller]
    fn must(&self, options: &[&str]) -> String {
        let said = self.install(options);
        assert!(said.status.success(), "{said:?}");
        text(&said.stdout) + &text(&said.stderr)
    }

    fn tree(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        walk(&self.directory.join("dest"), &mut found);
        found
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn walk(directory: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let about = if meta.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if meta.is_dir() {
            walk(&path, found);
            "directory".to_owned()
        } else {
            let hash = xxhash_rust::xxh3::xxh3_128(&fs::read(&path).unwrap());
            format!("{:o} {hash:032x}", meta.permissions().mode())
        };
        found.insert(path, about);
    }
}

#[test]
fn what_was_installed_is_there_and_comes_off() {
    let place = Place::new("round");
    let before = place.tree();
    let said = place.must(&[]);
    assert!(said.contains("/etc is as it was") && said.contains("after ldconfig"), "{said}");
    for program in PROGRAMS {
        let installed = place.path("opt/wrap/sbin").join(program);
        assert_eq!(fs::metadata(&installed).unwrap().permissions().mode() & 0o7777, 0o755, "{program}");
        assert_eq!(fs::read(&installed).unwrap(), program.as_bytes());
    }

    // Every page, unit and completion of the sources.
    let installed: BTreeSet<String> = place
        .tree()
        .into_keys()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let mut sources = Vec::new();
    for directory in
        ["man", "etc/systemd", "etc/completions/bash", "etc/completions/zsh", "etc/completions/fish"]
    {
        sources.extend(fs::read_dir(root().join(directory)).into_iter().flatten().flatten());
    }
    assert!(sources.len() >= 10);
    for source in sources {
        let name = source.file_name().to_string_lossy().into_owned();
        assert!(!source.path().is_file() || installed.contains(&name), "{name} is not installed");
    }
    // Links lead to what they are for.
    for link in
        ["lib/libwrap.so", "lib/libwrap.so.0", "share/man/man5/hosts.allow.5", "share/man/man3/hosts_ctl.3"]
    {
        assert!(place.path("opt/wrap").join(link).exists(), "{link}");
    }
    // Our programs are where they were installed, and other people's are not.
    let unit = fs::read_to_string(place.path("opt/wrap/lib/systemd/system/tcpd-compile.service")).unwrap();
    assert!(unit.contains("ExecStart=/opt/wrap/sbin/tcpdcompile --quiet"), "{unit}");
    let lines = fs::read_to_string(place.path("opt/wrap/share/doc/tcpd-rs/examples/inetd.conf")).unwrap();
    assert!(lines.contains(" /opt/wrap/sbin/tcpd ") && lines.contains("/usr/sbin/in."), "{lines}");
    assert!(!lines.contains("/usr/sbin/tcpd"), "{lines}");

    // A second time it is an upgrade: nothing is in the way.
    let installed = place.tree();
    place.must(&[]);
    assert_eq!(place.tree(), installed);
    place.must(&["--uninstall"]);
    assert_eq!(place.tree(), before);
    let said = place.install(&["--uninstall"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stderr).contains("nothing was installed here"), "{said:?}");
}

#[test]
fn what_was_left_out_the_second_time_goes() {
    let place = Place::new("less");
    let before = place.tree();
    place.must(&[]);
    place.must(&["--no-library", "--no-units", "--no-manual", "--no-completions", "--no-documents"]);
    let files = place.tree().into_keys().filter(|path| path.is_file());
    let names: BTreeSet<String> =
        files.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    let expected = PROGRAMS.into_iter().chain(["manifest", "of somebody else"]);
    assert_eq!(names, expected.map(str::to_owned).collect());
    place.must(&["--uninstall"]);
    assert_eq!(place.tree(), before);
}

#[test]
fn a_file_that_was_changed_is_neither_removed_nor_overwritten() {
    let place = Place::new("changed");
    place.must(&[]);
    let unit = place.path("opt/wrap/lib/systemd/system/tcpd-compile.path");
    fs::write(&unit, "mine").unwrap();
    let before = place.tree();
    let said = place.install(&[]);
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stderr).contains(&format!("in the way: {}", unit.display())), "{said:?}");
    assert_eq!(place.tree(), before);
    let said = place.must(&["--uninstall"]);
    assert!(said.contains(&format!("left, for it was changed since: {}", unit.display())), "{said}");
    let left: Vec<PathBuf> = place.tree().into_keys().filter(|path| path.is_file()).collect();
    assert_eq!(left, [place.path("opt/of somebody else"), unit]);
}

#[test]
fn a_file_of_somebody_else_stops_it_before_anything_is_done() {
    let place = Place::new("foreign");
    let tcpd = place.path("opt/wrap/sbin/tcpd");
    fs::create_dir_all(tcpd.parent().unwrap()).unwrap();
    fs::write(&tcpd, "the original").unwrap();
    let before = place.tree();
    let said = place.install(&[]);
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stderr).contains(&format!("in the way: {}", tcpd.display())), "{said:?}");
    assert_eq!(place.tree(), before);
    place.must(&["--force"]);
    assert_ne!(fs::read(&tcpd).unwrap(), b"the original");
}

#[test]
fn what_was_not_built_is_named_before_anything_is_done() {
    let place = Place::new("unbuilt");
    let before = place.tree();
    fs::remove_file(place.directory.join("built/libwrap/tcpd.h")).unwrap();
    let said = place.install(&[]);
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stderr).contains("built/libwrap/tcpd.h is not there"), "{said:?}");
    assert_eq!(place.tree(), before);
    // The programs can be had from elsewhere.
    let programs = place.directory.join("built/release");
    place.must(&["--no-library", "--programs", programs.to_str().unwrap()]);
}

/// Installed and removed from one directory, with a name of another that is seen from there.
#[test]
fn a_destination_is_seen_from_where_one_stands() {
    let place = Place::new("relative");
    let before = place.tree();
    for options in [&["--no-library"][..], &["--uninstall"]] {
        let mut command = place.command(options);
        let said = command.current_dir(&place.directory).env("DESTDIR", "dest").output().unwrap();
        assert!(said.status.success(), "{said:?}");
        assert_eq!(place.path("opt/wrap/sbin/tcpd").exists(), options != ["--uninstall"]);
    }
    assert_eq!(place.tree(), before);
}

#[test]
fn a_path_that_cannot_be_written_into_units_is_refused() {
    let place = Place::new("blank");
    let before = place.tree();
    for (name, path) in [
        ("PREFIX", "/opt/my wrap"),
        ("PREFIX", "/opt/wrap\n/etc"),
        ("PREFIX", "opt"),
        ("PREFIX", "/"),
        ("LIBDIR", "lib"),
        ("UNITDIR", "/opt/a b"),
    ] {
        let said = place.command(&[]).env(name, path).output().unwrap();
        assert_eq!(said.status.code(), Some(1), "{path:?}: {said:?}");
        assert!(!said.stderr.is_empty());
    }
    assert_eq!(place.tree(), before);
}

#[test]
fn what_an_installation_that_broke_off_has_left_comes_off() {
    let place = Place::new("broken-off");
    let before = place.tree();
    place.must(&[]);
    fs::remove_file(place.path("opt/wrap/sbin/tcpd")).unwrap();
    fs::write(place.path("opt/wrap/sbin/tcpd.tcpd-rs-new"), "half").unwrap();
    place.must(&["--uninstall"]);
    assert_eq!(place.tree(), before);
}

#[test]
fn it_says_how_it_is_called() {
    let place = Place::new("called");
    let help = place.must(&["--help"]);
    let script = fs::read_to_string(root().join("etc/install")).unwrap();
    let options: BTreeSet<&str> = script
        .lines()
        .filter_map(|line| line.trim().strip_prefix("--")?.split_once(") "))
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-'))
        .collect();
    assert!(options.len() >= 10, "{options:?}");
    for option in options {
        assert!(help.contains(&format!("--{option}")), "--{option} is not in its help");
    }
    let said = place.install(&["--unheard-of"]);
    assert_eq!(said.status.code(), Some(2));
    assert_eq!(place.tree().len(), 2);
}

/// `cargo install` takes a release build: the real suite has made one by then.
#[test]
fn cargo_installs_the_six_programs_and_nothing_else() {
    if std::env::var_os("TCPD_REAL").is_none_or(|value| value != "1") {
        let line = "SKIPPED: cargo install: set TCPD_REAL=1 (it needs a release build)\n";
        let _ = std::io::stderr().write_all(line.as_bytes());
        return;
    }
    let place = Place::new("cargo");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args(["install", "--locked", "--offline", "--no-track", "--path"]).arg(root());
    command.arg("--root").arg(place.path("opt/wrap")).env("CARGO_TARGET_DIR", target);
    let said = command.output().unwrap();
    assert!(said.status.success(), "{said:?}");
    let files = place.tree().into_keys().filter(|path| path.is_file());
    let files: Vec<PathBuf> = files.filter(|path| path.starts_with(place.path("opt/wrap"))).collect();
    assert_eq!(files, PROGRAMS.map(|program| place.path("opt/wrap/bin").join(program)));
}
