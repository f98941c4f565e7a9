//! What an identity looks like: the attributes of users and groups with their characteristics
//! (RFC 7643 section 2.2 and 7). Validation, folding for search, filters, PATCH and discovery all read
//! these tables; there is no second list of attributes anywhere.

/// Data types of RFC 7643 section 2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    String,
    Boolean,
    Decimal,
    Integer,
    DateTime,
    Binary,
    Reference,
    Complex,
}

/// Who may write an attribute (RFC 7643 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutability {
    ReadOnly,
    ReadWrite,
    Immutable,
    WriteOnly,
}

/// When an attribute is returned (RFC 7643 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    Always,
    Never,
    Default,
    Request,
}

/// How far a value must be unique (RFC 7643 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uniqueness {
    None,
    Server,
    Global,
}

/// One attribute and its characteristics.
#[derive(Debug, Clone)]
pub struct Attribute {
    pub name: String,
    pub description: String,
    pub kind: Kind,
    pub multi_valued: bool,
    pub required: bool,
    pub case_exact: bool,
    pub mutability: Mutability,
    pub returned: Returned,
    pub uniqueness: Uniqueness,
    pub canonical_values: Vec<String>,
    pub reference_types: Vec<String>,
    pub sub_attributes: Vec<Attribute>,
}

/// One schema: a URN and its attributes.
#[derive(Debug, Clone)]
pub struct Schema {
    pub urn: String,
    pub name: String,
    pub description: String,
    pub attributes: Vec<Attribute>,
}

/// A kind of resource: its core schema, its extensions, and where it lives.
#[derive(Debug, Clone)]
pub struct ResourceType {
    pub name: &'static str,
    pub endpoint: &'static str,
    pub description: &'static str,
    pub core: Schema,
    pub extensions: Vec<Schema>,
}
