//! The forms of a taximeter's data, and a reader that writes and echoes what it reads.

use super::super::refusal::{At, SchemaError, optional};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Up to 16 digits, a point, three digits.
    Kilometers,
    /// Up to 16 digits, a point, two digits; may be negative.
    Money,
    /// Digits only, at most so many.
    Digits(usize),
    /// At least one character and at most so many, without `_`, `/` and `^`.
    Name(usize),
    /// At most 50 characters: a manufacturer or a model. Separators in it become blanks.
    Label,
    /// A date and time as the meter writes it.
    Time,
}

const LABEL_LEN_MAX: usize = 50;
const TIME_LEN_MAX: usize = 40;
const INTEGER_DIGITS_MAX: usize = 16;

impl Form {
    /// # Errors
    /// The text has another form.
    pub(super) fn check(self, at: At<'_>, field: &str, text: &str) -> Result<(), SchemaError> {
        let len = text.chars().count();
        let (fits, problem) = match self {
            Self::Kilometers => (
                has_decimals(text, 3),
                "should be up to 16 digits, a point and three decimals",
            ),
            Self::Money => (
                has_decimals(text.strip_prefix('-').unwrap_or(text), 2),
                "should be up to 16 digits, a point and two decimals",
            ),
            Self::Digits(max) => (
                is_digits(text) && len <= max,
                "should be digits, and not more than fit",
            ),
            Self::Name(max) => (
                (1..=max).contains(&len) && !text.contains(['_', '/', '^']),
                "should be a name without _, / and ^, and not longer than fits",
            ),
            Self::Label => (
                len <= LABEL_LEN_MAX,
                "should NOT be longer than 50 characters",
            ),
            Self::Time => (
                (1..=TIME_LEN_MAX).contains(&len) && !text.contains(['_', '^']),
                "should be a date and time",
            ),
        };
        fits.then_some(()).ok_or_else(|| at.wrong(field, problem))
    }

    /// A text of this form in processData.
    fn written(self, text: &str) -> String {
        match self {
            // A strange name of a model must not keep a meter from signing.
            Self::Label => text.replace(['_', '^'], " "),
            // Zero has no sign.
            Self::Money => match text.strip_prefix('-') {
                Some(digits) if digits.bytes().all(|byte| matches!(byte, b'0' | b'.')) => {
                    digits.to_owned()
                }
                Some(_) | None => text.to_owned(),
            },
            Self::Kilometers | Self::Digits(_) | Self::Name(_) | Self::Time => text.to_owned(),
        }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn has_decimals(text: &str, decimals: usize) -> bool {
    text.split_once('.').is_some_and(|(integer, fraction)| {
        is_digits(integer)
            && integer.len() <= INTEGER_DIGITS_MAX
            && is_digits(fraction)
            && fraction.len() == decimals
    })
}

/// One object of the request: reads its fields, and keeps how they are written and echoed.
pub(super) struct Fields {
    path: String,
    given: Map<String, Value>,
    parts: Vec<String>,
    groups: Vec<String>,
    echo: BTreeMap<String, Value>,
}

impl Fields {
    pub(super) fn of(path: &str, value: &Value) -> Result<Self, SchemaError> {
        Ok(Self {
            path: path.to_owned(),
            given: At::new(path).object(value)?,
            parts: Vec::new(),
            groups: Vec::new(),
            echo: BTreeMap::new(),
        })
    }

    /// Reads a field that must be there, the next part of this object's own group.
    pub(super) fn part(&mut self, name: &str, form: Form) -> Result<(), SchemaError> {
        let at = At::new(&self.path);
        let text = at.text(&self.given, name)?;
        form.check(at, name, &text)?;
        self.keep(name, form.written(&text), text);
        Ok(())
    }

    /// The same for a field that may be left out.
    pub(super) fn part_or(
        &mut self,
        name: &str,
        form: Form,
        default: &str,
    ) -> Result<(), SchemaError> {
        if optional(&self.given, name).is_some() {
            return self.part(name, form);
        }
        self.keep(name, default.to_owned(), default.to_owned());
        Ok(())
    }

    /// Reads a field that is one of some words, each with the word that is written for it.
    pub(super) fn choice(
        &mut self,
        name: &str,
        words: &[(&str, &'static str)],
    ) -> Result<(), SchemaError> {
        let at = At::new(&self.path);
        let text = at.text(&self.given, name)?;
        let word = words.iter().find(|(given, _)| *given == text);
        let problem = "should be equal to one of the allowed values";
        let (_, written) = word.ok_or_else(|| at.wrong(name, problem))?;
        self.keep(name, (*written).to_owned(), text);
        Ok(())
    }

    /// Reads an object within, a group of its own.
    pub(super) fn group(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> Result<(), SchemaError>,
    ) -> Result<(), SchemaError> {
        self.nested(name, |path, value| {
            let mut fields = Self::of(path, value)?;
            read(&mut fields)?;
            Ok(fields.done())
        })
    }

    /// Reads a field by a function that tells how it is written, a group of its own, and echoed.
    pub(super) fn nested(
        &mut self,
        name: &str,
        read: impl FnOnce(&str, &Value) -> Result<(String, Value), SchemaError>,
    ) -> Result<(), SchemaError> {
        let at = At::new(&self.path);
        let (group, echo) = read(&at.name(name), at.required(&self.given, name)?)?;
        self.groups.push(group);
        self.echo.insert(name.to_owned(), echo);
        Ok(())
    }

    /// How the object is written, its own parts first, and its echo with sorted keys.
    pub(super) fn done(mut self) -> (String, Value) {
        if !self.parts.is_empty() {
            self.groups.insert(0, self.parts.join("_"));
        }
        let echo = Value::Object(self.echo.into_iter().collect());
        (self.groups.join("^"), echo)
    }

    fn keep(&mut self, name: &str, written: String, given: String) {
        self.parts.push(written);
        self.echo.insert(name.to_owned(), Value::from(given));
    }
}
