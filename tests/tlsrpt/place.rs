//! A host with a cache and a DNS, and sessions of it.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::time::Duration;

use hickory_resolver::proto::rr::RecordType;
use mtasts::cache::store::Store;
use mtasts::report::{PolicyType, ReportEvent};
use mtasts::{MxName, Resolver, ResultType, Settings};
use mtasts_kit::dns_server::{Asked, DnsServer, Reply, cname, txt};
use mtasts_kit::{USER, name};
use serde_json::Value;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const RECORD: &str = "v=TLSRPTv1; rua=mailto:reports@example.test";

/// A directory that every user may look into, with a cache of the ordinary user.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("mtasts-tlsrpt-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("cache")).unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o777)).unwrap();
        chown(root.join("cache"), Some(USER), Some(USER)).expect("this test needs root");
        fs::set_permissions(root.join("cache"), Permissions::from_mode(0o750)).unwrap();
        Self(root)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn settings(&self, dns: &DnsServer, more: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        settings.set("cache_dir", self.path("cache").to_str().unwrap()).unwrap();
        settings.set("nameservers", &dns.address.to_string()).unwrap();
        for (key, value) in more {
            settings.set(key, value).unwrap();
        }
        settings
    }

    pub(crate) fn resolver(&self, dns: &DnsServer, more: &[(&str, &str)]) -> Resolver {
        Resolver::new(self.settings(dns, more))
    }

    /// The lines of all journals, and the letters of all losses.
    pub(crate) fn journal(&self) -> (Vec<Value>, String) {
        let store = Store::new(self.path("cache"));
        let (mut lines, mut losses) = (String::new(), String::new());
        for journal in store.journals().unwrap() {
            if let Some(mut file) = store.results(&journal).unwrap() {
                file.read_to_string(&mut lines).unwrap();
            }
            if let Some(mut file) = store.losses(&journal).unwrap() {
                file.read_to_string(&mut losses).unwrap();
            }
        }
        let lines = lines.lines().filter(|line| !line.is_empty());
        let lines = lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
        (lines.collect(), losses)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn zone(asked: &Asked) -> Reply {
    assert_eq!(asked.kind, RecordType::TXT);
    match &*asked.name {
        "_smtp._tls.example.test" => Reply::answers(vec![txt(&asked.name, 300, &[RECORD.as_bytes()])]),
        "_smtp._tls.alias.test" => Reply::answers(vec![
            cname(&asked.name, 300, "reports.example.test"),
            txt(
                "reports.example.test",
                300,
                &[b"v=TLSRPTv1; ", b"rua=https://r.example.test/"],
            ),
        ]),
        "_smtp._tls.odd.test" => Reply::answers(vec![
            txt(&asked.name, 300, &[b"other"]),
            txt(
                &asked.name,
                300,
                &[b"v=TLSRPTv1; rua=javascript:alert(1),mailto:a@odd.test"],
            ),
        ]),
        "_smtp._tls.bad.test" => Reply::answers(vec![txt(&asked.name, 300, &[b"v=TLSRPTv1; rua=http://bad.test/"])]),
        "_smtp._tls.silent.test" => Reply::silence(),
        _ => Reply::nxdomain(),
    }
}

pub(crate) fn dns() -> DnsServer {
    DnsServer::start(zone)
}

/// Does something as the ordinary user, and returns what it made.
pub(crate) fn as_user<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    mtasts_kit::as_user(USER, USER, work)
}

pub(crate) fn passed(domain: &str) -> ReportEvent {
    ReportEvent {
        policy_type: PolicyType::Sts,
        domain: name(domain),
        policy_lines: [
            "version: STSv1",
            "mode: testing",
            "mx: mx.example.test",
            "max_age: 86400",
        ]
        .map(str::to_owned)
        .to_vec(),
        patterns: vec!["mx.example.test".into()],
        host: MxName::from_mx("mx.example.test"),
        address: Some("192.0.2.1".parse().unwrap()),
        local_address: Some("192.0.2.99".parse().unwrap()),
        result: None,
        reason_code: "".into(),
    }
}

pub(crate) fn failed(domain: &str, result: ResultType, why: &str) -> ReportEvent {
    ReportEvent {
        result: Some(result),
        reason_code: why.into(),
        ..passed(domain)
    }
}
