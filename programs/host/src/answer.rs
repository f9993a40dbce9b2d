//! A request -> the answer. One path of each policy host is there, and nothing else; no answer leads elsewhere.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};

use crate::site::Site;

/// RFC 8461 3.3.
const PATH: &str = "/.well-known/mta-sts.txt";

pub(crate) type Answer = Response<Full<Bytes>>;

/// Answers a request that came over TLS to the host `sni`, or without TLS from a proxy.
pub(crate) fn answer<B: Body>(request: &Request<B>, sni: Option<&str>, site: &Site) -> Answer {
    let host = match host(request, sni) {
        Ok(host) => host,
        Err(status) => return nothing(status, request.version()),
    };
    // RFC 9110 15.5.20: what was said to one host is not answered by another.
    if sni.is_some_and(|sni| sni != host) {
        return nothing(StatusCode::MISDIRECTED_REQUEST, request.version());
    }
    // No request of a sender has a body. What it could hide (RFC 9112 11.2) is not read: the connection ends.
    if !request.body().is_end_stream() {
        return nothing(StatusCode::BAD_REQUEST, request.version());
    }
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let is_here = request.uri().path_and_query().is_some_and(|path| path == PATH);
    match site.page(&host).filter(|_| is_read && is_here) {
        Some(page) => text(page, request.method()),
        None => nothing(StatusCode::NOT_FOUND, request.version()),
    }
}

fn text(page: &Bytes, method: &Method) -> Answer {
    let body = if method == Method::HEAD {
        Bytes::new()
    } else {
        page.clone()
    };
    let mut answer = Response::new(Full::new(body));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // Senders must not use an HTTP cache (RFC 8461 3.3); one on the way has a new policy a minute later.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(page.len()));
    answer
}

