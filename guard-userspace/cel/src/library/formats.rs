//! Named formats: what Kubernetes takes for a name, a label, a date. The messages are the API server's own (`apimachinery`, packages
//! `util/validation` and `api/validate/content`), so that a policy says what the API server would say.

use super::Implementation;
use super::url::Url;
use crate::error::EvaluationError;
use crate::evaluate::Outcome;
use crate::meter::Meter;
use crate::value::{Timestamp, Value};

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are Kubernetes' names of formats")]
pub enum Format {
    Dns1123Label,
    Dns1123Subdomain,
    Dns1035Label,
    QualifiedName,
    Dns1123LabelPrefix,
    Dns1123SubdomainPrefix,
    Dns1035LabelPrefix,
    LabelValue,
    Uri,
    Uuid,
    Byte,
    Date,
    DateTime,
}

impl Format {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "dns1123Label" => Format::Dns1123Label,
            "dns1123Subdomain" => Format::Dns1123Subdomain,
            "dns1035Label" => Format::Dns1035Label,
            "qualifiedName" => Format::QualifiedName,
            "dns1123LabelPrefix" => Format::Dns1123LabelPrefix,
            "dns1123SubdomainPrefix" => Format::Dns1123SubdomainPrefix,
            "dns1035LabelPrefix" => Format::Dns1035LabelPrefix,
            "labelValue" => Format::LabelValue,
            "uri" => Format::Uri,
            "uuid" => Format::Uuid,
            "byte" => Format::Byte,
            "date" => Format::Date,
            "datetime" => Format::DateTime,
            _ => return None,
        })
    }

    /// As Kubernetes names the value.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Format::Dns1123Label => "DNS1123Label",
            Format::Dns1123Subdomain => "DNS1123Subdomain",
            Format::Dns1035Label => "DNS1035Label",
            Format::QualifiedName => "QualifiedName",
            Format::Dns1123LabelPrefix => "DNS1123LabelPrefix",
            Format::Dns1123SubdomainPrefix => "DNS1123SubdomainPrefix",
            Format::Dns1035LabelPrefix => "DNS1035LabelPrefix",
            Format::LabelValue => "LabelValue",
            Format::Uri => "URI",
            Format::Uuid => "uuid",
            Format::Byte => "byte",
            Format::Date => "date",
            Format::DateTime => "datetime",
        }
    }

    /// The size of a regular expression that it is as costly as.
    pub(crate) fn pattern_size(self) -> u64 {
        match self {
            Format::Dns1123Label | Format::Dns1035Label | Format::Dns1123LabelPrefix | Format::Dns1035LabelPrefix => 30,
            Format::Dns1123Subdomain | Format::QualifiedName | Format::Dns1123SubdomainPrefix => 60,
            Format::LabelValue => 40,
            Format::Uri => 1103,
            Format::Uuid => 70,
            Format::Byte => 84,
            Format::Date | Format::DateTime => 71,
        }
    }

    /// What is wrong with a text.
    fn faults(self, text: &str) -> Vec<String> {
        match self {
            Format::Dns1123Label => dns1123_label(text),
            Format::Dns1123LabelPrefix => dns1123_label(&without_last_dash(text)),
            Format::Dns1123Subdomain => dns1123_subdomain(text),
            Format::Dns1123SubdomainPrefix => dns1123_subdomain(&without_last_dash(text)),
            Format::Dns1035Label => dns1035_label(text),
            Format::Dns1035LabelPrefix => dns1035_label(&without_last_dash(text)),
            Format::QualifiedName => qualified_name(text),
            Format::LabelValue => label_value(text),
            Format::Uri => Url::check_request_uri(text).err().into_iter().collect(),
            Format::Uuid => unless(is_uuid(text), "does not match the UUID format"),
            Format::Byte => unless(is_base64(text), "invalid base64"),
            Format::Date => unless(is_date(text), "invalid date"),
            Format::DateTime => unless(is_datetime(text), "invalid datetime"),
        }
    }
}

/// The function `format.NAME`.
pub(super) fn constant(name: &str) -> Option<Implementation> {
    Some(match Format::named(name)? {
        Format::Dns1123Label => |_, _| Ok(Value::Format(Format::Dns1123Label)),
        Format::Dns1123Subdomain => |_, _| Ok(Value::Format(Format::Dns1123Subdomain)),
        Format::Dns1035Label => |_, _| Ok(Value::Format(Format::Dns1035Label)),
        Format::QualifiedName => |_, _| Ok(Value::Format(Format::QualifiedName)),
        Format::Dns1123LabelPrefix => |_, _| Ok(Value::Format(Format::Dns1123LabelPrefix)),
        Format::Dns1123SubdomainPrefix => |_, _| Ok(Value::Format(Format::Dns1123SubdomainPrefix)),
        Format::Dns1035LabelPrefix => |_, _| Ok(Value::Format(Format::Dns1035LabelPrefix)),
        Format::LabelValue => |_, _| Ok(Value::Format(Format::LabelValue)),
        Format::Uri => |_, _| Ok(Value::Format(Format::Uri)),
        Format::Uuid => |_, _| Ok(Value::Format(Format::Uuid)),
        Format::Byte => |_, _| Ok(Value::Format(Format::Byte)),
        Format::Date => |_, _| Ok(Value::Format(Format::Date)),
        Format::DateTime => |_, _| Ok(Value::Format(Format::DateTime)),
    })
}

pub(super) fn named<'a>(_: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    match arguments {
        [Value::String(name)] => Ok(Format::named(name).map_or(Value::NONE, |format| Value::Format(format).some())),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

