//! Values against the types of their places: literals of a document, and the values of variables
//! (GraphQL specification, sections 3.5 to 3.13, 5.6 and 6.1.2).

use async_graphql::parser::types::{BaseType, OperationDefinition, Type};
use async_graphql::{Name, Pos, Variables};
use async_graphql_value::indexmap::IndexMap;
use async_graphql_value::{ConstValue, Number, Value};

use super::DocumentFault;
use super::schema_index::{SchemaIndex, TypeInfo, named_type};
use super::variables::VariableUse;

/// Where a literal stands.
#[derive(Clone, Copy)]
pub struct ValuePlace<'a> {
    /// None = in a scalar that takes any value.
    pub ty: Option<&'a Type>,
    pub has_default: bool,
    /// Whether it is a field of an input object of which exactly one field is given.
    pub is_one_of: bool,
    pub pos: Pos,
}

/// Checks literals, and collects the variables in them.
pub struct LiteralCheck<'a, 'b> {
    pub index: &'a SchemaIndex,
    pub faults: &'b mut Vec<DocumentFault>,
    pub uses: &'b mut Vec<VariableUse<'a>>,
}

impl<'a> LiteralCheck<'a, '_> {
    /// Checks a literal. `path` names the argument and the fields that lead to it.
    pub fn check(&mut self, value: &'a Value, place: ValuePlace<'a>, path: &str) {
        if let Value::Variable(name) = value {
            self.uses.push(VariableUse { name, place });
            return;
        }
        let Some(ty) = place.ty else {
            return self.check_parts(value, place, path);
        };
        let nested = |ty| ValuePlace { ty, has_default: false, is_one_of: false, ..place };
        match (value, &ty.base) {
            (Value::Null, _) => {
                if !ty.nullable {
                    self.report(place.pos, path, format!("expected type \"{ty}\", found null"));
                }
            }
            (Value::List(items), BaseType::List(item)) => {
                for (at, value) in items.iter().enumerate() {
                    self.check(value, nested(Some(item)), &format!("{path}.{at}"));
                }
            }
            (Value::Object(fields), _) => match self.index.find_type(named_type(ty)) {
                Some(TypeInfo::Input(input)) => {
                    let name = named_type(ty);
                    for (field, value) in fields {
                        let Some(known) = input.fields.get(field.as_str()) else {
                            let message = format!("unknown field \"{field}\" of type \"{name}\"");
                            self.report(place.pos, path, message);
                            continue;
                        };
                        let place = ValuePlace {
                            ty: Some(&known.ty),
                            has_default: known.default.is_some(),
                            // The reference implementation does not see it through "!".
                            is_one_of: input.is_one_of && ty.nullable,
                            pos: place.pos,
                        };
                        self.check(value, place, &format!("{path}.{field}"));
                    }
                    for (field, known) in &input.fields {
                        if known.is_required() && !fields.contains_key(field.as_str()) {
                            let message = format!(
                                "field \"{field}\" of type \"{}\" is required but not provided",
                                known.ty
                            );
                            self.report(place.pos, path, message);
                        }
                    }
                    let is_single =
                        fields.len() == 1 && !fields.values().any(|v| *v == Value::Null);
                    if input.is_one_of && !is_single {
                        let message = format!("\"{name}\" takes exactly one field, not null");
                        self.report(place.pos, path, message);
                    }
                }
                _ => {
                    self.check_leaf(value, ty, place, path);
                    self.check_parts(value, ValuePlace { ty: None, ..place }, path);
                }
            },
            (Value::List(_), BaseType::Named(_)) => {
                self.check_leaf(value, ty, place, path);
                self.check_parts(value, place, path);
            }
            _ => self.check_leaf(value, ty, place, path),
        }
    }

    /// Looks for variables in a value of which no part has a type that could be wrong.
    fn check_parts(&mut self, value: &'a Value, place: ValuePlace<'a>, path: &str) {
        match value {
            // The reference implementation takes the items of a list in a scalar as of its type.
            Value::List(items) => {
                let ty = place.ty;
                for value in items {
                    if let Value::Variable(name) = value {
                        let place =
                            ValuePlace { ty, has_default: false, is_one_of: false, ..place };
                        self.uses.push(VariableUse { name, place });
                    } else {
                        self.check_parts(value, place, path);
                    }
                }
            }
            Value::Object(fields) => {
                for value in fields.values() {
                    self.check(value, ValuePlace { ty: None, ..place }, path);
                }
            }
            _ => {}
        }
    }

    fn check_leaf(&mut self, value: &Value, ty: &Type, place: ValuePlace<'a>, path: &str) {
        let name = named_type(ty);
        let fits = match self.index.find_type(name) {
            Some(TypeInfo::Scalar) => is_literal_of(value, name),
            Some(TypeInfo::Enum(values)) => match value {
                Value::Enum(value) => values.contains(value.as_str()),
                _ => false,
            },
            _ => false,
        };
        if fits {
            return;
        }
        let message = match (self.index.find_type(name), value) {
            (Some(TypeInfo::Enum(_)), Value::Enum(value)) => {
                format!("enumeration type \"{name}\" does not contain the value \"{value}\"")
            }
            _ => format!("expected type \"{ty}\", found {value}"),
        };
        self.report(place.pos, path, message);
    }

    fn report(&mut self, pos: Pos, path: &str, message: String) {
        self.faults.push(DocumentFault::new(
            format!("invalid value for argument \"{path}\": {message}"),
            pos,
        ));
    }
}

