//! The patterns of a rule: names with `*`, and resources.

use guard_kube_request::RequestInfo;

/// Longest pattern, in bytes: the longest name in Kubernetes.
const MAX_PATTERN_LEN: usize = 253;

/// A name in which `*` stands for any text, also none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    /// What stands before, between and after the `*`.
    literals: Vec<String>,
}

/// `RESOURCE[.GROUP][/SUBRESOURCE]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ResourcePattern {
    /// Everything, subresources too.
    Any,
    Some {
        /// `None`: any.
        resource: Option<String>,
        /// Empty: the core group. `None`: any, which only `*` as resource leaves open.
        group: Option<String>,
        subresource: Subresource,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subresource {
    /// The resource itself.
    None,
    Named(String),
    /// Every subresource, not the resource itself.
    Any,
}

impl Glob {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > MAX_PATTERN_LEN {
            return Err(format!("{text:?} is no name: 1 to {MAX_PATTERN_LEN} bytes are expected"));
        }
        if let Some(wrong) = text.chars().find(|c| c.is_whitespace() || "/?[]{}\\,".contains(*c)) {
            return Err(format!("{text:?} has {wrong:?}, which is in no name; only '*' has a meaning of its own"));
        }
        Ok(Self { literals: text.split('*').map(str::to_owned).collect() })
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = self.literals.as_slice() else {
            return self.literals.first().is_some_and(|only| only == name);
        };
        let Some(mut rest) = name.strip_prefix(first.as_str()) else {
            return false;
        };
        // The leftmost place for each literal leaves the most room for the next: no other place need be tried.
        for literal in middle {
            let Some((_, after)) = rest.split_once(literal.as_str()) else {
                return false;
            };
            rest = after;
        }
        rest.ends_with(last.as_str())
    }
}

impl ResourcePattern {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (qualified, subresource) = match text.split_once('/') {
            None => (text, Subresource::None),
            Some((qualified, "*")) => (qualified, Subresource::Any),
            Some((qualified, subresource)) => (qualified, Subresource::Named(word(text, subresource)?)),
        };
        let (resource, group) = match qualified.split_once('.') {
            Some(("*", group)) => (None, Some(group_name(text, group)?)),
            Some((resource, group)) => (Some(word(text, resource)?), Some(group_name(text, group)?)),
            None if qualified == "*" => (None, None),
            None => (Some(word(text, qualified)?), Some(String::new())),
        };
        Ok(Self::Some { resource, group, subresource })
    }

    pub(crate) fn matches(&self, request: &RequestInfo) -> bool {
        match self {
            Self::Any => true,
            Self::Some { resource, group, subresource } => {
                resource.as_ref().is_none_or(|resource| *resource == request.resource)
                    && group.as_ref().is_none_or(|group| *group == request.api_group)
                    && subresource.matches(&request.subresource)
            }
        }
    }
}

impl Subresource {
    fn matches(&self, subresource: &str) -> bool {
        match self {
            Self::None => subresource.is_empty(),
            Self::Named(named) => named == subresource,
            Self::Any => !subresource.is_empty(),
        }
    }
}

/// A resource or subresource, as it stands in a path.
fn word(pattern: &str, text: &str) -> Result<String, String> {
    let valid =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if valid {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{pattern:?} is no resource: write the plural in lower case with its group and subresource, as in pods, deployments.apps, \
         pods/exec, *.apps, pods/* or *"
    ))
}

fn group_name(pattern: &str, group: &str) -> Result<String, String> {
    for label in group.split('.') {
        word(pattern, label)?;
    }
    Ok(group.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Glob::parse(pattern).unwrap().matches(name)
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in [
            ("x", "x"),
            ("*", ""),
            ("*", "x"),
            ("kube-*", "kube-system"),
            ("kube-*", "kube-"),
            ("*-prod", "a-prod"),
            ("a*b*c", "abc"),
            ("a*b*c", "a1b2b3c"),
            ("**", "x"),
            ("*a*a", "aa"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("x", "xx"), ("kube-*", "kube"), ("a*a", "a"), ("*ab*ab", "ab"), ("a*b*c", "acb"), ("X", "x")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_in_no_name_is_no_pattern() {
        for pattern in ["", "a b", "a/b", "a?", "[a]", "{a,b}", "a,b", &"a".repeat(MAX_PATTERN_LEN + 1)] {
            assert!(Glob::parse(pattern).is_err(), "{pattern:?}");
        }
    }

    #[test]
    fn what_is_no_resource_is_no_pattern() {
        for pattern in [
            "",
            "Pods",
            "pods/",
            "/exec",
            "pods/exec/x",
            "apps.",
            ".apps",
            "p*ds",
            "pods.a..b",
            "apps/v1/deployments",
            "pods exec",
        ] {
            assert!(ResourcePattern::parse(pattern).is_err(), "{pattern:?}");
        }
    }

    /// What `*` means, said the slow way.
    fn slow(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', pattern @ ..], _) => (0..=name.len()).any(|skipped| slow(pattern, &name[skipped..])),
            ([p, pattern @ ..], [n, name @ ..]) => p == n && slow(pattern, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn the_fast_way_and_the_slow_way_agree(pattern in "[ab*]{1,7}", name in "[ab]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &name), slow(&chars(&pattern), &chars(&name)));
        }
    }
}
