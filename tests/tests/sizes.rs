//! What CONTRIBUTING.md says of files, functions and their documents: a file has at most 500 lines, a function at most
//! 80, and the first line of a document says what something is.
//!
//! Lines of `#[cfg(test)]` do not count; files that are a table of data are named here.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use syn::{
    Attribute, Expr, ExprLit, ImplItemFn, Item, ItemFn, Lit, Meta, TraitItemFn,
    spanned::Spanned as _,
    visit::{self, Visit},
};

const CRATES: [&str; 3] = ["mptcp-common", "mptcp-ebpf", "mptcp-user"];

const MOST_LINES: usize = 500;
const MOST_LINES_OF_FUNCTION: usize = 80;

/// Tables of data.
const TABLES: [&str; 3] = [
    "mptcp-common/src/counter/raw.rs",
    "mptcp-user/src/statistics/rows.rs",
    "mptcp-user/src/statistics/extras.rs",
];

#[test]
fn files_functions_and_documents_are_short() -> Result<()> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut wrong = Vec::new();
    let mut functions = 0;
    for name in CRATES {
        let mut directories = vec![root.join(name).join("src")];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory)? {
                let path = entry?.path();
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                if path.extension().is_none_or(|extension| extension != "rs") {
                    continue;
                }
                let file = path.strip_prefix(root)?.display().to_string();
                let text = fs::read_to_string(&path)?;
                let parsed = syn::parse_file(&text).with_context(|| file.clone())?;
                let mut sizes = Sizes::default();
                sizes.visit_file(&parsed);
                functions += sizes.functions;
                let lines = text.lines().count() - sizes.lines_of_tests;
                let is_free = TABLES.contains(&file.as_str()) || file.ends_with("/tests.rs");
                if lines > MOST_LINES && !is_free {
                    wrong.push(format!("{file} has {lines} lines"));
                }
                let found = sizes.wrong.iter().filter(|_| !file.ends_with("/tests.rs"));
                wrong.extend(found.map(|wrong| format!("{file}: {wrong}")));
            }
        }
    }
    ensure!(functions > 1000, "only {functions} functions were seen");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[derive(Default)]
struct Sizes {
    functions: usize,
    lines_of_tests: usize,
    wrong: Vec<String>,
}

impl Sizes {
    fn function(&mut self, name: &syn::Ident, item: &impl syn::spanned::Spanned) {
        self.functions += 1;
        let lines = lines(item);
        if lines > MOST_LINES_OF_FUNCTION {
            self.wrong.push(format!("{name} has {lines} lines"));
        }
    }
}

fn lines(item: &impl syn::spanned::Spanned) -> usize {
    let span = item.span();
    span.end().line - span.start().line + 1
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|condition| condition == "test")
    })
}

impl<'a> Visit<'a> for Sizes {
    fn visit_item(&mut self, item: &'a Item) {
        if let Item::Mod(module) = item
            && is_for_tests(&module.attrs)
        {
            self.lines_of_tests += lines(module);
            return;
        }
        visit::visit_item(self, item);
    }

    fn visit_item_fn(&mut self, function: &'a ItemFn) {
        self.function(&function.sig.ident, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'a ImplItemFn) {
        self.function(&function.sig.ident, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'a TraitItemFn) {
        if let Some(block) = &function.default {
            self.function(&function.sig.ident, block);
        }
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_attribute(&mut self, attribute: &'a Attribute) {
        let Meta::NameValue(value) = &attribute.meta else {
            return;
        };
        if !value.path.is_ident("doc") {
            return;
        }
        let Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) = &value.value
        else {
            return;
        };
        let text = text.value();
        let text = text.trim();
        if text.ends_with('?') || text.starts_with("The same ") && !text.contains("bytes") {
            let line = attribute.span().start().line;
            self.wrong.push(format!("line {line}: {text:?}"));
        }
    }
}
