//! Tables of any size, the same in every run, a caller who is in none of them, and the machine.
#![forbid(unsafe_code)]
#![allow(dead_code)]

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use wrap::compile::{self, Observer};
use wrap::facts::{DaemonName, Endpoint, Request, Transport};
use wrap::lookup::Live;
use wrap::sys::process;
use wrap::tables::image::{Image, RuleTable};
use wrap::verdict::{Access, Decision, Tables, decide};

/// The service that the rules of a bench are about.
pub const SERVICE: &str = "in.greetd";
/// The caller: an address of this machine, so that a real connection can come from it.
pub const CALLER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
/// Another one, for whom some tables have a rule.
pub const UNWELCOME: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Different addresses in no order at all, as a ban tool collects them; none in 127.0.0.0/8.
pub fn addresses() -> impl Iterator<Item = Ipv4Addr> {
    // Multiplied by an odd number, 32 bits meet every value once.
    let all = (1_u32..).map(|n| Ipv4Addr::from(n.wrapping_mul(2_654_435_761)));
    all.filter(|address| !matches!(address.octets()[0], 0 | 127 | 224..))
}

/// A rule for each of so many addresses.
pub fn lines(count: usize) -> String {
    let mut text = String::new();
    for address in addresses().take(count) {
        writeln!(text, "ALL: {address}").unwrap();
    }
    text
}

/// So many addresses as a pattern file.
pub fn words(count: usize) -> String {
    let mut text = String::new();
    for address in addresses().take(count) {
        writeln!(text, "{address}").unwrap();
    }
    text
}

/// Ten rules for hosts.allow, ten for hosts.deny, as they stand on machines that have been kept for
/// some years; all are read, and none is about `SERVICE` and `CALLER`.
pub const TWENTY: [&str; 2] = [
    "# Who may come in.\n\
     sshd: 10.0.0.0/255.0.0.0 192.168.1. 172.16.0.0/255.255.0.0\n\
     in.telnetd: 10.1.2.3, 10.1.2.4, 10.1.2.5\n\
     in.ftpd: 192.168.1.0/255.255.255.0 EXCEPT 192.168.1.77\n\
     # The name service of the remote procedure calls goes by its own number.\n\
     rpcbind: 10.0.0. 10.0.1.\n\
     in.tftpd: 10.9.0.0/255.255.0.0\n\
     nrpe: 10.0.0.5 10.0.0.6 10.0.0.7\n\
     vsftpd, proftpd: 172.16. 172.17. : severity local2.info\n\
     smtp: 203.0.113.0/255.255.255.0\n\
     ALL: 198.51.100.7\n\
     ALL: 10.20.30.0/255.255.255.0, [2001:db8:20::]/48\n",
    "# Who may not.\n\
     in.rexecd: ALL\n\
     in.rlogind: ALL\n\
     in.rshd: ALL EXCEPT 10.0.0.\n\
     in.tftpd: ALL: severity auth.notice\n\
     sshd: 192.0.2.0/255.255.255.0\n\
     \n\
     ALL: 192.0.2.66\n\
     ALL: 192.0.2.77, 192.0.2.78\n\
     # Somebody who does not tire.\n\
     ALL: 198.51.100.128/255.255.255.128\n\
     ALL: [2001:db8:bad::]/48\n\
     ALL EXCEPT sshd: 203.0.113.9\n",
];

/// The bytes of an image of two tables that nobody is changing.
pub fn compile(tables: [&Path; 2]) -> Vec<u8> {
    let mut image = Vec::new();
    let made = compile::write(tables, Duration::ZERO, &mut image, &mut Silent).expect("tables");
    assert!(made.is_some(), "nobody changes the tables");
    image
}

