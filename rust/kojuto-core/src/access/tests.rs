//! Limits of the groups. The figures themselves are compared with the original's from Python.

use super::*;
use crate::scan::envelope::Envelope;
use crate::scan::log_format::LogFormat;
use proptest::prelude::*;

fn options(max_groups: usize) -> Options {
    Options {
        envelope: None,
        format: Format::Ltsv(Prefix::Refuse),
        finds_keys: false,
        ptime_key: "ptime".to_owned(),
        status_keys: vec!["status".to_owned()],
        by: Some("uri".to_owned()),
        max_groups,
        filter: None,
        time_field: TimeField::Telling,
        time_scale: 1.0,
        time_list: TimeList::Refuse,
    }
}

fn scan(max_groups: usize, log: &str) -> Vec<(String, u64)> {
    let mut access = Access::new(&options(max_groups)).unwrap();
    access.block(log.as_bytes());
    access.finish().1.into_iter().map(|(name, tally)| (shown(&name), tally.total())).collect()
}

/// A value as it is, what is none in brackets.
fn shown(name: &GroupName) -> String {
    match name {
        GroupName::Value(value) => String::from_utf8(value.to_vec()).unwrap(),
        other => format!("<{other:?}>"),
    }
}

fn line(uri: &str) -> String {
    format!("status:200\tptime:0.1\turi:{uri}\n")
}

#[test]
fn a_group_that_comes_late_and_often_is_not_pooled() {
    let before: String = (0..400).map(|n| line(&format!("/{n}"))).collect();
    let found = scan(20, &(before + &line("/hot").repeat(1000)));
    assert_eq!(found[0], ("/hot".to_owned(), 1000));
    assert_eq!(found.len(), 21);
    assert_eq!(found[20], ("<Other>".to_owned(), 381));
    // Two are shown, so 32 are kept apart: the 32nd is whole, however late it came.
    let before: String = (0..31).map(|n| line(&format!("/{n}"))).collect();
    let found = scan(2, &(before + &line("/largest").repeat(5)));
    assert_eq!(found[0], ("/largest".to_owned(), 5));
    assert_eq!(found[2], ("<Other>".to_owned(), 30));
}

#[test]
fn lines_may_be_parted_by_their_status() {
    let mut options = options(9);
    options.by = Some("status".to_owned());
    let mut access = Access::new(&options).unwrap();
    access.block(b"status:200\tptime:1\nptime:1\tstatus:404\nptime:2\tstatus:200\n");
    let found: Vec<_> =
        access.finish().1.into_iter().map(|(n, t)| (shown(&n), t.total())).collect();
    assert_eq!(found, [("200".to_owned(), 2), ("404".to_owned(), 1)]);
}

fn one(format: Format, time: TimeField, list: TimeList, line: &str) -> (u64, Vec<f64>) {
    let mut options = Options { format, time_field: time, time_list: list, ..options(1) };
    options.by = None;
    let mut access = Access::new(&options).unwrap();
    access.block(format!("{line}\n").as_bytes());
    let (all, _) = access.finish();
    (all.total(), all.latencies.iter().map(|(time, _)| time).collect())
}

