//! TLSA records: from octets to those that a client can use (RFC 6698 2.1, RFC 7671 5, 8-10).
//!
//! For SMTP only the usages DANE-TA(2) and DANE-EE(3) are usable (RFC 7672 3.1.3). A record that is not usable proves
//! nothing, and it is not nothing: a host whose records are all unusable must still have TLS (RFC 7672 2.2).
#![forbid(unsafe_code)]

use ring::digest::{SHA256, SHA512, digest};

use crate::protocol::der;

/// What a record asserts (RFC 6698 2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Usage {
    /// DANE-TA(2): the certificate or the key of an authority that has issued the host's certificate.
    TrustAnchor,
    /// DANE-EE(3): the host's own certificate or key. Nothing else in the certificate matters (RFC 7671 5.1).
    EndEntity,
}

/// Which part of a certificate a record is about (RFC 6698 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// Cert(0): the whole certificate.
    Certificate,
    /// SPKI(1): its public key.
    PublicKey,
}

/// How a record says it (RFC 6698 2.1.3). The later, the stronger (RFC 7671 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matching {
    /// Full(0): the octets themselves.
    Full,
    /// SHA2-256(1).
    Sha256,
    /// SHA2-512(2).
    Sha512,
}

/// A record that a client can use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tlsa {
    /// What it asserts.
    pub usage: Usage,
    /// Of which part of a certificate.
    pub selector: Selector,
    /// How.
    pub matching: Matching,
    /// The octets, or their digest.
    pub data: Vec<u8>,
}

/// Why a record cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It ends before its data begins.
    Short,
    /// PKIX-TA(0) and PKIX-EE(1) are not for SMTP (RFC 7672 3.1.3); the others are not assigned.
    Usage(u8),
    /// Such a selector is not assigned.
    Selector(u8),
    /// Such a matching type is not assigned.
    Matching(u8),
    /// The digest has a length that its algorithm does not make.
    Length(usize),
    /// The full certificate or key is not one (RFC 7671 10.1.2 has the client look).
    Data,
}

impl Tlsa {
    /// Reads the RDATA of one record.
    ///
    /// # Errors
    /// Why a client cannot use it.
    pub fn read(rdata: &[u8]) -> Result<Self, Unusable> {
        let &[usage, selector, matching, ref data @ ..] = rdata else {
            return Err(Unusable::Short);
        };
        let usage = match usage {
            2 => Usage::TrustAnchor,
            3 => Usage::EndEntity,
            _ => return Err(Unusable::Usage(usage)),
        };
        let selector = match selector {
            0 => Selector::Certificate,
            1 => Selector::PublicKey,
            _ => return Err(Unusable::Selector(selector)),
        };
        let matching = match matching {
            0 => Matching::Full,
            1 => Matching::Sha256,
            2 => Matching::Sha512,
            _ => return Err(Unusable::Matching(matching)),
        };
        match (matching, selector) {
            (Matching::Sha256, _) if data.len() != 32 => return Err(Unusable::Length(data.len())),
            (Matching::Sha512, _) if data.len() != 64 => return Err(Unusable::Length(data.len())),
            (Matching::Full, Selector::Certificate) if der::public_key(data).is_none() => return Err(Unusable::Data),
            (Matching::Full, Selector::PublicKey) if !der::is_public_key(data) => return Err(Unusable::Data),
            _ => {}
        }
        Ok(Self {
            usage,
            selector,
            matching,
            data: data.to_vec(),
        })
    }
}

impl Tlsa {
    /// Usage, selector and matching type as DNS has them.
    #[must_use]
    pub const fn numbers(&self) -> (u8, u8, u8) {
        (self.usage as u8 + 2, self.selector as u8, self.matching as u8)
    }

    /// Whether this is a record of a certificate, of its key or of the whole of it. What it may vouch for is another question
    /// ([`dane::check`](super::dane::check)).
    #[must_use]
    pub fn is_of(&self, certificate: &[u8]) -> bool {
        Values::of(certificate).have(self)
    }
}

/// The TLSA records of one host that a client uses, and how many it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsaSet {
    used: Vec<Tlsa>,
    unusable: usize,
}

impl TlsaSet {
    /// Reads the RDATA of all records. Of the digests of one usage and selector only the strongest kind is used, so that
    /// a weak digest cannot speak for a strong one; full values always are (RFC 7671 9).
    pub fn read<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut set = Self::default();
        for rdata in records {
            match Tlsa::read(rdata) {
                Ok(record) => set.used.push(record),
                Err(_) => set.unusable += 1,
            }
        }
        set.used.sort();
        set.used.dedup();
        let strongest = |usage, selector| {
            let alike = set.used.iter().filter(|r| r.usage == usage && r.selector == selector);
            alike.map(|r| r.matching).max()
        };
        let kinds = [Usage::TrustAnchor, Usage::EndEntity]
            .map(|usage| [Selector::Certificate, Selector::PublicKey].map(|selector| strongest(usage, selector)));
        set.used.retain(|r| {
            r.matching == Matching::Full || Some(r.matching) == kinds[r.usage as usize][r.selector as usize]
        });
        set
    }

    /// The records that decide, each once. Empty if none is usable.
    #[must_use]
    pub fn used(&self) -> &[Tlsa] {
        &self.used
    }

    /// How many records cannot be used.
    #[must_use]
    pub const fn unusable(&self) -> usize {
        self.unusable
    }

    /// RDATA that reads as this set: what is not used of it is empty.
    #[must_use]
    pub fn rdata(&self) -> Vec<Vec<u8>> {
        let used = self.used.iter().map(|record| {
            let (usage, selector, matching) = record.numbers();
            [&[usage, selector, matching], &record.data[..]].concat()
        });
        used.chain((0..self.unusable).map(|_| Vec::new())).collect()
    }

    /// The records of a usage that a certificate matches.
    pub(crate) fn matching<'s>(&'s self, usage: Usage, certificate: &[u8]) -> impl Iterator<Item = &'s Tlsa> {
        let values = Values::of(certificate);
        self.used
            .iter()
            .filter(move |record| record.usage == usage && values.have(record))
    }
}

