//! The DNS of the test Internet. To its clients it looks like a validating resolver that knows all of `.test`.

use super::behaviour::{Fault, Https, Mx, Tlsa};
use super::entry::{At, Host, MxRecords, Txt};
use super::log::count;
use super::namespace;
use super::table;
use super::world::{DNS_ADDRESS, Place, World};
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Edns, Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, MX, SOA, TLSA, TXT};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo, Server};
use hickory_server::zone_handler::MessageResponseBuilder;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UdpSocket};

/// Timeline tests change answers at any moment: nobody may keep one.
const TTL: u32 = 0;
/// The crowd never changes: it is for those who measure, and answers are kept as on the real Internet.
const CROWD_TTL: u32 = 300;
/// More than any chain in the table has; the loop in it ends here.
const LONGEST_CHAIN: usize = 8;

/// Starts to answer on UDP and TCP.
pub(super) async fn serve(world: Arc<World>) -> io::Result<Server<Answerer>> {
    let address = (DNS_ADDRESS, 53);
    let mut server = Server::new(Answerer { world });
    let socket = UdpSocket::bind(address).await?;
    // Some programs ask once, and give the mail up when that is lost.
    namespace::receive_much(&socket);
    server.register_socket(socket);
    server.register_listener(TcpListener::bind(address).await?, Duration::from_secs(30), 64);
    Ok(server)
}

pub(super) struct Answerer {
    world: Arc<World>,
}

/// What the whole question leads to.
#[derive(Default)]
struct Answer {
    records: Vec<Record>,
    fault: Option<Fault>,
    /// Everything on the way was signed.
    secure: bool,
}

/// What one name has of one type.
enum Found {
    Records(Vec<RData>),
    Alias(String),
    Fault(Fault),
}

#[async_trait::async_trait]
impl RequestHandler for Answerer {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut reply: R) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = true;
        metadata.authoritative = false;
        let silence = ResponseInfo::from(Header {
            metadata,
            counts: HeaderCounts::default(),
        });
        let Ok(question) = request.request_info() else {
            return silence;
        };
        // Not `to_string`, which turns A-labels into U-labels.
        let name = question
            .query
            .name()
            .to_ascii()
            .trim_end_matches('.')
            .to_ascii_lowercase();
        let kind = question.query.query_type();
        count(&mut self.world.log().counters.dns, &format!("{name} {kind}"));

        let answer = self.answer(&name, kind);
        metadata.response_code = match answer.fault {
            Some(Fault::Silent) => return silence,
            Some(Fault::NxDomain) => ResponseCode::NXDomain,
            Some(Fault::ServFail) => ResponseCode::ServFail,
            Some(Fault::Refused) => ResponseCode::Refused,
            Some(Fault::NoData) | None => ResponseCode::NoError,
        };
        // RFC 6840 5.7, 5.8: only who shows interest by AD or DO is told.
        let asks = request.metadata.authentic_data || request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        let failed = matches!(answer.fault, Some(Fault::ServFail | Fault::Refused));
        metadata.authentic_data = asks && answer.secure && !failed;
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(request.max_payload())
                .set_dnssec_ok(asked.flags().dnssec_ok);
            edns
        });
        let soa: Vec<_> = (!failed && answer.fault.is_some()).then(soa).into_iter().collect();
        let response = MessageResponseBuilder::new(&request.queries, edns.as_ref()).build(
            metadata,
            &answer.records,
            &[],
            &soa,
            &[],
        );
        reply.send_response(response).await.unwrap_or(silence)
    }
}

impl Answerer {
    /// Follows CNAMEs as a resolver does and returns the whole chain.
    fn answer(&self, name: &str, kind: RecordType) -> Answer {
        let mut answer = Answer {
            secure: true,
            ..Answer::default()
        };
        let mut name = name.to_owned();
        for _ in 0..LONGEST_CHAIN {
            let (found, secure) = self.find(&name, kind);
            answer.secure &= secure;
            let Ok(owner) = Name::from_ascii(format!("{name}.")) else {
                answer.fault = Some(Fault::NxDomain);
                return answer;
            };
            match found {
                Found::Records(records) => {
                    let ttl = if table::is_crowd(&name) { CROWD_TTL } else { TTL };
                    answer.records.extend(
                        records
                            .into_iter()
                            .map(|data| Record::from_rdata(owner.clone(), ttl, data)),
                    );
                    return answer;
                }
                Found::Fault(fault) => {
                    answer.fault = Some(fault);
                    return answer;
                }
                Found::Alias(target) => {
                    answer
                        .records
                        .push(Record::from_rdata(owner, TTL, RData::CNAME(CNAME(full_name(&target)))));
                    name = target;
                }
            }
        }
        Answer {
            fault: Some(Fault::ServFail),
            ..Answer::default()
        }
    }

