//! What is wanted and what happened, together: the files and the ledger -> what is served.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use mtasts::{Domain, Mode};

use crate::leaving::held_until;
use crate::ledger::{Claim, Ledger, LedgerError, Stepped};
use crate::published::{MIN_MAX_AGE, Published};
use crate::records::{Record, targets};
use crate::rollout::Step;
use crate::service::Service;
use crate::settings::{Settings, Tenant};

/// What is to be served, and why it is not what the files say alone.
pub struct State {
    /// The files.
    pub settings: Settings,
    /// All claims.
    pub claims: BTreeMap<Domain, Claim>,
    /// The policy of each domain.
    pub policies: BTreeMap<Domain, Arc<Published>>,
    /// The domains for which nothing is served, because their DNS does not name the tokens of their tenants yet.
    pub pending: Vec<Domain>,
    /// The claims of the tenants who wait for a domain that is another tenant's.
    pub rivals: BTreeMap<Domain, Vec<Claim>>,
    /// The steps of those that go by steps.
    pub steps: BTreeMap<Domain, Stepped>,
    /// The domains that no file in force names. They keep the policy that was served last: a policy that is gone before its time
    /// protects no mail, and a text that is gone under a record that is there looks like an attack.
    pub kept: Vec<Domain>,
    /// The domains that are on their way out, with the time (in Unix seconds) from which on no sender holds a policy of them that
    /// asks for TLS.
    pub leaving: BTreeMap<Domain, u64>,
}

impl State {
    /// Reads the files and claims the domains that they name.
    ///
    /// # Errors
    /// A sentence: the operator's file is wrong, or the ledger cannot be used. Nothing is changed then.
    pub fn load(main: &Path, ledger: &mut dyn Ledger, now: u64) -> Result<Self, String> {
        let settings = Settings::read(main).map_err(|problem| problem.to_string())?;
        let before = ledger.claims().map_err(|error| error.to_string())?;
        let owners: BTreeMap<Domain, Tenant> = before
            .into_iter()
            .map(|(domain, claim)| (domain, claim.tenant))
            .collect();
        let mut settings = settings.with_tenants(&owners).map_err(|problem| problem.to_string())?;
        let rivals = settings.rivals.iter().map(|(domain, hosted)| (domain, hosted));
        let named = settings.domains.iter().chain(rivals);
        let wanted: Vec<(&Domain, &Tenant)> = named.map(|(domain, hosted)| (domain, &hosted.tenant)).collect();
        ledger.claim(&wanted, now).map_err(|error| error.to_string())?;
        let claims = ledger.claims().map_err(|error| error.to_string())?;
        let rivals = rivals_of(&settings, &claims);
        let begun = put_in_force(&mut settings, ledger)?;
        let is_proven = |domain: &Domain| claims.get(domain).is_some_and(Claim::is_proven);
        // A step begins when something is served.
        let begun = begun.iter().filter(|(domain, _)| is_proven(domain));
        let begun: Vec<(&Domain, Step)> = begun.map(|(domain, step)| (domain, *step)).collect();
        if !begun.is_empty() {
            ledger.step(&begun, None, now).map_err(|error| error.to_string())?;
        }
        let steps = ledger.steps().map_err(|error| error.to_string())?;
        let mut policies = ledger.served().map_err(|error| error.to_string())?;
        let gone = policies.keys().filter(|domain| !settings.domains.contains_key(*domain));
        let is_leaving = |domain: &Domain| claims.get(domain).is_some_and(|claim| claim.leaving.is_some());
        let (gone, kept): (Vec<Domain>, Vec<Domain>) = gone.cloned().partition(is_leaving);
        let last = Published::new(Mode::None, MIN_MAX_AGE, &[]).map_err(|refused| refused.to_string())?;
        let last = Arc::new(last);
        let mut leaving = BTreeMap::new();
        for domain in gone {
            let history = ledger.history(&domain).map_err(|error| error.to_string())?;
            leaving.insert(domain.clone(), held_until(&history, now).unwrap_or(now));
            policies.insert(domain, Arc::clone(&last));
        }
        let mut pending = Vec::new();
        for (domain, hosted) in &settings.domains {
            if is_proven(domain) {
                policies.insert(domain.clone(), hosted.published.clone());
            } else if !policies.contains_key(domain) {
                pending.push(domain.clone());
            }
        }
        Ok(Self {
            settings,
            claims,
            policies,
            pending,
            rivals,
            steps,
            kept,
            leaving,
        })
    }

    /// Whether what the files say of a domain may be served.
    #[must_use]
    pub fn is_proven(&self, domain: &Domain) -> bool {
        self.claims.get(domain).is_some_and(Claim::is_proven)
    }

