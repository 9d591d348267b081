//! Tokens as an agent, or a thief, would present them: each made and signed for real.

mod accepted;
mod issuer;
mod keys;
mod refused;
