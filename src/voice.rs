//! To whom it is said: syslog, or standard error where that is certainly not the client.
//!
//! Carries the two severities that the `severity` option sets, so that every later line of the same
//! connection obeys them.

#![forbid(unsafe_code)]

use crate::logline::{Entry, Level, escape, printable};
use crate::rules::options::Priority;
use crate::sys::clock::Clock;
use crate::sys::file::without_waiting;
use crate::sys::mailbox::{PATIENCE, PATIENCE_LASTING};
use crate::sys::socket::write_until;
use crate::sys::syslog::{Message, Syslog};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a line may take when all patience is gone.
const LEAST_PATIENCE: Duration = Duration::from_millis(1);

/// Who speaks: the name in front of the process id, which is the daemon's.
#[derive(Clone, Debug)]
pub struct Speaker {
    pub tag: Vec<u8>,
    pub pid: u32,
}

/// Where lines go.
enum Channel {
    Syslog(Syslog),
    Stderr { file: File, speaker: Speaker, clock: Clock, patience: Duration, renewal: Option<Duration> },
}

/// A channel and the severities of this connection.
pub struct Voice {
    channel: Channel,
    allow: Priority,
    deny: Priority,
}

impl Voice {
    /// Speaks to the syslogd at `path`; `facility` is that of lines whose rule names none.
    pub fn to_syslog(path: &Path, speaker: &Speaker, facility: u8) -> Voice {
        Voice::on(Channel::Syslog(Syslog::new(path, &safe(&speaker.tag), speaker.pid, facility)))
    }

    /// Speaks on a descriptor that is known to be no client (`process::own_copy`).
    pub fn to_stderr(fd: OwnedFd, speaker: &Speaker) -> Voice {
        let speaker = Speaker { tag: safe(&speaker.tag), pid: speaker.pid };
        Voice::on(Channel::Stderr {
            file: File::from(fd),
            speaker,
            clock: Clock::default(),
            patience: PATIENCE,
            renewal: None,
        })
    }

    fn on(channel: Channel) -> Voice {
        let default = |level: Level| Priority { facility: None, level: level.number() };
        Voice { channel, allow: default(Level::Allow), deny: default(Level::Deny) }
    }

    /// For a process that lasts: a reader that sleeps is waited for once, a moment, until it is awake.
    pub fn lasting(mut self) -> Voice {
        match &mut self.channel {
            Channel::Syslog(syslog) => syslog.set_patience(PATIENCE_LASTING, true),
            Channel::Stderr { file, patience, renewal, .. } => {
                // Children write to the same pipe: it may be full between a look and a write.
                if let Some(own) = without_waiting(file) {
                    *file = own;
                }
                (*patience, *renewal) = (PATIENCE_LASTING, Some(PATIENCE_LASTING));
            }
        }
        self
    }

    /// From here on lines are those of another process, or of this one again.
    pub fn speaks_for(&mut self, pid: u32) {
        match &mut self.channel {
            Channel::Syslog(syslog) => syslog.speaks_for(pid),
            Channel::Stderr { speaker, .. } => speaker.pid = pid,
        }
    }

    /// Obeys a `severity` option, for good.
    pub fn set_severity(&mut self, priority: Priority) {
        (self.allow, self.deny) = (priority, priority);
    }

    pub fn say(&mut self, entry: &Entry) {
        let text = printable(&entry.text);
        let priority = match entry.level {
            Level::Allow => self.allow,
            Level::Deny => self.deny,
            level => Priority { facility: None, level: level.number() },
        };
        match &mut self.channel {
            Channel::Syslog(syslog) => {
                let facility = priority.facility.unwrap_or(0);
                syslog.send(Message { facility, level: priority.level, text: &text });
            }
            Channel::Stderr { file, speaker, clock, patience, renewal } => {
                let head = format!("[{}]: ", speaker.pid);
                let parts = [clock.timestamp().as_bytes(), b" ", &speaker.tag, head.as_bytes(), &text, b"\n"]
                    .concat();
                // A reader that is gone, or does not read, changes no verdict, and is waited for once.
                let begun = Instant::now();
                let least = if renewal.is_some() { Duration::ZERO } else { LEAST_PATIENCE };
                match write_until(file.as_fd(), &parts, begun + (*patience).max(least)) {
                    Err(_) => *patience = patience.saturating_sub(begun.elapsed()),
                    Ok(()) => *patience = renewal.unwrap_or(*patience),
                }
            }
        }
    }

    pub fn say_all(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.say(entry);
        }
    }
}

fn safe(tag: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(tag.len());
    escape(tag, b"[]:", &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_reader_that_sleeps_is_waited_for_once() {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let speaker = Speaker { tag: b"d".to_vec(), pid: 1 };
        let mut voice = Voice::to_stderr(writer.into(), &speaker);
        let line = Entry::new(Level::Info, [b'x'; 1000]);
        let begun = Instant::now();
        for _ in 0..400 {
            voice.say(&line);
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let mut whole = vec![0; 50 * 1024];
        reader.read_exact(&mut whole).expect("what was taken");
        voice.say(&Entry::new(Level::Info, "awake"));
        drop(voice);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).expect("the rest");
        assert!(rest.ends_with(b" d[1]: awake\n"), "it is spoken to again");
    }

    #[test]
    fn a_process_that_lasts_waits_for_a_moment_each_time_the_reader_falls_asleep() {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let speaker = Speaker { tag: b"d".to_vec(), pid: 1 };
        let mut voice = Voice::to_stderr(writer.into(), &speaker).lasting();
        let line = Entry::new(Level::Info, [b'x'; 1000]);
        for _ in 0..3 {
            let begun = Instant::now();
            for _ in 0..1000 {
                voice.say(&line);
            }
            assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
            reader.read_exact(&mut vec![0; 50 * 1024]).expect("what was taken");
        }
        voice.speaks_for(42);
        voice.say(&Entry::new(Level::Info, "awake"));
        drop(voice);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).expect("the rest");
        assert!(rest.ends_with(b" d[42]: awake\n"), "and in another's name");
    }
}
