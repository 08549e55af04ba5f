//! Limits of the groups. The figures themselves are compared with the original's from Python.

use super::*;

fn scan(max_groups: usize, log: &str) -> Vec<(String, u64)> {
    let mut access = Access::new(&Options {
        format: Format::Ltsv(Prefix::Refuse),
        ptime_key: "ptime".to_owned(),
        status_keys: vec!["status".to_owned()],
        by: Some("uri".to_owned()),
        max_groups,
        filter: None,
        time_scale: 1.0,
        time_list: TimeList::Refuse,
    })
    .unwrap();
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
fn a_group_is_whole_when_fewer_than_sixteen_times_as_many_as_shown_came_first() {
    // Two are shown, so 32 are kept apart: the 32nd is whole, however late it came.
    let before = |others: usize| (0..others).map(|n| line(&format!("/{n}"))).collect::<String>();
    let largest = line("/largest").repeat(5);
    let found = scan(2, &(before(31) + &largest));
    assert_eq!(found[0], ("/largest".to_owned(), 5));
    assert_eq!(found[2], ("<Other>".to_owned(), 30));
    let found = scan(2, &(before(32) + &largest));
    assert_eq!(found[0], ("/0".to_owned(), 1));
    assert_eq!(found[2], ("<Other>".to_owned(), 35));
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
