//! The functions: one implementation for each name, which looks at the values it is given.

mod arithmetic;
mod convert;
mod formats;
mod lists;
mod network;
mod optionals;
mod patterns;
mod quantity;
mod semver;
mod strings;
mod template;
mod times;
mod url;

pub use formats::Format;
pub use network::Cidr;
pub use quantity::Quantity;
pub use semver::Semver;
pub use url::Url;

pub(crate) use convert::double_text;
pub(crate) use patterns::{Pattern, compile as compile_regex};
pub(crate) use template::visit as visit_template;
pub(crate) use times::parse_duration;

use crate::evaluate::Outcome;
use crate::meter::Meter;
use crate::value::Value;

/// A function of values. What it reads and makes it tells the meter first.
pub(crate) type Implementation = for<'a> fn(&mut Meter, &[Value<'a>]) -> Outcome<Value<'a>>;

/// The implementation of a function, operators included that are no syntax of their own.
pub(crate) fn implementation(function: &str) -> Option<Implementation> {
    Some(match function {
        "!_" => arithmetic::not,
        "-_" => arithmetic::negate,
        "_+_" => arithmetic::add,
        "_-_" => arithmetic::subtract,
        "_*_" => arithmetic::multiply,
        "_/_" => arithmetic::divide,
        "_%_" => arithmetic::modulo,
        "_<_" => arithmetic::less,
        "_<=_" => arithmetic::less_or_equal,
        "_>_" => arithmetic::greater,
        "_>=_" => arithmetic::greater_or_equal,
        "@in" => lists::contains,
        // An error never gets here: what is not false may go on.
        "@not_strictly_false" => |_, arguments| Ok(Value::Bool(!matches!(arguments, [Value::Bool(false)]))),
        "size" => lists::size,
        "bool" => convert::to_bool,
        "bytes" => convert::to_bytes,
        "double" => convert::to_double,
        "duration" => times::to_duration,
        "dyn" => convert::identity,
        "int" => convert::to_int,
        "string" => convert::to_string,
        "timestamp" => times::to_timestamp,
        "type" => convert::type_of,
        "uint" => convert::to_uint,
        "optional.of" => optionals::of,
        "optional.ofNonZeroValue" => optionals::of_non_zero,
        "optional.none" => |_, _| Ok(Value::NONE),
        "optional.unwrap" | "unwrapOpt" => optionals::unwrap,
        "hasValue" => optionals::has_value,
        "value" => optionals::value,
        "first" => lists::first,
        "last" => lists::last,
        "validate" => formats::validate,
        "format.named" => formats::named,
        name if name.starts_with("format.") => return formats::constant(&name["format.".len()..]),
        name => {
            return lists::implementation(name)
                .or_else(|| strings::implementation(name))
                .or_else(|| times::implementation(name))
                .or_else(|| network::implementation(name))
                .or_else(|| patterns::implementation(name))
                .or_else(|| quantity::implementation(name))
                .or_else(|| semver::implementation(name))
                .or_else(|| url::implementation(name));
        }
    })
}
