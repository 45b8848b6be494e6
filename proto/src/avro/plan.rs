//! How a foreign writer's call is read as Flume's: Avro's schema resolution, done once per protocol.
//!
//! wire.md 1.14: the request is decoded with the client's schemas and resolved into the server's. Names of
//! records do not matter, fields are found by name in any order, unknown fields and parameters are passed over,
//! bytes serve as strings and strings as bytes, and where the writer has a union the branch it chose must fit.
//! A field that Flume needs and the writer lacks fails the call, not the handshake, as in Java.

use super::datum::Datum;
use super::events::{EVENT_BYTES_MIN, EventReader, EventSink, EventsError, HEADER_BYTES_MIN};
use super::schema::{Schemas, Type, TypeId, brief};
use std::ops::Range;
use std::sync::Arc;

/// What the writer has where the reader has one type: that type, or a union of which some branches fit.
#[derive(Debug, PartialEq, Eq)]
enum Writer<T> {
    Plain(T),
    Union(Box<[Option<T>]>),
}

impl<T> Writer<T> {
    fn resolve(
        schemas: &Schemas,
        id: TypeId,
        fits: impl Fn(&Schemas, TypeId) -> Result<T, String>,
    ) -> Result<Self, String> {
        let Type::Union(branches) = schemas.get(id) else {
            return fits(schemas, id).map(Self::Plain);
        };
        let mut refusal = String::from("Found an empty union");
        let held = branches
            .iter()
            .map(|of| fits(schemas, *of).map_err(|error| refusal = error).ok())
            .collect();
        let held: Box<[Option<T>]> = held;
        if held.iter().all(Option::is_none) {
            Err(refusal)
        } else {
            Ok(Self::Union(held))
        }
    }

    fn choose(&self, data: &mut Datum<'_>) -> Result<&T, EventsError> {
        match self {
            Self::Plain(of) => Ok(of),
            Self::Union(branches) => {
                let branch = data.branch(branches.len())?;
                let misfit =
                    || EventsError::Schema(format!("Found branch {branch} of a union, which does not fit"));
                branches[branch].as_ref().ok_or_else(misfit)
            }
        }
    }
}

/// A value that is length and bytes.
#[derive(Debug, PartialEq, Eq)]
struct Text;

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Skip(TypeId),
    Headers(Writer<Writer<Text>>),
    Body(Writer<Text>),
}

#[derive(Debug, PartialEq, Eq)]
struct EventPlan(Box<[Step]>);

#[derive(Debug, PartialEq, Eq)]
enum Parameter {
    Skip(TypeId),
    Event(Writer<EventPlan>),
    Events(Writer<Writer<EventPlan>>),
}

/// Which parameter a message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// `event`, of `append`
    Event,
    /// `events`, of `appendBatch`
    Events,
}

/// How to read the parameters of one message.
#[derive(Debug)]
pub(super) struct Plan {
    schemas: Arc<Schemas>,
    parameters: Box<[Parameter]>,
}

impl Plan {
    /// Resolves the writer's parameters, read as a record, into Flume's.
    pub fn resolve(schemas: &Arc<Schemas>, request: &Type, wanted: Wanted) -> Result<Self, String> {
        let name = match wanted {
            Wanted::Event => "event",
            Wanted::Events => "events",
        };
        let parameters = steps(request, &[name], |field, of| {
            Ok(match field {
                None => skip(schemas, of).map(Parameter::Skip),
                Some(_) if wanted == Wanted::Event => {
                    Some(Parameter::Event(Writer::resolve(schemas, of, event)?))
                }
                Some(_) => Some(Parameter::Events(Writer::resolve(schemas, of, events)?)),
            })
        })?;
        Ok(Self {
            schemas: Arc::clone(schemas),
            parameters,
        })
    }

    /// Whether the writer's schemas are Flume's own in all that shows in the bytes.
    pub fn is_own(&self) -> bool {
        let own = |event: &EventPlan| {
            *event.0
                == [
                    Step::Headers(Writer::Plain(Writer::Plain(Text))),
                    Step::Body(Writer::Plain(Text)),
                ]
        };
        match &*self.parameters {
            [Parameter::Event(Writer::Plain(event))] => own(event),
            [Parameter::Events(Writer::Plain(Writer::Plain(event)))] => own(event),
            _ => false,
        }
    }

