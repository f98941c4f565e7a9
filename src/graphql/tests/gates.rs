//! A field behind a permission that is never null: whoever reaches its object holds the permission.
//! Otherwise one refusal would take away the object around it, with all that the caller may read.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::parser::types::{
    BaseType, FieldDefinition, Type, TypeKind, TypeSystemDefinition,
};

use crate::graphql::export_sdl;

type Permissions = BTreeSet<String>;

struct Field {
    name: String,
    ty: String,
    can_be_null: bool,
    needs: Permissions,
}

/// The objects of a schema with their fields, and the objects that each name stands for.
struct Graph {
    objects: BTreeMap<String, Vec<Field>>,
    possible: BTreeMap<String, Vec<String>>,
}

fn base_name(ty: &Type) -> String {
    match &ty.base {
        BaseType::Named(name) => name.to_string(),
        BaseType::List(item) => base_name(item),
    }
}

fn read_field(field: &FieldDefinition) -> Field {
    let directives = field.directives.iter().filter(|found| found.node.name.node == "needs");
    let needs = directives.filter_map(|needs| needs.node.get_argument("permission"));
    Field {
        name: field.name.node.to_string(),
        ty: base_name(&field.ty.node),
        can_be_null: field.ty.node.nullable,
        needs: needs.map(|permission| permission.node.to_string()).collect(),
    }
}

fn read_graph(sdl: &str) -> Graph {
    let mut objects = BTreeMap::new();
    let mut possible: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for definition in async_graphql::parser::parse_schema(sdl).unwrap().definitions {
        let TypeSystemDefinition::Type(ty) = definition else { continue };
        let name = ty.node.name.node.to_string();
        match ty.node.kind {
            TypeKind::Object(object) => {
                for shown in &object.implements {
                    possible.entry(shown.node.to_string()).or_default().push(name.clone());
                }
                possible.entry(name.clone()).or_default().push(name.clone());
                let fields = object.fields.iter().map(|field| read_field(&field.node));
                objects.insert(name, fields.collect());
            }
            TypeKind::Union(union) => {
                let members = union.members.iter().map(|member| member.node.to_string());
                possible.insert(name, members.collect());
            }
            _ => {}
        }
    }
    Graph { objects, possible }
}

/// Whether what is refused below a field takes away nothing but its own object, which can be null:
/// a `Node` may be any object, and a payload has one for callers that may write and not read, who
/// select its id.
fn is_contained(ty: &str, field: &Field) -> bool {
    let is_node =
        field.ty == "Node" && (field.can_be_null || (ty, &*field.name) == ("Query", "nodes"));
    is_node || (ty.ends_with("Payload") && field.can_be_null)
}

fn is_root(ty: &str) -> bool {
    matches!(ty, "Query" | "Mutation" | "Subscription")
}

/// The permissions that the caller certainly holds who reaches an object of each type.
fn imply_permissions(graph: &Graph) -> BTreeMap<&str, Permissions> {
    let all: Permissions =
        graph.objects.values().flatten().flat_map(|field| field.needs.clone()).collect();
    let mut implied: BTreeMap<&str, Permissions> = graph
        .objects
        .keys()
        .map(|name| (name.as_str(), if is_root(name) { Permissions::new() } else { all.clone() }))
        .collect();
    loop {
        let mut reached: BTreeMap<&str, Permissions> = BTreeMap::new();
        for (ty, fields) in &graph.objects {
            for field in fields.iter().filter(|field| !is_contained(ty, field)) {
                let held: Permissions = &implied[ty.as_str()] | &field.needs;
                for object in graph.possible.get(&field.ty).into_iter().flatten() {
                    let known = reached.entry(object.as_str()).or_insert_with(|| all.clone());
                    *known = &*known & &held;
                }
            }
        }
        let mut changed = false;
        for (object, held) in reached {
            if !is_root(object) && implied[object] != held {
                implied.insert(object, held);
                changed = true;
            }
        }
        if !changed {
            return implied;
        }
    }
}

/// The fields that are never null and need what not everybody holds who reaches them.
fn find_exposed_fields(sdl: &str) -> Vec<String> {
    let graph = read_graph(sdl);
    let implied = imply_permissions(&graph);
    let mut exposed = Vec::new();
    for (ty, fields) in graph.objects.iter().filter(|(ty, _)| !is_root(ty)) {
        let held = &implied[ty.as_str()];
        for field in fields.iter().filter(|field| !field.can_be_null) {
            let lacking: Vec<_> = field.needs.difference(held).cloned().collect();
            if !lacking.is_empty() {
                exposed.push(format!("{ty}.{}: {}", field.name, lacking.join(", ")));
            }
        }
    }
    exposed
}

#[test]
fn refused_fields_take_nothing_else_away() {
    assert_eq!(find_exposed_fields(&export_sdl()), Vec::<String>::new());
}

#[test]
fn exposed_fields_are_found() {
    let schema = |path: &str, field: &str| {
        format!(
            "type Query {{ open: Open @needs }} \
             type Open {{ things: [Thing!] {path} }} \
             type Thing {{ name: {field} @needs(permission: USER_READ) other: Thing! }}"
        )
    };
    let gate = "@needs(permission: USER_READ)";
    assert_eq!(find_exposed_fields(&schema("@needs", "String!")), ["Thing.name: USER_READ"]);
    assert_eq!(find_exposed_fields(&schema(gate, "String!")), Vec::<String>::new());
    assert_eq!(find_exposed_fields(&schema("@needs", "String")), Vec::<String>::new());
    let payload = schema("@needs", "String!").replace("Open", "OpenPayload");
    assert_eq!(find_exposed_fields(&payload), Vec::<String>::new());
    let payload = payload.replace("[Thing!]", "[Thing!]!");
    assert_eq!(find_exposed_fields(&payload), ["Thing.name: USER_READ"]);
    let other = "@needs(permission: IAM_READ)";
    assert_eq!(find_exposed_fields(&schema(other, "String!")), ["Thing.name: USER_READ"]);
}
