//! Values of schema extensions in the inputs of mutations: a document for each URN, checked by the
//! domain against the registered schema. What must never enter: a rule about any attribute.

use async_graphql::InputObject;
use serde_json::{Map, Value, json};

use super::schema_extension::ExtendedResource;
use crate::context::Cx;
use crate::domain::directory::schema_extension;
use crate::error::{Error, Result, Rule, mistakes};

/// The most extensions that one input names.
const MAX_EXTENSIONS: usize = 20;

/// Values of the attributes of one schema extension.
#[derive(InputObject)]
pub struct ExtensionValuesInput {
    /// The URN of a schema that the organization registered for this kind of resource, or of the
    /// enterprise extension of RFC 7643.
    urn: String,
    /// The values, as a JSON object by the names of the attributes. An attribute that is left out
    /// stays as it is; null removes its value.
    attributes: Value,
}

/// Refuses an extension that the organization has not registered for `resource`, one that comes
/// twice, and values that are no object.
///
/// # Errors
/// [`Error::Invalid`], or several.
pub async fn check_urns(
    cx: &Cx,
    resource: ExtendedResource,
    inputs: &[ExtensionValuesInput],
) -> Result<()> {
    if inputs.is_empty() {
        return Ok(());
    }
    if inputs.len() > MAX_EXTENSIONS {
        let why = format!("must be at most {MAX_EXTENSIONS}");
        return Err(Error::broken(Rule::TooMany, "extensions", why));
    }
    let types = schema_extension::resource_types(cx).await?;
    let ty = match resource {
        ExtendedResource::User => &types.user,
        ExtendedResource::Group => &types.group,
    };
    let check = |(place, input): (usize, &ExtensionValuesInput)| {
        let same = |other: &&ExtensionValuesInput| other.urn.eq_ignore_ascii_case(&input.urn);
        if !ty.extensions.iter().any(|schema| schema.urn.eq_ignore_ascii_case(&input.urn)) {
            Err(Error::invalid(
                format!("extensions.{place}.urn"),
                "is no schema extension of this kind of resource",
            ))
        } else if inputs.iter().filter(same).count() > 1 {
            Err(Error::invalid(format!("extensions.{place}.urn"), "comes more than once"))
        } else if !input.attributes.is_object() {
            Err(Error::invalid(format!("extensions.{place}.attributes"), "must be an object"))
        } else {
            Ok(())
        }
    };
    mistakes::all(inputs.iter().enumerate().map(check)).map(|_| ())
}

/// Sets the values in a document.
pub fn set_values(document: &mut Map<String, Value>, inputs: &[ExtensionValuesInput]) {
    for input in inputs {
        let known = document.keys().find(|key| key.eq_ignore_ascii_case(&input.urn)).cloned();
        let section = document.entry(known.unwrap_or_else(|| input.urn.clone()));
        if let (Value::Object(section), Value::Object(values)) =
            (section.or_insert_with(|| json!({})), &input.attributes)
        {
            section.extend(values.clone());
        }
    }
}

/// Gives the mistakes in extension values their place in the input: the domain names them by URN.
///
/// # Errors
/// The error of `done`.
pub fn name_fields<T>(done: Result<T>, inputs: &[ExtensionValuesInput]) -> Result<T> {
    done.map_err(|error| name_field(error, inputs))
}

fn name_field(error: Error, inputs: &[ExtensionValuesInput]) -> Error {
    match error {
        Error::Several(errors) => {
            Error::Several(errors.into_iter().map(|error| name_field(error, inputs)).collect())
        }
        Error::Invalid { rule, field, why } => {
            let place = inputs.iter().enumerate().find_map(|(place, input)| {
                let rest = field.get(..input.urn.len())?.eq_ignore_ascii_case(&input.urn);
                let rest = field.get(input.urn.len()..).filter(|_| rest)?;
                Some(format!(
                    "extensions.{place}.attributes.{}",
                    rest.trim_start_matches([':', '.'])
                ))
            });
            Error::Invalid { rule, field: place.map_or(field, Into::into), why }
        }
        error => error,
    }
}
