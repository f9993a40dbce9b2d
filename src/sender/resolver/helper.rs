//! What root does not do itself: a child that has become another user reads and writes the cache, asks
//! the network, and answers over a pipe.

use std::time::{Duration, Instant};

use super::memory::Remembered;
use super::network::write;
use super::{Question, Shared, Unavailable, unix_now};
use crate::cache::{Cache, CacheError};
use crate::protocol::names::Domain;
use crate::sender::settings::Settings;
use crate::sender::silence::Share;
use crate::sender::user::whom_root_becomes;
use crate::sender::wire::{self, MAX_MESSAGE, Told};
use crate::sys::identity::{Identity, become_identity};
use crate::sys::process::{self, HelperError};

/// How much longer than its own deadline a helper may take, to start, to write the cache and to end on a busy machine.
pub(super) const HELPER_GRACE: Duration = Duration::from_secs(5);

/// How long root's helper may take for a directory of any size.
const HELPER_TIME: Duration = Duration::from_secs(60);
/// The longest list that it may give, in octets: some million domains.
const LONGEST_LIST: usize = 64 << 20;

impl Shared {
    /// Asks in a helper. What it answers is read as strictly as a file of the cache, and what is the operator's is decided
    /// here.
    pub(super) fn ask_helper(
        &self,
        domain: &Domain,
        question: Question,
        deadline: Instant,
        share: Share,
    ) -> Result<Remembered, Unavailable> {
        let user = whom_root_becomes(self.settings.cache_dir.as_deref(), self.settings.user.as_ref())?;
        let asked = unix_now();
        let before = self.is_memory_alone().then(|| self.load(domain, asked).stored);
        let message = process::in_helper(user, deadline + HELPER_GRACE, MAX_MESSAGE, || {
            // The host's logger is not for a child of it: what is worth telling comes back with the answer.
            log::set_max_level(log::LevelFilter::Off);
            let known = self
                .answer(domain, question, deadline, share)
                .map_err(|e| e.to_string());
            wire::write(known.as_ref().map(|known| (&known.outcome, &known.entry))).into_bytes()
        })?;
        let (now, longest_wait) = (unix_now(), self.settings.first_contact_defer.as_secs());
        let told = wire::read(domain, &message, (asked, now), longest_wait).ok_or(HelperError::Died)?;
        let Told { outcome, entry } = told.map_err(|why| Unavailable::Helper(why.to_string()))?;
        let answer = self.decide(outcome, &entry, now).ok_or(HelperError::Died)?;
        // What the helper has stored there, it has stored in its copy of our memory.
        if let Some(before) = before
            && write(&*self.cache, &before, &entry, self.settings.bounds()).is_ok()
        {
            self.note_use(entry.clone(), now);
        }
        Ok(Remembered { answer, unsaved: None })
    }

    /// Works on the cache. If it is a directory, a process of root leaves that to its helper.
    pub(super) fn in_cache(
        &self,
        work: impl FnOnce(&dyn Cache) -> Result<String, CacheError>,
    ) -> Result<String, Unavailable> {
        if !self.leaves_the_cache() {
            return Ok(work(&*self.cache)?);
        }
        let user = whom_root_becomes(self.settings.cache_dir.as_deref(), self.settings.user.as_ref())?;
        // The first letter says how it went: a message is never empty.
        let message = process::in_helper(user, Instant::now() + HELPER_TIME, LONGEST_LIST, || {
            match work(&*self.cache) {
                Ok(done) => format!("+{done}"),
                Err(error) => format!("-{error}"),
            }
            .into_bytes()
        })?;
        let message = String::from_utf8(message).map_err(|_| HelperError::Died)?;
        match (message.strip_prefix('+'), message.strip_prefix('-')) {
            (Some(done), _) => Ok(done.to_owned()),
            (_, Some(error)) => Err(Unavailable::Store(error.to_owned())),
            _ => Err(HelperError::Died.into()),
        }
    }
}

/// Makes a process of root the user of these settings, for good; another process stays as it is. This is for a program that
/// has nothing to do as root. Without such a user it becomes `otherwise`.
///
/// # Errors
/// [`Unavailable::NoHelper`] without an `otherwise`; [`Unavailable::Helper`] where the system refuses: the process must
/// then do nothing more.
pub fn leave_root(settings: &Settings, otherwise: Option<Identity>) -> Result<(), Unavailable> {
    if !process::is_root() {
        return Ok(());
    }
    let user = whom_root_becomes(settings.cache_dir.as_deref(), settings.user.as_ref());
    let identity = user.or_else(|error| otherwise.ok_or(error))?;
    become_identity(identity).map_err(|error| {
        Unavailable::Helper(format!(
            "cannot look up policies as root, and cannot become user {}: {error}",
            identity.uid
        ))
    })
}
