//! `admission.k8s.io/v1` AdmissionReview: bytes to [`super::Request`], [`super::Decision`] to bytes.
