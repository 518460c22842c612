//! tcpd(8): takes a connection, decides, logs, springs the traps, becomes the server, and is gone.
//!
//! The program is `Call::serve`, read from top to bottom. What stands round it keeps three promises:
//! nothing of ours is ever written to a descriptor that may be the client; a panic anywhere is a
//! logged refusal; the server finds its process as inetd made it. For the last there is no Rust
//! runtime start-up here (`main` is the C one), which would ignore SIGPIPE and open closed
//! descriptors.
//!
//! What is `cold`, here and below, stands apart from what every connection runs through: the fewer
//! pages that touches, the sooner the server is there.

#![no_main]
#![deny(unsafe_code)]

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::time::Duration;
use wrap::actions::{Outcome, RealHands, settle};
use wrap::error::Error;
use wrap::event::{About, Connection, Kind, Notes, Verdict, Why};
use wrap::facts::{Ask, DaemonName, Fact, Request, Side, Transport};
use wrap::invocation::{Door, Instead, Invocation, OWN_NAME, read};
use wrap::listen::{self, Doors, Gate, Service};
use wrap::logline::{self, Caller, Entry, Level, Line};
use wrap::lookup::{Live, Timed, endpoint, inet, transport};
use wrap::settings::{self, Resolve, Settings};
use wrap::sys::launch::Launcher;
use wrap::sys::{file, process, socket};
use wrap::tables::image::{Image, RuleTable};
use wrap::verdict::Tables;
use wrap::voice::{Channels, Voice};

/// How long a refused datagram holds the process: it throttles a flood of spoofed ones under `wait`.
const DATAGRAM_DELAY: Duration = Duration::from_secs(1);

/// The umask that a server finds, unless a rule says otherwise.
const UMASK: u32 = 0o022;

/// Exit status of a wrong call. A refusal is 0, as under the reference.
const USAGE: i32 = 2;

#[allow(unsafe_code, reason = "the C entry point has this name and no other")]
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    // Whoever unwinds to here has been logged by the panic hook; the connection closes unserved.
    catch_unwind(start).unwrap_or_else(|_| {
        leave_unserved();
        0
    })
}

/// A panic is told to the log and to nobody else: descriptor 2 may be the client.
fn report_panics(name: Vec<u8>, channels: Channels) {
    set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = format!("error: internal error at {place}");
        channels.voice(&name).say(&Entry::new(Level::Err, text));
    }));
}

fn start() -> i32 {
    report_panics(OWN_NAME.into(), Channels::syslog(Settings::default().facility));
    // Descriptor 0 may be closed; our files must not land there.
    let client = process::standard(0);
    process::fill_standard();
    let invocation = match read(std::env::args_os().collect(), process::is_privileged_start()) {
        Ok(invocation) => invocation,
        Err(instead) => return explain(&instead),
    };
    // Before any file is opened: the sockets that were left to us are known by their numbers.
    let handed = invocation.listen.contains(&Door::Systemd).then(listen::systemd::take).transpose();
    let reading = settings::read(invocation.config.as_deref(), process::caller());
    let settings = Settings {
        hosts_allow: invocation.allow.clone().unwrap_or(reading.settings.hosts_allow.clone()),
        hosts_deny: invocation.deny.clone().unwrap_or(reading.settings.hosts_deny.clone()),
        log: match invocation.log.as_slice() {
            [] => reading.settings.log.clone(),
            log => log.to_vec().into(),
        },
        image: invocation.image.clone().unwrap_or(reading.settings.image.clone()),
        ..reading.settings.clone()
    };
    let (channels, missing) = Channels::open(&settings.log, settings.facility);
    let voice = || channels.voice(&invocation.daemon);
    report_panics(invocation.daemon.clone(), channels.again());
    let mut call =
        Call { invocation: &invocation, settings: &settings, refuses: reading.refuses, environment: None };
    let complaints: Vec<_> = reading.problems.iter().flat_map(logline::problem).chain(missing).collect();
    if invocation.listen.is_empty() {
        let mut voice = voice();
        voice.say_all(&complaints);
        return call.answer(client, &mut voice);
    }
    let mut own_voice = channels.voice(OWN_NAME.as_bytes()).lasting();
    own_voice.say_all(&complaints);
    if reading.refuses {
        own_voice.say(&Entry::new(Level::Err, "error: every connection would be refused: not listening"));
        return 1;
    }
    // A service manager starts anew whoever ends with a failure; a panic has been logged by its hook.
    let listening = catch_unwind(AssertUnwindSafe(|| {
        let handed = handed?;
        let (sockets, environment) = handed.map(|h| (h.sockets, h.environment)).unzip();
        call.environment = environment;
        let doors = Doors { addresses: invocation.addresses(), handed: sockets.unwrap_or_default() };
        let voice_of_service = voice().lasting();
        let service = Service {
            gate: Gate::new(&invocation.daemon, &settings, voice_of_service.has_fields()),
            voice: voice_of_service,
            server: call.launcher()?,
            whole_way: &|| call.answer(process::standard(0), &mut voice()),
        };
        listen::run(doors, invocation.limits, &mut own_voice, service)
    }));
    match listening {
        Ok(Ok(())) => 0,
        Err(_) => 1,
        Ok(Err(error)) => {
            own_voice.say(&Entry::new(Level::Err, format!("error: {error}")));
            1
        }
    }
}

