//! Keeps the cluster's authorities: in one Secret, with the certificates to trust published beside it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use arc_swap::ArcSwapOption;
use guard_certificates::{Authorities, Change, Lifetimes};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::lease::is_conflict;
use super::names::{CA_FILE, CONFIG_MAP, ROTATE_ANNOTATION, SECRET, SECRET_KEY, SIGNER, TRUST_BUNDLE};

const MANAGER: &str = "egress-guard-control";

/// How often the Secret is looked at, at most and at least.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Versions of `ClusterTrustBundle`, the best first.
const TRUST_BUNDLE_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// See the module.
pub(super) struct Custody {
    client: Client,
    namespace: String,
    pub(super) lifetimes: Lifetimes,
    /// Those that were read last.
    pub(super) current: ArcSwapOption<Authorities>,
}

impl Custody {
    pub(super) fn new(client: Client, namespace: &str, lifetimes: Lifetimes) -> Arc<Self> {
        Arc::new(Self { client, namespace: namespace.to_owned(), lifetimes, current: ArcSwapOption::empty() })
    }

    /// Between two looks: rotation takes no step later than by a fraction of the overlap.
    pub(super) fn interval(&self) -> Duration {
        (self.lifetimes.overlap / 10).clamp(LOOK.0, LOOK.1)
    }

    /// What a replica that does not lead does: it takes over what the leader has written.
    pub(super) async fn follow(&self) -> Result<()> {
        if let Some(secret) = self.secrets().get_opt(SECRET).await.context("reading the Secret of the authorities")? {
            self.current.store(Some(Arc::new(read(&secret)?)));
        }
        Ok(())
    }

    /// What the leader does: makes the first authority, publishes what is to be trusted, and takes the next step of a rotation.
    ///
    /// A Secret that can't be understood is left as it is: whoever trusts what was in it would trust nobody otherwise.
    pub(super) async fn lead(&self) -> Result<()> {
        let Some(mut secret) = self.secrets().get_opt(SECRET).await.context("reading the Secret of the authorities")?
        else {
            return self.create().await;
        };
        let mut authorities = read(&secret)?;
        // Before any step: what is announced has been published when its time runs.
        self.publish(&authorities).await?;
        let annotations = secret.metadata.annotations.as_ref();
        let demanded = annotations.is_some_and(|annotations| annotations.contains_key(ROTATE_ANNOTATION));
        let change = authorities.advance(SystemTime::now(), &self.lifetimes, demanded).context("rotating")?;
        let taken_off = demanded && authorities.is_rotating();
        if change.is_some() || taken_off {
            if let (true, Some(annotations)) = (taken_off, &mut secret.metadata.annotations) {
                annotations.remove(ROTATE_ANNOTATION);
            }
            secret.data = Some(data(&authorities));
            // With the resourceVersion that was read: two leaders take no two steps.
            match self.secrets().replace(SECRET, &PostParams::default(), &secret).await {
                Ok(_) => {}
                Err(error) if is_conflict(&error) => return Ok(()),
                Err(error) => return Err(error).context("writing the Secret of the authorities"),
            }
            match change {
                Some(Change::Announced) => tracing::info!("a new authority is announced, and signs after the overlap"),
                Some(Change::Promoted) => tracing::info!("the new authority signs; the key of the former one is gone"),
                Some(Change::Retired) => tracing::info!("a former authority is trusted no more"),
                None => {}
            }
            self.publish(&authorities).await?;
        }
        self.current.store(Some(Arc::new(authorities)));
        Ok(())
    }

    async fn create(&self) -> Result<()> {
        let authorities = Authorities::new(SystemTime::now(), &self.lifetimes).context("making the first authority")?;
        let secret = Secret {
            metadata: ObjectMeta { name: Some(SECRET.to_owned()), ..ObjectMeta::default() },
            data: Some(data(&authorities)),
            ..Secret::default()
        };
        match self.secrets().create(&PostParams::default(), &secret).await {
            Ok(_) => tracing::info!("the first authority of this cluster is made"),
            // Another replica was faster: the next look finds its work.
            Err(error) if is_conflict(&error) => return Ok(()),
            Err(error) => return Err(error).context("creating the Secret of the authorities"),
        }
        self.publish(&authorities).await?;
        self.current.store(Some(Arc::new(authorities)));
        Ok(())
    }

    /// The `ConfigMap` always; the `ClusterTrustBundle` where the cluster has them.
    async fn publish(&self, authorities: &Authorities) -> Result<()> {
        let bundle = authorities.bundle();
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let known = maps.get_opt(CONFIG_MAP).await.context("reading the ConfigMap of the authority's certificate")?;
        if known.and_then(|map| map.data).and_then(|mut data| data.remove(CA_FILE)).as_ref() != Some(&bundle) {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP}, "data": {CA_FILE: bundle}});
            maps.patch(CONFIG_MAP, &PatchParams::apply(MANAGER).force(), &Patch::Apply(map))
                .await
                .context("writing the ConfigMap of the authority's certificate")?;
        }
        let Some(kind) = self.trust_bundles().await.context("looking for ClusterTrustBundles")? else { return Ok(()) };
        let bundles: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
        let known = bundles.get_opt(TRUST_BUNDLE).await.context("reading the ClusterTrustBundle")?;
        if known.is_none_or(|known| known.data["spec"]["trustBundle"] != json!(bundle)) {
            let object = json!({
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "metadata": {"name": TRUST_BUNDLE},
                "spec": {"signerName": SIGNER, "trustBundle": bundle},
            });
            bundles
                .patch(TRUST_BUNDLE, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object))
                .await
                .context("writing the ClusterTrustBundle")?;
        }
        Ok(())
    }

    async fn trust_bundles(&self) -> Result<Option<ApiResource>> {
        for version in TRUST_BUNDLE_VERSIONS {
            let resources = match self.client.list_api_group_resources(&format!("certificates.k8s.io/{version}")).await
            {
                Ok(resources) => resources.resources,
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error) => return Err(error).context("asking for the resources of certificates.k8s.io"),
            };
            if resources.iter().any(|resource| resource.name == "clustertrustbundles") {
                let kind = GroupVersionKind::gvk("certificates.k8s.io", version, "ClusterTrustBundle");
                return Ok(Some(ApiResource::from_gvk_with_plural(&kind, "clustertrustbundles")));
            }
        }
        Ok(None)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

fn read(secret: &Secret) -> Result<Authorities> {
    let data = secret.data.as_ref().and_then(|data| data.get(SECRET_KEY));
    let data = data.with_context(|| format!("the Secret {SECRET} has no {SECRET_KEY}; delete it to begin anew"))?;
    Authorities::from_json(&data.0).with_context(|| {
        format!("{SECRET_KEY} of the Secret {SECRET} can't be understood; restore it, or delete it to begin anew")
    })
}

fn data(authorities: &Authorities) -> std::collections::BTreeMap<String, ByteString> {
    [(SECRET_KEY.to_owned(), ByteString(authorities.to_json().to_vec()))].into()
}
