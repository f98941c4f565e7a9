//! Schema extensions: what an organization adds to its users and groups.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::schema_extension::Extends;

use super::auth::{Permission, requires};
use super::page::{self, Blame, Kind, UserError};
use crate::domain::extension::{self, Definition, Extension, NewExtension};
use crate::domain::schema::{self, Attribute};
use crate::error::Result;

/// What the domain's names mean in an input.
const BLAME: Blame = &[("the schema extension", "id")];

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
#[graphql(remote = "schema::Kind")]
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
    /// The address of a resource.
    Reference,
    /// An object with sub-attributes.
    Complex,
}

/// Who may write an attribute (RFC 7643, section 7).
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "schema::Mutability")]
pub enum AttributeMutability {
    /// Nobody over SCIM.
    ReadOnly,
    /// The identity provider.
    ReadWrite,
    /// The identity provider, once.
    Immutable,
    /// The identity provider, and nobody reads it back.
    WriteOnly,
}

/// When an attribute is returned over SCIM (RFC 7643, section 7).
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "schema::Returned")]
pub enum AttributeReturned {
    /// Always.
    Always,
    /// Never.
    Never,
    /// Unless the client asks to be spared.
    Default,
    /// Only to whoever asks for it by name.
    Request,
}

/// An attribute of a schema extension.
#[derive(SimpleObject)]
pub struct AttributeDefinition {
    /// Its name.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    name: String,
    /// What it means.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    description: String,
    /// What its values are.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    r#type: AttributeType,
    /// Whether it has many values.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    multi_valued: bool,
    /// Whether it must have one.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    required: bool,
    /// Whether upper and lower case differ.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    case_exact: bool,
    /// Who may write it.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    mutability: AttributeMutability,
    /// When it is returned.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    returned: AttributeReturned,
    /// Values that are suggested.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    canonical_values: Vec<String>,
    /// The parts of a complex attribute.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    sub_attributes: Vec<AttributeDefinition>,
}

impl From<Attribute> for AttributeDefinition {
    fn from(attribute: Attribute) -> Self {
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

/// A schema that the organization added to its users or groups. Over SCIM it is listed, validated and filtered
/// like every other.
#[Object]
impl SchemaExtension {
    /// The extension's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::SchemaExtension, self.0.id)
    }

    /// The URN that its attributes stand under.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn urn(&self) -> &str {
        &self.0.urn
    }

    /// What it extends.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn resource(&self) -> ExtendedResource {
        self.0.resource_type.into()
    }

    /// The name for people to read.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// What it is for.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn description(&self) -> &str {
        &self.0.description
    }

    /// Its attributes.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn attributes(&self) -> Result<Vec<AttributeDefinition>> {
        Ok(extension::schema_of(&self.0)?.attributes.into_iter().map(Into::into).collect())
    }

    /// When it was registered.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }
}

/// An attribute to be defined.
#[derive(InputObject)]
pub struct AttributeDefinitionInput {
    /// Its name: a letter followed by letters, digits, hyphens and underscores.
    name: String,
    /// What it means.
    #[graphql(default)]
    description: String,
    /// What its values are.
    #[graphql(default_with = "AttributeType::String")]
    r#type: AttributeType,
    /// Whether it has many values.
    #[graphql(default)]
    multi_valued: bool,
    /// Whether it must have one.
    #[graphql(default)]
    required: bool,
    /// Whether upper and lower case differ.
    #[graphql(default)]
    case_exact: bool,
    /// Who may write it.
    #[graphql(default_with = "AttributeMutability::ReadWrite")]
    mutability: AttributeMutability,
    /// When it is returned.
    #[graphql(default_with = "AttributeReturned::Default")]
    returned: AttributeReturned,
    /// Values that are suggested.
    #[graphql(default)]
    canonical_values: Vec<String>,
    /// The parts of a complex attribute, which are never complex themselves.
    #[graphql(default)]
    sub_attributes: Vec<AttributeDefinitionInput>,
}

impl From<AttributeDefinitionInput> for Definition {
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

/// A schema to be added.
#[derive(InputObject)]
pub struct SchemaExtensionRegisterInput {
    /// The URN that its attributes will stand under.
    urn: String,
    /// What it extends.
    resource: ExtendedResource,
    /// The name for people to read.
    name: String,
    /// What it is for.
    #[graphql(default)]
    description: String,
    /// Its attributes, at most 100 with their parts.
    attributes: Vec<AttributeDefinitionInput>,
}

/// Which schema to take away.
#[derive(InputObject)]
pub struct SchemaExtensionRemoveInput {
    /// The extension's global id.
    id: ID,
}

/// What became of a registration.
#[derive(SimpleObject)]
pub struct SchemaExtensionPayload {
    /// The extension; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    schema_extension: Option<SchemaExtension>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

/// What became of a removal.
#[derive(SimpleObject)]
pub struct SchemaExtensionRemovePayload {
    /// The global id that the extension had; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    removed_schema_extension_id: Option<ID>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

#[derive(Default)]
pub struct SchemaExtensionMutation;

#[Object]
impl SchemaExtensionMutation {
    /// Adds a schema to the organization's users or groups; it holds from the next request on.
    #[graphql(directive = requires::apply(Some(Permission::IamWrite)))]
    async fn schema_extension_register(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The schema to add.")] input: SchemaExtensionRegisterInput,
    ) -> Result<Option<SchemaExtensionPayload>> {
        let new = NewExtension {
            urn: input.urn,
            extends: input.resource.into(),
            name: input.name,
            description: input.description,
            attributes: input.attributes.into_iter().map(Into::into).collect(),
        };
        let done = extension::register(page::cx(ctx)?, new).await;
        let (done, user_errors) = page::outcome(done, BLAME)?;
        Ok(Some(SchemaExtensionPayload { schema_extension: done.map(Into::into), user_errors }))
    }

    /// Takes a schema away again, if no live user or group has values in it.
    #[graphql(directive = requires::apply(Some(Permission::IamWrite)))]
    async fn schema_extension_remove(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which schema.")] input: SchemaExtensionRemoveInput,
    ) -> Result<Option<SchemaExtensionRemovePayload>> {
        let cx = page::cx(ctx)?;
        let done = async {
            let id = page::id(Kind::SchemaExtension, &input.id, "the schema extension")?;
            extension::remove(cx, id).await
        };
        let (done, user_errors) = page::outcome(done.await, BLAME)?;
        Ok(Some(SchemaExtensionRemovePayload { removed_schema_extension_id: done.map(|()| input.id), user_errors }))
    }
}
