//! Semantic versions.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::Implementation;
use crate::error::EvaluationError;
use crate::evaluate::Outcome;
use crate::value::Value;

/// A version by semver.org, 2.0.0.
#[derive(Clone, Debug)]
pub struct Semver {
    numbers: [u64; 3],
    /// Identifiers, with dots between them; empty if there is none.
    prerelease: String,
    build: String,
}

impl Semver {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("Version string empty".to_owned());
        }
        let mut parts = text.splitn(3, '.');
        let (Some(major), Some(minor), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("No Major.Minor.Patch elements found".to_owned());
        };
        let (rest, build) = rest.split_once('+').map_or((rest, None), |(rest, build)| (rest, Some(build)));
        let (patch, prerelease) = rest.split_once('-').map_or((rest, None), |(patch, pre)| (patch, Some(pre)));
        let numbers = [number(major, "Major")?, number(minor, "Minor")?, number(patch, "Patch")?];
        for identifier in prerelease.iter().flat_map(|all| all.split('.')) {
            check_identifier(identifier, "prerelease")?;
            let numeric = identifier.bytes().all(|byte| byte.is_ascii_digit());
            if numeric && identifier.len() > 1 && identifier.starts_with('0') {
                return Err(format!("Numeric PreRelease version must not contain leading zeroes {identifier:?}"));
            }
            if numeric && identifier.parse::<u64>().is_err() {
                return Err(format!("invalid prerelease number {identifier:?}: value out of range"));
            }
        }
        for identifier in build.iter().flat_map(|all| all.split('.')) {
            check_identifier(identifier, "build meta data")?;
        }
        let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Ok(Self { numbers, prerelease: owned(prerelease), build: owned(build) })
    }

    /// Takes `v1`, `1.02` and the like as well.
    fn parse_normalised(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts: Vec<String> = text.splitn(3, '.').map(without_leading_zeros).collect();
        if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
            return Err("short version cannot contain PreRelease/Build meta data".to_owned());
        }
        parts.resize(3, "0".to_owned());
        Self::parse(&parts.join("."))
    }

    /// The order of versions; the build counts for nothing.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.prerelease.is_empty(), other.prerelease.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                self.prerelease.split('.').map(identifier_order).cmp(other.prerelease.split('.').map(identifier_order))
            }
        })
    }
}

/// Numbers come before words.
fn identifier_order(identifier: &str) -> (bool, u64, &str) {
    match identifier.parse() {
        Ok(number) if identifier.bytes().all(|byte| byte.is_ascii_digit()) => (false, number, ""),
        _ => (true, 0, identifier),
    }
}

fn number(text: &str, what: &str) -> Result<u64, String> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("Invalid character(s) found in {} number {text:?}", what.to_lowercase()));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!("{what} number must not contain leading zeroes {text:?}"));
    }
    text.parse().map_err(|_| format!("parsing {text:?}: invalid syntax"))
}

fn check_identifier(identifier: &str, what: &str) -> Result<(), String> {
    if identifier.is_empty() {
        return Err(format!("invalid {what}: it is empty"));
    }
    if !identifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(format!("Invalid character(s) found in {what} {identifier:?}"));
    }
    Ok(())
}

fn without_leading_zeros(part: &str) -> String {
    if part.len() < 2 {
        return part.to_owned();
    }
    let trimmed = part.trim_start_matches('0');
    let begins_with_digit = trimmed.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    if begins_with_digit { trimmed.to_owned() } else { format!("0{trimmed}") }
}

impl fmt::Display for Semver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(out, "{major}.{minor}.{patch}")?;
        if !self.prerelease.is_empty() {
            write!(out, "-{}", self.prerelease)?;
        }
        if self.build.is_empty() { Ok(()) } else { write!(out, "+{}", self.build) }
    }
}

pub(super) fn implementation(function: &str) -> Option<Implementation> {
    Some(match function {
        "semver" => |_, arguments| {
            let version = parse(arguments)?.map_err(EvaluationError::failed)?;
            Ok(Value::Semver(Arc::new(version)))
        },
        "isSemver" => |_, arguments| Ok(Value::Bool(parse(arguments)?.is_ok())),
        "major" => |_, arguments| number_of(arguments, 0),
        "minor" => |_, arguments| number_of(arguments, 1),
        "patch" => |_, arguments| number_of(arguments, 2),
        _ => return None,
    })
}

fn parse(arguments: &[Value<'_>]) -> Outcome<Result<Semver, String>> {
    match arguments {
        [Value::String(text)] | [Value::String(text), Value::Bool(false)] => Ok(Semver::parse(text)),
        [Value::String(text), Value::Bool(true)] => Ok(Semver::parse_normalised(text)),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

fn number_of<'a>(arguments: &[Value<'a>], index: usize) -> Outcome<Value<'a>> {
    match arguments {
        // Go converts, and so wraps.
        [Value::Semver(version)] => Ok(Value::Int(version.numbers[index].cast_signed())),
        _ => Err(EvaluationError::no_such_overload()),
    }
}
