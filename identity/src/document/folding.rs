//! The one folding of text that is compared without regard to case and width.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::decompose_compatible;

/// What is checked, stored, indexed and filtered is folded by this and nothing else: the mappings of PRECIS'
/// UsernameCaseMapped (RFC 8265 section 3.3.2: width, lower case, NFC) without its refusals.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    lower(text.chars().map(map_width))
}

/// The key that an earlier version made of a text, where it is another one: it did not map width. A live account keeps
/// such a key where the new one is taken.
pub fn former_fold(text: &str) -> Option<String> {
    text.contains(has_width).then(|| lower(text.chars()))
}

fn lower(text: impl Iterator<Item = char>) -> String {
    // Character by character, because the context rule for the Greek sigma would make a prefix fold differently
    // from the word it begins. Lower case may be decomposed, hence the second composition.
    text.nfc().flat_map(char::to_lowercase).nfc().collect()
}

/// The first and the last character that have a width of their own, of two blocks; for patterns of both databases.
pub const WIDTH_RANGES: [(char, char); 2] = [('\u{3000}', '\u{3000}'), ('\u{FF01}', '\u{FFEE}')];

fn has_width(c: char) -> bool {
    WIDTH_RANGES.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// RFC 8264 section 5.2.1: a fullwidth or halfwidth character becomes the one that it is a form of.
fn map_width(c: char) -> char {
    match c {
        // Where compatibility goes further than the width does.
        '\u{FFE3}' => '\u{AF}',
        '\u{FFA0}' => '\u{3164}',
        '\u{FFA1}'..='\u{FFBE}' => shift(c, 0xFFA1, 0x3131),
        '\u{FFC2}'..='\u{FFC7}' => shift(c, 0xFFC2, 0x314F),
        '\u{FFCA}'..='\u{FFCF}' => shift(c, 0xFFCA, 0x3155),
        '\u{FFD2}'..='\u{FFD7}' => shift(c, 0xFFD2, 0x315B),
        '\u{FFDA}'..='\u{FFDC}' => shift(c, 0xFFDA, 0x3161),
        c if has_width(c) => {
            let mut mapped = c;
            decompose_compatible(c, |form| mapped = form);
            mapped
        }
        c => c,
    }
}

fn shift(c: char, from: u32, to: u32) -> char {
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
            // Only width: other forms of a letter are other letters.
            ("①ﬁ²Ⅸ", "①ﬁ²ⅸ"),
            ("ﾠ", "ㅤ"),
        ] {
            assert_eq!(fold(text), folded, "{text}");
            assert_eq!(fold(folded), folded, "{text}");
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
            assert_eq!(fold(text), lower(text.chars()));
        }
    }
}
