//! One statement: its key, its value, and what of it is hidden.

use std::ops::Range;

use super::YamlMasker;
use super::level::{Kind, Level, Role, Waiting};
use crate::catalogue::{FIELD, SECRET_DATA};
use crate::engine::Engine;
use crate::json::strings;
use crate::keys::{self, KeyClass};
use crate::placeholder::Style;
use crate::value::{self, Edit};

/// A line, taken apart. Columns are from its beginning.
struct Line {
    /// Column of the first dash, if it is an element of a sequence.
    dash: Option<usize>,
    /// Column of the key, or of the scalar if there is none.
    content: usize,
    key: Option<Range<usize>>,
    /// Where the value begins; at the line's end if there is none.
    value: usize,
}

/// The column that following lines must exceed to go on with this statement; `None`: it is complete.
pub(super) fn continued_beyond(line: &[u8]) -> Option<usize> {
    let parts = parse(line)?;
    let value = line[parts.value..].trim_ascii();
    let scalar = !value.is_empty() && !value.starts_with(b"#");
    match (&parts.key, parts.dash) {
        (Some(_), _) => scalar.then_some(parts.content),
        (None, Some(dash)) => scalar.then_some(dash),
        // A scalar alone; what it continues is unknown.
        (None, None) => None,
    }
}

