use proptest::prelude::*;
use regex::Regex;

use super::*;

fn options(programs: &[&str]) -> Options {
    Options {
        programs: programs.iter().map(|&name| name.to_owned()).collect(),
        syslog_name: None,
        by_relay: false,
        by_dsn: false,
        max_groups: 10,
        edges: Vec::new(),
    }
}

fn scan(options: &Options, text: &str) -> Summary {
    let mut scanner = Scanner::new(options).unwrap();
    scanner.block(text.as_bytes());
    scanner.finish()
}

fn total(options: &Options, text: &str) -> u64 {
    scan(options, text).deliveries.unwrap().total
}

const HEAD: &str = "Apr 19 12:50:52 mail1 postfix/smtp[7570]: ";
const FIELDS: &str = "69FFFC00B6: to=<a@b.example>, relay=mx.b.example[192.0.2.1]:25, delay=0.31, \
                      delays=0.04/0/0.09/0.17, dsn=2.0.0, status=sent (250 Ok)\n";

#[test]
fn a_delivery_gives_five_delays_and_its_class() {
    let summary = scan(&options(&["smtp"]), &format!("{HEAD}{FIELDS}"));
    let figures = summary.deliveries.unwrap();
    assert_eq!((figures.total, figures.classes), (1, [1, 0, 0]));
    let delays = figures.delays.unwrap();
    assert_eq!(delays.map(|delay| delay.average), [0.31, 0.04, 0.0, 0.09, 0.17]);
    assert_eq!(delays.map(|delay| delay.p99), [0.31, 0.04, 0.0, 0.09, 0.17]);
    assert_eq!(delays.map(|delay| delay.p90), [0.31, 0.04, 0.0, 0.09, 0.17]);
    assert_eq!((summary.bad, summary.example, summary.activity), (vec![], None, None));
}

#[test]
fn without_a_delivery_there_are_no_delays() {
    let figures = scan(&options(&["smtp"]), "").deliveries.unwrap();
    assert_eq!(figures, Figures { total: 0, classes: [0; 3], delays: None, histograms: None });
}

#[test]
fn histograms_count_each_delay_by_the_edges_and_those_of_relays_are_none() {
    let line = |total: &str, parts: &str| {
        let fields = FIELDS.replace("0.31", total).replace("0.04/0/0.09/0.17", parts);
        format!("{HEAD}{fields}")
    };
    // Just inside of, on and just outside of the bounds 0.31 and 2000, small and large numbers.
    let first =
        line("0.309999", "0/0/0/0") + &line("0.31", "0/0/0/5") + &line("0.310001", "0/0/1/0");
    let second =
        line("1999.9", "0/0/0/0") + &line("2000", "0/0/0/0") + &line("2000.1", "3000/0/0/0");
    let bounds = [0.31_f64, 2000.0];
    let with = |edges: &[f64]| {
        let options = Options { edges: edges.to_vec(), by_relay: true, ..options(&["smtp"]) };
        let mut scanner = Scanner::new(&options).unwrap();
        let mut other = scanner.clone();
        scanner.block(first.as_bytes());
        other.block(second.as_bytes());
        scanner.merge(other);
        scanner.finish()
    };
    let exclusive = with(&bounds).deliveries.unwrap().histograms.unwrap();
    assert_eq!(exclusive[0], [1, 3, 2]);
    let summary = with(&bounds.map(f64::next_up));
    let inclusive = summary.deliveries.unwrap().histograms.unwrap();
    let rest = [vec![5, 0, 1], vec![6, 0, 0], vec![5, 1, 0], vec![5, 1, 0]];
    assert_eq!((&inclusive[0][..], &inclusive[1..]), (&[2, 3, 1][..], &rest[..]));
    assert_eq!(summary.relays[0].figures.histograms, None);
    let empty = Options { edges: bounds.to_vec(), ..options(&["smtp"]) };
    let histograms = scan(&empty, "").deliveries.unwrap().histograms.unwrap();
    assert_eq!(histograms, [0; 5].map(|_| vec![0; 3]));
}

