//! A schema's parsing canonical form, and its CRC-64-AVRO fingerprint (Avro 1.11 specification, "Transforming into
//! Parsing Canonical Form" and "Schema Fingerprints").
//!
//! The form is written from the table of types, which keeps just what the form keeps: names in full, fields,
//! symbols, sizes. So it has the length of the schema that was read, and nests as deep.

use super::schema::{PRIMITIVES, Schemas, Type, TypeId};
use serde_json::Value;

/// The fingerprint of nothing.
const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

const TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut print = at as u64;
        let mut bit = 0;
        while bit < 8 {
            print = (print >> 1) ^ (EMPTY & (print & 1).wrapping_neg());
            bit += 1;
        }
        table[at] = print;
        at += 1;
    }
    table
};

/// CRC-64-AVRO of any bytes. Java writes it with the lowest byte first.
pub fn crc64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(EMPTY, |print, byte| {
        (print >> 8) ^ TABLE[((print ^ u64::from(*byte)) & 0xff) as usize]
    })
}

impl Schemas {
    /// The parsing canonical form of a type.
    pub fn canonical(&self, id: TypeId) -> String {
        let mut form = Form {
            schemas: self,
            written: vec![false; self.len()],
            text: String::new(),
        };
        form.write(id);
        form.text
    }
}

struct Form<'a> {
    schemas: &'a Schemas,
    /// Named types that stand in the text already: from the second time on only by name.
    written: Vec<bool>,
    text: String,
}

impl Form<'_> {
    fn write(&mut self, id: TypeId) {
        if let Some((name, _)) = PRIMITIVES.get(id) {
            return self.string(name);
        }
        match self.schemas.get(id) {
            Type::Array(items) => self.container("array", "items", *items),
            Type::Map(values) => self.container("map", "values", *values),
            Type::Union(branches) => {
                self.list('[', ']', branches, |form, of| form.write(*of));
            }
            Type::Enum(symbols) => self.named(id, "enum", |form| {
                form.text.push_str("\"symbols\":");
                form.list('[', ']', symbols, |form, symbol| form.string(symbol));
            }),
            Type::Fixed(size) => self.named(id, "fixed", |form| {
                form.text.push_str("\"size\":");
                form.text.push_str(&size.to_string());
            }),
            Type::Record { fields, .. } => self.named(id, "record", |form| {
                form.text.push_str("\"fields\":");
                form.list('[', ']', fields, |form, field| {
                    form.text.push_str("{\"name\":");
                    form.string(&field.name);
                    form.text.push_str(",\"type\":");
                    form.write(field.of);
                    form.text.push('}');
                });
            }),
            // Primitives are written above; nothing is open once a schema has been read.
            _ => self.string("null"),
        }
    }

    fn named(&mut self, id: TypeId, kind: &str, rest: impl FnOnce(&mut Self)) {
        let name = self.schemas.name_of(id);
        if std::mem::replace(&mut self.written[id], true) {
            return self.string(name);
        }
        self.text.push_str("{\"name\":");
        self.string(name);
        self.text.push_str(",\"type\":");
        self.string(kind);
        self.text.push(',');
        rest(self);
        self.text.push('}');
    }

    fn container(&mut self, kind: &str, key: &str, of: TypeId) {
        self.text.push_str("{\"type\":");
        self.string(kind);
        self.text.push(',');
        self.string(key);
        self.text.push(':');
        self.write(of);
        self.text.push('}');
    }

    fn list<T>(&mut self, open: char, close: char, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.text.push(open);
        for (n, each) in items.iter().enumerate() {
            if n > 0 {
                self.text.push(',');
            }
            item(self, each);
        }
        self.text.push(close);
    }

    /// Names are letters, digits and dots; another one is at least no broken JSON.
    fn string(&mut self, text: &str) {
        self.text.push_str(&Value::from(text).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(json: &str) -> String {
        let mut schemas = Schemas::new();
        let id = schemas.read(&serde_json::from_str(json).unwrap(), "", 0).unwrap();
        schemas.canonical(id)
    }

    fn check(json: &str, form: &str) {
        assert_eq!(canonical(json), form);
        // A canonical form is its own.
        assert_eq!(canonical(form), form);
    }

    #[test]
    fn fingerprints_are_those_of_avro() {
        // From Avro's own table of test cases (schema-tests.txt).
        for (form, print) in [
            ("\"null\"", 7195948357588979594_u64),
            ("\"boolean\"", (-6970731678124411036_i64) as u64),
            ("\"int\"", 8247732601305521295),
            ("\"long\"", (-3434872931120570953_i64) as u64),
            ("\"float\"", 5583340709985441680),
            ("\"double\"", (-8181574048448539266_i64) as u64),
            ("\"bytes\"", 5746618253357095269),
            ("\"string\"", (-8142146995180207161_i64) as u64),
            ("[]", (-1241056759729112623_i64) as u64),
            ("[\"int\"]", (-5232228896498058493_i64) as u64),
            ("[\"int\",\"boolean\"]", 5392556393470105090),
            (
                "{\"name\":\"foo\",\"type\":\"record\",\"fields\":[]}",
                (-4824392279771201922_i64) as u64,
            ),
        ] {
            assert_eq!(crc64(form.as_bytes()), print, "{form}");
        }
    }

    #[test]
    fn what_does_not_show_in_the_bytes_is_left_out() {
        check(r#" {"type" : "int", "doc": "x"} "#, "\"int\"");
        check(
            r#"{"fields":[{"type":["null",{"type":"string","avro.java.string":"String"}],"default":null,"name":"a","doc":""}],
                "doc":"d","aliases":["o"],"type":"record","name":"R","namespace":"x.y"}"#,
            r#"{"name":"x.y.R","type":"record","fields":[{"name":"a","type":["null","string"]}]}"#,
        );
        check(
            r#"{"type":"enum","symbols":["A","B"],"name":"E","default":"A"}"#,
            r#"{"name":"E","type":"enum","symbols":["A","B"]}"#,
        );
        check(
            r#"{"type":"fixed","size":16,"logicalType":"decimal","name":"a.F"}"#,
            r#"{"name":"a.F","type":"fixed","size":16}"#,
        );
        check(
            r#"{"type":"map","values":{"items":"long","type":"array"}}"#,
            r#"{"type":"map","values":{"type":"array","items":"long"}}"#,
        );
    }

    #[test]
    fn a_name_that_stands_already_is_only_named_and_in_full() {
        // The form of a type without a namespace inside one with it is not its own: that is the specification's flaw.
        let form = canonical(
            r#"{"type":"record","name":"List","namespace":"n","fields":[
                {"name":"value","type":{"type":"fixed","name":"H","namespace":"","size":2}},
                {"name":"next","type":["null","List"]},{"name":"again","type":"H"}]}"#,
        );
        assert_eq!(
            form,
            r#"{"name":"n.List","type":"record","fields":[{"name":"value","type":{"name":"H","type":"fixed","size":2}},{"name":"next","type":["null","n.List"]},{"name":"again","type":"H"}]}"#,
        );
    }
}
