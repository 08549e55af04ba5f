//! Whatever stands in a log for a request has a key, whose name has no NUL; a path in its one form has
//! the same key again, and names are the same in any order.
#![no_main]

use std::sync::OnceLock;

use kojuto_core::report::naming::{Counted, Naming, NamingOptions, QueryRule};

const QUERIES: [QueryRule; 3] = [QueryRule::Drop, QueryRule::Keys, QueryRule::Keep];

/// One for each query rule, without folding and with it.
fn naming() -> &'static [Naming] {
    static NAMING: OnceLock<Vec<Naming>> = OnceLock::new();
    NAMING.get_or_init(|| {
        let options = QUERIES.iter().flat_map(|&query| {
            [false, true].map(|fold| NamingOptions {
                fold,
                fold_above: 2,
                query,
                ..NamingOptions::default()
            })
        });
        options.map(|options| Naming::new(&options).unwrap()).collect()
    })
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let query = QUERIES[usize::from(choice % 3)];
    let fold = choice & 4 == 0;
    let naming = &naming()[usize::from(choice % 3) * 2 + usize::from(fold)];
    let mut keys = Vec::new();
    for (at, line) in data.split(|&byte| byte == b'\n').enumerate() {
        let mut key = Vec::new();
        match at % 3 {
            0 => naming.key_of_request(line, &mut key),
            1 => naming.key(b"GET", line, &mut key),
            // No key of ours: the file of another machine may have anything.
            _ => key.extend_from_slice(line),
        }
        if at % 3 == 1
            && !fold
            && query == QueryRule::Drop
            && let Some(path) = key.strip_prefix(b"GET ")
        {
            let mut again = Vec::new();
            naming.key(b"GET", path, &mut again);
            assert_eq!(again, key);
        }
        keys.push(key);
    }
    let mut counted: Vec<_> = keys
        .iter()
        .map(|key| Counted {
            key,
            lines: key.len() as u64 % 7,
            refused: key.len() as u64 % 3,
            time_s: f64::from(key.first().copied().unwrap_or(0)),
        })
        .collect();
    let mut names = naming.fold(&counted);
    assert_eq!(names.len(), counted.len());
    counted.reverse();
    names.reverse();
    assert_eq!(naming.fold(&counted), names);
});
