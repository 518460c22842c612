//! Does the compiled image serve a machine: at its usual place, behind inetd, for services that are not
//! root's; and whose image is believed?

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::{Command, Stdio};

use crate::lab::launch::{connect_from, inetd, read_to_the_end, run};
use crate::lab::{self, Lab, Line, Running, SCRATCH, Visit};

const NOBODY: u32 = 65534;
const COMPILER: &str = "/usr/sbin/tcpdcompile";
const DIRECTORY: &str = "/var/lib/tcpd";
const IMAGE: &str = "/var/lib/tcpd/rules.img";

/// A lab with a compiler and a `/var/lib` of its own.
fn open() -> Option<Lab> {
    let compiler = std::fs::read(env!("CARGO_BIN_EXE_tcpdcompile")).unwrap();
    let lab = Lab::open()?;
    lab::install(COMPILER, &compiler, 0o755);
    lab::place::tmpfs("/var/lib", "mode=0755");
    Some(lab)
}

/// What tcpdcompile says when it is called without any argument, as an administrator calls it.
fn compile() -> String {
    let (status, out, err) = run(&mut Command::new(COMPILER));
    assert_eq!(status, 0, "{out}{err}");
    out
}

fn is_used() -> bool {
    run(Command::new(COMPILER).arg("--status")).0 == 0
}

fn messages(log: &[Line]) -> Vec<(u32, &str)> {
    let of_probe = log.iter().filter(|line| line.tag == "in.tw-probe");
    of_probe.map(|line| (line.priority, line.message.as_str())).collect()
}

fn visit(from: &str, to: &str) -> String {
    let mut client = connect_from(from.parse().unwrap(), to.parse().unwrap()).unwrap();
    client.write_all(b"ping\n").unwrap();
    String::from_utf8_lossy(&read_to_the_end(client)).into_owned()
}

/// A hundred thousand addresses, of which 127.0.0.3 is the last but one.
fn ban_list() -> String {
    let lines = (0..100_000_u32).map(|n| format!("ALL: {}\n", std::net::Ipv4Addr::from(0x0a00_0000 + n)));
    lines.chain(["ALL: 127.0.0.3\n".to_owned(), "ALL: 192.0.2.1\n".to_owned()]).collect()
}

#[test]
fn a_large_table_behind_inetd() {
    let Some(lab) = open() else { return };
    lab.rules("", &ban_list());
    let _inetd = inetd(&lab, "finger stream tcp nowait nobody /usr/sbin/tcpd in.tw-probe\n");
    let refused = [(28, "refused connect from 127.0.0.3 (127.0.0.3)")];
    let served = [(30, "connect from 127.0.0.2 (127.0.0.2)")];
    let round = || {
        assert_eq!(visit("127.0.0.2", "127.0.0.1:79"), "HELLO FROM DAEMON\n");
        assert_eq!(messages(&lab.log_until("connect from")), served);
        assert_eq!(visit("127.0.0.3", "127.0.0.1:79"), "");
        assert_eq!(messages(&lab.log_until("refused")), refused);
    };
    round();
    let said = compile();
    assert!(
        said.starts_with(&format!("{IMAGE}: 2 files, 100002 entries, 0 read for every client, ")),
        "{said}"
    );
    assert!(said.ends_with(", for everybody\n") && is_used(), "{said}");
    round();
    // Changed, and in force: no reload, no word about the image.
    lab.rules("ALL: 127.0.0.3\n", &ban_list());
    assert_eq!(visit("127.0.0.3", "127.0.0.1:79"), "HELLO FROM DAEMON\n");
    assert_eq!(messages(&lab.log_until("connect from")), [(30, "connect from 127.0.0.3 (127.0.0.3)")]);
}

/// How many bytes of a file a visitor's tcpd reads, by strace(1).
fn read_of(file: &str) -> (u64, u64) {
    lab::need("/usr/bin/strace", "strace");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = connect_from("127.0.0.2".parse().unwrap(), listener.local_addr().unwrap()).unwrap();
    let (served, _) = listener.accept().unwrap();
    let (copy, trace) = (served.try_clone().unwrap(), format!("{SCRATCH}/trace"));
    let mut command = Command::new("/usr/bin/strace");
    command.args([
        "-y",
        "-e",
        "trace=read,pread64,mmap",
        "-o",
        &trace,
        "/usr/sbin/tcpd",
        "/usr/sbin/in.tw-probe",
    ]);
    let mut running = Running::start(
        command
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(served)))
            .stdout(Stdio::from(std::os::fd::OwnedFd::from(copy)))
            .stderr(Stdio::null()),
    );
    // It holds copies of the connection.
    drop(command);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    running.wait();
    assert_eq!(String::from_utf8_lossy(&read_to_the_end(client)), "HELLO FROM DAEMON\n");
    let trace = std::fs::read_to_string(trace).unwrap();
    let named = format!("<{file}>");
    let lines = trace.lines().filter(|line| line.contains(&named));
    lines.fold((0, 0), |(bytes, calls), line| {
        assert!(!line.starts_with("mmap"), "a mapped file that shrinks kills: {line}");
        let count = line.rsplit("= ").next().and_then(|count| count.parse::<u64>().ok());
        (bytes + count.unwrap_or_else(|| panic!("{line}")), calls + 1)
    })
}

