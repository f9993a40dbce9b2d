//! The users of the cache: what each may do there by its owner, its group and its mode.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::finding::{Code, Finding};
use mtasts::sender::settings::Settings;
use mtasts::sender::user::{User, name_of, whom_root_becomes};

/// How a user uses the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Asks as root, which becomes another user.
    #[default]
    ByRoot,
    /// Reads, and should write.
    Reads,
    /// Must write.
    Writes,
}

/// Who uses the cache, each with the reasons.
#[derive(Default)]
pub(super) struct Users(BTreeMap<String, (Vec<String>, Role)>);

/// The user of Exim, by Debian and by others. Its deliveries ask as root.
const EXIM: [&str; 2] = ["Debian-exim", "exim"];

impl Users {
    /// A user whom a configuration names.
    pub(super) fn add(&mut self, user: &str, why: &str, role: Role) {
        let (reasons, highest) = self.0.entry(user.to_owned()).or_default();
        if !reasons.iter().any(|reason| reason == why) {
            reasons.push(why.to_owned());
        }
        *highest = role.max(*highest);
    }

    /// What each may do.
    pub(super) fn look(mut self, settings: &Settings, found: &mut Vec<Finding>) {
        let Some(dir) = settings.cache_dir.as_deref().filter(|dir| dir.is_dir()) else {
            return;
        };
        // It is said elsewhere if root has no user to become.
        if let Ok(identity) = whom_root_becomes(Some(dir), settings.user.as_ref()) {
            self.add(&name_of(identity.uid), "whom root becomes", Role::Writes);
        }
        // Who may not read it need not be a user of it: `policies` says so.
        if me() != 0 && fs::read_dir(dir).is_ok() {
            self.add(&name_of(me()), "who asks now", Role::Reads);
        }
        if let Some(exim) = EXIM.iter().find(|user| User::of_host(user).is_ok()) {
            self.add(exim, "Exim's user", Role::ByRoot);
        }
        for (user, (reasons, role)) in self.0 {
            let about = format!("{user} ({})", reasons.join(", "));
            found.push(match User::of_host(&user) {
                // A container may give a directory to a number without a name.
                Err(_) if user.parse::<u32>().is_ok() => of_number(&user, &about, dir),
                Err(why) => Finding::new(Code::UserUnknown, format!("{about}: {why}. Correct it there.")),
                Ok(user) => of_user(&user, &about, dir, role),
            });
        }
    }
}

fn of_user(user: &User, about: &str, dir: &Path, role: Role) -> Finding {
    let path = dir.display();
    let name = user.name();
    let closed = dir
        .ancestors()
        .skip(1)
        .find(|above| fs::metadata(above).is_ok_and(|above| user.may(&above) & 1 == 0));
    let bits = fs::metadata(dir).map_or(0, |about| user.may(&about));
    match (closed, bits) {
        (None, 7) => Finding::new(Code::User, format!("{about} can read and write {path}")),
        _ if role == Role::ByRoot => Finding::new(
            Code::UserByRoot,
            format!(
                "{about} cannot write to {path} and need not: its deliveries ask as root, which becomes the user of the cache"
            ),
        ),
        (Some(above), _) => Finding::new(
            Code::UserCannotRead,
            format!("{about} cannot reach {path}: run chmod o+x {}", above.display()),
        ),
        (None, bits) if role == Role::Writes => Finding::new(
            Code::UserCannotWrite,
            format!(
                "{about} cannot {} {path}: make the user its owner, or a member of its group, with mode 2770",
                if bits & 5 == 5 { "write to" } else { "use" }
            ),
        ),
        (None, 5) => Finding::new(
            Code::UserReads,
            format!(
                "{about} reads {path} and cannot write there: what this user fetches is kept in memory alone. If that is not \
                 meant: chmod 2770 {path}, and add the user to its group"
            ),
        ),
        (None, _) => Finding::new(
            Code::UserCannotRead,
            format!(
                "{about} cannot read {path}: add the user to its group (adduser {name} {}), and restart the mail server",
                fs::metadata(dir).map_or_else(
                    |_| "GROUP".to_owned(),
                    |about| mtasts::sender::user::name_of_group(about.gid())
                )
            ),
        ),
    }
}

fn of_number(user: &str, about: &str, dir: &Path) -> Finding {
    let path = dir.display();
    let owner = fs::metadata(dir).is_ok_and(|dir| dir.uid().to_string() == user && dir.mode() & 0o700 == 0o700);
    if owner {
        Finding::new(Code::User, format!("{about} can read and write {path}"))
    } else {
        Finding::new(
            Code::UserUnknown,
            format!("{about}: no user has this number. Give {path} to the user of the mail server."),
        )
    }
}

/// The user with whose rights this process runs.
pub(super) fn me() -> u32 {
    fs::metadata("/proc/self").map_or(u32::MAX, |about| about.uid())
}
