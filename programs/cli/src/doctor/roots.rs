//! The trust anchors, read as the user who asks the network.

use super::finding::{Code, Finding};
use mtasts::network::roots::Roots;
use mtasts::sender::settings::Settings;

pub(super) fn look(settings: &Settings, found: &mut Vec<Finding>) {
    let file = settings.ca_file.as_deref();
    let roots = match file.map_or_else(Roots::system, Roots::from_file) {
        Ok(roots) => roots,
        Err(error) => {
            let next = match file {
                Some(_) => " Repair that file, let the user of the cache read it, or change the setting ca_file.",
                None => "",
            };
            let error = error.to_string();
            let dot = if error.ends_with('.') { "" } else { "." };
            found.push(Finding::new(
                Code::RootsUnusable,
                format!("{error}{dot}{next} Mail waits until then."),
            ));
            return;
        }
    };
    let path = file.or_else(|| roots.file()).map(|path| path.display().to_string());
    found.push(Finding::new(
        Code::Roots,
        format!(
            "{} trust anchors in {}",
            roots.anchors().len(),
            path.unwrap_or_default()
        ),
    ));
    if let Some(warning) = roots.warning() {
        found.push(Finding::new(
            Code::RootsSkipped,
            format!("{warning} Remove it from the file."),
        ));
    }
    if let Some(file) = file {
        found.push(Finding::new(
            Code::CaFile,
            format!(
                "{} replaces the system's trust anchors, for policy hosts and for MX hosts. Exim checks MX hosts itself, with the \
                 macro MTASTS_CA_FILE, and the ca_file of Haraka's mta-sts.ini comes before this one",
                file.display()
            ),
        ));
    }
}
