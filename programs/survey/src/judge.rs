//! What the facts mean to a sender that enforces MTA-STS. The library's [`verdict`] decides; here its verdicts on the
//! hosts are put together, in the order in which a sender tries them.

use std::net::IpAddr;
use std::time::Duration;

use rustls_pki_types::UnixTime;

use crate::advice;
use crate::dane::{self, HostDane};
use crate::finding::{Code, Finding, Level};
use crate::lint::{policy, record};
use crate::policy_host;
use crate::smtp::{End, Session};
use crate::survey::{Host, Route, Survey};
use mtasts::network::addresses::Rule;
use mtasts::network::dns::DnsError;
use mtasts::network::roots::Roots;
use mtasts::protocol::certificate::{CertificateFailure, check_chain};
use mtasts::protocol::mx_name::MxName;
use mtasts::protocol::policy::Policy;
use mtasts::protocol::record::{Record, RecordError};
use mtasts::protocol::words::ResultType;
use mtasts::sender::attempt::Attempt;
use mtasts::sender::verdict::{Action, NoHost, Seen, Verdict, verdict_without_host};

/// The whole judgement.
pub struct Judgement {
    /// The record, or why there is none.
    pub record: Result<Record, NoRecord>,
    /// The policy as published now, or nothing where none could be fetched.
    pub policy: Option<policy::Linted>,
    /// One for each host of the survey.
    pub hosts: Vec<HostJudgement>,
    /// What becomes of mail to the domain, or nothing where there is no mail: a null MX, no such domain.
    pub action: Option<Action>,
    /// The same in plain words.
    pub conclusion: String,
    /// What is to be put right, or could not be determined.
    pub problems: Vec<Finding>,
    /// The records at `_mta-sts` as [`record::lint`] sees them, if there are some.
    pub records: Option<record::Linted>,
    /// What could be better although a sender has no problem with it.
    pub advice: Vec<Finding>,
}

/// What it comes to, for scripts and monitoring; the worse the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Everything is in order.
    Good,
    /// The domain has no MTA-STS.
    NoPolicy,
    /// Something could not be determined, and nothing else is wrong.
    Unknown,
    /// Something is to be put right.
    Bad,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::NoPolicy => "no-policy",
            Self::Unknown => "unknown",
            Self::Bad => "bad",
        }
    }
}

impl Judgement {
    /// What it comes to.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let without = self.problems.iter().any(|problem| problem.code == Code::NoRecord);
        let of = |problem: &Finding| match problem.code {
            Code::NoRecord => Outcome::NoPolicy,
            // Where no mail goes there is nothing to protect.
            Code::NullMx if without => Outcome::NoPolicy,
            code if code.level() == Level::Unknown => Outcome::Unknown,
            _ => Outcome::Bad,
        };
        self.problems.iter().map(of).max().unwrap_or(Outcome::Good)
    }
}

/// Why there is no record.
pub enum NoRecord {
    /// There is none, or none that counts. Where DNS has no TXT record at all, what DNS says.
    Absent(RecordError, Option<DnsError>),
    /// It could not be learnt.
    Unknown(DnsError),
}

impl std::fmt::Display for NoRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent(_, Some(error)) => write!(f, "no TXT record: {error}"),
            Self::Absent(error, None) => error.fmt(f),
            Self::Unknown(error) => error.fmt(f),
        }
    }
}

/// What a sender does about one host.
pub struct HostJudgement {
    /// Whether the policy lists it, where one counts.
    pub listed: Option<bool>,
    /// One for each session.
    pub sessions: Vec<SessionJudgement>,
    /// What a sender makes of its name, before it connects.
    pub by_name: Verdict,
    /// What a sender does in the end, or nothing if it can do nothing: the host is not reached, or has no host name.
    pub verdict: Option<Verdict>,
    /// What could be better although it is no problem for this sender.
    pub advice: Vec<Finding>,
    /// What DANE makes of it, where a name server that validates was asked.
    pub dane: Option<HostDane>,
    /// What is to be put right about that.
    pub dane_problems: Vec<Finding>,
}

/// What a sender makes of one session.
pub struct SessionJudgement {
    /// The address that was connected to.
    pub address: IpAddr,
    /// Whether the certificate is good, where one came.
    pub certificate: Option<Result<(), CertificateFailure>>,
    /// Nothing where there was nothing to see.
    pub verdict: Option<Verdict>,
}

