//! Discovery (RFC 7644 section 4): the schemas, the resource types and the capabilities of this
//! server. They are rendered from the tables that validation uses, so the two cannot differ.

use serde_json::{Map, Value, json};

use super::bulk;
use super::query::DEFAULT_PAGE_SIZE;
use crate::domain::directory::schema_extension::ResourceTypes;
use crate::domain::signal::stream::token::SCIM_EVENTS;
use crate::identity::schema::{
    AttributeKind, GROUP_SCHEMA, ResourceType, SchemaAttribute, SchemaDefinition, USER_SCHEMA,
    common_attributes,
};

/// The largest page of a list (RFC 7643 section 5, `filter.maxResults`).
pub const MAX_PAGE_SIZE: u64 = 200;

const SCHEMA_URN: &str = "urn:ietf:params:scim:schemas:core:2.0:Schema";
const RESOURCE_TYPE_URN: &str = "urn:ietf:params:scim:schemas:core:2.0:ResourceType";
const SERVICE_PROVIDER_CONFIG_URN: &str =
    "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";

/// All schemas (RFC 7643 section 7). `base_url` is the root of the client's SCIM endpoints, without
/// a final slash.
pub fn render_schemas(types: &ResourceTypes, base_url: &str) -> Vec<Value> {
    known_schemas(types).map(|schema| render_schema(schema, base_url)).collect()
}

/// The schema with this URN; upper and lower case count as equal.
pub fn find_schema(types: &ResourceTypes, base_url: &str, urn: &str) -> Option<Value> {
    known_schemas(types)
        .find(|schema| schema.urn.eq_ignore_ascii_case(urn))
        .map(|schema| render_schema(schema, base_url))
}

/// The resource types and their endpoints (RFC 7643 section 6).
pub fn render_resource_types(types: &ResourceTypes, base_url: &str) -> Vec<Value> {
    [&types.user, &types.group].map(|ty| render_resource_type(ty, base_url)).into()
}

/// The capabilities of this server (RFC 7643 section 5). `announce_cursors` adds paging by cursor,
/// for a connection that wants it announced.
pub fn render_service_provider_config(
    base_url: &str,
    announce_cursors: bool,
    announce_events: bool,
) -> Value {
    let mut config = json!({
        "schemas": [SERVICE_PROVIDER_CONFIG_URN],
        "patch": { "supported": true },
        "bulk": {
            "supported": true,
            "maxOperations": bulk::MAX_OPERATIONS,
            "maxPayloadSize": bulk::MAX_PAYLOAD_BYTES,
        },
        "filter": { "supported": true, "maxResults": MAX_PAGE_SIZE },
        "changePassword": { "supported": false },
        "sort": { "supported": true },
        "etag": { "supported": true },
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "Bearer token",
            "description": "A token issued for one connection, sent in the Authorization header.",
            "specUri": "https://www.rfc-editor.org/info/rfc6750",
            "primary": true,
        }],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": format!("{base_url}/ServiceProviderConfig"),
        },
    });
    if announce_cursors {
        // RFC 9865 section 4. Cursors do not expire, so no timeout is named.
        config["pagination"] = json!({
            "cursor": true,
            "index": true,
            "defaultPaginationMethod": "index",
            "defaultPageSize": DEFAULT_PAGE_SIZE,
            "maxPageSize": MAX_PAGE_SIZE,
        });
    }
    if announce_events {
        // RFC 9967 section 4. It is absent where no receiver is told of events.
        config["securityEvents"] = json!({ "asyncRequest": "request", "eventUris": SCIM_EVENTS });
    }
    config
}

fn known_schemas(types: &ResourceTypes) -> impl Iterator<Item = &SchemaDefinition> {
    [&types.user, &types.group]
        .into_iter()
        .flat_map(|ty| std::iter::once(&ty.core).chain(&ty.extensions))
}

fn render_resource_type(ty: &ResourceType, base_url: &str) -> Value {
    let extensions: Vec<Value> = ty
        .extensions
        .iter()
        .map(|schema| json!({ "schema": schema.urn, "required": false }))
        .collect();
    json!({
        "schemas": [RESOURCE_TYPE_URN],
        "id": ty.name,
        "name": ty.name,
        "description": ty.description,
        "endpoint": ty.endpoint,
        "schema": ty.core.urn,
        "schemaExtensions": extensions,
        "meta": {
            "resourceType": "ResourceType",
            "location": format!("{base_url}/ResourceTypes/{}", ty.name),
        },
    })
}

fn render_schema(schema: &SchemaDefinition, base_url: &str) -> Value {
    // RFC 7643 section 3.1 has `externalId` in every resource. Clients offer for mapping the
    // attributes that they find here, so the core schemas list it. Only this server writes the
    // other common ones.
    let is_core = [USER_SCHEMA, GROUP_SCHEMA].contains(&schema.urn.as_str());
    let common =
        common_attributes().iter().filter(|attribute| is_core && attribute.name == "externalId");
    let attributes: Vec<Value> =
        schema.attributes.iter().chain(common).map(render_attribute).collect();
    json!({
        "schemas": [SCHEMA_URN],
        "id": schema.urn,
        "name": schema.name,
        "description": schema.description,
        "attributes": attributes,
        "meta": {
            "resourceType": "Schema",
            "location": format!("{base_url}/Schemas/{}", schema.urn),
        },
    })
}

