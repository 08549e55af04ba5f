//! What comes out of each envelope, at every level of the processor.

use super::*;
use proptest::prelude::*;

/// The messages of a block, the same at every level.
fn opened(envelope: Envelope, block: &[u8]) -> Vec<u8> {
    let mut opener = Opener::default();
    let best = opener.open(envelope, block).to_vec();
    for level in Level::all() {
        // What an earlier block has left in the buffer does no harm.
        assert_eq!(opener.open_at(level, envelope, block), best, "{level:?}");
    }
    best
}

fn text(envelope: Envelope, block: &str) -> String {
    String::from_utf8(opened(envelope, block.as_bytes())).unwrap()
}

/// An entry as docker writes it.
fn docker(stream: &str, log: &str) -> String {
    let log = serde_json::to_string(log).unwrap();
    format!("{{\"log\":{log},\"stream\":\"{stream}\",\"time\":\"2026-11-29T14:06:41.1Z\"}}\n")
}

#[test]
fn a_docker_entry_is_its_line() {
    let line = "status:200\tua:\"x\" \\ <é\u{1f600}>\u{1}";
    assert_eq!(
        text(Envelope::Docker, &docker("stdout", &format!("{line}\n"))),
        format!("{line}\n")
    );
    let block = r#"{"log":"a\u003cb\u003e \ud83d\ude00 \ud83d \u00e9\/\b\x\n","stream":"stdout"}"#;
    let found = text(Envelope::Docker, &format!("{block}\n"));
    assert_eq!(found, "a<b> \u{1f600} \u{fffd} é/\u{8}\\x\n");
    // A terminal ends its lines in CRLF.
    assert_eq!(text(Envelope::Docker, &docker("stdout", "a\r\n")), "a\r\n");
    assert_eq!(text(Envelope::Docker, &docker("stdout", "\n")), "\n");
}

#[test]
fn a_docker_line_in_pieces_is_put_together_for_each_stream() {
    let block = [
        docker("stdout", "a1 "),
        docker("stderr", "b1 "),
        docker("stdout", "a2 \\n"),
        docker("stderr", "b2\n"),
        docker("stdout", "a3\n"),
        docker("stdout", "c\n"),
    ]
    .concat();
    assert_eq!(text(Envelope::Docker, &block), "b1 b2\na1 a2 \\na3\nc\n");
    assert_eq!(text(Envelope::Docker, &docker("stdout", "ends here")), "ends here\n");
}

#[test]
fn a_docker_entry_that_is_written_otherwise_is_read() {
    let block = "{\"time\":\"x\", \"stream\" : \"stderr\", \"log\" : \"a\\u0041 \" }\n\
                 \0\0{\"stream\":\"stderr\",\"log\":\"b\\n\"}\r\n";
    assert_eq!(text(Envelope::Docker, block), "aA b\n");
    let block = "{\"log\":\"torn\nno entry at all\n\n{\"log\":7}\n{\"log\":\"a\\nb\\u000ac\\n\",\"stream\":\"stdout\"}\n";
    let expected = "{\"log\":\"torn\nno entry at all\n\n7a b c\n";
    assert_eq!(text(Envelope::Docker, block), expected);
}

#[test]
fn a_cri_entry_is_its_line_and_pieces_are_put_together() {
    let block = "2016-10-06T00:17:09.669794202Z stdout F one\n\
                 2016-10-06T00:17:10.113242941+09:00 stdout P two \n\
                 2016-10-06T00:17:10.2Z stderr F:x=y other\n\
                 2016-10-06T00:17:10.3Z stdout F two\r\n\
                 2016-10-06T00:17:10.3Z stdout F\n\
                 2016-10-06T00:17:10.3Z stdout X no tag\n\
                 2016-10-06T00:17:10.3Z stdin F no stream\n\
                 nothing\n";
    assert_eq!(
        text(Envelope::Cri, block),
        "one\nother\ntwo two\n\n2016-10-06T00:17:10.3Z stdout X no tag\n\
         2016-10-06T00:17:10.3Z stdin F no stream\nnothing\n"
    );
}

