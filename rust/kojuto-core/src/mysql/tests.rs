//! A recorded conversation, statements, several results.

use super::answers::{DEPRECATE_EOF, MAX_STATEMENT_BYTES, MAX_STATEMENTS};
use super::commands::{MAX_OPEN_BYTES, MAX_PENDING, QUERY_ATTRIBUTES};
use super::wire::{lenenc, skip_attributes};
use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// The command of a client packet, fed byte by byte.
fn command(packet: &[u8], capabilities: u32) -> Command {
    let mut session = Session::logged_in(capabilities);
    let mut out = Vec::new();
    for &byte in packet {
        session.from_client(&[byte], 1.0, &mut out);
    }
    session.end(&mut out);
    match &out[..] {
        [Event::Command(command)] => command.clone(),
        other => panic!("{other:?}"),
    }
}

/// What `mariadb --auto-rehash` and a server of MariaDB 10.11 said to each other through a proxy that
/// wrote it down: `C` the client, `S` the server.
const CONVERSATION: &[(char, &str)] = &[
    (
        'S',
        "640000000a352e352e352d31302e31312e31392d4d6172696144422d302b646562313275310009000000607341294a\
         76354300fef7080200ff81150000000000001d000000316c4b727e416868513c7867006d7973716c5f6e6174697665\
         5f70617373776f726400",
    ),
    (
        'C',
        "bb00000184a6ff200000100021000000000000000000000000000000000000001d00000077656200006d7973716c5f\
         6e61746976655f70617373776f7264007f035f6f73054c696e75780c5f636c69656e745f6e616d650a6c69626d6172\
         69616462045f7069640531383237310f5f636c69656e745f76657273696f6e06332e332e3230095f706c6174666f72\
         6d067838365f36340c70726f6772616d5f6e616d65056d7973716c0c5f7365727665725f686f7374093132372e302e\
         302e31",
    ),
    ('S', "0700000200000002000000"),
    ('C', "210000000373656c65637420404076657273696f6e5f636f6d6d656e74206c696d69742031"),
    (
        'S',
        "020000010101280000020364656600000011404076657273696f6e5f636f6d6d656e7400000c21001b000000fd0000\
         27000005000003fe000002000a0000040944656269616e20313205000005fe00000200",
    ),
    ('C', "050000000273686f70"),
    ('S', "1000000100000002400000000701050473686f70"),
    ('C', "06000000046974656d00"),
    (
        'S',
        "28000001036465660473686f70046974656d046974656d026964026964000c3f000b000000030000000000fb2c0000\
         02036465660473686f70046974656d046974656d046e616d65046e616d65000c2100fdff0200fc1000000000fb0500\
         0003fe00000200",
    ),
    ('C', "0f0000000373656c656374206e6f7468696e67"),
    (
        'S',
        "2d000001ff1e04233432533232556e6b6e6f776e20636f6c756d6e20276e6f7468696e672720696e202753454c4543\
         5427",
    ),
    ('C', "010000000e"),
    ('S', "0700000100000002000000"),
    ('C', "0100000001"),
];

