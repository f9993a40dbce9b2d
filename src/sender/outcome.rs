//! What a lookup has found: plain data, before the process that asked makes an [answer](crate::sender::answer) of it.

use std::sync::Arc;

use crate::cache::entry::CachedPolicy;
use crate::network::dns::DnsError;
use crate::network::https::FetchError;
use crate::protocol::names::Domain;
use crate::protocol::text::Line;
use crate::protocol::words::{ResultType, Source};
use crate::sender::notice::Notice;

/// What stood in the way of a current policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it is called in a report, or nothing where it is not to be reported: no valid record, and no policy in
    /// the cache whose refresh it spoilt (RFC 8461 6).
    pub result: Option<ResultType>,
    /// What happened, in plain words.
    pub detail: Line,
}

/// What a lookup has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The policy domain.
    pub domain: Domain,
    /// Where the policy came from, or why there is none.
    pub source: Source,
    /// The policy that is in force.
    pub cached: Option<Arc<CachedPolicy>>,
    /// What stood in the way of a current policy.
    pub failure: Option<Failure>,
    /// Until when mail must wait because nothing could be learnt, in Unix seconds.
    pub defer_until: Option<u64>,
    /// What the administrator should know of the domain's policy.
    pub alert: Option<Notice>,
    /// What is wrong on this host.
    pub warning: Option<Notice>,
    /// Why the fleet was of no use. The process that asked tells it now and then.
    pub fleet: Option<Line>,
    /// What the network said. It ends here: no answer keeps it, and no helper of root sends it.
    pub seen: Observed,
}

/// What DNS and the policy host said, as it came. Nothing where they were not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The TXT records at `_mta-sts`.
    pub txt: Option<Result<Vec<Vec<u8>>, DnsError>>,
    /// The text of the policy.
    pub body: Option<Result<Vec<u8>, FetchError>>,
}

impl Outcome {
    /// An outcome with nothing to tell the administrator, and no wait.
    #[must_use]
    pub fn new(domain: &Domain, source: Source, cached: Option<Arc<CachedPolicy>>, failure: Option<Failure>) -> Self {
        Self {
            domain: domain.clone(),
            source,
            cached,
            failure,
            defer_until: None,
            alert: None,
            warning: None,
            fleet: None,
            seen: Observed::default(),
        }
    }
}
