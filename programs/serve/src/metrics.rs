//! Counters for Prometheus, and the small HTTP server that shows them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use mtasts::Answer;
use mtasts::sender::fleet::counts::{Counts, Event};
use mtasts::sender::mta::socketmap::{Dialect, Reply};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest request, and how long one may take.
const REQUEST: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(5);

/// Why clients are cut off. Each has its counter from the start: Prometheus does not see an increase to the first value.
const REASONS: [&str; 5] = ["crowd", "idle", "malformed", "slow query", "slow reader"];

type Labels = [(&'static str, &'static str); 1];
type TwoLabels = [(&'static str, &'static str); 2];

/// The counters. Clones share them.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    replies: Vec<(Option<Dialect>, [Counter; 4])>,
    exim: [Counter; 2],
    answers: [(&'static str, Counter); 3],
    fleet: [(Event, Counter); Event::ALL.len()],
    time: Histogram,
    /// Clients that are connected.
    pub(crate) connections: Gauge,
    /// Clients that were cut off, by reason.
    pub(crate) closed: Family<Labels, Counter<u64, AtomicU64>>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("mtasts_serve");
        let replies: Family<TwoLabels, Counter> = Family::default();
        let answers: Family<Labels, Counter> = Family::default();
        let fleet: Family<Labels, Counter> = Family::default();
        let (closed, connections) = (Family::<Labels, Counter<u64, AtomicU64>>::default(), Gauge::default());
        for reason in REASONS {
            let _ = closed.get_or_create(&[("reason", reason)]);
        }
        // From 10 microseconds, a cached policy, to 80 seconds.
        let time = Histogram::new((0..12).map(|n| 1e-5 * 4_f64.powi(n)));
        registry.register("replies", "Replies, by map and word", replies.clone());
        registry.register(
            "answers",
            "Lookups of domains, by the mode that applies; what fails in mode testing is not seen here",
            answers.clone(),
        );
        registry.register("seconds", "Time from a query to its reply", time.clone());
        registry.register("connections", "Clients that are connected", connections.clone());
        registry.register("closed", "Clients that were cut off, by reason", closed.clone());
        registry.register(
            "fleet",
            "What came of asking the server of the setting fleet, by event",
            fleet.clone(),
        );
        let dialects = [Dialect::Postfix, Dialect::PostfixWithAttributes, Dialect::Sendmail];
        let counters = |dialect: Option<Dialect>| {
            let map = dialect.map_or("unknown", Dialect::name);
            ["ok", "notfound", "temp", "perm"]
                .map(|word| replies.get_or_create(&[("map", map), ("reply", word)]).clone())
        };
        let exim = ["ok", "fail"].map(|word| replies.get_or_create(&[("map", "exim"), ("reply", word)]).clone());
        let all = dialects.into_iter().map(Some).chain([None]);
        Self {
            replies: all.map(|dialect| (dialect, counters(dialect))).collect(),
            answers: ["enforce", "testing", "none"]
                .map(|mode| (mode, answers.get_or_create(&[("mode", mode)]).clone())),
            fleet: Event::ALL.map(|event| (event, fleet.get_or_create(&[("event", event.name())]).clone())),
            exim,
            registry: Arc::new(registry),
            time,
            connections,
            closed,
        }
    }

    pub(crate) fn count(&self, dialect: Option<Dialect>, reply: &Reply) {
        let word = match reply {
            Reply::Ok(_) => 0,
            Reply::NotFound => 1,
            Reply::Temp(_) => 2,
            Reply::Perm(_) => 3,
        };
        if let Some((_, counters)) = self.replies.iter().find(|(of, _)| *of == dialect) {
            counters[word].inc();
        }
    }

    pub(crate) fn count_exim(&self, is_ok: bool) {
        self.exim[usize::from(!is_ok)].inc();
    }

    pub(crate) fn count_mode(&self, answer: &Answer) {
        let mode = answer.mode().name();
        if let Some((_, counter)) = self.answers.iter().find(|(name, _)| *name == mode) {
            counter.inc();
        }
    }

    /// Adds what has happened since the last call.
    pub(crate) fn count_fleet(&self, counts: &Counts) {
        for (event, counter) in &self.fleet {
            counter.inc_by(counts.take(*event));
        }
    }

    pub(crate) fn took(&self, time: Duration) {
        self.time.observe(time.as_secs_f64());
    }

    pub(crate) fn cut(&self, reason: &'static str) {
        debug_assert!(REASONS.contains(&reason), "{reason}");
        self.closed.get_or_create(&[("reason", reason)]).inc();
    }

    /// Answers one HTTP request.
    pub(crate) async fn serve(&self, mut client: TcpStream) {
        let _ = timeout(PATIENCE, async {
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST {
                let mut part = [0; 512];
                match client.read(&mut part).await {
                    Ok(0) | Err(_) => return,
                    Ok(n) => request.extend(&part[..n]),
                }
            }
            let _ = client.write_all(self.response(&request).as_bytes()).await;
            let _ = client.shutdown().await;
        })
        .await;
    }

    fn response(&self, request: &[u8]) -> String {
        let line = request.split(|octet| *octet == b'\r').next().unwrap_or_default();
        let mut words = line.split(|octet| *octet == b' ');
        let (status, kind, body) = match (words.next(), words.next()) {
            (Some(b"GET"), Some(b"/metrics")) => {
                let mut text = String::new();
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                match encode(&mut text, &self.registry) {
                    Ok(()) => ("200 OK", kind, text),
                    Err(_) => ("500 Internal Server Error", "text/plain", "cannot encode\n".into()),
                }
            }
            // This thread does all the work: where it answers here, it answers queries.
            (Some(b"GET"), Some(b"/healthz")) => ("200 OK", "text/plain", "ok\n".into()),
            (Some(b"GET"), _) => (
                "404 Not Found",
                "text/plain",
                "there are /metrics and /healthz\n".into(),
            ),
            _ => ("405 Method Not Allowed", "text/plain", "GET only\n".into()),
        };
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}
