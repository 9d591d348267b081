//! Strings: Kubernetes' version 2 of cel-go's extension, and what is built in.

use super::{Implementation, lists, template};
use crate::error::EvaluationError;
use crate::evaluate::Outcome;
use crate::meter::Meter;
use crate::value::{Text, Value};

pub(super) fn implementation(function: &str) -> Option<Implementation> {
    Some(match function {
        "contains" => |meter, arguments| {
            let (text, part) = pair(meter, arguments)?;
            Ok(Value::Bool(text.contains(part)))
        },
        "startsWith" => |meter, arguments| {
            let (text, part) = pair(meter, arguments)?;
            Ok(Value::Bool(text.starts_with(part)))
        },
        "endsWith" => |meter, arguments| {
            let (text, part) = pair(meter, arguments)?;
            Ok(Value::Bool(text.ends_with(part)))
        },
        "charAt" => char_at,
        "indexOf" => index_of,
        "lastIndexOf" => last_index_of,
        "join" => join,
        "lowerAscii" => |meter, arguments| made(meter, arguments, str::to_ascii_lowercase),
        "upperAscii" => |meter, arguments| made(meter, arguments, str::to_ascii_uppercase),
        "trim" => |meter, arguments| made(meter, arguments, |text| text.trim_matches(is_space).to_owned()),
        "replace" => replace,
        "split" => split,
        "substring" => substring,
        "strings.quote" => quote,
        "format" => template::format,
        _ => return None,
    })
}

/// What Go calls a space.
fn is_space(character: char) -> bool {
    character.is_whitespace() && character != '\u{1c}' && !('\u{1d}'..='\u{1f}').contains(&character)
}

fn out_of_range(index: i64) -> Box<EvaluationError> {
    EvaluationError::failed(format!("index out of range: {index}"))
}

fn pair<'v>(meter: &mut Meter, arguments: &'v [Value<'_>]) -> Outcome<(&'v str, &'v str)> {
    match arguments {
        [Value::String(text), Value::String(part)] => {
            meter.read(text.len() + part.len())?;
            Ok((text, part))
        }
        _ => Err(EvaluationError::no_such_overload()),
    }
}

/// Another text of at most the same length.
fn made<'a>(meter: &mut Meter, arguments: &[Value<'a>], make: impl Fn(&str) -> String) -> Outcome<Value<'a>> {
    match arguments {
        [Value::String(text)] => {
            meter.allocate(text.len())?;
            Ok(Value::from(make(text)))
        }
        _ => Err(EvaluationError::no_such_overload()),
    }
}

/// The byte at which a character begins; the end of the text for the one after the last.
fn offset_of(text: &str, index: usize) -> Option<usize> {
    text.char_indices().map(|(offset, _)| offset).chain([text.len()]).nth(index)
}

fn char_at<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(text), Value::Int(index)] = arguments else {
        return Err(EvaluationError::no_such_overload());
    };
    meter.read(text.len())?;
    let offset = usize::try_from(*index).ok().and_then(|index| offset_of(text, index));
    let offset = offset.ok_or_else(|| out_of_range(*index))?;
    Ok(Value::from(text[offset..].chars().next().map(String::from).unwrap_or_default()))
}

fn index_of<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (text, part, from) = match arguments {
        [Value::List(list), item] => return lists::index_of(meter, list, item, false),
        [Value::String(text), Value::String(part)] => (text, part, 0),
        [Value::String(text), Value::String(part), Value::Int(from)] => (text, part, *from),
        _ => return Err(EvaluationError::no_such_overload()),
    };
    meter.read(text.len() + part.len())?;
    let start = usize::try_from(from).map_err(|_| out_of_range(from))?;
    let length = text.chars().count();
    if part.is_empty() {
        return Ok(index(start.min(length)));
    }
    let Some(offset) = offset_of(text, start) else { return Ok(Value::Int(-1)) };
    let found = text[offset..].find(&**part).map(|found| text[..offset + found].chars().count());
    Ok(found.map_or(Value::Int(-1), index))
}

