//! `mtasts host import`: a domain comes from another provider, and no sender notices.

use clap::Args;

use super::Shown;
use crate::output;
use crate::{Found, Trouble};
use mtasts::sender::resolver::unix_now;
use mtasts_host::facts::Eyes;
use mtasts_host::ledger::Ledger as _;

/// Take over the policy of a domain from another provider: the text and its id, as they are published now.
///
/// A file names the domain already. Its policy is served from here byte for byte, in place of that of the file, and the records of the
/// domain keep the id: senders see no change when they are moved. The records are printed as by add; move mta-sts first. When they lead
/// here, --finish puts the policy of the file in its place.
///
/// Exit status: 0 done, 1 refused: senders get no policy there, or with --finish the name still leads elsewhere.
#[derive(Args)]
pub(crate) struct Import {
    #[command(flatten)]
    shown: Shown,
    /// Serve what the file says from now on.
    #[arg(long)]
    finish: bool,
}

impl Import {
    pub(crate) fn run(self) -> Result<Found, Trouble> {
        let (settings, mut ledger) = self.shown.files.all()?;
        let domain = &self.shown.domain;
        let meant = self.shown.hosted(&settings);
        let Some(hosted) = settings.domains.get(domain).filter(|hosted| Some(*hosted) == meant) else {
            return Ok(super::in_no_file(domain));
        };
        let eyes = Eyes::new(&settings.service).map_err(Trouble)?;
        if self.finish {
            let addresses = &settings.service.addresses;
            if let Err(why) = eyes.leads_to(domain, addresses) {
                output::tell(&format!("{why}; senders would not find the new text there"));
                return Ok(Found::Bad);
            }
            let is_done = ledger.import(domain, None, unix_now())?;
            if !is_done {
                output::tell(&format!("{domain} has no policy of another host"));
            }
            return Ok(if is_done { Found::Good } else { Found::Bad });
        }
        let published = match eyes.published(domain) {
            Ok(published) => published,
            Err(why) => {
                output::tell(&format!("there is nothing to take over from {domain}: {why}"));
                return Ok(Found::Bad);
            }
        };
        ledger.claim(&[(domain, &hosted.tenant)], unix_now())?;
        ledger.import(domain, Some(&published), unix_now())?;
        drop(ledger);
        let (policy, id) = (published.policy(), published.id());
        output::tell(&format!(
            "{domain}: {}, max_age {}, id {id} is served from here when mtasts host run has seen it. Then put these records in place of \
             the other provider's, mta-sts.{domain} first; and when they lead here, use mtasts host import {domain} --finish",
            policy.mode(),
            policy.max_age()
        ));
        self.shown.run(false)
    }
}
