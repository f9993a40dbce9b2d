//! The life of the server: sockets, signals, the service manager.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mtasts::Domain;
use mtasts::protocol::text::one_line;
use mtasts::sender::resolver::unix_now;
use mtasts_serve::{Address, Listener, Log, Socket, inherited};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::acme::challenges::Challenges;
use crate::acme::manager::Manager;
use crate::acme::{Acme, Challenge};
use crate::certificates::Certificates;
use crate::connection;
use crate::crowd::Crowd;
use crate::ledger::{Ledger as _, LedgerError, Turn};
use crate::metrics::Numbers;
use crate::mover::Mover;
use crate::name_server::{self, Zone};
use crate::owner::leave_root;
use crate::proof;
use crate::publish::Publisher;
use crate::seal::Seal;
use crate::service::Service;
use crate::settings::Settings;
use crate::site::Site;
use crate::sqlite::Sqlite;
use crate::state::State;
use crate::stepper::{Looked, Outcome, Stepper};
use crate::update::Updater;
use crate::watch::{Seen, Watch};

/// How many clients are served at a time.
const MOST: usize = 2048;
/// How long answers may go on after the server was told to stop.
pub(crate) const LAST: Duration = Duration::from_secs(5);
/// How often the ledger is looked at, and whether a domain's next step is due.
const TICK: Duration = Duration::from_millis(500);
/// How often the same is said.
const MINUTE: Duration = Duration::from_secs(60);

/// How the server is started.
pub struct Options {
    /// The operator's file.
    pub settings: PathBuf,
    /// Where lines go.
    pub log: Log,
}

/// What is served at a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    /// Policies to senders, over TLS.
    Https,
    /// Policies to a proxy of this host.
    Proxy,
    /// The challenges of an ACME client.
    Http,
    /// Numbers for a monitoring system.
    Metrics,
}

/// What goes on beside the connections.
struct Tasks {
    stepper: Stepper,
    watch: Watch,
    mover: Mover,
}

/// Why the files are read again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The operator wants it.
    Operator,
    /// What happened has changed.
    Ledger,
}

