//! Rego left out of the build: every module is refused by name.
use std::convert::Infallible;

use jiff::Timestamp;
use serde_json::Value;

use crate::conditions::Budget;
use crate::verdict::Failure;

/// A module that cannot be.
#[derive(Debug)]
pub(crate) struct Module(Infallible);

impl Module {
    pub(super) fn compile(_: &str) -> Result<Self, (String, String)> {
        let problem = "Rego is not part of this build".to_owned();
        Err((
            problem,
            "the rule in CEL (`conditions`), or a build with the feature `rego`".to_owned(),
        ))
    }

    pub(crate) fn check(&self, _: &Value, _: Timestamp, _: &Budget) -> Result<(), Failure> {
        match self.0 {}
    }
}
