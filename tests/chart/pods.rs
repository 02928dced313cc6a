//! Every pod of the chart is a restricted one, and no more of it stops at once than may.
use serde_json::Value;
use serde_json::json;

use crate::support::NAMESPACE;
use crate::support::RENDERINGS;
use crate::support::kind;
use crate::support::name;
use crate::support::objects;
use crate::support::of_kind;
use crate::support::only;
use crate::support::texts;

/// The pod specs of a rendering.
fn pods(objects: &[Value]) -> Vec<(&str, &Value)> {
    let spec = |object| match kind(object) {
        "Deployment" => Some((name(object), &object["spec"]["template"]["spec"])),
        "Pod" => Some((name(object), &object["spec"])),
        _ => None,
    };
    objects.iter().filter_map(spec).collect()
}

#[test]
fn every_container_is_restricted() {
    for rendering in RENDERINGS {
        let objects = objects(rendering);
        let pods = pods(&objects);
        assert_eq!(pods.len(), 2, "{rendering:?}");
        for (name, pod) in pods {
            let security = &pod["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{name}");
            assert_eq!(security["runAsUser"], 65532, "{name}");
            assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{name}");
            for field in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
                assert!(pod.get(field).is_none(), "{name}: {field}");
            }
            for container in pod["containers"].as_array().unwrap() {
                let wanted = json!({
                    "allowPrivilegeEscalation": false,
                    "capabilities": { "drop": ["ALL"] },
                    "privileged": false,
                    "readOnlyRootFilesystem": true,
                    "runAsNonRoot": true,
                    "seccompProfile": { "type": "RuntimeDefault" },
                });
                assert_eq!(container["securityContext"], wanted, "{name}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
                assert!(container.get("command").is_none(), "{name}: the image has no shell");
            }
            for volume in pod["volumes"].as_array().into_iter().flatten() {
                let kinds = ["configMap", "emptyDir", "persistentVolumeClaim", "secret"];
                let known = kinds.iter().any(|kind| volume.get(kind).is_some());
                assert!(known, "{name}: {volume}");
                let bounded = volume.get("emptyDir").is_none_or(|it| it["sizeLimit"].is_string());
                assert!(bounded, "{name}: {volume}");
            }
        }
    }
}

#[test]
fn only_the_controller_gets_a_token() {
    for rendering in RENDERINGS {
        let objects = objects(rendering);
        assert_eq!(only(&objects, "ServiceAccount")["automountServiceAccountToken"], false);
        for (name, pod) in pods(&objects) {
            assert_eq!(pod["automountServiceAccountToken"], name == "tegata", "{name}");
        }
    }
}

#[test]
fn the_service_selects_the_controller_and_not_the_test() {
    for rendering in RENDERINGS {
        let objects = objects(rendering);
        let service = only(&objects, "Service");
        let deployment = only(&objects, "Deployment");
        let selector = &service["spec"]["selector"];
        assert_eq!(selector, &deployment["spec"]["selector"]["matchLabels"]);
        let selects = |labels: &Value| {
            selector.as_object().unwrap().iter().all(|(key, value)| labels[key] == *value)
        };
        assert!(selects(&deployment["spec"]["template"]["metadata"]["labels"]));
        assert!(!selects(&only(&objects, "Pod")["metadata"]["labels"]));
        let ports = &deployment["spec"]["template"]["spec"]["containers"][0]["ports"];
        for (index, port) in ports.as_array().unwrap().iter().enumerate() {
            assert_eq!(service["spec"]["ports"][index]["targetPort"], port["name"]);
        }
    }
}

#[test]
fn replicas_are_kept_while_nodes_are_drained() {
    let defaults = objects(None);
    let deployment = &only(&defaults, "Deployment")["spec"];
    assert_eq!(deployment["replicas"], 2);
    let update = json!({ "maxSurge": 1, "maxUnavailable": 0 });
    assert_eq!(deployment["strategy"]["rollingUpdate"], update);
    let pod = &deployment["template"]["spec"];
    assert_eq!(pod["priorityClassName"], "system-cluster-critical");
    assert_eq!(pod["terminationGracePeriodSeconds"], 45);
    assert_eq!(pod["topologySpreadConstraints"].as_array().unwrap().len(), 2);
    let budget = &only(&defaults, "PodDisruptionBudget")["spec"];
    assert_eq!(budget["maxUnavailable"], 1);
    assert_eq!(budget["selector"], deployment["selector"]);

    // A budget for one replica would hold up every drain for ever, or say nothing.
    assert!(of_kind(&objects(Some("smallest")), "PodDisruptionBudget").is_empty());

    let scaled = objects(Some("everything"));
    assert!(only(&scaled, "Deployment")["spec"].get("replicas").is_none());
    assert_eq!(only(&scaled, "HorizontalPodAutoscaler")["spec"]["minReplicas"], 3);
    assert_eq!(only(&scaled, "PodDisruptionBudget")["spec"]["maxUnavailable"], 1);
}