/// Judges what was found, with these roots, at this time.
#[must_use]
pub fn judge(survey: &Survey, addresses: &Rule, roots: &Roots, at: UnixTime) -> Judgement {
    let record = match &survey.txt {
        Ok(records) => Record::find(records).map_err(|error| NoRecord::Absent(error, None)),
        Err(error) if error.is_absence() => Err(NoRecord::Absent(RecordError::NoRecord, Some(error.clone()))),
        Err(error) => Err(NoRecord::Unknown(error.clone())),
    };
    let policy = survey
        .body
        .as_ref()
        .and_then(|body| body.as_ref().ok())
        .map(|body| policy::lint(body));
    let hosts: Vec<_> = survey
        .hosts
        .iter()
        .map(|host| judge_host(survey, host, addresses, roots, at))
        .collect();
    let (action, conclusion) = conclude(survey, &hosts);
    let mut problems = Vec::new();
    problems.extend(with_record(survey, record.as_ref().err()));
    problems.extend(with_policy(survey, policy.as_ref()));
    problems.extend(with_route(survey));
    problems.extend(with_hosts(survey, &hosts));
    let txt = survey.txt.as_ref().ok();
    let of_hosts = hosts.iter().flat_map(|host| host.advice.iter().cloned());
    let advice = of_hosts.chain(advice::on_surroundings(survey)).collect();
    Judgement {
        record,
        policy,
        hosts,
        action,
        conclusion,
        problems,
        advice,
        records: txt.map(|records| record::lint(records, at.as_secs())),
    }
}

/// The policy, if it asks for anything.
fn active(survey: &Survey) -> Option<&Policy> {
    survey.answer.policy().filter(|_| survey.answer.applies())
}

fn judge_host(survey: &Survey, host: &Host, addresses: &Rule, roots: &Roots, at: UnixTime) -> HostJudgement {
    let by_name = Attempt::new(&survey.answer, host.name.clone()).saw(Seen::Name);
    let asked = || host.sessions.iter().flatten();
    let sessions: Vec<_> = asked()
        .map(|(address, session)| judge_session(survey, &host.name, *address, session, roots, at))
        .collect();
    // A sender tries the addresses of a host until one will do. If the host hangs up after the handshake none can. Before
    // it tries any it looks at the name, and if that will not do it does not connect.
    let goes_on = |session: &Session| !matches!(session.end, End::Tls { after: Err(_), .. });
    let usable = asked().zip(&sessions).filter(|((_, session), _)| goes_on(session));
    let verdicts = usable.filter_map(|(_, judged)| judged.verdict.as_ref());
    let verdict = match by_name.action.delivers() {
        true => verdicts.min_by_key(|verdict| verdict.action).cloned(),
        false => Some(by_name.clone()),
    };
    let mut advice = advice::on_addresses(host.name.as_str(), host.addresses(), addresses);
    let ends = asked().find_map(|(_, session)| ends_soon(&host.name, session, roots, at));
    advice.extend(ends.map(|when| Finding::new(Code::CertificateEndsSoon, format!("{}: {when}", host.name))));
    let (dane, found) = dane::judge(&survey.dane, host, at).unzip();
    let (dane_problems, better) = found
        .into_iter()
        .flatten()
        .partition(|found| found.code.level() == Level::Error);
    advice.extend::<Vec<_>>(better);
    HostJudgement {
        dane,
        dane_problems,
        listed: active(survey).map(|policy| host.name.host().is_ok_and(|host| policy.allows_mx(host))),
        sessions,
        by_name,
        verdict,
        advice,
    }
}

/// When a certificate that is good now ends, if that is within two weeks: a sentence.
#[must_use]
pub fn ends_soon(host: &MxName, session: &Session, roots: &Roots, at: UnixTime) -> Option<String> {
    const SOON: u64 = 14 * 86_400;
    let End::Tls { chain, .. } = &session.end else {
        return None;
    };
    let (host, chain) = (
        host.host().ok()?,
        chain.iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>(),
    );
    let checked = |at| check_chain(host, &chain, roots.anchors(), at);
    let then = UnixTime::since_unix_epoch(Duration::from_secs(at.as_secs() + SOON));
    let failure = checked(then).err().filter(|_| checked(at).is_ok())?;
    (failure.result == ResultType::CertificateExpired).then(|| failure.reason.replace(" expired on ", " expires on "))
}

