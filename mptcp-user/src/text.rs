//! Text that is shown: what comes from outside (names of interfaces and files, contents of logs and captures) may
//! hold characters that command a terminal, or that turn the order of what is read around.

use std::{
    borrow::Cow,
    ffi::OsStr,
    fmt::{self, Write as _},
    io::{self, Write},
};

/// Characters of a name that are shown.
const LONGEST: usize = 400;

/// Characters of category Cf of Unicode, and its line and paragraph separators: they are not seen, and change how
/// others are.
const FORMATS: [(char, char); 24] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{2064}'),
    ('\u{2066}', '\u{206f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0001}', '\u{e0001}'),
    ('\u{e0020}', '\u{e007f}'),
    // Selectors of variants, and others that are nothing by themselves.
    ('\u{34f}', '\u{34f}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{3164}', '\u{3164}'),
];

/// Returns true if a character is nothing to be seen, but something that a terminal does.
fn is_hidden(character: char) -> bool {
    let is_in = |(first, last): &(char, char)| (*first..=*last).contains(&character);
    character.is_control() || (!character.is_ascii() && FORMATS.iter().any(is_in))
}

/// Writes a character as JSON escapes it, which can be read elsewhere as well.
fn escape(to: &mut String, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        let _ = write!(to, "\\u{unit:04x}");
    }
}

/// Returns the text with every character escaped that a terminal would not show, but for the ends of lines. JSON
/// stays JSON, and says the same.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let must_go = |character: char| character != '\n' && is_hidden(character);
    if !text.contains(must_go) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match must_go(character) {
            true => escape(&mut safe, character),
            false => safe.push(character),
        }
    }
    Cow::Owned(safe)
}

/// Returns a name or path from outside as part of a sentence: on one line, and not too long.
pub(crate) fn shown(name: impl AsRef<OsStr>) -> Shown {
    let name = name.as_ref().to_string_lossy();
    let mut characters = name.chars();
    let mut safe = String::with_capacity(name.len());
    for character in characters.by_ref().take(LONGEST) {
        match is_hidden(character) {
            true => escape(&mut safe, character),
            false => safe.push(character),
        }
    }
    if characters.next().is_some() {
        safe.push_str("...");
    }
    Shown(safe)
}

/// Returns words in lines of at most `width` characters, the first behind `head` and the others behind `indent`. A
/// word that is longer stays whole.
pub(crate) fn wrapped(head: &str, words: &str, indent: &str, width: usize) -> String {
    let mut text = String::new();
    let mut line = head.to_owned();
    let mut is_begun = false;
    for word in words.split_whitespace() {
        let length = line.chars().count() + usize::from(is_begun) + word.chars().count();
        if is_begun && length > width {
            text.push_str(line.trim_end());
            text.push('\n');
            indent.clone_into(&mut line);
            is_begun = false;
        }
        if is_begun {
            line.push(' ');
        }
        line.push_str(word);
        is_begun = true;
    }
    text.push_str(line.trim_end());
    text.push('\n');
    text
}

/// See [`shown`].
#[derive(Clone, Debug)]
pub(crate) struct Shown(String);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Makes what is written visible. Each piece is whole characters, as serde writes them.
pub(crate) struct Visible<W>(pub(crate) W);

impl<W: Write> Write for Visible<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.0.write_all(visible(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What turns text around, hides it, or commands a terminal: 7-bit, 8-bit and by Unicode.
    const HOSTILE: &str =
        "a\x1b[31mX\x1b]0;p\x07\x08\r\x7f\u{85}\u{9b}2J\u{202e}\u{2066}\u{feff}\u{e0041}z";

    #[test]
    fn nothing_hidden_is_left() {
        let safe = visible(HOSTILE);
        assert!(!safe.contains(is_hidden), "{safe:?}");
        assert!(safe.starts_with("a\\u001b[31mX") && safe.ends_with("\\udb40\\udc41z"));
        assert!(matches!(visible("plain, ä, 漢字\n"), Cow::Borrowed(_)));
        assert_eq!(visible("two\nlines"), "two\nlines");
    }

    #[test]
    fn a_name_is_one_line_and_not_long() {
        assert_eq!(
            shown("a\nnext: rm -r /").to_string(),
            "a\\u000anext: rm -r /"
        );
        let long = shown("x".repeat(100_000)).to_string();
        assert_eq!(long.len(), LONGEST + 3);
    }

    #[test]
    fn lines_are_as_long_as_there_is_room() {
        assert_eq!(
            wrapped("a: ", "one two three", "   ", 10),
            "a: one two\n   three\n"
        );
        assert_eq!(
            wrapped("a: ", "unbreakable b", " ", 5),
            "a: unbreakable\n b\n"
        );
        assert_eq!(wrapped("a: ", "", " ", 5), "a:\n");
    }

    #[test]
    fn json_says_the_same() {
        let value = json!({ HOSTILE: [HOSTILE, "\u{1d173}"] });
        for text in [value.to_string(), format!("{value:#}")] {
            let safe = visible(&text);
            assert!(!safe.replace('\n', "").contains(is_hidden));
            let read: Value = serde_json::from_str(&safe).expect("it is JSON");
            assert_eq!(read, value);
        }
        let mut written = Vec::new();
        serde_json::to_writer_pretty(Visible(&mut written), &value).expect("it is written");
        assert_eq!(
            serde_json::from_slice::<Value>(&written).expect("JSON"),
            value
        );
    }
}
