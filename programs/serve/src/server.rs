//! The life of the server: sockets, clients and their limits, signals, the service manager.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mtasts::Settings;
use mtasts::sender::resolver::leave_root;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::connection::{self, Activity, Doing, End};
use crate::listener::{Address, Listener, inherited};
use crate::log::Log;
use crate::lookups::Lookups;
use crate::metrics::Metrics;

/// How many clients are served at a time. If one more comes, the one that has asked nothing for the longest time goes.
const MOST: usize = 1024;
/// How long a client may ask nothing, and how long it may take to send a query or to read a reply.
const IDLE: Duration = Duration::from_secs(300);
const SLOW: Duration = Duration::from_secs(10);
/// A client that has asked nothing for less time does not go for another one.
const SHORT: Duration = Duration::from_secs(1);
/// How long queries may go on after the server was told to stop.
const LAST: Duration = Duration::from_secs(5);
/// How many threads wait for name servers at a time.
const THREADS: usize = 128;
/// How often clients are looked at.
const TICK: Duration = Duration::from_millis(250);
/// How long there is between two rounds of what is done once an hour.
const HOUR: Duration = Duration::from_secs(3600);

/// How the server is started.
pub struct Options {
    /// Where it listens, besides the sockets of the service manager.
    pub listen: Vec<Address>,
    /// Where /metrics and /healthz are.
    pub metrics: Option<SocketAddr>,
    /// Where lines go.
    pub log: Log,
    /// What is done at the start and then once an hour, on a thread of its own. It gets the settings of that moment.
    pub hourly: Option<fn(Settings, Log)>,
}

/// Why the server does not start: a sentence.
#[derive(Debug)]
pub struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl Failed {
    fn at(what: impl fmt::Display) -> impl Fn(io::Error) -> Self {
        move |error| Self(format!("{what}: {error}"))
    }
}