/// Whether the certificate of a session is good, if there was one.
fn checked(host: &MxName, session: &Session, roots: &Roots, at: UnixTime) -> Option<Result<(), CertificateFailure>> {
    let End::Tls { chain, .. } = &session.end else {
        return None;
    };
    let chain: Vec<&[u8]> = chain.iter().map(AsRef::as_ref).collect();
    Some(check_chain(host.host().ok()?, &chain, roots.anchors(), at))
}

/// What a session shows of a host, for a verdict. What our TLS library cannot do says nothing.
#[must_use]
pub fn seen(host: &MxName, session: &Session, roots: &Roots, at: UnixTime) -> Option<Seen> {
    match &session.end {
        End::Tls { .. } => match checked(host, session, roots, at)? {
            Err(failure) if is_beyond_us(&failure.reason) => None,
            checked => Some(Seen::Certificate(checked)),
        },
        end => seen_without_tls(end),
    }
}

/// Whether a certificate failed, for this reason, only because of what our TLS library cannot do.
#[must_use]
pub fn is_beyond_us(reason: &str) -> bool {
    policy_host::is_unsupported_certificate(reason)
}

/// The same of a session that ended before there was a certificate.
#[must_use]
pub fn seen_without_tls(end: &End) -> Option<Seen> {
    match end {
        End::StarttlsNotOffered => Some(Seen::StarttlsNotOffered),
        End::StarttlsRefused(_) => Some(Seen::StarttlsRefused),
        End::HandshakeFailed(why) => Some(Seen::HandshakeFailed(why.clone())),
        _ => None,
    }
}

fn judge_session(
    survey: &Survey,
    host: &MxName,
    address: IpAddr,
    session: &Session,
    roots: &Roots,
    at: UnixTime,
) -> SessionJudgement {
    let seen = seen(host, session, roots, at);
    let certificate = checked(host, session, roots, at);
    let mut attempt = Attempt::new(&survey.answer, host.clone());
    attempt.saw(Seen::Name);
    SessionJudgement {
        address,
        certificate,
        verdict: seen.map(|seen| attempt.saw(seen)),
    }
}

/// The verdict on the mail if DNS denies the MX hosts that the policy lists.
fn denied(survey: &Survey) -> Option<Verdict> {
    let why = match survey.route {
        Route::Unknown(DnsError::NxDomain) => NoHost::NxDomain,
        Route::NullMx => NoHost::NullMx,
        Route::Implicit => NoHost::NoData,
        Route::Records | Route::Unknown(_) => return None,
    };
    Some(verdict_without_host(&survey.answer, why, &[])).filter(|verdict| verdict.action.defers())
}

/// What becomes of the mail.
fn conclude(survey: &Survey, hosts: &[HostJudgement]) -> (Option<Action>, String) {
    let (domain, answer) = (&survey.domain, &survey.answer);
    let of_mail = |verdict: &Verdict| (Some(verdict.action), verdict.sentence.clone());
    if let Some(verdict) = denied(survey) {
        return of_mail(&verdict);
    }
    match &survey.route {
        Route::Unknown(DnsError::NxDomain) => return (None, format!("the domain {domain} does not exist")),
        Route::NullMx => {
            return (
                None,
                format!("{domain} takes no mail: its MX record says so (null MX, RFC 7505)"),
            );
        }
        Route::Unknown(error) => {
            let sentence = format!("mail to {domain} is deferred: its MX hosts cannot be looked up ({error})");
            return (Some(Action::Defer), sentence);
        }
        Route::Records | Route::Implicit => {}
    }
    let judged = || {
        let hosts = survey.hosts.iter().zip(hosts);
        hosts.filter_map(|(host, judged)| Some((host.name.as_str(), judged.verdict.as_ref()?)))
    };
    if let Some((_, verdict)) = judged().find(|(_, verdict)| verdict.action.defers()) {
        return of_mail(verdict);
    }
    let Some((first, verdict)) = judged().find(|(_, verdict)| verdict.action.delivers()) else {
        // A host that may get the mail by its name and showed nothing else.
        let open = |judged: &&HostJudgement| judged.by_name.action.delivers() && !judged.sessions.is_empty();
        if hosts.iter().any(|judged| open(&judged) && judged.verdict.is_none()) {
            return undetermined(survey);
        }
        return match judged().next() {
            Some(_) => of_mail(&verdict_without_host(answer, NoHost::Left, &[])),
            None => (
                Some(Action::Defer),
                format!("mail to {domain} is deferred: no MX host can take it"),
            ),
        };
    };
    let sentence = if answer.enforces() {
        let skipped = survey.hosts.iter().map(|host| host.name.as_str());
        let skipped: Vec<_> = skipped.take_while(|host| *host != first).collect();
        let over = match &*skipped {
            [] => String::new(),
            names => format!("passes over {} and ", names.join(", ")),
        };
        format!("a sender that enforces MTA-STS {over}delivers mail to {domain} at {first}, over verified TLS")
    } else if answer.applies() {
        let enforced = match judged().find(|(_, verdict)| verdict.result.is_none()) {
            Some((host, _)) => format!("in mode enforce it would be delivered at {host}, over verified TLS"),
            None => "in mode enforce it would be deferred".to_owned(),
        };
        format!("the policy is in testing: mail to {domain} is delivered even if a host fails; {enforced}")
    } else {
        verdict.sentence.clone()
    };
    (Some(verdict.action), sentence)
}

