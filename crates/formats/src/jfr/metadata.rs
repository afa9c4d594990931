//! A chunk's metadata: classes and their fields.

use super::value::{self, Value};
use crate::bytes::Bytes;
use std::collections::HashMap;

/// A class: of events, of constants, or of values.
#[derive(Debug, Clone, Default)]
pub(super) struct Class {
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
}

impl Class {
    /// The field `name`, and its place among the others.
    pub(super) fn field(&self, name: &str) -> Option<(usize, &Field)> {
        self.fields.iter().enumerate().find(|(_, field)| field.name == name)
    }

    /// True where all its fields are numbers or constants, as those of a stack's frames are.
    pub(super) fn is_plain(&self) -> bool {
        let plain = |field: &Field| {
            !field.is_array && (field.is_constant || matches!(field.kind, Kind::Byte | Kind::Number))
        };
        !self.fields.is_empty() && self.fields.iter().all(plain)
    }
}

/// A field.
#[derive(Debug, Clone, Default)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) class: u64,
    pub(super) is_constant: bool,
    pub(super) is_array: bool,
    pub(super) kind: Kind,
}

/// How a field's values are encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    Byte,
    Number,
    Float,
    Double,
    Text,
    #[default]
    Struct,
}

/// How deep elements may nest; the JDK's are five deep.
const DEEPEST: usize = 12;

/// Classes there are, and fields of a class, at most: the JDK has some 300 of up to 30.
const MAX_CLASSES: usize = 16 << 10;
const MAX_FIELDS: usize = 1 << 10;

/// Bytes of a name: many elements can have the one same long one.
const MAX_NAME: usize = 1 << 10;

/// Reads the metadata event whose fields start at `bytes` (after size and type).
pub(super) fn read(bytes: &mut Bytes<'_>) -> Option<HashMap<u64, Class>> {
    // Start, duration, id of the metadata.
    for _ in 0..3 {
        value::number(bytes)?;
    }
    let count = value::number(bytes)?;
    let mut strings = Vec::new();
    for _ in 0..count {
        strings.push(match value::text(bytes)? {
            Value::Text(text) => text,
            _ => String::new(),
        });
    }
    let mut classes = HashMap::new();
    element(bytes, &strings, &mut classes, None, 0)?;
    // Now that all are there: what a field's class is called says how it is encoded.
    let names: HashMap<u64, Kind> =
        classes.iter().map(|(id, class): (&u64, &Class)| (*id, kind(&class.name))).collect();
    for class in classes.values_mut() {
        for field in &mut class.fields {
            field.kind = names.get(&field.class).copied().unwrap_or_default();
        }
    }
    Some(classes)
}

fn kind(name: &str) -> Kind {
    match name {
        "byte" | "boolean" => Kind::Byte,
        "short" | "char" | "int" | "long" => Kind::Number,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "java.lang.String" => Kind::Text,
        _ => Kind::Struct,
    }
}

fn element(
    bytes: &mut Bytes<'_>,
    strings: &[String],
    classes: &mut HashMap<u64, Class>,
    class: Option<u64>,
    depth: usize,
) -> Option<()> {
    if depth > DEEPEST {
        return None;
    }
    let string = |bytes: &mut Bytes<'_>| strings.get(usize::try_from(value::number(bytes)?).ok()?);
    let name = string(bytes)?;
    let mut attributes: HashMap<&str, &str> = HashMap::new();
    for _ in 0..value::number(bytes)? {
        let key = string(bytes)?;
        attributes.insert(key, string(bytes)?);
    }
    let attribute =
        |name: &str| attributes.get(name).filter(|text| text.len() <= MAX_NAME).copied().unwrap_or_default();
    let mut inside = class;
    match name.as_str() {
        "class" => {
            let id = attribute("id").parse().ok()?;
            if classes.len() >= MAX_CLASSES {
                return None;
            }
            classes.insert(id, Class { name: attribute("name").to_owned(), fields: Vec::new() });
            inside = Some(id);
        }
        "field" => {
            let field = Field {
                name: attribute("name").to_owned(),
                class: attribute("class").parse().ok()?,
                is_constant: attribute("constantPool") == "true",
                is_array: attribute("dimension") == "1",
                kind: Kind::Struct,
            };
            let fields = &mut classes.get_mut(&class?)?.fields;
            if fields.len() >= MAX_FIELDS {
                return None;
            }
            fields.push(field);
        }
        _ => {}
    }
    for _ in 0..value::number(bytes)? {
        element(bytes, strings, classes, inside, depth + 1)?;
    }
    Some(())
}
