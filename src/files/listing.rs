//! Which files are read.
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use super::FileProblem;

/// Most files in all folders together: a ConfigMap of 1 MiB holds fewer, and reading more would
/// hold up a reload.
const MAX_FILES: usize = 1024;

/// The files of these paths: files as they are, folders as their policy files by name.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, FileProblem> {
    let mut files = Vec::new();
    for path in paths {
        let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if metadata.is_dir() {
            files.extend(folder(path)?);
        } else {
            files.push(path.clone());
        }
        if files.len() > MAX_FILES {
            let problem = format!("there are more than {MAX_FILES} files");
            return Err(FileProblem::of_file(path, problem, "fewer, larger files"));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    files.retain(|file| seen.insert(file.clone()));
    Ok(files)
}

fn folder(path: &Path) -> Result<Vec<PathBuf>, FileProblem> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| unreadable(path, &error))? {
        let file = entry.map_err(|error| unreadable(path, &error))?.path();
        // Kubernetes mounts a ConfigMap as `policy.yaml -> ..data/policy.yaml`, with `..data` and
        // the folder that it points to beside it. A name that is not Unicode is never hidden.
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let ending = file.extension().map(|ending| ending.to_ascii_lowercase());
        let ours =
            ending.is_some_and(|ending| ending == "yaml" || ending == "yml" || ending == "json");
        if !hidden && ours && !file.is_dir() {
            files.push(file);
        }
        if files.len() > MAX_FILES {
            let problem = format!("there are more than {MAX_FILES} files");
            return Err(FileProblem::of_file(path, problem, "fewer, larger files"));
        }
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, error: &std::io::Error) -> FileProblem {
    let wanted = "a YAML file, or a folder of YAML files, that may be read";
    FileProblem::of_file(path, format!("it cannot be read: {error}"), wanted)
}

/// The bytes of a regular file, at most `limit`.
pub(super) fn read(file: &Path, limit: u64) -> Result<String, FileProblem> {
    use std::io::Read as _;
    // Asked before opening: opening a pipe would wait for a writer.
    let metadata = fs::metadata(file).map_err(|error| unreadable(file, &error))?;
    if !metadata.is_file() {
        return Err(FileProblem::of_file(file, "it is no regular file", "a regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(file)
        .and_then(|open| open.take(limit.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|error| unreadable(file, &error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
        let problem = format!("it has more than {limit} bytes");
        return Err(FileProblem::of_file(file, problem, "smaller files"));
    }
    String::from_utf8(bytes)
        .map_err(|_| FileProblem::of_file(file, "it is not UTF-8", "a text in UTF-8"))
}
