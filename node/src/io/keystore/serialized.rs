//! As much of Java's serialized objects as sealed keys need: objects of plain fields, texts and byte arrays.
//!
//! ```text
//! stream = aced 0005 | value
//! value  = 70 null | 71 handle u32 | 73 class value… an object, its fields in the order of the class, those of its
//!          superclass first | 74 text | 75 class "[B" u32 bytes an array | 7e class text an enum's constant
//! class  = 72 name u64 flags fields u16 field… 78 superclass | 71 handle | 70 none
//! field  = type u8 | name | for L and [: value, its type's name             name, text = u16, modified UTF-8
//! ```
//!
//! Classes, objects, texts and arrays have handles, counted from 0x7e0000 in the order in which they begin. Classes that
//! write data of their own, and arrays of other things, are refused: no key has them. Source: the Java Object
//! Serialization Specification, chapter 6.

use proto::cursor::{Cursor, DecodeError};
use std::rc::Rc;

const MAGIC: u32 = 0xaced_0005;
const BASE_HANDLE: u32 = 0x7e_0000;
const HANDLES_MAX: usize = 256;
const FIELDS_MAX: u16 = 32;
const DEPTH_MAX: usize = 8;
/// The class is written by its fields alone.
const FLAG_PLAIN: u8 = 0x02;
const FLAG_ENUM: u8 = 0x10;

/// What stands in a stream.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// A text.
    Text(Rc<str>),
    /// An array of bytes.
    Bytes(&'a [u8]),
    /// An object with its fields.
    Object(Rc<Object<'a>>),
    /// Null, a number, a constant.
    Other,
}

/// An object.
#[derive(Debug)]
pub struct Object<'a> {
    /// The name of its class.
    pub class: Rc<str>,
    fields: Vec<(Rc<str>, Value<'a>)>,
}

impl<'a> Object<'a> {
    /// A field that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.field(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A field that is an array of bytes.
    pub fn bytes(&self, name: &str) -> Option<&'a [u8]> {
        match self.field(name)? {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn field(&self, name: &str) -> Option<&Value<'a>> {
        let found = self.fields.iter().find(|(n, _)| &**n == name);
        found.map(|(_, value)| value)
    }
}

/// Reads one stream that holds one object; the cursor then stands behind it.
///
/// # Errors
/// It holds something else, or what keys do not have.
pub fn object<'a>(cursor: &mut Cursor<'a>) -> Result<Rc<Object<'a>>, DecodeError> {
    let before = cursor.clone();
    if cursor.u32_be("a serialized object")? != MAGIC {
        return Err(before.error("a serialized object"));
    }
    let before = cursor.clone();
    let mut stream = Stream {
        cursor,
        handles: Vec::new(),
    };
    match stream.value(0)? {
        Value::Object(object) => Ok(object),
        _ => Err(before.error("an object")),
    }
}

#[derive(Debug, Clone)]
enum Handle<'a> {
    Class(Rc<Class>),
    Value(Value<'a>),
    /// Not read to its end yet.
    Open,
}

#[derive(Debug)]
struct Class {
    name: Rc<str>,
    /// Types and names.
    fields: Vec<(u8, Rc<str>)>,
    parent: Option<Rc<Class>>,
}

struct Stream<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    handles: Vec<Handle<'a>>,
}

