//! Schema extensions: what an organization adds to its users and groups (RFC 7643 section 3.3).
//!
//! [`resource_types`] returns the schema of an organization: validation, filters, PATCH and
//! discovery all use it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use entity::organization;
use entity::schema_extension::{self, Extends};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{Change, Cx, Tx};
use crate::domain::paging;
use crate::error::{Error, Mistakes, Noun, RefusalReason, Result, mistakes};
use crate::identity::document;
use crate::identity::schema;
use crate::identity::schema::{
    AttributeKind, AttributeUniqueness, MutabilityRule, ResourceType, ReturnedRule,
    SchemaAttribute, SchemaDefinition,
};
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use schema_extension::Model as Extension;

/// Schemas that one organization may add.
const MAX_EXTENSIONS: usize = 20;
/// Attributes, sub-attributes included, that one schema may have.
const MAX_ATTRIBUTES: usize = 100;

/// What users and groups look like in one organization.
#[derive(Debug)]
pub struct ResourceTypes {
    pub user: ResourceType,
    pub group: ResourceType,
}

/// The schemas of each organization as they were read last, with their version; read again when the
/// version is another.
type ResourceTypesCache = Mutex<HashMap<Uuid, (i64, Arc<ResourceTypes>)>>;

static RESOURCE_TYPES_CACHE: LazyLock<ResourceTypesCache> =
    LazyLock::new(ResourceTypesCache::default);
static CORE_RESOURCE_TYPES: LazyLock<Arc<ResourceTypes>> = LazyLock::new(|| {
    Arc::new(ResourceTypes {
        user: schema::user_type().clone(),
        group: schema::group_type().clone(),
    })
});

/// What users and groups look like in this request's organization. Cached until an administrator
/// changes the schema extensions.
pub async fn resource_types(cx: &Cx) -> Result<Arc<ResourceTypes>> {
    let version = match cx.schema_version {
        Some(version) => version,
        None => crate::domain::tenant::organization::current_organization(cx).await?.schema_version,
    };
    if version == 0 {
        return Ok(CORE_RESOURCE_TYPES.clone());
    }
    let cache = || RESOURCE_TYPES_CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((known, types)) = cache().get(&cx.organization())
        && *known == version
    {
        return Ok(types.clone());
    }
    let mut types =
        ResourceTypes { user: schema::user_type().clone(), group: schema::group_type().clone() };
    for row in list_extensions(cx).await? {
        let schema = schema_of(&row)?;
        match row.resource_type {
            Extends::User => types.user.extensions.push(schema),
            Extends::Group => types.group.extensions.push(schema),
        }
    }
    let types = Arc::new(types);
    let mut cache = cache();
    if cache.len() > 10_000 {
        cache.clear();
    }
    cache.insert(cx.organization(), (version, types.clone()));
    Ok(types)
}

/// An attribute to be defined.
#[derive(Debug, Clone)]
pub struct NewSchemaAttribute {
    pub name: String,
    pub description: String,
    pub kind: AttributeKind,
    pub multi_valued: bool,
    pub required: bool,
    pub case_exact: bool,
    pub mutability: MutabilityRule,
    pub returned: ReturnedRule,
    pub canonical_values: Vec<String>,
    /// Only for [`Kind::Complex`], and never complex themselves.
    pub sub_attributes: Vec<NewSchemaAttribute>,
}

/// A schema to be added.
#[derive(Debug, Clone)]
pub struct NewExtension {
    pub urn: String,
    pub extends: Extends,
    pub name: String,
    pub description: String,
    pub attributes: Vec<NewSchemaAttribute>,
}

/// Adds a schema to the organization's users or groups; it applies from the next request on.
///
/// # Errors
/// [`Error::Taken`] for a URN that is registered, [`Error::Invalid`] for a definition that breaks
/// RFC 7643 section 7.
pub async fn register_extension(cx: &Cx, new: NewExtension) -> Result<Extension> {
    cx.allow(Action::WriteConnection, None)?;
    let description = if new.description.is_empty() { &new.name } else { &new.description };
    let (urn, (name, (description, attributes))) = mistakes::both(
        check_urn(&new.urn),
        mistakes::both(
            crate::domain::check_text("name", &new.name, 200),
            mistakes::both(
                check_description(&new.name, description),
                encode_attributes(&new.attributes),
            ),
        ),
    )?;
    let (urn, name, description, attributes) = (&urn, &name, &description, &attributes);
    cx.write(move |tx| {
        Box::pin(async move {
            bump_schema_version(tx).await?;
            let known = tx.find::<schema_extension::Entity>().all(&tx.db).await?;
            if known.len() >= MAX_EXTENSIONS {
                return Err(Error::invalid(
                    "urn",
                    format!("an organization can have at most {MAX_EXTENSIONS} extensions"),
                ));
            }
            let now = tx.now_after(None);
            let row = Extension {
                organization_id: tx.organization(),
                id: Uuid::now_v7(),
                urn: urn.clone(),
                urn_key: document::fold_text(urn),
                resource_type: new.extends,
                name: name.clone(),
                description: description.clone(),
                attributes: attributes.clone(),
                created_at: now,
                updated_at: now,
            };
            let active = schema_extension::ActiveModel::from(row.clone());
            schema_extension::Entity::insert(active).exec_without_returning(&tx.db).await?;
            let after = json!({ "urn": urn, "name": name, "attributes": attributes });
            let entry =
                extension_event(EventKind::SchemaExtensionRegistered, &row, None, Some(after));
            Ok(Change::recorded(row, entry))
        })
    })
    .await
}

