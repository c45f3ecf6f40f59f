//! The rules of the house that a test can check.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use smache::{
    Entity, Smache,
    inspect::Guarantee,
    memory::{Memory, MemorySource},
};

/// From the weakest to the strongest.
const GUARANTEES: [Guarantee; 4] = [Guarantee::BestEffort, Guarantee::Intent, Guarantee::ChangeFeed, Guarantee::Exact];

/// Something for a source to hold.
#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "books")]
struct Book {
    #[entity(id)]
    id: u64,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()))
}

/// Every Rust file of the workspace.
pub(crate) fn sources() -> Vec<PathBuf> {
    let mut folders = vec![root().to_path_buf()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 50, "the walk sees the project");
    files
}

fn offenders(rule: impl Fn(&Path, &str) -> bool) -> Vec<PathBuf> {
    let offends = |path: &PathBuf| rule(path, &read(path));
    sources().into_iter().filter(offends).collect()
}

fn is_ui(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "cases")
}

#[test]
fn every_file_says_what_it_is_about() {
    let silent = offenders(|path, text| {
        let documented = text.starts_with("//!") || text.starts_with("#![doc");
        // UI tests are named after the mistake; `tests.rs` beside a module is named after the module.
        !documented
            && !is_ui(path)
            && !path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests"))
    });
    assert!(silent.is_empty(), "without `//!` at the top: {silent:#?}");
}

#[test]
fn no_file_is_too_long_to_read() {
    let long = offenders(|_, text| text.lines().count() > 450);
    assert!(long.is_empty(), "above 450 lines: {long:#?}");
}

/// The guide promises it, and the author of a backend reads the example first.
#[test]
fn the_store_of_the_example_has_less_than_250_lines() {
    let lines = read("examples/custom_backend/log_store.rs").lines().count();
    assert!(lines < 250 && read("docs/guide/writing-a-backend.md").contains("in less than 250 lines"), "{lines}");
}

/// Of the servers the table names what the scripts install; this one comes with the driver.
#[cfg(feature = "sqlite")]
#[tokio::test]
async fn the_backend_table_names_the_sqlite_that_is_built_in() -> smache::Result<()> {
    use smache::backend::{Backend, Namespace};

    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = smache::sqlite::Sqlite::open(folder.path().join("app.db")).await?;
    let what = sqlite.store(&Namespace::new("tidy")?)?.examine().await?.what;
    let version = what.rsplit(' ').next().expect("a version");
    assert!(read("README.md").contains(&format!("| SQLite {version}, which `sqlx` brings |")), "{what}");
    Ok(())
}

#[test]
fn no_example_and_no_test_is_ignored() {
    let markers = [["``", "`ignore"].concat(), ["#[ign", "ore"].concat()];
    let ignored = offenders(|_, text| markers.iter().any(|marker| text.contains(marker.as_str())));
    assert!(ignored.is_empty(), "{ignored:#?}");
}

#[test]
fn nothing_is_left_unfinished() {
    let markers = [["tod", "o!("].concat(), ["unimpl", "emented!("].concat(), ["FIX", "ME"].concat()];
    let unfinished = offenders(|_, text| markers.iter().any(|marker| text.contains(marker.as_str())));
    assert!(unfinished.is_empty(), "{unfinished:#?}");
}