#[test]
fn values_reach_the_pod() {
    let objects = objects(Some("everything"));
    let template = &only(&objects, "Deployment")["spec"]["template"];
    let pod = &template["spec"];
    let container = &pod["containers"][0];
    let digest = "0123456789abcdef".repeat(4);
    let image = format!("registry.example:5000/tools/tegata@sha256:{digest}");
    assert_eq!(container["image"], image);
    assert_eq!(pod["imagePullSecrets"], json!([{ "name": "regcred" }]));
    assert_eq!(pod["terminationGracePeriodSeconds"], 37);
    assert_eq!(pod["nodeSelector"]["pool"], "system");
    assert_eq!(pod["tolerations"][0]["operator"], "Exists");
    assert!(pod["affinity"]["nodeAffinity"].is_object());
    assert_eq!(template["metadata"]["labels"]["team"], "security");
    assert_eq!(template["metadata"]["annotations"]["example.com/note"], "yes");
    assert!(template["metadata"]["annotations"]["checksum/config"].is_string());
    let args = texts(&container["args"]);
    for wanted in [
        "--listen=[::]:10250",
        "--health-listen=[::]:9090",
        "--tls-secret=serving",
        "--pull-secrets=team-a,team-b",
        "--no-match=deny",
        "--mutate=all",
        "--max-in-flight=64",
        "--drain-delay=7s",
        "--drain-timeout=20s",
        "--log-format=text",
        "--log-filter=info,tegata=debug",
        "--http-registry=registry.local:5000",
        "--registry-config=/etc/tegata/credentials/config.json",
        "--registries=/etc/tegata/config/registries.yaml",
        "--trusted-root=/etc/tegata/config/trusted_root.json",
        "--tuf-refresh=600s",
        "--cache-memory=64Mi",
        "--cache-refresh=300s",
        "--cache-max-age=604800s",
        "--cache-dir=/var/cache/tegata",
        "--cache-disk=2Gi",
        "--shared-store=rediss://valkey.example:6380/0",
        "--shared-store-prefix=fleet",
        "--shared-store-password-file=/etc/tegata/shared/password",
    ] {
        assert!(args.contains(&wanted), "{wanted}: {args:?}");
    }
    let policy = only(&objects, "NetworkPolicy");
    let ports = policy["spec"]["egress"][1]["ports"].as_array().unwrap();
    assert_eq!(ports.len(), 4);
    assert_eq!(ports[3]["port"], 6380, "the shared store");
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
}

#[test]
fn certificates_come_from_files_unless_tegata_makes_them() {
    for (rendering, secret) in [
        ("cert-manager", "tegata-tls"),
        ("cert-manager-alone", "tegata-tls"),
        ("own-certificate", "serving"),
    ] {
        let objects = objects(Some(rendering));
        let pod = &only(&objects, "Deployment")["spec"]["template"]["spec"];
        assert_eq!(pod["volumes"][0]["secret"]["secretName"], secret);
        let args = texts(&pod["containers"][0]["args"]);
        assert!(args.contains(&"--tls-cert=/etc/tegata/tls/tls.crt"), "{args:?}");
        assert!(!args.iter().any(|arg| arg.starts_with("--tls-secret")), "{args:?}");
        for certificate in of_kind(&objects, "Certificate") {
            assert_eq!(certificate["metadata"]["namespace"], NAMESPACE);
        }
    }
    let objects = objects(Some("cert-manager"));
    let issuer = &only(&objects, "Certificate")["spec"]["issuerRef"];
    assert_eq!(*issuer, json!({ "kind": "ClusterIssuer", "name": "company" }));
    assert!(of_kind(&objects, "Issuer").is_empty());
}
