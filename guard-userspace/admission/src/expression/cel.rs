//! Tests as CEL for the API server. `object` is dynamic there, so nothing is left to its type checker.

use serde_json::Value;

use super::{Root, Term, Test};

impl Term {
    /// The value, or `otherwise` (CEL) where there is none.
    pub(crate) fn cel_or(&self, otherwise: &str) -> String {
        if self.path.is_empty() { self.root() } else { format!("{}.orValue({otherwise})", self.optional()) }
    }

    fn root(&self) -> String {
        match self.root {
            Root::Fact(name) => format!("variables.{name}"),
            Root::Item(name) => name.to_owned(),
        }
    }

    fn optional(&self) -> String {
        let is_identifier = |key: &str| key.bytes().all(|byte| byte.is_ascii_alphanumeric());
        self.path.iter().fold(self.root(), |text, key| {
            if is_identifier(key) { format!("{text}.?{key}") } else { format!("{text}[?{}]", quoted(key)) }
        })
    }

    fn value(&self) -> String {
        self.cel_or("dyn(null)")
    }

    fn cel_list(&self) -> String {
        self.cel_or("dyn([])")
    }

    fn cel_text(&self) -> String {
        self.cel_or("dyn(\"\")")
    }
}

impl Test {
    /// A CEL expression of type bool, in parentheses where it has parts.
    pub(crate) fn cel(&self) -> String {
        match self {
            Test::Is(term, value) => format!("{} == {}", term.value(), literal(value)),
            Test::Made(term, template) => format!("{} == {}", term.value(), template.cel()),
            Test::Same(one, other) => format!("{} == {}", one.value(), other.value()),
            Test::Present(term) if term.path.is_empty() => format!("{} != null", term.root()),
            Test::Present(term) => format!("{}.hasValue()", term.optional()),
            Test::OneOf(term, texts) => {
                let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                format!("{} in [{}]", term.value(), texts.join(", "))
            }
            Test::Among(term, list) => format!("{} in {}", term.value(), list.cel_list()),
            Test::StartsWith(term, text) => format!("string({}).startsWith({})", term.cel_text(), quoted(text)),
            Test::OfRepository(image, repository) => of_repository(&image.cel_text(), &repository.cel_text()),
            Test::HasOnly(term, fields) => {
                let fields: Vec<String> = fields.iter().map(|field| quoted(field)).collect();
                format!("{}.all(k, k in [{}])", term.cel_or("dyn({})"), fields.join(", "))
            }
            Test::Every(list, name, test) => format!("{}.all({name}, {})", list.cel_list(), test.cel()),
            Test::Some(list, name, test) => format!("{}.exists({name}, {})", list.cel_list(), test.cel()),
            Test::All(tests) => joined(tests, " && "),
            Test::Any(tests) => joined(tests, " || "),
            Test::Not(test) => format!("!({})", test.cel()),
        }
    }
}

/// What follows the repository is a tag or a digest: a port would be followed by a path.
fn of_repository(image: &str, repository: &str) -> String {
    let (image, repository) = (format!("string({image})"), format!("string({repository})"));
    format!(
        "({image} == {repository} || (({image}.startsWith({repository} + \":\") || {image}.startsWith({repository} + \"@\")) \
         && !{image}.substring(size({repository})).contains(\"/\")))"
    )
}

fn joined(tests: &[Test], operator: &str) -> String {
    debug_assert!(!tests.is_empty(), "CEL has no empty conjunction");
    let tests: Vec<String> = tests.iter().map(Test::cel).collect();
    format!("({})", tests.join(operator))
}

/// A JSON value as a CEL expression. CEL wants the items of a list or map literal to be of one type: all are made dynamic.
pub(crate) fn literal(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| format!("dyn({})", literal(item))).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{}: dyn({})", quoted(name), literal(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        // The escapes of JSON are escapes of CEL as well.
        other => other.to_string(),
    }
}

/// A text as a CEL expression.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