    /// What there is at a name, and whether its domain is signed.
    fn find(&self, name: &str, kind: RecordType) -> (Found, bool) {
        let Some((domain, setup)) = self.world.domain_of(name) else {
            return (Found::Fault(Fault::NxDomain), false);
        };
        let secure = setup.secure;
        let host = setup.hosts.iter().find(|host| host.name == name);
        let below = name
            .strip_suffix(&domain)
            .map(|label| label.trim_end_matches('.'))
            .unwrap_or_default();
        // What a wildcard in DNS answers, and what it would be asked for.
        let below = match below.split_once('.') {
            Some((first @ ("_mta-sts" | "mta-sts"), _)) if setup.every_name => first,
            _ => below,
        };
        let found = match (below, host) {
            ("", _) if kind == RecordType::MX => match &setup.mx {
                MxRecords::Fault(fault) => Found::Fault(*fault),
                MxRecords::Hosts(hosts) => Found::Records(
                    hosts
                        .iter()
                        .map(|(preference, host)| RData::MX(MX::new(*preference, full_name(host))))
                        .collect(),
                ),
            },
            (label, _) if kind == RecordType::TXT && setup.txt_at.contains_key(label) => {
                Found::Records(vec![RData::TXT(txt(&setup.txt_at[label]))])
            }
            ("_mta-sts", _) => match &setup.txt {
                Txt::Alias(target) => Found::Alias(target.clone()),
                Txt::Fault(fault) => Found::Fault(*fault),
                Txt::Records(texts) if kind == RecordType::TXT => {
                    Found::Records(texts.iter().map(|text| RData::TXT(txt(text))).collect())
                }
                Txt::Records(_) => Found::Fault(Fault::NoData),
            },
            ("mta-sts", _) => addresses(
                self.world.place(
                    &format!("mta-sts.{domain}"),
                    &setup.policy_at,
                    setup.https == Https::Unreachable,
                ),
                kind,
            ),
            (_, Some(host)) => addresses(self.world.place(name, &host.at, host.mx == Mx::Unreachable), kind),
            ("", None) => Found::Fault(Fault::NoData),
            _ => self.find_below_host(name, kind, &setup.hosts, &setup.policy_at),
        };
        (found, secure)
    }

    /// TLSA records, and the targets of CNAMEs.
    fn find_below_host(&self, name: &str, kind: RecordType, hosts: &[Host], policy_at: &At) -> Found {
        let aliased = |at: &At| matches!(at, At::Alias(target) if target == name);
        if aliased(policy_at) || hosts.iter().any(|host| aliased(&host.at)) {
            return addresses(Place::Addresses(vec![self.world.own_address(name)]), kind);
        }
        let Some(host) = hosts
            .iter()
            .find(|host| name.strip_prefix("_25._tcp.") == Some(&host.name))
        else {
            // A name with nothing at it but names below it exists (RFC 8020).
            let signed = |host: &Host| host.tlsa != Tlsa::None && name.strip_prefix("_tcp.") == Some(&host.name);
            let empty = hosts
                .iter()
                .any(|host| signed(host) || host.name.ends_with(&format!(".{name}")));
            return Found::Fault(if empty { Fault::NoData } else { Fault::NxDomain });
        };
        if host.tlsa == Tlsa::ServFail {
            return Found::Fault(Fault::ServFail);
        }
        match self.world.authority.tlsa(host.certificate, host.tlsa) {
            Some((usage, selector, matching, data)) if kind == RecordType::TLSA => {
                let (usage, selector, matching) = (
                    CertUsage::from(usage),
                    Selector::from(selector),
                    Matching::from(matching),
                );
                Found::Records(vec![RData::TLSA(TLSA::new(usage, selector, matching, data))])
            }
            Some(_) => Found::Fault(Fault::NoData),
            None => Found::Fault(Fault::NxDomain),
        }
    }
}

/// The addresses of one family.
fn addresses(place: Place, kind: RecordType) -> Found {
    let addresses = match place {
        Place::Alias(target) => return Found::Alias(target),
        Place::Fault(fault) => return Found::Fault(fault),
        Place::Addresses(addresses) => addresses,
    };
    let of_kind = |address: &IpAddr| match (address, kind) {
        (IpAddr::V4(v4), RecordType::A) => Some(RData::A(A(*v4))),
        (IpAddr::V6(v6), RecordType::AAAA) => Some(RData::AAAA(AAAA(*v6))),
        _ => None,
    };
    let records: Vec<_> = addresses.iter().filter_map(of_kind).collect();
    if records.is_empty() {
        Found::Fault(Fault::NoData)
    } else {
        Found::Records(records)
    }
}

/// A record's strings: quoted ones as they are, plain text cut where a string must end.
fn txt(text: &str) -> TXT {
    let strings: Vec<&[u8]> = match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(quoted) => quoted.split("\" \"").map(str::as_bytes).collect(),
        None if text.is_empty() => vec![b""],
        None => text.as_bytes().chunks(255).collect(),
    };
    TXT::from_bytes(strings)
}

/// A name from the table or from `set`; what is not a name becomes the root.
fn full_name(name: &str) -> Name {
    let name = name.trim_end_matches('.');
    Name::from_ascii(format!("{name}.")).unwrap_or_else(|_| Name::root())
}

/// RFC 2308: negative answers carry the SOA; ours forbids to keep them.
fn soa() -> Record {
    let name = full_name("test");
    let soa = SOA::new(
        full_name("ns.test"),
        full_name("hostmaster.test"),
        1,
        3600,
        600,
        86400,
        TTL,
    );
    Record::from_rdata(name, TTL, RData::SOA(soa))
}
