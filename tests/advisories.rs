//! What went wrong in other verifiers, registries' clients and admission controllers: each has a
//! test that is named after what it forbids, here or beside the code that forbids it.
//!
//! | source | what | tests |
//! |---|---|---|
//! | CVE-2022-36056, CVE-2022-23649, CVE-2026-22703, CVE-2024-53267 | a log entry of another signature, key, certificate or digest | `tests/advisories/evidence.rs::rejects_a_valid_log_entry_of_another_signature_certificate_or_digest`, `tests/advisories/evidence.rs::rejects_a_valid_log_entry_of_another_key`, `tests/advisories/evidence.rs::rejects_an_expired_signer_with_the_log_entry_of_another_image`, `tests/forgeries.rs::rejects_every_forged_part_of_a_keyed_signature_whatever_the_key`, `tests/forgeries/attestation.rs::rejects_every_forged_part_of_a_classic_attestation`, `tests/forgeries/attestation.rs::rejects_every_forged_part_of_a_keyed_attestation` |
//! | CVE-2026-24122 | intermediate expired before the signing time | `tests/advisories/evidence.rs::rejects_an_intermediate_that_expired_before_the_signing_time`, `tests/identities/pki.rs::rejects_an_own_authority_whose_intermediate_has_expired` |
//! | CVE-2026-39395 | payload that is no JSON, a text, or of another predicate type | `tests/advisories/evidence.rs::rejects_a_payload_that_is_no_json_a_text_or_of_another_predicate_type`, `tests/advisories/attestations.rs::rejects_an_attestation_that_is_no_json_a_text_or_of_another_predicate_type` |
//! | GHSA-fx35-mq7g-6g98, CVE-2026-44310 | raw key for a certificate, empty certificate list | `tests/advisories/evidence.rs::rejects_a_raw_key_and_an_empty_list_where_a_certificate_belongs`, `tests/identities/pki.rs::rejects_every_forged_part` |
//! | CVE-2022-35930, CVE-2022-35929 | wanted predicate type absent, another valid | `tests/forgeries.rs::rejects_every_forged_part_of_a_keyless_bundle`, `tests/samples.rs::layouts_get_the_right_answer`, `tests/advisories/attestations.rs::rejects_where_only_another_predicate_type_is_attested`, `tests/advisories/attestations.rs::rejects_an_invalid_attestation_of_the_wanted_type_beside_a_valid_one_of_another` |
//! | GHSA-mhg6-2q2v-9h2c | attestation of another image, another algorithm, second subject | `tests/advisories/evidence.rs::accepts_the_image_as_second_of_several_subjects`, `tests/advisories/evidence.rs::rejects_the_images_digest_under_another_algorithm_or_name`, `tests/advisories/attestations.rs::accepts_an_attestation_of_the_image_among_others_and_rejects_one_of_others`, `tests/advisories/attestations.rs::rejects_an_attestation_that_names_the_images_digest_under_another_algorithm` |
//! | CVE-2024-55655 | integrated time that nothing signs | `tests/forgeries/missing.rs::rejects_evidence_of_the_wrong_kind_and_what_is_missing` |
//! | CVE-2026-49834 | one log, or one timestamp authority, twice toward a threshold | `tests/identities/thresholds.rs::rejects_two_entries_of_one_log_toward_a_threshold_of_two_logs`, `tests/identities/thresholds.rs::rejects_one_log_under_two_identifiers`, `tests/identities/thresholds.rs::rejects_two_timestamps_of_one_authority_toward_a_threshold_of_two`, `src/trust_root/distinct.rs::one_key_under_two_identifiers_is_one_log` |
//! | CVE-2026-54787 | log or authority key expired before the signing time | `tests/forgeries/missing.rs::rejects_what_the_trust_root_no_longer_or_does_not_cover`, `tests/identities/thresholds.rs::a_second_log_whose_window_is_over_never_counts` |
//! | CVE-2026-39984 | forged certificate first in a timestamp's bag | `tests/forgeries.rs::rejects_every_forged_part_of_a_keyless_bundle` |
//! | sigstore-rust audit | window of another timestamp authority, two signatures in an envelope, tampered trust root in the folder | `tests/advisories/evidence.rs::rejects_the_window_of_one_timestamp_authority_for_another`, `tests/advisories/evidence.rs::rejects_an_envelope_with_a_second_signature`, `tests/tuf/refresh.rs::ignores_a_folder_that_was_tampered_with` |
//! | CVE-2024-51746, CVE-2023-47122 | online search that matches in part, a log with a key of its own | `tests/rekor/forged.rs::rejects_entries_that_match_the_key_or_the_payload_only`, `tests/rekor/forged.rs::rejects_each_forged_part_of_an_entry_at_its_own_step`, `tests/rekor/forged.rs::rejects_a_rogue_log_with_a_key_of_its_own` |
//! | CVE-2026-44309 | names twice, payload encoded again | `tests/advisories/evidence.rs::rejects_a_payload_with_a_name_twice`, `tests/advisories/evidence.rs::rejects_a_bundle_with_a_name_twice`, `tests/advisories/evidence.rs::rejects_a_payload_that_was_encoded_again`, `tests/advisories/attestations.rs::rejects_an_attestation_with_a_name_twice` |
//! | CVE-2023-33199, CVE-2026-23831 | malformed log entry bodies | `tests/advisories/evidence.rs::rejects_malformed_log_entry_bodies_of_every_kind`, `tests/advisories/attestations.rs::rejects_malformed_log_entry_bodies_in_annotations` |
//! | CVE-2024-45395 | surplus log entries, timestamps, subjects | `tests/advisories/evidence.rs::rejects_surplus_log_entries_timestamps_and_subjects_before_looking_at_each`, `tests/advisories/attestations.rs::rejects_an_attestation_of_too_many_subjects_before_looking_at_each` |
//! | CVE-2022-29173 | older timestamp or snapshot of a trust root's repository | `tests/tuf/attacks.rs::rejects_versions_that_go_back`, `tests/tuf/refresh.rs::rejects_rollback_across_a_restart` |
//! | GHSA-3633-5h82-39pq, CVE-2026-23992 | one key counted twice, a threshold of zero | `tests/tuf/attacks.rs::counts_a_key_once_however_it_is_written`, `tests/tuf/attacks.rs::rejects_a_threshold_of_zero` |
//! | CVE-2024-47534, CVE-2026-23991 | overlapping delegations, malformed metadata | `tests/tuf/attacks.rs::rejects_malformed_metadata_of_every_role`, `tests/tuf/attacks.rs::rejects_bytes_that_are_no_metadata`, `tests/tuf/attacks.rs::overlapping_delegations_exchange_no_target` |
//! | CVE-2026-24137, CVE-2026-24686 | names that lead out of the folder | `tests/tuf/refresh.rs::writes_nothing_outside_its_folder`, `src/trust_root/tuf/name.rs::rejects_what_leads_elsewhere` |
//! | reported | rules that never end, overflow the stack or read a missing field | `src/conditions/cel/tests.rs::stops_what_would_take_for_ever`, `src/conditions/cel/tests.rs::no_text_overflows_the_stack`, `src/conditions/cel/tests.rs::missing_is_not_absorbed_by_accident`, `src/conditions/rego/tests.rs::stops_what_would_take_for_ever`, `src/conditions/rego/tests.rs::nothing_overflows_the_stack`, `tests/advisories/rules.rs::rejects_rules_that_never_end_within_their_budget`, `tests/advisories/rules.rs::rejects_rules_that_overflow_the_stack`, `tests/advisories/rules.rs::rejects_where_a_field_that_a_rule_reads_is_missing` |
//! | reported | rules over other bytes than those verified | `tests/forgeries/attestation.rs::the_statement_that_is_handed_on_is_the_one_that_was_signed`, `tests/advisories/rules.rs::rejects_what_only_an_attestation_says_that_was_not_verified`, `tests/advisories/rules.rs::rejects_a_payload_that_was_exchanged_for_one_that_meets_the_rule`, `tests/advisories/rules.rs::rules_over_all_that_was_verified_see_nothing_else` |
//! | CVE-2023-46737, CVE-2023-33958 | endless signatures, layers, referrers | `tests/advisories/registry.rs::rejects_a_signature_manifest_of_a_hundred_thousand_layers`, `tests/advisories/registry.rs::rejects_referrers_without_end`, `tests/registry/discovery.rs::surplus_signatures_are_cut_and_said_so`, `tests/advisories/memory.rs::a_hostile_registry_costs_little_memory` |
//! | CVE-2024-29902, CVE-2024-29903, CVE-2023-42813 to 42816 | huge, lying, compressed, slow and circling answers | `tests/advisories/registry.rs::rejects_a_signature_blob_of_ten_gib_announced_or_streamed`, `tests/advisories/registry.rs::gives_up_on_a_body_that_drips_in_time_to_say_so`, `tests/registry/hostile.rs::rejects_compressed_answers`, `tests/registry/addresses.rs::rejects_circles` |
//! | CVE-2022-47633, CVE-2023-47630 | other answers to HEAD, first and second GET | `tests/advisories/registry.rs::pins_the_digest_that_it_verified_whatever_later_answers_say`, `tests/advisories/registry.rs::rejects_a_digest_header_of_a_signed_image_on_other_bytes`, `tests/registry/resolve.rs::a_second_answer_of_the_registry_is_not_asked_for` |
//! | GHSA-2r43-6962-xcw5 | tag that moves | `tests/advisories/registry.rs::a_tag_that_moves_between_mutation_and_validation_gains_nothing` |
//! | CVE-2025-27403, GO-2026-6225 | credentials for lookalikes and foreign realms | `tests/advisories/registry.rs::rejects_a_token_service_on_another_host_and_tells_it_nothing`, `tests/advisories/registry.rs::sends_no_credential_to_a_host_that_is_named_alike`, `src/registry/credentials/tests.rs::rejects_hosts_that_only_look_alike` |
//! | CVE-2026-24117, CVE-2026-22772, CVE-2026-49478 | redirects into our own network, credentials across hosts, patterns that reach other hosts | `tests/advisories/registry.rs::rejects_redirects_to_link_local_addresses`, `tests/registry/addresses.rs::redirects_elsewhere_carry_no_credentials`, `tests/tuf/refresh.rs::follows_redirects_on_its_own_host_only`, `tests/rekor/misbehaving.rs::a_failing_log_is_indeterminate_and_not_remembered`, `tests/advisories/gatekeeping.rs::rejects_an_issuer_that_only_looks_like_the_trusted_one` |
//! | CVE-2026-32280 | 1,000 certificates, huge RSA keys, thousands of name constraints | `tests/advisories/evidence.rs::rejects_a_thousand_certificates_cheaply`, `tests/advisories/evidence.rs::rejects_huge_rsa_keys_in_certificates_cheaply`, `src/verify/certificate/tests.rs::chains_of_x509_limbo_get_their_verdict` |
//! | CVE-2025-29778 | each identity field alone denies | `src/policy/identity.rs::rejects_when_any_single_field_differs`, `src/policy/identity.rs::rejects_when_any_single_matcher_differs`, `src/policy/compile/form/tests.rs::each_part_of_a_github_workflow_alone_denies`, `src/policy/compile/form/tests.rs::each_part_of_a_gitlab_pipeline_alone_denies` |
//! | CVE-2023-2727 and others | ephemeral containers | `tests/advisories/gatekeeping.rs::rejects_an_unsigned_ephemeral_container`, `tests/chart/webhooks.rs::every_object_that_names_images_is_asked_about` |
//! | several | every kind and field, zero replicas | `tests/admission/workloads.rs::every_kind_and_every_image_field_is_judged`, `src/admission/review/tests.rs::judges_a_deployment_scaled_to_zero` |
//! | CVE-2023-34091, Portieris 0.14.3 | deletion timestamps, finalizers, owner references | `tests/advisories/gatekeeping.rs::a_forged_mark_of_approval_changes_nothing`, `src/admission/review/tests.rs::nothing_else_skips_the_check` |
//! | Portieris 0.14.2 | lookalike names | `tests/advisories/gatekeeping.rs::a_name_that_looks_like_a_trusted_one_is_not_covered` |
//! | reported | forged "verified" annotation or label | `tests/advisories/gatekeeping.rs::a_forged_mark_of_approval_changes_nothing` |
//! | CVE-2025-46342 | failing lister taken for "no policy" | `src/files/tests.rs::a_path_that_is_not_there_is_an_error_in_both_modes`, `tests/cli.rs::missing_policy_file_is_no_empty_policy`, `tests/watch.rs::nothing_is_published_before_everything_has_been_listed`, `tests/watch.rs::the_last_snapshot_outlives_the_api_server_and_the_loss_is_told` |
//! | CVE-2024-48921, GHSA-gg4x-fgg2-h9w9 | exceptions that add up | `tests/advisories/gatekeeping.rs::exceptions_never_add_up` |
//! | CVE-2026-22039 and others | a namespaced policy outside its namespace | `tests/advisories/gatekeeping.rs::a_namespaced_policy_neither_loosens_nor_reaches_elsewhere`, `src/policy/compile/tests/keys.rs::rejects_another_namespace_than_the_one_that_is_read` |
//! | reported | other spellings of a name | `tests/advisories/gatekeeping.rs::another_spelling_of_a_name_escapes_no_policy` |
//! | reported | all of nothing is a pass | `tests/advisories/gatekeeping.rs::an_image_that_no_policy_covers_is_called_uncovered` |
//! | reported | a policy that cannot be used disappears | `tests/advisories/gatekeeping.rs::a_policy_that_cannot_be_used_denies_and_stays_visible`, `tests/advisories/gatekeeping.rs::an_outage_leaves_no_policy_out` |
//! | reported | a listing error taken for "none there" | `tests/advisories/registry.rs::a_place_that_fails_spoils_no_good_signature_elsewhere`, `tests/advisories/registry.rs::a_format_that_is_not_accepted_never_stands_in_for_one_that_cannot_be_read`, `tests/advisories/registry.rs::what_cannot_be_read_is_of_no_format_that_is_refused`, `tests/advisories/registry.rs::what_a_hostile_registry_answers_is_never_an_outage` |
//! | reported | one signer twice, all signatures invalid | `tests/advisories/evidence.rs::rejects_one_signer_twice_toward_a_threshold_of_two`, `tests/advisories/evidence.rs::rejects_when_every_one_of_many_signatures_is_invalid` |
//! | reported | objects that cannot be read, patches beyond images | `tests/advisories/gatekeeping.rs::rejects_objects_that_cannot_be_read`, `src/workload/tests.rs::patches_reach_image_fields_only` |
//! | reported | caches that skip policies or cross tenants | `tests/advisories/gatekeeping.rs::an_earlier_admission_answers_no_later_question`, `tests/registry/auth.rs::one_tenant_never_uses_another_tenants_authorization`, `tests/registry/tenants.rs::a_tenant_gains_nothing_from_anothers_success` |
//! | reported | two policies, one that warns and one that enforces | `tests/advisories/gatekeeping.rs::a_policy_that_warns_neither_softens_nor_hides_one_that_enforces` |
//! | reported | the first of 50 callers goes away | `tests/registry/auth.rs::the_first_of_many_callers_may_give_up` |
//! | reported | patterns of pathological cost | `src/policy/pattern.rs::rejects_patterns_that_break_out_or_cost_too_much` |
//! | Portieris 0.14.2 | tests that silently no longer run | `tests/advisories/covered.rs::the_build_counts_the_tests_that_ran` |
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]

#[path = "support/fake_registry.rs"]
mod fake_registry;
#[path = "support/gate.rs"]
mod gate;
#[path = "support/policy.rs"]
mod policy;
#[path = "support/review.rs"]
mod review;
#[path = "support/virtual_sigstore.rs"]
mod virtual_sigstore;

#[path = "advisories/attestations.rs"]
mod attestations;
#[path = "advisories/covered.rs"]
mod covered;
#[path = "advisories/evidence.rs"]
mod evidence;
#[path = "advisories/gatekeeping.rs"]
mod gatekeeping;
#[path = "advisories/memory.rs"]
mod memory;
#[path = "advisories/registry.rs"]
mod registry;
#[path = "advisories/rules.rs"]
mod rules;
