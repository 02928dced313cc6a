//! Stand-in.

/// Stand-in.
#[derive(Clone, Debug)]
pub struct TextMatcher;

/// Stand-in.
#[derive(Debug, thiserror::Error)]
#[error("stand-in")]
pub struct PatternError;

impl TextMatcher {
    /// Stand-in.
    pub fn exact(_text: &str) -> Result<Self, PatternError> {
        Ok(Self)
    }

    /// Stand-in.
    pub fn regex(_text: &str) -> Result<Self, PatternError> {
        Ok(Self)
    }
}
