//! Links between documents lead somewhere, and so do the documents that comments and messages name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use pulldown_cmark::{Event, Parser, Tag, TagEnd};

fn root() -> PathBuf {
    normal(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")))
}

/// Takes `..` and `.` out of a path.
fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean
}

/// The project's files with one of these extensions, without what is built and what is hidden.
fn files(extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let (mut files, mut directories) = (Vec::new(), vec![root()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if entry.file_type()?.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    directories.push(path);
                }
            } else if path
                .extension()
                .is_some_and(|found| extensions.iter().any(|extension| found == *extension))
            {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// A document: the names of its headings in links, and where its links lead.
#[derive(Default)]
struct Document {
    anchors: BTreeSet<String>,
    links: Vec<String>,
}

impl Document {
    fn parse(text: &str) -> Self {
        let mut document = Self::default();
        let mut heading: Option<String> = None;
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for event in Parser::new(text) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let name = anchor(&heading.take().unwrap_or_default());
                    let before = seen.entry(name.clone()).or_default();
                    document.anchors.insert(match *before {
                        0 => name,
                        n => format!("{name}-{n}"),
                    });
                    *before += 1;
                }
                Event::Text(part) | Event::Code(part) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&part);
                    }
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.links.push(dest_url.into_string());
                }
                _ => {}
            }
        }
        document
    }
}

/// What a heading is called in links, as GitHub and GitLab name it.
pub(super) fn anchor(heading: &str) -> String {
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The links of these documents that lead nowhere.
fn broken(documents: &BTreeMap<PathBuf, Document>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, document) in documents {
        for link in &document.links {
            if ["https://", "http://", "mailto:"]
                .iter()
                .any(|scheme| link.starts_with(scheme))
            {
                continue;
            }
            let (file, name) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => normal(&path.parent().unwrap_or(path).join(file)),
            };
            let is_there = match documents.get(&target) {
                Some(document) => name.is_empty() || document.anchors.contains(name),
                None => name.is_empty() && target.exists(),
            };
            if !is_there {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    wrong
}

#[test]
fn links_of_documents_lead_somewhere() -> Result<()> {
    let mut documents = BTreeMap::new();
    for path in files(&["md"])? {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        documents.insert(path, Document::parse(&text));
    }
    let links: usize = documents.values().map(|found| found.links.len()).sum();
    ensure!(links >= 10, "only {links} links were seen");
    let wrong = broken(&documents);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What the test above must notice.
#[test]
fn a_link_that_leads_nowhere_is_noticed() {
    let text = "# One `two`: three?\n\n# Same\n\n# Same\n\n[a](#one-two-three) [b](#same-1) [c](b.md#x_y)\n\
                [d](#other) [e](b.md#z) [f](c.md) [g](../g.md) `[h](h.md)`\n\n```\n[i](i.md)\n```\n";
    let of = |name: &str, text| {
        (
            normal(&root().join("docs/..").join(name)),
            Document::parse(text),
        )
    };
    let documents = BTreeMap::from([of("a.md", text), of("b.md", "## X_y\n")]);
    let found = broken(&documents);
    let found: Vec<_> = found
        .iter()
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    assert_eq!(found, ["#other", "b.md#z", "c.md", "../g.md"]);
}

/// Comments, messages and other documents name documents in plain text, too.
#[test]
fn documents_that_are_named_exist() -> Result<()> {
    let (mut wrong, mut named) = (Vec::new(), 0);
    for path in files(&["rs", "md", "toml", "tsv", "snap"])? {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for (at, _) in text.match_indices("docs/") {
            let name: String = text[at..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || matches!(c, '/' | '-' | '_' | '.'))
                .collect();
            let name = name.trim_end_matches('.');
            if Path::new(name).extension() != Some("md".as_ref()) {
                continue;
            }
            named += 1;
            if !root().join(name).exists() {
                wrong.push(format!("{} names {name}", path.display()));
            }
        }
    }
    ensure!(named >= 20, "only {named} documents are named");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
