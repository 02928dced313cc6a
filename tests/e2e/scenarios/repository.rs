//! The run's own TUF repository, as a client of others finds it.
use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;

use crate::process::Done;
use crate::tuf::TufRepository;
use crate::world::World;

/// `cosign` that knows the first root alone follows two rotations, gets the trusted root, and
/// refuses what has expired.
pub async fn of_tuf_is_followed_by_cosign(world: &mut World) -> Result<()> {
    let target = world.sigstore.trusted_root_file();
    let targets = [("trusted_root.json", target.as_path())];
    let repository = TufRepository::start(&world.folder("tuf")?, &targets).await?;
    repository.rotate().await?;
    repository.rotate().await?;
    for (version, home) in [(1, "first"), (3, "third")] {
        let home = world.folder(&format!("tuf-client-{home}"))?;
        initialize(world, &repository, version, &home).await?.success()?;
        let kept =
            home.join(".sigstore/root").join(repository.address().to_string().replace(':', "-"));
        let read = |file: &str| std::fs::read(kept.join(file)).with_context(|| file.to_owned());
        let root: Value = serde_json::from_slice(&read("root.json")?)?;
        ensure!(root["signed"]["version"] == 3, "wanted root 3, found {root}");
        let got = read("targets/trusted_root.json")?;
        ensure!(got == std::fs::read(&target)?, "another trusted root came");
    }
    let home = world.folder("tuf-client-first")?;
    for role in ["timestamp", "snapshot", "targets", "root"] {
        repository.expire(role).await?;
        let error = initialize(world, &repository, 1, &home).await?.failure()?;
        let wanted = format!("failed to decode {role}.json: expired at");
        ensure!(error.contains(&wanted), "wanted {wanted:?} in: {error}");
        repository.publish(&targets).await?;
    }
    repository.rotate().await?;
    initialize(world, &repository, 1, &home).await?.success().map(drop)
}

async fn initialize(
    world: &World,
    repository: &TufRepository,
    root: u32,
    home: &Path,
) -> Result<Done> {
    let root = repository.root(root).display().to_string();
    let arguments = ["initialize", "--mirror", &repository.url(), "--root", &root];
    world.sigstore.cosign_at(home, &arguments).await
}