/// Removes a schema extension.
///
/// # Errors
/// [`Error::Held`] while a live user or group has values in it.
pub async fn remove_extension(cx: &Cx, id: Uuid) -> Result<()> {
    cx.allow(Action::WriteConnection, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            bump_schema_version(tx).await?;
            let query =
                tx.find::<schema_extension::Entity>().filter(schema_extension::Column::Id.eq(id));
            let row = crate::domain::lock_row(tx, query)
                .await?
                .ok_or_else(|| Error::not_found(Noun::SchemaExtension))?;
            let table = match row.resource_type {
                Extends::User => "user",
                Extends::Group => "group",
            };
            if paging::any_has(tx, table, &row.urn).await? {
                let why =
                    format!("{} still has values on live {table}s; remove those first", row.urn);
                return Err(Error::Held { reason: RefusalReason::InUse, why: why.into() });
            }
            schema_extension::Entity::delete_many()
                .filter(schema_extension::Column::OrganizationId.eq(tx.organization()))
                .filter(schema_extension::Column::Id.eq(id))
                .exec(&tx.db)
                .await?;
            let before = json!({ "urn": row.urn, "name": row.name, "attributes": row.attributes });
            let at = tx.now_after(Some(row.updated_at));
            let entry = NewEvent {
                at,
                ..extension_event(EventKind::SchemaExtensionRemoved, &row, Some(before), None)
            };
            Ok(Change::recorded((), entry))
        })
    })
    .await
}

/// The organization's own schemas, oldest first.
pub async fn list_extensions(cx: &Cx) -> Result<Vec<Extension>> {
    let query = cx.find::<schema_extension::Entity>().order_by_asc(schema_extension::Column::Id);
    Ok(query.all(cx.db()).await?)
}

/// One of the organization's own schemas.
pub async fn find_extension(cx: &Cx, id: Uuid) -> Result<Option<Extension>> {
    cx.allow(Action::ReadIam, None)?;
    Ok(cx
        .find::<schema_extension::Entity>()
        .filter(schema_extension::Column::Id.eq(id))
        .one(cx.db())
        .await?)
}

/// The schema that a row describes.
pub fn schema_of(row: &Extension) -> Result<SchemaDefinition> {
    let fault = || Error::Internal(format!("the schema extension {} is damaged", row.urn));
    let attributes = row.attributes.as_array().ok_or_else(fault)?;
    Ok(SchemaDefinition {
        urn: row.urn.clone(),
        name: row.name.clone(),
        description: row.description.clone(),
        attributes: attributes
            .iter()
            .map(|value| decode_attribute(value).ok_or_else(fault))
            .collect::<Result<_>>()?,
    })
}

/// Increments the version of the organization's schemas; this also locks the organization's row.
async fn bump_schema_version(tx: &Tx<'_>) -> Result<()> {
    organization::Entity::update_many()
        .col_expr(
            organization::Column::SchemaVersion,
            Expr::col(organization::Column::SchemaVersion).add(1),
        )
        .filter(organization::Column::Id.eq(tx.organization()))
        .exec(&tx.db)
        .await?;
    Ok(())
}

/// The text that describes `name`: without one of its own it is the name, which is checked itself.
fn check_description(name: &str, text: &str) -> Result<String> {
    if text == name {
        return Ok(text.trim().to_owned());
    }
    crate::domain::check_text("description", text, 2_000)
}

fn check_urn(urn: &str) -> Result<String> {
    let urn = urn.trim();
    let good = urn.len() <= 200
        && urn.to_ascii_lowercase().starts_with("urn:")
        && urn.split(':').count() >= 3
        && urn.split(':').all(|part| !part.is_empty())
        && urn.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":._-".contains(&byte));
    if !good {
        return Err(Error::invalid(
            "urn",
            "must be a URN such as urn:example:params:scim:schemas:extension:ward:2.0:User",
        ));
    }
    // These names mean what the RFCs say. Entra ID puts custom extensions under other names of
    // `urn:ietf:params:scim:schemas:extension:`, which are allowed.
    let folded = urn.to_ascii_lowercase();
    let reserved = [
        "urn:ietf:params:scim:schemas:core:",
        "urn:ietf:params:scim:schemas:extension:enterprise:",
        "urn:ietf:params:scim:api:",
    ];
    if reserved.iter().any(|prefix| folded.starts_with(prefix)) {
        return Err(Error::invalid("urn", "is reserved by the SCIM RFCs"));
    }
    Ok(urn.to_owned())
}

