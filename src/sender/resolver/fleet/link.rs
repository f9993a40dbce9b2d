//! The connections of a lookup, and those that a worker of a queue keeps for its next lookup.
//!
//! A kept connection belongs to one thread, and ends with it. A forked child closes its copy of the descriptor at once
//! ([`Unshared`]), so that a server never hears two processes on one connection.

use std::cell::Cell;
use std::mem;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use crate::network::valkey::{Command, Connection, Reply};
use crate::sys::unshared::Unshared;

/// For how long a connection is used. By then the host may have another address, the server another certificate, and
/// Sentinel may name another master.
const AGE: Duration = Duration::from_secs(60);

/// To the server that is written, and to the one that is read, if that is another one.
pub(super) type Links = [Option<Link>; 2];

thread_local! {
    /// Whether this thread keeps its connections. It asks for one resolver, so all of its lookups have the same servers.
    static KEEPS: Cell<bool> = const { Cell::new(false) };
    static KEPT: Cell<Links> = const { Cell::new([None, None]) };
}

/// From now on the calling thread keeps its connections from one lookup to the next. It must be a thread of ours that makes
/// lookups for one resolver alone.
pub(crate) fn keep_connections() {
    KEEPS.set(true);
}

/// The connections that the last lookup of this thread has left.
pub(super) fn kept() -> Links {
    KEPT.take()
}

/// Leaves connections to the next lookup of this thread, or closes them.
pub(super) fn keep(mut links: Links) {
    if !KEEPS.get() {
        return;
    }
    for place in &mut links {
        *place = place.take().filter(|link| link.unshared.is_some());
    }
    links.iter_mut().flatten().for_each(|link| link.is_kept = true);
    KEPT.set(links);
}

/// A connection.
pub(super) struct Link {
    connection: Option<Connection>,
    /// `None` if the process has too many connections: then it ends with its lookup.
    unshared: Option<Unshared>,
    password: Option<String>,
    made: Instant,
    /// Whether it comes from an earlier lookup, and has not been used since.
    is_kept: bool,
}

impl Link {
    /// Of a connection that was made with this password.
    pub(super) fn new(connection: Connection, password: Option<&str>) -> Self {
        Self {
            unshared: Unshared::enter(connection.as_raw_fd()),
            connection: Some(connection),
            password: password.map(str::to_owned),
            made: Instant::now(),
            is_kept: false,
        }
    }

    /// Asks, if the connection is still good: made with this password, not too old, and not closed by the server meanwhile,
    /// as servers do with those that are idle. `None` if there has to be another one.
    pub(super) fn ask(
        &mut self,
        password: Option<&str>,
        commands: &[Command<'_>],
        deadline: Instant,
    ) -> Option<Result<Vec<Reply>, String>> {
        let connection = self.connection.as_mut()?;
        let is_stale = self.is_kept && (self.made.elapsed() > AGE || connection.is_closed());
        if is_stale || self.password.as_deref() != password {
            return None;
        }
        let asked = connection.ask(commands, deadline);
        let was_idle = mem::take(&mut self.is_kept);
        (asked.is_ok() || !was_idle || !connection.is_closed()).then_some(asked)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let connection = self.connection.take();
        if self
            .unshared
            .as_ref()
            .is_some_and(|unshared| unshared.leave().is_none())
        {
            // The parent's: here its descriptor is closed already.
            mem::forget(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;
    use std::{fs, thread};

    use super::*;
    use crate::network::dns::StubResolver;
    use crate::network::valkey::address::Address;

    /// Whatever the server thinks of it: by then its name may lead elsewhere.
    #[test]
    fn a_kept_connection_lasts_for_a_minute() {
        let path = std::env::temp_dir().join(format!("mtasts-link-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        // A server that knows nothing.
        thread::spawn(move || {
            let (mut stream, mut asked) = (listener.accept().unwrap().0, [0; 100]);
            while stream.read(&mut asked).is_ok_and(|read| read > 0) {
                stream.write_all(b"$-1\r\n").unwrap();
            }
        });
        let soon = || Instant::now() + Duration::from_secs(10);
        let address = Address::parse(&format!("unix:{}", path.display())).unwrap();
        let dns = StubResolver::with_servers(&[]);
        let connection = Connection::open(&address, None, &dns, &(Arc::new(|| Err(String::new())) as _), soon());
        let mut link = Link::new(connection.unwrap(), None);
        let mut asks = |age: Duration| {
            link.is_kept = true;
            link.made = Instant::now().checked_sub(age).unwrap();
            link.ask(None, &[&[b"GET", b"x"]], soon())
        };
        assert!(matches!(asks(AGE - Duration::from_secs(30)), Some(Ok(_))));
        assert!(asks(AGE).is_none());
        fs::remove_file(path).unwrap();
    }
}
