use std::collections::BTreeSet;
use std::fs;

use mtasts::Policy;
use serde_json::Value as Json;
use tempfile::TempDir;

use super::*;
use crate::acme::Challenge;
use crate::notation::Notation;

const GOOD: &str = "[domain.\"example.com\"]\nmode = \"testing\"\nmax_age = 86400\nmx = [\"mx.example.com\"]\n";

/// A directory with these files; the first is `host.toml`.
struct Files(TempDir);

impl Files {
    fn new(main: &str) -> Self {
        let files = Self(TempDir::new().unwrap());
        fs::create_dir(files.0.path().join("host.d")).unwrap();
        fs::write(files.main(), main).unwrap();
        files
    }

    fn main(&self) -> PathBuf {
        self.0.path().join("host.toml")
    }

    fn tenant(&self, name: &str, text: &str) -> &Self {
        fs::write(self.0.path().join("host.d").join(name), text).unwrap();
        self
    }

    fn read(&self) -> Result<Settings, Problem> {
        self.read_with(&[])
    }

    /// The settings, if these domains are these tenants' already.
    fn read_with(&self, owners: &[(&str, &str)]) -> Result<Settings, Problem> {
        let owners = owners
            .iter()
            .map(|(domain, tenant)| (Domain::parse(domain).unwrap(), Tenant::new(tenant).unwrap()));
        Settings::read(&self.main())?.with_tenants(&owners.collect())
    }
}

/// The complaint about a file, without its directory.
fn complaint(main: &str) -> String {
    let files = Files::new(main);
    let problem = files.read().expect_err(main).to_string();
    let file = files.main().display().to_string();
    problem
        .strip_prefix(&file)
        .expect("the file")
        .trim_start_matches(": ")
        .to_owned()
}

/// Whose the domains are and who else names them, and the complaints about tenants.
fn owners(settings: &Settings) -> (Vec<String>, Vec<String>) {
    let owners = settings
        .domains
        .iter()
        .map(|(domain, hosted)| format!("{domain} {}", hosted.tenant));
    let refused = settings.refused.iter().map(|(tenant, problem)| {
        let name = problem.file.file_name().unwrap().to_string_lossy();
        format!("{tenant} {name} {} {} {}", problem.line, problem.key, problem.reason)
    });
    let rivals = settings
        .rivals
        .iter()
        .map(|(domain, hosted)| format!("rival {domain} {}", hosted.tenant));
    (owners.chain(rivals).collect(), refused.collect())
}

#[test]
fn mx_hosts_from_dns_go_by_steps_alone() {
    let main = "[group.g]\nmx = \"dns\"\n[domain.\"a.example\"]\ngroup = \"g\"\nmode = \"auto\"\n";
    let settings = Files::new(main).read().unwrap();
    let hosted = settings.domains.values().next().unwrap();
    assert!(hosted.is_from_dns() && hosted.file_mx().is_empty());
    assert_eq!(hosted.published.policy().mode(), Mode::None);
    let found = complaint("[domain.\"a.example\"]\nmode = \"enforce\"\nmax_age = 86400\nmx = \"dns\"\n");
    assert!(found.contains("goes with mode = \"auto\" alone"), "{found}");
}

#[test]
fn groups_are_shared_and_a_domain_has_the_last_word() {
    let files = Files::new(
        r#"
        [group.mail]
        mode = "enforce"
        max_age = 604_800
        mx = ["mx1.example.net", "*.mx.example.net"]

        [domain."example.com"]
        group = "mail"
        [domain."Example.ORG"]
        group = "mail"
        [domain."bücher.example"]
        group = "mail"
        mode = "testing"
        [domain]
        "none.example" = { mode = "none", max_age = 86400 }
        "#,
    );
    let settings = files.read().unwrap();
    let all: Vec<String> = settings
        .domains
        .iter()
        .map(|(domain, hosted)| {
            let policy = hosted.published.policy();
            format!("{domain} {} {} {}", policy.mode(), policy.max_age(), policy.mx().len())
        })
        .collect();
    let expected = [
        "example.com enforce 604800 2",
        "example.org enforce 604800 2",
        "none.example none 86400 0",
        "xn--bcher-kva.example testing 604800 2",
    ];
    assert_eq!(all, expected);
    let of = |name: &str| settings.domains[name].published.clone();
    assert!(Arc::ptr_eq(&of("example.com"), &of("example.org")));
}

