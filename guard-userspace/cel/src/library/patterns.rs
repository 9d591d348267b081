//! Regular expressions: RE2's syntax as Go reads it, translated for the crate `regex`, which shares its semantics (leftmost-first, linear time).
//!
//! What is translated: `\d`, `\s`, `\w`, `\b` know ASCII alone; `[`, `&`, `~`, `-` in brackets are no set operations; `\Q…\E`; octal escapes; a
//! brace that begins no repetition is itself; `\<` and `\>` are no word boundaries. What Go refuses is refused: `**`, more than 1,000
//! repetitions, the flags `x`, `u`, `R`. What remains: a pattern whose program is larger than 256 KiB is refused here.

use std::fmt::Write as _;

use regex::Regex;

use super::Implementation;
use crate::error::EvaluationError;
use crate::evaluate::Outcome;
use crate::meter::Meter;
use crate::value::Value;

/// Bytes that a compiled expression may take.
const MAX_PROGRAM: usize = 256 * 1024;
/// Bytes of source: compiling takes time that grows with it.
const MAX_PATTERN: usize = 4096;
/// Steps that compiling is worth, beside those for each byte of the pattern.
const COMPILING: u64 = 2_000;
const COMPILING_PER_BYTE: u64 = 100;

/// Compiles a pattern, or says what is wrong with it.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!("error parsing regexp: the pattern has more than {MAX_PATTERN} bytes"));
    }
    let translated = Translator { rest: pattern, out: String::new() }
        .translate()
        .map_err(|reason| format!("error parsing regexp: {reason}"))?;
    regex::RegexBuilder::new(&translated)
        .size_limit(MAX_PROGRAM)
        .dfa_size_limit(MAX_PROGRAM)
        .nest_limit(50)
        .build()
        .map_err(|error| format!("error parsing regexp: {}", error.to_string().lines().last().unwrap_or_default()))
}

/// What `[:name:]` in brackets may name.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// A constant pattern of a call, compiled with the expression.
#[derive(Debug)]
pub(crate) struct Pattern {
    function: Function,
    regex: Regex,
}

#[derive(Clone, Copy, Debug)]
enum Function {
    Matches,
    Find,
    FindAll,
}

impl Pattern {
    pub(crate) fn new(function: &str, regex: Regex) -> Self {
        let function = match function {
            "find" => Function::Find,
            "findAll" => Function::FindAll,
            _ => Function::Matches,
        };
        Self { function, regex }
    }

    /// Calls the function: the pattern among the arguments is this one.
    pub(crate) fn call<'a>(&self, meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
        search(self.function, &self.regex, meter, arguments)
    }
}

pub(super) fn implementation(function: &str) -> Option<Implementation> {
    Some(match function {
        "matches" => |meter, arguments| dynamic(Function::Matches, meter, arguments),
        "find" => |meter, arguments| dynamic(Function::Find, meter, arguments),
        "findAll" => |meter, arguments| dynamic(Function::FindAll, meter, arguments),
        _ => return None,
    })
}

/// With a pattern that is known only now.
fn dynamic<'a>(function: Function, meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(_), Value::String(pattern), ..] = arguments else {
        return Err(EvaluationError::no_such_overload());
    };
    meter.work(COMPILING + COMPILING_PER_BYTE * pattern.len() as u64)?;
    let regex = compile(pattern).map_err(|reason| match function {
        Function::Matches => EvaluationError::failed(reason),
        Function::Find | Function::FindAll => EvaluationError::failed(format!("Illegal regex: {reason}")),
    })?;
    search(function, &regex, meter, arguments)
}

