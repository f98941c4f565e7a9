//! What an identity looks like: the attributes of users and groups with their characteristics
//! (RFC 7643 section 2.2 and 7). Validation, folding for search, filters, PATCH and discovery all read
//! these tables; there is no second list of attributes anywhere.

use std::sync::LazyLock;

use super::search::AttrPath;

/// The core schema of users (RFC 7643 section 4.1).
pub const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// The core schema of groups (RFC 7643 section 4.2).
pub const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
/// The enterprise extension of users (RFC 7643 section 4.3).
pub const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

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

impl Kind {
    /// The name in definitions (RFC 7643 section 7).
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::Decimal => "decimal",
            Self::Integer => "integer",
            Self::DateTime => "dateTime",
            Self::Binary => "binary",
            Self::Reference => "reference",
            Self::Complex => "complex",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        [
            Self::String,
            Self::Boolean,
            Self::Decimal,
            Self::Integer,
            Self::DateTime,
            Self::Binary,
            Self::Reference,
            Self::Complex,
        ]
        .into_iter()
        .find(|this| this.name() == name)
    }
}

/// Who may write an attribute (RFC 7643 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutability {
    ReadOnly,
    ReadWrite,
    Immutable,
    WriteOnly,
}

impl Mutability {
    /// The name in definitions (RFC 7643 section 7).
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "readOnly",
            Self::ReadWrite => "readWrite",
            Self::Immutable => "immutable",
            Self::WriteOnly => "writeOnly",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::ReadOnly, Self::ReadWrite, Self::Immutable, Self::WriteOnly].into_iter().find(|this| this.name() == name)
    }
}

/// When an attribute is returned (RFC 7643 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    Always,
    Never,
    Default,
    Request,
}

impl Returned {
    /// The name in definitions (RFC 7643 section 7).
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Never => "never",
            Self::Default => "default",
            Self::Request => "request",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Always, Self::Never, Self::Default, Self::Request].into_iter().find(|this| this.name() == name)
    }
}

/// How far a value must be unique (RFC 7643 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uniqueness {
    None,
    Server,
    Global,
}

impl Uniqueness {
    /// The name in definitions (RFC 7643 section 7).
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Server => "server",
            Self::Global => "global",
        }
    }
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

/// What a name stands for: an attribute or a sub-attribute, of the core, of the attributes that every resource has,
/// or of an extension.
#[derive(Debug, Clone, Copy)]
pub struct Resolved<'a> {
    /// The URN of the extension that defines the attribute; nothing for core and common attributes.
    pub extension: Option<&'a str>,
    pub attribute: &'a Attribute,
    pub sub: Option<&'a Attribute>,
}

impl Resolved<'_> {
    /// The name in canonical form, as clients read it in messages.
    pub fn path(&self) -> String {
        let mut path = String::new();
        if let Some(urn) = self.extension {
            path.push_str(urn);
            path.push(':');
        }
        path.push_str(&self.attribute.name);
        if let Some(sub) = self.sub {
            path.push('.');
            path.push_str(&sub.name);
        }
        path
    }

    /// Whether clients may not write what the name stands for.
    pub fn read_only(&self) -> bool {
        let read_only = |attribute: &Attribute| attribute.mutability == Mutability::ReadOnly;
        read_only(self.attribute) || self.sub.is_some_and(read_only)
    }
}

/// What the name of a JSON member stands for: clients write whole schemas, attributes, and dotted and URN-qualified
/// names alike.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    Schema(&'a Schema),
    Attribute(Resolved<'a>),
}

