//! What does the clock on the wall say?
//!
//! localtime_r(3) reads /etc/localtime through stdio, which is seven system calls and eight fresh pages
//! for every connection. The same file is read here at once, and what it says is remembered until it
//! says something else. Whatever does not plainly stand in its table goes to the C library: another zone
//! in TZ, leap seconds, a time behind the last change, a file that is none.

use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the zone of this machine is described (tzfile(5)).
const ZONE_FILE: &str = "/etc/localtime";
/// Longest such file that is read here. Those of two hundred years of daylight saving have 3.7 kB.
const ZONE_MAX: usize = 4096;

/// How long the zone is taken to be the same, in seconds: a process may outlast a new one.
const KEPT: i64 = 60;

/// Local time, as syslog(3) writes it.
#[derive(Default)]
pub struct Clock {
    known: Cell<Option<Span>>,
}

/// Between two changes of the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: i64,
    until: i64,
    /// Seconds east of Greenwich.
    offset: i64,
}

impl Span {
    /// The part of it that is remembered.
    fn kept_from(self, now: i64) -> Span {
        Span { from: self.from.max(now), until: self.until.min(now.saturating_add(KEPT)), ..self }
    }
}

/// What of a date is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    /// From 0.
    month: usize,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Clock {
    /// `Nov  1 09:27:14`.
    pub fn timestamp(&self) -> String {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_secs()).unwrap_or_default();
        let holds = |span: &Span| (span.from..span.until).contains(&now);
        let span = self.known.get().filter(holds).or_else(|| span_now(now).map(|span| span.kept_from(now)));
        self.known.set(span);
        let shown = span.map_or_else(|| library(now), |span| date(now.saturating_add(span.offset)));
        let Shown { month, day, hour, minute, second } = shown;
        format!("{} {day:2} {hour:02}:{minute:02}:{second:02}", MONTHS.get(month).unwrap_or(&"Jan"))
    }
}

fn span_now(now: i64) -> Option<Span> {
    if std::env::var_os("TZ").is_some() {
        return None;
    }
    let mut text = [0; ZONE_MAX];
    let length = File::open(Path::new(ZONE_FILE)).and_then(|mut file| file.read(&mut text)).ok()?;
    span(text.get(..length)?, now)
}

/// What the C library makes of it.
fn library(now: i64) -> Shown {
    let now = now as libc::time_t;
    // SAFETY: localtime_r(3) reads one number and fills one plain struct, for which all zeros is a valid
    // value.
    let tm = unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const now, &raw mut tm);
        tm
    };
    Shown {
        month: usize::try_from(tm.tm_mon).unwrap_or_default(),
        day: tm.tm_mday.into(),
        hour: tm.tm_hour.into(),
        minute: tm.tm_min.into(),
        second: tm.tm_sec.into(),
    }
}

/// The six counts of a header, in their order.
struct Counts {
    utc: usize,
    standard: usize,
    leaps: usize,
    changes: usize,
    kinds: usize,
    letters: usize,
}

const HEADER: usize = 44;

fn counts(header: &[u8]) -> Option<Counts> {
    // A count above the size of the file is none, and with it no sum below overflows.
    let count = |n: usize| {
        let count = number(header.get(20 + 4 * n..)?.first_chunk())?;
        usize::try_from(count).ok().filter(|&count| count <= ZONE_MAX)
    };
    let is_second = header.get(4).is_some_and(|&version| version >= b'2');
    if !header.starts_with(b"TZif") || !is_second {
        return None;
    }
    Some(Counts {
        utc: count(0)?,
        standard: count(1)?,
        leaps: count(2)?,
        changes: count(3)?,
        kinds: count(4)?,
        letters: count(5)?,
    })
}

fn number(bytes: Option<&[u8; 4]>) -> Option<i64> {
    bytes.map(|&bytes| i32::from_be_bytes(bytes).into())
}

