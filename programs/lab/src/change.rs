//! How a domain changes while the lab runs.

use super::behaviour::{Certificate, Fault, Https, Mx};
use super::entry::{At, Host, MxRecords, Setup, Txt};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

/// A change of a domain's behaviour. What is absent stays as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Change {
    /// The records at `_mta-sts.DOMAIN`, or one word in capitals: NXDOMAIN, NODATA, SERVFAIL, REFUSED, SILENT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txt: Option<Vec<String>>,
    /// TXT records at other names below the domain, such as `_smtp._tls`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub txt_at: BTreeMap<String, String>,
    /// The text of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Each name below the domain is a mail domain with the domain's record and policy, as a wildcard in DNS makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_name: Option<bool>,
    /// What the policy host does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<Https>,
    /// The certificate of the policy host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_certificate: Option<Certificate>,
    /// The names of the MX hosts in order of preference; new names below the domain become new hosts. Or one word in capitals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// What the MX hosts do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mx: Option<Mx>,
    /// The certificate of the MX hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// The addresses of the MX hosts; the lab listens at those that are routed to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<IpAddr>>,
    /// `mx`, `certificate` and `addresses` concern this host alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

impl Change {
    /// One TXT record for `_mta-sts.DOMAIN`, or one word in capitals.
    pub fn txt(record: &str) -> Self {
        Self {
            txt: Some(vec![record.to_owned()]),
            ..Self::default()
        }
    }

    /// A new policy under a new id, as a policy host publishes it (RFC 8461 8.1).
    pub fn publish(id: &str, policy: impl Into<String>) -> Self {
        Self {
            policy: Some(policy.into()),
            ..Self::txt(&format!("v=STSv1; id={id};"))
        }
    }

    /// The policy host behaves like this.
    pub fn https(https: Https) -> Self {
        Self {
            https: Some(https),
            ..Self::default()
        }
    }

    /// The MX hosts behave like this.
    pub fn mx(mx: Mx) -> Self {
        Self {
            mx: Some(mx),
            ..Self::default()
        }
    }

    /// The MX hosts present this certificate.
    pub fn certificate(certificate: Certificate) -> Self {
        Self {
            certificate: Some(certificate),
            ..Self::default()
        }
    }
}

impl Setup {
    /// Makes the change. After an error the setup is to be thrown away.
    pub(super) fn apply(&mut self, domain: &str, change: Change) -> io::Result<()> {
        if let Some(records) = change.txt {
            self.txt = match fault(&records) {
                Some(fault) => Txt::Fault(fault),
                None => Txt::Records(records),
            };
        }
        self.txt_at.extend(change.txt_at);
        if let Some(policy) = change.policy {
            self.body = policy.into();
        }
        self.every_name = change.every_name.unwrap_or(self.every_name);
        self.https = change.https.unwrap_or(self.https);
        self.https_certificate = change.https_certificate.unwrap_or(self.https_certificate);
        if let Some(names) = change.hosts {
            self.mx = match fault(&names) {
                Some(fault) => MxRecords::Fault(fault),
                None => {
                    for name in names.iter().filter(|name| name.ends_with(&format!(".{domain}"))) {
                        if !self.hosts.iter().any(|host| host.name == *name) {
                            self.hosts.push(Host::new(name));
                        }
                    }
                    MxRecords::Hosts((1..).map(|preference| preference * 10).zip(names).collect())
                }
            };
        }
        let concerned = |host: &&mut Host| change.host.as_ref().is_none_or(|name| *name == host.name);
        let mut found = change.host.is_none();
        for host in self.hosts.iter_mut().filter(concerned) {
            found = true;
            host.mx = change.mx.unwrap_or(host.mx);
            host.certificate = change.certificate.unwrap_or(host.certificate);
            if let Some(addresses) = &change.addresses {
                host.at = At::These(addresses.clone());
            }
        }
        if found {
            Ok(())
        } else {
            Err(invalid(format!("{domain} has no such MX host")))
        }
    }
}

/// One word in capitals stands for a fault.
fn fault(words: &[String]) -> Option<Fault> {
    match words {
        [word] => word.parse().ok(),
        _ => None,
    }
}

/// What was asked for makes no sense.
pub(super) fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
