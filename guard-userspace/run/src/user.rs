//! As whom the command runs.

use std::path::PathBuf;

use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};

use crate::Error;

/// A user who is not root. Of groups the command has the primary one alone: others, such as `docker`, are worth root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Of the account, or the number.
    pub name: String,
    /// Not 0.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// The home, if the account has one.
    pub home: PathBuf,
    /// The login shell.
    pub shell: PathBuf,
}

impl User {
    /// The user that is named (`NAME`, `UID` or `UID:GID`), else the one who called sudo, else the one who calls.
    pub fn find(named: Option<&str>) -> Result<Self, Error> {
        let sudo = std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty());
        let user = match named.map(str::to_owned).or(sudo) {
            Some(name) => Self::named(&name)?,
            None => Self::numbered(nix::unistd::getuid(), nix::unistd::getgid()),
        };
        if user.uid == 0 || user.gid == 0 { Err(Error::Root) } else { Ok(user) }
    }

    fn named(name: &str) -> Result<Self, Error> {
        let unknown = || Error::NoUser(name.to_owned());
        let (first, group) = name.split_once(':').map_or((name, None), |(user, group)| (user, Some(group)));
        let group = group.map(|group| group.parse().map(Gid::from_raw).map_err(|_| unknown())).transpose()?;
        if let Ok(uid) = first.parse() {
            let uid = Uid::from_raw(uid);
            return Ok(Self::numbered(uid, group.unwrap_or_else(|| Gid::from_raw(uid.as_raw()))));
        }
        let account = nix::unistd::User::from_name(first).ok().flatten().ok_or_else(unknown)?;
        Ok(Self::of(account, group))
    }

    fn numbered(uid: Uid, gid: Gid) -> Self {
        match nix::unistd::User::from_uid(uid).ok().flatten() {
            Some(account) => Self::of(account, Some(gid)),
            None => Self {
                name: uid.to_string(),
                uid: uid.as_raw(),
                gid: gid.as_raw(),
                home: PathBuf::from("/nonexistent"),
                shell: PathBuf::from("/bin/sh"),
            },
        }
    }

    fn of(account: nix::unistd::User, group: Option<Gid>) -> Self {
        Self {
            name: account.name,
            uid: account.uid.as_raw(),
            gid: group.unwrap_or(account.gid).as_raw(),
            home: account.dir,
            shell: account.shell,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_need_no_account_and_root_is_refused() {
        let user = User::find(Some("47110:47111")).unwrap();
        assert_eq!((user.uid, user.gid), (47110, 47111));
        for root in ["root", "0", "47110:0", "0:47110"] {
            assert!(matches!(User::find(Some(root)), Err(Error::Root)), "{root} was accepted");
        }
        assert!(matches!(User::find(Some("nobody-has-this-name")), Err(Error::NoUser(_))));
    }
}
