//! MTA-STS (RFC 8461) for sending mail servers.
//!
//! By MTA-STS a domain asks senders to deliver its mail over TLS alone, to the MX hosts that its policy names, and only if
//! their certificates are valid. This crate does the sender's part: it looks the policy up (cache, DNS, HTTPS), says for
//! each MX host what to do, and names what went wrong in the words of RFC 8460.
//!
//! # One delivery
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use mtasts::report::{Channel, Peer};
//! use mtasts::{Attempt, Resolver, MxName, NoHost, Seen, Settings, UnixTime, verdict_without_host};
//!
//! # fn connect(_: &str) -> Option<Vec<Vec<u8>>> { None }
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // One resolver for the process. Making it opens nothing and starts nothing.
//!     let resolver = Resolver::new(Settings::of_process()?);
//!
//!     // The policy of the recipient's domain. An error means that the mail waits.
//!     let answer = resolver.lookup("example.com", Duration::from_secs(60))?;
//!     println!("{answer}");
//!
//!     // The MX hosts as DNS gave them, the most preferred first.
//!     let mut hosts = Vec::new();
//!     for host in ["mx1.example.com", "mx2.example.com"] {
//!         let mut attempt = Attempt::new(&answer, MxName::from_mx(host));
//!
//!         // May mail go to a host of this name?
//!         let mut verdict = attempt.saw(Seen::Name);
//!         let mut peer = Peer::default();
//!         if verdict.action.delivers() {
//!             // `connect` is the mail server's: it gives the certificates that the host has sent, in DER.
//!             let seen = match connect(host) {
//!                 None => Seen::StarttlsNotOffered,
//!                 Some(chain) => {
//!                     peer.channel = Channel::Tls;
//!                     let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
//!                     Seen::Certificate(resolver.verify_certificate(&host.parse()?, &chain, UnixTime::now())?)
//!                 }
//!             };
//!             verdict = attempt.saw(seen);
//!         }
//!         // At most one for each session, for a TLS report (RFC 8460).
//!         let event = attempt.finish(peer);
//!         println!("{} {event:?}", verdict.sentence);
//!         if verdict.action.delivers() {
//!             println!("deliver to {host}");
//!             return Ok(());
//!         }
//!         hosts.push((MxName::from_mx(host), verdict.reason_code));
//!     }
//!     // No host is left: the mail waits. It is never bounced because of a policy that is still in force.
//!     println!("{}", verdict_without_host(&answer, NoHost::Left, &hosts).sentence);
//!     Ok(())
//! }
//! ```
//!
//! # The types
//!
//! * [`Settings`]: where the cache is, which name servers and root certificates are used, how long a lookup may take.
//! * [`Resolver`] looks up and checks certificates. Clones share it, and any thread and any forked child may use it.
//! * [`Answer`]: the [`Policy`] or its absence, where it came from ([`Source`]), and what went wrong ([`Failure`]).
//! * [`Hosts`]: what DANE says of the MX hosts, if the setting `dane` is on ([`Attempt::with_hosts`]).
//! * [`Attempt`] judges one MX host by all that the mail server has [`Seen`] of it. Each [`Verdict`] has the [`Action`], the
//!   [`ResultType`] and a sentence for the log; at the end there is at most one [`report::ReportEvent`].
//! * [`verdict_without_host`] says what happens to the mail if there is no MX host to deliver to.
//! * [`queue`] makes lookups for an event loop: a descriptor becomes readable when one is complete.
//!
//! An error that a program has to tell apart has a name here. Every other one is a [`std::error::Error`] that prints as one
//! line.
//!
//! # What it does in a process
//!
//! It is a guest there. A lookup that needs the network runs on a thread of its own, which ends before the call returns, with
//! all signals blocked. No panic, no environment variable of an unprivileged caller and no fork of the host harms it. A
//! process of root leaves the cache and the network to a child that has become the owner of the cache directory.

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

/// What a TLS report counts (RFC 8460).
pub mod report {
    pub use crate::protocol::report::{Loss, PolicyType, ReportEvent};
    pub use crate::protocol::report_record::{Destination, ReportRecord, ReportRecordError};
    pub use crate::sender::attempt::{Channel, Peer};
    pub use crate::sender::resolver::report::RecordUnknown;
}

/// Lookups for programs with an event loop.
pub mod queue {
    pub use crate::sender::queue::{Completed, Completion, Queue, QueueError};
}

pub use network::roots::RootsError;
pub use protocol::certificate::CertificateFailure;
pub use protocol::mx_name::MxName;
pub use protocol::names::{Domain, NameError};
pub use protocol::policy::{Mode, Policy};
pub use protocol::words::{ResultType, Source};
pub use sender::answer::Answer;
pub use sender::attempt::Attempt;
pub use sender::hosts::Hosts;
pub use sender::outcome::Failure;
pub use sender::resolver::{Resolver, Unavailable};
pub use sender::settings::{Settings, SettingsError};
pub use sender::verdict::{Action, NoHost, Seen, Verdict, verdict_without_host};

pub use rustls_pki_types::UnixTime;
