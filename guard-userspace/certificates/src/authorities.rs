//! The cluster's authority and its rotation: what is kept of it, and what is due.
//!
//! ```text
//! signing ── half of its life is over, or somebody asks ──▶ announced: the next one is in the bundle beside it
//!         ── every node and pod has had time to see that ──▶ promoted: the next one signs, the key of the old one is gone
//!         ── the last leaf of the old one has expired ──▶ retired: the old one leaves the bundle
//! ```
//! A client that read `ca.crt` once, at its start, never hears of the next one. So the old one signs the next one's certificate, and every
//! leaf comes with that: such a client goes on until the authority that it knows expires, half of an authority's life at least.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::leaf::Facts;
use crate::{Authority, AuthorityError, Request};

/// Former authorities that a chain leads back to, at most: a chain has an end, and clients have limits.
const MAX_INTERMEDIATES: usize = 4;

/// How much longer than its leaves an authority stays in the bundle: clocks differ.
const MARGIN: Duration = Duration::from_mins(5);

/// How long things take and last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of an authority; at half of it the next one is announced.
    pub authority: Duration,
    /// Of a leaf.
    pub leaf: Duration,
    /// Between the announcement of an authority and its first signature.
    pub overlap: Duration,
}

/// What was due and has been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The next authority is in the bundle.
    Announced,
    /// The next authority signs.
    Promoted,
    /// A former authority has left the bundle.
    Retired,
}

/// The authority that signs, those before it, and the next one.
#[derive(Debug)]
pub struct Authorities {
    signing: Authority,
    next: Option<Next>,
    former: Vec<Former>,
    /// The signing authority's certificate by the one before it, that one's by the one before, and so on. PEM.
    intermediates: Vec<String>,
}

#[derive(Debug)]
struct Next {
    authority: Authority,
    announced: SystemTime,
    /// Its certificate by the signing one, PEM.
    by_signing: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Former {
    certificate: String,
    /// Seconds since 1970: when its last leaf has expired.
    until: u64,
}

/// How it is kept. Secret.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kept {
    signing: KeptAuthority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<KeptNext>,
    #[serde(default)]
    former: Vec<Former>,
    #[serde(default)]
    intermediates: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptAuthority {
    certificate: String,
    key: Zeroizing<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeptNext {
    authority: KeptAuthority,
    /// Seconds since 1970.
    announced: u64,
    by_signing: String,
}

impl Authorities {
    /// The first authority of a cluster.
    pub fn new(now: SystemTime, lifetimes: &Lifetimes) -> Result<Self, AuthorityError> {
        let signing = authority(now, lifetimes)?;
        Ok(Self { signing, next: None, former: Vec::new(), intermediates: Vec::new() })
    }

    /// What [`Self::to_json`] wrote.
    pub fn from_json(text: &[u8]) -> Result<Self, AuthorityError> {
        // serde_json's error quotes what it met, which may be a key.
        let kept: Kept = serde_json::from_slice(text)
            .map_err(|error| AuthorityError::Kept(format!("line {}, column {}", error.line(), error.column())))?;
        let next = kept.next.map(|next| {
            Ok::<_, AuthorityError>(Next {
                authority: next.authority.read()?,
                announced: time(next.announced),
                by_signing: next.by_signing,
            })
        });
        Ok(Self {
            signing: kept.signing.read()?,
            next: next.transpose()?,
            former: kept.former,
            intermediates: kept.intermediates,
        })
    }

    /// All of it, keys included, to be kept where nobody else reads it.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let kept = Kept {
            signing: KeptAuthority::of(&self.signing),
            next: self.next.as_ref().map(|next| KeptNext {
                authority: KeptAuthority::of(&next.authority),
                announced: seconds(next.announced),
                by_signing: next.by_signing.clone(),
            }),
            former: self.former.clone(),
            intermediates: self.intermediates.clone(),
        };
        Zeroizing::new(serde_json::to_vec(&kept).expect("strings and numbers are JSON"))
    }

    /// Does the next thing that is due; `None` if nothing is. `demanded`: somebody wants another authority, whatever the age of this one.
    pub fn advance(
        &mut self,
        now: SystemTime,
        lifetimes: &Lifetimes,
        demanded: bool,
    ) -> Result<Option<Change>, AuthorityError> {
        if let Some(next) = self.next.take_if(|next| next.announced + lifetimes.overlap <= now) {
            self.promote(next, now, lifetimes);
            return Ok(Some(Change::Promoted));
        }
        if self.next.is_none() && (demanded || self.is_old(now, lifetimes)) {
            let authority = authority(now, lifetimes)?;
            let by_signing = self.signing.cross_sign(&authority, now)?;
            self.next = Some(Next { authority, announced: now, by_signing });
            return Ok(Some(Change::Announced));
        }
        let before = self.former.len();
        self.former.retain(|former| seconds(now) < former.until);
        self.intermediates.retain(|pem| Facts::from_pem(pem.as_bytes()).is_ok_and(|facts| now <= facts.not_after));
        Ok((self.former.len() < before).then_some(Change::Retired))
    }

    fn promote(&mut self, next: Next, now: SystemTime, lifetimes: &Lifetimes) {
        let until = seconds(now + lifetimes.leaf + MARGIN.min(lifetimes.leaf));
        self.former.push(Former { certificate: self.signing.certificate_pem(), until });
        self.intermediates.insert(0, next.by_signing);
        self.intermediates.truncate(MAX_INTERMEDIATES);
        self.signing = next.authority;
    }

    /// Whoever reads the bundle now and never again shall have half of a life left, whenever that is.
    fn is_old(&self, now: SystemTime, lifetimes: &Lifetimes) -> bool {
        self.signing.not_after() < now + lifetimes.authority / 2
    }

    /// Whether the next authority is announced, and does not sign yet.
    pub fn is_rotating(&self) -> bool {
        self.next.is_some()
    }

    /// What clients have to trust now, PEM.
    pub fn bundle(&self) -> String {
        let next = self.next.iter().map(|next| next.authority.certificate_pem());
        let former = self.former.iter().map(|former| former.certificate.clone());
        std::iter::once(self.signing.certificate_pem()).chain(next).chain(former).collect()
    }

    /// Until when the authority that signs is valid.
    pub fn not_after(&self) -> SystemTime {
        self.signing.not_after()
    }

    /// A leaf for a request whose names were judged, with the chain behind it. PEM.
    pub fn sign(&self, request: &Request, lifetimes: &Lifetimes) -> Result<String, AuthorityError> {
        let leaf = self.signing.sign_request(request, lifetimes.leaf)?;
        Ok(std::iter::once(&leaf).chain(&self.intermediates).map(String::as_str).collect())
    }
}

impl KeptAuthority {
    fn of(authority: &Authority) -> Self {
        Self { certificate: authority.certificate_pem(), key: authority.key_pem() }
    }

    fn read(&self) -> Result<Authority, AuthorityError> {
        Authority::from_pem(&self.certificate, &self.key)
    }
}

/// Clients find an authority by its name, so each has its own.
fn authority(now: SystemTime, lifetimes: &Lifetimes) -> Result<Authority, AuthorityError> {
    let nanoseconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    Authority::new(&format!("egress-guard authority {nanoseconds:x}"), now, lifetimes.authority)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}
