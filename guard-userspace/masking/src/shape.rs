//! The form of what follows a token's prefix, compiled from a small subset of regular expressions: literals, classes (`[A-Z0-9_-]`),
//! and `{n}`, `{n,}`, `{n,m}` or `?` after a class or a literal. Matching is greedy and never goes back, so its time is linear, and it can
//! say that the text ended too soon to decide.

/// Bytes of ASCII that a class holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class(u128);

impl Class {
    pub(crate) const fn has(self, byte: u8) -> bool {
        byte < 128 && self.0 >> byte & 1 == 1
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Literal(u8),
    Run { class: Class, least: usize, most: usize },
}

/// A compiled form.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Shape(Vec<Part>);

/// What a form says of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It is none.
    No,
    /// It goes to here.
    To(usize),
    /// More of the text could make it one, or make it longer.
    Open,
}

impl Shape {
    /// Panics on what is outside the subset: the catalogue is compiled by its tests.
    pub(crate) fn compile(form: &str) -> Self {
        let bytes = form.as_bytes();
        let (mut parts, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            match bytes[at] {
                b'[' => {
                    let (class, after) = class(bytes, at + 1);
                    let (least, most, after) = counts(form, after);
                    parts.push(Part::Run { class, least, most });
                    at = after;
                }
                b'\\' => {
                    parts.push(Part::Literal(bytes[at + 1]));
                    at += 2;
                }
                literal => {
                    let (least, most, after) = counts(form, at + 1);
                    if after > at + 1 {
                        parts.push(Part::Run { class: Class(1 << literal), least, most });
                    } else {
                        parts.push(Part::Literal(literal));
                    }
                    at = after;
                }
            }
        }
        Self(parts)
    }

    /// Matches at `from`. `last`: nothing follows the text.
    pub(crate) fn fit(&self, text: &[u8], from: usize, last: bool) -> Fit {
        let mut at = from;
        for part in &self.0 {
            match part {
                Part::Literal(literal) => match text.get(at) {
                    Some(byte) if byte == literal => at += 1,
                    None if !last => return Fit::Open,
                    _ => return Fit::No,
                },
                Part::Run { class, least, most } => {
                    let end = text.len().min(at.saturating_add(*most));
                    let len = text[at..end].iter().position(|byte| !class.has(*byte)).unwrap_or(end - at);
                    at += len;
                    if at == text.len() && len < *most && !last {
                        return Fit::Open;
                    }
                    if len < *least {
                        return Fit::No;
                    }
                }
            }
        }
        match text.get(at) {
            None if !last => Fit::Open,
            Some(next) if next.is_ascii_alphanumeric() => Fit::No,
            _ => Fit::To(at),
        }
    }

    /// Whether `byte` may stand at `place`, which is 0 or 1.
    pub(crate) fn may_have(&self, place: usize, byte: u8) -> bool {
        let mut at = 0;
        for part in &self.0 {
            match part {
                Part::Literal(literal) if at == place => return byte == *literal,
                Part::Literal(_) => at += 1,
                Part::Run { class, least, .. } => {
                    if class.has(byte) {
                        return true;
                    }
                    at += least;
                    if at > place {
                        return false;
                    }
                }
            }
        }
        false
    }

    /// Where text that ends at `end` and fits begins. Only for a form that is a chain of runs and literals of fixed length, or one run.
    pub(crate) fn fit_before(&self, text: &[u8], end: usize) -> Option<usize> {
        let mut at = end;
        for part in self.0.iter().rev() {
            match part {
                Part::Literal(literal) => {
                    at = at.checked_sub(1)?;
                    if text[at] != *literal {
                        return None;
                    }
                }
                Part::Run { class, least, most } => {
                    let from = at.saturating_sub(*most);
                    let len = text[from..at].iter().rev().take_while(|byte| class.has(**byte)).count();
                    if len < *least {
                        return None;
                    }
                    at -= len;
                }
            }
        }
        Some(at)
    }
}

fn class(form: &[u8], mut at: usize) -> (Class, usize) {
    let mut bits = 0_u128;
    while form[at] != b']' {
        let first = form[at];
        let range = form[at + 1] == b'-' && form[at + 2] != b']';
        let last = if range { form[at + 2] } else { first };
        for member in first..=last {
            bits |= 1 << member;
        }
        at += if range { 3 } else { 1 };
    }
    (Class(bits), at + 1)
}

fn counts(form: &str, at: usize) -> (usize, usize, usize) {
    let rest = &form[at..];
    if rest.starts_with('?') {
        return (0, 1, at + 1);
    }
    let Some((counts, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else { return (1, 1, at) };
    let number = |text: &str| text.parse().expect("a count is a number");
    let (least, most) = match counts.split_once(',') {
        None => (number(counts), number(counts)),
        Some((least, "")) => (number(least), usize::MAX),
        Some((least, most)) => (number(least), number(most)),
    };
    (least, most, at + counts.len() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(form: &str, text: &str, last: bool) -> Fit {
        Shape::compile(form).fit(text.as_bytes(), 0, last)
    }

    #[test]
    fn a_form_fits_to_its_end_and_no_further() {
        assert_eq!(fit("[a-z]{3}", "abc ", false), Fit::To(3));
        assert_eq!(fit("[a-z]{3}", "abcd", true), Fit::No);
        assert_eq!(fit("[a-z]{3}\\.[0-9-]{2,}", "abc.1-2\"", false), Fit::To(7));
        assert_eq!(fit("[a-z]{3,}={0,2}", "abcd==", true), Fit::To(6));
        assert_eq!(fit("[a-z]{3}", "ab", true), Fit::No);
    }

    #[test]
    fn what_may_go_on_is_open() {
        assert_eq!(fit("[a-z]{3}", "ab", false), Fit::Open);
        assert_eq!(fit("[a-z]{3}", "abc", false), Fit::Open);
        assert_eq!(fit("[a-z]{3}\\.[a-z]{2}", "abc", false), Fit::Open);
        assert_eq!(fit("[a-z]{3}\\.[a-z]{2}", "ab.", false), Fit::No);
    }

    #[test]
    fn a_form_before_a_mark_is_found_backwards() {
        assert_eq!(Shape::compile("[a-f0-9]{4}").fit_before(b"xx12af-us", 6), Some(2));
        assert_eq!(Shape::compile("[a-f0-9]{4}").fit_before(b"2af-us", 3), None);
    }
}
