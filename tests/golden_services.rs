//! What `tcpdchk --services` says about systems that are made up, in both formats: one tree each,
//! `tests/golden-services/*.in`, our words in the `.ref` beside it. `UPDATE_GOLDEN=1` rewrites the refs.
//!
//! An `.in` file is made of sections, each begun by a line `--- PATH [KIND ...]`: the text of a file of
//! the tree. A kind is `link TARGET`, `hard PATH` (another name of a file), `directory`,
//! `program LIBRARY...` (an ELF file that is linked with them, executable), `library NAME LIBRARY...`
//! (one that others know by that name), or `text` (executable text; `<ELF>` begins it as a program begins).
//! `--- arguments` holds further arguments. `program32` and `programbe` are for other machines.
#![forbid(unsafe_code)]

#[path = "common/elf.rs"]
mod elf;
#[path = "common/golden.rs"]
mod golden;

use elf::{Class, USUAL, linked};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use wrap::sys::file::in_memory;
use wrap::wrapped::elf::needs;

#[test]
fn golden_files() {
    golden::check_all("golden-services", run);
}

/// A directory that is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("services-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("root")).expect("a scratch directory");
        Scratch(path)
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tcpdchk(arguments: &[&str]) -> (i32, String, String) {
    tcpdchk_in(Path::new("/"), arguments)
}

fn tcpdchk_in(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpdchk"));
    let said = command.args(arguments).current_dir(directory).output().expect("tcpdchk runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (said.status.code().expect("an exit"), text(&said.stdout), text(&said.stderr))
}

fn run(name: &str, input: &str) -> String {
    let scratch = Scratch::new(name);
    let root = scratch.root();
    // Beside the tree, for links that lead out of it.
    fs::write(scratch.0.join("outside"), "outside: ALL\n").expect("a file");
    let mut arguments = Vec::new();
    for section in input.split("--- ").skip(1) {
        let (head, text) = section.split_once('\n').unwrap_or((section, ""));
        let words: Vec<&str> = head.split_whitespace().collect();
        match words.as_slice() {
            ["arguments"] => arguments = text.split_whitespace().collect(),
            [path, kind @ ..] => lay_out(&root, path, kind, text),
            [] => panic!("{name}: a section without a name"),
        }
    }
    let mut told = String::new();
    for format in ["human", "json"] {
        let call = [&["--services", "--root", "root", "--format", format], arguments.as_slice()].concat();
        let (exit, out, complaints) = tcpdchk_in(&scratch.0, &call);
        // Paths are those of the tree, wherever it is.
        assert!(!format!("{out}{complaints}").contains(scratch.0.to_str().expect("text")), "{name}: {out}");
        if format == "human" {
            let wide = out.lines().find(|line| line.chars().count() > 80);
            assert_eq!(wide, None, "{name}: wider than a terminal");
        }
        let out = match format {
            "json" => {
                let value: serde_json::Value = serde_json::from_str(&out).expect("JSON");
                serde_json::to_string_pretty(&value).expect("text") + "\n"
            }
            _ => out,
        };
        told.push_str(&format!("== {format}, exit {exit}\n{complaints}{out}"));
    }
    told
}

fn lay_out(root: &Path, path: &str, kind: &[&str], text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
    let (bytes, mode) = match kind {
        ["link", to] => return symlink(to, &path).expect("a link"),
        ["hard", other] => return fs::hard_link(root.join(other), &path).expect("a second name"),
        ["directory"] => return fs::create_dir_all(&path).expect("a directory"),
        ["program", needed @ ..] => (linked(USUAL, None, needed), 0o755),
        ["program32", needed @ ..] => (linked(Class { wide: false, ..USUAL }, None, needed), 0o755),
        ["programbe", needed @ ..] => (linked(Class { big_endian: true, ..USUAL }, None, needed), 0o755),
        ["library", name, needed @ ..] => (linked(USUAL, Some(name), needed), 0o644),
        ["text"] => (text.replace("<ELF>", "\x7fELF").into_bytes(), 0o755),
        [] => (text.as_bytes().to_vec(), 0o644),
        other => panic!("{other:?}"),
    };
    fs::write(&path, bytes).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
}

/// What is no tree is said, and nothing else.
#[test]
fn a_root_must_be_a_directory() {
    let (exit, out, complaint) = tcpdchk(&["--services", "--root", "/nonexistent/root"]);
    assert_eq!((exit, out.as_str()), (1, ""));
    assert_eq!(complaint, "/nonexistent/root: No such file or directory\n");
    let (exit, _, complaint) = tcpdchk(&["--services", "--root", "/dev/null"]);
    assert_eq!((exit, complaint.as_str()), (1, "/dev/null: Not a directory\n"));
}

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Compiles what stands in a text.
fn compile(text: &str, to: &Path, options: &[&str]) {
    let mut compiler = Command::new("cc")
        .args(["-x", "c", "-", "-o"])
        .arg(to)
        .args(options)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a C compiler");
    compiler.stdin.take().expect("piped").write_all(text.as_bytes()).expect("writes");
    assert!(compiler.wait().expect("ends").success());
}

/// A program that is linked with a library named libwrap.so.0, as a compiler does it; it has started.
fn linked_program(scratch: &Scratch) -> Running {
    let directory = scratch.0.to_str().expect("text");
    let library = scratch.0.join("libwrap.so.0");
    compile("int hosts_ctl(void) { return 0; }", &library, &["-shared", "-fPIC", "-Wl,-soname,libwrap.so.0"]);
    let program = scratch.0.join("asking-program");
    let text = "#include <unistd.h>\nint hosts_ctl(void);\n\
        int main(void) { char end; write(1, \"here\\n\", 5); return read(0, &end, 1) > 0 && hosts_ctl(); }\n";
    let (search, at_run_time) = (format!("-L{directory}"), format!("-Wl,-rpath,{directory}"));
    compile(text, &program, &["-Wno-unused-result", "-x", "none", &search, "-l:libwrap.so.0", &at_run_time]);
    assert!(needs(fs::File::open(&program).expect("opens")).is_some_and(|needs| needs.libwrap()));
    let mut command = Command::new(&program);
    let mut child = Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts"));
    // When it speaks, it has loaded what it loads.
    let mut line = String::new();
    BufReader::new(child.0.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
    assert_eq!(line, "here\n");
    child
}

/// The service of a name, on this machine with these rules.
fn of_this_machine(scratch: &Scratch, name: &str) -> serde_json::Value {
    let allow = scratch.0.join("allow");
    fs::write(&allow, format!("{name}: ALL\n")).expect("rules");
    let conf = scratch.0.join("tcpd.conf");
    fs::write(&conf, "").expect("settings");
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o600)).expect("a mode");
    let (allow, conf) = (allow.to_str().expect("text"), conf.to_str().expect("text"));
    let call = ["--services", "--format", "json", "--config", conf, "--allow", allow, "--deny", "/dev/null"];
    let (exit, out, complaints) = tcpdchk(&call);
    assert_eq!((exit, complaints.as_str()), (0, ""), "{out}");
    serde_json::from_str(&out).expect("JSON")
}