#[test]
fn a_time_may_have_a_unit_in_every_format() {
    let ltsv = |time: &str| {
        let line = format!("status:200\tptime:{time}");
        one(Format::Ltsv(Prefix::Refuse), TimeField::Telling, TimeList::Sum, &line)
    };
    for (time, seconds) in
        [("12ms", 0.012), ("0.123s", 0.123), ("123us", 0.000123), ("1m1.5s", 61.5)]
    {
        assert_eq!(ltsv(time), (1, vec![seconds]), "{time}");
        let line = format!(r#"{{"status":200,"ptime":"{time}"}}"#);
        let json = one(Format::Json(Prefix::Skip), TimeField::Telling, TimeList::Refuse, &line);
        assert_eq!(json, (1, vec![seconds]), "{time}");
        let line = format!(r#"h - - [t] "GET /" 200 1 "-" "-" {time}"#);
        let combined = one(Format::Combined, TimeField::Telling, TimeList::Refuse, &line);
        assert_eq!(combined, (1, vec![seconds]), "{time}");
    }
    assert_eq!(ltsv("12ms, 0.5"), (1, vec![0.512]));
    assert_eq!(ltsv("12 parsecs"), (0, vec![]));
    assert_eq!(ltsv(" 214"), (1, vec![214.0]));
}

#[test]
fn the_nuls_before_any_line_are_no_part_of_it() {
    let hole = "\0".repeat(5000);
    for (format, line) in [
        (Format::Ltsv(Prefix::Refuse), "status:200\tptime:0.5"),
        (Format::Ltsv(Prefix::Skip), "status:200\tptime:0.5"),
        (Format::Json(Prefix::Refuse), "{\"status\":200,\"ptime\":0.5}"),
        (Format::Combined, "h - - [t] \"GET /\" 200 1 \"-\" \"-\" 0.5"),
        (Format::Auto(Prefix::Refuse), "status:200\tptime:0.5"),
        (
            Format::regex("^(?P<status>200) (?P<ptime>.*)$", &["status".to_owned()]).unwrap(),
            "200 0.5",
        ),
    ] {
        let lines = format!("{hole}{line}\n{line}\n\0{line}");
        let found = one(format.clone(), TimeField::Telling, TimeList::Refuse, &lines);
        assert_eq!(found, (3, vec![0.5; 3]), "{format:?}");
    }
    let mut access = Access::new(&options(3)).unwrap();
    access.block(b"\0\0uri:/a\tstatus:200\tptime:1\nx\0\0\0y\0\n\0\n");
    assert_eq!(access.lines(), 3);
    // One of a run in the middle tells that there is one.
    assert_eq!(access.bad().first().unwrap().1, b"x\0y\0");
    let groups: Vec<_> = access.finish().1.into_iter().map(|(name, _)| shown(&name)).collect();
    assert_eq!(groups, ["/a"]);
}

#[test]
fn in_combined_the_status_counts_whatever_the_time_is() {
    let line = |end: &str| format!(r#"h - - [t] "GET /" 200 1 "-" "-" {end}"#);
    let combined = |time: TimeField, list, end: &str| one(Format::Combined, time, list, &line(end));
    assert_eq!(combined(TimeField::Telling, TimeList::Refuse, "8a1f"), (1, vec![]));
    assert_eq!(combined(TimeField::Last, TimeList::Refuse, "8a1f"), (1, vec![]));
    assert_eq!(combined(TimeField::Telling, TimeList::Refuse, "3"), (1, vec![]));
    assert_eq!(combined(TimeField::Last, TimeList::Refuse, "3"), (1, vec![3.0]));
    assert_eq!(combined(TimeField::Telling, TimeList::Refuse, "0.1, 0.2"), (1, vec![]));
    assert_eq!(combined(TimeField::Telling, TimeList::Max, "0.1, 0.2"), (1, vec![0.2]));
}

#[test]
fn a_line_that_counts_without_its_list_of_times_is_told_of() {
    let line = |time| {
        format!(
            "::1 - - [10/Oct/2000:13:55:36 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\" \"{time}\"\n"
        )
    };
    let mut refused = [TimeList::Refuse, TimeList::Sum].map(|list| {
        let options = Options { format: Format::Combined, time_list: list, ..options(1) };
        let mut access = Access::new(&options).unwrap();
        for time in ["0.1", "0.1, 0.2", "-, 0.5 : 0.1", "-", "-, -", "Mozilla, like 0.2"] {
            access.block(line(time).as_bytes());
        }
        access
    });
    assert_eq!(refused[0].refused_lists(), 2);
    assert_eq!(refused[1].refused_lists(), 0);
    let other = refused[0].clone();
    refused[0].merge(other);
    assert_eq!((refused[0].lines(), refused[0].refused_lists()), (12, 4));
}

#[test]
fn a_program_that_starts_may_say_what_it_likes() {
    let start = |lines| "lock engine: pthread robust mutexes\n".repeat(lines);
    let uwsgi = "[pid: 7|app: 0|req: 1/1] ::1 () {8 vars in 9 bytes} [Tue May  6 10:13:11 2014] \
                 GET / => generated 1 bytes in 2 msecs (HTTP/1.1 200) 1 headers in 9 bytes\n";
    for (text, format) in [
        (uwsgi, "uwsgi"),
        ("{\"status\":200,\"request_time\":0.1}\n", "json"),
        ("status:200\trequest_time:0.1\n", "ltsv"),
    ] {
        for lines in [0, 38, 200] {
            let options =
                Options { format: Format::Auto(Prefix::Refuse), finds_keys: true, ..options(1) };
            let mut access = Access::new(&options).unwrap();
            access.block((start(lines) + &text.repeat(40)).as_bytes());
            assert_eq!((access.format_name(), access.lines()), (format, lines as u64 + 40));
            assert_eq!(access.finish().0.total(), 40, "{format} behind {lines} lines");
        }
    }
}

#[test]
fn a_given_format_tells_the_unit_of_its_time() {
    let text = |format: &str, line: &str| {
        let format = Format::Text(Box::new(LogFormat::new(format).unwrap()));
        one(format, TimeField::Telling, TimeList::Sum, line)
    };
    assert_eq!(text("%h %>s %D", "h 200 1500"), (1, vec![0.0015]));
    assert_eq!(text("$status $request_time", "200 1.5"), (1, vec![1.5]));
    assert_eq!(text("$status $upstream_response_time", "200 0.5, 1"), (1, vec![1.5]));
    assert_eq!(text("$status $host", "404 x"), (1, vec![]));
}

#[test]
fn a_group_is_named_by_200_bytes_at_most() {
    let name = |bytes: usize| "x".repeat(bytes);
    assert_eq!(scan(9, &line(&name(199))), [(name(199), 1)]);
    assert_eq!(scan(9, &line(&name(200))), [(name(200), 1)]);
    // Of a longer one the end is a hash, so that two that begin alike are two groups.
    let found = scan(9, &(line(&name(201)) + &line(&name(1000))));
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|(name, count)| name.len() == 200 && *count == 1));
}

#[test]
fn lines_without_a_value_and_the_pool_are_no_values() {
    let lines = line("other").repeat(3) + &line("none").repeat(2) + &line("x") + &line("");
    let found = scan(2, &lines);
    let expected = [("other", 3), ("none", 2), ("<Other>", 2)];
    assert_eq!(found, expected.map(|(name, count)| (name.to_owned(), count)));
    assert_eq!(scan(9, &lines)[3], ("<Missing>".to_owned(), 1));
}

proptest! {
    /// A second key of the status that no line has lets each line take the general way.
    #[test]
    fn the_short_way_gives_the_figures_of_the_general_one(
        lines in prop::collection::vec(
            ("[0-9]{3}|-|[0-9]{0,5}|x", "[0-9]{0,2}\\.?[0-9]{0,4}|-| 1|1e3|0.1, 0.2|12ms", "[a-e]|-|"),
            0..60),
        by in any::<bool>(), format in 0usize..4, filter in any::<bool>(),
    ) {
        let line = |(status, time, uri): &(String, String, String)| match format {
            0 => format!("status:{status}\turi:{uri}\tptime:{time}\n"),
            1 => format!("{{\"status\":\"{status}\",\"uri\":\"{uri}\",\"ptime\":\"{time}\"}}\n"),
            _ => format!("h - - [t] \"GET {uri} H\" {status} 5 \"-\" \"a {status}\" {time}\n"),
        };
        let log: String = lines.iter().map(line).collect();
        let mut options = options(3);
        options.by = by.then(|| "uri".to_owned());
        options.filter = filter.then(|| (b"1".to_vec(), false));
        options.format = match format {
            0 => Format::Ltsv(Prefix::Refuse),
            1 => Format::Json(Prefix::Refuse),
            2 => Format::Combined,
            _ => Format::Text(Box::new(LogFormat::new("combined").unwrap())),
        };
        let figures = |options: &Options| {
            let mut access = Access::new(options).unwrap();
            access.block(log.as_bytes());
            let (lines, bad) = (access.lines(), *access.bad().counts());
            let (all, groups) = access.finish();
            let times = |tally: &Tally| tally.latencies.iter().collect::<Vec<_>>();
            let groups: Vec<_> =
                groups.iter().map(|(name, of)| (name.clone(), of.classes, times(of))).collect();
            (lines, bad, all.classes, times(&all), groups)
        };
        let short = figures(&options);
        options.status_keys.push("none".to_owned());
        prop_assert_eq!(short, figures(&options));
    }
}

fn explained(options: &Options, lines: &str) -> Vec<Explained> {
    explain(options, format!("{lines}\n").as_bytes()).unwrap()
}

#[test]
fn a_line_is_explained_as_it_is_counted() {
    let options = Options { by: Some("uri".to_owned()), ..options(5) };
    let found = &explained(&options, "status:200\tptime:12ms\turi:/a\tx:\ty")[0];
    let role = |role| {
        let field = found.fields.iter().find(|field| field.role == Some(role)).unwrap();
        (String::from_utf8_lossy(&field.name).into_owned(), field.text.clone())
    };
    assert_eq!(role(Role::Status), ("status".to_owned(), b"200".to_vec()));
    assert_eq!(role(Role::Time), ("ptime".to_owned(), b"12ms".to_vec()));
    assert_eq!(role(Role::Group), ("uri".to_owned(), b"/a".to_vec()));
    assert_eq!((found.format, found.unit, found.fields.len()), ("ltsv", "its own", 5));
    assert_eq!(found.verdict, Verdict::Counted { status: 200, seconds: Some(0.012) });
    let bad = |line: &str| explained(&options, line)[0].verdict;
    assert_eq!(bad("status:200"), Verdict::Bad("no time taken"));
    assert_eq!(bad("ptime:1"), Verdict::Bad("no status"));
    assert_eq!(bad("ptime:x\tstatus:1"), Verdict::Bad("time taken is not a number"));
    assert_eq!(bad("ptime:1\tstatus:x"), Verdict::Bad("status is not an integer"));
    assert_eq!(bad("nothing"), Verdict::Bad("not in the expected format"));
    let filter = Some((b"/b".to_vec(), false));
    let filtered = Options { filter, ..options.clone() };
    assert_eq!(explained(&filtered, "status:200\tptime:1")[0].verdict, Verdict::Filtered);
}

#[test]
fn every_format_is_explained_with_its_fields() {
    let auto = Options {
        format: Format::Auto(Prefix::Refuse),
        envelope: Some(Envelope::Auto),
        finds_keys: true,
        by: None,
        ..options(1)
    };
    let counted = |options: &Options, line: &str, seconds: Option<f64>, names: &[&str]| {
        let found = &explained(options, line)[0];
        let has: Vec<_> = found.fields.iter().map(|f| String::from_utf8_lossy(&f.name)).collect();
        assert!(names.iter().all(|name| has.iter().any(|has| has == name)), "{has:?} of {line}");
        match found.verdict {
            Verdict::Counted { seconds: found, .. } => assert_eq!(found, seconds, "{line}"),
            other => panic!("{other:?}: {line}"),
        }
        found.clone()
    };
    let json = r#"{"res":{"statusCode":200,"x":[1]},"responseTime":500,"a":{}}"#;
    let found = counted(&auto, json, Some(0.5), &["res.statusCode", "res.x", "responseTime"]);
    assert_eq!((found.unit, found.envelope), ("ms", None));
    let combined = r#"h - - [t] "GET /a HTTP/1.1" 200 1 "-" "ua" rt=0.5"#;
    let found = counted(&auto, combined, Some(0.5), &["host", "uri", "ua", "rt"]);
    assert_eq!(found.fields.last().unwrap().role, Some(Role::Time));
    let docker = r#"{"log":"status:200\tptime:0.5\n","stream":"stdout","time":"t"}"#;
    let found = counted(&auto, docker, Some(0.5), &["status", "ptime"]);
    assert_eq!(found.envelope, Some(Envelope::Docker));
    let found = counted(&auto, "GET /a 200 12 - 500.000 ms", Some(0.5), &["method", "uri"]);
    assert_eq!((found.format, found.unit), ("morgan", "ms"));
    let format = LogFormat::new("%h %>s %D \"%r\"").unwrap();
    let text = Options { format: Format::Text(Box::new(format)), ..options(1) };
    let text = Options { by: None, time_list: TimeList::Sum, ..text };
    let found = counted(&text, "h 200 500000 \"GET /\"", Some(0.5), &["status", "request"]);
    assert_eq!(found.unit, "us");
    let format = Format::regex("(?P<status>.*) (?P<ptime>.*)", &["status".to_owned()]).unwrap();
    let regex = Options { format, ..text.clone() };
    let found = counted(&regex, "200 0.1,0.4", Some(0.5), &["status", "ptime"]);
    assert_eq!(found.unit, "a list");
    for hostile in ["", "\0\0", "{", "{\"", "\t:\t", "[", "\u{feff}{}", "{\"a\":", "\r"] {
        for options in [&auto, &text, &regex] {
            assert!(!matches!(explained(options, hostile)[0].verdict, Verdict::Counted { .. }));
        }
    }
}
