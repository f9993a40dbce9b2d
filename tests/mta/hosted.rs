//! Mail to domains whose policies `mtasts host` serves.

use mtasts_kit::hosted::{HOSTED, Hosted};
use mtasts_kit::{mtasts, on_the_internet_with};
use mtasts_lab::judge::{End, Fate};
use mtasts_lab::{Entry, table};

use super::host::{self, Host};
use super::server::Server;
use super::{postfix, sendmail};

/// What became of a mail to each of them is what the policy says that is served.
fn is_obeyed(fates: &[Fate]) {
    for (domain, end) in HOSTED {
        let fate = fates.iter().find(|fate| fate.domain == domain);
        let became = fate.map(|fate| fate.end);
        // Sendmail verifies a host also where no policy asks for it.
        let is_verified_anyway = (end, became) == (End::Delivered, Some(End::Verified));
        assert!(became == Some(end) || is_verified_anyway, "{fates:?}");
    }
}

#[test]
fn postfix_takes_what_our_host_serves() {
    let mta = host::fetch("postfix", &["postfix"]);
    mtasts();
    on_the_internet_with("postfix-hosted", &[("timeout", "20s")], move |internet| {
        let _hosted = Hosted::start(&internet.lab);
        let _server = Server::start(internet);
        let lines = postfix::example(&mta).0;
        let host = Host::start("postfix.sh", internet.lab.directory(), &mta, &lines);
        let is_one = |entry: &Entry| HOSTED.iter().any(|(domain, _)| *domain == entry.name);
        let cases: Vec<Entry> = table().into_iter().filter(is_one).collect();
        is_obeyed(&postfix::send(&host, &cases));
    });
}

#[test]
fn sendmail_takes_what_our_host_serves() {
    let mta = host::fetch("sendmail", sendmail::PACKAGES);
    mtasts();
    on_the_internet_with("sendmail-hosted", &[("timeout", "20s")], move |internet| {
        let _hosted = Hosted::start(&internet.lab);
        let (_server, host, log) = sendmail::start(internet, &mta);
        is_obeyed(&sendmail::send(
            &host,
            &log,
            &HOSTED.map(|(domain, _)| domain.to_owned()),
        ));
    });
}
