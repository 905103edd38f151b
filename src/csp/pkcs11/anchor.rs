//! The anchor against rollback: a data object on the token that says how far a ledger was (PKCS#11
//! digest §7).
//!
//! Not every module can change the value of a data object, so a new one is made before the old one is
//! destroyed. Whoever reads finds one or both, and the highest counts.

use super::attachment::Attachment;
use super::errors::Trouble;
use super::gate::lock;
use crate::csp::Anchor;
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// Label of all anchors.
const LABEL: &[u8] = b"siegel-anchor";
/// First line of a value.
const FIRST_LINE: &str = "siegel anchor 1";
/// Longest value that is looked at, in bytes.
const VALUE_BYTES_MAX: usize = 1024;

/// Three lines and their hash: a value that was cut short or rewritten does not count.
fn encode(anchor: &Anchor) -> String {
    let Anchor { ledger, spent } = anchor;
    let text = format!("{FIRST_LINE}\n{ledger}\n{spent}\n");
    let digest = hex::encode(Sha256::digest(&text));
    format!("{text}{digest}\n")
}

fn decode(value: &[u8]) -> Option<Anchor> {
    let text = std::str::from_utf8(value).ok()?;
    let mut lines = text.lines();
    let (first, ledger, spent) = (lines.next()?, lines.next()?, lines.next()?);
    let anchor = Anchor {
        ledger: ledger.to_owned(),
        spent: spent.parse().ok()?,
    };
    (first == FIRST_LINE && encode(&anchor) == text).then_some(anchor)
}

fn template(anchor: &Anchor) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(LABEL.to_vec()),
        Attribute::Application(anchor.ledger.clone().into_bytes()),
        Attribute::Value(encode(anchor).into_bytes()),
    ]
}

/// All valid anchors, also of other ledgers.
fn find(session: &Session) -> Result<Vec<(ObjectHandle, Anchor)>, Trouble> {
    let objects = session.find_objects(&[
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Label(LABEL.to_vec()),
    ])?;
    let mut found = Vec::with_capacity(objects.len());
    for object in objects {
        found.extend(read(session, object)?.map(|anchor| (object, anchor)));
    }
    Ok(found)
}

/// The valid anchor of this handle; `None` when it is something else, or was destroyed by another node.
fn read(session: &Session, object: ObjectHandle) -> Result<Option<Anchor>, Trouble> {
    let attributes = match session.get_attributes(object, &[AttributeType::Value]) {
        Ok(attributes) => attributes,
        Err(Error::Pkcs11(RvError::ObjectHandleInvalid, _)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    for attribute in attributes {
        if let Attribute::Value(value) = attribute
            && value.len() <= VALUE_BYTES_MAX
        {
            return Ok(decode(&value));
        }
    }
    Ok(None)
}

/// Destroys an anchor that is lower than one beside it. It is read once more: since it was found, its handle
/// may have got another meaning.
fn destroy_lower(session: &Session, object: ObjectHandle, than: &Anchor) -> Result<(), Trouble> {
    let is_lower = |found: Anchor| found.ledger == than.ledger && found.spent < than.spent;
    if read(session, object)?.is_some_and(is_lower) {
        session.destroy_object(object)?;
    }
    Ok(())
}

impl Attachment {
    /// Reads all anchors and remembers where they are: a search may read every object of the token, so
    /// writing does not search.
    pub(super) fn anchors(&self, wait: Duration) -> Result<Vec<Anchor>, Trouble> {
        // Held meanwhile, so that what is being written is not forgotten.
        let mut known = lock(&self.anchors);
        *known = self.pool.take(wait)?.run(find)?;
        Ok(known.iter().map(|(_, anchor)| anchor.clone()).collect())
    }

    /// Writes an anchor unless one is known that is as high, then destroys those of the same ledger that are
    /// known and lower.
    pub(super) fn write_anchor(&self, session: &Session, anchor: &Anchor) -> Result<(), Trouble> {
        let mut known = lock(&self.anchors);
        let of_ledger = known
            .iter()
            .filter(|(_, known)| known.ledger == anchor.ledger);
        let highest = of_ledger.map(|(_, known)| known.spent).max();
        if highest.is_some_and(|highest| highest > anchor.spent) {
            // What the token knows is never made less.
            return Ok(());
        }
        if highest != Some(anchor.spent) {
            let new = session.create_object(&template(anchor))?;
            known.push((new, anchor.clone()));
        }
        let is_lower = |(_, known): &mut (ObjectHandle, Anchor)| {
            known.ledger == anchor.ledger && known.spent < anchor.spent
        };
        let lower: Vec<_> = known.extract_if(.., is_lower).collect();
        for (object, _) in lower {
            if let Err(trouble) = destroy_lower(session, object, anchor) {
                // It is lower than what stands beside it, so it does no harm.
                let answer = trouble.describe();
                tracing::debug!(%answer, "an old anchor could not be destroyed");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_that_was_touched_does_not_count() {
        let anchor = Anchor {
            ledger: "4b8c".to_owned(),
            spent: 4711,
        };
        let value = encode(&anchor);
        assert_eq!(decode(value.as_bytes()), Some(anchor));
        for wrong in [value.replace("4711", "4712"), value.replace('\n', "\r\n")] {
            assert_eq!(decode(wrong.as_bytes()), None, "{wrong:?}");
        }
        for length in 0..value.len() {
            assert_eq!(decode(&value.as_bytes()[..length]), None);
        }
    }
}
