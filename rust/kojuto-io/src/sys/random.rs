//! Bytes that nobody can foresee.

use std::fs::File;
use std::io::{self, Read};

use crate::error::no_such_call;

/// Fills `bytes` by getrandom(2), or from `/dev/urandom` where a sandbox forbids that.
///
/// # Errors
/// Neither can be had.
pub(crate) fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: `rest` is writable for its length.
        let count = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(count) {
            Ok(count) => filled += count,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error if no_such_call(&error) => {
                    return File::open("/dev/urandom")?.read_exact(rest);
                }
                error => return Err(error),
            },
        }
    }
    Ok(())
}
