//! How components fail. The kind alone decides what supervision and sink processors do.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What is to be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Expected: the peer is away, the channel is full. Try again, not sooner than this.
    RetryAfter(Duration),
    /// Only another configuration can help: the component is parked until then.
    Reconfigure,
    /// These events will never be taken by this component; others may be. They stay queued.
    RejectEvents,
    /// An invariant is broken. Counted as a crash.
    Bug,
    /// The operator wants the process to end rather than to go on without this component.
    Fatal,
}

/// A failure of a running component.
#[derive(Debug)]
pub struct RunError {
    kind: Kind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl RunError {
    /// Try again, not sooner than `after`.
    pub fn retry_after(after: Duration, message: impl Into<String>) -> Self {
        Self {
            kind: Kind::RetryAfter(after),
            message: message.into(),
            source: None,
        }
    }

    /// Try again as soon as back-off allows.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::retry_after(Duration::ZERO, message)
    }

    /// Only another configuration can help.
    pub fn reconfigure(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Reconfigure,
            message: message.into(),
            source: None,
        }
    }

    /// These events will never be taken.
    pub fn reject(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::RejectEvents,
            message: message.into(),
            source: None,
        }
    }

    /// An invariant is broken.
    pub fn bug(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Bug,
            message: message.into(),
            source: None,
        }
    }

    /// The process is to end.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Fatal,
            message: message.into(),
            source: None,
        }
    }

    /// Keeps the cause.
    pub fn caused_by(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(cause.into());
        self
    }

    /// What is to be done.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause: Option<&dyn Error> = self.source.as_deref().map(|e| e as _);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Error for RunError {}

impl From<super::channel::ChannelError> for RunError {
    fn from(error: super::channel::ChannelError) -> Self {
        use super::channel::ChannelError as E;
        let text = error.to_string();
        match error {
            E::TooLarge { .. } | E::NeverFits { .. } => Self::reject(text),
            E::Bug(_) => Self::bug(text),
            _ => Self::retry(text),
        }
    }
}

/// A component that cannot be built as configured. Problems of single properties are findings in
/// [`Keys`](super::keys::Keys) instead, so that all are named at once; this is for the rest.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BuildError(pub String);
