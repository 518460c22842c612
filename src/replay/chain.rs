//! Which lines tell of one and the same connection?
//!
//! xinetd says that it has started a process for a client, and that process says in one line or two that
//! it refuses, now and then before the other has said that it was started. sshd has a line for the
//! connection and others for each attempt to log in. Such lines are one connection here.
//!
//! What is remembered is bounded: who floods the log makes old lines forgotten, and at worst a
//! connection is counted as served that was refused a hundred thousand lines later.

#![forbid(unsafe_code)]

use super::shapes::Service;
use crate::facts::DaemonName;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Processes of xinetd that are remembered.
const PROCESSES_MAX: usize = 4096;
/// Attempts to log in that are remembered.
const ATTEMPTS_MAX: usize = 1 << 16;
/// A start is told so many lines behind the refusal at most.
const LATE_MAX: u64 = 100;

/// `--service CALLED=DAEMON`: what a super-server calls a service, and what rules call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    pub called: Vec<u8>,
    pub daemon: DaemonName,
}

impl Renamed {
    pub fn named(text: &str) -> Result<Renamed, String> {
        match text.split_once('=') {
            Some((called, daemon)) if !called.is_empty() && !daemon.is_empty() => {
                Ok(Renamed { called: called.into(), daemon: DaemonName::stated(daemon.as_bytes()) })
            }
            _ => Err("NAME=DAEMON is wanted".to_owned()),
        }
    }
}

/// What is remembered. `H` is a connection that is not yet counted.
pub struct Chain<H> {
    /// By the process, with the line.
    started: BTreeMap<u32, (u64, H)>,
    /// Processes that have refused.
    refused: HashMap<u32, Refused>,
    attempts: HashSet<(u32, u16, Vec<u8>)>,
    daemons: HashMap<Vec<u8>, Vec<u8>>,
}

#[derive(Clone, Copy)]
struct Refused {
    line: u64,
    /// Its start was told before; one that comes now is another.
    was_started: bool,
}

impl<H> Chain<H> {
    pub fn new(renamed: Vec<Renamed>) -> Chain<H> {
        let names = |renamed: Renamed| (renamed.called, renamed.daemon.as_ref().to_vec());
        let daemons = renamed.into_iter().map(names).collect();
        Chain { started: BTreeMap::new(), refused: HashMap::new(), attempts: HashSet::new(), daemons }
    }

    /// The name of a service that rules know, if anybody has told it.
    pub fn daemon<'a>(&'a self, service: Service<'a>) -> Option<&'a [u8]> {
        match service {
            Service::Daemon(name) => Some(name),
            Service::Called(name) => self.daemons.get(name).map(Vec::as_slice),
        }
    }

    /// libwrap knows a service by this name. What the administrator said counts more.
    pub fn learn(&mut self, called: &[u8], daemon: &[u8]) {
        if !self.daemons.contains_key(called) {
            self.daemons.insert(called.to_vec(), daemon.to_vec());
        }
    }

    /// Whether this attempt belongs to a connection that was told before.
    pub fn is_known(&mut self, pid: Option<u32>, port: u16, address: &[u8]) -> bool {
        let Some(pid) = pid else { return false };
        if self.attempts.len() >= ATTEMPTS_MAX {
            self.attempts.clear();
        }
        !self.attempts.insert((pid, port, address.to_vec()))
    }

    /// A process was started for a connection. What is to be counted as served now.
    pub fn begin(&mut self, pid: u32, line: u64, connection: H) -> Vec<H> {
        let is_its = |refused: Refused| !refused.was_started && line.saturating_sub(refused.line) <= LATE_MAX;
        if self.refused.remove(&pid).is_some_and(is_its) {
            return Vec::new();
        }
        let mut served: Vec<H> =
            self.started.insert(pid, (line, connection)).into_iter().map(|(_, held)| held).collect();
        if self.started.len() > PROCESSES_MAX {
            served.extend(self.all());
        }
        served
    }

    /// A process has refused, one way or the other. Whether that was told before. Where the log does not say
    /// which process writes, it is the last one that was started for the `same` connection.
    pub fn refuse(&mut self, pid: Option<u32>, line: u64, same: impl Fn(&H) -> bool) -> bool {
        let Some(pid) = pid else {
            let candidates = self.started.iter().filter(|(_, (_, held))| same(held));
            let last = candidates.max_by_key(|(_, (line, _))| *line).map(|(pid, _)| *pid);
            last.map(|pid| self.started.remove(&pid));
            return false;
        };
        if self.refused.len() >= PROCESSES_MAX {
            self.refused.clear();
        }
        let was_started = self.started.remove(&pid).is_some();
        let is_told = |refused: &Refused| !was_started && line.saturating_sub(refused.line) <= LATE_MAX;
        if self.refused.get(&pid).is_some_and(is_told) {
            return true;
        }
        self.refused.insert(pid, Refused { line, was_started });
        false
    }

