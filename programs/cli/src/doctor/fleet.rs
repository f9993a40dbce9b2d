//! The server by which the hosts of a fleet share what they fetch, asked as the user who makes the lookups.

use super::super::cache::{Look, PLAIN, look as ask};
use super::finding::{Code, Finding};
use mtasts::sender::settings::Settings;

pub(super) fn look(settings: &Settings, found: &mut Vec<Finding>) {
    let (setup, condition) = match ask(settings) {
        Look::None => return,
        Look::Gone(why) => {
            let sentence =
                format!("{why}. Each host fetches for itself until that is repaired, or the setting fleet removed");
            found.push(Finding::new(Code::FleetSilent, sentence));
            return;
        }
        Look::There(setup, condition) => (setup, condition),
    };
    let (version, took) = (condition.version.as_deref().unwrap_or("it"), condition.took.as_micros());
    found.push(Finding::new(
        Code::Fleet,
        format!("{}: {version} answers after {took} \u{b5}s", setup.server),
    ));
    if !(setup.server.is_safe() && setup.reader.is_safe()) {
        found.push(Finding::new(Code::FleetPlain, format!("{}: {PLAIN}", setup.server)));
    }
    if let Some(policy) = condition.policy.as_ref().filter(|_| condition.evicts()) {
        let sentence = format!(
            "{}: its maxmemory-policy is {policy}, so it drops policies when its memory is full. Set it to noeviction",
            setup.server
        );
        found.push(Finding::new(Code::FleetEvicts, sentence));
    }
}
