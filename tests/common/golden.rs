//! Files of what is expected, and how they are compared: byte for byte, the first line that differs is shown,
//! and `UPDATE_GOLDEN=1` writes them anew.
#![forbid(unsafe_code)]
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// The inputs of a directory below `tests`, by name.
pub fn inputs(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(directory);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut inputs: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    inputs.retain(|path| path.extension().is_some_and(|extension| extension == "in"));
    inputs.sort();
    assert!(!inputs.is_empty());
    inputs
}

/// Each input of a directory through `run`, beside the `.ref` of the same name.
pub fn check_all(directory: &str, run: impl Fn(&str, &str) -> String) {
    let mut wrong = Vec::new();
    for input in inputs(directory) {
        let name = input.file_stem().expect("a name").to_string_lossy().into_owned();
        let ours = run(&name, &fs::read_to_string(&input).expect("UTF-8"));
        wrong.extend(difference(&input.with_extension("ref"), &ours));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Where our words differ from those of a file, if they do.
pub fn difference(file: &Path, ours: &str) -> Option<String> {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file, ours).expect("the file");
    }
    let theirs = fs::read_to_string(file).unwrap_or_default();
    if theirs == ours {
        return None;
    }
    let name = file.file_name().unwrap_or_default().display();
    let (mut before, mut after) = (theirs.lines(), ours.lines());
    loop {
        match (before.next(), after.next()) {
            (None, None) => return Some(format!("{name}: the ends differ")),
            (before, after) if before == after => {}
            (before, after) => {
                let shown = |line: Option<&str>| line.unwrap_or("(end)").to_owned();
                return Some(format!("{name}:\n- {}\n+ {}", shown(before), shown(after)));
            }
        }
    }
}
