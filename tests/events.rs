//! What channels with fields are told: `tests/events/*`, an event each as JSON and as a datagram for the
//! journal, and a whole session with a running tcpd. `UPDATE_GOLDEN=1` rewrites the files.
#![forbid(unsafe_code)]

#[path = "common/golden.rs"]
mod golden;
#[path = "common/running.rs"]
mod running;

use proptest::prelude::*;
use running::{Listening, PATIENCE, Scratch, TCPD, connect_from, log_of, rules, run};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use wrap::error::Place;
use wrap::event::{Connection, Event, Kind, NameStatus, Notes, Peer, Verdict, Why, journal, json as printer};
use wrap::facts::Transport;

// --------------------------------------------------------------------------------------- the two printers

fn place(file: &str, line: u32) -> Place {
    Place { file: Arc::from(Path::new(file)), line, spot: None }
}

fn peer(address: &str, port: u16) -> Peer {
    Peer { address: Some(address.as_bytes().to_vec()), port: Some(port) }
}

fn connection() -> Connection {
    let (client, server) = (peer("192.0.2.7", 50123), peer("198.51.100.1", 21));
    Connection { client, server, transport: Transport::Stream }
}

fn verdict(kind: Kind) -> Verdict {
    Verdict {
        kind,
        notes: Notes {
            why: Why::Rule,
            rule: Some(place("/etc/hosts.deny", 3)),
            ip_options: Vec::new(),
            by_image: false,
        },
        connection: connection(),
        name: None,
        name_status: NameStatus::NotAsked,
        user: None,
        lookups: Duration::ZERO,
        command: None,
    }
}

/// 2026-11-21 09:27:14.123 UTC.
fn moment() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_253_234_123)
}

fn event<'e>(kind: Kind, message: &'e str, level: u8) -> Event<'e> {
    Event {
        time: moment(),
        kind,
        message: message.as_bytes(),
        facility: 3,
        level,
        daemon: b"in.ftpd",
        tag: b"in.ftpd",
        pid: 2211,
        rule: None,
        connection: None,
        verdict: None,
    }
}

fn about<'e>(verdict: &'e Verdict, message: &'e str, level: u8) -> Event<'e> {
    let (connection, verdict) = (Some(&verdict.connection), Some(verdict));
    Event { connection, verdict, ..event(verdict.map_or(Kind::Info, |v| v.kind), message, level) }
}

fn check(name: &str, event: &Event<'_>) {
    for (kind, ours) in [("json", printer::print(event)), ("journal", journal::print(event))] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/events/{name}.{kind}"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &ours).expect("the file");
        }
        let expected = fs::read(&path).unwrap_or_default();
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(shown(&ours), shown(&expected), "{name}.{kind}");
        assert_eq!(ours, expected, "{name}.{kind}");
    }
}

#[test]
fn verdicts() {
    let mut served = verdict(Kind::Served);
    served.notes = Notes { rule: Some(place("/etc/hosts.allow", 12)), by_image: true, ..served.notes };
    served.name = Some(b"host.example.com".to_vec());
    served.name_status = NameStatus::Known;
    served.user = Some(b"joe".to_vec());
    served.lookups = Duration::from_micros(41_700);
    check("served", &about(&served, "connect from joe@host.example.com (192.0.2.7)", 6));

    check("refused", &about(&verdict(Kind::Refused), "refused connect from 192.0.2.7 (192.0.2.7)", 4));

    let mut routed = verdict(Kind::Refused);
    routed.connection.client = peer("fe80::1%eth0", 50123);
    routed.notes = Notes {
        why: Why::SourceRoute,
        rule: None,
        ip_options: vec![0x83, 7, 4, 127, 0, 0, 1],
        by_image: false,
    };
    let line = "refused connect from fe80::1%eth0 with IP source routing options";
    check("source-route", &about(&routed, line, 4));

    let twisted = verdict(Kind::Twisted).to(b"/bin/echo No, 192.0.2.7");
    let line = "twist 192.0.2.7 to /bin/echo No, 192.0.2.7";
    // `severity auth.notice` in the rule.
    check("twisted", &Event { facility: 4, level: 5, ..about(&twisted, line, 5) });

    let mut local = verdict(Kind::Served);
    let localhost = Peer { address: Some(b"localhost".to_vec()), port: None };
    local.connection =
        Connection { client: localhost.clone(), server: localhost, transport: Transport::Local };
    local.notes = Notes { why: Why::NoRule, ..Notes::default() };
    check("local", &about(&local, "connect from localhost (localhost)", 6));

    let mut broken = verdict(Kind::Refused);
    broken.notes = Notes::default();
    broken.connection.client = Peer::default();
    broken.connection.transport = Transport::Datagram;
    broken.name_status = NameStatus::Paranoid;
    check("trouble", &about(&broken, "refused connect from unknown (unknown)", 4));
}

