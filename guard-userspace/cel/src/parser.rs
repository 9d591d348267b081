//! Source text into a syntax tree, by precedence climbing, within limits on bytes, nodes and depth.

mod lexer;
mod literal;
mod macros;

use crate::ast::{Element, Entry, Expr, Kind, NodeId};
use crate::error::CompileError;
use crate::limits::{MAX_DEPTH, MAX_NODES, MAX_SOURCE_BYTES};
use crate::value::Value;
use lexer::{Token, TokenKind};

/// Names that no variable or function can have.
const RESERVED: [&str; 16] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
];

/// A parsed expression, and how many nodes have an id.
pub(crate) struct Parsed {
    pub(crate) root: Expr,
    pub(crate) nodes: usize,
}

/// Parses `source`, and expands its macros.
pub(crate) fn parse(source: &str) -> Result<Parsed, CompileError> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(CompileError::at(
            source,
            0,
            format!("the expression has {} bytes, more than {MAX_SOURCE_BYTES}", source.len()),
        ));
    }
    let tokens = lexer::tokens(source)?;
    let mut parser = Parser { source, tokens, next: 0, nodes: 0, brackets: 0 };
    let root = parser.expression()?;
    let rest = parser.peek();
    if rest.kind != TokenKind::End {
        return Err(parser.unexpected(rest, "<EOF>"));
    }
    Ok(Parsed { root, nodes: parser.nodes })
}

struct Parser<'s> {
    source: &'s str,
    tokens: Vec<Token<'s>>,
    next: usize,
    nodes: usize,
    /// How deep in expressions within expressions the parser is: what its own recursion depends on.
    brackets: usize,
}

type Parse<T> = Result<T, CompileError>;

impl<'s> Parser<'s> {
    // === tokens

