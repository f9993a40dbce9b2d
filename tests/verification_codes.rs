//! What TLS libraries really say about bad certificates, and what we make of it.
//!
//! For each kind of bad chain an `openssl s_server` serves it on the loopback; `openssl s_client`, Python, GnuTLS and
//! Node connect and verify. The code of each is pinned, and its word must be the one of our own check.

use std::fmt::Debug;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::slice;
use std::sync::mpsc;
use std::time::Duration;

use mtasts::network::roots::Roots;
use mtasts::protocol::certificate::check_chain;
use mtasts::protocol::verification_codes::{from_gnutls, from_node, from_openssl};
use mtasts::{CertificateFailure, Domain};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, NameConstraints,
    date_time_ymd,
};
use rustls_pki_types::UnixTime;

use mtasts_kit::pki::{self, Authority, Directory, Host, command, host, intermediate, root, self_signed_host};

const MX: &str = "mx1.example.com";

/// What is said of each kind of chain: our own word for it, and the code of OpenSSL, of GnuTLS (without
/// `GNUTLS_CERT_`) and of Node.
#[rustfmt::skip] // a row a line
const SAID: &[(&str, &str, i64, &str, &str)] = &[
    ("good", "ok", 0, "", ""),
    ("expired", "certificate-expired", 10, "EXPIRED", "CERT_HAS_EXPIRED"),
    ("expired intermediate", "certificate-expired", 10, "EXPIRED", "CERT_HAS_EXPIRED"),
    ("not yet valid", "certificate-not-trusted", 9, "NOT_ACTIVATED", "CERT_NOT_YET_VALID"),
    ("self-signed", "certificate-not-trusted", 18, "SIGNER_NOT_FOUND", "DEPTH_ZERO_SELF_SIGNED_CERT"),
    ("unknown CA", "certificate-not-trusted", 20, "SIGNER_NOT_FOUND", "UNABLE_TO_VERIFY_LEAF_SIGNATURE"),
    ("unknown root", "certificate-not-trusted", 19, "SIGNER_NOT_FOUND", "SELF_SIGNED_CERT_IN_CHAIN"),
    ("missing intermediate", "certificate-not-trusted", 20, "SIGNER_NOT_FOUND", "UNABLE_TO_VERIFY_LEAF_SIGNATURE"),
    ("wrong host", "certificate-host-mismatch", 62, "UNEXPECTED_OWNER", "ERR_TLS_CERT_ALTNAME_INVALID"),
    ("client certificate", "certificate-not-trusted", 26, "PURPOSE_MISMATCH", "INVALID_PURPOSE"),
    ("name constraints", "certificate-not-trusted", 47, "SIGNER_CONSTRAINTS_FAILURE", "UNSPECIFIED"),
    ("issuer is no CA", "certificate-not-trusted", 79, "SIGNER_NOT_CA", "INVALID_PURPOSE"),
    ("path too long", "certificate-not-trusted", 25, "SIGNER_CONSTRAINTS_FAILURE", "PATH_LENGTH_EXCEEDED"),
    ("bad signature", "certificate-not-trusted", 7, "SIGNATURE_FAILURE", "CERT_SIGNATURE_FAILURE"),
    ("SHA-1", "certificate-not-trusted", 68, "INSECURE_ALGORITHM", "UNSPECIFIED"),
];

/// What a server sends.
struct Chain {
    certificates: Vec<Vec<u8>>,
    key_pem: String,
}

