//! What was decided, and by which rule.

/// What happens to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It goes on.
    Allow,
    /// It is answered with a `Status` of 403.
    Deny,
}

/// The decision on one request. Without a policy and rule, nothing matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What happens.
    pub action: Action,
    /// Name of the policy that decided.
    pub policy: Option<String>,
    /// Name of its rule.
    pub rule: Option<String>,
    /// What the rule has to say to the agent.
    pub message: Option<String>,
}

impl Decision {
    /// Nothing matched.
    pub(crate) const UNMATCHED: Self = Self { action: Action::Allow, policy: None, rule: None, message: None };
}