    /// What the provider's zone has at the targets of all tokens.
    pub fn targets<'a>(&'a self, zone: &'a Domain, service: &'a Service) -> impl Iterator<Item = Record> + 'a {
        let served = self
            .policies
            .iter()
            .map(|(domain, published)| (domain, Some(&**published)));
        let all = served.chain(self.pending.iter().map(|domain| (domain, None)));
        let all = all.filter_map(|(domain, published)| Some((self.claims.get(domain)?, published)));
        // DNS can lead there only if there is something.
        let all = all.chain(self.rivals.values().flatten().map(|claim| (claim, None)));
        all.flat_map(|(claim, published)| targets(&claim.token, zone, published, &service.addresses, &service.reports))
    }

    /// Notes what is served from now on. It is called when it is served, and not before: DNS says what the ledger says, and no
    /// record may announce a text that is not there yet (RFC 8461 8.1).
    ///
    /// # Errors
    /// A sentence, if the ledger cannot be written.
    pub fn is_served(&self, ledger: &mut dyn Ledger, now: u64) -> Result<(), String> {
        let texts: Vec<(&Domain, &Published)> = self.policies.iter().map(|(domain, text)| (domain, &**text)).collect();
        ledger.serve(&texts, now).map_err(|error| error.to_string())
    }
}

/// The claims of the tenants whose files name a domain of another one.
#[must_use]
pub fn rivals_of(settings: &Settings, claims: &BTreeMap<Domain, Claim>) -> BTreeMap<Domain, Vec<Claim>> {
    let mut rivals: BTreeMap<Domain, Vec<Claim>> = BTreeMap::new();
    for (domain, hosted) in &settings.rivals {
        let known = claims.get(domain).map_or(&[][..], |claim| &claim.rivals);
        let own = known.iter().find(|claim| claim.tenant == hosted.tenant);
        if let Some(claim) = own {
            rivals.entry(domain.clone()).or_default().push(claim.clone());
        }
    }
    rivals
}

/// Gives each domain of the files the policy that is in force: one that was taken over, or that of its step. What it returns is not
/// in the ledger yet: where a domain begins that has no step, and which mode the files have given to one that had.
///
/// # Errors
/// A sentence, if the ledger cannot be read.
pub fn put_in_force(settings: &mut Settings, ledger: &dyn Ledger) -> Result<Vec<(Domain, Step)>, String> {
    let said = |error: LedgerError| error.to_string();
    let mut imported = ledger.imported().map_err(said)?;
    let (known, served) = (ledger.steps().map_err(said)?, ledger.served().map_err(said)?);
    let exchanges = ledger.exchanges().map_err(said)?;
    let (mut begun, mut same) = (Vec::new(), BTreeMap::new());
    for (domain, hosted) in &mut settings.domains {
        let before = known.get(domain).map(|stepped| stepped.step);
        if let Some(other) = imported.remove(domain) {
            // When it is over the steps go on from there.
            if let Some(rollout) = hosted.rollout.take() {
                let first = rollout.plan.first(Some(other.policy()));
                if before != Some(first) {
                    begun.push((domain.clone(), first));
                }
            }
            hosted.published = other;
            hosted.is_imported = true;
            continue;
        }
        let moves = exchanges.get(domain).map(Vec::as_slice);
        if moves.is_some() || hosted.is_from_dns() {
            hosted.follow(moves.unwrap_or_default());
        }
        let Some(rollout) = &hosted.rollout else {
            let policy = hosted.published.policy();
            let fixed = Step {
                mode: policy.mode(),
                max_age: policy.max_age(),
            };
            if before.is_some_and(|before| before != fixed) {
                begun.push((domain.clone(), fixed));
            }
            continue;
        };
        if rollout.from_dns && rollout.mx.len() == rollout.reserve.len() {
            // No MX host is known yet. A policy that was served stays: senders hold it.
            if let Some(before) = served.get(domain) {
                hosted.published = Arc::clone(before);
            }
            continue;
        }
        let step = before.filter(|before| before.mode != Mode::None).unwrap_or_else(|| {
            let first = rollout
                .plan
                .first(served.get(domain).map(|published| published.policy()));
            begun.push((domain.clone(), first));
            first
        });
        let published = rollout.at(rollout.plan.within(step));
        let published = published.map_err(|refused| format!("{domain}: {refused}"))?;
        let shared = same
            .entry(published.id().to_owned())
            .or_insert_with(|| published.into());
        hosted.published = Arc::clone(shared);
    }
    Ok(begun)
}
