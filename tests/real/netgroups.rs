//! Do netgroups work through the C library, as `nsswitch.conf` says?

use crate::lab::{self, Lab, Visit};

fn furnish() {
    let hosts = "127.0.0.2 good.example.com\n127.0.0.3 bad.example.com\n\
        127.0.0.4 other.example.com\n127.0.0.1 server.example.com\n";
    lab::write("/etc/hosts", hosts);
    let groups = "trusted (good.example.com,,) (Mixed.Example.COM,-,)\n\
        banned (bad.example.com,,)\nall trusted banned\nservers (server.example.com,,)\n";
    lab::write("/etc/netgroup", groups);
}

fn served(lab: &Lab, addresses: [&str; 3]) -> [bool; 3] {
    addresses.map(|address| Visit::of(lab).from(address).run().served())
}

const CLIENTS: [&str; 3] = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];

#[test]
fn netgroup_in_hosts_allow() {
    let lab = open_lab!();
    furnish();
    lab.rules("ALL: @trusted\n", "ALL: ALL\n");
    assert_eq!(served(&lab, CLIENTS), [true, false, false]);
    lab.rules("ALL: @all\n", "ALL: ALL\n");
    assert_eq!(served(&lab, CLIENTS), [true, true, false]);
    lab.rules("ALL: @nosuchgroup @TRUSTED\n", "ALL: ALL\n");
    assert_eq!(served(&lab, CLIENTS), [false, false, false]);
}

#[test]
fn netgroup_in_hosts_deny() {
    let lab = open_lab!();
    furnish();
    lab.rules("", "ALL: @banned\n");
    assert_eq!(served(&lab, CLIENTS), [true, false, true]);
    lab.rules("", "ALL: @all EXCEPT @trusted\n");
    assert_eq!(served(&lab, CLIENTS), [true, false, true]);
    lab.rules("in.tw-probe@@servers: @trusted\n", "ALL: ALL\n");
    assert_eq!(served(&lab, CLIENTS), [true, false, false]);
}
