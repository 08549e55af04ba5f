//! Names to addresses while the first hosts are being pinged already.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use crate::running;
use crate::sys::resolve::{self, Unresolved, Want};
use crate::{Error, Result};

/// The most threads that ask at a time.
const THREADS: usize = 256;

/// The addresses of a name, in the resolver's order.
pub(super) type Found = std::result::Result<Vec<SocketAddr>, Unresolved>;

/// A name and a family that somebody asks the resolver for.
struct Question {
    host: usize,
    name: String,
    v6: bool,
}

struct Answer {
    host: usize,
    v6: bool,
    found: Found,
}

/// What is known of one name.
enum State {
    Asked { v4: Option<Found>, v6: Option<Found> },
    Told,
}

/// The resolver's threads. They cannot be called back: one that waits for a silent name server
/// ends by itself, or with the process.
pub(super) struct Names {
    states: Vec<State>,
    answers: Receiver<Answer>,
    bell: Arc<OwnedFd>,
    want: Want,
}

impl Names {
    /// Asks for the addresses of all names, for both families at once where either would do.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub(super) fn ask(names: &[String], want: Want) -> Result<Names> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|errno| Error::on("eventfd")(errno.into()))?;
        let bell = Arc::new(bell);
        let (tell, answers) = channel();
        let mut states = Vec::with_capacity(names.len());
        let mut questions = VecDeque::new();
        for (host, name) in names.iter().enumerate() {
            let not_wanted = |other| (want == other).then_some(Err(Unresolved::Family));
            let mut state = State::Asked { v4: not_wanted(Want::V6), v6: not_wanted(Want::V4) };
            if let Some(found) = resolve::literal(name) {
                let (v4, v6): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv4);
                let some = |list: Vec<_>| if list.is_empty() { family() } else { Ok(list) };
                if let State::Asked { v4: of4, v6: of6 } = &mut state {
                    of4.get_or_insert(some(v4));
                    of6.get_or_insert(some(v6));
                }
            } else if let State::Asked { v4, v6 } = &state {
                for (v6, known) in [(false, v4.is_some()), (true, v6.is_some())] {
                    if !known {
                        questions.push_back(Question { host, name: name.clone(), v6 });
                    }
                }
            }
            states.push(state);
        }
        start(questions, &tell, &bell);
        Ok(Names { states, answers, bell, want })
    }

    /// What is readable when an answer has come.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// The names whose addresses are known by now, each once.
    pub(super) fn news(&mut self) -> Vec<(usize, Found)> {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        while let Ok(answer) = self.answers.try_recv() {
            if let State::Asked { v4, v6 } = &mut self.states[answer.host] {
                *(if answer.v6 { v6 } else { v4 }) = Some(answer.found);
            }
        }
        let mut news = Vec::new();
        for (host, state) in self.states.iter_mut().enumerate() {
            let State::Asked { v4, v6 } = state else { continue };
            let found = match (&v4, &v6) {
                (Some(Ok(_)), _) => v4.take(),
                (Some(Err(_)), Some(Ok(_))) => v6.take(),
                // The second failure tells less: it is about the rarer family.
                (Some(Err(_)), Some(Err(_))) if self.want == Want::V6 => v6.take(),
                (Some(Err(_)), Some(Err(_))) => v4.take(),
                _ => None,
            };
            if let Some(found) = found {
                *state = State::Told;
                news.push((host, found));
            }
        }
        news
    }
}

fn family() -> Found {
    Err(Unresolved::Family)
}

/// Has threads answer the questions, or answers them here where none can be started.
fn start(questions: VecDeque<Question>, tell: &Sender<Answer>, bell: &Arc<OwnedFd>) {
    let wanted = questions.len().min(THREADS);
    let questions = Arc::new(Mutex::new(questions));
    let work = || {
        let (questions, tell, bell) = (Arc::clone(&questions), tell.clone(), Arc::clone(bell));
        move || answer(&questions, &tell, &bell)
    };
    let started = (0..wanted).map_while(|_| running::start("resolve", work()).ok()).count();
    if started == 0 {
        work()();
    }
}

