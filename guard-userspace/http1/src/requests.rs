//! The requests of one connection.

use crate::Malformed;
use crate::body::Chunks;
use crate::fields::without_ending;
use crate::head::{Follows, Head};

/// What a head may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes, line endings included.
    pub bytes: usize,
    /// Headers.
    pub fields: usize,
}

/// Reads a client's bytes. A head is held until it is complete and well-formed; a body passes as it comes.
#[derive(Debug)]
pub struct Requests {
    limits: Limits,
    state: State,
    heads: u64,
}

#[derive(Debug)]
enum State {
    Head(Held),
    Body {
        left: u64,
    },
    Chunks(Chunks),
    /// An upgrade was asked for: what follows is no HTTP.
    Raw,
    /// What came was malformed, and so nothing that follows has a meaning.
    Broken {
        malformed: Malformed,
        in_body: bool,
    },
}

/// A head so far.
#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    /// How many of them are lines that were read.
    read: usize,
    head: Head,
}

impl Requests {
    /// At the beginning of a connection.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::Head(Held::default()), heads: 0 }
    }

    /// How many heads have passed.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether a body is being read, or was when what came was malformed. Its head has passed.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Body { .. } | State::Chunks(_) | State::Broken { in_body: true, .. })
    }

    /// Bytes of a head that are held because it is not complete.
    pub fn held(&self) -> usize {
        if let State::Head(held) = &self.state { held.bytes.len() } else { 0 }
    }

    /// How many of the first of `bytes` pass as they are: those of a body, or of another protocol. The rest is for
    /// [`Requests::feed`].
    ///
    /// # Errors
    /// A malformed chunk: none of `bytes` pass.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let passed = match &mut self.state {
            State::Head(_) => 0,
            State::Body { left } => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= here as u64;
                here
            }
            State::Chunks(chunks) => match chunks.pass(bytes) {
                Ok(passed) => passed,
                Err(malformed) => return Err(self.broken(malformed)),
            },
            State::Raw => bytes.len(),
            State::Broken { malformed, .. } => return Err(*malformed),
        };
        let over = match &self.state {
            State::Body { left } => *left == 0,
            State::Chunks(chunks) => chunks.are_over(),
            State::Head(_) | State::Raw | State::Broken { .. } => false,
        };
        if over {
            self.state = State::Head(Held::default());
        }
        Ok(passed)
    }

    /// Reads `bytes` and puts into `passed` what may go on.
    ///
    /// # Errors
    /// What is malformed. `passed` has whatever came before that head, or before the piece of a body that it is in; from here on
    /// there is nothing but this error.
    pub fn feed(&mut self, mut bytes: &[u8], passed: &mut Vec<u8>) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            let here = self.pass(bytes)?;
            passed.extend_from_slice(&bytes[..here]);
            bytes = &bytes[here..];
            if let State::Head(held) = &mut self.state {
                let (taken, follows) = match held.take(bytes, self.limits) {
                    Ok(taken) => taken,
                    Err(malformed) => return Err(self.broken(malformed)),
                };
                bytes = &bytes[taken..];
                if let Some(follows) = follows {
                    passed.append(&mut held.bytes);
                    self.heads += 1;
                    self.state = State::behind(follows);
                }
            }
        }
        Ok(())
    }

    fn broken(&mut self, malformed: Malformed) -> Malformed {
        self.state = State::Broken { malformed, in_body: self.is_in_body() };
        malformed
    }
}

impl State {
    fn behind(follows: Follows) -> Self {
        match follows {
            Follows::Length(0) => Self::Head(Held::default()),
            Follows::Length(left) => Self::Body { left },
            Follows::Chunks => Self::Chunks(Chunks::new()),
            Follows::Upgrade => Self::Raw,
        }
    }
}

impl Held {
    /// Takes bytes as far as the head goes; returns how many, and what follows if it is complete. Each line is read once.
    fn take(&mut self, bytes: &[u8], limits: Limits) -> Result<(usize, Option<Follows>), Malformed> {
        let mut taken = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            self.hold(&bytes[taken..=end], limits)?;
            taken = end + 1;
            let line = without_ending(&self.bytes[self.read..])?;
            let follows = self.head.line(line, limits.fields)?;
            self.read = self.bytes.len();
            if follows.is_some() {
                return Ok((taken, follows));
            }
        }
        self.hold(&bytes[taken..], limits)?;
        Ok((bytes.len(), None))
    }

    fn hold(&mut self, bytes: &[u8], limits: Limits) -> Result<(), Malformed> {
        if self.bytes.len() + bytes.len() > limits.bytes {
            return Err(Malformed::TooLarge);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}