/// The chains of [`SAID`], in files for servers, and the roots that clients trust.
struct Bench {
    directory: Directory,
    roots: PathBuf,
    chains: Vec<(&'static str, Chain)>,
}

impl Bench {
    /// `name` tells the directories of tests apart that run side by side.
    fn new(name: &str) -> Self {
        let directory = Directory::new(name);
        let root = root("Root");
        let expire = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
        let postpone = |params: &mut CertificateParams| params.not_before = date_time_ymd(2090, 1, 1);
        let for_clients =
            |params: &mut CertificateParams| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let ca = intermediate("CA", &root, |_| {});
        let expired = intermediate("Expired", &root, expire);
        let unknown = pki::root("Unknown");
        let narrow = intermediate("Narrow", &root, |params| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: vec![GeneralSubtree::DnsName("example.net".to_owned())],
                excluded_subtrees: Vec::new(),
            });
        });
        let no_ca = intermediate("No CA", &root, |params| params.is_ca = IsCa::ExplicitNoCa);
        let short = intermediate("Short", &root, |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))
        });
        let below = intermediate("Below", &short, |_| {});
        let mut bent = host(&[MX], &ca, |_| {});
        *bent.der.last_mut().expect("not empty") ^= 1;
        let common_name = |params: &mut CertificateParams| params.distinguished_name.push(DnType::CommonName, MX);
        let chains: Vec<(_, Host, Vec<&Authority>)> = vec![
            ("good", host(&[MX], &ca, |_| {}), vec![&ca]),
            ("expired", host(&[MX], &ca, expire), vec![&ca]),
            ("expired intermediate", host(&[MX], &expired, |_| {}), vec![&expired]),
            ("not yet valid", host(&[MX], &ca, postpone), vec![&ca]),
            ("self-signed", self_signed_host(&[MX]), vec![]),
            ("unknown CA", host(&[MX], &unknown, |_| {}), vec![]),
            ("unknown root", host(&[MX], &unknown, |_| {}), vec![&unknown]),
            ("missing intermediate", host(&[MX], &ca, |_| {}), vec![]),
            ("wrong host", host(&["mx2.example.com"], &ca, common_name), vec![&ca]),
            ("client certificate", host(&[MX], &ca, for_clients), vec![&ca]),
            ("name constraints", host(&[MX], &narrow, |_| {}), vec![&narrow]),
            ("issuer is no CA", host(&[MX], &no_ca, |_| {}), vec![&no_ca]),
            ("path too long", host(&[MX], &below, |_| {}), vec![&below, &short]),
            ("bad signature", bent, vec![&ca]),
            ("SHA-1", sha1_host(&directory, &ca), vec![&ca]),
            ("common name only", host(&[], &ca, common_name), vec![&ca]),
        ];
        let chains = chains.into_iter().map(|(name, host, others)| {
            let others = others.into_iter().map(|authority| authority.der().to_vec());
            let certificates = std::iter::once(host.der).chain(others).collect();
            (
                name,
                Chain {
                    certificates,
                    key_pem: host.key_pem,
                },
            )
        });
        Self {
            roots: directory.write("roots.pem", root.pem()),
            chains: chains.collect(),
            directory,
        }
    }

    fn chain(&self, name: &str) -> &Chain {
        &self
            .chains
            .iter()
            .find(|chain| chain.0 == name)
            .expect("a chain for each row")
            .1
    }

    /// What our own check says of a chain.
    fn own(&self, name: &str) -> Result<(), CertificateFailure> {
        let roots = Roots::from_file(&self.roots).expect("a root");
        let chain: Vec<&[u8]> = self.chain(name).certificates.iter().map(Vec::as_slice).collect();
        check_chain(
            &Domain::parse(MX).expect("a name"),
            &chain,
            roots.anchors(),
            UnixTime::now(),
        )
    }

    /// Serves each chain of [`SAID`], asks the client, and tells where its code is not the one that is pinned, or
    /// does not mean our own word.
    fn check<Code: PartialEq + Debug>(
        &self,
        client: impl Fn(&Self, u16) -> Code,
        pinned: impl Fn(&(&str, &str, i64, &'static str, &'static str)) -> Code,
        meaning: impl Fn(&Code) -> Result<(), CertificateFailure>,
    ) {
        let mut wrong = Vec::new();
        for row in SAID {
            let server = Server::start(&self.directory, self.chain(row.0));
            let code = client(self, server.port);
            let meant = word(&meaning(&code));
            if code != pinned(row) || meant != row.1 {
                wrong.push(format!(
                    "{}: {code:?}, {meant}; expected {:?}, {}",
                    row.0,
                    pinned(row),
                    row.1
                ));
            }
        }
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }
}

fn word(result: &Result<(), CertificateFailure>) -> &'static str {
    result.as_ref().map_or_else(|failure| failure.result.name(), |()| "ok")
}

/// A certificate with a signature by SHA-1: rcgen makes none.
fn sha1_host(directory: &Directory, ca: &Authority) -> Host {
    directory.write("sha1-ca.pem", ca.pem());
    directory.write("sha1-ca.key", ca.key().serialize_pem());
    directory.write("sha1.san", format!("subjectAltName=DNS:{MX}\n"));
    directory.openssl(&[
        "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/", "-keyout", "sha1.key", "-out", "sha1.csr",
    ]);
    directory.openssl(&[
        "x509",
        "-req",
        "-sha1",
        "-in",
        "sha1.csr",
        "-CA",
        "sha1-ca.pem",
        "-CAkey",
        "sha1-ca.key",
        "-CAcreateserial",
        "-extfile",
        "sha1.san",
        "-out",
        "sha1.pem",
    ]);
    Host {
        der: directory.read_der("sha1.pem"),
        key_pem: directory.read("sha1.key"),
    }
}

