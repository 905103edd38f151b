//! What known system events contain, and how much of it is understood.
//!
//! This table is separate from the writer's on purpose: it also knows the events of other makers,
//! and a mistake in one of the two does not hide in the other.

use super::read::{LogTime, ReadError, ReadEvent, Tolerated};
use super::tlv::{Cursor, Element, Notes, tag};

/// A field of an event.
struct Field {
    shape: Shape,
    mandatory: bool,
}

enum Shape {
    Text,
    Boolean,
    Enumerated,
    Integer,
    Time,
    /// SEQUENCE.
    Group(&'static [Field]),
    /// SEQUENCE OF SEQUENCE; in v2 inside an OCTET STRING.
    List(&'static [Field]),
}

use Shape::{Boolean, Enumerated, Group, Integer, List, Text, Time};

const fn must(shape: Shape) -> Field {
    Field {
        shape,
        mandatory: true,
    }
}

const fn may(shape: Shape) -> Field {
    Field {
        shape,
        mandatory: false,
    }
}

const NOTHING: &[Field] = &[];
const TEXT: &[Field] = &[must(Text)];
const USER: &[Field] = TEXT;
const USER_AND_OUTCOME: &[Field] = &[must(Text), must(Enumerated)];
const TWO_TIMES: &[Field] = &[must(Time), must(Time)];
const SWITCH: &[Field] = &[must(Text), must(Boolean)];
const DEVICE: &[Field] = &[must(Text), must(Text), must(Text), must(Text), may(Text)];
const SLEW: &[Field] = &[must(Integer), must(Integer)];
const COMPONENT_TEST: &[Field] = &[must(Text), must(Boolean), may(Text), may(Time)];
const CONFIGURED: &[Field] = &[must(Text), must(Boolean), must(List(SWITCH))];

/// TR-03151 v1.0.1 §6 with its amendment; application notes to TR-03153 §4.
fn fields_v2(name: &str) -> Option<&'static [Field]> {
    Some(match name {
        "initialize" => TEXT,
        "updateTime" => TWO_TIMES,
        "disableSecureElement" => const { &[must(Time)] },
        "authenticateUser" => const { &[must(Text), must(Enumerated), must(Boolean)] },
        "logOut" | "unblockUser" => USER_AND_OUTCOME,
        "authenticateSmaersAdmin" => {
            const { &[must(Text), may(Text), must(Boolean), may(Integer)] }
        }
        "updateDevice" => const { &[must(Text), must(List(DEVICE))] },
        "updateDeviceCompleted" => const { &[must(Enumerated), may(Text), must(List(DEVICE))] },
        "startAudit" | "exitSecureState" => NOTHING,
        "configureLogging" => const { &[must(Text), must(Boolean), may(List(SWITCH))] },
        "enterSecureState" => const { &[may(Time)] },
        "selfTest" => COMPONENT_TEST,
        "deleteStoredData" | "lockTransactionLogging" | "unlockTransactionLogging" => USER,
        "registerClient" | "deregisterClient" => TEXT,
        _ => return None,
    })
}

/// TR-03151-1 v1.1.1 Appendix E.3 and E.4; TR-03153-1 §9.8.
fn fields_v3(name: &str) -> Option<&'static [Field]> {
    Some(match name {
        "initialize"
        | "disableSecureElement"
        | "deleteLogMessages"
        | "lockTransactionLogging"
        | "unlockTransactionLogging"
        | "startAudit"
        | "exitSecureState" => NOTHING,
        "setDescription" => TEXT,
        "updateTime" => const { &[must(Time), must(Time), may(Group(SLEW))] },
        "authenticateUser" => const { &[must(Text), must(Text), must(Enumerated), must(Integer)] },
        "logOut" | "unblockPin" => USER_AND_OUTCOME,
        "updateDevice" => const { &[must(List(DEVICE))] },
        "updateDeviceCompleted" => const { &[must(Enumerated), may(Text), must(List(DEVICE))] },
        "registerClient" | "deregisterClient" => TEXT,
        "selfTest" => const { &[must(List(COMPONENT_TEST)), must(Boolean)] },
        "configureLogging" => const { &[must(List(CONFIGURED))] },
        "authenticateSmaAdmin" => const { &[may(Text), must(Boolean), may(Integer)] },
        "enterSecureState" => const { &[may(Time)] },
        _ => return None,
    })
}

