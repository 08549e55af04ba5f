//! Signals as something a loop can wait for.
//!
//! While a [`Signals`] lives, the signals it was given no longer end the process: each is counted,
//! and an eventfd becomes readable, so that a loop that waits in `ppoll` wakes at once. A blocked
//! system call ends with EINTR, since the handlers do not ask for restarts. Dropping it puts the
//! former handlers back (the interpreter's, for one). A signal that was blocked, so that it could
//! come before its handler, comes when the handler is there, and is blocked again in the end.
//!
//! A signal that comes in the moment before a call blocks would not end that call. So the signals
//! that ask for the end start a timer, which interrupts the thread again and again from then on:
//! no read, write or splice holds up an end for longer than one of its periods.
//!
//! Handlers, masks and timers are set by hand: `rustix` leaves signals to the C library.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use super::descriptor::borrowed;
use crate::{Error, Result};

const HIGHEST: usize = 64;

static PENDING: [AtomicU32; HIGHEST + 1] = [const { AtomicU32::new(0) }; HIGHEST + 1];
static ANY: AtomicBool = AtomicBool::new(false);
static WAKE: AtomicI32 = AtomicI32::new(-1);
static INSTALLED: AtomicBool = AtomicBool::new(false);
/// The kernel's number of the timer, -1 for none.
static TIMER: AtomicI32 = AtomicI32::new(-1);

/// The signals that ask for the end.
const ENDS: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];
/// What the timer sends: ignored wherever nobody handles it, so that a late one does no harm.
const NUDGE: i32 = libc::SIGURG;
const NUDGE_PERIOD: Duration = Duration::from_millis(20);

/// The handler: counts and wakes; everything in it is async-signal-safe.
extern "C" fn count(signal: libc::c_int) {
    // SAFETY: errno is thread-local; it is put back since write(2) may change it under the
    // interrupted code.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: see above.
    let saved = unsafe { *errno };
    if let Some(slot) = PENDING.get(signal as usize) {
        slot.fetch_add(1, Ordering::Relaxed);
        let wake = borrowed(WAKE.load(Ordering::Relaxed));
        let _ = wake.and_then(|wake| rustix::io::write(wake, &1u64.to_ne_bytes()));
        // Last: where another thread clears meanwhile, a descriptor that stays readable is one
        // that `any` tells of, or every wait would return at once and nobody clear it.
        ANY.store(true, Ordering::Release);
    }
    if ENDS.contains(&signal) {
        start_timer();
    }
    // SAFETY: see above.
    unsafe { *errno = saved };
}

/// The handler of the timer's signal: that it came is all.
extern "C" fn interrupt(_: libc::c_int) {}

// The timer's calls are made without the C library, where they are in librt before glibc 2.34.

/// Makes the timer of this thread. Where a sandbox or a limit refuses, [`TIMER`] stays -1: then a
/// signal that comes right before a call blocks is seen when the call returns.
fn make_timer() {
    // SAFETY: all-zero is a valid sigevent; what matters is set below.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = NUDGE;
    event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
    let mut timer: libc::c_int = -1;
    // SAFETY: reads the event and writes the number, both locals.
    let made = unsafe {
        libc::syscall(
            libc::SYS_timer_create,
            libc::CLOCK_MONOTONIC,
            &raw const event,
            &raw mut timer,
        )
    };
    TIMER.store(if made == 0 { timer } else { -1 }, Ordering::Relaxed);
}

/// Starts the timer; async-signal-safe (POSIX lists timer_settime).
fn start_timer() {
    let nsec = NUDGE_PERIOD.subsec_nanos() as libc::c_long;
    let period = libc::timespec { tv_sec: 0, tv_nsec: nsec };
    let spec = libc::itimerspec { it_interval: period, it_value: period };
    let timer = TIMER.load(Ordering::Relaxed);
    if timer >= 0 {
        // SAFETY: reads a local; a number that is no timer's is refused.
        unsafe { libc::syscall(libc::SYS_timer_settime, timer, 0, &raw const spec, 0usize) };
    }
}

/// Stops the timer until the next signal that asks for the end.
fn stop_timer() {
    // SAFETY: all-zero is a timerspec, the one that stops a timer.
    let never: libc::itimerspec = unsafe { std::mem::zeroed() };
    let timer = TIMER.load(Ordering::Relaxed);
    if timer >= 0 {
        // SAFETY: reads a local; a number that is no timer's is refused.
        unsafe { libc::syscall(libc::SYS_timer_settime, timer, 0, &raw const never, 0usize) };
    }
}

fn delete_timer() {
    let timer = TIMER.swap(-1, Ordering::Relaxed);
    if timer >= 0 {
        // SAFETY: takes an integer only.
        unsafe { libc::syscall(libc::SYS_timer_delete, timer) };
    }
}

