//! One client: the handshake, the requests, and how long each may take.

use std::convert::Infallible;
use std::future::ready;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use mtasts_serve::Stream;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::acme::challenges::ALPN;
use crate::answer::answer;
use crate::certificates::Found;
use crate::challenge;
use crate::metrics;
use crate::server::{Door, LAST, Server};

/// How long a handshake may take, and how long a client may ask nothing or send a request.
const SLOW: Duration = Duration::from_secs(10);
/// How long a connection may live. Then the answers under way are the last.
const LIFE: Duration = Duration::from_secs(60);
/// The longest head of a request, in octets, and the most fields in it.
const HEAD: usize = 8 << 10;
const FIELDS: usize = 64;
/// The most requests at a time on one connection of HTTP/2.
const STREAMS: u32 = 16;
/// The fatal alert unrecognized_name (RFC 6066 3) in a record of its own: nothing is encrypted yet.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Serves a client until it leaves, or is too slow, or the server stops.
pub(crate) async fn serve(server: Rc<Server>, door: Door, stream: Box<dyn Stream>) {
    match door {
        Door::Proxy => http1(server, stream, None).await,
        Door::Http => challenges(server, stream).await,
        Door::Metrics => metrics(server, stream).await,
        Door::Https => {
            let Ok(Some((stream, name))) = timeout(SLOW, handshake(&server, stream)).await else {
                return;
            };
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => http2(server, stream, name).await,
                _ => http1(server, stream, Some(name)).await,
            }
        }
    }
}

/// The TLS handshake, and the host that the client named. A host that is not here, or none, gets an alert and never the
/// certificate of another one.
async fn handshake(server: &Server, stream: Box<dyn Stream>) -> Option<(TlsStream<Box<dyn Stream>>, String)> {
    // If the ClientHello is bad, its alert is sent there.
    let mut start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
    let hello = start.client_hello();
    let name = hello.server_name().map(str::to_ascii_lowercase);
    let name = name.filter(|name| server.site().page(name).is_some());
    // RFC 8737 3: an authority looks, which asks for nothing more.
    let looks = hello.alpn().is_some_and(|mut names| names.any(|name| name == ALPN));
    if let Some(config) = name
        .as_deref()
        .filter(|_| looks)
        .and_then(|name| server.challenges.handshake(name))
    {
        let mut stream = start.into_stream(config).await.ok()?;
        let _ = stream.shutdown().await;
        return None;
    }
    let found = name.as_deref().map(|name| server.certificates.of(name));
    let name = name.unwrap_or_default();
    let config = match found {
        Some(Found::Good(config)) => config,
        Some(Found::Old(config, why)) => {
            server.warn(
                &name,
                &format!("{why}. The certificate that was read before is used; repair the files."),
            );
            config
        }
        bad => {
            if let Some(Found::Bad(why)) = bad {
                server.warn(
                    &name,
                    &format!("there is no certificate for {name}, and senders get no policy: {why}"),
                );
            }
            let _ = start.io.write_all(&UNRECOGNIZED_NAME).await;
            let _ = start.io.shutdown().await;
            return None;
        }
    };
    Some((start.into_stream(config).await.ok()?, name))
}

fn of_http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(SLOW)
        .max_buf_size(HEAD)
        .max_headers(FIELDS);
    builder
}

async fn http1<S: AsyncRead + AsyncWrite + Unpin + 'static>(server: Rc<Server>, stream: S, name: Option<String>) {
    let asked = server.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        ready(Ok::<_, Infallible>(answer(&request, name.as_deref(), &asked.site())))
    });
    live(&server, of_http1().serve_connection(TokioIo::new(stream), service)).await;
}

async fn challenges<S: AsyncRead + AsyncWrite + Unpin + 'static>(server: Rc<Server>, stream: S) {
    let asked = server.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let webroot = asked.webroot.as_deref();
        ready(Ok::<_, Infallible>(challenge::answer(
            &request,
            &asked.challenges,
            webroot,
        )))
    });
    live(&server, of_http1().serve_connection(TokioIo::new(stream), service)).await;
}

async fn metrics<S: AsyncRead + AsyncWrite + Unpin + 'static>(server: Rc<Server>, stream: S) {
    let asked = server.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        ready(Ok::<_, Infallible>(metrics::answer(&request, || asked.numbers())))
    });
    live(&server, of_http1().serve_connection(TokioIo::new(stream), service)).await;
}

async fn http2<S: AsyncRead + AsyncWrite + Unpin + 'static>(server: Rc<Server>, stream: S, name: String) {
    let asked = server.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        ready(Ok::<_, Infallible>(answer(&request, Some(&name), &asked.site())))
    });
    let mut builder = http2::Builder::new(OnThisThread);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(SLOW)
        .keep_alive_timeout(SLOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD as u32)
        .max_send_buf_size(HEAD);
    live(&server, builder.serve_connection(TokioIo::new(stream), service)).await;
}

/// Lets a connection live, and ends it without cutting off an answer.
async fn live<C: GracefulConnection>(server: &Server, connection: C) {
    let mut connection = pin!(connection);
    let mut stop = server.stop.subscribe();
    tokio::select! {
        _ = connection.as_mut() => return,
        () = sleep(LIFE) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(LAST, connection).await;
}

/// The tasks of HTTP/2 run where everything does.
#[derive(Clone, Copy)]
struct OnThisThread;

impl<F: Future<Output: 'static> + 'static> Executor<F> for OnThisThread {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}
