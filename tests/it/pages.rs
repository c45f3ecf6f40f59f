//! The pages for people: links between them, the code in them, and what the documentation makes of both.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use crate::tidy::{read, root, sources};

/// A link of a page, and how it is written.
#[derive(Debug, PartialEq)]
enum Link {
    /// `[text](target)`, or an attribute of HTML.
    Inline(String),
    /// `[label]: target`
    Definition { label: String, target: String },
    /// `[text][label]`
    Reference(String),
}

impl Link {
    fn defines(&self) -> Option<&str> {
        if let Self::Definition { label, .. } = self { Some(label) } else { None }
    }
}

/// Every page that a person reads on a code host.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for folder in [".", "docs", "docs/guide"] {
        pages.extend(files_of(folder, "md").map(|name| Path::new(folder).join(name)));
    }
    pages.extend(packages().into_iter().map(|package| Path::new(&package).join("README.md")));
    assert!(pages.len() > 20, "the walk sees the pages: {pages:?}");
    pages
}

fn files_of(folder: &str, extension: &str) -> impl Iterator<Item = PathBuf> {
    let of_kind = move |path: &PathBuf| path.extension().is_some_and(|found| *found == *extension);
    let entries = fs::read_dir(root().join(folder)).expect("a folder of the project");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).filter(of_kind).collect();
    files.sort();
    files.into_iter().filter_map(|path| path.file_name().map(PathBuf::from))
}

/// The packages that are published beside the facade.
fn packages() -> Vec<String> {
    let names = fs::read_dir(root()).expect("the project").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.retain(|name| name.starts_with("smache-"));
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    names
}

/// A page without its code, with empty lines instead of blocks.
fn prose(page: &str) -> String {
    let mut fenced = false;
    let mut text = String::new();
    for line in page.lines() {
        let fence = line.trim_start().starts_with("```");
        if !fence && !fenced {
            text.push_str(line);
        }
        text.push('\n');
        fenced ^= fence;
    }
    assert!(!fenced, "a block of code has no end");
    // A span of code may go over the end of a line, and never over the end of a paragraph.
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let spans: Vec<&str> = paragraph.split('`').collect();
        spans.iter().enumerate().map(|(at, span)| if at % 2 == 0 { *span } else { "" }).collect::<String>()
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

fn links(page: &str) -> Vec<Link> {
    let text = prose(page);
    let mut links = Vec::new();
    for line in text.lines() {
        if let Some((label, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "))
            && !label.contains(']')
        {
            links.push(Link::Definition { label: label.to_owned(), target: target.trim().to_owned() });
            continue;
        }
        for (opening, closing) in [("](", ')'), ("href=\"", '"'), ("src=\"", '"')] {
            for rest in line.split(opening).skip(1) {
                links.push(Link::Inline(rest.split(closing).next().unwrap_or(rest).to_owned()));
            }
        }
    }
    for rest in text.split("][").skip(1) {
        links.push(Link::Reference(rest.split(']').next().unwrap_or(rest).replace('\n', " ")));
    }
    // `[label]` alone.
    for (before, rest) in text.match_indices('[').map(|(at, _)| (&text[..at], &text[at + 1..])) {
        if let Some((label, after)) = rest.split_once(']')
            && !before.ends_with(']')
            && !label.is_empty()
            && !label.contains(['[', ' '])
            && !after.starts_with(['(', '[', ':'])
        {
            links.push(Link::Reference(label.to_owned()));
        }
    }
    links
}

fn is_elsewhere(target: &str) -> bool {
    ["http://", "https://", "mailto:", "data:"].iter().any(|scheme| target.starts_with(scheme))
}

/// The anchors of a page, as code hosts make them of headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut anchors = BTreeSet::new();
    for line in page.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if let Some(heading) = line.strip_prefix('#').filter(|_| !fenced) {
            let kept = heading.trim_start_matches('#').trim().chars().filter_map(|c| match c {
                ' ' => Some('-'),
                '-' | '_' => Some(c),
                c => c.is_alphanumeric().then(|| c.to_ascii_lowercase()),
            });
            anchors.insert(kept.collect());
        }
    }
    anchors
}

/// Where a link of a page leads, from the root of the project.
fn resolved(page: &Path, file: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in page.parent().expect("a folder").join(file).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{} links out of the project: {file}", page.display()),
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path
}

fn check(page: &Path, text: &str, target: &str) -> Result<(), String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { page.to_owned() } else { resolved(page, file) };
    if !root().join(&path).exists() {
        return Err(format!("{}: `{target}` does not exist", page.display()));
    }
    let there = || if file.is_empty() { text.to_owned() } else { read(&path) };
    if !anchor.is_empty() && !anchors(&there()).contains(anchor) {
        return Err(format!("{}: no heading of {} is `#{anchor}`", page.display(), path.display()));
    }
    Ok(())
}