/// Runs until the process is told to stop.
///
/// A process of root opens its sockets, and then becomes the owner of the ledger's directory for good.
///
/// # Errors
/// A sentence: the settings are wrong, a socket cannot be opened, the ledger cannot be used.
pub fn run(options: &Options) -> Result<(), String> {
    let service = Settings::read(&options.settings)
        .map_err(|problem| problem.to_string())?
        .service;
    let sockets = sockets(&service)?;
    let is_whole = service.zone.is_some() && !service.addresses.is_empty() && !service.name_servers.is_empty();
    if !service.dns.is_empty() && !is_whole {
        return Err("the name server needs the settings zone, addresses and name_servers".into());
    }
    if service.publish.is_some() && (service.zone.is_none() || service.addresses.is_empty()) {
        return Err("the table publish needs the settings zone and addresses".into());
    }
    if service.update.is_some() && (service.zone.is_none() || service.addresses.is_empty()) {
        return Err("updates need the settings zone and addresses".into());
    }
    let dns = name_server::open(&service.dns)?;
    // Only root may be able to read them.
    let seal = Seal::read(&service.seal_keys).map_err(|why| format!("seal_keys: {why}"))?;
    let seal = Rc::new(seal);
    leave_root(&service.ledger)?;
    let zone = Zone::new(&service)?;
    let has = |door| sockets.iter().any(|(at, _)| *at == door);
    let by_http = |acme: &Acme| acme.challenge == Challenge::Http;
    if has(Door::Https) && service.certificates.is_none() && service.acme.is_none() {
        return Err("https is served, and there are neither a table acme nor the setting certificates".into());
    }
    if has(Door::Http) && service.webroot.is_none() && !service.acme.as_ref().is_some_and(by_http) {
        return Err("http is served, and the setting webroot is missing".into());
    }
    if let Some(acme) = &service.acme {
        let (door, name) = match by_http(acme) {
            true => (Door::Http, "http"),
            false => (Door::Https, "https"),
        };
        if !has(door) {
            return Err(format!("the challenge of the table acme needs the setting {name}"));
        }
    }
    let mut ledger = Sqlite::open(&service.ledger).map_err(|error| error.to_string())?;
    let renewed = ledger.rekey(&mut |place, stored| seal.renew(place, stored));
    match renewed.map_err(|error| error.to_string())? {
        0 => {}
        count => options
            .log
            .info(&format!("{count} private keys are sealed with the first of seal_keys.")),
    }
    let ledger = Rc::new(RefCell::new(ledger));
    let state = State::load(&options.settings, &mut *ledger.borrow_mut(), unix_now())?;
    let own = service.acme.as_ref().map(|_| &ledger);
    let certificates = Certificates::new(service.certificates.as_deref(), own, &seal);
    let certificates = Rc::new(certificates.map_err(|why| format!("certificates: {why}"))?);
    let challenges = Rc::default();
    let acme = service.acme.as_ref();
    let manager =
        acme.map(|acme| Manager::new(acme, &service, &ledger, &seal, &certificates, &challenges, options.log));
    let manager = manager.transpose()?.map(Rc::new);
    let updater = service.update.as_ref().zip(service.zone.as_ref());
    let updater = updater.map(|(settings, zone)| Updater::new(settings, zone, &ledger, options.log));
    let updater = updater.transpose()?.map(Rc::new);
    let publisher = service.publish.as_ref().zip(service.zone.as_ref());
    let publisher = publisher.map(|(settings, zone)| Rc::new(Publisher::new(settings, zone, options.log)));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let served = LocalSet::new().block_on(&runtime, async {
        let listeners = sockets
            .into_iter()
            .map(|(door, socket)| Ok((door, Listener::new(socket)?)))
            .collect::<io::Result<Vec<_>>>()?;
        let server = Rc::new(Server {
            site: RefCell::default(),
            certificates,
            challenges,
            manager,
            webroot: service.webroot.clone(),
            crowd: Crowd::new(MOST),
            stop: watch::Sender::new(false),
            zone,
            numbers: RefCell::default(),
            ledger: Rc::clone(&ledger),
            updater,
            publisher,
            log: options.log,
            said: RefCell::default(),
            leaving: RefCell::default(),
            service,
        });
        name_server::serve(dns, &server.zone)?;
        server.live(listeners, state, ledger, options).await
    });
    // A look at the network may still be under way.
    runtime.shutdown_background();
    served.map_err(|error| format!("cannot serve: {error}"))
}

/// The sockets of the settings, and those of the service manager: port 443 is for senders, port 80 for challenges, any other
/// socket for a proxy.
fn sockets(service: &Service) -> Result<Vec<(Door, Socket)>, String> {
    let tcp = |door, addresses: &[SocketAddr]| -> Result<Vec<_>, String> {
        let open = |address: &SocketAddr| {
            std::net::TcpListener::bind(address).map_err(|error| format!("cannot listen at {address}: {error}"))
        };
        addresses
            .iter()
            .map(|address| Ok((door, Socket::Tcp(open(address)?))))
            .collect()
    };
    let mut sockets = tcp(Door::Https, &service.https)?;
    sockets.extend(tcp(Door::Http, &service.http)?);
    let metrics = tcp(Door::Metrics, &service.metrics)?;
    for address in &service.proxy {
        let socket = Address::open(address).map_err(|error| format!("cannot listen at {address}: {error}"))?;
        sockets.push((Door::Proxy, socket));
    }
    for socket in inherited().map_err(|error| format!("the sockets of the service manager: {error}"))? {
        let port = match &socket {
            Socket::Tcp(socket) => socket.local_addr().map_or(0, |address| address.port()),
            Socket::Unix(_) => 0,
        };
        let door = match port {
            443 => Door::Https,
            80 => Door::Http,
            _ => Door::Proxy,
        };
        sockets.push((door, socket));
    }
    let is_served = !sockets.is_empty();
    sockets.extend(metrics);
    match !is_served {
        true => Err("there is nowhere to listen: set https with certificates, or proxy".into()),
        false => Ok(sockets),
    }
}

