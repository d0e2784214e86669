//! Each file imports what stands below it: the order that CONTRIBUTING.md draws, no arrow back up, no circle.
//!
//! A *room* is a file or a directory of `src`. CONTRIBUTING.md lists the rooms of each crate from the ground up, each
//! with those that it imports. Here the `use` lines and paths of all files are read and compared with that.
//! Items that re-export (`pub use self::...` in a `mod.rs`) are no imports: who imports such a name imports the file
//! that has it. What stands under `#[cfg(test)]` may import anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use syn::{
    Attribute, Item, ItemMod, UseTree, Visibility,
    visit::{self, Visit},
};

const CRATES: [&str; 2] = ["mptcp-common", "mptcp-ebpf"];

/// Files by their path in `src`.
type Sources = BTreeMap<String, String>;
/// Segments of a module's path, none for the crate's root.
type Module = Vec<String>;

/// The rooms of a crate, from the ground up, and what each may import.
type Map = Vec<(String, BTreeSet<String>)>;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn every_file_imports_only_what_stands_below_it() -> Result<()> {
    let contributing = fs::read_to_string(root().join("CONTRIBUTING.md"))?;
    let mut wrong = Vec::new();
    for name in CRATES {
        let sources = read(&root().join(name).join("src"))?;
        let map = map(&contributing, name)?;
        let found = faults(&sources, &map).with_context(|| name.to_owned())?;
        wrong.extend(found.into_iter().map(|fault| format!("{name}: {fault}")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What the test is worth: each of these changes of the real sources is found.
#[test]
fn a_wrong_import_is_found() -> Result<()> {
    let contributing = fs::read_to_string(root().join("CONTRIBUTING.md"))?;
    let map = map(&contributing, "mptcp-common")?;
    let sources = read(&root().join("mptcp-common/src"))?;
    let planted = [
        // An arrow up: by a `use`, by a path, through a name that is re-exported.
        ("table/word.rs", "use crate::wire::Area;", "wire"),
        (
            "wire/area.rs",
            "fn planted() { crate::engine::find(); }",
            "engine",
        ),
        (
            "packet/flow.rs",
            "use crate::state::{Session as S};",
            "state",
        ),
        // A circle of files in one room.
        (
            "state/limits.rs",
            "use super::expiry::since as s;",
            "circle",
        ),
        (
            "state/session.rs",
            "use crate::state::is_session_over as s;",
            "circle",
        ),
    ];
    for (file, line, needle) in planted {
        let mut changed = sources.clone();
        let text = changed.get_mut(file).with_context(|| file.to_owned())?;
        text.push_str(line);
        let found = faults(&changed, &map)?;
        ensure!(
            found.iter().any(|fault| fault.contains(needle)),
            "{line} in {file} is not found: {found:?}"
        );
    }
    // A room that the map lacks, and one that is not there.
    let mut changed = sources.clone();
    changed.insert("cellar.rs".to_owned(), String::new());
    changed.retain(|path, _| !path.starts_with("crypto"));
    let found = faults(&changed, &map)?;
    for room in ["cellar", "crypto"] {
        ensure!(found.iter().any(|fault| fault.contains(room)), "{found:?}");
    }
    Ok(())
}

/// Reads all files under `src`.
fn read(src: &Path) -> Result<Sources> {
    let mut sources = Sources::new();
    let mut directories = vec![src.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(src)?.to_str().context("no UTF-8")?;
                sources.insert(name.to_owned(), fs::read_to_string(&path)?);
            }
        }
    }
    Ok(sources)
}

/// Reads the map of a crate: a block that begins with its directory.
fn map(contributing: &str, name: &str) -> Result<Map> {
    let heading = format!("{name}/src\n");
    let (_, block) = contributing
        .split_once(&format!("```\n{heading}"))
        .with_context(|| format!("CONTRIBUTING.md has no map of {name}"))?;
    let (block, _) = block.split_once("```").context("the map has no end")?;
    let mut rooms = Map::new();
    for line in block.lines() {
        let (room, imports) = line
            .trim()
            .split_once(" imports ")
            .with_context(|| format!("{line:?} does not say what the room imports"))?;
        let imports: BTreeSet<_> = imports
            .split_whitespace()
            .filter(|room| *room != "nothing")
            .map(str::to_owned)
            .collect();
        for import in &imports {
            ensure!(
                rooms.iter().any(|(below, _)| below == import),
                "{room} imports {import}, which does not stand below it in the map"
            );
        }
        rooms.push((room.trim().to_owned(), imports));
    }
    Ok(rooms)
}

/// What is wrong with these sources.
fn faults(sources: &Sources, map: &Map) -> Result<Vec<String>> {
    let arrows = Crate::new(sources)?.arrows()?;
    let mut found = Vec::new();
    let mut seen = BTreeMap::<_, BTreeSet<_>>::new();
    for file in sources.keys() {
        if let Some(room) = room(file, map) {
            seen.entry(room).or_default();
        } else if !is_root(file) {
            found.push(format!("{file} is of a room that the map lacks"));
        }
    }
    for (from, to) in &arrows {
        let (Some(here), Some(there)) = (room(from, map), room(to, map)) else {
            continue;
        };
        if here != there {
            seen.entry(here).or_default().insert(there);
            let allowed = map.iter().find(|(room, _)| room == here);
            if !allowed.is_some_and(|(_, imports)| imports.contains(there)) {
                found.push(format!(
                    "{from} imports {to}: {here} may not import {there}"
                ));
            }
        }
    }
    for (room, imports) in map {
        match seen.get(room.as_str()) {
            None => found.push(format!("the map has {room}, which is not there")),
            Some(used) => found.extend(
                imports
                    .iter()
                    .filter(|import| !used.contains(import.as_str()))
                    .map(|import| {
                        format!("the map lets {room} import {import}, which it does not")
                    }),
            ),
        }
    }
    if let Some(circle) = circle(&arrows) {
        found.push(format!("a circle of files: {}", circle.join(" -> ")));
    }
    Ok(found)
}

/// Returns true for the files in which a crate begins: they import what they like.
fn is_root(file: &str) -> bool {
    matches!(file, "lib.rs" | "main.rs")
}

/// The room of a file: the longest of the map that it is in.
fn room<'a>(file: &str, map: &'a Map) -> Option<&'a str> {
    let module = module_of(file).join("/");
    map.iter()
        .map(|(room, _)| room.as_str())
        .filter(|room| {
            module
                .strip_prefix(room)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .max_by_key(|room| room.len())
}

/// A circle among the arrows, if there is one.
fn circle(arrows: &BTreeSet<(String, String)>) -> Option<Vec<String>> {
    fn walk<'a>(
        file: &'a str,
        next: &BTreeMap<&'a str, Vec<&'a str>>,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(start) = path.iter().position(|other| *other == file) {
            return Some(
                path[start..]
                    .iter()
                    .chain([&file])
                    .map(|f| (*f).to_owned())
                    .collect(),
            );
        }
        if !done.insert(file) {
            return None;
        }
        path.push(file);
        let found = next
            .get(file)
            .into_iter()
            .flatten()
            .find_map(|other| walk(other, next, path, done));
        path.pop();
        found
    }
    let mut next = BTreeMap::<_, Vec<_>>::new();
    for (from, to) in arrows {
        next.entry(from.as_str()).or_default().push(to.as_str());
    }
    let mut done = BTreeSet::new();
    next.keys()
        .find_map(|file| walk(file, &next, &mut Vec::new(), &mut done))
}

/// The module that a file is.
fn module_of(file: &str) -> Module {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" | "main" => Module::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}

/// The modules of a crate.
struct Crate {
    /// Each with its file, and what it re-exports: a name to the path that has it.
    modules: BTreeMap<Module, (String, syn::File, BTreeMap<String, Module>)>,
}

impl Crate {
    fn new(sources: &Sources) -> Result<Self> {
        let mut modules = BTreeMap::new();
        for (file, text) in sources {
            let parsed = syn::parse_file(text).with_context(|| file.clone())?;
            let module = module_of(file);
            let mut names = BTreeMap::new();
            for item in &parsed.items {
                if let Item::Use(item) = item
                    && !matches!(item.vis, Visibility::Inherited)
                {
                    for path in flatten(&item.tree) {
                        if let Some(path) = absolute(&path, &module) {
                            let name = path.last().cloned().unwrap_or_default();
                            names.insert(name, path);
                        }
                    }
                }
            }
            // Of two files of one module (`lib.rs` and `main.rs`), the library's.
            modules
                .entry(module)
                .or_insert((file.clone(), parsed, names));
        }
        Ok(Self { modules })
    }

    /// Which file imports which.
    fn arrows(&self) -> Result<BTreeSet<(String, String)>> {
        let mut arrows = BTreeSet::new();
        for (module, (file, parsed, _)) in &self.modules {
            if is_root(file) || self.is_test(module) {
                continue;
            }
            let mut paths = Paths {
                module: module.clone(),
                found: Vec::new(),
            };
            paths.visit_file(parsed);
            for path in paths.found {
                let to = self.resolve(&path, 0)?;
                if to != file && !is_root(to) {
                    arrows.insert((file.clone(), to.to_owned()));
                }
            }
        }
        Ok(arrows)
    }

    /// Is this module under `#[cfg(test)]`?
    fn is_test(&self, module: &[String]) -> bool {
        let Some((name, parent)) = module.split_last() else {
            return false;
        };
        let declared = self.modules.get(parent).is_some_and(|(_, parsed, _)| {
            parsed.items.iter().any(|item| {
                matches!(item, Item::Mod(item) if item.ident == name && is_for_tests(&item.attrs))
            })
        });
        declared || self.is_test(parent)
    }

    /// The file that has what a path names.
    fn resolve(&self, path: &[String], depth: u32) -> Result<&str> {
        if depth > 8 {
            bail!("{} is re-exported in a circle", path.join("::"));
        }
        let known = (0..=path.len())
            .rev()
            .find(|length| self.modules.contains_key(&path[..*length]))
            .context("the crate has no root")?;
        let (file, _, names) = &self.modules[&path[..known]];
        match path.get(known).and_then(|name| names.get(name)) {
            Some(other) => self.resolve(other, depth + 1),
            None => Ok(file),
        }
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|condition| condition == "test")
    })
}

