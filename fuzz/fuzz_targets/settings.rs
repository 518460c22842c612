//! tcpd.conf, as anybody may have written it: every complaint is about a spot in the file, a bad line
//! changes nothing of what the good ones say, each line is read as if it stood alone, and settings that
//! are written down again are read as they were.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use wrap::error::{Problem, SettingFlaw, Weight, What};
use wrap::logline;
use wrap::rules::grammar;
use wrap::settings::{KEYS, LogTo, Reading, Resolve, Settings, parse};

/// Keys whose bad values refuse everybody, as tcpd.conf(5) has them.
const REFUSE: [&str; 6] = ["server-directory", "resolve", "paranoid", "strict", "hosts-allow", "hosts-deny"];

const FACILITIES: [(&str, u8); 17] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

fn read(text: &[u8]) -> Reading {
    parse(text, &Arc::from(Path::new("tcpd.conf")))
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split(|&byte| byte == b'\n').collect()
}

/// A file that says all of this.
fn written(settings: &Settings) -> Vec<u8> {
    let Settings { resolve_timeout, refuse_delay, .. } = settings;
    let yes = |yes| if yes { "yes" } else { "no" };
    let resolve = match settings.resolve {
        Resolve::Needed => "needed",
        Resolve::Always => "always",
        Resolve::Never => "never",
    };
    let facility = FACILITIES.iter().find(|(_, number)| *number == settings.facility).expect("one of them").0;
    let mut out = format!(
        "resolve {resolve}\nresolve-timeout {}\nparanoid {}\nstrict {}\nfacility {facility}\n",
        resolve_timeout.as_secs(),
        yes(settings.paranoid),
        yes(settings.strict)
    )
    .into_bytes();
    if let Some(delay) = refuse_delay {
        out.extend_from_slice(format!("refuse-delay {}\n", delay.as_secs()).as_bytes());
    }
    let none = Path::new("none");
    for (key, path) in [
        ("server-directory", settings.server_directory.as_path()),
        ("hosts-allow", &settings.hosts_allow),
        ("hosts-deny", &settings.hosts_deny),
        ("image", settings.image.as_deref().unwrap_or(none)),
    ] {
        out.extend([key.as_bytes(), b" ", path.as_os_str().as_bytes(), b"\n"].concat());
    }
    out.extend_from_slice(b"log");
    for channel in settings.log.iter() {
        let (word, path) = match channel {
            LogTo::Syslog => (&b" syslog"[..], None),
            LogTo::Stderr => (&b" stderr"[..], None),
            LogTo::Journal => (&b" journal"[..], None),
            LogTo::Json(path) => (&b" json:"[..], Some(path)),
        };
        out.extend_from_slice(word);
        out.extend(path.iter().flat_map(|path| path.as_os_str().as_bytes()));
    }
    out.push(b'\n');
    out
}

/// The complaint is about something that stands there, and fits on a line of the log.
fn points_into(problem: &Problem, lines: &[&[u8]]) {
    let place = problem.place.as_ref().expect("a place");
    let (line, column) = place.spot.expect("a spot");
    assert_eq!(line, place.line);
    let text = lines[line as usize - 1];
    let at = column as usize - 1;
    let behind = text.get(at..).expect("inside the line");
    let What::Setting(flaw) = &problem.what else { panic!("{problem:?}") };
    match flaw {
        SettingFlaw::UnknownKey(key) => assert!(behind.starts_with(key) && !key.is_empty()),
        SettingFlaw::BadValue { value, .. } => assert!(behind.starts_with(value)),
        SettingFlaw::BadLine => {}
        other => panic!("{other:?}"),
    }
    for entry in logline::problem(problem) {
        let is_shown = |byte: &u8| !byte.is_ascii_control() || *byte == b'\t';
        assert!(entry.text.iter().all(is_shown), "{:?}", entry.text);
    }
}

fuzz_target!(|input: &[u8]| {
    let reading = read(input);
    let lines = lines(input);
    let mut refuses = false;
    let mut is_bad = vec![false; lines.len()];
    for problem in &reading.problems {
        points_into(problem, &lines);
        let What::Setting(flaw) = &problem.what else { panic!("{problem:?}") };
        is_bad[problem.place.as_ref().map_or(0, |place| place.line as usize - 1)] = true;
        refuses |= match flaw {
            SettingFlaw::BadLine => true,
            SettingFlaw::BadValue { key, .. } => REFUSE.contains(key),
            _ => reading.settings.strict,
        };
        assert_eq!(problem.weight == Weight::Warning, matches!(flaw, SettingFlaw::UnknownKey(_)));
    }
    assert_eq!(reading.refuses, refuses);

    // One line at a time: the same complaints in the same columns.
    let mut problems = reading.problems.iter();
    for (number, line) in (1..).zip(&lines) {
        let alone = read(line).problems;
        assert!(alone.len() <= 1);
        for mut problem in alone {
            let place = problem.place.as_mut().expect("a place");
            place.line = number;
            place.spot.as_mut().expect("a spot").0 = number;
            assert_eq!(Some(&problem), problems.next());
        }
        let is_known = |name: &[u8]| KEYS.iter().any(|key| key.name.as_bytes() == name);
        if let Some(Ok((name, value))) = grammar::setting(line) {
            assert!(!value.is_empty() && (is_known(name) || is_bad[number as usize - 1]));
        }
    }
    assert_eq!(problems.next(), None);

    // Without the bad lines.
    let good: Vec<&[u8]> =
        lines.iter().zip(&is_bad).filter(|(_, bad)| !**bad).map(|(line, _)| *line).collect();
    let good = read(&good.join(&b'\n'));
    assert!(good.problems.is_empty() && !good.refuses, "{:?}", good.problems);
    assert_eq!(good.settings, reading.settings);

    // Written down, and read again.
    let text = written(&reading.settings);
    let again = read(&text);
    assert!(again.problems.is_empty() && !again.refuses, "{:?} {:?}", again.problems, text);
    assert_eq!(again.settings, reading.settings);
});
