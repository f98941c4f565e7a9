//! Checks a filter against the schema. Attributes are resolved, literals are folded and have the
//! right type, and a filter that cannot be answered is refused. The typed tree has fewer cases than
//! the client's tree, and each has exactly one meaning.

use chrono::{DateTime, Datelike};
use serde_json::Number;

use super::{AttrPath, CompareOp, Filter, FilterLiteral};
use crate::document;
use crate::document::fold_text;
use crate::error::{InvalidInput, Result, Rule};
use crate::schema::{AttributeKind, ResourceType, ReturnedRule, SchemaAttribute};

/// A typed filter. `ne` is replaced by a negated `eq`, and a comparison with null by a test of
/// presence.
#[derive(Debug)]
pub enum TypedFilter<'a> {
    All(Vec<TypedFilter<'a>>),
    Any(Vec<TypedFilter<'a>>),
    Not(Box<TypedFilter<'a>>),
    /// The answer is the same for every resource.
    Always(bool),
    /// A test of one value. The canonical names lead to it from the document or, inside
    /// [`TypedFilter::Element`], from the element.
    Leaf(Vec<&'a str>, ValueTest),
    /// Some element of a multi-valued attribute satisfies the inner node.
    Element(Vec<&'a str>, Box<TypedFilter<'a>>),
}

/// A test of one value. The operator is never [`CompareOp::Ne`].
#[derive(Debug)]
pub enum ValueTest {
    Present,
    /// The operand is folded unless the attribute is case exact.
    Text(CompareOp, String),
    Number(CompareOp, Number),
    Boolean(bool),
    /// Microseconds since the epoch.
    Instant(CompareOp, i64),
}

/// Checks `filter` against the attributes of `ty` and gives it types.
pub fn type_filter<'a>(filter: &Filter, ty: &'a ResourceType) -> Result<TypedFilter<'a>> {
    match filter {
        Filter::And(list) => Ok(TypedFilter::All(
            list.iter().map(|inner| type_filter(inner, ty)).collect::<Result<_>>()?,
        )),
        Filter::Or(list) => Ok(TypedFilter::Any(
            list.iter().map(|inner| type_filter(inner, ty)).collect::<Result<_>>()?,
        )),
        Filter::Not(inner) => Ok(TypedFilter::Not(Box::new(type_filter(inner, ty)?))),
        Filter::Present(path) => {
            let target = FilterTarget::find_target(path, ty)?;
            target.target_node(ty, target.sub, ValueTest::Present)
        }
        Filter::Compare(path, op, literal) => {
            let target = FilterTarget::find_target(path, ty)?;
            if *literal == FilterLiteral::Null {
                return null_test(
                    *op,
                    target.target_node(ty, target.sub, ValueTest::Present)?,
                    path,
                );
            }
            // `emails eq "x"` and Entra's `members eq "x"` mean the value of the complex attribute.
            let sub = match target.sub {
                None if target.attribute.kind == AttributeKind::Complex => {
                    Some(target.attribute.sub_attribute("value").ok_or_else(|| {
                        filter_error(format!("`{path}` is complex: name one of its sub-attributes"))
                    })?)
                }
                sub => sub,
            };
            let test = typed_test(sub.unwrap_or(target.attribute), *op, literal, path)?;
            let former = target.former_name(&test, literal);
            let mut node = target.target_node(ty, sub, test)?;
            if let Some(key) = former {
                node = TypedFilter::Any(vec![
                    node,
                    target.target_node(ty, sub, ValueTest::Text(CompareOp::Eq, key))?,
                ]);
            }
            Ok(negate_if(*op == CompareOp::Ne, node))
        }
        Filter::Element(path, inner) => {
            let target = FilterTarget::find_target(path, ty)?;
            if target.sub.is_some() {
                return Err(filter_error(format!(
                    "`{path}` is a sub-attribute: it takes no brackets"
                )));
            }
            if target.attribute.multi_valued {
                let inner = in_element(inner, target.attribute, &|path, test| {
                    Ok(TypedFilter::Leaf(path, test))
                })?;
                return target.element_node(inner);
            }
            if target.attribute.kind != AttributeKind::Complex {
                return Err(filter_error(format!(
                    "`{path}` has no sub-attributes: it takes no brackets"
                )));
            }
            // Brackets on a single complex value: there is at most one element.
            let place = target.target_place();
            let inner = in_element(inner, target.attribute, &|path, test| {
                leaf_node(ty, [place.clone(), path].concat(), test)
            })?;
            Ok(TypedFilter::All(vec![leaf_node(ty, place.clone(), ValueTest::Present)?, inner]))
        }
    }
}

/// Types the filter inside brackets, whose names are sub-attributes of `attribute`. `leaf` makes
/// the node of one test.
///
/// `ne` is true for an element without the sub-attribute, as it is for a whole resource without the
/// attribute.
pub fn in_element<'a>(
    filter: &Filter,
    attribute: &'a SchemaAttribute,
    leaf: &dyn Fn(Vec<&'a str>, ValueTest) -> Result<TypedFilter<'a>>,
) -> Result<TypedFilter<'a>> {
    let all = |list: &[Filter]| {
        list.iter().map(|inner| in_element(inner, attribute, leaf)).collect::<Result<_>>()
    };
    match filter {
        Filter::And(list) => Ok(TypedFilter::All(all(list)?)),
        Filter::Or(list) => Ok(TypedFilter::Any(all(list)?)),
        Filter::Not(inner) => Ok(TypedFilter::Not(Box::new(in_element(inner, attribute, leaf)?))),
        Filter::Present(path) => {
            let (place, _) = element_part(path, attribute)?;
            leaf(place, ValueTest::Present)
        }
        Filter::Compare(path, op, literal) => {
            let (place, part) = element_part(path, attribute)?;
            if *literal == FilterLiteral::Null {
                return null_test(*op, leaf(place, ValueTest::Present)?, path);
            }
            Ok(negate_if(*op == CompareOp::Ne, leaf(place, typed_test(part, *op, literal, path)?)?))
        }
        Filter::Element(..) => Err(filter_error("brackets cannot be nested".to_owned())),
    }
}