fn search<'a>(function: Function, regex: &Regex, meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(text), pattern, rest @ ..] = arguments else {
        return Err(EvaluationError::no_such_overload());
    };
    // At worst each byte is looked at for each state.
    let states = if let Value::String(pattern) = pattern { pattern.len() as u64 } else { 1 };
    meter.work((text.len() as u64).saturating_mul(1 + states / 4) / 16)?;
    Ok(match (function, rest) {
        (Function::Matches, []) => Value::Bool(regex.is_match(text)),
        (Function::Find, []) => {
            let found = regex.find(text).map_or("", |found| found.as_str());
            meter.allocate(found.len())?;
            Value::from(found.to_owned())
        }
        (Function::FindAll, [] | [Value::Int(_)]) => {
            let most = match rest {
                [Value::Int(most)] => usize::try_from(*most).unwrap_or(usize::MAX),
                _ => usize::MAX,
            };
            let mut found = Vec::new();
            for piece in regex.find_iter(text).take(most) {
                meter.allocate(piece.len() + size_of::<Value<'_>>())?;
                found.push(Value::from(piece.as_str().to_owned()));
            }
            Value::from(found)
        }
        _ => return Err(EvaluationError::no_such_overload()),
    })
}

struct Translator<'p> {
    rest: &'p str,
    out: String,
}

type Translation<T> = Result<T, String>;

