//! The name that was probably meant.

/// Most edits between a misspelt name and the one that was meant: three letters wrong in a long
/// name are a typing error, in a short one they are another word.
const MAX_EDITS: usize = 3;

/// The candidate nearest to `text`, where one is near enough to be meant.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase();
    let limit = MAX_EDITS.min(text.chars().count().div_ceil(3));
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&text, &candidate.to_lowercase()), candidate))
        .filter(|(edits, _)| *edits <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// What to write instead of `text`: the nearest of `known`, or one of them all.
pub fn wanted(text: &str, known: &[&str]) -> String {
    nearest(text, known.iter().copied())
        .map_or_else(|| format!("one of {}", known.join(", ")), |nearest| format!("`{nearest}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_nearest_name_or_none() {
        let names = ["issuer", "issuerRegExp", "subject", "subjectRegExp", "claims"];
        assert_eq!(nearest("issuerRegex", names), Some("issuerRegExp"));
        assert_eq!(nearest("Subject", names), Some("subject"));
        assert_eq!(nearest("claim", names), Some("claims"));
        assert_eq!(nearest("annotations", names), None);
    }
}
