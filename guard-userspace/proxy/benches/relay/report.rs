//! The figures as a table and as JSON.

use std::time::Duration;

use serde::Serialize;

use crate::Figures;

/// At least this share of the relay's throughput per core.
const THROUGHPUT_TARGET: f64 = 0.8;
/// At most this much above direct at p50, in microseconds.
const LATENCY_TARGET: f64 = 150.0;

/// One figure.
#[derive(Serialize)]
struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    /// What it is compared with, in the same unit.
    baseline: Option<f64>,
    /// `value / baseline`.
    ratio: Option<f64>,
}

#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    verdicts: Vec<String>,
}

impl Report {
    /// Takes the figures of one protocol, of direct, relay and guard.
    pub(crate) fn add(&mut self, protocol: &str, figures: &[(&'static str, Figures)]) {
        let of = |name: &str| &figures.iter().find(|(path, _)| *path == name).unwrap().1;
        let [direct, relay, guard] = ["direct", "relay", "guard"].map(of);
        let per_core = [relay, guard].map(|figures| median(&figures.per_core));
        self.row(format!("throughput_per_core/{protocol}/relay"), per_core[0], "bytes/s", None);
        self.row(format!("throughput_per_core/{protocol}/guard"), per_core[1], "bytes/s", Some(per_core[0]));
        let wall = [direct, relay, guard].map(|figures| median(&figures.wall));
        for (path, value) in ["direct", "relay", "guard"].into_iter().zip(wall) {
            self.row(format!("throughput_wall/{protocol}/{path}"), value, "bytes/s", Some(wall[0]));
        }
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let latency = [direct, relay, guard].map(|figures| percentile(&figures.latency, share));
            for (path, value) in ["direct", "relay", "guard"].into_iter().zip(latency) {
                self.row(format!("latency_{name}/{protocol}/{path}"), value, "us", Some(latency[0]));
            }
            let added = [latency[1] - latency[0], latency[2] - latency[0]];
            self.row(format!("latency_{name}_added/{protocol}/guard"), added[1], "us", Some(added[0]));
            if name == "p50" {
                self.verdict(
                    &format!(
                        "{protocol}: p50 {:.0} us above direct (relay {:.0}), at most {LATENCY_TARGET:.0}",
                        added[1], added[0]
                    ),
                    added[1] <= LATENCY_TARGET,
                );
            }
        }
        let share = per_core[1] / per_core[0];
        self.verdict(
            &format!(
                "{protocol}: {:.0} % of the relay's throughput per core, at least {:.0} %",
                share * 100.0,
                THROUGHPUT_TARGET * 100.0
            ),
            share >= THROUGHPUT_TARGET,
        );
    }

    pub(crate) fn print(&self) {
        for row in &self.rows {
            let ratio = row.ratio.map(|ratio| format!("{ratio:>7.2}x")).unwrap_or_default();
            match row.unit {
                "bytes/s" => println!("{:<36} {:>9.1} MiB/s {ratio}", row.name, row.value / f64::from(1 << 20)),
                unit => println!("{:<36} {:>9.1} {unit:<5} {ratio}", row.name, row.value),
            }
        }
        for verdict in &self.verdicts {
            println!("{verdict}");
        }
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(&self.rows).unwrap()
    }

    fn row(&mut self, name: String, value: f64, unit: &'static str, baseline: Option<f64>) {
        self.rows.push(Row { name, value, unit, baseline, ratio: baseline.map(|baseline| value / baseline) });
    }

    fn verdict(&mut self, text: &str, met: bool) {
        self.verdicts.push(format!("{} {text}", if met { "met   " } else { "MISSED" }));
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
