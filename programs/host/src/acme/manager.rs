//! The certificates of a running host: which are due, and what comes of their orders.
//!
//! What has happened is in the ledger before the next request: a restart loses no order, and registers no second account.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use instant_acme::{Account, CertificateIdentifier};
use mtasts::Domain;
use mtasts::network::dns::StubResolver;
use mtasts::protocol::calendar::date_time;
use mtasts::protocol::text::one_line;
use mtasts::sender::resolver::unix_now;
use mtasts_serve::Log;
use rcgen::KeyPair;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, Der, PrivateKeyDer};
use tokio::task::{spawn_blocking, spawn_local};

use super::Acme;
use super::authority::{Authority, Known};
use super::challenges::Challenges;
use super::flight::{self, TIME};
use super::leaf::Leaf;
use super::order::{Failure, begin, finish, refuses_replacement};
use super::schedule::{LONGEST_WAIT, WINDOW, ask_again, has_failed_for_long, pause, renewal, suggested};
use crate::certificates::{Certificates, certified};
use crate::ledger::{Attempt, Certificate, Claim, Ledger, LedgerError, Tls};
use crate::metrics::Numbers;
use crate::proof;
use crate::seal::Seal;
use crate::service::Service;
use crate::sqlite::Sqlite;
use crate::state::State;

/// How many orders are under way at a time.
const TOGETHER: usize = 8;
/// How long after a test that failed it is done again, in seconds. It costs no order.
pub(super) const TEST_AGAIN: u64 = 600;
/// How long the clock of an authority may be ahead, in seconds.
const AHEAD: u64 = 3600;

/// The certificates that come from an authority.
pub(crate) struct Manager {
    acme: Acme,
    dns: StubResolver,
    addresses: Vec<IpAddr>,
    /// The first one, and the one that is asked if that fails for long.
    authorities: Vec<Authority>,
    ledger: Rc<RefCell<Sqlite>>,
    seal: Rc<Seal>,
    certificates: Rc<Certificates>,
    challenges: Rc<Challenges>,
    log: Log,
    /// The domains that need a certificate, and whose they are.
    claims: RefCell<BTreeMap<Domain, Claim>>,
    zone: Option<Domain>,
    known: RefCell<BTreeMap<Domain, Tls>>,
    busy: RefCell<HashSet<Domain>>,
}

impl Manager {
    /// The manager of these settings.
    ///
    /// # Errors
    /// A sentence, if the trust anchors or the ledger cannot be read.
    pub(crate) fn new(
        acme: &Acme,
        service: &Service,
        ledger: &Rc<RefCell<Sqlite>>,
        seal: &Rc<Seal>,
        certificates: &Rc<Certificates>,
        challenges: &Rc<Challenges>,
        log: Log,
    ) -> Result<Self, String> {
        let authorities = std::iter::once(acme).chain(acme.second.as_deref());
        let authorities = authorities.map(|acme| Authority::new(acme, ledger, seal, log));
        let known = ledger.borrow().tls().map_err(|error| error.to_string())?;
        Ok(Self {
            acme: acme.clone(),
            dns: match &*service.resolvers {
                [] => StubResolver::system(),
                servers => StubResolver::with_servers(servers),
            },
            addresses: service.addresses.clone(),
            authorities: authorities.collect::<Result<_, _>>()?,
            ledger: Rc::clone(ledger),
            seal: Rc::clone(seal),
            certificates: Rc::clone(certificates),
            challenges: Rc::clone(challenges),
            log,
            claims: RefCell::default(),
            zone: service.zone.clone(),
            known: RefCell::new(known),
            busy: RefCell::default(),
        })
    }

    /// The domains of a state. If the operator has the files read again, what costs no order is tried at once.
    pub(crate) fn take(&self, state: &State, at_once: bool) {
        let claims = state.policies.keys();
        let claims = claims.filter_map(|domain| Some((domain.clone(), state.claims.get(domain)?.clone())));
        self.claims.replace(claims.collect());
        if at_once {
            self.authorities.iter().for_each(Authority::try_again);
        }
        let mut known = self.known.borrow_mut();
        let claims = self.claims.borrow();
        known.retain(|domain, _| claims.contains_key(domain));
        for tls in known.values_mut().filter(|_| at_once) {
            if let Some(attempt) = &mut tls.attempt
                && attempt.failures == 0
            {
                attempt.next = 0;
            }
        }
    }

    /// Counts the certificates, and what failed.
    pub(crate) fn count(&self, numbers: &mut Numbers) {
        for tls in self.known.borrow().values() {
            let failed = tls.attempt.as_ref().is_some_and(|attempt| !attempt.why.is_empty());
            numbers.failures += usize::from(failed);
            if let Some(life) = &tls.life {
                numbers.certificates += 1;
                let first = numbers.first_end.map_or(life.until, |first| first.min(life.until));
                numbers.first_end = Some(first);
            }
        }
    }

