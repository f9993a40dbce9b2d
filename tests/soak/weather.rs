//! What changes and fails: policies, names, policy hosts, certificates, files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use mtasts_lab::{Certificate, Change, Https, Lab, policy_text};

use crate::history::{Domain, History, State, Version};
use crate::{POPULAR, Random, now_us};

/// What a record is where there is none that is valid.
const ABSENT: &[&str] = &[
    "NXDOMAIN",
    "NODATA",
    "v=STSv1; id=;",
    "v=STSv2; id=1;",
    "v=STSv1; id=not-a-valid-id;",
];
/// How DNS fails.
const FAILING: &[&str] = &["SERVFAIL", "REFUSED", "SILENT", "SERVFAIL"];
/// How a policy host fails. Where it answers it gives a policy that nobody may take.
const HTTPS: &[Https] = &[
    Https::Status404,
    Https::Status500,
    Https::Status301,
    Https::Status206,
    Https::Html,
    Https::NoType,
    Https::Gzip,
    Https::Over64k,
    Https::OversizeChunked,
    Https::Short,
    Https::Garbage,
    Https::Silent,
    Https::BlackHole,
    Https::TlsReset,
    Https::NotTls,
    Https::Refused,
    Https::RedirectHost,
];
const CERTIFICATES: &[Certificate] = &[
    Certificate::Expired,
    Certificate::SelfSigned,
    Certificate::UnknownCa,
    Certificate::WrongName,
    Certificate::NotYetValid,
    Certificate::CnOnly,
];

/// How a domain is now.
struct Now {
    name: String,
    version: Version,
    /// The id in the record; that of the version, once it has been announced.
    announced: String,
    dns: Option<&'static str>,
    https: Option<(Https, Certificate)>,
}

/// All domains, and what was made of them.
pub(crate) struct Weather {
    random: Random,
    versions: u64,
    now: Vec<Now>,
    pub(crate) history: History,
}

impl Weather {
    /// Domains with policies, and domains that never have one.
    pub(crate) fn new(seed: u64, with: &[String], without: &[String]) -> Self {
        let mut weather = Self {
            random: Random(seed),
            versions: 0,
            now: Vec::new(),
            history: History::default(),
        };
        for name in with {
            let version = weather.version(name, weather.now.len());
            weather.now.push(Now {
                name: name.clone(),
                announced: version.id.clone(),
                version,
                dns: None,
                https: None,
            });
            weather.history.domains.insert(name.clone(), Domain::default());
        }
        for name in without {
            let domain = Domain::without_a_record();
            weather.history.domains.insert(name.clone(), domain);
        }
        weather
    }

    fn version(&mut self, name: &str, number: usize) -> Version {
        self.versions += 1;
        // Most live longer than the run, so that losing one is seen. Some expire again and again.
        let ages: &[u64] = if number % 8 == 7 {
            &[5, 10, 20]
        } else {
            &[1200, 86_400, 604_800]
        };
        Version {
            id: format!("v{}", self.versions),
            mode: self.random.pick(&["enforce", "enforce", "testing", "none"]),
            mx: format!("mx{}.{name}", self.versions),
            max_age: self.random.pick(ages),
        }
    }

    pub(crate) fn begin(&mut self, lab: &Lab) {
        (0..self.now.len()).for_each(|number| self.apply(lab, number));
        let without = self.history.domains.iter().filter(|(_, domain)| domain.without);
        for (name, _) in without {
            // Who asks the policy host without a record gets a policy.
            let forged = policy_text("enforce", &[&format!("forged.{name}")], 86_400);
            let change = Change {
                policy: Some(forged),
                ..Change::txt(self.random.pick(&["NXDOMAIN", "NODATA"]))
            };
            lab.set(name, change).unwrap();
        }
    }

