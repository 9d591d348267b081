//! The detectors of a policy, compiled: shared by all streams of one scope.

use crate::catalogue::{self, Before, FIRST_TOKEN, Id};
use crate::keys;
use crate::placeholder::{ScopeKey, Style};
use crate::policy::{Policy, PolicyError};
use crate::shape::Shape;

/// What a trigger leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lead {
    /// The prefix of a token: its number among the tokens.
    Token(u16),
    /// The end of a key that may announce a secret.
    Key,
    /// `://`, plain, with escaped slashes or in percent-encoding.
    Url,
    /// `-----BEGIN `.
    Pem,
    /// `PuTTY-User-Key-File-`.
    Putty,
    /// `eyJ`.
    Jwt,
    /// `@tcp(` and its like; `:thin:`.
    Dsn,
    /// `Bearer ` or `Basic ` without a header.
    Scheme,
}

impl Lead {
    /// Whether what is found begins with the trigger itself, so that a part of it must be held.
    pub(crate) const fn holds(self) -> bool {
        matches!(self, Self::Token(_) | Self::Pem | Self::Putty | Self::Jwt)
    }
}

/// A literal that is looked for in all text.
#[derive(Debug)]
pub(crate) struct Trigger {
    pub(crate) literal: Vec<u8>,
    pub(crate) fold: bool,
    pub(crate) lead: Lead,
}

/// A compiled token format.
pub(crate) struct CompiledToken {
    pub(crate) id: Id,
    pub(crate) prefixes: &'static [&'static str],
    pub(crate) tails: Vec<Shape>,
    pub(crate) before: CompiledBefore,
    pub(crate) random: bool,
    /// A short prefix counts only at the beginning of a word in which `-` and `_` are letters.
    pub(crate) strict: bool,
}

/// [`Before`], compiled.
pub(crate) enum CompiledBefore {
    Boundary,
    Public(Shape),
    Token(Shape),
}

/// Everything that scanning needs and that does not change. Cheap to share, made once per scope and policy.
pub struct Engine {
    key: ScopeKey,
    names: Vec<String>,
    enabled: Vec<bool>,
    pub(crate) tokens: Vec<CompiledToken>,
    pub(crate) triggers: Vec<Trigger>,
    index: Index,
    longest_trigger: usize,
    inside_tokens: bool,
    pub(crate) policy: Policy,
}

/// Finds triggers by their first three bytes, case folded, so that its cost does not grow with their number.
struct Index {
    /// One bit for each hash of three bytes.
    bits: Box<[u64; 1024]>,
    /// Hash to the first of its triggers in `lists`.
    heads: Vec<u16>,
    /// Triggers of one hash, ended by [`END`].
    lists: Vec<u16>,
}

const END: u16 = u16::MAX;

/// Values of [`hash`].
const HASHES: usize = 1 << 16;

fn hash(folded: u32) -> usize {
    (folded.wrapping_mul(0x9E37_79B1) >> 16) as usize
}

/// Three bytes as a number, letters folded; some other bytes are folded too, which only costs a comparison.
pub(crate) fn trigram(bytes: [u8; 3]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]) | 0x0020_2020
}

impl Index {
    fn new(triggers: &[Trigger]) -> Self {
        let mut by_hash: Vec<Vec<u16>> = vec![Vec::new(); HASHES];
        for (number, trigger) in triggers.iter().enumerate() {
            let number = u16::try_from(number).expect("a few hundred triggers");
            let [a, b, c, ..] = trigger.literal[..] else { unreachable!("triggers have three bytes") };
            by_hash[hash(trigram([a, b, c]))].push(number);
        }
        let mut index = Self { bits: Box::new([0; 1024]), heads: vec![0; HASHES], lists: Vec::new() };
        for (hash, list) in by_hash.into_iter().enumerate().filter(|(_, list)| !list.is_empty()) {
            index.bits[hash / 64] |= 1 << (hash % 64);
            index.heads[hash] = u16::try_from(index.lists.len()).expect("a few thousand entries");
            index.lists.extend(list);
            index.lists.push(END);
        }
        index
    }
}

impl Engine {
    /// Compiles a policy's detectors for one scope.
    pub fn new(key: ScopeKey, policy: Policy) -> Result<Self, PolicyError> {
        let detectors = catalogue::detectors();
        let mut names: Vec<String> = detectors.iter().map(|detector| detector.id.to_owned()).collect();
        let mut enabled: Vec<bool> = detectors.iter().map(|detector| policy.enables(detector)).collect();
        for custom in &policy.custom {
            names.push(custom.name.clone());
            enabled.push(true);
        }
        let (mut tokens, mut triggers) = (Vec::new(), Vec::new());
        for (number, token) in catalogue::tokens().enumerate() {
            if !enabled[FIRST_TOKEN + number] {
                continue;
            }
            let lead = Lead::Token(u16::try_from(tokens.len()).expect("a few hundred tokens"));
            let shortest = token.prefixes.iter().map(|prefix| prefix.len()).min().unwrap_or(0);
            let literals = token.prefixes.iter().flat_map(|prefix| lengthened(prefix, token.tails));
            triggers.extend(literals.map(|literal| Trigger { literal, fold: false, lead }));
            tokens.push(CompiledToken {
                id: id(FIRST_TOKEN + number),
                prefixes: token.prefixes,
                tails: token.tails.iter().map(|tail| Shape::compile(tail)).collect(),
                before: match token.before {
                    Before::Boundary => CompiledBefore::Boundary,
                    Before::Public(form) => CompiledBefore::Public(Shape::compile(form)),
                    Before::Token(form) => CompiledBefore::Token(Shape::compile(form)),
                },
                random: token.random,
                strict: shortest <= 4,
            });
        }
        triggers.extend(general(&enabled));
        // A prefix may be the beginning of another: the index finds both.
        let index = Index::new(&triggers);
        let longest_trigger = triggers.iter().map(|trigger| trigger.literal.len()).max().unwrap_or(0);
        let inside_tokens = tokens.iter().any(|token| matches!(token.before, CompiledBefore::Token(_)));
        Ok(Self { key, names, enabled, tokens, triggers, index, longest_trigger, inside_tokens, policy })
    }

