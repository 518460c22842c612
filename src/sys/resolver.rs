//! How long the C library's resolver goes on asking, for questions that are put in the caller's own
//! thread.
//!
//! A library may not start threads in somebody's program, so it cannot walk away from a lookup that
//! hangs. But the resolver can be told beforehand how often to ask, and how long to wait each time
//! (resolver(3): `_res`, one per thread; resolv.conf(5): timeout, attempts). For the length of one
//! question it is given no more time than is left; then everything is as it was. How it asks is not
//! changed otherwise: what a name server answers to others it answers to us.
//!
//! It counts in whole seconds and asks each server at least once, so a budget can be exceeded by a second
//! or so for each. An answer that does not fit into a datagram is fetched by TCP, which has its own idea
//! of time; so have other modules of nsswitch.conf(5). Nobody can tell them.

use std::time::{Duration, Instant};

/// Does `work`, which puts at most `questions` questions to name servers one after the other, so that it
/// ends at about the deadline. None if that has passed, or if it came to `nothing` and all the time that
/// servers were given went by: then nobody answered.
pub fn hurried<T>(
    deadline: Instant,
    questions: u32,
    nothing: impl Fn(&T) -> bool,
    work: impl FnOnce() -> T,
) -> Option<T> {
    let begun = Instant::now();
    let left = deadline.checked_duration_since(begun).filter(|left| !left.is_zero())?;
    let hurry = told::Hurry::up(left, questions.max(1));
    let answer = work();
    let given = hurry.given();
    drop(hurry);
    let spent = begun.elapsed();
    let nobody_answered = given.is_some_and(|given| spent >= given) || spent >= left;
    (!nobody_answered || !nothing(&answer)).then_some(answer)
}

/// How much time a question is given: seconds for the first server at its first turn, and turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Time {
    seconds: u32,
    turns: u32,
}

impl Time {
    /// How long one question takes when no server answers: at each turn the first of `servers` has
    /// `seconds`, each one behind it twice as long as the one before it divided by their number, and none
    /// less than one (glibc's res_send.c; resolv.conf(5) says so much of attempts).
    fn longest(self, servers: u32) -> Duration {
        let of = |at: u32| match at {
            0 => self.seconds,
            _ => (self.seconds << at) / servers,
        };
        let turn: u32 = (0..servers).map(|at| of(at).max(1)).sum();
        Duration::from_secs(u64::from(turn) * u64::from(self.turns))
    }

    /// As much as fits, and no more than is configured. A single server is asked every second: a datagram
    /// may be lost, and an answer that comes late is taken at any turn. Of several each has as long as
    /// can be, for its answer is not waited for once the next one has been asked.
    fn fitting(left: Duration, questions: u32, servers: u32, configured: Time) -> Time {
        const MOST: u32 = 30;
        // To the nearest second: what has gone by since the budget was set is none of its seconds.
        let left = left + Duration::from_millis(500);
        let fits = |time: &Time| time.longest(servers) * questions <= left;
        let least = Time { seconds: 1, turns: 1 };
        let most = configured.longest(servers).as_secs();
        let within = |time: &Time| fits(time) && time.longest(servers).as_secs() <= most.max(1);
        let longer = |turns| (1..=MOST).map(move |seconds| Time { seconds, turns }).take_while(within).last();
        let oftener =
            |seconds| (1..=MOST).map(move |turns| Time { seconds, turns }).take_while(within).last();
        let seconds = if servers == 1 { 1 } else { longer(1).unwrap_or(least).seconds };
        oftener(seconds).unwrap_or(least)
    }
}

#[cfg(target_env = "gnu")]
mod told {
    use super::Time;
    use std::ffi::{c_char, c_int, c_uchar, c_ulong};
    use std::time::Duration;

    /// The beginning of `struct __res_state` (resolv.h), as it has been since BIND 4.9.
    #[repr(C)]
    struct State {
        retrans: c_int,
        retry: c_int,
        options: c_ulong,
        nscount: c_int,
    }

    /// resolv.h. It has read resolv.conf(5).
    const RES_INIT: c_ulong = 0x0000_0001;
    /// A name that was not found is looked for below the domains of the search list.
    const RES_DNSRCH: c_ulong = 0x0000_0200;

    /// Most name servers that it knows (MAXNS).
    const SERVERS_MAX: u32 = 3;

    unsafe extern "C" {
        // resolv.h: `_res` is `(*__res_state())`.
        fn __res_state() -> *mut State;
    }

    type MakeQuery = unsafe extern "C" fn(
        c_int,
        *const c_char,
        c_int,
        c_int,
        *const c_uchar,
        c_int,
        *const c_uchar,
        *mut c_uchar,
        c_int,
    ) -> c_int;

