//! Endpoints by the routes of a framework.

use crate::Error;
use crate::error::Argument;

/// Templates of paths, those before others that say more of a path.
#[derive(Debug, Clone)]
pub(super) struct Routes(Vec<Route>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    /// Empty for all.
    methods: Vec<Box<[u8]>>,
    parts: Vec<Part>,
    name: Box<[u8]>,
}

/// A part of a template. In this order the first says most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// This segment.
    Text(Box<[u8]>),
    /// A segment that begins and ends so: `{id}.json`, `@:name`.
    Between(Box<[u8]>, Box<[u8]>),
    /// Any segment.
    Any,
    /// Any segment, or none, at the end.
    Optional,
    /// All that follows.
    Rest,
}

impl Routes {
    /// Reads lines as frameworks print them: a path is the first word of a line that begins with a
    /// slash, methods are words in capitals; lines without a path are passed over.
    pub(super) fn new(lines: &[String]) -> Result<Routes, Error> {
        let mut found: Vec<Route> = lines.iter().filter_map(|line| route(line)).collect();
        if found.is_empty() && !lines.is_empty() {
            return Err(Error::Argument(Argument::NoRoutes));
        }
        // Of equal ones the first stays the first.
        found.sort_by(|one, other| one.parts.cmp(&other.parts));
        Ok(Routes(found))
    }

    /// The template that a path in its one form is of.
    pub(super) fn find(&self, method: &[u8], path: &[u8]) -> Option<&[u8]> {
        if self.0.is_empty() {
            return None;
        }
        let segments: Vec<&[u8]> = segments(path).collect();
        let of_method = |route: &&Route| {
            route.methods.is_empty()
                || route.methods.iter().any(|known| **known == *method)
                || method == b"HEAD" && route.methods.iter().any(|known| **known == *b"GET")
        };
        let mut found = self.0.iter().filter(of_method);
        found.find(|route| is_of(&route.parts, &segments)).map(|route| &*route.name)
    }
}

fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|segment| !segment.is_empty())
}

fn is_of(parts: &[Part], segments: &[&[u8]]) -> bool {
    let mut segments = segments.iter();
    for part in parts {
        let matched = match (part, segments.next()) {
            (Part::Rest, _) => return true,
            (Part::Optional, None) => true,
            (_, None) => false,
            (Part::Any | Part::Optional, Some(_)) => true,
            (Part::Text(text), Some(segment)) => **text == **segment,
            (Part::Between(before, behind), Some(segment)) => {
                segment.len() > before.len() + behind.len()
                    && segment.starts_with(before)
                    && segment.ends_with(behind)
            }
        };
        if !matched {
            return false;
        }
    }
    segments.next().is_none()
}

/// What Rails has behind each path.
const FORMAT: &str = "(.:format)";

fn route(line: &str) -> Option<Route> {
    let mut words = line.split_ascii_whitespace().map(|word| word.trim_matches(['"', '\'', ',']));
    let mut methods: Vec<Box<[u8]>> = Vec::new();
    let mut template = None;
    for word in words.by_ref() {
        if word.starts_with('/') && template.is_none() {
            template = Some(word);
        } else {
            // Behind the path only what is nothing but methods (Flask, Laravel); ANY is none.
            methods.extend(methods_of(word));
        }
    }
    let template = template?;
    let name = template.strip_suffix(FORMAT).unwrap_or(template);
    let mut parts: Vec<Part> = Vec::new();
    for segment in cut(name) {
        parts.push(part(segment));
    }
    Some(Route { methods, parts, name: name.as_bytes().into() })
}

/// The methods of a word such as `GET`, `GET|HEAD` or `GET,POST`; none if anything else is in it.
fn methods_of(word: &str) -> Vec<Box<[u8]>> {
    const KNOWN: [&str; 8] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY"];
    let word = word.trim_matches(['[', ']', '(', ')', '{', '}']);
    let all: Vec<&str> = word.split(['|', ',', '/']).collect();
    if all.iter().all(|method| KNOWN.contains(method)) {
        all.into_iter().map(|method| method.as_bytes().into()).collect()
    } else {
        Vec::new()
    }
}

