use super::super::answer::Answer;
use super::super::condition::Condition;
use super::super::totals::REASONS;
use super::*;

fn counted(options: &Options, blocks: &[&str]) -> Totals {
    let mut collector = Collector::new(options).unwrap();
    for block in blocks {
        collector.block(block.as_bytes()).unwrap();
    }
    collector.into_totals()
}

fn read(block: &str) -> Totals {
    counted(&Options::default(), &[block])
}

/// (name, lines, seconds) of the endpoints.
fn rows(totals: &Totals) -> Vec<(String, u64, f64)> {
    let Answer { endpoints, .. } = totals.answer().unwrap();
    let row = |endpoint: &super::super::Endpoint| {
        let name = String::from_utf8_lossy(&endpoint.name).into_owned();
        (name, endpoint.figures.count(), endpoint.figures.sum_s())
    };
    endpoints.iter().map(row).collect()
}

/// (role, key, unit) that were found.
fn keys(totals: &Totals) -> Vec<(&str, &str, &str)> {
    let found = totals.found().unwrap();
    found.keys.iter().map(|(role, key, unit)| (*role, &**key, *unit)).collect()
}

fn row(name: &str, lines: u64, seconds: f64) -> (String, u64, f64) {
    (name.to_owned(), lines, seconds)
}

#[test]
fn labels_of_ltsv_are_found() {
    let totals = read(
        "time:29/Nov/2026:14:06:41 +0900\thost:10.0.0.1\tmethod:GET\turi:/a?b\tstatus:200\tsize:12\treqtime:0.120\tvhost:www.example.com\n\
         time:29/Nov/2026:14:06:42 +0900\thost:10.0.0.1\tmethod:GET\turi:/a\tstatus:499\tsize:3\treqtime:-\n\
         time:29/Nov/2026:14:06:43 +0900\thost:10.0.0.1\tmethod:POST\turi:/b/17\tstatus:500\tsize:-\treqtime:0.1, 0.2 : 0.3\n",
    );
    assert_eq!(rows(&totals), [row("POST /b/{n}", 1, 0.6), row("GET /a", 2, 0.12)]);
    assert_eq!(
        keys(&totals),
        [
            ("request_time", "reqtime", "s"),
            ("status", "status", ""),
            ("uri", "uri", ""),
            ("method", "method", ""),
            ("bytes", "size", ""),
            ("time", "time", ""),
            ("host", "vhost", ""),
        ]
    );
    let all = totals.all();
    assert_eq!((all.classes, all.bytes, all.timed), ([0, 1, 0, 0, 1, 1, 0], 15, 2));
    assert_eq!(
        totals.span(),
        Some((1_795_928_801_000_000_000, Some(32400), 1_795_928_803_000_000_000))
    );
    assert_eq!(totals.hosts().collect::<Vec<_>>(), [b"www.example.com"]);
    assert_eq!(totals.resolution_s(), Some(0.01));
    let answer = totals.answer().unwrap();
    assert_eq!(answer.endpoints[1].figures.example(), b"/a?b");
    let (slow, endpoint) = &answer.slowest[0];
    assert_eq!((slow.time_s(), &*slow.target, slow.status), (0.6, &b"/b/17"[..], 500));
    assert_eq!((&*slow.method, &**endpoint), (&b"POST"[..], &b"POST /b/{n}"[..]));
}

#[test]
fn members_of_members_are_found() {
    let totals = read(
        "{\"ts\":1693840791.75,\"request\":{\"method\":\"GET\",\"host\":\"a.example\",\"uri\":\"/x\\/7\"},\"duration\":0.000002701,\"size\":4,\"status\":200}\n",
    );
    assert_eq!(rows(&totals), [row("GET /x/{n}", 1, 0.000_002_701)]);
    assert_eq!(totals.span().unwrap().0, 1_693_840_791_750_000_000);
    let request = [("uri", "request.uri", ""), ("method", "request.method", "")];
    assert!(request.iter().all(|key| keys(&totals).contains(key)), "{:?}", keys(&totals));
}

