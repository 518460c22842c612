//! The house of tcpd-rs: a memory-safe successor of the TCP Wrapper.
//!
//! One idea: **bytes → Table · facts → Request · (Table, Request) → Decision · Decision → deeds ·
//! deeds → log line.** Arrows go one way. Every program is one path along them. Nothing decides while
//! acting; nothing acts while deciding.
//!
//! # Rooms and floors
//!
//! A floor imports only from floors below it; `tests/floors.rs` fails on any other arrow.
//!
//! | floor | room | the question it answers |
//! |---|---|---|
//! | 0 words | [`error`] | what went wrong, and where? |
//! | | [`facts`] | who is calling whom, and whom do we ask? |
//! | 1 language | [`rules`] | what are rules made of? |
//! | | [`rules::grammar`] | what do these bytes say? (nom lives here) |
//! | | [`rules::options`] | what does an option mean? |
//! | | [`rules::scan`] | where does a word end, among a million? |
//! | | [`rules::trial`] | what does a line of a test file state and expect? |
//! | | [`rules::keys`] | by what can a line or a word be found? |
//! | | [`rules::compiled`] | which lines can matter to this client? |
//! | 2 thought | [`verdict`] | served or refused? |
//! | | `verdict::matcher` | does a rule match? |
//! | | [`expand`] | what may foreign text say in a command? |
//! | | [`logline`] | in which words? |
//! | | [`event`] | what happened, as a record? |
//! | | [`event::journal`] | in which fields, for the journal? |
//! | | [`event::json`] | in which, as one line of JSON? |
//! | | [`words`] | in which words, where only a checker complains? |
//! | | [`advice`] | what would an experienced colleague say about these rules? |
//! | | [`advice::coverage`] | which rules are never reached? |
//! | cellar | [`sys`] | files, sockets, processes, databases, syslogd: small, safe, typed |
//! | 3 deeds | [`tables`] | what stands in this rule file? |
//! | | [`tables::image`] | is there an image of it, and may it be used? |
//! | | [`tables::held`] | what stood in it when it was read? |
//! | | [`compile`] | how does an image come to be? |
//! | | [`lookup`] | who answers from the net, and for how long do we wait? |
//! | | [`voice`] | to whom is it said? |
//! | | [`voice::channels`] | what is open for that, from the start to the end? |
//! | | [`actions`] | what is done about a decision, and to the connection? |
//! | | [`settings`] | what did tcpd.conf(5) say? |
//! | | [`services`] | which services does inetd start, and through us? |
//! | | [`inspect`] | what is wrong with a table, and what does it lead to? |
//! | | [`report`] | how is a complaint shown? |
//! | | [`listen`] | who accepts, where there is no inetd? |
//! | | [`listen::gate`] | is this connection one that numbers alone decide? |
//! | | [`listen::kept`] | are the rules at hand in this process, and are they still the rules? |
//! | | [`listen::places`] | who holds how many of its places? |
//! | | [`listen::systemd`] | which sockets did the service manager leave us? |
//! | | [`finger`] | who is on that machine, and what of the answer may be shown? |
//! | | [`hosts`] | what does the administrator's word for a host mean here? |
//! | | [`witness`] | what would have been asked, and who was called in its stead? |
//! | | [`narrator`] | what would be done? |
//! | | [`explain`] | why is this the verdict, and how is that put on paper? |
//! | | [`explain::brief`] | how is it said where hundreds of thousands are asked for in a second? |
//! | | [`hearing`] | what would the rules say to many clients, one after the other? |
//! | | [`trial`] | do the rules do what a test file expects of them? |
//! | | [`replay`] | what would have become of the connections in this log? |
//! | | [`replay::shapes`] | which words tell of a connection, and of what do they tell? |
//! | | [`replay::judge`] | what would the rules say, as far as the log tells? |
//! | 4 doors | [`invocation`] | how were we called? |
//! | | [`inquiry`] | what is asked of tcpdmatch, and about whom? |
//! | | [`inquiry::stated`] | which facts can be stated, and what must they be? |
//! | | [`inquiry::batch`] | how are many requests on one stream answered, and by which rules? |
//! | | `bin/tcpd.rs` | the wrapper: one connection, from the descriptor to the server |
//! | | `bin/try-from.rs` | what does this machine know of a caller? |
//! | | `bin/safe_finger.rs` | finger for booby traps: limited, cleaned, nobody |
//! | | `bin/tcpdmatch.rs` | the same way to a verdict, told instead of gone |
//! | | [`invocation::tcpdcompile`] | how was the compiler called? |
//! | | `bin/tcpdcompile.rs` | the compiler: settings, image, status |
//! | | [`invocation::tcpdchk`] | how was the checker called? |
//! | | `bin/tcpdchk.rs` | the checker: services, settings, tables, count |
//! | | [`invocation::tools`] | were try-from and safe_finger asked about themselves? |
//! | | [`wrapped`] | which services do the rules really govern here? |
//! | | [`wrapped::elf`] | which libraries is a program linked with? |
//! | | `libwrap` | how does a program in C come in? (feature `capi`) |
//! | | `libwrap::decide` | is the client of its request served? |
//! | | `libwrap::hands` | what may be done in somebody else's process? |
//! | | `libwrap::known` | what does its request know, and who finds out the rest? |
//! | | `libwrap::layout` | what does a request look like in its memory? |
//! | | `libwrap::program` | what has it set, and what has it put in our place? |
//! | | `libwrap::texts` | what may it ask about texts? |
//!
//! # Where the plan was departed from, and why
//!
//! * **The cursor is the table.** A rule that does not hold after all (`aclexec`) is followed by asking
//!   the same tables for their next entry; a table read lazily has a position anyway, and a second
//!   notion of it could only disagree.
//! * **Remarks travel in the decision**, as [`error::Problem`]s in the order they came up, and are
//!   logged before the first deed. Doubts about names wait in the [`facts::Request`] for whoever knows
//!   the rule that asked.
//! * **Options have a file of their own** ([`rules::options`]): table, splitter and types are one
//!   question, grammar is another.
//! * **[`voice`] is a room**: the two severities belong to the connection, not to the hands of one rule
//!   and not to the channel.
//! * **`main` is the C one.** The start-up of Rust's runtime ignores SIGPIPE and opens the null device
//!   on closed descriptors; a server would inherit the first, and the second hides that there is no
//!   connection. The bin has one `unsafe` attribute for it and no other.
//! * **The cellar knows [`error`]**, for the system's words without Rust's number behind them.
//! * **Explaining is asking again.** Nothing in the verdict reports to anybody. [`explain`] asks the same
//!   matcher about the same rules, with a [`witness`] in place of the net; a law in the tests says that
//!   it goes the way of the decision.
//! * **A checker tells as it walks.** [`inspect`] hands what it finds to a [`inspect::Teller`] in the order
//!   of the reference's output, so that a million bad lines need the memory of one; a remark knows which
//!   of the two forms shows it ([`advice::Form`]).
//! * **The image is an index, not a copy.** It says where the lines stand that can matter to a client; they
//!   are read from the rule files themselves, by the reader of the text, and matched like any other. So
//!   nothing but "no, and nobody was asked" can get lost on the way, a place in the log is the text's,
//!   and a million host names need no more room than a million addresses. [`rules::Table::next_for`] and
//!   [`facts::Ask::word_list`] are told who is looked for ([`facts::Sought`]).
//! * **An image in doubt leaves nothing out.** A damaged block ends the leaving out, not the search: what
//!   was left out before was left out by blocks that were whole.
//! * **The survey of services is a door's room.** [`wrapped`] looks into files and processes as the rooms of
//!   deeds do, but command lines of tcpd, in units and in super-servers, are read by tcpd's own reader.
//! * **`setenv` does not touch the process.** The environment is kept as a list and given to whatever is
//!   executed: a lookup thread may still be reading the real one. Only libwrap sets it for real, as
//!   programs expect, and has no such thread.
//! * **libwrap is several files, one of them in C.** Stable Rust defines no variadic function, no weak
//!   variable and no longjmp; `libwrap/door.c` has these and decides nothing. `etc/build-libwrap` links
//!   both into one object and one list of names. A command is not a child but a grandchild there
//!   ([`sys::unseen`]), and lookups hurry the resolver instead of leaving a thread behind
//!   ([`sys::resolver`]).
//! * **Addresses live in the request.** `sock_host` has to leave socket addresses where pointers can find
//!   them, and there is no field for them; static memory would be shared by all threads. The unused end of
//!   the `addr` text holds them.

#![warn(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::undocumented_unsafe_blocks,
    unsafe_op_in_unsafe_fn
)]

pub mod actions;
pub mod advice;
pub mod compile;
pub mod error;
pub mod event;
pub mod expand;
pub mod explain;
pub mod facts;
pub mod finger;
pub mod hearing;
pub mod hosts;
pub mod inquiry;
pub mod inspect;
pub mod invocation;
#[cfg(feature = "capi")]
pub mod libwrap;
pub mod listen;
pub mod logline;
pub mod lookup;
pub mod narrator;
pub mod replay;
pub mod report;
pub mod rules;
pub mod services;
pub mod settings;
pub mod sys;
pub mod tables;
pub mod trial;
pub mod verdict;
pub mod voice;
pub mod witness;
pub mod words;
pub mod wrapped;
