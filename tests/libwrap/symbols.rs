//! Which names does the library have for others, and what does it need?
//!
//! `symbols.txt` has a line `name kind size` for each: `T` a function, `D` data, `V` data that a program
//! may define instead. Programs copy data by its size, so sizes count; whether data is zero in the file
//! does not.
#![forbid(unsafe_code)]

use crate::library::{SOURCES, directory, is_the_original, said};
use std::collections::BTreeMap;
use std::path::Path;

/// Name, then kind and the size of data.
type Names = BTreeMap<String, (String, Option<u64>)>;

pub fn compare() {
    let (shared, archive) = (directory().join("libwrap.so.0"), directory().join("libwrap.a"));
    let listed = listed();
    assert_eq!(names(&["-D", "-S", "--defined-only"], &shared), listed, "libwrap.so.0");
    let mut inside = names(&["-g", "-S", "--defined-only"], &archive);
    if is_the_original() {
        inside.remove("aclexec_matched");
    }
    assert_eq!(inside, listed, "libwrap.a");
    needs(&shared);
}

fn listed() -> Names {
    let text = std::fs::read_to_string(Path::new(SOURCES).join("symbols.txt")).expect("symbols.txt");
    let row = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let size = words.get(2).map(|size| size.parse().expect("a size"));
        (words[0].to_owned(), (words[1].to_owned(), size))
    };
    text.lines().map(row).collect()
}

/// What nm(1) says, in the words of the list.
fn names(words: &[&str], file: &Path) -> Names {
    let mut names = Names::new();
    for line in said("nm", words, file).lines() {
        // Address, size if there is one, kind, name; other lines are the titles of an archive's members.
        let words: Vec<&str> = line.split_whitespace().collect();
        let (size, kind, name) = match words[..] {
            [_, size, kind, name] => (size, kind, name),
            [_, kind, name] => ("0", kind, name),
            _ => continue,
        };
        let kind = if kind == "B" { "D" } else { kind };
        let size = (kind != "T").then(|| u64::from_str_radix(size, 16).expect("a size"));
        let twice = names.insert(name.to_owned(), (kind.to_owned(), size));
        assert!(twice.is_none(), "{name} is there twice");
    }
    names
}

fn needs(shared: &Path) {
    let dynamic = said("readelf", &["-dW"], shared);
    let values = |tag: &str| -> Vec<String> {
        let tagged = dynamic.lines().filter(|line| line.contains(&format!("({tag})")));
        let value = |line: &str| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned());
        tagged.filter_map(value).collect()
    };
    assert_eq!(values("SONAME"), ["libwrap.so.0"]);
    let may_need = |name: &String| name.starts_with("ld-linux") || is_the_original() && name == "libnsl.so.2";
    let mut needed = values("NEEDED");
    needed.retain(|name| !may_need(name));
    assert_eq!(needed, ["libc.so.6"]);
    assert!(!dynamic.contains("TEXTREL"), "{dynamic}");
}
