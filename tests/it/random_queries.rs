//! Random queries, made along the schema, the same ones in each run. None of them may cause an
//! internal error.

use serde_json::{Map, Value, json};

use crate::sdl::{Field, Input, Schema, Shape, named};
use crate::walk::{Ids, codes, furnish};
use crate::world::World;

const QUERIES: usize = 300;

/// Numbers that look random (SplitMix64), from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % most as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

struct Author<'a> {
    schema: &'a Schema,
    ids: &'a Ids,
    dice: Dice,
    variables: Map<String, Value>,
    declared: Vec<String>,
    aliases: usize,
}

impl Author<'_> {
    fn selection(&mut self, ty: &str, depth: usize) -> String {
        let fields = match self.schema.shape(ty) {
            Shape::Leaf(_) | Shape::Input(_) | Shape::OneOf(_) => return String::new(),
            Shape::Abstract(members) => {
                // Fields of one name in several members would need one type.
                let some: Vec<_> = members.iter().filter(|_| self.dice.one_in(2)).take(1).collect();
                let each: Vec<_> = some
                    .iter()
                    .map(|name| format!("... on {name} {}", self.selection(name, depth)))
                    .collect();
                return format!("{{ __typename {} }}", each.join(" "));
            }
            Shape::Object(fields) => fields,
        };
        let mut selected = vec!["__typename".to_owned()];
        for field in fields {
            let leaf = matches!(self.schema.shape(named(&field.ty)), Shape::Leaf(_));
            let wanted = if leaf { self.dice.one_in(2) } else { depth > 0 && self.dice.one_in(3) };
            if wanted {
                selected.push(self.field(field, depth));
            }
        }
        format!("{{ {} }}", selected.join(" "))
    }

    fn field(&mut self, field: &Field, depth: usize) -> String {
        let mut arguments = Vec::new();
        let paged = field.arguments.iter().any(|argument| argument.name == "first");
        for argument in &field.arguments {
            let wanted = match argument.name.as_str() {
                "first" => true,
                // A cursor, or the other end of a list, is set only now and then.
                "last" | "after" | "before" => self.dice.one_in(12),
                _ => argument.required() || self.dice.one_in(3),
            };
            if wanted {
                let value = match argument.name.as_str() {
                    "first" if paged && !self.dice.one_in(10) => json!(1 + self.dice.below(3)),
                    _ => self.value(argument, 2),
                };
                let name = format!("v{}", self.declared.len());
                self.declared.push(format!("${name}: {}", argument.ty));
                arguments.push(format!("{}: ${name}", argument.name));
                self.variables.insert(name, value);
            }
        }
        let arguments = if arguments.is_empty() {
            String::new()
        } else {
            format!("({})", arguments.join(", "))
        };
        // Each field has an alias of its own, so that two fields with the same name do not clash.
        // The number of aliases is limited.
        self.aliases += 1;
        let alias =
            if arguments.is_empty() { String::new() } else { format!("x{}: ", self.aliases) };
        let directive = match self.dice.below(20) {
            0 => " @include(if: true)",
            1 => " @skip(if: true)",
            _ => "",
        };
        let inner = self.selection(named(&field.ty), depth.saturating_sub(1));
        format!("{alias}{}{arguments}{directive} {inner}", field.name)
    }

    fn value(&mut self, input: &Input, depth: usize) -> Value {
        let name = named(&input.ty);
        if input.ty.nullable && self.dice.one_in(10) {
            return Value::Null;
        }
        let one = match self.schema.shape(name) {
            Shape::Leaf(Some(first)) => json!(first),
            Shape::Input(fields) => {
                let mut object = Map::new();
                for field in fields {
                    if field.required() || (depth > 0 && self.dice.one_in(3)) {
                        object
                            .insert(field.name.clone(), self.value(field, depth.saturating_sub(1)));
                    }
                }
                object.into()
            }
            _ => self.leaf(name),
        };
        if input.is_list() { Value::Array(vec![one; 1 + self.dice.below(2)]) } else { one }
    }

    fn leaf(&mut self, name: &str) -> Value {
        match name {
            "ID" if self.dice.one_in(3) => json!(self.dice.of(&["", "x", "VXNlcjp4", "💥"])),
            "ID" => {
                let ids: Vec<&String> = self.ids.values().collect();
                json!(self.dice.of(&ids))
            }
            "Int" => json!(self.dice.of(&[0, 1, 7, -1, 100, 101, i32::MAX, i32::MIN])),
            "Long" => json!(self.dice.of(&[0, 1, -1, i64::MAX, i64::MIN])),
            "Float" => json!(self.dice.of(&[0.0, -1.5, 1e300])),
            "Boolean" => json!(self.dice.one_in(2)),
            "DateTime" => {
                json!(self.dice.of(&[
                    "2026-01-01T00:00:00Z",
                    "0001-01-01T00:00:00Z",
                    "9999-12-31T23:59:59.999Z"
                ]))
            }
            "UUID" => json!("0193c0de-0000-7000-8000-000000000000"),
            "JSON" => json!(self.dice.of(&[json!({}), json!(null), json!([1, "x"])])),
            _ => json!(self.dice.of(&[
                "",
                "x",
                "mine",
                "mine.person",
                "%",
                "_",
                "' OR 1=1 --",
                "\u{1F600}",
                "a\\",
                "user.created"
            ])),
        }
    }
}

#[tokio::test]
async fn random_queries_cause_no_internal_error() {
    let world = World::new().await;
    let ids = furnish(&world.acme, "mine").await;
    let before = world.everything().await;
    let schema = Schema::new();
    let (mut answered, mut clean, mut bounded) = (0, 0, 0);
    for seed in 0..QUERIES {
        let dice = Dice(seed as u64);
        let (variables, declared) = (Map::new(), Vec::new());
        let mut author =
            Author { schema: &schema, ids: &ids, dice, variables, declared, aliases: 0 };
        let depth = 2 + author.dice.below(4);
        let selection = author.selection("Query", depth);
        let declared = if author.declared.is_empty() {
            String::new()
        } else {
            format!("({})", author.declared.join(", "))
        };
        let query = format!("query Random{declared} {selection}");
        let variables = author.variables.into();
        let answer = world.acme.graphql_as(&world.acme.api_key, &[], &query, variables).await;
        let shown = format!("seed {seed}: {query}: {:#}", answer.body);
        assert_eq!(answer.status, 200, "{shown}");
        let codes = codes(&answer.body);
        if codes == ["QUERY_TOO_COMPLEX"] {
            bounded += 1;
            continue;
        }
        let known = ["BAD_USER_INPUT", "NOT_FOUND"];
        // The key of an organization is no operator's.
        let of_operators = |place: usize| {
            answer.body["errors"][place]["extensions"]["permission"] == "PLATFORM_ADMIN"
        };
        let expected = |(place, code): (usize, &&str)| known.contains(code) || of_operators(place);
        assert!(codes.iter().enumerate().all(expected), "{shown}");
        assert!(answer.body.get("data").is_some(), "{shown}");
        answered += 1;
        clean += usize::from(codes.is_empty());
    }
    assert!(
        answered > QUERIES / 2 && clean > QUERIES / 5,
        "{answered} answered, {clean} clean, {bounded} too complex"
    );
    assert_eq!(world.everything().await, before);
    world.end().await;
}
