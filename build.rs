//! Compiles the C part of libwrap, where that is asked for (feature `capi`); and two gifts to the dynamic
//! linker, which is most of what a connection costs. Both are for a native
//! build against the GNU C library; where either is not to be had, nothing is changed.
//!
//! * The unwinder is linked statically. The standard library asks for libgcc_s.so, whose loading costs
//!   every connection some tens of microseconds; a linker script of that name, found first, gives the
//!   linker the archive that belongs to it.
//! * Relative relocations are packed: 20 kB less to read. Only a C library from 2.36 on unpacks them, so
//!   an older one is not asked to; a linker that cannot pack them says so and goes on.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "capi")]
    compile_door();
    let gnu = env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|environment| environment == "gnu");
    let native = env::var("HOST").ok() == env::var("TARGET").ok();
    if gnu && native {
        link_unwinder();
        pack_relocations();
    }
}

/// The part of libwrap that is C. It ends up in the static library with everything else.
#[cfg(feature = "capi")]
fn compile_door() {
    for file in ["door.c", "tcpd.h"] {
        println!("cargo::rerun-if-changed=src/libwrap/{file}");
    }
    cc::Build::new().file("src/libwrap/door.c").warnings(true).extra_warnings(true).compile("wrapdoor");
}

fn link_unwinder() {
    let archive = Command::new("cc").arg("-print-file-name=libgcc_eh.a").output();
    let found =
        archive.is_ok_and(|said| PathBuf::from(String::from_utf8_lossy(&said.stdout).trim()).is_absolute());
    let Some(directory) = env::var_os("OUT_DIR").map(PathBuf::from).filter(|_| found) else {
        return;
    };
    if fs::write(directory.join("libgcc_s.so"), "INPUT(-lgcc_eh)\n").is_ok() {
        println!("cargo::rustc-link-search=native={}", directory.display());
    }
}

fn pack_relocations() {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let version = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned()).unwrap_or_default();
    let mut numbers = version.trim().trim_start_matches("glibc ").split('.').map(str::parse::<u32>);
    if let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next())
        && (major, minor) >= (2, 36)
    {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
