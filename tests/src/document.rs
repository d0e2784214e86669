//! Parts of documents that are made from the code.

use std::{env, fs, path::Path};

use anyhow::{Context as _, Result, ensure};

const END: &str = "<!-- end -->";

/// Holds the generated part of a document against `wanted`, or writes it.
///
/// # Errors
/// If the document has no such part, or another text in it.
pub fn check(name: &str, wanted: &str) -> Result<()> {
    replace(name, &[("<!-- generated -->\n".to_owned(), wanted)])
}

/// Holds the generated parts of a document against what is wanted, or writes them. Each is found by its name:
/// `<!-- generated: NAME -->`.
///
/// # Errors
/// If the document lacks such a part, or has another text in it.
pub fn check_parts(name: &str, parts: &[(&str, String)]) -> Result<()> {
    let parts: Vec<_> = parts
        .iter()
        .map(|(part, wanted)| (format!("<!-- generated: {part} -->\n"), wanted.as_str()))
        .collect();
    replace(name, &parts)
}

fn replace(name: &str, parts: &[(String, &str)]) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut is = text.clone();
    for (begin, wanted) in parts {
        let begin_name = begin.trim();
        let (head, rest) = is
            .split_once(begin)
            .with_context(|| format!("docs/{name} has no {begin_name}"))?;
        let (_, tail) = rest
            .split_once(END)
            .with_context(|| format!("docs/{name}: {begin_name} has no end"))?;
        is = format!("{head}{begin}{wanted}{END}{tail}");
    }
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, is)?;
        return Ok(());
    }
    ensure!(
        is == text,
        "docs/{name} is out of date: UPDATE_DOCS=1 writes it"
    );
    Ok(())
}