#[test]
fn lines_beside_verdicts() {
    let (rule, connection) = (place("/etc/hosts.deny", 7), connection());
    let line = "warning: /etc/hosts.deny, line 7: missing \":\" separator";
    let warning = event(Kind::Warning, line, 3);
    check("warning", &Event { rule: Some(&rule), connection: Some(&connection), ..warning });
    let line = "error: cannot execute /usr/sbin/in.ftpd: No such file or directory";
    check("error", &Event { connection: Some(&connection), ..event(Kind::Error, line, 3) });
    let listening = event(Kind::Info, "listening on 0.0.0.0:21", 6);
    check("info", &Event { daemon: b"tcpd", tag: b"tcpd", ..listening });
}

/// What a stranger would write if he could.
#[test]
fn nobody_forges_an_event() {
    let mut hostile =
        verdict(Kind::Twisted).to("caf\u{e9} \u{202e}\u{2028}\u{9b}2J \\012 \\u\u{7f}\"".as_bytes());
    hostile.notes.rule = Some(place("/etc/a\nTCPD_VERDICT=served", 1));
    hostile.user =
        Some(b"joe\nPRIORITY=0\nTCPD_VERDICT=served\n\xff\xfe\",\"tcpd\":{\"x\":1}}\r\n{".to_vec());
    let said = about(&hostile, "twist joe\\012\\377@192.0.2.7 to caf\u{e9} \\302\\2332J", 4);
    let said = Event { daemon: b"in\n.ftpd]: x\xc3", tag: b"in\\012.ftpd\\135\\072\\040x\\303", ..said };
    check("hostile", &said);
}

#[test]
fn what_is_long_is_cut() {
    let long = "x\u{1}".repeat(100_000);
    let mut verdict = verdict(Kind::Twisted).to(long.as_bytes());
    verdict.notes.rule = Some(place(&long, 1));
    let event = Event { daemon: long.as_bytes(), tag: long.as_bytes(), ..about(&verdict, &long, 4) };
    assert!(journal::print(&event).len() < 70_000);
    assert!(printer::print(&event).len() < 400_000);
}

#[test]
fn message_ids_are_128_bits_each_its_own() {
    let mut ids = Kind::ALL.map(Kind::message_id).to_vec();
    assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b"0123456789abcdef".contains(&b))));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), Kind::ALL.len());
}

/// The table of the manual has both names of each field, and the lists behind it every word.
#[test]
fn the_manual_has_every_field() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man/tcpd.8")).expect("the page");
    let (_, section) = page.split_once(".Sh EVENTS").expect("the section");
    let (section, _) = section.split_once("\n.Sh ").expect("one more section");
    let column = |number: usize| -> Vec<&str> {
        let (_, table) = section.split_once(".Ss Fields").expect("fields");
        let rows =
            table.lines().filter_map(|line| line.strip_prefix(".It ")).filter(|row| row.contains(" Ta "));
        let cells = rows.filter_map(|row| row.split(" Ta ").nth(number)?.strip_prefix("Li "));
        let mut cells: Vec<&str> = cells.collect();
        cells.sort_unstable();
        cells
    };
    let event = event(Kind::Info, "", 6);
    let mut names = journal::fields(&event).map(|(name, _)| name).to_vec();
    names.sort_unstable();
    assert_eq!(column(0), names);
    let mut names = printer::fields(&event).map(|(name, _)| name).to_vec();
    names.sort_unstable();
    assert_eq!(column(1), names);
    for kind in Kind::ALL {
        let row = format!(".It Li {} Ta {} Ta ", kind.word(), kind.message_id());
        assert!(section.contains(&row), "{row}");
    }
    let words = Why::ALL.map(Why::word).into_iter().chain(NameStatus::ALL.map(NameStatus::word));
    for word in words {
        assert!(section.contains(&format!("\n.Li {word} ")), "{word}");
    }
}

