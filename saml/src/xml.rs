//! Reading XML: one parser, and what is refused before it sees a text.

use uppsala::{Document, NodeId, NodeKind};

/// No document of ours is nested more deeply. A response of SAML has about ten levels.
const MAX_DEPTH: u32 = 40;
/// A response with a thousand groups has about two thousand elements.
const MAX_TAGS: usize = 20_000;
/// A tag of a response has fewer than ten attributes. The parser compares each attribute of a tag
/// with all others.
const MAX_ATTRIBUTES: usize = 100;
/// Bytes. The canonical text repeats a namespace for each element that uses it.
const MAX_NAMESPACE_BYTES: usize = 256;

/// Why a text is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XmlFault {
    MarkupDeclaration,
    Malformed,
    /// Too many elements, too many attributes of one element, or too long a namespace.
    TooManyElements,
}

/// Refuses what could make the parser read more than the text, or something else than the text: a
/// document type, entities, processing instructions, another encoding, floods of elements or of
/// attributes, long namespaces.
fn check_markup(text: &str) -> Result<(), XmlFault> {
    let bytes = text.as_bytes();
    let mut tags = 0;
    for start in find_tag_starts(bytes) {
        let rest = &bytes[start + 1..];
        tags += 1;
        if rest.starts_with(b"!") && !rest.starts_with(b"!--") && !rest.starts_with(b"![CDATA[") {
            return Err(XmlFault::MarkupDeclaration);
        }
        if rest.starts_with(b"?") && !(start == 0 && is_plain_declaration(text)) {
            return Err(XmlFault::MarkupDeclaration);
        }
        // An attribute value cannot hold an opening bracket, so all of the tag is in here.
        let length = rest.iter().position(|byte| *byte == b'<').unwrap_or(rest.len());
        let tag = &rest[..length];
        let attributes = tag.iter().filter(|byte| **byte == b'=').count();
        if tags > MAX_TAGS || attributes > MAX_ATTRIBUTES || has_long_namespace(tag) {
            return Err(XmlFault::TooManyElements);
        }
    }
    Ok(())
}

/// Whether a tag declares a namespace whose name is longer than is read.
fn has_long_namespace(tag: &[u8]) -> bool {
    tag.windows(5).enumerate().filter(|(_, word)| *word == b"xmlns").any(|(at, _)| {
        let mut value = tag[at..].iter().skip_while(|byte| !matches!(byte, b'"' | b'\''));
        let Some(quote) = value.next() else { return false };
        value.take_while(|byte| *byte != quote).count() > MAX_NAMESPACE_BYTES
    })
}

/// Where an opening angle bracket stands.
fn find_tag_starts(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'<').map(|(at, _)| at)
}

/// Whether the text begins with an XML declaration that names no encoding but UTF-8.
fn is_plain_declaration(text: &str) -> bool {
    let Some((declaration, _)) = text.split_once("?>") else { return false };
    let Some(inside) = declaration.strip_prefix("<?xml") else { return false };
    if !inside.starts_with([' ', '\t', '\r', '\n']) || inside.contains('<') {
        return false;
    }
    match inside.split_once("encoding") {
        None => true,
        Some((_, value)) => {
            let value = value.trim_start().trim_start_matches('=').trim_start();
            let value = value.trim_start_matches(['"', '\'']);
            value.get(..5).is_some_and(|name| name.eq_ignore_ascii_case("utf-8"))
        }
    }
}

/// Parses a text that passed the checks.
pub fn parse_document(text: &str) -> Result<Document<'_>, XmlFault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    check_markup(text)?;
    uppsala::Parser::new()
        .with_max_depth(MAX_DEPTH)
        .with_forbid_dtd(true)
        .with_forbid_entities(true)
        .parse(text)
        .map_err(|_| XmlFault::Malformed)
}

/// Whether the node is the element of that name.
pub fn is_element(document: &Document<'_>, node: NodeId, namespace: &str, name: &str) -> bool {
    document.element(node).is_some_and(|element| element.matches_name_ns(namespace, name))
}

/// The child elements, whatever their names are.
pub fn child_elements(document: &Document<'_>, node: NodeId) -> Vec<NodeId> {
    document.children_iter(node).filter(|child| document.element(*child).is_some()).collect()
}

/// The child elements of one name.
pub fn children_named(
    document: &Document<'_>,
    node: NodeId,
    namespace: &str,
    name: &str,
) -> Vec<NodeId> {
    document
        .children_iter(node)
        .filter(|child| is_element(document, *child, namespace, name))
        .collect()
}

