//! One thing that was looked at, and what to do about it.

use std::fmt::Write as _;

use serde::Serialize;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// As it must be.
    Ok,
    /// The guard works, with a limit; or it could not be looked at.
    Warn,
    /// The guard does not work, or agents are not served.
    Fail,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at: one word or two.
    pub(super) check: &'static str,
    /// How it is.
    pub(super) status: Status,
    /// What is there.
    pub(super) found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fix: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, status: Status::Ok, found: found.into(), fix: None }
    }

    pub(super) fn warn(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, status: Status::Warn, found: found.into(), fix: Some(fix.into()) }
    }

    pub(super) fn fail(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, status: Status::Fail, found: found.into(), fix: Some(fix.into()) }
    }
}

/// For people: a line each, and its fix below it.
pub(super) fn lines(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { check, status, found, fix } in findings {
        let status = match status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
        };
        // Writing to a String can't fail.
        let _ = writeln!(text, "{status:4}  {check:20}  {found}");
        if let Some(fix) = fix {
            let _ = writeln!(text, "      {:20}  fix: {fix}", "");
        }
    }
    text.trim_end().to_owned()
}

/// For programs.
pub(super) fn json(findings: &[Finding]) -> String {
    let worst =
        [Status::Fail, Status::Warn].into_iter().find(|status| findings.iter().any(|one| one.status == *status));
    serde_json::json!({"status": worst.unwrap_or(Status::Ok), "findings": findings}).to_string()
}

/// At most so many names, and how many more there are.
pub(super) fn named(names: &[String]) -> String {
    const MOST: usize = 10;
    let shown = names.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > MOST { format!("{shown} and {} more", names.len() - MOST) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_the_fix_below_what_is_wrong_and_programs_the_worst_of_all() {
        let findings = [Finding::ok("kernel", "6.18"), Finding::fail("BTF", "missing", "take another kernel")];
        let text = lines(&findings);
        assert!(
            text.contains("ok    kernel") && text.contains("FAIL  BTF") && text.contains("fix: take another"),
            "{text}"
        );
        let value: serde_json::Value = serde_json::from_str(&json(&findings)).unwrap();
        assert_eq!((&value["status"], &value["findings"][1]["fix"]), (&"fail".into(), &"take another kernel".into()));
        assert!(value["findings"][0].get("fix").is_none());
    }

    #[test]
    fn many_names_are_counted() {
        let names: Vec<String> = (0..12).map(|number| number.to_string()).collect();
        assert!(named(&names).ends_with("9 and 2 more"));
    }
}