impl<'a> Stream<'_, 'a> {
    fn value(&mut self, depth: usize) -> Result<Value<'a>, DecodeError> {
        let before = self.cursor.clone();
        if depth > DEPTH_MAX {
            return Err(before.error("an object less deep"));
        }
        match self.cursor.u8("a serialized value")? {
            0x70 => Ok(Value::Other),
            0x71 => match self.referred()? {
                Handle::Value(value) => Ok(value),
                Handle::Class(_) | Handle::Open => Err(before.error("the handle of a value")),
            },
            0x73 => self.object(depth),
            0x74 => {
                let text = Value::Text(self.text("a text")?);
                self.begin(Handle::Value(text.clone()))?;
                Ok(text)
            }
            0x75 => {
                let class = self.class(depth)?;
                let at = self.begin(Handle::Open)?;
                if class.is_none_or(|class| &*class.name != "[B") {
                    return Err(before.error("an array of bytes"));
                }
                let length = self.cursor.u32_be("the length of an array")?;
                let bytes = Value::Bytes(self.cursor.take(length as usize, "an array")?);
                self.handles[at] = Handle::Value(bytes.clone());
                Ok(bytes)
            }
            0x7e => {
                self.class(depth)?;
                let at = self.begin(Handle::Open)?;
                self.value(depth + 1)?;
                self.handles[at] = Handle::Value(Value::Other);
                Ok(Value::Other)
            }
            _ => Err(before.error("a value of a kind that keys have")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>, DecodeError> {
        let before = self.cursor.clone();
        let class = self.class(depth)?.ok_or(before.error("a class"))?;
        let at = self.begin(Handle::Open)?;
        let mut lineage = vec![&class];
        while let Some(parent) = lineage.last().and_then(|class| class.parent.as_ref()) {
            lineage.push(parent);
        }
        let mut fields = Vec::new();
        for (kind, name) in lineage.iter().rev().flat_map(|class| &class.fields) {
            let bytes = match kind {
                b'B' | b'Z' => 1,
                b'C' | b'S' => 2,
                b'F' | b'I' => 4,
                b'D' | b'J' => 8,
                _ => {
                    fields.push((name.clone(), self.value(depth + 1)?));
                    continue;
                }
            };
            self.cursor.take(bytes, "a number")?;
        }
        let class = class.name.clone();
        let object = Value::Object(Rc::new(Object { class, fields }));
        self.handles[at] = Handle::Value(object.clone());
        Ok(object)
    }

    fn class(&mut self, depth: usize) -> Result<Option<Rc<Class>>, DecodeError> {
        let before = self.cursor.clone();
        if depth > DEPTH_MAX {
            return Err(before.error("a class with fewer above it"));
        }
        match self.cursor.u8("a class")? {
            0x70 => return Ok(None),
            0x71 => {
                return match self.referred()? {
                    Handle::Class(class) => Ok(Some(class)),
                    Handle::Value(_) | Handle::Open => Err(before.error("the handle of a class")),
                };
            }
            0x72 => {}
            _ => return Err(before.error("a class")),
        }
        let name = self.text("the name of a class")?;
        self.cursor.take(8, "the version of a class")?;
        let at = self.begin(Handle::Open)?;
        let before = self.cursor.clone();
        let flags = self.cursor.u8("the flags of a class")?;
        let count = self.cursor.u16_be("a number of fields")?;
        if flags & !FLAG_ENUM != FLAG_PLAIN || count > FIELDS_MAX {
            return Err(before.error("a class as keys have it"));
        }
        let mut fields = Vec::new();
        for _ in 0..count {
            let before = self.cursor.clone();
            let kind = self.cursor.u8("the type of a field")?;
            let name = self.text("the name of a field")?;
            match kind {
                b'L' | b'[' => drop(self.value(depth + 1)?),
                b'B' | b'C' | b'D' | b'F' | b'I' | b'J' | b'S' | b'Z' => {}
                _ => return Err(before.error("the type of a field")),
            }
            fields.push((kind, name));
        }
        let before = self.cursor.clone();
        if self.cursor.u8("the end of a class")? != 0x78 {
            return Err(before.error("a class without notes"));
        }
        let parent = self.class(depth + 1)?;
        let class = Rc::new(Class { name, fields, parent });
        self.handles[at] = Handle::Class(class.clone());
        Ok(Some(class))
    }

    fn text(&mut self, expected: &'static str) -> Result<Rc<str>, DecodeError> {
        let length = self.cursor.u16_be(expected)?;
        let bytes = self.cursor.take(usize::from(length), expected)?;
        Ok(String::from_utf8_lossy(bytes).into())
    }

    fn begin(&mut self, handle: Handle<'a>) -> Result<usize, DecodeError> {
        if self.handles.len() == HANDLES_MAX {
            return Err(self.cursor.error("fewer objects"));
        }
        self.handles.push(handle);
        Ok(self.handles.len() - 1)
    }

    fn referred(&mut self) -> Result<Handle<'a>, DecodeError> {
        let before = self.cursor.clone();
        let number = self.cursor.u32_be("a handle")?;
        let at = number.checked_sub(BASE_HANDLE);
        let found = at.and_then(|at| self.handles.get(at as usize));
        found.cloned().ok_or(before.error("a handle that was given"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Java writes of `new SecretKeySpec(new byte[] {1, 2, 3}, "AES")`.
    const SPEC: &[u8] = b"\xac\xed\x00\x05sr\x00\x1fjavax.crypto.spec.SecretKeySpec[G\x0bf\xe20aM\x02\x00\x02L\x00\x09algorithmt\x00\x12Ljava/lang/String;[\x00\x03keyt\x00\x02[Bxpt\x00\x03AESur\x00\x02[B\xac\xf3\x17\xf8\x06\x08T\xe0\x02\x00\x00xp\x00\x00\x00\x03\x01\x02\x03";

    /// What Java writes of a key whose class is not that of all of Java: `new KeyRep(SECRET, "AES", "RAW", …)`.
    const REP: &[u8] = b"\xac\xed\x00\x05sr\x00\x14java.security.KeyRep\xbd\xf9O\xb3\x88\x9a\xa5C\x02\x00\x04L\x00\x09algorithmt\x00\x12Ljava/lang/String;[\x00\x07encodedt\x00\x02[BL\x00\x06formatq\x00~\x00\x01L\x00\x04typet\x00\x1bLjava/security/KeyRep$Type;xpt\x00\x03AESur\x00\x02[B\xac\xf3\x17\xf8\x06\x08T\xe0\x02\x00\x00xp\x00\x00\x00\x03\x01\x02\x03t\x00\x03RAW~r\x00\x19java.security.KeyRep$Type\x00\x00\x00\x00\x00\x00\x00\x00\x12\x00\x00xr\x00\x0ejava.lang.Enum\x00\x00\x00\x00\x00\x00\x00\x00\x12\x00\x00xpt\x00\x06SECRET";

    #[test]
    fn handles_constants_and_superclasses_are_followed() {
        let mut cursor = Cursor::new(REP);
        let read = object(&mut cursor).unwrap();
        assert_eq!(&*read.class, "java.security.KeyRep");
        assert_eq!(
            (read.text("algorithm"), read.text("format")),
            (Some("AES"), Some("RAW"))
        );
        assert_eq!(read.bytes("encoded"), Some(&[1, 2, 3][..]));
        assert!(cursor.is_empty());
    }

    #[test]
    fn an_object_is_read_with_its_fields_and_no_byte_beyond_it() {
        let bytes = [SPEC, b"more"].concat();
        let mut cursor = Cursor::new(&bytes);
        let read = object(&mut cursor).unwrap();
        assert_eq!(&*read.class, "javax.crypto.spec.SecretKeySpec");
        assert_eq!(read.text("algorithm"), Some("AES"));
        assert_eq!(read.bytes("key"), Some(&[1, 2, 3][..]));
        assert_eq!((read.bytes("algorithm"), read.text("salt")), (None, None));
        assert_eq!(cursor.rest(), b"more");
    }

    #[test]
    fn cut_or_changed_streams_are_refused_or_read_and_never_panic() {
        for stream in [SPEC, REP] {
            for at in 0..stream.len() {
                assert!(object(&mut Cursor::new(&stream[..at])).is_err(), "cut at {at}");
                for change in [0x01, 0x02, 0x04, 0x80, 0xff] {
                    let mut changed = stream.to_vec();
                    changed[at] ^= change;
                    let _ = object(&mut Cursor::new(&changed));
                }
            }
        }
    }

    #[test]
    fn classes_and_values_nest_only_so_deep() {
        let class = b"r\x00\x01A\0\0\0\0\0\0\0\0\x02\x00\x01L\x00\x01at\x00\x01Bx";
        let deep = |levels: usize| {
            let mut bytes = MAGIC.to_be_bytes().to_vec();
            // Each object's class is new, and its field an object again.
            for _ in 0..levels {
                bytes.push(b's');
                bytes.extend_from_slice(class);
                bytes.push(b'p');
            }
            bytes.push(b'p');
            object(&mut Cursor::new(&bytes)).is_ok()
        };
        assert!(deep(DEPTH_MAX));
        assert!(!deep(DEPTH_MAX + 1));
        let mut parents = [&MAGIC.to_be_bytes()[..], b"s"].concat();
        let plain = b"r\x00\x01A\0\0\0\0\0\0\0\0\x02\x00\x00x";
        parents.extend(plain.repeat(2_000));
        parents.push(b'p');
        assert!(object(&mut Cursor::new(&parents)).is_err());
    }
}
