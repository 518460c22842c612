//! What does a decision cost inside a program that is linked with libwrap?
//!
//! One C program, `calls.c`, runs with our library and with the reference's in turns, because absolute
//! times differ from machine to machine and from minute to minute; ratios are taken within a round. As
//! root everything happens in the laboratory of the tests, where the rules in /etc and their compiled
//! image are the bench's. Not as root the program is told its tables, and there is no image.
//!
//! ```text
//! cargo bench --bench per_call
//! ```

#[path = "../common/mod.rs"]
mod common;
#[macro_use]
#[path = "../../tests/lab/mod.rs"]
#[allow(dead_code, unused_imports, unused_macros)]
mod lab;
#[path = "../per_connection/table.rs"]
#[allow(dead_code)]
mod table;

use lab::place::{Place, overlay, tmpfs};
use lab::{install, write};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use table::{Spread, relative, row, table};
use wrap::tables::image;

const ROUNDS: usize = 21;
const STATE: &str = "/var/lib/tcpd";

/// So many rules, whether ours has an image of them, how many decisions are timed (ours, reference), and
/// what ours may cost where the reference costs 1.
struct Size {
    rules: usize,
    compiled: bool,
    calls: [usize; 2],
    most: f64,
}

const SIZES: [Size; 3] = [
    Size { rules: 20, compiled: false, calls: [4_000, 4_000], most: 1.0 },
    Size { rules: 1_000, compiled: false, calls: [300, 300], most: 1.0 },
    Size { rules: 100_000, compiled: true, calls: [1_000, 3], most: 0.01 },
];

impl Size {
    fn tables(&self) -> [String; 2] {
        match self.rules {
            20 => common::TWENTY.map(str::to_owned),
            count => [String::new(), common::lines(count)],
        }
    }

    fn name(&self) -> String {
        format!("{} rules{}", self.rules, if self.compiled { ", compiled" } else { "" })
    }
}

fn main() -> ExitCode {
    // `cargo test --benches` starts benches, too, but not to measure.
    if !std::env::args().any(|word| word == "--bench") {
        return ExitCode::SUCCESS;
    }
    // The main thread stays outside: the laboratory ends every process that lives in it.
    let inside = std::thread::spawn(|| {
        let scene = Scene::enter();
        let said = scene.measure();
        if let Some(place) = &scene.place {
            place.kill_everybody();
        }
        said
    });
    println!("{}", inside.join().expect("the bench runs to its end"));
    ExitCode::SUCCESS
}

/// Where it takes place: the program, and a directory for each of the two libraries.
struct Scene {
    place: Option<Place>,
    directory: PathBuf,
    has_reference: bool,
    remarks: String,
}

impl Scene {
    fn enter() -> Scene {
        let built = lab::library::under_test::directory();
        let ours = fs::read(built.join("libwrap.so.0")).expect("the library that was just built");
        let program = compiled(built);
        let reference = reference();
        let mut remarks = common::machine() + "\n";
        if reference.is_none() {
            remarks += "NO REFERENCE: there is no libwrap.so.0 of TCP Wrapper (apt-get install libwrap0)\n";
        }
        let place = nix::unistd::geteuid().is_root().then(Place::enter);
        let directory = match &place {
            Some(_) => {
                overlay("/var/lib");
                fs::create_dir_all(STATE).unwrap();
                tmpfs(STATE, "mode=0755");
                PathBuf::from("/run/bench")
            }
            None => {
                remarks += "NOT ROOT: no namespaces, no compiled image\n";
                Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("calls-{}", std::process::id()))
            }
        };
        let scene = Scene { has_reference: reference.is_some(), place, directory, remarks };
        install(&scene.file("calls"), &program, 0o755);
        install(&scene.file("ours/libwrap.so.0"), &ours, 0o644);
        if let Some(reference) = reference {
            install(&scene.file("reference/libwrap.so.0"), &reference, 0o644);
        }
        scene
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// The two tables, in their place.
    fn tables(&self) -> [String; 2] {
        ["hosts.allow", "hosts.deny"].map(|name| match self.place {
            Some(_) => format!("/etc/{name}"),
            None => self.file(name),
        })
    }

