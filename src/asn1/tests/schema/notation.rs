//! As much of the ASN.1 notation as the modules in `schema/asn1` use, and DER held against it.
//!
//! Written from the notation, not from our writer: a mistake in one of the two does not hide in the other.

use std::collections::BTreeMap;

/// Types and object identifiers of some modules together.
#[derive(Debug, Default)]
pub struct Schema {
    pub types: BTreeMap<String, Type>,
    oids: BTreeMap<String, Vec<u64>>,
}

#[derive(Clone, Debug)]
pub enum Type {
    /// By universal tag.
    Primitive(u8),
    Named(String),
    /// IMPLICIT, as the modules say at their top.
    Tagged(u8, Box<Type>),
    Sequence {
        components: Vec<Component>,
        is_open: bool,
    },
    SequenceOf(Box<Type>),
    Choice(Vec<Component>),
    Enumerated(Vec<i64>),
    Constrained(Box<Type>, Constraint),
}

#[derive(Clone, Debug)]
pub struct Component {
    name: String,
    of: Type,
    is_optional: bool,
}

#[derive(Clone, Debug)]
pub enum Constraint {
    Size(i128, i128),
    Range(i128, i128),
    Oid(String),
    Containing(Box<Type>),
}

const SEQUENCE: u8 = 0x30;

/// The text without comments, cut into words, numbers and signs. A comment ends with its line or with the
/// next two hyphens, whatever comes first.
fn tokens(text: &str) -> Vec<String> {
    let mut plain = String::new();
    for line in text.lines() {
        let code = line.split("--").step_by(2).collect::<Vec<_>>().join(" ");
        plain.push_str(&code);
        plain.push('\n');
    }
    let mut tokens: Vec<String> = Vec::new();
    let mut in_word = false;
    for c in plain.chars() {
        let is_word = c.is_ascii_alphanumeric() || c == '-';
        match tokens.last_mut() {
            Some(last) if is_word && in_word => last.push(c),
            Some(last)
                if !in_word
                    && matches!(
                        (last.as_str(), c),
                        ("." | "..", '.') | (":", ':') | ("::", '=')
                    ) =>
            {
                last.push(c);
            }
            _ if c.is_whitespace() => {}
            _ => tokens.push(c.to_string()),
        }
        in_word = is_word;
    }
    tokens
}

struct Parser {
    tokens: Vec<String>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn next(&mut self) -> String {
        let token = self.peek().to_owned();
        assert_ne!(token, "", "the module goes on");
        self.at += 1;
        token
    }

    fn eat(&mut self, wanted: &str) -> bool {
        let found = self.peek() == wanted;
        self.at += usize::from(found);
        found
    }

    #[track_caller]
    fn expect(&mut self, wanted: &str) {
        let after = &self.tokens[self.at.saturating_sub(5)..self.at];
        assert_eq!(self.peek(), wanted, "after {after:?}");
        self.at += 1;
    }

    fn number(&mut self) -> i128 {
        let token = self.next();
        token
            .parse()
            .unwrap_or_else(|_| panic!("{token} is no number"))
    }

    fn of_type(&mut self) -> Type {
        if self.eat("[") {
            let number = u8::try_from(self.number()).unwrap();
            self.expect("]");
            return Type::Tagged(number, Box::new(self.of_type()));
        }
        let name = self.next();
        let mut of = match name.as_str() {
            "BOOLEAN" => Type::Primitive(0x01),
            "INTEGER" => Type::Primitive(0x02),
            "UTF8String" => Type::Primitive(0x0C),
            "PrintableString" => Type::Primitive(0x13),
            "UTCTime" => Type::Primitive(0x17),
            "GeneralizedTime" => Type::Primitive(0x18),
            "OCTET" => {
                self.expect("STRING");
                Type::Primitive(0x04)
            }
            "OBJECT" => {
                self.expect("IDENTIFIER");
                Type::Primitive(0x06)
            }
            "ENUMERATED" => self.enumerated(),
            "CHOICE" => Type::Choice(self.components().0),
            "SEQUENCE" if self.eat("OF") => Type::SequenceOf(Box::new(self.of_type())),
            "SEQUENCE" => {
                let (components, is_open) = self.components();
                Type::Sequence {
                    components,
                    is_open,
                }
            }
            _ => Type::Named(name),
        };
        if self.eat("(") {
            let constraint = self.constraint();
            self.expect(")");
            of = Type::Constrained(Box::new(of), constraint);
        }
        of
    }