#[test]
fn moments_are_utc() {
    for (seconds, expected) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (1_709_251_199, "2024-02-29T23:59:59.000Z"),
        (1_735_689_599, "2024-12-31T23:59:59.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        (32_503_680_000, "3000-01-01T00:00:00.000Z"),
    ] {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let line = printer::print(&Event { time, ..event(Kind::Info, "", 6) });
        let object: Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(object["@timestamp"], expected);
    }
}

/// `\ooo` undone, as the manual says it.
fn bytes_of(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = behind.get(..3).filter(|d| byte == b'\\' && d.iter().all(|d| (b'0'..=b'7').contains(d)));
        if let Some(digits) = digits {
            let number = std::str::from_utf8(digits).expect("digits");
            out.push(u8::from_str_radix(number, 8).expect("a byte"));
            rest = &behind[3..];
        } else {
            out.push(byte);
            rest = behind;
        }
    }
    out
}

/// The fields of a datagram, as journald reads them.
fn entry_of(mut datagram: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut fields = Vec::new();
    while !datagram.is_empty() {
        let end = datagram.iter().position(|&byte| byte == b'\n').expect("a newline");
        let line = &datagram[..end];
        if let Some(equals) = line.iter().position(|&byte| byte == b'=') {
            fields.push((
                String::from_utf8(line[..equals].to_vec()).expect("a name"),
                line[equals + 1..].to_vec(),
            ));
            datagram = &datagram[end + 1..];
        } else {
            let (length, rest) = datagram[end + 1..].split_at(8);
            let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
            fields.push((String::from_utf8(line.to_vec()).expect("a name"), rest[..length].to_vec()));
            assert_eq!(rest[length], b'\n');
            datagram = &rest[length + 1..];
        }
    }
    fields
}

fn odd_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        any::<char>().prop_map(|letter| letter.to_string().into_bytes()),
        "[\\\\0-9\n\"={}]{1,5}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_is_forged(user in odd_bytes(), command in odd_bytes(), daemon in odd_bytes()) {
        let mut verdict = verdict(Kind::Twisted).to(&command);
        verdict.user = Some(user.clone());
        let event = Event { daemon: &daemon, ..about(&verdict, "words", 4) };

        let line = printer::print(&event);
        let text = std::str::from_utf8(&line).expect("UTF-8");
        let (last, before) = text.char_indices().next_back().map(|(at, last)| (last, &text[..at])).expect("a line");
        prop_assert_eq!(last, '\n');
        let breaks = |c: char| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c);
        prop_assert!(!before.chars().any(breaks));
        let object: Value = serde_json::from_slice(&line).expect("JSON");
        for (field, bytes) in [
            (&object["source"]["user"]["name"], &user),
            (&object["tcpd"]["command"], &command),
            (&object["process"]["name"], &daemon),
        ] {
            prop_assert_eq!(&bytes_of(field.as_str().expect("a text")), bytes);
        }
        prop_assert_eq!(paths(&object), paths(&serde_json::from_slice(&printer::print(&about(&verdict, "", 4))).expect("JSON")));

        let entry = entry_of(&journal::print(&event));
        let names: Vec<&str> = entry.iter().map(|(name, _)| name.as_str()).collect();
        let expected: Vec<&str> =
            journal::fields(&event).into_iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name).collect();
        prop_assert_eq!(names, expected);
        for (field, bytes) in [("TCPD_CLIENT_USER", &user), ("TCPD_COMMAND", &command)] {
            let found = entry.iter().find(|(name, _)| name == field).expect("a field");
            prop_assert_eq!(&found.1, bytes);
        }
    }
}

