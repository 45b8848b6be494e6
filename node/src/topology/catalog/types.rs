//! Types by name, and what to say about a name that is none.

use super::{Kind, Type};
use crate::component::keys::nearest;

/// The type of this name: an alias in any case, or a class name in its own case.
pub fn find(kind: Kind, name: &str) -> Option<&'static Type> {
    let matches =
        |t: &&Type| (!t.alias.is_empty() && t.alias.eq_ignore_ascii_case(name)) || t.classes.contains(&name);
    kind.types().iter().find(matches)
}

/// Why a name is no type of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// A slip of the pen or a confusion; the right name.
    Near(String),
    /// A type of another kind.
    Other(Kind),
    /// A Java class that is not Flume's.
    Foreign,
    /// Nothing like it is known.
    Nothing,
}

/// What the name may stand for; `besides` are names that are known from elsewhere, a user's own types say.
pub fn not_found<'a>(kind: Kind, name: &str, besides: impl Iterator<Item = &'a str>) -> Match {
    let classes = || kind.types().iter().flat_map(|t| t.classes.iter().copied());
    let aliases = || {
        kind.types()
            .iter()
            .map(|t| t.alias)
            .filter(|alias| !alias.is_empty())
    };
    let same = |class: &&str| {
        class.eq_ignore_ascii_case(name)
            || class
                .strip_suffix("$Builder")
                .is_some_and(|outer| outer.eq_ignore_ascii_case(name))
            || class.replace('$', ".").eq_ignore_ascii_case(name)
    };
    if let Some(class) = classes().find(same) {
        return Match::Near(class.to_owned());
    }
    let others = [Kind::Source, Kind::Sink, Kind::Channel, Kind::Interceptor];
    if let Some(other) = others
        .into_iter()
        .find(|k| *k != kind && find(*k, name).is_some())
    {
        // `kafka` of one kind is not mistaken for another kind's; `host` says nothing about sinks.
        return Match::Other(other);
    }
    if !name.contains('.') {
        if let Some(class) = classes().find(|class| is_short_for(name, class)) {
            return Match::Near(class.to_owned());
        }
        return match nearest(name, aliases().chain(besides)) {
            Some(near) => Match::Near(near.to_owned()),
            None => Match::Nothing,
        };
    }
    let besides: Vec<&str> = besides.collect();
    if let Some(near) = nearest(name, classes().chain(besides)) {
        return Match::Near(near.to_owned());
    }
    // Another package, the same class: what moved, or is misremembered.
    let simple = |class: &str| class.rsplit('.').next().unwrap_or_default().to_owned();
    if name.starts_with("org.apache.flume.") {
        let class = classes().find(|class| simple(class).eq_ignore_ascii_case(&simple(name)));
        return class.map_or(Match::Nothing, |class| Match::Near(class.to_owned()));
    }
    Match::Foreign
}

/// Whether people may call the class by this name: `kafka` for `…KafkaSource`, `uuid` for `…UUIDInterceptor$Builder`.
fn is_short_for(name: &str, class: &str) -> bool {
    let simple = class.rsplit('.').next().unwrap_or_default();
    let simple = simple.strip_suffix("$Builder").unwrap_or(simple).to_lowercase();
    let words = ["source", "sink", "channel", "interceptor"];
    let short = words.iter().find_map(|word| simple.strip_suffix(word));
    let name = name.to_lowercase();
    name == simple || short == Some(name.as_str())
}

impl Match {
    /// As an end of a message.
    pub fn hint(&self, kind: Kind, name: &str) -> String {
        match self {
            Self::Near(near) if near.eq_ignore_ascii_case(name) => {
                format!("; class names are case-sensitive: did you mean \"{near}\"?")
            }
            Self::Near(near) => format!("; did you mean \"{near}\"?"),
            Self::Other(other) => format!("; it is a {} type, this is a {}", other.word(), kind.word()),
            Self::Foreign => "; it is a Java class of somebody else's, and no Java runs here".to_owned(),
            Self::Nothing => String::new(),
        }
    }
}
