//! What may the machine be asked on which a log is read?
//!
//! Accounts that options name, and interfaces: these are part of what rules mean here. Names of clients only
//! where that is wanted, for the answer of today need not be that of the day of the log.

#![forbid(unsafe_code)]

use super::judge::Machine;
use super::tally::source;
use crate::facts::{Ask, Fact, HostName, Identity, NoSuch};
use crate::lookup::{Live, checked_name};
use std::net::SocketAddr;
use std::time::Duration;

pub struct ThisMachine {
    live: Live<'static>,
    looks_up: bool,
}

impl ThisMachine {
    /// `looks_up`: names may be asked for, each within `budget`.
    pub fn new(looks_up: bool, budget: Duration) -> ThisMachine {
        ThisMachine { live: Live::new((None, None), false, budget), looks_up }
    }
}

impl Machine for ThisMachine {
    fn name(&self, address: &[u8]) -> Option<Fact<HostName>> {
        let address = source(address).filter(|_| self.looks_up)?;
        Some(checked_name(SocketAddr::new(address, 0), self.live.budget, &mut Vec::new()))
    }

    fn identity(&self, user: Option<&[u8]>, group: Option<&[u8]>) -> Result<Identity, NoSuch> {
        self.live.identity(user, group)
    }

    fn interface_exists(&self, name: &[u8]) -> bool {
        self.live.interface_exists(name)
    }
}
