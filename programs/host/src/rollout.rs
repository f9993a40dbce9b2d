//! The way of a policy to its full length (`mode = "auto"`): which steps there are, and which is allowed now.
//!
//! What is decided here is pure: the plan of the settings, the step of the ledger, the [`Facts`] of the network.

use mtasts::{Mode, Policy};

use crate::facts::Facts;
use crate::gates::{Refusal, gates};
use crate::published::MIN_MAX_AGE;

/// The lengths of the steps in mode `enforce`, in seconds: a day, a week, two weeks. What was planned follows.
const LENGTHS: [u32; 3] = [MIN_MAX_AGE, 604_800, DEFAULT_LONGEST];
/// How long a policy gets if the settings say nothing, in seconds.
pub const DEFAULT_LONGEST: u32 = 1_209_600;
/// How long each step but the last lasts, in seconds: testing, then a day, a week and two weeks in mode `enforce`.
pub const DEFAULT_WAITS: [u32; 4] = [604_800, 172_800, 604_800, 1_209_600];

/// A step: what a policy says besides its MX hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The mode.
    pub mode: Mode,
    /// How long senders keep it, in seconds.
    pub max_age: u32,
}

impl Step {
    /// The first of all: a policy that costs no mail.
    pub const FIRST: Self = Self {
        mode: Mode::Testing,
        max_age: MIN_MAX_AGE,
    };

    const fn enforce(max_age: u32) -> Self {
        Self {
            mode: Mode::Enforce,
            max_age,
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, max_age {}", self.mode, self.max_age)
    }
}

/// What the settings want in the end, and how slowly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The last `max_age`, in seconds.
    pub longest: u32,
    /// How long each step but the last lasts, in seconds.
    pub waits: [u32; 4],
}

/// What comes of a step at a time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is the last one.
    Last,
    /// The next one is allowed after this many seconds, if the gates are open then.
    Wait(u64),
    /// The next one is allowed.
    Allowed(Step),
    /// It is refused, for each of these reasons.
    Refused(Vec<Refusal>),
}

impl Plan {
    /// Where a domain begins: nothing goes back from `enforce` by itself.
    #[must_use]
    pub fn first(&self, served: Option<&Policy>) -> Step {
        match served.filter(|policy| policy.mode() == Mode::Enforce) {
            Some(policy) => self.within(Step::enforce(policy.max_age())),
            None => Step::FIRST,
        }
    }

    /// The step, no longer than the settings want.
    #[must_use]
    pub fn within(&self, step: Step) -> Step {
        let max_age = step.max_age.clamp(MIN_MAX_AGE, self.longest);
        Step { max_age, ..step }
    }

    /// The step after this one, and how many seconds this one lasts.
    #[must_use]
    pub fn next(&self, now: Step) -> Option<(Step, u64)> {
        let shorter = LENGTHS.into_iter().filter(|length| *length < self.longest);
        let mut lengths = shorter.chain([self.longest]).enumerate();
        let (at, length) = match now.mode {
            Mode::Enforce => lengths.find(|(_, length)| *length > now.max_age)?,
            Mode::Testing | Mode::None => lengths.next()?,
        };
        Some((Step::enforce(length), self.waits[at].into()))
    }

    /// Whether the next step is allowed. `age` is how long the present one has lasted, in seconds; `None` if the operator does not
    /// want to wait.
    #[must_use]
    pub fn judge(&self, now: Step, age: Option<u64>, facts: &Facts) -> Verdict {
        let Some((next, lasts)) = self.next(now) else {
            return Verdict::Last;
        };
        if let Some(left) = age.and_then(|age| lasts.checked_sub(age)).filter(|left| *left > 0) {
            return Verdict::Wait(left);
        }
        match gates(facts) {
            refusals if refusals.is_empty() => Verdict::Allowed(next),
            refusals => Verdict::Refused(refusals),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(longest: u32) -> Plan {
        Plan {
            longest,
            waits: [1, 2, 3, 4],
        }
    }

    fn way(plan: &Plan, mut step: Step) -> Vec<(Mode, u32, u64)> {
        let mut way = Vec::new();
        while let Some((next, lasts)) = plan.next(step) {
            way.push((next.mode, next.max_age, lasts));
            step = next;
        }
        way
    }

    #[test]
    fn the_steps_and_how_long_each_lasts() {
        let (day, week, fortnight, year) = (86_400, 604_800, 1_209_600, 31_557_600);
        let enforce = |lengths: &[(u32, u64)]| -> Vec<_> {
            let steps = lengths.iter();
            steps.map(|(length, lasts)| (Mode::Enforce, *length, *lasts)).collect()
        };
        let whole = [(day, 1), (week, 2), (fortnight, 3), (year, 4)];
        assert_eq!(way(&plan(year), Step::FIRST), enforce(&whole));
        assert_eq!(way(&plan(fortnight), Step::FIRST), enforce(&whole[..3]));
        assert_eq!(way(&plan(week), Step::FIRST), enforce(&whole[..2]));
        assert_eq!(way(&plan(day), Step::FIRST), enforce(&whole[..1]));
        assert_eq!(way(&plan(100_000), Step::FIRST), enforce(&[(day, 1), (100_000, 2)]));
        // From the middle, from a length of one's own, and at the end.
        assert_eq!(way(&plan(year), Step::enforce(week)), enforce(&whole[2..]));
        assert_eq!(way(&plan(year), Step::enforce(700_000)), enforce(&whole[2..]));
        assert_eq!(way(&plan(week), Step::enforce(year)), enforce(&[]));
    }

    #[test]
    fn nothing_goes_back_from_enforce() {
        let of = |mode, max_age| Policy::new(mode, max_age, ["mx.example.com"]).unwrap();
        let plan = plan(1_209_600);
        assert_eq!(plan.first(None), Step::FIRST);
        assert_eq!(plan.first(Some(&of(Mode::Testing, 604_800))), Step::FIRST);
        assert_eq!(plan.first(Some(&of(Mode::Enforce, 604_800))), Step::enforce(604_800));
        // A text that was taken over may be shorter or longer than any of ours.
        assert_eq!(plan.first(Some(&of(Mode::Enforce, 60))), Step::enforce(86_400));
        assert_eq!(
            plan.first(Some(&of(Mode::Enforce, 31_557_600))),
            Step::enforce(1_209_600)
        );
    }

    #[test]
    fn a_step_lasts_its_time() {
        let (plan, facts) = (plan(1_209_600), Facts::good());
        let judge = |age| plan.judge(Step::enforce(86_400), age, &facts);
        assert_eq!(judge(Some(0)), Verdict::Wait(2));
        assert_eq!(judge(Some(1)), Verdict::Wait(1));
        for age in [Some(2), Some(u64::MAX), None] {
            assert_eq!(judge(age), Verdict::Allowed(Step::enforce(604_800)));
        }
        assert_eq!(plan.judge(Step::enforce(1_209_600), Some(9), &facts), Verdict::Last);
    }
}
