//! Small servers that lie as a test tells them to: ident, DNS, finger, mail.
//!
//! Each runs in a thread of the lab until it goes out of scope. What it does with one client is
//! a closure, so that the hostile behaviour stands in the test that needs it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Every connection gets a thread of its own, which is not waited for.
    pub fn tcp(address: &str, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Server {
        let door = patient(address, || TcpListener::bind(address));
        door.set_nonblocking(true).unwrap();
        let serve = Arc::new(serve);
        Server::looping(move || {
            wait_for(&door);
            if let Ok((client, _)) = door.accept() {
                client.set_nonblocking(false).unwrap();
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(client));
            }
        })
    }

    /// Every datagram may be answered with any number of datagrams.
    pub fn udp(address: &str, answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Server {
        let socket = patient(address, || UdpSocket::bind(address));
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Server::looping(move || {
            let mut buffer = [0; 4096];
            if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                for reply in answer(&buffer[..length]) {
                    let _ = socket.send_to(&reply, from);
                }
            }
        })
    }

    fn looping(mut step: impl FnMut() + Send + 'static) -> Server {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                step();
            }
        });
        Server { stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A child that some other test is just starting may hold the last server's socket for a moment,
/// until it executes its program.
fn patient<T>(address: &str, bind: impl Fn() -> std::io::Result<T>) -> T {
    let mut bound = bind();
    super::patiently(|| {
        if bound.is_err() {
            bound = bind();
        }
        bound.is_ok()
    });
    bound.unwrap_or_else(|error| panic!("{address}: {error}"))
}

fn wait_for(door: &TcpListener) {
    use std::os::fd::AsFd;
    let mut wanted = [PollFd::new(door.as_fd(), PollFlags::POLLIN)];
    let _ = poll(&mut wanted, PollTimeout::from(50_u16));
}

/// Questions that an ident server was asked, with the address that asked.
pub type Questions = Arc<Mutex<Vec<(String, String)>>>;

/// An ident server (RFC 1413). `behave` gets the connection, the client's port and the server's.
pub fn ident(
    address: &str,
    behave: impl Fn(TcpStream, &str, &str) + Send + Sync + 'static,
) -> (Server, Questions) {
    let questions = Questions::default();
    let heard = Arc::clone(&questions);
    let address = match address.contains(':') {
        true => format!("[{address}]:113"),
        false => format!("{address}:113"),
    };
    let server = Server::tcp(&address, move |stream| {
        let mut question = String::new();
        let asker = stream.peer_addr().unwrap().ip().to_string();
        if BufReader::new(&stream).read_line(&mut question).is_err() {
            return;
        }
        heard.lock().unwrap().push((question.clone(), asker));
        let (client, server) = question.trim().split_once(',').unwrap_or(("", ""));
        behave(stream, client.trim(), server.trim());
    });
    (server, questions)
}

/// An ident server that sends a fixed reply; `<R>` and `<L>` in it become the two ports.
pub fn ident_says(address: &str, reply: &str) -> (Server, Questions) {
    let reply = reply.to_owned();
    ident(address, move |mut stream, client, server| {
        let reply = reply.replace("<R>", client).replace("<L>", server);
        let _ = stream.write_all(reply.as_bytes());
    })
}
