//! Reviews of pods as an API server sends them: with all that real pods carry.
use serde_json::Value;
use serde_json::json;

use super::review;

/// Digits that each review replaces by its own number, in the `uid` and in names: no two reviews of a
/// cluster are the same to the byte.
const NUMBER: &str = "999999999999";

/// A review as an HTTP request, to be sent again and again.
#[derive(Clone, Debug)]
pub struct Review {
    bytes: Vec<u8>,
    places: Vec<usize>,
    number: u64,
}

/// Of a review's `uid` all but its number.
const UID: &str = "705ab4f5-6393-41e8-b7cc-";

impl Review {
    /// That of a pod of `namespace` with these images, sent to `endpoint`.
    pub fn new(endpoint: &str, namespace: &str, images: &[String]) -> Self {
        let body = review_of(namespace, images).to_string();
        let head = format!(
            "POST {endpoint}?timeout=10s HTTP/1.1\r\nhost: localhost\r\n\
             user-agent: kube-apiserver-admission\r\naccept: application/json\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let places = body.match_indices(NUMBER).map(|(place, _)| head.len() + place).collect();
        let mut new = Self { bytes: [head, body].concat().into_bytes(), places, number: 0 };
        new.renew();
        new
    }

    /// The same for another pod of the same images.
    pub fn renew(&mut self) {
        self.set_number(self.number + 1);
    }

    /// The same for the pod with this number, of at most twelve digits.
    pub fn set_number(&mut self, number: u64) {
        self.number = number;
        let digits = format!("{:012}", self.number);
        for place in &self.places {
            self.bytes[*place..*place + NUMBER.len()].copy_from_slice(digits.as_bytes());
        }
    }

    /// The number, which an answer's `uid` ends with.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Head and body.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The `uid` of the review with this number.
pub fn uid(number: u64) -> String {
    format!("{UID}{number:012}")
}

fn review_of(namespace: &str, images: &[String]) -> Value {
    let labels = json!({
        "app.kubernetes.io/name": "shop-web",
        "app.kubernetes.io/instance": "shop-web-production",
        "app.kubernetes.io/version": "4.17.2",
        "pod-template-hash": "7d4b9c6f58",
    });
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "shop-web-7d4b9c6f58-",
            "name": format!("shop-web-7d4b9c6f58-{NUMBER}"),
            "namespace": namespace,
            "labels": labels,
            "annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "9090",
                "checksum/config": "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
            },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-web-7d4b9c6f58",
                "uid": "6b0f4f0e-5a8c-4d38-9c4d-2f1f6c1f5a10", "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "containers": images.iter().enumerate().map(container).collect::<Vec<_>>(),
            "volumes": [
                { "name": "config", "configMap": { "name": "shop-web", "defaultMode": 420 } },
                { "name": "tls", "secret": { "secretName": "shop-web-tls", "defaultMode": 420 } },
                { "name": "tmp", "emptyDir": { "sizeLimit": "64Mi" } },
                { "name": "kube-api-access-x7k2p", "projected": { "defaultMode": 420, "sources": [
                    { "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } },
                    { "configMap": { "name": "kube-root-ca.crt",
                        "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                ] } },
            ],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "shop-web",
            "serviceAccount": "shop-web",
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "schedulerName": "default-scheduler",
            "tolerations": [
                { "key": "node.kubernetes.io/not-ready", "operator": "Exists",
                    "effect": "NoExecute", "tolerationSeconds": 300 },
                { "key": "node.kubernetes.io/unreachable", "operator": "Exists",
                    "effect": "NoExecute", "tolerationSeconds": 300 },
            ],
            "priority": 0,
            "enableServiceLinks": true,
            "preemptionPolicy": "PreemptLowerPriority",
        },
        "status": {},
    });
    let mut review = review::create(&pod);
    let request = &mut review["request"];
    request["uid"] = json!(format!("{UID}{NUMBER}"));
    request["namespace"] = json!(namespace);
    request["userInfo"] = json!({
        "username": "system:serviceaccount:kube-system:replicaset-controller",
        "uid": "2a9f9c1c-3f0a-4b5c-8d7e-0c6a4f7f3b21",
        "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system",
            "system:authenticated"],
    });
    review
}

fn container((index, image): (usize, &String)) -> Value {
    let probe = |path: &str, period: u32| {
        json!({ "httpGet": { "path": path, "port": "http", "scheme": "HTTP" },
            "initialDelaySeconds": 5, "timeoutSeconds": 2, "periodSeconds": period,
            "successThreshold": 1, "failureThreshold": 3 })
    };
    json!({
        "name": format!("web-{index}"),
        "image": image,
        "args": ["--listen=:8080", "--log-format=json", format!("--shard={index}")],
        "ports": [{ "name": "http", "containerPort": 8080, "protocol": "TCP" }],
        "env": [
            { "name": "DATABASE_HOST", "value": "postgres.shop.svc.cluster.local" },
            { "name": "DATABASE_NAME", "value": "shop" },
            { "name": "DATABASE_PASSWORD",
                "valueFrom": { "secretKeyRef": { "name": "shop-db", "key": "password" } } },
            { "name": "CACHE_URL", "value": "redis://cache.shop.svc.cluster.local:6379/0" },
            { "name": "FEATURES", "value": "checkout-v2,search-suggestions" },
            { "name": "POD_NAME",
                "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.name" } } },
        ],
        "resources": { "limits": { "memory": "512Mi" },
            "requests": { "cpu": "100m", "memory": "256Mi" } },
        "volumeMounts": [
            { "name": "config", "mountPath": "/etc/shop", "readOnly": true },
            { "name": "tls", "mountPath": "/etc/tls", "readOnly": true },
            { "name": "tmp", "mountPath": "/tmp" },
            { "name": "kube-api-access-x7k2p", "readOnly": true,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" },
        ],
        "livenessProbe": probe("/healthz", 10),
        "readinessProbe": probe("/ready", 5),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
        "securityContext": { "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] }, "readOnlyRootFilesystem": true },
    })
}