    fn measure(&self) -> String {
        let mut rows =
            vec![row([&"CPU us for a call", &"ours", &"reference", &"ours / reference", &"at most"])];
        for size in SIZES.iter().filter(|size| self.place.is_some() || !size.compiled) {
            eprintln!("measuring: {}", size.name());
            rows.push(self.measure_size(size));
        }
        let title = format!(
            "CALLS: hosts_access() in one process, client not listed. Medians of {ROUNDS} rounds, in brackets \
             the middle half"
        );
        self.remarks.clone() + &table(&title, &rows)
    }

    fn measure_size(&self, size: &Size) -> Vec<String> {
        let tables = self.tables();
        for (table, text) in tables.iter().zip(size.tables()) {
            write(table, text);
        }
        if self.place.is_some() {
            let _ = fs::remove_file(image::PATH);
            if size.compiled {
                common::put(Path::new(image::PATH), &common::compile(tables.each_ref().map(Path::new)));
            }
        }
        let libraries = ["ours", "reference"];
        let mut times = libraries.map(|_| Vec::new());
        for turn in 0..ROUNDS {
            for step in 0..libraries.len() {
                // Nobody is always the first.
                let index = (turn + step) % libraries.len();
                if index == 0 || self.has_reference {
                    times[index].push(self.run(libraries[index], size.calls[index]));
                }
            }
        }
        let [ours, reference] = times;
        let most = format!("{}", size.most);
        if reference.is_empty() {
            return row([&size.name(), &format!("{:.2}", Spread::of(ours)), &"-", &"-", &most]);
        }
        let ratio = precise(&ours, &reference);
        let [ours, reference] = [ours, reference].map(|times| format!("{:.2}", Spread::of(times)));
        row([&size.name(), &ours, &reference, &ratio, &most])
    }

    /// Microseconds for a decision.
    fn run(&self, library: &str, calls: usize) -> f64 {
        let mut command = Command::new(self.file("calls"));
        command.env_clear().env("LD_LIBRARY_PATH", self.file(library)).arg(calls.to_string());
        if self.place.is_none() {
            command.args(self.tables());
        }
        let said = command.stdin(Stdio::null()).output().expect("starts");
        assert!(said.status.success(), "{library}: {}", String::from_utf8_lossy(&said.stderr));
        let text = String::from_utf8(said.stdout).expect("UTF-8");
        text.trim().parse::<f64>().expect("a number") / 1000.0
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if self.place.is_none() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// A small ratio needs more places.
fn precise(ours: &[f64], reference: &[f64]) -> String {
    let ratios: Vec<f64> = ours.iter().zip(reference).map(|(this, that)| this / that).collect();
    match Spread::of(ratios) {
        spread if spread.median < 0.1 => format!("{spread:.4}"),
        _ => relative(ours, reference),
    }
}

/// The program, linked with whichever library it finds.
fn compiled(library: &Path) -> Vec<u8> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/per_call/calls.c");
    let target = format!("{}/calls-{}.bin", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-o", &target, source];
    let status =
        Command::new("cc").args(flags).arg("-I").arg(library).arg(library.join("libwrap.so.0")).status();
    assert!(status.is_ok_and(|status| status.success()), "benches/per_call/calls.c does not compile");
    let bytes = fs::read(&target).unwrap();
    fs::remove_file(&target).unwrap();
    bytes
}

/// The reference's library, if what bears its name is it: it asks for NIS, and ours does not.
fn reference() -> Option<Vec<u8>> {
    let found = Command::new("cc").arg("-print-file-name=libwrap.so.0").output().ok()?;
    let bytes = fs::read(String::from_utf8(found.stdout).ok()?.trim()).ok()?;
    let mark = b"yp_get_default_domain";
    bytes.windows(mark.len()).any(|part| part == mark).then_some(bytes)
}
