//! How large an image is, and how little is read with one.

use crate::place::{LARGE, Place, large};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

fn lines(of: impl Fn(u32) -> String, around: (&str, &str)) -> String {
    let (before, behind) = around;
    // Spread over the whole range, as addresses in ban lists are.
    (0..LARGE).map(|n| format!("{before}{}{behind}", of(n.wrapping_mul(2_654_435_761)))).collect()
}

fn six(n: u32) -> Ipv6Addr {
    Ipv6Addr::from((0x2001_0db8_u128 << 96) | u128::from(n) << 40 | 1)
}

#[test]
fn an_image_has_at_most_32_bytes_for_an_address() {
    let rule = ("ALL: ", "\n");
    let places = [
        ("IPv4", Place::new("", &lines(|n| Ipv4Addr::from(n).to_string(), rule)), "client=158.55.121.177"),
        (
            "IPv6 networks",
            Place::new("", &lines(|n| format!("[{}]/128", six(n)), rule)),
            "client=2001:db8:0:9e:3779:b100::1",
        ),
        (
            "names",
            Place::new("", &lines(|n| format!("h{n}.example.com"), rule)),
            "name=h2654435761.example.com",
        ),
        (
            "suffixes",
            Place::new("", &lines(|n| format!(".d{n}.example"), rule)),
            "name=www.d2654435761.example",
        ),
        ("a pattern file", Place::new("", "ALL: DIR/words\n"), "client=158.55.121.177"),
    ];
    places[4].1.write("words", &lines(|n| Ipv4Addr::from(n).to_string(), ("", "\n")));
    for (what, place, second) in &places {
        let made = place.compile();
        assert!(made.contains(&format!(" {LARGE} entries, ")), "{what}: {made}");
        let bytes = fs::metadata(place.image()).expect("an image").len();
        assert!(bytes <= 32 * u64::from(LARGE), "{what}: {made}");
        let facts = if second.starts_with("name") { vec!["client=192.0.2.1", second] } else { vec![*second] };
        let object = place.explain(&facts);
        assert_eq!(
            (&object["access"], &object["image_not_used"]),
            (&"denied".into(), &serde_json::Value::Null),
            "{what}"
        );
        let line = if what.starts_with("a pattern") { 1 } else { 2 };
        assert_eq!(object["decided_by"]["line"], line, "{what}");
    }
}

/// The bytes that a process has read when it has become the server, which is the same process.
fn read_by(place: &Place, image: &Path) -> u64 {
    let (got, log) = place.visit_with(image, &["/bin/cat", "/proc/self/io"]);
    let count = got.lines().find_map(|line| line.strip_prefix("rchar: "));
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{got}{log}"))
}

/// The real suite asks strace(1), too, and which file it was.
#[test]
fn few_bytes_of_a_large_table_are_read() {
    let (place, none) = (large(), Path::new("none"));
    place.compile();
    assert_eq!(place.says(), (true, None));
    let size = fs::metadata(place.file("deny")).expect("a file").len();
    let nothing = read_by(&Place::new("", ""), none);
    let (by_text, by_image) = (read_by(&place, none) - nothing, read_by(&place, &place.image()) - nothing);
    assert!(by_text >= size, "{by_text} of {size}");
    assert!(by_image < 1 << 16, "{by_image} of {size}");
}
