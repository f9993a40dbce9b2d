//! `mtasts host`: the policies that this host publishes for others.

mod exchange;
mod import;
mod rollout;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::output::{self, Mark, Page};
use super::serve::LogForm;
use super::{Found, Trouble};
use mtasts::Domain;
use mtasts::protocol::calendar;
use mtasts::sender::resolver::unix_now;
use mtasts_host::facts::Eyes;
use mtasts_host::leaving::held_until;
use mtasts_host::ledger::{Claim, Ledger, LedgerError, Turn};
use mtasts_host::notation::Notation;
use mtasts_host::owner::leave_root;
use mtasts_host::proof::Doubt;
use mtasts_host::records::{self, Record};
use mtasts_host::server::{self, Options};
use mtasts_host::settings::{Hosted, Settings, Tenant};
use mtasts_host::sqlite::Sqlite;
use mtasts_host::state::{put_in_force, rivals_of};

/// How long `add --wait` waits between two questions. Answers of DNS are kept for minutes anyway.
const PAUSE: Duration = Duration::from_secs(2);
/// Where the settings are if nothing else is said.
const SETTINGS: &str = "/etc/mtasts/host.toml";

#[derive(Subcommand)]
pub(super) enum Host {
    Check(Check),
    Policy(Policy),
    Add(Add),
    Records(Records),
    Zone(Zone),
    Import(import::Import),
    Move(Move),
    Mx(exchange::Mx),
    Remove(Remove),
    SetMode(rollout::SetMode),
    Status(rollout::Status),
    Run(Run),
}

/// Which settings are read.
#[derive(Args)]
struct Files {
    /// The operator's file. The tenants' files are in the directory beside it, whose name ends with ".d".
    #[arg(long, value_name = "FILE", default_value = SETTINGS)]
    settings: PathBuf,
}

/// Read the settings, and show what they publish.
///
/// Exit status: 0 all files are in force, 1 a file is not; the line, the key and the reason are said.
#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    files: Files,
    /// Print {"domains":[{"domain":..,"tenant":..,"mode":..,"max_age":..,"mx":[..],"id":..}],"rivals":[..],"refused":[..]}.
    #[arg(long)]
    json: bool,
}

/// Print the text of a domain's policy, as it has to be served.
///
/// Any web server can serve it at https://mta-sts.DOMAIN/.well-known/mta-sts.txt; "mtasts host check" has its id.
#[derive(Args)]
pub(super) struct Policy {
    /// The domain.
    domain: Domain,
    #[command(flatten)]
    files: Files,
}

/// Claim a domain for the tenant whose file names it, and print the DNS records that its owner has to publish.
///
/// The claim is a token of 80 random bits, to which the records lead. It stays the same, however often this is done.
#[derive(Args)]
pub(super) struct Add {
    #[command(flatten)]
    shown: Shown,
    /// Wait until the records lead here, and say what is missing. A server that runs goes on by itself then.
    #[arg(long)]
    wait: bool,
}

/// Print the DNS records of a domain that was claimed.
#[derive(Args)]
pub(super) struct Records {
    #[command(flatten)]
    shown: Shown,
}

/// What is printed of a domain.
#[derive(Args)]
struct Shown {
    /// The domain.
    domain: Domain,
    /// Print TXT, A and AAAA records in place of CNAMEs. Their owner has to change the id with each change of the policy.
    #[arg(long)]
    direct: bool,
    /// The zone in which the records are [default: the domain].
    #[arg(long, value_name = "NAME")]
    zone: Option<Domain>,
    /// How they are written.
    #[arg(long, value_name = "NOTATION", value_enum, default_value_t)]
    format: Format,
    /// The name of the tenant, if the files of several name the domain [default: the one who has it].
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    #[command(flatten)]
    files: Files,
}

