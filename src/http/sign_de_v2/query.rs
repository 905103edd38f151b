//! Query strings as tills write them.
//!
//! Taken: question marks too many in front (HTTP dialect 2.0.50), lists as `states=A&states=B`,
//! `states[]=A` and `states[0]=A`, each with brackets written out or percent-encoded.

use crate::http::ErrorCode;

/// The request does not have the form it must have: HTTP 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Malformed {
    /// Error code of the dialect.
    pub code: ErrorCode,
    /// For the developer of the till: names the field, never its value.
    pub message: String,
}

impl Malformed {
    /// `E_FAILED_SCHEMA_VALIDATION`: `place` is `params`, `querystring` or `body`.
    pub fn field(place: &str, field: &str, problem: &str) -> Self {
        Self {
            code: ErrorCode::FailedSchemaValidation,
            message: format!("{place}.{field} {problem}"),
        }
    }

    /// `E_FAILED_SCHEMA_VALIDATION` with this text, which names the field itself.
    pub fn text(message: &str) -> Self {
        Self {
            code: ErrorCode::FailedSchemaValidation,
            message: message.to_owned(),
        }
    }
}

/// The pairs of a query string, decoded, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Splits and decodes the part of a URL after its `?`.
    ///
    /// # Errors
    /// [`Malformed`] when a percent sign is not followed by two hexadecimal digits, or the result is
    /// no UTF-8.
    pub fn parse(query_string: &str) -> Result<Self, Malformed> {
        query_string
            .trim_start_matches('?')
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decode(name)?, decode(value)?))
            })
            .collect::<Option<_>>()
            .map(Self)
            .ok_or_else(|| Malformed::text("querystring should be percent-encoded UTF-8"))
    }

    /// Every pair.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a parameter that comes at most once.
    ///
    /// # Errors
    /// [`Malformed`] when it comes more often.
    pub fn one(&self, name: &str) -> Result<Option<&str>, Malformed> {
        let mut values = self.pairs().filter(|(given, _)| *given == name);
        match (values.next(), values.next()) {
            (first, None) => Ok(first.map(|(_, value)| value)),
            (_, Some(_)) => Err(Malformed::field(
                "querystring",
                name,
                "should be given once",
            )),
        }
    }

    /// The values of a list, in whichever way it was written.
    pub fn many(&self, name: &str) -> Vec<&str> {
        self.pairs()
            .filter(|(given, _)| is_of_list(given, name))
            .map(|(_, value)| value)
            .collect()
    }

    /// A whole number between two bounds.
    ///
    /// # Errors
    /// [`Malformed`] when it is none.
    pub fn integer(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>, Malformed> {
        let malformed = |problem: &str| Malformed::field("querystring", name, problem);
        let Some(text) = self.one(name)? else {
            return Ok(None);
        };
        // `parse` alone would take a plus sign.
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(malformed("should be integer"));
        }
        match text.parse() {
            Ok(number) if number < min => Err(malformed(&format!("should be >= {min}"))),
            Ok(number) if number <= max => Ok(Some(number)),
            Ok(_) | Err(_) => Err(malformed(&format!("should be <= {max}"))),
        }
    }
}

/// `name`, `name[]` or `name[0]`.
fn is_of_list(given: &str, name: &str) -> bool {
    let Some(rest) = given.strip_prefix(name) else {
        return false;
    };
    let index = rest
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    rest.is_empty() || index.is_some_and(|index| index.bytes().all(|byte| byte.is_ascii_digit()))
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let pair = [rest.next()?, rest.next()?];
                let mut decoded = [0];
                hex::decode_to_slice(pair, &mut decoded).ok()?;
                u8::from_be_bytes(decoded)
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
