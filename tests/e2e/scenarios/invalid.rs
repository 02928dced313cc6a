//! Policies that cannot be meant: `kubectl apply` refuses each and names the field.
use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;

use super::support::assert_refused;
use crate::world::World;

/// At least so many are tried.
const AT_LEAST: usize = 40;

/// Every row of `tests/e2e/invalid_policies.yaml` is refused, with the texts that it names.
pub async fn policies_are_refused_at_apply_time(world: &mut World) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/invalid_policies.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let rows: Vec<Value> = serde_saphyr::from_str(&text)?;
    ensure!(rows.len() >= AT_LEAST, "there are {} rows, wanted {AT_LEAST}", rows.len());
    let mut wrong = vec![];
    for row in &rows {
        let expected = &row["expected"];
        let expected: Vec<&str> = match expected.as_array() {
            Some(texts) => texts.iter().filter_map(Value::as_str).collect(),
            None => expected.as_str().into_iter().collect(),
        };
        ensure!(!expected.is_empty(), "{} expects nothing", row["name"]);
        if let Err(error) = assert_refused(world.apply(&row["policy"]).await?, &expected) {
            wrong.push(format!("{}: {error:#}", row["name"]));
        }
    }
    ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    Ok(())
}
