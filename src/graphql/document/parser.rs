//! Tokens become a document (GraphQL specification, section 2). The document is the library's type,
//! so that its executor can run it; the library's own parser accepts and refuses other texts than
//! the specification.

use std::collections::HashMap;

use async_graphql::parser::types::{
    BaseType, Directive, DocumentOperations, ExecutableDocument, Field, FragmentDefinition,
    FragmentSpread, InlineFragment, OperationDefinition, OperationType, Selection, SelectionSet,
    Type, TypeCondition, VariableDefinition,
};
use async_graphql::{Name, Pos, Positioned};
use async_graphql_value::indexmap::IndexMap;
use async_graphql_value::{Number, Value};

use super::SyntaxError;
use super::lexer::{Token, TokenKind, read_tokens};

type Parsed<T> = Result<T, SyntaxError>;

/// Parses the text of a document. How deep its brackets are nested was limited before.
///
/// # Errors
/// A [`SyntaxError`] at the first token that does not fit.
pub fn parse_document(text: &str) -> Parsed<ExecutableDocument> {
    let tokens = read_tokens(text)?;
    let mut parser = Parser { tokens, at: 0 };
    let mut operations = Vec::new();
    let mut fragments = HashMap::new();
    loop {
        parser.parse_definition(&mut operations, &mut fragments)?;
        if *parser.kind() == TokenKind::End {
            break;
        }
    }
    Ok(ExecutableDocument { operations: collect_operations(operations)?, fragments })
}

type NamedOperation = (Option<Positioned<Name>>, Positioned<OperationDefinition>);

/// The operations by their names; one without a name stands alone.
fn collect_operations(operations: Vec<NamedOperation>) -> Parsed<DocumentOperations> {
    let several = operations.len() > 1;
    let mut named = HashMap::new();
    for (name, operation) in operations {
        let Some(name) = name else {
            if several {
                let message = "an operation without a name must be the only one";
                return Err(SyntaxError::invalid(message, operation.pos));
            }
            return Ok(DocumentOperations::Single(operation));
        };
        if named.insert(name.node.clone(), operation).is_some() {
            let message = format!("there are several operations with the name \"{}\"", name.node);
            return Err(SyntaxError::invalid(message, name.pos));
        }
    }
    if named.is_empty() {
        let message = "the document has no operation";
        return Err(SyntaxError::invalid(message, Pos { line: 1, column: 1 }));
    }
    Ok(DocumentOperations::Multiple(named))
}

struct Parser {
    /// At least one, and the last is the end.
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn kind(&self) -> &TokenKind {
        self.tokens.get(self.at).map_or(&TokenKind::End, |token| &token.kind)
    }

    fn pos(&self) -> Pos {
        let token = self.tokens.get(self.at).or(self.tokens.last());
        token.map(|token| token.pos).unwrap_or_default()
    }

    fn unexpected<T>(&self, expected: &str) -> Parsed<T> {
        let found = self.kind().describe();
        Err(SyntaxError::new(format!("expected {expected}, found {found}"), self.pos()))
    }

    fn peek_mark(&self, mark: char) -> bool {
        *self.kind() == TokenKind::Mark(mark)
    }

    fn take_mark(&mut self, mark: char) -> bool {
        let found = self.peek_mark(mark);
        self.at += usize::from(found);
        found
    }

    fn expect_mark(&mut self, mark: char) -> Parsed<()> {
        if self.take_mark(mark) { Ok(()) } else { self.unexpected(&format!("\"{mark}\"")) }
    }