/// Print the records of the provider's zone to which the CNAMEs of all domains lead.
///
/// They have to be published anew whenever a policy or a claim changes; in a zone file, by $INCLUDE. A record announces the text
/// that is served, or that of the settings if nothing was served for the domain yet.
#[derive(Args)]
pub(super) struct Zone {
    /// How they are written.
    #[arg(long, value_name = "NOTATION", value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    files: Files,
}

/// Give a domain to another tenant, with a new token.
///
/// The records that lead to the old token have to be replaced: they proved that the owner of the DNS meant the other tenant.
#[derive(Args)]
pub(super) struct Move {
    /// The domain.
    domain: Domain,
    /// The name of the tenant's file, without ".toml"; empty for the operator.
    tenant: String,
    #[command(flatten)]
    files: Files,
}

/// Let a domain leave that is in no file any more.
///
/// As long as senders may hold a policy of the domain that asks for TLS, mode none is served for it, under a new id: without that they
/// cannot learn that it is over. Then it is forgotten, with its token and its history. If a file names it again before, it stays.
#[derive(Args)]
pub(super) struct Remove {
    /// The domain.
    domain: Domain,
    /// Forget it at once. Mail from senders that hold its policy may be lost.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    files: Files,
}

/// Serve the policies until the process is told to stop.
///
/// To senders over TLS (setting https, and the table acme or the setting certificates), or to a web server of this host (setting
/// proxy). SIGHUP reads the settings again, SIGTERM ends the process after the answers that are under way. Started by root, it opens
/// its sockets and then becomes the owner of the ledger's directory for good.
#[derive(Args)]
pub(super) struct Run {
    #[command(flatten)]
    files: Files,
    /// How lines are written to stderr.
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    log: LogForm,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Format {
    /// A zone file.
    #[default]
    Zone,
    /// The commands of nsupdate(1). What is at the names is replaced.
    Nsupdate,
    /// The YAML of octoDNS.
    Octodns,
    /// The JavaScript of DNSControl.
    Dnscontrol,
    /// Terraform, with the provider hashicorp/dns.
    Terraform,
}

impl From<Format> for Notation {
    fn from(format: Format) -> Self {
        match format {
            Format::Zone => Self::Zone,
            Format::Nsupdate => Self::Nsupdate,
            Format::Octodns => Self::Octodns,
            Format::Dnscontrol => Self::Dnscontrol,
            Format::Terraform => Self::Terraform,
        }
    }
}

impl Host {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        match self {
            Self::Check(arguments) => arguments.run(),
            Self::Policy(arguments) => arguments.run(),
            Self::Add(arguments) => arguments.run(),
            Self::Records(arguments) => arguments.shown.run(false),
            Self::Zone(arguments) => arguments.run(),
            Self::Import(arguments) => arguments.run(),
            Self::Move(arguments) => arguments.run(),
            Self::Mx(arguments) => arguments.run(),
            Self::Remove(arguments) => arguments.run(),
            Self::SetMode(arguments) => arguments.run(),
            Self::Status(arguments) => arguments.run(),
            Self::Run(arguments) => {
                let options = Options {
                    settings: arguments.files.settings,
                    log: arguments.log.into(),
                };
                server::run(&options).map(|()| Found::Good).map_err(Trouble)
            }
        }
    }
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        Self(error.to_string())
    }
}

impl Files {
    /// The settings by themselves, without what the ledger knows of the domains. If a file of them is wrong, that is said.
    fn alone(&self) -> Option<Settings> {
        let settings = Settings::read(&self.settings).and_then(|settings| settings.with_tenants(&Default::default()));
        settings.map_err(|problem| output::tell(&problem.to_string())).ok()
    }

    /// The ledger of these settings. A process of root has become its owner.
    fn ledger(&self) -> Result<(Settings, Sqlite), Trouble> {
        let settings = Settings::read(&self.settings).map_err(|problem| Trouble(problem.to_string()))?;
        leave_root(&settings.service.ledger).map_err(Trouble)?;
        let ledger = Sqlite::open(&settings.service.ledger)?;
        Ok((settings, ledger))
    }

