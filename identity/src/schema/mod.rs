//! The attributes of users and groups with their characteristics (RFC 7643 sections 2.2 and 7).
//! Validation, folding for search, filters, PATCH and discovery all read these tables; there is no
//! second list of attributes anywhere.

use std::sync::LazyLock;

use crate::filter::AttrPath;

/// The core schema of users (RFC 7643 section 4.1).
pub const USER_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// The core schema of groups (RFC 7643 section 4.2).
pub const GROUP_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
/// The enterprise extension of users (RFC 7643 section 4.3).
pub const ENTERPRISE_SCHEMA: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// Data types of RFC 7643 section 2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeKind {
    String,
    Boolean,
    Decimal,
    Integer,
    DateTime,
    Binary,
    Reference,
    Complex,
}

impl AttributeKind {
    /// The name of the type in schema definitions (RFC 7643 section 7).
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

    /// The type with this name.
    pub fn from_name(name: &str) -> Option<Self> {
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

/// Whether clients may write an attribute (RFC 7643 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MutabilityRule {
    ReadOnly,
    ReadWrite,
    Immutable,
    WriteOnly,
}

impl MutabilityRule {
    /// The name in definitions (RFC 7643 section 7).
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "readOnly",
            Self::ReadWrite => "readWrite",
            Self::Immutable => "immutable",
            Self::WriteOnly => "writeOnly",
        }
    }

    /// The rule with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::ReadOnly, Self::ReadWrite, Self::Immutable, Self::WriteOnly]
            .into_iter()
            .find(|this| this.name() == name)
    }
}

/// When the server returns an attribute (RFC 7643 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnedRule {
    Always,
    Never,
    Default,
    Request,
}

impl ReturnedRule {
    /// The name in definitions (RFC 7643 section 7).
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Never => "never",
            Self::Default => "default",
            Self::Request => "request",
        }
    }

    /// The rule with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Always, Self::Never, Self::Default, Self::Request]
            .into_iter()
            .find(|this| this.name() == name)
    }
}

/// Within which bounds a value must be unique (RFC 7643 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeUniqueness {
    None,
    Server,
    Global,
}

impl AttributeUniqueness {
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
pub struct SchemaAttribute {
    pub name: String,
    pub description: String,
    pub kind: AttributeKind,
    pub multi_valued: bool,
    pub required: bool,
    pub case_exact: bool,
    pub mutability: MutabilityRule,
    pub returned: ReturnedRule,
    pub uniqueness: AttributeUniqueness,
    pub canonical_values: Vec<String>,
    pub reference_types: Vec<String>,
    pub sub_attributes: Vec<SchemaAttribute>,
}

/// One schema: a URN and its attributes.
#[derive(Debug, Clone)]
pub struct SchemaDefinition {
    pub urn: String,
    pub name: String,
    pub description: String,
    pub attributes: Vec<SchemaAttribute>,
}

/// A kind of resource: its core schema, its extensions and its endpoint.
#[derive(Debug, Clone)]
pub struct ResourceType {
    pub name: &'static str,
    pub endpoint: &'static str,
    pub description: &'static str,
    pub core: SchemaDefinition,
    pub extensions: Vec<SchemaDefinition>,
}

/// The attribute or sub-attribute that a name means. It belongs to the core schema, to the
/// attributes that every resource has, or to an extension.
#[derive(Debug, Clone, Copy)]
pub struct ResolvedAttribute<'a> {
    /// The URN of the extension that defines the attribute; `None` for core and common attributes.
    pub extension: Option<&'a str>,
    pub attribute: &'a SchemaAttribute,
    pub sub: Option<&'a SchemaAttribute>,
}

impl ResolvedAttribute<'_> {
    /// The name in canonical form, for messages to clients.
    pub fn canonical_path(&self) -> String {
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

    /// Whether clients may not write the attribute or sub-attribute.
    pub fn read_only(&self) -> bool {
        let read_only =
            |attribute: &SchemaAttribute| attribute.mutability == MutabilityRule::ReadOnly;
        read_only(self.attribute) || self.sub.is_some_and(read_only)
    }
}

