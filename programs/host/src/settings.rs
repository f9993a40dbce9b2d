//! The settings: which domains are hosted, and with which policies.
//!
//! `host.toml` is the operator's. Each file of `host.d` beside it is a tenant's, named like its file: it has domains and groups,
//! and no other setting. A file is in force as a whole or not at all, and a tenant's file harms no other tenant.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mtasts::protocol::names::MAX_NAME;
use mtasts::protocol::policy::MAX_MAX_AGE;
use mtasts::sender::settings::duration;
use mtasts::{Domain, Mode};

pub use crate::hosted::{Hosted, Moving, Rollout};
use crate::published::{MIN_MAX_AGE, Published, Refused, check_max_age, check_pattern};
use crate::rollout::{DEFAULT_LONGEST, DEFAULT_WAITS, Plan, Step};
use crate::service::Service;
use crate::source::{Key, Problem, Source, Value};

/// The longest name that stands before a hosted domain: that of its TLSRPT record (RFC 8460 3).
const LONGEST_PREFIX: &str = "_smtp._tls.";

/// Whose a file is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// The operator, whose file is `host.toml`.
    #[must_use]
    pub fn operator() -> Self {
        Self("".into())
    }

    /// A tenant by this name: 1 to 64 letters, digits, `.`, `_` and `-`, not first a dot; the operator has none.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let is_good = name.len() <= 64 && name.chars().all(known) && !name.starts_with('.');
        is_good.then(|| Self(name.into()))
    }

    /// Whether this is the operator.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.0.is_empty()
    }

    /// The name, which is empty for the operator.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_operator() { "host.toml" } else { &self.0 })
    }
}

/// All files, read.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The service itself.
    pub service: Service,
    /// The domains of all files that are in force.
    pub domains: BTreeMap<Domain, Hosted>,
    /// The domains that are another tenant's already, or are named by more than one: the next ones' by the order of their names. They
    /// wait for DNS to say that it means them.
    pub rivals: Vec<(Domain, Hosted)>,
    /// What is wrong with the tenants' files that are not.
    pub refused: Vec<(Tenant, Problem)>,
    /// Where the tenants' files are.
    directory: PathBuf,
    /// The operator's groups, which tenants may use.
    groups: BTreeMap<String, Values>,
}

/// What one file has.
#[derive(Default)]
struct Contents {
    service: Service,
    groups: BTreeMap<String, Values>,
    domains: Named,
}

/// The domains of a file, each with the complaint if it is the operator's.
type Named = BTreeMap<Domain, (Hosted, Problem)>;

/// The values of a policy, as far as a table has them.
#[derive(Clone, Default, Debug)]
struct Values {
    mode: Option<Wanted>,
    max_age: Option<u32>,
    mx: Option<Listed>,
    reserve: Option<Vec<String>>,
    waits: Option<[u32; 4]>,
}

/// What `mx` says.
#[derive(Clone, Debug)]
enum Listed {
    /// What DNS has.
    Dns,
    /// These patterns.
    Here(Vec<String>),
}

/// What `mode` says.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// That of the step.
    Auto,
    /// This one.
    Mode(Mode),
}

impl Settings {
    /// Reads the operator's file.
    ///
    /// # Errors
    /// A [`Problem`] with it.
    pub fn read(main: &Path) -> Result<Self, Problem> {
        let operator = Tenant::operator();
        let own = Contents::read(main, &operator, &BTreeMap::new())?;
        let mut settings = Self {
            service: own.service,
            directory: main.with_extension("d"),
            groups: own.groups,
            ..Self::default()
        };
        settings.add(own.domains);
        Ok(settings)
    }

    /// The same with the tenants' files: `*.toml` in the directory beside the operator's file, whose name ends with `.d`. `owners`
    /// says whose a domain is already.
    ///
    /// A file that names a domain of the operator is refused. One that names a domain of another tenant is in force, and its tenant is a
    /// rival for that domain: DNS says whose it is, and not who has named it first.
    ///
    /// # Errors
    /// A [`Problem`] with the directory. One with a tenant's file is in [`refused`](Self::refused), and nothing of that file is in
    /// force.
    pub fn with_tenants(mut self, owners: &BTreeMap<Domain, Tenant>) -> Result<Self, Problem> {
        for (tenant, file) in tenants(&self.directory)? {
            let domains = match Contents::read(&file, &tenant, &self.groups) {
                Ok(contents) => contents.domains,
                Err(problem) => {
                    self.refused.push((tenant, problem));
                    continue;
                }
            };
            let owner = |domain: &Domain| {
                let hosted = self.domains.get(domain).map(|hosted| &hosted.tenant);
                hosted
                    .filter(|owner| owner.is_operator())
                    .or_else(|| owners.get(domain))
            };
            let is_operators = |domain: &Domain| owner(domain).is_some_and(Tenant::is_operator);
            if let Some((_, (_, problem))) = domains.iter().find(|(domain, _)| is_operators(domain)) {
                self.refused.push((tenant, problem.clone()));
                continue;
            }
            for (domain, (hosted, _)) in domains {
                match owners.get(&domain) {
                    Some(owner) if *owner == tenant => self.domains.insert(domain, hosted),
                    None if !self.domains.contains_key(&domain) => self.domains.insert(domain, hosted),
                    _ => {
                        self.rivals.push((domain, hosted));
                        None
                    }
                };
            }
        }
        self.refused.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(self)
    }

