//! The version of what `install` makes.

use smache_core::{Error, ErrorKind, Result};

/// The version that this program knows, of the change table and the triggers with their functions.
pub(crate) const VERSION: i64 = 3;

/// The oldest version of a program that goes on reading. Raised to [`VERSION`] when something that it reads is gone or
/// means something else.
pub(crate) const OLDEST_SERVED: i64 = 1;

/// The steps that lead from a version to the known one, of all that lead from each version to the next.
pub(crate) fn steps_from(version: i64, all: &'static [&'static str], place: &str) -> Result<&'static [&'static str]> {
    let first = version.checked_sub(1).and_then(|first| usize::try_from(first).ok());
    first.and_then(|first| all.get(first..)).ok_or_else(|| {
        let message = format!(
            "the change table in {place} is of version {version} and this program knows version {VERSION}: {UPGRADE}"
        );
        Error::new(ErrorKind::WrongServer, message)
    })
}

/// The error of a feed for change tables of another version; none for those that serve it.
pub(crate) fn check(fits: i64, place: &str) -> Result<()> {
    match fits {
        0 => Ok(()),
        ..0 => {
            let message =
                format!("the change table in {place} was made by an older release: call `install` of its sources");
            Err(Error::new(ErrorKind::Config, message))
        }
        1.. => {
            let message = format!("the change table in {place} was migrated by a newer release: {UPGRADE}");
            Err(Error::new(ErrorKind::WrongServer, message))
        }
    }
}

const UPGRADE: &str = "upgrade this program";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_name_the_version_of_this_program() {
        let older = format!(" < {VERSION} THEN -1");
        let newer = format!(" > {VERSION} THEN 1");
        for text in [include_str!("queries/postgres_read.sql"), include_str!("queries/sqlite_read.sql")] {
            assert!(text.contains(&older) && text.contains(&newer), "{text}");
        }
    }

    #[test]
    fn only_versions_from_which_steps_lead_here_are_migrated() {
        const ALL: &[&str] = &["1 to 2", "2 to 3"];
        assert_eq!(steps_from(1, ALL, "x").ok(), Some(ALL));
        assert_eq!(steps_from(3, ALL, "x").ok().map(<[_]>::len), Some(0));
        for other in [4, 0, -1, i64::MIN, i64::MAX] {
            let error = steps_from(other, ALL, "the schema `x`").expect_err("no step");
            assert!(error.to_string().contains(&format!("version {other} ")), "{error}");
        }
    }
}