    fn constraint(&mut self) -> Constraint {
        if self.eat("SIZE") {
            self.expect("(");
            let (least, most) = self.range();
            self.expect(")");
            return Constraint::Size(least, most);
        }
        if self.eat("CONTAINING") {
            return Constraint::Containing(Box::new(self.of_type()));
        }
        if self.peek().starts_with(|c: char| c.is_ascii_digit()) {
            let (least, most) = self.range();
            return Constraint::Range(least, most);
        }
        Constraint::Oid(self.next())
    }

    fn range(&mut self) -> (i128, i128) {
        let least = self.number();
        let most = if self.eat("..") { self.number() } else { least };
        (least, most)
    }

    fn enumerated(&mut self) -> Type {
        self.expect("{");
        let mut values = Vec::new();
        loop {
            self.next();
            self.expect("(");
            values.push(self.number().try_into().unwrap());
            self.expect(")");
            if !self.eat(",") {
                self.expect("}");
                return Type::Enumerated(values);
            }
        }
    }

    /// The components, and whether more may follow.
    fn components(&mut self) -> (Vec<Component>, bool) {
        self.expect("{");
        let mut components = Vec::new();
        let mut is_open = false;
        while !self.eat("}") {
            if self.eat("...") {
                is_open = true;
            } else {
                components.push(Component {
                    name: self.next(),
                    of: self.of_type(),
                    is_optional: self.eat("OPTIONAL"),
                });
            }
            if !self.eat(",") {
                self.expect("}");
                break;
            }
        }
        (components, is_open)
    }
}

impl Schema {
    /// Adds a module; what it imports must have been added before.
    pub fn add(&mut self, text: &str) {
        let mut parser = Parser {
            tokens: tokens(text),
            at: 0,
        };
        parser.next();
        for word in ["DEFINITIONS", "IMPLICIT", "TAGS", "::=", "BEGIN"] {
            parser.expect(word);
        }
        if parser.eat("IMPORTS") {
            loop {
                let name = parser.next();
                assert!(
                    self.types.contains_key(&name) || self.oids.contains_key(&name),
                    "{name} is imported"
                );
                if !parser.eat(",") {
                    break;
                }
            }
            parser.expect("FROM");
            parser.next();
            parser.expect(";");
        }
        while !parser.eat("END") {
            let name = parser.next();
            if parser.eat("OBJECT") {
                parser.expect("IDENTIFIER");
                parser.expect("::=");
                let oid = self.oid(&mut parser);
                assert!(
                    self.oids.insert(name.clone(), oid).is_none(),
                    "{name} twice"
                );
            } else {
                parser.expect("::=");
                let of = parser.of_type();
                assert!(
                    self.types.insert(name.clone(), of).is_none(),
                    "{name} twice"
                );
            }
        }
        assert_eq!(parser.peek(), "", "nothing after END");
    }

    fn oid(&self, parser: &mut Parser) -> Vec<u64> {
        parser.expect("{");
        let mut arcs = Vec::new();
        while !parser.eat("}") {
            let token = parser.next();
            if parser.eat("(") {
                arcs.push(u64::try_from(parser.number()).unwrap());
                parser.expect(")");
            } else if let Ok(arc) = token.parse() {
                arcs.push(arc);
            } else {
                arcs.extend(&self.oids[&token]);
            }
        }
        arcs
    }

    /// An object identifier with dots.
    pub fn dotted(&self, name: &str) -> String {
        let arcs: Vec<String> = self.oids[name].iter().map(u64::to_string).collect();
        arcs.join(".")
    }

    /// Holds one whole element against a type.
    pub fn check(&self, name: &str, element: &[u8]) -> Result<(), String> {
        let of = Type::Named(name.to_owned());
        let (tag, content, rest) = take(element)?;
        if !rest.is_empty() {
            return Err(format!("{name}: something follows"));
        }
        if !self.tags(&of).contains(&tag) {
            return Err(format!("{name}: tag {tag:02x}"));
        }
        self.content(&of, tag, content)
            .map_err(|problem| format!("{name}: {problem}"))
    }

    /// First bytes an element of this type can have.
    fn tags(&self, of: &Type) -> Vec<u8> {
        match of {
            Type::Primitive(tag) => vec![*tag],
            Type::Named(name) => self.tags(&self.types[name]),
            Type::Constrained(of, _) => self.tags(of),
            Type::Sequence { .. } | Type::SequenceOf(_) => vec![SEQUENCE],
            Type::Enumerated(_) => vec![0x0A],
            Type::Choice(choices) => choices.iter().flat_map(|one| self.tags(&one.of)).collect(),
            Type::Tagged(number, of) => {
                let inner = self.tags(of);
                // A tag in front of a CHOICE is EXPLICIT, which nothing here is.
                assert_eq!(inner.len(), 1, "one type under a tag");
                vec![0x80 | (inner[0] & 0x20) | number]
            }
        }
    }