    /// What the files say of a domain: that of the tenant whose it is, or who is the first to name it; then those of its rivals.
    pub fn named(&self, domain: &Domain) -> impl Iterator<Item = &Hosted> {
        let rivals = self.rivals.iter().filter(move |(other, _)| other == domain);
        self.domains
            .get(domain)
            .into_iter()
            .chain(rivals.map(|(_, hosted)| hosted))
    }

    fn add(&mut self, domains: Named) {
        let hosted = domains.into_iter().map(|(domain, (hosted, _))| (domain, hosted));
        self.domains.extend(hosted);
    }
}

/// The files of a directory, which need not be there.
fn tenants(directory: &Path) -> Result<BTreeMap<Tenant, PathBuf>, Problem> {
    let problem = |file: &Path, reason: &str| Problem {
        file: file.to_owned(),
        line: 0,
        key: String::new(),
        reason: reason.to_owned(),
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(problem(directory, &error.to_string())),
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let file = entry.map_err(|error| problem(directory, &error.to_string()))?.path();
        // What an editor or dpkg leaves there is not a tenant's.
        if file.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        let tenant = Some(&*name).filter(|name| !name.is_empty()).and_then(Tenant::new);
        let tenant = tenant.ok_or_else(|| {
            problem(
                &file,
                "the name of a tenant's file is 1 to 64 letters, digits, \".\", \"_\" and \"-\", and \".toml\"",
            )
        })?;
        files.insert(tenant, file);
    }
    Ok(files)
}

impl Contents {
    fn read(file: &Path, tenant: &Tenant, above: &BTreeMap<String, Values>) -> Result<Self, Problem> {
        let text = Source::read(file)?;
        let source = Source::new(file, &text);
        let table = source.table()?;
        let mut contents = Self::default();
        let mut domains = Vec::new();
        for (key, value) in &table {
            let value = Value::new(&source, "", key, value);
            match key.get_ref().as_ref() {
                "group" => {
                    for (name, group) in value.entries()? {
                        let (values, of) = Values::read(&group)?;
                        if of.is_some() {
                            return Err(group.problem("a group cannot belong to a group"));
                        }
                        contents.groups.insert(name.get_ref().to_string(), values);
                    }
                }
                "domain" => domains = value.entries()?,
                key if *tenant == Tenant::operator() => {
                    if !contents.service.set(key, &value)? {
                        return Err(value.problem("unknown key"));
                    }
                }
                _ => return Err(value.problem("a tenant's file has groups and domains alone")),
            }
        }
        let mut same = BTreeMap::new();
        for (name, value) in domains {
            let domain = domain(name, &value)?;
            let (mut values, group) = Values::read(&value)?;
            if let Some(name) = group {
                let group = contents.groups.get(name).or_else(|| above.get(name));
                let group = group.ok_or_else(|| value.problem(format!("there is no group {name:?}")))?;
                values = values.or(group);
            }
            let (published, rollout) = values.publish().map_err(|reason| value.problem(reason))?;
            let published: &Arc<Published> = same
                .entry(published.id().to_owned())
                .or_insert_with(|| published.into());
            let hosted = Hosted {
                tenant: tenant.clone(),
                published: published.clone(),
                rollout: rollout.map(Arc::new),
                is_imported: false,
                moving: None,
            };
            let stranger =
                value.problem("the domain is the operator's, who can give it to this tenant with mtasts host move");
            let before = contents.domains.insert(domain, (hosted, stranger));
            if before.is_some() {
                return Err(value.problem("the domain appears twice, in two spellings"));
            }
        }
        Ok(contents)
    }
}

/// The domain that a key names.
fn domain(name: &Key<'_>, value: &Value<'_, '_>) -> Result<Domain, Problem> {
    let domain = Domain::parse(name.get_ref()).map_err(|error| value.problem(error.to_string()))?;
    if !domain.as_str().contains('.') {
        return Err(value.problem(format!(
            "a top-level domain cannot be hosted; a name with dots is written in quotation marks: [domain.\"{domain}.example\"]"
        )));
    }
    match LONGEST_PREFIX.len() + domain.as_str().len() <= MAX_NAME {
        true => Ok(domain),
        false => Err(value.problem(format!(
            "with {LONGEST_PREFIX:?} before it the name is longer than {MAX_NAME} octets"
        ))),
    }
}

