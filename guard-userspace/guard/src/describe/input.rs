//! What standard input asks about.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use guard_kube_request::MAX_TARGET_LEN;

use super::Input;

/// Longest line that is kept, in bytes: more than any request target that is described.
const MAX_LINE: u64 = 2 * MAX_TARGET_LEN as u64;
/// Longest head of an HTTP request, in bytes: the API server's own limit.
const MAX_HEAD: usize = 1 << 20;
/// Most headers of one, beyond which Go's server has long given up on its bytes.
const MAX_HEADERS: usize = 1024;

/// One request.
pub(super) enum Asked {
    /// Method and request target, as bytes.
    For { method: Vec<u8>, target: Vec<u8> },
    /// There is no request here to describe.
    Unreadable(Unreadable),
}

/// Why not, and where.
pub(super) struct Unreadable {
    line: usize,
    why: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.why)
    }
}

/// Requests, read one after the other.
pub(super) struct Requests<R> {
    from: BufReader<R>,
    are_whole: bool,
    /// Lines read so far.
    line: usize,
    /// Nobody knows where the next request would begin.
    lost: bool,
    /// The line that was read to see what this is.
    first: Option<Vec<u8>>,
}

impl<R: Read> Requests<R> {
    pub(super) fn new(from: R, input: Input) -> io::Result<Self> {
        let from = BufReader::with_capacity(64 << 10, from);
        let mut requests = Self { from, are_whole: input == Input::Http, line: 0, lost: false, first: None };
        if input == Input::Auto {
            requests.first = requests.read_line()?;
            requests.are_whole = requests.first.as_deref().is_some_and(is_request_line);
        }
        Ok(requests)
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Asked>> {
        while !self.lost {
            let Some(line) = self.next_line()? else { break };
            if line.is_empty() {
                continue;
            }
            return if self.are_whole { self.whole(line) } else { Ok(self.of_line(&line)) }.map(Some);
        }
        Ok(None)
    }

    /// Whether the next request may be long in coming.
    pub(super) fn may_wait(&self) -> bool {
        self.from.buffer().is_empty()
    }

    fn of_line(&self, line: &[u8]) -> Asked {
        match line.iter().position(|&byte| byte == b' ') {
            Some(space) => Asked::For { method: line[..space].to_vec(), target: origin_form(&line[space + 1..]) },
            None => self.unreadable("expected a method, a space and a URL, as in: GET /api/v1/pods"),
        }
    }

    /// Head and body of a request whose first line is read.
    fn whole(&mut self, mut head: Vec<u8>) -> io::Result<Asked> {
        loop {
            head.push(b'\n');
            match self.next_line()? {
                Some(line) if line.is_empty() => break head.push(b'\n'),
                Some(_) if head.len() > MAX_HEAD => {
                    return Ok(self.lose(format!("the request's head is longer than {MAX_HEAD} bytes")));
                }
                Some(line) => head.extend(line),
                None => return Ok(self.lose("the request's head has no end: an empty line is missing")),
            }
        }
        let mut headers = vec![httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let (method, target) = match request.parse(&head) {
            Ok(httparse::Status::Complete(_)) => (request.method, request.path),
            Ok(httparse::Status::Partial) => return Ok(self.lose("the request's head is cut off")),
            Err(error) => return Ok(self.lose(format!("no HTTP/1.1 request: {error}"))),
        };
        let asked = Asked::For {
            method: method.unwrap_or_default().as_bytes().to_vec(),
            target: origin_form(target.unwrap_or_default().as_bytes()),
        };
        match body_length(request.headers) {
            Ok(length) => io::copy(&mut (&mut self.from).take(length), &mut io::sink()).map(|_| asked),
            Err(why) => Ok(self.lose(why)),
        }
    }

    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.first.take() {
            Some(line) => Ok(Some(line)),
            None => self.read_line(),
        }
    }

    /// Without its end. What a line has beyond its limit is left out, which makes it too long for any purpose.
    fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        if (&mut self.from).take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        self.line += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
            line.pop_if(|byte| *byte == b'\r');
        } else {
            self.from.skip_until(b'\n')?;
        }
        Ok(Some(line))
    }

    fn unreadable(&self, why: impl Into<String>) -> Asked {
        Asked::Unreadable(Unreadable { line: self.line, why: why.into() })
    }

    fn lose(&mut self, why: impl Into<String>) -> Asked {
        self.lost = true;
        self.unreadable(why)
    }
}

fn is_request_line(line: &[u8]) -> bool {
    line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")
}

/// Path and query of a URL that has a scheme and a host; anything else as it is.
fn origin_form(url: &[u8]) -> Vec<u8> {
    let Some(rest) = [&b"https://"[..], b"http://"].iter().find_map(|scheme| url.strip_prefix(*scheme)) else {
        return url.to_vec();
    };
    match rest.iter().position(|byte| matches!(byte, b'/' | b'?')) {
        Some(path) if rest[path] == b'/' => rest[path..].to_vec(),
        Some(query) => [b"/", &rest[query..]].concat(),
        None => b"/".to_vec(),
    }
}

/// Bytes until the next request.
fn body_length(headers: &[httparse::Header<'_>]) -> Result<u64, String> {
    let of = |name: &'static str| headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    if of("transfer-encoding").next().is_some() {
        return Err("a body with Transfer-Encoding is not read here; give its Content-Length".to_owned());
    }
    let lengths: Vec<&[u8]> = of("content-length").map(|header| header.value).collect();
    match lengths.as_slice() {
        [] => Ok(0),
        [length] if length.iter().all(u8::is_ascii_digit) => std::str::from_utf8(length)
            .ok()
            .and_then(|length| length.parse().ok())
            .ok_or_else(|| "Content-Length is too large".to_owned()),
        _ => Err("Content-Length is not one number".to_owned()),
    }
}
