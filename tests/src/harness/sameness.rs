//! Whether two clients were told the same.
//!
//! What may differ, all of it: uids (audit ids are some), resource versions, timestamps (`Date` is one), and the ages that
//! programs count from timestamps.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::Answer;

/// uid, resourceVersion, timestamp: what they look like, and what is shown instead.
static EXCEPTIONS: LazyLock<[(Regex, &str); 5]> = LazyLock::new(|| {
    let day = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)";
    let time = r"\d{2}:\d{2}:\d{2}";
    [
        (expression(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UID"),
        (expression(r#"(resourceVersion\\?"?[:=] ?\\?"?|Resource Version: +)\d+"#), "${1}RV"),
        (expression(&format!(r"\d{{4}}-\d{{2}}-\d{{2}}T{time}(?:\.\d+)?(?:Z|[+-]\d{{2}}:\d{{2}})")), "TIME"),
        (expression(&format!(r"{day}, \d{{2}} \w{{3}} \d{{4}} {time} (?:[+-]\d{{4}}|GMT|UTC)")), "TIME"),
        // What a column of ages doesn't have to itself: how long ago a container was started again, how often an event came.
        (expression(r"\((?:x(\d+) over )?(?:\d+[smhdy])+(?: ago)?\)"), "(AGE $1)"),
    ]
});
/// Columns that hold ages, as kubectl writes their names.
const AGES: [&str; 6] = ["AGE", "Age", "LAST SEEN", "FIRST SEEN", "DURATION", "LAST SCHEDULE"];
/// How many lines of a difference are shown.
const SHOWN: usize = 40;

/// The text without what may differ.
fn normalised(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, replacement) in EXCEPTIONS.iter() {
        text = pattern.replace_all(&text, *replacement).into_owned();
    }
    without_ages(&text)
}

/// Panics with the lines that differ, unless both ended alike and said the same.
#[track_caller]
pub fn assert_same(what: &str, guarded: &Answer, direct: &Answer) {
    if let Some(differences) = differences(what, guarded, direct) {
        panic!("{differences}");
    }
}

/// The lines that differ; none if both ended alike and said the same.
pub fn differences(what: &str, guarded: &Answer, direct: &Answer) -> Option<String> {
    let differences = [
        ("standard output", difference(&guarded.out, &direct.out)),
        ("standard error", difference(&guarded.err, &direct.err)),
        ("exit status", difference(&guarded.status.to_string(), &direct.status.to_string())),
    ];
    let shown: Vec<String> = differences
        .into_iter()
        .filter_map(|(stream, difference)| difference.map(|lines| format!("{stream} of {what}:\n{lines}")))
        .collect();
    if shown.is_empty() { None } else { Some(shown.join("\n")) }
}

/// The lines in which two texts differ but for what may: `<` through the guard, `>` without. None if they are the same.
fn difference(guarded: &str, direct: &str) -> Option<String> {
    let (guarded, direct) = (normalised(guarded), normalised(direct));
    if guarded == direct {
        return None;
    }
    let [one, other] = [&guarded, &direct].map(|text| text.lines().collect::<Vec<_>>());
    let before = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let rest = one.len().min(other.len()) - before;
    let after = one.iter().rev().zip(other.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let mut lines: Vec<String> = one[before.saturating_sub(3)..before].iter().map(|line| format!("  {line}")).collect();
    let [one, other] = [&one, &other].map(|text| &text[before..text.len() - after]);
    // Of as many lines, those that are the same need not be shown.
    let aligned = one.len() == other.len();
    for (mark, text, against) in [("<", one, other), (">", other, one)] {
        let differing = text.iter().enumerate().filter(|(index, line)| !aligned || against[*index] != **line);
        lines.extend(differing.take(SHOWN).map(|(_, line)| format!("{mark} {line}")));
    }
    Some(lines.join("\n"))
}

/// In tables with a column of ages: one way to write an age, and one width for all columns, since theirs changes the others'.
fn without_ages(text: &str) -> String {
    static GAP: LazyLock<Regex> = LazyLock::new(|| expression(r" {2,}"));
    let mut ages: Vec<usize> = Vec::new();
    let lines = text.split('\n').map(|line| {
        let cells: Vec<&str> = GAP.split(line.trim_end()).collect();
        let found: Vec<usize> = (0..cells.len()).filter(|&index| AGES.contains(&cells[index])).collect();
        if cells.len() > 1 && !found.is_empty() {
            ages = found;
        } else if line.trim().is_empty() {
            ages.clear();
        }
        if ages.is_empty() {
            return line.to_owned();
        }
        let cells = cells.iter().enumerate();
        cells
            .map(|(index, cell)| if ages.contains(&index) { age(cell) } else { (*cell).to_owned() })
            .collect::<Vec<_>>()
            .join("  ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn age(cell: &str) -> String {
    static AGE: LazyLock<Regex> = LazyLock::new(|| expression(r"^(?:\d+[smhdy])+"));
    AGE.replace(cell, |_: &Captures<'_>| "AGE").into_owned()
}

fn expression(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern of this file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_versions_timestamps_and_ages_may_differ() {
        for (guarded, direct) in [
            ("uid: 0a1b2c3d-0000-1111-2222-333344445555", "uid: 9a1b2c3d-0000-1111-2222-333344445555"),
            (r#"{"resourceVersion":"17","a":1}"#, r#"{"resourceVersion":"4711","a":1}"#),
            ("  Resource Version:  17", "  Resource Version:  4711"),
            ("    resourceVersion: \"17\"", "    resourceVersion: \"18\""),
            ("at: 2026-11-22T23:40:01Z", "at: 2026-11-22T23:41:07.123456Z"),
            ("Start Time:  Sun, 22 Nov 2026 23:40:01 +0000", "Start Time:  Sun, 22 Nov 2026 23:41:07 +0000"),
            ("NAME   AGE   LABELS\nweb    9s    <none>", "NAME   AGE     LABELS\nweb    2m10s   <none>"),
            ("NAME  RESTARTS      AGE\nweb   1 (5s ago)   6s", "NAME  RESTARTS       AGE\nweb   1 (10s ago)   11s"),
        ] {
            assert_eq!(difference(guarded, direct), None);
        }
    }

    #[test]
    fn nothing_else_may() {
        for (guarded, direct) in [
            ("a\nb\nc", "a\nb\nd"),
            ("a\nb", "a"),
            ("NAME   READY\nweb    1/1", "NAME   READY\nweb     1/1"),
            ("NAME   READY   AGE\nweb    1/1     5s", "NAME   READY   AGE\nweb    0/1     5s"),
            ("limit: 10s", "limit: 11s"),
            ("generation: 1", "generation: 2"),
            ("(x2 over 5s)", "(x3 over 5s)"),
            ("NAME   AGE\nweb    <unknown>", "NAME   AGE\nweb    5s"),
        ] {
            assert!(difference(guarded, direct).is_some(), "{guarded} {direct}");
        }
    }

    #[test]
    fn a_difference_shows_the_lines_that_differ_and_those_before() {
        assert_eq!(difference("a\nb\nc\nd", "a\nb\nx\ny\nd").unwrap(), "  a\n  b\n< c\n> x\n> y");
    }
}
