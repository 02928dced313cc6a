//! Checkpoints of others, inside a bundle.
use serde_json::json;

use super::*;
use crate::verify::tests::answer;
use crate::verify::tests::collection;
use crate::verify::tests::exceptions::Answers;
use crate::verify::tests::exceptions::VERIFIED;

#[test]
fn checkpoints_of_others_get_their_verdict() {
    let missing = "checkpoints of others are not parsed";
    let Some(vectors) = collection::folder("TEGATA_VECTORS", missing) else { return };
    let mut answers = Answers::new("checkpoints");
    let rows = collection::rows(&vectors, "tlog");
    for row in rows.iter().filter(|row| row["id"] != "merkle") {
        let envelope =
            std::fs::read_to_string(vectors.join(row["file"].as_str().unwrap())).unwrap();
        let proof = json!({ "inclusionProof": { "checkpoint": { "envelope": envelope } } });
        let bundle = json!({ "verificationMaterial": { "tlogEntries": [proof] } });
        let accepted = row["expected"].as_str().unwrap().starts_with("accept");
        let wanted = if accepted { VERIFIED } else { "log-entry: checkpoint-invalid" };
        answers.hold(row["id"].as_str().unwrap(), &answer(check_checkpoints(&bundle)), wanted);
    }
    answers.finish(5);
}