/// Checks definitions and converts them to the stored JSON.
fn encode_attributes(definitions: &[NewSchemaAttribute]) -> Result<Value> {
    let count: usize =
        definitions.iter().map(|definition| 1 + definition.sub_attributes.len()).sum();
    if definitions.is_empty() || count > MAX_ATTRIBUTES {
        return Err(Error::invalid(
            "attributes",
            format!("must be between 1 and {MAX_ATTRIBUTES}"),
        ));
    }
    encode_definitions("attributes", definitions, true)
}

fn encode_definitions(
    list: &'static str,
    definitions: &[NewSchemaAttribute],
    top: bool,
) -> Result<Value> {
    let mut names = HashSet::new();
    let encoded = mistakes::each(list, definitions, |definition| {
        let is_new = names.insert(definition.name.to_ascii_lowercase());
        encode_definition(definition, is_new, top)
    });
    Ok(Value::from(encoded?))
}

/// The stored JSON of one definition. Mistakes in it name its fields.
fn encode_definition(definition: &NewSchemaAttribute, is_new: bool, top: bool) -> Result<Value> {
    let name = &definition.name;
    let complex = definition.kind == AttributeKind::Complex;
    let mut mistakes = Mistakes::default();
    mistakes.collect(check_attribute_name(name, is_new));
    if complex && !top {
        let why = format!("{name:?} cannot be complex inside a complex attribute");
        mistakes.add(Error::invalid("type", why));
    } else if complex == definition.sub_attributes.is_empty() {
        let why = format!("{name:?} needs sub-attributes if, and only if, it is complex");
        mistakes.add(Error::invalid("subAttributes", why));
    }
    if definition.mutability == MutabilityRule::WriteOnly
        && definition.returned != ReturnedRule::Never
    {
        let why = format!("{name:?} is write-only and so can never be returned");
        mistakes.add(Error::invalid("returned", why));
    }
    let description =
        if definition.description.is_empty() { name } else { &definition.description };
    let description = mistakes.collect(check_description(name, description));
    let canonical = mistakes.collect(mistakes::each(
        "canonicalValues",
        &definition.canonical_values,
        |value| crate::domain::check_text("canonicalValues", value, 200),
    ));
    let inner = if complex && top { definition.sub_attributes.as_slice() } else { &[] };
    let inner = mistakes.collect(encode_definitions("subAttributes", inner, false));
    mistakes.refuse_any()?;
    Ok(json!({
        "name": name,
        "description": description,
        "type": definition.kind.name(),
        "multiValued": definition.multi_valued,
        "required": definition.required,
        "caseExact": definition.case_exact,
        "mutability": definition.mutability.name(),
        "returned": definition.returned.name(),
        "canonicalValues": canonical,
        "subAttributes": inner,
    }))
}

/// RFC 7643 section 2.1.
fn check_attribute_name(name: &str, is_new: bool) -> Result<()> {
    let invalid = |why: &str| Err(Error::invalid("name", format!("{name:?} {why}")));
    let mut bytes = name.bytes();
    let good = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        && name.len() <= 100;
    if !good {
        return invalid("must be a letter followed by letters, digits, hyphens and underscores");
    }
    if ["schemas", "id", "meta", "members"]
        .iter()
        .any(|reserved| name.eq_ignore_ascii_case(reserved))
    {
        return invalid("is a name that SCIM itself uses");
    }
    if is_new { Ok(()) } else { invalid("is defined twice") }
}

/// Converts the JSON of [`encode_definitions`] back.
fn decode_attribute(value: &Value) -> Option<SchemaAttribute> {
    let flag = |name: &str| value.get(name)?.as_bool();
    let text = |name: &str| value.get(name)?.as_str();
    let texts = |name: &str| -> Option<Vec<String>> {
        value.get(name)?.as_array()?.iter().map(|value| value.as_str().map(Into::into)).collect()
    };
    Some(SchemaAttribute {
        name: text("name")?.into(),
        description: text("description")?.into(),
        kind: AttributeKind::from_name(text("type")?)?,
        multi_valued: flag("multiValued")?,
        required: flag("required")?,
        case_exact: flag("caseExact")?,
        mutability: MutabilityRule::from_name(text("mutability")?)?,
        returned: ReturnedRule::from_name(text("returned")?)?,
        uniqueness: AttributeUniqueness::None,
        canonical_values: texts("canonicalValues")?,
        reference_types: Vec::new(),
        sub_attributes: value
            .get("subAttributes")?
            .as_array()?
            .iter()
            .map(decode_attribute)
            .collect::<Option<_>>()?,
    })
}

fn extension_event(
    kind: EventKind,
    row: &Extension,
    before: Option<Value>,
    after: Option<Value>,
) -> NewEvent {
    NewEvent {
        kind,
        subject: EventSubject { kind: "schema_extension", id: row.id },
        connection: None,
        at: row.updated_at,
        before,
        after,
        population: 0,
        name: None,
    }
}
