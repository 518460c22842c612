//! A syslog daemon that only listens: which lines did the wrapper send, byte for byte?
//!
//! Datagrams on a Unix socket are in the queue before the sender's call returns. So once a
//! process has ended, `drain` knows everything it said, and no waiting is needed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub priority: u32,
    /// The 15 bytes `Mmm dd hh:mm:ss`.
    pub stamp: String,
    pub tag: String,
    pub pid: Option<u32>,
    pub message: String,
}

pub struct Syslogd {
    socket: UnixDatagram,
}

impl Syslogd {
    pub fn listen(path: &str) -> Syslogd {
        let socket = UnixDatagram::bind(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Syslogd { socket }
    }

    /// Everything heard since the last call, in order.
    pub fn drain(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            lines.push(parse(&text).unwrap_or_else(|| panic!("not a syslog line: {text:?}")));
        }
        lines
    }
}

/// `<PRIORITY>Mmm dd hh:mm:ss TAG[PID]: MESSAGE`, the form of RFC 3164 without a host name.
fn parse(text: &str) -> Option<Line> {
    let (priority, rest) = text.strip_prefix('<')?.split_once('>')?;
    let (stamp, rest) = rest.split_at_checked(15)?;
    let shape: String = stamp
        .chars()
        .map(|letter| match letter {
            'A'..='Z' => 'A',
            'a'..='z' => 'a',
            '0'..='9' => '0',
            other => other,
        })
        .collect();
    if shape != "Aaa 00 00:00:00" && shape != "Aaa  0 00:00:00" {
        return None;
    }
    let (label, message) = rest.strip_prefix(' ')?.split_once(": ")?;
    let (tag, pid) = match label.strip_suffix(']').and_then(|label| label.split_once('[')) {
        Some((tag, pid)) => (tag, Some(pid.parse().ok()?)),
        None => (label, None),
    };
    let message = message.strip_suffix('\0').unwrap_or(message);
    Some(Line {
        priority: priority.parse().ok()?,
        stamp: stamp.to_owned(),
        tag: tag.to_owned(),
        pid,
        message: message.to_owned(),
    })
}
