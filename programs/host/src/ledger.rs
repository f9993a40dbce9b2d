//! The ledger: what happened. The files say what is wanted; here is whose a domain is, by which token, and which texts were
//! served for it and when. An engine has these verbs and decides nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use mtasts::Domain;

use crate::exchanges::Exchange;
use crate::published::Published;
use crate::rollout::Step;
use crate::settings::Tenant;
use crate::token::Token;

/// A domain that a tenant has claimed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Whose it is.
    pub tenant: Tenant,
    /// Where its CNAMEs lead.
    pub token: Token,
    /// Since when, in Unix seconds.
    pub since: u64,
    /// Since when it is on its way out, in Unix seconds.
    pub leaving: Option<u64>,
    /// Since when DNS was seen to name the token, in Unix seconds.
    pub proven: Option<u64>,
    /// Since when DNS names it no more, in Unix seconds.
    pub lost: Option<u64>,
    /// Those of other tenants whose files name the domain too, or once did. It is that one's whose token DNS names. They have no rivals.
    pub rivals: Vec<Self>,
}

impl Claim {
    /// Whether it is the operator's, whose file is proof enough.
    #[must_use]
    pub fn is_operators(&self) -> bool {
        self.tenant.is_operator()
    }

    /// That of this tenant: this one or a rival's.
    #[must_use]
    pub fn of(&self, tenant: &Tenant) -> Option<&Self> {
        let all = [self].into_iter().chain(&self.rivals);
        all.into_iter().find(|claim| claim.tenant == *tenant)
    }

    /// Whether what its file says may be served.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.is_operators() || self.proven.is_some()
    }
}

/// What becomes of a claim. Those that come of a look at DNS are for the token that was looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Turn {
    /// It is on its way out. One that is leaving already goes on so.
    Leaving,
    /// DNS names the token. If it is a rival's, the domain is the rival's from then on.
    Proven(Token),
    /// DNS names it no more.
    Lost(Token),
    /// It has to be proven anew: nothing is served any more, and no sender holds a policy.
    Void(Token),
    /// It is forgotten, with its token and its history.
    Released,
}

/// A text that was served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Served {
    /// The policy.
    pub published: Arc<Published>,
    /// From when on, in Unix seconds.
    pub from: u64,
    /// Until when; `None` for what is served now.
    pub until: Option<u64>,
}

/// A step of a domain's rollout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stepped {
    /// What is published since then.
    pub step: Step,
    /// Since when, in Unix seconds.
    pub at: u64,
    /// Why the operator went on although the gates were closed.
    pub forced: Option<String>,
}

/// What the gates said last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judged {
    /// When, in Unix seconds.
    pub at: u64,
    /// Why there was no next step, in sentences of one line each.
    pub refusals: Vec<String>,
}

/// The life of a certificate, in Unix seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    /// When it came.
    pub issued: u64,
    /// Until when it is valid.
    pub until: u64,
    /// When it is renewed.
    pub renew: u64,
    /// When its authority is asked for advice on that.
    pub ask: u64,
    /// Whether the authority gives advice (RFC 9773).
    pub is_advised: bool,
}

/// A certificate of a policy host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// It and its issuers, as PEM.
    pub chain: String,
    /// Its private key, as PEM; in a ledger as it is stored there.
    pub key: String,
    /// The directory of the authority that has issued it; empty if that was not asked.
    pub authority: String,
    /// Its life.
    pub life: Life,
}

/// What was done for the next certificate of a policy host.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Attempt {
    /// How many orders have failed since the last certificate.
    pub failures: u32,
    /// Since when it fails, in Unix seconds.
    pub since: Option<u64>,
    /// When it goes on, in Unix seconds.
    pub next: u64,
    /// Why there is none, in a sentence of one line.
    pub why: String,
    /// The order that is under way: its URL, and the private key as it is stored.
    pub order: Option<(String, String)>,
    /// The directory of the authority that was asked last, and of that order.
    pub authority: String,
}

/// Our account at an authority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Its private key, as it is stored.
    pub key: Vec<u8>,
    /// Until when the authority is not told that an order replaces a certificate, in Unix seconds: it does not take that.
    pub plain: u64,
}

/// What is noted of an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note<'a> {
    /// Its private key, as it is stored, in place of the one before.
    Key(&'a [u8]),
    /// Until when its orders replace none.
    Plain(u64),
}

/// What is known of the certificate of a policy host.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tls {
    /// The life of the present one.
    pub life: Option<Life>,
    /// What was done for the next one.
    pub attempt: Option<Attempt>,
}

/// Why the ledger does not do what it is asked.
#[derive(Debug)]
pub enum LedgerError {
    /// The domain is the operator's, by the name of this tenant.
    Taken(Domain, Tenant),
    /// The ledger was written by a newer version, whose schema has this number.
    Newer(u32),
    /// Something in it is not what this host writes there.
    Damaged(String),
    /// The place of the file, or the system, does not allow it.
    Place(String),
    /// A private key cannot be opened.
    Sealed(String),
    /// The engine failed.
    Engine(String),
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(domain, tenant) => write!(f, "{domain} belongs to {tenant} already"),
            Self::Newer(version) => write!(
                f,
                "the ledger has schema {version}, which a newer version of mtasts wrote; use that version, or restore a copy"
            ),
            Self::Damaged(what) => write!(f, "the ledger is damaged: {what}; restore a copy"),
            Self::Place(what) | Self::Sealed(what) => f.write_str(what),
            Self::Engine(what) => write!(f, "the ledger cannot be used: {what}"),
        }
    }
}

impl std::error::Error for LedgerError {}

/// What is to be stored in place of a private key, if anything is, by the words for where it is.
pub type Rekey<'a> = dyn FnMut(&str, &[u8]) -> Result<Option<Vec<u8>>, String> + 'a;

