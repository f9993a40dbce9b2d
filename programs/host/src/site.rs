//! What is served: a policy host and its page for each domain. It changes as a whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use mtasts::Domain;

use crate::published::Published;

/// Every policy host, by its name.
#[derive(Clone, Default)]
pub(crate) struct Site(HashMap<Box<str>, Bytes>);

impl Site {
    pub(crate) fn new<'a>(domains: impl Iterator<Item = (&'a Domain, &'a Arc<Published>)>) -> Self {
        // Domains with the same policy share its octets.
        let mut texts: BTreeMap<&str, Bytes> = BTreeMap::new();
        let pages = domains.map(|(domain, published)| {
            let text = published.text();
            let octets = texts
                .entry(text)
                .or_insert_with(|| Bytes::copy_from_slice(text.as_bytes()));
            (format!("mta-sts.{domain}").into_boxed_str(), octets.clone())
        });
        Self(pages.collect())
    }

    /// The text of a policy host, whose name is in lower case without a root dot.
    pub(crate) fn page(&self, host: &str) -> Option<&Bytes> {
        self.0.get(host)
    }
}