/// No MX host that may get the mail showed what it does.
fn undetermined(survey: &Survey) -> (Option<Action>, String) {
    let domain = &survey.domain;
    let ends = || {
        survey
            .hosts
            .iter()
            .flat_map(|host| host.sessions.iter().flatten())
            .map(|(_, session)| &session.end)
    };
    if ends().all(|end| matches!(end, End::NotAsked)) {
        return (
            None,
            format!("the MX hosts of {domain} were not contacted, so only its record and its policy were checked"),
        );
    }
    let may = if survey.answer.applies() {
        "that the policy lists "
    } else {
        ""
    };
    if ends().any(|end| matches!(end, End::Unsupported(_) | End::Tls { after: Ok(()), .. })) {
        return (
            None,
            format!(
                "whether a sender delivers mail to {domain} depends on its TLS library: libmtasts does not support that of the MX host"
            ),
        );
    }
    if ends().any(|end| matches!(end, End::Unreached(_))) && !ends().any(is_answer) {
        return (
            Some(Action::Defer),
            format!(
                "no MX host {may}answered, so it is not known what a sender does that reaches them; from here mail to {domain} is deferred"
            ),
        );
    }
    (
        Some(Action::Defer),
        format!("mail to {domain} is deferred: no MX host can take it"),
    )
}

/// Whether something came from the host.
const fn is_answer(end: &End) -> bool {
    !matches!(end, End::NoRoute | End::NotAsked | End::Unreached(_))
}

fn with_record(survey: &Survey, missing: Option<&NoRecord>) -> Option<Finding> {
    let domain = &survey.domain;
    Some(match missing? {
        NoRecord::Unknown(error) => Finding::told(
            Code::RecordUnknown,
            format!("the record at _mta-sts.{domain} could not be looked up: {error}; check the domain's name servers"),
        ),
        NoRecord::Absent(RecordError::NoRecord, _) if survey.surroundings.misplaced => {
            Finding::new(Code::RecordMisplaced, format!("_mta_sts.{domain}"))
        }
        absent @ NoRecord::Absent(RecordError::NoRecord, _) => Finding::told(
            Code::NoRecord,
            format!(
                "there is no MTA-STS ({absent}): publish a policy, then a TXT record \"v=STSv1; id=...;\" at _mta-sts.{domain}"
            ),
        ),
        absent => Finding::told(
            Code::RecordIgnored,
            format!("the record at _mta-sts.{domain} is ignored: {absent}"),
        ),
    })
}

fn with_policy(survey: &Survey, policy: Option<&policy::Linted>) -> Option<Finding> {
    match (&survey.body, policy.map(|linted| &linted.parsed)) {
        (Some(Err(error)), _) => Some(policy_host::finding(&survey.domain, error)),
        (_, Some(Err(error))) => {
            let sentence = format!("the policy is not valid (sts-policy-invalid): {error}");
            Some(Finding::told(Code::PolicyInvalid, sentence))
        }
        _ => None,
    }
}

fn with_route(survey: &Survey) -> Option<Finding> {
    let domain = &survey.domain;
    if let Some(verdict) = denied(survey) {
        return Some(Finding::told(Code::NoDomain, verdict.sentence));
    }
    match &survey.route {
        Route::NullMx => Some(Finding::told(
            Code::NullMx,
            format!("{domain} takes no mail (null MX), so there is nothing to protect"),
        )),
        Route::Unknown(error) => {
            let code = match error {
                DnsError::NxDomain => Code::NoDomain,
                _ => Code::MxUnknown,
            };
            Some(Finding::told(
                code,
                format!("the MX records of {domain} cannot be looked up: {error}"),
            ))
        }
        Route::Records | Route::Implicit => None,
    }
}

