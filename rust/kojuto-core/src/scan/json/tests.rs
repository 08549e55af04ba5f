//! Every path of the scanner against one plain reader of the same grammar.

use std::borrow::Cow;

use super::*;
use crate::scan::fields::RowFn;
use proptest::prelude::*;

type Row = (Vec<u8>, Vec<Vec<u8>>);

/// Takes rows as a scan hands them over.
macro_rules! collect {
    ($keys:ident, |$rows:ident| $scan:expr) => {{
        let mut found: Vec<Row> = Vec::new();
        let mut rows: RowFn<'_> = &mut |line, values| {
            let values = values[..$keys.count()].iter().map(|v| v.to_vec());
            found.push((line.to_vec(), values.collect()));
        };
        let $rows = &mut rows;
        let answer = $scan;
        (answer, found)
    }};
}

/// What the grammar gives for one line, read byte by byte.
fn model_line(line: &[u8], keys: &[(Vec<u8>, bool)], prefix: Prefix) -> Vec<Vec<u8>> {
    let none = vec![Vec::new(); keys.len()];
    let blanks = line.iter().take_while(|b| b" \t\r".contains(b)).count();
    let Some(brace) = line.iter().position(|&b| b == b'{') else { return none };
    if prefix == Prefix::Refuse && blanks != brace {
        return none;
    }
    let found = model_objects(line, brace, keys, prefix);
    if prefix == Prefix::Skip && found == none && line[..brace].contains(&b'"') {
        return model_objects(line, 0, keys, prefix);
    }
    found
}

/// The members of the objects from a place of a line on.
fn model_objects(
    line: &[u8],
    from: usize,
    keys: &[(Vec<u8>, bool)],
    prefix: Prefix,
) -> Vec<Vec<u8>> {
    let mut values = vec![Vec::new(); keys.len()];
    let blanks = |at: usize| at + line[at..].iter().take_while(|b| b" \t\r".contains(b)).count();
    let string_end = |mut at: usize| loop {
        match line.get(at) {
            None => return None,
            Some(b'"') => return Some(at),
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    };
    let mut deeper = values.clone();
    // The objects from the outermost to the innermost: how deep each is, and the name before it.
    let mut objects = vec![(1, Vec::new())];
    let mut named = None;
    let (mut at, mut depth) = (from, 0usize);
    while let Some(&byte) = line.get(at) {
        at += 1;
        match byte {
            b'[' if depth == 0 && prefix == Prefix::Skip => {}
            b'{' | b'[' => {
                depth += 1;
                if let Some((from, name)) = named.take()
                    && from == at - 1
                    && byte == b'{'
                {
                    objects.push((depth, name));
                }
            }
            b'}' | b']' if depth <= 1 && prefix == Prefix::Refuse => break,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                objects.retain(|(inside, _)| *inside == 1 || *inside <= depth);
            }
            b'\\' if matches!(line.get(at), Some(b'"' | b'\\')) => at += 1,
            b'"' => {
                let Some(end) = string_end(at) else { break };
                let name = unescape(&line[at..end]).into_owned();
                at = end + 1;
                let colon = blanks(at);
                if depth != objects.last().unwrap().0 || line.get(colon) != Some(&b':') {
                    continue;
                }
                let from = blanks(colon + 1);
                if from == line.len() {
                    continue;
                }
                let inside = blanks(from + 1);
                let is_array = line[from] == b'[' && objects.len() > 1;
                let is_text = is_array && line.get(inside) == Some(&b'"');
                let text = if is_text { inside } else { from };
                let value = match line.get(text) {
                    Some(b'"') => &line[text + 1..string_end(text + 1).unwrap_or(text + 1)],
                    Some(b'{' | b'[') | None => b"",
                    Some(_) => {
                        let text = line[from..].split(|b| b",}".contains(b)).next().unwrap();
                        let blank = text.iter().rev().take_while(|b| b" \t\r".contains(b)).count();
                        let text = &text[..text.len() - blank];
                        if text == b"null" { b"" } else { text }
                    }
                };
                let mut path: Vec<&[u8]> = objects[1..].iter().map(|(_, name)| &name[..]).collect();
                path.push(&name);
                let path = path.join(&b'.');
                let level = objects.len();
                named = Some((from, name));
                let Some(key) = keys.iter().position(|(key, _)| *key == path) else { continue };
                let values = if level == 1 { &mut values } else { &mut deeper };
                if values[key].is_empty() && value != b"-" {
                    values[key] = value.to_vec();
                }
                if keys.iter().zip(&*values).all(|((_, needed), v)| !needed || !v.is_empty())
                    && level == 1
                {
                    break;
                }
            }
            _ => {}
        }
    }
    for (value, deeper) in values.iter_mut().zip(deeper) {
        if value.is_empty() {
            *value = deeper;
        }
    }
    values
}

