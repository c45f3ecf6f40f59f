//! The glossary of the guide names every public term, and the guide copies no fact that is not so any more.

use std::{collections::BTreeSet, fs, path::Path};

/// The words that are no terms of the domain, with the reason.
const NO_TERMS: [(&str, &str); 2] = [
    ("is_outage", "a function of each backend, in the page on errors"),
    ("sqlx", "the driver that a backend re-exports"),
];

/// The types of a backend begin with its name, and are in the page on backends.
const BACKENDS: [&str; 2] = ["Postgres", "Sqlite"];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()))
}

/// The names that the facade re-exports one by one, at its root and in its modules.
fn exported() -> BTreeSet<String> {
    let facade = read("src/lib.rs");
    let (public, _) = facade.split_once("pub mod __private").expect("what the macros write comes last");
    let statements = public.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let names = statements.flat_map(|statement| {
        let (_, list) = statement.rsplit_once("::").expect("a path");
        list.trim_matches(['{', '}', '\n', ' ']).split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()
    });
    names.filter(|name| !name.is_empty() && name != "*").collect()
}

#[test]
fn the_glossary_names_every_public_term() {
    let exported = exported();
    assert!(exported.len() > 50 && exported.contains("Smache") && exported.contains("tag"), "{exported:?}");
    let glossary = read("docs/guide/glossary.md");
    let named: BTreeSet<&str> = glossary.split('`').skip(1).step_by(2).collect();
    let is_term = |name: &str| {
        let of_a_backend = BACKENDS.iter().any(|backend| name.starts_with(backend));
        !of_a_backend && NO_TERMS.iter().all(|(no_term, _)| *no_term != name)
    };
    let missing: Vec<&String> =
        exported.iter().filter(|name| is_term(name) && !named.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "not in docs/guide/glossary.md, which says what each public term means: {missing:?}");
    for (name, reason) in NO_TERMS {
        assert!(exported.contains(name), "`{name}` is not exported any more: {reason}");
    }
}

#[test]
fn each_row_of_the_glossary_has_a_term_a_meaning_and_the_word_of_others() {
    let glossary = read("docs/guide/glossary.md");
    let rows = glossary.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| term "));
    let mut terms = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert!(cells.len() == 3 && cells.iter().all(|cell| !cell.is_empty()), "{row}");
        assert!(terms.insert(cells[0].to_owned()), "twice: {row}");
    }
    assert!(terms.len() > 50, "the glossary has rows");
}

/// The page on backends shows the rights that the crate documents and its tests prove.
#[test]
fn the_rights_of_a_redis_user_are_those_that_the_crate_proves() {
    let (page, library) = (read("docs/guide/backends.md"), read("smache-redis/src/lib.rs"));
    let rights: Vec<&str> = library.lines().filter_map(|line| line.strip_prefix("//! ACL SETUSER")).collect();
    assert_eq!(rights.len(), 2);
    for right in rights {
        assert!(page.contains(&format!("\nACL SETUSER{right}\n")), "docs/guide/backends.md lacks: ACL SETUSER{right}");
    }
}

/// A page of the guide is read in one go.
#[test]
fn each_page_begins_with_what_its_reader_can_do_and_is_short() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide");
    let mut pages = 0;
    for page in fs::read_dir(folder).expect("the guide") {
        let path = page.expect("a page").path();
        let text = fs::read_to_string(&path).expect("text");
        let promise = text.split("\n\n").nth(1).unwrap_or_default();
        assert!(promise.starts_with("After this page you "), "{} begins otherwise", path.display());
        assert!((60..=200).contains(&text.lines().count()), "{} has {} lines", path.display(), text.lines().count());
        pages += 1;
    }
    assert!(pages >= 15, "the guide has pages");
}
