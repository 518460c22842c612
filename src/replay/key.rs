//! Is this client of this service one that was seen before?

#![forbid(unsafe_code)]

use super::judge::Known;
use super::shapes::{Connection, Service};

/// The facts of a connection in one piece: what is known is compared by it, and taken out of it again.
/// Six lengths, the port, then the texts.
#[derive(Clone, Default)]
pub struct Key(Vec<u8>);

const TEXTS: usize = 6;
const PORT: usize = 4 * TEXTS;
const HEAD: usize = PORT + 4;
/// The length of a text that is not there.
const NONE: u32 = u32::MAX;

impl Key {
    /// All of it, to be compared.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes the facts of a connection to a service of this name.
    pub fn set(&mut self, connection: &Connection<'_>, daemon: Option<&[u8]>) {
        let called = match connection.service {
            Service::Called(name) if daemon.is_none() => Some(name),
            _ => None,
        };
        let client = &connection.client;
        let (server, port) = connection.server;
        let texts = [daemon, client.address, client.name.as_deref(), client.user.as_deref(), server, called];
        self.write(texts, port);
    }

    fn write(&mut self, texts: [Option<&[u8]>; TEXTS], port: Option<u16>) {
        self.0.clear();
        for text in texts {
            let length = text.map_or(NONE, |text| u32::try_from(text.len()).unwrap_or(0));
            self.0.extend_from_slice(&length.to_le_bytes());
        }
        self.0.extend_from_slice(&port.map_or(NONE, u32::from).to_le_bytes());
        texts.into_iter().flatten().for_each(|text| self.0.extend_from_slice(text));
    }

    fn texts(&self) -> ([Option<&[u8]>; TEXTS], Option<u16>) {
        let number = |at: usize| {
            let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk());
            bytes.map_or(NONE, |bytes| u32::from_le_bytes(*bytes))
        };
        let mut at = HEAD;
        let mut texts = [None; TEXTS];
        for (text, place) in texts.iter_mut().zip((0..).step_by(4)) {
            let length = number(place);
            if length != NONE {
                let end = at + length as usize;
                *text = self.0.get(at..end);
                at = end;
            }
        }
        (texts, u16::try_from(number(PORT)).ok())
    }

    pub fn known(&self) -> Known<'_> {
        let ([daemon, address, name, user, server, _], server_port) = self.texts();
        Known { daemon, address, name, user, server, server_port }
    }

    /// The name that a super-server has for the service, where rules' name is not known.
    pub fn called(&self) -> Option<&[u8]> {
        self.texts().0.last().copied().flatten()
    }

    /// The same for a service whose name is known now.
    pub fn with_daemon(&self, daemon: &[u8]) -> Key {
        let ([_, address, name, user, server, _], port) = self.texts();
        let mut key = Key::default();
        key.write([Some(daemon), address, name, user, server, None], port);
        key
    }
}
