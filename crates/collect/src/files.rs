//! Mapped files, one figure a file.

use offheap_model::{FileFigure, FileKind};
use offheap_target::Vma;
use std::collections::{HashMap, HashSet};

/// What kind of file a mapping is of; `None` for anonymous memory. `has_text` says whether any
/// mapping of the same file is executable: only that makes a `.so` of a file, whatever its name.
pub fn kind(vma: &Vma, has_text: bool) -> Option<FileKind> {
    let path = vma.path.as_str();
    if !vma.is_file() {
        return None;
    }
    Some(if path.starts_with("/memfd:") {
        FileKind::Memfd
    } else if path.starts_with("/dev/shm/") || path.starts_with("/SYSV") || path == "/dev/zero" {
        FileKind::Shm
    } else if path.starts_with("/dev/") {
        FileKind::Device
    } else if path.ends_with(".jsa") {
        FileKind::CdsArchive
    } else if has_text {
        FileKind::Library
    } else {
        FileKind::Data
    })
}

/// The files of `vmas`, the one with most resident bytes first.
pub fn files(vmas: &[Vma]) -> Vec<FileFigure> {
    let text = with_text(vmas);
    let mut by_file: HashMap<(&str, u64, bool), FileFigure> = HashMap::new();
    for vma in vmas {
        let Some(kind) = kind(vma, text.contains(&identity(vma))) else { continue };
        let figure =
            by_file.entry((vma.path.as_str(), vma.inode, vma.deleted)).or_insert_with(|| FileFigure {
                path: vma.path.clone(),
                kind,
                deleted: vma.deleted,
                mappings: 0,
                virtual_bytes: 0,
                rss_bytes: 0,
                text_bytes: 0,
                dirty_bytes: 0,
            });
        figure.mappings += 1;
        figure.virtual_bytes += vma.len();
        figure.rss_bytes += vma.rss;
        figure.dirty_bytes += vma.anonymous;
        if vma.exec {
            figure.text_bytes += vma.rss;
        }
    }
    let mut files: Vec<FileFigure> = by_file.into_values().collect();
    files.sort_by(|a, b| b.rss_bytes.cmp(&a.rss_bytes).then_with(|| a.path.cmp(&b.path)));
    files
}

/// A file by device and inode: two libraries may have one name in two namespaces.
pub type Identity = ((u32, u32), u64);

/// The identity of the file behind `vma`.
pub fn identity(vma: &Vma) -> Identity {
    (vma.device, vma.inode)
}

/// The files that have an executable mapping.
pub fn with_text(vmas: &[Vma]) -> HashSet<Identity> {
    vmas.iter().filter(|vma| vma.exec && vma.inode != 0).map(identity).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_mapped_in_parts_is_one_figure_and_deleted_ones_stay_apart() {
        let part = |inode, exec, deleted, path: &str| Vma {
            start: 0,
            end: 0x2000,
            inode,
            exec,
            deleted,
            path: path.to_owned(),
            rss: 0x1000,
            ..Vma::default()
        };
        let vmas = [
            part(1, true, false, "/usr/lib/libx.so"),
            part(1, false, false, "/usr/lib/libx.so"),
            part(2, false, true, "/tmp/data"),
            part(3, false, false, "/tmp/data"),
            part(4, false, true, "/memfd:java_heap"),
        ];
        let files = files(&vmas);
        let lib = files.iter().find(|file| file.path.ends_with("libx.so")).unwrap();
        assert_eq!(
            (lib.kind, lib.mappings, lib.rss_bytes, lib.text_bytes),
            (FileKind::Library, 2, 0x2000, 0x1000)
        );
        assert_eq!(files.iter().filter(|file| file.kind == FileKind::Data).count(), 2);
        assert_eq!(files.iter().filter(|file| file.deleted).count(), 2);
        assert_eq!(files.iter().filter(|file| file.kind == FileKind::Memfd).count(), 1);
    }
}
