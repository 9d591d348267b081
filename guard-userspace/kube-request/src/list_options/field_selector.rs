//! Field selectors: `key=value`, `key==value`, `key!=value`, separated by commas; `\` escapes `\`, `,` and `=` in values.

/// The selector cannot be parsed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// The value that `metadata.name` must have, if the selector says so. Of several, Kubernetes takes the first in the sorted order of
/// the terms as they were written.
pub(super) fn required_name(selector: &str) -> Result<Option<String>, Invalid> {
    let mut terms = split_terms(selector);
    terms.sort_unstable();
    let mut name = None;
    for term in terms.into_iter().filter(|term| !term.is_empty()) {
        let (field, equals, value) = split_term(term)?;
        let value = unescape(value)?;
        if equals && field == "metadata.name" && name.is_none() {
            name = Some(value);
        }
    }
    Ok(name)
}

/// Cuts at each comma that no backslash precedes.
fn split_terms(selector: &str) -> Vec<&str> {
    let mut escaped = false;
    let unescaped_comma = |c: char| {
        let cut = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        cut
    };
    selector.split(unescaped_comma).collect()
}

/// Field, whether the operator is an equality, and value, cut at the first operator.
fn split_term(term: &str) -> Result<(&str, bool, &str), Invalid> {
    for (at, _) in term.match_indices(['!', '=']) {
        let (field, rest) = term.split_at(at);
        for (operator, equals) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Ok((field, equals, value));
            }
        }
    }
    Err(Invalid)
}

fn unescape(value: &str) -> Result<String, Invalid> {
    let mut unescaped = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        unescaped.push(match c {
            '\\' => chars.next().filter(|c| matches!(c, '\\' | ',' | '=')).ok_or(Invalid)?,
            ',' | '=' => return Err(Invalid),
            literal => literal,
        });
    }
    Ok(unescaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(selector: &str) -> Result<Option<String>, Invalid> {
        required_name(selector)
    }

    #[test]
    fn an_equality_names_the_object() {
        for selector in ["metadata.name=x", "metadata.name==x", "a=b,metadata.name=x", ",,metadata.name=x,"] {
            assert_eq!(name(selector), Ok(Some("x".to_owned())), "{selector}");
        }
    }

    #[test]
    fn anything_else_names_nothing() {
        for selector in ["", ",", "metadata.name!=x", " metadata.name=x", "Metadata.name=x", "metadata.namespace=x"] {
            assert_eq!(name(selector), Ok(None), "{selector}");
        }
    }

    #[test]
    fn of_two_names_the_first_in_sorted_order_counts() {
        assert_eq!(name("metadata.name=b,metadata.name=a"), Ok(Some("a".to_owned())));
        // '==' sorts after '=a' as text: '=' is 0x3d, 'a' is 0x61, so "metadata.name==b" comes first.
        assert_eq!(name("metadata.name=a,metadata.name==b"), Ok(Some("b".to_owned())));
    }

    #[test]
    fn escapes_are_resolved_in_values_alone() {
        assert_eq!(name(r"metadata.name=a\,b\=c\\"), Ok(Some(r"a,b=c\".to_owned())));
        assert_eq!(
            name(r"metadata.name=a\,metadata.name=b"),
            Err(Invalid),
            "the comma is escaped, the second '=' is not"
        );
    }

    #[test]
    fn broken_selectors_are_invalid() {
        for selector in ["metadata.name", r"a=\x", r"a=\", "a=b=c", "a===b", "!", "a=b,c"] {
            assert_eq!(name(selector), Err(Invalid), "{selector}");
        }
    }
}
