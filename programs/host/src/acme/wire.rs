//! The requests to an authority: over TLS alone, within limits, and without redirects.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{HOST, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use mtasts::sender::resolver::unix_now;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::schedule::LONGEST_WAIT;

/// How long a request may take.
const TIME: Duration = Duration::from_secs(30);
/// The longest answer, in octets. A chain of certificates has some thousand.
const LONGEST: usize = 256 << 10;

/// The way to one authority.
#[derive(Clone)]
pub(crate) struct Wire {
    tls: Arc<ClientConfig>,
    /// Until when the authority wants no request, in Unix seconds.
    closed: Arc<AtomicU64>,
}

impl Wire {
    pub(crate) fn new(tls: Arc<ClientConfig>) -> Self {
        Self {
            tls,
            closed: Arc::default(),
        }
    }

    /// Until when the authority has asked to be left alone, in Unix seconds.
    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    /// What is at a URL.
    pub(crate) async fn get(&self, url: &str) -> Result<Bytes, String> {
        let request = Request::builder().method(Method::GET).uri(url);
        let request = request
            .body(BodyWrapper::default())
            .map_err(|error| error.to_string())?;
        let answer = self.send(request).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            other => Err(format!("the authority answers with the HTTP status {other}")),
        }
    }

    async fn send(&self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Bytes>, String> {
        let late = |_| "the authority does not answer in time".to_owned();
        let mut answer = timeout(TIME, exchange(self.tls.clone(), request))
            .await
            .map_err(late)??;
        let wait = wait(answer.headers_mut(), unix_now());
        let is_refused = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status());
        if let Some(wait) = wait.filter(|_| is_refused) {
            self.closed.fetch_max(unix_now() + wait, Ordering::Relaxed);
        }
        Ok(answer)
    }
}

impl HttpClient for Wire {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let wire = self.clone();
        Box::pin(async move {
            let answer = wire.send(request).await.map_err(|why| Error::Other(why.into()))?;
            Ok(answer.map(Full::new).into())
        })
    }
}

/// For how many seconds the authority wants no request, and no longer than this host is willing to.
fn wait(headers: &mut HeaderMap, now: u64) -> Option<u64> {
    let text = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()
        .map(str::trim)
        .unwrap_or_default();
    let seconds = if !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) {
        // More digits than fit are a long time too.
        Some(text.parse().unwrap_or(u64::MAX))
    } else {
        let date = httpdate::parse_http_date(text).ok();
        let date = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
        date.map(|date| date.as_secs().saturating_sub(now))
    };
    let seconds = seconds.map(|seconds: u64| seconds.min(LONGEST_WAIT));
    // Those who read it next add it to the time.
    match seconds {
        Some(seconds) => headers.insert(RETRY_AFTER, HeaderValue::from(seconds)),
        None => headers.remove(RETRY_AFTER),
    };
    seconds
}

async fn exchange(tls: Arc<ClientConfig>, mut request: Request<BodyWrapper<Bytes>>) -> Result<Response<Bytes>, String> {
    let uri = request.uri().clone();
    let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
    let host = host.ok_or("the authority names a URL that is not one of https")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let wrong = |error: &dyn std::fmt::Display| format!("the authority {authority}: {error}");
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await;
    let stream = stream.map_err(|error| wrong(&error))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| wrong(&error))?;
    let stream = TlsConnector::from(tls).connect(name, stream).await;
    let stream = TokioIo::new(stream.map_err(|error| wrong(&error))?);
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(64 << 10).max_headers(64);
    let (mut sender, connection) = builder.handshake(stream).await.map_err(|error| wrong(&error))?;
    let driver = tokio::spawn(connection);
    let field = HeaderValue::from_str(authority).map_err(|error| wrong(&error))?;
    request.headers_mut().insert(HOST, field);
    *request.uri_mut() = path.parse::<Uri>().map_err(|error| wrong(&error))?;
    let answer = sender.send_request(request).await;
    let answer = match answer {
        Ok(answer) => {
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, LONGEST).collect().await;
            body.map(|body| Response::from_parts(head, body.to_bytes()))
                .map_err(|error| wrong(&error))
        }
        Err(error) => Err(wrong(&error)),
    };
    driver.abort();
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_for_a_day_at_most() {
        let wait = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            let wait = wait(&mut headers, 1_798_675_200);
            let left = headers.get(RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(left, wait.map(|wait| wait.to_string()), "{text}");
            wait
        };
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("Thu, 31 Dec 2026 00:01:40 GMT"), Some(100));
        assert_eq!(wait("Thu, 31 Dec 2020 00:01:40 GMT"), Some(0));
        for long in [
            "1000000000",
            "18446744073709551615",
            "99999999999999999999999",
            "Fri, 31 Dec 9999 00:00:00 GMT",
        ] {
            assert_eq!(wait(long), Some(86_400), "{long}");
        }
        for none in ["", "-1", "soon", "1.5", "0x10"] {
            assert_eq!(wait(none), None, "{none}");
        }
    }
}