#[test]
fn both_time_stamps_and_odd_heads_are_read() {
    for head in [
        "Apr  9 12:50:52 mail1 postfix/smtp[7570]: ",
        "2023-02-01T01:02:04.123456+00:00 mail1 postfix/smtp[1]: ",
        "<22>Apr 19 12:50:52 mail1 postfix/smtp[7570]: ",
        "Apr 19 12:50:52 <mail.info> mail1 postfix/smtp[7570]: ",
        "{\"log\": \"Apr 19 12:50:52 mail1 postfix/smtp[7570]: ",
        " postfix/smtp[7570]: ",
    ] {
        assert_eq!(total(&options(&["smtp"]), &format!("{head}{FIELDS}")), 1, "{head}");
    }
}

#[test]
fn only_the_program_of_the_line_counts_not_one_that_the_text_quotes() {
    for head in [
        "Apr 19 12:50:52 mail1 postfix/smtpd[1]: ",
        "Apr 19 12:50:52 mail1 postfix/smtp: ",
        "Apr 19 12:50:52 mail1 postfix/smtp[]: ",
        "Apr 19 12:50:52 mail1 xpostfix/smtp[1]: ",
        "Apr 19 12:50:52 mail1 postfix/relay/smtp[1]: ",
        "Apr 19 12:50:52 mail1 postfix/cleanup[1]: warning: postfix/smtp[7570]: ",
        "Apr 19 12:50:52 mail1 app: saw postfix/smtp[7570]: ",
        "2023-02-01T01:02:04Z mail1 kernel: postfix/smtp[7570]: ",
        "Apr 19 12:50:52 mail1 postfix/smtp[1]: 69FFFC00B6: host x[192.0.2.1] said: 450 hm, ",
        "Apr 19 12:50:52 mail1 postfix/smtp[1]: warning: ",
        "postfix/smtp[1]: ",
        "postfix/smtp[1] ",
        "",
    ] {
        let summary = scan(&options(&["smtp"]), &format!("{head}{FIELDS}"));
        assert_eq!(summary.deliveries.unwrap().total, 0, "{head}");
        assert_eq!(summary.bad, [], "{head}");
    }
    // The remote server's answer cannot add a second delivery, nor replace the first.
    let fields = FIELDS.replace("(250 Ok)", "(250 , delay=9, delays=9/9/9/9, dsn=5.0.0, x)");
    let figures = scan(&options(&["smtp"]), &format!("{HEAD}{fields}")).deliveries.unwrap();
    assert_eq!((figures.total, figures.classes), (1, [1, 0, 0]));
}

#[test]
fn a_line_that_is_the_message_of_another_program_counts() {
    for head in [
        "Apr 19 12:50:52 host docker/mail[1]: Apr 19 12:50:52 mail1 postfix/smtp[7570]: ",
        "Apr 19 12:50:52 host 0123456789ab[1234]: Apr 19 12:50:52 mail1 postfix/smtp[7570]: ",
        "Apr 19 12:50:52 host journal: 2023-02-01T01:02:04+00:00 mail1 postfix/smtp[1]: ",
        "Apr 19 12:50:52 host docker[1]: postfix/smtp[7570]: ",
        "Apr 19 12:50:52 mail1 postfix/smtp[7570]: [ID 197553 mail.info] ",
        "Apr 19 12:50:52 host mail[1]: postfix/smtp[7570]: [ID 197553 mail.warning] ",
    ] {
        assert_eq!(total(&options(&["smtp"]), &format!("{head}{FIELDS}")), 1, "{head}");
        let long = format!("{}{FIELDS}", head.replace("host", &"h".repeat(90)));
        assert_eq!(total(&options(&["smtp"]), &long), 1, "{long}");
    }
    for head in [
        "Apr 19 12:50:52 host docker[1]: saw postfix/smtp[7570]: ",
        "Apr 19 12:50:52 host journal: x Apr 19 12:50:52 mail1 postfix/smtp[7570]: ",
        "Apr 19 12:50:52 host docker[1]: postfix/lmtp[7570]: ",
        "Apr 19 12:50:52 mail1 postfix/smtp[7570]: [ID x] ",
        "Apr 19 12:50:52 mail1 postfix/smtp[7570]: [ID 1] x",
    ] {
        assert_eq!(total(&options(&["smtp"]), &format!("{head}{FIELDS}")), 0, "{head}");
    }
    let queued = "4F1: message-id=<x@y>\n";
    let text = format!(
        "Apr 19 12:50:52 host docker[1]: Apr 19 12:50:52 mail1 postfix/cleanup[2]: {queued}\
         Apr 19 12:50:52 mail1 postfix/cleanup[2]: [ID 1 mail.info] {queued}"
    );
    assert_eq!(scan(&options(&["cleanup"]), &text).activity.unwrap().queued, 2);
}