impl ResourceType {
    /// The attribute that `path` names, in any case. An extension's attribute is found by its URN only, so that an
    /// extension added later never changes what an unqualified name means; the RFC's own enterprise extension
    /// is the exception, because Entra ID asks for `manager` without its URN.
    pub fn resolve(&self, path: &AttrPath) -> Option<Resolved<'_>> {
        let schema = match &path.schema {
            None if self.core_attribute(&path.name).is_some() => &self.core,
            None => self.extension(ENTERPRISE)?,
            Some(urn) if urn.eq_ignore_ascii_case(&self.core.urn) => &self.core,
            Some(urn) => self.extension(urn)?,
        };
        self.resolve_in(schema, &path.name, path.sub.as_deref())
    }

    fn resolve_in<'a>(&'a self, schema: &'a Schema, name: &str, sub: Option<&str>) -> Option<Resolved<'a>> {
        let (extension, attribute) = match schema.urn == self.core.urn {
            true => (None, self.core_attribute(name)?),
            false => (Some(schema.urn.as_str()), find(&schema.attributes, name)?),
        };
        let sub = match sub {
            None => None,
            Some(name) => Some(attribute.sub(name)?),
        };
        Some(Resolved { extension, attribute, sub })
    }

    /// What the member `key` of a resource stands for; nothing if this kind of resource has no such thing.
    pub fn locate(&self, key: &str) -> Option<Place<'_>> {
        for schema in std::iter::once(&self.core).chain(&self.extensions) {
            let Some((head, rest)) = key.split_at_checked(schema.urn.len()) else { continue };
            if !head.eq_ignore_ascii_case(&schema.urn) {
                continue;
            }
            if rest.is_empty() {
                return Some(Place::Schema(schema));
            }
            if let Some(name) = rest.strip_prefix(':') {
                return self.locate_in(schema, name).map(Place::Attribute);
            }
        }
        self.locate_in(&self.core, key).map(Place::Attribute)
    }

    /// What the member `key` of an object that holds attributes of `schema` stands for.
    pub fn locate_in<'a>(&'a self, schema: &'a Schema, key: &str) -> Option<Resolved<'a>> {
        let (name, sub) = match key.split_once('.') {
            Some((name, sub)) => (name, Some(sub)),
            None => (key, None),
        };
        self.resolve_in(schema, name, sub)
    }

    /// The schema that `path` names as a whole. A URN's last part looks like an attribute's name to a parser that
    /// does not know the schemas, so both readings are tried.
    pub fn schema(&self, path: &AttrPath) -> Option<&Schema> {
        let mut urn = path.schema.clone()?;
        if !path.name.is_empty() {
            urn = format!("{urn}:{}", path.name);
        }
        if let Some(sub) = &path.sub {
            urn = format!("{urn}.{sub}");
        }
        if urn.eq_ignore_ascii_case(&self.core.urn) { Some(&self.core) } else { self.extension(&urn) }
    }

    /// Whether everything in a stored document is returned to whoever asks for nothing in particular. The core
    /// schemas are made so; an extension may have attributes that are returned on request or never.
    pub fn returns_all_it_stores(&self) -> bool {
        let usual = |attribute: &Attribute| matches!(attribute.returned, Returned::Default | Returned::Always);
        let whole = |attribute: &Attribute| usual(attribute) && attribute.sub_attributes.iter().all(usual);
        self.extensions.iter().all(|schema| schema.attributes.iter().all(whole))
    }

    fn extension(&self, urn: &str) -> Option<&Schema> {
        self.extensions.iter().find(|schema| schema.urn.eq_ignore_ascii_case(urn))
    }

    fn core_attribute(&self, name: &str) -> Option<&Attribute> {
        find(&self.core.attributes, name).or_else(|| find(common(), name))
    }
}

fn find<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
}

impl Attribute {
    /// The sub-attribute of that name, in any case.
    pub fn sub(&self, name: &str) -> Option<&Attribute> {
        find(&self.sub_attributes, name)
    }

