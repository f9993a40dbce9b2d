//! Rows of the table are built by saying how they differ from a domain where everything is right.

use super::behaviour::{Certificate, Fault, Https, Mx, Tlsa};
use super::entry::{At, Entry, Expect, Host, MxRecords, Policy, Setup, Txt, policy_text};

use std::collections::BTreeMap;

/// What is wrong with a domain until a row says otherwise.
const NOTHING: &str = "nothing";

impl Entry {
    /// A domain in mode enforce with one MX host, `mx.NAME`, all of it good.
    pub(super) fn new(name: &str) -> Self {
        let mx = format!("mx.{name}");
        let setup = Setup {
            txt: Txt::Records(vec!["v=STSv1; id=1;".to_owned()]),
            txt_at: BTreeMap::new(),
            body: policy_text("enforce", &[&mx], 86400).into(),
            every_name: false,
            https: Https::Ok,
            https_certificate: Certificate::Valid,
            policy_at: At::Own,
            mx: MxRecords::Hosts(vec![]),
            hosts: vec![],
            secure: false,
        };
        Self {
            name: name.to_owned(),
            wrong: NOTHING.to_owned(),
            policy: Policy::Enforce,
            expect: Expect::Deliver,
            expect_dane: None,
            result: None,
            setup,
        }
        .hosts(&["mx"])
    }

    pub(super) fn wrong(mut self, wrong: &str) -> Self {
        self.wrong = wrong.to_owned();
        self
    }

    /// The MX hosts by their first label, in the order of preference; all listed in the policy.
    pub(super) fn hosts(mut self, labels: &[&str]) -> Self {
        self.setup.hosts = labels.iter().map(|label| Host::new(&self.full(label))).collect();
        self.prefer(labels).patterns(labels).verified_at(labels)
    }

    /// The MX records, by the hosts' first label (a name with a dot stays as it is).
    pub(super) fn prefer(mut self, labels: &[&str]) -> Self {
        let names = labels.iter().map(|label| self.full(label));
        self.setup.mx = MxRecords::Hosts((1..).map(|preference| preference * 10).zip(names).collect());
        self
    }

    /// The mx patterns of the policy, by first label.
    pub(super) fn patterns(mut self, labels: &[&str]) -> Self {
        let names: Vec<_> = labels.iter().map(|label| self.full(label)).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mode = match self.policy {
            Policy::Testing => "testing",
            Policy::None => "none",
            _ => "enforce",
        };
        self.setup.body = policy_text(mode, &names, 86400).into();
        self
    }

    pub(super) fn full(&self, label: &str) -> String {
        match label {
            "" => self.name.clone(),
            name if name.contains('.') && !name.starts_with("*.") => name.to_owned(),
            "*" => format!("*.{}", self.name),
            label => format!("{label}.{}", self.name),
        }
    }

    pub(super) fn verified_at(mut self, labels: &[&str]) -> Self {
        let hosts = labels.iter().map(|label| self.full(label)).collect();
        self.expect = Expect::DeliverVerified { hosts };
        self
    }

    /// No MX record: the domain is its own MX host (RFC 5321 5.1).
    pub(super) fn implicit(mut self) -> Self {
        self = self.hosts(&[""]);
        self.setup.mx = MxRecords::Fault(Fault::NoData);
        self
    }

    pub(super) fn txt(mut self, records: &[&str]) -> Self {
        self.setup.txt = Txt::Records(records.iter().map(|&record| record.to_owned()).collect());
        self
    }

    pub(super) fn txt_alias(mut self, target: &str) -> Self {
        self.setup.txt = Txt::Alias(target.to_owned());
        self
    }

    pub(super) fn txt_fault(mut self, fault: Fault) -> Self {
        self.setup.txt = Txt::Fault(fault);
        self
    }

    pub(super) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.setup.body = body.into();
        self
    }

    pub(super) fn https(mut self, https: Https) -> Self {
        self.setup.https = https;
        self
    }

    pub(super) fn https_certificate(mut self, certificate: Certificate) -> Self {
        self.setup.https_certificate = certificate;
        self
    }

    pub(super) fn policy_at(mut self, at: At) -> Self {
        self.setup.policy_at = at;
        self
    }

    /// The behaviour of all MX hosts.
    pub(super) fn mx(mut self, mx: Mx) -> Self {
        self.setup.hosts.iter_mut().for_each(|host| host.mx = mx);
        self
    }

    /// The certificate of all MX hosts.
    pub(super) fn certificate(mut self, certificate: Certificate) -> Self {
        self.setup
            .hosts
            .iter_mut()
            .for_each(|host| host.certificate = certificate);
        self
    }

    /// Anything else about one MX host.
    pub(super) fn host(mut self, label: &str, change: impl FnOnce(&mut Host)) -> Self {
        let name = self.full(label);
        let host = self.setup.hosts.iter_mut().find(|host| host.name == name);
        change(host.expect("the table names a host of the row"));
        self
    }

    pub(super) fn mx_fault(mut self, fault: Fault) -> Self {
        self.setup.mx = MxRecords::Fault(fault);
        self
    }

    /// DNSSEC-signed, with this TLSA record at all MX hosts.
    pub(super) fn tlsa(mut self, tlsa: Tlsa) -> Self {
        self.setup.secure = true;
        self.setup.hosts.iter_mut().for_each(|host| host.tlsa = tlsa);
        self
    }

    pub(super) fn deliver(mut self) -> Self {
        self.expect = Expect::Deliver;
        self
    }

    pub(super) fn defer(mut self, why: &'static str) -> Self {
        self.expect = Expect::Defer { why };
        if self.wrong == NOTHING { self.wrong(why) } else { self }
    }

    /// Mail waits, and the failure is reported under this RFC 8460 result type.
    pub(super) fn fails(mut self, result: &'static str, why: &'static str) -> Self {
        self.result = Some(result);
        self.defer(why)
    }

    /// Both discarding what was injected and giving up are safe.
    pub(super) fn verified_or_defer(mut self) -> Self {
        let hosts = vec![self.full("mx")];
        self.expect = Expect::DeliverVerifiedOrDefer { hosts };
        self
    }

    pub(super) fn dane(mut self, expect: Expect) -> Self {
        self.expect_dane = Some(expect);
        self
    }

    /// No valid record: mail flows as if nobody had heard of MTA-STS.
    pub(super) fn absent(mut self) -> Self {
        self.policy = Policy::Absent;
        self.deliver()
    }

    /// A record but no policy: mail flows, and the failure is reported (RFC 8461 3.3).
    pub(super) fn unobtainable(mut self, result: &'static str) -> Self {
        self.policy = Policy::Unobtainable(result);
        self.result = Some(result);
        self.deliver()
    }

    /// The DNS does not tell whether there is a record: mail flows by default.
    pub(super) fn unknown(mut self) -> Self {
        self.policy = Policy::Unknown;
        self.deliver()
    }

    /// The same domain under another policy, in which its faults must not stop mail.
    pub(super) fn twin(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self.expect = Expect::Deliver;
        self.expect_dane = None;
        match policy {
            Policy::Testing => self.mode("testing"),
            Policy::None => {
                self.result = None;
                self.mode("none")
            }
            _ => {
                self.result = None;
                self.setup.policy_at = At::Fault(Fault::NxDomain);
                self.txt_fault(Fault::NxDomain)
            }
        }
    }

    /// The policy as it is, in another mode.
    fn mode(mut self, mode: &str) -> Self {
        let body = String::from_utf8_lossy(&self.setup.body).replace("mode: enforce", &format!("mode: {mode}"));
        self.setup.body = body.into();
        self
    }
}