    fn peek(&self) -> Token<'s> {
        // The last one is the end, which is never taken.
        self.tokens[self.next]
    }

    fn advance(&mut self) -> Token<'s> {
        let token = self.peek();
        if token.kind != TokenKind::End {
            self.next += 1;
        }
        token
    }

    fn is(&self, symbol: &str) -> bool {
        let token = self.peek();
        token.kind == TokenKind::Symbol && token.text == symbol
    }

    fn accept(&mut self, symbol: &str) -> bool {
        let there = self.is(symbol);
        if there {
            self.advance();
        }
        there
    }

    fn expect(&mut self, symbol: &str) -> Parse<()> {
        if self.accept(symbol) { Ok(()) } else { Err(self.unexpected(self.peek(), symbol)) }
    }

    fn unexpected(&self, token: Token<'_>, wanted: &str) -> CompileError {
        self.error(token.at, format!("Syntax error: unexpected '{}', expecting '{wanted}'", token.text.escape_debug()))
    }

    fn error(&self, at: usize, reason: impl Into<String>) -> CompileError {
        CompileError::at(self.source, at, reason)
    }

    // === nodes

    fn id(&mut self, at: usize) -> Parse<NodeId> {
        if self.nodes == MAX_NODES {
            return Err(self.error(at, format!("the expression has more than {MAX_NODES} nodes, its macros expanded")));
        }
        self.nodes += 1;
        Ok(self.nodes - 1)
    }

    fn node(&mut self, at: usize, kind: Kind) -> Parse<Expr> {
        let id = self.id(at)?;
        let depth = 1 + kind.children().iter().map(|child| child.depth).max().unwrap_or_default();
        if depth > MAX_DEPTH {
            return Err(self.error(at, format!("the expression is nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(Expr { id, at, depth, kind })
    }

    fn literal(&mut self, at: usize, value: Value<'static>) -> Parse<Expr> {
        self.node(at, Kind::Literal(value))
    }

    fn ident(&mut self, at: usize, name: &str) -> Parse<Expr> {
        self.node(at, Kind::Ident(name.to_owned()))
    }

    fn call(&mut self, at: usize, function: &str, arguments: Vec<Expr>) -> Parse<Expr> {
        self.node(at, Kind::Call { target: None, function: function.to_owned(), arguments })
    }

    // === grammar, from loose to tight

    /// `condition ? one : other`, or what binds tighter.
    fn expression(&mut self) -> Parse<Expr> {
        if self.brackets == MAX_DEPTH {
            let at = self.peek().at;
            return Err(self.error(at, format!("the expression is nested more than {MAX_DEPTH} levels deep")));
        }
        self.brackets += 1;
        let condition = self.logical("||", "_||_", Self::conjunction)?;
        let at = self.peek().at;
        let expression = if self.accept("?") {
            let one = self.logical("||", "_||_", Self::conjunction)?;
            self.expect(":")?;
            let other = self.expression()?;
            self.call(at, "_?_:_", vec![condition, one, other])?
        } else {
            condition
        };
        self.brackets -= 1;
        Ok(expression)
    }

    fn conjunction(&mut self) -> Parse<Expr> {
        self.logical("&&", "_&&_", Self::relation)
    }

    /// Terms of `&&` or of `||`: one node, however many there are.
    fn logical(&mut self, symbol: &str, function: &str, term: fn(&mut Self) -> Parse<Expr>) -> Parse<Expr> {
        let first = term(self)?;
        if !self.is(symbol) {
            return Ok(first);
        }
        let at = self.peek().at;
        let mut terms = vec![first];
        while self.accept(symbol) {
            terms.push(term(self)?);
        }
        self.call(at, function, terms)
    }

    fn relation(&mut self) -> Parse<Expr> {
        self.binary(&["==", "!=", "<=", ">=", "<", ">", "in"], Self::sum)
    }

    fn sum(&mut self) -> Parse<Expr> {
        self.binary(&["+", "-"], Self::product)
    }

    fn product(&mut self) -> Parse<Expr> {
        self.binary(&["*", "/", "%"], Self::unary)
    }

    fn binary(&mut self, symbols: &[&str], operand: fn(&mut Self) -> Parse<Expr>) -> Parse<Expr> {
        let mut left = operand(self)?;
        loop {
            let token = self.peek();
            if token.kind != TokenKind::Symbol || !symbols.contains(&token.text) {
                return Ok(left);
            }
            self.advance();
            let right = operand(self)?;
            let function = if token.text == "in" { "@in".to_owned() } else { format!("_{}_", token.text) };
            left = self.call(token.at, &function, vec![left, right])?;
        }
    }

    /// Any number of `!`, or of `-`, which undo each other in pairs. One minus before a number is the number's.
    fn unary(&mut self) -> Parse<Expr> {
        for (symbol, function) in [("!", "!_"), ("-", "-_")] {
            let at = self.peek().at;
            if !self.is(symbol) || (symbol == "-" && self.is_negative_number()) {
                continue;
            }
            let mut count = 0;
            while self.accept(symbol) {
                count += 1;
            }
            let operand = self.member()?;
            return if count % 2 == 0 { Ok(operand) } else { self.call(at, function, vec![operand]) };
        }
        self.member()
    }

    /// A minus right before a number is the number's.
    fn is_negative_number(&self) -> bool {
        let after = self.tokens.get(self.next + 1);
        after.is_some_and(|token| matches!(token.kind, TokenKind::Int | TokenKind::Double))
    }

    /// Something, and what is selected, called or indexed of it.
    fn member(&mut self) -> Parse<Expr> {
        let mut operand = self.primary()?;
        loop {
            let at = self.peek().at;
            if self.accept(".") {
                let optional = self.accept("?");
                let name = self.advance();
                if name.kind != TokenKind::Identifier {
                    return Err(self.unexpected(name, "identifier"));
                }
                operand = if optional {
                    let field = self.literal(name.at, Value::from(name.text.to_owned()))?;
                    self.call(at, "_?._", vec![operand, field])?
                } else if self.is("(") {
                    let arguments = self.arguments()?;
                    self.member_call(name.at, operand, name.text, arguments)?
                } else {
                    let kind = Kind::Select { operand: Box::new(operand), field: name.text.to_owned(), test: false };
                    self.node(at, kind)?
                };
            } else if self.accept("[") {
                let function = if self.accept("?") { "_[?_]" } else { "_[_]" };
                let index = self.expression()?;
                self.expect("]")?;
                operand = self.call(at, function, vec![operand, index])?;
            } else {
                return Ok(operand);
            }
        }
    }

    fn primary(&mut self) -> Parse<Expr> {
        let token = self.peek();
        match (token.kind, token.text) {
            (TokenKind::Identifier, _) | (TokenKind::Symbol, ".") => self.name(),
            (TokenKind::Symbol, "(") => {
                self.advance();
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            (TokenKind::Symbol, "[") => self.list(),
            (TokenKind::Symbol, "{") => self.map(),
            _ => self.constant(),
        }
    }

    /// A variable, a call of a function, or `Type{…}`.
    fn name(&mut self) -> Parse<Expr> {
        let at = self.peek().at;
        let dot = if self.accept(".") { "." } else { "" };
        let token = self.advance();
        if token.kind != TokenKind::Identifier {
            return Err(self.unexpected(token, "identifier"));
        }
        if let Some(length) = self.struct_name_tokens() {
            let mut name = format!("{dot}{}", token.text);
            for _ in 0..length {
                name.push_str(self.advance().text);
            }
            self.struct_fields()?;
            return self.node(at, Kind::Struct { name });
        }
        if RESERVED.contains(&token.text) || token.text == "while" {
            return Err(self.error(token.at, format!("reserved identifier: {}", token.text)));
        }
        if self.is("(") {
            let arguments = self.arguments()?;
            return self.global_call(token.at, &format!("{dot}{}", token.text), arguments);
        }
        self.ident(at, &format!("{dot}{}", token.text))
    }

    /// How many tokens until `{` are `.name` pairs; none if something else comes.
    fn struct_name_tokens(&self) -> Option<usize> {
        let mut rest = self.tokens[self.next..].iter();
        let mut count = 0;
        loop {
            match rest.next()? {
                token if token.text == "{" && token.kind == TokenKind::Symbol => return Some(count),
                token if token.text == "." && token.kind == TokenKind::Symbol => {
                    rest.next().filter(|name| name.kind == TokenKind::Identifier)?;
                    count += 2;
                }
                _ => return None,
            }
        }
    }

    /// Fields are parsed, so that a syntax error in one is told as such.
    fn struct_fields(&mut self) -> Parse<()> {
        self.expect("{")?;
        while !self.is("}") {
            self.accept("?");
            let name = self.advance();
            if name.kind != TokenKind::Identifier {
                return Err(self.unexpected(name, "identifier"));
            }
            self.expect(":")?;
            self.expression()?;
            if !self.accept(",") {
                break;
            }
        }
        self.expect("}")
    }

    fn arguments(&mut self) -> Parse<Vec<Expr>> {
        self.expect("(")?;
        let mut arguments = Vec::new();
        if !self.is(")") {
            arguments.push(self.expression()?);
            while self.accept(",") {
                arguments.push(self.expression()?);
            }
        }
        self.expect(")")?;
        Ok(arguments)
    }

    fn list(&mut self) -> Parse<Expr> {
        let at = self.advance().at;
        let mut items = Vec::new();
        while !self.is("]") {
            let optional = self.accept("?");
            items.push(Element { value: self.expression()?, optional });
            if !self.accept(",") {
                break;
            }
        }
        self.expect("]")?;
        self.node(at, Kind::List(items))
    }

    fn map(&mut self) -> Parse<Expr> {
        let at = self.advance().at;
        let mut entries = Vec::new();
        while !self.is("}") {
            let optional = self.accept("?");
            let key = self.expression()?;
            self.expect(":")?;
            entries.push(Entry { key, value: self.expression()?, optional });
            if !self.accept(",") {
                break;
            }
        }
        self.expect("}")?;
        self.node(at, Kind::Map(entries))
    }

    fn constant(&mut self) -> Parse<Expr> {
        let at = self.peek().at;
        let negative = self.is("-") && self.is_negative_number() && self.accept("-");
        let token = self.advance();
        let text = token.text;
        let invalid = |what: &str| self.error(token.at, format!("invalid {what} literal"));
        let value = match token.kind {
            TokenKind::Int => Value::Int(literal::int(text, negative).ok_or_else(|| invalid("int"))?),
            TokenKind::Uint => Value::Uint(literal::uint(text).ok_or_else(|| invalid("uint"))?),
            TokenKind::Double => Value::Double(literal::double(text, negative).ok_or_else(|| invalid("double"))?),
            TokenKind::String => {
                let bytes = literal::unquoted(text, false).map_err(|reason| self.error(token.at, reason))?;
                Value::from(String::from_utf8(bytes).map_err(|_| invalid("string"))?)
            }
            TokenKind::Bytes => {
                Value::from(literal::unquoted(text, true).map_err(|reason| self.error(token.at, reason))?)
            }
            TokenKind::Symbol if text == "true" => Value::Bool(true),
            TokenKind::Symbol if text == "false" => Value::Bool(false),
            TokenKind::Symbol if text == "null" => Value::Null,
            _ => return Err(self.unexpected(token, "expression")),
        };
        self.literal(at, value)
    }
}

#[cfg(test)]
mod tests;
