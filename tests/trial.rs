//! Is a test that holds one that says enough? Laws over generated rules and lines; what is said about
//! lines that do not hold is in `tests/golden-chk`.
#![forbid(unsafe_code)]

#[path = "common/generated.rs"]
mod generated;

use generated::line;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::path::PathBuf;
use wrap::error::{Problem, TrialFlaw, What};
use wrap::hearing::{Hearing, Rules};
use wrap::inquiry::stated;
use wrap::settings::{Resolve, Settings};
use wrap::trial::{self, Tally};
use wrap::verdict::Because;
use wrap::witness::Witness;

/// A directory that is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("trial-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Scratch(path)
    }

    fn settings(&self, allow: &str, deny: &str) -> Settings {
        let (hosts_allow, hosts_deny) = (self.0.join("hosts.allow"), self.0.join("hosts.deny"));
        std::fs::write(&hosts_allow, allow).expect("a table");
        std::fs::write(&hosts_deny, deny).expect("a table");
        Settings { hosts_allow, hosts_deny, image: None, ..Settings::default() }
    }

    /// Tries some lines, and says what was told.
    fn tried(&self, settings: &Settings, lines: &str) -> (Tally, Vec<Problem>) {
        let file = self.0.join("hosts.test");
        std::fs::write(&file, lines).expect("tests");
        let mut told = Vec::new();
        let tally = trial::run(&[file], settings, false, &mut |problem| told.push(problem.clone()));
        (tally, told)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// All that can be stated of a connection.
#[derive(Clone, Debug)]
struct Connection {
    daemon: &'static str,
    client: &'static str,
    name: &'static str,
    user: &'static str,
    server: &'static str,
    server_name: &'static str,
    port: &'static str,
}

const NAMES: [&str; 4] = ["host.example.com", "foo", "paranoid", "unknown"];
const USERS: [&str; 3] = ["joe", "foo", "unknown"];
const SERVERS: [&str; 3] = ["10.1.2.1", "192.0.2.1", "unknown"];
const SERVER_NAMES: [&str; 2] = ["srv", "unknown"];
const PORTS: [&str; 3] = ["21", "22", "unknown"];

impl Connection {
    /// Nobody has a name or a user who has no address.
    fn possible(self) -> Connection {
        let is_possible = |address: &str, fact| if address == "unknown" { "unknown" } else { fact };
        Connection {
            name: is_possible(self.client, self.name),
            user: is_possible(self.client, self.user),
            server_name: is_possible(self.server, self.server_name),
            ..self
        }
    }

    /// As a line states it, leaving out what `said` has no bit for.
    fn stated(&self, said: u8) -> String {
        let fact = |bit: u8, keyword: &str, value: &str| match said & bit {
            0 => String::new(),
            _ => format!(" {keyword} {value}"),
        };
        let server = match said & 4 {
            0 => String::new(),
            _ => format!(
                " at {}{}{}",
                self.server,
                fact(8, "name", self.server_name),
                fact(16, "port", self.port)
            ),
        };
        let (name, user) = (fact(1, "name", self.name), fact(2, "user", self.user));
        format!("{} from {}{name}{user}{server}", self.daemon, self.client)
    }

    /// What becomes of it, in the words of an expectation.
    fn outcome(&self, settings: &Settings) -> String {
        let port = format!("server-port={}", self.port);
        let words = [
            format!("daemon={}", self.daemon),
            format!("client={}", self.client),
            format!("name={}", self.name),
            format!("user={}", self.user),
            format!("server={}", self.server),
            format!("server-name={}", self.server_name),
        ];
        let words = words.into_iter().chain(Some(port).filter(|_| self.port != "unknown"));
        let facts = stated::in_words(&words.map(String::into_bytes).collect::<Vec<_>>()).expect("facts");
        let rules = Rules::read(settings);
        let mut hearing = Hearing::new(&rules, settings, false);
        let (facts, machine) = (hearing.seen(facts), hearing.machine());
        let story = hearing.story(&facts, &Witness::new(&facts, &machine));
        let by = match &story.decision.because {
            Because::Rule(_, place) => format!("{}:{}", place.file.display(), place.line),
            Because::NoRule | Because::Trouble => "no rule".to_owned(),
        };
        format!("{} by {by}", story.verdict.word())
    }

    /// Every connection of which a line could speak that leaves this out.
    fn alike(&self, said: u8) -> Vec<Connection> {
        let mut all = Vec::new();
        let choice = |is_said: bool, own: &'static str, others: &[&'static str]| {
            if is_said { vec![own] } else { others.to_vec() }
        };
        let at = said & 4 != 0;
        for name in choice(said & 1 != 0, self.name, &NAMES) {
            for user in choice(said & 2 != 0, self.user, &USERS) {
                for server in choice(at, self.server, &SERVERS) {
                    for server_name in choice(at && said & 8 != 0, self.server_name, &SERVER_NAMES) {
                        for port in choice(at && said & 16 != 0, self.port, &PORTS) {
                            let one = Connection { name, user, server, server_name, port, ..self.clone() };
                            all.push(one.possible());
                        }
                    }
                }
            }
        }
        all
    }
}

