//! The alerts: each can fire, is quiet when it should be, and leads to a runbook.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use guard_e2e::harness::{rendered, run};
use serde_json::Value;
use xtask::cluster::Cluster;

use crate::documented::{file, text};
use crate::prometheus::programs;

const RULES: &str = "deploy/charts/egress-guard/alerts/rules.yaml";
const TESTS: &str = "tests/tests/observe/alerts.yaml";

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

fn alerts(rules: &Value) -> Vec<&Value> {
    rules["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten())
        .collect()
}

fn name(alert: &Value) -> &str {
    alert["alert"].as_str().expect("an alert has a name")
}

#[test]
fn each_alert_fires_when_it_should_and_not_before() {
    let rules = file(RULES).canonicalize().unwrap();
    let tests = text(TESTS).replace("RULES", &rules.display().to_string());
    let folder = std::env::temp_dir().join(format!("egress-guard-rules-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let tested = folder.join("alerts.yaml");
    fs::write(&tested, &tests).unwrap();
    let mut promtool = Command::new(programs().promtool);
    promtool.args(["test", "rules"]).arg(&tested);
    let said = run(promtool, "");
    fs::remove_dir_all(&folder).unwrap();
    said.ok();
    // Of a test without expected alerts, promtool says nothing.
    let tests = yaml(&tests);
    let all: Vec<&Value> = tests["tests"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|one| one["alert_rule_test"].as_array().into_iter().flatten())
        .collect();
    let fire: BTreeSet<&str> =
        all.iter().filter(|one| one["exp_alerts"].is_array()).filter_map(|one| one["alertname"].as_str()).collect();
    let rules = yaml(&text(RULES));
    let names: BTreeSet<&str> = alerts(&rules).into_iter().map(name).collect();
    assert_eq!(fire, names, "every alert is seen to fire, and no other");
}

#[test]
fn each_alert_leads_to_its_runbook() {
    let rules = yaml(&text(RULES));
    let runbooks = text("docs/runbooks.md");
    let sections: BTreeSet<String> =
        runbooks.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_lowercase).collect();
    let mut linked = BTreeSet::new();
    for alert in alerts(&rules) {
        let link = alert["annotations"]["runbook_url"].as_str().unwrap_or_default();
        let (page, anchor) = link.split_once('#').unwrap_or((link, ""));
        assert_eq!(page, "docs/runbooks.md", "{}", name(alert));
        assert_eq!(anchor, name(alert).to_lowercase());
        assert!(sections.contains(anchor), "docs/runbooks.md has no section {}", name(alert));
        assert!(["warning", "critical"].contains(&alert["labels"]["severity"].as_str().unwrap_or_default()));
        linked.insert(anchor.to_owned());
    }
    assert_eq!(linked, sections, "a runbook without an alert");
}

#[test]
fn the_operator_and_grafana_get_from_the_chart_what_lies_in_it() {
    let cluster =
        Cluster::load(&std::env::var("EGRESS_GUARD_CLUSTER").expect("cargo xtask e2e runs these tests")).unwrap();
    let set = [
        "metrics.rules.enabled=true",
        "metrics.rules.runbooks=https://runbooks.example/guard.md",
        "metrics.rules.labels.release=prometheus",
        "metrics.dashboard.enabled=true",
    ];
    let objects = rendered(&cluster, &set);
    let of = |kind: &str, name: &str| {
        let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    };
    let rule = of("PrometheusRule", "egress-guard");
    assert_eq!(rule["metadata"]["labels"]["release"], "prometheus");
    let expected = text(RULES).replace("docs/runbooks.md", "https://runbooks.example/guard.md");
    assert_eq!(rule["spec"], yaml(&expected));
    let dashboard = of("ConfigMap", "egress-guard-dashboard");
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let inside: Value = serde_json::from_str(dashboard["data"]["egress-guard.json"].as_str().unwrap()).unwrap();
    let expected: Value =
        serde_json::from_str(&text("deploy/charts/egress-guard/dashboards/egress-guard.json")).unwrap();
    assert_eq!(inside, expected);
    let without = rendered(&cluster, &[]);
    assert!(without.iter().all(|object| object["kind"] != "PrometheusRule" && object["kind"] != "ServiceMonitor"));
}
