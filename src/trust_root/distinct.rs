//! How many logs or authorities are different ones: by their keys, and by nothing that evidence
//! states.
use sigstore_verify::trust_root::TsaAuthority;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::Log;
use super::TrustRoot;

impl TrustRoot {
    /// How many different logs there are: one key under two names is one.
    pub(crate) fn distinct_logs(&self) -> usize {
        logs(self.logs())
    }

    /// How many different timestamp authorities there are, as [`timestamp_authorities`] counts.
    pub(crate) fn distinct_timestamp_authorities(&self) -> usize {
        timestamp_authorities(self.timestamp_authorities())
    }
}

/// How many of these logs have keys of their own.
pub(crate) fn logs<'a>(logs: impl IntoIterator<Item = &'a Log>) -> usize {
    let mut keys: Vec<&[u8]> = Vec::new();
    for log in logs {
        // A key stands here as its point or its modulus, which has one encoding.
        if !keys.contains(&log.key.as_bytes()) {
            keys.push(log.key.as_bytes());
        }
    }
    keys.len()
}

/// How many of these authorities are different ones: neither signing key nor root key in common.
/// Two signing certificates under one root are one operator's, the second follows the first.
pub(crate) fn timestamp_authorities<'a>(
    authorities: impl IntoIterator<Item = &'a TsaAuthority>,
) -> usize {
    let mut counted: Vec<[Option<Vec<u8>>; 2]> = Vec::new();
    for authority in authorities {
        let TsaAuthority { leaf, root, .. } = authority;
        let keys = [leaf, root].map(|certificate| public_key(certificate.as_bytes()));
        // A key that cannot be read is nobody's in particular: it never counts beside another.
        let shared = |other: &[Option<Vec<u8>>; 2]| keys.iter().any(|key| other.contains(key));
        if !counted.iter().any(shared) {
            counted.push(keys);
        }
    }
    counted.len()
}

fn public_key(certificate: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let key = certificate.tbs_certificate.subject_public_key_info.subject_public_key;
    key.as_bytes().map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;
    use sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;

    use super::*;

    fn doubled(field: &str, change: impl Fn(&mut Value)) -> TrustRoot {
        let mut document: Value = serde_json::from_str(SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
        let entries = document[field].as_array_mut().unwrap();
        let mut again = entries.clone();
        again.iter_mut().for_each(change);
        entries.append(&mut again);
        TrustRoot::from_json(&document.to_string()).unwrap()
    }

    #[test]
    fn one_key_under_two_identifiers_is_one_log() {
        let logs = TrustRoot::public_good().distinct_logs();
        let root = doubled("tlogs", |log| {
            let id = log["logId"]["keyId"].as_str().unwrap();
            let first = if id.starts_with('A') { "B" } else { "A" };
            log["logId"]["keyId"] = json!(format!("{first}{}", &id[1..]));
            log["baseUrl"] = json!("https://another.example");
        });
        assert_eq!(root.logs().len(), 2 * TrustRoot::public_good().logs().len());
        assert_eq!(root.distinct_logs(), logs);
    }

    #[test]
    fn one_root_or_one_signing_key_is_one_timestamp_authority() {
        let authorities = TrustRoot::public_good().distinct_timestamp_authorities();
        assert_eq!(authorities, 1);
        let root = doubled("timestampAuthorities", |authority| {
            authority["uri"] = json!("https://another.example");
        });
        assert_eq!(root.timestamp_authorities().len(), 2);
        assert_eq!(root.distinct_timestamp_authorities(), 1);
        // Another signing certificate under the same root: here an authority's root itself.
        let root = doubled("timestampAuthorities", |authority| {
            let chain = authority["certChain"]["certificates"].as_array_mut().unwrap();
            let root = chain.pop().unwrap();
            *chain = vec![root];
        });
        assert_eq!(root.timestamp_authorities().len(), 2);
        assert_eq!(root.distinct_timestamp_authorities(), 1);
    }
}