#[test]
fn the_feature_table_of_the_guide_is_the_one_of_cargo() {
    let manifest = read("Cargo.toml");
    let features = manifest.split("\n[features]\n").nth(1).and_then(|rest| rest.split("\n[").next()).expect("features");
    let name = |line: &str| line.split_once(" = ").map(|(name, _)| name.to_owned());
    let mut declared: Vec<String> = features.lines().filter_map(name).filter(|name| name != "default").collect();
    declared.sort();
    let page = read("docs/guide/backends.md");
    let table = page.split("\n## Features\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let name = |line: &str| line.strip_prefix("| `").and_then(|rest| rest.split('`').next()).map(str::to_owned);
    let mut shown: Vec<String> = table.lines().filter_map(name).collect();
    shown.sort();
    assert_eq!(shown, declared);
}

/// The rows of the backend table: the backend, its store, queue and source, the guarantee of the source, the servers of
/// its tests.
fn backend_table() -> Vec<Vec<String>> {
    let readme = read("README.md");
    let section =
        readme.split("\n## Backends\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let row = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    section.lines().filter(|line| line.starts_with("| `")).map(row).collect()
}

/// The guarantees that a cell of the table promises: `change feed, of …; or exact, of …`.
fn guaranteed(cell: &str) -> Vec<Guarantee> {
    let one = |words: &str| {
        let name = words.split(',').next().unwrap_or(words);
        GUARANTEES.into_iter().find(|guarantee| guarantee.to_string() == name)
    };
    cell.split("; or ")
        .map(|words| one(words).unwrap_or_else(|| panic!("`{words}` begins with no guarantee")))
        .collect()
}

fn promised_by(backend: &str) -> Vec<Guarantee> {
    let row = backend_table().into_iter().find(|row| row[0] == backend).expect("a row");
    guaranteed(&row[4])
}

/// For sources that need a server, `real_servers_say_what_they_are…` of `tests/servers/tests/it/doctor.rs` compares the
/// table with their examination.
#[test]
fn the_backend_table_of_the_readme_promises_what_the_sources_say() {
    for (backend, says) in [
        ("redis", "smache-redis/src/source/mod.rs"),
        ("mongo", "smache-mongo/src/examine.rs"),
        ("postgres", "smache-sql/src/source/postgres/examine.rs"),
        ("sqlite", "smache-sql/src/source/sqlite/examine.rs"),
    ] {
        let says = read(says);
        let said = |guarantee: &Guarantee| says.contains(&format!("Guarantee::{guarantee:?}"));
        // A source whose triggers are missing says best effort, as it delivers nothing.
        let promised = |guarantee: &Guarantee| *guarantee != Guarantee::BestEffort;
        let said: Vec<Guarantee> = GUARANTEES.into_iter().filter(promised).filter(said).collect();
        assert_eq!(promised_by(backend), said, "{backend}");
    }
}

#[tokio::test]
async fn the_backend_table_promises_what_a_source_in_memory_says() -> smache::Result<()> {
    let source = MemorySource::<Book>::new();
    let diagnosis =
        Smache::builder("tidy").backend(Memory::new()).source(source).build().await?.inspect().doctor().await;
    let part = diagnosis.parts.iter().find(|part| part.role == "source books").expect("the source");
    assert_eq!(promised_by("memory"), [part.examination.guarantee.expect("doctor says it")]);
    Ok(())
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn the_backend_table_promises_what_a_source_in_a_file_says() -> Result<(), Box<dyn std::error::Error>> {
    use smache::{
        backend::DataSource,
        sqlite::{SqliteSource, sqlx::SqlitePool},
    };

    let folder = tempfile::tempdir()?;
    let pool = SqlitePool::connect(&format!("sqlite://{}?mode=rwc", folder.path().join("books.db").display())).await?;
    smache::sqlite::sqlx::query("CREATE TABLE books (id INTEGER PRIMARY KEY)").execute(&pool).await?;
    let source = SqliteSource::<Book>::new(&pool, "books");
    source.install().await?;
    let fed = source.examine().await?.guarantee;
    let transactional = SqliteSource::<Book>::builder(&pool, "books").transactional().build();
    let said = [fed, transactional.examine().await?.guarantee];
    assert_eq!(promised_by("sqlite").into_iter().map(Some).collect::<Vec<_>>(), said);
    Ok(())
}

#[test]
fn the_backend_table_of_the_readme_is_what_the_backends_export() {
    let rows = backend_table();
    let mut backends: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    backends.sort_unstable();
    assert_eq!(backends, ["memory", "mongo", "postgres", "redis", "sqlite"]);
    for row in &rows {
        let [backend, roles @ .., guarantee, tested] = &row[..] else { panic!("{row:?}") };
        assert_eq!(roles.len(), 3, "{row:?}");
        assert!(!guaranteed(guarantee).is_empty(), "{row:?}");
        // Two of them are one crate.
        let library = if ["postgres", "sqlite"].contains(&backend.as_str()) { "sql" } else { backend };
        let library = read(format!("smache-{library}/src/lib.rs"));
        let (_, exported) = library.split_once("pub use self::").expect("what the crate exports");
        let name = format!("{}{}", backend[..1].to_uppercase(), &backend[1..]);
        for (role, shown) in ["Store", "Queue", "Source"].into_iter().zip(roles) {
            let named = format!("{name}{role}");
            let there = exported.split(|c: char| !c.is_alphanumeric()).any(|word| word == named);
            assert_eq!(shown, if there { named.as_str() } else { "–" }, "the {role} of {backend}");
        }
        if let Some(version) = tested.strip_prefix("MongoDB ") {
            assert!(read("scripts/lib.sh").contains(&format!("MONGOD_VERSION={version}.")), "{tested}");
        }
    }
}

#[test]
fn the_architecture_names_what_exists() {
    let page = read("ARCHITECTURE.md");
    assert!(page.lines().count() < 200, "the map has become a territory");
    let map =
        page.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the map of the packages");
    let named = map.lines().filter_map(|line| line.trim_start_matches(['├', '└', '─', ' ']).split_whitespace().next());
    for name in named.filter(|name| *name != "smache") {
        assert!(root().join(name.trim_end_matches('/')).exists(), "`{name}` is on the map and not in the tree");
    }
    for module in page.lines().filter_map(|line| line.strip_prefix("| `")).flat_map(|row| row.split('|').take(1)) {
        for module in module.split(", ").map(|name| name.trim().trim_matches('`').replace("::", "/")) {
            let at = root().join("smache-core/src").join(&module);
            let there = at.is_dir() || at.with_extension("rs").is_file();
            assert!(there, "the module `{module}` is on the map and not in smache-core");
        }
    }
}

/// A layer of the core names nothing of the layers above it: `Cx` calls the engine, and everything else goes down.
#[test]
fn the_layers_of_the_core_import_from_below() {
    const LAYERS: [(&str, &[&str]); 5] = [
        ("tracking", &[]),
        ("engine", &[]),
        ("service", &["Worker", "WorkerBuilder", "IntentBuilder"]),
        ("inspect", &["Inspector", "Why", "Audit", "Diagnosis", "Impact", "Stats", "Program", "Verified", "Graph"]),
        ("handle", &["Smache", "Builder", "InTransaction"]),
    ];
    let core = Path::new("smache-core/src");
    let mut upwards = Vec::new();
    for path in sources() {
        let path = path.strip_prefix(root()).expect("a file of the project");
        let Ok(inner) = path.strip_prefix(core) else { continue };
        let name = inner.to_string_lossy();
        if name == "lib.rs" || name.contains("tests") {
            continue;
        }
        let layer = inner.iter().next().expect("a name").to_string_lossy().into_owned();
        let below = LAYERS.iter().position(|(name, _)| *name == layer).map_or(0, |at| at + 1);
        let text = read(path);
        let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or(line)).collect();
        let code = code.join("\n");
        let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').collect();
        for (above, types) in &LAYERS[below..] {
            let recursion = *above == "tracking" || name == "tracking/mod.rs" && *above == "engine";
            let module = |word: &&&str| {
                !word.starts_with("self::") && word.split("::").any(|part| part == *above) && word.contains("::")
            };
            let found = words.iter().find(module).or_else(|| words.iter().find(|word| types.contains(word)));
            if let Some(found) = found.filter(|_| !recursion) {
                upwards.push(format!("{name} names `{found}` of {above}"));
            }
        }
    }
    assert!(upwards.is_empty(), "{upwards:#?}");
}

