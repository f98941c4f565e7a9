//! Schema extensions: what an organization adds to its users and groups.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::schema_extension::Extends;

use super::permission::{Permission, needs};
use crate::domain::directory::schema_extension;
use crate::domain::directory::schema_extension::{Extension, NewExtension, NewSchemaAttribute};
use crate::error::{Noun, Result, mistakes};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, UserError};
use crate::identity::schema;
use crate::identity::schema::SchemaAttribute;

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap { nouns: &[(Noun::SchemaExtension, "id")], fields: &[] };

/// Which kind of resource a schema extends.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "Extends")]
pub enum ExtendedResource {
    /// Accounts.
    User,
    /// Groups.
    Group,
}

/// The data types of RFC 7643, section 2.3.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "schema::AttributeKind")]
pub enum AttributeType {
    /// Text.
    String,
    /// True or false.
    Boolean,
    /// A number with a fraction.
    Decimal,
    /// A whole number.
    Integer,
    /// An instant as RFC 3339 writes it.
    DateTime,
    /// Bytes in base64.
    Binary,
    /// The URI of a resource.
    Reference,
    /// An object with sub-attributes.
    Complex,
}

/// Who may write an attribute (RFC 7643, section 7).
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "schema::MutabilityRule")]
pub enum AttributeMutability {
    /// SCIM clients can only read it.
    ReadOnly,
    /// SCIM clients can read and change it.
    ReadWrite,
    /// SCIM clients can set it once and cannot change it afterwards.
    Immutable,
    /// SCIM clients can set and change it, and it is never returned.
    WriteOnly,
}

/// When an attribute is returned over SCIM (RFC 7643, section 7).
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "schema::ReturnedRule")]
pub enum AttributeReturned {
    /// Always.
    Always,
    /// Never.
    Never,
    /// Unless the client asks for other attributes only, or excludes it.
    Default,
    /// Only if the client asks for it by name.
    Request,
}

/// An attribute of a schema extension.
#[derive(SimpleObject)]
pub struct AttributeDefinition {
    /// Its name.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    name: String,
    /// What it means.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    description: String,
    /// The data type of its values.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    r#type: AttributeType,
    /// Whether it can have several values.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    multi_valued: bool,
    /// Whether it must have a value.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    required: bool,
    /// Whether its values are compared with regard to upper and lower case.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    case_exact: bool,
    /// Who may write it.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    mutability: AttributeMutability,
    /// When it is returned.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    returned: AttributeReturned,
    /// Values that are suggested to clients; others are accepted too.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    canonical_values: Vec<String>,
    /// The sub-attributes of a complex attribute; empty for other types.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    sub_attributes: Vec<AttributeDefinition>,
}

impl From<SchemaAttribute> for AttributeDefinition {
    fn from(attribute: SchemaAttribute) -> Self {
        Self {
            name: attribute.name,
            description: attribute.description,
            r#type: attribute.kind.into(),
            multi_valued: attribute.multi_valued,
            required: attribute.required,
            case_exact: attribute.case_exact,
            mutability: attribute.mutability.into(),
            returned: attribute.returned.into(),
            canonical_values: attribute.canonical_values,
            sub_attributes: attribute.sub_attributes.into_iter().map(Into::into).collect(),
        }
    }
}

/// A schema extension as the schema shows it.
pub struct SchemaExtension(pub Extension);

impl From<Extension> for SchemaExtension {
    fn from(row: Extension) -> Self {
        Self(row)
    }
}

/// A schema that the organization added to its users or groups. Over SCIM it is listed, validated
/// and filtered like every other.
#[Object]
impl SchemaExtension {
    /// The extension's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::SchemaExtension, self.0.id)
    }

    /// The URN under which a resource contains its attributes.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn urn(&self) -> &str {
        &self.0.urn
    }

    /// The type of the resources that it extends.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn resource(&self) -> ExtendedResource {
        self.0.resource_type.into()
    }

    /// The name for people to read.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// What it is for.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn description(&self) -> &str {
        &self.0.description
    }

    /// Its attributes.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn attributes(&self) -> Result<Vec<AttributeDefinition>> {
        Ok(schema_extension::schema_of(&self.0)?.attributes.into_iter().map(Into::into).collect())
    }

    /// When it was registered.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }
}

