//! The signed requests for a transfer that were answered, so that no other client gets the zone by a request that it has seen on the
//! way (RFC 8945 5.2.3).
//!
//! The rule there is to refuse what was signed earlier than the last request with this key. Secondaries that share a key, and whose
//! clocks differ by some seconds, would refuse each other. So each signature is good once while it is remembered. If there are too many
//! of them, the rule is in force for the time of those that are forgotten: memory is bounded, and nothing is answered twice. Only
//! requests whose signature is good come here: who does not have the key cannot push any out.

use std::collections::BTreeSet;

use crate::tsig::FUDGE;

/// How many signatures are remembered. A secondary asks a few times a minute at most.
const MOST: usize = 4096;

/// What was answered.
pub(super) struct Answered {
    /// What was signed then or before, in Unix seconds, is not answered.
    floor: u64,
    /// When each of the others was signed, and its signature.
    seen: BTreeSet<(u64, Vec<u8>)>,
}

impl Answered {
    /// Nothing is known of what another process has answered before this time.
    pub(super) fn new(now: u64) -> Self {
        Self {
            floor: now.saturating_sub(1),
            seen: BTreeSet::new(),
        }
    }

    /// Whether a request that was signed at this time, in this way, is answered for the first time.
    pub(super) fn is_first(&mut self, time: u64, mac: &[u8], now: u64) -> bool {
        let fudge = u64::from(FUDGE);
        if self.floor > now.saturating_add(fudge) {
            // Nothing that was answered is from then: the clock of this host was set back.
            *self = Self::new(now);
        }
        let is_first = time > self.floor && self.seen.insert((time, mac.to_vec()));
        // What is older than that is late without being remembered.
        self.floor = self.floor.max(now.saturating_sub(fudge + 1));
        if self.seen.len() > MOST
            && let Some((oldest, _)) = self.seen.first()
        {
            self.floor = self.floor.max(*oldest);
        }
        self.seen = self.seen.split_off(&(self.floor + 1, Vec::new()));
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_798_675_200;

    #[test]
    fn each_signature_is_good_once() {
        let mut answered = Answered::new(NOW);
        assert!(answered.is_first(NOW + 9, b"a", NOW));
        assert!(!answered.is_first(NOW + 9, b"a", NOW + 1));
        // Another secondary, whose clock is slower, and two requests in one second.
        assert!(answered.is_first(NOW, b"b", NOW + 1));
        assert!(answered.is_first(NOW, b"c", NOW + 1));
        // As long as its time is not too far away, and then it is late anyway.
        for later in [1, 100, 300, 309] {
            assert!(!answered.is_first(NOW + 9, b"a", NOW + later), "{later}");
        }
        assert_eq!(answered.seen.len(), 1);
        assert!(!answered.is_first(NOW, b"b", NOW + 400));
        assert_eq!(answered.seen.len(), 0);
    }

    #[test]
    fn what_was_signed_before_the_start_may_have_been_answered_then() {
        let mut answered = Answered::new(NOW);
        assert!(!answered.is_first(NOW - 1, b"a", NOW));
        assert!(answered.is_first(NOW, b"a", NOW));
        // The clock is an hour back: no request is refused for an hour.
        let earlier = NOW - 3600;
        assert!(answered.is_first(earlier, b"b", earlier));
        assert!(!answered.is_first(earlier, b"b", earlier));
    }

    #[test]
    fn however_many_there_are_the_memory_is_bounded_and_nothing_is_answered_twice() {
        let mut answered = Answered::new(NOW);
        let all = |n: u64| (NOW + n / 100, n.to_be_bytes());
        for (time, mac) in (0..10_000).map(all) {
            assert!(answered.is_first(time, &mac, NOW));
            assert!(answered.seen.len() <= MOST);
        }
        assert!(answered.seen.len() > MOST - 200, "{}", answered.seen.len());
        for (time, mac) in (0..10_000).map(all) {
            assert!(!answered.is_first(time, &mac, NOW), "{time}");
        }
        // All in one second.
        let mut answered = Answered::new(NOW);
        let first: Vec<u64> = (0..=MOST as u64).collect();
        assert!(first.iter().all(|n| answered.is_first(NOW, &n.to_be_bytes(), NOW)));
        assert!(!first.iter().any(|n| answered.is_first(NOW, &n.to_be_bytes(), NOW)));
        assert!(answered.is_first(NOW + 1, b"later", NOW));
    }
}