#[test]
fn a_journald_entry_is_its_message() {
    let head = r#"{"__REALTIME_TIMESTAMP":"1","X":"MESSAGE","Y":"\"MESSAGE\":\"no\"","#;
    for (value, message) in [
        (r#""a \"b\"\tc\\""#, "a \"b\"\tc\\"),
        (r#""two\nlines""#, "two lines"),
        ("[97,98, 255 ]", "ab\u{ff}"),
        (r#"["first","second"]"#, "first"),
        ("[]", ""),
    ] {
        for gap in ["", " "] {
            let line = format!("{head}\"MESSAGE\"{gap}:{gap}{value},\"_PID\":\"7\"}}\n");
            let expected: Vec<u8> = match value.contains("255") {
                true => b"ab\xff\n".to_vec(),
                false => format!("{message}\n").into_bytes(),
            };
            let expected = if value == "[]" { line.clone().into_bytes() } else { expected };
            assert_eq!(opened(Envelope::Journald, line.as_bytes()), expected, "{line}");
        }
    }
    for value in ["null", "7", "[97,x]", "[1,300]", "\"torn"] {
        let line = format!("{head}\"MESSAGE\":{value}\n");
        assert_eq!(text(Envelope::Journald, &line), line);
    }
}

#[test]
fn a_syslog_message_is_what_follows_its_head() {
    for head in [
        // RFC 5424, 6.5
        "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}",
        "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - ",
        r#"<165>1 2003-10-11T22:14:15.003Z h e - ID47 [a@1 iut="3" x="\]\"]"][b y="1"] "#,
        // Heroku
        "<158>1 2012-10-11T03:47:20+00:00 host heroku router - ",
        // RFC 3164, 5.4, and without the host
        "<34>Oct 11 22:14:15 mymachine su: ",
        "<190>Oct  1 22:14:15 nginx: ",
        "<13>Feb  5 17:32:18 10.0.0.99 ",
        // in files
        "Nov 29 14:06:41 web1 nginx[123]: ",
        "2026-11-29T14:06:41.123456+00:00 web1 docker/abc[1]: ",
    ] {
        assert_eq!(
            text(Envelope::Syslog, &format!("{head}the message\r\n")),
            "the message\n",
            "{head}"
        );
        assert_eq!(text(Envelope::Syslog, &format!("\0\0{head}{{}}\n")), "{}\n", "{head}");
    }
    assert_eq!(text(Envelope::Syslog, "<34>1 - - - - - -\n"), "\n");
    for line in [
        "<34>1 - - - - -",
        "<34>1 - - - - - [a x=\"",
        "<1234>1 - - - - - - x",
        "<x>Oct 11 22:14:15 h t: x",
        "Nov 29 14:06:41 no tag here",
        "Nov 2x 14:06 h t: x",
        "2026-11-29T14:06:41Z stdout F x",
        "2026-11-29 14:06:41 h t: x",
        r#"10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 12"#,
        "",
    ] {
        assert_eq!(text(Envelope::Syslog, &format!("{line}\n")), format!("{line}\n"));
    }
}

#[test]
fn what_most_lines_are_in_is_found() {
    let journald = "{\"__CURSOR\":\"s\",\"__REALTIME_TIMESTAMP\":\"1\",\"MESSAGE\":\"x\"}\n";
    for (line, envelope) in [
        (docker("stderr", "x"), Some(Envelope::Docker)),
        ("2016-10-06T00:17:09.669794202Z stdout F x\n".to_owned(), Some(Envelope::Cri)),
        (journald.to_owned(), Some(Envelope::Journald)),
        ("Nov 29 14:06:41 web1 nginx[123]: x\n".to_owned(), Some(Envelope::Syslog)),
        ("status:200\tptime:1\n".to_owned(), None),
        ("{\"log\":\"x\",\"status\":200}\n".to_owned(), None),
    ] {
        let two = format!("\n\0{line}{line}other\n");
        assert_eq!(Envelope::detect(two.as_bytes()), envelope, "{line}");
        assert_eq!(Envelope::detect(format!("{line}other\n").as_bytes()), None, "{line}");
        if let Some(envelope) = envelope {
            assert_eq!(Envelope::named(envelope.name()), Some(envelope));
        }
    }
    assert_eq!(Envelope::detect(b""), None);
    assert_eq!(Envelope::named("rail"), None);
}

#[test]
fn a_line_that_goes_on_is_waited_for_but_not_for_ever() {
    let open = docker("stdout", "goes on");
    let (other, end) = (docker("stderr", "x\n"), docker("stdout", "ends\n"));
    let whole = |parts: &[&str]| whole_bytes(parts.concat().as_bytes());
    assert_eq!(whole(&[&end, &open, &other]), end.len());
    assert_eq!(whole(&[&end, &open, &open]), end.len());
    assert_eq!(whole(&[&open, &other, &end]), open.len() + other.len() + end.len());
    assert_eq!(whole(&[&open]), 0);
    let many = other.repeat(MOST_WAITED_LINES + 1);
    assert_eq!(whole(&[&open, &many]), open.len() + many.len());
    // A line in 100 pieces is no others' line.
    let pieces = open.repeat(100);
    assert_eq!(whole(&[&end, &pieces, &other]), end.len());
    assert_eq!(whole_bytes(b"a\nb\n"), 4);
    assert_eq!(whole_bytes(b""), 0);
}

const MOST_WAITED_LINES: usize = pieces::MOST_OTHER_LINES;

/// A line of any text with escapes, long enough to go over the 64 bytes that are looked at at once.
fn any_log() -> impl Strategy<Value = String> {
    r#"([ -~]|["\\]|\\n|[\t\u{1}é😀<>&]){0,150}"#
}

proptest! {
    #[test]
    fn every_docker_block_is_read_as_a_library_reads_it(
        entries in prop::collection::vec((any_log(), any::<bool>(), any::<bool>()), 0..9),
        slashes in any::<bool>(),
    ) {
        let mut block = String::new();
        let mut lines = [String::new(), String::new()];
        let mut expected = String::new();
        for (log, err, whole) in &entries {
            let log = log.trim_end_matches('\n');
            let mut entry = docker(if *err { "stderr" } else { "stdout" },
                &format!("{log}{}", if *whole { "\n" } else { "" }));
            if slashes {
                // As Go's encoder writes them.
                entry = entry.replace('<', "\\u003c").replace('>', "\\u003e").replace('é', "\\u00e9");
            }
            block += &entry;
            let line = &mut lines[usize::from(*err)];
            *line += log;
            if *whole {
                expected += line;
                expected.push('\n');
                line.clear();
            }
        }
        for line in lines.iter().filter(|line| !line.is_empty()) {
            expected += line;
            expected.push('\n');
        }
        let found = opened(Envelope::Docker, block.as_bytes());
        prop_assert_eq!(String::from_utf8(found.clone()).unwrap(), expected);
        // What is cut off where all lines are whole gives the same.
        let (whole, rest) = block.as_bytes().split_at(whole_bytes(block.as_bytes()));
        let parts = [opened(Envelope::Docker, whole), opened(Envelope::Docker, rest)].concat();
        prop_assert_eq!(parts, found);
    }

    #[test]
    fn any_bytes_are_as_many_lines_at_most_in_every_envelope(
        lines in prop::collection::vec(prop_oneof![
            r#"[ -~\t\r\x00]{0,90}"#,
            r#"\{"log":"([a-z\\"nu0-9]){0,80}(","stream":"stdout"\})?"#,
            r#"<[0-9]{1,3}>1? ?[ -~]{0,60}"#,
            r#"2026-11-29T14:06:41Z std(out|err) [FPX]:?[ -~]{0,40}"#,
            r#"\{"__REALTIME_TIMESTAMP":"1","MESSAGE":[\[\]"a-z0-9,\\n]{0,30}\}?"#,
        ], 0..9),
    ) {
        let block: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let newlines = |bytes: &[u8]| bytes.iter().filter(|&&b| b == b'\n').count();
        for envelope in Envelope::KNOWN {
            let found = opened(envelope, block.as_bytes());
            prop_assert!(newlines(&found) <= lines.len());
            prop_assert!(found.is_empty() || found.ends_with(b"\n"));
            prop_assert!(whole_bytes(block.as_bytes()) <= block.len());
        }
        let _ = Envelope::detect(block.as_bytes());
    }
}
