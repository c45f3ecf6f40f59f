//! The glossary of the guide names every public term, and the guide copies no fact that is not so any more.

use std::{collections::BTreeSet, fs, path::Path};

/// The words that are no terms of the domain, with the reason.
const NO_TERMS: [(&str, &str); 5] = [
    ("guide", "the pages of a backend"),
    ("is_outage", "a function of each backend, in the page on errors"),
    ("mongodb", "the driver that a backend re-exports"),
    ("note_reads", "the hook of a MongoDB client, in the page on queries"),
    ("sqlx", "the driver that a backend re-exports"),
];

/// The types of a backend begin with its name, and are in the page on backends.
const BACKENDS: [&str; 3] = ["Mongo", "Postgres", "Sqlite"];

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
    let page = read("docs/guide/backends.md");
    let library = read("smache-redis/src/lib.rs");
    let rights: Vec<&str> = library.lines().filter_map(|line| line.strip_prefix("//! ACL SETUSER")).collect();
    assert_eq!(rights.len(), 2);
    for right in rights {
        assert!(page.contains(&format!("\nACL SETUSER{right}\n")), "docs/guide/backends.md lacks: ACL SETUSER{right}");
    }
}

/// A pool of another version of the driver is another type.
#[test]
fn the_versions_of_the_drivers_are_those_of_cargo() {
    let page = read("docs/guide/sources.md");
    let manifest = read("Cargo.toml");
    for (driver, library) in [("sqlx", "sql"), ("mongodb", "mongo"), ("redis", "redis")] {
        let line = manifest.lines().find(|line| line.starts_with(&format!("{driver} = "))).expect("a dependency");
        let version = line.split('"').find(|part| part.starts_with(|c: char| c.is_ascii_digit())).expect("a version");
        let short: Vec<&str> = version.split('.').take(2).collect();
        let short = short.join(".");
        assert!(page.contains(&format!("| {driver} {short} ")), "docs/guide/sources.md lacks {driver} {short}");
        let readme = read(&format!("smache-{library}/README.md"));
        assert!(readme.contains(&format!("`{driver}` {short}")), "smache-{library}/README.md lacks `{driver}` {short}");
    }
}

/// The text of the file below a folder that declares something.
fn declaring(folder: &Path, declaration: &str) -> Option<String> {
    fs::read_dir(folder).expect("a folder").find_map(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return declaring(&path, declaration);
        }
        fs::read_to_string(path).ok().filter(|text| text.contains(declaration))
    })
}

#[test]
fn the_page_on_errors_has_every_kind() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("smache-core/src");
    let declaration = "\npub enum ErrorKind {\n";
    let text = declaring(&core, declaration).expect("the kinds of errors");
    let body = text.split(declaration).nth(1).and_then(|rest| rest.split("\n}").next()).expect("an enum");
    let kinds: Vec<&str> = body.lines().filter_map(|line| line.trim().strip_suffix(',')).collect();
    assert!(kinds.len() > 20, "{kinds:?}");
    let page = read("docs/guide/errors.md");
    let table = page.split("\n## Kinds of errors\n").nth(1).expect("a section");
    let rows: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| ")?.split('|').next()).collect();
    let missing: Vec<_> =
        kinds.iter().filter(|kind| rows.iter().all(|row| !row.contains(&format!("`{kind}`")))).collect();
    assert!(missing.is_empty(), "not in the table of docs/guide/errors.md: {missing:?}");
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
