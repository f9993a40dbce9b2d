//! The server by which the hosts of a fleet share what they fetch, asked as the user who makes the lookups.

use std::fs::File;
use std::io::ErrorKind::PermissionDenied;

use super::super::cache::{Look, PLAIN, look as ask};
use super::finding::{Code, Finding, Level};
use mtasts::sender::settings::Settings;

/// What is wrong with the server, for a program that is about something else. Nothing for a user who may not read the
/// secrets, and so cannot know.
pub(crate) fn warnings(settings: &Settings) -> Vec<String> {
    let key_file = settings.fleet_key_file.as_deref().map(File::open);
    if key_file.is_some_and(|file| file.is_err_and(|error| error.kind() == PermissionDenied)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    look(settings, &mut found);
    found.retain(|finding| finding.code.level() != Level::Ok);
    found.into_iter().map(|finding| finding.sentence).collect()
}

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
