//! Whether DNS allows an authority to issue for a name (CAA, RFC 8659), before it is asked to.

use mtasts::network::dns::Caa;

/// What the records of the nearest name that has some say of these authorities, by the names that they answer to.
///
/// # Errors
/// Why the authority will refuse, in a sentence.
pub(crate) fn permits(records: &[Caa], authorities: &[String]) -> Result<(), String> {
    // RFC 8659 4.1: what is critical and not understood forbids all.
    let is_known = |tag: &str| {
        [
            "issue",
            "issuewild",
            "iodef",
            "contactemail",
            "contactphone",
            "issuemail",
            "issuevmc",
        ]
        .contains(&tag)
    };
    if let Some(strange) = records
        .iter()
        .find(|record| record.flags & 0x80 != 0 && !is_known(&record.tag))
    {
        return Err(format!(
            "a CAA record has the critical property {:?}, which no authority knows",
            strange.tag
        ));
    }
    let mut issuers = records.iter().filter(|record| record.tag == "issue").peekable();
    if issuers.peek().is_none() {
        return Ok(());
    }
    let named = issuers.clone().any(|record| {
        // RFC 8659 4.2: the issuer's name, then parameters behind semicolons.
        let value = String::from_utf8_lossy(&record.value);
        let issuer = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        authorities.contains(&issuer)
    });
    match named {
        true => Ok(()),
        false => Err(format!(
            "the CAA records allow other authorities alone; add one: issue \"{}\"",
            authorities.first().map_or("", String::as_str)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(records: &[(u8, &str, &str)]) -> Result<(), String> {
        let records: Vec<Caa> = records
            .iter()
            .map(|(flags, tag, value)| Caa {
                flags: *flags,
                tag: (*tag).into(),
                value: value.as_bytes().to_vec(),
            })
            .collect();
        permits(&records, &["letsencrypt.org".into(), "other.example".into()])
    }

    #[test]
    fn who_may_issue() {
        for good in [
            &[][..],
            &[(0, "issue", "letsencrypt.org")],
            &[(0, "issue", " LetsEncrypt.org ; validationmethods=tls-alpn-01")],
            &[(0, "issue", ";"), (0, "issue", "other.example")],
            &[(128, "issue", "letsencrypt.org")],
            // It says nothing of names without a star.
            &[(0, "issuewild", ";"), (0, "iodef", "mailto:a@b.example")],
            &[(0, "future", "x")],
        ] {
            assert_eq!(judge(good), Ok(()), "{good:?}");
        }
        for bad in [
            &[(0, "issue", ";")][..],
            &[(0, "issue", "")],
            &[(0, "issue", "ca.example; x=letsencrypt.org")],
            &[(0, "issue", "letsencrypt.org.evil.example")],
        ] {
            assert!(
                judge(bad).unwrap_err().contains("add one: issue \"letsencrypt.org\""),
                "{bad:?}"
            );
        }
        assert!(
            judge(&[(0, "issue", "letsencrypt.org"), (128, "future\n", "x")])
                .unwrap_err()
                .contains("the critical property \"future\\n\"")
        );
    }
}