fn model(block: &[u8], keys: &[(Vec<u8>, bool)], prefix: Prefix) -> Vec<Row> {
    let whole = memchr::memrchr(b'\n', block).map_or(0, |end| end + 1);
    block[..whole]
        .split_inclusive(|&b| b == b'\n')
        .map(|line| {
            let line = &line[..line.len() - 1];
            let shown = line.strip_suffix(b"\r").unwrap_or(line);
            (shown.to_vec(), model_line(line, keys, prefix))
        })
        .collect()
}

/// The rows of a scan, after a look whether every path to them leads there at every level.
fn rows_of(block: &[u8], wanted: &[(Vec<u8>, bool)], prefix: Prefix) -> Vec<Row> {
    let names: Vec<_> = wanted.iter().map(|(name, needed)| (&name[..], *needed)).collect();
    let keys = &Keys::new(&names).unwrap();
    let expected = model(block, wanted, prefix);
    let ((), found) = collect!(keys, |rows| scan(block, keys, prefix, rows));
    assert_eq!(found, expected);
    let ((), found) = collect!(keys, |rows| nested::scan(block, keys, prefix, rows));
    assert_eq!(found, expected, "byte by byte");
    for level in Level::all().into_iter().filter(|_| !keys.lead_deeper()) {
        let ((), found) = collect!(keys, |rows| scan_at(level, block, keys, prefix, rows));
        assert_eq!(found, expected, "{level:?}");
        let ((), full) = collect!(keys, |rows| scan_full(level, block, keys, prefix, rows));
        assert_eq!(full, expected, "{level:?}, the full scan");
        let (end, plain) = collect!(keys, |rows| scan_plain(level, block, keys, prefix, rows));
        assert_eq!(plain, expected[..plain.len()], "{level:?}, the scan of plain lines");
        assert_eq!(plain.len(), block[..end].iter().filter(|&&b| b == b'\n').count());
    }
    expected
}

fn rows(block: &[u8], names: &[&str], prefix: Prefix) -> Vec<Row> {
    let wanted: Vec<_> = names.iter().map(|name| (name.as_bytes().to_vec(), true)).collect();
    rows_of(block, &wanted, prefix)
}

fn one(line: &str) -> [String; 2] {
    let block = format!("{line}\n");
    let rows = rows(block.as_bytes(), &["ptime", "status"], Prefix::Refuse);
    assert_eq!(rows.len(), 1);
    [0, 1].map(|i| String::from_utf8(rows[0].1[i].clone()).unwrap())
}

