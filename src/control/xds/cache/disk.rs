//! Reading and writing: it blocks, and runs where that is allowed.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A larger file was not written by this.
const LARGEST: u64 = 1 << 30;
/// What a process left behind that died while it wrote is removed after so long.
const LEFT: Duration = Duration::from_secs(60);
const TEMPORARY: &str = ".tmp";

/// All of the file; nothing if it is not there.
///
/// # Errors
///
/// Why it is not read.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let named = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    // A pipe would be waited for; a link is another's word for where to look.
    if !named.is_file() {
        return Err("it is no file".to_owned());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    // What is read is what was looked at, whatever has come in its place.
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        if (named.dev(), named.ino()) != (metadata.dev(), metadata.ino()) {
            return Err("another file has come in its place meanwhile".to_owned());
        }
        let mode = metadata.permissions().mode() & 0o777;
        // Whoever can write it decides where calls go.
        if mode & 0o022 != 0 {
            return Err(format!("others may write it (its mode is {mode:03o}; make it 600)"));
        }
        let owner = metadata.uid();
        let own = own_id(path).map_err(|error| {
            format!("whether it is this process's own cannot be told: no file beside it: {error}")
        })?;
        if owner != own && owner != 0 {
            return Err(format!("it is another user's ({owner}, and this process is {own})"));
        }
    }
    if metadata.len() > LARGEST {
        return Err(format!("it is larger than {LARGEST} bytes"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(Some(bytes))
}

/// Whose the files are that this process makes beside it.
#[cfg(unix)]
fn own_id(path: &Path) -> io::Result<u32> {
    use std::{
        hash::{BuildHasher as _, RandomState},
        os::unix::fs::MetadataExt as _,
    };
    let beside = beside(path, RandomState::new().hash_one(path))?;
    let own = create(&beside).and_then(|file| file.metadata());
    drop(fs::remove_file(&beside));
    Ok(own?.uid())
}

/// Puts the bytes in the place of the file, whole or not at all, for nobody else to read.
///
/// # Errors
///
/// Those of the file system; then the file is as it was.
pub(super) fn write(path: &Path, bytes: &[u8], random: u64) -> io::Result<()> {
    let beside = beside(path, random)?;
    let written = create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&beside, path)
    });
    if written.is_err() {
        // Nothing is left of it, as far as that can be.
        drop(fs::remove_file(&beside));
        return written;
    }
    // The name, too, is to outlive a loss of power; where that cannot be asked for, the file is there.
    if let Some(folder) = folder(path)
        && let Ok(folder) = File::open(folder)
    {
        drop(folder.sync_all());
    }
    Ok(())
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

/// Removes what processes left behind that died while they wrote.
pub(super) fn tidy(path: &Path) {
    let (Some(folder), Some(name)) = (folder(path), path.file_name()) else { return };
    let prefix = format!(".{}.", name.to_string_lossy());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(&prefix) || !name.ends_with(TEMPORARY) {
            continue;
        }
        let age = entry
            .metadata()
            .and_then(|it| it.modified())
            .map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
        if age.is_ok_and(|age| age > LEFT) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

fn beside(path: &Path, random: u64) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".{random:016x}{TEMPORARY}"));
    Ok(path.with_file_name(beside))
}

fn folder(path: &Path) -> Option<&Path> {
    let folder = path.parent()?;
    Some(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
}
