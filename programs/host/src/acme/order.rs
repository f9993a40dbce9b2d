//! One order from its beginning, or from where it was left, to the certificate (RFC 8555 7.4).

use std::rc::Rc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use mtasts::protocol::text::one_line;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::Challenge;
use super::challenges::Challenges;

/// How long an authority may take to look, and to issue.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));
/// The longest sentence of an authority.
const SENTENCE: usize = 400;

/// Why there is no certificate.
pub(crate) struct Failure {
    /// A sentence. It can quote the authority, on one line.
    pub(crate) why: String,
    /// Whether the order can still come to an end.
    pub(crate) lives: bool,
}

impl Failure {
    pub(crate) fn of(error: &Error) -> Self {
        // What is not the authority's word on this order may be otherwise next time.
        Self {
            why: said(error),
            lives: !matches!(error, Error::Api(_)),
        }
    }

    fn dead(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            lives: false,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of(&error)
    }
}

/// What an error of the authority is, on one line.
pub(crate) fn said(error: &Error) -> String {
    one_line(&error.to_string(), SENTENCE)
}

/// Whether an authority does not take it that an order replaces a certificate (RFC 9773 5): it does not repeat it, has its reasons, or
/// gives no advice any more.
pub(crate) fn refuses_replacement(error: &Error) -> bool {
    match error {
        Error::Unsupported(_) => true,
        Error::Other(why) => why.to_string().starts_with("replaces field mismatch"),
        Error::Api(problem) => {
            let kind = problem.r#type.as_deref().unwrap_or_default();
            kind.ends_with(":alreadyReplaced") || kind.ends_with(":malformed")
        }
        _ => false,
    }
}

/// A new order for a policy host.
pub(crate) async fn begin(
    account: &Account,
    host: &str,
    profile: Option<&str>,
    replaces: Option<CertificateIdentifier<'_>>,
) -> Result<Order, Error> {
    let names = [Identifier::Dns(host.to_owned())];
    let mut order = NewOrder::new(&names);
    if let Some(profile) = profile {
        order = order.profile(profile);
    }
    if let Some(replaces) = replaces {
        order = order.replaces(replaces);
    }
    account.new_order(&order).await
}

/// Takes an order to its end: the certificate of this key, as the authority has sent it.
pub(crate) async fn finish(
    order: &mut Order,
    host: &str,
    key: &KeyPair,
    challenge: Challenge,
    challenges: &Rc<Challenges>,
) -> Result<String, Failure> {
    if order.state().status == OrderStatus::Pending {
        prove(order, host, challenge, challenges).await?;
    }
    if order.state().status == OrderStatus::Ready {
        let wrong = |error: rcgen::Error| Failure::dead(error.to_string());
        let mut params = CertificateParams::new([host.to_owned()]).map_err(wrong)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(key).map_err(wrong)?;
        order.finalize_csr(request.der()).await?;
    }
    match order.state().status {
        OrderStatus::Processing | OrderStatus::Valid => Ok(order.poll_certificate(&PATIENCE).await?),
        other => Err(Failure::dead(format!("the order is {other:?}").to_ascii_lowercase())),
    }
}

/// Proves that the name is ours.
async fn prove(
    order: &mut Order,
    host: &str,
    challenge: Challenge,
    challenges: &Rc<Challenges>,
) -> Result<(), Failure> {
    let kind = match challenge {
        Challenge::TlsAlpn => ChallengeType::TlsAlpn01,
        Challenge::Http => ChallengeType::Http01,
    };
    let mut ready = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            other => {
                return Err(Failure::dead(format!(
                    "the authority has an authorisation that is {other:?}"
                )));
            }
        }
        let asked = authorization.identifier();
        if *asked.identifier != Identifier::Dns(host.to_owned()) || asked.wildcard {
            return Err(Failure::dead("the authority wants a proof for another name"));
        }
        let Some(mut offered) = authorization.challenge(kind.clone()) else {
            return Err(Failure::dead(
                "the authority does not offer the challenge of the settings for this name",
            ));
        };
        let key_authorization = offered.key_authorization();
        ready.push(match challenge {
            Challenge::TlsAlpn => challenges
                .show(host, key_authorization.as_str())
                .map_err(Failure::dead)?,
            Challenge::Http => challenges.put(&offered.token, key_authorization.as_str()),
        });
        offered.set_ready().await?;
    }
    match order.poll_ready(&PATIENCE).await {
        Ok(OrderStatus::Ready) => Ok(()),
        Ok(_) => Err(Failure::dead(refusal(order).await)),
        // What the authority says of the order may be less than what it says of the challenge.
        Err(Error::Api(problem)) => {
            let why = refusal(order).await;
            let problem = one_line(&problem.to_string(), SENTENCE);
            Err(Failure::dead(format!("{problem}: {why}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// What the authority has found in place of the proof.
async fn refusal(order: &mut Order) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return one_line(&problem.to_string(), SENTENCE);
        }
    }
    "the authority does not say why".into()
}