/// ```text
/// file  = header first header { change } { which } { kind } rest ;   (tzfile(5), from version 2 on)
/// first = what stands in `rest`, too, in 32 bits ;
/// ```
///
/// The span that a time lies in, where the table says so.
fn span(file: &[u8], now: i64) -> Option<Span> {
    let c = counts(file)?;
    let first = c.changes * 5 + c.kinds * 6 + c.letters + c.leaps * 8 + c.standard + c.utc;
    let second = file.get(HEADER + first..)?;
    let c = counts(second)?;
    if c.leaps > 0 {
        return None;
    }
    let (changes, behind) = second.get(HEADER..)?.split_at_checked(c.changes * 8)?;
    let (which, kinds) = behind.split_at_checked(c.changes)?;
    let offset = |kind: usize| number(kinds.get(kind * 6..)?.first_chunk());
    if c.changes == 0 && c.kinds == 1 {
        return Some(Span { from: i64::MIN, until: i64::MAX, offset: offset(0)? });
    }
    let (changes, _) = changes.as_chunks();
    let change = |at: usize| changes.get(at).map(|&bytes| i64::from_be_bytes(bytes));
    let later = changes.partition_point(|&bytes| i64::from_be_bytes(bytes) <= now);
    let last = later.checked_sub(1)?;
    let offset = offset((*which.get(last)?).into())?;
    Some(Span { from: change(last)?, until: change(later)?, offset })
}

/// Days are counted from the first of March of a year that 400 divides: what leaps then stands at the end
/// of every year, of every four years and of every four hundred.
fn date(seconds: i64) -> Shown {
    const MARCH_2000: i64 = 11_017;
    const LENGTHS: [i64; 12] = [31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 29];
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let mut day = (days - MARCH_2000).rem_euclid(146_097);
    for (period, most) in [(36_524, 3), (1_461, 24), (365, 3)] {
        day -= period * (day / period).min(most);
    }
    let mut month = 2;
    for length in LENGTHS {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Shown { month: month % 12, day: day + 1, hour, minute, second }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn every_day_has_its_date() {
        for day in -300_000..300_000_i64 {
            let now = day * 86_400 + day.rem_euclid(86_400);
            // SAFETY: as in `library`.
            let tm = unsafe {
                let mut tm: libc::tm = std::mem::zeroed();
                libc::gmtime_r(&raw const now, &raw mut tm);
                tm
            };
            let expected = [tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec].map(i64::from);
            let Shown { month, day, hour, minute, second } = date(now);
            assert_eq!([month as i64, day, hour, minute, second], expected, "{now}");
        }
    }

    /// Against date(1), where the zones are installed.
    #[test]
    fn zones_are_read_as_the_library_reads_them() {
        let zones = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Etc/GMT+5"];
        for zone in zones.into_iter().chain(["Etc/UTC", "Pacific/Apia", "Africa/Casablanca"]) {
            let Ok(file) = std::fs::read(Path::new("/usr/share/zoneinfo").join(zone)) else { continue };
            for now in (0..40).map(|n| -100_000_000 + n * 46_543_217) {
                let Some(span) = span(&file, now) else { continue };
                assert!((span.from..span.until).contains(&now));
                let date =
                    Command::new("date").env("TZ", zone).args([&format!("-d@{now}"), "+%::z"]).output();
                let Ok(said) = date.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned())
                else {
                    return;
                };
                let parts: Vec<i64> = said.split(':').map(|part| part.parse().expect("a number")).collect();
                let east = parts[0].abs() * 3600 + parts[1] * 60 + parts[2];
                let expected = if said.starts_with('-') { -east } else { east };
                assert_eq!(span.offset, expected, "{zone} at {now}");
            }
        }
    }

    #[test]
    fn what_is_no_zone_is_left_to_the_library() {
        let mut plain = b"TZif2".to_vec();
        plain.resize(HEADER, 0);
        let mut file = plain.repeat(2);
        file[HEADER + 39] = 1;
        file.extend([0, 0, 14, 16, 0, 0]);
        let always = Span { from: i64::MIN, until: i64::MAX, offset: 3600 };
        assert_eq!(span(&file, 0), Some(always));
        for length in 0..file.len() - 2 {
            assert_eq!(span(&file[..length], 0), None, "{length}");
        }
        file[HEADER + 31] = 1;
        assert_eq!(span(&file, 0), None, "leap seconds");
        assert_eq!(span(&[0xff; 100], 0), None);
        let huge = [b"TZif2".to_vec(), vec![0x7f; 400]].concat();
        assert_eq!(span(&huge, 0), None);
    }
}
