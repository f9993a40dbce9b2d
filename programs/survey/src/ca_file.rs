//! The setting `ca_file` against the system's trust anchors: an MTA that checks MX hosts itself, such as Exim, need not use
//! the setting, and then decides otherwise. Only a difference is worth a word.

use std::path::Path;

use rustls_pki_types::UnixTime;

use crate::finding::{Code, Finding};
use crate::judge::Judgement;
use crate::smtp::{End, Session};
use crate::survey::{Host, Survey};
use mtasts::network::roots::Roots;
use mtasts::protocol::certificate::check_chain;

/// Adds a finding to each MX host whose certificate leads to the one and not to the other.
pub fn compare(survey: &Survey, judgement: &mut Judgement, file: (&Path, &Roots), system: &Roots, at: UnixTime) {
    let (path, roots) = (file.0.display(), file.1);
    for (host, judged) in survey.hosts.iter().zip(&mut judgement.hosts) {
        let sessions = host.sessions.iter().flatten();
        let differs = sessions
            .filter_map(|(_, session)| Some((accepts(host, session, roots, at)?, accepts(host, session, system, at)?)))
            .find(|(by_file, by_system)| by_file != by_system);
        let Some((by_file, _)) = differs else { continue };
        let name = &host.name;
        let (sentence, next) = if by_file {
            (
                format!("{name}: {path} accepts the certificate, and the system's trust anchors do not"),
                "set the macro MTASTS_CA_FILE to the same file",
            )
        } else {
            (
                format!("{name}: the system's trust anchors accept the certificate, and {path} does not"),
                "the macro MTASTS_CA_FILE can name the same file, but an Exim with OpenSSL accepts the system's beside it",
            )
        };
        let finding = Finding::told(
            Code::CaFileDiffers,
            format!(
                "{sentence}. This verdict is that of ca_file, as in Haraka, Python and C programs; Exim checks MX hosts with its own \
                 trust anchors: {next}"
            ),
        );
        judged.advice.push(finding.clone());
        judgement.advice.push(finding);
    }
}

/// Whether a certificate came, and leads to one of these trust anchors.
fn accepts(host: &Host, session: &Session, roots: &Roots, at: UnixTime) -> Option<bool> {
    let End::Tls { chain, .. } = &session.end else {
        return None;
    };
    let chain: Vec<&[u8]> = chain.iter().map(AsRef::as_ref).collect();
    Some(check_chain(host.name.host().ok()?, &chain, roots.anchors(), at).is_ok())
}
