//! How long the C library's resolver goes on asking, for questions that are put in the caller's own
//! thread.
//!
//! A library may not start threads in somebody's program, so it cannot walk away from a lookup that
//! hangs. But the resolver can be told beforehand how often to ask, and how long to wait each time
//! (resolver(3): `_res`, one per thread; resolv.conf(5): timeout, attempts). For the length of one
//! question it asks each name server once, waits no longer than the time that is left allows, and takes
//! what fits into a datagram: asking again over TCP, it would wait for as long as a server likes. Then
//! everything is as it was.
//!
//! It counts in whole seconds and asks at least once, so a budget can be exceeded by about a second for
//! each name server. Other modules of nsswitch.conf(5) keep their own time; nobody can tell them.

use std::time::{Duration, Instant};

/// Does `work`, which puts at most `questions` questions to name servers one after the other, so that it
/// ends at about the deadline. None if that has passed, or if all the time that servers were given went
/// by: then nobody answered.
pub fn hurried<T>(deadline: Instant, questions: u32, work: impl FnOnce() -> T) -> Option<T> {
    let begun = Instant::now();
    let left = deadline.checked_duration_since(begun).filter(|left| !left.is_zero())?;
    let hurry = told::Hurry::up(left, questions.max(1));
    let answer = work();
    let given = hurry.given();
    drop(hurry);
    let spent = begun.elapsed();
    let nobody_answered = given.is_some_and(|given| spent >= given) || spent >= left;
    (!nobody_answered).then_some(answer)
}

/// How long one question takes when no server answers: the first of `servers` is given `seconds`, each
/// one behind it twice as long as the one before it, divided by their number (resolv.conf(5) says it of
/// attempts; glibc does it along the servers, too), and never less than one.
fn longest(seconds: u32, servers: u32) -> Duration {
    let of = |at: u32| match at {
        0 => seconds,
        _ => (seconds << at) / servers,
    };
    Duration::from_secs((0..servers).map(|at| u64::from(of(at).max(1))).sum())
}

/// The most seconds that fit.
fn fitting(left: Duration, questions: u32, servers: u32) -> u32 {
    const MOST: u32 = 30;
    (2..=MOST).take_while(|&seconds| longest(seconds, servers) * questions <= left).last().unwrap_or(1)
}

#[cfg(target_env = "gnu")]
mod told {
    use super::{fitting, longest};
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
    /// A truncated answer is taken as it is.
    const RES_IGNTC: c_ulong = 0x0000_0020;
    /// Servers are told that 1200 bytes fit, not 512 (RFC 6891).
    const RES_USE_EDNS0: c_ulong = 0x0010_0000;
    const OPTIONS: c_ulong = RES_IGNTC | RES_USE_EDNS0;

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
            let servers = u32::try_from(state.nscount).unwrap_or(1).clamp(1, SERVERS_MAX);
            let configured = u32::try_from(state.retrans).unwrap_or(1).max(1);
            let seconds = fitting(left, questions, servers).min(configured);
            let before = [state.retrans, state.retry];
            let options = state.options;
            let tries = 1;
            state.retrans = c_int::try_from(seconds).unwrap_or(1);
            state.retry = tries;
            state.options |= OPTIONS;
            Hurry { before, options, ours: [state.retrans, tries], given: longest(seconds, servers) }
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
            state.options = state.options & !OPTIONS | self.options & OPTIONS;
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
            assert!((1..=2).contains(&retrans) && retry == 1 && options & OPTIONS == OPTIONS);
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
        let seconds = Duration::from_secs;
        assert_eq!((longest(5, 1), longest(5, 2), longest(5, 3)), (seconds(5), seconds(10), seconds(14)));
        assert_eq!(
            (fitting(seconds(5), 1, 1), fitting(seconds(5), 1, 3), fitting(seconds(5), 2, 1)),
            (5, 2, 2)
        );
        assert_eq!(fitting(Duration::from_millis(100), 1, 3), 1);
        for (left, servers) in (1..40).flat_map(|left| (1..=3).map(move |servers| (seconds(left), servers))) {
            let fit = fitting(left, 1, servers);
            assert!(fit == 1 || longest(fit, servers) <= left);
        }
    }

    #[test]
    fn nothing_is_asked_after_the_deadline() {
        assert_eq!(hurried(Instant::now(), 1, || panic!("asked")), None::<()>);
        let far = Instant::now() + Duration::from_secs(100);
        assert_eq!(hurried(far, 1, || 7), Some(7));
        assert_eq!(
            hurried(Instant::now() + Duration::from_millis(1), 1, || {
                std::thread::sleep(Duration::from_millis(5));
            }),
            None
        );
    }
}
