//! How the cost of a call is counted: cel-go's `runtimecost.go` and the estimators of its extensions, and Kubernetes'
//! `library/cost.go`, of the versions that the test module `tests/go/oracle` names.

use crate::error::EvaluationError;
use crate::meter::Meter;
use crate::value::Value;

/// For each character of a string.
const PER_CHARACTER: f64 = 0.1;
/// For each character of a regular expression.
const PER_PATTERN_CHARACTER: f64 = 0.25;
/// To make a list.
const LIST: u64 = 10;

/// A way of counting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CostRule {
    Fixed(u64),
    /// So often the size of an argument.
    Scan {
        argument: usize,
        times: f64,
    },
    /// Twice the size of the result.
    Result,
    /// Every part of the first argument.
    Traversal,
    /// A search by a regular expression.
    Regex,
    /// `contains` of strings.
    Contains,
    /// The smaller of two.
    Smaller,
    /// Equality: what Kubernetes' libraries define costs one.
    Equality,
    /// Both together.
    Sum,
    /// Each item of the second.
    InList,
    /// Of a CIDR, whether it holds an address, or another CIDR; the other perhaps still to be parsed.
    Holds {
        cidr: bool,
        parse: bool,
    },
    /// A named format.
    Validate,
    /// The list that comes out.
    OutputList,
    /// The list that goes in, for each level.
    Flatten,
    /// Each item of an argument with each.
    SelfCompare {
        argument: usize,
    },
    /// Each item of one with each of the other.
    Product {
        times: f64,
    },
}

type Outcome<T> = Result<T, Box<EvaluationError>>;

impl CostRule {
    /// The rule of a function. `overload` is known if the checker found that one alone.
    pub(crate) fn of(function: &str, overload: Option<&str>) -> Self {
        let scan = |argument, times| CostRule::Scan { argument, times };
        match overload.unwrap_or_default() {
            "list_slice" | "lists_range" | "list_reverse" => return CostRule::OutputList,
            "list_flatten" | "list_flatten_int" => return CostRule::Flatten,
            "list_distinct" => return CostRule::SelfCompare { argument: 0 },
            "list_sets_contains_list" | "list_sets_intersects_list" => return CostRule::Product { times: 1.0 },
            "list_sets_equivalent_list" => return CostRule::Product { times: 2.0 },
            id if id.ends_with("_sort") => return CostRule::SelfCompare { argument: 0 },
            id if id.ends_with("_sortByAssociatedKeys") => return CostRule::SelfCompare { argument: 1 },
            _ => {}
        }
        match function {
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "includes" => CostRule::Traversal,
            "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "cidr" | "isIP" | "isCIDR" | "quantity"
            | "isQuantity" | "semver" | "isSemver" => scan(0, 1.0),
            "replace" | "split" | "ip.isCanonical" => scan(0, 2.0),
            "join" => CostRule::Result,
            "find" | "findAll" => CostRule::Regex,
            "ip" if overload != Some("cidr_ip") => scan(0, 1.0),
            "containsIP" => CostRule::Holds { cidr: false, parse: overload == Some("cidr_contains_ip_string") },
            "containsCIDR" => CostRule::Holds { cidr: true, parse: overload == Some("cidr_contains_cidr_string") },
            "validate" => CostRule::Validate,
            _ => match overload.unwrap_or_default() {
                "starts_with_string" | "ends_with_string" => scan(1, 1.0),
                "string_to_bytes" | "bytes_to_string" | "strings_quote" | "string_format" => scan(0, 1.0),
                "in_list" => CostRule::InList,
                "add_string" | "add_bytes" => CostRule::Sum,
                "matches" | "matches_string" => CostRule::Regex,
                "contains_string" => CostRule::Contains,
                "less_string"
                | "greater_string"
                | "less_equals_string"
                | "greater_equals_string"
                | "less_bytes"
                | "greater_bytes"
                | "less_equals_bytes"
                | "greater_equals_bytes" => CostRule::Smaller,
                _ => CostRule::Fixed(1),
            },
        }
    }