    /// Begins what is due.
    pub(crate) fn look(self: &Rc<Self>, now: u64) {
        // Only if each of them has asked to be left alone.
        if self.authorities.iter().all(|authority| now < authority.wire.closed()) {
            return;
        }
        for domain in self.claims.borrow().keys() {
            if self.busy.borrow().len() >= TOGETHER {
                return;
            }
            let tls = self.known.borrow().get(domain).cloned().unwrap_or_default();
            let is_closed = now < self.authority_for(&tls, now).wire.closed();
            if !is_due(&tls, now) || is_closed || !self.busy.borrow_mut().insert(domain.clone()) {
                continue;
            }
            let (manager, domain) = (Rc::clone(self), domain.clone());
            spawn_local(async move {
                manager.work(&domain, tls).await;
                manager.busy.borrow_mut().remove(&domain);
            });
        }
    }

    async fn work(&self, domain: &Domain, mut tls: Tls) {
        let now = unix_now();
        let is_left = tls.attempt.as_ref().is_some_and(|attempt| attempt.order.is_some());
        if !is_left && tls.life.is_some_and(|life| now < life.renew) {
            return self.advise(domain, &mut tls).await;
        }
        let mut attempt = tls.attempt.clone().unwrap_or_default();
        let authority = self.authority_for(&tls, now);
        if attempt.authority != authority.acme.directory {
            // An order at the other one is given up.
            attempt.order = attempt.order.filter(|_| attempt.authority.is_empty());
            attempt.authority.clone_from(&authority.acme.directory);
        }
        match self.obtain(domain, &tls, &mut attempt, authority).await {
            Ok(certificate) => {
                let until = date_time(certificate.life.until);
                let sealed = self.sealed(&format!("certificate of {domain}"), &certificate.key);
                let stored = sealed.and_then(|key| {
                    let stored = Certificate { key, ..certificate };
                    let stored = self.ledger.borrow_mut().certify(domain, &stored);
                    stored.map_err(|error| error.to_string())
                });
                if let Err(error) = stored {
                    return self.say(&format!(
                        "the certificate of mta-sts.{domain} cannot be stored: {error}"
                    ));
                }
                self.certificates.forget(&format!("mta-sts.{domain}"));
                self.known.borrow_mut().insert(
                    domain.clone(),
                    Tls {
                        life: Some(certificate.life),
                        attempt: None,
                    },
                );
                self.log
                    .info(&format!("mta-sts.{domain} has a certificate until {until}."));
            }
            Err(Stop::Later) => {}
            Err(Stop::Tested(why)) => {
                attempt.next = unix_now() + TEST_AGAIN;
                self.note(domain, tls, attempt, why);
            }
            Err(Stop::Failed(failure)) => {
                attempt.failures = attempt.failures.saturating_add(1);
                attempt.next = unix_now() + pause(attempt.failures, chance());
                // The other one need not be asked later because of this one.
                if self.authorities.len() == 1 {
                    attempt.next = attempt.next.max(authority.wire.closed());
                }
                if !failure.lives {
                    attempt.order = None;
                }
                self.note(domain, tls, attempt, failure.why);
            }
        }
    }

    /// Notes a failure, and says it if it is another one than before.
    fn note(&self, domain: &Domain, mut tls: Tls, mut attempt: Attempt, why: String) {
        let is_new = attempt.why != why;
        attempt.why = why;
        attempt.since = attempt.since.or_else(|| Some(unix_now()));
        self.keep(domain, &attempt);
        if is_new {
            let left = tls.life.map_or_else(
                || "senders get no policy".into(),
                |life| format!("the present one ends on {}", date_time(life.until)),
            );
            self.say(&format!(
                "mta-sts.{domain} gets no certificate: {}. {left}; it is tried again on {}",
                attempt.why,
                date_time(attempt.next)
            ));
        }
        tls.attempt = Some(attempt);
        self.known.borrow_mut().insert(domain.clone(), tls);
    }

    fn say(&self, sentence: &str) {
        self.log.warning(&one_line(sentence, 1000));
    }

    /// An attempt as it is now, on the disk.
    fn keep(&self, domain: &Domain, attempt: &Attempt) {
        if let Err(error) = self.ledger.borrow_mut().attempt(domain, attempt) {
            self.say(&format!("the order of mta-sts.{domain} cannot be noted: {error}"));
        }
    }

