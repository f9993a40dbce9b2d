//! The signature of a report (RFC 6376), for a host whose mail server does not sign: RFC 8460 3 has receivers ignore a report
//! without one. And the key in DNS by which it is verified.
//!
//! ring signs. A library for all of DKIM would bring a resolver and a second way to ask for trust anchors along.

use std::fmt;

use data_encoding::BASE64;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

/// The header fields that are signed. RFC 8460 3 asks for the first two.
const SIGNED: [&str; 11] = [
    "TLS-Report-Domain",
    "TLS-Report-Submitter",
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "TLS-Required",
    "Auto-Submitted",
];
/// The least key that verifiers take, in octets (RFC 8301 3.2).
const LEAST_RSA: usize = 128;
/// How long a line of the signature is.
const LINE: usize = 72;

/// A private key.
pub enum Key {
    /// `rsa-sha256`.
    Rsa(RsaKeyPair),
    /// `ed25519-sha256` (RFC 8463).
    Ed25519(Ed25519KeyPair),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm())
    }
}

impl Key {
    /// Reads a private key in PEM: PKCS #8, or PKCS #1 for RSA.
    ///
    /// # Errors
    /// What is wrong with it, in plain words.
    pub fn read(pem: &[u8]) -> Result<Self, String> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| "has no private key in PEM")?;
        let key = match &der {
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let rsa = RsaKeyPair::from_pkcs8(der).map(Self::Rsa);
                rsa.or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Self::Ed25519))
            }
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).map(Self::Rsa),
            _ => return Err("is neither a key for RSA nor for Ed25519".into()),
        };
        let key = key.map_err(|_| "is neither a key for RSA (2048 to 4096 bits) nor for Ed25519")?;
        Ok(key)
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "rsa-sha256",
            Self::Ed25519(_) => "ed25519-sha256",
        }
    }

    /// The public key as DNS has it at the end of `p=`: RSAPublicKey, or the octets of Ed25519.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        match self {
            Self::Rsa(key) => key.public_key().as_ref(),
            Self::Ed25519(key) => key.public_key().as_ref(),
        }
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature)
                    .map_err(|_| "the report could not be signed")?;
                Ok(signature)
            }
            // RFC 8463 3: the hash is what is signed.
            Self::Ed25519(key) => Ok(key.sign(digest(&SHA256, text).as_ref()).as_ref().to_vec()),
        }
    }

    /// The header field with the signature over a mail whose lines end with line feeds; to be put before it.
    ///
    /// # Errors
    /// In words: the mail has no body, or the system has no random numbers.
    pub fn signature(&self, mail: &[u8], domain: &str, selector: &str, now: u64) -> Result<String, String> {
        let mail = std::str::from_utf8(mail).map_err(|_| "the mail is not a text")?;
        let (header, body) = mail.split_once("\n\n").ok_or("the mail has no body")?;
        let fields = fields(header);
        let find = |name: &str| fields.iter().find(|field| name_of(field).eq_ignore_ascii_case(name));
        let signed: Vec<&str> = SIGNED.into_iter().filter(|name| find(name).is_some()).collect();
        let body_hash = BASE64.encode(digest(&SHA256, relaxed_body(body).as_bytes()).as_ref());
        let algorithm = self.algorithm();
        let begin = format!(
            "DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed; d={domain}; s={selector}; t={now};\n\
             \th={};\n\tbh={body_hash};\n\tb=",
            signed.join(":\n\t ")
        );
        let mut text = String::new();
        for field in signed.iter().filter_map(|name| find(name)) {
            text += &relaxed(field);
            text += "\r\n";
        }
        text += &relaxed(&begin);
        let signature = BASE64.encode(&self.sign(text.as_bytes())?);
        let lines: Vec<&str> = (0..signature.len())
            .step_by(LINE)
            .map(|at| &signature[at..signature.len().min(at + LINE)])
            .collect();
        Ok(format!("{begin}{}\n", lines.join("\n\t ")))
    }
}

/// The fields of a header, each with its folded lines.
fn fields(header: &str) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for line in header.lines() {
        match fields.last_mut() {
            Some(field) if line.starts_with([' ', '\t']) => {
                field.push('\n');
                field.push_str(line);
            }
            _ => fields.push(line.to_owned()),
        }
    }
    fields
}

fn name_of(field: &str) -> &str {
    field.split(':').next().unwrap_or_default().trim_end()
}

/// One field in the canonical form `relaxed`, without its end (RFC 6376 3.4.2).
fn relaxed(field: &str) -> String {
    let (name, value) = field.split_once(':').unwrap_or((field, ""));
    let value: Vec<&str> = value.split([' ', '\t', '\n']).filter(|word| !word.is_empty()).collect();
    format!("{}:{}", name.trim_end().to_ascii_lowercase(), value.join(" "))
}

/// The body in the canonical form `relaxed` (RFC 6376 3.4.4).
fn relaxed_body(body: &str) -> String {
    let mut text = String::with_capacity(body.len() + body.len() / 50);
    let mut empty = 0;
    for line in body.lines() {
        let indented = line.starts_with([' ', '\t']);
        let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        if words.is_empty() {
            empty += 1;
            continue;
        }
        text.extend(std::iter::repeat_n("\r\n", empty));
        empty = 0;
        text += if indented { " " } else { "" };
        text += &words.join(" ");
        text += "\r\n";
    }
    text
}