/// If nothing at all comes from any host, it is probably this network that keeps us from them.
fn with_hosts(survey: &Survey, judgements: &[HostJudgement]) -> Vec<Finding> {
    let mut problems: Vec<Finding> = Vec::new();
    let sessions = || {
        survey.hosts.iter().flat_map(|host| {
            host.sessions
                .iter()
                .flatten()
                .map(move |(ip, session)| (host, ip, &session.end))
        })
    };
    let silent =
        sessions().any(|(.., end)| matches!(end, End::Unreached(_))) && !sessions().any(|(.., end)| is_answer(end));
    if silent {
        let asked: Vec<_> = sessions()
            .map(|(host, ip, _)| format!("{} [{ip}]", host.name))
            .take(4)
            .collect();
        problems.push(Finding::new(Code::Port25, asked.join(", ")));
    }
    for (host, judgement) in survey.hosts.iter().zip(judgements) {
        problems.extend(with_host(survey, host, judgement, silent));
    }
    problems
}

fn with_host(survey: &Survey, host: &Host, judgement: &HostJudgement, silent: bool) -> Vec<Finding> {
    let name = &host.name;
    let mut problems: Vec<Finding> = Vec::new();
    match (name.host(), &host.sessions) {
        (Err(error), _) => problems.push(Finding::told(
            Code::MxNotAHost,
            format!("the MX record {name} is not a host name: {error}"),
        )),
        (_, Err(error)) if error.is_absence() => {
            problems.push(Finding::told(
                Code::MxNoAddress,
                format!("the MX host {name} has no address: {error}"),
            ));
        }
        (_, Err(error)) => {
            problems.push(Finding::told(
                Code::MxAddressUnknown,
                format!("the address of the MX host {name} could not be looked up: {error}"),
            ));
        }
        _ if judgement.listed == Some(false) => {
            problems.push(Finding::told(Code::MxNotListed, judgement.by_name.sentence.clone()))
        }
        _ => {}
    }
    problems.extend(judgement.dane_problems.iter().cloned());
    for ((address, session), judged) in host.sessions.iter().flatten().zip(&judgement.sessions) {
        let mut add = |code, what: String| problems.push(Finding::told(code, format!("{name} [{address}] {what}")));
        match &session.end {
            End::Unreached(why) if !silent => add(Code::MxUnreachable, format!("cannot be reached: {why}")),
            End::NoService(why) => add(Code::MxNoService, format!("cannot be reached: {why}")),
            End::Unsupported(why) => problems.push(Finding::new(
                Code::MxTlsUnsupported,
                format!("{name} [{address}]: {why}"),
            )),
            End::Tls { after: Err(why), .. } => add(
                Code::MxAfterTls,
                format!("does not go on after the TLS handshake: {why}"),
            ),
            _ => {}
        }
        if session.injected > 0 {
            problems.push(Finding::told(Code::MxInjected, format!(
                "{name} [{address}] sent {} octets in cleartext after its reply to STARTTLS: an attacker on the path may have put them \
                 there, or the server mixes what is encrypted with what is not",
                session.injected
            )));
        }
        if let (Some(Err(failure)), None, true) = (&judged.certificate, &judged.verdict, survey.answer.applies()) {
            problems.push(Finding::new(
                Code::MxCertificateUnsupported,
                format!("{name}: {}", failure.reason),
            ));
        }
        // Without a policy that asks for something there is nothing to be wrong with the host.
        let fault = judged
            .verdict
            .as_ref()
            .filter(|verdict| verdict.result.is_some() && survey.answer.applies());
        if let Some(verdict) = fault
            && !problems.iter().any(|problem| problem.sentence == verdict.sentence)
        {
            let code = match &session.end {
                End::StarttlsNotOffered | End::StarttlsRefused(_) => Code::MxStarttls,
                End::HandshakeFailed(_) => Code::MxTls,
                _ => Code::MxCertificate,
            };
            problems.push(Finding::told(code, verdict.sentence.clone()));
        }
    }
    let without_route = |(_, session): &(IpAddr, Session)| session.end == End::NoRoute;
    if problems.is_empty()
        && !silent
        && host
            .sessions
            .as_ref()
            .is_ok_and(|sessions| !sessions.is_empty() && sessions.iter().all(without_route))
    {
        problems.push(Finding::told(
            Code::MxNoRoute,
            format!("{name} could not be contacted: this machine has no route to any of its addresses"),
        ));
    }
    problems
}
