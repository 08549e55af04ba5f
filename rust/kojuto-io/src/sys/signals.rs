//! Signals as something a loop can wait for.
//!
//! While a [`Signals`] lives, the signals it was given no longer end the process: each is counted,
//! and an eventfd becomes readable, so that a loop that waits in `ppoll` wakes at once. A blocked
//! system call ends with EINTR, since the handlers do not ask for restarts. Dropping it puts the
//! former handlers back (the interpreter's, for one).

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use crate::{Error, Result};

const HIGHEST: usize = 64;

static PENDING: [AtomicU32; HIGHEST + 1] = [const { AtomicU32::new(0) }; HIGHEST + 1];
static ANY: AtomicBool = AtomicBool::new(false);
static WAKE: AtomicI32 = AtomicI32::new(-1);
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// The handler: counts and wakes; everything in it is async-signal-safe.
extern "C" fn count(signal: libc::c_int) {
    // SAFETY: errno is thread-local; it is put back since write(2) may change it under the
    // interrupted code.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: see above.
    let saved = unsafe { *errno };
    if let Some(slot) = PENDING.get(signal as usize) {
        slot.fetch_add(1, Ordering::Relaxed);
        ANY.store(true, Ordering::Release);
        let one = 1u64;
        // SAFETY: writes eight bytes of a local to an eventfd (or fails with EBADF).
        unsafe { libc::write(WAKE.load(Ordering::Relaxed), ptr::from_ref(&one).cast(), 8) };
    }
    // SAFETY: see above.
    unsafe { *errno = saved };
}

/// See the module's description. There is one at a time in a process.
#[derive(Debug)]
pub struct Signals {
    wake: File,
    former: Vec<(i32, Former)>,
}

struct Former(libc::sigaction);

impl std::fmt::Debug for Former {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sigaction")
    }
}

impl Signals {
    /// Starts to count `signals`. SIGINT and SIGQUIT stay ignored when the process was started
    /// with them ignored, as a shell does for what runs in the background.
    ///
    /// # Errors
    /// [`Error::Io`] when another one lives in this process or the system refuses.
    pub fn install(signals: &[i32]) -> Result<Signals> {
        if INSTALLED.swap(true, Ordering::AcqRel) {
            let busy = io::Error::from_raw_os_error(libc::EBUSY);
            return Err(Error::Io { what: "signals".to_owned(), source: busy });
        }
        // SAFETY: no preconditions; the result is checked.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            INSTALLED.store(false, Ordering::Release);
            return Err(Error::on("eventfd")(io::Error::last_os_error()));
        }
        // SAFETY: the descriptor is new and ours alone.
        let wake = unsafe { File::from_raw_fd(fd) };
        WAKE.store(fd, Ordering::Relaxed);
        ANY.store(false, Ordering::Relaxed);
        let mut this = Signals { wake, former: Vec::new() };
        for &signal in signals {
            this.catch(signal).map_err(Error::on("signals"))?;
        }
        Ok(this)
    }

    fn catch(&mut self, signal: i32) -> io::Result<()> {
        PENDING[signal as usize].store(0, Ordering::Relaxed);
        let mut former = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: asks for the present action only; the structure is written on success.
        if unsafe { libc::sigaction(signal, ptr::null(), former.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: sigaction succeeded and filled it.
        let former = unsafe { former.assume_init() };
        let keeps = matches!(signal, libc::SIGINT | libc::SIGQUIT);
        if keeps && former.sa_sigaction == libc::SIG_IGN {
            return Ok(());
        }
        // SAFETY: all-zero is a valid sigaction; mask and flags are set below.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = count as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the mask is a local structure; the handler is async-signal-safe.
        unsafe {
            libc::sigemptyset(&mut action.sa_mask);
            if libc::sigaction(signal, &action, ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let mut set = action.sa_mask;
            libc::sigaddset(&mut set, signal);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, ptr::null_mut());
        }
        self.former.push((signal, Former(former)));
        Ok(())
    }

    /// Whether any signal came since the last [`Self::clear`]; costs one load.
    pub fn any(&self) -> bool {
        ANY.load(Ordering::Acquire)
    }

    /// Makes the descriptor unreadable again; call it before [`Self::take`].
    pub fn clear(&self) {
        ANY.store(false, Ordering::Release);
        let _ = (&self.wake).read(&mut [0; 8]);
    }

    /// How often `signal` came since it was last asked for.
    pub fn take(&self, signal: i32) -> u32 {
        PENDING[signal as usize].swap(0, Ordering::AcqRel)
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for (signal, former) in &self.former {
            // SAFETY: puts back what sigaction returned for this signal.
            unsafe { libc::sigaction(*signal, &former.0, ptr::null_mut()) };
        }
        WAKE.store(-1, Ordering::Relaxed);
        INSTALLED.store(false, Ordering::Release);
    }
}

/// Waits until one of `wants` (descriptor, poll events) is ready, a signal came or `timeout` is
/// over. Returns which descriptors are ready (an error or hang-up counts); a signal answers with
/// none ready.
///
/// # Errors
/// [`Error::Io`] when ppoll fails other than by EINTR.
pub fn wait<const N: usize>(
    signals: Option<&Signals>,
    wants: [(RawFd, i16); N],
    timeout: Option<Duration>,
) -> Result<[bool; N]> {
    let mut fds = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; 8];
    fds[0].fd = signals.map_or(-1, AsRawFd::as_raw_fd);
    for (slot, (fd, events)) in fds[1..].iter_mut().zip(wants) {
        *slot = libc::pollfd { fd, events, revents: 0 };
    }
    let spec = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().min(i32::MAX as u64) as libc::time_t,
        tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
    });
    let spec = spec.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the array and the time live through the call; the count is within the array.
    let found = unsafe { libc::ppoll(fds.as_mut_ptr(), 1 + N as libc::nfds_t, spec, ptr::null()) };
    if found < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(Error::on("ppoll")(error));
        }
        return Ok([false; N]);
    }
    Ok(std::array::from_fn(|i| fds[i + 1].revents != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_signal_wakes_a_wait_and_the_former_handler_comes_back() {
        // SAFETY: asks only.
        let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: asks only.
        unsafe { libc::sigaction(libc::SIGUSR2, ptr::null(), &mut before) };
        {
            let signals = Signals::install(&[libc::SIGUSR2]).unwrap();
            assert!(Signals::install(&[libc::SIGUSR2]).is_err());
            // SAFETY: the handler was installed above.
            unsafe { libc::kill(libc::getpid(), libc::SIGUSR2) };
            let start = Instant::now();
            while !signals.any() && start.elapsed() < Duration::from_secs(10) {
                wait(Some(&signals), [], Some(Duration::from_secs(10))).unwrap();
            }
            signals.clear();
            assert_eq!(signals.take(libc::SIGUSR2), 1);
            assert_eq!(signals.take(libc::SIGUSR2), 0);
            assert!(!signals.any());
        }
        // SAFETY: asks only.
        let mut after: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: asks only.
        unsafe { libc::sigaction(libc::SIGUSR2, ptr::null(), &mut after) };
        assert_eq!(before.sa_sigaction, after.sa_sigaction);
    }
}
