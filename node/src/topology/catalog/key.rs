//! One property as the tables declare it: small constructors, so that a line of a table reads like a line of Flume's
//! guide: `int("batchSize", 100, 1).unit("events")`.

use super::Kind;

/// One property, or a family of them if the name ends in `.*`.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What its value is.
    pub value: Value,
    /// What is used where it is not set; empty if nothing is.
    pub default: &'static str,
    /// What a number counts; empty if that is plain.
    pub unit: &'static str,
    /// Without it the component is lost.
    pub required: bool,
    /// A bad value is replaced by the default; else it loses the component.
    pub lenient: bool,
    /// What there is to say about its being there.
    pub role: Role,
}

/// What a property holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Any text.
    Text,
    /// A number: default (if there is one), least, most.
    Number(Option<i64>, i64, i64),
    /// `true` in any case, everything else is false.
    Flag(bool),
    /// One of these, in any case.
    Word(&'static [&'static str]),
    /// One of these, in this very case.
    Exact(&'static [&'static str]),
    /// Names separated by blanks.
    Names,
    /// The type of a part, whose own settings stand below this key and a dot.
    Part(Kind),
}

/// What there is to say about a property's being there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing.
    Plain,
    /// Only Millrace knows it.
    Ours,
    /// An old spelling, still understood; the new one.
    Old(&'static str),
    /// Often written, never read; the one that is.
    Instead(&'static str),
    /// Known and without effect; why.
    Mute(&'static str),
}

const fn key(name: &'static str, value: Value) -> Key {
    Key {
        name,
        value,
        default: "",
        unit: "",
        required: false,
        lenient: false,
        role: Role::Plain,
    }
}

/// Any text.
pub const fn text(name: &'static str) -> Key {
    key(name, Value::Text)
}

/// A 32-bit number, as most of Flume's are.
pub const fn int(name: &'static str, default: i64, least: i64) -> Key {
    key(name, Value::Number(Some(default), least, i32::MAX as i64))
}

/// A 64-bit number.
pub const fn long(name: &'static str, default: i64, least: i64) -> Key {
    key(name, Value::Number(Some(default), least, i64::MAX))
}

/// A 32-bit number without a default.
pub const fn bare_int(name: &'static str, least: i64) -> Key {
    key(name, Value::Number(None, least, i32::MAX as i64))
}

/// The port of a listener: 0 takes a free one.
pub const fn listens(name: &'static str) -> Key {
    key(name, Value::Number(None, 0, 65_535))
}

/// The port of a peer.
pub const fn port(name: &'static str) -> Key {
    key(name, Value::Number(None, 1, 65_535))
}

/// `true` or `false`.
pub const fn flag(name: &'static str, default: bool) -> Key {
    key(name, Value::Flag(default))
}

/// One of these words, in any case.
pub const fn word(name: &'static str, words: &'static [&'static str]) -> Key {
    key(name, Value::Word(words))
}

/// One of these words, in this very case.
pub const fn exact(name: &'static str, words: &'static [&'static str]) -> Key {
    key(name, Value::Exact(words))
}

/// Names separated by blanks.
pub const fn names(name: &'static str) -> Key {
    key(name, Value::Names)
}

/// The type of a part with its own settings below.
pub const fn part(name: &'static str, kind: Kind) -> Key {
    key(name, Value::Part(kind))
}

/// An old spelling of another key.
pub const fn old(name: &'static str, new: &'static str) -> Key {
    let mut it = key(name, Value::Text);
    it.role = Role::Old(new);
    it
}

/// What people write when they mean another key.
pub const fn instead(name: &'static str, right: &'static str) -> Key {
    let mut it = key(name, Value::Text);
    it.role = Role::Instead(right);
    it
}

/// Known and without effect.
pub const fn mute(name: &'static str, why: &'static str) -> Key {
    let mut it = key(name, Value::Text);
    it.role = Role::Mute(why);
    it
}

impl Key {
    /// Must be there.
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The default of a text or word.
    pub const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    /// What the number counts.
    pub const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// A bad value is replaced by the default.
    pub const fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// Only Millrace knows it.
    pub const fn ours(mut self) -> Self {
        self.role = Role::Ours;
        self
    }

    /// The prefix of a family, with its dot.
    pub fn family(&self) -> Option<&'static str> {
        self.name.strip_suffix('*')
    }

    /// Whether a property of this name is meant.
    pub fn covers(&self, name: &str) -> bool {
        match self.family() {
            Some(prefix) => name.len() > prefix.len() && name.starts_with(prefix),
            None => self.name == name,
        }
    }

    /// Whether whoever sets it gets what it says.
    pub fn works(&self) -> bool {
        matches!(self.role, Role::Plain | Role::Ours)
    }
}
