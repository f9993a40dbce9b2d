//! The broken MX hosts, octet by octet.

use super::in_lab;
use mtasts_kit::client::{command, connect, reply};
use mtasts_lab::{Change, Mx};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

fn greeted(host: &str) -> TcpStream {
    let mut stream = connect(host, 25).unwrap();
    assert_eq!(reply(&mut stream).unwrap().code, 220, "{host}");
    stream
}

#[test]
fn starttls_is_offered_stripped_or_refused_as_the_table_says() {
    in_lab(|_| {
        for (domain, offers, says, code) in [
            ("good.test", true, "250-STARTTLS", 220),
            ("nostarttls.test", false, "250-PIPELINING", 500),
            ("stripped.test", false, "250-XXXXXXXA", 500),
            ("starttls454.test", true, "250-STARTTLS", 454),
            ("starttls554.test", true, "250-STARTTLS", 554),
        ] {
            let mut stream = greeted(&format!("mx.{domain}"));
            let capabilities = command(&mut stream, "EHLO sender.test").unwrap().lines;
            assert_eq!(
                capabilities.iter().any(|line| line.contains("STARTTLS")),
                offers,
                "{capabilities:?}"
            );
            assert!(capabilities.iter().any(|line| line == says), "{capabilities:?}");
            assert_eq!(command(&mut stream, "STARTTLS").unwrap().code, code, "{domain}");
        }
    });
}

#[test]
fn injected_text_comes_in_one_piece_with_the_reply() {
    in_lab(|_| {
        let mut stream = greeted("mx.injected.test");
        command(&mut stream, "EHLO sender.test").unwrap();
        stream.write_all(b"STARTTLS\r\n").unwrap();
        let mut octets = [0; 200];
        let length = stream.read(&mut octets).unwrap();
        assert_eq!(
            &octets[..length],
            b"220 2.0.0 go ahead\r\n250-injected\r\n250 SIZE 1000000\r\n"
        );
    });
}

#[test]
fn handshakes_fail_each_in_its_own_way() {
    in_lab(|lab| {
        // The start of a ClientHello is enough for those who do not read it.
        let after_hello = |domain: &str| {
            let mut stream = greeted(&format!("mx.{domain}"));
            command(&mut stream, "EHLO sender.test").unwrap();
            assert_eq!(command(&mut stream, "STARTTLS").unwrap().code, 220);
            stream.write_all(&[22, 3, 1, 0, 200]).unwrap();
            let mut octets = [0; 100];
            stream.read(&mut octets).map(|length| octets[..length].to_vec())
        };
        assert_eq!(
            after_hello("tls11.test").unwrap(),
            [21, 3, 1, 0, 2, 2, 70],
            "alert 70, fatal"
        );
        assert_eq!(after_hello("nottls.test").unwrap(), b"500 5.5.1 what was that?\r\n");
        assert_eq!(
            after_hello("handshake-reset.test").unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        assert_eq!(
            after_hello("tls-silent.test").unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        assert!(
            lab.sessions()
                .iter()
                .all(|session| session.reached == "starttls" && session.tls.is_none())
        );
    });
}

#[test]
fn hosts_out_of_order_hang_up_or_keep_silent() {
    in_lab(|lab| {
        assert_eq!(reply(&mut connect("mx.busy.test", 25).unwrap()).unwrap().code, 421);
        let silence = reply(&mut connect("mx.blackhole.test", 25).unwrap()).unwrap_err();
        assert_eq!(silence.kind(), ErrorKind::WouldBlock);
        let hangup = command(&mut greeted("mx.close.test"), "EHLO sender.test").unwrap_err();
        assert_eq!(hangup.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(
            connect("mx.refused.test", 25).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        assert_eq!(
            connect("mx.noroute.test", 25).unwrap_err().kind(),
            ErrorKind::HostUnreachable
        );
        let reached: Vec<_> = lab.sessions().into_iter().map(|session| session.reached).collect();
        assert_eq!(reached, ["connect", "connect", "ehlo"]);
    });
}

#[test]
fn hosts_refuse_before_tls_and_after() {
    in_lab(|lab| {
        for (domain, mx) in [
            ("good.test", Mx::Greeting554),
            ("twomx.test", Mx::Ehlo502),
            ("plain.test", Mx::Rcpt550),
            ("tls12.test", Mx::TlsClose),
        ] {
            lab.set(domain, Change::mx(mx)).unwrap();
        }
        assert_eq!(reply(&mut connect("mx.good.test", 25).unwrap()).unwrap().code, 554);
        let mut stream = greeted("mx1.twomx.test");
        assert_eq!(command(&mut stream, "EHLO sender.test").unwrap().code, 502);
        assert_eq!(command(&mut stream, "HELO sender.test").unwrap().code, 250);
        let mut stream = greeted("mx.plain.test");
        command(&mut stream, "EHLO sender.test").unwrap();
        command(&mut stream, "MAIL FROM:<>").unwrap();
        assert_eq!(command(&mut stream, "RCPT TO:<user@plain.test>").unwrap().code, 550);
        let mut stream = greeted("mx.tls12.test");
        command(&mut stream, "EHLO sender.test").unwrap();
        assert_eq!(command(&mut stream, "STARTTLS").unwrap().code, 220);
        stream.write_all(&[22, 3, 1, 0, 200]).unwrap();
        assert_eq!(stream.read(&mut [0; 100]).unwrap(), 0, "the end in good order");
    });
}