/// The paths of a tree of `use`.
fn flatten(tree: &UseTree) -> Vec<Module> {
    match tree {
        UseTree::Path(path) => flatten(&path.tree)
            .into_iter()
            .map(|mut rest| {
                rest.insert(0, path.ident.to_string());
                rest
            })
            .collect(),
        UseTree::Name(name) if name.ident == "self" => vec![Module::new()],
        UseTree::Name(name) => vec![vec![name.ident.to_string()]],
        UseTree::Rename(rename) if rename.ident == "self" => vec![Module::new()],
        UseTree::Rename(rename) => vec![vec![rename.ident.to_string()]],
        UseTree::Glob(_) => vec![Module::new()],
        UseTree::Group(group) => group.items.iter().flat_map(flatten).collect(),
    }
}

/// A path from the crate's root, seen from a module; `None` for one of another crate.
fn absolute(path: &[String], module: &[String]) -> Option<Module> {
    let mut base = module.to_vec();
    let mut rest = path.iter();
    match rest.next()?.as_str() {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            base.pop();
        }
        _ => return None,
    }
    for segment in rest {
        if segment == "super" {
            base.pop();
        } else {
            base.push(segment.clone());
        }
    }
    Some(base)
}

/// Collects the paths of a file that lead to its own crate.
struct Paths {
    module: Module,
    found: Vec<Module>,
}

impl<'a> Visit<'a> for Paths {
    fn visit_item(&mut self, item: &'a Item) {
        let attributes: &[Attribute] = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => &[],
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        let paths = flatten(&item.tree);
        let paths = paths.iter().filter_map(|path| absolute(path, &self.module));
        // What a module hands on of its own is no import.
        let is_own = |path: &Module| path.starts_with(&self.module);
        let re_exports = !matches!(item.vis, Visibility::Inherited);
        let found: Vec<_> = paths.filter(|path| !(re_exports && is_own(path))).collect();
        self.found.extend(found);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if segments.len() > 1 {
            self.found.extend(absolute(&segments, &self.module));
        }
        visit::visit_path(self, path);
    }
}
