//! The MX hosts of next hops whose policy is enforced.
//!
//! Postfix asks DNS itself. Both get the answer from the same name server as a rule, so what is kept here goes at the
//! same moment as there.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mtasts::network::dns::{Answered, Dns as _, DnsError, Mx, StubResolver};
use mtasts::sender::mta::hosts::Hosts;
use mtasts::sender::mta::socketmap::{Dialect, NextHop, Reply};
use mtasts::{Answer, Domain};
use tokio::task::spawn_blocking;

use crate::memory::Memory;

/// The shortest and the longest time, whatever the TTL. The longest is how late a change of the MX hosts is seen.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// How long it is kept that there is no such record, and that DNS did not say.
const ABSENCE: Duration = Duration::from_secs(60);
const FAILURE: Duration = Duration::from_secs(2);

/// The longest reply that is kept, in octets: most have a hundred, and a stranger's may have a hundred thousand.
const KEPT: usize = 1024;

/// What is known of one next hop.
pub(crate) struct Known {
    hosts: Hosts,
    /// The last reply, and for which answer in which dialect: both stay the same for seconds. The answer is not kept alive,
    /// because a stranger's may have a policy of 64 KiB.
    reply: RefCell<Option<(Weak<Answer>, Dialect, Reply)>>,
}

impl Known {
    fn new(hosts: Hosts) -> Self {
        Self {
            hosts,
            reply: RefCell::default(),
        }
    }

    /// The reply for these hosts.
    pub(crate) fn reply(&self, dialect: Dialect, answer: &Arc<Answer>) -> Reply {
        if let Some((of, to, reply)) = &*self.reply.borrow()
            && of.as_ptr() == Arc::as_ptr(answer)
            && *to == dialect
        {
            return reply.clone();
        }
        let reply = dialect.reply(answer, &self.hosts);
        let is_short = matches!(&reply, Reply::Ok(words) if words.len() <= KEPT);
        *self.reply.borrow_mut() = is_short.then(|| (Arc::downgrade(answer), dialect, reply.clone()));
        reply
    }
}

/// The memory.
pub(crate) struct MxMemory {
    dns: StubResolver,
    memory: Memory<Known>,
}

impl MxMemory {
    /// Asks the name servers of this resolver.
    pub(crate) fn new(dns: StubResolver) -> Self {
        Self {
            dns,
            memory: Memory::new(),
        }
    }

    /// What is known now.
    pub(crate) fn known(&self, next_hop: &NextHop) -> Option<Rc<Known>> {
        self.memory.known(next_hop)
    }

    /// What DNS says, within this time.
    pub(crate) async fn ask(&self, next_hop: &NextHop, patience: Duration) -> Rc<Known> {
        let deadline = Instant::now() + patience;
        let question = async || {
            let domain = next_hop.domain.clone();
            // The host that is named is the one.
            if next_hop.is_host {
                return (Known::new(Hosts::Known(vec![domain])), LONGEST);
            }
            let dns = self.dns.clone();
            let answer = spawn_blocking(move || dns.mx(&domain, deadline)).await;
            let answer = answer.unwrap_or_else(|_| Err(DnsError::Own("the thread of a question failed".into())));
            known(&next_hop.domain, &answer)
        };
        let asked = self.memory.ask(next_hop, deadline, question).await;
        asked.unwrap_or_else(|| Rc::new(Known::new(Hosts::Unknown)))
    }
}

fn known(domain: &Domain, answer: &Result<Answered<Vec<Mx>>, DnsError>) -> (Known, Duration) {
    let time = match answer {
        Ok(answer) => answer.ttl.clamp(SHORTEST, LONGEST),
        Err(error) if error.is_absence() => ABSENCE,
        Err(_) => FAILURE,
    };
    let records = answer.as_ref().map(|answer| &*answer.data);
    (Known::new(Hosts::of_dns(domain, records)), time)
}
