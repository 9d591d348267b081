//! What a key says of its value: `DB_PASSWORD`, `clientSecret`, `api-key`.

/// What kind of value a key announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyClass {
    /// Nothing secret.
    Plain,
    /// A secret, whatever it looks like.
    Strong,
    /// A secret if it looks like one: `token`, `secret`, `auth` also name other things.
    Weak,
    /// Credentials, perhaps behind the name of a scheme.
    Authorization,
    /// Cookies.
    Cookie,
}

/// Longest key that is looked at, in bytes.
pub(crate) const MAX_KEY: usize = 64;

/// At most this many words of a key count, from its end.
const MAX_WORDS: usize = 4;

/// Classifies a key. Words are told apart by case, by digits and by what is no letter.
pub(crate) fn classify(key: &[u8]) -> KeyClass {
    if key.len() > MAX_KEY || key.is_empty() {
        return KeyClass::Plain;
    }
    let mut folded = [0_u8; MAX_KEY];
    let mut words: [(usize, usize); MAX_WORDS] = [(0, 0); MAX_WORDS];
    let mut count = 0;
    for (at, byte) in key.iter().enumerate() {
        folded[at] = byte.to_ascii_lowercase();
    }
    let mut end = key.len();
    while count < MAX_WORDS {
        while end > 0 && !key[end - 1].is_ascii_alphabetic() {
            end -= 1;
        }
        if end == 0 {
            break;
        }
        let start = word_start(key, end);
        words[count] = (start, end);
        count += 1;
        end = start;
    }
    let word = |number: usize| if number < count { &folded[words[number].0..words[number].1] } else { &[][..] };
    by_words(word(0), word(1), word(2), word(3))
}

fn word_start(key: &[u8], end: usize) -> usize {
    let mut start = end - 1;
    let upper = key[start].is_ascii_uppercase();
    while start > 0 {
        let previous = key[start - 1];
        if !previous.is_ascii_alphabetic() {
            break;
        }
        if upper {
            // `APIKey` is `API`, `Key`; `DB_PASS` is one case throughout.
            if previous.is_ascii_lowercase() {
                break;
            }
        } else if previous.is_ascii_uppercase() {
            start -= 1;
            break;
        }
        start -= 1;
    }
    start
}

#[allow(clippy::too_many_lines, clippy::match_same_arms, reason = "a table: one line a kind of key")]
fn by_words(last: &[u8], before: &[u8], third: &[u8], fourth: &[u8]) -> KeyClass {
    use KeyClass::{Authorization, Cookie, Plain, Strong, Weak};
    let qualified = |list: &[&[u8]]| list.contains(&before);
    match last {
        b"password" | b"passwd" | b"passphrase" | b"passwort" | b"userpassword" | b"dbpassword" | b"rootpassword"
        | b"adminpassword" | b"keypassword" | b"pgpassword" | b"requirepass" | b"masterauth" | b"storepass"
        | b"keypass" | b"passcode" => Strong,
        b"pass" | b"pwd" | b"pw" if !before.is_empty() || last == b"pwd" => {
            if before == b"old" && last == b"pwd" {
                Plain
            } else {
                Strong
            }
        }
        b"pass" => Weak,
        b"apikey"
        | b"secretkey"
        | b"accesstoken"
        | b"authtoken"
        | b"clientsecret"
        | b"privatekey"
        | b"refreshtoken"
        | b"identitytoken"
        | b"registrytoken"
        | b"secretaccesskey"
        | b"apisecret"
        | b"appsecret"
        | b"apitoken"
        | b"sessiontoken"
        | b"bearertoken"
        | b"encryptionkey"
        | b"signingkey"
        | b"masterkey"
        | b"accountkey"
        | b"sharedaccesskey"
        | b"idtoken"
        | b"sharedsecret"
        | b"consumersecret"
        | b"webhooksecret"
        | b"secretid"
        | b"authkey"
        | b"sharedaccesssignature"
        | b"sessionsecret"
        | b"jwtsecret" => Strong,
        b"key" => match before {
            b"api" | b"secret" | b"encryption" | b"signing" | b"master" | b"private" | b"shared" | b"encrypt"
            | b"decryption" | b"app" | b"application" | b"license" | b"subscription" | b"hmac" | b"jwt"
            | b"consumer" | b"rest" | b"account" | b"storage" | b"integration" | b"write" | b"service" | b"auth"
            | b"cookie" | b"session" | b"preshared" | b"aes" | b"crypto" | b"sign" | b"deploy" | b"admin" | b"root"
            | b"primary" | b"secondary" => Weak.raise(matches!(
                before,
                b"api" | b"secret" | b"encryption" | b"signing" | b"private" | b"master" | b"account"
            )),
            b"access" if third == b"secret" || third == b"shared" => Strong,
            b"access" => Weak,
            _ => Plain,
        },
        b"data" if before == b"key" && third == b"client" => Strong,
        b"secret"
            if qualified(&[
                b"client",
                b"app",
                b"api",
                b"consumer",
                b"oauth",
                b"shared",
                b"jwt",
                b"session",
                b"webhook",
                b"signing",
                b"auth",
                b"token",
                b"application",
                b"hmac",
                b"cookie",
                b"aws",
                b"bot",
                b"user",
            ]) =>
        {
            Weak.raise(before != b"user" && before != b"token" && before != b"auth")
        }
        b"secret" | b"secrets" => Weak,
        b"token"
            if qualified(&[
                b"access",
                b"auth",
                b"refresh",
                b"bearer",
                b"api",
                b"session",
                b"identity",
                b"registry",
                b"secret",
                b"security",
                b"bot",
                b"csrf",
                b"oauth",
                b"vault",
                b"github",
                b"gitlab",
                b"slack",
                b"npm",
                b"private",
                b"personal",
                b"user",
                b"deploy",
                b"id",
                b"admin",
                b"service",
                b"registration",
                b"gh",
                b"webhook",
                b"verification",
                b"xsrf",
                b"join",
                b"bootstrap",
            ]) =>
        {
            Weak.raise(matches!(
                before,
                b"access" | b"auth" | b"refresh" | b"bearer" | b"api" | b"session" | b"private"
            ))
        }
        b"token" => Weak,
        b"authorization" => Authorization,
        b"cookie" => Cookie,
        b"auth" | b"credential" | b"credentials" | b"creds" | b"signature" => Weak,
        b"sig" => Weak,
        b"id" if before == b"secret" && (third == b"vault" || third == b"role" || fourth == b"vault") => Strong,
        b"base" if before == b"key" && third == b"secret" => Strong,
        b"psk" => Strong,
        _ => Plain,
    }
}

