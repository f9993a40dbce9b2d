//! `mtasts cache fleet`: what the hosts of a fleet share (the setting `fleet`).

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use super::super::output::{self, Mark, Page, json_line};
use super::super::{Found, Trouble};
use super::{Lines, settings};
use mtasts::network::dns::{Dns, StubResolver};
use mtasts::network::https::RootSource;
use mtasts::network::roots::Roots;
use mtasts::protocol::names::Domain;
use mtasts::sender::fleet::Setup;
use mtasts::sender::fleet::inspection::{Condition, Inspection};
use mtasts::sender::resolver::{leave_root, unix_now};
use mtasts::sender::settings::Settings;
use mtasts::sys::identity::NOBODY;

/// What the hosts of a fleet share.
///
/// It is on the server of the setting fleet, and a copy of what the hosts have on their disks.
#[derive(Subcommand)]
pub(crate) enum Fleet {
    Status(Status),
    Export(Export),
    Purge(Purge),
}

impl Fleet {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        match self {
            Self::Status(arguments) => arguments.run(),
            Self::Export(arguments) => arguments.run(),
            Self::Purge(arguments) => arguments.run(),
        }
    }
}

/// Say whether the server answers, and what may be wrong with it.
///
/// Exit status: 0; or 1 if it does not answer, is asked without TLS beyond this host, or drops policies when its memory is
/// full.
#[derive(Args)]
pub(crate) struct Status {
    /// Print {"server":..,"answers":..,"error":..,"microseconds":..,"version":..,"tls":..,"memory_policy":..,
    /// "memory":..,"memory_max":..,"policies":..}.
    #[arg(long)]
    json: bool,
}

/// Write the policies of the fleet to stdout, for `mtasts cache import`.
///
/// One JSON object on each line: {"domain":..,"entry":..}. Exit status: 0, or 1 if something there is not sealed with a key
/// of this host, and is left out.
#[derive(Args)]
pub(crate) struct Export {}

/// The most ignored keys that are named. Whoever can write to the server can make any number of them.
const MOST_TOLD: usize = 20;

/// Remove what the fleet shares of domains. The hosts keep what they have on disk, and store it again when they next look it
/// up: this is for what is wrong on the server.
///
/// Exit status: 0, or 1 if nothing was stored of a domain.
#[derive(Args)]
pub(crate) struct Purge {
    /// The domains.
    #[arg(required = true)]
    domain: Vec<Domain>,
}

/// What a look at the server has found.
pub(crate) enum Look {
    /// This host belongs to no fleet.
    None,
    /// The server cannot be used.
    Gone(String),
    /// It answers.
    There(Box<Setup>, Condition),
}

/// Looks at the server. Not as root.
pub(crate) fn look(settings: &Settings) -> Look {
    match settings.fleet_setup() {
        Err(error) => Look::Gone(error.to_string()),
        Ok(None) => Look::None,
        Ok(Some(setup)) => match open(settings, &setup).and_then(|mut server| server.condition()) {
            Ok(condition) => Look::There(Box::new(setup), condition),
            Err(why) => Look::Gone(why),
        },
    }
}

fn open(settings: &Settings, setup: &Setup) -> Result<Inspection, String> {
    let dns: Arc<dyn Dns> = Arc::new(match &*settings.nameservers {
        [] => StubResolver::system(),
        servers => StubResolver::with_servers(servers),
    });
    let file = settings.ca_file.clone();
    let roots: RootSource = Arc::new(move || {
        let roots = file.as_deref().map_or_else(Roots::system, Roots::from_file);
        roots.map(Arc::new).map_err(|error| error.to_string())
    });
    Inspection::open(setup, &*dns, &roots)
}

/// The fleet of this host, by the user of the cache.
fn fleet() -> Result<(Settings, Setup), Trouble> {
    let settings = settings()?;
    let setup = settings.fleet_setup().map_err(|error| Trouble(error.to_string()))?;
    let setup = setup.ok_or_else(|| Trouble("this host belongs to no fleet: the setting fleet is empty".to_owned()))?;
    leave_root(&settings, Some(NOBODY)).map_err(|error| Trouble(error.to_string()))?;
    Ok((settings, setup))
}

