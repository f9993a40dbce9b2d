//! The way of a domain to other MX hosts: the policy lists the new ones and the old ones, until no sender has an older policy and no
//! resolver an older MX record. Then it drops the old ones.
//!
//! What is decided here is pure: the patterns of the file, the moves of the ledger, the MX hosts in DNS.

use mtasts::{Domain, Policy};

use crate::ledger::Served;
use crate::moving::too_early;

/// How long no MX record may have had a host before the policy drops it, in seconds: resolvers keep a record for a day at most, as a
/// rule.
pub const UNUSED: u64 = 86_400;
/// How many moves a domain has at a time. They fill a policy of the greatest length.
pub const MOST: usize = 100;

/// How a policy differs from its file in one pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// It is listed, although the file does not name it yet.
    Added,
    /// It is listed until nobody uses it, whatever the file says.
    Going,
    /// It is not listed, although the file still names it.
    Dropped,
    /// DNS has it. It is not listed until it is known that this is no mistake and no attack.
    Proposed,
    /// It is listed because DNS has it.
    Adopted,
}

impl Stage {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Going => "going",
            Self::Dropped => "dropped",
            Self::Proposed => "proposed",
            Self::Adopted => "adopted",
        }
    }

    /// The stage of a word.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Added, Self::Going, Self::Dropped, Self::Proposed, Self::Adopted]
            .into_iter()
            .find(|stage| stage.name() == name)
    }
}

/// A move of one pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exchange {
    /// The pattern, in lower case.
    pub pattern: String,
    /// How far it is.
    pub stage: Stage,
    /// Since when, in Unix seconds. For one that is going: since when no MX record has it. For one that is proposed: since when all
    /// name servers have it and senders could use it.
    pub since: Option<u64>,
}

/// What the policy lists: the patterns of the file, and what is added and going besides; without what is dropped.
#[must_use]
pub fn patterns(file: &[String], moves: &[Exchange]) -> Vec<String> {
    let is_dropped = |pattern: &String| find(moves, pattern).is_some_and(|known| known.stage == Stage::Dropped);
    let mut all: Vec<String> = file.iter().filter(|pattern| !is_dropped(pattern)).cloned().collect();
    let is_listed = |known: &&Exchange| !matches!(known.stage, Stage::Dropped | Stage::Proposed);
    let listed = moves.iter().filter(is_listed);
    for Exchange { pattern, .. } in listed {
        if !contains(&all, pattern) {
            all.push(pattern.clone());
        }
    }
    all
}

/// The moves with these changes: patterns that come, and patterns that go.
#[must_use]
pub fn with(moves: &[Exchange], come: &[String], go: &[String], now: u64) -> Vec<Exchange> {
    let is_changed = |known: &&Exchange| contains(come, &known.pattern) || contains(go, &known.pattern);
    let others = moves.iter().filter(|known| !is_changed(known)).cloned();
    let make = |pattern: &String, stage, since| Exchange {
        pattern: pattern.to_ascii_lowercase(),
        stage,
        since,
    };
    let come = come.iter().map(|pattern| make(pattern, Stage::Added, Some(now)));
    let go = go.iter().map(|pattern| make(pattern, Stage::Going, None));
    others.chain(come).chain(go).collect()
}

/// Until when some sender refuses a host that the policy lists, in Unix seconds; or `u64::MAX`, if the policy that is served does not
/// list all that it has to yet.
#[must_use]
pub fn held(file: &[String], moves: &[Exchange], history: &[Served], now: u64) -> Option<u64> {
    let served = history.iter().find(|served| served.until.is_none());
    let served = served.map(|served| served.published.policy());
    let is_served = |pattern: &String| served.is_some_and(|policy| has(policy, pattern));
    match patterns(file, moves).iter().all(is_served) {
        true => too_early(history, now).into_values().max(),
        false => Some(u64::MAX),
    }
}

