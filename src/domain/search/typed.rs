//! A filter judged against the schema: attributes found, literals folded and of the right type, everything that
//! cannot be answered refused. What is left has one meaning, with fewer cases than the client's tree.

use chrono::{DateTime, Datelike};
use serde_json::Number;

use super::{AttrPath, Filter, Literal, Op};
use crate::domain::document::{self, fold};
use crate::domain::schema::{Attribute, Kind, ResourceType, Returned};
use crate::error::{Error, Result, Rule};

/// A typed filter. `ne` has become a negated `eq`, and a comparison with null a question of presence.
#[derive(Debug)]
pub(super) enum Node<'a> {
    All(Vec<Node<'a>>),
    Any(Vec<Node<'a>>),
    Not(Box<Node<'a>>),
    /// Known without looking.
    Always(bool),
    /// One value, found by canonical names from the document or, inside [`Node::Element`], from the element.
    Leaf(Vec<&'a str>, Test),
    /// Some element of a multi-valued attribute satisfies the inner node.
    Element(Vec<&'a str>, Box<Node<'a>>),
}

/// What is asked of one value. The operator is never [`Op::Ne`].
#[derive(Debug)]
pub(super) enum Test {
    Present,
    /// The operand is folded unless the attribute is case exact.
    Text(Op, String),
    Number(Op, Number),
    Boolean(bool),
    /// Microseconds since the epoch.
    Instant(Op, i64),
}

/// Types `filter` against the attributes of `ty`.
pub(super) fn typed<'a>(filter: &Filter, ty: &'a ResourceType) -> Result<Node<'a>> {
    match filter {
        Filter::And(list) => Ok(Node::All(list.iter().map(|inner| typed(inner, ty)).collect::<Result<_>>()?)),
        Filter::Or(list) => Ok(Node::Any(list.iter().map(|inner| typed(inner, ty)).collect::<Result<_>>()?)),
        Filter::Not(inner) => Ok(Node::Not(Box::new(typed(inner, ty)?))),
        Filter::Present(path) => {
            let target = Target::find(path, ty)?;
            target.node(ty, target.sub, Test::Present)
        }
        Filter::Compare(path, op, literal) => {
            let target = Target::find(path, ty)?;
            if *literal == Literal::Null {
                return null(*op, target.node(ty, target.sub, Test::Present)?, path);
            }
            // `emails eq "x"` and Entra's `members eq "x"` mean the value of the complex attribute.
            let sub = match target.sub {
                None if target.attribute.kind == Kind::Complex => Some(
                    target
                        .attribute
                        .sub("value")
                        .ok_or_else(|| refuse(format!("`{path}` is complex: name one of its sub-attributes")))?,
                ),
                sub => sub,
            };
            let test = test(sub.unwrap_or(target.attribute), *op, literal, path)?;
            let former = target.former_name(&test, literal);
            let mut node = target.node(ty, sub, test)?;
            if let Some(key) = former {
                node = Node::Any(vec![node, target.node(ty, sub, Test::Text(Op::Eq, key))?]);
            }
            Ok(negated_if(*op == Op::Ne, node))
        }
        Filter::Element(path, inner) => {
            let target = Target::find(path, ty)?;
            if target.sub.is_some() {
                return Err(refuse(format!("`{path}` is a sub-attribute: it takes no brackets")));
            }
            if target.attribute.multi_valued {
                let inner = in_element(inner, target.attribute, &|path, test| Ok(Node::Leaf(path, test)))?;
                return target.element(inner);
            }
            if target.attribute.kind != Kind::Complex {
                return Err(refuse(format!("`{path}` has no sub-attributes: it takes no brackets")));
            }
            // Brackets on a single complex value: there is at most one element.
            let place = target.place();
            let inner =
                in_element(inner, target.attribute, &|path, test| leaf(ty, [place.clone(), path].concat(), test))?;
            Ok(Node::All(vec![leaf(ty, place.clone(), Test::Present)?, inner]))
        }
    }
}

/// Types the filter inside brackets, whose names are sub-attributes of `attribute`; `leaf` places what it asks.
///
/// `ne` is true here for an element without the sub-attribute, as it is for a whole resource.
pub(super) fn in_element<'a>(
    filter: &Filter,
    attribute: &'a Attribute,
    leaf: &dyn Fn(Vec<&'a str>, Test) -> Result<Node<'a>>,
) -> Result<Node<'a>> {
    let all = |list: &[Filter]| list.iter().map(|inner| in_element(inner, attribute, leaf)).collect::<Result<_>>();
    match filter {
        Filter::And(list) => Ok(Node::All(all(list)?)),
        Filter::Or(list) => Ok(Node::Any(all(list)?)),
        Filter::Not(inner) => Ok(Node::Not(Box::new(in_element(inner, attribute, leaf)?))),
        Filter::Present(path) => {
            let (place, _) = element_part(path, attribute)?;
            leaf(place, Test::Present)
        }
        Filter::Compare(path, op, literal) => {
            let (place, part) = element_part(path, attribute)?;
            if *literal == Literal::Null {
                return null(*op, leaf(place, Test::Present)?, path);
            }
            Ok(negated_if(*op == Op::Ne, leaf(place, test(part, *op, literal, path)?)?))
        }
        Filter::Element(..) => Err(refuse("brackets cannot be nested".to_owned())),
    }
}

