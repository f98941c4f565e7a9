//! The tokens of a document (GraphQL specification, section 2.1).

use async_graphql::Pos;

use super::SyntaxError;

/// A token with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub kind: TokenKind,
    pub pos: Pos,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenKind {
    /// A punctuator of one character.
    Mark(char),
    /// `...`
    Spread,
    Name(String),
    /// The digits of a whole number, with their sign.
    Int(String),
    /// A number with a fraction or an exponent.
    Float(String),
    /// The value of a string.
    Text(String),
    End,
}

impl TokenKind {
    /// The token in the words of an error message.
    pub fn describe(&self) -> String {
        match self {
            Self::Mark(mark) => format!("\"{mark}\""),
            Self::Spread => "\"...\"".into(),
            Self::Name(name) => format!("the name \"{name}\""),
            Self::Int(digits) | Self::Float(digits) => format!("the number {digits}"),
            Self::Text(_) => "a string".into(),
            Self::End => "the end".into(),
        }
    }
}

/// Splits a text into its tokens; the last one is [`TokenKind::End`].
///
/// # Errors
/// A [`SyntaxError`] at the first character that belongs to no token.
pub fn read_tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut lexer = Lexer { rest: text, line: 1, column: 1 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.read_token()?;
        let is_last = token.kind == TokenKind::End;
        tokens.push(token);
        if is_last {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
}

impl Lexer<'_> {
    fn pos(&self) -> Pos {
        Pos { line: self.line, column: self.column }
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError::new(message, self.pos()))
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Takes one character, and counts lines and columns.
    fn take(&mut self) -> Option<char> {
        let taken = self.peek()?;
        self.rest = self.rest.get(taken.len_utf8()..).unwrap_or_default();
        // The two characters of a Windows line ending are one.
        if taken == '\n' || (taken == '\r' && self.peek() != Some('\n')) {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(taken)
    }

    fn take_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        self.peek().filter(|next| wanted(*next)).and_then(|_| self.take())
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        std::iter::from_fn(|| self.take_if(&wanted)).collect()
    }

    fn take_prefix(&mut self, prefix: &str) -> bool {
        let found = self.rest.starts_with(prefix);
        if found {
            for _ in prefix.chars() {
                self.take();
            }
        }
        found
    }

    fn skip_ignored(&mut self) {
        while let Some(next) = self.peek() {
            match next {
                '\u{feff}' | '\t' | ' ' | ',' | '\n' | '\r' => {
                    self.take();
                }
                '#' => {
                    self.take_while(|next| !matches!(next, '\n' | '\r'));
                }
                _ => return,
            }
        }
    }

    fn read_token(&mut self) -> Result<Token, SyntaxError> {
        self.skip_ignored();
        let pos = self.pos();
        let kind = match self.peek() {
            None => TokenKind::End,
            Some(
                mark
                @ ('!' | '$' | '&' | '(' | ')' | ':' | '=' | '@' | '[' | ']' | '{' | '|' | '}'),
            ) => {
                self.take();
                TokenKind::Mark(mark)
            }
            Some('.') if self.take_prefix("...") => TokenKind::Spread,
            Some('"') if self.take_prefix("\"\"\"") => TokenKind::Text(self.read_block_string()?),
            Some('"') => {
                self.take();
                TokenKind::Text(self.read_string()?)
            }
            Some('-' | '0'..='9') => self.read_number()?,
            Some(next) if is_name_start(next) => TokenKind::Name(self.take_while(is_name_part)),
            Some(next) => return self.fail(format!("unexpected character {next:?}")),
        };
        Ok(Token { kind, pos })
    }

    fn read_number(&mut self) -> Result<TokenKind, SyntaxError> {
        let mut text: String = self.take_if(|next| next == '-').into_iter().collect();
        let mut is_float = false;
        let digits = self.read_digits()?;
        if digits.len() > 1 && digits.starts_with('0') {
            return self.fail("a number does not begin with 0");
        }
        text.push_str(&digits);
        if self.take_if(|next| next == '.').is_some() {
            is_float = true;
            text.push('.');
            text.push_str(&self.read_digits()?);
        }
        if self.take_if(|next| matches!(next, 'e' | 'E')).is_some() {
            is_float = true;
            text.push('e');
            text.extend(self.take_if(|next| matches!(next, '+' | '-')));
            text.push_str(&self.read_digits()?);
        }
        match self.peek() {
            Some(next) if next == '.' || is_name_start(next) => {
                self.fail(format!("expected a digit, found {next:?}"))
            }
            _ if is_float => Ok(TokenKind::Float(text)),
            _ => Ok(TokenKind::Int(text)),
        }
    }

    fn read_digits(&mut self) -> Result<String, SyntaxError> {
        let digits = self.take_while(|next| next.is_ascii_digit());
        if digits.is_empty() { self.fail("expected a digit") } else { Ok(digits) }
    }

    /// The rest of a string after its opening quote.
    fn read_string(&mut self) -> Result<String, SyntaxError> {
        let mut value = String::new();
        loop {
            match self.peek() {
                None | Some('\n' | '\r') => return self.fail("a string does not end in its line"),
                Some('"') => {
                    self.take();
                    return Ok(value);
                }
                Some('\\') => {
                    self.take();
                    value.push(self.read_escape()?);
                }
                Some(other) => {
                    self.take();
                    value.push(other);
                }
            }
        }
    }

    /// The rest of an escape sequence after its backslash.
    fn read_escape(&mut self) -> Result<char, SyntaxError> {
        let Some(letter) = self.peek() else { return self.fail("a string does not end") };
        let plain = match letter {
            '"' | '\\' | '/' => letter,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                self.take();
                return self.read_unicode_escape();
            }
            _ => return self.fail(format!("unknown escape sequence \\{letter}")),
        };
        self.take();
        Ok(plain)
    }

    fn read_unicode_escape(&mut self) -> Result<char, SyntaxError> {
        let code = if self.take_if(|next| next == '{').is_some() {
            let digits = self.take_while(|next| next.is_ascii_hexdigit());
            if self.take_if(|next| next == '}').is_none() {
                return self.fail("expected a hexadecimal digit or \"}\"");
            }
            u32::from_str_radix(&digits, 16).ok()
        } else {
            let first = self.read_hex_unit()?;
            if (0xd800..0xdc00).contains(&first) {
                let low = if self.take_prefix("\\u") { Some(self.read_hex_unit()?) } else { None };
                low.filter(|low| (0xdc00..0xe000).contains(low))
                    .map(|low| 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00))
            } else {
                Some(first)
            }
        };
        match code.and_then(char::from_u32) {
            Some(character) => Ok(character),
            None => self.fail("an escape sequence names no character"),
        }
    }

    fn read_hex_unit(&mut self) -> Result<u32, SyntaxError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.take_if(|next| next.is_ascii_hexdigit()).and_then(|d| d.to_digit(16));
            match digit {
                Some(digit) => unit = unit * 16 + digit,
                None => return self.fail("expected four hexadecimal digits"),
            }
        }
        Ok(unit)
    }

    /// The rest of a block string after its opening quotes.
    fn read_block_string(&mut self) -> Result<String, SyntaxError> {
        let mut raw = String::new();
        loop {
            if self.take_prefix("\"\"\"") {
                return Ok(dedent_block(&raw));
            }
            if self.take_prefix("\\\"\"\"") {
                raw.push_str("\"\"\"");
                continue;
            }
            match self.take() {
                Some(next) => raw.push(next),
                None => return self.fail("a block string does not end"),
            }
        }
    }
}

