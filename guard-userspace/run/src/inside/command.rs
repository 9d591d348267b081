//! The last step before the command: every right is given up, for this process and all that it starts.

use std::ffi::OsString;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use guard_kernel::confine::{inherited, refuse_escapes};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits, set_no_new_privs,
};

use super::init::{MAPPED, UNSHARED};
use crate::{Error, FAILED, NOT_EXECUTABLE, NOT_FOUND};

/// Becomes the command; returns only if that fails, which is told to the init.
pub fn become_command(sync: RawFd, uid: u32, gid: u32, directory: &Path, command: &[OsString]) -> Result<(), Error> {
    let mut sync = UnixStream::from(inherited(sync)?);
    let (code, why) = match give_up(&mut sync, uid, gid).and_then(|()| enter(directory)) {
        Ok(()) => execute(command),
        Err(error) => (FAILED, error.to_string()),
    };
    write!(sync, "{code} {why}").map_err(|error| Error::Init(error.to_string()))
}

/// Becomes a program of the user's, outside the command's namespaces: a credential plugin runs as whoever has configured it.
pub fn become_user(uid: u32, gid: u32, command: &[OsString]) -> Result<(), Error> {
    let failed = |error: nix::Error| Error::step("becoming the user", "", error);
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let groups = match nix::unistd::User::from_uid(uid).ok().flatten() {
        // What the user's own shell has: the plugin reads the user's files.
        Some(user) => {
            let name = std::ffi::CString::new(user.name).map_err(|_| failed(nix::Error::EINVAL))?;
            nix::unistd::getgrouplist(&name, gid).map_err(failed)?
        }
        None => vec![gid],
    };
    setgroups(&groups).map_err(failed)?;
    setresgid(gid, gid, gid).map_err(failed)?;
    setresuid(uid, uid, uid).map_err(failed)?;
    let (_, why) = execute(command);
    Err(Error::Init(why))
}

fn give_up(sync: &mut UnixStream, uid: u32, gid: u32) -> Result<(), Error> {
    let failed = |doing| move |error: rustix::io::Errno| Error::step(doing, "", error);
    unshare(CloneFlags::CLONE_NEWUSER)
        .map_err(|error| Error::step("making a user namespace", "look at /proc/sys/user/max_user_namespaces", error))?;
    let mut byte = [UNSHARED];
    let told = sync.write_all(&byte).and_then(|()| sync.read_exact(&mut byte));
    told.map_err(|error| Error::Init(error.to_string()))?;
    if byte != [MAPPED] {
        return Err(Error::Init(format!("unexpected {byte:?}")));
    }
    let step = |error: nix::Error| Error::step("becoming the user", "", error);
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&[]).map_err(step)?;
    setresgid(gid, gid, gid).map_err(step)?;
    setresuid(uid, uid, uid).map_err(step)?;
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // This kernel doesn't know it.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(failed("emptying the bounding set")(error)),
        }
    }
    clear_ambient_capability_set().map_err(failed("emptying the ambient set"))?;
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    set_capabilities_secure_bits(bits).map_err(failed("locking the secure bits"))?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(failed("giving up capabilities"))?;
    set_no_new_privs(true).map_err(failed("setting no_new_privs"))?;
    Ok(refuse_escapes()?)
}

/// As the user, who may not be allowed there.
fn enter(directory: &Path) -> Result<(), Error> {
    std::env::set_current_dir(directory)
        .map_err(|error| Error::file("changing to", directory, "may the user enter it, and is it not hidden?", error))
}

fn execute(command: &[OsString]) -> (u8, String) {
    let Some((program, arguments)) = command.split_first() else {
        return (FAILED, "no command was given".to_owned());
    };
    let error = Command::new(program).args(arguments).exec();
    if error.kind() == ErrorKind::NotFound || !is_there(Path::new(program)) {
        return (NOT_FOUND, format!("{}: command not found", program.display()));
    }
    (NOT_EXECUTABLE, format!("{}: {error}", program.display()))
}

/// A folder of `PATH` that the user may not enter makes the kernel say "permission denied" of a command that is nowhere.
fn is_there(program: &Path) -> bool {
    if program.components().count() > 1 || program.is_absolute() {
        return true;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}