/// An `openssl s_server` on a port of its own.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(directory: &Directory, chain: &Chain) -> Self {
        let (leaf, others) = chain.certificates.split_first().expect("a leaf");
        directory.write("server.key", &chain.key_pem);
        directory.write("server.pem", pem(slice::from_ref(leaf)));
        directory.write("others.pem", pem(others));
        let mut server = command("openssl", "openssl", directory.root());
        server.args([
            "s_server",
            "-accept",
            "127.0.0.1:0",
            "-key",
            "server.key",
            "-cert",
            "server.pem",
        ]);
        if !others.is_empty() {
            server.args(["-cert_chain", "others.pem"]);
        }
        // What is sent is what is given; and the server itself must not mind a weak certificate.
        server.args([
            "-no-CAfile",
            "-no-CApath",
            "-no-CAstore",
            "-cipher",
            "DEFAULT@SECLEVEL=0",
        ]);
        // Its standard input stays open: at its end the server would go.
        let mut child = server
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(port) = line.strip_prefix("ACCEPT 127.0.0.1:") {
                    let _ = sender.send(port.parse::<u16>().expect("a port"));
                }
            }
        });
        let port = receiver.recv_timeout(Duration::from_secs(60));
        let server = Self {
            child,
            port: *port.as_ref().unwrap_or(&0),
        };
        assert!(port.is_ok(), "openssl s_server does not listen");
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pem(certificates: &[Vec<u8>]) -> String {
    certificates
        .iter()
        .map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", &der[..])))
        .collect()
}

/// Runs a client to its end and returns what it printed.
fn output(mut client: Command) -> String {
    let output = client.stdin(Stdio::null()).output().expect("a client");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(!stdout.is_empty(), "{client:?}: {stderr}");
    stdout.into_owned()
}

fn ask_openssl(bench: &Bench, port: u16) -> i64 {
    let mut client = command("openssl", "openssl", bench.directory.root());
    client.args([
        "s_client",
        "-connect",
        &format!("127.0.0.1:{port}"),
        "-servername",
        MX,
        "-verify_hostname",
        MX,
    ]);
    client
        .args(["-verify_return_error", "-CAfile"])
        .arg(&bench.roots)
        .args(["-no-CApath", "-no-CAstore"]);
    let said = output(client);
    let code = said
        .split_once("Verify return code: ")
        .and_then(|(_, code)| code.split_once(' '));
    code.and_then(|(code, _)| code.parse().ok())
        .unwrap_or_else(|| panic!("no code: {said}"))
}

/// Python verifies with OpenSSL, but without its fallback to the common name if it is told so.
fn ask_python(bench: &Bench, port: u16) -> i64 {
    let mut client = command("python3", "python3", bench.directory.root());
    client.args(["-c", PYTHON, &port.to_string(), MX]).arg(&bench.roots);
    output(client).trim().parse().expect("a code")
}

const PYTHON: &str = "
import socket, ssl, sys
resolver = ssl.create_default_context(cafile=sys.argv[3])
resolver.hostname_checks_common_name = False
resolver.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the default since Python 3.13
try:
    with socket.create_connection(('127.0.0.1', int(sys.argv[1])), 10) as connection:
        resolver.wrap_socket(connection, server_hostname=sys.argv[2])
    print(0)
except ssl.SSLCertVerificationError as error:
    print(error.verify_code)
";

fn ask_node(bench: &Bench, port: u16) -> String {
    let mut client = command("node", "nodejs", bench.directory.root());
    client.args(["-e", NODE, "--", &port.to_string(), MX]).arg(&bench.roots);
    output(client).trim().to_owned()
}

const NODE: &str = "
const [port, servername, roots] = process.argv.slice(1);
const ca = require('fs').readFileSync(roots);
const socket = require('tls').connect({ host: '127.0.0.1', port, servername, ca });
socket.setTimeout(10000, () => socket.destroy(new Error('silence')));
socket.on('error', (error) => console.log(error.code));
socket.on('secureConnect', () => { console.log(''); socket.destroy(); });
";

/// Builds the GnuTLS client, and asks with it.
struct GnuTls(PathBuf);

impl GnuTls {
    fn build(bench: &Bench) -> Self {
        let program = bench.directory.path("gnutls");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verification_codes/gnutls.c");
        let mut compiler = command("cc", "gcc", bench.directory.root());
        compiler
            .args(["-Wall", "-Wextra", "-Werror", source, "-lgnutls", "-o"])
            .arg(&program);
        let built = compiler.output().expect("a compiler");
        let errors = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{errors}\n(apt-get install libgnutls28-dev)");
        Self(program)
    }

    fn ask(&self, bench: &Bench, port: u16) -> u32 {
        let mut client = Command::new(&self.0);
        client.args([&port.to_string(), MX]).arg(&bench.roots);
        output(client).trim().parse().expect("a status")
    }
}

