//! Commands that run to their end or beside the test, with all that they say.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use xtask::cluster::{Cluster, Node};
use xtask::images;

/// Longest that a command of a test may take.
const LIMIT: Duration = Duration::from_mins(2);

/// kubectl as administrator, past the guard: how tests set things up and look at them.
#[derive(Clone, Debug)]
pub struct Kubectl {
    cluster: Cluster,
    namespace: String,
}

/// What a command said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Answer {
    /// Standard output of a command that ended well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status.success(), "ended with {}:\n{}\n{}", self.status, self.err, self.out);
        self.out
    }

    /// All that it said, however it ended.
    pub fn out_and_err(self) -> String {
        self.out + &self.err
    }

    /// Standard error of a command that did not end well.
    #[track_caller]
    pub fn refused(self) -> String {
        assert!(!self.status.success(), "was let through:\n{}\n{}", self.out, self.err);
        self.err
    }
}

impl Kubectl {
    /// In this namespace unless the arguments say another.
    pub fn new(cluster: &Cluster, namespace: &str) -> Self {
        Self { cluster: cluster.clone(), namespace: namespace.to_owned() }
    }

    /// The command, not started.
    pub fn command<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.cluster.kubectl(["--namespace", &self.namespace]);
        command.args(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        command
    }

    /// Runs to the end.
    pub fn run<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Answer {
        run(self.command(arguments), "")
    }

    /// `kubectl apply -f -`.
    #[track_caller]
    pub fn apply(&self, object: &serde_json::Value) {
        run(self.command(["apply", "-f", "-"]), &object.to_string()).ok();
    }

    /// Sees to it that a node has an image.
    #[track_caller]
    pub(super) fn provide(&self, node: &Node, image: &str) {
        images::provide(&self.cluster, node, image).unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// An object as JSON.
    #[track_caller]
    pub fn get(&self, kind: &str, name: &str) -> serde_json::Value {
        let text = self.run(["get", kind, name, "-o", "json"]).ok();
        serde_json::from_str(&text).expect("kubectl's JSON")
    }
}

/// Runs a command to its end, with this standard input; it is killed when it takes too long.
#[track_caller]
pub fn run(mut command: Command, input: &str) -> Answer {
    let mut running = Running::start(&mut command);
    // A command that ends without reading what it is given is no failure of the test.
    let _ = running.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    running.wait(LIMIT)
}

/// A command that runs beside the test. Dropped, it is killed.
pub struct Running {
    shown: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    err: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts it, its three streams being ours.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let shown = xtask::run::shown(command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {shown}: {error}"));
        let (sender, lines) = channel();
        let out = child.stdout.take().expect("it is piped");
        std::thread::spawn(move || {
            let mut out = BufReader::new(out);
            let mut line = Vec::new();
            while out.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                // The test may have stopped listening.
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
                line.clear();
            }
        });
        let mut err = child.stderr.take().expect("it is piped");
        let err = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = err.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let stdin = child.stdin.take();
        Self { shown, child, stdin, lines, err: Some(err) }
    }

    /// The next line of its standard output, without its end.
    #[track_caller]
    pub fn line(&mut self, limit: Duration) -> String {
        match self.lines.recv_timeout(limit) {
            Ok(line) => line.trim_end().to_owned(),
            Err(RecvTimeoutError::Timeout) => panic!("{}: no line in {} s", self.shown, limit.as_secs()),
            Err(RecvTimeoutError::Disconnected) => {
                let answer = self.finish();
                panic!("{} ended with {}: {}", self.shown, answer.status, answer.err);
            }
        }
    }

    /// The next line that holds this text.
    #[track_caller]
    pub fn line_with(&mut self, text: &str, limit: Duration) -> String {
        let start = Instant::now();
        loop {
            let line = self.line(limit.saturating_sub(start.elapsed()));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Writes to its standard input.
    #[track_caller]
    pub fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).expect("writing to a command");
    }

    /// Ends its standard input.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("asking for a child").is_none()
    }

    /// Waits for its end; all lines that were not taken yet are in the answer.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> Answer {
        self.stdin = None;
        let start = Instant::now();
        while self.is_running() {
            if start.elapsed() > limit {
                let _ = self.child.kill();
                let answer = self.finish();
                panic!("{} still ran after {} s: {}\n{}", self.shown, limit.as_secs(), answer.out, answer.err);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.finish()
    }

    fn finish(&mut self) -> Answer {
        let status = self.child.wait().expect("waiting for a child");
        let out: Vec<String> = self.lines.iter().collect();
        let err = self.err.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        Answer { status, out: out.concat(), err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
