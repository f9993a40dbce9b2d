//! A test Internet in one process: DNS, policy hosts and MX hosts for a table of domains, good and broken.
//!
//! It lives in a network namespace of its own, so that whatever runs there (an MTA, our own lookup) finds the lab's
//! DNS on port 53, policy hosts on port 443 and MX hosts on port 25, trusts the lab's CA, and reaches nothing else.
//! No file, address or process of the machine is changed.
//!
//! ```no_run
//! use mtasts_lab::{self as lab, Change, Https, Lab};
//! # fn main() -> std::io::Result<()> {
//! let directory = std::path::Path::new("/tmp/my-lab");
//! lab::isolate(directory)?;
//! let lab = Lab::start(directory)?;
//! // ... everything started from this thread now lives on the test Internet ...
//! lab.set("good.test", Change::https(Https::Status404))?;
//! assert!(lab.mail().is_empty());
//! # Ok(())
//! # }
//! ```

mod behaviour;
mod build;
mod certificate;
mod change;
pub mod command;
mod control;
mod dns;
mod entry;
mod handshake;
mod https;
mod isolate;
pub mod judge;
mod log;
mod namespace;
mod smtp;
mod table;
mod world;

pub use behaviour::{Certificate, Fault, Https, Mx, Tlsa};
pub use change::Change;
pub use entry::{Entry, Expect, Policy, policy_text};
pub use isolate::isolate;
pub use log::{Counters, Mail, Request, Session, Tls};
pub use table::table;
pub use world::DNS_ADDRESS;

use certificate::Authority;
use std::collections::{HashMap, hash_map};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use world::World;

/// A running test Internet. When it is dropped, all of it stops.
pub struct Lab {
    directory: PathBuf,
    internet: Arc<Internet>,
    /// `None` only while it is being dropped.
    runtime: Option<Runtime>,
    /// The threads of the name server: questions do not wait behind handshakes. `None` only while it is being dropped.
    names: Option<Runtime>,
}

/// What the threads of the lab share.
struct Internet {
    world: Arc<World>,
    /// One per address and port at which a host is up. A host that refuses connections has none: the kernel refuses.
    listeners: Mutex<HashMap<SocketAddr, JoinHandle<()>>>,
}

impl Lab {
    /// Starts the test Internet in the network namespace of the calling thread, which must be one made by [`isolate`].
    ///
    /// In `directory` (made if absent) it leaves `ca.pem`, the certificate to trust, and `control`, the control socket.
    /// If `/etc` is the private one of [`isolate`], the certificate becomes the only one in the trust store there.
    ///
    /// # Errors
    /// The directory cannot be written, or an address cannot be bound: the thread is not isolated, or a lab runs here already.
    pub fn start(directory: &Path) -> io::Result<Self> {
        Self::start_with_crowd(directory, 0)
    }

    /// As [`Lab::start`], with so many ordinary domains more: `many0.test` and so on, each with hosts of its own.
    ///
    /// # Errors
    /// As [`Lab::start`].
    pub fn start_with_crowd(directory: &Path, crowd: u16) -> io::Result<Self> {
        let authority = Authority::new()?;
        std::fs::create_dir_all(directory)?;
        std::fs::write(directory.join("ca.pem"), authority.root_pem())?;
        isolate::trust(authority.root_pem())?;
        let world = Arc::new(World::new(
            authority,
            table().into_iter().chain(table::crowd(crowd)).collect(),
        ));
        let threads = |name: &str| {
            Builder::new_multi_thread()
                .worker_threads(2)
                .thread_name(name)
                .enable_all()
                .build()
        };
        let (runtime, names) = (threads("mtasts-lab")?, threads("mtasts-lab-dns")?);
        let control = directory.join("control");
        if let Err(error) = std::fs::remove_file(&control)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let internet = Arc::new(Internet {
            world,
            listeners: Mutex::default(),
        });
        let shared = internet.clone();
        let socket = control.clone();
        let questions = names.handle().clone();
        let start = async move {
            shared.settle().await?;
            let world = shared.world.clone();
            let answers = async move {
                let mut dns = dns::serve(world).await?;
                tokio::spawn(async move { dns.block_until_done().await });
                io::Result::Ok(())
            };
            questions.spawn(answers).await.map_err(io::Error::other)??;
            let listener = UnixListener::bind(&socket)?;
            tokio::spawn(control::serve(shared, listener));
            io::Result::Ok(())
        };
        let lab = Self {
            directory: directory.to_owned(),
            internet,
            runtime: Some(runtime),
            names: Some(names),
        };
        lab.run(start)?;
        // Whatever user an MTA runs its helpers as may ask: a lab has no secrets.
        std::fs::set_permissions(&control, std::fs::Permissions::from_mode(0o666))?;
        Ok(lab)
    }

