//! A source whose changes only the application reports.

use smache::{Builder, backend::DataSource};
use smache_testkit::layer::{Layered, SourceLayer};

/// Another source, without its feed.
#[derive(Debug)]
pub struct Quiet<S>(pub S);

impl<S: DataSource> SourceLayer for Quiet<S> {
    fn inner(&self) -> &dyn DataSource {
        &self.0
    }

    fn has_feed(&self) -> bool {
        false
    }
}

/// A system with that source, without its feed if it is to be quiet.
pub(crate) fn add(builder: Builder, source: impl DataSource, quiet: bool) -> Builder {
    if quiet { builder.source(Layered::new(Quiet(source))) } else { builder.source(source) }
}