    /// The same with the tenants' files, and each domain at its step.
    fn all(&self) -> Result<(Settings, Sqlite), Trouble> {
        let (settings, ledger) = self.ledger()?;
        let owners = ledger
            .claims()?
            .into_iter()
            .map(|(domain, claim)| (domain, claim.tenant));
        let mut settings = settings
            .with_tenants(&owners.collect())
            .map_err(|problem| Trouble(problem.to_string()))?;
        put_in_force(&mut settings, &ledger).map_err(Trouble)?;
        tell_refused(&settings);
        Ok((settings, ledger))
    }
}

fn tell_refused(settings: &Settings) {
    for (_, problem) in &settings.refused {
        output::tell(&format!("{problem}. Nothing of this file is in force."));
    }
}

impl Check {
    fn run(self) -> Result<Found, Trouble> {
        let Some(settings) = self.files.alone() else {
            return Ok(Found::Bad);
        };
        if self.json {
            let domains = settings.domains.iter().map(|(domain, hosted)| {
                let Hosted {
                    tenant,
                    published,
                    rollout,
                    ..
                } = hosted;
                let policy = published.policy();
                let mx: Vec<&str> = policy.mx().map(|pattern| pattern.as_str()).collect();
                match rollout {
                    Some(rollout) => json!({
                        "domain": domain.as_str(), "tenant": tenant.name(), "mode": "auto",
                        "max_age": rollout.plan.longest, "mx": mx, "id": null,
                    }),
                    None => json!({
                        "domain": domain.as_str(), "tenant": tenant.name(), "mode": policy.mode().name(),
                        "max_age": policy.max_age(), "mx": mx, "id": published.id(),
                    }),
                }
            });
            let refused = settings.refused.iter().map(|(tenant, problem)| {
                json!({
                    "tenant": tenant.name(), "file": problem.file.to_string_lossy(), "line": problem.line,
                    "key": problem.key, "reason": problem.reason,
                })
            });
            let rivals = settings.rivals.iter();
            let rivals =
                rivals.map(|(domain, hosted)| json!({ "domain": domain.as_str(), "tenant": hosted.tenant.name() }));
            output::print_json(&json!({
                "domains": domains.collect::<Vec<_>>(), "rivals": rivals.collect::<Vec<_>>(),
                "refused": refused.collect::<Vec<_>>(),
            }))?;
        } else {
            let mut page = Page::new();
            for (domain, hosted) in &settings.domains {
                let (policy, tenant) = (hosted.published.policy(), &hosted.tenant);
                let what = match &hosted.rollout {
                    Some(rollout) => format!("auto, up to max_age {}", rollout.plan.longest),
                    None => {
                        let (mode, max_age, id) = (policy.mode(), policy.max_age(), hosted.published.id());
                        format!("{mode}, max_age {max_age}, id {id}")
                    }
                };
                page.row(Mark::Good, "ok", &format!("{domain}: {what} ({tenant})"));
            }
            for (domain, hosted) in &settings.rivals {
                let tenant = &hosted.tenant;
                let what = format!("{domain}: {tenant} names it too; the token in DNS decides whose it is");
                page.row(Mark::Advice, "both", &what);
            }
            for (_, problem) in &settings.refused {
                page.row(
                    Mark::Bad,
                    "bad",
                    &format!("{problem}. Nothing of this file is in force."),
                );
            }
            page.print()?;
        }
        Ok(match settings.refused.is_empty() {
            true => Found::Good,
            false => Found::Bad,
        })
    }
}

impl Policy {
    fn run(self) -> Result<Found, Trouble> {
        let Some(settings) = self.files.alone() else {
            return Ok(Found::Bad);
        };
        let Some(mut hosted) = settings.domains.get(&self.domain) else {
            return Ok(in_no_file(&self.domain));
        };
        // The ledger knows the step, and what was taken over. Without one the files say all.
        let known;
        if hosted.rollout.is_some() || settings.service.ledger.exists() {
            known = self.files.all()?.0;
            hosted = known.domains.get(&self.domain).unwrap_or(hosted);
        } else {
            tell_refused(&settings);
        }
        output::print(hosted.published.text())?;
        Ok(Found::Good)
    }
}

