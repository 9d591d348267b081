//! Which type goes where another is wanted, and what type parameters stand for: cel-go's rules.

use crate::types::Type;

/// What type parameters stand for so far. Every addition can be taken back.
#[derive(Default)]
pub(super) struct Substitutions {
    of: Vec<Option<Type>>,
    added: Vec<(usize, Option<Type>)>,
    work: usize,
}

/// Comparisons of types in one expression. Types can share parts in ways that make comparing them take for ever.
const MAX_WORK: usize = 2_000_000;

impl Substitutions {
    /// A parameter that stands for nothing yet.
    pub(super) fn fresh(&mut self) -> Type {
        self.of.push(None);
        Type::Parameter(self.of.len() - 1)
    }

    /// Whether the types of the expression took too long to compare. Then answers mean nothing.
    pub(super) fn is_exhausted(&self) -> bool {
        self.work > MAX_WORK
    }

    fn goes_on(&mut self) -> bool {
        self.work += 1;
        !self.is_exhausted()
    }

    /// Whether each of `given` can be taken for the one of `wanted`. Remembers what that says of parameters only if all can.
    pub(super) fn assignable(&mut self, given: &[Type], wanted: &[Type]) -> bool {
        self.added.clear();
        let fits = given.len() == wanted.len()
            && given.iter().zip(wanted).all(|(given, wanted)| self.is_assignable(given, wanted));
        if !fits {
            while let Some((parameter, before)) = self.added.pop() {
                self.of[parameter] = before;
            }
        }
        fits
    }

    fn set(&mut self, parameter: usize, to: Type) {
        let before = self.of[parameter].replace(to);
        self.added.push((parameter, before));
    }

    fn is_assignable(&mut self, one: &Type, other: &Type) -> bool {
        if !self.goes_on() {
            return false;
        }
        if let Type::Parameter(parameter) = other {
            match self.substitute_for(*parameter, one) {
                (true, _) => return true,
                (false, true) => return false,
                (false, false) => {}
            }
        }
        if let Type::Parameter(parameter) = one {
            return self.substitute_for(*parameter, other).0;
        }
        match (one, other) {
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) | (Type::Type(_), Type::Type(_)) => true,
            (Type::Null, other) | (other, Type::Null) => {
                matches!(other, Type::Null | Type::Optional(_) | Type::Named(_) | Type::Timestamp | Type::Duration)
            }
            (Type::List(one), Type::List(other)) | (Type::Optional(one), Type::Optional(other)) => {
                self.is_assignable(one, other)
            }
            (Type::Map(one), Type::Map(other)) => {
                self.is_assignable(&one.0, &other.0) && self.is_assignable(&one.1, &other.1)
            }
            (one, other) => one == other,
        }
    }

    /// Whether a parameter can stand for a type; and whether it stood for something before.
    fn substitute_for(&mut self, parameter: usize, candidate: &Type) -> (bool, bool) {
        if *candidate == Type::Parameter(parameter) {
            return (true, true);
        }
        if let Some(current) = self.of[parameter].clone() {
            if *candidate == current {
                return (true, true);
            }
            if !self.is_assignable(candidate, &current) {
                return (false, true);
            }
            let general = most_general(candidate, &current).clone();
            if !self.refers_to(&general, parameter) {
                self.set(parameter, general);
            }
            return (true, true);
        }
        if self.refers_to(candidate, parameter) {
            return (false, false);
        }
        self.set(parameter, candidate.clone());
        (true, false)
    }

    fn refers_to(&mut self, within: &Type, parameter: usize) -> bool {
        if !self.goes_on() {
            return true;
        }
        match within {
            Type::Parameter(other) if *other == parameter => true,
            Type::Parameter(other) => {
                self.of[*other].clone().is_some_and(|substitute| self.refers_to(&substitute, parameter))
            }
            Type::List(of) | Type::Optional(of) | Type::Type(Some(of)) => self.refers_to(of, parameter),
            Type::Map(pair) => self.refers_to(&pair.0, parameter) || self.refers_to(&pair.1, parameter),
            _ => false,
        }
    }

    /// A type with its parameters replaced; those that stand for nothing stay, or are `dyn` in the end.
    pub(super) fn resolve(&mut self, of: &Type, to_dyn: bool) -> Type {
        if !self.goes_on() {
            return Type::Dyn;
        }
        match of {
            Type::Parameter(parameter) => match self.of[*parameter].clone() {
                Some(substitute) => self.resolve(&substitute, to_dyn),
                None if to_dyn => Type::Dyn,
                None => of.clone(),
            },
            Type::List(of) => Type::list(self.resolve(of, to_dyn)),
            Type::Optional(of) => Type::optional(self.resolve(of, to_dyn)),
            Type::Map(pair) => Type::map(self.resolve(&pair.0, to_dyn), self.resolve(&pair.1, to_dyn)),
            Type::Type(Some(of)) => Type::Type(Some(self.resolve(of, to_dyn).into())),
            other => other.clone(),
        }
    }
}

/// The less specific of two types that go together.
pub(super) fn most_general<'t>(one: &'t Type, other: &'t Type) -> &'t Type {
    if is_equal_or_less_specific(one, other) { one } else { other }
}

fn is_equal_or_less_specific(one: &Type, other: &Type) -> bool {
    match (one, other) {
        (Type::Dyn | Type::Parameter(_), _) | (Type::Type(_), Type::Type(_)) => true,
        (_, Type::Dyn | Type::Parameter(_)) => false,
        (Type::List(one), Type::List(other)) | (Type::Optional(one), Type::Optional(other)) => {
            is_equal_or_less_specific(one, other)
        }
        (Type::Map(one), Type::Map(other)) => {
            is_equal_or_less_specific(&one.0, &other.0) && is_equal_or_less_specific(&one.1, &other.1)
        }
        (one, other) => one == other,
    }
}

/// Puts fresh parameters in place of those that a declaration names by letters.
pub(super) fn instantiate(of: &Type, fresh: &[(usize, Type)]) -> Type {
    match of {
        Type::Parameter(letter) => {
            fresh.iter().find(|(name, _)| name == letter).map_or_else(|| of.clone(), |(_, parameter)| parameter.clone())
        }
        Type::List(of) => Type::list(instantiate(of, fresh)),
        Type::Optional(of) => Type::optional(instantiate(of, fresh)),
        Type::Map(pair) => Type::map(instantiate(&pair.0, fresh), instantiate(&pair.1, fresh)),
        Type::Type(Some(of)) => Type::Type(Some(instantiate(of, fresh).into())),
        other => other.clone(),
    }
}