#[test]
fn what_other_instances_deliver_is_told_and_does_not_count() {
    let line = |name: &str| format!("Apr 19 12:50:52 mail1 {name}[7570]: {FIELDS}");
    let text = line("postfix-out/smtp").repeat(2)
        + &line("postfix-in/smtp")
        + &line("postfix/lmtp")
        + &line("postfix-out/smtpd")
        + "Apr 19 12:50:52 mail1 postfix-x/smtp[1]: warning: , delay=\n"
        + "Apr 19 12:50:52 host docker[1]: Apr 19 12:50:52 mail1 postfix-out/smtp[7570]: "
        + FIELDS;
    let found = scan(&options(&["smtp"]), &text);
    assert_eq!(found.deliveries.unwrap().total, 0);
    let expected = [("postfix-out/smtp", 3), ("postfix-in/smtp", 1)];
    assert_eq!(found.others, expected.map(|(name, count)| (name.to_owned(), count)));
    let both = Options { syslog_name: Some("postfix-(in|out)".to_owned()), ..options(&["smtp"]) };
    let found = scan(&both, &text);
    assert_eq!((found.deliveries.unwrap().total, found.others), (4, vec![]));
    let (mut one, mut other) =
        (Scanner::new(&options(&["smtp"])).unwrap(), Scanner::new(&options(&["smtp"])).unwrap());
    one.block(text.as_bytes());
    other.block(text.as_bytes());
    one.merge(other);
    assert_eq!(one.finish().others[0].1, 6);
}

#[test]
fn a_quoted_address_cannot_play_the_fields() {
    let address = r#"<"x\", delay=7, delays=7/7/7/7, dsn=5.0.0, y"@b.example>"#;
    let line = format!("{HEAD}{}", FIELDS.replace("<a@b.example>", address));
    let figures = scan(&options(&["smtp"]), &line).deliveries.unwrap();
    assert_eq!((figures.total, figures.classes), (1, [1, 0, 0]));
    assert_eq!(figures.delays.unwrap()[0].average, 0.31);
    // A lone quote is no quoting.
    let line = format!("{HEAD}{}", FIELDS.replace("<a@b.example>", "<a\"b@b.example>"));
    assert_eq!(total(&options(&["smtp"]), &line), 1);
}

#[test]
fn crlf_nul_and_a_missing_newline_are_no_trouble() {
    let line = format!("{HEAD}{FIELDS}");
    let text = format!("\0\r\n\n{}\r\n{line}", line.trim_end());
    assert_eq!(total(&options(&["smtp"]), &text), 2);
    assert_eq!(total(&options(&["smtp"]), line.trim_end()), 1);
}

#[test]
fn fields_between_the_delays_and_the_dsn_are_passed() {
    let line = format!("{HEAD}{}", FIELDS.replace(", dsn=", ", tls=verified, dsn="));
    assert_eq!(total(&options(&["smtp"]), &line), 1);
}