#[test]
fn a_complaint_names_line_key_and_reason() {
    for (text, expected) in [
        ("a = 1", "line 1: a: unknown key"),
        ("[domain.\"a.example\"\n", "line 1: is not TOML: "),
        (
            "\n\n[domain.\"a.example\"]\nmode = \"Enforce\"",
            "line 4: domain.\"a.example\".mode: must be \"auto\"",
        ),
        (
            "[domain.\"a.example\"]\nmodus = \"none\"",
            "line 2: domain.\"a.example\".modus: unknown key; there are mode",
        ),
        (
            "[domain.a.example]\nmode = \"none\"",
            "line 1: domain.a: a top-level domain cannot be hosted; a name with dots",
        ),
        (
            "[domain.\"a.example\"]\nmax_age = \"1d\"",
            "line 2: domain.\"a.example\".max_age: must be a whole number",
        ),
        (
            "[domain.\"a.example\"]\nmax_age = -1",
            "line 2: domain.\"a.example\".max_age: must be a whole number",
        ),
        (
            "[domain.\"a.example\"]\nmax_age = 0",
            "line 2: domain.\"a.example\".max_age: must be 86400 (a day) to 31557600",
        ),
        (
            "[domain.\"a.example\"]\nmx = \"mx.example\"",
            "line 2: domain.\"a.example\".mx: must be a list of strings",
        ),
        (
            "[domain.\"a.example\"]\nmx = [\n \"mx.example.com\",\n \"m x.example\",\n]",
            "line 4: domain.\"a.example\".mx: \"m x.example\": must be a host name, or \"*.\" and a host name: the character ' '",
        ),
        (
            "[domain.\"a.example\"]\nmode = \"none\"",
            "line 1: domain.\"a.example\": max_age is missing, here and in a group",
        ),
        (
            "[domain.\"a.example\"]\nmode = \"enforce\"\nmax_age = 86400\nmx = []",
            "line 1: domain.\"a.example\": mx is missing, here and in a group",
        ),
        (
            "[domain.\"a.example\"]\ngroup = \"b\"",
            "line 1: domain.\"a.example\": there is no group \"b\"",
        ),
        (
            "[group.b]\ngroup = \"b\"",
            "line 1: group.b: a group cannot belong to a group",
        ),
        (
            "[domain.\"a..example\"]\n",
            "line 1: domain.\"a..example\": the name has an empty label",
        ),
        (
            "[domain.\"192.0.2.1\"]\n",
            "line 1: domain.\"192.0.2.1\": an IP address has no MTA-STS policy",
        ),
        (
            "[domain.\"com\"]\n",
            "line 1: domain.com: a top-level domain cannot be hosted",
        ),
        (
            "[domain.\"a.example\"]\nmode = \"none\"\nmax_age = 86400\n[domain.\"A.EXAMPLE.\"]\nmode = \"none\"\nmax_age = 86400",
            "line 4: domain.\"A.EXAMPLE.\": the domain appears twice, in two spellings",
        ),
        // The keys of a file may steer no terminal and no log.
        ("\"a\\u001b[31m\\n\" = 1", "line 1: \"a [31m \": unknown key"),
    ] {
        let found = complaint(text);
        assert!(
            found.starts_with(expected),
            "{text}\n  found: {found}\nexpected: {expected}"
        );
    }
    let long = format!("[domain.\"{}example\"]\n", "a23456789.".repeat(24));
    let found = complaint(&long);
    assert!(found.contains("the name is longer than 253 octets"), "{found}");
}