/// What the name of a JSON member means. Clients write the URN of a whole schema, the name of an
/// attribute, a dotted name, or a name that is qualified by a URN.
#[derive(Debug, Clone, Copy)]
pub enum MemberMeaning<'a> {
    Schema(&'a SchemaDefinition),
    Attribute(ResolvedAttribute<'a>),
}

impl ResourceType {
    /// The attribute that `path` names; upper and lower case count as equal. An extension's
    /// attribute is found by its URN only, so that an extension added later never changes the
    /// meaning of an unqualified name. The RFC's own enterprise extension is the exception, because
    /// Entra ID names `manager` without its URN.
    pub fn resolve_path(&self, path: &AttrPath) -> Option<ResolvedAttribute<'_>> {
        let schema = match &path.schema {
            None if self.core_attribute(&path.name).is_some() => &self.core,
            None => self.find_extension(ENTERPRISE_SCHEMA)?,
            Some(urn) if urn.eq_ignore_ascii_case(&self.core.urn) => &self.core,
            Some(urn) => self.find_extension(urn)?,
        };
        self.resolve_in(schema, &path.name, path.sub.as_deref())
    }

    fn resolve_in<'a>(
        &'a self,
        schema: &'a SchemaDefinition,
        name: &str,
        sub: Option<&str>,
    ) -> Option<ResolvedAttribute<'a>> {
        let (extension, attribute) = if schema.urn == self.core.urn {
            (None, self.core_attribute(name)?)
        } else {
            (Some(schema.urn.as_str()), find_attribute(&schema.attributes, name)?)
        };
        let sub = match sub {
            None => None,
            Some(name) => Some(attribute.sub_attribute(name)?),
        };
        Some(ResolvedAttribute { extension, attribute, sub })
    }

    /// What the member `key` of a resource means; `None` if this kind of resource has no such
    /// attribute or schema.
    pub fn locate_member(&self, key: &str) -> Option<MemberMeaning<'_>> {
        for schema in std::iter::once(&self.core).chain(&self.extensions) {
            let Some((head, rest)) = key.split_at_checked(schema.urn.len()) else { continue };
            if !head.eq_ignore_ascii_case(&schema.urn) {
                continue;
            }
            if rest.is_empty() {
                return Some(MemberMeaning::Schema(schema));
            }
            if let Some(name) = rest.strip_prefix(':') {
                return self.locate_in(schema, name).map(MemberMeaning::Attribute);
            }
        }
        self.locate_in(&self.core, key).map(MemberMeaning::Attribute)
    }

    /// The attribute that the member `key` of an object means, where the object holds attributes of
    /// `schema`.
    pub fn locate_in<'a>(
        &'a self,
        schema: &'a SchemaDefinition,
        key: &str,
    ) -> Option<ResolvedAttribute<'a>> {
        let (name, sub) = match key.split_once('.') {
            Some((name, sub)) => (name, Some(sub)),
            None => (key, None),
        };
        self.resolve_in(schema, name, sub)
    }

    /// The schema that `path` names as a whole. A parser that does not know the schemas takes the
    /// last part of a URN for an attribute's name, so both readings are tried.
    pub fn find_schema(&self, path: &AttrPath) -> Option<&SchemaDefinition> {
        let mut urn = path.schema.clone()?;
        if !path.name.is_empty() {
            urn = format!("{urn}:{}", path.name);
        }
        if let Some(sub) = &path.sub {
            urn = format!("{urn}.{sub}");
        }
        if urn.eq_ignore_ascii_case(&self.core.urn) {
            Some(&self.core)
        } else {
            self.find_extension(&urn)
        }
    }

    /// Whether a client that names no attributes receives everything in a stored document. This is
    /// so for the core schemas; an extension may have attributes that are returned on request or
    /// never.
    pub fn returns_all_it_stores(&self) -> bool {
        let usual = |attribute: &SchemaAttribute| {
            matches!(attribute.returned, ReturnedRule::Default | ReturnedRule::Always)
        };
        let whole = |attribute: &SchemaAttribute| {
            usual(attribute) && attribute.sub_attributes.iter().all(usual)
        };
        self.extensions.iter().all(|schema| schema.attributes.iter().all(whole))
    }

    fn find_extension(&self, urn: &str) -> Option<&SchemaDefinition> {
        self.extensions.iter().find(|schema| schema.urn.eq_ignore_ascii_case(urn))
    }

    fn core_attribute(&self, name: &str) -> Option<&SchemaAttribute> {
        find_attribute(&self.core.attributes, name)
            .or_else(|| find_attribute(common_attributes(), name))
    }
}