/// The segments of a template; a slash in brackets is one of an expression.
fn cut(template: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let is_end = move |char| {
        match char {
            '{' | '(' | '[' | '<' => depth += 1,
            '}' | ')' | ']' | '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        char == '/' && depth == 0
    };
    template.split(is_end).filter(|segment| !segment.is_empty())
}

fn part(segment: &str) -> Part {
    let Some((start, end)) = variable(segment) else {
        return Part::Text(super::one_form(format!("/{segment}").as_bytes())[1..].into());
    };
    let (before, variable, behind) =
        (&segment[..start], &segment[start..end], segment[end..].trim_end_matches('$'));
    let takes_slashes = variable.starts_with('*')
        || variable.contains("path:")
        || variable.contains(":path")
        || variable.contains("...")
        || variable.starts_with("{*");
    match (before, behind) {
        ("", _) if takes_slashes => Part::Rest,
        ("", "?") => Part::Optional,
        ("", "") => Part::Any,
        _ => Part::Between(before.as_bytes().into(), behind.as_bytes().into()),
    }
}

/// Where the first variable of a segment is: `:id`, `{id}`, `<int:id>`, `*rest`, `[id]`, with an
/// expression in parentheses behind it.
fn variable(segment: &str) -> Option<(usize, usize)> {
    let start = segment.find([':', '{', '<', '*', '['])?;
    let rest = &segment[start..];
    let closing = match rest.as_bytes()[0] {
        b'{' => Some('}'),
        b'<' => Some('>'),
        b'[' => Some(']'),
        _ => None,
    };
    let end = match closing {
        // Braces may stand in braces: `{id:[0-9]{3}}`.
        Some(closing) => rest.rfind(closing)? + 1,
        None => {
            let is_of_name = |char: char| char.is_alphanumeric() || char == '_';
            let name = rest[1..].find(|char| !is_of_name(char)).map_or(rest.len(), |end| end + 1);
            let name = if rest[1..name].is_empty() && rest.starts_with("**") { 2 } else { name };
            if rest.starts_with(':') && name == 1 {
                return None;
            }
            match rest[name..].starts_with('(').then(|| rest[name..].find(')')).flatten() {
                Some(end) => name + end + 1,
                None => name,
            }
        }
    };
    Some((start, start + end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(lines: &[&str]) -> Routes {
        Routes::new(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn find(routes: &Routes, request: &str) -> String {
        let (method, path) = request.split_once(' ').unwrap();
        let found = routes.find(method.as_bytes(), path.as_bytes());
        found.map_or("none".to_owned(), |name| String::from_utf8(name.to_vec()).unwrap())
    }

    #[test]
    fn templates_are_read_as_frameworks_write_them() {
        for (line, hit, miss) in [
            ("/users/:id", "/users/1", "/users/1/x"),
            ("/users/{id}", "/users/a-b", "/users"),
            ("/users/<int:id>", "/users/1", "/user/1"),
            ("/users/[id]", "/users/1", "/"),
            ("/users/{id:[0-9]{1,3}/?}", "/users/1", "/users"),
            ("/users/:id(\\d+)/x", "/users/1/x", "/users/1"),
            ("/users/:id?", "/users", "/users/1/2"),
            ("/users/{id}.json", "/users/1.json", "/users/1"),
            ("/@:name", "/@alice", "/alice"),
            ("/files/*path", "/files/a/b", "/file"),
            ("/files/{path:path}", "/files/a/b", "/file"),
            ("/files/<path:p>", "/files/a/b", "/file"),
            ("/files/{rest...}", "/files/a/b", "/file"),
            ("/files/**", "/files/a/b", "/file"),
            ("/a/", "/a", "/b"),
            ("/", "/", "/a"),
            ("/caf%c3%a9/x", "/caf%C3%A9/x", "/cafe/x"),
        ] {
            let routes = routes(&[line]);
            assert_eq!(find(&routes, &format!("GET {hit}")), line, "{line}");
            assert_eq!(find(&routes, &format!("GET {miss}")), "none", "{line}");
        }
    }

    #[test]
    fn tables_of_frameworks_have_methods_and_more() {
        let routes = routes(&[
            "Prefix Verb   URI Pattern                  Controller#Action",
            " users GET    /users(.:format)             users#index",
            "       POST   /users/:id(.:format)         users#create",
            "[GIN-debug] GET    /ping/:x  --> main.main.func1 (3 handlers)",
            "static          GET         /static/<path:filename>",
            "GET|HEAD  /posts/{post} ............ posts.show",
        ]);
        for (request, name) in [
            ("GET /users", "/users"),
            ("POST /users", "none"),
            ("POST /users/7", "/users/:id"),
            ("GET /ping/1", "/ping/:x"),
            ("HEAD /ping/1", "/ping/:x"),
            ("GET /static/a/b.js", "/static/<path:filename>"),
            ("HEAD /posts/1", "/posts/{post}"),
            ("PUT /posts/1", "none"),
        ] {
            assert_eq!(find(&routes, request), name, "{request}");
        }
    }

    #[test]
    fn the_template_that_says_most_has_the_path() {
        let routes = routes(&["/*rest", "/:a/x", "/users/:id", "/users/new", "/users/{id}.json"]);
        for (path, name) in [
            ("/users/new", "/users/new"),
            ("/users/1.json", "/users/{id}.json"),
            ("/users/1", "/users/:id"),
            ("/posts/x", "/:a/x"),
            ("/posts/y/z", "/*rest"),
        ] {
            assert_eq!(find(&routes, &format!("GET {path}")), name, "{path}");
        }
    }

    #[test]
    fn lines_without_a_path_are_refused_when_there_are_no_others() {
        let refused = Routes::new(&["no routes here".to_owned()]).unwrap_err();
        assert_eq!(refused, Error::Argument(Argument::NoRoutes));
        assert!(Routes::new(&[]).is_ok());
    }
}
