//! What the facts mean to a sender that enforces MTA-STS. The library's [`verdict`] decides; here its verdicts on the
//! hosts are put together, in the order in which a sender tries them.

use std::net::IpAddr;

use rustls_pki_types::UnixTime;

use crate::advice;
use crate::lint::policy;
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
    /// What is to be put right, a sentence each.
    pub problems: Vec<String>,
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
    /// What could be better although it is no problem for this sender, a sentence each.
    pub advice: Vec<String>,
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
    for (host, judgement) in survey.hosts.iter().zip(&hosts) {
        problems.extend(with_host(survey, host, judgement));
    }
    Judgement {
        record,
        policy,
        hosts,
        action,
        conclusion,
        problems,
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
    HostJudgement {
        listed: active(survey).map(|policy| host.name.host().is_ok_and(|host| policy.allows_mx(host))),
        sessions,
        by_name,
        verdict,
        advice: advice::on_addresses(host.name.as_str(), host.addresses(), addresses),
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
    let mut certificate = None;
    let seen = match &session.end {
        End::NoRoute | End::NoService(_) => None,
        End::StarttlsNotOffered => Some(Seen::StarttlsNotOffered),
        End::StarttlsRefused(_) => Some(Seen::StarttlsRefused),
        End::HandshakeFailed(why) => Some(Seen::HandshakeFailed(why.clone())),
        End::Tls { chain, .. } => host.host().ok().map(|host| {
            let chain: Vec<&[u8]> = chain.iter().map(AsRef::as_ref).collect();
            let checked = check_chain(host, &chain, roots.anchors(), at);
            certificate = Some(checked.clone());
            Seen::Certificate(checked)
        }),
    };
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
    Some(verdict_without_host(&survey.answer, why)).filter(|verdict| verdict.action.defers())
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
        return match judged().next() {
            Some(_) => of_mail(&verdict_without_host(answer, NoHost::Left)),
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

fn with_record(survey: &Survey, missing: Option<&NoRecord>) -> Option<String> {
    let domain = &survey.domain;
    Some(match missing? {
        NoRecord::Unknown(error) => {
            format!("the record at _mta-sts.{domain} could not be looked up: {error}; check the domain's name servers")
        }
        absent @ NoRecord::Absent(RecordError::NoRecord, _) => format!(
            "there is no MTA-STS ({absent}): publish a policy, then a TXT record \"v=STSv1; id=...;\" at _mta-sts.{domain}"
        ),
        absent => format!("the record at _mta-sts.{domain} is ignored: {absent}"),
    })
}

fn with_policy(survey: &Survey, policy: Option<&policy::Linted>) -> Option<String> {
    match (&survey.body, policy.map(|linted| &linted.parsed)) {
        (Some(Err(error)), _) => Some(format!(
            "the policy cannot be fetched ({}): {}",
            error.result().map_or("error on this host", ResultType::name),
            error.detail()
        )),
        (_, Some(Err(error))) => Some(format!("the policy is not valid (sts-policy-invalid): {error}")),
        _ => None,
    }
}

fn with_route(survey: &Survey) -> Option<String> {
    let domain = &survey.domain;
    if let Some(verdict) = denied(survey) {
        return Some(verdict.sentence);
    }
    match &survey.route {
        Route::NullMx => Some(format!(
            "{domain} takes no mail (null MX), so there is nothing to protect"
        )),
        Route::Unknown(error) => Some(format!("the MX records of {domain} cannot be looked up: {error}")),
        Route::Records | Route::Implicit => None,
    }
}

fn with_host(survey: &Survey, host: &Host, judgement: &HostJudgement) -> Vec<String> {
    let name = &host.name;
    let mut problems = Vec::new();
    match (name.host(), &host.sessions) {
        (Err(error), _) => problems.push(format!("the MX record {name} is not a host name: {error}")),
        (_, Err(error)) => problems.push(format!("the MX host {name} has no address: {error}")),
        _ if judgement.listed == Some(false) => problems.push(judgement.by_name.sentence.clone()),
        _ => {}
    }
    for ((address, session), judged) in host.sessions.iter().flatten().zip(&judgement.sessions) {
        if let End::NoService(why) = &session.end {
            problems.push(format!("{name} [{address}] cannot be reached: {why}"));
        }
        if session.injected > 0 {
            problems.push(format!(
                "{name} [{address}] sent {} octets in cleartext after its reply to STARTTLS: an attacker on the path may have put them \
                 there, or the server mixes what is encrypted with what is not",
                session.injected
            ));
        }
        if let End::Tls { after: Err(why), .. } = &session.end {
            problems.push(format!(
                "{name} [{address}] does not go on after the TLS handshake: {why}"
            ));
        }
        // Without a policy that asks for something there is nothing to be wrong with the host.
        let fault = judged
            .verdict
            .as_ref()
            .filter(|verdict| verdict.result.is_some() && survey.answer.applies());
        if let Some(verdict) = fault
            && !problems.contains(&verdict.sentence)
        {
            problems.push(verdict.sentence.clone());
        }
    }
    if problems.is_empty() && judgement.verdict.is_none() {
        problems.push(format!(
            "{name} could not be contacted: this machine has no route to any of its addresses"
        ));
    }
    problems
}