impl Translator<'_> {
    fn translate(mut self) -> Translation<String> {
        // Whether what came last was a repetition, which another can't follow.
        let mut repeated = false;
        while let Some(first) = self.rest.chars().next() {
            let was_repeated = std::mem::take(&mut repeated);
            match first {
                '\\' => self.escape(false)?,
                '[' => self.bracket()?,
                '(' => self.group()?,
                '*' | '+' | '?' => {
                    if was_repeated {
                        return Err(format!("invalid nested repetition operator: `{first}`"));
                    }
                    self.pass(1);
                    self.lazy_mark();
                    repeated = true;
                }
                '{' => {
                    if let Some(length) = repetition(self.rest)? {
                        if was_repeated {
                            return Err("invalid nested repetition operator".to_owned());
                        }
                        self.pass(length);
                        self.lazy_mark();
                        repeated = true;
                    } else {
                        self.literal('{', 1);
                    }
                }
                '}' | ']' => self.literal(first, 1),
                other => self.pass(other.len_utf8()),
            }
        }
        Ok(self.out)
    }

    /// Takes so many bytes as they are.
    fn pass(&mut self, length: usize) {
        self.out.push_str(&self.rest[..length]);
        self.rest = &self.rest[length..];
    }

    /// A `?` after a repetition makes it lazy.
    fn lazy_mark(&mut self) {
        if self.rest.starts_with('?') {
            self.pass(1);
        }
    }

    /// Writes a character that is to be itself, and skips so many bytes.
    fn literal(&mut self, character: char, length: usize) {
        write!(self.out, "\\x{{{:x}}}", u32::from(character)).expect("a String takes everything that is written to it");
        self.rest = &self.rest[length..];
    }

    /// One construct in place of so many bytes.
    fn instead(&mut self, construct: &str, length: usize) {
        self.out.push_str(construct);
        self.rest = &self.rest[length..];
    }

    fn escape(&mut self, in_bracket: bool) -> Translation<()> {
        let escaped = self.rest[1..].chars().next().ok_or("trailing backslash at end of expression")?;
        match escaped {
            'd' | 's' | 'w' | 'D' | 'S' | 'W' => {
                let set = match escaped.to_ascii_lowercase() {
                    'd' => "0-9",
                    's' => "\\t\\n\\x0C\\r ",
                    _ => "0-9A-Za-z_",
                };
                let negation = if escaped.is_ascii_uppercase() { "^" } else { "" };
                let construct =
                    if in_bracket && negation.is_empty() { set.to_owned() } else { format!("[{negation}{set}]") };
                self.instead(&construct, 2);
            }
            'b' if !in_bracket => self.instead("(?-u:\\b)", 2),
            'B' if !in_bracket => self.instead("(?-u:\\B)", 2),
            'A' | 'z' if !in_bracket => self.pass(2),
            'Q' if !in_bracket => {
                let (quoted, after) = self.rest[2..].split_once("\\E").unwrap_or((&self.rest[2..], ""));
                self.out.push_str(&regex::escape(quoted));
                self.rest = after;
            }
            'p' | 'P' => {
                let name = &self.rest[2..];
                let length = if name.starts_with('{') {
                    name.find('}').ok_or("invalid character class range")? + 1
                } else {
                    name.chars().next().ok_or("invalid character class range")?.len_utf8()
                };
                self.pass(2 + length);
            }
            'x' => {
                let digits = &self.rest[2..];
                let (number, length) = match digits.strip_prefix('{') {
                    Some(braced) => {
                        let end = braced.find('}').ok_or("invalid escape sequence")?;
                        (&braced[..end], end + 2)
                    }
                    None => (digits.get(..2).ok_or("invalid escape sequence")?, 2),
                };
                let number = u32::from_str_radix(number, 16).map_err(|_| "invalid escape sequence")?;
                let character = char::from_u32(number).ok_or("invalid escape sequence")?;
                self.literal(character, 2 + length);
            }
            '0'..='7' => {
                let digits: String =
                    self.rest[1..].chars().take_while(|digit| matches!(digit, '0'..='7')).take(3).collect();
                if digits.len() == 1 && escaped != '0' {
                    return Err(format!("invalid escape sequence: `\\{escaped}`"));
                }
                let number = u32::from_str_radix(&digits, 8).map_err(|_| "invalid escape sequence")?;
                let character = char::from_u32(number).ok_or("invalid escape sequence")?;
                self.literal(character, 1 + digits.len());
            }
            'a' | 'f' | 'n' | 'r' | 't' | 'v' => self.pass(2),
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => self.literal(other, 2),
            other => return Err(format!("invalid escape sequence: `\\{other}`")),
        }
        Ok(())
    }

    /// A class in brackets, where only `\`, `-`, `^` at the start and `[:name:]` have a meaning.
    fn bracket(&mut self) -> Translation<()> {
        self.pass(1);
        if self.rest.starts_with('^') {
            self.pass(1);
        }
        let mut first = true;
        loop {
            let next = self.rest.chars().next().ok_or("missing closing ]")?;
            match next {
                ']' if !first => {
                    self.pass(1);
                    return Ok(());
                }
                '\\' => self.escape(true)?,
                '[' if self.rest.starts_with("[:") && self.rest.contains(":]") => {
                    let end = self.rest.find(":]").ok_or("missing closing ]")?;
                    let name = self.rest[2..end].trim_start_matches('^');
                    if !CLASSES.contains(&name) {
                        return Err(format!("invalid character class range: `[:{name}:]`"));
                    }
                    self.pass(end + 2);
                }
                // A dash between two characters makes a range; at either end it is itself.
                '-' if first || self.rest[1..].starts_with(']') => self.literal('-', 1),
                '-' => self.pass(1),
                '[' | ']' | '&' | '~' | '^' => self.literal(next, 1),
                other => self.pass(other.len_utf8()),
            }
            first = false;
        }
    }

    /// `(`, `(?:`, `(?P<name>`, `(?<name>`, `(?flags)`, `(?flags:`.
    fn group(&mut self) -> Translation<()> {
        if let Some(flags) = self.rest.strip_prefix("(?") {
            let named = flags.starts_with("P<") || flags.starts_with('<');
            let end = flags.find([':', ')']).unwrap_or(flags.len());
            if !named && !flags[..end].bytes().all(|flag| matches!(flag, b'i' | b'm' | b's' | b'U' | b'-')) {
                return Err("invalid or unsupported Perl syntax".to_owned());
            }
            let end = if named { flags.find('>').ok_or("invalid named capture")? } else { end };
            self.pass((2 + end + 1).min(self.rest.len()));
            return Ok(());
        }
        self.pass(1);
        Ok(())
    }
}

/// The length of `{n}`, `{n,}` or `{n,m}` at the start; none if it is no repetition.
fn repetition(text: &str) -> Translation<Option<usize>> {
    let Some(end) = text.find('}') else { return Ok(None) };
    let (least, most) = text[1..end].split_once(',').map_or((&text[1..end], None), |(least, most)| (least, Some(most)));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(least) || most.is_some_and(|most| !most.is_empty() && !is_number(most)) {
        return Ok(None);
    }
    let number = |digits: &str| digits.parse::<u32>().ok().filter(|number| *number <= 1000);
    let least = number(least);
    let most = most.filter(|most| !most.is_empty()).map_or(Some(1000), number);
    match (least, most) {
        (Some(least), Some(most)) if least <= most => Ok(Some(end + 1)),
        _ => Err("invalid repeat count".to_owned()),
    }
}