fn last_index_of<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (text, part, from) = match arguments {
        [Value::List(list), item] => return lists::index_of(meter, list, item, true),
        [Value::String(text), Value::String(part)] => (text, part, None),
        [Value::String(text), Value::String(part), Value::Int(from)] => (text, part, Some(*from)),
        _ => return Err(EvaluationError::no_such_overload()),
    };
    meter.read(text.len() + part.len())?;
    let length = text.chars().count();
    let last = match from {
        Some(from) => usize::try_from(from).map_err(|_| out_of_range(from))?,
        None if part.is_empty() => length,
        None => length.saturating_sub(1),
    };
    if part.is_empty() {
        return Ok(index(last.min(length)));
    }
    if last >= length {
        return Ok(Value::Int(-1));
    }
    // It may begin no later than at `last`, so it ends no later than its own length after that.
    let part_length = part.chars().count();
    let end = offset_of(text, last + part_length).unwrap_or(text.len());
    let found = text[..end].rfind(&**part).map(|found| text[..found].chars().count());
    Ok(found.map_or(Value::Int(-1), index))
}

fn index<'a>(index: usize) -> Value<'a> {
    Value::Int(i64::try_from(index).unwrap_or(i64::MAX))
}

fn join<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (list, separator) = match arguments {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(separator)] => (list, &**separator),
        _ => return Err(EvaluationError::no_such_overload()),
    };
    let mut joined = String::new();
    for (index, item) in list.iter().enumerate() {
        let Value::String(item) = item else {
            return Err(EvaluationError::failed(format!("join: invalid input: {}", item.canonical())));
        };
        meter.allocate(item.len() + separator.len())?;
        joined.push_str(if index == 0 { "" } else { separator });
        joined.push_str(&item);
    }
    Ok(Value::from(joined))
}

fn replace<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (text, old, new, most) = match arguments {
        [Value::String(text), Value::String(old), Value::String(new)] => (text, old, new, -1),
        [Value::String(text), Value::String(old), Value::String(new), Value::Int(most)] => (text, old, new, *most),
        _ => return Err(EvaluationError::no_such_overload()),
    };
    meter.read(text.len())?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    // An empty text stands before each character and at the end.
    let places = text.matches(&**old).count().min(most);
    meter.allocate(text.len().saturating_add(places.saturating_mul(new.len())))?;
    Ok(Value::from(text.replacen(&**old, new, most)))
}

fn split<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (text, separator, most) = match arguments {
        [Value::String(text), Value::String(separator)] => (text, separator, -1),
        [Value::String(text), Value::String(separator), Value::Int(most)] => (text, separator, *most),
        _ => return Err(EvaluationError::no_such_overload()),
    };
    meter.read(text.len())?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut pieces = Vec::new();
    let mut push = |piece: &str| -> Outcome<()> {
        meter.allocate(piece.len() + size_of::<Value<'_>>())?;
        pieces.push(Value::String(Text::Owned(piece.into())));
        Ok(())
    };
    if most == 0 {
        return Ok(Value::from(pieces));
    }
    if separator.is_empty() {
        // Each character; the last piece is what is left.
        let mut rest: &str = text;
        let mut count = 1;
        while let Some(character) = rest.chars().next() {
            let length = if count == most { rest.len() } else { character.len_utf8() };
            push(&rest[..length])?;
            rest = &rest[length..];
            count += 1;
        }
        return Ok(Value::from(pieces));
    }
    for piece in text.splitn(most, &**separator) {
        push(piece)?;
    }
    Ok(Value::from(pieces))
}

fn substring<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (text, start, end) = match arguments {
        [Value::String(text), Value::Int(start)] => (text, *start, None),
        [Value::String(text), Value::Int(start), Value::Int(end)] => (text, *start, Some(*end)),
        _ => return Err(EvaluationError::no_such_overload()),
    };
    meter.allocate(text.len())?;
    if let Some(end) = end.filter(|end| start > *end) {
        return Err(EvaluationError::failed(format!("invalid substring range. start: {start}, end: {end}")));
    }
    let offset = |index: i64| {
        usize::try_from(index).ok().and_then(|index| offset_of(text, index)).ok_or_else(|| out_of_range(index))
    };
    let from = offset(start)?;
    let to = end.map_or(Ok(text.len()), offset)?;
    Ok(Value::from(text[from..to].to_owned()))
}

fn quote<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(text)] = arguments else { return Err(EvaluationError::no_such_overload()) };
    meter.allocate(2 * text.len() + 2)?;
    let mut quoted = String::from("\"");
    for character in text.chars() {
        let escape = match character {
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\u{c}' => 'f',
            '\n' => 'n',
            '\r' => 'r',
            '\t' => 't',
            '\u{b}' => 'v',
            '\\' | '"' => character,
            other => {
                quoted.push(other);
                continue;
            }
        };
        quoted.push('\\');
        quoted.push(escape);
    }
    quoted.push('"');
    Ok(Value::from(quoted))
}
