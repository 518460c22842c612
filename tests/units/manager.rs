//! A systemd of one's own: process 1 of a pid namespace, in the lab of one test.
//!
//! It has the lab's `/etc`, `/run`, network and programs, a control group of its own, and only such units
//! as the test puts into `/etc/systemd/system`, beside a journal and the targets that every unit wants.
//! What else it could write to is private. It ends with the lab.
//!
//! Assumes version 2 of control groups somewhere on the machine, with or without controllers: limits of
//! memory and tasks are not tried here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::files;
use crate::lab::launch::run;
use crate::lab::{self, Lab, Running, SCRATCH, place};

/// Units of the system that are wanted, whatever runs.
const BORROWED: [&str; 9] = [
    "sysinit.target",
    "basic.target",
    "sockets.target",
    "paths.target",
    "multi-user.target",
    "shutdown.target",
    "systemd-journald.service",
    "systemd-journald.socket",
    "systemd-journald-dev-log.socket",
];
const SYSTEM: &str = "/usr/lib/systemd";

pub struct Manager {
    process: u32,
    _running: Running,
    // Dropped last: nobody may be left in it.
    _group: Group,
}

impl Manager {
    /// The lab, and a systemd in it.
    pub fn open() -> Option<(Lab, Manager)> {
        files::all();
        let lab = Lab::open()?;
        let manager = Manager::start(&lab);
        Some((lab, manager))
    }

    /// Starts systemd, with the units of `etc/systemd` in their place.
    fn start(lab: &Lab) -> Manager {
        lab::need("/usr/lib/systemd/systemd", "systemd");
        for path in ["/etc/systemd/system", "/var/log", "/var/tmp"] {
            place::tmpfs(path, "mode=0755");
        }
        place::overlay("/var/lib");
        // The journal takes the place of the lab's own log.
        fs::remove_file("/dev/log").unwrap();
        lab::write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        lab::write(
            "/etc/systemd/journald.conf",
            "[Journal]\nStorage=volatile\nRateLimitBurst=0\nReadKMsg=no\nAudit=\n",
        );
        for name in BORROWED {
            let text = fs::read_to_string(format!("{SYSTEM}/system/{name}")).unwrap();
            lab::write(&format!("{SCRATCH}/units/{name}"), text);
        }
        lab::write(
            &format!("{SCRATCH}/units/lab.target"),
            "[Unit]\nRequires=systemd-journald-dev-log.socket systemd-journald.socket\n",
        );
        for name in files::units() {
            lab::write(&format!("/etc/systemd/system/{name}"), files::unit(name));
        }

        let group = Group::new();
        // Of the kernel's settings those of the network are the lab's own; all others are the machine's,
        // and systemd would raise some.
        let script = format!(
            "mount -t proc proc /proc && mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
             for settings in /proc/sys/*; do
                 [ $settings = /proc/sys/net ] ||
                 {{ mount --bind $settings $settings && mount -o remount,ro,bind $settings; }} || exit 1
             done
             exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=lab \
                 SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/system:{SCRATCH}/units \
                 {SYSTEM}/systemd --system --unit=lab.target --show-status=no"
        );
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.0.display());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &enter, "sh", "unshare", "--mount", "--pid", "--ipc", "--cgroup", "--fork"]);
        command.args(["--kill-child", "/bin/sh", "-c", &script]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let running = Running::start(&mut command);
        let mut process = 0;
        let is_there = lab::patiently(|| {
            process = lab.processes("systemd").first().copied().unwrap_or(0);
            process > 0 && Path::new("/run/systemd/private").exists()
        });
        assert!(is_there, "no systemd");
        let manager = Manager { process, _running: running, _group: group };
        let is_up = lab::patiently(|| manager.try_systemctl("is-active lab.target").0);
        assert!(is_up, "{:?}", manager.try_systemctl("--no-pager --all list-units"));
        manager
    }

    /// Runs systemctl(1): whether it was content, and what it said.
    pub fn try_systemctl(&self, words: &str) -> (bool, String) {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.process.to_string(), "-m", "-p", "-C", "systemctl"]).args(words.split(' '));
        let (status, out, err) = run(command.env("SYSTEMD_COLORS", "0"));
        (status == 0, out + &err)
    }

    pub fn systemctl(&self, words: &str) -> String {
        let (well, said) = self.try_systemctl(words);
        assert!(well, "systemctl {words}: {said}");
        said
    }

    /// Puts a drop-in before a unit, as `systemctl edit` does.
    pub fn edit(&self, unit: &str, text: &str) {
        lab::write(&format!("/etc/systemd/system/{unit}.d/override.conf"), text);
        self.systemctl("daemon-reload");
    }

    /// A property of a unit.
    pub fn show(&self, unit: &str, property: &str) -> String {
        self.systemctl(&format!("show --value -p {property} {unit}")).trim_end().to_owned()
    }

    /// The lines of the journal that have this name in front, oldest first: level and message.
    pub fn journal(&self, name: &str) -> Vec<(u8, String)> {
        let mut command = Command::new("journalctl");
        command.args(["--quiet", "--no-pager", "-o", "json", "-t", name]);
        let (_, out, _) = run(&mut command);
        let line = |line: &str| {
            let entry: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            (text("PRIORITY").parse().unwrap(), text("MESSAGE"))
        };
        out.lines().map(line).collect()
    }

    /// Waits until a line of the journal holds these words.
    pub fn expect_journal(&self, name: &str, level: u8, words: &str) {
        let found = lab::patiently(|| {
            self.journal(name).iter().any(|(of, message)| *of == level && message.contains(words))
        });
        assert!(found, "{name}, {level}, {words}: {:#?}", self.everything());
    }

    /// The journal, for whoever looks for what went wrong.
    pub fn everything(&self) -> Vec<String> {
        let (_, out, _) = run(Command::new("journalctl").args(["--quiet", "--no-pager", "-n", "60"]));
        out.lines().map(str::to_owned).collect()
    }
}

/// A control group for it. The kernel wants it to be empty, and those below it gone, before it goes.
struct Group(PathBuf);

impl Group {
    fn new() -> Group {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let of_version_2 = |line: &&str| line.split(' ').nth(2) == Some("cgroup2");
        let line = mounts.lines().find(of_version_2).expect("control groups of version 2");
        let place = line.split(' ').nth(1).unwrap();
        let thread = nix::unistd::gettid();
        let path = Path::new(place).join(format!("tcpd-units-{}-{thread}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Group(path)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        fn remove(path: &Path) {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    remove(&entry.path());
                }
            }
            let _ = fs::remove_dir(path);
        }
        let _ = lab::patiently(|| {
            remove(&self.0);
            !self.0.exists()
        });
    }
}