impl Status {
    fn run(self) -> Result<Found, Trouble> {
        let (settings, setup) = fleet()?;
        let seen = open(&settings, &setup).and_then(|mut server| {
            let condition = server.condition()?;
            let mut policies = 0_usize;
            // A user of the server who may not list its keys can be meant so.
            let counted = server.domains(|_, domains| {
                policies += domains.len();
                Ok(())
            });
            Ok((condition, counted.ok().map(|()| policies)))
        });
        let is_safe = setup.server.is_safe() && setup.reader.is_safe();
        let evicts = seen.as_ref().is_ok_and(|(condition, _)| condition.evicts());
        let found = if seen.is_ok() && is_safe && !evicts {
            Found::Good
        } else {
            Found::Bad
        };
        if self.json {
            let (condition, policies) = seen.as_ref().map_or((None, None), |(c, p)| (Some(c), *p));
            output::print_json(&json!({
                "server": setup.server.to_string(),
                "answers": seen.is_ok(),
                "error": seen.as_ref().err(),
                "microseconds": condition.map(|c| c.took.as_micros()),
                "version": condition.and_then(|c| c.version.as_ref()),
                "tls": setup.server.is_tls(),
                "memory_policy": condition.and_then(|c| c.policy.as_ref()),
                "memory": condition.and_then(|c| c.memory).map(|(used, _)| used),
                "memory_max": condition.and_then(|c| c.memory).map(|(_, most)| most),
                "policies": policies,
            }))?;
            return Ok(found);
        }
        let mut page = Page::new();
        match &seen {
            Err(why) => page.line(Mark::Bad, &format!("{why}. Each host fetches for itself")),
            Ok((condition, policies)) => {
                let version = condition
                    .version
                    .as_deref()
                    .unwrap_or("a server that does not say what it is");
                let took = condition.took.as_micros();
                page.line(
                    Mark::Good,
                    &format!("{}: {version} answers after {took} \u{b5}s", setup.server),
                );
                match policies {
                    Some(count) => page.line(Mark::Plain, &format!("{count} policies")),
                    None => page.line(Mark::Plain, "this user of the server may not list its keys (+scan)"),
                }
                match (&condition.policy, condition.memory) {
                    (Some(policy), Some((used, most))) => {
                        let mark = if condition.evicts() { Mark::Warning } else { Mark::Good };
                        page.line(mark, &memory(policy, used, most));
                    }
                    _ => page.line(
                        Mark::Plain,
                        "this user of the server may not see how it uses its memory (+info)",
                    ),
                }
            }
        }
        if !is_safe {
            page.line(Mark::Warning, PLAIN);
        }
        page.print()?;
        Ok(found)
    }
}

/// What is said of a server without TLS.
pub(crate) const PLAIN: &str =
    "it is asked without TLS beyond this host (fleet_insecure): who is on the way there can read the password";

fn memory(policy: &str, used: u64, most: u64) -> String {
    let limit = if most == 0 {
        "no limit".to_owned()
    } else {
        format!("{most} at most")
    };
    let sentence = format!("{used} octets of memory, {limit}, maxmemory-policy {policy}");
    if policy == "noeviction" {
        sentence
    } else {
        format!("{sentence}: it drops policies when its memory is full. Set maxmemory-policy noeviction")
    }
}

impl Export {
    fn run(self) -> Result<Found, Trouble> {
        let (settings, setup) = fleet()?;
        let mut server = open(&settings, &setup).map_err(Trouble)?;
        let (mut lines, mut ignored, now) = (Lines::new(), 0_usize, unix_now());
        let exported = server.domains(|server, domains| {
            for domain in domains {
                match server.load(&domain, now)? {
                    Some(Ok(entry)) => {
                        let line = json_line(&json!({ "domain": domain.as_str(), "entry": entry.to_file() }));
                        lines.push(&line).map_err(|Trouble(why)| why)?;
                    }
                    Some(Err(why)) => {
                        if ignored < MOST_TOLD {
                            output::tell(&why);
                        }
                        ignored += 1;
                    }
                    None => {}
                }
            }
            Ok(())
        });
        exported.map_err(Trouble)?;
        lines.flush()?;
        if ignored > MOST_TOLD {
            output::tell(&format!("and {} more", ignored - MOST_TOLD));
        }
        Ok(if ignored == 0 { Found::Good } else { Found::Bad })
    }
}

impl Purge {
    fn run(self) -> Result<Found, Trouble> {
        let (settings, setup) = fleet()?;
        let mut server = open(&settings, &setup).map_err(Trouble)?;
        let mut found = Found::Good;
        for domain in &self.domain {
            if server.remove(domain).map_err(Trouble)? {
                output::print(&format!("{domain}: removed from {}\n", setup.server))?;
            } else {
                output::tell(&format!("{domain}: the fleet has no policy"));
                found = Found::Bad;
            }
        }
        Ok(found)
    }
}