/// What a name inside brackets stands for. `value` is also the way to speak of a plain value as an element.
fn element_part<'a>(path: &AttrPath, attribute: &'a Attribute) -> Result<(Vec<&'a str>, &'a Attribute)> {
    let plain = path.schema.is_none() && path.sub.is_none();
    if plain && attribute.kind != Kind::Complex && path.name.eq_ignore_ascii_case("value") {
        return Ok((Vec::new(), attribute));
    }
    let part = Some(path).filter(|_| plain).and_then(|path| attribute.sub(&path.name));
    let part = part.ok_or_else(|| refuse(format!("`{}` has no sub-attribute `{path}`", attribute.name)))?;
    searchable(part, path)?;
    Ok((vec![part.name.as_str()], part))
}

/// An attribute that a filter names.
struct Target<'a> {
    extension: Option<&'a str>,
    attribute: &'a Attribute,
    sub: Option<&'a Attribute>,
}

impl<'a> Target<'a> {
    fn find(path: &AttrPath, ty: &'a ResourceType) -> Result<Self> {
        let found = ty.resolve(path).ok_or_else(|| refuse(format!("`{path}` is not an attribute of a {}", ty.name)))?;
        searchable(found.attribute, path)?;
        if let Some(sub) = found.sub {
            searchable(sub, path)?;
        }
        Ok(Self { extension: found.extension, attribute: found.attribute, sub: found.sub })
    }

    /// The key under which an account of this name may still be found: one that met another account's kept its own.
    fn former_name(&self, test: &Test, literal: &Literal) -> Option<String> {
        match (test, literal) {
            (Test::Text(Op::Eq, _), Literal::String(name))
                if self.extension.is_none() && self.attribute.name == "userName" =>
            {
                document::former_fold(name)
            }
            _ => None,
        }
    }

    fn place(&self) -> Vec<&'a str> {
        self.extension.into_iter().chain([self.attribute.name.as_str()]).collect()
    }

    /// The test on the attribute or on `sub`; on any element where the attribute is multi-valued.
    fn node(&self, ty: &'a ResourceType, sub: Option<&'a Attribute>, test: Test) -> Result<Node<'a>> {
        let mut place = self.place();
        let sub: Vec<&str> = sub.iter().map(|sub| sub.name.as_str()).collect();
        // Any element at all makes a multi-valued attribute present; every other test is put to the elements.
        if self.attribute.multi_valued && !(sub.is_empty() && matches!(test, Test::Present)) {
            return self.element(Node::Leaf(sub, test));
        }
        place.extend(sub);
        leaf(ty, place, test)
    }

    fn element(&self, inner: Node<'a>) -> Result<Node<'a>> {
        // These two are not in the document but in rows of their own.
        if self.extension.is_none() && ["groups", "members"].contains(&self.attribute.name.as_str()) {
            check_relation(&inner, &self.attribute.name)?;
        }
        Ok(Node::Element(self.place(), Box::new(inner)))
    }
}

/// Refuses what rows of memberships and nestings cannot answer. What members are called is returned on request only, so
/// it is not searched for.
fn check_relation(node: &Node, name: &str) -> Result<()> {
    match node {
        Node::All(list) | Node::Any(list) => list.iter().try_for_each(|inner| check_relation(inner, name)),
        Node::Not(inner) => check_relation(inner, name),
        Node::Leaf(place, Test::Present | Test::Text(Op::Eq, _)) if place == &["value"] => Ok(()),
        Node::Leaf(place, Test::Present | Test::Text(..)) if place == &["type"] => Ok(()),
        Node::Leaf(place, Test::Present | Test::Text(..)) if place == &["display"] && name == "groups" => Ok(()),
        _ => {
            let others = if name == "groups" { "`type` and `display`" } else { "and `type`" };
            Err(refuse(format!("of `{name}` only `value` (with eq, ne or pr), {others} can be searched")))
        }
    }
}

/// A test on a value of the whole resource; some are answered by columns, and those have limits of their own.
fn leaf<'a>(ty: &ResourceType, place: Vec<&'a str>, test: Test) -> Result<Node<'a>> {
    match (place.as_slice(), &test) {
        (["meta", "location"], _) => Err(refuse("`meta.location` cannot be searched: use `id`".to_owned())),
        // Every resource has these, whatever its document says.
        (["id" | "meta" | "active"] | ["meta", _], Test::Present) => Ok(Node::Always(true)),
        (["meta", "resourceType"], Test::Text(op, operand)) => Ok(Node::Always(compare_text(*op, ty.name, operand))),
        (["id"] | ["meta", "version"], Test::Text(op, _)) if *op != Op::Eq => {
            Err(refuse(format!("`{}` can only be compared with eq and ne", place.join("."))))
        }
        _ => Ok(Node::Leaf(place, test)),
    }
}

