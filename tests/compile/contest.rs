//! Several compilers at once, and files that change while they are read: there is always a whole image,
//! or none that is used.

use crate::place::{Place, small};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use wrap::compile::{Observer, write};
use wrap::facts::{DaemonName, Endpoint, Request, Stated, Transport};
use wrap::tables::TextTable;
use wrap::tables::image::{Image, RuleTable};
use wrap::verdict::{Access, Tables, decide};

#[test]
fn many_compilers_leave_one_whole_image() {
    let place = small();
    place.compile();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let compilers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..16).for_each(|_| drop(place.compile())))).collect();
        let watcher = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(place.says(), (false, None), "there is a whole image at every moment");
                looks += 1;
            }
            looks
        });
        let ended: Vec<_> = compilers.into_iter().map(|compiler| compiler.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(watcher.join().expect("used all the time") > 0);
        assert!(ended.iter().all(Result::is_ok));
    });
    let left: Vec<_> = fs::read_dir(place.around_image()).expect("a directory").flatten().collect();
    assert_eq!(left.iter().map(|entry| entry.file_name()).collect::<Vec<_>>(), ["rules.img"]);
}

#[test]
fn a_compiler_that_fails_leaves_the_old_image_and_nothing_else() {
    let place = small();
    place.compile();
    let before = fs::read(place.image()).expect("an image");
    let mut compiler = std::process::Command::new(crate::place::COMPILER);
    compiler.arg("--allow").arg(place.file("allow")).arg("--deny").arg(place.file("."));
    let status = compiler.args(["--config", "/dev/null", "--image"]).arg(place.image()).output();
    assert_eq!(status.expect("it runs").status.code(), Some(1));
    assert_eq!(fs::read(place.image()).expect("an image"), before);
    assert_eq!(fs::read_dir(place.around_image()).expect("a directory").count(), 1);
}

struct Silent;

impl Observer for Silent {
    fn progress(&mut self, _: &Path, _: u64) {}
    fn remark(&mut self, _: String) {}
}

fn refused(place: &Place, image: Option<&Image>) -> bool {
    let client = Endpoint::of_ip([127, 0, 0, 1].into(), 4711);
    let ends = (client, Endpoint::unknown());
    let request = Request::new(DaemonName::stated(b"in.testd"), 1, Transport::Stream, ends, &Stated);
    let (allow, deny) = (place.file("allow"), place.file("deny"));
    let access = match image {
        Some(_) => {
            let (mut allow, mut deny) = (RuleTable::new(&allow, image), RuleTable::new(&deny, image));
            decide(&mut Tables::new(&mut allow, &mut deny, false), &request).access
        }
        None => {
            let (mut allow, mut deny) = (TextTable::new(&allow), TextTable::new(&deny));
            decide(&mut Tables::new(&mut allow, &mut deny, false), &request).access
        }
    };
    access == Access::Deny
}

/// The compiler's inner part, which can be told how long a file must have rested: so this needs less than
/// two seconds for each image. Somebody writes the table all the time, in two states of the same length.
#[test]
fn no_image_of_a_changing_file_is_wrong() {
    let place = Place::new("", "ALL: 127.0.0.1\n");
    let (allow, deny) = (place.file("allow"), place.file("deny"));
    let noise = "ALL: 10.9.8.7\n".repeat(2000);
    let (writing, done) = (Mutex::new(()), AtomicBool::new(false));
    let rest = Duration::from_millis(30);
    let (mut fresh, mut stale, mut none) = (0, 0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_u64;
            while !done.load(Ordering::Relaxed) {
                round += 1;
                let state = if round.is_multiple_of(2) { "ALL: 127.0.0.1\n" } else { "ALL: 127.0.0.2\n" };
                let held = writing.lock().expect("a lock");
                fs::write(&deny, format!("{noise}{state}")).expect("writes");
                drop(held);
                thread::sleep(Duration::from_millis(round * 7919 % 90));
            }
        });
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            let mut bytes = Vec::new();
            let Ok(Some(_)) = write([&allow, &deny], rest, &mut bytes, &mut Silent) else {
                none += 1;
                continue;
            };
            fs::write(place.image(), &bytes).expect("writes");
            let held = writing.lock().expect("a lock");
            match Image::open(&place.image(), (&allow, &deny), wrap::sys::process::caller) {
                Ok(image) => {
                    assert_eq!(refused(&place, Some(&image)), refused(&place, None));
                    fresh += 1;
                }
                Err(_) => stale += 1,
            }
            drop(held);
        }
        done.store(true, Ordering::Relaxed);
    });
    eprintln!("{fresh} fresh, {stale} stale, {none} not made");
    assert!(fresh > 0, "{fresh} fresh, {stale} stale, {none} not made");
}

/// Who never rests is not waited for for ever.
#[test]
fn a_file_that_never_rests_makes_no_image() {
    let place = Place::new("", "");
    let (allow, deny) = (place.file("allow"), place.file("deny"));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::write(&deny, "ALL: 127.0.0.1\n").expect("writes");
                thread::sleep(Duration::from_millis(10));
            }
        });
        let made = write([&allow, &deny], Duration::from_millis(200), &mut Vec::new(), &mut Silent);
        done.store(true, Ordering::Relaxed);
        let why = made.expect_err("no image").to_string();
        assert_eq!(why, place.in_place("cannot compile DIR/deny: it changes all the time"));
    });
}