/// The sub-attribute that a name inside brackets means. `value` also means the element itself, if
/// the elements are plain values.
fn element_part<'a>(
    path: &AttrPath,
    attribute: &'a SchemaAttribute,
) -> Result<(Vec<&'a str>, &'a SchemaAttribute)> {
    let plain = path.schema.is_none() && path.sub.is_none();
    if plain && attribute.kind != AttributeKind::Complex && path.name.eq_ignore_ascii_case("value")
    {
        return Ok((Vec::new(), attribute));
    }
    let part = Some(path).filter(|_| plain).and_then(|path| attribute.sub_attribute(&path.name));
    let part = part.ok_or_else(|| {
        filter_error(format!("`{}` has no sub-attribute `{path}`", attribute.name))
    })?;
    check_searchable(part, path)?;
    Ok((vec![part.name.as_str()], part))
}

/// An attribute that a filter names.
struct FilterTarget<'a> {
    extension: Option<&'a str>,
    attribute: &'a SchemaAttribute,
    sub: Option<&'a SchemaAttribute>,
}

impl<'a> FilterTarget<'a> {
    fn find_target(path: &AttrPath, ty: &'a ResourceType) -> Result<Self> {
        let found = ty.resolve_path(path).ok_or_else(|| {
            filter_error(format!("`{path}` is not an attribute of a {}", ty.name))
        })?;
        check_searchable(found.attribute, path)?;
        if let Some(sub) = found.sub {
            check_searchable(sub, path)?;
        }
        Ok(Self { extension: found.extension, attribute: found.attribute, sub: found.sub })
    }

    /// The key that an earlier version of this server made of this name. An account is still stored
    /// under it if another account has the new key.
    fn former_name(&self, test: &ValueTest, literal: &FilterLiteral) -> Option<String> {
        match (test, literal) {
            (ValueTest::Text(CompareOp::Eq, _), FilterLiteral::String(name))
                if self.extension.is_none() && self.attribute.name == "userName" =>
            {
                document::former_fold(name)
            }
            _ => None,
        }
    }

