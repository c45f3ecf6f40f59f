//! A file's answers to `doctor`.

use smache_core::{Examination, Result};

use super::link::Link;
use crate::{
    cells::Cells,
    examine::sqlite::{File, file_system},
};

const ASK: &str =
    "SELECT j.journal_mode, s.synchronous, sqlite_version() FROM pragma_journal_mode j, pragma_synchronous s";
const USED: &str = "SELECT c.page_count - f.freelist_count, s.page_size \
     FROM pragma_page_count c, pragma_freelist_count f, pragma_page_size s";

impl Link {
    /// Asks how the file is kept.
    pub(super) async fn examine(&self) -> Result<Examination> {
        let asked = self.read(ASK, |query| query).await?;
        let used = self.read(USED, |query| query).await?;
        let failed = |error| self.failed(error);
        let mut file = File { synchronous: 2, ..File::default() };
        let mut version = String::new();
        if let Some(row) = asked.first() {
            file.journal = row.text(0).map_err(failed)?.unwrap_or_default();
            file.synchronous = row.int(1).map_err(failed)?.unwrap_or(2);
            version = row.text(2).map_err(failed)?.unwrap_or_default();
        }
        if let (Some(row), Some(bytes)) = (used.first(), self.max_bytes()) {
            let pages = row.int(0).map_err(failed)?;
            let size = row.int(1).map_err(failed)?;
            let most = i64::try_from(bytes).unwrap_or(i64::MAX) / size.unwrap_or(4_096).max(1);
            file.used = pages.map(|pages| (pages, most));
        }
        file.file_system = file_system(self.path());
        Ok(file.judge(Examination::new(format!("the file {} of SQLite {version}", self.place.file))))
    }
}
