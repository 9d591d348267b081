//! The figures as a table and as JSON.

use std::time::Duration;

use serde::Serialize;

use crate::Figures;

/// One figure.
#[derive(Serialize)]
struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    /// The plain relay's, in the same unit; for the relay itself, the direct way's.
    baseline: f64,
    /// `value / baseline`.
    ratio: f64,
}

/// Which figures.
type Rates = fn(&Figures) -> &Vec<f64>;

#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// The figures of direct, relay and guard.
    pub(crate) fn add(&mut self, paths: &[&str; 3], figures: &[Figures; 3]) {
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            self.three(
                &format!("exec_echo_{name}"),
                "us",
                paths,
                figures.each_ref().map(|one| percentile(&one.echo, share)),
            );
        }
        let all: [(&str, Rates); 3] = [
            ("cp_from_pod", |one| &one.download),
            ("cp_to_pod", |one| &one.upload),
            ("port_forward", |one| &one.forward),
        ];
        for (place, (name, of)) in all.into_iter().enumerate() {
            self.three(name, "bytes/s", paths, figures.each_ref().map(|one| median(of(one))));
            let per_core = figures.each_ref().map(|one| median(&one.per_core[place]));
            self.row(format!("{name}_per_core/guard"), per_core[2], "bytes/s", per_core[1]);
        }
        self.three("new_connections", "connections/s", paths, figures.each_ref().map(|one| one.connections));
    }

    /// Bytes of each idle watch, of processes with direct, relay and guard.
    pub(crate) fn add_memory(&mut self, bytes: &[f64; 3]) {
        let [direct, relay, guard] = bytes;
        self.row("idle_watch/relay".into(), relay - direct, "bytes", *direct);
        self.row("idle_watch/guard".into(), guard - direct, "bytes", relay - direct);
    }

    pub(crate) fn print(&self) {
        for Row { name, value, unit, ratio, .. } in &self.rows {
            match *unit {
                "bytes/s" => println!("{name:<28} {:>10.1} MiB/s {ratio:>8.2}x", value / f64::from(1 << 20)),
                unit => println!("{name:<28} {value:>10.1} {unit:<5} {ratio:>8.2}x"),
            }
        }
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(&self.rows).unwrap()
    }

    fn three(&mut self, name: &str, unit: &'static str, paths: &[&str; 3], values: [f64; 3]) {
        let baselines = [values[0], values[0], values[1]];
        for ((path, value), baseline) in paths.iter().zip(values).zip(baselines) {
            self.row(format!("{name}/{path}"), value, unit, baseline);
        }
    }

    fn row(&mut self, name: String, value: f64, unit: &'static str, baseline: f64) {
        self.rows.push(Row { name, value, unit, baseline, ratio: value / baseline });
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// In microseconds.
fn percentile(times: &[Duration], share: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
    let at = ((sorted.len() - 1) as f64 * share).round() as usize;
    sorted[at].as_secs_f64() * 1e6
}
