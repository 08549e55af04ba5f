//! A request path without empty and dot segments, to which Go's servers redirect others.

/// The clean form of `path`, when it is another one (Go's `path.Clean`, with the slash at the end
/// kept).
pub fn cleaned(path: &str) -> Option<String> {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let mut clean = format!("/{}", kept.join("/"));
    if path.ends_with('/') && !kept.is_empty() {
        clean.push('/');
    }
    (clean != path).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cleaned_as_the_originals_clean_it() {
        for path in ["/", "/auth", "/auth/", "/has/web/10.0.0.0/8", "/...", "/a;b/%2e%2e/"] {
            assert_eq!(cleaned(path), None, "{path}");
        }
        for (path, clean) in [
            ("//auth", "/auth"),
            ("/./auth", "/auth"),
            ("/a/../auth", "/auth"),
            ("/../../x/", "/x/"),
            ("/has//api/10.0.9.1", "/has/api/10.0.9.1"),
            ("//", "/"),
            ("/..", "/"),
            ("/a/.", "/a"),
        ] {
            assert_eq!(cleaned(path).as_deref(), Some(clean), "{path}");
        }
    }
}
