//! MTA-STS (RFC 8461) for sending mail servers.

// The wings are private. The programs and the tests of this workspace see them by the feature `inside`; that is no
// interface, and changes as the library does.
#![cfg_attr(
    not(all(feature = "capi", feature = "inside")),
    allow(dead_code, unused_imports, unreachable_pub)
)]

#[cfg(feature = "capi")]
pub mod capi;

#[cfg(not(feature = "inside"))]
mod cache;
#[cfg(feature = "inside")]
#[doc(hidden)]
pub mod cache;
#[cfg(not(feature = "inside"))]
mod network;
#[cfg(feature = "inside")]
#[doc(hidden)]
pub mod network;
#[cfg(not(feature = "inside"))]
mod protocol;
#[cfg(feature = "inside")]
#[doc(hidden)]
pub mod protocol;
#[cfg(not(feature = "inside"))]
mod sender;
#[cfg(feature = "inside")]
#[doc(hidden)]
pub mod sender;
#[cfg(not(feature = "inside"))]
mod sys;
#[cfg(feature = "inside")]
#[doc(hidden)]
pub mod sys;
#[cfg(feature = "inside")]
#[doc(hidden)]
pub mod testing;

pub use cache::entry::Entry;
pub use network::roots::{Roots, RootsError};
pub use rustls_pki_types::UnixTime;

pub use protocol::certificate::{CertificateFailure, check_chain, check_name};
pub use protocol::mx::MxPattern;
pub use protocol::mx_name::MxName;
pub use protocol::names::{Domain, NameError};
pub use protocol::policy::{Mode, Policy};
pub use protocol::record::{PolicyId, Record};
pub use protocol::report::{PolicyType, ReportEvent};
pub use protocol::text::Line;
pub use protocol::words::{ResultType, SeenKind, Status};
pub use sender::answer::{Answer, Failure, Source};
pub use sender::attempt::{Attempt, Channel, Peer};
pub use sender::context::{Context, ContextError};
pub use sender::exception::Exception;
pub use sender::exceptions::Exceptions;
pub use sender::queue::{Completion, Outcome, Queue, QueueError};
pub use sender::settings::{Settings, SettingsError};
pub use sender::verdict::{Action, NoHost, Seen, Verdict, verdict, verdict_without_host};
