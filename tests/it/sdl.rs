//! Reads the management API's own schema, so that tests can walk it and cover a new field without a
//! change.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    BaseType, FieldDefinition, InputValueDefinition, Type, TypeKind, TypeSystemDefinition,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rolecall::auth::policy::{Permission, Permissions};
use serde_json::{Map, Value, json};

/// All types by name.
pub struct Schema(BTreeMap<String, Shape>);

/// The content of a type.
pub enum Shape {
    /// A scalar, or an enum with its first value.
    Leaf(Option<String>),
    Object(Vec<Field>),
    Input(Vec<Input>),
    /// An input object of which exactly one field is given.
    OneOf(Vec<Input>),
    /// An interface or a union, and the objects that it may be.
    Abstract(Vec<String>),
}

pub struct Field {
    pub name: String,
    pub arguments: Vec<Input>,
    pub ty: Type,
    /// The permission in `@needs`.
    pub permission: Option<Permission>,
}

/// An argument, or a field of an input object.
pub struct Input {
    pub name: String,
    pub ty: Type,
    defaulted: bool,
}

impl Field {
    fn of(definition: &FieldDefinition) -> Self {
        let needs =
            definition.directives.iter().find(|directive| directive.node.name.node == "needs");
        let permission = needs.and_then(|directive| directive.node.get_argument("permission"));
        Self {
            name: definition.name.node.to_string(),
            arguments: definition
                .arguments
                .iter()
                .map(|argument| Input::of(&argument.node))
                .collect(),
            ty: definition.ty.node.clone(),
            permission: permission.map(|name| name.node.to_string().parse().unwrap()),
        }
    }
}

impl Input {
    fn of(definition: &InputValueDefinition) -> Self {
        Self {
            name: definition.name.node.to_string(),
            ty: definition.ty.node.clone(),
            defaulted: definition.default_value.is_some(),
        }
    }

    pub fn required(&self) -> bool {
        !self.ty.nullable && !self.defaulted
    }

    pub fn is_list(&self) -> bool {
        matches!(self.ty.base, BaseType::List(_))
    }
}

/// A path to an object, and the permissions and arguments that it needs.
#[derive(Default, Clone)]
pub struct Route {
    pub steps: Vec<String>,
    pub permissions: Permissions,
}

/// The name of a type without list and non-null marks.
pub fn named(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(inner) => named(inner),
    }
}

impl Schema {
    pub fn new() -> Self {
        let document = parse_schema(rolecall::graphql::export_sdl()).unwrap();
        let mut types: BTreeMap<String, Shape> = BTreeMap::new();
        let mut implementing: Vec<(String, String)> = Vec::new();
        for definition in document.definitions {
            let TypeSystemDefinition::Type(definition) = definition else { continue };
            let name = definition.node.name.node.to_string();
            let shape = match definition.node.kind {
                TypeKind::Object(object) => {
                    implementing.extend(
                        object.implements.iter().map(|of| (of.node.to_string(), name.clone())),
                    );
                    Shape::Object(
                        object.fields.iter().map(|field| Field::of(&field.node)).collect(),
                    )
                }
                TypeKind::InputObject(object) => {
                    let fields = object.fields.iter().map(|field| Input::of(&field.node)).collect();
                    let one_of = definition
                        .node
                        .directives
                        .iter()
                        .any(|found| found.node.name.node == "oneOf");
                    if one_of { Shape::OneOf(fields) } else { Shape::Input(fields) }
                }
                TypeKind::Union(union) => Shape::Abstract(
                    union.members.iter().map(|member| member.node.to_string()).collect(),
                ),
                TypeKind::Interface(_) => Shape::Abstract(Vec::new()),
                TypeKind::Enum(values) => Shape::Leaf(
                    values.values.first().map(|first| first.node.value.node.to_string()),
                ),
                TypeKind::Scalar => Shape::Leaf(None),
            };
            types.insert(name, shape);
        }
        for (interface, object) in implementing {
            if let Some(Shape::Abstract(members)) = types.get_mut(&interface) {
                members.push(object);
            }
        }
        Self(types)
    }

    pub fn shape(&self, name: &str) -> &Shape {
        // The schema does not list built-in scalars.
        self.0.get(name).unwrap_or(&Shape::Leaf(None))
    }

    pub fn fields(&self, object: &str) -> &[Field] {
        match self.shape(object) {
            Shape::Object(fields) => fields,
            _ => panic!("{object} is no object type"),
        }
    }

    /// The names of the types with an id.
    pub fn nodes(&self) -> &[String] {
        match self.shape("Node") {
            Shape::Abstract(members) => members,
            _ => panic!("Node is no interface"),
        }
    }