fn find_attribute<'a>(
    attributes: &'a [SchemaAttribute],
    name: &str,
) -> Option<&'a SchemaAttribute> {
    attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
}

impl SchemaAttribute {
    /// The sub-attribute of that name; upper and lower case count as equal.
    pub fn sub_attribute(&self, name: &str) -> Option<&SchemaAttribute> {
        find_attribute(&self.sub_attributes, name)
    }

    // RFC 7643 section 2.2: the defaults of a definition. Binary values and references are case
    // exact by their type (sections 2.3.6 and 2.3.7).
    fn new(name: &str, kind: AttributeKind, description: &str) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            kind,
            multi_valued: false,
            required: false,
            case_exact: matches!(kind, AttributeKind::Binary | AttributeKind::Reference),
            mutability: MutabilityRule::ReadWrite,
            returned: ReturnedRule::Default,
            uniqueness: AttributeUniqueness::None,
            canonical_values: Vec::new(),
            reference_types: Vec::new(),
            sub_attributes: Vec::new(),
        }
    }

    fn text_attribute(name: &str, description: &str) -> Self {
        Self::new(name, AttributeKind::String, description)
    }

    fn complex_attribute(
        name: &str,
        description: &str,
        sub_attributes: Vec<SchemaAttribute>,
    ) -> Self {
        Self { sub_attributes, ..Self::new(name, AttributeKind::Complex, description) }
    }

    fn reference_attribute(name: &str, description: &str, types: &[&str]) -> Self {
        let reference_types = types.iter().map(ToString::to_string).collect();
        Self { reference_types, ..Self::new(name, AttributeKind::Reference, description) }
    }

    /// RFC 7643 section 2.4: the sub-attributes that multi-valued attributes have by default.
    fn plural_attribute(
        name: &str,
        description: &str,
        value: SchemaAttribute,
        types: &[&str],
    ) -> Self {
        let subs = vec![
            value,
            Self::display_attribute(),
            Self::type_attribute(types),
            Self::primary_attribute(),
        ];
        Self::complex_attribute(name, description, subs).multi_valued()
    }

    fn display_attribute() -> Self {
        Self::text_attribute("display", "A name for people to read.")
    }

    fn type_attribute(types: &[&str]) -> Self {
        Self::text_attribute("type", "What the value is used for.").suggest_values(types)
    }

    fn primary_attribute() -> Self {
        Self::new(
            "primary",
            AttributeKind::Boolean,
            "Whether this is the preferred value; true at most once.",
        )
    }

    fn multi_valued(self) -> Self {
        Self { multi_valued: true, ..self }
    }

    fn required(self) -> Self {
        Self { required: true, ..self }
    }

    fn case_exact(self) -> Self {
        Self { case_exact: true, ..self }
    }

    fn mutability(self, mutability: MutabilityRule) -> Self {
        Self { mutability, ..self }
    }

    fn read_only(mut self) -> Self {
        self.sub_attributes = self.sub_attributes.into_iter().map(Self::read_only).collect();
        self.mutability(MutabilityRule::ReadOnly)
    }

    fn returned(self, returned: ReturnedRule) -> Self {
        Self { returned, ..self }
    }

    fn unique(self) -> Self {
        Self { uniqueness: AttributeUniqueness::Server, ..self }
    }

    fn suggest_values(self, values: &[&str]) -> Self {
        Self { canonical_values: values.iter().map(ToString::to_string).collect(), ..self }
    }
}