/// The definition of an attribute.
#[derive(InputObject)]
pub struct AttributeDefinitionInput {
    /// Its name: a letter followed by letters, digits, hyphens and underscores.
    name: String,
    /// What it means.
    #[graphql(default)]
    description: String,
    /// The data type of its values.
    #[graphql(default_with = "AttributeType::String")]
    r#type: AttributeType,
    /// Whether it can have several values.
    #[graphql(default)]
    multi_valued: bool,
    /// Whether it must have a value.
    #[graphql(default)]
    required: bool,
    /// Whether its values are compared with regard to upper and lower case.
    #[graphql(default)]
    case_exact: bool,
    /// Who may write it.
    #[graphql(default_with = "AttributeMutability::ReadWrite")]
    mutability: AttributeMutability,
    /// When it is returned.
    #[graphql(default_with = "AttributeReturned::Default")]
    returned: AttributeReturned,
    /// Values that are suggested to clients; others are accepted too.
    #[graphql(default)]
    canonical_values: Vec<String>,
    /// The sub-attributes of a complex attribute, which cannot be complex themselves.
    #[graphql(default)]
    sub_attributes: Vec<AttributeDefinitionInput>,
}

impl From<AttributeDefinitionInput> for NewSchemaAttribute {
    fn from(input: AttributeDefinitionInput) -> Self {
        Self {
            name: input.name,
            description: input.description,
            kind: input.r#type.into(),
            multi_valued: input.multi_valued,
            required: input.required,
            case_exact: input.case_exact,
            mutability: input.mutability.into(),
            returned: input.returned.into(),
            canonical_values: input.canonical_values,
            sub_attributes: input.sub_attributes.into_iter().map(Into::into).collect(),
        }
    }
}

/// The schema to add.
#[derive(InputObject)]
pub struct SchemaExtensionRegisterInput {
    /// The URN under which a resource will contain its attributes.
    urn: String,
    /// The type of the resources that it extends.
    resource: ExtendedResource,
    /// The name for people to read.
    name: String,
    /// What it is for.
    #[graphql(default)]
    description: String,
    /// Its attributes, at most 100, sub-attributes included.
    attributes: Vec<AttributeDefinitionInput>,
}

/// The schema to remove.
#[derive(InputObject)]
pub struct SchemaExtensionRemoveInput {
    /// The extension's global id.
    id: ID,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

mutation_payloads! {
    schema_extension_payloads;
    /// The extension; null if there were mistakes.
    schema_extension: SchemaExtension;
    /// The result of `schemaExtensionRegister`.
    SchemaExtensionRegisterPayload,
}

/// The result of `schemaExtensionRemove`.
#[derive(SimpleObject)]
pub struct SchemaExtensionRemovePayload {
    /// The global id that the extension had; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    removed_schema_extension_id: Option<ID>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

#[derive(Default)]
pub struct SchemaExtensionMutation;

#[Object]
impl SchemaExtensionMutation {
    /// Adds a schema to the organization's users or groups, in effect from the next request on.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn schema_extension_register(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The schema to add.")] input: SchemaExtensionRegisterInput,
    ) -> Result<Option<SchemaExtensionRegisterPayload>> {
        let new = NewExtension {
            urn: input.urn,
            extends: input.resource.into(),
            name: input.name,
            description: input.description,
            attributes: input.attributes.into_iter().map(Into::into).collect(),
        };
        let done = schema_extension::register_extension(relay::cx(ctx)?, new).await;
        SchemaExtensionRegisterPayload::from_result(done, FIELD_MAP)
    }

    /// Removes a schema, if no live user or group has values in it.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn schema_extension_remove(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which schema.")] input: SchemaExtensionRemoveInput,
    ) -> Result<Option<SchemaExtensionRemovePayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::SchemaExtension, &input.id, Noun::SchemaExtension),
            )?;
            schema_extension::remove_extension(&cx, id).await
        };
        let (done, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        Ok(Some(SchemaExtensionRemovePayload {
            removed_schema_extension_id: done.map(|()| input.id),
            user_errors,
        }))
    }
}
