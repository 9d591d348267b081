//! Lists and maps: size, membership, order, sets.

use std::cmp::Ordering;

use super::Implementation;
use super::arithmetic;
use crate::error::EvaluationError;
use crate::evaluate::Outcome;
use crate::limits::MAX_VALUE_DEPTH;
use crate::meter::Meter;
use crate::value::{List, Value};

pub(super) fn implementation(function: &str) -> Option<Implementation> {
    Some(match function {
        "isSorted" => is_sorted,
        "sum" => sum,
        "min" => min,
        "max" => max,
        "includes" => includes,
        "slice" => slice,
        "flatten" => flatten,
        "sort" => sort,
        "@sortByAssociatedKeys" => sort_by_keys,
        "lists.range" => range,
        "reverse" => reverse,
        "distinct" => distinct,
        "sets.contains" => set_contains,
        "sets.equivalent" => set_equivalent,
        "sets.intersects" => set_intersects,
        _ => return None,
    })
}

fn failed<T>(message: impl Into<String>) -> Outcome<T> {
    Err(EvaluationError::failed(message))
}

fn as_list<'v, 'a>(value: &'v Value<'a>) -> Outcome<&'v List<'a>> {
    match value {
        Value::List(list) => Ok(list),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

fn only<'v, 'a>(arguments: &'v [Value<'a>]) -> Outcome<&'v List<'a>> {
    as_list(arguments.first().ok_or_else(EvaluationError::no_such_overload)?)
}

pub(super) fn size<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let size = match arguments {
        [Value::Ip(_) | Value::Cidr(_)] => return Err(EvaluationError::no_such_overload()),
        [value] => value.size(meter)?.ok_or_else(EvaluationError::no_such_overload)?,
        _ => return Err(EvaluationError::no_such_overload()),
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

pub(super) fn contains<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    match arguments {
        [item, Value::List(list)] => Ok(Value::Bool(holds(list, item, meter)?)),
        [key, Value::Map(map)] => Ok(Value::Bool(map.get(key).is_some())),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

/// Whether an item is in a list. One that can't be compared with it is not it.
fn holds(list: &List<'_>, item: &Value<'_>, meter: &mut Meter) -> Outcome<bool> {
    for candidate in list.iter() {
        if matches(item, &candidate, meter)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn matches(one: &Value<'_>, other: &Value<'_>, meter: &mut Meter) -> Outcome<bool> {
    match one.equals(other, meter) {
        Err(error) if error.can_be_absorbed() => Ok(false),
        outcome => outcome,
    }
}

pub(super) fn first<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    Ok(only(arguments)?.get(0).map_or(Value::NONE, Value::some))
}

pub(super) fn last<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    Ok(only(arguments)?.iter().next_back().map_or(Value::NONE, Value::some))
}

/// The first index of an item, or the last; -1 if it is not there.
pub(super) fn index_of<'a>(meter: &mut Meter, list: &List<'a>, item: &Value<'a>, from_end: bool) -> Outcome<Value<'a>> {
    let mut found = -1;
    for (index, candidate) in list.iter().enumerate() {
        if matches(&candidate, item, meter)? {
            found = i64::try_from(index).unwrap_or(i64::MAX);
            if !from_end {
                break;
            }
        }
    }
    Ok(Value::Int(found))
}

fn is_sorted<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let mut before: Option<Value<'a>> = None;
    for item in only(arguments)?.iter() {
        if let Some(before) = &before
            && before.compare(&item, meter)? == Ordering::Greater
        {
            return Ok(Value::Bool(false));
        }
        comparable(&item)?;
        before = Some(item);
    }
    Ok(Value::Bool(true))
}

fn comparable(item: &Value<'_>) -> Outcome<()> {
    match item {
        Value::Bool(_) | Value::String(_) | Value::Bytes(_) | Value::Timestamp(_) | Value::Duration(_) => Ok(()),
        item if item.is_number() => Ok(()),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

fn sum<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let mut total: Option<Value<'a>> = None;
    for item in only(arguments)?.iter() {
        if !(item.is_number() || matches!(item, Value::Duration(_))) {
            return Err(EvaluationError::no_such_overload());
        }
        meter.step()?;
        total = Some(match total {
            None => item,
            Some(total) => arithmetic::add(meter, &[total, item])?,
        });
    }
    // Of an empty list whose type nobody knows: the first overload's zero.
    Ok(total.unwrap_or(Value::Int(0)))
}

fn extreme<'a>(meter: &mut Meter, arguments: &[Value<'a>], name: &str, better: Ordering) -> Outcome<Value<'a>> {
    let mut best: Option<Value<'a>> = None;
    for item in only(arguments)?.iter() {
        comparable(&item)?;
        if match &best {
            None => true,
            Some(best) => item.compare(best, meter)? == better,
        } {
            best = Some(item);
        }
    }
    best.ok_or_else(|| EvaluationError::failed(format!("{name} called on empty list")))
}

fn min<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    extreme(meter, arguments, "min", Ordering::Less)
}

fn max<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    extreme(meter, arguments, "max", Ordering::Greater)
}

