//! What is wanted and what happened, together: the files and the ledger -> what is served.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use mtasts::Domain;

use crate::ledger::{Claim, Ledger};
use crate::published::Published;
use crate::settings::{Settings, Tenant};

/// What is to be served, and why it is not what the files say alone.
pub struct State {
    /// The files.
    pub settings: Settings,
    /// All claims.
    pub claims: BTreeMap<Domain, Claim>,
    /// The policy of each domain.
    pub policies: BTreeMap<Domain, Arc<Published>>,
    /// The domains that no file in force names. They keep the policy that was served last: a policy that is gone before its time
    /// protects no mail, and a text that is gone under a record that is there looks like an attack.
    pub kept: Vec<Domain>,
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
        let settings = settings.with_tenants(&owners).map_err(|problem| problem.to_string())?;
        let wanted: Vec<(&Domain, &Tenant)> = settings
            .domains
            .iter()
            .map(|(domain, hosted)| (domain, &hosted.tenant))
            .collect();
        ledger.claim(&wanted, now).map_err(|error| error.to_string())?;
        let claims = ledger.claims().map_err(|error| error.to_string())?;
        let mut policies = ledger.served().map_err(|error| error.to_string())?;
        let kept = policies.keys().filter(|domain| !settings.domains.contains_key(*domain));
        let kept = kept.cloned().collect();
        let named = settings.domains.iter();
        policies.extend(named.map(|(domain, hosted)| (domain.clone(), hosted.published.clone())));
        Ok(Self {
            settings,
            claims,
            policies,
            kept,
        })
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
