//! Empties a namespace of any layout.

use smache_core::Result;

use crate::{area::SharedArea, keys::Role, step::Step};

pub(crate) async fn clear(area: &SharedArea) -> Result<()> {
    while area.write_to_any_layout(|step| Box::pin(step.clear_page())).await? {}
    Ok(())
}

impl Step<'_> {
    /// Removes some pairs. Returns whether there may be more.
    async fn clear_page(&mut self) -> Result<bool> {
        let keys = self.keys();
        let layout = self.keys().layout();
        // One more than the layout, which goes last: half a namespace of another layout must not look like one without
        // a layout.
        let length = self.page().saturating_add(1);
        let mut page = self.scan(&keys.all(), length).await?;
        self.touched = page.len();
        if page.len() > 1 {
            page.retain(|(key, _)| *key != layout);
        }
        if page.is_empty() {
            return Ok(false);
        }
        // First: no entry without edges may still be fresh.
        self.delete(keys.of(Role::Validity, &[]));
        for (key, _) in page {
            self.delete(key);
        }
        Ok(true)
    }
}
