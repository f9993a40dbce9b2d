//! The MX hosts of domains with a policy in enforce, as long as DNS lets them be kept.
//!
//! Postfix asks DNS itself. Both get the answer from the same name server as a rule, so what is kept here goes at the
//! same moment as there. One question per domain is under way at a time, however many ask.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mtasts::network::dns::{Answered, Dns as _, DnsError, Mx, StubResolver};
use mtasts::sender::mta::hosts::Hosts;
use mtasts::sender::mta::socketmap::{Dialect, Reply};
use mtasts::{Answer, Domain};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

/// How many domains are kept.
const MOST: usize = 10_000;
/// The shortest and the longest time, whatever the TTL. The longest is how late a change of the MX hosts is seen.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// How long it is kept that there is no such record, and that DNS did not say.
const ABSENCE: Duration = Duration::from_secs(60);
const FAILURE: Duration = Duration::from_secs(2);

/// The longest reply that is kept, in octets: most have a hundred, and a stranger's may have a hundred thousand.
const KEPT: usize = 1024;

/// What is known of one domain.
pub(crate) struct Known {
    hosts: Hosts,
    until: Instant,
    /// The last reply, and for which answer in which dialect: both stay the same for seconds. The answer is not kept alive,
    /// because a stranger's may have a policy of 64 KiB.
    reply: RefCell<Option<(Weak<Answer>, Dialect, Reply)>>,
}

impl Known {
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

type Cell = Rc<OnceCell<Rc<Known>>>;

/// The memory.
pub(crate) struct MxMemory {
    dns: StubResolver,
    cells: RefCell<HashMap<Domain, Cell>>,
}

impl MxMemory {
    /// Asks the name servers of this resolver.
    pub(crate) fn new(dns: StubResolver) -> Self {
        Self {
            dns,
            cells: RefCell::default(),
        }
    }

    /// What is known now.
    pub(crate) fn known(&self, domain: &Domain) -> Option<Rc<Known>> {
        let cells = self.cells.borrow();
        cells
            .get(domain)?
            .get()
            .filter(|known| Instant::now() < known.until)
            .cloned()
    }

    /// What DNS says, within this time.
    pub(crate) async fn ask(&self, domain: &Domain, patience: Duration) -> Rc<Known> {
        let (cell, deadline) = (self.cell(domain), Instant::now() + patience);
        let known = cell.get_or_init(|| async {
            let (dns, asked) = (self.dns.clone(), domain.clone());
            let answer = spawn_blocking(move || dns.mx(&asked, deadline)).await;
            let answer = answer.unwrap_or_else(|_| Err(DnsError::Own("the thread of a question failed".into())));
            Rc::new(known(domain, &answer))
        });
        // The question of another caller may have been begun with more time.
        match tokio::time::timeout_at(deadline.into(), known).await {
            Ok(known) => known.clone(),
            Err(_) => Rc::new(known_for(FAILURE, Hosts::Unknown)),
        }
    }

    /// The cell of a domain, empty if what it had is too old.
    fn cell(&self, domain: &Domain) -> Cell {
        let mut cells = self.cells.borrow_mut();
        let now = Instant::now();
        let is_fresh = |cell: &Cell| cell.get().is_none_or(|known| now < known.until);
        if let Some(cell) = cells.get(domain).filter(|cell| is_fresh(cell)) {
            return cell.clone();
        }
        if cells.len() >= MOST {
            cells.retain(|_, cell| is_fresh(cell));
        }
        // A crowd of strangers' domains costs questions, and no memory.
        if cells.len() >= MOST {
            cells.clear();
        }
        let cell = Cell::default();
        cells.insert(domain.clone(), cell.clone());
        cell
    }
}

fn known(domain: &Domain, answer: &Result<Answered<Vec<Mx>>, DnsError>) -> Known {
    let time = match answer {
        Ok(answer) => answer.ttl.clamp(SHORTEST, LONGEST),
        Err(error) if error.is_absence() => ABSENCE,
        Err(_) => FAILURE,
    };
    let records = answer.as_ref().map(|answer| &*answer.data);
    known_for(time, Hosts::of_dns(domain, records))
}

fn known_for(time: Duration, hosts: Hosts) -> Known {
    let until = Instant::now() + time;
    Known {
        hosts,
        until,
        reply: RefCell::default(),
    }
}
