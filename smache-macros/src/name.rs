//! Names that are persisted. The rule is the one of `smache-core`, checked here so that a bad name does not compile.

const FIX: &str = "use 1 to 128 letters, digits, `_`, `-`, `.`, `:` or `/`";

/// The mistake in a name, if there is one.
pub(crate) fn mistake(what: &str, name: &str) -> Option<String> {
    if name.is_empty() {
        return Some(format!("the {what} is empty: {FIX}"));
    }
    if name.len() > 128 {
        return Some(format!("the {what} has {} bytes: {FIX}", name.len()));
    }
    let bad = name.chars().find(|c| !(c.is_ascii_alphanumeric() || "_-.:/".contains(*c)))?;
    Some(format!("the {what} `{}` contains {bad:?}: {FIX}", name.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::mistake;

    #[test]
    fn the_rule_is_the_one_of_the_core() {
        for bad in ["", "a b", "ä", "a\0", "{x}", &"x".repeat(129)] {
            assert!(
                mistake("id", bad).is_some_and(|text| text.contains("the id") && text.contains("letters")),
                "{bad:?}"
            );
        }
        for good in ["users", "users.v2/eu:1", "a-b_c", &"x".repeat(128)] {
            assert_eq!(mistake("id", good), None);
        }
    }
}
