//! Endpoints by regular expressions.

use regex::bytes::Regex;

use crate::Error;
use crate::error::Argument;

/// What is between an expression and its name.
const ARROW: &str = "=>";

/// Expressions in their order, each with its name.
#[derive(Debug, Clone)]
pub(super) struct Matches(Vec<(Regex, Box<[u8]>)>);

impl Matches {
    pub(super) fn new(texts: &[String]) -> Result<Matches, Error> {
        let mut found = Vec::new();
        for text in texts.iter().flat_map(|text| split(text)) {
            let (pattern, name) = match text.rsplit_once(ARROW) {
                Some((pattern, name)) if !name.is_empty() => (pattern, name),
                _ => (text, text),
            };
            let wrong = |why: regex::Error| Error::Argument(Argument::Expression(why.to_string()));
            found.push((Regex::new(pattern).map_err(wrong)?, name.as_bytes().into()));
        }
        Ok(Matches(found))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of the first expression that is found in the text.
    pub(super) fn find(&self, text: &[u8]) -> Option<&[u8]> {
        self.0.iter().find(|(regex, _)| regex.is_match(text)).map(|(_, name)| &**name)
    }
}

/// The parts between commas that are in no brackets and not escaped; empty ones are left out.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    // Where a class `[…]` begins: only its end counts in it, and that not as its first character.
    let mut class: Option<usize> = None;
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match (char, class) {
            ('\\', _) => escaped = true,
            (']', Some(begin)) if !matches!(&text[begin..at], "[" | "[^") => class = None,
            (_, Some(_)) => {}
            ('[', None) => class = Some(at),
            ('(' | '{', None) => depth += 1,
            (')' | '}', None) => depth = depth.saturating_sub(1),
            (',', None) if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_split_at_commas_outside_of_brackets() {
        for (text, parts) in [
            ("", &[][..]),
            ("a,b", &["a", "b"]),
            ("/a/[0-9]{1,3},,/b", &["/a/[0-9]{1,3}", "/b"]),
            ("(a,b),[,](],c", &["(a,b)", "[,](],c"]),
            ("[],a],[^],]", &["[],a]", "[^],]"]),
            (r"a\,b,c\\,d", &[r"a\,b", r"c\\", "d"]),
            ("é,日本", &["é", "日本"]),
        ] {
            assert_eq!(split(text), parts, "{text}");
        }
    }

    #[test]
    fn the_first_hit_has_its_name_or_is_it() {
        let texts = ["^/a/.*=>first,/[0-9]+".to_owned(), "x=>y=>z".to_owned()];
        let matches = Matches::new(&texts).unwrap();
        let name =
            |text: &str| matches.find(text.as_bytes()).map(|name| str::from_utf8(name).unwrap());
        assert_eq!(name("/a/1"), Some("first"));
        assert_eq!(name("/b/1"), Some("/[0-9]+"));
        assert_eq!(name("/x=>y"), Some("z"));
        assert_eq!(name("/b"), None);
    }

    #[test]
    fn an_expression_that_is_none_is_refused() {
        let refused = Matches::new(&["/(a".to_owned()]).unwrap_err();
        assert!(matches!(refused, Error::Argument(Argument::Expression(_))));
    }
}
