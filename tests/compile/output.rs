//! What tcpdcompile says, to whom, and how it ends.

use crate::place::{COMPILER, Place, large, set_mode, small, with_program};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_was_made_is_said_and_shown_again() {
    let place = small();
    let shown = place.image().display().to_string();
    let size = |name: &str| fs::metadata(place.file(name)).expect("a file").len();
    let made = place.compile();
    let bytes = fs::metadata(place.image()).expect("an image").len();
    let public = fs::metadata(place.image()).expect("an image").mode() & 0o004 != 0;
    let whom = if public { "everybody" } else { "its owner alone" };
    // 192.0.2.7, .example.com, two of line 2, 127.0.0.1, and two words; to be read: lines 1 and 3, a file.
    assert_eq!(
        made,
        format!("{shown}: 4 files, 7 entries, 3 read for every client, {bytes} bytes, for {whom}\n")
    );
    let status = place.compiler().arg("--status").output().expect("it runs");
    let expected = place.in_place(&format!(
        "{shown}: used\n  table DIR/allow, {} bytes\n  table DIR/deny, {} bytes\n  pattern file DIR/words, {} bytes\n  pattern file DIR/nosuch, missing\n",
        size("allow"),
        size("deny"),
        size("words")
    ));
    assert_eq!(said(&status), (Some(0), expected, String::new()));
    let quiet = place.compiler().arg("--quiet").output().expect("it runs");
    assert_eq!(said(&quiet), (Some(0), String::new(), String::new()));
}

#[test]
fn the_end_says_how_it_went() {
    let place = small();
    let with = |config: &str, arguments: &[&str]| {
        let conf = place.around_image().join("conf");
        fs::write(&conf, config).expect("writes");
        set_mode(&conf, 0o600);
        let mut command = Command::new(COMPILER);
        command.arg("--config").arg(&conf).args(["--allow".as_ref(), place.file("allow").as_os_str()]);
        said(&command.args(arguments).output().expect("it runs"))
    };
    let image = place.image().display().to_string();
    let (deny, elsewhere) = (place.in_place("DIR/deny"), place.in_place("DIR/no/such/rules.img"));
    let ours = ["--deny", deny.as_str(), "--image", image.as_str()];

    let (code, out, err) = with("", &["--help"]);
    assert!(code == Some(0) && out.contains("--status") && err.is_empty());
    for wrong in ["--wrong", "more"] {
        let (code, out, err) = with("", &[wrong]);
        assert!(code == Some(2) && out.is_empty() && err.contains(wrong), "{err}");
    }
    let (code, out, _) = with("", &[&ours[..], &["--status"]].concat());
    assert_eq!((code, out), (Some(1), format!("{image}: not used: there is no image\n")));
    let expected = format!("error: cannot write {elsewhere}: No such file or directory\n");
    assert_eq!(with("", &["--deny", &deny, "--image", &elsewhere]), (Some(1), String::new(), expected));
    let above = place.in_place("DIR");
    let expected = format!("error: cannot compile {above}: Is a directory\n");
    assert_eq!(with("", &["--deny", &above, "--image", &image]), (Some(1), String::new(), expected));
    for arguments in [&ours[..2], &["--deny", &deny, "--image", "none"]] {
        let (code, out, err) = with("image none\n", arguments);
        let expected = "error: no image is wanted: tcpd.conf says \"image none\"\n";
        assert_eq!((code, out.as_str(), err.as_str()), (Some(1), "", expected));
    }
    let (code, out, _) = with("image none\n", &[&ours[..2], &["--status"]].concat());
    assert_eq!((code, out.as_str()), (Some(1), "none: not used: no image is wanted\n"));
    let (code, _, err) = with("strict maybe\n", &ours);
    assert!(code == Some(1) && err.ends_with("is refused, and nothing is compiled\n"), "{err}");
    assert!(!Path::new(&image).exists());
    let (code, _, err) = with("strict yes\n", &ours);
    let expected = format!("error: {image} was made, but is not used: strict yes reads every rule\n");
    assert_eq!((code, err), (Some(1), expected));
    assert!(with("", &[&ours[..], &["--status"]].concat()).1.starts_with(&format!("{image}: used\n")));
    let full = fs::File::options().write(true).open("/dev/full").expect("opens");
    let mut command = place.compiler();
    assert_eq!(command.stdout(full).status().expect("it runs").code(), Some(1), "nobody could be told");
}

