//! Whose address it is that a reverse proxy asks about.

use std::net::IpAddr;

use super::Refusal;
use super::members::read_ip;
use crate::net::cidr::Cidr;

/// The header in which a trusted proxy names its client. The other one is never looked at: the
/// client may have written it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressHeader {
    /// `X-Real-IP`: one address.
    RealIp,
    /// `X-Forwarded-For`: a list to which each proxy adds what it saw; the last address that is
    /// no trusted proxy's counts.
    ForwardedFor,
}

impl AddressHeader {
    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            AddressHeader::RealIp => "x-real-ip",
            AddressHeader::ForwardedFor => "x-forwarded-for",
        }
    }
}

/// What is believed of those who ask.
#[derive(Debug, Clone)]
pub struct Client {
    /// Who may ask; empty for anybody. UNIX sockets always may.
    pub allowed: Vec<Cidr>,
    /// Whose headers and arguments are believed.
    pub trusted: Vec<Cidr>,
    /// Where they name their client.
    pub header: AddressHeader,
}

impl Client {
    /// Whether `remote`, an IP address or the mark of a UNIX socket, may ask at all.
    pub fn may_ask(&self, remote: &str) -> bool {
        self.allowed.is_empty()
            || match read_ip(remote) {
                Some(ip) => self.allowed.iter().any(|range| range.contains(ip)),
                None => remote.starts_with("unix:"),
            }
    }

    /// Whether `remote`, an IP address or the mark of a UNIX socket, is believed.
    pub fn trusts(&self, remote: &str) -> bool {
        match read_ip(remote) {
            Some(ip) => self.trusts_ip(ip),
            None => remote.starts_with("unix:"),
        }
    }

