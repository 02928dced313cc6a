//! What is shown: each scenario is a function of the world that says what went wrong.
//!
//! They run in the order of [`ALL`], on one cluster. Each uses namespaces, policies and images of its
//! own names, so that any of them also runs alone, after those that always run.
use std::future::Future;
use std::pin::Pin;

use anyhow::Result;

use super::world::World;

#[path = "scenarios/basics.rs"]
mod basics;
#[path = "scenarios/changes.rs"]
mod changes;
#[path = "scenarios/credentials.rs"]
mod credentials;
#[path = "scenarios/damage.rs"]
mod damage;
#[path = "scenarios/faults.rs"]
mod faults;
#[path = "scenarios/invalid.rs"]
mod invalid;
#[path = "scenarios/kinds.rs"]
mod kinds;
#[path = "scenarios/lifecycle.rs"]
mod lifecycle;
#[path = "scenarios/load.rs"]
mod load;
#[path = "scenarios/log_answers.rs"]
mod log_answers;
#[path = "scenarios/modes.rs"]
mod modes;
#[path = "scenarios/platforms.rs"]
mod platforms;
#[path = "scenarios/policies.rs"]
mod policies;
#[path = "scenarios/repository.rs"]
mod repository;
#[path = "scenarios/settings.rs"]
mod settings;
#[path = "scenarios/signatures.rs"]
mod signatures;
#[path = "scenarios/support.rs"]
mod support;
#[path = "scenarios/tenants.rs"]
mod tenants;
#[path = "scenarios/updates.rs"]
mod updates;

type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// One scenario.
pub struct Scenario {
    /// Its name: the rule that it shows.
    pub name: &'static str,
    /// Whether others need it, so that it is never left out.
    pub always: bool,
    /// What it does.
    pub run: for<'a> fn(&'a mut World) -> Running<'a>,
}

macro_rules! scenarios {
    ($($always:literal $module:ident :: $function:ident),* $(,)?) => {
        &[$(Scenario {
            name: concat!(stringify!($module), "::", stringify!($function)),
            always: $always,
            run: |world| Box::pin($module::$function(world)),
        }),*]
    };
}

/// All of them, in order.
pub const ALL: &[Scenario] = scenarios![
    true basics::cosign_signs_and_verifies_with_the_private_sigstore,
    true basics::helm_installs_tegata,
    true basics::policies_are_applied,
    false basics::admits_what_cosign_signed_and_stores_its_digest,
    false basics::refuses_and_says_why,
    false kinds::refuses_every_kind_at_its_own_path,
    false kinds::rolls_out_a_signed_deployment,
    false changes::of_a_policy,
    false changes::of_a_key_in_a_secret,
    false changes::of_a_trust_root_in_a_config_map,
    false changes::of_a_namespaces_labels,
    false changes::of_a_tenants_policy,
    false modes::warn_warns_and_audit_only_records,
    false modes::a_dry_run_is_refused_alike_and_leaves_no_event,
    false modes::denied_pods_are_told_at_their_replica_set,
    false updates::what_runs_can_change_in_all_but_its_image,
    false tenants::an_administrator_of_a_namespace_tightens_it_alone,
    false tenants::a_key_of_another_namespace_is_out_of_reach,
    false tenants::a_secrets_content_is_never_shown,
    false credentials::of_a_private_registry_stay_with_their_owners,
    false signatures::of_keys_are_admitted_and_refused,
    false signatures::of_identities_are_admitted_and_refused,
    false signatures::of_several_on_one_image_are_told_apart,
    false signatures::of_an_index_are_its_own,
    false platforms::are_signed_as_the_policy_says,
    false platforms::are_configured_as_the_policy_says,
    false signatures::in_rekor_v1_are_found_by_hash,
    false signatures::attestations_are_admitted_for_what_they_say,
    false damage::is_found_at_its_step,
    false log_answers::count_for_what_they_prove,
    false repository::of_tuf_is_followed_by_cosign,
    false repository::of_tuf_is_followed_by_tegata,
    false settings::no_match_and_mutate_do_what_they_say,
    false invalid::policies_are_refused_at_apply_time,
    false policies::of_the_examples_are_accepted_without_a_warning,
    false policies::of_others_are_accepted_or_refused_by_a_named_field,
    false policies::say_that_they_are_ready,
    false policies::say_what_they_lack_until_it_comes,
    false faults::a_registry_that_is_down_admits_nothing_new,
    false faults::a_registry_that_is_down_stops_nothing_that_was_verified,
    false faults::without_tegata_nothing_is_admitted,
    false faults::rotation_and_a_lost_replica_lose_no_request,
    false faults::the_api_server_restarts,
    false faults::the_control_plane_starts_cold,
    false lifecycle::helm_test_passes,
    false lifecycle::kubectl_shows_the_columns,
    false lifecycle::helm_upgrades_without_a_lost_request,
    // The last one: nothing is left to test after it.
    false lifecycle::helm_uninstalls_and_keeps_the_policies,
];
