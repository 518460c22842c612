//! The regular expressions of the programs that read these logs, as they stand in their files, and whom
//! they blame.
#![forbid(unsafe_code)]
#![allow(dead_code)]

use regex::Regex;
use std::sync::LazyLock;

/// What fail2ban puts for `<HOST>`, without the one look-behind that this crate lacks.
const HOST: &str = r"(?:(?:::f{4,6}:)?(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})|\[?(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|::){1,7}(?:[0-9a-fA-F]{1,4}|:))\]?|(?P<dns>[\w\-.^_]*\w))";
/// CrowdSec's `%{IP_WORKAROUND:sshd_client_ip}`: IPv4 or IPv6, loosely.
const IP: &str = r"((?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)";

pub fn regex(pattern: &str) -> Regex {
    Regex::new(&pattern.replace("<HOST>", HOST).replace("%{IP_WORKAROUND:sshd_client_ip}", IP))
        .expect(pattern)
}

pub static FAIL2BAN: LazyLock<Regex> = LazyLock::new(|| regex(r"^refused connect from \S+ \(<HOST>\)"));
pub static CROWDSEC: LazyLock<Regex> =
    LazyLock::new(|| regex(r"refused connect from.*\((?:::ffff:)?%{IP_WORKAROUND:sshd_client_ip}\)"));
/// Rule 2503; the decoders see what follows `refused connect `.
pub static OSSEC: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^refused connect from|^libwrap refused connection|Connection from \S+ denied"));
pub static OSSEC_DECODERS: LazyLock<[Regex; 3]> = LazyLock::new(|| {
    [r"^from (\S+)$", r"^from \S+ \((\S+[A-Za-z0-9@_-]+?)\)$", r"^from \S+ \((\S+::)\)$"].map(regex)
});
pub static LOGWATCH_REFUSED: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^([^ ]+)\[\d+\]: refused connect from (.*)$"));
pub static LOGWATCH_CONNECT: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^([^ ]+)\[\d+\]: connect from ([^\n]+)$"));

/// The address that a filter blames, if it blames one.
pub fn blamed(filter: &Regex, line: &str) -> Option<String> {
    let captures = filter.captures(line)?;
    captures.iter().skip(1).flatten().last().map(|found| found.as_str().to_owned())
}

/// Every address that somebody would blame for this line.
pub fn all_blamed(line: &str) -> Vec<String> {
    let behind = line.strip_prefix("refused connect ").unwrap_or("");
    let by_ossec = OSSEC_DECODERS.iter().map(|decoder| blamed(decoder, behind));
    [blamed(&FAIL2BAN, line), blamed(&CROWDSEC, line)].into_iter().chain(by_ossec).flatten().collect()
}