/// Runs until the process is told to stop.
///
/// `settings` are read now and at each reload. A process of root opens its sockets and then becomes the user of the
/// settings for good.
///
/// # Errors
/// A sentence: the settings are wrong, a socket cannot be opened, root has no user to become.
pub fn run(options: Options, settings: fn() -> Result<Settings, String>) -> Result<(), Failed> {
    let first = settings().map_err(Failed)?;
    let mut sockets = inherited().map_err(Failed::at("the sockets of the service manager"))?;
    let usual = [Address::usual()];
    let listen = match &*options.listen {
        [] if sockets.is_empty() => &usual,
        named => named,
    };
    for address in listen {
        sockets.push(
            address
                .open()
                .map_err(Failed::at(format!("cannot listen at {address}")))?,
        );
    }
    let metrics = match options.metrics {
        Some(address) => {
            Some(std::net::TcpListener::bind(address).map_err(Failed::at(format!("cannot listen at {address}")))?)
        }
        None => None,
    };
    leave_root(&first, None).map_err(|error| Failed(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS)
        .thread_keep_alive(Duration::from_secs(3))
        .build()
        .map_err(Failed::at("cannot start"))?;
    let served = LocalSet::new().block_on(&runtime, async {
        let server = Server::new(first, options.log)?;
        let listeners = sockets.into_iter().map(Listener::new).collect::<io::Result<Vec<_>>>()?;
        let metrics = metrics.map(|socket| {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        });
        if let Some(hourly) = options.hourly {
            spawn_local(each_hour(hourly, settings, options.log));
        }
        Rc::new(server).live(listeners, metrics.transpose()?, settings).await
    });
    // A thread that waits for a name server is not waited for.
    runtime.shutdown_background();
    served.map_err(Failed::at("cannot serve"))
}

/// What connections share.
pub(crate) struct Server {
    lookups: RefCell<Rc<Lookups>>,
    clients: RefCell<HashMap<u64, Client>>,
    metrics: Metrics,
    log: Log,
    stopping: Cell<bool>,
    now: Cell<Instant>,
    malformed: Cell<Option<Instant>>,
}

struct Client {
    activity: Rc<Activity>,
    task: AbortHandle,
}

impl Server {
    fn new(settings: Settings, log: Log) -> io::Result<Self> {
        let metrics = Metrics::new();
        Ok(Self {
            lookups: RefCell::new(started(settings, &metrics, log)?),
            clients: RefCell::default(),
            metrics,
            log,
            stopping: Cell::new(false),
            now: Cell::new(Instant::now()),
            malformed: Cell::new(None),
        })
    }

    /// What answers queries now.
    pub(crate) fn lookups(&self) -> Rc<Lookups> {
        self.lookups.borrow().clone()
    }

    /// Whether connections end after their replies.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// The time of the last tick.
    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    async fn live(
        self: Rc<Self>,
        listeners: Vec<Listener>,
        metrics: Option<TcpListener>,
        settings: fn() -> Result<Settings, String>,
    ) -> io::Result<()> {
        let (mut stop, mut reload) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
        let mut interrupt = signal(SignalKind::interrupt())?;
        let accepting: Vec<AbortHandle> = listeners
            .into_iter()
            .map(|listener| spawn_local(self.clone().accept(listener)).abort_handle())
            .collect();
        let counters = metrics.map(|listener| spawn_local(self.clone().show_metrics(listener)));
        let ticking = spawn_local(self.clone().tick());
        self.log.info(match self.lookups().uses_dane() {
            true => "ready. DANE is on: TLSA records decide before MTA-STS.",
            false => "ready. DANE is off: for a domain with TLSA records only its MTA-STS policy is enforced.",
        });
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        loop {
            tokio::select! {
                _ = stop.recv() => break,
                _ = interrupt.recv() => break,
                _ = reload.recv() => self.reload(settings()),
            }
        }
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        accepting.iter().for_each(AbortHandle::abort);
        self.stopping.set(true);
        let end = Instant::now() + LAST;
        // Who asks nothing is not waited for.
        while self.clients_left() > 0 && Instant::now() < end {
            sleep(Duration::from_millis(10)).await;
        }
        ticking.abort();
        if let Some(counters) = counters {
            counters.abort();
        }
        self.log.info("stopped.");
        Ok(())
    }

    fn clients_left(&self) -> usize {
        let clients = self.clients.borrow();
        clients
            .values()
            .filter(|client| client.activity.get().0 != Doing::Idle)
            .count()
    }

    /// Takes new settings, unless they are wrong. Queries under way end with the old ones.
    fn reload(&self, settings: Result<Settings, String>) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
        }
        let new = settings.and_then(|settings| started(settings, &self.metrics, self.log).map_err(|e| e.to_string()));
        match new {
            Ok(new) => {
                self.lookups.replace(new);
                self.log.info("settings reloaded.");
            }
            Err(why) => self.log.warning(&format!(
                "{why}. The previous settings stay in force; fix the file and reload."
            )),
        }
        let _ = sd_notify::notify(&[NotifyState::Ready]);
    }

    async fn accept(self: Rc<Self>, listener: Listener) {
        loop {
            match listener.accept().await {
                Ok(stream) => {
                    while !self.makes_room() {
                        sleep(Duration::from_millis(50)).await;
                    }
                    let activity = Rc::new(Activity::new());
                    let (server, watched) = (self.clone(), activity.clone());
                    // As long as it is in the table, no other has its address.
                    let number = Rc::as_ptr(&activity) as u64;
                    let task = spawn_local(async move {
                        let end = connection::serve(stream, &server, &watched).await;
                        if let Ok(End::Malformed) = end {
                            server.tell_malformed();
                        }
                        server.forget(number);
                    });
                    let task = task.abort_handle();
                    self.metrics.connections.inc();
                    self.clients.borrow_mut().insert(number, Client { activity, task });
                }
                // No descriptor, as a rule.
                Err(error) => {
                    self.log.warning(&format!("cannot accept a connection: {error}"));
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn forget(&self, number: u64) {
        if self.clients.borrow_mut().remove(&number).is_some() {
            self.metrics.connections.dec();
        }
    }

    /// Whether there is room for one more client, or for it the one that has asked nothing for the longest time goes.
    fn makes_room(&self) -> bool {
        let clients = self.clients.borrow();
        if clients.len() < MOST {
            return true;
        }
        let idle = clients
            .iter()
            .filter_map(|(number, client)| match client.activity.get() {
                (Doing::Idle, since) if since.elapsed() >= SHORT => Some((since, *number)),
                _ => None,
            });
        let longest = idle.min().map(|(_, number)| number);
        drop(clients);
        longest.is_some_and(|number| {
            self.cut(number, "crowd");
            true
        })
    }

    fn cut(&self, number: u64, reason: &'static str) {
        if let Some(client) = self.clients.borrow().get(&number) {
            client.task.abort();
        }
        self.forget(number);
        self.metrics.cut(reason);
    }

    /// At most once a minute: a client that does not speak this protocol tries again.
    fn tell_malformed(&self) {
        self.metrics.cut("malformed");
        let now = Instant::now();
        if self
            .malformed
            .get()
            .is_none_or(|last| now >= last + Duration::from_secs(60))
        {
            self.malformed.set(Some(now));
            self.log
                .warning("a client sent what is neither a socketmap query nor a line of Exim, and was disconnected");
        }
    }

    /// Cuts off who is too slow, and tells the service manager that this thread is alive.
    async fn tick(self: Rc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watchdog = sd_notify::watchdog_enabled();
        let mut told = Instant::now();
        loop {
            ticks.tick().await;
            let now = Instant::now();
            self.now.set(now);
            let is_late = |client: &Client| {
                let (doing, since) = client.activity.get();
                let (limit, reason) = match doing {
                    Doing::Idle => (IDLE, "idle"),
                    Doing::Reading => (SLOW, "slow query"),
                    Doing::Writing => (SLOW, "slow reader"),
                    Doing::LookingUp => return None,
                };
                (now.saturating_duration_since(since) > limit).then_some(reason)
            };
            let late: Vec<(u64, &'static str)> = {
                let clients = self.clients.borrow();
                let late = clients
                    .iter()
                    .filter_map(|(number, client)| Some((*number, is_late(client)?)));
                late.collect()
            };
            late.into_iter().for_each(|(number, reason)| self.cut(number, reason));
            if watchdog.is_some_and(|time| now - told >= time / 3) {
                told = now;
                let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            }
        }
    }

    async fn show_metrics(self: Rc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                // One at a time: each has a few seconds.
                Ok((client, _)) => {
                    self.lookups().count_fleet();
                    self.metrics.serve(client).await;
                }
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
        }
    }
}

/// Rounds do not overlap. One that is under way when the server ends is not waited for.
async fn each_hour(hourly: fn(Settings, Log), settings: fn() -> Result<Settings, String>, log: Log) {
    let mut hours = interval(HOUR);
    hours.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        hours.tick().await;
        match settings() {
            Ok(settings) => drop(tokio::task::spawn_blocking(move || hourly(settings, log)).await),
            Err(why) => log.warning(&why),
        }
    }
}

/// Lookups, with the task that completes them. It ends when they are gone.
fn started(settings: Settings, metrics: &Metrics, log: Log) -> io::Result<Rc<Lookups>> {
    let lookups = Rc::new(Lookups::new(settings, metrics, log)?);
    let completing = lookups.clone();
    spawn_local(async move {
        let completes = async {
            if let Err(error) = completing.complete().await {
                log.warning(&format!("lookups cannot be completed: {error}"));
                pending::<()>().await;
            }
        };
        let unused = async {
            while Rc::strong_count(&completing) > 1 {
                sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = completes => {}
            () = unused => {}
        }
    });
    Ok(lookups)
}
