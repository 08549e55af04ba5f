use super::super::answer::Answer;
use super::super::condition::Condition;
use super::super::naming::NamingOptions;
use super::super::options::MOST_KEYS;
use super::super::totals::REASONS;
use super::*;
use crate::scan::instant::Zone;

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
fn formats_of_programs_have_their_moments_and_bytes() {
    for (line, at, bytes) in [
        (
            r#"http 2018-07-02T22:23:00.5Z app/x/50 192.168.131.39:2817 10.0.0.1:80 0.0 0.5 0.0 200 200 34 366 "GET http://www.example.com:80/ HTTP/1.1" "curl" - -"#,
            1_530_570_180_500_000_000,
            366,
        ),
        (
            r#"10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/500 200 2750 - - ---- 1/1/1/1/0 0/0 "GET / HTTP/1.1""#,
            1_233_922_454_655_000_000,
            2750,
        ),
        (
            "[GIN] 2020/05/01 - 18:00:00 | 200 |     1.5ms |  10.0.0.1 | GET  \"/ping\"",
            1_588_356_000_000_000_000,
            0,
        ),
        (
            "1286536309.450  500 192.168.0.68 TCP_MISS/200 507 GET http://a.example/ - DIRECT/1 -",
            1_286_536_309_450_000_000,
            507,
        ),
    ] {
        let totals = read(&format!("{line}\n"));
        let found = (totals.span().map(|(first, ..)| first), totals.all().bytes);
        assert_eq!(found, (Some(at), bytes), "{line}");
    }
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
fn empty_lines_and_comments_are_no_lines() {
    let log =
        "#Version: 1.0\n\n \t\r\n#status:200\turi:/c\treqtime:1\nuri:/a\tstatus:200\n\0\0#x\n";
    let totals = read(log);
    assert_eq!((totals.lines(), totals.bad().counts().iter().sum::<u64>()), (1, 0));
    assert_eq!(rows(&totals), [row("/a", 1, 0.0)]);
    // Where an expression says that lines begin so, they do.
    let regex = regex::bytes::Regex::new(r"^#(?P<uri>/\S+) (?P<status>\d+)").unwrap();
    let options = Options { format: Format::Regex(regex.into()), ..Options::default() };
    let totals = counted(&options, &["#/a 200\n# no line\n/b 200\n"]);
    assert_eq!((totals.lines(), totals.bad().counts().iter().sum::<u64>()), (2, 1));
    assert_eq!(rows(&totals), [row("/a", 1, 0.0)]);
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
        let zone = Zone::new(vec![(0, zone_s)]);
        let options = Options { since, until, zone, conditions, ..Options::default() };
        let totals = counted(&options, &[&block]);
        assert_eq!((totals.all().count(), totals.left_out()), (count, 4 - count), "{text}");
    }
}

