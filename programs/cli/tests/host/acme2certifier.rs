//! Another real authority, acme2certifier, unlike pebble: it says when to renew (RFC 9773) and does not repeat what an order replaces,
//! it has profiles, and it wants a contact from whoever registers.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mtasts_kit::{repository, until};
use rusqlite::Connection;
use serde_json::json;

use super::door::{Behind, Door};
use super::hosting::Hosting;
use super::issuing::KEY;
use super::pebble::Names;

const AT: (&str, &str) = ("127.0.0.1", "14010");
const BEHIND: &str = "127.0.0.1:14010";
const DOOR: &str = "127.0.0.1:14011";
/// Its directory, at the door before it: it has no TLS.
pub(crate) const DIRECTORY: &str = "https://127.0.0.1:14011/directory";
/// The profile with certificates of six days. Those of the other one live for ninety.
pub(crate) const SIX_DAYS: &str = "sixdays";
/// The customer whom it knows, by the key of the tests.
pub(crate) const CUSTOMER: &str = "kid-2";
/// Its own program has one address alone, and port 80.
const SERVE: &str = "import sys
from wsgiref.simple_server import make_server
from acme2certifier.share.acme2certifier_wsgi import application, get_handler_cls
make_server(sys.argv[1], int(sys.argv[2]), application, handler_class=get_handler_cls()).serve_forever()";

/// The server with its door. It ends with the test.
pub(crate) struct Acme2certifier {
    child: Child,
    folder: PathBuf,
    pub(crate) door: Door,
}

impl Drop for Acme2certifier {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where it is installed.
fn installed() -> PathBuf {
    repository().join("target/acme2certifier")
}

impl Acme2certifier {
    /// Gets it, and a host in a network of its own.
    pub(crate) fn hosting() -> Hosting {
        let script = Command::new(repository().join("tests/acme/acme2certifier.sh"))
            .arg(installed())
            .status();
        assert!(script.expect("acme2certifier.sh").success());
        Names::fetch();
        Hosting::new(&[])
    }

    /// In the network of this host, beside a name server ([`Names`]). It registers its customers alone.
    pub(crate) fn start(hosting: &Hosting) -> Self {
        Self::start_with(
            hosting,
            "[EABhandler]\neab_handler_module: acme2certifier.eabhandlers.json_handler\nkey_file: customers.json\n",
        )
    }

    /// With these settings besides.
    pub(crate) fn start_with(hosting: &Hosting, more: &str) -> Self {
        let folder = hosting.path("acme2certifier");
        fs::create_dir_all(folder.join("issued")).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write("ca.pem", &hosting.authority().pem());
        write("ca.key", &hosting.authority().key().serialize_pem());
        write("customers.json", &json!({ CUSTOMER: KEY }).to_string());
        let handler = |name: &str, days: u32| {
            format!(
                "[CAhandler:{name}]\nhandler_module: acme2certifier.cahandlers.openssl_ca_handler\nissuing_ca_key: ca.key\n\
                 issuing_ca_cert: ca.pem\nissuing_ca_crl: crl.pem\ncert_save_path: issued\ncert_validity_days: {days}\n"
            )
        };
        let settings = format!(
            "[DEFAULT]\ndns_server_list: [\"127.0.0.1\"]\n[DBhandler]\nhandler: wsgi\ndbfile: {}\n[CAhandler]\n\
             multi_handler: True\ndefault_handler: ninety\n{}{}[Order]\nprofiles: {}\nprofile_cahandler: {}\n{more}",
            folder.join("acme.db").display(),
            handler("ninety", 90),
            handler("six", 6),
            json!({ "classic": "https://ca.example/classic", SIX_DAYS: "https://ca.example/six-days" }),
            json!({ "classic": "ninety", SIX_DAYS: "six" }),
        );
        write("acme_srv.cfg", &settings);
        let door = Door::start(hosting, DOOR, Behind::Plain(BEHIND));
        let mut server = Self {
            child: serve(&folder),
            folder,
            door,
        };
        server.wait();
        server
    }

    fn wait(&mut self) {
        until("acme2certifier", || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.log());
            TcpStream::connect(BEHIND).is_ok()
        });
    }

    /// Starts it again with these settings in place of others.
    pub(crate) fn restart(&mut self, before: &str, after: &str) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let file = self.folder.join("acme_srv.cfg");
        let text = fs::read_to_string(&file).unwrap();
        assert!(before.is_empty() || text.contains(before), "{before}");
        fs::write(&file, text.replace(before, after)).unwrap();
        self.child = serve(&self.folder);
        self.wait();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    fn open(&self) -> Connection {
        let database = Connection::open(self.folder.join("acme.db")).unwrap();
        database.busy_timeout(Duration::from_secs(5)).unwrap();
        database
    }

    /// How many rows a table of it has.
    fn count(&self, table: &str) -> usize {
        let query = format!("SELECT count(*) FROM {table}");
        let count: i64 = self.open().query_row(&query, (), |row| row.get(0)).unwrap();
        usize::try_from(count).unwrap()
    }

    pub(crate) fn accounts(&self) -> usize {
        self.count("account")
    }

    pub(crate) fn orders(&self) -> usize {
        self.count("orders")
    }

    /// How many orders said what they replace.
    pub(crate) fn replacing(&self) -> usize {
        let requests = self.door.requests();
        let orders = requests.iter().filter(|request| request.path == "/acme/neworders");
        let payloads = orders.filter_map(|request| request.payload());
        payloads.filter(|payload| payload.get("replaces").is_some()).count()
    }

    /// Its clock is put on: what it has issued is older by so many seconds.
    pub(crate) fn put_on(&self, seconds: i64) {
        let older =
            format!("UPDATE certificate SET issue_uts = issue_uts - {seconds}, expire_uts = expire_uts - {seconds}");
        self.open().execute_batch(&older).unwrap();
    }
}

fn serve(folder: &std::path::Path) -> Child {
    let log = File::options()
        .append(true)
        .create(true)
        .open(folder.join("log"))
        .unwrap();
    Command::new(installed().join("venv/bin/python"))
        .args(["-c", SERVE, AT.0, AT.1])
        .current_dir(folder)
        .env("ACME_SRV_CONFIGFILE", folder.join("acme_srv.cfg"))
        .env("ACME2CERTIFIER_BASE_DIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}