    // RFC 7643 section 2.2: what holds where a definition says nothing. Binary values and references are case exact
    // by their type (sections 2.3.6 and 2.3.7).
    fn new(name: &str, kind: Kind, description: &str) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            kind,
            multi_valued: false,
            required: false,
            case_exact: matches!(kind, Kind::Binary | Kind::Reference),
            mutability: Mutability::ReadWrite,
            returned: Returned::Default,
            uniqueness: Uniqueness::None,
            canonical_values: Vec::new(),
            reference_types: Vec::new(),
            sub_attributes: Vec::new(),
        }
    }

    fn text(name: &str, description: &str) -> Self {
        Self::new(name, Kind::String, description)
    }

    fn complex(name: &str, description: &str, sub_attributes: Vec<Attribute>) -> Self {
        Self { sub_attributes, ..Self::new(name, Kind::Complex, description) }
    }

    fn reference(name: &str, description: &str, types: &[&str]) -> Self {
        let reference_types = types.iter().map(ToString::to_string).collect();
        Self { reference_types, ..Self::new(name, Kind::Reference, description) }
    }

    /// RFC 7643 section 2.4: the sub-attributes that multi-valued attributes have by default.
    fn plural(name: &str, description: &str, value: Attribute, types: &[&str]) -> Self {
        let subs = vec![value, Self::display(), Self::label(types), Self::primary()];
        Self::complex(name, description, subs).many()
    }

    fn display() -> Self {
        Self::text("display", "A name for people to read.")
    }

    fn label(types: &[&str]) -> Self {
        Self::text("type", "What the value is used for.").suggest(types)
    }

    fn primary() -> Self {
        Self::new("primary", Kind::Boolean, "Whether this is the preferred value; true at most once.")
    }

    fn many(self) -> Self {
        Self { multi_valued: true, ..self }
    }

    fn required(self) -> Self {
        Self { required: true, ..self }
    }

    fn exact(self) -> Self {
        Self { case_exact: true, ..self }
    }

    fn mutability(self, mutability: Mutability) -> Self {
        Self { mutability, ..self }
    }

    fn read_only(mut self) -> Self {
        self.sub_attributes = self.sub_attributes.into_iter().map(Self::read_only).collect();
        self.mutability(Mutability::ReadOnly)
    }

    fn returned(self, returned: Returned) -> Self {
        Self { returned, ..self }
    }

    fn unique(self) -> Self {
        Self { uniqueness: Uniqueness::Server, ..self }
    }

    fn suggest(self, values: &[&str]) -> Self {
        Self { canonical_values: values.iter().map(ToString::to_string).collect(), ..self }
    }
}

/// The attributes that every resource has beside its schema (RFC 7643 section 3.1). Of them `/Schemas` lists `externalId`
/// alone.
pub fn common() -> &'static [Attribute] {
    static COMMON: LazyLock<Vec<Attribute>> = LazyLock::new(|| {
        let date = |name, description| Attribute::new(name, Kind::DateTime, description);
        vec![
            Attribute::reference("schemas", "The schemas that the resource uses.", &["uri"])
                .many()
                .returned(Returned::Always),
            Attribute::text("id", "The identifier that this server gave the resource.")
                .exact()
                .read_only()
                .unique()
                .returned(Returned::Always),
            Attribute::text("externalId", "The identifier that the provisioning client gave the resource.").exact(),
            Attribute::complex(
                "meta",
                "Facts about the resource, kept by this server.",
                vec![
                    Attribute::text("resourceType", "The name of the kind of resource.").exact(),
                    date("created", "When the resource was created."),
                    date("lastModified", "When the resource last changed."),
                    Attribute::reference("location", "Where the resource is found.", &["uri"]),
                    Attribute::text("version", "The version of the resource, as in its ETag.").exact(),
                ],
            )
            .read_only(),
        ]
    });
    &COMMON
}

/// Users: the core schema and the enterprise extension.
pub fn user() -> &'static ResourceType {
    static USERS: LazyLock<ResourceType> = LazyLock::new(|| ResourceType {
        name: "User",
        endpoint: "/Users",
        description: "People and other accounts.",
        core: user_schema(),
        extensions: vec![enterprise_schema()],
    });
    &USERS
}

/// Groups, as the identity provider knows them.
pub fn group() -> &'static ResourceType {
    static GROUPS: LazyLock<ResourceType> = LazyLock::new(|| ResourceType {
        name: "Group",
        endpoint: "/Groups",
        description: "Groups of users and of other groups.",
        core: group_schema(),
        extensions: Vec::new(),
    });
    &GROUPS
}

/// RFC 7643 section 4.1.
fn user_schema() -> Schema {
    let text = Attribute::text;
    let mut attributes = vec![
        text("userName", "The name by which the person signs in.").required().unique(),
        Attribute::complex(
            "name",
            "The parts of the person's name.",
            vec![
                text("formatted", "The full name, ready to show."),
                text("familyName", "The family name, or last name."),
                text("givenName", "The given name, or first name."),
                text("middleName", "The middle names."),
                text("honorificPrefix", "What stands before the name, such as a title."),
                text("honorificSuffix", "What stands after the name, such as 'III'."),
            ],
        ),
        text("displayName", "The name that is shown to others."),
        text("nickName", "What the person is called casually."),
        Attribute::reference("profileUrl", "A page about the person.", &["external"]),
        text("title", "The person's position, such as 'Vice President'."),
        text("userType", "How the person relates to the organization, such as 'Contractor'."),
        text("preferredLanguage", "The languages the person prefers, as in an Accept-Language header."),
        text("locale", "How to write dates, numbers and currencies, such as 'en-US'."),
        text("timezone", "The person's time zone, such as 'Europe/Berlin'."),
        Attribute::new("active", Kind::Boolean, "Whether the person may sign in."),
        text("password", "Accepted and ignored: no password given here ever opens a session.")
            .exact()
            .mutability(Mutability::WriteOnly)
            .returned(Returned::Never),
    ];
    attributes.extend(user_plurals());
    Schema { urn: USER.into(), name: "User".into(), description: "User account".into(), attributes }
}