/// Both kinds of setting name the same files.
#[test]
fn settings_name_the_files() {
    let place = small();
    let conf = place.around_image().join("conf");
    let image = place.image().display().to_string();
    fs::write(&conf, place.in_place(&format!("hosts-allow DIR/allow\nhosts-deny DIR/deny\nimage {image}\n")))
        .expect("writes");
    set_mode(&conf, 0o600);
    let output = Command::new(COMPILER).arg("--config").arg(&conf).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(place.says(), (false, None));
}

#[test]
fn a_file_that_has_just_changed_is_waited_for() {
    let place = Place::new("", "ALL: DIR/words\n");
    place.write("words", "127.0.0.1\n");
    let started = Instant::now();
    let (code, _, err) = said(&place.compiler().output().expect("it runs"));
    let waited = started.elapsed();
    let first = place.in_place("DIR/allow has just changed: waiting\n");
    assert!(code == Some(0) && err.starts_with(&first), "{err}");
    // Writing the files took less than the rest of the two seconds.
    assert!(waited > Duration::from_millis(1000), "{waited:?}");
    assert_eq!(place.says(), (false, None));
    assert_eq!(said(&place.compiler().output().expect("it runs")).2, "", "and no longer");
}

#[test]
fn what_cannot_be_read_is_left_out_and_said() {
    let place = Place::new("", "ALL: DIR/words\n");
    fs::create_dir(place.file("words")).expect("mkdir");
    let (code, out, err) = said(&place.compiler().output().expect("it runs"));
    let remark = place.in_place("left out: cannot compile DIR/words: Is a directory\n");
    assert!(code == Some(0) && err.ends_with(&remark), "{err}");
    assert!(out.contains(": 2 files, 0 entries, 1 read for every client, "), "{out}");
    assert_eq!(place.says(), (false, None), "two readings: it refuses");
}

#[test]
fn a_terminal_shows_how_far_it_is_and_a_pipe_does_not() {
    let place = large();
    let (code, _, err) = said(&place.compiler().output().expect("it runs"));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let on_a_terminal = |more: &str| {
        let words: Vec<_> = place.options().iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let line = format!("{COMPILER} {} {more}", words.join(" "));
        let mut script = Command::new("script");
        script.args(["-q", "-e", "-c", &line, "/dev/null"]).stdin(Stdio::null());
        let output = with_program(&mut script)?;
        assert!(output.status.success(), "{output:?}");
        Some(String::from_utf8(output.stdout).expect("text"))
    };
    let Some(shown) = on_a_terminal("") else { return };
    let progress = |count: u32| place.in_place(&format!("\rDIR/deny: {count}\x1b[K"));
    let expected = format!("{}{}\r\x1b[K{}", progress(50_000), progress(100_000), place.image().display());
    assert!(shown.starts_with(&expected), "{shown:?}");
    assert_eq!(on_a_terminal("--quiet").as_deref(), Some(""));
}

/// The command of etc/tcpd-compile.cron compiles what changed, and nothing else.
#[test]
fn the_cron_line_compiles_only_what_changed() {
    let place = small();
    let line = include_str!("../../etc/tcpd-compile.cron");
    let line = line.lines().find(|line| line.starts_with('*')).expect("a line");
    let (when, command) = line.split_once("root").expect("a user");
    assert_eq!(when.split_whitespace().count(), 5, "{line}");
    assert!(!command.contains('%'), "cron(8) would cut it there");
    let words: Vec<_> = place.options().iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let command = command.replace("/usr/sbin/tcpdcompile", &format!("{COMPILER} {}", words.join(" ")));
    let run = || {
        let output = Command::new("/bin/sh").args(["-c", &command]).output().expect("it runs");
        // Whatever it says is mailed.
        assert_eq!(said(&output), (Some(0), String::new(), String::new()));
        fs::metadata(place.image()).expect("an image").ino()
    };
    let first = run();
    assert_eq!(run(), first, "nothing to do");
    fs::write(place.image(), "damaged").expect("writes");
    run();
    assert_eq!(place.says(), (false, None));
}
