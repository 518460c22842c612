//! Has anything become more expensive? Times cannot tell on a machine that others use; instructions can.
//!
//! Five fixed pieces of work are run under valgrind, which counts the instructions between the start of
//! the piece and its end. The counts stand in `instructions.txt`, with the versions they were taken
//! with; another compiler or another C library makes other instructions, so they are compared only
//! where these agree.
//!
//! ```text
//! cargo bench --bench instructions                           # compare
//! UPDATE_INSTRUCTIONS=1 cargo bench --bench instructions     # a change was meant: write them anew
//! ```
#![forbid(unsafe_code)]

mod common;

use common::Scene;
use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use wrap::rules::compiled::Role;
use wrap::rules::compiled::draft::Draft;
use wrap::rules::{Entry, Table};
use wrap::sys::file::{Found, find};
use wrap::tables::TextTable;

/// How far a count may be from the one in the file.
const TOLERANCE: f64 = 0.03;

/// What is counted: a name, and how it is set up. What comes out of that is run once for the count.
const SCENARIOS: [Scenario; 5] = [
    ("decide, 20 rules", || decision(Scene::new("twenty", common::TWENTY))),
    ("decide, 10,000 lines", || decision(Scene::of_lines(10_000))),
    ("decide, pattern file of 10,000", || decision(Scene::of_words(10_000))),
    ("decide, 10,000 lines compiled", || decision(by_the_same_image(Scene::of_lines(10_000)))),
    ("compile 10,000 lines", || compilation(Scene::of_lines(10_000))),
];

type Scenario = (&'static str, fn() -> Work);
type Work = Box<dyn FnMut()>;

fn decision(scene: Scene) -> Work {
    scene.check();
    Box::new(move || drop(black_box(scene.decide())))
}

/// An image like any other, but that its seed is not drawn: where an entry stands depends on the seed, and
/// how many others are passed on the way to it.
fn by_the_same_image(scene: Scene) -> Scene {
    let mut draft = Draft::new(1);
    for path in scene.tables() {
        let Found::Regular(stamp) = find(&path).unwrap() else { panic!("{} is no file", path.display()) };
        let name = path.as_os_str().as_encoded_bytes();
        let source = draft.source(Role::Table, name, Some(stamp.numbers())).expect("room for it");
        let mut table = TextTable::new(&path);
        loop {
            let spot = table.position();
            let Entry::Line(_, parsed) = table.next() else { break };
            draft.line(source, spot, &parsed);
        }
    }
    let mut image = Vec::new();
    draft.write(0, &mut image).unwrap();
    common::put(&scene.path("image"), &image);
    scene
}

fn compilation(scene: Scene) -> Work {
    Box::new(move || drop(black_box(scene.compile())))
}

/// The counter runs while this function does. Its name is the one that valgrind is told, and it must
/// not be part of another name: counting would end where that one begins.
#[inline(never)]
fn counted_from_here_to_its_end(work: &mut dyn FnMut()) {
    work();
}

const COUNTED: &str = "*counted_from_here_to_its_end*";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, name] = arguments.as_slice()
        && word == "scenario"
    {
        let (_, set_up) = SCENARIOS.iter().find(|(known, _)| known == name).expect("a scenario");
        let mut work = set_up();
        counted_from_here_to_its_end(black_box(&mut *work));
        return ExitCode::SUCCESS;
    }
    // `cargo test --benches` starts benches, too, but not to measure.
    if !arguments.iter().any(|word| word == "--bench") {
        return ExitCode::SUCCESS;
    }
    guard()
}

