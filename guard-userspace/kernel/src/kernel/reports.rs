//! Refusals, one by one, as the kernel reports them: the programs through their ring buffer, netfilter through NFLOG.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use guard_common::{Hook, Reason, Report, UNKNOWN_WORKLOAD};
use tokio::io::{Interest, unix::AsyncFd};

use super::{address_book::AddressBook, control_plane::to_address};
use crate::{
    netfilter::{self, Netfilter, Refused},
    netns::Netns,
};

/// How long until NFLOG is tried again where another process still reads its group: the one that this one replaces.
const RETRY: Duration = Duration::from_secs(2);

/// A reader of the reports.
pub struct Reports {
    ring: RingBuf<MapData>,
    netfilter: Arc<Netfilter>,
    host: Netns,
    addresses: AddressBook,
}

/// The same, on a tokio runtime.
pub struct AsyncReports {
    ring: AsyncFd<RingBuf<MapData>>,
    log: Option<AsyncFd<netfilter::Reports>>,
    netfilter: Arc<Netfilter>,
    host: Netns,
    addresses: AddressBook,
    waiting: VecDeque<Report>,
    lost: Arc<AtomicU64>,
}

impl Reports {
    pub(super) fn new(ring: RingBuf<MapData>, netfilter: Arc<Netfilter>, host: Netns, addresses: AddressBook) -> Self {
        Self { ring, netfilter, host, addresses }
    }

    /// The programs' next report that is there; `None`: none for now.
    pub fn next_ready(&mut self) -> Option<Report> {
        next(&mut self.ring)
    }

    /// To wait for reports, netfilter's included, on the runtime that this is called on.
    pub fn into_async(self) -> io::Result<AsyncReports> {
        // SAFETY: the ring buffer owns its descriptor for as long as it lives, and gives out the same one each time.
        #[allow(unsafe_code)]
        let ring = unsafe { AsyncFd::register_with_interest(self.ring, Interest::READABLE) };
        let Self { netfilter, host, addresses, .. } = self;
        let (waiting, lost) = (VecDeque::new(), Arc::default());
        Ok(AsyncReports { ring: ring?, log: None, netfilter, host, addresses, waiting, lost })
    }
}

impl AsyncReports {
    /// Reports of netfilter that are known to be lost. Those of the programs are in [`super::Kernel::lost_reports`].
    pub fn lost(&self) -> Arc<AtomicU64> {
        self.lost.clone()
    }

    /// The next report.
    pub async fn next(&mut self) -> io::Result<Report> {
        loop {
            if let Some(report) = self.waiting.pop_front() {
                return Ok(report);
            }
            if self.log.is_none() {
                self.log = open_log(&self.netfilter, &self.host);
            }
            tokio::select! {
                ready = self.ring.readable_mut() => {
                    let mut ready = ready?;
                    match next(ready.get_inner_mut()) {
                        Some(report) => return Ok(report),
                        None => ready.clear_ready(),
                    }
                }
                refused = read_log(&mut self.log, &self.lost) => {
                    let addresses = &self.addresses;
                    self.waiting.extend(refused?.iter().map(|refused| report(refused, addresses)));
                }
                () = tokio::time::sleep(RETRY), if self.log.is_none() => {}
            }
        }
    }
}

fn open_log(netfilter: &Netfilter, host: &Netns) -> Option<AsyncFd<netfilter::Reports>> {
    let reports = match netfilter.reports(host) {
        Ok(reports) => reports,
        Err(error) => {
            tracing::debug!(%error, "netfilter's reports can't be read yet; refusals are counted meanwhile");
            return None;
        }
    };
    // SAFETY: the socket owns its descriptor for as long as it lives, and gives out the same one each time.
    #[allow(unsafe_code)]
    let registered = unsafe { AsyncFd::register_with_interest(reports, Interest::READABLE) };
    registered.ok()
}

/// Never ends while there is no log.
async fn read_log(log: &mut Option<AsyncFd<netfilter::Reports>>, lost: &AtomicU64) -> io::Result<Vec<Refused>> {
    let Some(log) = log else {
        return std::future::pending().await;
    };
    loop {
        let mut ready = log.readable_mut().await?;
        match ready.get_inner_mut().read() {
            Ok(refused) => {
                lost.store(ready.get_inner().lost(), Ordering::Relaxed);
                return Ok(refused);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) => return Err(error),
        }
    }
}

fn report(refused: &Refused, addresses: &AddressBook) -> Report {
    Report {
        // NFLOG has none: that of reading.
        boot_time_nanoseconds: boot_time(),
        workload: addresses.workload(refused.source).unwrap_or(UNKNOWN_WORKLOAD),
        destination: to_address(refused.destination),
        port: refused.port.unwrap_or(0),
        protocol: refused.protocol,
        hook: Hook::Netfilter as u8,
        reason: Reason::ControlPlane as u8,
        reserved: [0; 3],
    }
}

/// `CLOCK_BOOTTIME` in nanoseconds, as in a [`Report`].
#[must_use]
pub fn boot_time() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
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
