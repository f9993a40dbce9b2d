//! Whom a process of root becomes for all that touches the cache or the network: the setting `user`, or the owner of
//! the cache directory.
//!
//! The user is looked up in /etc/passwd and /etc/group and nowhere else. The C library's functions would load modules
//! into the host process that may use the network (LDAP), and root does not use the network.

use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::protocol::text::one_line;
use crate::sys::identity::Identity;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// A user of this host, as the setting `user` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    name: String,
    uid: u32,
    /// The primary group.
    gid: u32,
    /// The other groups.
    groups: Vec<u32>,
}

/// Root has no user to become: why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoUser(String);

impl fmt::Display for NoUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot look up policies as root: {}", self.0)
    }
}

impl std::error::Error for NoUser {}

impl User {
    /// The user of this name or number on this host.
    ///
    /// # Errors
    /// In plain words: there is no such user, or it is root, or its primary group is that of root.
    pub fn of_host(user: &str) -> Result<Self, String> {
        let read = |file: &str| match fs::read(file) {
            Ok(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
            Err(e) => Err(format!("{file}: {e}")),
        };
        let found = Self::find(user, &read(PASSWD)?, &read(GROUP)?);
        let found = found.ok_or_else(|| format!("{:?} is not a user in {PASSWD}", one_line(user, 80)))?;
        match (found.uid, found.gid) {
            (0, _) => Err(format!("{} is root: name the user of the mail server", found.name)),
            (_, 0) => Err(format!(
                "the primary group of {} is that of root: name a user with another one",
                found.name
            )),
            _ => Ok(found),
        }
    }

    /// The user in the texts of passwd(5) and group(5).
    fn find(user: &str, passwd: &str, group: &str) -> Option<Self> {
        let users = || {
            passwd.lines().filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                let (uid, gid) = (fields.nth(1)?.parse::<u32>().ok()?, fields.next()?.parse().ok()?);
                Some((name, uid, gid))
            })
        };
        let number = user.parse::<u32>().ok();
        let (name, uid, gid) = users()
            .find(|(name, ..)| *name == user)
            .or_else(|| users().find(|(_, uid, _)| Some(*uid) == number))?;
        let groups = group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (gid, members) = (fields.nth(2)?.parse().ok()?, fields.next()?);
            members.split(',').any(|member| member == name).then_some(gid)
        });
        Some(Self {
            name: name.to_owned(),
            uid,
            gid,
            groups: groups.collect(),
        })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the user may do with a file or a directory of this mode: the bits 4 to read, 2 to write, 1 to search. Lists of
    /// access control (ACLs) are not read.
    #[must_use]
    pub fn may(&self, about: &Metadata) -> u32 {
        let class = if about.uid() == self.uid {
            6
        } else if about.gid() == self.gid || self.groups.contains(&about.gid()) {
            3
        } else {
            0
        };
        about.mode() >> class & 7
    }

    /// The group of a directory if it is one of the user's, since access may depend on it; else the primary group.
    fn group_in(&self, directory: &Metadata) -> u32 {
        let gid = directory.gid();
        if gid != 0 && self.groups.contains(&gid) {
            gid
        } else {
            self.gid
        }
    }
}

/// The name of a user of this host; the number if it has none.
#[must_use]
pub fn name_of(uid: u32) -> String {
    let number = uid.to_string();
    let passwd = fs::read(PASSWD).unwrap_or_default();
    User::find(&number, &String::from_utf8_lossy(&passwd), "").map_or(number, |user| user.name)
}

/// The name of a group of this host; the number if it has none.
#[must_use]
pub fn name_of_group(gid: u32) -> String {
    let groups = String::from_utf8_lossy(&fs::read(GROUP).unwrap_or_default()).into_owned();
    let number = gid.to_string();
    let name = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    name.unwrap_or(number)
}

/// Whom a process of root becomes, by the settings `cache_dir` and `user`.
///
/// # Errors
/// [`NoUser`]: the cache directory cannot be used, or belongs to root, or the user may not write there; or policies are
/// kept in memory alone and no user is set.
pub fn whom_root_becomes(cache_dir: Option<&Path>, user: Option<&User>) -> Result<Identity, NoUser> {
    match (cache_dir, user) {
        (Some(dir), user) => in_directory(dir, user),
        (None, Some(user)) => Ok(Identity {
            uid: user.uid,
            gid: user.gid,
        }),
        (None, None) => Err(NoUser(
            "policies are kept in memory alone (cache_dir is empty): set user to the name of the mail server's user"
                .into(),
        )),
    }
}

