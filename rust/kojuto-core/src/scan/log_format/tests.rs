use super::*;
use crate::scan::fields::RowFn;
use proptest::prelude::*;

fn read(format: &str, time: &str, line: &str, names: &[&str]) -> Vec<String> {
    let time = TimeField::parse(time).unwrap_or_default();
    let format = LogFormat::new(format).unwrap();
    let names: Vec<_> = std::iter::once(&"t").chain(names).map(|n| (n.as_bytes(), true)).collect();
    let keys = Keys::new(&names).unwrap();
    let wanted = Wanted::new(&keys, &format, &time);
    let read = |level: Level, block: String| {
        let mut found = Vec::new();
        let mut row: RowFn<'_> = &mut |_, values| {
            let values = values[..keys.count()].iter();
            found.push(values.map(|v| String::from_utf8_lossy(v).into_owned()).collect::<Vec<_>>());
        };
        reading::scan_at(level, block.as_bytes(), &wanted, &mut row);
        found.swap_remove(0)
    };
    let found = read(Level::best(), format!("{line}\n"));
    // At every level, and whatever stands behind it.
    for level in Level::all() {
        for behind in ["\n", "\r\n", "\n \t\"\n", &format!("\n\" {}\n", "x\\\" ".repeat(50))] {
            assert_eq!(read(level, format!("{line}{behind}")), found, "{level:?} {behind:?}");
        }
    }
    found
}

const NGINX: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" rt=$request_time urt="$upstream_response_time""#;
const LINE: &str = r#"10.0.0.1 - John Doe [10/Oct/2000:13:55:36 -0700] "GET /a \"b\" HTTP/1.1" 200 5 "-" "u a" rt=0.120 urt="0.1, 0.2""#;

#[test]
fn the_words_of_nginx() {
    let names = ["status", "remote_addr", "host", "user", "uri", "ua", "http_user_agent", "size"];
    let found = read(NGINX, "", LINE, &names);
    assert_eq!(
        found,
        ["0.120", "200", "10.0.0.1", "10.0.0.1", "John Doe", "/a", "u a", "u a", "5"]
    );
    for (time, expected) in [
        ("upstream_response_time", "0.1, 0.2"),
        ("$request_time", "0.120"),
        ("last", "0.1, 0.2"),
        ("-2", "0.120"),
        ("5", "200"),
        ("none", ""),
    ] {
        assert_eq!(read(NGINX, time, LINE, &["status"]), [expected, "200"], "{time}");
    }
}

#[test]
fn the_words_of_apache() {
    let format =
        r#"%v:%p %h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i" %D %{ms}T %400,501{X-Id}o"#;
    let line = r#"a.example:80 ::1 - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.1" 200 5 "r" "u a" 1234 1 -"#;
    let names = ["status", "server_name", "host", "time", "method", "referer", "sent_http_x_id"];
    let expected =
        ["1234", "200", "a.example", "::1", "10/Oct/2000:13:55:36 -0700", "GET", "r", ""];
    assert_eq!(read(format, "", line, &names), expected);
    let scale = |time: &str| {
        let time = TimeField::parse(time).unwrap_or_default();
        LogFormat::new(format).unwrap().time_scale(&time)
    };
    assert_eq!([scale(""), scale("milliseconds"), scale("1")], [1e-6, 1e-3, 1.0]);
    assert_eq!(read("%{us}T %T %s", "", "5 0 200", &["status"]), ["5", "200"]);
    assert_eq!(read("100%% %s %T", "", "100% 200 3", &["status"]), ["3", "200"]);
}

