use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::rollout::{DEFAULT_WAITS, Plan, Step, Verdict};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(8, 8, 8, 2));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2600, 0, 0, 0, 0, 0, 0, 2));

/// Each sight, and the words of its refusal.
fn sights() -> Vec<(Sight, Option<&'static str>)> {
    let why = || "WHY".to_owned();
    vec![
        (Sight::Good, None),
        (Sight::NoRoute, Some("has no route to it")),
        (Sight::Unreached(why()), Some("does not answer at port 25: WHY")),
        (Sight::NoStarttls, Some("does not offer STARTTLS")),
        (Sight::NoTls(why()), Some("the TLS handshake fails: WHY")),
        (Sight::Untrusted(why()), Some("the certificate is not good: WHY")),
        (Sight::Misnamed(why()), Some("the certificate has another name: WHY")),
        (Sight::EndsSoon(why()), Some("WHY; renew the certificate first")),
        (Sight::Unknown(why()), Some("cannot be judged from here: WHY")),
    ]
}

/// Every combination of what can be seen at two addresses of a host, in the policy, in DNS and in reports.
#[test]
fn the_whole_table() {
    let fetched = [
        (Fetched::Same, None),
        (Fetched::Other, Some("a fetch gets another text")),
        (Fetched::Failed("WHY".into()), Some("the policy cannot be fetched: WHY")),
    ];
    let records = [
        (Announced::Same, None),
        (Announced::Other("x1".into()), Some("has the id x1")),
        (
            Announced::Absent("WHY".into()),
            Some("there is no record at _mta-sts: WHY"),
        ),
        (Announced::Unknown("WHY".into()), Some("cannot be looked up: WHY")),
    ];
    let reports = [
        (None, None),
        (Some(0), None),
        (Some(1), Some("1 session failed")),
        (Some(7), Some("7 sessions failed")),
    ];
    let plan = Plan {
        longest: 1_209_600,
        waits: DEFAULT_WAITS,
    };
    let (mut allowed, mut refused) = (0, 0);
    for (first, said_first) in sights() {
        for (second, said_second) in sights() {
            for listed in [true, false] {
                for unused in [false, true] {
                    for (fetched, said_fetched) in &fetched {
                        for (record, said_record) in &records {
                            for (failures, said_reports) in reports {
                                let facts = Facts {
                                    policy_host: "mta-sts.example.com".into(),
                                    hosts: Ok(vec![MxHost {
                                        name: "mx.example.com".into(),
                                        listed,
                                        trouble: None,
                                        sights: vec![(V4, first.clone()), (V6, second.clone())],
                                    }]),
                                    unused: if unused {
                                        vec![("old.example.com".into(), None)]
                                    } else {
                                        vec![]
                                    },
                                    fetched: fetched.clone(),
                                    records: vec![
                                        ("192.0.2.53".into(), Announced::Same),
                                        ("192.0.2.54".into(), record.clone()),
                                    ],
                                    failures,
                                };
                                // An address without a route is no obstacle beside a good one.
                                let is_good = |sight: &Sight| *sight == Sight::Good;
                                let said = |sight: &Sight, other: &Sight, said: Option<&'static str>| match sight {
                                    Sight::NoRoute if is_good(other) => None,
                                    _ => said,
                                };
                                let expected: Vec<(&str, &str)> = [
                                    ("mx.example.com", (!listed).then_some("and not in the policy")),
                                    ("mx.example.com [8.8.8.2]", said(&first, &second, said_first)),
                                    ("mx.example.com [2600::2]", said(&second, &first, said_second)),
                                    ("old.example.com", unused.then_some("no MX host in DNS has this name")),
                                    ("mta-sts.example.com", *said_fetched),
                                    ("resolver 192.0.2.54", *said_record),
                                    ("reports", said_reports),
                                ]
                                .into_iter()
                                .filter_map(|(about, said)| Some((about, said?)))
                                .collect();
                                let found = gates(&facts);
                                assert_eq!(found.len(), expected.len(), "{facts:?}: {found:?}");
                                for (found, (about, reason)) in found.iter().zip(&expected) {
                                    assert_eq!(found.about, *about, "{facts:?}");
                                    assert!(found.reason.contains(reason), "{facts:?}: {found}");
                                }
                                let verdict = plan.judge(Step::FIRST, Some(604_800), &facts);
                                if expected.is_empty() {
                                    allowed += 1;
                                    let next = plan.next(Step::FIRST).unwrap().0;
                                    assert_eq!(verdict, Verdict::Allowed(next), "{facts:?}");
                                } else {
                                    refused += 1;
                                    assert_eq!(verdict, Verdict::Refused(found), "{facts:?}");
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    // Good at both addresses, or at one and no route to the other; no reports or none of failures.
    assert_eq!((allowed, allowed + refused), (3 * 2, 81 * 4 * 3 * 4 * 4));
}

#[test]
fn what_is_not_known_refuses() {
    let with = |change: fn(&mut Facts)| {
        let mut facts = Facts::good();
        assert_eq!(gates(&facts), []);
        change(&mut facts);
        gates(&facts).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        with(|facts| facts.hosts = Err("the MX records cannot be looked up: SERVFAIL".into())),
        ["MX: the MX records cannot be looked up: SERVFAIL"]
    );
    assert_eq!(
        with(|facts| facts.hosts.as_mut().unwrap()[0].trouble = Some("has no address".into())),
        ["mx.example.com: has no address"]
    );
}

#[test]
fn a_domain_on_its_way_is_not_told_to_turn_back() {
    for (stage, expected) in [
        (None, "remove it from mx, or move it to reserve"),
        (
            Some(Stage::Added),
            "publish its MX record when mtasts host status says so",
        ),
        (
            Some(Stage::Going),
            "stays in the policy until no sender and no resolver can use it",
        ),
    ] {
        let facts = Facts {
            unused: vec![("old.example.com".into(), stage)],
            ..Facts::good()
        };
        let found = gates(&facts);
        assert!(
            found.len() == 1 && found[0].reason.contains(expected),
            "{stage:?}: {found:?}"
        );
        assert!(stage.is_none() || !found[0].reason.contains("remove it"), "{found:?}");
    }
}