    fn target_place(&self) -> Vec<&'a str> {
        self.extension.into_iter().chain([self.attribute.name.as_str()]).collect()
    }

    /// The test of the attribute or of `sub`. If the attribute is multi-valued, one element must
    /// pass the test.
    fn target_node(
        &self,
        ty: &'a ResourceType,
        sub: Option<&'a SchemaAttribute>,
        test: ValueTest,
    ) -> Result<TypedFilter<'a>> {
        let mut place = self.target_place();
        let sub: Vec<&str> = sub.iter().map(|sub| sub.name.as_str()).collect();
        // A multi-valued attribute is present if it has any element; every other test is made on
        // each element.
        if self.attribute.multi_valued && !(sub.is_empty() && matches!(test, ValueTest::Present)) {
            return self.element_node(TypedFilter::Leaf(sub, test));
        }
        place.extend(sub);
        leaf_node(ty, place, test)
    }

    fn element_node(&self, inner: TypedFilter<'a>) -> Result<TypedFilter<'a>> {
        // `groups` and `members` are not in the document but in rows of their own.
        if self.extension.is_none() && ["groups", "members"].contains(&self.attribute.name.as_str())
        {
            check_relation(&inner, &self.attribute.name)?;
        }
        Ok(TypedFilter::Element(self.target_place(), Box::new(inner)))
    }
}

/// Refuses tests that the rows of memberships and nestings cannot answer. The display name of a
/// member is returned only on request, so it cannot be searched.
fn check_relation(node: &TypedFilter, name: &str) -> Result<()> {
    match node {
        TypedFilter::All(list) | TypedFilter::Any(list) => {
            list.iter().try_for_each(|inner| check_relation(inner, name))
        }
        TypedFilter::Not(inner) => check_relation(inner, name),
        TypedFilter::Leaf(place, ValueTest::Present | ValueTest::Text(CompareOp::Eq, _))
            if place == &["value"] =>
        {
            Ok(())
        }
        TypedFilter::Leaf(place, ValueTest::Present | ValueTest::Text(..))
            if place == &["type"] =>
        {
            Ok(())
        }
        TypedFilter::Leaf(place, ValueTest::Present | ValueTest::Text(..))
            if place == &["display"] && name == "groups" =>
        {
            Ok(())
        }
        _ => {
            let others = if name == "groups" { "`type` and `display`" } else { "and `type`" };
            Err(filter_error(format!(
                "of `{name}` only `value` (with eq, ne or pr), {others} can be searched"
            )))
        }
    }
}

/// A test of a value of the whole resource. Some values are stored in columns, which do not support
/// every test.
fn leaf_node<'a>(
    ty: &ResourceType,
    place: Vec<&'a str>,
    test: ValueTest,
) -> Result<TypedFilter<'a>> {
    match (place.as_slice(), &test) {
        (["meta", "location"], _) => {
            Err(filter_error("`meta.location` cannot be searched: use `id`".to_owned()))
        }
        // Every resource has these, even if they are not in its document.
        (["id" | "meta" | "active"] | ["meta", _], ValueTest::Present) => {
            Ok(TypedFilter::Always(true))
        }
        (["meta", "resourceType"], ValueTest::Text(op, operand)) => {
            Ok(TypedFilter::Always(compare_text(*op, ty.name, operand)))
        }
        (["id"] | ["meta", "version"], ValueTest::Text(op, _)) if *op != CompareOp::Eq => {
            Err(filter_error(format!("`{}` can only be compared with eq and ne", place.join("."))))
        }
        _ => Ok(TypedFilter::Leaf(place, test)),
    }
}

/// How two texts compare, by code point. (UTF-8 keeps that order in its bytes.)
pub fn compare_text(op: CompareOp, value: &str, operand: &str) -> bool {
    match op {
        CompareOp::Eq => value == operand,
        CompareOp::Ne => value != operand,
        CompareOp::Co => value.contains(operand),
        CompareOp::Sw => value.starts_with(operand),
        CompareOp::Ew => value.ends_with(operand),
        CompareOp::Gt => value > operand,
        CompareOp::Ge => value >= operand,
        CompareOp::Lt => value < operand,
        CompareOp::Le => value <= operand,
    }
}

// RFC 7643 section 2.5: null, an empty array and no value are the same state, "unassigned".
fn null_test<'a>(
    op: CompareOp,
    present: TypedFilter<'a>,
    path: &AttrPath,
) -> Result<TypedFilter<'a>> {
    match op {
        CompareOp::Eq => Ok(TypedFilter::Not(Box::new(present))),
        CompareOp::Ne => Ok(present),
        _ => Err(filter_error(format!("`{path}` can be compared with null only by eq and ne"))),
    }
}

