//! What DANE asks of next hops, with the setting `dane`. The library asks, and remembers what it learnt for as long as DNS
//! lets it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use mtasts::sender::mta::dane::{Level, Levels};
use mtasts::sender::mta::socketmap::NextHop;
use mtasts::{MxName, Resolver};
use tokio::task::spawn_blocking;

use crate::memory::Memory;

/// How long a level is kept. The library has the records, and they are not kept for longer than their TTL says.
const KEPT: Duration = Duration::from_secs(10);
/// The same, if nothing was learnt.
const FAILURE: Duration = Duration::from_secs(2);

/// The memory.
pub(crate) struct DaneMemory {
    resolver: Resolver,
    memory: Memory<Levels>,
}

impl DaneMemory {
    pub(crate) fn new(resolver: Resolver) -> Self {
        Self {
            resolver,
            memory: Memory::new(),
        }
    }

    /// What is known now.
    pub(crate) fn known(&self, next_hop: &NextHop) -> Option<Rc<Levels>> {
        self.memory.known(next_hop)
    }

    /// What DNS says, within this time.
    pub(crate) async fn ask(&self, next_hop: &NextHop, patience: Duration) -> Rc<Levels> {
        let question = async || {
            let (resolver, asked) = (self.resolver.clone(), next_hop.clone());
            let answer = spawn_blocking(move || {
                let named = asked.is_host.then(|| MxName::from_mx(asked.domain.as_str()));
                resolver.hosts(&asked.domain, named.as_slice(), patience)
            });
            let levels = match answer.await {
                Ok(Ok(hosts)) => Levels::new(&hosts, next_hop.is_host),
                Ok(Err(error)) => Levels::waits(&error.to_string()),
                Err(_) => Levels::waits("the thread of a question failed"),
            };
            let time = match levels.level(false) {
                Level::Wait(_) => FAILURE,
                _ => KEPT,
            };
            (levels, time)
        };
        let asked = self.memory.ask(next_hop, Instant::now() + patience, question).await;
        asked.unwrap_or_else(|| Rc::new(Levels::waits("there was no answer in time")))
    }
}