/// The defines of a header, through the compiler: `#define NAME VALUE`, or an enumeration's `NAME = VALUE`.
fn preprocessed(header: &str, debian_package: &str, arguments: &[&str]) -> String {
    let mut compiler = command("cc", "gcc", Path::new("/"));
    compiler
        .arg("-E")
        .args(arguments)
        .args(["-include", header, "-x", "c", "/dev/null"]);
    let preprocessed = compiler.output().expect("a compiler");
    assert!(
        preprocessed.status.success(),
        "{header} is missing: apt-get install {debian_package}"
    );
    String::from_utf8(preprocessed.stdout).expect("ASCII")
}

/// The bits of GnuTLS by their names, from its header.
fn gnutls_bits() -> Vec<(String, u32)> {
    let header = preprocessed("gnutls/gnutls.h", "libgnutls28-dev", &["-P"]);
    let (enumeration, _) = header
        .split_once("} gnutls_certificate_status_t")
        .expect("the enumeration");
    let (_, enumeration) = enumeration.rsplit_once('{').expect("its beginning");
    let bits = enumeration.split(',').map(|bit| {
        let (name, value) = bit.split_once('=').expect("NAME = 1 << N");
        let shift = value.trim().strip_prefix("1 << ").expect("1 << N").trim();
        (
            name.trim().trim_start_matches("GNUTLS_CERT_").to_owned(),
            1 << shift.parse::<u32>().expect("a number"),
        )
    });
    bits.collect()
}

#[test]
fn own_words() {
    let bench = Bench::new("own");
    for row in SAID {
        assert_eq!(word(&bench.own(row.0)), row.1, "{}", row.0);
    }
    assert_eq!(SAID.len() + 1, bench.chains.len());
}

#[test]
fn openssl_handshakes() {
    Bench::new("openssl").check(ask_openssl, |row| row.2, |code| from_openssl(*code));
}

#[test]
fn python_handshakes() {
    Bench::new("python").check(ask_python, |row| row.2, |code| from_openssl(*code));
}

#[test]
fn gnutls_handshakes() {
    let bench = Bench::new("gnutls");
    let client = GnuTls::build(&bench);
    let bits = gnutls_bits();
    let bit = |name: &str| bits.iter().find(|bit| bit.0 == name).expect("a bit of GnuTLS").1;
    let pinned = |names: &str| match names {
        "" => 0,
        names => names
            .split_whitespace()
            .fold(bit("INVALID"), |status, name| status | bit(name)),
    };
    bench.check(
        |bench, port| client.ask(bench, port),
        |row| pinned(row.3),
        |status| from_gnutls(*status),
    );
}

#[test]
fn node_handshakes() {
    let meaning = |code: &String| if code.is_empty() { Ok(()) } else { Err(from_node(code)) };
    Bench::new("node").check(ask_node, |row| row.4.to_owned(), meaning);
}

/// A name that stands in the common name alone counts for these libraries unless they are told otherwise, and never
/// for us (RFC 9525 1.3): this is why a mail server should show us the certificate even if its library is content.
#[test]
fn common_name_only() {
    let bench = Bench::new("common-name");
    let gnutls = GnuTls::build(&bench);
    let server = Server::start(&bench.directory, bench.chain("common name only"));
    assert_eq!(ask_openssl(&bench, server.port), 0);
    assert_eq!(gnutls.ask(&bench, server.port), 0);
    assert_eq!(ask_node(&bench, server.port), "");
    assert_eq!(word(&bench.own("common name only")), "certificate-host-mismatch");
    assert_eq!(ask_python(&bench, server.port), 62);
    assert_eq!(word(&from_openssl(62)), "certificate-host-mismatch");
}

/// Each `X509_V_ERR_` of the OpenSSL at hand is known by its number and its name.
#[test]
fn every_code_of_openssl() {
    let header = preprocessed("openssl/x509_vfy.h", "libssl-dev", &["-dM"]);
    let mut codes = 0;
    for line in header.lines() {
        let Some(define) = line.strip_prefix("#define X509_V_ERR_") else {
            continue;
        };
        let (name, code) = define.split_once(' ').expect("a name and a number");
        let failure = from_openssl(code.trim().parse().expect("a number")).expect_err("a failure");
        assert!(
            failure.reason.ends_with(&format!(" (X509_V_ERR_{name})")),
            "{define}: {failure}"
        );
        // Node has the same names, but means something else by this one.
        assert!(
            name == "UNSPECIFIED" || from_node(name).result == failure.result,
            "{define}"
        );
        codes += 1;
    }
    assert!(codes >= 94, "{codes}");
}

/// Each bit of the GnuTLS at hand is known by its name.
#[test]
fn every_bit_of_gnutls() {
    let bits = gnutls_bits();
    assert!(bits.len() >= 17, "{bits:?}");
    for (name, bit) in bits {
        let failure = from_gnutls(bit).expect_err("a failure");
        assert!(
            failure.reason.ends_with(&format!(" (GNUTLS_CERT_{name})")),
            "{name}: {failure}"
        );
    }
}
