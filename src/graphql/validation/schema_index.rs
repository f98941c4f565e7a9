//! The types of the schema, as validation and the computation of costs look them up: read from the
//! published schema, with the types of introspection beside it.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    BaseType, FieldDefinition, InputValueDefinition, Type, TypeKind, TypeSystemDefinition,
};
use async_graphql_value::ConstValue;

/// The types of introspection (GraphQL specification, section 4.2), which the published schema does
/// not list.
const INTROSPECTION_TYPES: &str = r#"
type __Schema {
  description: String
  types: [__Type!]!
  queryType: __Type!
  mutationType: __Type
  subscriptionType: __Type
  directives: [__Directive!]!
}
type __Type {
  kind: __TypeKind!
  name: String
  description: String
  specifiedByURL: String
  fields(includeDeprecated: Boolean = false): [__Field!]
  interfaces: [__Type!]
  possibleTypes: [__Type!]
  enumValues(includeDeprecated: Boolean = false): [__EnumValue!]
  inputFields(includeDeprecated: Boolean = false): [__InputValue!]
  ofType: __Type
  isOneOf: Boolean
}
type __Field {
  name: String!
  description: String
  args(includeDeprecated: Boolean = false): [__InputValue!]!
  type: __Type!
  isDeprecated: Boolean!
  deprecationReason: String
}
type __InputValue {
  name: String!
  description: String
  type: __Type!
  defaultValue: String
  isDeprecated: Boolean!
  deprecationReason: String
}
type __EnumValue {
  name: String!
  description: String
  isDeprecated: Boolean!
  deprecationReason: String
}
type __Directive {
  name: String!
  description: String
  locations: [__DirectiveLocation!]!
  args(includeDeprecated: Boolean = false): [__InputValue!]!
  isRepeatable: Boolean!
}
enum __TypeKind { SCALAR OBJECT INTERFACE UNION ENUM INPUT_OBJECT LIST NON_NULL }
enum __DirectiveLocation {
  QUERY MUTATION SUBSCRIPTION FIELD FRAGMENT_DEFINITION FRAGMENT_SPREAD INLINE_FRAGMENT
  VARIABLE_DEFINITION SCHEMA SCALAR OBJECT FIELD_DEFINITION ARGUMENT_DEFINITION INTERFACE UNION
  ENUM ENUM_VALUE INPUT_OBJECT INPUT_FIELD_DEFINITION
}
type __Fields {
  __typename: String!
  __schema: __Schema!
  __type(name: String!): __Type
}
"#;

/// The types by their names.
pub struct SchemaIndex {
    types: HashMap<String, TypeInfo>,
    /// The types that an object of each type can be.
    possible: HashMap<String, HashSet<String>>,
    typename: FieldInfo,
    root_introspection: HashMap<String, FieldInfo>,
}

/// What a type is made of.
pub enum TypeInfo {
    Scalar,
    Enum(HashSet<String>),
    Input(InputType),
    Object(HashMap<String, FieldInfo>),
    Interface(HashMap<String, FieldInfo>),
    Union,
}

/// An input object.
pub struct InputType {
    /// Whether exactly one field is given.
    pub is_one_of: bool,
    pub fields: HashMap<String, InputInfo>,
}

/// A field of an object or an interface.
pub struct FieldInfo {
    pub ty: Type,
    pub arguments: HashMap<String, InputInfo>,
}

/// An argument, or a field of an input object.
pub struct InputInfo {
    pub ty: Type,
    pub default: Option<ConstValue>,
}

impl InputInfo {
    /// Whether a value must be given.
    pub fn is_required(&self) -> bool {
        !self.ty.nullable && self.default.is_none()
    }
}

impl TypeInfo {
    /// Whether a field of this type has fields of its own.
    pub fn is_composite(&self) -> bool {
        matches!(self, Self::Object(_) | Self::Interface(_) | Self::Union)
    }

    /// Whether a variable may be of this type.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::Scalar | Self::Enum(_) | Self::Input(_))
    }
}