fn in_directory(dir: &Path, user: Option<&User>) -> Result<Identity, NoUser> {
    let path = dir.display();
    let owner = user.map_or("USER", |user| &user.name);
    let refused = |why: String| {
        NoUser(format!(
            "the cache directory {path} {why}. Create it for the user and group of the mail server: install -d -m 2770 -o \
             {owner} -g GROUP {path}. The command mtasts cache setup does that as well."
        ))
    };
    let about = fs::metadata(dir).map_err(|e| refused(format!("cannot be used ({e})")))?;
    if !about.is_dir() {
        return Err(refused("is not a directory".into()));
    }
    let Some(user) = user else {
        return match (about.uid(), about.gid()) {
            (0, _) => Err(refused("belongs to root".into())),
            (_, 0) => Err(refused("belongs to the group of root".into())),
            (uid, gid) => Ok(Identity { uid, gid }),
        };
    };
    let identity = Identity {
        uid: user.uid,
        gid: user.group_in(&about),
    };
    // What the helper cannot write would be lost with it.
    let bits = if about.uid() == identity.uid { 0o300 } else { 0o030 };
    let is_his = about.uid() == identity.uid || about.gid() == identity.gid;
    if is_his && about.mode() & bits == bits {
        Ok(identity)
    } else {
        Err(refused(format!("cannot be written by the user {}", user.name)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/bash\n+::::::\nmail:x:8:12:M\u{e4}il, the:/var/mail:/bin/false\n\
                         exim:x:101:0::/:/bin/false\n102:x:103:103::/:\nother:x:102:102::/:\n";
    const GROUPS: &str = "root:x:0:mail\nmail:x:12:\nmtasts:x:900:exim,mail\nmailman:x:901:mailman\nbroken\n";

    #[test]
    fn a_user_is_found_by_name_or_number() {
        let find = |user| User::find(user, USERS, GROUPS);
        let mail = find("mail").unwrap();
        assert_eq!((mail.uid, mail.gid), (8, 12));
        assert_eq!(mail.groups, [0, 900]);
        assert_eq!(find("8"), Some(mail));
        assert_eq!(find("102").unwrap().uid, 103, "a name before a number");
        for unknown in ["", "mai", "+", "9", "-8", "mail:x:8:12"] {
            assert_eq!(find(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn root_and_strangers_are_refused() {
        for (user, why) in [
            ("root", "root is root: "),
            ("0", "root is root: "),
            (
                "nobody-of-that-name",
                "\"nobody-of-that-name\" is not a user in /etc/passwd",
            ),
            ("a\nb", "\"a b\" is not a user in /etc/passwd"),
        ] {
            let error = User::of_host(user).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }

    /// Access may depend on a group that is one of the user's, and never on root's group.
    #[test]
    fn the_group_is_the_directorys_if_the_user_is_in_it() {
        if !crate::sys::process::is_root() {
            return;
        }
        let dir = std::env::temp_dir().join(format!("mtasts-user-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let user = User::find("mail", USERS, GROUPS);
        for (owner, group, mode, expected) in [
            (8, 12, 0o2770, Some(12)),
            (8, 900, 0o2770, Some(900)),
            (7, 900, 0o2770, Some(900)),
            (8, 0, 0o770, Some(12)),
            (8, 901, 0o700, Some(12)),
            (7, 900, 0o2750, None),
            (7, 901, 0o2770, None),
            (7, 0, 0o770, None),
            (0, 0, 0o755, None),
            (8, 12, 0o500, None),
        ] {
            std::os::unix::fs::chown(&dir, Some(owner), Some(group)).unwrap();
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
            let becomes = whom_root_becomes(Some(&dir), user.as_ref());
            assert_eq!(
                becomes.clone().ok(),
                expected.map(|gid| Identity { uid: 8, gid }),
                "{owner}:{group} {mode:o}: {becomes:?}"
            );
        }
        fs::remove_dir(&dir).unwrap();
    }
}
