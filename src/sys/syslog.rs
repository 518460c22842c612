//! The way to syslogd, which may be missing, dead or stuck: none of that may hold a connection.
//!
//! Lines are as syslog(3) writes them (RFC 3164, local time, no host name), through the syslog crate
//! with a format and a [`Mailbox`] of our own. What syslogd does not take is dropped, counted, and the
//! count is the next line that gets through.

use super::clock::Clock;
use super::mailbox::Mailbox;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use syslog::{LogFormat, Logger, Severity};

/// Where syslogd listens.
pub const DEV_LOG: &str = "/dev/log";

/// Longest text of a line, bytes.
const TEXT_MAX: usize = 16 * 1024;

/// A facility number (not shifted), a level 0 to 7, and a text.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    pub facility: u8,
    pub level: u8,
    pub text: &'a [u8],
}

/// Writes lines: tag, process id, local time.
struct Lines {
    tag: Vec<u8>,
    pid: u32,
    clock: Clock,
}

impl LogFormat<Message<'_>> for Lines {
    fn format<W: Write>(&self, w: &mut W, severity: Severity, message: Message<'_>) -> syslog::Result<()> {
        let priority = message.facility << 3 | severity as u8;
        let mut line = format!("<{priority}>{} ", self.clock.timestamp()).into_bytes();
        line.extend_from_slice(&self.tag);
        line.extend_from_slice(format!("[{}]: ", self.pid).as_bytes());
        line.extend_from_slice(message.text.get(..TEXT_MAX).unwrap_or(message.text));
        w.write_all(&line).map_err(syslog::Error::Write)
    }
}

/// A channel to syslogd. Opened with its first line.
pub struct Syslog {
    logger: Logger<Mailbox, Lines>,
    facility: u8,
    lost: u32,
}

impl Syslog {
    /// `tag` stands before the process id; `facility` is that of lines without one of their own.
    pub fn new(path: &Path, tag: &[u8], pid: u32, facility: u8) -> Syslog {
        Syslog {
            logger: Logger::new(
                Mailbox::of_either_kind(path),
                Lines { tag: tag.to_vec(), pid, clock: Clock::default() },
            ),
            facility,
            lost: 0,
        }
    }

    /// How long a syslogd that is stuck is waited for; see [`Mailbox::set_patience`].
    pub fn set_patience(&mut self, patience: Duration, renewed: bool) {
        self.logger.backend.set_patience(patience, renewed);
    }

    /// From here on lines are those of another process.
    pub fn speaks_for(&mut self, pid: u32) {
        self.logger.formatter.pid = pid;
    }

    /// Sends a line, or drops and counts it. The facility of the message counts if it is not 0.
    pub fn send(&mut self, message: Message<'_>) {
        if self.lost > 0 {
            let lost = format!("warning: {} log message(s) lost: syslogd did not take them", self.lost);
            if self.pass(Message { facility: 0, level: 4, text: lost.as_bytes() }).is_ok() {
                self.lost = 0;
            }
        }
        if self.pass(message).is_err() {
            self.lost = self.lost.saturating_add(1);
        }
    }

    fn pass(&mut self, message: Message<'_>) -> syslog::Result<()> {
        let facility = if message.facility == 0 { self.facility } else { message.facility };
        let severity = match message.level {
            0 => Severity::LOG_EMERG,
            1 => Severity::LOG_ALERT,
            2 => Severity::LOG_CRIT,
            3 => Severity::LOG_ERR,
            4 => Severity::LOG_WARNING,
            5 => Severity::LOG_NOTICE,
            6 => Severity::LOG_INFO,
            _ => Severity::LOG_DEBUG,
        };
        let Logger { formatter, backend } = &mut self.logger;
        formatter.format(backend, severity, Message { facility, ..message })
    }
}

#[cfg(test)]
mod tests {
    use super::super::mailbox::PATIENCE_LASTING;
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::path::PathBuf;
    use std::time::Instant;

    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("tcpd-syslog-{name}-{}", std::process::id()))
    }

    fn text(log: &UnixDatagram) -> String {
        let mut line = [0; 500];
        log.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        let length = log.recv(&mut line).expect("a line");
        String::from_utf8_lossy(&line[..length]).into_owned()
    }

    #[test]
    fn lines_look_as_syslog_writes_them() {
        let path = place("lines");
        let log = UnixDatagram::bind(&path).expect("binds");
        let mut syslog = Syslog::new(&path, b"in.ftpd", 42, 3);
        syslog.send(Message { facility: 0, level: 6, text: b"connect from h (192.0.2.7)" });
        syslog.send(Message { facility: 4, level: 2, text: b"x" });
        let line = text(&log);
        assert!(
            line.starts_with("<30>") && line.ends_with(" in.ftpd[42]: connect from h (192.0.2.7)"),
            "{line}"
        );
        assert_eq!(line.len(), "<30>Nov  1 09:27:14 in.ftpd[42]: connect from h (192.0.2.7)".len());
        assert!(text(&log).starts_with("<34>"));
        std::fs::remove_file(path).expect("removes");
    }

    #[test]
    fn what_is_lost_is_counted_and_said() {
        let path = place("lost");
        let mut syslog = Syslog::new(&path, b"d", 1, 3);
        let line = Message { facility: 0, level: 6, text: b"hello" };
        syslog.send(line);
        let log = UnixDatagram::bind(&path).expect("binds");
        let begun = Instant::now();
        for _ in 0..600 {
            syslog.send(line);
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "a stuck reader holds nobody");
        assert!(text(&log).contains("1 log message(s) lost"));
        while log.set_nonblocking(true).is_ok() && log.recv(&mut [0; 500]).is_ok() {}
        syslog.send(line);
        assert!(text(&log).contains("log message(s) lost"));
        assert!(text(&log).ends_with("hello"));
        // Another test may have started a child, which holds the socket a moment longer.
        log.shutdown(std::net::Shutdown::Both).expect("it reads no more");
        drop(log);
        std::fs::remove_file(&path).expect("removes");
        syslog.send(line);
        let log = UnixDatagram::bind(&path).expect("a new daemon");
        syslog.send(line);
        assert!(text(&log).contains("1 log message(s) lost"), "the new socket is found");
        std::fs::remove_file(path).expect("removes");
    }

    #[test]
    fn a_process_that_lasts_is_not_held_by_a_stuck_reader() {
        let path = place("lasting");
        let log = UnixDatagram::bind(&path).expect("binds");
        let mut syslog = Syslog::new(&path, b"d", 1, 3);
        syslog.set_patience(PATIENCE_LASTING, true);
        let line = Message { facility: 0, level: 6, text: b"hello" };
        let begun = Instant::now();
        for _ in 0..20_000 {
            syslog.send(line);
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        while log.set_nonblocking(true).is_ok() && log.recv(&mut [0; 500]).is_ok() {}
        syslog.speaks_for(42);
        syslog.send(line);
        assert!(text(&log).contains("log message(s) lost"));
        assert!(text(&log).ends_with(" d[42]: hello"));
        std::fs::remove_file(path).expect("removes");
    }
}
