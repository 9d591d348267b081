//! Kubernetes' quantities: `100m`, `1.5Gi`, `2e3`.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::Implementation;
use crate::error::EvaluationError;
use crate::evaluate::Outcome;
use crate::value::Value;

/// An exact decimal number. Kubernetes has two forms of it; which one a quantity is in shows in `isInteger`.
#[derive(Clone, Debug)]
pub struct Quantity {
    unscaled: i128,
    /// The power of ten that `unscaled` is multiplied by.
    scale: i32,
    /// Kubernetes holds it as a 64-bit integer with a scale, not as a decimal of any size.
    is_fast: bool,
}

/// Digits that a quantity may have here. Kubernetes knows no bound.
const MAX_DIGITS: usize = 38;
/// The smallest scale: nano.
const NANO: i32 = -9;
/// Digits that certainly fit into 64 bits.
const FAST_DIGITS: i64 = 18;

impl Quantity {
    fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix(['-', '+']) {
            Some(rest) => (text.starts_with('-'), rest),
            None => (false, text),
        };
        if text.is_empty() {
            return None;
        }
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, rest) = unsigned.split_at(digits(unsigned));
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(digits(rest)),
            None => ("", rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            // A sign alone is zero, as is a sign with a suffix; a point alone is not.
            let is_zero = text.len() > unsigned.len() && unsigned.is_empty();
            return is_zero.then_some(Self { unscaled: 0, scale: 0, is_fast: true });
        }
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        if whole.len() + fraction.len() > MAX_DIGITS {
            return None;
        }
        let (is_binary, exponent) = interpret(suffix)?;
        let magnitude: i128 = format!("{whole}{fraction}").parse().ok()?;
        let unscaled = if negative { -magnitude } else { magnitude };
        let (whole_digits, fraction_digits) = (i64::try_from(whole.len()).ok()?, i64::try_from(fraction.len()).ok()?);
        let fraction_scale = i32::try_from(fraction.len()).ok()?;
        if is_binary {
            let multiplied = unscaled.checked_mul(1 << exponent)?;
            // How many digits Kubernetes takes the power of two for.
            let taken = i64::from(exponent * 3 / 10) + 1;
            let is_fast = fraction.is_empty() && 15 - whole_digits - taken >= 0 && i64::try_from(multiplied).is_ok();
            let mut quantity = Self { unscaled: multiplied, scale: -fraction_scale, is_fast };
            if !is_fast {
                quantity = quantity.rounded_up()?;
                quantity.cap();
            }
            return Some(quantity);
        }
        let scale = exponent.checked_sub(fraction_scale)?;
        let is_fast = FAST_DIGITS - whole_digits - fraction_digits >= 0 && scale >= NANO;
        let quantity = Self { unscaled, scale, is_fast };
        if is_fast { Some(quantity) } else { quantity.rounded_up() }
    }

    /// To nano, away from zero: who asks for something gets something.
    fn rounded_up(self) -> Option<Self> {
        if self.scale >= NANO {
            return Some(self);
        }
        let by = u32::try_from(NANO.checked_sub(self.scale)?).ok()?;
        let divided = match 10_i128.checked_pow(by) {
            Some(divisor) => {
                let quotient = self.unscaled / divisor;
                quotient + if self.unscaled % divisor == 0 { 0 } else { self.unscaled.signum() }
            }
            None => self.unscaled.signum(),
        };
        Some(Self { unscaled: divided, scale: NANO, ..self })
    }

    /// Binary quantities end at 2⁶³ - 1.
    fn cap(&mut self) {
        let most = Self { unscaled: i128::from(i64::MAX), scale: 0, is_fast: true };
        let magnitude = Self { unscaled: self.unscaled.abs(), ..self.clone() };
        if magnitude.compare(&most) == Ordering::Greater {
            self.unscaled = most.unscaled * self.unscaled.signum();
            self.scale = 0;
        }
    }

    /// The order by worth.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let signs = self.unscaled.signum().cmp(&other.unscaled.signum());
        if signs != Ordering::Equal || self.unscaled == 0 {
            return signs;
        }
        match (self.at_scale(other.scale.min(self.scale)), other.at_scale(other.scale.min(self.scale))) {
            (Some(one), Some(other)) => one.cmp(&other),
            // What has too many digits at the other's scale is the greater in magnitude.
            (None, _) if self.unscaled > 0 => Ordering::Greater,
            (_, None) if self.unscaled < 0 => Ordering::Greater,
            _ => Ordering::Less,
        }
    }

    fn at_scale(&self, scale: i32) -> Option<i128> {
        let by = u32::try_from(self.scale.checked_sub(scale)?).ok()?;
        self.unscaled.checked_mul(10_i128.checked_pow(by)?)
    }

    /// Both together; none if that has too many digits.
    fn plus(&self, other: &Self) -> Option<Self> {
        if other.unscaled == 0 || self.unscaled == 0 {
            let kept = if other.unscaled == 0 { self } else { other };
            return Some(Self { is_fast: self.is_fast && other.is_fast, ..kept.clone() });
        }
        let scale = self.scale.min(other.scale);
        let parts = [self.at_scale(scale)?, other.at_scale(scale)?];
        let sum = parts[0].checked_add(parts[1])?;
        let fits = [parts[0], parts[1], sum].iter().all(|part| i64::try_from(*part).is_ok());
        Some(Self { unscaled: sum, scale, is_fast: self.is_fast && other.is_fast && fits })
    }

    fn negated(&self) -> Self {
        Self { unscaled: -self.unscaled, ..self.clone() }
    }

    fn as_integer(&self) -> Option<i64> {
        if !self.is_fast || self.scale < 0 {
            return None;
        }
        i64::try_from(self.at_scale(0)?).ok()
    }

    fn as_double(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "the nearest double is what is asked for")]
        let base = self.unscaled as f64;
        if self.scale == 0 { base } else { base * format!("1e{}", self.scale).parse::<f64>().unwrap_or(f64::INFINITY) }
    }
}

