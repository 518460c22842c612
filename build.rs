//! Links the unwinder statically. The standard library asks for libgcc_s.so, whose loading costs every
//! connection some tens of microseconds; a linker script of that name, found first, gives the linker
//! the archive that belongs to it. Where the C compiler has no such archive, nothing is changed.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let gnu = env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|environment| environment == "gnu");
    let native = env::var("HOST").ok() == env::var("TARGET").ok();
    let archive = Command::new("cc").arg("-print-file-name=libgcc_eh.a").output();
    let found =
        archive.is_ok_and(|said| PathBuf::from(String::from_utf8_lossy(&said.stdout).trim()).is_absolute());
    let Some(directory) = env::var_os("OUT_DIR").map(PathBuf::from).filter(|_| gnu && native && found) else {
        return;
    };
    if fs::write(directory.join("libgcc_s.so"), "INPUT(-lgcc_eh)\n").is_ok() {
        println!("cargo::rustc-link-search=native={}", directory.display());
    }
}
