use super::*;
use proptest::prelude::*;

fn naming(change: impl FnOnce(&mut NamingOptions)) -> Naming {
    let mut options = NamingOptions::default();
    change(&mut options);
    Naming::new(&options).unwrap()
}

fn key(naming: &Naming, line: &str) -> String {
    let mut out = Vec::new();
    naming.key_of_request(line.as_bytes(), &mut out);
    String::from_utf8(out).unwrap()
}

/// The name of a request in a log of its own.
fn name(naming: &Naming, line: &str) -> String {
    let key = key(naming, line);
    let counted = Counted { key: key.as_bytes(), lines: 1, refused: 0, time_s: 0.0 };
    String::from_utf8(naming.fold(&[counted]).remove(0).into()).unwrap()
}

#[test]
fn a_request_is_its_method_and_its_path_with_ids_as_variables() {
    let naming = naming(|_| {});
    for (line, endpoint) in [
        ("GET / HTTP/1.1", "GET /"),
        ("GET /users/123?page=2 HTTP/1.1", "GET /users/{n}"),
        ("DELETE //users/./123/ HTTP/1.1", "DELETE /users/{n}"),
        ("GET http://example.com/a/7.jpg#top HTTP/1.1", "GET /a/{n}.jpg"),
        ("GET https://example.com HTTP/1.1", "GET /"),
        ("CONNECT example.com:443 HTTP/1.1", "CONNECT"),
        ("OPTIONS * HTTP/1.1", "OPTIONS *"),
        ("GET /a/b/c/d/e/f/g/h HTTP/1.1", "GET /a/b/c/d/e/f/g/h"),
        ("GET /a/b/c/d/e/f/g/h/i HTTP/1.1", "GET /a/b/c/d/e/f/g/h/**"),
        ("GET /static/app.4f3a2b1c.js HTTP/1.1", "GET /static/app.{hash}.js"),
        ("GET /help/100-customers HTTP/1.1", "GET /help/100-customers"),
        ("GET /v2/users HTTP/1.1", "GET /v2/users"),
        ("\\x16\\x03\\x01", "(no request)"),
        ("-", "(no request)"),
    ] {
        assert_eq!(name(&naming, line), endpoint, "{line}");
    }
}

#[test]
fn a_target_of_its_own_field_is_named_like_one_of_a_request() {
    let naming = naming(|_| {});
    for (method, target, expected) in [
        ("GET", "/users/12345678", "GET /users/\0n08}"),
        ("-", "/users/1", "/users/\0n}"),
        ("", "/4f3a2b1c", "/\0hex08}"),
        ("-", "-", "(no request)"),
        ("GET", "", "(no request)"),
    ] {
        let mut out = b"before ".to_vec();
        naming.key(method.as_bytes(), target.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("before {expected}"));
    }
}

#[test]
fn what_is_kept_of_a_query_is_behind_the_path() {
    let keys = naming(|options| options.query = QueryRule::Keys);
    assert_eq!(name(&keys, "GET /u/1?b=1&a=2 HTTP/1.1"), "GET /u/{n}?a&b");
    let values = naming(|options| options.query_values = vec![b"action".as_slice().into()]);
    assert_eq!(name(&values, "GET /u/1?id=1&action=view HTTP/1.1"), "GET /u/{n}?action=view");
    assert_eq!(name(&values, "GET /u/1?id=1 HTTP/1.1"), "GET /u/{n}");
}

#[test]
fn nothing_is_folded_when_nothing_shall() {
    let naming = naming(|options| options.fold = false);
    assert_eq!(name(&naming, "GET /a/../users/123/ HTTP/1.1"), "GET /users/123");
    assert_eq!(name(&naming, "GET /1/2/3/4/5/6/7/8/9/0 HTTP/1.1"), "GET /1/2/3/4/5/6/7/8/9/0");
}

#[test]
fn an_expression_comes_before_all_else() {
    let naming = naming(|options| {
        options.query = QueryRule::Keep;
        options.matches = vec!["^/users/[0-9]+$,q=[ab]=>search".to_owned()];
    });
    assert_eq!(name(&naming, "GET //users/12 HTTP/1.1"), "GET ^/users/[0-9]+$");
    assert_eq!(name(&naming, "GET /find?q=b HTTP/1.1"), "GET search");
    assert_eq!(name(&naming, "GET /find?q=c HTTP/1.1"), "GET /find?q=c");
}

#[test]
fn a_route_names_what_is_of_it_and_keeps_what_is_kept_of_a_query() {
    let naming = naming(|options| {
        options.query = QueryRule::Keys;
        options.routes = vec!["GET /users/:id".to_owned()];
    });
    assert_eq!(name(&naming, "GET /users/12/?b=1 HTTP/1.1"), "GET /users/:id?b");
    assert_eq!(name(&naming, "PUT /users/12 HTTP/1.1"), "PUT /users/{n}");
}

/// Bytes as they are met in targets, and others.
fn targets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "[a-z]{1,4}",
        "[0-9]{1,9}",
        "[0-9a-f]{6,12}",
        "/|//|/\\.\\./|%2[eEfF]|[?&=;:@~$.#*{}-]",
    ];
    let text = prop::collection::vec(piece, 0..12).prop_map(|all| ["/", &all.concat()].concat());
    prop_oneof![text.prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..40)]
}

fn key_of(naming: &Naming, method: &[u8], target: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    naming.key(method, target, &mut out);
    out
}

proptest! {
    #[test]
    fn a_path_in_its_one_form_has_the_same_key(target in targets()) {
        let plain = naming(|options| options.fold = false);
        let form = key_of(&plain, b"GET", &target);
        if let Some(path) = form.strip_prefix(b"GET ") {
            prop_assert_eq!(&key_of(&plain, b"GET", path), &form);
            let folding = naming(|_| {});
            prop_assert_eq!(key_of(&folding, b"GET", path), key_of(&folding, b"GET", &target));
        }
    }

    /// What each key is called hangs neither on the order nor on how its lines are split.
    #[test]
    fn names_are_the_same_in_any_order_and_split(
        targets in prop::collection::vec((targets(), 1u64..9, 0u64..9, 0.0f64..2.0), 0..40),
        turn in 0usize..40,
        above in 0u64..6,
    ) {
        let naming = naming(|options| options.fold_above = above);
        let keys: Vec<_> = targets.iter().map(|(target, ..)| key_of(&naming, b"GET", target)).collect();
        let mut counted: Vec<_> = keys
            .iter()
            .zip(&targets)
            .map(|(key, &(_, lines, refused, time_s))| Counted {
                key,
                lines,
                refused: refused.min(lines),
                time_s,
            })
            .collect();
        let names = naming.fold(&counted);
        prop_assert_eq!(names.len(), counted.len());
        prop_assert!(names.iter().all(|name| !name.contains(&0)));
        let turn = turn.min(counted.len());
        counted.rotate_left(turn);
        let mut turned = naming.fold(&counted);
        turned.rotate_right(turn);
        prop_assert_eq!(&turned, &names);
        // A key that comes from two parts is the same as their sum.
        counted.rotate_right(turn);
        let mut halves = counted.clone();
        for (at, one) in counted.iter().enumerate() {
            let part = Counted { lines: one.lines / 2, refused: one.refused / 2, ..*one };
            halves[at] = Counted { time_s: 0.0, ..part };
            halves.push(Counted {
                lines: one.lines - part.lines,
                refused: one.refused - part.refused,
                ..*one
            });
        }
        let both = naming.fold(&halves);
        prop_assert_eq!(&both[..names.len()], &names[..]);
        prop_assert_eq!(&both[names.len()..], &names[..]);
    }
}