/// All that is asked of a ledger. Each verb is done as a whole or not at all, and is on the disk when it returns.
pub trait Ledger {
    /// Claims domains for tenants, and gives each a token. A domain that its tenant has claimed keeps its token, and so does one
    /// that the operator takes over from a tenant. None of them is leaving any more. If a domain is another tenant's, this one is a rival
    /// from then on, with a token of its own.
    ///
    /// # Errors
    /// [`LedgerError::Taken`] if a domain is the operator's; then nothing is claimed.
    fn claim(&mut self, domains: &[(&Domain, &Tenant)], now: u64) -> Result<(), LedgerError>;

    /// Claims a domain for a tenant, whosever it was. If it was another's, the token is a new one.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    fn reclaim(&mut self, domain: &Domain, tenant: &Tenant, now: u64) -> Result<(), LedgerError>;

    /// Notes what becomes of a claim. Says whether it was known, by this token.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    fn turn(&mut self, domain: &Domain, turn: &Turn, now: u64) -> Result<bool, LedgerError>;

    /// The tokens that are nobody's any more and whose records may still be in a zone, without these, of which that is not so.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    fn gone(&mut self, without: &[Token]) -> Result<Vec<Token>, LedgerError>;

    /// All claims.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    fn claims(&self) -> Result<BTreeMap<Domain, Claim>, LedgerError>;

    /// Notes that these texts are served from now on, and what is no longer served in their place. The domains are claimed.
    ///
    /// # Errors
    /// If the ledger cannot be written, or a domain is not claimed.
    fn serve(&mut self, texts: &[(&Domain, &Published)], now: u64) -> Result<(), LedgerError>;

    /// What is served now.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    fn served(&self) -> Result<BTreeMap<Domain, Arc<Published>>, LedgerError>;

    /// All that was served for a domain, from the first to the last.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    fn history(&self, domain: &Domain) -> Result<Vec<Served>, LedgerError>;

    /// Notes that these domains, which are claimed, are at these steps from now on. What the gates said before is forgotten. All steps
    /// are kept.
    ///
    /// # Errors
    /// If the ledger cannot be written, or a domain is not claimed.
    fn step(&mut self, steps: &[(&Domain, Step)], forced: Option<&str>, now: u64) -> Result<(), LedgerError>;

    /// The step of each domain that has one.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    fn steps(&self) -> Result<BTreeMap<Domain, Stepped>, LedgerError>;

    /// Notes why a domain, which is claimed, gets no next step.
    ///
    /// # Errors
    /// If the ledger cannot be written, or the domain is not claimed.
    fn judge(&mut self, domain: &Domain, refusals: &[String], now: u64) -> Result<(), LedgerError>;

    /// What the gates said last of each domain since its step.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    fn judged(&self) -> Result<BTreeMap<Domain, Judged>, LedgerError>;

    /// Notes that a domain, which is claimed, has this policy of another host, or that of its file again. Says whether it had another
    /// one.
    ///
    /// # Errors
    /// If the ledger cannot be written, or the domain is not claimed.
    fn import(&mut self, domain: &Domain, published: Option<&Published>, now: u64) -> Result<bool, LedgerError>;

    /// The policies that were taken over from other hosts.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    fn imported(&self) -> Result<BTreeMap<Domain, Arc<Published>>, LedgerError>;

    /// Notes the moves of a domain, which is claimed, in place of those before.
    ///
    /// # Errors
    /// If the ledger cannot be written, or the domain is not claimed.
    fn exchange(&mut self, domain: &Domain, moves: &[Exchange]) -> Result<(), LedgerError>;

    /// The moves of each domain that has any.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    fn exchanges(&self) -> Result<BTreeMap<Domain, Vec<Exchange>>, LedgerError>;

    /// Our account at an authority, if there is one, after this is noted of it.
    ///
    /// # Errors
    /// If the ledger cannot be read or written.
    fn account(&mut self, authority: &str, note: Option<Note<'_>>, now: u64) -> Result<Option<Account>, LedgerError>;

    /// Has this look at each private key as it is stored, with the words for where that is: what it returns is stored in its place.
    /// Says how many were. If one fails, all stay as they are.
    ///
    /// # Errors
    /// [`LedgerError::Sealed`] with what it says; if the ledger cannot be read or written.
    fn rekey(&mut self, change: &mut Rekey<'_>) -> Result<usize, LedgerError>;

    /// Counts a new order, unless there were `most` of them since then already. Says whether there may be one.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    fn order(&mut self, since: u64, now: u64, most: u32) -> Result<bool, LedgerError>;

    /// Keeps what was done for the next certificate of a domain, which is claimed.
    ///
    /// # Errors
    /// If the ledger cannot be written, or the domain is not claimed.
    fn attempt(&mut self, domain: &Domain, attempt: &Attempt) -> Result<(), LedgerError>;

    /// Keeps the certificate of a domain, which is claimed, in place of the one before. What was done for it is forgotten.
    ///
    /// # Errors
    /// If the ledger cannot be written, or the domain is not claimed.
    fn certify(&mut self, domain: &Domain, certificate: &Certificate) -> Result<(), LedgerError>;

    /// Keeps when the certificate of a domain is renewed.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    fn plan(&mut self, domain: &Domain, life: &Life) -> Result<(), LedgerError>;

    /// The certificate of a domain.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    fn certificate(&self, domain: &Domain) -> Result<Option<Certificate>, LedgerError>;

    /// What is known of the certificates of all domains.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    fn tls(&self) -> Result<BTreeMap<Domain, Tls>, LedgerError>;

    /// A number that changes when another process has written.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    fn version(&self) -> Result<u64, LedgerError>;
}
