//! Reading a question out of a request's target, and the bodies of answers.

use super::{Refusal, tag_key};
use crate::scan::json_line;

/// The longest text for an address, in bytes once decoded.
const MAX_ADDRESS: usize = 256;
/// The longest value of a parameter that goes to Consul; expressions of `filter` are longer.
const MAX_VALUE: usize = 256;
const MAX_FILTER: usize = 2048;
/// Tags in one question.
const MAX_TAGS: usize = 16;

/// Who asks, and so how no is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// `/has/SERVICE/IP`: 404.
    Has,
    /// `/auth?service=SERVICE`, for nginx's `auth_request`: 403.
    Auth,
}

/// Is that address in that service?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// How it was asked.
    pub flavour: Flavour,
    /// `[A-Za-z0-9_-]+`.
    pub service: String,
    /// As it was written, decoded. `None` for [`Flavour::Auth`] without the argument `ip`.
    pub address: Option<String>,
    /// Tags that the instance must have; see [`tag_key`].
    pub tags: Vec<String>,
    /// What Consul is asked: path and query, the same for all questions that one answer serves.
    pub key: String,
    /// Consul is to be asked each time, since it has a filter of the client's own: no watch.
    pub once: bool,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// `/` or `/live`.
    Live,
    /// See [`Question`].
    Question(Question),
    /// Nothing that is there.
    Unknown,
    /// A question that is wrong.
    Wrong(Refusal),
}

/// Reads a request's path and query, both as sent.
pub fn read(path: &str, query: &str) -> Asked {
    match path {
        "/" | "/live" => return Asked::Live,
        "/auth" => return read_auth(query),
        _ => {}
    }
    let Some((service, address)) = path.strip_prefix("/has/").and_then(|rest| rest.split_once('/'))
    else {
        return Asked::Unknown;
    };
    let (Some(service), Some(address)) = (decode(service, false), decode(address, false)) else {
        return Asked::Wrong(Refusal::Path);
    };
    if !is_service(&service) || address.is_empty() {
        return Asked::Unknown;
    }
    if address.len() > MAX_ADDRESS {
        return Asked::Wrong(Refusal::LongAddress(MAX_ADDRESS));
    }
    match Parameters::read(query) {
        Ok(parameters) => {
            let (flavour, address) = (Flavour::Has, Some(address));
            Asked::Question(parameters.question(flavour, service, address))
        }
        Err(wrong) => Asked::Wrong(wrong),
    }
}

fn read_auth(query: &str) -> Asked {
    let mut parameters = match Parameters::read(query) {
        Ok(parameters) => parameters,
        Err(wrong) => return Asked::Wrong(wrong),
    };
    let Some(service) = parameters.service.take() else {
        return Asked::Wrong(Refusal::NoService);
    };
    if !is_service(&service) {
        return Asked::Wrong(Refusal::Service);
    }
    let address = parameters.ip.take();
    Asked::Question(parameters.question(Flavour::Auth, service, address))
}

fn is_service(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.len() <= MAX_VALUE && text.bytes().all(good)
}

/// What a query may hold; anything else in it is passed over.
#[derive(Default)]
struct Parameters {
    service: Option<String>,
    ip: Option<String>,
    /// Those that Consul is told, in the order of their names.
    dc: Option<String>,
    filter: Option<String>,
    ns: Option<String>,
    partition: Option<String>,
    tags: Vec<String>,
}

impl Parameters {
    /// Of a parameter that is there twice the first counts, except `tag`: all of them.
    fn read(query: &str) -> Result<Parameters, Refusal> {
        let mut this = Parameters::default();
        for piece in query.split('&') {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            let (name, slot) = match name {
                "service" => ("service", &mut this.service),
                "ip" => ("ip", &mut this.ip),
                "dc" => ("dc", &mut this.dc),
                "filter" => ("filter", &mut this.filter),
                "ns" => ("ns", &mut this.ns),
                "partition" => ("partition", &mut this.partition),
                "tag" => ("tag", &mut None),
                _ => continue,
            };
            let limit = if name == "filter" { MAX_FILTER } else { MAX_VALUE };
            let value = decode(value, true).ok_or(Refusal::Parameter(name))?;
            if value.len() > limit {
                return Err(Refusal::LongParameter(name, limit));
            }
            if value.is_empty() {
                continue;
            }
            if name == "tag" {
                this.tags.push(value);
            } else if slot.is_none() {
                *slot = Some(value);
            }
        }
        if this.tags.len() > MAX_TAGS {
            return Err(Refusal::Tags(MAX_TAGS));
        }
        Ok(this)
    }

