//! What a stream carries, and who writes to it.

/// One end of an upgraded connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Who asked for the upgrade: kubectl, an SDK.
    Client,
    /// Who granted it: the API server, or a kubelet behind it.
    Server,
}

/// One channel of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Channel {
    /// Its number: the first byte of a WebSocket message, or the id of a SPDY stream. 0 where messages have no channel.
    pub id: u32,
    /// What it carries.
    pub kind: Kind,
}

/// What a channel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Standard input of exec and attach.
    Stdin,
    /// Standard output; with a terminal, all that it shows.
    Stdout,
    /// Standard error.
    Stderr,
    /// How the command ended: `meta/v1.Status` as JSON since version 4, a text before.
    Error,
    /// Sizes of the client's terminal, as JSON.
    Resize,
    /// Both ways of one connection to this port of a pod.
    Data {
        /// Of the pod.
        port: u16,
    },
    /// Why a connection to this port failed, as text.
    PortError {
        /// Of the pod.
        port: u16,
    },
    /// Messages without channels: a watch, a log, the protocol of an application behind `proxy`.
    Message,
    /// Bytes for a SPDY stream that has ended, which its reader throws away, unless it looks.
    Closed,
}

impl Side {
    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl Kind {
    /// Every label.
    pub const LABELS: [&str; 9] =
        ["stdin", "stdout", "stderr", "error", "resize", "data", "port_error", "message", "closed"];

    /// Its name, of a bounded set.
    pub fn label(self) -> &'static str {
        match self {
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Error => "error",
            Self::Resize => "resize",
            Self::Data { .. } => "data",
            Self::PortError { .. } => "port_error",
            Self::Message => "message",
            Self::Closed => "closed",
        }
    }

    /// Whether this side may write to it.
    pub fn is_written_by(self, side: Side) -> bool {
        match self {
            Self::Stdin | Self::Resize => side == Side::Client,
            Self::Stdout | Self::Stderr | Self::Error | Self::PortError { .. } => side == Side::Server,
            Self::Data { .. } | Self::Message | Self::Closed => true,
        }
    }
}