#[test]
fn bad_lines_are_counted_by_reason_and_the_first_is_shown() {
    let make = |old: &str, new: &str| format!("{HEAD}{}", FIELDS.replace(old, new));
    let text = [
        make(", delays=0.04/0/0.09/0.17, dsn=2.0.0", ""),
        make("0.04/0/0.09/0.17", "0.04/0/0.09"),
        make("0.04/0/", "0.04/x/"),
        make("delay=0.31", "delay=fast"),
        make("dsn=2.0.0, ", ""),
        make("dsn=2.0.0", "dsn=2"),
        make("dsn=2.0.0, status=sent (250 Ok)", "d$"),
        make("", ""),
    ]
    .concat();
    let summary = scan(&options(&["smtp"]), &text);
    assert_eq!(summary.deliveries.unwrap().total, 1);
    let reasons = [("no delays=A/B/C/D", 2), ("a delay that is not a number", 2), ("no dsn=", 3)];
    assert_eq!(summary.bad, reasons);
    let (reason, line) = summary.example.unwrap();
    assert_eq!((reason, line.as_slice()), (reasons[0].0, text.lines().next().unwrap().as_bytes()));
}

#[test]
fn programs_are_daemons_or_whole_names() {
    let mut asked = options(&["lmtp", "postfix/relay/smtp"]);
    let line = |name: &str| format!("Apr 19 12:50:52 m {name}[1]: {FIELDS}");
    let names = [
        "postfix/smtp",
        "postfix/lmtp",
        "postfix/relay/smtp",
        "postfix-out/lmtp",
        "postfix-out/relay/lmtp",
        "mypostfix/lmtp",
        "lmtp",
        "dovecot/lmtp",
    ];
    let text: String = names.iter().map(|name| line(name)).collect();
    assert_eq!(total(&asked, &text), 2);
    asked.syslog_name = Some("postfix(-out)?|mypost".to_owned());
    assert_eq!(total(&asked, &text), 3);
    asked.syslog_name = Some("postfix.*".to_owned());
    assert_eq!(total(&asked, &text), 4);
    asked.syslog_name = Some("(".to_owned());
    assert!(Scanner::new(&asked).unwrap_err().to_string().contains("not a regular expression"));
    // A pattern that closes the group it is put into is wrong by itself.
    asked.syslog_name = Some("a)|(b".to_owned());
    assert!(Scanner::new(&asked).is_err());
}

#[test]
fn relays_are_hosts_and_the_small_ones_are_pooled() {
    let mut asked = options(&["smtp"]);
    (asked.by_relay, asked.max_groups) = (true, 2);
    let relays = [
        "mx.a.example[192.0.2.1]:25",
        "MX.a.example[192.0.2.2]:25",
        "mx.a.example[private/x], conn_use=2",
        "none",
        "none",
        "[192.0.2.9]:2525",
        "2001:db8::1[2001:db8::1]:25",
        "local",
        "other",
    ];
    let text: String = relays
        .iter()
        .map(|relay| format!("{HEAD}{}", FIELDS.replace("mx.b.example[192.0.2.1]:25", relay)))
        .collect();
    let summary = scan(&asked, &text);
    let found: Vec<_> =
        summary.relays.into_iter().map(|relay| (relay.host, relay.figures.total)).collect();
    let value = |host: &str| GroupName::Value(host.as_bytes().into());
    let expected = [(value("mx.a.example"), 3), (value("none"), 2), (GroupName::Other, 4)];
    assert_eq!(found, expected);
    asked.max_groups = 20;
    let names: Vec<_> = scan(&asked, &text).relays.into_iter().map(|r| r.host).collect();
    let all = ["mx.a.example", "none", "192.0.2.9", "2001:db8::1", "local", "other"];
    assert_eq!(names, all.map(value));
}