    fn read_event<S: EventSink>(
        &self,
        plan: &EventPlan,
        data: &mut Datum<'_>,
        sink: &mut S,
    ) -> Result<(), EventsError> {
        let mut body: Range<usize> = 0..0;
        for step in &plan.0 {
            match step {
                Step::Skip(of) => self.schemas.skip(*of, data)?,
                Step::Body(text) => body = read_text(text, data)?,
                Step::Headers(map) => {
                    let values = map.choose(data)?;
                    while let Some(block) = data.block(HEADER_BYTES_MIN)? {
                        for _ in 0..block.items {
                            let key = data.bytes()?;
                            let value = read_text(values, data)?;
                            sink.header(data.input(), key, value)?;
                        }
                    }
                }
            }
        }
        sink.end(data.input(), body)?;
        Ok(())
    }
}

impl EventReader for Plan {
    fn read<S: EventSink>(&self, data: &mut Datum<'_>, sink: &mut S) -> Result<(), EventsError> {
        for parameter in &self.parameters {
            match parameter {
                Parameter::Skip(of) => self.schemas.skip(*of, data)?,
                Parameter::Event(event) => self.read_event(event.choose(data)?, data, sink)?,
                Parameter::Events(array) => {
                    let items = array.choose(data)?;
                    while let Some(block) = data.block(EVENT_BYTES_MIN)? {
                        sink.reserve(block.items);
                        for _ in 0..block.items {
                            self.read_event(items.choose(data)?, data, sink)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn read_text(text: &Writer<Text>, data: &mut Datum<'_>) -> Result<Range<usize>, EventsError> {
    text.choose(data)?;
    Ok(data.bytes()?)
}

/// Turns the fields of a record into steps; `step` gets the index in `names` of a field that is wanted.
fn steps<T>(
    record: &Type,
    names: &[&str],
    mut step: impl FnMut(Option<usize>, TypeId) -> Result<Option<T>, String>,
) -> Result<Box<[T]>, String> {
    let Type::Record { fields, .. } = record else {
        return Err(format!("Found {}, expecting a record", kind(record)));
    };
    if let Some(missing) = names
        .iter()
        .find(|name| fields.iter().all(|field| &*field.name != **name))
    {
        return Err(format!("Found a record, missing required field {missing}"));
    }
    fields
        .iter()
        .filter_map(|field| {
            step(names.iter().position(|name| *name == &*field.name), field.of)
                .map_err(|error| format!("{}: {error}", brief(&field.name)))
                .transpose()
        })
        .collect()
}

/// What to pass over, if it takes any bytes: a step per event and field must be paid for by the sender.
fn skip(schemas: &Schemas, id: TypeId) -> Option<TypeId> {
    (!schemas.takes_no_bytes(id)).then_some(id)
}

fn events(schemas: &Schemas, id: TypeId) -> Result<Writer<EventPlan>, String> {
    match schemas.get(id) {
        Type::Array(items) => Writer::resolve(schemas, *items, event),
        other => Err(format!("Found {}, expecting array", kind(other))),
    }
}

fn event(schemas: &Schemas, id: TypeId) -> Result<EventPlan, String> {
    let steps = steps(schemas.get(id), &["headers", "body"], |field, of| {
        Ok(match field {
            None => skip(schemas, of).map(Step::Skip),
            Some(0) => Some(Step::Headers(Writer::resolve(schemas, of, headers)?)),
            Some(_) => Some(Step::Body(Writer::resolve(schemas, of, text)?)),
        })
    })?;
    Ok(EventPlan(steps))
}

fn headers(schemas: &Schemas, id: TypeId) -> Result<Writer<Text>, String> {
    match schemas.get(id) {
        Type::Map(values) => Writer::resolve(schemas, *values, text),
        other => Err(format!("Found {}, expecting map", kind(other))),
    }
}

fn text(schemas: &Schemas, id: TypeId) -> Result<Text, String> {
    match schemas.get(id) {
        Type::Bytes | Type::String => Ok(Text),
        other => Err(format!("Found {}, expecting string or bytes", kind(other))),
    }
}

fn kind(of: &Type) -> &'static str {
    match of {
        Type::Null => "null",
        Type::Boolean => "boolean",
        Type::Varint => "int or long",
        Type::Fixed(_) => "float, double or fixed",
        Type::Bytes => "bytes",
        Type::String => "string",
        Type::Enum(_) => "enum",
        Type::Array(_) => "array",
        Type::Map(_) => "map",
        Type::Union(_) => "union",
        Type::Record { .. } | Type::Open => "record",
    }
}
