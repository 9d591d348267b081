//! One of the replicas leads: it holds a `Lease` that it renews, and no longer leads when it could not.
//!
//! As client-go does it: no clock is compared with another machine's. A holder is gone when its lease has not changed for its duration by the
//! clock of whoever looks.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

use super::names::LEASE;

/// How long a lease is good for that nobody renews.
const DURATION: Duration = Duration::from_secs(15);

/// A leader that could not renew for so long stops, before another one may begin.
const DEADLINE: Duration = Duration::from_secs(10);

/// Between two looks.
const RETRY: Duration = Duration::from_secs(2);

/// Longest call.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One replica's part in the election.
pub(super) struct Election {
    leases: Api<Lease>,
    identity: String,
    /// What was seen last, and when it was seen to change.
    seen: Option<(Option<LeaseSpec>, Instant)>,
    renewed: Option<Instant>,
}

impl Election {
    /// `identity` is unique among the replicas.
    pub(super) fn new(client: Client, namespace: &str, identity: String) -> Self {
        Self { leases: Api::namespaced(client, namespace), identity, seen: None, renewed: None }
    }

    /// Tells whether this replica leads, until dropped.
    pub(super) async fn run(mut self, leads: &watch::Sender<bool>) {
        loop {
            let tried = tokio::time::timeout(TIMEOUT, self.attempt()).await;
            match tried {
                Ok(Ok(true)) => self.renewed = Some(Instant::now()),
                Ok(Ok(false)) => self.renewed = None,
                Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "the lease can't be held or looked at"),
                Err(_) => tracing::warn!("the API server did not answer about the lease"),
            }
            let leading = self.renewed.is_some_and(|at| at.elapsed() < DEADLINE);
            if leads.send_if_modified(|leads| std::mem::replace(leads, leading) != leading) {
                tracing::info!(leading, identity = self.identity, "leader election");
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Lets go of the lease, so that the next one need not wait.
    pub(super) async fn release(client: Client, namespace: &str, identity: &str) -> Result<()> {
        let leases: Api<Lease> = Api::namespaced(client, namespace);
        let mut lease = leases.get(LEASE).await.context("reading the lease")?;
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        if holder == Some(identity) {
            lease.spec.get_or_insert_default().holder_identity = Some(String::new());
            leases.replace(LEASE, &PostParams::default(), &lease).await.context("giving the lease back")?;
        }
        Ok(())
    }

    /// Whether this replica holds the lease now.
    async fn attempt(&mut self) -> Result<bool> {
        let Some(mut lease) = self.leases.get_opt(LEASE).await.context("reading the lease")? else {
            let spec = self.taken(None);
            let metadata = ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(spec) };
            return match self.leases.create(&PostParams::default(), &lease).await {
                Ok(_) => Ok(true),
                Err(error) if is_conflict(&error) => Ok(false),
                Err(error) => Err(error).context("creating the lease"),
            };
        };
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != lease.spec) {
            self.seen = Some((lease.spec.clone(), Instant::now()));
        }
        if !self.may_take(lease.spec.as_ref(), Instant::now()) {
            return Ok(false);
        }
        lease.spec = Some(self.taken(lease.spec.as_ref()));
        // With the resourceVersion that was read: of two, one alone succeeds.
        match self.leases.replace(LEASE, &PostParams::default(), &lease).await {
            Ok(_) => Ok(true),
            Err(error) if is_conflict(&error) => Ok(false),
            Err(error) => Err(error).context("writing the lease"),
        }
    }

    /// It is this replica's, or nobody's, or its holder has been silent for too long.
    fn may_take(&self, spec: Option<&LeaseSpec>, now: Instant) -> bool {
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            return true;
        }
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(DURATION, Duration::from_secs).min(2 * DURATION);
        self.seen.as_ref().is_some_and(|(_, since)| now.duration_since(*since) > duration)
    }

    fn taken(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = || Some(MicroTime(Timestamp::now()));
        let own = before.filter(|spec| spec.holder_identity.as_ref() == Some(&self.identity));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: own.map_or_else(now, |spec| spec.acquire_time.clone()),
            renew_time: now(),
            lease_transitions: Some(if own.is_some() { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        }
    }
}

pub(super) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn election() -> Election {
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        Election::new(client, "egress-guard", "one".to_owned())
    }

    fn held_by(holder: &str) -> LeaseSpec {
        LeaseSpec { holder_identity: Some(holder.to_owned()), lease_duration_seconds: Some(15), ..LeaseSpec::default() }
    }

    #[tokio::test]
    async fn a_lease_is_taken_from_nobody_from_oneself_and_from_who_is_silent() {
        let mut election = election();
        let now = Instant::now();
        let other = held_by("other");
        assert!(election.may_take(None, now) && election.may_take(Some(&held_by("")), now));
        assert!(election.may_take(Some(&held_by("one")), now));
        assert!(!election.may_take(Some(&other), now), "it was only just seen");
        election.seen = Some((Some(other.clone()), now));
        assert!(!election.may_take(Some(&other), now + DURATION));
        assert!(election.may_take(Some(&other), now + DURATION + RETRY));
    }

    #[tokio::test]
    async fn a_holder_that_names_an_endless_lease_is_not_waited_for_without_end() {
        let mut election = election();
        let endless = LeaseSpec { lease_duration_seconds: Some(i32::MAX), ..held_by("other") };
        election.seen = Some((Some(endless.clone()), Instant::now()));
        assert!(election.may_take(Some(&endless), Instant::now() + 3 * DURATION));
    }

    #[tokio::test]
    async fn a_change_of_hands_is_counted() {
        let election = election();
        let taken = election.taken(Some(&LeaseSpec { lease_transitions: Some(4), ..held_by("other") }));
        assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("one"), Some(5)));
        let renewed = election.taken(Some(&taken));
        assert_eq!((renewed.acquire_time, renewed.lease_transitions), (taken.acquire_time, Some(5)));
    }
}