/// The moves after a look at DNS, which has these MX hosts.
#[must_use]
pub fn after(file: &[String], moves: &[Exchange], hosts: &[Domain], history: &[Served], now: u64) -> Vec<Exchange> {
    let is_held = held(file, moves, history, now).is_some();
    let moved = moves.iter().filter_map(|known| {
        let (pattern, is_in_file) = (&known.pattern, contains(file, &known.pattern));
        let mut known = known.clone();
        match known.stage {
            // The file has followed.
            Stage::Added if is_in_file => return None,
            Stage::Dropped if !is_in_file => return None,
            Stage::Added | Stage::Dropped | Stage::Proposed | Stage::Adopted => {}
            Stage::Going if hosts.iter().any(|host| matches(pattern, host)) => known.since = None,
            Stage::Going => {
                let since = known.since.unwrap_or(now);
                known.since = Some(since);
                if !is_held && since.saturating_add(UNUSED) <= now {
                    (known.stage, known.since) = (Stage::Dropped, Some(now));
                    return is_in_file.then_some(known);
                }
            }
        }
        Some(known)
    });
    moved.collect()
}

/// How long all name servers have had a new MX host before it is adopted, in seconds.
pub const AGREED: u64 = 3600;

/// A new MX host in DNS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Newcomer {
    /// The pattern that lists it.
    pub pattern: String,
    /// Whether DNS says so with a signature (DNSSEC).
    pub is_signed: bool,
    /// Whether two name servers or more were asked, and all have it.
    pub is_agreed: bool,
    /// Whether senders could use it: it was reached, and its certificate is good.
    pub is_good: bool,
}

/// The moves of a domain whose MX hosts are those of DNS, after a look at it: as [`after`] says, and what is new there is proposed, and
/// adopted in time.
#[must_use]
pub fn follow(
    file: &[String],
    moves: &[Exchange],
    hosts: &[Domain],
    newcomers: &[Newcomer],
    history: &[Served],
    now: u64,
) -> Vec<Exchange> {
    let is_used = |pattern: &str| hosts.iter().any(|host| matches(pattern, host));
    let staged = |known: &Exchange, stage, since| Exchange {
        pattern: known.pattern.clone(),
        stage,
        since,
    };
    let turned: Vec<Exchange> = moves
        .iter()
        .filter_map(|known| match (known.stage, is_used(&known.pattern)) {
            (Stage::Added | Stage::Going, true) => Some(staged(known, Stage::Adopted, Some(now))),
            (Stage::Adopted, false) => Some(staged(known, Stage::Going, Some(now))),
            // It was never listed, or DNS has it again.
            (Stage::Proposed, _) => None,
            _ => Some(known.clone()),
        })
        .collect();
    let mut moved = after(file, &turned, hosts, history, now);
    for newcomer in newcomers.iter().take(MOST) {
        if find(&moved, &newcomer.pattern).is_some() || contains(file, &newcomer.pattern) {
            continue;
        }
        let before = find(moves, &newcomer.pattern).filter(|known| known.stage == Stage::Proposed);
        let is_sure = newcomer.is_good && (newcomer.is_signed || newcomer.is_agreed);
        let since = is_sure.then(|| before.and_then(|known| known.since).unwrap_or(now));
        let is_due = since.is_some_and(|since| newcomer.is_signed || since.saturating_add(AGREED) <= now);
        moved.push(Exchange {
            pattern: newcomer.pattern.clone(),
            stage: if is_due { Stage::Adopted } else { Stage::Proposed },
            since: if is_due { Some(now) } else { since },
        });
    }
    moved
}

/// The move of a pattern.
#[must_use]
pub fn find<'a>(moves: &'a [Exchange], pattern: &str) -> Option<&'a Exchange> {
    moves.iter().find(|known| known.pattern.eq_ignore_ascii_case(pattern))
}

fn contains(patterns: &[String], pattern: &str) -> bool {
    patterns.iter().any(|known| known.eq_ignore_ascii_case(pattern))
}

fn has(policy: &Policy, pattern: &str) -> bool {
    policy.mx().any(|known| known.as_str().eq_ignore_ascii_case(pattern))
}

