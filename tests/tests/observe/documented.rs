//! docs/metrics.md as it is written, and pages of metrics as they are served.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
pub(crate) fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Its text.
#[track_caller]
pub(crate) fn text(path: &str) -> String {
    let file = file(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("reading {}: {error}", file.display()))
}

/// A metric: its type, and of each label the values that it may have. No values: any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) kind: String,
    pub(crate) labels: BTreeMap<String, BTreeSet<String>>,
}

/// Metrics by their name.
pub(crate) type Metrics = BTreeMap<String, Metric>;

/// The table below a heading of docs/metrics.md.
#[track_caller]
pub(crate) fn metrics(heading: &str) -> Metrics {
    let text = text("docs/metrics.md");
    let values = values(&text);
    let rows = rows(&text, heading);
    let metrics: Metrics = rows
        .iter()
        .map(|row| {
            let [name, kind, unit, labels, what] = row.as_slice() else { panic!("a row of five columns: {row:?}") };
            assert!(!unit.is_empty() && !what.is_empty(), "{name} has neither unit nor explanation");
            let labels = labels.split(", ").filter(|label| !label.is_empty());
            let labels = labels.map(|label| {
                // `values` as `label`, where several labels are called alike.
                let (set, label) = label.split_once(" as ").unwrap_or((label, label));
                let set = values.get(&code(set)).unwrap_or_else(|| panic!("no values of {set} are documented"));
                (code(label), set.clone())
            });
            (code(name), Metric { kind: kind.clone(), labels: labels.collect() })
        })
        .collect();
    assert_eq!(metrics.len(), rows.len(), "a metric is documented twice below {heading:?}");
    metrics
}

/// The values of each label, whose number is its bound.
fn values(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let rows = rows(text, "## Values of labels");
    let values = rows.iter().map(|row| {
        let [label, bound, list] = row.as_slice() else { panic!("a row of three columns: {row:?}") };
        let list: BTreeSet<String> = if list == "any" { BTreeSet::new() } else { list.split(' ').map(code).collect() };
        let number = bound.parse().unwrap_or(0);
        assert_eq!(list.len(), number, "{label} says that its bound is {bound}");
        (code(label), list)
    });
    values.collect()
}

/// The cells of the first table below a heading.
#[track_caller]
fn rows(text: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, below) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading:?}"));
    let table = below.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let rows: Vec<Vec<String>> = table.skip(2).map(cells).collect();
    assert!(!rows.is_empty(), "no table below {heading:?}");
    rows
}

fn code(text: &str) -> String {
    text.trim_matches('`').to_owned()
}

/// What a page of metrics holds: its types, and of each label the values that are there.
#[track_caller]
pub(crate) fn served(page: &str) -> Metrics {
    let mut metrics = Metrics::new();
    for line in page.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').expect("a name and a type");
            metrics.insert(name.to_owned(), Metric { kind: kind.to_owned(), labels: BTreeMap::new() });
        }
    }
    for line in page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (series, _) = line.rsplit_once(' ').expect("a series and its value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        let is_part = base.is_some_and(|base| metrics.get(base).is_some_and(|metric| metric.kind == "histogram"));
        let name = if is_part { base.unwrap_or(name) } else { name };
        let metric = metrics.get_mut(name).unwrap_or_else(|| panic!("{name} has no type"));
        // No value of ours has a quote or a comma in it.
        for label in labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once('=').unwrap_or_else(|| panic!("a label and its value: {series}"));
            if !(is_part && label == "le") {
                metric.labels.entry(label.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
            }
        }
    }
    metrics
}

/// How many series a page has.
pub(crate) fn series(page: &str) -> usize {
    page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count()
}

/// What is served and not documented, or documented and not served.
pub(crate) fn differences(served: &Metrics, documented: &Metrics) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in served.keys().chain(documented.keys()).collect::<BTreeSet<_>>() {
        match (served.get(name), documented.get(name)) {
            (Some(served), Some(documented)) => {
                if served.kind != documented.kind {
                    wrong.push(format!("{name} is a {}, documented as {}", served.kind, documented.kind));
                }
                let names = |metric: &Metric| metric.labels.keys().cloned().collect::<Vec<_>>();
                if names(served) != names(documented) {
                    wrong.push(format!(
                        "{name} has the labels {:?}, documented {:?}",
                        names(served),
                        names(documented)
                    ));
                }
                for (label, values) in &served.labels {
                    let bound = documented.labels.get(label).filter(|bound| !bound.is_empty());
                    let beyond: Vec<_> =
                        values.iter().filter(|value| bound.is_some_and(|b| !b.contains(*value))).collect();
                    if !beyond.is_empty() {
                        wrong.push(format!("{name}: {label} has values that are not documented: {beyond:?}"));
                    }
                }
            }
            (Some(_), None) => wrong.push(format!("{name} is served and not documented")),
            _ => wrong.push(format!("{name} is documented and not served")),
        }
    }
    wrong
}

#[test]
fn what_is_served_and_not_documented_is_told_and_the_other_way() {
    let page =
        "# HELP a x\n# TYPE a counter\na{b=\"c\"} 1\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n";
    let served = served(page);
    assert_eq!(series(page), 4);
    assert!(differences(&served, &served).is_empty());
    let mut other = served.clone();
    other.remove("h");
    other.get_mut("a").unwrap().labels.insert("b".into(), ["d".to_owned()].into());
    assert_eq!(differences(&served, &other).len(), 2, "{:?}", differences(&served, &other));
    assert_eq!(differences(&other, &served).len(), 2);
}