    /// The object types, except the mutation root.
    pub fn readable(&self) -> impl Iterator<Item = &str> {
        let objects = self.0.iter().filter(|(_, shape)| matches!(shape, Shape::Object(_)));
        objects
            .map(|(name, _)| name.as_str())
            .filter(|name| !["Mutation", "Subscription"].contains(name))
    }

    /// The fields that lead from the query root to an object type, if there are any. Of a list the
    /// first row is taken.
    pub fn route(&self, object: &str) -> Option<Route> {
        let mut seen = BTreeSet::new();
        let mut routes = vec![("Query".to_owned(), Route::default())];
        while !routes.is_empty() {
            let mut next = Vec::new();
            for (name, route) in routes {
                if name == object {
                    return Some(route);
                }
                for field in self.fields(&name) {
                    let target = named(&field.ty).to_owned();
                    // A field that finds an object by its id cannot be used without one.
                    let picks =
                        |argument: &Input| argument.required() || named(&argument.ty) == "ID";
                    // While nothing is deleted there is no such object.
                    let absent = field.name == "runningDeletion";
                    let plain = !absent && !field.arguments.iter().any(picks);
                    if plain
                        && matches!(self.shape(&target), Shape::Object(_))
                        && seen.insert(target.clone())
                    {
                        let page = field.arguments.iter().any(|argument| argument.name == "first");
                        let mut route = route.clone();
                        route.steps.push(if page {
                            format!("{}(first: 1)", field.name)
                        } else {
                            field.name.clone()
                        });
                        route.permissions.extend(field.permission);
                        next.push((target, route));
                    }
                }
            }
            routes = next;
        }
        None
    }

    /// A selection of all fields of a type, `depth` objects deep.
    pub fn selection(&self, ty: &str, depth: usize) -> String {
        let fields = match self.shape(ty) {
            Shape::Leaf(_) | Shape::Input(_) | Shape::OneOf(_) => return String::new(),
            Shape::Abstract(members) => {
                let mut known = self.commonest_types(members);
                let mut each = Vec::new();
                for name in members {
                    let Shape::Object(fields) = self.shape(name) else { continue };
                    let selected = self.select_fields(name, fields, depth, &mut known);
                    each.push(format!("... on {name} {selected}"));
                }
                return format!("{{ __typename {} }}", each.join(" "));
            }
            Shape::Object(fields) => fields,
        };
        self.select_fields(ty, fields, depth, &mut BTreeMap::new())
    }

    /// The type that most of these objects give each field.
    fn commonest_types(&self, members: &[String]) -> BTreeMap<String, String> {
        let mut counts: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        for name in members {
            let Shape::Object(fields) = self.shape(name) else { continue };
            for field in fields {
                let types = counts.entry(field.name.clone()).or_default();
                *types.entry(field.ty.to_string()).or_default() += 1;
            }
        }
        let most = |types: BTreeMap<String, usize>| types.into_iter().max_by_key(|(_, n)| *n);
        counts
            .into_iter()
            .filter_map(|(name, types)| most(types).map(|(shown, _)| (name, shown)))
            .collect()
    }

    /// All fields of an object. One that is of another type than the field of that name in `known`,
    /// which has those of the other members of an abstract type, gets an alias.
    fn select_fields(
        &self,
        ty: &str,
        fields: &[Field],
        depth: usize,
        known: &mut BTreeMap<String, String>,
    ) -> String {
        let mut selected = vec!["__typename".to_owned()];
        for field in fields {
            let inner = named(&field.ty);
            let leaf = matches!(self.shape(inner), Shape::Leaf(_));
            if (!leaf && depth == 0) || field.arguments.iter().any(Input::required) {
                continue;
            }
            let page = if field.arguments.iter().any(|argument| argument.name == "first") {
                "(first: 2)"
            } else {
                ""
            };
            let inner = self.selection(inner, depth.saturating_sub(1));
            let shown = field.ty.to_string();
            let first = known.entry(field.name.clone()).or_insert_with(|| shown.clone());
            let alias =
                if *first == shown { String::new() } else { format!("{}Of{ty}: ", field.name) };
            selected.push(format!("{alias}{}{page} {inner}", field.name));
        }
        format!("{{ {} }}", selected.join(" "))
    }

    /// The positions of values of these types among arguments: the names that lead to each value.
    pub fn places(&self, inputs: &[Input], types: &[&str]) -> Vec<Vec<String>> {
        self.places_below(inputs, types, &mut Vec::new())
    }

