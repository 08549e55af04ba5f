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
    access.finish().1.into_iter().map(|(name, tally)| (name, tally.total())).collect()
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
    assert_eq!(found[2], ("other".to_owned(), 30));
    let found = scan(2, &(before(32) + &largest));
    assert_eq!(found[0], ("/0".to_owned(), 1));
    assert_eq!(found[2], ("other".to_owned(), 35));
}

#[test]
fn a_group_is_named_by_200_bytes_at_most() {
    let name = |bytes: usize| "x".repeat(bytes);
    assert_eq!(scan(9, &line(&name(MAX_GROUP_BYTES - 1))), [(name(199), 1)]);
    assert_eq!(scan(9, &line(&name(MAX_GROUP_BYTES))), [(name(200), 1)]);
    let found = scan(9, &(line(&name(MAX_GROUP_BYTES + 1)) + &line(&name(1000))));
    assert_eq!(found, [(name(200), 2)]);
}
