//! How a long job learns that its caller wants it to stop.

use crate::Result;

/// Asked between blocks of work, and whenever a system call was interrupted by a signal.
///
/// An implementation must be cheap: a job may ask some thousand times a second.
pub trait Cancel {
    /// Answers [`crate::Error::Cancelled`] when the job should stop.
    ///
    /// # Errors
    /// [`crate::Error::Cancelled`], and nothing else.
    fn check(&self) -> Result<()>;

    /// The same, asked after a system call ended with EINTR: a signal has just come, so the
    /// answer must not be an old one.
    ///
    /// # Errors
    /// [`crate::Error::Cancelled`], and nothing else.
    fn interrupted(&self) -> Result<()> {
        self.check()
    }
}

/// A job that nobody cancels.
#[derive(Debug, Clone, Copy, Default)]
pub struct Never;

impl Cancel for Never {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}
