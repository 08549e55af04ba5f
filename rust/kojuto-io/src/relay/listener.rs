//! A listening socket, wherever it came from.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::options::HeaderIn;
use super::upstream::Pool;
use crate::sys::socket as sys;
use crate::{Error, Result};

/// What connections keep of the listener they came from: not its socket, which is closed when
/// nothing more is accepted.
pub(super) struct Route {
    /// The listener's address as logs show it.
    pub(super) name: String,
    pub(super) pool: Arc<Pool>,
    /// Whether its clients begin with a PROXY header.
    pub(super) header_in: HeaderIn,
}

/// A listening socket and where its connections go.
pub(super) struct Listener {
    socket: OwnedFd,
    pub(super) route: Arc<Route>,
}

impl Listener {
    /// Uses a copy of the descriptor `fd`, which the caller may close. Server::Starter and the
    /// old process go on listening on the same socket whatever becomes of this one.
    ///
    /// # Errors
    /// [`crate::Error::Io`]: it is no open descriptor.
    pub(super) fn new(
        fd: RawFd,
        name: String,
        pool: Arc<Pool>,
        header_in: HeaderIn,
    ) -> Result<Listener> {
        let make = || {
            let socket = sys::duplicate(fd)?;
            sys::set_nonblocking(socket.as_raw_fd())?;
            sys::tune_stream(socket.as_raw_fd());
            Ok(socket)
        };
        match make() {
            Ok(socket) => {
                let route = Arc::new(Route { name, pool, header_in });
                Ok(Listener { socket, route })
            }
            Err(source) => Err(Error::Io { what: name, source }),
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
