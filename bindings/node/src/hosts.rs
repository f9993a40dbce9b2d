//! What DANE says of the MX hosts of a domain.

use std::sync::Arc;
use std::time::Duration;

use mtasts::{MxName, Unavailable};
use napi::Status;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;

use crate::error::{Result, failure, guarded, name, refused};
use crate::resolver::{Resolver, lines};

/// The MX hosts of a domain.
#[napi]
pub struct Hosts {
    hosts: Arc<mtasts::Hosts>,
}

impl Hosts {
    pub(crate) fn inner(&self) -> &mtasts::Hosts {
        &self.hosts
    }
}

/// What came of the question for them.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Found {
    /// The hosts.
    pub hosts: Option<Hosts>,
    /// If there are none, the code of the error.
    pub code: Option<String>,
    /// And its message.
    pub message: Option<String>,
    /// What the library has logged.
    pub lines: Vec<String>,
}

/// JavaScript's function for it. It keeps the process alive until it was called.
type Done = ThreadsafeFunction<Found, (), Found, Status, false>;

impl From<std::result::Result<Arc<mtasts::Hosts>, Unavailable>> for Found {
    fn from(asked: std::result::Result<Arc<mtasts::Hosts>, Unavailable>) -> Self {
        let (hosts, error) = match asked {
            Ok(hosts) => (Some(Hosts { hosts }), None),
            Err(error) => (None, Some(failure(error))),
        };
        Self {
            hosts,
            code: error.as_ref().map(|error| error.status.as_ref().to_owned()),
            message: error.map(|error| error.reason.clone()),
            lines: lines(),
        }
    }
}

#[napi]
impl Resolver {
    /// Asks for the hosts. If they are not at hand, `done` gets them later.
    #[napi]
    pub fn hosts(
        &self,
        domain: String,
        names: Vec<String>,
        timeout_ms: Option<u32>,
        done: Function<'_, Found, ()>,
    ) -> Result<Option<Hosts>> {
        guarded(|| {
            let names: Vec<MxName> = names.iter().map(|name| MxName::from_mx(name)).collect();
            let patience = timeout_ms.map_or(Duration::MAX, |ms| Duration::from_millis(ms.into()));
            let done: Done = done
                .build_threadsafe_function::<Found>()
                .build()
                .map_err(|error| refused("cannot wait for the hosts", &error.reason))?;
            let later = move |asked: std::result::Result<_, _>| {
                // Nobody listens once the environment has ended.
                let _ = done.call(Found::from(asked), ThreadsafeFunctionCallMode::NonBlocking);
            };
            let hosts = self.context()?.hosts_later(&name(&domain)?, &names, patience, later);
            Ok(hosts.map_err(failure)?.map(|hosts| Hosts { hosts }))
        })
    }
}