    /// Has the resolver look whether resolv.conf(5) has changed, which it does not when it finds settings
    /// that are not from there. Making a query does that, and sends nothing.
    fn read_configuration() {
        const QUERY: c_int = 0;
        const ONE: c_int = 1;
        const NAME: &std::ffi::CStr = c".";
        let mut query: [c_uchar; 64] = [0; 64];
        // SAFETY: a symbol is looked up by a terminated name. It is missing in a C library before 2.34.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"res_mkquery".as_ptr()) };
        if !found.is_null() {
            // SAFETY: res_mkquery(3) has this type.
            let make: MakeQuery = unsafe { std::mem::transmute(found) };
            let (none, size) = (std::ptr::null(), 64);
            // SAFETY: the name is terminated, the buffer has that size, and no data is given.
            unsafe { make(QUERY, NAME.as_ptr(), ONE, ONE, none, 0, none, query.as_mut_ptr(), size) };
        }
        // SAFETY: this thread's own state, valid as long as the thread.
        if unsafe { (*__res_state()).options } & RES_INIT == 0 {
            // SAFETY: it fills the state of this thread from resolv.conf(5), as a lookup would.
            unsafe { libc::res_init() };
        }
    }

    /// The resolver in a hurry. Dropped, it has its time again.
    pub struct Hurry {
        before: [c_int; 2],
        options: c_ulong,
        ours: [c_int; 2],
        given: Duration,
    }

    impl Hurry {
        pub fn up(left: Duration, questions: u32) -> Hurry {
            read_configuration();
            // SAFETY: this thread's own state; nobody else has a reference to it.
            let state = unsafe { &mut *__res_state() };
            let natural = |number: c_int| u32::try_from(number).unwrap_or(1).max(1);
            let servers = natural(state.nscount).min(SERVERS_MAX);
            let configured = Time { seconds: natural(state.retrans).min(300), turns: natural(state.retry) };
            let time = Time::fitting(left, questions, servers, configured);
            let before = [state.retrans, state.retry];
            let ours = [time.seconds, time.turns].map(|number| c_int::try_from(number).unwrap_or(1));
            let options = state.options;
            [state.retrans, state.retry] = ours;
            if questions == 1 {
                state.options &= !RES_DNSRCH;
            }
            Hurry { before, options, ours, given: time.longest(servers) }
        }

        /// How long one question took if no server answered it.
        pub fn given(&self) -> Option<Duration> {
            Some(self.given)
        }
    }

    impl Drop for Hurry {
        fn drop(&mut self) {
            // SAFETY: as above.
            let state = unsafe { &mut *__res_state() };
            // What somebody else has set meanwhile (resolv.conf(5) read anew) is left alone.
            if [state.retrans, state.retry] == self.ours {
                [state.retrans, state.retry] = self.before;
            }
            state.options |= self.options & RES_DNSRCH;
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_was_set_is_put_back() {
            read_configuration();
            let all = || {
                // SAFETY: this thread's own state.
                let state = unsafe { &*__res_state() };
                (state.retrans, state.retry, state.options)
            };
            let before = all();
            let hurry = Hurry::up(Duration::from_secs(2), 1);
            let (retrans, retry, options) = all();
            assert!((1..=2).contains(&retrans) && (1..=2).contains(&retry) && options & RES_DNSRCH == 0);
            drop(hurry);
            assert_eq!(all(), before);
        }
    }
}

/// Another C library: nothing is known about its resolver.
#[cfg(not(target_env = "gnu"))]
mod told {
    use std::time::Duration;

    pub struct Hurry;

    impl Hurry {
        pub fn up(_: Duration, _: u32) -> Hurry {
            Hurry
        }

        pub fn given(&self) -> Option<Duration> {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_never_exceeded_but_by_the_least_there_is() {
        let time = |seconds, turns| Time { seconds, turns };
        let usual = time(5, 2);
        let longest = |seconds, servers| time(seconds, 1).longest(servers).as_secs();
        assert_eq!((longest(5, 1), longest(5, 2), longest(5, 3)), (5, 10, 14));
        let fitting =
            |left, questions, servers| Time::fitting(Duration::from_millis(left), questions, servers, usual);
        assert_eq!(fitting(4999, 1, 1), time(1, 5));
        assert_eq!(fitting(4999, 2, 1), time(1, 2));
        assert_eq!((fitting(4999, 1, 2), fitting(4999, 1, 3)), (time(2, 1), time(2, 1)));
        assert_eq!(fitting(300_000, 1, 1), time(1, 10), "no more than was configured");
        assert_eq!(fitting(100, 1, 3), time(1, 1));
        for (left, servers) in (1..40).flat_map(|left| (1..=3).map(move |servers| (left * 1000, servers))) {
            let fit = fitting(left, 1, servers);
            let is_least = fit == time(1, 1);
            assert!(is_least || fit.longest(servers) <= Duration::from_millis(left + 500), "{fit:?}");
        }
    }

    #[test]
    fn nothing_is_asked_after_the_deadline() {
        assert_eq!(hurried(Instant::now(), 1, |()| true, || panic!("asked")), None::<()>);
        let far = Instant::now() + Duration::from_secs(100);
        assert_eq!(hurried(far, 1, |_| true, || 7), Some(7));
        assert_eq!(
            hurried(
                Instant::now() + Duration::from_millis(1),
                1,
                |()| true,
                || {
                    std::thread::sleep(Duration::from_millis(5));
                }
            ),
            None
        );
    }
}
