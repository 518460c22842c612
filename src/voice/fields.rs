//! Channels with fields: the journal, and files of JSON.
//!
//! What a channel does not take is dropped and counted, and the count is the next event that gets
//! through.

#![forbid(unsafe_code)]

use crate::event::{Event, Kind, journal, json};
use crate::logline::Level;
use crate::sys::append::append;
use crate::sys::mailbox::Mailbox;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where journald listens.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// A file of JSON that was opened, and its path for messages.
pub type LogFile = Arc<(PathBuf, File)>;

pub struct Fields {
    way: Way,
    lost: u32,
}

enum Way {
    Journal(Mailbox),
    Json(LogFile),
}

impl Fields {
    pub fn journal() -> Fields {
        Fields { way: Way::Journal(Mailbox::new(Path::new(JOURNAL))), lost: 0 }
    }

    pub fn json(file: LogFile) -> Fields {
        Fields { way: Way::Json(file), lost: 0 }
    }

    /// A regular file is never waited for.
    pub fn may_wait(&self) -> bool {
        matches!(self.way, Way::Journal(_))
    }

    pub fn set_patience(&mut self, patience: Duration, renewed: bool) {
        if let Way::Journal(mailbox) = &mut self.way {
            mailbox.set_patience(patience, renewed);
        }
    }

    /// Tells of an event, or drops and counts it.
    pub fn tell(&mut self, event: &Event<'_>) {
        if self.lost > 0 {
            let reader = match &self.way {
                Way::Journal(_) => "journald".into(),
                Way::Json(file) => file.0.display().to_string(),
            };
            let message = format!("warning: {} log message(s) lost: {reader} did not take them", self.lost);
            let lost = Event {
                kind: Kind::Warning,
                message: message.as_bytes(),
                level: Level::Warning.number(),
                rule: None,
                connection: None,
                verdict: None,
                ..*event
            };
            if self.pass(&lost).is_ok() {
                self.lost = 0;
            }
        }
        if self.pass(event).is_err() {
            self.lost = self.lost.saturating_add(1);
        }
    }

    fn pass(&mut self, event: &Event<'_>) -> io::Result<()> {
        match &mut self.way {
            Way::Journal(mailbox) => mailbox.send(&journal::print(event)),
            Way::Json(file) => append(&file.1, &json::print(event)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::time::SystemTime;

    fn event(message: &[u8]) -> Event<'_> {
        Event {
            time: SystemTime::UNIX_EPOCH,
            kind: Kind::Info,
            message,
            facility: 3,
            level: 6,
            daemon: b"d",
            tag: b"d",
            pid: 1,
            rule: None,
            connection: None,
            verdict: None,
        }
    }

    #[test]
    fn what_the_journal_did_not_take_is_counted_and_said() {
        let path = std::env::temp_dir().join(format!("tcpd-journal-{}", std::process::id()));
        let mut fields = Fields { way: Way::Journal(Mailbox::new(&path)), lost: 0 };
        fields.tell(&event(b"one"));
        fields.tell(&event(b"two"));
        let journal = UnixDatagram::bind(&path).expect("binds");
        journal.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        fields.tell(&event(b"three"));
        let said = || {
            let mut datagram = [0; 2000];
            let length = journal.recv(&mut datagram).expect("a datagram");
            String::from_utf8_lossy(&datagram[..length]).into_owned()
        };
        let lost = said();
        assert!(lost.starts_with("MESSAGE=warning: 2 log message(s) lost: journald did not"), "{lost}");
        assert!(lost.contains(Kind::Warning.message_id()) && lost.contains("\nPRIORITY=4\n"), "{lost}");
        assert!(said().starts_with("MESSAGE=three\n"));
        fields.tell(&event(b"four"));
        assert!(said().starts_with("MESSAGE=four\n"), "it is said once");
        std::fs::remove_file(path).expect("removes");
    }
}
