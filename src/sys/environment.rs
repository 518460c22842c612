//! What this process was told about itself by whoever started it, as a list.
//!
//! The environment of the process is read once and never changed: a lookup thread may be reading it, and
//! what a server is to find in its own is given to exec.

use std::ffi::{CStr, CString, c_char};
use std::io;

unsafe extern "C" {
    /// environ(7).
    pub(super) static environ: *const *const c_char;
}

/// The environment as it was given, malformed entries included.
pub fn given() -> Vec<CString> {
    let mut entries = Vec::new();
    // SAFETY: environ(7) is null or an array of NUL-terminated strings that ends in a null pointer;
    // nothing in this program changes it.
    unsafe {
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() {
            entries.push(CStr::from_ptr(*next).to_owned());
            next = next.add(1);
        }
    }
    entries
}

/// The same environment with `name` set to `value`.
pub fn with_variable(mut entries: Vec<CString>, name: &[u8], value: &[u8]) -> io::Result<Vec<CString>> {
    let entry = CString::new([name, b"=", value].concat()).map_err(|_| io::Error::other("NUL byte"))?;
    let is_same =
        |old: &CString| old.to_bytes().strip_prefix(name).is_some_and(|rest| rest.starts_with(b"="));
    entries.retain(|old| !is_same(old));
    entries.push(entry);
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_replaces_its_namesake() {
        let old = vec![CString::from(c"A=1"), CString::from(c"AB=2"), CString::from(c"odd")];
        let new = with_variable(old, b"A", b"x y").expect("no NUL");
        assert_eq!(new, [CString::from(c"AB=2"), CString::from(c"odd"), CString::from(c"A=x y")]);
    }
}
