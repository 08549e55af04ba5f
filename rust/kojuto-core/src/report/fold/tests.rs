use super::*;

/// The names of keys with their lines, how many of them were refused, and their times.
fn fold(above: u64, keys: &[(String, u64, u64, f64)]) -> Vec<String> {
    let counted: Vec<_> = keys
        .iter()
        .map(|(key, lines, refused, time_s)| Counted {
            key: key.as_bytes(),
            lines: *lines,
            refused: *refused,
            time_s: *time_s,
        })
        .collect();
    let names = Folding::new(above).names(&counted);
    names.iter().map(|name| String::from_utf8(name.to_vec()).unwrap()).collect()
}

/// Keys with ten lines each.
fn keys<T: Into<String>>(keys: impl IntoIterator<Item = T>) -> Vec<(String, u64, u64, f64)> {
    keys.into_iter().map(|key| (key.into(), 10, 0, 0.0)).collect()
}

fn many(count: usize, name: impl Fn(usize) -> String) -> Vec<(String, u64, u64, f64)> {
    keys((0..count).map(name))
}

/// What all the rest of a log is, so that no name is a hundredth of it.
fn rest() -> (String, u64, u64, f64) {
    ("GET /".to_owned(), 1_000_000, 0, 0.0)
}

#[test]
fn a_place_folds_above_its_number_of_names() {
    let at = many(50, |n| format!("GET /users/u{n}x/posts"));
    assert_eq!(fold(50, &[at.clone(), vec![rest()]].concat())[7], "GET /users/u7x/posts");
    let above = [many(51, |n| format!("GET /users/u{n}x/posts")), vec![rest()]].concat();
    let names = fold(50, &above);
    assert!(names[..51].iter().all(|name| name == "GET /users/*/posts"), "{names:?}");
    assert_eq!(names[51], "GET /");
}

#[test]
fn the_first_segment_folds_above_four_times_as_many() {
    let at = [many(200, |n| format!("GET /u{n}x")), vec![rest()]].concat();
    assert_eq!(fold(50, &at)[9], "GET /u9x");
    let above = [many(201, |n| format!("GET /u{n}x")), vec![rest()]].concat();
    assert_eq!(fold(50, &above)[9], "GET /*");
}

#[test]
fn methods_share_a_place() {
    let all = (0..60).map(|n| format!("{} /users/u{n}x", ["GET", "POST"][n % 2]));
    let names = fold(50, &[keys(all), vec![rest()]].concat());
    assert_eq!((&*names[0], &*names[1]), ("GET /users/*", "POST /users/*"));
}

#[test]
fn what_is_below_folded_names_is_one_place() {
    let all = many(60, |n| format!("GET /users/u{n}x/f{n}y"));
    let names = fold(50, &[all, vec![rest()]].concat());
    assert!(names[..60].iter().all(|name| name == "GET /users/*/*"), "{names:?}");
}

#[test]
fn busy_names_stay() {
    let users = many(60, |n| format!("GET /user/u{n}x"));
    let tenth = ("GET /user/settings".to_owned(), 81, 0, 0.0);
    let time = ("GET /user/export".to_owned(), 1, 0, 1.0);
    let other = ("GET /user/other".to_owned(), 60, 0, 0.0);
    let slow = ("GET /".to_owned(), 1_000_000, 0, 99.0);
    let names = fold(50, &[users, vec![tenth, time, other, slow]].concat());
    assert_eq!(names[60..], ["GET /user/settings", "GET /user/export", "GET /user/*", "GET /"]);
}

#[test]
fn a_hundredth_of_a_small_log_keeps_no_name() {
    let names = fold(50, &many(60, |n| format!("GET /users/u{n}x")));
    assert!(names.iter().all(|name| name == "GET /users/*"), "{names:?}");
}

#[test]
fn names_that_were_only_refused_make_no_place_fold_and_are_one() {
    let refused = |count: usize| -> Vec<_> {
        (0..count).map(|n| (format!("GET /s{n}x.php"), 3, 3, 0.0)).collect()
    };
    let home = vec![("GET /about".to_owned(), 9, 1, 0.0), rest()];
    assert_eq!(fold(50, &[refused(50), home.clone()].concat())[3], "GET /s3x.php");
    let names = fold(50, &[refused(51), home].concat());
    assert_eq!((&*names[3], &*names[51]), ("GET /*", "GET /about"));
    let below: Vec<_> = (0..300).map(|n| (format!("GET /s{n}x/.env"), 3, 3, 0.0)).collect();
    assert_eq!(fold(50, &[below, vec![rest()]].concat())[3], "GET /*/.env");
}

#[test]
fn refused_names_of_a_place_that_folds_fold_with_those_like_them() {
    let pictures = many(60, |n| format!("GET /img/p{n}x.png"));
    let missing = vec![
        ("GET /img/none.png".to_owned(), 1, 1, 0.0),
        ("GET /img/none.php".to_owned(), 1, 1, 0.0),
        rest(),
    ];
    let names = fold(50, &[pictures, missing].concat());
    assert_eq!(names[59..62], ["GET /img/*.png", "GET /img/*.png", "GET /img/*"]);
}

#[test]
fn signs_and_extensions_stay() {
    let all = many(60, |n| format!("GET /a/@u{n}x"));
    let others = keys(["GET /a/%40v", "GET /a/x.tar.gz", "GET /a/~x.html", "GET /a/john.doe"]);
    let names = fold(50, &[all, others, vec![rest()]].concat());
    let shown = ["GET /a/@*", "GET /a/%40*", "GET /a/*.tar.gz", "GET /a/~*.html", "GET /a/*"];
    assert_eq!(names[59..64], shown);
}

#[test]
fn one_place_has_one_variable() {
    let all = ["\0hex08}", "\0n08}", "\0n}", "\0n09}", "\0n08}.jpg"];
    let names = fold(50, &keys(all.map(|id| format!("GET /c/{id}"))));
    assert_eq!(
        names,
        ["GET /c/{hex}", "GET /c/{hex}", "GET /c/{n}", "GET /c/{n}", "GET /c/{hex}.jpg"]
    );
    let names = many(60, |n| format!("GET /c/u{n}x"));
    let ids = keys(["GET /c/\0token}", "GET /c/\0uuid}", "GET /c/a-\0hash}-b"]);
    let names = fold(50, &[names, ids, vec![rest()]].concat());
    assert_eq!(names[60..63], ["GET /c/*", "GET /c/{uuid}", "GET /c/*"]);
}

#[test]
fn what_has_no_path_is_shown_as_it_is() {
    let all =
        ["(no request)", "CONNECT", "OPTIONS *", "GET \0=^/a,b", "\0=name", "", " ", "/x", "x"];
    let shown = ["(no request)", "CONNECT", "OPTIONS *", "GET ^/a,b", "name", "", " ", "/x", "x"];
    assert_eq!(fold(50, &keys(all)), shown);
}
