//! What a server asks for with its 401 answer.
use http_auth::ChallengeRef;
use reqwest::header;
use reqwest::header::HeaderMap;

use crate::registry::limits::MAX_HEADER_BYTES;

/// The challenge of a 401 answer that we can meet.
#[derive(Debug)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// Bearer before Basic: a token is worth less to a thief than a password.
    pub(super) fn parse(headers: &HeaderMap) -> Option<Self> {
        let mut found = None;
        for value in headers.get_all(header::WWW_AUTHENTICATE) {
            let Some(text) = value.to_str().ok().filter(|text| text.len() <= MAX_HEADER_BYTES)
            else {
                continue;
            };
            for challenge in http_auth::parse_challenges(text).unwrap_or_default() {
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    let Some(realm) = param(&challenge, "realm") else {
                        continue;
                    };
                    return Some(Self::Bearer { realm, service: param(&challenge, "service") });
                }
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    found = Some(Self::Basic);
                }
            }
        }
        found
    }
}

fn param(challenge: &ChallengeRef<'_>, name: &str) -> Option<String> {
    let mut params = challenge.params.iter();
    params.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_unescaped())
}
