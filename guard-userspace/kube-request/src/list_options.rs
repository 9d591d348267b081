//! The parameters of a list or watch, as far as they change what the request is.

mod field_selector;
mod label_selector;

use crate::error::DescribeError;
use crate::url::Target;

/// What Kubernetes takes from the query.
#[derive(Default)]
pub(crate) struct ListOptions {
    pub(crate) watch: bool,
    /// The name that the field selector requires, or empty.
    pub(crate) name: String,
}

impl ListOptions {
    pub(crate) fn of(target: &Target) -> Result<Self, DescribeError> {
        if target.has_no_parameters() {
            return Ok(Self::default());
        }
        let watch = target.parameter("watch")?;
        let field_selector = target.parameter("fieldSelector")?.unwrap_or_default();
        let label_selector = target.parameter("labelSelector")?.unwrap_or_default();

        let required_name = field_selector::required_name(field_selector);
        let decodable = label_selector::is_valid(label_selector)
            && is_absent_or_integer(target.parameter("limit")?)
            && is_absent_or_integer(target.parameter("timeoutSeconds")?);
        Ok(match required_name {
            Ok(name) if decodable => Self {
                watch: watch.is_some_and(is_true),
                name: name.filter(|name| is_path_segment_name(name)).unwrap_or_default(),
            },
            // One parameter that cannot be decoded makes Kubernetes forget them all but `watch`, which it then reads anew.
            _ => Self { watch: watch.is_some_and(is_true_of_undecodable), name: String::new() },
        })
    }
}

/// All but `0` and `false` in any case is true, the empty value too.
fn is_true(value: &str) -> bool {
    // Go's EqualFold folds by Unicode: U+017F, the long s, equals s.
    let folded = value.replace('\u{17f}', "s");
    value != "0" && !folded.eq_ignore_ascii_case("false")
}

/// The same, by a comparison that knows no folding.
fn is_true_of_undecodable(value: &str) -> bool {
    value != "0" && !value.eq_ignore_ascii_case("false")
}

/// Go's `strconv.ParseInt(value, 10, 64)`, which `i64` parses alike: a sign and ASCII digits.
fn is_absent_or_integer(value: Option<&str>) -> bool {
    value.is_none_or(|value| value.parse::<i64>().is_ok())
}

/// What may be the name of an object at all.
fn is_path_segment_name(name: &str) -> bool {
    !matches!(name, "." | "..") && !name.contains(['/', '%'])
}