/// Reads the content of an event. `data` is systemOperationData (v2) or eventData (v3).
pub(super) fn read_event(
    version: u8,
    event_type: &str,
    data: Element<'_>,
    notes: &mut Notes,
) -> ReadEvent {
    // The examples of TR-03151 v1.0.1 print `UpdateTime`, devices write `updateTime`.
    let name: String = event_type
        .chars()
        .enumerate()
        .map(|(at, c)| if at == 0 { c.to_ascii_lowercase() } else { c })
        .collect();
    let (tags, fields) = match version {
        2 => (Tags::Positions { first: 1 }, fields_v2(&name)),
        _ => (Tags::Universal, fields_v3(&name)),
    };
    let Some(fields) = fields else {
        return ReadEvent::Unknown;
    };
    let mut found = Found::default();
    match found.walk(data.cursor(), tags, fields) {
        Ok(()) => {
            notes.append(&mut found.notes);
            let mut times = found.times.into_iter();
            let is_client = matches!(name.as_str(), "registerClient" | "deregisterClient");
            ReadEvent::Known {
                time_update: (name == "updateTime")
                    .then(|| times.next().zip(times.next()))
                    .flatten(),
                client_id: found.first_text.filter(|_| is_client),
            }
        }
        Err(_) => ReadEvent::Malformed,
    }
}

/// How fields are told apart.
#[derive(Clone, Copy)]
enum Tags {
    /// v2: each position has its own context tag.
    Positions { first: u8 },
    /// v3: each field has the tag of its type.
    Universal,
}

/// What the walk picked up on its way. Bounded: two times, one text.
#[derive(Default)]
struct Found {
    times: Vec<LogTime>,
    first_text: Option<String>,
    notes: Notes,
}

impl Found {
    /// Recurses as deep as the tables nest, three levels at most.
    fn walk(
        &mut self,
        mut cursor: Cursor<'_>,
        tags: Tags,
        fields: &'static [Field],
    ) -> Result<(), ReadError> {
        for (position, field) in (0..).zip(fields) {
            let fits = cursor.peek().is_some_and(|next| match tags {
                Tags::Positions { first } => next == tag::context(first + position),
                Tags::Universal => field.shape.has_universal_tag(next),
            });
            if fits {
                let element = cursor.next(&mut self.notes)?;
                self.field(element, tags, &field.shape)?;
            } else if field.mandatory {
                return Err(cursor.error("a mandatory field was expected"));
            }
        }
        if !cursor.is_empty() {
            self.notes.insert(Tolerated::TrailingEventData);
        }
        Ok(())
    }

    fn field(&mut self, element: Element<'_>, tags: Tags, shape: &Shape) -> Result<(), ReadError> {
        match shape {
            Text => {
                let text = element.text(&mut self.notes);
                self.first_text.get_or_insert(text);
            }
            Boolean => {
                element.boolean(&mut self.notes)?;
            }
            Enumerated | Integer => {
                element.signed(&mut self.notes)?;
            }
            Time => self.time(element)?,
            Group(fields) => self.walk(element.cursor(), tags, fields)?,
            List(fields) => {
                let (mut groups, tags) = match tags {
                    Tags::Positions { .. } => {
                        let mut wrapped = element.cursor();
                        let list = wrapped.expect(tag::SEQUENCE, "a list", &mut self.notes)?;
                        wrapped.end("nothing after the list")?;
                        (list.cursor(), Tags::Positions { first: 0 })
                    }
                    Tags::Universal => (element.cursor(), tags),
                };
                while !groups.is_empty() {
                    let group = groups.expect(tag::SEQUENCE, "a group", &mut self.notes)?;
                    self.walk(group.cursor(), tags, fields)?;
                }
            }
        }
        Ok(())
    }

    fn time(&mut self, element: Element<'_>) -> Result<(), ReadError> {
        let time = match element.tag {
            tag::UTC_TIME => LogTime::Utc(element.text(&mut self.notes)),
            tag::GENERALIZED_TIME => LogTime::Generalized(element.text(&mut self.notes)),
            tag::INTEGER => LogTime::Unix(element.signed(&mut self.notes)?),
            _ => match LogTime::from_untagged_text(element.content) {
                Some(time) => time,
                None => LogTime::Unix(element.signed(&mut self.notes)?),
            },
        };
        if time.unix_seconds().is_none() {
            return Err(element.error("a time was expected"));
        }
        if self.times.len() < 2 {
            self.times.push(time);
        }
        Ok(())
    }
}

impl Shape {
    fn has_universal_tag(&self, found: u8) -> bool {
        match self {
            Text => found == tag::PRINTABLE_STRING,
            Boolean => found == tag::BOOLEAN,
            Enumerated => found == tag::ENUMERATED,
            Integer => found == tag::INTEGER,
            Time => [tag::UTC_TIME, tag::GENERALIZED_TIME, tag::INTEGER].contains(&found),
            Group(_) | List(_) => found == tag::SEQUENCE,
        }
    }
}