fn answer(questions: &Mutex<VecDeque<Question>>, tell: &Sender<Answer>, bell: &OwnedFd) {
    let next = || questions.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    while let Some(Question { host, name, v6 }) = next() {
        let found = resolve::lookup(&name, if v6 { libc::AF_INET6 } else { libc::AF_INET });
        if tell.send(Answer { host, v6, found }).is_err() {
            return; // the run is over
        }
        let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
    }
}

/// Which of the addresses is pinged, and how many there are; a link-local one needs a zone.
pub(super) fn choose(
    found: &[SocketAddr],
    zone: Option<u32>,
) -> std::result::Result<SocketAddr, Unresolved> {
    let mut address = *found.first().ok_or(Unresolved::Family)?;
    if let SocketAddr::V6(v6) = &mut address
        && v6.ip().is_unicast_link_local()
        && v6.scope_id() == 0
    {
        v6.set_scope_id(zone.ok_or(Unresolved::Zone)?);
    }
    Ok(resolve::or_loopback(address))
}

/// What is wanted when packets are to come from `source`.
pub(super) fn narrowed(want: Want, source: Option<IpAddr>) -> Want {
    match (want, source) {
        (Want::Either, Some(IpAddr::V4(_))) => Want::V4,
        (Want::Either, Some(IpAddr::V6(_))) => Want::V6,
        _ => want,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn all(names: &[&str], want: Want) -> Vec<Found> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut asked = Names::ask(&names, want).unwrap();
        let mut found: Vec<Option<Found>> = names.iter().map(|_| None).collect();
        let end = Instant::now() + Duration::from_secs(60);
        while found.iter().any(Option::is_none) {
            assert!(Instant::now() < end, "no answer");
            for (host, what) in asked.news() {
                assert!(found[host].replace(what).is_none(), "told twice");
            }
            let limit = Timespec::try_from(Duration::from_millis(100)).unwrap();
            let _ = poll(&mut [PollFd::new(&asked.fd(), PollFlags::IN)], Some(&limit));
        }
        found.into_iter().flatten().collect()
    }

    #[test]
    fn literals_and_names_come_side_by_side_and_those_without_address_are_told() {
        let found = all(&["127.0.0.1", "::1", "localhost", "no-such-name.invalid"], Want::Either);
        assert_eq!(found[0].as_ref().unwrap()[0].ip().to_string(), "127.0.0.1");
        assert_eq!(found[1].as_ref().unwrap()[0].ip().to_string(), "::1");
        assert!(found[2].as_ref().unwrap()[0].ip().is_loopback());
        assert!(matches!(found[3], Err(Unresolved::Resolver(_))));
        assert_eq!(all(&["127.0.0.1"], Want::V6), [Err(Unresolved::Family)]);
        assert_eq!(all(&["::1"], Want::V4), [Err(Unresolved::Family)]);
        assert_eq!(all(&["a\0b"], Want::Either), [Err(Unresolved::Nul)]);
    }

    #[test]
    fn a_link_local_address_needs_a_zone() {
        let bare: SocketAddr = "[fe80::1]:0".parse().unwrap();
        assert_eq!(choose(&[bare], None), Err(Unresolved::Zone));
        assert_eq!(choose(&[bare], Some(3)).unwrap().to_string(), "[fe80::1%3]:0");
        let zoned: SocketAddr = "[fe80::1%7]:0".parse().unwrap();
        assert_eq!(choose(&[zoned, bare], Some(3)), Ok(zoned));
        let far: SocketAddr = "[2001:db8::1]:0".parse().unwrap();
        assert_eq!(choose(&[far], Some(3)), Ok(far));
        assert_eq!(choose(&[], None), Err(Unresolved::Family));
    }

    #[test]
    fn a_source_chooses_the_family_unless_one_was_asked_for() {
        let source = |text: &str| Some(text.parse().unwrap());
        assert_eq!(narrowed(Want::Either, source("192.0.2.1")), Want::V4);
        assert_eq!(narrowed(Want::Either, source("::1")), Want::V6);
        assert_eq!(narrowed(Want::V6, source("192.0.2.1")), Want::V6);
        assert_eq!(narrowed(Want::Either, None), Want::Either);
    }
}