#[test]
fn more_relays_or_dsns_than_4096_end_in_the_pool() {
    let mut asked = options(&["smtp"]);
    (asked.by_relay, asked.by_dsn, asked.max_groups) = (true, true, 5000);
    let mut scanner = Scanner::new(&asked).unwrap();
    let add = |scanner: &mut Scanner, number: usize| {
        let line = FIELDS
            .replace("mx.b.example", &format!("mx{number}.example"))
            .replace("2.0.0", &format!("2.{}.{}", number / 1000, number % 1000));
        scanner.block(format!("{HEAD}{line}").as_bytes());
    };
    let sizes = |scanner: &Scanner| {
        let summary = scanner.clone().finish();
        let pooled = summary.relays.iter().find(|relay| relay.host == GroupName::Other);
        let other = summary.dsns.iter().find(|(dsn, _)| dsn == "other");
        let relays = summary.relays.len() - usize::from(pooled.is_some());
        let dsns = summary.dsns.len() - usize::from(other.is_some());
        (relays, pooled.map(|relay| relay.figures.total), dsns, other.map(|&(_, count)| count))
    };
    (0..4096).for_each(|number| add(&mut scanner, number));
    assert_eq!(sizes(&scanner), (4096, None, 4096, None));
    (4096..4100).for_each(|number| add(&mut scanner, number));
    add(&mut scanner, 7);
    assert_eq!(sizes(&scanner), (4096, Some(4), 4096, Some(4)));
    (0..10).for_each(|_| add(&mut scanner, 4999));
    let late = scanner.finish().relays.remove(0);
    assert_eq!(late.host, GroupName::Value(b"mx4999.example"[..].into()));
    assert_eq!(late.figures.total, 10);
}

#[test]
fn a_relay_is_named_by_255_bytes_at_most() {
    let mut asked = options(&["smtp"]);
    asked.by_relay = true;
    let names = |bytes: usize| {
        let line = FIELDS.replace("mx.b.example", &"m".repeat(bytes));
        scan(&asked, &format!("{HEAD}{line}")).relays.remove(0).host
    };
    assert_eq!(names(255), GroupName::Value("m".repeat(255).into_bytes().into()));
    assert_eq!(names(256), GroupName::Other);
}

#[test]
fn whole_dsns_are_counted() {
    let mut asked = options(&["smtp"]);
    (asked.by_dsn, asked.max_groups) = (true, 2);
    let text: String = ["2.0.0", "2.0.0", "4.7.1", "5.999.1", "5.1000.1", "2.", "4.7.1", "2.6.0"]
        .iter()
        .map(|dsn| format!("{HEAD}{}", FIELDS.replace("2.0.0", dsn)))
        .collect();
    let named = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
        list.iter().map(|&(dsn, count)| (dsn.to_owned(), count)).collect()
    };
    let summary = scan(&asked, &text);
    assert_eq!(summary.dsns, named(&[("2.0.0", 2), ("4.7.1", 2), ("other", 4)]));
    assert_eq!(summary.deliveries.unwrap().classes, [4, 2, 2]);
    asked.max_groups = 9;
    let all = [("2.0.0", 2), ("4.7.1", 2), ("2.6.0", 1), ("5.999.1", 1), ("other", 2)];
    assert_eq!(scan(&asked, &text).dsns, named(&all));
}

