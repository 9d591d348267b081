//! Findings in a piece of decoded text.
//!
//! Everything that could be a finding begins with a trigger: a literal (see [`crate::engine`]) or a run of base64. A verdict looks at
//! the text from the trigger on, at most the holding limit far, and a little before it. It is *open* while more text could change
//! it; otherwise it stands, whatever follows. So text may be cut anywhere before the first open candidate, and what is found
//! does not depend on where.

mod assignment;

mod base64_run;
mod pem;
mod plain;
mod token;
mod url;

pub(crate) use assignment::secret_value;

use crate::catalogue::{self, Id};
use crate::encoded;
use crate::engine::{Engine, Lead, Trigger, trigram};
use crate::placeholder::Style;

/// A finding in this text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) what: What,
}

/// What is to stand there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The placeholder of the found bytes.
    Value(Id, Style),
    /// An encoded text in which something was found.
    Encoded { ids: Vec<Id>, with: Vec<u8> },
    /// The beginning of something without end: what follows, up to what is needed, goes with it.
    Endless(Need),
}

/// What an open candidate waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Anything but letters and digits.
    Delimiter,
    /// These bytes.
    Text(&'static [u8]),
    /// The end of the line.
    Line,
}

/// One verdict.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    No,
    Found(Found),
    /// From here on nothing may leave.
    Open(usize, Need),
}

impl Verdict {
    pub(crate) const fn value(start: usize, end: usize, id: Id, style: Style) -> Self {
        Self::Found(Found { start, end, what: What::Value(id, style) })
    }
}

/// How deep encodings are looked into: base64 in JSON in base64 …
pub(crate) const MAX_DEPTH: u8 = 6;

/// A piece of text, and where in it findings may lie.
pub(crate) struct Scan<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) text: &'a [u8],
    /// Findings lie from here on; what is before is context.
    pub(crate) from: usize,
    /// Triggers before this one lack context.
    pub(crate) floor: usize,
    /// Nothing follows the text.
    pub(crate) last: bool,
    /// The text is one value, so that nothing of it has left.
    pub(crate) whole: bool,
    /// How far a candidate may reach.
    pub(crate) limit: usize,
    pub(crate) depth: u8,
}

/// What a scan gives.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// In order, none overlapping.
    pub(crate) found: Vec<Found>,
    /// The first open candidate.
    pub(crate) open: Option<(usize, Need)>,
}

impl<'a> Scan<'a> {
    /// A value that is there from its first byte to its last.
    pub(crate) fn of_value(engine: &'a Engine, text: &'a [u8], depth: u8) -> Self {
        Self { engine, text, from: 0, floor: 0, last: true, whole: true, limit: usize::MAX, depth }
    }

    pub(crate) fn run(&self) -> Outcome {
        let mut outcome = Outcome::default();
        self.triggers(&mut outcome);
        self.base64_runs(&mut outcome);
        if !self.engine.policy.custom.is_empty() || self.engine.has_plain_classes() {
            self.lines(&mut outcome);
        }
        if !self.last {
            self.open_end(&mut outcome);
        }
        if outcome.found.len() > 1 {
            resolve(&mut outcome.found);
        }
        outcome
    }

    fn triggers(&self, outcome: &mut Outcome) {
        let text = self.text;
        let mut at = self.floor;
        // Four bytes are read at once: the fourth is not looked at.
        while let Some([a, b, c, _]) = text[at..].first_chunk::<4>() {
            let folded = trigram([*a, *b, *c]);
            if self.engine.may_trigger(folded) {
                self.judge(at, folded, outcome);
            }
            at += 1;
        }
        if let Some([a, b, c]) = text[at..].first_chunk::<3>() {
            let folded = trigram([*a, *b, *c]);
            if self.engine.may_trigger(folded) {
                self.judge(at, folded, outcome);
            }
        }
    }

    #[cold]
    fn judge(&self, at: usize, folded: u32, outcome: &mut Outcome) {
        for trigger in self.engine.triggers_of(folded) {
            if literal_at(self.text, at, trigger) {
                let verdict = |view: &[u8], last: bool| match trigger.lead {
                    Lead::Token(number) => self.token(view, last, at, trigger.literal.len(), number),
                    Lead::Key => self.assignment(view, last, at, trigger.literal.len()),
                    Lead::Url => self.url(view, last, at, trigger.literal.len()),
                    Lead::Pem => self.pem(view, last, at),
                    Lead::Putty => Self::putty(view, last, at),
                    Lead::Jwt => self.jwt(view, last, at),
                    Lead::Dsn => Self::dsn(view, last, at, &trigger.literal),
                    Lead::Scheme => Self::scheme(view, last, at, trigger.literal.len()),
                };
                self.conclude(at, verdict, outcome);
            }
        }
    }

