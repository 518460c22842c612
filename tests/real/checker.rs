//! Does tcpdchk find nothing in the examples, on a machine that has what they name?

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::lab::{install, launch, set_mode, write};

#[test]
fn the_examples_are_without_a_warning() {
    let etc = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc");
    let names = ["hosts.allow", "hosts.deny", "inetd.conf", "tcpd.conf", "banners/in.ftpd"];
    let texts = names.map(|name| (name, fs::read(etc.join(name)).unwrap()));
    let checker = fs::read(env!("CARGO_BIN_EXE_tcpdchk")).unwrap();
    let _lab = open_lab!();
    for (name, text) in texts {
        let path = format!("/etc/{name}");
        write(&path, text);
        set_mode(&path, 0o644);
    }
    install("/usr/sbin/tcpdchk", &checker, 0o755);
    for program in ["in.ftpd", "in.fingerd", "in.tftpd", "safe_finger", "mail"] {
        install(&format!("/usr/sbin/{program}"), b"#!/bin/sh\n", 0o755);
    }
    let (exit, said, stderr) = launch::run(Command::new("/usr/sbin/tcpdchk").args(["--format", "short"]));
    assert_eq!((exit, stderr.as_str()), (0, ""), "{said}");
    let complaints: Vec<_> = said.lines().filter(|line| !line.contains(": advice: ")).collect();
    assert_eq!(complaints, [""; 0]);
}
