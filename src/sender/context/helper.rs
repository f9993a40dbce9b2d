//! What root does not do itself: a child that has become the owner of the cache directory reads and writes the cache, asks
//! the network, and answers over a pipe.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::memory::Remembered;
use super::{ContextError, Question, Shared, unix_now};
use crate::cache::{Cache, CacheError};
use crate::protocol::names::Domain;
use crate::sender::silence::Share;
use crate::sender::wire::{self, MAX_MESSAGE, Told};
use crate::sys::identity::{Identity, become_identity};
use crate::sys::process::{self, HelperError};

/// How much longer than its own deadline a helper may take, to start, to write the cache and to end on a busy machine.
const HELPER_GRACE: Duration = Duration::from_secs(5);

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
    ) -> Result<Remembered, ContextError> {
        let owner = owner_of(self.settings.cache_dir.as_deref().unwrap_or_else(|| Path::new("")))?;
        let asked = unix_now();
        let message = process::in_helper(owner, deadline + HELPER_GRACE, MAX_MESSAGE, || {
            // The host's logger is not for a child of it: what is worth telling comes back with the answer.
            log::set_max_level(log::LevelFilter::Off);
            let known = self
                .answer(domain, question, deadline, share)
                .map_err(|e| e.to_string());
            wire::write(known.as_ref().map(|known| (&known.answer, &known.entry))).into_bytes()
        })?;
        let (now, longest_wait) = (unix_now(), self.settings.first_contact_defer.as_secs());
        let told = wire::read(domain, &message, (asked, now), longest_wait).ok_or(HelperError::Died)?;
        let Told { answer, entry } = told.map_err(|why| ContextError::Helper(why.to_string()))?;
        let answer = self.decide(answer, &entry, now);
        Ok(Remembered { answer, unsaved: None })
    }

    /// Works on the cache. If it is a directory, a process of root leaves that to its helper.
    pub(super) fn in_cache(
        &self,
        work: impl FnOnce(&dyn Cache) -> Result<String, CacheError>,
    ) -> Result<String, ContextError> {
        let Some(dir) = self.settings.cache_dir.as_deref().filter(|_| process::is_root()) else {
            return Ok(work(&*self.cache)?);
        };
        let owner = owner_of(dir)?;
        // The first letter says how it went: a message is never empty.
        let message = process::in_helper(owner, Instant::now() + HELPER_TIME, LONGEST_LIST, || {
            match work(&*self.cache) {
                Ok(done) => format!("+{done}"),
                Err(error) => format!("-{error}"),
            }
            .into_bytes()
        })?;
        let message = String::from_utf8(message).map_err(|_| HelperError::Died)?;
        match (message.strip_prefix('+'), message.strip_prefix('-')) {
            (Some(done), _) => Ok(done.to_owned()),
            (_, Some(error)) => Err(ContextError::Store(error.to_owned())),
            _ => Err(HelperError::Died.into()),
        }
    }
}

/// The owner and the group of the cache directory: whom root becomes for all that touches the cache or the network.
///
/// # Errors
/// [`ContextError::NoHelper`].
pub fn owner_of(dir: &Path) -> Result<Identity, ContextError> {
    let no_helper = |why: String| ContextError::NoHelper(dir.to_owned(), why);
    let about = std::fs::metadata(dir).map_err(|e| no_helper(format!("cannot be used ({e})")))?;
    if !about.is_dir() {
        return Err(no_helper("is not a directory".into()));
    }
    if about.uid() == 0 {
        return Err(no_helper("belongs to root".into()));
    }
    if about.gid() == 0 {
        return Err(no_helper("belongs to the group of root".into()));
    }
    Ok(Identity {
        uid: about.uid(),
        gid: about.gid(),
    })
}

/// Makes a process of root the owner of the cache directory, for good; another process stays as it is. This is for a
/// program that has nothing to do as root. Where the directory names no other user, it becomes `otherwise`.
///
/// # Errors
/// [`ContextError::NoHelper`] without an `otherwise`; [`ContextError::Helper`] where the system refuses: the process must
/// then do nothing more.
pub fn leave_root(dir: Option<&Path>, otherwise: Option<Identity>) -> Result<(), ContextError> {
    if !process::is_root() {
        return Ok(());
    }
    let owner = owner_of(dir.unwrap_or_else(|| Path::new("")));
    let identity = owner.or_else(|error| otherwise.ok_or(error))?;
    become_identity(identity).map_err(|error| {
        ContextError::Helper(format!(
            "cannot look up policies as root, and cannot become user {}: {error}",
            identity.uid
        ))
    })
}