impl SchemaIndex {
    /// The index of this server's schema.
    pub fn of_server() -> &'static Self {
        static INDEX: LazyLock<SchemaIndex> =
            LazyLock::new(|| SchemaIndex::build(&crate::graphql::export_sdl()));
        &INDEX
    }

    /// The index of a schema.
    pub fn build(sdl: &str) -> Self {
        let mut types: HashMap<String, TypeInfo> = ["Int", "Float", "String", "Boolean", "ID"]
            .map(|name| (name.to_owned(), TypeInfo::Scalar))
            .into();
        let mut possible: HashMap<String, HashSet<String>> = HashMap::new();
        // The server's own schema can be read: a test reads it.
        let documents = [sdl, INTROSPECTION_TYPES].into_iter().filter_map(|t| parse_schema(t).ok());
        for definition in documents.flat_map(|document| document.definitions) {
            let TypeSystemDefinition::Type(ty) = definition else { continue };
            let name = ty.node.name.node.to_string();
            let is_one_of =
                ty.node.directives.iter().any(|directive| directive.node.name.node == "oneOf");
            let info = match ty.node.kind {
                TypeKind::Scalar => TypeInfo::Scalar,
                TypeKind::Enum(values) => {
                    let values =
                        values.values.iter().map(|value| value.node.value.node.to_string());
                    TypeInfo::Enum(values.collect())
                }
                TypeKind::InputObject(input) => {
                    let fields = input.fields.iter().map(|field| read_input(&field.node));
                    TypeInfo::Input(InputType { is_one_of, fields: fields.collect() })
                }
                TypeKind::Object(object) => {
                    for shown in &object.implements {
                        possible.entry(shown.node.to_string()).or_default().insert(name.clone());
                    }
                    possible.entry(name.clone()).or_default().insert(name.clone());
                    TypeInfo::Object(object.fields.iter().map(|f| read_field(&f.node)).collect())
                }
                TypeKind::Interface(interface) => {
                    let fields = interface.fields.iter().map(|field| read_field(&field.node));
                    TypeInfo::Interface(fields.collect())
                }
                TypeKind::Union(union) => {
                    let members = union.members.iter().map(|member| member.node.to_string());
                    possible.entry(name.clone()).or_default().extend(members);
                    TypeInfo::Union
                }
            };
            types.insert(name, info);
        }
        let mut root_introspection = match types.remove("__Fields") {
            Some(TypeInfo::Object(fields)) => fields,
            _ => HashMap::new(),
        };
        possible.remove("__Fields");
        let typename = root_introspection.remove("__typename").unwrap_or_else(|| FieldInfo {
            ty: Type { base: BaseType::Named(async_graphql::Name::new("String")), nullable: false },
            arguments: HashMap::new(),
        });
        Self { types, possible, typename, root_introspection }
    }

    /// A type by its name.
    pub fn find_type(&self, name: &str) -> Option<&TypeInfo> {
        self.types.get(name)
    }

    /// A field of a type, also one of introspection.
    pub fn find_field(&self, ty: &str, field: &str) -> Option<&FieldInfo> {
        let info = self.types.get(ty)?;
        match info {
            _ if field == "__typename" && info.is_composite() => Some(&self.typename),
            TypeInfo::Object(_) if ty == "Query" && field.starts_with("__") => {
                self.root_introspection.get(field)
            }
            TypeInfo::Object(fields) | TypeInfo::Interface(fields) => fields.get(field),
            _ => None,
        }
    }

    /// The field names of a type.
    pub fn field_names(&self, ty: &str) -> impl Iterator<Item = &str> {
        let fields = match self.types.get(ty) {
            Some(TypeInfo::Object(fields) | TypeInfo::Interface(fields)) => Some(fields),
            _ => None,
        };
        fields.into_iter().flat_map(|fields| fields.keys().map(String::as_str))
    }

    /// Whether an object can be of both types.
    pub fn can_overlap(&self, one: &str, other: &str) -> bool {
        match (self.possible.get(one), self.possible.get(other)) {
            (Some(one), Some(other)) => !one.is_disjoint(other),
            _ => false,
        }
    }

    /// Whether this is a type of objects, not an interface or a union.
    pub fn is_object(&self, ty: &str) -> bool {
        matches!(self.types.get(ty), Some(TypeInfo::Object(_)))
    }
}

fn read_field(field: &FieldDefinition) -> (String, FieldInfo) {
    let arguments = field.arguments.iter().map(|argument| read_input(&argument.node)).collect();
    (field.name.node.to_string(), FieldInfo { ty: field.ty.node.clone(), arguments })
}

fn read_input(input: &InputValueDefinition) -> (String, InputInfo) {
    let default = input.default_value.as_ref().map(|value| value.node.clone());
    (input.name.node.to_string(), InputInfo { ty: input.ty.node.clone(), default })
}

/// The argument of `@skip` and `@include`.
pub fn condition_argument() -> &'static HashMap<String, InputInfo> {
    static CONDITION: LazyLock<HashMap<String, InputInfo>> = LazyLock::new(|| {
        let base = BaseType::Named(async_graphql::Name::new("Boolean"));
        let info = InputInfo { ty: Type { base, nullable: false }, default: None };
        HashMap::from([("if".to_owned(), info)])
    });
    &CONDITION
}

/// The name of the innermost type.
pub fn named_type(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(item) => named_type(item),
    }
}
