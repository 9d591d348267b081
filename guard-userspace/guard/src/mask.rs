//! `guard mask`: what an agent would see of standard input.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use guard_masking::{Engine, Format, Masker, Policy, Report, ScopeKey, detectors};
use serde::{Deserialize, Serialize};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// Command line of `guard mask`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What standard input holds: text/plain, application/json, application/yaml; `;stream=watch` and `;as=Table` may follow.
    #[arg(long, default_value = "text/plain")]
    content_type: String,
    /// A GuardPolicy whose `spec.masking` says what is hidden; without one, all detectors that are on by default.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// Write each finding there, one JSON object a line.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Print the catalogue of detectors instead.
    #[arg(long)]
    list: bool,
}

/// What of a GuardPolicy is read here.
#[derive(Deserialize)]
struct Document {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    masking: Masking,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Masking {
    #[serde(default)]
    detectors: Vec<String>,
    #[serde(default)]
    fields: Vec<String>,
    #[serde(default)]
    custom: Vec<Custom>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Custom {
    name: String,
    regex: String,
    #[serde(rename = "match")]
    matches: String,
    no_match: String,
}

/// One line of the report.
#[derive(Serialize)]
struct Line<'a> {
    detector: &'a str,
    start: u64,
    end: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
}

/// Masks standard input to standard output, as it comes. Placeholders are this run's own: their key is made anew.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.list {
        return list(io::stdout().lock());
    }
    let format = Format::of_content_type(&args.content_type)?;
    let policy = args.policy.as_deref().map(read_policy).transpose()?.unwrap_or_default();
    let engine = Engine::new(ScopeKey::derive(&rand::random(), "guard mask"), policy)?;
    let report = args.report.as_deref().map(create).transpose()?;
    mask(&engine, format, io::stdin().lock(), io::stdout().lock(), report)
}

fn list(mut to: impl Write) -> Result<()> {
    for detector in detectors() {
        let state = if detector.default { "on" } else { "off" };
        writeln!(to, "{:40} {state:3} {} ({})", detector.id, detector.about, detector.source)
            .context("writing the catalogue")?;
    }
    Ok(())
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    Ok(BufWriter::new(File::create(path).with_context(|| format!("creating the report {}", path.display()))?))
}

fn read_policy(path: &Path) -> Result<Policy> {
    let text = fs::read_to_string(path).with_context(|| format!("reading the policy {}", path.display()))?;
    policy_of(&text).with_context(|| format!("the policy {}", path.display()))
}

fn policy_of(text: &str) -> Result<Policy> {
    let Document { spec: Spec { masking } } = serde_saphyr::from_str(text)?;
    let mut policy = Policy::default();
    policy.select(&masking.detectors)?;
    for Custom { name, regex, matches, no_match } in masking.custom {
        policy.add_custom(&name, &regex, &matches, &no_match)?;
    }
    for field in masking.fields {
        // The resource is for the proxy, which knows it; here all fields of that path are hidden.
        policy.add_field(field.split_once(':').map_or(&*field, |(_, path)| path));
    }
    Ok(policy)
}

fn mask(
    engine: &Engine,
    format: Format,
    mut from: impl Read,
    mut to: impl Write,
    mut lines: Option<impl Write>,
) -> Result<()> {
    let mut masker = Masker::new(format);
    let mut report = if lines.is_some() { Report::keeping() } else { Report::default() };
    let (mut chunk, mut out) = (vec![0; CHUNK], Vec::new());
    loop {
        let count = match from.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("reading standard input"),
        };
        let fault = match count {
            0 => masker.finish(engine, &mut out, &mut report),
            _ => masker.push(engine, &chunk[..count], &mut out, &mut report),
        };
        // What left before a fault is masked already.
        to.write_all(&out).and_then(|()| to.flush()).context("writing what is masked")?;
        out.clear();
        if let Some(lines) = &mut lines {
            for finding in report.take() {
                let line = Line {
                    detector: &finding.detector,
                    start: finding.range.start,
                    end: finding.range.end,
                    path: finding.path.as_deref(),
                };
                serde_json::to_writer(&mut *lines, &line).context("writing the report")?;
                lines.write_all(b"\n").context("writing the report")?;
            }
            lines.flush().context("writing the report")?;
        }
        fault.context("nothing after this is given out")?;
        if count == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(policy: Policy, format: Format, input: &str) -> (String, String, Result<()>) {
        let engine = Engine::new(ScopeKey::derive(&[1; 32], "test"), policy).unwrap();
        let (mut out, mut lines) = (Vec::new(), Vec::new());
        let end = mask(&engine, format, input.as_bytes(), &mut out, Some(&mut lines));
        (String::from_utf8(out).unwrap(), String::from_utf8(lines).unwrap(), end)
    }

    #[test]
    fn a_secret_is_hidden_and_reported_with_its_field() {
        let input = r#"{"kind":"Secret","data":{"password":"aHVudGVyMg=="}}"#;
        let (out, lines, end) = masked(Policy::default(), Format::Json, input);
        end.unwrap();
        let object: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(object["data"]["password"].as_str().unwrap().starts_with("PGd1YXJkOnNlY3JldC1kYXRhO"), "{out}");
        let line: serde_json::Value = serde_json::from_str(&lines).unwrap();
        assert_eq!((&line["detector"], &line["path"]), (&"secret-data".into(), &".data.password".into()));
        assert_eq!(
            &input[usize::try_from(line["start"].as_u64().unwrap()).unwrap()
                ..usize::try_from(line["end"].as_u64().unwrap()).unwrap()],
            "aHVudGVyMg=="
        );
    }

    #[test]
    fn a_policy_chooses_detectors_and_brings_its_own() {
        let policy = policy_of(concat!(
            "spec:\n  masking:\n    detectors: ['*', '-json-web-token', email-address]\n    fields: ['configmaps:.data.*pin*']\n",
            "    custom:\n    - {name: badge, regex: 'B[0-9]{6}', match: B123456, noMatch: B12}\n",
        ))
        .unwrap();
        let (out, lines, end) =
            masked(policy, Format::Json, r#"{"data":{"the-pin":"1234","a":"B654321 of ann@example.com"}}"#);
        end.unwrap();
        assert!(!out.contains("1234") && !out.contains("B654321") && !out.contains("ann@"), "{out}");
        assert_eq!(lines.lines().count(), 3, "{lines}");
        let wrong = "spec: {masking: {custom: [{name: badge, regex: 'B', match: A, noMatch: C}]}}";
        assert!(policy_of(wrong).unwrap_err().to_string().contains("badge"));
    }

    #[test]
    fn what_is_no_json_stops_before_it_passes() {
        let (out, _, end) =
            masked(Policy::default(), Format::Json, "{\"a\":1}\nghp_Ab3dEf6hIj9lMn2pQr5tUv8xYz1BcD4eFgHi");
        assert!(end.is_err() && !out.contains("ghp_"), "{out}");
    }

    #[test]
    fn the_catalogue_is_printed() {
        let mut out = Vec::new();
        list(&mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().lines().count() > 140);
    }
}
