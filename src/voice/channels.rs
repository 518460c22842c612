//! What is open for the log, from the start of the process to its end.
//!
//! Files are opened once, before this process may become somebody else, and every voice of the process
//! and of its children speaks through them. What cannot be opened is complained of on the others.

#![forbid(unsafe_code)]

use super::fields::{Fields, LogFile};
use super::stderr::Stderr;
use super::{Channel, Speaker, Voice, safe};
use crate::error::Error;
use crate::logline::{Entry, Level};
use crate::settings::{LogTo, Settings};
use crate::sys::syslog::DEV_LOG;
use crate::sys::{append, process};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// The channels of a process.
pub struct Channels {
    syslog: bool,
    stderr: Option<OwnedFd>,
    journal: bool,
    files: Vec<LogFile>,
    facility: u8,
}

impl Channels {
    /// Syslog alone; `facility` is that of lines whose rule names none.
    pub fn syslog(facility: u8) -> Channels {
        Channels { syslog: true, stderr: None, journal: false, files: Vec::new(), facility }
    }

    /// A descriptor alone that is known to be no client (`process::own_copy`).
    pub fn on_stderr(fd: OwnedFd) -> Channels {
        Channels { syslog: false, stderr: Some(fd), ..Channels::syslog(Settings::default().facility) }
    }

    /// Opens what was asked for. Standard error that may be the client is replaced by syslog, and so is
    /// everything if nothing is left; the lines say what is not there.
    pub fn open(wanted: &[LogTo], facility: u8) -> (Channels, Vec<Entry>) {
        let mut channels = Channels { syslog: false, ..Channels::syslog(facility) };
        let mut missing = Vec::new();
        for log in wanted {
            match log {
                LogTo::Syslog => channels.syslog = true,
                LogTo::Stderr => channels.stderr = process::own_copy(2),
                LogTo::Journal => channels.journal = true,
                LogTo::Json(path) => channels.open_file(path, &mut missing),
            }
        }
        let is_client = wanted.contains(&LogTo::Stderr) && channels.stderr.is_none();
        channels.syslog |= is_client || channels.are_none();
        (channels, missing)
    }

    #[cold]
    #[inline(never)]
    fn open_file(&mut self, path: &Path, missing: &mut Vec<Entry>) {
        match append::open(path, process::caller()) {
            Ok(file) => self.files.push(Arc::new((path.to_path_buf(), file))),
            Err(cause) => {
                let error = Error::new("cannot log to", path.display().to_string(), cause);
                missing.push(Entry::new(Level::Err, format!("error: {error}")));
            }
        }
    }

    fn are_none(&self) -> bool {
        !self.syslog && self.stderr.is_none() && !self.journal && self.files.is_empty()
    }

    /// The same once more, for somebody who outlives these.
    pub fn again(&self) -> Channels {
        let stderr = self.stderr.as_ref().and_then(|fd| fd.try_clone().ok());
        let syslog = self.syslog || (self.stderr.is_some() && stderr.is_none());
        Channels { syslog, stderr, files: self.files.clone(), ..*self }
    }

    /// A voice of this process that speaks for `name`.
    pub fn voice(&self, name: &[u8]) -> Voice {
        let speaker = Speaker { tag: name.to_vec(), pid: process::pid() };
        let own = self.again();
        let stderr = own.stderr.map(|fd| Channel::Stderr(Stderr::new(fd, safe(name))));
        let journal = own.journal.then(|| Channel::Fields(Fields::journal()));
        let files = own.files.into_iter().map(|file| Channel::Fields(Fields::json(file)));
        let mut others = stderr.into_iter().chain(journal).chain(files);
        let mut voice = match (own.syslog, others.next()) {
            (false, Some(first)) => Voice::on(first, speaker, self.facility),
            (_, second) => {
                let voice = Voice::to_syslog(Path::new(DEV_LOG), speaker, self.facility);
                second.into_iter().fold(voice, Voice::and)
            }
        };
        for channel in others {
            voice = voice.and(channel);
        }
        voice
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::{Duration, Instant};

    fn on_stderr(fd: OwnedFd) -> Voice {
        let mut voice = Channels::on_stderr(fd).voice(b"d");
        voice.speaks_for(1);
        voice
    }

    #[test]
    fn a_reader_that_sleeps_is_waited_for_once() {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let mut voice = on_stderr(writer.into());
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
        let mut voice = on_stderr(writer.into()).lasting();
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