#[test]
fn what_stands_in_a_directive_is_read_as_it_stands_there() {
    let names = ["status", "uri"];
    let expected = ["0.5", "200", "/"];
    let line = r#"h - u [t t] "GET / HTTP/1.1" 200 0.5"#;
    for strings in [
        "'$remote_addr - $remote_user [$time_local] '\n    '\"$request\" $status $request_time'",
        "'$remote_addr - $remote_user [$time_local] '\t\"\\\"$request\\\" \" '$status $request_time';",
        "escape=json '$remote_addr - $remote_user [$time_local] \"$request\" $status $request_time';",
        r#""%h %l %u %t \"%r\" %>s %T""#,
        r#"%h %l %u %t \"%r\" %>s %T"#,
    ] {
        assert_eq!(read(strings, "", line, &names), expected, "{strings}");
    }
    // Quotes of the format's own are none of a directive.
    let line = r#""GET / HTTP/1.1" 200 0.5 "u a""#;
    assert_eq!(read(r#""%r" %>s %T "%{User-Agent}i""#, "", line, &names), expected);
    assert_eq!(
        read(
            "log_format ltsv \"uri:$uri\"\n\"\\tstatus:$status\";",
            "",
            "uri:/\tstatus:200",
            &names
        ),
        ["", "200", "/"]
    );
    assert_eq!(read(r"%U \a %>s", "", r"/ \a 200", &names), ["", "200", "/"]);
}

#[test]
fn whole_directives_and_formats_known_by_name() {
    let directive = "log_format  main  '$remote_addr - $remote_user [$time_local] '\n   '\"$request\" $status $request_time';";
    let line = r#"h - u [t t] "GET / HTTP/1.1" 200 0.5"#;
    assert_eq!(read(directive, "", line, &["status", "uri"]), ["0.5", "200", "/"]);
    let directive = r#"LogFormat "%h %l %u %t \"%r\" %>s %b %D" mine"#;
    let line = r#"h - u [t t] "GET / HTTP/1.1" 200 7 5"#;
    assert_eq!(read(directive, "", line, &["status", "uri", "size"]), ["5", "200", "/", "7"]);
    let line = r#"h - - [t t] "GET / HTTP/1.1" 200 7 "r" "u""#;
    assert_eq!(read("combined", "", line, &["status", "ua"]), ["", "200", "u"]);
    let line = r#"h - - [t t] "GET / HTTP/1.1" 200 7"#;
    assert_eq!(read("common", "", line, &["status", "size"]), ["", "200", "7"]);
}

#[test]
fn words_that_nothing_parts_go_together_where_it_is_known_how() {
    let names = ["status", "uri", "host", "time"];
    for (format, line, expected) in [
        ("%h %m %U%q %>s", "h GET /a?b=c 200", ["", "200", "/a?b=c", "h", ""]),
        ("%h %m %U%q %>s", "h GET /a 200", ["", "200", "/a", "h", ""]),
        (
            "http://$host$request_uri $status",
            "http://a:80/b?c=/d 200",
            ["", "200", "/b?c=/d", "a:80", ""],
        ),
        (
            "%{%FT%T}t.%{msec_frac}t%{%z}t %h %>s %U",
            "2026-11-30T20:10:01.039+0000 h 200 /",
            ["", "200", "/", "h", "2026-11-30T20:10:01.039+0000"],
        ),
        (
            "%{begin:sec}t %{end:usec}t %^FB %>s",
            "1796069401 1796069401044522 77 200",
            ["", "200", "", "", "1796069401"],
        ),
        // The string of a log_format, and variables of its own or of a module.
        (
            "\"time:$my_time\\thost:$geoip2_x\\tstatus:$status\"",
            "time:5\thost:h\tstatus:200",
            ["", "200", "", "", ""],
        ),
    ] {
        assert_eq!(read(format, "", line, &names), expected, "{format}");
    }
    assert_eq!(read("$taken_s $status", "taken_s", "5 200", &["status"]), ["5", "200"]);
}

#[test]
fn blanks_lists_and_lines_that_break_off() {
    let format =
        r#"$remote_addr $status $upstream_addr $upstream_response_time "$http_user_agent" $pid"#;
    let line = r#"h   200  10.0.0.1:80, 10.0.0.2:80 : 10.0.0.3:80 0.1, 0.2 : 0.3  "a \" b" 7"#;
    let names = ["status", "upstream_addr", "ua", "pid"];
    let expected =
        ["0.1, 0.2 : 0.3", "200", "10.0.0.1:80, 10.0.0.2:80 : 10.0.0.3:80", r#"a \" b"#, "7"];
    assert_eq!(read(format, "", line, &names), expected);
    for cut in 9..line.len() {
        assert_eq!(read(format, "", &line[..cut], &["status"])[1], "200", "{cut}");
    }
    assert_eq!(read(r#""$status" $host"#, "", "200 x", &["status"]), ["", ""]);
}

#[test]
fn a_format_may_have_several_blanks_between_its_words() {
    for line in ["h 200 0.5", "h  200  0.5", "h \t 200 0.5"] {
        let found = read("$remote_addr  $status \t $request_time", "", line, &["status", "host"]);
        assert_eq!(found, ["0.5", "200", "h"], "{line}");
    }
    assert_eq!(read("$status\t$request_time", "", "2 0\t0.5", &["status"]), ["0.5", "2 0"]);
}

/// The fields of a line by nothing but the words of the format: the text in front of each, a byte
/// at a time.
fn plainly(format: &LogFormat, line: &[u8]) -> Vec<Vec<u8>> {
    let is_blank = |at: usize| matches!(line.get(at), Some(b' ' | b'\t'));
    let behind = |literal: &Literal, mut at: usize| {
        for &byte in &literal.text {
            if byte != b' ' && line.get(at) != Some(&byte) || byte == b' ' && !is_blank(at) {
                return None;
            }
            at += 1;
            while byte == b' ' && is_blank(at) {
                at += 1;
            }
        }
        Some(at)
    };
    let mut fields = Vec::new();
    let Some(mut from) = behind(&format.pieces[0].before, 0) else { return fields };
    for at in 0..format.pieces.len() {
        let next = format.pieces.get(at + 1).map_or(&format.tail, |next| &next.before);
        let is_quoted = next.text.first() == Some(&b'"');
        let (mut place, mut end) = (from, None);
        while place < line.len() && end.is_none() && !next.text.is_empty() {
            if is_quoted && line[place] == b'\\' {
                place += 2;
                continue;
            }
            let so_far = &line[from..place];
            let goes_on = so_far.ends_with(b",")
                || so_far.ends_with(b" :")
                || line[place..].starts_with(b" : ");
            let is_end =
                line[place] == next.text[0] && !(format.pieces[at].meaning.list && goes_on);
            end = if is_end { behind(next, place).map(|behind| (place, behind)) } else { None };
            place += 1;
        }
        let (to, behind) = end.unwrap_or((line.len(), line.len()));
        fields.push(line[from..to].to_vec());
        if end.is_none() {
            break;
        }
        from = behind;
    }
    fields
}

proptest! {
    #[test]
    fn every_line_is_cut_as_its_format_says(
        words in proptest::collection::vec(
            prop_oneof![
                Just(r#" "$http_a""#), Just(" $pid"), Just(" [$time_local]"), Just(" $upstream_addr"),
                Just(r#" - "$request""#), Just("  x=$connection"), Just("|$request_length"),
            ], 0..5),
        status in any::<proptest::sample::Index>(),
        line in "([ -~]{0,4}|[0-9]{1,3}[ \t]{0,2}|, | : |\" \"|\\\\| \\[|\\] ){0,24}",
        fits in any::<bool>(),
    ) {
        let mut words = words;
        words.insert(status.index(words.len() + 1), " $status");
        let text = words.concat();
        let format = LogFormat::new(&text).unwrap();
        let line = match fits {
            true => text.replace('$', "a").replace("  ", " \t") + &line,
            false => line,
        };
        let expected = plainly(&format, line.as_bytes());
        for at in 1..=format.pieces.len() {
            let found = read(&text, &at.to_string(), &line, &["status"]);
            let value = expected.get(at - 1).map_or(&b""[..], |value| value);
            let value = if value == b"-" { "".into() } else { String::from_utf8_lossy(value) };
            prop_assert_eq!(&found[0], &value);
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    for (format, why) in [
        ("%s %Z", "%Z is not known; known are %a, "),
        ("%s %{x}Z", "%{x}Z is not known"),
        ("%s %", "% is not known"),
        ("%s %^t^té", "%^t^ is not known"),
        ("%s ${é", "$ is not known"),
        ("$status$request_time", "nothing stands between $request_time and the word before it"),
        ("$remote_addr", "no status ($status, %>s) in"),
        ("", "no status"),
    ] {
        let error = LogFormat::new(format).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(LogFormat::new("${status} ${request_timeé").is_ok());
    let format = LogFormat::new("$status $request_time").unwrap();
    let check = |time: &str| format.check(&TimeField::parse(time).unwrap());
    assert_eq!(check("request_time"), Ok(()));
    let error = check("pid").unwrap_err().to_string();
    assert!(error.ends_with("it has status, request_time"), "{error}");
    assert!(check("3").is_err() && check("-3").is_err() && check("-2").is_ok());
}
