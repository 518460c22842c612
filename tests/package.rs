//! Do the Debian packages install and come off without a scratch?
//!
//! They are built by `etc/build-deb`, once for all tests, and put into clean roots (`clean`) beside Debian's
//! tcpd, libwrap0, openbsd-inetd and openssh-server. What a test compares is a whole tree, file by file. The rules
//! tell ours from the original: a network with host bits in hosts.deny refuses with ours (M6) and nobody
//! with Debian's.

mod clean;

use clean::{Root, Running};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const ALLOW: &str = "echo, sshd: 127.0.0.2\n";
const DENY: &str = "# Refused by everybody, and refused by ours.\nALL: 127.0.0.5\nALL: 127.0.0.3/8\n";

const DISTRIB: &str = "/usr/lib/tcpd-rs/distrib";

/// The room itself: it is alone, and a test that finds something here did not leave it there.
#[test]
fn a_clean_root_is_clean_and_alone() {
    let Some(root) = Root::open() else { return };
    assert_eq!(root.must("cat /proc/1/comm"), "sh\n");
    let said = root.run_with_input("cat; echo to stderr >&2; exit 3", "hello");
    assert_eq!((said.status, said.out.as_str(), said.err.as_str()), (3, "hello", "to stderr\n"));
    assert_eq!(root.must("dpkg --audit; dpkg --verify; dpkg-divert --list | grep tcpd-rs || :"), "");
    rules(&root, ALLOW, DENY);
    let inetd = inetd(&root);
    assert_eq!(verdicts(&root), ORIGINAL);
    root.log_until("refused connect from 127.0.0.5 (127.0.0.5)");
    let pid = inetd.pid();
    drop(inetd);
    assert!(clean::patiently(|| !Path::new(&format!("/proc/{pid}")).exists()));
}

#[test]
fn beside_debians_packages_ours_serve_and_refuse() {
    let Some(root) = Root::open() else { return };
    rules(&root, ALLOW, DENY);
    let (inetd, sshd) = (inetd(&root), sshd(&root));
    assert_eq!(verdicts(&root), ORIGINAL);
    let rules_before = rule_files(&root);

    let watch = Watch::over(&root);
    let said = root.must(&install(&root, 1));
    assert_eq!(watch.misses(), 0, "there was a moment without a program or a library");
    // The listener keeps what it started with, and is told so; what is started anew has ours.
    assert!(
        said.contains(&format!("until they are restarted: sshd[{}]", pid_inside(&root, "sshd"))),
        "{said}"
    );
    drop(sshd);
    let sshd = self::sshd(&root);
    assert_eq!(verdicts(&root), OURS);
    root.log_until("refused connect from 127.0.0.3 (127.0.0.3)");
    assert_eq!(mapped_library(sshd.pid()), root.read(&library()));
    assert_ne!(mapped_library(sshd.pid()), root.read(&format!("{DISTRIB}/libwrap.so.0.7.6")));
    assert_eq!(root.must("dpkg --audit; dpkg --verify tcpd-rs libwrap0-rs tcpd libwrap0"), "");
    assert_eq!(rule_files(&root), rules_before);
    drop((inetd, sshd));
}