    fn content(&self, of: &Type, tag: u8, content: &[u8]) -> Result<(), String> {
        match of {
            Type::Primitive(universal) => primitive(*universal, content),
            Type::Named(name) => self.content(&self.types[name], tag, content),
            Type::Tagged(_, of) => self.content(of, tag, content),
            Type::Choice(choices) => {
                let one = choices.iter().find(|one| self.tags(&one.of).contains(&tag));
                self.content(&one.unwrap().of, tag, content)
            }
            Type::Enumerated(values) => match integer(content) {
                Some(value) if values.iter().any(|known| i128::from(*known) == value) => Ok(()),
                value => Err(format!("no such value: {value:?}")),
            },
            Type::SequenceOf(of) => {
                let mut rest = content;
                while !rest.is_empty() {
                    let (tag, content, after) = take(rest)?;
                    if !self.tags(of).contains(&tag) {
                        return Err(format!("tag {tag:02x} in a list"));
                    }
                    self.content(of, tag, content)?;
                    rest = after;
                }
                Ok(())
            }
            Type::Sequence {
                components,
                is_open,
            } => self.sequence(components, *is_open, content),
            Type::Constrained(of, constraint) => {
                self.content(of, tag, content)?;
                self.constraint(constraint, content)
            }
        }
    }

    fn sequence(
        &self,
        components: &[Component],
        is_open: bool,
        content: &[u8],
    ) -> Result<(), String> {
        let mut rest = content;
        for component in components {
            let name = &component.name;
            let fits = |tag: &u8| self.tags(&component.of).contains(tag);
            if rest.first().is_some_and(fits) {
                let (tag, content, after) = take(rest)?;
                self.content(&component.of, tag, content)
                    .map_err(|problem| format!("{name}: {problem}"))?;
                rest = after;
            } else if !component.is_optional {
                return Err(format!("{name} is missing"));
            }
        }
        if rest.is_empty() || is_open {
            Ok(())
        } else {
            Err("more than the components".to_owned())
        }
    }

    fn constraint(&self, constraint: &Constraint, content: &[u8]) -> Result<(), String> {
        let fits = match constraint {
            Constraint::Size(least, most) => {
                (*least..=*most).contains(&i128::try_from(content.len()).unwrap())
            }
            Constraint::Range(least, most) => {
                integer(content).is_some_and(|value| (*least..=*most).contains(&value))
            }
            Constraint::Oid(name) => {
                let oid: const_oid::ObjectIdentifier = self.dotted(name).parse().unwrap();
                oid.as_bytes() == content
            }
            Constraint::Containing(of) => {
                let (tag, inner, rest) = take(content)?;
                self.content(of, tag, inner)?;
                rest.is_empty() && self.tags(of).contains(&tag)
            }
        };
        if fits {
            Ok(())
        } else {
            Err(format!("not {constraint:?}"))
        }
    }
}

/// Tag, content and what follows of the first element. Low tag numbers, definite and minimal length.
pub fn take(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), String> {
    let cut = || "an element is cut off".to_owned();
    let (tag, rest) = bytes.split_first().ok_or_else(cut)?;
    let (first, rest) = rest.split_first().ok_or_else(cut)?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest
            .split_at_checked(usize::from(first & 0x7F))
            .ok_or_else(cut)?;
        let length = digits
            .iter()
            .fold(0, |length, digit| length << 8 | usize::from(*digit));
        if digits.is_empty() || digits[0] == 0 || length < 0x80 {
            return Err("a length that is not DER".to_owned());
        }
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
    Ok((*tag, content, rest))
}

fn primitive(universal: u8, content: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(content);
    let fits = match universal {
        0x01 => matches!(content, [0x00 | 0xFF]),
        0x02 => integer(content).is_some(),
        0x04 => true,
        0x06 => content.last().is_some_and(|last| *last < 0x80),
        0x0C => text.is_ok(),
        0x13 => text.is_ok_and(|text| {
            text.chars()
                .all(|c| c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c))
        }),
        0x17 | 0x18 => text.is_ok_and(|text| text.ends_with('Z')),
        other => panic!("type {other:02x}"),
    };
    if fits {
        Ok(())
    } else {
        Err(format!("no value of type {universal:02x}"))
    }
}

/// An INTEGER in as few bytes as it needs.
fn integer(content: &[u8]) -> Option<i128> {
    let is_minimal = !matches!(content, [0x00, 0x00..=0x7F, ..] | [0xFF, 0x80..=0xFF, ..]);
    if content.is_empty() || content.len() > 16 || !is_minimal {
        return None;
    }
    let sign = if content[0] < 0x80 { 0 } else { -1 };
    Some(
        content
            .iter()
            .fold(sign, |value, byte| value << 8 | i128::from(*byte)),
    )
}
