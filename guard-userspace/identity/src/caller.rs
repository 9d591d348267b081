//! The identity that a verified token proves.

/// Who is calling, in the words of the API server's `UserInfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub username: String,
    /// The groups that the API server gives every ServiceAccount: `system:serviceaccounts`,
    /// `system:serviceaccounts:NAMESPACE`, `system:authenticated`.
    pub groups: Vec<String>,
    /// `metadata.uid` of the ServiceAccount.
    pub uid: String,
}

impl Caller {
    /// The caller that the API server makes of a token of this ServiceAccount.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            username: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
            uid: uid.to_owned(),
        }
    }
}