#[test]
fn a_policy_that_goes_by_steps() {
    let files = Files::new(
        r#"
        [group.slow]
        mode = "auto"
        waits = ["14d", "1h"]
        [domain."example.com"]
        mode = "auto"
        mx = ["mx.example.com"]
        [domain."example.org"]
        group = "slow"
        max_age = 604800
        mx = ["mx.example.org"]
        reserve = ["*.reserve.example.org"]
        [domain."example.net"]
        group = "slow"
        mode = "testing"
        max_age = 604800
        mx = ["mx.example.net"]
        "#,
    );
    let domains = files.read().unwrap().domains;
    let of = |name: &str| &domains[&Domain::parse(name).unwrap()];
    let plan = |name: &str| of(name).rollout.as_ref().unwrap().plan.clone();
    let (longest, waits) = (DEFAULT_LONGEST, DEFAULT_WAITS);
    assert_eq!(plan("example.com"), Plan { longest, waits });
    let waits = [1_209_600, 3600, waits[2], waits[3]];
    let longest = 604_800;
    assert_eq!(plan("example.org"), Plan { longest, waits });
    assert_eq!(
        of("example.org").rollout.as_ref().unwrap().reserve,
        ["*.reserve.example.org"]
    );
    assert_eq!(
        of("example.org").published.text(),
        "version: STSv1\r\nmode: testing\r\nmx: mx.example.org\r\nmx: *.reserve.example.org\r\nmax_age: 86400\r\n"
    );
    assert_eq!(of("example.net").rollout, None);
    for (waits, expected) in [
        (
            "[\"1w\"]",
            "line 3: domain.\"a.example\".waits: \"1w\" is not a duration",
        ),
        (
            "[\"366d\"]",
            "line 3: domain.\"a.example\".waits: \"366d\" is longer than a year",
        ),
        ("[604800]", "line 3: domain.\"a.example\".waits: must be a string"),
        (
            "[\"1d\", \"1d\", \"1d\", \"1d\", \"1d\"]",
            "line 3: domain.\"a.example\".waits: must be four lengths of time at most",
        ),
    ] {
        let found = complaint(&format!("[domain.\"a.example\"]\nmode = \"auto\"\nwaits = {waits}"));
        assert!(found.starts_with(expected), "{waits}: {found}");
    }
    let found = complaint("[domain.\"a.example\"]\nmode = \"auto\"");
    assert!(found.ends_with("mx is missing, here and in a group"), "{found}");
}

#[test]
fn only_a_regular_file_of_limited_size_is_read() {
    let files = Files::new("");
    assert!(files.read().unwrap().domains.is_empty());
    fs::write(files.main(), "#".repeat((10 << 20) + 1)).unwrap();
    assert!(files.read().unwrap_err().reason.contains("is longer than"));
    fs::write(files.main(), b"a = \"\xff\"").unwrap();
    assert!(files.read().unwrap_err().reason.contains("UTF-8"));
    fs::remove_file(files.main()).unwrap();
    assert!(files.read().unwrap_err().reason.contains("No such file"));
    fs::create_dir(files.main()).unwrap();
    assert_eq!(files.read().unwrap_err().reason, "is not a regular file");
}

#[test]
fn a_tenant_harms_no_other() {
    let files = Files::new(&format!("[group.g]\nmode = \"none\"\nmax_age = 86400\n{GOOD}"));
    files
        .tenant("anna.toml", "[domain.\"anna.example\"]\ngroup = \"g\"\n")
        .tenant(
            "bert.toml",
            "[domain.\"bert.example\"]\ngroup = \"g\"\n[domain.\"shared.example\"]\ngroup = \"g\"\n",
        )
        .tenant(
            "carl.toml",
            "[domain.\"carl.example\"]\ngroup = \"g\"\n[domain.\"SHARED.example\"]\ngroup = \"g\"\n",
        )
        .tenant(
            "dora.toml",
            "\n[domain.\"example.com\"]\ngroup = \"g\"\n[domain.\"dora.example\"]\ngroup = \"g\"\n",
        )
        .tenant(
            "emil.toml",
            "[group.h]\nmode = \"none\"\n[domain.\"emil.example\"]\ngroup = \"h\"\n",
        )
        .tenant("frey.toml", "listen = []\n[domain.\"frey.example\"]\ngroup = \"g\"\n")
        .tenant("gerd.toml", "[domain.\"gerd.example\"]\ngroup = \"h\"\n")
        .tenant(".hid.toml", "what an editor leaves")
        .tenant("hugo.toml~", "what an editor leaves");
    let (owners, refused) = owners(&files.read().unwrap());
    let expected = [
        "anna.example anna",
        "bert.example bert",
        "carl.example carl",
        "example.com host.toml",
        "shared.example bert",
        "rival shared.example carl",
    ];
    assert_eq!(owners, expected);
    assert_eq!(
        refused,
        [
            format!("dora dora.toml 2 domain.\"example.com\" {STRANGE}"),
            "emil emil.toml 3 domain.\"emil.example\" max_age is missing, here and in a group".into(),
            "frey frey.toml 1 listen a tenant's file has groups and domains alone".into(),
            // The group of another tenant is not there.
            "gerd gerd.toml 1 domain.\"gerd.example\" there is no group \"h\"".into(),
        ]
    );
}

const STRANGE: &str = "the domain is the operator's, who can give it to this tenant with mtasts host move";