pub(super) fn validate<'a>(meter: &mut Meter, arguments: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Format(format), Value::String(text)] = arguments else {
        return Err(EvaluationError::no_such_overload());
    };
    meter.allocate(text.len())?;
    let faults = format.faults(text);
    meter.allocate(faults.iter().map(String::len).sum())?;
    if faults.is_empty() {
        return Ok(Value::NONE);
    }
    Ok(Value::from(faults.into_iter().map(Value::from).collect::<Vec<_>>()).some())
}

fn unless(valid: bool, fault: &str) -> Vec<String> {
    if valid { Vec::new() } else { vec![fault.to_owned()] }
}

const LABEL_PATTERN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const NAME_PATTERN: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

fn example(rule: &str, examples: &[&str], pattern: &str) -> String {
    let examples = examples.iter().map(|example| format!("'{example}', ")).collect::<Vec<_>>().join(" or ");
    format!("{rule} (e.g. {examples}regex used for validation is '{pattern}')")
}

fn too_long(most: usize, unit: &str) -> String {
    format!("must be no more than {most} {unit}")
}

/// Letters, digits and dashes, neither first nor last a dash.
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.bytes().all(inner) && outer(text.as_bytes().first()) && outer(text.as_bytes().last())
}

fn without_last_dash(text: &str) -> String {
    let cut = text.len().checked_sub(2).filter(|cut| text.ends_with('-') && text.is_char_boundary(*cut));
    match cut {
        Some(cut) if text.len() > 1 => format!("{}a", &text[..cut]),
        _ => text.to_owned(),
    }
}

fn dns1123_label(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 63 {
        faults.push(too_long(63, "characters"));
    }
    if !is_label(text) {
        faults.push(if is_subdomain(text) {
            "must not contain dots".to_owned()
        } else {
            let rule = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
                        end with an alphanumeric character";
            example(rule, &["my-name", "123-abc"], LABEL_PATTERN)
        });
    }
    faults
}

fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 253 {
        faults.push(too_long(253, "characters"));
    }
    if !is_subdomain(text) {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
                    and end with an alphanumeric character";
        faults.push(example(rule, &["example.com"], &format!("{LABEL_PATTERN}(\\.{LABEL_PATTERN})*")));
    }
    faults
}

fn dns1035_label(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 63 {
        faults.push(too_long(63, "characters"));
    }
    if !is_label(text) || text.starts_with(|first: char| first.is_ascii_digit()) {
        let rule = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, \
                    and end with an alphanumeric character";
        faults.push(example(rule, &["my-name", "abc-123"], "[a-z]([-a-z0-9]*[a-z0-9])?"));
    }
    faults
}

fn qualified_name(text: &str) -> Vec<String> {
    let rule = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    let fault = |what: &str| example(&format!("{what} {rule}"), &["MyName", "my.name", "123-abc"], NAME_PATTERN);
    let parts: Vec<&str> = text.split('/').collect();
    let mut faults = Vec::new();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                faults.push("prefix part must be non-empty".to_owned());
            } else {
                let prefix_faults = dns1123_subdomain(prefix).into_iter();
                faults.extend(prefix_faults.map(|fault| {
                    format!(
                        "prefix part {}",
                        fault.replace("characters", "bytes").replace("alphanumeric bytes", "alphanumeric characters")
                    )
                }));
            }
            name
        }
        _ => {
            let more = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![fault("a valid label key") + more];
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        faults.push(format!("name part {}", too_long(63, "bytes")));
    }
    if !is_name(name) {
        faults.push(fault("name part"));
    }
    faults
}

fn label_value(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 63 {
        faults.push(too_long(63, "bytes"));
    }
    if !text.is_empty() && !is_name(text) {
        let rule = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and \
                    end with an alphanumeric character";
        faults.push(example(rule, &["MyValue", "my_value", "12345"], &format!("({NAME_PATTERN})?")));
    }
    faults
}

/// 32 hexadecimal digits; a dash may stand where one usually does.
fn is_uuid(text: &str) -> bool {
    let mut rest = text;
    for (group, digits) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if group > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        if !rest.as_bytes().get(..digits).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return false;
        }
        rest = &rest[digits..];
    }
    rest.is_empty()
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    // Groups of four, the last one padded; what the unused bits are makes no difference.
    let engine = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
    );
    !text.is_empty() && engine.decode(text).is_ok()
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && Timestamp::parse(&format!("{text}T00:00:00Z")).is_some()
}

fn is_datetime(text: &str) -> bool {
    let text = text.to_lowercase();
    let mut parts = text.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    if !is_date(date) || !time.is_ascii() || time.len() < 9 {
        return false;
    }
    let two = |from: usize| time[from..from + 2].parse::<u8>().ok().filter(|_| !time[from..].starts_with('+'));
    let (Some(hour), Some(minute), Some(second)) = (two(0), two(3), two(6)) else { return false };
    if &time[2..3] != ":" || &time[5..6] != ":" || hour > 23 || minute > 59 || second > 59 {
        return false;
    }
    let zone = |rest: &str| {
        rest == "z"
            || (rest.len() == 6
                && rest.starts_with(['+', '-'])
                && &rest[3..4] == ":"
                && rest[1..3].bytes().chain(rest[4..].bytes()).all(|byte| byte.is_ascii_digit()))
    };
    let rest = &time[8..];
    // Any character may stand for the point.
    let fraction = rest.get(1..).map(|rest| rest.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    zone(rest) || fraction.is_some_and(|after| after.len() + 1 < rest.len() && zone(after))
}
