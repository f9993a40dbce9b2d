//! A query -> a reply: the policy and what DANE asks, then the MX hosts if the policy decides and is enforced, then the words
//! of the MTA.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mtasts::network::dns::StubResolver;
use mtasts::queue::{Completed, Queue};
use mtasts::sender::mta::dane::Level;
use mtasts::sender::mta::exim_line::{self, Question};
use mtasts::sender::mta::socketmap::{Dialect, NextHop, Reply};
use mtasts::sender::notice::{Notice, Token};
use mtasts::sender::settings::Trust;
use mtasts::sys::descriptor;
use mtasts::{Answer, Resolver, Settings};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use crate::dane::DaneMemory;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::mx::MxMemory;

/// Sendmail waits five seconds for a reply (the `-d5` of `FEATURE(sts)`), and takes a late one for the next question.
const SENDMAIL_PATIENCE: Duration = Duration::from_secs(4);
/// Postfix waits a hundred, and Exim ninety (`examples/exim/light`).
const POSTFIX_PATIENCE: Duration = Duration::from_secs(90);
const EXIM_PATIENCE: Duration = Duration::from_secs(80);

/// What answers queries, with one state of the settings.
pub(crate) struct Lookups {
    resolver: Resolver,
    queue: Queue<oneshot::Sender<Completed>>,
    mx: MxMemory,
    /// Nothing with the setting `dane = off`.
    dane: Option<DaneMemory>,
    metrics: Metrics,
    log: Log,
    timeout: Duration,
}

/// A query that was read.
pub(crate) struct Query {
    dialect: Dialect,
    next_hop: NextHop,
    begun: Instant,
}

/// The reply, or what has to be waited for.
pub(crate) enum Step {
    Reply(Reply),
    Wait(Query),
}

impl Lookups {
    pub(crate) fn new(settings: Settings, metrics: &Metrics, log: Log) -> io::Result<Self> {
        let dns = match &*settings.nameservers {
            [] => StubResolver::system(),
            servers => StubResolver::with_servers(servers),
        };
        let timeout = settings.timeout;
        let resolver = Resolver::with_log(settings, move |line| log.warning(line));
        let queue = Queue::new(&resolver).map_err(io::Error::other)?;
        let dane = (resolver.settings().dane.trust != Trust::Nothing).then(|| DaneMemory::new(resolver.clone()));
        Ok(Self {
            resolver,
            queue,
            mx: MxMemory::new(dns),
            dane,
            metrics: metrics.clone(),
            log,
            timeout,
        })
    }

    /// Adds to the metrics what came of asking the fleet since the last call.
    pub(crate) fn count_fleet(&self) {
        self.metrics.count_fleet(self.resolver.fleet_counts());
    }