#[test]
fn a_domain_stays_its_tenants() {
    let files = Files::new("");
    files.tenant("anna.toml", GOOD).tenant("bert.toml", GOOD);
    let known = |owner| owners(&files.read_with(&[("example.com", owner)]).unwrap());
    let (anna, bert) = ("rival example.com anna".to_owned(), "rival example.com bert".to_owned());
    assert_eq!(known("anna"), (vec!["example.com anna".into(), bert.clone()], vec![]));
    assert_eq!(known("bert"), (vec!["example.com bert".into(), anna.clone()], vec![]));
    // One whose file is gone.
    assert_eq!(known("carl"), (vec![anna, bert], vec![]));
    let settings = files.read_with(&[("example.com", "bert")]).unwrap();
    let domain = Domain::parse("example.com").unwrap();
    let named = settings.named(&domain);
    let named: Vec<&str> = named.map(|hosted| hosted.tenant.name()).collect();
    assert_eq!(named, ["bert", "anna"]);
    // The operator's.
    let expected = |tenant| format!("{tenant} {tenant}.toml 1 domain.\"example.com\" {STRANGE}");
    assert_eq!(known(""), (vec![], vec![expected("anna"), expected("bert")]));
}

#[test]
fn the_settings_of_the_authority() {
    let acme = |text: &str| {
        let files = Files::new(&format!("[acme]\nagree_to_terms = true\n{text}"));
        files.read().unwrap().service.acme.unwrap()
    };
    let all = acme(
        "directory = \"https://ca.example/dir\"\ncontact = [\"mailto:a@b.example\"]\nchallenge = \"http-01\"\nprofile = \
         \"shortlived\"\norders = 10\nca_file = \"/etc/ca.pem\"\nflight_test = false\neab_kid = \"k1\"\neab_key_file = \"/etc/eab\"",
    );
    assert_eq!(all.eab, Some(("k1".into(), "/etc/eab".into())));
    assert_eq!(all.directory, "https://ca.example/dir");
    assert_eq!(all.contact, ["mailto:a@b.example"]);
    assert_eq!(
        (all.challenge, all.orders, all.flight_test),
        (Challenge::Http, 10, false)
    );
    assert_eq!(
        (all.profile.as_deref(), all.ca_file),
        (Some("shortlived"), Some("/etc/ca.pem".into()))
    );
    let both = acme("[acme.second]\nagree_to_terms = true\ndirectory = \"https://b.example/\"\nprofile = \"x\"");
    let second = both.second.unwrap();
    assert_eq!(
        (second.directory.as_str(), second.profile.as_deref()),
        ("https://b.example/", Some("x"))
    );
    let none = acme("");
    assert_eq!(none.directory, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!(
        (none.challenge, none.orders, none.flight_test),
        (Challenge::TlsAlpn, 250, true)
    );
    for (text, expected) in [
        ("", "line 1: acme: read the terms of service"),
        ("agree_to_terms = false", "line 1: acme: read the terms of service"),
        (
            "agree_to_terms = \"yes\"",
            "line 2: acme.agree_to_terms: must be true or false",
        ),
        (
            "directory = \"http://ca.example\"",
            "line 2: acme.directory: must be a URL",
        ),
        (
            "directory = \"https://ca.example/\\u0007\"",
            "line 2: acme.directory: must be a URL",
        ),
        (
            "contact = [\"a@b.example\"]",
            "line 2: acme.contact: must begin with \"mailto:\"",
        ),
        (
            "challenge = \"dns-01\"",
            "line 2: acme.challenge: must be \"tls-alpn-01\"",
        ),
        ("profile = \"a b\"", "line 2: acme.profile: is not the name"),
        ("orders = 0", "line 2: acme.orders: must be 1 at least"),
        ("key = 1", "line 2: acme.key: unknown key"),
        ("eab_kid = \"\"", "line 2: acme.eab_kid: is not the identifier"),
        (
            "eab_kid = \"k1\"",
            "line 1: acme: eab_kid and eab_key_file belong together",
        ),
        (
            "agree_to_terms = true\n[acme.second]\nagree_to_terms = true",
            "line 1: acme: the second authority is the first one",
        ),
        (
            "agree_to_terms = true\n[acme.second]\ndirectory = \"https://ca.example\"",
            "line 3: acme.second: read the terms of service",
        ),
        (
            "agree_to_terms = true\n[acme.second]\nagree_to_terms = true\norders = 1",
            "line 5: acme.second.orders: is set in the table acme",
        ),
    ] {
        let found = complaint(&format!("[acme]\n{text}"));
        assert!(found.starts_with(expected), "{text}: {found}");
    }
}

#[test]
fn the_settings_of_the_service() {
    let files = Files::new(
        r#"
        ledger = "/var/lib/x/ledger.db"
        zone = "STS.example.net"
        addresses = ["192.0.2.1", "2001:db8::1"]
        reports = ["mailto:tlsrpt@example.net"]
        resolvers = ["192.0.2.53", "[2001:db8::53]:5353"]
        ca_file = "/etc/ca.pem"
        https = ["[::]:443"]
        certificates = "/etc/certificates"
        dns = ["0.0.0.0:53"]
        name_servers = ["ns.example.net"]
        secondaries = ["192.0.2.54"]
        proxy = ["/run/x/socket", "127.0.0.1:8080"]
        http = ["0.0.0.0:80"]
        metrics = ["127.0.0.1:9106"]
        webroot = "/var/lib/x/webroot"
        seal_keys = ["/etc/mtasts/seal.key", "credential:old"]
        [publish]
        file = "/var/lib/x/zone"
        format = "octodns"
        exec = ["/usr/local/sbin/publish", "sts"]
        [transfer]
        key = "transfer.example"
        secret_file = "/etc/mtasts/transfer.key"
        [update]
        server = "192.0.2.53"
        key = "update.example"
        secret_file = "/etc/mtasts/update.key"
        [acme]
        agree_to_terms = true
        "#,
    );
    let mut service = files.read().unwrap().service;
    let acme = service.acme.take().unwrap();
    let update = service.update.take().unwrap();
    let publish = service.publish.take().unwrap();
    assert_eq!((publish.format, publish.exec.len()), (Notation::Octodns, 2));
    assert_eq!(service.transfer.take().unwrap().key.as_str(), "transfer.example");
    assert_eq!(
        (update.server.to_string().as_str(), update.key.key.as_str()),
        ("192.0.2.53:53", "update.example")
    );
    let shown = format!("{service:?}");
    let keys = shown.matches(": ").count();
    assert_eq!(keys, 20, "a new key needs a line above: {shown}");
    assert_eq!(service.zone.unwrap().as_str(), "sts.example.net");
    assert_eq!((service.addresses.len(), service.proxy.len()), (2, 2));
    assert_eq!(acme.challenge, Challenge::TlsAlpn);
    let resolvers: Vec<String> = service.resolvers.iter().map(ToString::to_string).collect();
    assert_eq!(resolvers, ["192.0.2.53:53", "[2001:db8::53]:5353"]);
    assert_eq!(Files::new("").read().unwrap().service, Service::default());
    for (text, expected) in [
        ("ledger = \"x\"", "line 1: ledger: must be an absolute path"),
        ("ledger = 1", "line 1: ledger: must be a string"),
        (
            "zone = \"a b\"",
            "line 1: zone: the character ' ' cannot be part of a host name",
        ),
        (
            "addresses = [\n\"192.0.2.1\",\n\"192.0.2\"]",
            "line 3: addresses: \"192.0.2\" is not an IP address",
        ),
        (
            "reports = [\"a@b.example\"]",
            "line 1: reports: must begin with \"mailto:\"",
        ),
        (
            "https = [\"443\"]",
            "line 1: https: \"443\" is not an address and a port",
        ),
        // Without TLS nothing is served to others.
        (
            "proxy = [\"0.0.0.0:80\"]",
            "line 1: proxy: 0.0.0.0:80 is not on loopback",
        ),
        (
            "resolvers = [\"ns.example\"]",
            "line 1: resolvers: \"ns.example\" is not the IP address of a name server",
        ),
        ("proxy = [\"x\"]", "line 1: proxy: \"x\" is neither an absolute path"),
        (
            "[update]\nserver = \"ns.example\"",
            "line 2: update.server: is not the IP address",
        ),
        ("[update]\nserver = \"192.0.2.53\"", "line 1: update: key is missing"),
        ("[update]\nkeys = 1", "line 2: update.keys: unknown key"),
        (
            "[transfer]\nserver = \"192.0.2.53\"",
            "line 2: transfer.server: unknown key",
        ),
        (
            "[publish]\nfile = \"/x\"\nexec = [\"x\"]",
            "line 3: publish.exec: must begin with the absolute path",
        ),
        ("[publish]\nformat = \"x\"", "line 2: publish.format: must be \"zone\""),
        ("[publish]\nformat = \"zone\"", "line 1: publish: file is missing"),
        ("[transfer]\nkey = \"x\"", "line 1: transfer: secret_file is missing"),
        ("webroot = \"\"", "line 1: webroot: must be an absolute path"),
        (
            "seal_keys = [\"x\"]",
            "line 1: seal_keys: \"x\" is neither an absolute path nor",
        ),
    ] {
        let found = complaint(text);
        assert!(
            found.starts_with(expected),
            "{text}\n  found: {found}\nexpected: {expected}"
        );
    }
}

#[test]
fn the_name_of_a_file_is_the_name_of_its_tenant() {
    for name in ["a b.toml", "a\n.toml", "é.toml", &format!("{}.toml", "a".repeat(65))] {
        let files = Files::new("");
        files.tenant(name, "");
        let reason = files.read().unwrap_err().reason;
        assert!(
            reason.starts_with("the name of a tenant's file is"),
            "{name:?}: {reason}"
        );
    }
    let files = Files::new("");
    fs::remove_dir(files.0.path().join("host.d")).unwrap();
    assert!(files.read().unwrap().domains.is_empty());
}

/// The values of the policy vectors that no host may publish, whichever way a sender reads them.
const REFUSED: [&str; 15] = [
    "P10-enforce-without-mx",
    "P14-missing-mode",
    "P17-mode-case",
    "P36-max-age-0",
    "P38-max-age-over-limit",
    "P39-max-age-10-digits",
    "P40-max-age-11-digits",
    "P42-max-age-unit",
    "P44-max-age-plus-or-underscore",
    "P45-mx-trailing-dot",
    "P46-mx-draft-leading-dot",
    "P48-mx-mid-wildcard",
    "P51-mx-u-label",
    "P53-mx-ip-literal",
    "P55-mx-one-bad-of-two",
];

/// A string of TOML, which knows the escapes of JSON.
fn quoted(text: &str) -> String {
    Json::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// The values of a policy text as settings: what stands before each colon is a key.
fn as_settings(body: &str) -> String {
    let mut keys: Vec<(&str, String)> = Vec::new();
    let mut mx = Vec::new();
    for line in body.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim_matches([' ', '\t']);
        match name {
            "mx" => mx.push(quoted(value)),
            "mode" | "max_age" if keys.iter().any(|(key, _)| *key == name) => {}
            "mode" => keys.push((name, quoted(value))),
            // A number, or a mistake in a number.
            "max_age" if value.bytes().all(|c| c.is_ascii_digit()) => keys.push((name, value.to_owned())),
            "max_age" => keys.push((name, quoted(value))),
            _ => {}
        }
    }
    keys.push(("mx", format!("[{}]", mx.join(", "))));
    let lines: String = keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    format!("[domain.\"a.example\"]\n{lines}")
}

fn vectors(kind: &str) -> Vec<Json> {
    let all: Json = serde_json::from_str(include_str!("../../../../tests/vectors/rfc8461.json")).unwrap();
    all[kind].as_array().unwrap().clone()
}

#[test]
fn no_vector_is_published_that_a_sender_could_misread() {
    let (mut refused, mut published) = (Vec::new(), 0);
    for vector in vectors("policy") {
        let (name, Some(body)) = (vector["name"].as_str().unwrap(), vector["body"].as_str()) else {
            continue;
        };
        let files = Files::new(&as_settings(body));
        let Ok(settings) = files.read() else {
            refused.push(name.to_owned());
            continue;
        };
        let hosted = &settings.domains["a.example"].published;
        let (read, warnings) = Policy::parse(hosted.text().as_bytes()).unwrap();
        assert!(warnings.is_empty(), "{name}");
        // If a sender reads the vector, it reads the same in what is published of its values.
        if let Ok((policy, _)) = Policy::parse(body.as_bytes()) {
            assert_eq!(read, policy, "{name}");
        }
        published += 1;
    }
    for name in REFUSED {
        assert!(refused.iter().any(|other| other == name), "{name} is published");
    }
    assert!(published >= 15, "{published} published; refused: {refused:?}");
}

#[test]
fn no_pattern_of_the_vectors_is_published_that_names_no_host() {
    let mut refused = BTreeSet::new();
    for vector in vectors("mx_match") {
        for pattern in vector["patterns"].as_array().unwrap() {
            if check_pattern(pattern.as_str().unwrap()).is_err() {
                refused.insert(pattern.as_str().unwrap().to_owned());
            }
        }
    }
    let refused: Vec<String> = refused.into_iter().collect();
    assert_eq!(refused, ["*.", "*.0.2.1", "mail..example.com"]);
}
