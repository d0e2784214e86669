//! Figures that do not grow unseen: tables in tests/data, and what is measured beside them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

/// By how many percent a figure may exceed what the table says.
const SLACK: u64 = 10;

/// Figures by what they are of: the lines of a table.
pub type Figures = BTreeMap<String, Vec<u64>>;

/// A table of figures.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    /// Its file, in tests/data.
    pub file: &'static str,
    /// What it is of, and then what the figures are.
    pub columns: &'static [&'static str],
    /// What writes it anew.
    pub update: &'static str,
}

impl Guard {
    fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../data")
            .join(self.file)
    }

    /// Returns what the table says.
    ///
    /// # Errors
    /// If a line is none.
    pub fn read(&self) -> Result<Figures> {
        let path = self.path();
        self.parse(&fs::read_to_string(&path).unwrap_or_default())
            .with_context(|| format!("cannot make sense of {}", path.display()))
    }

    fn parse(&self, text: &str) -> Result<Figures> {
        let line = |line: &str| -> Result<(String, Vec<u64>)> {
            let mut cells = line.split('\t');
            let name = cells.next().unwrap_or_default().to_owned();
            let figures = cells.map(str::parse).collect::<Result<Vec<_>, _>>()?;
            ensure!(figures.len() + 1 == self.columns.len(), "{line}");
            Ok((name, figures))
        };
        text.lines().skip(1).map(line).collect()
    }

    /// Writes the table anew.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, figures: &Figures) -> Result<()> {
        let mut text = self.columns.join("\t") + "\n";
        for (name, figures) in figures {
            let cells = figures.iter().map(u64::to_string);
            let line: Vec<_> = std::iter::once(name.clone()).chain(cells).collect();
            text += &(line.join("\t") + "\n");
        }
        let path = self.path();
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("    wrote {}", path.display());
        Ok(())
    }

    /// Holds what was measured against the table.
    ///
    /// # Errors
    /// If something has grown, or is on one side only.
    pub fn compare(&self, known: &Figures, measured: &Figures) -> Result<()> {
        let mut failures = Vec::new();
        for name in known.keys().filter(|name| !measured.contains_key(*name)) {
            failures.push(format!("{name}: in the table, and was not measured"));
        }
        for (name, figures) in measured {
            let Some(known) = known.get(name) else {
                failures.push(format!("{name}: not in the table"));
                continue;
            };
            for ((what, known), is) in self.columns[1..].iter().zip(known).zip(figures) {
                if is * 100 > known * (100 + SLACK) {
                    failures.push(format!("{name}: {what} were {known}, and are {is}"));
                }
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        bail!(
            "{} has other figures (up to {SLACK} % more are let pass):\n{}\n  next: make it smaller, or \
             write the table anew ({}) and say in the commit what it is spent on",
            self.path().display(),
            failures.join("\n"),
            self.update,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: Guard = Guard {
        file: "none.tsv",
        columns: &["program", "instructions", "bytes"],
        update: "make",
    };

    fn differences(measured: &str) -> String {
        let table = |lines: &str| {
            GUARD
                .parse(&format!("heading\n{lines}"))
                .expect("lines of three cells")
        };
        let known = table("a\t100\t8\nb\t20\t8");
        GUARD
            .compare(&known, &table(measured))
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn a_tenth_more_passes() {
        assert_eq!(differences("a\t110\t8\nb\t1\t1"), "");
    }

    #[test]
    fn more_does_not() {
        assert!(
            differences("a\t111\t8\nb\t20\t8").contains("a: instructions were 100, and are 111")
        );
        assert!(differences("a\t100\t8\nb\t20\t9").contains("b: bytes were 8, and are 9"));
    }

    #[test]
    fn nor_does_what_one_side_lacks() {
        assert!(differences("a\t100\t8").contains("b: in the table"));
        assert!(differences("a\t100\t8\nb\t20\t8\nc\t1\t1").contains("c: not in the table"));
    }

    #[test]
    fn a_line_without_all_figures_is_refused() {
        assert!(GUARD.parse("heading\na\t1").is_err());
    }
}