fn includes<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    match arguments {
        [Value::List(list), item] => {
            for candidate in list.iter() {
                if matches(&candidate, item, meter)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        [one, other] => Ok(Value::Bool(matches(one, other, meter)?)),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

fn slice<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::List(list), Value::Int(start), Value::Int(end)] = arguments else {
        return Err(EvaluationError::no_such_overload());
    };
    let (Ok(from), Ok(to)) = (usize::try_from(*start), usize::try_from(*end)) else {
        return failed(format!("cannot slice({start}, {end}), negative indexes not supported"));
    };
    if from > to {
        return failed(format!("cannot slice({start}, {end}), start index must be less than or equal to end index"));
    }
    if to > list.len() {
        return failed(format!("cannot slice({start}, {end}), list is length {}", list.len()));
    }
    meter.allocate_items(to - from)?;
    Ok(Value::from(list.iter().skip(from).take(to - from).collect::<Vec<_>>()))
}

fn flatten<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let levels = match arguments {
        [_] => 1,
        [_, Value::Int(levels)] => *levels,
        _ => return Err(EvaluationError::no_such_overload()),
    };
    if levels < 0 {
        return failed("level must be non-negative");
    }
    let mut flat = Vec::new();
    flatten_into(only(arguments)?, levels, 0, &mut flat, meter)?;
    Ok(Value::from(flat))
}

fn flatten_into<'a>(
    list: &List<'a>,
    levels: i64,
    depth: usize,
    flat: &mut Vec<Value<'a>>,
    meter: &mut Meter,
) -> Outcome<()> {
    if depth > MAX_VALUE_DEPTH {
        return Err(Box::new(EvaluationError::Depth { limit: MAX_VALUE_DEPTH }));
    }
    for item in list.iter() {
        meter.step()?;
        match item {
            Value::List(inner) if levels > 0 => flatten_into(&inner, levels - 1, depth + 1, flat, meter)?,
            item => {
                meter.allocate_items(1)?;
                flat.push(item);
            }
        }
    }
    Ok(())
}

fn sort<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let list = only(arguments)?;
    sorted(meter, list, list)
}

fn sort_by_keys<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::List(list), Value::List(keys)] = arguments else {
        return Err(EvaluationError::no_such_overload());
    };
    sorted(meter, list, keys)
}

fn sorted<'a>(meter: &mut Meter, list: &List<'a>, keys: &List<'a>) -> Outcome<Value<'a>> {
    if list.len() != keys.len() {
        return failed(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} \
             elements respectively",
            list.len(),
            keys.len()
        ));
    }
    let Some(first) = keys.get(0) else { return Ok(Value::List(list.clone())) };
    if comparable(&first).is_err() {
        return failed("list elements must be comparable");
    }
    meter.allocate_items(3 * list.len())?;
    let mut pairs: Vec<(Value<'a>, Value<'a>)> = keys.iter().zip(list.iter()).collect();
    if pairs.len() > 1 && pairs.iter().any(|(key, _)| key.type_name() != first.type_name()) {
        return failed("list elements must have the same type");
    }
    // An order that is none, as of NaN, leaves items where they are; a limit reached ends the evaluation afterwards.
    let mut limit = None;
    pairs.sort_by(|(one, _), (other, _)| {
        if limit.is_some() {
            return Ordering::Equal;
        }
        one.compare(other, meter).unwrap_or_else(|error| {
            limit = Some(error).filter(|error| !error.can_be_absorbed());
            Ordering::Equal
        })
    });
    limit.map_or_else(|| Ok(Value::from(pairs.into_iter().map(|(_, item)| item).collect::<Vec<_>>())), Err)
}

fn range<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Int(count)] = arguments else { return Err(EvaluationError::no_such_overload()) };
    if *count < 0 {
        return failed(format!("lists.range: size must be non-negative, got {count}"));
    }
    meter.allocate_items(usize::try_from(*count).unwrap_or(usize::MAX))?;
    Ok(Value::from((0..*count).map(Value::Int).collect::<Vec<_>>()))
}

fn reverse<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let list = only(arguments)?;
    meter.allocate_items(list.len())?;
    Ok(Value::from(list.iter().rev().collect::<Vec<_>>()))
}

fn distinct<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let list = only(arguments)?;
    let mut kept: Vec<Value<'a>> = Vec::new();
    for item in list.iter() {
        let mut seen = false;
        for other in &kept {
            seen |= matches(&item, other, meter)?;
            if seen {
                break;
            }
        }
        if !seen {
            meter.allocate_items(1)?;
            kept.push(item);
        }
    }
    Ok(Value::from(kept))
}

fn set_pair<'v, 'a>(arguments: &'v [Value<'a>]) -> Outcome<(&'v List<'a>, &'v List<'a>)> {
    match arguments {
        [one, other] => Ok((as_list(one)?, as_list(other)?)),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

fn all_in(items: &List<'_>, list: &List<'_>, meter: &mut Meter) -> Outcome<bool> {
    for item in items.iter() {
        if !holds(list, &item, meter)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn set_contains<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (list, items) = set_pair(arguments)?;
    Ok(Value::Bool(all_in(items, list, meter)?))
}

fn set_equivalent<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (one, other) = set_pair(arguments)?;
    Ok(Value::Bool(all_in(one, other, meter)? && all_in(other, one, meter)?))
}

fn set_intersects<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (one, other) = set_pair(arguments)?;
    for item in one.iter() {
        if holds(other, &item, meter)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