#[test]
fn a_combined_line_has_its_request_and_its_time_at_the_end() {
    let line = |request: &str, behind: &str| {
        format!("10.0.0.1 - - [29/Nov/2026:14:06:41 +0000] \"{request}\" {behind}\n")
    };
    let totals = read(
        &[
            line("GET /a b?c HTTP/1.1", "200 12 \"-\" \"ua\" 0.250"),
            line("GET /a%20b HTTP/1.1", "200 12 \"-\" \"ua\""),
            line("\\x16\\x03\\x01", "400 0 \"-\" \"-\" 0.000"),
            line("-", "408 0 \"-\" \"-\""),
        ]
        .concat(),
    );
    let names: Vec<_> = rows(&totals).into_iter().map(|(name, lines, _)| (name, lines)).collect();
    assert_eq!(names.iter().map(|(_, lines)| lines).sum::<u64>(), 4);
    assert!(names.contains(&("(no request)".to_owned(), 2)), "{names:?}");
    assert_eq!((totals.all().timed, totals.all().sum_s()), (2, 0.25));
    assert_eq!(totals.found().unwrap().format, "combined");
}

#[test]
fn nginx_and_apache_tell_their_formats() {
    for (format, line, wanted) in [
        (
            r#"$remote_addr [$time_iso8601] "$request" $status $body_bytes_sent $request_time $host"#,
            r#"10.0.0.1 [2026-11-29T14:06:41+00:00] "GET /a HTTP/1.1" 200 12 0.5 www.example.com"#,
            0.5,
        ),
        (
            r#"%h %l %u %t "%r" %>s %O %D"#,
            r#"10.0.0.1 - - [29/Nov/2026:14:06:41 +0000] "GET /a HTTP/1.1" 200 12 1500"#,
            0.0015,
        ),
    ] {
        let format = crate::scan::log_format::LogFormat::new(format).unwrap();
        let options = Options { format: Format::Text(Box::new(format)), ..Options::default() };
        let totals = counted(&options, &[&format!("{line}\n")]);
        assert_eq!(rows(&totals), [row("GET /a", 1, wanted)]);
        assert_eq!((totals.all().bytes, totals.span().is_some()), (12, true));
    }
}

#[test]
fn keys_of_other_names_are_known_by_their_values() {
    let totals = read(
        "when_it_was:2026-11-29T14:06:41Z\tverb_of_it:GET\twhere:/a\tresult:200\trenderTime:7\n\
         when_it_was:2026-11-29T14:06:41Z\tverb_of_it:PUT\twhere:/a\tresult:404\trenderTime:12\n",
    );
    assert_eq!(rows(&totals), [row("PUT /a", 1, 0.012), row("GET /a", 1, 0.007)]);
    assert_eq!(keys(&totals)[0], ("request_time", "renderTime", "ms"));
}

#[test]
fn given_keys_and_units_go_first() {
    let keys = vec![("request_time", "up".to_owned()), ("uri", "path".to_owned())];
    let options = Options { keys, time_scale: Some(1e-6), ..Options::default() };
    let totals = counted(&options, &["status:200\turi:/a\tpath:/b\treqtime:1\tup:1500\n"]);
    assert_eq!(rows(&totals), [row("/b", 1, 0.0015)]);
}

#[test]
fn bad_lines_are_counted_by_reason() {
    let totals = read(
        "status:200\turi:/a\treqtime:0.1\n\
         status:OK\turi:/a\treqtime:0.1\n\
         uri:/a\treqtime:0.1\n\
         status:200\turi:/a\treqtime:fast\n\
         something else\n\
         status:200\turi:/a\treqtime:-1\n\
         status:101\turi:/a\treqtime:3600\n",
    );
    let found: Vec<_> =
        REASONS.iter().zip(totals.bad().counts()).filter(|(_, n)| **n > 0).collect();
    assert_eq!(
        found,
        [
            (&"not in the expected format", &1),
            (&"no status", &1),
            (&"status is not an integer", &1),
            (&"time taken is not a number", &1),
        ]
    );
    assert_eq!(totals.bad().first().unwrap().1, b"status:OK\turi:/a\treqtime:0.1");
    assert_eq!((totals.lines(), totals.all().count(), totals.all().timed), (7, 3, 1));
}

