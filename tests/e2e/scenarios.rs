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
#[path = "scenarios/kinds.rs"]
mod kinds;
#[path = "scenarios/support.rs"]
mod support;

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
];
