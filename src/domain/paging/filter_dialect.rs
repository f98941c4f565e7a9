//! The two databases' words for reading a search document.

use sea_orm::DbBackend;

use super::sql::Scope;
use crate::domain::schema::Kind;

/// Which database the SQL is for.
#[derive(Clone, Copy)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

use Dialect::{Postgres, Sqlite};

impl Dialect {
    pub(super) fn of(backend: DbBackend) -> Self {
        match backend {
            DbBackend::Postgres => Postgres,
            _ => Sqlite,
        }
    }

    pub(super) fn backend(self) -> DbBackend {
        match self {
            Sqlite => DbBackend::Sqlite,
            Postgres => DbBackend::Postgres,
        }
    }

    /// What the index of a group's open members asks for beside `until IS NULL`.
    pub(super) fn open_by_group(self) -> &'static str {
        match self {
            Sqlite => "",
            Postgres => " AND m.since > '-infinity'",
        }
    }

    /// What lets a live group `g` be found by the index of display names (`domain::live_index`).
    pub(super) fn group_by_display_name(self) -> &'static str {
        match self {
            Sqlite => "",
            Postgres => " AND g.document <> 'by displayName'",
        }
    }

    /// Is one of those that `select` finds. As a list, PostgreSQL looks each up by an index; it would join with all.
    pub(super) fn among(self, select: &str) -> String {
        match self {
            Sqlite => format!("IN ({select})"),
            Postgres => format!("= ANY(ARRAY({select}))"),
        }
    }

    /// Text compares by code point: SQLite's habit, and a collation of PostgreSQL.
    pub(super) fn collate(self) -> &'static str {
        match self {
            Sqlite => "",
            Postgres => " COLLATE \"C\"",
        }
    }

    pub(super) fn contains(self, text: &str, operand: &str) -> String {
        match self {
            Sqlite => format!("instr({text}, {operand}) > 0"),
            Postgres => format!("strpos({text}, {operand}) > 0"),
        }
    }

    pub(super) fn ends_with(self, text: &str, operand: &str) -> String {
        match self {
            Sqlite => format!("substr({text}, -length({operand})) = {operand}"),
            Postgres => format!("right({text}, char_length({operand})) = {operand}"),
        }
    }

    /// `test` where the value is a `kind` ("text" or "number"), else false. The order matters: a CASE looks at the
    /// type before the test casts.
    pub(super) fn guarded(self, scope: Scope, place: &[&str], kind: &str, test: &str) -> String {
        let types = match (self, kind) {
            (Sqlite, "text") => "IN ('text')",
            (Sqlite, _) => "IN ('integer', 'real')",
            (Postgres, "text") => "IN ('string')",
            (Postgres, _) => "IN ('number')",
        };
        format!("CASE WHEN {} {types} THEN {test} ELSE FALSE END", self.type_of(scope, place))
    }

    /// The elements of the array at `place` under the alias `e`, none where it is no array; ends in an open WHERE.
    pub(super) fn elements(self, place: &[&str]) -> String {
        match self {
            Sqlite => {
                let path = sqlite_path(place);
                format!("json_each(r.search, {path}) e WHERE json_type(r.search, {path}) = 'array'")
            }
            Postgres => {
                let value = self.value(Scope::Row, place);
                format!(
                    "jsonb_array_elements(CASE WHEN jsonb_typeof({value}) = 'array' THEN {value} ELSE '[]'::jsonb END) \
                     WITH ORDINALITY e(value, key) WHERE TRUE"
                )
            }
        }
    }

    /// Neither missing nor null nor empty.
    pub(super) fn present(self, scope: Scope, place: &[&str]) -> String {
        let json = match (self, scope, place) {
            (Sqlite, Scope::Row, _) => format!("r.search -> {}", sqlite_path(place)),
            (Sqlite, _, []) => "json_quote(e.atom)".to_owned(),
            (Sqlite, ..) => format!("{SQLITE_ELEMENT} -> {}", sqlite_path(place)),
            (Postgres, ..) => self.value(scope, place),
        };
        format!("COALESCE(({json}) NOT IN ('null', '\"\"', '[]', '{{}}'), FALSE)")
    }

    pub(super) fn is_boolean(self, scope: Scope, place: &[&str], value: bool) -> String {
        match self {
            Sqlite => format!("COALESCE({} = '{value}', FALSE)", self.type_of(scope, place)),
            Postgres => format!("COALESCE({} = '{value}'::jsonb, FALSE)", self.value(scope, place)),
        }
    }

    /// The value as text; meaningful where it is known to be a string.
    pub(super) fn text(self, scope: Scope, place: &[&str]) -> String {
        match self {
            Sqlite => self.value(scope, place),
            Postgres => format!("({} #>> '{{}}')", self.value(scope, place)),
        }
    }

    /// The value as a number; fails on PostgreSQL where it is none.
    pub(super) fn number(self, scope: Scope, place: &[&str]) -> String {
        match self {
            Sqlite => self.value(scope, place),
            Postgres => format!("({} #>> '{{}}')::numeric", self.value(scope, place)),
        }
    }

    /// An operand that is bound as a float. Statements are prepared once for each text, so one text must never be used
    /// with two types of value.
    pub(super) fn float(self, operand: &str) -> String {
        match self {
            Sqlite => operand.to_owned(),
            Postgres => format!("{operand}::float8"),
        }
    }

    /// The value in a form that sorts; NULL where it is missing or of another type.
    pub(super) fn sortable(self, scope: Scope, place: &[&str], kind: Kind) -> String {
        let ty = self.type_of(scope, place);
        match (self, kind) {
            (Sqlite, Kind::Boolean) => {
                format!("CASE {ty} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END")
            }
            (Sqlite, _) => {
                format!("CASE WHEN {ty} IN ('text', 'integer', 'real') THEN {} END", self.value(scope, place))
            }
            (Postgres, Kind::Boolean) => {
                format!("CASE WHEN {ty} = 'boolean' THEN ({} #>> '{{}}')::boolean END", self.value(scope, place))
            }
            (Postgres, Kind::Integer | Kind::Decimal | Kind::DateTime) => {
                format!("CASE WHEN {ty} = 'number' THEN {} END", self.number(scope, place))
            }
            (Postgres, _) => {
                format!("CASE WHEN {ty} = 'string' THEN {} END COLLATE \"C\"", self.text(scope, place))
            }
        }
    }

    /// The sortable value of the primary element, or else of the first.
    pub(super) fn primary(self, place: &[&str], tail: &[&str], kind: Kind) -> String {
        let value = self.sortable(Scope::Element, tail, kind);
        let primary = self.is_boolean(Scope::Element, &["primary"], true);
        format!("(SELECT {value} FROM {} ORDER BY {primary} DESC, e.key LIMIT 1)", self.elements(place))
    }

    fn type_of(self, scope: Scope, place: &[&str]) -> String {
        match (self, scope, place) {
            (Sqlite, Scope::Row, _) => format!("json_type(r.search, {})", sqlite_path(place)),
            (Sqlite, _, []) => "e.type".to_owned(),
            (Sqlite, ..) => format!("json_type({SQLITE_ELEMENT}, {})", sqlite_path(place)),
            (Postgres, ..) => format!("jsonb_typeof({})", self.value(scope, place)),
        }
    }

    fn value(self, scope: Scope, place: &[&str]) -> String {
        match (self, scope, place) {
            (Sqlite, Scope::Row, _) => format!("json_extract(r.search, {})", sqlite_path(place)),
            (Sqlite, _, []) => "e.value".to_owned(),
            (Sqlite, ..) => format!("json_extract({SQLITE_ELEMENT}, {})", sqlite_path(place)),
            (Postgres, ..) => {
                let root = if matches!(scope, Scope::Row) { "r.search" } else { "e.value" };
                let steps: String = place.iter().map(|name| format!(" -> {}", quoted(name))).collect();
                format!("({root}{steps})")
            }
        }
    }
}

/// An element that is an object, as JSON. Any other would be read as text that is not JSON, which is an error.
const SQLITE_ELEMENT: &str = "(CASE WHEN e.type = 'object' THEN e.value END)";

fn sqlite_path(place: &[&str]) -> String {
    let steps: String = place.iter().map(|name| format!(".\"{name}\"")).collect();
    quoted(&format!("${steps}"))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
