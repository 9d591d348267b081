//! Runs other programs: a failure names the command, its status and the end of what it said.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Starts a command line; a little shorter than `Command::new` with each argument on a line.
pub fn command<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Runs to the end, its output passing through to ours.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end and returns what it wrote to standard output; on failure the error holds what it said.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {}", shown(command)))?;
    checked(command, &output)
}

/// Like [`capture`], with this text on its standard input.
pub fn capture_with_input(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", shown(command)))?;
    let mut stdin = child.stdin.take().context("standard input was asked for")?;
    // What is written here is small: it fits the pipe, so nothing waits for the other side.
    stdin.write_all(input.as_bytes()).with_context(|| format!("writing to {}", shown(command)))?;
    drop(stdin);
    let output = child.wait_with_output().with_context(|| format!("waiting for {}", shown(command)))?;
    checked(command, &output)
}

fn checked(command: &Command, output: &Output) -> Result<String> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = if said.trim().is_empty() { String::from_utf8_lossy(&output.stdout) } else { said };
        bail!("{} ended with {}:\n{}", shown(command), output.status, tail(&said, 20));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as a person would type it.
pub fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| {
            let word = word.to_string_lossy();
            if word.contains(char::is_whitespace) || word.is_empty() { format!("'{word}'") } else { word.into_owned() }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_the_command_and_what_it_said() {
        let error = capture(&mut command("sh", ["-c", "echo it broke >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("it broke") && error.contains("exit status: 3") && error.contains("sh -c"), "{error}");
    }

    #[test]
    fn input_reaches_the_command() {
        assert_eq!(capture_with_input(&mut command("cat", [] as [&str; 0]), "a\nb").unwrap(), "a\nb");
    }

    #[test]
    fn the_tail_is_the_last_lines() {
        assert_eq!(tail("1\n2\n3\n", 2), "2\n3");
        assert_eq!(tail("1", 5), "1");
    }
}