    /// A detector's name.
    pub fn name(&self, id: u16) -> &str {
        &self.names[usize::from(id)]
    }

    pub(crate) fn is_on(&self, id: Id) -> bool {
        self.enabled[usize::from(id)]
    }

    /// Bytes of the longest trigger.
    pub(crate) const fn longest_trigger(&self) -> usize {
        self.longest_trigger
    }

    /// Whether tokens are looked for whose mark stands inside.
    pub(crate) const fn has_inside_tokens(&self) -> bool {
        self.inside_tokens
    }

    /// Whether classes are on that are looked for line by line.
    pub(crate) fn has_plain_classes(&self) -> bool {
        [catalogue::EMAIL, catalogue::CARD, catalogue::IP].into_iter().any(|id| self.is_on(id))
    }

    /// Whether a trigger may begin at `at`; `inside`: that is in the middle of a word.
    pub(crate) fn may_stand(&self, trigger: &Trigger, text: &[u8], at: usize, inside: bool) -> bool {
        match trigger.lead {
            Lead::Token(number) => match &self.tokens[usize::from(number)].before {
                CompiledBefore::Boundary => !inside,
                CompiledBefore::Public(form) | CompiledBefore::Token(form) => form.fit_before(text, at).is_some(),
            },
            _ => !inside,
        }
    }

    /// Number of the policy's own detector.
    pub(crate) fn custom_id(&self, number: usize) -> Id {
        id(self.names.len() - self.policy.custom.len() + number)
    }

    pub(crate) fn placeholder(&self, detector: Id, value: &[u8], style: Style, out: &mut Vec<u8>) {
        self.key.write(self.name(detector), value, style, out);
    }

    /// Whether triggers with these first bytes exist; most text ends here.
    #[inline]
    pub(crate) fn may_trigger(&self, folded: u32) -> bool {
        let hash = hash(folded);
        self.index.bits[hash / 64] >> (hash % 64) & 1 == 1
    }

    /// The triggers that may begin with these bytes.
    pub(crate) fn triggers_of(&self, folded: u32) -> impl Iterator<Item = &Trigger> {
        let head = usize::from(self.index.heads[hash(folded)]);
        self.index.lists[head..]
            .iter()
            .take_while(|number| **number != END)
            .map(|number| &self.triggers[usize::from(*number)])
    }
}

fn id(number: usize) -> Id {
    Id::try_from(number).expect("a few hundred detectors")
}

/// Prefixes that are shorter than an entry of the index, each with every character that may follow.
fn lengthened(prefix: &str, tails: &[&str]) -> Vec<Vec<u8>> {
    let mut literals = vec![prefix.as_bytes().to_vec()];
    while literals[0].len() < 3 {
        let at = literals[0].len() - prefix.len();
        let following: Vec<u8> =
            (b' '..=b'~').filter(|byte| tails.iter().any(|tail| Shape::compile(tail).may_have(at, *byte))).collect();
        literals = literals
            .iter()
            .flat_map(|literal| following.iter().map(|byte| [literal.as_slice(), &[*byte]].concat()))
            .collect();
    }
    literals
}

fn general(enabled: &[bool]) -> Vec<Trigger> {
    let on = |id: Id| enabled[usize::from(id)];
    let mut list: Vec<(&str, bool, Lead)> = Vec::new();
    if on(catalogue::PRIVATE_KEY) || on(catalogue::PGP_PRIVATE_KEY) {
        list.extend([("-----BEGIN ", false, Lead::Pem), ("---- BEGIN SSH2 ENCRYPTED", false, Lead::Pem)]);
    }
    if on(catalogue::PUTTY_PRIVATE_KEY) {
        list.push(("PuTTY-User-Key-File-", false, Lead::Putty));
    }
    if on(catalogue::JWT) || on(catalogue::KUBERNETES_TOKEN) {
        list.push(("eyJ", false, Lead::Jwt));
    }
    if on(catalogue::URL_PASSWORD) || on(catalogue::URL_TOKEN) {
        list.extend([("://", false, Lead::Url), (":\\/\\/", false, Lead::Url), ("%3A%2F%2F", true, Lead::Url)]);
    }
    if on(catalogue::DSN_PASSWORD) {
        list.extend(["@tcp(", "@unix(", "@tcp6(", "@cloudsql("].map(|literal| (literal, false, Lead::Dsn)));
        list.push((":thin:", true, Lead::Dsn));
    }
    if on(catalogue::AUTHORIZATION) {
        list.extend([("bearer ", true, Lead::Scheme), ("basic ", true, Lead::Scheme)]);
    }
    if on(catalogue::KEY_VALUE) || on(catalogue::AUTHORIZATION) || on(catalogue::COOKIE) {
        list.extend(keys::ENDINGS.iter().filter(|ending| ending.len() > 2).map(|ending| (*ending, true, Lead::Key)));
    }
    list.into_iter().map(|(literal, fold, lead)| Trigger { literal: literal.as_bytes().to_vec(), fold, lead }).collect()
}
