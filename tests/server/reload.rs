//! Certificates and policies that change while the server runs.
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tegata::policy::PolicySnapshot;
use tegata::server::listen::ConnectionLimits;
use tegata::server::reload::LoadOutcome;

use crate::live::Live;
use crate::live::Policies;
use crate::live::client;
use crate::live::no_policies;
use crate::live::policies_of;
use crate::live::post_raw;

/// Writes a new self-signed pair for localhost, and returns the certificate.
fn write_pair(folder: &Path, serial: u8) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&[serial]));
    let certificate = params.self_signed(&key).unwrap().pem();
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    std::fs::write(folder.join("tls.crt"), &certificate).unwrap();
    certificate
}

#[tokio::test]
async fn takes_a_new_certificate_without_dropping_connections_and_keeps_the_old_for_a_broken_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    write_pair(&path, 1);
    std::fs::copy(path.join("tls.crt"), path.join("first.pem")).unwrap();
    let certificate = format!("--tls-cert={}", path.join("tls.crt").display());
    let key = format!("--tls-key={}", path.join("tls.key").display());
    let first = path.join("first.pem");
    let limits = ConnectionLimits::default();
    let live = Live::start_with(folder, &[&certificate, &key], &first, limits, no_policies).await;
    assert_eq!(live.review("good").await["allowed"], true);
    let in_flight = post_raw(&live, &live.client, "wait");
    while live.fake.asked.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    // A key that does not belong to the certificate: the old pair stays.
    let foreign = rcgen::KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(path.join("tls.key"), foreign).unwrap();
    live.until_metric(r#"tegata_reload_failures_total{what="certificate"} 1"#).await;
    assert_eq!(live.review_with(&client(&first), "good").await["allowed"], true);

    write_pair(&path, 2);
    let second = client(&path.join("tls.crt"));
    let mut served = false;
    for _ in 0..100 {
        let url = format!("https://localhost:{}/validate", live.addresses.webhook.port());
        if second.post(url).send().await.is_ok() {
            served = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(served, "the new certificate is not served");
    // The first client does not believe the new one, but its connection lives on.
    assert!(
        client(&first)
            .post(format!("https://localhost:{}/", live.addresses.webhook.port()))
            .send()
            .await
            .is_err()
    );
    live.fake.release.notify_waiters();
    assert_eq!(in_flight.await.unwrap()["allowed"], true);
    assert_eq!(live.review("good").await["allowed"], true);
}

/// As many invalid policies as the file says; a problem or an error where it says so.
fn load_from(file: PathBuf) -> impl FnMut() -> Policies + Send + 'static {
    use tegata::policy::InvalidPolicy;
    use tegata::policy::PolicyId;
    use tegata::policy::PolicyState;
    use tegata::policy::Scope;
    let mut last = 0;
    move || {
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        let mut problems = vec![];
        match text.trim() {
            "defect" => panic!("a defect"),
            "broken" => problems.push("policies.yaml:1: broken".to_owned()),
            count => last = count.parse().map_err(|_| "nothing can be loaded".to_owned())?,
        }
        let policy = |number| {
            PolicyState::Invalid(Arc::new(InvalidPolicy {
                id: PolicyId::Cluster { name: format!("p{number}") },
                scope: Scope { images: vec![], workloads: vec![], namespaces: None },
                problem: "test".to_owned(),
            }))
        };
        let snapshot = PolicySnapshot::new((0..last).map(policy).collect());
        Ok(LoadOutcome { snapshot, problems })
    }
}

#[tokio::test]
async fn reloads_policies_and_keeps_the_last_good_ones() {
    let folder = tempfile::tempdir().unwrap();
    let file = policies_of(&folder).join("policies.yaml");
    std::fs::write(&file, "1").unwrap();
    let ca = folder.path().join("ca.pem");
    let out = format!("--tls-ca-out={}", ca.display());
    let load = load_from(file.clone());
    let live = Live::start_with(folder, &[&out], &ca, ConnectionLimits::default(), load).await;
    let count = async || live.review("good").await["warnings"][0].as_str().unwrap().to_owned();
    assert_eq!(count().await, "1 policies");
    let failures = r#"tegata_reload_failures_total{what="policies"}"#;
    for (text, policies, failed) in
        [("2", 2, 0), ("broken", 2, 1), ("nonsense", 2, 2), ("defect", 2, 3), ("3", 3, 3)]
    {
        std::fs::write(&file, text).unwrap();
        live.until_metric(&format!("{failures} {failed}")).await;
        live.until_metric(&format!(r#"tegata_policies{{state="invalid"}} {policies}"#)).await;
        assert_eq!(count().await, format!("{policies} policies"), "{text}");
    }
    std::fs::remove_file(&file).unwrap();
    live.until_metric(&format!("{failures} 4")).await;
    assert_eq!(count().await, "3 policies");
}
