//! What the programs log, sent on to this process's own log.

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

use crate::Error;

/// Reads the programs' log for as long as the process lives. Needs a tokio runtime.
pub(super) fn forward(ebpf: &mut Ebpf) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::syscall("epoll_ctl", "watching the programs' log", "", error);
    let logger = EbpfLogger::init(ebpf).map_err(|error| failed(std::io::Error::other(error)))?;
    // SAFETY: the logger owns its ring buffer's descriptor for as long as it lives, and gives out the same one each time.
    #[allow(unsafe_code)]
    let registered = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = registered.map_err(|error| failed(error.into()))?;
    tokio::spawn(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    });
    Ok(())
}
