//! Conditions of our resources.