/// Where nobody found out who called: a datagram must not stay in the queue, or inetd starts us for it
/// for ever.
#[cold]
#[inline(never)]
fn leave_unserved() {
    if let Some(fd) = process::standard(0).filter(|&fd| socket::is_datagram(fd)) {
        socket::drain(fd);
        std::thread::sleep(DATAGRAM_DELAY);
    }
}

/// Help goes to standard output, everything else to standard error; where those may be the client, to
/// syslog, one line each.
#[cold]
#[inline(never)]
fn explain(instead: &Instead) -> i32 {
    let (text, fd, status) = match instead {
        Instead::Show(text) => (text, 1, 0),
        Instead::Usage(text) => (text, 2, USAGE),
    };
    match process::own_copy(fd) {
        Some(fd) => {
            let whole = format!("{}\n", text.trim_end());
            // Nobody is left to be told if this fails.
            let _ = std::io::Write::write_all(&mut std::fs::File::from(fd), whole.as_bytes());
        }
        None => {
            leave_unserved();
            let mut voice = Channels::syslog(Settings::default().facility).voice(OWN_NAME.as_bytes());
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                voice.say(&Entry::new(Level::Err, line));
            }
        }
    }
    status
}

struct Call<'a> {
    invocation: &'a Invocation,
    settings: &'a Settings,
    /// tcpd.conf(5) cannot be obeyed.
    refuses: bool,
    /// The environment of all that is executed, if it is not our own.
    environment: Option<Vec<CString>>,
}

