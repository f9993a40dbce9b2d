//! Port 80: what an authority looks for (RFC 8555 8.3), by our own ACME client or by another one's webroot, and nothing else.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::acme::challenges::Challenges;
use crate::answer::{Answer, nothing};

const PATH: &str = "/.well-known/acme-challenge/";
/// The longest token, and the longest file: a token, a dot and the thumbprint of a key.
const TOKEN: usize = 128;
const FILE: u64 = 1024;
/// A FIFO would hold up the server.
const FLAGS: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// Answers a request with the file of a challenge.
pub(crate) fn answer<B: Body>(request: &Request<B>, challenges: &Challenges, webroot: Option<&Path>) -> Answer {
    let version = request.version();
    if !request.body().is_end_stream() {
        return nothing(StatusCode::BAD_REQUEST, version);
    }
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let path = request.uri().path_and_query().map(|path| path.as_str());
    let token = path.and_then(|path| path.strip_prefix(PATH)).filter(|_| is_read);
    let content = token.and_then(|token| {
        let own = challenges.file(token);
        own.or_else(|| read(webroot?, token).map(Bytes::from))
    });
    let Some(content) = content else {
        return nothing(StatusCode::NOT_FOUND, version);
    };
    let length = content.len();
    let body = if request.method() == Method::HEAD {
        Bytes::new()
    } else {
        content
    };
    let mut answer = Response::new(Full::new(body));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    answer
}

/// The file of a token (base64url, RFC 8555 8): regular, short, and not a link out of the webroot.
fn read(webroot: &Path, token: &str) -> Option<Vec<u8>> {
    let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    if token.is_empty() || token.len() > TOKEN || !token.bytes().all(known) {
        return None;
    }
    let path = webroot.join(PATH.trim_start_matches('/')).join(token);
    let file = OpenOptions::new().read(true).custom_flags(FLAGS).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut content = Vec::new();
    file.take(FILE + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= FILE).then_some(content)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use http_body_util::BodyExt as _;
    use tempfile::TempDir;

    use super::*;

    #[tokio::test]
    async fn the_files_of_the_webroot_and_nothing_else() {
        let root = TempDir::new().unwrap();
        let directory = root.path().join(".well-known/acme-challenge");
        fs::create_dir_all(directory.join("directory")).unwrap();
        fs::write(directory.join("to-ken_1"), "to-ken_1.thumbprint").unwrap();
        fs::write(root.path().join("secret"), "secret").unwrap();
        fs::write(directory.join("long"), "a".repeat(1025)).unwrap();
        symlink(root.path().join("secret"), directory.join("link")).unwrap();
        let challenges = std::rc::Rc::new(Challenges::default());
        let own = challenges.put("ours", "ours.thumbprint");
        let ask = |method: &str, uri: &str| {
            let request = Request::builder().method(method).uri(uri);
            let request = request.body(Full::<Bytes>::default()).unwrap();
            answer(&request, &challenges, Some(root.path()))
        };
        let found = ask("GET", "/.well-known/acme-challenge/to-ken_1");
        assert_eq!(found.status(), 200);
        assert_eq!(
            found.into_body().collect().await.unwrap().to_bytes(),
            "to-ken_1.thumbprint"
        );
        assert_eq!(
            ask("HEAD", "/.well-known/acme-challenge/to-ken_1").headers()[CONTENT_LENGTH],
            "19"
        );
        for uri in [
            "/",
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/directory",
            "/.well-known/acme-challenge/long",
            "/.well-known/acme-challenge/link",
            "/.well-known/acme-challenge/../../secret",
            "/.well-known/acme-challenge/..%2f..%2fsecret",
            "/.well-known/acme-challenge/to-ken_1/",
            "/.well-known/acme-challenge/to-ken_1?x",
            "/.well-known/mta-sts.txt",
            "/secret",
        ] {
            assert_eq!(ask("GET", uri).status(), 404, "{uri}");
        }
        assert_eq!(ask("POST", "/.well-known/acme-challenge/to-ken_1").status(), 404);
        assert_eq!(ask("GET", "/.well-known/acme-challenge/ours").status(), 200);
        drop(own);
        assert_eq!(ask("GET", "/.well-known/acme-challenge/ours").status(), 404);
    }
}