    /// Gets a certificate, by an order that was left or by a new one.
    async fn obtain(
        &self,
        domain: &Domain,
        tls: &Tls,
        attempt: &mut Attempt,
        authority: &Authority,
    ) -> Result<Certificate, Stop> {
        let host = format!("mta-sts.{domain}");
        self.is_claimed(domain).await?;
        let Known { account, names } = authority.known().await?;
        let left = match &attempt.order {
            Some((url, key)) => match account.order(url.clone()).await {
                Ok(order) => {
                    let key = self.seal.open(&format!("order for {domain}"), key.as_bytes());
                    let key = key.map_err(Stop::Tested)?;
                    Some((order, String::from_utf8_lossy(&key).into_owned()))
                }
                Err(error) if Failure::of(&error).lives => return Err(Failure::from(error).into()),
                // It is too old: the authority has forgotten it.
                Err(_) => None,
            },
            None => None,
        };
        let (mut order, key) = match left {
            Some(left) => left,
            None => {
                if self.acme.flight_test {
                    let (challenge, challenges) = (self.acme.challenge, &self.challenges);
                    flight::test(&host, &self.dns, &self.addresses, &names, challenge, challenges)
                        .await
                        .map_err(Stop::Tested)?;
                }
                self.new_order(domain, &host, &account, tls, attempt, authority).await?
            }
        };
        let pair = KeyPair::from_pem(&key).map_err(|error| Failure {
            why: error.to_string(),
            lives: false,
        })?;
        let chain = finish(&mut order, &host, &pair, self.acme.challenge, &self.challenges).await?;
        issued(&host, chain, key, &authority.acme.directory, unix_now())
            .map_err(|why| Stop::Failed(Failure { why, lives: false }))
    }

    /// Whether DNS says, at this moment, that the domain is for whom it is served.
    async fn is_claimed(&self, domain: &Domain) -> Result<(), Stop> {
        let Some(claim) = self.claims.borrow().get(domain).cloned() else {
            return Err(Stop::Later);
        };
        let (domain, dns, zone) = (domain.clone(), self.dns.clone(), self.zone.clone());
        let look = move || proof::look(&dns, &domain, &claim, zone.as_ref(), Instant::now() + TIME);
        let found = spawn_blocking(look).await;
        let found = found.map_err(|error| Stop::Tested(error.to_string()))?;
        found.map_err(|doubt| Stop::Tested(doubt.why()))
    }

    /// A new order, which is in the ledger with its key.
    async fn new_order(
        &self,
        domain: &Domain,
        host: &str,
        account: &Account,
        tls: &Tls,
        attempt: &mut Attempt,
        authority: &Authority,
    ) -> Result<(instant_acme::Order, String), Stop> {
        let now = unix_now();
        let replaces = match tls
            .life
            .filter(|life| life.is_advised && authority.takes_replacements(now))
        {
            Some(_) => self.identifier(domain),
            None => None,
        };
        let replaces = replaces.filter(|(_, issuer)| *issuer == authority.acme.directory);
        let profile = authority.acme.profile.as_deref();
        let mut order = None;
        if let Some((replaces, _)) = replaces {
            // RFC 9773 5: such an order counts towards no limit.
            match begin(account, host, profile, Some(replaces)).await {
                Ok(made) => order = Some(made),
                Err(error) if refuses_replacement(&error) => {
                    authority.wants_plain_orders(now + LONGEST_WAIT)?;
                    // It may have made one, which counts at the authority: it replaces none there.
                    self.count_order(now)?;
                }
                Err(error) => return Err(Failure::from(error).into()),
            }
        }
        let order = match order {
            Some(order) => order,
            None => {
                // It is counted before it is asked for: a request that fails may have made one.
                self.count_order(now)?;
                begin(account, host, profile, None).await.map_err(Failure::from)?
            }
        };
        let key = KeyPair::generate().map_err(|error| Failure {
            why: error.to_string(),
            lives: false,
        })?;
        let key = key.serialize_pem();
        let sealed = self
            .sealed(&format!("order for {domain}"), &key)
            .map_err(Stop::Tested)?;
        attempt.order = Some((order.url().to_owned(), sealed));
        self.ledger
            .borrow_mut()
            .attempt(domain, attempt)
            .map_err(Stop::ledger)?;
        Ok((order, key))
    }

    /// Counts an order, unless there were enough of them for now.
    fn count_order(&self, now: u64) -> Result<(), Stop> {
        let counted = self
            .ledger
            .borrow_mut()
            .order(now - WINDOW.min(now), now, self.acme.orders);
        match counted.map_err(Stop::ledger)? {
            true => Ok(()),
            false => Err(Stop::Later),
        }
    }

    /// By what its authority knows the present certificate, and which one that is.
    fn identifier(&self, domain: &Domain) -> Option<(CertificateIdentifier<'static>, String)> {
        let certificate = self.ledger.borrow().certificate(domain).ok()??;
        let der = CertificateDer::from_pem_slice(certificate.chain.as_bytes()).ok()?;
        let leaf = Leaf::read(&der)?;
        let key = leaf.authority_key?;
        let identifier = CertificateIdentifier::new(Der::from_slice(&key), Der::from_slice(&leaf.serial));
        // Before there were two, nobody asked which one it was.
        let issuer = match certificate.authority {
            issuer if issuer.is_empty() => self.acme.directory.clone(),
            issuer => issuer,
        };
        Some((identifier, issuer))
    }