impl Call<'_> {
    /// Serves one connection, or refuses it, whatever happens.
    fn answer(&self, client: Option<BorrowedFd<'static>>, voice: &mut Voice) -> i32 {
        catch_unwind(AssertUnwindSafe(|| self.serve(client, voice))).unwrap_or_else(|_| {
            let verdict = voice.spoken_about().cloned().map(Verdict::of_mistake).map(About::Verdict);
            let line = Entry::new(Level::Deny, "connection refused after an internal error");
            voice.say(&line.about(verdict));
            leave_unserved();
            0
        })
    }

    /// One connection, from the descriptor to the server.
    fn serve(&self, client: Option<BorrowedFd<'static>>, voice: &mut Voice) -> i32 {
        process::set_umask(UMASK);
        let shield = process::Shield::up();

        // Who is calling? Nothing is looked up yet.
        let closed = || std::io::Error::from_raw_os_error(9);
        let (fd, ends) = match client.ok_or_else(closed).and_then(|fd| Ok((fd, socket::ends(fd)?))) {
            Ok(found) => found,
            Err(cause) => {
                let why = wrap::error::reason(&cause);
                voice.say(&Entry::new(Level::Err, format!("warning: can't get client address: {why}")));
                voice.say(&Entry::new(Level::Err, format!("getpeername: {why}")));
                leave_unserved();
                return 0;
            }
        };
        let refuse = || self.refuse(fd, ends.datagram);
        let image = self.image(voice);
        let live = Live::new(
            (inet(&ends.client), inet(&ends.server)),
            self.settings.resolve != Resolve::Never,
            self.settings.resolve_timeout,
        )
        .by_image(image.as_ref());
        let (timed, has_fields) = (Timed::new(&live), voice.has_fields());
        let asker: &dyn Ask = if has_fields { &timed } else { &live };
        let transport = transport(&ends);
        let both = (endpoint(&ends.client), endpoint(&ends.server));
        let daemon = DaemonName::stated(&self.invocation.daemon);
        let request = Request::new(daemon, process::pid(), transport, both, asker);
        let mut notes = has_fields.then(|| {
            voice.speak_about(Connection::of(&request));
            Notes { by_image: image.is_some(), ..Notes::default() }
        });

        // A source route lets anybody claim any address: nothing else is asked of such a caller.
        if transport == Transport::Stream {
            let options = socket::ip_options(fd);
            if let Some(notes) = &mut notes {
                notes.ip_options.clone_from(&options);
            }
            let Caller { user, host, .. } = Caller::of(&request);
            if socket::is_source_routed(&options) {
                let line = Entry::new(Level::Warning, Line::SourceRoute { user, host }.print());
                let notes = notes.map(|notes| Notes { why: Why::SourceRoute, ..notes });
                let verdict = notes.map(|notes| Verdict::of(Kind::Refused, &request, &notes));
                voice.say(&line.about(verdict.map(About::Verdict)));
                socket::shut(fd);
                return refuse();
            }
            if !options.is_empty() {
                let line = Line::IpOptions { user, host, options };
                voice.say(&Entry::new(Level::Notice, line.print()));
                // An option that stays is one that the kernel would not take off; it routes nothing.
                let _ = socket::clear_ip_options(fd);
            }
        }

        // The verdict, and what the rule says is to be done about it.
        let mut allow = RuleTable::new(&self.settings.hosts_allow, image.as_ref());
        let mut deny = RuleTable::new(&self.settings.hosts_deny, image.as_ref());
        let mut tables = Tables::new(&mut allow, &mut deny, self.settings.strict);
        let mut hands = RealHands::new(voice, Some(fd));
        hands.environment.clone_from(&self.environment);
        hands.notes = notes;
        let is_spoofed = || self.settings.paranoid && request.name(Side::Client) == &Fact::Paranoid;
        let outcome = if self.refuses {
            hands.refuse_for(Why::Settings)
        } else if is_spoofed() {
            hands.refuse_for(Why::Paranoid)
        } else {
            settle(&mut tables, &request, &mut hands)
        };

        // One line in the log; then the server, or nothing.
        if self.settings.resolve == Resolve::Always {
            request.name(Side::Client);
        }
        hands.voice.say_all(&logline::doubts(&request));
        if outcome == Outcome::HandedOver {
            return 0;
        }
        let path = self.invocation.path(&self.settings.server_directory);
        let recursive = file::is_this_program(&path);
        let outcome = if outcome == Outcome::Proceed && recursive {
            hands.voice.say(&Entry::new(Level::Err, "error: tcpd is recursively calling itself"));
            hands.refuse_for(Why::Recursion)
        } else {
            outcome
        };
        if outcome == Outcome::Refused {
            hands.conclude(&request, Kind::Refused);
            return refuse();
        }
        hands.conclude(&request, Kind::Served);
        if let Err(error) = hands.assume() {
            hands.voice.say(&Entry::new(Level::Err, format!("error: {error}")));
            let _ = hands.refuse_for(Why::Identity);
            hands.conclude(&request, Kind::Refused);
            return refuse();
        }
        let cause = match self.arguments() {
            Ok(arguments) => shield.down().map_or_else(
                |cause| cause,
                |()| process::become_program(&path, &arguments, hands.environment.as_deref()),
            ),
            Err(cause) => cause,
        };
        let error = Error::new("cannot execute", path.display().to_string(), cause);
        hands.voice.say(&Entry::new(Level::Err, format!("error: {error}")));
        refuse()
    }

    fn arguments(&self) -> io::Result<Vec<CString>> {
        let arguments = self.invocation.arguments.iter().cloned().map(OsString::into_vec);
        Ok(arguments.map(CString::new).collect::<Result<_, _>>()?)
    }

    /// The server, as a listener starts it for connections that it has decided about.
    fn launcher(&self) -> Result<Launcher, Error> {
        let path = self.invocation.path(&self.settings.server_directory);
        let cannot = |cause| Error::new("cannot execute", path.display().to_string(), cause);
        let arguments = self.arguments().map_err(cannot)?;
        Launcher::new(path.clone(), arguments, self.environment.clone(), UMASK).map_err(cannot)
    }

    /// The compiled image of the rules, if there is one that may be used. Where there should be one and
    /// is not, the log is told.
    fn image(&self, voice: &mut Voice) -> Option<Image> {
        let Settings { hosts_allow, hosts_deny, strict, .. } = self.settings;
        let path = self.settings.image.as_deref();
        let image = Image::wanted(path, *strict, (hosts_allow, hosts_deny), process::caller);
        let problem = image.as_ref().err().zip(path).and_then(|(why, path)| why.problem(path));
        voice.say_all(&problem.iter().flat_map(logline::problem).collect::<Vec<_>>());
        image.ok()
    }

    /// Leaves a connection unserved. A datagram is taken off the queue, and the process held for a
    /// moment.
    #[cold]
    #[inline(never)]
    fn refuse(&self, fd: BorrowedFd<'_>, datagram: bool) -> i32 {
        if datagram {
            socket::drain(fd);
        }
        let default = if datagram { DATAGRAM_DELAY } else { Duration::ZERO };
        std::thread::sleep(self.settings.refuse_delay.unwrap_or(default));
        0
    }
}