/// Puts an image where it is to be, with rights that it is trusted with.
pub fn put(path: &Path, image: &[u8]) {
    fs::write(path, image).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

struct Silent;

impl Observer for Silent {
    fn progress(&mut self, _: &Path, _: u64) {}

    fn remark(&mut self, text: String) {
        panic!("{text}");
    }
}

const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

/// Rule files of their own, gone with the value. Their names are relative and of one length: what is
/// counted must not depend on where these sources are built.
pub struct Scene {
    directory: PathBuf,
}

impl Scene {
    /// Two tables with these texts.
    pub fn new(name: &str, [allow, deny]: [&str; 2]) -> Scene {
        std::env::set_current_dir(SCRATCH).unwrap();
        let directory = PathBuf::from(format!("{name}-{:07}", std::process::id()));
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&directory).unwrap();
        let scene = Scene { directory };
        scene.write("hosts.allow", allow);
        scene.write("hosts.deny", deny);
        scene
    }

    /// `ALL: addr`, so many times, in hosts.deny.
    pub fn of_lines(count: usize) -> Scene {
        Scene::new(&format!("lines-{count}"), ["", &lines(count)])
    }

    /// One rule in hosts.deny, about a pattern file.
    pub fn of_words(count: usize) -> Scene {
        let scene = Scene::new(&format!("words-{count}"), ["", ""]);
        scene.write("list", &words(count));
        let list = Path::new(SCRATCH).join(scene.path("list"));
        scene.write("hosts.deny", &format!("ALL: {}\n", list.display()));
        scene
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).unwrap();
    }

    pub fn tables(&self) -> [PathBuf; 2] {
        ["hosts.allow", "hosts.deny"].map(|file| self.path(file))
    }

    /// The bytes of a compiled image.
    pub fn compile(&self) -> Vec<u8> {
        compile(self.tables().each_ref().map(PathBuf::as_path))
    }

    /// The same scene with an image, which is used from now on.
    pub fn compiled(self) -> Scene {
        let image = self.compile();
        put(&self.path("image"), &image);
        self
    }

    /// What the tables say about `CALLER`, read from the files anew, by an image if there is one.
    pub fn decide(&self) -> Decision {
        let [allow, deny] = self.tables();
        let image = Image::open(&self.path("image"), (&allow, &deny), process::caller).ok();
        self.decide_by(image.as_ref(), &allow, &deny)
    }

    fn decide_by(&self, image: Option<&Image>, allow: &Path, deny: &Path) -> Decision {
        let live = Live::new((None, None), false, Duration::ZERO).by_image(image);
        let ends = (Endpoint::of_ip(CALLER.into(), 50000), Endpoint::of_ip(CALLER.into(), 7979));
        let daemon = DaemonName::stated(SERVICE.as_bytes());
        let request = Request::new(daemon, 1, Transport::Stream, ends, &live);
        let (mut allow, mut deny) = (RuleTable::new(allow, image), RuleTable::new(deny, image));
        decide(&mut Tables::new(&mut allow, &mut deny, false), &request)
    }

    /// Makes sure that what is measured is what was meant: no rule matches, none is in doubt, and an
    /// image that is there is used.
    pub fn check(&self) {
        let [allow, deny] = self.tables();
        let image = Image::open(&self.path("image"), (&allow, &deny), process::caller);
        assert_eq!(image.is_ok(), self.path("image").exists(), "{:?}", image.err());
        let decision = self.decide();
        assert_eq!((decision.access, decision.remarks.len()), (Access::Permit, 0), "{decision:?}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// What the figures depend on: processors, their number, whether they are real, kernel, C library.
pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpu.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(": ")?.1)
    };
    let is_virtual = field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let library = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let library = library.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
    let count = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "machine: {count} x {}{}{}, Linux {}, {}",
        field("model name").unwrap_or(std::env::consts::ARCH),
        if is_virtual { ", virtual" } else { "" },
        cpuid_us().map_or(String::new(), |us| format!(", {us:.2} us for one CPUID")),
        kernel.trim(),
        library.unwrap_or_default()
    )
}

/// A hypervisor may trap this instruction, and the start of every program with the GNU C library
/// executes some seventy of them.
#[cfg(target_arch = "x86_64")]
fn cpuid_us() -> Option<f64> {
    let some = || {
        let start = Instant::now();
        for _ in 0..10 {
            std::hint::black_box(std::arch::x86_64::__cpuid(0));
        }
        start.elapsed().as_secs_f64() * 1e6 / 10.0
    };
    // The shortest: whoever else is running makes it longer.
    (0..50).map(|_| some()).min_by(f64::total_cmp)
}

#[cfg(not(target_arch = "x86_64"))]
fn cpuid_us() -> Option<f64> {
    None
}