    /// The authority that is asked for the next certificate: the second one, and both by turns, when the first one has failed for long.
    fn authority_for(&self, tls: &Tls, now: u64) -> &Authority {
        let life = tls.life.map(|life| (life.renew, life.until));
        let attempt = tls.attempt.as_ref();
        let is_over = has_failed_for_long(life, attempt.and_then(|attempt| attempt.since), now);
        let last = attempt.map_or("", |attempt| attempt.authority.as_str());
        match &self.authorities[..] {
            [first, second] if is_over => {
                let was_second = last == second.acme.directory;
                let is_left = attempt.is_some_and(|attempt| attempt.order.is_some());
                if was_second == is_left { second } else { first }
            }
            all => &all[0],
        }
    }

    async fn advice(
        &self,
        identifier: &CertificateIdentifier<'_>,
        issuer: &str,
    ) -> Option<(instant_acme::RenewalInfo, Duration)> {
        let authority = self.authorities.iter().find(|known| known.acme.directory == issuer)?;
        let known = authority.known().await.ok()?;
        known.account.renewal_info(identifier).await.ok()
    }

    /// Asks the authority when to renew.
    async fn advise(&self, domain: &Domain, tls: &mut Tls) {
        let Some(life) = &mut tls.life else { return };
        let advice = match self.identifier(domain) {
            Some((identifier, issuer)) => self.advice(&identifier, &issuer).await,
            None => None,
        };
        let now = unix_now();
        life.ask = now + LONGEST_WAIT;
        life.is_advised = advice.is_some();
        if let Some((info, again)) = advice {
            let unix = |time: time::OffsetDateTime| u64::try_from(time.unix_timestamp()).unwrap_or_default();
            let window = (unix(info.suggested_window.start), unix(info.suggested_window.end));
            // One that is hardly a day old stays: an authority that always wants another one would get orders without end.
            life.renew = suggested(window, life.renew, life.until, chance()).max(life.issued + LONGEST_WAIT);
            life.ask = now + ask_again(again.as_secs());
        }
        if let Err(error) = self.ledger.borrow_mut().plan(domain, life) {
            self.say(&format!("the renewal of mta-sts.{domain} cannot be noted: {error}"));
        }
        self.known.borrow_mut().insert(domain.clone(), tls.clone());
    }

    /// A private key as it is stored.
    fn sealed(&self, place: &str, key: &str) -> Result<String, String> {
        let stored = self.seal.seal(place, key.as_bytes())?;
        String::from_utf8(stored).map_err(|error| error.to_string())
    }
}

/// Why an attempt ends.
pub(super) enum Stop {
    /// There were enough orders for now.
    Later,
    /// The test before an order failed, or the authority was not reached: no order was made.
    Tested(String),
    /// An order failed.
    Failed(Failure),
}

impl Stop {
    pub(super) fn ledger(error: LedgerError) -> Self {
        Self::Tested(error.to_string())
    }

    pub(super) fn unreached(why: String) -> Self {
        Self::Tested(why)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn is_due(tls: &Tls, now: u64) -> bool {
    if let Some(attempt) = &tls.attempt {
        return now >= attempt.next;
    }
    tls.life.is_none_or(|life| now >= life.renew || now >= life.ask)
}

fn chance() -> u32 {
    let mut octets = [0; 4];
    // Without chance all hosts come at once: that is a burden, and no error.
    let _ = SystemRandom::new().fill(&mut octets);
    u32::from_ne_bytes(octets)
}

/// A certificate that the authority has sent, if it is what was ordered.
fn issued(host: &str, chain: String, key: String, authority: &str, now: u64) -> Result<Certificate, String> {
    let wrong = |why: &str| format!("what the authority has sent is refused: {why}");
    let private = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| wrong(&error.to_string()))?;
    let certified =
        certified(CertificateDer::pem_slice_iter(chain.as_bytes()), &private, host).map_err(|why| wrong(&why))?;
    let leaf = Leaf::read(&certified.cert[0]).ok_or_else(|| wrong("it is not a certificate"))?;
    if leaf.until <= now || leaf.from > now + AHEAD {
        return Err(wrong(&format!(
            "it is valid from {} until {}",
            date_time(leaf.from),
            date_time(leaf.until)
        )));
    }
    Ok(Certificate {
        chain,
        key,
        authority: authority.to_owned(),
        life: crate::ledger::Life {
            issued: now,
            until: leaf.until,
            renew: renewal(leaf.from, leaf.until),
            ask: now,
            is_advised: false,
        },
    })
}
