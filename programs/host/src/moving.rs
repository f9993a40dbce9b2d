//! When a new MX host may be in DNS: when no sender holds a policy any more that does not list it.

use std::collections::BTreeMap;

use mtasts::{Domain, Mode, Policy};

use crate::ledger::Served;

/// The patterns of the policy that is served now which senders with an older one refuse, and until when (in Unix seconds). One that
/// fetched a text at the end of its time keeps it for its whole life (RFC 8461 5.1, 8.2).
#[must_use]
pub fn too_early(history: &[Served], now: u64) -> BTreeMap<String, u64> {
    let Some(Served { published, .. }) = history.iter().find(|served| served.until.is_none()) else {
        return BTreeMap::new();
    };
    let patterns = published.policy().mx();
    let known = patterns.filter_map(|pattern| {
        let name = pattern.as_str();
        let strict = history.iter().filter(|served| refuses(served.published.policy(), name));
        let ends = strict.map(|served| served.until.unwrap_or(now) + u64::from(served.published.policy().max_age()));
        let end = ends.max().filter(|end| *end > now)?;
        Some((name.to_owned(), end))
    });
    known.collect()
}

/// Whether senders that hold this policy send no mail to hosts of this pattern.
fn refuses(policy: &Policy, pattern: &str) -> bool {
    if policy.mode() != Mode::Enforce || policy.mx().any(|known| known.as_str() == pattern) {
        return false;
    }
    // A host name may be allowed by a wildcard; a wildcard is allowed by itself alone.
    Domain::parse(pattern).map_or(true, |host| !policy.allows_mx(&host))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::published::Published;

    fn served(mode: Mode, max_age: u32, mx: &[&str], until: Option<u64>) -> Served {
        let mx: Vec<String> = mx.iter().map(|name| (*name).to_owned()).collect();
        Served {
            published: Arc::new(Published::new(mode, max_age, &mx).unwrap()),
            from: 0,
            until,
        }
    }

    #[test]
    fn until_the_last_policy_without_it_has_run_out() {
        let (old, new, wild) = ("old.example.com", "new.example.com", "*.example.net");
        let now = 1_000_000;
        let week = served(Mode::Enforce, 604_800, &[old], Some(900_000));
        let both = served(Mode::Enforce, 86_400, &[old, new], None);
        let of = |history: &[&Served]| {
            let history: Vec<Served> = history.iter().map(|served| (*served).clone()).collect();
            too_early(&history, now)
        };
        assert_eq!(of(&[&week, &both]), BTreeMap::from([(new.into(), 1_504_800)]));
        // Another text in between changes nothing: the longest life decides.
        let day = served(Mode::Enforce, 86_400, &[old], Some(950_000));
        assert_eq!(of(&[&week, &day, &both]), BTreeMap::from([(new.into(), 1_504_800)]));
        // In testing nobody refuses it, nor under a wildcard, nor when all of it is over.
        let testing = served(Mode::Testing, 604_800, &[old], Some(900_000));
        let below = served(Mode::Enforce, 604_800, &[old, "*.example.com"], Some(900_000));
        let over = served(Mode::Enforce, 86_400, &[old], Some(900_000));
        for before in [&testing, &below, &over] {
            assert_eq!(of(&[before, &both]), BTreeMap::new());
        }
        // A wildcard is as new as it is.
        let wider = served(Mode::Enforce, 86_400, &[old, wild], None);
        assert_eq!(of(&[&week, &wider]), BTreeMap::from([(wild.into(), 1_504_800)]));
        // One that was away for a while.
        let again = served(Mode::Enforce, 86_400, &[old], None);
        let without = served(Mode::Enforce, 604_800, &[new], Some(950_000));
        assert_eq!(
            of(&[&week, &without, &again]),
            BTreeMap::from([(old.into(), 1_554_800)])
        );
        assert_eq!(of(&[&week]), BTreeMap::new());
    }
}
