//! Hosts with networks of their own, beside the test Internet of the calling thread.

use std::process::Command;

use crate::{Child, until};

/// A bridge in the network of a test. Whatever the test serves there can be reached over it.
pub struct Bridge {
    /// The address of the test's side.
    pub address: &'static str,
}

impl Bridge {
    /// Makes one in the network of the calling thread.
    pub fn here() -> Self {
        let address = "10.77.0.254";
        // With an address of its own, or it would take that of each host that is new, and the others lose it.
        ip("link add name hosts address 02:00:00:00:00:01 type bridge");
        ip(&format!("addr add {address}/24 dev hosts"));
        ip("link set hosts up");
        Self { address }
    }

    /// A host with a network of its own, with a number from 1 to 253: its process does this work.
    pub fn host(&self, number: u8, work: impl FnOnce()) -> Child {
        let child = Child::start(|| {
            // SAFETY: a system call on a value, in a process with one thread.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "needs root");
            let mine = format!("addr add 10.77.0.{number}/24 dev host{number}");
            until("the cable", || try_ip(&mine));
            ip("link set lo up");
            ip(&format!("link set host{number} up"));
            ip(&format!("route add default via {}", self.address));
            work();
        });
        ip(&format!("link add name cable{number} type veth peer name host{number}"));
        ip(&format!("link set cable{number} master hosts up"));
        // The process may not have its network yet: then the end is still here, and is put there again.
        until("the host's network", || {
            try_ip(&format!("link set host{number} netns {}", child.0)) && !try_ip(&format!("link show host{number}"))
        });
        child
    }
}

/// Whether the address has lost its way back: what is sent from there arrives nowhere, as in a partition.
pub fn cut(address: &str, is_cut: bool) {
    let what = if is_cut { "add" } else { "del" };
    ip(&format!("rule {what} pref 5 from {address} blackhole"));
}

/// Lets [`cut`] work: no rule comes before that of the addresses of this host.
pub fn may_be_cut() {
    ip("rule add pref 10 lookup local");
    ip("rule del pref 0");
}

fn ip(words: &str) {
    assert!(try_ip(words), "ip {words}");
}

fn try_ip(words: &str) -> bool {
    let output = Command::new("ip").args(words.split(' ')).output();
    output.is_ok_and(|output| output.status.success())
}