/// RFC 7643 section 4.1.2.
fn user_plurals() -> Vec<Attribute> {
    let text = Attribute::text;
    vec![
        Attribute::plural(
            "emails",
            "E-mail addresses.",
            text("value", "The e-mail address."),
            &["work", "home", "other"],
        ),
        Attribute::plural(
            "phoneNumbers",
            "Telephone numbers.",
            text("value", "The telephone number."),
            &["work", "home", "mobile", "fax", "pager", "other"],
        ),
        Attribute::plural(
            "ims",
            "Instant messaging addresses.",
            text("value", "The address."),
            &["aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo"],
        ),
        Attribute::plural(
            "photos",
            "Pictures of the person.",
            Attribute::reference("value", "Where the picture is found.", &["external"]),
            &["photo", "thumbnail"],
        ),
        Attribute::complex(
            "addresses",
            "Postal addresses.",
            vec![
                text("formatted", "The full address, ready to print."),
                text("streetAddress", "Street, house number, apartment."),
                text("locality", "The city."),
                text("region", "The state or region."),
                text("postalCode", "The postal code."),
                text("country", "The country, as a two-letter code."),
                Attribute::label(&["work", "home", "other"]),
                Attribute::primary(),
            ],
        )
        .many(),
        Attribute::complex(
            "groups",
            "The groups that the person is in; changed through the groups.",
            vec![
                text("value", "The group's id."),
                Attribute::reference("$ref", "Where the group is found.", &["User", "Group"]),
                text("display", "The group's name."),
                text("type", "Whether the person is in the group itself or in a group of it.")
                    .suggest(&["direct", "indirect"]),
            ],
        )
        .many()
        .read_only(),
        Attribute::plural("entitlements", "Things the person is entitled to.", text("value", "The entitlement."), &[]),
        Attribute::plural("roles", "Roles the identity provider gives.", text("value", "The role."), &[]),
        Attribute::plural(
            "x509Certificates",
            "Certificates issued to the person.",
            Attribute::new("value", Kind::Binary, "The certificate, DER in base64."),
            &[],
        ),
    ]
}

/// RFC 7643 section 4.3.
fn enterprise_schema() -> Schema {
    let text = Attribute::text;
    Schema {
        urn: ENTERPRISE.into(),
        name: "EnterpriseUser".into(),
        description: "Enterprise User".into(),
        attributes: vec![
            text("employeeNumber", "The number or code by which the organization knows the person."),
            text("costCenter", "The cost center."),
            text("organization", "The organization."),
            text("division", "The division."),
            text("department", "The department."),
            Attribute::complex(
                "manager",
                "The person's manager.",
                vec![
                    text("value", "The manager's id."),
                    Attribute::reference("$ref", "Where the manager is found.", &["User"]),
                    text("displayName", "The manager's name.").read_only(),
                ],
            ),
        ],
    }
}

/// RFC 7643 section 4.2.
fn group_schema() -> Schema {
    let text = Attribute::text;
    let fixed = |attribute: Attribute| attribute.mutability(Mutability::Immutable);
    Schema {
        urn: GROUP.into(),
        name: "Group".into(),
        description: "Group".into(),
        attributes: vec![
            text("displayName", "The group's name.").required(),
            Attribute::complex(
                "members",
                "Who is in the group.",
                vec![
                    fixed(text("value", "The member's id.")),
                    fixed(Attribute::reference("$ref", "Where the member is found.", &["User", "Group"])),
                    fixed(text("type", "What kind of resource the member is.").suggest(&["User", "Group"])),
                    text("display", "The member's name.").read_only().returned(Returned::Request),
                ],
            )
            .many(),
        ],
    }
}

#[cfg(test)]
mod tests;
