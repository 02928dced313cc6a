use serde_json::json;

use super::*;
use crate::conditions::tests::outcome;
use crate::conditions::tests::rules;

const CYCLONEDX: &str = "https://cyclonedx.org/bom";
const SPDX: &str = "https://spdx.dev/Document";

fn spdx() -> Value {
    json!({"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "packages": [{"name": "a"}]})
}

fn cyclonedx() -> Value {
    json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": []})
}

const TAG_VALUE: &str = "SPDXVersion: SPDX-2.3\nSPDXID: SPDXRef-DOCUMENT\nPackageName: a\n";

#[test]
fn accepts_documents_of_the_formats() {
    let wrapped = |data: Value| json!({"Data": data, "Timestamp": ""});
    let spdx_3 =
        json!({"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": []});
    for (formats, kind, document) in [
        ("[cyclonedx]", CYCLONEDX, cyclonedx()),
        ("[spdx]", SPDX, spdx()),
        ("[spdxjson]", SPDX, spdx()),
        ("[spdx, cyclonedx]", CYCLONEDX, cyclonedx()),
        ("[spdx]", SPDX, json!(TAG_VALUE)),
        ("[spdx]", SPDX, wrapped(json!(TAG_VALUE))),
        ("[spdxjson]", SPDX, wrapped(json!(spdx().to_string()))),
        ("[cyclonedx]", CYCLONEDX, wrapped(cyclonedx())),
        ("[spdxjson]", SPDX, spdx_3),
    ] {
        let rules = rules(&format!("sbom: {{formats: {formats}}}"));
        assert_eq!(outcome(&rules, kind, &document), None, "{formats}: {document}");
    }
}

#[test]
fn rejects_each_field_that_is_wrong() {
    let without = |mut document: Value, field: &str| {
        document.as_object_mut().unwrap().remove(field);
        document
    };
    let with = |mut document: Value, field: &str, value: Value| {
        document[field] = value;
        document
    };
    for (formats, kind, document) in [
        ("[spdx]", CYCLONEDX, cyclonedx()),
        ("[cyclonedx]", SPDX, spdx()),
        ("[spdxjson]", SPDX, json!(TAG_VALUE)),
        ("[spdx]", SPDX, without(spdx(), "spdxVersion")),
        ("[spdx]", SPDX, without(spdx(), "SPDXID")),
        ("[spdx]", SPDX, without(spdx(), "packages")),
        ("[spdx]", SPDX, with(spdx(), "packages", json!({}))),
        ("[spdx]", SPDX, with(spdx(), "spdxVersion", json!("SPDX-9"))),
        ("[cyclonedx]", CYCLONEDX, without(cyclonedx(), "bomFormat")),
        ("[cyclonedx]", CYCLONEDX, without(cyclonedx(), "specVersion")),
        ("[cyclonedx]", CYCLONEDX, without(cyclonedx(), "components")),
        ("[cyclonedx]", CYCLONEDX, with(cyclonedx(), "specVersion", json!("2.0"))),
        ("[spdx]", SPDX, json!("SPDXVersion: SPDX-2.3")),
        ("[spdx]", SPDX, json!({})),
        ("[spdx]", SPDX, Value::Null),
        ("[spdx]", SPDX, json!({"Data": json!({"Data": spdx()}).to_string()})),
    ] {
        let rules = rules(&format!("sbom: {{formats: {formats}}}"));
        let found = outcome(&rules, kind, &document);
        assert_eq!(found, Some(Reason::PredicateUnusable), "{formats}: {document}");
    }
}