    fn question(self, flavour: Flavour, service: String, address: Option<String>) -> Question {
        let (key, once) = (self.key(&service), self.filter.is_some());
        let tags = self.tags.iter().map(|tag| tag_key(tag)).collect();
        Question { flavour, service, address, tags, key, once }
    }

    fn key(&self, service: &str) -> String {
        let mut key = format!("/v1/health/service/{service}?passing");
        let single = [
            ("dc", &self.dc),
            ("filter", &self.filter),
            ("ns", &self.ns),
            ("partition", &self.partition),
        ];
        for (name, value) in
            single.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?)))
        {
            key.push('&');
            key.push_str(name);
            key.push('=');
            encode(value, &mut key);
        }
        key
    }
}

/// Undoes percent encoding; `None` when it is broken or the result is no text. In a query a plus
/// sign is a blank.
fn decode(text: &str, query: bool) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'%' => {
                let digit = |at: usize| (*bytes.get(at)? as char).to_digit(16);
                out.push((digit(at)? * 16 + digit(at + 1)?) as u8);
                at += 2;
            }
            b'+' if query => out.push(b' '),
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

/// RFC 3986, section 2.3: everything but unreserved characters is encoded.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// The body of a no.
pub fn body_no(address: &str, service: &str) -> Vec<u8> {
    body_problem(&format!("ip:{address} is not in service:{service}"))
}

