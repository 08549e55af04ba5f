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

/// nginx's variables that a log format may have, but for those of `FAMILIES`.
const NGINX: [&str; 77] = [
    "ancient_browser",
    "args",
    "binary_remote_addr",
    "body_bytes_sent",
    "bytes_received",
    "bytes_sent",
    "connection",
    "connection_requests",
    "connection_time",
    "content_length",
    "content_type",
    "document_root",
    "document_uri",
    "fastcgi_script_name",
    "geoip_city",
    "geoip_country_code",
    "gzip_ratio",
    "host",
    "hostname",
    "https",
    "is_args",
    "limit_rate",
    "msec",
    "namespace",
    "ingress_name",
    "nginx_version",
    "pid",
    "pipe",
    "protocol",
    "proxy_add_x_forwarded_for",
    "proxy_alternative_upstream_name",
    "proxy_host",
    "proxy_port",
    "proxy_protocol_addr",
    "proxy_protocol_port",
    "proxy_upstream_name",
    "query_string",
    "realip_remote_addr",
    "realip_remote_port",
    "realpath_root",
    "remote_addr",
    "remote_port",
    "remote_user",
    "req_id",
    "request",
    "request_body",
    "request_completion",
    "request_filename",
    "request_id",
    "request_length",
    "request_method",
    "request_time",
    "request_uri",
    "scheme",
    "server_addr",
    "server_name",
    "server_port",
    "server_protocol",
    "service_name",
    "service_port",
    "session_time",
    "ssl_cipher",
    "ssl_client_s_dn",
    "ssl_client_verify",
    "ssl_protocol",
    "ssl_server_name",
    "ssl_session_reused",
    "status",
    "tcpinfo_rtt",
    "tcpinfo_rttvar",
    "the_real_ip",
    "time_iso8601",
    "time_local",
    "upstream_addr",
    "upstream_cache_status",
    "upstream_status",
    "uri",
];

/// Variables of nginx that are made by their beginning.
const FAMILIES: [&str; 10] = [
    "http_",
    "sent_http_",
    "sent_trailer_",
    "cookie_",
    "arg_",
    "upstream_",
    "jwt_",
    "geoip2_",
    "connection_",
    "brotli_",
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

/// The word of nginx of that name (without its `$`).
pub(super) fn nginx(name: &str) -> Option<Meaning> {
    let known = NGINX.contains(&name)
        || FAMILIES.iter().any(|family| name.len() > family.len() && name.starts_with(family));
    let list = name.starts_with("upstream_");
    known.then(|| Meaning { name: name.into(), bracketed: false, list })
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

/// What nginx's words are, for a message.
pub(super) fn nginx_words() -> String {
    let families = FAMILIES.map(|family| format!("${family}*"));
    let names = NGINX.map(|name| format!("${name}"));
    format!("{}, {}", names.join(", "), families.join(", "))
}

/// What Apache's words are, for a message.
pub(super) fn apache_words() -> String {
    let letters = APACHE.map(|(letter, _)| format!("%{letter}"));
    format!(
        "{}, %t, %v, %V, %{{UNIT}}T, %{{NAME}}i, %{{NAME}}o, %{{NAME}}C, %{{NAME}}e, \
        %{{NAME}}n, %{{NAME}}x",
        letters.join(", ")
    )
}