/// Every name in an object, with those above it.
fn paths(object: &Value) -> Vec<String> {
    let Some(members) = object.as_object() else { return vec![String::new()] };
    let below = |(name, value): (&String, &Value)| -> Vec<String> {
        paths(value).into_iter().map(|path| format!("{name}.{path}")).collect()
    };
    members.iter().flat_map(below).collect()
}

// ------------------------------------------------------------------------------------------- a reader: lnav

/// Whether what is missing on this machine is a failure.
fn must_be_whole() -> bool {
    let is = |name, wanted| std::env::var(name).is_ok_and(|value| value == wanted);
    is("CI", "true") || is("TCPD_REAL", "1")
}

/// The format file for lnav(1) knows fields that there are; its samples are lines as they are printed,
/// and lnav takes them for what they are.
#[test]
fn lnav_reads_our_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("etc/tcpd.lnav.json")).expect("the format");
    let format: Value = serde_json::from_str(&text).expect("JSON");
    let format = &format["tcpd_log"];
    let known = printer::fields(&event(Kind::Info, "", 6)).map(|(name, _)| name.replace('.', "/"));
    for field in format["value"].as_object().expect("fields").keys() {
        assert!(known.contains(field), "{field}");
    }
    for pointer in ["timestamp-field", "level-field", "body-field", "opid-field"] {
        assert!(known.iter().any(|name| format[pointer] == **name), "{pointer}");
    }
    let samples = format["sample"].as_array().expect("samples");
    let lines: Vec<String> =
        samples.iter().map(|sample| sample["line"].as_str().expect("a line").to_owned() + "\n").collect();
    let printed = ["served", "refused", "twisted", "error"]
        .map(|name| fs::read_to_string(root.join(format!("tests/events/{name}.json"))).expect("a line"));
    assert_eq!(lines, printed);

    let scratch = Scratch::new();
    let formats = scratch.path("formats/tcpd");
    fs::create_dir_all(&formats).expect("a directory");
    fs::write(formats.join("tcpd.lnav.json"), &text).expect("writes");
    let log = scratch.file("log.json", lines.concat());
    let lnav = |arguments: &[&str]| {
        let mut command = Command::new("lnav");
        command.arg("-I").arg(&scratch.0).args(arguments).env("HOME", &scratch.0).stdin(Stdio::null());
        command.output()
    };
    let checked = match lnav(&["-C"]) {
        Ok(checked) => checked,
        Err(error) => {
            assert!(!must_be_whole(), "lnav: {error}");
            let line = format!("SKIPPED: etc/tcpd.lnav.json is not tried, lnav: {error}\n");
            std::io::stderr().write_all(line.as_bytes()).expect("standard error");
            return;
        }
    };
    let complaints = [checked.stdout, checked.stderr].concat();
    assert!(checked.status.success() && complaints.is_empty(), "{}", String::from_utf8_lossy(&complaints));
    let columns = "log_level, \"event/action\", \"source/address\", \"rule/name\", \"tcpd/dns_ms\"";
    let question = format!(";SELECT {columns} FROM tcpd_log");
    let log = log.to_str().expect("text");
    let told = lnav(&["-n", "-c", &question, "-c", ":write-csv-to -", log]).expect("runs");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let rows: Vec<&str> = told.lines().skip(1).collect();
    assert_eq!(
        rows,
        [
            "info,served,192.0.2.7,/etc/hosts.allow:12,41",
            "warning,refused,192.0.2.7,/etc/hosts.deny:3,0",
            "notice,twisted,192.0.2.7,/etc/hosts.deny:3,0",
            "error,error,192.0.2.7,<NULL>,<NULL>",
        ]
    );
    for (sample, row) in samples.iter().zip(&rows) {
        assert!(row.starts_with(sample["level"].as_str().expect("a level")), "{row}");
    }
}

// ------------------------------------------------------------------------------------------- a running tcpd

fn with_json(options: &[OsString], file: &Path) -> Vec<OsString> {
    let mut log = OsString::from("json:");
    log.push(file);
    [options, &["--log".into(), log]].concat()
}

