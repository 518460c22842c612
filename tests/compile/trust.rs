//! An image that others could have changed, that is cut off or was damaged is not used, and the log says
//! so once; and nobody may read an image who may not read every file that it was made of.

use crate::place::{Place, set_mode, small, with_program};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

/// By the text: what a client gets, and what is logged, but for a line about the image in front.
fn is_by_the_text(place: &Place, why: Option<&str>, what: &str) {
    let (got, log) = place.visit_by_text();
    let warning =
        |why| format!("warning: {}: {why}: the rules are read from their text\n", place.image().display());
    let expected = why.map(warning).unwrap_or_default() + &log;
    assert_eq!(place.visit(), (got, expected), "{what}");
    let (served, not_used) = place.says();
    assert!(!served && not_used.is_some(), "{what}");
    let (used, line) = place.status();
    assert!(!used && line.contains(why.unwrap_or("not used")), "{what}: {line}");
}

#[test]
fn an_image_that_others_may_change_is_not_used() {
    let place = small();
    place.compile();
    let (image, directory) = (place.image(), place.around_image().to_path_buf());
    let why = Some("its group or everybody may write it");
    for (path, is, may_not_be) in [(&image, 0o644, [0o664, 0o646]), (&directory, 0o755, [0o775, 0o757])] {
        for mode in may_not_be {
            set_mode(path, mode);
            is_by_the_text(&place, why, &format!("{mode:o} {}", path.display()));
        }
        set_mode(path, is);
        assert_eq!(place.says(), (false, None));
    }
}

#[test]
fn an_image_is_a_file_and_no_link() {
    let place = small();
    place.compile();
    let (image, aside) = (place.image(), place.around_image().join("aside"));
    fs::rename(&image, &aside).expect("renames");
    is_by_the_text(&place, None, "no image");
    symlink(&aside, &image).expect("a link");
    is_by_the_text(&place, None, "a symbolic link");
    fs::remove_file(&image).expect("deletes");
    fs::create_dir(&image).expect("mkdir");
    is_by_the_text(&place, None, "a directory");
    fs::remove_dir(&image).expect("rmdir");
    assert!(Command::new("mkfifo").arg(&image).status().expect("mkfifo").success());
    is_by_the_text(&place, None, "a FIFO");
    fs::remove_file(&image).expect("deletes");
    fs::hard_link(&aside, &image).expect("a link");
    assert_eq!(place.says(), (false, None), "a hard link is the file");
}

#[test]
fn a_damaged_image_is_not_used() {
    let place = small();
    place.compile();
    let (image, whole) = (place.image(), fs::read(place.image()).expect("reads"));
    let header = |bytes: &[u8], why: &str, what: &str| {
        fs::write(&image, bytes).expect("writes");
        is_by_the_text(&place, Some(why), what);
    };
    header(&[], "it ends before block 0", "empty");
    header(&whole[..4095], "it ends before block 0", "cut in block 0");
    let changed = |at: usize, bits: u8| {
        let mut bytes = whole.clone();
        bytes[at] ^= bits;
        bytes
    };
    header(&changed(7, 3), "no image of this version", "an older version");
    let mut turned = whole.clone();
    turned[..8].reverse();
    header(&turned, "no image of this version", "another byte order");
    header(&place.in_place("ALL: ALL\n").repeat(1000).into_bytes(), "no image of this version", "a text");
    for at in [8, 16, 24, 100, 4000, 4095] {
        header(&changed(at, 1), "wrong checksum of block 0", &format!("byte {at}"));
    }
    // A damage behind the header is noticed when the block is read, if it ever is.
    let visited = place.visit_by_text();
    for block in 1..whole.len() / 4096 {
        // Of a short one, the first block that is missed may be a later one.
        let missed = (block..whole.len() / 4096).map(|block| format!("it ends before block {block}"));
        for (bytes, why) in [
            (changed(block * 4096 + 5, 0x80), vec![format!("wrong checksum of block {block}")]),
            (whole[..block * 4096 + 7].to_vec(), missed.collect()),
        ] {
            fs::write(&image, bytes).expect("writes");
            let (got, log) = place.visit();
            let line =
                |why| format!("warning: {}: {why}: the rules are read from their text\n", image.display());
            let warning = why.iter().map(line).find(|line| log.contains(line));
            let warning = warning.unwrap_or_else(|| panic!("{why:?} is not said: {log}"));
            assert_eq!((got, log.replacen(&warning, "", 1)), visited, "{why:?}");
        }
    }
    fs::write(&image, &whole).expect("writes");
    assert_eq!((place.says(), place.visit()), ((false, None), visited));
}

fn mode_of_image(place: &Place) -> u32 {
    fs::metadata(place.image()).expect("an image").permissions().mode() & 0o7777
}

#[test]
fn who_cannot_read_every_source_cannot_read_the_image() {
    let places = ["", "0640", "0604", "words", "above", "list", "list above"].map(|what| {
        let place = Place::new("ALL: 192.0.2.7\n", "ALL: DIR/sub/words\n");
        fs::create_dir(place.file("sub")).expect("mkdir");
        set_mode(&place.file("sub"), 0o755);
        place.write("sub/words", "10.9.8.7\n");
        match what {
            "0640" => set_mode(&place.file("allow"), 0o640),
            "0604" => set_mode(&place.file("deny"), 0o604),
            "words" => set_mode(&place.file("sub/words"), 0o600),
            "above" => set_mode(&place.file("sub"), 0o750),
            "list" | "list above" => {
                let file = place.file(if what == "list" { "deny" } else { "sub" });
                // 65534 is nobody, who may not; the mode says that everybody may.
                let set = with_program(Command::new("setfacl").args(["-m", "u:65534:---"]).arg(file))?;
                assert!(set.status.success(), "{set:?}");
            }
            _ => {}
        }
        Some((what, place))
    });
    for (what, place) in places.iter().flatten() {
        let said = place.compile();
        let (mode, whom) = if what.is_empty() { (0o644, "everybody") } else { (0o600, "its owner alone") };
        assert_eq!(mode_of_image(place), mode, "{what:?}");
        assert!(said.ends_with(&format!(" bytes, for {whom}\n")), "{said}");
        assert_eq!(place.says().1, None, "{what:?}");
    }
}

#[test]
fn the_umask_takes_nothing_away_and_adds_nothing() {
    let place = Place::new("", "");
    for mask in ["000", "077"] {
        let script = format!("umask {mask}; exec \"$@\"");
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &script, "sh", crate::place::COMPILER]).args(place.options());
        let output = shell.output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(mode_of_image(&place), 0o644, "umask {mask}");
    }
}