fn connection() -> impl Strategy<Value = Connection> {
    let ends = (
        select(&["in.testd", "sshd"][..]),
        select(&["10.1.2.3", "192.0.2.7", "2001:db8::7", "::ffff:10.9.9.9", "unknown"][..]),
    );
    let facts = (
        select(&NAMES[..]),
        select(&USERS[..]),
        select(&SERVERS[..]),
        select(&SERVER_NAMES[..]),
        select(&PORTS[..]),
    );
    (ends, facts).prop_map(|((daemon, client), (name, user, server, server_name, port))| {
        Connection { daemon, client, name, user, server, server_name, port }.possible()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A line that states all it can, and expects what happens, holds; with any other expectation it
    /// fails, and says what happened.
    #[test]
    fn who_says_all_is_told_the_truth(
        tables in (vec(line(), 0..5), vec(line(), 0..5)),
        connection in connection(),
        other in select(&["granted by no rule", "denied by no rule", "denied by hosts.deny:1", "delegated"][..]),
    ) {
        let scratch = Scratch::new("truth");
        let settings = scratch.settings(&tables.0.concat(), &tables.1.concat());
        let (stated, outcome) = (connection.stated(31), connection.outcome(&settings));
        let (tally, told) = scratch.tried(&settings, &format!("{stated}: {outcome}\n"));
        prop_assert_eq!(tally, Tally { tests: 1, failed: 0, errors: 0 }, "{:?}", told);
        let short = outcome.replace(&format!("{}/", scratch.0.display()), "");
        if !short.starts_with(other) {
            let (tally, told) = scratch.tried(&settings, &format!("{stated}: {other}\n"));
            prop_assert_eq!(tally.failed, 1);
            let What::Trial(TrialFlaw::Failed { happened, .. }) = &told[0].what else {
                return Err(TestCaseError::fail(format!("{told:?}")));
            };
            prop_assert_eq!(happened, &outcome);
        }
    }

    /// If a line holds, it holds for every connection that it may mean: what it leaves open is not needed.
    #[test]
    fn what_is_left_open_does_not_matter(
        tables in (vec(line(), 0..5), vec(line(), 0..5)),
        connection in connection(),
        said in 0_u8..32,
        paranoid in prop::bool::weighted(0.1),
        resolve in select(&[Resolve::Needed, Resolve::Needed, Resolve::Always, Resolve::Never][..]),
    ) {
        let scratch = Scratch::new("open");
        let settings = scratch.settings(&tables.0.concat(), &tables.1.concat());
        let settings = Settings { paranoid, resolve, ..settings };
        let (stated, outcome) = (connection.stated(said), connection.outcome(&settings));
        let (tally, told) = scratch.tried(&settings, &format!("{stated}: {outcome}\n"));
        prop_assert_eq!((tally.tests, tally.errors), (1, 0), "{:?}", told);
        if tally.failed == 0 {
            for alike in connection.alike(said) {
                prop_assert_eq!(alike.outcome(&settings), outcome.clone(), "{}: {:?}", stated, alike);
            }
        } else {
            let unstated = matches!(told[0].what, What::Trial(TrialFlaw::Unstated { .. }));
            prop_assert!(unstated, "{}: {:?}", stated, told);
        }
    }
}
