//! Two runs of a program compared, step by step. What may differ is what no two answers of an API server have in common: uids, resource
//! versions, timestamps.

use std::fmt::Write as _;
use std::sync::LazyLock;

use guard_e2e::harness::Answer;
use regex::Regex;
use serde_json::Value;

/// What the exceptions are, and what stands in their place.
static EXCEPTIONS: LazyLock<[(Regex, &str); 5]> = LazyLock::new(|| {
    [
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?(Z|[+-]\d\d:?\d\d))?( UTC)?", "TIME"),
        (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (GMT|UTC)", "TIME"),
        // helm's.
        (r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d( UTC)? \d{4}", "TIME"),
        // In a JSON text, in one that is quoted inside of another, and in YAML.
        (r#"(resourceVersion\\*"?: ?\\*"?)\d+"#, "${1}VERSION"),
    ]
    .map(|(pattern, place)| (Regex::new(pattern).expect("a pattern"), place))
});

/// How old something is in a table for people, and the width of its columns.
static AGES: LazyLock<[(Regex, &str); 2]> = LazyLock::new(|| {
    [(r"\b(\d+[dhms]){1,2}\b", "AGE"), (r" {2,}", "  ")]
        .map(|(pattern, place)| (Regex::new(pattern).expect("a pattern"), place))
});

/// What a program told, a line of JSON each: `{"step": …, "result": …}`.
#[derive(Debug)]
pub(super) struct Steps(Vec<Step>);

/// One of them.
#[derive(Debug)]
struct Step {
    name: String,
    result: Value,
}

impl Steps {
    /// From standard output of a program that ended well.
    #[track_caller]
    pub(super) fn read(answer: &Answer) -> Self {
        let out = answer.clone().ok();
        let steps = out.lines().map(|line| {
            let mut value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let name = value["step"].as_str().unwrap_or_else(|| panic!("a step has a name: {line}")).to_owned();
            Step { name, result: value["result"].take() }
        });
        Self(steps.collect())
    }

    /// From results that are at hand.
    pub(super) fn of(results: impl IntoIterator<Item = (String, Value)>) -> Self {
        Self(results.into_iter().map(|(name, result)| Step { name, result }).collect())
    }

    /// All results, in order.
    pub(super) fn results(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().map(|step| &step.result)
    }

    /// The same, to be changed.
    pub(super) fn results_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.0.iter_mut().map(|step| &mut step.result)
    }

    /// How many.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The result of the step with this name.
    #[track_caller]
    pub(super) fn result(&self, name: &str) -> &Value {
        let step = self.0.iter().find(|step| step.name == name);
        &step.unwrap_or_else(|| panic!("no step is called {name:?}")).result
    }

    /// All names.
    pub(super) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|step| step.name.as_str()).collect()
    }
}

/// Fails with every step that differs.
#[track_caller]
pub(super) fn assert_equal(guarded: &Steps, direct: &Steps) {
    assert_eq!(guarded.names(), direct.names(), "the steps of the guarded pod and of the ordinary one");
    assert!(guarded.count() > 0, "the program told nothing");
    let mut differences = String::new();
    for (guarded, direct) in guarded.0.iter().zip(&direct.0) {
        let [with, without] = [guarded, direct].map(|step| comparable(&step.result));
        if with != without {
            let [with, without] = around_the_difference(&with, &without);
            let _ = writeln!(differences, "{}\n  guarded: {with}\n  direct:  {without}", guarded.name);
        }
    }
    assert!(differences.is_empty(), "through the guard it is not the same:\n{differences}");
}

/// The part of two texts in which they differ, with some of what is around it.
fn around_the_difference(one: &str, other: &str) -> [String; 2] {
    const AROUND: usize = 300;
    let same = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    [one, other].map(|text| text.chars().skip(same.saturating_sub(AROUND)).take(3 * AROUND).collect())
}

/// Without what differs between any two answers.
pub(super) fn comparable(result: &Value) -> String {
    let text = result.to_string();
    let ages = if text.contains("  AGE") { AGES.as_slice() } else { &[] };
    EXCEPTIONS.iter().chain(ages).fold(text, |text, (pattern, place)| pattern.replace_all(&text, *place).into_owned())
}

#[test]
fn only_uids_versions_and_times_are_exceptions() {
    let one = serde_json::json!({
        "metadata": {"uid": "0b1a4a44-2f9e-4d5a-9f3c-0123456789ab", "resourceVersion": "12", "creationTimestamp": "2026-01-02T03:04:05Z"},
        "text": "{\"resourceVersion\":\"7\"}",
        "data": {"a": "1"},
    });
    let mut two = one.clone();
    two["metadata"]["uid"] = "ffffffff-2f9e-4d5a-9f3c-0123456789ab".into();
    two["metadata"]["resourceVersion"] = "345".into();
    two["metadata"]["creationTimestamp"] = "2027-02-03T04:05:06Z".into();
    two["text"] = "{\"resourceVersion\":\"8\"}".into();
    assert_eq!(comparable(&one), comparable(&two));
    two["data"]["a"] = "2".into();
    assert_ne!(comparable(&one), comparable(&two));
}