/// The attributes that every resource has beside those of its schema (RFC 7643 section 3.1). Of
/// these, `/Schemas` lists only `externalId`.
pub fn common_attributes() -> &'static [SchemaAttribute] {
    static COMMON_ATTRIBUTES: LazyLock<Vec<SchemaAttribute>> = LazyLock::new(|| {
        let date =
            |name, description| SchemaAttribute::new(name, AttributeKind::DateTime, description);
        vec![
            SchemaAttribute::reference_attribute(
                "schemas",
                "The schemas that the resource uses.",
                &["uri"],
            )
            .multi_valued()
            .returned(ReturnedRule::Always),
            SchemaAttribute::text_attribute(
                "id",
                "The identifier that this server gave the resource.",
            )
            .case_exact()
            .read_only()
            .unique()
            .returned(ReturnedRule::Always),
            SchemaAttribute::text_attribute(
                "externalId",
                "The identifier that the provisioning client gave the resource.",
            )
            .case_exact(),
            SchemaAttribute::complex_attribute(
                "meta",
                "Facts about the resource that this server maintains.",
                vec![
                    SchemaAttribute::text_attribute(
                        "resourceType",
                        "The name of the kind of resource.",
                    )
                    .case_exact(),
                    date("created", "When the resource was created."),
                    date("lastModified", "When the resource last changed."),
                    SchemaAttribute::reference_attribute(
                        "location",
                        "Where the resource is found.",
                        &["uri"],
                    ),
                    SchemaAttribute::text_attribute(
                        "version",
                        "The version of the resource, as in its ETag.",
                    )
                    .case_exact(),
                ],
            )
            .read_only(),
        ]
    });
    &COMMON_ATTRIBUTES
}

/// Users: the core schema and the enterprise extension.
pub fn user_type() -> &'static ResourceType {
    static USER_TYPE: LazyLock<ResourceType> = LazyLock::new(|| ResourceType {
        name: "User",
        endpoint: "/Users",
        description: "People and other accounts.",
        core: user_schema(),
        extensions: vec![enterprise_schema()],
    });
    &USER_TYPE
}

/// Groups, as the identity provider knows them.
pub fn group_type() -> &'static ResourceType {
    static GROUP_TYPE: LazyLock<ResourceType> = LazyLock::new(|| ResourceType {
        name: "Group",
        endpoint: "/Groups",
        description: "Groups of users and of other groups.",
        core: group_schema(),
        extensions: Vec::new(),
    });
    &GROUP_TYPE
}

/// RFC 7643 section 4.1.
fn user_schema() -> SchemaDefinition {
    let text = SchemaAttribute::text_attribute;
    let mut attributes = vec![
        text("userName", "The name that the person signs in with.").required().unique(),
        SchemaAttribute::complex_attribute(
            "name",
            "The parts of the person's name.",
            vec![
                text("formatted", "The full name, ready to show."),
                text("familyName", "The family name, or last name."),
                text("givenName", "The given name, or first name."),
                text("middleName", "The middle names."),
                text("honorificPrefix", "The words before the name, such as a title."),
                text("honorificSuffix", "The words after the name, such as 'III'."),
            ],
        ),
        text("displayName", "The name that is shown to others."),
        text("nickName", "The person's informal name."),
        SchemaAttribute::reference_attribute(
            "profileUrl",
            "A page about the person.",
            &["external"],
        ),
        text("title", "The person's position, such as 'Vice President'."),
        text("userType", "How the person relates to the organization, such as 'Contractor'."),
        text(
            "preferredLanguage",
            "The languages the person prefers, as in an Accept-Language header.",
        ),
        text("locale", "How to write dates, numbers and currencies, such as 'en-US'."),
        text("timezone", "The person's time zone, such as 'Europe/Berlin'."),
        SchemaAttribute::new("active", AttributeKind::Boolean, "Whether the person may sign in."),
        text(
            "password",
            "Accepted and ignored: a password is not stored and cannot be used to sign in.",
        )
        .case_exact()
        .mutability(MutabilityRule::WriteOnly)
        .returned(ReturnedRule::Never),
    ];
    attributes.extend(user_plurals());
    SchemaDefinition {
        urn: USER_SCHEMA.into(),
        name: "User".into(),
        description: "User account".into(),
        attributes,
    }
}

