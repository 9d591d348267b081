//! What the documentation tells its reader to run and to apply, tried on the cluster that the guard is installed in.

use std::path::Path;
use std::process::Command;

use guard_docs::{Block, Page};
use guard_e2e::harness::{Installed, RELEASE, run};
use xtask::cluster::Cluster;

use crate::agents::Agent;

/// Pages for users.
const PAGES: [&str; 10] = [
    "README.md",
    "admission.md",
    "compatibility.md",
    "concepts.md",
    "control.md",
    "install.md",
    "operations.md",
    "start.md",
    "threats.md",
    "troubleshooting.md",
];
/// Verbs that change nothing.
const READING: [&str; 3] = ["describe", "get", "logs"];
/// Verbs that the API server can be asked to try.
const CHANGING: [&str; 4] = ["annotate", "delete", "label", "patch"];

fn pages() -> Vec<Page> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let all = guard_docs::pages(&root).expect("the documentation");
    all.into_iter().filter(|page| PAGES.contains(&page.name().as_str())).collect()
}

fn yaml() -> Vec<(String, Block)> {
    let of = |page: &Page| {
        let blocks = page.blocks.iter().filter(|block| block.language == "yaml");
        blocks.map(|block| (block.place(page), block.clone())).collect::<Vec<_>>()
    };
    pages().iter().flat_map(of).collect()
}

/// Manifests and commands; the agent is of a Deployment `coder`, as in the documentation.
pub(crate) fn the_documentation_holds(installed: &Installed, agent: &Agent<'_>) {
    let mut manifests = 0;
    for (place, block) in yaml().into_iter().filter(|(_, block)| block.text.starts_with("apiVersion:")) {
        let apply = installed.kubectl.command(["apply", "--namespace=default", "--dry-run=server", "-f", "-"]);
        let said = run(apply, &block.text);
        assert!(said.status.success(), "{place}: {}", said.out_and_err());
        manifests += 1;
    }
    let mut commands = 0;
    for command in
        pages().iter().flat_map(Page::commands).filter(|command| !command.is_mentioned && command.is_of(&["kubectl"]))
    {
        let Some(arguments) = runnable(&command.words[1..], installed, agent) else { continue };
        let said = installed.kubectl.run(&arguments);
        assert!(said.status.success(), "{command}\n{arguments:?}\n{}", said.out_and_err());
        commands += 1;
    }
    assert!(manifests > 1 && commands > 10, "{manifests} manifests, {commands} commands");
    println!("documentation: {manifests} manifests and {commands} commands");
}

/// With the names of this cluster, and without effect. None for what has to have one, or ends never.
fn runnable(words: &[String], installed: &Installed, agent: &Agent<'_>) -> Option<Vec<String>> {
    if words.iter().any(|word| word == "--previous") {
        return None;
    }
    let guard = installed.guard_on(agent.node);
    let names = [
        ("NODE", agent.node.name.as_str()),
        ("GUARD", &guard),
        ("POD", &agent.pod()),
        ("NAME", "coder"),
        ("CLASS", "coding"),
        ("agents", &installed.namespace),
        ("shop", &installed.namespace),
    ]
    .map(|(name, is)| (name.to_owned(), is.to_owned()));
    let mut arguments: Vec<String> = words.iter().map(|word| in_this_cluster(word, &names)).collect();
    let verb = verb(words)?;
    if CHANGING.contains(&verb) {
        arguments.push("--dry-run=server".to_owned());
    }
    (READING.contains(&verb) || CHANGING.contains(&verb)).then_some(arguments)
}

/// What kubectl is to do.
fn verb(words: &[String]) -> Option<&str> {
    let mut words = words.iter().map(String::as_str);
    loop {
        match words.next()? {
            "-n" | "--namespace" => drop(words.next()),
            word if word.starts_with('-') => {}
            word => return Some(word),
        }
    }
}

/// Names stand alone, or behind `=` or `/`.
fn in_this_cluster(word: &str, names: &[(String, String)]) -> String {
    let at = word.rfind(['=', '/']).map_or(0, |at| at + 1);
    let found = names.iter().find(|(name, _)| *name == word[at..]);
    found.map_or_else(|| word.to_owned(), |(_, is)| format!("{}{is}", &word[..at]))
}

#[test]
fn values_and_helm_commands_in_the_documentation_are_the_charts() {
    let cluster = Cluster::load(&std::env::var("EGRESS_GUARD_CLUSTER").expect("cargo xtask e2e runs these tests"))
        .expect("a cluster");
    let chart = Installed::chart();
    let known = std::fs::read_to_string(chart.join("values.yaml")).expect("the chart's values");
    let is_value = |block: &Block| {
        let first = block.text.split_inclusive(':').next().unwrap_or_default();
        known.lines().any(|line| line.split_inclusive(':').next() == Some(first))
    };
    let render = |more: &[String]| {
        let mut helm = Command::new(cluster.binaries.join("helm"));
        helm.args(["template", RELEASE, &chart.display().to_string(), "--namespace", RELEASE]).args(more);
        run(helm, "")
    };
    let mut values = 0;
    for (place, block) in yaml().into_iter().filter(|(_, block)| is_value(block)) {
        let file = cluster.dir.join(format!("documented-{}.yaml", std::process::id()));
        std::fs::write(&file, &block.text).expect("a file in the cluster's folder");
        let said = render(&["--values".to_owned(), file.display().to_string()]);
        std::fs::remove_file(&file).expect("a file that was just written");
        assert!(said.status.success(), "{place}: {}", said.out_and_err());
        values += 1;
    }
    let mut commands = 0;
    for command in pages().iter().flat_map(Page::commands).filter(|command| command.is_of(&["helm"])) {
        let chart_of_ours = command.words.iter().position(|word| word == "deploy/charts/egress-guard");
        let Some(at) = chart_of_ours else { continue };
        let not_of_template = |word: &&String| {
            !["--reuse-values", "--values", "policies.yaml"].contains(&word.as_str()) && !word.starts_with("--dry-run")
        };
        let more: Vec<String> = command.words[at + 1..].iter().filter(not_of_template).cloned().collect();
        let said = render(&more);
        assert!(said.status.success(), "{command}: {}", said.out_and_err());
        commands += 1;
    }
    assert!(values > 2 && commands > 2, "{values} blocks of values, {commands} commands");
}
