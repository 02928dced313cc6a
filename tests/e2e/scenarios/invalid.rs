//! Policies that cannot be meant: `kubectl apply` refuses each, and names the field and what to do.
use anyhow::Result;
use anyhow::ensure;

use super::support::assert_refused;
use crate::invalid_policies;
use crate::invalid_policies::By;
use crate::invalid_policies::Invalid;
use crate::world::World;

/// What `kubectl` prints when the webhook for policies refuses.
pub const BY_WEBHOOK: &str = "admission webhook \"policies.tegata.dev\" denied the request: ";

/// What it prints when an object does not fit the schema.
const BY_SCHEMA: &str = " is invalid: ";

/// Every row of `tests/e2e/invalid_policies.yaml` is refused, by the one that it names and with the
/// texts that it names.
pub async fn policies_are_refused_at_apply_time(world: &mut World) -> Result<()> {
    let rows = invalid_policies::rows();
    let (mut by_schema, mut wrong) = (0, vec![]);
    for Invalid { name, by, expect, policy } in &rows {
        let said_by = match by {
            By::Schema => BY_SCHEMA,
            By::Webhook => BY_WEBHOOK,
        };
        by_schema += usize::from(*by == By::Schema);
        let mut expected = vec![said_by];
        expected.extend(expect.iter().map(String::as_str));
        let mut ways = vec![&["apply", "-f", "-"][..]];
        if *by == By::Webhook {
            // The server merges here, and is sent the fields without a value, too.
            ways.push(&["apply", "--server-side", "-f", "-"]);
        }
        for way in ways {
            let done = world.kubectl_with(way, &policy.to_string()).await?;
            if let Err(error) = assert_refused(done, &expected) {
                wrong.push(format!("{name}: {error:#}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    let by_webhook = rows.len() - by_schema;
    print!("({} refused: {by_schema} by the schema, {by_webhook} by the webhook) ", rows.len());
    Ok(())
}
