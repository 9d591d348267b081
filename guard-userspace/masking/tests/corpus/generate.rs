//! Values of a format, made up.
//!
//! A template is text with `{class:count}` in it, such as `ghp_{alnum:36}`. Each run makes the same values: the generator is seeded.

/// A small generator of numbers (xorshift64*), so that the corpus is the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }

    fn pick(&mut self, alphabet: &str, count: usize) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        (0..count).map(|_| letters[self.below(letters.len())]).collect()
    }

    /// A value of the template.
    pub(crate) fn fill(&mut self, template: &str) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (part, after) = after.split_once('}').expect("a template closes what it opens");
            let (class, count) = part.split_once(':').unwrap_or((part, "1"));
            out.push_str(&self.class(class, count.parse().expect("a count")));
            rest = after;
        }
        out + rest
    }

    /// As [`Self::fill`], but braces that hold no class stay.
    pub(crate) fn fill_text(&mut self, template: &str) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let part = after.split_once('}').map(|(part, after)| (part.split_once(':').unwrap_or((part, "1")), after));
            match part {
                Some(((class, count), after))
                    if count.parse::<usize>().is_ok() && class.chars().all(char::is_alphanumeric) =>
                {
                    out.push_str(&self.class(class, count.parse().expect("it was parsed")));
                    rest = after;
                }
                _ => {
                    out.push('{');
                    rest = after;
                }
            }
        }
        out + rest
    }

    fn class(&mut self, class: &str, count: usize) -> String {
        const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
        const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        const DIGITS: &str = "0123456789";
        let alphabet = match class {
            "alnum" => format!("{LOWER}{UPPER}{DIGITS}"),
            "url" => format!("{LOWER}{UPPER}{DIGITS}-_"),
            "b64" => format!("{LOWER}{UPPER}{DIGITS}+/"),
            "low" => format!("{LOWER}{DIGITS}"),
            "up" => format!("{UPPER}{DIGITS}"),
            "b32" => format!("{UPPER}234567"),
            "hex" => "0123456789abcdef".to_owned(),
            "HEX" => "0123456789ABCDEF".to_owned(),
            "digit" => DIGITS.to_owned(),
            "bech32" => "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L".to_owned(),
            "uuid" => {
                let parts = [8, 4, 4, 4, 12].map(|count| self.pick("0123456789abcdef", count));
                return parts.join("-");
            }
            "jwt" => return self.jwt("{\"sub\":\"1234567890\",\"iat\":1516239022}"),
            "sa" => return self.jwt("{\"iss\":\"https://kubernetes.default.svc\",\"kubernetes.io\":{\"namespace\":\"shop\"},\"sub\":\"system:serviceaccount:shop:web\"}"),
            "pem" => return self.pem(count),
            other => panic!("no class is called {other}"),
        };
        // A token's last character is a letter or digit where a sentence could end with it.
        let mut text = self.pick(&alphabet, count);
        if class == "url" && text.ends_with(['-', '_']) {
            text.pop();
            text.push('x');
        }
        text
    }

    fn jwt(&mut self, payload: &str) -> String {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let header = URL_SAFE_NO_PAD.encode("{\"alg\":\"RS256\",\"typ\":\"JWT\"}");
        format!("{header}.{}.{}", URL_SAFE_NO_PAD.encode(payload), self.class("url", 86))
    }

    fn pem(&mut self, lines: usize) -> String {
        (0..lines).map(|_| self.class("b64", 64)).collect::<Vec<_>>().join("\n")
    }
}