    /// Takes a verdict over what the limit lets it see.
    fn conclude(&self, at: usize, verdict: impl Fn(&[u8], bool) -> Verdict, outcome: &mut Outcome) {
        let end = self.text.len().min(at.saturating_add(self.limit));
        let cut = end < self.text.len();
        match verdict(&self.text[..end], self.last && !cut) {
            Verdict::No => {}
            Verdict::Found(found) => self.add(found, outcome),
            Verdict::Open(start, need) if cut => self.add(Found { start, end, what: What::Endless(need) }, outcome),
            Verdict::Open(start, need) => outcome.hold(start.max(self.from), need),
        }
    }

    fn add(&self, mut found: Found, outcome: &mut Outcome) {
        found.start = found.start.max(self.from);
        if found.start < found.end {
            outcome.found.push(found);
        }
    }

    fn base64_runs(&self, outcome: &mut Outcome) {
        const LEAST: usize = base64_run::LEAST;
        let text = self.text;
        let mut at = self.from + LEAST - 1;
        while at < text.len() {
            if !encoded::is_base64(text[at]) {
                at += LEAST;
                continue;
            }
            // A run that began before is decided.
            let Some(start) = self.run_start(at) else {
                at += text[at..].iter().position(|byte| !encoded::is_base64(*byte)).unwrap_or(text.len() - at);
                at += LEAST;
                continue;
            };
            let end = at + text[at..].iter().position(|byte| !encoded::is_base64(*byte)).unwrap_or(text.len() - at);
            if end - start >= LEAST && encoded::may_be_text(&text[start..end]) {
                self.conclude(start, |view, last| self.base64_run(view, last, start), outcome);
            }
            at = end + LEAST;
        }
    }

    /// Where the run around `at` begins, if not before the text that is looked at. Marks that join words don't begin one.
    fn run_start(&self, at: usize) -> Option<usize> {
        let mut start = at;
        while start > 0 && encoded::is_base64(self.text[start - 1]) {
            start -= 1;
            if start < self.from {
                return None;
            }
        }
        Some(base64_run::skip_marks(self.text, start))
    }

    /// What may still become a trigger, or a value whose trigger comes after it.
    fn open_end(&self, outcome: &mut Outcome) {
        let text = self.text;
        let end = text.len();
        for at in end.saturating_sub(self.engine.longest_trigger()).max(self.from)..end {
            let open = |trigger: &Trigger| {
                trigger.lead.holds() && trigger.literal.len() > end - at && literal_begins(trigger, &text[at..])
            };
            // Where a word goes on, only triggers that stand inside words count.
            let inside = !token::is_boundary(text, at, false);
            if self
                .engine
                .triggers
                .iter()
                .any(|trigger| open(trigger) && self.engine.may_stand(trigger, text, at, inside))
            {
                outcome.hold(at, Need::Delimiter);
                break;
            }
        }
        let run = text.iter().rev().take_while(|byte| token::in_run(**byte)).take(token::LONGEST_RUN).count();
        if run > token::HELD_FROM && run < token::LONGEST_RUN && self.engine.has_inside_tokens() {
            outcome.hold((end - run + token::HELD_FROM).max(self.from), Need::Delimiter);
        }
        let run = text[self.from..].iter().rev().take_while(|byte| encoded::is_base64(**byte)).count();
        if run > 0 {
            let began_before = run == end - self.from && self.from > 0 && encoded::is_base64(text[self.from - 1]);
            let start = base64_run::skip_marks(text, end - run);
            if !began_before && start < end && end - start < self.limit && encoded::may_be_text(&text[start..]) {
                outcome.hold(start, Need::Delimiter);
            }
        }
        if let Some(start) = url::open_dsn(text) {
            outcome.hold(start.max(self.from), Need::Delimiter);
        }
    }
}

impl Outcome {
    fn hold(&mut self, start: usize, need: Need) {
        if self.open.is_none_or(|(first, _)| start < first) {
            self.open = Some((start, need));
        }
    }
}

/// Orders findings and cuts what overlaps: of two that begin together the longer stays, of others the first, and what is beyond
/// it of the second.
fn resolve(found: &mut Vec<Found>) {
    found.sort_by(|a, b| a.start.cmp(&b.start).then(b.end.cmp(&a.end)).then(rank(&a.what).cmp(&rank(&b.what))));
    let mut end = 0;
    found.retain_mut(|found| {
        found.start = found.start.max(end);
        let kept = found.start < found.end;
        end = end.max(found.end);
        kept
    });
}

/// The more specific detector gives the name.
fn rank(what: &What) -> u8 {
    match what {
        What::Value(id, _) if usize::from(*id) >= catalogue::FIRST_TOKEN => 0,
        What::Value(catalogue::KEY_VALUE | catalogue::URL_TOKEN, _) => 2,
        What::Encoded { .. } => 3,
        _ => 1,
    }
}

fn literal_at(text: &[u8], at: usize, trigger: &Trigger) -> bool {
    text.get(at..at + trigger.literal.len()).is_some_and(|here| {
        if trigger.fold { here.eq_ignore_ascii_case(&trigger.literal) } else { here == trigger.literal }
    })
}

fn literal_begins(trigger: &Trigger, text: &[u8]) -> bool {
    let beginning = &trigger.literal[..text.len()];
    if trigger.fold { text.eq_ignore_ascii_case(beginning) } else { text == beginning }
}
