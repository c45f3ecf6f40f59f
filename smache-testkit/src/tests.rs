//! The contract bullets and the cases name each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of cases in backticks in the contract bullets of a file. Each bullet has one.
fn bullets(path: &str) -> BTreeSet<String> {
    let text = read(&at(path));
    let mut bullets: Vec<String> = Vec::new();
    let mut contract = false;
    for line in text.lines().map(str::trim) {
        let Some(doc) = line.strip_prefix("///") else {
            contract = false;
            continue;
        };
        if doc.starts_with(" # ") {
            contract = doc == " # Contract";
        } else if contract && doc.starts_with(" - ") {
            bullets.push(doc.to_owned());
        } else if let Some(bullet) = bullets.last_mut().filter(|_| contract) {
            bullet.push_str(doc);
        }
    }
    assert!(!bullets.is_empty(), "{path} has no contract");
    let is_case = |word: &&str| word.contains('_') && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let names = |bullet: &String| -> Vec<String> {
        let names: Vec<_> = bullet.split('`').skip(1).step_by(2).filter(is_case).map(str::to_owned).collect();
        assert!(!names.is_empty(), "{path}: no case shows \"{bullet}\"");
        names
    };
    bullets.iter().flat_map(names).collect()
}

/// The cases of a folder by `folder::file`, with whether they go beyond the contract.
fn cases(folder: &str) -> BTreeMap<(String, String), bool> {
    let mut cases = BTreeMap::new();
    for file in fs::read_dir(at("src").join(folder)).expect("a folder of cases") {
        let path = file.expect("a file").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        if stem == "mod" {
            continue;
        }
        let mut doc = Vec::new();
        for line in read(&path).lines() {
            if let Some(text) = line.strip_prefix("/// ") {
                doc.push(text.to_owned());
            } else if let Some(case) = line.strip_prefix("pub async fn ") {
                let name = case.split('(').next().unwrap_or_default().to_owned();
                let first = doc.first().unwrap_or_else(|| panic!("{name} has no documentation"));
                let beyond = first.starts_with("Beyond the contract:");
                cases.insert((format!("{folder}::{stem}"), name), beyond);
            } else {
                doc.clear();
            }
        }
    }
    cases
}

fn contract(folders: &[&str]) -> BTreeSet<String> {
    let cases = folders.iter().flat_map(|folder| cases(folder));
    let mut names = BTreeSet::new();
    for ((place, name), beyond) in cases {
        if !beyond {
            assert!(names.insert(name.clone()), "{name} is a case twice, the second time in {place}");
        }
    }
    names
}

/// The list of the suites, by `folder::file`.
fn listed() -> BTreeSet<(String, String)> {
    let mut listed = BTreeSet::new();
    let mut place = String::new();
    let lists = ["src/suites.rs", "src/suites/key_value.rs"].map(|list| read(&at(list)));
    for line in lists.iter().flat_map(|list| list.lines()).map(str::trim) {
        if let Some(start) = line.strip_suffix(": [") {
            place = start.to_owned();
        } else if let Some(name) = line.strip_suffix(',').filter(|_| !place.is_empty()) {
            assert!(name == "]" || listed.insert((place.clone(), name.to_owned())), "{name} is listed twice");
        }
        if line.starts_with(']') {
            place.clear();
        }
    }
    listed
}

#[test]
fn every_contract_bullet_of_a_store_is_a_case() {
    assert_eq!(bullets("../smache-core/src/store/mod.rs"), contract(&["store", "joined", "incarnation"]));
}

#[test]
fn every_contract_bullet_of_a_queue_is_a_case() {
    assert_eq!(bullets("../smache-core/src/queue/mod.rs"), contract(&["queue"]));
}

#[test]
fn every_contract_bullet_of_a_source_is_a_case() {
    assert_eq!(bullets("../smache-core/src/source/mod.rs"), contract(&["source"]));
}

#[test]
fn every_case_is_in_a_suite() {
    let folders = ["store", "queue", "joined", "incarnation", "source", "comparison", "eviction", "key_value"];
    let all: BTreeSet<_> = folders.iter().flat_map(|folder| cases(folder)).map(|(case, _)| case).collect();
    assert_eq!(all, listed());
}

#[test]
fn every_contract_bullet_of_a_key_value_store_is_a_case() {
    assert_eq!(bullets("../smache-kv/src/key_value.rs"), contract(&["key_value"]));
}

/// Only a database that also holds the data of applications has it: its tests are in the package of those.
#[test]
fn every_contract_bullet_of_a_writers_transaction_is_a_test() {
    let mut tests = String::new();
    for file in fs::read_dir(at("../smache-sql/tests/it/postgres/in_transaction")).expect("a folder of tests") {
        tests.push_str(&read(&file.expect("a file").path()));
    }
    for name in bullets("../smache-core/src/store/in_transaction.rs") {
        assert!(tests.contains(&format!("async fn {name}()")), "{name} is no test");
    }
}