#[test]
fn lines_out_of_the_window_or_against_a_condition_are_left_out() {
    let line = |second: u32, status: u32, uri: &str| {
        format!(
            "time:2026-11-29T14:06:{second:02}\tstatus:{status}\tmethod:GET\turi:{uri}\treqtime:0.1\tua:{status}x\n"
        )
    };
    let block =
        [line(1, 200, "/a"), line(2, 500, "/a"), line(3, 502, "/b?q=1"), line(4, 500, "/c")]
            .concat();
    let at = |second: i64| Some((1_795_961_160 + second) * 1_000_000_000);
    for (since, until, zone_s, text, count) in [
        (None, None, 0, "status >= 500", 3),
        (at(2), None, 0, "status >= 500", 3),
        (at(3), at(4), 0, "status >= 500", 1),
        (at(3 - 3600), at(4 - 3600), 3600, "status >= 500", 1),
        (None, None, 0, "status >= 500 and uri ~ ^/b", 1),
        (None, None, 0, "path == /b", 1),
        (None, None, 0, "ua == 502x", 1),
        (None, None, 0, "request_time > 0.05", 4),
        (None, None, 0, "method != GET", 0),
    ] {
        let conditions = Condition::parse(text).unwrap();
        let options = Options { since, until, zone_s, conditions, ..Options::default() };
        let totals = counted(&options, &[&block]);
        assert_eq!((totals.all().count(), totals.left_out()), (count, 4 - count), "{text}");
    }
}

#[test]
fn lines_are_grouped_by_any_fields() {
    let block = "status:200\tmethod:GET\turi:/a/1?x\tua:x y\n\
        status:404\tmethod:GET\turi:/a/2\tua:x y\nstatus:404\tmethod:PUT\turi:/a/3\n";
    let of = |names: &[&str]| {
        let group_by = names.iter().map(|name| (*name).to_owned()).collect();
        let totals = counted(&Options { group_by, ..Options::default() }, &[block]);
        rows(&totals).into_iter().map(|(name, lines, _)| (name, lines)).collect::<Vec<_>>()
    };
    let row = |name: &str, lines| (name.to_owned(), lines);
    assert_eq!(of(&["status"]), [row("404", 2), row("200", 1)]);
    assert_eq!(of(&["ua"]), [row("x y", 2), row("-", 1)]);
    assert_eq!(of(&["method", "ua"]), [row("GET\u{1f}x y", 2), row("PUT\u{1f}-", 1)]);
    assert_eq!(of(&["path"]), [row("/a/{n}", 3)]);
    assert_eq!(of(&["method", "path"]), [row("GET /a/{n}", 2), row("PUT /a/{n}", 1)]);
}

#[test]
fn envelopes_are_taken_off_and_a_format_may_change() {
    let json = r#"{"status":200,"method":"GET","uri":"/j","request_time":0.5}"#;
    let cri = format!(
        "2026-11-29T14:06:41.1Z stdout P {}\n2026-11-29T14:06:41.1Z stdout F {}\n",
        &json[..20],
        &json[20..]
    );
    let ltsv = "status:200\tmethod:GET\turi:/l\treqtime:0.25\n".repeat(5);
    let totals = counted(&Options::default(), &[&cri]);
    assert_eq!(rows(&totals), [row("GET /j", 1, 0.5)]);
    assert_eq!(totals.found().unwrap().envelope.as_deref(), Some("cri"));
    let totals = counted(&Options::default(), &[&format!("{json}\n"), &ltsv]);
    assert_eq!(rows(&totals), [row("GET /l", 5, 1.25), row("GET /j", 1, 0.5)]);
    assert_eq!(totals.found().unwrap().format, "ltsv");
}

#[test]
fn more_keys_than_there_is_room_for_are_told() {
    let options = Options { capacity: 2, ..Options::default() };
    let block: String = (0..9)
        .map(|n| format!("status:200\turi:/name-{}\treqtime:0.001\n", b"xyxzxyxwx"[n] as char))
        .collect();
    let totals = counted(&options, &[&block]);
    let (dropped, seconds, off_by) = totals.other();
    let rows = rows(&totals);
    assert_eq!(rows[0].0, "/name-x");
    assert_eq!(rows.iter().map(|(_, lines, _)| lines).sum::<u64>() + dropped, 9);
    assert!(off_by > 0 && dropped > 0 && seconds > 0.0);
    assert_eq!((totals.all().count(), totals.all().sum_s()), (9, 0.009));
}