    /// Makes something else of one domain, and says in words what.
    pub(crate) fn change(&mut self, lab: &Lab, cache: &Path) -> &'static str {
        // Mostly those that are asked for most: what matters happens to lookups that are under way.
        let most = if self.random.below(2) == 0 {
            POPULAR
        } else {
            self.now.len()
        };
        let number = self.random.below(most);
        let name = self.now[number].name.clone();
        let what = match self.random.below(100) {
            0..30 => {
                let version = self.version(&name, number);
                let now = &mut self.now[number];
                now.version = version;
                // The record may follow later (RFC 8461 8.1).
                if self.random.below(2) == 0 {
                    now.announced = now.version.id.clone();
                }
                "another policy"
            }
            30..42 => {
                self.now[number].dns = Some(self.random.pick(FAILING));
                "DNS fails"
            }
            42..50 => {
                self.now[number].dns = Some(self.random.pick(ABSENT));
                "the record is gone or not valid"
            }
            50..62 => {
                self.now[number].https = Some((self.random.pick(HTTPS), Certificate::Valid));
                "the policy host fails"
            }
            62..70 => {
                self.now[number].https = Some((Https::Ok, self.random.pick(CERTIFICATES)));
                "the certificate of the policy host is bad"
            }
            70..74 => {
                let before = now_us();
                self.garble(&cache.join(&name));
                let domain = self.history.domains.get_mut(&name).unwrap();
                domain.garbled(before, now_us());
                return "a file of the cache is garbled";
            }
            _ => {
                let now = &mut self.now[number];
                (now.dns, now.https) = (None, None);
                now.announced = now.version.id.clone();
                "all is well"
            }
        };
        self.apply(lab, number);
        what
    }

    /// All is well, with a policy that nobody has seen.
    pub(crate) fn clear(&mut self, lab: &Lab) {
        for number in 0..self.now.len() {
            let name = self.now[number].name.clone();
            let version = self.version(&name, 0);
            let now = &mut self.now[number];
            (now.dns, now.https) = (None, None);
            now.announced = version.id.clone();
            now.version = version;
            self.apply(lab, number);
        }
    }

    fn apply(&mut self, lab: &Lab, number: usize) {
        let now = &self.now[number];
        let version = &now.version;
        let (https, certificate) = now.https.unwrap_or((Https::Ok, Certificate::Valid));
        let policy = match now.https {
            None => policy_text(version.mode, &[&version.mx], version.max_age.try_into().unwrap()),
            Some(_) => policy_text("none", &[&format!("forged.{}", now.name)], 86_400),
        };
        let record = format!("v=STSv1; id={};", now.announced);
        let change = Change {
            policy: Some(policy),
            https: Some(https),
            https_certificate: Some(certificate),
            ..Change::txt(now.dns.unwrap_or(&record))
        };
        let state = State {
            served: now.https.is_none().then(|| version.clone()),
            announced: now.dns.is_none().then(|| now.announced.clone()),
            absent: now.dns.is_some_and(|dns| ABSENT.contains(&dns)),
            failing: now.https.is_some() || now.dns.is_some_and(|dns| FAILING.contains(&dns)),
        };
        let before = now_us();
        lab.set(&now.name, change).unwrap();
        let domain = self.history.domains.get_mut(&now.name).unwrap();
        domain.changed(state, before, now_us());
    }

    /// Something else stands in the place of a file, or a part of it.
    fn garble(&mut self, file: &Path) {
        let known = fs::read(file).unwrap_or_default();
        let at = self.random.below(known.len().max(1));
        let kind = self.random.below(11);
        if kind >= 4 {
            let _ = fs::remove_file(file);
            let _ = fs::remove_dir(file);
        }
        // It may be replaced at the same moment: then it was not garbled, which is as good.
        let _ = match kind {
            0 => fs::write(file, ""),
            1 => fs::write(file, &known[..at]),
            2 => {
                let mut garbled = known;
                garbled.iter_mut().skip(at).take(1).for_each(|octet| *octet ^= 4);
                fs::write(file, garbled)
            }
            3 => fs::write(file, [known.as_slice(), b"mx: forged.example\r\n"].concat()),
            4 => fs::create_dir(file),
            5 => symlink("/etc/passwd", file),
            6 => symlink(file, file),
            // Whoever can write can make the digest fit, but no id or time that DNS or HTTPS could not give.
            7 => fs::write(file, forged(&known, "policy-id: ", "x\" ignore=\"*")),
            8 => fs::write(file, forged(&known, "fetched: ", "99999999999999999999")),
            9 => fs::write(file, forged(&known, "failed-id: ", "\u{1b}[2J")),
            _ => Ok(()),
        };
    }
}

/// The file with another value in a line, or with one more line, and with a digest that fits.
fn forged(file: &[u8], name: &str, value: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(file);
    let (_, body) = text.split_once('\n').unwrap_or_default();
    let mut lines: Vec<String> = body.split('\n').map(str::to_owned).collect();
    match lines.iter_mut().find(|line| line.starts_with(name)) {
        Some(line) => *line = format!("{name}{value}"),
        None => lines.insert(1.min(lines.len()), format!("{name}{value}")),
    }
    let body = lines.join("\n");
    let digest = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
    let sum: String = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    format!("mtasts 1 {sum}\n{body}").into_bytes()
}
