//! A peer that is gone without a word (no FIN, no RST) is noticed, whether we send or only listen; whoever is at the other end sees
//! a reset.
//!
//! `TCP_USER_TIMEOUT` (tcp(7)) does not fit: it also ends the connection of a peer that is well and does not read for a
//! while, such as the API server when `kubectl exec` has more input than its program takes. So the kernel's own record of a connection
//! is looked at: has it sent what must be acknowledged (bytes, probes of a closed window, keep-alive probes),
//! and has anything come back?

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use nix::{getsockopt_impl, sockopt_impl, sys::socket::getsockopt};
use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Interval, MissedTickBehavior},
};

use crate::config::Timeouts;

/// As many looks in a row without an answer make a dead peer. One would not do: a process that was stopped for a while finds
/// what it sent before unanswered, and the answers still to be read.
const LOOKS: u32 = 3;

sockopt_impl!(
    /// The kernel's record of a connection. All its fields are integers, so there is no invalid one.
    TcpInfo,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    libc::tcp_info
);

/// A connection whose reads and writes fail with [`io::ErrorKind::TimedOut`] once its peer has fallen silent.
///
/// Dropped before it was shut down, it is reset: there are clients that take a FIN for an orderly end though TLS'
/// `close_notify` is missing (curl, Python's `ssl`).
pub(crate) struct Monitored {
    tcp: TcpStream,
    shut_down: bool,
    looks: Interval,
    silence: Silence,
}

impl Monitored {
    /// Probes the peer when there is nothing else to be acknowledged, and looks for answers.
    pub(crate) fn new(tcp: TcpStream, timeouts: &Timeouts) -> io::Result<Self> {
        sockopt::set_socket_keepalive(&tcp, true)?;
        sockopt::set_tcp_keepidle(&tcp, at_least_a_second(timeouts.ping))?;
        sockopt::set_tcp_keepintvl(&tcp, at_least_a_second(timeouts.ping / 2))?;
        let pause = timeouts.unanswered / LOOKS;
        let mut looks = tokio::time::interval_at(Instant::now() + pause, pause);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { tcp, shut_down: false, looks, silence: Silence::new(Instant::now()) })
    }

    fn poll_alive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.looks.poll_tick(cx).is_ready() {
            let record = Record::from(&getsockopt(&self.tcp, TcpInfo)?);
            if self.silence.look(Instant::now(), record) >= LOOKS {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer has fallen silent"));
            }
        }
        Ok(())
    }
}

/// The kernel counts keep-alive in whole seconds, and refuses 0.
fn at_least_a_second(duration: Duration) -> Duration {
    duration.max(Duration::from_secs(1))
}

/// What is looked at in the kernel's record.
#[derive(Clone, Copy)]
struct Record {
    /// Whether segments are under way.
    unacknowledged: bool,
    /// Whether a probe, of a closed window or for keep-alive, has had no answer yet.
    probed: bool,
    /// Since the last segment with data, a repeated one included.
    since_sent: Duration,
    /// Since the last segment that acknowledged anything.
    since_answer: Duration,
}

impl From<&libc::tcp_info> for Record {
    fn from(info: &libc::tcp_info) -> Self {
        Self {
            unacknowledged: info.tcpi_unacked > 0,
            probed: info.tcpi_probes > 0,
            since_sent: Duration::from_millis(info.tcpi_last_data_sent.into()),
            since_answer: Duration::from_millis(info.tcpi_last_ack_recv.into()),
        }
    }
}

impl Record {
    /// A peer that closed its window with data under way answers every repetition, and the pauses between them grow: only what was
    /// sent after its last answer waits for another.
    fn is_unanswered(self) -> bool {
        self.probed || self.unacknowledged && self.since_sent < self.since_answer
    }
}

/// How often in a row nothing had come back.
struct Silence {
    looked: Instant,
    looks: u32,
}

impl Silence {
    fn new(now: Instant) -> Self {
        Self { looked: now, looks: 0 }
    }

    fn look(&mut self, now: Instant, record: Record) -> u32 {
        let answered_since = record.since_answer < now - self.looked;
        self.looks = if record.is_unanswered() && !answered_since { self.looks + 1 } else { 0 };
        self.looked = now;
        self.looks
    }
}

impl AsyncRead for Monitored {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_alive(cx)?;
        Pin::new(&mut self.tcp).poll_read(cx, into)
    }
}

impl AsyncWrite for Monitored {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_alive(cx)?;
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_alive(cx)?;
        Pin::new(&mut self.tcp).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut_down = true;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl Drop for Monitored {
    fn drop(&mut self) {
        if !self.shut_down {
            // One that can't be reset has no other end any more.
            let _ = self.tcp.set_zero_linger();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);
    const NOTHING_SENT: Record =
        Record { unacknowledged: false, probed: false, since_sent: Duration::MAX, since_answer: Duration::MAX };

    /// What the looks at these records say, one each `PAUSE`.
    fn looks(records: &[Record]) -> Vec<u32> {
        let mut now = Instant::now();
        let mut silence = Silence::new(now);
        let look = |record: &Record| {
            now += PAUSE;
            silence.look(now, *record)
        };
        records.iter().map(look).collect()
    }

    #[test]
    fn a_peer_that_owes_no_answer_may_be_silent_for_ever() {
        assert_eq!(looks(&[NOTHING_SENT; 100]), [0; 100]);
    }

    #[test]
    fn bytes_and_probes_without_any_answer_are_silence() {
        let since = |seconds: u64| Duration::from_secs(seconds);
        let bytes = |since_answer| Record {
            unacknowledged: true,
            since_sent: since(1),
            since_answer: since(since_answer),
            ..NOTHING_SENT
        };
        assert_eq!(looks(&[bytes(3), bytes(8), bytes(13), bytes(18)]), [0, 1, 2, 3]);
        let probe = |since_answer| Record { probed: true, since_answer: since(since_answer), ..NOTHING_SENT };
        assert_eq!(looks(&[probe(13), probe(18), probe(23)]), [1, 2, 3]);
    }

    #[test]
    fn a_peer_that_answers_a_busy_sender_is_not_silent() {
        let busy = Record {
            unacknowledged: true,
            since_sent: Duration::ZERO,
            since_answer: Duration::from_millis(1),
            ..NOTHING_SENT
        };
        assert_eq!(looks(&[busy; 10]), [0; 10]);
    }

    #[test]
    fn a_peer_that_answered_and_takes_nothing_is_not_silent_however_long_until_the_next_try() {
        let refused = |since| Record {
            unacknowledged: true,
            since_sent: Duration::from_secs(since),
            since_answer: Duration::from_secs(since),
            ..NOTHING_SENT
        };
        let closed = |since| Record { unacknowledged: false, ..refused(since) };
        assert_eq!(looks(&[refused(10), refused(60), refused(110)]), [0; 3]);
        assert_eq!(looks(&[closed(10), closed(60), closed(110)]), [0; 3]);
    }
}
