//! Numbers and labels in short.

/// Up to this, numbers are shown in full.
const FULL: u64 = 10_000;

/// `1234567` as `1.23M`; as it is with `full`.
pub(crate) fn number(value: u64, full: bool) -> String {
    if full || value < FULL {
        return value.to_string();
    }
    let mut scaled = value as f64;
    let mut unit = "";
    for next in ["K", "M", "G", "T", "P", "E"] {
        // 999.5 would be rounded to 1000.
        if scaled < 999.5 {
            break;
        }
        scaled /= 1000.0;
        unit = next;
    }
    let decimals = match scaled {
        s if s < 9.995 => 2,
        s if s < 99.95 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$}{unit}")
}

/// Returns a row's label and short name, shortened to `width` characters unless `full`.
pub(crate) fn label(label: &str, short: Option<&str>, width: usize, full: bool) -> String {
    let tail = short.map(|short| format!(" ({short})")).unwrap_or_default();
    let room = width.saturating_sub(tail.chars().count());
    if full || label.chars().count() <= room {
        return format!("{label}{tail}");
    }
    let head: String = label.chars().take(room.saturating_sub(1)).collect();
    format!("{}…{tail}", head.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_keep_three_digits() {
        for (value, short) in [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0K"),
            (99_949, "99.9K"),
            (99_950, "100K"),
            (999_499, "999K"),
            (999_500, "1.00M"),
            (1_234_567, "1.23M"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(number(value, false), short);
            assert_eq!(number(value, true), value.to_string());
        }
    }

    #[test]
    fn long_labels_keep_their_short_name() {
        assert_eq!(label("Short", Some("S"), 20, false), "Short (S)");
        assert_eq!(
            label("A label too long", Some("S"), 14, false),
            "A label t… (S)"
        );
        assert_eq!(
            label("A label too long", Some("S"), 14, true),
            "A label too long (S)"
        );
    }
}
