//! Refusals, one by one, as the kernel reports them.

use std::io;

use aya::maps::{MapData, RingBuf};
use guard_common::{Hook, Reason, Report};
use tokio::io::{Interest, unix::AsyncFd};

/// A reader of the ring buffer.
pub struct Reports(RingBuf<MapData>);

/// The same, on a tokio runtime.
pub struct AsyncReports(AsyncFd<RingBuf<MapData>>);

impl Reports {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self(ring)
    }

    /// The next report that is there; `None`: none for now.
    pub fn next_ready(&mut self) -> Option<Report> {
        next(&mut self.0)
    }

    /// To wait for reports on the runtime that this is called on.
    pub fn into_async(self) -> io::Result<AsyncReports> {
        // SAFETY: the ring buffer owns its descriptor for as long as it lives, and gives out the same one each time.
        #[allow(unsafe_code)]
        let registered = unsafe { AsyncFd::register_with_interest(self.0, Interest::READABLE) };
        Ok(AsyncReports(registered?))
    }
}

impl AsyncReports {
    /// The next report.
    pub async fn next(&mut self) -> io::Result<Report> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            if let Some(report) = next(ready.get_inner_mut()) {
                return Ok(report);
            }
            ready.clear_ready();
        }
    }
}

/// Skips what is not a report: another version of the programs may still write.
fn next(ring: &mut RingBuf<MapData>) -> Option<Report> {
    loop {
        let report = parse(&ring.next()?);
        if report.is_some() {
            return report;
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Report> {
    let bytes: &[u8; size_of::<Report>()] = bytes.try_into().ok()?;
    let (boot_time, rest) = bytes.split_first_chunk::<8>()?;
    let (workload, rest) = rest.split_first_chunk::<8>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let [protocol, hook, reason, ..] = *rest else {
        return None;
    };
    Hook::from_number(hook)?;
    Reason::from_number(reason)?;
    Some(Report {
        boot_time_nanoseconds: u64::from_ne_bytes(*boot_time),
        workload: u64::from_ne_bytes(*workload),
        destination: guard_common::Address(*destination),
        port: u16::from_ne_bytes(*port),
        protocol,
        hook,
        reason,
        reserved: [0; 3],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_report_is_skipped() {
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[0; 39]), None);
        assert_eq!(parse(&[0; 40]), None, "there is no hook 0");
        let mut bytes = [0; 40];
        bytes[32..34].copy_from_slice(&443_u16.to_ne_bytes());
        bytes[34..37].copy_from_slice(&[17, Hook::VethIngress as u8, Reason::ControlPlane as u8]);
        let report = parse(&bytes).expect("a report");
        assert_eq!((report.port, report.protocol), (443, 17));
    }
}
