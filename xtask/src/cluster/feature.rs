//! What newer API servers have and older ones lack, to be left out of a cluster.

use clap::ValueEnum;

/// A part of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Feature {
    /// `ClusterTrustBundle`, v1 in 1.37.
    TrustBundles,
    /// `MutatingAdmissionPolicy`, v1 in 1.36.
    MutatingPolicies,
    /// `ValidatingAdmissionPolicy`, v1 in 1.30.
    ValidatingPolicies,
}

impl Feature {
    /// What `--runtime-config` takes away.
    fn resources(self) -> &'static [&'static str] {
        match self {
            Self::TrustBundles => &["certificates.k8s.io/v1/clustertrustbundles"],
            Self::MutatingPolicies => &[
                "admissionregistration.k8s.io/v1/mutatingadmissionpolicies",
                "admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings",
            ],
            Self::ValidatingPolicies => &[
                "admissionregistration.k8s.io/v1/validatingadmissionpolicies",
                "admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
            ],
        }
    }

    /// The admission plugin that would wait for them for ever.
    fn plugin(self) -> Option<&'static str> {
        match self {
            Self::TrustBundles => None,
            Self::MutatingPolicies => Some("MutatingAdmissionPolicy"),
            Self::ValidatingPolicies => Some("ValidatingAdmissionPolicy"),
        }
    }
}

/// Flags of an API server that lacks these.
pub(super) fn flags_without(features: &[Feature]) -> Vec<String> {
    let resources: Vec<String> =
        features.iter().flat_map(|feature| feature.resources()).map(|resource| format!("{resource}=false")).collect();
    let plugins: Vec<&str> = features.iter().filter_map(|feature| feature.plugin()).collect();
    let mut flags = Vec::new();
    if !resources.is_empty() {
        flags.push(format!("--runtime-config={}", resources.join(",")));
    }
    if !plugins.is_empty() {
        flags.push(format!("--disable-admission-plugins={}", plugins.join(",")));
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_server_lacks_what_is_left_out() {
        assert!(flags_without(&[]).is_empty());
        assert_eq!(
            flags_without(&[Feature::TrustBundles, Feature::MutatingPolicies]),
            [
                "--runtime-config=certificates.k8s.io/v1/clustertrustbundles=false,\
                 admissionregistration.k8s.io/v1/mutatingadmissionpolicies=false,\
                 admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings=false",
                "--disable-admission-plugins=MutatingAdmissionPolicy"
            ]
        );
    }
}
