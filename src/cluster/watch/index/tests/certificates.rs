//! Certificates of authorities that are in an object.
use super::*;

#[test]
fn certificates_in_an_object_are_followed_like_keys() {
    let root: Value =
        serde_json::from_str(sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT)
            .unwrap();
    let of = |authority: usize| {
        let chain = &root["certificateAuthorities"][authority]["certChain"]["certificates"];
        let der = chain.as_array().unwrap().last().unwrap()["rawBytes"].as_str().unwrap();
        let lines = der.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap());
        let der = lines.collect::<Vec<_>>().join("\n");
        let text = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
        json!({"ca.crt": pem(&text)["cosign.pub"], "tls.key": ""})
    };
    let certificate =
        json!({"secretRef": {"name": "signer"}, "identities": [{"subject": "me@example.com"}]});
    let spec = json!({"images": [{"glob": "a/**"}], "authorities": [{"certificate": certificate}]});
    let mut cluster = Cluster::new();
    cluster.policy("team/p", spec);
    assert!(
        cluster.states()[0].ends_with(
            "Secret team/signer has not been read yet, wanted \
        certificates in PEM (`-----BEGIN CERTIFICATE-----`)"
        ),
        "{:?}",
        cluster.states()
    );
    assert!(cluster.index.keys_pending());
    let shown = |cluster: &mut Cluster| {
        let view = cluster.index.refresh();
        let PolicyState::Ready(policy) = &view.snapshot.policies()[0] else { panic!("ready") };
        format!("{:?}", policy.authorities[0].signer)
    };
    cluster.key("team", Some(of(0)));
    let first = shown(&mut cluster);
    cluster.key("team", Some(of(1)));
    assert_ne!(shown(&mut cluster), first);
    for taken in [None, Some(pem("hunter2")), Some(json!({}))] {
        cluster.key("team", taken);
        let states = cluster.states();
        let field = "ImagePolicy team/p invalid spec.authorities[0].certificate.secretRef: ";
        assert!(states[0].starts_with(field), "{states:?}");
    }
}
