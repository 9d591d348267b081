//! Strings: their end, their decoding, and what they are judged by.

use std::ops::Range;

use super::JsonMasker;
use super::frame::{Kind, Role, Waiting};
use crate::catalogue::{AUTHORIZATION, DOCKER_CONFIG, FIELD, KEY_VALUE, SECRET_DATA};
use crate::encoded;
use crate::engine::Engine;
use crate::keys::{self, KeyClass};
use crate::placeholder::Style;
use crate::scan::secret_value;
use crate::value::{self, Edit};

/// Whether text begins and ends as an object or an array does.
pub(crate) fn looks_like_json(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    matches!((text.first(), text.last()), (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']'))) && text.len() > 2
}

/// Length of a string up to its quote, and whether it has escapes. `None`: its end is not there yet.
pub(super) fn string_len(text: &[u8]) -> Option<(usize, bool)> {
    // Most strings are short: a loop beats a search.
    for (at, byte) in text.iter().take(24).enumerate() {
        match byte {
            b'"' => return Some((at, false)),
            b'\\' => return escaped_len(text, at),
            _ => {}
        }
    }
    let from = text.len().min(24);
    let at = from + memchr::memchr2(b'"', b'\\', &text[from..])?;
    if text[at] == b'"' { Some((at, false)) } else { escaped_len(text, at) }
}

fn escaped_len(text: &[u8], mut at: usize) -> Option<(usize, bool)> {
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some((at, true));
        }
        at += 2;
    }
}

/// One character of a string's source: its length there, and its bytes.
fn unit(raw: &[u8]) -> (usize, [u8; 4], usize) {
    if raw[0] != b'\\' || raw.len() < 2 {
        return (1, [raw[0], 0, 0, 0], 1);
    }
    let simple = match raw[1] {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 8,
        b'f' => 12,
        b'u' => return unicode(raw),
        other => other,
    };
    (2, [simple, 0, 0, 0], 1)
}

fn unicode(raw: &[u8]) -> (usize, [u8; 4], usize) {
    let code = |at: usize| {
        let digits = raw.get(at..at + 4)?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let Some(first) = code(2) else { return (2, [b'u', 0, 0, 0], 1) };
    let low = if raw.get(6..8) == Some(b"\\u") { code(8) } else { None };
    let (len, code) = match (first, low) {
        (0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) => (12, 0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00)),
        _ => (6, first),
    };
    let mut bytes = [0; 4];
    // A lone surrogate stands for nothing.
    let text = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut bytes).len();
    (len, bytes, text)
}

/// Decodes a string's source.
pub(crate) fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut at = 0;
    while at < raw.len() {
        let plain = memchr::memchr(b'\\', &raw[at..]).unwrap_or(raw.len() - at);
        out.extend_from_slice(&raw[at..at + plain]);
        at += plain;
        if at < raw.len() {
            let (len, bytes, count) = unit(&raw[at..]);
            out.extend_from_slice(&bytes[..count]);
            at += len;
        }
    }
}

/// Moves changes of decoded text to where they are in its source.
pub(crate) fn to_source(raw: &[u8], edits: &mut [Edit]) {
    let (mut source, mut decoded) = (0, 0);
    let mut seek = |target: usize, after: bool| {
        while decoded < target && source < raw.len() {
            let (len, _, count) = unit(&raw[source..]);
            if decoded + count > target && !after {
                break;
            }
            source += len;
            decoded += count;
        }
        source
    };
    for edit in edits {
        let start = seek(edit.range.start, false);
        let end = seek(edit.range.end, true);
        edit.range = start..end;
    }
}

/// The classes of keys that came lately: the same few hundred come again and again.
#[derive(Debug)]
pub(super) struct KeyCache(Vec<(Vec<u8>, KeyClass)>);

const CACHED: usize = 512;

impl Default for KeyCache {
    fn default() -> Self {
        Self(vec![(Vec::new(), KeyClass::Plain); CACHED])
    }
}