/// How two texts compare, by code point. (UTF-8 keeps that order in its bytes.)
pub(super) fn compare_text(op: Op, value: &str, operand: &str) -> bool {
    match op {
        Op::Eq => value == operand,
        Op::Ne => value != operand,
        Op::Co => value.contains(operand),
        Op::Sw => value.starts_with(operand),
        Op::Ew => value.ends_with(operand),
        Op::Gt => value > operand,
        Op::Ge => value >= operand,
        Op::Lt => value < operand,
        Op::Le => value <= operand,
    }
}

// RFC 7643 section 2.5: null, an empty array and no value are the same state, "unassigned".
fn null<'a>(op: Op, present: Node<'a>, path: &AttrPath) -> Result<Node<'a>> {
    match op {
        Op::Eq => Ok(Node::Not(Box::new(present))),
        Op::Ne => Ok(present),
        _ => Err(refuse(format!("`{path}` can be compared with null only by eq and ne"))),
    }
}

fn negated_if(negated: bool, node: Node<'_>) -> Node<'_> {
    if negated { Node::Not(Box::new(node)) } else { node }
}

// RFC 7644 section 3.4.2.2, table 3: what each operator means depends on the type of the attribute.
fn test(attribute: &Attribute, op: Op, literal: &Literal, path: &AttrPath) -> Result<Test> {
    let mismatch = |wanted: &str| Err(refuse(format!("`{path}` is compared with {wanted}, not with {literal}")));
    let ordering = matches!(op, Op::Gt | Op::Ge | Op::Lt | Op::Le);
    let equality = matches!(op, Op::Eq | Op::Ne);
    let substring = !ordering && !equality;
    let unordered = |kind: &str| Err(refuse(format!("`{path}` is {kind}: `{}` does not apply to it", op.name())));
    let plain = if op == Op::Ne { Op::Eq } else { op };
    match attribute.kind {
        Kind::String | Kind::Reference | Kind::Binary => {
            let text = match literal {
                Literal::String(text) => text.clone(),
                // A text without its quotes that looks like another kind of value.
                Literal::Number(number) if !number.is_f64() => number.to_string(),
                Literal::Bool(value) => value.to_string(),
                Literal::Number(_) | Literal::Null => return mismatch("a string"),
            };
            if attribute.kind == Kind::Binary && !equality {
                return unordered("binary");
            }
            if text.contains('\0') {
                return Err(refuse("contains a NUL character".to_owned()));
            }
            Ok(Test::Text(plain, if attribute.case_exact { text } else { fold(&text) }))
        }
        Kind::Boolean if !equality => unordered("a boolean"),
        Kind::Boolean => match literal {
            Literal::Bool(value) => Ok(Test::Boolean(*value)),
            // Entra writes booleans as strings.
            Literal::String(text) if text.eq_ignore_ascii_case("true") => Ok(Test::Boolean(true)),
            Literal::String(text) if text.eq_ignore_ascii_case("false") => Ok(Test::Boolean(false)),
            _ => mismatch("true or false"),
        },
        Kind::Integer | Kind::Decimal if substring => unordered("a number"),
        Kind::Integer | Kind::Decimal => match literal {
            Literal::Number(number) => Ok(Test::Number(plain, number.clone())),
            _ => mismatch("a number"),
        },
        Kind::DateTime if substring => unordered("a date"),
        Kind::DateTime => match instant(literal) {
            Some(micros) => Ok(Test::Instant(plain, micros)),
            None => mismatch("a date such as \"2024-05-01T08:00:00Z\""),
        },
        Kind::Complex => Err(refuse(format!("`{path}` is complex: name one of its sub-attributes"))),
    }
}

/// Microseconds since the epoch; only years that four digits can write, so that stored text keeps its order.
fn instant(literal: &Literal) -> Option<i64> {
    let Literal::String(text) = literal else { return None };
    let micros = document::instant(text)?;
    let year = DateTime::from_timestamp_micros(micros)?.year();
    (0..=9999).contains(&year).then_some(micros)
}

// RFC 7643 section 7: what is never returned must not be guessed by searching for it either.
fn searchable(attribute: &Attribute, path: &AttrPath) -> Result<()> {
    if attribute.returned == Returned::Never {
        return Err(refuse(format!("`{path}` cannot be searched")));
    }
    Ok(())
}

fn refuse(why: String) -> Error {
    Error::broken(Rule::Filter, "filter", why)
}
