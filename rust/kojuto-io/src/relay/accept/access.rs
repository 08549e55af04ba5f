//! Which clients may connect, by their address, and how much the log is told of the others.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kojuto_core::net::cidr::Cidr;

use crate::relay::options::Options;
use crate::relay::remote::Remote;

/// So many lines of the log in one second tell of clients that were refused.
const LINES_PER_S: u32 = 10;

/// Why a client may not connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::relay) enum Refusal {
    /// It is in a range that is denied.
    Denied,
    /// It is in none of those that are allowed.
    NotAllowed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Denied => "the client's address is in --deny",
            Refusal::NotAllowed => "the client's address is not in --allow",
        })
    }
}

/// Why a client may not connect, if it may not: it is in a range that is denied, whatever is allowed,
/// or in none that is allowed where some are. One without an address of the internet is in none.
pub(in crate::relay) fn refusal(client: &Remote, options: &Options) -> Option<Refusal> {
    let (allow, deny) = (&options.allow, &options.deny);
    if allow.is_empty() && deny.is_empty() {
        return None;
    }
    let ip = client.ip();
    let within =
        |ranges: &[Cidr]| ip.is_some_and(|ip: IpAddr| ranges.iter().any(|r| r.contains(ip)));
    if within(deny) {
        return Some(Refusal::Denied);
    }
    (!allow.is_empty() && !within(allow)).then_some(Refusal::NotAllowed)
}

#[derive(Debug, Default)]
struct Second {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

/// Bounds the lines about clients that were refused.
#[derive(Debug, Default)]
pub(in crate::relay) struct Lines(Mutex<Second>);

impl Lines {
    /// Whether the log may be told of one more; with how many it was not told of since the last one.
    pub(in crate::relay) fn take(&self, now: Instant) -> Option<u64> {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if second.began.is_none_or(|began| now >= began + Duration::from_secs(1)) {
            (second.began, second.lines) = (Some(now), 0);
        }
        if second.lines == LINES_PER_S {
            second.left_out += 1;
            return None;
        }
        second.lines += 1;
        Some(std::mem::take(&mut second.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(client: &str, allow: &[&str], deny: &[&str]) -> Option<Refusal> {
        let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let options = Options { allow: ranges(allow), deny: ranges(deny), ..Options::default() };
        refusal(&Remote::from_text(client), &options)
    }

    #[test]
    fn who_is_denied_is_so_whatever_is_allowed_and_else_who_is_not_allowed() {
        let (denied, not_allowed) = (Some(Refusal::Denied), Some(Refusal::NotAllowed));
        for (client, allow, deny, expected) in [
            ("192.0.2.7:1", &[][..], &[][..], None),
            ("192.0.2.7:1", &["192.0.2.0/24"], &[], None),
            ("192.0.3.7:1", &["192.0.2.0/24"], &[], not_allowed),
            ("192.0.2.7:1", &[], &["192.0.2.0/24"], denied),
            ("192.0.3.7:1", &[], &["192.0.2.0/24"], None),
            ("192.0.2.7:1", &["192.0.2.7"], &["192.0.2.0/24"], denied),
            ("192.0.2.8:1", &["192.0.2.0/24"], &["192.0.2.7"], None),
            ("192.0.2.7:1", &["2001:db8::/32"], &[], not_allowed),
            ("[2001:db8::1]:1", &["192.0.2.0/24", "2001:db8::/32"], &[], None),
            ("[2001:db9::1]:1", &["0.0.0.0/0"], &[], not_allowed),
            ("[2001:db8::1]:1", &[], &["2001:db8::/33"], denied),
            ("[::ffff:192.0.2.7]:1", &["192.0.2.0/24"], &[], None),
            ("192.0.2.7:1", &[], &["::ffff:192.0.2.0/120"], denied),
            ("[fe80::1%3]:1", &[], &["fe80::/10"], denied),
            ("unix:/run/x", &[], &["::/0"], None),
            ("unix:", &["::/0"], &[], not_allowed),
        ] {
            assert_eq!(refused(client, allow, deny), expected, "{client} {allow:?} {deny:?}");
        }
    }

    #[test]
    fn ten_lines_a_second_and_the_next_one_tells_how_many_were_left_out() {
        let (lines, now) = (Lines::default(), Instant::now());
        let just_before = now + Duration::from_millis(999);
        let taken = |at| (0..15).filter_map(|_| lines.take(at)).collect::<Vec<_>>();
        assert_eq!(taken(now), [0; 10]);
        assert_eq!(taken(just_before), []);
        let mut next = vec![20];
        next.extend([0; 9]);
        assert_eq!(taken(now + Duration::from_secs(1)), next);
    }
}