/// The objects in a file, one a line.
fn objects(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("a log");
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

/// A connection of 127.0.0.1, and what the server's end is given to.
fn visit(options: &[OsString], server: &[&str]) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    client.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let (connection, _) = listener.accept().expect("accepts");
    let output = run(connection.into(), options, server);
    let mut got = String::new();
    let _ = client.read_to_string(&mut got);
    (got, log_of(&output))
}

/// An object without what is another in each run.
fn steady(mut object: Value, scratch: &Scratch) -> String {
    object["@timestamp"] = json!("(time)");
    object["process"]["pid"] = json!("(pid)");
    for end in ["source", "destination"] {
        if object[end]["port"].is_u64() {
            object[end]["port"] = json!("(port)");
        }
    }
    if object["tcpd"]["dns_ms"].is_u64() {
        object["tcpd"]["dns_ms"] = json!("(ms)");
    }
    object.to_string().replace(&scratch.0.display().to_string(), "DIR")
}

/// All ways a connection may end, and the lines beside them: the file that a session leaves.
#[test]
fn a_session() {
    let scratch = Scratch::new();
    let file = scratch.path("log.json");
    let mut session = String::new();
    let mut seen = 0;
    let mut note = |what: &str, lines: &str| {
        let found = objects(&file);
        let told = found.get(seen..).expect("it grows").iter().cloned();
        let told: Vec<String> = told.map(|object| steady(object, &scratch) + "\n").collect();
        let words: Vec<Value> = found[seen..].iter().map(|object| object["message"].clone()).collect();
        assert_eq!(words, lines.lines().map(Value::from).collect::<Vec<_>>(), "{what}: as in the other log");
        seen = found.len();
        session += &format!("# {what}\n{}", told.concat());
    };
    let tries: [(&str, &str, &str, &str, &[&str]); 10] = [
        ("served by a rule", "", "in.other: ALL\nALL: 127.0.0.1\n", "ALL: ALL\n", &["/bin/true"]),
        ("served by no rule", "", "", "", &["/bin/true"]),
        ("refused", "", "", "# all\nALL: ALL\n", &["/bin/true"]),
        ("twisted", "", "", "ALL: ALL: severity local1.alert: twist echo go away, %a\n", &["/bin/true"]),
        ("a malformed rule", "", "ALL: [127.0.0.1\n", "ALL 127.\n", &["/bin/true"]),
        ("a wrong option", "", "ALL: ALL: nosuchoption\n", "", &["/bin/true"]),
        ("no server", "", "", "", &["/nonexistent/server"]),
        ("no server but tcpd", "", "", "", &[TCPD]),
        ("settings", "paranoid perhaps\n", "ALL: ALL\n", "", &["/bin/true"]),
        ("another rule after all", "", "", "ALL: 127.: aclexec false\nALL: ALL\n", &["/bin/true"]),
    ];
    for (what, conf, allow, deny, server) in tries {
        let options = with_json(&rules(&scratch, allow, deny), &file);
        scratch.file("tcpd.conf", conf);
        let (_, log) = visit(&options, server);
        note(what, &log);
    }
    let options = with_json(&rules(&scratch, "", "ALL: ALL\n"), &file);
    fs::remove_file(scratch.path("deny")).expect("removes");
    fs::create_dir(scratch.path("deny")).expect("a directory");
    note("trouble", &visit(&options, &["/bin/true"]).1);
    fs::remove_dir(scratch.path("deny")).expect("removes");

    let options = with_json(&rules(&scratch, "", "ALL: ALL\n"), &file);
    let (server, client) = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("binds")).into();
    client.send_to(b"one", server.local_addr().expect("bound")).expect("sends");
    note("a datagram", &log_of(&run(server.into(), &options, &["/bin/true"])));

    let (client, server) = UnixStream::pair().expect("a pair");
    note("a Unix-domain socket", &log_of(&run(server.into(), &options, &["/bin/true"])));
    drop(client);
    let null = fs::File::open("/dev/null").expect("null");
    note("no connection", &log_of(&run(null.into(), &options, &["/bin/true"])));

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/events/session.ref");
    assert_eq!(golden::difference(&path, &session), None);
}

