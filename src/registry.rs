//! Evidence from OCI registries and layout folders.
use std::str::FromStr;
use std::time::Instant;

use crate::evidence::Evidence;
use crate::evidence::EvidenceQuery;
use crate::evidence::FetchEvidence;
use crate::image::Digest;
use crate::image::ImageRef;
use crate::verdict::Failure;

/// Stand-in.
#[derive(Debug, thiserror::Error)]
#[error("stand-in")]
pub struct StandIn;

/// Stand-in.
#[derive(Debug, Default)]
pub struct RegistryOptions {
    /// Hosts.
    pub allow_http: Vec<String>,
}

/// Stand-in.
#[derive(Debug)]
pub struct Keychain;

impl Keychain {
    /// Stand-in.
    pub fn anonymous() -> Self {
        Self
    }

    /// Stand-in.
    pub fn from_docker_config(_bytes: &[u8]) -> Result<Self, StandIn> {
        Err(StandIn)
    }
}

/// Stand-in.
#[derive(Debug)]
pub struct Registry;

impl Registry {
    /// Stand-in.
    pub fn new(_options: RegistryOptions, _keychain: Keychain) -> Result<Self, StandIn> {
        Ok(Self)
    }
}

/// Stand-in.
#[derive(Debug)]
pub struct LayoutRef;

impl FromStr for LayoutRef {
    type Err = StandIn;

    fn from_str(_text: &str) -> Result<Self, Self::Err> {
        Err(StandIn)
    }
}

/// Stand-in.
#[derive(Debug)]
pub struct Layout(ImageRef);

impl Layout {
    /// Stand-in.
    pub fn open(_reference: &LayoutRef) -> Result<Self, StandIn> {
        Err(StandIn)
    }

    /// Stand-in.
    pub fn image(&self) -> &ImageRef {
        &self.0
    }
}

macro_rules! stand_in {
    ($name:ident) => {
        impl FetchEvidence for $name {
            async fn resolve(&self, _: &ImageRef, _: Instant) -> Result<Digest, Failure> {
                todo!()
            }

            async fn fetch(&self, _: &EvidenceQuery, _: Instant) -> Evidence {
                todo!()
            }
        }
    };
}
stand_in!(Registry);
stand_in!(Layout);
