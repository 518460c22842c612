//! A name server that says anything: which answers can an attacker give who owns a reverse zone?
//!
//! dnsmasq checks what it is told to serve, so hostile names, silence and slowness need a server
//! of our own. It understands exactly one question per datagram and answers with the bytes that
//! the test gives it.

use std::time::Duration;

use super::server::Server;

pub enum Reply {
    /// A PTR record; the labels are sent as they are, whatever bytes they hold.
    Pointer(Vec<Vec<u8>>),
    Address([u8; 4]),
    /// A PTR record with this data, however malformed.
    PointerData(Vec<u8>),
    NoSuchName,
    Silence,
    /// The same, later.
    After(Duration, Box<Reply>),
}

impl Reply {
    pub fn pointer(name: &str) -> Reply {
        Reply::Pointer(name.split('.').map(|label| label.as_bytes().to_vec()).collect())
    }

    pub fn one_label(bytes: &[u8]) -> Reply {
        Reply::Pointer(vec![bytes.to_vec(), b"example".to_vec(), b"com".to_vec()])
    }
}

/// Serves the lab's port 53 and makes it the place where names come from. `answer` gets the name
/// in lower case and the type (1 = A, 12 = PTR, 28 = AAAA).
pub fn serve(answer: impl Fn(&str, u16) -> Reply + Send + Sync + 'static) -> Server {
    serve_at("127.0.0.1:53", answer)
}

/// The same at another address.
pub fn serve_at(address: &str, answer: impl Fn(&str, u16) -> Reply + Send + Sync + 'static) -> Server {
    names_from_dns();
    Server::udp(address, move |question| {
        let Some((name, kind, end)) = question_of(question) else {
            return Vec::new();
        };
        reply(&question[..end], answer(&name, kind)).into_iter().collect()
    })
}

pub fn names_from_dns() {
    let nsswitch = std::fs::read_to_string("/etc/nsswitch.conf").unwrap();
    super::write("/etc/nsswitch.conf", nsswitch.replace("hosts: files", "hosts: dns"));
}

fn question_of(bytes: &[u8]) -> Option<(String, u16, usize)> {
    let mut name = String::new();
    let mut at = 12;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(bytes.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]);
    (bytes.len() >= at + 4).then_some((name, kind, at + 4))
}

fn reply(question: &[u8], answer: Reply) -> Option<Vec<u8>> {
    let mut bytes = question.to_vec();
    // A response, recursion available; one question, no authority, nothing additional.
    bytes[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    let (kind, data) = match answer {
        Reply::Silence => return None,
        Reply::After(time, answer) => {
            std::thread::sleep(time);
            return reply(question, *answer);
        }
        Reply::NoSuchName => {
            bytes[3] |= 3;
            return Some(bytes);
        }
        Reply::Address(address) => (1, address.to_vec()),
        Reply::PointerData(data) => (12, data),
        Reply::Pointer(labels) => (12, wire_name(&labels)),
    };
    bytes[7] = 1;
    bytes.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60]);
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    Some(bytes)
}

fn wire_name(labels: &[Vec<u8>]) -> Vec<u8> {
    let mut name = Vec::new();
    for label in labels {
        name.push(label.len() as u8);
        name.extend(label);
    }
    name.push(0);
    name
}
