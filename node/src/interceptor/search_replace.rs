//! `search_replace`: replaces what a Java pattern finds in the body; Flume's SearchAndReplaceInterceptor.
//!
//! The body is text of `charset`; every match of `searchPattern` becomes `replaceString`, in which `$1`, `${name}` and `\`
//! have Java's meaning. A replacement that Java would refuse at the first match is refused at the start.
//!
//! Events without a match are not touched: their bodies are neither copied nor sent through the charset (Flume decodes
//! and encodes all, which damages what is no text). A body on which the pattern gives up, or that would grow beyond the
//! largest body, stays as it is, with a line in the log. Source: `flume/sources.md` 7.

use crate::component::error::{BuildError, RunError};
use crate::component::interceptor::Interceptor;
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::java::charset::Charset;
use crate::java::regex::{GaveUp, Regex, Replacement};
use bytes::Bytes;
use proto::event::{Batch, EventLimits};
use std::borrow::Cow;
use std::sync::Arc;

/// How the list names it.
pub const TYPE: Type<Box<dyn Interceptor>> = Type {
    alias: "search_replace",
    classes: &["org.apache.flume.interceptor.SearchAndReplaceInterceptor$Builder"],
    in_flume_metrics: false,
    build: |keys, ctx| Ok(Box::new(Config::read(keys).build(ctx.name.clone())?)),
};

/// Settings.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `searchPattern`, which is required, with `replaceString`, default nothing; none if they are wrong.
    pub search: Option<(Regex, Replacement)>,
    /// `charset`: default UTF-8; none if it is not known.
    pub charset: Option<Charset>,
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        // Whoever chose this interceptor has read it.
        let _ = keys.text("type");
        let pattern = keys.required("searchPattern");
        let replacement = keys.text("replaceString").unwrap_or_default();
        let name = keys.text("charset").unwrap_or_else(|| "UTF-8".to_owned());
        let charset = Charset::named(&name);
        if charset.is_none() {
            keys.wrong(
                "charset",
                &format!("expected a charset that Java knows, found \"{name}\""),
            );
        }
        let search = match Regex::new(&pattern) {
            Ok(regex) => match Replacement::new(&replacement, &regex) {
                Ok(replacement) => Some((regex, replacement)),
                Err(error) => {
                    keys.wrong("replaceString", &format!("expected a Java replacement: {error}"));
                    None
                }
            },
            Err(error) => {
                keys.wrong(
                    "searchPattern",
                    &format!("expected a Java regular expression: {error}"),
                );
                None
            }
        };
        Self { search, charset }
    }

    /// The interceptor of the source of this name.
    pub fn build(self, source: Arc<str>) -> Result<SearchReplace, BuildError> {
        let wrong = || BuildError("search_replace: no pattern or no charset".to_owned());
        let (search, replacement) = self.search.ok_or_else(wrong)?;
        Ok(SearchReplace {
            source,
            search,
            replacement,
            charset: self.charset.ok_or_else(wrong)?,
        })
    }
}

/// The interceptor.
#[derive(Debug)]
pub struct SearchReplace {
    source: Arc<str>,
    search: Regex,
    replacement: Replacement,
    charset: Charset,
}

impl SearchReplace {
    /// The new body; none if the old one stays.
    fn replaced(&self, body: &[u8]) -> Result<Option<Bytes>, GaveUp> {
        let allowed = EventLimits::default().body_bytes;
        let text = self.charset.decode(body);
        let Cow::Owned(replaced) = self.search.replace_with(&text, &self.replacement, allowed)? else {
            return Ok(None);
        };
        if self.charset == Charset::Utf8 {
            return Ok(Some(replaced.into()));
        }
        let body = self.charset.encode(&replaced);
        if body.len() > allowed {
            return Err(GaveUp::Length { allowed });
        }
        Ok(Some(body.into_owned().into()))
    }
}

