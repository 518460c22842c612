//! Whole log output by the image, and by the text: the same lines, in the same order, and the same
//! deeds.

use crate::place::{Place, large};
use crate::running::Listening;
use std::fs;

/// hosts.allow, hosts.deny, and further files.
type Tables = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const TABLES: [Tables; 14] = [
    (
        "no colon\nin.other: ALL\nALL: [::1\nALL: 10.9.8.7\nALL: 127.0.0.1/8\n10.0.0.1\nALL: 192.0.2.0/24\n",
        "none here\nsshd: ]x\nALL: 10.0.0.0/0 10.9.8.0/24\nALL: 127.0.0.0/8\n",
        &[],
    ),
    ("", "ALL: 192.0.2.1\nALL: [::1: deny\nALL: 127.0.0.1\n", &[]),
    ("ALL: 192.0.2.1\nALL: 127.0.0.1: bogus\n", "ALL: ALL\n", &[]),
    ("ALL: 192.0.2.1: bogus\nALL: 127.0.0.1: umask 9\n", "", &[]),
    ("ALL: 192.0.2.1\nALL: 127.0.0.1", "ALL: 10.9.8.7\nALL: 127.", &[]),
    ("ALL: 192.0.2.1\n", "ALL: 10.9.8.7\nbla\nALL: 10.\\\n9.8.\\\n8\nALL: 127.0.0.1/9\n", &[]),
    (
        "ALL: DIR/loop\nALL: DIR/nul\nALL: DIR\n",
        "in.testd: DIR/words\nALL: 127.0.0.1\n",
        &[
            ("loop", "10.9.8.7 DIR/loop\n"),
            ("nul", "10.9.8.7\n10.9.8.6 a\0b\n127.0.0.1\n"),
            ("words", "DIR/nosuch 192.0.2.1\nDIR/words2\n"),
            ("words2", "10.\n192.0.2.0/24\n127.0.0.1\n"),
        ],
    ),
    ("", "ALL: 192.0.2.1: spawn echo %a > DIR/mark\nALL: 127.0.0.1: spawn echo %d %a > DIR/mark\n", &[]),
    ("", "ALL: 192.0.2.1\nALL: 127.0.0.1: severity auth.notice: twist echo go away, %a\n", &[]),
    (
        "ALL: 127.0.0.1: aclexec false\nALL: 192.0.2.1\nALL: 127.0.0.0/8: aclexec true: setenv A b\n",
        "ALL: ALL\n",
        &[],
    ),
    (
        "ALL: 192.0.2.1\n",
        "ALL: 127.0.0.1: aclexec false\nALL: 127.: aclexec false\nno colon\nALL: ALL EXCEPT 127.0.0.1\nALL: 127.0.0.1: allow\n",
        &[],
    ),
    (
        "ALL: 10. 127. EXCEPT 127.0.0.1\nin.testd EXCEPT ALL: 127.0.0.1\n",
        "ALL EXCEPT in.other: 127.0.0.1\n",
        &[],
    ),
    (
        "7: 127.0.0.1\nin.testd@127.0.0.1: 127.0.0.1: banners DIR/banners\n",
        "ALL: ALL\n",
        &[("in.testd", "x")],
    ),
    (
        "in.testd@10.: 127.0.0.1\nin.*@127.0.0.1: 127.0.0.1/32 EXCEPT 127.0.0.0/30\n",
        "ALL: 0.0.0.0/0\nALL: ALL\n",
        &[],
    ),
];

#[test]
fn the_log_is_the_same_line_for_line() {
    let places = TABLES.map(|(allow, deny, files)| {
        let place = Place::new(allow, deny);
        files.iter().for_each(|(name, text)| place.write(name, text));
        place
    });
    let mark = |place: &Place| {
        let text = fs::read_to_string(place.file("mark")).unwrap_or_default();
        let _ = fs::remove_file(place.file("mark"));
        text
    };
    let (mut warnings, mut marks) = (0, 0);
    for (place, tables) in places.iter().zip(TABLES) {
        place.compile();
        assert_eq!(place.says().1, None, "{tables:?}");
        let (by_image, mark_by_image) = (place.visit(), mark(place));
        let (by_text, mark_by_text) = (place.visit_by_text(), mark(place));
        assert_eq!((&by_image, &mark_by_image), (&by_text, &mark_by_text), "{tables:?}");
        assert!(!by_text.1.is_empty() && !by_text.1.contains("image"), "{tables:?}");
        warnings += by_text.1.matches("warning: ").count() + by_text.1.matches("error: ").count();
        marks += usize::from(!mark_by_text.is_empty());
    }
    // So that it is known to have been about something.
    assert!(warnings > 20 && marks == 1, "{warnings} warnings, {marks} marks");
}

/// A rule is named by its own line, however many were left out before it.
#[test]
fn a_place_in_the_log_is_that_of_the_text() {
    let place = large();
    place.compile();
    for (client, line) in [("10.0.0.0", 1), ("10.0.3.231", 1000), ("10.1.134.159", 100_000)] {
        let object = place.explain(&[&format!("client={client}")]);
        assert_eq!(
            (&object["access"], &object["image_not_used"]),
            (&"denied".into(), &serde_json::Value::Null)
        );
        assert_eq!(object["decided_by"]["line"], line, "{client}");
        assert_eq!(object["decided_by"]["file"], place.in_place("DIR/deny"));
    }
    let object = place.explain(&["client=10.1.134.160"]);
    assert_eq!((&object["access"], &object["because"]), (&"granted".into(), &"no-rule".into()));
}

/// A listener lasts longer than any image: each of its answers is by the rules of this moment.
#[test]
fn a_listener_answers_by_the_rules_of_this_moment() {
    let place = Place::new("", "ALL: 127.0.0.2\n");
    place.compile();
    let mut listener = Listening::start(
        &[place.options(), vec!["--daemon".into(), "in.testd".into()]].concat(),
        &["/bin/echo", "served"],
    );
    let served = ("served\n".to_owned(), "connect from 127.0.0.1 (127.0.0.1)".to_owned());
    let refused = (String::new(), "refused connect from 127.0.0.1 (127.0.0.1)".to_owned());
    let mut visit = || (listener.greeting(), listener.line());
    assert_eq!((visit(), visit()), (served.clone(), served.clone()), "by the image");
    place.write("deny", "ALL: 127.0.0.1\n");
    assert_eq!((visit(), visit()), (refused.clone(), refused.clone()), "changed");
    place.compile();
    assert_eq!((visit(), visit()), (refused.clone(), refused.clone()), "compiled again");
    place.write("deny", "ALL: 127.0.0.3\n");
    place.compile();
    assert_eq!((visit(), visit()), (served.clone(), served), "and again");
    fs::write(place.image(), "no image at all").expect("writes");
    place.write("allow", "# empty\n");
    place.write("deny", "ALL: 127.\n");
    let (got, mut line) = visit();
    let warning = format!("warning: {}: it ends before block 0: ", place.image().display());
    let mut warnings = 0;
    while line.starts_with(&warning) {
        warnings += 1;
        line = listener.line();
    }
    // The listener looked at it, and the child that decided did.
    assert!((1..=2).contains(&warnings), "{warnings}");
    assert_eq!((got, line), refused, "damaged");
}