/// The body of any other answer that is no yes.
pub fn body_problem(message: &str) -> Vec<u8> {
    let mut body = b"{\"error\":1,\"messages\":\"".to_vec();
    let mut utf8 = [0; 4];
    for character in message.chars() {
        match character {
            // As Go's encoder writes them, so that no browser sees markup or a line's end.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                body.extend_from_slice(format!("\\u{:04x}", character as u32).as_bytes());
            }
            _ => json_line::escape(character.encode_utf8(&mut utf8).as_bytes(), &mut body),
        }
    }
    body.extend_from_slice(b"\"}\n");
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn question(path: &str, query: &str) -> Question {
        match read(path, query) {
            Asked::Question(question) => question,
            other => panic!("{path}?{query}: {other:?}"),
        }
    }

    #[test]
    fn a_path_names_service_and_address() {
        let asked = question("/has/api-x_1/10.0.20.1", "");
        assert_eq!((asked.flavour, asked.service.as_str()), (Flavour::Has, "api-x_1"));
        assert_eq!(asked.address.as_deref(), Some("10.0.20.1"));
        assert_eq!(asked.key, "/v1/health/service/api-x_1?passing");
        for (path, address) in [
            ("/has/web/2001%3adb8::1", "2001:db8::1"),
            ("/has/w%65b/10.0.20.x", "10.0.20.x"),
            ("/has/web/10.0.0.0/8", "10.0.0.0/8"),
            ("/has/web/a+b", "a+b"),
        ] {
            assert_eq!(question(path, "").address.as_deref(), Some(address));
        }
    }

    #[test]
    fn questions_that_one_answer_of_consul_serves_share_a_key() {
        let key = |query| question("/has/web/::1", query).key;
        assert_eq!(key("dc=tokyo&x=y"), "/v1/health/service/web?passing&dc=tokyo");
        assert_eq!(key("tag=b&tag=a&tag=b&dc=x&dc=y"), key("dc=x"));
        assert_eq!(key("dc=&tag="), key(""));
        assert_eq!(
            key("filter=Service.Port+%3D%3D+80%26index=7&ns=n&partition=p"),
            "/v1/health/service/web?passing&filter=Service.Port%20%3D%3D%2080%26index%3D7\
             &ns=n&partition=p"
        );
        assert_eq!(question("/auth", "ip=::1&service=web").key, key(""));
        let asked = question("/has/web/::1", "tag=B&tag=a%2Cb&filter=");
        assert_eq!((asked.tags, asked.once), (vec!["b".to_owned(), "a,b".to_owned()], false));
        assert!(question("/has/web/::1", "tag=b&filter=x").once);
    }

    #[test]
    fn what_is_no_question_is_refused() {
        for path in ["/has", "/has/", "/has/web", "/has/web/", "/has//1.2.3.4", "/Has/web/1", "/x"]
        {
            assert_eq!(read(path, ""), Asked::Unknown, "{path}");
        }
        for path in ["/has/a.b/1", "/has/a%2fb/1", "/has/a%00/1", "/has/%E6/x/1", "/has/é/1"] {
            assert!(!matches!(read(path, ""), Asked::Question(_)), "{path}");
        }
        let long = "x".repeat(300);
        for (path, query) in [
            ("/has/web/%zz", ""),
            ("/has/web/%f", ""),
            ("/has/web/%ff", ""),
            (&*format!("/has/web/{long}"), ""),
            ("/has/web/1", "dc=%"),
            ("/has/web/1", &*format!("tag={long}")),
            ("/has/web/1", &*"tag=a&".repeat(17)),
            ("/auth", ""),
            ("/auth", "service="),
            ("/auth", "service=../kv"),
        ] {
            assert!(matches!(read(path, query), Asked::Wrong(_)), "{path}?{query}");
        }
        assert_eq!((read("/", "x"), read("/live", "")), (Asked::Live, Asked::Live));
    }

    #[test]
    fn every_part_of_a_question_has_its_limit() {
        let x = |bytes: usize| "x".repeat(bytes);
        let tags = |count: usize| (0..count).map(|n| format!("tag={n}&")).collect::<String>();
        for (path, query, expected) in [
            (format!("/has/web/{}", x(256)), String::new(), None),
            (
                format!("/has/web/{}", x(257)),
                String::new(),
                Some("the ip is longer than 256 bytes"),
            ),
            ("/has/web/1".to_owned(), format!("dc={}", x(256)), None),
            (
                "/has/web/1".to_owned(),
                format!("dc={}", x(257)),
                Some("dc is longer than 256 bytes"),
            ),
            ("/has/web/1".to_owned(), format!("filter={}", x(2048)), None),
            (
                "/has/web/1".to_owned(),
                format!("filter={}", x(2049)),
                Some("filter is longer than 2048 bytes"),
            ),
            ("/has/web/1".to_owned(), tags(16), None),
            ("/has/web/1".to_owned(), tags(17), Some("there are more than 16 tags")),
            ("/auth".to_owned(), format!("service=web&ip={}", x(256)), None),
            (
                "/auth".to_owned(),
                format!("service=web&ip={}", x(257)),
                Some("ip is longer than 256 bytes"),
            ),
        ] {
            let asked = read(&path, &query);
            match expected {
                None => assert!(matches!(asked, Asked::Question(_)), "{path}?{query}"),
                Some(wrong) => {
                    let Asked::Wrong(refusal) = asked else { panic!("{path}?{query}") };
                    assert_eq!(refusal.to_string(), wrong);
                }
            }
        }
        assert!(matches!(read(&format!("/has/{}/1", x(256)), ""), Asked::Question(_)));
        assert_eq!(read(&format!("/has/{}/1", x(257)), ""), Asked::Unknown);
    }

    #[test]
    fn bodies_are_those_of_the_original() {
        let body = body_no("10.0.20.x", "api-xx");
        assert_eq!(body, b"{\"error\":1,\"messages\":\"ip:10.0.20.x is not in service:api-xx\"}\n");
        assert_eq!(
            String::from_utf8(body_problem("<a href=\"x\">&\n\u{2028}é")).unwrap(),
            "{\"error\":1,\"messages\":\"\\u003ca href=\\\"x\\\"\\u003e\\u0026\\n\\u2028é\"}\n"
        );
    }

    proptest! {
        #[test]
        fn a_key_stays_within_its_request(value in "\\PC{0,40}") {
            let mut encoded = String::new();
            encode(&value, &mut encoded);
            let asked = question("/has/web/1.2.3.4", &format!("filter={encoded}"));
            prop_assert!(asked.key.bytes().all(|b| b.is_ascii_graphic() && b != b'#'));
            prop_assert_eq!(asked.key.matches('&').count(), usize::from(!value.is_empty()));
            prop_assert_eq!(decode(&encoded, true), Some(value));
        }

        #[test]
        fn a_body_is_json_whatever_it_says(text in "\\PC{0,60}|[\\x00-\\x20]{1,5}") {
            let read: serde_json::Value = serde_json::from_slice(&body_problem(&text)).unwrap();
            prop_assert_eq!(&read["messages"], &serde_json::Value::String(text));
        }
    }
}
