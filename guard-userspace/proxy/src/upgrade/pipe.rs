//! One direction of an upgraded connection.

use std::{
    io,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use guard_kube_streams::{Broken, Fault, Session, Side};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::Account;

/// Bytes held for one direction of one stream.
const BUFFER: usize = 32 << 10;

/// What both directions are read with, and what was understood.
pub(super) struct Reading(Mutex<Inner>);

struct Inner {
    session: Session,
    account: Account,
    /// The API server has said all that it had to say.
    server_ended: bool,
}

/// One direction: what was read and not written yet.
pub(super) struct Pipe {
    from: Side,
    buffer: Vec<u8>,
    unsent: Range<usize>,
}

/// Why a direction ended before its end. Reading and writing fail on different sides.
#[derive(Debug)]
pub(super) enum PipeError {
    Read(io::Error),
    Write(io::Error),
    /// What this side sent makes no sense.
    Fault(Side, Fault),
}

impl Reading {
    pub(super) fn new(session: Session, account: Account) -> Self {
        Self(Mutex::new(Inner { session, account, server_ended: false }))
    }

    pub(super) fn into_account(self) -> Account {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).account
    }

    pub(super) fn farewell(&self, reason: &str) -> Option<Vec<u8>> {
        self.lock().session.farewell(reason)
    }

    pub(super) fn break_off(&self, side: Side, fault: Fault) {
        self.lock().account.break_off(side, fault);
    }

    pub(super) fn has_server_ended(&self) -> bool {
        self.lock().server_ended
    }

    /// How many of `bytes` go on.
    fn pass(&self, from: Side, bytes: &mut [u8]) -> Result<usize, Broken> {
        let mut inner = self.lock();
        let Inner { session, account, .. } = &mut *inner;
        session.pass(from, bytes, &mut |event| account.note(from, &event))
    }

    fn end(&self, from: Side) -> Result<(), Fault> {
        let mut inner = self.lock();
        inner.session.end(from)?;
        inner.server_ended |= from == Side::Server;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipe {
    pub(super) fn new(from: Side) -> Self {
        Self { from, buffer: vec![0; BUFFER], unsent: 0..0 }
    }

    /// Passes on what comes, as it comes, until the end, which it passes on too; the other direction may go on.
    pub(super) async fn run(
        &mut self,
        mut read: impl AsyncRead + Unpin,
        mut write: impl AsyncWrite + Unpin,
        reading: &Reading,
        count: impl Fn(u64),
    ) -> Result<(), PipeError> {
        loop {
            let length = read.read(&mut self.buffer).await.map_err(PipeError::Read)?;
            if length == 0 {
                reading.end(self.from).map_err(|fault| PipeError::Fault(self.from, fault))?;
                return write.shutdown().await.map_err(PipeError::Write);
            }
            count(u64::try_from(length).unwrap_or(u64::MAX));
            let result = reading.pass(self.from, &mut self.buffer[..length]);
            self.unsent = 0..result.unwrap_or_else(|broken| broken.passed);
            self.send(&mut write).await.map_err(PipeError::Write)?;
            match result {
                Err(broken) => return Err(PipeError::Fault(self.from, broken.fault)),
                // Its side has closed the WebSocket: what follows is for nobody.
                Ok(passed) if passed < length => {
                    reading.end(self.from).map_err(|fault| PipeError::Fault(self.from, fault))?;
                    return write.shutdown().await.map_err(PipeError::Write);
                }
                Ok(_) => {}
            }
        }
    }

    /// Tells the other end why it is over, after all that was on its way to it, and lets it read that.
    pub(super) async fn take_leave(
        &mut self,
        mut read: impl AsyncRead + Unpin,
        mut write: impl AsyncWrite + Unpin,
        farewell: &[u8],
        grace: Duration,
    ) {
        let leave = async {
            self.send(&mut write).await?;
            write.write_all(farewell).await?;
            write.shutdown().await?;
            // Closed with something unread, TCP resets the connection, and what was said last may be lost.
            while read.read(&mut self.buffer).await? > 0 {}
            io::Result::Ok(())
        };
        // A client that takes nothing more is given up.
        let _ = timeout(grace, leave).await;
    }

    /// Sends what is unsent, and knows where it stopped if it is dropped.
    async fn send(&mut self, write: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let written = write.write(&self.buffer[self.unsent.clone()]).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.unsent.start += written;
        }
        write.flush().await
    }
}
