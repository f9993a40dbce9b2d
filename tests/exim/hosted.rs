//! Mail to domains whose policies `mtasts host` serves.

use mtasts_kit::hosted::{HOSTED, Hosted};
use mtasts_lab::judge::End;

use super::host::{Config, Fate, Tls};
use super::{World, evidence};

/// Exim takes what is served, and does what it says.
pub(crate) fn policies_of_our_host(world: &World) {
    let _hosted = Hosted::start(&world.lab);
    let host = world.host(Tls::Gnu, &Config::Complete);
    let recipients = HOSTED.map(|(domain, _)| format!("user@{domain}"));
    let outcome = host.send(&recipients.each_ref().map(String::as_str));
    for (recipient, (_, end)) in recipients.iter().zip(HOSTED) {
        let (fate, way) = match end {
            End::Verified => (Fate::Delivered, " T=remote_smtp_mtasts "),
            End::Delivered => (Fate::Delivered, " T=remote_smtp_testing "),
            _ => (Fate::Deferred, "DNS gives no MX host that the policy lists"),
        };
        let (became, line) = outcome.of(recipient);
        assert_eq!(became, fate, "{}", outcome.log);
        assert!(line.contains(way), "{line}");
        evidence(&format!("the policy that `mtasts host` serves, {recipient}"), line);
    }
    assert_eq!(host.panic_log(), "");
}