/// Whether the key record of a selector (RFC 6376 3.6.1) verifies reports, and is that of `own`, if we sign.
///
/// # Errors
/// What is wrong with it, in plain words.
pub fn check_record(record: &str, own: Option<&Key>) -> Result<(), String> {
    let tags: Vec<(&str, &str)> = record
        .split(';')
        .filter_map(|tag| tag.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let get = |name: &str| tags.iter().find(|(tag, _)| *tag == name).map(|(_, value)| *value);
    let lists =
        |name: &str, wanted: &str| get(name).is_none_or(|list| list.split(':').any(|word| word.trim() == wanted));
    if get("v").is_some_and(|version| version != "DKIM1") {
        return Err("it is not a key record of DKIM (v=DKIM1)".into());
    }
    // RFC 8460 3: receivers may ask for this service. OpenDKIM asks for email, whatever is signed.
    let allows = lists("s", "*") || (lists("s", "tlsrpt") && lists("s", "email"));
    if !allows {
        return Err("its s= does not allow reports everywhere; remove s=, or make it email:tlsrpt".into());
    }
    if !lists("h", "sha256") {
        return Err("its h= does not allow sha256".into());
    }
    if get("t").is_some_and(|flags| flags.split(':').any(|flag| flag.trim() == "y")) {
        return Err("its t=y says that the domain tests DKIM, so that no signature counts; remove it".into());
    }
    let key: String = get("p").unwrap_or_default().split_whitespace().collect();
    let key = BASE64.decode(key.as_bytes()).map_err(|_| "its p= is not base64")?;
    if key.is_empty() {
        return Err("its p= is empty: the key is revoked".into());
    }
    let is_rsa = get("k").is_none_or(|kind| kind == "rsa");
    if is_rsa && key.len() < LEAST_RSA {
        return Err("its key is shorter than 1024 bits".into());
    }
    match own {
        Some(own) if matches!(own, Key::Rsa(_)) != is_rsa => Err("its k= is not the kind of dkim_key".into()),
        Some(own) if !key.ends_with(own.public()) => Err("its key is not that of dkim_key".into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6376 3.4.5.
    #[test]
    fn canonical_forms_are_those_of_the_rfc() {
        assert_eq!(relaxed("A: X"), "a:X");
        assert_eq!(relaxed("B : Y\t\n\tZ  "), "b:Y Z");
        assert_eq!(relaxed_body(" C \nD \t E\n\n\n"), " C\r\nD E\r\n");
        assert_eq!(relaxed_body("a\n\nb"), "a\r\n\r\nb\r\n");
        assert_eq!(relaxed_body("\n\n"), "");
    }

    #[test]
    fn a_key_record_that_verifies_no_report_is_found_out() {
        let key = BASE64.encode(&[7; 200]);
        for good in [
            "",
            "v=DKIM1; ",
            "s=*; ",
            "s=email:tlsrpt; h=sha1:sha256; ",
            "n=a b; t=s; ",
        ] {
            assert_eq!(check_record(&format!("{good}p={key}"), None), Ok(()), "{good}");
        }
        assert_eq!(check_record(&format!("p={} {}", &key[..8], &key[8..]), None), Ok(()));
        for (bad, why) in [
            (format!("v=DKIM2; p={key}"), "it is not a key record of DKIM (v=DKIM1)"),
            (
                format!("s=email; p={key}"),
                "its s= does not allow reports everywhere; remove s=, or make it email:tlsrpt",
            ),
            (
                format!("s=tlsrpt; p={key}"),
                "its s= does not allow reports everywhere; remove s=, or make it email:tlsrpt",
            ),
            (format!("h=sha1; p={key}"), "its h= does not allow sha256"),
            (
                format!("t=s:y; p={key}"),
                "its t=y says that the domain tests DKIM, so that no signature counts; remove it",
            ),
            ("v=DKIM1; p=".into(), "its p= is empty: the key is revoked"),
            ("v=spf1 -all".into(), "it is not a key record of DKIM (v=DKIM1)"),
            ("p=AAAA".into(), "its key is shorter than 1024 bits"),
            ("p=%".into(), "its p= is not base64"),
        ] {
            assert_eq!(check_record(&bad, None), Err(why.to_owned()), "{bad}");
        }
        let random = SystemRandom::new();
        let own = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let own = Key::Ed25519(Ed25519KeyPair::from_pkcs8(own.as_ref()).unwrap());
        let record = format!("v=DKIM1; k=ed25519; p={}", BASE64.encode(own.public()));
        assert_eq!(check_record(&record, Some(&own)), Ok(()));
        let other = format!("k=ed25519; p={}", BASE64.encode(&[1; 32]));
        assert_eq!(
            check_record(&other, Some(&own)),
            Err("its key is not that of dkim_key".into())
        );
        assert_eq!(
            check_record(&format!("p={key}"), Some(&own)),
            Err("its k= is not the kind of dkim_key".into())
        );
    }
}
