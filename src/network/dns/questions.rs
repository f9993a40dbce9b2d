//! What DANE asks (RFC 7672 2) and who wants a certificate (RFC 8659), any number of questions at the same time. Who calls decides what they mean.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::{Answered, Caa, DnsError, Mx, Servers, absolute, mx_of, printed};
use crate::protocol::names::Domain;

/// How long the refusal of a port of this host may take.
const REFUSAL_TIME: Duration = Duration::from_millis(20);

impl Servers {
    /// When all questions are over.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether nothing listens at any of these servers: known only of those on this host, which say so.
    #[must_use]
    pub fn nobody_listens(&self) -> bool {
        let refuses = |server: &SocketAddr| {
            let unspecified: IpAddr = match server {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let refused = || {
                let socket = UdpSocket::bind((unspecified, 0))?;
                socket.set_read_timeout(Some(REFUSAL_TIME))?;
                socket.connect(server)?;
                // Not a message of DNS: whoever is there drops it.
                socket.send(&[0])?;
                socket.recv(&mut [0; 1])
            };
            refused().is_err_and(|error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused)
        };
        self.list.iter().all(refuses)
    }

    /// The MX records of a domain, as [`Dns::mx`](super::Dns::mx).
    ///
    /// # Errors
    /// A [`DnsError`]; `Ok` has at least one record.
    pub async fn mx(&self, domain: &Domain) -> Result<Answered<Vec<Mx>>, DnsError> {
        self.resolve(absolute(domain.as_str())?, RecordType::MX)
            .await
            .map(mx_of)
    }

    /// Where the aliases of a host lead that has addresses, or nothing if it is not an alias: ASCII in lower case without the
    /// root dot. The answer is authenticated if that for each family is which has any.
    ///
    /// # Errors
    /// A [`DnsError`]: it has none, or that is not known.
    pub async fn locate(&self, host: &Domain) -> Result<Answered<Option<String>>, DnsError> {
        let found = self.clone().addresses(absolute(host.as_str())?).await?;
        Ok(Answered {
            data: found.end.as_ref().map(printed),
            ttl: found.ttl,
            authenticated: found.authenticated,
        })
    }

    /// Whether a name is an alias, one step of it.
    ///
    /// # Errors
    /// A [`DnsError`]; an absence says that the name is no alias.
    pub async fn alias(&self, name: &Domain) -> Result<Answered<()>, DnsError> {
        let found = self.resolve(absolute(name.as_str())?, RecordType::CNAME).await?;
        Ok(Answered {
            data: (),
            ttl: found.ttl,
            authenticated: found.authenticated,
        })
    }

    /// The TLSA records of port 25 of a name, each as the octets of its RDATA (RFC 6698 2.1). An answer that is not
    /// authenticated is returned too, and proves nothing.
    ///
    /// # Errors
    /// A [`DnsError`]; `Ok` has at least one record. [`DnsError::ServFail`] is also what a validating server says of
    /// records that somebody has forged.
    pub async fn tlsa(&self, base: &Domain) -> Result<Answered<Vec<Vec<u8>>>, DnsError> {
        let found = self
            .resolve(absolute(&format!("_25._tcp.{base}"))?, RecordType::TLSA)
            .await?;
        Ok(found.map(|data| match data {
            RData::TLSA(tlsa) => {
                let head = [
                    u8::from(tlsa.cert_usage),
                    u8::from(tlsa.selector),
                    u8::from(tlsa.matching),
                ];
                Some([&head, &tlsa.cert_data[..]].concat())
            }
            _ => None,
        }))
    }

    /// The CAA records of a name itself, aliases followed; its parents are for the caller (RFC 8659 3).
    ///
    /// # Errors
    /// A [`DnsError`]; `Ok` has at least one record.
    pub async fn caa(&self, name: &Domain) -> Result<Answered<Vec<Caa>>, DnsError> {
        let found = self.resolve(absolute(name.as_str())?, RecordType::CAA).await?;
        Ok(found.map(|data| match data {
            RData::CAA(caa) => Some(Caa {
                flags: caa.flags(),
                tag: caa.tag.to_ascii_lowercase(),
                value: caa.value.clone(),
            }),
            _ => None,
        }))
    }

    /// Whether the answer about the name servers of the root is authenticated: what a name server that validates says
    /// of a zone that is surely signed.
    ///
    /// # Errors
    /// A [`DnsError`].
    pub async fn validates_the_root(&self) -> Result<bool, DnsError> {
        self.resolve(Name::root(), RecordType::NS)
            .await
            .map(|found| found.authenticated)
    }

    /// Whether there is an answer for an address of a name: none is what a name server that validates has for a name
    /// whose signatures are broken.
    ///
    /// # Errors
    /// A [`DnsError`]; [`DnsError::ServFail`] is the refusal of a name server that validates.
    pub async fn answers_for(&self, name: &Domain) -> Result<(), DnsError> {
        self.resolve(absolute(name.as_str())?, RecordType::A).await.map(|_| ())
    }

    /// The names of an address (PTR), in ASCII and lower case without the root dot.
    ///
    /// # Errors
    /// A [`DnsError`]; `Ok` has at least one name.
    #[cfg(feature = "inside")]
    pub async fn names_of(&self, address: IpAddr) -> Result<Answered<Vec<String>>, DnsError> {
        let found = self.resolve(Name::from(address), RecordType::PTR).await?;
        Ok(found.map(|data| match data {
            RData::PTR(name) => Some(printed(&name.0)),
            _ => None,
        }))
    }
}