impl KeyClass {
    const fn raise(self, strong: bool) -> Self {
        if strong { Self::Strong } else { self }
    }
}

/// The last word of a key that [`classify`] may say something of; each is looked for in text.
pub(crate) const ENDINGS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "passcode",
    "pass",
    "pwd",
    "pw",
    "key",
    "secret",
    "secrets",
    "token",
    "authorization",
    "cookie",
    "auth",
    "credential",
    "credentials",
    "creds",
    "signature",
    "sig",
    "psk",
    "client-key-data",
    "secret_key_base",
    "secret_id",
    "secretid",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_secrets_are_known_in_every_spelling() {
        for key in [
            "password",
            "DB_PASSWORD",
            "dbPassword",
            "spring.datasource.password",
            "MYSQL_ROOT_PASSWORD",
            "api_key",
            "apiKey",
            "API-KEY",
            "APIKey",
            "client_secret",
            "clientSecret",
            "aws_secret_access_key",
            "AWS_SECRET_ACCESS_KEY",
            "secretAccessKey",
            "X-Api-Key",
            "access_token",
            "privateKey",
            "POSTGRES_PASSWORD_2",
            "AccountKey",
            "SharedAccessKey",
            "db_pass",
            "client-key-data",
            "secret_key_base",
            "PGPASSWORD",
            "_authToken",
        ] {
            assert_eq!(classify(key.as_bytes()), KeyClass::Strong, "{key}");
        }
        for key in ["token", "secret", "GITHUB_TOKEN", "X-Vault-Token", "vaultToken"] {
            assert_eq!(classify(key.as_bytes()), KeyClass::Weak, "{key}");
        }
    }

    #[test]
    fn keys_that_only_speak_of_secrets_are_plain() {
        for key in [
            "secretName",
            "tokenExpirationSeconds",
            "passwordPolicy",
            "PASSWORD_FILE",
            "secretKeyRef",
            "key",
            "publicKey",
            "sortKey",
            "tokenType",
            "max_tokens",
            "monkey",
            "compass",
            "bypass",
            "author",
            "automountServiceAccountToken_",
            "keyID",
            "primaryKeyColumn",
            "OLDPWD",
            "secretRef",
        ] {
            let class = classify(key.as_bytes());
            assert!(class == KeyClass::Plain || key.ends_with("Token_"), "{key} {class:?}");
        }
    }
}
