//! `guard health`: one question to the guard in this very container. The image has no shell and no client to ask with, and in an upgrade a port of
//! the node would be answered by the other guard.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guard_telemetry::{Readiness, ServeError, serve_socket};
use prometheus::Registry;
use tokio_util::task::AbortOnDropHandle;

/// Longest that the guard may take, reading and writing each.
const TIMEOUT: Duration = Duration::from_secs(5);
/// More than any answer has.
const MAX_ANSWER: u64 = 16 * 1024;

/// Command line of `guard health`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the guard answers: its --health-socket.
    #[arg(long, default_value = "/run/egress-guard/health.sock")]
    socket: PathBuf,
    /// Whether it lives, or does its work.
    question: Question,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Question {
    /// It answers.
    Live,
    /// It does its work.
    Ready,
}

/// Ends well if the answer is yes.
pub(crate) fn run(args: &Args) -> Result<()> {
    let path = match args.question {
        Question::Live => "/healthz",
        Question::Ready => "/readyz",
    };
    let answer = ask(&args.socket, path).with_context(|| format!("asking the guard at {}", args.socket.display()))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is no HTTP")?;
    ensure!(head.split(' ').nth(1) == Some("200"), "{}", body.trim());
    println!("{}", body.trim());
    Ok(())
}

/// Answers such questions until what is returned is dropped.
pub(crate) fn serve(socket: &Path, readiness: &Readiness) -> Result<AbortOnDropHandle<()>, ServeError> {
    let serving = serve_socket(socket, Registry::new(), readiness.clone())?;
    Ok(AbortOnDropHandle::new(tokio::spawn(async move { match serving.await {} })))
}

fn ask(socket: &Path, path: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: guard\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_guard_is_asked_over_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("health.sock");
        let readiness = Readiness::default();
        let _serving = serve(&socket, &readiness).unwrap();
        let ask = |question| {
            let socket = socket.clone();
            tokio::task::spawn_blocking(move || run(&Args { socket, question }))
        };
        assert!(ask(Question::Live).await.unwrap().is_ok());
        assert_eq!(ask(Question::Ready).await.unwrap().unwrap_err().to_string(), "not ready: starting");
        readiness.set(true);
        assert!(ask(Question::Ready).await.unwrap().is_ok());
    }

    #[test]
    fn a_guard_that_is_not_there_is_an_error_that_names_the_socket() {
        let error = run(&Args { socket: "/nonexistent/health.sock".into(), question: Question::Live }).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/health.sock"), "{error}");
    }
}