fn render_attribute(attribute: &SchemaAttribute) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("name", attribute.name.as_str().into());
    put("type", attribute.kind.name().into());
    put("multiValued", attribute.multi_valued.into());
    put("description", attribute.description.as_str().into());
    put("required", attribute.required.into());
    if matches!(
        attribute.kind,
        AttributeKind::String | AttributeKind::Reference | AttributeKind::Binary
    ) {
        put("caseExact", attribute.case_exact.into());
    }
    put("mutability", attribute.mutability.name().into());
    put("returned", attribute.returned.name().into());
    put("uniqueness", attribute.uniqueness.name().into());
    if !attribute.canonical_values.is_empty() {
        put("canonicalValues", attribute.canonical_values.as_slice().into());
    }
    if !attribute.reference_types.is_empty() {
        put("referenceTypes", attribute.reference_types.as_slice().into());
    }
    if !attribute.sub_attributes.is_empty() {
        put("subAttributes", attribute.sub_attributes.iter().map(render_attribute).collect());
    }
    fields.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::schema::{ENTERPRISE_SCHEMA, group_type, user_type};

    const BASE: &str = "https://id.example/scim/v2/acme";

    fn types() -> ResourceTypes {
        ResourceTypes { user: user_type().clone(), group: group_type().clone() }
    }

    fn attribute<'a>(schema: &'a Value, name: &str) -> &'a Value {
        schema["attributes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|attribute| attribute["name"] == name)
            .unwrap()
    }

    #[test]
    fn every_schema_is_listed_and_found_by_its_urn() {
        let ids: Vec<Value> =
            render_schemas(&types(), BASE).iter().map(|schema| schema["id"].clone()).collect();
        assert_eq!(ids, [USER_SCHEMA, ENTERPRISE_SCHEMA, GROUP_SCHEMA]);
        for id in [USER_SCHEMA, ENTERPRISE_SCHEMA, GROUP_SCHEMA] {
            let found = find_schema(&types(), BASE, &id.to_uppercase()).unwrap();
            assert_eq!(found["meta"]["location"], format!("{BASE}/Schemas/{id}"));
        }
        assert!(find_schema(&types(), BASE, "urn:none").is_none());
    }

    #[test]
    fn attributes_say_what_the_tables_say() {
        let user = find_schema(&types(), BASE, USER_SCHEMA).unwrap();
        let name = attribute(&user, "userName");
        assert_eq!(
            (&name["required"], &name["caseExact"], &name["uniqueness"]),
            (&json!(true), &json!(false), &json!("server"))
        );
        let password = attribute(&user, "password");
        assert_eq!(
            (&password["mutability"], &password["returned"]),
            (&json!("writeOnly"), &json!("never"))
        );
        let email = attribute(&user, "emails");
        assert_eq!(email["type"], "complex");
        assert_eq!(email["subAttributes"][2]["canonicalValues"], json!(["work", "home", "other"]));
        assert_eq!(attribute(&user, "active").get("caseExact"), None);
    }

    #[test]
    fn strict_clients_find_no_extras_inside_attributes() {
        fn check(attribute: &Value) {
            let allowed = [
                "name",
                "type",
                "multiValued",
                "description",
                "required",
                "caseExact",
                "mutability",
                "returned",
                "uniqueness",
                "canonicalValues",
                "referenceTypes",
                "subAttributes",
            ];
            for key in attribute.as_object().unwrap().keys() {
                assert!(allowed.contains(&key.as_str()), "{key}");
            }
            attribute["subAttributes"].as_array().into_iter().flatten().for_each(check);
        }
        for schema in render_schemas(&types(), BASE) {
            let attributes = schema["attributes"].as_array().unwrap();
            attributes.iter().for_each(check);
            let common = ["id", "meta", "schemas"];
            assert!(
                attributes
                    .iter()
                    .all(|attribute| !common.contains(&attribute["name"].as_str().unwrap()))
            );
            let core = schema["id"] != ENTERPRISE_SCHEMA;
            assert_eq!(attributes.iter().any(|attribute| attribute["name"] == "externalId"), core);
        }
    }

    #[test]
    fn resource_types_point_to_their_schemas() {
        let types = render_resource_types(&types(), BASE);
        assert_eq!(
            (&types[0]["endpoint"], &types[0]["schema"]),
            (&json!("/Users"), &json!(USER_SCHEMA))
        );
        assert_eq!(
            types[0]["schemaExtensions"],
            json!([{ "schema": ENTERPRISE_SCHEMA, "required": false }])
        );
        assert_eq!(types[1]["meta"]["location"], format!("{BASE}/ResourceTypes/Group"));
    }

    #[test]
    fn the_configuration_promises_only_what_is_there() {
        let config = render_service_provider_config(BASE, true, false);
        assert_eq!(config.get("securityEvents"), None);
        assert_eq!(config["patch"]["supported"], true);
        assert_eq!(
            config["bulk"],
            json!({ "supported": true, "maxOperations": 1000, "maxPayloadSize": 10_485_760 })
        );
        assert_eq!(config["filter"]["maxResults"], MAX_PAGE_SIZE);
        assert_eq!(config["authenticationSchemes"][0]["type"], "oauthbearertoken");
    }
}
