//! Volumes that could carry a credential for the API server, or a part of the node.

use super::{ALWAYS, FROM_THE_START, Rule, about_volumes};
use crate::expression::{Test, item, settings};
use crate::names::{AUDIENCE, UPSTREAM_VOLUME};

/// Types that are safe whatever is in them. What a `secret` holds no rule on pods can see: another policy asks for its type.
const TYPES: [&str; 8] =
    ["configMap", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"];

pub(super) fn rules() -> Vec<Rule> {
    let it = |field: &str| item("it").at(field);
    let mut types: Vec<Test> = TYPES.iter().map(|kind| it(kind).present()).collect();
    types.push(it("csi.driver").among(settings("csiDrivers")));
    let audience = || item("s").at("serviceAccountToken.audience");
    vec![
        about_volumes(
            "volume-type",
            ALWAYS,
            Test::Any(types),
            "a volume of this type can hold a part of the node or a credential that the guard doesn't see: use configMap, \
             downwardAPI, emptyDir, ephemeral, image, persistentVolumeClaim, projected or secret, or list an inline CSI driver in \
             agents.csiDrivers of the guard's chart",
        ),
        about_volumes(
            "pod-certificate",
            ALWAYS,
            it("projected.sources").every("s", item("s").at("podCertificate").absent()),
            "a podCertificate is a credential that the API server may accept, past the guard: remove it; the pod's token is where \
             clients look for it",
        ),
        about_volumes(
            "token-audience",
            FROM_THE_START,
            it("name").is(UPSTREAM_VOLUME).or(it("projected.sources").every(
                "s",
                Test::Any(vec![
                    item("s").at("serviceAccountToken").absent(),
                    audience().is(AUDIENCE),
                    audience().among(settings("tokenAudiences")),
                ]),
            )),
            "a serviceAccountToken without an audience, or for the API server's, is a credential past the guard: remove it, since \
             clients find the pod's token where they look for it, or name another audience that agents.tokenAudiences of the guard's \
             chart lists",
        ),
    ]
}