/// Whether a literal is one of a scalar. The scalars of this schema take any literal here; their
/// own code reads it when the field is run.
fn is_literal_of(value: &Value, scalar: &str) -> bool {
    match scalar {
        "Int" => matches!(value, Value::Number(number) if to_int(number).is_some()),
        "Float" => matches!(value, Value::Number(_)),
        "String" => matches!(value, Value::String(_)),
        "Boolean" => matches!(value, Value::Boolean(_)),
        "ID" => match value {
            Value::String(_) => true,
            Value::Number(number) => !number.is_f64(),
            _ => false,
        },
        _ => true,
    }
}

/// A whole number of 32 bits.
fn to_int(number: &Number) -> Option<i32> {
    number.as_i64().and_then(|number| i32::try_from(number).ok())
}

/// The values of an operation's variables, as the types of the variables take them. A variable that
/// is left out and has no default is not among them.
///
/// # Errors
/// A [`DocumentFault`] for the first value that does not fit.
pub fn coerce_variables(
    index: &SchemaIndex,
    operation: &OperationDefinition,
    given: &Variables,
) -> Result<Variables, DocumentFault> {
    let mut values = Variables::default();
    for definition in &operation.variable_definitions {
        let pos = definition.pos;
        let definition = &definition.node;
        let name = &definition.name.node;
        let ty = &definition.var_type.node;
        let value = match (given.get(name), &definition.default_value) {
            (Some(value), _) => coerce(index, value, ty, &format!("${name}"))
                .map_err(|message| DocumentFault::new(message, pos))?,
            (None, Some(default)) => default.node.clone(),
            (None, None) if ty.nullable => continue,
            (None, None) => {
                return Err(DocumentFault::new(format!("the variable ${name} is required"), pos));
            }
        };
        values.insert(name.clone(), value);
    }
    Ok(values)
}

/// A value out of JSON as a type takes it; or what is wrong with it.
fn coerce(
    index: &SchemaIndex,
    value: &ConstValue,
    ty: &Type,
    path: &str,
) -> Result<ConstValue, String> {
    let name = named_type(ty);
    let wrong = |message: String| Err(format!("invalid value for \"{path}\": {message}"));
    match (value, &ty.base) {
        (ConstValue::Null, _) if ty.nullable => return Ok(ConstValue::Null),
        (ConstValue::Null, _) => return wrong(format!("expected type \"{ty}\", found null")),
        (ConstValue::List(items), BaseType::List(item)) => {
            let items = items
                .iter()
                .enumerate()
                .map(|(at, value)| coerce(index, value, item, &format!("{path}.{at}")));
            return Ok(ConstValue::List(items.collect::<Result<_, _>>()?));
        }
        (single, BaseType::List(item)) => {
            return Ok(ConstValue::List(vec![coerce(index, single, item, path)?]));
        }
        _ => {}
    }
    match index.find_type(name) {
        Some(TypeInfo::Input(input)) => {
            let ConstValue::Object(fields) = value else {
                return wrong(format!("expected type \"{name}\", found {value}"));
            };
            let mut coerced: IndexMap<Name, ConstValue> = IndexMap::with_capacity(fields.len());
            for (field, value) in fields {
                let Some(known) = input.fields.get(field.as_str()) else {
                    return wrong(format!("unknown field \"{field}\" of type \"{name}\""));
                };
                let value = coerce(index, value, &known.ty, &format!("{path}.{field}"))?;
                coerced.insert(field.clone(), value);
            }
            for (field, known) in &input.fields {
                if known.is_required() && !fields.contains_key(field.as_str()) {
                    return wrong(format!(
                        "field \"{field}\" of type \"{}\" is required but not provided",
                        known.ty
                    ));
                }
            }
            let is_single = coerced.len() == 1 && !coerced.values().any(|v| *v == ConstValue::Null);
            if input.is_one_of && !is_single {
                return wrong(format!("\"{name}\" takes exactly one field, not null"));
            }
            Ok(ConstValue::Object(coerced))
        }
        Some(TypeInfo::Enum(values)) => match value {
            ConstValue::String(text) if values.contains(text) => {
                Ok(ConstValue::Enum(Name::new(text)))
            }
            ConstValue::String(text) => {
                wrong(format!("enumeration type \"{name}\" does not contain the value \"{text}\""))
            }
            _ => wrong(format!("expected type \"{name}\", found {value}")),
        },
        _ => match coerce_scalar(value, name) {
            Some(value) => Ok(value),
            None => wrong(format!("expected type \"{name}\", found {value}")),
        },
    }
}

fn coerce_scalar(value: &ConstValue, scalar: &str) -> Option<ConstValue> {
    match (scalar, value) {
        ("Int", ConstValue::Number(number)) => {
            let number = whole_number(number)?;
            i32::try_from(number).ok().map(ConstValue::from)
        }
        ("Float", ConstValue::Number(_))
        | ("String" | "ID", ConstValue::String(_))
        | ("Boolean", ConstValue::Boolean(_)) => Some(value.clone()),
        ("ID", ConstValue::Number(number)) => {
            whole_number(number).map(|number| ConstValue::String(number.to_string()))
        }
        ("Int" | "Float" | "String" | "Boolean" | "ID", _) => None,
        _ => Some(value.clone()),
    }
}

/// JSON does not tell 1 from 1.0.
fn whole_number(number: &Number) -> Option<i64> {
    /// From here on not every whole number is one of its own (IEEE 754).
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    number.as_i64().or_else(|| {
        let number = number.as_f64()?;
        #[allow(clippy::cast_possible_truncation, reason = "it is whole and below the limit")]
        (number.fract() == 0.0 && number.abs() < LIMIT).then_some(number as i64)
    })
}