#[test]
fn the_files_of_the_backends_have_the_same_names() {
    for (backend, roles) in [
        ("kv", "store queue keys error"),
        ("memory", "store queue source"),
        ("redis", "store queue source keys error"),
        ("mongo", "store queue source keys error"),
    ] {
        for file in ["lib", "config"].into_iter().chain(roles.split(' ')) {
            let at = root().join(format!("smache-{backend}/src/{file}"));
            assert!(at.is_dir() || at.with_extension("rs").is_file(), "smache-{backend} has no `{file}`");
        }
    }
}

#[test]
fn the_guide_to_backends_names_every_method_and_what_exists() {
    let guide = read("docs/guide/writing-a-backend.md");
    let source_guide = read("docs/guide/writing-a-source.md");
    assert!(read("CONTRIBUTING.md").contains("docs/guide/writing-a-backend.md"));
    let methods = |path: &str| {
        let declared: Vec<String> = read(path)
            .lines()
            .filter_map(|line| line.trim().strip_prefix("async fn "))
            .filter_map(|line| line.split('(').next().map(str::to_owned))
            .collect();
        assert!(declared.len() > 3, "{path} declares methods");
        declared
    };
    for path in ["smache-core/src/store/mod.rs", "smache-core/src/queue/mod.rs", "smache-kv/src/key_value.rs"] {
        for method in methods(path) {
            let named = guide.contains(&format!("`{method}`")) || guide.contains(&format!("::{method}`"));
            assert!(named, "`{method}` of {path} is not in the guide");
        }
    }
    // A source has methods that answer at once, and several traits with methods of the same name.
    let mut owner = String::new();
    let mut named = 0;
    for line in read("smache-core/src/source/mod.rs").lines() {
        if let Some(name) = line.strip_prefix("pub trait ") {
            owner = name.split(':').next().expect("a name").to_owned();
        } else if line == "}" {
            owner.clear();
        } else if let Some(method) = line.strip_prefix("    async fn ").or_else(|| line.strip_prefix("    fn "))
            && !owner.is_empty()
        {
            let method = format!("`{owner}::{}`", method.split('(').next().expect("a name"));
            assert!(source_guide.contains(&format!("| {method} |")), "{method} is not in the guide to sources");
            named += 1;
        }
    }
    assert!(named > 10, "the traits of a source declare methods");
    let suites = read("smache-testkit/src/suites.rs");
    for suite in suites.lines().filter_map(|line| line.strip_prefix("macro_rules! ")) {
        let suite = suite.trim_end_matches([' ', '{']);
        assert!(suite.starts_with("__") || guide.contains(&format!("`{suite}!`")), "`{suite}!` is not in the guide");
    }
    let named = guide.split('`').skip(1).step_by(2).chain(source_guide.split('`').skip(1).step_by(2));
    for name in named.filter(|name| name.contains('/') && !name.contains('\n')) {
        assert!(root().join(name).exists(), "`{name}` is in the guide and not in the tree");
    }
}

#[test]
fn everything_is_called_by_the_same_script() {
    assert!(read(".ci/run").contains("scripts/test"));
    let script = read("scripts/test");
    for step in [
        "fmt --all --check",
        "clippy --workspace",
        "cargo doc",
        "cargo package --workspace",
        "cargo test --workspace",
        "quickstart",
        "redis_mongo",
        "mixed",
        "scripts/history",
    ] {
        assert!(script.contains(step), "scripts/test does not run `{step}`");
    }
}
