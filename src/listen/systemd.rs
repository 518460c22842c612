//! Which sockets did the service manager leave us? (sd_listen_fds(3), systemd.socket(5))
//!
//! It names a process, a number, and the descriptors are those from 3 on. Whatever does not fit is an
//! error and not "none": somebody asked for these sockets, and a service that listens nowhere is no
//! service. The variables are for this process alone and are not handed on.

#![forbid(unsafe_code)]

use crate::error::Error;
use crate::sys::{environment, inherited, process, socket};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

const PID: &[u8] = b"LISTEN_PID";
const FDS: &[u8] = b"LISTEN_FDS";
/// All variables of the protocol; the identity of the process is a newer, second way to name it.
const VARIABLES: [&[u8]; 4] = [PID, FDS, b"LISTEN_FDNAMES", b"LISTEN_PIDFDID"];

/// What was left.
#[derive(Debug)]
pub struct Handed {
    pub sockets: Vec<OwnedFd>,
    /// The environment for all that is executed.
    pub environment: Vec<CString>,
}

/// Takes the sockets. Called first thing: the descriptors must not have become somebody else's.
pub fn take() -> Result<Handed, Error> {
    let environment = environment::given();
    let trouble = |text: String| Error::new("cannot take sockets from systemd", "", io::Error::other(text));
    let count = count(&environment, process::pid()).map_err(trouble)?;
    let sockets = inherited::take(count)
        .map_err(|(fd, cause)| Error::new("cannot take from systemd", format!("descriptor {fd}"), cause))?;
    for (fd, socket) in (3..).zip(&sockets) {
        socket::make_listener(socket.as_fd())
            .map_err(|cause| Error::new("cannot listen on", format!("descriptor {fd}"), cause))?;
    }
    Ok(Handed { sockets, environment: without(environment) })
}

fn value<'a>(environment: &'a [CString], name: &[u8]) -> Option<&'a [u8]> {
    environment.iter().find_map(|entry| entry.to_bytes().strip_prefix(name)?.strip_prefix(b"="))
}

/// How many sockets were left for the process `pid`; in words why there are none.
fn count(environment: &[CString], pid: u32) -> Result<u32, String> {
    let number = |name: &[u8]| -> Result<u32, String> {
        let shown = String::from_utf8_lossy(name);
        let text = value(environment, name).ok_or(format!("{shown} is not set"))?;
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        number
            .filter(|&number| number > 0)
            .ok_or_else(|| format!("{shown} is \"{}\", no number above 0", String::from_utf8_lossy(text)))
    };
    match number(PID)? {
        named if named == pid => number(FDS),
        named => Err(format!("they are for process {named}, and this is {pid}")),
    }
}

fn without(mut environment: Vec<CString>) -> Vec<CString> {
    let is_ours = |entry: &CString| {
        let name = entry.to_bytes().split(|&byte| byte == b'=').next();
        name.is_some_and(|name| VARIABLES.contains(&name))
    };
    environment.retain(|entry| !is_ours(entry));
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(text: &str) -> Vec<CString> {
        text.split(' ').map(|entry| CString::new(entry).expect("no NUL")).collect()
    }

    #[test]
    fn sockets_are_for_the_process_that_is_named() {
        let counted = |text| count(&environment(text), 42);
        assert_eq!(counted("A=b LISTEN_FDS=2 LISTEN_PID=42"), Ok(2));
        for (text, words) in [
            ("A=b", "LISTEN_PID is not set"),
            ("LISTEN_PID=42", "LISTEN_FDS is not set"),
            ("LISTEN_PID=41 LISTEN_FDS=1", "they are for process 41, and this is 42"),
            ("LISTEN_PID=42 LISTEN_FDS=0", "LISTEN_FDS is \"0\", no number above 0"),
            ("LISTEN_PID=42 LISTEN_FDS=-1", "LISTEN_FDS is \"-1\", no number above 0"),
            ("LISTEN_PID= LISTEN_FDS=1", "LISTEN_PID is \"\", no number above 0"),
            ("LISTEN_PID=42 LISTEN_FDS=1x", "LISTEN_FDS is \"1x\", no number above 0"),
        ] {
            assert_eq!(counted(text), Err(words.to_owned()), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_taken_out_of_the_environment() {
        let text =
            "LISTEN_PID=1 A=b LISTEN_FDS=1 LISTEN_FDNAMES=x:y LISTEN_PIDFDID=7 LISTEN_FDS LISTEN_PORT=79 odd";
        assert_eq!(without(environment(text)), environment("A=b LISTEN_PORT=79 odd"));
    }
}
