//! Merkle proofs of others, for the functions that verify ours (RFC 6962, RFC 9162).
use std::path::PathBuf;

use sigstore_verify::types::Sha256Hash;

use super::*;
use crate::verify::tests::collection;
use crate::verify::tests::exceptions::Answers;

/// Every case in a folder, with its path from there.
fn cases(folder: PathBuf) -> Vec<(String, Value)> {
    let mut cases = Vec::new();
    let mut folders = vec![folder.clone()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&folder).unwrap().display().to_string();
            cases.push((name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()));
        }
    }
    cases.sort_by(|one, other| one.0.cmp(&other.0));
    cases
}

/// A hash, or `None` for what is no hash at all.
fn hash(value: &Value) -> Option<Sha256Hash> {
    let bytes = STANDARD.decode(value.as_str()?).ok()?;
    Some(Sha256Hash::new(bytes.try_into().ok()?))
}

fn hashes(value: &Value) -> Option<Vec<Sha256Hash>> {
    value.as_array().map_or(Some(Vec::new()), |list| list.iter().map(hash).collect())
}

fn includes(case: &Value) -> Option<()> {
    let leaf = hash(&case["leafHash"])?;
    let (index, size) = (case["leafIdx"].as_u64()?, case["treeSize"].as_u64()?);
    let (proof, root) = (hashes(&case["proof"])?, hash(&case["root"])?);
    sigstore_merkle::verify_inclusion_proof(&leaf, index, size, &proof, &root).ok()
}

fn is_consistent(case: &Value) -> Option<()> {
    let (old, new) = (case["size1"].as_u64()?, case["size2"].as_u64()?);
    let (before, after) = (hash(&case["root1"])?, hash(&case["root2"])?);
    let proof = hashes(&case["proof"])?;
    sigstore_merkle::verify_consistency_proof(old, new, &proof, &before, &after).ok()
}

#[test]
fn merkle_proofs_of_others_get_their_verdict() {
    let missing = "Merkle proofs of others are not verified";
    let Some(vectors) = collection::folder("TEGATA_VECTORS", missing) else { return };
    let folder = vectors.join("tlog/merkle");
    let mut answers = Answers::new("tlog");
    let verdict = |found: Option<()>| if found.is_some() { "proven" } else { "refused" };
    for (kind, check) in
        [("inclusion", includes as fn(&Value) -> Option<()>), ("consistency", is_consistent)]
    {
        for (name, case) in cases(folder.join(kind)) {
            let wanted = if case["wantErr"] == true { "refused" } else { "proven" };
            answers.hold(&format!("{kind}/{name}"), verdict(check(&case)), wanted);
        }
    }
    answers.finish(92);
}