    fn peek_word(&self, word: &str) -> bool {
        matches!(self.kind(), TokenKind::Name(name) if name == word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek_word(word);
        self.at += usize::from(found);
        found
    }

    fn parse_name(&mut self) -> Parsed<Positioned<Name>> {
        let pos = self.pos();
        let TokenKind::Name(name) = self.kind() else { return self.unexpected("a name") };
        let name = Name::new(name);
        self.at += 1;
        Ok(Positioned::new(name, pos))
    }

    /// One or more things until the closing mark.
    fn parse_until<T>(
        &mut self,
        mark: char,
        parse: impl Fn(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let mut parsed = vec![parse(self)?];
        while !self.take_mark(mark) {
            parsed.push(parse(self)?);
        }
        Ok(parsed)
    }

    /// A description says nothing to the server.
    fn skip_description(&mut self) -> bool {
        let found = matches!(self.kind(), TokenKind::Text(_));
        self.at += usize::from(found);
        found
    }

    fn parse_definition(
        &mut self,
        operations: &mut Vec<NamedOperation>,
        fragments: &mut HashMap<Name, Positioned<FragmentDefinition>>,
    ) -> Parsed<()> {
        let pos = self.pos();
        if self.peek_mark('{') {
            let selection_set = self.parse_selection_set()?;
            let operation = OperationDefinition {
                ty: OperationType::Query,
                variable_definitions: Vec::new(),
                directives: Vec::new(),
                selection_set,
            };
            operations.push((None, Positioned::new(operation, pos)));
            return Ok(());
        }
        self.skip_description();
        let ty = match self.kind() {
            TokenKind::Name(word) if word == "query" => OperationType::Query,
            TokenKind::Name(word) if word == "mutation" => OperationType::Mutation,
            TokenKind::Name(word) if word == "subscription" => OperationType::Subscription,
            TokenKind::Name(word) if word == "fragment" => {
                let (name, fragment) = self.parse_fragment_definition()?;
                let place = name.pos;
                if fragments.insert(name.node.clone(), Positioned::new(fragment, pos)).is_some() {
                    let message =
                        format!("there are several fragments with the name \"{}\"", name.node);
                    return Err(SyntaxError::invalid(message, place));
                }
                return Ok(());
            }
            _ => return self.unexpected("query, mutation, subscription or fragment"),
        };
        self.at += 1;
        let name = match self.kind() {
            TokenKind::Name(_) => Some(self.parse_name()?),
            _ => None,
        };
        let variable_definitions = if self.take_mark('(') {
            self.parse_until(')', Self::parse_variable_definition)?
        } else {
            Vec::new()
        };
        let directives = self.parse_directives(false)?;
        let selection_set = self.parse_selection_set()?;
        let operation = OperationDefinition { ty, variable_definitions, directives, selection_set };
        operations.push((name, Positioned::new(operation, pos)));
        Ok(())
    }

    fn parse_fragment_definition(&mut self) -> Parsed<(Positioned<Name>, FragmentDefinition)> {
        self.at += 1;
        if self.peek_word("on") {
            return self.unexpected("the name of a fragment");
        }
        let name = self.parse_name()?;
        let pos = self.pos();
        if !self.take_word("on") {
            return self.unexpected("\"on\"");
        }
        let on = self.parse_name()?;
        let directives = self.parse_directives(false)?;
        let selection_set = self.parse_selection_set()?;
        let type_condition = Positioned::new(TypeCondition { on }, pos);
        Ok((name, FragmentDefinition { type_condition, directives, selection_set }))
    }

    fn parse_variable_definition(&mut self) -> Parsed<Positioned<VariableDefinition>> {
        self.skip_description();
        let pos = self.pos();
        self.expect_mark('$')?;
        let name = self.parse_name()?;
        self.expect_mark(':')?;
        let place = self.pos();
        let var_type = Positioned::new(self.parse_type()?, place);
        let place = self.pos();
        let default_value = if self.take_mark('=') {
            let place_of_value = self.pos();
            match self.parse_value(true)?.into_const() {
                Some(value) => Some(Positioned::new(value, place_of_value)),
                None => return Err(SyntaxError::new("a default value holds a variable", place)),
            }
        } else {
            None
        };
        let directives = self.parse_directives(true)?;
        Ok(Positioned::new(VariableDefinition { name, var_type, directives, default_value }, pos))
    }

    fn parse_type(&mut self) -> Parsed<Type> {
        let base = if self.take_mark('[') {
            let item = self.parse_type()?;
            self.expect_mark(']')?;
            BaseType::List(Box::new(item))
        } else {
            BaseType::Named(self.parse_name()?.node)
        };
        Ok(Type { base, nullable: !self.take_mark('!') })
    }

    fn parse_selection_set(&mut self) -> Parsed<Positioned<SelectionSet>> {
        let pos = self.pos();
        self.expect_mark('{')?;
        let items = self.parse_until('}', Self::parse_selection)?;
        Ok(Positioned::new(SelectionSet { items }, pos))
    }

    fn parse_selection(&mut self) -> Parsed<Positioned<Selection>> {
        let pos = self.pos();
        let selection = if *self.kind() == TokenKind::Spread {
            self.at += 1;
            self.parse_spread(pos)?
        } else {
            Selection::Field(Positioned::new(self.parse_field()?, pos))
        };
        Ok(Positioned::new(selection, pos))
    }

    /// A fragment in a selection set, after its three dots.
    fn parse_spread(&mut self, pos: Pos) -> Parsed<Selection> {
        let place = self.pos();
        let type_condition = if self.take_word("on") {
            Some(Positioned::new(TypeCondition { on: self.parse_name()? }, place))
        } else {
            None
        };
        if type_condition.is_none() && matches!(self.kind(), TokenKind::Name(_)) {
            let fragment_name = self.parse_name()?;
            let directives = self.parse_directives(false)?;
            let spread = FragmentSpread { fragment_name, directives };
            return Ok(Selection::FragmentSpread(Positioned::new(spread, pos)));
        }
        let directives = self.parse_directives(false)?;
        let selection_set = self.parse_selection_set()?;
        let inline = InlineFragment { type_condition, directives, selection_set };
        Ok(Selection::InlineFragment(Positioned::new(inline, pos)))
    }

    fn parse_field(&mut self) -> Parsed<Field> {
        let first = self.parse_name()?;
        let (alias, name) =
            if self.take_mark(':') { (Some(first), self.parse_name()?) } else { (None, first) };
        let arguments = self.parse_arguments(false)?;
        let directives = self.parse_directives(false)?;
        let selection_set =
            if self.peek_mark('{') { self.parse_selection_set()? } else { Positioned::default() };
        Ok(Field { alias, name, arguments, directives, selection_set })
    }

    fn parse_arguments(
        &mut self,
        is_const: bool,
    ) -> Parsed<Vec<(Positioned<Name>, Positioned<Value>)>> {
        if !self.take_mark('(') {
            return Ok(Vec::new());
        }
        self.parse_until(')', |parser| {
            let name = parser.parse_name()?;
            parser.expect_mark(':')?;
            let pos = parser.pos();
            Ok((name, Positioned::new(parser.parse_value(is_const)?, pos)))
        })
    }

    fn parse_directives(&mut self, is_const: bool) -> Parsed<Vec<Positioned<Directive>>> {
        let mut directives = Vec::new();
        while self.peek_mark('@') {
            let pos = self.pos();
            self.at += 1;
            let name = self.parse_name()?;
            let arguments = self.parse_arguments(is_const)?;
            directives.push(Positioned::new(Directive { name, arguments }, pos));
        }
        Ok(directives)
    }

    fn parse_value(&mut self, is_const: bool) -> Parsed<Value> {
        let pos = self.pos();
        let value = match self.kind() {
            TokenKind::Mark('$') if !is_const => {
                self.at += 1;
                return Ok(Value::Variable(self.parse_name()?.node));
            }
            TokenKind::Mark('[') => {
                self.at += 1;
                let mut values = Vec::new();
                while !self.take_mark(']') {
                    values.push(self.parse_value(is_const)?);
                }
                return Ok(Value::List(values));
            }
            TokenKind::Mark('{') => {
                self.at += 1;
                return self.parse_object(is_const);
            }
            TokenKind::Int(digits) | TokenKind::Float(digits) => match digits.parse::<Number>() {
                Ok(number) => Value::Number(number),
                Err(_) => return Err(SyntaxError::new("a number is too large", pos)),
            },
            TokenKind::Text(text) => Value::String(text.clone()),
            TokenKind::Name(word) => match word.as_str() {
                "true" => Value::Boolean(true),
                "false" => Value::Boolean(false),
                "null" => Value::Null,
                word => Value::Enum(Name::new(word)),
            },
            _ => return self.unexpected("a value"),
        };
        self.at += 1;
        Ok(value)
    }

    /// The fields of an input object, after its opening brace.
    fn parse_object(&mut self, is_const: bool) -> Parsed<Value> {
        let mut fields = IndexMap::new();
        while !self.take_mark('}') {
            let name = self.parse_name()?;
            self.expect_mark(':')?;
            let value = self.parse_value(is_const)?;
            if fields.insert(name.node.clone(), value).is_some() {
                let message = format!("the input field \"{}\" is given twice", name.node);
                return Err(SyntaxError::invalid(message, name.pos));
            }
        }
        Ok(Value::Object(fields))
    }
}
