//! Folders in which nobody else can exchange a file: from there a process can be made to load what
//! was put there a moment ago.

use crate::foreign::{self, Links, Refused};
use rustix::fs::{FileType, Mode, Stat, fstat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Why a file in a folder is not safe from others.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unguarded {
    /// Others may rename and remove what lies in it.
    #[error(
        "{} may write to {place}, which has no sticky bit, so a file below it can be exchanged",
        if *.everybody { "everybody" } else { "its group" }
    )]
    Open {
        /// The folder, or one above it.
        place: String,
        /// Everybody, not only its group.
        everybody: bool,
    },
    /// It is somebody else's, who may do there as he likes.
    #[error("{place} belongs to user {owner}, who can exchange a file below it")]
    Owned {
        /// The folder, or one above it.
        place: String,
        /// Whose it is.
        owner: u32,
    },
    /// It can't be looked at.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Holds the folder `path` below `root`, if nobody but `user` and root can exchange a file there,
/// which goes for each folder that the path leads through: the links in it too.
///
/// Who owns `root` itself is trusted as root is: in a container with users of its own that is its
/// root, and whoever it is, he could exchange the C library as well.
///
/// # Errors
/// See [`Unguarded`].
pub fn guarded(root: impl AsFd, path: impl AsRef<Path>, user: u32) -> Result<OwnedFd, Unguarded> {
    let trusted = [0, user, stat(root.as_fd())?.st_uid];
    let path = path.as_ref();
    let check = |folder: BorrowedFd<'_>, place: &str| judge(&stat(folder)?, &trusted, place);
    let held = foreign::walk(root.as_fd(), path, Links::Followed, &mut { check })?;
    let found = stat(held.as_fd())?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return Err(Refused::Kind("no directory").into());
    }
    judge(&found, &trusted, &path.to_string_lossy())?;
    Ok(held)
}

/// As [`guarded`], of a folder in our own file system: for a program that we start ourselves.
///
/// # Errors
/// See [`Unguarded`].
pub fn guarded_here(path: impl AsRef<Path>) -> Result<OwnedFd, Unguarded> {
    let root = foreign::own_root().map_err(Refused::from)?;
    let path = std::path::absolute(path).map_err(Refused::from)?;
    guarded(root, path, rustix::process::geteuid().as_raw())
}

fn stat(folder: BorrowedFd<'_>) -> Result<Stat, Refused> {
    Ok(fstat(folder)?)
}

/// A sticky folder's files can be renamed only by their owner and the folder's. Root's group is
/// root.
fn judge(folder: &Stat, trusted: &[u32], place: &str) -> Result<(), Unguarded> {
    let place = place.to_owned();
    if !trusted.contains(&folder.st_uid) {
        return Err(Unguarded::Owned { place, owner: folder.st_uid });
    }
    let mode = Mode::from_raw_mode(folder.st_mode);
    let everybody = mode.contains(Mode::WOTH);
    let group = mode.contains(Mode::WGRP) && folder.st_gid != 0;
    if (everybody || group) && !mode.contains(Mode::SVTX) {
        return Err(Unguarded::Open { place, everybody });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    /// A root with `outer/inner`, of the given permissions.
    fn tree(outer: u32, inner: u32) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("outer/inner")).unwrap();
        fs::set_permissions(root.path().join("outer"), Permissions::from_mode(outer)).unwrap();
        fs::set_permissions(root.path().join("outer/inner"), Permissions::from_mode(inner)).unwrap();
        root
    }

    fn look(root: &tempfile::TempDir, path: &str) -> Result<OwnedFd, Unguarded> {
        let held = fs::File::open(root.path()).unwrap();
        guarded(&held, path, rustix::process::geteuid().as_raw())
    }

    #[test]
    fn a_sticky_or_private_folder_is_safe_if_all_above_it_are() {
        for (outer, inner) in
            [(0o755, 0o755), (0o755, 0o1777), (0o1777, 0o700), (0o1777, 0o1777), (0o711, 0o2755)]
        {
            look(&tree(outer, inner), "/outer/inner")
                .unwrap_or_else(|why| panic!("{outer:o} {inner:o}: {why}"));
        }
        for (outer, inner, wrong) in [
            (0o755, 0o777, "/outer/inner"),
            (0o755, 0o2777, "/outer/inner"),
            (0o777, 0o700, "/outer"),
            (0o757, 0o1777, "/outer"),
        ] {
            let refused = look(&tree(outer, inner), "/outer/inner");
            assert!(
                matches!(&refused, Err(Unguarded::Open { place, everybody: true }) if place == wrong),
                "{outer:o} {inner:o}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_link_is_as_safe_as_the_folder_it_lies_in() {
        let root = tree(0o755, 0o755);
        fs::create_dir(root.path().join("open")).unwrap();
        symlink("/outer/inner", root.path().join("good")).unwrap();
        symlink("../outer/inner", root.path().join("open/bad")).unwrap();
        fs::set_permissions(root.path().join("open"), Permissions::from_mode(0o777)).unwrap();
        look(&root, "/good").unwrap();
        let refused = look(&root, "/open/bad");
        assert!(matches!(&refused, Err(Unguarded::Open { place, .. }) if place == "/open"), "{refused:?}");
        // Out of the root it does not lead.
        symlink("/proc", root.path().join("out")).unwrap();
        assert!(matches!(look(&root, "/out"), Err(Unguarded::Refused(Refused::System(_)))));
    }

    #[test]
    fn a_folder_of_another_user_or_his_group_is_not_safe() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: this test needs root");
            return;
        }
        let root = tree(0o755, 0o755);
        chown(root.path().join("outer"), Some(4711), None).unwrap();
        let refused = look(&root, "/outer/inner");
        assert!(matches!(&refused, Err(Unguarded::Owned { owner: 4711, .. })), "{refused:?}");
        let held = fs::File::open(root.path()).unwrap();
        guarded(&held, "/outer/inner", 4711).expect("it is the target's own");
        // Who owns the root owns all.
        chown(root.path(), Some(4711), None).unwrap();
        look(&root, "/outer/inner").expect("the root's owner is trusted");

        let root = tree(0o755, 0o775);
        look(&root, "/outer/inner").expect("root's group is root");
        chown(root.path().join("outer/inner"), None, Some(4711)).unwrap();
        let refused = look(&root, "/outer/inner");
        assert!(matches!(&refused, Err(Unguarded::Open { everybody: false, .. })), "{refused:?}");
    }
}
