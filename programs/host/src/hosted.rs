//! A domain that a file names, and what is published for it.

use std::sync::Arc;

use mtasts::Mode;

use crate::exchanges::{self, Exchange};
use crate::published::{Published, Refused};
use crate::rollout::{Plan, Step};
use crate::settings::Tenant;

/// A domain with its policy, and whose it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hosted {
    /// The file that names it.
    pub tenant: Tenant,
    /// Domains with the same policy share it. With a rollout it is that of the first step, until the ledger says which step it is.
    pub published: Arc<Published>,
    /// How the policy gets to its full length, if its mode is `auto`.
    pub rollout: Option<Arc<Rollout>>,
    /// Whether the policy is one that was taken over from another host, in place of what the file says.
    pub is_imported: bool,
    /// What is on its way to other MX hosts, and what the file itself says.
    pub moving: Option<Moving>,
}

/// A domain on its way to other MX hosts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moving {
    /// The MX patterns of the file.
    pub file: Vec<String>,
    /// How the policy differs from them.
    pub moves: Vec<Exchange>,
    /// Whether the MX hosts are those that DNS has.
    pub from_dns: bool,
}

impl Hosted {
    /// The MX patterns that the file has.
    #[must_use]
    pub fn file_mx(&self) -> Vec<String> {
        match (&self.moving, &self.rollout) {
            (Some(moving), _) => moving.file.clone(),
            (None, Some(rollout)) => rollout.mx.clone(),
            (None, None) => {
                let patterns = self.published.policy().mx();
                patterns.map(|pattern| pattern.as_str().to_owned()).collect()
            }
        }
    }

    /// How the policy differs from the file, if the domain is on its way to other MX hosts.
    #[must_use]
    pub fn moves(&self) -> &[Exchange] {
        self.moving.as_ref().map_or(&[], |moving| &moving.moves)
    }

    /// Whether the MX hosts are those that DNS has.
    #[must_use]
    pub fn is_from_dns(&self) -> bool {
        self.rollout.as_ref().is_some_and(|rollout| rollout.from_dns)
    }

    /// Whether a policy has room for these patterns, up to the last step.
    ///
    /// # Errors
    /// [`Refused`], as for [`Published::new`].
    pub fn has_room(&self, mx: &[String]) -> Result<(), Refused> {
        let max_age = self.published.policy().max_age();
        let longest = self.rollout.as_ref().map_or(max_age, |rollout| rollout.plan.longest);
        Published::new(Mode::Enforce, longest, mx).map(|_| ())
    }

    /// Lists the MX hosts that these moves want. If they are more than a policy has room for, because the file has got longer, the
    /// file decides.
    pub(crate) fn follow(&mut self, moves: &[Exchange]) {
        let (file, policy) = (self.file_mx(), self.published.policy());
        let mx = exchanges::patterns(&file, moves);
        let moves = moves.to_vec();
        if self.is_from_dns() {
            self.moving = Some(Moving {
                file: file.clone(),
                moves: moves.clone(),
                from_dns: true,
            });
        } else if policy.mode() == Mode::None {
            return;
        }
        if self.has_room(&mx).is_err() {
            return;
        }
        if let Some(rollout) = &self.rollout {
            let rollout = Rollout {
                mx,
                ..(**rollout).clone()
            };
            self.rollout = Some(Arc::new(rollout));
        } else if let Ok(published) = Published::new(policy.mode(), policy.max_age(), &mx) {
            self.published = Arc::new(published);
        }
        let from_dns = self.is_from_dns();
        self.moving = Some(Moving { file, moves, from_dns });
    }
}

/// A policy that goes by steps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rollout {
    /// The steps.
    pub plan: Plan,
    /// All MX patterns of the policy.
    pub mx: Vec<String>,
    /// Those of them that need not be in DNS.
    pub reserve: Vec<String>,
    /// Whether the others are those that DNS has.
    pub from_dns: bool,
}

impl Rollout {
    /// The policy of a step.
    ///
    /// # Errors
    /// A sentence, as for [`Published::new`].
    pub fn at(&self, step: Step) -> Result<Published, Refused> {
        Published::new(step.mode, step.max_age, &self.mx)
    }
}
