//! What a monitoring system wants to know of a host, in the format of OpenMetrics. There is no name of a domain in it: there may be ten
//! thousand, and `mtasts host status` has them.

use std::fmt::Write as _;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use mtasts::Mode;

use crate::answer::{Answer, nothing};

const PATH: &str = "/metrics";
const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How many there are of what.
#[derive(Clone, Default, Debug)]
pub(crate) struct Numbers {
    /// Policies that are served: enforce, testing, none.
    pub(crate) policies: [usize; 3],
    /// Domains in no file, whose last policy is served.
    pub(crate) kept: usize,
    /// Domains of tenants whose tokens DNS does not name yet.
    pub(crate) pending: usize,
    /// Domains that leave.
    pub(crate) leaving: usize,
    /// Domains of which DNS does not say what it should.
    pub(crate) elsewhere: usize,
    /// Domains that get no next step.
    pub(crate) refused: usize,
    /// Certificates in the ledger, and domains whose last attempt to get one failed.
    pub(crate) certificates: usize,
    pub(crate) failures: usize,
    /// When the first certificate ends, in Unix seconds.
    pub(crate) first_end: Option<u64>,
    /// Connections that are open.
    pub(crate) connections: usize,
}

impl Numbers {
    /// Counts a policy of this mode.
    pub(crate) fn count(&mut self, mode: Mode) {
        let at = match mode {
            Mode::Enforce => 0,
            Mode::Testing => 1,
            Mode::None => 2,
        };
        self.policies[at] += 1;
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut gauge = |name: &str, help: &str, values: &[(&str, u64)]| {
            let _ = writeln!(
                text,
                "# HELP mtasts_host_{name} {help}.\n# TYPE mtasts_host_{name} gauge"
            );
            for (labels, value) in values {
                let _ = writeln!(text, "mtasts_host_{name}{labels} {value}");
            }
        };
        let policies = ["enforce", "testing", "none"].map(|mode| format!("{{mode=\"{mode}\"}}"));
        let policies: Vec<(&str, u64)> = policies
            .iter()
            .zip(self.policies)
            .map(|(labels, count)| (labels.as_str(), count as u64))
            .collect();
        gauge("policies", "Policies that are served, by mode", &policies);
        for (name, help, count) in [
            (
                "domains_kept",
                "Domains in no file, whose last policy is served",
                self.kept,
            ),
            ("domains_leaving", "Domains that leave", self.leaving),
            (
                "domains_pending",
                "Domains of tenants whose tokens DNS does not name yet",
                self.pending,
            ),
            (
                "domains_elsewhere",
                "Domains of which DNS does not say what it should",
                self.elsewhere,
            ),
            ("steps_refused", "Domains that get no next step", self.refused),
            ("certificates", "Certificates in the ledger", self.certificates),
            (
                "certificate_failures",
                "Domains whose last attempt to get a certificate failed",
                self.failures,
            ),
            ("connections", "Connections that are open", self.connections),
        ] {
            gauge(name, help, &[("", count as u64)]);
        }
        let first: Vec<(&str, u64)> = self.first_end.map(|end| ("", end)).into_iter().collect();
        gauge(
            "certificate_first_end_seconds",
            "When the first certificate ends, in Unix time",
            &first,
        );
        text + "# EOF\n"
    }
}

/// Answers a request.
pub(crate) fn answer<B: Body>(request: &Request<B>, numbers: impl FnOnce() -> Numbers) -> Answer {
    let path = request.uri().path_and_query().map(|path| path.as_str());
    if request.method() != Method::GET || path != Some(PATH) || !request.body().is_end_stream() {
        return nothing(StatusCode::NOT_FOUND, request.version());
    }
    let text = numbers().text();
    let length = text.len();
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(TYPE));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    answer
}
