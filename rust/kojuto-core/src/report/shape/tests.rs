use super::*;

fn shown(segment: &str) -> String {
    let Some(found) = id(segment.as_bytes()) else { return segment.to_owned() };
    let (sign, extension) = (&segment[..found.sign], &segment[segment.len() - found.extension..]);
    format!("{sign}{{{}}}{extension}", found.kind.name())
}

#[test]
fn certain_ids_are_variables() {
    for (variable, segments) in [
        ("{n}", "0 123 -5 +81 1.5 -0.25 1,2,3 35.6,-139.7 20240131 1%2C2 1234567890123456789012"),
        ("{uuid}", "123e4567-e89b-12d3-a456-426614174000 123E4567-E89B-12D3-A456-426614174000"),
        ("{ulid}", "01ARZ3NDEKTSV4RRFFQ69G5FAV 01arz3ndektsv4rrffq69g5fav"),
        ("{hex}", "4f3a2b1c 507f1f77bcf86cd799439011 4F3A2B1C"),
        ("{hash}", "sha256:4f3a2b1c4f3a sha256%3A4f3a2b1c4f3a"),
        (
            "{token}",
            "ch_3MqLiJLkdIwHu7ix0Svcq8jb dQw4w9WgXcQdQw4w9WgXcQ VXNlcjoxMjM= VXNlcjoxMjM%3D",
        ),
        ("{token}", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjMifQ.SflKxwRJSMeKKF2QT4"),
        ("{date}", "2024-01 2024-01-31 2024-01-31T12:00:00Z 2024-01-31T12%3A00%3A00.5+09:00"),
        ("{date}", "2024-01-31_12-00-00 20240131T120000Z 2024-01-31T12"),
        ("{ip}", "192.0.2.1 2001:db8::1 [2001:db8::1] 2001%3Adb8::1"),
        ("{email}", "a@example.com a.b+c@mail.example.co.jp a%40example.com"),
        ("{n}.jpg", "7.jpg"),
        ("{uuid}.tar.gz", "123e4567-e89b-12d3-a456-426614174000.tar.gz"),
        ("@{n}", "@12"),
        ("%40{n}", "%4012"),
        ("~{n}.html", "~1.html"),
        ("{date}.log.gz", "2024-01-31.log.gz"),
    ] {
        for segment in segments.split(' ') {
            assert_eq!(shown(segment), variable, "{segment}");
        }
    }
}

#[test]
fn names_are_no_ids() {
    let names = "users v2 v1.43 100-customers deadbeef 1a2b3c4 1.2.3 1e5 4f3a2b1 2024-13 2024-1-1 @ \
        how-to-install-windows-11-on-a-mac-2024 iphone15 cus_NffrFeUfNV2Hib get_user_by_id_v2_extended \
        2001:db8 12:30 urn:li:share:7123 a@b @a a@b.c1 icon@2x.png water:969913678343926145 app.js -";
    for name in names.split_ascii_whitespace() {
        assert_eq!(shown(name), name);
    }
}

#[test]
fn a_hash_is_in_the_middle_of_a_name() {
    for (name, hashes) in [
        ("app.4f3a2b1c.js", &["4f3a2b1c"][..]),
        ("index-BqZ9xKa1.js", &["BqZ9xKa1"]),
        ("a-4f3a2b-4f3a2c.min.css", &["4f3a2b", "4f3a2c"]),
        ("4f3a2b1c.js", &[]),
        ("report-4f3a2b1c", &[]),
        ("photo-1920x1080.jpg", &[]),
        ("polyfills-es2015.js", &[]),
        ("a.4f3a2.js", &[]),
    ] {
        let found: Vec<_> = hashed_parts(name.as_bytes()).map(|part| &name[part]).collect();
        assert_eq!(found, hashes, "{name}");
    }
}