#[test]
fn every_link_of_the_pages_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for page in pages() {
        let text = read(&page);
        let links = links(&text);
        let defined: BTreeSet<&str> = links.iter().filter_map(Link::defines).collect();
        for link in &links {
            match link {
                Link::Reference(label) if !defined.contains(&label[..]) => {
                    wrong.push(format!("{}: `[{label}]` is defined nowhere", page.display()));
                }
                Link::Inline(target) | Link::Definition { target, .. } if !is_elsewhere(target) => {
                    wrong.extend(check(&page, &text, target).err());
                    checked += 1;
                }
                _ => {}
            }
        }
        for label in &defined {
            let used = links.iter().any(|link| matches!(link, Link::Reference(used) if used == label));
            if !used {
                wrong.push(format!("{}: nothing links by `[{label}]`", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked > 50, "the test sees links: {checked}");
}

/// The pages that `cargo doc` shows as well, by the modules that they are.
fn documented() -> BTreeMap<PathBuf, String> {
    let guide = read("src/guide.rs");
    let mut documented = BTreeMap::from([(PathBuf::from("README.md"), "crate".to_owned())]);
    for part in guide.split("include_str!(\"../").skip(1) {
        let (file, rest) = part.split_once('"').expect("the end of a path");
        let module =
            rest.split("pub mod ").nth(1).and_then(|rest| rest.split([' ', ';', '{']).next()).expect("a module");
        let before = guide.split(file).next().unwrap_or_default();
        // Behind an empty line: the first definition would be a part of the paragraph before it.
        let links = before
            .rsplit("///")
            .next()
            .is_some_and(|between| between.starts_with("\n#[doc = include_str!(\"links.md\")]"));
        assert!(links, "`links.md` does not stand before {file}: its links are broken in the documentation");
        documented.insert(PathBuf::from(file), format!("crate::guide::{module}"));
    }
    documented
}

/// A link to a file leads nowhere in the documentation, so `src/links.md` defines each before the page does.
#[test]
fn every_link_of_the_documentation_leads_to_an_item() {
    let documented = documented();
    let mut expected = BTreeMap::new();
    for page in documented.keys() {
        for link in links(&read(page)) {
            match link {
                Link::Inline(target) => assert!(
                    target.starts_with('#') || is_elsewhere(&target),
                    "{}: `{target}` is broken in the documentation: write [text][label], and define the label",
                    page.display()
                ),
                Link::Definition { label, target } if !is_elsewhere(&target) && label != "picture" => {
                    let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
                    let path = resolved(page, file);
                    let Some(module) = documented.get(&path) else {
                        panic!("{}: {} is no page of the documentation", page.display(), path.display())
                    };
                    let item = if anchor.is_empty() { module.clone() } else { format!("{module}#{anchor}") };
                    if let Some(other) = expected.insert(label.clone(), item.clone()) {
                        assert_eq!(other, item, "two pages define `[{label}]` otherwise");
                    }
                }
                _ => {}
            }
        }
    }
    // The blank lines are for rustdoc, which does not see the third of three definitions in a row.
    let expected: String = expected.iter().map(|(label, item)| format!("[{label}]: {item}\n\n")).collect();
    assert!(read("src/links.md") == expected, "src/links.md has to be:\n{expected}");
}

/// Links in the comments of the code are links to items: a file is not beside the documentation.
#[test]
fn no_comment_links_to_a_file() {
    let mut wrong = Vec::new();
    for path in sources() {
        let text = read(&path);
        let comments =
            text.lines().map(str::trim_start).filter(|line| line.starts_with("///") || line.starts_with("//!"));
        for link in links(&comments.map(|line| line.get(3..).unwrap_or_default()).collect::<Vec<_>>().join("\n")) {
            if let Link::Inline(target) | Link::Definition { target, .. } = link
                && (target.contains(".md") || target.contains(".html") || target.contains(".rs"))
                && !is_elsewhere(&target)
            {
                wrong.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The language of each block of code, and its text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(language), None) => open = Some((language.trim().to_owned(), String::new())),
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some((language, text))) => open = Some((language, text + line + "\n")),
            (None, None) => {}
        }
    }
    blocks
}

/// Everything in `docs/guide` is a module, so that its code is compiled and run as tests of the documentation.
#[test]
fn every_block_of_the_readme_and_the_guide_is_compiled() {
    let documented = documented();
    for name in files_of("docs/guide", "md") {
        let page = Path::new("docs/guide").join(&name);
        let module = name.with_extension("").to_string_lossy().replace('-', "_");
        assert_eq!(documented.get(&page), Some(&format!("crate::guide::{module}")), "src/guide.rs");
    }
    assert!(read("src/lib.rs").contains("include_str!(\"../README.md\")"));
    let mut compiled = 0;
    for page in documented.keys() {
        for (language, text) in blocks(&read(page)) {
            match &language[..] {
                "rust" | "rust,no_run" | "rust,compile_fail" => compiled += 1,
                "sh" | "sql" | "text" | "toml" | "json" | "js" | "yaml" | "promql" => {}
                other => panic!(
                    "{}: a block of `{other}` (nothing means Rust; `ignore` is not allowed):\n{text}",
                    page.display()
                ),
            }
        }
    }
    assert!(compiled > 20, "{compiled}");
}

#[test]
fn the_readme_is_one_page_with_one_program_that_can_be_copied() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 140, "{} lines", readme.lines().count());
    let programs: Vec<(String, String)> =
        blocks(&readme).into_iter().filter(|(language, _)| language != "sh").collect();
    let [(language, program)] = &programs[..] else { panic!("one program, and no other code but commands") };
    assert_eq!(language, "rust", "it runs");
    assert!(program.contains("async fn main()"), "it is complete");
    let hidden = |line: &&str| line.trim_start().starts_with('#') && !line.trim_start().starts_with("#[");
    assert_eq!(program.lines().find(hidden), None, "a code host shows hidden lines");
    for command in ["cargo run --example quickstart", "scripts/test"] {
        assert!(readme.contains(&format!("`{command}`")), "the README does not say `{command}`");
    }
}

