//! Signers of every kind, and another of the same kind for each.
use anyhow::Result;
use serde_json::Value;
use serde_json::json;

use super::super::support::COPY;
use super::super::support::RELEASE;
use super::super::support::keyless;
use crate::sigstore::Identity;
use crate::sigstore::KeyKind;
use crate::sigstore::Signer;
use crate::world::World;

/// Who signs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Who {
    /// The holder of `cosign`'s own kind of key.
    EcdsaP256,
    /// The holder of such a key.
    EcdsaP384,
    /// The holder of such a key.
    Ed25519,
    /// The holder of such a key.
    Rsa,
    /// Somebody with an e-mail address.
    Email,
    /// A user named by a URI.
    Uri,
    /// A workflow of a repository on GitHub.
    Workflow,
}

use Who::EcdsaP256;
use Who::EcdsaP384;
use Who::Ed25519;
use Who::Email;
use Who::Rsa;
use Who::Uri;
use Who::Workflow;

impl Who {
    /// The one who signs.
    pub fn signer(self) -> Signer {
        match self.identities() {
            Some([ours, _]) => Signer::Identity(ours),
            None => Signer::Key(format!("{self:?}-ours")),
        }
    }

    /// Whom a policy trusts: the one who signs, or another of the same kind.
    pub fn authority(self, world: &World, other: bool) -> Result<Value> {
        Ok(match self.identities() {
            Some([ours, theirs]) => keyless(world, if other { &theirs } else { &ours }),
            None => {
                let name = format!("{self:?}-{}", if other { "theirs" } else { "ours" });
                json!({ "name": "key", "key": { "data": world.sigstore.public_key(&name)? } })
            }
        })
    }

    /// The step at which a policy that trusts another of the same kind refuses.
    pub const fn step(self) -> &'static str {
        match self.identities() {
            Some(_) => "step identity",
            None => "step signature",
        }
    }

    /// The reason that it gives.
    pub const fn code(self) -> &'static str {
        match self.identities() {
            Some(_) => "[subject-mismatch]",
            None => "[signature-invalid]",
        }
    }

    /// The one who signs keyless, and another of the kind; a key's holder is not named.
    pub const fn identities(self) -> Option<[Identity; 2]> {
        match self {
            EcdsaP256 | EcdsaP384 | Ed25519 | Rsa => None,
            Email => Some([Identity::Email("alice@e2e.test"), Identity::Email("bob@e2e.test")]),
            Uri => Some([Identity::Uri("1"), Identity::Uri("2")]),
            Workflow => Some([RELEASE, COPY]),
        }
    }

    /// Makes the key that signs and another of its kind, unless they are there.
    pub async fn make_keys(self, world: &World) -> Result<()> {
        for whose in ["ours", "theirs"] {
            let name = format!("{self:?}-{whose}");
            if world.sigstore.public_key(&name).is_ok() {
                continue;
            }
            match self {
                EcdsaP384 => world.sigstore.key_of(&name, KeyKind::EcdsaP384).await?,
                Ed25519 => world.sigstore.key_of(&name, KeyKind::Ed25519).await?,
                Rsa => world.sigstore.key_of(&name, KeyKind::Rsa).await?,
                EcdsaP256 | Email | Uri | Workflow => world.sigstore.key(&name).await?,
            };
        }
        Ok(())
    }
}
