//! `mtasts serve`: the resident server of socketmap lookups.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};

use super::report::visit_all;
use super::{Found, Trouble};
use mtasts::Settings;
use mtasts_serve::{Address, Form, Log, Options};

/// Answer Postfix, Sendmail and an Exim without dlfunc until the process is told to stop.
///
/// Each lookup says by the name of its map what the mail server understands: "postfix" (Postfix 3.4 and newer),
/// "postfix-3.10" (Postfix 3.10 and newer), "sts" (FEATURE(sts) of Sendmail 8.17 and newer). The cache and the settings are
/// those of /etc/mtasts/mtasts.toml; SIGHUP reads them again, SIGTERM ends the process after the replies that are under
/// way. Started by root, it opens its sockets and then becomes the user of the settings for good.
///
/// With socket activation it listens at the sockets of the service manager, and at those of --listen only if there are
/// any.
#[derive(Args)]
pub(super) struct Serve {
    /// An absolute path (a unix socket), or an address and a port on loopback. More than one may be given [default:
    /// 127.0.0.1:8461 if there is no socket of a service manager].
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<Address>,
    /// An address and a port on loopback for /metrics (Prometheus) and /healthz.
    #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
    metrics: Option<SocketAddr>,
    /// How lines are written to stderr.
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    log: LogForm,
    /// Visit the MX hosts of domains in testing now and once an hour, as "mtasts report visit" does. For a Postfix before 3.10,
    /// Sendmail, or an Exim that asks this server.
    #[arg(long)]
    visit: bool,
}

#[derive(Clone, Copy, Default, ValueEnum)]
pub(super) enum LogForm {
    /// The sentence alone.
    #[default]
    Plain,
    /// A JSON object for each line.
    Json,
}

impl From<LogForm> for Log {
    fn from(form: LogForm) -> Self {
        Self(match form {
            LogForm::Plain => Form::Plain,
            LogForm::Json => Form::Json,
        })
    }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    match text.parse()? {
        Address::Tcp(address) => Ok(address),
        Address::Unix(_) => Err("must be an address and a port, such as 127.0.0.1:9461".into()),
    }
}

impl Serve {
    pub(super) fn run(self) -> Result<Found, Trouble> {
        let options = Options {
            listen: self.listen,
            metrics: self.metrics,
            log: self.log.into(),
            hourly: self.visit.then_some(visit),
        };
        let settings = || Settings::of_process().map_err(|error| error.to_string());
        mtasts_serve::run(options, settings).map_err(|error| Trouble(error.to_string()))?;
        Ok(Found::Good)
    }
}

/// What is done once an hour.
fn visit(settings: Settings, log: Log) {
    match visit_all(settings, &|line| log.warning(line)) {
        Ok(done) => log.info(&format!("{done}.")),
        Err(why) => log.warning(&format!("no MX host was visited: {why}")),
    }
}
