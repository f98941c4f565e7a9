//! The only folding of text that is compared without regard to case and width.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::decompose_compatible;

/// Folds a text for every check, index and filter. It maps width, lower case and NFC as the PRECIS
/// profile UsernameCaseMapped does (RFC 8265 section 3.3.2), but refuses no character.
pub fn fold_text(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    lowercase_text(text.chars().map(map_width))
}

/// The key that an earlier version of this server made of a text, if it differs: that version did
/// not map width. A live account keeps such a key if another account has the new key.
pub fn former_fold(text: &str) -> Option<String> {
    text.contains(has_width).then(|| lowercase_text(text.chars()))
}

fn lowercase_text(text: impl Iterator<Item = char>) -> String {
    // Character by character: the context rule for the Greek sigma would fold a prefix differently
    // from the word that begins with it. Lower case may be decomposed, hence the second
    // composition.
    text.nfc().flat_map(char::to_lowercase).nfc().collect()
}

/// The two ranges of fullwidth and halfwidth characters, each as its first and its last character;
/// for patterns in both databases.
pub const WIDTH_RANGES: [(char, char); 2] = [('\u{3000}', '\u{3000}'), ('\u{FF01}', '\u{FFEE}')];

fn has_width(c: char) -> bool {
    WIDTH_RANGES.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// RFC 8264 section 5.2.1: a fullwidth or halfwidth character becomes the one that it is a form of.
fn map_width(c: char) -> char {
    match c {
        // Compatibility decomposition would change more than the width of these.
        '\u{FFE3}' => '\u{AF}',
        '\u{FFA0}' => '\u{3164}',
        '\u{FFA1}'..='\u{FFBE}' => shift_character(c, 0xFFA1, 0x3131),
        '\u{FFC2}'..='\u{FFC7}' => shift_character(c, 0xFFC2, 0x314F),
        '\u{FFCA}'..='\u{FFCF}' => shift_character(c, 0xFFCA, 0x3155),
        '\u{FFD2}'..='\u{FFD7}' => shift_character(c, 0xFFD2, 0x315B),
        '\u{FFDA}'..='\u{FFDC}' => shift_character(c, 0xFFDA, 0x3161),
        c if has_width(c) => {
            let mut mapped = c;
            decompose_compatible(c, |form| mapped = form);
            mapped
        }
        c => c,
    }
}

fn shift_character(c: char, from: u32, to: u32) -> char {
    char::from_u32(u32::from(c) - from + to).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_case_and_composition_do_not_matter() {
        for (text, folded) in [
            ("ＪＡＮＥ＠Ｅｘａｍｐｌｅ．ＯＲＧ", "jane@example.org"),
            ("Ｊａｎｅ　Ｄｏｅ", "jane doe"),
            ("ｶﾞｯﾂ", "ガッツ"),
            ("ﾡￂ", "ㄱㅏ"),
            ("￠￣￦｟￭", "¢\u{AF}₩⦅■"),
            ("Ｅ\u{301}", "é"),
            ("Ａ\u{30A}", "å"),
            ("ΣΑΣ", "σασ"),
            ("ß", "ß"),
            // Only the width is mapped: other forms of a letter are other letters.
            ("①ﬁ²Ⅸ", "①ﬁ²ⅸ"),
            ("ﾠ", "ㅤ"),
        ] {
            assert_eq!(fold_text(text), folded, "{text}");
            assert_eq!(fold_text(folded), folded, "{text}");
        }
    }

    #[test]
    fn every_width_form_maps_to_one_character_without_width() {
        for c in WIDTH_RANGES.iter().flat_map(|(first, last)| *first..=*last) {
            let assigned = std::iter::once(c).nfkc().next() != Some(c);
            assert_eq!(has_width(map_width(c)), !assigned, "{c:?}");
        }
    }

    #[test]
    fn a_former_key_differs_only_where_there_is_width() {
        assert_eq!(former_fold("ＪANE").as_deref(), Some("ｊane"));
        for text in ["jane", "Zoë", "ガ", ""] {
            assert_eq!(former_fold(text), None);
            assert_eq!(fold_text(text), lowercase_text(text.chars()));
        }
    }
}
