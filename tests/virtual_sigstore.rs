#[path = "support/virtual_sigstore.rs"]
mod virtual_sigstore;