/// Whether a pattern allows this MX host (RFC 8461 4.1).
fn matches(pattern: &str, host: &Domain) -> bool {
    let policy = Policy::new(mtasts::Mode::Enforce, UNUSED as u32, [pattern]);
    policy.is_ok_and(|policy| policy.allows_mx(host))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mtasts::Mode;

    use super::*;
    use crate::published::Published;

    const WEEK: u64 = 604_800;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn hosts(names: &[&str]) -> Vec<Domain> {
        names.iter().map(|name| Domain::parse(name).unwrap()).collect()
    }

    fn served(mx: &[&str], until: Option<u64>) -> Served {
        Served {
            published: Arc::new(Published::new(Mode::Enforce, 604_800, &names(mx)).unwrap()),
            from: 0,
            until,
        }
    }

    fn stages(moves: &[Exchange]) -> Vec<(&str, Stage, Option<u64>)> {
        moves
            .iter()
            .map(|known| (known.pattern.as_str(), known.stage, known.since))
            .collect()
    }

    #[test]
    fn the_union_then_without_the_old() {
        let file = names(&["Old.example", "stays.example"]);
        let moves = with(&[], &names(&["NEW.example"]), &names(&["old.example"]), 1000);
        let union = ["old.example", "stays.example", "new.example"];
        assert_eq!(patterns(&file, &moves), ["Old.example", "stays.example", "new.example"]);
        let before = served(&["old.example", "stays.example"], Some(2000));
        let (in_old, in_new) = (hosts(&["old.example"]), hosts(&["new.example"]));

        // The union is not served yet: nothing is over, however long it takes.
        let alone = [served(&["old.example", "stays.example"], None)];
        assert_eq!(held(&file, &moves, &alone, 9 * WEEK), Some(u64::MAX));
        let stays = after(&file, &moves, &in_new, &alone, 9 * WEEK);
        assert_eq!(stays[1].stage, Stage::Going);

        // It is: senders with the older policy refuse the new host until that has run out.
        let history = [before, served(&union, None)];
        assert_eq!(held(&file, &moves, &history, 3000), Some(2000 + WEEK));
        assert_eq!(held(&file, &moves, &history, 2000 + WEEK), None);
        // DNS has the old one until then, and for longer.
        let late = 2000 + 3 * WEEK;
        assert_eq!(after(&file, &moves, &in_old, &history, late), moves);
        // It is gone, comes back, and is gone: a day from then on.
        let gone = after(&file, &moves, &in_new, &history, late);
        assert_eq!(gone[1].since, Some(late));
        assert_eq!(after(&file, &gone, &in_old, &history, late + 9), moves);
        assert_eq!(after(&file, &gone, &in_new, &history, late + UNUSED - 1), gone);
        let done = after(&file, &gone, &in_new, &history, late + UNUSED);
        let dropped = ("old.example", Stage::Dropped, Some(late + UNUSED));
        assert_eq!(stages(&done), [("new.example", Stage::Added, Some(1000)), dropped]);
        assert_eq!(patterns(&file, &done), ["stays.example", "new.example"]);
        // It was gone from DNS too early: senders may still want it.
        let early = after(&file, &moves, &in_new, &history, 3000);
        assert_eq!(after(&file, &early, &in_new, &history, 3000 + UNUSED), early);

        // The file follows, and the moves are over.
        let follows = names(&["stays.example", "new.example"]);
        assert_eq!(patterns(&follows, &done), follows);
        assert_eq!(after(&follows, &done, &in_new, &history, late + UNUSED), []);
        // It follows too soon: the old one is listed on, and then goes without a trace.
        assert_eq!(
            patterns(&follows, &moves),
            ["stays.example", "new.example", "old.example"]
        );
        assert_eq!(after(&follows, &gone, &in_new, &history, late + UNUSED), []);
    }

    #[test]
    fn a_move_is_taken_back() {
        let file = names(&["old.example"]);
        let moves = with(&[], &names(&["new.example"]), &names(&["old.example"]), 1);
        let back = with(&moves, &names(&["old.example"]), &names(&["new.example"]), 2);
        let expected = [
            ("old.example", Stage::Added, Some(2)),
            ("new.example", Stage::Going, None),
        ];
        assert_eq!(stages(&back), expected);
        assert_eq!(patterns(&file, &back), ["old.example", "new.example"]);
        // A wildcard is used by each host that it allows.
        let wild = with(&[], &[], &names(&["*.example.net"]), 1);
        let history = [served(&["old.example", "*.example.net"], None)];
        let look = |host| after(&file, &wild, &hosts(&[host]), &history, 5)[0].since;
        assert_eq!((look("a.example.net"), look("a.b.example.net")), (None, Some(5)));
        for stage in [
            Stage::Added,
            Stage::Going,
            Stage::Dropped,
            Stage::Proposed,
            Stage::Adopted,
        ] {
            assert_eq!(Stage::from_name(stage.name()), Some(stage));
        }
    }

    /// All that can be known of a new MX host, and what comes of it at once, before the hour is over, and after it.
    #[test]
    fn a_new_mx_host_in_dns_is_proposed_and_adopted_in_time() {
        let hosts = hosts(&["a.example"]);
        for bits in 0..8 {
            let (is_signed, is_agreed, is_good) = (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0);
            let newcomer = Newcomer {
                pattern: "a.example".into(),
                is_signed,
                is_agreed,
                is_good,
            };
            let look = |moves: &[Exchange], now| follow(&[], moves, &hosts, std::slice::from_ref(&newcomer), &[], now);
            let at_once = look(&[], 1000);
            let before = look(&at_once, 1000 + AGREED - 1);
            let later = look(&before, 1000 + AGREED);
            let stage = |moves: &[Exchange]| moves[0].stage;
            let expected = match (is_signed, is_agreed, is_good) {
                (true, _, true) => [Stage::Adopted; 3],
                (false, true, true) => [Stage::Proposed, Stage::Proposed, Stage::Adopted],
                _ => [Stage::Proposed; 3],
            };
            assert_eq!(
                [stage(&at_once), stage(&before), stage(&later)],
                expected,
                "{newcomer:?}"
            );
            let is_listed = expected[2] == Stage::Adopted;
            assert_eq!(patterns(&[], &later).len(), usize::from(is_listed));
            // One moment at which it is not so, and the hour begins anew.
            let doubt = Newcomer {
                is_good: false,
                ..newcomer.clone()
            };
            let doubted = follow(&[], &at_once, &hosts, &[doubt], &[], 2000);
            if expected[0] == Stage::Proposed {
                assert_eq!((stage(&doubted), doubted[0].since), (Stage::Proposed, None));
                assert_eq!(stage(&look(&doubted, 1000 + AGREED)), Stage::Proposed);
            }
            // It is gone before it was adopted: nothing is left of it.
            if expected[0] == Stage::Proposed {
                assert_eq!(follow(&[], &at_once, &[], &[], &[], 2000), []);
            }
        }
    }

    #[test]
    fn an_mx_host_that_leaves_dns_is_listed_for_a_day() {
        let (a, none) = (hosts(&["a.example"]), hosts(&["b.example"]));
        let adopted = vec![Exchange {
            pattern: "a.example".into(),
            stage: Stage::Adopted,
            since: Some(1),
        }];
        let history = [served(&["a.example"], None)];
        let look = |moves: &[Exchange], hosts: &[Domain], now| follow(&[], moves, hosts, &[], &history, now);
        assert_eq!(look(&adopted, &a, 1000), adopted);
        let going = look(&adopted, &none, 1000);
        assert_eq!(stages(&going), [("a.example", Stage::Going, Some(1000))]);
        assert_eq!(patterns(&[], &going), ["a.example"]);
        assert_eq!(look(&going, &none, 1000 + UNUSED - 1), going);
        assert_eq!(
            stages(&look(&going, &a, 2000)),
            [("a.example", Stage::Adopted, Some(2000))]
        );
        assert_eq!(look(&going, &none, 1000 + UNUSED), []);
        // One that was announced by hand waits for its MX record.
        let announced = with(&adopted, &names(&["new.example"]), &[], 5);
        let waits = look(&announced, &a, 900_000);
        assert_eq!(waits[1].stage, Stage::Added);
    }
}