impl Values {
    /// The values of a table, and the group that it names.
    fn read<'s>(table: &Value<'s, '_>) -> Result<(Self, Option<&'s str>), Problem> {
        let (mut values, mut group) = (Self::default(), None);
        for (key, value) in table.entries()? {
            match key.get_ref().as_ref() {
                "mode" => {
                    let text = value.text()?;
                    let mode = match text {
                        "auto" => Some(Wanted::Auto),
                        _ => Mode::from_name(text).map(Wanted::Mode),
                    };
                    let wrong = || value.problem("must be \"auto\", \"testing\", \"enforce\" or \"none\"");
                    values.mode = Some(mode.ok_or_else(wrong)?);
                }
                "max_age" => {
                    let max_age = value.number()?;
                    check_max_age(max_age).map_err(|refused| value.problem(refused.reason))?;
                    values.max_age = Some(max_age);
                }
                "mx" => {
                    let is_dns = value.text().is_ok_and(|text| text == "dns");
                    values.mx = Some(match is_dns {
                        true => Listed::Dns,
                        false => Listed::Here(value.list(pattern)?),
                    });
                }
                "reserve" => values.reserve = Some(value.list(pattern)?),
                "waits" => {
                    let given = value.list(wait)?;
                    let mut waits = DEFAULT_WAITS;
                    if given.len() > waits.len() {
                        return Err(value.problem("must be four lengths of time at most, one for each step"));
                    }
                    waits[..given.len()].copy_from_slice(&given);
                    values.waits = Some(waits);
                }
                "group" => group = Some(value.text()?),
                _ => return Err(value.problem(unknown(table.key()))),
            }
        }
        Ok((values, group))
    }

    /// These values, and those of the group for what is absent.
    fn or(self, group: &Self) -> Self {
        Self {
            mode: self.mode.or(group.mode),
            max_age: self.max_age.or(group.max_age),
            mx: self.mx.or_else(|| group.mx.clone()),
            reserve: self.reserve.or_else(|| group.reserve.clone()),
            waits: self.waits.or(group.waits),
        }
    }

    fn publish(self) -> Result<(Published, Option<Rollout>), String> {
        let missing = |name| format!("{name} is missing, here and in a group");
        let mode = self.mode.ok_or_else(|| missing("mode"))?;
        let (from_dns, mut mx) = match self.mx {
            Some(Listed::Dns) => (true, Vec::new()),
            Some(Listed::Here(mx)) => (false, mx),
            None => (false, Vec::new()),
        };
        if from_dns && matches!(mode, Wanted::Mode(_)) {
            return Err("mx = \"dns\" goes with mode = \"auto\" alone: each step looks at the MX hosts".into());
        }
        if mx.is_empty() && !from_dns && !matches!(mode, Wanted::Mode(Mode::None)) {
            return Err(missing("mx"));
        }
        let reserve = self.reserve.unwrap_or_default();
        mx.extend(reserve.iter().cloned());
        let said = |refused: Refused| refused.to_string();
        match mode {
            Wanted::Mode(mode) => {
                let max_age = self.max_age.ok_or_else(|| missing("max_age"))?;
                Ok((Published::new(mode, max_age, &mx).map_err(said)?, None))
            }
            Wanted::Auto => {
                let longest = self.max_age.unwrap_or(DEFAULT_LONGEST);
                let waits = self.waits.unwrap_or(DEFAULT_WAITS);
                let plan = Plan { longest, waits };
                let rollout = Rollout {
                    plan,
                    mx,
                    reserve,
                    from_dns,
                };
                if from_dns {
                    // Until MX hosts are known to be good, the domain has no policy that asks for anything.
                    let nothing = Published::new(Mode::None, MIN_MAX_AGE, &[]).map_err(said)?;
                    return Ok((nothing, Some(rollout)));
                }
                // The longest text is that of the last step.
                let last = Step {
                    mode: Mode::Enforce,
                    max_age: longest,
                };
                rollout.at(last).map_err(said)?;
                Ok((rollout.at(Step::FIRST).map_err(said)?, Some(rollout)))
            }
        }
    }
}

fn pattern(text: &str) -> Result<String, String> {
    let checked = check_pattern(text).map_err(|error| error.reason);
    checked.map(|()| text.to_owned())
}

/// How long a step lasts, in seconds.
fn wait(text: &str) -> Result<u32, String> {
    let seconds = duration(text)?.as_secs();
    let seconds = u32::try_from(seconds).ok().filter(|seconds| *seconds <= MAX_MAX_AGE);
    seconds.ok_or_else(|| format!("{text:?} is longer than a year"))
}

/// `[domain.example.com]` is a table `com` in a table `example`.
fn unknown(table: &str) -> String {
    let domain = table.strip_prefix("domain.").filter(|name| !name.starts_with('"'));
    match domain {
        Some(name) => {
            format!("unknown key; a domain is written in quotation marks, such as [domain.\"{name}.example\"]")
        }
        None => "unknown key; there are mode, max_age, mx, reserve, waits and group".into(),
    }
}

#[cfg(test)]
mod tests;