#[test]
fn daemons_without_delays_are_counted_by_what_they_say() {
    let asked = options(&["smtpd", "cleanup", "qmgr", "pickup", "postscreen"]);
    let lines = [
        "smtpd[1]: connect from x[192.0.2.1]",
        "smtpd[1]: 3mJddz5fh3z7sdM: client=x[192.0.2.1]",
        "smtpd[1]: NOQUEUE: client=x[192.0.2.1]",
        "smtpd[1]: NOQUEUE: reject: RCPT from x[192.0.2.1]: 550 5.7.1 no; from=<> to=<a@b>",
        "smtpd[1]: 69FFFC00B6: milter-reject: DATA from x[192.0.2.1]: 550 5.7.1 no",
        "smtpd[1]: 69FFFC00B6: reject_warning: RCPT from x[192.0.2.1]: 550",
        "postscreen[1]: NOQUEUE: reject: RCPT from [192.0.2.1]:1234: 550 5.5.1 no",
        "pickup[1]: 69FFFC00B7: uid=0 from=<root>",
        "cleanup[1]: 69FFFC00B6: message-id=<1@x>",
        "cleanup[1]: 69FFFC00B6: milter-reject: END-OF-MESSAGE from x[192.0.2.1]: 5.7.1 no",
        "qmgr[1]: 69FFFC00B6: from=<a@b>, size=1, nrcpt=1 (queue active)\r",
        "qmgr[1]: 69FFFC00B6: from=<, status=expired>, size=1, nrcpt=1 (queue active)",
        "qmgr[1]: 69FFFC00B6: from=<a@b>, status=expired, returned to sender",
        "qmgr[1]: 69FFFC00B6: from=<a@b>, status=force-expired, returned to sender",
        "qmgr[1]: 69FFFC00B6: removed\r",
        "qmgr[1]: warning: connect to transport private/x: Connection refused",
        "smtp[1]: 69FFFC00B6: removed",
    ];
    let text: String = lines.iter().map(|l| format!("Apr 19 12:50:52 m postfix/{l}\n")).collect();
    let summary = scan(&asked, &text);
    assert_eq!(summary.deliveries, None);
    let expected =
        Activity { received: 2, rejected: 4, queued: 1, active: 2, removed: 1, expired: 2 };
    assert_eq!(summary.activity, Some(expected));
    let only = scan(&options(&["qmgr"]), &text).activity.unwrap();
    assert_eq!(only, Activity { active: 2, removed: 1, expired: 2, ..Activity::default() });
}

/// What the scanner should count, line by line with regular expressions.
struct Model {
    stamp: Regex,
    program: Regex,
    direct: Regex,
    report: Regex,
    fields: Regex,
}

impl Model {
    fn new() -> Model {
        let number = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)";
        let parts = [number; 4].join("/");
        let regex = |text: &str| Regex::new(text).unwrap();
        Model {
            stamp: regex(r"^(?:<[0-9]*>)?(?:[A-Z][a-z][a-z] |[0-9]{4}-[0-9]{2}-)"),
            program: regex(r"^.* ([^ ]+)\[[0-9]+\]$"),
            direct: regex(r"^([^ ]+)\[[0-9]+\]: "),
            report: regex(r"^([0-9A-Za-z]+): (?:to=|[^ ,]+,)"),
            fields: regex(&format!(r"^{number}, delays={parts}, dsn=([0-9])\.")),
        }
    }

    /// Class and delays of each delivery.
    fn deliveries(&self, text: &str) -> Vec<(u8, [f64; 5])> {
        text.split('\n').filter_map(|line| self.delivery(line)).collect()
    }

    /// The program of a line and its message.
    fn writer<'t>(&self, mut line: &'t str) -> Option<(&'t str, &'t str)> {
        let mut offset = 0;
        loop {
            let colon = offset + line[offset..].find(": ")?;
            if let Some(name) = self.program.captures(&line[..colon]).and_then(|found| found.get(1))
                && name.start() >= offset
            {
                return Some((name.as_str(), &line[colon + 2..]));
            }
            offset = colon + 2;
            if self.stamp.is_match(line) {
                line = &line[offset..];
                offset = 0;
                if !self.stamp.is_match(line) {
                    return None;
                }
            }
        }
    }

    fn delivery(&self, line: &str) -> Option<(u8, [f64; 5])> {
        let (mut program, mut message) = self.writer(line)?;
        let marker = message.find(", delay=")?;
        if program != "postfix/smtp" {
            // The message may be a line.
            let before = &message[..marker];
            let (name, text) = match self.stamp.is_match(before) {
                true => self.writer(before)?,
                false => {
                    let found = self.direct.captures(before)?;
                    (found.get(1)?.as_str(), &before[found.get(0)?.end()..])
                }
            };
            (program, message) = (name, &message[marker - text.len()..]);
        }
        let marker = message.find(", delay=")?;
        let report = self.report.captures(&message[..marker + 1])?;
        if program != "postfix/smtp" || &report[1] == "warning" {
            return None;
        }
        let found = self.fields.captures(&message[marker + 8..])?;
        let delays = [1, 2, 3, 4, 5].map(|group| found[group].parse().unwrap());
        Some((found[6].parse().unwrap(), delays))
    }
}