/// Files that are no logs: said on the other channel, and nothing else changes.
#[test]
fn a_file_that_is_not_to_be_trusted_is_none() {
    let scratch = Scratch::new();
    let file = scratch.path("log.json");
    let options = with_json(&rules(&scratch, "", ""), &file);
    let target = scratch.file("target", "");
    let make: [(&str, &dyn Fn()); 5] = [
        ("Too many levels of symbolic links", &|| symlink(&target, &file).expect("links")),
        ("Is a directory", &|| fs::create_dir(&file).expect("mkdir")),
        ("No such device or address", &|| make_fifo(&file)),
        ("Not a regular file", &|| make_fifo(&file)),
        ("everybody may write it", &|| {
            fs::write(&file, "").expect("writes");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o602)).expect("chmod");
        }),
    ];
    for (reason, make) in make {
        make();
        let reader = (reason == "Not a regular file").then(|| {
            fs::File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(&file).expect("opens")
        });
        let (got, log) = visit(&options, &["/bin/echo", "served"]);
        drop(reader);
        let error = format!("error: cannot log to {}: {reason}", file.display());
        assert_eq!((got.as_str(), log), ("served\n", format!("{error}\nconnect from 127.0.0.1 (127.0.0.1)")));
        assert_eq!(fs::read(&target).expect("reads"), b"", "{reason}");
        let _ = fs::remove_file(&file);
        let _ = fs::remove_dir(&file);
    }
    let (got, _) = visit(&options, &["/bin/echo", "served"]);
    assert_eq!((got.as_str(), objects(&file).len()), ("served\n", 1));
    let mode = fs::metadata(&file).expect("made").permissions().mode();
    assert_eq!(mode & 0o777 & !0o640, 0, "{mode:o}");
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}

/// The server finds no file of ours, and settings name channels as options do.
#[test]
fn the_settings_name_channels_and_the_server_inherits_none() {
    let scratch = Scratch::new();
    let (one, two) = (scratch.path("one"), scratch.path("two"));
    let options = rules(&scratch, "", "");
    scratch.file("tcpd.conf", format!("log json:{} stderr json:{}\n", one.display(), two.display()));
    let (mut client, server) = UnixStream::pair().expect("a pair");
    let copy = std::os::fd::OwnedFd::from(server.try_clone().expect("a descriptor"));
    let mut command = Command::new(TCPD);
    command.arg0("tcpd").args(&options).args(["--", "/bin/sh", "-c"]);
    command.arg("ls -l /proc/$$/fd; echo done");
    command.stdin(std::os::fd::OwnedFd::from(server)).stdout(copy).stderr(Stdio::piped());
    let output = command.output().expect("runs");
    drop(command);
    let mut got = String::new();
    client.read_to_string(&mut got).expect("closed");
    assert!(got.ends_with("done\n") && !got.contains(&scratch.0.display().to_string()), "{got}");
    assert_eq!(log_of(&output), "connect from localhost (localhost)");
    assert_eq!((objects(&one).len(), objects(&two).len()), (1, 1));
    assert_eq!(fs::read(one).expect("reads"), fs::read(two).expect("reads"), "one event, one moment");
}

/// Beyond its limit of file size a process gets a signal that ends it: not ours.
#[test]
fn a_file_that_may_not_grow_changes_nothing() {
    let scratch = Scratch::new();
    let file = scratch.path("log.json");
    let options = with_json(&rules(&scratch, "", ""), &file);
    for (blocks, kept) in [("0", 0..1), ("1", 0..1), ("4", 1..4)] {
        for visit in 0..4 {
            let (mut client, server) = UnixStream::pair().expect("a pair");
            let copy = std::os::fd::OwnedFd::from(server.try_clone().expect("a descriptor"));
            let mut command = Command::new("/bin/sh");
            command.args(["-c", &format!("ulimit -f {blocks}; exec \"$@\""), "sh", TCPD]);
            command.args(["--log", "stderr"]).args(&options).args(["--", "/bin/echo", "served"]);
            command.stdin(std::os::fd::OwnedFd::from(server)).stdout(copy).stderr(Stdio::piped());
            let output = command.output().expect("runs");
            drop(command);
            let mut got = String::new();
            client.read_to_string(&mut got).expect("closed");
            let log = log_of(&output);
            let expected = ("served\n", "connect from localhost (localhost)");
            assert_eq!((got.as_str(), log.as_str()), expected, "{blocks} {visit}: {}", output.status);
        }
        assert!(kept.contains(&objects(&file).len()), "some are lost, and no line is cut");
    }
}