/// The only child element of that name; none when there is none or when there are several.
pub fn only_child(
    document: &Document<'_>,
    node: NodeId,
    namespace: &str,
    name: &str,
) -> Option<NodeId> {
    match children_named(document, node, namespace, name)[..] {
        [child] => Some(child),
        _ => None,
    }
}

/// The value of an attribute that is in no namespace.
pub fn attribute<'d>(document: &'d Document<'_>, node: NodeId, name: &str) -> Option<&'d str> {
    document
        .element(node)?
        .attributes
        .iter()
        .find(|attribute| {
            attribute.name.namespace_uri.is_none() && *attribute.name.local_name == *name
        })
        .map(|attribute| &*attribute.value)
}

/// The text of an element, across comments and CDATA sections: a comment must not cut a name.
pub fn text_of(document: &Document<'_>, node: NodeId) -> String {
    document.text_content_deep(node).trim().to_owned()
}

/// Whether a subtree has nothing but elements, attributes and text.
pub fn is_plain(document: &Document<'_>, node: NodeId) -> bool {
    document.descendants(node).into_iter().all(|inside| {
        matches!(document.node_kind(inside), Some(NodeKind::Element(_) | NodeKind::Text(_)))
    })
}

/// Escapes a text for an attribute in double quotes, or for the content of an element.
pub fn escape_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\r' => escaped.push_str("&#13;"),
            '\t' => escaped.push_str("&#9;"),
            // Not allowed in XML, not even escaped.
            other if other.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_refused_before_parsing() {
        for text in [
            "<!DOCTYPE a><a/>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
            "<a><?php x?></a>",
            "<?xml version=\"1.0\" encoding=\"UTF-16\"?><a/>",
            "<?xml-stylesheet href=\"a\"?><a/>",
            "<a><!ELEMENT b></a>",
            "<!doctype a><a/>",
        ] {
            assert_eq!(parse_document(text).err(), Some(XmlFault::MarkupDeclaration), "{text}");
        }
        assert!(parse_document("<?xml version=\"1.0\" encoding='utf-8'?><a/>").is_ok());
        assert!(parse_document("\u{feff}<?xml version=\"1.0\"?><a><!-- b --></a>").is_ok());
    }

    #[test]
    fn odd_documents_are_malformed() {
        let deep = format!("{}{}", "<a>".repeat(50), "</a>".repeat(50));
        for text in [
            "<a b=\"1\" b=\"2\"/>",
            "<a xmlns:p=\"u\" xmlns:q=\"u\" p:b=\"1\" q:b=\"2\"/>",
            "<p:a/>",
            "<a>&undeclared;</a>",
            "<a/><b/>",
            "<a>\u{1}</a>",
            "<a>&#0;</a>",
            "<a",
            "",
            &deep,
        ] {
            assert_eq!(parse_document(text).err(), Some(XmlFault::Malformed), "{text}");
        }
        let flood = format!("<a>{}</a>", "<b/>".repeat(MAX_TAGS));
        assert_eq!(parse_document(&flood).err(), Some(XmlFault::TooManyElements));
    }

    #[test]
    fn many_attributes_and_long_namespaces_are_refused() {
        let attributes = (0..101).map(|n| format!(" a{n}=\"\"")).collect::<String>();
        let tag = format!("<a{attributes}/>");
        assert_eq!(parse_document(&tag).err(), Some(XmlFault::TooManyElements));
        let long = format!("<a xmlns:p = 'u:{}'><p:b/></a>", "n".repeat(300));
        assert_eq!(parse_document(&long).err(), Some(XmlFault::TooManyElements));
        assert!(parse_document("<a xmlns:p='u:n' b='='><p:b/></a>").is_ok());
    }

    #[test]
    fn comments_do_not_cut_text() {
        let document = parse_document("<a>admin@example.com<!-- x -->.evil.test</a>").unwrap();
        let root = document.document_element().unwrap();
        assert_eq!(text_of(&document, root), "admin@example.com.evil.test");
    }

    #[test]
    fn attributes_of_namespaces_are_others() {
        let document = parse_document("<a xmlns:p=\"u\" p:ID=\"1\"/>").unwrap();
        assert_eq!(attribute(&document, document.document_element().unwrap(), "ID"), None);
    }
}