/// A documentation host has no files beside its pages, so the documentation carries the picture in itself.
#[test]
fn the_picture_of_the_documentation_is_the_one_of_the_readme() {
    let picture = read("docs/how-it-works.svg");
    let expected = format!("[picture]: data:image/svg+xml;base64,{}\n\n", base64(picture.as_bytes()));
    let command = "{ printf '[picture]: data:image/svg+xml;base64,'; base64 -w0 docs/how-it-works.svg; printf '\\n\\n'; } >src/picture.md";
    assert!(read("src/picture.md") == expected, "it has changed: {command}");
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let bits = part.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for at in 0..4 {
            let letter = char::from(LETTERS[(bits >> (18 - 6 * at)) as usize & 63]);
            text.push(if at <= part.len() { letter } else { '=' });
        }
    }
    text
}

#[test]
fn every_package_says_what_it_is_and_carries_its_licences() {
    let manifest = read("Cargo.toml");
    let root_files = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];
    for package in packages() {
        let manifest = read(format!("{package}/Cargo.toml"));
        for key in [
            "description = ",
            "license.workspace",
            "rust-version.workspace",
            "keywords = ",
            "categories = ",
            "readme = ",
        ] {
            assert!(manifest.lines().any(|line| line.starts_with(key)), "{package}/Cargo.toml has no `{key}`");
        }
        let lines = read(format!("{package}/README.md")).lines().count();
        assert!((10..=30).contains(&lines), "{package}/README.md has {lines} lines");
        for licence in &root_files[1..] {
            assert_eq!(read(format!("{package}/{licence}")), read(licence), "{package}");
        }
    }
    for file in root_files {
        assert!(root().join(file).exists());
    }
    assert!(
        manifest.contains("include = ["),
        "the facade is the root of the workspace: without a list it takes everything along"
    );
}
