//! Parts of documents that are made from the code.

use std::{env, fs, path::Path};

use anyhow::{Context as _, Result, ensure};

const BEGIN: &str = "<!-- generated -->\n";
const END: &str = "<!-- end -->";

/// Holds the generated part of a document against `wanted`, or writes it.
pub fn check(name: &str, wanted: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (head, rest) = text.split_once(BEGIN).context("no generated part")?;
    let (found, tail) = rest
        .split_once(END)
        .context("the generated part has no end")?;
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{head}{BEGIN}{wanted}{END}{tail}"))?;
        return Ok(());
    }
    ensure!(
        found == wanted,
        "docs/{name} is out of date: UPDATE_DOCS=1 writes it"
    );
    Ok(())
}