pub(crate) fn nothing(status: StatusCode, version: Version) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    // HTTP/2 has no such header.
    if status == StatusCode::BAD_REQUEST && version <= Version::HTTP_11 {
        answer
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// The one host that a request is for, in lower case, without a port and a root dot.
fn host<B>(request: &Request<B>, sni: Option<&str>) -> Result<String, StatusCode> {
    let mut fields = request.headers().get_all(HOST).iter();
    let (field, second) = (fields.next(), fields.next());
    let field = field
        .map(|field| field.to_str().map_err(|_| StatusCode::BAD_REQUEST))
        .transpose()?;
    let target = request.uri().authority().map(|authority| authority.as_str());
    let (field, target) = (field.map(plain), target.map(plain));
    match (field, target, second) {
        (_, _, Some(_)) => Err(StatusCode::BAD_REQUEST),
        (Some(field), Some(target), None) if field != target => Err(StatusCode::BAD_REQUEST),
        (Some(host), _, None) | (None, Some(host), None) => Ok(host),
        // HTTP/1.0 has no such header.
        (None, None, None) if request.version() < Version::HTTP_11 => {
            sni.map(str::to_owned).ok_or(StatusCode::BAD_REQUEST)
        }
        (None, None, None) => Err(StatusCode::BAD_REQUEST),
    }
}

fn plain(authority: &str) -> String {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) => host,
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt as _;
    use mtasts::{Domain, Mode};

    use super::*;
    use crate::published::Published;

    fn site() -> Site {
        let policy = Arc::new(Published::new(Mode::Enforce, 86_400, &["mx.example.com".into()]).unwrap());
        let domains = ["example.com", "example.org"].map(|name| Domain::parse(name).unwrap());
        Site::new(domains.iter().map(|domain| (domain, &policy)))
    }

    fn ask(method: &str, uri: &str, host: &[&str], sni: Option<&str>) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        for host in host {
            request = request.header(HOST, *host);
        }
        answer(&request.body(Full::<Bytes>::default()).unwrap(), sni, &site())
    }

    fn status(method: &str, uri: &str, host: &[&str], sni: Option<&str>) -> u16 {
        ask(method, uri, host, sni).status().as_u16()
    }

    const OURS: Option<&str> = Some("mta-sts.example.com");

    #[tokio::test]
    async fn the_policy_and_its_headers() {
        let answer = ask("GET", PATH, &["mta-sts.example.com"], OURS);
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
        assert_eq!(answer.headers()[CACHE_CONTROL], "max-age=60");
        let length = answer.headers()[CONTENT_LENGTH].clone();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            &*body,
            b"version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmax_age: 86400\r\n"
        );
        let head = ask("HEAD", PATH, &["mta-sts.example.com"], OURS);
        assert_eq!(
            (head.status().as_u16(), &head.headers()[CONTENT_LENGTH]),
            (200, &length)
        );
        assert_eq!(head.into_body().collect().await.unwrap().to_bytes().len(), 0);
    }

    #[test]
    fn nothing_else_is_there() {
        for uri in [
            "/",
            "/.well-known/mta-sts.txt/",
            "//.well-known/mta-sts.txt",
            "/.well-known/mta-sts.txt?a=b",
            "/.well-known/mta-sts.txt?",
            "/.well-known/mta-sts%2etxt",
            "/%2ewell-known/mta-sts.txt",
            "/.well-known/./mta-sts.txt",
            "/x/../.well-known/mta-sts.txt",
            "/.well-known/MTA-STS.txt",
            "/.well-known/acme-challenge/x",
            "*",
        ] {
            let answer = ask("GET", uri, &["mta-sts.example.com"], OURS);
            assert_eq!(answer.status(), 404, "{uri}");
            assert!(answer.headers().is_empty(), "{uri}: {answer:?}");
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "PROPFIND"] {
            assert_eq!(status(method, PATH, &["mta-sts.example.com"], OURS), 404, "{method}");
        }
        for host in [
            "example.com",
            "mta-sts.example.net",
            "www.example.com",
            "",
            "[::1]",
            "192.0.2.1:443",
        ] {
            assert_eq!(status("GET", PATH, &[host], None), 404, "{host}");
        }
    }

    #[test]
    fn a_request_is_for_one_host() {
        for (uri, host, sni, expected) in [
            (PATH, &["mta-sts.example.com:443"][..], OURS, 200),
            (PATH, &["MTA-STS.Example.com."], OURS, 200),
            (PATH, &["mta-sts.example.org"], None, 200),
            // Another customer of this host, and a stranger.
            (PATH, &["mta-sts.example.org"], OURS, 421),
            (PATH, &["mta-sts.example.net"], OURS, 421),
            (PATH, &[""], OURS, 421),
            (PATH, &[], OURS, 400),
            (PATH, &[], None, 400),
            (PATH, &["mta-sts.example.com", "mta-sts.example.com"], OURS, 400),
            (PATH, &["mta-sts.example.com", "mta-sts.example.org"], OURS, 400),
            (
                "https://mta-sts.example.com/.well-known/mta-sts.txt",
                &["mta-sts.example.com"],
                OURS,
                200,
            ),
            ("https://mta-sts.example.com/.well-known/mta-sts.txt", &[], OURS, 200),
            ("https://mta-sts.example.org/.well-known/mta-sts.txt", &[], OURS, 421),
            (
                "https://mta-sts.example.org/.well-known/mta-sts.txt",
                &["mta-sts.example.com"],
                OURS,
                400,
            ),
            ("https://x@mta-sts.example.com/.well-known/mta-sts.txt", &[], OURS, 421),
        ] {
            assert_eq!(status("GET", uri, host, sni), expected, "{uri} {host:?} {sni:?}");
        }
        let old = Request::builder().version(Version::HTTP_10).uri(PATH);
        let old = old.body(Full::<Bytes>::default()).unwrap();
        assert_eq!(answer(&old, OURS, &site()).status(), 200);
        assert_eq!(answer(&old, None, &site()).status(), 400);
    }

    #[test]
    fn a_request_with_a_body_ends_the_connection() {
        let request = Request::builder().uri(PATH).header(HOST, "mta-sts.example.com");
        let request = request.body(Full::new(Bytes::from_static(b"GET / HTTP/1.1"))).unwrap();
        let answer = answer(&request, OURS, &site());
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()[CONNECTION]),
            (400, &HeaderValue::from_static("close"))
        );
    }
}