#[test]
fn the_zone_of_the_machine_is_for_clocks_that_tell_none() {
    let rest = "status:200\tmethod:GET\turi:/\treqtime:0.1";
    let elf = "2026-11-29 14:06:00 10.0.0.1 GET / - 80 - 10.0.0.2 ua - 200 0 0 500";
    for (line, zone_s) in [
        (format!("time:1795961160\t{rest}\n"), 0),
        (format!("time:1795961160000\t{rest}\n"), 0),
        (format!("time:2026-11-29T14:06:00Z\t{rest}\n"), 0),
        (format!("{elf}\n"), 0), // W3C: "UTC"
        (format!("time:2026-11-29T14:06:00\t{rest}\n"), 32400),
    ] {
        let zone = Zone::new(vec![(0, 32400)]);
        let totals = counted(&Options { zone, ..Options::default() }, &[&line]);
        let first = totals.span().map(|(first, ..)| first / 1_000_000_000);
        assert_eq!(first, Some(1_795_961_160 - zone_s), "{line}");
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

/// A word for each number, that has no shape of an id.
fn word(mut number: usize) -> String {
    let mut word = String::from("q");
    while number > 0 {
        word.push((b'a' + (number % 13) as u8) as char);
        number /= 13;
    }
    word
}

#[test]
fn names_that_fold_make_room_for_others() {
    let options = Options { capacity: 500, ..Options::default() };
    let line = |n: usize| {
        let word = word(n % 9_000);
        format!(
            "status:200\tmethod:GET\turi:/posts/{word}/likes\treqtime:0.{:03}\n\
             status:404\tmethod:GET\turi:/{word}.php\treqtime:0.001\n\
             status:200\tmethod:GET\turi:/login\treqtime:0.001\n",
            n % 997
        )
    };
    let log: Vec<String> = (0..18_000).map(line).collect();
    let expected = [("GET /*", 18_000), ("GET /login", 18_000), ("GET /posts/*/likes", 18_000)];
    let (first, second) = log.split_at(7_000);
    let whole = counted(&options, &[&log.concat()]);
    let mut merged = counted(&options, &[&first.concat()]);
    merged.merge(counted(&options, &[&second.concat()])).unwrap();
    let read = Totals::from_bytes(&merged.to_bytes().unwrap()).unwrap();
    for totals in [whole, merged, read] {
        let mut found = rows(&totals);
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let found: Vec<_> = found.iter().map(|(name, lines, _)| (&**name, *lines)).collect();
        assert_eq!((&found[..], totals.other()), (&expected[..], (0, 0.0, 0)));
        let slowest = totals.answer().unwrap().slowest;
        assert!(slowest.iter().all(|(_, endpoint)| &**endpoint == b"GET /posts/*/likes"));
    }
}

/// What is counted of blocks, all that hangs on the order of lines included.
fn all_of(collector: Collector) -> impl PartialEq + std::fmt::Debug {
    let totals = collector.into_totals();
    let answer = totals.answer().unwrap();
    (answer, totals.other(), totals.all().clone(), totals.span())
}

#[test]
fn lines_that_are_counted_together_count_as_one_by_one() {
    let line = |n: usize| {
        let (word, method) = (word(n * n % 701), ["GET", "POST"][n % 2]);
        let uri = match n % 7 {
            0 => format!("/{word}/{}", n % 50),
            1 => format!("/one/{}?page={n}", n % 3),
            _ => format!("/posts/{word}"),
        };
        let (second, status) = (1_700_000_000 + n / 9, [200, 404, 500][n * 7 % 3]);
        format!("time:{second}\tstatus:{status}\tmethod:{method}\turi:{uri}\treqtime:0.{n:04}\n")
    };
    let lines: Vec<String> = (0..3_000).map(line).collect();
    for (capacity, fold) in [(3, true), (40, true), (40, false), (300, true), (5_000, true)] {
        let naming = NamingOptions { fold, ..NamingOptions::default() };
        let options = Options { capacity, naming, ..Options::default() };
        let mut whole = Collector::new(&options).unwrap();
        whole.block(lines.concat().as_bytes()).unwrap();
        let mut single = Collector::new(&options).unwrap();
        lines.iter().for_each(|line| single.block(line.as_bytes()).unwrap());
        assert_eq!(whole.lines(), 3_000);
        assert!(all_of(whole) == all_of(single), "{capacity} {fold}");
    }
}

#[test]
fn collectors_side_by_side_keep_no_more_than_their_share() {
    let options = Options::default();
    for (collectors, capacity) in [(1, MOST_KEYS), (2, 90_000), (8, 22_500), (1_000, 1_024)] {
        assert_eq!(options.shared(collectors).capacity, capacity);
    }
    let one = Collector::new(&Options { capacity: 4_000, ..Options::default() }).unwrap();
    let mut parts: Vec<_> = (0..200).map(|_| one.one_of(200)).collect();
    for (at, part) in parts.iter_mut().enumerate() {
        let line = |n: usize| format!("status:200\turi:/{}\n", word(at * 20 + n));
        part.block((0..20).map(line).collect::<String>().as_bytes()).unwrap();
    }
    let mut parts = parts.into_iter().map(Collector::into_totals);
    let mut all = parts.next().unwrap();
    all.widen(&Options { capacity: 4_000, ..Options::default() });
    parts.for_each(|part| all.merge(part).unwrap());
    assert_eq!((all.all().count(), all.other()), (4_000, (0, 0.0, 0)));
}

#[test]
fn a_star_of_the_log_makes_no_place_fold() {
    let line = |path: &str| format!("status:200\tmethod:GET\turi:{path}\treqtime:0.001\n");
    let totals = read(&["/a/*", "/a/b", "/a/c"].map(line).concat());
    let names: Vec<String> = rows(&totals).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["GET /a/*", "GET /a/b", "GET /a/c"]);
}

#[test]
fn rows_may_be_of_what_logs_call_by_many_names() {
    let of = |name: &str, block: &str| {
        let options = Options { group_by: vec![name.to_owned()], ..Options::default() };
        let mut collector = Collector::new(&options).unwrap();
        collector.turn_to("logs/a.log", None);
        collector.block(block.as_bytes()).unwrap();
        let totals = collector.into_totals();
        (rows(&totals).into_iter().next().unwrap().0, totals.found().unwrap().keys.last().cloned())
    };
    let combined = "www.example.com:80 10.0.0.1 - - [29/Nov/2026:14:06:41 +0900] \"GET /a HTTP/1.1\" 200 5 \"-\" \"curl/8\" 0.1\n";
    let ltsv =
        "uri:/a\tstatus:200\treqtime:1\tvhost:a.example\tua:curl/8\tupstream_addr:10.0.0.2:80\n";
    let json = "{\"uri\":\"/a\",\"status\":200,\"host\":\"a.example\",\"user_agent\":\"curl/8\",\"upstream_host\":\"10.0.0.2:80\"}\n";
    let own = "uri:/a\tstatus:200\tupstream:b\tupstream_addr:10.0.0.2:80\n";
    let taken = |what: &'static str, key: &str| Some((what, key.to_owned(), ""));
    assert_eq!(of("host", combined).0, "www.example.com:80");
    assert_eq!(of("user-agent", combined), ("curl/8".to_owned(), taken("user-agent", "ua")));
    assert_eq!(of("host", ltsv).0, "a.example");
    assert_eq!(of("user-agent", ltsv), ("curl/8".to_owned(), taken("user-agent", "ua")));
    let upstream = "10.0.0.2:80".to_owned();
    assert_eq!(of("upstream", ltsv), (upstream.clone(), taken("upstream", "upstream_addr")));
    assert_eq!(of("upstream", json), (upstream, taken("upstream", "upstream_host")));
    assert_eq!(of("user-agent", json).0, "curl/8");
    let caddy =
        "{\"request\":{\"uri\":\"/a\",\"headers\":{\"User-Agent\":[\"curl/8\"]}},\"status\":200}\n";
    let key = "request.headers.User-Agent";
    assert_eq!(of("user-agent", caddy), ("curl/8".to_owned(), taken("user-agent", key)));
    // What a log itself calls so goes first, and is no other name.
    assert_eq!(of("upstream", own), ("b".to_owned(), taken("uri", "uri")));
    assert_eq!(of("upstream", "uri:/a\tstatus:200\n").0, "-");
    for block in [combined, ltsv, json] {
        assert_eq!(of("file", block).0, "logs/a.log");
    }
}

#[test]
fn what_was_taken_for_a_group_stands_in_the_file() {
    let options = Options { group_by: vec!["user-agent".to_owned()], ..Options::default() };
    let totals = counted(&options, &["uri:/a\tstatus:200\tua:curl/8\n"]);
    let read = Totals::from_bytes(&totals.to_bytes().unwrap()).unwrap();
    assert_eq!(
        keys(&read),
        [("status", "status", ""), ("uri", "uri", ""), ("user-agent", "ua", "")]
    );
}

#[test]
fn the_path_may_stand_among_other_fields_and_is_folded_by_all_requests() {
    let line = |host: &str, n: usize| {
        format!("vhost:{host}.example\tmethod:GET\turi:/u/{n}/name{n}x?q\tstatus:200\treqtime:1\n")
    };
    // 30 names of each host: only together they are more than 50.
    let lines: String = (0..60).map(|n| line(if n < 30 { "a" } else { "b" }, n)).collect();
    let group_by = ["host", "path", "method"].map(str::to_owned).to_vec();
    let totals = counted(&Options { group_by, ..Options::default() }, &[&lines]);
    let folded = |host: &str| row(&format!("{host}.example\x1f/u/{{n}}/*\x1fGET"), 30, 30.0);
    assert_eq!(rows(&totals), [folded("a"), folded("b")]);
    let read = Totals::from_bytes(&totals.to_bytes().unwrap()).unwrap();
    assert_eq!(rows(&read), rows(&totals));
    let group_by = ["path", "method"].map(str::to_owned).to_vec();
    let totals = counted(&Options { group_by, ..Options::default() }, &[&lines]);
    assert_eq!(rows(&totals), [row("/u/{n}/*\x1fGET", 60, 60.0)]);
}

#[test]
fn no_value_of_a_log_ends_another() {
    let group_by = ["ua", "status"].map(str::to_owned).to_vec();
    let totals = counted(
        &Options { group_by, ..Options::default() },
        &["uri:/a\tstatus:200\tua:a\x1f500\n"],
    );
    assert_eq!(rows(&totals), [row("a?500\x1f200", 1, 0.0)]);
}
