//! `cargo xtask <verb>`: the one door to everything a person does with this repository.
#![forbid(unsafe_code)]

mod verbs;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use verbs::{bench, cluster, codegen, demo, e2e, fuzz, image, kernels, oracle, test};
use xtask::build::{self, Profile};
use xtask::paths::Paths;
use xtask::progress::{Progress, say};
use xtask::setup;

#[derive(Parser)]
#[command(
    name = "xtask",
    bin_name = "cargo xtask",
    about = "Everything a developer runs in this repository",
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
struct Arguments {
    /// Tell less
    #[arg(long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what is missing and build what the clusters are made of
    Setup,
    /// Build the kernel programs and the guard
    Build {
        /// Optimised, as it is shipped and measured
        #[arg(long)]
        release: bool,
    },
    /// A real Kubernetes cluster on this machine: up, down, status, shell, kubectl
    Cluster(cluster::Arguments),
    /// See an agent pod go through the guard, step by step
    Demo(demo::Arguments),
    /// All that must hold: format, clippy, unit, property and end-to-end tests
    Test(test::Arguments),
    /// One area of end-to-end tests; without a name, the areas
    E2e(e2e::Arguments),
    /// One benchmark; without a name, the benchmarks
    Bench(bench::Arguments),
    /// The kernel programs on Debian's kernels, under QEMU
    Kernels(kernels::Arguments),
    /// Compare with Kubernetes' own code how requests are understood
    Oracle(oracle::Arguments),
    /// One fuzz target, or all; without a name, the targets
    Fuzz(fuzz::Arguments),
    /// Write the files that come from code
    Codegen(codegen::Arguments),
    /// Make the guard's container image
    Image(image::Arguments),
}

fn main() -> ExitCode {
    match work(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work(arguments: Arguments) -> Result<ExitCode> {
    let paths = Paths::find()?;
    let progress = Progress::new(!arguments.quiet);
    match arguments.verb {
        Verb::Setup => setup::setup(&paths, &progress).map(|()| ExitCode::SUCCESS),
        Verb::Build { release } => {
            let profile = if release { Profile::Release } else { Profile::Dev };
            let folder = build::build(&paths, profile, &progress)?;
            say(folder.join("guard").display());
            Ok(ExitCode::SUCCESS)
        }
        Verb::Cluster(arguments) => cluster::run(&paths, &progress, arguments),
        Verb::Demo(arguments) => demo::run(&paths, &progress, &arguments),
        Verb::Test(arguments) => test::run(&paths, &progress, &arguments),
        Verb::E2e(arguments) => e2e::run(&paths, &progress, &arguments),
        Verb::Bench(arguments) => bench::run(&paths, &progress, &arguments),
        Verb::Kernels(arguments) => kernels::run(&paths, &progress, &arguments),
        Verb::Oracle(arguments) => oracle::run(&paths, &progress, &arguments),
        Verb::Fuzz(arguments) => fuzz::run(&paths, &progress, &arguments),
        Verb::Codegen(arguments) => codegen::run(&paths, &arguments),
        Verb::Image(arguments) => image::run(&paths, &progress, &arguments),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;
    use clap::error::ErrorKind;
    use guard_docs::{Command, commands_of, pages};

    use super::*;

    fn wrong_with(command: &Command) -> Option<String> {
        // `cargo xtask` is one program to its reader, and two words to the shell.
        let error = Arguments::try_parse_from(&command.words[1..]).err()?;
        let incomplete = [
            ErrorKind::MissingRequiredArgument,
            ErrorKind::MissingSubcommand,
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
            ErrorKind::InvalidValue,
            ErrorKind::ValueValidation,
        ];
        let is_fine = command.is_mentioned && incomplete.contains(&error.kind());
        (!is_fine).then(|| format!("{command}\n{error}"))
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_in_the_documentation_can_be_run() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let commands = commands_of(&pages(&root).expect("the documentation"), &["cargo", "xtask"]);
        assert!(commands.len() > 20, "{} commands", commands.len());
        let wrong: Vec<_> = commands.iter().filter_map(wrong_with).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