/// Whether the signal was blocked in this thread before.
fn set_blocked(signal: i32, blocked: bool) -> bool {
    let how = if blocked { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the sets are locals, and each is filled before it is read.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::pthread_sigmask(how, set.as_ptr(), before.as_mut_ptr()) == 0
            && libc::sigismember(before.as_ptr(), signal) == 1
    }
}

/// See the module's description. There is one at a time in a process, and the thread that made it
/// is the one whose system calls the signals interrupt.
#[derive(Debug)]
pub struct Signals {
    wake: OwnedFd,
    former: Vec<(i32, Former)>,
}

/// What was done with a signal, and whether it was blocked.
struct Former(libc::sigaction, bool);

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
        let wake = match eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) {
            Ok(wake) => wake,
            Err(error) => {
                INSTALLED.store(false, Ordering::Release);
                return Err(Error::on("eventfd")(error.into()));
            }
        };
        WAKE.store(wake.as_raw_fd(), Ordering::Relaxed);
        ANY.store(false, Ordering::Relaxed);
        let mut this = Signals { wake, former: Vec::new() };
        if signals.iter().any(|signal| ENDS.contains(signal)) {
            this.catch(NUDGE, interrupt).map_err(Error::on("signals"))?;
            make_timer();
        }
        for &signal in signals {
            PENDING[signal as usize].store(0, Ordering::Relaxed);
            this.catch(signal, count).map_err(Error::on("signals"))?;
        }
        Ok(this)
    }

    fn catch(&mut self, signal: i32, handler: extern "C" fn(libc::c_int)) -> io::Result<()> {
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
        action.sa_sigaction = handler as libc::sighandler_t;
        // SAFETY: the mask is a local structure; the handler is async-signal-safe.
        unsafe {
            libc::sigemptyset(&mut action.sa_mask);
            if libc::sigaction(signal, &action, ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let blocked = set_blocked(signal, false);
        self.former.push((signal, Former(former, blocked)));
        Ok(())
    }

    /// Whether any signal came since the last [`Self::clear`]; costs one load.
    pub fn any(&self) -> bool {
        ANY.load(Ordering::Acquire)
    }

    /// Makes the descriptor unreadable again; call it before [`Self::take`].
    pub fn clear(&self) {
        ANY.store(false, Ordering::Release);
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }

    /// Asked for the end, and it is none: no call is interrupted for it any more.
    pub fn go_on(&self) {
        stop_timer();
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
        delete_timer();
        for (signal, Former(action, blocked)) in &self.former {
            if *blocked {
                set_blocked(*signal, true);
            }
            // SAFETY: puts back what sigaction returned for this signal.
            unsafe { libc::sigaction(*signal, action, ptr::null_mut()) };
        }
        WAKE.store(-1, Ordering::Relaxed);
        INSTALLED.store(false, Ordering::Release);
    }
}

/// Waits until one of `wants` (descriptor, poll events) is ready, a signal came or `timeout` is
/// over. Returns which descriptors are ready (an error or hang-up counts); a signal answers with
/// none ready.
///
/// By hand, for `rustix` has no place in its list for what is not waited for.
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
    use std::sync::Mutex;
    use std::time::Instant;

    /// There is one [`Signals`] at a time, and the tests of a crate are threads of one process.
    static ONE: Mutex<()> = Mutex::new(());

    /// The handler runs in a thread of its own while this one clears, as fast as both can.
    #[test]
    fn a_descriptor_that_another_thread_made_readable_is_always_told_of() {
        let _one = ONE.lock();
        let signals = Signals::install(&[libc::SIGUSR1]).unwrap();
        for _ in 0..500 {
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // SAFETY: the handler was installed above; it runs in this thread.
                    unsafe { libc::raise(libc::SIGUSR1) };
                    done.store(true, Ordering::Release);
                });
                while !done.load(Ordering::Acquire) {
                    if signals.any() {
                        signals.clear();
                    }
                }
            });
            let [readable] =
                wait(None, [(signals.as_raw_fd(), libc::POLLIN)], Some(Duration::ZERO)).unwrap();
            assert!(signals.any() || !readable);
        }
    }

    #[test]
    fn a_signal_that_was_held_comes_when_its_handler_is_there_and_is_held_again() {
        let _one = ONE.lock();
        // SAFETY: sends a signal to this thread, which blocks it.
        let raise = || unsafe { libc::raise(libc::SIGUSR1) };
        set_blocked(libc::SIGUSR1, true);
        raise();
        let signals = Signals::install(&[libc::SIGUSR1]).unwrap();
        assert!(signals.any());
        assert_eq!(signals.take(libc::SIGUSR1), 1);
        drop(signals);
        raise();
        drop(Signals::install(&[libc::SIGUSR1]).unwrap());
        assert!(set_blocked(libc::SIGUSR1, false));
        assert!(!set_blocked(libc::SIGUSR1, false));
    }

    #[test]
    fn a_signal_wakes_a_wait_and_the_former_handler_comes_back() {
        let _one = ONE.lock();
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