fn guard() -> ExitCode {
    let Some(valgrind) = version_of("valgrind", &["--version"]) else {
        println!("INSTRUCTIONS NOT COUNTED: valgrind is missing (apt-get install valgrind)");
        return if must_be_whole() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.txt");
    let conditions = conditions();
    let mut counts = Vec::new();
    for (name, _) in SCENARIOS {
        counts.push((name, count(name)));
    }
    if std::env::var_os("UPDATE_INSTRUCTIONS").is_some_and(|value| value == "1") {
        fs::write(&file, written(&conditions, &counts)).unwrap();
        println!("written: {}", file.display());
        return ExitCode::SUCCESS;
    }
    let text = fs::read_to_string(&file).unwrap_or_default();
    let recorded = recorded(&text);
    let differing: Vec<_> =
        conditions.iter().filter(|(name, now)| recorded.get(*name) != Some(now)).collect();

    println!("instructions, counted by {valgrind}");
    println!("{:<32}{:>14}{:>14}{:>9}", "", "recorded", "now", "ratio");
    let mut wrong = false;
    for (name, now) in counts {
        let old = recorded.get(name).and_then(|text| text.parse::<u64>().ok());
        let ratio = old.map(|old| now as f64 / old as f64);
        let holds = ratio.is_some_and(|ratio| (ratio - 1.0).abs() <= TOLERANCE);
        let shown = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        println!(
            "{name:<32}{:>14}{now:>14}{:>9}{}",
            shown(old.map(|old| old.to_string())),
            shown(ratio.map(|ratio| format!("{ratio:.3}"))),
            if holds { "" } else { "  <--" }
        );
        wrong |= !holds;
    }
    if !differing.is_empty() {
        println!("INSTRUCTIONS NOT COMPARED: the recorded counts were taken elsewhere.");
        for (name, now) in differing {
            println!("  {name}: here {now}, recorded {}", recorded.get(*name).map_or("nothing", |old| old));
        }
        return ExitCode::SUCCESS;
    }
    if wrong {
        println!("more than {} % apart. Is it meant? Then: UPDATE_INSTRUCTIONS=1", TOLERANCE * 100.0);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Whether what is missing on this machine is a failure.
fn must_be_whole() -> bool {
    let is = |name, wanted| std::env::var(name).is_ok_and(|value| value == wanted);
    is("CI", "true") || is("TCPD_REAL", "1")
}

/// What the counts depend on beside the sources.
fn conditions() -> Vec<(&'static str, String)> {
    let unknown = || "unknown".to_owned();
    // The C library picks its string functions by these, and valgrind passes them on.
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let wide = cpu.split_whitespace().any(|word| word == "avx2");
    vec![
        ("libc", version_of("getconf", &["GNU_LIBC_VERSION"]).unwrap_or_else(unknown)),
        ("rustc", version_of("rustc", &["--version"]).unwrap_or_else(unknown)),
        ("processor", format!("{}{}", std::env::consts::ARCH, if wide { " avx2" } else { "" })),
    ]
}

/// The first line that a program says.
fn version_of(program: &str, arguments: &[&str]) -> Option<String> {
    let said = Command::new(program).args(arguments).output().ok().filter(|said| said.status.success())?;
    String::from_utf8_lossy(&said.stdout).lines().next().map(str::to_owned)
}

/// Runs one scenario under valgrind: the instructions of the counted piece.
fn count(name: &str) -> u64 {
    let file = format!("callgrind-{}", std::process::id());
    let out: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    let said = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().unwrap())
        .args(["scenario", name])
        .output()
        .unwrap();
    let profile = fs::read_to_string(&out).unwrap_or_default();
    let _ = fs::remove_file(&out);
    let total = profile.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = total.and_then(|total| total.trim().parse().ok()).unwrap_or(0);
    // Nothing would be counted, without a word, if the function had been inlined or renamed.
    assert!(said.status.success() && total > 1000, "{name}: {total} instructions, valgrind said {said:?}");
    total
}

/// `name = value` lines.
fn written(conditions: &[(&str, String)], counts: &[(&str, u64)]) -> String {
    let mut text = "# Instructions of fixed pieces of work, and what they were counted with. Written by\n\
         # UPDATE_INSTRUCTIONS=1 cargo bench --bench instructions\n"
        .to_owned();
    for (name, value) in conditions {
        text += &format!("{name} = {value}\n");
    }
    for (name, count) in counts {
        text += &format!("{name} = {count}\n");
    }
    text
}

fn recorded(text: &str) -> BTreeMap<&str, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(" = ")).map(|(name, value)| (name, value.to_owned())).collect()
}
