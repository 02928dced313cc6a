//! Trust roots that instances of Sigstore publish, today's and those of years ago.
use tegata::trust_root::TrustRoot;

use crate::collection;
use crate::exceptions::Answers;

/// The answer for a whole trust root.
const USABLE: &str = "usable";

/// The answer, and every entry that is left out.
fn answer(text: &str) -> String {
    match TrustRoot::from_json(text) {
        Ok(root) if root.problems().is_empty() => USABLE.to_owned(),
        Ok(root) => format!("usable but for {}", root.problems().join(", ")),
        Err(error) => error.problem,
    }
}

#[test]
fn trust_roots_of_others_are_read_in_full() {
    let missing = "trust roots of others are not read";
    let Some(vectors) = collection::folder("TEGATA_VECTORS", missing) else { return };
    let mut answers = Answers::new("trust-roots");
    for row in collection::rows(&vectors, "trust-roots") {
        let (id, file) = (row["id"].as_str().unwrap(), row["file"].as_str().unwrap());
        let text = std::fs::read_to_string(vectors.join(file)).unwrap();
        let wanted = match id {
            // No trust roots: an authority alone, TUF metadata, and two documents in one file.
            "parse-certificate_authority.empty.json" | "github-tuf-root" => {
                "media type is ``, wanted application/vnd.dev.sigstore.trustedroot+json"
            }
            "both-jsonl" => {
                for line in text.lines() {
                    assert_eq!(answer(line), USABLE, "one of {id}");
                }
                "not JSON: trailing characters at line 2 column 1"
            }
            _ => USABLE,
        };
        answers.hold(id, &answer(&text), wanted);
    }
    answers.finish(9);
}

#[test]
fn trust_roots_of_all_years_are_read_in_full() {
    let missing = "trust roots of earlier years are not read";
    let Some(vectors) = collection::folder("TEGATA_VECTORS", missing) else { return };
    let mut answers = Answers::new("trust-roots-history");
    for folder in ["public-good", "staging"] {
        let folder = vectors.join("trust-roots").join(folder).join("history");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            answers.hold(path.file_name().unwrap().to_str().unwrap(), &answer(&text), USABLE);
        }
    }
    answers.finish(7 + 13);
}