    /// An input object that contains its own type is entered once.
    fn places_below<'a>(
        &'a self,
        inputs: &'a [Input],
        types: &[&str],
        inside: &mut Vec<&'a str>,
    ) -> Vec<Vec<String>> {
        let mut places = Vec::new();
        for input in inputs {
            let name = named(&input.ty);
            match self.shape(name) {
                Shape::Input(_) | Shape::OneOf(_) if inside.contains(&name) => {}
                Shape::Input(fields) | Shape::OneOf(fields) => {
                    inside.push(name);
                    let inner = self.places_below(fields, types, inside).into_iter();
                    places.extend(inner.map(|place| [vec![input.name.clone()], place].concat()));
                    inside.pop();
                }
                _ if types.contains(&name) => places.push(vec![input.name.clone()]),
                _ => {}
            }
        }
        places
    }

    /// Arguments with `value` at `place`, valid values where one is required, and `own(name)` for
    /// the other ids.
    pub fn values(
        &self,
        inputs: &[Input],
        place: &[String],
        value: &Value,
        own: &dyn Fn(&str) -> String,
    ) -> Map<String, Value> {
        let mut values = Map::new();
        for input in inputs {
            let here = place.first() == Some(&input.name);
            let chosen = match (named(&input.ty), self.shape(named(&input.ty))) {
                (_, Shape::Leaf(_)) if here => value.clone(),
                // Ids beside the tested position are valid.
                ("ID", _) if input.required() || place.len() == 1 => json!(own(&input.name)),
                (name, Shape::Input(fields)) if here || input.required() => {
                    let inner = if here { &place[1..] } else { &[] };
                    let mut values = self.values(fields, inner, value, own);
                    // A filter by several ids at once finds what has all of them.
                    if name.ends_with("Filter") {
                        values.retain(|name, _| inner.first() == Some(name));
                    }
                    values.into()
                }
                (_, Shape::OneOf(fields)) if here || input.required() => {
                    let first = [fields[0].name.clone()];
                    let inner = named(&fields[0].ty);
                    let good = match self.shape(inner) {
                        Shape::Leaf(_) if inner == "ID" => json!(own(&first[0])),
                        Shape::Leaf(known) if value.is_null() || !here => {
                            sample(inner, known.as_deref())
                        }
                        _ => value.clone(),
                    };
                    match here && place.len() > 1 {
                        true => self.values(fields, &place[1..], value, own).into(),
                        false => self.values(fields, &first, &good, own).into(),
                    }
                }
                _ if input.name == "first" => json!(5),
                (name, Shape::Leaf(first)) if name != "ID" && input.required() => {
                    sample(name, first.as_deref())
                }
                _ => continue,
            };
            values
                .insert(input.name.clone(), if input.is_list() { json!([chosen]) } else { chosen });
        }
        values
    }

    /// A whole operation that calls `field` with `arguments` at the end of `route`.
    pub fn operation(
        &self,
        kind: &str,
        route: &Route,
        field: &Field,
        arguments: &Map<String, Value>,
        depth: usize,
    ) -> String {
        let given: Vec<_> = field
            .arguments
            .iter()
            .filter(|argument| arguments.contains_key(&argument.name))
            .collect();
        let variables: Vec<_> =
            given.iter().map(|argument| format!("${}: {}", argument.name, argument.ty)).collect();
        let passed: Vec<_> =
            given.iter().map(|argument| format!("{0}: ${0}", argument.name)).collect();
        let wanted = arguments.get("id").or_else(|| arguments.get("ids")?.get(0));
        let selection = match wanted.filter(|_| named(&field.ty) == "Node") {
            Some(id) => self.node_selection(id, depth),
            None => self.selection(named(&field.ty), depth),
        };
        // GraphQL does not allow empty parentheses.
        let around = |items: &[String]| {
            if items.is_empty() { String::new() } else { format!("({})", items.join(", ")) }
        };
        let call = format!("the: {}{} {selection}", field.name, around(&passed));
        let call =
            route.steps.iter().rev().fold(call, |call, field| format!("{field} {{ {call} }}"));
        format!("{kind} walk{} {{ {call} }}", around(&variables))
    }
}

impl Schema {
    /// What is read of an object of any type: the fields of the type that its global id names. The
    /// fields of all types together would need too many aliases.
    fn node_selection(&self, id: &Value, depth: usize) -> String {
        let bytes = id.as_str().and_then(|id| URL_SAFE_NO_PAD.decode(id).ok());
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let ty = text.split(':').next().unwrap_or_default();
        match self.nodes().iter().find(|known| *known == ty) {
            Some(ty) => format!("{{ __typename id ... on {ty} {} }}", self.selection(ty, depth)),
            None => "{ __typename id }".into(),
        }
    }
}

fn sample(name: &str, first: Option<&str>) -> Value {
    match (name, first) {
        (_, Some(value)) => json!(value),
        ("Int" | "Long" | "Float", _) => json!(1),
        ("Boolean", _) => json!(true),
        ("DateTime", _) => json!("2100-01-01T00:00:00Z"),
        ("JSON", _) => json!({}),
        _ => json!("walked"),
    }
}