#[test]
fn a_conversation_of_the_mariadb_client() {
    let mut session = Session::default();
    let mut out = Vec::new();
    for (who, hex) in CONVERSATION {
        for byte in bytes(hex) {
            match who {
                'C' => session.from_client(&[byte], 1.0, &mut out),
                _ => session.from_server(&[byte], 2.0, &mut out),
            }
        }
    }
    assert_eq!((&session.user[..], &session.database[..]), (&b"web"[..], &b"shop"[..]));
    assert_eq!(out.remove(0), Event::Login { error: None });
    let told: Vec<_> = out
        .iter()
        .map(|event| match event {
            Event::Command(command) => (&command.name[..], text(&command.text), command.rows),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            ("COM_QUERY", "select @@version_comment limit 1", 1),
            ("COM_INIT_DB", "shop", 0),
            ("COM_FIELD_LIST", "item", 2),
            ("COM_QUERY", "select nothing", 0),
            ("COM_PING", "", 0),
            ("COM_QUIT", "", 0),
        ]
    );
    let Event::Command(failed) = &out[3] else { panic!() };
    let (code, why) = failed.error.as_ref().unwrap();
    assert_eq!((*code, text(why)), (1054, "Unknown column 'nothing' in 'SELECT'"));
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Written from the manual (MySQL 8.0, "COM_QUERY" with CLIENT_QUERY_ATTRIBUTES): the number of
/// attributes, of sets, the bitmap of NULL, "bound", each kind with its name, the values, the SQL.
#[test]
fn sql_stands_behind_query_attributes() {
    let none = [&[11, 0, 0, 0, 3, 0, 1][..], b"SELECT 1"].concat();
    let two = [
        &[28, 0, 0, 0, 3, 2, 1, 0, 1][..],
        b"\xfe\0\x05trace\x03\0\x01n",
        b"\x02ab\x07\0\0\0",
        b"DO 1",
    ]
    .concat();
    for (packet, sql) in [(none, "SELECT 1"), (two, "DO 1")] {
        assert_eq!(packet.len(), usize::from(packet[0]) + 4);
        assert_eq!(text(&command(&packet, QUERY_ATTRIBUTES).text), sql);
    }
}

#[test]
fn a_statement_that_is_prepared_is_told_with_its_text() {
    let prepared = command(&[&[9, 0, 0, 0, 0x16][..], b"SELECT ?"].concat(), 0);
    assert_eq!((&prepared.name[..], text(&prepared.text)), ("COM_STMT_PREPARE", "SELECT ?"));
}

#[test]
fn a_statement_is_known_by_its_id_and_errors_by_their_code() {
    let mut session = Session::logged_in(0);
    let mut out = Vec::new();
    session.from_client(&[&[9, 0, 0, 0, 0x16][..], b"SELECT ?"].concat(), 1.0, &mut out);
    session.from_server(&[12, 0, 0, 1, 0, 7, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], 1.5, &mut out);
    assert!(out.is_empty(), "the definition of the parameter is still to come");
    session.from_server(&[1, 0, 0, 2, b'd', 5, 0, 0, 3, 0xfe, 0, 0, 2, 0], 1.6, &mut out);
    let Some(Event::Command(prepared)) = out.pop() else { panic!() };
    assert_eq!((prepared.statement, prepared.first_reply_s), (Some(7), Some(0.5)));
    session.from_client(&[5, 0, 0, 0, 0x17, 7, 0, 0, 0], 2.0, &mut out);
    session.from_server(b"\x0d\0\0\x01\xff\x28\x04#42000oops", 2.25, &mut out);
    let Some(Event::Command(executed)) = out.pop() else { panic!() };
    assert_eq!(executed.text, b"SELECT ?");
    assert_eq!(executed.error, Some((1064, b"oops".to_vec())));
}

#[test]
fn rows_are_counted_over_several_results_and_a_packet_of_16_mib() {
    let mut session = Session::logged_in(0);
    let mut out = Vec::new();
    let long =
        [&[0xff, 0xff, 0xff, 0, 3][..], &vec![b'x'; 0xff_fffe], &[2, 0, 0, 1, b'y', b'z']].concat();
    session.from_client(&long, 1.0, &mut out);
    let eof = |more: u8| [5, 0, 0, 9, 0xfe, 0, 0, more, 0];
    let row = [2, 0, 0, 9, 1, b'a'];
    let one =
        |more| [&[1, 0, 0, 1, 1, 1, 0, 0, 2, b'd'][..], &eof(0), &row, &row, &eof(more)].concat();
    for byte in [one(8), one(0)].concat() {
        session.from_server(&[byte], 2.0, &mut out);
    }
    let [Event::Command(command)] = &out[..] else { panic!("{out:?}") };
    assert_eq!(command.rows, 4);
    assert!(command.truncated);
    assert_eq!(command.text.len(), MAX_TEXT - 1);
}

#[test]
fn a_client_may_have_1024_commands_open_and_no_more() {
    let mut session = Session::logged_in(0);
    let mut out = Vec::new();
    let ping = [1, 0, 0, 0, 0x0e];
    for _ in 0..MAX_PENDING {
        session.from_client(&ping, 1.0, &mut out);
    }
    assert_eq!(out, []);
    session.from_client(&ping, 1.0, &mut out);
    assert_eq!(out, [Event::Opaque("too many open commands")]);
    out.clear();
    session.end(&mut out);
    assert_eq!(out, [], "nothing is kept of a session that is not understood");
}

#[test]
fn a_session_remembers_4096_statements_and_no_more() {
    let mut session = Session::logged_in(DEPRECATE_EOF);
    let mut out = Vec::new();
    let known = |session: &mut Session, id: u32| {
        let mut out = Vec::new();
        session.from_client(&[&[5, 0, 0, 0, 0x17][..], &id.to_le_bytes()].concat(), 1.0, &mut out);
        session.from_server(&[7, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], 1.0, &mut out);
        let Some(Event::Command(command)) = out.pop() else { panic!("{out:?}") };
        command.text == b"DO 1"
    };
    for id in 0..=MAX_STATEMENTS as u32 {
        session.from_client(&[&[5, 0, 0, 0, 0x16][..], b"DO 1"].concat(), 1.0, &mut out);
        let answer = [&[12, 0, 0, 1, 0][..], &id.to_le_bytes(), &[0; 7]].concat();
        session.from_server(&answer, 1.0, &mut out);
    }
    assert_eq!(out.len(), MAX_STATEMENTS + 1);
    let last = MAX_STATEMENTS as u32 - 1;
    assert_eq!([0, last, last + 1].map(|id| known(&mut session, id)), [true, true, false]);
    // A closed one makes room.
    session.from_client(&[5, 0, 0, 0, 0x19, 0, 0, 0, 0], 1.0, &mut out);
    session.from_client(&[&[5, 0, 0, 0, 0x16][..], b"DO 1"].concat(), 1.0, &mut out);
    let answer = [&[12, 0, 0, 1, 0][..], &(last + 1).to_le_bytes(), &[0; 7]].concat();
    session.from_server(&answer, 1.0, &mut out);
    assert_eq!([0, last + 1].map(|id| known(&mut session, id)), [false, true]);
}

/// A command whose text has so many bytes, and what the server says to a COM_STMT_PREPARE.
fn packet(code: u8, text_bytes: usize) -> Vec<u8> {
    let length = (text_bytes as u32 + 1).to_le_bytes();
    [&length[..3], &[0, code][..], "x".repeat(text_bytes).as_bytes()].concat()
}

fn prepared(id: u32) -> Vec<u8> {
    [&[12, 0, 0, 1, 0][..], &id.to_le_bytes(), &[0; 7]].concat()
}

#[test]
fn open_commands_hold_8_mib_of_text_and_a_text_without_room_is_cut_and_marked() {
    const WHOLE: usize = MAX_TEXT - 1;
    let full = MAX_OPEN_BYTES / WHOLE;
    let left = MAX_OPEN_BYTES % WHOLE;
    // The last one just fits, or is longer by one byte.
    for (more, truncated) in [(0, false), (1, true)] {
        let mut session = Session::logged_in(0);
        let mut out = Vec::new();
        for _ in 0..full {
            session.from_client(&packet(3, WHOLE), 1.0, &mut out);
        }
        session.from_client(&packet(3, left + more), 1.0, &mut out);
        session.from_client(&packet(3, 1), 1.0, &mut out);
        // An answer makes room: for the whole of a next text, and for no more.
        session.from_server(&[7, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0], 1.0, &mut out);
        session.from_client(&packet(3, WHOLE), 1.0, &mut out);
        session.from_client(&packet(3, 1), 1.0, &mut out);
        session.end(&mut out);
        let told = out.iter().map(|event| match event {
            Event::Command(command) => (command.text.len(), command.truncated),
            other => panic!("{other:?}"),
        });
        let mut expected = vec![(WHOLE, false); full];
        expected.extend([(left, truncated), (0, true), (WHOLE, false), (0, true)]);
        assert_eq!(told.collect::<Vec<_>>(), expected);
        assert_eq!(session.open_bytes, 0);
    }
}

#[test]
fn statements_hold_8_mib_of_text_and_one_that_was_cut_says_so_at_each_execution() {
    const WHOLE: usize = MAX_TEXT - 1;
    let full = (MAX_STATEMENT_BYTES / WHOLE) as u32;
    let left = MAX_STATEMENT_BYTES % WHOLE;
    for (more, truncated) in [(0, false), (1, true)] {
        let mut session = Session::logged_in(DEPRECATE_EOF);
        let prepare = |session: &mut Session, id: u32, text_bytes: usize| {
            let mut out = Vec::new();
            session.from_client(&packet(0x16, text_bytes), 1.0, &mut out);
            session.from_server(&prepared(id), 1.0, &mut out);
            let [Event::Command(command)] = &out[..] else { panic!("{out:?}") };
            assert_eq!((command.text.len(), command.truncated), (text_bytes, false));
        };
        let execute = |session: &mut Session, id: u32| {
            let mut out = Vec::new();
            let packet = [&[5, 0, 0, 0, 0x17][..], &id.to_le_bytes()].concat();
            session.from_client(&packet, 1.0, &mut out);
            session.from_server(&[7, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], 1.0, &mut out);
            let [Event::Command(command)] = &out[..] else { panic!("{out:?}") };
            (command.text.len(), command.truncated)
        };
        for id in 0..full {
            prepare(&mut session, id, WHOLE);
        }
        prepare(&mut session, full, left + more);
        prepare(&mut session, full + 1, 1);
        assert_eq!(execute(&mut session, full - 1), (WHOLE, false));
        assert_eq!(execute(&mut session, full), (left, truncated));
        assert_eq!(execute(&mut session, full + 1), (0, true));
        // What is prepared again under the same number takes the room of the one before.
        prepare(&mut session, 0, WHOLE - 1);
        prepare(&mut session, full + 1, 2);
        assert_eq!(execute(&mut session, full + 1), (1, true));
        // A closed one makes room.
        session.from_client(&[5, 0, 0, 0, 0x19, 0, 0, 0, 0], 1.0, &mut Vec::new());
        prepare(&mut session, full + 1, 2);
        assert_eq!(execute(&mut session, full + 1), (2, false));
        session.lost(&mut Vec::new());
        assert_eq!((session.statement_bytes, session.statements.len()), (0, 0));
    }
}

#[test]
fn a_statement_longer_than_is_kept_says_so_at_each_execution() {
    let mut session = Session::logged_in(DEPRECATE_EOF);
    let mut out = Vec::new();
    session.from_client(&packet(0x16, MAX_TEXT), 1.0, &mut out);
    session.from_server(&prepared(7), 1.0, &mut out);
    session.from_client(&[5, 0, 0, 0, 0x17, 7, 0, 0, 0], 1.0, &mut out);
    session.end(&mut out);
    let truncated = out.iter().map(|event| match event {
        Event::Command(command) => command.truncated,
        other => panic!("{other:?}"),
    });
    assert_eq!(truncated.collect::<Vec<_>>(), [true, true]);
}

/// MariaDB, "Progress Reporting": an error packet of the code 0xffff, one text, stage, stages, the
/// progress in three bytes, the name of the stage.
#[test]
fn a_report_of_progress_is_no_answer() {
    let report = b"\x12\0\0\x01\xff\xff\xff\x01\x01\x02\x10\x27\0\x08copying.";
    let mut session = Session::logged_in(DEPRECATE_EOF);
    let mut out = Vec::new();
    session.from_client(b"\x06\0\0\0\x03ALTER\x01\0\0\0\x0e", 1.0, &mut out);
    for &byte in &report[..] {
        session.from_server(&[byte], 2.0, &mut out);
    }
    assert_eq!(out, []);
    // The last report comes with the answer, that with the next one's.
    let answers = [report, &b"\x07\0\0\x02\0\x05\0\x02\0\0\0\x07\0\0\x01\0\0\0\x02\0\0\0"[..]];
    session.from_server(&answers.concat(), 4.0, &mut out);
    let told: Vec<_> = out
        .iter()
        .map(|event| match event {
            Event::Command(c) => (&c.name[..], c.affected, c.first_reply_s, c.error.is_some()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [("COM_QUERY", 5, Some(3.0), false), ("COM_PING", 0, Some(3.0), false)]);
}

#[test]
fn reports_of_progress_within_a_result_leave_its_time_and_rows() {
    let mut session = Session::logged_in(DEPRECATE_EOF);
    let mut out = Vec::new();
    session.from_client(b"\x06\0\0\0\x03CHECK", 1.0, &mut out);
    let report = &b"\x04\0\0\x01\xff\xff\xff\0"[..];
    let parts: [&[u8]; 4] =
        [b"\x01\0\0\x01\x02", b"\x01\0\0\x02d", b"\x01\0\0\x02d", b"\x02\0\0\x03\x01a"];
    for (at, part) in parts.into_iter().enumerate() {
        session.from_server(part, 2.0 + at as f64, &mut out);
        session.from_server(report, 9.0, &mut out);
    }
    session.from_server(b"\x07\0\0\x04\xfe\0\0\x02\0\0\0", 9.0, &mut out);
    let [Event::Command(command)] = &out[..] else { panic!("{out:?}") };
    assert_eq!((command.rows, command.first_reply_s), (1, Some(1.0)));
    assert_eq!(command.error, None);
}

#[test]
fn a_schema_that_is_chosen_by_sql_is_the_default_one_once_it_is_accepted() {
    let ok = b"\x07\0\0\x01\0\0\0\x02\0\0\0";
    let more = b"\x07\0\0\x01\0\0\0\x0a\0\0\0";
    let tracked = b"\x10\0\0\x01\0\0\0\x02\x40\0\0\0\x07\x01\x05\x04Shop";
    let refused = b"\x0d\0\0\x01\xff\x19\x04#42000nope";
    let after = |sql: &str, answers: &[&[u8]]| {
        let mut session = Session::logged_in(DEPRECATE_EOF | 1 << 23);
        let mut out = Vec::new();
        session.from_client(
            &[&[sql.len() as u8 + 1, 0, 0, 0, 3], sql.as_bytes()].concat(),
            1.0,
            &mut out,
        );
        session.from_server(&answers.concat(), 1.0, &mut out);
        assert_eq!(out.len(), 1);
        String::from_utf8(session.database).unwrap()
    };
    assert_eq!(after("USE shop", &[ok]), "shop");
    assert_eq!(after("USE shop", &[tracked]), "Shop");
    assert_eq!(after("CALL choose()", &[tracked]), "Shop");
    assert_eq!(after("USE shop", &[refused]), "");
    assert_eq!(after("USE shop; DO oops", &[more, refused]), "shop");
    assert_eq!(after("DO 1; USE shop", &[more, tracked]), "Shop");
    assert_eq!(after("USE shop; DO 1", &[more, ok]), "shop");
}

/// "COM_CHANGE_USER": the name, a byte of length and the proof (a text where there is no such), the
/// schema, the character set, the name of the method.
#[test]
fn another_user_has_the_schema_that_comes_with_it() {
    const LENENC_AUTH: u32 = 1 << 21;
    const SECURE: u32 = 1 << 15;
    let short = &b"\x03a\0c"[..]; // a proof may hold any byte
    let long = [&[0xfc][..], &[7; 0xfc]].concat();
    for (capabilities, proof) in [
        (SECURE, short),
        (SECURE | LENENC_AUTH, short),
        (SECURE | LENENC_AUTH, &long[..]),
        (SECURE, &b"\0"[..]),
        (0, &b"scrambled\0"[..]),
    ] {
        for (schema, expected) in [("shop", "shop"), ("", "")] {
            let mut session = Session::logged_in(capabilities);
            (session.user, session.database) = (b"app".to_vec(), b"old".to_vec());
            let parts =
                [&b"\x11bob\0"[..], proof, schema.as_bytes(), b"\0\x21\0mysql_native_password\0"];
            let body = parts.concat();
            let packet = [&(body.len() as u32).to_le_bytes()[..3], &[0], &body].concat();
            let mut out = Vec::new();
            session.from_client(&packet, 1.0, &mut out);
            session.from_server(b"\x07\0\0\x01\0\0\0\x02\0\0\0", 2.0, &mut out);
            assert_eq!((text(&session.user), text(&session.database)), ("bob", expected));
            assert_eq!(out.len(), 2, "the command and its result: {out:?}");
            for cut in 4..packet.len() {
                let mut session = Session::logged_in(capabilities);
                let header = [&((cut - 4) as u32).to_le_bytes()[..3], &[0]].concat();
                session.from_client(&[&header[..], &packet[4..cut]].concat(), 1.0, &mut Vec::new());
            }
        }
    }
}

#[test]
fn an_answer_is_kept_up_to_1024_bytes() {
    for (length, kept) in
        [(MAX_REPLY - 1, MAX_REPLY - 1), (MAX_REPLY, MAX_REPLY), (3000, MAX_REPLY)]
    {
        let mut session = Session::logged_in(0);
        let mut out = Vec::new();
        session.from_client(&[1, 0, 0, 0, 0x0e], 1.0, &mut out);
        let body = [&b"\xff\x28\x04#42000"[..], &vec![b'x'; length - 9]].concat();
        let header = [length as u8, (length >> 8) as u8, 0, 1];
        session.from_server(&[&header[..], &body].concat(), 1.0, &mut out);
        let [Event::Command(Command { error: Some((1064, text)), .. })] = &out[..] else {
            panic!("{out:?}")
        };
        assert_eq!(text.len(), kept - 9);
    }
}

#[test]
fn the_lengths_of_a_length() {
    let of = |hex: &str| lenenc(&mut &bytes(hex)[..]);
    assert_eq!(of("fa"), Some(250));
    assert_eq!(of("fb"), None, "NULL");
    assert_eq!(of("fcfb00"), Some(251));
    assert_eq!(of("fd000001"), Some(65536));
    assert_eq!(of("fe0000000100000000"), Some(1 << 24));
    assert_eq!(of("ff"), None, "an error");
    assert_eq!(of("fc00"), None);
    assert_eq!(of(""), None);
}

/// COM_QUERY, "Protocol::ClientQuery" and "Binary Protocol Value" of the MySQL source.
#[test]
fn attributes_of_every_kind_are_passed_over() {
    // Kind and value; None is NULL, which the bitmap tells and which has no value.
    let values = [
        (1, Some("01")),
        (2, Some("0102")),
        (3, Some("01020304")),
        (4, Some("01020304")),
        (5, Some("0102030405060708")),
        (6, Some("")),
        (7, Some("0407e10b01")),
        (3, None),
        (8, Some("0102030405060708")),
        (9, Some("01020304")),
        (10, Some("00")),
        (11, Some("080102030405060708")),
        (12, Some("0407e10b01")),
        (13, Some("e107")),
        (253, Some("026869")),
    ];
    let mut nulls = [0u8; 2];
    let (mut kinds, mut data) = (Vec::new(), Vec::new());
    for (at, (kind, value)) in values.into_iter().enumerate() {
        kinds.extend([kind, 0, 1, b'n']);
        match value {
            Some(hex) => data.extend(bytes(hex)),
            None => nulls[at / 8] |= 1 << (at % 8),
        }
    }
    let body = |bound: u8| [&[15, 1][..], &nulls, &[bound], &kinds, &data, b"SELECT 1"].concat();
    assert_eq!(skip_attributes(&body(1)), Some(&b"SELECT 1"[..]));
    assert_eq!(skip_attributes(&body(0)), None, "kinds are always sent");
}