#[test]
fn an_upgrade_keeps_diversions_settings_and_rules() {
    let Some(root) = Root::open() else { return };
    rules(&root, ALLOW, DENY);
    let rules_before = rule_files(&root);
    root.must(&install(&root, 1));
    let (diversions, originals) = (root.must("dpkg-divert --list"), sums(&root, DISTRIB));
    root.must("echo resolve-timeout 3 >>/etc/tcpd.conf");
    let inetd = inetd(&root);
    for revision in [1, 2, 1] {
        let watch = Watch::over(&root);
        root.must(&install(&root, revision));
        assert_eq!(watch.misses(), 0, "there was a moment without a program or a library");
        assert_eq!(root.must("dpkg-divert --list"), diversions);
        assert_eq!(sums(&root, DISTRIB), originals);
        assert!(root.must("tail -n 1 /etc/tcpd.conf").contains("resolve-timeout 3"));
        assert_eq!(
            root.must("dpkg-query -W -f '${Version}' tcpd-rs"),
            format!("{}-{revision}", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(calls(&root, 79), OURS[0]);
    }
    assert_eq!(rule_files(&root), rules_before);
    drop(inetd);
}

#[test]
fn removed_and_purged_with_the_programs_first_all_is_as_it_was() {
    comes_off(["tcpd-rs", "libwrap0-rs"]);
}

#[test]
fn removed_and_purged_with_the_library_first_all_is_as_it_was() {
    comes_off(["libwrap0-rs", "tcpd-rs"]);
}

/// Each package is removed and then purged, or purged at once, one after the other; and what was there
/// before is there, byte for byte, and works.
fn comes_off(order: [&str; 2]) {
    let Some(root) = Root::open() else { return };
    rules(&root, ALLOW, DENY);
    let before = tree(&root);
    let rules_before = rule_files(&root);
    for purge_at_once in [false, true] {
        root.must(&install(&root, 1));
        // What it makes while it is used.
        root.must("tcpdcompile && test -e /var/lib/tcpd/rules.img");
        root.must("mkdir -p /etc/systemd/system/multi-user.target.wants");
        root.must("ln -s /lib/systemd/system/tcpd-compile.path /etc/systemd/system/multi-user.target.wants/");
        for package in order {
            root.must(&format!("dpkg --{} {package}", if purge_at_once { "purge" } else { "remove" }));
            assert_eq!(rule_files(&root), rules_before);
        }
        if !purge_at_once {
            root.must("test -e /etc/tcpd.conf && test -e /var/lib/tcpd/rules.img");
            root.must(&format!("dpkg --purge {}", order.join(" ")));
        }
        assert_eq!(differences(&before, &tree(&root)), Vec::<String>::new());
        assert_eq!(root.must("dpkg --audit; dpkg --verify; dpkg-divert --list | grep tcpd-rs || :"), "");
        assert!(!root.path("/usr/lib/tcpd-rs").exists());
    }
    assert_eq!(rule_files(&root), rules_before);
    let (inetd, sshd) = (inetd(&root), sshd(&root));
    assert_eq!(verdicts(&root), ORIGINAL);
    drop((inetd, sshd));
}

/// Debian's packages come anew, come later, and go, while ours are there.
#[test]
fn what_becomes_of_debians_packages_does_not_touch_ours() {
    let Some(root) = Root::open() else { return };
    rules(&root, ALLOW, DENY);
    root.must(&install(&root, 1));
    let ours = || sums(&root, &format!("/usr/sbin/tcpd {} /usr/share/man/man3", library()));
    let (mine, originals) = (ours(), sums(&root, DISTRIB));
    let inetd = inetd(&root);

    root.must("cd /var/cache/apt/archives && dpkg -i tcpd_*.deb libwrap0_*.deb");
    assert_eq!((ours(), sums(&root, DISTRIB)), (mine.clone(), originals));
    root.must("cd /var/cache/apt/archives && dpkg -i libwrap0-dev_*.deb");
    assert!(root.path(&format!("{DISTRIB}/hosts_access.3.gz")).exists());
    assert_eq!(ours(), mine);
    root.must("dpkg --purge libwrap0-dev");

    // openbsd-inetd needs a tcpd, and has one.
    root.must("dpkg --purge tcpd");
    assert_eq!(ours(), mine);
    assert_eq!(calls(&root, 79), OURS[0]);
    assert!(!root.path(&format!("{DISTRIB}/tcpd")).exists());
    drop(inetd);
}

#[test]
fn libwrap0_stays_as_long_as_our_library_is_in_its_place() {
    let Some(root) = Root::open() else { return };
    root.must(&install(&root, 1));
    root.must(
        "dpkg --purge openbsd-inetd openssh-server tcpd || dpkg --remove --force-depends openssh-server",
    );
    let said = root.run("dpkg --purge libwrap0");
    assert!(said.status != 0 && said.err.contains("libwrap0-rs depends on libwrap0"), "{said:#?}");
    assert!(root.path("/etc/hosts.allow").exists());
}

/// With no tcpd of Debian's to begin with; and it comes later.
#[test]
fn debians_tcpd_that_comes_later_lands_beside_ours() {
    let Some(root) = Root::open() else { return };
    rules(&root, ALLOW, DENY);
    root.must("dpkg --purge --force-depends tcpd");
    root.must(&install(&root, 1));
    let inetd = inetd(&root);
    assert_eq!(calls(&root, 79), OURS[0]);
    root.must("dpkg -i /var/cache/apt/archives/tcpd_*.deb");
    assert_eq!(calls(&root, 79), OURS[0]);
    // As long as our library is there the original asks it, too.
    root.must("dpkg --purge tcpd-rs libwrap0-rs");
    assert_eq!(calls(&root, 79), ORIGINAL[0]);
    assert_eq!(root.must("dpkg --verify"), "");
    drop(inetd);
}

/// A package that breaks off while it is unpacked, when there was none before: as if nothing had been.
#[test]
fn an_installation_that_breaks_off_leaves_the_originals() {
    let Some(root) = Root::open() else { return };
    rules(&root, ALLOW, DENY);
    install(&root, 1);
    let before = tree(&root);
    for package in PACKAGES {
        // Another package has one of its files.
        let rival = format!("/usr/share/doc/{package}/changelog.gz");
        root.must(&format!(
            "mkdir -p /tmp/r/DEBIAN /tmp/r/usr/share/doc/{package} && echo x >/tmp/r{rival} && \
             printf 'Package: rival\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@example.org>\\nDescription: x\\n' \
             >/tmp/r/DEBIAN/control && dpkg-deb -b /tmp/r /tmp/rival.deb && dpkg -i /tmp/rival.deb"
        ));
        let said = root.run(&format!("dpkg -i /tmp/{package}-1.deb"));
        assert!(said.status != 0 && said.err.contains("trying to overwrite"), "{said:#?}");
        root.must("dpkg --purge rival; rm -r /tmp/r");
        unscathed(&root, &before);

        // The file of the package ends too early.
        root.must(&format!(
            "head -c $(($(stat -c %s /tmp/{package}-1.deb) - 3000)) /tmp/{package}-1.deb >/tmp/short.deb"
        ));
        let said = root.run("dpkg -i /tmp/short.deb");
        assert!(said.status != 0, "{said:#?}");
        unscathed(&root, &before);
    }
}

/// The same within its own script, at each of its steps; then it is done again.
#[test]
fn an_installation_that_fails_before_it_is_unpacked_can_be_repeated() {
    let Some(root) = Root::open() else { return };
    rules(&root, ALLOW, DENY);
    install(&root, 1);
    let before = tree(&root);
    for (package, path) in [
        ("tcpd-rs", "/usr/sbin/tcpd"),
        ("tcpd-rs", "/usr/share/man/man5/hosts.allow.5.gz"),
        ("libwrap0-rs", library().as_str()),
        ("libwrap0-rs", "/usr/share/man/man3/hosts_ctl.3.gz"),
    ] {
        root.write("/usr/local/sbin/dpkg-divert", format!("#!/bin/sh\ncase \"$*\" in *'--add {path}') exit 2 ;; esac\nexec /usr/bin/dpkg-divert \"$@\"\n"));
        root.must("chmod 755 /usr/local/sbin/dpkg-divert");
        let said = root.run(&format!("dpkg -i /tmp/{package}-1.deb"));
        assert!(said.status != 0, "{said:#?}");
        root.must("rm /usr/local/sbin/dpkg-divert");
        unscathed(&root, &before);
    }
    root.must(&install(&root, 1));
    root.must(&format!("dpkg --purge {}", PACKAGES.join(" ")));
    unscathed(&root, &before);
}

#[test]
fn an_upgrade_that_breaks_off_leaves_the_old_version() {
    let Some(root) = Root::open() else { return };
    rules(&root, ALLOW, DENY);
    root.must(&install(&root, 1));
    let before = tree(&root);
    install(&root, 2);
    for package in PACKAGES {
        root.must(&format!(
            "head -c $(($(stat -c %s /tmp/{package}-2.deb) - 3000)) /tmp/{package}-2.deb >/tmp/short.deb"
        ));
        let said = root.run("dpkg -i /tmp/short.deb");
        assert!(said.status != 0, "{said:#?}");
        assert_eq!(differences(&before, &tree(&root)), Vec::<String>::new());
    }
    assert_eq!(root.must("dpkg --audit"), "");
}

/// Another version, to or from which one comes, may have a file for what this one has none for.
#[test]
fn what_another_version_had_diverted_is_given_back() {
    let Some(root) = Root::open() else { return };
    install(&root, 1);
    install(&root, 2);
    let before = tree(&root);
    for then in ["dpkg -i /tmp/tcpd-rs-2.deb", "dpkg --purge tcpd-rs"] {
        root.must("dpkg -i /tmp/tcpd-rs-1.deb");
        root.must(&format!(
            "dpkg-divert --package tcpd-rs --no-rename --divert {DISTRIB}/inetd --add /usr/sbin/inetd && \
             mv /usr/sbin/inetd {DISTRIB}/"
        ));
        root.must(then);
        assert!(root.path("/usr/sbin/inetd").exists(), "{then}");
    }
    unscathed(&root, &before);
}

/// Whoever has put the original aside by hand is told so, before anything is done.
#[test]
fn a_diversion_by_somebody_else_is_respected() {
    let Some(root) = Root::open() else { return };
    root.must("dpkg-divert --local --rename --divert /usr/sbin/try-from.mine --add /usr/sbin/try-from");
    install(&root, 1);
    let before = tree(&root);
    let said = root.run("dpkg -i /tmp/tcpd-rs-1.deb");
    assert!(said.status != 0 && said.err.contains("/usr/sbin/try-from is diverted already, by this machine's administrator, to /usr/sbin/try-from.mine"), "{said:#?}");
    unscathed(&root, &before);
}

/// What was inert comes first, then errors, then warnings; of many, the first.
#[test]
fn what_is_wrong_with_the_rules_is_shown_and_stays() {
    let Some(root) = Root::open() else { return };
    rules(&root, "", "");
    let told = |said: &str| {
        let from = said.find("tcpd-rs: tcpdchk").unwrap_or_else(|| panic!("{said}"));
        said[from..]
            .lines()
            .take_while(|line| line.starts_with("tcpd-rs: ") || line.starts_with(' '))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    root.write("/etc/inetd.conf", "");
    assert_eq!(
        told(&root.must(&install(&root, 1))),
        "tcpd-rs: tcpdchk finds nothing wrong with the rules of this machine\n"
    );

    rules(
        &root,
        "sshd: 192.0.2.1: user nobody\nsshd: 192.0.2.2: group nogroup: user nobody\n",
        "sshd: 10.1\nsshd: ALL: twsit /bin/echo\n",
    );
    let before = rule_files(&root);
    assert_eq!(
        told(&root.must(&install(&root, 1))),
        "tcpd-rs: tcpdchk on the rules of this machine (all of it, with repairs: tcpdchk --format human):\n  \
         Without effect under Debian's tcpd, and in force from now on, see hosts_options(5):\n    \
         /etc/hosts.allow:1:18: advice: \"user\" had no effect under Debian's tcpd and has one now\n    \
         /etc/hosts.allow:2:18: advice: \"group\" had no effect under Debian's tcpd and has one now\n    \
         /etc/hosts.allow:2:33: advice: \"user\" had no effect under Debian's tcpd and has one now\n  \
         Errors:\n    \
         /etc/hosts.deny:2:12: error: bad option name: \"twsit\"\n  \
         Warnings:\n    \
         /etc/hosts.deny:1:7: warning: \"10.1\" matches nobody: it is no whole address, and no network without a dot at its end\n"
    );
    assert_eq!(rule_files(&root), before);

    rules(&root, &"sshd: 192.0.2.1: user nobody\n".repeat(10_000), &"no rule\n".repeat(10_000));
    let before = rule_files(&root);
    let said = told(&root.must(&install(&root, 2)));
    assert_eq!(said.lines().filter(|line| line.trim() == "and 9990 more").count(), 2, "{said}");
    assert!(said.lines().count() < 40, "{said}");
    assert_eq!(rule_files(&root), before);

    // No verdict of tcpdchk's, and none at all, is a reason not to be installed.
    root.write("/etc/tcpd.conf", "nonsense\n");
    root.must(&install(&root, 1));
    root.must("dpkg-query -W -f '${Status}' tcpd-rs | grep 'install ok installed'");
    // Nor is it that there is no place for its notes; and then they are in no other place.
    root.must(&format!("export TMPDIR=/nowhere; {}", install(&root, 1)));
    root.must("for file in all trouble inert errors warnings; do ! test -e /$file; done");
}

/// Everybody may name his process, and names are shown to root: letters of it.
#[test]
fn the_name_of_a_process_reaches_the_terminal_as_letters() {
    let Some(root) = Root::open() else { return };
    let name = "\"$(printf '/tmp/libwrap.so.0\\033c')\"";
    root.must(&format!("cp /bin/sleep {name}"));
    let sleeper = root.start(&format!("{name} 600"));
    let comm = format!("/proc/{}/comm", sleeper.pid());
    assert!(clean::patiently(|| fs::read(&comm).unwrap().starts_with(b"libwrap.so.0\x1b")));
    root.must("rm /tmp/libwrap.so.0*");
    let said = root.must(&install(&root, 1));
    assert!(said.contains(" libwrap.so.0c[") && !said.contains('\x1b'), "{said:?}");
    drop(sleeper);
}

/// dpkg takes our library away before its script brings the original back: sshd starts all the same where it
/// breaks off in between, and the rest can be done later, or undone.
#[test]
fn a_removal_that_breaks_off_leaves_a_library() {
    let Some(root) = Root::open() else { return };
    rules(&root, ALLOW, DENY);
    install(&root, 1);
    let before = tree(&root);
    root.must(&install(&root, 1));
    let script = "/var/lib/dpkg/info/libwrap0-rs.postrm";
    for (goes_on, verdicts) in
        [("dpkg -i /tmp/libwrap0-rs-1.deb", OURS[1]), ("dpkg --remove libwrap0-rs", ORIGINAL[1])]
    {
        root.must(&format!("cp {script} /tmp/postrm; sed -i '2i kill -9 $PPID; exit 1' {script}"));
        let said = root.run("dpkg --remove libwrap0-rs");
        assert!(said.status != 0 && !root.path(&library()).exists(), "{said:#?}");
        root.must(&format!("cp /tmp/postrm {script}"));
        let between = sshd(&root);
        assert_eq!(calls(&root, 2222), ORIGINAL[1]);
        drop(between);
        root.must(goes_on);
        let after = sshd(&root);
        assert_eq!(calls(&root, 2222), verdicts);
        drop(after);
    }
    root.must(&format!("dpkg --purge {}", PACKAGES.join(" ")));
    unscathed(&root, &before);
}

/// `etc/install`, for a machine whose linker knows /usr/local/lib.
#[test]
fn a_plain_installation_comes_first_and_comes_off() {
    let Some(root) = Root::open() else { return };
    rules(&root, ALLOW, DENY);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let ours = fs::read(debs_library(target)).unwrap();
    let before = tree(&root);
    let script = |options: &[&str]| {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/install"));
        command.args(options).env("DESTDIR", root.path("/").to_str().unwrap().trim_end_matches('/'));
        let said = command.env("CARGO_TARGET_DIR", target).env_remove("PREFIX").output().unwrap();
        assert!(said.status.success(), "{said:?}");
    };
    script(&["--built"]);
    root.must("ldconfig");
    assert!(root.must("tcpd --version").contains(env!("CARGO_PKG_VERSION")));
    let sshd = sshd(&root);
    assert!(mapped_library(sshd.pid()) == ours, "sshd has another library");
    assert_eq!(calls(&root, 2222), OURS[1]);
    drop(sshd);
    script(&["--uninstall"]);
    root.must("ldconfig");
    assert_eq!(differences(&before, &tree(&root)), Vec::<String>::new());
}

/// The library as it was built for the packages.
fn debs_library(target: &Path) -> PathBuf {
    debs();
    target.join("libwrap/libwrap.so.0.7.6")
}

#[test]
fn lintian_finds_no_error() {
    if !clean::is_wanted() {
        return;
    }
    clean::need("/usr/bin/lintian", "lintian");
    let said = Command::new("lintian").arg("--allow-root").args(&debs()[0]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(!said.lines().any(|line| line.starts_with("E: ")), "{said}");
    assert_eq!(said, "", "warnings are looked at one by one: etc/debian/*.lintian-overrides");
}

#[test]
fn the_same_sources_make_the_same_packages() {
    if !clean::is_wanted() {
        return;
    }
    let again = build(1, "again");
    for (one, other) in debs()[0].iter().zip(&again) {
        assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{} differs", one.display());
    }
}

const PACKAGES: [&str; 2] = ["tcpd-rs", "libwrap0-rs"];

/// What clients from .2, .5 and .3 receive of inetd (through tcpd) and of sshd (with the library).
const ORIGINAL: [&str; 2] = ["served - served", "SSH - SSH"];
const OURS: [&str; 2] = ["served - -", "SSH - -"];

fn verdicts(root: &Root) -> Vec<String> {
    let ports = [79, 2222].into_iter().filter(|port| *port == 79 || listens(*port));
    let all: Vec<String> = ports.map(|port| calls(root, port)).collect();
    if all.len() == 1 { vec![all[0].clone(), all[0].replace("served", "SSH")] } else { all }
}

fn listens(port: u16) -> bool {
    fs::read_to_string("/proc/thread-self/net/tcp")
        .unwrap()
        .contains(&format!(":{port:04X} 00000000:0000 0A"))
}

fn calls(root: &Root, port: u16) -> String {
    let word = |from: &&str| match root.call(from, port) {
        answer if answer.starts_with("SSH-2.0") => "SSH".to_owned(),
        answer if answer.is_empty() => "-".to_owned(),
        answer => answer.trim().to_owned(),
    };
    ["127.0.0.2", "127.0.0.5", "127.0.0.3"].iter().map(word).collect::<Vec<_>>().join(" ")
}

fn rules(root: &Root, allow: &str, deny: &str) {
    root.write("/etc/hosts.allow", allow);
    root.write("/etc/hosts.deny", deny);
    root.must("chmod 640 /etc/hosts.deny; touch -d 2020-02-02 /etc/hosts.allow /etc/hosts.deny");
}

/// All that can be seen of the rule files.
fn rule_files(root: &Root) -> String {
    root.must("cd /etc && stat -c '%n %i %a %u %g %s %y' hosts.allow hosts.deny && sha256sum hosts.allow hosts.deny")
}

fn inetd(root: &Root) -> Running {
    root.write("/etc/inetd.conf", "finger stream tcp nowait root /usr/sbin/tcpd /bin/echo served\n");
    let running = root.start("/usr/sbin/inetd -i /etc/inetd.conf");
    root.wait_for_port(79);
    running
}

fn sshd(root: &Root) -> Running {
    root.must("mkdir -p /run/sshd");
    let running = root.start("/usr/sbin/sshd -D -p 2222 -o ListenAddress=127.0.0.1");
    root.wait_for_port(2222);
    running
}

/// The number of a process as the root knows it.
fn pid_inside(root: &Root, name: &str) -> String {
    root.must(&format!("grep -lx {name} /proc/[0-9]*/comm | head -n 1 | cut -d / -f 3")).trim().to_owned()
}

/// The libwrap that a process has mapped, as a whole file.
fn mapped_library(pid: u32) -> Vec<u8> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let line = maps.lines().find(|line| line.contains("/libwrap.so.0")).unwrap_or_else(|| panic!("{maps}"));
    let range = line.split_whitespace().next().unwrap();
    fs::read(format!("/proc/{pid}/map_files/{range}")).unwrap()
}

fn library() -> String {
    let said = Command::new("dpkg-deb").arg("-c").arg(&debs()[0][1]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let path = said
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .find(|path| path.ends_with("/libwrap.so.0.7.6"));
    path.expect("the library").trim_start_matches('.').to_owned()
}

fn sums(root: &Root, inside: &str) -> String {
    root.must(&format!("find {inside} -type f -exec sha256sum {{}} + | sort; find {inside} -type l | sort"))
}

/// Nothing is other than before, nothing is diverted, and dpkg has nothing to say.
#[track_caller]
fn unscathed(root: &Root, before: &BTreeMap<PathBuf, String>) {
    assert_eq!(differences(before, &tree(root)), Vec::<String>::new());
    assert_eq!(root.must("dpkg --audit; dpkg --verify; dpkg-divert --list | grep tcpd-rs || :"), "");
}

/// Puts both packages of a revision into the root; the command that installs them.
fn install(root: &Root, revision: usize) -> String {
    for (package, deb) in PACKAGES.iter().zip(&debs()[revision - 1]) {
        root.copy_in(deb, &format!("/tmp/{package}-{revision}.deb"));
    }
    format!("dpkg -i /tmp/tcpd-rs-{revision}.deb /tmp/libwrap0-rs-{revision}.deb")
}

/// Two revisions of both packages, built once.
fn debs() -> &'static [[PathBuf; 2]; 2] {
    static BUILT: OnceLock<[[PathBuf; 2]; 2]> = OnceLock::new();
    BUILT.get_or_init(|| [1, 2].map(|revision| build(revision, "debs")))
}

fn build(revision: usize, name: &str) -> [PathBuf; 2] {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let to = temporary.join(name);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/build-deb");
    let mut command = Command::new(script);
    command
        .arg(&to)
        .env("REVISION", revision.to_string())
        .env("CARGO_TARGET_DIR", temporary.parent().unwrap());
    let said = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "etc/build-deb: {out}{err}");
    let debs: Vec<PathBuf> = out.lines().map(PathBuf::from).collect();
    debs.try_into().unwrap_or_else(|debs| panic!("two packages: {debs:?}"))
}

/// Is there always a program and a library, while something is done?
struct Watch {
    stop: std::sync::Arc<(AtomicBool, AtomicUsize)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn over(root: &Root) -> Watch {
        let paths = [root.path("/usr/sbin/tcpd"), root.path(&library())];
        let stop = std::sync::Arc::new((AtomicBool::new(false), AtomicUsize::new(0)));
        let shared = stop.clone();
        let thread = std::thread::spawn(move || {
            while !shared.0.load(Ordering::Relaxed) {
                let missing = paths.iter().filter(|path| fs::metadata(path).is_err()).count();
                shared.1.fetch_add(missing, Ordering::Relaxed);
            }
        });
        Watch { stop, thread: Some(thread) }
    }

    fn misses(mut self) -> usize {
        self.stop.0.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.stop.1.load(Ordering::Relaxed)
    }
}

/// Every file of the root with all that can be said of it, but for the books that dpkg, apt and logs keep.
fn tree(root: &Root) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    walk(&root.path("/"), Path::new("/"), &mut found);
    found
}

const BOOKS: [&str; 8] = ["/dev", "/proc", "/run", "/sys", "/tmp", "/var/cache", "/var/lib/dpkg", "/var/log"];

fn walk(directory: &Path, inside: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let (path, name) = (entry.path(), inside.join(entry.file_name()));
        if BOOKS.iter().any(|book| name == Path::new(book)) {
            continue;
        }
        let meta = fs::symlink_metadata(&path).unwrap();
        let mut about = format!("{:o} {} {}", meta.mode(), meta.uid(), meta.gid());
        if meta.is_symlink() {
            about += &format!(" -> {}", fs::read_link(&path).unwrap().display());
        } else if meta.is_file() {
            let hash = xxhash_rust::xxh3::xxh3_128(&fs::read(&path).unwrap());
            // The cache of the dynamic linker is written anew, and has to say the same.
            let time = if name == Path::new("/etc/ld.so.cache") { 0 } else { meta.mtime() };
            about += &format!(" {hash:032x} {time}");
        }
        if meta.is_dir() {
            walk(&path, &name, found);
        }
        found.insert(name, about);
    }
}

fn differences(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differing = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
    differing
        .map(|path| format!("{}: {:?} is now {:?}", path.display(), before.get(path), after.get(path)))
        .collect()
}