    /// The directory given at the start.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file with the certificate of the lab's root CA (PEM).
    pub fn ca_file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The control socket, for `$MTASTS_LAB`.
    pub fn control_socket(&self) -> PathBuf {
        self.directory.join("control")
    }

    /// Changes the behaviour of a domain; when this returns, the new behaviour is in force.
    ///
    /// # Errors
    /// There is no such domain, or no such MX host of it.
    pub fn set(&self, domain: &str, change: Change) -> io::Result<()> {
        let internet = self.internet.clone();
        let domain = domain.to_owned();
        self.run(async move { internet.change(&domain, change).await })
    }

    /// Every domain as it was at the start; counters, requests, sessions and mail are forgotten.
    ///
    /// # Errors
    /// An address cannot be bound again.
    pub fn reset(&self) -> io::Result<()> {
        let internet = self.internet.clone();
        self.run(async move { internet.reset().await })
    }

    /// What was asked how often since the start or the last reset.
    pub fn counters(&self) -> Counters {
        self.internet.world.log().counters.clone()
    }

    /// The requests to policy hosts, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.internet.world.log().requests.clone()
    }

    /// The delivered mails, in order.
    pub fn mail(&self) -> Vec<Mail> {
        self.internet.world.log().mail.clone()
    }

    /// The connections to MX hosts, in order, with how far they got.
    pub fn sessions(&self) -> Vec<Session> {
        self.internet.world.log().sessions.clone()
    }

    /// Runs something on the lab's own threads and waits for it: the caller may be inside another runtime.
    fn run(&self, work: impl Future<Output = io::Result<()>> + Send + 'static) -> io::Result<()> {
        let runtime = self
            .runtime
            .as_ref()
            .ok_or_else(|| io::Error::other("the lab has stopped"))?;
        let (done, result) = mpsc::channel();
        runtime.spawn(async move { done.send(work.await) });
        result.recv().map_err(io::Error::other)?
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for runtime in [self.names.take(), self.runtime.take()].into_iter().flatten() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

impl Internet {
    async fn change(&self, domain: &str, change: Change) -> io::Result<()> {
        self.world.change(domain, change)?;
        self.settle().await
    }

    async fn reset(&self) -> io::Result<()> {
        self.world.reset();
        self.settle().await
    }

    /// Opens and closes listeners until they are those of the hosts that are up.
    async fn settle(&self) -> io::Result<()> {
        let mut listeners = self.listeners.lock().await;
        let wanted = self.world.listening();
        let gone: Vec<_> = listeners
            .keys()
            .filter(|address| !wanted.contains(address))
            .copied()
            .collect();
        for address in gone {
            if let Some(listener) = listeners.remove(&address) {
                listener.abort();
                // The socket is closed when the task is gone, which is what the caller waits for.
                let _ = listener.await;
            }
        }
        for address in wanted {
            let hash_map::Entry::Vacant(place) = listeners.entry(address) else {
                continue;
            };
            let listener = listen(address)
                .await
                .map_err(|error| io::Error::new(error.kind(), format!("cannot listen at {address}: {error}")))?;
            place.insert(tokio::spawn(accept(
                self.world.clone(),
                listener,
                World::is_https(address),
            )));
        }
        Ok(())
    }
}

/// Listens there. A child that this process has just forked still holds a listener that was closed here, until it executes its
/// program; then the port is free.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            result => return result,
        }
    }
}

async fn accept(world: Arc<World>, listener: TcpListener, https: bool) {
    loop {
        match listener.accept().await {
            // How a connection ends is the client's affair, and it is in the log.
            Ok((stream, _)) if https => drop(tokio::spawn(https::serve(world.clone(), stream))),
            Ok((stream, _)) => drop(tokio::spawn(smtp::serve(world.clone(), stream))),
            // Out of descriptors, most likely; some will come back.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