fn negate_if(negated: bool, node: TypedFilter<'_>) -> TypedFilter<'_> {
    if negated { TypedFilter::Not(Box::new(node)) } else { node }
}

// RFC 7644 section 3.4.2.2, table 3: what each operator means depends on the type of the attribute.
fn typed_test(
    attribute: &SchemaAttribute,
    op: CompareOp,
    literal: &FilterLiteral,
    path: &AttrPath,
) -> Result<ValueTest> {
    let mismatch = |wanted: &str| {
        Err(filter_error(format!("`{path}` is compared with {wanted}, not with {literal}")))
    };
    let ordering = matches!(op, CompareOp::Gt | CompareOp::Ge | CompareOp::Lt | CompareOp::Le);
    let equality = matches!(op, CompareOp::Eq | CompareOp::Ne);
    let substring = !ordering && !equality;
    let unordered = |kind: &str| {
        Err(filter_error(format!("`{path}` is {kind}: `{}` does not apply to it", op.name())))
    };
    let plain = if op == CompareOp::Ne { CompareOp::Eq } else { op };
    match attribute.kind {
        AttributeKind::String | AttributeKind::Reference | AttributeKind::Binary => {
            let text = match literal {
                FilterLiteral::String(text) => text.clone(),
                // A string without quotes that looks like a number or a boolean.
                FilterLiteral::Number(number) if !number.is_f64() => number.to_string(),
                FilterLiteral::Bool(value) => value.to_string(),
                FilterLiteral::Number(_) | FilterLiteral::Null => return mismatch("a string"),
            };
            if attribute.kind == AttributeKind::Binary && !equality {
                return unordered("binary");
            }
            if text.contains('\0') {
                return Err(filter_error("contains a NUL character".to_owned()));
            }
            Ok(ValueTest::Text(plain, if attribute.case_exact { text } else { fold_text(&text) }))
        }
        AttributeKind::Boolean if !equality => unordered("a boolean"),
        AttributeKind::Boolean => match literal {
            FilterLiteral::Bool(value) => Ok(ValueTest::Boolean(*value)),
            // Entra writes booleans as strings.
            FilterLiteral::String(text) if text.eq_ignore_ascii_case("true") => {
                Ok(ValueTest::Boolean(true))
            }
            FilterLiteral::String(text) if text.eq_ignore_ascii_case("false") => {
                Ok(ValueTest::Boolean(false))
            }
            _ => mismatch("true or false"),
        },
        AttributeKind::Integer | AttributeKind::Decimal if substring => unordered("a number"),
        AttributeKind::Integer | AttributeKind::Decimal => match literal {
            FilterLiteral::Number(number) => Ok(ValueTest::Number(plain, number.clone())),
            FilterLiteral::String(text) => match document::number_in_text(text) {
                Some(number) => Ok(ValueTest::Number(plain, number)),
                None => mismatch("a number"),
            },
            _ => mismatch("a number"),
        },
        AttributeKind::DateTime if substring => unordered("a date"),
        AttributeKind::DateTime => match literal_instant(literal) {
            Some(micros) => Ok(ValueTest::Instant(plain, micros)),
            None => mismatch("a date such as \"2024-05-01T08:00:00Z\""),
        },
        AttributeKind::Complex => {
            Err(filter_error(format!("`{path}` is complex: name one of its sub-attributes")))
        }
    }
}

/// The instant in microseconds since the epoch. Only years of four digits are accepted, because
/// other years would break the order of dates that are stored as text.
fn literal_instant(literal: &FilterLiteral) -> Option<i64> {
    let FilterLiteral::String(text) = literal else { return None };
    // Java's usual format writes the zone as +0000.
    let without_colon = || DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z").ok();
    let micros = document::parse_instant(text)
        .or_else(|| without_colon().map(|time| time.timestamp_micros()))?;
    let year = DateTime::from_timestamp_micros(micros)?.year();
    (0..=9999).contains(&year).then_some(micros)
}

// RFC 7643 section 7: a client must not learn a value that is never returned by searching for it.
fn check_searchable(attribute: &SchemaAttribute, path: &AttrPath) -> Result<()> {
    if attribute.returned == ReturnedRule::Never {
        return Err(filter_error(format!("`{path}` cannot be searched")));
    }
    Ok(())
}

fn filter_error(why: String) -> InvalidInput {
    InvalidInput::of_rule(Rule::Filter, "filter", why)
}