#[test]
fn little_of_a_large_table_is_read() {
    let Some(lab) = open() else { return };
    lab.rules("in.x: 127.0.0.9\n", &ban_list());
    let size = std::fs::metadata("/etc/hosts.deny").unwrap().len();
    let (bytes, calls) = read_of("/etc/hosts.deny");
    assert!(bytes == size && calls > 10, "by the text: {bytes} of {size} in {calls} calls");
    assert_eq!(read_of(IMAGE), (0, 0));
    compile();
    assert_eq!(read_of("/etc/hosts.deny"), (0, 0), "no line of it concerns this client");
    let (bytes, calls) = read_of(IMAGE);
    assert!(bytes <= 16 * 4096 && calls <= 16, "{bytes} bytes of the image in {calls} calls");
    // One that is looked at for every client, and one that is found: a page of each.
    lab.rules("ALL: 127.0.0.2\n", &format!("in.x: ALL\n{}", ban_list()));
    compile();
    let (bytes, _) = read_of("/etc/hosts.allow");
    assert!(bytes > 0 && bytes < 1 << 16, "{bytes}");
}

#[test]
fn an_image_of_somebody_else_is_not_believed() {
    let Some(lab) = open() else { return };
    lab.rules("", "ALL: 127.0.0.2\n");
    compile();
    let warning = |why: &str| format!("warning: {IMAGE}: {why}: the rules are read from their text");
    let strange = warning("it belongs neither to root nor to the caller");
    let refused = "refused connect from 127.0.0.2 (127.0.0.2)";
    for path in [IMAGE, DIRECTORY] {
        chown(path, Some(NOBODY), None).unwrap();
        let outcome = Visit::of(&lab).run();
        assert!(!outcome.served() && !is_used());
        assert_eq!(outcome.messages(), [strange.as_str(), refused], "{path}");
        assert_eq!(outcome.log.iter().map(|line| line.priority).collect::<Vec<_>>(), [27, 28]);
        chown(path, Some(0), None).unwrap();
        assert!(is_used());
    }
    // One's own is believed, too.
    chown(IMAGE, Some(NOBODY), None).unwrap();
    std::fs::set_permissions(IMAGE, PermissionsExt::from_mode(0o600)).unwrap();
    let outcome = Visit::of(&lab).running_as(NOBODY, NOBODY).run();
    assert_eq!(outcome.messages(), [refused]);
}

/// Services that are not root's use root's image, as far as they may read it.
#[test]
fn who_may_not_read_the_image_reads_the_text_in_silence() {
    let Some(lab) = open() else { return };
    lab.rules("", "ALL: /etc/hosts.evil 127.0.0.2\n");
    lab::write("/etc/hosts.evil", "10.9.8.7\n");
    lab::set_mode("/etc/hosts.evil", 0o600);
    assert!(compile().ends_with(", for its owner alone\n"));
    let meta = std::fs::metadata(IMAGE).unwrap();
    assert_eq!((meta.uid(), meta.permissions().mode() & 0o7777), (0, 0o600));
    let by_root = Visit::of(&lab).run();
    assert_eq!(by_root.messages(), ["refused connect from 127.0.0.2 (127.0.0.2)"]);
    let by_nobody = Visit::of(&lab).running_as(NOBODY, NOBODY).run();
    let messages = by_nobody.messages();
    assert!(!by_nobody.served() && messages.iter().all(|text| !text.contains(IMAGE)), "{messages:?}");
    assert!(messages[0].contains("open /etc/hosts.evil: Permission denied"), "{messages:?}");
}

/// The units of etc/ name a compiler that works with no more rights than they leave it: no capability but
/// one, no network, and nothing to write but one directory.
#[test]
fn the_compiler_needs_few_rights() {
    let Some(lab) = open() else { return };
    lab.rules("", "ALL: /etc/hosts.evil\n");
    lab::write("/etc/hosts.evil", "127.0.0.2\n");
    lab::set_mode("/etc/hosts.evil", 0o600);
    chown("/etc/hosts.evil", Some(NOBODY), None).unwrap();
    std::fs::create_dir(DIRECTORY).unwrap();
    let script = format!(
        "mount -t tmpfs -o mode=0755 t {DIRECTORY} && mount -o remount,ro,bind /etc && \
         exec setpriv --bounding-set=-all,+dac_read_search --inh-caps=-all --no-new-privs {} --quiet",
        COMPILER
    );
    let unit = include_str!("../../etc/systemd/tcpd-compile.service");
    assert!(unit.contains("\nExecStart=/usr/sbin/tcpdcompile --quiet\n"));
    assert!(unit.contains("\nCapabilityBoundingSet=CAP_DAC_READ_SEARCH\n"));
    let (status, out, err) = run(Command::new("/bin/sh").args(["-c", &script]));
    assert_eq!((status, out.as_str(), err.as_str()), (0, "", ""));
    assert!(is_used());
    assert!(!Visit::of(&lab).run().served());
}