impl Interceptor for SearchReplace {
    fn intercept(&self, batch: Batch) -> Result<Batch, RunError> {
        let mut given_up: Option<(GaveUp, usize)> = None;
        let mut edit = batch.edit();
        edit.each(|event, edits| match self.replaced(event.body()) {
            Ok(Some(body)) => edits.set_body(body),
            Ok(None) => {}
            Err(why) => given_up = Some((why, given_up.map_or(0, |(_, n)| n) + 1)),
        });
        if let Some((why, events)) = given_up {
            tracing::warn!(source = %self.source, events, %why, "search_replace: bodies stay as they are");
        }
        Ok(edit.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Result<SearchReplace, BuildError>, Vec<String>) {
        let mut keys = Keys::of("source r1 (seq)", pairs);
        let built = Config::read(&mut keys).build("r1".into());
        (built, keys.finish().iter().map(|f| f.to_string()).collect())
    }

    fn replaced(pairs: &[(&str, &str)], bodies: &[&[u8]]) -> Vec<Vec<u8>> {
        let (built, findings) = read(pairs);
        assert!(findings.is_empty(), "{findings:?}");
        let batch = built
            .unwrap()
            .intercept(bodies.iter().copied().collect())
            .unwrap();
        batch.iter().map(|e| e.body().to_vec()).collect()
    }

    #[test]
    fn every_match_in_a_body_is_replaced() {
        let pairs = [("searchPattern", "^(.)$"), ("replaceString", "n=$1")];
        assert_eq!(
            replaced(&pairs, &[b"0", b"12", b"3"]),
            [&b"n=0"[..], b"12", b"n=3"]
        );
        let pairs = [("searchPattern", "^[A-Za-z0-9_]+")];
        assert_eq!(replaced(&pairs, &[b"key: v", b"-"]), [&b": v"[..], b"-"]);
        let pairs = [
            (
                "searchPattern",
                "The quick brown ([a-z]+) jumped over the lazy ([a-z]+)",
            ),
            ("replaceString", "The hungry $2 ate the careless $1"),
        ];
        let text = b"The quick brown fox jumped over the lazy dog";
        assert_eq!(
            replaced(&pairs, &[text]),
            [b"The hungry dog ate the careless fox"]
        );
    }

    #[test]
    fn the_body_is_text_of_the_charset() {
        let pairs = [
            ("searchPattern", "\u{e9}"),
            ("replaceString", "$0\u{e8}"),
            ("charset", "ISO-8859-1"),
        ];
        assert_eq!(
            replaced(&pairs, &[b"a\xe9b", b"\xc3"]),
            [&b"a\xe9\xe8b"[..], b"\xc3"]
        );
    }

    #[test]
    fn what_does_not_match_is_not_touched_even_if_it_is_no_text() {
        let pairs = [("searchPattern", "x")];
        assert_eq!(
            replaced(&pairs, &[b"\xff\xfe", b"\xffx"]),
            [&b"\xff\xfe"[..], "\u{fffd}".as_bytes()]
        );
    }

    #[test]
    fn a_body_that_takes_too_long_or_grows_too_much_stays() {
        let body = vec![b'a'; 64];
        let pairs = [("searchPattern", "^(?:(?:a|a)*)*(?!b)c$")];
        assert_eq!(replaced(&pairs, &[&body]), [&body[..]]);
        let long = "x".repeat(1 << 20);
        let pairs = [("searchPattern", "a"), ("replaceString", &long)];
        assert_eq!(replaced(&pairs, &[&body[..63]])[0].len(), 63 << 20);
        assert_eq!(replaced(&pairs, &[&[&body[..], b"a"].concat()])[0].len(), 65);
    }

    #[test]
    fn what_cannot_work_is_refused_at_the_start() {
        for (pairs, words) in [
            (
                &[][..],
                "error[missing]: source r1 (seq): searchPattern: required, but not there",
            ),
            (
                &[("searchPattern", "a("), ("charset", "klingon")],
                "error[bad-value]: source r1 (seq): charset: expected a charset that Java knows, found \"klingon\"",
            ),
            (
                &[("searchPattern", "a(")],
                "error[bad-value]: source r1 (seq): searchPattern: expected a Java regular expression: a group \
                 without closing ) at character 2 of \"a(\"",
            ),
            (
                &[("searchPattern", "a"), ("replaceString", "cost: $")],
                "error[bad-value]: source r1 (seq): replaceString: expected a Java replacement: a $ that is no \
                 reference to a group; a letter $ is written \\$ in \"cost: $\"",
            ),
        ] {
            assert_eq!(read(pairs).1[0], format!("(given):0: {words}"));
        }
    }
}
