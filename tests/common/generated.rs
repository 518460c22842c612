//! Tables of any kind, for laws that hold whatever the rules say.
#![forbid(unsafe_code)]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const DAEMONS: [&str; 8] =
    ["ALL", "in.testd", "sshd", "in.*", "21", "in.testd@10.1.2.1", "sshd@srv", "ALL EXCEPT sshd"];
const CLIENTS: [&str; 18] = [
    "ALL",
    "LOCAL",
    "KNOWN",
    "PARANOID",
    "10.",
    "10.1.2.3/8",
    "192.0.2.0/24",
    ".example.com",
    "host.example.com",
    "*.example.*",
    "[2001:db8::]/32",
    "[2001:db8::]/",
    "2001:db8::7",
    "joe@ALL",
    "KNOWN@10.",
    "/etc/hosts.nobody",
    "ALL EXCEPT 10.",
    "0.0.0.0/0",
];
const OPTIONS: [&str; 12] = [
    "",
    "",
    "",
    ": allow",
    ": deny",
    ": twist echo %a %n",
    ": spawn echo %u@%h \\: %d : SEVERITY=mail.info",
    ": bogus",
    ": umask 9",
    ": nice 2 : allow",
    ": user nosuch : deny",
    ": rfc931 : setenv A %r",
];

/// A line of a table, most often a rule.
pub fn line() -> impl Strategy<Value = String> {
    let rule = (select(&DAEMONS[..]), vec(select(&CLIENTS[..]), 1..4), select(&OPTIONS[..]));
    let rule = rule
        .prop_map(|(daemons, clients, options)| format!("{daemons} : {} {options}\n", clients.join(", ")));
    prop_oneof![
        8 => rule,
        1 => select(&["# none\n", "\n", "no colon\n", "[ : x : deny\n", "ALL : \\\n 10.\n"][..]).prop_map(str::to_owned),
    ]
}
