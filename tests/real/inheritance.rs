//! Does the server get from inetd what it would have got without the wrapper?
//!
//! The probe is run twice in the same surroundings, once directly and once behind tcpd, and
//! reports all it can see: arguments, environment, descriptors, signals, timers, limits,
//! directory, identity, socket options. The umask, which tcpd sets to 022, is the only
//! difference allowed.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::lab::launch::connection;
use crate::lab::server::ident_says;
use crate::lab::{self, Lab, Running, SCRATCH};

/// What inetd, or who started it, may have left behind.
#[derive(Clone, Copy)]
struct Surroundings {
    ignored: &'static [libc::c_int],
    blocked: &'static [libc::c_int],
    open_files: libc::rlim_t,
}

const PLAIN: Surroundings = Surroundings { ignored: &[], blocked: &[], open_files: 1024 };

const ODD: Surroundings = Surroundings {
    ignored: &[libc::SIGPIPE, libc::SIGHUP, libc::SIGTTOU],
    blocked: &[libc::SIGUSR1, libc::SIGALRM, libc::SIGTERM],
    open_files: 77,
};

/// A server that inherits an ignored SIGCHLD keeps it, and the wrapper still gets along.
const CHILDREN_IGNORED: Surroundings =
    Surroundings { ignored: &[libc::SIGCHLD, libc::SIGALRM], blocked: &[], open_files: 256 };

fn report(lab: &Lab, program: &str, surroundings: Surroundings, kept: &[RawFd]) -> Vec<String> {
    let (client, served) = connection("127.0.0.2".parse().unwrap(), "127.0.0.1".parse().unwrap());
    let served = OwnedFd::from(served);
    let report = format!("{SCRATCH}/saw");
    let _ = std::fs::remove_file(&report);
    lab.log();
    let mut command = Command::new(program);
    command
        .arg0("in.tw-probe")
        .args(["", "two words", "--help", "-V"])
        .env_clear()
        .envs([("EMPTY", ""), ("PATH", "/usr/bin:/bin"), ("A", "b=c"), ("IFS", "x")])
        .env("LD_BIND_NOW", "1")
        .current_dir(SCRATCH)
        .stdin(served.try_clone().unwrap())
        .stdout(served.try_clone().unwrap())
        .stderr(served);
    // SAFETY: only async-signal-safe calls, on values that were copied into the closure.
    unsafe {
        command.pre_exec(move || arrange(surroundings));
    }
    let mut running = Running::keeping(&mut command, kept);
    drop(command);
    assert_eq!(running.wait(), 7, "{:#?}", lab.log());
    drop(client);
    let text = std::fs::read_to_string(report).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// SAFETY: to be called between fork and exec.
unsafe fn arrange(surroundings: Surroundings) -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: surroundings.open_files, rlim_max: 4096 };
    // SAFETY: all calls are async-signal-safe, all pointers are to locals.
    unsafe {
        for signal in surroundings.ignored {
            libc::signal(*signal, libc::SIG_IGN);
        }
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in surroundings.blocked {
            libc::sigaddset(&mut set, *signal);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        libc::umask(0o77);
    }
    Ok(())
}

fn expect_only_the_umask_to_differ(lab: &Lab, surroundings: Surroundings) {
    let extra = File::open("/etc/passwd").unwrap();
    let kept = [extra.as_raw_fd()];
    let direct = report(lab, "/usr/sbin/in.tw-probe", surroundings, &kept);
    let wrapped = report(lab, "/usr/sbin/tcpd", surroundings, &kept);
    assert!(direct.contains(&"umask 077".to_owned()), "{direct:#?}");
    assert!(wrapped.contains(&"umask 022".to_owned()), "{wrapped:#?}");
    assert!(direct.contains(&format!("fd {} /etc/passwd", kept[0])), "{direct:#?}");
    let without = |lines: &[String]| -> Vec<String> {
        let kept = lines.iter().filter(|line| !line.starts_with("umask "));
        kept.cloned().collect()
    };
    assert_eq!(without(&direct), without(&wrapped));
}

#[test]
fn nothing_but_the_umask_changes() {
    let lab = open_lab!();
    lab.rules("ALL: ALL\n", "");
    for surroundings in [PLAIN, ODD, CHILDREN_IGNORED] {
        expect_only_the_umask_to_differ(&lab, surroundings);
    }
}

/// Names, ident and commands need timers, children and descriptors; none of them may be left.
#[test]
fn nothing_is_left_of_lookups_and_commands() {
    let lab = open_lab!();
    lab::write("/etc/hosts", "127.0.0.2 good.example.com\n127.0.0.1 server.example.com\n");
    let rule = "ALL@server.example.com: joe@good.example.com: rfc931 20: spawn true: \
        aclexec true: spawn sleep 0.1 &\n";
    lab.rules(rule, "ALL: ALL\n");
    let _ident = ident_says("127.0.0.2", "<R> , <L> : USERID : UNIX : joe\r\n");
    for surroundings in [PLAIN, ODD, CHILDREN_IGNORED] {
        expect_only_the_umask_to_differ(&lab, surroundings);
    }
}
