//! MTA-STS (RFC 8461) for sending mail servers.

pub mod addresses;
pub mod answer;
mod calendar;
pub mod certificate;
#[cfg(feature = "cli")]
pub mod cli;
pub mod context;
mod crowd;
mod der;
pub mod dns;
pub mod entry;
pub mod exceptions;
pub mod ffi;
pub mod https;
#[cfg(feature = "lab")]
pub mod lab;
pub mod lookup;
pub mod mx;
pub mod names;
pub mod policy;
pub mod queue;
pub mod record;
pub mod refresh;
pub mod result;
pub mod roots;
pub mod settings;
mod silence;
pub mod store;
mod sys;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod text;
pub mod verdict;
pub mod verification_codes;
mod wire;

pub use answer::{Answer, Failure, Source};
pub use certificate::{CertificateFailure, check_chain, check_name};
pub use context::{Context, ContextError};
pub use entry::Entry;
pub use exceptions::{Exception, Exceptions};
pub use mx::MxPattern;
pub use names::{Domain, NameError};
pub use policy::{Mode, Policy};
pub use queue::{Completion, Outcome, Queue, QueueError};
pub use record::{PolicyId, Record};
pub use result::ResultType;
pub use roots::{Roots, RootsError};
pub use settings::{Settings, SettingsError};
pub use text::Line;
pub use verdict::{Action, Seen, Verdict, verdict};
