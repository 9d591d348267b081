//! Kubernetes' functions: `functions.txt` holds them as the API server's environment lists them, and a test with that environment
//! compares the two.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::types::Type;

/// One signature of a function.
#[derive(Debug)]
pub(crate) struct Overload {
    /// Cost depends on it.
    pub(crate) id: &'static str,
    /// Called as `target.function(…)`; the target is the first parameter.
    pub(crate) member: bool,
    pub(crate) parameters: Vec<Type>,
    pub(crate) result: Type,
    /// The parameters of types that occur: `Type::Parameter` of a letter.
    pub(crate) type_parameters: Vec<usize>,
}

const TABLE: &str = include_str!("functions.txt");

/// All overloads of a function, in the order in which they are tried.
pub(crate) fn overloads(function: &str) -> Option<&'static [Overload]> {
    static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
        let mut functions: HashMap<_, Vec<_>> = HashMap::new();
        for line in TABLE.lines() {
            let (function, overload) = read(line).expect("every line of functions.txt is a declaration");
            functions.entry(function).or_default().push(overload);
        }
        functions
    });
    FUNCTIONS.get(function).map(Vec::as_slice)
}

/// Reads `function overload member|global (parameter; …) result`.
fn read(line: &'static str) -> Option<(&'static str, Overload)> {
    let mut words = line.splitn(4, ' ');
    let (function, id, form, signature) = (words.next()?, words.next()?, words.next()?, words.next()?);
    // Of all results none begins like this, and no parameter holds it.
    let (parameters, result) = signature.strip_prefix('(')?.rsplit_once(") ").and_then(|(parameters, result)| {
        // `map(<K>, <V>)` as a result has a blank after its comma, never `) `.
        Some((parameters, Type::parse(result)?))
    })?;
    let parameters =
        parameters.split("; ").filter(|text| !text.is_empty()).map(Type::parse).collect::<Option<Vec<_>>>()?;
    let mut type_parameters: Vec<usize> =
        signature.split('<').skip(1).filter_map(|rest| rest.bytes().next()).map(usize::from).collect();
    type_parameters.sort_unstable();
    type_parameters.dedup();
    Some((function, Overload { id, member: form == "member", parameters, result, type_parameters }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has nodes of its own in the plan, or no notation that a parser reads.
    const SYNTAX: [&str; 15] = [
        "_&&_",
        "_||_",
        "_?_:_",
        "_==_",
        "_!=_",
        "_[_]",
        "_[?_]",
        "_?._",
        "or",
        "orValue",
        "cel.@block",
        "cel.@mapInsert",
        "_in_",
        "in",
        "__not_strictly_false__",
    ];

    #[test]
    fn every_line_is_a_declaration_and_has_an_implementation() {
        for line in TABLE.lines() {
            let (function, overload) = read(line).unwrap_or_else(|| panic!("{line}"));
            assert!(SYNTAX.contains(&function) || crate::library::implementation(function).is_some(), "{function}");
            assert!(!overload.id.is_empty());
        }
    }
}
