//! Foreign Avro schemas: read from a protocol's JSON, kept in a flat table, used to pass over their values.
//!
//! Every peer may bring a protocol text of its own (wire.md 1.14). Only the shape of its types matters here:
//! docs, namespaces, defaults, aliases and properties are not kept. Limits stand against hostile texts, and
//! passing over a value takes time in proportion to its bytes: values that take no bytes (null, a record of
//! nulls) are never visited, and values nest at most [`VALUE_DEPTH_MAX`] deep.

use super::datum::Datum;
use crate::cursor::DecodeError;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Types in one protocol, counting each place where an unnamed type is written.
pub const TYPES_MAX: usize = 1_000;
/// How deep types may be written inside each other.
pub const NESTING_MAX: usize = 32;
/// How deep values may nest, by way of recursive types.
pub const VALUE_DEPTH_MAX: usize = 64;

/// Place of a type in its table.
pub(super) type TypeId = usize;

#[derive(Debug)]
pub(super) struct Field {
    pub name: Box<str>,
    pub of: TypeId,
}

#[derive(Debug)]
pub(super) enum Type {
    Null,
    Boolean,
    /// int and long
    Varint,
    /// float, double and fixed: so many bytes
    Fixed(usize),
    Bytes,
    String,
    Enum(Box<[Box<str>]>),
    Array(TypeId),
    Map(TypeId),
    Union(Box<[TypeId]>),
    Record {
        fields: Box<[Field]>,
        /// The types of the fields that take bytes.
        sized: Box<[TypeId]>,
    },
    /// A record whose fields are being read.
    Open,
}

/// The first places of every table.
pub(super) const PRIMITIVES: [(&str, Type); 8] = [
    ("null", Type::Null),
    ("boolean", Type::Boolean),
    ("int", Type::Varint),
    ("long", Type::Varint),
    ("float", Type::Fixed(4)),
    ("double", Type::Fixed(8)),
    ("bytes", Type::Bytes),
    ("string", Type::String),
];

/// The types of one protocol.
#[derive(Debug)]
pub(super) struct Schemas {
    types: Vec<Type>,
    names: BTreeMap<String, TypeId>,
}