/// What connections share.
pub(crate) struct Server {
    site: RefCell<Rc<Site>>,
    pub(crate) certificates: Rc<Certificates>,
    pub(crate) challenges: Rc<Challenges>,
    manager: Option<Rc<Manager>>,
    pub(crate) webroot: Option<PathBuf>,
    pub(crate) crowd: Crowd,
    /// Whether answers are the last ones of their connections.
    pub(crate) stop: watch::Sender<bool>,
    /// What the name server says.
    zone: Zone,
    /// What a monitoring system is told of the present state.
    numbers: RefCell<Numbers>,
    ledger: Rc<RefCell<Sqlite>>,
    updater: Option<Rc<Updater>>,
    publisher: Option<Rc<Publisher>>,
    log: Log,
    /// What was said of a host, or of no host, in the last minute. It has no more entries than there are hosts.
    said: RefCell<HashMap<String, Instant>>,
    /// The domains that are on their way out, and until when senders hold a policy of them, in Unix seconds.
    leaving: RefCell<BTreeMap<Domain, u64>>,
    service: Service,
}

impl Server {
    /// What is served now.
    pub(crate) fn site(&self) -> Rc<Site> {
        self.site.borrow().clone()
    }

    /// What a monitoring system is told now.
    pub(crate) fn numbers(&self) -> Numbers {
        let mut numbers = self.numbers.borrow().clone();
        numbers.refused = self.ledger.borrow().judged().map_or(0, |judged| judged.len());
        numbers.connections = self.crowd.open();
        if let Some(manager) = &self.manager {
            manager.count(&mut numbers);
        }
        numbers
    }

    /// Says something about a host, at most once a minute.
    pub(crate) fn warn(&self, about: &str, sentence: &str) {
        let mut said = self.said.borrow_mut();
        if said.get(about).is_none_or(|last| last.elapsed() >= MINUTE) {
            said.insert(about.to_owned(), Instant::now());
            self.log.warning(&one_line(sentence, 1000));
        }
    }

    async fn live(
        self: Rc<Self>,
        listeners: Vec<(Door, Listener)>,
        state: State,
        ledger: Rc<RefCell<Sqlite>>,
        options: &Options,
    ) -> io::Result<()> {
        let (mut end, mut reload) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut tasks = Tasks {
            stepper: Stepper::new(&self.service),
            watch: Watch::new(&self.service),
            mover: Mover::default(),
        };
        self.take(&state, &mut ledger.borrow_mut());
        tasks.stepper.take(&state, true);
        tasks.watch.take(&state, true);
        tasks.mover.take(&state);
        let doors = listeners.into_iter();
        let accepting: Vec<_> = doors
            .map(|(door, listener)| spawn_local(self.clone().accept(door, listener)))
            .collect();
        let watching = spawn_local(watchdog());
        self.log
            .info(&format!("ready. {} policies are served.", state.policies.len()));
        if let Some(manager) = &self.manager {
            manager.take(&state, true);
        }
        drop(state);
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut version = ledger.borrow().version().ok();
        // Whether a claim has turned since the last tick: many may in one.
        let mut has_turned = false;
        loop {
            tokio::select! {
                _ = end.recv() => break,
                _ = interrupt.recv() => break,
                _ = reload.recv() => self.reload(&mut ledger.borrow_mut(), &mut tasks, options, Cause::Operator),
                _ = ticks.tick() => {
                    // Another command has changed what happened: a step by hand, a claim that moved.
                    let now = ledger.borrow().version().ok();
                    if now != version {
                        version = now;
                        self.reload(&mut ledger.borrow_mut(), &mut tasks, options, Cause::Ledger);
                    }
                    tasks.stepper.look(unix_now());
                    tasks.watch.look(unix_now());
                    if self.forget(&mut ledger.borrow_mut()) || std::mem::take(&mut has_turned) {
                        self.reload(&mut ledger.borrow_mut(), &mut tasks, options, Cause::Ledger);
                    }
                    if let Some(manager) = &self.manager {
                        manager.look(unix_now());
                    }
                    if let Some(updater) = &self.updater {
                        updater.look(unix_now());
                    }
                    if let Some(publisher) = &self.publisher {
                        publisher.look(unix_now());
                    }
                }
                seen = tasks.watch.seen() => {
                    has_turned |= self.turn(&seen, &mut ledger.borrow_mut());
                    if let Some(hosts) = &seen.hosts {
                        let moved = tasks.mover.go_on(&seen.domain, hosts, &mut *ledger.borrow_mut(), unix_now());
                        match moved {
                            Ok(None) => {}
                            Ok(Some(news)) => {
                                news.iter().for_each(|sentence| self.log.info(sentence));
                                self.reload(&mut ledger.borrow_mut(), &mut tasks, options, Cause::Ledger);
                            }
                            Err(error) => self.warn("", &format!("the MX hosts of {} stay: {error}", seen.domain)),
                        }
                    }
                    match tasks.watch.news(seen) {
                        Some((true, bad)) => self.log.warning(&one_line(&bad, 1000)),
                        Some((false, good)) => self.log.info(&good),
                        None => {}
                    }
                    self.numbers.borrow_mut().elsewhere = tasks.watch.elsewhere();
                }
                looked = tasks.stepper.looked() => self.step(looked, &mut ledger.borrow_mut(), &mut tasks, options),
            }
        }
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        accepting.iter().for_each(tokio::task::JoinHandle::abort);
        self.stop.send_replace(true);
        let last = Instant::now() + LAST;
        while self.crowd.open() > 0 && Instant::now() < last {
            sleep(Duration::from_millis(10)).await;
        }
        watching.abort();
        self.log.info("stopped.");
        Ok(())
    }

