//! What a policy says of masking: which detectors are on, and those of its own.

use regex::bytes::{Regex, RegexBuilder};

use crate::catalogue::Detector;

/// Largest compiled program of one expression, in bytes.
const MAX_PROGRAM: usize = 1 << 20;

/// A detector that the policy brings.
#[derive(Clone, Debug)]
pub(crate) struct Custom {
    /// Its name, `[a-z0-9-]{1,40}`.
    pub(crate) name: String,
    /// What it finds: the first group if it has one, else all of it. Looked for in lines of text and in values.
    pub(crate) regex: Regex,
}

/// A field by its path, in which `*` stands for any characters: `.spec.containers[0].env[1].value`, `.data.*password*`.
#[derive(Clone, Debug)]
pub(crate) struct FieldPattern(Vec<u8>);

/// The masking part of a policy, checked.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Names that are on; `None`: those that are on by default.
    only: Option<Vec<String>>,
    /// Names that are on besides.
    also: Vec<String>,
    /// Names that are off.
    except: Vec<String>,
    pub(crate) custom: Vec<Custom>,
    pub(crate) fields: Vec<FieldPattern>,
}

/// Why a policy's masking is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A name that no detector has.
    #[error("no detector is called {0:?}: `guard mask --list` prints them")]
    Unknown(String),
    /// A name that a placeholder can't hold.
    #[error("{0:?} is no name of a detector: 1 to 40 of a-z, 0-9 and -")]
    Name(String),
    /// An expression that doesn't compile.
    #[error("the expression of detector {name:?} does not compile: {reason}")]
    Expression {
        /// The detector.
        name: String,
        /// What the compiler says.
        reason: String,
    },
    /// An example that should match doesn't.
    #[error("detector {0:?} does not find its own example: compare expression and `match`")]
    Misses(String),
    /// A counter-example matches.
    #[error("detector {0:?} finds what it must not: compare expression and `noMatch`")]
    FindsTooMuch(String),
}

impl Policy {
    /// Detectors by name; `*` is all that are on by default, a leading `-` takes one off.
    pub fn select(&mut self, names: &[String]) -> Result<(), PolicyError> {
        let known = crate::catalogue::detectors();
        let mut only = Vec::new();
        for name in names {
            let bare = name.strip_prefix('-').unwrap_or(name);
            if bare != "*" && !known.iter().any(|detector| detector.id == bare) {
                return Err(PolicyError::Unknown(bare.to_owned()));
            }
            match name.strip_prefix('-') {
                Some(off) => self.except.push(off.to_owned()),
                None => only.push(name.clone()),
            }
        }
        if only.iter().any(|name| name == "*") || only.is_empty() {
            self.also.extend(only.into_iter().filter(|name| name != "*"));
        } else {
            self.only = Some(only);
        }
        Ok(())
    }

    /// Adds a detector: an expression with an example that it must find and one that it must not.
    pub fn add_custom(
        &mut self,
        name: &str,
        expression: &str,
        matches: &str,
        differs: &str,
    ) -> Result<(), PolicyError> {
        let valid = (1..=40).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !valid {
            return Err(PolicyError::Name(name.to_owned()));
        }
        let regex = RegexBuilder::new(expression)
            .size_limit(MAX_PROGRAM)
            .build()
            .map_err(|error| PolicyError::Expression { name: name.to_owned(), reason: error.to_string() })?;
        if !regex.is_match(matches.as_bytes()) {
            return Err(PolicyError::Misses(name.to_owned()));
        }
        if regex.is_match(differs.as_bytes()) {
            return Err(PolicyError::FindsTooMuch(name.to_owned()));
        }
        self.custom.push(Custom { name: name.to_owned(), regex });
        Ok(())
    }

    /// Hides a field, whatever it holds. A resource before the first colon is the proxy's to compare.
    pub fn add_field(&mut self, path: &str) {
        self.fields.push(FieldPattern(path.as_bytes().to_vec()));
    }

    pub(crate) fn enables(&self, detector: &Detector) -> bool {
        let named = |list: &[String]| list.iter().any(|name| name == detector.id);
        !named(&self.except) && (named(&self.also) || self.only.as_ref().map_or(detector.default, |only| named(only)))
    }

    /// Whether a field of this path is hidden.
    pub(crate) fn hides(&self, path: &[u8]) -> bool {
        self.fields.iter().any(|pattern| glob(&pattern.0, path))
    }
}

/// Whether `text` is `pattern`, in which `*` stands for any bytes. Linear in the text for each star.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            p = at + 1;
            t = from + 1;
            star = Some((at, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detector_of_the_policy_is_held_to_its_examples() {
        let mut policy = Policy::default();
        policy.add_custom("badge", "B[0-9]{6}", "badge B123456", "badge B12").unwrap();
        assert!(matches!(policy.add_custom("badge", "B[0-9]{6}", "B12", ""), Err(PolicyError::Misses(_))));
        assert!(matches!(policy.add_custom("badge", "B[0-9]+", "B12", "B1"), Err(PolicyError::FindsTooMuch(_))));
        assert!(matches!(policy.add_custom("badge", "B[", "B12", "B1"), Err(PolicyError::Expression { .. })));
        assert!(matches!(policy.add_custom("Badge", "B", "B12", "A"), Err(PolicyError::Name(_))));
    }

    #[test]
    fn detectors_are_chosen_by_name() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut policy = Policy::default();
        policy.select(&names(&["*", "email-address", "-json-web-token"])).unwrap();
        let on =
            |id: &str| policy.enables(crate::catalogue::detectors().iter().find(|detector| detector.id == id).unwrap());
        assert!(on("email-address") && on("github-pat") && !on("json-web-token") && !on("ip-address"));
        assert!(matches!(policy.select(&names(&["github-path"])), Err(PolicyError::Unknown(_))));
    }

    #[test]
    fn paths_match_by_stars() {
        assert!(glob(b".data.*password*", b".data.db-password"));
        assert!(glob(b"*.value", b".spec.env[0].value"));
        assert!(!glob(b".data.*password*", b".data.user"));
    }
}