/// RFC 7643 section 4.1.2.
fn user_plurals() -> Vec<SchemaAttribute> {
    let text = SchemaAttribute::text_attribute;
    vec![
        SchemaAttribute::plural_attribute(
            "emails",
            "E-mail addresses.",
            text("value", "The e-mail address."),
            &["work", "home", "other"],
        ),
        SchemaAttribute::plural_attribute(
            "phoneNumbers",
            "Telephone numbers.",
            text("value", "The telephone number."),
            &["work", "home", "mobile", "fax", "pager", "other"],
        ),
        SchemaAttribute::plural_attribute(
            "ims",
            "Instant messaging addresses.",
            text("value", "The address."),
            &["aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo"],
        ),
        SchemaAttribute::plural_attribute(
            "photos",
            "Pictures of the person.",
            SchemaAttribute::reference_attribute(
                "value",
                "Where the picture is found.",
                &["external"],
            ),
            &["photo", "thumbnail"],
        ),
        SchemaAttribute::complex_attribute(
            "addresses",
            "Postal addresses.",
            vec![
                text("formatted", "The full address, ready to print."),
                text("streetAddress", "Street, house number, apartment."),
                text("locality", "The city."),
                text("region", "The state or region."),
                text("postalCode", "The postal code."),
                text("country", "The country, as a two-letter code."),
                SchemaAttribute::type_attribute(&["work", "home", "other"]),
                SchemaAttribute::primary_attribute(),
            ],
        )
        .multi_valued(),
        SchemaAttribute::complex_attribute(
            "groups",
            "The groups that the person is in; changed through the groups.",
            vec![
                text("value", "The group's id."),
                SchemaAttribute::reference_attribute(
                    "$ref",
                    "Where the group is found.",
                    &["User", "Group"],
                ),
                text("display", "The group's name."),
                text("type", "Whether the person is in the group itself or in a group inside it.")
                    .suggest_values(&["direct", "indirect"]),
            ],
        )
        .multi_valued()
        .read_only(),
        SchemaAttribute::plural_attribute(
            "entitlements",
            "What the person is entitled to.",
            text("value", "The entitlement."),
            &[],
        ),
        SchemaAttribute::plural_attribute(
            "roles",
            "Roles the identity provider gives.",
            text("value", "The role."),
            &[],
        ),
        SchemaAttribute::plural_attribute(
            "x509Certificates",
            "Certificates issued to the person.",
            SchemaAttribute::new("value", AttributeKind::Binary, "The certificate, DER in base64."),
            &[],
        ),
    ]
}

/// RFC 7643 section 4.3.
fn enterprise_schema() -> SchemaDefinition {
    let text = SchemaAttribute::text_attribute;
    SchemaDefinition {
        urn: ENTERPRISE_SCHEMA.into(),
        name: "EnterpriseUser".into(),
        description: "Enterprise User".into(),
        attributes: vec![
            text("employeeNumber", "The number or code that the organization gave the person."),
            text("costCenter", "The cost center."),
            text("organization", "The organization."),
            text("division", "The division."),
            text("department", "The department."),
            SchemaAttribute::complex_attribute(
                "manager",
                "The person's manager.",
                vec![
                    text("value", "The manager's id."),
                    SchemaAttribute::reference_attribute(
                        "$ref",
                        "Where the manager is found.",
                        &["User"],
                    ),
                    text("displayName", "The manager's name.").read_only(),
                ],
            ),
        ],
    }
}

/// RFC 7643 section 4.2.
fn group_schema() -> SchemaDefinition {
    let text = SchemaAttribute::text_attribute;
    let fixed = |attribute: SchemaAttribute| attribute.mutability(MutabilityRule::Immutable);
    SchemaDefinition {
        urn: GROUP_SCHEMA.into(),
        name: "Group".into(),
        description: "Group".into(),
        attributes: vec![
            text("displayName", "The group's name.").required(),
            SchemaAttribute::complex_attribute(
                "members",
                "The users and groups that are in the group.",
                vec![
                    fixed(text("value", "The member's id.")),
                    fixed(SchemaAttribute::reference_attribute(
                        "$ref",
                        "Where the member is found.",
                        &["User", "Group"],
                    )),
                    fixed(
                        text("type", "The kind of resource: a user or a group.")
                            .suggest_values(&["User", "Group"]),
                    ),
                    text("display", "The member's name.")
                        .read_only()
                        .returned(ReturnedRule::Request),
                ],
            )
            .multi_valued(),
        ],
    }
}

#[cfg(test)]
mod tests;