    /// Forgets the domains of which no sender holds a policy any more that asks for TLS. Says whether there were any.
    fn forget(&self, ledger: &mut Sqlite) -> bool {
        let now = unix_now();
        let gone: Vec<Domain> = self
            .leaving
            .borrow()
            .iter()
            .filter(|(_, end)| **end <= now)
            .map(|(domain, _)| domain.clone())
            .collect();
        for domain in &gone {
            match ledger.turn(domain, &Turn::Released, now) {
                Ok(_) => self
                    .log
                    .info(&format!("{domain} has left: no sender holds its policy any more.")),
                Err(error) => self.warn(domain.as_str(), &format!("{domain} cannot be forgotten: {error}")),
            }
            self.leaving.borrow_mut().remove(domain);
        }
        !gone.is_empty()
    }

    /// Notes whether DNS says whose a domain is. Says whether something else is to be served then.
    fn turn(&self, seen: &Seen, ledger: &mut Sqlite) -> bool {
        let (domain, (claim, proof), now) = (&seen.domain, &seen.proof, unix_now());
        let mut note = || -> Result<_, LedgerError> {
            let won = seen.winner.as_ref().map(|rival| Turn::Proven(rival.token.clone()));
            let turn = match won {
                Some(won) => Some(won),
                None => proof::turn(claim, proof, &ledger.history(domain)?, now),
            };
            match (turn, &seen.found) {
                (Some(turn), _) => Ok(ledger.turn(domain, &turn, now)?.then_some(turn)),
                (None, Some(why)) if !claim.is_proven() => {
                    ledger.judge(domain, std::slice::from_ref(why), now).map(|()| None)
                }
                _ => Ok(None),
            }
        };
        let turn = match note() {
            Ok(Some(turn)) => turn,
            Ok(None) => return false,
            Err(error) => {
                let sentence = format!("what DNS says of {domain} cannot be noted: {error}");
                self.warn(domain.as_str(), &sentence);
                return false;
            }
        };
        match turn {
            Turn::Proven(_) => match &seen.winner {
                Some(rival) => self.log.warning(&format!(
                    "DNS says that {domain} is for {}, and not for {} any more.",
                    rival.tenant, claim.tenant
                )),
                None => self
                    .log
                    .info(&format!("DNS says that {domain} is for {}.", claim.tenant)),
            },
            Turn::Lost(_) => self.log.warning(&format!(
                "the token of {domain} is not in DNS any more. Its policy is served until no sender holds it."
            )),
            Turn::Void(_) => {
                let sentence = format!(
                    "{domain} is not served any more: its token is not in DNS, and no sender holds its policy."
                );
                self.log.warning(&sentence);
            }
            Turn::Leaving | Turn::Released => {}
        }
        true
    }

