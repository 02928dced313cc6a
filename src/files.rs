//! Policies and trust roots from YAML files.