#[test]
fn members_of_the_outermost_object_count_and_no_others() {
    assert_eq!(one(r#"{"status":200,"ptime":0.1}"#), ["0.1", "200"]);
    assert_eq!(one(r#" { "ptime" : "0.1" , "status" : "200" } "#), ["0.1", "200"]);
    assert_eq!(one(r#"{"a":{"status":1,"ptime":2},"ptime":3,"status":4}"#), ["3", "4"]);
    assert_eq!(one(r#"{"a":[{"status":1},{"ptime":2}],"ptime":3}"#), ["3", ""]);
    assert_eq!(one(r#"{"a":"\"status\":1","status":2,"ptime":3}"#), ["3", "2"]);
    assert_eq!(one(r#"{"a":"status","ptime":3}"#), ["3", ""]);
    assert_eq!(one(r#"[{"status":1,"ptime":2}]"#), ["", ""]);
    assert_eq!(one(r#"{"a":1} {"status":1,"ptime":2}"#), ["", ""]);
    assert_eq!(one(r#"x {"status":1,"ptime":2}"#), ["", ""]);
    assert_eq!(one(""), ["", ""]);
}

#[test]
fn a_key_with_a_dot_is_a_member_of_a_member_or_a_flat_one_which_wins() {
    let names = ["event.duration", "http.response.status_code"];
    for (line, expected) in [
        (
            r#"{"event":{"duration":5},"http":{"response":{"bytes":1,"status_code":200}}}"#,
            ["5", "200"],
        ),
        (r#"{"http":{"response":{"status_code":1}},"http.response.status_code":2}"#, ["", "2"]),
        (r#"{"http.response":{"status_code":"3"},"event":{"duration":null}}"#, ["", "3"]),
        (
            r#"{"http":{"response.status_code":4},"event":{"duration":"-","duration":6}}"#,
            ["6", "4"],
        ),
        (r#"{"http":[{"response":{"status_code":1}}],"event":{"x":{"duration":1}}}"#, ["", ""]),
        (r#"{"http":{"x":{"response":{"status_code":1}}},"x":{"event":{"duration":1}}}"#, ["", ""]),
        (r#"{"":{"event":{"duration":1}},"event":"duration","duration":1}"#, ["", ""]),
        (r#"{"ev\u0065nt" : { "dur\u0061tion" : 7 } ,"x":{"event.duration":8}}"#, ["7", ""]),
        (r#"{"event":{},"event":{"duration":1},"event":{"duration":2}"#, ["1", ""]),
        (r#"{"event":{"duration":1}} {"http":{"response":{"status_code":1}}}"#, ["1", ""]),
        (
            r#"{"event":{"duration":[ "a\"","b"]},"http":{"response":{"status_code":["c"]}}}"#,
            ["a\\\"", "c"],
        ),
        (r#"{"event":{"duration":[]},"http":{"response":{"status_code":[1,"x"]}}}"#, ["", ""]),
        (r#"{"event":{"duration":[["x"]]},"http.response.status_code":["x"]}"#, ["", ""]),
    ] {
        let found = rows(format!("{line}\n").as_bytes(), &names, Prefix::Refuse);
        assert_eq!(found[0].1, expected.map(|value| value.as_bytes().to_vec()), "{line}");
    }
}

#[test]
fn the_first_member_with_a_value_wins() {
    assert_eq!(one(r#"{"status":1,"status":2,"ptime":3,"ptime":4}"#), ["3", "1"]);
    assert_eq!(one(r#"{"status":"-","status":2,"ptime":null,"ptime":4}"#), ["4", "2"]);
    assert_eq!(one(r#"{"status":{},"ptime":[1],"status":"","status":5}"#), ["", "5"]);
}

#[test]
fn names_may_be_written_with_escapes() {
    assert_eq!(one(r#"{"\u0073tatus":200,"pt\u0069me":0.1}"#), ["0.1", "200"]);
    assert_eq!(one(r#"{"u\\":"\\","statu\u0073":200,"status":1,"ptime":5}"#), ["5", "200"]);
    assert_eq!(one(r#"{"sta\tus":200,"ptime":"a\/b"}"#), ["a\\/b", ""]);
}

#[test]
fn text_before_the_object_is_passed_over_when_asked() {
    let block = b"2025 \"x {\"status\":1,\"ptime\":2}\nnone\n[{\"status\":3,\"ptime\":4}\n";
    let rows = rows(block, &["ptime", "status"], Prefix::Skip);
    assert_eq!(rows[0].1, [b"2", b"1"]);
    assert_eq!(rows[1].1, [b"", b""]);
    assert_eq!(rows[2].1, [b"4", b"3"]);
}

#[test]
fn where_the_first_object_of_a_line_has_nothing_wanted_others_may() {
    for line in [
        r#"2020 {"a":1} {"ptime":1,"status":2}"#,
        r#"web {x} {"status":2,"ptime":1}"#,
        r#"a "quoted { brace" {"status":2,"ptime":1}"#,
        r#"{"log":"x"} {"ptime":1,"status":2}"#,
        r#"{"log":["{"]}} ] [1] "text {" {"ptime":1,"status":2}"#,
        r#"{"ptime":1} , {"status":2,"ptime":3}"#,
        r#"{"a":1}{"ptime":1,"status":2}"#,
        r#"say "{" then {"a":1}{"ptime":1,"status":2}"#,
    ] {
        let found = rows(format!("{line}\n").as_bytes(), &["ptime", "status"], Prefix::Skip);
        assert_eq!(found[0].1, [b"1", b"2"], "{line}");
        let found = rows(format!("{line}\n").as_bytes(), &["ptime", "a.b", "status"], Prefix::Skip);
        assert_eq!(found[0].1, [&b"1"[..], b"", b"2"], "{line}");
    }
    for line in [r#"["ptime":1,"status":2,{"#, r#"{"a":{"ptime":1,"status":2}} {}"#] {
        let found = rows(format!("{line}\n").as_bytes(), &["ptime", "status"], Prefix::Skip);
        assert_eq!(found[0].1, [b"", b""], "{line}");
    }
}

#[test]
fn lines_that_are_plain_and_lines_that_are_not_may_come_in_any_order() {
    let plain = r#"{"uri":"/a","status":"200","ptime":0.5,"ua":"x"}"#;
    let nested = r#"{"a":{"status":"x"},"status":"200","ptime":0.5}"#;
    let escaped = r#"{"ua":"\"status\":1","status":"200","ptime":0.5}"#;
    let late = r#"{"status":"200","ptime":0.5,"a":[{"status":"x"}]}"#;
    for every in [1, 2, 3, 50, 400, 5_000] {
        let lines: Vec<&str> = (0..10_000)
            .map(|n| match n % every {
                0 => [nested, escaped, late][n / every % 3],
                _ => plain,
            })
            .collect();
        let rows = rows((lines.join("\n") + "\n").as_bytes(), &["ptime", "status"], Prefix::Refuse);
        assert_eq!(rows.len(), lines.len());
        for (row, line) in rows.iter().zip(&lines) {
            assert_eq!(row.0, line.as_bytes());
            assert_eq!(row.1, [b"0.5".to_vec(), b"200".to_vec()], "{line}");
        }
    }
}

#[test]
fn names_that_may_stand_between_two_strings_are_told_from_them() {
    let rows = rows(b"{\"a\":\"b\",\":\":1,\",\":2}\n", &[",", ":"], Prefix::Refuse);
    assert_eq!(rows[0].1, [b"2", b"1"]);
}

#[test]
fn a_string_that_begins_with_a_bracket_is_no_structure_however_many_keys_are_wanted() {
    let line = br#"{"host":"a","upstream_addr":"[::1]:9000","status":200,"ptime":0.5}"#;
    for names in [
        &["ptime", "status", "host", "upstream_status"][..],
        &["ptime", "status"],
        &["ptime", "status", "[::1]:9000"],
        &["ptime", "status", "{", "}"],
    ] {
        let rows = rows(&[&line[..], b"\n"].concat(), names, Prefix::Refuse);
        assert_eq!(rows[0].1[..2], [b"0.5".to_vec(), b"200".to_vec()], "{names:?}");
    }
}

#[test]
fn a_name_is_looked_up_as_its_escapes_say() {
    let line = br#"{"a\b":1,"a\\b":2,"\"":3,"[":4,"a":5}"#;
    let rows =
        rows(&[&line[..], b"\n"].concat(), &["a\\b", "a\u{8}", "\"", "[", "a"], Prefix::Refuse);
    assert_eq!(rows[0].1, [b"2", b"1", b"3", b"4", b"5"]);
}

#[test]
fn what_is_no_bracket_and_stands_outside_of_strings_begins_no_name() {
    for line in [r#"{"a":1,year":2}"#, r#"{"a":"b"_y":2}"#, r#"{"a":"b"status":2,"year":3}"#] {
        let rows = rows(format!("{line}\n").as_bytes(), &["year", "_y", "status"], Prefix::Refuse);
        assert_eq!(rows[0].1, [b"", b"", b""], "{line}");
    }
}

#[test]
fn a_broken_line_does_not_harm_the_next() {
    for broken in [r#"{"status":"20"#, r#"{"a\"#, r#"{"a":[[["#, r#""""#, "}", r#"{"status":"#] {
        let block = format!("{broken}\n{{\"status\":1,\"ptime\":2}}\n");
        let rows = rows(block.as_bytes(), &["ptime", "status"], Prefix::Refuse);
        assert_eq!(rows[0].1, [b"", b""], "{broken}");
        assert_eq!(rows[1].1, [b"2", b"1"], "{broken}");
    }
}

#[test]
fn escapes_are_resolved() {
    assert_eq!(
        &*unescape(br#"a\/\u3042\ud83d\ude00\n\x\u12"#),
        "a/\u{3042}\u{1f600}\n\\x\\u12".as_bytes()
    );
    assert_eq!(&*unescape(br"\ud800x"), "\u{fffd}x".as_bytes());
    assert!(matches!(unescape(b"plain"), Cow::Borrowed(_)));
}

/// Names as they are written, with escapes or without.
const NAMES: [&str; 24] = [
    "status",
    "ptime",
    r"pt\u0069me",
    "st",
    "statuss",
    r#"st\"atus"#,
    r"x\\",
    "",
    "host",
    "uri",
    "year",
    "_y",
    "Y",
    "[a",
    "{",
    "}",
    r"\\b",
    r"\b",
    r#"\""#,
    ",",
    ":",
    "request_method",
    "あ",
    r"\u3042",
];

/// Wanted names; the first letters of all are different.
const WANTED: [&str; 16] = [
    "status",
    "ptime",
    "host",
    "uri",
    "year",
    "_y",
    "Y",
    "[a",
    "{",
    "}",
    "\\b",
    "\"",
    ",",
    ":",
    "request_method",
    "あ",
];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[0-9]{1,5}(\\.[0-9]{1,3})?",
        4 => r#"([ -!#-\[\]-~]|\\[\\"/bnq]|\\u00[67][0-9]){0,70}"#.prop_map(|s| format!("\"{s}\"")),
        2 => "[\\[{\\]}\\|Yy_,:-][a-z:.\\[\\]{}]{0,20}".prop_map(|s| format!("\"{s}\"")),
        1 => prop::sample::select(vec![
            "null", "true", "-", "\"-\"", "\"\"", "\"null\"", "[]", "{}", "[1,\"status\",{\"status\":7}]",
            r#"{"status":9,"ptime":[{"ptime":8}],"x":"}"}"#, r#"["[",{"host":"{"}]"#, "", "\"",
        ]).prop_map(str::to_owned),
    ]
}

/// What may stand before the object of a line.
const AROUND: [&str; 13] =
    ["", "", "", "", " ", "\t", "\r", "x ", "\u{feff}", "2025 \"", "[", "}", "\\"];

/// An object, and what may stand around it on its line.
fn object() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        4 => prop::sample::select(&NAMES[..]).prop_map(str::to_owned),
        1 => "[a-z_]{1,20}",
    ];
    let member = (name, value(), "[ \t]{0,2}")
        .prop_map(|(name, value, gap)| format!("{gap}\"{name}\"{gap}:{gap}{value}{gap}"));
    (prop::collection::vec(member, 0..9), prop::sample::select(&AROUND[..]), "(|\r| |\\})")
        .prop_map(|(members, before, behind)| format!("{before}{{{}}}{behind}", members.join(",")))
}

/// An object behind another one.
fn two_objects() -> impl Strategy<Value = String> {
    let between = prop::sample::select(&["", " ", ", ", "\" {", "[", "]}", "\\\""][..]);
    (object(), between, object()).prop_map(|(one, between, other)| format!("{one}{between}{other}"))
}

/// A line: objects, one with some bytes changed, or bytes that mean something to the scanner.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let telling = br#"{}[]":,\ -ptimestatus01|Yy_"#.to_vec();
    let byte = prop::sample::select(telling);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), 0..3, byte.clone()), 1..4);
    let broken = (prop_oneof![object(), two_objects()], changes).prop_map(|(object, changes)| {
        let mut line = object.into_bytes();
        for (at, how, byte) in changes {
            let at = at.index(line.len() + 1);
            match how {
                0 => line.insert(at, byte),
                1 if at < line.len() => drop(line.remove(at)),
                2 if at < line.len() => line[at] = byte,
                _ => line.truncate(at),
            }
        }
        line
    });
    prop_oneof![
        4 => object().prop_map(String::into_bytes),
        1 => two_objects().prop_map(String::into_bytes),
        3 => broken,
        1 => prop::collection::vec(byte, 0..200),
    ]
}

/// An object of objects.
fn deep() -> impl Strategy<Value = String> {
    let leaf =
        prop::sample::select(&["1", "\"x\"", "null", "\"-\"", "[]", "{}", "\"}\"", "[ \"y\"]"][..]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 4, |inner| {
        let name = prop::sample::select(&["a", "b", "c", "a.b", "b.c", "", ".", r"\u0061"][..]);
        prop_oneof![
            4 => prop::collection::vec((name, inner.clone()), 0..4).prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(n, v)| format!("\"{n}\":{v}")).collect();
                format!("{{{}}}", members.join(","))
            }),
            1 => prop::collection::vec(inner, 0..3).prop_map(|items| format!("[{}]", items.join(","))),
        ]
    })
}

fn deep_change() -> impl Strategy<Value = Option<(prop::sample::Index, u8)>> {
    let byte = prop::sample::select(br#"{}[]":,\ a."#.to_vec());
    prop::option::of((any::<prop::sample::Index>(), byte))
}

/// Names that are wanted, and some that begin or end as these do.
const OTHERS: [&str; 14] = [
    "request_time",
    "request_time2",
    "my_request_time",
    "request_",
    "time",
    "upstream_addr",
    "upstream_address_of_a_server",
    "u",
    "a",
    "b",
    "ab",
    ",",
    ":",
    "",
];

proptest! {
    #[test]
    fn every_path_reads_every_line_as_the_grammar_says(
        lines in prop::collection::vec(line(), 0..12),
        wanted in prop::sample::subsequence(&WANTED[..], 1..9),
        optional in any::<u8>(),
        repeat in prop_oneof![9 => Just(1usize), 1 => 2usize..12],
    ) {
        let wanted: Vec<_> = wanted.iter().enumerate()
            .map(|(at, name)| (name.as_bytes().to_vec(), at == 0 || optional >> (at % 8) & 1 == 0))
            .collect();
        let block = lines.join(&b'\n').repeat(repeat);
        for prefix in [Prefix::Refuse, Prefix::Skip] {
            rows_of(&block, &wanted, prefix);
        }
    }

    #[test]
    fn members_of_members_are_read_as_the_grammar_says(
        lines in prop::collection::vec((deep(), deep_change()), 0..6),
        wanted in prop::sample::subsequence(&["a", "a.b", "a.b.c", "b", "b.", ".a", "."][..], 1..5),
        optional in any::<u8>(),
    ) {
        let wanted: Vec<_> = wanted.iter().enumerate()
            .map(|(at, name)| (name.as_bytes().to_vec(), at == 0 || optional >> at & 1 == 0))
            .collect();
        let lines: Vec<Vec<u8>> = lines.into_iter()
            .map(|(line, change)| {
                let mut line = line.into_bytes();
                if let Some((at, byte)) = change {
                    let at = at.index(line.len());
                    line[at] = byte;
                }
                line
            })
            .collect();
        for prefix in [Prefix::Refuse, Prefix::Skip] {
            rows_of(&[lines.join(&b'\n'), b"\n".to_vec()].concat(), &wanted, prefix);
        }
    }

    #[test]
    fn valid_objects_are_read_as_a_library_reads_them(
        members in prop::collection::vec((prop::sample::select(&OTHERS[..]), value()), 0..9),
    ) {
        let members: Vec<_> = members.iter().map(|(n, v)| format!("\"{n}\":{v}")).collect();
        let text = format!("{{{}}}", members.join(","));
        let Ok(serde_json::Value::Object(read)) = serde_json::from_str(&text) else { return Ok(()) };
        prop_assume!(read.len() == members.len());
        let found = &rows(format!("{text}\n").as_bytes(), &WANTED, Prefix::Refuse)[0].1;
        for (name, found) in WANTED.iter().zip(found) {
            let expected = match read.get(*name) {
                Some(serde_json::Value::String(text)) if text != "-" => text.clone(),
                Some(number @ serde_json::Value::Number(_)) => number.to_string(),
                Some(serde_json::Value::Bool(word)) => word.to_string(),
                _ => String::new(),
            };
            let found = String::from_utf8(unescape(found).into_owned()).unwrap();
            let same = found == expected
                || found.parse::<f64>().is_ok_and(|number| Ok(number) == expected.parse());
            prop_assert!(same, "{name}: {found} is not {expected}");
        }
    }

    /// Lines with the names of the line before, and lines with one of them gone, come or changed;
    /// text between them as in no JSON.
    #[test]
    fn names_may_stand_in_another_order_than_in_the_line_before(
        lines in prop::collection::vec(
            prop::collection::vec((0usize..OTHERS.len(), 0usize..9, "[-:,a-z0-9 ]{0,9}"), 0..9), 1..6),
        order in prop::collection::vec((0usize..6, 0usize..9), 0..40),
        many in 0usize..70,
    ) {
        let mut block = String::new();
        for (line, gone) in order {
            block.push('{');
            for (at, (name, form, value)) in lines[line % lines.len()].iter().enumerate() {
                let name = OTHERS[(name + usize::from(at == gone)) % OTHERS.len()];
                block += &match form {
                    0 => format!("\"{name}\" : \"{value}\" , "),
                    1 => format!("\"{name}\":17,"),
                    2 => format!("\"{value}\"{name}\","),
                    3 => format!("\"{name}\"{value}\":\"{name}\","),
                    4 => format!("\"{name}\",\"{value}\""),
                    _ => format!("\"{name}\":\"{value}\","),
                };
            }
            block += &"\"x\":\"y\",".repeat(many * usize::from(gone == 0));
            block += "\"request_time\":1}\n";
        }
        let names = ["request_time", "upstream_addr", "u", "a", "b", ",", "request_time2"];
        rows(block.as_bytes(), &names, Prefix::Refuse);
        rows(block.as_bytes(), &names, Prefix::Skip);
    }
}