    /// Says what came of a look at a domain, and serves the next step.
    fn step(&self, looked: Looked, ledger: &mut Sqlite, tasks: &mut Tasks, options: &Options) {
        let (domain, outcome) = tasks.stepper.decide(looked, ledger, unix_now());
        match outcome {
            Outcome::Stays => {}
            Outcome::Stepped(what) => {
                self.log.info(&what);
                self.reload(ledger, tasks, options, Cause::Ledger);
            }
            Outcome::Refused(reasons) => reasons.iter().for_each(|reason| {
                let sentence = format!("{domain} gets no next step: {reason}");
                self.log.warning(&one_line(&sentence, 1000));
            }),
            Outcome::Failed(why) => self.warn(domain.as_str(), &format!("{domain} gets no next step: {why}")),
        }
    }

    /// Reads the files again. If the operator's is wrong, all stays as it is.
    fn reload(&self, ledger: &mut Sqlite, tasks: &mut Tasks, options: &Options, cause: Cause) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
        }
        match State::load(&options.settings, ledger, unix_now()) {
            Ok(state) => {
                self.take(&state, ledger);
                tasks.stepper.take(&state, cause == Cause::Operator);
                tasks.watch.take(&state, cause == Cause::Operator);
                tasks.mover.take(&state);
                if let Some(manager) = &self.manager {
                    manager.take(&state, cause == Cause::Operator);
                }
                let what = match cause {
                    Cause::Operator => "settings reloaded",
                    Cause::Ledger => "the ledger has changed",
                };
                self.log
                    .info(&format!("{what}. {} policies are served.", state.policies.len()));
                if state.settings.service != self.service {
                    self.log.warning(
                        "another setting than groups and domains has changed; it takes effect when the server is started again",
                    );
                }
            }
            Err(why) => self
                .log
                .warning(&format!("{why}. Nothing is changed; fix the file and reload.")),
        }
        let _ = sd_notify::notify(&[NotifyState::Ready]);
    }

    /// Serves what the files and the ledger say, then notes that it is served.
    fn take(&self, state: &State, ledger: &mut Sqlite) {
        for (tenant, problem) in &state.settings.refused {
            let sentence =
                format!("{problem}. Nothing of this file is in force; what was served for {tenant} still is.");
            self.log.warning(&sentence);
        }
        let refused = |domain| {
            let tenant = state.claims.get(domain).map(|claim| &claim.tenant);
            state.settings.refused.iter().any(|(other, _)| Some(other) == tenant)
        };
        self.leaving.replace(state.leaving.clone());
        let mut numbers = Numbers {
            kept: state.kept.len(),
            leaving: state.leaving.len(),
            pending: state.pending.len(),
            elsewhere: self.numbers.borrow().elsewhere,
            ..Numbers::default()
        };
        let modes = state.policies.values().map(|published| published.policy().mode());
        modes.for_each(|mode| numbers.count(mode));
        self.numbers.replace(numbers);
        for domain in state.kept.iter().filter(|domain| !refused(*domain)) {
            self.log.warning(&format!(
                "{domain} is in no file any more. Its last policy is still served, because senders hold it; name it again, or use mtasts host remove."
            ));
        }
        self.site.replace(Rc::new(Site::new(state.policies.iter())));
        self.zone.take(state, &self.service, unix_now());
        if let Some(publisher) = &self.publisher {
            publisher.take(state, &self.service);
        }
        let updater = self.updater.as_ref();
        if let Some(Err(error)) = updater.map(|updater| updater.take(state, &self.service, ledger)) {
            let sentence = format!("records of domains that have left stay in the zone: {error}");
            self.warn("", &sentence);
        }
        if let Err(why) = state.is_served(ledger, unix_now()) {
            self.log.warning(&format!(
                "{why}. The new policies are served, but the records do not announce them yet."
            ));
        }
    }

    async fn accept(self: Rc<Self>, door: Door, listener: Listener) {
        loop {
            match listener.accept().await {
                Ok(stream) => {
                    let (seat, server) = (self.crowd.seat(), self.clone());
                    let task = spawn_local(async move {
                        connection::serve(server, door, stream).await;
                        drop(seat);
                    });
                    self.crowd.add(task.abort_handle());
                }
                // No descriptor, as a rule.
                Err(error) => {
                    self.warn("", &format!("cannot accept a connection: {error}; raise LimitNOFILE"));
                    self.crowd.sends_away_the_oldest();
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// Tells the service manager that this thread is alive.
async fn watchdog() {
    let Some(time) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = interval(time / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
    }
}