    /// Counts a call. An argument that failed is taken for a value without size.
    pub(crate) fn charge(self, arguments: &[Value<'_>], result: Option<&Value<'_>>, meter: &mut Meter) -> Outcome<()> {
        if let CostRule::Fixed(cost) = self {
            return meter.charge(cost);
        }
        let mut size = |argument: usize| -> Outcome<u64> {
            let size = arguments.get(argument).map(|argument| argument.size(meter)).transpose()?.flatten();
            Ok(size.unwrap_or(1))
        };
        let cost = match self {
            CostRule::Fixed(cost) => cost,
            CostRule::Scan { argument, times } => scaled(size(argument)?, times),
            CostRule::Result => {
                let size = result.map(|result| result.size(meter)).transpose()?.flatten();
                scaled(size.unwrap_or(1), 2.0)
            }
            CostRule::Traversal => arguments.first().map_or(Ok(1), |argument| argument.traversal_cost(meter))?,
            CostRule::Regex => search(size(0)?, size(1)?),
            CostRule::Contains => scaled(size(0)?, 1.0).saturating_mul(scaled(size(1)?, 1.0)),
            CostRule::Equality
                if matches!(
                    arguments.first(),
                    Some(
                        Value::Ip(_)
                            | Value::Cidr(_)
                            | Value::Format(_)
                            | Value::Url(_)
                            | Value::Quantity(_)
                            | Value::Semver(_)
                    )
                ) =>
            {
                1
            }
            CostRule::Smaller | CostRule::Equality => {
                scaled(unwrapped(arguments, 0, meter)?.min(unwrapped(arguments, 1, meter)?), 1.0)
            }
            CostRule::Sum => scaled(size(0)?.saturating_add(size(1)?), 1.0),
            CostRule::InList => size(1)?,
            CostRule::Holds { cidr, parse } => {
                let (own, other) = (size(0)?, size(1)?);
                let compared = scaled(own + own, 1.0) + if cidr { scaled(own, 1.0) + 1 } else { 0 };
                compared + if parse { scaled(other, 1.0) } else { 0 }
            }
            CostRule::Validate => match arguments.first() {
                Some(Value::Format(format)) => search(size(1)?, format.pattern_size()),
                _ => 1,
            },
            CostRule::OutputList => {
                let size = result.map(|result| result.size(meter)).transpose()?.flatten();
                listed(1.0, size.unwrap_or(1))
            }
            CostRule::Flatten => {
                #[expect(clippy::cast_precision_loss, reason = "cel-go counts in doubles")]
                let levels = match arguments.get(1) {
                    Some(Value::Int(levels)) => *levels as f64,
                    _ => 1.0,
                };
                listed(levels, size(0)?)
            }
            CostRule::SelfCompare { argument } => {
                let items = size(argument)?;
                let first = match arguments.get(argument) {
                    Some(Value::List(list)) => list.get(0),
                    _ => None,
                };
                let times = if matches!(first, Some(Value::String(_) | Value::Bytes(_))) { 2.1 } else { 2.0 };
                listed(times, items.saturating_mul(items))
            }
            CostRule::Product { times } => whole(float(size(0)?.saturating_mul(size(1)?)) * times).saturating_add(1),
        };
        meter.charge(cost)
    }
}

/// The size of an argument; of an optional, that of what is in it.
fn unwrapped(arguments: &[Value<'_>], argument: usize, meter: &mut Meter) -> Outcome<u64> {
    let mut value = arguments.get(argument);
    while let Some(Value::Optional(Some(inner))) = value {
        value = Some(inner);
    }
    Ok(value.map(|value| value.size(meter)).transpose()?.flatten().unwrap_or(1))
}

fn search(text: u64, pattern: u64) -> u64 {
    let text = whole(((1.0 + float(text)) * PER_CHARACTER).ceil());
    text.saturating_mul(whole((float(pattern) * PER_PATTERN_CHARACTER).ceil()))
}

fn scaled(size: u64, times: f64) -> u64 {
    whole((float(size) * times * PER_CHARACTER).ceil())
}

/// A list of so many items is made.
fn listed(times: f64, size: u64) -> u64 {
    let times = if times < 0.0 { 1.0 } else { times };
    whole(float(size) * times).saturating_add(1 + LIST)
}

#[expect(clippy::cast_precision_loss, reason = "cel-go counts in doubles")]
fn float(size: u64) -> f64 {
    size as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and no cost is negative")]
fn whole(cost: f64) -> u64 {
    cost as u64
}
