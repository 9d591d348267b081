//! What the documentation says of the guard's command line and files is so.

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use guard_docs::{Command, Page, commands_of, pages};

use crate::Cli;
use crate::node::config::Config;

/// Fields of the configuration file: a block of YAML that begins with one of them is one.
const CONFIGURATION: [&str; 4] = ["controlPlane:", "limits:", "mark:", "nat64Prefix:"];

fn documentation() -> Vec<Page> {
    pages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).expect("the documentation")
}

/// As its reader types it, in a shell or in a container of the image.
fn commands(pages: &[Page]) -> Vec<Command> {
    let mut commands = commands_of(pages, &["guard"]);
    commands.extend(commands_of(pages, &["/usr/local/bin/guard"]));
    commands.extend(commands_of(pages, &["kubectl", "guard"]).into_iter().map(|command| {
        let words = command.words[1..].to_vec();
        Command { words, ..command }
    }));
    commands
}

/// What clap has against it. Text that only names a command leaves out what is required, and writes `FILE` for a value.
fn wrong_with(command: &Command) -> Option<String> {
    let error = Cli::try_parse_from(&command.words).err()?;
    let incomplete = [
        ErrorKind::MissingRequiredArgument,
        ErrorKind::MissingSubcommand,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
        ErrorKind::InvalidValue,
        ErrorKind::ValueValidation,
    ];
    let is_fine = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
        kind => command.is_mentioned && incomplete.contains(&kind),
    };
    (!is_fine).then(|| format!("{command}\n{error}"))
}

#[test]
fn every_command_of_the_guard_can_be_run() {
    let commands = commands(&documentation());
    assert!(commands.len() > 10, "{} commands", commands.len());
    let wrong: Vec<_> = commands.iter().filter_map(wrong_with).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_command_that_is_not_there_is_found() {
    let page = |text: &str| vec![Page::new(PathBuf::from("p.md"), text)];
    for wrong in [
        "`guard doktor`",
        "`guard doctor --jason`",
        "```console\n$ guard release --raison x\n```\n",
        "`kubectl guard doktor`",
    ] {
        assert!(commands(&page(wrong)).iter().any(|command| wrong_with(command).is_some()), "{wrong}");
    }
    for right in [
        "`guard node`",
        "`guard doctor --json`",
        "```console\n$ kubectl exec P -- /usr/local/bin/guard release --undo\n```\n",
    ] {
        let commands = commands(&page(right));
        assert_eq!((commands.len(), commands.iter().find_map(wrong_with)), (1, None), "{right}");
    }
    Cli::command().debug_assert();
}

#[test]
fn every_policy_and_every_configuration_is_accepted() {
    let (mut policies, mut configurations) = (0, 0);
    for page in documentation() {
        for block in page.blocks.iter().filter(|block| block.language == "yaml") {
            let place = block.place(&page);
            if block.text.contains("kind: GuardPolicy") {
                let engine =
                    guard_policy::Engine::from_yaml(&block.text, &place).unwrap_or_else(|error| panic!("{error}"));
                assert!(!engine.is_empty(), "{place}");
                policies += 1;
            } else if CONFIGURATION.iter().any(|field| block.text.starts_with(field)) {
                let file = tempfile::NamedTempFile::new().expect("a file");
                std::fs::write(file.path(), &block.text).expect("a file");
                Config::load(Some(file.path())).unwrap_or_else(|error| panic!("{place}: {error:#}"));
                configurations += 1;
            } else {
                serde_saphyr::from_multiple::<serde_json::Value>(&block.text)
                    .unwrap_or_else(|error| panic!("{place}: {error}"));
            }
        }
    }
    assert!(policies > 0 && configurations > 0, "{policies} policies, {configurations} configurations");
}

/// Words that begin like a value of the chart and are one: `node.controlPlane.aliases`.
fn value_named(text: &str, values: &serde_json::Value) -> Option<Vec<String>> {
    let name = text.split('=').next().unwrap_or_default();
    let path: Vec<String> = name.split('.').map(str::to_owned).collect();
    let is_name = |part: &String| !part.is_empty() && part.chars().all(|letter| letter.is_ascii_alphanumeric());
    let is_file = ["yaml", "rs", "json", "md"].iter().any(|kind| path.last().is_some_and(|last| last == kind));
    (path.len() > 1 && path.iter().all(is_name) && !is_file && values.get(&path[0]).is_some()).then_some(path)
}

/// Below an empty map of the chart's values stands whatever Kubernetes takes there.
fn has_value(values: &serde_json::Value, path: &[String]) -> bool {
    let mut at = values;
    for part in path {
        match at.get(part) {
            Some(below) => at = below,
            None => return at.as_object().is_some_and(serde_json::Map::is_empty),
        }
    }
    true
}

#[test]
fn every_value_of_the_chart_is_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/charts/egress-guard/values.yaml");
    let text = std::fs::read_to_string(file).expect("the chart's values");
    let values: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
    let mut named = 0;
    let mut wrong = Vec::new();
    for page in documentation() {
        for (line, text) in &page.mentioned {
            if let Some(path) = value_named(text, &values) {
                named += 1;
                if !has_value(&values, &path) {
                    wrong.push(format!("{}:{line} {text}", page.name()));
                }
            }
        }
    }
    assert!(named > 30, "{named} values");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let path = |text: &str| value_named(text, &values).unwrap();
    assert!(
        !has_value(&values, &path("node.kubletRoot")) && has_value(&values, &path("node.seLinuxOptions.type=spc_t"))
    );
}
