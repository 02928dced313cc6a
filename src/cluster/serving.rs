//! The serving certificate in a Secret, and the `caBundle` that goes with it.
