//! Names inside statements, and names of feeds.

use std::fmt::Write;

use smache_core::FeedId;

/// A name as SQL wants it: in double quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A template with its parts, each written as `{name}` in it. Braces within a part stay: names are the application's,
/// and one may look like a part.
#[cfg(feature = "postgres")]
pub(crate) fn filled(template: &str, parts: &[(&str, impl AsRef<str>)]) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let part = parts.iter().find_map(|(name, part)| {
            after.strip_prefix(name).and_then(|after| after.strip_prefix('}')).map(|after| (part.as_ref(), after))
        });
        match part {
            Some((part, after)) => {
                text.push_str(part);
                rest = after;
            }
            None => {
                text.push('{');
                rest = after;
            }
        }
    }
    text + rest
}

/// A text as SQLite wants it, which knows no escapes but the doubled quote.
#[cfg(feature = "sqlite")]
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A text as PostgreSQL wants it, whatever `standard_conforming_strings` is.
#[cfg(feature = "postgres")]
pub(crate) fn escaped(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The name of a feed: a prefix and the name of a database, which may have characters that a feed's name may not.
pub(crate) fn feed_id(prefix: &str, name: &str) -> FeedId {
    FeedId::new(format!("{prefix}:{name}")).unwrap_or_else(|_| {
        // The end tells more than the beginning, which may be a path.
        let bytes = &name.as_bytes()[name.len().saturating_sub(50)..];
        let digits = bytes.iter().fold(String::new(), |mut digits, byte| {
            write!(digits, "{byte:02x}").expect("a string takes everything");
            digits
        });
        FeedId::new(format!("{prefix}:x{digits}")).expect("a short prefix and at most 100 digits are a name")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_names_stay_inside() {
        assert_eq!(quoted("a\"; DROP TABLE x; --"), "\"a\"\"; DROP TABLE x; --\"");
        #[cfg(feature = "sqlite")]
        assert_eq!(literal("it's \\"), "'it''s \\'");
        #[cfg(feature = "postgres")]
        assert_eq!(escaped("it's \\"), "E'it''s \\\\'");
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn parts_of_a_template_are_no_templates() {
        let parts = [("schema", "\"{body}\""), ("body", "{schema} {other}")];
        assert_eq!(
            filled("{schema}.x {body} {other} { '{}' {", &parts),
            "\"{body}\".x {schema} {other} {other} { '{}' {"
        );
    }

    #[test]
    fn every_database_gives_a_feed_a_name() {
        assert_eq!(feed_id("postgres", "school").as_str(), "postgres:school");
        assert_eq!(feed_id("postgres", "schöl").as_str(), "postgres:x736368c3b66c");
        assert!(feed_id("sqlite", &"ä".repeat(400)).as_str().starts_with("sqlite:x"));
    }
}