thread_local! {
    static MODEL: Model = Model::new();
}

/// Quotes, signs and exponents are other tests' affair: the model knows none of them.
fn fragment() -> impl Strategy<Value = String> {
    const FIXED: &[&str] = &[
        "Apr 19 12:50:52 m ",
        "2023-02-01T01:02:04+00:00 m ",
        "<22>Apr 19 12:50:52 m ",
        "m ",
        "postfix/smtp[7570]: ",
        "postfix/smtpd[1]: ",
        "postfix/qmgr[12]: ",
        " postfix/smtp[1]: ",
        "kernel: ",
        "69FFFC00B6: ",
        "3mJddz5fh3z7sdM: ",
        "warning: ",
        "to=<a@b>",
        "to=<a b@c>",
        ", relay=mx.a[192.0.2.1]:25",
        ", relay=none",
        ", conn_use=2",
        ", delay=0.31",
        ", delays=0.04/0/0.09/0.17",
        ", dsn=2.0.0",
        ", dsn=4.7.1",
        ", status=sent (250 Ok)",
        ", delay=315562",
        ", delays=1/2",
        "removed",
        "\n",
        "\r\n",
        "\n\n",
        ", delay",
        "delay=1",
        "=",
        "y=",
        " ",
        "]: ",
        "[",
        "x",
    ];
    prop_oneof![
        6 => proptest::sample::select(FIXED).prop_map(str::to_owned),
        6 => (0u32..5000, 0u32..200, 0usize..4, 0u8..10).prop_map(|(a, b, width, class)| {
            let stamp = ["Apr 19 12:50:52 m", "2023-02-01T01:02:04Z m", "x", ""][width];
            format!(
                "{stamp} postfix/smtp[7]: 69FF: to=<u@x>, relay=m, delay={a}, \
                 delays=0.{b:0width$}/{a}.{b}/.{b}/0, dsn={class}.0.0, status=x (y)\n"
            )
        }),
        1 => "[ !#-~]{0,80}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_block_counts_what_the_model_counts_line_by_line(
        fragments in proptest::collection::vec(fragment(), 0..40),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let text = fragments.concat();
        let mut expected = MODEL.with(|model| model.deliveries(&text));
        for level in Level::all() {
            let mut scanner = Scanner::new(&options(&["smtp"])).unwrap();
            scanner.level = level;
            // Any cut between two lines gives the same.
            let mut ends: Vec<usize> = cuts
                .iter()
                .map(|cut| cut.index(text.len() + 1))
                .map(|at| text[..at].rfind('\n').map_or(0, |newline| newline + 1))
                .collect();
            ends.push(text.len());
            ends.sort_unstable();
            let mut start = 0;
            for end in ends {
                scanner.block(&text.as_bytes()[start..end]);
                start = end;
            }
            let found = scanner.finish().deliveries.unwrap();
            prop_assert_eq!(found.total, expected.len() as u64);
            let class = |digit| expected.iter().filter(|d| d.0 == digit).count() as u64;
            prop_assert_eq!(found.classes, [2, 4, 5].map(class));
            for (index, delay) in found.delays.iter().flatten().enumerate() {
                expected.sort_by(|a, b| a.1[index].total_cmp(&b.1[index]));
                let rank = crate::stats::quantile::rank_index(expected.len(), 0.90);
                prop_assert_eq!(delay.p90, expected[rank].1[index]);
            }
        }
    }
}