    /// The reply to `MAP KEY`, if nothing has to be waited for.
    pub(crate) fn step(&self, query: &[u8]) -> Step {
        let mut words = query.splitn(2, |octet| *octet == b' ');
        let (map, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let Some(dialect) = Dialect::of_map(map) else {
            let reply = Reply::no_such_map();
            self.metrics.count(None, &reply);
            return Step::Reply(reply);
        };
        let Some(next_hop) = NextHop::parse(key) else {
            self.metrics.count(Some(dialect), &Reply::NotFound);
            return Step::Reply(Reply::NotFound);
        };
        let begun = Instant::now();
        let query = Query {
            dialect,
            next_hop,
            begun,
        };
        match self.at_hand(&query) {
            Some(reply) => Step::Reply(self.counted(&query, reply)),
            None => Step::Wait(query),
        }
    }

    /// Whether TLSA records may decide.
    pub(crate) const fn uses_dane(&self) -> bool {
        self.dane.is_some()
    }

    /// What answers for DANE, if it is used and the MTA has words for it.
    fn dane_for(&self, query: &Query) -> Option<&DaneMemory> {
        self.dane.as_ref().filter(|_| query.dialect.knows_dane())
    }

    fn at_hand(&self, query: &Query) -> Option<Reply> {
        let answer = self.queue.hit(&query.next_hop.domain)?;
        let levels = match self.dane_for(query) {
            Some(dane) => Some(dane.known(&query.next_hop)?),
            None => None,
        };
        let level = levels
            .as_ref()
            .map_or(&Level::Policy, |levels| levels.level(answer.enforces()));
        let reply = match Reply::without_hosts(&answer, level) {
            Some(reply) => reply,
            None => self.mx.known(&query.next_hop)?.reply(query.dialect, &answer),
        };
        self.metrics.count_mode(&answer);
        Some(reply)
    }

    /// The reply to a query that has to wait.
    pub(crate) async fn wait(&self, query: Query) -> Reply {
        let reply = self.looked_up(&query).await;
        self.counted(&query, reply)
    }

    fn counted(&self, query: &Query, reply: Reply) -> Reply {
        self.metrics.count(Some(query.dialect), &reply);
        self.metrics.took(query.begun.elapsed());
        reply
    }

    async fn looked_up(&self, query: &Query) -> Reply {
        let domain = &query.next_hop.domain;
        let patience = match query.dialect {
            Dialect::Sendmail => SENDMAIL_PATIENCE,
            _ => POSTFIX_PATIENCE,
        };
        let end = query.begun + patience;
        let left = || end.saturating_duration_since(Instant::now());
        let patience = left().min(self.timeout);
        let dane = async {
            match self.dane_for(query) {
                Some(dane) => Some(dane.ask(&query.next_hop, patience).await),
                None => None,
            }
        };
        let (answer, levels) = tokio::join!(self.policy(domain.as_str(), left()), dane);
        let Ok(answer) = answer else {
            return Reply::unavailable(domain.as_str());
        };
        self.metrics.count_mode(&answer);
        let level = levels
            .as_ref()
            .map_or(&Level::Policy, |levels| levels.level(answer.enforces()));
        match Reply::without_hosts(&answer, level) {
            Some(reply) => reply,
            None => {
                let known = self.mx.ask(&query.next_hop, left().min(self.timeout)).await;
                known.reply(query.dialect, &answer)
            }
        }
    }

    /// The answer to a line of Exim.
    pub(crate) async fn exim(&self, line: &[u8]) -> String {
        let begun = Instant::now();
        let answer = match Question::parse(line) {
            Ok(question) => match question.at_once() {
                Some(text) => Ok(text),
                None => match self.policy(question.domain, EXIM_PATIENCE).await {
                    Ok(answer) => {
                        self.metrics.count_mode(&answer);
                        question.answer(&answer)
                    }
                    Err(notice) => Err(notice),
                },
            },
            Err(notice) => Err(notice),
        };
        self.metrics.count_exim(answer.is_ok());
        self.metrics.took(begun.elapsed());
        exim_line::line(answer)
    }

    /// The policy, from the library's queue. Why there is none is logged.
    ///
    /// # Errors
    /// Mail for the domain waits; why.
    async fn policy(&self, domain: &str, patience: Duration) -> Result<Arc<Answer>, Notice> {
        let answer = self.queued(domain, patience).await;
        answer.inspect_err(|notice| {
            let sentence = format!("{}. The mail for {domain} waits.", notice.sentence);
            self.log.warning(&Notice::new(notice.token, sentence).to_string());
        })
    }

    async fn queued(&self, domain: &str, patience: Duration) -> Result<Arc<Answer>, Notice> {
        let (sender, completed) = oneshot::channel();
        // A completion may come a second after its time (`LAST_WORD` of the queue).
        let patience = patience.saturating_sub(Duration::from_secs(1));
        let submitted = self.queue.submit(domain, patience, sender);
        let failed = |why: String| Notice::new(Token::LookupFailed, why);
        submitted.map_err(|error| failed(error.to_string()))?;
        match completed.await {
            Ok(Completed::Answer(answer)) => Ok(answer),
            Ok(Completed::Failed(error)) => Err(error.notice()),
            _ => Err(failed("the lookup was cancelled".to_owned())),
        }
    }

    /// Hands out what the queue has completed, for ever.
    pub(crate) async fn complete(&self) -> io::Result<()> {
        let number = self.queue.descriptor().map_err(io::Error::other)?;
        // The unsafe way in its place is for what may close its descriptor; this is a descriptor of its own.
        #[allow(deprecated, reason = "this descriptor is owned")]
        let descriptor = AsyncFd::with_interest(descriptor::duplicate(number)?, Interest::READABLE)?;
        loop {
            let mut ready = descriptor.readable().await?;
            ready.clear_ready();
            while let Some(completion) = self.queue.next().map_err(io::Error::other)? {
                // Its client may be gone.
                let _ = completion.user.send(completion.result);
            }
        }
    }
}

/// Lookups that a reload has replaced are counted to their end.
impl Drop for Lookups {
    fn drop(&mut self) {
        self.count_fleet();
    }
}
