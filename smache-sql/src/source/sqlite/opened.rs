//! Which file it is that a name leads to.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// A file that was opened by its name.
#[derive(Debug)]
pub(super) struct OpenedFile {
    /// Absolute, since a program may change its working folder.
    path: PathBuf,
    /// The file at the first open.
    first: OnceLock<Identity>,
}

/// Where the system keeps a file; a copy is kept elsewhere.
type Identity = (u64, u64);

impl OpenedFile {
    pub(super) fn of(path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { path, first: OnceLock::new() }
    }

    /// Notes the present file, the first time. Afterwards, because some systems move a file when it is opened.
    pub(super) fn note(&self) {
        if let Some(present) = identity(&self.path) {
            self.first.get_or_init(|| present);
        }
    }

    /// Whether the name still leads to the same file, as far as the system tells. A database in memory never was a
    /// file, and never is another one.
    pub(super) fn is_there(&self) -> bool {
        self.first.get().is_none_or(|first| identity(&self.path).as_ref() == Some(first))
    }
}

fn identity(path: &Path) -> Option<Identity> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}
