//! What of a query belongs to the name of an endpoint.

use super::push_unescaped;

/// What stays of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueryRule {
    /// Nothing.
    #[default]
    Drop,
    /// The names of its parameters, sorted.
    Keys,
    /// All of it.
    Keep,
}

/// Adds what stays of a query (without its `?`), with a `?` before it if anything does. The
/// parameters of `values` stay with their values whatever the rule is.
pub(crate) fn push(query: &[u8], rule: QueryRule, values: &[Box<[u8]>], out: &mut Vec<u8>) {
    if rule == QueryRule::Keep {
        if !query.is_empty() {
            out.push(b'?');
            push_unescaped(query, out);
        }
        return;
    }
    if rule == QueryRule::Drop && values.is_empty() {
        return;
    }
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for parameter in query.split(|&byte| byte == b'&') {
        let end = parameter.iter().position(|&byte| byte == b'=').unwrap_or(parameter.len());
        let mut text = Vec::with_capacity(parameter.len());
        push_unescaped(&parameter[..end], &mut text);
        if text.is_empty() {
            continue;
        }
        if values.iter().any(|name| **name == *text) {
            push_unescaped(&parameter[end..], &mut text);
        } else if rule == QueryRule::Drop {
            continue;
        }
        kept.push(text);
    }
    kept.sort_unstable();
    kept.dedup();
    for (at, text) in kept.iter().enumerate() {
        out.push(if at == 0 { b'?' } else { b'&' });
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(query: &str, rule: QueryRule, values: &[&str]) -> String {
        let values: Vec<Box<[u8]>> = values.iter().map(|name| name.as_bytes().into()).collect();
        let mut out = Vec::new();
        push(query.as_bytes(), rule, &values, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_query_is_left_out_but_for_named_values() {
        assert_eq!(kept("a=1&b=2", QueryRule::Drop, &[]), "");
        assert_eq!(kept("a=1&b=2&b=2&a=0", QueryRule::Drop, &["b"]), "?b=2");
        assert_eq!(kept("a=1", QueryRule::Drop, &["b"]), "");
        assert_eq!(kept("b", QueryRule::Drop, &["b"]), "?b");
    }

    #[test]
    fn names_of_parameters_are_sorted_and_each_is_there_once() {
        assert_eq!(kept("b=1&a=2&b=3&&=4", QueryRule::Keys, &[]), "?a&b");
        assert_eq!(kept("z=1&op=x&%61=2", QueryRule::Keys, &["op"]), "?a&op=x&z");
        assert_eq!(kept("", QueryRule::Keys, &[]), "");
    }

    #[test]
    fn all_of_a_query_is_kept_as_it_came() {
        assert_eq!(kept("b=1&a=2", QueryRule::Keep, &[]), "?b=1&a=2");
        assert_eq!(kept("q=%e3%7E", QueryRule::Keep, &["q"]), "?q=%E3~");
        assert_eq!(kept("", QueryRule::Keep, &[]), "");
    }
}
