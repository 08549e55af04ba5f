//! Bytes that nobody can foresee.

use std::fs::File;
use std::io::{self, Read};

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::no_such_call;

/// Fills `bytes` by getrandom(2), or from `/dev/urandom` where a sandbox forbids that.
///
/// # Errors
/// Neither can be had.
pub(crate) fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        match getrandom(&mut *rest, GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => match io::Error::from(error) {
                error if no_such_call(&error) => {
                    return File::open("/dev/urandom")?.read_exact(rest);
                }
                error => return Err(error),
            },
        }
    }
    Ok(())
}