/// The number without trailing zeros, and its power of ten.
impl fmt::Display for Quantity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut unscaled, mut scale) = (self.unscaled, self.scale);
        while unscaled != 0 && unscaled % 10 == 0 {
            unscaled /= 10;
            scale += 1;
        }
        write!(out, "{unscaled}e{}", if unscaled == 0 { 0 } else { scale })
    }
}

/// Whether a suffix is a power of two, and the exponent.
fn interpret(suffix: &str) -> Option<(bool, i32)> {
    Some(match suffix {
        "Ki" => (true, 10),
        "Mi" => (true, 20),
        "Gi" => (true, 30),
        "Ti" => (true, 40),
        "Pi" => (true, 50),
        "Ei" => (true, 60),
        "n" => (false, -9),
        "u" => (false, -6),
        "m" => (false, -3),
        "" => (false, 0),
        "k" => (false, 3),
        "M" => (false, 6),
        "G" => (false, 9),
        "T" => (false, 12),
        "P" => (false, 15),
        "E" => (false, 18),
        suffix => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            // Beyond these nothing can be told apart by the digits that a quantity may have.
            (false, exponent.parse().ok().filter(|exponent: &i32| exponent.abs() < 100_000)?)
        }
    })
}

pub(super) fn implementation(function: &str) -> Option<Implementation> {
    Some(match function {
        "quantity" => |_, arguments| {
            let quantity = Quantity::parse(text(arguments)?).ok_or_else(|| {
                EvaluationError::failed(
                    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
                )
            })?;
            Ok(Value::Quantity(Arc::new(quantity)))
        },
        "isQuantity" => |_, arguments| Ok(Value::Bool(Quantity::parse(text(arguments)?).is_some())),
        "sign" => |_, arguments| Ok(Value::Int(i64::try_from(one(arguments)?.unscaled.signum()).unwrap_or_default())),
        "isInteger" => |_, arguments| Ok(Value::Bool(one(arguments)?.as_integer().is_some())),
        "asInteger" => |_, arguments| {
            let integer = one(arguments)?.as_integer();
            integer.map(Value::Int).ok_or_else(|| EvaluationError::failed("cannot convert value to integer"))
        },
        "asApproximateFloat" => |_, arguments| Ok(Value::Double(one(arguments)?.as_double())),
        "add" => |_, arguments| sum(arguments, false),
        "sub" => |_, arguments| sum(arguments, true),
        "isLessThan" => |_, arguments| Ok(Value::Bool(order(arguments)? == Ordering::Less)),
        "isGreaterThan" => |_, arguments| Ok(Value::Bool(order(arguments)? == Ordering::Greater)),
        "compareTo" => |_, arguments| Ok(Value::Int(order(arguments)? as i64)),
        _ => return None,
    })
}

fn text<'v>(arguments: &'v [Value<'_>]) -> Outcome<&'v str> {
    match arguments {
        [Value::String(text)] => Ok(text),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

fn one<'v>(arguments: &'v [Value<'_>]) -> Outcome<&'v Quantity> {
    match arguments {
        [Value::Quantity(quantity)] => Ok(quantity),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

/// Quantities and versions share three functions.
fn order(arguments: &[Value<'_>]) -> Outcome<Ordering> {
    match arguments {
        [Value::Quantity(one), Value::Quantity(other)] => Ok(one.compare(other)),
        [Value::Semver(one), Value::Semver(other)] => Ok(one.compare(other)),
        _ => Err(EvaluationError::no_such_overload()),
    }
}

fn sum<'a>(arguments: &[Value<'a>], subtract: bool) -> Outcome<Value<'a>> {
    let (one, other) = match arguments {
        [Value::Quantity(one), Value::Quantity(other)] => (one, (**other).clone()),
        [Value::Quantity(one), Value::Int(other)] => {
            (one, Quantity { unscaled: i128::from(*other), scale: 0, is_fast: true })
        }
        _ => return Err(EvaluationError::no_such_overload()),
    };
    let sum = one.plus(&if subtract { other.negated() } else { other });
    sum.map(|sum| Value::Quantity(Arc::new(sum)))
        .ok_or_else(|| EvaluationError::failed(format!("the sum of quantities has more than {MAX_DIGITS} digits")))
}
