//! Which app a request is for: by host, then by the longest path prefix. Core: built from the configuration, read by every thread.

use std::collections::HashMap;

use crate::config::{HostPattern, Route};
use crate::ids::GroupId;

/// All routes. Exact hosts come before `*.` ones (the longest of them first), those before apps for any host.
#[derive(Debug, Default)]
pub struct Router {
    exact: HashMap<String, Paths>,
    /// `.example.org`, the longest first.
    suffixes: Vec<(String, Paths)>,
    any: Paths,
}

/// Path prefixes, the longest first.
#[derive(Debug, Default)]
struct Paths(Vec<(String, GroupId)>);

impl Router {
    pub fn new<'a>(routes: impl IntoIterator<Item = (GroupId, &'a Route)>) -> Self {
        let mut router = Self::default();
        for (group, route) in routes {
            let paths = match &route.host {
                HostPattern::Exact(host) => router.exact.entry(host.clone()).or_default(),
                HostPattern::Suffix(suffix) => router.suffix(suffix),
                HostPattern::Any => &mut router.any,
            };
            paths.0.push((route.path.clone(), group));
            paths.0.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        }
        router.suffixes.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        router
    }

    /// `host`: as received, without port; `path`: as received, with its query.
    pub fn route(&self, host: Option<&str>, path: &str) -> Option<GroupId> {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        if self.exact.is_empty() && self.suffixes.is_empty() {
            return self.any.find(path);
        }
        let host = host.unwrap_or_default();
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let exact = self.exact.get(&host).and_then(|paths| paths.find(path));
        let suffix = || self.suffixes.iter().filter(|(suffix, _)| host.len() > suffix.len() && host.ends_with(suffix));
        exact.or_else(|| suffix().find_map(|(_, paths)| paths.find(path))).or_else(|| self.any.find(path))
    }

    fn suffix(&mut self, suffix: &str) -> &mut Paths {
        let at = self.suffixes.iter().position(|(known, _)| known == suffix).unwrap_or_else(|| {
            self.suffixes.push((suffix.to_owned(), Paths::default()));
            self.suffixes.len() - 1
        });
        &mut self.suffixes[at].1
    }
}

impl Paths {
    fn find(&self, path: &str) -> Option<GroupId> {
        let matches =
            |prefix: &str| prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.0.iter().find(|(prefix, _)| matches(prefix)).map(|(_, group)| *group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(routes: &[(HostPattern, &str)]) -> Router {
        let routes: Vec<_> = routes.iter().map(|(host, path)| Route { host: host.clone(), path: (*path).to_owned() }).collect();
        Router::new(routes.iter().enumerate().map(|(i, route)| (GroupId(i as u16), route)))
    }

    #[test]
    fn an_exact_host_comes_before_a_wildcard_and_that_before_any() {
        let exact = HostPattern::Exact("www.example.org".to_owned());
        let router = router(&[(HostPattern::Any, "/"), (HostPattern::Suffix(".example.org".to_owned()), "/"), (exact, "/")]);
        assert_eq!(router.route(Some("WWW.Example.org"), "/"), Some(GroupId(2)));
        assert_eq!(router.route(Some("a.b.example.org."), "/"), Some(GroupId(1)));
        assert_eq!(router.route(Some("example.org"), "/"), Some(GroupId(0)));
        assert_eq!(router.route(None, "/"), Some(GroupId(0)));
    }

    #[test]
    fn the_longest_path_prefix_wins_and_ends_at_a_slash() {
        let router = router(&[(HostPattern::Any, "/"), (HostPattern::Any, "/api"), (HostPattern::Any, "/api/v2")]);
        assert_eq!(router.route(None, "/api/v2/x"), Some(GroupId(2)));
        assert_eq!(router.route(None, "/api?x=/api/v2"), Some(GroupId(1)));
        assert_eq!(router.route(None, "/apiary"), Some(GroupId(0)));
    }

    #[test]
    fn a_host_that_nobody_serves_finds_nothing() {
        let router = router(&[(HostPattern::Exact("a.org".to_owned()), "/"), (HostPattern::Exact("b.org".to_owned()), "/x")]);
        assert_eq!(router.route(Some("c.org"), "/"), None);
        assert_eq!(router.route(Some("b.org"), "/y"), None);
    }
}