/// A process that has libwrap mapped is found, and what was replaced below it is said. The members of
/// all objects, of made systems and of this one, are those that the manual promises.
#[test]
fn running_processes_are_found_and_the_schema_is_in_the_manual() {
    let scratch = Scratch::new("running");
    let child = linked_program(&scratch);
    let found = of_this_machine(&scratch, "asking-program");
    let service = |found: &serde_json::Value| {
        let services = found["services"].as_array().expect("services").clone();
        services.into_iter().find(|service| service["daemon"] == "asking-program").expect("it is found")
    };
    let way = &service(&found)["ways"][0];
    assert_eq!((&way["kind"], &way["asker"]), (&"running".into(), &"libwrap".into()));
    assert_eq!(way["pids"], serde_json::json!([child.0.id()]));
    assert_eq!(way["notes"], serde_json::json!([]));
    assert!(way["library"].as_str().expect("a path").ends_with("/libwrap.so.0"));
    let named = found["names"].as_array().expect("names");
    assert_eq!((named.len(), &named[0]["answer"]), (1, &"services".into()));

    fs::remove_file(scratch.0.join("libwrap.so.0")).expect("removes");
    fs::rename(scratch.0.join("allow"), scratch.0.join("asking-program")).expect("replaces");
    let later = of_this_machine(&scratch, "asking-program");
    let notes = &service(&later)["ways"][0]["notes"];
    let codes: Vec<_> = notes.as_array().expect("notes").iter().map(|note| &note["code"]).collect();
    assert_eq!(codes, ["library-replaced", "program-replaced"]);

    let mut known = BTreeSet::new();
    members(&found, &mut known);
    for input in golden::inputs("golden-services") {
        let reference = fs::read_to_string(input.with_extension("ref")).expect("a ref");
        let (_, json) = reference.split_once("== json").expect("JSON");
        let json = &json[json.find('{').expect("an object")..];
        members(&serde_json::from_str(json).expect("JSON"), &mut known);
    }
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man/tcpdchk.8")).expect("the page");
    let (_, section) = page.split_once(".Ss JSON of services").expect("the section");
    let (section, _) = section.split_once("\n.S").expect("one more section");
    let items = section.lines().filter_map(|line| line.strip_prefix(".It Va "));
    let said: BTreeSet<_> = items.flat_map(|line| line.split(" , ")).map(str::to_owned).collect();
    assert_eq!(said, known);
}