/// Everything of a certificate that a record can be equal to. It is made once for each certificate: a thousand records
/// cost a thousand comparisons and four digests.
struct Values([Option<[Vec<u8>; 3]>; 2]);

impl Values {
    fn of(certificate: &[u8]) -> Self {
        let all = |octets: &[u8]| {
            let hashed = |algorithm| digest(algorithm, octets).as_ref().to_vec();
            [octets.to_vec(), hashed(&SHA256), hashed(&SHA512)]
        };
        Self([Some(all(certificate)), der::public_key(certificate).map(all)])
    }

    fn have(&self, record: &Tlsa) -> bool {
        let part = self.0[record.selector as usize].as_ref();
        part.is_some_and(|values| values[record.matching as usize] == record.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(rdata: &[u8]) -> Result<(), Unusable> {
        Tlsa::read(rdata).map(|_| ())
    }

    fn with(head: [u8; 3], length: usize) -> Vec<u8> {
        [&head[..], &vec![7u8; length]].concat()
    }

    #[test]
    fn usages_selectors_matching_types_and_lengths() {
        for usage in [0, 1, 4, 255] {
            assert_eq!(why(&with([usage, 1, 1], 32)), Err(Unusable::Usage(usage)));
        }
        for selector in [2, 255] {
            assert_eq!(why(&with([3, selector, 1], 32)), Err(Unusable::Selector(selector)));
        }
        for matching in [3, 255] {
            assert_eq!(why(&with([3, 1, matching], 32)), Err(Unusable::Matching(matching)));
        }
        for (matching, right) in [(1, 32), (2, 64)] {
            for usage in [2, 3] {
                assert_eq!(why(&with([usage, 0, matching], right)), Ok(()));
                for wrong in [0, right - 1, right + 1, 65_532] {
                    assert_eq!(why(&with([usage, 1, matching], wrong)), Err(Unusable::Length(wrong)));
                }
            }
        }
        for short in [&[][..], &[3], &[3, 1]] {
            assert_eq!(why(short), Err(Unusable::Short));
        }
    }

    #[test]
    fn full_values_must_be_what_they_claim() {
        let certificate = rcgen::generate_simple_self_signed(["mx.example.com".to_owned()]).expect("a certificate");
        let certificate = certificate.cert.der().to_vec();
        let key = der::public_key(&certificate).expect("a key").to_vec();
        let full = |selector, data: &[u8]| why(&[&[3, selector, 0], data].concat());
        assert_eq!(full(0, &certificate), Ok(()));
        assert_eq!(full(1, &key), Ok(()));
        let longer = [[&certificate[..], b"\0"].concat(), [&key[..], b"\0"].concat()];
        let wrong: [(u8, &[u8]); 10] = [
            (0, &key),
            (1, &certificate),
            (0, &certificate[..certificate.len() - 1]),
            (1, &key[1..]),
            (0, &longer[0]),
            (1, &longer[1]),
            (0, b""),
            (1, b""),
            (0, &[0x30; 65_000]),
            (1, &[0x30; 65_000]),
        ];
        for (selector, data) in wrong {
            assert_eq!(full(selector, data), Err(Unusable::Data), "{selector}");
        }
    }

    /// RFC 7671 9.
    #[test]
    fn the_strongest_digest_of_each_usage_and_selector_is_used() {
        let heads = |records: &[[u8; 3]]| {
            let records: Vec<_> = records
                .iter()
                .map(|head| with(*head, if head[2] == 2 { 64 } else { 32 }))
                .collect();
            let set = TlsaSet::read(records.iter().map(Vec::as_slice));
            let head = |r: &Tlsa| [r.usage as u8 + 2, r.selector as u8, r.matching as u8];
            (set.used().iter().map(head).collect::<Vec<_>>(), set.unusable())
        };
        assert_eq!(heads(&[[3, 1, 1]]), (vec![[3, 1, 1]], 0));
        assert_eq!(heads(&[[3, 1, 1], [3, 1, 2]]), (vec![[3, 1, 2]], 0));
        assert_eq!(heads(&[[3, 1, 1], [3, 0, 2]]), (vec![[3, 0, 2], [3, 1, 1]], 0));
        assert_eq!(heads(&[[2, 1, 2], [3, 1, 1]]), (vec![[2, 1, 2], [3, 1, 1]], 0));
        // What is unusable is discarded first: an unknown digest is not the strongest.
        assert_eq!(heads(&[[3, 1, 1], [3, 1, 3], [1, 1, 2]]), (vec![[3, 1, 1]], 2));
        assert_eq!(heads(&[[3, 1, 1], [3, 1, 1]]), (vec![[3, 1, 1]], 0));
        assert_eq!(heads(&[[0, 0, 1], [255, 255, 255]]), (vec![], 2));
        assert_eq!(heads(&[]), (vec![], 0));
    }

    /// A digest of the wrong length is no digest: it does not push the good one out.
    #[test]
    fn a_malformed_strong_digest_does_not_count() {
        let (good, bad) = (with([3, 1, 1], 32), with([3, 1, 2], 63));
        let set = TlsaSet::read([&good[..], &bad]);
        assert_eq!(
            (set.used().len(), set.used()[0].matching, set.unusable()),
            (1, Matching::Sha256, 1)
        );
    }
}
