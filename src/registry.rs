//! Evidence from OCI registries and layout folders.
