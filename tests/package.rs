//! Do the Debian packages install and come off without a scratch?
//!
//! In clean roots (`clean`).

mod clean;

use clean::Root;

/// The room itself: a test that finds something here was not the one that left it.
#[test]
fn a_clean_root_is_clean_and_alone() {
    let Some(root) = Root::open() else { return };
    assert_eq!(root.must("cat /proc/1/comm"), "sh\n");
    let said = root.run_with_input("cat; echo to stderr >&2; exit 3", "hello");
    assert_eq!((said.status, said.out.as_str(), said.err.as_str()), (3, "hello", "to stderr\n"));
    assert_eq!(root.must("dpkg --audit; dpkg --verify"), "");
    root.write("/etc/inetd.conf", "finger stream tcp nowait root /usr/sbin/tcpd /bin/echo served\n");
    root.write("/etc/hosts.deny", "ALL: 127.0.0.3\n");
    let inetd = root.start("/usr/sbin/inetd -i /etc/inetd.conf");
    root.wait_for_port(79);
    assert_eq!(root.call("127.0.0.2", 79), "served\n");
    assert_eq!(root.call("127.0.0.3", 79), "");
    root.log_until("refused connect from 127.0.0.3 (127.0.0.3)");
    let pid = inetd.pid();
    drop(inetd);
    assert!(clean::patiently(|| !std::path::Path::new(&format!("/proc/{pid}")).exists()));
}
