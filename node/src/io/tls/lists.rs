//! Which protocols and cipher suites are allowed: Flume's four lists, in the names of Java's JSSE.
//!
//! Included are all that exist here, or those of the include list; what the exclude list names is taken out, SSLv3
//! always. Names that Java knows and that do not exist here are told where they are asked for, and excluded already
//! where they are not wanted. Case does not count, and commas separate as blanks do: nobody means another thing by
//! them. In the dialect of Jetty (the http source) the names of suites are Java patterns.

use super::{
    EXCLUDE_PROTOCOLS, EXCLUDE_SUITES, INCLUDE_PROTOCOLS, INCLUDE_SUITES, Name, Reader, Setting, provider,
};
use crate::component::keys::{Keys, nearest};
use crate::java::regex::Regex;
use rustls::crypto::CryptoProvider;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

/// What there is, as Java names it.
const PROTOCOLS: [(&str, &SupportedProtocolVersion); 2] =
    [("TLSv1.3", &version::TLS13), ("TLSv1.2", &version::TLS12)];
/// What Java knows besides.
const OLD_PROTOCOLS: [&str; 4] = ["SSLv2Hello", "SSLv3", "TLSv1", "TLSv1.1"];

/// What is left when all lists are applied.
pub struct Allowed {
    pub versions: Vec<&'static SupportedProtocolVersion>,
    pub provider: CryptoProvider,
}

/// All that there is.
pub fn all() -> Allowed {
    Allowed {
        versions: PROTOCOLS.into_iter().map(|(_, version)| version).collect(),
        provider: provider(),
    }
}

/// Reads the lists; none when they leave nothing.
pub fn read(reader: &mut Reader<'_>) -> Option<Allowed> {
    let include = List::read(reader, INCLUDE_PROTOCOLS, false);
    let exclude = List::read(reader, EXCLUDE_PROTOCOLS, false);
    let versions = versions(reader.keys, [include.ok()?, exclude.ok()?]);
    let patterns = reader.dialect.suite_patterns;
    let include = List::read(reader, INCLUDE_SUITES, patterns);
    let exclude = List::read(reader, EXCLUDE_SUITES, patterns);
    suites(reader.keys, [include.ok()?, exclude.ok()?], versions?)
}

fn versions(
    keys: &mut Keys,
    [include, exclude]: [Option<List>; 2],
) -> Option<Vec<&'static SupportedProtocolVersion>> {
    let names = PROTOCOLS.map(|(name, _)| name);
    let old = |name: &str| OLD_PROTOCOLS.iter().any(|o| o.eq_ignore_ascii_case(name));
    note_strangers(keys, include.as_ref(), &names, true, old);
    note_strangers(keys, exclude.as_ref(), &names, false, old);
    let versions: Vec<_> = PROTOCOLS
        .into_iter()
        .filter(|(name, _)| allows(include.as_ref(), exclude.as_ref(), name))
        .map(|(_, version)| version)
        .collect();
    if versions.is_empty() {
        let list = blamed(include, exclude)?;
        list.setting
            .wrong(keys, "no protocol is left; there are TLSv1.2 and TLSv1.3");
        return None;
    }
    Some(versions)
}

fn suites(
    keys: &mut Keys,
    [include, exclude]: [Option<List>; 2],
    versions: Vec<&'static SupportedProtocolVersion>,
) -> Option<Allowed> {
    let mut provider = provider();
    let names: Vec<String> = provider.cipher_suites.iter().map(suite_name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    note_strangers(keys, include.as_ref(), &names, true, is_suite);
    note_strangers(keys, exclude.as_ref(), &names, false, is_suite);
    let of_version = |suite: &SupportedCipherSuite| versions.iter().any(|v| *v == suite.version());
    provider
        .cipher_suites
        .retain(|suite| of_version(suite) && allows(include.as_ref(), exclude.as_ref(), &suite_name(suite)));
    if provider.cipher_suites.is_empty() {
        let list = blamed(include, exclude)?;
        let message = format!("no cipher suite is left; there are {}", names.join(" "));
        list.setting.wrong(keys, &message);
        return None;
    }
    let usable = |version: &SupportedProtocolVersion| {
        let mut suites = provider.cipher_suites.iter();
        suites.any(|suite| suite.version() == version)
    };
    Some(Allowed {
        versions: versions.into_iter().filter(|v| usable(v)).collect(),
        provider,
    })
}

/// The name that Java gives to a suite.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name.to_owned(),
    }
}