    fn trusts_ip(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|range| range.contains(ip))
    }

    /// The address that is asked about.
    ///
    /// `named` is the argument `ip` and `headers` are all values of the header, in their order.
    ///
    /// # Errors
    /// Why there is none.
    pub fn address<'a>(
        &self,
        remote: &str,
        named: Option<&str>,
        headers: impl Iterator<Item = &'a [u8]>,
    ) -> Result<String, Refusal> {
        if !self.trusts(remote) {
            return match named {
                None => Ok(remote.to_owned()),
                Some(_) => Err(Refusal::Untrusted { remote: remote.to_owned() }),
            };
        }
        if let Some(named) = named {
            return Ok(named.to_owned());
        }
        let mut values: Vec<&str> = Vec::new();
        for value in headers {
            let value = std::str::from_utf8(value);
            values.push(value.map_err(|_| Refusal::NotText(self.header.name()))?);
        }
        let found = match self.header {
            AddressHeader::RealIp if values.len() > 1 => {
                return Err(Refusal::Several(self.header.name()));
            }
            AddressHeader::RealIp => values.first().map(|value| value.trim()),
            AddressHeader::ForwardedFor => self.last_client(&values),
        };
        match found {
            Some(text) if read_ip(text).is_some() => Ok(text.to_owned()),
            Some(_) => Err(Refusal::NotAnAddress(self.header.name())),
            None => {
                let (remote, header) = (remote.to_owned(), self.header.name());
                Err(Refusal::Missing { remote, header })
            }
        }
    }

    fn last_client<'a>(&self, values: &[&'a str]) -> Option<&'a str> {
        let mut first = None;
        for value in values.iter().rev() {
            for text in value.rsplit(',') {
                let text = text.trim();
                match read_ip(text) {
                    Some(ip) if self.trusts_ip(ip) => first = Some(text),
                    _ => return Some(text),
                }
            }
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(header: AddressHeader) -> Client {
        let trusted = ["127.0.0.0/8", "::1", "10.1.0.0/16"].map(|r| r.parse().unwrap()).to_vec();
        Client { allowed: Vec::new(), trusted, header }
    }

    fn asked(header: AddressHeader, remote: &str, values: &[&str]) -> Result<String, Refusal> {
        client(header).address(remote, None, values.iter().map(|v| v.as_bytes()))
    }

    #[test]
    fn who_may_ask_is_anybody_or_those_of_the_ranges() {
        let mut client = client(AddressHeader::RealIp);
        assert!(client.may_ask("192.0.2.1") && client.may_ask("unix:"));
        client.allowed = vec!["192.0.2.0/24".parse().unwrap()];
        for (remote, may) in
            [("192.0.2.1", true), ("::ffff:192.0.2.9", true), ("192.0.3.1", false), ("::1", false)]
        {
            assert_eq!(client.may_ask(remote), may, "{remote}");
        }
        assert!(client.may_ask("unix:") && !client.may_ask("x"));
    }

    #[test]
    fn headers_count_from_trusted_proxies_only() {
        use AddressHeader::{ForwardedFor, RealIp};
        let found = |text: &str| Ok(text.to_owned());
        assert_eq!(asked(RealIp, "127.0.0.1", &["192.0.2.7"]), found("192.0.2.7"));
        assert_eq!(asked(RealIp, "unix:", &[" 2001:db8::7 "]), found("2001:db8::7"));
        assert_eq!(asked(RealIp, "192.0.2.1", &["192.0.2.7"]), found("192.0.2.1"));
        assert_eq!(asked(ForwardedFor, "192.0.2.1", &["192.0.2.7"]), found("192.0.2.1"));
        let chain = ["6.6.6.6, 192.0.2.7", "10.1.2.3 ,127.0.0.1"];
        assert_eq!(asked(ForwardedFor, "127.0.0.1", &chain), found("192.0.2.7"));
        assert_eq!(asked(ForwardedFor, "127.0.0.1", &["10.1.2.3"]), found("10.1.2.3"));
    }

    #[test]
    fn what_names_no_single_address_is_refused() {
        use AddressHeader::{ForwardedFor, RealIp};
        let remote = "127.0.0.1";
        let missing = |header| Refusal::Missing { remote: remote.to_owned(), header };
        for (header, values, why) in [
            (RealIp, &[][..], missing("x-real-ip")),
            (RealIp, &[""], Refusal::NotAnAddress("x-real-ip")),
            (RealIp, &["192.0.2.7", "192.0.2.8"], Refusal::Several("x-real-ip")),
            (RealIp, &["192.0.2.7, 192.0.2.8"], Refusal::NotAnAddress("x-real-ip")),
            (RealIp, &["web.example"], Refusal::NotAnAddress("x-real-ip")),
            (ForwardedFor, &[], missing("x-forwarded-for")),
            (ForwardedFor, &[""], Refusal::NotAnAddress("x-forwarded-for")),
            (ForwardedFor, &["192.0.2.7, unknown"], Refusal::NotAnAddress("x-forwarded-for")),
            (ForwardedFor, &["192.0.2.7,"], Refusal::NotAnAddress("x-forwarded-for")),
            (
                ForwardedFor,
                &["192.0.2.7, 10.1.2.3:80, 127.0.0.1"],
                Refusal::NotAnAddress("x-forwarded-for"),
            ),
        ] {
            assert_eq!(asked(header, remote, values), Err(why), "{header:?} {values:?}");
        }
        let text: &[u8] = b"\xff";
        let found = client(RealIp).address("::1", None, [text].into_iter());
        assert_eq!(found, Err(Refusal::NotText("x-real-ip")));
    }

    #[test]
    fn only_a_trusted_proxy_may_name_an_address_in_the_query() {
        let client = client(AddressHeader::RealIp);
        let none = || std::iter::empty::<&[u8]>();
        assert_eq!(client.address("::1", Some("192.0.2.9"), none()), Ok("192.0.2.9".to_owned()));
        let refused = client.address("192.0.2.1", Some("192.0.2.9"), none()).unwrap_err();
        assert_eq!(refused.to_string(), "192.0.2.1 is not a trusted proxy and may not name an ip");
    }
}