fn is_name_start(next: char) -> bool {
    next.is_ascii_alphabetic() || next == '_'
}

fn is_name_part(next: char) -> bool {
    next.is_ascii_alphanumeric() || next == '_'
}

/// The value of a block string (section 2.9.4): without the indentation that its lines have in
/// common, and without empty lines around it.
fn dedent_block(raw: &str) -> String {
    let raw = raw.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = raw.split('\n').collect();
    let indent_of = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let is_blank = |line: &&str| indent_of(line) == line.len();
    let indented = lines.iter().skip(1).filter(|line| !is_blank(line));
    let common = indented.map(|line| indent_of(line)).min().unwrap_or(0);
    let (Some(first), Some(last)) = (
        lines.iter().position(|line| !is_blank(line)),
        lines.iter().rposition(|line| !is_blank(line)),
    ) else {
        return String::new();
    };
    let kept = lines.iter().enumerate().skip(first).take(last + 1 - first);
    let shown: Vec<&str> = kept
        .map(|(at, line)| if at == 0 { *line } else { line.get(common..).unwrap_or_default() })
        .collect();
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        read_tokens(text).unwrap().into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn tokens_have_their_values() {
        let text = |value: &str| TokenKind::Text(value.into());
        for (given, value) in [
            (r#""a\u00e9\n""#, "aé\n"),
            (r#""\uD83D\uDE00\u{1F600}""#, "😀😀"),
            ("\"\"\"\n    one\n      two\n\n  \"\"\"", "one\n  two"),
            (r#""""say \""" so""""#, r#"say """ so"#),
            (r#""""#, ""),
        ] {
            assert_eq!(kinds(given), [text(value), TokenKind::End], "{given}");
        }
        let numbers = ["0", "-12", "1.5", "2e3"];
        let expected = [
            TokenKind::Int("0".into()),
            TokenKind::Int("-12".into()),
            TokenKind::Float("1.5".into()),
            TokenKind::Float("2e3".into()),
            TokenKind::End,
        ];
        assert_eq!(kinds(&numbers.join(" ")), expected);
    }

    #[test]
    fn malformed_tokens_are_refused() {
        for wrong in [
            "00",
            "1a",
            "1.",
            "1.a",
            "--1",
            "1e",
            ".5",
            "..",
            "\"a",
            "\"a\nb\"",
            "'a'",
            "\"\\x\"",
            r#""\uD83D""#,
            r#""\uDE00""#,
            r#""\u{110000}""#,
            r#""\u{}""#,
            "\"\"\"a",
            "a ? b",
            "é",
            "%",
        ] {
            assert!(read_tokens(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn places_count_lines_and_columns() {
        let tokens = read_tokens("{\r\n  é # c\n a".replace('é', "b").as_str()).unwrap();
        let places: Vec<_> =
            tokens.iter().map(|token| (token.pos.line, token.pos.column)).collect();
        assert_eq!(places, [(1, 1), (2, 3), (3, 2), (3, 3)]);
    }
}
