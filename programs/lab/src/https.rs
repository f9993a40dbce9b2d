//! The policy hosts: HTTP/1.1 by hand, because an HTTP library would not lie for us.

use super::behaviour::Https;
use super::handshake::{self, Refusal, describe, drain};
use super::log::{Request, count};
use super::world::{PolicyHost, World};
use rustls::server::Acceptor;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;

const POLICY_PATH: &str = "/.well-known/mta-sts.txt";
/// Where the redirects of the lab lead.
const MOVED_PATH: &str = "/moved/mta-sts.txt";
/// RFC 8461 3.3 suggests this limit; the lab goes up to it and beyond it.
const LIMIT: usize = 64 * 1024;
const OVERSIZE: usize = 131_193;

/// One connection to port 443.
pub(super) async fn serve(world: Arc<World>, stream: TcpStream) -> io::Result<()> {
    let address = stream.local_addr()?.ip();
    let mut hosts = world.policy_hosts(address);
    // One host at the address: what it does before TLS is known. Several hosts: the SNI has to tell first.
    if let [host] = &hosts[..] {
        count(&mut world.log().counters.https_connections, &host.subject.host);
        let refusal = match host.https {
            Https::TlsAlert => Some(Refusal::Alert(70)),
            Https::Alert40 => Some(Refusal::Alert(40)),
            Https::Alert80 => Some(Refusal::Alert(80)),
            Https::Alert112 => Some(Refusal::Alert(112)),
            Https::TlsReset => Some(Refusal::Reset),
            Https::NotTls => Some(Refusal::Clear(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")),
            Https::BlackHole => Some(Refusal::Silence),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return handshake::refuse(stream, refusal).await;
        }
    }
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let sni = start.client_hello().server_name().map(str::to_owned);
    let named = hosts
        .iter()
        .position(|host| Some(&host.subject.host) == sni.as_ref())
        .unwrap_or(0);
    if named >= hosts.len() {
        return Ok(());
    }
    let alone = hosts.len() == 1;
    let mut host = hosts.swap_remove(named);
    if let Some(name) = sni.as_deref().filter(|_| host.every_name) {
        host.subject.host = name.to_owned();
    }
    if !alone {
        count(&mut world.log().counters.https_connections, &host.subject.host);
    }
    let config = world.authority.server_config(&host.subject, host.certificate, false)?;
    let stream = start.into_stream(config).await?;
    let tls = describe(stream.get_ref().1);
    let mut stream = BufReader::new(stream);
    while let Some((line, headers)) = read_request(&mut stream).await? {
        {
            let mut log = world.log();
            count(&mut log.counters.https, &host.subject.host);
            log.requests.push(Request {
                host: host.subject.host.clone(),
                address,
                sni: sni.clone(),
                tls_version: tls.version.clone(),
                line: line.clone(),
                headers: headers.clone(),
            });
        }
        let path = line.split(' ').nth(1).unwrap_or_default();
        if answer(stream.get_mut(), &host, path, &headers).await? == After::Close {
            stream.get_mut().shutdown().await?;
            return drain(&mut stream).await;
        }
    }
    Ok(())
}

type Headers = Vec<(String, String)>;

/// The request line and the header fields; `None` at the end of the connection.
async fn read_request(stream: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<(String, Headers)>> {
    let mut lines = stream.take(LIMIT as u64);
    let mut line = String::new();
    if lines.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut headers = Vec::new();
    loop {
        let mut field = String::new();
        if lines.read_line(&mut field).await? == 0 {
            return Ok(None);
        }
        let field = field.trim_end();
        if field.is_empty() {
            return Ok(Some((line.trim_end().to_owned(), headers)));
        }
        let (name, value) = field.split_once(':').unwrap_or((field, ""));
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

#[derive(PartialEq, Eq)]
enum After {
    KeepAlive,
    Close,
}

async fn answer(
    stream: &mut (impl AsyncWrite + Unpin),
    host: &PolicyHost,
    path: &str,
    headers: &Headers,
) -> io::Result<After> {
    let body = &host.body[..];
    let plain = ["Content-Type: text/plain"];
    if path == MOVED_PATH {
        return fixed(stream, "200 OK", &plain, body).await;
    }
    if path != POLICY_PATH {
        return fixed(stream, "404 Not Found", &plain, b"not here\n").await;
    }
    let moved = |location: &str| format!("Location: {location}");
    let typed = |media: &'static str| [media];
    match host.https {
        Https::Ok => fixed(stream, "200 OK", &plain, body).await,
        Https::Cacheable => {
            let conditional = headers.iter().any(|(name, _)| name.starts_with("if-"));
            let status = if conditional { "304 Not Modified" } else { "200 OK" };
            let validators = [
                "Content-Type: text/plain",
                "ETag: \"1\"",
                "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT",
                "Age: 86000",
                "Cache-Control: public, max-age=31536000, immutable",
            ];
            fixed(stream, status, &validators, if conditional { b"" } else { body }).await
        }
        Https::TypeUpper => fixed(stream, "200 OK", &typed("Content-Type: TEXT/PLAIN"), body).await,
        Https::TypeParameters => {
            fixed(
                stream,
                "200 OK",
                &typed("Content-Type: text/plain ; charset=\"UTF-8\"; format=flowed"),
                body,
            )
            .await
        }
        Https::Html => fixed(stream, "200 OK", &typed("Content-Type: text/html; charset=utf-8"), body).await,
        Https::TypePlus => fixed(stream, "200 OK", &typed("Content-Type: text/plain+"), body).await,
        Https::NoType => fixed(stream, "200 OK", &[], body).await,
        Https::Chunked => chunked(stream, body).await,
        Https::UntilClose => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")
                .await?;
            stream.write_all(body).await?;
            Ok(After::Close)
        }
        Https::Exactly64k => fixed(stream, "200 OK", &plain, &padded(body, LIMIT)).await,
        Https::Over64k => fixed(stream, "200 OK", &plain, &padded(body, LIMIT + 1)).await,
        Https::Oversize => fixed(stream, "200 OK", &plain, &padded(body, OVERSIZE)).await,
        Https::OversizeChunked => chunked(stream, &padded(body, OVERSIZE)).await,
        Https::Status203 => fixed(stream, "203 Non-Authoritative Information", &plain, body).await,
        Https::Status204 => fixed(stream, "204 No Content", &plain, body).await,
        Https::Status206 => fixed(stream, "206 Partial Content", &plain, body).await,
        Https::Status304 => fixed(stream, "304 Not Modified", &plain, b"").await,
        Https::Status403 => fixed(stream, "403 Forbidden", &plain, body).await,
        Https::Status404 => fixed(stream, "404 Not Found", &plain, body).await,
        Https::Status500 => fixed(stream, "500 Internal Server Error", &plain, body).await,
        Https::Status301 => fixed(stream, "301 Moved Permanently", &[plain[0], &moved(MOVED_PATH)], body).await,
        Https::Status302 => fixed(stream, "302 Found", &[plain[0], &moved(MOVED_PATH)], body).await,
        Https::RedirectHost => {
            let location = moved(&format!("https://mta-sts.good.test{POLICY_PATH}"));
            fixed(stream, "302 Found", &[plain[0], &location], body).await
        }
        Https::RedirectHttp => {
            let location = moved(&format!("http://{}{POLICY_PATH}", host.subject.host));
            fixed(stream, "302 Found", &[plain[0], &location], body).await
        }
        Https::Gzip => fixed(stream, "200 OK", &[plain[0], "Content-Encoding: gzip"], &gzip(body)).await,
        Https::Short => {
            let length = format!("Content-Length: {}", body.len() + 100);
            head(stream, "200 OK", &[plain[0], &length]).await?;
            stream.write_all(body).await?;
            Ok(After::Close)
        }
        Https::Drip => {
            head(
                stream,
                "200 OK",
                &[plain[0], &format!("Content-Length: {}", body.len())],
            )
            .await?;
            for octet in body {
                tokio::time::sleep(Duration::from_secs(1)).await;
                stream.write_all(&[*octet]).await?;
                stream.flush().await?;
            }
            Ok(After::KeepAlive)
        }
        Https::HeaderFlood => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")
                .await?;
            // Two gigabytes: no sender may wait for the end, nor keep what came.
            for n in 0..1_u32 << 20 {
                stream
                    .write_all(format!("X-Flood-{n}: {}\r\n", "x".repeat(2000)).as_bytes())
                    .await?;
            }
            Ok(After::Close)
        }
        Https::After50 => {
            tokio::time::sleep(Duration::from_millis(50)).await;
            fixed(stream, "200 OK", &plain, body).await
        }
        Https::Garbage => {
            stream.write_all(b"220 mta-sts.test ESMTP\r\n").await?;
            Ok(After::Close)
        }
        // Those without TLS never come here; at a shared address they are as silent as this.
        Https::Silent
        | Https::BlackHole
        | Https::TlsAlert
        | Https::Alert40
        | Https::Alert80
        | Https::Alert112
        | Https::TlsReset
        | Https::NotTls
        | Https::Refused
        | Https::Unreachable => std::future::pending().await,
    }
}

async fn head(stream: &mut (impl AsyncWrite + Unpin), status: &str, fields: &[&str]) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status}\r\n");
    for field in fields {
        head.push_str(field);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await
}

/// An answer with its length. A 204 or 304 that has a body anyway ends the connection behind it.
async fn fixed(
    stream: &mut (impl AsyncWrite + Unpin),
    status: &str,
    fields: &[&str],
    body: &[u8],
) -> io::Result<After> {
    let length = format!("Content-Length: {}", body.len());
    let mut fields = fields.to_vec();
    fields.push(&length);
    head(stream, status, &fields).await?;
    stream.write_all(body).await?;
    stream.flush().await?;
    Ok(if status.starts_with("204") {
        After::Close
    } else {
        After::KeepAlive
    })
}

async fn chunked(stream: &mut (impl AsyncWrite + Unpin), body: &[u8]) -> io::Result<After> {
    head(
        stream,
        "200 OK",
        &["Content-Type: text/plain", "Transfer-Encoding: chunked"],
    )
    .await?;
    // The first chunks are small, so that every reader meets a boundary inside a line.
    let (start, rest) = body.split_at(body.len().min(100));
    for chunk in start.chunks(7).chain(rest.chunks(4096)) {
        stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
        stream.write_all(chunk).await?;
        stream.write_all(b"\r\n").await?;
    }
    stream.write_all(b"0\r\n\r\n").await?;
    stream.flush().await?;
    Ok(After::KeepAlive)
}

/// The policy made longer by an extension field, still valid.
fn padded(body: &[u8], length: usize) -> Vec<u8> {
    let mut padded = body.to_vec();
    padded.extend(b"x-pad: ");
    padded.resize(length.saturating_sub(1), b'a');
    padded.push(b'\n');
    padded
}

/// RFC 1952 around one stored block of RFC 1951.
fn gzip(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let body = &body[..length.into()];
    let mut coded = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    coded.extend(length.to_le_bytes());
    coded.extend((!length).to_le_bytes());
    coded.extend(body);
    let crc = body.iter().fold(u32::MAX, |crc, octet| {
        (0..8).fold(crc ^ u32::from(*octet), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    });
    coded.extend((!crc).to_le_bytes());
    coded.extend(u32::from(length).to_le_bytes());
    coded
}
