//! Pull credentials of tenants.
