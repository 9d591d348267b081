//! Counts a refusal, then reports it: the count is exact also when nobody reads the reports.

use core::arch::asm;

use aya_ebpf::{EbpfContext, bindings::BPF_NOEXIST, helpers::bpf_ktime_get_boot_ns};
use aya_log_ebpf::debug;
use guard_common::{Address, CounterKey, Hook, Reason, Report};

use crate::maps::{LOST, REFUSALS, REPORTS};

const LOST_REPORTS: u32 = 0;
const LOST_COUNTS: u32 = 1;

/// What was refused.
pub struct Refused {
    pub workload: u64,
    pub hook: Hook,
    pub reason: Reason,
    pub destination: Address,
    /// Host byte order.
    pub port: u16,
    pub protocol: u8,
}

#[inline(always)]
pub fn refuse<C: EbpfContext>(ctx: &C, refused: &Refused) {
    count(&CounterKey::new(refused.workload, refused.hook, refused.reason));
    // SAFETY: the helper reads a clock.
    let boot_time_nanoseconds = unsafe { bpf_ktime_get_boot_ns() };
    let report = Report {
        boot_time_nanoseconds,
        workload: refused.workload,
        destination: refused.destination,
        port: refused.port,
        protocol: refused.protocol,
        hook: refused.hook as u8,
        reason: refused.reason as u8,
        reserved: [0; 3],
    };
    if REPORTS.output::<Report>(&report, 0).is_err() {
        add_one(LOST_REPORTS);
    }
    debug!(
        ctx,
        "refused: hook {} reason {} workload {} protocol {} port {}",
        refused.hook as u8,
        refused.reason as u8,
        refused.workload,
        refused.protocol,
        refused.port
    );
}

#[inline(always)]
fn count(key: &CounterKey) {
    if let Some(counter) = REFUSALS.get_ptr_mut(key) {
        // SAFETY: a map value. Per CPU, and yet atomic: a softirq or another task may come between load and store.
        unsafe { add(counter) };
        return;
    }
    // The first of its kind. If another CPU was quicker, there is a counter now.
    if REFUSALS.insert(key, 1, u64::from(BPF_NOEXIST)).is_ok() {
        return;
    }
    if let Some(counter) = REFUSALS.get_ptr_mut(key) {
        // SAFETY: as above.
        unsafe { add(counter) };
    } else {
        add_one(LOST_COUNTS);
    }
}

#[inline(always)]
fn add_one(index: u32) {
    if let Some(counter) = LOST.get_ptr_mut(index) {
        // SAFETY: as in `count`.
        unsafe { add(counter) };
    }
}

/// # Safety
/// `counter` is a map value, aligned and alive for the program's run.
#[inline(always)]
unsafe fn add(counter: *mut u64) {
    // SAFETY: by the caller. One atomic instruction (`BPF_ATOMIC | BPF_ADD`), which `core` does not offer for this target.
    unsafe { asm!("lock *(u64 *)({counter} + 0) += {one}", counter = in(reg) counter, one = in(reg) 1_u64) };
}
