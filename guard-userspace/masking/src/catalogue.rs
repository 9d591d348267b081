//! What is looked for: the detectors, by name, with the source of each format.

mod chat;
mod cloud;
mod data;
mod models;
mod source;

/// A token format: prefixes, and the forms of what follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    /// Name of the detector.
    pub(crate) id: &'static str,
    /// Whose token it is, and which.
    pub(crate) about: &'static str,
    /// It begins with one of these.
    pub(crate) prefixes: &'static [&'static str],
    /// One of these follows; the longest that fits counts. The subset of regular expressions that `shape` knows.
    pub(crate) tails: &'static [&'static str],
    /// Where the provider documents it.
    pub(crate) source: &'static str,
    /// What stands before the prefix.
    pub(crate) before: Before,
    /// The prefix says little: what follows must look random.
    pub(crate) random: bool,
}

/// What must stand before a token's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// The beginning of a word.
    Boundary,
    /// This, which is not hidden: it names, it doesn't open.
    Public(&'static str),
    /// This, which is part of the token.
    Token(&'static str),
}

const fn token(
    id: &'static str,
    about: &'static str,
    prefixes: &'static [&'static str],
    tails: &'static [&'static str],
    source: &'static str,
) -> Token {
    Token { id, about, prefixes, tails, source, before: Before::Boundary, random: false }
}

impl Token {
    const fn after(self, form: &'static str) -> Self {
        Self { before: Before::Public(form), ..self }
    }

    const fn inside(self, form: &'static str) -> Self {
        Self { before: Before::Token(form), ..self }
    }

    const fn random(self) -> Self {
        Self { random: true, ..self }
    }
}

/// One detector, as `guard mask --list` and the reports name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detector {
    /// Its name: `[a-z0-9-]`, at most 40 bytes.
    pub id: &'static str,
    /// What it finds.
    pub about: &'static str,
    /// What the format is read from.
    pub source: &'static str,
    /// Whether it is on when nothing is said.
    pub default: bool,
}

/// Index of a detector in [`detectors`]; one past the last and on: the policy's own.
pub(crate) type Id = u16;

macro_rules! general {
    ($($name:ident = $id:literal, $about:literal, $source:literal, $default:literal;)*) => {
        /// Detectors that are no token format, in the order of their constants.
        const GENERAL: &[Detector] = &[$(Detector { id: $id, about: $about, source: $source, default: $default }),*];
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "names of constants")]
        enum Order { $($name),* }
        $(pub(crate) const $name: Id = Order::$name as Id;)*
    };
}

general! {
    PRIVATE_KEY = "private-key", "Private key in PEM: PKCS #1, PKCS #8, SEC 1, DSA, OpenSSH, encrypted or not", "RFC 7468, RFC 1421, openssh PROTOCOL.key", true;
    PGP_PRIVATE_KEY = "pgp-private-key", "OpenPGP private key block", "RFC 9580, 6.2", true;
    PUTTY_PRIVATE_KEY = "putty-private-key", "PuTTY private key file", "PuTTY manual, appendix C", true;
    JWT = "json-web-token", "JSON Web Token, signed or encrypted", "RFC 7519, RFC 7515, RFC 7516", true;
    KUBERNETES_TOKEN = "kubernetes-service-account-token", "ServiceAccount token of Kubernetes", "kubernetes.io: ServiceAccount tokens", true;
    SECRET_DATA = "secret-data", "Value in `data` or `stringData` of a Secret, whatever it is", "kubernetes.io: Secrets", true;
    KEY_VALUE = "key-value", "Value whose key says that it is secret: password, api_key, client_secret and their like", "this project's docs/masking.md", true;
    AUTHORIZATION = "authorization-header", "Credentials of an Authorization header", "RFC 9110, 11.6", true;
    COOKIE = "cookie", "Value of a Cookie or Set-Cookie header", "RFC 6265", true;
    URL_PASSWORD = "url-password", "Password in a URL", "RFC 3986, 3.2.1", true;
    URL_TOKEN = "url-token", "Token in the place of a URL's user", "RFC 3986, 3.2.1", true;
    DSN_PASSWORD = "dsn-password", "Password in a driver's data source name, such as `user:pass@tcp(host)/db`", "go-sql-driver/mysql: DSN; Oracle: JDBC thin URL", true;
    DOCKER_CONFIG = "docker-config-auth", "Registry credentials in a docker configuration", "docs.docker.com: docker login, credential storage", true;
    HELD_TOO_LONG = "unbounded", "Something that may be a secret and has no end within the holding limit", "this project's docs/masking.md", true;
    FIELD = "field", "Field that the policy names", "policy", true;
    EMAIL = "email-address", "E-mail address", "RFC 5321, 4.1.2", false;
    CARD = "payment-card-number", "Payment card number, checked by Luhn's digit", "ISO/IEC 7812-1", false;
    IP = "ip-address", "IPv4 address", "RFC 791", false;
}

/// All token formats.
pub(crate) fn tokens() -> impl Iterator<Item = &'static Token> {
    [cloud::TOKENS, source::TOKENS, chat::TOKENS, models::TOKENS, data::TOKENS].into_iter().flatten()
}

/// Number of the first token format among the detectors.
pub(crate) const FIRST_TOKEN: usize = GENERAL.len();

/// The catalogue: every detector that is built in.
pub fn detectors() -> Vec<Detector> {
    let tokens =
        tokens().map(|token| Detector { id: token.id, about: token.about, source: token.source, default: true });
    GENERAL.iter().cloned().chain(tokens).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn there_are_120_token_formats_and_more_each_with_its_source() {
        assert!(tokens().count() >= 120, "{}", tokens().count());
        assert!(detectors().iter().all(|detector| !detector.source.is_empty() && !detector.about.is_empty()));
    }

    #[test]
    fn every_detector_has_a_name_of_its_own_that_placeholders_can_hold() {
        let mut seen = HashSet::new();
        for Detector { id, .. } in detectors() {
            assert!(seen.insert(id), "{id} twice");
            assert!(
                id.len() <= 40
                    && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
                "{id}"
            );
        }
    }
}
