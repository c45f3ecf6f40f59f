//! Stored data of another layout.

use std::fmt::Display;

use crate::{Error, ErrorKind};

/// The error for keys or tables whose layout this program does not know. They stay as they are.
///
/// `what` names them with the verb and `found` is their layout, `None` for one that cannot be read. Data of a newer
/// layout needs a newer program; for others, `older` says what to do. `elsewhere` is what this program could use
/// instead.
#[must_use]
pub fn other_layout(what: impl Display, found: Option<u64>, known: u64, older: &str, elsewhere: &str) -> Error {
    let fix = if found.is_some_and(|found| found > known) { "upgrade this program" } else { older };
    let found = found.map_or_else(|| "a layout that cannot be read".to_owned(), |found| format!("layout {found}"));
    let message = format!("{what} of {found} and this program knows layout {known}: {fix}, or use {elsewhere}");
    Error::new(ErrorKind::WrongServer, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_layout_is_refused_with_the_fix() {
        let error = |found| other_layout("the keys `a*` are", found, 2, "remove them", "another namespace").to_string();
        assert_eq!(
            error(Some(1)),
            "the keys `a*` are of layout 1 and this program knows layout 2: remove them, or use another namespace"
        );
        assert!(error(Some(3)).contains("layout 3") && error(Some(3)).contains("upgrade this program"));
        assert!(error(None).contains("cannot be read") && error(None).contains("remove them"));
    }
}