impl Schemas {
    pub fn new() -> Self {
        Self {
            types: PRIMITIVES.map(|(_, of)| of).into(),
            names: BTreeMap::new(),
        }
    }

    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id]
    }

    /// How many types there are.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// The full name of a named type; empty for all others.
    pub fn name_of(&self, id: TypeId) -> &str {
        let found = self.names.iter().find(|(_, named)| **named == id);
        found.map_or("", |(name, _)| name)
    }

    /// Reads the schema `json`; `space` is the enclosing namespace.
    pub fn read(&mut self, json: &Value, space: &str, depth: usize) -> Result<TypeId, String> {
        if depth > NESTING_MAX {
            return Err(format!("types nested deeper than {NESTING_MAX}"));
        }
        match json {
            Value::String(name) => self.named(name, space),
            Value::Array(branches) => self.read_union(branches, space, depth),
            Value::Object(object) => match object.get("type") {
                Some(Value::String(kind)) => self.read_object(kind, object, space, depth),
                Some(inner) => self.read(inner, space, depth + 1),
                None => Err("a type without \"type\"".into()),
            },
            other => Err(format!("no type: {}", brief(&other.to_string()))),
        }
    }

    fn named(&self, name: &str, space: &str) -> Result<TypeId, String> {
        if let Some(at) = PRIMITIVES.iter().position(|(primitive, _)| *primitive == name) {
            return Ok(at);
        }
        let (_, full) = full_name(name, None, space);
        self.names
            .get(&full)
            .or_else(|| self.names.get(name))
            .copied()
            .ok_or_else(|| format!("undefined name: {}", brief(&full)))
    }

    fn read_object(
        &mut self,
        kind: &str,
        object: &Map<String, Value>,
        space: &str,
        depth: usize,
    ) -> Result<TypeId, String> {
        match kind {
            "record" | "error" => self.read_record(object, space, depth),
            "enum" => {
                let symbols = strings(object, "symbols")?;
                self.define(object, space, Type::Enum(symbols)).map(|(id, _)| id)
            }
            "fixed" => {
                let size = object
                    .get("size")
                    .and_then(Value::as_u64)
                    .and_then(|n| usize::try_from(n).ok());
                let size = size.ok_or("a fixed without \"size\"")?;
                self.define(object, space, Type::Fixed(size)).map(|(id, _)| id)
            }
            "array" => {
                let items = self.read(
                    object.get("items").ok_or("an array without \"items\"")?,
                    space,
                    depth + 1,
                )?;
                self.push(Type::Array(items))
            }
            "map" => {
                let values = self.read(
                    object.get("values").ok_or("a map without \"values\"")?,
                    space,
                    depth + 1,
                )?;
                self.push(Type::Map(values))
            }
            name => self.named(name, space),
        }
    }

    fn read_union(&mut self, branches: &[Value], space: &str, depth: usize) -> Result<TypeId, String> {
        let mut ids = Vec::new();
        let mut seen = BTreeSet::new();
        for branch in branches {
            let id = self.read(branch, space, depth + 1)?;
            // Named types are told apart by name, all others by kind.
            let kind = match self.types[id] {
                Type::Array(_) => "array",
                Type::Map(_) => "map",
                Type::Union(_) => return Err("a union inside of a union".into()),
                _ => "",
            };
            if !seen.insert((kind, if kind.is_empty() { id } else { 0 })) {
                return Err("the same type twice in a union".into());
            }
            ids.push(id);
        }
        self.push(Type::Union(ids.into()))
    }

    fn read_record(
        &mut self,
        object: &Map<String, Value>,
        space: &str,
        depth: usize,
    ) -> Result<TypeId, String> {
        let (id, space) = self.define(object, space, Type::Open)?;
        let list = object
            .get("fields")
            .and_then(Value::as_array)
            .ok_or("a record without \"fields\"")?;
        self.types[id] = self.read_fields(list, &space, depth)?;
        Ok(id)
    }

    /// Reads the fields of a record, or the parameters of a message, which are just that.
    pub fn read_fields(&mut self, list: &[Value], space: &str, depth: usize) -> Result<Type, String> {
        let mut fields: Vec<Field> = Vec::with_capacity(list.len());
        let mut names = BTreeSet::new();
        for field in list {
            let name = field
                .get("name")
                .and_then(Value::as_str)
                .ok_or("a field without \"name\"")?;
            if !names.insert(name) {
                return Err(format!("the field {} twice in a record", brief(name)));
            }
            let of = field
                .get("type")
                .ok_or_else(|| format!("the field {} without \"type\"", brief(name)))?;
            let of = self.read(of, space, depth + 1)?;
            fields.push(Field {
                name: name.into(),
                of,
            });
        }
        let sized = fields
            .iter()
            .map(|field| field.of)
            .filter(|of| !self.takes_no_bytes(*of))
            .collect();
        Ok(Type::Record {
            fields: fields.into(),
            sized,
        })
    }

    /// A record still open contains itself, so it is not empty unless it is impossible.
    pub fn takes_no_bytes(&self, id: TypeId) -> bool {
        match &self.types[id] {
            Type::Null | Type::Fixed(0) => true,
            Type::Record { sized, .. } => sized.is_empty(),
            _ => false,
        }
    }

    /// Enters a named type and returns the namespace inside of it.
    fn define(
        &mut self,
        object: &Map<String, Value>,
        space: &str,
        of: Type,
    ) -> Result<(TypeId, String), String> {
        let name = object
            .get("name")
            .and_then(Value::as_str)
            .ok_or("a named type without \"name\"")?;
        let (space, full) = full_name(name, object.get("namespace").and_then(Value::as_str), space);
        let id = self.push(of)?;
        match self.names.insert(full, id) {
            None => Ok((id, space)),
            Some(_) => Err(format!("can't redefine: {}", brief(name))),
        }
    }

    fn push(&mut self, of: Type) -> Result<TypeId, String> {
        if self.types.len() - PRIMITIVES.len() >= TYPES_MAX {
            return Err(format!("more than {TYPES_MAX} types"));
        }
        self.types.push(of);
        Ok(self.types.len() - 1)
    }

    /// Passes over one value.
    pub fn skip(&self, id: TypeId, data: &mut Datum<'_>) -> Result<(), DecodeError> {
        self.skip_value(id, data, 0)
    }

    fn skip_value(&self, id: TypeId, data: &mut Datum<'_>, depth: usize) -> Result<(), DecodeError> {
        if depth > VALUE_DEPTH_MAX {
            return Err(data.error("values nested at most 64 deep"));
        }
        match &self.types[id] {
            Type::Null => Ok(()),
            Type::Boolean => data.boolean().map(drop),
            Type::Varint | Type::Enum(_) => data.long().map(drop),
            Type::Fixed(n) => data.skip(*n),
            Type::Bytes | Type::String => data.bytes().map(drop),
            Type::Array(items) => self.skip_blocks(*items, 0, data, depth),
            Type::Map(values) => self.skip_blocks(*values, 1, data, depth),
            Type::Union(branches) => {
                let branch = data.branch(branches.len())?;
                self.skip_value(branches[branch], data, depth + 1)
            }
            Type::Record { sized, .. } => sized
                .iter()
                .try_for_each(|of| self.skip_value(*of, data, depth + 1)),
            Type::Open => Err(data.error("a value of a complete type")),
        }
    }

    /// `keys` is 1 for a map, whose items start with a key, and 0 for an array.
    fn skip_blocks(
        &self,
        of: TypeId,
        keys: usize,
        data: &mut Datum<'_>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        let no_bytes = self.takes_no_bytes(of);
        while let Some(block) = data.block(keys + usize::from(!no_bytes))? {
            if let Some(bytes) = block.bytes {
                data.skip_declared(bytes)?;
                continue;
            }
            if keys == 0 && no_bytes {
                continue;
            }
            for _ in 0..block.items {
                if keys == 1 {
                    data.bytes()?;
                }
                self.skip_value(of, data, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// The namespace and the full name of a type.
fn full_name(name: &str, space: Option<&str>, enclosing: &str) -> (String, String) {
    match name.rsplit_once('.') {
        Some((space, _)) => (space.to_owned(), name.to_owned()),
        None => match space.unwrap_or(enclosing) {
            "" => (String::new(), name.to_owned()),
            space => (space.to_owned(), format!("{space}.{name}")),
        },
    }
}

fn strings(object: &Map<String, Value>, key: &str) -> Result<Box<[Box<str>]>, String> {
    let list = object.get(key).and_then(Value::as_array);
    let list = list.and_then(|list| list.iter().map(|item| item.as_str().map(Into::into)).collect());
    list.ok_or_else(|| format!("no list of strings: {key:?}"))
}

/// A piece of a peer's text that is short enough to be repeated to an operator.
pub(super) fn brief(text: &str) -> &str {
    const BYTES_MAX: usize = 256;
    &text[..text.floor_char_boundary(BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(Schemas, TypeId), String> {
        let mut schemas = Schemas::new();
        let id = schemas.read(&serde_json::from_str(json).unwrap(), "ns", 0)?;
        Ok((schemas, id))
    }

    /// Bytes consumed when passing over a value.
    fn check_skip(json: &str, bytes: &[u8]) {
        let (schemas, id) = read(json).unwrap();
        let mut data = Datum::new(bytes);
        schemas.skip(id, &mut data).unwrap();
        assert_eq!(data.remaining(), 0, "{json}");
    }

    #[test]
    fn values_of_every_type_can_be_passed_over() {
        check_skip(r#""null""#, &[]);
        check_skip(r#"{"type":"boolean"}"#, &[1]);
        check_skip(r#""long""#, &[0x80, 1]);
        check_skip(r#"["null","float"]"#, &[2, 0, 0, 0, 0]);
        check_skip(r#""double""#, &[0; 8]);
        check_skip(r#"{"type":"fixed","name":"F","size":3}"#, &[1, 2, 3]);
        check_skip(r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, &[2]);
        check_skip(
            r#"{"type":"array","items":"string"}"#,
            &[2, 2, b'a', 1, 4, 2, b'b', 0],
        );
        check_skip(r#"{"type":"map","values":"int"}"#, &[2, 2, b'a', 7, 0]);
        check_skip(
            r#"{"type":{"type":"string","avro.java.string":"String"}}"#,
            &[2, b'a'],
        );
        let list = r#"{"type":"record","name":"List","fields":[
            {"name":"value","type":"int"},{"name":"next","type":["null","ns.List"]}]}"#;
        check_skip(list, &[2, 2, 4, 0]);
    }

    #[test]
    fn nothing_loops_over_items_without_bytes() {
        let mut endless = bytes::BytesMut::new();
        super::super::datum::put_long(&mut endless, i64::MAX);
        endless.extend_from_slice(&[0]);
        check_skip(r#"{"type":"array","items":"null"}"#, &endless);
        check_skip(
            r#"{"type":"array","items":{"type":"record","name":"R","fields":[{"name":"n","type":"null"}]}}"#,
            &endless,
        );
    }

    #[test]
    fn a_record_that_contains_itself_ends_in_an_error() {
        let (schemas, id) =
            read(r#"{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}"#).unwrap();
        let error = schemas.skip(id, &mut Datum::new(&[0; 99])).unwrap_err();
        assert_eq!(error.expected, "values nested at most 64 deep");
    }

    #[test]
    fn unusable_schemas_are_refused() {
        for (json, expected) in [
            ("7", "no type: 7"),
            (r#""Nope""#, "undefined name: ns.Nope"),
            (r#"{"type":"fixed","name":"F"}"#, "a fixed without \"size\""),
            (r#"["int","int"]"#, "the same type twice in a union"),
            (r#"["int",["null"]]"#, "a union inside of a union"),
            (r#"{"type":"enum","name":"E"}"#, "no list of strings: \"symbols\""),
            (
                r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#,
                "the field a twice in a record",
            ),
        ] {
            assert_eq!(read(json).unwrap_err(), expected);
        }
        let deep = r#"{"type":"array","items":"#.repeat(40) + "\"int\"" + &"}".repeat(40);
        assert_eq!(read(&deep).unwrap_err(), "types nested deeper than 32");
        let many: Vec<String> = (0..1001)
            .map(|n| format!(r#"{{"type":"fixed","name":"F{n}","size":1}}"#))
            .collect();
        assert_eq!(
            read(&format!("[{}]", many.join(","))).unwrap_err(),
            "more than 1000 types"
        );
    }
}
