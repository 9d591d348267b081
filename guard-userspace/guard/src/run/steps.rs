//! The roles of `guard run` that are processes of their own, and how they end.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;

use guard_run::{FAILED, inside};

use crate::Role;

/// Command line of the init.
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    #[arg(long)]
    control: RawFd,
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Command line of the step that becomes the command.
#[derive(Debug, clap::Args)]
pub(crate) struct CommandArgs {
    #[arg(long)]
    sync: RawFd,
    #[arg(long)]
    uid: u32,
    #[arg(long)]
    gid: u32,
    #[arg(long)]
    directory: PathBuf,
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Command line of the step that becomes a program of the user's.
#[derive(Debug, clap::Args)]
pub(crate) struct AsArgs {
    #[arg(long)]
    uid: u32,
    #[arg(long)]
    gid: u32,
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Command line of the janitor.
#[derive(Debug, clap::Args)]
pub(crate) struct JanitorArgs {
    #[arg(long)]
    id: String,
    #[arg(long)]
    end: RawFd,
    #[arg(long)]
    lock: RawFd,
}

/// Runs a role of this module; gives others back.
pub(crate) fn dispatch(role: Role) -> Result<ExitCode, Role> {
    let outcome = match role {
        Role::Run(args) => super::run(&args),
        Role::RunInit(args) => done(inside::init(args.control, &args.command)),
        Role::RunCommand(args) => {
            done(inside::become_command(args.sync, args.uid, args.gid, &args.directory, &args.command))
        }
        Role::RunAs(args) => done(inside::become_user(args.uid, args.gid, &args.command)),
        Role::RunJanitor(args) => done(guard_run::tidy_up_after(&args.id, args.end, args.lock)),
        other => return Err(other),
    };
    Ok(outcome.unwrap_or_else(|error| {
        eprintln!("guard: {}", crate::sentence(&error));
        ExitCode::from(FAILED)
    }))
}

/// A command line that is none. `guard run` ends as it does when it fails itself, so that no exit code of a command is mistaken for it.
pub(crate) fn misunderstood(error: &clap::Error) -> ExitCode {
    // Nobody may be listening.
    let _ = error.print();
    let is_run = std::env::args_os().nth(1).is_some_and(|role| role == "run");
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if is_run => ExitCode::from(FAILED),
        code => ExitCode::from(u8::try_from(code).unwrap_or(FAILED)),
    }
}

fn done(outcome: Result<(), guard_run::Error>) -> anyhow::Result<ExitCode> {
    outcome?;
    Ok(ExitCode::SUCCESS)
}
