//! The SQL of the two databases for reading a search document.

use sea_orm::DbBackend;

use crate::domain::paging::filter_sql::SqlScope;
use crate::identity::schema::AttributeKind;

/// Which database the SQL is for.
#[derive(Clone, Copy)]
pub(crate) enum SqlDialect {
    Sqlite,
    Postgres,
}

use SqlDialect::{Postgres, Sqlite};

impl SqlDialect {
    pub(crate) fn of(backend: DbBackend) -> Self {
        match backend {
            DbBackend::Postgres => Postgres,
            _ => Sqlite,
        }
    }

    pub(crate) fn backend(self) -> DbBackend {
        match self {
            Sqlite => DbBackend::Sqlite,
            Postgres => DbBackend::Postgres,
        }
    }

    /// The condition of the index of a group's open members, in addition to `until IS NULL`.
    pub(crate) fn open_by_group(self) -> &'static str {
        match self {
            Sqlite => "",
            Postgres => " AND m.since > '-infinity'",
        }
    }

    /// The condition under which a live group `g` is found by the index of display names
    /// (`domain::paging::live_index`).
    pub(crate) fn group_by_display_name(self) -> &'static str {
        match self {
            Sqlite => "",
            Postgres => " AND g.document <> 'by displayName'",
        }
    }

    /// SQL for "is one of those that `select` finds". With an array PostgreSQL looks each one up by
    /// an index; with IN it would join with all rows.
    pub(crate) fn is_among(self, select: &str) -> String {
        match self {
            Sqlite => format!("IN ({select})"),
            Postgres => format!("= ANY(ARRAY({select}))"),
        }
    }

    /// Texts are compared by code point: SQLite's default, and a collation of PostgreSQL.
    pub(crate) fn collation(self) -> &'static str {
        match self {
            Sqlite => "",
            Postgres => " COLLATE \"C\"",
        }
    }

    pub(crate) fn contains_text(self, text: &str, operand: &str) -> String {
        match self {
            Sqlite => format!("instr({text}, {operand}) > 0"),
            Postgres => format!("strpos({text}, {operand}) > 0"),
        }
    }

    pub(crate) fn ends_with(self, text: &str, operand: &str) -> String {
        match self {
            Sqlite => format!("substr({text}, -length({operand})) = {operand}"),
            Postgres => format!("right({text}, char_length({operand})) = {operand}"),
        }
    }

    /// `test` if the value is a `kind` ("text" or "number"), else false. A CASE guarantees the
    /// order: the type is checked before the test casts the value.
    pub(crate) fn guarded_test(
        self,
        scope: SqlScope,
        place: &[&str],
        kind: &str,
        test: &str,
    ) -> String {
        let types = match (self, kind) {
            (Sqlite, "text") => "IN ('text')",
            (Sqlite, _) => "IN ('integer', 'real')",
            (Postgres, "text") => "IN ('string')",
            (Postgres, _) => "IN ('number')",
        };
        format!("CASE WHEN {} {types} THEN {test} ELSE FALSE END", self.type_of(scope, place))
    }

    /// The elements of the array at `place` under the alias `e`, none if it is no array; ends with
    /// a WHERE clause.
    pub(crate) fn array_elements(self, place: &[&str]) -> String {
        match self {
            Sqlite => {
                let path = sqlite_path(place);
                format!("json_each(r.search, {path}) e WHERE json_type(r.search, {path}) = 'array'")
            }
            Postgres => {
                let value = self.json_value(SqlScope::Row, place);
                format!(
                    "jsonb_array_elements(CASE WHEN jsonb_typeof({value}) = 'array' \
                     THEN {value} ELSE '[]'::jsonb END) \
                     WITH ORDINALITY e(value, key) WHERE TRUE"
                )
            }
        }
    }

    /// Whether the value is neither missing nor null nor empty.
    pub(crate) fn is_present_sql(self, scope: SqlScope, place: &[&str]) -> String {
        let json = match (self, scope, place) {
            (Sqlite, SqlScope::Row, _) => format!("r.search -> {}", sqlite_path(place)),
            (Sqlite, _, []) => "json_quote(e.atom)".to_owned(),
            (Sqlite, ..) => format!("{SQLITE_ELEMENT} -> {}", sqlite_path(place)),
            (Postgres, ..) => self.json_value(scope, place),
        };
        format!("COALESCE(({json}) NOT IN ('null', '\"\"', '[]', '{{}}'), FALSE)")
    }

    pub(crate) fn is_boolean(self, scope: SqlScope, place: &[&str], value: bool) -> String {
        match self {
            Sqlite => format!("COALESCE({} = '{value}', FALSE)", self.type_of(scope, place)),
            Postgres => {
                format!("COALESCE({} = '{value}'::jsonb, FALSE)", self.json_value(scope, place))
            }
        }
    }

    /// The value as text; only valid for a value that is known to be a string.
    pub(crate) fn text_value(self, scope: SqlScope, place: &[&str]) -> String {
        match self {
            Sqlite => self.json_value(scope, place),
            Postgres => format!("({} #>> '{{}}')", self.json_value(scope, place)),
        }
    }

    /// The value as a number; fails on PostgreSQL if it is none.
    pub(crate) fn number_value(self, scope: SqlScope, place: &[&str]) -> String {
        match self {
            Sqlite => self.json_value(scope, place),
            Postgres => format!("({} #>> '{{}}')::numeric", self.json_value(scope, place)),
        }
    }

    /// An operand that is bound as a float. A statement is prepared once for each text, so a text
    /// must never be used with two types of values.
    pub(crate) fn float_operand(self, operand: &str) -> String {
        match self {
            Sqlite => operand.to_owned(),
            Postgres => format!("{operand}::float8"),
        }
    }

    /// The value in a form that can be sorted; NULL if it is missing or of another type.
    pub(crate) fn sortable_value(
        self,
        scope: SqlScope,
        place: &[&str],
        kind: AttributeKind,
    ) -> String {
        let ty = self.type_of(scope, place);
        match (self, kind) {
            (Sqlite, AttributeKind::Boolean) => {
                format!("CASE {ty} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END")
            }
            (Sqlite, _) => {
                format!(
                    "CASE WHEN {ty} IN ('text', 'integer', 'real') THEN {} END",
                    self.json_value(scope, place)
                )
            }
            (Postgres, AttributeKind::Boolean) => {
                format!(
                    "CASE WHEN {ty} = 'boolean' THEN ({} #>> '{{}}')::boolean END",
                    self.json_value(scope, place)
                )
            }
            (
                Postgres,
                AttributeKind::Integer | AttributeKind::Decimal | AttributeKind::DateTime,
            ) => {
                format!("CASE WHEN {ty} = 'number' THEN {} END", self.number_value(scope, place))
            }
            (Postgres, _) => {
                format!(
                    "CASE WHEN {ty} = 'string' THEN {} END COLLATE \"C\"",
                    self.text_value(scope, place)
                )
            }
        }
    }

    /// The sortable value of the primary element, or else of the first.
    pub(crate) fn primary_value(
        self,
        place: &[&str],
        tail: &[&str],
        kind: AttributeKind,
    ) -> String {
        let value = self.sortable_value(SqlScope::Element, tail, kind);
        let primary = self.is_boolean(SqlScope::Element, &["primary"], true);
        format!(
            "(SELECT {value} FROM {} ORDER BY {primary} DESC, e.key LIMIT 1)",
            self.array_elements(place)
        )
    }

    fn type_of(self, scope: SqlScope, place: &[&str]) -> String {
        match (self, scope, place) {
            (Sqlite, SqlScope::Row, _) => format!("json_type(r.search, {})", sqlite_path(place)),
            (Sqlite, _, []) => "e.type".to_owned(),
            (Sqlite, ..) => format!("json_type({SQLITE_ELEMENT}, {})", sqlite_path(place)),
            (Postgres, ..) => format!("jsonb_typeof({})", self.json_value(scope, place)),
        }
    }

    fn json_value(self, scope: SqlScope, place: &[&str]) -> String {
        match (self, scope, place) {
            (Sqlite, SqlScope::Row, _) => format!("json_extract(r.search, {})", sqlite_path(place)),
            (Sqlite, _, []) => "e.value".to_owned(),
            (Sqlite, ..) => format!("json_extract({SQLITE_ELEMENT}, {})", sqlite_path(place)),
            (Postgres, ..) => {
                let root = if matches!(scope, SqlScope::Row) { "r.search" } else { "e.value" };
                let steps: String =
                    place.iter().map(|name| format!(" -> {}", quote_text(name))).collect();
                format!("({root}{steps})")
            }
        }
    }
}

/// An element that is an object, as JSON. Any other element would be parsed as JSON text, which
/// fails.
const SQLITE_ELEMENT: &str = "(CASE WHEN e.type = 'object' THEN e.value END)";

fn sqlite_path(place: &[&str]) -> String {
    let steps: String = place.iter().map(|name| format!(".\"{name}\"")).collect();
    quote_text(&format!("${steps}"))
}

fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
