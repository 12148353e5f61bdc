//! Puts a received checkpoint in the place of a vnode.

use std::fs;
use std::path::Path;

use crate::halt::Halt;

fn disk<'a>(doing: &'a str, path: &'a Path) -> impl Fn(std::io::Error) -> Halt + 'a {
    move |error| Halt::disk(format!("{doing} {}", path.display()), error)
}

/// Syncs a directory and everything in it.
fn sync_all(path: &Path) -> Result<(), Halt> {
    for entry in fs::read_dir(path).map_err(disk("list", path))? {
        let entry = entry.map_err(disk("list", path))?.path();
        if entry.is_dir() {
            sync_all(&entry)?;
        } else {
            fs::File::open(&entry).and_then(|file| file.sync_all()).map_err(disk("sync", &entry))?;
        }
    }
    sync_dir(path)
}

fn sync_dir(path: &Path) -> Result<(), Halt> {
    fs::File::open(path).and_then(|dir| dir.sync_all()).map_err(disk("sync", path))
}

/// Where the directory that is replaced waits for its removal.
fn aside(to: &Path) -> std::path::PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_os_string();
    name.push(".replaced");
    to.with_file_name(name)
}

/// Moves the directory `from` to `to`. A crash leaves the old one, the new one, or the old one aside: see [`recover`].
pub(crate) fn install_files(from: &Path, to: &Path) -> Result<(), Halt> {
    sync_all(from)?;
    let old = aside(to);
    if old.exists() {
        fs::remove_dir_all(&old).map_err(disk("remove", &old))?;
    }
    if to.exists() {
        fs::rename(to, &old).map_err(disk("move", to))?;
    }
    fs::rename(from, to).map_err(disk("move", from))?;
    if let Some(parent) = to.parent() {
        sync_dir(parent)?;
    }
    if let Some(parent) = from.parent() {
        sync_dir(parent)?;
    }
    if old.exists() {
        fs::remove_dir_all(&old).map_err(disk("remove", &old))?;
    }
    Ok(())
}

/// Takes up what a crash in the middle of [`install_files`] left: the old directory, unless the new one is there.
pub(crate) fn recover(dir: &Path) -> Result<(), Halt> {
    let old = aside(dir);
    if !old.exists() {
        return Ok(());
    }
    if dir.exists() {
        fs::remove_dir_all(&old).map_err(disk("remove", &old))
    } else {
        fs::rename(&old, dir).map_err(disk("move", &old))
    }
}