/// Whether Java may well have such a suite.
fn is_suite(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    ["TLS_", "SSL_"].iter().any(|prefix| upper.starts_with(prefix))
}

/// What is wrong has been noted.
struct Noted;

/// One list.
struct List {
    setting: Setting,
    entries: Vec<(String, Option<Regex>)>,
}

impl List {
    /// The list, if there is one; an error when one of its patterns cannot be used, which has been noted.
    fn read(reader: &mut Reader<'_>, name: Name, patterns: bool) -> Result<Option<Self>, Noted> {
        let Some(setting) = reader.setting(name) else {
            return Ok(None);
        };
        // A comma may be part of a pattern, but not of one for all.
        let commas = !patterns || setting.from.is_some();
        let separates = |c: char| c.is_whitespace() || (commas && c == ',');
        let words = setting.value.split(separates).filter(|word| !word.is_empty());
        let (mut entries, mut read) = (Vec::new(), Ok(()));
        for word in words.map(str::to_owned) {
            let pattern = if patterns { Some(Regex::new(&word)) } else { None };
            match pattern.transpose() {
                Ok(pattern) => entries.push((word, pattern)),
                Err(error) => {
                    setting.wrong(reader.keys, &format!("\"{word}\" is no pattern: {error}"));
                    read = Err(Noted);
                }
            }
        }
        // A list of nothing is no list, as in Flume.
        read.map(|()| (!entries.is_empty()).then_some(Self { setting, entries }))
    }

    fn names(&self, name: &str) -> bool {
        self.entries.iter().any(|(word, pattern)| {
            word.eq_ignore_ascii_case(name) || pattern.as_ref().is_some_and(|p| p.matches(name))
        })
    }
}

fn allows(include: Option<&List>, exclude: Option<&List>, name: &str) -> bool {
    include.is_none_or(|list| list.names(name)) && !exclude.is_some_and(|list| list.names(name))
}

/// Whom to blame when nothing is left.
fn blamed(include: Option<List>, exclude: Option<List>) -> Option<List> {
    include.or(exclude)
}

/// Tells which names of a list have no effect here: unknown ones, and in a list of what is wanted also those that
/// `java` knows.
fn note_strangers(
    keys: &mut Keys,
    list: Option<&List>,
    here: &[&str],
    wanted: bool,
    java: impl Fn(&str) -> bool,
) {
    let Some(list) = list else { return };
    let unmatched = list.entries.iter().filter(|(word, pattern)| {
        let hit = |name: &&str| {
            word.eq_ignore_ascii_case(name) || pattern.as_ref().is_some_and(|p| p.matches(name))
        };
        !here.iter().any(hit)
    });
    let (known, unknown): (Vec<&str>, Vec<&str>) = unmatched
        // A pattern may be meant for what only Java has.
        .filter(|(_, pattern)| wanted || pattern.is_none())
        .map(|(word, _)| word.as_str())
        .partition(|word| java(word));
    if wanted && !known.is_empty() {
        let message = format!("ignored, for it does not exist here: {}", known.join(" "));
        list.setting.warn(keys, &message);
    }
    for word in unknown {
        let near = nearest(word, here.iter().copied());
        let hint = near.map_or(String::new(), |n| format!("; did you mean \"{n}\"?"));
        list.setting
            .warn(keys, &format!("\"{word}\" is unknown, ignored{hint}"));
    }
}
