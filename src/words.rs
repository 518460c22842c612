//! The words of what only a checker says: tcpdchk(8), tcpdmatch(8). The reference's where it has any.
//!
//! The lines of a running wrapper stand in `logline`, where log filters are thought of first. Nothing
//! here is ever matched by one; what is the reference's is still kept byte for byte, because scripts
//! read the checker's output.

#![forbid(unsafe_code)]

use crate::error::ServiceFlaw;
use std::path::Path;

/// Pieces of text and foreign bytes, control bytes made visible.
fn join(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in parts.concat().iter() {
        if byte.is_ascii_control() && byte != b'\t' && byte != b'\r' {
            out.extend_from_slice(format!("\\{byte:03o}").as_bytes());
        } else {
            out.push(byte);
        }
    }
    out
}

/// A line of inetd.conf(5).
pub fn service(flaw: &ServiceFlaw) -> Vec<u8> {
    match flaw {
        ServiceFlaw::Incomplete => b"incomplete line".to_vec(),
        ServiceFlaw::NotFound { path, reason } => join(&[path, b": not found: ", reason.as_bytes()]),
        ServiceFlaw::NotExecutable(path) => join(&[path, b": not executable"]),
        ServiceFlaw::Insecure(name) => join(&[name, b" may be an insecure service"]),
        ServiceFlaw::CallsItself(name) => join(&[name, b" is recursively calling itself"]),
        ServiceFlaw::SetId(path) => join(&[path, b": file is set-uid or set-gid"]),
        ServiceFlaw::Inserted { path, before } => join(&[path, b" inserted before ", before]),
        ServiceFlaw::NotInDirectory { name, directory, reason } => {
            join(&[name, b": not found in ", directory.as_bytes(), b": ", reason.as_bytes()])
        }
        ServiceFlaw::CannotWrap(name) => join(&[name, b": cannot wrap rpc/tcp services"]),
        ServiceFlaw::LookupFailed { path, reason } => join(&[path, b": file lookup: ", reason.as_bytes()]),
    }
}

pub fn world_writable(path: &Path) -> Vec<u8> {
    join(&[path.as_os_str().as_encoded_bytes(), b": world writable"])
}