fn parse(line: &[u8]) -> Option<Line> {
    let mut at = line.iter().take_while(|byte| **byte == b' ').count();
    if matches!(line.get(at), None | Some(b'#' | b'\n' | b'\r' | b'%'))
        || line.starts_with(b"---")
        || line.starts_with(b"...")
    {
        return None;
    }
    let mut dash = None;
    while line.get(at) == Some(&b'-') && matches!(line.get(at + 1), Some(b' ' | b'\n' | b'\r')) {
        dash = dash.or(Some(at));
        at += 1 + line[at + 1..].iter().take_while(|byte| **byte == b' ').count();
    }
    let key = key(line, at);
    let value = key.as_ref().map_or(at, |(_, colon)| {
        let after = colon + 1;
        after + line[after..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
    });
    Some(Line { dash, content: at, key: key.map(|(key, _)| key), value })
}

/// The key at `at` and the column of its colon.
fn key(line: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let ends = |colon: usize| matches!(line.get(colon + 1), None | Some(b' ' | b'\n' | b'\r' | b'\t'));
    if let Some(quote @ (b'"' | b'\'')) = line.get(at) {
        let len = line[at + 1..].iter().position(|byte| byte == quote)?;
        let colon = at + len + 2;
        return (line.get(colon) == Some(&b':') && ends(colon)).then_some((at + 1..at + 1 + len, colon));
    }
    if matches!(line.get(at)?, b'{' | b'[' | b'|' | b'>' | b'&' | b'*' | b'!') {
        return None;
    }
    let colon = memchr::memchr_iter(b':', &line[at..]).map(|colon| at + colon).find(|colon| ends(*colon))?;
    let quoted = memchr::memchr2(b'"', b'\'', &line[at..colon]).is_some();
    (!quoted && colon > at).then_some((at..colon, colon))
}

impl YamlMasker {
    /// Judges the statement that lies in `range`.
    pub(super) fn take(&mut self, engine: &Engine, range: Range<usize>) {
        let bytes = &self.held.bytes[range.clone()];
        let first = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
        let Some(line) = parse(&bytes[..first]) else {
            if bytes.starts_with(b"---") || bytes.starts_with(b"...") {
                self.close(engine, 0);
            }
            let edits = value::edits(engine, &self.held.bytes[range.clone()], self.depth + 1);
            return self.change(range.start, edits, "");
        };
        let key = line.key.clone().map(|key| bytes[key].to_vec());
        self.enter(engine, &line, key.is_some());
        let bytes = &self.held.bytes[range.clone()];
        let whole = bytes.trim_ascii_end();
        let value = range.start + line.value..range.start + whole.len().max(line.value);
        let Some(key) = key else {
            let class = self.levels.last().map_or(KeyClass::Plain, |level| keys::classify(&level.key));
            let role = self.levels.last().map_or(Role::Plain, |level| level.role);
            let path = self.levels.last().map(|level| {
                format!("{}.{}[{}]", level.path, String::from_utf8_lossy(&level.key), level.elements.saturating_sub(1))
            });
            return self.scalar(engine, value, class, b"", role, &path.unwrap_or_default());
        };
        let level = self.levels.last_mut().expect("a level was entered");
        level.key.clone_from(&key);
        level.elements = 0;
        let (role, path) = (level.role, format!("{}.{}", level.path, String::from_utf8_lossy(&key)));
        let text = plain(&self.held.bytes[value.clone()]).to_vec();
        self.note(&key, &text);
        if value.is_empty() {
            return;
        }
        let level = self.levels.last_mut().expect("a level was entered");
        let class = if key == b"value" { level.name.unwrap_or(KeyClass::Plain) } else { keys::classify(&key) };
        let owner = matches!(&key[..], b"data" | b"stringData")
            && role == Role::Plain
            && text.starts_with(b"{")
            && text != b"{}";
        if owner {
            // A flow mapping: all of it goes.
            level.wait(Waiting { range: value.clone(), base64: false, path: format!("{path}{{}}") });
        }
        self.scalar(engine, value, class, &key, role, &path);
    }

    /// Finds or opens the level of a line.
    fn enter(&mut self, engine: &Engine, line: &Line, has_key: bool) {
        if let Some(dash) = line.dash {
            self.close(engine, dash + 1);
            if let Some(level) = self.levels.last_mut() {
                level.elements += 1;
            }
        } else {
            self.close(engine, line.content + 1);
        }
        if !has_key || self.levels.last().is_some_and(|level| level.indent == line.content) {
            return;
        }
        let mut new = Level::new(line.content, String::new(), Role::Plain);
        if let Some(parent) = self.levels.last() {
            let key = String::from_utf8_lossy(&parent.key);
            new.path = if line.dash.is_some() {
                format!("{}.{key}[{}]", parent.path, parent.elements.saturating_sub(1))
            } else {
                format!("{}.{key}", parent.path)
            };
            let base64 = parent.key == b"data";
            new.role = match parent.role {
                Role::Plain if line.dash.is_none() && (base64 || parent.key == b"stringData") => match parent.kind {
                    Kind::Secret => Role::SecretData { base64 },
                    Kind::Unknown => Role::Perhaps { base64 },
                    _ => Role::Plain,
                },
                role => role,
            };
            if line.dash.is_some() && parent.key == b"items" && parent.kind == Kind::SecretList {
                new.kind = Kind::Secret;
            }
        }
        self.levels.push(new);
    }

    /// Closes the levels whose keys stand at `column` or behind it.
    fn close(&mut self, engine: &Engine, column: usize) {
        while self.levels.last().is_some_and(|level| level.indent >= column) {
            self.settle(engine, self.levels.len() - 1, false);
            self.levels.pop();
        }
    }

    /// Learns from keys that tell what their mapping is.
    fn note(&mut self, key: &[u8], text: &[u8]) {
        let level = self.levels.last_mut().expect("a level was entered");
        match key {
            b"kind" if level.kind != Kind::Secret || text == b"Secret" => {
                level.kind = match text {
                    b"Secret" => Kind::Secret,
                    b"SecretList" => Kind::SecretList,
                    _ => Kind::Other,
                };
            }
            b"type" => level.secret_type = strings::is_secret_type(text),
            b"name" | b"key" => level.name = Some(keys::classify(text)),
            _ => {}
        }
    }

    fn scalar(&mut self, engine: &Engine, value: Range<usize>, class: KeyClass, key: &[u8], role: Role, path: &str) {
        let raw = &self.held.bytes[value.clone()];
        if raw.is_empty() || raw.starts_with(b"#") {
            return;
        }
        let hidden = !engine.policy.fields.is_empty() && engine.policy.hides(path.as_bytes());
        match role {
            Role::SecretData { base64 } if engine.is_on(SECRET_DATA) => {
                let edit = strings::secret(engine, content(raw), if base64 { Style::Base64 } else { Style::Free });
                return self.change(value.start, vec![Edit { range: 0..value.len(), ..edit }], path);
            }
            Role::Perhaps { base64 } => {
                let owner = self.levels.iter().rposition(|level| level.role == Role::Plain).unwrap_or(0);
                self.levels[owner].wait(Waiting { range: value.clone(), base64, path: path.to_owned() });
            }
            _ => {}
        }
        let raw = &self.held.bytes[value.clone()];
        let edits = if hidden {
            let edit = value::placeholder(engine, content(raw), 0..content(raw).len(), FIELD, Style::Free);
            vec![Edit { range: 0..raw.len(), ..edit }]
        } else {
            judge(engine, raw, class, key, self.depth + 1)
        };
        self.change(value.start, edits, path);
    }

    fn change(&mut self, start: usize, edits: Vec<Edit>, path: &str) {
        for mut edit in edits {
            edit.range = edit.range.start + start..edit.range.end + start;
            self.held.change(edit, (!path.is_empty()).then(|| path.to_owned()));
        }
    }

    /// A mapping ends, or must be decided. `unknown`: taken for a Secret if nothing says what it is.
    pub(super) fn settle(&mut self, engine: &Engine, number: usize, unknown: bool) {
        let level = &mut self.levels[number];
        let is_secret = match level.kind {
            Kind::Secret => true,
            Kind::Unknown => unknown || level.secret_type,
            _ => false,
        };
        let waiting = level.let_go();
        if !is_secret || waiting.is_empty() || !engine.is_on(SECRET_DATA) {
            return;
        }
        if unknown {
            level.kind = Kind::Secret;
        }
        for Waiting { range, base64, path } in waiting {
            let raw = &self.held.bytes[range.clone()];
            let flow = path.ends_with("{}");
            let edit = strings::secret(engine, content(raw), if base64 { Style::Base64 } else { Style::Free });
            let with = if flow { b"{}".to_vec() } else { edit.with };
            self.held.change(Edit { range, with, ids: edit.ids }, Some(path));
        }
    }
}

/// What of a scalar is hidden. Ranges are into `raw`.
fn judge(engine: &Engine, raw: &[u8], class: KeyClass, key: &[u8], depth: u8) -> Vec<Edit> {
    match raw[0] {
        b'"' => {
            let inside = &raw[1..raw.len() - usize::from(raw.len() > 1 && raw.ends_with(b"\""))];
            let mut text = Vec::new();
            strings::unescape(inside, &mut text);
            let mut edits = strings::judge(engine, &text, class, key, false, depth);
            strings::to_source(inside, &mut edits);
            shifted(edits, 1)
        }
        b'\'' => {
            let inside = &raw[1..raw.len() - usize::from(raw.len() > 1 && raw.ends_with(b"'"))];
            shifted(strings::judge(engine, inside, class, key, false, depth), 1)
        }
        b'|' | b'>' => {
            let header = memchr::memchr(b'\n', raw).map_or(raw.len(), |end| end + 1);
            let indent = raw[header..].iter().take_while(|byte| **byte == b' ').count();
            shifted(strings::judge(engine, &raw[header + indent..], class, key, false, depth), header + indent)
        }
        b'{' | b'[' => value::edits(engine, raw, depth),
        _ => strings::judge(engine, plain(raw), class, key, false, depth),
    }
}

fn shifted(mut edits: Vec<Edit>, by: usize) -> Vec<Edit> {
    for edit in &mut edits {
        edit.range = edit.range.start + by..edit.range.end + by;
    }
    edits
}

/// A plain or quoted scalar on one line without its quotes and the comment behind it.
fn plain(raw: &[u8]) -> &[u8] {
    match raw.first() {
        Some(quote @ (b'"' | b'\'')) => {
            raw[1..].iter().position(|byte| byte == quote).map_or(&raw[1..], |end| &raw[1..=end])
        }
        _ => memchr::memmem::find(raw, b" #").map_or(raw, |comment| raw[..comment].trim_ascii_end()),
    }
}

/// What a scalar holds, for its placeholder.
fn content(raw: &[u8]) -> &[u8] {
    match raw.first() {
        Some(b'|' | b'>') => memchr::memchr(b'\n', raw).map_or(&raw[..0], |end| raw[end..].trim_ascii()),
        _ => plain(raw),
    }
}