/// The names of all members of all objects in a value.
fn members(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(object) => {
            found.extend(object.keys().cloned());
            object.values().for_each(|value| members(value, found));
        }
        serde_json::Value::Array(all) => all.iter().for_each(|value| members(value, found)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A damaged file is read within its bounds, or not at all.
    #[test]
    fn damaged_programs_do_no_harm(
        wide in any::<bool>(),
        big_endian in any::<bool>(),
        damage in proptest::collection::vec((0_usize..400, any::<u8>()), 0..12),
        cut in proptest::option::of(0_usize..400),
    ) {
        let mut bytes = linked(Class { wide, big_endian }, Some("liba.so.1"), &["libwrap.so.0", "libc.so.6"]);
        let whole = bytes.len();
        for (at, value) in &damage {
            if let Some(byte) = bytes.get_mut(*at) {
                *byte = *value;
            }
        }
        bytes.truncate(cut.unwrap_or(whole));
        let mut file = in_memory(c"damaged").expect("a file");
        file.write_all(&bytes).expect("writes");
        let needs = needs(file);
        let named = needs.iter().flat_map(|needs| needs.libraries.iter().chain(&needs.name));
        for name in named {
            // Whatever it says stands in it.
            prop_assert!(bytes.windows(name.len() + 1).any(|part| part[..name.len()] == **name && part[name.len()] == 0));
        }
        if damage.is_empty() && cut.is_none() {
            prop_assert!(needs.is_some_and(|needs| needs.libwrap() && needs.libraries.len() == 2));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever stands in the files of a tree, there is one object, and every service that is named asks.
    #[test]
    fn files_may_say_anything(
        lines in proptest::collection::vec(
            r#"(service|defaults|includedir|include|\[Service\]|\[Socket\]|ExecStart|Accept|Service|server|server_args|flags|libwrap)?[ =+-]{0,3}([ -~\t\\"';{}@%$]{0,30}|/usr/sbin/tcpd [ -~]{0,20}|\xff\x00)\\?"#,
            0..20,
        ),
    ) {
        let scratch = Scratch::new("anything");
        let root = scratch.root();
        let text = lines.join("\n");
        for path in [
            "etc/hosts.allow", "etc/hosts.deny", "etc/inetd.conf", "etc/inetd.d/x", "etc/xinetd.conf", "etc/services",
            "etc/systemd/system/a-b@.service", "etc/systemd/system/a-b.socket", "etc/systemd/system/a-.service.d/x.conf",
            "etc/stunnel/x.conf", "etc/vsftpd.conf", "etc/default/inetd",
        ] {
            lay_out(&root, path, &[], &text);
        }
        for name in ["xinetd", "inetd", "stunnel", "vsftpd"] {
            lay_out(&root, &format!("usr/sbin/{name}"), &["program", "libwrap.so.0"], "");
        }
        let root = root.to_str().expect("text");
        let (exit, out, _) = tcpdchk(&["--services", "--format", "json", "--root", root]);
        prop_assert!(exit == 0 || exit == 1, "{}", exit);
        let found: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        let all = found["services"].as_array().expect("services");
        prop_assert!(all.iter().all(|service| !service["ways"].as_array().expect("ways").is_empty()));
    }
}