    /// A process has ended: it is to be counted as served, if nobody said that it refused.
    pub fn end(&mut self, pid: u32) -> Option<H> {
        self.refused.remove(&pid);
        self.started.remove(&pid).map(|(_, held)| held)
    }

    /// All that are to be counted as served at the end, in the order of their lines.
    pub fn all(&mut self) -> Vec<H> {
        let mut held: Vec<_> = std::mem::take(&mut self.started).into_values().collect();
        held.sort_by_key(|(line, _)| *line);
        held.into_iter().map(|(_, held)| held).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Chain<&'static str> {
        Chain::new(vec![Renamed::named("ftp=in.ftpd").expect("two names")])
    }

    fn refuse(chain: &mut Chain<&'static str>, pid: u32, line: u64) -> bool {
        chain.refuse(Some(pid), line, |_| false)
    }

    #[test]
    fn services_have_two_names() {
        let mut chain = chain();
        assert_eq!(chain.daemon(Service::Called(b"ftp")), Some(&b"in.ftpd"[..]));
        assert_eq!(chain.daemon(Service::Called(b"tftp")), None);
        assert_eq!(chain.daemon(Service::Daemon(b"tftp")), Some(&b"tftp"[..]));
        chain.learn(b"tftp", b"in.tftpd");
        chain.learn(b"ftp", b"other");
        assert_eq!(chain.daemon(Service::Called(b"tftp")), Some(&b"in.tftpd"[..]));
        assert_eq!(chain.daemon(Service::Called(b"ftp")), Some(&b"in.ftpd"[..]));
        assert!(
            Renamed::named("ftp").is_err() && Renamed::named("=x").is_err() && Renamed::named("x=").is_err()
        );
    }

    #[test]
    fn a_start_holds_until_its_process_refuses() {
        let mut chain = chain();
        assert_eq!(chain.begin(7, 1, "seven"), [""; 0]);
        assert_eq!(chain.begin(8, 2, "eight"), [""; 0]);
        assert!(!refuse(&mut chain, 7, 3) && refuse(&mut chain, 7, 4), "two lines for one refusal");
        assert_eq!((chain.end(8), chain.end(7)), (Some("eight"), None));
        // Numbers come again.
        assert_eq!(chain.begin(7, 5, "again"), [""; 0]);
        assert_eq!(chain.begin(7, 6, "and again"), ["again"]);
        assert_eq!(chain.all(), ["and again"]);
    }

    /// As in the file that xinetd keeps itself.
    #[test]
    fn a_refusal_without_a_process_is_of_the_last_that_was_started() {
        let mut chain = chain();
        for (pid, name) in [(9, "one"), (8, "other"), (7, "one")] {
            assert_eq!(chain.begin(pid, 10 - u64::from(pid), name), [""; 0]);
        }
        assert!(!chain.refuse(None, 4, |held| *held == "one"));
        assert_eq!(chain.all(), ["one", "other"]);
        assert!(!chain.refuse(None, 5, |held| *held == "one"));
    }

    #[test]
    fn a_refusal_may_come_before_its_start() {
        let mut chain = chain();
        assert!(!refuse(&mut chain, 7, 1));
        assert_eq!(chain.begin(7, 2, "seven"), [""; 0]);
        assert_eq!(chain.all(), [""; 0]);
        // Long after it is another.
        assert!(!refuse(&mut chain, 7, 3));
        assert_eq!(chain.begin(7, 4 + LATE_MAX, "other"), [""; 0]);
        assert_eq!(chain.all(), ["other"]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut chain = chain();
        let served: usize =
            (1..).take(3 * PROCESSES_MAX).map(|pid| chain.begin(pid, pid.into(), "x").len()).sum();
        assert!(served > PROCESSES_MAX);
        (1..).take(3 * PROCESSES_MAX).for_each(|pid| assert!(!refuse(&mut chain, pid, 1_000_000)));
        assert!(chain.refused.len() <= PROCESSES_MAX);
        (0..u16::MAX).for_each(|port| assert!(!chain.is_known(Some(1), port, b"192.0.2.7")));
        (0..9).for_each(|port| assert!(!chain.is_known(Some(2), port, b"192.0.2.7")));
        assert!(chain.is_known(Some(2), 1, b"192.0.2.7") && !chain.is_known(None, 1, b"192.0.2.7"));
    }
}
