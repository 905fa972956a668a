//! The directories on the way to a file: renaming any of them may bring another file.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    fs::{self, Metadata},
    path::{Component, Path, PathBuf},
};

/// Links that are followed, as Linux does.
const MAX_LINKS: usize = 40;
/// Whether directories are watched for their own names alone. Elsewhere such a watch costs a report
/// of all that happens below (macOS), or keeps the directory from being renamed (Windows).
const WHOLE_WAY: bool = cfg!(any(target_os = "android", target_os = "linux"));

/// Device and inode: a name may pass from one directory to another. `None` where there are none.
pub(super) type Identity = Option<(u64, u64)>;

/// From the root to the file, by way of every link. The directories are themselves without links.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Way(BTreeMap<PathBuf, Directory>);

#[derive(Debug, PartialEq)]
struct Directory {
    identity: Identity,
    /// It holds the file, a link, or what is missing: whatever happens in it may be a change.
    holds: bool,
}

impl Way {
    /// As it is now. Does I/O.
    pub(super) fn to(path: &Path) -> Self {
        let mut way = Self::default();
        let Ok(path) = std::path::absolute(path) else { return way };
        let mut current = PathBuf::new();
        let mut rest = steps(&path);
        let mut links = 0;
        while let Some(step) = rest.pop_front() {
            if step == ".." {
                current.pop();
                continue;
            }
            let next = current.join(&step);
            match fs::symlink_metadata(&next) {
                Ok(met) if met.is_symlink() && links < MAX_LINKS => {
                    links += 1;
                    way.holds(&current);
                    let Ok(target) = fs::read_link(&next) else { return way };
                    if target.has_root() {
                        current = PathBuf::new();
                    }
                    let mut steps = steps(&target);
                    steps.append(&mut rest);
                    rest = steps;
                }
                Ok(met) if met.is_dir() => {
                    let found = Directory { identity: identity(&met), holds: false };
                    way.0.entry(next.clone()).or_insert(found);
                    current = next;
                }
                // The file, or what is missing on the way to it.
                _ => {
                    way.holds(&current);
                    return way;
                }
            }
        }
        way
    }

    fn holds(&mut self, directory: &Path) {
        if let Some(directory) = self.0.get_mut(directory) {
            directory.holds = true;
        }
    }

    /// The directories to watch, those above before those below.
    pub(super) fn watched(&self) -> impl Iterator<Item = (&Path, Identity)> {
        // Nobody renames the root.
        let wanted = |path: &Path, holds: bool| holds || (WHOLE_WAY && path.parent().is_some());
        self.0
            .iter()
            .filter(move |(path, directory)| wanted(path, directory.holds))
            .map(|(path, directory)| (path.as_path(), directory.identity))
    }

    /// The directories in which the file, or a link on the way to it, may be swapped; of what is
    /// missing, the nearest that is there.
    pub(super) fn holders(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter(|(_, directory)| directory.holds).map(|(path, _)| path.as_path())
    }

    /// Whether it is one of the directories.
    pub(super) fn passes(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    /// Whether it is only a neighbour of one of the directories.
    pub(super) fn passes_by(&self, path: &Path) -> bool {
        let above = path.parent().and_then(|above| self.0.get(above));
        above.is_some_and(|above| !above.holds) && !self.passes(path)
    }
}

#[cfg(unix)]
fn identity(met: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    Some((met.dev(), met.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {
    None
}

fn steps(path: &Path) -> VecDeque<OsString> {
    let steps = path.components().filter(|step| !matches!(step, Component::CurDir));
    steps.map(|step| step.as_os_str().to_owned()).collect()
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn root(dir: &tempfile::TempDir) -> PathBuf {
        fs::canonicalize(dir.path()).unwrap()
    }

    #[test]
    fn every_link_on_the_way_has_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(&dir);
        for folder in ["app", "config", "config/v1"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        fs::write(root.join("config/v1/mesh.yaml"), "").unwrap();
        symlink("v1", root.join("config/now")).unwrap();
        symlink("../config/now/mesh.yaml", root.join("app/mesh.yaml")).unwrap();
        symlink(root.join("app"), root.join("link")).unwrap();
        let holders = |path: &str, wanted: &[&str]| {
            let wanted: Vec<PathBuf> = wanted.iter().map(|it| root.join(it)).collect();
            let wanted: Vec<PathBuf> = wanted.iter().map(|it| it.components().collect()).collect();
            assert!(Way::to(&root.join(path)).holders().eq(&wanted), "{path}");
        };
        holders("link/mesh.yaml", &["", "app", "config", "config/v1"]);
        fs::remove_dir_all(root.join("config/v1")).unwrap();
        holders("app/mesh.yaml", &["app", "config"]);
    }

    #[test]
    fn links_in_a_circle_end() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(&dir);
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert!(Way::to(&root.join("a")).holders().eq([root]));
    }

    #[test]
    fn a_directory_of_the_same_name_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(&dir);
        fs::create_dir_all(root.join("a/conf")).unwrap();
        fs::create_dir_all(root.join("b/conf")).unwrap();
        let path = root.join("a/conf/mesh.yaml");
        let before = Way::to(&path);
        assert_eq!(before, Way::to(&path));
        fs::rename(root.join("a"), root.join("c")).unwrap();
        fs::rename(root.join("b"), root.join("a")).unwrap();
        let after = Way::to(&path);
        assert_ne!(before, after);
        assert!(before.holders().eq(after.holders()));
    }

    #[test]
    fn what_lies_beside_the_way_is_passed_by() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(&dir);
        fs::create_dir_all(root.join("a/conf")).unwrap();
        let way = Way::to(&root.join("a/conf/mesh.yaml"));
        for beside in ["log", "a/log"] {
            assert!(way.passes_by(&root.join(beside)), "{beside}");
        }
        for on_it in ["a", "a/conf", "a/conf/mesh.yaml", "a/conf/next.yaml"] {
            assert!(!way.passes_by(&root.join(on_it)), "{on_it}");
        }
    }
}
