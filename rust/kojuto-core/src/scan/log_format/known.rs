//! The words of nginx's and Apache's log formats, and what they are called here.

/// What one word of a format stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meaning {
    /// Its name: nginx's variable; for Apache the one of nginx that means the same.
    pub(super) name: Box<str>,
    /// Stands in brackets that the format does not show.
    pub(super) bracketed: bool,
    /// May be a list with blanks in it: `0.1, 0.2 : 0.3`.
    pub(super) list: bool,
}

/// Other names for the fields, in the labels of ltsv.org.
pub(super) const LABELS: [(&str, &[&str]); 11] = [
    ("host", &["remote_addr"]),
    ("ident", &["remote_logname"]),
    ("user", &["remote_user"]),
    ("time", &["time_local", "time_iso8601"]),
    ("req", &["request"]),
    ("method", &["request_method"]),
    ("uri", &["request_uri", "uri"]),
    ("protocol", &["server_protocol"]),
    ("size", &["body_bytes_sent", "bytes_sent"]),
    ("referer", &["http_referer"]),
    ("ua", &["http_user_agent"]),
];

/// Apache's directives (<https://httpd.apache.org/docs/2.4/mod/mod_log_config.html>).
const APACHE: [(char, &str); 25] = [
    ('a', "remote_addr"),
    ('A', "server_addr"),
    ('B', "body_bytes_sent"),
    ('b', "body_bytes_sent"),
    ('D', "microseconds"),
    ('f', "request_filename"),
    ('h', "remote_addr"),
    ('H', "server_protocol"),
    ('I', "bytes_received"),
    ('k', "connection_requests"),
    ('l', "remote_logname"),
    ('L', "request_id"),
    ('m', "request_method"),
    ('O', "bytes_sent"),
    ('p', "server_port"),
    ('P', "pid"),
    ('q', "query_string"),
    ('r', "request"),
    ('R', "handler"),
    ('s', "status"),
    ('S', "bytes"),
    ('T', "request_time"),
    ('u', "remote_user"),
    ('U', "uri"),
    ('X', "connection_status"),
];

/// The variable of nginx of that name (without its `$`). Any may be one: modules have their own, and so
/// has a configuration, by `map`, `geo` and `set`.
pub(super) fn nginx(name: &str) -> Meaning {
    Meaning { name: name.into(), bracketed: false, list: name.starts_with("upstream_") }
}

/// The directive of Apache with that letter and what stands in its braces.
pub(super) fn apache(letter: char, argument: Option<&str>) -> Option<Meaning> {
    let mut bracketed = false;
    let name = match (letter, argument) {
        ('t', None) => {
            bracketed = true;
            "time_local".to_owned()
        }
        ('t', Some(_)) => "time_local".to_owned(),
        ('v' | 'V', None) => "server_name".to_owned(),
        ('T', Some("s")) => "request_time".to_owned(),
        ('T', Some("ms")) => "milliseconds".to_owned(),
        ('T', Some("us")) => "microseconds".to_owned(),
        ('a' | 'p' | 'P' | 'h', Some(_)) => return apache(letter, None),
        ('i', Some(header)) => format!("http_{}", lower(header)),
        ('o', Some(header)) => format!("sent_http_{}", lower(header)),
        ('C', Some(cookie)) => format!("cookie_{}", lower(cookie)),
        ('e' | 'n' | 'x', Some(variable)) => lower(variable),
        (_, Some(_)) => return None,
        (_, None) => APACHE.iter().find(|(known, _)| *known == letter)?.1.to_owned(),
    };
    Some(Meaning { name: name.into(), bracketed, list: false })
}

/// A header's name as nginx spells it in a variable.
fn lower(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

/// What Apache's words are, for a message.
pub(super) fn apache_words() -> String {
    let letters = APACHE.map(|(letter, _)| format!("%{letter}"));
    format!(
        "{}, %t, %v, %V, %{{UNIT}}T, %{{NAME}}i, %{{NAME}}o, %{{NAME}}C, %{{NAME}}e, \
        %{{NAME}}n, %{{NAME}}x, %^FB",
        letters.join(", ")
    )
}