impl KeyCache {
    pub(super) fn classify(&mut self, key: &[u8]) -> KeyClass {
        if key.len() > keys::MAX_KEY || key.len() < 2 {
            return KeyClass::Plain;
        }
        let hash = key.iter().fold(key.len(), |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        let (cached, class) = &mut self.0[hash % CACHED];
        if cached != key {
            cached.clear();
            cached.extend_from_slice(key);
            *class = keys::classify(key);
        }
        *class
    }
}

impl JsonMasker {
    /// A key: kept for its value. Tokens may stand in keys, too (field sets of managed fields).
    pub(super) fn take_key(&mut self, engine: &Engine, range: Range<usize>, escaped: bool) {
        let raw = &self.held.bytes[range.clone()];
        if escaped {
            unescape(raw, &mut self.key);
        } else {
            self.key.clear();
            self.key.extend_from_slice(raw);
        }
        if self.key.len() >= 16 {
            let edits = value::edits(engine, &self.key, super::super::scan::MAX_DEPTH);
            self.change(range, escaped, edits);
        }
    }

    /// A value that is a string.
    pub(super) fn take_string(&mut self, engine: &Engine, range: Range<usize>, escaped: bool) {
        let in_array = self.frames.last().is_none_or(|frame| frame.array);
        let class = match self.frames.last() {
            Some(frame) if frame.array => frame.class,
            Some(frame) if self.key == b"value" => frame.name.unwrap_or(KeyClass::Plain),
            Some(_) => self.keys.classify(&self.key),
            None => KeyClass::Plain,
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let raw = &self.held.bytes[range.clone()];
        let text = if escaped {
            unescape(raw, &mut scratch);
            &scratch[..]
        } else {
            raw
        };
        let auths = self.frames.last().is_some_and(|frame| frame.auths);
        let role = self.frames.last().map_or(Role::Plain, |frame| frame.role);
        let edits = match role {
            Role::SecretData { base64 } if !text.is_empty() && engine.is_on(SECRET_DATA) => {
                let style = if base64 { Style::Base64 } else { Style::Free };
                vec![secret(engine, text, style)]
            }
            _ if self.hides_field(engine) && !text.is_empty() => {
                vec![value::placeholder(engine, text, 0..text.len(), FIELD, Style::Free)]
            }
            _ => judge(engine, text, class, &self.key, auths, self.depth),
        };
        let telling = !in_array && matches!(&self.key[..], b"kind" | b"type" | b"name" | b"key");
        let told = telling.then(|| text.to_vec());
        if !in_array {
            self.note(told, &range);
        }
        if let Role::Perhaps { base64 } = role {
            self.wait(range.clone(), base64);
        }
        self.change(range, escaped, edits);
        self.scratch = scratch;
    }

    fn hides_field(&self, engine: &Engine) -> bool {
        if engine.policy.fields.is_empty() {
            return false;
        }
        let path = self.field_path();
        engine.policy.hides(path.as_bytes())
    }

    /// The path of the value that is being read.
    fn field_path(&self) -> String {
        let path = String::from_utf8_lossy(&self.path);
        match self.frames.last() {
            Some(frame) if frame.array => format!("{path}[{}]", frame.index),
            Some(_) => format!("{path}.{}", String::from_utf8_lossy(&self.key)),
            None => path.into_owned(),
        }
    }

    fn change(&mut self, range: Range<usize>, escaped: bool, mut edits: Vec<Edit>) {
        if edits.is_empty() {
            return;
        }
        if escaped {
            to_source(&self.held.bytes[range.clone()], &mut edits);
        }
        let path = self.field_path();
        for mut edit in edits {
            edit.range = edit.range.start + range.start..edit.range.end + range.start;
            self.held.change(edit, Some(path.clone()));
        }
    }

    /// Learns from fields that tell what their object is.
    fn note(&mut self, text: Option<Vec<u8>>, range: &Range<usize>) {
        let Some(frame) = self.frames.last_mut() else { return };
        match (&self.key[..], text) {
            (b"kind", Some(kind)) if frame.kind != Kind::Secret || kind != b"Secret" => {
                frame.kind = match &kind[..] {
                    b"Secret" => Kind::Secret,
                    b"SecretList" => Kind::SecretList,
                    _ => Kind::Other,
                };
            }
            (b"type", Some(kind)) => {
                frame.secret_type = is_secret_type(&kind);
            }
            (b"name" | b"key", Some(name)) => frame.name = Some(self.keys.classify(&name)),
            (b"value", None) if frame.name.is_none() => {
                let waiting = Waiting { range: range.clone(), base64: false, path: self.path.clone() };
                frame.unnamed = Some(waiting);
                self.deferring += usize::from(frame.hold(range.start));
            }
            _ => {}
        }
    }

    /// A string of an object whose kind is to come.
    fn wait(&mut self, range: Range<usize>, base64: bool) {
        let path = self.field_path().into_bytes();
        // The map's owner is the last frame above it whose role is plain.
        let owner = self.frames.iter().rposition(|frame| frame.role == Role::Plain).unwrap_or(0);
        let frame = &mut self.frames[owner];
        let first = frame.hold(range.start);
        frame.waiting.push(Waiting { range, base64, path });
        self.deferring += usize::from(first);
    }

    /// A frame ends, or must be decided: what waits in it is hidden if it is a Secret's. `unknown`: taken for one if not known.
    pub(super) fn settle(&mut self, engine: &Engine, number: usize, unknown: bool) {
        let frame = &mut self.frames[number];
        if frame.held_from().is_none() {
            return;
        }
        let is_secret = match frame.kind {
            Kind::Secret => true,
            Kind::Unknown => unknown || frame.secret_type,
            _ => false,
        };
        let waiting = std::mem::take(&mut frame.waiting);
        let unnamed = frame.unnamed.take();
        let name = frame.name;
        if frame.let_go() {
            self.deferring -= usize::from(self.deferring > 0);
        }
        if is_secret && engine.is_on(SECRET_DATA) {
            if unknown {
                frame.kind = Kind::Secret;
            }
            for Waiting { range, base64, path } in waiting {
                if !range.is_empty() {
                    let mut raw = Vec::new();
                    unescape(&self.held.bytes[range.clone()], &mut raw);
                    let mut edit = secret(engine, &raw, if base64 { Style::Base64 } else { Style::Free });
                    edit.range = range;
                    self.held.change(edit, Some(String::from_utf8_lossy(&path).into_owned()));
                }
            }
        }
        if let (Some(Waiting { range, path, .. }), Some(class)) =
            (unnamed, name.or(unknown.then_some(KeyClass::Strong)))
        {
            let mut text = Vec::new();
            unescape(&self.held.bytes[range.clone()], &mut text);
            let edits = judge(engine, &text, class, b"value", false, self.depth);
            if !edits.is_empty() {
                let mut edit = value::placeholder(engine, &text, 0..text.len(), KEY_VALUE, Style::Free);
                edit.range = range;
                self.held.change(edit, Some(format!("{}.value", String::from_utf8_lossy(&path))));
            }
        }
    }
}

/// Whether a `type` is one of a Secret's (kubernetes.io: types of Secret).
pub(crate) fn is_secret_type(name: &[u8]) -> bool {
    name == b"Opaque"
        || name.starts_with(b"kubernetes.io/")
        || name.starts_with(b"bootstrap.kubernetes.io/")
        || name.starts_with(b"helm.sh/release")
}

/// A Secret's value. Its placeholder is that of what it encodes, so that it is the same as in `stringData`.
pub(crate) fn secret(engine: &Engine, text: &[u8], style: Style) -> Edit {
    let bare = text.iter().position(|byte| *byte == b'=').map_or(text, |end| &text[..end]);
    let mut with = Vec::new();
    if style == Style::Base64 && bare.iter().all(|byte| encoded::is_base64(*byte)) {
        engine.placeholder(SECRET_DATA, &encoded::decode(bare), style, &mut with);
    } else {
        engine.placeholder(SECRET_DATA, text, style, &mut with);
    }
    Edit { range: 0..text.len(), with, ids: vec![SECRET_DATA] }
}

/// What of a string is hidden, by its key and by what it holds.
pub(crate) fn judge(engine: &Engine, text: &[u8], class: KeyClass, key: &[u8], auths: bool, depth: u8) -> Vec<Edit> {
    if text.len() < 3 {
        return Vec::new();
    }
    if auths && key == b"auth" && text.len() >= 8 && engine.is_on(DOCKER_CONFIG) {
        return vec![value::placeholder(engine, text, 0..text.len(), DOCKER_CONFIG, Style::Base64)];
    }
    if class == KeyClass::Plain {
        return value::edits(engine, text, depth);
    }
    let found = value::edits(engine, text, depth);
    // A token of a known format names itself better than its key does.
    if found.iter().any(|edit| edit.range == (0..text.len())) {
        return found;
    }
    match secret_value(class, key, text) {
        Some(range) => {
            let id = if class == KeyClass::Authorization { AUTHORIZATION } else { KEY_VALUE };
            let in_full = found.iter().all(|edit| range.start <= edit.range.start && edit.range.end <= range.end);
            if engine.is_on(id) && in_full {
                vec![value::placeholder(engine, text, range, id, Style::Free)]
            } else {
                found
            }
        }
        None => found,
    }
}
