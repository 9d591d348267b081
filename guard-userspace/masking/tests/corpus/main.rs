//! How well secrets are told from what only resembles them: a table for each detector and shape, over values that are made up.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod formats;
mod generate;
mod negatives;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use guard_masking::{Engine, Format as Content, Masker, Policy, Report, ScopeKey};

use formats::{FORMATS, Format};
use generate::Random;

/// Values of each format and shape.
const VALUES: u64 = 3;

fn engine() -> Engine {
    Engine::new(ScopeKey::derive(&[1; 32], "corpus"), Policy::default()).unwrap()
}

fn mask(engine: &Engine, content: Content, input: &str) -> String {
    let mut masker = Masker::new(content);
    let (mut out, mut report) = (Vec::new(), Report::default());
    masker.push(engine, input.as_bytes(), &mut out, &mut report).unwrap();
    masker.finish(engine, &mut out, &mut report).unwrap();
    String::from_utf8(out).unwrap()
}

/// Where a value may stand: its name, its format, and the document around it.
type Shape = (&'static str, Content, fn(&str) -> String);

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

const SHAPES: &[Shape] = &[
    ("log line", Content::Text, |value| format!("2026-11-22T03:04:05Z INFO using {value} for upstream\n")),
    ("alone", Content::Text, |value| format!("{value}\n")),
    ("env file", Content::Text, |value| format!("A=1\nexport SETTING={value}\nB=2\n")),
    ("JSON in a log", Content::Text, |value| format!("{{\"level\":\"info\",\"v\":{}}}\n", quoted(value))),
    ("JSON", Content::Json, |value| format!("{{\"kind\":\"ConfigMap\",\"data\":{{\"v\":{}}}}}", quoted(value))),
    ("pretty JSON", Content::Json, |value| {
        format!(
            "{{\n  \"kind\": \"ConfigMap\",\n  \"data\": {{\n    \"v\": {}\n  }}\n}}\n",
            quoted(&format!("x {value} y"))
        )
    }),
    ("JSON in a string", Content::Json, |value| {
        format!("{{\"annotations\":{{\"last\":{}}}}}", quoted(&format!("{{\"v\":{}}}", quoted(value))))
    }),
    ("unicode escapes", Content::Json, |value| {
        let escaped: String =
            value.chars().map(u32::from).fold(String::new(), |text, code| text + &format!("\\u{code:04x}"));
        format!("{{\"v\":\"{escaped}\"}}")
    }),
    ("YAML in a string", Content::Json, |value| {
        format!(
            "{{\"data\":{{\"config.yaml\":{}}},\"kind\":\"ConfigMap\"}}",
            quoted(&format!("a:\n  v: {}\n", quoted(value)))
        )
    }),
    ("YAML", Content::Yaml, |value| format!("apiVersion: v1\ndata:\n  v: {}\nkind: ConfigMap\n", quoted(value))),
    ("YAML block", Content::Yaml, |value| {
        let block = value.lines().fold(String::new(), |text, line| text + "    " + line + "\n");
        format!("apiVersion: v1\ndata:\n  v: |\n{block}  w: x\nkind: ConfigMap\n")
    }),
    ("base64", Content::Text, |value| format!("blob: {}\n", STANDARD.encode(format!("v: {value}\n")))),
    ("base64 + 1", Content::Text, |value| format!("blob: {}\n", STANDARD.encode(format!("xv: {value}\n")))),
    ("base64 + 2", Content::Json, |value| format!("{{\"blob\":\"{}\"}}", STANDARD.encode(format!("xyv: {value}\n")))),
];

#[derive(Default)]
struct Score {
    found: u32,
    missed: Vec<String>,
    left: u32,
    touched: Vec<String>,
}

#[test]
fn true_values_are_found_and_false_ones_left() {
    let engine = engine();
    let mut table: BTreeMap<&str, BTreeMap<&str, Score>> = BTreeMap::new();
    for (number, Format(detector, truth, lies)) in FORMATS.iter().enumerate() {
        for (shape, content, document) in SHAPES {
            let score = table.entry(detector).or_default().entry(shape).or_default();
            for seed in 0..VALUES {
                let mut random = Random::seeded(number as u64 * 100 + seed + 1);
                let value = random.fill(truth);
                let input = document(&value);
                let output = mask(&engine, *content, &input);
                let gone = output != input
                    && !output.contains(&value)
                    && !output.contains(value.lines().max_by_key(|line| line.len()).unwrap_or(&value));
                if gone {
                    score.found += 1;
                } else {
                    score.missed.push(input);
                }
                for lie in *lies {
                    let input = document(&random.fill(lie));
                    if mask(&engine, *content, &input) == input {
                        score.left += 1;
                    } else {
                        score.touched.push(input);
                    }
                }
            }
        }
    }
    for text in negatives::TEXTS {
        for (shape, content, document) in SHAPES {
            let score = table.entry("ordinary text").or_default().entry(shape).or_default();
            for seed in 0..VALUES {
                let input = document(&Random::seeded(seed + 1).fill_text(text));
                let output = mask(&engine, *content, &input);
                if output == input {
                    score.left += 1;
                } else {
                    score.touched.push(format!("{input} -> {output}"));
                }
            }
        }
    }
    let (mut found, mut missed, mut touched) = (0, 0, 0);
    for (detector, shapes) in &table {
        for (shape, score) in shapes {
            found += score.found;
            missed += u32::try_from(score.missed.len()).unwrap();
            touched += u32::try_from(score.touched.len()).unwrap();
            println!(
                "{detector:36} {shape:18} found {} missed {} left {} touched {}",
                score.found,
                score.missed.len(),
                score.left,
                score.touched.len()
            );
            for input in score.missed.iter().take(1) {
                println!("    missed  {input:?}");
            }
            for input in score.touched.iter().take(1) {
                println!("    touched {input:?}");
            }
        }
    }
    let (recall, precision) =
        (f64::from(found) / f64::from(found + missed), f64::from(found) / f64::from(found + touched));
    println!("recall {recall:.4}, precision {precision:.4}: {found} found, {missed} missed, {touched} touched");
    assert!(
        recall >= 0.99 && precision >= 0.97,
        "recall {recall}, precision {precision}: each wrong one is listed above"
    );
}

/// What tells that the value in the place of `§` is secret.
const CONTEXTS: &[&str] = &[
    "DB_PASSWORD=§",
    "export API_KEY=\"§\"",
    "  password: §",
    "password: '§'",
    "{\"password\":\"§\"}",
    "{\\\"clientSecret\\\":\\\"§\\\"}",
    "level=info password=§ user=a",
    "[db]\npassword = §",
    "<password>§</password>",
    "<add key=\"ApiKey\" value=\"§\"/>",
    "--password=§",
    "mysql --password § -h db",
    "Server=db;User Id=sa;Password=§;",
    "host=db user=a password=§ dbname=x",
    "https://user:§@example.com/x",
    "mongodb+srv://user:§@c.example.net/db",
    "redis://:§@cache:6379/0",
    "user:§@tcp(db:3306)/shop",
    "jdbc:oracle:thin:scott/§@//db:1521/x",
    "Authorization: Bearer §",
    "curl -H 'X-Api-Key: §' https://x",
    "aws_secret_access_key = §",
    "client-key-data: §",
    "- name: DB_PASSWORD\n  value: §",
    "  DB_PASSWORD:  §\n  OTHER:  x",
    "machine example.com login me password §",
    "//registry.npmjs.org/:_authToken=§",
    "https://x.example/?a=b&access_token=§&c=d",
    "redirect=%3Faccess_token%3D§%26x%3D1",
    "'api_key' => '§'",
    "AccountKey=§;EndpointSuffix=core.windows.net",
    "spring.datasource.password=§",
    "Set-Cookie: session=§; HttpOnly",
    "Proxy-Authorization: Basic §",
];

#[test]
fn values_are_found_by_what_stands_before_them() {
    let engine = engine();
    let mut missed = Vec::new();
    let mut count = 0_u32;
    for context in CONTEXTS {
        for seed in 0..8 {
            let value = Random::seeded(seed + 1)
                .fill(["{alnum:20}", "{low:9}X7", "{alnum:40}", "{hex:32}"][usize::try_from(seed).unwrap() % 4]);
            let text = context.replace('§', &value);
            for (shape, content, document) in [
                ("text", Content::Text, (|text: &str| format!("{text}\n")) as fn(&str) -> String),
                ("JSON", Content::Json, |text| format!("{{\"message\":{}}}", quoted(text))),
                ("base64", Content::Text, |text| format!("blob: {}\n", STANDARD.encode(text))),
            ] {
                count += 1;
                let input = document(&text);
                let output = mask(&engine, content, &input);
                if output == input || output.contains(&value) {
                    missed.push((shape, input));
                }
            }
        }
    }
    for (shape, input) in &missed {
        println!("missed {shape}: {input:?}");
    }
    assert!(missed.len() * 100 <= usize::try_from(count).unwrap(), "{} of {count} missed, listed above", missed.len());
}