fn in_no_file(domain: &Domain) -> Found {
    output::tell(&format!("{domain} is in no file that is in force"));
    Found::Bad
}

impl Add {
    fn run(self) -> Result<Found, Trouble> {
        let found = self.shown.run(true)?;
        if !self.wait || found != Found::Good {
            return Ok(found);
        }
        let (domain, mut said) = (&self.shown.domain, String::new());
        loop {
            let (settings, mut ledger) = self.shown.files.all()?;
            let claims = ledger.claims()?;
            let hosted = self.shown.hosted(&settings);
            let claim = hosted.and_then(|hosted| claims.get(domain)?.of(&hosted.tenant));
            let (Some(hosted), Some(claim)) = (hosted, claim) else {
                return Ok(in_no_file(domain));
            };
            let service = &settings.service;
            let served = ledger
                .served()?
                .remove(domain)
                .unwrap_or_else(|| hosted.published.clone());
            let eyes = Eyes::new(service).map_err(Trouble)?;
            let proof = eyes.proof(domain, claim, service.zone.as_ref());
            let is_rival = claims.get(domain).is_some_and(|first| first.tenant != claim.tenant);
            if proof.is_ok() && !claim.is_proven() && !is_rival {
                // A server that runs serves the policy then. It looks itself at what a rival's DNS says, for longer.
                ledger.turn(domain, &Turn::Proven(claim.token.clone()), unix_now())?;
            }
            let leads = eyes.leads_to(domain, &service.addresses);
            let found = leads.and_then(|()| proof.map_err(Doubt::why));
            match found.and_then(|()| eyes.announces(domain, &served)) {
                Ok(()) => return Ok(Found::Good),
                Err(why) if why != said => {
                    output::tell(&why);
                    said = why;
                }
                Err(_) => {}
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl Shown {
    /// What the file of the tenant says.
    fn hosted<'s>(&self, settings: &'s Settings) -> Option<&'s Hosted> {
        let is_meant = |hosted: &&Hosted| self.tenant.as_ref().is_none_or(|name| hosted.tenant.name() == name);
        settings.named(&self.domain).find(is_meant)
    }

    fn run(&self, claims: bool) -> Result<Found, Trouble> {
        let (settings, mut ledger) = self.files.all()?;
        let domain = &self.domain;
        let Some(hosted) = self.hosted(&settings) else {
            return Ok(in_no_file(domain));
        };
        if claims {
            ledger.claim(&[(domain, &hosted.tenant)], unix_now())?;
        }
        let first = ledger.claims()?.remove(domain);
        let Some(claim) = first.as_ref().and_then(|claim| claim.of(&hosted.tenant)) else {
            output::tell(&format!("{domain} is not claimed yet: use mtasts host add {domain}"));
            return Ok(Found::Bad);
        };
        if let Some(first) = first.as_ref().filter(|first| first.tenant != claim.tenant) {
            output::tell(&format!(
                "{domain} is for {}. It is for {} when DNS names this token and not that one's",
                first.tenant, claim.tenant
            ));
        }
        let zone = self.zone.as_ref().unwrap_or(domain);
        let is_in_zone = domain == zone || domain.as_str().ends_with(&format!(".{zone}"));
        if !is_in_zone {
            return Err(Trouble(format!("{domain} is not in the zone {zone}")));
        }
        let Some(records) = self.records(&settings, &ledger, hosted, claim)? else {
            return Ok(Found::Bad);
        };
        output::print(&Notation::from(self.format).write(zone, &records))?;
        Ok(Found::Good)
    }

    /// The records, or nothing if a setting is missing for them; that was said then.
    fn records(
        &self,
        settings: &Settings,
        ledger: &Sqlite,
        hosted: &Hosted,
        claim: &Claim,
    ) -> Result<Option<Vec<Record>>, Trouble> {
        let service = &settings.service;
        if !self.direct {
            let Some(zone) = &service.zone else {
                output::tell("CNAMEs need the setting zone, in which they lead to tokens; without one, use --direct");
                return Ok(None);
            };
            return Ok(Some(records::delegation(
                &self.domain,
                &claim.token,
                zone,
                &service.reports,
            )));
        }
        if service.addresses.is_empty() {
            output::tell("A and AAAA records need the setting addresses");
            return Ok(None);
        }
        // The record of the other provider has that id already.
        let served = ledger.served()?.remove(&self.domain).filter(|_| !hosted.is_imported);
        let published = served.unwrap_or_else(|| hosted.published.clone());
        let mut records = records::direct(&self.domain, &published, &service.addresses, &service.reports);
        if !claim.is_operators() {
            records.insert(0, records::proof(&self.domain, &claim.token));
        }
        Ok(Some(records))
    }
}

impl Zone {
    fn run(self) -> Result<Found, Trouble> {
        let (settings, ledger) = self.files.all()?;
        let service = &settings.service;
        let (Some(zone), false) = (&service.zone, service.addresses.is_empty()) else {
            output::tell("the provider's zone needs the settings zone and addresses");
            return Ok(Found::Bad);
        };
        let (served, claims) = (ledger.served()?, ledger.claims()?);
        let known = claims.iter().filter_map(|(domain, claim)| {
            let named = settings.domains.get(domain).map(|hosted| &hosted.published);
            match served.get(domain) {
                Some(published) => Some((claim, Some(published))),
                None => named.map(|published| (claim, Some(published).filter(|_| claim.is_proven()))),
            }
        });
        let rivals = rivals_of(&settings, &claims);
        let waiting = rivals.values().flatten().map(|claim| (claim, None));
        let records: Vec<Record> = known
            .chain(waiting)
            .flat_map(|(claim, published)| {
                let published = published.map(AsRef::as_ref);
                records::targets(&claim.token, zone, published, &service.addresses, &service.reports)
            })
            .collect();
        output::print(&Notation::from(self.format).write(zone, &records))?;
        Ok(Found::Good)
    }
}

impl Move {
    fn run(self) -> Result<Found, Trouble> {
        let Some(tenant) = Tenant::new(&self.tenant) else {
            return Err(Trouble(format!("{:?} is not the name of a tenant", self.tenant)));
        };
        let (_, mut ledger) = self.files.ledger()?;
        ledger.reclaim(&self.domain, &tenant, unix_now())?;
        Ok(Found::Good)
    }
}

impl Remove {
    fn run(self) -> Result<Found, Trouble> {
        let (settings, mut ledger) = self.files.all()?;
        let domain = &self.domain;
        if let Some(hosted) = settings.domains.get(domain) {
            let tenant = &hosted.tenant;
            output::tell(&format!("{domain} is in a file ({tenant}); take it out there first"));
            return Ok(Found::Bad);
        }
        let held = held_until(&ledger.history(domain)?, unix_now()).filter(|_| !self.force);
        let is_known = match held {
            Some(_) => ledger.turn(domain, &Turn::Leaving, unix_now())?,
            None => ledger.turn(domain, &Turn::Released, unix_now())?,
        };
        let end = held.map(calendar::date_time);
        match (is_known, end) {
            (true, Some(end)) => output::print_line(&format!(
                "{domain}: mode none is served from now on, because senders may hold its policy until {end}; then it is forgotten. \
                 Publish its records once more"
            ))?,
            (true, None) => output::print_line(&format!("{domain}: forgotten; delete its records"))?,
            (false, _) => {
                output::tell(&format!("{domain} is not known here"));
                return Ok(Found::Bad);
            }
        }
        Ok(Found::Good)
    }
}
