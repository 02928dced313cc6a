//! The keys of Docker configurations, and which repositories they are for.
//!
//! Hosts are compared whole, label by label: `gcr.io.evil` is not `gcr.io`.

/// How the keys of a file are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rules {
    /// As Docker and containers' `auth.json`: hosts match exactly, paths end at a slash.
    Docker,
    /// As the kubelet reads pull secrets: `*` within a label of the host, and whatever begins with
    /// the path.
    Kubelet,
}

/// A key of `auths`, taken apart.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    host: String,
    path: String,
    rules: Rules,
}

impl Pattern {
    /// Reads a key: a host, perhaps with a scheme, a port and a path. A path of `v1` or `v2` is
    /// the registry's API, and no part of the repository.
    pub(super) fn parse(key: &str, rules: Rules) -> Self {
        let key = key.trim();
        let rest =
            key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix(":443").unwrap_or(&host);
        let host = match host {
            "index.docker.io" | "registry-1.docker.io" => "docker.io",
            other => other,
        };
        let path = match path {
            "v1" | "v2" => "",
            other => {
                other.strip_prefix("v1/").or_else(|| other.strip_prefix("v2/")).unwrap_or(other)
            }
        };
        let path = match rules {
            Rules::Docker => path.trim_end_matches('/'),
            Rules::Kubelet => path,
        };
        Self { host: host.to_owned(), path: path.to_owned(), rules }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is for the repository at `path` of `registry`.
    pub(super) fn matches(&self, registry: &str, path: &str) -> bool {
        match self.rules {
            Rules::Docker => self.host == registry && within(&self.path, path),
            Rules::Kubelet => glob_host(&self.host, registry) && path.starts_with(&self.path),
        }
    }

    /// What the kubelet sorts by, backwards: of two keys for one repository the longer path comes
    /// first, and a literal host before a `*`.
    pub(super) fn rank(&self) -> (&str, &str) {
        (&self.host, &self.path)
    }
}

fn within(prefix: &str, path: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// The kubelet's rule: as many labels on both sides, the same port, `*` within one label.
fn glob_host(pattern: &str, registry: &str) -> bool {
    let split = |host: &str| match host.rsplit_once(':') {
        Some((host, port)) => (host.to_owned(), port.to_owned()),
        None => (host.to_owned(), String::new()),
    };
    let ((pattern, pattern_port), (host, port)) = (split(pattern), split(registry));
    let (patterns, labels) = (pattern.split('.'), host.split('.'));
    pattern_port == port
        && patterns.clone().count() == labels.clone().count()
        && patterns.zip(labels).all(|(pattern, label)| glob_label(pattern, label))
}

/// Linear: a `*` takes as little as it can, and the last piece must end the label.
fn glob_label(pattern: &str, label: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == label;
    };
    let Some(mut rest) = label.strip_prefix(head) else {
        return false;
    };
    let (middle, last) = tail.rsplit_once('*').unwrap_or(("", tail));
    for piece in middle.split('*') {
        match rest.find(piece) {
            Some(at) => rest = rest.get(at + piece.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_what_the_kubelet_matches() {
        for (key, registry, path, expected) in [
            ("*.example.io", "a.example.io", "x", true),
            ("a.*.io", "a.example.io", "x", true),
            ("a.example.*", "a.example.io", "x", true),
            ("*-good.example.io", "a-good.example.io", "x", true),
            ("*-good.example.io", "a-bad.example.io", "x", false),
            ("reg-*-eu.example", "reg-a-eu.example", "x", true),
            ("reg-*-eu.example", "reg-eu.example", "x", false),
            ("*a*b*.example", "xaxbx.example", "x", true),
            ("*a*b*.example", "xbxa.example", "x", false),
            ("*", "localhost", "x", true),
            // As many labels on both sides.
            ("*.example.io", "example.io", "x", false),
            ("*.*.example.io", "a.example.io", "x", false),
            ("*.io", "a.example.io", "x", false),
            ("example.io", "example.com", "x", false),
            ("example.io", "example.io.evil", "x", false),
            // The same port, or none on both.
            ("*.example.io:1111", "a.example.io:1111", "x", true),
            ("*.example.io:1234", "a.example.io:1111", "x", false),
            ("*.example.io", "a.example.io:1111", "x", false),
            ("*.example.io:1111", "a.example.io", "x", false),
            // 443 is what no port means.
            ("example.io:443", "example.io", "x", true),
            // Whatever begins with the path.
            ("*.example.io/blah", "a.example.io", "blah", true),
            ("a.*.io/foo", "a.example.io", "foo/bar", true),
            ("example.io/team", "example.io", "teamster/x", true),
            ("example.io/team/", "example.io", "teamster/x", false),
            ("example.io/team/", "example.io", "team/x", true),
            ("example.io/team", "example.io", "other", false),
            // Schemes, and the API's own path, are no part of it.
            ("https://example.io", "example.io", "x", true),
            ("http://example.io/v1/", "example.io", "x", true),
            ("https://example.io/v2/team", "example.io", "team/x", true),
            ("https://example.io/v2/team", "example.io", "x", false),
            // Docker Hub goes by its default key.
            ("https://index.docker.io/v1/", "docker.io", "library/x", true),
            ("index.docker.io", "docker.io", "library/x", true),
            ("docker.io/team", "docker.io", "team/x", true),
            ("https://index.docker.io/v1/", "example.io", "library/x", false),
        ] {
            let pattern = Pattern::parse(key, Rules::Kubelet);
            assert_eq!(pattern.matches(registry, path), expected, "{key}: {registry}/{path}");
        }
    }

    #[test]
    fn docker_knows_neither_globs_nor_half_names() {
        for (key, registry, path, expected) in [
            ("*.example.io", "a.example.io", "x", false),
            ("example.io/team/", "example.io", "team/x", true),
            ("example.io/team", "example.io", "teamster/x", false),
        ] {
            let pattern = Pattern::parse(key, Rules::Docker);
            assert_eq!(pattern.matches(registry, path), expected, "{key}: {registry}/{path}");
        }
    }
}
