//! When a domain can be forgotten: when no sender holds a policy of it any more that stops mail.

use mtasts::Mode;

use crate::ledger::Served;

/// Until when senders may hold a policy of this history, if that is after `now` (both in Unix seconds). One that fetched a text at
/// the end of its time keeps it for its whole life (RFC 8461 5.1). A policy of mode `none` asks for nothing (RFC 8461 8.3).
#[must_use]
pub fn held_until(history: &[Served], now: u64) -> Option<u64> {
    let asks = history
        .iter()
        .filter(|served| served.published.policy().mode() != Mode::None);
    let ends = asks.map(|served| served.until.unwrap_or(now) + u64::from(served.published.policy().max_age()));
    ends.max().filter(|end| *end > now)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::published::Published;

    fn served(mode: Mode, max_age: u32, until: Option<u64>) -> Served {
        let published = Arc::new(Published::new(mode, max_age, &["mx.example.com".into()]).unwrap());
        Served {
            published,
            from: 0,
            until,
        }
    }

    #[test]
    fn the_longest_life_from_the_last_moment_it_was_served() {
        let year = served(Mode::Enforce, 31_557_600, Some(1_000_000));
        let week = served(Mode::Testing, 604_800, Some(2_000_000));
        let none = served(Mode::None, 86_400, None);
        assert_eq!(held_until(&[], 0), None);
        assert_eq!(held_until(&[week.clone(), none.clone()], 2_604_799), Some(2_604_800));
        assert_eq!(held_until(&[week.clone(), none.clone()], 2_604_800), None);
        assert_eq!(held_until(&[year, week, none], 3_000_000), Some(32_557_600));
        // What is served now is held from now on.
        let now = served(Mode::Enforce, 86_400, None);
        assert_eq!(held_until(&[now], 5_000_000), Some(5_086_400));
    }
}