/// The last event, once it is that of this line: the file is written behind the other log.
fn event_of(file: &Path, line: &str) -> Value {
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string(file).expect("a log");
        let last = text.lines().last().filter(|_| text.ends_with('\n')).unwrap_or_default();
        match serde_json::from_str::<Value>(last) {
            Ok(event) if event["message"] == line => return event,
            _ => assert!(begun.elapsed() < PATIENCE, "{line}: {last}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The listener's own lines, its own verdicts and its children's, each under its process.
#[test]
fn a_listener_and_its_children_write_events() {
    let scratch = Scratch::new();
    let file = scratch.path("log.json");
    let deny = "ALL: 127.0.0.9\nALL: 127.0.0.8: severity auth.info\n";
    let options = with_json(&rules(&scratch, "", deny), &file);
    let options = [options, ["--max-per-client", "1"].map(OsString::from).to_vec()].concat();
    let mut listening = Listening::start(&options, &["/bin/cat"]);
    let own = listening.child.id();
    let begun = Instant::now();
    let by_itself = loop {
        let _ = connect_from([127, 0, 0, 9], listening.address).read(&mut [0; 1]);
        let (pid, line) = listening.signed_line();
        let event = event_of(&file, &line);
        if pid == own && line == "refused connect from 127.0.0.9 (127.0.0.9)" {
            break event;
        }
        assert!(begun.elapsed() < PATIENCE, "it leaves everything to children");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(by_itself["process"]["pid"], own);
    assert_eq!(
        (&by_itself["tcpd"]["verdict"], &by_itself["tcpd"]["image"]),
        (&json!("refused"), &json!(true))
    );
    assert_eq!(
        (&by_itself["source"]["ip"], &by_itself["tcpd"]["rule_line"]),
        (&json!("127.0.0.9"), &json!(1))
    );
    assert_eq!(by_itself["rule"]["ruleset"], json!(scratch.path("deny")));
    assert_eq!(by_itself["destination"]["port"], listening.address.port());

    let mut client = connect_from([127, 0, 0, 2], listening.address);
    client.write_all(b"x").expect("sends");
    client.read_exact(&mut [0; 1]).expect("echoed");
    let (pid, line) = listening.signed_line();
    let served = event_of(&file, &line);
    assert_eq!((&served["tcpd"]["verdict"], &served["process"]["pid"]), (&json!("served"), &json!(pid)));
    assert!(pid != own && served["tcpd"]["image"] == true, "{served}");
    assert_eq!(served["event"]["reason"], "no-rule");

    let _ = connect_from([127, 0, 0, 2], listening.address).read(&mut [0; 1]);
    let closed = event_of(&file, &listening.line());
    assert_eq!(
        (&closed["event"]["action"], &closed["source"]["ip"]),
        (&json!("warning"), &json!("127.0.0.2"))
    );

    let _ = connect_from([127, 0, 0, 8], listening.address).read(&mut [0; 1]);
    let (pid, line) = listening.signed_line();
    let by_child = event_of(&file, &line);
    assert_eq!(
        (&by_child["process"]["pid"], &by_child["event"]["outcome"]),
        (&json!(pid), &json!("success"))
    );
    assert!(pid != own && by_child["log"]["syslog"]["facility"]["code"] == 4, "{by_child}");
    let first = objects(&file).remove(0);
    assert_eq!((&first["event"]["action"], &first["process"]["name"]), (&json!("info"), &json!("tcpd")));
}

/// What is appended by many at once stands in lines.
#[test]
fn lines_of_many_processes_are_whole() {
    let scratch = Scratch::new();
    let file = scratch.path("log.json");
    let options = with_json(&rules(&scratch, "", "ALL: ALL\n"), &file);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10).for_each(|_| drop(visit(&options, &["/bin/true"]))));
        }
    });
    assert_eq!(objects(&file).len(), 40);
}
